# SPDX-License-Identifier: MIT OR Apache-2.0
"""dial() and listen(): sockets by name."""

from __future__ import annotations

import ctypes
import errno
import socket
from _thread import get_ident
from typing import Any, Callable

from . import _ffi, _signals
from ._errors import error, text
from ._ffi import lib
from ._guarded import nanoseconds
from ._socket import Socket
from ._token import CancelToken

# The timeout that is not given: the standard library's default one.
_DEFAULT: Any = object()

_KINDS = {
    "tcp": socket.SOCK_STREAM,
    "udp": socket.SOCK_DGRAM,
    "unix": socket.SOCK_STREAM,
    "unixgram": socket.SOCK_DGRAM,
    "unixpacket": socket.SOCK_SEQPACKET,
}


def _text_of(address: str | tuple[str, int | str]) -> str:
    """ "host:port", also of a tuple as socket.create_connection() takes it."""
    if isinstance(address, str):
        where = address
    else:
        host, port = address[:2]
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if "\0" in where[1:]:
        raise ValueError("embedded null character")
    # Python writes abstract addresses with a NUL in front, Go with an @.
    return "@" + where[1:] if where[:1] == "\0" else where


def _switch(value: bool | None) -> int:
    """None: the library's choice."""
    return 0 if value is None else 1 if value else -1


def _span(seconds: float | None) -> int:
    """A duration; None: the library's choice; 0 or less: off."""
    if seconds is None:
        return 0
    return int(seconds * 1e9) if seconds > 0 else -1


def _keepalive(how: Any, idle: float | None, interval: float | None, count: int | None) -> None:
    how.keepalive_idle = _span(idle)
    how.keepalive_interval = _span(interval)
    how.keepalive_count = 0 if count is None else count if count > 0 else -1


class _Control:
    """A callback, whose exception ends the call that it is called from."""

    def __init__(self, control: Callable[[int, str, str], object] | None) -> None:
        self.failed: BaseException | None = None
        if control is None:
            self.pointer = _ffi.Control()
            return
        wanted = control

        def call(fd: int, network: bytes, address: bytes, _: int | None) -> int:
            try:
                wanted(fd, network.decode(), address.decode("utf-8", "surrogateescape"))
            except BaseException as failed:
                self.failed = failed
                return -errno.ECANCELED
            return 0

        self.pointer = _ffi.Control(call)


def _call(
    function: Callable[[], int],
    address: str,
    control: _Control,
    apart: bool,
    stop: Callable[[], None] = lambda: None,
) -> int:
    """A descriptor, or the exception."""
    told = ""

    def call() -> int:
        nonlocal told
        fd = function()
        if fd < 0:
            told = text()  # which is the thread's own
        return fd

    def undo(fd: int) -> None:
        if fd >= 0:
            lib.netfd_destroy(fd)

    fd = _signals.apart(call, undo, stop) if apart else call()
    if control.failed is not None:
        undo(fd)
        raise control.failed
    if fd < 0:
        failed = error(fd, address, told)
        if told and hasattr(failed, "add_note") and not isinstance(failed, ValueError):
            failed.add_note(told)  # names each address that was tried
        raise failed
    return fd


def _socket(fd: int, network: str, timeout: float | None) -> Socket:
    kind = _KINDS[network.rstrip("46")]
    try:
        domain = _family(fd)
    except BaseException:
        lib.netfd_destroy(fd)
        raise
    proto = 0
    if network.startswith("tcp"):
        proto = socket.IPPROTO_TCP
    elif network.startswith("udp"):
        proto = socket.IPPROTO_UDP
    sock = Socket._made(fd, domain, kind, proto, None)
    try:
        sock.settimeout(socket.getdefaulttimeout() if timeout is _DEFAULT else timeout)
    except BaseException:
        sock.close()
        raise
    return sock


def _family(fd: int) -> int:
    room, size = ctypes.create_string_buffer(128), ctypes.c_uint32(128)
    code = lib.netfd_local_addr(fd, room, size)
    if code < 0:
        raise error(code)
    return int.from_bytes(room.raw[:2], "little" if _LITTLE else "big")


_LITTLE = ctypes.c_uint16.from_buffer_copy(b"\1\0").value == 1


def dial(
    address: str | tuple[str, int | str],
    network: str = "tcp",
    *,
    timeout: float | None = _DEFAULT,
    deadline: float | None = None,
    cancel: CancelToken | None = None,
    local_address: str | tuple[str, int | str] | None = None,
    fallback_delay: float | None = None,
    keepalive_idle: float | None = None,
    keepalive_interval: float | None = None,
    keepalive_count: int | None = None,
    nodelay: bool = True,
    mptcp: bool = False,
    control: Callable[[int, str, str], object] | None = None,
) -> Socket:
    """Connects to an address by name: dial("example.org:80", timeout=5).

    The name is looked up and its addresses are tried, IPv6 and IPv4 in turn
    (RFC 8305), all of it inside `timeout`.

    address: "host:port", "[v6%zone]:port", ":port" for this machine, a
        service's name for the port; a path, or "@name", for unix sockets; or a
        tuple, as socket.create_connection() takes it
    network: "tcp", "tcp4", "tcp6", "udp", "udp4", "udp6", "unix", "unixgram"
        or "unixpacket"
    timeout: seconds for the lookup and all attempts, and the socket's timeout
        from then on, as with socket.create_connection()
    deadline: a point of time.monotonic() at which to give up as well
    cancel: a token that ends the dial
    local_address: where to come from
    fallback_delay: seconds until the next address is tried beside one that
        does not answer; 0.25 if not given, 0 for one after the other
    keepalive_idle, keepalive_interval, keepalive_count: TCP keepalive, in
        seconds; 15, 15 and 9 if not given, 0 for none, or the kernel's own
    nodelay: TCP_NODELAY
    mptcp: Multipath TCP, where both sides have it
    control: called with the descriptor, the network and the address of each
        attempt before it connects; what it raises ends the dial

    Raises TimeoutError, CanceledError, socket.gaierror for a name, ValueError
    for an address or a network that is none, and else the OSError of the first
    address, whose filename is `address` and whose note tells of each.
    """
    where = _text_of(address)
    lasts = socket.getdefaulttimeout() if timeout is _DEFAULT else timeout
    until = nanoseconds(deadline) if deadline is not None else 0
    if lasts is not None:
        if lasts < 0:
            raise ValueError("Timeout value out of range")
        if lasts == 0:
            raise ValueError("a dial cannot be non-blocking")
        ends = lib.netfd_now() + int(lasts * 1e9)
        until = min(until, ends) if until else ends
    main = get_ident() == _signals.main
    token = cancel if cancel is not None else CancelToken() if main else None
    callback = _Control(control)
    how = _ffi.DialConfig(
        size=ctypes.sizeof(_ffi.DialConfig),
        deadline=until,
        cancel=None if token is None else token._c,
        local_address=None if local_address is None else _text_of(local_address).encode(),
        fallback_delay=_span(fallback_delay),
        nodelay=_switch(nodelay),
        mptcp=_switch(mptcp),
        control=callback.pointer,
    )
    _keepalive(how, keepalive_idle, keepalive_interval, keepalive_count)

    def call() -> int:
        return lib.netfd_dial(network.encode(), _encoded(where), how)  # type: ignore[no-any-return]

    def stop() -> None:
        if token is not None and token is not cancel:
            token.fire()

    fd = _call(call, where, callback, main, stop)
    return _socket(fd, network, lasts)


def _encoded(where: str) -> bytes:
    return where.encode("utf-8", "surrogateescape")


def listen(
    address: str | tuple[str, int | str],
    network: str = "tcp",
    *,
    timeout: float | None = _DEFAULT,
    backlog: int = 0,
    reuse_port: bool = False,
    v6only: bool | None = None,
    keepalive_idle: float | None = None,
    keepalive_interval: float | None = None,
    keepalive_count: int | None = None,
    nodelay: bool = True,
    mptcp: bool = False,
    unlink: bool | None = None,
    control: Callable[[int, str, str], object] | None = None,
) -> Socket:
    """Listens on an address by name: listen("localhost:8080"), listen(":0").

    An empty host listens on IPv4 and IPv6 where both are there. SO_REUSEADDR is
    set; connections inherit TCP_NODELAY and keepalive. The file of a unix
    listener is removed by close(). For "udp" and "unixgram" the socket is bound,
    and receives datagrams.

    address, network, keepalive_*, nodelay, mptcp: as for dial()
    timeout: of accept(), as settimeout() would set it
    backlog: how many connections may queue; 0: as many as the system allows
    reuse_port: SO_REUSEPORT
    v6only: IPV6_V6ONLY; if not given, on for "tcp6" and "udp6" only
    unlink: whether close() removes the socket file; if not given, a listener's
    control: called with the descriptor, the network and the address before the
        socket is bound; what it raises ends the call

    Raises OSError, whose filename is `address`, socket.gaierror for a name, or
    ValueError for an address or a network that is none.
    """
    where = _text_of(address)
    callback = _Control(control)
    how = _ffi.ListenConfig(
        size=ctypes.sizeof(_ffi.ListenConfig),
        backlog=backlog,
        reuse_port=_switch(reuse_port),
        v6only=_switch(v6only),
        nodelay=_switch(nodelay),
        mptcp=_switch(mptcp),
        unlink=_switch(unlink),
        control=callback.pointer,
    )
    _keepalive(how, keepalive_idle, keepalive_interval, keepalive_count)
    packets = network.startswith("udp") or network == "unixgram"
    function = lib.netfd_listen_packet if packets else lib.netfd_listen

    def call() -> int:
        return function(network.encode(), _encoded(where), how)  # type: ignore[no-any-return]

    # Only a lookup takes time, and only an address that is none needs one.
    room, size = ctypes.create_string_buffer(128), ctypes.c_uint32(128)
    plain = lib.netfd_addr_parse(network.encode(), _encoded(where), room, size) == 0
    apart = not plain and get_ident() == _signals.main
    fd = _call(call, where, callback, apart)
    return _socket(fd, network, timeout)
