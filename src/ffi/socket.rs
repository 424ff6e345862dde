//! A socket's beginning and end.

use super::boundary::boundary;
use crate::error::INVAL;
use crate::net::socket;
use libc::c_int;

/// Makes a socket.
///
/// It is non-blocking and close-on-exec from birth, in one system call, and
/// attached: every function of this library takes it. The calls that wait
/// park their caller; the descriptor itself never blocks.
///
/// @param family  AF_INET, AF_INET6, AF_UNIX, or any other
/// @param sotype  SOCK_STREAM and so on; SOCK_NONBLOCK and SOCK_CLOEXEC may
///                be there and change nothing
/// @param proto   0, or a protocol of the family
/// @return the descriptor, the caller's until netfd_destroy(), or
///   -ENOMEM, or what socket(2) said, negated (-EMFILE, -EAFNOSUPPORT, ...)
///
/// Any thread; never parks. Follows Go `sysSocket` and socket(2).
#[unsafe(no_mangle)]
#[must_use]
pub extern "C-unwind" fn netfd_sys_socket(family: c_int, sotype: c_int, proto: c_int) -> c_int {
    boundary("socket", || socket::sys_socket(family, sotype, proto))
}

/// Attaches a socket from elsewhere: from systemd, inetd, socketpair(2),
/// accept(2), dup(2).
///
/// O_NONBLOCK is set, on the open description, so that all who share it see
/// it; FD_CLOEXEC is set on the number. What the table still holds under the
/// number is dropped: callers inside get NETFD_ECLOSED, nothing is closed.
/// Attaching twice so resets deadlines and token.
///
/// @param fd  an open socket; the library's from now on, to be closed by
///            netfd_destroy() or taken back by netfd_detach()
/// @return fd, or
///   -EBADF not open, -ENOTSOCK no socket, -ENOMEM; the descriptor is as it
///   was then
///
/// Any thread; never parks. Follows Go `net.FileConn`, but without a dup(2).
#[unsafe(no_mangle)]
pub extern "C-unwind" fn netfd_attach(fd: c_int) -> c_int {
    boundary("file", || socket::attach(fd))
}

/// Hands a descriptor back open, and forgets it.
///
/// Callers inside get NETFD_ECLOSED; it returns when the last of them has
/// left. The descriptor stays non-blocking. Whatever closes or replaces an
/// attached descriptor by itself (close(2), dup2(2), another library) wants
/// this called first.
///
/// @return fd, the caller's again, or
///   -EBADF not attached, NETFD_ECLOSED destroyed or detached by another
///   thread first
///
/// Any thread; waits for callers that are inside a system call, which is not
/// long; in a control function of its own descriptor it does not wait.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn netfd_detach(fd: c_int) -> c_int {
    boundary("file", || socket::detach(fd))
}

/// Closes a descriptor, whoever is inside.
///
/// Every caller that is parked on it wakes and gets NETFD_ECLOSED; one in a
/// system call finishes it. When the last has left, close(2) is called, once:
/// the number cannot be reused while anyone could still touch it. When this
/// returns, close(2) has run, no buffer of any call is touched again, and the
/// number means nothing until the library attaches it again. Copies of the
/// descriptor in other processes live on: shutdown(2) is not called.
///
/// With SO_LINGER set, close(2) may take that long, and so may this; it is the
/// caller of netfd_destroy() who waits, never one who was evicted.
///
/// @return 0, or
///   -EBADF never attached, or detached,
///   NETFD_ECLOSED another thread destroyed or detached it first (it has
///   happened when this returns),
///   or what close(2) said, negated; the descriptor is closed all the same
///
/// Any thread, any time. In a control function of its own descriptor it
/// returns at once, and close(2) runs when the call around it ends. Follows Go
/// `FD.Close`, but a second caller waits too and close(2)'s error is not lost.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn netfd_destroy(fd: c_int) -> c_int {
    boundary("close", || socket::destroy(fd).map(|()| 0))
}

/// Shuts down one or both directions of a connection.
///
/// Calls that are parked in the direction wake and see it: a read the end of
/// the stream, a write -EPIPE.
///
/// @param how  SHUT_RD, SHUT_WR or SHUT_RDWR
/// @return 0, or
///   -EBADF, NETFD_ECLOSED, -EINVAL no such direction,
///   or what shutdown(2) said, negated (-ENOTCONN)
///
/// Any thread, beside any call; never parks. Follows Go `CloseRead`,
/// `CloseWrite` and shutdown(2).
#[unsafe(no_mangle)]
pub extern "C-unwind" fn netfd_shutdown(fd: c_int, how: c_int) -> c_int {
    boundary("close", || {
        if !(libc::SHUT_RD..=libc::SHUT_RDWR).contains(&how) {
            return Err(INVAL);
        }
        socket::shutdown(fd, how).map(|()| 0)
    })
}
