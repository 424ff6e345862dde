//! The thread's last failure in full: Go's OpError. Written when a call fails,
//! while the descriptor is still there to be asked; turned into text when
//! somebody wants it.

use crate::addr;
use crate::error::{Error, Result, Sys};
use crate::fd::desc::Call;
use crate::strerror;
use crate::sys::process::AtThreadEnd;
use crate::sys::socket::{self, Sockaddr};
use crate::text::{Long, Text};
use core::cell::RefCell;
use core::mem::{self, ManuallyDrop};

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

/// A thread's last failure. Without a destructor, as `park::OWN` is.
struct Last {
    failure: Option<Failure>,
    /// Its text, where that is not made of the failure alone.
    text: ManuallyDrop<Long>,
}

thread_local! {
    static LAST: RefCell<Last> = const {
        RefCell::new(Last {
            failure: None,
            text: ManuallyDrop::new(Long::new()),
        })
    };
}

static AT_THREAD_END: AtThreadEnd = AtThreadEnd::new();

/// Gives back what the thread's last text took.
fn thread_ends() {
    set(|last| drop(mem::take(&mut *last.text)));
}

/// Changes the thread's last failure. One whose thread-locals are gone has
/// none.
fn set(change: impl FnOnce(&mut Last)) {
    let _ = LAST.try_with(|last| {
        if let Ok(mut last) = last.try_borrow_mut() {
            change(&mut last);
        }
    });
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
    // A text that nobody would free is left out.
    let text = if !text.is_empty() && AT_THREAD_END.run(thread_ends) {
        text
    } else {
        Long::new()
    };
    set(|last| {
        last.failure = Some(Failure::new(op, place, error));
        drop(mem::replace(&mut *last.text, text));
    });
    error.recorded()
}

/// The thread's last failure.
pub fn last() -> Option<Failure> {
    LAST.try_with(|last| last.try_borrow().ok().and_then(|last| last.failure))
        .ok()
        .flatten()
}

/// Shows the text of the thread's last failure; empty: there is none.
pub fn read_text<T>(read: impl Fn(&[u8]) -> T) -> T {
    let shown = LAST.try_with(|last| {
        let last = last.try_borrow().ok()?;
        if !last.text.is_empty() {
            return Some(read(last.text.bytes()));
        }
        let failure = last.failure.as_ref()?;
        Some(read(failure.text().bytes()))
    });
    shown.ok().flatten().unwrap_or_else(|| read(b""))
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
