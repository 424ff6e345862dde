//! The table: from a descriptor's number to its entry, in two levels, whose
//! parts are made when first needed and never freed.
//!
//! The first level is a static array, the second comes in chunks. Both are
//! read without a lock, so that a fork(2) finds them whole.

use crate::error::{BADF, CLOSED, Error, Result, Sys};
use crate::fd::bound;
use crate::fd::cancel::Place;
use crate::fd::helper;
use crate::fd::mutex::FdMutex;
use crate::fd::peer::Peer;
use crate::fd::word::{Hold, State, Tag};
use crate::park::{self, Slot};
use crate::pool;
use crate::sync::{AtomicBool, AtomicI32, AtomicI64, AtomicU32, AtomicU64, Ordering};
use crate::sys::socket::Sockaddr;
use crate::sys::{self, Fd, futex, process, time};
use once_cell::race::OnceBox;

const CHUNK: usize = 128;
const CHUNKS: usize = 1 << 18;

/// What a destroyer, or whoever detaches, is told who waits for the last one
/// to leave: that it is over;
const DONE: i32 = 0;
/// that close(2) is his to call;
const CLOSE: i32 = 1;
/// that he has lost his place, and has to look for himself;
const LOOK: i32 = 2;
/// that the number is another descriptor's.
const REPLACED: i32 = 3;

/// Somebody may sleep until a descriptor ends.
const AWAITED: u32 = 1;
const ENDS: u32 = 2;

static TABLE: [OnceBox<[Entry; CHUNK]>; CHUNKS] = [const { OnceBox::new() }; CHUNKS];

/// How many chunks lie below the end of those that were ever made.
static USED: AtomicU32 = AtomicU32::new(0);

/// What kind of socket a descriptor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// `AF_INET` and so on.
    pub family: libc::c_int,
    /// `SOCK_STREAM` and so on, without flags.
    pub sotype: libc::c_int,
}

impl Kind {
    fn from_bits(bits: u32) -> Self {
        Self {
            family: (bits >> 8) as libc::c_int,
            sotype: (bits & 0xff) as libc::c_int,
        }
    }

    fn bits(self) -> u32 {
        self.family.unsigned_abs() << 8 | self.sotype.unsigned_abs() & 0xff
    }

    /// Whether reads take turns, and writes: a stream's or a sequence's order
    /// is worth something.
    pub fn takes_turns(self) -> bool {
        matches!(self.sotype, libc::SOCK_STREAM | libc::SOCK_SEQPACKET)
    }

    /// Whether a read that took less than it asked for has taken all that there
    /// was: on other sockets a control message or a boundary may have cut it.
    pub fn drains(self) -> bool {
        self.sotype == libc::SOCK_STREAM && matches!(self.family, libc::AF_INET | libc::AF_INET6)
    }

    /// Whether a write is a message, which is never cut.
    pub fn is_messages(self) -> bool {
        self.sotype != libc::SOCK_STREAM
    }
}

/// The state of one number. All of it is atomic: a call that was evicted may
/// still look.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct Entry {
    // What every call looks at comes first, so that it lies in two cache lines.
    pub(crate) read_deadline: AtomicI64,
    pub(crate) write_deadline: AtomicI64,
    pub(crate) cancel: Place,
    kind: AtomicU32,
    /// The last read took less than it asked for: the next one has probably
    /// to wait. A guess about cost, not about truth.
    pub(crate) drained: AtomicBool,
    /// A datagram socket that `netfd_connect` has aimed at one peer.
    pub(crate) aimed: AtomicBool,
    /// The errno by which the connection ended, once any call was given it.
    pub(crate) lost: AtomicI32,
    /// The errno that stopped a write of which a part had gone.
    pub(crate) stopped: AtomicI32,
    /// The errno that `netfd_wait` had to take from the socket to look at.
    pub(crate) taken: AtomicI32,
    /// Counts the writer's system calls: one more before each.
    pub(crate) sends: AtomicU32,
    /// The writer's send is a ring's to make, in the process of this epoch: it
    /// may have been told what the writer has not heard yet. 0: nobody's.
    pub(crate) handed_over: AtomicU32,
    pub(crate) mutex: FdMutex,
    pub(crate) peer: Peer,
    /// A connection that was accepted and found no memory, plus 1.
    homeless: AtomicI32,
    /// Counts the descriptors that had this number.
    uses: AtomicU32,
    /// The `net::serve` whose connection it is; 0: none's.
    pub(crate) server: AtomicU32,
    /// The caller whose control function sees it, as `park` counts; 0: none's.
    pub(crate) shown_to: AtomicU32,
    /// The socket file that goes with the descriptor; 0: none.
    bound: bound::File,
    /// Who waits for the last caller to leave.
    closer: Slot,
    /// How often a descriptor of this number has ended, in steps of `ENDS`,
    /// and `AWAITED`.
    ends: AtomicU32,
    pub(crate) accepts: AtomicU64,
    pub(crate) parks: AtomicU64,
    pub(crate) wakeups: AtomicU64,
}

/// The entry of a number, where it ever had one.
#[inline(always)]
pub fn find(fd: Fd) -> Result<&'static Entry> {
    let index = fd as usize; // a negative one is out of the table's range
    TABLE
        .get(index / CHUNK)
        .and_then(OnceBox::get)
        .and_then(|chunk| chunk.get(index % CHUNK))
        .ok_or(BADF)
}

/// The entry of a number, made where it has none.
fn find_or_make(fd: Fd) -> Result<&'static Entry> {
    process::prepare()?;
    let index = fd as usize;
    let full = || Error::os(libc::ENOMEM, Sys::Malloc);
    let chunk = TABLE.get(index / CHUNK).ok_or_else(full)?;
    let chunk = chunk.get_or_try_init(pool::boxed)?;
    let used = u32::try_from(index / CHUNK + 1).unwrap_or(u32::MAX);
    USED.fetch_max(used, Ordering::Release);
    chunk.get(index % CHUNK).ok_or_else(full)
}

/// Makes sure that `attach` of this number finds memory.
pub fn reserve(fd: Fd) -> Result<()> {
    find_or_make(fd).map(drop)
}

/// Attaches a descriptor. What the table still knew of its number is dropped:
/// callers inside are evicted, nothing is closed.
pub fn attach(fd: Fd, kind: Kind, peer: Option<&Sockaddr>) -> Result<()> {
    let entry = find_or_make(fd)?;
    let (tag, state) = entry.mutex.renew(process::epoch(), kind.takes_turns());
    entry.announce_end(entry.closer.take(), REPLACED);
    entry.forget();
    entry.uses.fetch_add(1, Ordering::Release);
    entry.kind.store(kind.bits(), Ordering::Relaxed);
    if let Some(peer) = peer {
        entry.peer.set(peer);
    }
    // Where it fails, another thread has attached the number once more, and
    // it is open all the same.
    entry.mutex.advance(tag, state, State::Open);
    Ok(())
}

/// Every number that is open, in order.
pub fn open_entries() -> impl Iterator<Item = (Fd, &'static Entry)> {
    let epoch = process::epoch();
    let first_of = |at: usize| Fd::try_from(at * CHUNK).unwrap_or(Fd::MAX);
    (0..USED.load(Ordering::Acquire) as usize)
        .zip(&TABLE)
        .filter_map(|(at, chunk)| Some((at, chunk.get()?)))
        .flat_map(move |(at, chunk)| (first_of(at)..).zip(chunk))
        .filter(move |(_, entry)| entry.mutex.state(epoch).0 == State::Open)
}

/// Every entry that was ever made, open or not.
pub fn entries() -> impl Iterator<Item = &'static Entry> {
    let used = USED.load(Ordering::Acquire) as usize;
    TABLE.iter().take(used).filter_map(OnceBox::get).flatten()
}

impl Entry {
    /// Which descriptor of its number it is, for those who remember it beyond
    /// a call: the generation of a `Tag` comes round after 8192.
    pub fn which(&self) -> u32 {
        self.uses.load(Ordering::Acquire) & 0x1fff_ffff
    }

    /// What kind of socket it is.
    pub fn kind(&self) -> Kind {
        Kind::from_bits(self.kind.load(Ordering::Relaxed))
    }

    /// A connection begins: how one before it ended is no concern of it.
    pub fn begin(&self, peer: &Sockaddr) {
        self.drained.store(false, Ordering::Relaxed);
        self.lost.store(0, Ordering::Relaxed);
        self.stopped.store(0, Ordering::Relaxed);
        self.taken.store(0, Ordering::Relaxed);
        self.peer.set(peer);
    }

    /// Whether an earlier accept could not attach its connection.
    pub fn has_homeless(&self) -> bool {
        self.homeless.load(Ordering::Relaxed) != 0
    }

    /// Takes that connection.
    pub fn take_homeless(&self) -> Option<Fd> {
        if !self.has_homeless() {
            return None;
        }
        Some(self.homeless.swap(0, Ordering::AcqRel) - 1).filter(|fd| *fd >= 0)
    }

    /// Keeps a connection for the next accept.
    pub fn keep_homeless(&self, fd: Fd) {
        let before = self.homeless.swap(fd + 1, Ordering::AcqRel);
        if before > 0 {
            let _ = sys::close(before - 1); // never: accepts take turns
        }
    }

    /// The descriptor's socket file is to go with it, when it is destroyed.
    pub fn unlink_at_end(&self, path: &[u8]) -> Result<()> {
        self.bound.set(path)
    }

    /// All of a descriptor's state but its lifetime.
    fn forget(&self) {
        self.bound.clear();
        self.server.store(0, Ordering::Relaxed);
        if let Some(fd) = self.take_homeless() {
            let _ = sys::close(fd);
        }
        self.cancel.set(None);
        self.aimed.store(false, Ordering::Relaxed);
        self.read_deadline.store(0, Ordering::Relaxed);
        self.write_deadline.store(0, Ordering::Relaxed);
        self.drained.store(false, Ordering::Relaxed);
        self.lost.store(0, Ordering::Relaxed);
        self.stopped.store(0, Ordering::Relaxed);
        self.taken.store(0, Ordering::Relaxed);
        self.handed_over.store(0, Ordering::Relaxed);
        self.peer.clear();
    }

    /// Tells whoever waits for the end that it has come.
    fn announce_end(&self, closer: u32, outcome: i32) {
        let before = self.ends.fetch_add(ENDS, Ordering::AcqRel);
        if before & AWAITED != 0 {
            self.ends.fetch_and(!AWAITED, Ordering::AcqRel);
            futex::wake(&self.ends, i32::MAX);
        }
        if let Some(waiter) = park::find(closer) {
            waiter.outcome.store(outcome, Ordering::Relaxed);
            waiter.wake();
        }
    }

    /// Evicts all callers and waits until the last one has left, who closes
    /// the descriptor or, for `Detaching`, leaves it open. `NETFD_ECLOSED`
    /// where somebody else did or does so; it has happened then, too.
    pub fn close(&self, fd: Fd, end: State) -> Result<()> {
        let epoch = process::epoch();
        match self.mutex.close(epoch, end) {
            Ok(tag) => self.finish(fd, tag),
            Err(error) => {
                if error.same(CLOSED) {
                    self.await_end(self.mutex.state(epoch).1);
                }
                Err(error)
            }
        }
    }

    /// As `close`, where the descriptor is still that of `tag`, and open.
    pub fn destroy_of(&self, fd: Fd, tag: Tag) {
        let epoch = process::epoch();
        if let Ok(tag) = self.mutex.close_of(tag, epoch, State::Destroying) {
            let _ = self.finish(fd, tag);
        }
    }

    /// The rest of `close`: waits for the callers.
    fn finish(&self, fd: Fd, tag: Tag) -> Result<()> {
        let epoch = process::epoch();
        // The waiter is where the last one out says that it is over. Without
        // memory for one, he closes by himself, and his close(2) error is lost.
        let told = park::with_waiter(|waiter, id| {
            waiter.arm(false);
            if let Some(other) = park::find(self.closer.put(id)) {
                // Of another descriptor that had this number, closed behind our
                // back: that one has to look for itself.
                other.outcome.store(LOOK, Ordering::Relaxed);
                other.wake();
            }
            let last = self.mutex.leave(epoch, tag, Hold::NONE);
            let replaced = self.mutex.state(epoch).1 != tag;
            let alone = (last.is_some() || replaced) && self.closer.withdraw(id);
            while !alone && !waiter.is_woken() {
                waiter.sleep(0);
            }
            if let Some(state) = last {
                return Ok(self.end(fd, tag, state));
            }
            if alone {
                return Ok(Err(CLOSED));
            }
            Ok(match waiter.outcome.load(Ordering::Relaxed) {
                CLOSE => self.close_now(fd, tag),
                LOOK => {
                    self.await_end(tag);
                    Ok(())
                }
                DONE => Ok(()),
                _ => Err(CLOSED),
            })
        });
        told.unwrap_or_else(|_| match self.mutex.leave(epoch, tag, Hold::NONE) {
            Some(state) => self.end(fd, tag, state),
            None => {
                self.await_end(tag);
                Ok(())
            }
        })
    }

    /// As `close`, for a caller who is inside himself and must not wait: the end
    /// comes when he leaves. Or at once, where he is not: he may have given the
    /// number away, and have got it again.
    pub fn close_later(&self, fd: Fd, end: State) -> Result<()> {
        let epoch = process::epoch();
        let tag = self.mutex.close(epoch, end)?;
        match self.mutex.leave(epoch, tag, Hold::NONE) {
            Some(state) => self.end(fd, tag, state),
            None => Ok(()),
        }
    }

    /// The last one out ends what the state says. The slot is free before
    /// close(2), for close(2) lets the kernel hand the number out again. It is
    /// the destroyer who calls it, where he waits: with SO_LINGER it takes its
    /// time, and whoever was evicted is to be free at once.
    #[cold]
    pub(crate) fn end(&self, fd: Fd, tag: Tag, state: State) -> Result<()> {
        if !self.mutex.advance(tag, state, State::Closing) {
            // Replaced: neither the number nor this state is ours any more, and
            // whoever replaced it tells those who wait.
            return Err(CLOSED);
        }
        if state == State::Destroying {
            // Before close(2), as in Go: somebody may be about to bind it.
            self.bound.unlink();
        }
        self.forget();
        let closer = self.closer.take();
        if state == State::Detaching {
            self.mutex.advance(tag, State::Closing, State::Free);
            self.announce_end(closer, DONE);
            return Ok(());
        }
        match park::find(closer) {
            Some(destroyer) => {
                destroyer.outcome.store(CLOSE, Ordering::Relaxed);
                destroyer.wake();
                Ok(())
            }
            None => self.close_now(fd, tag),
        }
    }

    /// close(2), for the one who ends the descriptor.
    fn close_now(&self, fd: Fd, tag: Tag) -> Result<()> {
        if self.mutex.state(process::epoch()) != (State::Closing, tag) {
            return Err(CLOSED); // replaced meanwhile, behind our back
        }
        let result = close(fd);
        self.mutex.advance(tag, State::Closing, State::Closed);
        self.announce_end(0, DONE);
        result
    }

    /// Waits until the descriptor of `tag` has come to its end.
    fn await_end(&self, tag: Tag) {
        loop {
            let ends = self.ends.fetch_or(AWAITED, Ordering::AcqRel) | AWAITED;
            let (state, now) = self.mutex.state(process::epoch());
            let ending = matches!(state, State::Destroying | State::Detaching | State::Closing);
            if now != tag || !ending {
                return;
            }
            // A fiber looks again in a while: its worker must not sleep here.
            let slept = park::with_waiter(|waiter, _| {
                waiter.arm(false);
                if waiter.is_fiber() {
                    waiter.sleep(time::now().saturating_add(LOOK_AGAIN));
                }
                Ok(waiter.is_fiber())
            });
            if slept != Ok(true) {
                futex::wait(&self.ends, ends, 0);
            }
        }
    }
}

/// How long a fiber sleeps that waits for another one's close(2): 1 ms.
const LOOK_AGAIN: i64 = 1_000_000;

/// close(2); by a helper thread where it takes its time, and the caller is a
/// fiber, whose worker has others to run.
fn close(fd: Fd) -> Result<()> {
    fn work(fd: usize, _: usize) -> i32 {
        let fd = Fd::try_from(fd).unwrap_or(-1);
        sys::close(fd).map_or_else(|error| error.code(), |()| 0)
    }
    if park::is_fiber()
        && sys::socket::lingers(fd)
        && let Ok(code) = helper::run(work, fd as usize, 0)
    {
        return match code {
            0 => Ok(()),
            code => Err(Error::os(-code, Sys::Close)),
        };
    }
    sys::close(fd)
}
