//! Who queues for a descriptor's turns: a list of waiters for each turn, first
//! come first served, under one small lock.
//!
//! The lock carries the process epoch: one that a fork(2) copied while it was
//! held belongs to a thread that this process does not have, and so do the
//! lists behind it. Whoever meets it takes it over, with empty lists.

use crate::fd::word::{TURNS, Turn};
use crate::park::{self, Waiter};
use crate::sync::{AtomicU32, Ordering};
use crate::sys::futex;

const FREE: u32 = 0;
const HELD: u32 = 1;
/// Held, and somebody sleeps for it.
const CONTENDED: u32 = 2;
const EPOCH_SHIFT: u32 = 2;

/// The first and the last of a list, as waiter ids; 0 is none.
#[derive(Debug)]
struct Ends {
    first: AtomicU32,
    last: AtomicU32,
}

impl Default for Ends {
    fn default() -> Self {
        Self {
            first: AtomicU32::new(0),
            last: AtomicU32::new(0),
        }
    }
}

/// The queues of one descriptor.
#[derive(Debug)]
pub struct Queue {
    lock: AtomicU32,
    lists: [Ends; TURNS.len()],
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            lock: AtomicU32::new(0),
            lists: Default::default(),
        }
    }
}

impl Queue {
    /// Takes the lock. It is held for a few instructions only.
    pub fn lock(&self, epoch: u32) -> Lists<'_> {
        let base = epoch << EPOCH_SHIFT;
        let mut mine = base | HELD;
        loop {
            let word = self.lock.load(Ordering::Relaxed);
            let inherited = word & !3 != base;
            if inherited || word == base | FREE {
                let taken = self.lock.compare_exchange_weak(
                    word,
                    mine,
                    Ordering::Acquire,
                    Ordering::Relaxed,
                );
                if taken.is_ok() {
                    let lists = Lists { queue: self, base };
                    if inherited {
                        lists.forget();
                    }
                    return lists;
                }
            } else if word == base | CONTENDED
                || self
                    .lock
                    .compare_exchange_weak(
                        word,
                        base | CONTENDED,
                        Ordering::Relaxed,
                        Ordering::Relaxed,
                    )
                    .is_ok()
            {
                futex::wait(&self.lock, base | CONTENDED, 0);
                mine = base | CONTENDED; // others may still sleep
            }
        }
    }
}

/// The lists, while the lock is held.
#[derive(Debug)]
pub struct Lists<'a> {
    queue: &'a Queue,
    base: u32,
}

impl Lists<'_> {
    fn ends(&self, turn: Turn) -> Option<&Ends> {
        self.queue.lists.get(turn as usize)
    }

    fn forget(&self) {
        for ends in &self.queue.lists {
            ends.first.store(0, Ordering::Relaxed);
            ends.last.store(0, Ordering::Relaxed);
        }
    }

    /// Puts a waiter at the end.
    pub fn push(&self, turn: Turn, id: u32, waiter: &Waiter) {
        let Some(ends) = self.ends(turn) else { return };
        let last = ends.last.load(Ordering::Relaxed);
        waiter.prev.store(last, Ordering::Relaxed);
        waiter.next.store(0, Ordering::Relaxed);
        waiter.queued.store(1, Ordering::Relaxed);
        match park::find(last) {
            Some(before) => before.next.store(id, Ordering::Relaxed),
            None => ends.first.store(id, Ordering::Relaxed),
        }
        ends.last.store(id, Ordering::Relaxed);
    }

    /// Takes the first one out, and claims it.
    pub fn pop(&self, turn: Turn) -> Option<&'static Waiter> {
        let ends = self.ends(turn)?;
        let waiter = park::find(ends.first.load(Ordering::Relaxed))?;
        self.remove(turn, waiter);
        Some(waiter)
    }

    /// Takes a waiter out. False where it is not there: it has been claimed.
    pub fn remove(&self, turn: Turn, waiter: &Waiter) -> bool {
        let Some(ends) = self.ends(turn) else {
            return false;
        };
        if waiter.queued.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let prev = waiter.prev.load(Ordering::Relaxed);
        let next = waiter.next.load(Ordering::Relaxed);
        match park::find(prev) {
            Some(before) => before.next.store(next, Ordering::Relaxed),
            None => ends.first.store(next, Ordering::Relaxed),
        }
        match park::find(next) {
            Some(behind) => behind.prev.store(prev, Ordering::Relaxed),
            None => ends.last.store(prev, Ordering::Relaxed),
        }
        waiter.queued.store(0, Ordering::Relaxed);
        true
    }

    /// Takes all out, and claims them.
    pub fn take(&self, turn: Turn) -> Claimed {
        let Some(ends) = self.ends(turn) else {
            return Claimed { next: 0 };
        };
        let first = ends.first.load(Ordering::Relaxed);
        ends.first.store(0, Ordering::Relaxed);
        ends.last.store(0, Ordering::Relaxed);
        let mut id = first;
        while let Some(waiter) = park::find(id) {
            waiter.queued.store(0, Ordering::Relaxed);
            id = waiter.next.load(Ordering::Relaxed);
        }
        Claimed { next: first }
    }

    /// Whether nobody stands there.
    pub fn is_empty(&self, turn: Turn) -> bool {
        self.ends(turn)
            .is_none_or(|ends| ends.first.load(Ordering::Relaxed) == 0)
    }

    /// Shows each waiter to `look`.
    pub fn each(&self, turn: Turn, mut look: impl FnMut(&'static Waiter)) {
        let mut id = self
            .ends(turn)
            .map_or(0, |ends| ends.first.load(Ordering::Relaxed));
        while let Some(waiter) = park::find(id) {
            look(waiter);
            id = waiter.next.load(Ordering::Relaxed);
        }
    }
}

impl Drop for Lists<'_> {
    fn drop(&mut self) {
        let held = self.queue.lock.swap(self.base | FREE, Ordering::Release);
        if held == self.base | CONTENDED {
            futex::wake(&self.queue.lock, 1);
        }
    }
}

/// Waiters that are claimed and out of the queue, to be woken without its
/// lock.
#[derive(Debug)]
#[must_use]
pub struct Claimed {
    next: u32,
}

impl Claimed {
    /// Wakes them all.
    pub fn wake(mut self) {
        while let Some(waiter) = park::find(self.next) {
            // Before it is woken: after that the link is its owner's.
            self.next = waiter.next.load(Ordering::Relaxed);
            waiter.wake();
        }
    }
}
