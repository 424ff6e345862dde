# SPDX-License-Identifier: MIT OR Apache-2.0
"""Threads that do anything to a few sockets at once, while signals come.

The invariant: what is received was sent on the same pair, each call ends, and
with an exception that it is allowed to have.
"""

from __future__ import annotations

import errno
import random
import signal
import socket
import threading
import time
import unittest
from typing import Any

from common import GUARD, Case, Thread

import netfd

THREADS, CALLS = 8, 1500
ALLOWED = (
    socket.timeout,
    BlockingIOError,
    BrokenPipeError,
    netfd.CanceledError,
    netfd.ClosedError,
)

Ends = tuple[netfd.Socket, netfd.Socket, int]


class Races(Case):
    def setUp(self) -> None:
        super().setUp()
        self.slots = [self.fresh() for _ in range(4)]
        self.changing = threading.Lock()
        self.wrong: list[Any] = []
        self.addCleanup(lambda: [end.close() for ends in self.slots for end in ends[:2]])

    def fresh(self) -> Ends:
        one, other = (netfd.Socket(fileno=end.detach()) for end in socket.socketpair())
        return one, other, random.randrange(1, 256)

    def act(self, dice: random.Random) -> None:
        at = dice.randrange(len(self.slots))
        ends = self.slots[at]
        ours, theirs, mark = ends
        either = dice.choice((ours, theirs))
        deed = dice.randrange(11)
        if deed <= 2:
            ours.sendall(bytes([mark]) * dice.randrange(1, 5000))
        elif deed <= 5:
            size = dice.choice((1, 100, 5000, 100_000))
            got = theirs.recvfrom(size)[0] if deed == 5 else theirs.recv(size)
            if set(got) - {mark}:
                self.wrong.append(("another's bytes", got[:10], mark))
        elif deed == 6:
            either.settimeout(dice.choice((None, 0, 0.001, 0.01)))
        elif deed == 7:
            either.set_deadline(dice.choice((None, None, time.monotonic() + 0.002)))
        elif deed == 8:
            either.cancel()
            either.set_cancel(None)
        elif deed == 9:
            ours.sendmsg([bytes([mark]) * 10])
        elif dice.random() < 0.3:
            with self.changing:
                if self.slots[at] is not ends:
                    return
                self.slots[at] = self.fresh()
            ours.close()
            theirs.close()

    def work(self, seed: int) -> int:
        dice = random.Random(seed)
        for _ in range(CALLS):
            try:
                self.act(dice)
            except ALLOWED:
                pass
            except OSError as error:
                if error.errno != errno.EBADF:  # settimeout() of what is closed
                    self.wrong.append(error)
        return CALLS

    def test_each_byte_stays_in_its_stream_and_each_call_ends(self) -> None:
        self.addCleanup(signal.signal, signal.SIGALRM, signal.getsignal(signal.SIGALRM))
        signal.signal(signal.SIGALRM, lambda *_: None)
        signal.setitimer(signal.ITIMER_REAL, 0.003, 0.003)
        self.addCleanup(signal.setitimer, signal.ITIMER_REAL, 0)
        threads = [Thread(lambda seed=seed: self.work(seed)) for seed in range(THREADS)]  # type: ignore[misc]
        give_up = time.monotonic() + 5 * GUARD
        while any(thread.is_alive() for thread in threads) and time.monotonic() < give_up:
            time.sleep(0.005)
            for ends in tuple(self.slots):  # who waits for ever is waited for by nobody
                for end in ends[:2]:
                    try:
                        end.cancel()
                        end.set_cancel(None)
                    except OSError:
                        pass  # closed meanwhile
        self.assertEqual(sum(thread.result() for thread in threads), THREADS * CALLS)
        self.assertEqual(self.wrong, [])


if __name__ == "__main__":
    unittest.main()
