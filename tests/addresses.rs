//! netfd_local_addr, netfd_remote_addr, netfd_addr_format, netfd_addr_parse:
//! Go's `net.SplitHostPort`, `netip.ParseAddrPort` and `net.Addr.String`,
//! getsockname(2), getpeername(2).

#![allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test says what it expects, and knows the sizes"
)]

mod common;

use common::*;
use libc::{AF_INET, AF_INET6, AF_UNIX, SOCK_DGRAM, SOCK_STREAM, c_char, c_int, socklen_t};
use std::ffi::CString;
use std::mem::size_of;

/// netfd_addr_parse() of bytes: the text that is read back, or the code.
fn round(network: &[u8], text: &[u8]) -> Result<Vec<u8>, c_int> {
    let mut at = Addr::room();
    let network = CString::new(network).expect("no NUL");
    let text = CString::new(text).expect("no NUL");
    // SAFETY: the texts end with a NUL, the room is as long as said.
    let code = unsafe {
        netfd_addr_parse(
            network.as_ptr(),
            text.as_ptr(),
            &mut at.storage,
            &mut at.len,
        )
    };
    if code != 0 {
        return Err(code);
    }
    let mut text = [0; 128];
    // SAFETY: the address and the buffer are as long as said.
    let n = unsafe { netfd_addr_format(at.ptr(), at.len, text.as_mut_ptr(), text.len()) };
    assert!((0..128).contains(&n), "{n}");
    Ok(text[..n as usize].iter().map(|c| *c as u8).collect())
}

fn reads_as(network: &str, text: &str, expected: Result<&str, c_int>) {
    let read = round(network.as_bytes(), text.as_bytes());
    let read = read.map(|text| String::from_utf8(text).expect("it is text"));
    let expected = expected.map(str::to_owned);
    assert_eq!(read, expected, "{network} {text:?}");
}

fn bytes(at: &Addr) -> Vec<u8> {
    // SAFETY: the storage is initialized all through.
    let all = unsafe { std::slice::from_raw_parts(at.ptr().cast::<u8>(), 128) };
    all[..at.len as usize].to_vec()
}

#[test]
fn inet_addresses_are_host_and_port() {
    for network in ["tcp", "udp", "tcp4", "udp4"] {
        reads_as(network, "127.0.0.1:80", Ok("127.0.0.1:80"));
        reads_as(network, "0.0.0.0:0", Ok("0.0.0.0:0"));
        reads_as(
            network,
            "255.255.255.255:65535",
            Ok("255.255.255.255:65535"),
        );
    }
    for network in ["tcp", "udp", "tcp6", "udp6"] {
        reads_as(network, "[::1]:80", Ok("[::1]:80"));
        reads_as(network, "[2001:DB8::0:1]:1", Ok("[2001:db8::1]:1"));
        reads_as(network, "[::]:0", Ok("[::]:0"));
    }
}

#[test]
fn an_empty_host_is_the_wildcard_of_the_network_and_an_empty_port_0() {
    reads_as("tcp", ":80", Ok("[::]:80"));
    reads_as("udp6", ":80", Ok("[::]:80"));
    reads_as("tcp4", ":80", Ok("0.0.0.0:80"));
    reads_as("udp4", ":", Ok("0.0.0.0:0"));
    reads_as("tcp", "1.2.3.4:", Ok("1.2.3.4:0"));
    reads_as("tcp", "[::1]:", Ok("[::1]:0"));
}

#[test]
fn a_zone_is_an_interface_by_name_or_number() {
    reads_as("tcp", "[fe80::1%lo]:1", Ok("[fe80::1%lo]:1"));
    reads_as("tcp", "[fe80::1%1]:1", Ok("[fe80::1%lo]:1"));
    reads_as("tcp", "[fe80::1%999999]:1", Ok("[fe80::1%999999]:1"));
    for zone in ["", "nosuch0", "+1", "-1", "1x", "4294967296"] {
        let text = format!("[fe80::1%{zone}]:1");
        reads_as("tcp", &text, Err(NETFD_EADDRESS));
    }
    reads_as("tcp", "1.2.3.4%lo:1", Err(NETFD_EADDRESS));
}

#[test]
fn a_mapped_address_reads_as_plain_ipv4() {
    for network in ["tcp", "tcp4", "udp", "udp4"] {
        reads_as(network, "[::ffff:1.2.3.4]:5", Ok("1.2.3.4:5"));
    }
    reads_as("tcp6", "[::ffff:1.2.3.4]:5", Err(NETFD_EADDRESS));
    let at = Addr::parse("tcp", "[::ffff:1.2.3.4]:5");
    assert_eq!(c_int::from(at.storage.ss_family), AF_INET);
}

#[test]
fn an_address_of_another_family_is_none_of_the_network() {
    for network in ["tcp4", "udp4"] {
        reads_as(network, "[::1]:1", Err(NETFD_EADDRESS));
    }
    for network in ["tcp6", "udp6"] {
        reads_as(network, "1.2.3.4:1", Err(NETFD_EADDRESS));
    }
}

#[test]
fn what_does_not_parse_is_eaddress() {
    for text in [
        "",
        "1.2.3.4",
        "80",
        "[::1]",
        "[::1]80",
        "[::1",
        "[::1:80",
        "::1:80",
        "::1]:80",
        "[[::1]]:80",
        "1.2.3.4:80:90",
        "1.2.3.4:65536",
        "1.2.3.4:-1",
        "1.2.3.4:+1",
        "1.2.3.4:+",
        "1.2.3.4:-",
        "1.2.3.4:-0",
        "1.2.3.4: 1",
        "1.2.3.4:0x50",
        "1.2.3.4:http",
        "1.2.3.4:99999999999999999999",
        "localhost:80",
        "1.2.3:80",
        "1.2.3.4.5:80",
        "1.2.3.256:80",
        "01.2.3.4:80",
        "[1:2]:80",
        "[::g]:80",
        " 1.2.3.4:80",
        "1.2.3.4:80 ",
        "\u{ff11}.2.3.4:80",
    ] {
        reads_as("tcp", text, Err(NETFD_EADDRESS));
    }
    assert_eq!(round(b"tcp", b"\xff:80"), Err(NETFD_EADDRESS));
}

#[test]
fn a_network_that_is_none_of_gos_nine_is_enetwork() {
    for network in ["", "TCP", "tcp5", "ip", "ip4", "unixstream", "tcp ", "x"] {
        reads_as(network, "1.2.3.4:5", Err(NETFD_ENETWORK));
    }
    assert_eq!(round(b"tcp\xff", b"1.2.3.4:5"), Err(NETFD_ENETWORK));
}

#[test]
fn unix_addresses_are_paths_and_abstract_names() {
    for network in ["unix", "unixgram", "unixpacket"] {
        for text in ["/run/app.sock", "relative", "@abstract", "@", "a b:c"] {
            reads_as(network, text, Ok(text));
        }
        reads_as(network, "", Ok(""));
    }
}

#[test]
fn a_unix_path_of_any_bytes_is_read_back() {
    // A path is bytes, not UTF-8, for the kernel and for Go.
    assert_eq!(
        round(b"unix", b"/tmp/\xe9\xff"),
        Ok(b"/tmp/\xe9\xff".to_vec())
    );
    assert_eq!(round(b"unix", b"@\xe9"), Ok(b"@\xe9".to_vec()));
}

#[test]
fn a_unix_path_of_107_bytes_fits_and_one_of_108_is_einval() {
    let path = "p".repeat(107);
    let name = format!("@{}", "n".repeat(107));
    reads_as("unix", &path, Ok(&path));
    reads_as("unix", &name, Ok(&name));
    reads_as("unix", &format!("{path}p"), Err(-libc::EINVAL));
    reads_as("unix", &format!("{name}n"), Err(-libc::EINVAL));
    reads_as("unix", &"p".repeat(100_000), Err(-libc::EINVAL));
}

#[test]
fn what_is_parsed_is_what_the_kernel_takes() {
    let inet = Addr::parse("tcp", "127.0.0.1:258");
    assert_eq!(inet.len as usize, size_of::<libc::sockaddr_in>());
    assert_eq!(bytes(&inet)[2..8], [1, 2, 127, 0, 0, 1]);
    assert_eq!(bytes(&inet)[8..], [0; 8]);
    let inet6 = Addr::parse("tcp", "[fe80::1%lo]:258");
    assert_eq!(inet6.len as usize, size_of::<libc::sockaddr_in6>());
    // SAFETY: the storage holds a sockaddr_in6.
    let inet6 = unsafe { &*inet6.ptr().cast::<libc::sockaddr_in6>() };
    assert_eq!((inet6.sin6_flowinfo, inet6.sin6_scope_id), (0, 1));
    let path = Addr::parse("unix", "/a");
    assert_eq!(bytes(&path)[2..], *b"/a\0");
    let name = Addr::parse("unix", "@a");
    assert_eq!(bytes(&name)[2..], *b"\0a");
}

#[test]
fn room_that_is_too_small_for_what_is_parsed_is_einval() {
    let mut at = Addr::room();
    for len in [0, 2, 15] {
        at.len = len;
        let text = c"1.2.3.4:5".as_ptr();
        // SAFETY: the room is as long as said.
        let code = unsafe { netfd_addr_parse(c"tcp".as_ptr(), text, &mut at.storage, &mut at.len) };
        assert_eq!(code, -libc::EINVAL);
        assert_eq!((at.len, at.storage.ss_family), (len, 0));
    }
    at.len = 16;
    let text = c"1.2.3.4:5".as_ptr();
    // SAFETY: the room is as long as said.
    let code = unsafe { netfd_addr_parse(c"tcp".as_ptr(), text, &mut at.storage, &mut at.len) };
    assert_eq!(code, 0);
}

#[test]
fn a_text_is_cut_to_its_room_as_by_snprintf() {
    let at = Addr::parse("tcp", "127.0.0.1:80");
    let whole = "127.0.0.1:80";
    for cap in [0, 1, 5, whole.len(), whole.len() + 1] {
        let mut text = [b'x' as c_char; 20];
        // SAFETY: the address and the buffer are as long as said.
        let n = unsafe { netfd_addr_format(at.ptr(), at.len, text.as_mut_ptr(), cap) };
        assert_eq!(n as usize, whole.len());
        if cap > 0 {
            assert_eq!(c_text(&text), whole[..whole.len().min(cap - 1)]);
        }
        assert!(text[cap..].iter().all(|c| *c == b'x' as c_char));
    }
    // SAFETY: NULL is allowed where there is no room.
    let n = unsafe { netfd_addr_format(at.ptr(), at.len, std::ptr::null_mut(), 0) };
    assert_eq!(n as usize, whole.len());
}

#[test]
fn any_address_fits_the_room_that_the_header_names() {
    let header = include_str!("../include/netfd.h");
    assert!(header.contains("#define NETFD_ADDR_TEXT 128\n"));
    let mut at = Addr::room();
    for family in 0..=u16::from(u8::MAX) {
        for fill in [0, 1, b'%', b'x', 255] {
            for len in [2, 8, 16, 28, 64, 110, 128] {
                // SAFETY: the storage is that long.
                unsafe { at.ptr_mut().cast::<u8>().write_bytes(fill, 128) };
                at.storage.ss_family = family;
                let mut text = [b'x' as c_char; 128];
                // SAFETY: the address and the buffer are as long as said.
                let n = unsafe { netfd_addr_format(at.ptr(), len, text.as_mut_ptr(), 128) };
                assert!((0..128).contains(&n), "{family} {fill} {len}: {n}");
                assert_eq!(c_text(&text).is_empty(), n == 0);
            }
        }
    }
}

#[test]
fn a_mapped_address_is_written_as_plain_ipv4() {
    let mut at = Addr::parse("tcp6", "[::]:80");
    // SAFETY: the storage holds a sockaddr_in6.
    let inet6 = unsafe { &mut *at.ptr_mut().cast::<libc::sockaddr_in6>() };
    inet6.sin6_addr.s6_addr = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 1, 2, 3, 4];
    assert_eq!(at.text(), "1.2.3.4:80");
}

#[test]
fn a_connection_has_both_addresses_at_both_ends() {
    let (client, server) = tcp_pair();
    let (one, two) = (local_addr(client).text(), local_addr(server).text());
    assert_eq!(remote_addr(client).unwrap().text(), two);
    assert_eq!(remote_addr(server).unwrap().text(), one);
    assert_eq!(destroy(client), 0);
    assert_eq!(destroy(server), 0);
}

#[test]
fn the_peers_address_is_known_after_a_reset() {
    let (client, server) = tcp_pair();
    let (one, two) = (local_addr(client).text(), local_addr(server).text());
    reset(server);
    assert_eq!(read(client, &mut [0]), -(libc::ECONNRESET as isize));
    let mut room = Addr::room();
    // SAFETY: the room is as long as said.
    let kernels = unsafe { libc::getpeername(client, room.ptr_mut(), &mut room.len) };
    assert_eq!(kernels, -1, "the kernel has forgotten");
    assert_eq!(remote_addr(client).unwrap().text(), two);
    assert_eq!(local_addr(client).text(), one);
    assert_eq!(destroy(client), 0);
}

#[test]
fn addresses_are_cut_to_their_room_and_their_whole_length_is_told() {
    let (client, server) = tcp_pair();
    let whole = [local_addr(client), remote_addr(client).unwrap()];
    for room in [0, 2, 4, 15] {
        for (whole, call) in whole.iter().zip([netfd_local_addr, netfd_remote_addr]) {
            let mut cut = Addr::room();
            cut.len = room;
            // SAFETY: the room is at least as long as said.
            assert_eq!(unsafe { call(client, cut.ptr_mut(), &mut cut.len) }, 0);
            assert_eq!(cut.len as usize, size_of::<libc::sockaddr_in>());
            let (cut, room) = (bytes(&cut), room as usize);
            assert_eq!(cut[..room], bytes(whole)[..room]);
            assert!(cut[room..].iter().all(|byte| *byte == 0));
        }
    }
    assert_eq!(destroy(client), 0);
    assert_eq!(destroy(server), 0);
}

#[test]
fn a_negative_length_is_einval_as_in_getsockname() {
    let (client, server) = tcp_pair();
    let codes = [netfd_local_addr, netfd_remote_addr].map(|call| {
        let mut room = Addr::room();
        room.len = socklen_t::MAX;
        // SAFETY: the room is enough for any address.
        unsafe { call(client, room.ptr_mut(), &mut room.len) }
    });
    assert_eq!(destroy(client), 0);
    assert_eq!(destroy(server), 0);
    assert_eq!(codes, [-libc::EINVAL; 2]);
}

#[test]
fn an_unbound_socket_has_the_wildcard_and_no_peer() {
    for (family, text) in [(AF_INET, "0.0.0.0:0"), (AF_INET6, "[::]:0")] {
        let fd = socket(family, SOCK_STREAM);
        assert_eq!(local_addr(fd).text(), text);
        assert_eq!(remote_addr(fd).err(), Some(-libc::ENOTCONN));
        assert_eq!(destroy(fd), 0);
    }
}

#[test]
fn an_unnamed_unix_socket_has_an_address_of_two_bytes_and_an_empty_text() {
    let (one, two) = unix_pair(SOCK_STREAM);
    let unbound = socket(AF_UNIX, SOCK_STREAM);
    for at in [
        local_addr(unbound),
        local_addr(one),
        remote_addr(one).unwrap(),
    ] {
        assert_eq!(at.len, 2);
        assert_eq!(c_int::from(at.storage.ss_family), AF_UNIX);
        assert_eq!(at.text(), "");
    }
    assert_eq!(remote_addr(unbound).err(), Some(-libc::ENOTCONN));
    for fd in [one, two, unbound] {
        assert_eq!(destroy(fd), 0);
    }
}

#[test]
fn a_listener_has_no_peer() {
    let (fd, _) = listener();
    assert_eq!(remote_addr(fd).err(), Some(-libc::ENOTCONN));
    assert_eq!(destroy(fd), 0);
}

#[test]
fn a_datagram_socket_has_the_peer_that_the_kernel_knows() {
    let fd = socket(AF_INET, SOCK_DGRAM);
    assert_eq!(remote_addr(fd).err(), Some(-libc::ENOTCONN));
    for port in [9, 10] {
        let at = Addr::parse("udp", &format!("127.0.0.1:{port}"));
        // SAFETY: the address is as long as said. Behind the library's back.
        assert_eq!(unsafe { libc::connect(fd, at.ptr(), at.len) }, 0);
        assert_eq!(remote_addr(fd).unwrap().text(), at.text());
    }
    assert_eq!(destroy(fd), 0);
}

#[test]
fn addresses_are_the_kernels_mapped_ones_too() {
    let fd = socket(AF_INET6, SOCK_STREAM);
    // SAFETY: NULL is allowed.
    let code = unsafe { netfd_listen_stream(fd, std::ptr::null(), 0, 0) };
    assert_eq!(code, 0);
    let client = socket(AF_INET, SOCK_STREAM);
    let at = Addr::parse("tcp", &format!("127.0.0.1:{}", local_addr(fd).port()));
    assert_eq!(connect(client, &at), 0, "{}", error_text());
    let server = accept(fd);
    for mapped in [local_addr(server), remote_addr(server).unwrap()] {
        assert_eq!(c_int::from(mapped.storage.ss_family), AF_INET6);
        assert!(mapped.text().starts_with("127.0.0.1:"), "{}", mapped.text());
    }
    for fd in [client, server, fd] {
        assert_eq!(destroy(fd), 0);
    }
}
