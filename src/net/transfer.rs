//! Bytes on their way from one descriptor to another: the account of them, the
//! way that fits everything (reading and writing), and what is kept when it is
//! stopped.
//!
//! No byte is lost in silence: what was read and could not be written goes
//! back where the source can seek; elsewhere the next write says that the
//! stream has a hole.

use crate::error::{Error, Result, Sys};
use crate::fd::desc::Call;
use crate::fd::limits::{Patience, Side};
use crate::fd::pair::{Pair, Source, Stopped};
use crate::fd::table::Entry;
use crate::fiber;
use crate::net::failure::{Place, record};
use crate::net::stream::{
    counted, end_of_stream, ends_connection, heard, ready_to_send, remember, take_error,
};
use crate::park;
use crate::sync::Ordering;
use crate::sys::socket::{self, Bytes};
use crate::sys::{Fd, file};
use core::mem::MaybeUninit;
use libc::c_int;

/// What is read at once where bytes are copied.
pub const CHUNK: usize = 64 << 10;

/// The same where each read becomes a message: Go's io.Copy has this size, and
/// every kind of datagram takes it.
const MESSAGE: usize = 32 << 10;

/// What a step of a transfer came to.
pub type Step<T> = core::result::Result<T, Stopped>;

/// How the rest of a transfer is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// There is none.
    Done,
    /// The kernel does not move these bytes by itself.
    Copied,
}

/// What there is to be read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A socket that is a stream.
    Stream,
    /// A stream as well, but one that would block in splice(2).
    Blocking,
    /// A pipe.
    Pipe,
    /// A socket of messages.
    Messages,
    /// A regular file that has a length.
    File,
    /// A regular file without one: procfs.
    Strange,
    /// A terminal, an eventfd.
    Device,
}

/// Records a failure that is the source's.
pub fn of_source(src: &Source, error: Error) -> Error {
    record(
        "read",
        src.call().map_or_else(Place::nowhere, Place::of),
        error,
    )
}

fn form_of(src: &Source) -> Result<Form> {
    let fd = src.fd();
    if let Some(call) = src.call() {
        return Ok(if call.kind().is_messages() {
            Form::Messages
        } else {
            Form::Stream
        });
    }
    let stat = file::stat(fd)?;
    if stat.is_socket() {
        let (family, sotype, _) = socket::describe(fd)?;
        let stream = sotype == libc::SOCK_STREAM;
        // Of the two only unix sockets listen to SPLICE_F_NONBLOCK.
        let waits = family != libc::AF_UNIX && !file::is_nonblocking(fd)?;
        return Ok(match (stream, waits) {
            (true, false) => Form::Stream,
            (true, true) => Form::Blocking,
            (false, _) => Form::Messages,
        });
    }
    Ok(if stat.is_pipe() {
        Form::Pipe
    } else if stat.is_regular() && stat.size > 0 {
        Form::File
    } else if stat.is_regular() {
        Form::Strange
    } else {
        Form::Device
    })
}

/// Bytes on their way from one descriptor to another.
#[derive(Debug)]
pub struct Transfer {
    pub(super) pair: Pair,
    pub(super) form: Form,
    /// Where in the file the next byte is, if not at its own offset.
    pub(super) offset: Option<i64>,
    /// How many bytes may still be taken.
    pub(super) left: u64,
    /// How many were read and are not written yet.
    pending: usize,
    /// How many were written.
    done: u64,
    /// The kernel's last write was of fewer than it was asked for, and why has
    /// not been seen yet.
    pub(super) short: bool,
    buffer: Vec<MaybeUninit<u8>>,
}

impl Transfer {
    /// From `src`, at `offset` where that is given, at most `max` bytes.
    pub fn new(dst: Call, src: Source, offset: Option<i64>, max: i64) -> Result<Self> {
        let form = form_of(&src).map_err(|error| of_source(&src, error))?;
        Ok(Self {
            pair: Pair::new(dst, src),
            form,
            offset,
            left: u64::try_from(max).unwrap_or(i64::MAX.unsigned_abs()),
            pending: 0,
            done: 0,
            short: false,
            buffer: Vec::new(),
        })
    }

    /// All of it. The result is how much was written.
    pub fn run(mut self) -> Result<i64> {
        match self.begin().and_then(|()| self.transfer()) {
            Ok(()) => Ok(self.done()),
            Err(stopped) => self.stop(stopped),
        }
    }

    fn done(&self) -> i64 {
        i64::try_from(self.done).unwrap_or(i64::MAX)
    }

    /// Takes the turns, and hands out what earlier calls left.
    fn begin(&mut self) -> Step<()> {
        self.pair.lock()?;
        if let Some(src) = self.pair.src().call() {
            take_error(src.entry()).map_err(of_read)?;
        }
        ready_to_send(self.pair.dst_mut(), Patience::Park).map_err(of_write)
    }

    fn transfer(&mut self) -> Step<()> {
        let rest = match self.form {
            _ if self.pair.dst().kind().is_messages() => Rest::Copied,
            Form::Stream | Form::Pipe => self.splice()?,
            Form::File => self.send_file()?,
            _ => Rest::Copied,
        };
        if rest == Rest::Copied {
            while self.left > 0 && self.copy_once()? {}
        }
        Ok(())
    }

    /// Reads once, and writes all of it. False: the source has ended.
    pub(super) fn copy_once(&mut self) -> Step<bool> {
        let chunk = if self.form != Form::Messages && self.pair.dst().kind().is_messages() {
            MESSAGE
        } else {
            CHUNK
        };
        let room = at_most(self.left, chunk);
        let n = self.read(room)?;
        if n == 0 && !self.is_datagram() {
            self.end()?;
            return Ok(false);
        }
        self.moved(n);
        self.took(n);
        self.send(n)?;
        Ok(true)
    }

    /// Whether a read of nothing is a message like any other.
    fn is_datagram(&self) -> bool {
        let takes_turns = |call: &Call| call.kind().takes_turns();
        self.form == Form::Messages
            && match self.pair.src() {
                Source::Attached(call) => !takes_turns(call),
                Source::Plain(fd) => {
                    socket::describe(*fd).is_ok_and(|(_, sotype, _)| sotype != libc::SOCK_SEQPACKET)
                }
            }
    }

    /// The source says that it has ended. A connection that was lost has not.
    pub(super) fn end(&mut self) -> Step<()> {
        // All is written. Whoever asks how the other direction ended waits for
        // its writer, and must not wait for one that asks the same.
        self.pair.unlock_dst();
        match self.pair.src() {
            Source::Attached(src) => end_of_stream(src).map(drop).map_err(of_read),
            Source::Plain(_) => Ok(()),
        }
    }

    /// Reads at most `room` bytes into the buffer.
    fn read(&mut self, room: usize) -> Step<usize> {
        self.buffer(room).map_err(of_read)?;
        let fd = self.pair.src().fd();
        let entry = self.pair.src().call().map(Call::entry);
        let (form, offset) = (self.form, self.offset);
        let buf = self.buffer.get_mut(..room).unwrap_or_default();
        let is_socket = matches!(form, Form::Stream | Form::Blocking | Form::Messages);
        // What may be in blocking mode is asked before it is read.
        let likely = !matches!(form, Form::Pipe | Form::Device);
        self.pair.run(Side::Read, likely, |_| {
            let result = match offset {
                Some(at) => file::read_at(fd, buf, at),
                None if form == Form::Messages => message(fd, buf),
                None if is_socket => receive(fd, buf, 0),
                None => file::read(fd, buf),
            };
            match entry {
                Some(entry) => heard(entry, result),
                None => result,
            }
        })
    }

    /// Waits until a socket has something, or is at its end (0), and leaves it
    /// there.
    pub(super) fn look(&mut self, buf: &mut Bytes) -> Step<usize> {
        let fd = self.pair.src().fd();
        let entry = self.pair.src().call().map(Call::entry);
        self.pair.run(Side::Read, true, |_| {
            let result = receive(fd, buf, libc::MSG_PEEK);
            match entry {
                Some(entry) => heard(entry, result),
                None => result,
            }
        })
    }

    /// Writes the first `len` bytes of the buffer.
    pub(super) fn send(&mut self, len: usize) -> Step<()> {
        let (fd, entry) = self.dst();
        let mut at = 0;
        // Nothing is a message, too.
        let mut more = len > 0 || self.pair.dst().kind().is_messages();
        while more {
            let rest = self.buffer.get(at..len).unwrap_or_default();
            let n = self.pair.run(Side::Write, true, |_| {
                let send = || socket::send(fd, rest, 0).map_err(|e| e.named(Sys::Write));
                counted(entry, send)
            })?;
            let n = n.min(rest.len());
            at += n;
            more = at < len;
            if more {
                self.put(n)?;
            } else {
                self.pending -= n;
                self.done += n as u64;
                self.end_round();
            }
        }
        Ok(())
    }

    pub(super) fn dst(&self) -> (Fd, &'static Entry) {
        (self.pair.dst().fd(), self.pair.dst().entry())
    }

    /// The buffer, with room for `len` bytes.
    pub(super) fn buffer(&mut self, len: usize) -> Result<&mut Bytes> {
        if self.buffer.len() < len {
            let more = len - self.buffer.len();
            let full = |_| Error::os(libc::ENOMEM, Sys::Malloc);
            self.buffer.try_reserve_exact(more).map_err(full)?;
            self.buffer.resize(len, MaybeUninit::uninit());
        }
        Ok(&mut self.buffer)
    }

    /// Bytes were taken from the file, which has no place of its own for it.
    pub(super) fn moved(&mut self, n: usize) {
        if let Some(offset) = &mut self.offset {
            *offset = offset.saturating_add(n as i64);
        }
    }

    pub(super) fn took(&mut self, n: usize) {
        self.left = self.left.saturating_sub(n as u64);
        self.pending += n;
    }

    /// Bytes were written; none, where there was room and something to write,
    /// is no success.
    pub(super) fn put(&mut self, n: usize) -> Step<()> {
        self.pending = self.pending.saturating_sub(n);
        self.done += n as u64;
        if n == 0 {
            return Err(of_write(Error::os(libc::EIO, Sys::Write)));
        }
        self.end_round();
        Ok(())
    }

    /// Lets others run, where it has gone on for long without a park.
    fn end_round(&mut self) {
        if park::is_spent() {
            self.pair.end_silence();
            fiber::yield_now();
        }
    }

    /// The failure is on record, what a later call must know is kept, and the
    /// count is the result where there is one.
    #[cold]
    fn stop(self, stopped: Stopped) -> Result<i64> {
        let dst = self.pair.dst();
        let error = match stopped.side {
            Side::Write => record("write", Place::of(dst), remember(dst, stopped.error)),
            Side::Read => {
                let error = stopped.error;
                if let Some(src) = self.pair.src().call() {
                    remember(src, error);
                }
                of_source(self.pair.src(), error)
            }
        };
        let lost = self.pending > 0 && !self.give_back();
        let kept = if stopped.side == Side::Write && self.done > 0 && ends_connection(error) {
            -error.code()
        } else if lost {
            libc::EPIPE
        } else {
            0
        };
        if kept != 0 && dst.is_open() {
            dst.entry().stopped.store(kept, Ordering::Release);
        }
        if self.done == 0 {
            return Err(error);
        }
        Ok(self.done())
    }

    /// Sets a file's own offset back to what was not written. Some that have
    /// none say that they did.
    fn give_back(&self) -> bool {
        if self.offset.is_some() {
            return true;
        }
        if self.pair.src().call().is_some() {
            return false;
        }
        let file = self.pair.src().fd();
        let Ok(now) = file::seek(file, 0, libc::SEEK_CUR) else {
            return false;
        };
        let before = now.saturating_sub(self.pending as i64);
        before >= 0 && file::seek(file, before, libc::SEEK_SET) == Ok(before)
    }
}

/// recv(2), which does not wait though the socket may be in blocking mode.
fn receive(fd: Fd, buf: &mut Bytes, flags: c_int) -> Result<usize> {
    let n = socket::recv(fd, buf, flags | libc::MSG_DONTWAIT).map_err(|e| e.named(Sys::Read))?;
    if n > buf.len() {
        // Longer than the one that was looked at, which somebody else has.
        return Err(Error::os(libc::EMSGSIZE, Sys::Read));
    }
    Ok(n)
}

/// One message. One that has no room is left where it is.
fn message(fd: Fd, buf: &mut Bytes) -> Result<usize> {
    const LOOK: c_int = libc::MSG_PEEK | libc::MSG_TRUNC | libc::MSG_DONTWAIT;
    let room = buf.len();
    let len = socket::recv(fd, buf.get_mut(..1).unwrap_or_default(), LOOK)
        .map_err(|e| e.named(Sys::Read))?;
    if len > room {
        return Err(Error::os(libc::EMSGSIZE, Sys::Read));
    }
    receive(fd, buf, libc::MSG_TRUNC)
}

/// A failure of the source.
pub const fn of_read(error: Error) -> Stopped {
    Stopped {
        side: Side::Read,
        error,
    }
}

/// A failure of the target.
pub const fn of_write(error: Error) -> Stopped {
    Stopped {
        side: Side::Write,
        error,
    }
}

/// As much as is left, and at most `most`.
pub fn at_most(left: u64, most: usize) -> usize {
    usize::try_from(left).map_or(most, |left| left.min(most))
}
