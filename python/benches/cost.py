# SPDX-License-Identifier: MIT OR Apache-2.0
"""What a call costs beside the standard socket's recv_into, on data that is there.

    python cost.py [ROUNDS]

Rounds of 100 calls of 64 bytes each, taking turns, so that whatever else the
machine does falls on all alike; the medians are told, of the thread's own time.
"netfd_read" is the bare call through ctypes, as the package makes it; "with
argtypes" the same function with its signature declared. It fails above the
limits that the project has set.
"""

from __future__ import annotations

import ctypes
import socket
import statistics
import sys
import time
from typing import Any, Callable

import netfd
from netfd import _ffi

CALLS, SIZE = 100, 64
LIMITS = {"netfd_read": 1.9, "Socket.recv_into": 3.5}


def repeated(call: str, **names: Any) -> Callable[[], None]:
    """A loop around it, without a function call of its own."""
    source = f"def loop({', '.join(names)}):\n for _ in range({CALLS}): {call}"
    scope: dict[str, Any] = {}
    exec(source, scope)
    return lambda: scope["loop"](**names)


def main() -> int:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    stock, feeds_stock = socket.socketpair()
    there, feeder = socket.socketpair()
    ours, feeds_ours = netfd.Socket(fileno=there.detach()), feeder
    room, view = bytearray(SIZE), memoryview(bytearray(SIZE))
    array = ctypes.create_string_buffer(SIZE)
    fd = ours.fileno()
    message = b"x" * SIZE

    def theirs(name: str, *arguments: str) -> None:
        call = f"f({', '.join(arguments)})"
        runs["socket." + name] = (
            repeated(call, f=getattr(stock, name), room=room, view=view, message=message),
            feeds_stock,
        )
        runs["Socket." + name] = (
            repeated(call, f=getattr(ours, name), room=room, view=view, message=message),
            feeds_ours,
        )

    runs: dict[str, tuple[Callable[[], None], socket.socket]] = {}
    theirs("recv_into", "room")
    runs["netfd_read"] = (
        repeated("f(fd, array, size)", f=_ffi.read, fd=fd, array=array, size=SIZE),
        feeds_ours,
    )
    runs["with argtypes"] = (
        repeated("f(fd, array, size)", f=_ffi.lib.netfd_read, fd=fd, array=array, size=SIZE),
        feeds_ours,
    )
    theirs("recv", str(SIZE))
    theirs("send", "message")
    took: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, (run, feeder) in runs.items():
            if "recv" in name or "read" in name or "arg" in name:
                feeder.sendall(message * CALLS)
            began = time.thread_time_ns()
            run()
            took[name].append((time.thread_time_ns() - began) / CALLS)
            if "send" in name:
                left = CALLS * SIZE
                while left:
                    left -= len(feeder.recv(left))
    medians = {name: statistics.median(times) for name, times in took.items()}
    print(f"Python {sys.version.split()[0]}, netfd {netfd.__version__}, {rounds} rounds")
    bad = 0
    for name, median in medians.items():
        peer = name.replace("Socket.", "socket.") if "." in name else "socket.recv_into"
        ratio = median / medians[peer]
        limit = LIMITS.get(name)
        over = limit is not None and ratio > limit
        bad += over
        print(
            f"{name:18}{median:7.0f} ns{ratio:6.2f}"
            + (f"  at most {limit}" if limit else "")
            + ("  TOO MUCH" if over else "")
        )
    return 1 if bad else 0


sys.exit(main())
