//! Each thread's waiter: taken from a pool at its first park, given back when
//! the thread ends.

pub mod host;
pub mod waiter;

use crate::error::Result;
use crate::pool::{Pool, Pooled};
use crate::sync::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use crate::sys::{self, Fd, event, process};
use core::cell::Cell;
use once_cell::race::OnceRef;
pub use waiter::{Aside, Slot, Waiter};

impl Pooled for Waiter {
    fn link(&self) -> &AtomicU32 {
        &self.next
    }
}

static WAITERS: Pool<Waiter> = Pool::new();

/// The waiter known as `id`, where its owner lives in this process.
pub fn find(id: u32) -> Option<&'static Waiter> {
    WAITERS
        .get(id)
        .filter(|waiter| waiter.lives_in(process::epoch()))
}

/// The waiter known as `id`, whosever it is.
pub fn any(id: u32) -> Option<&'static Waiter> {
    WAITERS.get(id)
}

/// The waiters of this process whose owners are parked on no descriptor.
pub fn parked_aside() -> impl Iterator<Item = (&'static Waiter, Aside)> {
    let epoch = process::epoch();
    let of_this = WAITERS.all().filter(move |waiter| waiter.lives_in(epoch));
    of_this.filter_map(|waiter| Some((waiter, waiter.parks_aside()?)))
}

/// The calling thread's waiter, and what the thread asked for. It has no
/// destructor: one would be registered with the C library at the first use,
/// which ends the process where memory is short, and forgets it in a thread
/// that is past its thread-local destructors.
struct Own {
    id: Cell<u32>,
    interruptible: Cell<bool>,
    /// The thread has given its waiter back.
    ends: Cell<bool>,
    /// What is kept for the caller elsewhere, by an id; 0: nothing.
    notes: Cell<u32>,
    /// After how many calls a fiber lets others run, though none had to park.
    budget: Cell<u32>,
    /// The thread is a worker whose poller carries out operations, in the
    /// process of this epoch; 0: it is not.
    operates: Cell<u32>,
}

thread_local! {
    static OWN: Own = const {
        Own {
            id: Cell::new(0),
            interruptible: Cell::new(false),
            ends: Cell::new(false),
            notes: Cell::new(0),
            budget: Cell::new(0),
            operates: Cell::new(0),
        }
    };
}

/// What gives a caller's notes back.
static END_NOTES: OnceRef<'static, fn(u32)> = OnceRef::new();

/// Some worker's poller carries out operations: without, nobody needs to look
/// whether his own does.
static SOME_OPERATE: AtomicBool = AtomicBool::new(false);

static AT_THREAD_END: process::AtThreadEnd = process::AtThreadEnd::new();

fn thread_ends() {
    OWN.with(|own| {
        own.ends.set(true);
        release(own.id.replace(0));
        end_notes(own.notes.replace(0));
    });
}

/// Gives back what was kept for a caller who has ended.
pub fn end_notes(id: u32) {
    if id != 0
        && let Some(end) = END_NOTES.get()
    {
        end(id);
    }
}

/// The id of what is kept for the caller.
pub fn notes() -> u32 {
    OWN.with(|own| own.notes.get())
}

/// Keeps an id for the caller, until `end` is given it, when the caller ends.
/// False: nobody would, for lack of memory.
pub fn set_notes(id: u32, end: &'static fn(u32)) -> bool {
    let _ = END_NOTES.set(end);
    OWN.with(|own| {
        let is_fiber = any(own.id.get()).is_some_and(Waiter::is_fiber);
        let ends = is_fiber || (!own.ends.get() && AT_THREAD_END.run(thread_ends));
        if ends {
            own.notes.set(id);
        }
        ends
    })
}

/// Says that the calling thread is a worker from now on.
pub fn begin_to_host() {
    core::mem::forget(process::Uncancelable::new()); // for good
}

/// Says that the calling thread's poller carries out operations.
pub fn begin_to_operate() {
    OWN.with(|own| own.operates.set(process::epoch()));
    SOME_OPERATE.store(true, Ordering::Relaxed);
}

/// Whether the caller is a fiber whose poller carries out operations.
#[inline(always)]
pub fn operates() -> bool {
    SOME_OPERATE.load(Ordering::Relaxed) && own_operates()
}

/// Out of line, so that a program without workers has no look at its thread.
#[inline(never)]
fn own_operates() -> bool {
    OWN.with(|own| own.operates.get() == process::epoch())
}

/// Whether a fiber has made so many calls without a park that others are to
/// run.
#[inline]
pub fn is_spent() -> bool {
    OWN.with(|own| {
        let left = own.budget.get().wrapping_sub(1);
        own.budget.set(left);
        left == 0
    })
}

/// Runs `park` with the calling thread's waiter and its id. `-ENOMEM` where
/// there is none to be had.
#[inline(always)]
pub fn with_waiter<T>(park: impl FnOnce(&'static Waiter, u32) -> Result<T>) -> Result<T> {
    OWN.with(|own| {
        let cached = own.id.get();
        if cached != 0 {
            return park(adopted(cached)?, cached);
        }
        let (id, _) = WAITERS.take()?;
        if !own.ends.get() && AT_THREAD_END.run(thread_ends) {
            own.id.set(id);
            return park(adopted(id)?, id);
        }
        // It would not be given back: a waiter for this park alone.
        let result = adopted(id).and_then(|waiter| park(waiter, id));
        release(id);
        result
    })
}

/// A caller that has no waiter to be told by: the thread of this number.
const OF_THREAD: u32 = 1 << 31;

/// Which caller this is, fiber or thread, as long as it runs.
pub fn caller() -> u32 {
    OWN.with(|own| {
        if own.id.get() == 0 {
            let _ = with_waiter(|_, _| Ok(()));
        }
        match own.id.get() {
            0 => OF_THREAD | process::thread_id(),
            id => id,
        }
    })
}

/// Whether it was this caller that `caller` told of.
pub fn is_caller(told: u32) -> bool {
    match told & OF_THREAD {
        0 => told != 0 && OWN.with(|own| own.id.get() == told),
        _ => told == OF_THREAD | process::thread_id(),
    }
}

fn adopted(id: u32) -> Result<&'static Waiter> {
    let waiter = WAITERS.get(id).ok_or(crate::error::PANIC)?;
    let epoch = process::epoch();
    if !waiter.lives_in(epoch) {
        // After fork(2) in a fiber, too: the child's is a thread like any other.
        waiter.adopt(epoch, process::thread_id());
    }
    Ok(waiter)
}

fn release(id: u32) {
    if let Some(waiter) = find(id) {
        let event = waiter.event();
        if event >= 0 {
            let _ = sys::close(event);
        }
        waiter.adopt(0, 0);
    }
    WAITERS.put(id);
}

/// A waiter besides the thread's own, for a call in two descriptors: each is
/// woken by whoever changes its descriptor's state, and a waiter is claimed by
/// one waker only.
#[derive(Debug)]
pub struct Second {
    waiter: &'static Waiter,
    id: u32,
}

impl Second {
    /// Takes one, with an eventfd where one is to be had.
    pub fn take() -> Result<Self> {
        let (id, _) = WAITERS.take()?;
        let waiter = adopted(id).inspect_err(|_| WAITERS.put(id))?;
        waiter.second.store(true, Ordering::Relaxed);
        waiter.id.store(id, Ordering::Relaxed);
        // Who wakes it wakes the fiber, where the caller is one.
        with_waiter(|own, _| {
            let seat = own.seat.load(Ordering::Relaxed);
            waiter.seat.store(seat, Ordering::Relaxed);
            let home = own.home.load(Ordering::Relaxed);
            waiter.home.store(home, Ordering::Release);
            Ok(())
        })?;
        need_event(waiter);
        Ok(Self { waiter, id })
    }

    /// The waiter, and its id.
    pub fn waiter(&self) -> (&'static Waiter, u32) {
        (self.waiter, self.id)
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        self.waiter.second.store(false, Ordering::Relaxed);
        spare_event(self.waiter);
        release(self.id);
    }
}

/// Eventfds that threads gave back, each with the process epoch above it; 0 is
/// none. One of an older process is forgotten, not closed: its number may be
/// anything by now.
static SPARE: [AtomicU64; 8] = [const { AtomicU64::new(0) }; 8];

fn spare_of(epoch: u32, fd: Fd) -> u64 {
    u64::from(epoch) << 32 | u64::from(fd.unsigned_abs())
}

/// A waiter for a fiber, of the worker `home` (plus one). `seat` is the
/// fiber's number there.
pub fn take_for_fiber(home: u32) -> Result<(u32, &'static Waiter)> {
    let (id, waiter) = WAITERS.take()?;
    waiter.adopt(process::epoch(), 0);
    waiter.id.store(id, Ordering::Relaxed);
    waiter.home.store(home, Ordering::Release);
    Ok((id, waiter))
}

/// Gives a fiber's waiter back.
pub fn give_back(id: u32) {
    release(id);
}

/// Whom a worker's thread stands for: a waiter and notes, by their ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// The waiter.
    pub waiter: u32,
    /// What is kept elsewhere.
    pub notes: u32,
}

/// A fiber's calls between two parks, at most: then others run.
const BUDGET: u32 = 64;

/// Has the calling thread stand for `caller` from now on, whose calls are
/// counted anew. Returns the one before.
pub fn change_caller(caller: Caller) -> Caller {
    OWN.with(|own| {
        own.budget.set(BUDGET);
        Caller {
            waiter: own.id.replace(caller.waiter),
            notes: own.notes.replace(caller.notes),
        }
    })
}

/// Sees to it that the caller's waiter has an eventfd, where one is to be had.
/// A fiber needs none.
pub fn need_event(waiter: &Waiter) {
    if waiter.event() < 0 && !waiter.is_fiber() {
        let spare = take_spare().map_or_else(event::eventfd, Ok);
        waiter.set_event(spare.unwrap_or(-1));
    }
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "the low half is what is meant"
)]
fn take_spare() -> Option<Fd> {
    let epoch = process::epoch();
    SPARE.iter().find_map(|place| {
        if place.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let spare = place.swap(0, Ordering::AcqRel);
        let fd = spare as u32 as Fd;
        (spare != 0 && spare == spare_of(epoch, fd)).then_some(fd)
    })
}

/// Gives the waiter's eventfd back, for others to poll by: its owner is going
/// to sleep in a queue, where it needs none, or has waited where it takes no
/// turn. So there are as many as poll at once, and not one for each thread.
pub fn spare_event(waiter: &Waiter) {
    let fd = waiter.event();
    if fd < 0 {
        return;
    }
    waiter.set_event(-1);
    let spare = spare_of(process::epoch(), fd);
    let kept = SPARE.iter().any(|place| {
        place.load(Ordering::Relaxed) == 0
            && place
                .compare_exchange(0, spare, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
    });
    if !kept {
        let _ = sys::close(fd);
    }
}

/// Whether the caller is a fiber.
pub fn is_fiber() -> bool {
    any(OWN.with(|own| own.id.get()))
        .is_some_and(|waiter| waiter.is_fiber() && waiter.lives_in(process::epoch()))
}

/// Whether a signal handler that ran ends the calling thread's calls.
pub fn interruptible() -> bool {
    OWN.with(|own| own.interruptible.get())
}

/// Says whether a signal handler that ran ends the calling thread's calls.
pub fn set_interruptible(on: bool) {
    OWN.with(|own| own.interruptible.set(on));
}
