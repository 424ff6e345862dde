//! A number that was closed or replaced behind the library's back, and that
//! the library then got again from the kernel: the stale entry's callers are
//! evicted, and nothing is closed.
//!
//! Specifies the last of the header's principles; no Go test does, since a Go
//! program does not see the number. Every test has a process of its own, for
//! it chooses the numbers.

mod common;

use common::*;
use libc::{c_int, ssize_t};

const CLOSED: ssize_t = NETFD_ECLOSED as ssize_t;

fn read_some(fd: c_int) -> ssize_t {
    read(fd, &mut [0; 16])
}

/// Parks a reader, a writer, one that waits, and two that queue, on a pair's
/// first end. Returns its number, the other end, and the callers.
fn crowded() -> (c_int, c_int, Vec<Task<ssize_t>>) {
    let (fd, peer) = unix_pair(libc::SOCK_STREAM);
    fill(fd);
    let mut callers: Vec<_> = (0..2).map(|_| spawn(move || read_some(fd))).collect();
    for _ in 0..2 {
        callers.push(spawn(move || write(fd, &[0; 1 << 20])));
    }
    // SAFETY: no pointers.
    callers.push(spawn(move || unsafe {
        netfd_wait(fd, NETFD_READABLE, NETFD_NO_DEADLINE) as ssize_t
    }));
    await_parked(fd, 5);
    await_handed_over();
    (fd, peer, callers)
}

fn all_were_evicted(callers: Vec<Task<ssize_t>>) {
    for caller in callers {
        assert_eq!(caller.join(), CLOSED);
    }
}

/// Reads and writes through a number, to see that nobody closed it or sits in
/// its turns.
fn works(fd: c_int, peer: c_int) {
    assert_eq!(write(fd, b"ping"), 4);
    assert_eq!(read_exactly(peer, 4), b"ping");
    assert_eq!(write(peer, b"pong"), 4);
    assert_eq!(read_exactly(fd, 4), b"pong");
}

#[test]
fn close_2_alone_wakes_nobody() {
    alone("close_2_alone_wakes_nobody", || {
        let (fd, _peer, callers) = crowded();
        plain_close(fd);
        assert_eq!(parked_lines(fd).len(), 5);
        assert!(callers.iter().all(|caller| !caller.is_finished()));
        // They are not lost for that.
        assert_eq!(destroy(fd), -libc::EBADF);
        all_were_evicted(callers);
    });
}

#[test]
fn sys_socket_that_gets_the_number_evicts() {
    alone("sys_socket_that_gets_the_number_evicts", || {
        let (listener, at) = listener();
        let (fd, _peer, callers) = crowded();
        plain_close(fd);
        assert_eq!(socket(libc::AF_INET, libc::SOCK_STREAM), fd);
        all_were_evicted(callers);
        assert_eq!(connect(fd, &at), 0, "{}", error_text());
        works(fd, accept(listener));
        assert_eq!(destroy(fd), 0);
    });
}

#[test]
fn accept_that_gets_the_number_evicts() {
    alone("accept_that_gets_the_number_evicts", || {
        let (listener, at) = listener();
        let client = socket(libc::AF_INET, libc::SOCK_STREAM);
        assert_eq!(connect(client, &at), 0, "{}", error_text());
        let (fd, _peer, callers) = crowded();
        plain_close(fd);
        assert_eq!(accept(listener), fd);
        all_were_evicted(callers);
        works(fd, client);
        assert_eq!(destroy(fd), 0);
    });
}

#[test]
fn attach_of_the_number_evicts() {
    alone("attach_of_the_number_evicts", || {
        let (fd, _peer, callers) = crowded();
        plain_close(fd);
        let (again, peer) = plain_pair(libc::SOCK_STREAM);
        assert_eq!(again, fd);
        assert_eq!(attach(fd), fd);
        all_were_evicted(callers);
        assert_eq!(attach(peer), peer);
        works(fd, peer);
        assert_eq!(destroy(fd), 0);
    });
}

#[test]
fn attach_after_dup2_over_the_number_evicts() {
    alone("attach_after_dup2_over_the_number_evicts", || {
        let (fd, _peer, callers) = crowded();
        let (other, far) = unix_pair(libc::SOCK_STREAM);
        // SAFETY: no pointers.
        assert_eq!(unsafe { libc::dup2(other, fd) }, fd);
        assert_eq!(attach(fd), fd);
        all_were_evicted(callers);
        works(fd, far);
        assert_eq!(destroy(fd), 0);
        works(other, far);
    });
}

#[test]
fn recv_fds_that_gets_the_number_evicts() {
    alone("recv_fds_that_gets_the_number_evicts", || {
        let (sender, receiver) = unix_pair(libc::SOCK_STREAM);
        let (sent, far) = unix_pair(libc::SOCK_STREAM);
        // SAFETY: one descriptor, and no bytes.
        let n = unsafe { netfd_send_fds(sender, &sent, 1, std::ptr::null(), 0) };
        assert_eq!(n, 0, "{}", error_text());
        let (fd, _peer, callers) = crowded();
        plain_close(fd);
        let (mut got, mut came) = (-1, 0);
        // SAFETY: there is room for one descriptor, and none for bytes.
        let n =
            unsafe { netfd_recv_fds(receiver, &mut got, 1, &mut came, std::ptr::null_mut(), 0) };
        assert_eq!((n, came, got), (0, 1, fd), "{}", error_text());
        all_were_evicted(callers);
        works(fd, far);
    });
}

#[test]
fn an_acceptor_of_a_listener_that_was_closed_is_evicted() {
    alone(
        "an_acceptor_of_a_listener_that_was_closed_is_evicted",
        || {
            let (fd, _) = listener();
            let acceptors: Vec<_> = (0..3)
                .map(|_| spawn(move || accept(fd) as ssize_t))
                .collect();
            await_parked(fd, 3);
            await_handed_over();
            plain_close(fd);
            assert_eq!(socket(libc::AF_INET, libc::SOCK_STREAM), fd);
            all_were_evicted(acceptors);
        },
    );
}

#[test]
fn deadlines_are_not_inherited() {
    alone("deadlines_are_not_inherited", || {
        for behind_the_back in [false, true] {
            let (fd, _peer) = unix_pair(libc::SOCK_STREAM);
            assert_eq!(set_deadline(fd, -1), 0);
            if behind_the_back {
                plain_close(fd);
            } else {
                assert_eq!(destroy(fd), 0);
            }
            let (again, peer) = unix_pair(libc::SOCK_STREAM);
            assert_eq!(again, fd);
            works(fd, peer);
        }
    });
}

#[test]
fn the_token_is_not_inherited() {
    alone("the_token_is_not_inherited", || {
        for behind_the_back in [false, true] {
            let (fd, _peer) = unix_pair(libc::SOCK_STREAM);
            let token = Token::new();
            token.set_on(fd);
            token.fire();
            token.free();
            if behind_the_back {
                plain_close(fd);
            } else {
                assert_eq!(destroy(fd), 0);
            }
            let (again, peer) = unix_pair(libc::SOCK_STREAM);
            assert_eq!(again, fd);
            works(fd, peer);
        }
    });
}

#[test]
fn the_peer_s_address_is_not_inherited() {
    alone("the_peer_s_address_is_not_inherited", || {
        let (listener, at) = listener();
        let fd = socket(libc::AF_INET, libc::SOCK_STREAM);
        assert_eq!(connect(fd, &at), 0, "{}", error_text());
        destroy(accept(listener));
        assert_eq!(destroy(fd), 0);
        assert_eq!(socket(libc::AF_INET, libc::SOCK_STREAM), fd);
        let mut peer = Addr::room();
        // SAFETY: the room is as long as said.
        let code = unsafe { netfd_remote_addr(fd, peer.ptr_mut(), &mut peer.len) };
        assert_eq!(code, -libc::ENOTCONN);
    });
}

#[test]
fn how_a_connection_ended_is_not_inherited() {
    // An error that is kept for later reads belongs to the connection.
    alone("how_a_connection_ended_is_not_inherited", || {
        let (fd, peer) = tcp_pair();
        assert_eq!(write(fd, b"unread"), 6);
        assert_eq!(wait(peer, NETFD_READABLE, 0), NETFD_READABLE);
        assert_eq!(destroy(peer), 0);
        assert_eq!(read_some(fd), -(libc::ECONNRESET as ssize_t));
        assert_eq!(destroy(fd), 0);
        let (one, other) = plain_pair(libc::SOCK_STREAM);
        let (again, end) = if one == fd {
            (one, other)
        } else {
            (other, one)
        };
        assert_eq!(again, fd);
        assert_eq!(attach(fd), fd);
        plain_close(end);
        assert_eq!(read_some(fd), 0, "the end of the stream");
    });
}

#[test]
fn a_reader_of_the_old_descriptor_takes_nothing_of_the_new_one() {
    // It is evicted at the moment at which the old one becomes readable: the
    // old one's readiness must not make it read from the new one.
    alone(
        "a_reader_of_the_old_descriptor_takes_nothing_of_the_new_one",
        || {
            for round in 0..100 {
                let (fd, peer) = unix_pair(libc::SOCK_STREAM);
                let (new, far) = plain_pair(libc::SOCK_STREAM);
                plain_send(far, b"secret");
                let reader = spawn(move || {
                    let mut byte = [0; 1];
                    (read(fd, &mut byte), byte)
                });
                await_parked(fd, 1);
                await_handed_over();
                // The old socket lives on in a copy, and in the reader's poll.
                // SAFETY: no pointers.
                let copy = unsafe { libc::dup(fd) };
                // SAFETY: no pointers.
                assert_eq!(unsafe { libc::dup2(new, fd) }, fd);
                assert_eq!(attach(fd), fd);
                plain_send(peer, b"x");
                let read = reader.join();
                // What a ring has is the old one's, and so is its answer.
                let of_old = may_be_fibers() && read == (1, *b"x");
                assert!(of_old || read == (CLOSED, [0]), "round {round}: {read:?}");
                assert_eq!(plain_recv(fd).as_deref(), Some(&b"secret"[..]));
                assert_eq!(destroy(fd), 0);
                assert_eq!(destroy(peer), 0);
                [new, far, copy].into_iter().for_each(plain_close);
            }
        },
    );
}
