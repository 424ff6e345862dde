//! Go's connect: one socket, one address.

use crate::addr;
use crate::error::{CLOSED, Error, Result, Sys};
use crate::fd::cancel::Held;
use crate::fd::desc::Call;
use crate::fd::limits::{Limits, Patience, Side};
use crate::net::failure::{self, Place};
use crate::poll::Poller;
use crate::sync::Ordering;
use crate::sys::{Fd, socket, socket::Sockaddr};
use libc::c_short;

/// The first pause after a unix socket's full backlog, and the longest.
const PAUSE: i64 = 1_000_000;
const PAUSE_MAX: i64 = 64_000_000;

/// Go `netFD.dial` and `netFD.connect`: bind where asked, connect, wait until
/// it is decided. `deadline` and `token` are this call's alone.
pub fn connect(
    fd: Fd,
    laddr: Option<&Sockaddr>,
    raddr: &Sockaddr,
    deadline: i64,
    token: Option<&Held>,
) -> Result<()> {
    let limits = Limits {
        side: Some(Side::Write),
        deadline,
        token: token.and_then(Held::token),
    };
    let mut call = Call::exclusive(fd, Side::Write)?;
    let result = attempt(&mut call, laddr, raddr, limits);
    result.map_err(|error| {
        // As in Go, the source is told where the caller named one. What the
        // kernel picked has gone with the attempt.
        let place = Place {
            local: laddr.copied().unwrap_or_else(Sockaddr::none),
            remote: *raddr,
            ..Place::of(&call)
        };
        failure::record("dial", place, error)
    })
}

fn attempt(
    call: &mut Call,
    laddr: Option<&Sockaddr>,
    raddr: &Sockaddr,
    limits: Limits,
) -> Result<()> {
    let fd = call.fd();
    call.rwlock(limits, Patience::Park)?;
    call.prepare(limits)?;
    // The kernel itself says so only from the second time on, where nobody was
    // in connect(2) when the connection was made. A socket without a peer that
    // is known need not be asked.
    let was_connected = call.kind().takes_turns() && call.entry().peer.get().is_some();
    if was_connected && socket::getpeername(fd).is_ok() {
        return Err(Error::os(libc::EISCONN, Sys::Connect));
    }
    if let Some(laddr) = laddr {
        bind(fd, laddr)?;
    }
    let peer = match start(call, raddr, limits) {
        Ok(Progress::Connected(peer)) => peer,
        Ok(Progress::Pending) => decide(call, limits).inspect_err(|error| {
            // What destroy or detach ended is not touched: the descriptor is
            // not this call's any more, and copies of it in other processes
            // live on.
            if !error.same(CLOSED) {
                give_up(fd);
            }
        })?,
        Err(error) => return Err(error),
    };
    stands(call, &peer);
    Ok(())
}

/// A connection begins.
pub fn stands(call: &Call, peer: &Sockaddr) {
    // A datagram socket may have another peer tomorrow, by connect(2) on the
    // bare fd: the kernel is asked when somebody wants to know.
    if call.kind().takes_turns() {
        call.entry().begin(peer);
    } else {
        let aimed = peer.family() != libc::AF_UNSPEC;
        call.entry().aimed.store(aimed, Ordering::Relaxed);
    }
}

/// bind(2). A second attempt finds the socket bound by the first.
fn bind(fd: Fd, laddr: &Sockaddr) -> Result<()> {
    let bound = socket::bind(fd, laddr);
    match bound {
        Err(error) if error.is(libc::EINVAL) => {
            let now = socket::getsockname(fd)?;
            if addr::is_within(&now, laddr) {
                Ok(())
            } else {
                bound
            }
        }
        _ => bound,
    }
}

/// How far an attempt has come.
#[derive(Debug)]
pub enum Progress {
    /// It stands: with whom.
    Connected(Sockaddr),
    /// The kernel is at it.
    Pending,
}

/// connect(2), once: after EINTR the attempt goes on by itself. A unix
/// socket's is done then, or it is not, and so is the end of a connection; that,
/// and a full backlog, leave nothing pending: there it is tried again.
pub fn start(call: &Call, raddr: &Sockaddr, limits: Limits) -> Result<Progress> {
    let is_unix = raddr.family() == libc::AF_UNIX;
    let mut pause = PAUSE;
    let mut interrupted = false;
    loop {
        let error = match socket::connect(call.fd(), raddr) {
            Err(error) if !(interrupted && error.is(libc::EISCONN)) => error,
            _ => {
                let peer = socket::getpeername(call.fd());
                return Ok(Progress::Connected(peer.unwrap_or(*raddr)));
            }
        };
        if (is_unix || raddr.family() == libc::AF_UNSPEC) && error.is(libc::EINTR) {
            match socket::getpeername(call.fd()) {
                Ok(peer) if peer.bytes() == raddr.bytes() => return Ok(Progress::Connected(peer)),
                _ => {}
            }
            interrupted = true;
            call.prepare(limits)?;
            continue;
        }
        if [libc::EINPROGRESS, libc::EALREADY, libc::EINTR]
            .iter()
            .any(|errno| error.is(*errno))
        {
            return Ok(Progress::Pending);
        }
        if !error.is(libc::EAGAIN) || !is_unix {
            return Err(error);
        }
        call.pause(pause, limits)?;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Waits until the attempt is decided.
fn decide(call: &Call, limits: Limits) -> Result<Sockaddr> {
    let mut poller = Poller::exact();
    loop {
        let ready = call.wait(Side::Write.event(), limits, &mut poller)?;
        match verdict(call, ready)? {
            Some(peer) => return Ok(peer),
            None => poller.missed(),
        }
    }
}

/// What became of an attempt, now that poll(2) says `ready`; `None`: nothing
/// yet. An SO_ERROR of 0 is not believed without a peer.
pub fn verdict(call: &Call, ready: c_short) -> Result<Option<Sockaddr>> {
    let fd = call.fd();
    let errno = match call.entry().taken.swap(0, Ordering::AcqRel) {
        0 => socket::socket_option(fd, libc::SO_ERROR)?,
        taken => taken,
    };
    match errno {
        0 | libc::EISCONN => {}
        libc::EINPROGRESS | libc::EALREADY | libc::EINTR => return Ok(None),
        errno => return Err(Error::os(errno, Sys::Connect)),
    }
    match socket::getpeername(fd) {
        Ok(peer) => Ok(Some(peer)),
        // It failed, and somebody else was told why.
        Err(_) if ready & libc::POLLHUP != 0 => Err(Error::os(libc::ECONNABORTED, Sys::Connect)),
        Err(_) => Ok(None),
    }
}

/// Ends an attempt that the kernel would carry on with, so that a handshake
/// that completes late is no success; and one that has failed, which the next
/// connect(2) would be told of once more, as ECONNABORTED.
pub fn give_up(fd: Fd) {
    let _ = socket::disconnect(fd);
    let _ = socket::socket_option(fd, libc::SO_ERROR);
}
