"""What fibers cost: the parts fibers, idle, switch and workers of run.

Beside hand-written edge-triggered epoll, and what else of shared/peers builds
here.
"""
import json
import os
import signal
import statistics
import subprocess
import sys
import time

from measure import HERE, OUT, SHARED, CannotMeasure
from measure import counted, difference, free_port, ratio, run, say, scheduling

PARTS = ("fibers", "idle", "switch", "workers")
BASE, OURS, OURS_DEADLINE = "raw-epoll", "netfd", "netfd, deadlines"
# What is shown beside the two, where it builds.
PEERS = ("raw-uring", "go", "libuv", "asio", "tokio", "may", "libevent", "st", "nspr")
SUITES = {
    "echo50": "echo, 50 connections",
    "echo1000": "echo, 1,000 connections",
    "conn": "connect, a byte each way, close",
}
HANDLERS_BUFFER = 4.0  # KiB, on the fiber's stack
WAYS_TO_YIELD = (2, 64, 1000)

MAX_OF_EPOLL = {"echo50": 1.05, "echo1000": 1.10, "conn": 1.10}
MAX_SYSCALLS = 2.1
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
    if "fibers" in options.only:
        results["fibers"] = echo(options)
        show_echo(results["fibers"])
        results["fiber_syscalls"] = syscalls()
        each = ", ".join(f"{name} {value:.3f}" for name, value in results["fiber_syscalls"].items())
        say(f"\nSystem calls per request at 50 connections: {each}")
        plot(results["fibers"], OUT / "fibers.svg")
        say(f"The plot: {OUT / 'fibers.svg'}")
    if "idle" in options.only:
        results["idle"] = idle(options)
        show_idle(results["idle"])
    if "switch" in options.only:
        results["switch"] = switch(options)
        show_switch(results["switch"])
    if "workers" in options.only:
        results["workers"] = workers(options)
        show_workers(results["workers"])


def limits(results):
    if "fibers" in results:
        for suite, what in SUITES.items():
            one = results["fibers"][suite][OURS]["of_epoll"]["median"]
            yield f"CPU of hand-written epoll, {what}", one, MAX_OF_EPOLL[suite]
        calls = sum(results["fiber_syscalls"].values())
        yield "system calls per request of a fiber, 50 connections", calls, MAX_SYSCALLS
    if "idle" in results:
        yield "KiB for each idle connection, its handler's buffer apart", results["idle"][OURS]["beyond"], MAX_IDLE_KIB
    if "switch" in results:
        for fibers in WAYS_TO_YIELD:
            yield f"ns of a park and resume, {fibers} fibers", results["switch"][f"yield {fibers}"]["median"], MAX_PARK_NS
        yield "ns of netfd_go from a warm pool", results["switch"]["go"]["median"], MAX_GO_NS
    if "workers" in results:
        # The other way round: it is the least that it has to be.
        found = results["workers"]["one_of_two"]["median"]
        yield "one worker's throughput of two workers'", found, 1 / MIN_OF_ONE_WORKER


# Echo: the server's CPU per request.


def run_suites(suites, servers, rounds, secs, adjacent):
    """The rounds of shared/run.py, server and load on one CPU, by suite and name."""
    cpu = str(min(os.sched_getaffinity(0)))
    sched = scheduling()
    raw = OUT / "run.py.json"
    raw.unlink(missing_ok=True)
    server = OUT / "fiber_echo"
    command = [sys.executable, SHARED / "run.py", "--suite", ",".join(suites), "--base", BASE]
    command += ["--server-cpu", cpu, "--load-cpu", cpu, "--sched", sched, "--json", raw]
    command += ["--peers", ",".join(name for name in servers if not name.startswith(OURS))]
    command += ["--rounds", rounds, "--secs", secs, "--warm", 0.1]
    command += ["--adjacent"] if adjacent else ["--no-build"]
    command += ["--extra", f"{OURS}={server}"]
    if OURS_DEADLINE in servers:
        line = f"{server} {{port}} --threads {{threads}} --mode {{mode}} --buf {{buf}} --deadline"
        command += ["--extra", f"{OURS_DEADLINE}={line}"]
    say(f"{', '.join(suites)}: {rounds} rounds, server and load on CPU {cpu}, scheduling {sched}")
    env = dict(os.environ, NETFD_BENCH_DIR=str(OUT), PYTHONDONTWRITEBYTECODE="1")
    subprocess.run([str(word) for word in command], env=env, stdout=subprocess.DEVNULL)
    if not raw.exists():
        raise CannotMeasure("shared/run.py did not end well")
    results = json.loads(raw.read_text())["results"]
    for suite in suites:
        for name in (BASE, OURS):
            if len(results[suite]["rounds"].get(name, ())) < rounds:
                raise CannotMeasure(f"{suite}: {name} did not run {rounds} rounds")
    return {suite: results[suite]["rounds"] for suite in suites}


def spread(values):
    values = sorted(values)
    return {"median": statistics.median(values), "min": values[0], "max": values[-1]}


def echo(options):
    found = {}
    everyone = (BASE, OURS, OURS_DEADLINE, *PEERS)
    for suite, servers in run_suites(SUITES, everyone, options.rounds, options.secs, True).items():
        found[suite] = {}
        for name, rounds in servers.items():
            if len(rounds) < options.rounds:
                continue  # a peer that is not there, or not in the end
            us = [one["cpu_us_per_req"] for one in rounds]
            of_epoll = [ratio(one, servers[BASE]) for one in rounds]
            found[suite][name] = {"us": statistics.median(us), "best": min(us), "of_epoll": spread(of_epoll)}
    return found


def show_echo(found):
    for suite, what in SUITES.items():
        say(f"\n### Fibers, {what}: the server's CPU for each\n")
        say("| server | us | best | of hand-written epoll | spread | best of best |\n|---|---|---|---|---|---|")
        base = found[suite][BASE]["best"]
        for name, line in sorted(found[suite].items(), key=lambda item: item[1]["of_epoll"]["median"]):
            one = line["of_epoll"]
            cells = [f"{line['us']:.2f}", f"{line['best']:.2f}", f"{one['median']:.3f}"]
            cells += [f"{one['min']:.2f} to {one['max']:.2f}", f"{line['best'] / base:.3f}"]
            say(f"| {name} | {' | '.join(cells)} |")


# System calls, by strace's counters.


def syscalls():
    """Those of a request, by the difference between a short load and a long."""
    (more, many), (less, few) = (server_calls(secs) for secs in (2.0, 0.5))
    return difference(more, less, many - few)


def server_calls(secs):
    """What the server calls under a load, and how many requests that was."""
    cpu = str(min(os.sched_getaffinity(0)))
    summary = OUT / "strace.out"
    summary.unlink(missing_ok=True)
    port = free_port()
    command = ["taskset", "-c", cpu, "strace", "-c", "-f", "-o", str(summary)]
    command += [str(OUT / "fiber_echo"), str(port)]
    tracer = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
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


# Idle connections.


def idle(options):
    rounds = max(3, options.rounds // 3)  # each opens 10,000 connections
    found = {}
    for name, all_rounds in run_suites(["idle"], (BASE, OURS), rounds, 1.0, False)["idle"].items():
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
            f"| {name} | {line['rss_kb_per_conn']['median']:.2f} | {line['p50_us']['median']:.0f} "
            f"| {p99['median']:.0f} | {p99['min']:.0f} to {p99['max']:.0f} | {line['cpu_us_per_req']['median']:.2f} |"
        )


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


# The plot.


def plot(found, file):
    """Bars of the CPU per request, hand-written epoll being 1."""
    suites = [suite for suite in SUITES if suite.startswith("echo")]
    names = sorted(found[suites[0]], key=lambda name: found[suites[0]][name]["of_epoll"]["median"])
    width, left, bar, gap, top = 720, 150, 14, 12, 56
    most = max(found[s][n]["of_epoll"]["median"] for s in suites for n in names if n in found[s])
    scale = (width - left - 60) / max(most, 1.0)
    height = top + len(names) * (len(suites) * bar + gap) + 16
    colors = {OURS: ("#c2410c", "#fb923c"), OURS_DEADLINE: ("#c2410c", "#fb923c")}
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        '<text x="8" y="20" font-size="14" font-weight="bold">Echo of 64 bytes: the server\'s CPU per request</text>',
        '<text x="8" y="38" fill="#555">hand-written edge-triggered epoll is 1; less is better; '
        "dark: 50 connections, light: 1,000</text>",
    ]
    y = top
    for name in names:
        out.append(f'<text x="{left - 8}" y="{y + bar + 4}" text-anchor="end">{name}</text>')
        for suite, color in zip(suites, colors.get(name, ("#475569", "#94a3b8"))):
            if name in found[suite]:
                value = found[suite][name]["of_epoll"]["median"]
                out.append(f'<rect x="{left}" y="{y}" width="{value * scale:.1f}" height="{bar - 1}" fill="{color}"/>')
                out.append(f'<text x="{left + value * scale + 5:.1f}" y="{y + bar - 3}">{value:.2f}</text>')
            y += bar
        y += gap
    line = left + scale
    out.append(f'<line x1="{line:.1f}" y1="{top - 8}" x2="{line:.1f}" y2="{height - 12}" stroke="#000" stroke-dasharray="3 3"/>')
    out.append("</svg>")
    file.write_text("\n".join(out) + "\n")
