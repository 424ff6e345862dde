//! netfd_listen_stream: Go's `netFD.listenStream` (net/sock_posix.go),
//! bind(2), listen(2), and the backlog of net/sock_linux.go.

#![allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test says what it expects, and knows the sizes"
)]

mod common;

use common::*;
use libc::{AF_INET, AF_INET6, AF_UNIX, SOCK_DGRAM, SOCK_RAW, SOCK_STREAM, c_int};
use std::fs;
use std::path::Path;

fn listen(fd: c_int, at: &Addr, backlog: c_int) -> c_int {
    // SAFETY: the address is as long as said.
    unsafe { netfd_listen_stream(fd, at.ptr(), at.len, backlog) }
}

fn listen_anywhere(fd: c_int, backlog: c_int) -> c_int {
    // SAFETY: NULL is allowed.
    unsafe { netfd_listen_stream(fd, std::ptr::null(), 0, backlog) }
}

/// The backlog that the kernel has for a TCP listener.
fn backlog_of(fd: c_int) -> u32 {
    // SAFETY: all-zero is a valid tcp_info.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut len = std::mem::size_of::<libc::tcp_info>() as libc::socklen_t;
    let to = (&raw mut info).cast();
    // SAFETY: the struct is as long as said.
    let code = unsafe { libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, to, &mut len) };
    assert_eq!(code, 0);
    info.tcpi_sacked // of a listener: sk_max_ack_backlog
}

fn somaxconn() -> u32 {
    let text = fs::read_to_string("/proc/sys/net/core/somaxconn").expect("procfs");
    text.trim().parse().expect("it is a number")
}

fn is_listening(fd: c_int) -> bool {
    option(fd, libc::SOL_SOCKET, libc::SO_ACCEPTCONN) == 1
}

/// That a connection can be made and accepted, and carries a byte.
fn serves(fd: c_int, at: &Addr, sotype: c_int) {
    let client = socket(c_int::from(at.storage.ss_family), sotype);
    assert_eq!(connect_by(client, at, after(5 * SECOND), no_token()), 0);
    let server = accept(fd);
    assert!(server >= 0, "{}", error_text());
    assert_eq!(write(client, b"!"), 1);
    assert_eq!(read_exactly(server, 1), b"!");
    assert_eq!(destroy(client), 0);
    assert_eq!(destroy(server), 0);
}

#[test]
fn a_listener_has_so_reuseaddr() {
    for (network, address) in [("tcp4", "127.0.0.1:0"), ("unix", &abstract_name("reuse"))] {
        let (fd, _) = listener_at(network, address);
        assert_eq!(option(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR), 1);
        assert_eq!(destroy(fd), 0);
    }
}

#[test]
fn it_sets_so_reuseaddr_binds_listens_and_asks_for_the_name_in_that_order() {
    let test = "it_sets_so_reuseaddr_binds_listens_and_asks_for_the_name_in_that_order";
    let trace = alone_under_strace(test, &["-e", "trace=%network"], || {
        let fd = socket(AF_INET, SOCK_STREAM);
        assert_eq!(listen(fd, &Addr::parse("tcp", "127.0.0.1:0"), 0), 0);
    });
    let Some(trace) = trace else { return };
    let calls: Vec<&str> = trace
        .lines()
        .filter_map(|line| line.split_once(' ')?.1.trim().split_once('('))
        .map(|(call, _)| call)
        .skip_while(|call| *call != "socket")
        .collect();
    let expected = ["socket", "setsockopt", "bind", "listen", "getsockname"];
    assert_eq!(calls, expected, "{trace}");
    assert!(trace.contains("SO_REUSEADDR, [1]"), "{trace}");
}

#[test]
fn a_port_whose_connections_linger_can_be_listened_on_at_once() {
    let (fd, at) = listener();
    let client = socket(AF_INET, SOCK_STREAM);
    assert_eq!(connect(client, &at), 0);
    let server = accept(fd);
    assert_eq!(destroy(server), 0); // closes first: TIME_WAIT is on our port
    assert_eq!(read(client, &mut [0]), 0);
    assert_eq!(destroy(client), 0);
    assert_eq!(destroy(fd), 0);
    let again = socket(AF_INET, SOCK_STREAM);
    assert_eq!(listen(again, &at, 0), 0);
    assert_eq!(destroy(again), 0);
}

#[test]
fn a_backlog_of_0_or_less_is_somaxconn() {
    for backlog in [0, -1, c_int::MIN] {
        let fd = socket(AF_INET, SOCK_STREAM);
        assert_eq!(listen_anywhere(fd, backlog), 0);
        assert_eq!(backlog_of(fd), somaxconn(), "{backlog}");
        assert_eq!(destroy(fd), 0);
    }
}

#[test]
fn a_backlog_above_0_is_taken_up_to_somaxconn() {
    for backlog in [1, 7, c_int::MAX] {
        let fd = socket(AF_INET, SOCK_STREAM);
        assert_eq!(listen_anywhere(fd, backlog), 0);
        let expected = (backlog as u32).min(somaxconn());
        assert_eq!(backlog_of(fd), expected, "{backlog}");
        assert_eq!(destroy(fd), 0);
    }
}

/// How many clients a unix listener takes before it says that it is full.
fn room_of(at: &Addr, most: usize) -> usize {
    let mut clients = Vec::new();
    while clients.len() < most {
        let client = socket(AF_UNIX, SOCK_STREAM);
        clients.push(client);
        // SAFETY: the address is as long as said.
        if unsafe { libc::connect(client, at.ptr(), at.len) } != 0 {
            let error = std::io::Error::last_os_error();
            assert_eq!(error.raw_os_error(), Some(libc::EAGAIN));
            break;
        }
    }
    let full = clients.len() < most;
    for client in &clients {
        assert_eq!(destroy(*client), 0);
    }
    clients.len() - usize::from(full)
}

#[test]
fn a_unix_backlog_is_taken_as_it_is_and_0_is_somaxconn() {
    for (backlog, most, expected) in [(3, 10, 4), (0, 150, 150)] {
        let name = abstract_name(&format!("backlog-{backlog}"));
        let at = Addr::parse("unix", &name);
        let fd = socket(AF_UNIX, SOCK_STREAM);
        assert_eq!(listen(fd, &at, backlog), 0);
        assert_eq!(room_of(&at, most), expected);
        assert_eq!(destroy(fd), 0);
    }
}

#[test]
fn without_an_address_the_kernel_picks_a_port() {
    for family in [AF_INET, AF_INET6] {
        let fd = socket(family, SOCK_STREAM);
        assert_eq!(listen_anywhere(fd, 0), 0);
        let at = local_addr(fd);
        assert_ne!(at.port(), 0);
        assert_eq!(c_int::from(at.storage.ss_family), family);
        let network = if family == AF_INET { "tcp4" } else { "tcp6" };
        let here = if family == AF_INET {
            "127.0.0.1"
        } else {
            "[::1]"
        };
        let to = Addr::parse(network, &format!("{here}:{}", at.port()));
        serves(fd, &to, SOCK_STREAM);
        assert_eq!(destroy(fd), 0);
    }
}

#[test]
fn streams_and_seqpackets_of_every_family_listen() {
    let path = unix_path("every");
    let packets = unix_path("every-packets");
    for (network, address) in [
        ("tcp4", "127.0.0.1:0"),
        ("tcp6", "[::1]:0"),
        ("unix", &*path),
        ("unix", &*abstract_name("every")),
        ("unixpacket", &*packets),
        ("unixpacket", &*abstract_name("every-packets")),
    ] {
        let (fd, at) = listener_at(network, address);
        let sotype = option(fd, libc::SOL_SOCKET, libc::SO_TYPE);
        serves(fd, &at, sotype);
        assert_eq!(destroy(fd), 0);
    }
    fs::remove_file(path).unwrap();
    fs::remove_file(packets).unwrap();
}

#[test]
fn an_ipv6_listener_serves_ipv4_where_it_is_told_to() {
    let fd = socket(AF_INET6, SOCK_STREAM);
    let off: c_int = 0;
    let value = (&raw const off).cast();
    // SAFETY: the option is as long as said.
    let code = unsafe { libc::setsockopt(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, value, 4) };
    assert_eq!(code, 0);
    assert_eq!(listen(fd, &Addr::parse("tcp6", "[::]:0"), 0), 0);
    let to = Addr::parse("tcp4", &format!("127.0.0.1:{}", local_addr(fd).port()));
    serves(fd, &to, SOCK_STREAM);
    assert_eq!(destroy(fd), 0);
}

#[test]
fn a_unix_socket_with_an_empty_name_gets_one_from_the_kernel() {
    let fd = socket(AF_UNIX, SOCK_STREAM);
    assert_eq!(listen(fd, &Addr::parse("unix", ""), 0), 0);
    let at = local_addr(fd);
    assert!(at.text().starts_with('@') && at.text().len() > 1);
    serves(fd, &at, SOCK_STREAM);
    assert_eq!(destroy(fd), 0);
}

#[test]
fn an_address_in_use_is_told_and_the_descriptor_listens_elsewhere() {
    let (taken, at) = listener();
    let fd = socket(AF_INET, SOCK_STREAM);
    assert_eq!(listen(fd, &at, 0), -libc::EADDRINUSE);
    assert!(!is_listening(fd));
    assert_eq!(listen(fd, &Addr::parse("tcp", "127.0.0.1:0"), 0), 0);
    serves(fd, &local_addr(fd), SOCK_STREAM);
    serves(taken, &at, SOCK_STREAM);
    assert_eq!(destroy(fd), 0);
    assert_eq!(destroy(taken), 0);
}

#[test]
fn an_address_that_is_nobodys_here_is_told() {
    let fd = socket(AF_INET, SOCK_STREAM);
    let code = listen(fd, &Addr::parse("tcp", "192.0.2.1:0"), 0);
    assert_eq!(code, -libc::EADDRNOTAVAIL);
    assert_eq!(c_text(&last_error().syscall), "bind");
    assert_eq!(destroy(fd), 0);
}

#[test]
fn a_unix_file_that_is_there_already_is_in_use_and_not_removed() {
    let path = unix_path("there");
    fs::write(&path, "somebody's").unwrap();
    let fd = socket(AF_UNIX, SOCK_STREAM);
    let at = Addr::parse("unix", &path);
    assert_eq!(listen(fd, &at, 0), -libc::EADDRINUSE);
    assert_eq!(fs::read_to_string(&path).unwrap(), "somebody's");
    fs::remove_file(&path).unwrap();
    assert_eq!(listen(fd, &at, 0), 0);
    assert_eq!(destroy(fd), 0);
    fs::remove_file(path).unwrap();
}

#[test]
fn a_unix_file_is_removed_again_when_listen_fails_after_bind() {
    // bind(2) names an end of a socketpair, but listen(2) refuses it.
    let path = unix_path("again");
    let (fd, other) = unix_pair(SOCK_STREAM);
    assert_eq!(listen(fd, &Addr::parse("unix", &path), 0), -libc::EINVAL);
    assert_eq!(c_text(&last_error().syscall), "listen");
    assert!(!Path::new(&path).exists());
    assert_eq!(write(fd, b"open"), 4);
    assert_eq!(read_exactly(other, 4), b"open");
    assert_eq!(destroy(fd), 0);
    assert_eq!(destroy(other), 0);
}

#[test]
fn a_unix_file_that_an_earlier_bind_made_stays_when_listen_fails() {
    let path = unix_path("earlier");
    let at = Addr::parse("unix", &path);
    let (fd, other) = unix_pair(SOCK_STREAM);
    // SAFETY: the address is as long as said.
    assert_eq!(unsafe { libc::bind(fd, at.ptr(), at.len) }, 0);
    assert_eq!(listen(fd, &at, 0), -libc::EADDRINUSE);
    assert_eq!(listen_anywhere(fd, 0), -libc::EINVAL);
    assert!(Path::new(&path).exists());
    assert_eq!(destroy(fd), 0);
    assert_eq!(destroy(other), 0);
    fs::remove_file(path).unwrap();
}

#[test]
fn destroy_leaves_the_unix_file() {
    let path = unix_path("left");
    let (fd, _) = listener_at("unix", &path);
    assert_eq!(destroy(fd), 0);
    assert!(Path::new(&path).exists());
    fs::remove_file(path).unwrap();
}

#[test]
fn a_socket_that_was_bound_before_listens_where_it_is() {
    let at = Addr::parse("tcp", "127.0.0.1:0");
    let fd = socket(AF_INET, SOCK_STREAM);
    // SAFETY: the address is as long as said.
    assert_eq!(unsafe { libc::bind(fd, at.ptr(), at.len) }, 0);
    let bound = local_addr(fd);
    assert_eq!(listen_anywhere(fd, 0), 0);
    assert_eq!(local_addr(fd).text(), bound.text());
    serves(fd, &bound, SOCK_STREAM);
    assert_eq!(destroy(fd), 0);
}

#[test]
fn sockets_without_connections_do_not_listen_and_are_not_bound() {
    let path = unix_path("datagrams");
    for (family, sotype, network, address) in [
        (AF_INET, SOCK_DGRAM, "udp4", "127.0.0.1:0"),
        (AF_INET6, SOCK_DGRAM, "udp6", "[::1]:0"),
        (AF_UNIX, SOCK_DGRAM, "unixgram", &*path),
        (AF_INET, SOCK_RAW, "udp4", "127.0.0.1:0"),
    ] {
        // SAFETY: no pointers.
        let fd = unsafe { netfd_sys_socket(family, sotype, libc::IPPROTO_ICMP) };
        let fd = if fd < 0 {
            socket(family, SOCK_DGRAM)
        } else {
            fd
        };
        let before = local_addr(fd).text();
        let code = listen(fd, &Addr::parse(network, address), 0);
        assert_eq!(code, -libc::EOPNOTSUPP, "{network}");
        assert_eq!(local_addr(fd).text(), before);
        assert_eq!(destroy(fd), 0);
    }
    assert!(!Path::new(&path).exists());
}

#[test]
fn a_connected_stream_does_not_listen_and_stays_connected() {
    let (client, server) = tcp_pair();
    assert_eq!(listen_anywhere(client, 0), -libc::EINVAL);
    assert_eq!(write(client, b"!"), 1);
    assert_eq!(read_exactly(server, 1), b"!");
    assert_eq!(destroy(client), 0);
    assert_eq!(destroy(server), 0);
}

#[test]
fn a_second_listen_changes_the_backlog() {
    let (fd, _) = listener();
    assert_eq!(listen_anywhere(fd, 5), 0);
    assert_eq!(backlog_of(fd), 5);
    assert_eq!(destroy(fd), 0);
}

#[test]
fn a_deadline_or_token_of_the_descriptor_does_not_concern_listen() {
    let token = Token::new();
    let fd = socket(AF_INET, SOCK_STREAM);
    token.set_on(fd);
    token.fire();
    // SAFETY: no pointers.
    assert_eq!(unsafe { netfd_set_deadline(fd, 1) }, 0);
    assert_eq!(listen_anywhere(fd, 0), 0);
    assert!(is_listening(fd));
    assert_eq!(destroy(fd), 0);
    token.free();
}
