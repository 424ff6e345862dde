//! netfd_destroy: it evicts whoever is inside, closes once, and returns when
//! close(2) has run. After that the number is nobody's until the library
//! attaches it again.
//!
//! Follows Go `TestCloseRead`, `TestCloseUnblocksRead`,
//! `TestListenCloseListen`, and close(2). A second caller waits for the first, which Go's does not.

mod common;

use common::*;
use libc::{c_int, socklen_t, ssize_t};
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

const CLOSED: ssize_t = NETFD_ECLOSED as ssize_t;
const BADF: c_int = -libc::EBADF;

/// Parks `n` callers on `fd`, destroys it, and returns what they were told.
fn told(fd: c_int, n: usize, call: fn(c_int) -> ssize_t) -> Vec<ssize_t> {
    let callers: Vec<_> = (0..n).map(|_| spawn(move || call(fd))).collect();
    await_parked(fd, n);
    assert_eq!(destroy(fd), 0);
    callers.into_iter().map(Task::join).collect()
}

/// Destroys what the test needs no more.
fn end(fd: c_int) {
    assert_eq!(destroy(fd), 0);
}

fn read_some(fd: c_int) -> ssize_t {
    read(fd, &mut [0; 16])
}

fn write_much(fd: c_int) -> ssize_t {
    write(fd, &[7; 1 << 20])
}

fn accept_one(fd: c_int) -> ssize_t {
    accept(fd) as ssize_t
}

fn wait_for_input(fd: c_int) -> ssize_t {
    let code = wait(fd, NETFD_READABLE, NETFD_NO_DEADLINE);
    code as ssize_t
}

fn receive(fd: c_int) -> ssize_t {
    let mut buf = [0u8; 16];
    // SAFETY: the buffer is as long as said, NULL is allowed.
    unsafe { netfd_recvfrom(fd, buf.as_mut_ptr().cast(), 16, 0, null_mut(), null_mut()) }
}

#[test]
fn destroy_wakes_a_parked_reader() {
    let (fd, peer) = tcp_pair();
    assert_eq!(told(fd, 1, read_some), [CLOSED]);
    destroy(peer);
}

#[test]
fn destroy_wakes_a_parked_acceptor() {
    let (fd, _) = listener();
    assert_eq!(told(fd, 1, accept_one), [CLOSED]);
}

#[test]
fn destroy_wakes_a_parked_connecter() {
    let (listener, at, clients) = full_listener("tcp", "127.0.0.1:0");
    let fd = socket(libc::AF_INET, libc::SOCK_STREAM);
    let caller = spawn(move || connect(fd, &at));
    await_parked(fd, 1);
    assert_eq!(destroy(fd), 0);
    assert_eq!(caller.join(), NETFD_ECLOSED);
    clients.into_iter().chain([listener]).for_each(end);
}

#[test]
fn destroy_wakes_a_connecter_that_waits_for_a_unix_backlog() {
    let name = abstract_name("destroy-backlog");
    let (listener, at, clients) = full_listener("unix", &name);
    let fd = socket(libc::AF_UNIX, libc::SOCK_STREAM);
    let caller = spawn(move || connect(fd, &at));
    // Between two attempts it is not parked, so the poll for it may miss it.
    await_that("the connecter pauses", || !parked_lines(fd).is_empty());
    assert_eq!(destroy(fd), 0);
    assert_eq!(caller.join(), NETFD_ECLOSED);
    clients.into_iter().chain([listener]).for_each(end);
}

#[test]
fn destroy_wakes_a_parked_writer() {
    let (fd, peer) = unix_pair(libc::SOCK_STREAM); // TCP may find room later
    fill(fd);
    assert_eq!(told(fd, 1, write_much), [CLOSED]);
    destroy(peer);
}

#[test]
fn a_write_that_destroy_stopped_tells_how_much_had_gone() {
    let (fd, peer) = unix_pair(libc::SOCK_STREAM);
    let caller = spawn(move || (write(fd, &[7; 8 << 20]), last_error().code));
    await_parked(fd, 1);
    assert_eq!(destroy(fd), 0);
    let (sent, code) = caller.join();
    assert!(sent > 0, "{sent}");
    assert_eq!(code, NETFD_ECLOSED);
    assert_eq!(read_exactly(peer, sent as usize).len(), sent as usize);
    assert_eq!(read_some(peer), 0, "and not a byte more");
    destroy(peer);
}

#[test]
fn destroy_wakes_all_who_receive_datagrams() {
    let (fd, peer) = unix_pair(libc::SOCK_DGRAM);
    assert_eq!(told(fd, 5, receive), [CLOSED; 5]);
    destroy(peer);
}

#[test]
fn destroy_wakes_all_who_wait() {
    let (fd, peer) = tcp_pair();
    assert_eq!(told(fd, 5, wait_for_input), [CLOSED; 5]);
    destroy(peer);
}

#[test]
fn destroy_wakes_the_readers_that_queue() {
    let (fd, peer) = tcp_pair();
    assert_eq!(told(fd, 5, read_some), [CLOSED; 5]);
    destroy(peer);
}

#[test]
fn destroy_wakes_the_writers_that_queue() {
    let (fd, peer) = unix_pair(libc::SOCK_STREAM); // TCP may find room later
    fill(fd);
    assert_eq!(told(fd, 5, write_much), [CLOSED; 5]);
    destroy(peer);
}

#[test]
fn destroy_wakes_the_acceptors_that_queue() {
    let (fd, _) = listener();
    assert_eq!(told(fd, 5, accept_one), [CLOSED; 5]);
}

#[test]
fn destroy_wakes_readers_writers_and_waiters_at_once() {
    let (fd, peer) = unix_pair(libc::SOCK_STREAM); // TCP may find room later
    fill(fd);
    let calls: [fn(c_int) -> ssize_t; 3] = [read_some, write_much, wait_for_input];
    let callers: Vec<_> = calls.map(|call| spawn(move || call(fd))).into();
    await_parked(fd, 3);
    assert_eq!(destroy(fd), 0);
    for caller in callers {
        assert_eq!(caller.join(), CLOSED);
    }
    destroy(peer);
}

#[test]
fn what_preceded_destroy_is_visible_to_those_it_wakes() {
    let (fd, peer) = unix_pair(libc::SOCK_STREAM);
    let note = Arc::new(AtomicU64::new(0));
    let theirs = note.clone();
    let caller = spawn(move || (read_some(fd), theirs.load(Ordering::Relaxed)));
    await_parked(fd, 1);
    note.store(42, Ordering::Relaxed);
    assert_eq!(destroy(fd), 0);
    assert_eq!(caller.join(), (CLOSED, 42));
    destroy(peer);
}

#[test]
fn the_number_is_closed_when_destroy_returns() {
    // Alone: a fork(2) by another test would hold a copy until its exec.
    alone("the_number_is_closed_when_destroy_returns", || {
        // Go's TestListenCloseListen, #10527: the peer sees the end at once, not
        // some time later.
        for _ in 0..50 {
            let (fd, peer) = plain_pair(libc::SOCK_STREAM);
            assert_eq!(attach(fd), fd);
            let caller = spawn(move || read_some(fd));
            await_parked(fd, 1);
            assert_eq!(destroy(fd), 0);
            assert_eq!(plain_recv(peer), Some(vec![]), "the end of the stream");
            assert_eq!(caller.join(), CLOSED);
            plain_close(peer);
        }
    });
}

#[test]
fn the_number_is_free_when_destroy_returns() {
    alone("the_number_is_free_when_destroy_returns", || {
        let (fd, peer) = tcp_pair();
        let caller = spawn(move || read_some(fd));
        await_parked(fd, 1);
        assert_eq!(destroy(fd), 0);
        assert!(!is_open(fd));
        assert_eq!(caller.join(), CLOSED);
        destroy(peer);
    });
}

#[test]
fn the_port_can_be_bound_when_destroy_returns() {
    // Alone: a fork(2) by another test would hold a copy until its exec.
    alone("the_port_can_be_bound_when_destroy_returns", || {
        let (fd, at) = listener();
        assert_eq!(told(fd, 3, accept_one), [CLOSED; 3]);
        // Without SO_REUSEADDR, so that any listener left would be in the way.
        let again = socket(libc::AF_INET, libc::SOCK_STREAM);
        // SAFETY: the address is as long as said.
        let bound = unsafe { libc::bind(again, at.ptr(), at.len) };
        assert_eq!(bound, 0, "{}", std::io::Error::last_os_error());
        destroy(again);
    });
}

/// Lets close(2) of a connection take a second: there are bytes that the peer
/// does not take, and SO_LINGER.
fn linger_for_a_second(fd: c_int) {
    fill(fd);
    let len = socklen_t::try_from(size_of::<libc::linger>()).expect("eight");
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 1,
    };
    // SAFETY: the option is as long as said.
    let set = unsafe {
        libc::setsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            len,
        )
    };
    assert_eq!(set, 0);
}

#[test]
fn a_second_destroy_waits_for_the_first_one_s_close() {
    alone("a_second_destroy_waits_for_the_first_one_s_close", || {
        let (fd, peer) = tcp_pair();
        linger_for_a_second(fd);
        let begun = Instant::now();
        let first = spawn(move || destroy(fd));
        await_that("destroy has begun", || {
            (set_deadline(fd, 0)) == NETFD_ECLOSED
        });
        assert_eq!(destroy(fd), NETFD_ECLOSED);
        assert!(begun.elapsed().as_millis() >= 900, "{:?}", begun.elapsed());
        assert_eq!(first.join(), 0);
        destroy(peer);
    });
}

#[test]
fn a_caller_that_is_evicted_does_not_wait_for_a_close_that_lingers() {
    alone(
        "a_caller_that_is_evicted_does_not_wait_for_a_close_that_lingers",
        || {
            let (fd, peer) = tcp_pair();
            linger_for_a_second(fd);
            let caller = spawn(move || (read_some(fd), Instant::now()));
            await_parked(fd, 1);
            assert_eq!(destroy(fd), 0);
            let closed = Instant::now();
            let (told, at) = caller.join();
            assert_eq!(told, CLOSED);
            assert!(
                (closed - at).as_millis() >= 500,
                "it was there when close(2) was"
            );
            destroy(peer);
        },
    );
}

#[test]
fn a_call_that_begins_during_destroy_gets_eclosed_at_once() {
    alone(
        "a_call_that_begins_during_destroy_gets_eclosed_at_once",
        || {
            let (fd, peer) = tcp_pair();
            linger_for_a_second(fd);
            let first = spawn(move || destroy(fd));
            await_that("destroy has begun", || set_deadline(fd, 0) == NETFD_ECLOSED);
            assert_eq!(read_some(fd), CLOSED);
            assert_eq!(write_much(fd), CLOSED);
            assert!(!first.is_finished());
            assert_eq!(first.join(), 0);
            destroy(peer);
        },
    );
}

#[test]
fn of_many_destroys_one_closes() {
    let (fd, peer) = tcp_pair();
    let caller = spawn(move || read_some(fd));
    await_parked(fd, 1);
    let destroyers: Vec<_> = (0..8).map(|_| spawn(move || destroy(fd))).collect();
    let mut codes: Vec<_> = destroyers.into_iter().map(Task::join).collect();
    codes.sort_unstable();
    assert_eq!(codes[7], 0);
    assert_eq!(codes[..7], [NETFD_ECLOSED; 7]);
    assert_eq!(caller.join(), CLOSED);
    destroy(peer);
}

#[test]
fn destroy_of_a_number_never_attached_gives_ebadf() {
    // In a process where no other test has used the number.
    alone("destroy_of_a_number_never_attached_gives_ebadf", || {
        let (fd, _peer) = plain_pair(libc::SOCK_STREAM);
        for (name, code) in every_call(fd) {
            assert_eq!(code, i64::from(BADF), "{name}");
        }
        assert!(is_open(fd), "and closes nothing");
    });
}

#[test]
fn destroy_of_what_is_no_descriptor_gives_ebadf() {
    for fd in [-1, c_int::MIN, 1 << 20, 1 << 25, c_int::MAX] {
        assert_eq!(destroy(fd), BADF, "{fd}");
    }
}

/// What each call says of `fd`.
fn every_call(fd: c_int) -> Vec<(&'static str, i64)> {
    let mut byte = [0u8; 1];
    let buf = byte.as_mut_ptr().cast();
    let at = Addr::parse("tcp", "127.0.0.1:9");
    let mut room = Addr::room();
    let mut len = room.len;
    let (sa, salen) = (room.ptr_mut(), &raw mut len);
    let mut iov = libc::iovec {
        iov_base: buf,
        iov_len: 1,
    };
    // SAFETY: an all-zero msghdr is an empty one.
    let mut msg: libc::msghdr = unsafe { std::mem::zeroed() };
    msg.msg_iov = &raw mut iov;
    msg.msg_iovlen = 1;
    let mut fds = [0; 1];
    let mut came = 0;
    let mut said = Vec::new();
    let mut say = |name, code: i64| said.push((name, code));
    // SAFETY: here and below, each buffer, address and header is as long as
    // said and lives over the call.
    say("read", unsafe { netfd_read(fd, buf, 1) } as i64);
    // SAFETY: as above.
    say("read of nothing", unsafe { netfd_read(fd, buf, 0) } as i64);
    // SAFETY: as above.
    say("write", unsafe { netfd_write(fd, buf, 1) } as i64);
    // SAFETY: as above.
    say("readv", unsafe { netfd_readv(fd, &iov, 1) } as i64);
    // SAFETY: as above.
    say("writev", unsafe { netfd_writev(fd, &iov, 1) } as i64);
    // SAFETY: as above.
    let code = unsafe { netfd_recvfrom(fd, buf, 1, 0, null_mut(), null_mut()) };
    say("recvfrom", code as i64);
    // SAFETY: as above.
    let code = unsafe { netfd_sendto(fd, buf, 1, 0, null(), 0) };
    say("sendto", code as i64);
    // SAFETY: as above.
    say("recvmsg", unsafe { netfd_recvmsg(fd, &mut msg, 0) } as i64);
    // SAFETY: as above.
    say("sendmsg", unsafe { netfd_sendmsg(fd, &msg, 0) } as i64);
    // SAFETY: as above.
    let code = unsafe { netfd_send_fds(fd, [0].as_ptr(), 1, buf, 1) };
    say("send_fds", code as i64);
    // SAFETY: as above.
    let code = unsafe { netfd_recv_fds(fd, fds.as_mut_ptr(), 1, &mut came, buf, 1) };
    say("recv_fds", code as i64);
    say("accept", i64::from(accept(fd)));
    say("connect", i64::from(connect(fd, &at)));
    // SAFETY: as above.
    let code = unsafe { netfd_listen_stream(fd, null(), 0, 0) };
    say("listen_stream", i64::from(code));
    // SAFETY: as above.
    let code = unsafe { netfd_shutdown(fd, libc::SHUT_RDWR) };
    say("shutdown", i64::from(code));
    let code = wait(fd, NETFD_READABLE, -1);
    say("wait", i64::from(code));
    let code = set_deadline(fd, 0);
    say("set_deadline", i64::from(code));
    let code = set_read_deadline(fd, 0);
    say("set_read_deadline", i64::from(code));
    // SAFETY: as above.
    let code = unsafe { netfd_set_write_deadline(fd, 0) };
    say("set_write_deadline", i64::from(code));
    // SAFETY: as above.
    let code = unsafe { netfd_set_cancel(fd, null_mut()) };
    say("set_cancel", i64::from(code));
    // SAFETY: as above.
    let code = unsafe { netfd_peer_cred(fd, null_mut(), null_mut(), null_mut()) };
    say("peer_cred", i64::from(code));
    // SAFETY: as above.
    let code = unsafe { netfd_local_addr(fd, sa, salen) };
    say("local_addr", i64::from(code));
    // SAFETY: as above.
    let code = unsafe { netfd_remote_addr(fd, sa, salen) };
    say("remote_addr", i64::from(code));
    say("detach", i64::from(detach(fd)));
    say("destroy", i64::from(destroy(fd)));
    said
}

#[test]
fn every_call_that_begins_after_destroy_gets_eclosed() {
    alone("every_call_that_begins_after_destroy_gets_eclosed", || {
        let (fd, peer) = unix_pair(libc::SOCK_STREAM);
        assert_eq!(destroy(fd), 0);
        for (name, code) in every_call(fd) {
            assert_eq!(code, i64::from(NETFD_ECLOSED), "{name}");
        }
        destroy(peer);
    });
}

#[test]
fn a_stranger_that_got_the_number_is_not_touched() {
    alone("a_stranger_that_got_the_number_is_not_touched", || {
        let (fd, peer) = unix_pair(libc::SOCK_STREAM);
        let (stranger, far) = plain_pair(libc::SOCK_STREAM);
        plain_send(far, b"secret");
        assert_eq!(destroy(fd), 0);
        // The kernel's choice: the lowest number that is free.
        // SAFETY: no pointers.
        assert_eq!(unsafe { libc::dup(stranger) }, fd);
        plain_close(stranger);
        for (name, code) in every_call(fd) {
            assert_eq!(code, i64::from(NETFD_ECLOSED), "{name}");
        }
        assert_eq!(plain_recv(far), None, "nothing sent, not shut down");
        assert_eq!(plain_recv(fd).as_deref(), Some(&b"secret"[..]));
        destroy(peer);
    });
}

#[test]
fn a_file_that_got_the_number_is_not_touched() {
    alone("a_file_that_got_the_number_is_not_touched", || {
        let (fd, peer) = unix_pair(libc::SOCK_STREAM);
        assert_eq!(destroy(fd), 0);
        // SAFETY: the path ends with a NUL.
        let file = unsafe { libc::open(c"/dev/zero".as_ptr(), libc::O_RDWR) };
        assert_eq!(file, fd);
        for (name, code) in every_call(fd) {
            assert_eq!(code, i64::from(NETFD_ECLOSED), "{name}");
        }
        assert!(is_open(fd));
        destroy(peer);
    });
}

#[test]
fn every_call_on_a_number_never_attached_gets_ebadf() {
    for fd in [-1, c_int::MIN, c_int::MAX, 1 << 20] {
        for (name, code) in every_call(fd) {
            assert_eq!(code, i64::from(BADF), "{name} of {fd}");
        }
    }
}

#[test]
fn a_copy_made_by_dup_lives_on() {
    let (fd, peer) = tcp_pair();
    // SAFETY: no pointers.
    let copy = unsafe { libc::dup(fd) };
    assert!(copy >= 0);
    assert_eq!(told(fd, 1, read_some), [CLOSED]);
    assert_eq!(attach(copy), copy);
    assert_eq!(write(copy, b"still here"), 10);
    assert_eq!(read_exactly(peer, 10), b"still here");
    assert_eq!(write(peer, b"so am I"), 7);
    assert_eq!(read_exactly(copy, 7), b"so am I");
    destroy(copy);
    destroy(peer);
}

#[test]
fn a_copy_of_a_listener_still_accepts() {
    let (fd, at) = listener();
    // SAFETY: no pointers.
    let copy = unsafe { libc::dup(fd) };
    assert_eq!(told(fd, 1, accept_one), [CLOSED]);
    assert_eq!(attach(copy), copy);
    let client = socket(libc::AF_INET, libc::SOCK_STREAM);
    assert_eq!(connect(client, &at), 0, "{}", error_text());
    let server = accept(copy);
    assert!(server >= 0, "{}", error_text());
    for fd in [server, client, copy] {
        assert_eq!(destroy(fd), 0);
    }
}

#[test]
fn a_copy_in_another_process_lives_on() {
    let (fd, peer) = unix_pair(libc::SOCK_STREAM);
    // SAFETY: no pointers.
    let copy = unsafe { libc::dup(fd) };
    // SAFETY: the copy is ours alone. cat(1) wants it to block.
    let stdin = unsafe { OwnedFd::from_raw_fd(copy) };
    // SAFETY: no pointers.
    assert_eq!(unsafe { libc::fcntl(copy, libc::F_SETFL, 0) }, 0);
    let cat = std::process::Command::new("cat")
        .stdin(stdin)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("cat(1) runs");
    assert_eq!(destroy(fd), 0);
    assert_eq!(write(peer, b"over there"), 10);
    assert_eq!(destroy(peer), 0);
    let output = cat.wait_with_output().expect("cat(1) ends");
    assert_eq!(output.stdout, b"over there");
}

#[test]
fn destroy_with_unread_data_resets_the_connection() {
    // close(2) of a TCP socket with unread data, RFC 2525 2.17.
    let (fd, peer) = tcp_pair();
    assert_eq!(write(peer, b"never read"), 10);
    let ready = wait(fd, NETFD_READABLE, after(SECOND));
    assert_eq!(ready, NETFD_READABLE);
    assert_eq!(destroy(fd), 0);
    assert_eq!(read_some(peer), -(libc::ECONNRESET as ssize_t));
    destroy(peer);
}

#[test]
fn destroy_of_a_listener_resets_those_who_queue() {
    let (fd, at) = listener();
    let client = socket(libc::AF_INET, libc::SOCK_STREAM);
    assert_eq!(connect(client, &at), 0, "{}", error_text());
    assert_eq!(destroy(fd), 0);
    assert_eq!(read_some(client), -(libc::ECONNRESET as ssize_t));
    destroy(client);
}

#[test]
fn destroy_of_a_connecting_socket_ends_the_attempt() {
    let (listener, at, clients) = full_listener("tcp", "127.0.0.1:0");
    let fd = socket(libc::AF_INET, libc::SOCK_STREAM);
    let caller = spawn(move || connect(fd, &at));
    await_parked(fd, 1);
    assert_eq!(destroy(fd), 0);
    assert_eq!(caller.join(), NETFD_ECLOSED);
    // There is room now, and nobody comes but those who had connected.
    for client in clients {
        let conn = accept(listener);
        assert!(conn >= 0, "{}", error_text());
        destroy(conn);
        destroy(client);
    }
    assert_eq!(set_read_deadline(listener, after(100 * MS)), 0);
    assert_eq!(accept(listener), NETFD_EDEADLINE);
    destroy(listener);
}

#[test]
fn the_flags_and_the_text_say_that_it_was_closed() {
    let (fd, at) = listener();
    let caller = spawn(move || (accept(fd), last_error().flags, error_text()));
    await_parked(fd, 1);
    assert_eq!(destroy(fd), 0);
    let (code, flags, text) = caller.join();
    assert_eq!(code, NETFD_ECLOSED);
    assert_eq!(flags, NETFD_ERROR_CLOSED);
    let so = "use of closed network connection";
    assert_eq!(text, format!("accept tcp {}: {so}", at.text()));
}

#[test]
fn destroy_is_not_interrupted_by_a_close_that_says_eintr() {
    let test = "destroy_is_not_interrupted_by_a_close_that_says_eintr";
    let options = ["-e", "inject=close:error=EINTR:when=1"];
    let trace = alone_under_strace(test, &options, || {
        let fd = socket(libc::AF_INET, libc::SOCK_STREAM);
        assert_eq!(destroy(fd), 0, "{}", error_text());
        assert_eq!(destroy(fd), NETFD_ECLOSED);
    });
    let Some(trace) = trace else { return };
    assert!(trace.contains("(INJECTED)"), "{trace}");
}
