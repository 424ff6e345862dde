//! The waiter: what a parked caller is woken by.
//!
//! # Why no wake-up is lost, and none hits a stranger
//!
//! A caller that is going to sleep first makes its waiter visible, in a slot
//! or in a queue, and then looks once more at what could forbid it to sleep
//! (the lifetime word, the deadline, the token). Whoever changes one of those
//! changes it first and then takes the waiter out. Both touch the slot by an
//! atomic swap, so one of the two swaps is the first:
//!
//! ```text
//! caller:  swap waiter in;  look at the state;  sleep
//! waker:   change the state;  swap waiter out;  wake it
//! ```
//!
//! If the caller's is, the waker finds the waiter. If the waker's is, the
//! caller's swap reads what the waker's wrote, and with it sees the change.
//! (A queue's lock orders the two in the same way.)
//!
//! Taking a waiter out claims it: one waker, and nobody else, then writes its
//! eventfd and afterwards sets `WOKEN`. A caller that is about to leave takes
//! its own waiter out; if it is not there any more, it is claimed, and the
//! caller waits for `WOKEN` before it returns. So the eventfd is open, and the
//! caller's, for as long as a waker may write it.

use crate::park::host;
use crate::sync::{AtomicBool, AtomicI32, AtomicI64, AtomicU32, Ordering};
use crate::sys::{event, futex};

/// Not woken; its owner runs, or polls.
const ARMED: u32 = 0;
/// Not woken; its owner sleeps on the state word.
const ASLEEP: u32 = 1;
/// A waker is done with it.
const WOKEN: u32 = 2;

/// One parked caller. Its owner is a thread, or a fiber; it is never freed.
#[derive(Debug)]
pub struct Waiter {
    state: AtomicU32,
    /// The owner's eventfd, by which its poll is ended; -1: none.
    event: AtomicI32,
    /// Whether the owner polls that eventfd, rather than to sleep on `state`.
    polls: AtomicBool,
    /// The process that its owner lives in.
    epoch: AtomicU32,
    /// Links of the queue it stands in, under that queue's lock; `next` is the
    /// pool's while it is free.
    pub(crate) next: AtomicU32,
    pub(crate) prev: AtomicU32,
    pub(crate) queued: AtomicU32,
    /// What the waker leaves for the owner.
    pub(crate) outcome: AtomicI32,
    /// Its owner has another one that counts: it is in two descriptors.
    pub(crate) second: AtomicBool,
    /// Its own id.
    pub(crate) id: AtomicU32,
    /// The worker of the fiber that owns it, plus one; 0: a thread does. And
    /// the fiber's number there, which is the worker's to know.
    pub(crate) home: AtomicU32,
    pub(crate) seat: AtomicU32,
    /// It is on its way to its worker, who is to run its fiber, by this link.
    pub(crate) mailed: AtomicBool,
    pub(crate) mail: AtomicU32,
    /// For `netfd_dump`: the thread, and when it parked.
    pub(crate) thread: AtomicU32,
    pub(crate) since: AtomicI64,
    /// What it is parked on that is no descriptor.
    aside: AtomicU32,
}

/// What a caller is parked on that is no descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aside {
    /// It sleeps.
    Time = 1,
    /// The work of a group.
    Group,
    /// What a helper thread does for it.
    Helper,
    /// A lookup.
    Name,
    /// Handlers that serve connections.
    Handlers,
}

impl Aside {
    const ALL: [Self; 5] = [
        Self::Time,
        Self::Group,
        Self::Helper,
        Self::Name,
        Self::Handlers,
    ];
}

impl Default for Waiter {
    fn default() -> Self {
        Self {
            state: AtomicU32::new(ARMED),
            event: AtomicI32::new(-1),
            polls: AtomicBool::new(false),
            epoch: AtomicU32::new(0),
            next: AtomicU32::new(0),
            prev: AtomicU32::new(0),
            queued: AtomicU32::new(0),
            outcome: AtomicI32::new(0),
            second: AtomicBool::new(false),
            id: AtomicU32::new(0),
            home: AtomicU32::new(0),
            seat: AtomicU32::new(0),
            mailed: AtomicBool::new(false),
            mail: AtomicU32::new(0),
            thread: AtomicU32::new(0),
            since: AtomicI64::new(0),
            aside: AtomicU32::new(0),
        }
    }
}

impl Waiter {
    /// Makes it the caller's, in the process `epoch`. The eventfd that an
    /// older process left is not ours to touch: its description is shared
    /// with that process, and its number may be anything by now.
    pub fn adopt(&self, epoch: u32, thread: u32) {
        self.event.store(-1, Ordering::Relaxed);
        self.home.store(0, Ordering::Relaxed);
        self.thread.store(thread, Ordering::Relaxed);
        self.queued.store(0, Ordering::Relaxed);
        self.aside.store(0, Ordering::Relaxed);
        self.epoch.store(epoch, Ordering::Release);
    }

    /// Whether its owner lives in the process `epoch`.
    pub fn lives_in(&self, epoch: u32) -> bool {
        self.epoch.load(Ordering::Acquire) == epoch
    }

    /// The owner's, before it makes the waiter visible: whether it is going to
    /// poll its eventfd, or to sleep.
    pub fn arm(&self, polls: bool) {
        self.polls.store(polls, Ordering::Relaxed);
        self.state.store(ARMED, Ordering::Relaxed);
    }

    /// The eventfd that ends the owner's poll; -1 where there is none.
    pub fn event(&self) -> i32 {
        self.event.load(Ordering::Relaxed)
    }

    /// The owner's: gives it an eventfd, or takes it away (-1).
    pub fn set_event(&self, fd: i32) {
        self.event.store(fd, Ordering::Relaxed);
    }

    /// Whether a waker is done with it.
    pub fn is_woken(&self) -> bool {
        self.state.load(Ordering::Acquire) == WOKEN
    }

    /// Wakes the owner. The caller has claimed the waiter.
    pub fn wake(&self) {
        if let Some(event) = self.polled() {
            event::signal(event);
        }
        // A fiber in two descriptors sleeps on its first waiter's state, and
        // polls no eventfd by which the second could end that.
        let stands_in = self.second.load(Ordering::Relaxed) && self.is_fiber();
        if self.state.swap(WOKEN, Ordering::AcqRel) == ASLEEP || stands_in {
            if self.is_fiber() {
                host::wake(self);
            } else {
                futex::wake(&self.state, 1);
            }
        }
    }

    /// Whether a fiber owns it.
    #[inline]
    pub fn is_fiber(&self) -> bool {
        self.home.load(Ordering::Relaxed) != 0
    }

    /// The owner's, who is going to sleep: from here on a waker says so to
    /// whoever runs it. False: it has been woken already.
    #[inline]
    pub fn falls_asleep(&self) -> bool {
        let asleep =
            self.state
                .compare_exchange(ARMED, ASLEEP, Ordering::AcqRel, Ordering::Acquire);
        asleep != Err(WOKEN)
    }

    /// The owner's: sleeps until it is woken, at most until `deadline` (0: no
    /// limit). A wait that ended for no reason is for the caller to repeat.
    pub fn sleep(&self, deadline: i64) -> futex::Woken {
        if !self.falls_asleep() {
            return futex::Woken::Maybe;
        }
        if self.is_fiber() {
            return host::sleep(self, deadline);
        }
        futex::wait(&self.state, ASLEEP, deadline)
    }

    /// The owner's, once it has been claimed: waits until the waker is done
    /// with it, and forgets the wake-up.
    pub fn settle(&self) {
        while !self.is_woken() {
            self.sleep(0);
        }
        if let Some(event) = self.polled() {
            event::drain(event);
        }
    }

    /// The owner's: says that it is parked on `what` while it naps.
    #[inline]
    pub fn aside<T>(&self, what: Aside, nap: impl FnOnce() -> T) -> T {
        self.aside.store(what as u32, Ordering::Relaxed);
        let slept = nap();
        self.aside.store(0, Ordering::Relaxed);
        slept
    }

    /// What its owner is parked on, where that is no descriptor.
    pub fn parks_aside(&self) -> Option<Aside> {
        let aside = self.aside.load(Ordering::Relaxed);
        Aside::ALL.into_iter().find(|what| *what as u32 == aside)
    }

    fn polled(&self) -> Option<i32> {
        let polls = self.polls.load(Ordering::Relaxed);
        Some(self.event()).filter(|event| polls && *event >= 0)
    }
}

/// The place of the one caller that polls under a turn.
#[derive(Debug)]
pub struct Slot(AtomicU32);

impl Default for Slot {
    fn default() -> Self {
        Self(AtomicU32::new(0))
    }
}

impl Slot {
    /// Makes the waiter `id` visible. Returns the one that was there: nobody,
    /// unless the descriptor was replaced behind the library's back; it is
    /// claimed now.
    pub fn put(&self, id: u32) -> u32 {
        self.0.swap(id, Ordering::AcqRel)
    }

    /// Takes out whoever is there, and claims it. 0: nobody.
    pub fn take(&self) -> u32 {
        self.0.swap(0, Ordering::AcqRel)
    }

    /// Takes `id` out where it is still there. False: it has been claimed.
    pub fn withdraw(&self, id: u32) -> bool {
        self.0
            .compare_exchange(id, 0, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// Who is there, for inspection.
    pub fn peek(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }
}
