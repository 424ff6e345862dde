//! The wait that tells edges: an epoll set for one call.
//!
//! A socket can be ready and stay so while the call finds nothing: recv(2)
//! says EAGAIN and ppoll(2) returns POLLERR at once for as long as an entry
//! stands in the error queue (IP_RECVERR, timestamps). Level by level that is
//! a busy loop; an edge-triggered set reports each change once.

use crate::error::Result;
use crate::poll::{Outcome, Watch};
use crate::sys::event::Epoll;
use libc::{c_int, c_short, epoll_event};

const FD: u64 = 0;
const OTHER: u64 = 1;
const MS: i64 = 1_000_000;

/// An epoll set and what it watches.
#[derive(Debug)]
pub struct Edges {
    set: Epoll,
    watch: Watch,
}

impl Edges {
    /// A set for `watch`. Its first wait returns at once where the descriptor
    /// is ready, whatever was reported before.
    pub fn new(watch: Watch) -> Result<Self> {
        let set = Epoll::new()?;
        let events = u32::from(watch.events.unsigned_abs());
        set.add(watch.fd, events | libc::EPOLLET as u32, FD)?;
        for other in watch.others() {
            set.add(*other, libc::EPOLLIN as u32, OTHER)?;
        }
        Ok(Self { set, watch })
    }

    /// Whether the set is one for `watch`.
    pub fn watch(&self, watch: Watch) -> bool {
        self.watch == watch
    }

    /// Waits once.
    pub fn wait(&self, timeout: i64) -> Result<Outcome> {
        let ms = if timeout < 0 {
            -1
        } else {
            let up = timeout.saturating_add(MS - 1) / MS;
            c_int::try_from(up).unwrap_or(c_int::MAX)
        };
        let mut events = [epoll_event { events: 0, u64: 0 }; 4];
        let mut outcome = Outcome::default();
        match self.set.wait(&mut events, ms) {
            Ok(ready) => {
                for event in ready {
                    if event.u64 == FD {
                        // The low bits are poll(2)'s; edges have no more.
                        let bits = event.events & 0x7fff;
                        outcome.ready = c_short::try_from(bits).unwrap_or(libc::POLLERR);
                    } else {
                        outcome.other = true;
                    }
                }
                Ok(outcome)
            }
            Err(error) if error.is(libc::EINTR) => Ok(Outcome::SIGNAL),
            Err(error) => Err(error),
        }
    }
}
