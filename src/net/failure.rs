//! The thread's last failure in full: Go's OpError. Written when a call fails,
//! while the descriptor is still there to be asked; turned into text when
//! somebody wants it.

use crate::addr;
use crate::error::{Error, Result, Sys};
use crate::fd::desc::Call;
use crate::park;
use crate::pool::{Pool, Pooled};
use crate::strerror;
use crate::sync::AtomicU32;
use crate::sys::socket::{self, Sockaddr};
use crate::text::{Long, Text};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Room for the text of any failure.
const TEXT_ROOM: usize = 512;

/// Where something failed.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Go's name of the network: "tcp", "unixgram". Empty: not known.
    pub network: &'static str,
    /// The socket's own address.
    pub local: Sockaddr,
    /// The other end's.
    pub remote: Sockaddr,
}

/// A failure and its circumstances.
#[derive(Clone, Copy, Debug)]
pub struct Failure {
    /// What failed. None: nothing has yet.
    pub error: Option<Error>,
    /// Go's name of the operation: "dial", "read".
    pub op: &'static str,
    /// Where.
    pub place: Place,
}

/// A caller's last failure: a thread's or a fiber's.
#[derive(Debug, Default)]
struct Record {
    last: Mutex<Last>,
    link: AtomicU32,
}

#[derive(Debug, Default)]
struct Last {
    failure: Option<Failure>,
    /// Its text, where that is not made of the failure alone.
    text: Long,
}

impl Pooled for Record {
    fn link(&self) -> &AtomicU32 {
        &self.link
    }
}

static RECORDS: Pool<Record> = Pool::new();

static END: fn(u32) = end;

/// Gives back the record of a caller who has ended.
fn end(id: u32) {
    if let Some(record) = RECORDS.get(id) {
        *locked(record) = Last::default();
        RECORDS.put(id);
    }
}

fn locked(record: &Record) -> MutexGuard<'_, Last> {
    // Only its caller locks it. A panic in between leaves what there was.
    record.last.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The caller's record, made where there is none yet and memory for it.
fn own() -> Option<&'static Record> {
    let known = RECORDS.get(park::notes());
    known.or_else(|| {
        let (id, record) = RECORDS.take().ok()?;
        if park::set_notes(id, &END) {
            return Some(record);
        }
        RECORDS.put(id);
        None
    })
}

impl Place {
    /// Nowhere in particular.
    pub fn nowhere() -> Self {
        Self {
            network: "",
            local: Sockaddr::none(),
            remote: Sockaddr::none(),
        }
    }

    /// The place of a call: what the table knows, and what the kernel says.
    pub fn of(call: &Call) -> Self {
        let kind = call.kind();
        let local = socket::getsockname(call.fd());
        Self {
            network: addr::name_of(kind.family, kind.sotype),
            local: local.unwrap_or_else(|_| Sockaddr::none()),
            remote: remote_of(call).unwrap_or_else(|_| Sockaddr::none()),
        }
    }
}

/// The other end's address: the one that was kept, else the kernel's.
pub fn remote_of(call: &Call) -> Result<Sockaddr> {
    match call.entry().peer.get() {
        Some(kept) => Ok(kept),
        None => socket::getpeername(call.fd()),
    }
}

/// Makes `error` the thread's last failure, and marks it as recorded.
#[cold]
pub fn record(op: &'static str, place: Place, error: Error) -> Error {
    record_as(op, place, error, Long::new())
}

/// As `record`, with a text of its own, which tells more than the failure
/// alone can; empty: none.
#[cold]
pub fn record_as(op: &'static str, place: Place, error: Error, text: Long) -> Error {
    // Without memory for a record there is none.
    if let Some(record) = own() {
        let failure = Some(Failure::new(op, place, error));
        *locked(record) = Last { failure, text };
    }
    error.recorded()
}

/// The caller's last failure.
pub fn last() -> Option<Failure> {
    locked(RECORDS.get(park::notes())?).failure
}

/// Shows the text of the caller's last failure; empty: there is none.
pub fn read_text<T>(read: impl Fn(&[u8]) -> T) -> T {
    let Some(record) = RECORDS.get(park::notes()) else {
        return read(b"");
    };
    let last = locked(record);
    match &last.failure {
        _ if !last.text.is_empty() => read(last.text.bytes()),
        Some(failure) => read(failure.text().bytes()),
        None => read(b""),
    }
}

impl Failure {
    /// The failure of `op` at `place`.
    pub fn new(op: &'static str, place: Place, error: Error) -> Self {
        Self {
            error: Some(error),
            op,
            place,
        }
    }

    /// Go's `OpError.Error`: op, network, addresses, system call, cause.
    pub fn text(&self) -> Text<TEXT_ROOM> {
        let mut text = Text::default();
        let Some(error) = self.error else { return text };
        text.push(self.op.as_bytes());
        if !self.place.network.is_empty() {
            text.push(b" ");
            text.push(self.place.network.as_bytes());
        }
        let mut before: &[u8] = b" ";
        for address in [&self.place.local, &self.place.remote] {
            let known = addr::text(address);
            if !addr::is_unbound(address) && !known.bytes().is_empty() {
                text.push(before);
                text.push(known.bytes());
                before = b"->";
            }
        }
        text.push(b": ");
        text.push(cause(error).bytes());
        text
    }
}

/// What went wrong, wherever: the system call and what it said.
pub fn cause(error: Error) -> Text<128> {
    let mut text = Text::default();
    if error.call() != Sys::None {
        text.push(error.call().name().as_bytes());
        text.push(b": ");
    }
    text.push(strerror::text(error.code()).to_bytes());
    text
}

/// Adds a call's circumstances to its failure.
pub trait Explain<T> {
    /// Records the failure, if it is one, as that of `op` on `call`'s
    /// descriptor.
    fn explain(self, op: &'static str, call: &Call) -> Result<T>;
}

impl<T> Explain<T> for Result<T> {
    #[inline]
    fn explain(self, op: &'static str, call: &Call) -> Self {
        self.map_err(|error| record(op, Place::of(call), error))
    }
}

/// A deadline, or an errno that Go calls a timeout.
pub fn is_timeout(error: Error) -> bool {
    let no_thread = error.call() == Sys::PthreadCreate;
    error.same(crate::error::DEADLINE)
        || error.is(libc::ETIMEDOUT)
        || (error.is(libc::EAGAIN) && !no_thread)
}

/// An accept loop may go on: Go's Temporary(), and what accept(2) says of
/// errors that belong to the one connection. Of other calls it says nothing.
pub fn is_temporary(op: &str, error: Error) -> bool {
    const GO_ON: [libc::c_int; 15] = [
        libc::EINTR,
        libc::EMFILE,
        libc::ENFILE,
        libc::ENOBUFS,
        libc::ENOMEM,
        libc::ECONNRESET,
        libc::ECONNABORTED,
        libc::ENETDOWN,
        libc::EPROTO,
        libc::ENOPROTOOPT,
        libc::EHOSTDOWN,
        libc::ENONET,
        libc::EHOSTUNREACH,
        libc::ENETUNREACH,
        libc::EPERM,
    ];
    op == "accept" && (is_timeout(error) || GO_ON.iter().any(|errno| error.is(*errno)))
}
