//! Fibers: where they run, how they park, sleep, yield, wake and end.
//!
//! Specifies netfd_go(), netfd_sleep(), netfd_yield(), netfd_in_fiber() and
//! netfd_block(). Follows Go's `go` statement, `time.Sleep`, `runtime.Gosched`
//! and runtime/proc_test.go. What needs a process of its own is in
//! `tests/c/fiber.c` and `tests/c/fiberxx.cc`.

mod common;

use common::calls::*;
use common::*;
use libc::c_void;
use std::sync::mpsc;

/// What a fiber runs, in a box.
type Body = Box<dyn FnOnce() + Send>;

unsafe extern "C" fn run(arg: *mut c_void) {
    // SAFETY: `go` made it of such a box, for this fiber.
    let body = unsafe { Box::from_raw(arg.cast::<Body>()) };
    body();
}

/// netfd_go() of a closure.
fn go(body: impl FnOnce() + Send + 'static) {
    let body: Body = Box::new(body);
    let arg = Box::into_raw(Box::new(body)).cast();
    // SAFETY: `run` takes such a box.
    assert_eq!(unsafe { netfd_go(Some(run), arg) }, 0, "{}", error_text());
}

/// A fiber whose result is waited for.
struct Fiber<T>(mpsc::Receiver<T>);

/// Starts a fiber.
fn fiber<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> Fiber<T> {
    let (send, result) = mpsc::channel();
    go(move || {
        let _ = send.send(body());
    });
    Fiber(result)
}

impl<T> Fiber<T> {
    /// Its result, for a thread to wait for.
    fn join(self) -> T {
        let result = self.0.recv_timeout(GUARD);
        result.expect("the fiber ends in time, and by itself")
    }
}

/// As `alone_under`, with one worker and no wrapper.
fn on_one_worker(test: &str, body: impl FnOnce()) {
    let _ = alone_under(test, &[], &[("NETFD_WORKERS", "1")], body);
}

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
