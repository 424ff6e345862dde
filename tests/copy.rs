//! Copying from one descriptor to another: what is moved, and when it is over.
//! Go's `io.Copy` to a connection and its `ReadFrom` (net/splice_test.go,
//! net/sendfile_test.go), splice(2).

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
use std::os::fd::{AsRawFd, IntoRawFd};

#[test]
fn copy_moves_a_stream_to_its_end() {
    const ALL: usize = (5 << 20) + 4321;
    for line in Line::all() {
        let feeder = line.feed(ALL);
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
    for line in Line::all() {
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
    for line in Line::all() {
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
    const ALL: usize = 16 << 20;
    for line in Line::all() {
        let copier = line.copier();
        await_parked(line.src, 1);
        assert_eq!(write(line.feeder, b"a"), 1);
        assert_eq!(read_exactly(line.reader, 1), b"a");
        await_parked(line.src, 1);
        let feeder = line.feed(ALL);
        await_parked(line.feeder, 1); // all is full between the two
        await_parked(line.dst, 1);
        assert!(read_exactly(line.reader, ALL) == pattern(ALL));
        assert_eq!(copier.join(), ALL as i64 + 1);
        assert_eq!(feeder.join(), ALL as isize);
        line.end();
    }
}

#[test]
fn a_parked_copy_costs_nothing() {
    let line = Line::tcp();
    let hang_up = || assert_eq!(shutdown(line.feeder, libc::SHUT_WR), 0);
    let n = parked_idly(line.src, move || copy(line.dst, line.src, -1), hang_up);
    assert_eq!(n, 0);
    line.end();
    let line = Line::new(tcp_pair, unix_stream);
    fill(line.dst);
    assert_eq!(write(line.feeder, b"x"), 1);
    let end = || assert_eq!(set_write_deadline(line.dst, -1), 0);
    let n = parked_idly(line.dst, move || copy(line.dst, line.src, -1), end);
    assert_eq!(n, code(NETFD_EDEADLINE));
    line.end();
}

#[test]
fn a_parked_copy_is_one_caller_and_is_shown_at_both_its_descriptors() {
    if !by_itself("a_parked_copy_is_one_caller_and_is_shown_at_both_its_descriptors") {
        return;
    }
    let line = Line::tcp();
    let copier = line.copier();
    await_parked(line.src, 1);
    await_parked(line.dst, 1);
    assert!(parked_lines(line.src)[0].contains(" reads, parked for"));
    assert!(parked_lines(line.dst)[0].contains(" writes, parked for"));
    assert_eq!(stats().parked, 1);
    shutdown(line.feeder, libc::SHUT_WR);
    assert_eq!(copier.join(), 0);
    assert_eq!(stats().parked, 0);
    line.end();
}

#[test]
fn copy_of_a_file_begins_at_its_offset_and_moves_it() {
    let bytes = pattern(300_000);
    for (dst, reader) in [tcp_pair(), unix_stream()] {
        let mut file = file(&bytes);
        file.seek(SeekFrom::Start(1_000)).expect("it seeks");
        let fd = file.as_raw_fd();
        assert_eq!(copy(dst, fd, 9_000), 9_000);
        assert_eq!(offset(&file), 10_000);
        let copier = spawn(move || copy(dst, fd, -1));
        assert_eq!(read_exactly(reader, 299_000), bytes[1_000..]);
        assert_eq!(copier.join(), 290_000);
        assert_eq!(offset(&file), 300_000);
        assert_eq!(copy(dst, fd, -1), 0);
        file.write_all(b"more").expect("a memfd takes it");
        file.seek(SeekFrom::Start(300_000)).expect("it seeks");
        assert_eq!(copy(dst, fd, -1), 4, "it has grown");
        assert_eq!(read_exactly(reader, 4), b"more");
        destroy(dst);
        destroy(reader);
    }
}

#[test]
fn copy_takes_files_that_do_not_tell_their_length() {
    let (dst, reader) = tcp_pair();
    let file = std::fs::File::open("/proc/version").expect("procfs");
    let text = std::fs::read("/proc/version").expect("procfs");
    assert_eq!(copy(dst, file.as_raw_fd(), -1), text.len() as i64);
    assert_eq!(read_exactly(reader, text.len()), text);
    assert_eq!(copy(dst, file.as_raw_fd(), -1), 0);
    destroy(dst);
    destroy(reader);
}

#[test]
fn copy_takes_pipes_that_block_and_pipes_that_do_not() {
    for flags in [0, libc::O_NONBLOCK] {
        for (dst, reader) in [tcp_pair(), seqpacket()] {
            let (out, into) = pipe(flags);
            let copier = spawn(move || copy(dst, out, -1));
            for part in [&b"one"[..], b"two", b"three"] {
                await_parked(dst, 1);
                plain_write(into, part);
                assert_eq!(read_exactly(reader, part.len()), part);
            }
            plain_close(into);
            assert_eq!(copier.join(), 11);
            plain_close(out);
            destroy(dst);
            destroy(reader);
        }
    }
}

#[test]
fn copy_takes_sockets_that_are_not_attached() {
    // The one of TCP is in blocking mode, too.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let at = listener.local_addr().expect("it listens");
    let feeder = std::net::TcpStream::connect(at).expect("it listens");
    let (src, _) = listener.accept().expect("it has connected");
    let tcp = (feeder.into_raw_fd(), src.into_raw_fd());
    for (feeder, src) in [tcp, plain_pair(libc::SOCK_STREAM)] {
        let src = never_attached(src);
        let (dst, reader) = tcp_pair();
        let copier = spawn(move || copy(dst, src, -1));
        for part in [&b"one"[..], b"two", b"three"] {
            await_parked(dst, 1);
            plain_send(feeder, part);
            assert_eq!(read_exactly(reader, part.len()), part);
        }
        plain_close(feeder);
        assert_eq!(copier.join(), 11);
        plain_close(src);
        destroy(dst);
        destroy(reader);
    }
}

#[test]
fn copy_takes_what_is_neither_file_nor_pipe_nor_socket() {
    let (dst, reader) = tcp_pair();
    // SAFETY: no pointers.
    let event = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) }; // it blocks
    let copier = spawn(move || copy(dst, event, 8));
    await_parked(dst, 1);
    plain_write(event, &7_u64.to_ne_bytes());
    assert_eq!(copier.join(), 8);
    assert_eq!(read_exactly(reader, 8), 7_u64.to_ne_bytes());
    plain_close(event);
    let zero = std::fs::File::open("/dev/zero").expect("it is there");
    let copier = spawn(move || copy(dst, zero.as_raw_fd(), 3_000_000));
    assert!(
        read_exactly(reader, 3_000_000)
            .iter()
            .all(|byte| *byte == 0)
    );
    assert_eq!(copier.join(), 3_000_000);
    destroy(dst);
    destroy(reader);
}

#[test]
fn each_message_becomes_one_message_the_empty_ones_too() {
    for (feeder, src) in [udp_pair(), unixgram()] {
        for (dst, reader) in [udp_pair(), unixgram()] {
            let copier = spawn(move || copy(dst, src, 8));
            for message in [&b"one"[..], b"", b"three"] {
                assert_eq!(write(feeder, message), message.len() as isize);
                let mut buf = [0; 16];
                let n = read(reader, &mut buf);
                assert_eq!(&buf[..n as usize], message);
            }
            assert_eq!(copier.join(), 8);
            destroy(dst);
            destroy(reader);
        }
        destroy(feeder);
        destroy(src);
    }
}

#[test]
fn messages_are_joined_in_a_stream_and_a_seqpacket_ends() {
    let line = Line::new(seqpacket, tcp_pair);
    for message in [&b"one"[..], b"two", b"three"] {
        assert_eq!(write(line.feeder, message), message.len() as isize);
    }
    destroy(line.feeder);
    assert_eq!(copy(line.dst, line.src, -1), 11);
    assert_eq!(read_exactly(line.reader, 11), b"onetwothree");
    line.end_without(line.feeder);
}

#[test]
fn a_stream_becomes_messages_of_32_kib_at_most() {
    let bytes = pattern(100_000);
    for (dst, reader) in [udp_pair(), unixgram(), seqpacket()] {
        let file = file(&bytes);
        let copier = spawn(move || copy(dst, file.as_raw_fd(), -1));
        let mut got = Vec::new();
        let mut buf = vec![0; 1 << 17];
        while got.len() < bytes.len() {
            let n = read(reader, &mut buf);
            assert!((1..=32_768).contains(&n), "{n}");
            got.extend_from_slice(&buf[..n as usize]);
        }
        assert!(got == bytes, "byte for byte");
        assert_eq!(copier.join(), 100_000);
        destroy(dst);
        destroy(reader);
    }
}

#[test]
fn a_message_that_is_too_long_is_left_where_it_is() {
    for (len, max) in [(100, 50), (100_000, -1)] {
        for from in [unixgram, seqpacket] {
            let line = Line::new(from, tcp_pair);
            assert_eq!(write(line.feeder, &pattern(len)), len as isize);
            assert_eq!(copy(line.dst, line.src, max), code(-libc::EMSGSIZE));
            let mut buf = vec![0; len + 1];
            assert_eq!(read(line.src, &mut buf), len as isize);
            assert!(buf[..len] == pattern(len));
            assert_eq!(write(line.dst, b"x"), 1, "nothing was lost");
            line.end();
        }
    }
}

#[test]
fn messages_before_one_that_is_too_long_are_counted() {
    let line = Line::new(seqpacket, seqpacket);
    assert_eq!(write(line.feeder, &pattern(30)), 30);
    assert_eq!(write(line.feeder, &pattern(100)), 100);
    assert_eq!(copy(line.dst, line.src, 50), 30);
    let error = last_error();
    assert_eq!(error.code, -libc::EMSGSIZE);
    assert_eq!(blamed(&error), ("read".into(), "read".into()));
    assert_eq!(copy(line.dst, line.src, 100), 100);
    line.end();
}

#[test]
fn an_echo_copies_a_socket_to_itself() {
    const ALL: usize = 8 << 20;
    for (one, two) in [tcp_pair(), unix_stream()] {
        let echo = spawn(move || {
            let n = copy(two, two, -1);
            shutdown(two, libc::SHUT_WR);
            n
        });
        let writer = spawn(move || {
            let n = write(one, &pattern(ALL));
            shutdown(one, libc::SHUT_WR);
            n
        });
        assert!(read_to_end(one) == pattern(ALL));
        assert_eq!(writer.join(), ALL as isize);
        assert_eq!(echo.join(), ALL as i64);
        destroy(one);
        destroy(two);
    }
}

/// splice(2) says EAGAIN at the urgent mark, for ever.
#[test]
fn an_urgent_mark_holds_nothing_up_and_is_no_end() {
    let line = Line::tcp();
    let copier = line.copier();
    await_parked(line.src, 1);
    assert_eq!(sendto(line.feeder, b"ab!", libc::MSG_OOB, None), 3);
    assert_eq!(write(line.feeder, b"cd"), 2);
    assert_eq!(read_exactly(line.reader, 4), b"abcd", "without the mark");
    await_parked(line.src, 1);
    assert_eq!(sendto(line.feeder, b"ef!", libc::MSG_OOB, None), 3);
    assert_eq!(write(line.feeder, b"gh"), 2);
    shutdown(line.feeder, libc::SHUT_WR);
    assert_eq!(read_exactly(line.reader, 4), b"efgh");
    assert_eq!(copier.join(), 8);
    line.end();
}

/// As above, with all of it there, and the end, before the copy begins.
#[test]
fn an_urgent_mark_that_waits_before_the_end_is_no_end() {
    let line = Line::tcp();
    assert_eq!(sendto(line.feeder, b"ab!", libc::MSG_OOB, None), 3);
    assert_eq!(write(line.feeder, b"cd"), 2);
    shutdown(line.feeder, libc::SHUT_WR);
    await_that("the end", || {
        polled(line.src, libc::POLLRDHUP) & libc::POLLRDHUP != 0
    });
    assert_eq!(copy(line.dst, line.src, -1), 4);
    assert_eq!(read_exactly(line.reader, 4), b"abcd");
    line.end();
}

#[test]
fn half_closed_ends_are_no_hindrance() {
    for line in Line::all() {
        // Each of the four has closed the direction that is not used.
        shutdown(line.src, libc::SHUT_WR);
        shutdown(line.dst, libc::SHUT_RD);
        shutdown(line.reader, libc::SHUT_WR);
        let feeder = line.feed(1 << 20);
        let copier = line.copier();
        assert!(read_exactly(line.reader, 1 << 20) == pattern(1 << 20));
        assert_eq!(copier.join(), 1 << 20);
        assert_eq!(feeder.join(), 1 << 20);
        line.end();
    }
}

/// A number that changes with each call, the same in each run.
fn chance(state: &mut u64, below: usize) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state % below as u64) as usize
}

/// Writes all of it in pieces of any size, and hangs up.
fn write_in_pieces(fd: c_int, all: &[u8], mut state: u64) {
    let mut at = 0;
    while at < all.len() {
        let most = [5_000, 5_000, 300_000][chance(&mut state, 3)];
        let len = 1 + chance(&mut state, most);
        let part = &all[at..all.len().min(at + len)];
        assert_eq!(write(fd, part), part.len() as isize);
        at += part.len();
    }
    assert_eq!(shutdown(fd, libc::SHUT_WR), 0);
}

/// Reads to the end in pieces of any size, and compares.
fn read_in_pieces(fd: c_int, all: &[u8], mut state: u64) {
    let mut buf = vec![0; 200_000];
    let mut at = 0;
    loop {
        let most = [9_000, 9_000, 200_000][chance(&mut state, 3)];
        let len = 1 + chance(&mut state, most);
        let n = read(fd, &mut buf[..len]) as usize;
        if n == 0 {
            assert_eq!(at, all.len(), "the end is passed on");
            return;
        }
        assert!(n <= len, "{}", error_text());
        assert!(buf[..n] == all[at..at + n], "byte for byte at {at}");
        at += n;
    }
}

/// A proxy of 64 MiB in both directions at once.
#[test]
fn a_proxy_is_byte_exact_in_both_directions_at_once() {
    const ALL: usize = 64 << 20;
    for line in [Line::tcp(), Line::new(tcp_pair, unix_stream)] {
        let Line {
            feeder,
            src,
            dst,
            reader,
        } = line;
        let relay = |to: c_int, from: c_int| {
            spawn(move || {
                let mut all = 0;
                loop {
                    match copy(to, from, 10_000_019) {
                        0 => break,
                        n if n > 0 => all += n,
                        n => panic!("{n}: {}", error_text()),
                    }
                }
                assert_eq!(shutdown(to, libc::SHUT_WR), 0);
                all
            })
        };
        let relays = [relay(dst, src), relay(src, dst)];
        let there = std::sync::Arc::new(pattern(ALL));
        let peers: Vec<_> = [(feeder, 3), (reader, 5)]
            .into_iter()
            .flat_map(|(fd, seed)| {
                let (out, back) = (there.clone(), there.clone());
                [
                    spawn(move || write_in_pieces(fd, &out[seed..], seed as u64)),
                    spawn(move || read_in_pieces(fd, &back[8 - seed..], seed as u64 + 1)),
                ]
            })
            .collect();
        for peer in peers {
            peer.join();
        }
        let counts = relays.map(Task::join);
        assert_eq!(counts, [ALL as i64 - 3, ALL as i64 - 5]);
        line.end();
    }
}

#[test]
fn copies_into_one_descriptor_are_not_interleaved() {
    const LEN: usize = 1 << 20;
    let (dst, reader) = tcp_pair();
    let copiers: Vec<_> = (0..4_u8)
        .map(|id| {
            let (feeder, src) = unix_stream();
            let writer = spawn(move || {
                assert_eq!(write(feeder, &vec![id; LEN]), LEN as isize);
                destroy(feeder);
            });
            let copier = spawn(move || {
                let n = copy(dst, src, -1);
                destroy(src);
                n
            });
            (writer, copier)
        })
        .collect();
    for _ in 0..4 {
        let whole = read_exactly(reader, LEN);
        assert!(whole.iter().all(|byte| *byte == whole[0]));
    }
    for (writer, copier) in copiers {
        writer.join();
        assert_eq!(copier.join(), LEN as i64);
    }
    destroy(dst);
    destroy(reader);
}

/// Each has the turn that the other waits for, if they take them in the wrong
/// order.
#[test]
fn copies_in_both_directions_by_many_threads_do_not_wait_for_each_other() {
    const ROUNDS: usize = 3_000;
    let line = Line::new(unix_stream, unix_stream);
    let Line {
        feeder,
        src,
        dst,
        reader,
    } = line;
    let copiers: Vec<_> = (0..6)
        .map(|id| {
            let (to, from) = if id % 2 == 0 { (dst, src) } else { (src, dst) };
            spawn(move || {
                let mut all = 0;
                loop {
                    match copy(to, from, 1 + id) {
                        0 => return all,
                        n if n > 0 => all += n,
                        n => panic!("{n}: {}", error_text()),
                    }
                }
            })
        })
        .collect();
    let echo = |one: c_int| {
        spawn(move || {
            for _ in 0..ROUNDS {
                assert_eq!(write(one, b"abcdefg"), 7);
            }
            shutdown(one, libc::SHUT_WR);
        })
    };
    let feeders = [echo(feeder), echo(reader)];
    let readers = [feeder, reader].map(|end| spawn(move || read_exactly(end, 7 * ROUNDS)));
    for reader in readers {
        assert_eq!(reader.join(), b"abcdefg".repeat(ROUNDS));
    }
    for feeder in feeders {
        feeder.join();
    }
    let all: i64 = copiers.into_iter().map(Task::join).sum();
    assert_eq!(all, 2 * 7 * ROUNDS as i64);
    line.end();
}

#[test]
fn copy_of_nothing_looks_at_both_numbers() {
    let (one, two) = tcp_pair();
    let (plain, other) = plain_pair(libc::SOCK_STREAM);
    let plain = never_attached(plain);
    assert_eq!(copy(one, two, 0), 0);
    assert_eq!(copy(one, plain, 0), 0);
    let ebadf = code(-libc::EBADF);
    for max in [0, -1] {
        assert_eq!(copy(plain, one, max), ebadf, "not attached");
        assert_eq!(copy(-1, one, max), ebadf);
        assert_eq!(copy(one, -1, max), ebadf);
        assert_eq!(copy(one, c_int::MAX, max), ebadf);
    }
    plain_close(plain);
    plain_close(other);
    destroy(one);
    destroy(two);
}

#[test]
fn a_descriptor_that_was_destroyed_is_closed_on_either_side() {
    if !by_itself("a_descriptor_that_was_destroyed_is_closed_on_either_side") {
        return; // nobody takes the number
    }
    let (one, two) = tcp_pair();
    let (plain, other) = plain_pair(libc::SOCK_STREAM);
    let file = std::fs::File::open("/proc/version").expect("procfs");
    destroy(two);
    for max in [0, -1] {
        assert_eq!(copy(one, two, max), code(NETFD_ECLOSED));
        assert_eq!(copy(two, one, max), code(NETFD_ECLOSED));
    }
    // A socket of that number which the library was not told of may be
    // anybody's. A file is one that the program has opened since.
    for (now, wanted) in [(plain, code(NETFD_ECLOSED)), (file.as_raw_fd(), 1)] {
        // SAFETY: no pointers.
        assert_eq!(unsafe { libc::dup2(now, two) }, two);
        assert_eq!(copy(one, two, 1), wanted);
        assert_eq!(copy(two, one, 1), code(NETFD_ECLOSED), "not attached");
    }
    for fd in [two, plain, other] {
        plain_close(fd);
    }
    destroy(one);
}

#[test]
fn copy_leaks_no_descriptor_and_uses_its_pipes_again() {
    if !by_itself("copy_leaks_no_descriptor_and_uses_its_pipes_again") {
        return;
    }
    let line = Line::tcp();
    let round = |end: fn(Line)| {
        let copier = line.copier();
        await_parked(line.src, 1);
        assert_eq!(write(line.feeder, b"x"), 1);
        assert_eq!(read_exactly(line.reader, 1), b"x");
        await_parked(line.src, 1);
        end(line);
        assert_eq!(copier.join(), 1);
    };
    let by_deadline = |line: Line| {
        set_read_deadline(line.src, -1);
        await_parked(line.dst, 0);
        set_read_deadline(line.src, 0);
    };
    round(by_deadline);
    let before = open_fds();
    for _ in 0..50 {
        round(by_deadline);
    }
    assert_eq!(open_fds(), before);
    line.end();
    // Pipes that had something in them are not used again.
    let before = open_fds();
    for _ in 0..10 {
        let line = Line::tcp();
        let (copier, _) = line.stuck();
        set_write_deadline(line.dst, -1);
        copier.join();
        line.end();
    }
    assert!(open_fds() <= before, "{} and {before}", open_fds());
}
