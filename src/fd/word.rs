//! The lifetime word: one 64-bit word for each descriptor.
//!
//! ```text
//!  63   48 47      35 34 33  31 30    26 25   21 20          0
//! +-------+----------+--+------+--------+-------+------------+
//! | epoch |generation|X | state| queues | turns | references |
//! +-------+----------+--+------+--------+-------+------------+
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
//! - X: reads take turns, and writes: it is a stream or a sequence. Set by
//!   attach alone.
//! - generation: one more each time a descriptor is attached. Changed by
//!   attach alone.
//! - epoch: the process (`sys::process::epoch`). Whoever meets a word of an
//!   older process takes it over: the turns, references and queues in it are
//!   those of threads that this process does not have.
//!
//! A call remembers epoch, generation and X as its `Tag`. A word with another tag
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
    /// The last one has left; close(2) is about to run, or detach to return.
    /// The slot is free for whoever the kernel gives the number to.
    Closing = 5,
}

/// Which descriptor a call began on: the word's lasting bits, and `Open`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag(u64);

impl Tag {
    /// The tag as a number, for `of_bits` to give back.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The tag that `bits` made a number of.
    pub const fn of_bits(bits: u64) -> Self {
        Self(bits)
    }

    const fn of(word: u64) -> Self {
        Self(with_state(word & TAG, State::Open))
    }

    /// Whether `word` is that descriptor's, open or not.
    const fn owns(self, word: u64) -> bool {
        (word ^ self.0) & TAG == 0
    }

    /// Whether `word` is that descriptor's, and open.
    const fn is_open(self, word: u64) -> bool {
        word & (TAG | STATE) == self.0
    }
}

const REFERENCE: u64 = 1;
const REFERENCES: u64 = (1 << 21) - 1;
/// One reference stays for the destroy or detach.
const CALLERS_MAX: u64 = (1 << 20) - 1;
/// With none of these there are fewer callers than may be.
const MANY: u64 = 3 << 19;
const TURN_SHIFT: u32 = 21;
const QUEUE_SHIFT: u32 = 26;
const QUEUES: u64 = 0x1f << QUEUE_SHIFT;
const STATE_SHIFT: u32 = 31;
const STATE: u64 = 7 << STATE_SHIFT;
const EXCLUSIVE_SHIFT: u32 = 34;
const EXCLUSIVE: u64 = 1 << EXCLUSIVE_SHIFT;
const GENERATION_SHIFT: u32 = 35;
const GENERATION: u64 = 0x1fff << GENERATION_SHIFT;
const EPOCH_SHIFT: u32 = 48;
const EPOCH: u64 = 0xffff << EPOCH_SHIFT;
const TAG: u64 = EPOCH | GENERATION | EXCLUSIVE;

const fn turn_bit(turn: Turn) -> u64 {
    1 << (TURN_SHIFT + turn as u32)
}

const fn queue_bit(turn: Turn) -> u64 {
    turn_bit(turn) << (QUEUE_SHIFT - TURN_SHIFT)
}

/// A turn as the word has it, or none: what a call holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold(u64);

impl Hold {
    /// No turn.
    pub const NONE: Self = Self(0);

    /// What is wanted of a descriptor with that word.
    const fn wanted(self, word: u64, always: bool) -> Self {
        if always {
            return self;
        }
        Self(self.0 & (word >> EXCLUSIVE_SHIFT & 1).wrapping_neg())
    }

    /// The turn.
    pub const fn of(turn: Turn) -> Self {
        Self(turn_bit(turn))
    }

    /// Which turn it is.
    pub fn turn(self) -> Option<Turn> {
        TURNS.into_iter().find(|turn| Self::of(*turn) == self)
    }
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

const fn epoch_bits(epoch: u32) -> u64 {
    ((epoch as u64) << EPOCH_SHIFT) & EPOCH
}

/// The word as the process `epoch` sees it.
const fn seen(word: u64, epoch: u32) -> u64 {
    let epoch = epoch_bits(epoch);
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
    with_state(epoch | word & (GENERATION | EXCLUSIVE), state)
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

/// What a caller got who entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entered {
    /// The descriptor.
    pub tag: Tag,
    /// The turn that it needs.
    pub wants: Hold,
    /// The turn that it has.
    pub held: Hold,
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
    /// One attempt at a change that has been worked out.
    #[inline]
    fn swap(&self, old: u64, new: u64) -> bool {
        self.0
            .compare_exchange(old, new, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

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

    /// Takes a reference and, where it is free, the turn: `always`, or only
    /// where callers take turns.
    #[inline(always)]
    pub fn enter(&self, epoch: u32, turn: Hold, always: bool) -> Result<Entered> {
        // What nearly every call meets: open, in this process, the turn free.
        let plain = with_state(epoch_bits(epoch), State::Open);
        let old = self.0.load(Ordering::Acquire);
        let wants = turn.wanted(old, always);
        if old & (EPOCH | STATE | MANY | wants.0) == plain
            && self.swap(old, old + (REFERENCE | wants.0))
        {
            return Ok(Entered {
                tag: Tag(old & (TAG | STATE)),
                wants,
                held: wants,
            });
        }
        self.enter_slowly(epoch, turn, always)
    }

    #[cold]
    #[inline(never)]
    fn enter_slowly(&self, epoch: u32, turn: Hold, always: bool) -> Result<Entered> {
        self.update(epoch, |word| {
            match state_of(word) {
                State::Open => {}
                State::Free => return Err(BADF),
                _ => return Err(CLOSED),
            }
            if word & REFERENCES >= CALLERS_MAX {
                return Err(Error::argument(libc::EUSERS));
            }
            let wants = turn.wanted(word, always);
            let held = if word & wants.0 == 0 {
                wants
            } else {
                Hold::NONE
            };
            let tag = Tag::of(word);
            Ok((word + (REFERENCE | held.0), Entered { tag, wants, held }))
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
            if !tag.is_open(old) {
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
    #[inline(always)]
    pub fn leave(&self, tag: Tag, held: Hold) -> Left {
        // What nearly every call leaves: open, and nobody queues for its turn.
        let queue = held.0 << (QUEUE_SHIFT - TURN_SHIFT);
        let old = self.0.load(Ordering::Acquire);
        if old & (TAG | STATE | queue) == tag.0 && self.swap(old, old - (REFERENCE | held.0)) {
            return Left {
                next: false,
                last: None,
            };
        }
        self.leave_slowly(tag, held)
    }

    #[cold]
    #[inline(never)]
    fn leave_slowly(&self, tag: Tag, held: Hold) -> Left {
        let old = self.drop_bits(tag, REFERENCE | held.0);
        let state = state_of(old);
        let last =
            old & REFERENCES == REFERENCE && matches!(state, State::Destroying | State::Detaching);
        Left {
            next: old & (held.0 << (QUEUE_SHIFT - TURN_SHIFT)) != 0,
            last: last.then_some(state),
        }
    }

    /// Subtracts bits that the caller holds, where the word is still the
    /// caller's. Returns what was there, 0 where it is another's.
    #[inline]
    fn drop_bits(&self, tag: Tag, bits: u64) -> u64 {
        let mut old = self.0.load(Ordering::Acquire);
        loop {
            if !tag.owns(old) {
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

    /// Whether somebody has `turn`.
    pub fn is_taken(&self, turn: Turn) -> bool {
        self.0.load(Ordering::Acquire) & turn_bit(turn) != 0
    }

    /// Whether the descriptor is still the caller's to use.
    #[inline]
    pub fn is_open(&self, tag: Tag) -> bool {
        tag.is_open(self.0.load(Ordering::Acquire))
    }

    /// Begins the end: no call enters after this. `end` is `Destroying` or
    /// `Detaching`. The reference that comes with it is the caller's.
    pub fn close(&self, epoch: u32, end: State) -> Result<Tag> {
        self.close_if(epoch, end, |_| true)
    }

    /// As `close`, where the descriptor is still that of `tag`.
    pub fn close_of(&self, tag: Tag, epoch: u32, end: State) -> Result<Tag> {
        self.close_if(epoch, end, |word| tag.owns(word))
    }

    fn close_if(&self, epoch: u32, end: State, may: impl Fn(u64) -> bool) -> Result<Tag> {
        self.update(epoch, |word| match state_of(word) {
            State::Open if !may(word) => Err(CLOSED),
            State::Open => {
                // Nobody hands the turns on from here: all queuers are woken.
                let new = with_state(word + REFERENCE, end) & !QUEUES;
                Ok((new, Tag::of(word)))
            }
            State::Free => Err(BADF),
            _ => Err(CLOSED),
        })
    }

    /// Makes the slot another descriptor's, whose callers take turns or not.
    /// Whoever is inside has been evicted with that. Until the renewer moves
    /// it on from the state that is returned it answers as it did: a number
    /// that was ever attached, and not detached, is closed.
    pub fn renew(&self, epoch: u32, exclusive: bool) -> (Tag, State) {
        let renewed = self.update(epoch, |word| {
            let generation = word.wrapping_add(1 << GENERATION_SHIFT) & GENERATION;
            let exclusive = u64::from(exclusive) << EXCLUSIVE_SHIFT;
            let state = match state_of(word) {
                State::Free => State::Free,
                _ => State::Closed,
            };
            let new = with_state(word & EPOCH | generation | exclusive, state);
            Ok((new, (Tag::of(new), state)))
        });
        renewed.unwrap_or((Tag(0), State::Free)) // never: that cannot fail
    }

    /// Moves on from one state to another: what `renew` made to Open, by the
    /// one who renewed it; towards the end, by the one who was the last one
    /// out. False where the descriptor was replaced meanwhile.
    pub fn advance(&self, tag: Tag, from: State, to: State) -> bool {
        let mut old = self.0.load(Ordering::Acquire);
        loop {
            if !tag.owns(old) || state_of(old) != from {
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
        (state_of(word), Tag::of(word))
    }
}
