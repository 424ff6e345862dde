# SPDX-License-Identifier: MIT OR Apache-2.0
"""The C functions, declared: the one place that knows include/netfd.h.

A test reads the header and compares every line of this file with it.
"""

from __future__ import annotations

import ctypes
import os
from ctypes import (
    CFUNCTYPE,
    POINTER,
    Structure,
    c_char,
    c_char_p,
    c_int,
    c_int64,
    c_size_t,
    c_ssize_t,
    c_uint,
    c_uint32,
    c_uint64,
    c_void_p,
)
from typing import Any

EDEADLINE = -10001
ECLOSED = -10002
ECANCELED = -10003
ENETWORK = -10004
EADDRESS = -10005
ENOHOST = -10006
EDNS = -10007
EPANIC = -10008
ADDR_TEXT = 128
READABLE = 1
WRITABLE = 2
NO_DEADLINE = 0

# int (*)(int fd, const char *network, const char *address, void *arg)
Control = CFUNCTYPE(c_int, c_int, c_char_p, c_char_p, c_void_p)


class Error(Structure):
    """struct netfd_error"""

    _fields_ = [
        ("size", c_size_t),
        ("code", c_int),
        ("flags", c_uint),
        ("op", c_char * 16),
        ("network", c_char * 16),
        ("syscall", c_char * 16),
        ("local", c_char * ADDR_TEXT),
        ("remote", c_char * ADDR_TEXT),
    ]


class ListenConfig(Structure):
    """struct netfd_listen_config"""

    _fields_ = [
        ("size", c_size_t),
        ("backlog", c_int),
        ("reuse_port", c_int),
        ("v6only", c_int),
        ("keepalive_idle", c_int64),
        ("keepalive_interval", c_int64),
        ("keepalive_count", c_int),
        ("nodelay", c_int),
        ("mptcp", c_int),
        ("unlink", c_int),
        ("control", Control),
        ("control_arg", c_void_p),
    ]


class DialConfig(Structure):
    """struct netfd_dial_config"""

    _fields_ = [
        ("size", c_size_t),
        ("deadline", c_int64),
        ("cancel", c_void_p),
        ("local_address", c_char_p),
        ("fallback_delay", c_int64),
        ("keepalive_idle", c_int64),
        ("keepalive_interval", c_int64),
        ("keepalive_count", c_int),
        ("nodelay", c_int),
        ("mptcp", c_int),
        ("control", Control),
        ("control_arg", c_void_p),
    ]


class Stats(Structure):
    """struct netfd_stats"""

    _fields_ = [
        ("size", c_size_t),
        ("open_fds", c_uint64),
        ("parked", c_uint64),
        ("accepts", c_uint64),
        ("parks", c_uint64),
        ("wakeups", c_uint64),
        ("fibers", c_uint64),
        ("switches", c_uint64),
        ("submissions", c_uint64),
    ]


# name: result, arguments. A token, a sockaddr and a buffer are void pointers to
# us; socklen_t is 32 bits wide wherever Linux is.
FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "netfd_version": (c_char_p, ()),
    "netfd_strerror": (c_char_p, (c_int,)),
    "netfd_last_error": (c_int, (POINTER(Error),)),
    "netfd_error_text": (c_int, (c_void_p, c_size_t)),
    "netfd_sys_socket": (c_int, (c_int, c_int, c_int)),
    "netfd_attach": (c_int, (c_int,)),
    "netfd_detach": (c_int, (c_int,)),
    "netfd_destroy": (c_int, (c_int,)),
    "netfd_shutdown": (c_int, (c_int, c_int)),
    "netfd_accept": (c_int, (c_int, c_void_p, POINTER(c_uint32))),
    "netfd_listen": (c_int, (c_char_p, c_char_p, POINTER(ListenConfig))),
    "netfd_listen_packet": (c_int, (c_char_p, c_char_p, POINTER(ListenConfig))),
    "netfd_connect": (
        c_int,
        (c_int, c_void_p, c_uint32, c_void_p, c_uint32, c_int64, c_void_p),
    ),
    "netfd_dial": (c_int, (c_char_p, c_char_p, POINTER(DialConfig))),
    "netfd_read": (c_ssize_t, (c_int, c_void_p, c_size_t)),
    "netfd_write": (c_ssize_t, (c_int, c_void_p, c_size_t)),
    "netfd_wait": (c_int, (c_int, c_int, c_int64)),
    "netfd_recvfrom": (
        c_ssize_t,
        (c_int, c_void_p, c_size_t, c_int, c_void_p, POINTER(c_uint32)),
    ),
    "netfd_sendto": (
        c_ssize_t,
        (c_int, c_void_p, c_size_t, c_int, c_void_p, c_uint32),
    ),
    "netfd_sendfile": (c_int64, (c_int, c_int, c_int64, c_int64)),
    "netfd_now": (c_int64, ()),
    "netfd_set_read_deadline": (c_int, (c_int, c_int64)),
    "netfd_set_write_deadline": (c_int, (c_int, c_int64)),
    "netfd_set_interruptible": (c_int, (c_int,)),
    "netfd_cancel_new": (c_void_p, ()),
    "netfd_cancel_fire": (None, (c_void_p,)),
    "netfd_cancel_fired": (c_int, (c_void_p,)),
    "netfd_cancel_free": (None, (c_void_p,)),
    "netfd_set_cancel": (c_int, (c_int, c_void_p)),
    "netfd_local_addr": (c_int, (c_int, c_void_p, POINTER(c_uint32))),
    "netfd_addr_parse": (c_int, (c_char_p, c_char_p, c_void_p, POINTER(c_uint32))),
    "netfd_stats": (c_int, (POINTER(Stats),)),
    "netfd_dump": (c_int, (c_int,)),
}

# What Python does not call, and why.
LEFT_OUT: dict[str, str] = {
    "netfd_listen_stream": "bind() and listen() are CPython's own, which knows every family",
    "netfd_listen_fds": "systemd's descriptors come in by Socket(fileno=...)",
    "netfd_resolve": "socket.getaddrinfo() is there; dial() looks up by itself",
    "netfd_readv": "recvmsg_into() is CPython's own, which knows control messages",
    "netfd_writev": "sendmsg() is CPython's own, which knows control messages",
    "netfd_recvmsg": "CPython decodes control messages and addresses of every family",
    "netfd_sendmsg": "CPython encodes control messages and addresses of every family",
    "netfd_recvmmsg": "no such method in Python",
    "netfd_sendmmsg": "no such method in Python",
    "netfd_send_fds": "socket.send_fds() is there",
    "netfd_recv_fds": "socket.recv_fds() is there",
    "netfd_peer_cred": "getsockopt(SOL_SOCKET, SO_PEERCRED) is there",
    "netfd_copy": "no such method in Python",
    "netfd_after": "deadlines are floats of time.monotonic()",
    "netfd_set_deadline": "each direction is set by itself",
    "netfd_remote_addr": "getpeername() is there",
    "netfd_addr_format": "addresses are tuples in Python",
    "netfd_go": "Python code cannot run on a fiber's stack",
    "netfd_serve": "Python code cannot run on a fiber's stack",
    "netfd_sleep": "time.sleep() is there",
    "netfd_yield": "of fibers",
    "netfd_in_fiber": "of fibers",
    "netfd_block": "of fibers",
    "netfd_group_new": "of fibers; threads have threading",
    "netfd_group_add": "of fibers; threads have threading",
    "netfd_group_done": "of fibers; threads have threading",
    "netfd_group_wait": "of fibers; threads have threading",
    "netfd_group_free": "of fibers; threads have threading",
}

SONAME = "libnetfd.so.0"


def _find() -> str:
    """NETFD_LIBRARY's, else the one in the wheel, else the system's."""
    named = os.environ.get("NETFD_LIBRARY")
    if named:
        return named
    carried = os.path.join(os.path.dirname(os.path.abspath(__file__)), SONAME)
    return carried if os.path.exists(carried) else SONAME


def _load() -> tuple[str, ctypes.CDLL]:
    path = _find()
    try:
        library = ctypes.CDLL(path)  # lets go of the GIL over each call
    except OSError as error:
        raise ImportError(
            f"netfd: no library: {error}; install libnetfd, or have NETFD_LIBRARY name it"
        ) from error
    for name, (result, arguments) in FUNCTIONS.items():
        try:
            function = getattr(library, name)
        except AttributeError:
            raise ImportError(f"netfd: {path} is too old: it has no {name}()") from None
        function.restype, function.argtypes = result, arguments
    return path, library


path, lib = _load()


def _quick(name: str) -> Any:
    """The same function without argtypes, each of which costs 80 ns a call.

    ctypes passes an int as C's, which libffi widens where the parameter is
    wider: so no int over INT_MAX goes in, and pointers go in as ctypes objects,
    bytes or None.
    """
    function = lib[name]  # unlike lib.NAME, another object each time
    function.restype = FUNCTIONS[name][0]
    return function


QUICK = ("netfd_read", "netfd_recvfrom", "netfd_sendto", "netfd_write")
MOST = 1 << 30  # bytes in one call
read, recvfrom, sendto, write = (_quick(name) for name in QUICK)
