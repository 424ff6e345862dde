//! A socket's beginning and end, and what can be asked of it.

use crate::addr;
use crate::error::{BADF, DEADLINE, INVAL, Result};
use crate::fd::State;
use crate::fd::desc::Call;
use crate::fd::end::Ending;
use crate::fd::limits::{Limits, Side};
use crate::fd::table::{self, Kind};
use crate::net::control;
use crate::net::failure::{self, Explain, Place};
use crate::poll::Poller;
use crate::sync::Ordering;
use crate::sys::socket::Sockaddr;
use crate::sys::{self, Fd, option};
use libc::{c_int, c_short};

/// Go `sysSocket`, and the descriptor is in the table.
pub fn sys_socket(family: c_int, sotype: c_int, proto: c_int) -> Result<Fd> {
    let sotype = sotype & !(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC);
    make(family, sotype, proto).map_err(|error| {
        let network = addr::name_of(family, sotype);
        let place = Place {
            network,
            ..Place::nowhere()
        };
        failure::record("socket", place, error)
    })
}

/// A socket that is in the table. `sotype` is without flags.
pub fn make(family: c_int, sotype: c_int, proto: c_int) -> Result<Fd> {
    let fd = sys::socket::socket(family, sotype, proto)?;
    let kind = Kind { family, sotype };
    table::attach(fd, kind, None).inspect_err(|_| {
        let _ = sys::close(fd);
    })?;
    Ok(fd)
}

/// Go's default for datagrams.
pub fn set_broadcast(call: &Call) -> Result<()> {
    let kind = call.kind();
    if kind.sotype == libc::SOCK_DGRAM && kind.family != libc::AF_UNIX {
        option::set(call.fd(), option::BROADCAST, 1)?;
    }
    Ok(())
}

/// Takes a socket from elsewhere into the table.
pub fn attach(fd: Fd) -> Result<Fd> {
    let (family, sotype, _) = sys::socket::describe(fd)?;
    table::reserve(fd)?;
    sys::set_nonblock_cloexec(fd)?;
    let kind = Kind { family, sotype };
    let connected = kind
        .takes_turns()
        .then(|| sys::socket::getpeername(fd).ok());
    table::attach(fd, kind, connected.flatten().as_ref())?;
    Ok(fd)
}

/// Evicts all callers and forgets the descriptor, which stays open.
pub fn detach(fd: Fd) -> Result<Fd> {
    end(fd, State::Detaching).map(|()| fd)
}

/// Go `FD.Close`: evicts all callers; the last one out closes.
pub fn destroy(fd: Fd) -> Result<()> {
    end(fd, State::Destroying)
}

fn end(fd: Fd, end: State) -> Result<()> {
    let entry = table::find(fd)?;
    // In its own control function the caller would wait for himself, as he
    // does in Go: the call around it sees to the rest.
    if control::is_inside(entry) {
        entry.close_later(fd, end)
    } else {
        entry.close(fd, end)
    }
}

/// shutdown(2), beside all other calls.
pub fn shutdown(fd: Fd, how: c_int) -> Result<()> {
    let call = Call::incref(fd)?;
    sys::socket::shutdown(fd, how).explain("close", &call)
}

/// getsockname(2).
pub fn local_addr(fd: Fd) -> Result<Sockaddr> {
    let call = Call::incref(fd)?;
    sys::socket::getsockname(fd).explain("getsockname", &call)
}

/// The other end's address, after a reset too.
pub fn remote_addr(fd: Fd) -> Result<Sockaddr> {
    let call = Call::incref(fd)?;
    failure::remote_of(&call).explain("getpeername", &call)
}

/// Ready to be read, for `wait`.
pub const READABLE: c_int = 1;
/// Ready to be written, for `wait`.
pub const WRITABLE: c_int = 2;

/// Waits until the descriptor is ready for some of `events`, and returns for
/// which. It takes no turn, and the descriptor's deadlines do not concern it;
/// a deadline that has passed looks once.
pub fn wait(fd: Fd, events: c_int, deadline: i64) -> Result<c_int> {
    if events == 0 || events & !(READABLE | WRITABLE) != 0 {
        return Err(INVAL);
    }
    let call = Call::incref(fd)?;
    until_ready(&call, events, deadline).explain("wait", &call)
}

fn until_ready(call: &Call, events: c_int, deadline: i64) -> Result<c_int> {
    let mut asked: c_short = 0;
    if events & READABLE != 0 {
        asked |= Side::Read.event();
    }
    if events & WRITABLE != 0 {
        asked |= Side::Write.event();
    }
    let limits = Limits {
        side: None,
        deadline,
        token: None,
    };
    let mut poller = Poller::exact();
    loop {
        let ready = match call.wait(asked, limits, &mut poller) {
            Err(error) if error.same(DEADLINE) => {
                let now = ready_for(call, call.poll_now(asked)?, events)?;
                return if now == 0 { Err(DEADLINE) } else { Ok(now) };
            }
            other => ready_for(call, other?, events)?,
        };
        if ready != 0 {
            return Ok(ready);
        }
        poller.missed();
    }
}

/// What poll(2)'s answer means: an error or a hang-up is ready in any
/// direction, but an entry that stands in the error queue is neither.
fn ready_for(call: &Call, polled: c_short, events: c_int) -> Result<c_int> {
    if polled & libc::POLLNVAL != 0 {
        return Err(BADF); // closed behind our back
    }
    let mut ready = 0;
    for (side, bit) in [(Side::Read, READABLE), (Side::Write, WRITABLE)] {
        if polled & (side.event() | libc::POLLHUP) != 0 {
            ready |= bit;
        }
    }
    if events & !ready != 0 && has_error(call, polled)? {
        return Ok(events);
    }
    Ok(ready & events)
}

/// Whether the socket has an error that the next call would be told.
fn has_error(call: &Call, polled: c_short) -> Result<bool> {
    let taken = &call.entry().taken;
    if polled & libc::POLLERR != 0 {
        // Only the socket's error tells it from an entry in the error queue,
        // and asking takes it: it is kept for the call that would have been
        // given it, and whoever waits for it now is woken to look here.
        let errno = sys::socket::socket_option(call.fd(), libc::SO_ERROR)?;
        if errno != 0 {
            taken.store(errno, Ordering::Release);
            call.wake(Side::Read);
            call.wake(Side::Write);
        }
    }
    Ok(taken.load(Ordering::Acquire) != 0)
}
