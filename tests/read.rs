//! Reading: one successful system call, end of stream, lost connections, and
//! what never comes out. Go's `FD.Read` (net/net_test.go, net/read_test.go),
//! read(2), readv(2), tcp(7).

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

#[test]
fn read_returns_what_is_there_and_not_more() {
    let (one, two) = tcp_pair();
    assert_eq!(write(one, b"short"), 5);
    let mut buf = [0; 64];
    assert_eq!(read(two, &mut buf), 5);
    assert_eq!(&buf[..5], b"short");
    destroy(one);
    destroy(two);
}

#[test]
fn read_leaves_in_the_socket_what_does_not_fit() {
    let (one, two) = tcp_pair();
    assert_eq!(write(one, b"abcdef"), 6);
    let mut buf = [0; 4];
    assert_eq!(read(two, &mut buf), 4);
    assert_eq!(&buf, b"abcd");
    assert_eq!(read(two, &mut buf), 2);
    assert_eq!(&buf[..2], b"ef");
    destroy(one);
    destroy(two);
}

#[test]
fn read_parks_until_data_comes() {
    let (one, two) = tcp_pair();
    let task = spawn(move || {
        let mut buf = [0; 8];
        (read(two, &mut buf), buf)
    });
    await_parked(two, 1);
    assert_eq!(write(one, b"late"), 4);
    let (n, buf) = task.join();
    assert_eq!((n, &buf[..4]), (4, &b"late"[..]));
    destroy(one);
    destroy(two);
}

#[test]
fn read_of_length_0_returns_0_without_data_and_behind_a_parked_reader() {
    let (one, two) = tcp_pair();
    assert_eq!(read(two, &mut []), 0);
    let task = spawn(move || read(two, &mut [0; 8]));
    await_parked(two, 1);
    assert_eq!(read(two, &mut []), 0);
    assert_eq!(readv(two, &mut []), 0);
    assert_eq!(readv(two, &mut [vec![], vec![]]), 0);
    assert_eq!(write(one, b"x"), 1);
    assert_eq!(task.join(), 1);
    destroy(one);
    destroy(two);
}

#[test]
fn read_of_length_0_on_a_destroyed_descriptor_is_eclosed() {
    if !by_itself("read_of_length_0_on_a_destroyed_descriptor_is_eclosed") {
        return; // or another test gets the number
    }
    let (one, two) = tcp_pair();
    destroy(two);
    assert_eq!(read(two, &mut []), CLOSED);
    destroy(one);
}

#[test]
fn read_returns_0_at_the_end_of_the_stream_and_again() {
    for pair in [tcp_pair(), unix_pair(libc::SOCK_STREAM)] {
        let (one, two) = pair;
        destroy(one);
        assert_eq!(read(two, &mut [0; 8]), 0);
        assert_eq!(read(two, &mut [0; 8]), 0);
        destroy(two);
    }
}

#[test]
fn read_wakes_at_the_end_of_the_stream() {
    let (one, two) = tcp_pair();
    let task = spawn(move || read(two, &mut [0; 8]));
    await_parked(two, 1);
    assert_eq!(shutdown(one, libc::SHUT_WR), 0);
    assert_eq!(task.join(), 0);
    destroy(one);
    destroy(two);
}

#[test]
fn end_of_stream_comes_behind_the_bytes_that_are_queued() {
    let (one, two) = tcp_pair();
    let sent = pattern(100_000);
    assert_eq!(write(one, &sent), 100_000);
    destroy(one);
    assert_eq!(read_to_end(two), sent);
    destroy(two);
}

#[test]
fn an_empty_datagram_is_no_end() {
    let (one, two) = udp_pair();
    assert_eq!(write(one, b""), 0);
    assert_eq!(write(one, b"x"), 1);
    let mut buf = [0; 8];
    assert_eq!(read(two, &mut buf), 0);
    assert_eq!(read(two, &mut buf), 1);
    destroy(one);
    destroy(two);
}

#[test]
fn seqpacket_reads_a_message_at_a_time() {
    let (one, two) = unix_pair(libc::SOCK_SEQPACKET);
    assert_eq!(write(one, b"first"), 5);
    assert_eq!(write(one, b"second"), 6);
    let mut buf = [0; 64];
    assert_eq!(read(two, &mut buf), 5);
    assert_eq!(read(two, &mut buf), 6);
    destroy(one);
    assert_eq!(read(two, &mut buf), 0);
    destroy(two);
}

/// A connection that the peer has reset, with `queued` bytes in our socket,
/// of which a writer has heard first.
fn reset_told_to_a_writer(queued: &[u8]) -> c_int {
    let (one, two) = tcp_pair();
    assert_eq!(write(one, queued), queued.len() as isize);
    await_that("the bytes", || {
        queued.is_empty() || polled(two, libc::POLLIN) != 0
    });
    reset(one);
    await_that("the reset", || polled(two, 0) & libc::POLLERR != 0);
    assert_eq!(write(two, b"x"), no(libc::ECONNRESET));
    two
}

#[test]
fn a_reset_told_to_a_writer_is_told_to_every_read_from_then_on() {
    let fd = reset_told_to_a_writer(b"");
    for _ in 0..3 {
        assert_eq!(read(fd, &mut [0; 8]), no(libc::ECONNRESET));
    }
    assert_eq!(readv(fd, &mut [vec![0; 8]]), no(libc::ECONNRESET));
    destroy(fd);
}

#[test]
fn bytes_queued_before_a_reset_come_before_its_error() {
    let fd = reset_told_to_a_writer(b"queued");
    assert_eq!(read_exactly(fd, 3), b"que");
    assert_eq!(read_exactly(fd, 3), b"ued");
    assert_eq!(read(fd, &mut [0; 8]), no(libc::ECONNRESET));
    assert_eq!(read(fd, &mut [0; 8]), no(libc::ECONNRESET));
    destroy(fd);
}

#[test]
fn a_reset_told_to_a_writer_is_no_end_for_receives_with_flags_either() {
    let fd = reset_told_to_a_writer(b"");
    let reset = no(libc::ECONNRESET);
    assert_eq!(recv(fd, &mut [0; 8], 0), reset);
    assert_eq!(recv(fd, &mut [0; 8], libc::MSG_DONTWAIT), reset);
    assert_eq!(recv(fd, &mut [0; 8], libc::MSG_PEEK), reset);
    destroy(fd);
}

#[test]
fn a_reset_told_to_a_reader_is_told_again() {
    let (one, two) = tcp_pair();
    let task = spawn(move || read(two, &mut [0; 8]));
    await_parked(two, 1);
    reset(one);
    assert_eq!(task.join(), no(libc::ECONNRESET));
    assert_eq!(read(two, &mut [0; 8]), no(libc::ECONNRESET));
    destroy(two);
}

#[test]
fn a_unix_peer_that_left_bytes_unread_is_no_end_of_stream() {
    let (one, two) = unix_pair(libc::SOCK_STREAM);
    assert_eq!(write(two, b"unread"), 6);
    destroy(one);
    assert_eq!(read(two, &mut [0; 8]), no(libc::ECONNRESET));
    assert_eq!(read(two, &mut [0; 8]), no(libc::ECONNRESET));
    destroy(two);
}

/// The kernel tells a reset to one call; the other, which runs at the same
/// time, hears of it from us or not at all.
#[test]
fn a_reset_is_never_an_end_of_stream_to_a_reader_beside_a_writer() {
    const ROUNDS: usize = 3_000;
    let (listener, at) = listener();
    let mut first = [0; 2];
    for round in 0..ROUNDS {
        let one = socket(libc::AF_INET, libc::SOCK_STREAM);
        assert_eq!(connect(one, &at), 0, "{}", error_text());
        let two = accept(listener);
        let start = Arc::new(Barrier::new(2));
        let at_start = Arc::clone(&start);
        let writer = spawn(move || {
            at_start.wait();
            loop {
                let n = write(two, b"x");
                if n < 0 {
                    return n;
                }
            }
        });
        start.wait();
        reset(one);
        let read = read(two, &mut [0; 8]);
        let written = writer.join();
        assert_eq!(
            read,
            no(libc::ECONNRESET),
            "round {round}, writer {written}"
        );
        first[usize::from(written == no(libc::ECONNRESET))] += 1;
        destroy(two);
    }
    println!("{ROUNDS} resets, told to the reader and the writer: {first:?}");
    destroy(listener);
}

#[test]
fn readv_fills_its_buffers_in_order() {
    let (one, two) = tcp_pair();
    assert_eq!(write(one, b"abcdefghij"), 10);
    let mut buffers = [vec![0; 3], vec![], vec![0; 4], vec![0; 8]];
    assert_eq!(readv(two, &mut buffers), 10);
    assert_eq!(buffers[0], b"abc");
    assert_eq!(buffers[2], b"defg");
    assert_eq!(&buffers[3][..3], b"hij");
    destroy(one);
    destroy(two);
}

#[test]
fn readv_takes_more_than_iov_max_buffers_on_a_stream() {
    let (one, two) = tcp_pair();
    assert_eq!(write(one, &pattern(4_000)), 4_000);
    let mut got = Vec::new();
    while got.len() < 4_000 {
        let mut buffers = vec![vec![0; 1]; 3_000];
        let n = readv(two, &mut buffers);
        assert!(n > 0, "{n}");
        got.extend(buffers.concat().into_iter().take(n as usize));
    }
    assert_eq!(got, pattern(4_000));
    destroy(one);
    destroy(two);
}

#[test]
fn readv_behind_iov_max_empty_buffers_is_no_end_of_stream() {
    let (one, two) = tcp_pair();
    assert_eq!(write(one, b"data"), 4);
    let mut buffers = vec![vec![]; 1_024];
    buffers.push(vec![0; 8]);
    assert_eq!(readv(two, &mut buffers), 4);
    assert_eq!(&buffers[1_024][..4], b"data");
    destroy(one);
    destroy(two);
}

#[test]
fn readv_cuts_no_message_and_says_emsgsize_beyond_iov_max() {
    let (one, two) = udp_pair();
    assert_eq!(write(one, b"message"), 7);
    let mut many = vec![vec![0; 1]; 1_025];
    assert_eq!(readv(two, &mut many), no(libc::EMSGSIZE));
    let mut two_buffers = [vec![0; 3], vec![0; 8]];
    assert_eq!(readv(two, &mut two_buffers), 7);
    assert_eq!(two_buffers[0], b"mes");
    destroy(one);
    destroy(two);
}

#[test]
fn a_large_read_takes_what_is_there() {
    let (one, two) = tcp_pair();
    let writer = spawn(move || {
        assert_eq!(write(one, &pattern(8 << 20)), 8 << 20);
        destroy(one);
    });
    let mut buf = vec![0; 16 << 20];
    let mut got = 0;
    loop {
        match read(two, &mut buf[got..]) {
            0 => break,
            n if n > 0 => got += n as usize,
            n => panic!("{n}: {}", error_text()),
        }
    }
    writer.join();
    assert!(buf[..got] == pattern(8 << 20));
    destroy(two);
}

#[test]
fn eintr_and_eagain_never_come_out_of_a_read_under_a_storm_of_signals() {
    const ROUNDS: usize = 300;
    let (one, two) = tcp_pair();
    let reader = spawn_thread(move || {
        let _storm = Storm::begin();
        for _ in 0..ROUNDS {
            assert_eq!(read(two, &mut [0; 1]), 1, "{}", error_text());
        }
    });
    for _ in 0..ROUNDS {
        std::thread::sleep(std::time::Duration::from_micros(500)); // a few signals long
        assert_eq!(write(one, b"x"), 1);
    }
    reader.join();
    destroy(one);
    destroy(two);
}

#[test]
fn eintr_never_comes_out_of_a_queued_read() {
    let (one, two) = tcp_pair();
    let holder = spawn(move || read(two, &mut [0; 1]));
    await_parked(two, 1);
    let queued = spawn_thread(move || {
        let _storm = Storm::begin();
        read(two, &mut [0; 1])
    });
    await_parked(two, 2);
    std::thread::sleep(std::time::Duration::from_millis(50)); // hundreds of signals
    assert_eq!(write(one, b"xy"), 2);
    assert_eq!((holder.join(), queued.join()), (1, 1));
    destroy(one);
    destroy(two);
}

#[test]
fn a_parked_read_wakes_at_the_low_water_mark() {
    let (one, two) = tcp_pair();
    set_option(two, libc::SOL_SOCKET, libc::SO_RCVLOWAT, 10);
    let task = spawn(move || read(two, &mut [0; 64]));
    await_parked(two, 1);
    assert_eq!(write(one, b"12345"), 5);
    std::thread::sleep(std::time::Duration::from_millis(20)); // it would wake too early
    assert!(!task.is_finished(), "5 bytes are below the mark");
    assert_eq!(write(one, b"67890"), 5);
    assert_eq!(task.join(), 10);
    destroy(one);
    destroy(two);
}

/// Where a read waits before it tries, it waits for the mark, though Go's Read
/// and a blocking read(2) would be served at once. The header says so.
#[test]
fn a_read_that_waits_first_waits_for_the_low_water_mark() {
    let (one, two) = tcp_pair();
    assert_eq!(write(one, b"12"), 2);
    assert_eq!(read(two, &mut [0; 64]), 2); // less than asked: "drained"
    set_option(two, libc::SOL_SOCKET, libc::SO_RCVLOWAT, 10);
    assert_eq!(write(one, b"345"), 3);
    await_that("the bytes", || {
        let n = recv(two, &mut [0; 64], libc::MSG_PEEK | libc::MSG_DONTWAIT);
        n == 3
    });
    let task = spawn(move || read(two, &mut [0; 3]));
    await_parked(two, 1);
    assert_eq!(write(one, b"6789012"), 7);
    assert_eq!(task.join(), 3);
    destroy(one);
    destroy(two);
}

#[test]
fn a_refusal_in_the_error_queue_does_not_make_a_parked_read_spin() {
    let (fd, at) = with_error_queue();
    let (peer, _) = udp();
    let n = parked_idly(
        fd,
        move || read(fd, &mut [0; 8]),
        || assert_eq!(sendto(peer, b"data", 0, Some(&at)), 4),
    );
    assert_eq!(n, 4);
    destroy(fd);
    destroy(peer);
}

#[test]
fn a_timestamp_in_the_error_queue_does_not_make_a_parked_read_spin() {
    // TX_SOFTWARE, SOFTWARE, TX_ACK and OPT_TSONLY of linux/net_tstamp.h.
    const FLAGS: c_int = 1 << 1 | 1 << 4 | 1 << 9 | 1 << 11;
    let (one, two) = tcp_pair();
    set_option(two, libc::SOL_SOCKET, libc::SO_TIMESTAMPING, FLAGS);
    assert_eq!(write(two, b"ping"), 4);
    assert_eq!(read_exactly(one, 4), b"ping");
    await_that("a timestamp", || polled(two, 0) & libc::POLLERR != 0);
    for drained in [false, true] {
        let n = parked_idly(
            two,
            move || read(two, &mut [0; 8]),
            || assert_eq!(write(one, b"data"), 4),
        );
        assert_eq!(n, 4, "drained: {drained}");
    }
    assert_eq!(polled(two, 0), libc::POLLERR, "the entry still stands");
    destroy(one);
    assert_eq!(read(two, &mut [0; 8]), 0);
    destroy(two);
}

#[test]
fn a_deadline_ends_a_read_over_an_error_queue() {
    let (fd, _) = with_error_queue();
    let n = parked_idly(
        fd,
        move || read(fd, &mut [0; 8]),
        || assert_eq!(set_read_deadline(fd, -1), 0),
    );
    assert_eq!(n, DEADLINE);
    destroy(fd);
}

#[test]
fn destroy_ends_a_read_over_an_error_queue() {
    let (fd, _) = with_error_queue();
    let n = parked_idly(
        fd,
        move || read(fd, &mut [0; 8]),
        || assert_eq!(destroy(fd), 0),
    );
    assert_eq!(n, CLOSED);
}

#[test]
fn read_passes_on_what_recv_says() {
    let fd = socket(libc::AF_INET, libc::SOCK_STREAM);
    assert_eq!(read(fd, &mut [0; 8]), no(libc::ENOTCONN));
    assert!(error_text().ends_with("read: transport endpoint is not connected"));
    destroy(fd);
}
