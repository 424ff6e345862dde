# SPDX-License-Identifier: MIT OR Apache-2.0
"""Runs CPython's own tests of sockets with netfd.Socket in socket.socket's place.

    python cpython_suites.py [SUITE...]

What fails so has to fail with the standard socket as well, or to stand in DIFFERS
with its reason; and what stands there has to fail. The count of tests run is told
for each suite and each kind of class, and none may be zero; nor may a suite that
never waited in netfd. A test that failed is tried once more, by itself, before it
counts: some of them have clocks.
"""

from __future__ import annotations

import faulthandler
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import unittest
import zlib
from concurrent.futures import ThreadPoolExecutor

# module: how many processes share it, and which of its test classes are not run
SUITES: dict[str, tuple[int, str]] = {
    # VSOCK hangs without a hypervisor's, with the standard socket as well; the others
    # are families that are neither TCP, UDP nor unix.
    "test_socket": (4, "VSOCK|CAN|ISOTP|J1939|RDS|QIPCRTR|Bluetooth|HyperV|AlgTest|UDPLITE"),
    "test_ssl": (1, ""),
    "test_asyncio.test_sock_lowlevel": (1, ""),
    "test_asyncio.test_server": (1, ""),
    "test_httpservers": (1, ""),
    "test_socketserver": (1, ""),
}

# The kinds of test_socket's classes that have to be there.
KINDS = {
    "TCP": "TCP",
    "unix": "Unix",
    "timeouts": "Timeout",
    "file objects": "FileObject",
    "sendfile": "Sendfile",
}

DIFFERS: dict[str, str] = {
    "test.test_socket.NonblockConstantTest.test_SOCK_NONBLOCK": (
        "asks for O_NONBLOCK to be off from birth; netfd's descriptors never block, and are "
        "made to by settimeout(None) and setblocking(True) only"
    ),
}


class _Result(unittest.TestResult):
    """What became of each test, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.told: dict[str, list[str]] = {}

    def _tell(self, test: unittest.TestCase, what: str, why: str = "") -> None:
        self.told[test.id()] = [what, why]

    def startTest(self, test):  # type: ignore[no-untyped-def]
        super().startTest(test)
        self._tell(test, "passed")
        print(f"{time.monotonic():.1f} {test.id()}", file=sys.stderr, flush=True)
        faulthandler.dump_traceback_later(60, exit=True)  # a guard: none takes that long

    def addError(self, test, err):  # type: ignore[no-untyped-def]
        super().addError(test, err)
        self._tell(test, "failed", self._exc_info_to_string(err, test))

    def addFailure(self, test, err):  # type: ignore[no-untyped-def]
        super().addFailure(test, err)
        self._tell(test, "failed", self._exc_info_to_string(err, test))

    def addSubTest(self, test, subtest, err):  # type: ignore[no-untyped-def]
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._tell(test, "failed", self._exc_info_to_string(err, test))

    def addSkip(self, test, reason):  # type: ignore[no-untyped-def]
        super().addSkip(test, reason)
        self._tell(test, "skipped", reason)


def _tests(suite):  # type: ignore[no-untyped-def]
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from _tests(test)
        else:
            yield test


def child(whose: str, module: str, share: int, out: str, names: list[str]) -> None:
    """One run. `names` are the tests to run, or none for a share of them all."""
    import socket

    parks = lambda: 0  # noqa: E731
    if whose == "netfd":
        import netfd

        socket.socket = netfd.Socket  # type: ignore[misc]
        parks = lambda: netfd.stats()["parks"]  # noqa: E731
    from test import support

    support.use_resources = {"network": False}  # type: ignore[attr-defined]
    loaded = unittest.defaultTestLoader.loadTestsFromName(f"test.{module}")
    shares, unwanted = SUITES[module]
    chosen = unittest.TestSuite()
    for test in _tests(loaded):
        name = type(test).__name__
        left_out = bool(unwanted) and re.search(unwanted, name) is not None
        ours = zlib.crc32(name.encode()) % shares == share
        if test.id() in names if names else ours and not left_out:
            chosen.addTest(test)
    result = _Result()
    chosen.run(result)
    with open(out, "w") as file:
        json.dump([result.told, parks()], file)


Told = dict[str, list[str]]


def run(
    whose: str, module: str, share: int = 0, names: list[str] | None = None
) -> tuple[Told, int]:
    """What became of each test, and how often a call waited in netfd."""
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "told")
        command = [sys.executable, os.path.abspath(__file__), "--child", whose, module, str(share)]
        done = subprocess.run(
            [*command, out, *(names or [])], cwd=folder, capture_output=True, text=True, timeout=600
        )
        if not os.path.exists(out):
            last = "\n".join((done.stdout + done.stderr).splitlines()[-80:])
            raise SystemExit(f"{module} with {whose} did not end:\n{last}")
        with open(out) as file:
            told, parks = json.load(file)
            return told, parks


def judge(module: str, told: Told, parks: int) -> tuple[bool, int]:
    """Whether a suite is as it has to be, and how many passed; says so in a line, and
    why not in more."""
    failed = [name for name, (what, _) in told.items() if what == "failed"]
    if failed:
        told.update(run("netfd", module, 0, failed)[0])
        failed = [name for name in failed if told[name][0] == "failed"]
    stock = run("stock", module, 0, failed)[0] if failed else {}
    ran = [name for name, (what, _) in told.items() if what != "skipped"]
    good = bool(ran) and parks > 0
    print(
        f"{module}: {len(ran)} run, {len(ran) - len(failed)} passed, {len(failed)} failed, "
        f"{len(told) - len(ran)} not for this machine; {parks} waits in netfd",
        flush=True,
    )
    for kind, pattern in KINDS.items() if module == "test_socket" else ():
        count = sum(re.search(pattern, name.split(".")[-2]) is not None for name in ran)
        print(f"  {kind}: {count} run")
        good = good and count > 0
    for name in failed:
        if stock.get(name, ["passed"])[0] == "failed":
            last = stock[name][1].strip().splitlines()[-1]
            print(f"  {name} fails with the standard socket as well: {last}")
        elif name in DIFFERS:
            print(f"  {name} differs: {DIFFERS[name]}")
        else:
            good = False
            print(f"  {name} fails:\n{told[name][1]}")
    for name in DIFFERS:
        if told.get(name, ["failed"])[0] == "passed":
            good = False
            print(f"  {name} passes, and stands in DIFFERS")
    return good, len(ran) - len(failed)


def main() -> int:
    began = time.monotonic()
    chosen = sys.argv[1:] or list(SUITES)
    # Most of them sleep most of the time.
    with ThreadPoolExecutor(6) as pool:
        runs = {
            module: [pool.submit(run, "netfd", module, share) for share in range(SUITES[module][0])]
            for module in chosen
        }
        bad, passed = [], 0
        for module in chosen:
            told: Told = {}
            parks = 0
            for done in runs[module]:
                some, times = done.result()
                told.update(some)
                parks += times
            good, some_passed = judge(module, told, parks)
            passed += some_passed
            if not good:
                bad.append(module)
    print(
        f"CPython {sys.version.split()[0]}'s suites, in {time.monotonic() - began:.0f} s:",
        "not as they have to be: " + ", ".join(bad) if bad else "all as they have to be",
    )
    word = "FAILED" if bad else "ok"
    print(f"test result: {word}. {passed} passed; {len(bad)} failed; 0 ignored", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5], sys.argv[6:])
    else:
        sys.exit(main())
