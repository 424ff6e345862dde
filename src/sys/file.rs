//! Files and pipes, and the calls that move bytes without showing them:
//! splice(2), sendfile(2).

use crate::error::{Result, Sys};
use crate::sys::socket::Bytes;
use crate::sys::{Fd, check, check_len, errno};
use core::mem::zeroed;
use core::ptr;
use libc::c_int;

/// What kind of file a descriptor is, and how long.
#[derive(Clone, Copy, Debug)]
pub struct Stat {
    kind: libc::mode_t,
    /// Its length in bytes, where it is regular.
    pub size: i64,
}

impl Stat {
    /// Whether it is a regular file.
    pub fn is_regular(self) -> bool {
        self.kind == libc::S_IFREG
    }

    /// Whether it is a pipe.
    pub fn is_pipe(self) -> bool {
        self.kind == libc::S_IFIFO
    }

    /// Whether it is a socket.
    pub fn is_socket(self) -> bool {
        self.kind == libc::S_IFSOCK
    }
}

/// fstat(2).
pub fn stat(fd: Fd) -> Result<Stat> {
    // SAFETY: an all-zero struct stat is one to be filled in.
    let mut stat: libc::stat64 = unsafe { zeroed() };
    // SAFETY: it is there to be written.
    check(unsafe { libc::fstat64(fd, &mut stat) }, Sys::Fstat)?;
    Ok(Stat {
        kind: stat.st_mode & libc::S_IFMT,
        size: stat.st_size,
    })
}

/// Whether reads and writes of the open description do not wait.
pub fn is_nonblocking(fd: Fd) -> Result<bool> {
    // SAFETY: F_GETFL takes no third argument.
    let flags = check(unsafe { libc::fcntl(fd, libc::F_GETFL) }, Sys::Fcntl)?;
    Ok(flags & libc::O_NONBLOCK != 0)
}

/// lseek(2): moves the file's own offset, and returns where it is now.
pub fn seek(fd: Fd, offset: i64, whence: c_int) -> Result<i64> {
    // SAFETY: lseek takes no pointer.
    let at = unsafe { libc::lseek64(fd, offset, whence) };
    if at < 0 {
        Err(crate::error::Error::os(errno(), Sys::Lseek))
    } else {
        Ok(at)
    }
}

/// read(2).
pub fn read(fd: Fd, buf: &mut Bytes) -> Result<usize> {
    // SAFETY: `buf` is writable for its length.
    let n = unsafe { libc::read(fd, buf.as_mut_ptr().cast(), buf.len()) };
    check_len(n, Sys::Read)
}

/// pread(2): read(2) from a place of its own.
pub fn read_at(fd: Fd, buf: &mut Bytes, offset: i64) -> Result<usize> {
    // SAFETY: `buf` is writable for its length.
    let n = unsafe { libc::pread64(fd, buf.as_mut_ptr().cast(), buf.len(), offset) };
    check_len(n, Sys::Read)
}

/// pipe2(2), non-blocking and close-on-exec: the end to read, the end to
/// write.
pub fn pipe() -> Result<(Fd, Fd)> {
    let mut ends: [Fd; 2] = [-1; 2];
    // SAFETY: there is room for two.
    let made = unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_NONBLOCK | libc::O_CLOEXEC) };
    check(made, Sys::Pipe2)?;
    let [read, write] = ends;
    Ok((read, write))
}

/// Asks for room for `size` bytes in a pipe; one that is refused stays as it
/// is.
pub fn set_pipe_size(fd: Fd, size: u32) -> Result<()> {
    // SAFETY: F_SETPIPE_SZ takes an int.
    let set = unsafe { libc::fcntl(fd, libc::F_SETPIPE_SZ, size) };
    check(set, Sys::Fcntl).map(drop)
}

/// splice(2) of at most `len` bytes; one of the two is a pipe. It does not
/// wait for the pipe; a socket waits where it is in blocking mode.
pub fn splice(from: Fd, to: Fd, len: usize) -> Result<usize> {
    let flags = libc::SPLICE_F_NONBLOCK;
    // SAFETY: no pointer is given.
    let n = unsafe { libc::splice(from, ptr::null_mut(), to, ptr::null_mut(), len, flags) };
    check_len(n, Sys::Splice)
}

/// sendfile(2) of at most `len` bytes from `offset`, which is moved, or from
/// the file's own.
pub fn sendfile(to: Fd, from: Fd, offset: Option<&mut i64>, len: usize) -> Result<usize> {
    let offset: *mut i64 = offset.map_or(ptr::null_mut(), |offset| offset);
    // SAFETY: the offset is NULL, or there to be written.
    let n = unsafe { libc::sendfile64(to, from, offset, len) };
    check_len(n, Sys::Sendfile)
}
