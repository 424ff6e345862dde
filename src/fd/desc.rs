//! A call inside a descriptor, and its loop: lock, prepare, call, on EINTR
//! again, on EAGAIN park. Named as in Go's internal/poll.

use crate::error::{CANCELED, CLOSED, DEADLINE, Error, Result, Sys};
use crate::fd::end::Ending;
use crate::fd::limits::{Limits, Patience, Side};
use crate::fd::look::{Look, earlier, in_time, unless_interrupted};
use crate::fd::table::{self, Entry, Kind};
use crate::fd::word::{Attempt, Entered, Hold, State, Tag, Turn};
use crate::park::{self, Waiter};
use crate::poll::{self, Outcome, Place, Poller};
use crate::sync::Ordering;
use crate::sys::uring::Operation;
use crate::sys::{Fd, futex, process, time};
use libc::{c_int, c_short};

/// One call inside a descriptor: a reference and, where it takes one, a turn.
/// Dropping it leaves, and the last one out closes.
#[derive(Debug)]
pub struct Call {
    fd: Fd,
    entry: &'static Entry,
    epoch: u32,
    tag: Tag,
    /// The turn that it needs.
    wants: Hold,
    /// The turn that it has.
    held: Hold,
}

impl Drop for Call {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some(state) = self.entry.mutex.leave(self.epoch, self.tag, self.held) {
            // The close error is the destroyer's to hear, and `end` tells it.
            let _ = self.entry.end(self.fd, self.tag, state);
        }
    }
}

impl Call {
    /// Enters without a turn.
    pub fn incref(fd: Fd) -> Result<Self> {
        Self::enter(fd, Hold::NONE, true)
    }

    /// Enters for the turn of `side`. Where it is taken, `rwlock` waits.
    pub fn exclusive(fd: Fd, side: Side) -> Result<Self> {
        Self::enter(fd, Hold::of(side.turn()), true)
    }

    /// Enters to read or write: for the side's turn on streams and sequences,
    /// without one on datagrams.
    #[inline(always)]
    pub fn shared(fd: Fd, side: Side) -> Result<Self> {
        Self::enter(fd, Hold::of(side.turn()), false)
    }

    /// Enters for the turn of `side`, and leaves it to `rwlock` to take it.
    pub fn deferred(fd: Fd, side: Side) -> Result<Self> {
        let mut call = Self::enter(fd, Hold::NONE, true)?;
        call.wants = Hold::of(side.turn());
        Ok(call)
    }

    #[inline(always)]
    fn enter(fd: Fd, turn: Hold, always: bool) -> Result<Self> {
        let entry = table::find(fd)?;
        let epoch = process::epoch();
        let Entered { tag, wants, held } = entry.mutex.enter(epoch, turn, always)?;
        Ok(Self {
            fd,
            entry,
            epoch,
            tag,
            wants,
            held,
        })
    }

    /// Waits for the turn that it entered for, within `limits`.
    #[inline]
    pub fn rwlock(&mut self, limits: Limits, patience: Patience) -> Result<()> {
        if self.held == self.wants {
            return Ok(());
        }
        self.rwlock_slow(limits, patience, None)
    }

    /// As `rwlock`, for a caller that is in another descriptor as well.
    pub fn rwlock_beside(&mut self, limits: Limits, other: Option<(&Self, Limits)>) -> Result<()> {
        if self.held == self.wants {
            return Ok(());
        }
        self.rwlock_slow(limits, Patience::Park, other)
    }

    #[cold]
    #[inline(never)]
    fn rwlock_slow(
        &mut self,
        limits: Limits,
        patience: Patience,
        other: Option<(&Self, Limits)>,
    ) -> Result<()> {
        let Some(turn) = self.wants.turn() else {
            return Ok(());
        };
        self.prepare(limits)?;
        match patience {
            Patience::Park => self.wait_turn(turn, limits, other)?,
            Patience::Never => return Err(Error::argument(libc::EAGAIN)),
        }
        self.held = self.wants;
        Ok(())
    }

    /// Gives the turn back, and stays inside.
    pub fn unlock(&mut self) {
        let held = self.held;
        (self.wants, self.held) = (Hold::NONE, Hold::NONE);
        if let Some(turn) = held.turn() {
            self.entry.mutex.give_turn(self.epoch, self.tag, turn);
        }
    }

    /// The descriptor's number.
    pub fn fd(&self) -> Fd {
        self.fd
    }

    /// The descriptor's state.
    pub fn entry(&self) -> &'static Entry {
        self.entry
    }

    /// What kind of socket it is.
    pub fn kind(&self) -> Kind {
        self.entry.kind()
    }

    /// Whether the descriptor is still the caller's.
    pub fn is_open(&self) -> bool {
        self.entry.mutex.is_open(self.tag)
    }

    /// Wakes those who are parked on one side, or whose wait is for both, so
    /// that they look again at what has been changed.
    pub fn wake(&self, side: Side) {
        let turns = [side.turn(), side.poll_turn(), Turn::PollBoth];
        self.entry.mutex.wake(self.epoch, &turns);
    }

    /// Leaves, and has the last one out close the descriptor, unless somebody
    /// else sees to its end already.
    pub fn destroy_when_left(self) {
        if self.is_open() {
            let _ = self.entry.close_later(self.fd, State::Destroying);
        }
    }

    /// Whether somebody has the turn of `side` and is not parked.
    pub fn is_at_work(&self, side: Side) -> bool {
        self.entry.mutex.is_at_work(side.turn())
    }

    /// Whether the call may go on: not evicted, not canceled, in time.
    #[inline]
    pub fn prepare(&self, limits: Limits) -> Result<()> {
        if !self.entry.mutex.is_open(self.tag) {
            return Err(CLOSED);
        }
        self.prepare_open(limits)
    }

    /// As `prepare`, for a descriptor that was open a moment ago.
    #[inline]
    fn prepare_open(&self, limits: Limits) -> Result<()> {
        if self.entry.cancel.is_fired() {
            return Err(CANCELED);
        }
        in_time(self.deadline(limits), limits.token)
    }

    /// The earlier of the deadlines that count; 0: none.
    #[inline]
    fn deadline(&self, limits: Limits) -> i64 {
        let of_fd = match limits.side {
            Some(Side::Read) => self.entry.read_deadline.load(Ordering::Acquire),
            Some(Side::Write) => self.entry.write_deadline.load(Ordering::Acquire),
            None => 0,
        };
        earlier(of_fd, limits.deadline)
    }

    /// The loop: `call` until it says something else than EINTR, or EAGAIN and
    /// the caller may park. `likely`: it is worth a try before the first park.
    #[inline]
    pub fn run<T>(
        &self,
        side: Side,
        limits: Limits,
        likely: bool,
        mut call: impl FnMut() -> Result<T>,
    ) -> Result<T> {
        self.run_or_hand_over(side, limits, likely, || None, |_| call())
    }

    /// As `run`. Where the caller's poller carries out operations it is given
    /// this one, and `call` its answer, in the place of a system call.
    #[inline]
    pub fn run_or_hand_over<T>(
        &self,
        side: Side,
        limits: Limits,
        likely: bool,
        operation: impl FnOnce() -> Option<Operation>,
        mut call: impl FnMut(Option<c_int>) -> Result<T>,
    ) -> Result<T> {
        let mut before = None;
        let operation = if park::operates() { operation() } else { None };
        if likely && operation.is_none() {
            self.prepare_open(limits)?;
            match call(None) {
                Err(error) if is_again(error) => before = Some(error),
                result => return result,
            }
        }
        self.run_on(side, limits, (before, operation), &mut call)
    }

    /// The rest of the loop, once the call has said `before`, or was not worth
    /// a try. Out of line, so that the way without it is short.
    #[inline(never)]
    fn run_on<T>(
        &self,
        side: Side,
        limits: Limits,
        (mut before, operation): (Option<Error>, Option<Operation>),
        call: &mut dyn FnMut(Option<c_int>) -> Result<T>,
    ) -> Result<T> {
        let mut poller = Poller::doing(operation);
        if before.is_some() {
            poller.tried();
        }
        loop {
            match before {
                Some(error) if error.is(libc::EINTR) => self.prepare(limits)?,
                _ => {
                    self.wait(side.event(), limits, &mut poller)?;
                    if before.is_some() {
                        poller.missed();
                    }
                }
            }
            match call(poller.answer.take()) {
                Err(error) if is_again(error) => before = Some(error),
                result => return result,
            }
            poller.operation = None; // tried, and no use
        }
    }

    /// `call` once, for those who never park: EAGAIN comes out.
    pub fn run_once<T>(&self, limits: Limits, mut call: impl FnMut() -> Result<T>) -> Result<T> {
        loop {
            self.prepare(limits)?;
            match call() {
                Err(error) if error.is(libc::EINTR) => {}
                result => return result,
            }
        }
    }

    /// Parks until the descriptor is ready for `events`, and returns for what.
    pub fn wait(&self, events: c_short, limits: Limits, poller: &mut Poller) -> Result<c_short> {
        match self.held.turn() {
            Some(turn) => self.poll(turn, (self.fd, events), limits, poller, None),
            None => {
                // Any number may wait at once: one polls, the others queue.
                let turn = match (events & libc::POLLIN != 0, events & libc::POLLOUT != 0) {
                    (true, true) => Turn::PollBoth,
                    (false, true) => Turn::PollOut,
                    _ => Turn::PollIn,
                };
                self.wait_turn(turn, limits, None)?;
                poller.comes_late();
                let ready = self.poll(turn, (self.fd, events), limits, poller, None);
                // Before the turn goes to the next, who needs one.
                let _ = park::with_waiter(|waiter, _| {
                    park::spare_event(waiter);
                    Ok(())
                });
                self.entry.mutex.give_turn(self.epoch, self.tag, turn);
                ready
            }
        }
    }

    /// Looks, without waiting, for which of `events` the descriptor is ready.
    pub fn poll_now(&self, events: c_short) -> Result<c_short> {
        poll::now(self.fd, events)
    }

    /// Parks for `ns`, unless a limit is nearer. For a caller with a turn.
    pub fn pause(&self, ns: i64, limits: Limits) -> Result<()> {
        let short = limits.no_later(time::now().saturating_add(ns));
        let turn = self.held.turn().unwrap_or(Turn::PollBoth);
        match self.poll(turn, (-1, 0), short, &mut Poller::default(), None) {
            Err(error) if error.same(DEADLINE) => self.prepare(limits),
            other => other.map(drop),
        }
    }

    /// Parks until `watched`, a descriptor and its events, is ready. For a
    /// caller that has a turn here and, in `other`, a turn of another
    /// descriptor: what happens to either ends the wait.
    #[cold]
    pub fn wait_beside(
        &self,
        watched: (Fd, c_short),
        limits: Limits,
        poller: &mut Poller,
        other: Option<&Beside<'_>>,
    ) -> Result<c_short> {
        let turn = self.held.turn().ok_or(crate::error::PANIC)?;
        self.poll(turn, watched, limits, poller, other)
    }

    /// Polls under `turn`, which the caller has: arm, look, sleep. The order
    /// is why no wake-up is lost (see park/waiter.rs), for each of the two
    /// where there is another descriptor. In line: a fiber that comes back
    /// leaves each call by a return that the processor did not foresee.
    #[inline(always)]
    fn poll(
        &self,
        turn: Turn,
        (fd, events): (Fd, c_short),
        limits: Limits,
        poller: &mut Poller,
        other: Option<&Beside<'_>>,
    ) -> Result<c_short> {
        park::with_waiter(|waiter, id| {
            park::need_event(waiter);
            loop {
                self.show(turn, waiter, id)?;
                if let Some(other) = other {
                    other.show()?;
                }
                let outcome = self.look(limits, waiter).and_then(|look| {
                    let beside = match other {
                        Some(other) => Some((other.look()?, other.waiter)),
                        None => None,
                    };
                    // An error that was taken from the socket makes it ready.
                    if fd == self.fd && self.entry.taken.load(Ordering::Acquire) != 0 {
                        return Ok(Outcome::ERROR);
                    }
                    self.entry.parks.fetch_add(1, Ordering::Relaxed);
                    let place = waiter.is_fiber().then(|| Place {
                        generation: (fd == self.fd).then(|| self.entry.which()),
                        turn: turn as usize,
                        drains: self.entry.kind().drains(),
                        ..Place::default()
                    });
                    look.poll(poller, (fd, events, place), waiter, beside)
                });
                // Both, before anything is said.
                let gone = !self.withdraw(turn, waiter, id);
                if poller.answer.is_some() {
                    // Done, before whatever else has happened.
                    return Ok(events);
                }
                if other.is_some_and(|other| !other.withdraw()) || gone {
                    // ppoll(2) looks the number up whenever it wakes: what it
                    // calls ready may be whoever has the number now.
                    return Err(CLOSED);
                }
                let outcome = outcome?;
                if outcome.ready != 0 {
                    if fd == self.fd && events & libc::POLLIN != 0 {
                        // There is something, and this caller may leave it.
                        self.entry.drained.store(false, Ordering::Relaxed);
                    }
                    return Ok(outcome.ready);
                }
                unless_interrupted(outcome.signal, Sys::Ppoll)?;
            }
        })
    }

    /// Makes the waiter visible under a turn that the caller has.
    #[inline(always)]
    fn show(&self, turn: Turn, waiter: &Waiter, id: u32) -> Result<()> {
        let slot = self.entry.mutex.slot(turn).ok_or(crate::error::PANIC)?;
        waiter.arm(true);
        if let Some(stale) = park::find(slot.put(id)) {
            stale.wake(); // of a descriptor closed behind our back
        }
        Ok(())
    }

    /// Takes the waiter back from where `show` put it. False: the descriptor
    /// is not the caller's any more.
    #[inline(always)]
    fn withdraw(&self, turn: Turn, waiter: &Waiter, id: u32) -> bool {
        let slot = self.entry.mutex.slot(turn);
        if slot.is_none_or(|slot| slot.withdraw(id)) {
            return true;
        }
        waiter.settle();
        self.entry.wakeups.fetch_add(1, Ordering::Relaxed);
        self.entry.mutex.is_open(self.tag)
    }

    /// Waits for a turn in its queue, within `limits`. `other` is another
    /// descriptor that the caller is in, and what limits it there.
    #[cold]
    fn wait_turn(&self, turn: Turn, limits: Limits, other: Option<(&Self, Limits)>) -> Result<()> {
        if self.entry.mutex.try_turn(self.tag, turn) == Attempt::Taken {
            return Ok(());
        }
        park::with_waiter(|waiter, id| {
            if limits.token.is_some() {
                park::need_event(waiter);
            } else {
                park::spare_event(waiter);
            }
            loop {
                waiter.arm(limits.token.is_some());
                let mutex = &self.entry.mutex;
                match mutex.turn_or_queue(self.epoch, self.tag, turn, waiter, id) {
                    Attempt::Taken => return Ok(()),
                    Attempt::Gone => return Err(CLOSED),
                    Attempt::Busy => {}
                }
                let waited = self.queue(limits, waiter, other);
                if !mutex.unqueue(self.epoch, turn, waiter) {
                    waiter.settle();
                    self.entry.wakeups.fetch_add(1, Ordering::Relaxed);
                    if waited.is_err() {
                        mutex.hand_on(self.epoch, turn); // woken for nothing
                    }
                }
                waited?;
            }
        })
    }

    /// Sleeps in a queue, once.
    fn queue(&self, limits: Limits, waiter: &Waiter, other: Option<(&Self, Limits)>) -> Result<()> {
        let look = self.look(limits, waiter)?;
        self.entry.parks.fetch_add(1, Ordering::Relaxed);
        match other {
            Some(other) if limits.token.is_none() => {
                let woken = self.queue_beside(limits, waiter, other)?;
                unless_interrupted(woken == futex::Woken::Signal, Sys::Futex)
            }
            _ => look.nap(waiter),
        }
    }

    /// Sleeps in a queue, once, and looks at both descriptors every now and
    /// then: the other one's destroyer waits for this caller, whom it cannot
    /// wake here. The place in the queue is kept.
    fn queue_beside(
        &self,
        limits: Limits,
        waiter: &Waiter,
        (other, other_limits): (&Self, Limits),
    ) -> Result<futex::Woken> {
        loop {
            other.prepare(other_limits)?;
            let woken = waiter.sleep(time::now().saturating_add(poll::SLICE));
            if woken != futex::Woken::Deadline {
                return Ok(woken);
            }
            self.prepare(limits)?;
        }
    }

    /// Looks, once the waiter is visible, at what could forbid to sleep.
    #[inline(always)]
    fn look(&self, limits: Limits, waiter: &Waiter) -> Result<Look> {
        if !self.entry.mutex.is_open(self.tag) {
            return Err(CLOSED);
        }
        let of_fd = self.entry.cancel.hold();
        let look = Look::new(self.deadline(limits), of_fd, limits.token, waiter)?;
        Ok(look)
    }
}

/// Whether a call is to be made again: at once, or when it is ready. A first
/// send that began the connection (TCP_FASTOPEN_CONNECT) and could not take its
/// data along says EINPROGRESS.
pub fn is_again(error: Error) -> bool {
    error.is(libc::EINTR) || error.is(libc::EAGAIN) || error.is(libc::EINPROGRESS)
}

/// The other descriptor of a caller that is in two: where it has a turn, what
/// limits it there, and the waiter that stands there for it.
#[derive(Clone, Copy, Debug)]
pub struct Beside<'a> {
    call: &'a Call,
    limits: Limits,
    turn: Turn,
    waiter: &'static Waiter,
    id: u32,
}

impl<'a> Beside<'a> {
    /// For a `call` that has a turn.
    pub fn new(call: &'a Call, limits: Limits, second: &park::Second) -> Result<Self> {
        let (waiter, id) = second.waiter();
        let turn = call.held.turn().ok_or(crate::error::PANIC)?;
        Ok(Self {
            call,
            limits,
            turn,
            waiter,
            id,
        })
    }

    fn show(&self) -> Result<()> {
        self.call.show(self.turn, self.waiter, self.id)
    }

    fn look(&self) -> Result<Look> {
        self.call.look(self.limits, self.waiter)
    }

    fn withdraw(&self) -> bool {
        self.call.withdraw(self.turn, self.waiter, self.id)
    }
}
