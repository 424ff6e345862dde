//! Listening and accepting.

use super::boundary::{AddressOut, address, boundary};
use crate::net::listen;
use libc::{c_int, sockaddr, socklen_t};

/// Makes a socket a listener: SO_REUSEADDR, bind(2), listen(2).
///
/// @param fd        a stream or seqpacket socket of any family
/// @param laddr     where to listen, or NULL: the kernel picks (a port)
/// @param laddrlen  bytes at `laddr`
/// @param backlog   how many connections may queue; 0 or less is as many as
///                  the system allows (net.core.somaxconn)
/// @return 0, or
///   -EBADF, NETFD_ECLOSED, -EINVAL `laddrlen` out of range, -EOPNOTSUPP no
///   stream socket, or what setsockopt(2), bind(2) or listen(2) said, negated
///   (-EADDRINUSE, -EACCES, ...)
///
/// On failure the descriptor is still the caller's and open; a unix socket
/// file that this call made is removed again. netfd_destroy() never removes
/// one.
/// Any thread; never parks. Follows Go `netFD.listenStream`.
///
/// # Safety
///
/// `laddr` is NULL or readable for `laddrlen` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn netfd_listen_stream(
    fd: c_int,
    laddr: *const sockaddr,
    laddrlen: socklen_t,
    backlog: c_int,
) -> c_int {
    boundary("listen", || {
        // SAFETY: the contract above.
        let laddr = unsafe { address(laddr, laddrlen) }?;
        listen::listen_stream(fd, laddr.as_ref(), backlog).map(|()| 0)
    })
}

/// Accepts the next connection on a listener.
///
/// Parks the calling thread until a connection is ready. The new descriptor
/// is non-blocking, close-on-exec and attached, has no deadlines and no token,
/// and remembers its peer's address. A connection that was gone before it
/// could be accepted is passed over.
///
/// @param fd        a listener, as made by netfd_listen_stream()
/// @param raddr     where to store the peer's address, or NULL
/// @param raddrlen  in: bytes at `raddr`, out: bytes of the address
/// @return the descriptor, the caller's until netfd_destroy(), or
///   -EBADF not attached, -EFAULT `raddr` without `raddrlen`,
///   -EUSERS too many callers,
///   NETFD_EDEADLINE, NETFD_ECANCELED, NETFD_ECLOSED destroyed meanwhile,
///   -EINTR if asked for by netfd_set_interruptible(),
///   or what accept4(2) said, negated: -EMFILE, -ENFILE, -ENOBUFS and -ENOMEM
///   leave the connection in the queue
///
/// Any thread; accepts on one listener take turns, and one wakes at a time.
/// Obeys the listener's read deadline and cancel token.
/// Follows Go `(*net.TCPListener).Accept` and accept4(2).
///
/// # Safety
///
/// `raddrlen` is NULL or valid, `raddr` NULL or writable for `*raddrlen`
/// bytes.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C-unwind" fn netfd_accept(
    fd: c_int,
    raddr: *mut sockaddr,
    raddrlen: *mut socklen_t,
) -> c_int {
    boundary("accept", || {
        // SAFETY: the contract above.
        let out = unsafe { AddressOut::new(raddr, raddrlen) }?;
        let (conn, peer) = listen::accept(fd)?;
        out.store(&peer);
        Ok(conn)
    })
}
