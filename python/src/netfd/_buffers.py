# SPDX-License-Identifier: MIT OR Apache-2.0
"""Bytes and addresses, as Python has them and as C does."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Buffer

# Room to receive into, of two sizes: from hand to hand, so that a handler that runs
# in the middle of a call gets another.
SMALL_ROOM, ROOM = 1 << 12, 1 << 16
SMALL: tuple[list[Any], Any] = ([], ctypes.c_char * SMALL_ROOM)
LARGE: tuple[list[Any], Any] = ([], ctypes.c_char * ROOM)

# What a writable buffer looks like to ctypes; the length is told beside it.
bytes_at = (ctypes.c_char * 0).from_buffer


class _Py_buffer(ctypes.Structure):
    _fields_ = [
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.py_object),
        ("len", ctypes.c_ssize_t),
        ("rest", ctypes.c_byte * 128),
    ]


class Pinned:
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
            self._held = bytes_at(self._view)
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

    def __enter__(self) -> Pinned:
        return self

    def __exit__(self, *_: object) -> None:
        held, self._held = self._held, None
        if isinstance(held, _Py_buffer):
            ctypes.pythonapi.PyBuffer_Release(ctypes.byref(held))


def address_of(family: int, raw: bytes) -> Any:
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
