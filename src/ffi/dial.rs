//! Connecting.

use super::boundary::{address, boundary};
use crate::error::FAULT;
use crate::fd::cancel::Cancel;
use crate::net::dial;
use libc::{c_int, sockaddr, socklen_t};

/// Connects a socket, and waits until the connection stands or has failed.
///
/// A datagram socket is aimed at another peer at once. A unix socket whose
/// listener's backlog is full waits for room. What ends the wait before it is
/// decided (a deadline, a token, -EINTR) ends the attempt as well: a handshake
/// that completes late is no success. The descriptor stays open and the
/// caller's, and may be connected anew.
///
/// @param fd        a socket
/// @param laddr     where to bind it first, or NULL
/// @param laddrlen  bytes at `laddr`
/// @param raddr     where to connect to
/// @param raddrlen  bytes at `raddr`
/// @param deadline  when to give up, in nanoseconds of CLOCK_MONOTONIC, or
///                  NETFD_NO_DEADLINE; the descriptor's write deadline counts
///                  as well
/// @param cancel    a token for this call, or NULL; the descriptor's counts as
///                  well
/// @return 0, or
///   -EBADF, -EFAULT no `raddr`, -EINVAL a length out of range,
///   -EISCONN connected before (streams and seqpacket),
///   NETFD_EDEADLINE, NETFD_ECANCELED, NETFD_ECLOSED destroyed meanwhile,
///   -EINTR if asked for by netfd_set_interruptible(),
///   or what bind(2) or connect(2) said, negated (-ECONNREFUSED,
///   -EHOSTUNREACH, -ETIMEDOUT, -EADDRNOTAVAIL, ...)
///
/// Any thread; takes the turn of writers. Follows Go `netFD.connect` and
/// connect(2).
///
/// # Safety
///
/// `laddr` and `raddr` are NULL or readable for their lengths; `cancel` is
/// NULL or a token that is not freed before the call returns, unless it is
/// set on a descriptor.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn netfd_connect(
    fd: c_int,
    laddr: *const sockaddr,
    laddrlen: socklen_t,
    raddr: *const sockaddr,
    raddrlen: socklen_t,
    deadline: i64,
    cancel: *mut Cancel,
) -> c_int {
    boundary("dial", || {
        // SAFETY: the contract above.
        let laddr = unsafe { address(laddr, laddrlen) }?;
        // SAFETY: the contract above.
        let raddr = unsafe { address(raddr, raddrlen) }?.ok_or(FAULT)?;
        // SAFETY: a token's memory is never freed.
        let token = unsafe { cancel.as_ref() }.map(Cancel::hold);
        dial::connect(fd, laddr.as_ref(), &raddr, deadline, token.as_ref()).map(|()| 0)
    })
}
