//! Deadlines, by Go's rules: sticky, one for each direction, also for calls
//! that are blocked, past is at once, zero lifts, and no harm to the
//! descriptor. Go's net/timeout_test.go, and the deadline tests of
//! golang.org/x/net/nettest (testPastTimeout, testFutureTimeout, ...).

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
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A client and a server with a byte to read at the server's end.
fn with_a_byte() -> (c_int, c_int) {
    let (one, two) = tcp_pair();
    assert_eq!(write(one, b"x"), 1);
    await_that("the byte", || polled(two, libc::POLLIN) != 0);
    (one, two)
}

#[test]
fn a_past_deadline_fails_at_once_though_data_is_ready() {
    let (one, two) = with_a_byte();
    for past in [-1, 1, i64::MIN, i64::MIN + 1, after(-5 * SECOND), now()] {
        assert_eq!(set_deadline(two, past), 0);
        assert_eq!(read(two, &mut [0; 8]), DEADLINE);
        assert_eq!(readv(two, &mut [vec![0; 8]]), DEADLINE);
        assert_eq!(recv(two, &mut [0; 8], 0), DEADLINE);
        assert_eq!(write(two, b"x"), DEADLINE);
        assert_eq!(writev(two, &[b"x"]), DEADLINE);
        assert_eq!(sendto(two, b"x", 0, None), DEADLINE);
    }
    destroy(one);
    destroy(two);
}

#[test]
fn a_past_deadline_fails_at_once_though_a_connection_is_queued() {
    let (listener, at) = listener();
    let client = socket(libc::AF_INET, libc::SOCK_STREAM);
    assert_eq!(connect(client, &at), 0);
    set_read_deadline(listener, -1);
    assert_eq!(accept(listener), NETFD_EDEADLINE);
    set_deadline(listener, 0);
    let server = accept(listener);
    assert!(server >= 0, "it is still there");
    for fd in [client, server, listener] {
        destroy(fd);
    }
}

#[test]
fn a_deadline_that_passes_fails_a_call_that_is_blocked() {
    let (one, two) = tcp_pair();
    fill(two);
    let (listener, _) = listener();
    let begun = Instant::now();
    let end = after(30 * MS);
    for fd in [two, listener] {
        assert_eq!(set_deadline(fd, end), 0);
    }
    let reader = spawn(move || read(two, &mut [0; 8]));
    let writer = spawn(move || write(two, b"x"));
    assert_eq!(accept(listener), NETFD_EDEADLINE);
    assert_eq!((reader.join(), writer.join()), (DEADLINE, DEADLINE));
    assert!(begun.elapsed() >= Duration::from_millis(30), "not early");
    for fd in [one, two, listener] {
        destroy(fd);
    }
}

#[test]
fn a_deadline_set_in_the_past_wakes_calls_that_are_blocked() {
    for past in [-1, 1, i64::MIN, after(-1)] {
        let (one, two) = tcp_pair();
        fill(two);
        let reader = spawn(move || read(two, &mut [0; 8]));
        let writer = spawn(move || write(two, b"x"));
        await_parked(two, 2);
        assert_eq!(set_deadline(two, past), 0);
        assert_eq!((reader.join(), writer.join()), (DEADLINE, DEADLINE));
        destroy(one);
        destroy(two);
    }
}

#[test]
fn a_nearer_deadline_counts_for_a_call_that_is_blocked() {
    let (one, two) = tcp_pair();
    set_read_deadline(two, after(3_600 * SECOND));
    let reader = spawn(move || read(two, &mut [0; 8]));
    await_parked(two, 1);
    set_read_deadline(two, after(20 * MS));
    assert_eq!(reader.join(), DEADLINE);
    destroy(one);
    destroy(two);
}

#[test]
fn a_later_deadline_counts_for_a_call_that_is_blocked() {
    let (one, two) = tcp_pair();
    set_read_deadline(two, after(200 * MS));
    let reader = spawn(move || {
        let n = read(two, &mut [0; 8]);
        (n, now())
    });
    await_parked(two, 1);
    let later = after(350 * MS);
    set_read_deadline(two, later);
    let (n, ended) = reader.join();
    assert_eq!(n, DEADLINE);
    assert!(ended >= later, "{} ms early", (later - ended) / MS);
    destroy(one);
    destroy(two);
}

#[test]
fn zero_lifts_a_deadline_from_a_call_that_is_blocked() {
    let (one, two) = tcp_pair();
    let soon = after(100 * MS);
    set_read_deadline(two, soon);
    let reader = spawn(move || read(two, &mut [0; 8]));
    await_parked(two, 1);
    set_read_deadline(two, NETFD_NO_DEADLINE);
    thread::sleep(Duration::from_nanos((soon - now()).max(0) as u64) + Duration::from_millis(20));
    assert!(!reader.is_finished(), "it has no deadline");
    assert_eq!(write(one, b"x"), 1);
    assert_eq!(reader.join(), 1);
    destroy(one);
    destroy(two);
}

#[test]
fn a_deadline_is_sticky_until_another_is_set() {
    let (one, two) = with_a_byte();
    set_read_deadline(two, after(MS));
    thread::sleep(Duration::from_millis(2)); // it passes
    for _ in 0..3 {
        assert_eq!(read(two, &mut [0; 8]), DEADLINE);
    }
    set_read_deadline(two, after(3_600 * SECOND));
    assert_eq!(read(two, &mut [0; 8]), 1);
    destroy(one);
    destroy(two);
}

#[test]
fn a_deadline_does_not_harm_the_descriptor() {
    let (one, two) = with_a_byte();
    set_deadline(two, -1);
    assert_eq!(read(two, &mut [0; 8]), DEADLINE);
    assert_eq!(write(two, b"y"), DEADLINE);
    set_deadline(two, 0);
    let mut buf = [0; 8];
    assert_eq!(read(two, &mut buf), 1);
    assert_eq!(write(two, b"z"), 1);
    assert_eq!(read(one, &mut buf), 1);
    assert_eq!(buf[0], b'z', "what failed was not sent");
    destroy(one);
    assert_eq!(read(two, &mut buf), 0);
    destroy(two);
}

#[test]
fn reading_and_writing_have_deadlines_of_their_own() {
    let (one, two) = with_a_byte();
    set_read_deadline(two, -1);
    assert_eq!(write(two, b"x"), 1);
    assert_eq!(read(two, &mut [0; 8]), DEADLINE);
    set_write_deadline(two, -1);
    set_read_deadline(two, 0);
    assert_eq!(write(two, b"x"), DEADLINE);
    assert_eq!(read(two, &mut [0; 8]), 1);
    destroy(one);
    destroy(two);
}

#[test]
fn a_deadline_wakes_its_own_direction_only() {
    let (one, two) = tcp_pair();
    fill(two);
    let reader = spawn(move || read(two, &mut [0; 8]));
    let writer = spawn(move || write(two, b"x"));
    await_parked(two, 2);
    set_write_deadline(two, -1);
    assert_eq!(writer.join(), DEADLINE);
    await_parked(two, 1);
    assert!(!reader.is_finished());
    set_read_deadline(two, -1);
    assert_eq!(reader.join(), DEADLINE);
    destroy(one);
    destroy(two);
}

#[test]
fn a_connection_does_not_inherit_its_listeners_deadline() {
    let (listener, at) = listener();
    let client = socket(libc::AF_INET, libc::SOCK_STREAM);
    set_deadline(listener, after(5 * SECOND));
    assert_eq!(connect(client, &at), 0);
    let server = accept(listener);
    set_deadline(listener, -1);
    assert_eq!(write(client, b"x"), 1);
    assert_eq!(read(server, &mut [0; 8]), 1);
    for fd in [client, server, listener] {
        destroy(fd);
    }
}

#[test]
fn a_number_attached_again_has_no_deadline() {
    let (one, two) = with_a_byte();
    set_deadline(two, -1);
    // SAFETY: no pointers.
    assert_eq!(unsafe { netfd_attach(two) }, two);
    assert_eq!(read(two, &mut [0; 8]), 1);
    destroy(one);
    destroy(two);
}

#[test]
fn a_caller_that_queues_obeys_the_deadline_too() {
    let (one, two) = tcp_pair();
    let readers: Vec<_> = (0..5)
        .map(|_| spawn(move || read(two, &mut [0; 8])))
        .collect();
    await_parked(two, 5);
    set_read_deadline(two, after(10 * MS));
    for reader in readers {
        assert_eq!(reader.join(), DEADLINE);
    }
    let holder = spawn(move || read(two, &mut [0; 8]));
    assert_eq!(holder.join(), DEADLINE);
    destroy(one);
    destroy(two);
}

#[test]
fn many_accepts_on_one_listener_all_obey_its_deadline() {
    let (listener, _) = listener();
    let tasks: Vec<_> = (0..20).map(|_| spawn(move || accept(listener))).collect();
    await_parked(listener, 20);
    set_deadline(listener, -1);
    for task in tasks {
        assert_eq!(task.join(), NETFD_EDEADLINE);
    }
    destroy(listener);
}

/// The caller may have seen the past deadline before it was lifted, or not
/// have run until after: then it waits on. It never hangs, and never fails
/// with a deadline that lies ahead.
#[test]
fn past_and_then_lifted_before_the_sleeper_runs_goes_on_waiting() {
    const ROUNDS: usize = 20_000;
    let (one, two) = tcp_pair();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let reader = spawn(move || {
        let mut ended = 0;
        loop {
            match read(two, &mut [0; 1]) {
                DEADLINE => ended += 1,
                n => {
                    assert_eq!(n, 1);
                    if stopped.load(Ordering::Relaxed) {
                        return ended;
                    }
                }
            }
        }
    });
    for _ in 0..ROUNDS {
        set_read_deadline(two, -1);
        set_read_deadline(two, 0);
    }
    stop.store(true, Ordering::Relaxed);
    assert_eq!(write(one, b"x"), 1);
    let seen = reader.join();
    println!("{ROUNDS} past and lifted, {seen} seen by the reader");
    destroy(one);
    destroy(two);
}

#[test]
fn thousands_of_deadlines_ahead_neither_fail_nor_hang_a_parked_reader() {
    const ROUNDS: usize = 20_000;
    let (one, two) = tcp_pair();
    let reader = spawn(move || {
        let mut got = 0;
        while got < 100 {
            let n = read(two, &mut [0; 1]);
            assert_eq!(n, 1, "{}", error_text());
            got += 1;
        }
    });
    for round in 0..ROUNDS {
        let ahead = [0, i64::MAX, after(3_600 * SECOND)][round % 3];
        assert_eq!(set_read_deadline(two, ahead), 0);
        if round % (ROUNDS / 100) == 0 {
            assert_eq!(write(one, b"x"), 1);
        }
    }
    reader.join();
    destroy(one);
    destroy(two);
}

/// Go's TestConcurrentSetDeadline and TestReadWriteDeadlineRace.
#[test]
fn deadlines_set_by_many_while_others_read_and_write_lose_no_byte() {
    const BYTES: usize = 5_000;
    let (one, two) = tcp_pair();
    let stop = Arc::new(AtomicBool::new(false));
    let start = Arc::new(Barrier::new(5));
    let setters: Vec<_> = (0..3_i64)
        .map(|id| {
            let (stop, start) = (Arc::clone(&stop), Arc::clone(&start));
            spawn(move || {
                start.wait();
                while !stop.load(Ordering::Relaxed) {
                    set_deadline(two, after(50_000 * id - 10_000));
                    set_deadline(one, after(50_000 * id - 10_000));
                    fibers::yield_now(); // a fiber's others, too
                }
            })
        })
        .collect();
    let at_start = Arc::clone(&start);
    let reader = spawn(move || {
        at_start.wait();
        let mut buf = [0; 1];
        let mut ended = 0;
        for index in 0..BYTES {
            while read(two, &mut buf) != 1 {
                assert_eq!(last_error().code, NETFD_EDEADLINE);
                ended += 1;
            }
            assert_eq!(buf[0], index as u8, "in order, once each");
        }
        ended
    });
    start.wait();
    for index in 0..BYTES {
        while write(one, &[index as u8]) != 1 {
            assert_eq!(last_error().code, NETFD_EDEADLINE);
        }
    }
    println!("{BYTES} bytes beside {} deadlines", reader.join());
    stop.store(true, Ordering::Relaxed);
    setters.into_iter().for_each(Task::join);
    destroy(one);
    destroy(two);
}

/// Go's TestReadTimeoutFluctuation: not early, and not much too late.
#[test]
fn a_read_ends_soon_after_its_deadline_and_never_before() {
    let (one, two) = tcp_pair();
    for us in [1, 10, 100, 1_000, 10_000, 50_000] {
        let end = after(us * 1_000);
        set_read_deadline(two, end);
        assert_eq!(read(two, &mut [0; 8]), DEADLINE);
        let late = now() - end;
        assert!((0..SECOND).contains(&late), "{late} ns");
    }
    destroy(one);
    destroy(two);
}

#[test]
fn a_deadline_at_the_end_of_the_range_is_far_away() {
    let (one, two) = tcp_pair();
    for far in [i64::MAX, i64::MAX - 1, after(i64::MAX)] {
        set_deadline(two, far);
        let reader = spawn(move || read(two, &mut [0; 8]));
        let queued = spawn(move || read(two, &mut [0; 8]));
        await_parked(two, 2);
        thread::sleep(Duration::from_millis(5)); // an overflow would end it
        assert!(!reader.is_finished() && !queued.is_finished());
        set_deadline(two, i64::MIN);
        assert_eq!((reader.join(), queued.join()), (DEADLINE, DEADLINE));
    }
    destroy(one);
    destroy(two);
}

#[test]
fn exactly_now_has_passed() {
    let (one, two) = with_a_byte();
    for _ in 0..1_000 {
        set_read_deadline(two, now());
        assert_eq!(read(two, &mut [0; 8]), DEADLINE);
    }
    destroy(one);
    destroy(two);
}

#[test]
fn after_saturates_and_is_never_0() {
    no_twin(); // it calls very often
    let before = now();
    let at = after(SECOND);
    assert!((before..=now()).contains(&(at - SECOND)));
    assert_eq!(after(i64::MAX), i64::MAX);
    assert!(after(i64::MIN) < 0);
    let at = after(0);
    assert!((before..=now()).contains(&at));
    for ns in -1_000..1_000 {
        assert_ne!(after(-now() + ns), NETFD_NO_DEADLINE);
    }
    // The moment has to be hit exactly: from where the clock stands, try all.
    for _ in 0..100_000 {
        assert_ne!(after(-now()), 0);
        assert_ne!(after(-now() - 50), 0);
    }
}

#[test]
fn now_is_clock_monotonic() {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let before = now();
    // SAFETY: the timespec is there to be written.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    let between = time.tv_sec * SECOND + time.tv_nsec;
    assert!((before..=now()).contains(&between));
}

#[test]
fn a_deadline_governs_datagrams_too() {
    let (fd, at) = udp();
    set_read_deadline(fd, after(10 * MS));
    assert_eq!(recvfrom(fd, &mut [0; 8], 0).0, DEADLINE);
    assert_eq!(sendto(fd, b"x", 0, Some(&at)), 1, "writes have their own");
    set_read_deadline(fd, 0);
    assert_eq!(recvfrom(fd, &mut [0; 8], 0).0, 1);
    set_write_deadline(fd, -1);
    assert_eq!(sendto(fd, b"x", 0, Some(&at)), DEADLINE);
    destroy(fd);
}

#[test]
fn a_listeners_write_deadline_does_not_govern_accept() {
    let (listener, at) = listener();
    set_write_deadline(listener, -1);
    let client = socket(libc::AF_INET, libc::SOCK_STREAM);
    assert_eq!(connect(client, &at), 0);
    let server = accept(listener);
    assert!(server >= 0);
    for fd in [client, server, listener] {
        destroy(fd);
    }
}

#[test]
fn the_descriptors_write_deadline_governs_connect() {
    let (listener, at) = listener();
    let client = socket(libc::AF_INET, libc::SOCK_STREAM);
    set_write_deadline(client, -1);
    assert_eq!(connect(client, &at), NETFD_EDEADLINE);
    set_write_deadline(client, 0);
    assert_eq!(connect(client, &at), 0, "{}", error_text());
    destroy(client);
    destroy(listener);
}

#[test]
fn a_deadline_is_a_timeout_in_gos_words() {
    let (one, two) = tcp_pair();
    set_read_deadline(two, -1);
    assert_eq!(read(two, &mut [0; 8]), DEADLINE);
    let text = error_text();
    assert!(text.starts_with("read tcp 127.0.0.1:"), "{text}");
    assert!(text.ends_with(": i/o timeout"), "{text}");
    assert_ne!(last_error().flags & NETFD_ERROR_TIMEOUT, 0);
    destroy(one);
    destroy(two);
}

#[test]
fn a_deadline_on_what_is_not_open_is_refused() {
    if !by_itself("a_deadline_on_what_is_not_open_is_refused") {
        return; // or another test gets the number
    }
    let (one, two) = tcp_pair();
    destroy(two);
    for set in [set_deadline, set_read_deadline, set_write_deadline] {
        assert_eq!(set(two, 1), NETFD_ECLOSED);
        assert_eq!(set(-1, 1), -libc::EBADF);
        assert_eq!(set(c_int::MAX, 1), -libc::EBADF);
    }
    destroy(one);
}

/// 1,000 deadlines between two system calls that nobody else makes.
#[test]
fn setting_a_deadline_costs_no_system_call_while_nobody_is_parked() {
    let name = "setting_a_deadline_costs_no_system_call_while_nobody_is_parked";
    let file = std::env::temp_dir().join(format!("netfd-{}-trace", std::process::id()));
    let file = file.to_string_lossy();
    let strace = ["strace", "-f", "-qq", "-o", &file];
    let has_strace = std::process::Command::new("strace").arg("-V").output();
    if has_strace.is_err() {
        println!("no strace here");
        return;
    }
    if by_itself_under(name, &strace) {
        no_twin(); // whose job is handed over by system calls
        let (one, two) = tcp_pair();
        assert_eq!(read(two, &mut [0; 0]), 0);
        mark();
        for round in 0..1_000 {
            assert_eq!(set_deadline(two, after(round * SECOND)), 0);
            assert_eq!(set_read_deadline(two, after(SECOND)), 0);
            assert_eq!(set_write_deadline(two, 0), 0);
        }
        mark();
        destroy(one);
        destroy(two);
        return;
    }
    let trace = std::fs::read_to_string(&*file).expect("strace wrote it");
    let _ = std::fs::remove_file(&*file);
    let lines: Vec<&str> = trace.lines().collect();
    let marks: Vec<usize> = (0..lines.len())
        .filter(|at| lines[*at].contains("getppid("))
        .collect();
    assert_eq!(marks.len(), 2, "{trace}");
    let thread = lines[marks[0]].split(' ').next().expect("a number");
    let between: Vec<_> = lines[marks[0] + 1..marks[1]]
        .iter()
        .filter(|line| line.starts_with(thread))
        .collect();
    assert!(between.is_empty(), "{between:?}");
}

fn mark() {
    // SAFETY: no pointers, and it cannot fail.
    unsafe { libc::getppid() };
}
