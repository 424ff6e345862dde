//! The deadlines of a worker's fibers: a heap, in which a fiber stands at most
//! once before its deadline.
//!
//! Deadlines are mostly moved on before they pass. So an entry that is too early
//! is left, and its fiber put in again when it comes up: a connection whose
//! deadline moves with every read costs the heap nothing.

use crate::error::{Error, Result, Sys};
use core::cmp::Reverse;
use std::collections::BinaryHeap;

/// When which fiber is to be looked at.
#[derive(Debug, Default)]
pub struct Timers {
    heap: BinaryHeap<Reverse<(i64, u32)>>,
}

impl Timers {
    /// Has `who` come up at `when`.
    pub fn put(&mut self, when: i64, who: u32) -> Result<()> {
        self.heap
            .try_reserve(1)
            .map_err(|_| Error::os(libc::ENOMEM, Sys::Malloc))?;
        self.heap.push(Reverse((when, who)));
        Ok(())
    }

    /// How many entries there are, the stale ones included.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Drops the entries that are stale.
    pub fn keep(&mut self, is_true: impl Fn(i64, u32) -> bool) {
        self.heap
            .retain(|Reverse((when, who))| is_true(*when, *who));
    }

    /// When the first comes up.
    pub fn first(&self) -> Option<i64> {
        self.heap.peek().map(|Reverse((when, _))| *when)
    }

    /// Takes the first, if its time has come.
    pub fn due(&mut self, now: i64) -> Option<(i64, u32)> {
        if self.first()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }
}
