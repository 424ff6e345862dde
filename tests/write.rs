//! Writing: all of it, or as much as went before something stopped it, and no
//! byte twice. Go's `FD.Write` and `FD.Writev` (net/writev_test.go,
//! net/net_test.go), write(2), writev(2), send(2).

#![allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test that is out of range has failed"
)]

mod common;

use common::calls::*;
use common::*;
use libc::c_int;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

#[test]
fn write_sends_all_of_it_to_a_slow_reader() {
    const ALL: usize = 8 << 20;
    for (one, two) in [tcp_pair(), unix_pair(libc::SOCK_STREAM)] {
        let writer = spawn(move || {
            let n = write(one, &pattern(ALL));
            destroy(one);
            n
        });
        await_parked(one, 1); // the buffers are full, and more is to go
        assert!(read_to_end(two) == pattern(ALL), "byte for byte");
        assert_eq!(writer.join(), ALL as isize);
        destroy(two);
    }
}

#[test]
fn eintr_never_comes_out_of_a_write_under_a_storm_of_signals() {
    const ALL: usize = 8 << 20;
    let (one, two) = tcp_pair();
    let writer = spawn_thread(move || {
        let _storm = Storm::begin();
        let n = write(one, &pattern(ALL));
        destroy(one);
        n
    });
    await_parked(one, 1);
    let mut got = Vec::new();
    let mut buf = vec![0; 1 << 20];
    loop {
        match read(two, &mut buf) {
            0 => break,
            n => got.extend_from_slice(&buf[..n as usize]),
        }
        thread::sleep(Duration::from_millis(1)); // a slow reader
    }
    assert_eq!(writer.join(), ALL as isize);
    assert!(got == pattern(ALL), "byte for byte");
    destroy(two);
}

/// Begins a write of 16 MiB that cannot end, has `stop` stop it, and checks
/// that what it says has gone is what came. Returns what it said, and its
/// error.
fn stopped(stop: impl FnOnce(c_int)) -> (isize, netfd_error, String) {
    const ALL: usize = 16 << 20;
    let (one, two) = tcp_pair();
    let writer = spawn(move || (write(one, &pattern(ALL)), last_error(), error_text()));
    await_parked(one, 1);
    stop(one);
    let (n, error, text) = writer.join();
    destroy(one);
    assert!(n > 0 && n < ALL as isize, "{n}");
    let came = read_to_end(two);
    assert_eq!(came.len(), n as usize, "nothing lost, nothing twice");
    assert!(came == pattern(came.len()));
    destroy(two);
    (n, error, text)
}

#[test]
fn a_write_that_its_deadline_stops_says_how_much_has_gone() {
    let (_, error, text) = stopped(|fd| assert_eq!(set_write_deadline(fd, -1), 0));
    assert_eq!(error.code, NETFD_EDEADLINE);
    assert_ne!(error.flags & NETFD_ERROR_TIMEOUT, 0);
    assert!(text.starts_with("write tcp 127.0.0.1:"), "{text}");
    assert!(text.ends_with(": i/o timeout"), "{text}");
}

#[test]
fn a_write_that_a_token_stops_says_how_much_has_gone() {
    let token = Token::new();
    let (_, error, _) = stopped(|fd| {
        token.set_on(fd);
        token.fire();
    });
    assert_eq!(error.code, NETFD_ECANCELED);
    assert_ne!(error.flags & NETFD_ERROR_CANCELED, 0);
    token.free();
}

#[test]
fn a_write_that_destroy_stops_says_how_much_has_gone() {
    let (_, error, _) = stopped(|fd| assert_eq!(destroy(fd), 0));
    assert_eq!(error.code, NETFD_ECLOSED);
    assert_ne!(error.flags & NETFD_ERROR_CLOSED, 0);
}

#[test]
fn deadlines_and_tokens_that_stopped_a_write_are_not_stored() {
    let (one, two) = tcp_pair();
    let token = Token::new();
    for by_token in [false, true] {
        let writer = spawn(move || write(one, &pattern(16 << 20)));
        await_parked(one, 1);
        if by_token {
            token.set_on(one);
            token.fire();
        } else {
            set_write_deadline(one, -1);
        }
        let n = writer.join();
        assert!(n > 0, "{n}");
        set_write_deadline(one, 0);
        lift_cancel(one);
        let reader = spawn(move || read_exactly(two, n as usize + 4));
        assert_eq!(write(one, b"more"), 4);
        assert!(reader.join().ends_with(b"more"));
    }
    token.free();
    destroy(one);
    destroy(two);
}

/// A write of which a part had gone when the peer's reset stopped it.
fn write_stopped_by_a_reset(send: fn(c_int) -> isize) -> c_int {
    let (one, two) = tcp_pair();
    let writer = spawn(move || (send(one), last_error().code));
    await_parked(one, 1);
    // One whose write is a ring's to make is parked before anything has gone.
    await_that("a part goes", || polled(two, libc::POLLIN) != 0);
    reset(two);
    let (n, code) = writer.join();
    assert!(n > 0, "{n}");
    assert_eq!(code, -libc::ECONNRESET, "told at once");
    one
}

#[test]
fn an_error_that_stopped_a_write_half_way_is_told_by_the_next_write() {
    let fd = write_stopped_by_a_reset(|fd| write(fd, &pattern(16 << 20)));
    assert_eq!(write(fd, b"x"), no(libc::ECONNRESET));
    assert_eq!(
        write(fd, b"x"),
        no(libc::EPIPE),
        "told once; the kernel's own"
    );
    destroy(fd);
}

#[test]
fn an_error_that_stopped_a_writev_half_way_is_told_by_the_next_send() {
    let fd = write_stopped_by_a_reset(|fd| writev(fd, &[&pattern(16 << 20), b"tail"]));
    assert_eq!(sendto(fd, b"x", 0, None), no(libc::ECONNRESET));
    destroy(fd);
}

#[test]
fn an_error_that_stopped_a_write_half_way_is_told_to_reads_too() {
    let fd = write_stopped_by_a_reset(|fd| write(fd, &pattern(16 << 20)));
    assert_eq!(read(fd, &mut [0; 8]), no(libc::ECONNRESET));
    assert_eq!(write(fd, b"x"), no(libc::ECONNRESET));
    assert_eq!(read(fd, &mut [0; 8]), no(libc::ECONNRESET));
    destroy(fd);
}

#[test]
fn a_write_to_a_gone_peer_is_epipe_and_no_signal() {
    if !by_itself("a_write_to_a_gone_peer_is_epipe_and_no_signal") {
        return;
    }
    // The test program ignores SIGPIPE as all of Rust's do: not here.
    // SAFETY: no handler is installed.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    for sotype in [libc::SOCK_STREAM, libc::SOCK_SEQPACKET] {
        let (one, two) = unix_pair(sotype);
        destroy(two);
        let epipe = no(libc::EPIPE);
        assert_eq!(write(one, b"x"), epipe);
        assert_eq!(writev(one, &[b"x", b"y"]), epipe);
        assert_eq!(sendto(one, b"x", 0, None), epipe);
        assert_eq!(sendto(one, b"x", libc::MSG_DONTWAIT, None), epipe);
        // SAFETY: an all-zero msghdr is an empty message.
        let message = unsafe { std::mem::zeroed() };
        // SAFETY: likewise.
        let n = unsafe { netfd_sendmsg(one, &message, 0) };
        assert!(n == epipe || (n == 0 && sotype == libc::SOCK_STREAM), "{n}");
        let fds = [one];
        // SAFETY: one descriptor and one byte are there.
        let n = unsafe { netfd_send_fds(one, fds.as_ptr(), 1, b"x".as_ptr().cast(), 1) };
        assert_eq!(n, epipe);
        destroy(one);
    }
    let (one, two) = tcp_pair();
    reset(two);
    await_that("the reset", || polled(one, 0) & libc::POLLERR != 0);
    assert_eq!(write(one, b"x"), no(libc::ECONNRESET));
    assert_eq!(write(one, b"x"), no(libc::EPIPE));
    shutdown(one, libc::SHUT_WR);
    assert_eq!(write(one, b"x"), no(libc::EPIPE));
    destroy(one);
}

#[test]
fn a_write_behind_ones_own_shutdown_is_epipe_and_reads_go_on() {
    let (one, two) = tcp_pair();
    assert_eq!(shutdown(one, libc::SHUT_WR), 0);
    assert_eq!(write(one, b"x"), no(libc::EPIPE));
    assert_eq!(write(two, b"data"), 4);
    destroy(two);
    assert_eq!(read_to_end(one), b"data");
    destroy(one);
}

#[test]
fn writev_sends_thousands_of_odd_buffers_to_a_slow_reader() {
    const COUNT: usize = 5_000;
    let (one, two) = tcp_pair();
    let whole = pattern(COUNT * 1_000);
    let mut buffers = Vec::new();
    let mut at = 0;
    for index in 0..COUNT {
        let len = match index % 7 {
            0 | 3 => 0,
            6 => 1 + index % 3_989,
            _ => index % 613,
        };
        buffers.push(whole[at..at + len].to_vec());
        at += len;
    }
    let writer = spawn(move || {
        let parts: Vec<&[u8]> = buffers.iter().map(Vec::as_slice).collect();
        let n = writev(one, &parts);
        destroy(one);
        n
    });
    if at > 4 << 20 {
        await_parked(one, 1);
    }
    let mut got = Vec::new();
    let mut buf = vec![0; 40_009];
    loop {
        match read(two, &mut buf) {
            0 => break,
            n => got.extend_from_slice(&buf[..n as usize]),
        }
        thread::yield_now();
    }
    assert_eq!(writer.join(), at as isize);
    assert!(got == whole[..at], "byte for byte");
    destroy(two);
}

#[test]
fn a_writev_stopped_half_way_says_how_much_has_gone() {
    let (one, two) = tcp_pair();
    let buffers: Vec<Vec<u8>> = pattern(32 << 20)
        .chunks(9_999)
        .map(<[u8]>::to_vec)
        .collect();
    let writer = spawn(move || {
        let parts: Vec<&[u8]> = buffers.iter().map(Vec::as_slice).collect();
        writev(one, &parts)
    });
    await_parked(one, 1);
    set_write_deadline(one, -1);
    let n = writer.join();
    destroy(one);
    let came = read_to_end(two);
    assert_eq!(came.len() as isize, n);
    assert!(came == pattern(came.len()));
    destroy(two);
}

#[test]
fn writev_passes_over_empty_buffers_however_many() {
    let (one, two) = tcp_pair();
    let mut buffers: Vec<&[u8]> = vec![b""; 3_000];
    buffers.push(b"data");
    buffers.resize(6_000, b"");
    assert_eq!(writev(one, &buffers), 4);
    assert_eq!(read_exactly(two, 4), b"data");
    assert_eq!(writev(one, &[b"", b""]), 0);
    assert_eq!(writev(one, &[]), 0);
    destroy(one);
    destroy(two);
}

#[test]
fn a_writev_of_a_message_is_one_message() {
    for (one, two) in [
        udp_pair(),
        unix_pair(libc::SOCK_DGRAM),
        unix_pair(libc::SOCK_SEQPACKET),
    ] {
        assert_eq!(writev(one, &[b"ab", b"", b"cde"]), 5);
        let mut buf = [0; 8];
        assert_eq!(read(two, &mut buf), 5);
        assert_eq!(&buf[..5], b"abcde");
        assert_eq!(writev(one, &[&b"x"[..]; 1_025]), no(libc::EMSGSIZE));
        destroy(one);
        destroy(two);
    }
}

#[test]
fn an_empty_write_is_an_empty_message() {
    for (one, two) in [
        udp_pair(),
        unix_pair(libc::SOCK_DGRAM),
        unix_pair(libc::SOCK_SEQPACKET),
    ] {
        assert_eq!(write(one, b""), 0);
        assert_eq!(writev(one, &[b"", b""]), 0);
        assert_eq!(write(one, b"behind"), 6);
        let mut buf = [0; 8];
        assert_eq!(read(two, &mut buf), 0);
        assert_eq!(read(two, &mut buf), 0);
        assert_eq!(read(two, &mut buf), 6);
        destroy(one);
        destroy(two);
    }
}

#[test]
fn an_empty_write_to_a_stream_sends_nothing() {
    let (one, two) = tcp_pair();
    assert_eq!(write(one, b""), 0);
    assert_eq!(write(one, b"x"), 1);
    assert_eq!(read(two, &mut [0; 8]), 1);
    destroy(one);
    destroy(two);
}

#[test]
fn a_message_is_never_cut() {
    let (one, two) = udp_pair();
    assert_eq!(write(one, &[0; 65_508]), no(libc::EMSGSIZE));
    assert_eq!(
        writev(one, &[&[0; 40_000], &[0; 40_000]]),
        no(libc::EMSGSIZE)
    );
    destroy(one);
    destroy(two);
    let (one, two) = unix_pair(libc::SOCK_SEQPACKET);
    assert_eq!(write(one, &pattern(4 << 20)), no(libc::EMSGSIZE));
    assert_eq!(write(one, b"x"), 1, "it harms nothing");
    assert_eq!(read(two, &mut [0; 8]), 1);
    destroy(one);
    destroy(two);
}

#[test]
fn a_seqpacket_write_parks_while_the_peer_does_not_read() {
    let (one, two) = unix_pair(libc::SOCK_SEQPACKET);
    let filled = fill(one);
    let writer = spawn(move || write(one, b"next"));
    await_parked(one, 1);
    let mut buf = vec![0; 65_536];
    for _ in 0..filled / buf.len() {
        assert_eq!(read(two, &mut buf), 65_536);
    }
    assert_eq!(read(two, &mut buf), 4);
    assert_eq!(writer.join(), 4);
    destroy(one);
    destroy(two);
}

#[test]
fn a_write_to_a_full_socket_parks_and_goes_on() {
    for (one, two) in [tcp_pair(), unix_pair(libc::SOCK_STREAM)] {
        let filled = fill(one);
        let writer = spawn(move || write(one, b"next"));
        await_parked(one, 1);
        let all = read_exactly(two, filled + 4);
        assert!(all.ends_with(b"next"));
        assert_eq!(writer.join(), 4);
        destroy(one);
        destroy(two);
    }
}

#[test]
fn writes_of_one_socket_are_never_interleaved() {
    const LEN: usize = 1 << 20;
    let (one, two) = tcp_pair();
    let writers: Vec<_> = (0..4_u8)
        .map(|id| spawn(move || write(one, &vec![id; LEN])))
        .collect();
    for _ in 0..4 {
        let whole = read_exactly(two, LEN);
        assert!(whole.iter().all(|byte| *byte == whole[0]));
    }
    for writer in writers {
        assert_eq!(writer.join(), LEN as isize);
    }
    destroy(one);
    destroy(two);
}

/// Pages that are all zero and cost nothing until they are written.
struct Zeros(*mut libc::c_void, usize);

// SAFETY: they are only read.
unsafe impl Send for Zeros {}

impl Zeros {
    fn new(len: usize) -> Self {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let none = std::ptr::null_mut();
        // SAFETY: a new mapping touches no memory that exists.
        let start = unsafe { libc::mmap(none, len, libc::PROT_READ, flags, -1, 0) };
        assert_ne!(start, libc::MAP_FAILED);
        Self(start, len)
    }
}

impl Drop for Zeros {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours.
        unsafe { libc::munmap(self.0, self.1) };
    }
}

/// Reads and drops until the end, or until `limit` bytes came.
fn sink(fd: c_int, limit: usize) -> usize {
    let mut buf = vec![0; 1 << 20];
    let mut all = 0;
    while all < limit {
        match read(fd, &mut buf) {
            0 => break,
            n if n > 0 => all += n as usize,
            n => panic!("{n}"),
        }
    }
    all
}

#[test]
fn a_write_longer_than_the_kernel_takes_goes_in_pieces() {
    // One send(2) takes 2 GiB less a page, and less than 4 GiB in all.
    const ALL: usize = (2 << 30) + (64 << 20);
    let (one, two) = unix_pair(libc::SOCK_STREAM);
    let writer = spawn(move || {
        let zeros = Zeros::new(ALL);
        // SAFETY: the pages are there.
        let n = unsafe { netfd_write(one, zeros.0, ALL) };
        destroy(one);
        n
    });
    assert_eq!(sink(two, usize::MAX), ALL);
    assert_eq!(writer.join(), ALL as isize);
    destroy(two);
}

#[test]
fn a_write_of_a_length_that_no_memory_has_is_refused_or_stopped() {
    let (one, two) = unix_pair(libc::SOCK_STREAM);
    let byte = [0; 1];
    // SAFETY: it is refused before the buffer is looked at.
    let n = unsafe { netfd_write(one, byte.as_ptr().cast(), isize::MAX as usize + 1) };
    assert_eq!(n, no(libc::EINVAL));
    destroy(one);
    destroy(two);
}

#[test]
fn write_to_an_unconnected_socket_says_what_send_says() {
    let tcp = socket(libc::AF_INET, libc::SOCK_STREAM);
    assert_eq!(write(tcp, b"x"), no(libc::EPIPE));
    destroy(tcp);
    let (udp, _) = udp();
    assert_eq!(write(udp, b"x"), no(libc::EDESTADDRREQ));
    destroy(udp);
    let unixgram = socket(libc::AF_UNIX, libc::SOCK_DGRAM);
    assert_eq!(write(unixgram, b"x"), no(libc::ENOTCONN));
    destroy(unixgram);
}

/// A write that does not have to wait looks up all the same, between its parts.
#[test]
fn destroy_and_deadline_end_a_write_that_need_not_park() {
    const PARTS: usize = 2_000_000;
    for is_destroyed in [true, false] {
        let (one, two) = unix_pair(libc::SOCK_STREAM);
        let received = Arc::new(AtomicUsize::new(0));
        let count = received.clone();
        let reader = spawn(move || {
            let mut buf = vec![0; 65536];
            loop {
                match read(two, &mut buf) {
                    n if n > 0 => count.fetch_add(n as usize, Ordering::Relaxed),
                    n => return n,
                };
            }
        });
        let writer = spawn(move || {
            let byte: &[u8] = b"x";
            writev(one, &vec![byte; PARTS]) // in 2,000 system calls
        });
        await_that("it has begun", || received.load(Ordering::Relaxed) > 0);
        let ended = match is_destroyed {
            true => destroy(one),
            false => set_write_deadline(one, -1),
        };
        assert_eq!(ended, 0);
        let sent = writer.join();
        if !is_destroyed {
            destroy(one); // once: the number may be another test's by then
        }
        assert!(
            (1..PARTS as isize).contains(&sent),
            "{sent}: it was not ended"
        );
        assert_eq!(reader.join(), 0);
        assert_eq!(received.load(Ordering::Relaxed), sent as usize);
        destroy(two);
    }
}
