//! What is going on inside.

use super::boundary::{boundary, fill};
use crate::net::inspect;
use libc::c_int;

/// Counts of the whole process. Set `size` to the struct's sizeof before the
/// call that fills it in.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Stats {
    /// The caller's sizeof of this struct.
    pub size: usize,
    /// Descriptors that are attached.
    pub open_fds: u64,
    /// Callers that are parked, threads and fibers: in a call on a descriptor,
    /// in a queue for a turn, for a lookup, a group or netfd_block(), asleep.
    pub parked: u64,
    /// Connections that netfd_accept() returned.
    pub accepts: u64,
    /// Times that a caller parked.
    pub parks: u64,
    /// Times that a parked caller was woken by another call: a turn given
    /// back, a deadline or token set, destroy, detach.
    pub wakeups: u64,
    /// Fibers that have been started and have not ended.
    pub fibers: u64,
    /// Times that a worker switched to a fiber.
    pub switches: u64,
    /// Operations that were handed to io_uring; 0 where the poller is epoll.
    pub submissions: u64,
}

/// Counts what is going on.
///
/// In a child made by fork(2) `parked` begins again, and so does what is
/// counted of fibers.
///
/// @param out  where to store the counts, `size` set
/// @return 0, or -EFAULT, -EINVAL `size` is 0
///
/// Any thread; looks at every descriptor. The counts are not of one moment.
///
/// # Safety
///
/// `out` is NULL or writable for `size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn netfd_stats(out: *mut Stats) -> c_int {
    boundary("stats", || {
        let counts = inspect::counts();
        let with_size = |size| Stats {
            size,
            open_fds: counts.open,
            parked: counts.parked,
            accepts: counts.accepts,
            parks: counts.parks,
            wakeups: counts.wakeups,
            fibers: counts.workers.fibers,
            switches: counts.workers.switches,
            submissions: counts.workers.submissions,
        };
        // SAFETY: the contract above.
        unsafe { fill(out, with_size) }.map(|()| 0)
    })
}

/// Writes what is attached and who is parked on what, since when, as text for
/// people: a line for each descriptor, and under it one for each thread or
/// fiber that is parked there; at the end, those that are parked on none. Of
/// those without a deadline "since when" is as of the kernel's last tick, up
/// to 10 ms early.
///
/// @param out_fd  any descriptor that can be written: 2, a file, a pipe
/// @return 0, or
///   what write(2) said, negated (-EAGAIN where a non-blocking one is full)
///
/// Any thread; may block as long as writing to `out_fd` does. SIGPIPE is not
/// raised.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn netfd_dump(out_fd: c_int) -> c_int {
    boundary("dump", || inspect::dump(out_fd).map(|()| 0))
}
