//! Every interleaving of the lifetime word and of parking, by loom: the real
//! files, compiled with loom's atomics and a futex and eventfds of its kind.
//!
//! What the models show: no wake-up is lost (a lost one is a deadlock, which
//! loom reports), a turn has one holder, exactly one caller is the last one
//! out and nobody is inside by then, and who queues gets his turn or his error.
//!
//! ```sh
//! RUSTFLAGS="--cfg loom" cargo test --release --test loom
//! ```
//!
//! Follows Go's internal/poll/fd_mutex.go and runtime/netpoll.go.

#![cfg(loom)]
#![allow(dead_code, reason = "the models use a part of the files")]
#![allow(clippy::indexing_slicing, reason = "a test that indexes wrongly fails")]

#[path = "../src/error.rs"]
mod error;

mod sync {
    pub use core::sync::atomic::AtomicU32 as Serials;
    pub use loom::hint::spin_loop;
    pub use loom::sync::atomic::{
        AtomicBool, AtomicI32, AtomicI64, AtomicU32, AtomicU64, Ordering,
    };
}

mod sys {
    //! The kernel: sleepers, and eventfds.
    use crate::error::Result;
    use loom::sync::{Condvar, Mutex};

    pub type Fd = i32;

    #[derive(Clone, Copy, PartialEq, Eq)]
    pub enum Event {
        /// Its number may be a stranger's.
        Closed,
        Empty,
        Readable,
    }

    /// Numbers of eventfds: the worker's, four waiters', and those of tokens,
    /// each of which is given out once, so that a late user is caught.
    pub const NUMBERS: usize = 8;
    const FIRST_OF_TOKENS: usize = 5;

    pub struct Events {
        state: [Event; NUMBERS],
        /// Who polls them now.
        polled: [u32; NUMBERS],
        next: usize,
        /// Who sleeps on which word, in order.
        sleepers: Vec<(usize, u32)>,
        sleeps: u32,
    }

    loom::lazy_static! {
        pub static ref EVENTS: Mutex<Events> = Mutex::new(Events {
            state: [Event::Closed; NUMBERS],
            polled: [0; NUMBERS],
            next: FIRST_OF_TOKENS,
            sleepers: Vec::new(),
            sleeps: 0,
        });
        pub static ref CHANGED: Condvar = Condvar::new();
    }

    /// close(2) of a token's eventfd.
    pub fn close(fd: Fd) -> Result<()> {
        let mut kernel = EVENTS.lock().expect("no model panics in here");
        let at = fd as usize;
        assert!(kernel.state[at] != Event::Closed, "closed once");
        assert_eq!(kernel.polled[at], 0, "nobody polls it");
        kernel.state[at] = Event::Closed;
        Ok(())
    }

    pub mod process {
        pub fn epoch() -> u32 {
            crate::EPOCH
        }
    }

    pub mod time {
        pub fn now() -> i64 {
            1
        }

        pub fn recent() -> i64 {
            1
        }
    }

    pub mod futex {
        use super::{CHANGED, EVENTS};
        use crate::sync::{AtomicU32, Ordering};

        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Woken {
            Maybe,
            Deadline,
            Signal,
        }

        pub fn wait(word: &AtomicU32, expected: u32, _deadline: i64) -> Woken {
            let mut kernel = EVENTS.lock().expect("no model panics in here");
            if word.load(Ordering::Acquire) != expected {
                return Woken::Maybe;
            }
            kernel.sleeps += 1;
            let me = (core::ptr::from_ref(word) as usize, kernel.sleeps);
            kernel.sleepers.push(me);
            while kernel.sleepers.contains(&me) {
                kernel = CHANGED.wait(kernel).expect("no model panics in here");
            }
            Woken::Maybe
        }

        /// So many of them and no more: who counts on another one is found out.
        pub fn wake(word: &AtomicU32, count: i32) {
            let mut kernel = EVENTS.lock().expect("no model panics in here");
            let (word, mut left) = (core::ptr::from_ref(word) as usize, count);
            kernel.sleepers.retain(|(on, _)| {
                let woken = *on == word && left > 0;
                left -= i32::from(woken);
                !woken
            });
            CHANGED.notify_all();
        }
    }

    pub mod event {
        use super::{CHANGED, EVENTS, Event, NUMBERS};
        use crate::error::Result;

        pub fn signal(fd: i32) {
            let mut kernel = EVENTS.lock().expect("no model panics in here");
            let state = &mut kernel.state[fd as usize];
            assert!(*state != Event::Closed, "a stranger's");
            *state = Event::Readable;
            CHANGED.notify_all();
        }

        pub fn drain(fd: i32) {
            let mut kernel = EVENTS.lock().expect("no model panics in here");
            let state = &mut kernel.state[fd as usize];
            assert!(*state != Event::Closed, "a stranger's");
            *state = Event::Empty;
        }

        /// eventfd(2), for a token.
        pub fn eventfd() -> Result<i32> {
            let mut kernel = EVENTS.lock().expect("no model panics in here");
            let fd = kernel.next;
            assert!(fd < NUMBERS, "the model has enough");
            kernel.next += 1;
            kernel.state[fd] = Event::Empty;
            Ok(fd as i32)
        }

        /// eventfd(2) and close(2), for a waiter.
        pub fn set(fd: i32, state: Event) {
            let mut kernel = EVENTS.lock().expect("no model panics in here");
            kernel.state[fd as usize] = state;
        }

        /// Whether close(2) has been called for each that a token had.
        pub fn tokens_have_none() -> bool {
            let kernel = EVENTS.lock().expect("no model panics in here");
            let of_tokens = &kernel.state[super::FIRST_OF_TOKENS..];
            of_tokens.iter().all(|state| *state == Event::Closed)
        }

        /// ppoll(2) of an eventfd.
        pub fn poll(fd: i32) {
            poll_any(&[fd]);
        }

        /// ppoll(2) of several.
        pub fn poll_any(fds: &[i32]) {
            let mut kernel = EVENTS.lock().expect("no model panics in here");
            for fd in fds {
                assert!(kernel.state[*fd as usize] != Event::Closed, "a stranger's");
                kernel.polled[*fd as usize] += 1;
            }
            while !fds
                .iter()
                .any(|fd| kernel.state[*fd as usize] == Event::Readable)
            {
                kernel = CHANGED.wait(kernel).expect("no model panics in here");
            }
            for fd in fds {
                kernel.polled[*fd as usize] -= 1;
            }
        }
    }
}

#[path = "../src/fd/cancel.rs"]
mod cancel;
#[path = "../src/fd/end.rs"]
mod end;
#[path = "loom/ends.rs"]
mod ends;
#[path = "../src/fiber/handover.rs"]
mod handover;
#[path = "../src/fd/look.rs"]
mod look;
#[path = "../src/fiber/mail.rs"]
mod mail;
#[path = "../src/fd/mutex.rs"]
mod mutex;
#[path = "../src/fd/queue.rs"]
mod queue;
#[path = "loom/tokens.rs"]
mod tokens;
#[path = "../src/park/waiter.rs"]
mod waiter;
#[path = "../src/fd/word.rs"]
mod word;

mod fd {
    pub(crate) use crate::{cancel, mutex, queue, word};
}

mod pool {
    //! Where tokens come from: what was given back last is given out first.
    use crate::cancel::Cancel;
    use crate::error::Result;
    use crate::sync::AtomicU32;
    use core::marker::PhantomData;
    use loom::sync::Mutex;

    const TOKENS: usize = 3;

    loom::lazy_static! {
        static ref OBJECTS: [Cancel; TOKENS] = Default::default();
        static ref FREE: Mutex<Vec<u32>> = Mutex::new((1..=TOKENS as u32).rev().collect());
    }

    pub trait Pooled: Default + Sync {
        fn link(&self) -> &AtomicU32;
    }

    /// A pool of tokens, as loom's atomics cannot be in a static.
    #[derive(Debug)]
    pub struct Pool<T: 'static>(PhantomData<fn() -> T>);

    impl Pool<Cancel> {
        pub const fn new() -> Self {
            Self(PhantomData)
        }

        pub fn get(&'static self, id: u32) -> Option<&'static Cancel> {
            let objects: &'static [Cancel; TOKENS] = &OBJECTS;
            objects.get(id.checked_sub(1)? as usize)
        }

        pub fn take(&'static self) -> Result<(u32, &'static Cancel)> {
            let mut free = FREE.lock().expect("no model panics in here");
            let id = free.pop().expect("the model has enough");
            Ok((id, self.get(id).expect("it is in the list")))
        }

        pub fn put(&'static self, id: u32) {
            let mut free = FREE.lock().expect("no model panics in here");
            assert!(!free.contains(&id), "given back once");
            free.push(id);
        }

        pub fn all_are_free() -> bool {
            let free = FREE.lock().expect("no model panics in here");
            free.len() == TOKENS
        }
    }
}

mod poll {
    //! How a thread waits that waits for no descriptor but eventfds.
    use crate::error::Result;
    use crate::park::Waiter;
    use crate::sys::{Fd, event};

    #[derive(Clone, Copy, Debug, Default)]
    pub struct Place {
        pub until: i64,
    }

    #[derive(Debug)]
    pub struct Watch {
        others: Vec<Fd>,
        blind: bool,
        pub place: Option<Place>,
    }

    impl Watch {
        pub fn new(_: Fd, _: libc::c_short) -> Self {
            Self {
                others: Vec::new(),
                blind: false,
                place: None,
            }
        }

        pub fn add(&mut self, event: Option<Fd>) {
            self.others.extend(event);
            self.blind |= event.is_none();
        }

        pub fn add_token(&mut self, event: Option<Fd>, _serial: u32) {
            self.add(event);
        }
    }

    #[derive(Debug, Default)]
    pub struct Outcome {
        pub ready: libc::c_short,
        pub other: bool,
        pub signal: bool,
    }

    #[derive(Debug, Default)]
    pub struct Poller;

    impl Poller {
        pub fn wait(&mut self, watch: &Watch, _timeout: i64, _: &Waiter) -> Result<Outcome> {
            if watch.blind {
                return Ok(Outcome::default()); // after a while
            }
            event::poll_any(&watch.others);
            Ok(Outcome {
                other: true,
                ..Outcome::default()
            })
        }
    }
}

mod park {
    use crate::error::Result;
    use crate::sys::{Event, event};
    pub use crate::waiter::{Aside, Slot, Waiter};
    use core::cell::Cell;

    loom::thread_local! {
        static ID: Cell<u32> = Cell::new(0);
    }

    /// Gives the calling thread the waiter `id`, and it an eventfd.
    pub fn begin(id: u32) -> &'static Waiter {
        let waiter = find(id).expect("there are enough");
        waiter.set_event(id as i32);
        event::set(id as i32, Event::Empty);
        ID.with(|own| own.set(id));
        waiter
    }

    /// The thread ends, and the number of its eventfd is another's.
    pub fn end(id: u32) {
        event::set(id as i32, Event::Closed);
    }

    pub fn with_waiter<T>(park: impl FnOnce(&'static Waiter, u32) -> Result<T>) -> Result<T> {
        let id = ID.with(Cell::get);
        park(find(id).expect("the thread has begun"), id)
    }

    pub fn need_event(_: &Waiter) {}

    pub fn interruptible() -> bool {
        false
    }

    pub mod host {
        //! One fiber, and the mailbox of its worker.
        use super::Waiter;
        use crate::mail::Mailbox;
        use crate::sync::{AtomicU32, Ordering};
        use crate::sys::event;
        use crate::sys::futex::Woken;

        /// The worker's eventfd.
        pub const WAKER: i32 = 0;

        loom::lazy_static! {
            pub static ref MAIL: Mailbox = Mailbox::default();
        }

        /// The worker's: turns until it is told to run the fiber, or `ran`.
        pub fn park(mut ran: impl FnMut() -> bool) {
            loop {
                let mut woken = false;
                let find = |id| super::find(id).map(|waiter| &waiter.mail);
                MAIL.collect(find, |id| {
                    let waiter = super::find(id).expect("it is the fiber's");
                    waiter.mailed.swap(false, Ordering::AcqRel);
                    woken = true;
                });
                if ran() || woken {
                    return;
                }
                if MAIL.falls_asleep() {
                    event::poll(WAKER);
                    event::drain(WAKER); // its edge was taken
                }
                MAIL.awakes();
            }
        }

        pub fn sleep(_: &Waiter, _: i64) -> Woken {
            park(|| false);
            Woken::Maybe
        }

        pub fn wake(waiter: &Waiter) {
            let link: &AtomicU32 = &waiter.mail;
            if !waiter.mailed.swap(true, Ordering::AcqRel)
                && MAIL.leave(waiter.id.load(Ordering::Relaxed), link)
            {
                event::signal(WAKER);
            }
        }
    }

    loom::lazy_static! {
        static ref WAITERS: [Waiter; 4] = Default::default();
    }

    /// The waiter of thread `id`, from 1.
    pub fn find(id: u32) -> Option<&'static Waiter> {
        let waiters: &'static [Waiter; 4] = &WAITERS;
        waiters.get(id.checked_sub(1)? as usize)
    }
}

use error::{CLOSED, DEADLINE, Result};
use handover::{Carried, Carrier};
use loom::cell::UnsafeCell;
use loom::sync::{Arc, Mutex};
use loom::thread;
use mail::Mailbox;
use mutex::FdMutex;
use park::{Slot, Waiter};
use queue::Queue;
use sync::{AtomicBool, AtomicU32, Ordering};
use sys::{Event, event};
use word::{Attempt, Entered, Hold, State, Tag, Turn};

const EPOCH: u32 = 1;

/// When a socket has what a call waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Data {
    Here,
    /// While the caller parks.
    Comes,
    Never,
}

/// A descriptor, and what must be true of it.
struct Model {
    mutex: FdMutex,
    /// The deadline has passed.
    late: AtomicBool,
    /// Callers that are inside.
    inside: AtomicU32,
    /// Holders of the read turn.
    holders: AtomicU32,
    /// close(2) calls.
    closed: AtomicU32,
    /// The token.
    place: cancel::Place,
}

impl Model {
    fn open() -> Arc<Self> {
        let this = Self {
            mutex: FdMutex::default(),
            late: AtomicBool::new(false),
            inside: AtomicU32::new(0),
            holders: AtomicU32::new(0),
            closed: AtomicU32::new(0),
            place: cancel::Place::default(),
        };
        let (tag, state) = this.mutex.renew(EPOCH, true);
        assert!(this.mutex.advance(tag, state, State::Open));
        Arc::new(this)
    }

    /// What `Call::look` asks once the waiter is visible.
    fn look(&self, tag: Tag) -> Result<()> {
        if !self.mutex.is_open(tag) {
            return Err(CLOSED);
        }
        if self.late.load(Ordering::Acquire) {
            return Err(DEADLINE);
        }
        Ok(())
    }

    /// A read, or a write: `Call::enter`, `rwlock`, `poll`.
    fn read(&self, id: u32, turn: Turn, data: Data) -> Result<()> {
        let Entered { tag, held, .. } = self.mutex.enter(EPOCH, Hold::of(turn), false)?;
        let got = held != Hold::NONE;
        self.inside.fetch_add(1, Ordering::AcqRel);
        let locked = if got {
            Ok(())
        } else {
            self.wait_turn(id, tag, turn)
        };
        let result = locked.and_then(|()| {
            if turn == Turn::Read {
                let others = self.holders.fetch_add(1, Ordering::AcqRel);
                assert_eq!(others, 0, "a turn has one holder");
            }
            let result = match data {
                Data::Here => Ok(()),
                Data::Comes | Data::Never => self.park(id, tag, turn, data),
            };
            if turn == Turn::Read {
                self.holders.fetch_sub(1, Ordering::AcqRel);
            }
            result
        });
        self.inside.fetch_sub(1, Ordering::AcqRel);
        let held = if locked.is_ok() {
            Hold::of(turn)
        } else {
            Hold::NONE
        };
        self.leave(tag, held);
        result
    }

    /// `Call::poll`, with the eventfd as long as its thread lives.
    fn park(&self, id: u32, tag: Tag, turn: Turn, data: Data) -> Result<()> {
        let waiter = park::begin(id);
        let slot = self.mutex.slot(turn).expect("each turn has one");
        let result = self.poll(id, tag, waiter, slot, data);
        park::end(id);
        result
    }

    fn poll(&self, id: u32, tag: Tag, waiter: &Waiter, slot: &Slot, data: Data) -> Result<()> {
        loop {
            waiter.arm(true);
            if let Some(stale) = park::find(slot.put(id)) {
                stale.wake();
            }
            let look = self.look(tag);
            if look.is_ok() && data == Data::Never {
                event::poll(waiter.event());
            }
            if !slot.withdraw(id) {
                waiter.settle();
            }
            look?;
            if data == Data::Comes {
                return Ok(());
            }
        }
    }

    /// `Call::wait_turn`.
    fn wait_turn(&self, id: u32, tag: Tag, turn: Turn) -> Result<()> {
        let waiter = park::find(id).expect("each thread has one");
        loop {
            waiter.arm(false);
            match self.mutex.turn_or_queue(EPOCH, tag, turn, waiter, id) {
                Attempt::Taken => return Ok(()),
                Attempt::Gone => return Err(CLOSED),
                Attempt::Busy => {}
            }
            let waited = self.look(tag);
            if waited.is_ok() {
                waiter.sleep(0);
            }
            if !self.mutex.unqueue(EPOCH, turn, waiter) {
                waiter.settle();
                if waited.is_err() {
                    self.mutex.hand_on(EPOCH, turn);
                }
            }
            waited?;
        }
    }

    fn leave(&self, tag: Tag, held: Hold) {
        if let Some(state) = self.mutex.leave(EPOCH, tag, held) {
            assert_eq!(state, State::Destroying);
            assert_eq!(self.inside.load(Ordering::Acquire), 0, "all have left");
            assert!(self.mutex.advance(tag, state, State::Closing));
            self.place.set(None);
            assert_eq!(self.closed.fetch_add(1, Ordering::AcqRel), 0);
        }
    }

    fn destroy(&self) -> Result<()> {
        let tag = self.mutex.close(EPOCH, State::Destroying)?;
        self.leave(tag, Hold::NONE);
        Ok(())
    }

    /// `net::deadline::set`, to the past.
    fn expire(&self) {
        if let Ok(Entered { tag, .. }) = self.mutex.enter(EPOCH, Hold::NONE, true) {
            self.late.store(true, Ordering::Release);
            let turns = [Turn::Read, Turn::PollIn, Turn::PollBoth];
            self.mutex.wake(EPOCH, &turns);
            self.leave(tag, Hold::NONE);
        }
    }

    fn is_closed_once(&self) {
        assert_eq!(self.closed.load(Ordering::Acquire), 1);
        assert_eq!(self.inside.load(Ordering::Acquire), 0);
    }
}

/// A call in two descriptors, with a waiter in each, that parks until either
/// ends it: `Pair::park`, and `Call::poll` with another beside.
fn copy(src: &Model, dst: &Model) -> Result<()> {
    let both = [(src, Turn::Read, 1), (dst, Turn::Write, 2)];
    let src_in = src.mutex.enter(EPOCH, Hold::of(Turn::Read), true)?;
    src.inside.fetch_add(1, Ordering::AcqRel);
    let entered = dst.mutex.enter(EPOCH, Hold::of(Turn::Write), true);
    let result = entered.and_then(|dst_in| {
        dst.inside.fetch_add(1, Ordering::AcqRel);
        let tags = [src_in.tag, dst_in.tag];
        for (_, _, id) in both {
            park::begin(id);
        }
        let result = poll_both(both, tags);
        for (_, _, id) in both {
            park::end(id); // another call's by now
        }
        dst.inside.fetch_sub(1, Ordering::AcqRel);
        dst.leave(dst_in.tag, dst_in.held);
        result
    });
    src.inside.fetch_sub(1, Ordering::AcqRel);
    src.leave(src_in.tag, src_in.held);
    result
}

fn poll_both(both: [(&Model, Turn, u32); 2], tags: [Tag; 2]) -> Result<()> {
    loop {
        for (model, turn, id) in both {
            let waiter = park::find(id).expect("there are enough");
            let slot = model.mutex.slot(turn).expect("each turn has one");
            waiter.arm(true);
            assert_eq!(slot.put(id), 0, "nobody else has the turn");
        }
        let look = both[0]
            .0
            .look(tags[0])
            .and_then(|()| both[1].0.look(tags[1]));
        if look.is_ok() {
            event::poll_any(&[1, 2]);
        }
        for (model, turn, id) in both {
            let waiter = park::find(id).expect("there are enough");
            let slot = model.mutex.slot(turn).expect("each turn has one");
            if !slot.withdraw(id) {
                waiter.settle();
            }
        }
        look?;
    }
}

/// Runs a model in every order of its steps in which threads are preempted at
/// most so many times. The bound keeps the larger models to a minute.
fn explore(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

fn spawn<T: 'static>(
    model: &Arc<Model>,
    body: impl FnOnce(&Model) -> T + 'static,
) -> thread::JoinHandle<T> {
    let model = Arc::clone(model);
    thread::spawn(move || body(&model))
}

#[test]
fn a_parked_reader_a_parked_writer_and_a_closer() {
    explore(2, || {
        let model = Model::open();
        let reader = spawn(&model, |model| model.read(1, Turn::Read, Data::Never));
        let writer = spawn(&model, |model| model.read(2, Turn::Write, Data::Never));
        assert_eq!(model.destroy(), Ok(()));
        assert!(reader.join().expect("it ends").is_err());
        assert!(writer.join().expect("it ends").is_err());
        model.is_closed_once();
    });
}

#[test]
fn a_parked_reader_a_queued_reader_and_a_closer() {
    explore(2, || {
        let model = Model::open();
        let one = spawn(&model, |model| model.read(1, Turn::Read, Data::Never));
        let two = spawn(&model, |model| model.read(2, Turn::Read, Data::Never));
        assert_eq!(model.destroy(), Ok(()));
        assert!(one.join().expect("it ends").is_err());
        assert!(two.join().expect("it ends").is_err());
        model.is_closed_once();
    });
}

#[test]
fn a_reader_that_leaves_with_data_is_not_written_to_any_more() {
    explore(3, || {
        let model = Model::open();
        let reader = spawn(&model, |model| model.read(1, Turn::Read, Data::Comes));
        assert_eq!(model.destroy(), Ok(()));
        let told = reader.join().expect("it ends");
        assert!(matches!(told, Ok(()) | Err(CLOSED)));
        model.is_closed_once();
    });
}

#[test]
fn three_readers_take_turns() {
    explore(2, || {
        let model = Model::open();
        let one = spawn(&model, |model| model.read(1, Turn::Read, Data::Here));
        let two = spawn(&model, |model| model.read(2, Turn::Read, Data::Here));
        assert_eq!(model.read(3, Turn::Read, Data::Here), Ok(()));
        assert_eq!(one.join().expect("it ends"), Ok(()));
        assert_eq!(two.join().expect("it ends"), Ok(()));
        assert_eq!(model.destroy(), Ok(()));
        model.is_closed_once();
    });
}

#[test]
fn a_parked_reader_and_a_deadline() {
    explore(3, || {
        let model = Model::open();
        let reader = spawn(&model, |model| model.read(1, Turn::Read, Data::Never));
        model.expire();
        assert_eq!(reader.join().expect("it ends"), Err(DEADLINE));
        assert_eq!(model.destroy(), Ok(()));
        model.is_closed_once();
    });
}

#[test]
fn a_parked_reader_an_evictor_and_a_deadline() {
    explore(2, || {
        let model = Model::open();
        let reader = spawn(&model, |model| model.read(1, Turn::Read, Data::Never));
        let setter = spawn(&model, Model::expire);
        assert_eq!(model.destroy(), Ok(()));
        assert!(reader.join().expect("it ends").is_err());
        setter.join().expect("it ends");
        model.is_closed_once();
    });
}

#[test]
fn a_deadline_ends_the_holder_and_all_who_queue() {
    explore(2, || {
        let model = Model::open();
        let one = spawn(&model, |model| model.read(1, Turn::Read, Data::Never));
        let two = spawn(&model, |model| model.read(2, Turn::Read, Data::Never));
        model.expire();
        assert_eq!(one.join().expect("it ends"), Err(DEADLINE));
        assert_eq!(two.join().expect("it ends"), Err(DEADLINE));
    });
}

/// A caller that has the read turn, and does nothing under it.
fn enter(model: &Model) -> Entered {
    let entered = model.mutex.enter(EPOCH, Hold::of(Turn::Read), true);
    let entered = entered.expect("it is open");
    assert_eq!(entered.held, Hold::of(Turn::Read), "it is the first");
    entered
}

#[test]
fn a_deadline_ends_who_queues() {
    explore(3, || {
        let model = Model::open();
        let Entered { tag, held, .. } = enter(&model);
        let queuer = spawn(&model, |model| model.read(1, Turn::Read, Data::Here));
        model.expire();
        assert_eq!(queuer.join().expect("it ends"), Err(DEADLINE));
        model.leave(tag, held);
        assert_eq!(model.destroy(), Ok(()));
        model.is_closed_once();
    });
}

#[test]
fn a_turn_is_handed_to_who_queues() {
    explore(3, || {
        let model = Model::open();
        let Entered { tag, held, .. } = enter(&model);
        let queuer = spawn(&model, |model| model.read(1, Turn::Read, Data::Here));
        model.leave(tag, held);
        assert_eq!(queuer.join().expect("it ends"), Ok(()));
        assert_eq!(model.destroy(), Ok(()));
        model.is_closed_once();
    });
}

/// A waiter's links are its owner's again as soon as it is woken: here he
/// stands in another queue with it, while the rest of the first are woken.
#[test]
fn two_who_queue_are_woken_and_one_queues_elsewhere() {
    explore(3, || {
        let queues = Arc::new([Queue::default(), Queue::default()]);
        for id in [1, 2] {
            let waiter = park::find(id).expect("there are enough");
            waiter.arm(false);
            queues[0].lock(EPOCH).push(Turn::Read, id, waiter);
        }
        let sleeps = |id| {
            let waiter = park::find(id).expect("there are enough");
            waiter.settle();
            waiter
        };
        let moves = {
            let queues = queues.clone();
            thread::spawn(move || {
                let waiter = sleeps(1);
                queues[1].lock(EPOCH).push(Turn::Read, 1, waiter);
            })
        };
        let stays = thread::spawn(move || {
            sleeps(2);
        });
        let claimed = queues[0].lock(EPOCH).take(Turn::Read);
        claimed.wake();
        moves.join().expect("it ends");
        stays.join().expect("it ends");
        assert!(!queues[1].lock(EPOCH).is_empty(Turn::Read));
    });
}

/// The lock of the queues: one has it at a time and sees what those before did,
/// and nobody who sleeps for it is forgotten.
#[test]
fn a_lock_and_three_who_want_it() {
    explore(3, || {
        let shared = Arc::new((Queue::default(), UnsafeCell::new(0)));
        let adds = |shared: &(Queue, UnsafeCell<u32>)| {
            let _lists = shared.0.lock(EPOCH);
            // SAFETY: loom checks that nobody else does so now.
            shared.1.with_mut(|count| unsafe { *count += 1 });
        };
        let others = [(); 2].map(|()| {
            let shared = shared.clone();
            thread::spawn(move || adds(&shared))
        });
        adds(&shared);
        for other in others {
            other.join().expect("it ends");
        }
        let _lists = shared.0.lock(EPOCH);
        // SAFETY: as above.
        assert_eq!(shared.1.with(|count| unsafe { *count }), 3);
    });
}

#[test]
fn two_destroys_close_once() {
    explore(2, || {
        let model = Model::open();
        let reader = spawn(&model, |model| model.read(1, Turn::Read, Data::Never));
        let other = spawn(&model, Model::destroy);
        let results = [model.destroy(), other.join().expect("it ends")];
        assert!(results.contains(&Ok(())) && results.contains(&Err(CLOSED)));
        assert!(reader.join().expect("it ends").is_err());
        model.is_closed_once();
    });
}

#[test]
fn a_number_that_is_attached_anew_evicts_and_owes_nothing() {
    explore(2, || {
        let model = Model::open();
        let reader = spawn(&model, |model| model.read(1, Turn::Read, Data::Never));
        // As `table::attach`, for a descriptor closed behind our back.
        let (tag, state) = model.mutex.renew(EPOCH, true);
        model.mutex.advance(tag, state, State::Open);
        // The reader belonged to the old one, or began on the new one.
        model.expire();
        assert!(reader.join().expect("it ends").is_err());
        assert_eq!(model.destroy(), Ok(()));
        model.is_closed_once();
    });
}

#[test]
fn a_number_that_is_attached_anew_wakes_who_is_inside() {
    explore(3, || {
        let model = Model::open();
        let Entered { tag, .. } = enter(&model);
        let reader = spawn(&model, move |model| {
            model.park(1, tag, Turn::Read, Data::Never)
        });
        model.mutex.renew(EPOCH, true);
        assert_eq!(reader.join().expect("it ends"), Err(CLOSED));
    });
}

#[test]
fn a_copy_and_the_closers_of_both_its_descriptors() {
    explore(2, || {
        let (src, dst) = (Model::open(), Model::open());
        let (one, two) = (src.clone(), dst.clone());
        let copier = thread::spawn(move || copy(&one, &two));
        let other = spawn(&dst, Model::destroy);
        assert_eq!(src.destroy(), Ok(()));
        assert_eq!(other.join().expect("it ends"), Ok(()));
        assert_eq!(copier.join().expect("it ends"), Err(CLOSED));
        src.is_closed_once();
        dst.is_closed_once();
    });
}

#[test]
fn a_copy_and_the_closer_of_one_of_its_descriptors() {
    for of_src in [true, false] {
        explore(3, move || {
            let (src, dst) = (Model::open(), Model::open());
            let (one, two) = (src.clone(), dst.clone());
            let copier = thread::spawn(move || copy(&one, &two));
            let gone = if of_src { &src } else { &dst };
            assert_eq!(gone.destroy(), Ok(()));
            assert_eq!(copier.join().expect("it ends"), Err(CLOSED));
            gone.is_closed_once();
            assert_eq!(if of_src { &dst } else { &src }.destroy(), Ok(()));
        });
    }
}

/// A worker that sleeps when it has no mail, and senders who wake it where they
/// have to: all mail arrives, and nobody sleeps over any.
#[test]
fn a_worker_and_two_who_leave_mail_for_it() {
    explore(3, || {
        const WAKER: i32 = 0;
        event::set(WAKER, Event::Empty);
        let mailbox = Arc::new(Mailbox::default());
        let links = Arc::new([0; 3].map(AtomicU32::new));
        let senders: Vec<_> = (1..3)
            .map(|id: u32| {
                let (mailbox, links) = (mailbox.clone(), links.clone());
                thread::spawn(move || {
                    if mailbox.leave(id, &links[id as usize]) {
                        event::signal(WAKER);
                    }
                })
            })
            .collect();
        let mut came = Vec::new();
        while came.len() < 2 {
            let link_of = |id: u32| (id != 0).then(|| &links[id as usize]);
            mailbox.collect(link_of, |id| came.push(id));
            if came.len() < 2 && mailbox.falls_asleep() {
                event::poll(WAKER);
                event::drain(WAKER); // its edge was taken
            }
            mailbox.awakes();
        }
        came.sort_unstable();
        assert_eq!(came, [1, 2]);
        for sender in senders {
            sender.join().expect("it does not panic");
        }
    });
}

/// A socket, and the ring that reads from it for one fiber.
#[derive(Default)]
struct Ring {
    kernel: Mutex<Kernel>,
    /// The fiber's buffer: loom sees who touches it while another one may.
    buffer: UnsafeCell<u8>,
}

#[derive(Default)]
struct Kernel {
    /// A byte has come that nobody has.
    queued: bool,
    /// The operation is there, and unanswered.
    reads: bool,
    /// It has been looked for once, and was not found.
    missed: bool,
    answer: Option<i32>,
}

impl Ring {
    /// A byte comes from the network.
    fn comes(&self) {
        let mut kernel = self.kernel.lock().expect("no model panics in here");
        kernel.queued = true;
        self.go_on(&mut kernel);
        drop(kernel);
        event::signal(park::host::WAKER);
    }

    fn go_on(&self, kernel: &mut Kernel) {
        if kernel.reads && kernel.queued {
            // SAFETY: loom checks it.
            self.buffer.with_mut(|byte| unsafe { *byte = 1 });
            (kernel.reads, kernel.queued) = (false, false);
            kernel.answer = Some(1);
        }
    }

    fn has_answer(&self) -> bool {
        let kernel = self.kernel.lock().expect("no model panics in here");
        kernel.answer.is_some()
    }
}

impl Carrier for Ring {
    fn begin(&self) -> bool {
        let mut kernel = self.kernel.lock().expect("no model panics in here");
        kernel.reads = true;
        self.go_on(&mut kernel);
        true
    }

    fn park(&self) {
        park::host::park(|| self.has_answer());
    }

    fn take_answer(&self) -> Option<i32> {
        let mut kernel = self.kernel.lock().expect("no model panics in here");
        kernel.answer.take()
    }

    fn call_off(&self) -> bool {
        let mut kernel = self.kernel.lock().expect("no model panics in here");
        if !kernel.missed {
            kernel.missed = true; // on its way from one list to another
        } else if kernel.reads {
            kernel.reads = false;
            kernel.answer = Some(-libc::ECANCELED);
        }
        true
    }

    fn park_for_answer(&self, _: bool) {
        // For a time at most: it may be that nobody comes.
        park::host::park(|| true);
    }
}

/// A fiber's read, as `Call::poll` and `Local::operate` make it.
fn read_by_ring(model: &Model, ring: &Ring) -> Result<()> {
    const ID: u32 = 1;
    let Entered { tag, held, .. } = model.mutex.enter(EPOCH, Hold::of(Turn::Read), false)?;
    model.inside.fetch_add(1, Ordering::AcqRel);
    let waiter = park::find(ID).expect("there is one");
    let slot = model.mutex.slot(Turn::Read).expect("each turn has one");
    let result = loop {
        waiter.arm(true);
        slot.put(ID);
        let carried = model
            .look(tag)
            .map(|()| handover::carry_out(ring, || waiter.falls_asleep()));
        let gone = !slot.withdraw(ID);
        if gone {
            waiter.settle();
        }
        match carried {
            Ok(Carried::Out(answer)) => {
                assert_eq!(answer, 1);
                break Ok(());
            }
            Ok(_) => {}
            Err(error) => break Err(error),
        }
        if gone && !model.mutex.is_open(tag) {
            break Err(CLOSED);
        }
    };
    // The buffer is the caller's again, and the number soon another one's.
    // SAFETY: loom checks it.
    ring.buffer.with_mut(|byte| unsafe { *byte = 2 });
    let kernel = ring.kernel.lock().expect("no model panics in here");
    assert!(!kernel.reads && kernel.answer.is_none(), "it has let go");
    assert!(!(result.is_ok() && kernel.queued), "there is one byte");
    drop(kernel);
    model.inside.fetch_sub(1, Ordering::AcqRel);
    model.leave(tag, held);
    result
}

/// The byte is the fiber's or stays where it is, whoever destroys the
/// descriptor, or ends its time, at that moment; the buffer is nobody else's
/// once the call has returned.
fn a_rings_read_meets(other: impl Fn(&Model) + Clone + Send + Sync + 'static) {
    explore(3, move || {
        event::set(park::host::WAKER, Event::Empty);
        let waiter = park::find(1).expect("there is one");
        waiter.adopt(EPOCH, 0);
        waiter.id.store(1, Ordering::Relaxed);
        waiter.home.store(1, Ordering::Release);
        let (model, ring) = (Model::open(), Arc::new(Ring::default()));
        let fiber = {
            let (model, ring) = (model.clone(), ring.clone());
            thread::spawn(move || read_by_ring(&model, &ring))
        };
        let network = {
            let ring = ring.clone();
            thread::spawn(move || ring.comes())
        };
        other(&model);
        let result = fiber.join().expect("it ends");
        network.join().expect("it ends");
        let kernel = ring.kernel.lock().expect("no model panics in here");
        assert_eq!(
            kernel.queued,
            result.is_err(),
            "the byte is somewhere, once"
        );
    });
}

#[test]
fn a_rings_read_a_byte_and_a_closer() {
    a_rings_read_meets(|model| {
        let _ = model.destroy();
    });
}

#[test]
fn a_rings_read_a_byte_and_a_deadline() {
    a_rings_read_meets(Model::expire);
}
