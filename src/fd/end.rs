//! How a descriptor comes to its end: whoever ends it evicts all callers and
//! waits for the last one to leave, and close(2) is called once.
//!
//! ```text
//! destroyer:  waiter in;  leave;  sleep;          close(2);  Closed;  tell the rest
//! the last:               leave;  Closing;  take the waiter out, wake it
//! attach:                                    another generation;  take the waiter out
//! ```
//!
//! The number is the kernel's to give away before `Closed` is said, so another
//! descriptor may be attached under it while its destroyer is not back yet. All
//! that comes after close(2) looks at the tag.
//!
//! `tests/loom.rs` runs this in every order.

use crate::error::{CLOSED, Result};
use crate::fd::mutex::FdMutex;
use crate::fd::word::{Hold, State, Tag};
use crate::park::{self, Slot};
use crate::sync::{AtomicU32, Ordering};
use crate::sys::{Fd, futex, process, time};

/// What a destroyer, or whoever detaches, is told who waits for the last one
/// to leave: that it is over;
const DONE: i32 = 0;
/// that close(2) is his to call;
const CLOSE: i32 = 1;
/// that he has lost his place, and has to look for himself;
const LOOK: i32 = 2;
/// that the number is another descriptor's.
const REPLACED: i32 = 3;

/// Somebody may sleep until a descriptor ends.
const AWAITED: u32 = 1;
const ENDS: u32 = 2;

/// How long a fiber sleeps that waits for another one's close(2): 1 ms.
const LOOK_AGAIN: i64 = 1_000_000;

/// Who waits for a descriptor's end.
#[derive(Debug, Default)]
pub struct End {
    /// Who waits for the last caller to leave.
    closer: Slot,
    /// How often a descriptor of this number has ended, in steps of `ENDS`,
    /// and `AWAITED`.
    ends: AtomicU32,
}

/// What has a descriptor that comes to an end.
pub trait Ending {
    /// Who may enter.
    fn mutex(&self) -> &FdMutex;

    /// Who waits.
    fn end_of(&self) -> &End;

    /// Forgets all of the descriptor's state but its lifetime. `end` is
    /// `Destroying` or `Detaching`.
    fn let_go(&self, end: State);

    /// close(2).
    fn close_fd(&self, fd: Fd) -> Result<()>;

    /// Makes the number another descriptor's, as `FdMutex::renew`, and tells
    /// whoever waits for the end of the one before.
    fn replace(&self, exclusive: bool) -> (Tag, State) {
        let renewed = self.mutex().renew(process::epoch(), exclusive);
        self.announce_end(self.end_of().closer.take(), REPLACED);
        renewed
    }

    /// Tells whoever waits for the end that it has come.
    fn announce_end(&self, closer: u32, outcome: i32) {
        let before = self.end_of().ends.fetch_add(ENDS, Ordering::AcqRel);
        if before & AWAITED != 0 {
            self.end_of().ends.fetch_and(!AWAITED, Ordering::AcqRel);
            futex::wake(&self.end_of().ends, i32::MAX);
        }
        if let Some(waiter) = park::find(closer) {
            waiter.outcome.store(outcome, Ordering::Relaxed);
            waiter.wake();
        }
    }

    /// Evicts all callers and waits until the last one has left, who closes
    /// the descriptor or, for `Detaching`, leaves it open. `NETFD_ECLOSED`
    /// where somebody else did or does so; it has happened then, too.
    fn close(&self, fd: Fd, end: State) -> Result<()> {
        let epoch = process::epoch();
        match self.mutex().close(epoch, end) {
            Ok(tag) => self.finish(fd, tag),
            Err(error) => {
                if error.same(CLOSED) {
                    self.await_end(self.mutex().state(epoch).1);
                }
                Err(error)
            }
        }
    }

    /// As `close`, where the descriptor is still that of `tag`, and open.
    fn destroy_of(&self, fd: Fd, tag: Tag) {
        let epoch = process::epoch();
        if let Ok(tag) = self.mutex().close_of(tag, epoch, State::Destroying) {
            let _ = self.finish(fd, tag);
        }
    }

    /// The rest of `close`: waits for the callers.
    fn finish(&self, fd: Fd, tag: Tag) -> Result<()> {
        let epoch = process::epoch();
        // The waiter is where the last one out says that it is over. Without
        // memory for one, he closes by himself, and his close(2) error is lost.
        let told = park::with_waiter(|waiter, id| {
            waiter.arm(false);
            if let Some(other) = park::find(self.end_of().closer.put(id)) {
                // Of another descriptor that had this number, closed behind our
                // back: that one has to look for itself.
                other.outcome.store(LOOK, Ordering::Relaxed);
                other.wake();
            }
            let last = self.mutex().leave(epoch, tag, Hold::NONE);
            let replaced = self.mutex().state(epoch).1 != tag;
            let alone = (last.is_some() || replaced) && self.end_of().closer.withdraw(id);
            while !alone && !waiter.is_woken() {
                waiter.sleep(0);
            }
            if let Some(state) = last {
                return Ok(self.end(fd, tag, state));
            }
            if alone {
                return Ok(Err(CLOSED));
            }
            Ok(match waiter.outcome.load(Ordering::Relaxed) {
                CLOSE => self.close_now(fd, tag),
                LOOK => {
                    self.await_end(tag);
                    Ok(())
                }
                DONE => Ok(()),
                _ => Err(CLOSED),
            })
        });
        told.unwrap_or_else(|_| match self.mutex().leave(epoch, tag, Hold::NONE) {
            Some(state) => self.end(fd, tag, state),
            None => {
                self.await_end(tag);
                Ok(())
            }
        })
    }

    /// As `close`, for a caller who is inside himself and must not wait: the end
    /// comes when he leaves. Or at once, where he is not: he may have given the
    /// number away, and have got it again.
    fn close_later(&self, fd: Fd, end: State) -> Result<()> {
        let epoch = process::epoch();
        let tag = self.mutex().close(epoch, end)?;
        match self.mutex().leave(epoch, tag, Hold::NONE) {
            Some(state) => self.end(fd, tag, state),
            None => Ok(()),
        }
    }

    /// The last one out ends what the state says. The slot is free before
    /// close(2), for close(2) lets the kernel hand the number out again. It is
    /// the destroyer who calls it, where he waits: with SO_LINGER it takes its
    /// time, and whoever was evicted is to be free at once.
    #[cold]
    fn end(&self, fd: Fd, tag: Tag, state: State) -> Result<()> {
        if !self.mutex().advance(tag, state, State::Closing) {
            // Replaced: neither the number nor this state is ours any more, and
            // whoever replaced it tells those who wait.
            return Err(CLOSED);
        }
        self.let_go(state);
        let closer = self.end_of().closer.take();
        if state == State::Detaching {
            self.mutex().advance(tag, State::Closing, State::Free);
            self.announce_end(closer, DONE);
            return Ok(());
        }
        match park::find(closer) {
            Some(destroyer) => {
                destroyer.outcome.store(CLOSE, Ordering::Relaxed);
                destroyer.wake();
                Ok(())
            }
            None => self.close_now(fd, tag),
        }
    }

    /// close(2), for the one who ends the descriptor.
    fn close_now(&self, fd: Fd, tag: Tag) -> Result<()> {
        if self.mutex().state(process::epoch()) != (State::Closing, tag) {
            return Err(CLOSED); // replaced meanwhile, behind our back
        }
        let result = self.close_fd(fd);
        self.mutex().advance(tag, State::Closing, State::Closed);
        self.announce_end(0, DONE);
        result
    }

    /// Waits until the descriptor of `tag` has come to its end.
    fn await_end(&self, tag: Tag) {
        loop {
            let ends = self.end_of().ends.fetch_or(AWAITED, Ordering::AcqRel) | AWAITED;
            let (state, now) = self.mutex().state(process::epoch());
            let ending = matches!(state, State::Destroying | State::Detaching | State::Closing);
            if now != tag || !ending {
                return;
            }
            // A fiber looks again in a while: its worker must not sleep here.
            let slept = park::with_waiter(|waiter, _| {
                waiter.arm(false);
                if waiter.is_fiber() {
                    waiter.sleep(time::now().saturating_add(LOOK_AGAIN));
                }
                Ok(waiter.is_fiber())
            });
            if slept != Ok(true) {
                futex::wait(&self.end_of().ends, ends, 0);
            }
        }
    }
}
