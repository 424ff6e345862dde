"""What fibers cost: the parts fibers, idle, switch and workers of run.

netfd on epoll and on io_uring, beside epoll and io_uring written by hand, and
what else of shared/peers builds here.
"""
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import plot
from measure import HERE, OUT, SHARED, CannotMeasure
from measure import connect, counted, difference, free_port, ratio, run, say, scheduling

PARTS = ("fibers", "idle", "switch", "workers")
EPOLL, URING = "epoll", "io_uring"
POLL = {EPOLL: "epoll", URING: "uring"}  # what NETFD_POLL calls them
BASE = "raw-epoll"
OURS = {EPOLL: "netfd on epoll", URING: "netfd on io_uring"}
DEADLINES = ", deadlines"
# What is shown beside ours, where it builds, and what it needs for that.
PEERS = {
    "raw-uring": "liburing-dev",
    "go": "Go, from shared/install.sh or golang-go",
    "libuv": "libuv1-dev",
    "asio": "libasio-dev",
    "tokio": "crates of cargo's registry",
    "may": "crates of cargo's registry",
    "libevent": "libevent-dev",
    "st": "libst-dev",
    "nspr": "libnspr4-dev",
}
ABSENT = {"libdill": "not installable: Debian has no package of it"}
SHOWN = {
    BASE: "epoll by hand",
    "raw-uring": "io_uring by hand",
    "go": "Go's net",
    "asio": "Asio",
    "st": "State Threads",
    "nspr": "NSPR",
}
SUITES = {
    "echo50": "echo, 50 connections",
    "echo1000": "echo, 1,000 connections",
    "conn": "connect, a byte each way, close",
}
HANDLERS_BUFFER = 4.0  # KiB, on the fiber's stack
WAYS_TO_YIELD = (2, 64, 1000)

MAX_OF_EPOLL = {
    EPOLL: {"echo50": 1.05, "echo1000": 1.10, "conn": 1.10},
    URING: {"echo50": 0.88, "echo1000": 1.05, "conn": 1.10},
}
MAX_SYSCALLS = {EPOLL: 2.1, URING: 0.20}
MAX_IDLE_KIB = 5.0
MAX_PARK_NS = 60
MAX_GO_NS = 300
MIN_OF_ONE_WORKER = 1.7


def build(parts, warn, link):
    if {"fibers", "idle", "workers"} & set(parts):
        run("gcc", *warn, HERE / "fiber_echo.c", "-o", OUT / "fiber_echo", *link)
        run("gcc", "-O2", "-Wall", SHARED / "load.c", "-o", OUT / "load")
        run("gcc", "-O2", "-Wall", SHARED / "raw-epoll.c", "-o", OUT / "raw-epoll", "-lpthread")
    if "switch" in parts:
        run("gcc", *warn, HERE / "switches.c", "-o", OUT / "switches", *link)


def measure(options, results):
    if {"fibers", "idle"} & set(options.only):
        pollers = results["pollers"] = pollers_there()
    if "fibers" in options.only:
        results["fibers"], results["fibers_without"] = echo(options, pollers)
        show_echo(results["fibers"], results["fibers_without"])
        results["peer_versions"] = versions(results["fibers"]["echo50"])
        say("\nVersions: " + ", ".join(f"{name} {version}" for name, version in results["peer_versions"].items()))
        results["fiber_syscalls"] = {poller: syscalls(poller) for poller in pollers}
        show_syscalls(results["fiber_syscalls"])
        file = OUT / "fibers.svg"
        file.write_text(drawn(results["fibers"]))
        say(f"The plot: {file}")
    if "idle" in options.only:
        results["idle"] = idle(options, pollers)
        show_idle(results["idle"])
    if "switch" in options.only:
        results["switch"] = switch(options)
        show_switch(results["switch"])
    if "workers" in options.only:
        results["workers"] = workers(options)
        show_workers(results["workers"])


def limits(results):
    """None is the figure of a back end that is not there."""
    for poller, ours in OURS.items():
        if "fibers" in results:
            for suite, what in SUITES.items():
                line = results["fibers"][suite].get(ours)
                one = line and line["of_epoll"]["median"]
                yield f"{ours}: CPU of hand-written epoll, {what}", one, MAX_OF_EPOLL[poller][suite]
            calls = results["fiber_syscalls"].get(poller)
            calls = calls and sum(calls.values())
            yield f"{ours}: system calls per request, 50 connections", calls, MAX_SYSCALLS[poller]
        if "idle" in results:
            line = results["idle"].get(ours)
            kib = line and line["beyond"]
            yield f"{ours}: KiB for each idle connection, its handler's buffer apart", kib, MAX_IDLE_KIB
    if "switch" in results:
        for fibers in WAYS_TO_YIELD:
            yield f"ns of a park and resume, {fibers} fibers", results["switch"][f"yield {fibers}"]["median"], MAX_PARK_NS
        yield "ns of netfd_go from a warm pool", results["switch"]["go"]["median"], MAX_GO_NS
    if "workers" in results:
        # The other way round: it is the least that it has to be.
        found = results["workers"]["one_of_two"]["median"]
        yield "one worker's throughput of two workers'", found, 1 / MIN_OF_ONE_WORKER


# What the server really waits by.


def pollers_there():
    """The back ends of netfd that are there: without io_uring it takes epoll and says nothing."""
    there = [poller for poller, choice in POLL.items() if waits_by(choice) == poller]
    if EPOLL not in there:
        raise CannotMeasure("NETFD_POLL=epoll does not wait by epoll")
    return there


def waits_by(choice):
    """What fiber_echo waits by: whether it holds a ring, once it has served a byte."""
    port = free_port()
    env = dict(os.environ, NETFD_POLL=choice)
    server = subprocess.Popen([str(OUT / "fiber_echo"), str(port)], env=env, stderr=subprocess.DEVNULL)
    try:
        with connect(port) as client:
            client.sendall(b"m")
            if client.recv(1) != b"m":
                raise CannotMeasure(f"the server does not echo with NETFD_POLL={choice}")
            return URING if holds_ring(server.pid) else EPOLL
    finally:
        server.kill()
        server.wait()


def holds_ring(process):
    """By its descriptors, or by what it maps: a ring that is registered with itself needs no descriptor."""
    proc = Path(f"/proc/{process}")
    held = [os.readlink(one) for one in (proc / "fd").iterdir()]
    return any("[io_uring]" in name for name in (*held, (proc / "maps").read_text()))


# Echo: the server's CPU per request.


def ours(pollers):
    """The command lines of netfd's servers, by name."""
    there = {}
    for poller in pollers:
        line = f"env NETFD_POLL={POLL[poller]} {OUT / 'fiber_echo'}"
        there[OURS[poller]] = f"{line} {{port}} --threads {{threads}} --mode {{mode}} --buf {{buf}}"
    return there


def run_suites(suites, peers, extra, rounds, secs, adjacent):
    """The rounds of shared/run.py, server and load on one CPU, by suite and
    name, and what it said while it ran."""
    cpu = str(min(os.sched_getaffinity(0)))
    sched = scheduling()
    raw, log = OUT / "run.py.json", OUT / "run.py.log"
    raw.unlink(missing_ok=True)
    command = [sys.executable, SHARED / "run.py", "--suite", ",".join(suites), "--base", BASE]
    command += ["--server-cpu", cpu, "--load-cpu", cpu, "--sched", sched, "--json", raw]
    command += ["--peers", ",".join((BASE, *peers))]
    command += ["--rounds", rounds, "--secs", secs, "--warm", 0.1]
    command += ["--adjacent"] if adjacent else []
    command += [] if peers else ["--no-build"]
    for name, line in extra.items():
        command += ["--extra", f"{name}={line}"]
    say(f"{', '.join(suites)}: {rounds} rounds, server and load on CPU {cpu}, scheduling {sched}")
    env = dict(os.environ, NETFD_BENCH_DIR=str(OUT), PYTHONDONTWRITEBYTECODE="1")
    with log.open("w") as said:
        subprocess.run([str(word) for word in command], env=env, stdout=subprocess.DEVNULL, stderr=said)
    if not raw.exists():
        raise CannotMeasure(f"shared/run.py did not end well\n{log.read_text()}")
    results = json.loads(raw.read_text())["results"]
    for suite in suites:
        for name in (BASE, *extra):
            if len(results[suite]["rounds"].get(name, ())) < rounds:
                raise CannotMeasure(f"{suite}: {name} did not run {rounds} rounds\n{log.read_text()}")
    return {suite: results[suite]["rounds"] for suite in suites}, log.read_text()


def reason(name, suite, log):
    """Why a peer has no figures in a suite, from the first that was said of it."""
    for line in log.splitlines():
        of, colon, why = line.partition(": ")
        if colon and of in (f"skip {name}", f"{suite} {name}"):
            why = re.sub(r"/\S+/", "", why)
            return f"{why}; it needs {PEERS[name]}" if of.startswith("skip") else why
    return "it did not run all rounds"


def spread(values):
    values = sorted(values)
    return {"median": statistics.median(values), "min": values[0], "max": values[-1]}


def echo(options, pollers):
    """The figures by suite and server, and why others have none."""
    lines = ours(pollers)
    lines.update({name + DEADLINES: f"{line} --deadline" for name, line in lines.items()})
    by_suite, log = run_suites(SUITES, PEERS, lines, options.rounds, options.secs, True)
    found, without = {}, {}
    for suite, servers in by_suite.items():
        found[suite] = {}
        for name, rounds in servers.items():
            if len(rounds) < options.rounds:
                continue  # a peer that is not there, or not in the end
            us = [one["cpu_us_per_req"] for one in rounds]
            of_epoll = [ratio(one, servers[BASE]) for one in rounds]
            found[suite][name] = {"us": statistics.median(us), "best": min(us), "of_epoll": spread(of_epoll)}
        without[suite] = {OURS[poller]: f"{poller}: not there" for poller in OURS if poller not in pollers}
        without[suite].update({name: reason(name, suite, log) for name in PEERS if name not in found[suite]})
        without[suite].update(ABSENT)
    return found, without


def show_echo(found, without):
    for suite, what in SUITES.items():
        say(f"\n### Fibers, {what}: the server's CPU for each\n")
        say("| server | us | best | of hand-written epoll | spread | best of best |\n|---|---|---|---|---|---|")
        base = found[suite][BASE]["best"]
        for name, line in sorted(found[suite].items(), key=by_ratio):
            one = line["of_epoll"]
            cells = [f"{line['us']:.2f}", f"{line['best']:.2f}", f"{one['median']:.3f}"]
            cells += [f"{one['min']:.2f} to {one['max']:.2f}", f"{line['best'] / base:.3f}"]
            name = f"**{name}**" if name in OURS.values() else SHOWN.get(name, name)
            say(f"| {name} | {' | '.join(cells)} |")
        for name, why in without[suite].items():
            say(f"| {SHOWN.get(name, name)} | {why} | | | | |")


def by_ratio(item):
    return item[1]["of_epoll"]["median"]


def drawn(found):
    """The plot of the echoes. Deadlines add a bar for each of ours that looks the same."""
    suites = {"echo50": "50 connections", "echo1000": "1,000 connections"}
    bars = []
    for name, line in sorted(found["echo50"].items(), key=by_ratio):
        if not name.endswith(DEADLINES):
            values = [found[suite].get(name, {}).get("of_epoll") for suite in suites]
            bars.append((SHOWN.get(name, name), name in OURS.values(), values))
    return plot.bars(
        "Echo of 64 bytes: the server's CPU per request",
        "as a multiple of edge-triggered epoll written by hand; less is better; lines: the spread of the rounds",
        list(suites.values()),
        bars,
    )


def versions(servers):
    """Of what the peers are built on, as far as it can be told."""
    found = {}
    go = OUT / "venv" / "bin" / "go"
    go = go if go.exists() else shutil.which("go")
    if "go" in servers and go:
        found["Go"] = run(go, "version").split()[2].removeprefix("go")
    for name in ("tokio", "may"):
        lock = SHARED / "peers" / name / "Cargo.lock"
        version = re.search(rf'name = "{name}"\nversion = "(.*)"', lock.read_text() if lock.exists() else "")
        if name in servers and version:
            found[name] = version[1]
    if shutil.which("dpkg-query"):
        for name, package in PEERS.items():
            if name in servers and package.endswith("-dev"):
                asked = ["dpkg-query", "-W", "-f", "${Version}", package]
                version = subprocess.run(asked, capture_output=True, text=True).stdout
                found.update({package: version} if version else {})
    return found


# System calls, by strace's counters.


def syscalls(poller):
    """Those of a request, by the difference between a short load and a long."""
    (more, many), (less, few) = (server_calls(poller, secs) for secs in (2.0, 0.5))
    return difference(more, less, many - few)


def server_calls(poller, secs):
    """What the server calls under a load, and how many requests that was."""
    cpu = str(min(os.sched_getaffinity(0)))
    summary = OUT / "strace.out"
    summary.unlink(missing_ok=True)
    port = free_port()
    command = ["taskset", "-c", cpu, "strace", "-c", "-f", "-o", str(summary)]
    command += [str(OUT / "fiber_echo"), str(port)]
    env = dict(os.environ, NETFD_POLL=POLL[poller])
    tracer = subprocess.Popen(command, env=env, start_new_session=True, stderr=subprocess.DEVNULL)
    try:
        time.sleep(1)  # it listens; a load that comes too early fails, and says so
        load = run(OUT / "load", "echo", port, "-c", 50, "-s", 64, "-w", 0, "-t", secs, "--cpu", cpu)
        children = open(f"/proc/{tracer.pid}/task/{tracer.pid}/children").read().split()
        os.kill(int(children[0]), signal.SIGTERM)
        tracer.wait(timeout=30)
    finally:
        if tracer.poll() is None:
            os.killpg(tracer.pid, signal.SIGKILL)
            tracer.wait()
    return counted(summary.read_text()), json.loads(load)["n"]


def show_syscalls(found):
    say("\n### System calls of the fiber server for each request, 50 connections\n")
    for poller, name in OURS.items():
        if poller not in found:
            say(f"- {name}: {poller}: not there")
            continue
        # What each connection takes does not quite cancel out.
        calls = {call: value for call, value in found[poller].items() if abs(value) >= 0.001}
        each = ", ".join(f"{call} {value:.3f}" for call, value in calls.items())
        say(f"- {name}: {sum(found[poller].values()):.2f} ({each})")


# Idle connections.


def idle(options, pollers):
    rounds = max(3, options.rounds // 3)  # each opens 10,000 connections
    found = {}
    by_suite, _ = run_suites(["idle"], (), ours(pollers), rounds, 1.0, False)
    for name, all_rounds in by_suite["idle"].items():
        keys = ("rss_kb_per_conn", "sys_kb_per_conn", "p50_us", "p99_us", "cpu_us_per_req")
        found[name] = {key: spread(one[key] for one in all_rounds) for key in keys}
        found[name]["beyond"] = found[name]["rss_kb_per_conn"]["median"] - HANDLERS_BUFFER
    return found


def show_idle(found):
    say("\n### 10,000 idle connections, and 16 busy ones among them\n")
    say("| server | resident KiB each | p50 us | p99 us | spread | CPU us per request |\n|---|---|---|---|---|---|")
    for name, line in found.items():
        p99 = line["p99_us"]
        say(
            f"| {SHOWN.get(name, name)} | {line['rss_kb_per_conn']['median']:.2f} | {line['p50_us']['median']:.0f} "
            f"| {p99['median']:.0f} | {p99['min']:.0f} to {p99['max']:.0f} | {line['cpu_us_per_req']['median']:.2f} |"
        )
    for poller, name in OURS.items():
        if name not in found:
            say(f"| {name} | {poller}: not there | | | | |")


# Switches and starts.


def switch(options):
    cpu = min(os.sched_getaffinity(0))
    prefix = ["chrt", "-f", "1"] if scheduling() == "fifo" else []
    prefix += ["taskset", "-c", cpu, OUT / "switches"]
    batches = max(9, options.rounds)
    found = {}
    for fibers in WAYS_TO_YIELD:
        lines = run(*prefix, "yield", fibers, batches).split()
        found[f"yield {fibers}"] = spread(float(line) for line in lines)
    lines = [line.split() for line in run(*prefix, "go", batches).splitlines()]
    found["go"] = spread(float(start) for start, _ in lines)
    found["life"] = spread(float(life) for _, life in lines)
    return found


def show_switch(found):
    say("\n### A park and resume, and the start of a fiber\n")
    say("| what | ns | spread |\n|---|---|---|")
    for name, one in found.items():
        say(f"| {name} | {one['median']:.1f} | {one['min']:.1f} to {one['max']:.1f} |")


# Two workers.


def workers(options):
    """Requests in a second of wall time by one worker on one core, and by two
    on two. Each core has a load generator of its own beside its worker, so that
    twice of all is there: what falls short of twice is what workers do to each
    other, and the kernel to them."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        say("workers: one core only, not measured")
        return {"one_of_two": {"median": 0.0}}
    found = {"rps1": [], "rps2": [], "two_of_one": [], "cpu": []}
    for _ in range(max(9, options.rounds)):
        one = two_sided(1, cpus[:1], options.secs)
        two = two_sided(2, cpus[:2], options.secs)
        found["rps1"].append(one["rps"])
        found["rps2"].append(two["rps"])
        found["two_of_one"].append(two["rps"] / one["rps"])
        # What a worker does in a second of its own time, twice over.
        found["cpu"].append(2 * one["cpu_us_per_req"] / two["cpu_us_per_req"])
    figures = {name: spread(values) for name, values in found.items()}
    figures["one_of_two"] = {"median": 1 / figures["cpu"]["median"]}
    return figures


def two_sided(count, cpus, secs):
    port = free_port()
    prefix = ["chrt", "-f", "1"] if scheduling() == "fifo" else []
    prefix += ["taskset", "-c", ",".join(map(str, cpus))]
    command = [*prefix, str(OUT / "fiber_echo"), str(port), "--threads", str(count)]
    server = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    try:
        time.sleep(0.2)
        load = [*prefix, OUT / "load", "echo", port, "-c", 50 * count, "-s", 64, "-P", count]
        line = json.loads(run(*load, "-w", 0.1, "-t", secs, "-p", server.pid))
        if "error" in line or not line["n"]:
            raise CannotMeasure(f"workers: {line}")
        return line
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def show_workers(found):
    if "rps1" not in found:
        return
    say("\n### Two workers on two cores\n")
    for name, what in (
        ("rps1", "requests a second, one worker and one load generator on one core"),
        ("rps2", "requests a second, two of each on two cores"),
        ("two_of_one", "the second of the first"),
        ("cpu", "the same for a second of the workers' own time"),
    ):
        one = found[name]
        say(f"- {what}: {one['median']:.2f} ({one['min']:.2f} to {one['max']:.2f})")
