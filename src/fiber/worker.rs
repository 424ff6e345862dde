//! A worker: the thread that runs its fibers, one at a time.
//!
//! What a fiber does from inside (park, wake another fiber of the worker, start
//! one) touches the worker's own state, which no other thread sees. Other
//! threads leave mail, without a lock, and write the worker's eventfd where it
//! sleeps.

mod seats;
mod waits;

use crate::error::Result;
use crate::fiber::foreign::{self, NO_EXCEPTIONS};
use crate::fiber::runtime::{self, Birth, Post};
use crate::fiber::stack::Part;
use crate::fiber::timers::Timers;
use crate::park::{self, Aside, Caller, Waiter};
use crate::poll::epoll::{Set, Told};
use crate::poll::uring::Ring;
use crate::poll::{Outcome, Poller, Watch};
use crate::sync::Ordering;
use crate::sys::futex::Woken;
use crate::sys::{self, process, sanitizer, time};
use core::cell::{Cell, RefCell};
use core::panic::AssertUnwindSafe;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use seats::{BELOW, Fiber, Seat, Seats, State};
use std::panic::catch_unwind;
use waits::Listeners;

/// How many fibers a worker runs, and for how long at most it begins to (20 us),
/// before it looks for events again.
const RUNS: usize = 64;
const ROUNDS: i64 = 20_000;

/// How long a worker rests to which something is refused that it cannot do
/// without: better slow than hot.
const STARVED: core::time::Duration = core::time::Duration::from_millis(1);

type Switch = Yielder<(), ()>;

/// A worker's own state.
struct Local {
    number: u32,
    epoch: u32,
    post: &'static Post,
    set: RefCell<Set>,
    /// Its ring, where it has one.
    ring: RefCell<Option<Ring>>,
    seats: Seats,
    timers: RefCell<Timers>,
    tokens: RefCell<Vec<Listeners>>,
    current: Cell<u32>,
    switch: Cell<*const Switch>,
    /// What sanitizers know of the thread's own stack.
    shown: Cell<sanitizer::Stack>,
}

thread_local! {
    /// The worker that this thread is.
    static LOCAL: Cell<Option<&'static Local>> = const { Cell::new(None) };
}

/// The calling thread's worker, where it is one, in this process.
fn local() -> Option<&'static Local> {
    LOCAL.get().filter(|local| local.epoch == process::epoch())
}

/// Whether the caller is a fiber.
pub fn is_inside() -> bool {
    local().is_some()
}

/// Lets others run.
pub fn yield_now() {
    match local() {
        Some(local) => local.yield_now(),
        None => std::thread::yield_now(),
    }
}

/// Lets others run where the caller, a fiber, has gone on for long without a
/// park. For each call that may park, and each round of a loop in it. Out of
/// line: threads have no use for it.
#[inline(never)]
pub fn let_others_run() {
    if park::is_spent() {
        yield_now();
    }
}

/// Lets others run for `ns` nanoseconds.
pub fn rest(ns: i64) {
    let sleep = || match local() {
        Some(local) => {
            let until = time::now().saturating_add(ns);
            while time::now() < until {
                local.park(until);
            }
        }
        None => std::thread::sleep(core::time::Duration::from_nanos(ns.max(0).unsigned_abs())),
    };
    let told = park::with_waiter(|waiter, _| {
        waiter.since.store(time::recent(), Ordering::Relaxed);
        waiter.aside(Aside::Time, sleep);
        Ok(())
    });
    if told.is_err() {
        sleep(); // no memory to say so
    }
}

/// How fibers sleep, wake and wait.
pub static HOST: park::host::Host = park::host::Host { sleep, wake };
/// Likewise.
pub static BACK: crate::poll::Back = crate::poll::Back { wait };

fn sleep(_: &Waiter, deadline: i64) -> Woken {
    match local() {
        Some(local) => local.sleep(deadline),
        None => Woken::Maybe,
    }
}

fn wake(waiter: &Waiter) {
    let home = waiter.home.load(Ordering::Acquire);
    match local() {
        Some(local) if local.number + 1 == home => {
            local.seats.make_ready(waiter.seat.load(Ordering::Relaxed));
        }
        _ => runtime::mail(waiter),
    }
}

fn wait(watch: &Watch, poller: &mut Poller, waiter: &Waiter) -> Result<Outcome> {
    match local() {
        Some(local) => local.wait(watch, poller, waiter),
        None => Ok(Outcome::default()),
    }
}

/// A worker that has no thread yet.
pub struct Unborn(Box<[Local; 1]>);

// SAFETY: nothing in it belongs to a thread before one is the worker's; the
// pointer in it is NULL.
unsafe impl Send for Unborn {}

impl Unborn {
    /// A worker with what it needs, which may not be to be had.
    pub fn new(number: u32, post: &'static Post) -> Result<Self> {
        let local = Local {
            number,
            epoch: process::epoch(),
            post,
            set: RefCell::new(Set::new(post.event())?),
            ring: RefCell::default(),
            seats: Seats::new(number)?,
            timers: RefCell::default(),
            tokens: RefCell::default(),
            current: Cell::new(0),
            switch: Cell::new(core::ptr::null()),
            shown: Cell::default(),
        };
        crate::pool::boxed_one(local).map(Self)
    }

    /// The life of the worker's thread.
    pub fn live(self) {
        let [local] = Box::leak(self.0);
        LOCAL.set(Some(local));
        park::begin_to_host();
        if runtime::wants_rings()
            && let Ok(ring) = Ring::new()
        {
            local.ring.replace(Some(ring));
            park::begin_to_operate();
        }
        if sanitizer::is_on() {
            local.shown.set(sanitizer::Stack::of_thread());
        }
        loop {
            // A panic is a bug of ours, and no reason for all fibers to stop.
            let _ = catch_unwind(AssertUnwindSafe(|| local.turn()));
        }
    }
}

impl Local {
    /// Runs whoever can run, and looks for what happened meanwhile.
    fn turn(&'static self) {
        self.collect_mail();
        let mut runs = self.run_queue();
        if self.seats.ready() > 0 {
            // Fibers that make each other run: not each round of them has to
            // pay for a look at the poller.
            let begun = time::now();
            while runs < RUNS
                && self.seats.ready() > 0
                && !self.post.mail().has_any()
                && time::now() - begun < ROUNDS
            {
                runs += self.run_queue();
            }
        }
        self.fire_timers();
        let timeout = match self.timers.borrow().first() {
            _ if self.seats.ready() > 0 => 0,
            None => -1,
            Some(when) => (when - time::now()).max(0),
        };
        self.poll(timeout);
    }

    /// Runs whoever is in the queue, once each; how many.
    fn run_queue(&'static self) -> usize {
        let ready = self.seats.ready();
        for _ in 0..ready {
            if let Some(seat) = self.seats.next() {
                self.resume(seat);
            }
        }
        ready
    }

    fn poll(&self, timeout: i64) {
        // Whoever leaves mail from here on writes the eventfd.
        let timeout = if timeout != 0 && self.post.mail().falls_asleep() {
            timeout
        } else {
            0
        };
        let tell = |told| match told {
            Told::Fiber(seat) => self.seats.make_ready(seat),
            Told::Token(event, serial) => self.tell_listeners(event, serial),
            Told::Answer(seat, answer) => {
                self.seats.with(seat, |it| it.answer = Some(answer));
                self.seats.make_ready(seat);
            }
        };
        let mut set = self.set.borrow_mut();
        let waited = match &mut *self.ring.borrow_mut() {
            Some(ring) => ring.wait(&mut set, timeout, tell),
            None => set.wait(timeout, tell).map(drop),
        };
        drop(set);
        self.post.mail().awakes();
        // Never, but for a set that somebody closed, or a kernel without memory.
        if waited.is_err() {
            std::thread::sleep(STARVED);
        }
    }

    /// Runs a fiber until it parks, yields or ends.
    fn resume(&'static self, seat: u32) {
        let taken = self
            .seats
            .with(seat, |it| Some((it.fiber.take()?, it.caller, it.switch)));
        let Some((mut fiber, caller, switch)) = taken.flatten() else {
            return;
        };
        self.current.set(seat);
        self.switch.set(switch);
        self.post.has_switched();
        let before = park::change_caller(caller);
        let result = if sanitizer::is_on() {
            self.resume_shown(seat, &mut fiber)
        } else {
            fiber.resume(())
        };
        let caller = park::change_caller(before);
        if let CoroutineResult::Yield(()) = result {
            self.seats.with(seat, |it| {
                it.fiber = Some(fiber);
                it.caller = caller;
            });
            return;
        }
        drop(fiber);
        let stack = self.seats.with(seat, |it| {
            it.state = State::Free;
            it.stack.take()
        });
        drop(stack);
        park::give_back(caller.waiter);
        park::end_notes(caller.notes);
        self.seats.give_back(seat);
        self.post.has_ended();
    }

    /// As `Coroutine::resume`, before the eyes of a sanitizer.
    #[cold]
    fn resume_shown(&self, seat: u32, fiber: &mut Fiber) -> CoroutineResult<(), ()> {
        let shown = || self.seats.with(seat, |it| it.shown).unwrap_or_default();
        let kept = shown().leave_for();
        let result = fiber.resume(());
        sanitizer::arrive(kept);
        if let CoroutineResult::Return(()) = result {
            shown().end();
        }
        result
    }

    /// As `Yielder::suspend`, likewise.
    #[cold]
    fn suspend_shown(&self, switch: &Switch) {
        let kept = self.shown.get().leave_for();
        switch.suspend(());
        sanitizer::arrive(kept);
    }

    /// Parks the current fiber, at most until `deadline` (0: no limit).
    #[inline(always)]
    fn park(&self, deadline: i64) {
        let seat = self.current.get();
        let mark = 0_u8;
        let near = (&raw const mark).addr().saturating_sub(BELOW);
        let armed = self.seats.with(seat, |it| {
            it.near = near;
            it.state = State::Parked;
            it.deadline = deadline;
            if deadline == 0 || (it.timer != 0 && it.timer <= deadline) {
                return Ok(());
            }
            let put = self.timers.borrow_mut().put(deadline, seat);
            put.inspect(|()| it.timer = deadline)
        });
        if let Some(Err(_)) = armed {
            self.seats.make_ready(seat); // no memory for a timer: it comes back at once
        }
        self.suspend();
    }

    /// As `park`; says whether the time is over.
    fn sleep(&self, deadline: i64) -> Woken {
        self.park(deadline);
        if deadline != 0 && time::now() >= deadline {
            Woken::Deadline
        } else {
            Woken::Maybe
        }
    }

    fn yield_now(&self) {
        let seat = self.current.get();
        self.seats.put_last(seat);
        self.suspend();
    }

    /// Lets the worker run others. errno and the C++ exceptions in flight are
    /// the fiber's, and there again afterwards.
    #[inline(always)]
    fn suspend(&self) {
        let errno = sys::errno();
        let exceptions = foreign::exceptions();
        let switch = self.switch.get();
        // SAFETY: it is the current fiber's, and on its stack while that runs.
        let switch = unsafe { &*switch };
        if sanitizer::is_on() {
            self.suspend_shown(switch);
        } else {
            switch.suspend(());
        }
        foreign::set_exceptions(exceptions);
        sys::set_errno(errno);
    }

    fn fire_timers(&self) {
        if self.timers.borrow().first().is_none() {
            return;
        }
        let now = time::now();
        loop {
            let Some((when, seat)) = self.timers.borrow_mut().due(now) else {
                break;
            };
            let again = self.seats.with(seat, |it| {
                if it.timer != when {
                    return None; // another one is its entry
                }
                it.timer = 0;
                let waits = it.state == State::Parked && it.deadline != 0;
                waits.then_some(it.deadline)
            });
            match again.flatten() {
                Some(deadline) if deadline > now => {
                    if self.timers.borrow_mut().put(deadline, seat).is_ok() {
                        self.seats.with(seat, |it| it.timer = deadline);
                    } else {
                        self.seats.make_ready(seat);
                    }
                }
                Some(_) => self.seats.make_ready(seat),
                None => {}
            }
        }
        // Deadlines that were moved forward leave entries behind.
        let mut timers = self.timers.borrow_mut();
        if timers.len() > 64 + 2 * self.seats.len() {
            timers.keep(|when, seat| self.seats.with(seat, |it| it.timer == when) == Some(true));
        }
    }

    fn collect_mail(&'static self) {
        let mut starves = false;
        self.post.collect(|mail| match mail {
            runtime::Mail::Wake(waiter) => {
                if waiter.home.load(Ordering::Acquire) == self.number + 1 {
                    self.seats.make_ready(waiter.seat.load(Ordering::Relaxed));
                } else {
                    runtime::mail(waiter); // another one's by now
                }
            }
            runtime::Mail::Birth(birth) => {
                if let Err(birth) = self.bear(birth) {
                    runtime::post_again(self.post, birth); // until there is memory
                    starves = true;
                }
            }
        });
        if starves && self.seats.ready() == 0 {
            std::thread::sleep(STARVED);
        }
    }

    /// Gives a new fiber its seat, and puts it into the queue.
    pub fn bear(&'static self, birth: Birth) -> core::result::Result<(), Birth> {
        let Some(seat) = self.seats.take_free() else {
            return Err(birth);
        };
        let Birth {
            body,
            arg,
            stack,
            waiter,
        } = birth;
        let Some(part) = Part::new(&stack) else {
            return Ok(());
        };
        let (bottom, size) = part.bounds();
        let shown = if sanitizer::is_on() {
            sanitizer::Stack::new(bottom, size)
        } else {
            sanitizer::Stack::default()
        };
        let fiber = Coroutine::with_stack(part, move |switch: &Switch, ()| {
            if sanitizer::is_on() {
                self.shown.set(self.shown.get().at(sanitizer::arrive(0)));
            }
            self.switch.set(switch);
            self.seats.with(seat, |it| it.switch = switch);
            foreign::set_exceptions(NO_EXCEPTIONS);
            // SAFETY: whoever started the fiber promised that the function may
            // be called with this.
            unsafe { body(arg) };
            if process::epoch() != self.epoch {
                process::exit_now(); // the child of a fork(2), which has no worker
            }
            if sanitizer::is_on() {
                let kept = self.shown.get().leave_for();
                self.seats.with(seat, |it| it.shown = it.shown.kept(kept));
            }
        });
        if let Some(waiter) = park::find(waiter) {
            waiter.seat.store(seat, Ordering::Relaxed);
        }
        self.seats.with(seat, |it| {
            *it = Seat {
                fiber: Some(fiber),
                stack: Some(stack),
                lowest: bottom,
                shown,
                caller: Caller { waiter, notes: 0 },
                timer: it.timer,
                ..Seat::default()
            }
        });
        self.seats.put_last(seat);
        Ok(())
    }
}

/// The number of the calling fiber's worker.
pub fn number() -> Option<u32> {
    local().map(|local| local.number)
}

/// Starts a fiber on the caller's own worker.
pub fn bear(birth: Birth) -> core::result::Result<(), Birth> {
    match local() {
        Some(local) => local.bear(birth),
        None => Err(birth),
    }
}
