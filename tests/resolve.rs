//! netfd_resolve, where nothing has to be looked up: literals, wildcards, unix
//! paths; what is stored; Go's address grammar and its words.
//!
//! Behind it: Go `net.ResolveTCPAddr`, `net.SplitHostPort`,
//! `Resolver.internetAddrList`, `Resolver.LookupPort`. Names are those of
//! tests/names.rs.

#![allow(clippy::indexing_slicing, reason = "a test that indexes wrongly fails")]

mod common;

use common::calls::*;
use common::*;
use libc::{c_int, sockaddr_storage};
use std::ffi::{CStr, CString};
use std::ptr::{null, null_mut};

/// netfd_resolve() without a limit.
fn all(network: &str, address: &str) -> Vec<String> {
    let found = resolve(network, address, NETFD_NO_DEADLINE);
    found.unwrap_or_else(|code| panic!("{network} {address}: {code}, {}", error_text()))
}

/// What it says of bytes that need not be text.
fn code(network: &[u8], address: &[u8]) -> c_int {
    let network = CString::new(network).expect("no NUL");
    let address = CString::new(address).expect("no NUL");
    // SAFETY: the texts end with a NUL, and there is no room.
    unsafe {
        netfd_resolve(
            network.as_ptr(),
            address.as_ptr(),
            null_mut(),
            0,
            0,
            no_token(),
        )
    }
}

fn fails(network: &str, address: &str, expected: c_int, text: &str) {
    let found = resolve(network, address, NETFD_NO_DEADLINE);
    assert_eq!(found, Err(expected), "{network} {address}");
    assert_eq!(error_text(), text, "{network} {address}");
}

#[test]
fn a_literal_is_its_own_address_on_each_network_of_its_family() {
    for network in ["tcp", "tcp4", "udp", "udp4"] {
        assert_eq!(all(network, "192.0.2.1:80"), ["192.0.2.1:80"]);
    }
    for network in ["tcp", "tcp6", "udp", "udp6"] {
        assert_eq!(all(network, "[2001:DB8::0:1]:80"), ["[2001:db8::1]:80"]);
    }
}

#[test]
fn a_mapped_literal_is_plain_ipv4() {
    for network in ["tcp", "tcp4", "udp", "udp4"] {
        assert_eq!(all(network, "[::ffff:1.2.3.4]:80"), ["1.2.3.4:80"]);
        assert_eq!(all(network, "[::ffff:102:304]:80"), ["1.2.3.4:80"]);
    }
}

#[test]
fn a_zone_is_an_interface_by_name_or_number() {
    assert_eq!(all("tcp", "[fe80::1%lo]:80"), ["[fe80::1%lo]:80"]);
    assert_eq!(all("udp6", "[fe80::1%1]:80"), ["[fe80::1%lo]:80"]);
}

#[test]
fn an_empty_host_is_the_wildcard_of_the_network() {
    assert_eq!(all("tcp", ":80"), ["[::]:80"]);
    assert_eq!(all("udp6", ":80"), ["[::]:80"]);
    assert_eq!(all("tcp4", ":80"), ["0.0.0.0:80"]);
    assert_eq!(all("udp4", "[]:80"), ["0.0.0.0:80"]);
}

#[test]
fn an_empty_port_is_0_and_so_is_an_empty_text() {
    assert_eq!(all("tcp", "127.0.0.1:"), ["127.0.0.1:0"]);
    assert_eq!(all("udp4", ":"), ["0.0.0.0:0"]);
    assert_eq!(all("tcp", ""), ["[::]:0"]);
}

#[test]
fn a_port_is_a_number_with_or_without_a_sign() {
    for (port, expected) in [
        ("0", 0),
        ("1", 1),
        ("65535", 65_535),
        ("0000000000080", 80),
        ("+80", 80),
        ("-0", 0),
        ("+", 0),
        ("-", 0),
    ] {
        let found = all("tcp", &format!("127.0.0.1:{port}"));
        assert_eq!(found, [format!("127.0.0.1:{expected}")], "{port:?}");
    }
}

#[test]
fn a_port_out_of_range_is_told_in_gos_words() {
    for port in [
        "65536",
        "-1",
        "+65536",
        "-65535",
        "4294967296",
        "18446744073709551616",
    ] {
        let address = format!("127.0.0.1:{port}");
        let text = format!("resolve udp: address {port}: invalid port");
        fails("udp", &address, NETFD_EADDRESS, &text);
    }
}

#[test]
fn a_service_is_found_in_any_case_on_its_transport() {
    for (network, port, expected) in [
        ("tcp", "http", 80),
        ("tcp4", "HTTP", 80),
        ("tcp", "hTtPs", 443),
        ("udp", "domain", 53),
        ("udp4", "Domain", 53),
    ] {
        let found = all(network, &format!("127.0.0.1:{port}"));
        assert_eq!(found, [format!("127.0.0.1:{expected}")], "{port}");
    }
    assert_eq!(all("tcp", ":http"), ["[::]:80"]);
    assert_eq!(all("tcp6", "[::1]:ssh"), ["[::1]:22"]);
}

#[test]
fn an_unknown_service_is_told_in_gos_words() {
    for (network, transport) in [("tcp", "tcp"), ("tcp6", "tcp"), ("udp4", "udp")] {
        let text = format!("resolve {network}: lookup {transport}/nosuch: unknown port");
        fails(network, ":nosuch", NETFD_EADDRESS, &text);
    }
    let text = "resolve tcp: lookup tcp/a b: unknown port";
    fails("tcp", "127.0.0.1:a b", NETFD_EADDRESS, text);
    let text = "resolve tcp: lookup tcp/80x: unknown port";
    fails("tcp", "127.0.0.1:80x", NETFD_EADDRESS, text);
    let text = "resolve tcp: lookup tcp/ 80: unknown port";
    fails("tcp", "127.0.0.1: 80", NETFD_EADDRESS, text);
}

#[test]
fn host_and_port_are_parted_as_in_go() {
    for (address, why) in [
        ("x", "missing port in address"),
        ("127.0.0.1", "missing port in address"),
        ("[::1]", "missing port in address"),
        ("[::1]80", "missing port in address"),
        ("[::1]x:80", "missing port in address"),
        ("[[::1]]:80", "missing port in address"),
        ("[]", "missing port in address"),
        ("[::1", "missing ']' in address"),
        ("[::1:80", "missing ']' in address"),
        ("[:", "missing ']' in address"),
        ("::1:80", "too many colons in address"),
        ("a:b:80", "too many colons in address"),
        ("::", "too many colons in address"),
        ("[::1]:80:90", "too many colons in address"),
        ("a[b:80", "unexpected '[' in address"),
        ("[a[b]:80", "unexpected '[' in address"),
        ("[a]:8[0", "unexpected '[' in address"),
        ("a:8[0", "unexpected '[' in address"),
        ("a]b:80", "unexpected ']' in address"),
        ("]:80", "unexpected ']' in address"),
        ("[a]:8]0", "unexpected ']' in address"),
    ] {
        let text = format!("resolve tcp: address {address}: {why}");
        fails("tcp", address, NETFD_EADDRESS, &text);
    }
}

#[test]
fn a_literal_of_another_family_is_told_in_gos_words() {
    for (network, host) in [
        ("tcp4", "::1"),
        ("udp4", "::"),
        ("tcp6", "127.0.0.1"),
        ("udp6", "::ffff:127.0.0.1"),
    ] {
        let text = format!("resolve {network}: address {host}: no suitable address found");
        fails(network, &format!("[{host}]:80"), NETFD_EADDRESS, &text);
    }
}

#[test]
fn a_host_that_cannot_be_one_is_told_in_gos_words() {
    let long = "x".repeat(64);
    let longest = ["x".repeat(63).as_str(); 4].join(".");
    for host in [
        "1.2.3",
        "1.2.3.4.5",
        "1.2.3.256",
        "1.2.3.04",
        "0x7f.1",
        "0x7f000001",
        "127.0.0x1",
        "123",
        "a b",
        "-a",
        "a-",
        "a-.b",
        "a..b",
        ".a",
        "a/b",
        "a\u{e4}",
        &long,
        &longest,
        "1.2.3.4%lo",
        "name%lo",
    ] {
        let text = format!("resolve tcp: lookup {host}: no such host");
        fails("tcp", &format!("{host}:80"), NETFD_EADDRESS, &text);
    }
    for host in ["fe80::1%", "::1::", "12345::", "1:2:3:4:5:6:7:8:9"] {
        let text = format!("resolve tcp: lookup {host}: no such host");
        fails("tcp", &format!("[{host}]:80"), NETFD_EADDRESS, &text);
    }
}

#[test]
fn a_zone_that_is_no_interface_is_refused() {
    // Go takes it for no zone at all.
    let text = "resolve tcp: address fe80::1%nosuch0: no such network interface";
    fails("tcp", "[fe80::1%nosuch0]:80", NETFD_EADDRESS, text);
}

#[test]
fn the_port_is_looked_at_before_the_host() {
    let text = "resolve tcp: address 65536: invalid port";
    fails("tcp", "a b:65536", NETFD_EADDRESS, text);
}

#[test]
fn an_unknown_network_is_told_in_gos_words() {
    for network in [
        "foo",
        "TCP",
        "tcp5",
        "tcp ",
        "ip",
        "ip4:icmp",
        "unixpackets",
    ] {
        let text = format!("resolve {network}: unknown network {network}");
        fails(network, "127.0.0.1:80", NETFD_ENETWORK, &text);
    }
    fails(
        "",
        "127.0.0.1:80",
        NETFD_ENETWORK,
        "resolve: unknown network ",
    );
}

#[test]
fn what_is_no_utf8_is_refused() {
    assert_eq!(code(b"tcp", b"\xff\xfe:80"), NETFD_EADDRESS);
    assert_eq!(code(b"tcp", b"127.0.0.1:\xff"), NETFD_EADDRESS);
    assert_eq!(code(b"t\xff", b"127.0.0.1:80"), NETFD_ENETWORK);
}

#[test]
fn a_complaint_is_on_record_as_that_of_a_resolve() {
    fails(
        "udp4",
        ":nosuch",
        NETFD_EADDRESS,
        "resolve udp4: lookup udp/nosuch: unknown port",
    );
    let error = last_error();
    assert_eq!((error.code, error.flags), (NETFD_EADDRESS, 0));
    assert_eq!(c_text(&error.op), "resolve");
    assert_eq!(c_text(&error.network), "udp4");
    assert_eq!(c_text(&error.syscall), "");
    assert_eq!(c_text(&error.local), "");
    assert_eq!(c_text(&error.remote), "");
}

#[test]
fn unix_addresses_are_paths_and_names() {
    for network in ["unix", "unixgram", "unixpacket"] {
        for address in ["/run/a:b", "relative", "@name", "@"] {
            assert_eq!(all(network, address), [address]);
        }
    }
    // 107 bytes and a NUL; 108 of an abstract name.
    let path = "p".repeat(UNIX_PATH - 1);
    assert_eq!(all("unix", &path), [path.as_str()]);
    let name = format!("@{}", "n".repeat(UNIX_PATH - 1));
    assert_eq!(all("unix", &name), [name.as_str()]);
}

#[test]
fn a_unix_path_that_is_too_long_is_einval() {
    for path in ["p".repeat(UNIX_PATH), format!("@{}", "n".repeat(UNIX_PATH))] {
        let found = resolve("unix", &path, NETFD_NO_DEADLINE);
        assert_eq!(found, Err(-libc::EINVAL));
    }
}

/// netfd_resolve() of "[::1]:7" into room for `cap`.
fn stored(cap: usize) -> (c_int, Vec<sockaddr_storage>) {
    let mut room = vec![Addr::room().storage; 3];
    let (network, address) = (c"tcp", c"[::1]:7");
    // SAFETY: the texts end with a NUL, the room is no shorter than `cap`.
    let n = unsafe {
        let out = room.as_mut_ptr();
        netfd_resolve(network.as_ptr(), address.as_ptr(), out, cap, 0, no_token())
    };
    (n, room)
}

#[test]
fn no_more_is_stored_than_there_are_or_there_is_room_for() {
    for (cap, filled) in [(0, 0), (1, 1), (3, 1)] {
        let (n, room) = stored(cap);
        assert_eq!(n, 1, "how many there are");
        let families: Vec<_> = room.iter().map(|one| c_int::from(one.ss_family)).collect();
        let expected = if filled == 1 { libc::AF_INET6 } else { 0 };
        assert_eq!(families, [expected, 0, 0]);
    }
}

#[test]
fn null_is_no_room_and_efault_where_room_is_promised() {
    let (network, address) = (c"tcp".as_ptr(), c"[::1]:7".as_ptr());
    // SAFETY: NULL is allowed where there is no room.
    let n = unsafe { netfd_resolve(network, address, null_mut(), 0, 0, no_token()) };
    assert_eq!(n, 1);
    // SAFETY: NULL is told.
    let n = unsafe { netfd_resolve(network, address, null_mut(), 1, 0, no_token()) };
    assert_eq!(n, -libc::EFAULT);
}

#[test]
fn a_text_that_is_null_is_efault() {
    for (network, address) in [(null(), c":1".as_ptr()), (c"tcp".as_ptr(), null())] {
        // SAFETY: NULL is told.
        let n = unsafe { netfd_resolve(network, address, null_mut(), 0, 0, no_token()) };
        assert_eq!(n, -libc::EFAULT);
    }
}

#[test]
fn nothing_is_stored_by_a_call_that_fails() {
    let mut room = Addr::room();
    room.storage.ss_family = 77;
    let (network, address) = (c"tcp".as_ptr(), c"[::1]:nosuch".as_ptr());
    let out = &raw mut room.storage;
    // SAFETY: the texts end with a NUL, there is room for one.
    let n = unsafe { netfd_resolve(network, address, out, 1, 0, no_token()) };
    assert_eq!((n, room.storage.ss_family), (NETFD_EADDRESS, 77));
}

#[test]
fn a_deadline_that_has_passed_is_told_though_nothing_is_looked_up() {
    for deadline in [1, -1, i64::MIN, now()] {
        let found = resolve("tcp", "127.0.0.1:80", deadline);
        assert_eq!(found, Err(NETFD_EDEADLINE));
        assert_eq!(error_text(), "resolve tcp: i/o timeout");
        assert_eq!(last_error().flags, NETFD_ERROR_TIMEOUT);
    }
    assert!(resolve("tcp", "127.0.0.1:80", i64::MAX).is_ok());
}

/// netfd_resolve() with a token.
fn resolve_by(address: &CStr, token: Token) -> c_int {
    let network = c"tcp".as_ptr();
    // SAFETY: the texts end with a NUL, there is no room, the token lives.
    unsafe { netfd_resolve(network, address.as_ptr(), null_mut(), 0, 0, token.0) }
}

#[test]
fn a_token_that_has_fired_is_told_though_nothing_is_looked_up() {
    let token = Token::new();
    assert_eq!(resolve_by(c"127.0.0.1:80", token), 1);
    token.fire();
    for address in [c"127.0.0.1:80", c"localhost:80", c":http"] {
        assert_eq!(resolve_by(address, token), NETFD_ECANCELED);
        let text = error_text();
        assert!(text.ends_with(": operation was canceled"), "{text}");
        assert_eq!(last_error().flags, NETFD_ERROR_CANCELED);
    }
    token.free();
}

#[test]
fn a_new_thread_may_look_up() {
    let found = spawn(|| resolve("tcp4", "localhost:80", after(5 * SECOND))).join();
    assert_eq!(found.as_deref(), Ok(&["127.0.0.1:80".to_owned()][..]));
}

#[test]
fn the_answer_is_the_c_librarys_in_its_order() {
    use std::net::ToSocketAddrs;
    let theirs = "localhost:80"
        .to_socket_addrs()
        .expect("there is a localhost");
    let mut expected: Vec<String> = theirs.map(|at| at.to_string()).collect();
    expected.dedup();
    assert_eq!(all("tcp", "localhost:80"), expected);
}

#[test]
fn a_program_with_much_thread_local_storage_looks_up() {
    assert_eq!(run_program(&c_program("tls", true), &[]), "");
}
