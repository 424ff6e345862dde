# SPDX-License-Identifier: MIT OR Apache-2.0
"""Signals: Ctrl-C ends each call that is blocked, a handler that does not raise ends none."""

from __future__ import annotations

import _thread
import asyncio
import contextlib
import os
import random
import signal
import socket
import tempfile
import threading
import time
import unittest
from typing import Any, Callable

from common import GUARD, Case, Thread, fill, until

import netfd
from netfd import _signals


class Interrupted(Exception):
    pass


def interrupt(*_: Any) -> None:
    raise Interrupted


class Signals(Case):
    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(signal.signal, signal.SIGALRM, signal.getsignal(signal.SIGALRM))
        self.addCleanup(signal.setitimer, signal.ITIMER_REAL, 0)
        self.addCleanup(self.nothing_is_left)

    def nothing_is_left(self) -> None:
        """The wakeup descriptor is whose it was, and no watcher is there."""
        self.assertEqual(signal.set_wakeup_fd(-1), -1)
        until(lambda: _thread._count() == 0, "the end of other threads")

    def calls(self) -> dict[str, Callable[[], Any]]:
        """Each call that blocks, on a socket where it does."""
        ours, theirs = self.pair()
        full, _ = self.pair()
        fill(full)
        packets, _ = self.pair(socket.SOCK_DGRAM)
        listener = self.listener()
        file = tempfile.TemporaryFile()
        file.truncate(1 << 20)
        self.addCleanup(file.close)
        where = self.silent()
        client = netfd.Socket(socket.AF_UNIX)
        self.addCleanup(client.close)
        reader = ours.makefile("rb")
        self.addCleanup(reader.close)
        return {
            "recv": lambda: ours.recv(1),
            "recv_into": lambda: ours.recv_into(bytearray(1)),
            "recvfrom": lambda: packets.recvfrom(1),
            "recvfrom_into": lambda: packets.recvfrom_into(bytearray(1)),
            "recvmsg": lambda: ours.recvmsg(1),
            "recvmsg_into": lambda: ours.recvmsg_into([bytearray(1)]),
            "readline": reader.readline,
            "accept": listener.accept,
            "send": lambda: full.send(b"x"),
            "sendall": lambda: full.sendall(b"x"),
            "sendmsg": lambda: full.sendmsg([b"x"]),
            "sendfile": lambda: full.sendfile(file),
            "connect": lambda: client.connect(where),
            "dial": lambda: netfd.dial(where, "unix", timeout=None),
        }

    def interrupted(self, call: Callable[[], Any], after: float) -> None:
        """A handler that raises ends the call; on a busy machine before it has begun."""
        with self.assertRaises(Interrupted):
            signal.setitimer(signal.ITIMER_REAL, after)
            call()

    def test_a_handler_that_raises_ends_each_call(self) -> None:
        signal.signal(signal.SIGALRM, interrupt)
        calls = self.calls()
        self.assertGreaterEqual(len(calls), 14)
        for after in (0.01, 0.12):  # without a watcher, and with one
            for name, call in calls.items():
                with self.subTest(name, after=after):
                    self.interrupted(call, after)

    def test_ctrl_c_is_a_keyboard_interrupt(self) -> None:
        # A shell's background process is born with SIGINT ignored.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        self.addCleanup(signal.signal, signal.SIGINT, before)
        ours, _ = self.pair()
        with self.assertRaises(KeyboardInterrupt):
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
            ours.recv(1)

    def test_a_handler_that_does_not_raise_lets_the_call_go_on(self) -> None:
        ours, theirs = self.pair()
        came = []

        def handler(*_: Any) -> None:
            came.append(1)
            if len(came) == 20:
                theirs.send(b"x")

        signal.signal(signal.SIGALRM, handler)
        for timeout in (None, GUARD):
            came.clear()
            ours.settimeout(timeout)
            signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
            self.assertEqual(ours.recv(1), b"x")
            signal.setitimer(signal.ITIMER_REAL, 0)

    def test_signals_do_not_make_a_timeout_longer(self) -> None:
        ours, _ = self.pair()
        signal.signal(signal.SIGALRM, lambda *_: None)
        signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
        ours.settimeout(0.2)
        began = time.monotonic()
        self.assertRaises(socket.timeout, lambda: ours.recv(1))
        self.assertLess(abs(time.monotonic() - began - 0.2), GUARD / 2)

    def test_a_dial_goes_on_beside_a_timer_that_is_faster(self) -> None:
        signal.signal(signal.SIGALRM, lambda *_: None)
        listener = self.listener()
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        for _ in range(20):
            netfd.dial(listener.getsockname(), timeout=GUARD).close()
            client = netfd.Socket()
            client.connect(listener.getsockname())
            client.close()

    def test_nothing_is_sent_twice_or_lost_by_a_sendall_among_signals(self) -> None:
        ours, theirs = self.pair()
        data = random.randbytes(4 << 20) if hasattr(random, "randbytes") else os.urandom(4 << 20)

        def read() -> bytes:
            got = bytearray()
            while len(got) < len(data):
                got += theirs.recv(65536)
                time.sleep(0.0002)
            return bytes(got)

        reader = Thread(read)
        signal.signal(signal.SIGALRM, lambda *_: None)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        ours.sendall(data)
        self.assertEqual(reader.result(), data)

    def test_a_signal_just_before_the_wait_is_not_lost(self) -> None:
        # It comes at any moment of the call; what it sets off is what ends it.
        ours, theirs = self.pair()
        signal.signal(signal.SIGALRM, lambda *_: theirs.send(b"x"))
        slowest = 0.0
        for _ in range(1000):
            signal.setitimer(signal.ITIMER_REAL, random.uniform(0.000001, 0.0001))
            began = time.monotonic()
            self.assertEqual(ours.recv(1), b"x")
            slowest = max(slowest, time.monotonic() - began)
        self.assertLess(slowest, GUARD / 2)

    def test_a_signal_just_before_a_long_wait_is_not_lost(self) -> None:
        # As above, behind the watcher: no wait is short.
        self.addCleanup(setattr, _signals, "SHORT", _signals.SHORT)
        _signals.SHORT = 1
        ours, theirs = self.pair()
        signal.signal(signal.SIGALRM, lambda *_: theirs.send(b"x"))
        for _ in range(1000):
            signal.setitimer(signal.ITIMER_REAL, random.uniform(0.000001, 0.0003))
            self.assertEqual(ours.recv(1), b"x")

    def test_a_signal_that_another_thread_gets_is_handled(self) -> None:
        # The main thread's wait is not interrupted by the kernel then.
        ours, theirs = self.pair()
        signal.signal(signal.SIGALRM, lambda *_: theirs.send(b"x"))
        idle = threading.Event()
        other = threading.Thread(target=idle.wait)
        other.start()
        threading.Timer(0.2, signal.pthread_kill, (other.ident, signal.SIGALRM)).start()
        self.assertEqual(ours.recv(1), b"x")
        idle.set()
        other.join()

    def test_other_threads_are_not_disturbed(self) -> None:
        ours, theirs = self.pair()
        ours.settimeout(GUARD)
        readers = [Thread(lambda: ours.recv(1)) for _ in range(3)]
        signal.signal(signal.SIGALRM, interrupt)
        self.interrupted(lambda: ours.recv(1), 0.12)
        self.assertTrue(all(each.is_alive() for each in readers))
        theirs.send(b"xxx")
        self.assertEqual([each.result() for each in readers], [b"x"] * 3)

    def test_whose_wakeup_descriptor_it_was_hears_of_the_signal(self) -> None:
        ear, mouth = os.pipe()
        os.set_blocking(mouth, False)
        signal.set_wakeup_fd(mouth)
        ours, theirs = self.pair()
        signal.signal(signal.SIGALRM, lambda *_: theirs.send(b"x"))
        signal.setitimer(signal.ITIMER_REAL, 0.12)
        self.assertEqual(ours.recv(1), b"x")
        self.assertEqual(os.read(ear, 8), bytes([signal.SIGALRM]))
        self.assertEqual(signal.set_wakeup_fd(-1), mouth)
        os.close(ear)
        os.close(mouth)

    def test_a_handler_may_move_the_deadline_of_the_call_it_interrupts(self) -> None:
        for after in (0.01, 0.12):
            ours, _ = self.pair()
            signal.signal(signal.SIGALRM, lambda *_: ours.set_deadline(time.monotonic()))
            signal.setitimer(signal.ITIMER_REAL, after)
            self.assertRaises(socket.timeout, lambda: ours.recv(1))

    def test_a_handler_may_cancel_and_close(self) -> None:
        for after in (0.01, 0.12):
            for act, error in (("cancel", netfd.CanceledError), ("close", netfd.ClosedError)):
                ours, _ = self.pair()
                signal.signal(signal.SIGALRM, lambda *_: getattr(ours, act)())
                signal.setitimer(signal.ITIMER_REAL, after)
                self.assertRaises(error, lambda: ours.recv(1))

    def test_a_handler_may_use_the_socket_it_interrupts(self) -> None:
        ours, theirs = self.pair()
        theirs.send(b"y")
        got = []

        def handler(*_: Any) -> None:
            theirs.send(b"x")
            got.append(ours.recv(1))
            theirs.send(b"z")

        self.assertEqual(ours.recv(1), b"y")
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.12)
        self.assertEqual((ours.recv(1), got), (b"z", [b"x"]))

    def test_a_handler_may_fork_in_a_blocked_call(self) -> None:
        ours, theirs = self.pair()
        children = []

        def handler(*_: Any) -> None:
            pid = os.fork()
            if pid:
                children.append(pid)
            else:
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                signal.alarm(int(GUARD))

        signal.signal(signal.SIGALRM, handler)
        parent = os.getpid()
        until_sent = threading.Timer(0.5, theirs.send, (b"xx",))
        until_sent.start()  # first: a child would wait for this thread
        signal.setitimer(signal.ITIMER_REAL, 0.12)
        byte = ours.recv(1)
        if os.getpid() != parent:
            os._exit(0 if byte == b"x" else 1)
        _, status = os.waitpid(children[0], 0)
        until_sent.join()
        self.assertEqual((byte, status), (b"x", 0))

    def test_an_event_loop_s_signals_reach_it_after_a_blocked_call(self) -> None:
        async def main() -> list[str]:
            loop = asyncio.get_running_loop()
            told: list[str] = []
            loop.add_signal_handler(signal.SIGALRM, told.append, "heard")
            ours, theirs = self.pair()
            ours.settimeout(0.2)
            signal.setitimer(signal.ITIMER_REAL, 0.12)
            with contextlib.suppress(socket.timeout):
                ours.recv(1)
            for _ in range(100):
                if told:
                    break
                await asyncio.sleep(0.01)
            loop.remove_signal_handler(signal.SIGALRM)
            return told

        self.assertEqual(asyncio.run(main()), ["heard"])


if __name__ == "__main__":
    unittest.main()
