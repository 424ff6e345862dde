//! Who parks and wakes a caller that is no thread: its fiber's worker. The
//! room `fiber`, which is above this one, says how.

use crate::park::Waiter;
use crate::sys::futex::Woken;
use once_cell::race::OnceRef;

/// How fibers sleep and wake.
#[derive(Debug)]
pub struct Host {
    /// Parks the calling fiber, whose waiter it is, at most until a deadline
    /// (0: no limit). It may come back for no reason.
    pub sleep: fn(&Waiter, i64) -> Woken,
    /// Has the fiber of a waiter run, from any thread.
    pub wake: fn(&Waiter),
}

static HOST: OnceRef<'static, Host> = OnceRef::new();

/// Says how; once is enough.
pub fn set(host: &'static Host) {
    let _ = HOST.set(host);
}

/// Parks the calling fiber.
pub fn sleep(waiter: &Waiter, deadline: i64) -> Woken {
    HOST.get()
        .map_or(Woken::Maybe, |host| (host.sleep)(waiter, deadline))
}

/// Has a fiber run.
pub fn wake(waiter: &Waiter) {
    if let Some(host) = HOST.get() {
        (host.wake)(waiter);
    }
}
