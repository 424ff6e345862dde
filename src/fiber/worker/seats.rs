//! The seats of a worker's fibers, and the queue of those that can run.

use super::Switch;
use crate::error::{Error, Result, Sys};
use crate::fiber::debug::{Layout, Table};
use crate::fiber::runtime;
use crate::fiber::stack::{Part, Stack};
use crate::park::Caller;
use crate::sys::{memory, sanitizer};
use core::cell::RefCell;
use core::mem::offset_of;
use corosensei::Coroutine;
use libc::c_int;
use std::collections::VecDeque;

/// How many bytes a switch goes below the frame that parks, and how many cache
/// lines the frames take from there to the handler's own, about.
pub const BELOW: usize = 128;
const FRAMES: usize = 24;

/// How many seats a worker has room for from the beginning.
const FIRST: usize = 64;

/// A fiber that does not run.
pub type Fiber = Coroutine<(), (), (), Part>;

/// What a fiber is at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// There is none.
    #[default]
    Free,
    /// It runs, or is in the queue.
    Ready,
    /// It sleeps until somebody wakes it.
    Parked,
}

/// A fiber's seat at its worker.
pub struct Seat {
    pub state: State,
    /// The fiber, while it does not run.
    pub fiber: Option<Fiber>,
    /// Its way out, once it has begun.
    pub switch: *const Switch,
    pub stack: Option<Stack>,
    /// Its lowest byte, for debuggers.
    pub lowest: usize,
    /// What sanitizers know of it.
    pub shown: sanitizer::Stack,
    pub caller: Caller,
    /// Until when it is parked; 0: no limit.
    pub deadline: i64,
    /// Where its stack stood when it parked; 0: it has not yet.
    pub near: usize,
    /// Its entry among the timers; 0: none.
    pub timer: i64,
    /// The tokens in whose lists it stands.
    pub tokens: [u32; 3],
    /// What the ring has said of its operation.
    pub answer: Option<c_int>,
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

impl Default for Seat {
    fn default() -> Self {
        Self {
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
        }
    }
}

/// All seats of a worker.
pub struct Seats {
    worker: u32,
    all: RefCell<Vec<Seat>>,
    free: RefCell<Vec<u32>>,
    /// Who can run, in their order. It has room for all.
    queue: RefCell<VecDeque<u32>>,
}

impl Seats {
    /// None yet, of the worker of this number, with room for the first: so
    /// that they need no memory that only the worker could find missing, when
    /// whoever started them has been told that they run.
    pub fn new(worker: u32) -> Result<Self> {
        let full = |_| Error::os(libc::ENOMEM, Sys::Malloc);
        let (mut all, mut free, mut queue) = (Vec::new(), Vec::new(), VecDeque::new());
        all.try_reserve(FIRST).map_err(full)?;
        free.try_reserve(FIRST).map_err(full)?;
        queue.try_reserve(FIRST).map_err(full)?;
        Ok(Self {
            worker,
            all: RefCell::new(all),
            free: RefCell::new(free),
            queue: RefCell::new(queue),
        })
    }

    /// How many there are, the free ones included.
    pub fn len(&self) -> usize {
        self.all.borrow().len()
    }

    /// How many fibers can run.
    pub fn ready(&self) -> usize {
        self.queue.borrow().len()
    }

    /// Looks at a seat, or changes it.
    pub fn with<T>(&self, seat: u32, look: impl FnOnce(&mut Seat) -> T) -> Option<T> {
        self.all.borrow_mut().get_mut(seat as usize).map(look)
    }

    /// The fiber that is to run next, out of the queue.
    #[inline(always)]
    pub fn next(&self) -> Option<u32> {
        let mut queue = self.queue.borrow_mut();
        let (next, after) = (queue.pop_front(), queue.front().copied());
        if let Some(after) = after {
            self.prefetch(after);
        }
        next
    }

    /// Has the processor fetch what a fiber touches first, while another one
    /// runs: of many fibers it is in no near cache any more.
    #[inline(always)]
    fn prefetch(&self, seat: u32) {
        if let Some(it) = self.all.borrow().get(seat as usize)
            && it.near != 0
        {
            memory::prefetch(it.near, FRAMES);
            memory::prefetch(it.switch.addr(), 1);
        }
    }

    /// Puts a fiber into the queue that is parked.
    pub fn make_ready(&self, seat: u32) {
        let was_parked = self.with(seat, |it| {
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

    /// Puts a fiber into the queue that runs, or that is new.
    pub fn put_last(&self, seat: u32) {
        self.with(seat, |it| it.state = State::Ready);
        self.queue.borrow_mut().push_back(seat);
    }

    /// A seat that is free, with room for its fiber in the queue. `None`: no
    /// memory.
    pub fn take_free(&self) -> Option<u32> {
        if let Some(seat) = self.free.borrow_mut().pop() {
            return Some(seat);
        }
        let mut seats = self.all.borrow_mut();
        let seat = u32::try_from(seats.len()).ok()?;
        seats.try_reserve(1).ok()?;
        let all = seats.len() + 1;
        let room = |len: usize| all.saturating_sub(len);
        let (mut free, mut queue) = (self.free.borrow_mut(), self.queue.borrow_mut());
        let more = room(free.len());
        free.try_reserve(more).ok()?;
        let more = room(queue.len());
        queue.try_reserve(more).ok()?;
        seats.push(Seat::default());
        TABLE.show(self.worker, &seats);
        Some(seat)
    }

    /// The seat is free again.
    pub fn give_back(&self, seat: u32) {
        self.free.borrow_mut().push(seat);
    }
}
