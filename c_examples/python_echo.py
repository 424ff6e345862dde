#!/usr/bin/env python3
"""python_echo: the echo server and client from Python, by ctypes alone.

Shows what a binding needs: argtypes and restype for each function, an errcheck
that makes exceptions of codes, a Structure that tells its size, and
netfd_set_interruptible(), by which Ctrl-C ends a call that waits.

    python_echo.py server [PORT]
    python_echo.py client PORT [CONNECTIONS [ROUNDS]]

The library is --library's, else NETFD_LIBRARY's, else build/libnetfd.so.
"""

import argparse
import ctypes
import errno
import os
import random
import signal
import sys
import threading
from ctypes import POINTER, c_char_p, c_int, c_int64, c_size_t, c_ssize_t, c_uint32, c_void_p

NETFD_EDEADLINE, NETFD_ECANCELED = -10001, -10003
SECOND = 1_000_000_000


class DialConfig(ctypes.Structure):
    """struct netfd_dial_config, as far as it is used: `size` says how far."""

    _fields_ = [("size", c_size_t), ("deadline", c_int64), ("cancel", c_void_p)]


FUNCTIONS = {  # name: result, arguments; a token is a void pointer to us
    "netfd_error_text": (c_int, c_char_p, c_size_t),
    "netfd_listen": (c_int, c_char_p, c_char_p, c_void_p),
    "netfd_accept": (c_int, c_int, c_void_p, POINTER(c_uint32)),
    "netfd_dial": (c_int, c_char_p, c_char_p, POINTER(DialConfig)),
    "netfd_read": (c_ssize_t, c_int, c_void_p, c_size_t),
    "netfd_write": (c_ssize_t, c_int, c_void_p, c_size_t),
    "netfd_shutdown": (c_int, c_int, c_int),
    "netfd_destroy": (c_int, c_int),
    "netfd_after": (c_int64, c_int64),
    "netfd_set_deadline": (c_int, c_int, c_int64),
    "netfd_set_interruptible": (c_int, c_int),
    "netfd_cancel_new": (c_void_p,),
    "netfd_cancel_fire": (None, c_void_p),
    "netfd_cancel_free": (None, c_void_p),
    "netfd_set_cancel": (c_int, c_int, c_void_p),
    "netfd_local_addr": (c_int, c_int, c_void_p, POINTER(c_uint32)),
    "netfd_addr_format": (c_int, c_void_p, c_uint32, c_char_p, c_size_t),
}


class NetfdError(Exception):
    """A negative code, and the library's own words for it."""

    def __init__(self, code):
        text = ctypes.create_string_buffer(512)
        lib.netfd_error_text(text, len(text))  # of this thread's last failure
        super().__init__(text.value.decode())
        self.code = code


def check(result, _function, _arguments):
    if result < 0:
        raise NetfdError(result)
    return result


def load(path):
    library = ctypes.CDLL(path)  # it lets go of the GIL over each call
    for name, (result, *arguments) in FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
        if result in (c_int, c_ssize_t) and name != "netfd_error_text":
            function.errcheck = check
    return library


def dial(port):
    how = DialConfig(deadline=lib.netfd_after(10 * SECOND))
    how.size = ctypes.sizeof(how)
    return lib.netfd_dial(b"tcp", b"127.0.0.1:%d" % port, how)


def where(listener):
    at, size = ctypes.create_string_buffer(128), c_uint32(128)
    lib.netfd_local_addr(listener, at, size)
    text = ctypes.create_string_buffer(128)
    lib.netfd_addr_format(at, size, text, len(text))
    return text.value.decode()


def serve(fd, stop):
    """One connection, in a thread of its own."""
    buf = ctypes.create_string_buffer(4096)
    try:
        lib.netfd_set_cancel(fd, stop)
        while True:
            lib.netfd_set_deadline(fd, lib.netfd_after(60 * SECOND))
            n = lib.netfd_read(fd, buf, len(buf))
            if n == 0 or lib.netfd_write(fd, buf, n) < n:
                break
    except NetfdError as error:
        if error.code != NETFD_ECANCELED:
            print("python_echo:", error)
    finally:
        lib.netfd_destroy(fd)


def server(port):
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)  # KeyboardInterrupt
    stop = lib.netfd_cancel_new()
    listener = lib.netfd_listen(b"tcp", b"127.0.0.1:%d" % port, None)
    threads = []
    try:
        lib.netfd_set_interruptible(1)  # this thread's calls: -EINTR on Ctrl-C
        print("python_echo: listening on", where(listener), flush=True)
        while True:
            # A signal just before the wait does not end it: look now and then.
            lib.netfd_set_deadline(listener, lib.netfd_after(SECOND))
            try:
                fd = lib.netfd_accept(listener, None, None)
            except NetfdError as error:
                if error.code not in (-errno.EINTR, NETFD_EDEADLINE):
                    raise
                continue  # and Python runs its handler
            threads = [thread for thread in threads if thread.is_alive()]
            threads.append(threading.Thread(target=serve, args=(fd, stop)))
            threads[-1].start()
    except KeyboardInterrupt:
        print("python_echo: stops")
    finally:
        lib.netfd_cancel_fire(stop)
        for thread in threads:
            thread.join()
        lib.netfd_destroy(listener)
        lib.netfd_cancel_free(stop)
    print("python_echo: all ended")


def require(is_so, or_else):
    if not is_so:
        sys.exit(f"python_echo: {or_else}")


def client(port, connections, rounds):
    buf = ctypes.create_string_buffer(64)
    fds = [dial(port) for _ in range(connections)]
    for _ in range(rounds):
        messages = [random.randbytes(len(buf)) for _ in fds]
        for fd, message in zip(fds, messages):
            lib.netfd_set_deadline(fd, lib.netfd_after(10 * SECOND))
            require(lib.netfd_write(fd, message, len(message)) == len(message), "it was stopped")
        for fd, message in zip(fds, messages):
            answer = b""
            while len(answer) < len(message):  # a short read is normal
                n = lib.netfd_read(fd, buf, len(message) - len(answer))
                require(n > 0, "the server hung up")
                answer += buf[:n]
            require(answer == message, "a wrong byte came back")
    for fd in fds:
        lib.netfd_shutdown(fd, 1)  # SHUT_WR
        require(lib.netfd_read(fd, buf, len(buf)) == 0, "a byte too many came back")
        lib.netfd_destroy(fd)
    print(f"python_echo: {connections} connections, {rounds} rounds, every byte checked")


beside = os.path.join(os.path.dirname(os.path.abspath(__file__)), "build", "libnetfd.so")
parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--library", default=os.environ.get("NETFD_LIBRARY", beside))
parser.add_argument("role", choices=["server", "client"])
parser.add_argument("port", type=int, nargs="?", default=0)
parser.add_argument("connections", type=int, nargs="?", default=20)
parser.add_argument("rounds", type=int, nargs="?", default=50)
given = parser.parse_args()
lib = load(given.library)
if given.role == "server":
    server(given.port)
else:
    client(given.port, given.connections, given.rounds)
