# SPDX-License-Identifier: MIT OR Apache-2.0
"""Sockets whose calls can be ended: the socket layer of Go's net package.

    with netfd.listen("127.0.0.1:0") as listener, netfd.dial(...) as conn: ...

`Socket` is the standard library's socket, with deadlines, cancellation and a
close that wakes whoever is blocked. `dial` and `listen` make them by name. The
library is the one in the wheel, the system's libnetfd.so.0, or the one that
NETFD_LIBRARY in the environment names.
"""

from __future__ import annotations

from . import _ffi
from ._errors import CanceledError, ClosedError
from ._names import dial, listen
from ._socket import Socket
from ._token import CancelToken

__all__ = [
    "CancelToken",
    "CanceledError",
    "ClosedError",
    "Socket",
    "__version__",
    "dial",
    "dump",
    "library",
    "listen",
    "stats",
]

__version__: str = _ffi.lib.netfd_version().decode()
library: str = _ffi.path
"""The library that was found, as it was loaded."""


def stats() -> dict[str, int]:
    """Counts what is going on in the process: "open_fds", "parked", "accepts", ..."""
    import ctypes

    counts = _ffi.Stats(size=ctypes.sizeof(_ffi.Stats))
    _ffi.lib.netfd_stats(counts)
    return {name: getattr(counts, name) for name, *_ in _ffi.Stats._fields_ if name != "size"}


def dump(fd: int = 2) -> None:
    """Writes to a descriptor who is blocked on what, since when, for people to read."""
    import os

    code = _ffi.lib.netfd_dump(fd)
    if code < 0:
        raise OSError(-code, os.strerror(-code))


for _thing in (CancelToken, CanceledError, ClosedError, dial, listen):
    _thing.__module__ = "netfd"  # where people find them
del _thing
