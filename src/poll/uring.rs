//! A worker's ring: reads, writes and accepts that the kernel carries out while
//! their fibers are parked, handed over once per turn of the worker's loop.
//!
//! All else that fibers wait for (tokens, wake-ups, connections, datagrams)
//! stands in the worker's epoll set, as without a ring; the ring hears of that
//! set as a whole.
//!
//! What an operation points to is the kernel's from `begin` on, until its answer
//! has been told: `fiber::handover` says how a fiber that is woken before gets
//! it back.

use crate::error::Result;
use crate::poll::epoll::{Set, Told};
use crate::sys::Fd;
use crate::sys::uring::{self, Operation};

// What comes back with an answer: an operation's is its fiber.
const OF_SET: u64 = 1 << 32;
const OF_CANCELLATION: u64 = 2 << 32;

/// A worker's ring.
#[derive(Debug)]
pub struct Ring {
    ring: uring::Ring,
    /// It is going to hear of the set.
    hears: bool,
}

impl Ring {
    /// A ring of the calling thread's. Fails where the kernel has none to give.
    pub fn new() -> Result<Self> {
        Ok(Self {
            ring: uring::Ring::new()?,
            hears: false,
        })
    }

    /// Begins the operation of the fiber `who`, who has no other one.
    ///
    /// # Safety
    ///
    /// What the operation points to is there, and nobody touches it, until
    /// `who` has been told the answer.
    pub unsafe fn begin(&mut self, who: u32, fd: Fd, operation: Operation) -> Result<()> {
        // SAFETY: the caller's promise.
        unsafe { self.ring.begin(fd, operation, who.into()) }
    }

    /// Asks for the end of the operation of the fiber `who`.
    pub fn cancel(&mut self, who: u32) -> Result<()> {
        self.ring.cancel(who.into(), OF_CANCELLATION)
    }

    /// As `Set::wait`, for answers and for what happens in the set.
    #[allow(
        clippy::cast_possible_truncation,
        reason = "an operation's key is its fiber"
    )]
    pub fn wait(&mut self, set: &mut Set, timeout: i64, mut tell: impl FnMut(Told)) -> Result<()> {
        let watched = if self.hears {
            Ok(())
        } else {
            self.ring.watch(set.fd(), OF_SET)
        };
        self.hears |= watched.is_ok();
        let entered = match watched {
            Ok(()) if timeout != 0 || self.ring.is_busy() => self.ring.enter(timeout),
            other => other,
        };
        // Whatever was said to that: there may be answers all the same.
        let mut heard = false;
        self.ring.answers(|key, answer| match key {
            OF_SET => heard = true,
            OF_CANCELLATION => {}
            who => tell(Told::Answer(who as u32, answer)),
        });
        if heard {
            self.hears = false;
            while set.wait(0, &mut tell)? {}
        }
        match entered {
            Err(error) if !error.is(libc::ETIME) && !error.is(libc::EINTR) => Err(error),
            _ => Ok(()),
        }
    }
}
