# SPDX-License-Identifier: MIT OR Apache-2.0
"""What the tests share."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import socket
import tempfile
import threading
import time
import unittest
from collections.abc import Iterator
from typing import Any, Callable

import netfd

GUARD = 10.0  # against hanging only


class Case(unittest.TestCase):
    """A test that ends by itself, and closes what it opened."""

    def setUp(self) -> None:
        faulthandler.dump_traceback_later(6 * GUARD, exit=True)
        self.addCleanup(faulthandler.cancel_dump_traceback_later)

    def listener(self, **how: Any) -> netfd.Socket:
        listener = netfd.listen("127.0.0.1:0", **how)
        self.addCleanup(listener.close)
        return listener

    def pair(self, kind: int = socket.SOCK_STREAM) -> tuple[netfd.Socket, netfd.Socket]:
        made = [netfd.Socket(fileno=end.detach()) for end in socket.socketpair(type=kind)]
        for end in made:
            self.addCleanup(end.close)
        return made[0], made[1]

    def silent(self) -> str:
        """An address where a connect waits: a unix listener whose queue is full."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        where = os.path.join(folder.name, "s")
        full, first = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
        self.addCleanup(full.close)
        self.addCleanup(first.close)
        full.bind(where)
        full.listen(0)
        first.connect(where)
        return where

    def connected(self) -> tuple[netfd.Socket, netfd.Socket]:
        """Over TCP."""
        listener = self.listener()
        ours = netfd.dial(listener.getsockname(), timeout=GUARD)
        theirs, _ = listener.accept()
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        ours.settimeout(None)
        return ours, theirs


class Thread(threading.Thread):
    """A call on a thread of its own, and what came of it."""

    def __init__(self, call: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._call = call
        self._result: Any = None
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._result = self._call()
        except BaseException as error:
            self._error = error

    def result(self) -> Any:
        self.join(GUARD)
        if self.is_alive():
            raise AssertionError("it does not end")
        if self._error is not None:
            raise self._error
        return self._result


def until(is_so: Callable[[], bool], what: str = "it") -> None:
    """Waits for a state that no call waits for."""
    give_up = time.monotonic() + GUARD
    while not is_so():
        if time.monotonic() > give_up:
            raise AssertionError(f"{what} does not come about")
        time.sleep(0.001)


def until_parked(callers: int = 1) -> None:
    until(lambda: netfd.stats()["parked"] >= callers, "a parked caller")


def fill(sock: netfd.Socket) -> int:
    """Sends until there is no room left."""
    timeout, sent = sock.gettimeout(), 0
    sock.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            sent += sock.send(b"x" * 65536)
    sock.settimeout(timeout)
    return sent


@contextlib.contextmanager
def in_socket_s_place() -> Iterator[None]:
    """netfd.Socket where the standard library looks for its own."""
    stock = socket.socket
    socket.socket = netfd.Socket  # type: ignore[misc]
    try:
        yield
    finally:
        socket.socket = stock  # type: ignore[misc]


def in_child(call: Callable[[], bool]) -> bool:
    """Whether it is so in a child made by fork."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = 0 if call() else 1
        finally:
            os._exit(code)
    give_up = time.monotonic() + GUARD
    while time.monotonic() < give_up:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return status == 0
        time.sleep(0.005)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    raise AssertionError("the child does not end")
