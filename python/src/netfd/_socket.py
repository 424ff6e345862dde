# SPDX-License-Identifier: MIT OR Apache-2.0
"""Socket: the calls, each as the standard library has it."""

from __future__ import annotations

import ctypes
import errno
import operator
import os
import socket
import struct
from _thread import get_ident
from typing import TYPE_CHECKING, Any

from . import _ffi, _signals
from ._buffers import LARGE, ROOM, SMALL, SMALL_ROOM, Pinned, address_of, bytes_at
from ._errors import ClosedError, error
from ._ffi import EDEADLINE, MOST, READABLE, WRITABLE, lib, recvfrom, sendto
from ._guarded import DONTWAIT, EAGAIN, NEVER_WAITS, C, Guarded
from ._token import CancelToken

if TYPE_CHECKING:
    from typing_extensions import Buffer

# What the standard class has for its own use.
_accept: Any = C._accept  # type: ignore[attr-defined]
_GiveUp: Any = getattr(socket, "_GiveupOnSendfile", Exception)

WAITALL = int(socket.MSG_WAITALL)

# connect(2) to this ends an attempt that the kernel would carry on with.
_NOBODY = struct.pack("=H14x", socket.AF_UNSPEC)
_libc = ctypes.CDLL(None)
_libc.connect.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint32)
_libc.getpeername.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_uint32))


class Socket(Guarded):
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

    __slots__ = ()

    # Connections

    def accept(self) -> tuple[Socket, Any]:
        """As the standard one; the connection is a netfd.Socket."""
        timeout = socket.getdefaulttimeout()
        if self._timeout is None and get_ident() != _signals.main:
            room = ctypes.create_string_buffer(128)
            size = ctypes.c_uint32(128)

            call, arguments = lib.netfd_accept, (room, size)
            fd = self._finish(self._enter(call, *arguments), 0, READABLE, call, *arguments)
            address = address_of(self.family, room.raw[: min(size.value, 128)])
            conn = Socket._made(fd, self.family, self.type, self.proto, timeout)
            return conn, conn.getpeername() if address is None else address
        # netfd_accept() waits, and here the wait has a timeout of its own, or may not
        # be. So it is the kernel's, which does not, between two waits in netfd.
        while True:
            try:
                fd, address = self._by_stock(READABLE, 0, _accept)
                break
            except ConnectionAbortedError:
                pass  # gone before it could be accepted: the next one
        code = lib.netfd_attach(fd)
        if code < 0:
            os.close(fd)
            raise error(code)
        return Socket._made(fd, self.family, self.type, self.proto, timeout), address

    def connect(self, address: Any) -> None:
        """As the standard one, which waits for room in a unix listener's queue, too.

        An attempt that a deadline, a token or an exception ends is given up: no
        handshake that completes late is a success.
        """
        self._connect(address)

    def _connect(self, address: Any) -> None:
        self._obey(1)
        timeout = self._timeout
        code = self._enter(self._start, address)
        if code == 0:
            return
        full = code == errno.EAGAIN and self.family == socket.AF_UNIX
        pending = code in (errno.EINPROGRESS, errno.EALREADY)
        if timeout == 0 or not (full or pending):
            raise self._error(-code)
        until = 0 if timeout is None else lib.netfd_now() + int(timeout * 1e9)
        if full:
            code = self._wait_for_room(address, until)
        else:
            try:
                self._wait(WRITABLE, until)
            except BaseException:
                self._enter(self._give_up)
                raise
            code = self._enter(self._confirm)
        if code < 0:
            raise self._error(code)

    def _wait_for_room(self, address: Any, until: int) -> int:
        """Nothing is pending then, and nothing tells of room: netfd tries again."""
        name = os.fsencode(address) if isinstance(address, str) else bytes(address)
        raw = struct.pack("=H", self.family) + name + (b"" if name[:1] == b"\0" else b"\0")
        main = get_ident() == _signals.main
        while True:
            token = CancelToken()
            arguments = (None, 0, raw, len(raw), until, token._c)

            def call() -> int:
                code: int = self._enter(lib.netfd_connect, *arguments)  # noqa: B023
                return code

            code = _signals.apart(call, lambda _: None, token.fire) if main else call()
            if code == 0 or not self._goes_on(code):
                return code

    def _start(self, fd: int, address: Any) -> int:
        code: int = self._without_waiting(fd, C.connect_ex, address)
        return code

    def _confirm(self, fd: int) -> int:
        """Tells netfd of an attempt that is decided: it is netfd that believes it."""
        room, size = ctypes.create_string_buffer(128), ctypes.c_uint32(128)
        if _libc.getpeername(fd, room, size) != 0:
            return -(self._give_up(fd) or errno.ECONNABORTED)
        code: int = lib.netfd_connect(fd, None, 0, room, size.value, 0, None)
        return code

    def _give_up(self, fd: int) -> int:
        """Ends an attempt, and says what became of it. One that has failed, too: the
        next connect(2) would be told so once more."""
        if fd < 0:
            return errno.EBADF
        failed = C.getsockopt(self, socket.SOL_SOCKET, socket.SO_ERROR)
        _libc.connect(fd, _NOBODY, len(_NOBODY))
        C.getsockopt(self, socket.SOL_SOCKET, socket.SO_ERROR)
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
        code = self._enter(lib.netfd_shutdown, how)
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
        target = bytes_at(buffer)
        if not 0 < size <= MOST:
            if not size:
                return 0
            size = MOST
        me = get_ident()
        n: int
        tries = flags if self._timeout is None and me != _signals.main else flags | DONTWAIT
        inside = self._inside
        inside.append(me)
        try:
            if self._plain:
                self._unplain()
            n = recvfrom(self._fd, target, size, tries, None, None)
        finally:
            inside.remove(me)
        if n < 0:
            arguments = (target, size, tries, None, None)
            n = self._finish(n, flags, READABLE, recvfrom, *arguments)
        if flags and n < size and self._waits_for_all(flags):
            n = self._receive_rest(memoryview(buffer).cast("B")[:size], n, flags)
        return n

    def _waits_for_all(self, flags: int) -> bool:
        if not flags & WAITALL or flags & (NEVER_WAITS | int(socket.MSG_PEEK)):
            return False
        return self._timeout is None and self.type == socket.SOCK_STREAM

    def _receive_rest(self, view: memoryview, n: int, flags: int) -> int:
        """MSG_WAITALL, which the kernel obeys on blocking descriptors only."""
        while 0 < n < len(view):
            more = self.recv_into(view[n:], 0, flags & ~WAITALL)
            if not more:
                break
            n += more
        return n

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        """As the standard one."""
        if type(bufsize) is not int:
            bufsize = operator.index(bufsize)
        if bufsize > ROOM or flags & WAITALL:
            room = bytearray(bufsize)
            got = self.recv_into(room, 0, flags)
            return bytes(memoryview(room)[:got])
        if bufsize <= 0:
            if bufsize < 0:
                raise ValueError("negative buffersize in recv")
            return b""
        rooms, Room = SMALL if bufsize <= SMALL_ROOM else LARGE
        try:
            target = rooms.pop()
        except IndexError:
            target = Room()
        me = get_ident()
        n: int
        tries = flags if self._timeout is None and me != _signals.main else flags | DONTWAIT
        inside = self._inside
        inside.append(me)
        try:
            if self._plain:
                self._unplain()
            n = recvfrom(self._fd, target, bufsize, tries, None, None)
        finally:
            inside.remove(me)
        if n < 0:
            arguments = (target, bufsize, tries, None, None)
            n = self._finish(n, flags, READABLE, recvfrom, *arguments)
        data: bytes = target[: min(n, bufsize)]  # MSG_TRUNC says more than it gives
        if len(rooms) < 16:
            rooms.append(target)
        return data

    def send(self, data: Buffer, flags: int = 0) -> int:
        """As the standard one."""
        if type(data) is not bytes or len(data) > MOST:
            with Pinned(data) as pinned:
                start = ctypes.c_void_p(pinned.address)
                return self._send(start, min(pinned.size, MOST), flags)
        return self._send(data, len(data), flags)

    def _send(self, data: Any, size: int, flags: int) -> int:
        me = get_ident()
        n: int
        tries = flags if self._timeout is None and me != _signals.main else flags | DONTWAIT
        inside = self._inside
        inside.append(me)
        try:
            if self._plain:
                self._unplain()
            n = sendto(self._fd, data, size, tries, None, 0)
        finally:
            inside.remove(me)
        if n < 0:
            n = self._finish(n, flags, WRITABLE, sendto, data, size, tries, None, 0)
        return n

    def sendall(self, data: Buffer, flags: int = 0) -> None:
        """As the standard one: its timeout is for all of it.

        Without one, outside the main thread, what several threads send is not
        mingled, unless a deadline is set meanwhile.
        """
        timeout = self._timeout
        until = 0 if not timeout else lib.netfd_now() + int(timeout * 1e9)
        sent = 0
        if type(data) is bytes and len(data) <= MOST:
            # Mostly it goes in one piece, and nothing has to be pinned for more.
            sent = self._send_part(data, len(data), flags, until)
            if sent == len(data):
                return
        with Pinned(data) as pinned:
            while True:
                start = ctypes.c_void_p(pinned.address + sent)
                sent += self._send_part(start, min(pinned.size - sent, MOST), flags, until)
                if sent >= pinned.size:
                    return
                # The standard one's clock is looked at between two pieces, too.
                if until and lib.netfd_now() >= until:
                    raise error(EDEADLINE)

    def _send_part(self, start: Any, size: int, flags: int, until: int) -> int:
        """As much as goes at once; where no signal and no timeout can end it, all."""
        timeout = self._timeout
        me = get_ident()
        whole = timeout is None and not flags and me != _signals.main
        inside = self._inside
        while True:
            part: int
            inside.append(me)
            try:
                if self._plain:
                    self._unplain()
                if whole:
                    part = _ffi.write(self._fd, start, size)
                else:
                    part = sendto(self._fd, start, size, flags | DONTWAIT, None, 0)
            finally:
                inside.remove(me)
            code = part
            if whole and 0 <= part < size:
                code = lib.netfd_last_error(None)  # what stopped it
            if code >= 0:
                return part
            if code == EAGAIN and timeout != 0 and not (timeout is None and flags & NEVER_WAITS):
                self._wait(WRITABLE, until)
            elif not self._goes_on(code):
                raise self._error(code)
            if part > 0:
                return part

    # What has addresses or control messages

    def recvfrom(self, bufsize: int, flags: int = 0) -> tuple[bytes, Any]:
        """As the standard one."""
        return self._by_stock(READABLE, flags, C.recvfrom, bufsize, flags)  # type: ignore[no-any-return]

    def recvfrom_into(self, buffer: Buffer, nbytes: int = 0, flags: int = 0) -> tuple[int, Any]:
        """As the standard one."""
        return self._by_stock(READABLE, flags, C.recvfrom_into, buffer, nbytes, flags)  # type: ignore[no-any-return]

    def recvmsg(self, bufsize: int, ancbufsize: int = 0, flags: int = 0) -> Any:
        """As the standard one."""
        return self._by_stock(READABLE, flags, C.recvmsg, bufsize, ancbufsize, flags)

    def recvmsg_into(self, buffers: Any, ancbufsize: int = 0, flags: int = 0) -> Any:
        """As the standard one."""
        return self._by_stock(READABLE, flags, C.recvmsg_into, buffers, ancbufsize, flags)

    def sendto(self, *arguments: Any) -> int:
        """As the standard one: sendto(data, address) or sendto(data, flags, address)."""
        flags = arguments[1] if len(arguments) == 3 and isinstance(arguments[1], int) else 0
        return self._by_stock(WRITABLE, flags, C.sendto, *arguments)  # type: ignore[no-any-return]

    def sendmsg(self, *arguments: Any) -> int:
        """As the standard one: sendmsg(buffers[, ancdata[, flags[, address]]])."""
        flags = arguments[2] if len(arguments) > 2 and isinstance(arguments[2], int) else 0
        return self._by_stock(WRITABLE, flags, C.sendmsg, *arguments)  # type: ignore[no-any-return]

    def sendmsg_afalg(self, *arguments: Any, **named: Any) -> int:
        """As the standard one."""
        flags = named.get("flags", 0)
        return self._by_stock(  # type: ignore[no-any-return]
            WRITABLE, flags, lambda sock: C.sendmsg_afalg(sock, *arguments, **named)
        )

    def _sendfile_use_sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        """sendfile()'s better half: the kernel moves the bytes."""
        self._check_sendfile_params(file, offset, count)  # type: ignore[attr-defined]
        try:
            fileno = file.fileno()
            size = os.fstat(fileno).st_size
        except (AttributeError, OSError, ValueError) as failed:
            raise _GiveUp(failed) from None  # not a regular file
        if not size:
            return 0
        if self._timeout == 0:
            raise ValueError("non-blocking sockets are not supported")
        sent = 0
        try:
            while count is None or sent < count:
                most = MOST if count is None else min(count - sent, MOST)
                try:
                    n = self._send_piece(fileno, offset + sent, most)
                except OSError as failed:
                    # Nothing has gone, and the file is not one for sendfile(2).
                    if not sent and failed.errno in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
                        raise _GiveUp(failed) from None
                    raise
                if not n:
                    break
                sent += n
            return sent
        finally:
            if sent and hasattr(file, "seek"):
                file.seek(offset + sent)

    def _send_piece(self, fileno: int, offset: int, count: int) -> int:
        if self._timeout is None and get_ident() != _signals.main:
            call, arguments = lib.netfd_sendfile, (fileno, offset, count)
            return self._finish(self._enter(call, *arguments), 0, WRITABLE, call, *arguments)
        n: int = self._by_stock(
            WRITABLE, 0, lambda sock: os.sendfile(sock._fd, fileno, offset, count)
        )
        return n


Socket.__module__ = "netfd"
