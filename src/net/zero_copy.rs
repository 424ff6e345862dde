//! Bytes that the kernel moves by itself: splice(2), sendfile(2).

use crate::error::{Error, Result, Sys};
use crate::fd::desc::Call;
use crate::fd::limits::Side;
use crate::net::pipes::{self, Pipe};
use crate::net::stream::{counted, heard};
use crate::net::transfer::{CHUNK, Form, Rest, Step, Transfer, at_most, of_read, of_write};
use crate::sys::{file, socket};
use core::mem::MaybeUninit;
use libc::c_int;

/// What sendfile(2) is asked for at once, so that destroy and the deadlines
/// are looked at between.
const FILE_PART: usize = 4 << 20;

/// What came of an attempt to fill a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drained {
    /// Something is in it.
    Some,
    /// Nothing, though the source is ready, or at its end.
    Nothing,
    /// The kernel does not do it.
    Refused,
}

impl Transfer {
    /// From a stream to a stream, through a pipe. It is filled only when it
    /// is empty, so that EAGAIN says which side is not ready.
    pub(super) fn splice(&mut self) -> Step<Rest> {
        let Ok(mut pipe) = Pipe::take() else {
            return Ok(Rest::Copied); // no descriptor is to be had
        };
        while self.left > 0 {
            match self.drain(&mut pipe)? {
                Drained::Some => {}
                Drained::Nothing if self.has_ended()? => return Ok(Rest::Done),
                Drained::Nothing => {
                    self.copy_once()?;
                    continue;
                }
                Drained::Refused => return Ok(Rest::Copied),
            }
            while pipe.fill() > 0 {
                if !self.pump(&mut pipe)? {
                    self.copy_out(&mut pipe)?;
                    return Ok(Rest::Copied);
                }
            }
        }
        Ok(Rest::Done)
    }

    fn drain(&mut self, pipe: &mut Pipe) -> Step<Drained> {
        let fd = self.pair.src().fd();
        let entry = self.pair.src().call().map(Call::entry);
        let ask = at_most(self.left, pipes::ROOM as usize);
        let is_socket = self.form == Form::Stream;
        let mut tries = 0;
        let drained = self.pair.run(Side::Read, true, |_| {
            tries += 1;
            let result = pipe.drain(fd, ask);
            let result = match entry {
                Some(entry) => heard(entry, result),
                None => result,
            };
            match result {
                Err(error) if error.is(libc::EAGAIN) && tries > 1 && is_socket => {
                    Ok(Drained::Nothing)
                }
                Err(error) if is_refusal(error) => Ok(Drained::Refused),
                Ok(0) => Ok(Drained::Nothing),
                other => other.map(|_| Drained::Some),
            }
        })?;
        self.took(pipe.fill());
        Ok(drained)
    }

    /// Whether the source is at its end, where splice(2) found nothing. What
    /// recv(2) says counts: splice(2) also stops at an urgent mark, for ever,
    /// and calls that the end where the peer hung up behind it.
    fn has_ended(&mut self) -> Step<bool> {
        let mut one = [MaybeUninit::uninit()];
        if self.form == Form::Stream && self.look(&mut one)? > 0 {
            return Ok(false);
        }
        self.end().map(|()| true)
    }

    /// Writes from the pipe. False: the kernel refuses.
    fn pump(&mut self, pipe: &mut Pipe) -> Step<bool> {
        let fd = self.pair.dst().fd();
        let fill = pipe.fill();
        match self.moved_by_kernel(fill, Sys::Splice, || pipe.pump(fd))? {
            Some(n) => self.put(n).map(|()| true),
            None => Ok(false),
        }
    }

    /// Runs a call by which the kernel writes up to `ask` bytes. `None`: it
    /// refuses.
    fn moved_by_kernel(
        &mut self,
        ask: usize,
        name: Sys,
        mut call: impl FnMut() -> Result<usize>,
    ) -> Step<Option<usize>> {
        let (fd, entry) = self.dst();
        let short = &mut self.short;
        self.pair.run(Side::Write, true, |silence| {
            let result = counted(entry, || silence.run(ask, &mut call));
            match result {
                Ok(n) => *short = n < ask,
                Err(error) if error.is(libc::EAGAIN) => *short = false,
                // Where it sends several times in one call, and the connection
                // is reset before the last of them, it tells how much went and
                // forgets the reset. Somebody must know: a read would take
                // the silence for the end.
                Err(error) if error.is(libc::EPIPE) && *short && socket::is_dead_tcp(fd) => {
                    return Err(Error::os(libc::ECONNRESET, name));
                }
                Err(_) => {}
            }
            unless_refused(result)
        })
    }

    /// Writes what is in a pipe that the kernel does not write from.
    fn copy_out(&mut self, pipe: &mut Pipe) -> Step<()> {
        while pipe.fill() > 0 {
            let buf = self.buffer(CHUNK).map_err(of_write)?;
            let n = pipe.read(buf).map_err(of_write)?;
            self.send(n)?;
        }
        Ok(())
    }

    /// From a file to a stream by sendfile(2), which is never asked for more
    /// than the file has: it would announce more to come, and the peer would
    /// wait for that.
    pub(super) fn send_file(&mut self) -> Step<Rest> {
        let file = self.pair.src().fd();
        let fd = self.pair.dst().fd();
        while self.left > 0 {
            let there = self.bytes_there().map_err(of_read)?;
            if there == 0 {
                break;
            }
            let mut room = there.min(self.left);
            while room > 0 {
                let ask = at_most(room, FILE_PART);
                let mut offset = self.offset;
                let send = || file::sendfile(fd, file, offset.as_mut(), ask);
                match self.moved_by_kernel(ask, Sys::Sendfile, send)? {
                    None => return Ok(Rest::Copied),
                    // It has become shorter, or does not tell its length.
                    Some(0) => return Ok(Rest::Copied),
                    Some(n) => {
                        let n = n.min(ask);
                        self.moved(n);
                        self.took(n);
                        self.put(n)?;
                        room -= n as u64;
                    }
                }
            }
        }
        Ok(Rest::Done)
    }

    /// How many bytes the file has from here on.
    fn bytes_there(&self) -> Result<u64> {
        let file = self.pair.src().fd();
        let at = match self.offset {
            Some(at) => at,
            None => file::seek(file, 0, libc::SEEK_CUR)?,
        };
        let there = file::stat(file)?.size.saturating_sub(at);
        Ok(u64::try_from(there).unwrap_or(0))
    }
}

/// Whether the kernel will not move these bytes by itself, or says something
/// of which reading and writing will tell whose failure it is.
fn is_refusal(error: Error) -> bool {
    const REFUSALS: [c_int; 11] = [
        libc::EINVAL,
        libc::ENOSYS,
        libc::EOPNOTSUPP,
        libc::EPERM,
        libc::EACCES,
        libc::ENOMEM,
        libc::ENOBUFS,
        libc::EBADF,
        libc::EIO,
        libc::EOVERFLOW,
        libc::ESPIPE,
    ];
    REFUSALS.iter().any(|errno| error.is(*errno))
}

fn unless_refused(result: Result<usize>) -> Result<Option<usize>> {
    match result {
        Err(error) if is_refusal(error) => Ok(None),
        other => other.map(Some),
    }
}
