//! When is it ready: how a parked caller waits.
//!
//! The contract. A back end waits until one of these, at most for a time:
//!
//! - the descriptor is ready for what was asked, has an error or a hang-up,
//! - the waiter's eventfd was written: somebody changed what the caller must
//!   look at,
//! - the token's eventfd was written: it has fired,
//! - a signal handler ran.
//!
//! It may return for no reason at all. It is level-triggered until it has said
//! "ready" twice and the call said EAGAIN both times; from then on it tells
//! edges, and the caller tries once more after each. Where room is waited for
//! and edges lead nowhere either (a unixgram send to a full receiver makes one
//! by each attempt, and is told of none when another's message is read), it
//! says "ready" once a millisecond. It knows descriptors and events, and no
//! sockets.
//!
//! Where the caller says what it is going to do (an operation), a back end may
//! do that in its place, and leaves the answer. Whatever else ended the wait,
//! there is then an answer or nothing was done.

mod edges;
pub mod epoll;
mod ppoll;
pub mod uring;

use crate::error::Result;
use crate::park::Waiter;
use crate::sys::uring::Operation;
use crate::sys::{Fd, event};
use edges::Edges;
use libc::{c_int, c_short};
use once_cell::race::OnceRef;

/// How long a caller sleeps at a time whom something cannot wake, for lack of an
/// eventfd, say: 10 ms.
pub const SLICE: i64 = 10_000_000;

/// How long a caller rests that edges called for nothing: 1 ms.
const REST: i64 = 1_000_000;

/// What a caller waits for. A descriptor of -1 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch {
    fd: Fd,
    events: c_short,
    /// The eventfds of its waiters and of its tokens: two of each for a call
    /// in two descriptors.
    others: [Fd; 4],
    count: usize,
    /// An eventfd is missing: no descriptor was to be had for it.
    blind: bool,
    /// What a fiber's poller has to know besides; a thread's has no use for it.
    pub place: Option<Place>,
}

/// Where a caller waits: for pollers that remember descriptors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Which descriptor of its number it is; `None`: one that only this wait
    /// knows.
    pub generation: Option<u32>,
    /// The turn under which it is waited for, by its number.
    pub turn: usize,
    /// A read that took less than it asked for has taken all: it is TCP.
    pub drains: bool,
    /// Until when; 0: no limit.
    pub until: i64,
    /// The tokens: which each of its eventfds is.
    pub tokens: [u32; 4],
}

/// How a fiber waits: by its worker's poller, with its waiter.
#[derive(Debug)]
pub struct Back {
    /// Waits once.
    pub wait: fn(&Watch, &mut Poller, &Waiter) -> Result<Outcome>,
}

static BACK: OnceRef<'static, Back> = OnceRef::new();

/// Says how fibers wait; once is enough.
pub fn set_back(back: &'static Back) {
    let _ = BACK.set(back);
}

impl Watch {
    /// Waits for `events` of `fd`: `POLLIN` and so on.
    pub const fn new(fd: Fd, events: c_short) -> Self {
        Self {
            fd,
            events,
            others: [-1; 4],
            count: 0,
            blind: false,
            place: None,
        }
    }

    /// The descriptor; -1: none.
    pub fn fd(&self) -> Fd {
        self.fd
    }

    /// For what.
    pub fn events(&self) -> c_short {
        self.events
    }

    /// Whether something is missing that would wake it.
    pub fn is_blind(&self) -> bool {
        self.blind
    }

    /// As `add`, of a token's eventfd: which token's it is.
    pub fn add_token(&mut self, event: Option<Fd>, serial: u32) {
        let count = self.count;
        if let Some(place) = &mut self.place
            && let Some(place) = place.tokens.get_mut(count)
        {
            *place = serial;
        }
        self.add(event);
    }

    /// The tokens' eventfds, and whose they are.
    pub fn tokens(&self) -> impl Iterator<Item = (Fd, u32)> {
        let serials = self.place.map_or([0; 4], |place| place.tokens);
        let all = self.others().iter().copied().zip(serials);
        all.filter(|(_, serial)| *serial != 0)
    }

    /// Waits for an eventfd as well. `None`: there should be one.
    pub fn add(&mut self, event: Option<Fd>) {
        match (event, self.others.get_mut(self.count)) {
            (Some(event), Some(place)) => {
                *place = event;
                self.count += 1;
            }
            _ => self.blind = true,
        }
    }

    fn others(&self) -> &[Fd] {
        self.others.get(..self.count).unwrap_or_default()
    }
}

/// What ended a wait. All false and 0: the time, or nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What the descriptor is ready for.
    pub ready: c_short,
    /// One of the eventfds is readable.
    pub other: bool,
    /// A signal handler ran.
    pub signal: bool,
}

impl Outcome {
    /// The descriptor is ready for `events`, if there are any.
    pub const fn ready(events: c_short) -> Self {
        Self {
            ready: events,
            other: false,
            signal: false,
        }
    }

    /// The descriptor has an error.
    pub const ERROR: Self = Self {
        ready: libc::POLLERR,
        other: false,
        signal: false,
    };
    const SIGNAL: Self = Self {
        ready: 0,
        other: false,
        signal: true,
    };
}

/// The waits of one call.
#[derive(Debug, Default)]
pub struct Poller {
    misses: u32,
    edges: Option<Edges>,
    /// The call was tried before it waited, and found nothing.
    tried: bool,
    /// Whoever waits wants to know for what the descriptor is ready.
    exact: bool,
    /// Others may have seen what happened since it was tried: for one look.
    late: bool,
    /// What the caller is going to do once it is ready.
    pub operation: Option<Operation>,
    /// What a back end was told that did it.
    pub answer: Option<c_int>,
}

impl Poller {
    /// Says that the call found nothing though the descriptor was ready.
    pub fn missed(&mut self) {
        self.misses = self.misses.saturating_add(1);
        self.tried = true;
    }

    /// Says that the call found nothing before it waited.
    pub fn tried(&mut self) {
        self.tried = true;
    }

    /// Whether the call was tried since the wait before, or before the first.
    pub fn was_tried(&self) -> bool {
        self.tried
    }

    /// Says that another one may have polled since the call was tried, and have
    /// left what he was told of.
    pub fn comes_late(&mut self) {
        self.late = true;
    }

    /// Whether that was said since this was asked.
    pub fn is_late(&mut self) -> bool {
        core::mem::take(&mut self.late)
    }

    /// Whether readiness was seen to stand and to mean nothing.
    pub fn readiness_misleads(&self) -> bool {
        self.misses >= 2
    }

    /// Whether what the descriptor is ready for has to be known.
    pub fn is_exact(&self) -> bool {
        self.exact
    }

    /// Whether edges for `events` lead nowhere: see above, on unixgram.
    pub fn is_in_vain(&self, events: c_short) -> bool {
        self.misses > 3 && events == libc::POLLOUT
    }

    /// A poller for whoever is going to do this.
    pub fn doing(operation: Option<Operation>) -> Self {
        Self {
            operation,
            ..Self::default()
        }
    }

    /// A poller for whoever wants to know for what the descriptor is ready.
    pub fn exact() -> Self {
        Self {
            exact: true,
            ..Self::default()
        }
    }

    /// Waits, at most `timeout` nanoseconds (negative: for ever).
    #[inline]
    pub fn wait(&mut self, watch: &Watch, timeout: i64, waiter: &Waiter) -> Result<Outcome> {
        if waiter.is_fiber()
            && let Some(back) = BACK.get()
        {
            return (back.wait)(watch, self, waiter);
        }
        self.wait_here(*watch, timeout)
    }

    /// As a thread. Out of line, so that what it needs of a stack is no part of
    /// a fiber's.
    #[inline(never)]
    fn wait_here(&mut self, watch: Watch, timeout: i64) -> Result<Outcome> {
        let cut = if watch.blind {
            slice_of(timeout)
        } else {
            timeout
        };
        if self.misses < 2 || watch.fd < 0 {
            return ppoll::wait(watch, cut);
        }
        self.wait_for_edges(watch, cut)
    }

    #[cold]
    fn wait_for_edges(&mut self, watch: Watch, cut: i64) -> Result<Outcome> {
        if self.is_in_vain(watch.events) {
            return again(watch, if cut < 0 { REST } else { cut.min(REST) });
        }
        if self.edges.as_ref().is_none_or(|edges| !edges.watch(watch)) {
            self.edges = Edges::new(watch).ok();
        }
        match &self.edges {
            Some(edges) => edges.wait(cut),
            // No descriptor for a set of its own: look again in a while.
            None => again(watch, slice_of(cut)),
        }
    }
}

/// Looks, without waiting, for which of `events` a descriptor is ready.
pub fn now(fd: Fd, events: c_short) -> Result<c_short> {
    let mut set = [event::interest(fd, events)];
    // A signal interrupts it, though it does not wait.
    while let Err(error) = event::ppoll(&mut set, 0) {
        if !error.is(libc::EINTR) {
            return Err(error);
        }
    }
    let [polled] = set;
    Ok(polled.revents)
}

/// Waits for the eventfds only, and then has the caller try.
fn again(watch: Watch, timeout: i64) -> Result<Outcome> {
    let others = Watch { fd: -1, ..watch };
    let mut outcome = ppoll::wait(others, timeout)?;
    if !outcome.other && !outcome.signal {
        outcome.ready = watch.events;
    }
    Ok(outcome)
}

fn slice_of(timeout: i64) -> i64 {
    if timeout < 0 {
        SLICE
    } else {
        timeout.min(SLICE)
    }
}
