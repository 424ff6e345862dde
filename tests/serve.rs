//! The accept loop: a fiber for each connection, and how it ends.
//!
//! Specifies netfd_serve(). Follows Go `(*http.Server).Serve` and `Shutdown`,
//! `TestServerShutdown`, `TestAcceptMaxFds` and `TestServerEmptyBodyRace`'s
//! kin in net/http/serve_test.go.

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
use std::collections::HashMap;
use std::mem::size_of;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex};

/// What serves a connection.
type Handler = Box<dyn Fn(c_int) + Send + Sync>;

unsafe extern "C" fn handle(fd: c_int, arg: *mut c_void) {
    // SAFETY: `serve` made it of such a box, which it never frees.
    let handler = unsafe { &*arg.cast::<Handler>() };
    handler(fd);
}

/// netfd_serve() with a closure.
fn serve(
    listener: c_int,
    config: Option<netfd_serve_config>,
    handler: impl Fn(c_int) + Send + Sync + 'static,
) -> c_int {
    let handler: Handler = Box::new(handler);
    let arg = Box::into_raw(Box::new(handler));
    let cfg = config.as_ref().map_or(null(), std::ptr::from_ref);
    // SAFETY: `handle` takes such a box; the config is NULL or one.
    let code = unsafe { netfd_serve(listener, Some(handle), arg.cast(), cfg) };
    // SAFETY: no handler runs any more.
    drop(unsafe { Box::from_raw(arg) });
    code
}

/// A config of which only the size is set.
fn config() -> netfd_serve_config {
    netfd_serve_config {
        size: size_of::<netfd_serve_config>(),
        ..Default::default()
    }
}

/// A listener with a token, and where it listens.
fn listener_with_token() -> (c_int, Addr, Token) {
    let (fd, at) = listener();
    let token = Token::new();
    token.set_on(fd);
    (fd, at, token)
}

fn client(at: &Addr) -> c_int {
    let fd = socket(libc::AF_INET, libc::SOCK_STREAM);
    assert_eq!(
        connect_by(fd, at, after(5 * SECOND), no_token()),
        0,
        "{}",
        error_text()
    );
    fd
}

/// Sends back what comes, until the end.
fn echo(fd: c_int) {
    let mut buf = [0; 64];
    loop {
        match read(fd, &mut buf) {
            n if n > 0 => assert_eq!(write(fd, &buf[..n as usize]), n),
            _ => return,
        }
    }
}

fn asks(fd: c_int) {
    assert_eq!(write(fd, b"hello"), 5);
    assert_eq!(read_exactly(fd, 5), b"hello");
}

#[test]
fn it_serves_many_connections_and_destroys_them() {
    let (listener, at, token) = listener_with_token();
    let server = spawn(move || serve(listener, None, echo));
    let clients: Vec<_> = (0..50).map(|_| client(&at)).collect();
    for _ in 0..3 {
        clients.iter().for_each(|fd| asks(*fd));
    }
    for fd in &clients {
        assert_eq!(shutdown(*fd, libc::SHUT_WR), 0);
        assert_eq!(read(*fd, &mut [0]), 0); // it is destroyed
        assert_eq!(destroy(*fd), 0);
    }
    token.fire();
    assert_eq!(server.join(), 0);
    assert_eq!(destroy(listener), 0);
    token.free();
}

#[test]
fn handlers_are_fibers_and_are_given_what_was_passed() {
    let (listener, at, token) = listener_with_token();
    let seen = Arc::new(AtomicI32::new(0));
    let saw = Arc::clone(&seen);
    let server = spawn(move || {
        serve(listener, None, move |_| {
            saw.store(1 + i32::from(in_fiber()), Ordering::Release)
        })
    });
    let fd = client(&at);
    assert_eq!(read(fd, &mut [0]), 0);
    assert_eq!(seen.load(Ordering::Acquire), 2);
    token.fire();
    assert_eq!(server.join(), 0);
    assert_eq!((destroy(listener), destroy(fd)), (0, 0));
    token.free();
}

#[test]
fn it_is_called_from_a_fiber_and_holds_no_worker_up() {
    on_one_worker("it_is_called_from_a_fiber_and_holds_no_worker_up", || {
        let (listener, at, token) = listener_with_token();
        let server = fiber(move || serve(listener, None, echo));
        let fd = client(&at);
        asks(fd);
        assert_eq!(destroy(fd), 0);
        token.fire();
        assert_eq!(server.join(), 0);
        assert_eq!(destroy(listener), 0);
    });
}

#[test]
fn bad_arguments_are_told_before_anything_is_accepted() {
    let (listener, _) = listener();
    // SAFETY: NULL is told.
    let none = unsafe { netfd_serve(listener, None, null_mut(), null()) };
    assert_eq!(none, -libc::EFAULT);
    let with = |config: netfd_serve_config| serve(listener, Some(config), |_| ());
    let negative = netfd_serve_config {
        max_connections: -1,
        ..config()
    };
    assert_eq!(with(negative), -libc::EINVAL);
    let huge = netfd_serve_config {
        stack_size: usize::MAX,
        ..config()
    };
    assert_eq!(with(huge), -libc::EINVAL);
    let small = netfd_serve_config {
        size: 0,
        ..config()
    };
    assert_eq!(with(small), -libc::EINVAL);
    assert_eq!(serve(-1, None, |_| ()), -libc::EBADF);
    assert_eq!(destroy(listener), 0);
    let (one, other) = unix_pair(libc::SOCK_STREAM);
    assert_eq!(serve(one, None, |_| ()), -libc::EINVAL); // accept4(2)'s
    assert_eq!((destroy(one), destroy(other)), (0, 0));
}

/// A program that was compiled with an older header, or with a newer one.
#[test]
fn a_shorter_config_and_a_longer_one_of_zeros_are_taken() {
    #[repr(C)]
    struct Longer(netfd_serve_config, [u64; 2]);
    let (listener, _, token) = listener_with_token();
    token.fire();
    let shorter = netfd_serve_config {
        size: 16,
        max_connections: -1,
        ..config()
    };
    assert_eq!(serve(listener, Some(shorter), |_| ()), 0);
    let with = |last| {
        let size = size_of::<Longer>();
        let longer = Longer(netfd_serve_config { size, ..config() }, [0, last]);
        // SAFETY: nothing is accepted; the config is as long as it says.
        unsafe {
            netfd_serve(
                listener,
                Some(handle),
                null_mut(),
                (&raw const longer).cast(),
            )
        }
    };
    assert_eq!(with(0), 0);
    assert!(with(1) < 0);
    assert_eq!(destroy(listener), 0);
    token.free();
}

#[test]
fn a_detached_connection_stays_open_and_whoever_has_its_number_is_not_touched() {
    let (listener, at, token) = listener_with_token();
    let (send, kept) = std::sync::mpsc::sync_channel(1);
    let server = spawn(move || {
        serve(listener, None, move |fd| {
            assert_eq!(detach(fd), fd);
            // Away with it, and its number to somebody else.
            // SAFETY: no pointers.
            let moved = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 500) };
            let (one, other) = plain_pair(libc::SOCK_STREAM);
            // SAFETY: no pointers.
            assert_eq!(unsafe { libc::dup2(one, fd) }, fd);
            plain_close(one);
            assert_eq!(attach(fd), fd);
            send.send((fd, other, moved)).expect("somebody hears");
        })
    });
    let fd = client(&at);
    let (stranger, other, moved) = kept.recv_timeout(GUARD).expect("it is served");
    token.fire();
    assert_eq!(server.join(), 0);
    plain_send(other, b"s");
    assert_eq!(read_exactly(stranger, 1), b"s");
    plain_send(moved, b"m");
    assert_eq!(read_exactly(fd, 1), b"m");
    assert_eq!(
        (destroy(stranger), destroy(fd), destroy(listener)),
        (0, 0, 0)
    );
    plain_close(other);
    plain_close(moved);
    token.free();
}

#[test]
fn a_handler_that_destroys_its_connection_itself_leaves_the_number_alone() {
    let (listener, at, token) = listener_with_token();
    let (send, kept) = std::sync::mpsc::sync_channel(1);
    let server = spawn(move || {
        let config = netfd_serve_config {
            drain_timeout: -1,
            ..config()
        };
        serve(listener, Some(config), move |fd| {
            let (one, other) = plain_pair(libc::SOCK_STREAM);
            assert_eq!(destroy(fd), 0);
            // SAFETY: no pointers.
            assert_eq!(unsafe { libc::dup2(one, fd) }, fd);
            plain_close(one);
            assert_eq!(attach(fd), fd);
            send.send((fd, other)).expect("somebody hears");
        })
    });
    let fd = client(&at);
    let (stranger, other) = kept.recv_timeout(GUARD).expect("it is served");
    token.fire();
    assert_eq!(server.join(), 0);
    plain_send(other, b"s");
    assert_eq!(read_exactly(stranger, 1), b"s");
    assert_eq!(
        (destroy(stranger), destroy(fd), destroy(listener)),
        (0, 0, 0)
    );
    plain_close(other);
    token.free();
}

#[test]
fn without_a_drain_timeout_it_waits_for_the_last_handler() {
    let (listener, at, token) = listener_with_token();
    let server = spawn(move || serve(listener, None, echo));
    let fd = client(&at);
    asks(fd);
    token.fire();
    sleep(30 * MS);
    assert!(!server.is_finished());
    asks(fd); // the listener's token is not the connection's
    assert_eq!(destroy(fd), 0);
    assert_eq!(server.join(), 0);
    assert_eq!(destroy(listener), 0);
    token.free();
}

/// Serves two connections, of which one is idle, with `drain_timeout`, and
/// fires. Returns how long it took, and what the handler's read said.
fn drain(drain_timeout: i64) -> (i64, isize) {
    let (listener, at, token) = listener_with_token();
    let config = netfd_serve_config {
        drain_timeout,
        ..config()
    };
    let told = Arc::new(Mutex::new(0));
    let tell = Arc::clone(&told);
    let server = spawn(move || {
        serve(listener, Some(config), move |fd| {
            assert_eq!(read(fd, &mut [0]), 1);
            *tell.lock().expect("whole") = read(fd, &mut [0]);
        })
    });
    let fd = client(&at);
    assert_eq!(write(fd, b"a"), 1);
    await_that("it is served", || stats().fibers > 0);
    sleep(5 * MS);
    let begun = now();
    token.fire();
    assert_eq!(server.join(), 0);
    let took = now() - begun;
    assert_eq!(read(fd, &mut [0]), 0);
    assert_eq!((destroy(fd), destroy(listener)), (0, 0));
    token.free();
    let told = *told.lock().expect("whole");
    (took, told)
}

#[test]
fn after_the_drain_timeout_what_is_left_is_destroyed() {
    let (took, told) = drain(50 * MS);
    assert!(took >= 50 * MS, "{took}");
    assert_eq!(told, CLOSED);
}

#[test]
fn a_negative_drain_timeout_destroys_at_once() {
    let (took, told) = drain(-1);
    assert!(took < 5 * SECOND, "{took}");
    assert_eq!(told, CLOSED);
}

#[test]
fn a_listener_destroyed_ends_the_connections_and_tells_after_the_last() {
    let (listener, at) = listener();
    let running = Arc::new(AtomicI32::new(0));
    let counts = Arc::clone(&running);
    let server = spawn(move || {
        serve(listener, None, move |fd| {
            counts.fetch_add(1, Ordering::AcqRel);
            assert_eq!(read(fd, &mut [0]), CLOSED);
            sleep(20 * MS);
            counts.fetch_sub(1, Ordering::AcqRel);
        })
    });
    let clients: Vec<_> = (0..5).map(|_| client(&at)).collect();
    await_that("all are served", || running.load(Ordering::Acquire) == 5);
    assert_eq!(destroy(listener), 0);
    assert_eq!(server.join(), NETFD_ECLOSED);
    assert_eq!(running.load(Ordering::Acquire), 0);
    clients
        .into_iter()
        .for_each(|fd| assert_eq!(destroy(fd), 0));
}

#[test]
fn a_listener_destroyed_by_a_handler_ends_it() {
    let (listener, at) = listener();
    let server = spawn(move || serve(listener, None, move |_| assert_eq!(destroy(listener), 0)));
    let fd = client(&at);
    assert_eq!(server.join(), NETFD_ECLOSED);
    assert_eq!(destroy(fd), 0);
}

#[test]
fn a_listener_destroyed_while_it_drains_does_no_harm() {
    let (listener, at, token) = listener_with_token();
    let server = spawn(move || serve(listener, None, echo));
    let fd = client(&at);
    asks(fd);
    token.fire();
    sleep(5 * MS);
    assert_eq!(destroy(listener), 0);
    asks(fd);
    assert_eq!(destroy(fd), 0);
    assert_eq!(server.join(), 0);
    token.free();
}

#[test]
fn the_listeners_read_deadline_ends_it() {
    let (listener, _) = listener();
    assert_eq!(set_read_deadline(listener, after(10 * MS)), 0);
    assert_eq!(serve(listener, None, |_| ()), NETFD_EDEADLINE);
    assert_eq!(destroy(listener), 0);
}

#[test]
fn no_more_handlers_run_at_once_than_max_connections_says() {
    let (listener, at, token) = listener_with_token();
    let (now, most) = (Arc::new(AtomicI32::new(0)), Arc::new(AtomicI32::new(0)));
    let (running, highest) = (Arc::clone(&now), Arc::clone(&most));
    let server = spawn(move || {
        let config = netfd_serve_config {
            max_connections: 3,
            ..config()
        };
        serve(listener, Some(config), move |fd| {
            let before = running.fetch_add(1, Ordering::AcqRel);
            highest.fetch_max(before + 1, Ordering::AcqRel);
            echo(fd);
            running.fetch_sub(1, Ordering::AcqRel);
        })
    });
    let clients: Vec<_> = (0..12).map(|_| client(&at)).collect();
    await_that("three are served", || now.load(Ordering::Acquire) == 3);
    for fd in clients {
        asks(fd);
        assert_eq!(destroy(fd), 0);
    }
    token.fire();
    assert_eq!(server.join(), 0);
    assert_eq!(most.load(Ordering::Acquire), 3);
    assert_eq!(destroy(listener), 0);
    token.free();
}

#[test]
fn the_token_ends_it_while_it_waits_for_room() {
    let (listener, at, token) = listener_with_token();
    let server = spawn(move || {
        let config = netfd_serve_config {
            max_connections: 1,
            drain_timeout: -1,
            ..config()
        };
        serve(listener, Some(config), echo)
    });
    let fd = client(&at);
    asks(fd);
    token.fire();
    assert_eq!(server.join(), 0);
    assert_eq!((destroy(fd), destroy(listener)), (0, 0));
    token.free();
}

/// Go's TestAcceptMaxFds: it goes on when there are descriptors again.
#[test]
fn it_rests_while_there_is_no_descriptor_and_then_goes_on() {
    on_one_worker(
        "it_rests_while_there_is_no_descriptor_and_then_goes_on",
        || {
            let (listener, at, token) = listener_with_token();
            let server = spawn(move || serve(listener, None, echo));
            let first = client(&at);
            asks(first);
            await_parked(listener, 1);
            let second = socket(libc::AF_INET, libc::SOCK_STREAM);
            limit_fds(open_fds() as u64 + 3);
            let all = use_up_fds();
            assert_eq!(connect(second, &at), 0);
            asks(first);
            let begun = thread_cpu();
            sleep(100 * MS);
            assert!(thread_cpu() - begun < 50 * MS, "it spins");
            drop(all);
            asks(second);
            token.fire();
            assert_eq!((destroy(first), destroy(second)), (0, 0));
            assert_eq!(server.join(), 0);
        },
    );
}

/// The processor time that the process has used.
fn thread_cpu() -> i64 {
    let mut used = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let clock = libc::CLOCK_PROCESS_CPUTIME_ID;
    // SAFETY: `used` is there to be written.
    let told = unsafe { libc::clock_gettime(clock, &mut used) };
    assert_eq!(told, 0);
    used.tv_sec * SECOND + used.tv_nsec
}

#[test]
fn the_token_ends_it_while_it_rests() {
    on_one_worker("the_token_ends_it_while_it_rests", || {
        let (listener, at, token) = listener_with_token();
        let server = spawn(move || serve(listener, None, echo));
        let first = client(&at);
        asks(first);
        let second = socket(libc::AF_INET, libc::SOCK_STREAM);
        limit_fds(open_fds() as u64 + 3);
        let all = use_up_fds();
        assert_eq!(connect(second, &at), 0);
        sleep(400 * MS); // its rests are long by now
        let begun = now();
        token.fire();
        assert_eq!(destroy(first), 0);
        assert_eq!(server.join(), 0);
        println!("{} ns", now() - begun);
        drop(all);
    });
}

#[test]
fn two_servers_serve_two_listeners_at_once() {
    let (one, at_one, token_one) = listener_with_token();
    let (two, at_two, token_two) = listener_with_token();
    let negative = netfd_serve_config {
        drain_timeout: -1,
        ..config()
    };
    let first = spawn(move || serve(one, Some(negative), echo));
    let second = spawn(move || serve(two, None, echo));
    let (to_one, to_two) = (client(&at_one), client(&at_two));
    asks(to_one);
    asks(to_two);
    // What is left is destroyed of the first one's only.
    token_one.fire();
    assert_eq!(first.join(), 0);
    asks(to_two);
    token_two.fire();
    assert_eq!((destroy(to_one), destroy(to_two)), (0, 0));
    assert_eq!(second.join(), 0);
    assert_eq!((destroy(one), destroy(two)), (0, 0));
    token_one.free();
    token_two.free();
}

#[test]
fn two_servers_share_one_listener() {
    let (listener, at, token) = listener_with_token();
    let servers: Vec<_> = (0..2)
        .map(|_| spawn(move || serve(listener, None, echo)))
        .collect();
    for _ in 0..20 {
        let fd = client(&at);
        asks(fd);
        assert_eq!(destroy(fd), 0);
    }
    token.fire();
    servers
        .into_iter()
        .for_each(|one| assert_eq!(one.join(), 0));
    assert_eq!(destroy(listener), 0);
    token.free();
}

#[test]
fn a_handler_has_the_stack_that_was_asked_for() {
    #[inline(never)]
    fn deep(left: usize) -> usize {
        let block = std::hint::black_box([left as u8; 4096]);
        if left == 0 {
            0
        } else {
            deep(left - 1) + usize::from(block[left % 4096] > 0)
        }
    }
    let (listener, at, token) = listener_with_token();
    let config = netfd_serve_config {
        stack_size: 8 << 20,
        ..config()
    };
    let server = spawn(move || {
        serve(listener, Some(config), |fd| {
            assert!(deep(1000) > 0); // 4 MiB and more
            echo(fd);
        })
    });
    let fd = client(&at);
    asks(fd);
    assert_eq!(destroy(fd), 0);
    token.fire();
    assert_eq!(server.join(), 0);
    assert_eq!(destroy(listener), 0);
    token.free();
}

/// A fiber goes to the worker that has the fewest, so that they differ by one
/// where all stay; half of them end meanwhile, those of one worker more than
/// those of the other.
#[test]
fn a_thousand_connections_balance_over_the_workers() {
    on_two_workers("a_thousand_connections_balance_over_the_workers", || {
        let (listener, at, token) = listener_with_token();
        let threads = Arc::new(Mutex::new(HashMap::new()));
        let noted = Arc::clone(&threads);
        let server = fiber(move || {
            serve(listener, None, move |fd| {
                *noted.lock().expect("whole").entry(thread_id()).or_insert(0) += 1;
                echo(fd);
            })
        });
        let clients: Vec<_> = (0..1000).map(|_| client(&at)).collect();
        clients.iter().for_each(|fd| asks(*fd));
        let counts: Vec<i32> = threads.lock().expect("whole").values().copied().collect();
        println!("{counts:?}");
        assert_eq!(counts.len(), 2);
        assert!(
            counts.iter().all(|count| (400..=600).contains(count)),
            "{counts:?}"
        );
        clients
            .into_iter()
            .for_each(|fd| assert_eq!(destroy(fd), 0));
        token.fire();
        assert_eq!(server.join(), 0);
    });
}

/// Servers come and go, each with connections that are being served: nothing
/// is left open.
#[test]
fn servers_that_come_and_go_leave_no_descriptor_open() {
    on_two_workers("servers_that_come_and_go_leave_no_descriptor_open", || {
        let mut before = 0;
        for round in 0..200 {
            let (listener, at, token) = listener_with_token();
            let config = netfd_serve_config {
                drain_timeout: [-1, 1, 0][round % 3],
                ..config()
            };
            let server = fiber(move || serve(listener, Some(config), echo));
            let clients: Vec<_> = (0..5).map(|_| client(&at)).collect();
            if round % 2 == 0 {
                asks(clients[0]);
            }
            let by_token = round % 5 != 0;
            if by_token {
                token.fire()
            } else {
                assert_eq!(destroy(listener), 0)
            }
            clients.iter().for_each(|fd| assert_eq!(destroy(*fd), 0));
            assert_eq!(server.join(), if by_token { 0 } else { NETFD_ECLOSED });
            if by_token {
                assert_eq!(destroy(listener), 0);
            }
            token.free();
            if round == 50 {
                before = open_fds();
            }
        }
        assert_eq!(open_fds(), before);
    });
}

#[test]
fn a_signal_ends_it_in_a_thread_that_wants_to_be_told() {
    extern "C" fn nothing(_: c_int) {}
    let (listener, _) = listener();
    let nothing: extern "C" fn(c_int) = nothing;
    // SAFETY: the handler does nothing.
    unsafe { libc::signal(libc::SIGUSR1, nothing as libc::sighandler_t) };
    let (send, thread) = std::sync::mpsc::channel();
    let server = spawn(move || {
        // SAFETY: no pointers.
        assert_eq!(unsafe { netfd_set_interruptible(1) }, 0);
        // SAFETY: it takes nothing.
        send.send(unsafe { libc::pthread_self() })
            .expect("somebody hears");
        serve(listener, None, |_| ())
    });
    let thread = thread.recv_timeout(GUARD).expect("it begins");
    await_parked(listener, 1);
    // SAFETY: the thread is in its call.
    assert_eq!(unsafe { libc::pthread_kill(thread, libc::SIGUSR1) }, 0);
    assert_eq!(server.join(), -libc::EINTR);
    assert_eq!(destroy(listener), 0);
}
