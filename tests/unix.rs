//! What only unix sockets do: descriptors that travel, and who the peer is.
//! unix(7) (SCM_RIGHTS, SO_PEERCRED), Go's net/unixsock_test.go and
//! syscall/creds_test.go.

#![allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test that is out of range has failed"
)]

mod common;

use common::calls::*;
use common::*;
use libc::c_int;

/// The open descriptors, the one included that a thread has once it parked.
fn count() -> usize {
    let (one, two) = unix_pair(libc::SOCK_STREAM);
    assert_eq!(wait(one, NETFD_READABLE, -1), NETFD_EDEADLINE);
    destroy(one);
    destroy(two);
    open_fds()
}

/// netfd_send_fds().
fn send_fds(fd: c_int, fds: &[c_int], buf: &[u8]) -> isize {
    // SAFETY: both are as long as said.
    unsafe { netfd_send_fds(fd, fds.as_ptr(), fds.len(), buf.as_ptr().cast(), buf.len()) }
}

/// netfd_recv_fds(): the bytes, how many descriptors came, and those that
/// found room.
fn recv_fds(fd: c_int, cap: usize, buf: &mut [u8]) -> (isize, usize, Vec<c_int>) {
    let mut fds = vec![-1; cap];
    let mut came = 0;
    let (to, len) = (buf.as_mut_ptr().cast(), buf.len());
    // SAFETY: both are as long as said.
    let n = unsafe { netfd_recv_fds(fd, fds.as_mut_ptr(), cap, &mut came, to, len) };
    fds.truncate(came);
    (n, came, fds)
}

/// A pipe, its reading end first.
fn pipe() -> [c_int; 2] {
    let mut fds = [-1; 2];
    // SAFETY: there is room for two.
    assert_eq!(unsafe { libc::pipe(fds.as_mut_ptr()) }, 0);
    fds
}

fn close(fd: c_int) {
    // SAFETY: no pointers.
    assert_eq!(unsafe { libc::close(fd) }, 0, "{fd}");
}

fn is_nonblocking(fd: c_int) -> bool {
    fcntl(fd, libc::F_GETFL) & libc::O_NONBLOCK != 0
}

const TYPES: [c_int; 3] = [libc::SOCK_STREAM, libc::SOCK_SEQPACKET, libc::SOCK_DGRAM];

#[test]
fn a_socket_that_travels_comes_attached_nonblocking_and_close_on_exec() {
    for sotype in TYPES {
        let (one, two) = unix_pair(sotype);
        let mut plain = [-1; 2];
        // SAFETY: there is room for two.
        let made =
            unsafe { libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM, 0, plain.as_mut_ptr()) };
        assert_eq!(made, 0);
        assert!(!is_nonblocking(plain[0]));
        assert_eq!(send_fds(one, &plain[..1], b"take"), 4);
        let mut buf = [0; 8];
        let (n, came, fds) = recv_fds(two, 4, &mut buf);
        assert_eq!((n, came, &buf[..4]), (4, 1, &b"take"[..]));
        let copy = fds[0];
        assert!(is_nonblocking(copy));
        assert_eq!(fcntl(copy, libc::F_GETFD), libc::FD_CLOEXEC);
        // SAFETY: no pointers.
        assert_eq!(unsafe { libc::write(plain[1], b"x".as_ptr().cast(), 1) }, 1);
        assert_eq!(read(copy, &mut buf), 1, "it is attached");
        assert_eq!(destroy(copy), 0);
        close(plain[0]);
        close(plain[1]);
        destroy(one);
        destroy(two);
    }
}

#[test]
fn a_file_that_travels_comes_close_on_exec_and_as_it_is() {
    if !by_itself("a_file_that_travels_comes_close_on_exec_and_as_it_is") {
        return; // or its numbers were sockets of another test, and are remembered
    }
    let (one, two) = unix_pair(libc::SOCK_STREAM);
    let pipe = pipe();
    assert_eq!(send_fds(one, &pipe, b"x"), 1);
    let (n, came, fds) = recv_fds(two, 2, &mut [0; 8]);
    assert_eq!((n, came), (1, 2));
    for fd in fds {
        assert_eq!(fcntl(fd, libc::F_GETFD), libc::FD_CLOEXEC);
        assert!(!is_nonblocking(fd));
        assert_eq!(read(fd, &mut [0; 1]), no(libc::EBADF), "not attached");
        close(fd);
    }
    pipe.into_iter().for_each(close);
    destroy(one);
    destroy(two);
}

#[test]
fn descriptors_beyond_the_room_are_closed_and_counted() {
    if !by_itself("descriptors_beyond_the_room_are_closed_and_counted") {
        return;
    }
    let (one, two) = unix_pair(libc::SOCK_STREAM);
    let pipe = pipe();
    for (cap, kept) in [(0, 0), (1, 1), (2, 2), (9, 2)] {
        let before = count();
        assert_eq!(send_fds(one, &pipe, b"x"), 1);
        let (n, came, fds) = recv_fds(two, cap, &mut [0; 8]);
        assert_eq!((n, came), (1, 2), "room for {cap}");
        assert_eq!(count(), before + kept);
        fds.into_iter().for_each(close);
    }
    pipe.into_iter().for_each(close);
    destroy(one);
    destroy(two);
}

#[test]
fn no_room_at_all_may_be_null() {
    let (one, two) = unix_pair(libc::SOCK_STREAM);
    assert_eq!(send_fds(one, &[one], b"x"), 1);
    let (mut came, mut byte) = (9, 0_u8);
    let none = std::ptr::null_mut();
    // SAFETY: NULL has room for none; one byte is there.
    let n = unsafe { netfd_recv_fds(two, none, 0, &mut came, (&raw mut byte).cast(), 1) };
    assert_eq!((n, came, byte), (1, 1, b'x'));
    destroy(one);
    destroy(two);
}

#[test]
fn descriptors_travel_without_a_byte_of_the_callers() {
    for sotype in TYPES {
        let (one, two) = unix_pair(sotype);
        let pipe = pipe();
        assert_eq!(send_fds(one, &pipe, b""), 0);
        let (n, came, fds) = recv_fds(two, 2, &mut []);
        assert_eq!((n, came), (0, 2));
        fds.into_iter().for_each(close);
        assert_eq!(write(one, b"next"), 4);
        let mut buf = [0; 8];
        assert_eq!(read(two, &mut buf), 4, "nothing stands before it");
        assert_eq!(&buf[..4], b"next");
        pipe.into_iter().for_each(close);
        destroy(one);
        destroy(two);
    }
}

#[test]
fn a_message_without_descriptors_says_that_none_came() {
    for sotype in TYPES {
        let (one, two) = unix_pair(sotype);
        assert_eq!(send_fds(one, &[], b"plain"), 5);
        let mut buf = [0; 8];
        assert_eq!(recv_fds(two, 4, &mut buf), (5, 0, vec![]));
        assert_eq!(write(one, b"other"), 5);
        assert_eq!(recv_fds(two, 4, &mut buf), (5, 0, vec![]));
        destroy(one);
        destroy(two);
    }
}

#[test]
fn recv_fds_tells_the_end_of_the_stream() {
    let (one, two) = unix_pair(libc::SOCK_STREAM);
    destroy(one);
    assert_eq!(recv_fds(two, 4, &mut [0; 8]), (0, 0, vec![]));
    destroy(two);
}

#[test]
fn one_message_carries_253_descriptors_and_not_254() {
    if !by_itself("one_message_carries_253_descriptors_and_not_254") {
        return;
    }
    let (one, two) = unix_pair(libc::SOCK_STREAM);
    let pipe = pipe();
    let before = count();
    assert_eq!(send_fds(one, &[pipe[0]; 254], b"x"), no(libc::EINVAL));
    assert_eq!(send_fds(one, &[pipe[0]; 253], b"x"), 1);
    let (n, came, fds) = recv_fds(two, 253, &mut [0; 8]);
    assert_eq!((n, came, fds.len()), (1, 253, 253));
    assert_eq!(count(), before + 253);
    fds.into_iter().for_each(close);
    pipe.into_iter().for_each(close);
    destroy(one);
    destroy(two);
}

/// A receiver that asked for credentials gets them in the same control data.
#[test]
fn all_descriptors_come_beside_credentials() {
    let (one, two) = unix_pair(libc::SOCK_STREAM);
    set_option(two, libc::SOL_SOCKET, libc::SO_PASSCRED, 1);
    let pipe = pipe();
    assert_eq!(send_fds(one, &[pipe[0]; 253], b"x"), 1);
    let (n, came, fds) = recv_fds(two, 253, &mut [0; 8]);
    assert_eq!((n, came), (1, 253));
    fds.into_iter().for_each(close);
    pipe.into_iter().for_each(close);
    destroy(one);
    destroy(two);
}

#[test]
fn a_thousand_rounds_leak_no_descriptor() {
    if !by_itself("a_thousand_rounds_leak_no_descriptor") {
        return;
    }
    let (one, two) = unix_pair(libc::SOCK_SEQPACKET);
    let pipe = pipe();
    let before = count();
    for round in 0..1_000 {
        assert_eq!(send_fds(one, &[pipe[0], one, pipe[1]], b"x"), 1);
        let (n, came, fds) = recv_fds(two, round % 4, &mut [0; 8]);
        assert_eq!((n, came), (1, 3));
        for (index, fd) in fds.into_iter().enumerate() {
            if index == 1 {
                assert_eq!(destroy(fd), 0);
            } else {
                close(fd);
            }
        }
    }
    assert_eq!(count(), before);
    pipe.into_iter().for_each(close);
    destroy(one);
    destroy(two);
}

#[test]
fn descriptors_that_read_does_not_take_are_not_leaked() {
    if !by_itself("descriptors_that_read_does_not_take_are_not_leaked") {
        return;
    }
    let (one, two) = unix_pair(libc::SOCK_STREAM);
    let before = count();
    assert_eq!(send_fds(one, &[one], b"x"), 1);
    assert_eq!(read(two, &mut [0; 8]), 1);
    assert_eq!(count(), before);
    destroy(one);
    destroy(two);
}

#[test]
fn recv_fds_parks_and_obeys_deadline_token_and_destroy() {
    let token = Token::new();
    let (one, two) = unix_pair(libc::SOCK_STREAM);
    let parked = || {
        let task = spawn(move || recv_fds(two, 1, &mut [0; 8]).0);
        await_parked(two, 1);
        task
    };
    let task = parked();
    assert_eq!(send_fds(one, &[], b"late"), 4);
    assert_eq!(task.join(), 4);
    let task = parked();
    set_read_deadline(two, -1);
    assert_eq!(task.join(), DEADLINE);
    set_read_deadline(two, 0);
    let task = parked();
    token.set_on(two);
    token.fire();
    assert_eq!(task.join(), CANCELED);
    lift_cancel(two);
    let task = parked();
    destroy(two);
    assert_eq!(task.join(), CLOSED);
    destroy(one);
    token.free();
}

#[test]
fn send_fds_parks_while_the_peer_does_not_read() {
    let (one, two) = unix_pair(libc::SOCK_STREAM);
    let filled = fill(one);
    let pipe = pipe();
    let task = spawn(move || send_fds(one, &pipe, b"next"));
    await_parked(one, 1);
    let all = read_exactly(two, filled);
    assert_eq!(all.len(), filled);
    assert_eq!(task.join(), 4);
    let (n, came, fds) = recv_fds(two, 2, &mut [0; 8]);
    assert_eq!((n, came), (4, 2));
    fds.into_iter().for_each(close);
    pipe.into_iter().for_each(close);
    destroy(one);
    destroy(two);
}

#[test]
fn other_families_are_eopnotsupp() {
    let (one, two) = tcp_pair();
    let code = no(libc::EOPNOTSUPP);
    assert_eq!(send_fds(one, &[one], b"x"), code);
    assert_eq!(recv_fds(two, 1, &mut [0; 8]).0, code);
    assert_eq!(peer_cred(one).0, -libc::EOPNOTSUPP);
    let (udp, _) = udp();
    assert_eq!(recv_fds(udp, 1, &mut [0; 8]).0, code);
    for fd in [one, two, udp] {
        destroy(fd);
    }
}

#[test]
fn bad_arguments_are_answered() {
    if !by_itself("bad_arguments_are_answered") {
        return; // or another test gets the number
    }
    let (one, two) = unix_pair(libc::SOCK_STREAM);
    let (null, mut byte) = (std::ptr::null_mut::<libc::c_void>(), 0_u8);
    let buf: *mut libc::c_void = (&raw mut byte).cast();
    let (mut fd, mut came) = (-1, 0);
    let send = |fds, buf: *mut libc::c_void| {
        // SAFETY: NULL is refused, the others have room for one.
        unsafe { netfd_send_fds(one, fds, 1, buf, 1) }
    };
    let recv = |fds, nfds, buf| {
        // SAFETY: likewise.
        unsafe { netfd_recv_fds(two, fds, 1, nfds, buf, 1) }
    };
    let efault = no(libc::EFAULT);
    assert_eq!(send(null.cast(), buf), efault);
    assert_eq!(send(&fd, null), efault);
    assert_eq!(recv(null.cast(), &mut came, buf), efault);
    assert_eq!(recv(&mut fd, null.cast(), buf), efault);
    assert_eq!(recv(&mut fd, &mut came, null), efault);
    assert_eq!(send_fds(one, &[-1], b"x"), no(libc::EBADF), "no descriptor");
    assert_eq!(send_fds(-1, &[one], b"x"), no(libc::EBADF));
    destroy(two);
    assert_eq!(recv_fds(two, 1, &mut [0; 8]).0, CLOSED);
    destroy(one);
}

/// netfd_peer_cred().
fn peer_cred(fd: c_int) -> (c_int, libc::pid_t, libc::uid_t, libc::gid_t) {
    let (mut pid, mut uid, mut gid) = (-7, 7, 7);
    // SAFETY: all are there.
    let code = unsafe { netfd_peer_cred(fd, &mut pid, &mut uid, &mut gid) };
    (code, pid, uid, gid)
}

fn own_cred() -> (c_int, libc::pid_t, libc::uid_t, libc::gid_t) {
    // SAFETY: no pointers, and it cannot fail.
    let pid = unsafe { libc::getpid() };
    // SAFETY: likewise.
    let uid = unsafe { libc::geteuid() };
    // SAFETY: likewise.
    let gid = unsafe { libc::getegid() };
    (0, pid, uid, gid)
}

#[test]
fn peer_cred_tells_who_made_a_socketpair() {
    let (one, two) = unix_pair(libc::SOCK_STREAM);
    assert_eq!(peer_cred(one), own_cred());
    assert_eq!(peer_cred(two), own_cred());
    destroy(two);
    assert_eq!(peer_cred(one), own_cred(), "when the peer has gone, too");
    destroy(one);
}

#[test]
fn peer_cred_tells_who_connected_and_who_listens() {
    for network in ["unix", "unixpacket"] {
        let (listener, at) = listener_at(network, &abstract_name("cred"));
        let sotype = if network == "unix" {
            TYPES[0]
        } else {
            TYPES[1]
        };
        let client = socket(libc::AF_UNIX, sotype);
        assert_eq!(connect(client, &at), 0);
        let server = accept(listener);
        assert_eq!(peer_cred(client), own_cred());
        assert_eq!(peer_cred(server), own_cred());
        for fd in [client, server, listener] {
            destroy(fd);
        }
    }
}

#[test]
fn peer_cred_takes_null_for_what_is_not_wanted() {
    let (one, two) = unix_pair(libc::SOCK_STREAM);
    let (none, mut uid) = (std::ptr::null_mut(), 7);
    // SAFETY: NULL is allowed, the other is there.
    let code = unsafe { netfd_peer_cred(one, none, &mut uid, none.cast()) };
    assert_eq!(code, 0);
    assert_eq!(uid, own_cred().2);
    // SAFETY: NULL is allowed.
    let code = unsafe { netfd_peer_cred(one, none, none.cast(), none.cast()) };
    assert_eq!(code, 0);
    destroy(one);
    destroy(two);
}

#[test]
fn peer_cred_of_a_socket_without_a_peer_is_enotconn_and_stores_nothing() {
    for sotype in TYPES {
        let fd = socket(libc::AF_UNIX, sotype);
        assert_eq!(peer_cred(fd), (-libc::ENOTCONN, -7, 7, 7));
        destroy(fd);
    }
}

#[test]
fn peer_cred_of_a_destroyed_socket_is_eclosed() {
    if !by_itself("peer_cred_of_a_destroyed_socket_is_eclosed") {
        return; // or another test gets the number
    }
    let fd = socket(libc::AF_UNIX, libc::SOCK_STREAM);
    destroy(fd);
    assert_eq!(peer_cred(fd).0, NETFD_ECLOSED);
    assert_eq!(peer_cred(-1).0, -libc::EBADF);
}

#[test]
fn sending_neither_bytes_nor_descriptors_sends_nothing_on_a_stream() {
    let (one, two) = unix_pair(libc::SOCK_STREAM);
    // SAFETY: NULL is allowed where nothing is to be read.
    let sent = unsafe { netfd_send_fds(one, std::ptr::null(), 0, std::ptr::null(), 0) };
    assert_eq!(sent, 0);
    assert_eq!(write(one, b"first"), 5);
    assert_eq!(read_exactly(two, 5), b"first", "no byte came before");
    destroy(one);
    destroy(two);
}

#[test]
fn a_peers_pidfd_that_comes_along_does_not_leak() {
    const SO_PASSPIDFD: c_int = 76; // linux/socket.h, since Linux 6.5
    if !by_itself("a_peers_pidfd_that_comes_along_does_not_leak") {
        return;
    }
    let (one, two) = unix_pair(libc::SOCK_STREAM);
    let (on, len) = (1 as c_int, size_of::<c_int>() as libc::socklen_t);
    let value = (&raw const on).cast();
    // SAFETY: the value is as long as said.
    let code = unsafe { libc::setsockopt(two, libc::SOL_SOCKET, SO_PASSPIDFD, value, len) };
    if code != 0 {
        println!("the kernel passes no pidfd: nothing can leak");
        return;
    }
    let pipe = pipe();
    let before = count();
    for _ in 0..10 {
        assert_eq!(send_fds(one, &pipe, b"x"), 1);
        let (n, came, fds) = recv_fds(two, 2, &mut [0; 8]);
        assert_eq!((n, came), (1, 2));
        fds.into_iter().for_each(close);
    }
    assert_eq!(count(), before);
}
