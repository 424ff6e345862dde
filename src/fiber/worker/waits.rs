//! How a fiber waits: for a descriptor's edges, or for the answer to an
//! operation that its worker's ring carries out; and for its tokens.

use super::Local;
use crate::error::{Error, Result, Sys};
use crate::fiber::handover::{self, Carried, Carrier};
use crate::park::Waiter;
use crate::poll::{Outcome, Poller, SLICE, Watch};
use crate::sys::uring::Operation;
use crate::sys::{Fd, time};
use libc::{c_int, c_short};

/// How long a caller rests that edges called for nothing: 1 ms.
const REST: i64 = 1_000_000;

/// The fibers that once parked with a token, in the place of its eventfd: all
/// are told when it fires.
#[derive(Default)]
pub struct Listeners {
    serial: u32,
    seats: Vec<u32>,
}

/// The current fiber's operation.
struct Flight<'a> {
    local: &'a Local,
    seat: u32,
    fd: Fd,
    operation: Operation,
    until: i64,
}

impl Carrier for Flight<'_> {
    #[inline(always)]
    fn begin(&self) -> bool {
        let mut ring = self.local.ring.borrow_mut();
        let begun = ring.as_mut().is_some_and(|ring| {
            // SAFETY: what the operation points to is the caller's who parks,
            // and `carry_out` does not return without the answer.
            unsafe { ring.begin(self.seat, self.fd, self.operation) }.is_ok()
        });
        if begun {
            self.local.post.has_submitted();
        }
        begun
    }

    #[inline(always)]
    fn park(&self) {
        self.local.park(self.until);
    }

    #[inline(always)]
    fn take_answer(&self) -> Option<c_int> {
        let taken = self.local.seats.with(self.seat, |it| it.answer.take());
        taken.flatten()
    }

    fn call_off(&self) -> bool {
        let mut ring = self.local.ring.borrow_mut();
        ring.as_mut()
            .is_some_and(|ring| ring.cancel(self.seat).is_ok())
    }

    fn park_for_answer(&self, asked: bool) {
        self.local
            .park(time::now() + if asked { SLICE } else { REST });
    }
}

impl Local {
    /// Waits for a descriptor, a token, a wake-up or a deadline.
    #[inline(always)]
    pub fn wait(&self, watch: &Watch, poller: &mut Poller, waiter: &Waiter) -> Result<Outcome> {
        if let Some(operation) = poller.operation {
            if self.operate(watch, operation, waiter, &mut poller.answer) {
                return Ok(Outcome::default());
            }
            // Not tried yet: what stands there has no edge any more.
            return Ok(Outcome::ready(watch.events()));
        }
        self.wait_until_ready(watch, poller, waiter)
    }

    /// Has the ring carry out an operation, and parks the current fiber until
    /// it has, or until it is woken. False: the ring did not take it.
    #[inline(always)]
    fn operate(
        &self,
        watch: &Watch,
        operation: Operation,
        waiter: &Waiter,
        answer: &mut Option<c_int>,
    ) -> bool {
        let seat = self.current.get();
        let mut until = watch.place.unwrap_or_default().until;
        if watch.is_blind() || !self.listen(seat, watch) {
            let then = time::now().saturating_add(SLICE);
            until = if until == 0 { then } else { until.min(then) };
        }
        let flight = Flight {
            local: self,
            seat,
            fd: watch.fd(),
            operation,
            until,
        };
        match handover::carry_out(&flight, || waiter.falls_asleep()) {
            Carried::Refused => return false,
            Carried::Not => {}
            Carried::Out(said) => *answer = Some(said),
        }
        true
    }

    /// As `wait`, for whoever makes the call himself.
    #[inline(always)]
    fn wait_until_ready(
        &self,
        watch: &Watch,
        poller: &mut Poller,
        waiter: &Waiter,
    ) -> Result<Outcome> {
        let (fd, events) = (watch.fd(), watch.events());
        let place = watch.place.unwrap_or_default();
        let ready = Outcome::ready(events);
        let seat = self.current.get();
        let mut until = place.until;
        let mut no_later = |ns: i64| {
            let then = time::now().saturating_add(ns);
            until = if until == 0 { then } else { until.min(then) };
        };
        let (mut rests, mut once) = (false, false);
        if let (true, Some(generation)) = (fd >= 0, place.generation) {
            if !poller.was_tried() && !poller.is_exact() && !place.drains {
                return Ok(ready); // it costs less to try than to know
            }
            let watched = self.set.borrow_mut().watch(fd, generation + 1);
            // What stands there already has no edge; but what has been looked
            // at in vain (an entry in the error queue) may stand for ever.
            let late = poller.is_late();
            let looks = (poller.is_exact() && !poller.was_tried())
                || (late && !poller.readiness_misleads());
            rests = watched.is_err() || poller.is_in_vain(events) || (late && !looks);
            let tried = poller.was_tried();
            let edge = watched.is_ok() && self.take(fd, place.turn, events, tried);
            if edge && !poller.is_exact() {
                return Ok(ready);
            }
            if edge || looks {
                let now = crate::poll::now(fd, events)?;
                if now != 0 {
                    return Ok(Outcome::ready(now));
                }
            }
            self.set.borrow_mut().begin(fd, place.turn, seat);
        } else if fd >= 0 {
            match self.set.borrow_mut().watch_once(fd, events, seat) {
                Ok(()) => once = true,
                Err(error) if error.is(libc::EPERM) => return Ok(ready), // a file
                Err(_) => rests = true,
            }
        }
        if rests {
            no_later(REST);
        } else if watch.is_blind() || !self.listen(seat, watch) {
            no_later(SLICE);
        }
        // As `Waiter::sleep`, without the way through the host back to here.
        let sleeps = waiter.falls_asleep();
        if sleeps {
            self.park(until);
        }
        if fd < 0 {
            return Ok(Outcome::default());
        }
        if place.generation.is_none() {
            if once {
                self.set.borrow_mut().forget(fd);
            }
            return crate::poll::now(fd, events).map(Outcome::ready);
        }
        self.set.borrow_mut().end(fd, place.turn);
        if poller.is_exact() {
            return crate::poll::now(fd, events).map(Outcome::ready);
        }
        let edge = self.take(fd, place.turn, events, false);
        let rested = rests && sleeps && time::now() >= until;
        Ok(if edge || rested {
            ready
        } else {
            Outcome::default()
        })
    }

    fn take(&self, fd: Fd, turn: usize, events: c_short, tried: bool) -> bool {
        self.set.borrow_mut().take(fd, turn, events, tried)
    }

    /// Sees to it that the fiber hears of its tokens. False: for lack of memory
    /// or of room it does not.
    fn listen(&self, seat: u32, watch: &Watch) -> bool {
        watch.tokens().all(|(event, serial)| {
            let knows = self.seats.with(seat, |it| it.tokens.contains(&serial));
            knows == Some(true) || self.add_listener(seat, event, serial).is_ok()
        })
    }

    fn add_listener(&self, seat: u32, event: Fd, serial: u32) -> Result<()> {
        let full = |_| Error::os(libc::ENOMEM, Sys::Malloc);
        let mut all = self.tokens.borrow_mut();
        let index = event as usize;
        while all.len() <= index {
            all.try_reserve(1).map_err(full)?;
            all.push(Listeners::default());
        }
        let Some(these) = all.get_mut(index) else {
            return Err(crate::error::PANIC);
        };
        if these.serial != serial {
            self.set.borrow_mut().watch_token(event, serial)?;
            these.serial = serial;
            these.seats.clear();
        }
        if these.seats.len() == these.seats.capacity() {
            // Fibers that have ended, or listen to others by now.
            these.seats.retain(|seat| {
                self.seats.with(*seat, |it| it.tokens.contains(&serial)) == Some(true)
            });
        }
        these.seats.try_reserve(1).map_err(full)?;
        these.seats.push(seat);
        self.seats.with(seat, |it| {
            it.tokens.rotate_right(1);
            it.tokens[0] = serial;
        });
        Ok(())
    }

    pub fn tell_listeners(&self, event: Fd, serial: u32) {
        let tokens = self.tokens.borrow();
        let Some(these) = tokens.get(event as usize) else {
            return;
        };
        if crate::poll::epoll::same_token(these.serial, serial) {
            for seat in &these.seats {
                self.seats.make_ready(*seat);
            }
        }
    }
}
