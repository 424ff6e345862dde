# SPDX-License-Identifier: MIT OR Apache-2.0
"""How a signal ends a wait of the main thread, and is never lost.

Python's handlers run in the main thread, between two steps of the interpreter.
netfd_set_interruptible() has a signal end netfd_wait(), which is enough for one
that comes during the wait and to this thread. It is not for one that comes just
before the wait begins, nor for one that the kernel gave to another thread. So a
wait that lasts has a watcher beside it: a thread that sleeps on the descriptor
of signal.set_wakeup_fd(), and has the wait end whenever a signal has come to
any thread. It ends with the wait: who forks finds one thread, as ever.
"""

from __future__ import annotations

import _socket
import _thread
import functools
import os
import signal
import sys
import threading
import time
from types import TracebackType
from typing import Callable

# How long a wait may be before it has a watcher, in nanoseconds: the longest
# that a signal which came just before it can be overlooked.
SHORT = 50_000_000

_STOP = b"\0"  # no signal's number

main = threading.main_thread().ident
# Held while sockets' tokens are changed for a moment, see Socket._rouse().
lock = threading.RLock()
# Threads that were in a call when this process was forked off, and are not here.
gone: frozenset[int] = frozenset()
_at_fork: frozenset[int] = frozenset()


def _before_fork() -> None:
    global _at_fork
    _at_fork = frozenset(sys._current_frames())


def _in_child() -> None:
    """The thread that forked is the main one now, and the only one."""
    global main, lock, gone
    main = _thread.get_ident()
    lock = threading.RLock()
    gone = (gone | _at_fork) - {main}


os.register_at_fork(before=_before_fork, after_in_child=_in_child)


def handle() -> None:
    """Runs the handlers of signals that have come.

    The interpreter does so between two steps, but not in a child that a thread
    of Python 3.13 has forked off; this asks, whatever the version.
    """
    signal.pthread_kill(_thread.get_ident(), 0)


class Watcher:
    """While it is entered, a signal calls `rouse`, on a thread of its own.

    To enter it says whether it watches: not in a subinterpreter, which has no
    handlers, nor where there is no thread or no descriptor to be had.
    """

    def __init__(self, rouse: Callable[[], None]) -> None:
        self._rouse = rouse
        self._pid = os.getpid()
        self._before: list[int] = []
        self._pipe: tuple[int, ...] = ()
        self._watches = False

    def __enter__(self) -> bool:
        listen = functools.partial(signal.set_wakeup_fd, warn_on_full_buffer=False)
        try:
            self._pipe = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            os.set_blocking(self._pipe[0], True)
            # Handlers of signals that came before this run on the way out of it,
            # and may raise: in a list what was set before is known even then.
            self._before.extend(map(listen, self._pipe[1:]))
            _thread.start_new_thread(self._watch, self._pipe)
            self._watches = True
        except (ValueError, RuntimeError, OSError):
            self._leave()
        except BaseException:
            self._leave()
            raise
        return self._watches

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._leave()

    def _leave(self) -> None:
        try:
            if self._before:
                signal.set_wakeup_fd(self._before[0])
        finally:
            # Not before: no signal is to be written to a number that is
            # another's. And a handler that forked has no watcher.
            if self._watches and os.getpid() == self._pid:
                self._tell_to_stop()
            else:
                for fd in self._pipe:
                    os.close(fd)
            self._pipe = ()
            self._watches = False

    def _tell_to_stop(self) -> None:
        while True:
            try:
                os.write(self._pipe[1], _STOP)
                return
            except BlockingIOError:
                time.sleep(0.001)  # full of signals, which it is reading

    def _watch(self, ear: int, mouth: int) -> None:
        try:
            while True:
                numbers = os.read(ear, 512)
                self._pass_on(numbers.replace(_STOP, b""))
                if _STOP in numbers:
                    break
                self._rouse()
        finally:
            os.close(ear)
            os.close(mouth)

    def _pass_on(self, numbers: bytes) -> None:
        """To whom the numbers would have gone: an event loop, mostly."""
        if numbers and self._before[0] >= 0:
            try:
                os.write(self._before[0], numbers)
            except OSError:
                pass  # full, or closed: CPython's own write would be lost, too


def apart(call: Callable[[], int], undo: Callable[[int], object], stop: Callable[[], None]) -> int:
    """Makes a call that cannot be resumed, for the main thread: on another one.

    A dial that a signal ends has to begin anew, and under a timer it would never
    come to its end. So it goes on beside, while this thread waits and handlers
    run. If one raises, `stop` is called, and `undo` of the result in the end.
    """
    from ._socket import Socket

    here, there = _socket.socketpair()
    ending = Socket(fileno=here.detach())
    done: list[int] = []
    failed: list[BaseException] = []
    abandoned = False

    def forget() -> None:
        try:
            undo(done.pop())
        except IndexError:
            pass  # nothing came of it, or the other thread saw to it

    def run() -> None:
        try:
            done.append(call())
        except BaseException as error:
            failed.append(error)
        there.close()
        if abandoned:
            forget()

    try:
        ending.settimeout(None)
        _thread.start_new_thread(run, ())
        ending.recv(1)
    except BaseException:
        abandoned = True
        stop()
        forget()
        raise
    finally:
        ending.close()
    if failed:
        raise failed[0]
    return done[0]
