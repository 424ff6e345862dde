//! netfd_wait: for which direction a descriptor is ready. poll(2), and what
//! Go's net has no call for (golang/go issues 15735 and 36973).

#![allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test that is out of range has failed"
)]

mod common;

use common::calls::*;
use common::*;
use libc::c_int;
use std::time::Instant;

const BOTH: c_int = NETFD_READABLE | NETFD_WRITABLE;
/// A deadline that has passed: look once.
const LOOK: i64 = -1;

#[test]
fn wait_says_which_of_the_directions_asked_are_ready() {
    let (one, two) = tcp_pair();
    assert_eq!(wait(two, NETFD_WRITABLE, 0), NETFD_WRITABLE);
    assert_eq!(wait(two, BOTH, 0), NETFD_WRITABLE);
    assert_eq!(write(one, b"x"), 1);
    assert_eq!(wait(two, NETFD_READABLE, 0), NETFD_READABLE);
    assert_eq!(wait(two, BOTH, 0), BOTH);
    fill(two);
    assert_eq!(wait(two, BOTH, 0), NETFD_READABLE);
    destroy(one);
    destroy(two);
}

#[test]
fn wait_parks_until_the_descriptor_is_ready() {
    let (one, two) = tcp_pair();
    let task = spawn(move || wait(two, NETFD_READABLE, 0));
    await_parked(two, 1);
    assert_eq!(write(one, b"x"), 1);
    assert_eq!(task.join(), NETFD_READABLE);
    let filled = fill(one);
    let task = spawn(move || wait(one, NETFD_WRITABLE, 0));
    await_parked(one, 1);
    read_exactly(two, filled + 1);
    assert_eq!(task.join(), NETFD_WRITABLE);
    destroy(one);
    destroy(two);
}

#[test]
fn wait_moves_no_data() {
    let (one, two) = tcp_pair();
    assert_eq!(write(one, b"data"), 4);
    for _ in 0..3 {
        assert_eq!(wait(two, NETFD_READABLE, 0), NETFD_READABLE);
    }
    assert_eq!(read(two, &mut [0; 8]), 4);
    destroy(one);
    destroy(two);
}

#[test]
fn a_connection_makes_a_listener_readable() {
    let (listener, at) = listener();
    let task = spawn(move || wait(listener, NETFD_READABLE, 0));
    await_parked(listener, 1);
    let client = socket(libc::AF_INET, libc::SOCK_STREAM);
    assert_eq!(connect(client, &at), 0);
    assert_eq!(task.join(), NETFD_READABLE);
    let server = accept(listener);
    assert!(server >= 0);
    for fd in [client, server, listener] {
        destroy(fd);
    }
}

#[test]
fn wait_obeys_its_own_deadline() {
    let (one, two) = tcp_pair();
    let begun = Instant::now();
    assert_eq!(wait(two, NETFD_READABLE, after(30 * MS)), NETFD_EDEADLINE);
    assert!(begun.elapsed().as_millis() >= 30);
    assert_eq!(last_error().flags, NETFD_ERROR_TIMEOUT);
    destroy(one);
    destroy(two);
}

#[test]
fn a_past_deadline_looks_once() {
    let (one, two) = tcp_pair();
    for past in [LOOK, i64::MIN, 1, now()] {
        assert_eq!(wait(two, NETFD_READABLE, past), NETFD_EDEADLINE);
        assert_eq!(wait(two, BOTH, past), NETFD_WRITABLE);
    }
    assert_eq!(write(one, b"x"), 1);
    await_that("the byte", || {
        wait(two, NETFD_READABLE, LOOK) == NETFD_READABLE
    });
    destroy(one);
    destroy(two);
}

#[test]
fn a_past_deadline_looks_beside_others_who_wait() {
    let (one, two) = tcp_pair();
    let task = spawn(move || wait(two, NETFD_READABLE, 0));
    await_parked(two, 1);
    assert_eq!(wait(two, NETFD_READABLE, LOOK), NETFD_EDEADLINE);
    assert_eq!(wait(two, NETFD_READABLE, after(5 * MS)), NETFD_EDEADLINE);
    assert_eq!(write(one, b"x"), 1);
    assert_eq!(task.join(), NETFD_READABLE);
    destroy(one);
    destroy(two);
}

#[test]
fn the_descriptors_deadlines_do_not_matter() {
    let (one, two) = tcp_pair();
    set_deadline(two, -1);
    assert_eq!(wait(two, NETFD_WRITABLE, 0), NETFD_WRITABLE);
    let task = spawn(move || wait(two, NETFD_READABLE, 0));
    await_parked(two, 1);
    set_deadline(two, -2);
    assert_eq!(write(one, b"x"), 1);
    assert_eq!(task.join(), NETFD_READABLE);
    destroy(one);
    destroy(two);
}

#[test]
fn a_token_ends_a_wait_and_wins_over_readiness() {
    let (one, two) = tcp_pair();
    let token = Token::new();
    token.set_on(two);
    let tasks: Vec<_> = [NETFD_READABLE, NETFD_READABLE]
        .map(|events| spawn(move || wait(two, events, 0)))
        .into();
    await_parked(two, 2);
    token.fire();
    for task in tasks {
        assert_eq!(task.join(), NETFD_ECANCELED);
    }
    assert_eq!(wait(two, NETFD_WRITABLE, 0), NETFD_ECANCELED);
    assert_eq!(wait(two, NETFD_WRITABLE, LOOK), NETFD_ECANCELED);
    destroy(one);
    destroy(two);
    token.free();
}

#[test]
fn destroy_ends_every_wait() {
    if !by_itself("destroy_ends_every_wait") {
        return; // or another test gets the number
    }
    let (one, two) = tcp_pair();
    fill(two);
    let tasks: Vec<_> = [NETFD_READABLE, NETFD_WRITABLE, BOTH, BOTH, NETFD_READABLE]
        .map(|events| spawn(move || wait(two, events, 0)))
        .into();
    await_parked(two, 5);
    assert_eq!(destroy(two), 0);
    for task in tasks {
        assert_eq!(task.join(), NETFD_ECLOSED);
    }
    assert_eq!(wait(two, BOTH, LOOK), NETFD_ECLOSED);
    destroy(one);
}

#[test]
fn a_wait_runs_beside_a_reader_and_a_writer() {
    let (one, two) = unix_pair(libc::SOCK_STREAM);
    fill(two);
    let reader = spawn(move || read(two, &mut [0; 8]));
    let writer = spawn(move || write(two, b"x"));
    let waiter = spawn(move || wait(two, BOTH, 0));
    await_parked(two, 3);
    assert_eq!(write(one, b"x"), 1);
    assert_eq!(reader.join(), 1);
    // The reader may have been so fast that the other one saw nothing.
    assert_eq!(write(one, b"y"), 1);
    assert_eq!(waiter.join(), NETFD_READABLE);
    assert!(!writer.is_finished());
    destroy(two);
    assert_eq!(writer.join(), CLOSED);
    destroy(one);
}

#[test]
fn many_who_wait_are_all_woken_by_readiness() {
    const EACH: usize = 20;
    let (one, two) = tcp_pair();
    fill(two);
    let tasks: Vec<_> = (0..EACH)
        .flat_map(|_| [NETFD_READABLE, BOTH])
        .map(|events| spawn(move || wait(two, events, 0)))
        .collect();
    await_parked(two, 2 * EACH);
    assert_eq!(write(one, b"x"), 1);
    for task in tasks {
        assert_eq!(task.join(), NETFD_READABLE);
    }
    destroy(one);
    destroy(two);
}

#[test]
fn a_hang_up_is_ready_in_the_directions_asked() {
    for (one, two) in [tcp_pair(), unix_pair(libc::SOCK_STREAM)] {
        fill(two);
        let tasks = [NETFD_READABLE, NETFD_WRITABLE, BOTH];
        let tasks = tasks.map(|events| (events, spawn(move || wait(two, events, 0))));
        await_parked(two, 3);
        reset_or_close(one);
        for (events, task) in tasks {
            assert_eq!(task.join(), events);
        }
        assert_eq!(wait(two, BOTH, LOOK), BOTH);
        destroy(two);
    }
}

fn reset_or_close(fd: c_int) {
    reset(fd); // SO_LINGER means nothing to a unix socket
}

#[test]
fn the_end_of_the_stream_is_readable() {
    let (one, two) = tcp_pair();
    let task = spawn(move || wait(two, NETFD_READABLE, 0));
    await_parked(two, 1);
    shutdown(one, libc::SHUT_WR);
    assert_eq!(task.join(), NETFD_READABLE);
    destroy(one);
    destroy(two);
}

/// A UDP socket that has been refused, which poll(2) tells by POLLERR alone.
fn refused() -> c_int {
    let (fd, _) = udp();
    assert_eq!(connect(fd, &nobody()), 0);
    assert_eq!(write(fd, b"x"), 1);
    await_that("the refusal", || polled(fd, 0) & libc::POLLERR != 0);
    fd
}

#[test]
fn an_error_is_ready_in_the_directions_asked_and_the_next_call_tells_it() {
    let calls: [fn(c_int) -> isize; 4] = [
        |fd| read(fd, &mut [0; 8]),
        |fd| recv(fd, &mut [0; 8], libc::MSG_DONTWAIT),
        |fd| write(fd, b"x"),
        |fd| sendto(fd, b"x", 0, None),
    ];
    for call in calls {
        let fd = refused();
        assert_eq!(wait(fd, NETFD_READABLE, 0), NETFD_READABLE);
        assert_eq!(call(fd), no(libc::ECONNREFUSED));
        assert_eq!(recv(fd, &mut [0; 8], libc::MSG_DONTWAIT), no(libc::EAGAIN));
        destroy(fd);
    }
}

#[test]
fn an_error_that_no_call_has_been_told_stays_ready() {
    let fd = refused();
    for _ in 0..3 {
        assert_eq!(wait(fd, NETFD_READABLE, LOOK), NETFD_READABLE);
    }
    assert_eq!(wait(fd, BOTH, LOOK), BOTH);
    assert_eq!(read(fd, &mut [0; 8]), no(libc::ECONNREFUSED));
    assert_eq!(wait(fd, NETFD_READABLE, LOOK), NETFD_EDEADLINE);
    destroy(fd);
}

#[test]
fn many_who_wait_are_all_woken_by_an_error() {
    let (fd, _) = udp();
    assert_eq!(connect(fd, &nobody()), 0);
    let tasks: Vec<_> = (0..5)
        .map(|_| spawn(move || wait(fd, NETFD_READABLE, 0)))
        .collect();
    await_parked(fd, 5);
    assert_eq!(write(fd, b"x"), 1);
    for task in tasks {
        assert_eq!(task.join(), NETFD_READABLE);
    }
    assert_eq!(read(fd, &mut [0; 8]), no(libc::ECONNREFUSED));
    destroy(fd);
}

#[test]
fn a_wait_takes_no_error_away_from_a_parked_receiver() {
    for _ in 0..50 {
        let (fd, _) = udp();
        assert_eq!(connect(fd, &nobody()), 0);
        let waiter = spawn(move || wait(fd, NETFD_READABLE, 0));
        await_parked(fd, 1);
        let reader = spawn(move || read(fd, &mut [0; 8]));
        await_parked(fd, 2);
        assert_eq!(write(fd, b"x"), 1);
        assert_eq!(reader.join(), no(libc::ECONNREFUSED));
        set_deadline(fd, -1);
        destroy(fd); // the reader may have been told before the waiter looked
        let ready = waiter.join();
        assert!([NETFD_READABLE, NETFD_ECLOSED].contains(&ready), "{ready}");
    }
}

#[test]
fn a_standing_error_queue_alone_is_not_ready_and_does_not_spin() {
    let (fd, at) = with_error_queue();
    let (peer, _) = udp();
    assert_eq!(wait(fd, NETFD_READABLE, LOOK), NETFD_EDEADLINE);
    let ready = parked_idly(
        fd,
        move || wait(fd, NETFD_READABLE, 0),
        || assert_eq!(sendto(peer, b"data", 0, Some(&at)), 4),
    );
    assert_eq!(ready, NETFD_READABLE);
    assert_eq!(read(fd, &mut [0; 8]), 4);
    assert_eq!(wait(fd, NETFD_READABLE, after(20 * MS)), NETFD_EDEADLINE);
    destroy(fd);
    destroy(peer);
}

#[test]
fn a_standing_error_queue_makes_no_other_direction_ready() {
    let (fd, _) = with_error_queue();
    assert_eq!(wait(fd, BOTH, LOOK), NETFD_WRITABLE);
    assert_eq!(wait(fd, BOTH, 0), NETFD_WRITABLE);
    destroy(fd);
}

#[test]
fn events_0_or_unknown_are_einval() {
    let (one, two) = tcp_pair();
    for events in [0, 4, 7, -1, c_int::MIN, c_int::MAX] {
        assert_eq!(wait(one, events, 0), -libc::EINVAL);
    }
    destroy(one);
    destroy(two);
    assert_eq!(wait(-1, NETFD_READABLE, 0), -libc::EBADF);
}

#[test]
fn eintr_never_comes_out_of_a_wait_under_a_storm_of_signals() {
    let (one, two) = tcp_pair();
    let task = spawn_thread(move || {
        let _storm = Storm::begin();
        let mut said = std::collections::BTreeSet::new();
        let end = after(500 * MS);
        while now() < end {
            for _ in 0..100 {
                said.insert(wait(two, NETFD_READABLE, LOOK));
            }
            said.insert(wait(two, NETFD_READABLE, after(MS)));
        }
        said.into_iter().collect::<Vec<_>>()
    });
    assert_eq!(task.join(), [NETFD_EDEADLINE]);
    destroy(one);
    destroy(two);
}
