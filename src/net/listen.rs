//! Go's listenStream and accept.

use crate::addr;
use crate::error::{Error, Result, Sys};
use crate::fd::desc::Call;
use crate::fd::limits::{Limits, Patience, Side};
use crate::fd::table;
use crate::net::failure::{self, Explain, Place};
use crate::net::stream::or_taken;
use crate::sync::Ordering;
use crate::sys::socket::{Incoming, Sockaddr};
use crate::sys::{self, Fd, option, socket};
use libc::c_int;

/// Go `netFD.listenStream`: SO_REUSEADDR, bind, listen. Without an address the
/// kernel picks one.
pub fn listen_stream(fd: Fd, laddr: Option<&Sockaddr>, backlog: c_int) -> Result<()> {
    let call = Call::incref(fd)?;
    let result = bind_and_listen(&call, laddr, backlog, || Ok(()));
    result.map_err(|error| {
        let mut place = Place::of(&call);
        if let Some(laddr) = laddr {
            place.local = *laddr;
        }
        failure::record("listen", place, error)
    })
}

/// `before_bind` is where Go's control function has its place.
pub fn bind_and_listen(
    call: &Call,
    laddr: Option<&Sockaddr>,
    backlog: c_int,
    before_bind: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let fd = call.fd();
    if !call.kind().takes_turns() {
        return Err(Error::os(libc::EOPNOTSUPP, Sys::Listen));
    }
    option::set(fd, option::REUSE_ADDR, 1)?;
    before_bind()?;
    if let Some(laddr) = laddr {
        socket::bind(fd, laddr)?;
    }
    let backlog = if backlog <= 0 { c_int::MAX } else { backlog };
    socket::listen(fd, backlog).inspect_err(|_| {
        if let Some(path) = laddr.and_then(addr::unix_path) {
            let _ = sys::unlink(path);
        }
    })?;
    // As Go does, whose listener knows its address; here it is a last check
    // that the kernel has one.
    let _ = socket::getsockname(fd);
    Ok(())
}

/// Go `netFD.accept`. The connection is in the table and knows its peer.
pub fn accept(fd: Fd) -> Result<(Fd, Sockaddr)> {
    const LIMITS: Limits = Limits::of(Side::Read);
    let mut call = Call::exclusive(fd, Side::Read)?;
    accept_next(&mut call, LIMITS).explain("accept", &call)
}

fn accept_next(call: &mut Call, limits: Limits) -> Result<(Fd, Sockaddr)> {
    call.rwlock(limits, Patience::Park)?;
    let (entry, fd) = (call.entry(), call.fd());
    if entry.has_homeless() {
        call.prepare(limits)?;
    }
    let (conn, peer) = match entry.take_homeless() {
        Some(conn) => {
            let peer = socket::getpeername(conn);
            (conn, peer.unwrap_or_else(|_| Sockaddr::none()))
        }
        None => loop {
            let room = Incoming::default();
            let operation = || Some(room.operation());
            match call.run_or_hand_over(Side::Read, limits, true, operation, |answer| {
                let accepted = match answer {
                    None => socket::accept4(fd),
                    Some(answer) => room.accepted(answer),
                };
                or_taken(entry, accepted)
            }) {
                // That one is gone; it is not the listener's failure.
                Err(error) if error.is(libc::ECONNABORTED) => {}
                result => break result?,
            }
        },
    };
    // Without memory for it the connection waits for the next accept: the
    // kernel does not take it back into its queue.
    table::attach(conn, call.kind(), Some(&peer)).inspect_err(|_| entry.keep_homeless(conn))?;
    entry.accepts.fetch_add(1, Ordering::Relaxed);
    Ok((conn, peer))
}
