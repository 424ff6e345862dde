//! netfd_listen_packet: Go's `net.ListenConfig.ListenPacket` (net/dial.go,
//! sock_posix.go `listenDatagram`), its families and words, and what is a
//! datagram socket's own: broadcast, groups, a shared port. Behind it: Go's
//! net/listen_test.go, udpsock_test.go and unixsock_test.go; udp(7), ip(7),
//! ipv6(7), unix(7).

#![allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test says what it expects, and knows the sizes"
)]

mod common;

use common::calls::*;
use common::*;
use libc::{AF_INET, AF_INET6, SOL_SOCKET, c_int};
use std::net::UdpSocket;

/// What receives there, by Go's way.
fn receiving(network: &str, address: &str) -> c_int {
    receiving_as(network, address, &listen_config())
}

fn receiving_as(network: &str, address: &str, config: &netfd_listen_config) -> c_int {
    let fd = listen_packet(network, address, Some(config));
    assert!(fd >= 0, "{network} {address:?}: {}", error_text());
    fd
}

fn family(fd: c_int) -> c_int {
    option(fd, SOL_SOCKET, libc::SO_DOMAIN)
}

fn v6only(fd: c_int) -> c_int {
    option(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY)
}

/// What is received, within a moment, and from where.
fn received(fd: c_int) -> Option<(Vec<u8>, Addr)> {
    let mut buf = [0; 64];
    set_read_deadline(fd, after(5 * SECOND));
    let (n, from) = recvfrom(fd, &mut buf, 0);
    let n = usize::try_from(n).ok()?;
    Some((buf[..n].to_vec(), from))
}

/// Whether nothing is there to be received.
fn is_empty(fd: c_int) -> bool {
    recv(fd, &mut [0; 64], libc::MSG_DONTWAIT) == no(libc::EAGAIN)
}

/// Whether a datagram to that host, at the socket's port, is received; it tells
/// plain IPv4 of a sender of IPv4.
fn takes(fd: c_int, host: &str) -> bool {
    let client = UdpSocket::bind((host, 0)).expect("there are free ports");
    let to = (host, local_addr(fd).port());
    client.connect(to).expect("it need not be there");
    client.send(b"hello").expect("it is sent or refused later");
    // A refusal over the loopback is there at once.
    if client.take_error().expect("it tells").is_some() {
        assert!(is_empty(fd));
        return false;
    }
    let (bytes, from) = received(fd).expect("it has come");
    assert_eq!(bytes, b"hello");
    let sender = client.local_addr().expect("it is bound").to_string();
    assert_eq!(from.text(), sender);
    true
}

#[track_caller]
fn refuses(network: &str, address: &str, code: c_int, words: &str) {
    let result = listen_packet(network, address, None);
    assert_eq!(result, code, "{network} {address:?}");
    assert_eq!(error_text(), words);
    assert_eq!(c_text(&last_error().op), "listen");
}

// Families.

#[test]
fn every_wildcard_of_udp_takes_both_families() {
    for address in ["", ":0", "0.0.0.0:0", "[::]:0"] {
        let fd = receiving("udp", address);
        assert_eq!((family(fd), v6only(fd)), (AF_INET6, 0), "{address:?}");
        assert!(takes(fd, "127.0.0.1"), "{address:?}");
        assert!(takes(fd, "::1"), "{address:?}");
        assert_eq!(destroy(fd), 0);
    }
}

#[test]
fn the_wildcard_of_udp4_takes_ipv4_alone() {
    for address in ["", ":0", "0.0.0.0:0"] {
        let fd = receiving("udp4", address);
        assert_eq!(family(fd), AF_INET, "{address:?}");
        assert!(takes(fd, "127.0.0.1"));
        assert!(!takes(fd, "::1"));
        assert_eq!(destroy(fd), 0);
    }
}

#[test]
fn the_wildcard_of_udp6_takes_ipv6_alone() {
    for address in ["", ":0", "[::]:0"] {
        let fd = receiving("udp6", address);
        assert_eq!((family(fd), v6only(fd)), (AF_INET6, 1), "{address:?}");
        assert!(takes(fd, "::1"));
        assert!(!takes(fd, "127.0.0.1"));
        assert_eq!(destroy(fd), 0);
    }
}

#[test]
fn v6only_on_and_off_are_the_callers() {
    let mut config = listen_config();
    for (network, only) in [("udp", 1), ("udp6", -1)] {
        config.v6only = only;
        let fd = receiving_as(network, ":0", &config);
        assert_eq!((family(fd), v6only(fd)), (AF_INET6, c_int::from(only > 0)));
        assert_eq!(takes(fd, "127.0.0.1"), only < 0);
        assert!(takes(fd, "::1"));
        assert_eq!(destroy(fd), 0);
    }
}

#[test]
fn a_literal_is_of_its_own_family() {
    for (network, address, of) in [
        ("udp", "127.0.0.1:0", AF_INET),
        ("udp4", "127.0.0.1:0", AF_INET),
        ("udp", "[::ffff:127.0.0.1]:0", AF_INET),
        ("udp", "localhost:0", AF_INET),
        ("udp", "[::1]:0", AF_INET6),
        ("udp6", "[::1]:0", AF_INET6),
    ] {
        let fd = receiving(network, address);
        assert_eq!(family(fd), of, "{network} {address}");
        let host = if of == AF_INET { "127.0.0.1" } else { "::1" };
        assert!(takes(fd, host), "{network} {address}");
        assert_eq!(destroy(fd), 0);
    }
}

#[test]
fn a_port_may_be_a_services_name() {
    for (address, at) in [
        ("127.78.0.1:domain", "127.78.0.1:53"),
        ("127.78.0.2:DOMAIN", "127.78.0.2:53"),
    ] {
        let fd = listen_packet("udp", address, None);
        if fd == -libc::EACCES {
            let words = format!("listen udp {at}: bind: permission denied");
            assert_eq!(error_text(), words);
            continue;
        }
        assert!(fd >= 0, "{address}: {}", error_text());
        assert_eq!(local_addr(fd).text(), at);
        assert_eq!(destroy(fd), 0);
    }
}

// What is refused, in Go's words.

#[test]
fn a_text_that_is_no_address_is_refused_in_gos_words() {
    for (network, address, words) in [
        (
            "udp",
            "127.0.0.1",
            "address 127.0.0.1: missing port in address",
        ),
        ("udp", "127.0.0.1:70000", "address 70000: invalid port"),
        ("udp4", "[::1]:0", "address ::1: no suitable address found"),
        (
            "udp6",
            "127.0.0.1:0",
            "address 127.0.0.1: no suitable address found",
        ),
        (
            "udp",
            ":no-such-service",
            "lookup udp/no-such-service: unknown port",
        ),
        ("udp6", "::1:0", "address ::1:0: too many colons in address"),
    ] {
        let words = format!("listen {network}: {words}");
        refuses(network, address, NETFD_EADDRESS, &words);
    }
}

#[test]
fn a_network_of_connections_is_refused() {
    for (network, address) in [
        ("tcp", "127.0.0.1:0"),
        ("tcp4", "127.0.0.1:0"),
        ("tcp6", "[::1]:0"),
        ("unix", "@netfd-connections"),
        ("unixpacket", "/nowhere"),
    ] {
        let words = format!("listen {network}: address {address}: unexpected address type");
        refuses(network, address, NETFD_ENETWORK, &words);
    }
    refuses(
        "udp5",
        ":0",
        NETFD_ENETWORK,
        "listen udp5: unknown network udp5",
    );
}

#[test]
fn an_address_in_use_is_told_as_the_caller_wrote_it() {
    let fd = receiving("udp", ":0");
    let port = local_addr(fd).port();
    for (network, host) in [
        ("udp", ""),
        ("udp4", ""),
        ("udp6", ""),
        ("udp", "0.0.0.0"),
        ("udp", "127.0.0.1"),
    ] {
        let address = format!("{host}:{port}");
        let words = format!("listen {network} {address}: bind: address already in use");
        refuses(network, &address, -libc::EADDRINUSE, &words);
    }
    assert_eq!(destroy(fd), 0);
}

// The descriptor.

#[test]
fn it_is_nonblocking_close_on_exec_and_attached() {
    if !by_itself("it_is_nonblocking_close_on_exec_and_attached") {
        return; // or another test gets the number
    }
    let name = abstract_name("packets");
    for (network, address) in [("udp", ":0"), ("udp4", ":0"), ("unixgram", &*name)] {
        let fd = receiving(network, address);
        assert_eq!(flags(fd), (true, true), "{network}");
        assert_eq!(set_deadline(fd, 0), 0);
        assert_eq!(destroy(fd), 0);
        assert_eq!(set_deadline(fd, 0), NETFD_ECLOSED);
    }
}

#[test]
fn what_concerns_connections_has_no_effect() {
    let mut config = listen_config();
    config.backlog = -5;
    config.keepalive_idle = 5 * SECOND;
    config.nodelay = 1;
    config.mptcp = 1;
    let fd = receiving_as("udp", "127.0.0.1:0", &config);
    assert_eq!(option(fd, SOL_SOCKET, libc::SO_PROTOCOL), libc::IPPROTO_UDP);
    assert_eq!(option(fd, SOL_SOCKET, libc::SO_KEEPALIVE), 0);
    assert!(takes(fd, "127.0.0.1"));
    assert_eq!(destroy(fd), 0);
}

#[test]
fn it_takes_few_system_calls() {
    let test = "it_takes_few_system_calls";
    let trace = alone_under_strace(test, &["-e", "trace=%network"], || {
        receiving("udp", ":0");
    });
    let Some(trace) = trace else { return };
    let calls: Vec<&str> = trace
        .lines()
        .filter_map(|line| line.split_once(' ')?.1.trim().split_once('('))
        .map(|(call, _)| call)
        .skip_while(|call| *call != "socket")
        .collect();
    // IPV6_V6ONLY and SO_BROADCAST.
    let expected = ["socket", "setsockopt", "setsockopt", "bind"];
    assert_eq!(calls, expected, "{trace}");
}

#[test]
fn a_deadline_and_destroy_end_who_receives() {
    let fd = receiving("udp", "127.0.0.1:0");
    set_read_deadline(fd, after(20 * MS));
    assert_eq!(recv(fd, &mut [0; 8], 0), DEADLINE);
    set_read_deadline(fd, 0);
    let task = spawn(move || recv(fd, &mut [0; 8], 0));
    await_parked(fd, 1);
    assert_eq!(destroy(fd), 0);
    assert_eq!(task.join(), CLOSED);
}

#[test]
fn it_is_not_connected_answers_anyone_and_may_be_connected_later() {
    let fd = receiving("udp", "127.0.0.1:0");
    assert_eq!(write(fd, b"x"), no(libc::EDESTADDRREQ));
    assert!(remote_addr(fd).is_err());
    let at = local_addr(fd).text();
    let others = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").expect("ports are free"));
    for other in &others {
        other.set_read_timeout(Some(GUARD)).expect("it is not zero");
        other.send_to(b"ask", &at).expect("it is there");
        let (bytes, from) = received(fd).expect("it has come");
        assert_eq!(bytes, b"ask");
        assert_eq!(sendto(fd, b"answer", 0, Some(&from)), 6);
        let mut buf = [0; 16];
        let (n, from) = other.recv_from(&mut buf).expect("it has come");
        assert_eq!((&buf[..n], from.to_string()), (&b"answer"[..], at.clone()));
    }
    let [mine, stranger] = others;
    let to = mine.local_addr().expect("it is bound").to_string();
    assert_eq!(connect(fd, &Addr::parse("udp", &to)), 0);
    assert_eq!(write(fd, b"yours"), 5);
    stranger
        .send_to(b"strange", &at)
        .expect("it is dropped there");
    mine.send_to(b"mine", &at).expect("it is there");
    assert_eq!(received(fd).expect("it has come").0, b"mine");
    assert!(is_empty(fd), "nobody else is heard");
    assert_eq!(destroy(fd), 0);
}

// Broadcast.

#[test]
fn a_broadcast_may_be_sent() {
    let (to, from) = (receiving("udp4", ":0"), receiving("udp4", ":0"));
    let everyone = format!("127.255.255.255:{}", local_addr(to).port());
    let everyone = Addr::parse("udp4", &everyone);
    let plain = socket(AF_INET, libc::SOCK_DGRAM);
    let refused = sendto(plain, b"hello", 0, Some(&everyone));
    assert_eq!(refused, no(libc::EACCES), "without the option");
    assert_eq!(sendto(from, b"hello", 0, Some(&everyone)), 5);
    assert_eq!(received(to).expect("it has come").0, b"hello");
    for fd in [to, from, plain] {
        assert_eq!(destroy(fd), 0);
    }
}

#[test]
fn so_broadcast_is_udps_alone() {
    for (network, address, on) in [
        ("udp", ":0", 1),
        ("udp4", ":0", 1),
        ("udp6", "[::1]:0", 1),
        ("unixgram", &*abstract_name("broadcast"), 0),
    ] {
        let fd = receiving(network, address);
        assert_eq!(option(fd, SOL_SOCKET, libc::SO_BROADCAST), on, "{network}");
        assert_eq!(destroy(fd), 0);
    }
}

// A shared port.

#[test]
fn an_ordinary_port_is_not_shared() {
    let fd = receiving("udp", "127.0.0.1:0");
    assert_eq!(option(fd, SOL_SOCKET, libc::SO_REUSEADDR), 0);
    assert_eq!(option(fd, SOL_SOCKET, libc::SO_REUSEPORT), 0);
    let there = local_addr(fd).text();
    assert_eq!(listen_packet("udp", &there, None), -libc::EADDRINUSE);
    assert_eq!(destroy(fd), 0);
}

#[test]
fn a_port_is_shared_by_those_who_ask_for_it_and_all_receive() {
    let mut config = listen_config();
    config.reuse_port = 1;
    let one = receiving_as("udp", "127.0.0.1:0", &config);
    let there = local_addr(one).text();
    let other = receiving_as("udp", &there, &config);
    for _ in 0..100 {
        let client = UdpSocket::bind("127.0.0.1:0").expect("ports are free");
        client.send_to(b"hello", &there).expect("they are there");
    }
    let counts = [one, other].map(|fd| {
        let mut n = 0;
        while !is_empty(fd) {
            n += 1;
        }
        n
    });
    assert_eq!(counts[0] + counts[1], 100);
    assert!(counts.iter().all(|n| *n > 0), "{counts:?}");
    assert_eq!(destroy(one), 0);
    assert_eq!(destroy(other), 0);
}

// Groups.

/// The index of the loopback.
const LO: c_int = 1;

/// Joins a group of IPv4 on the loopback, which is the caller's to do.
fn join4(fd: c_int, group: [u8; 4]) {
    let wanted = libc::ip_mreqn {
        imr_multiaddr: libc::in_addr {
            s_addr: u32::from_ne_bytes(group),
        },
        imr_address: libc::in_addr { s_addr: 0 },
        imr_ifindex: LO,
    };
    set(fd, libc::IPPROTO_IP, libc::IP_ADD_MEMBERSHIP, &wanted);
}

fn join6(fd: c_int, group: [u8; 16], interface: libc::c_uint) {
    let wanted = libc::ipv6_mreq {
        ipv6mr_multiaddr: libc::in6_addr { s6_addr: group },
        ipv6mr_interface: interface,
    };
    set(fd, libc::IPPROTO_IPV6, libc::IPV6_ADD_MEMBERSHIP, &wanted);
}

fn set<T>(fd: c_int, level: c_int, name: c_int, value: &T) {
    let (at, len) = (std::ptr::from_ref(value).cast(), size_of::<T>());
    // SAFETY: the value is as long as said.
    let code = unsafe { libc::setsockopt(fd, level, name, at, len as libc::socklen_t) };
    assert_eq!(code, 0, "{}", std::io::Error::last_os_error());
}

/// A port that no datagram socket has.
fn free_port() -> u16 {
    let fd = receiving("udp", ":0");
    let port = local_addr(fd).port();
    assert_eq!(destroy(fd), 0);
    port
}

#[test]
fn a_groups_address_stands_for_its_port_which_others_may_have_too() {
    for (network, group, at) in [
        ("udp", "239.1.2.3", "0.0.0.0"),
        ("udp4", "224.0.0.251", "0.0.0.0"),
        ("udp", "[ff15::7]", "[::]"),
        ("udp6", "[ff02::fb%lo]", "[::]"),
    ] {
        let port = free_port();
        let there = format!("{group}:{port}");
        let (one, other) = (receiving(network, &there), receiving(network, &there));
        for fd in [one, other] {
            assert_eq!(local_addr(fd).text(), format!("{at}:{port}"), "{network}");
            assert_eq!(option(fd, SOL_SOCKET, libc::SO_REUSEADDR), 1);
            assert_eq!(option(fd, SOL_SOCKET, libc::SO_REUSEPORT), 0);
        }
        assert_eq!(destroy(one), 0);
        assert_eq!(destroy(other), 0);
    }
}

#[test]
fn all_who_have_joined_a_group_of_ipv4_receive() {
    let there = format!("239.1.2.4:{}", free_port());
    let all = [(); 2].map(|()| receiving("udp", &there));
    for fd in all {
        join4(fd, [239, 1, 2, 4]);
    }
    let sender = receiving("udp4", ":0");
    let out = libc::ip_mreqn {
        imr_multiaddr: libc::in_addr { s_addr: 0 },
        imr_address: libc::in_addr { s_addr: 0 },
        imr_ifindex: LO,
    };
    set(sender, libc::IPPROTO_IP, libc::IP_MULTICAST_IF, &out);
    let to = Addr::parse("udp4", &there);
    assert_eq!(
        sendto(sender, b"everyone", 0, Some(&to)),
        8,
        "{}",
        error_text()
    );
    for fd in all {
        assert_eq!(received(fd).expect("it has come").0, b"everyone");
        assert_eq!(destroy(fd), 0);
    }
    assert_eq!(destroy(sender), 0);
}

#[test]
fn all_who_have_joined_a_group_of_ipv6_receive() {
    // The loopback is no way to groups of IPv6.
    let test = "all_who_have_joined_a_group_of_ipv6_receive";
    let script = "ip link add here type veth peer name there && ip link set there up && \
                  ip link set here up && ip -6 addr add fd00::1/64 dev here nodad && \
                  exec \"$0\" \"$@\"";
    let words = ["unshare", "-n", "sh", "-c", script];
    let mut command = std::process::Command::new(words[0]);
    let tried = command.args(&words[1..]).arg("true").output();
    if !tried.is_ok_and(|tried| tried.status.success()) {
        println!("skipped: no network namespace of one's own here");
        return;
    }
    if !by_itself_under(test, &words) {
        return;
    }
    let port = free_port();
    let there = format!("[ff15::8]:{port}");
    // SAFETY: the name ends with a NUL.
    let here = unsafe { libc::if_nametoindex(c"here".as_ptr()) };
    let mut group = [0; 16];
    (group[0], group[1], group[15]) = (0xff, 0x15, 8);
    let all = [(); 2].map(|()| receiving("udp", &there));
    for fd in all {
        join6(fd, group, here);
    }
    let sender = receiving("udp6", "[fd00::1]:0");
    set(sender, libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_IF, &here);
    let to = Addr::parse("udp6", &there);
    assert_eq!(
        sendto(sender, b"everyone", 0, Some(&to)),
        8,
        "{}",
        error_text()
    );
    for fd in all {
        assert_eq!(received(fd).expect("it has come").0, b"everyone");
        assert_eq!(destroy(fd), 0);
    }
    assert_eq!(destroy(sender), 0);
}

#[test]
fn a_groups_port_that_another_has_for_himself_is_in_use() {
    let fd = receiving("udp4", ":0");
    let there = format!("239.1.2.5:{}", local_addr(fd).port());
    let words = format!("listen udp4 {there}: bind: address already in use");
    refuses("udp4", &there, -libc::EADDRINUSE, &words);
    assert_eq!(destroy(fd), 0);
}

// Unix.

#[test]
fn unixgram_sockets_receive_by_path_by_abstract_name_and_by_one_of_the_kernels() {
    let path = unix_path("grams");
    let name = abstract_name("grams");
    let sender = socket(libc::AF_UNIX, libc::SOCK_DGRAM);
    for address in [&*path, &*name, ""] {
        let fd = receiving("unixgram", address);
        let at = local_addr(fd);
        if address.is_empty() {
            assert_eq!((&at.text()[..1], at.text().len()), ("@", 6));
        } else {
            assert_eq!(at.text(), address);
        }
        assert_eq!(sendto(sender, b"hello", 0, Some(&at)), 5);
        let (bytes, from) = received(fd).expect("it has come");
        assert_eq!((&*bytes, from.len), (&b"hello"[..], 0), "of nobody");
        assert_eq!(write(fd, b"x"), no(libc::ENOTCONN));
        assert_eq!(destroy(fd), 0);
    }
    assert_eq!(destroy(sender), 0);
    std::fs::remove_file(path).expect("a datagram socket's file stays");
}
