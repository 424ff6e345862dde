//! A call in two descriptors: it has the turn to read one and the turn to
//! write the other for its whole length.
//!
//! Both are entered at the very beginning, so that it reaches what the numbers
//! meant then and nothing else. Turns are taken in one order, the reader's
//! first, and nobody who has a writer's turn waits for a reader's: two of
//! these cannot wait for each other.
//!
//! Whatever happens to either descriptor ends its waits, whichever it waits
//! for: destroy, detach, a deadline, a token. While it polls, a waiter of its
//! own stands in each of the two; while it queues it looks at the other one
//! every now and then.

use crate::error::{CANCELED, CLOSED, DEADLINE, Error, Result};
use crate::fd::desc::{Beside, Call, is_again};
use crate::fd::limits::{Limits, Side};
use crate::fd::table;
use crate::fd::word::{State, Tag};
use crate::park::Second;
use crate::poll::Poller;
use crate::sys::process::{self, Quiet};
use crate::sys::{Fd, file};
use libc::c_short;

const READ: Limits = Limits::of(Side::Read);
const WRITE: Limits = Limits::of(Side::Write);

/// What stopped a call in two descriptors, and at which of them.
#[derive(Clone, Copy, Debug)]
pub struct Stopped {
    /// `Read`: where it reads.
    pub side: Side,
    /// Why.
    pub error: Error,
}

/// Where the bytes come from.
#[derive(Debug)]
pub enum Source {
    /// A descriptor of the table.
    Attached(Call),
    /// Any other.
    Plain(Fd),
}

impl Source {
    /// Enters what `fd` is: `-EBADF` where it is nothing, `NETFD_ECLOSED`
    /// where it was destroyed. A number that was destroyed and is open again,
    /// and no socket, is a file that the process has opened since.
    pub fn open(fd: Fd) -> Result<Self> {
        loop {
            let before = state_of(fd);
            let stat = match before.map(|(state, _)| state) {
                Some(State::Open) => return Self::enter(fd),
                Some(State::Destroying | State::Detaching) => return Err(CLOSED),
                // close(2) frees the number before it lingers.
                Some(State::Closing | State::Closed) => file::stat(fd).map_err(|_| CLOSED)?,
                Some(State::Free) | None => file::stat(fd)?,
            };
            // What was looked at is what the state says, if that stayed.
            if state_of(fd) == before {
                return match before {
                    Some((State::Closing | State::Closed, _)) if stat.is_socket() => Err(CLOSED),
                    _ => Ok(Self::Plain(fd)),
                };
            }
        }
    }

    fn enter(fd: Fd) -> Result<Self> {
        match Call::exclusive(fd, Side::Read) {
            Err(error) if error.is(libc::EBADF) => Err(CLOSED), // detached just now
            other => other.map(Self::Attached),
        }
    }

    /// Its number.
    pub fn fd(&self) -> Fd {
        match self {
            Self::Attached(call) => call.fd(),
            Self::Plain(fd) => *fd,
        }
    }

    /// The call inside it, where it is in the table.
    pub fn call(&self) -> Option<&Call> {
        match self {
            Self::Attached(call) => Some(call),
            Self::Plain(_) => None,
        }
    }
}

fn state_of(fd: Fd) -> Option<(State, Tag)> {
    let entry = table::find(fd).ok()?;
    Some(entry.mutex.state(process::epoch()))
}

/// The thread's silence, from a call that could raise SIGPIPE to where others
/// may run: a park, or between two calls.
#[derive(Debug, Default)]
pub struct Silence(Option<Quiet>);

impl Silence {
    /// Runs a call that is to move `asked` bytes, without SIGPIPE.
    pub fn run(&mut self, asked: usize, call: impl FnOnce() -> Result<usize>) -> Result<usize> {
        self.0.get_or_insert_with(Quiet::new).run(asked, call)
    }
}

/// A call that reads one descriptor and writes another.
#[derive(Debug)]
pub struct Pair {
    silence: Silence,
    second: Option<Second>,
    dst: Call,
    src: Source,
}

impl Pair {
    /// Joins a call that entered with `Call::deferred` and a source.
    pub fn new(dst: Call, src: Source) -> Self {
        Self {
            silence: Silence::default(),
            second: None,
            dst,
            src,
        }
    }

    /// Where it writes.
    pub fn dst(&self) -> &Call {
        &self.dst
    }

    /// Where it reads.
    pub fn src(&self) -> &Source {
        &self.src
    }

    /// Takes both turns.
    pub fn lock(&mut self) -> core::result::Result<(), Stopped> {
        if let Source::Attached(src) = &mut self.src
            && let Err(error) = src.rwlock_beside(READ, Some((&self.dst, WRITE)))
        {
            return Err(self.blame(Side::Read, error));
        }
        let other = self.src.call().map(|src| (src, READ));
        let locked = self.dst.rwlock_beside(WRITE, other);
        locked.map_err(|error| self.blame(Side::Write, error))
    }

    /// The call that writes, for who needs to change it.
    pub fn dst_mut(&mut self) -> &mut Call {
        &mut self.dst
    }

    /// Gives the turn to write back: all is written.
    pub fn unlock_dst(&mut self) {
        self.end_silence();
        self.dst.unlock();
    }

    /// Swallows what was raised: others run next, on the same thread.
    pub fn end_silence(&mut self) {
        self.silence = Silence::default();
    }

    /// Whether it may go on, on both sides.
    fn prepare(&self) -> core::result::Result<(), Stopped> {
        let stopped = |side| move |error| Stopped { side, error };
        self.dst.prepare(WRITE).map_err(stopped(Side::Write))?;
        match &self.src {
            Source::Attached(src) => src.prepare(READ).map_err(stopped(Side::Read)),
            Source::Plain(_) => Ok(()),
        }
    }

    /// The loop, as `Call::run` has it for one descriptor: `call`, which reads
    /// or writes as `side` says, until it says something else than EINTR, or
    /// EAGAIN and the like. `likely`: it is worth a try before the first park.
    pub fn run<T>(
        &mut self,
        side: Side,
        likely: bool,
        mut call: impl FnMut(&mut Silence) -> Result<T>,
    ) -> core::result::Result<T, Stopped> {
        let mut poller = Poller::default();
        let mut parks = !likely;
        let mut tried = false;
        loop {
            if parks {
                self.wait(side, &mut poller)?;
                if tried {
                    poller.missed();
                }
            } else {
                self.prepare()?;
            }
            match call(&mut self.silence) {
                Err(error) if error.is(libc::EINTR) => parks = false,
                Err(error) if is_again(error) => parks = true,
                result => return result.map_err(|error| Stopped { side, error }),
            }
            tried = true;
        }
    }

    /// Parks until `side` is ready.
    fn wait(&mut self, side: Side, poller: &mut Poller) -> core::result::Result<(), Stopped> {
        self.end_silence();
        match self.park(side, poller) {
            Ok(_) => Ok(()),
            Err(error) => Err(self.blame(side, error)),
        }
    }

    fn park(&mut self, side: Side, poller: &mut Poller) -> Result<c_short> {
        let (dst, events) = (&self.dst, side.event());
        let src = match &self.src {
            Source::Attached(src) => src,
            Source::Plain(fd) => {
                let fd = if side == Side::Read { *fd } else { dst.fd() };
                return dst.wait_beside((fd, events), WRITE, poller, None);
            }
        };
        let second = match &mut self.second {
            Some(second) => second,
            none => none.insert(Second::take()?),
        };
        let ((one, limits), (other, of_other)) = match side {
            Side::Read => ((src, READ), (dst, WRITE)),
            Side::Write => ((dst, WRITE), (src, READ)),
        };
        let other = Beside::new(other, of_other, second)?;
        one.wait_beside((one.fd(), events), limits, poller, Some(&other))
    }

    /// Says at which of the two a wait for `side` was stopped.
    fn blame(&self, side: Side, error: Error) -> Stopped {
        let of_limits = [CLOSED, CANCELED, DEADLINE]
            .iter()
            .any(|limit| error.same(*limit));
        match self.prepare() {
            Err(stopped) if of_limits && stopped.error.same(error) => stopped,
            _ => Stopped { side, error },
        }
    }
}
