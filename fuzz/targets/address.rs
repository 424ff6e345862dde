//! The parser and the formatter of addresses: what is parsed is written, and
//! read back as it was; what the standard library and getnameinfo(3) say of the
//! same text and the same bytes is said here.
#![no_main]

use common::*;
use libc::{c_char, c_int, sockaddr_storage, socklen_t};
use libfuzzer_sys::fuzz_target;
use std::ffi::{CStr, CString};
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};

const NETWORKS: [&str; 10] = [
    "tcp",
    "tcp4",
    "tcp6",
    "udp",
    "udp4",
    "udp6",
    "unix",
    "unixgram",
    "unixpacket",
    "ip",
];

/// netfd_addr_parse(): the address, or the code.
fn parse(network: &str, text: &CStr, room: usize) -> Result<Vec<u8>, c_int> {
    let network = CString::new(network).expect("no NUL");
    let mut out = vec![0xaa_u8; room].into_boxed_slice();
    let mut len = room as socklen_t;
    let to = out.as_mut_ptr().cast::<sockaddr_storage>();
    // SAFETY: both end with a NUL, the room is as long as said.
    let code = unsafe { netfd_addr_parse(network.as_ptr(), text.as_ptr(), to, &mut len) };
    done(code);
    if code != 0 {
        assert!(
            out.iter().all(|byte| *byte == 0xaa),
            "outputs follow success"
        );
        return Err(code);
    }
    assert!(len as usize <= room);
    Ok(out[..len as usize].to_vec())
}

/// netfd_addr_format(), with so much room: the length of the whole, and what
/// has been stored.
fn format(address: &[u8], room: usize) -> (usize, Vec<u8>) {
    let address = boxed(address);
    let mut out = vec![0xaa_u8; room].into_boxed_slice();
    let len = address.len() as socklen_t;
    // SAFETY: both are as long as said.
    let n = unsafe {
        let to = out.as_mut_ptr().cast::<c_char>();
        netfd_addr_format(address.as_ptr().cast(), len, to, room)
    };
    let n = usize::try_from(n).unwrap_or_else(|_| panic!("{n}"));
    assert!(n < 128, "NETFD_ADDR_TEXT is enough");
    if room > 0 {
        let stored = n.min(room - 1);
        assert_eq!(out[stored], 0, "it ends with a NUL");
        out = out[..stored].into();
    }
    (n, out.into_vec())
}

fn socket_address(bytes: &[u8]) -> Option<SocketAddr> {
    let port = u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?);
    match c_int::from(u16::from_ne_bytes(*bytes.first_chunk()?)) {
        libc::AF_INET => {
            let ip: [u8; 4] = *bytes.get(4..)?.first_chunk()?;
            Some(SocketAddr::V4(SocketAddrV4::new(ip.into(), port)))
        }
        libc::AF_INET6 => {
            let ip: [u8; 16] = *bytes.get(8..)?.first_chunk()?;
            let scope = u32::from_ne_bytes(*bytes.get(24..)?.first_chunk()?);
            Some(SocketAddr::V6(SocketAddrV6::new(ip.into(), port, 0, scope)))
        }
        _ => None,
    }
}

/// What the standard library says of a text: one that is read there is read
/// here, and here a host is read only if it is there.
fn agrees_with_std(network: &str, text: &str, parsed: &Result<Vec<u8>, c_int>) {
    let plain = |address: SocketAddr| match address.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
        IpAddr::V6(_) => address,
    };
    let ours = parsed.as_ref().ok().and_then(|bytes| socket_address(bytes));
    let any = matches!(network, "tcp" | "udp");
    let read: Option<SocketAddr> = text.parse().ok();
    if let Some(theirs) = read.filter(|_| any && !text.contains('%')) {
        assert_eq!(ours, Some(plain(theirs)), "{text:?}");
    }
    let Some(ours) = ours else { return };
    let (host, port) = text.rsplit_once(':').expect("Go wants a port");
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if !port.is_empty() {
        assert_eq!(port.parse(), Ok(ours.port()), "{text:?}");
        assert!(port.bytes().all(|byte| byte.is_ascii_digit()), "{text:?}");
    }
    let (host, zone) = host
        .split_once('%')
        .map_or((host, None), |(host, zone)| (host, Some(zone)));
    if host.is_empty() {
        assert!(ours.ip().is_unspecified(), "{text:?}");
    } else {
        let theirs: IpAddr = host.parse().unwrap_or_else(|_| panic!("{text:?}"));
        assert_eq!(ours.ip(), theirs.to_canonical(), "{text:?}");
    }
    if let Some(zone) = zone {
        assert!(ours.is_ipv6() && !zone.is_empty(), "{text:?}");
    }
    match network {
        "tcp4" | "udp4" => assert!(ours.is_ipv4(), "{text:?}"),
        "tcp6" | "udp6" => assert!(ours.is_ipv6(), "{text:?}"),
        _ => {}
    }
}

/// What getnameinfo(3) writes, where it writes as Go does: neither of a zone
/// nor of IPv6 that has IPv4 in it.
fn agrees_with_getnameinfo(address: &[u8], text: &[u8]) {
    let Some(of_bytes) = socket_address(address) else {
        return;
    };
    if let SocketAddr::V6(v6) = of_bytes
        && (v6.scope_id() != 0 || v6.ip().octets()[..10] == [0; 10])
    {
        return;
    }
    let mut host = [0 as c_char; 64];
    // SAFETY: all are as long as said.
    let code = unsafe {
        libc::getnameinfo(
            address.as_ptr().cast(),
            address.len() as socklen_t,
            host.as_mut_ptr(),
            64,
            std::ptr::null_mut(),
            0,
            libc::NI_NUMERICHOST,
        )
    };
    assert_eq!(code, 0);
    // SAFETY: it ends with a NUL.
    let host = unsafe { CStr::from_ptr(host.as_ptr()) }
        .to_str()
        .expect("it is ASCII");
    let port = of_bytes.port();
    let theirs = if of_bytes.is_ipv4() {
        format!("{host}:{port}")
    } else {
        format!("[{host}]:{port}")
    };
    assert_eq!(text, theirs.as_bytes());
}

fuzz_target!(|data: &[u8]| {
    let mut input = Bytes(data);
    let (network, room) = (input.byte(), usize::from(input.byte()));
    if network == 255 {
        // Bytes that were never a text.
        let address = &input.0[..input.0.len().min(128)];
        if address.len() < 2 {
            return; // no address has as little
        }
        let (whole, text) = format(address, 128);
        assert_eq!(whole, text.len());
        assert_eq!(format(address, room.min(160)).0, whole, "as snprintf(3)");
        if address.len() >= 28 {
            agrees_with_getnameinfo(&address[..28], &format(&address[..28], 128).1);
        }
        return;
    }
    let network = NETWORKS[usize::from(network) % NETWORKS.len()];
    let text = input.0.split(|byte| *byte == 0).next().unwrap_or_default();
    let text = CString::new(text).expect("no NUL");
    let parsed = parse(network, &text, 128);
    if network == "ip" {
        assert_eq!(parsed, Err(ENETWORK));
        return;
    }
    if !network.starts_with("unix") {
        match text.to_str() {
            Ok(text) => agrees_with_std(network, text, &parsed),
            Err(_) => assert_eq!(parsed, Err(EADDRESS)),
        }
    }
    let Ok(address) = parsed else { return };
    if room < address.len() {
        assert_eq!(parse(network, &text, room), Err(-libc::EINVAL));
    } else {
        assert_eq!(parse(network, &text, room).as_ref(), Ok(&address));
    }
    let (whole, written) = format(&address, 128);
    assert_eq!(whole, written.len());
    let (again, cut) = format(&address, room.min(160));
    assert_eq!(again, whole, "as snprintf(3)");
    assert!(written.starts_with(&cut));
    let written = CString::new(written).expect("no NUL");
    assert_eq!(
        parse(network, &written, 128).as_ref(),
        Ok(&address),
        "{written:?}"
    );
    agrees_with_getnameinfo(&address, written.as_bytes());
});
