//! Calls with flags, addresses and control messages; descriptors over unix
//! sockets.

use super::boundary::{AddressOut, address, boundary, bytes, bytes_mut, count, parking};
use crate::error::{FAULT, INVAL};
use crate::net::{packet, unix};
use crate::sys::message::{Batch, FDS_MAX, Message};
use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::slice;
use libc::{c_int, c_uint, gid_t, mmsghdr, msghdr, pid_t, sockaddr, socklen_t, ssize_t, uid_t};

/// Receives one message, or what a stream has.
///
/// It is one successful system call. A datagram longer than `len` is cut;
/// netfd_recvmsg() shows it, or MSG_TRUNC in `flags` returns its whole length.
///
/// @param buf      where to store it
/// @param len      bytes at `buf`
/// @param flags    as for recv(2); with MSG_DONTWAIT or MSG_ERRQUEUE it never
///                 parks and says -EAGAIN
/// @param from     where to store the sender's address, or NULL
/// @param fromlen  in: bytes at `from`, out: bytes of the address
/// @return the number of bytes, 0 for an empty datagram or the end of a
///   stream, or
///   -EBADF, -EFAULT, -EINVAL, -EUSERS, NETFD_EDEADLINE, NETFD_ECANCELED,
///   NETFD_ECLOSED destroyed meanwhile, -EINTR if asked for,
///   or what recvfrom(2) said, negated (-ECONNREFUSED, ...)
///
/// Any thread; on datagram sockets any number receive side by side, on others
/// they take turns with netfd_read(). Obeys the read deadline and the token.
/// Follows Go `FD.ReadFrom` and recvfrom(2).
///
/// # Safety
///
/// `buf` is NULL or writable for `len` bytes, `fromlen` NULL or valid, `from`
/// NULL or writable for `*fromlen` bytes.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C-unwind" fn netfd_recvfrom(
    fd: c_int,
    buf: *mut c_void,
    len: usize,
    flags: c_int,
    from: *mut sockaddr,
    fromlen: *mut socklen_t,
) -> ssize_t {
    parking("read", || {
        // SAFETY: the contract above.
        let buf = unsafe { bytes_mut(buf, len) }?;
        // SAFETY: the contract above.
        let out = unsafe { AddressOut::new(from, fromlen) }?;
        let (n, sender) = packet::recvfrom(fd, buf, flags, out.is_wanted())?;
        out.store(&sender);
        Ok(count(n))
    })
}

/// Sends one message, or some bytes of a stream.
///
/// It is one successful system call: on a stream it may send less, on others
/// it is the whole message or an error. SIGPIPE is never raised.
///
/// @param buf    what to send
/// @param len    bytes at `buf`
/// @param flags  as for send(2); with MSG_DONTWAIT it never parks and says
///               -EAGAIN
/// @param to     where to, or NULL on a connected socket
/// @param tolen  bytes at `to`
/// @return the number of bytes, or
///   -EBADF, -EFAULT, -EINVAL, -EUSERS, NETFD_EDEADLINE, NETFD_ECANCELED,
///   NETFD_ECLOSED destroyed meanwhile, -EINTR if asked for,
///   -EISCONN a `to` on a datagram socket that netfd_connect() or netfd_dial()
///   has connected (one that was attached so has the kernel's rules),
///   -EDESTADDRREQ no `to` on an unconnected socket, -ENOTCONN no `to` on an
///   unconnected unix socket, -EMSGSIZE too long for one message,
///   -ECONNREFUSED an earlier message was refused, which is told once,
///   or what else sendto(2) said, negated
///
/// Any thread; on streams it takes turns with netfd_write(). Obeys the write
/// deadline and the token. Follows Go `FD.WriteTo`, whose UDPConn has the rule
/// of -EISCONN, and sendto(2).
///
/// # Safety
///
/// `buf` is NULL or readable for `len` bytes, `to` NULL or readable for
/// `tolen` bytes.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C-unwind" fn netfd_sendto(
    fd: c_int,
    buf: *const c_void,
    len: usize,
    flags: c_int,
    to: *const sockaddr,
    tolen: socklen_t,
) -> ssize_t {
    parking("write", || {
        // SAFETY: the contract above.
        let buf = unsafe { bytes(buf, len) }?;
        // SAFETY: the contract above.
        let to = unsafe { address(to, tolen) }?;
        packet::sendto(fd, buf, flags, to.as_ref()).map(count)
    })
}

/// Receives one message with its control messages.
///
/// Descriptors that come along are close-on-exec and not attached;
/// netfd_recv_fds() is the easier way to have them.
///
/// @param msg    as for recvmsg(2), filled in on success
/// @param flags  as for netfd_recvfrom()
/// @return as netfd_recvfrom(); -EMSGSIZE more than IOV_MAX buffers
///
/// Any thread, as netfd_recvfrom(). Follows Go `FD.ReadMsg` and recvmsg(2).
///
/// # Safety
///
/// `msg` is NULL or valid for recvmsg(2).
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C-unwind" fn netfd_recvmsg(
    fd: c_int,
    msg: *mut msghdr,
    flags: c_int,
) -> ssize_t {
    parking("read", || {
        // SAFETY: the contract above.
        let message = unsafe { Message::new(msg) }?;
        packet::recvmsg(fd, message, flags).map(count)
    })
}

/// Sends one message with control messages.
///
/// @param msg    as for sendmsg(2)
/// @param flags  as for netfd_sendto()
/// @return as netfd_sendto(), `msg_name` being its `to`; -EMSGSIZE more than
///   IOV_MAX buffers
///
/// Any thread, as netfd_sendto(). Follows Go `FD.WriteMsg` and sendmsg(2).
///
/// # Safety
///
/// `msg` is NULL or valid for sendmsg(2).
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C-unwind" fn netfd_sendmsg(
    fd: c_int,
    msg: *const msghdr,
    flags: c_int,
) -> ssize_t {
    parking("write", || {
        // SAFETY: the contract above.
        let message = unsafe { Message::new(msg) }?;
        packet::sendmsg(fd, message, flags).map(count)
    })
}

/// Receives a batch of messages: at least one, then what is there.
///
/// It is one successful system call, whatever the number: it parks for the first
/// message, and waits for no other. Each of the first messages that came has
/// its length in `msg_len`, and its header as netfd_recvmsg() fills it in.
/// Nothing is allocated.
///
/// On a stream each header takes what is there; a `msg_len` of 0 is its end.
///
/// @param msgs   the headers, of sendmmsg(2)'s type, which in C is there with
///               _GNU_SOURCE
/// @param n      how many, any number; 0 receives nothing and returns 0
/// @param flags  as for netfd_recvfrom(); MSG_WAITFORONE goes without saying
/// @return how many came, or
///   -EBADF, -EFAULT, -EINVAL `n` over INT_MAX or a length out of range,
///   -EMSGSIZE more than IOV_MAX buffers in one of them, -EUSERS,
///   NETFD_EDEADLINE, NETFD_ECANCELED, NETFD_ECLOSED destroyed meanwhile,
///   -EINTR if asked for,
///   or what recvmmsg(2) said, negated (-ECONNREFUSED, ...). What goes wrong
///   after some have come is told by the next call
///
/// Any thread, as netfd_recvfrom(). Obeys the read deadline and the token.
/// Follows recvmmsg(2), without its timeout.
///
/// # Safety
///
/// `msgs` is NULL or valid for recvmmsg(2) of `n` messages.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C-unwind" fn netfd_recvmmsg(
    fd: c_int,
    msgs: *mut mmsghdr,
    n: c_uint,
    flags: c_int,
) -> c_int {
    parking("read", || {
        // SAFETY: the contract above.
        let batch = unsafe { Batch::new(msgs, n) }?;
        packet::recvmmsg(fd, batch, flags).map(messages)
    })
}

/// Sends a batch of messages: as many as there is room for, at least one.
///
/// It is one successful system call, which may send fewer than `n`, and at most
/// IOV_MAX (1,024) of them: the caller goes on behind those that went. Each of
/// these has its length in `msg_len`, which for the last one on a stream may
/// be less than all of it. SIGPIPE is never raised, and nothing is allocated.
///
/// @param msgs   the headers, as for netfd_recvmmsg()
/// @param n      how many, any number; 0 sends nothing and returns 0
/// @param flags  as for netfd_sendto()
/// @return how many went, or, where none did,
///   -EBADF, -EFAULT, -EINVAL `n` over INT_MAX or a length out of range,
///   -EMSGSIZE more than IOV_MAX buffers in one of them, -EUSERS,
///   NETFD_EDEADLINE, NETFD_ECANCELED, NETFD_ECLOSED destroyed meanwhile,
///   -EINTR if asked for, -EISCONN as netfd_sendto(), if any of them has a
///   `msg_name`,
///   or what sendmmsg(2) said of the first, negated. What is wrong with a
///   later one is told by the call that begins with it
///
/// Any thread, as netfd_sendto(). Obeys the write deadline and the token.
/// Follows sendmmsg(2).
///
/// # Safety
///
/// `msgs` is NULL or valid for sendmmsg(2) of `n` messages.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C-unwind" fn netfd_sendmmsg(
    fd: c_int,
    msgs: *mut mmsghdr,
    n: c_uint,
    flags: c_int,
) -> c_int {
    parking("write", || {
        // SAFETY: the contract above.
        let batch = unsafe { Batch::to_send(msgs, n) }?;
        packet::sendmmsg(fd, batch, flags).map(messages)
    })
}

/// A count of messages, which never exceeds what was asked for and so INT_MAX.
fn messages(n: usize) -> c_int {
    c_int::try_from(n).unwrap_or(c_int::MAX)
}

/// Sends bytes with descriptors over a unix socket; the receiver gets copies
/// of these.
///
/// On a stream the descriptors come with the first of the bytes; with `len` 0
/// one byte is sent for them to travel with, which netfd_recv_fds() with `len`
/// 0 takes away again.
///
/// @param fds   the descriptors, of any kind; they stay the caller's
/// @param nfds  how many, at most 253
/// @param buf   what to send
/// @param len   bytes at `buf`
/// @return the number of bytes of `buf` sent, on a stream maybe less than
///   `len`, or as netfd_sendto(), and
///   -EOPNOTSUPP no unix socket, -EINVAL more than 253 descriptors
///
/// Any thread, as netfd_sendto(). Follows unix(7), SCM_RIGHTS.
///
/// # Safety
///
/// `fds` is NULL or readable for `nfds` entries, `buf` NULL or readable for
/// `len` bytes.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C-unwind" fn netfd_send_fds(
    fd: c_int,
    fds: *const c_int,
    nfds: usize,
    buf: *const c_void,
    len: usize,
) -> ssize_t {
    parking("write", || {
        if fds.is_null() && nfds > 0 {
            return Err(FAULT);
        }
        // SAFETY: the contract above.
        let buf = unsafe { bytes(buf, len) }?;
        let fds = if nfds == 0 {
            &[]
        } else if nfds > FDS_MAX {
            return Err(INVAL);
        } else {
            // SAFETY: the contract above; NULL was sorted out.
            unsafe { slice::from_raw_parts(fds, nfds) }
        };
        unix::send_fds(fd, fds, buf).map(count)
    })
}

/// Receives bytes with descriptors over a unix socket.
///
/// They are close-on-exec. Sockets among them are non-blocking and attached.
/// Those that exceed `cap` are closed, so that none leaks.
///
/// @param fds   where to store them; each is the caller's
/// @param cap   how many fit
/// @param nfds  out: how many came; the first `cap` of them are in `fds`.
///              Fewer than were sent come where this process has no
///              descriptors left
/// @param buf   where to store the bytes
/// @param len   bytes at `buf`
/// @return as netfd_recvfrom(), and -EOPNOTSUPP no unix socket
///
/// Any thread, as netfd_recvfrom(). Follows unix(7), SCM_RIGHTS.
///
/// # Safety
///
/// `fds` is NULL or writable for `cap` entries, `nfds` NULL or valid, `buf`
/// NULL or writable for `len` bytes.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C-unwind" fn netfd_recv_fds(
    fd: c_int,
    fds: *mut c_int,
    cap: usize,
    nfds: *mut usize,
    buf: *mut c_void,
    len: usize,
) -> ssize_t {
    parking("read", || {
        if nfds.is_null() || (fds.is_null() && cap > 0) {
            return Err(FAULT);
        }
        // SAFETY: the contract above.
        let buf = unsafe { bytes_mut(buf, len) }?;
        let fds: &mut [MaybeUninit<c_int>] = if cap == 0 {
            &mut []
        } else if cap > isize::MAX as usize / size_of::<c_int>() {
            return Err(INVAL);
        } else {
            // SAFETY: the contract above; NULL was sorted out.
            unsafe { slice::from_raw_parts_mut(fds.cast(), cap) }
        };
        let (n, came) = unix::recv_fds(fd, fds, buf)?;
        // SAFETY: the contract above; NULL was sorted out.
        unsafe { nfds.write(came) };
        Ok(count(n))
    })
}

/// Tells who is at the other end of a unix socket: who connected or listened,
/// when the connection was made.
///
/// @param pid  where to store the process, or NULL
/// @param uid  where to store the user, or NULL
/// @param gid  where to store the group, or NULL
/// @return 0, or
///   -EBADF, NETFD_ECLOSED, -EOPNOTSUPP no unix socket, -ENOTCONN no peer
///
/// Any thread; never parks. Follows unix(7), SO_PEERCRED.
///
/// # Safety
///
/// Each pointer is NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn netfd_peer_cred(
    fd: c_int,
    pid: *mut pid_t,
    uid: *mut uid_t,
    gid: *mut gid_t,
) -> c_int {
    boundary("getpeername", || {
        let who = unix::peer_cred(fd)?;
        if !pid.is_null() {
            // SAFETY: the contract above.
            unsafe { pid.write(who.pid) };
        }
        if !uid.is_null() {
            // SAFETY: the contract above.
            unsafe { uid.write(who.uid) };
        }
        if !gid.is_null() {
            // SAFETY: the contract above.
            unsafe { gid.write(who.gid) };
        }
        Ok(0)
    })
}
