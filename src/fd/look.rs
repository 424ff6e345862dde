//! What a caller looks at before it sleeps: deadlines and tokens. And the sleep
//! of one who waits for no descriptor.

use crate::error::{CANCELED, DEADLINE, Error, Result, Sys};
use crate::fd::cancel::{Cancel, Held};
use crate::park::{self, Aside, Slot, Waiter};
use crate::poll::{Outcome, Place, Poller, Watch};
use crate::sync::Ordering;
use crate::sys::{Fd, event, futex, time};
use libc::c_short;

/// A signal that came ends a wait of a thread that wants to be told.
pub fn unless_interrupted(signal: bool, call: Sys) -> Result<()> {
    if signal && park::interruptible() {
        return Err(Error::os(libc::EINTR, call));
    }
    Ok(())
}

/// Whether a call with these limits may go on.
#[inline]
pub fn in_time(deadline: i64, token: Option<&'static Cancel>) -> Result<()> {
    if token.is_some_and(Cancel::is_fired) {
        return Err(CANCELED);
    }
    if deadline != 0 && deadline <= time::now() {
        return Err(DEADLINE);
    }
    Ok(())
}

/// Parks a caller who waits for no descriptor, but for `what`, which is over when
/// `is_done`: whoever makes that true takes the waiter out of `slot` afterwards,
/// and wakes it.
pub fn wait_for(
    slot: &Slot,
    what: Aside,
    is_done: impl Fn() -> bool,
    deadline: i64,
    token: Option<&'static Cancel>,
) -> Result<()> {
    park::with_waiter(|waiter, id| {
        if token.is_some() {
            park::need_event(waiter);
        }
        loop {
            waiter.arm(token.is_some());
            slot.put(id);
            let slept = if is_done() {
                Ok(())
            } else {
                Look::new(deadline, None, token, waiter)
                    .and_then(|look| waiter.aside(what, || look.nap(waiter)))
            };
            if !slot.withdraw(id) {
                waiter.settle();
            }
            if is_done() {
                return Ok(());
            }
            slept?;
        }
    })
}

/// The earlier of two deadlines, where 0 is none.
pub fn earlier(one: i64, other: i64) -> i64 {
    match (one, other) {
        (0, only) | (only, 0) => only,
        (one, other) => one.min(other),
    }
}

/// What a caller that may sleep has seen: how long, and which tokens to hear.
#[derive(Debug)]
pub struct Look {
    deadline: i64,
    timeout: i64,
    of_fd: Option<Held>,
    of_call: Option<&'static Cancel>,
}

impl Look {
    /// `NETFD_ECANCELED` or `NETFD_EDEADLINE`, or what there is to hear. The
    /// waiter is visible.
    #[inline(always)]
    pub fn new(
        deadline: i64,
        of_fd: Option<Held>,
        of_call: Option<&'static Cancel>,
        waiter: &Waiter,
    ) -> Result<Self> {
        // Only a deadline has to be compared with the very moment; who parks
        // since when is for people to read.
        let now = if deadline == 0 {
            time::recent()
        } else {
            time::now()
        };
        let mut look = Self {
            deadline,
            timeout: -1,
            of_fd,
            of_call,
        };
        if look.tokens().any(Cancel::is_fired) {
            return Err(CANCELED);
        }
        if deadline != 0 {
            look.timeout = deadline.saturating_sub(now);
            if look.timeout <= 0 {
                return Err(DEADLINE);
            }
        }
        waiter.since.store(now, Ordering::Relaxed);
        Ok(look)
    }

    /// Sleeps, once, without a descriptor to wait for.
    pub fn nap(&self, waiter: &Waiter) -> Result<()> {
        let signal = if self.of_call.is_some() {
            // Only a poll hears a token of the call's own. (One that is set
            // on the descriptor ends the turn's holder, and so one by one all
            // who queue behind it.)
            let place = waiter.is_fiber().then(Place::default);
            let outcome = self.poll(&mut Poller::default(), (-1, 0, place), waiter, None)?;
            outcome.signal
        } else {
            // futex(2) without a limit is restarted after a handler that was
            // installed with SA_RESTART; one with a limit is not.
            let far = if park::interruptible() { i64::MAX } else { 0 };
            let limit = if self.deadline == 0 {
                far
            } else {
                self.deadline
            };
            waiter.sleep(limit) == futex::Woken::Signal
        };
        unless_interrupted(signal, Sys::Futex)
    }

    fn tokens(&self) -> impl Iterator<Item = &'static Cancel> {
        let of_fd = self.of_fd.as_ref().and_then(Held::token);
        of_fd.into_iter().chain(self.of_call)
    }

    /// Sleeps in a poll, which what was seen in another descriptor, and its
    /// waiter, ends as well.
    #[inline(always)]
    pub fn poll(
        &self,
        poller: &mut Poller,
        (fd, events, place): (Fd, c_short, Option<Place>),
        waiter: &Waiter,
        beside: Option<(Self, &Waiter)>,
    ) -> Result<Outcome> {
        let mut watch = Watch::new(fd, events);
        watch.place = place;
        let mut timeout = self.timeout;
        let mut until = self.deadline;
        self.add_to(&mut watch, waiter);
        if let Some((other, second)) = &beside {
            other.add_to(&mut watch, second);
            timeout = sooner(timeout, other.timeout);
            until = earlier(until, other.deadline);
        }
        if let Some(place) = &mut watch.place {
            place.until = until;
        }
        let outcome = poller.wait(&watch, timeout, waiter)?;
        if outcome.other {
            self.drain_foreign(waiter);
            if let Some((other, second)) = &beside {
                other.drain_foreign(second);
            }
        }
        Ok(outcome)
    }

    #[inline(always)]
    fn add_to(&self, watch: &mut Watch, waiter: &Waiter) {
        if waiter.is_fiber() {
            for token in self.tokens() {
                watch.add_token(token.event(), token.serial());
            }
            return;
        }
        watch.add(Some(waiter.event()).filter(|event| *event >= 0));
        for token in self.tokens() {
            watch.add(token.event());
        }
    }

    /// After an eventfd was readable, and not by whoever wakes the waiter: a
    /// token's that was written by a process that shares it. It has not fired
    /// here, and must not be seen readable for ever. One that fires at this
    /// moment is made readable again: others may not have looked yet.
    fn drain_foreign(&self, waiter: &Waiter) {
        if waiter.is_woken() {
            return;
        }
        for token in self.tokens() {
            if let Some(event) = token.event() {
                event::drain(event);
                if token.is_fired() {
                    event::signal(event);
                }
            }
        }
    }
}

/// The shorter of two timeouts, where a negative one is none.
fn sooner(one: i64, other: i64) -> i64 {
    match (one < 0, other < 0) {
        (true, _) => other,
        (_, true) => one,
        _ => one.min(other),
    }
}
