//! Each thread's waiter: taken from a pool at its first park, given back when
//! the thread ends.

pub mod waiter;

use crate::error::Result;
use crate::pool::{Pool, Pooled};
use crate::sync::AtomicU32;
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
        if !own.ends.get() && process::at_thread_end(thread_ends) {
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

/// The eventfd of the caller's waiter, made at the first need; -1 where no
/// descriptor is to be had.
pub fn event_of(waiter: &Waiter) -> Fd {
    if waiter.event() < 0
        && let Ok(fd) = event::eventfd()
    {
        waiter.set_event(fd);
    }
    waiter.event()
}

/// Whether a signal handler that ran ends the calling thread's calls.
pub fn interruptible() -> bool {
    OWN.with(|own| own.interruptible.get())
}

/// Says whether a signal handler that ran ends the calling thread's calls.
pub fn set_interruptible(on: bool) {
    OWN.with(|own| own.interruptible.set(on));
}
