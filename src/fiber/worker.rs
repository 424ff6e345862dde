//! A worker: the thread that runs its fibers, one at a time.
//!
//! What a fiber does from inside (park, wake another fiber of the worker, start
//! one) touches the worker's own state, which no other thread sees. Other
//! threads leave mail, without a lock, and write the worker's eventfd where it
//! sleeps.

use crate::error::{Error, Result, Sys};
use crate::fiber::debug::{Layout, Table};
use crate::fiber::foreign::{self, NO_EXCEPTIONS};
use crate::fiber::handover::{self, Carried, Carrier};
use crate::fiber::runtime::{self, Birth, Post};
use crate::fiber::stack::{Part, Stack};
use crate::fiber::timers::Timers;
use crate::park::{self, Aside, Caller, Waiter};
use crate::poll::epoll::{Set, Told};
use crate::poll::uring::Ring;
use crate::poll::{Outcome, Poller, SLICE, Watch};
use crate::sync::Ordering;
use crate::sys::futex::Woken;
use crate::sys::uring::Operation;
use crate::sys::{self, Fd, memory, process, sanitizer, time};
use core::cell::{Cell, RefCell};
use core::mem::offset_of;
use core::panic::AssertUnwindSafe;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use libc::{c_int, c_short};
use std::collections::VecDeque;
use std::panic::catch_unwind;

/// How long a caller rests that edges called for nothing: 1 ms.
const REST: i64 = 1_000_000;

/// How many fibers a worker runs, and for how long at most it begins to (20 us),
/// before it looks for events again.
const RUNS: usize = 64;
const ROUNDS: i64 = 20_000;

/// How many bytes a switch goes below the frame that parks, and how many cache
/// lines the frames take from there to the handler's own, about.
const BELOW: usize = 128;
const FRAMES: usize = 24;

type Switch = Yielder<(), ()>;
type Fiber = Coroutine<(), (), (), Part>;

/// What a fiber is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum State {
    /// There is none.
    Free,
    /// It runs, or is in the queue.
    Ready,
    /// It sleeps until somebody wakes it.
    Parked,
}

/// A fiber's seat at its worker.
struct Seat {
    state: State,
    /// The fiber, while it does not run.
    fiber: Option<Fiber>,
    /// Its way out, once it has begun.
    switch: *const Switch,
    stack: Option<Stack>,
    /// Its lowest byte, for debuggers.
    lowest: usize,
    /// What sanitizers know of it.
    shown: sanitizer::Stack,
    caller: Caller,
    /// Until when it is parked; 0: no limit.
    deadline: i64,
    /// Where its stack stood when it parked; 0: it has not yet.
    near: usize,
    /// Its entry among the timers; 0: none.
    timer: i64,
    /// The tokens in whose lists it stands.
    tokens: [u32; 3],
    /// What the ring has said of its operation.
    answer: Option<c_int>,
}

/// Where a debugger finds the seats.
#[used]
// SAFETY: a section of its own, with a name that means nothing to linkers.
#[unsafe(link_section = ".netfd_fibers")]
static TABLE: Table<{ runtime::WORKERS_MAX as usize }> = Table::new(Layout {
    size: size_of::<Seat>(),
    state: offset_of!(Seat, state),
    parked: State::Parked as usize,
    fiber: offset_of!(Seat, fiber),
    fiber_size: size_of::<Option<Fiber>>(),
    lowest: offset_of!(Seat, lowest),
    highest: offset_of!(Seat, switch),
});

/// The fibers that once parked with a token, in the place of its eventfd: all
/// are told when it fires.
#[derive(Default)]
struct Listeners {
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
        let taken = self.local.with_seat(self.seat, |it| it.answer.take());
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

/// A worker's own state.
struct Local {
    number: u32,
    epoch: u32,
    post: &'static Post,
    set: RefCell<Set>,
    /// Its ring, where it has one.
    ring: RefCell<Option<Ring>>,
    seats: RefCell<Vec<Seat>>,
    free: RefCell<Vec<u32>>,
    queue: RefCell<VecDeque<u32>>,
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
            local.make_ready(waiter.seat.load(Ordering::Relaxed));
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
            seats: RefCell::default(),
            free: RefCell::default(),
            queue: RefCell::default(),
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
        if !self.queue.borrow().is_empty() {
            // Fibers that make each other run: not each round of them has to
            // pay for a look at the poller.
            let begun = time::now();
            while runs < RUNS
                && !self.queue.borrow().is_empty()
                && !self.post.mail().has_any()
                && time::now() - begun < ROUNDS
            {
                runs += self.run_queue();
            }
        }
        self.fire_timers();
        let timeout = match self.timers.borrow().first() {
            _ if !self.queue.borrow().is_empty() => 0,
            None => -1,
            Some(when) => (when - time::now()).max(0),
        };
        self.poll(timeout);
    }

    /// Runs whoever is in the queue, once each; how many.
    fn run_queue(&'static self) -> usize {
        let ready = self.queue.borrow().len();
        for _ in 0..ready {
            let mut queue = self.queue.borrow_mut();
            let (next, after) = (queue.pop_front(), queue.front().copied());
            drop(queue);
            if let Some(after) = after {
                self.prefetch(after);
            }
            if let Some(seat) = next {
                self.resume(seat);
            }
        }
        ready
    }

    /// Has the processor fetch what a fiber touches first, while another one
    /// runs: of many fibers it is in no near cache any more.
    #[inline(always)]
    fn prefetch(&self, seat: u32) {
        if let Some(it) = self.seats.borrow().get(seat as usize)
            && it.near != 0
        {
            memory::prefetch(it.near, FRAMES);
            memory::prefetch(it.switch.addr(), 1);
        }
    }

    fn poll(&self, timeout: i64) {
        // Whoever leaves mail from here on writes the eventfd.
        let timeout = if timeout != 0 && self.post.mail().falls_asleep() {
            timeout
        } else {
            0
        };
        let tell = |told| match told {
            Told::Fiber(seat) => self.make_ready(seat),
            Told::Token(event, serial) => self.tell_listeners(event, serial),
            Told::Answer(seat, answer) => {
                self.with_seat(seat, |it| it.answer = Some(answer));
                self.make_ready(seat);
            }
        };
        let mut set = self.set.borrow_mut();
        let waited = match &mut *self.ring.borrow_mut() {
            Some(ring) => ring.wait(&mut set, timeout, tell),
            None => set.wait(timeout, tell).map(drop),
        };
        drop(set);
        self.post.mail().awakes();
        // Never, but for a set that somebody closed, or a kernel without memory:
        // better slow than hot.
        if waited.is_err() {
            std::thread::sleep(core::time::Duration::from_millis(1));
        }
    }

    /// Runs a fiber until it parks, yields or ends.
    fn resume(&'static self, seat: u32) {
        let taken = self.with_seat(seat, |it| Some((it.fiber.take()?, it.caller, it.switch)));
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
            self.with_seat(seat, |it| {
                it.fiber = Some(fiber);
                it.caller = caller;
            });
            return;
        }
        drop(fiber);
        let stack = self.with_seat(seat, |it| {
            it.state = State::Free;
            it.stack.take()
        });
        drop(stack);
        park::give_back(caller.waiter);
        park::end_notes(caller.notes);
        self.free.borrow_mut().push(seat);
        self.post.has_ended();
    }

    /// As `Coroutine::resume`, before the eyes of a sanitizer.
    #[cold]
    fn resume_shown(&self, seat: u32, fiber: &mut Fiber) -> CoroutineResult<(), ()> {
        let shown = self.with_seat(seat, |it| it.shown).unwrap_or_default();
        let kept = shown.leave_for();
        let result = fiber.resume(());
        sanitizer::arrive(kept);
        if let CoroutineResult::Return(()) = result {
            shown.end();
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

    fn with_seat<T>(&self, seat: u32, look: impl FnOnce(&mut Seat) -> T) -> Option<T> {
        self.seats.borrow_mut().get_mut(seat as usize).map(look)
    }

    /// Puts a fiber into the queue that is parked.
    fn make_ready(&self, seat: u32) {
        let was_parked = self.with_seat(seat, |it| {
            let was_parked = it.state == State::Parked;
            if was_parked {
                it.state = State::Ready;
            }
            was_parked
        });
        if was_parked == Some(true) {
            self.queue.borrow_mut().push_back(seat);
        }
    }

    /// Parks the current fiber, at most until `deadline` (0: no limit).
    #[inline(always)]
    fn park(&self, deadline: i64) {
        let seat = self.current.get();
        let mark = 0_u8;
        let near = (&raw const mark).addr().saturating_sub(BELOW);
        let armed = self.with_seat(seat, |it| {
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
            self.make_ready(seat); // no memory for a timer: it comes back at once
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
        self.with_seat(seat, |it| it.state = State::Ready);
        self.queue.borrow_mut().push_back(seat);
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
            let again = self.with_seat(seat, |it| {
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
                        self.with_seat(seat, |it| it.timer = deadline);
                    } else {
                        self.make_ready(seat);
                    }
                }
                Some(_) => self.make_ready(seat),
                None => {}
            }
        }
        // Deadlines that were moved forward leave entries behind.
        let seats = self.seats.borrow();
        let mut timers = self.timers.borrow_mut();
        if timers.len() > 64 + 2 * seats.len() {
            timers.keep(|when, seat| seats.get(seat as usize).is_some_and(|it| it.timer == when));
        }
    }

    /// Waits for a descriptor, a token, a wake-up or a deadline.
    #[inline(always)]
    fn wait(&self, watch: &Watch, poller: &mut Poller, waiter: &Waiter) -> Result<Outcome> {
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
            let knows = self.with_seat(seat, |it| it.tokens.contains(&serial));
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
            let seats = self.seats.borrow();
            these.seats.retain(|seat| {
                let its = seats.get(*seat as usize);
                its.is_some_and(|it| it.tokens.contains(&serial))
            });
        }
        these.seats.try_reserve(1).map_err(full)?;
        these.seats.push(seat);
        self.with_seat(seat, |it| {
            it.tokens.rotate_right(1);
            it.tokens[0] = serial;
        });
        Ok(())
    }

    fn tell_listeners(&self, event: Fd, serial: u32) {
        let tokens = self.tokens.borrow();
        let Some(these) = tokens.get(event as usize) else {
            return;
        };
        if crate::poll::epoll::same_token(these.serial, serial) {
            for seat in &these.seats {
                self.make_ready(*seat);
            }
        }
    }

    fn collect_mail(&'static self) {
        self.post.collect(|mail| match mail {
            runtime::Mail::Wake(waiter) => {
                if waiter.home.load(Ordering::Acquire) == self.number + 1 {
                    self.make_ready(waiter.seat.load(Ordering::Relaxed));
                } else {
                    runtime::mail(waiter); // another one's by now
                }
            }
            runtime::Mail::Birth(birth) => {
                if let Err(birth) = self.bear(birth) {
                    runtime::post_again(self.post, birth); // until there is memory
                }
            }
        });
    }

    /// Gives a new fiber its seat, and puts it into the queue.
    pub fn bear(&'static self, birth: Birth) -> core::result::Result<(), Birth> {
        let Some(seat) = self.free_seat() else {
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
            self.with_seat(seat, |it| it.switch = switch);
            foreign::set_exceptions(NO_EXCEPTIONS);
            // SAFETY: whoever started the fiber promised that the function may
            // be called with this.
            unsafe { body(arg) };
            if process::epoch() != self.epoch {
                process::exit_now(); // the child of a fork(2), which has no worker
            }
            if sanitizer::is_on() {
                self.shown.get().leave_for_good_for();
            }
        });
        if let Some(waiter) = park::find(waiter) {
            waiter.seat.store(seat, Ordering::Relaxed);
        }
        self.with_seat(seat, |it| {
            *it = Seat {
                state: State::Ready,
                fiber: Some(fiber),
                switch: core::ptr::null(),
                stack: Some(stack),
                lowest: bottom,
                shown,
                caller: Caller { waiter, notes: 0 },
                deadline: 0,
                near: 0,
                timer: it.timer,
                tokens: [0; 3],
                answer: None,
            }
        });
        self.queue.borrow_mut().push_back(seat);
        Ok(())
    }

    /// A seat that is free, with room for its fiber in the queue. `None`: no
    /// memory.
    fn free_seat(&self) -> Option<u32> {
        if let Some(seat) = self.free.borrow_mut().pop() {
            return Some(seat);
        }
        let mut seats = self.seats.borrow_mut();
        let seat = u32::try_from(seats.len()).ok()?;
        seats.try_reserve(1).ok()?;
        let all = seats.len() + 1;
        let room = |len: usize| all.saturating_sub(len);
        let (mut free, mut queue) = (self.free.borrow_mut(), self.queue.borrow_mut());
        let more = room(free.len());
        free.try_reserve(more).ok()?;
        let more = room(queue.len());
        queue.try_reserve(more).ok()?;
        seats.push(Seat {
            state: State::Free,
            fiber: None,
            switch: core::ptr::null(),
            stack: None,
            lowest: 0,
            shown: sanitizer::Stack::default(),
            caller: Caller::default(),
            deadline: 0,
            near: 0,
            timer: 0,
            tokens: [0; 3],
            answer: None,
        });
        TABLE.show(self.number, &seats);
        Some(seat)
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
