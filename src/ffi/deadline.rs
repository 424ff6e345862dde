//! Time and deadlines.

use super::boundary::boundary;
use crate::fd::limits::Side;
use crate::net::deadline;
use crate::park;
use crate::sys::time;
use libc::c_int;

/// No deadline: a call may wait for ever.
pub const NETFD_NO_DEADLINE: i64 = 0;

/// Tells the time.
///
/// @return nanoseconds of CLOCK_MONOTONIC
///
/// Any thread; in signal handlers, too.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn netfd_now() -> i64 {
    time::now()
}

/// Makes a deadline of a duration: the point in time that lies so far ahead.
///
/// @param ns  nanoseconds; negative: it lies in the past
/// @return netfd_now() + `ns`, within the range of the type, and never
///   NETFD_NO_DEADLINE
///
/// Any thread.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn netfd_after(ns: i64) -> i64 {
    deadline::after(ns)
}

/// Sets both deadlines of a descriptor.
///
/// A deadline is a point in time. Once it has passed, every call in its
/// direction fails with NETFD_EDEADLINE, one that is parked already and one
/// that would have found data too, until another one is set. It ends calls,
/// not the descriptor: nothing is lost. Setting one costs no system call
/// unless somebody is parked.
///
/// @param t  nanoseconds of CLOCK_MONOTONIC, see netfd_after(); or
///           NETFD_NO_DEADLINE; what is not in the future has passed
/// @return 0, or -EBADF, NETFD_ECLOSED
///
/// Any thread; calls that are parked obey it at once. Follows Go
/// `net.Conn.SetDeadline`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn netfd_set_deadline(fd: c_int, t: i64) -> c_int {
    boundary("set", || {
        deadline::set(fd, t, &[Side::Read, Side::Write]).map(|()| 0)
    })
}

/// Sets the deadline of reads, receives and accepts; otherwise as
/// netfd_set_deadline().
///
/// @param t  as for netfd_set_deadline()
/// @return 0, or -EBADF, NETFD_ECLOSED
///
/// Any thread. Follows Go `net.Conn.SetReadDeadline`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn netfd_set_read_deadline(fd: c_int, t: i64) -> c_int {
    boundary("set", || deadline::set(fd, t, &[Side::Read]).map(|()| 0))
}

/// Sets the deadline of writes, sends and connects; otherwise as
/// netfd_set_deadline().
///
/// @param t  as for netfd_set_deadline()
/// @return 0, or -EBADF, NETFD_ECLOSED
///
/// Any thread. Follows Go `net.Conn.SetWriteDeadline`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn netfd_set_write_deadline(fd: c_int, t: i64) -> c_int {
    boundary("set", || deadline::set(fd, t, &[Side::Write]).map(|()| 0))
}

/// Says whether signals end the calling thread's calls.
///
/// Off, which is the default, a call that waits goes on waiting after a
/// signal handler has run. On, it returns -EINTR instead; a write that had
/// sent a part returns the count. For languages that act on signals between
/// calls only, as Python does on Ctrl-C.
///
/// A handler that runs just before the call begins to wait does not end it.
///
/// @param on  1 or 0
/// @return 0, or
///   -EINVAL `on` is neither, or the caller is a fiber, whose worker handles no
///   signals
///
/// For the calling thread only.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn netfd_set_interruptible(on: c_int) -> c_int {
    boundary("set", || {
        if !(0..=1).contains(&on) || park::is_fiber() {
            return Err(crate::error::INVAL);
        }
        park::set_interruptible(on == 1);
        Ok(0)
    })
}
