//! fdMutex: a descriptor's lifetime word, with those who wait for it.
//!
//! Who may enter, who has which turn, who comes next, who is evicted, who
//! closes. It decides and wakes; it never waits itself (`desc.rs` does).

use crate::error::Result;
use crate::fd::queue::{Claimed, Queue};
use crate::fd::word::{Attempt, Entered, Hold, Left, State, TURNS, Tag, Turn, Word};
use crate::park::{self, Slot, Waiter};

/// Go's fdMutex, with the places where callers are parked.
#[derive(Debug, Default)]
#[repr(C)]
pub struct FdMutex {
    word: Word,
    /// Under each turn, the one who polls while it has it.
    slots: [Slot; TURNS.len()],
    queue: Queue,
}

impl FdMutex {
    /// Takes a reference, and the turn where it is free: `always`, or only where
    /// callers take turns.
    /// `-EBADF` never attached, `NETFD_ECLOSED` destroyed, `-EUSERS` full.
    #[inline(always)]
    pub fn enter(&self, epoch: u32, turn: Hold, always: bool) -> Result<Entered> {
        self.word.enter(epoch, turn, always)
    }

    /// Takes a turn where it is free.
    pub fn try_turn(&self, tag: Tag, turn: Turn) -> Attempt {
        self.word.take_turn(tag, turn)
    }

    /// Takes a turn, or puts the waiter, which is armed, at the end of its
    /// queue (`Busy`).
    pub fn turn_or_queue(
        &self,
        epoch: u32,
        tag: Tag,
        turn: Turn,
        waiter: &Waiter,
        id: u32,
    ) -> Attempt {
        let lists = self.queue.lock(epoch);
        let attempt = self.word.take_turn_or_queue(tag, turn);
        if attempt == Attempt::Busy {
            lists.push(turn, id, waiter);
        }
        attempt
    }

    /// Takes a waiter that gives up out of the queue. False: it has been
    /// claimed, and its owner is to settle.
    pub fn unqueue(&self, epoch: u32, turn: Turn, waiter: &Waiter) -> bool {
        let lists = self.queue.lock(epoch);
        let removed = lists.remove(turn, waiter);
        if removed && lists.is_empty(turn) {
            self.word.queue_is_empty(turn);
        }
        removed
    }

    /// Wakes the first in the queue where the turn is free. Whoever was woken
    /// for a turn and does not take it owes this to the next.
    pub fn hand_on(&self, epoch: u32, turn: Turn) {
        if !self.word.is_idle(turn) {
            return;
        }
        let lists = self.queue.lock(epoch);
        let next = lists.pop(turn);
        if lists.is_empty(turn) {
            self.word.queue_is_empty(turn);
        }
        drop(lists);
        if let Some(waiter) = next {
            waiter.wake();
        }
    }

    /// Gives a turn back, and keeps the reference.
    pub fn give_turn(&self, epoch: u32, tag: Tag, turn: Turn) {
        if self.word.give_turn(tag, turn) {
            self.hand_on(epoch, turn);
        }
    }

    /// Gives back a reference and, where one is held, a turn. `Some`: the
    /// caller was the last one out and has to end what the state says.
    #[inline(always)]
    pub fn leave(&self, epoch: u32, tag: Tag, held: Hold) -> Option<State> {
        let Left { next, last } = self.word.leave(tag, held);
        if next && let Some(turn) = held.turn() {
            self.hand_on(epoch, turn);
        }
        last
    }

    /// Whether the descriptor is still the caller's.
    #[inline]
    pub fn is_open(&self, tag: Tag) -> bool {
        self.word.is_open(tag)
    }

    /// Begins the end and evicts all callers: `end` is `Destroying` or
    /// `Detaching`. The caller has to leave, like anyone else inside.
    pub fn close(&self, epoch: u32, end: State) -> Result<Tag> {
        let tag = self.word.close(epoch, end)?;
        self.wake_all(epoch);
        Ok(tag)
    }

    /// As `close`, where the descriptor is still that of `tag`.
    pub fn close_of(&self, tag: Tag, epoch: u32, end: State) -> Result<Tag> {
        let tag = self.word.close_of(tag, epoch, end)?;
        self.wake_all(epoch);
        Ok(tag)
    }

    /// Moves the state on, where the descriptor is still the caller's.
    pub fn advance(&self, tag: Tag, from: State, to: State) -> bool {
        self.word.advance(tag, from, to)
    }

    /// Makes it another descriptor's, whose callers take turns or not, and
    /// evicts whoever is inside.
    pub fn renew(&self, epoch: u32, exclusive: bool) -> (Tag, State) {
        let renewed = self.word.renew(epoch, exclusive);
        self.wake_all(epoch);
        renewed
    }

    /// The state, and whose it is.
    pub fn state(&self, epoch: u32) -> (State, Tag) {
        self.word.state(epoch)
    }

    /// Whether somebody has `turn` and does not poll under it: a system call
    /// of its own may be under way.
    pub fn is_at_work(&self, turn: Turn) -> bool {
        self.word.is_taken(turn) && self.slot(turn).is_none_or(|slot| slot.peek() == 0)
    }

    /// The slot of the one who polls under `turn`.
    pub fn slot(&self, turn: Turn) -> Option<&Slot> {
        self.slots.get(turn as usize)
    }

    /// Wakes all who poll under `turns` or queue for them, so that they look
    /// at a deadline or a token that has changed.
    pub fn wake(&self, epoch: u32, turns: &[Turn]) {
        for turn in turns {
            self.wake_slot(*turn);
        }
        if self.word.any_queue() {
            for turn in turns {
                self.wake_queue(epoch, *turn);
            }
        }
    }

    fn wake_all(&self, epoch: u32) {
        // The word says already that it is over, and that nobody queues: nobody
        // joins a queue now.
        let lists = self.queue.lock(epoch);
        let claimed = TURNS.map(|turn| lists.take(turn));
        drop(lists);
        for turn in TURNS {
            self.wake_slot(turn);
        }
        claimed.into_iter().for_each(Claimed::wake);
    }

    fn wake_slot(&self, turn: Turn) {
        let id = self.slot(turn).map_or(0, Slot::take);
        if let Some(waiter) = park::find(id) {
            waiter.wake();
        }
    }

    fn wake_queue(&self, epoch: u32, turn: Turn) {
        let lists = self.queue.lock(epoch);
        let claimed = lists.take(turn);
        self.word.queue_is_empty(turn);
        drop(lists);
        claimed.wake();
    }

    /// Shows each parked caller to `look`: under which turn, and whether it
    /// polls or queues.
    pub fn each(&self, epoch: u32, mut look: impl FnMut(Turn, bool, &'static Waiter)) {
        for turn in TURNS {
            if let Some(waiter) = park::find(self.slot(turn).map_or(0, Slot::peek)) {
                look(turn, true, waiter);
            }
            let lists = self.queue.lock(epoch);
            lists.each(turn, |waiter| look(turn, false, waiter));
        }
    }
}
