//! A worker's poller: one epoll set, edge-triggered, for all of its fibers.
//!
//! A descriptor is registered at the first wait for it, once, for both
//! directions, and never taken out: close(2) does that. Its edges are kept
//! until a wait takes them, since they come whoever waits. An event says which
//! descriptor of its number it is of; one of a descriptor that is gone (a copy
//! in another process keeps it registered) is passed over.
//!
//! The set is its worker's alone: nothing in here is shared.

use crate::error::{Error, Result, Sys};
use crate::sys::Fd;
use crate::sys::event::Epoll;
use libc::{c_int, c_short, epoll_event};

/// How many turns a descriptor is waited for under (`fd::word::TURNS`).
const TURNS: usize = 5;

/// How many events are taken at once.
const BATCH: usize = 256;

const INPUT: u8 = 1;
const ROOM: u8 = 2;
/// Something else than data: a hang-up, an error, an urgent mark. There may be
/// more behind what a short read took, without another edge.
const ODD: u8 = 4;

/// What is known of a number.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// Which descriptor of the number it is; 0: none.
    key: u32,
    /// Edges that nobody has taken who waits under the turn: `INPUT`, `ROOM`,
    /// `ODD`. None takes those of another turn.
    ready: [u8; TURNS],
    /// The fibers that wait, plus one, by their turns.
    waiting: [u32; TURNS],
}

/// Who is told of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// A fiber.
    Fiber(u32),
    /// All fibers with the token of this eventfd and serial.
    Token(Fd, u32),
    /// A fiber, whose operation has this answer.
    Answer(u32, c_int),
}

// An event's data: the number, and above it a kind and which one it is.
const KIND: u64 = 3 << 62;
const OF_NUMBER: u64 = 0;
const OF_TOKEN: u64 = 1 << 62;
const OF_WAKER: u64 = 2 << 62;
const ONCE: u64 = 3 << 62;

/// Whether `told` is of the token `serial`: an event has room for a part of it.
pub fn same_token(serial: u32, told: u32) -> bool {
    serial & !(3 << 30) == told
}

/// A worker's set.
#[derive(Debug)]
pub struct Set {
    epoll: Epoll,
    seen: Vec<Seen>,
    events: Vec<epoll_event>,
}

const fn full() -> Error {
    Error::os(libc::ENOMEM, Sys::Malloc)
}

fn bits_of(events: c_short) -> u8 {
    let mut bits = 0;
    if events & libc::POLLIN != 0 {
        bits |= INPUT;
    }
    if events & libc::POLLOUT != 0 {
        bits |= ROOM;
    }
    bits
}

impl Set {
    /// A set in which `waker`, an eventfd, ends a wait.
    pub fn new(waker: Fd) -> Result<Self> {
        let epoll = Epoll::new()?;
        epoll.add(waker, (libc::EPOLLIN | libc::EPOLLET) as u32, OF_WAKER)?;
        let mut events = Vec::new();
        events.try_reserve_exact(BATCH).map_err(|_| full())?;
        events.resize(BATCH, epoll_event { events: 0, u64: 0 });
        Ok(Self {
            epoll,
            seen: Vec::new(),
            events,
        })
    }

    /// The set's own descriptor, which has input while there are events.
    pub fn fd(&self) -> Fd {
        self.epoll.fd()
    }

    /// Sees to it that edges of `fd` are told; `key` is which one it is.
    pub fn watch(&mut self, fd: Fd, key: u32) -> Result<()> {
        let index = fd as usize;
        if let Some(seen) = self.seen.get(index)
            && seen.key == key
        {
            return Ok(());
        }
        if index >= self.seen.len() {
            let more = (index + 1).next_power_of_two() - self.seen.len();
            self.seen.try_reserve_exact(more).map_err(|_| full())?;
            self.seen.resize(self.seen.len() + more, Seen::default());
        }
        const EVENTS: c_int =
            libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLPRI | libc::EPOLLET;
        let data = OF_NUMBER | u64::from(key) << 32 | u64::from(fd.unsigned_abs());
        self.epoll.put(fd, EVENTS as u32, data)?;
        if let Some(seen) = self.seen.get_mut(index) {
            *seen = Seen {
                key,
                ..Seen::default()
            };
        }
        Ok(())
    }

    /// Has the fiber `who` told of edges of `fd`, while it waits under `turn`.
    pub fn begin(&mut self, fd: Fd, turn: usize, who: u32) {
        if let Some(place) = self.place(fd, turn) {
            *place = who + 1;
        }
    }

    /// The wait is over.
    pub fn end(&mut self, fd: Fd, turn: usize) {
        if let Some(place) = self.place(fd, turn) {
            *place = 0;
        }
    }

    fn place(&mut self, fd: Fd, turn: usize) -> Option<&mut u32> {
        self.seen.get_mut(fd as usize)?.waiting.get_mut(turn)
    }

    /// Whether there was an edge for `events` that nobody has taken who waits
    /// under `turn`; it is taken. `tried`: the call has found nothing
    /// since then, so that what was odd is no reason to try again.
    pub fn take(&mut self, fd: Fd, turn: usize, events: c_short, tried: bool) -> bool {
        let Some(seen) = self.seen.get_mut(fd as usize) else {
            return false;
        };
        let Some(edges) = seen.ready.get_mut(turn) else {
            return false;
        };
        if tried {
            *edges &= !ODD;
        }
        let ready = *edges & (bits_of(events) | ODD);
        *edges &= !ready | ODD;
        ready != 0
    }

    /// Has the fiber `who` told, once, that `fd` is ready: a descriptor that
    /// only this wait knows. Another fiber that waits for it has the one place
    /// that there is (`-EEXIST`).
    pub fn watch_once(&mut self, fd: Fd, events: c_short, who: u32) -> Result<()> {
        let events = u32::from(events.unsigned_abs()) | libc::EPOLLONESHOT as u32;
        self.epoll.add(fd, events, ONCE | u64::from(who))
    }

    /// Takes such a one out again.
    pub fn forget(&mut self, fd: Fd) {
        self.epoll.remove(fd);
    }

    /// Sees to it that a token's eventfd is told.
    pub fn watch_token(&mut self, event: Fd, serial: u32) -> Result<()> {
        let data =
            OF_TOKEN | u64::from(serial & !(3 << 30)) << 32 | u64::from(event.unsigned_abs());
        self.epoll
            .put(event, (libc::EPOLLIN | libc::EPOLLET) as u32, data)
    }

    /// Waits for events, at most `timeout` nanoseconds (negative: for ever),
    /// and tells each fiber that waits for one of them. True: there may be more.
    #[allow(
        clippy::cast_possible_truncation,
        reason = "the halves of an event's data are what is meant"
    )]
    pub fn wait(&mut self, timeout: i64, mut tell: impl FnMut(Told)) -> Result<bool> {
        let came = match self.epoll.wait_ns(&mut self.events, timeout) {
            Ok(came) => came,
            Err(error) if error.is(libc::EINTR) => return Ok(false),
            Err(error) => return Err(error),
        };
        for event in came {
            let (data, bits) = (event.u64, event.events as c_int);
            let key = (data >> 32) as u32 & !(3 << 30);
            let low = data as u32;
            match data & KIND {
                OF_NUMBER => {
                    let Some(seen) = self.seen.get_mut(low as usize) else {
                        continue;
                    };
                    if seen.key != key {
                        continue; // of one that is gone
                    }
                    const OTHERS: c_int =
                        libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR | libc::EPOLLPRI;
                    let mut edges = 0;
                    if bits & (libc::EPOLLIN | OTHERS) != 0 {
                        edges |= INPUT;
                    }
                    if bits & (libc::EPOLLOUT | libc::EPOLLHUP | libc::EPOLLERR) != 0 {
                        edges |= ROOM;
                    }
                    if bits & OTHERS != 0 {
                        edges |= ODD;
                    }
                    seen.ready = seen.ready.map(|before| before | edges);
                    let waits_for = [INPUT, ROOM, INPUT, ROOM, INPUT | ROOM];
                    for (who, what) in seen.waiting.iter().zip(waits_for) {
                        if *who != 0 && what & edges != 0 {
                            tell(Told::Fiber(who - 1));
                        }
                    }
                }
                OF_TOKEN => tell(Told::Token(low as Fd, key)),
                ONCE => tell(Told::Fiber(low)),
                _ => {}
            }
        }
        Ok(came.len() == BATCH)
    }
}
