# SPDX-License-Identifier: MIT OR Apache-2.0
"""Runs CPython's own tests of sockets with netfd.Socket in socket.socket's place.

    python cpython_suites.py [SUITE...]

Each suite runs twice, each time in a process of its own: with the standard
socket, and with ours. What fails with ours has to fail with the standard one as
well, or to stand in DIFFERS with its reason; and what stands there has to fail.
The count of tests run is printed for each, and none may be zero. A test that
failed is tried once more by itself before it counts: some of them have clocks.
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

# module: which of its test classes are not run
SUITES: dict[str, str] = {
    # Hangs without a hypervisor's vsock, with the standard socket as well; and
    # families that are neither TCP, UDP nor unix.
    "test_socket": "VSOCK|CAN|ISOTP|J1939|RDS|QIPCRTR|Bluetooth|HyperV|AlgTest|UDPLITE",
    "test_httpservers": "",
    "test_socketserver": "",
    "test_asyncio.test_sock_lowlevel": "",
    "test_asyncio.test_server": "",
    "test_ssl": "",
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


def child(whose: str, module: str, out: str, names: list[str]) -> None:
    """One run. `names` are the tests to run, or none for those of SUITES."""
    import socket

    if whose == "netfd":
        import netfd

        socket.socket = netfd.Socket  # type: ignore[misc]
    from test import support

    support.use_resources = {"network": False}  # type: ignore[attr-defined]
    loaded = unittest.defaultTestLoader.loadTestsFromName(f"test.{module}")
    unwanted = SUITES[module]
    chosen = unittest.TestSuite()
    for test in _tests(loaded):
        left_out = bool(unwanted) and re.search(unwanted, type(test).__name__) is not None
        if test.id() in names if names else not left_out:
            chosen.addTest(test)
    result = _Result()
    chosen.run(result)
    with open(out, "w") as file:
        json.dump(result.told, file)


def run(whose: str, module: str, names: list[str] | None = None) -> dict[str, list[str]]:
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "told")
        command = [sys.executable, os.path.abspath(__file__), "--child", whose, module, out]
        done = subprocess.run(
            command + (names or []), cwd=folder, capture_output=True, text=True, timeout=600
        )
        if not os.path.exists(out):
            raise SystemExit(f"{module} with {whose} did not end:\n{done.stdout}{done.stderr}")
        with open(out) as file:
            return json.load(file)


def compare(module: str) -> bool:
    """Whether a suite is as it has to be; says so in a line, and why not in more."""
    began = time.monotonic()
    told = run("netfd", module)
    failed = [name for name, (what, _) in told.items() if what == "failed"]
    if failed:
        again = run("netfd", module, failed)
        told.update(again)
        failed = [name for name in failed if told[name][0] == "failed"]
    stock = run("stock", module, failed) if failed else {}
    ran = [name for name, (what, _) in told.items() if what != "skipped"]
    good = bool(ran)
    print(
        f"{module}: {len(ran)} run, {len(ran) - len(failed)} passed, {len(failed)} failed, "
        f"{len(told) - len(ran)} not for this machine, {time.monotonic() - began:.0f} s",
        flush=True,
    )
    for name in failed:
        if stock.get(name, ["passed"])[0] == "failed":
            last = stock[name][1].strip().splitlines()[-1]
            print(f"  {name} fails with the standard socket as well: {last}")
        elif name in DIFFERS:
            print(f"  {name} differs: {DIFFERS[name]}")
        else:
            good = False
            print(f"  {name} fails:\n{told[name][1]}")
    return good


def main() -> int:
    chosen = sys.argv[1:] or list(SUITES)
    bad = [module for module in chosen if not compare(module)]
    print("cpython suites:", "not as they have to be: " + ", ".join(bad) if bad else "all good")
    return 1 if bad else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:5], sys.argv[5:])  # type: ignore[misc]
    else:
        sys.exit(main())
