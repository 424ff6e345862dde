//! Cancel tokens. One may be set on any number of descriptors and passed to
//! any number of calls; once fired it stays fired.
//!
//! ```text
//!  63  62      48 47    32 31                     0
//! +---+----------+--------+------------------------+
//! | F |          | epoch  | eventfd + 1, 0: none   |
//! +---+----------+--------+------------------------+
//! ```
//!
//! F: fired. Firing sets it and, by the same atomic step, learns which eventfd
//! the parked callers poll, if any; a caller that wants to park puts the
//! eventfd in by a step of its own and so either is seen or sees F. The
//! eventfd is never drained once fired: all who poll it wake.
//!
//! An eventfd of an older process is shared with that process. It is never
//! written, drained or closed here; a new one takes its place.

use crate::error::Result;
use crate::pool::{Pool, Pooled};
use crate::sync::{AtomicU32, AtomicU64, Ordering, Serials, spin_loop};
use crate::sys::{self, Fd, event, process};

const FIRED: u64 = 1 << 63;
const EPOCH_SHIFT: u32 = 32;
const EPOCH: u64 = 0xffff << EPOCH_SHIFT;

/// A cancel token: what C holds a pointer to.
#[derive(Debug, Default)]
pub struct Cancel {
    word: AtomicU64,
    /// Who holds it: its maker, each descriptor it is set on, each call that
    /// may park on it.
    holders: AtomicU32,
    /// Its own id.
    id: AtomicU32,
    /// Which token it is: the memory is used again, and so is its eventfd.
    serial: AtomicU32,
    link: AtomicU32,
}

impl Pooled for Cancel {
    fn link(&self) -> &AtomicU32 {
        &self.link
    }
}

static TOKENS: Pool<Cancel> = Pool::new();

static SERIALS: Serials = Serials::new(1);

/// The token known as `id`; 0 is none.
pub fn find(id: u32) -> Option<&'static Cancel> {
    TOKENS.get(id)
}

fn epoch_bits() -> u64 {
    (u64::from(process::epoch()) << EPOCH_SHIFT) & EPOCH
}

/// The eventfd in a word, where it is this process's.
#[allow(
    clippy::cast_possible_truncation,
    reason = "the low half is what is meant"
)]
fn event_in(word: u64) -> Option<Fd> {
    let event = word as u32 as Fd - 1;
    (event >= 0 && word & EPOCH == epoch_bits()).then_some(event)
}

impl Cancel {
    /// A new token, held by its maker.
    pub fn new() -> Result<&'static Self> {
        let (id, token) = TOKENS.take()?;
        token.id.store(id, Ordering::Relaxed);
        token.word.store(0, Ordering::Relaxed);
        let serial = SERIALS.fetch_add(2, Ordering::Relaxed) | 1;
        token.serial.store(serial, Ordering::Relaxed);
        token.holders.store(1, Ordering::Release);
        Ok(token)
    }

    /// Fires. One atomic step and at most one write(2): async-signal-safe.
    pub fn fire(&self) {
        let before = self.word.fetch_or(FIRED, Ordering::AcqRel);
        if before & FIRED == 0
            && let Some(event) = event_in(before)
        {
            event::signal(event);
        }
    }

    /// Whether it has fired.
    pub fn is_fired(&self) -> bool {
        self.word.load(Ordering::Acquire) & FIRED != 0
    }

    /// Which token it is; never 0.
    pub fn serial(&self) -> u32 {
        self.serial.load(Ordering::Relaxed)
    }

    /// Holds it, for a caller who knows that somebody else does.
    pub fn hold(&self) -> Held {
        self.holders.fetch_add(1, Ordering::Relaxed);
        Held(self.id.load(Ordering::Relaxed))
    }

    /// Holds it where anybody does.
    fn try_hold(&self) -> Option<Held> {
        self.holders
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, |holders| {
                (holders > 0).then(|| holders + 1)
            })
            .ok()
            .map(|_| Held(self.id.load(Ordering::Relaxed)))
    }

    /// The eventfd that firing makes readable, made at the first need. None:
    /// no descriptor is to be had, or it has fired.
    pub fn event(&self) -> Option<Fd> {
        loop {
            let word = self.word.load(Ordering::Acquire);
            if word & FIRED != 0 {
                return None;
            }
            if let Some(event) = event_in(word) {
                return Some(event);
            }
            let event = event::eventfd().ok()?;
            let new = epoch_bits() | u64::from(event.unsigned_abs() + 1);
            let put = self
                .word
                .compare_exchange(word, new, Ordering::AcqRel, Ordering::Acquire);
            if put.is_ok() {
                return Some(event);
            }
            let _ = sys::close(event);
        }
    }

    /// Gives back the maker's hold, or one that was turned into an id.
    pub fn release(&self) {
        if self.holders.fetch_sub(1, Ordering::AcqRel) == 1 {
            if let Some(event) = event_in(self.word.swap(0, Ordering::AcqRel)) {
                let _ = sys::close(event);
            }
            TOKENS.put(self.id.load(Ordering::Relaxed));
        }
    }
}

/// A hold on a token, by its id.
#[derive(Debug)]
pub struct Held(u32);

impl Held {
    /// The token.
    pub fn token(&self) -> Option<&'static Cancel> {
        find(self.0)
    }

    /// Keeps the hold under the token's id, for `Cancel::release` to end.
    pub fn into_id(self) -> u32 {
        let id = self.0;
        core::mem::forget(self);
        id
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(token) = self.token() {
            token.release();
        }
    }
}

/// A descriptor's token: an id that holds it, or 0.
#[derive(Debug, Default)]
pub struct Place(AtomicU32);

impl Place {
    /// Puts another one in, and lets go of the one before.
    pub fn set(&self, held: Option<Held>) {
        let new = held.map_or(0, Held::into_id);
        if let Some(before) = find(self.0.swap(new, Ordering::AcqRel)) {
            before.release();
        }
    }

    /// Whether the token that is set has fired.
    ///
    /// Nothing holds it over this look, so what is seen may be the next user
    /// of the same memory: a fired one counts only if it is the one that is
    /// set. (One that is replaced at this moment may be missed.)
    #[inline]
    pub fn is_fired(&self) -> bool {
        match find(self.0.load(Ordering::Acquire)) {
            Some(token) if token.is_fired() => self.has_fired(),
            _ => false,
        }
    }

    /// The same by a hold: an id that is found again may be the next user's.
    #[cold]
    fn has_fired(&self) -> bool {
        let held = self.hold();
        held.is_some_and(|held| held.token().is_some_and(Cancel::is_fired))
    }

    /// Holds the token that is set.
    pub fn hold(&self) -> Option<Held> {
        loop {
            let id = self.0.load(Ordering::Acquire);
            let held = find(id)?.try_hold();
            if held.is_some() && self.0.load(Ordering::Acquire) == id {
                return held;
            }
            spin_loop();
        }
    }
}
