//! Cancel tokens: who fires, who parks, who lets go, and the memory of one that
//! is another's by then.

use crate::cancel::Cancel;
use crate::error::{CANCELED, CLOSED, Result};
use crate::look::{Look, wait_for};
use crate::park::{self, Aside, Slot, Waiter};
use crate::poll::Poller;
use crate::pool::Pool;
use crate::sync::{AtomicBool, Ordering};
use crate::sys::event;
use crate::word::{Entered, Hold, Tag, Turn};
use crate::{EPOCH, Model, explore, spawn};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

impl Model {
    /// A read, or a write, of what never comes: `Call::enter` and `Call::poll`.
    fn read_under_token(&self, id: u32, turn: Turn) -> Result<()> {
        let Entered { tag, held, .. } = self.mutex.enter(EPOCH, Hold::of(turn), true)?;
        assert_eq!(held, Hold::of(turn), "nobody else has it");
        self.inside.fetch_add(1, Ordering::AcqRel);
        let waiter = park::begin(id);
        let result = self.poll_under_token(id, tag, turn, waiter);
        park::end(id);
        self.inside.fetch_sub(1, Ordering::AcqRel);
        self.leave(tag, held);
        result
    }

    fn poll_under_token(&self, id: u32, tag: Tag, turn: Turn, waiter: &Waiter) -> Result<()> {
        let slot = self.mutex.slot(turn).expect("each turn has one");
        loop {
            waiter.arm(true);
            assert_eq!(slot.put(id), 0, "nobody else has the turn");
            let outcome = self
                .look_under_token(tag, waiter)
                .and_then(|look| look.poll(&mut Poller, (-1, 0, None), waiter, None));
            if !slot.withdraw(id) {
                waiter.settle();
                if !self.mutex.is_open(tag) {
                    return Err(CLOSED);
                }
            }
            outcome?;
        }
    }

    fn look_under_token(&self, tag: Tag, waiter: &Waiter) -> Result<Look> {
        if !self.mutex.is_open(tag) {
            return Err(CLOSED);
        }
        Look::new(0, self.place.hold(), None, waiter)
    }

    /// `net::deadline::set_cancel`.
    fn set_cancel(&self, token: Option<&'static Cancel>) {
        if let Ok(Entered { tag, .. }) = self.mutex.enter(EPOCH, Hold::NONE, true) {
            self.place.set(token.map(Cancel::hold));
            self.mutex.wake(EPOCH, &[Turn::Read]);
            self.leave(tag, Hold::NONE);
        }
    }
}

fn token() -> &'static Cancel {
    Cancel::new().expect("there is memory")
}

/// Nobody holds a token any more.
fn all_have_ended() {
    assert!(event::tokens_have_none(), "each eventfd was closed");
    assert!(Pool::<Cancel>::all_are_free(), "and each token given back");
}

/// A descriptor with a token.
fn open_under(token: &'static Cancel) -> Arc<Model> {
    let model = Model::open();
    model.place.set(Some(token.hold()));
    model
}

/// And what was done before is visible to whom it wakes.
#[test]
fn a_token_that_fires_finds_who_is_about_to_park() {
    explore(3, || {
        let token = token();
        let model = open_under(token);
        let note = Arc::new(UnsafeCell::new(0));
        let reader = {
            let (model, note) = (model.clone(), note.clone());
            thread::spawn(move || {
                let told = model.read_under_token(1, Turn::Read);
                // SAFETY: loom checks that it has been written before.
                assert_eq!(note.with(|note| unsafe { *note }), 1);
                told
            })
        };
        // SAFETY: loom checks that nobody looks yet.
        note.with_mut(|note| unsafe { *note = 1 });
        token.fire();
        assert_eq!(reader.join().expect("it ends"), Err(CANCELED));
        assert_eq!(model.destroy(), Ok(()));
        model.is_closed_once();
        token.release();
        all_have_ended();
    });
}

/// Both poll one eventfd, and whoever hears it first must not keep it from the
/// other: `Look::drain_foreign`.
#[test]
fn a_token_that_fires_finds_two_who_are_about_to_park() {
    explore(2, || {
        let token = token();
        let model = open_under(token);
        let reader = spawn(&model, |model| model.read_under_token(1, Turn::Read));
        let writer = spawn(&model, |model| model.read_under_token(2, Turn::Write));
        token.fire();
        assert_eq!(reader.join().expect("it ends"), Err(CANCELED));
        assert_eq!(writer.join().expect("it ends"), Err(CANCELED));
        assert_eq!(model.destroy(), Ok(()));
        token.release();
        all_have_ended();
    });
}

/// The eventfd of a token that fires may be polled, or closed meanwhile by
/// nobody: its maker is the last, or the caller is, or the descriptor.
#[test]
fn a_token_is_fired_and_freed_while_its_descriptor_is_destroyed() {
    explore(3, || {
        let token = token();
        let model = open_under(token);
        let reader = spawn(&model, |model| model.read_under_token(1, Turn::Read));
        let maker = thread::spawn(move || {
            token.fire();
            token.release();
        });
        assert_eq!(model.destroy(), Ok(()));
        let told = reader.join().expect("it ends");
        assert!(matches!(told, Err(CANCELED | CLOSED)));
        maker.join().expect("it ends");
        model.is_closed_once();
        all_have_ended();
    });
}

#[test]
fn a_token_is_replaced_and_freed_while_a_caller_holds_it() {
    explore(3, || {
        let (one, two) = (token(), token());
        let model = open_under(one);
        let reader = spawn(&model, |model| model.read_under_token(1, Turn::Read));
        model.set_cancel(Some(two));
        one.release();
        two.fire();
        assert_eq!(reader.join().expect("it ends"), Err(CANCELED));
        assert_eq!(model.destroy(), Ok(()));
        two.release();
        all_have_ended();
    });
}

#[test]
fn a_token_is_fired_and_freed_while_another_takes_its_place() {
    explore(2, || {
        let (one, two) = (token(), token());
        let model = open_under(one);
        let reader = spawn(&model, |model| model.read_under_token(1, Turn::Read));
        let maker = thread::spawn(move || {
            one.fire();
            one.release();
        });
        model.set_cancel(Some(two));
        maker.join().expect("it ends");
        assert_eq!(model.destroy(), Ok(()));
        let told = reader.join().expect("it ends");
        assert!(matches!(told, Err(CANCELED | CLOSED)));
        two.release();
        all_have_ended();
    });
}

/// What looks at a descriptor's token while that is let go, and its memory is
/// a token's that fires, and then, `again`, the next one's of the descriptor,
/// which does not.
fn a_look_meets_memory_that_is_used_again(again: bool, look: fn(&Model) -> bool) {
    explore(4, move || {
        let one = token();
        let model = open_under(one);
        let looker = spawn(&model, look);
        model.place.set(None);
        one.release();
        let other = token();
        other.fire();
        if again {
            other.release();
            let two = token();
            model.place.set(Some(two.hold()));
            two.release();
        }
        assert!(!looker.join().expect("it ends"), "no token of it has fired");
        model.place.set(None);
        if !again {
            other.release();
        }
        all_have_ended();
    });
}

fn holds_one_that_fired(model: &Model) -> bool {
    let held = model.place.hold();
    held.is_some_and(|held| held.token().is_some_and(Cancel::is_fired))
}

#[test]
fn a_look_at_a_token_is_not_taken_in_by_the_next_user_of_its_memory() {
    a_look_meets_memory_that_is_used_again(false, |model| model.place.is_fired());
}

#[test]
fn a_look_at_a_token_is_not_taken_in_by_the_one_after_next() {
    a_look_meets_memory_that_is_used_again(true, |model| model.place.is_fired());
}

#[test]
fn who_holds_a_token_holds_the_descriptors() {
    a_look_meets_memory_that_is_used_again(false, holds_one_that_fired);
    a_look_meets_memory_that_is_used_again(true, holds_one_that_fired);
}

/// A caller who waits for work to be done, and for the call's token.
fn wait_for_work(work: &Arc<Work>, token: &'static Cancel) -> thread::JoinHandle<Result<()>> {
    let work = work.clone();
    thread::spawn(move || {
        park::begin(1);
        let is_done = || work.done.load(Ordering::Acquire);
        let result = wait_for(&work.slot, Aside::Group, is_done, 0, Some(token));
        park::end(1);
        result
    })
}

#[derive(Default)]
struct Work {
    slot: Slot,
    done: AtomicBool,
}

impl Work {
    fn ends(&self) {
        self.done.store(true, Ordering::Release);
        if let Some(waiter) = park::find(self.slot.take()) {
            waiter.wake();
        }
    }
}

#[test]
fn a_wait_for_work_meets_its_end_and_a_token() {
    explore(3, || {
        let (token, work) = (token(), Arc::new(Work::default()));
        let waiter = wait_for_work(&work, token);
        let firer = thread::spawn(move || token.fire());
        work.ends();
        let told = waiter.join().expect("it ends");
        assert!(matches!(told, Ok(()) | Err(CANCELED)));
        firer.join().expect("it ends");
        token.release();
        all_have_ended();
    });
}

#[test]
fn a_wait_for_work_hears_either() {
    for by_token in [true, false] {
        explore(3, move || {
            let (token, work) = (token(), Arc::new(Work::default()));
            let waiter = wait_for_work(&work, token);
            if by_token {
                token.fire();
            } else {
                work.ends();
            }
            let told = waiter.join().expect("it ends");
            assert_eq!(told, if by_token { Err(CANCELED) } else { Ok(()) });
            token.release();
            all_have_ended();
        });
    }
}
