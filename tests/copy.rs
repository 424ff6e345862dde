//! Copying from one descriptor to another, by splice(2) where the kernel does
//! it. Go's `io.Copy` to a connection and its `ReadFrom` (net/splice_test.go,
//! net/sendfile_test.go), splice(2).

#![allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test that is out of range has failed"
)]

mod common;

use common::calls::*;
use common::*;
use libc::c_int;
use std::io::{Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, FromRawFd};

/// netfd_copy().
fn copy(dst: c_int, src: c_int, max: i64) -> i64 {
    // SAFETY: no pointers.
    unsafe { netfd_copy(dst, src, max) }
}

/// Two connections and what lies between: `feeder` writes what comes out of
/// `src`, and `reader` reads what goes into `dst`.
#[derive(Clone, Copy, Debug)]
struct Line {
    feeder: c_int,
    src: c_int,
    dst: c_int,
    reader: c_int,
}

impl Line {
    fn new(from: fn() -> (c_int, c_int), to: fn() -> (c_int, c_int)) -> Self {
        let (feeder, src) = from();
        let (dst, reader) = to();
        Self {
            feeder,
            src,
            dst,
            reader,
        }
    }

    fn tcp() -> Self {
        Self::new(tcp_pair, tcp_pair)
    }

    fn end(self) {
        for fd in [self.feeder, self.src, self.dst, self.reader] {
            destroy(fd);
        }
    }
}

fn unix_stream() -> (c_int, c_int) {
    unix_pair(libc::SOCK_STREAM)
}

/// Every way to join two streams.
fn lines() -> [Line; 4] {
    [
        Line::tcp(),
        Line::new(tcp_pair, unix_stream),
        Line::new(unix_stream, tcp_pair),
        Line::new(unix_stream, unix_stream),
    ]
}

/// A pipe(2): the end to read, the end to write.
fn pipe(flags: c_int) -> (c_int, c_int) {
    let mut ends = [-1; 2];
    // SAFETY: there is room for two.
    let made = unsafe { libc::pipe2(ends.as_mut_ptr(), flags | libc::O_CLOEXEC) };
    assert_eq!(made, 0);
    (ends[0], ends[1])
}

/// A file that has this in it, and whose offset is at its beginning.
fn file(bytes: &[u8]) -> std::fs::File {
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
fn offset(file: &mut std::fs::File) -> u64 {
    file.stream_position().expect("it seeks")
}

#[test]
fn copy_moves_a_stream_to_its_end() {
    const ALL: usize = (5 << 20) + 4321;
    for line in lines() {
        let feeder = spawn(move || {
            let n = write(line.feeder, &pattern(ALL));
            shutdown(line.feeder, libc::SHUT_WR);
            n
        });
        let copier = spawn(move || {
            let n = copy(line.dst, line.src, -1);
            shutdown(line.dst, libc::SHUT_WR);
            n
        });
        assert!(read_to_end(line.reader) == pattern(ALL), "byte for byte");
        assert_eq!(copier.join(), ALL as i64);
        assert_eq!(feeder.join(), ALL as isize);
        line.end();
    }
}

#[test]
fn copy_says_0_at_the_end_and_hangs_up_on_nobody() {
    for line in lines() {
        shutdown(line.feeder, libc::SHUT_WR);
        assert_eq!(copy(line.dst, line.src, -1), 0);
        assert_eq!(copy(line.dst, line.src, -1), 0);
        assert_eq!(plain_recv(line.reader), None, "it has not ended");
        assert_eq!(write(line.dst, b"more"), 4);
        assert_eq!(read_exactly(line.reader, 4), b"more");
        line.end();
    }
}

#[test]
fn copy_takes_no_more_than_max() {
    for line in lines() {
        assert_eq!(write(line.feeder, &pattern(100_000)), 100_000);
        assert_eq!(copy(line.dst, line.src, 70_001), 70_001);
        assert_eq!(read_exactly(line.reader, 70_001), pattern(70_001));
        assert_eq!(plain_recv(line.reader), None);
        let rest = read_exactly(line.src, 29_999);
        assert_eq!(rest, pattern(100_000)[70_001..], "the rest is there");
        line.end();
    }
}

#[test]
fn copy_parks_on_whichever_side_is_not_ready() {
    for line in lines() {
        let copier = spawn(move || copy(line.dst, line.src, -1));
        await_parked(line.src, 1);
        assert_eq!(write(line.feeder, b"a"), 1);
        assert_eq!(read_exactly(line.reader, 1), b"a");
        await_parked(line.src, 1);
        const ALL: usize = 16 << 20;
        let feeder = spawn(move || {
            let n = write(line.feeder, &pattern(ALL));
            shutdown(line.feeder, libc::SHUT_WR);
            n
        });
        await_parked(line.feeder, 1); // all is full between the two
        await_parked(line.dst, 1);
        assert!(read_exactly(line.reader, ALL) == pattern(ALL));
        assert_eq!(copier.join(), ALL as i64 + 1);
        assert_eq!(feeder.join(), ALL as isize);
        line.end();
    }
}

#[test]
fn copy_of_a_file_begins_at_its_offset_and_moves_it() {
    let bytes = pattern(300_000);
    for (dst, reader) in [tcp_pair(), unix_stream()] {
        let mut file = file(&bytes);
        file.seek(SeekFrom::Start(1_000)).expect("it seeks");
        let fd = file.as_raw_fd();
        assert_eq!(copy(dst, fd, 9_000), 9_000);
        assert_eq!(offset(&mut file), 10_000);
        let copier = spawn(move || copy(dst, fd, -1));
        assert_eq!(read_exactly(reader, 299_000), bytes[1_000..]);
        assert_eq!(copier.join(), 290_000);
        assert_eq!(offset(&mut file), 300_000);
        assert_eq!(copy(dst, fd, -1), 0);
        destroy(dst);
        destroy(reader);
    }
}

#[test]
fn copy_takes_pipes_that_block_and_pipes_that_do_not() {
    for flags in [0, libc::O_NONBLOCK] {
        let (out, into) = pipe(flags);
        let (dst, reader) = tcp_pair();
        let copier = spawn(move || copy(dst, out, -1));
        await_parked(dst, 1);
        for part in [&b"one"[..], b"two", b"three"] {
            // SAFETY: the buffer is as long as said.
            let n = unsafe { libc::write(into, part.as_ptr().cast(), part.len()) };
            assert_eq!(n, part.len() as isize);
            assert_eq!(read_exactly(reader, part.len()), part);
        }
        plain_close(into);
        assert_eq!(copier.join(), 11);
        plain_close(out);
        destroy(dst);
        destroy(reader);
    }
}
