//! What the tests of copying share: two connections and what lies between.

use super::calls::*;
use super::*;
use std::io::Write;

/// netfd_copy().
pub fn copy(dst: c_int, src: c_int, max: i64) -> i64 {
    // SAFETY: no pointers.
    unsafe { netfd_copy(dst, src, max) }
}

/// netfd_sendfile().
pub fn sendfile(fd: c_int, file: c_int, offset: i64, count: i64) -> i64 {
    // SAFETY: no pointers.
    unsafe { netfd_sendfile(fd, file, offset, count) }
}

/// What a call that counts in 64 bits says of a code.
pub const fn code(code: c_int) -> i64 {
    code as i64
}

/// How many bytes a copy that is stuck has read.
pub const PENDING: usize = 50_000;

/// `feeder` writes what comes out of `src`, and `reader` reads what goes into
/// `dst`.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    pub feeder: c_int,
    pub src: c_int,
    pub dst: c_int,
    pub reader: c_int,
}

impl Line {
    pub fn new(from: fn() -> (c_int, c_int), to: fn() -> (c_int, c_int)) -> Self {
        let (feeder, src) = from();
        let (dst, reader) = to();
        Self {
            feeder,
            src,
            dst,
            reader,
        }
    }

    pub fn tcp() -> Self {
        Self::new(tcp_pair, tcp_pair)
    }

    /// Every way to join two streams.
    pub fn all() -> [Self; 4] {
        [
            Self::tcp(),
            Self::new(tcp_pair, unix_stream),
            Self::new(unix_stream, tcp_pair),
            Self::new(unix_stream, unix_stream),
        ]
    }

    /// Copies to the end on a thread.
    pub fn copier(self) -> Task<i64> {
        spawn(move || copy(self.dst, self.src, -1))
    }

    /// Feeds `len` bytes and hangs up, on a thread.
    pub fn feed(self, len: usize) -> Task<ssize_t> {
        spawn(move || {
            let n = write(self.feeder, &pattern(len));
            shutdown(self.feeder, libc::SHUT_WR);
            n
        })
    }

    /// A copy that is parked on `dst`, where nothing finds room, with bytes
    /// that it has read and cannot write. And how many stand before them.
    pub fn stuck(self) -> (Task<(i64, netfd_error)>, usize) {
        let filled = fill(self.dst);
        assert_eq!(write(self.feeder, &pattern(PENDING)), PENDING as isize);
        let copier = spawn(move || (copy(self.dst, self.src, -1), last_error()));
        await_that("all is read", || polled(self.src, libc::POLLIN) == 0);
        await_parked(self.dst, 1);
        (copier, filled)
    }

    pub fn end(self) {
        self.end_without(-1);
    }

    /// Ends it but for one that has been destroyed: its number may be another
    /// test's by now.
    pub fn end_without(self, gone: c_int) {
        for fd in [self.feeder, self.src, self.dst, self.reader] {
            if fd != gone {
                destroy(fd);
            }
        }
    }
}

pub fn unix_stream() -> (c_int, c_int) {
    unix_pair(libc::SOCK_STREAM)
}

pub fn unixgram() -> (c_int, c_int) {
    unix_pair(libc::SOCK_DGRAM)
}

pub fn seqpacket() -> (c_int, c_int) {
    unix_pair(libc::SOCK_SEQPACKET)
}

/// A pipe(2): the end to read, the end to write.
pub fn pipe(flags: c_int) -> (c_int, c_int) {
    let mut ends = [-1; 2];
    // SAFETY: there is room for two.
    let made = unsafe { libc::pipe2(ends.as_mut_ptr(), flags | libc::O_CLOEXEC) };
    assert_eq!(made, 0);
    (ends[0], ends[1])
}

/// write(2) of all of `bytes`.
pub fn plain_write(fd: c_int, bytes: &[u8]) {
    // SAFETY: the buffer is as long as said.
    let n = unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
    assert_eq!(n, bytes.len() as isize);
}

/// A file that has this in it, and whose offset is at its beginning.
pub fn file(bytes: &[u8]) -> std::fs::File {
    // SAFETY: the name ends with a NUL.
    let fd = unsafe { libc::memfd_create(c"file".as_ptr(), libc::MFD_CLOEXEC) };
    assert!(fd >= 0);
    // SAFETY: the descriptor is new and ours.
    let mut file = unsafe { std::fs::File::from_raw_fd(fd) };
    file.write_all(bytes).expect("a memfd takes it");
    file.rewind().expect("a memfd seeks");
    file
}

/// Where the file's own offset is.
pub fn offset(file: &std::fs::File) -> i64 {
    // SAFETY: no pointers.
    unsafe { libc::lseek(file.as_raw_fd(), 0, libc::SEEK_CUR) }
}

/// The name of the operation and of the system call in a failure.
pub fn blamed(error: &netfd_error) -> (String, String) {
    (c_text(&error.op), c_text(&error.syscall))
}

/// The same under a number that the library has never had. Another one may
/// have been destroyed, and is closed for good.
pub fn never_attached(fd: c_int) -> c_int {
    // SAFETY: no pointers.
    let far = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 700) };
    assert!(far >= 0);
    plain_close(fd);
    far
}
