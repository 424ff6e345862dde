# SPDX-License-Identifier: MIT OR Apache-2.0
"""Socket: the standard library's socket over a descriptor of netfd's.

How a call goes. It is tried first: recv, send and their like by netfd with
MSG_DONTWAIT, those with addresses and control messages by CPython, which knows
how to write both of every family. What cannot proceed waits in netfd_wait(),
with the deadline of this call, and is tried again. A thread that handles no
signals and has no timeout makes netfd's blocking call instead, with its turns.
"""

from __future__ import annotations

import _socket
import ctypes
import errno
import operator
import os
import socket
import struct
import sys
import time
import warnings
from _thread import get_ident
from typing import TYPE_CHECKING, Any, Callable

from . import _ffi, _signals
from ._errors import ClosedError, error
from ._ffi import ECANCELED, ECLOSED, EDEADLINE, MOST, READABLE, WRITABLE, lib, recvfrom, sendto
from ._token import CancelToken

if TYPE_CHECKING:
    from typing import SupportsIndex

    from typing_extensions import Buffer

_Stock = socket.socket
_C = _socket.socket  # the part of it that is written in C

_DONTWAIT = int(socket.MSG_DONTWAIT)
_NEVER_WAITS = _DONTWAIT | int(socket.MSG_ERRQUEUE)
_WAITALL = int(socket.MSG_WAITALL)
_NONBLOCK = int(socket.SOCK_NONBLOCK)
_KIND_FLAGS = _NONBLOCK | int(socket.SOCK_CLOEXEC)
_EAGAIN = -errno.EAGAIN
_EINTR = -errno.EINTR

# A fired token, lent to a socket whose callers are to leave their calls.
_FIRED = CancelToken()
_FIRED.fire()

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

# connect(2) to this ends an attempt that the kernel would carry on with.
_NOBODY = struct.pack("=H14x", socket.AF_UNSPEC)
_libc = ctypes.CDLL(None)
_libc.connect.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint32)
_libc.getpeername.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_uint32))

# A timeout that is as good as none, for C code that looks at CPython's own.
_AGES = 2_000_000.0

# Room to receive into: from hand to hand, so that a handler that runs in the
# middle of a call gets another.
_ROOM = 1 << 16
_rooms: list[Any] = []
_Room = ctypes.c_char * _ROOM

# What a writable buffer looks like to ctypes; the length is told beside it.
_bytes_at = (ctypes.c_char * 0).from_buffer


class _Py_buffer(ctypes.Structure):
    _fields_ = [
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.py_object),
        ("len", ctypes.c_ssize_t),
        ("rest", ctypes.c_byte * 128),
    ]


class _Pinned:
    """The bytes of any contiguous buffer, as an address: nothing is copied."""

    __slots__ = ("_held", "_view", "address", "size")

    def __init__(self, data: Buffer) -> None:
        view = memoryview(data)
        self._view = view if view.c_contiguous else memoryview(view.tobytes())
        self.size = self._view.nbytes
        self._held: Any = None
        if not self.size:
            self.address = 0
        elif not self._view.readonly:
            self._held = _bytes_at(self._view)
            self.address = ctypes.addressof(self._held)
        elif hasattr(ctypes, "pythonapi"):
            self._held = _Py_buffer()
            # PyBUF_SIMPLE. The memoryview stays exported until it is let go.
            ctypes.pythonapi.PyObject_GetBuffer(
                ctypes.py_object(self._view), ctypes.byref(self._held), 0
            )
            self.address = self._held.buf
        else:
            self._held = ctypes.create_string_buffer(self._view.tobytes(), self.size)
            self.address = ctypes.addressof(self._held)

    def __enter__(self) -> _Pinned:
        return self

    def __exit__(self, *_: object) -> None:
        held, self._held = self._held, None
        if isinstance(held, _Py_buffer):
            ctypes.pythonapi.PyBuffer_Release(ctypes.byref(held))


def _nanoseconds(seconds: float) -> int:
    """A point of time.monotonic() as netfd has it: never 0, which is none."""
    return max(1, min(int(seconds * 1e9), (1 << 63) - 1))


def _address(family: int, raw: bytes) -> Any:
    """A sockaddr as CPython shows it; None: of another family."""
    if family == socket.AF_INET:
        return socket.inet_ntoa(raw[4:8]), struct.unpack_from("!H", raw, 2)[0]
    if family == socket.AF_INET6:
        port, flow = struct.unpack_from("!HI", raw, 2)
        scope = struct.unpack_from("=I", raw, 24)[0]
        return socket.inet_ntop(socket.AF_INET6, raw[8:24]), port, flow, scope
    if family == socket.AF_UNIX:
        name = raw[2:]
        return name if name[:1] == b"\0" else os.fsdecode(name.split(b"\0")[0])
    return None


def _is_ssl(sock: socket.socket) -> bool:
    """Whether _ssl, in C, looks at CPython's own timeout of it."""
    ssl = sys.modules.get("ssl")
    return ssl is not None and isinstance(sock, getattr(ssl, "SSLSocket", ()))


class Socket(_Stock):
    """A socket.socket whose calls can be ended.

    It is used as the standard library's, and takes its place: the same methods,
    arguments, exceptions, timeouts and modes. Beyond that

    - close() wakes whoever is blocked in the socket, with ClosedError, and no
      call ever reaches another socket that got the same number;
    - set_deadline() ends calls at a point in time, those that are blocked too;
    - set_cancel() and cancel() end them whenever one likes, with CanceledError.

    The descriptor itself is always non-blocking: a program that gets the number
    and reads it by other means sees that. setblocking(True) makes it a blocking
    one until the next call of this class.
    """

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
            _Stock.__init__(self, family, type, proto, fileno)
            timeout = _C.gettimeout(self)
            self._take(self.fileno(), timeout, attach=True)
            _C.settimeout(self, 0.0)  # the descriptor's mode, and how CPython's part acts
        else:
            family = socket.AF_INET if family == -1 else family
            kind = socket.SOCK_STREAM if type == -1 else type
            proto = 0 if proto == -1 else proto
            fd = lib.netfd_sys_socket(family, kind, proto)
            if fd < 0:
                raise error(fd)
            timeout = 0.0 if kind & _NONBLOCK else socket.getdefaulttimeout()
            self._wrap(fd, family, kind & ~_KIND_FLAGS, proto, timeout)
        self._in_c = self.__class__ is not Socket and _is_ssl(self)
        if self._in_c:
            _C.settimeout(self, _AGES if timeout is None else timeout)

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
            _Stock.__init__(self, family, kind | _NONBLOCK, proto, fd)
        except BaseException:
            lib.netfd_destroy(fd)
            raise
        self._take(fd, timeout)

    def _take(self, fd: int, timeout: float | None, attach: bool = False) -> None:
        code = lib.netfd_attach(fd) if attach else 0
        if code < 0:
            _C.detach(self)
            raise error(code)
        if attach:
            self._claim = _claims.get(fd, self._claim)
        _claims[fd] = self._claim
        self._claim.holders += 1
        self._fd = fd
        self._timeout = timeout

    @classmethod
    def _made(
        cls, fd: int, family: int, kind: int, proto: int, timeout: float | None
    ) -> Socket:
        """Of a descriptor that the library gave."""
        sock = Socket.__new__(Socket)
        sock._begin()
        sock._wrap(fd, family, kind, proto, timeout)
        return sock

    # How calls go

    def _enter(self, call: Callable[[], Any]) -> Any:
        """A call inside the descriptor: close() sees it, and lets it leave."""
        inside = self._inside
        me = get_ident()
        inside.append(me)
        try:
            if self._plain:
                self._unplain()
            return call()
        finally:
            inside.remove(me)

    def _finish(self, code: int, flags: int, events: int, call: Callable[[], int]) -> int:
        """Goes on with a call that said `code`, until it has succeeded or failed."""
        timeout = self._timeout
        waits = timeout != 0 and not (timeout is None and flags & _NEVER_WAITS)
        until = 0 if not timeout else lib.netfd_now() + int(timeout * 1e9)
        while code < 0:
            if code == _EAGAIN and waits:
                self._wait(events, until)
            elif not self._goes_on(code):
                raise self._error(code)
            code = self._enter(call)
        return code

    def _goes_on(self, code: int) -> bool:
        """Whether what ended a call was not meant for it."""
        if code == _EINTR:
            return True  # handlers have run, and did not raise
        if code != ECANCELED or self._fd < 0 or (self._token is not None and self._token.fired):
            return False
        with _signals.lock:  # when whoever lent the fired token has it back
            if self._fd >= 0:
                lib.netfd_set_cancel(self._fd, None if self._token is None else self._token._c)
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

    def _by_stock(
        self, events: int, flags: int, call: Callable[..., Any], *arguments: Any
    ) -> Any:
        """A call that CPython makes, whose part of the socket never waits."""
        until = -1
        while True:
            self._obey(events == WRITABLE)
            try:
                return self._enter(lambda: self._without_waiting(call, *arguments))
            except BlockingIOError:
                timeout = self._timeout
                if timeout == 0 or (timeout is None and flags & _NEVER_WAITS):
                    raise
            if until < 0:
                until = 0 if not timeout else lib.netfd_now() + int(timeout * 1e9)
            self._wait(events, until)

    def _wait(self, events: int, until: int) -> None:
        """Parks until the descriptor is ready, and raises where it is not in time."""
        if get_ident() != _signals.main:
            self._park(events, until, 0)
        elif not self._park(events, until, _signals.SHORT):
            with _signals.Watcher(self._rouse) as watches:
                pause = 0 if watches else _signals.SHORT
                while not self._park(events, until, pause):
                    pass

    def _park(self, events: int, until: int, pause: int) -> bool:
        """As _wait(), but for `pause` nanoseconds at most; 0: as long as it takes."""
        me = get_ident()
        handles_signals = me == _signals.main
        pause = pause and lib.netfd_now() + pause
        self._waiting.append(me)  # before it looks: see set_deadline()
        try:
            if handles_signals:
                lib.netfd_set_interruptible(1)
            while True:
                limit = until
                if self._limits is not None:
                    own = self._limits[events == WRITABLE]
                    limit = min(own, limit) if own and limit else own or limit
                pauses = bool(pause) and not 0 < limit <= pause
                code = self._enter(
                    lambda: lib.netfd_wait(self._fd, events, pause if pauses else limit)
                )
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
            lib.netfd_set_cancel(self._fd, _FIRED._c)
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
            _C.settimeout(self, _AGES if value is None else value)
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
    def timeout(self) -> float | None:  # type: ignore[override]
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
                both[side] = 0 if when is None else _nanoseconds(when)
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
        self.set_cancel(_FIRED)

    # Connections

    def accept(self) -> tuple[Socket, Any]:
        """As the standard one; the connection is a netfd.Socket."""
        timeout = socket.getdefaulttimeout()
        if self._timeout is None and get_ident() != _signals.main:
            room = ctypes.create_string_buffer(128)
            size = ctypes.c_uint32(128)

            def call() -> int:
                size.value = 128
                return lib.netfd_accept(self._fd, room, size)  # type: ignore[no-any-return]

            fd = self._finish(self._enter(call), 0, READABLE, call)
            address = _address(self.family, room.raw[: min(size.value, 128)])
            conn = self._made(fd, self.family, self.type, self.proto, timeout)
            return conn, conn.getpeername() if address is None else address
        while True:
            try:
                fd, address = self._by_stock(READABLE, 0, _C._accept)
                break
            except ConnectionAbortedError:
                pass  # gone before it could be accepted: the next one
        code = lib.netfd_attach(fd)
        if code < 0:
            os.close(fd)
            raise error(code)
        return self._made(fd, self.family, self.type, self.proto, timeout), address

    def connect(self, address: Any) -> None:
        """As the standard one, which waits for room in a unix listener's queue, too.

        An attempt that a deadline, a token or an exception ends is given up: no
        handshake that completes late is a success.
        """
        self._connect(address)

    def _connect(self, address: Any) -> None:
        self._obey(1)
        timeout = self._timeout
        code = self._enter(lambda: self._start(address))
        if timeout == 0 or code not in (errno.EINPROGRESS, errno.EALREADY, errno.EAGAIN):
            if code:
                raise OSError(code, os.strerror(code))
            return
        until = 0 if timeout is None else lib.netfd_now() + int(timeout * 1e9)
        pause = 0.001
        while code == errno.EAGAIN:  # a unix socket's: nothing is pending
            if until and lib.netfd_now() >= until:
                raise error(EDEADLINE)
            time.sleep(pause)
            pause = min(pause * 2, 0.064)
            self._obey(1)
            code = self._enter(lambda: self._start(address))
        if code == errno.EINPROGRESS or code == errno.EALREADY:
            try:
                self._wait(WRITABLE, until)
            except BaseException:
                self._enter(self._give_up)
                raise
            code = 0
            failed = self._enter(self._confirm)
            if failed < 0:
                raise self._error(failed)
        if code:
            raise OSError(code, os.strerror(code))

    def _start(self, address: Any) -> int:
        return self._without_waiting(_C.connect_ex, address)  # type: ignore[no-any-return]

    def _without_waiting(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """A method of CPython's part, which does not wait."""
        if not self._in_c:
            return call(self, *arguments)
        _C.settimeout(self, 0.0)
        try:
            return call(self, *arguments)
        finally:
            _C.settimeout(self, _AGES if self._timeout is None else self._timeout)

    def _confirm(self) -> int:
        """Tells netfd of an attempt that is decided: it is netfd that believes it."""
        room, size = ctypes.create_string_buffer(128), ctypes.c_uint32(128)
        if _libc.getpeername(self._fd, room, size) == 0:
            return lib.netfd_connect(self._fd, None, 0, room, size.value, 0, None)  # type: ignore[no-any-return]
        return -(self._give_up() or errno.ECONNABORTED)

    def _give_up(self) -> int:
        """Ends an attempt, and says what became of it. One that has failed, too: the
        next connect(2) would be told so once more."""
        if self._fd < 0:
            return errno.EBADF
        failed = _C.getsockopt(self, socket.SOL_SOCKET, socket.SO_ERROR)
        _libc.connect(self._fd, _NOBODY, len(_NOBODY))
        _C.getsockopt(self, socket.SOL_SOCKET, socket.SO_ERROR)
        return failed

    def connect_ex(self, address: Any) -> int:
        """As the standard one."""
        try:
            self._connect(address)
        except (socket.gaierror, ClosedError):
            raise
        except socket.timeout as late:
            return late.errno or errno.EAGAIN
        except OSError as failed:
            if failed.errno is None:
                raise
            return failed.errno
        return 0

    def shutdown(self, how: int) -> None:
        """As the standard one."""
        if abs(operator.index(how)) >> 31:
            raise OverflowError("Python int too large to convert to C int")
        code = self._enter(lambda: lib.netfd_shutdown(self._fd, how))
        if code < 0:
            raise self._error(code)

    # Bytes

    def recv_into(self, buffer: Buffer, nbytes: int = 0, flags: int = 0) -> int:
        """As the standard one."""
        size = len(buffer) if type(buffer) is bytearray else memoryview(buffer).nbytes
        if nbytes:
            if nbytes < 0:
                raise ValueError("negative buffersize in recv_into")
            if nbytes > size:
                raise ValueError("buffer too small for requested bytes")
            size = nbytes
        if not size:
            return 0
        target = _bytes_at(buffer)
        if size > MOST:
            size = MOST
        me = get_ident()
        tries = flags if self._timeout is None and me != _signals.main else flags | _DONTWAIT
        inside = self._inside
        inside.append(me)
        try:
            if self._plain:
                self._unplain()
            n: int = recvfrom(self._fd, target, size, tries, None, None)
        finally:
            inside.remove(me)
        if n < 0:
            n = self._finish(
                n,
                flags,
                READABLE,
                lambda: recvfrom(self._fd, target, size, tries, None, None),
            )
        if flags & _WAITALL and n < size and self._timeout is None and not flags & _NEVER_WAITS:
            n = self._receive_rest(memoryview(buffer).cast("B")[:size], n, flags)
        return n

    def _receive_rest(self, view: memoryview, n: int, flags: int) -> int:
        """MSG_WAITALL, which the kernel obeys on blocking descriptors only."""
        if self.type != socket.SOCK_STREAM or flags & int(socket.MSG_PEEK):
            return n
        while 0 < n < len(view):
            more = self.recv_into(view[n:], 0, flags & ~_WAITALL)
            if not more:
                break
            n += more
        return n

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        """As the standard one."""
        if type(bufsize) is not int:
            bufsize = operator.index(bufsize)
        if bufsize > _ROOM or flags & _WAITALL:
            room = bytearray(bufsize)
            n = self.recv_into(room, 0, flags)
            return bytes(memoryview(room)[:n])
        if bufsize <= 0:
            if bufsize < 0:
                raise ValueError("negative buffersize in recv")
            return b""
        try:
            target = _rooms.pop()
        except IndexError:
            target = _Room()
        me = get_ident()
        tries = flags if self._timeout is None and me != _signals.main else flags | _DONTWAIT
        inside = self._inside
        inside.append(me)
        try:
            if self._plain:
                self._unplain()
            n: int = recvfrom(self._fd, target, bufsize, tries, None, None)
        finally:
            inside.remove(me)
        if n < 0:
            n = self._finish(
                n,
                flags,
                READABLE,
                lambda: recvfrom(self._fd, target, bufsize, tries, None, None),
            )
        data: bytes = target[: min(n, bufsize)]  # MSG_TRUNC says more than it gives
        if len(_rooms) < 16:
            _rooms.append(target)
        return data

    def send(self, data: Buffer, flags: int = 0) -> int:
        """As the standard one."""
        if type(data) is not bytes or len(data) > MOST:
            with _Pinned(data) as pinned:
                start = ctypes.c_void_p(pinned.address)
                return self._send(start, min(pinned.size, MOST), flags)
        return self._send(data, len(data), flags)

    def _send(self, data: Any, size: int, flags: int) -> int:
        me = get_ident()
        tries = flags if self._timeout is None and me != _signals.main else flags | _DONTWAIT
        inside = self._inside
        inside.append(me)
        try:
            if self._plain:
                self._unplain()
            n: int = sendto(self._fd, data, size, tries, None, 0)
        finally:
            inside.remove(me)
        if n < 0:
            n = self._finish(
                n, flags, WRITABLE, lambda: sendto(self._fd, data, size, tries, None, 0)
            )
        return n

    def sendall(self, data: Buffer, flags: int = 0) -> None:
        """As the standard one: its timeout is for all of it.

        Without one, outside the main thread, what several threads send is not
        mingled.
        """
        timeout = self._timeout
        whole = timeout is None and get_ident() != _signals.main and not flags
        until = 0 if not timeout else lib.netfd_now() + int(timeout * 1e9)
        with _Pinned(data) as pinned:
            sent = 0
            while True:
                start = ctypes.c_void_p(pinned.address + sent)
                size = min(pinned.size - sent, MOST)
                if whole:
                    code = self._enter(lambda: _ffi.write(self._fd, start, size))
                    if 0 <= code < size:  # stopped after a part
                        sent += code
                        code = lib.netfd_last_error(None)
                else:
                    code = self._enter(
                        lambda: sendto(self._fd, start, size, flags | _DONTWAIT, None, 0)
                    )
                if code >= 0:
                    sent += code
                    if sent >= pinned.size:
                        return
                    # The standard one's clock is looked at between two pieces, too.
                    if until and lib.netfd_now() >= until:
                        raise error(EDEADLINE)
                elif code == _EAGAIN and timeout != 0 and not (timeout is None and flags & _DONTWAIT):
                    self._wait(WRITABLE, until)
                elif not self._goes_on(code):
                    raise self._error(code)

    # What has addresses or control messages

    def recvfrom(self, bufsize: int, flags: int = 0) -> tuple[bytes, Any]:
        """As the standard one."""
        return self._by_stock(READABLE, flags, _C.recvfrom, bufsize, flags)  # type: ignore[no-any-return]

    def recvfrom_into(self, buffer: Buffer, nbytes: int = 0, flags: int = 0) -> tuple[int, Any]:
        """As the standard one."""
        return self._by_stock(READABLE, flags, _C.recvfrom_into, buffer, nbytes, flags)  # type: ignore[no-any-return]

    def recvmsg(self, bufsize: int, ancbufsize: int = 0, flags: int = 0) -> Any:
        """As the standard one."""
        return self._by_stock(READABLE, flags, _C.recvmsg, bufsize, ancbufsize, flags)

    def recvmsg_into(self, buffers: Any, ancbufsize: int = 0, flags: int = 0) -> Any:
        """As the standard one."""
        return self._by_stock(READABLE, flags, _C.recvmsg_into, buffers, ancbufsize, flags)

    def sendto(self, *arguments: Any) -> int:
        """As the standard one: sendto(data, address) or sendto(data, flags, address)."""
        flags = arguments[1] if len(arguments) == 3 and isinstance(arguments[1], int) else 0
        return self._by_stock(WRITABLE, flags, _C.sendto, *arguments)  # type: ignore[no-any-return]

    def sendmsg(self, *arguments: Any) -> int:
        """As the standard one: sendmsg(buffers[, ancdata[, flags[, address]]])."""
        flags = arguments[2] if len(arguments) > 2 and isinstance(arguments[2], int) else 0
        return self._by_stock(WRITABLE, flags, _C.sendmsg, *arguments)  # type: ignore[no-any-return]

    def sendmsg_afalg(self, *arguments: Any, **named: Any) -> int:
        """As the standard one."""
        flags = named.get("flags", 0)
        return self._by_stock(  # type: ignore[no-any-return]
            WRITABLE, flags, lambda sock: _C.sendmsg_afalg(sock, *arguments, **named)
        )

    def _sendfile_use_sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        """sendfile()'s better half: the kernel moves the bytes."""
        self._check_sendfile_params(file, offset, count)
        try:
            fileno = file.fileno()
            size = os.fstat(fileno).st_size
        except (AttributeError, OSError, ValueError) as error_:
            raise socket._GiveupOnSendfile(error_) from None  # not a regular file
        if not size:
            return 0
        if self._timeout == 0:
            raise ValueError("non-blocking sockets are not supported")
        whole = self._timeout is None and get_ident() != _signals.main
        sent = 0
        try:
            while count is None or sent < count:
                most = MOST if count is None else min(count - sent, MOST)

                def call() -> int:
                    if whole:
                        n = lib.netfd_sendfile(self._fd, fileno, offset + sent, most)
                        return n  # type: ignore[no-any-return]
                    return os.sendfile(self._fd, fileno, offset + sent, most)

                try:
                    if whole:
                        n = self._finish(self._enter(call), 0, WRITABLE, call)
                    else:
                        n = self._by_stock(WRITABLE, 0, lambda _: call())
                except OSError as failed:
                    # Nothing has gone, and the file is not one for sendfile(2).
                    if not sent and failed.errno in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
                        raise socket._GiveupOnSendfile(failed) from None
                    raise
                if not n:
                    break
                sent += n
            return sent
        finally:
            if sent and hasattr(file, "seek"):
                file.seek(offset + sent)

    # The end

    def _lose(self, for_all: bool = False) -> tuple[int, bool]:
        """The number is ours no more. Whether it was, and is nobody's now."""
        fd = _C.detach(self)
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
                lib.netfd_set_cancel(fd, _FIRED._c)
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


Socket.__module__ = "netfd"
