//! netfd_attach and netfd_detach: a descriptor comes from elsewhere, and goes
//! back open.
//!
//! Follows Go `net.FileConn` and `TestFileConn`, but without a dup(2), and
//! #29277: what is handed back does not change its mode.

mod common;

use common::*;
use libc::{c_int, ssize_t};
use std::io::Write;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, IntoRawFd};
use std::thread;

const CLOSED: ssize_t = NETFD_ECLOSED as ssize_t;
const BADF: c_int = -libc::EBADF;

fn read_some(fd: c_int) -> ssize_t {
    read(fd, &mut [0; 16])
}

/// A socketpair(2) that blocks, and is not close-on-exec.
fn bare_pair() -> (c_int, c_int) {
    let (fd, peer) = plain_pair(libc::SOCK_STREAM);
    // SAFETY: no pointers.
    assert_eq!(unsafe { libc::fcntl(fd, libc::F_SETFD, 0) }, 0);
    (fd, peer)
}

#[test]
fn detach_hands_it_back_open() {
    let (fd, peer) = unix_pair(libc::SOCK_STREAM);
    assert_eq!(detach(fd), fd);
    plain_send(fd, b"mine");
    assert_eq!(read_exactly(peer, 4), b"mine");
    plain_close(fd);
    destroy(peer);
}

#[test]
fn detach_leaves_it_nonblocking_and_close_on_exec() {
    let (fd, peer) = bare_pair();
    assert_eq!(flags(fd), (false, false));
    assert_eq!(attach(fd), fd);
    assert_eq!(detach(fd), fd);
    assert_eq!(flags(fd), (true, true));
    plain_close(fd);
    plain_close(peer);
}

#[test]
fn detach_evicts_everyone_inside() {
    let (fd, peer) = unix_pair(libc::SOCK_STREAM);
    fill(fd);
    let readers: Vec<_> = (0..3).map(|_| spawn(move || read_some(fd))).collect();
    let writers: Vec<_> = (0..3)
        .map(|_| spawn(move || write(fd, &[0; 1 << 20])))
        .collect();
    let waiter = spawn(move || wait(fd, NETFD_READABLE, 0));
    await_parked(fd, 7);
    assert_eq!(detach(fd), fd);
    for caller in readers.into_iter().chain(writers) {
        assert_eq!(caller.join(), CLOSED);
    }
    assert_eq!(waiter.join(), NETFD_ECLOSED);
    plain_close(fd);
    destroy(peer);
}

#[test]
fn the_number_is_unknown_after_detach() {
    let (fd, peer) = unix_pair(libc::SOCK_STREAM);
    assert_eq!(detach(fd), fd);
    assert_eq!(read_some(fd), BADF as ssize_t);
    assert_eq!(detach(fd), BADF);
    assert_eq!(destroy(fd), BADF);
    assert!(is_open(fd));
    plain_close(fd);
    destroy(peer);
}

#[test]
fn a_number_never_attached_cannot_be_detached() {
    assert_eq!(detach(-1), BADF);
    assert_eq!(detach(c_int::MAX), BADF);
    alone("a_number_never_attached_cannot_be_detached", || {
        let (fd, _peer) = plain_pair(libc::SOCK_STREAM);
        assert_eq!(detach(fd), BADF);
    });
}

#[test]
fn detach_after_destroy_gets_eclosed() {
    alone("detach_after_destroy_gets_eclosed", || {
        let (fd, _peer) = unix_pair(libc::SOCK_STREAM);
        assert_eq!(destroy(fd), 0);
        assert_eq!(detach(fd), NETFD_ECLOSED);
    });
}

#[test]
fn what_was_detached_can_be_attached_again() {
    let (fd, peer) = unix_pair(libc::SOCK_STREAM);
    assert_eq!(set_read_deadline(fd, -1), 0);
    assert_eq!(detach(fd), fd);
    assert_eq!(attach(fd), fd);
    assert_eq!(write(peer, b"anew"), 4);
    assert_eq!(read_exactly(fd, 4), b"anew");
    destroy(fd);
    destroy(peer);
}

#[test]
fn of_detach_and_destroy_one_wins_and_the_other_gets_eclosed() {
    alone(
        "of_detach_and_destroy_one_wins_and_the_other_gets_eclosed",
        || {
            let (fd, peer) = unix_pair(libc::SOCK_STREAM);
            let reader = spawn(move || read_some(fd));
            await_parked(fd, 1);
            let detacher = spawn(move || detach(fd));
            let destroyed = destroy(fd);
            let detached = detacher.join();
            assert_eq!(reader.join(), CLOSED);
            // The loser may also come when all is over, and the number is
            // known by how it ended.
            if detached == fd {
                assert!([NETFD_ECLOSED, BADF].contains(&destroyed), "{destroyed}");
                assert!(is_open(fd));
            } else {
                assert_eq!((detached, destroyed), (NETFD_ECLOSED, 0));
                assert!(!is_open(fd));
            }
            destroy(peer);
        },
    );
}

#[test]
fn attach_makes_it_nonblocking_and_close_on_exec() {
    let (fd, peer) = bare_pair();
    assert_eq!(attach(fd), fd);
    assert_eq!(flags(fd), (true, true));
    destroy(fd);
    plain_close(peer);
}

#[test]
fn attach_takes_sockets_only() {
    let mut pipe = [0; 2];
    // SAFETY: there is room for two.
    assert_eq!(unsafe { libc::pipe(pipe.as_mut_ptr()) }, 0);
    let file = std::fs::File::open("/dev/null").unwrap();
    // SAFETY: no pointers.
    let event = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
    for fd in [pipe[0], pipe[1], file.as_raw_fd(), event] {
        assert_eq!(attach(fd), -libc::ENOTSOCK);
    }
    assert_eq!(flags(pipe[0]), (false, false), "it is as it was");
    pipe.into_iter().chain([event]).for_each(plain_close);
}

#[test]
fn attach_of_a_number_that_is_not_open_gives_ebadf() {
    for fd in [-1, c_int::MIN, c_int::MAX, 1 << 20] {
        assert_eq!(attach(fd), BADF, "{fd}");
    }
    alone("attach_of_a_number_that_is_not_open_gives_ebadf", || {
        let (fd, _peer) = plain_pair(libc::SOCK_STREAM);
        plain_close(fd);
        assert_eq!(attach(fd), BADF);
        let (fd, _peer) = unix_pair(libc::SOCK_STREAM);
        destroy(fd);
        assert_eq!(attach(fd), BADF, "destroyed");
        assert_eq!(read_some(fd), CLOSED, "and it stays so");
    });
}

#[test]
fn attaching_twice_evicts_those_inside() {
    let (fd, peer) = unix_pair(libc::SOCK_STREAM);
    let readers: Vec<_> = (0..3).map(|_| spawn(move || read_some(fd))).collect();
    await_parked(fd, 3);
    assert_eq!(attach(fd), fd);
    for reader in readers {
        assert_eq!(reader.join(), CLOSED);
    }
    assert_eq!(write(peer, b"alive"), 5);
    assert_eq!(read_exactly(fd, 5), b"alive");
    assert_eq!(destroy(fd), 0);
    destroy(peer);
}

#[test]
fn attaching_twice_resets_deadlines() {
    let (fd, peer) = unix_pair(libc::SOCK_STREAM);
    assert_eq!(set_deadline(fd, -1), 0);
    assert_eq!(attach(fd), fd);
    assert_eq!(write(fd, b"out"), 3);
    assert_eq!(write(peer, b"in"), 2);
    assert_eq!(read_exactly(fd, 2), b"in");
    destroy(fd);
    destroy(peer);
}

#[test]
fn attaching_twice_resets_the_token() {
    let (fd, peer) = unix_pair(libc::SOCK_STREAM);
    let token = Token::new();
    token.set_on(fd);
    token.fire();
    assert_eq!(read_some(fd), NETFD_ECANCELED as ssize_t);
    assert_eq!(attach(fd), fd);
    assert_eq!(write(peer, b"in"), 2);
    assert_eq!(read_exactly(fd, 2), b"in");
    token.free();
    destroy(fd);
    destroy(peer);
}

#[test]
fn a_socket_from_accept_2_can_be_attached() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, from) = listener.accept().unwrap();
    let fd = server.into_raw_fd();
    assert_eq!(attach(fd), fd);
    client.write_all(b"hello").unwrap();
    assert_eq!(read_exactly(fd, 5), b"hello");
    let mut at = Addr::room();
    // SAFETY: the room is as long as said.
    let code = unsafe { netfd_remote_addr(fd, at.ptr_mut(), &mut at.len) };
    assert_eq!(code, 0);
    assert_eq!(at.text(), from.to_string());
    assert_eq!(destroy(fd), 0);
}

#[test]
fn a_listener_from_elsewhere_can_be_attached() {
    // As systemd and inetd hand them over.
    let theirs = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = theirs.local_addr().unwrap();
    let fd = theirs.into_raw_fd();
    assert_eq!(attach(fd), fd);
    let acceptor = spawn(move || accept(fd));
    await_parked(fd, 1);
    let client = TcpStream::connect(at).unwrap();
    let conn = acceptor.join();
    assert!(conn >= 0);
    assert_eq!(destroy(conn), 0);
    assert_eq!(destroy(fd), 0);
    drop(client);
}

#[test]
fn a_datagram_socket_can_be_attached() {
    let theirs = UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = theirs.local_addr().unwrap();
    let fd = theirs.into_raw_fd();
    assert_eq!(attach(fd), fd);
    // No turns: one parks beside the other.
    let readers: Vec<_> = (0..2).map(|_| spawn(move || read_some(fd))).collect();
    await_parked(fd, 2);
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    sender.send_to(b"1", at).unwrap();
    sender.send_to(b"22", at).unwrap();
    let mut got: Vec<_> = readers.into_iter().map(Task::join).collect();
    got.sort_unstable();
    assert_eq!(got, [1, 2]);
    assert_eq!(destroy(fd), 0);
}

#[test]
fn two_numbers_of_one_socket_are_two_descriptors() {
    let (fd, peer) = unix_pair(libc::SOCK_STREAM);
    // SAFETY: no pointers.
    let copy = unsafe { libc::dup(fd) };
    assert_eq!(attach(copy), copy);
    assert_eq!(set_read_deadline(copy, -1), 0);
    assert_eq!(read_some(copy), NETFD_EDEADLINE as ssize_t);
    let reader = spawn(move || read_some(fd));
    await_parked(fd, 1);
    assert_eq!(destroy(copy), 0);
    assert_eq!(write(peer, b"first"), 5);
    assert_eq!(reader.join(), 5);
    destroy(fd);
    destroy(peer);
}

#[test]
fn detach_waits_until_no_buffer_is_touched_any_more() {
    // The buffer belongs to the reader's caller again when detach returns:
    // bytes that come later must not land in it.
    for _ in 0..200 {
        let (fd, peer) = unix_pair(libc::SOCK_STREAM);
        let reader = thread::spawn(move || {
            let mut buf = [0u8; 8];
            (read(fd, &mut buf), buf)
        });
        thread::yield_now();
        assert_eq!(detach(fd), fd);
        plain_send(peer, b"too late");
        let (n, buf) = reader.join().unwrap();
        assert!([CLOSED, BADF as ssize_t].contains(&n), "{n}");
        assert_eq!(buf, [0; 8]);
        assert_eq!(plain_recv(fd).as_deref(), Some(&b"too late"[..]));
        plain_close(fd);
        destroy(peer);
    }
}
