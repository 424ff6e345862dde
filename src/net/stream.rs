//! Reads and writes: one successful read(2), and all of a write.

use crate::error::{Error, Result, Sys};
use crate::fd::desc::Call;
use crate::fd::limits::{Limits, Patience, Side};
use crate::fd::table::Entry;
use crate::fiber;
use crate::net::failure::{Explain, Place, record};
use crate::sync::Ordering;
use crate::sys::message::{self, IOV_MAX, IoVecs};
use crate::sys::socket::{self, Bytes};
use crate::sys::uring::{Operation, answered};
use crate::sys::{Fd, process};
use crate::{park, poll};
use libc::c_int;

const READ: Limits = Limits::of(Side::Read);
const WRITE: Limits = Limits::of(Side::Write);

/// Go `FD.Read`. 0 is the end of the stream, and a buffer of length 0 reads
/// nothing.
#[inline]
pub fn read(fd: Fd, buf: &mut Bytes) -> Result<usize> {
    if buf.is_empty() {
        return Call::incref(fd).map(|_| 0);
    }
    let mut call = Call::shared(fd, Side::Read)?;
    let (at, len) = (buf.as_mut_ptr().cast(), buf.len());
    receive_into(&mut call, len, Some(at), move |answer| {
        let received = match answer {
            None => socket::recv(fd, buf, 0),
            Some(answer) => answered(answer, Sys::Recv),
        };
        received.map_err(|e| e.named(Sys::Read))
    })
    .explain("read", &call)
}

/// As `read`, into several buffers.
pub fn readv(fd: Fd, buffers: IoVecs<'_>) -> Result<usize> {
    if buffers.total() == 0 {
        return Call::incref(fd).map(|_| 0);
    }
    let mut call = Call::shared(fd, Side::Read)?;
    let part = if call.kind().is_messages() {
        buffers
    } else {
        buffers.skip_empty().part(0, IOV_MAX)
    };
    // What was asked of the kernel: beyond that there may be more.
    receive(&mut call, part.total(), || {
        message::recv_vectored(fd, part).map_err(|e| e.named(Sys::Readv))
    })
    .explain("read", &call)
}

/// Runs one receiving call to its success, and keeps the account of what is
/// likely and of how the connection ended.
#[inline]
pub fn receive(
    call: &mut Call,
    asked: usize,
    mut recv: impl FnMut() -> Result<usize>,
) -> Result<usize> {
    receive_into(call, asked, None, move |_| recv())
}

/// As `receive`. Where the bytes go `into` one place, a poller may receive them
/// in the caller's stead: then `recv` is given its answer.
#[inline]
fn receive_into(
    call: &mut Call,
    asked: usize,
    into: Option<*mut u8>,
    mut recv: impl FnMut(Option<c_int>) -> Result<usize>,
) -> Result<usize> {
    call.rwlock(READ, Patience::Park)?;
    let entry = call.entry();
    let likely = !entry.drained.load(Ordering::Relaxed);
    take_error(entry)?;
    let kind = call.kind();
    let operation = || {
        into.filter(|_| !kind.is_messages())
            // Only an EAGAIN of one's own says that the connection lives on.
            .filter(|_| entry.lost.load(Ordering::Relaxed) == 0)
            .map(|at| Operation::Recv {
                at,
                len: asked,
                waits: !likely,
            })
    };
    let result = call.run_or_hand_over(Side::Read, READ, likely, operation, move |answer| {
        heard(entry, recv(answer))
    });
    match result {
        Ok(0) => end_of_stream(call),
        Ok(n) => {
            let drained = n < asked;
            if (drained || !likely) && !call.kind().is_messages() {
                entry.drained.store(drained, Ordering::Relaxed);
            }
            Ok(n)
        }
        Err(error) => Err(remember(call, error)),
    }
}

/// Whether a 0 is the end: not so where any call was told that the connection
/// is lost.
#[cold]
pub fn end_of_stream(call: &Call) -> Result<usize> {
    if !call.kind().takes_turns() {
        return Ok(0);
    }
    // The kernel tells it once. A writer that is inside its system call may
    // have been told just now, and not have come to say so: it is waited for
    // until that one call is over.
    let entry = call.entry();
    let sends = entry.sends.load(Ordering::Acquire);
    let mut rounds = 0;
    // One that a ring has may take for ever, unless both directions are over.
    let is_handed_over = || entry.handed_over.load(Ordering::Acquire) == process::epoch();
    let in_ring =
        is_handed_over() && poll::now(call.fd(), 0).is_ok_and(|ready| ready & libc::POLLHUP != 0);
    let may_be_told = || {
        if in_ring {
            is_handed_over()
        } else {
            call.is_at_work(Side::Write)
        }
    };
    while entry.lost.load(Ordering::Acquire) == 0
        && may_be_told()
        && entry.sends.load(Ordering::Acquire) == sends
    {
        rounds += 1;
        if rounds < 100 {
            fiber::yield_now();
        } else {
            fiber::rest(50_000); // it may have a lower priority
        }
    }
    match entry.lost.load(Ordering::Acquire) {
        0 => Ok(0),
        errno => Err(Error::os(errno, Sys::Read)),
    }
}

/// The result, or in the place of EAGAIN the error that `netfd_wait` took.
pub fn or_taken<T>(entry: &Entry, result: Result<T>) -> Result<T> {
    if let Err(error) = result
        && error.is(libc::EAGAIN)
    {
        take_error(entry)?;
    }
    result
}

/// What a reader's system call said, with `or_taken`. An EAGAIN proves that the
/// connection lives.
#[inline]
pub fn heard<T>(entry: &Entry, result: Result<T>) -> Result<T> {
    let result = or_taken(entry, result);
    if let Err(error) = &result
        && error.is(libc::EAGAIN)
        && entry.lost.load(Ordering::Relaxed) != 0
    {
        entry.lost.store(0, Ordering::Relaxed);
    }
    result
}

/// One system call of a writer, counted, with `or_taken`.
pub fn counted<T>(entry: &Entry, send: impl FnOnce() -> Result<T>) -> Result<T> {
    let sends = entry.sends.load(Ordering::Relaxed);
    entry.sends.store(sends.wrapping_add(1), Ordering::Release);
    or_taken(entry, send())
}

/// The error that `netfd_wait` took from the socket belongs to the next call.
pub fn take_error(entry: &Entry) -> Result<()> {
    let taken = &entry.taken;
    if taken.load(Ordering::Relaxed) == 0 {
        return Ok(());
    }
    match taken.swap(0, Ordering::AcqRel) {
        0 => Ok(()),
        errno => Err(Error::os(errno, Sys::GetSockOpt)),
    }
}

/// Keeps the error by which a connection ended: the kernel tells it once, and
/// a read that came after would take the silence for the end of the stream.
pub fn remember(call: &Call, error: Error) -> Error {
    if call.kind().takes_turns() && ends_connection(error) {
        call.entry().lost.store(-error.code(), Ordering::Release);
    }
    error
}

/// Whether the kernel tells this error once, the connection being lost. EPIPE
/// is told each time, and may be one's own doing.
pub fn ends_connection(error: Error) -> bool {
    const ENDS: [libc::c_int; 10] = [
        libc::ECONNRESET,
        libc::ECONNABORTED,
        libc::ECONNREFUSED,
        libc::ETIMEDOUT,
        libc::EHOSTUNREACH,
        libc::EHOSTDOWN,
        libc::ENETUNREACH,
        libc::ENETDOWN,
        libc::EPROTO,
        libc::ENOPROTOOPT,
    ];
    error.call() != Sys::None && ENDS.iter().any(|errno| error.is(*errno))
}

/// Go `FD.Write`: all of it, unless something stops it on the way.
pub fn write(fd: Fd, buf: &Bytes) -> Result<usize> {
    let mut call = Call::shared(fd, Side::Write)?;
    // The kernel takes as much as it can count; the loop sees to the rest.
    let send = |done: usize| {
        let rest = buf.get(done..).unwrap_or_default();
        socket::send(fd, rest, 0).map_err(|e| e.named(Sys::Write))
    };
    let operation = |done: usize| {
        let rest = buf.get(done..).unwrap_or_default();
        Some(Operation::Send {
            at: rest.as_ptr().cast(),
            len: rest.len(),
        })
    };
    write_all(&mut call, "write", buf.len(), send, operation)
}

/// Go `FD.Writev`: as `write`, from several buffers.
pub fn writev(fd: Fd, buffers: IoVecs<'_>) -> Result<usize> {
    let mut call = Call::shared(fd, Side::Write)?;
    if call.kind().is_messages() {
        // One message, whatever the number of buffers: the kernel says
        // EMSGSIZE where they are too many.
        let send = |_| message::send_vectored(fd, buffers).map_err(|e| e.named(Sys::Writev));
        return write_all(&mut call, "writev", buffers.total(), send, |_| None);
    }
    let mut at = Position::default();
    let send = |done: usize| {
        at.move_to(buffers, done);
        // What is left of a buffer that went in part goes by itself, so that
        // nobody's array has to be copied or changed.
        let sent = if at.inside > 0 {
            socket::send(fd, buffers.tail_of(at.index, at.inside), 0)
        } else {
            message::send_vectored(fd, buffers.part(at.index, IOV_MAX))
        };
        sent.map_err(|e| e.named(Sys::Writev))
    };
    write_all(&mut call, "writev", buffers.total(), send, |_| None)
}

/// How far a vectored write has come: in which buffer, how much of it, and how
/// many bytes are in those before.
#[derive(Debug, Default)]
struct Position {
    index: usize,
    inside: usize,
    before: usize,
}

impl Position {
    fn move_to(&mut self, buffers: IoVecs<'_>, done: usize) {
        while self.index < buffers.count() {
            let len = buffers.len_of(self.index);
            if done < self.before + len {
                break;
            }
            self.before += len;
            self.index += 1;
        }
        self.inside = done - self.before;
    }
}

/// Sends until `len` bytes have gone: `send` is told how many did. Where some
/// did and something stops it, the count is the result, and the error is in
/// the failure record; one that the kernel would not repeat waits for the next
/// write. A poller may send in the caller's stead, where there is an
/// `operation` for it.
fn write_all(
    call: &mut Call,
    op: &'static str,
    len: usize,
    send: impl FnMut(usize) -> Result<usize>,
    operation: impl Fn(usize) -> Option<Operation>,
) -> Result<usize> {
    ready_to_send(call, Patience::Park).explain(op, call)?;
    // A message that a ring has to try twice is sent empty: Linux loses its
    // place in the bytes.
    if !park::operates() || call.kind().is_messages() {
        return send_all(call, op, len, send, |_| None);
    }
    let handed_over = &call.entry().handed_over;
    handed_over.store(process::epoch(), Ordering::Release);
    let sent = send_all(call, op, len, send, operation);
    handed_over.store(0, Ordering::Release);
    sent
}

#[inline(always)]
fn send_all(
    call: &Call,
    op: &'static str,
    len: usize,
    mut send: impl FnMut(usize) -> Result<usize>,
    operation: impl Fn(usize) -> Option<Operation>,
) -> Result<usize> {
    let mut done = 0;
    let entry = call.entry();
    loop {
        // Whoever has been evicted goes, though it could write on.
        let open = if done > 0 {
            fiber::let_others_run();
            call.prepare(WRITE)
        } else {
            Ok(())
        };
        let sent = open.and_then(|()| {
            let operation = || operation(done);
            call.run_or_hand_over(Side::Write, WRITE, true, operation, |answer| match answer {
                None => counted(entry, || send(done)),
                Some(answer) => or_taken(entry, answered(answer, Sys::Write)),
            })
        });
        match sent {
            Ok(n) => {
                // More than was asked for is a kernel's lie; believed, it
                // would skip bytes.
                done += n.min(len - done);
                if done == len {
                    return Ok(done);
                }
                if n == 0 {
                    return stop(call, op, done, Error::os(libc::EIO, Sys::Write));
                }
            }
            Err(error) => return stop(call, op, done, remember(call, error)),
        }
    }
}

#[cold]
fn stop(call: &Call, op: &'static str, done: usize, error: Error) -> Result<usize> {
    let error = record(op, Place::of(call), error);
    if done == 0 {
        return Err(error);
    }
    if ends_connection(error) {
        call.entry().stopped.store(-error.code(), Ordering::Release);
    }
    Ok(done)
}

/// Takes the turn to write, and hands out what earlier calls left: the error
/// that `netfd_wait` took, or that stopped a write of which a part had gone.
pub fn ready_to_send(call: &mut Call, patience: Patience) -> Result<()> {
    call.rwlock(WRITE, patience)?;
    take_error(call.entry())?;
    let stopped = &call.entry().stopped;
    if stopped.load(Ordering::Relaxed) == 0 {
        return Ok(());
    }
    match stopped.swap(0, Ordering::AcqRel) {
        0 => Ok(()),
        errno => Err(Error::os(errno, Sys::Write)),
    }
}
