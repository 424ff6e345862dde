//! A thousand callers, no descriptor left, threads by the hundred thousand.
//!
//! Specifies that parking needs no descriptor per caller, that a lack of them
//! never comes out of a call that does not make one, and accept(2)'s EMFILE.
//! Every test has a process of its own: limits and descriptors are counted.

mod common;

use common::*;
use libc::{c_int, ssize_t};
use std::os::fd::OwnedFd;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

const CLOSED: ssize_t = NETFD_ECLOSED as ssize_t;
const DEADLINE: ssize_t = NETFD_EDEADLINE as ssize_t;
const EMFILE: c_int = -libc::EMFILE;

fn read_some(fd: c_int) -> ssize_t {
    read(fd, &mut [0; 16])
}

/// `alone`, and one after the other: they measure time.
fn one_by_one(name: &str, body: impl FnOnce()) {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(said) = alone(name, body) {
        println!("{said}");
    }
}

/// Uses up all descriptors. They stay so while the result lives.
fn use_up() -> Vec<OwnedFd> {
    limit_fds(64);
    use_up_fds()
}

/// Waits until `n` callers are parked in the whole process. Needs no
/// descriptor, as `await_parked` does.
fn await_all_parked(n: u64) {
    await_that(&format!("{n} parked"), || stats().parked == n);
}

/// Parks a thousand callers on a descriptor under a limit of 256, destroys it,
/// and looks at what they were told, when, and at what cost.
fn a_thousand(open: fn() -> c_int, call: fn(c_int) -> ssize_t) {
    limit_fds(256);
    // A machine that is busy with something else may take its time, once.
    let in_time = (0..5).any(|_| tell_a_thousand(open(), call) < Duration::from_millis(100));
    assert!(in_time, "none of five times");
}

fn tell_a_thousand(fd: c_int, call: fn(c_int) -> ssize_t) -> Duration {
    const CALLERS: usize = 1000;
    let before = open_fds();
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| spawn(move || (call(fd), Instant::now())))
        .collect();
    await_all_parked(CALLERS as u64);
    let while_parked = open_fds();
    assert!(while_parked <= before + 2, "{before} -> {while_parked}");
    let begun = Instant::now();
    assert_eq!(destroy(fd), 0);
    let mut last = begun;
    for caller in callers {
        let (code, at) = caller.join();
        assert_eq!(code, CLOSED);
        last = last.max(at);
    }
    let took = last - begun;
    println!("{CALLERS} callers were told in {took:?}");
    // One may be kept for the next who polls.
    await_that("their descriptors are given back", || open_fds() <= before);
    assert_eq!(stats().parked, 0);
    took
}

#[test]
fn a_thousand_readers_are_told_within_100_ms() {
    one_by_one("a_thousand_readers_are_told_within_100_ms", || {
        a_thousand(|| tcp_pair().0, read_some);
    });
}

#[test]
fn a_thousand_acceptors_are_told_within_100_ms() {
    one_by_one("a_thousand_acceptors_are_told_within_100_ms", || {
        a_thousand(|| listener().0, |fd| accept(fd) as ssize_t);
    });
}

#[test]
fn a_thousand_writers_are_told_within_100_ms() {
    one_by_one("a_thousand_writers_are_told_within_100_ms", || {
        let filled = || {
            let (fd, _) = unix_pair(libc::SOCK_STREAM); // TCP may find room later
            fill(fd);
            fd
        };
        a_thousand(filled, |fd| write(fd, &[0; 1 << 16]));
    });
}

#[test]
fn a_thousand_who_wait_are_told_within_100_ms() {
    one_by_one("a_thousand_who_wait_are_told_within_100_ms", || {
        a_thousand(
            || tcp_pair().0,
            |fd| wait(fd, NETFD_READABLE, NETFD_NO_DEADLINE) as ssize_t,
        );
    });
}

#[test]
fn a_thousand_datagram_readers_are_told_within_100_ms() {
    one_by_one("a_thousand_datagram_readers_are_told_within_100_ms", || {
        a_thousand(udp_socket, |fd| {
            let mut buf = [0u8; 16];
            let to = buf.as_mut_ptr().cast();
            // SAFETY: the buffer is as long as said, NULL is allowed.
            unsafe { netfd_recvfrom(fd, to, 16, 0, null_mut(), null_mut()) }
        });
    });
}

/// A UDP socket on a free port of 127.0.0.1.
fn udp_socket() -> c_int {
    let at = Addr::parse("udp", "127.0.0.1:0");
    let fd = socket(libc::AF_INET, libc::SOCK_DGRAM);
    // SAFETY: the address is as long as said.
    assert_eq!(unsafe { libc::bind(fd, at.ptr(), at.len) }, 0);
    fd
}

#[test]
fn queuing_needs_no_descriptor_of_those_who_have_polled_before() {
    one_by_one(
        "queuing_needs_no_descriptor_of_those_who_have_polled_before",
        || {
            const CALLERS: usize = 100;
            let (fd, _) = listener();
            let before = open_fds();
            let callers: Vec<_> = (0..CALLERS)
                .map(|_| {
                    spawn(move || {
                        let (own, peer) = unix_pair(libc::SOCK_STREAM);
                        assert_eq!(set_read_deadline(own, after(MS)), 0);
                        assert_eq!(read_some(own), DEADLINE);
                        destroy(own);
                        destroy(peer);
                        accept(fd)
                    })
                })
                .collect();
            await_all_parked(CALLERS as u64);
            await_that("all have come to the listener", || {
                parked_lines(fd).len() == CALLERS
            });
            let parked = open_fds();
            assert!(parked <= before + 16, "{before} -> {parked}");
            destroy(fd);
            for caller in callers {
                assert_eq!(caller.join(), NETFD_ECLOSED);
            }
        },
    );
}

#[test]
fn acceptors_that_have_all_had_the_turn_need_no_descriptor_each() {
    one_by_one(
        "acceptors_that_have_all_had_the_turn_need_no_descriptor_each",
        || {
            const ACCEPTORS: usize = 100;
            let (fd, at) = listener();
            let accepted = Arc::new(AtomicUsize::new(0));
            let before = open_fds();
            let acceptors: Vec<_> = (0..ACCEPTORS)
                .map(|_| {
                    let accepted = accepted.clone();
                    spawn(move || {
                        destroy(accept(fd));
                        // All of them live on when the last has had its own.
                        let all = || accepted.load(Ordering::Relaxed) == ACCEPTORS;
                        accepted.fetch_add(1, Ordering::Relaxed);
                        await_that("all have accepted", all);
                        accept(fd)
                    })
                })
                .collect();
            await_all_parked(ACCEPTORS as u64);
            for n in 1..=ACCEPTORS {
                let client = socket(libc::AF_INET, libc::SOCK_STREAM);
                assert_eq!(connect(client, &at), 0, "{}", error_text());
                destroy(client);
                await_that("it is accepted", || accepted.load(Ordering::Relaxed) >= n);
            }
            await_all_parked(ACCEPTORS as u64);
            let parked = open_fds();
            assert!(parked <= before + 16, "{before} -> {parked}");
            destroy(fd);
            for acceptor in acceptors {
                assert_eq!(acceptor.join(), NETFD_ECLOSED);
            }
        },
    );
}

#[test]
fn those_who_waited_for_one_byte_keep_no_descriptor_each() {
    one_by_one(
        "those_who_waited_for_one_byte_keep_no_descriptor_each",
        || {
            const WAITERS: usize = 100;
            let (fd, peer) = unix_pair(libc::SOCK_STREAM);
            let before = open_fds();
            let done = Arc::new(Barrier::new(WAITERS + 1));
            let waiters: Vec<_> = (0..WAITERS)
                .map(|_| {
                    let done = done.clone();
                    spawn(move || {
                        let ready = wait(fd, NETFD_READABLE, NETFD_NO_DEADLINE);
                        done.wait(); // alive while they are counted
                        done.wait();
                        ready
                    })
                })
                .collect();
            await_all_parked(WAITERS as u64);
            assert_eq!(write(peer, b"x"), 1);
            done.wait();
            let woken = open_fds();
            done.wait();
            assert!(woken <= before + 16, "{before} -> {woken}");
            for waiter in waiters {
                assert_eq!(waiter.join(), NETFD_READABLE);
            }
        },
    );
}

#[test]
fn datagram_readers_that_compete_need_no_descriptor_each() {
    one_by_one(
        "datagram_readers_that_compete_need_no_descriptor_each",
        || {
            const READERS: usize = 100;
            let fd = udp_socket();
            let got = Arc::new(AtomicUsize::new(0));
            let before = open_fds();
            let readers: Vec<_> = (0..READERS)
                .map(|_| {
                    let got = got.clone();
                    spawn(move || {
                        while read_some(fd) > 0 {
                            got.fetch_add(1, Ordering::Relaxed);
                        }
                    })
                })
                .collect();
            await_all_parked(READERS as u64);
            let sender = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
            let to = ("127.0.0.1", local_addr(fd).port());
            for n in 1..=5 * READERS {
                assert_eq!(sender.send_to(b"x", to).ok(), Some(1));
                await_that("it is read", || got.load(Ordering::Relaxed) == n);
            }
            await_all_parked(READERS as u64);
            let after = open_fds();
            assert!(after <= before + 16, "{before} -> {after}");
            destroy(fd);
            readers.into_iter().for_each(Task::join);
        },
    );
}

#[test]
fn a_read_parks_without_a_descriptor_to_be_had() {
    one_by_one("a_read_parks_without_a_descriptor_to_be_had", || {
        let (fd, peer) = unix_pair(libc::SOCK_STREAM);
        let _taken = use_up();
        let reader = spawn(move || read_some(fd));
        await_all_parked(1);
        assert_eq!(write(peer, b"data"), 4);
        assert_eq!(reader.join(), 4);
    });
}

#[test]
fn destroy_wakes_those_who_park_without_a_descriptor() {
    one_by_one("destroy_wakes_those_who_park_without_a_descriptor", || {
        let (fd, _peer) = unix_pair(libc::SOCK_STREAM);
        fill(fd);
        let _taken = use_up();
        let readers: Vec<_> = (0..3).map(|_| spawn(move || read_some(fd))).collect();
        let writer = spawn(move || write(fd, &[0; 1 << 20]));
        let waiter = spawn(move || wait(fd, NETFD_READABLE, NETFD_NO_DEADLINE));
        await_all_parked(5);
        let begun = Instant::now();
        assert_eq!(destroy(fd), 0);
        assert!(begun.elapsed() < Duration::from_secs(1));
        for reader in readers {
            assert_eq!(reader.join(), CLOSED);
        }
        assert_eq!(writer.join(), CLOSED);
        assert_eq!(waiter.join(), NETFD_ECLOSED);
    });
}

#[test]
fn a_deadline_ends_those_who_park_without_a_descriptor() {
    one_by_one(
        "a_deadline_ends_those_who_park_without_a_descriptor",
        || {
            let (fd, _peer) = unix_pair(libc::SOCK_STREAM);
            let _taken = use_up();
            let begun = Instant::now();
            assert_eq!(set_read_deadline(fd, after(30 * MS)), 0);
            assert_eq!(read_some(fd), DEADLINE);
            assert!(begun.elapsed() >= Duration::from_millis(30));
            // And one that is moved while it is parked.
            assert_eq!(set_read_deadline(fd, after(100 * SECOND)), 0);
            let reader = spawn(move || read_some(fd));
            await_all_parked(1);
            assert_eq!(set_read_deadline(fd, -1), 0);
            assert_eq!(reader.join(), DEADLINE);
        },
    );
}

#[test]
fn a_token_ends_those_who_park_without_a_descriptor() {
    one_by_one("a_token_ends_those_who_park_without_a_descriptor", || {
        let (fd, _peer) = unix_pair(libc::SOCK_STREAM);
        let token = Token::new();
        token.set_on(fd);
        let _taken = use_up();
        let readers: Vec<_> = (0..3).map(|_| spawn(move || read_some(fd))).collect();
        await_all_parked(3);
        token.fire();
        for reader in readers {
            assert_eq!(reader.join(), NETFD_ECANCELED as ssize_t);
        }
    });
}

#[test]
fn a_connect_parks_without_a_descriptor_to_be_had() {
    one_by_one("a_connect_parks_without_a_descriptor_to_be_had", || {
        let (listener, at) = listener();
        // SAFETY: no pointers.
        assert_eq!(unsafe { libc::listen(listener, 0) }, 0);
        let clients = [(); 2].map(|()| socket(libc::AF_INET, libc::SOCK_STREAM));
        let _taken = use_up();
        assert_eq!(connect(clients[0], &at), 0, "{}", error_text());
        let late = after(30 * MS);
        let code = connect_by(clients[1], &at, late, null_mut());
        assert_eq!(code, NETFD_EDEADLINE);
    });
}

#[test]
fn accept_says_emfile_and_the_connection_waits() {
    one_by_one("accept_says_emfile_and_the_connection_waits", || {
        let (listener, at) = listener();
        let client = socket(libc::AF_INET, libc::SOCK_STREAM);
        assert_eq!(connect(client, &at), 0, "{}", error_text());
        assert_eq!(write(client, b"patient"), 7);
        let mut taken = use_up();
        for _ in 0..3 {
            assert_eq!(accept(listener), EMFILE);
        }
        assert_eq!(last_error().flags, NETFD_ERROR_TEMPORARY);
        let text = error_text();
        assert!(text.ends_with("accept4: too many open files"), "{text}");
        assert!(taken.pop().is_some());
        let conn = accept(listener);
        assert!(conn >= 0, "{}", error_text());
        assert_eq!(read_exactly(conn, 7), b"patient");
    });
}

#[test]
fn a_parked_acceptor_says_emfile_and_the_next_gets_the_connection() {
    one_by_one(
        "a_parked_acceptor_says_emfile_and_the_next_gets_the_connection",
        || {
            // A ring's accept goes by the limit there was when it parked.
            limit_fds(64);
            let (listener, at) = listener();
            let client = socket(libc::AF_INET, libc::SOCK_STREAM);
            // A thread that ends gives a descriptor back, so nobody does.
            let all = Arc::new(Barrier::new(3));
            let acceptors: Vec<_> = (0..3)
                .map(|_| {
                    let all = all.clone();
                    spawn(move || {
                        let code = accept(listener);
                        all.wait();
                        code
                    })
                })
                .collect();
            await_all_parked(3);
            let taken = use_up();
            assert_eq!(connect(client, &at), 0, "{}", error_text());
            // Each finds it in its turn, and nobody waits for another one.
            for acceptor in acceptors {
                assert_eq!(acceptor.join(), EMFILE);
            }
            drop(taken);
            let conn = accept(listener);
            assert!(conn >= 0, "{}", error_text());
        },
    );
}

#[test]
fn sys_socket_says_emfile() {
    one_by_one("sys_socket_says_emfile", || {
        let _taken = use_up();
        // SAFETY: no pointers.
        let fd = unsafe { netfd_sys_socket(libc::AF_INET, libc::SOCK_STREAM, 0) };
        assert_eq!(fd, EMFILE);
    });
}

#[test]
fn threads_that_come_and_go_leave_nothing() {
    one_by_one("threads_that_come_and_go_leave_nothing", || {
        threads_only(); // what each leaves behind is the question
        const THREADS: usize = 100_000;
        const AT_ONCE: usize = 8;
        let pairs: Vec<_> = (0..AT_ONCE).map(|_| unix_pair(libc::SOCK_STREAM)).collect();
        let park_once = |fd: c_int, peer: c_int, by_data: bool| {
            if by_data {
                plain_send(peer, b"x"); // behind a read that took all: it polls
                assert_eq!(read_some(fd), 1);
            } else {
                assert_eq!(set_read_deadline(fd, after(1000)), 0);
                assert_eq!(read_some(fd), DEADLINE);
                assert_eq!(set_read_deadline(fd, 0), 0);
            }
        };
        let batch = |n: usize| {
            thread::scope(|scope| {
                for (fd, peer) in &pairs {
                    scope.spawn(move || {
                        threads_only(); // by itself, too
                        park_once(*fd, *peer, n.is_multiple_of(2));
                    });
                }
            });
        };
        let fds = open_fds();
        (0..10).for_each(batch);
        let memory = resident();
        let parks = stats().parks;
        (0..THREADS / AT_ONCE).for_each(batch);
        // A scope ends before the destructors of its threads have run.
        await_that("no descriptor is left", || open_fds() <= fds);
        let parked = stats();
        assert_eq!(parked.parked, 0);
        let grown = resident().saturating_sub(memory);
        println!("{} parks, {grown} KiB more", parked.parks - parks);
        assert!(parked.parks - parks >= THREADS as u64 / 2);
        assert!(grown < 4096, "{grown} KiB");
    });
}

/// The process's resident memory in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next());
    kib.and_then(|kib| kib.parse().ok()).expect("VmRSS: n kB")
}
