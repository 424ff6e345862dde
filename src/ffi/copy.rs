//! From one descriptor to another, without a detour where there is a way.

use super::boundary::parking;
use crate::net::copy;
use libc::c_int;

/// Sends a file to a stream, or a part of it, parking while there is no room.
///
/// The kernel moves the bytes (sendfile(2)) where it can; they are copied
/// where it cannot: out of a pipe, a socket, a terminal. A file that is
/// shorter than asked is sent to its end, and one that grows meanwhile to its
/// new end. With the file's own offset, that is behind the last byte sent
/// afterwards, however the call ended.
///
/// Fewer bytes than there were come back only if something stopped it after
/// some had gone: see netfd_copy(). SIGPIPE is never raised.
///
/// @param fd       a stream socket
/// @param file_fd  any descriptor that can be read, attached or not
/// @param offset   where in the file to begin, the file's own offset being
///                 left alone; negative: at the file's own offset, which is
///                 moved
/// @param count    how many bytes; negative: to the end
/// @return the number of bytes sent, 0 at or behind the end of the file; or,
///   where none was sent,
///   -EBADF `fd` is not attached, or `file_fd` not open for reading,
///   -EOPNOTSUPP `fd` is no stream, -ESPIPE `offset` in what cannot seek,
///   -EUSERS too many callers, NETFD_EDEADLINE, NETFD_ECANCELED,
///   NETFD_ECLOSED destroyed meanwhile,
///   -EPIPE an earlier copy read bytes that it could not write,
///   -EINTR if asked for by netfd_set_interruptible(),
///   or what sendfile(2), read(2) or send(2) said, negated
///
/// Any thread; takes its turn with the writes to `fd`. Obeys its write
/// deadline and token; where `file_fd` is attached, its read deadline and
/// token as well, and the destroy of either ends it. Follows Go
/// `(*net.TCPConn).ReadFrom` and sendfile(2).
#[unsafe(no_mangle)]
#[must_use]
pub extern "C-unwind" fn netfd_sendfile(fd: c_int, file_fd: c_int, offset: i64, count: i64) -> i64 {
    parking("write", || copy::sendfile(fd, file_fd, offset, count))
}

/// Copies from one descriptor to another until the end of what is read,
/// parking while either is not ready.
///
/// Between streams the bytes do not pass through the process (splice(2)), nor
/// do those of a file (sendfile(2)); all else is copied, and so is what the
/// kernel refuses to move. A socket of messages is read a message at a time,
/// and each becomes one write; one that is longer than what `max` leaves, or
/// than 64 KiB, is left where it is, and told as -EMSGSIZE. To a socket of
/// messages, each read of at most 32 KiB of a stream is one message.
///
/// The end is passed on to nobody: netfd_shutdown() of `dst` does that. To
/// copy in both directions takes two calls, and two threads.
///
/// What stops it after bytes have gone leaves the count as the result; the
/// failure is what netfd_last_error() tells, of the operation "read" where it
/// was `src`'s. Call it again until it returns 0, the end, or a code. Nothing
/// that was not read is lost. What was read and could not be written any more
/// is set back where `src` is a file; elsewhere the next write to `dst` fails
/// with -EPIPE, for the stream has a hole there.
///
/// @param dst  an attached descriptor
/// @param src  one that can be read, attached or not: a socket, a file at its
///             own offset, a pipe, a terminal; `dst` itself is an echo
/// @param max  the most bytes to copy; negative: no limit
/// @return the number of bytes written to `dst`, 0 at the end; or, where none
///   was written,
///   -EBADF `dst` is not attached, or `src` not open,
///   -EUSERS too many callers, NETFD_EDEADLINE, NETFD_ECANCELED,
///   NETFD_ECLOSED destroyed before or meanwhile,
///   -EMSGSIZE a message is too long,
///   -EPIPE an earlier copy read bytes that it could not write,
///   -EINTR if asked for by netfd_set_interruptible(),
///   or what splice(2), read(2) or write(2) said, negated
///
/// Any thread; takes its turn with the reads of `src` and with the writes to
/// `dst`, and keeps both. Whichever it waits for, it obeys `src`'s read
/// deadline, `dst`'s write deadline and both tokens, and the destroy of either
/// ends it. SIGPIPE is never raised. Follows Go `io.Copy`,
/// `(*net.TCPConn).ReadFrom` and splice(2).
#[unsafe(no_mangle)]
#[must_use]
pub extern "C-unwind" fn netfd_copy(dst: c_int, src: c_int, max: i64) -> i64 {
    parking("write", || copy::copy(dst, src, max))
}
