//! Sending files to streams. Go's `ReadFrom` of a file (net/sendfile_test.go)
//! with the offset and the count that it lacks (golang/go issue 61727), and
//! sendfile(2).

#![allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test that is out of range has failed"
)]

mod common;

use common::calls::*;
use common::lines::*;
use common::*;
use libc::c_int;
use std::io::{Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;

const PAIRS: [fn() -> (c_int, c_int); 2] = [tcp_pair, unix_stream];

#[test]
fn sendfile_sends_what_lies_at_the_offset_and_leaves_the_files_own_alone() {
    let bytes = pattern(1 << 20);
    for pair in PAIRS {
        let (fd, peer) = pair();
        let mut file = file(&bytes);
        file.seek(SeekFrom::Start(77)).expect("it seeks");
        let from = file.as_raw_fd();
        assert_eq!(sendfile(fd, from, 1_000, 2_000), 2_000);
        assert_eq!(read_exactly(peer, 2_000), bytes[1_000..3_000]);
        let sender = spawn(move || sendfile(fd, from, 0, -1));
        assert!(read_exactly(peer, bytes.len()) == bytes);
        assert_eq!(sender.join(), bytes.len() as i64);
        assert_eq!(offset(&file), 77);
        assert_eq!(plain_recv(peer), None, "no byte more");
        destroy(fd);
        destroy(peer);
    }
}

#[test]
fn a_negative_offset_is_the_files_own_which_moves_by_what_was_sent() {
    let bytes = pattern(1 << 20);
    for pair in PAIRS {
        let (fd, peer) = pair();
        let mut file = file(&bytes);
        file.seek(SeekFrom::Start(77)).expect("it seeks");
        let from = file.as_raw_fd();
        assert_eq!(sendfile(fd, from, -1, 2_000), 2_000);
        assert_eq!(offset(&file), 2_077);
        let sender = spawn(move || sendfile(fd, from, i64::MIN, i64::MIN));
        assert!(read_exactly(peer, bytes.len() - 77) == bytes[77..]);
        assert_eq!(sender.join(), bytes.len() as i64 - 2_077);
        assert_eq!(offset(&file), bytes.len() as i64);
        destroy(fd);
        destroy(peer);
    }
}

#[test]
fn a_file_that_is_shorter_than_asked_is_sent_to_its_end() {
    let (fd, peer) = tcp_pair();
    let mut file = file(b"all there is");
    let from = file.as_raw_fd();
    assert_eq!(sendfile(fd, from, 4, 1_000), 8);
    assert_eq!(sendfile(fd, from, 4, i64::MAX), 8);
    assert_eq!(read_exactly(peer, 16), b"there isthere is");
    for at in [12, 13, 1 << 40, i64::MAX] {
        assert_eq!(sendfile(fd, from, at, 10), 0, "at {at}");
        assert_eq!(sendfile(fd, from, at, -1), 0, "at {at}");
    }
    file.seek(SeekFrom::Start(100)).expect("it seeks");
    assert_eq!(sendfile(fd, from, -1, -1), 0);
    assert_eq!(offset(&file), 100);
    assert_eq!(sendfile(fd, from, 0, 0), 0);
    destroy(fd);
    destroy(peer);
}

/// What sendfile(2) is asked for and is not there makes older kernels hold the
/// last bytes back for 200 ms (golang/go issue 45256). And one call that went
/// on and on would not be ended by destroy.
#[test]
fn sendfile_is_asked_for_no_more_than_there_is_and_for_4_mib_at_most() {
    const ALL: usize = (9 << 20) + 5;
    let test = "sendfile_is_asked_for_no_more_than_there_is_and_for_4_mib_at_most";
    let body = || {
        let (fd, peer) = unix_stream();
        let file = file(&pattern(ALL));
        let from = file.as_raw_fd();
        let sender = spawn(move || sendfile(fd, from, 0, 1 << 40));
        read_exactly(peer, ALL);
        assert_eq!(sender.join(), ALL as i64);
        destroy(fd);
        destroy(peer);
    };
    let options = ["-e", "trace=sendfile", "-e", "signal=none"];
    let Some(trace) = alone_under_strace(test, &options, body) else {
        return;
    };
    // sendfile(5, 6, [0] => [212992], 4194304) = 212992
    let mut at = 0;
    for line in trace.lines().filter(|line| line.contains("sendfile(")) {
        let asked = line
            .rsplit_once("], ")
            .and_then(|(_, rest)| rest.split_once(')'));
        let (asked, told) = asked.expect("a whole line");
        let asked: usize = asked.parse().expect("a number");
        assert!(asked <= 4 << 20 && at + asked <= ALL, "at {at}: {line}");
        let told = told.rsplit_once("= ").map_or("", |(_, n)| n);
        at += told.parse().unwrap_or(0);
    }
    assert_eq!(at, ALL, "all calls were seen: {trace}");
}

#[test]
fn holes_are_sent_as_zeros() {
    const SIZE: usize = 6 << 20;
    let (fd, peer) = tcp_pair();
    let mut file = file(b"begin");
    file.set_len(SIZE as u64).expect("a memfd grows");
    file.seek(SeekFrom::Start(3 << 20)).expect("it seeks");
    file.write_all(b"middle").expect("a memfd takes it");
    let sender = spawn(move || sendfile(fd, file.as_raw_fd(), 0, -1));
    let got = read_exactly(peer, SIZE);
    assert_eq!(sender.join(), SIZE as i64);
    assert_eq!(&got[..5], b"begin");
    assert_eq!(&got[3 << 20..][..6], b"middle");
    let zeros = got.iter().filter(|byte| **byte == 0).count();
    assert_eq!(zeros, SIZE - 11);
    destroy(fd);
    destroy(peer);
}

/// Reads and drops `len` bytes, which must be zeros but for the last three.
fn zeros(fd: c_int, len: usize) {
    let mut buf = vec![0; 4 << 20];
    let none = vec![0; 4 << 20];
    let mut done = 0;
    while done < len {
        let n = read(fd, &mut buf) as usize;
        assert!(n > 0 && n <= buf.len(), "after {done}: {}", error_text());
        let of_hole = n.min((len - 3).saturating_sub(done));
        assert!(buf[..of_hole] == none[..of_hole], "after {done}");
        done += n;
        if done == len && n >= 3 {
            assert_eq!(&buf[n - 3..n], b"end");
        }
    }
    assert_eq!(done, len);
}

#[test]
fn three_gib_go_in_one_call() {
    const SIZE: usize = 3 << 30;
    let mut file = file(b"");
    file.seek(SeekFrom::Start(SIZE as u64 - 3))
        .expect("it seeks");
    file.write_all(b"end").expect("a memfd takes it");
    file.rewind().expect("it seeks");
    let (fd, peer) = unix_stream();
    let from = file.as_raw_fd();
    let sender = std::thread::spawn(move || sendfile(fd, from, -1, -1));
    zeros(peer, SIZE);
    assert_eq!(sender.join().expect("it does not panic"), SIZE as i64);
    assert_eq!(offset(&file), SIZE as i64);
    // And from behind what 32 bits can count.
    let at = (SIZE - 100) as i64;
    assert_eq!(sendfile(fd, from, at, 1 << 33), 100);
    assert!(read_exactly(peer, 100).ends_with(b"end"));
    destroy(fd);
    destroy(peer);
}

#[test]
fn a_file_that_shrinks_meanwhile_ends_where_it_ends() {
    let (fd, peer) = unix_stream();
    let bytes = pattern(16 << 20);
    let file = file(&bytes);
    let from = file.as_raw_fd();
    let sender = spawn(move || sendfile(fd, from, -1, -1));
    await_parked(fd, 1);
    file.set_len(9 << 20).expect("a memfd shrinks");
    let got = read_exactly(peer, 9 << 20);
    assert_eq!(sender.join(), 9 << 20);
    assert_eq!(offset(&file), 9 << 20);
    // What was in flight may have been zeroed by the kernel: pages, not copies.
    assert!(got[..1 << 16] == bytes[..1 << 16]);
    destroy(fd);
    destroy(peer);
}

#[test]
fn a_file_that_grows_meanwhile_is_sent_to_its_new_end() {
    let (fd, peer) = unix_stream();
    let bytes = pattern(8 << 20);
    let mut file = file(&bytes[..4 << 20]);
    let from = file.as_raw_fd();
    let sender = spawn(move || sendfile(fd, from, 0, -1));
    await_parked(fd, 1);
    file.seek(SeekFrom::End(0)).expect("it seeks");
    file.write_all(&bytes[4 << 20..]).expect("a memfd takes it");
    assert!(read_exactly(peer, bytes.len()) == bytes);
    assert_eq!(sender.join(), bytes.len() as i64);
    destroy(fd);
    destroy(peer);
}

#[test]
fn sendfile_takes_pipes_and_sockets_too() {
    let (fd, peer) = tcp_pair();
    let (out, into) = pipe(0);
    plain_write(into, b"from a pipe");
    assert_eq!(sendfile(fd, out, -1, 6), 6);
    plain_close(into);
    assert_eq!(sendfile(fd, out, -1, -1), 5);
    assert_eq!(read_exactly(peer, 11), b"from a pipe");
    plain_close(out);
    let (feeder, src) = unix_stream();
    assert_eq!(write(feeder, b"from a socket"), 13);
    destroy(feeder);
    assert_eq!(sendfile(fd, src, -1, -1), 13);
    assert_eq!(read_exactly(peer, 13), b"from a socket");
    destroy(src);
    destroy(fd);
    destroy(peer);
}

#[test]
fn sendfile_takes_files_that_do_not_tell_their_length() {
    let (fd, peer) = tcp_pair();
    let text = std::fs::read("/proc/version").expect("procfs");
    let file = std::fs::File::open("/proc/version").expect("procfs");
    let from = file.as_raw_fd();
    assert_eq!(sendfile(fd, from, 6, -1), text.len() as i64 - 6);
    assert_eq!(offset(&file), 0);
    assert_eq!(sendfile(fd, from, -1, 6), 6);
    assert_eq!(offset(&file), 6);
    assert_eq!(sendfile(fd, from, -1, -1), text.len() as i64 - 6);
    let sent = [&text[6..], &text[..6], &text[6..]].concat();
    assert_eq!(read_exactly(peer, sent.len()), sent);
    destroy(fd);
    destroy(peer);
}

#[test]
fn an_offset_in_what_cannot_seek_is_refused() {
    let (fd, peer) = tcp_pair();
    let (out, into) = pipe(0);
    let (feeder, src) = unix_stream();
    plain_write(into, b"x");
    assert_eq!(write(feeder, b"x"), 1);
    for from in [out, src] {
        assert_eq!(sendfile(fd, from, 0, -1), code(-libc::ESPIPE));
        assert_eq!(sendfile(fd, from, 0, 0), code(-libc::ESPIPE));
        assert_eq!(last_error().code, -libc::ESPIPE);
    }
    assert_eq!(plain_recv(peer), None, "nothing was sent");
    plain_close(out);
    plain_close(into);
    for one in [feeder, src, fd, peer] {
        destroy(one);
    }
}

#[test]
fn messages_are_not_made_of_files() {
    let file = file(b"data");
    for (fd, peer) in [udp_pair(), unixgram(), seqpacket()] {
        let n = sendfile(fd, file.as_raw_fd(), 0, -1);
        assert_eq!(n, code(-libc::EOPNOTSUPP));
        assert_eq!(plain_recv(peer), None);
        destroy(fd);
        destroy(peer);
    }
}

#[test]
fn bad_numbers_and_files_that_cannot_be_read_are_told() {
    let (fd, peer) = tcp_pair();
    let file = file(b"data");
    let (plain, other) = plain_pair(libc::SOCK_STREAM);
    let plain = never_attached(plain);
    let ebadf = code(-libc::EBADF);
    for count in [0, -1] {
        assert_eq!(sendfile(-1, file.as_raw_fd(), 0, count), ebadf);
        assert_eq!(sendfile(c_int::MAX, file.as_raw_fd(), 0, count), ebadf);
        assert_eq!(sendfile(plain, fd, -1, count), ebadf, "not attached");
        assert_eq!(sendfile(fd, -1, 0, count), ebadf);
        assert_eq!(sendfile(fd, c_int::MAX, 0, count), ebadf);
    }
    plain_close(plain);
    plain_close(other);
    let null = std::fs::File::options().write(true).open("/dev/null");
    let null = null.expect("it is there");
    assert_eq!(sendfile(fd, null.as_raw_fd(), -1, -1), ebadf);
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let only = std::fs::File::options().write(true).open(path);
    let only = only.expect("a memfd can be opened again");
    assert_eq!(sendfile(fd, only.as_raw_fd(), -1, -1), ebadf);
    let error = last_error();
    assert_eq!(blamed(&error), ("read".into(), "read".into()));
    let folder = std::fs::File::open("/").expect("it is there");
    let n = sendfile(fd, folder.as_raw_fd(), -1, -1);
    assert_eq!(n, code(-libc::EISDIR));
    destroy(fd);
    destroy(peer);
}

/// Begins to send a file of 16 MiB, has `stop` stop it, and checks that what
/// it says has gone is what came, and where the file's own offset is.
fn stopped(stop: impl FnOnce(c_int, &std::fs::File)) -> netfd_error {
    let bytes = pattern(16 << 20);
    let (fd, peer) = tcp_pair();
    let file = file(&bytes);
    let from = file.as_raw_fd();
    let sender = spawn(move || (sendfile(fd, from, -1, -1), last_error()));
    await_parked(fd, 1);
    stop(fd, &file);
    let (n, error) = sender.join();
    assert!(n > 0 && n < bytes.len() as i64, "{n}");
    assert_eq!(offset(&file), n);
    if error.code != NETFD_ECLOSED {
        destroy(fd);
    }
    let got = read_to_end(peer);
    assert!(got.len() as i64 == n && got == bytes[..got.len()]);
    destroy(peer);
    error
}

#[test]
fn a_deadline_a_token_and_destroy_end_it_and_the_offset_is_exact() {
    let error = stopped(|fd, _| assert_eq!(set_write_deadline(fd, -1), 0));
    assert_eq!(error.code, NETFD_EDEADLINE);
    assert_eq!(blamed(&error), ("write".into(), String::new()));
    let token = Token::new();
    let error = stopped(|fd, _| {
        token.set_on(fd);
        token.fire();
    });
    assert_eq!(error.code, NETFD_ECANCELED);
    token.free();
    let error = stopped(|fd, _| assert_eq!(destroy(fd), 0));
    assert_eq!(error.code, NETFD_ECLOSED);
}

#[test]
fn limits_that_have_passed_before_send_nothing() {
    let (fd, peer) = tcp_pair();
    let file = file(b"data");
    let from = file.as_raw_fd();
    set_write_deadline(fd, -1);
    assert_eq!(sendfile(fd, from, -1, -1), code(NETFD_EDEADLINE));
    set_write_deadline(fd, 0);
    set_read_deadline(fd, -1);
    assert_eq!(sendfile(fd, from, -1, 1), 1, "that one does not count");
    let token = Token::new();
    token.set_on(fd);
    token.fire();
    assert_eq!(sendfile(fd, from, -1, -1), code(NETFD_ECANCELED));
    assert_eq!(offset(&file), 1);
    lift_cancel(fd);
    token.free();
    destroy(fd);
    destroy(peer);
}

#[test]
fn destroy_of_either_ends_a_sendfile_between_two_that_are_attached() {
    for of_file in [true, false] {
        let line = Line::tcp();
        let sender = spawn(move || sendfile(line.dst, line.src, -1, -1));
        await_parked(line.src, 1);
        let gone = if of_file { line.src } else { line.dst };
        assert_eq!(destroy(gone), 0);
        assert_eq!(sender.join(), code(NETFD_ECLOSED));
        line.end_without(gone);
    }
}

#[test]
fn an_error_that_stopped_it_half_way_is_told_by_the_next_write() {
    let (fd, peer) = tcp_pair();
    let file = file(&pattern(16 << 20));
    let from = file.as_raw_fd();
    let sender = spawn(move || (sendfile(fd, from, 0, -1), last_error()));
    await_parked(fd, 1);
    reset(peer);
    let (n, error) = sender.join();
    assert!(n > 0, "{n}");
    assert_eq!(error.code, -libc::ECONNRESET);
    assert_eq!(blamed(&error), ("write".into(), "sendfile".into()));
    assert_eq!(sendfile(fd, from, 0, -1), code(-libc::ECONNRESET));
    assert_eq!(sendfile(fd, from, 0, -1), code(-libc::EPIPE));
    assert_eq!(read(fd, &mut [0; 8]), no(libc::ECONNRESET));
    destroy(fd);
}

#[test]
fn it_takes_its_turn_with_other_writers() {
    const LEN: usize = 4 << 20;
    let (fd, peer) = tcp_pair();
    let senders: Vec<_> = (0..4_u8)
        .map(|id| {
            spawn(move || match id % 2 {
                0 => sendfile(fd, file(&vec![id; LEN]).as_raw_fd(), 0, -1),
                _ => write(fd, &vec![id; LEN]) as i64,
            })
        })
        .collect();
    for _ in 0..4 {
        let whole = read_exactly(peer, LEN);
        assert!(whole.iter().all(|byte| *byte == whole[0]));
    }
    for sender in senders {
        assert_eq!(sender.join(), LEN as i64);
    }
    destroy(fd);
    destroy(peer);
}

/// A sendfile that does not have to wait looks up all the same.
#[test]
fn destroy_and_deadline_end_a_sendfile_that_need_not_park() {
    let ends: [fn(c_int) -> c_int; 2] = [destroy, |fd| set_write_deadline(fd, -1)];
    for (at, end) in ends.into_iter().enumerate() {
        let (fd, peer) = unix_stream();
        let file = file(b"");
        file.set_len(1 << 40).expect("a hole costs nothing");
        let from = file.as_raw_fd();
        let reader = spawn(move || {
            let mut buf = vec![0; 1 << 20];
            while read(peer, &mut buf) > 0 {}
        });
        let sender = spawn(move || sendfile(fd, from, -1, -1));
        await_that("it has begun", || offset(&file) > 0);
        end(fd);
        let n = sender.join();
        assert!(n > 0 && n < 1 << 40, "{n}");
        assert_eq!(offset(&file), n);
        if at == 1 {
            destroy(fd);
        }
        reader.join();
        destroy(peer);
    }
}

/// One sendfile(2) sends many times. It tells how much went before a reset,
/// and forgets the reset.
#[test]
fn a_reset_in_the_middle_of_a_call_is_no_end_to_who_reads() {
    let file = file(&pattern(4 << 20));
    file.set_len(1 << 30).expect("it may have holes"); // more than any buffer takes
    let from = file.as_raw_fd();
    for round in 0..200 {
        let (fd, peer) = tcp_pair();
        let sender = spawn(move || (sendfile(fd, from, 0, -1), last_error().code));
        read(peer, &mut vec![0; 1 + 500 * round]);
        reset(peer);
        let (n, why) = sender.join();
        let reset = -libc::ECONNRESET;
        assert!(n > 0 && why == reset || n == code(reset), "{n}, {why}");
        assert_eq!(read(fd, &mut [0; 8]), no(libc::ECONNRESET));
        destroy(fd);
    }
}
