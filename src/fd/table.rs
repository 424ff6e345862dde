//! The table: from a descriptor's number to its entry, in two levels, whose
//! parts are made when first needed and never freed.
//!
//! The first level is a static array, the second comes in chunks. Both are
//! read without a lock, so that a fork(2) finds them whole.

use crate::error::{BADF, Error, Result, Sys};
use crate::fd::bound;
use crate::fd::cancel::Place;
use crate::fd::end::{End, Ending};
use crate::fd::helper;
use crate::fd::mutex::FdMutex;
use crate::fd::peer::Peer;
use crate::fd::word::State;
use crate::park;
use crate::pool;
use crate::sync::{AtomicBool, AtomicI32, AtomicI64, AtomicU32, AtomicU64, Ordering};
use crate::sys::socket::Sockaddr;
use crate::sys::{self, Fd, process};
use once_cell::race::OnceBox;

const CHUNK: usize = 128;
const CHUNKS: usize = 1 << 18;

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
    end: End,
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
    let (tag, state) = entry.replace(kind.takes_turns());
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
}

impl Ending for Entry {
    #[inline(always)]
    fn mutex(&self) -> &FdMutex {
        &self.mutex
    }

    fn end_of(&self) -> &End {
        &self.end
    }

    fn let_go(&self, end: State) {
        if end == State::Destroying {
            // Before close(2), as in Go: somebody may be about to bind it.
            self.bound.unlink();
        }
        self.forget();
    }

    fn close_fd(&self, fd: Fd) -> Result<()> {
        close(fd)
    }
}

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
