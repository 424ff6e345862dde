//! Options that are plain setsockopt(2) on the descriptor, and work beside the
//! library's calls: TCP_USER_TIMEOUT and TCP Fast Open of tcp(7), multicast of
//! ip(7). Go has no call for the first two (golang/go#4842), and
//! `net.ListenMulticastUDP` for the third (net/listen_test.go).

#![allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test that is out of range has failed"
)]

mod common;

use common::calls::*;
use common::*;
use libc::{AF_INET, IPPROTO_IP, IPPROTO_TCP, SOCK_DGRAM, SOCK_STREAM, c_int};
use std::fs;
use std::mem::zeroed;
use std::process::Command;
use std::time::Instant;

/// setsockopt(2) of a struct.
fn set_struct<T>(fd: c_int, level: c_int, name: c_int, value: &T) -> c_int {
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the value is as long as said.
    unsafe { libc::setsockopt(fd, level, name, std::ptr::from_ref(value).cast(), len) }
}

fn ip(args: &str) -> bool {
    let done = Command::new("ip").args(args.split(' ')).status();
    done.is_ok_and(|status| status.success())
}

/// Runs `body` in a thread that has a network of its own, with nothing in it
/// but a loopback interface, which is up.
fn in_own_network(test: &str, body: impl FnOnce() + Send + 'static) {
    let test = test.to_owned();
    spawn_thread(move || {
        threads_only(); // a fiber would change its worker's network
        // SAFETY: no pointers; a thread may have a network of its own.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
            println!("{test} skipped: no rights to a network of its own");
        } else if !ip("link set lo up") {
            println!("{test} skipped: no ip(8)");
        } else {
            body();
        }
    })
    .join();
}

// TCP Fast Open.

/// The bits of net.ipv4.tcp_fastopen.
const CLIENT: u32 = 1;
const SERVER: u32 = 2;
const CLIENT_WITHOUT_COOKIE: u32 = 4;

fn allow_fast_open(bits: u32) {
    let sysctl = "/proc/sys/net/ipv4/tcp_fastopen";
    fs::write(sysctl, bits.to_string()).expect("it is this network's own");
}

fn info(fd: c_int) -> libc::tcp_info {
    // SAFETY: an all-zero tcp_info is a valid one.
    let mut info: libc::tcp_info = unsafe { zeroed() };
    let mut len = size_of::<libc::tcp_info>() as libc::socklen_t;
    let place = (&raw mut info).cast();
    // SAFETY: the room is as long as said.
    let code = unsafe { libc::getsockopt(fd, IPPROTO_TCP, libc::TCP_INFO, place, &mut len) };
    assert_eq!(code, 0);
    info
}

const SYN_SENT: u8 = 2; // net/tcp_states.h
const OPT_SYN_DATA: u8 = 32; // linux/tcp.h: the SYN's data was acknowledged

fn fast_client() -> c_int {
    let client = socket(AF_INET, SOCK_STREAM);
    set_option(client, IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT, 1);
    client
}

/// A listener that takes data with the SYN, and a client whose netfd_connect()
/// has returned before anything was sent: it has the listener's cookie.
fn deferred() -> (c_int, Addr, c_int) {
    allow_fast_open(CLIENT | SERVER);
    let (listener, at) = listener();
    set_option(listener, IPPROTO_TCP, libc::TCP_FASTOPEN, 16);
    let first = fast_client();
    assert_eq!(connect(first, &at), 0, "it asks for the cookie");
    let served = accept(listener);
    destroy(served);
    destroy(first);
    let client = fast_client();
    assert_eq!(connect(client, &at), 0);
    assert_eq!(info(client).tcpi_state, SYN_SENT, "nothing was sent yet");
    (listener, at, client)
}

#[test]
fn the_first_fast_open_asks_for_a_cookie_and_connects_as_ever() {
    in_own_network(
        "the_first_fast_open_asks_for_a_cookie_and_connects_as_ever",
        || {
            allow_fast_open(CLIENT | SERVER);
            let (listener, at) = listener();
            set_option(listener, IPPROTO_TCP, libc::TCP_FASTOPEN, 16);
            let client = fast_client();
            assert_eq!(connect(client, &at), 0);
            let server = accept(listener);
            assert_eq!(write(client, b"ping"), 4);
            assert_eq!(read_exactly(server, 4), b"ping");
            assert_eq!(info(client).tcpi_options & OPT_SYN_DATA, 0);
            for fd in [listener, client, server] {
                destroy(fd);
            }
        },
    );
}

#[test]
fn data_of_a_fast_open_goes_with_the_syn() {
    in_own_network("data_of_a_fast_open_goes_with_the_syn", || {
        let (listener, at, client) = deferred();
        let remote = remote_addr(client).expect("it has a peer");
        assert_eq!(remote.text(), at.text());
        assert_eq!(wait(client, NETFD_WRITABLE, after(SECOND)), NETFD_WRITABLE);
        let none = accept_now(listener);
        assert_eq!(none, NETFD_EDEADLINE, "nobody has come");
        assert_eq!(write(client, b"ping"), 4);
        let server = accept(listener);
        assert_eq!(read_exactly(server, 4), b"ping");
        assert_ne!(info(client).tcpi_options & OPT_SYN_DATA, 0);
        assert_eq!(write(server, b"pong"), 4);
        assert_eq!(read_exactly(client, 4), b"pong");
        let again = connect(client, &at);
        assert_eq!(again, -libc::EISCONN);
        for fd in [listener, client, server] {
            destroy(fd);
        }
    });
}

/// netfd_accept() of what is there.
fn accept_now(listener: c_int) -> c_int {
    set_read_deadline(listener, after(20 * MS));
    let fd = accept(listener);
    set_read_deadline(listener, 0);
    fd
}

#[test]
fn a_fast_open_larger_than_a_syn_is_written_whole() {
    in_own_network("a_fast_open_larger_than_a_syn_is_written_whole", || {
        let (listener, _, client) = deferred();
        let data = pattern(4 << 20);
        let sent = data.clone();
        let writer = spawn(move || {
            let n = write(client, &sent);
            destroy(client);
            n
        });
        let server = accept(listener);
        assert!(read_to_end(server) == data);
        assert_eq!(writer.join(), 4 << 20);
        destroy(server);
        destroy(listener);
    });
}

#[test]
fn a_read_that_is_parked_before_the_first_write_of_a_fast_open_goes_on() {
    let test = "a_read_that_is_parked_before_the_first_write_of_a_fast_open_goes_on";
    in_own_network(test, || {
        let (listener, _, client) = deferred();
        let reader = spawn(move || read_exactly(client, 4));
        await_parked(client, 1);
        assert_eq!(write(client, b"ping"), 4);
        let server = accept(listener);
        assert_eq!(write(server, b"pong"), 4);
        assert_eq!(reader.join(), b"pong");
        for fd in [listener, client, server] {
            destroy(fd);
        }
    });
}

#[test]
fn a_refused_fast_open_is_told_to_the_first_call_that_finds_out_and_to_reads() {
    let test = "a_refused_fast_open_is_told_to_the_first_call_that_finds_out_and_to_reads";
    in_own_network(test, || {
        let (listener, _, client) = deferred();
        // Other tests start programs, which have a copy of it for a moment.
        assert_eq!(shutdown(listener, libc::SHUT_RDWR), 0);
        destroy(listener);
        let n = write(client, b"ping");
        assert!(n == 4 || n == no(libc::ECONNREFUSED), "{n}");
        for _ in 0..2 {
            assert_eq!(read(client, &mut [0; 4]), no(libc::ECONNREFUSED));
        }
        destroy(client);
    });
}

#[test]
fn a_fast_open_that_was_never_used_is_destroyed() {
    in_own_network("a_fast_open_that_was_never_used_is_destroyed", || {
        let (listener, at, client) = deferred();
        assert_eq!(connect(client, &at), -libc::EISCONN, "it counts as one");
        assert_eq!(destroy(client), 0);
        assert_eq!(accept_now(listener), NETFD_EDEADLINE);
        destroy(listener);
    });
}

/// The kernel says EINPROGRESS of such a write, which must not come out.
#[test]
fn a_write_that_finds_no_cookie_any_more_waits_for_the_handshake() {
    let test = "a_write_that_finds_no_cookie_any_more_waits_for_the_handshake";
    in_own_network(test, || {
        allow_fast_open(CLIENT | SERVER | CLIENT_WITHOUT_COOKIE);
        let (listener, at) = listener();
        let client = fast_client();
        assert_eq!(connect(client, &at), 0);
        assert_eq!(info(client).tcpi_state, SYN_SENT, "nothing was sent yet");
        allow_fast_open(CLIENT | SERVER);
        assert_eq!(write(client, b"ping"), 4, "{}", error_text());
        let server = accept(listener);
        assert_eq!(read_exactly(server, 4), b"ping");
        for fd in [listener, client, server] {
            destroy(fd);
        }
    });
}

// TCP_USER_TIMEOUT.

#[test]
fn a_user_timeout_is_inherited_from_the_listener_and_read_back() {
    let (listener, at) = listener();
    set_option(listener, IPPROTO_TCP, libc::TCP_USER_TIMEOUT, 1_500);
    let client = socket(AF_INET, SOCK_STREAM);
    set_option(client, IPPROTO_TCP, libc::TCP_USER_TIMEOUT, 2_500);
    assert_eq!(connect(client, &at), 0);
    let server = accept(listener);
    let of = |fd| option(fd, IPPROTO_TCP, libc::TCP_USER_TIMEOUT);
    assert_eq!((of(client), of(server)), (2_500, 1_500));
    for fd in [listener, client, server] {
        destroy(fd);
    }
}

/// Two networks, joined by a cable: the calling thread gets the one, and the
/// listener is in the other. Its link-layer address is known for good.
fn across_a_cable() -> Option<(c_int, Addr)> {
    let (send_id, id) = std::sync::mpsc::channel();
    let (joined, go_on) = std::sync::mpsc::channel();
    let other = spawn_thread(move || {
        // SAFETY: no pointers; a thread may have a network of its own.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0);
        // SAFETY: no pointers.
        let _ = send_id.send(unsafe { libc::gettid() });
        if go_on.recv() != Ok(true) || !ip("addr add 192.0.2.2/24 dev vb") || !ip("link set vb up")
        {
            return None;
        }
        Some(listener_at("tcp", "192.0.2.2:0"))
    });
    let id = id.recv().expect("it has a network");
    let cable = format!("link add va type veth peer name vb address 02:00:00:00:00:02 netns {id}");
    let made = ip(&cable) && ip("addr add 192.0.2.1/24 dev va") && ip("link set va up");
    joined.send(made).expect("it waits");
    other.join()
}

#[test]
fn a_user_timeout_ends_a_connection_whose_peer_has_vanished() {
    let test = "a_user_timeout_ends_a_connection_whose_peer_has_vanished";
    in_own_network(test, move || {
        let Some((listener, at)) = across_a_cable() else {
            println!("{test} skipped: no veth");
            return;
        };
        let client = socket(AF_INET, SOCK_STREAM);
        set_option(client, IPPROTO_TCP, libc::TCP_USER_TIMEOUT, 500);
        assert_eq!(connect(client, &at), 0, "{}", error_text());
        let server = accept(listener);
        assert_eq!(write(client, b"a"), 1);
        assert_eq!(read_exactly(server, 1), b"a");
        // From here on nothing arrives: it goes to a stranger's address.
        let lost = "neigh replace 192.0.2.2 lladdr 02:00:00:00:00:03 dev va nud permanent";
        assert!(ip(lost));
        let begun = Instant::now();
        let reader = spawn(move || read(client, &mut [0; 1]));
        await_parked(client, 1);
        assert_eq!(write(client, b"b"), 1);
        assert_eq!(reader.join(), no(libc::ETIMEDOUT));
        assert!(begun.elapsed().as_millis() >= 500);
        assert_eq!(read(client, &mut [0; 1]), no(libc::ETIMEDOUT), "for good");
        for fd in [listener, client, server] {
            destroy(fd);
        }
    });
}

// Multicast.

const LOOPBACK: libc::in_addr = libc::in_addr {
    s_addr: u32::from_ne_bytes([127, 0, 0, 1]),
};

/// The group of "239.255.N.1", by the loopback interface.
fn group(n: u8) -> libc::ip_mreq {
    libc::ip_mreq {
        imr_multiaddr: libc::in_addr {
            s_addr: u32::from_ne_bytes([239, 255, n, 1]),
        },
        imr_interface: LOOPBACK,
    }
}

/// Two sockets that are bound to one port and in the group, and the group's
/// address.
fn members(n: u8) -> (c_int, c_int, Addr) {
    let one = socket(AF_INET, SOCK_DGRAM);
    let two = socket(AF_INET, SOCK_DGRAM);
    let mut at = Addr::parse("udp", &format!("239.255.{n}.1:0"));
    for fd in [one, two] {
        set_option(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1);
        // SAFETY: the address is as long as said.
        assert_eq!(unsafe { libc::bind(fd, at.ptr(), at.len) }, 0);
        let joined = set_struct(fd, IPPROTO_IP, libc::IP_ADD_MEMBERSHIP, &group(n));
        assert_eq!(joined, 0, "{}", std::io::Error::last_os_error());
        at = local_addr(one); // the second one takes the first one's port
    }
    (one, two, at)
}

fn multicaster() -> c_int {
    let sender = socket(AF_INET, SOCK_DGRAM);
    let by = set_struct(sender, IPPROTO_IP, libc::IP_MULTICAST_IF, &LOOPBACK);
    assert_eq!(by, 0);
    sender
}

#[test]
fn a_datagram_to_a_group_reaches_each_member_parked_or_not() {
    let (one, two, at) = members(1);
    let sender = multicaster();
    let parked = spawn(move || {
        let mut buf = [0; 8];
        let (n, _) = recvfrom(one, &mut buf, 0);
        (n, buf)
    });
    await_parked(one, 1);
    assert_eq!(
        sendto(sender, b"to all", 0, Some(&at)),
        6,
        "{}",
        error_text()
    );
    let (n, buf) = parked.join();
    assert_eq!(&buf[..n as usize], b"to all");
    assert_eq!(read_exactly(two, 6), b"to all");
    for fd in [one, two, sender] {
        destroy(fd);
    }
}

#[test]
fn a_member_that_has_left_the_group_hears_no_more_and_the_others_do() {
    let (one, two, at) = members(2);
    let left = set_struct(one, IPPROTO_IP, libc::IP_DROP_MEMBERSHIP, &group(2));
    assert_eq!(left, 0);
    set_option(one, IPPROTO_IP, libc::IP_MULTICAST_ALL, 0);
    let sender = multicaster();
    assert_eq!(sendto(sender, b"x", 0, Some(&at)), 1);
    assert_eq!(read(two, &mut [0; 8]), 1);
    let nothing = recv(one, &mut [0; 8], libc::MSG_DONTWAIT);
    assert_eq!(nothing, no(libc::EAGAIN));
    for fd in [one, two, sender] {
        destroy(fd);
    }
}

#[test]
fn a_sender_that_is_connected_to_a_group_writes_to_it() {
    let (one, two, at) = members(3);
    let sender = multicaster();
    assert_eq!(connect(sender, &at), 0, "{}", error_text());
    assert_eq!(write(sender, b"x"), 1);
    assert_eq!((read(one, &mut [0; 8]), read(two, &mut [0; 8])), (1, 1));
    for fd in [one, two, sender] {
        destroy(fd);
    }
}
