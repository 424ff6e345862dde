# SPDX-License-Identifier: MIT OR Apache-2.0
"""Exceptions for codes: the ones that the standard library raises."""

from __future__ import annotations

import ctypes
import errno
import os
import socket

from . import _ffi


class ClosedError(OSError):
    """The socket was closed or detached while the call was blocked in it.

    Its errno is EBADF, which a call on a closed socket has always had.
    """


class CanceledError(OSError):
    """A CancelToken, or Socket.cancel(), ended the call. Its errno is ECANCELED."""


def text() -> str:
    """The calling thread's last failure, as Go would put it."""
    room = ctypes.create_string_buffer(2048)
    _ffi.lib.netfd_error_text(room, len(room))
    return room.value.decode("utf-8", "replace")


def error(code: int, address: str | None = None, told: str = "") -> Exception:
    """The exception for a negative code; `address` becomes its filename.

    `told` is what text() said, on the thread that failed.
    """
    if code == _ffi.EDEADLINE:
        return socket.timeout("timed out")
    where = () if address is None else (address,)
    if code == _ffi.ECLOSED:
        return ClosedError(errno.EBADF, "the socket was closed", *where)
    if code == _ffi.ECANCELED:
        return CanceledError(errno.ECANCELED, "the call was canceled", *where)
    if code == _ffi.ENOHOST:
        return socket.gaierror(socket.EAI_NONAME, f"no such host: {address}")
    if code == _ffi.EDNS:
        return socket.gaierror(socket.EAI_FAIL, f"the name could not be looked up: {address}")
    if code in (_ffi.ENETWORK, _ffi.EADDRESS):
        return ValueError(told or _ffi.lib.netfd_strerror(code).decode())
    if code == _ffi.EPANIC:
        return RuntimeError("a bug in netfd; the call did not complete")
    return OSError(-code, os.strerror(-code), *where)
