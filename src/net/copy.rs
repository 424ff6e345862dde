//! From one descriptor to another: Go's `ReadFrom`, which is splice(2),
//! sendfile(2), or reading and writing, whichever fits.

use crate::error::{BADF, Error, Result};
use crate::fd::desc::Call;
use crate::fd::limits::Side;
use crate::fd::pair::Source;
use crate::net::failure::{Explain, Place, record};
use crate::net::transfer::{Transfer, of_source};
use crate::sys::{Fd, file};

/// Go `TCPConn.ReadFrom`: from `src` to `dst` until the end, or until `max`
/// bytes have been taken (negative: no limit).
pub fn copy(dst: Fd, src: Fd, max: i64) -> Result<i64> {
    let dst = Call::deferred(dst, Side::Write)?;
    let src = open(src)?;
    if max == 0 {
        return Ok(0);
    }
    Transfer::new(dst, src, None, max).map_or_else(Err, Transfer::run)
}

/// Go `sendFile`: `count` bytes (negative: all) of a file from `offset` on, or
/// from its own (negative), to a stream.
pub fn sendfile(fd: Fd, from: Fd, offset: i64, count: i64) -> Result<i64> {
    let dst = Call::deferred(fd, Side::Write)?;
    let src = open(from)?;
    if dst.kind().is_messages() {
        let odd = Error::argument(libc::EOPNOTSUPP);
        return Err(odd).explain("write", &dst);
    }
    let offset = (offset >= 0).then_some(offset);
    if offset.is_some() {
        file::seek(from, 0, libc::SEEK_CUR).map_err(|error| of_source(&src, error))?;
    }
    if count == 0 {
        return Ok(0);
    }
    Transfer::new(dst, src, offset, count).map_or_else(Err, Transfer::run)
}

fn open(src: Fd) -> Result<Source> {
    Source::open(src).map_err(|error| {
        let error = if error.is(libc::EBADF) { BADF } else { error };
        record("read", Place::nowhere(), error)
    })
}
