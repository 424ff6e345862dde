//! Fibers: where they run, how they park, sleep, yield, wake and end.
//!
//! Specifies netfd_go(), netfd_sleep(), netfd_yield(), netfd_in_fiber() and
//! netfd_block(). Follows Go's `go` statement, `time.Sleep`, `runtime.Gosched`
//! and runtime/proc_test.go. What needs a process of its own is in
//! `tests/c/fiber.c` and `tests/c/fiberxx.cc`.

#![allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test that is out of range has failed"
)]

mod common;

use common::calls::*;
use common::fibers::*;
use common::*;
use libc::{c_int, c_void};
use std::cell::Cell;
use std::os::fd::AsRawFd;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};

/// The edges of a number are those of the descriptor that has it now, however
/// many had it before.
#[test]
fn a_worker_hears_of_a_number_that_came_round_without_it() {
    on_one_worker(
        "a_worker_hears_of_a_number_that_came_round_without_it",
        || {
            let (number, _) = unix_pair(libc::SOCK_STREAM);
            // The entry of a number tells 8192 descriptors apart.
            for round in 0..2 * 8192 {
                if round % 4096 != 0 {
                    assert_eq!(attach(detach(number)), number);
                    continue;
                }
                assert_eq!(destroy(number), 0);
                let (one, other) = unix_pair(libc::SOCK_STREAM);
                assert_eq!(one, number);
                if round % 8192 == 0 {
                    let reader = fiber(move || read(one, &mut [0]));
                    await_parked(one, 1);
                    assert_eq!(write(other, b"a"), 1);
                    assert_eq!(reader.join(), 1, "round {round}");
                }
            }
        },
    );
}

/// A byte in each direction over a pair, so that the fiber parks.
fn park_once() {
    sleep(MS);
}

#[test]
fn a_fiber_runs_on_another_thread_and_says_so() {
    assert!(!in_fiber());
    let (inside, thread) = fiber(|| (in_fiber(), thread_id())).join();
    assert!(inside);
    assert_ne!(thread, thread_id());
}

#[test]
fn go_without_a_function_is_efault() {
    // SAFETY: NULL is told.
    assert_eq!(unsafe { netfd_go(None, null_mut()) }, -libc::EFAULT);
}

#[test]
fn a_fiber_starts_fibers() {
    let sum = Arc::new(AtomicU32::new(0));
    let (send, ended) = mpsc::channel();
    for _ in 0..10 {
        let (sum, send) = (Arc::clone(&sum), send.clone());
        go(move || {
            for _ in 0..10 {
                let (sum, send) = (Arc::clone(&sum), send.clone());
                go(move || {
                    sum.fetch_add(1, Ordering::Relaxed);
                    let _ = send.send(());
                });
            }
        });
    }
    for _ in 0..100 {
        ended.recv_timeout(GUARD).expect("each ends");
    }
    assert_eq!(sum.load(Ordering::Relaxed), 100);
}

#[test]
fn a_fiber_stays_on_its_worker_over_every_kind_of_park() {
    let fibers: Vec<_> = (0..20)
        .map(|_| {
            fiber(|| {
                let first = thread_id();
                let (one, other) = unix_pair(libc::SOCK_STREAM);
                let mut seen = vec![];
                sleep(MS);
                seen.push(thread_id());
                yield_now();
                seen.push(thread_id());
                let writer = fiber(move || write(other, b"a"));
                assert_eq!(read(one, &mut [0]), 1);
                seen.push(thread_id());
                block(|| sleep(MS));
                seen.push(thread_id());
                assert_eq!(set_read_deadline(one, after(MS)), 0);
                assert_eq!(read(one, &mut [0]), DEADLINE);
                seen.push(thread_id());
                drop(writer);
                assert_eq!((destroy(one), destroy(other)), (0, 0));
                seen.iter().all(|id| *id == first)
            })
        })
        .collect();
    for one in fibers {
        assert!(one.join());
    }
}

fn errno() -> c_int {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

fn set_errno(number: c_int) {
    // SAFETY: it takes nothing.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: it is the thread's errno.
    unsafe { *place = number };
}

#[test]
fn errno_is_the_fibers_own() {
    on_one_worker("errno_is_the_fibers_own", || {
        let fibers: Vec<_> = (1..50)
            .map(|number| {
                fiber(move || {
                    for turn in 0..20 {
                        set_errno(number);
                        if turn % 2 == 0 {
                            yield_now()
                        } else {
                            sleep(MS / 10)
                        }
                        assert_eq!(errno(), number);
                    }
                })
            })
            .collect();
        fibers.into_iter().for_each(Fiber::join);
    });
}

#[test]
fn the_last_error_is_the_fibers_own() {
    on_one_worker("the_last_error_is_the_fibers_own", || {
        let bad = fiber(|| {
            assert_eq!(destroy(-1), -libc::EBADF);
            park_once();
            last_error().code
        });
        let good = fiber(|| {
            let (one, _) = unix_pair(libc::SOCK_STREAM);
            assert_eq!(set_read_deadline(one, 1), 0);
            assert_eq!(read(one, &mut [0]), DEADLINE);
            park_once();
            last_error().code
        });
        let none = fiber(|| {
            park_once();
            last_error().code
        });
        assert_eq!(bad.join(), -libc::EBADF);
        assert_eq!(good.join(), NETFD_EDEADLINE);
        assert_eq!(none.join(), 0);
        // One that sits where such a one sat begins without.
        assert_eq!(fiber(|| last_error().code).join(), 0);
    });
}

#[test]
fn set_interruptible_in_a_fiber_is_einval() {
    // SAFETY: no pointers.
    let code = fiber(|| unsafe { netfd_set_interruptible(1) }).join();
    assert_eq!(code, -libc::EINVAL);
}

/// Go's TestYield.
#[test]
fn yield_runs_fibers_in_the_order_in_which_they_began() {
    on_one_worker("yield_runs_fibers_in_the_order_in_which_they_began", || {
        let order = Arc::new(Mutex::new(vec![]));
        let all = Arc::clone(&order);
        let parent = fiber(move || {
            let (send, ended) = mpsc::channel();
            for who in 0..4 {
                let (all, send) = (Arc::clone(&all), send.clone());
                go(move || {
                    for _ in 0..3 {
                        all.lock().expect("whole").push(who);
                        yield_now();
                    }
                    let _ = send.send(());
                });
            }
            ended
        });
        let ended = parent.join();
        for _ in 0..4 {
            ended.recv_timeout(GUARD).expect("each ends");
        }
        let order = order.lock().expect("whole");
        assert_eq!(*order, [0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3]);
    });
}

#[test]
fn a_fiber_whose_calls_keep_succeeding_yields_after_64() {
    on_one_worker(
        "a_fiber_whose_calls_keep_succeeding_yields_after_64",
        || {
            let turns = Arc::new(Mutex::new(vec![]));
            let spin = |who: u32| {
                let (one, other) = unix_pair(libc::SOCK_STREAM);
                let turns = Arc::clone(&turns);
                move || {
                    for _ in 0..640 {
                        turns.lock().expect("whole").push(who);
                        assert_eq!(write(one, b"a"), 1);
                        assert_eq!(read(other, &mut [0]), 1);
                    }
                }
            };
            let (first, second) = (spin(1), spin(2));
            let both = fiber(move || (fiber(first), fiber(second))).join();
            both.0.join();
            both.1.join();
            let turns = turns.lock().expect("whole");
            let longest = turns.chunk_by(|one, other| one == other).map(<[u32]>::len);
            // 64 calls are 32 rounds; the one that is cut counts twice.
            assert!(longest.max() <= Some(33), "{turns:?}");
        },
    );
}

#[test]
fn one_call_that_goes_on_for_long_lets_others_run() {
    on_one_worker("one_call_that_goes_on_for_long_lets_others_run", || {
        // What nobody takes is dropped, so that no part of it has to wait.
        let (_receiver, at) = udp();
        let sender = udp().0;
        assert_eq!(connect(sender, &at), 0, "{}", error_text());
        let zeroes = std::fs::File::open("/dev/zero").expect("it is there");
        let has_run = Arc::new(AtomicBool::new(false));
        let ran_meanwhile = fiber(move || {
            let flag = Arc::clone(&has_run);
            go(move || flag.store(true, Ordering::Relaxed));
            let len = 65 * (32 << 10); // a datagram each
            // SAFETY: no pointers.
            let copied = unsafe { netfd_copy(sender, zeroes.as_raw_fd(), len) };
            assert_eq!(copied, len, "{}", error_text());
            has_run.load(Ordering::Relaxed)
        });
        assert!(ran_meanwhile.join());
    });
}

#[test]
fn a_fiber_that_spins_on_would_block_calls_lets_others_run() {
    on_one_worker(
        "a_fiber_that_spins_on_would_block_calls_lets_others_run",
        || {
            let stop = Arc::new(AtomicBool::new(false));
            let flag = Arc::clone(&stop);
            let spinner = fiber(move || {
                let (one, _other) = unix_pair(libc::SOCK_STREAM);
                while !flag.load(Ordering::Relaxed) {
                    assert_eq!(recv(one, &mut [0], libc::MSG_DONTWAIT), no(libc::EAGAIN));
                }
            });
            go(move || stop.store(true, Ordering::Relaxed));
            spinner.join();
        },
    );
}

#[test]
fn sleep_in_a_thread_and_in_a_fiber_lasts_as_long_as_said() {
    let slept = || {
        let begun = now();
        sleep(20 * MS);
        now() - begun
    };
    assert!(slept() >= 20 * MS);
    assert!(fiber(slept).join() >= 20 * MS);
}

#[test]
fn sleep_of_nothing_or_less_returns_at_once() {
    fiber(|| {
        let begun = now();
        for ns in [0, -1, i64::MIN] {
            sleep(ns);
        }
        assert!(now() - begun < SECOND);
    })
    .join();
}

#[test]
fn a_deadline_moves_forth_and_back_under_a_parked_fiber() {
    let (one, other) = unix_pair(libc::SOCK_STREAM);
    assert_eq!(set_read_deadline(one, after(60 * SECOND)), 0);
    let reader = fiber(move || (read(one, &mut [0]), now()));
    await_parked(one, 1);
    for far in [3, 100, 2, 50] {
        assert_eq!(set_read_deadline(one, after(far * SECOND)), 0);
        await_parked(one, 1);
    }
    assert_eq!(set_read_deadline(one, NETFD_NO_DEADLINE), 0);
    await_parked(one, 1);
    let until = after(20 * MS);
    assert_eq!(set_read_deadline(one, until), 0);
    let (code, ended) = reader.join();
    assert_eq!(code, DEADLINE);
    assert!(ended >= until);
    assert_eq!((destroy(one), destroy(other)), (0, 0));
}

#[test]
fn a_deadline_moved_away_does_not_end_the_read_at_the_old_one() {
    let (one, other) = unix_pair(libc::SOCK_STREAM);
    let old = after(30 * MS);
    assert_eq!(set_read_deadline(one, old), 0);
    let reader = fiber(move || read(one, &mut [0]));
    assert_eq!(set_read_deadline(one, after(60 * SECOND)), 0);
    sleep(old + 20 * MS - now());
    assert_eq!(write(other, b"a"), 1);
    // Unless the machine was so busy that the old one came first.
    assert!([1, DEADLINE].contains(&reader.join()));
    assert_eq!((destroy(one), destroy(other)), (0, 0));
}

#[test]
fn one_token_ends_many_fibers() {
    let token = Token::new();
    let pairs: Vec<_> = (0..200).map(|_| unix_pair(libc::SOCK_STREAM)).collect();
    let readers: Vec<_> = pairs
        .iter()
        .map(|(fd, _)| {
            let fd = *fd;
            token.set_on(fd);
            fiber(move || read(fd, &mut [0]))
        })
        .collect();
    pairs.iter().for_each(|(fd, _)| await_parked(*fd, 1));
    token.fire();
    for reader in readers {
        assert_eq!(reader.join(), CANCELED);
    }
    for (one, other) in pairs {
        assert_eq!((destroy(one), destroy(other)), (0, 0));
    }
    token.free();
}

#[test]
fn a_token_ends_the_fiber_that_it_is_set_on_and_no_other() {
    let tokens: Vec<_> = (0..50).map(|_| Token::new()).collect();
    let pairs: Vec<_> = (0..50).map(|_| unix_pair(libc::SOCK_STREAM)).collect();
    let mut readers: Vec<_> = pairs
        .iter()
        .zip(&tokens)
        .map(|((fd, _), token)| {
            let fd = *fd;
            token.set_on(fd);
            Some(fiber(move || read(fd, &mut [0])))
        })
        .collect();
    pairs.iter().for_each(|(fd, _)| await_parked(*fd, 1));
    for at in (0..50).step_by(2) {
        tokens[at].fire();
        let reader = readers[at].take().expect("it is there");
        assert_eq!(reader.join(), CANCELED);
    }
    for at in (1..50).step_by(2) {
        assert_eq!(write(pairs[at].1, b"a"), 1);
        let reader = readers[at].take().expect("it is there");
        assert_eq!(reader.join(), 1);
    }
    for (one, other) in pairs {
        assert_eq!((destroy(one), destroy(other)), (0, 0));
    }
    tokens.into_iter().for_each(Token::free);
}

/// A token's memory and its eventfd are used again; the worker knows both from
/// before.
#[test]
fn tokens_are_made_fired_and_freed_in_fibers_one_after_the_other() {
    on_one_worker(
        "tokens_are_made_fired_and_freed_in_fibers_one_after_the_other",
        || {
            let (one, other) = unix_pair(libc::SOCK_STREAM);
            let done = fiber(move || {
                for round in 0..2000 {
                    let token = Token::new();
                    token.set_on(one);
                    go(move || {
                        token.fire();
                        token.free();
                    });
                    assert_eq!(read(one, &mut [0]), CANCELED, "round {round}");
                    assert_eq!(lift_cancel(one), 0);
                }
            });
            done.join();
            assert_eq!((destroy(one), destroy(other)), (0, 0));
        },
    );
}

#[test]
fn a_token_set_under_a_parked_fiber_is_heard_by_it() {
    let (one, other) = unix_pair(libc::SOCK_STREAM);
    let reader = fiber(move || read(one, &mut [0]));
    await_parked(one, 1);
    let token = Token::new();
    token.set_on(one);
    await_parked(one, 1);
    fiber(move || token.fire()).join();
    assert_eq!(reader.join(), CANCELED);
    token.free();
    assert_eq!((destroy(one), destroy(other)), (0, 0));
}

#[test]
fn destroy_ends_what_fibers_are_parked_in() {
    for by_fiber in [false, true] {
        let (one, other) = unix_pair(libc::SOCK_STREAM);
        fill(other);
        fill(one);
        let mut buf = vec![0; 1 << 20];
        let writer = fiber(move || write(one, &buf));
        let (two, peer) = unix_pair(libc::SOCK_STREAM);
        let reader = fiber(move || read(two, &mut [0]));
        let (listener, _) = listener();
        let accepter = fiber(move || accept(listener));
        let (three, last) = unix_pair(libc::SOCK_STREAM);
        let waiter = fiber(move || wait(three, NETFD_READABLE, NETFD_NO_DEADLINE));
        buf = vec![];
        drop(buf);
        for fd in [one, two, listener, three] {
            await_parked(fd, 1);
            let code = if by_fiber {
                fiber(move || destroy(fd)).join()
            } else {
                destroy(fd)
            };
            assert_eq!(code, 0);
        }
        assert_eq!(writer.join(), CLOSED);
        assert_eq!(reader.join(), CLOSED);
        assert_eq!(accepter.join(), NETFD_ECLOSED);
        assert_eq!(waiter.join(), NETFD_ECLOSED);
        for fd in [other, peer, last] {
            assert_eq!(destroy(fd), 0);
        }
    }
}

#[test]
fn a_fiber_destroys_what_a_thread_is_parked_on() {
    let (one, other) = unix_pair(libc::SOCK_STREAM);
    let reader = spawn(move || read(one, &mut [0]));
    await_parked(one, 1);
    assert_eq!(fiber(move || destroy(one)).join(), 0);
    assert_eq!(reader.join(), CLOSED);
    assert_eq!(destroy(other), 0);
}

#[test]
fn detach_ends_what_fibers_and_threads_are_parked_in_and_leaves_it_open() {
    let (one, other) = unix_pair(libc::SOCK_STREAM);
    let by_fiber = fiber(move || read(one, &mut [0]));
    await_parked(one, 1);
    let by_thread = spawn(move || read(one, &mut [0]));
    await_parked(one, 2);
    assert_eq!(fiber(move || detach(one)).join(), one);
    assert_eq!((by_fiber.join(), by_thread.join()), (CLOSED, CLOSED));
    plain_send(other, b"a");
    assert_eq!(plain_recv(one).as_deref(), Some(&b"a"[..]));
    plain_close(one);
    assert_eq!(destroy(other), 0);
}

/// Both wait for the readers to leave, who are fibers of the same worker.
#[test]
fn many_fibers_of_one_worker_destroy_one_descriptor() {
    on_one_worker("many_fibers_of_one_worker_destroy_one_descriptor", || {
        for _ in 0..200 {
            let (one, other) = unix_pair(libc::SOCK_STREAM);
            let readers: Vec<_> = (0..3).map(|_| fiber(move || read(one, &mut [0]))).collect();
            await_parked(one, 3);
            let destroyers =
                fiber(move || -> Vec<_> { (0..3).map(|_| fiber(move || destroy(one))).collect() });
            let codes: Vec<_> = destroyers.join().into_iter().map(Fiber::join).collect();
            assert_eq!(
                codes.iter().filter(|code| **code == 0).count(),
                1,
                "{codes:?}"
            );
            readers
                .into_iter()
                .for_each(|reader| assert_eq!(reader.join(), CLOSED));
            assert_eq!(destroy(other), 0);
        }
    });
}

#[test]
fn readers_in_threads_and_fibers_take_turns_in_their_order() {
    let (one, other) = unix_pair(libc::SOCK_STREAM);
    let (send, told) = mpsc::channel();
    for number in 0..8_u8 {
        let send = send.clone();
        let body = move || {
            let mut byte = [0];
            assert_eq!(read(one, &mut byte), 1);
            let _ = send.send((number, byte[0]));
        };
        if number % 2 == 0 {
            drop(spawn(body));
        } else {
            go(body);
        }
        await_parked(one, usize::from(number) + 1);
    }
    for number in 0..8 {
        assert_eq!(write(other, &[number]), 1);
        assert_eq!(told.recv_timeout(GUARD), Ok((number, number)));
    }
    assert_eq!((destroy(one), destroy(other)), (0, 0));
}

/// Each worker has a set of its own, and the edges of one come to all.
#[test]
fn fibers_of_two_workers_and_a_thread_read_one_stream_to_its_end() {
    on_two_workers(
        "fibers_of_two_workers_and_a_thread_read_one_stream_to_its_end",
        || {
            let (one, other) = tcp_pair();
            let taken = Arc::new(AtomicUsize::new(0));
            let body = || {
                let taken = Arc::clone(&taken);
                move || {
                    let mut buf = [0; 7];
                    loop {
                        match read(one, &mut buf) {
                            n if n > 0 => taken.fetch_add(n as usize, Ordering::Relaxed),
                            n => return n,
                        };
                    }
                }
            };
            let fibers: Vec<_> = (0..6).map(|_| fiber(body())).collect();
            let thread = spawn(body());
            let mut sent = 0;
            for round in 0..3000 {
                let len = round % 13 + 1;
                assert_eq!(write(other, &vec![1; len]), len as isize);
                sent += len;
                if round % 50 == 0 {
                    await_that("all is read", || taken.load(Ordering::Relaxed) == sent);
                }
            }
            assert_eq!(shutdown(other, libc::SHUT_WR), 0);
            assert_eq!(thread.join(), 0);
            fibers.into_iter().for_each(|one| assert_eq!(one.join(), 0));
            assert_eq!(taken.load(Ordering::Relaxed), sent);
        },
    );
}

#[test]
fn any_number_of_fibers_waits_for_one_descriptor() {
    let (one, other) = unix_pair(libc::SOCK_STREAM);
    let waiters: Vec<_> = (0..40)
        .map(|_| fiber(move || wait(one, NETFD_READABLE, NETFD_NO_DEADLINE)))
        .collect();
    await_parked(one, 40);
    assert_eq!(write(other, b"a"), 1);
    for waiter in waiters {
        assert_eq!(waiter.join(), NETFD_READABLE);
    }
    assert_eq!((destroy(one), destroy(other)), (0, 0));
}

#[test]
fn ten_thousand_fibers_park_and_are_all_woken() {
    const FIBERS: usize = 10_000;
    let _ = alone("ten_thousand_fibers_park_and_are_all_woken", || {
        let most = limit_fds(4096);
        assert!(most >= 4096, "{most}");
        let ended = Arc::new(AtomicUsize::new(0));
        let pairs: Vec<_> = (0..1000).map(|_| unix_pair(libc::SOCK_STREAM)).collect();
        for (fd, _) in pairs.iter().cycle().take(FIBERS) {
            let (fd, ended) = (*fd, Arc::clone(&ended));
            go(move || {
                assert_eq!(read(fd, &mut [0]), 1);
                ended.fetch_add(1, Ordering::Relaxed);
            });
        }
        await_that("all are parked", || stats().parked == FIBERS as u64);
        assert_eq!(stats().fibers, FIBERS as u64);
        for (_, other) in pairs.iter().cycle().take(FIBERS) {
            assert_eq!(write(*other, b"a"), 1);
        }
        await_that("all have ended", || ended.load(Ordering::Relaxed) == FIBERS);
        await_that("none is left", || stats().fibers == 0);
    });
}

#[test]
fn block_outside_a_fiber_runs_in_place() {
    let mut thread = 0;
    block(|| thread = thread_id());
    assert_eq!(thread, thread_id());
}

#[test]
fn block_without_a_function_is_efault() {
    // SAFETY: NULL is told.
    let call = || unsafe { netfd_block(None, null_mut()) };
    assert_eq!((call(), fiber(call).join()), (-libc::EFAULT, -libc::EFAULT));
}

#[test]
fn block_runs_on_a_thread_that_is_no_fiber_while_its_worker_goes_on() {
    on_one_worker(
        "block_runs_on_a_thread_that_is_no_fiber_while_its_worker_goes_on",
        || {
            let (send, go_on) = mpsc::channel();
            let go_on = Mutex::new(go_on);
            let blocked = fiber(move || {
                let (mut thread, mut inside) = (0, true);
                block(|| {
                    (thread, inside) = (thread_id(), in_fiber());
                    let go_on = go_on.lock().expect("whole");
                    go_on.recv_timeout(GUARD).expect("somebody sends");
                });
                (thread != thread_id(), inside)
            });
            // This one can run only if the worker is free.
            go(move || send.send(()).expect("somebody hears"));
            assert_eq!(blocked.join(), (true, false));
        },
    );
}

#[test]
fn block_nests() {
    fiber(|| {
        let mut ran = [0; 2];
        let [outer, inner] = &mut ran;
        block(|| {
            *outer = thread_id();
            block(|| *inner = thread_id());
        });
        assert_eq!(ran[0], ran[1]);
    })
    .join();
}

#[test]
fn fifty_block_at_once() {
    let all = Arc::new(std::sync::Barrier::new(50));
    let fibers: Vec<_> = (0..50)
        .map(|_| {
            let all = Arc::clone(&all);
            fiber(move || {
                block(|| {
                    all.wait();
                });
            })
        })
        .collect();
    fibers.into_iter().for_each(Fiber::join);
}

/// A close(2) that lingers waits for the peer, who does not read.
#[test]
fn a_destroy_that_lingers_does_not_hold_the_worker_up() {
    on_one_worker("a_destroy_that_lingers_does_not_hold_the_worker_up", || {
        let (one, other) = tcp_pair();
        fill(one);
        let wait = libc::linger {
            l_onoff: 1,
            l_linger: 2,
        };
        let len = std::mem::size_of::<libc::linger>() as libc::socklen_t;
        let at = (&raw const wait).cast();
        // SAFETY: the option is as long as said.
        let set = unsafe { libc::setsockopt(one, libc::SOL_SOCKET, libc::SO_LINGER, at, len) };
        assert_eq!(set, 0);
        let ended = Arc::new(AtomicI64::new(0));
        let when = Arc::clone(&ended);
        let closer = fiber(move || {
            let began = now();
            let code = destroy(one);
            when.store(now(), Ordering::Relaxed);
            (code, now() - began)
        });
        let ran = fiber(|| {
            sleep(10 * MS);
            now()
        })
        .join();
        assert_eq!(ended.load(Ordering::Relaxed), 0, "it lingers still");
        let (code, took) = closer.join();
        assert_eq!(code, 0);
        assert!(took > SECOND && ran < ended.load(Ordering::Relaxed));
        assert_eq!(destroy(other), 0);
    });
}

/// What is raced: a call in a fiber, and what ends it.
#[derive(Clone, Copy)]
enum Call {
    Read,
    Write,
    Accept,
}

/// Destroy against calls of fibers on two workers; the number is taken at once
/// by a stranger, whom nobody touches. Both sides win some.
fn storm(call: Call, rounds: u32) {
    // A worker that begins may open its ring on the number that is free.
    on_each_worker(2, || ());
    let (secret, far) = plain_pair(libc::SOCK_STREAM);
    plain_send(far, b"stranger");
    let (mut first, mut parked) = (0, 0);
    for round in 0..rounds {
        let (one, other) = match call {
            Call::Accept => (
                listener_at("unix", &abstract_name(&format!("storm{round}"))).0,
                -1,
            ),
            _ => unix_pair(libc::SOCK_STREAM),
        };
        if matches!(call, Call::Write) {
            fill(one);
        }
        let begun = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&begun);
        let body = move || {
            flag.store(true, Ordering::Release);
            match call {
                Call::Read => read(one, &mut [0; 8]),
                Call::Write => write(one, b"x"),
                Call::Accept => accept(one) as isize,
            }
        };
        let (caller, second) = (fiber(body.clone()), fiber(body));
        match round % 3 {
            0 => {}
            1 => await_that("it runs", || begun.load(Ordering::Acquire)),
            _ => await_parked(one, 2),
        }
        let destroyed = if round % 2 == 0 {
            destroy(one)
        } else {
            fiber(move || destroy(one)).join()
        };
        assert_eq!(destroyed, 0);
        // SAFETY: no pointers.
        let taken = unsafe { libc::fcntl(secret, libc::F_DUPFD_CLOEXEC, one) };
        for caller in [caller, second] {
            match caller.join() {
                CLOSED => parked += 1,
                code => {
                    assert_eq!(code, no(libc::EBADF), "round {round}");
                    first += 1;
                }
            }
        }
        assert_eq!(taken, one);
        plain_close(taken);
        if other >= 0 {
            assert_eq!(destroy(other), 0);
        }
    }
    println!("{parked} were told that it is closed, {first} that it is none");
    assert_eq!(plain_recv(secret).as_deref(), Some(&b"stranger"[..]));
}

#[test]
fn destroy_storms_over_fibers_in_read_touch_no_stranger() {
    on_two_workers(
        "destroy_storms_over_fibers_in_read_touch_no_stranger",
        || {
            storm(Call::Read, 1500);
        },
    );
}

#[test]
fn destroy_storms_over_fibers_in_write_touch_no_stranger() {
    on_two_workers(
        "destroy_storms_over_fibers_in_write_touch_no_stranger",
        || {
            storm(Call::Write, 600);
        },
    );
}

#[test]
fn destroy_storms_over_fibers_in_accept_touch_no_stranger() {
    on_two_workers(
        "destroy_storms_over_fibers_in_accept_touch_no_stranger",
        || {
            storm(Call::Accept, 1500);
        },
    );
}

/// A byte, a deadline and a token at the same moment: the reader gets one of
/// them, and a byte that it did not get is still there.
#[test]
fn a_byte_a_deadline_and_a_token_race_and_no_byte_is_lost() {
    on_two_workers(
        "a_byte_a_deadline_and_a_token_race_and_no_byte_is_lost",
        || {
            let mut seen = [0; 3];
            let (one, other) = unix_pair(libc::SOCK_STREAM);
            for round in 0..3000 {
                let token = Token::new();
                token.set_on(one);
                let reader = fiber(move || read(one, &mut [0]));
                if round % 2 == 0 {
                    await_parked(one, 1);
                }
                let firer = fiber(move || token.fire());
                let setter = fiber(move || set_read_deadline(one, 1));
                assert_eq!(write(other, b"a"), 1);
                let told = reader.join();
                firer.join();
                assert_eq!(setter.join(), 0);
                assert_eq!(lift_cancel(one), 0);
                assert_eq!(set_read_deadline(one, NETFD_NO_DEADLINE), 0);
                token.free();
                let at = [1, DEADLINE, CANCELED]
                    .iter()
                    .position(|code| *code == told);
                seen[at.unwrap_or_else(|| panic!("{told}"))] += 1;
                let left = recv(one, &mut [0], libc::MSG_DONTWAIT);
                assert_eq!(
                    left,
                    if told == 1 { no(libc::EAGAIN) } else { 1 },
                    "round {round}"
                );
            }
            println!("{seen:?}");
            assert_eq!((destroy(one), destroy(other)), (0, 0));
        },
    );
}

thread_local! {
    static SHARED: Cell<c_int> = const { Cell::new(0) };
}

#[test]
fn thread_locals_are_the_workers() {
    on_one_worker("thread_locals_are_the_workers", || {
        fiber(|| SHARED.set(7)).join();
        assert_eq!(fiber(|| SHARED.get()).join(), 7);
    });
}

/// What a hang-up brings comes with the last bytes, in one edge: the worker is
/// busy meanwhile.
#[test]
fn the_end_of_a_stream_is_read_after_bytes_that_came_with_it() {
    on_one_worker(
        "the_end_of_a_stream_is_read_after_bytes_that_came_with_it",
        || {
            let (one, other) = tcp_pair();
            let reader = fiber(move || {
                let mut buf = [0; 100];
                [(); 3].map(|()| read(one, &mut buf))
            });
            await_parked(one, 1);
            assert_eq!(write(other, b"a"), 1);
            await_parked(one, 1);
            fiber(move || {
                plain_send(other, b"bc");
                assert_eq!(shutdown(other, libc::SHUT_WR), 0);
            })
            .join();
            assert_eq!(reader.join(), [1, 2, 0]);
            assert_eq!((destroy(one), destroy(other)), (0, 0));
        },
    );
}

/// A TCP connection whose reading end has been read empty.
fn drained_pair() -> (c_int, c_int) {
    let (one, other) = tcp_pair();
    assert_eq!(write(other, b"a"), 1);
    assert_eq!(read(one, &mut [0; 8]), 1);
    (one, other)
}

#[test]
fn what_a_fiber_looked_at_is_there_for_its_next_read() {
    let peeks = fiber(|| {
        let (one, other) = drained_pair();
        go(move || assert_eq!(write(other, b"bc"), 2));
        let looked = recv(one, &mut [0; 8], libc::MSG_PEEK);
        let read = read(one, &mut [0; 8]);
        assert_eq!((destroy(one), destroy(other)), (0, 0));
        (looked, read)
    });
    assert_eq!(peeks.join(), (2, 2));
}

#[test]
fn what_a_fiber_waited_for_is_there_for_its_next_read() {
    let waits = fiber(|| {
        let (one, other) = drained_pair();
        go(move || assert_eq!(write(other, b"bc"), 2));
        let ready = wait(one, NETFD_READABLE, NETFD_NO_DEADLINE);
        let read = read(one, &mut [0; 8]);
        assert_eq!((destroy(one), destroy(other)), (0, 0));
        (ready, read)
    });
    assert_eq!(waits.join(), (NETFD_READABLE, 2));
}

#[test]
fn a_fibers_readv_of_more_buffers_than_go_at_once_finds_what_it_left() {
    let reads = fiber(|| {
        let (one, other) = drained_pair();
        go(move || assert_eq!(write(other, &pattern(4_000)), 4_000));
        let mut got = Vec::new();
        while got.len() < 4_000 {
            let mut buffers = vec![vec![0; 1]; 3_000];
            let n = readv(one, &mut buffers);
            assert!(n > 0, "{n}");
            got.extend(buffers.concat().into_iter().take(n.unsigned_abs()));
        }
        assert_eq!((destroy(one), destroy(other)), (0, 0));
        got
    });
    assert!(reads.join() == pattern(4_000));
}

#[test]
fn fibers_that_wait_take_nothing_from_one_that_reads() {
    let test = "fibers_that_wait_take_nothing_from_one_that_reads";
    on_one_worker(test, || {
        let (one, other) = drained_pair();
        let ends = Arc::new(AtomicBool::new(false));
        let waiters = [(); 3].map(|()| {
            let ends = Arc::clone(&ends);
            fiber(move || {
                while !ends.load(Ordering::Relaxed) {
                    assert_eq!(wait(one, NETFD_READABLE, NETFD_NO_DEADLINE), NETFD_READABLE);
                }
            })
        });
        await_parked(one, 3);
        let reader = fiber(move || [(); 200].map(|()| read(one, &mut [0; 8])));
        await_parked(one, 4);
        for _ in 0..200 {
            await_that("what was sent is read", || queued(one) == 0);
            assert_eq!(write(other, b"b"), 1);
        }
        assert_eq!(reader.join(), [1; 200]);
        ends.store(true, Ordering::Relaxed);
        assert_eq!(write(other, b"b"), 1);
        for waiter in waiters {
            waiter.join();
        }
        assert_eq!((destroy(one), destroy(other)), (0, 0));
    });
}

/// How many bytes there are to be read.
fn queued(fd: c_int) -> c_int {
    let mut bytes = 0;
    // SAFETY: there is room for an int.
    let code = unsafe { libc::ioctl(fd, libc::FIONREAD, &raw mut bytes) };
    assert_eq!(code, 0);
    bytes
}

#[test]
fn a_fiber_that_only_looks_leaves_datagrams_to_those_that_read() {
    for _ in 0..100 {
        let (one, two) = udp_pair();
        let looker = fiber(move || recv(two, &mut [0; 8], libc::MSG_PEEK));
        await_parked(two, 1);
        let readers = [(); 3].map(|()| fiber(move || recv(two, &mut [0; 8], 0)));
        await_parked(two, 4);
        for _ in 0..3 {
            plain_send(one, b"x");
        }
        assert_eq!(readers.map(|reader| reader.join()), [1; 3]);
        // It may have come too late to see one of those.
        plain_send(one, b"x");
        assert_eq!(looker.join(), 1);
        assert_eq!((destroy(one), destroy(two)), (0, 0));
    }
}

/// Each of those who queue for it reads the end.
#[test]
fn the_end_of_a_stream_is_read_by_all_fibers_that_take_turns() {
    let (one, other) = tcp_pair();
    let readers: Vec<_> = (0..6)
        .map(|_| {
            fiber(move || {
                loop {
                    match read(one, &mut [0; 100]) {
                        n if n > 0 => {}
                        n => return n,
                    }
                }
            })
        })
        .collect();
    await_parked(one, 6);
    for _ in 0..20 {
        assert_eq!(write(other, b"abc"), 3);
        await_parked(one, 6);
    }
    assert_eq!(shutdown(other, libc::SHUT_WR), 0);
    for reader in readers {
        assert_eq!(reader.join(), 0);
    }
    assert_eq!((destroy(one), destroy(other)), (0, 0));
}

/// Runs `body` where the first calls of a kind fail, on one worker: the first
/// fiber has none of the library's threads or descriptors yet.
fn where_it_fails(test: &str, inject: &str, code: &'static [c_int]) {
    let options = [
        "-e",
        "trace=clone,clone3,eventfd2,epoll_create1",
        "-e",
        inject,
    ];
    let _ = alone_under_strace(test, &options, || {
        // Of each thread the first clone is made, the harness's and this one.
        spawn(|| ()).join();
        let mut seen = vec![];
        for _ in 0..20 {
            unsafe extern "C" fn nothing(_: *mut c_void) {}
            // SAFETY: it does nothing.
            seen.push(unsafe { netfd_go(Some(nothing), null_mut()) });
        }
        println!("{seen:?}");
        assert!(
            seen.iter().all(|got| *got == 0 || code.contains(got)),
            "{seen:?}"
        );
        assert!(seen.iter().any(|got| *got != 0), "{seen:?}");
        assert_eq!(seen.last(), Some(&0), "{seen:?}");
        assert_eq!(fiber(|| 7).join(), 7);
    });
}

#[test]
fn a_first_fiber_without_an_eventfd_is_told_and_a_later_one_runs() {
    let test = "a_first_fiber_without_an_eventfd_is_told_and_a_later_one_runs";
    where_it_fails(
        test,
        "inject=eventfd2:error=EMFILE:when=1..2",
        &[-libc::EMFILE],
    );
}

#[test]
fn a_first_fiber_without_an_epoll_set_is_told_and_a_later_one_runs() {
    let test = "a_first_fiber_without_an_epoll_set_is_told_and_a_later_one_runs";
    where_it_fails(
        test,
        "inject=epoll_create1:error=ENFILE:when=1..2",
        &[-libc::ENFILE],
    );
}

#[test]
fn a_first_fiber_without_a_thread_is_told_and_a_later_one_runs() {
    let test = "a_first_fiber_without_a_thread_is_told_and_a_later_one_runs";
    where_it_fails(
        test,
        "inject=clone,clone3:error=EAGAIN:when=2..3",
        &[-libc::EAGAIN, -libc::ENOMEM],
    );
}

#[test]
fn a_fiber_without_memory_for_its_stack_is_told_and_a_later_one_runs() {
    let _ = alone(
        "a_fiber_without_memory_for_its_stack_is_told_and_a_later_one_runs",
        || {
            unsafe extern "C" fn waits(gate: *mut c_void) {
                // SAFETY: it is a group.
                let code = unsafe { netfd_group_wait(gate.cast(), NETFD_NO_DEADLINE, null_mut()) };
                assert_eq!(code, 0);
            }
            assert_eq!(fiber(|| 7).join(), 7);
            // SAFETY: no pointers.
            let gate = unsafe { netfd_group_new() };
            // SAFETY: it is a group.
            assert_eq!(unsafe { netfd_group_add(gate, 1) }, 0);
            let mut limit = libc::rlimit {
                rlim_cur: 0,
                rlim_max: 0,
            };
            // SAFETY: it is there to be written.
            assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_AS, &mut limit) }, 0);
            let all = libc::rlimit {
                rlim_cur: 3 << 30,
                ..limit
            };
            // SAFETY: it is there.
            assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &all) }, 0);
            let mut made = 0;
            let code = loop {
                // SAFETY: the group outlives the fiber.
                match unsafe { netfd_go(Some(waits), gate.cast()) } {
                    0 => made += 1,
                    code => break code,
                }
                assert!(made < 100_000, "it has no end");
            };
            assert_eq!(code, -libc::ENOMEM, "after {made}");
            // SAFETY: it is a group.
            assert_eq!(unsafe { netfd_group_done(gate) }, 0);
            await_that("all have ended", || stats().fibers == 0);
            assert_eq!(fiber(|| 7).join(), 7);
            println!("{made} had room");
        },
    );
}

/// netfd_resolve() of a name asks the C library, which blocks.
#[test]
fn names_are_looked_up_without_the_worker() {
    on_one_worker("names_are_looked_up_without_the_worker", || {
        let looked = fiber(|| {
            let worker = thread_id();
            let all = resolve("tcp", "localhost:80", after(5 * SECOND));
            (all, worker == thread_id())
        });
        let (all, same) = looked.join();
        assert!(all.is_ok_and(|all| !all.is_empty()) && same);
    });
}

#[test]
fn a_token_fired_in_a_signal_handler_ends_a_fibers_read() {
    static TOKEN: std::sync::atomic::AtomicPtr<netfd_cancel> =
        std::sync::atomic::AtomicPtr::new(null_mut());
    extern "C" fn fires(_: c_int) {
        // SAFETY: the token lives.
        unsafe { netfd_cancel_fire(TOKEN.load(Ordering::Relaxed)) }
    }
    let token = Token::new();
    TOKEN.store(token.0, Ordering::Relaxed);
    let (one, other) = unix_pair(libc::SOCK_STREAM);
    token.set_on(one);
    let reader = fiber(move || read(one, &mut [0]));
    await_parked(one, 1);
    let handler: extern "C" fn(c_int) = fires;
    // SAFETY: what it calls may be called in a handler.
    unsafe { libc::signal(libc::SIGUSR2, handler as libc::sighandler_t) };
    // SAFETY: no pointers. It runs before this returns.
    assert_eq!(unsafe { libc::raise(libc::SIGUSR2) }, 0);
    assert_eq!(reader.join(), CANCELED);
    token.free();
    assert_eq!((destroy(one), destroy(other)), (0, 0));
}

/// The destroyer is no part of the control function, though the same thread
/// runs both.
#[test]
fn a_fiber_that_destroys_waits_for_anothers_control_function() {
    unsafe extern "C" fn destroyed_meanwhile(
        fd: c_int,
        _: *const libc::c_char,
        _: *const libc::c_char,
        told: *mut c_void,
    ) -> c_int {
        // SAFETY: the test's, which waits for the call.
        let told = unsafe { &*told.cast::<mpsc::Sender<bool>>() }.clone();
        let has_returned = Arc::new(AtomicBool::new(false));
        let returns = Arc::clone(&has_returned);
        go(move || {
            assert_eq!(destroy(fd), 0);
            returns.store(true, Ordering::Relaxed);
        });
        await_that("destroy has begun", || set_deadline(fd, 0) == NETFD_ECLOSED);
        sleep(MS); // the destroyer has its turn, if it does not wait
        let _ = told.send(has_returned.load(Ordering::Relaxed));
        0
    }
    let test = "a_fiber_that_destroys_waits_for_anothers_control_function";
    on_one_worker(test, || {
        let (tell, told) = mpsc::channel::<bool>();
        let listening = fiber(move || {
            let mut config = listen_config();
            config.control = Some(destroyed_meanwhile);
            config.control_arg = (&raw const tell).cast_mut().cast();
            listen("tcp", "127.0.0.1:0", Some(&config))
        });
        assert_eq!(listening.join(), NETFD_ECLOSED);
        assert_eq!(told.recv(), Ok(false), "destroy waits");
    });
}

#[test]
fn any_number_of_fibers_may_park_in_their_control_functions() {
    unsafe extern "C" fn sleeps(
        _: c_int,
        _: *const libc::c_char,
        _: *const libc::c_char,
        _: *mut c_void,
    ) -> c_int {
        sleep(20 * MS);
        0
    }
    let test = "any_number_of_fibers_may_park_in_their_control_functions";
    on_one_worker(test, || {
        let listening: Vec<_> = (0..20)
            .map(|_| {
                fiber(|| {
                    let mut config = listen_config();
                    config.control = Some(sleeps);
                    listen("tcp", "127.0.0.1:0", Some(&config))
                })
            })
            .collect();
        for one in listening {
            let fd = one.join();
            assert!(fd >= 0, "{fd}");
            assert_eq!(destroy(fd), 0);
        }
    });
}
