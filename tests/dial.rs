//! netfd_dial, but for names (tests/names.rs) and for the race of several
//! addresses over a network that loses them.
//!
//! Behind it: Go `net.Dialer`: `TestDialTimeout`, `TestDialerLocalAddr`,
//! `TestDialerControl`, `TestDialerKeepAlive`, `TestSelfConnect`,
//! `TestDialLocal`, `TestDialError`; connect(2), tcp(7), unix(7).

#![allow(clippy::indexing_slicing, reason = "a test that indexes wrongly fails")]
#![allow(
    clippy::cast_possible_truncation,
    reason = "sizes of C structs are small"
)]

mod common;

use common::calls::*;
use common::world::*;
use common::*;
use libc::{SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM, c_char, c_int, c_void};
use std::ffi::{CStr, CString};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

const EDEADLINE: c_int = NETFD_EDEADLINE;

/// What the control function is called with: descriptor, network, address.
type Seen<'a> = dyn FnMut(c_int, &str, &str) -> c_int + 'a;

unsafe extern "C" fn control(
    fd: c_int,
    network: *const c_char,
    address: *const c_char,
    seen: *mut c_void,
) -> c_int {
    // SAFETY: `dial_seen` passes a pointer to one.
    let seen = unsafe { &mut *seen.cast::<&mut Seen>() };
    let text = |text| {
        // SAFETY: the library passes texts that end with a NUL.
        unsafe { CStr::from_ptr(text) }
            .to_string_lossy()
            .into_owned()
    };
    seen(fd, &text(network), &text(address))
}

/// netfd_dial() with a control function.
fn dial_seen(
    network: &str,
    address: &str,
    config: netfd_dial_config,
    mut seen: impl FnMut(c_int, &str, &str) -> c_int,
) -> c_int {
    let mut seen: &mut Seen = &mut seen;
    let config = netfd_dial_config {
        control: Some(control),
        control_arg: (&raw mut seen).cast(),
        ..config
    };
    dial(network, address, Some(&config))
}

/// netfd_dial() by a deadline.
fn dial_by(network: &str, address: &str, deadline: i64) -> c_int {
    let config = netfd_dial_config {
        deadline,
        ..dial_config()
    };
    dial(network, address, Some(&config))
}

/// netfd_dial() from a local address.
fn dial_from(network: &str, from: &str, to: &str) -> c_int {
    let from = CString::new(from).expect("no NUL");
    let config = netfd_dial_config {
        local_address: from.as_ptr(),
        ..dial_config()
    };
    dial(network, to, Some(&config))
}

/// A descriptor, or the test fails.
fn good(fd: c_int) -> c_int {
    assert!(fd >= 0, "{fd}: {}", error_text());
    fd
}

/// A dial that fails, and what is said of it.
fn fails(network: &str, address: &str, code: c_int, text: &str) {
    assert_eq!(dial(network, address, None), code, "{network} {address}");
    assert_eq!(error_text(), text);
}

fn destroy_all(fds: impl IntoIterator<Item = c_int>) {
    for fd in fds {
        assert_eq!(destroy(fd), 0);
    }
}

/// What the record says: operation, network, system call, local and remote
/// address.
fn told() -> [String; 5] {
    let error = last_error();
    [
        c_text(&error.op),
        c_text(&error.network),
        c_text(&error.syscall),
        c_text(&error.local),
        c_text(&error.remote),
    ]
}

/// Who listens on any address of a network: a listener, or a datagram socket.
fn server(network: &str, address: &str) -> (c_int, Addr) {
    match network {
        "udp" | "udp4" | "udp6" | "unixgram" => bound(network, address),
        _ => listener_at(network, address),
    }
}

fn socket_type(fd: c_int) -> c_int {
    option(fd, libc::SOL_SOCKET, libc::SO_TYPE)
}

/// A row per network: an address to listen on, the kind and family of what is
/// dialed.
fn networks() -> Vec<(&'static str, String, c_int, c_int)> {
    let (v4, v6) = ("127.0.0.1:0".to_owned(), "[::1]:0".to_owned());
    vec![
        ("tcp", v4.clone(), SOCK_STREAM, libc::AF_INET),
        ("tcp", v6.clone(), SOCK_STREAM, libc::AF_INET6),
        ("tcp4", v4.clone(), SOCK_STREAM, libc::AF_INET),
        ("tcp6", v6.clone(), SOCK_STREAM, libc::AF_INET6),
        ("udp", v4.clone(), SOCK_DGRAM, libc::AF_INET),
        ("udp", v6.clone(), SOCK_DGRAM, libc::AF_INET6),
        ("udp4", v4, SOCK_DGRAM, libc::AF_INET),
        ("udp6", v6, SOCK_DGRAM, libc::AF_INET6),
        ("unix", unix_path("dial-u"), SOCK_STREAM, libc::AF_UNIX),
        ("unix", abstract_name("dial-u"), SOCK_STREAM, libc::AF_UNIX),
        ("unixgram", unix_path("dial-g"), SOCK_DGRAM, libc::AF_UNIX),
        (
            "unixpacket",
            abstract_name("dial-p"),
            SOCK_SEQPACKET,
            libc::AF_UNIX,
        ),
    ]
}

#[test]
fn each_network_is_dialed() {
    for (network, address, sotype, family) in networks() {
        let (server, at) = server(network, &address);
        let fd = good(dial(network, &at.text(), None));
        assert_eq!(socket_type(fd), sotype, "{network}");
        assert_eq!(c_int::from(local_addr(fd).storage.ss_family), family);
        assert_eq!(remote_addr(fd).map(|at| at.text()), Ok(at.text()));
        let other = if sotype == SOCK_DGRAM {
            server
        } else {
            good(accept(server))
        };
        assert_eq!(write(fd, b"hello"), 5, "{network}");
        let mut buf = [0; 8];
        assert_eq!(read(other, &mut buf), 5, "{network}");
        assert_eq!(&buf[..5], b"hello");
        destroy_all([fd, server]);
        if other != server {
            assert_eq!(destroy(other), 0);
        }
        let _ = std::fs::remove_file(address);
    }
}

#[test]
fn what_is_dialed_does_not_block_and_goes_with_an_exec() {
    for (network, address, ..) in networks() {
        let (server, at) = server(network, &address);
        let fd = good(dial(network, &at.text(), None));
        assert_eq!(flags(fd), (true, true), "{network}");
        destroy_all([fd, server]);
        let _ = std::fs::remove_file(address);
    }
}

#[test]
fn a_datagram_socket_may_broadcast() {
    let (server, at) = udp();
    let fd = good(dial("udp", &at.text(), None));
    assert_eq!(option(fd, libc::SOL_SOCKET, libc::SO_BROADCAST), 1);
    destroy_all([fd, server]);
}

// The address, and who listens there.

#[test]
fn an_empty_host_is_this_machine() {
    for (network, address) in [
        ("tcp", "127.0.0.1:0"),
        ("tcp4", "127.0.0.1:0"),
        ("tcp6", "[::1]:0"),
    ] {
        let (listener, at) = listener_at(network, address);
        for text in [format!(":{}", at.port()), format!("[]:{}", at.port())] {
            let fd = good(dial(network, &text, None));
            assert_eq!(remote_addr(fd).map(|at| at.text()), Ok(at.text()));
            assert_eq!(destroy(fd), 0);
        }
        assert_eq!(destroy(listener), 0);
    }
}

#[test]
fn a_wildcard_is_this_machine_and_that_of_ipv6_is_that_of_ipv4_too() {
    let (listener, at) = listener();
    for text in ["0.0.0.0", "[::]", "[::ffff:0.0.0.0]"] {
        let fd = good(dial("tcp", &format!("{text}:{}", at.port()), None));
        assert_eq!(remote_addr(fd).map(|at| at.text()), Ok(at.text()));
        assert_eq!(destroy(fd), 0);
    }
    assert_eq!(destroy(listener), 0);
}

#[test]
fn both_wildcards_that_refuse_are_told() {
    let at = refusing();
    let port = at.port();
    let text = format!(
        "dial tcp [::]:{port}: connect: connection refused; \
         0.0.0.0:{port}: connect: connection refused"
    );
    fails("tcp", &format!("[::]:{port}"), -libc::ECONNREFUSED, &text);
    let text = format!("dial tcp6 [::]:{port}: connect: connection refused");
    fails("tcp6", &format!("[::]:{port}"), -libc::ECONNREFUSED, &text);
}

#[test]
fn a_mapped_literal_is_dialed_and_told_as_plain_ipv4() {
    let (listener, at) = listener();
    let mapped = |port| format!("[::ffff:127.0.0.1]:{port}");
    for network in ["tcp", "tcp4"] {
        let fd = good(dial(network, &mapped(at.port()), None));
        let family = c_int::from(local_addr(fd).storage.ss_family);
        assert_eq!(family, libc::AF_INET);
        assert_eq!(destroy(fd), 0);
    }
    assert_eq!(destroy(listener), 0);
    let at = refusing();
    let text = format!("dial tcp {}: connect: connection refused", at.text());
    fails("tcp", &mapped(at.port()), -libc::ECONNREFUSED, &text);
    let text = "dial tcp6: address ::ffff:127.0.0.1: no suitable address found";
    fails("tcp6", &mapped(1), NETFD_EADDRESS, text);
}

#[test]
fn a_zone_is_an_interface_by_name_or_number() {
    let (listener, at) = listener_at("tcp", "[::1]:0");
    for zone in ["lo", "1"] {
        let fd = good(dial("tcp", &format!("[::1%{zone}]:{}", at.port()), None));
        assert_eq!(destroy(fd), 0);
    }
    assert_eq!(destroy(listener), 0);
}

#[test]
fn a_port_may_have_a_sign_and_zeros() {
    let (listener, at) = listener();
    let port = at.port();
    for text in [format!("+{port}"), format!("000000{port}")] {
        let fd = good(dial("tcp", &format!("127.0.0.1:{text}"), None));
        assert_eq!(destroy(fd), 0);
    }
    assert_eq!(destroy(listener), 0);
}

#[test]
fn no_port_is_port_0_which_refuses() {
    for text in ["127.0.0.1:", "127.0.0.1:0", "127.0.0.1:-0"] {
        let told = "dial tcp 127.0.0.1:0: connect: connection refused";
        fails("tcp", text, -libc::ECONNREFUSED, told);
    }
}

#[test]
fn a_service_is_a_port() {
    // A datagram needs nobody who listens.
    for service in ["domain", "DOMAIN"] {
        let fd = good(dial("udp", &format!("127.0.0.1:{service}"), None));
        assert_eq!(remote_addr(fd).map(|at| at.port()), Ok(53));
        assert_eq!(destroy(fd), 0);
    }
}

// Bad addresses: each in Go's words. (The grammar is that of tests/resolve.rs.)

#[test]
fn bad_texts_are_told_in_gos_words() {
    let unknown = |name: &str| format!("dial {name}: unknown network {name}");
    for (network, address, code, text) in [
        ("tcp", "", NETFD_EADDRESS, "dial tcp: missing address"),
        ("udp6", "", NETFD_EADDRESS, "dial udp6: missing address"),
        ("unix", "", NETFD_EADDRESS, "dial unix: missing address"),
        (
            "unixgram",
            "",
            NETFD_EADDRESS,
            "dial unixgram: missing address",
        ),
        (
            "tcp",
            "127.0.0.1",
            NETFD_EADDRESS,
            "dial tcp: address 127.0.0.1: missing port in address",
        ),
        (
            "tcp",
            "::1:80",
            NETFD_EADDRESS,
            "dial tcp: address ::1:80: too many colons in address",
        ),
        (
            "tcp",
            "127.0.0.1:65536",
            NETFD_EADDRESS,
            "dial tcp: address 65536: invalid port",
        ),
        (
            "udp4",
            "127.0.0.1:nosuch",
            NETFD_EADDRESS,
            "dial udp4: lookup udp/nosuch: unknown port",
        ),
        (
            "tcp4",
            "[::1]:80",
            NETFD_EADDRESS,
            "dial tcp4: address ::1: no suitable address found",
        ),
        (
            "tcp",
            "a b:80",
            NETFD_EADDRESS,
            "dial tcp: lookup a b: no such host",
        ),
        ("foo", "a:80", NETFD_ENETWORK, &unknown("foo")),
        ("TCP", "a:80", NETFD_ENETWORK, &unknown("TCP")),
        ("", "a:80", NETFD_ENETWORK, "dial: unknown network "),
    ] {
        fails(network, address, code, text);
        let error = last_error();
        assert_eq!((error.code, error.flags), (code, 0));
        let [op, _, syscall, local, remote] = told();
        assert_eq!(op, "dial");
        assert_eq!([syscall, local, remote], ["", "", ""]);
    }
}

#[test]
fn the_kernels_failures_are_told_in_full() {
    let refuses = refusing().text();
    let missing = unix_path("dial-missing");
    let stale = unix_path("dial-stale");
    assert_eq!(destroy(listener_at("unix", &stale).0), 0);
    let nameless = abstract_name("dial-nobody");
    let seqpacket = unix_path("dial-kind");
    let (listener, _) = listener_at("unixpacket", &seqpacket);
    for (network, address, errno, why) in [
        ("tcp", &refuses, libc::ECONNREFUSED, "connection refused"),
        ("tcp4", &refuses, libc::ECONNREFUSED, "connection refused"),
        ("unix", &missing, libc::ENOENT, "no such file or directory"),
        (
            "unixgram",
            &missing,
            libc::ENOENT,
            "no such file or directory",
        ),
        ("unix", &stale, libc::ECONNREFUSED, "connection refused"),
        ("unix", &nameless, libc::ECONNREFUSED, "connection refused"),
        (
            "unix",
            &seqpacket,
            libc::EPROTOTYPE,
            "protocol wrong type for socket",
        ),
    ] {
        let text = format!("dial {network} {address}: connect: {why}");
        fails(network, address, -errno, &text);
        assert_eq!(last_error().flags, 0);
        assert_eq!(told(), ["dial", network, "connect", "", address]);
    }
    assert_eq!(destroy(listener), 0);
    for path in [stale, seqpacket] {
        let _ = std::fs::remove_file(path);
    }
}

#[test]
fn a_unix_path_that_is_too_long_is_einval() {
    for network in ["unix", "unixgram", "unixpacket"] {
        for path in ["p".repeat(UNIX_PATH), format!("@{}", "n".repeat(UNIX_PATH))] {
            assert_eq!(dial(network, &path, None), -libc::EINVAL);
            assert_eq!(dial_from(network, &path, "/x"), -libc::EINVAL);
            let text = error_text();
            let begins = text.starts_with(&format!("dial {network}"));
            assert!(begins && text.ends_with(": invalid argument"), "{text}");
        }
    }
}

#[test]
fn a_dialed_datagram_socket_hears_of_a_refusal_by_its_next_call() {
    let fd = good(dial("udp", &nobody().text(), None));
    assert_eq!(write(fd, b"x"), 1);
    let told = recv(fd, &mut [0; 8], 0);
    assert_eq!(told, no(libc::ECONNREFUSED));
    assert_eq!(destroy(fd), 0);
}

// The local address.

#[test]
fn a_local_address_is_where_the_connection_comes_from() {
    let (listener, at) = listener();
    for (from, host) in [
        ("127.0.0.2:0", "127.0.0.2"),
        ("[::ffff:127.0.0.3]:0", "127.0.0.3"),
        ("127.0.0.4:", "127.0.0.4"),
    ] {
        let fd = good(dial_from("tcp", from, &at.text()));
        let other = good(accept(listener));
        let peer = remote_addr(other).map(|at| at.text());
        assert_eq!(peer, Ok(local_addr(fd).text()));
        assert!(local_addr(fd).text().starts_with(&format!("{host}:")));
        destroy_all([fd, other]);
    }
    assert_eq!(destroy(listener), 0);
}

#[test]
fn a_local_port_alone_is_of_the_targets_family() {
    for (network, address) in [("tcp", "127.0.0.1:0"), ("tcp", "[::1]:0")] {
        let (listener, at) = listener_at(network, address);
        let port = free_place().port();
        let fd = good(dial_from("tcp", &format!(":{port}"), &at.text()));
        assert_eq!(local_addr(fd).port(), port);
        reset(fd);
        assert_eq!(destroy(listener), 0);
    }
}

#[test]
fn a_local_wildcard_is_of_the_targets_family_whichever_it_names() {
    // Go's wildcard suits each target.
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let (listener, at) = listener_at("tcp", address);
        for from in ["0.0.0.0:0", "[::]:0", ":0", ":", ""] {
            let fd = good(dial_from("tcp", from, &at.text()));
            assert_eq!(destroy(fd), 0);
        }
        assert_eq!(destroy(listener), 0);
    }
}

#[test]
fn an_empty_host_is_of_the_local_addresss_family() {
    let (listener, at) = listener_at("tcp", "[::1]:0");
    let fd = good(dial_from("tcp", "[::1]:0", &format!(":{}", at.port())));
    destroy_all([fd, listener]);
}

#[test]
fn a_local_address_of_another_family_is_told_in_gos_words() {
    for (network, from, to) in [
        ("tcp", "127.0.0.1:0", "[::1]:1"),
        ("tcp", "[::1]:0", "127.0.0.1:1"),
        ("udp", "[::1]:0", "127.0.0.1:1"),
    ] {
        assert_eq!(dial_from(network, from, to), NETFD_EADDRESS);
        let text = format!("dial {network}: address {from}: no suitable address found");
        assert_eq!(error_text(), text);
    }
}

#[test]
fn a_local_address_that_is_none_is_eaddress() {
    for from in ["localhost:0", "127.0.0.1:http", "127.0.0.1", "x", ":65536"] {
        assert_eq!(
            dial_from("tcp", from, "127.0.0.1:1"),
            NETFD_EADDRESS,
            "{from}"
        );
        let text = error_text();
        assert!(text.starts_with("dial tcp: address "), "{text}");
    }
}

#[test]
fn a_local_port_that_is_taken_is_told_with_both_addresses() {
    let (listener, to) = listener();
    let from = refusing();
    let code = dial_from("tcp", &from.text(), &to.text());
    assert_eq!(code, -libc::EADDRINUSE);
    let (from, to) = (from.text(), to.text());
    let text = format!("dial tcp {from}->{to}: bind: address already in use");
    assert_eq!(error_text(), text);
    assert_eq!(told(), ["dial", "tcp", "bind", &from, &to]);
    assert_eq!(destroy(listener), 0);
}

#[test]
fn a_refusal_is_told_with_the_local_address_where_the_caller_named_one() {
    let to = refusing().text();
    let code = dial_from("tcp", "127.0.0.2:0", &to);
    assert_eq!(code, -libc::ECONNREFUSED);
    let text = format!("dial tcp 127.0.0.2:0->{to}: connect: connection refused");
    assert_eq!(error_text(), text);
}

#[test]
fn a_local_unix_path_is_who_sends() {
    let (to, from) = (unix_path("dial-to"), unix_path("dial-from"));
    let (server, _) = bound("unixgram", &to);
    let fd = good(dial_from("unixgram", &from, &to));
    assert_eq!(write(fd, b"ping"), 4);
    let mut buf = [0; 8];
    let (n, sender) = recvfrom(server, &mut buf, 0);
    assert_eq!((n, sender.text()), (4, from.clone()));
    assert_eq!(sendto(server, b"pong", 0, Some(&sender)), 4);
    assert_eq!(read(fd, &mut buf), 4);
    destroy_all([fd, server]);
    let (listener, _) = listener_at("unix", &abstract_name("dial-to"));
    let name = abstract_name("dial-from");
    let fd = good(dial_from("unix", &name, &abstract_name("dial-to")));
    let other = good(accept(listener));
    assert_eq!(remote_addr(other).map(|at| at.text()), Ok(name));
    destroy_all([fd, other, listener]);
    for path in [to, from] {
        let _ = std::fs::remove_file(path);
    }
}

#[test]
fn a_local_unix_file_goes_with_a_dial_that_fails_and_stays_with_one_that_does_not() {
    let (from, to) = (unix_path("dial-goes"), unix_path("dial-stays"));
    for _ in 0..2 {
        let code = dial_from("unixgram", &from, &to);
        assert_eq!(code, -libc::ENOENT, "{}", error_text());
        let text = format!("dial unixgram {from}->{to}: connect: no such file or directory");
        assert_eq!(error_text(), text);
        assert!(std::fs::metadata(&from).is_err(), "it is gone");
    }
    let (server, _) = bound("unixgram", &to);
    let fd = good(dial_from("unixgram", &from, &to));
    destroy_all([fd]);
    assert!(std::fs::metadata(&from).is_ok(), "as in Go");
    // A file that another has is told, and left alone.
    let code = dial_from("unixgram", &from, &to);
    assert_eq!(code, -libc::EADDRINUSE);
    assert!(std::fs::metadata(&from).is_ok());
    destroy_all([server]);
    for path in [to, from] {
        let _ = std::fs::remove_file(path);
    }
}

#[test]
fn an_empty_local_unix_address_is_none() {
    let name = abstract_name("dial-unnamed");
    let (server, _) = bound("unixgram", &name);
    let fd = good(dial_from("unixgram", "", &name));
    assert_eq!(local_addr(fd).text(), "", "as without one");
    destroy_all([fd, server]);
}

// Options.

fn tcp_option(fd: c_int, name: c_int) -> c_int {
    option(fd, libc::IPPROTO_TCP, name)
}

/// TCP_NODELAY, SO_KEEPALIVE and its three numbers.
fn options(fd: c_int) -> [c_int; 5] {
    [
        tcp_option(fd, libc::TCP_NODELAY),
        option(fd, libc::SOL_SOCKET, libc::SO_KEEPALIVE),
        tcp_option(fd, libc::TCP_KEEPIDLE),
        tcp_option(fd, libc::TCP_KEEPINTVL),
        tcp_option(fd, libc::TCP_KEEPCNT),
    ]
}

/// The options of what is dialed with `config`.
fn options_of(config: &netfd_dial_config) -> [c_int; 5] {
    let (listener, at) = listener();
    let fd = good(dial("tcp", &at.text(), Some(config)));
    let found = options(fd);
    destroy_all([fd, listener]);
    found
}

/// The kernel's own.
fn kernels() -> [c_int; 5] {
    let fd = socket(libc::AF_INET, SOCK_STREAM);
    let found = options(fd);
    assert_eq!(destroy(fd), 0);
    found
}

#[test]
fn a_connection_has_gos_options() {
    let mut both = vec![("tcp4", "127.0.0.1:0"), ("tcp6", "[::1]:0")];
    both.push(("tcp", "127.0.0.1:0"));
    for (network, address) in both {
        let (listener, at) = listener_at(network, address);
        let fd = good(dial(network, &at.text(), None));
        assert_eq!(options(fd), [1, 1, 15, 15, 9]);
        destroy_all([fd, listener]);
    }
}

#[test]
fn own_values_are_rounded_up_to_seconds() {
    for (ns, seconds) in [
        (1, 1),
        (SECOND, 1),
        (SECOND + 1, 2),
        (33 * SECOND, 33),
        (59_999_999_999, 60),
    ] {
        let config = netfd_dial_config {
            keepalive_idle: ns,
            keepalive_interval: ns,
            keepalive_count: 5,
            ..dial_config()
        };
        assert_eq!(options_of(&config), [1, 1, seconds, seconds, 5]);
    }
}

#[test]
fn a_negative_interval_or_count_leaves_the_kernels() {
    let [_, _, _, interval, count] = kernels();
    let config = netfd_dial_config {
        keepalive_interval: -1,
        keepalive_count: -1,
        ..dial_config()
    };
    assert_eq!(options_of(&config), [1, 1, 15, interval, count]);
}

#[test]
fn a_negative_idle_time_turns_keepalive_off() {
    for idle in [-1, i64::MIN] {
        let config = netfd_dial_config {
            keepalive_idle: idle,
            keepalive_interval: 7 * SECOND,
            ..dial_config()
        };
        let [_, on, ..] = options_of(&config);
        assert_eq!(on, 0);
    }
}

#[test]
fn nodelay_is_a_switch() {
    for (nodelay, on) in [(0, 1), (1, 1), (-1, 0)] {
        let config = netfd_dial_config {
            nodelay,
            ..dial_config()
        };
        let [is_on, ..] = options_of(&config);
        assert_eq!(is_on, on, "{nodelay}");
    }
}

fn protocol(fd: c_int) -> c_int {
    option(fd, libc::SOL_SOCKET, libc::SO_PROTOCOL)
}

/// netfd_dial() with the switch for MPTCP.
fn dial_mptcp(network: &str, at: &Addr, mptcp: c_int) -> c_int {
    let config = netfd_dial_config {
        mptcp,
        deadline: after(5 * SECOND),
        ..dial_config()
    };
    good(dial(network, &at.text(), Some(&config)))
}

const MPTCP_SWITCH: &str = "/proc/sys/net/mptcp/enabled";

#[test]
fn mptcp_is_spoken_where_it_is_asked_for() {
    let (listener, at) = listener();
    for mptcp in [0, -1] {
        let fd = dial_mptcp("tcp", &at, mptcp);
        assert_eq!(protocol(fd), libc::IPPROTO_TCP);
        assert_eq!(destroy(fd), 0);
    }
    let enabled = std::fs::read_to_string(MPTCP_SWITCH).is_ok_and(|on| on.trim() == "1");
    let expected = if enabled {
        libc::IPPROTO_MPTCP
    } else {
        libc::IPPROTO_TCP
    };
    let fd = dial_mptcp("tcp", &at, 1);
    assert_eq!(protocol(fd), expected);
    assert_eq!(options(fd)[..2], [1, 1], "its options are set as well");
    destroy_all([fd, listener]);
    // Where it means nothing it does nothing.
    let (server, at) = udp();
    let fd = dial_mptcp("udp", &at, 1);
    assert_eq!(protocol(fd), libc::IPPROTO_UDP);
    destroy_all([fd, server]);
}

#[test]
fn without_mptcp_in_the_kernel_it_is_plain_tcp() {
    if !in_a_world("without_mptcp_in_the_kernel_it_is_plain_tcp", &[]) {
        return;
    }
    if std::fs::write(MPTCP_SWITCH, "0").is_err() {
        println!("skipped: no MPTCP in this kernel");
        return;
    }
    let (listener, at) = listener();
    let fd = dial_mptcp("tcp", &at, 1);
    assert_eq!(protocol(fd), libc::IPPROTO_TCP);
    destroy_all([fd, listener]);
}

#[test]
fn plain_tcp_has_the_time_it_takes_after_mptcp_was_refused() {
    // Who refuses MPTCP is by then there for plain TCP, but does not answer.
    let at = refusing_then_full();
    let mut seen = Vec::new();
    let config = netfd_dial_config {
        mptcp: 1,
        deadline: after(200 * MS),
        ..dial_config()
    };
    let mut fds = Vec::new();
    let code = dial_seen("tcp", &at.1.text(), config, |fd, _, _| {
        seen.push(protocol(fd));
        if protocol(fd) == libc::IPPROTO_TCP {
            fds.extend(fill_up(at.0, &at.1));
        }
        0
    });
    assert_eq!(code, EDEADLINE, "{}", error_text());
    assert_eq!(seen.last(), Some(&libc::IPPROTO_TCP));
    destroy_all(fds.into_iter().chain([at.0]));
}

/// A socket that is bound and does not listen yet.
fn refusing_then_full() -> (c_int, Addr) {
    let at = Addr::parse("tcp", "127.0.0.1:0");
    let fd = socket(libc::AF_INET, SOCK_STREAM);
    // SAFETY: the address is as long as said.
    assert_eq!(unsafe { libc::bind(fd, at.ptr(), at.len) }, 0);
    (fd, local_addr(fd))
}

/// Has it listen, and uses up its backlog.
fn fill_up(fd: c_int, at: &Addr) -> Vec<c_int> {
    // SAFETY: no pointers.
    assert_eq!(unsafe { libc::listen(fd, 1) }, 0);
    (0..2)
        .map(|_| {
            let client = socket(libc::AF_INET, SOCK_STREAM);
            assert_eq!(connect_by(client, at, after(5 * SECOND), no_token()), 0);
            client
        })
        .collect()
}

// The control function.

#[test]
fn control_sees_gos_concrete_network_and_the_address() {
    for (network, address, ..) in networks() {
        let (server, at) = server(network, &address);
        let mut seen = Vec::new();
        let fd = dial_seen(
            network,
            &at.text(),
            dial_config(),
            |fd, network, address| {
                assert_eq!(flags(fd), (true, true));
                seen.push((network.to_owned(), address.to_owned()));
                0
            },
        );
        let is_v6 = c_int::from(at.storage.ss_family) == libc::AF_INET6;
        let concrete = match network {
            "tcp" | "udp" => format!("{network}{}", if is_v6 { 6 } else { 4 }),
            _ => network.to_owned(),
        };
        assert_eq!(seen, [(concrete, at.text())]);
        destroy_all([good(fd), server]);
        let _ = std::fs::remove_file(address);
    }
}

#[test]
fn control_runs_before_bind_and_connect() {
    let (listener, at) = listener();
    let config = netfd_dial_config {
        local_address: c"127.0.0.2:0".as_ptr(),
        ..dial_config()
    };
    let fd = dial_seen("tcp", &at.text(), config, |fd, _, _| {
        assert_eq!(local_addr(fd).text(), "0.0.0.0:0");
        let peer = remote_addr(fd).map(|at| at.text());
        assert_eq!(peer, Err(-libc::ENOTCONN));
        0
    });
    let local = local_addr(good(fd)).text();
    assert!(local.starts_with("127.0.0.2:"), "{local}");
    destroy_all([fd, listener]);
}

#[test]
fn what_control_sets_is_in_force() {
    let (listener, at) = listener();
    let fd = dial_seen("tcp", &at.text(), dial_config(), |fd, _, _| {
        set_option(fd, libc::IPPROTO_IP, libc::IP_TOS, 0x10);
        1 // not negative: go on
    });
    assert_eq!(option(good(fd), libc::IPPROTO_IP, libc::IP_TOS), 0x10);
    destroy_all([fd, listener]);
}

#[test]
fn a_negative_result_of_control_is_dials_and_nothing_is_begun() {
    if !by_itself("a_negative_result_of_control_is_dials_and_nothing_is_begun") {
        return; // or another test gets the number
    }
    let (listener, at) = listener();
    for code in [-1, -libc::EPERM, -77_777, NETFD_ECANCELED, c_int::MIN] {
        let mut open = -1;
        let result = dial_seen("tcp", &at.text(), dial_config(), |fd, _, _| {
            open = fd;
            code
        });
        assert_eq!(result, code);
        assert!(!is_open(open));
        assert_eq!(last_error().code, code);
        let text = error_text();
        assert!(
            text.starts_with(&format!("dial tcp {}: ", at.text())),
            "{text}"
        );
    }
    assert_eq!(wait(listener, NETFD_READABLE, after(20 * MS)), EDEADLINE);
    assert_eq!(destroy(listener), 0);
}

#[test]
fn a_negative_result_ends_it_though_there_are_more_addresses() {
    let mut calls = 0;
    let at = format!("[::]:{}", refusing().port());
    let code = dial_seen("tcp", &at, dial_config(), |_, _, _| {
        calls += 1;
        -libc::EPERM
    });
    assert_eq!((code, calls), (-libc::EPERM, 1));
}

#[test]
fn control_runs_for_each_attempt() {
    let port = refusing().port();
    let mut seen = Vec::new();
    let at = format!("[::]:{port}");
    let code = dial_seen("tcp", &at, dial_config(), |_, network, address| {
        seen.push(format!("{network} {address}"));
        0
    });
    assert_eq!(code, -libc::ECONNREFUSED);
    let expected = [format!("tcp6 [::]:{port}"), format!("tcp4 0.0.0.0:{port}")];
    assert_eq!(seen, expected);
}

#[test]
fn control_may_destroy_its_descriptor() {
    if !by_itself("control_may_destroy_its_descriptor") {
        return; // or another test gets the number
    }
    let (listener, at) = listener();
    let mut number = -1;
    let code = dial_seen("tcp", &at.text(), dial_config(), |fd, _, _| {
        number = fd;
        let begun = Instant::now();
        assert_eq!(destroy(fd), 0, "at once");
        assert!(begun.elapsed() < GUARD);
        assert_eq!(destroy(fd), NETFD_ECLOSED);
        assert!(is_open(fd), "the dial closes it");
        0
    });
    assert_eq!(code, NETFD_ECLOSED);
    assert_eq!(last_error().flags, NETFD_ERROR_CLOSED);
    assert!(!is_open(number), "the number is free");
    assert_eq!(wait(listener, NETFD_READABLE, after(20 * MS)), EDEADLINE);
    assert_eq!(destroy(listener), 0);
}

#[test]
fn what_control_destroys_is_closed_once() {
    let test = "what_control_destroys_is_closed_once";
    let options = ["-e", "trace=fcntl,close"];
    let body = || {
        let (listener, at) = listener();
        let code = dial_seen("tcp", &at.text(), dial_config(), |fd, _, _| {
            // What shows the number in the trace.
            assert!(fcntl(fd, libc::F_GETFL) >= 0);
            destroy(fd)
        });
        assert_eq!(code, NETFD_ECLOSED);
        assert_eq!(destroy(listener), 0);
    };
    let Some(trace) = alone_under_strace(test, &options, body) else {
        return;
    };
    let shown = trace.rfind("F_GETFL)").expect("the control function ran");
    let (before, after) = trace.split_at(shown);
    let number = before.rsplit("fcntl(").next().expect("its call");
    let number = number.trim_end_matches([',', ' ']);
    let closes = after.matches(&format!("close({number})")).count();
    assert_eq!(closes, 1, "{number}: {after}");
}

#[test]
fn control_may_detach_its_descriptor_which_stays_open() {
    let (listener, at) = listener();
    let mut number = -1;
    let code = dial_seen("tcp", &at.text(), dial_config(), |fd, _, _| {
        number = fd;
        assert_eq!(detach(fd), fd);
        0
    });
    assert_eq!(code, NETFD_ECLOSED);
    assert_eq!(wait(listener, NETFD_READABLE, after(20 * MS)), EDEADLINE);
    assert_eq!(read(number, &mut [0; 1]), no(libc::EBADF), "not attached");
    plain_close(number);
    assert_eq!(destroy(listener), 0);
}

#[test]
fn a_negative_result_after_destroy_is_closed_all_the_same() {
    let (listener, at) = listener();
    let code = dial_seen("tcp", &at.text(), dial_config(), |fd, _, _| {
        assert_eq!(destroy(fd), 0);
        -libc::EPERM
    });
    assert_eq!(code, NETFD_ECLOSED);
    assert_eq!(destroy(listener), 0);
}

#[test]
fn a_dial_within_control_stands_by_itself() {
    let (listener, at) = listener();
    let mut inner = -1;
    let fd = dial_seen("tcp", &at.text(), dial_config(), |outer, _, _| {
        inner = dial_seen("tcp", &at.text(), dial_config(), |fd, _, _| {
            assert_ne!(fd, outer);
            0
        });
        0
    });
    destroy_all([good(fd), good(inner), listener]);
    // And one that destroys the outer descriptor does not wait for itself.
    let (listener, at) = common::listener();
    let code = dial_seen("tcp", &at.text(), dial_config(), |outer, _, _| {
        let code = dial_seen("tcp", &at.text(), dial_config(), |fd, _, _| destroy(fd));
        assert_eq!(code, NETFD_ECLOSED);
        destroy(outer)
    });
    assert_eq!(code, NETFD_ECLOSED);
    assert_eq!(destroy(listener), 0);
}

#[test]
fn a_write_deadline_that_control_sets_counts_and_stays() {
    let (full, at, clients) = full_listener("tcp", "127.0.0.1:0");
    let begun = Instant::now();
    let code = dial_seen("tcp", &at.text(), within_reason(), |fd, _, _| {
        set_write_deadline(fd, after(50 * MS))
    });
    assert_eq!(code, EDEADLINE);
    assert!(begun.elapsed() < Duration::from_secs(5), "not by its own");
    destroy_all(clients.into_iter().chain([full]));
    let (listener, at) = listener();
    let deadline = after(300 * MS);
    let fd = good(dial_seen("tcp", &at.text(), dial_config(), |fd, _, _| {
        set_deadline(fd, deadline)
    }));
    await_that("the deadline passes", || now() > deadline);
    assert_eq!(read(fd, &mut [0; 1]), DEADLINE, "the descriptor's own");
    assert_eq!(write(fd, b"x"), DEADLINE);
    destroy_all([fd, listener]);
}

#[test]
fn a_token_that_control_sets_counts() {
    let (full, at, clients) = full_listener("tcp", "127.0.0.1:0");
    let token = Token::new();
    let (tell, number) = mpsc::channel();
    let to = at.text();
    let waiting = spawn(move || {
        dial_seen("tcp", &to, within_reason(), |fd, _, _| {
            token.set_on(fd);
            tell.send(fd).expect("somebody listens");
            0
        })
    });
    await_parked(number.recv().expect("it runs"), 1);
    token.fire();
    assert_eq!(waiting.join(), NETFD_ECANCELED);
    token.free();
    destroy_all(clients.into_iter().chain([full]));
}

/// A config whose deadline guards against hanging.
fn within_reason() -> netfd_dial_config {
    netfd_dial_config {
        deadline: after(9 * SECOND),
        ..dial_config()
    }
}

// What limits it.

#[test]
fn a_deadline_in_the_past_fails_before_anything_is_made() {
    let (listener, at) = listener();
    for deadline in [1, -1, i64::MIN] {
        for (network, to) in [
            ("tcp", at.text()),
            ("udp", at.text()),
            ("unix", "/x".into()),
        ] {
            let mut calls = 0;
            let config = netfd_dial_config {
                deadline,
                ..dial_config()
            };
            let code = dial_seen(network, &to, config, |_, _, _| {
                calls += 1;
                0
            });
            assert_eq!((code, calls), (EDEADLINE, 0));
            assert_eq!(error_text(), format!("dial {network} {to}: i/o timeout"));
            assert_eq!(last_error().flags, NETFD_ERROR_TIMEOUT);
        }
    }
    assert_eq!(destroy(listener), 0);
}

/// Whether, at the best of a few tries, `call` ends within 50 ms of a deadline
/// that it is given, and never before.
fn is_punctual(call: impl Fn(i64) -> c_int) -> bool {
    (0..5).any(|_| {
        let deadline = after(60 * MS);
        assert_eq!(call(deadline), EDEADLINE, "{}", error_text());
        let late = now() - deadline;
        assert!(late >= 0, "{late} ns early");
        late < 50 * MS
    })
}

#[test]
fn a_deadline_while_connecting_holds() {
    for network in ["tcp", "tcp4"] {
        let (full, at, clients) = full_listener(network, "127.0.0.1:0");
        let to = at.text();
        assert!(is_punctual(|deadline| dial_by(network, &to, deadline)));
        assert_eq!(error_text(), format!("dial {network} {to}: i/o timeout"));
        assert_eq!(told(), ["dial", network, "", "", &to]);
        assert_eq!(last_error().flags, NETFD_ERROR_TIMEOUT);
        destroy_all(clients.into_iter().chain([full]));
    }
}

#[test]
fn a_unix_listener_whose_backlog_is_full_is_waited_for_until_the_deadline() {
    for network in ["unix", "unixpacket"] {
        let name = abstract_name(&format!("dial-full-{network}"));
        let (full, at, clients) = full_listener(network, &name);
        assert!(is_punctual(|deadline| dial_by(
            network,
            &at.text(),
            deadline
        )));
        assert_eq!(error_text(), format!("dial {network} {name}: i/o timeout"));
        destroy_all(clients.into_iter().chain([full]));
    }
}

#[test]
fn a_unix_listener_that_makes_room_is_connected() {
    let name = abstract_name("dial-room");
    let (full, at, clients) = full_listener("unix", &name);
    let (tell, number) = mpsc::channel();
    let to = at.text();
    let waiting = spawn(move || {
        dial_seen("unix", &to, within_reason(), |fd, _, _| {
            tell.send(fd).expect("somebody listens");
            0
        })
    });
    await_parked(number.recv().expect("it runs"), 1);
    let accepted = good(accept(full));
    let fd = good(waiting.join());
    destroy_all(clients.into_iter().chain([full, accepted, fd]));
}

/// Dials a full listener from another thread, ends it there by `end` once it
/// is parked, and returns what it said.
fn ended(
    network: &'static str,
    address: &str,
    token: Token,
    end: impl Fn(c_int),
) -> (c_int, String) {
    let (full, at, clients) = full_listener(network, address);
    let to = at.text();
    let (tell, number) = mpsc::channel();
    let waiting = spawn(move || {
        let token = token;
        let config = netfd_dial_config {
            cancel: token.0,
            ..within_reason()
        };
        let code = dial_seen(network, &to, config, |fd, _, _| {
            tell.send(fd).expect("somebody listens");
            0
        });
        (code, error_text().replace(&to, "ADDRESS"))
    });
    let fd = number.recv().expect("it runs");
    await_parked(fd, 1);
    end(fd);
    let said = waiting.join();
    assert!(!is_open(fd) || parked_lines(fd).is_empty());
    destroy_all(clients.into_iter().chain([full]));
    said
}

#[test]
fn a_token_that_fires_while_connecting_ends_it() {
    for (network, address) in [
        ("tcp", "127.0.0.1:0".to_owned()),
        ("unix", abstract_name("dial-token")),
    ] {
        let token = Token::new();
        let (code, text) = ended(network, &address, token, |_| token.fire());
        assert_eq!(code, NETFD_ECANCELED);
        assert_eq!(
            text,
            format!("dial {network} ADDRESS: operation was canceled")
        );
        token.free();
    }
}

#[test]
fn destroy_by_one_who_knows_the_descriptor_ends_it() {
    for (network, address) in [
        ("tcp", "127.0.0.1:0".to_owned()),
        ("unix", abstract_name("dial-destroy")),
    ] {
        let (code, text) = ended(network, &address, Token(null_mut()), |fd| {
            assert_eq!(destroy(fd), 0);
        });
        assert_eq!(code, NETFD_ECLOSED);
        let closed = "use of closed network connection";
        assert_eq!(text, format!("dial {network} ADDRESS: {closed}"));
    }
}

#[test]
fn detach_by_one_who_knows_the_descriptor_ends_it() {
    let (code, _) = ended("tcp", "127.0.0.1:0", Token(null_mut()), |fd| {
        assert_eq!(detach(fd), fd);
        plain_close(fd);
    });
    assert_eq!(code, NETFD_ECLOSED);
}

#[test]
fn a_token_that_has_fired_ends_it_before_anything_is_made() {
    let (listener, at) = listener();
    let token = Token::new();
    token.fire();
    let mut calls = 0;
    let config = netfd_dial_config {
        cancel: token.0,
        deadline: 1, // the token comes first
        ..dial_config()
    };
    let code = dial_seen("tcp", &at.text(), config, |_, _, _| {
        calls += 1;
        0
    });
    assert_eq!((code, calls), (NETFD_ECANCELED, 0));
    let text = format!("dial tcp {}: operation was canceled", at.text());
    assert_eq!(error_text(), text);
    assert_eq!(last_error().flags, NETFD_ERROR_CANCELED);
    token.free();
    assert_eq!(destroy(listener), 0);
}

#[test]
fn deadline_and_token_end_with_the_dial() {
    let (listener, at) = listener();
    let token = Token::new();
    let deadline = after(300 * MS);
    let config = netfd_dial_config {
        cancel: token.0,
        deadline,
        ..dial_config()
    };
    let fd = good(dial("tcp", &at.text(), Some(&config)));
    let other = good(accept(listener));
    token.fire();
    await_that("the deadline passes", || now() > deadline);
    assert_eq!(write(fd, b"x"), 1);
    assert_eq!(write(other, b"y"), 1);
    assert_eq!(read(fd, &mut [0; 1]), 1);
    token.free();
    destroy_all([fd, other, listener]);
}

extern "C" fn nothing(_: c_int) {}

#[test]
fn a_signal_ends_it_where_the_thread_asked_for_it() {
    handle(libc::SIGUSR1, nothing);
    let (full, at, clients) = full_listener("tcp", "127.0.0.1:0");
    let (tell, told) = mpsc::channel();
    let to = at.text();
    let waiting = spawn_thread(move || {
        // SAFETY: no pointers.
        assert_eq!(unsafe { netfd_set_interruptible(1) }, 0);
        // SAFETY: no pointers.
        let thread = unsafe { libc::pthread_self() };
        dial_seen("tcp", &to, within_reason(), |fd, _, _| {
            tell.send((thread, fd)).expect("somebody listens");
            0
        })
    });
    let (thread, fd) = told.recv().expect("it runs");
    await_parked(fd, 1);
    await_that("the signal is seen", || {
        if !waiting.is_finished() {
            // SAFETY: the thread has not been joined.
            unsafe { libc::pthread_kill(thread, libc::SIGUSR1) };
        }
        std::thread::yield_now();
        waiting.is_finished()
    });
    assert_eq!(waiting.join(), -libc::EINTR);
    destroy_all(clients.into_iter().chain([full]));
}

#[test]
fn signals_by_the_thousand_end_nothing_else() {
    let (full, at, clients) = full_listener("tcp", "127.0.0.1:0");
    let to = at.text();
    let (listener, good_at) = listener();
    let code = spawn_thread(move || {
        let storm = Storm::begin();
        let code = dial_by("tcp", &to, after(100 * MS));
        let fds: Vec<_> = (0..20)
            .map(|_| good(dial("tcp", &good_at.text(), None)))
            .collect();
        drop(storm);
        destroy_all(fds);
        code
    })
    .join();
    assert_eq!(code, EDEADLINE);
    destroy_all(clients.into_iter().chain([full, listener]));
}

// What the kernel does that is not the address's fault.

#[test]
fn eaddrnotavail_is_tried_twice_more() {
    let test = "eaddrnotavail_is_tried_twice_more";
    let inject = ["-e", "trace=connect,socket"];
    let options = ["-e", "inject=connect:error=EADDRNOTAVAIL:when=1..2"];
    let body = || {
        let (listener, at) = listener();
        let mut calls = 0;
        let fd = dial_seen("tcp", &at.text(), dial_config(), |_, _, _| {
            calls += 1;
            0
        });
        assert_eq!(calls, 3);
        destroy_all([good(fd), listener]);
    };
    alone_under_strace(test, &[inject, options].concat(), body);
}

#[test]
fn eaddrnotavail_for_good_is_told() {
    let test = "eaddrnotavail_for_good_is_told";
    let options = [
        "-e",
        "trace=connect",
        "-e",
        "inject=connect:error=EADDRNOTAVAIL:when=1..3",
    ];
    let body = || {
        let (listener, at) = listener();
        assert_eq!(dial("tcp", &at.text(), None), -libc::EADDRNOTAVAIL);
        let why = "connect: cannot assign requested address";
        assert_eq!(error_text(), format!("dial tcp {}: {why}", at.text()));
        assert_eq!(destroy(listener), 0);
    };
    alone_under_strace(test, &options, body);
}

#[test]
fn eaddrnotavail_from_a_port_of_the_callers_is_told_at_once() {
    let test = "eaddrnotavail_from_a_port_of_the_callers_is_told_at_once";
    let options = [
        "-e",
        "trace=connect",
        "-e",
        "inject=connect:error=EADDRNOTAVAIL:when=1",
    ];
    let body = || {
        let (listener, at) = listener();
        let from = free_place().text();
        let code = dial_from("tcp", &from, &at.text());
        assert_eq!(code, -libc::EADDRNOTAVAIL);
        assert_eq!(destroy(listener), 0);
    };
    alone_under_strace(test, &options, body);
}

#[test]
fn a_local_address_that_the_machine_does_not_have_is_told() {
    let code = dial_from("tcp", "192.0.2.77:0", "127.0.0.1:1");
    assert_eq!(code, -libc::EADDRNOTAVAIL);
    let why = "bind: cannot assign requested address";
    assert_eq!(
        error_text(),
        format!("dial tcp 192.0.2.77:0->127.0.0.1:1: {why}")
    );
}

#[test]
fn connect_is_not_made_again_after_eintr() {
    // The call that strace fails is not made at all: only the deadline ends
    // it, and a second connect(2) would have succeeded.
    let test = "connect_is_not_made_again_after_eintr";
    let options = [
        "-e",
        "trace=connect",
        "-e",
        "inject=connect:error=EINTR:when=1",
    ];
    let body = || {
        let (listener, at) = listener();
        let code = dial_by("tcp", &at.text(), after(200 * MS));
        assert!(code < 0, "{code}");
        assert_eq!(wait(listener, NETFD_READABLE, after(0)), EDEADLINE);
        assert_eq!(destroy(listener), 0);
    };
    alone_under_strace(test, &options, body);
}

const PORT_RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";

#[test]
fn a_socket_is_never_connected_to_itself() {
    if !in_a_world("a_socket_is_never_connected_to_itself", &[]) {
        return;
    }
    // Few ports: one in some connects picks the one that it is going to.
    if std::fs::write(PORT_RANGE, "40000 40007").is_err() {
        println!("skipped: the range of ports cannot be changed");
        return;
    }
    let mut themselves = 0;
    for round in 0..2000u32 {
        let port = 40_000 + round % 8;
        for to in [format!("127.0.0.1:{port}"), format!("[::1]:{port}")] {
            let at = Addr::parse("tcp", &to);
            let plain = socket(c_int::from(at.storage.ss_family), SOCK_STREAM);
            if connect(plain, &at) == 0 {
                themselves += 1;
                reset(plain);
            } else {
                assert_eq!(destroy(plain), 0);
            }
            let code = dial("tcp", &to, None);
            let told = [-libc::ECONNREFUSED, -libc::EADDRNOTAVAIL];
            assert!(told.contains(&code), "{code}: {}", error_text());
        }
    }
    assert!(themselves > 0, "the kernel does it at times");
    println!("{themselves} of 4000 plain connects met themselves");
}

#[test]
fn a_dial_to_itself_is_told_as_a_refusal() {
    if !in_a_world("a_dial_to_itself_is_told_as_a_refusal", &[]) {
        return;
    }
    // With one port there is no other to come from.
    if std::fs::write(PORT_RANGE, "40000 40000").is_err() {
        println!("skipped: the range of ports cannot be changed");
        return;
    }
    assert_eq!(dial("tcp", "[::1]:40001", None), -libc::ECONNREFUSED);
    let before = open_fds(); // what a thread keeps included
    let mut calls = 0;
    let code = dial_seen("tcp", "127.0.0.1:40000", dial_config(), |_, _, _| {
        calls += 1;
        0
    });
    assert_eq!(code, -libc::ECONNREFUSED, "{}", error_text());
    let text = "dial tcp 127.0.0.1:40000: connect: connection refused";
    assert_eq!(error_text(), text);
    assert_eq!(calls, 3);
    assert_eq!(open_fds(), before);
}

// What is left behind.

#[test]
fn emfile_is_told_by_the_call_that_has_no_descriptor() {
    if !by_itself("emfile_is_told_by_the_call_that_has_no_descriptor") {
        return;
    }
    let (listener, at) = listener();
    let before = limit_fds(64);
    let used = use_up_fds();
    assert_eq!(dial("tcp", &at.text(), None), -libc::EMFILE);
    let text = format!("dial tcp {}: socket: too many open files", at.text());
    assert_eq!(error_text(), text);
    drop(used);
    limit_fds(before);
    destroy_all([good(dial("tcp", &at.text(), None)), listener]);
}

#[test]
fn the_last_descriptor_is_enough_to_connect() {
    if !by_itself("the_last_descriptor_is_enough_to_connect") {
        return;
    }
    let (listener, at) = listener();
    let (full, full_at, clients) = full_listener("tcp", "127.0.0.1:0");
    let before = limit_fds(64);
    let mut used = use_up_fds();
    used.pop();
    let fd = good(dial_by("tcp", &at.text(), after(5 * SECOND)));
    assert_eq!(destroy(fd), 0);
    // Nor is more needed to wait.
    let deadline = after(50 * MS);
    assert_eq!(dial_by("tcp", &full_at.text(), deadline), EDEADLINE);
    let fd = good(dial("tcp", &format!("[::]:{}", at.port()), None));
    drop(used);
    limit_fds(before);
    destroy_all(clients.into_iter().chain([fd, full, listener]));
}

#[test]
fn nothing_is_left_of_dials_that_fail() {
    if !by_itself("nothing_is_left_of_dials_that_fail") {
        return;
    }
    let (full, full_at, clients) = full_listener("tcp", "127.0.0.1:0");
    let name = abstract_name("dial-left");
    let (unix, _, others) = full_listener("unix", &name);
    let (listener, at) = listener();
    let (at, full_at, refuses) = (at.text(), full_at.text(), refusing());
    let token = Token::new();
    token.fire();
    let both = format!("[::]:{}", refuses.port());
    let round = || {
        let by = |ms| netfd_dial_config {
            deadline: after(ms * MS),
            ..dial_config()
        };
        let canceled = netfd_dial_config {
            cancel: token.0,
            ..dial_config()
        };
        let codes = [
            dial("tcp", &refuses.text(), None),
            dial("tcp", &both, None),
            dial("tcp", "x", None),
            dial("tcp", ":nosuch", None),
            dial("unix", "/nowhere/at/all", None),
            dial("tcp", &full_at, Some(&by(2))),
            dial("unix", &name, Some(&by(2))),
            dial("tcp", &at, Some(&by(-1))),
            dial("tcp", &at, Some(&canceled)),
            dial_from("tcp", &refuses.text(), &at),
            dial_seen("tcp", &at, dial_config(), |_, _, _| -1),
            dial_seen("tcp", &at, dial_config(), |fd, _, _| destroy(fd)),
        ];
        assert!(codes.iter().all(|code| *code < 0), "{codes:?}");
    };
    round(); // what is made once is made
    await_that("helpers end", || threads() <= 2);
    let (fds, table) = (open_fds(), stats().open_fds);
    for _ in 0..20 {
        round();
    }
    await_that("helpers end", || threads() <= 2);
    assert_eq!((open_fds(), stats().open_fds), (fds, table));
    assert_eq!(stats().parked, 0);
    token.free();
    destroy_all(
        clients
            .into_iter()
            .chain(others)
            .chain([full, unix, listener]),
    );
}

#[test]
fn nothing_is_in_syn_sent_after_a_dial_that_came_too_late() {
    let (full, at, clients) = full_listener("tcp", "127.0.0.1:0");
    assert_eq!(dial_by("tcp", &at.text(), after(30 * MS)), EDEADLINE);
    let port = format!("{:04X}", at.port());
    let table = std::fs::read_to_string("/proc/net/tcp").expect("procfs");
    let waiting = table.lines().filter(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words
            .get(2)
            .is_some_and(|peer| peer.ends_with(&format!(":{port}")))
            && words.get(3) == Some(&"02")
    });
    assert_eq!(waiting.count(), 0);
    destroy_all(clients.into_iter().chain([full]));
}

#[test]
fn a_dial_that_succeeds_leaves_nothing_but_its_descriptor() {
    if !by_itself("a_dial_that_succeeds_leaves_nothing_but_its_descriptor") {
        return;
    }
    let (listener, at) = listener();
    let to = format!("[::]:{}", at.port());
    destroy_all([good(dial("tcp", &to, None))]);
    let before = open_fds();
    for _ in 0..50 {
        let fd = good(dial("tcp", &to, None));
        assert_eq!(open_fds(), before + 1);
        assert_eq!(destroy(fd), 0);
    }
    assert_eq!(threads(), 2, "the test's own");
    assert_eq!(destroy(listener), 0);
}

/// Waits, awake, for a number.
fn number(told: &AtomicI32) -> c_int {
    loop {
        match told.load(Ordering::Acquire) {
            -1 => fibers::yield_now(), // a fiber's others, too
            number => return number,
        }
    }
}

/// Passes the time.
fn spin(ns: i64) {
    let until = now() + ns;
    while now() < until {
        std::hint::spin_loop();
    }
}

#[test]
fn a_token_that_fires_at_any_moment_gives_success_or_ecanceled_and_leaves_nothing() {
    let test = "a_token_that_fires_at_any_moment_gives_success_or_ecanceled_and_leaves_nothing";
    if !by_itself(test) {
        return;
    }
    let (listener, at) = listener();
    let to = at.text();
    let mut outcomes = [0; 2];
    let mut before = 0;
    for round in 0..400 {
        if round == 20 {
            before = open_fds(); // what is kept is kept by now
        }
        let token = Token::new();
        let begins = Arc::new(AtomicI32::new(-1));
        let begun = Arc::clone(&begins);
        let firing = spawn(move || {
            let token = token;
            number(&begun);
            spin(round % 100 * 1_000);
            token.fire();
        });
        begins.store(0, Ordering::Release);
        let config = netfd_dial_config {
            cancel: token.0,
            ..dial_config()
        };
        let fd = dial("tcp", &to, Some(&config));
        firing.join();
        outcomes[usize::from(fd < 0)] += 1;
        if fd < 0 {
            assert_eq!(fd, NETFD_ECANCELED);
        } else {
            assert_eq!(write(fd, b"x"), 1, "it is the dial's token alone");
            reset(fd);
        }
        while wait(listener, NETFD_READABLE, after(0)) > 0 {
            reset(good(accept(listener)));
        }
        token.free();
    }
    println!("succeeded, canceled: {outcomes:?}");
    assert!(open_fds() <= before + 1, "{before} -> {}", open_fds());
    assert_eq!(stats().open_fds, 1);
    assert_eq!(destroy(listener), 0);
}

#[test]
fn a_destroy_at_any_moment_gives_success_or_eclosed_and_leaves_nothing() {
    let test = "a_destroy_at_any_moment_gives_success_or_eclosed_and_leaves_nothing";
    if !by_itself(test) {
        return;
    }
    let (listener, at) = listener();
    let to = at.text();
    let mut outcomes = [0; 2];
    for round in 0..400 {
        let told = Arc::new(AtomicI32::new(-1));
        let tell = Arc::clone(&told);
        let destroying = spawn(move || {
            let fd = number(&told);
            spin(round % 100 * 1_000);
            destroy(fd)
        });
        let fd = dial_seen("tcp", &to, dial_config(), |fd, _, _| {
            tell.store(fd, Ordering::Release);
            0
        });
        assert_eq!(destroying.join(), 0, "once, and by who was first");
        outcomes[usize::from(fd < 0)] += 1;
        if fd < 0 {
            assert_eq!(fd, NETFD_ECLOSED);
        } else {
            assert_eq!(destroy(fd), NETFD_ECLOSED);
            assert!(!is_open(fd));
        }
        while wait(listener, NETFD_READABLE, after(0)) > 0 {
            reset(good(accept(listener)));
        }
    }
    println!("succeeded, closed: {outcomes:?}");
    assert_eq!(stats().open_fds, 1);
    assert_eq!(destroy(listener), 0);
}

#[test]
fn many_may_dial_at_once() {
    let (listener, at) = listener();
    let begun = Instant::now();
    let all: Vec<_> = (0..8)
        .map(|_| {
            let to = at.text();
            spawn(move || {
                for _ in 0..25 {
                    let fd = good(dial("tcp", &to, None));
                    assert_eq!(write(fd, b"x"), 1);
                    reset(fd);
                }
            })
        })
        .collect();
    let acceptor = spawn(move || {
        for _ in 0..200 {
            assert_eq!(destroy(good(accept(listener))), 0);
        }
    });
    for one in all {
        one.join();
    }
    acceptor.join();
    assert!(begun.elapsed() < GUARD + Duration::from_secs(1));
    assert_eq!(destroy(listener), 0);
}
