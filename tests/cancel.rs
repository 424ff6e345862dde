//! Cancel tokens: fired once and for good, over any number of descriptors and
//! threads, from signal handlers too, freed in any order. What Go has as
//! `context.Context` for dials only (golang/go issue 20280); signal-safety(7).

#![allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test that is out of range has failed"
)]

mod common;

use common::calls::*;
use common::*;
use libc::c_int;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

/// netfd_cancel_fired().
fn fired(token: Token) -> bool {
    // SAFETY: the token lives.
    let fired = unsafe { netfd_cancel_fired(token.0) };
    assert!((0..=1).contains(&fired));
    fired == 1
}

#[test]
fn a_token_that_fired_before_ends_every_call() {
    let (one, two) = tcp_pair();
    let (listener, at) = listener();
    assert_eq!(write(one, b"x"), 1);
    await_that("the byte", || polled(two, libc::POLLIN) != 0);
    let token = Token::new();
    token.fire();
    token.set_on(two);
    token.set_on(listener);
    assert_eq!(read(two, &mut [0; 8]), CANCELED, "though data is ready");
    assert_eq!(readv(two, &mut [vec![0; 8]]), CANCELED);
    assert_eq!(recv(two, &mut [0; 8], 0), CANCELED);
    assert_eq!(write(two, b"x"), CANCELED);
    assert_eq!(writev(two, &[b"x"]), CANCELED);
    assert_eq!(sendto(two, b"x", 0, None), CANCELED);
    assert_eq!(accept(listener), NETFD_ECANCELED);
    let client = socket(libc::AF_INET, libc::SOCK_STREAM);
    token.set_on(client);
    assert_eq!(connect(client, &at), NETFD_ECANCELED);
    assert_eq!(lift_cancel(two), 0);
    assert_eq!(read(two, &mut [0; 8]), 1, "nothing was lost");
    for fd in [one, two, listener, client] {
        destroy(fd);
    }
    token.free();
}

#[test]
fn firing_wakes_calls_that_are_parked() {
    let (one, two) = tcp_pair();
    let (listener, _) = listener();
    fill(two);
    let token = Token::new();
    token.set_on(two);
    token.set_on(listener);
    let reader = spawn(move || read(two, &mut [0; 8]));
    let writer = spawn(move || write(two, b"x"));
    let acceptor = spawn(move || accept(listener));
    await_parked(two, 2);
    await_parked(listener, 1);
    token.fire();
    assert_eq!((reader.join(), writer.join()), (CANCELED, CANCELED));
    assert_eq!(acceptor.join(), NETFD_ECANCELED);
    for fd in [one, two, listener] {
        destroy(fd);
    }
    token.free();
}

#[test]
fn firing_wakes_calls_that_queue() {
    let (one, two) = tcp_pair();
    let token = Token::new();
    token.set_on(two);
    let readers: Vec<_> = (0..20)
        .map(|_| spawn(move || read(two, &mut [0; 8])))
        .collect();
    await_parked(two, 20);
    token.fire();
    for reader in readers {
        assert_eq!(reader.join(), CANCELED);
    }
    destroy(one);
    destroy(two);
    token.free();
}

#[test]
fn a_token_fires_for_good() {
    let token = Token::new();
    assert!(!fired(token));
    token.fire();
    assert!(fired(token));
    token.fire();
    assert!(fired(token));
    let (one, two) = tcp_pair();
    token.set_on(two);
    for _ in 0..3 {
        assert_eq!(read(two, &mut [0; 8]), CANCELED);
    }
    // Another deadline lifts a deadline, and no token.
    set_deadline(two, after(3_600 * SECOND));
    assert_eq!(read(two, &mut [0; 8]), CANCELED);
    destroy(one);
    destroy(two);
    token.free();
}

#[test]
fn canceled_has_gos_words_and_its_flag() {
    let (one, two) = tcp_pair();
    let token = Token::new();
    token.fire();
    token.set_on(two);
    assert_eq!(read(two, &mut [0; 8]), CANCELED);
    let text = error_text();
    assert!(text.ends_with(": operation was canceled"), "{text}");
    assert_eq!(last_error().flags, NETFD_ERROR_CANCELED);
    destroy(one);
    destroy(two);
    token.free();
}

#[test]
fn null_is_no_token() {
    // SAFETY: NULL is allowed.
    unsafe { netfd_cancel_fire(ptr::null_mut()) };
    // SAFETY: likewise.
    assert_eq!(unsafe { netfd_cancel_fired(ptr::null()) }, 0);
    // SAFETY: likewise.
    unsafe { netfd_cancel_free(ptr::null_mut()) };
    let (one, two) = tcp_pair();
    assert_eq!(lift_cancel(two), 0);
    assert_eq!(write(one, b"x"), 1);
    assert_eq!(read(two, &mut [0; 8]), 1);
    destroy(one);
    destroy(two);
}

#[test]
fn a_token_on_what_is_not_open_is_refused() {
    if !by_itself("a_token_on_what_is_not_open_is_refused") {
        return; // or another test gets the number
    }
    let token = Token::new();
    let (one, two) = tcp_pair();
    destroy(two);
    for (fd, code) in [(two, NETFD_ECLOSED), (-1, -libc::EBADF)] {
        // SAFETY: the token lives.
        assert_eq!(unsafe { netfd_set_cancel(fd, token.0) }, code);
    }
    destroy(one);
    token.free();
}

#[test]
fn a_token_set_on_a_descriptor_where_somebody_is_parked_is_obeyed() {
    let (one, two) = tcp_pair();
    fill(two);
    let reader = spawn(move || read(two, &mut [0; 8]));
    let queued = spawn(move || read(two, &mut [0; 8]));
    let writer = spawn(move || write(two, b"x"));
    let waiter = spawn(move || wait(two, NETFD_READABLE, 0));
    await_parked(two, 4);
    let token = Token::new();
    token.set_on(two);
    await_parked(two, 4);
    assert!(!reader.is_finished());
    token.fire();
    assert_eq!((reader.join(), queued.join()), (CANCELED, CANCELED));
    assert_eq!(writer.join(), CANCELED);
    assert_eq!(waiter.join(), NETFD_ECANCELED);
    destroy(one);
    destroy(two);
    token.free();
}

#[test]
fn a_fired_token_set_on_a_descriptor_wakes_who_is_parked() {
    let (one, two) = tcp_pair();
    let readers = [(); 3].map(|()| spawn(move || read(two, &mut [0; 8])));
    await_parked(two, 3);
    let token = Token::new();
    token.fire();
    token.set_on(two);
    for reader in readers {
        assert_eq!(reader.join(), CANCELED);
    }
    destroy(one);
    destroy(two);
    token.free();
}

#[test]
fn a_token_that_was_replaced_counts_no_more() {
    let (one, two) = tcp_pair();
    let (old, new) = (Token::new(), Token::new());
    old.set_on(two);
    let reader = spawn(move || read(two, &mut [0; 8]));
    await_parked(two, 1);
    new.set_on(two);
    old.fire();
    old.free();
    thread::sleep(std::time::Duration::from_millis(10)); // it would end it
    assert!(!reader.is_finished());
    new.fire();
    assert_eq!(reader.join(), CANCELED);
    destroy(one);
    destroy(two);
    new.free();
}

#[test]
fn a_token_that_was_lifted_counts_no_more() {
    let (one, two) = tcp_pair();
    let token = Token::new();
    token.set_on(two);
    let reader = spawn(move || read(two, &mut [0; 8]));
    await_parked(two, 1);
    assert_eq!(lift_cancel(two), 0);
    token.fire();
    assert_eq!(write(one, b"x"), 1);
    assert_eq!(reader.join(), 1);
    destroy(one);
    destroy(two);
    token.free();
}

#[test]
fn a_connection_does_not_inherit_its_listeners_token() {
    let (listener, at) = listener();
    let token = Token::new();
    token.set_on(listener);
    let client = socket(libc::AF_INET, libc::SOCK_STREAM);
    assert_eq!(connect(client, &at), 0);
    let server = accept(listener);
    token.fire();
    assert_eq!(write(client, b"x"), 1);
    assert_eq!(read(server, &mut [0; 8]), 1);
    for fd in [client, server, listener] {
        destroy(fd);
    }
    token.free();
}

#[test]
fn a_number_attached_again_has_no_token() {
    let (one, two) = tcp_pair();
    let token = Token::new();
    token.fire();
    token.set_on(two);
    // SAFETY: no pointers.
    assert_eq!(unsafe { netfd_attach(two) }, two);
    assert_eq!(write(one, b"x"), 1);
    assert_eq!(read(two, &mut [0; 8]), 1);
    destroy(one);
    destroy(two);
    token.free();
}

#[test]
fn one_token_ends_calls_on_2000_descriptors_in_20_threads() {
    const THREADS: usize = 20;
    const EACH: usize = 100;
    let token = Token::new();
    let pairs: Vec<_> = (0..THREADS * EACH / 2)
        .map(|_| unix_pair(libc::SOCK_STREAM))
        .collect();
    for (one, two) in &pairs {
        token.set_on(*one);
        token.set_on(*two);
    }
    let tasks: Vec<_> = pairs
        .chunks(EACH / 2)
        .map(<[(c_int, c_int)]>::to_vec)
        .map(|own| {
            spawn(move || {
                let all: Vec<c_int> = own.iter().flat_map(|(one, two)| [*one, *two]).collect();
                // Parked on the first; the others are tried once it has fired.
                all.iter()
                    .filter(|fd| read(**fd, &mut [0; 8]) == CANCELED)
                    .count()
            })
        })
        .collect();
    for own in pairs.chunks(EACH / 2) {
        await_parked(own[0].0, 1);
    }
    token.fire();
    let canceled: usize = tasks.into_iter().map(Task::join).sum();
    assert_eq!(canceled, THREADS * EACH);
    for (one, two) in pairs {
        destroy(one);
        destroy(two);
    }
    token.free();
}

#[test]
fn a_token_freed_while_it_is_set_is_obeyed_until_the_descriptor_lets_go() {
    let (one, two) = tcp_pair();
    let token = Token::new();
    token.set_on(two);
    token.fire();
    token.free();
    // Others come and go in the meantime.
    for _ in 0..100 {
        let other = Token::new();
        assert!(!fired(other));
        other.free();
    }
    assert_eq!(read(two, &mut [0; 8]), CANCELED);
    destroy(one);
    destroy(two);
}

#[test]
fn a_token_freed_while_somebody_is_parked_on_it_does_not_end_the_call() {
    let (one, two) = tcp_pair();
    let token = Token::new();
    token.set_on(two);
    let reader = spawn(move || read(two, &mut [0; 8]));
    await_parked(two, 1);
    token.free();
    for _ in 0..100 {
        let other = Token::new();
        other.fire();
        other.free();
    }
    assert_eq!(write(one, b"x"), 1, "freeing does not fire");
    assert_eq!(reader.join(), 1);
    destroy(one);
    destroy(two);
}

#[test]
fn tokens_freed_in_any_order_leak_no_descriptor_and_inherit_nothing() {
    const ROUNDS: usize = 10_000;
    if !by_itself("tokens_freed_in_any_order_leak_no_descriptor_and_inherit_nothing") {
        return;
    }
    let (one, two) = unix_pair(libc::SOCK_STREAM);
    set_read_deadline(two, after(MS));
    assert_eq!(read(two, &mut [0; 8]), DEADLINE); // the thread's own is made
    let before = open_fds();
    for round in 0..ROUNDS {
        let token = Token::new();
        assert!(!fired(token), "round {round}");
        token.set_on(two);
        // Parks, if for a moment, so that the token gets its descriptor.
        set_read_deadline(two, after(1_000));
        assert_eq!(read(two, &mut [0; 8]), DEADLINE);
        match round % 4 {
            0 => {
                token.free();
                assert_eq!(lift_cancel(two), 0);
            }
            1 => {
                assert_eq!(lift_cancel(two), 0);
                token.free();
            }
            2 => {
                token.fire();
                token.free(); // the next round replaces it
            }
            _ => {
                token.set_on(two);
                token.fire();
                token.free();
                assert_eq!(read(two, &mut [0; 8]), CANCELED);
                // SAFETY: no pointers.
                assert_eq!(unsafe { netfd_detach(two) }, two);
                // SAFETY: no pointers.
                assert_eq!(unsafe { netfd_attach(two) }, two);
            }
        }
    }
    lift_cancel(two);
    assert_eq!(open_fds(), before);
    destroy(one);
    destroy(two);
}

#[test]
fn a_token_costs_no_descriptor_until_somebody_parks_on_it() {
    if !by_itself("a_token_costs_no_descriptor_until_somebody_parks_on_it") {
        return;
    }
    no_twin(); // a ring's read parks, though there is a byte
    let (one, two) = unix_pair(libc::SOCK_STREAM);
    assert_eq!(write(one, b"x"), 1);
    let before = open_fds();
    let tokens: Vec<_> = (0..1_000).map(|_| Token::new()).collect();
    for token in &tokens {
        token.set_on(two);
    }
    assert_eq!(read(two, &mut [0; 1]), 1);
    tokens.iter().for_each(|token| token.fire());
    assert_eq!(read(two, &mut [0; 1]), CANCELED);
    assert_eq!(open_fds(), before);
    tokens.into_iter().for_each(Token::free);
    destroy(one);
    destroy(two);
}

static FIRED_BY_SIGNAL: AtomicPtr<netfd_cancel> = AtomicPtr::new(ptr::null_mut());
/// Whether the handler is done with the token.
static HANDLED: AtomicBool = AtomicBool::new(false);

extern "C" fn fire_from_handler(_: c_int) {
    let token = FIRED_BY_SIGNAL.load(Ordering::Relaxed);
    // SAFETY: the token lives; NULL is allowed.
    unsafe { netfd_cancel_fire(token) };
    // SAFETY: likewise.
    assert_eq!(unsafe { netfd_cancel_fired(token) }, 1);
    assert!(now() > 0);
    HANDLED.store(true, Ordering::Release);
}

#[test]
fn a_token_fires_from_a_signal_handler_while_calls_are_parked() {
    if !by_itself("a_token_fires_from_a_signal_handler_while_calls_are_parked") {
        return;
    }
    let token = Token::new();
    FIRED_BY_SIGNAL.store(token.0, Ordering::Relaxed);
    handle(libc::SIGALRM, fire_from_handler);
    let (one, two) = tcp_pair();
    token.set_on(two);
    let other = spawn(move || read(two, &mut [0; 8]));
    let queued = spawn(move || read(two, &mut [0; 8]));
    await_parked(two, 2);
    let soon = libc::itimerval {
        it_interval: libc::timeval {
            tv_sec: 0,
            tv_usec: 0,
        },
        it_value: libc::timeval {
            tv_sec: 0,
            tv_usec: 20_000,
        },
    };
    // SAFETY: the time is there, the old one is not wanted.
    let set = unsafe { libc::setitimer(libc::ITIMER_REAL, &soon, ptr::null_mut()) };
    assert_eq!(set, 0);
    let (listener, _) = listener();
    token.set_on(listener);
    assert_eq!(accept(listener), NETFD_ECANCELED);
    assert_eq!((other.join(), queued.join()), (CANCELED, CANCELED));
    for fd in [one, two, listener] {
        destroy(fd);
    }
    await_that("the handler's end", || HANDLED.load(Ordering::Acquire));
    token.free();
}

#[test]
fn a_token_fires_in_the_very_thread_that_is_parked_on_it() {
    if !by_itself("a_token_fires_in_the_very_thread_that_is_parked_on_it") {
        return;
    }
    let token = Token::new();
    FIRED_BY_SIGNAL.store(token.0, Ordering::Relaxed);
    handle(libc::SIGUSR1, fire_from_handler);
    let (one, two) = tcp_pair();
    token.set_on(two);
    let (send, receive) = mpsc::channel();
    // A worker hears of no signal, and its fibers are elsewhere.
    let reader = spawn_thread(move || {
        // SAFETY: no pointers.
        let _ = send.send(unsafe { libc::pthread_self() } as usize);
        read(two, &mut [0; 8])
    });
    let thread = receive.recv().expect("its name");
    await_parked(two, 1);
    // SAFETY: the thread is parked, and so lives.
    assert_eq!(unsafe { libc::pthread_kill(thread as _, libc::SIGUSR1) }, 0);
    assert_eq!(reader.join(), CANCELED);
    destroy(one);
    destroy(two);
    token.free();
}

#[test]
fn firing_leaves_errno_alone() {
    let (one, two) = tcp_pair();
    let token = Token::new();
    token.set_on(two);
    let reader = spawn(move || read(two, &mut [0; 8]));
    await_parked(two, 1); // so that firing makes a system call
    // SAFETY: errno is the thread's own.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: likewise.
    unsafe { errno.write(4_711) };
    token.fire();
    assert!(fired(token));
    // SAFETY: likewise.
    assert_eq!(unsafe { errno.read() }, 4_711);
    assert_eq!(reader.join(), CANCELED);
    destroy(one);
    destroy(two);
    token.free();
}

#[test]
fn what_was_done_before_firing_is_seen_by_whom_it_wakes() {
    const ROUNDS: usize = 500;
    static WORD: AtomicUsize = AtomicUsize::new(0);
    no_twin(); // it would wait behind the reader, who blocks for a token
    let (one, two) = tcp_pair();
    let start = Arc::new(Barrier::new(2));
    let (send, receive) = mpsc::channel::<Token>();
    let at_start = Arc::clone(&start);
    let reader = spawn(move || {
        for (round, token) in (1..).zip(receive) {
            at_start.wait();
            assert_eq!(read(two, &mut [0; 8]), CANCELED);
            assert_eq!(WORD.load(Ordering::Relaxed), round);
            at_start.wait();
            token.free();
        }
    });
    for round in 1..=ROUNDS {
        let token = Token::new();
        token.set_on(two);
        send.send(token).expect("the reader lives");
        start.wait();
        WORD.store(round, Ordering::Relaxed);
        token.fire();
        start.wait();
    }
    drop(send);
    reader.join();
    destroy(one);
    destroy(two);
}

/// A race of `rounds` rounds between a call and the firing of the token that
/// it obeys. `call` says whether it came first; whoever did is held back a
/// little in the next round, so that both do.
fn race(what: &str, rounds: usize, mut call: impl FnMut(usize, Token, &dyn Fn()) -> bool) {
    let start = Arc::new(Barrier::new(2));
    let lead = Arc::new(AtomicIsize::new(0));
    let (send, receive) = mpsc::channel::<Token>();
    let (at_start, ahead) = (Arc::clone(&start), Arc::clone(&lead));
    let firer = spawn_thread(move || {
        for token in receive {
            at_start.wait();
            spin(-ahead.load(Ordering::Relaxed));
            token.fire();
        }
    });
    let begin = || {
        start.wait();
        spin(lead.load(Ordering::Relaxed));
    };
    let mut call_first = 0;
    for round in 0..rounds {
        let token = Token::new();
        send.send(token).expect("the other lives");
        if call(round, token, &begin) {
            call_first += 1;
            lead.fetch_add(5, Ordering::Relaxed);
        } else {
            lead.fetch_sub(5, Ordering::Relaxed);
        }
        while !fired(token) {
            thread::yield_now();
        }
        token.free();
    }
    drop(send);
    firer.join();
    let token_first = rounds - call_first;
    println!("{what}: {rounds} races, {call_first} calls first, {token_first} tokens first");
    let tenth = rounds / 10;
    assert!(call_first >= tenth && token_first >= tenth);
}

/// A time to spin that is another one in each round.
fn odd(round: usize) -> isize {
    (round * 7_919 % 600) as isize
}

fn spin(times: isize) {
    for _ in 0..times {
        std::hint::spin_loop();
    }
}

#[test]
fn fire_against_read_loses_no_byte_and_no_call() {
    let (one, two) = unix_pair(libc::SOCK_STREAM);
    race("fire against read", 20_000, |round, token, begin| {
        token.set_on(two);
        let byte = [round as u8];
        assert_eq!(write(one, &byte), 1);
        begin();
        let mut buf = [0; 8];
        let n = read(two, &mut buf);
        if n != 1 {
            assert_eq!(n, CANCELED, "round {round}");
            lift_cancel(two);
            assert_eq!(read(two, &mut buf), 1, "the byte is still there");
        }
        assert_eq!(buf[0], byte[0], "each byte once");
        n == 1
    });
    destroy(one);
    destroy(two);
}

#[test]
fn fire_against_a_parked_read_always_ends_it() {
    const ROUNDS: usize = 20_000;
    let (one, two) = unix_pair(libc::SOCK_STREAM);
    let start = Arc::new(Barrier::new(2));
    let (send, receive) = mpsc::channel::<Token>();
    let at_start = Arc::clone(&start);
    let firer = spawn_thread(move || {
        for (round, token) in receive.into_iter().enumerate() {
            at_start.wait();
            spin(odd(round));
            token.fire();
            at_start.wait();
        }
    });
    for round in 0..ROUNDS {
        let token = Token::new();
        token.set_on(two);
        send.send(token).expect("the other lives");
        set_read_deadline(two, after(10 * SECOND)); // a guard
        start.wait();
        assert_eq!(read(two, &mut [0; 8]), CANCELED, "round {round}");
        start.wait();
        token.free();
    }
    drop(send);
    firer.join();
    destroy(one);
    destroy(two);
}

#[test]
fn fire_against_accept_loses_no_connection() {
    let (listener, at) = listener_at("unix", &abstract_name("fire-accept"));
    race("fire against accept", 20_000, |round, token, begin| {
        let client = socket(libc::AF_UNIX, libc::SOCK_STREAM);
        assert_eq!(connect(client, &at), 0, "{}", error_text());
        assert_eq!(write(client, &[round as u8]), 1);
        token.set_on(listener);
        begin();
        let first = accept(listener);
        let server = if first >= 0 {
            first
        } else {
            assert_eq!(first, NETFD_ECANCELED, "round {round}");
            lift_cancel(listener);
            accept(listener)
        };
        assert!(server >= 0, "it is still queued");
        let mut byte = [0];
        assert_eq!(read(server, &mut byte), 1);
        assert_eq!(byte[0], round as u8, "each connection once");
        destroy(server);
        destroy(client);
        first >= 0
    });
    destroy(listener);
}

/// Whoever sets a token and whoever fires it meet in any order: the parked
/// reader is ended.
#[test]
fn set_cancel_against_fire_always_ends_a_parked_read() {
    const ROUNDS: usize = 5_000;
    let (one, two) = unix_pair(libc::SOCK_STREAM);
    let start = Arc::new(Barrier::new(3));
    let (send, receive) = mpsc::channel::<Token>();
    let at_start = Arc::clone(&start);
    let firer = spawn_thread(move || {
        for (round, token) in receive.into_iter().enumerate() {
            at_start.wait();
            spin(odd(round));
            token.fire();
            at_start.wait();
        }
    });
    let at_start = Arc::clone(&start);
    let reader = spawn(move || {
        for round in 0..ROUNDS {
            set_read_deadline(two, after(10 * SECOND)); // a guard
            at_start.wait();
            assert_eq!(read(two, &mut [0; 8]), CANCELED, "round {round}");
            at_start.wait();
        }
    });
    for _ in 0..ROUNDS {
        let token = Token::new();
        send.send(token).expect("the other lives");
        start.wait();
        token.set_on(two);
        start.wait();
        token.free();
        lift_cancel(two);
    }
    drop(send);
    firer.join();
    reader.join();
    destroy(one);
    destroy(two);
}

/// A token's wake-up reaches all who are parked on it, though others on the
/// same token are being woken for deadlines at that moment.
#[test]
fn a_token_wakes_all_while_deadlines_move() {
    const ROUNDS: usize = 300;
    const PARKED: usize = 8;
    let pairs: Vec<_> = (0..=PARKED).map(|_| unix_pair(libc::SOCK_STREAM)).collect();
    let start = Arc::new(Barrier::new(PARKED + 2));
    let tasks: Vec<_> = pairs
        .iter()
        .map(|(_, fd)| {
            let (fd, start) = (*fd, Arc::clone(&start));
            spawn(move || {
                for _ in 0..ROUNDS {
                    set_read_deadline(fd, after(10 * SECOND)); // a guard
                    start.wait();
                    assert_eq!(read(fd, &mut [0; 8]), CANCELED);
                    start.wait();
                }
            })
        })
        .collect();
    let hammered = pairs[PARKED].1;
    for round in 0..ROUNDS {
        let token = Token::new();
        pairs.iter().for_each(|(_, fd)| token.set_on(*fd));
        start.wait();
        let firer = thread::spawn(move || {
            spin(odd(round));
            token.fire();
        });
        for far in 0..100 {
            set_read_deadline(hammered, after(3_600 * SECOND + far));
        }
        firer.join().expect("it fires");
        start.wait();
        token.free();
    }
    tasks.into_iter().for_each(Task::join);
    for (one, two) in pairs {
        destroy(one);
        destroy(two);
    }
}
