# SPDX-License-Identifier: MIT OR Apache-2.0
"""CancelToken: one switch for calls on any number of sockets."""

from __future__ import annotations

from . import _ffi


class CancelToken:
    """A switch that ends calls on any number of sockets, once and for good.

    Give it to Socket.set_cancel() or to dial(). After fire() every call that
    obeys it raises CanceledError, those that are blocked already too. Any
    thread may fire it, and so may a signal handler.
    """

    __slots__ = ("__weakref__", "_c")

    def __init__(self) -> None:
        self._c: int | None = _ffi.lib.netfd_cancel_new()
        if self._c is None:
            raise MemoryError("no memory for a token")

    def fire(self) -> None:
        """Ends the calls. It cannot be undone; firing twice does no harm."""
        _ffi.lib.netfd_cancel_fire(self._c)

    @property
    def fired(self) -> bool:
        """Whether it has fired."""
        return bool(_ffi.lib.netfd_cancel_fired(self._c))

    def __repr__(self) -> str:
        return f"<netfd.CancelToken {'fired' if self.fired else 'not fired'}>"

    def __del__(self, _free: object = _ffi.lib.netfd_cancel_free) -> None:
        # Descriptors that still have it go on obeying it.
        c = getattr(self, "_c", None)
        if c is not None:
            self._c = None
            _free(c)  # type: ignore[operator]
