//! The calls with flags, addresses and control messages. Each is one
//! successful system call.

use crate::error::{Error, Result, Sys};
use crate::fd::desc::Call;
use crate::fd::limits::{Limits, Patience, Side};
use crate::net::failure::Explain;
use crate::net::stream::{
    counted, end_of_stream, or_taken, ready_to_send, receive, remember, take_error,
};
use crate::sync::Ordering;
use crate::sys::Fd;
use crate::sys::message::{self, Batch, Message};
use crate::sys::socket::{self, Bytes, Sockaddr};
use libc::c_int;

const READ: Limits = Limits::of(Side::Read);
const WRITE: Limits = Limits::of(Side::Write);

/// Go `FD.ReadFrom`. With `wants_sender` false the kernel is not asked.
pub fn recvfrom(
    fd: Fd,
    buf: &mut Bytes,
    flags: c_int,
    wants_sender: bool,
) -> Result<(usize, Sockaddr)> {
    let mut sender = Sockaddr::none();
    let asked = buf.len();
    let n = receiving(fd, asked, flags, || {
        if !wants_sender {
            return socket::recv(fd, buf, flags).map_err(|e| e.named(Sys::Recvfrom));
        }
        let (n, from) = socket::recvfrom(fd, buf, flags)?;
        sender = from;
        Ok(n)
    })?;
    Ok((n, sender))
}

/// Go `FD.ReadMsg`; the header is filled in as by recvmsg(2).
pub fn recvmsg(fd: Fd, header: Message<'_>, flags: c_int) -> Result<usize> {
    receiving(fd, header.total(), flags, || {
        message::recvmsg(fd, header, flags)
    })
}

/// As `recvmsg`, of as many messages as are there, at least one. Returns how
/// many came.
pub fn recvmmsg(fd: Fd, batch: Batch<'_>, flags: c_int) -> Result<usize> {
    if batch.len() == 0 {
        return Call::incref(fd).map(|_| 0);
    }
    let recv = || message::recvmmsg(fd, batch, flags);
    if flags & libc::MSG_ERRQUEUE != 0 {
        let call = Call::incref(fd)?;
        return call.run_once(READ, recv).explain("read", &call);
    }
    let mut call = Call::shared(fd, Side::Read)?;
    let result = receive_oddly(&mut call, 0, flags, recv);
    let result = match result {
        // Unlike recvmsg(2) it tells an error before the bytes that came
        // earlier. The error has been remembered, and comes after them.
        Err(error) if call.entry().lost.load(Ordering::Relaxed) == -error.code() => {
            call.run_once(READ, recv).or(Err(error))
        }
        other => other,
    };
    result
        .and_then(|came| without_false_end(&call, batch, came))
        .explain("read", &call)
}

/// How many of a batch's messages are to be told: a stream that was lost has
/// no end, and the call that meets it is told so.
fn without_false_end(call: &Call, batch: Batch<'_>, came: usize) -> Result<usize> {
    if !call.kind().takes_turns() {
        return Ok(came);
    }
    match batch.first_empty(came) {
        None => Ok(came),
        Some(0) => end_of_stream(call).map(|_| came),
        Some(before) => Ok(end_of_stream(call).map_or(before, |_| came)),
    }
}

fn receiving(
    fd: Fd,
    asked: usize,
    flags: c_int,
    recv: impl FnMut() -> Result<usize>,
) -> Result<usize> {
    // The error queue is beside the stream: no turn, and nothing to wait for.
    if flags & libc::MSG_ERRQUEUE != 0 {
        let call = Call::incref(fd)?;
        return call.run_once(READ, recv).explain("read", &call);
    }
    let mut call = Call::shared(fd, Side::Read)?;
    // With these the count says nothing of what is left in the socket.
    const ODD: c_int = libc::MSG_PEEK | libc::MSG_OOB | libc::MSG_TRUNC;
    let plain = flags & (ODD | libc::MSG_DONTWAIT) == 0 && asked > 0;
    let result = if plain {
        receive(&mut call, asked, recv)
    } else {
        receive_oddly(&mut call, asked, flags, recv)
    };
    result.explain("read", &call)
}

fn receive_oddly(
    call: &mut Call,
    asked: usize,
    flags: c_int,
    mut recv: impl FnMut() -> Result<usize>,
) -> Result<usize> {
    call.rwlock(READ, patience(flags))?;
    let entry = call.entry();
    take_error(entry)?;
    let recv = || or_taken(entry, recv());
    let result = match patience(flags) {
        Patience::Park => call.run(Side::Read, READ, true, recv),
        Patience::Never => call.run_once(READ, recv),
    };
    match result {
        Ok(0) if asked > 0 => end_of_stream(call),
        other => other.map_err(|error| remember(call, error)),
    }
}

/// Go `FD.WriteTo`.
pub fn sendto(fd: Fd, buf: &Bytes, flags: c_int, to: Option<&Sockaddr>) -> Result<usize> {
    sending(
        fd,
        flags,
        || to.is_some(),
        || match to {
            Some(to) => socket::sendto(fd, buf, flags, to),
            None => socket::send(fd, buf, flags).map_err(|e| e.named(Sys::Sendto)),
        },
    )
}

/// Go `FD.WriteMsg`.
pub fn sendmsg(fd: Fd, header: Message<'_>, flags: c_int) -> Result<usize> {
    let send = || message::sendmsg(fd, header, flags);
    sending(fd, flags, || header.is_addressed(), send)
}

/// As `sendmsg`, of as many messages as there is room for, at least one.
/// Returns how many went.
pub fn sendmmsg(fd: Fd, batch: Batch<'_>, flags: c_int) -> Result<usize> {
    if batch.len() == 0 {
        return Call::incref(fd).map(|_| 0);
    }
    let send = || message::sendmmsg(fd, batch, flags);
    sending(fd, flags, || batch.is_addressed(), send)
}

/// One successful sending call, as `flags` allow it to wait. Where the socket
/// was aimed at one peer, no other can be told: Go's `ErrWriteToConnected`.
fn sending(
    fd: Fd,
    flags: c_int,
    is_addressed: impl FnOnce() -> bool,
    send: impl FnMut() -> Result<usize>,
) -> Result<usize> {
    let mut call = Call::shared(fd, Side::Write)?;
    let sent = if call.entry().aimed.load(Ordering::Relaxed) && is_addressed() {
        Err(Error::argument(libc::EISCONN))
    } else {
        send_one(&mut call, flags, send)
    };
    sent.explain("write", &call)
}

/// One successful sending call, as `flags` allow it to wait.
pub fn send_one(
    call: &mut Call,
    flags: c_int,
    mut send: impl FnMut() -> Result<usize>,
) -> Result<usize> {
    ready_to_send(call, patience(flags))?;
    let entry = call.entry();
    let send = || counted(entry, &mut send);
    let result = match patience(flags) {
        Patience::Park => call.run(Side::Write, WRITE, true, send),
        Patience::Never => call.run_once(WRITE, send),
    };
    result.map_err(|error| remember(call, error))
}

fn patience(flags: c_int) -> Patience {
    if flags & (libc::MSG_DONTWAIT | libc::MSG_ERRQUEUE) != 0 {
        Patience::Never
    } else {
        Patience::Park
    }
}
