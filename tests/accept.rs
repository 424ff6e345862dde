//! netfd_accept: Go's `netFD.accept` and `FD.Accept` (internal/poll), and
//! accept(2).

#![allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test says what it expects, and knows the sizes"
)]

mod common;

use common::*;
use libc::{AF_INET, AF_UNIX, SOCK_DGRAM, SOCK_STREAM, c_int, socklen_t};
use std::mem::size_of;
use std::ptr::null_mut;

/// netfd_accept() with room for `room` bytes of the peer's address.
fn accept_from(fd: c_int, room: socklen_t) -> (c_int, Addr) {
    let mut peer = Addr::room();
    peer.len = room;
    // SAFETY: the room is at least as long as said.
    let conn = unsafe { netfd_accept(fd, peer.ptr_mut(), &mut peer.len) };
    (conn, peer)
}

/// A client that has connected and waits in the queue.
fn queued(at: &Addr, sotype: c_int) -> c_int {
    let client = socket(c_int::from(at.storage.ss_family), sotype);
    let code = connect_by(client, at, after(5 * SECOND), no_token());
    assert_eq!(code, 0, "{}", error_text());
    client
}

/// That the two are the ends of one connection.
fn same_connection(client: c_int, conn: c_int) {
    let peer = remote_addr(conn).expect("it is kept");
    assert_eq!(local_addr(client).text(), peer.text());
}

#[test]
fn what_is_accepted_is_non_blocking_close_on_exec_and_attached() {
    let (fd, at) = listener();
    let client = queued(&at, SOCK_STREAM);
    let conn = accept(fd);
    assert_eq!(flags(conn), (true, true));
    assert_eq!(write(conn, b"!"), 1);
    assert_eq!(read_exactly(client, 1), b"!");
    for fd in [client, conn, fd] {
        assert_eq!(destroy(fd), 0);
    }
}

#[test]
fn accept_waits_for_a_connection() {
    let (fd, at) = listener();
    let waiting = spawn(move || accept(fd));
    await_parked(fd, 1);
    let client = queued(&at, SOCK_STREAM);
    let conn = waiting.join();
    assert!(conn >= 0);
    assert_eq!(local_addr(client).text(), remote_addr(conn).unwrap().text());
    for fd in [client, conn, fd] {
        assert_eq!(destroy(fd), 0);
    }
}

#[test]
fn the_peers_address_is_stored_and_kept() {
    let at = abstract_name("peer");
    for (network, address) in [
        ("tcp4", "127.0.0.1:0"),
        ("tcp6", "[::1]:0"),
        ("unix", &*at),
        ("unixpacket", &*format!("{at}-packets")),
    ] {
        let (fd, at) = listener_at(network, address);
        let client = queued(&at, option(fd, libc::SOL_SOCKET, libc::SO_TYPE));
        let (conn, peer) = accept_from(fd, size_of::<libc::sockaddr_storage>() as socklen_t);
        assert!(conn >= 0, "{}", error_text());
        let theirs = local_addr(client);
        assert_eq!((peer.len, peer.text()), (theirs.len, theirs.text()));
        let kept = remote_addr(conn).unwrap();
        assert_eq!((kept.len, kept.text()), (theirs.len, theirs.text()));
        for fd in [client, conn, fd] {
            assert_eq!(destroy(fd), 0);
        }
    }
}

#[test]
fn a_unix_client_that_is_bound_is_known_by_its_name() {
    let (fd, at) = listener_at("unix", &abstract_name("bound"));
    let name = abstract_name("bound-client");
    let own = Addr::parse("unix", &name);
    let client = socket(AF_UNIX, SOCK_STREAM);
    // SAFETY: the addresses are as long as said.
    let code =
        unsafe { netfd_connect(client, own.ptr(), own.len, at.ptr(), at.len, 0, null_mut()) };
    assert_eq!(code, 0);
    let (conn, peer) = accept_from(fd, 128);
    assert_eq!(peer.text(), name);
    for fd in [client, conn, fd] {
        assert_eq!(destroy(fd), 0);
    }
}

#[test]
fn an_address_that_finds_no_room_is_cut_and_its_whole_length_told() {
    let (fd, at) = listener();
    for room in [0, 1, 4, 15] {
        let client = queued(&at, SOCK_STREAM);
        let (conn, peer) = accept_from(fd, room);
        assert!(conn >= 0);
        assert_eq!(peer.len as usize, size_of::<libc::sockaddr_in>());
        let whole = local_addr(client);
        // SAFETY: both are initialized all through.
        let bytes =
            |at: &Addr| unsafe { std::slice::from_raw_parts(at.ptr().cast::<u8>(), 16).to_vec() };
        let room = room as usize;
        assert_eq!(bytes(&peer)[..room], bytes(&whole)[..room]);
        assert!(bytes(&peer)[room..].iter().all(|byte| *byte == 0));
        assert_eq!(destroy(client), 0);
        assert_eq!(destroy(conn), 0);
    }
    assert_eq!(destroy(fd), 0);
}

#[test]
fn the_address_may_be_null_and_a_length_without_address_is_left_alone() {
    let (fd, at) = listener();
    let clients = [queued(&at, SOCK_STREAM), queued(&at, SOCK_STREAM)];
    // SAFETY: NULL is allowed.
    let first = unsafe { netfd_accept(fd, null_mut(), null_mut()) };
    let mut len = 77;
    // SAFETY: NULL is allowed.
    let second = unsafe { netfd_accept(fd, null_mut(), &mut len) };
    assert!(first >= 0 && second >= 0);
    assert_eq!(len, 77);
    for fd in [clients[0], clients[1], first, second, fd] {
        assert_eq!(destroy(fd), 0);
    }
}

#[test]
fn an_address_without_a_length_is_efault_and_leaves_the_connection_queued() {
    let (fd, at) = listener();
    let client = queued(&at, SOCK_STREAM);
    let mut room = Addr::room();
    // SAFETY: NULL is answered.
    let code = unsafe { netfd_accept(fd, room.ptr_mut(), null_mut()) };
    assert_eq!(code, -libc::EFAULT);
    let conn = accept(fd);
    assert!(conn >= 0);
    for fd in [client, conn, fd] {
        assert_eq!(destroy(fd), 0);
    }
}

#[test]
fn a_length_that_is_negative_as_an_int_is_einval_as_in_accept() {
    let (fd, at) = listener();
    let client = queued(&at, SOCK_STREAM);
    let (code, _) = accept_from(fd, socklen_t::MAX);
    if code >= 0 {
        assert_eq!(destroy(code), 0);
    }
    assert_eq!(destroy(client), 0);
    assert_eq!(destroy(fd), 0);
    assert_eq!(code, -libc::EINVAL);
}

#[test]
fn the_listeners_read_deadline_ends_accept() {
    let (fd, _) = listener();
    let at = after(30 * MS);
    // SAFETY: no pointers.
    assert_eq!(unsafe { netfd_set_read_deadline(fd, at) }, 0);
    assert_eq!(accept(fd), NETFD_EDEADLINE);
    assert!(after(0) >= at);
    assert!(after(0) < at + 5 * SECOND);
    assert_eq!(destroy(fd), 0);
}

#[test]
fn a_past_deadline_wins_over_a_queued_connection_which_stays() {
    let (fd, at) = listener();
    let client = queued(&at, SOCK_STREAM);
    // SAFETY: no pointers.
    assert_eq!(unsafe { netfd_set_read_deadline(fd, 1) }, 0);
    assert_eq!(accept(fd), NETFD_EDEADLINE);
    assert_eq!(accept(fd), NETFD_EDEADLINE);
    // SAFETY: no pointers.
    assert_eq!(unsafe { netfd_set_read_deadline(fd, 0) }, 0);
    let conn = accept(fd);
    assert!(conn >= 0);
    for fd in [client, conn, fd] {
        assert_eq!(destroy(fd), 0);
    }
}

#[test]
fn the_listeners_write_deadline_does_not_concern_accept() {
    let (fd, at) = listener();
    let client = queued(&at, SOCK_STREAM);
    // SAFETY: no pointers.
    assert_eq!(unsafe { netfd_set_write_deadline(fd, 1) }, 0);
    let conn = accept(fd);
    assert!(conn >= 0);
    for fd in [client, conn, fd] {
        assert_eq!(destroy(fd), 0);
    }
}

#[test]
fn a_deadline_set_meanwhile_ends_an_accept_that_is_parked() {
    let (fd, _) = listener();
    let waiting = spawn(move || accept(fd));
    await_parked(fd, 1);
    // SAFETY: no pointers.
    assert_eq!(unsafe { netfd_set_read_deadline(fd, 1) }, 0);
    assert_eq!(waiting.join(), NETFD_EDEADLINE);
    assert_eq!(destroy(fd), 0);
}

#[test]
fn the_listeners_token_ends_an_accept_that_is_parked() {
    let (fd, _) = listener();
    let token = Token::new();
    token.set_on(fd);
    let waiting = spawn(move || accept(fd));
    await_parked(fd, 1);
    token.fire();
    assert_eq!(waiting.join(), NETFD_ECANCELED);
    assert_eq!(destroy(fd), 0);
    token.free();
}

#[test]
fn after_the_token_has_fired_accept_is_canceled_though_a_connection_is_queued() {
    let (fd, at) = listener();
    let client = queued(&at, SOCK_STREAM);
    let token = Token::new();
    token.fire();
    token.set_on(fd);
    assert_eq!(accept(fd), NETFD_ECANCELED);
    // SAFETY: NULL is none.
    assert_eq!(unsafe { netfd_set_cancel(fd, null_mut()) }, 0);
    let conn = accept(fd);
    assert!(conn >= 0, "the connection stayed in the queue");
    for fd in [client, conn, fd] {
        assert_eq!(destroy(fd), 0);
    }
    token.free();
}

#[test]
fn the_connection_inherits_neither_deadlines_nor_token() {
    let (fd, at) = listener();
    let client = queued(&at, SOCK_STREAM);
    let token = Token::new();
    token.set_on(fd);
    // SAFETY: no pointers.
    assert_eq!(unsafe { netfd_set_write_deadline(fd, 1) }, 0);
    // SAFETY: no pointers.
    let code = unsafe { netfd_set_read_deadline(fd, after(60 * SECOND)) };
    assert_eq!(code, 0);
    let conn = accept(fd);
    assert!(conn >= 0);
    token.fire();
    // SAFETY: no pointers.
    assert_eq!(unsafe { netfd_set_read_deadline(fd, 1) }, 0);
    assert_eq!(write(conn, b"!"), 1);
    assert_eq!(write(client, b"!"), 1);
    assert_eq!(read_exactly(conn, 1), b"!");
    for fd in [client, conn, fd] {
        assert_eq!(destroy(fd), 0);
    }
    token.free();
}

#[test]
fn a_destroyed_listener_tells_all_who_accept() {
    let (fd, _) = listener();
    let waiting: Vec<_> = (0..10).map(|_| spawn(move || accept(fd))).collect();
    await_parked(fd, 10);
    assert_eq!(destroy(fd), 0);
    for one in waiting {
        assert_eq!(one.join(), NETFD_ECLOSED);
    }
}

#[test]
fn a_client_that_reset_before_accept_is_accepted_and_read_says_so() {
    let (fd, at) = listener();
    let client = queued(&at, SOCK_STREAM);
    let from = local_addr(client).text();
    reset(client);
    let conn = accept(fd);
    assert!(conn >= 0, "{}", error_text());
    assert_eq!(remote_addr(conn).unwrap().text(), from);
    assert_eq!(read(conn, &mut [0]), -(libc::ECONNRESET as isize));
    assert_eq!(destroy(conn), 0);
    assert_eq!(destroy(fd), 0);
}

#[test]
fn what_is_no_listener_says_einval_and_datagrams_eopnotsupp() {
    let fresh = socket(AF_INET, SOCK_STREAM);
    assert_eq!(accept(fresh), -libc::EINVAL);
    let (client, server) = tcp_pair();
    assert_eq!(accept(client), -libc::EINVAL);
    let packets = socket(AF_INET, SOCK_DGRAM);
    assert_eq!(accept(packets), -libc::EOPNOTSUPP);
    for fd in [fresh, client, server, packets] {
        assert_eq!(destroy(fd), 0);
    }
}

#[test]
fn many_acceptors_get_each_connection_once() {
    const CLIENTS: usize = 200;
    let (fd, at) = listener();
    let waiting: Vec<_> = (0..8)
        .map(|_| {
            spawn(move || {
                let mut seen = Vec::new();
                loop {
                    let conn = accept(fd);
                    if conn < 0 {
                        assert_eq!(conn, NETFD_ECLOSED);
                        return seen;
                    }
                    seen.push(remote_addr(conn).expect("it is kept").port());
                    assert_eq!(write(conn, b"!"), 1);
                    assert_eq!(destroy(conn), 0);
                }
            })
        })
        .collect();
    let mut expected: Vec<u16> = (0..CLIENTS)
        .map(|_| {
            let client = queued(&at, SOCK_STREAM);
            let port = local_addr(client).port();
            assert_eq!(read_exactly(client, 1), b"!");
            assert_eq!(destroy(client), 0);
            port
        })
        .collect();
    assert_eq!(destroy(fd), 0);
    let mut seen: Vec<u16> = waiting.into_iter().flat_map(Task::join).collect();
    seen.sort_unstable();
    expected.sort_unstable();
    assert_eq!(seen, expected);
}

#[test]
fn a_connection_that_was_aborted_is_passed_over() {
    retried(
        "a_connection_that_was_aborted_is_passed_over",
        "ECONNABORTED",
    );
}

#[test]
fn accept_goes_on_after_eintr() {
    retried("accept_goes_on_after_eintr", "EINTR");
}

/// That accept4(2) is called again after `errno`, as often as it says so.
fn retried(test: &str, errno: &str) {
    let inject = format!("inject=accept4:error={errno}:when=1..3");
    let options = ["-e", "trace=accept4", "-e", &inject];
    let trace = alone_under_strace(test, &options, || {
        let (fd, at) = listener();
        let client = queued(&at, SOCK_STREAM);
        let conn = accept(fd);
        assert!(conn >= 0, "{}", error_text());
        same_connection(client, conn);
    });
    let Some(trace) = trace else { return };
    assert_eq!(trace.matches(errno).count(), 3, "{trace}");
}

#[test]
fn emfile_is_returned_and_the_connection_stays_queued() {
    let test = "emfile_is_returned_and_the_connection_stays_queued";
    alone(test, || {
        let (fd, at) = listener();
        let client = queued(&at, SOCK_STREAM);
        limit_fds(64);
        let all = use_up_fds();
        assert_eq!(accept(fd), -libc::EMFILE);
        assert_eq!(accept(fd), -libc::EMFILE);
        drop(all);
        let conn = accept(fd);
        assert!(conn >= 0, "{}", error_text());
        same_connection(client, conn);
    });
}

#[test]
fn enfile_is_returned_and_the_connection_stays_queued() {
    returned(
        "enfile_is_returned_and_the_connection_stays_queued",
        "ENFILE",
        libc::ENFILE,
    );
}

#[test]
fn enobufs_is_returned_and_the_connection_stays_queued() {
    returned(
        "enobufs_is_returned_and_the_connection_stays_queued",
        "ENOBUFS",
        libc::ENOBUFS,
    );
}

#[test]
fn enomem_is_returned_and_the_connection_stays_queued() {
    returned(
        "enomem_is_returned_and_the_connection_stays_queued",
        "ENOMEM",
        libc::ENOMEM,
    );
}

/// That accept returns `errno`, and the next one the connection.
fn returned(test: &str, name: &str, errno: c_int) {
    let inject = format!("inject=accept4:error={name}:when=1");
    alone_under_strace(test, &["-e", "trace=accept4", "-e", &inject], || {
        let (fd, at) = listener();
        let client = queued(&at, SOCK_STREAM);
        assert_eq!(accept(fd), -errno);
        assert_eq!(c_text(&last_error().syscall), "accept4");
        let conn = accept(fd);
        assert!(conn >= 0, "{}", error_text());
        same_connection(client, conn);
    });
}

#[test]
fn an_accept_of_a_queued_connection_is_one_accept4_and_nothing_else() {
    const CONNECTIONS: usize = 20;
    let test = "an_accept_of_a_queued_connection_is_one_accept4_and_nothing_else";
    let trace = alone_under_strace(test, &[], || {
        let (fd, at) = listener();
        let warm = [queued(&at, SOCK_STREAM), accept(fd)];
        // SAFETY: no pointers.
        let code = unsafe { netfd_set_read_deadline(fd, after(60 * SECOND)) };
        assert_eq!(code, 0);
        let clients: Vec<_> = (0..CONNECTIONS).map(|_| queued(&at, SOCK_STREAM)).collect();
        let mut conns = [0; CONNECTIONS];
        // SAFETY: getppid takes nothing; it marks the place in the trace.
        unsafe { libc::getppid() };
        for conn in &mut conns {
            *conn = accept_from(fd, 128).0;
        }
        // SAFETY: likewise.
        unsafe { libc::getppid() };
        assert!(conns.iter().all(|conn| *conn >= 0));
        for fd in warm.iter().chain(&clients).chain(&conns) {
            assert_eq!(destroy(*fd), 0);
        }
    });
    let Some(trace) = trace else { return };
    let marked: Vec<&str> = trace
        .lines()
        .skip_while(|line| !line.contains("getppid("))
        .skip(1)
        .take_while(|line| !line.contains("getppid("))
        .collect();
    assert_eq!(marked.len(), CONNECTIONS, "{marked:#?}");
    assert!(
        marked.iter().all(|line| line.contains("accept4(")),
        "{marked:#?}"
    );
}

#[test]
fn destroying_what_was_accepted_leaves_the_listener_alone() {
    let (fd, at) = listener();
    for _ in 0..3 {
        let client = queued(&at, SOCK_STREAM);
        let conn = accept(fd);
        assert_eq!(destroy(conn), 0);
        assert_eq!(destroy(client), 0);
    }
    assert_eq!(destroy(fd), 0);
}
