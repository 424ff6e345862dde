//! Go's WaitGroup: counts work that threads and fibers wait for.

use crate::error::{INVAL, Result};
use crate::fd::Turn;
use crate::fd::cancel::Held;
use crate::fd::look::Look;
use crate::fd::queue::Queue;
use crate::park::{self, Aside};
use crate::pool::{Pool, Pooled};
use crate::sync::{AtomicI32, AtomicU32, Ordering};
use crate::sys::{process, sanitizer};

/// A group: what C holds a pointer to. Its memory is never freed.
#[derive(Debug, Default)]
pub struct Group {
    count: AtomicI32,
    queue: Queue,
    id: AtomicU32,
    link: AtomicU32,
}

impl Pooled for Group {
    fn link(&self) -> &AtomicU32 {
        &self.link
    }
}

static GROUPS: Pool<Group> = Pool::new();

impl Group {
    /// A group of nothing.
    pub fn new() -> Result<&'static Self> {
        process::prepare()?;
        let (id, group) = GROUPS.take()?;
        group.id.store(id, Ordering::Relaxed);
        group.count.store(0, Ordering::Release);
        Ok(group)
    }

    /// How much work there is.
    pub fn count(&self) -> i32 {
        self.count.load(Ordering::Acquire)
    }

    /// Whether there is none; what was done is seen by the caller, then.
    fn is_done(&self) -> bool {
        let is_done = self.count() == 0;
        if is_done {
            sanitizer::acquire(self);
        }
        is_done
    }

    /// Counts `n` more, or less; `-EINVAL` below 0 and beyond what is counted.
    pub fn add(&self, n: i32) -> Result<()> {
        sanitizer::release(self);
        let before = self
            .count
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |count| {
                count.checked_add(n).filter(|count| *count >= 0)
            })
            .map_err(|_| INVAL)?;
        if before + n == 0 && n != 0 {
            let lists = self.queue.lock(process::epoch());
            let claimed = lists.take(Turn::Read);
            drop(lists);
            claimed.wake();
        }
        Ok(())
    }

    /// Parks until there is no work left.
    pub fn wait(&self, deadline: i64, token: Option<&Held>) -> Result<()> {
        let token = token.and_then(Held::token);
        park::with_waiter(|waiter, id| {
            if token.is_some() {
                park::need_event(waiter);
            }
            let epoch = process::epoch();
            loop {
                waiter.arm(token.is_some());
                let lists = self.queue.lock(epoch);
                if self.is_done() {
                    return Ok(());
                }
                lists.push(Turn::Read, id, waiter);
                drop(lists);
                let look = Look::new(deadline, None, token, waiter);
                let slept = look.and_then(|look| waiter.aside(Aside::Group, || look.nap(waiter)));
                let removed = self.queue.lock(epoch).remove(Turn::Read, waiter);
                if !removed {
                    waiter.settle();
                }
                if self.is_done() {
                    return Ok(());
                }
                slept?;
            }
        })
    }

    /// Gives it back.
    pub fn free(&self) {
        GROUPS.put(self.id.load(Ordering::Relaxed));
    }
}
