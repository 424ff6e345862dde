//! Readiness and wake-ups: ppoll(2), epoll(7), eventfd(2).

use crate::error::{Result, Sys};
use crate::sys::{Fd, check, check_len, errno, set_errno, time};
use core::ptr;
use libc::{c_int, c_short, nfds_t, pollfd};

/// Waits for one of `fds`, at most `timeout` nanoseconds (negative: for ever).
/// Returns how many are ready.
pub fn ppoll(fds: &mut [pollfd], timeout: i64) -> Result<c_int> {
    let limit = time::timespec(timeout);
    let limit: *const libc::timespec = if timeout < 0 { ptr::null() } else { &limit };
    let count = fds.len() as nfds_t;
    // SAFETY: `fds` is there to be written, the timespec lives over the call,
    // and no signal mask is given.
    let ready = unsafe { libc::ppoll(fds.as_mut_ptr(), count, limit, ptr::null()) };
    check(ready, Sys::Ppoll)
}

/// One entry of a ppoll set. A negative descriptor is passed over.
pub const fn interest(fd: Fd, events: c_short) -> pollfd {
    pollfd {
        fd,
        events,
        revents: 0,
    }
}

/// An eventfd: non-blocking, close-on-exec, zero.
pub fn eventfd() -> Result<Fd> {
    // SAFETY: eventfd takes no pointer.
    let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
    check(fd, Sys::Eventfd2)
}

/// Makes an eventfd readable. Async-signal-safe, and no cancellation point:
/// the bare system call, with errno put back.
pub fn signal(fd: Fd) {
    let before = errno();
    let one = 1u64;
    // SAFETY: eight readable bytes. It cannot block: the counter holds 2^64
    // wake-ups, and a full one is as readable as it gets.
    unsafe { libc::syscall(libc::SYS_write, fd, &raw const one, size_of::<u64>()) };
    set_errno(before);
}

/// Reads an eventfd empty. It is non-blocking, so empty is no trouble.
pub fn drain(fd: Fd) {
    let mut count = 0u64;
    // SAFETY: eight writable bytes.
    unsafe { libc::read(fd, (&raw mut count).cast(), size_of::<u64>()) };
}

/// An epoll set that lives for one park: the wait that tells edges.
#[derive(Debug)]
pub struct Epoll(Fd);

impl Epoll {
    /// epoll_create1(2), close-on-exec.
    pub fn new() -> Result<Self> {
        // SAFETY: epoll_create1 takes no pointer.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        check(fd, Sys::EpollCreate1).map(Self)
    }

    /// The set's own descriptor: it has input while any of its members is ready.
    pub fn fd(&self) -> Fd {
        self.0
    }

    /// Adds `fd`; `key` comes back with its events.
    pub fn add(&self, fd: Fd, events: u32, key: u64) -> Result<()> {
        let mut event = libc::epoll_event { events, u64: key };
        // SAFETY: `event` is readable over the call.
        let added = unsafe { libc::epoll_ctl(self.0, libc::EPOLL_CTL_ADD, fd, &mut event) };
        check(added, Sys::EpollCtl).map(drop)
    }

    /// As `add`; one that is in the set already is told of anew.
    pub fn put(&self, fd: Fd, events: u32, key: u64) -> Result<()> {
        match self.add(fd, events, key) {
            Err(error) if error.is(libc::EEXIST) => {
                let mut event = libc::epoll_event { events, u64: key };
                // SAFETY: `event` is readable over the call.
                let put = unsafe { libc::epoll_ctl(self.0, libc::EPOLL_CTL_MOD, fd, &mut event) };
                check(put, Sys::EpollCtl).map(drop)
            }
            other => other,
        }
    }

    /// Takes `fd` out, where it is in.
    pub fn remove(&self, fd: Fd) {
        // SAFETY: EPOLL_CTL_DEL looks at no event.
        unsafe { libc::epoll_ctl(self.0, libc::EPOLL_CTL_DEL, fd, ptr::null_mut()) };
    }

    /// Waits for events, at most `timeout` nanoseconds, rounded up to
    /// milliseconds (negative: for ever).
    pub fn wait_ns<'a>(
        &self,
        events: &'a mut [libc::epoll_event],
        timeout: i64,
    ) -> Result<&'a [libc::epoll_event]> {
        const MS: i64 = 1_000_000;
        let ms = if timeout < 0 {
            -1
        } else {
            c_int::try_from(timeout.saturating_add(MS - 1) / MS).unwrap_or(c_int::MAX)
        };
        self.wait(events, ms)
    }

    /// Waits for events, at most `timeout` milliseconds (negative: for ever).
    /// Returns those that came: their flags and keys.
    pub fn wait<'a>(
        &self,
        events: &'a mut [libc::epoll_event],
        timeout: c_int,
    ) -> Result<&'a [libc::epoll_event]> {
        let room = c_int::try_from(events.len()).unwrap_or(c_int::MAX);
        // SAFETY: `events` is writable for the `room` entries it has.
        let n = unsafe { libc::epoll_wait(self.0, events.as_mut_ptr(), room, timeout) };
        let n = check_len(n as isize, Sys::EpollWait)?;
        Ok(events.get(..n).unwrap_or_default())
    }
}

impl Drop for Epoll {
    fn drop(&mut self) {
        let _ = crate::sys::close(self.0);
    }
}
