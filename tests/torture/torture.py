#!/usr/bin/env python3
"""Fails every system call of every scenario, at every position, with every errno.

    tests/torture/torture.py [options] [SCENARIO...]

A scenario is a program beside this file, with what sockets it is about and who
makes its calls: "connect tcp6", "serve fibers epoll". Each is counted first,
untouched: which calls it makes, and how many. Then it is run once for each

    call that it makes x position x errno that the call may say x mode

(of a call that is made often, the first positions and some of the rest: --max-n)
and in each of these runs it has to end by itself, in time, with either all done
or one error that fits, each byte in its place, and no descriptor left over; and
no call of it may say EBADF. Delays, and whatever the library is to hide (EINTR,
a ring that cannot be had, a splice that is refused), must be without any effect:
there even a clean error is a failure. torture.h has what a scenario checks by
itself, inject.c how a call is failed.

Runs that did not get to their call (threads do not do the same each time) are
counted apart.

--seconds draws runs at random, the same number from each scenario in turn, until
the time is over; --seed says which. Without it all are made.

Exit status: 0 nothing failed; 1 something failed; 2 the harness could not work.
"""
import argparse
import collections
import errno
import json
import os
import pathlib
import random
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent

# ---------------------------------------------------------------- scenarios

STREAMS = "tcp4 tcp6 unix"
CONNECTIONS = STREAMS + " unixpacket"
PACKETS = "udp4 udp6 unixgram"
ALL = CONNECTIONS + " " + PACKETS
THREADS, POLLERS = ("",), ("epoll", "uring")
BOTH = THREADS + POLLERS

# Program, kinds of sockets, and whose calls: threads', or fibers' on a poller, these
# with the first kind of stream and of message only.
SCENARIOS = [
    ("socket", ALL, THREADS), ("listen", CONNECTIONS, THREADS), ("accept", CONNECTIONS, BOTH),
    ("accept_many", "tcp4 unix", BOTH), ("connect", ALL, BOTH), ("connect_parked", "unix unixpacket", BOTH),
    ("refused", ALL, THREADS), ("destroy", ALL, BOTH), ("echo", STREAMS, BOTH),
    ("write_slow", "tcp4 unix", BOTH), ("writev", "tcp4 unix", BOTH), ("readv", "tcp4 unix", BOTH),
    ("sendfile", "tcp4 unix", BOTH), ("copy", "tcp4 unix", BOTH), ("copy_file", "tcp4 unix", BOTH),
    ("copy_messages", "unixpacket", BOTH), ("batch", "udp4 unixgram", BOTH), ("datagram", PACKETS, BOTH),
    ("message", "unix unixpacket udp4", BOTH), ("pass_fds", "unix unixpacket unixgram", BOTH),
    ("attach", "unix unixpacket", BOTH), ("wait", "tcp4 udp4", BOTH), ("shutdown", "tcp4 unix", BOTH),
    ("deadline", "tcp4 udp4", BOTH), ("turns", "tcp4", BOTH), ("records", "unix tcp4", BOTH),
    ("reuse", "tcp4 unix", BOTH), ("churn", "tcp4", BOTH), ("peer", "tcp4 unix", THREADS),
    ("dial", CONNECTIONS, BOTH), ("dial_packet", PACKETS, THREADS), ("dial_two", "tcp4", BOTH),
    ("dial_race", "tcp4", BOTH), ("dial_fired", "unix", BOTH), ("resolve", "tcp4", BOTH),
    ("resolve_left", "tcp4", BOTH), ("listen_file", "unix unixpacket", THREADS), ("listen_name", "tcp4", THREADS),
    ("activation", "tcp4 unix", THREADS), ("serve", "tcp4 unix", POLLERS), ("go", "tcp4", BOTH), ("block", "tcp4", POLLERS),
    ("fork", "tcp4 unix", THREADS), ("dump", "tcp4", BOTH),
    ("cancel_read", "tcp4 udp4", BOTH), ("cancel_accept", "tcp4 unix", BOTH), ("cancel_connect", "unix", BOTH),
    ("cancel_write", "tcp4", BOTH), ("cancel_copy", "tcp4", BOTH),
    ("destroy_read", "tcp4 udp4", BOTH), ("destroy_accept", "tcp4 unix", BOTH), ("destroy_connect", "unix", BOTH),
    ("destroy_write", "tcp4", BOTH), ("destroy_copy", "tcp4", BOTH),
]

# ---------------------------------------------------------------- what a call may say

OUT = "EMFILE ENFILE ENOMEM"  # what running out looks like
RECV = "EINTR EAGAIN ECONNRESET ETIMEDOUT EHOSTUNREACH ENOMEM EIO"
SEND = "EINTR EAGAIN EPIPE ECONNRESET ENOBUFS ENOMEM EMSGSIZE EHOSTUNREACH ENETDOWN EPERM"
TABLE = {
    "socket": OUT + " EACCES EAFNOSUPPORT",
    "socketpair": OUT + " EAFNOSUPPORT",
    "bind": "EADDRINUSE EADDRNOTAVAIL EACCES ENOMEM",
    "listen": "EADDRINUSE EOPNOTSUPP",
    "accept4": "EINTR EAGAIN ECONNABORTED EPROTO EPERM ENETDOWN EHOSTUNREACH ENOBUFS " + OUT,
    "connect": "EINTR EINPROGRESS EAGAIN ECONNREFUSED ECONNRESET ETIMEDOUT ENETUNREACH EHOSTUNREACH EADDRINUSE "
               "EADDRNOTAVAIL EACCES EPERM ENOBUFS",
    "getsockname": "ENOBUFS ENOMEM", "getpeername": "ENOTCONN ENOBUFS",
    "getsockopt": "ENOPROTOOPT EINVAL ENOMEM", "setsockopt": "ENOPROTOOPT EINVAL ENOMEM EPERM",
    "shutdown": "ENOTCONN",
    "read": RECV, "readv": RECV, "recvfrom": RECV, "recvmsg": RECV, "recvmmsg": RECV,
    "pread64": "EINTR EIO ENOMEM",
    "write": SEND, "writev": SEND, "sendto": SEND, "sendmsg": SEND, "sendmmsg": SEND,
    "sendfile": "EINTR EAGAIN EPIPE ECONNRESET EINVAL ENOSYS EIO ENOMEM EPERM",
    "splice": "EINTR EAGAIN EPIPE ECONNRESET EINVAL ENOSYS EIO ENOMEM EPERM",
    "lseek": "ESPIPE EIO", "pipe2": OUT, "memfd_create": OUT,
    "epoll_create1": OUT, "epoll_ctl": "ENOMEM ENOSPC EPERM",
    "epoll_wait": "EINTR", "epoll_pwait": "EINTR", "ppoll": "EINTR ENOMEM", "poll": "EINTR ENOMEM",
    "eventfd2": OUT, "drain": "EAGAIN",
    "io_uring_setup": "ENOSYS EPERM EACCES " + OUT, "io_uring_enter": "EINTR EAGAIN EBUSY ENOMEM",
    "io_uring_register": "EINVAL EPERM ENOMEM EMFILE",
    "fcntl": "EINVAL EPERM ENOMEM", "ioctl": "EINVAL ENOTTY",
    "fstat": "EIO ENOMEM", "newfstatat": "EACCES ENOENT ENOMEM EIO", "unlink": "EACCES ENOENT EROFS EIO",
    "openat": "EACCES ENOENT EINTR " + OUT,
    "clone3": "EAGAIN ENOMEM EPERM ENOSYS", "clone": "EAGAIN ENOMEM",
    "mmap": "ENOMEM EAGAIN", "mremap": "ENOMEM", "brk": "ENOMEM", "mprotect": "ENOMEM", "madvise": "ENOMEM EINVAL EAGAIN",
    "getrandom": "EINTR ENOSYS EAGAIN", "sched_getaffinity": "EINVAL",
    "close": "EIO EINTR",  # and it is closed all the same
}
LASTING = set("EMFILE ENFILE ENOMEM ENOBUFS ENOSYS ENOSPC EPERM EACCES ECONNREFUSED ENETUNREACH EHOSTUNREACH "
              "ECONNRESET EPIPE ETIMEDOUT EIO EINVAL EADDRINUSE EAFNOSUPPORT EROFS".split())
NEVER_FOR_EVER = {"close", "io_uring_enter"}  # nothing can live without
NEVER_LATE = set("mmap munmap mprotect madvise mremap brk lseek fcntl getrandom sched_getaffinity".split())  # to no effect
DONE_TOO = {("connect", "EINTR"), ("connect", "EINPROGRESS")}  # the kernel goes on with it

# What must have no effect, once (1) or however often (2).
HIDDEN = {
    "EINTR": (1, "close accept4 read readv recvfrom recvmsg recvmmsg pread64 sendto sendmsg sendmmsg sendfile splice "
                 "epoll_wait epoll_pwait ppoll io_uring_enter getrandom"),
    "ECONNABORTED": (1, "accept4"),
    "EAGAIN": (1, "accept4 drain getrandom"),
    "ENOSYS": (2, "io_uring_setup sendfile splice clone3"),
    "EPERM": (2, "io_uring_setup io_uring_register sendfile splice"),
    "EACCES": (2, "io_uring_setup"),
    "EINVAL": (2, "splice sendfile madvise sched_getaffinity io_uring_register"),
    "EMFILE": (2, "io_uring_setup io_uring_register pipe2 eventfd2"),
    "ENFILE": (2, "io_uring_setup pipe2 eventfd2"),
    "ENOMEM": (2, "io_uring_setup io_uring_register pipe2 eventfd2 madvise"),
}
# Calls that the program makes itself, or the C library in a lookup.
OF_OTHERS = {("dump", "pipe2"), ("resolve", "read"), ("resolve", "close"), ("resolve", "recvfrom"), ("resolve", "poll"),
             ("resolve", "sendmmsg"), ("resolve", "sendto")}


FEW = 2  # a failure may have one more caller park than usual, and keep its eventfd


class HarnessError(Exception):
    """It is not the library's fault."""


class Scenario:
    def __init__(self, program, kind, way):
        self.program, self.kind, self.way = program, kind, way
        self.name = " ".join(filter(None, [program, kind, "fibers " + way if way else ""]))
        if program in ("serve", "go", "block"):
            self.name = "%s %s%s" % (program, kind, " fibers " + way if way else "")
        self.counts = collections.Counter()
        self.kept = 0

    def command(self, build):
        # These start fibers by themselves.
        outside = self.program == "serve"
        return [str(build / self.program), self.kind] + (["fibers"] if self.way and not outside else [])

    def environment(self, build):
        env = dict(os.environ, LD_LIBRARY_PATH=str(build))
        for name in ("NETFD_WORKERS", "NETFD_POLL", "LISTEN_FDS", "LISTEN_PID"):
            env.pop(name, None)
        if self.way:
            env["NETFD_POLL"] = self.way
        return env


class Injector:
    """One inject process: a line to it, a line from it."""

    def __init__(self, a, scenario):
        # It runs much beside itself, and says at the end what it was given.
        self.process = subprocess.Popen(
            [str(a.build / "inject"), str(a.timeout)] + scenario.command(a.build), stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True, env=scenario.environment(a.build), cwd="/tmp")

    def run(self, case):
        mode, call, error, n, usec = case
        number = getattr(errno, error, 0) if error else 0
        try:
            self.process.stdin.write("%s %s %d %d %d\n" % (mode, call, number, n, usec))
            self.process.stdin.flush()
            line = self.process.stdout.readline()
            return json.loads(line)
        except (BrokenPipeError, ValueError) as e:
            raise HarnessError("inject: %s" % e) from e

    def end(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def kept_of(line):
    """How many descriptors the library keeps, as the scenario says."""
    head = line.split(":")[0]
    return int(head.rsplit(" ", 1)[1]) if " kept " in head else 0


def count(a, scenario):
    """Runs it untouched, a few times: the most of each call."""
    injector = Injector(a, scenario)
    for _ in range(1 if a.seconds else 3):
        result = injector.run(("none", "-", "", 0, 0))
        if result["outcome"] != "exit" or result["status"] != 0 or not result["line"].startswith("ok") or result["ebadf"]:
            injector.end()
            raise HarnessError("%s fails untouched: %s" % (scenario.name, result))
        for call, n in result["counts"].items():
            scenario.counts[call] = max(scenario.counts[call], n)
        scenario.kept = max(scenario.kept, kept_of(result["line"]))
    injector.end()


def plan(a, scenario):
    cases = []
    for call in sorted(scenario.counts):
        most = scenario.counts[call]
        # Of many alike the first ones and the last, and some between.
        positions = list(range(1, most + 1))
        if most > a.max_n:
            step = (most - a.max_n * 2 // 3) / (a.max_n // 3)
            positions = sorted(set(positions[:a.max_n * 2 // 3]) |
                               {round(a.max_n * 2 // 3 + step * i) for i in range(1, a.max_n // 3 + 1)})
        for n in positions:
            for error in TABLE.get(call, "").split():
                if (call, error) == ("connect", "EAGAIN") and not scenario.kind.startswith("unix"):
                    continue  # it says EADDRNOTAVAIL
                once = "done" if call == "close" else "once"
                cases.append((once, call, error, n, 0))
                if (call, error) in DONE_TOO:
                    cases.append(("done", call, error, n, 0))
                if error in LASTING and call not in NEVER_FOR_EVER:
                    cases.append(("from", call, error, n, 0))
            if n <= 4 and call not in NEVER_LATE:
                cases.append(("enter", call, "", n, a.delay))
                cases.append(("leave", call, "", n, a.delay))
    if a.only:  # MODE:CALL:ERRNO:N, of which any may be left out from the right
        want = a.only.split(":")
        cases = [c for c in cases if [c[0], c[1], c[2], str(c[3])][:len(want)] == want]
    return cases


def must_succeed(scenario, case):
    mode, call, error = case[:3]
    if call == "eventfd2" and (scenario.way or scenario.program in ("go", "serve")):
        return False  # the workers'
    if (call, error) == ("accept4", "EAGAIN") and scenario.way:
        return False  # a lie: of the connection that is there no edge will tell

    if mode in ("enter", "leave"):
        return True
    if (scenario.program, call) in OF_OTHERS:
        return False
    how, calls = HIDDEN.get(error, (0, ""))
    return call in calls.split() and (how == 2 or mode in ("once", "done"))


def judge(scenario, case, result):
    """What is wrong with a run, or None."""
    mode, call, error = case[:3]
    line = result["line"]
    if result["outcome"] == "hang":
        return "hang:" + result["where"]
    if result["outcome"] == "signal":
        return "signal %d" % result["status"]
    if result["status"] == 3:
        return "leak"
    if result["status"] != 0:
        return "exit %d" % result["status"]
    if not line.startswith(("ok", "clean")):
        return "no end"
    if result["ebadf"] and not ("copy" in scenario.program and result["ebadf"].startswith("newfstatat")):
        # (A copy's source need not be ours: it is looked at, though destroyed at the scenario's early end.)
        return "EBADF: " + result["ebadf"]
    if kept_of(line) > scenario.kept + FEW:
        return "keeps %d descriptors, usually %d" % (kept_of(line), scenario.kept)
    if result["hits"] and must_succeed(scenario, case) and not line.startswith("ok"):
        return "told of what it is to hide"
    return None


def first_kinds(kinds):
    """The first of connections, and the first of datagrams."""
    found = {}
    for kind in kinds.split():
        found.setdefault(kind in PACKETS, kind)
    return list(found.values())


def build(a):
    """The library and the programs, where they are not there."""
    a.build.mkdir(parents=True, exist_ok=True)
    library = a.library
    if library is None:
        made = subprocess.run(["cargo", "build", "-q", "--lib", "--message-format=json-render-diagnostics"],
                              cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
        names = [name for line in made.splitlines() for name in json.loads(line).get("filenames", [])]
        library = next(name for name in names if name.endswith("libnetfd.so"))
    dynamic = subprocess.run(["objdump", "-p", library], stdout=subprocess.PIPE, text=True, check=True).stdout
    soname = next(line.split()[1] for line in dynamic.splitlines() if "SONAME" in line)
    for name in {"libnetfd.so", soname}:
        (a.build / name).unlink(missing_ok=True)
        (a.build / name).symlink_to(pathlib.Path(library).resolve())
    flags = ["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-g", "-pthread", "-I", str(ROOT / "include")]
    newest = max(path.stat().st_mtime for path in list(HERE.glob("*.h")) + [ROOT / "include/netfd.h"])
    for source in [HERE / "inject.c"] + [HERE / (p + ".c") for p in sorted({s[0] for s in SCENARIOS})]:
        out = a.build / source.stem
        if out.exists() and out.stat().st_mtime > max(newest, source.stat().st_mtime):
            continue
        link = [] if source.stem == "inject" else ["-L" + str(a.build), "-lnetfd"]
        subprocess.run([os.environ.get("CC", "cc")] + flags + a.cflags.split() + ["-o", str(out), str(source)] + link, check=True)


class Torture:
    def __init__(self, a):
        self.a = a
        self.lock = threading.Lock()
        self.end = None
        self.tell = time.monotonic() + 60
        self.tally = collections.Counter()
        self.by_scenario = collections.defaultdict(collections.Counter)
        self.by_call = collections.Counter()
        self.failures = []
        self.said = collections.Counter()
        self.slow = []
        self.broken = None

    def ran(self, scenario, case, result):
        if time.monotonic() > self.tell:
            self.tell += 60
            print("... %d runs" % sum(self.tally[k] for k in ("passed", "failed", "not reached")), flush=True)
        bad = judge(scenario, case, result)
        kind = "failed" if bad else "passed" if result["hits"] else "not reached"
        with self.lock:
            self.tally[kind] += 1
            self.by_scenario[scenario.name][kind] += 1
            if result["hits"]:
                injected = result["hits"] if case[0] == "from" else 1
                self.tally["delays" if case[0] in ("enter", "leave") else "failures"] += 1
                self.tally["calls failed"] += injected if case[0] not in ("enter", "leave") else 0
                self.tally["ok" if result["line"].startswith("ok") else "clean"] += not bad
                self.by_call[case[1]] += 1
            if not bad and result["line"].startswith("clean"):
                self.said[(case[1], case[2], result["line"].split(": ", 1)[-1].split(" (")[0])] += 1
            if result["ms"] > 1500:
                self.slow.append((result["ms"], scenario.name, case, result["line"]))
            if bad:
                self.failures.append(dict(scenario=scenario.name, mode=case[0], call=case[1], errno=case[2], n=case[3],
                                          why=bad, **result))
                print("FAILED %s, %s %s %s #%d: %s | %s" % (scenario.name, *case[:4], bad, result["line"]), flush=True)
                print("       again: tests/torture/torture.py --only %s:%s:%s:%d '%s'" % (*case[:4], scenario.name), flush=True)

    def work(self, queue):
        try:
            while True:
                with self.lock:
                    if not queue or self.broken:
                        return
                    scenario, cases = queue.pop(0)
                if self.end and time.monotonic() > self.end:
                    return
                injector = Injector(self.a, scenario)
                for case in cases:
                    if self.end and time.monotonic() > self.end:
                        break
                    self.ran(scenario, case, injector.run(case))
                injector.end()
        except Exception as e:  # told by the main thread
            self.broken = e

    def all_work(self, queue):
        workers = [threading.Thread(target=self.work, args=(queue,)) for _ in range(self.a.jobs)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        if self.broken:
            raise self.broken


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--jobs", "-j", type=int, default=os.cpu_count() or 1)
    p.add_argument("--timeout", type=float, default=25, help="seconds before a run counts as hung (25)")
    p.add_argument("--max-n", type=int, default=6, help="positions tried of one call (6), the first ones and some of the rest")
    p.add_argument("--delay", type=int, default=3000, metavar="USEC", help="how long calls are held up (3000)")
    p.add_argument("--seconds", type=float, help="draw runs until so much time has passed")
    p.add_argument("--seed", type=int, default=1, help="which (1)")
    p.add_argument("--shard", default="1/1", metavar="I/N", help="the Ith of N parts of the runs")
    p.add_argument("--only", metavar="MODE[:CALL[:ERRNO[:N]]]", help="just these runs")
    p.add_argument("--at-least", type=int, default=1, help="how many failures must have been injected (1)")
    p.add_argument("--library", help="a libnetfd.so; else cargo builds one, with its debug assertions")
    p.add_argument("--build", type=pathlib.Path, default=ROOT / "target/torture", help="where the programs go")
    p.add_argument("--cflags", default="", help="for the programs, as -fsanitize=address")
    p.add_argument("--json", help="write the failures and the counts there")
    p.add_argument("--list", action="store_true", help="say how many runs there are, and stop")
    p.add_argument("--verbose", "-v", action="store_true", help="say what each call's failure became")
    p.add_argument("scenario", nargs="*", help="what their names begin with; none: all")
    a = p.parse_args()
    build(a)
    begun = time.monotonic()
    scenarios = [Scenario(program, kind, way) for program, kinds, ways in SCENARIOS for way in ways
                 for kind in (kinds.split() if not way else first_kinds(kinds))]
    if a.scenario:
        scenarios = [s for s in scenarios if any(s.name == n or s.name.startswith(n + " ") for n in a.scenario)]
    if not scenarios:
        raise HarnessError("no such scenario")
    torture = Torture(a)
    pending = list(scenarios)

    def counts():
        while True:
            with torture.lock:
                if not pending or torture.broken:
                    return
                scenario = pending.pop()
            try:
                count(a, scenario)
            except Exception as e:
                torture.broken = e
    counters = [threading.Thread(target=counts) for _ in range(a.jobs)]
    for c in counters:
        c.start()
    for c in counters:
        c.join()
    if torture.broken:
        raise torture.broken
    part, parts = map(int, a.shard.split("/"))
    plans = {s: plan(a, s) for s in scenarios}
    total = sum(map(len, plans.values()))
    print("%d programs, %d scenarios, %d runs" % (len({s.program for s in scenarios}), len(scenarios), total), flush=True)
    if a.list:
        for s in scenarios:
            print("%6d %s: %s" % (len(plans[s]), s.name, " ".join("%s=%d" % c for c in sorted(s.counts.items()))))
        by_call = collections.Counter(case[1] for cases in plans.values() for case in cases)
        print("by call: " + " ".join("%s=%d" % c for c in by_call.most_common()))
        return 0
    queue = []
    if a.seconds:
        # The same from each scenario, a few at a time, so that any end is fair.
        draw = random.Random(a.seed)
        for s in scenarios:
            draw.shuffle(plans[s])
        torture.end = begun + a.seconds
        for at in range(0, max(map(len, plans.values())), 4):
            rounds = [(s, plans[s][at:at + 4]) for s in scenarios if at < len(plans[s])]
            draw.shuffle(rounds)
            queue += rounds
    else:
        for s in scenarios:
            cases = plans[s][part - 1::parts]
            queue += [(s, cases[at:at + 100]) for at in range(0, len(cases), 100)]
    torture.all_work(queue)

    t = torture.tally
    idle = [s.name for s in scenarios if not torture.by_scenario[s.name]["passed"] and not torture.by_scenario[s.name]["failed"]]
    if a.verbose:
        for (call, error, line), n in sorted(torture.said.items()):
            print("%6d %-18s %-14s %s" % (n, call, error, line))
        for ms, name, case, line in sorted(torture.slow, reverse=True)[:40]:
            print("%6d ms %s %s %s" % (ms, name, case, line))
    print("by call: " + " ".join("%s=%d" % c for c in torture.by_call.most_common()))
    if a.json:
        with open(a.json, "w", encoding="utf-8") as f:
            json.dump(dict(counts=t, by_call=torture.by_call, failures=torture.failures,
                           said=[[*k, n] for k, n in torture.said.items()],
                           by_scenario=torture.by_scenario), f, indent=1)
    print("torture: %d scenarios of %d, %d failures injected (%d calls) and %d delays: %d as if nothing had been, "
          "%d clean errors, %d failed; %d not reached; %.0f s"
          % (len(scenarios) - len(idle), len(scenarios), t["failures"], t["calls failed"], t["delays"], t["ok"], t["clean"],
             t["failed"], t["not reached"], time.monotonic() - begun))
    if t["failures"] < a.at_least:
        print("torture: fewer than %d" % a.at_least)
        return 1
    return 1 if t["failed"] else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (HarnessError, subprocess.CalledProcessError) as e:
        print("torture:", e, file=sys.stderr)
        sys.exit(2)
