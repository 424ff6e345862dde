//! Who comes next: readers of a stream take turns, writers take turns, a
//! reader and a writer run side by side; datagrams and accepts are each
//! delivered once, and nobody is woken for nothing.
//!
//! Specifies Go's fdMutex (fd_mutex_test.go: `TestMutex`, `TestMutexClose`)
//! and `TestConcurrentAccept`'s like. A queued reader obeys its deadline,
//! which Go's does not.

mod common;

use common::*;
use libc::{c_int, ssize_t};
use std::collections::HashSet;
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const DEADLINE: ssize_t = NETFD_EDEADLINE as ssize_t;
const CLOSED: ssize_t = NETFD_ECLOSED as ssize_t;
const EAGAIN: ssize_t = -(libc::EAGAIN as ssize_t);

fn read_some(fd: c_int) -> ssize_t {
    read(fd, &mut [0; 16])
}

/// One byte, or what the read said.
fn read_byte(fd: c_int) -> Result<u8, ssize_t> {
    let mut byte = [0];
    match read(fd, &mut byte) {
        1 => Ok(byte[0]),
        other => Err(other),
    }
}

fn recv_dontwait(fd: c_int) -> ssize_t {
    let mut buf = [0u8; 16];
    let (to, flags) = (buf.as_mut_ptr().cast(), libc::MSG_DONTWAIT);
    // SAFETY: the buffer is as long as said, NULL is allowed.
    unsafe { netfd_recvfrom(fd, to, 16, flags, null_mut(), null_mut()) }
}

fn send_dontwait(fd: c_int) -> ssize_t {
    let buf = [0u8; 16];
    // SAFETY: the buffer is as long as said, NULL is allowed.
    unsafe { netfd_sendto(fd, buf.as_ptr().cast(), 16, libc::MSG_DONTWAIT, null(), 0) }
}

/// How many of those parked on `fd` do as `doing` says.
fn parked_as(fd: c_int, doing: &str) -> usize {
    let lines = parked_lines(fd);
    lines.iter().filter(|line| line.contains(doing)).count()
}

#[test]
fn of_many_readers_one_polls_and_the_others_queue() {
    let (fd, peer) = unix_pair(libc::SOCK_STREAM);
    let readers: Vec<_> = (0..4).map(|_| spawn(move || read_some(fd))).collect();
    await_parked(fd, 4);
    assert_eq!(parked_as(fd, " reads,"), 1);
    assert_eq!(parked_as(fd, " queues to read,"), 3);
    destroy(fd);
    readers
        .into_iter()
        .map(Task::join)
        .for_each(|n| assert_eq!(n, CLOSED));
    destroy(peer);
}

#[test]
fn readers_that_queue_are_served_in_their_order() {
    let (fd, peer) = unix_pair(libc::SOCK_STREAM);
    let readers: Vec<_> = (1..=5)
        .map(|n| {
            let reader = spawn(move || read_byte(fd));
            await_parked(fd, n);
            reader
        })
        .collect();
    // They do not come back, so nobody can get in before them.
    assert_eq!(write(peer, b"abcde"), 5);
    let got: Vec<_> = readers.into_iter().map(Task::join).collect();
    assert_eq!(got, b"abcde".map(Ok));
    destroy(fd);
    destroy(peer);
}

#[test]
fn each_byte_goes_to_one_reader() {
    const BYTES: usize = 2000;
    let (fd, peer) = unix_pair(libc::SOCK_STREAM);
    let readers: Vec<_> = (0..8)
        .map(|_| {
            spawn(move || {
                let mut got = Vec::new();
                while let Ok(byte) = read_byte(fd) {
                    got.push(byte);
                }
                got
            })
        })
        .collect();
    await_parked(fd, 8);
    let mut expected = [0usize; 256];
    for byte in (0..251u8).cycle().take(BYTES).map(|byte| [byte]) {
        expected[usize::from(byte[0])] += 1;
        assert_eq!(write(peer, &byte), 1);
    }
    destroy(peer);
    let mut got = [0usize; 256];
    for byte in readers.into_iter().flat_map(Task::join) {
        got[usize::from(byte)] += 1;
    }
    assert_eq!(got, expected);
    destroy(fd);
}

#[test]
fn a_reader_and_a_writer_run_side_by_side() {
    let (fd, peer) = unix_pair(libc::SOCK_STREAM);
    let reader = spawn(move || read_byte(fd));
    await_parked(fd, 1);
    assert_eq!(write(fd, b"w"), 1, "past the parked reader");
    fill(fd);
    let writer = spawn(move || write(fd, &[0; 1 << 20]));
    await_parked(fd, 2);
    assert_eq!(write(peer, b"r"), 1);
    assert_eq!(reader.join(), Ok(b'r'), "past the parked writer");
    destroy(fd);
    writer.join();
    destroy(peer);
}

#[test]
fn everything_else_runs_beside_those_who_have_the_turns() {
    let (fd, peer) = tcp_pair();
    fill(fd);
    let reader = spawn(move || read_some(fd));
    let writer = spawn(move || write(fd, &[0; 1 << 20]));
    await_parked(fd, 2);
    assert_eq!(wait(fd, NETFD_READABLE, -1), NETFD_EDEADLINE);
    assert_eq!(set_deadline(fd, after(10 * SECOND)), 0);
    assert!(local_addr(fd).port() > 0);
    // SAFETY: no pointers.
    assert_eq!(unsafe { netfd_shutdown(fd, libc::SHUT_RD) }, 0);
    assert_eq!(reader.join(), 0, "which ended its read");
    destroy(fd);
    writer.join();
    destroy(peer);
}

#[test]
fn writes_are_never_interleaved() {
    const BLOCK: usize = 256 << 10;
    const WRITERS: u8 = 4;
    const EACH: usize = 3;
    let (fd, peer) = unix_pair(libc::SOCK_STREAM);
    let writers: Vec<_> = (1..=WRITERS)
        .map(|mark| {
            spawn(move || {
                for _ in 0..EACH {
                    assert_eq!(write(fd, &vec![mark; BLOCK]), BLOCK as ssize_t);
                }
            })
        })
        .collect();
    // Nothing is read before all of them compete.
    await_parked(fd, usize::from(WRITERS));
    let mut blocks = vec![0; usize::from(WRITERS) + 1];
    for _ in 0..EACH * usize::from(WRITERS) {
        let block = read_exactly(peer, BLOCK);
        let mark = block[0];
        assert!(block.iter().all(|byte| *byte == mark), "cut by another's");
        blocks[usize::from(mark)] += 1;
    }
    assert_eq!(blocks[1..], [EACH; WRITERS as usize]);
    writers.into_iter().for_each(Task::join);
    destroy(fd);
    destroy(peer);
}

#[test]
fn vectored_and_plain_writes_are_not_interleaved_either() {
    const PART: usize = 96 << 10;
    let (fd, peer) = tcp_pair();
    let writers: Vec<_> = (1..=4u8)
        .map(|mark| {
            spawn(move || {
                let block = vec![mark; 3 * PART];
                if mark % 2 == 0 {
                    return write(fd, &block);
                }
                let iov: Vec<_> = block
                    .chunks(PART)
                    .map(|part| libc::iovec {
                        iov_base: part.as_ptr().cast_mut().cast(),
                        iov_len: part.len(),
                    })
                    .collect();
                // SAFETY: three buffers, each as long as it says.
                unsafe { netfd_writev(fd, iov.as_ptr(), 3) }
            })
        })
        .collect();
    for _ in 0..4 {
        let block = read_exactly(peer, 3 * PART);
        assert!(block.iter().all(|byte| *byte == block[0]));
    }
    for writer in writers {
        assert_eq!(writer.join(), 3 * PART as ssize_t);
    }
    destroy(fd);
    destroy(peer);
}

#[test]
fn a_queued_reader_obeys_a_deadline_set_before() {
    let (fd, peer) = unix_pair(libc::SOCK_STREAM);
    let holder = spawn(move || read_some(fd));
    await_parked(fd, 1);
    let begun = Instant::now();
    assert_eq!(set_read_deadline(fd, after(50 * MS)), 0);
    assert_eq!(read_some(fd), DEADLINE);
    assert!(begun.elapsed() >= Duration::from_millis(50));
    assert_eq!(holder.join(), DEADLINE);
    destroy(fd);
    destroy(peer);
}

#[test]
fn queued_readers_obey_a_deadline_set_while_they_wait() {
    let (fd, peer) = unix_pair(libc::SOCK_STREAM);
    let readers: Vec<_> = (0..4).map(|_| spawn(move || read_some(fd))).collect();
    await_parked(fd, 4);
    assert_eq!(set_read_deadline(fd, -1), 0);
    for reader in readers {
        assert_eq!(reader.join(), DEADLINE);
    }
    destroy(fd);
    destroy(peer);
}

#[test]
fn queued_writers_obey_a_deadline_set_while_they_wait() {
    let (fd, peer) = unix_pair(libc::SOCK_STREAM);
    fill(fd);
    let writers: Vec<_> = (0..4)
        .map(|_| spawn(move || write(fd, &[0; 1 << 20])))
        .collect();
    await_parked(fd, 4);
    // SAFETY: no pointers.
    assert_eq!(unsafe { netfd_set_write_deadline(fd, after(20 * MS)) }, 0);
    for writer in writers {
        assert_eq!(writer.join(), DEADLINE);
    }
    destroy(fd);
    destroy(peer);
}

#[test]
fn those_who_wait_are_not_ended_by_the_descriptor_s_deadline() {
    let (fd, peer) = unix_pair(libc::SOCK_STREAM);
    let waiter = spawn(move || wait(fd, NETFD_READABLE, NETFD_NO_DEADLINE));
    await_parked(fd, 1);
    assert_eq!(set_read_deadline(fd, -1), 0);
    assert_eq!(read_some(fd), DEADLINE);
    await_parked(fd, 1);
    assert_eq!(write(peer, b"x"), 1);
    assert_eq!(waiter.join(), NETFD_READABLE);
    destroy(fd);
    destroy(peer);
}

#[test]
fn a_token_ends_those_who_queue() {
    let (fd, peer) = unix_pair(libc::SOCK_STREAM);
    let token = Token::new();
    token.set_on(fd);
    let readers: Vec<_> = (0..4).map(|_| spawn(move || read_some(fd))).collect();
    await_parked(fd, 4);
    token.fire();
    for reader in readers {
        assert_eq!(reader.join(), NETFD_ECANCELED as ssize_t);
    }
    token.free();
    destroy(fd);
    destroy(peer);
}

#[test]
fn a_token_set_while_they_queue_ends_them_too() {
    let (fd, peer) = unix_pair(libc::SOCK_STREAM);
    let readers: Vec<_> = (0..4).map(|_| spawn(move || read_some(fd))).collect();
    await_parked(fd, 4);
    let token = Token::new();
    token.fire();
    token.set_on(fd);
    for reader in readers {
        assert_eq!(reader.join(), NETFD_ECANCELED as ssize_t);
    }
    token.free();
    destroy(fd);
    destroy(peer);
}

#[test]
fn a_connecter_that_queues_obeys_its_own_deadline_and_token() {
    let (fd, peer) = tcp_pair();
    fill(fd);
    let writer = spawn(move || write(fd, &[0; 1 << 20]));
    await_parked(fd, 1);
    let at = Addr::parse("tcp", "127.0.0.1:9");
    assert_eq!(
        connect_by(fd, &at, after(20 * MS), null_mut()),
        NETFD_EDEADLINE
    );
    let token = Token::new();
    let connecter = spawn(move || {
        let token = token;
        connect_by(fd, &at, NETFD_NO_DEADLINE, token.0)
    });
    await_parked(fd, 2);
    token.fire();
    assert_eq!(connecter.join(), NETFD_ECANCELED);
    token.free();
    destroy(fd);
    writer.join();
    destroy(peer);
}

#[test]
fn the_turn_is_free_when_its_holder_has_left_by_deadline() {
    let (fd, peer) = unix_pair(libc::SOCK_STREAM);
    for _ in 0..20 {
        let holder = spawn(move || read_some(fd));
        await_parked(fd, 1);
        assert_eq!(set_read_deadline(fd, -1), 0);
        assert_eq!(holder.join(), DEADLINE);
        assert_eq!(set_read_deadline(fd, 0), 0);
        assert_eq!(write(peer, b"x"), 1);
        assert_eq!(read_byte(fd), Ok(b'x'));
    }
    destroy(fd);
    destroy(peer);
}

/// One connects and waits for its turn to end, `end`s by a limit of its own,
/// and the next one in the queue has the turn.
fn holder_leaves(limit: (i64, Token), end: impl FnOnce(), code: c_int) {
    let (listener, at, clients) = full_listener("tcp", "127.0.0.1:0");
    // The backlog is full: the holder waits, and one queues behind it.
    let fd = socket(libc::AF_INET, libc::SOCK_STREAM);
    let holder = spawn(move || {
        let (deadline, token) = limit;
        connect_by(fd, &at, deadline, token.0)
    });
    await_parked(fd, 1);
    let next = spawn(move || connect(fd, &at));
    await_that("it queues", || parked_as(fd, " queues to write,") == 1);
    end();
    assert_eq!(holder.join(), code);
    await_that("the next one has the turn", || {
        parked_as(fd, " writes,") == 1
    });
    destroy(fd);
    assert_eq!(next.join(), NETFD_ECLOSED);
    for fd in clients.into_iter().chain([listener]) {
        destroy(fd);
    }
}

#[test]
fn the_turn_goes_on_when_its_holder_leaves_by_token() {
    let token = Token::new();
    holder_leaves((0, token), || token.fire(), NETFD_ECANCELED);
    token.free();
}

#[test]
fn the_turn_goes_on_when_its_holder_leaves_by_deadline() {
    let deadline = after(500 * MS);
    holder_leaves((deadline, Token(null_mut())), || (), NETFD_EDEADLINE);
}

#[test]
fn dontwait_never_parks_behind_a_holder() {
    let (fd, peer) = unix_pair(libc::SOCK_STREAM);
    fill(fd);
    let reader = spawn(move || read_some(fd));
    let writer = spawn(move || write(fd, &[0; 1 << 20]));
    await_parked(fd, 2);
    assert_eq!(recv_dontwait(fd), EAGAIN);
    assert_eq!(send_dontwait(fd), EAGAIN);
    destroy(fd);
    reader.join();
    writer.join();
    destroy(peer);
}

#[test]
fn dontwait_behind_a_holder_still_obeys_the_deadline() {
    let (fd, peer) = unix_pair(libc::SOCK_STREAM);
    let holder = spawn(move || read_some(fd));
    await_parked(fd, 1);
    assert_eq!(set_read_deadline(fd, -1), 0);
    assert_eq!(recv_dontwait(fd), DEADLINE);
    assert_eq!(holder.join(), DEADLINE);
    destroy(fd);
    destroy(peer);
}

#[test]
fn datagram_readers_stand_side_by_side() {
    let (fd, peer) = unix_pair(libc::SOCK_DGRAM);
    let readers: Vec<_> = (0..10).map(|_| spawn(move || read_byte(fd))).collect();
    await_parked(fd, 10);
    for n in 0..10 {
        assert_eq!(write(peer, &[n]), 1);
    }
    let got: HashSet<_> = readers.into_iter().map(Task::join).collect();
    assert_eq!(got, (0..10).map(Ok).collect());
    destroy(fd);
    destroy(peer);
}

#[test]
fn a_datagram_call_does_not_wait_for_a_parked_one() {
    let (fd, peer) = unix_pair(libc::SOCK_DGRAM);
    let parked = spawn(move || read_byte(fd));
    await_parked(fd, 1);
    assert_eq!(recv_dontwait(fd), EAGAIN, "the kernel's, not a turn's");
    assert_eq!(write(fd, b"x"), 1);
    assert_eq!(write(peer, b"y"), 1);
    assert_eq!(parked.join(), Ok(b'y'));
    destroy(fd);
    destroy(peer);
}

#[test]
fn all_who_wait_hear_of_one_byte() {
    let (fd, peer) = unix_pair(libc::SOCK_STREAM);
    let waiters: Vec<_> = (0..10)
        .map(|_| spawn(move || wait(fd, NETFD_READABLE, NETFD_NO_DEADLINE)))
        .collect();
    await_parked(fd, 10);
    assert_eq!(write(peer, b"x"), 1);
    for waiter in waiters {
        assert_eq!(waiter.join(), NETFD_READABLE);
    }
    destroy(fd);
    destroy(peer);
}

#[test]
fn those_who_wait_each_have_a_deadline_of_their_own() {
    let (fd, peer) = unix_pair(libc::SOCK_STREAM);
    let patient = spawn(move || wait(fd, NETFD_READABLE, NETFD_NO_DEADLINE));
    await_parked(fd, 1);
    let begun = Instant::now();
    let codes: Vec<_> = (1..=4)
        .map(|n| spawn(move || wait(fd, NETFD_READABLE, after(n * 10 * MS))))
        .map(Task::join)
        .collect();
    assert_eq!(codes, [NETFD_EDEADLINE; 4]);
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert!(!patient.is_finished());
    assert_eq!(write(peer, b"x"), 1);
    assert_eq!(patient.join(), NETFD_READABLE);
    destroy(fd);
    destroy(peer);
}

#[test]
fn each_connection_is_delivered_once() {
    const CONNECTIONS: usize = 300;
    let (fd, at) = listener();
    let acceptors: Vec<_> = (0..20)
        .map(|_| {
            spawn(move || {
                let mut got = Vec::new();
                loop {
                    let mut peer = Addr::room();
                    // SAFETY: the room is as long as said.
                    let conn = unsafe { netfd_accept(fd, peer.ptr_mut(), &mut peer.len) };
                    if conn < 0 {
                        assert_eq!(conn, NETFD_ECLOSED);
                        return got;
                    }
                    got.push(peer.port());
                    destroy(conn);
                }
            })
        })
        .collect();
    await_parked(fd, 20);
    let mut ports = Vec::new();
    for _ in 0..CONNECTIONS {
        let client = socket(libc::AF_INET, libc::SOCK_STREAM);
        assert_eq!(connect(client, &at), 0, "{}", error_text());
        ports.push(local_addr(client).port());
        assert_eq!(read_some(client), 0, "the acceptor has closed it");
        destroy(client);
    }
    destroy(fd);
    let mut got: Vec<_> = acceptors.into_iter().flat_map(Task::join).collect();
    got.sort_unstable();
    ports.sort_unstable();
    assert_eq!(got, ports);
}

/// The voluntary context switches of all threads of the process.
fn voluntary_switches() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").expect("procfs");
    tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("status")).ok())
        .filter_map(|status| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
            line.trim().parse::<u64>().ok()
        })
        .sum()
}

#[test]
fn a_hundred_acceptors_are_no_herd() {
    alone("a_hundred_acceptors_are_no_herd", || {
        const ACCEPTORS: usize = 100;
        const CONNECTIONS: usize = 600;
        let (fd, at) = listener();
        let accepted = Arc::new(AtomicUsize::new(0));
        let acceptors: Vec<_> = (0..ACCEPTORS)
            .map(|_| {
                let accepted = accepted.clone();
                spawn(move || {
                    loop {
                        let conn = accept(fd);
                        if conn < 0 {
                            return conn;
                        }
                        destroy(conn);
                        accepted.fetch_add(1, Ordering::Release);
                    }
                })
            })
            .collect();
        await_parked(fd, ACCEPTORS);
        let before = voluntary_switches();
        for n in 0..CONNECTIONS {
            // The client itself must not sleep, or its switches count too.
            let client = std::net::TcpStream::connect(("127.0.0.1", at.port())).unwrap();
            let begun = Instant::now();
            while accepted.load(Ordering::Acquire) <= n {
                assert!(begun.elapsed() < GUARD);
                fibers::yield_now();
            }
            drop(client);
        }
        let switches = voluntary_switches() - before;
        assert!(switches < 3 * CONNECTIONS as u64, "{switches}");
        println!("{switches} voluntary switches for {CONNECTIONS} connections");
        assert_eq!(destroy(fd), 0);
        for acceptor in acceptors {
            assert_eq!(acceptor.join(), NETFD_ECLOSED);
        }
    });
}

#[test]
fn stats_count_what_happens() {
    alone("stats_count_what_happens", || {
        let before = stats();
        let (listener, at) = listener();
        let fd = socket(libc::AF_INET, libc::SOCK_STREAM);
        assert_eq!(connect(fd, &at), 0);
        let conn = accept(listener);
        let readers: Vec<_> = (0..3).map(|_| spawn(move || read_some(fd))).collect();
        await_parked(fd, 3);
        let during = stats();
        assert_eq!(during.open_fds, before.open_fds + 3);
        assert_eq!(during.parked, 3);
        assert_eq!(during.accepts, before.accepts + 1);
        assert!(during.parks >= before.parks + 3);
        destroy(fd);
        readers
            .into_iter()
            .map(Task::join)
            .for_each(|n| assert_eq!(n, CLOSED));
        destroy(conn);
        destroy(listener);
        let after = stats();
        assert_eq!((after.open_fds, after.parked), (before.open_fds, 0));
        assert!(after.wakeups >= before.wakeups + 3, "each was woken");
    });
}
