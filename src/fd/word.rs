//! The lifetime word: one 64-bit word for each descriptor.
//!
//! ```text
//!  63      48 47      34 33  31 30      26 25      21 20            0
//! +----------+----------+------+----------+----------+--------------+
//! |  epoch   |generation| state| queues   |  turns   |  references  |
//! +----------+----------+------+----------+----------+--------------+
//! ```
//!
//! - references: one for each call inside, those that queue for a turn
//!   included, and one for the destroy or detach that waits for them.
//! - turns: a bit for each turn that is taken. Its holder sets and clears it.
//! - queues: a bit for each turn that somebody queues for. Changed under the
//!   queue's lock only.
//! - state: `State`. Open to Destroying or Detaching by whoever evicts; from
//!   there to Closing and Closed, or to Free, by the one who dropped the last
//!   reference.
//! - generation: one more each time a descriptor is attached. Changed by
//!   attach alone.
//! - epoch: the process (`sys::process::epoch`). Whoever meets a word of an
//!   older process takes it over: the turns, references and queues in it are
//!   those of threads that this process does not have.
//!
//! A call remembers generation and epoch as its `Tag`. A word with another tag
//! is another descriptor: the call has been evicted, and owes it nothing.

use crate::error::{BADF, CLOSED, Error, Result};
use crate::sync::{AtomicU64, Ordering};

/// What callers take turns at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// A stream's reads, and accepts.
    Read = 0,
    /// A stream's writes, and connects.
    Write = 1,
    /// Waiting for input by those who take no turn at the call itself.
    PollIn = 2,
    /// Waiting for room, likewise.
    PollOut = 3,
    /// Waiting for either, likewise.
    PollBoth = 4,
}

/// All turns, in the order of their bits.
pub const TURNS: [Turn; 5] = [
    Turn::Read,
    Turn::Write,
    Turn::PollIn,
    Turn::PollOut,
    Turn::PollBoth,
];

/// What a slot of the table stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Never attached, or detached.
    Free = 0,
    /// Attached.
    Open = 1,
    /// Destroy has begun and waits for the callers.
    Destroying = 2,
    /// Detach has begun and waits for the callers.
    Detaching = 3,
    /// Destroyed; close(2) has run.
    Closed = 4,
    /// Destroyed; close(2) is about to run. The slot is free for whoever the
    /// kernel gives the number to.
    Closing = 5,
}

/// Which descriptor a call began on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag(u64);

const REFERENCE: u64 = 1;
const REFERENCES: u64 = (1 << 21) - 1;
/// One reference stays for the destroy or detach.
const CALLERS_MAX: u64 = (1 << 20) - 1;
const TURN_SHIFT: u32 = 21;
const QUEUE_SHIFT: u32 = 26;
const QUEUES: u64 = 0x1f << QUEUE_SHIFT;
const STATE_SHIFT: u32 = 31;
const STATE: u64 = 7 << STATE_SHIFT;
const GENERATION_SHIFT: u32 = 34;
const GENERATION: u64 = 0x3fff << GENERATION_SHIFT;
const EPOCH_SHIFT: u32 = 48;
const EPOCH: u64 = 0xffff << EPOCH_SHIFT;
const TAG: u64 = EPOCH | GENERATION;

const fn turn_bit(turn: Turn) -> u64 {
    1 << (TURN_SHIFT + turn as u32)
}

const fn queue_bit(turn: Turn) -> u64 {
    1 << (QUEUE_SHIFT + turn as u32)
}

const fn with_state(word: u64, state: State) -> u64 {
    word & !STATE | (state as u64) << STATE_SHIFT
}

const fn state_of(word: u64) -> State {
    match (word & STATE) >> STATE_SHIFT {
        1 => State::Open,
        2 => State::Destroying,
        3 => State::Detaching,
        4 => State::Closed,
        5 => State::Closing,
        _ => State::Free,
    }
}

/// The word as the process `epoch` sees it.
const fn seen(word: u64, epoch: u32) -> u64 {
    let epoch = ((epoch as u64) << EPOCH_SHIFT) & EPOCH;
    if word & EPOCH == epoch {
        return word;
    }
    // A fork copied it. Its callers stayed behind, and so did a destroy that
    // had not come to close(2): here the descriptor is open.
    let state = match state_of(word) {
        State::Free => State::Free,
        State::Closed | State::Closing => State::Closed,
        State::Open | State::Destroying | State::Detaching => State::Open,
    };
    with_state(epoch | word & GENERATION, state)
}

/// What became of an attempt to get a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// The turn is the caller's.
    Taken,
    /// Somebody else has it.
    Busy,
    /// The descriptor is not the caller's any more.
    Gone,
}

/// What a caller that left has still to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// Somebody queues for the turn that was given back.
    pub next: bool,
    /// It was the last one out, and this is what the others waited for.
    pub last: Option<State>,
}

/// The lifetime word.
#[derive(Debug)]
pub struct Word(AtomicU64);

impl Default for Word {
    fn default() -> Self {
        Self(AtomicU64::new(0))
    }
}

impl Word {
    /// Applies `change` until it sticks. `change` sees the word as `epoch`
    /// does; `Err` leaves the word alone.
    #[inline]
    fn update<T>(&self, epoch: u32, change: impl Fn(u64) -> Result<(u64, T)>) -> Result<T> {
        let mut old = self.0.load(Ordering::Acquire);
        loop {
            let (new, result) = change(seen(old, epoch))?;
            match self
                .0
                .compare_exchange_weak(old, new, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return Ok(result),
                Err(now) => old = now,
            }
        }
    }

    /// Takes a reference and, where asked and free, a turn. Returns whether
    /// the turn is the caller's.
    #[inline]
    pub fn enter(&self, epoch: u32, turn: Option<Turn>) -> Result<(Tag, bool)> {
        self.update(epoch, |word| {
            match state_of(word) {
                State::Open => {}
                State::Free => return Err(BADF),
                _ => return Err(CLOSED),
            }
            if word & REFERENCES >= CALLERS_MAX {
                return Err(Error::argument(libc::EUSERS));
            }
            let new = word + REFERENCE;
            let tag = Tag(word & TAG);
            match turn {
                Some(turn) if word & turn_bit(turn) == 0 => Ok((new | turn_bit(turn), (tag, true))),
                _ => Ok((new, (tag, false))),
            }
        })
    }

    /// Takes a turn, for a caller that has a reference.
    pub fn take_turn(&self, tag: Tag, turn: Turn) -> Attempt {
        self.attempt(tag, turn, 0)
    }

    /// As `take_turn`; where the turn is taken, announces that somebody queues
    /// for it. Under the queue's lock.
    pub fn take_turn_or_queue(&self, tag: Tag, turn: Turn) -> Attempt {
        self.attempt(tag, turn, queue_bit(turn))
    }

    fn attempt(&self, tag: Tag, turn: Turn, if_busy: u64) -> Attempt {
        let mut old = self.0.load(Ordering::Acquire);
        loop {
            if old & TAG != tag.0 || state_of(old) != State::Open {
                return Attempt::Gone;
            }
            let (new, result) = if old & turn_bit(turn) == 0 {
                (old | turn_bit(turn), Attempt::Taken)
            } else {
                (old | if_busy, Attempt::Busy)
            };
            match self
                .0
                .compare_exchange_weak(old, new, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return result,
                Err(now) => old = now,
            }
        }
    }

    /// Gives a turn back and keeps the reference. Returns whether somebody
    /// queues for it.
    pub fn give_turn(&self, tag: Tag, turn: Turn) -> bool {
        self.drop_bits(tag, turn_bit(turn)) & queue_bit(turn) != 0
    }

    /// Gives back a reference and, where it is held, a turn.
    #[inline]
    pub fn leave(&self, tag: Tag, turn: Option<Turn>) -> Left {
        let turn_bits = turn.map_or(0, turn_bit);
        let old = self.drop_bits(tag, REFERENCE | turn_bits);
        let state = state_of(old);
        let last =
            old & REFERENCES == REFERENCE && matches!(state, State::Destroying | State::Detaching);
        Left {
            next: turn.is_some_and(|turn| old & queue_bit(turn) != 0),
            last: last.then_some(state),
        }
    }

    /// Subtracts bits that the caller holds, where the word is still the
    /// caller's. Returns what was there, 0 where it is another's.
    #[inline]
    fn drop_bits(&self, tag: Tag, bits: u64) -> u64 {
        let mut old = self.0.load(Ordering::Acquire);
        loop {
            if old & TAG != tag.0 {
                return 0;
            }
            match self
                .0
                .compare_exchange_weak(old, old - bits, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return old,
                Err(now) => old = now,
            }
        }
    }

    /// Says that nobody queues for `turn` any more. Under the queue's lock.
    pub fn queue_is_empty(&self, turn: Turn) {
        self.0.fetch_and(!queue_bit(turn), Ordering::AcqRel);
    }

    /// Whether somebody queues for any turn. Ordered after all that the caller
    /// wrote before: a later queuer sees that, an earlier one is seen.
    pub fn any_queue(&self) -> bool {
        self.0.fetch_or(0, Ordering::AcqRel) & QUEUES != 0
    }

    /// Whether somebody queues for `turn` while nobody has it.
    pub fn is_idle(&self, turn: Turn) -> bool {
        let word = self.0.load(Ordering::Acquire);
        word & queue_bit(turn) != 0 && word & turn_bit(turn) == 0
    }

    /// Whether the descriptor is still the caller's to use.
    #[inline]
    pub fn is_open(&self, tag: Tag) -> bool {
        let word = self.0.load(Ordering::Acquire);
        word & (TAG | STATE) == with_state(tag.0, State::Open)
    }

    /// Begins the end: no call enters after this. `end` is `Destroying` or
    /// `Detaching`. The reference that comes with it is the caller's.
    pub fn close(&self, epoch: u32, end: State) -> Result<Tag> {
        self.update(epoch, |word| match state_of(word) {
            State::Open => {
                // Nobody hands the turns on from here: all queuers are woken.
                let new = with_state(word + REFERENCE, end) & !QUEUES;
                Ok((new, Tag(word & TAG)))
            }
            State::Free => Err(BADF),
            _ => Err(CLOSED),
        })
    }

    /// Makes the slot another descriptor's, who is not open yet. Whoever is
    /// inside has been evicted with that.
    pub fn renew(&self, epoch: u32) -> Tag {
        let renewed = self.update(epoch, |word| {
            let generation = word.wrapping_add(1 << GENERATION_SHIFT) & GENERATION;
            let new = with_state(word & EPOCH | generation, State::Free);
            Ok((new, Tag(new & TAG)))
        });
        renewed.unwrap_or(Tag(0)) // never: the change above cannot fail
    }

    /// Moves on from one state to another: what `renew` made to Open, by the
    /// one who renewed it; towards the end, by the one who was the last one
    /// out. False where the descriptor was replaced meanwhile.
    pub fn advance(&self, tag: Tag, from: State, to: State) -> bool {
        let mut old = self.0.load(Ordering::Acquire);
        loop {
            if old & TAG != tag.0 || state_of(old) != from {
                return false;
            }
            let new = with_state(old, to);
            match self
                .0
                .compare_exchange_weak(old, new, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return true,
                Err(now) => old = now,
            }
        }
    }

    /// The state and the tag, as the process `epoch` sees them.
    pub fn state(&self, epoch: u32) -> (State, Tag) {
        let word = seen(self.0.load(Ordering::Acquire), epoch);
        (state_of(word), Tag(word & TAG))
    }
}
