//! The accept loop that everybody writes: a fiber for each connection.

use crate::error::{CANCELED, CLOSED, DEADLINE, Error, Result};
use crate::fd::Tag;
use crate::fd::desc::Call;
use crate::fd::end::Ending;
use crate::fd::limits::{Limits, Side};
use crate::fd::look::wait_for;
use crate::fd::table;
use crate::fiber::{self, Handler};
use crate::net::deadline;
use crate::net::failure::{self, Place};
use crate::net::listen;
use crate::park::{self, Aside, Slot};
use crate::poll::{Poller, SLICE};
use crate::pool::{Pool, Pooled};
use crate::sync::{AtomicI32, AtomicU32, AtomicU64, Ordering};
use crate::sys::{Fd, process, sanitizer, time};
use core::ffi::c_void;
use core::sync::atomic::{AtomicPtr, AtomicUsize};

/// The first pause after an accept that found no descriptor or no memory, and
/// the longest: those of Go's http server.
const PAUSE: i64 = 5_000_000;
const PAUSE_MAX: i64 = 1_000_000_000;

/// How it serves.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// How long handlers run on once the token has fired: ns; 0: no limit;
    /// negative: not at all.
    pub drain_timeout: i64,
    /// How many connections at once; 0: no limit.
    pub max_connections: i32,
    /// The least that a handler's stack has; 0: as usual.
    pub stack_size: usize,
}

/// A server: what its handlers share.
#[derive(Debug, Default)]
struct Server {
    handler: AtomicUsize,
    arg: AtomicPtr<c_void>,
    /// How many handlers run.
    running: AtomicI32,
    /// Who waits for one of them to end.
    waits: Slot,
    link: AtomicU32,
}

impl Pooled for Server {
    fn link(&self) -> &AtomicU32 {
        &self.link
    }
}

static SERVERS: Pool<Server> = Pool::new();

/// A connection on its way to its handler.
#[derive(Debug, Default)]
struct Visit {
    server: AtomicU32,
    fd: AtomicI32,
    tag: AtomicU64,
    which: AtomicU32,
    link: AtomicU32,
}

impl Pooled for Visit {
    fn link(&self) -> &AtomicU32 {
        &self.link
    }
}

static VISITS: Pool<Visit> = Pool::new();

impl Server {
    fn running(&self) -> i32 {
        self.running.load(Ordering::Acquire)
    }

    /// A handler has ended.
    fn leave(&self) {
        sanitizer::release(self);
        self.running.fetch_sub(1, Ordering::AcqRel);
        if let Some(waiter) = park::find(self.waits.take()) {
            waiter.wake();
        }
    }

    /// Parks until at most `count` handlers run. `false`: `until` has passed
    /// before (0: no limit).
    fn await_running(&self, count: i32, until: i64) -> bool {
        let is_done = || self.running() <= count;
        let in_time = wait_for(&self.waits, Aside::Handlers, is_done, until, None).is_ok();
        sanitizer::acquire(self);
        in_time
    }
}

/// A handler's fiber, from its first instruction to its last.
extern "C" fn visit(arg: *mut c_void) {
    let id = u32::try_from(arg.addr()).unwrap_or(0);
    let Some(visit) = VISITS.get(id) else { return };
    let fd = visit.fd.load(Ordering::Relaxed);
    let tag = Tag::of_bits(visit.tag.load(Ordering::Relaxed));
    let which = visit.which.load(Ordering::Relaxed);
    let Some(server) = SERVERS.get(visit.server.load(Ordering::Relaxed)) else {
        return;
    };
    VISITS.put(id);
    let handler = server.handler.load(Ordering::Relaxed);
    fiber::handle(handler, fd, server.arg.load(Ordering::Relaxed));
    if let Ok(entry) = table::find(fd)
        && entry.which() == which
    {
        entry.destroy_of(fd, tag); // unless it was detached
    }
    server.leave();
}

/// Serves until the listener's token fires (0), or it is destroyed
/// (`NETFD_ECLOSED`), or accept fails for good; and until the last handler has
/// returned.
pub fn serve(listener: Fd, handler: Handler, arg: *mut c_void, config: Config) -> Result<()> {
    process::prepare()?;
    let call = Call::incref(listener)?;
    let (id, server) = SERVERS.take()?;
    server.handler.store(handler as usize, Ordering::Relaxed);
    server.arg.store(arg, Ordering::Relaxed);
    server.running.store(0, Ordering::Release);
    let ended = accept_all(&call, id, server, config);
    // From here on the listener may go.
    drop(call);
    let drained = ended.same(CANCELED);
    let until = match config.drain_timeout {
        _ if ended.same(CLOSED) => 1,
        ..0 => 1,
        0 => 0,
        ns => deadline::after(ns),
    };
    if !server.await_running(0, until) {
        destroy_all(id);
        server.await_running(0, 0);
    }
    SERVERS.put(id);
    if drained { Ok(()) } else { Err(ended) }
}

/// Accepts until something ends it, and says what.
fn accept_all(call: &Call, id: u32, server: &'static Server, config: Config) -> Error {
    let mut kept = None;
    let ended = accept_on(call, id, server, config, &mut kept);
    if let Some(conn) = kept {
        discard(conn);
    }
    ended
}

/// As `accept_all`. A connection that was accepted and found no memory for its
/// fiber is `kept` until there is some: its client has lost nothing.
fn accept_on(
    call: &Call,
    id: u32,
    server: &'static Server,
    config: Config,
    kept: &mut Option<Fd>,
) -> Error {
    let mut pause = PAUSE;
    loop {
        if let Err(error) = await_room(call, server, config.max_connections) {
            return error;
        }
        // The reference keeps the number ours, whatever becomes of it.
        let accepted = match kept.take() {
            Some(conn) => Ok(conn),
            None if call.is_open() => listen::accept(call.fd()).map(|(conn, _)| conn),
            None => Err(CLOSED),
        };
        let started = accepted.and_then(|conn| {
            start(conn, id, server, config.stack_size).inspect_err(|_| *kept = Some(conn))
        });
        match started {
            Ok(()) => pause = PAUSE,
            Err(error) if is_scarce(error) => {
                if let Err(error) = rest(call, pause) {
                    return error;
                }
                pause = (pause * 2).min(PAUSE_MAX);
            }
            Err(error) if is_asked_for(error) => return error,
            Err(error) if failure::is_temporary("accept", error) => {}
            Err(error) => return error,
        }
    }
}

/// Destroys a connection that nobody else knows.
fn discard(conn: Fd) {
    if let Ok(entry) = table::find(conn) {
        let (_, tag) = entry.mutex.state(process::epoch());
        entry.destroy_of(conn, tag);
    }
}

/// Whether the caller has set a limit that ends it: one that Go calls temporary,
/// for the next attempt may have another.
fn is_asked_for(error: Error) -> bool {
    error.same(DEADLINE) || error.is(libc::EINTR)
}

/// Whether something ran out that may come back.
fn is_scarce(error: Error) -> bool {
    let scarce = [
        libc::EMFILE,
        libc::ENFILE,
        libc::ENOBUFS,
        libc::ENOMEM,
        libc::EAGAIN,
    ];
    scarce.iter().any(|errno| error.is(*errno))
}

/// Parks for `ns`, unless the token fires or the listener is destroyed. A
/// listener never has room to write.
fn rest(call: &Call, ns: i64) -> Result<()> {
    let limits = Limits::NONE.no_later(time::now().saturating_add(ns));
    match call.wait(Side::Write.event(), limits, &mut Poller::default()) {
        Err(error) if error.same(DEADLINE) => Ok(()),
        other => other.map(drop),
    }
}

/// Parks while as many handlers run as may.
fn await_room(call: &Call, server: &Server, max: i32) -> Result<()> {
    while max > 0 && server.running() >= max {
        call.prepare(Limits::NONE)?;
        // What ends the listener wakes nobody here.
        server.await_running(max - 1, time::now().saturating_add(SLICE));
    }
    Ok(())
}

/// Gives a connection its fiber. Where there is none it stays the caller's.
fn start(conn: Fd, id: u32, server: &Server, stack_size: usize) -> Result<()> {
    let entry = table::find(conn)?;
    let (_, tag) = entry.mutex.state(process::epoch());
    entry.server.store(id, Ordering::Release);
    let started = VISITS.take().and_then(|(number, visiting)| {
        visiting.server.store(id, Ordering::Relaxed);
        visiting.fd.store(conn, Ordering::Relaxed);
        visiting.tag.store(tag.bits(), Ordering::Relaxed);
        visiting.which.store(entry.which(), Ordering::Relaxed);
        server.running.fetch_add(1, Ordering::AcqRel);
        let arg = core::ptr::without_provenance_mut(number as usize);
        fiber::go(visit, arg, stack_size).inspect_err(|_| {
            server.running.fetch_sub(1, Ordering::AcqRel);
            VISITS.put(number);
        })
    });
    started.map_err(|error| failure::record("serve", Place::nowhere(), error))
}

/// Destroys the connections that are still being served.
fn destroy_all(id: u32) {
    for (fd, entry) in table::open_entries() {
        let (_, tag) = entry.mutex.state(process::epoch());
        if entry.server.load(Ordering::Acquire) == id {
            entry.destroy_of(fd, tag);
        }
    }
}
