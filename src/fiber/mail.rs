//! What is left for a worker by other threads: a stack without a lock, and
//! whether the worker sleeps.
//!
//! # Why no mail waits for a worker that sleeps
//!
//! ```text
//! worker:  asleep = true;   look at the mail;  sleep
//! sender:  push the mail;   look at `asleep`;  write the eventfd
//! ```
//!
//! Both touch the mail by an atomic step that reads and writes, so one of the
//! two is the first. If the worker's is, the sender's reads what it wrote, and
//! with it sees that the worker is (about to be) asleep; else the worker sees
//! the mail. What is written to the eventfd before the worker sleeps keeps it
//! from sleeping.

use crate::sync::{AtomicBool, AtomicU32, Ordering};

/// A worker's mailbox. What lies in it is known by numbers, each of which has a
/// link of its own.
#[derive(Debug)]
pub struct Mailbox {
    /// The last thing that was left; each leads to the one before. 0: nothing.
    last: AtomicU32,
    /// The worker sleeps, or is about to.
    asleep: AtomicBool,
}

impl Default for Mailbox {
    fn default() -> Self {
        Self {
            last: AtomicU32::new(0),
            asleep: AtomicBool::new(false),
        }
    }
}

impl Mailbox {
    /// Makes it a new worker's.
    pub fn clear(&self) {
        self.last.store(0, Ordering::Relaxed);
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// Leaves `id`, whose link is nobody else's meanwhile. True: the worker has
    /// to be woken, by the caller.
    pub fn leave(&self, id: u32, link: &AtomicU32) -> bool {
        let mut last = self.last.load(Ordering::Relaxed);
        loop {
            link.store(last, Ordering::Relaxed);
            match self
                .last
                .compare_exchange_weak(last, id, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => break,
                Err(now) => last = now,
            }
        }
        self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::AcqRel)
    }

    /// The worker's: it is going to sleep. False: there is mail.
    pub fn falls_asleep(&self) -> bool {
        self.asleep.swap(true, Ordering::AcqRel);
        self.last.fetch_or(0, Ordering::AcqRel) == 0
    }

    /// The worker's: whether there is mail.
    pub fn has_any(&self) -> bool {
        self.last.load(Ordering::Relaxed) != 0
    }

    /// The worker's: it is awake.
    pub fn awakes(&self) {
        self.asleep.swap(false, Ordering::AcqRel);
    }

    /// The worker's: takes all mail, and shows it, the oldest first.
    pub fn collect<'a>(
        &self,
        link_of: impl Fn(u32) -> Option<&'a AtomicU32>,
        mut show: impl FnMut(u32),
    ) {
        if self.last.load(Ordering::Relaxed) == 0 {
            return;
        }
        // It comes newest first; turned round by its own links.
        let mut rest = self.last.swap(0, Ordering::AcqRel);
        let mut oldest = 0;
        while let Some(link) = link_of(rest) {
            let next = link.load(Ordering::Relaxed);
            link.store(oldest, Ordering::Relaxed);
            oldest = rest;
            rest = next;
        }
        while let Some(link) = link_of(oldest) {
            // Before it is shown: after that the link may be used again.
            let next = link.load(Ordering::Relaxed);
            show(oldest);
            oldest = next;
        }
    }
}
