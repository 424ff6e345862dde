# SPDX-License-Identifier: MIT OR Apache-2.0
"""Guarded: the standard library's socket over a descriptor of netfd's, and how
calls go in it: who is inside, who waits, and what ends that.

A call is tried first: recv, send and their like by netfd with MSG_DONTWAIT, those
with addresses and control messages by CPython, which knows how to write both of
every family. What cannot proceed waits in netfd_wait(), with the deadline of this
call, and is tried again. A thread that handles no signals and has no timeout
makes netfd's blocking call instead, with its turns.
"""

from __future__ import annotations

import _socket
import errno
import os
import socket
import sys
import time
import warnings
from _thread import get_ident
from typing import Any, Callable, TypeVar

from . import _signals
from ._errors import error
from ._ffi import ECANCELED, ECLOSED, EDEADLINE, WRITABLE, lib
from ._token import CancelToken

Stock = socket.socket
C = _socket.socket  # the part of it that is written in C

DONTWAIT = int(socket.MSG_DONTWAIT)
NEVER_WAITS = DONTWAIT | int(socket.MSG_ERRQUEUE)
EAGAIN = -errno.EAGAIN
EINTR = -errno.EINTR
_NONBLOCK = int(socket.SOCK_NONBLOCK)
_KIND_FLAGS = _NONBLOCK | int(socket.SOCK_CLOEXEC)

Made = TypeVar("Made", bound="Guarded")

# A fired token, lent to a socket whose callers are to leave their calls.
FIRED = CancelToken()
FIRED.fire()

# How long those who are to leave are waited for: somebody may have left and be
# held up, by a signal handler that waits for us in the end.
_PATIENCE = 0.2


class _Claim:
    """To a number: how many Sockets have it. More than one where somebody made
    another of fileno(), as ssl does."""

    __slots__ = ("holders",)

    def __init__(self) -> None:
        self.holders = 0


_claims: dict[int, _Claim] = {}

# A timeout that is as good as none, for C code that looks at CPython's own.
_AGES = 2_000_000.0


def nanoseconds(seconds: float) -> int:
    """A point of time.monotonic() as netfd has it: never 0, which is none."""
    return max(1, min(int(seconds * 1e9), (1 << 63) - 1))


def _is_ssl(sock: socket.socket) -> bool:
    """Whether _ssl, in C, looks at CPython's own timeout of it."""
    ssl = sys.modules.get("ssl")
    return ssl is not None and isinstance(sock, getattr(ssl, "SSLSocket", ()))


class Guarded(Stock):
    """A socket whose number is not given back while anyone is in a call."""

    __slots__ = (
        "_claim",
        "_fd",
        "_in_c",
        "_inside",
        "_limits",
        "_plain",
        "_timeout",
        "_token",
        "_waiting",
    )

    def __init__(
        self, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None
    ) -> None:
        self._begin()
        if fileno is not None:
            Stock.__init__(self, family, type, proto, fileno)
            timeout = C.gettimeout(self)
            self._take(self.fileno(), timeout, attach=True)
            C.settimeout(self, 0.0)  # the descriptor's mode, and how CPython's part acts
        else:
            family = socket.AF_INET if family == -1 else family
            kind = socket.SOCK_STREAM if type == -1 else type
            proto = 0 if proto == -1 else proto
            fd = lib.netfd_sys_socket(family, kind, proto)
            if fd < 0:
                raise error(fd)
            timeout = 0.0 if kind & _NONBLOCK else socket.getdefaulttimeout()
            self._wrap(fd, family, kind & ~_KIND_FLAGS, proto, timeout)
        self._in_c = _is_ssl(self)
        if self._in_c:
            C.settimeout(self, _AGES if timeout is None else timeout)

    def _begin(self) -> None:
        """What has to be there whatever fails afterwards."""
        self._fd = -1
        self._claim = _Claim()
        self._inside: list[int] = []  # threads in a call
        self._waiting: list[int] = []  # of these, in a netfd_wait()
        self._limits: tuple[int, int] | None = None  # the deadlines
        self._token: CancelToken | None = None
        self._plain = False  # O_NONBLOCK was taken away
        self._timeout: float | None = None
        self._in_c = False

    def _wrap(self, fd: int, family: int, kind: int, proto: int, timeout: float | None) -> None:
        """Makes CPython's part around a descriptor that is attached already."""
        try:
            Stock.__init__(self, family, kind | _NONBLOCK, proto, fd)
        except BaseException:
            lib.netfd_destroy(fd)
            raise
        self._take(fd, timeout)

    def _take(self, fd: int, timeout: float | None, attach: bool = False) -> None:
        code = lib.netfd_attach(fd) if attach else 0
        if code < 0:
            C.detach(self)
            raise error(code)
        if attach:
            self._claim = _claims.get(fd, self._claim)
        _claims[fd] = self._claim
        self._claim.holders += 1
        self._fd = fd
        self._timeout = timeout

    @classmethod
    def _made(
        cls: type[Made], fd: int, family: int, kind: int, proto: int, timeout: float | None
    ) -> Made:
        """Of a descriptor that the library gave."""
        sock = cls.__new__(cls)
        sock._begin()
        sock._wrap(fd, family, kind, proto, timeout)
        return sock

    # How calls go

    def _enter(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """A call on the descriptor, given first: close() sees it, and lets it leave."""
        inside = self._inside
        me = get_ident()
        inside.append(me)
        try:
            if self._plain:
                self._unplain()
            return call(self._fd, *arguments)
        finally:
            inside.remove(me)

    def _finish(
        self, code: int, flags: int, events: int, call: Callable[..., int], *arguments: Any
    ) -> int:
        """Goes on with a call that said `code`, until it has succeeded or failed."""
        timeout = self._timeout
        waits = timeout != 0 and not (timeout is None and flags & NEVER_WAITS)
        until = 0 if not timeout else lib.netfd_now() + int(timeout * 1e9)
        while code < 0:
            if code == EAGAIN and waits:
                self._wait(events, until)
            elif not self._goes_on(code):
                raise self._error(code)
            code = self._enter(call, *arguments)
        return code

    def _goes_on(self, code: int) -> bool:
        """Whether what ended a call was not meant for it."""
        if code == EINTR:
            _signals.handle()
            return True  # none raised
        if code != ECANCELED or self._fd < 0 or (self._token is not None and self._token.fired):
            return False
        with _signals.lock:  # when whoever lent the fired token has it back
            if self._fd >= 0:
                lib.netfd_set_cancel(self._fd, None if self._token is None else self._token._c)
        _signals.handle()
        return True

    def _error(self, code: int) -> Exception:
        if self._fd < 0 and code in (ECANCELED, ECLOSED, -errno.EBADF):
            return error(ECLOSED)
        return error(code)

    def _obey(self, side: int) -> None:
        """For calls that CPython makes: the deadlines and the token come first."""
        if self._token is not None and self._token.fired:
            raise error(ECANCELED)
        if self._limits is not None and 0 < self._limits[side] <= lib.netfd_now():
            raise error(EDEADLINE)

    def _by_stock(self, events: int, flags: int, call: Callable[..., Any], *arguments: Any) -> Any:
        """A call that CPython makes, whose part of the socket never waits."""
        until = -1
        while True:
            self._obey(events == WRITABLE)
            try:
                return self._enter(self._without_waiting, call, *arguments)
            except BlockingIOError:
                timeout = self._timeout
                if timeout == 0 or (timeout is None and flags & NEVER_WAITS):
                    raise
            except OSError as failed:
                if failed.errno == errno.EBADF and self._fd < 0:
                    raise error(ECLOSED) from None
                raise
            if until < 0:
                until = 0 if not timeout else lib.netfd_now() + int(timeout * 1e9)
            self._wait(events, until)

    def _without_waiting(self, _fd: int, call: Callable[..., Any], *arguments: Any) -> Any:
        """A method of CPython's part, which does not wait."""
        if not self._in_c:
            return call(self, *arguments)
        C.settimeout(self, 0.0)
        try:
            return call(self, *arguments)
        finally:
            C.settimeout(self, _AGES if self._timeout is None else self._timeout)

    def _wait(self, events: int, until: int) -> None:
        """Parks until the descriptor is ready, and raises where it is not in time."""
        if get_ident() != _signals.main:
            self._park(events, until, 0)
        elif not self._park(events, until, _signals.SHORT):
            with _signals.Watcher(self._rouse) as watches:
                pause = 0 if watches else _signals.SHORT
                _signals.handle()
                while not self._park(events, until, pause):
                    _signals.handle()

    def _park(self, events: int, until: int, pause: int) -> bool:
        """As _wait(), but for `pause` nanoseconds at most; 0: as long as it takes."""
        me = get_ident()
        handles_signals = me == _signals.main
        pause = pause and lib.netfd_now() + pause
        self._waiting.append(me)  # before it looks: see set_deadline()
        try:
            while True:
                if handles_signals:
                    lib.netfd_set_interruptible(1)  # a handler may have waited, too
                limit = until
                if self._limits is not None:
                    own = self._limits[events == WRITABLE]
                    limit = min(own, limit) if own and limit else own or limit
                pauses = bool(pause) and not 0 < limit <= pause
                code = self._enter(lib.netfd_wait, events, pause if pauses else limit)
                if code > 0:
                    return True
                if code == EDEADLINE and pauses:
                    return False
                if not self._goes_on(code):
                    raise self._error(code)
        finally:
            self._waiting.remove(me)
            if handles_signals:
                lib.netfd_set_interruptible(0)

    def _rouse(self) -> None:
        """Has those who are in netfd_wait() look again at what has changed.

        They are told of a token that has fired, and find that it is not theirs.
        It stays until they have left, also those who were only about to wait.
        """
        me = get_ident()
        with _signals.lock:
            if self._fd < 0 or not self._others(self._waiting, me):
                return
            lib.netfd_set_cancel(self._fd, FIRED._c)
            try:
                self._have_left(me)
            finally:
                lib.netfd_set_cancel(self._fd, None if self._token is None else self._token._c)

    @staticmethod
    def _others(threads: list[int], me: int) -> bool:
        return any(who != me and who not in _signals.gone for who in tuple(threads))

    def _have_left(self, me: int) -> None:
        """Waits until no other thread is in a call."""
        give_up = time.monotonic() + _PATIENCE
        while self._others(self._inside, me) and time.monotonic() < give_up:
            time.sleep(0.0001)

    # Modes

    def settimeout(self, value: float | None) -> None:
        """As the standard one. It is each call's own, beside what set_deadline() says."""
        if value is not None:
            if not hasattr(value, "__float__") and not hasattr(value, "__index__"):
                raise TypeError(f"{type(value).__name__!r} object cannot be a timeout")
            value = float(value)
            if value != value:
                raise ValueError("Invalid value NaN (not a number)")
            if value < 0:
                raise ValueError("Timeout value out of range")
            if value * 1000 > 0x7FFFFFFF:
                raise OverflowError("timeout doesn't fit into C timeval")
        self._set_mode(value, value is None and self._timeout is not None)

    def _set_mode(self, value: float | None, plain: bool) -> None:
        """With `plain` the descriptor is one that blocks, until the next call.

        Programs that are handed it expect that. Not while somebody is in a call.
        """
        # The number may have been closed by another Socket that had it as well.
        if self._fd < 0 or _claims.get(self._fd) is not self._claim:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        self._timeout = value
        if self._in_c:
            C.settimeout(self, _AGES if value is None else value)
        elif plain:
            with _signals.lock:
                self._plain = True  # first: who enters from now on waits for the lock
                if self._others(self._inside, get_ident()):
                    self._plain = False
                else:
                    os.set_blocking(self._fd, True)
        elif self._plain and value is not None:
            self._unplain()

    def gettimeout(self) -> float | None:
        """As the standard one."""
        return self._timeout

    @property
    def timeout(self) -> float | None:
        """As the standard one."""
        return self._timeout

    def getblocking(self) -> bool:
        """As the standard one."""
        return self._timeout != 0

    def setblocking(self, flag: bool) -> None:
        """As the standard one."""
        self._set_mode(None if flag else 0.0, bool(flag))

    def _unplain(self) -> None:
        with _signals.lock:
            if self._plain and self._fd >= 0:
                os.set_blocking(self._fd, False)
            self._plain = False

    def set_deadline(self, when: float | None) -> None:
        """Sets the point of time.monotonic() from which on every call fails.

        It is sticky: TimeoutError comes from calls that are blocked already, and
        from those that would find data, too, until another one is set; None
        lifts it. It ends calls, not the connection: nothing is lost.
        """
        self._set_deadlines(when, when)

    def set_read_deadline(self, when: float | None) -> None:
        """As set_deadline(), for recv and accept."""
        self._set_deadlines(when, ...)

    def set_write_deadline(self, when: float | None) -> None:
        """As set_deadline(), for send and connect."""
        self._set_deadlines(..., when)

    def _set_deadlines(self, *deadlines: Any) -> None:
        with _signals.lock:
            both = list(self._limits or (0, 0))
            setters = (lib.netfd_set_read_deadline, lib.netfd_set_write_deadline)
            for side, when in enumerate(deadlines):
                if when is ...:
                    continue
                both[side] = 0 if when is None else nanoseconds(when)
                code = setters[side](self._fd, both[side])
                if code < 0:
                    raise self._error(code)
            # First this, then who waits is looked for: who begins to wait does it
            # the other way round.
            self._limits = (both[0], both[1]) if any(both) else None
            self._rouse()

    def set_cancel(self, token: CancelToken | None) -> None:
        """Sets the token that every call obeys, those that are blocked too; None lifts it."""
        with _signals.lock:
            code = lib.netfd_set_cancel(self._fd, None if token is None else token._c)
            if code < 0:
                raise self._error(code)
            self._token = token

    def cancel(self) -> None:
        """Ends every call on this socket, those to come too, with CanceledError.

        The socket stays open; set_cancel(None) takes it back.
        """
        self.set_cancel(FIRED)

    # The end

    def _lose(self, for_all: bool = False) -> tuple[int, bool]:
        """The number is ours no more. Whether it was, and is nobody's now."""
        fd = C.detach(self)
        self._fd = -1
        if fd < 0 or _claims.get(fd) is not self._claim:
            return fd, False
        self._claim.holders -= 1
        last = for_all or self._claim.holders == 0
        if last:
            del _claims[fd]
        return fd, last

    def detach(self) -> int:
        """As the standard one: calls that are blocked end with ClosedError."""
        self._closed = True
        with _signals.lock:
            fd, last = self._lose()
        if last:
            lib.netfd_detach(fd)
            if self._timeout is None:
                os.set_blocking(fd, True)
        return fd

    def _real_close(self, _ss: Any = None) -> None:
        me = get_ident()
        with _signals.lock:
            fd, ours = self._lose(for_all=True)
            if fd < 0:
                return
            if not ours:  # another Socket closed it, and the number may be a third one's
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            # Who is inside, or about to be, leaves before the number is free.
            occupied = self._others(self._inside, me)
            if occupied:
                lib.netfd_set_cancel(fd, FIRED._c)
        if occupied:
            self._have_left(me)
        code = lib.netfd_destroy(fd)
        # The kernel forgets data without being asked: no reason to fail here.
        if code < 0 and code not in (-errno.ECONNRESET, ECLOSED):
            raise error(code)

    def __del__(self) -> None:
        if getattr(self, "_fd", -1) < 0:
            return
        try:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, 2, source=self)
        finally:
            fd, last = self._lose()
            if last:
                lib.netfd_destroy(fd)
