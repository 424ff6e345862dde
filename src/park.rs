//! Each thread's waiter: taken from a pool at its first park, given back when
//! the thread ends.

pub mod waiter;

use crate::error::Result;
use crate::pool::{Pool, Pooled};
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use crate::sys::{self, Fd, event, process};
use core::cell::Cell;
pub use waiter::{Slot, Waiter};

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

/// The calling thread's waiter, and what the thread asked for. It has no
/// destructor: one would be registered with the C library at the first use,
/// which ends the process where memory is short, and forgets it in a thread
/// that is past its thread-local destructors.
struct Own {
    id: Cell<u32>,
    interruptible: Cell<bool>,
    /// The thread has given its waiter back.
    ends: Cell<bool>,
}

thread_local! {
    static OWN: Own = const {
        Own {
            id: Cell::new(0),
            interruptible: Cell::new(false),
            ends: Cell::new(false),
        }
    };
}

static AT_THREAD_END: process::AtThreadEnd = process::AtThreadEnd::new();

fn thread_ends() {
    OWN.with(|own| {
        own.ends.set(true);
        release(own.id.replace(0));
    });
}

/// Runs `park` with the calling thread's waiter and its id. `-ENOMEM` where
/// there is none to be had.
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

fn adopted(id: u32) -> Result<&'static Waiter> {
    let waiter = WAITERS.get(id).ok_or(crate::error::PANIC)?;
    let epoch = process::epoch();
    if !waiter.lives_in(epoch) {
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

/// Sees to it that the caller's waiter has an eventfd, where one is to be had.
pub fn need_event(waiter: &Waiter) {
    if waiter.event() < 0 {
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

/// Whether a signal handler that ran ends the calling thread's calls.
pub fn interruptible() -> bool {
    OWN.with(|own| own.interruptible.get())
}

/// Says whether a signal handler that ran ends the calling thread's calls.
pub fn set_interruptible(on: bool) {
    OWN.with(|own| own.interruptible.set(on));
}
