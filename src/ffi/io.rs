//! Reading, writing, and waiting for either.

use super::boundary::{bytes, bytes_mut, count, parking};
use crate::error::{INVAL, Result};
use crate::net::{socket, stream};
use crate::sys::message::IoVecs;
use core::ffi::c_void;
use libc::{c_int, iovec, ssize_t};

/// Reads what is there, parking until something is.
///
/// It is one successful system call: a short count is normal. With SO_RCVLOWAT
/// set it may wait for that much, even where `len` is less. A connection that
/// broke is told to every read from then on, once the bytes that had come
/// before are read; it is never taken for the end of the stream.
///
/// @param buf  where to store it
/// @param len  bytes at `buf`; 0 reads nothing and returns 0
/// @return the number of bytes; 0 at the end of the stream; or
///   -EBADF, -EFAULT, -EINVAL `len` over SSIZE_MAX, -EUSERS too many callers,
///   NETFD_EDEADLINE, NETFD_ECANCELED, NETFD_ECLOSED destroyed meanwhile,
///   -EINTR if asked for by netfd_set_interruptible(),
///   or what recv(2) said, negated (-ECONNRESET, -ENOTCONN, ...)
///
/// Any thread; reads of a stream take turns, beside its writes. Obeys the read
/// deadline and the token. Follows Go `FD.Read` and read(2).
///
/// # Safety
///
/// `buf` is NULL or writable for `len` bytes.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C-unwind" fn netfd_read(fd: c_int, buf: *mut c_void, len: usize) -> ssize_t {
    parking("read", || {
        // SAFETY: the contract above.
        let buf = unsafe { bytes_mut(buf, len) }?;
        stream::read(fd, buf).map(count)
    })
}

/// Writes all of it, parking while there is no room.
///
/// Fewer bytes than asked come back only if something stopped it after some
/// had gone: netfd_last_error() tells what, and an error that the kernel would
/// not repeat is returned by the next write too. Nothing is sent twice. On
/// datagram and seqpacket sockets it is one message, never cut; there a `len`
/// of 0 sends an empty one.
///
/// SIGPIPE is never raised.
///
/// @param buf  what to write
/// @param len  bytes at `buf`
/// @return the number of bytes written, or, where none was,
///   -EBADF, -EFAULT, -EINVAL `len` over SSIZE_MAX, -EUSERS too many callers,
///   NETFD_EDEADLINE, NETFD_ECANCELED, NETFD_ECLOSED destroyed meanwhile,
///   -EINTR if asked for by netfd_set_interruptible(),
///   or what send(2) said, negated (-EPIPE, -ECONNRESET, -EMSGSIZE, ...)
///
/// Any thread; writes to a stream take turns and are never interleaved. Obeys
/// the write deadline and the token. Follows Go `FD.Write` and write(2).
///
/// # Safety
///
/// `buf` is NULL or readable for `len` bytes.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C-unwind" fn netfd_write(fd: c_int, buf: *const c_void, len: usize) -> ssize_t {
    parking("write", || {
        // SAFETY: the contract above.
        let buf = unsafe { bytes(buf, len) }?;
        stream::write(fd, buf).map(count)
    })
}

/// Reads into several buffers, as netfd_read() does into one.
///
/// @param iov     the buffers; more than IOV_MAX are used as far as IOV_MAX
///                on a stream
/// @param iovcnt  how many
/// @return as netfd_read(); -EINVAL where `iovcnt` is negative or the lengths
///   add up to more than SSIZE_MAX; -EMSGSIZE more than IOV_MAX buffers for a
///   message
///
/// Any thread. Follows readv(2).
///
/// # Safety
///
/// `iov` is NULL or readable for `iovcnt` entries, each of them valid and
/// writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C-unwind" fn netfd_readv(
    fd: c_int,
    iov: *const iovec,
    iovcnt: c_int,
) -> ssize_t {
    parking("read", || {
        // SAFETY: the contract above.
        let buffers = unsafe { buffers(iov, iovcnt) }?;
        stream::readv(fd, buffers).map(count)
    })
}

/// Writes from several buffers, as netfd_write() does from one: all of them,
/// any number of them.
///
/// @param iov     the buffers; a message takes at most IOV_MAX
/// @param iovcnt  how many
/// @return as netfd_write(); -EINVAL where `iovcnt` is negative or the lengths
///   add up to more than SSIZE_MAX; -EMSGSIZE more than IOV_MAX buffers for a
///   message
///
/// Any thread. Follows Go `FD.Writev` and writev(2).
///
/// # Safety
///
/// `iov` is NULL or readable for `iovcnt` entries, each of them valid.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C-unwind" fn netfd_writev(
    fd: c_int,
    iov: *const iovec,
    iovcnt: c_int,
) -> ssize_t {
    parking("writev", || {
        // SAFETY: the contract above.
        let buffers = unsafe { buffers(iov, iovcnt) }?;
        stream::writev(fd, buffers).map(count)
    })
}

/// # Safety
///
/// As for `IoVecs::new`.
unsafe fn buffers<'a>(iov: *const iovec, count: c_int) -> Result<IoVecs<'a>> {
    let count = usize::try_from(count).map_err(|_| INVAL)?;
    // SAFETY: the caller's promise.
    unsafe { IoVecs::new(iov, count) }
}

/// For netfd_wait(): ready to be read, or accepted from.
pub const NETFD_READABLE: c_int = 1;
/// For netfd_wait(): ready to be written, or connected.
pub const NETFD_WRITABLE: c_int = 2;

const _: () = assert!(NETFD_READABLE == socket::READABLE);
const _: () = assert!(NETFD_WRITABLE == socket::WRITABLE);

/// Waits until a descriptor is ready, and moves no data.
///
/// An error or a hang-up is ready in the directions asked; an entry that
/// stands in the error queue (IP_RECVERR, timestamps) alone is not.
///
/// @param events    NETFD_READABLE, NETFD_WRITABLE, or both
/// @param deadline  of this call, in nanoseconds of CLOCK_MONOTONIC, or
///                  NETFD_NO_DEADLINE; one that has passed looks once. The
///                  descriptor's own deadlines do not count
/// @return those of `events` that are ready, at least one, or
///   -EBADF, -EINVAL `events` is 0 or has other bits, -EUSERS too many
///   callers, NETFD_EDEADLINE, NETFD_ECANCELED, NETFD_ECLOSED destroyed
///   meanwhile, -EINTR if asked for by netfd_set_interruptible()
///
/// Any thread; takes no turn, any number may wait at once. Obeys the token.
/// Follows poll(2).
#[unsafe(no_mangle)]
pub extern "C-unwind" fn netfd_wait(fd: c_int, events: c_int, deadline: i64) -> c_int {
    parking("wait", || socket::wait(fd, events, deadline))
}
