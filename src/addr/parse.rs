//! An address from text, in Go's grammar, without looking anything up.

use super::complaint::{Complaint, Read};
use super::network::{Network, Protocol};
use super::sockaddr::{PATH_ROOM, inet, unix_named};
use crate::error::{ADDRESS, INVAL, NETWORK, Result};
use crate::sys::{interface_index, socket::Sockaddr};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The host in an address text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host<'a> {
    /// None: the wildcard, or where one dials, this machine.
    Any,
    /// An IP address, and for IPv6 the interface's index or 0.
    Ip(IpAddr, u32),
    /// A name, which has to be looked up.
    Name(&'a str),
}

/// The port in an address text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port<'a> {
    /// A number.
    Number(u16),
    /// A service's name.
    Service(&'a str),
}

/// What an address text of an IP network says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostPort<'a> {
    /// The host.
    pub host: Host<'a>,
    /// The port.
    pub port: Port<'a>,
}

/// The address that `text` means on the network `name`: nothing that would
/// have to be looked up, and no sign before the port.
pub fn parse(name: &[u8], text: &[u8]) -> Result<Sockaddr> {
    let network = Network::find(name).ok_or(NETWORK)?;
    if network.protocol == Protocol::Unix {
        return unix(text).map_err(|complaint| complaint.error);
    }
    let port = text.rsplit(|byte| *byte == b':').next();
    let is_signed = |port: &[u8]| matches!(port.first(), Some(b'+' | b'-'));
    if text.is_empty() || port.is_some_and(is_signed) {
        return Err(ADDRESS);
    }
    let read = host_port(&network, text).map_err(|complaint| complaint.error)?;
    match (read.host, read.port) {
        (Host::Any, Port::Number(port)) => wildcard(&network, port).ok_or(ADDRESS),
        (Host::Ip(ip, scope), Port::Number(port)) => Ok(inet(ip, port, scope)),
        _ => Err(ADDRESS),
    }
}

/// The wildcard of a network: of IPv6 where the network has it, for that one
/// takes IPv4 too.
pub fn wildcard(network: &Network, port: u16) -> Option<Sockaddr> {
    let wildcards: [IpAddr; 2] = [Ipv6Addr::UNSPECIFIED.into(), Ipv4Addr::UNSPECIFIED.into()];
    let ip = wildcards.into_iter().find(|ip| network.takes(ip))?;
    Some(inet(ip, port, 0))
}

/// Reads Go's `host:port`. A text without anything is Go's: any host, port 0.
pub fn host_port<'a>(network: &Network, text: &'a [u8]) -> Read<'a, HostPort<'a>> {
    if text.is_empty() {
        let (host, port) = (Host::Any, Port::Number(0));
        return Ok(HostPort { host, port });
    }
    let (host, port) = split_host_port(text)?;
    // Go looks at the port first.
    let port = read_port(network, port)?;
    let host = read_host(network, host)?;
    Ok(HostPort { host, port })
}

/// Go `parsePort`: a number may have a sign, and what is none is a service.
fn read_port<'a>(network: &Network, text: &'a [u8]) -> Read<'a, Port<'a>> {
    let negative = text.starts_with(b"-");
    let digits = text
        .strip_prefix(b"-")
        .or(text.strip_prefix(b"+"))
        .unwrap_or(text);
    if digits.iter().all(u8::is_ascii_digit) {
        let number = digits.iter().fold(0u32, |number, digit| {
            number
                .saturating_mul(10)
                .saturating_add(u32::from(digit - b'0'))
        });
        return match u16::try_from(number) {
            Ok(number) if !negative || number == 0 => Ok(Port::Number(number)),
            _ => Err(Complaint::address(text, "invalid port")),
        };
    }
    // What getservbyname(3) could find: one printable word.
    match core::str::from_utf8(text) {
        Ok(service) if text.iter().all(u8::is_ascii_graphic) => Ok(Port::Service(service)),
        _ => Err(Complaint::service(network.transport(), text)),
    }
}

/// A literal IP address, with its zone as an interface's index, or a name.
fn read_host<'a>(network: &Network, text: &'a [u8]) -> Read<'a, Host<'a>> {
    let Ok(host) = core::str::from_utf8(text) else {
        return Err(Complaint::host(text));
    };
    if host.is_empty() {
        return Ok(Host::Any);
    }
    let (ip, zone) = match host.split_once('%') {
        Some((ip, zone)) => (ip, Some(zone)),
        None => (host, None),
    };
    let Ok(ip) = ip.parse::<IpAddr>() else {
        return if is_domain_name(text) {
            Ok(Host::Name(host))
        } else {
            Err(Complaint::host(text))
        };
    };
    let plain = ip.to_canonical();
    let scope = match zone {
        None => 0,
        // As in Go's netip, a zone is IPv6's and has a name. A mapped address is
        // IPv4's here.
        Some(zone) if plain.is_ipv4() || zone.is_empty() => return Err(Complaint::host(text)),
        Some(zone) => interface_index(zone)
            .or_else(|| number(zone))
            .ok_or(Complaint::address(text, "no such network interface"))?,
    };
    if network.takes(&plain) {
        Ok(Host::Ip(plain, scope))
    } else {
        Err(Complaint::address(text, "no suitable address found"))
    }
}

/// A decimal number without a sign.
fn number(digits: &str) -> Option<u32> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| plain)
}

/// Go `isDomainName`: labels of letters, digits, hyphens and underscores, one
/// to 63 of them, neither beginning nor ending with a hyphen; at most 253 in
/// all but for a dot at the end; and not all digits. Nor all numbers, here.
fn is_domain_name(text: &[u8]) -> bool {
    let name = text.strip_suffix(b".").unwrap_or(text);
    let is_label = |label: &[u8]| {
        (1..=63).contains(&label.len())
            && !label.starts_with(b"-")
            && !label.ends_with(b"-")
            && label
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    // What inet_aton(3) would take for an address, and getaddrinfo(3) with it.
    let is_number = |label: &[u8]| {
        let hex = label.strip_prefix(b"0x").or(label.strip_prefix(b"0X"));
        match hex {
            Some(digits) => digits.iter().all(u8::is_ascii_hexdigit),
            None => label.iter().all(u8::is_ascii_digit),
        }
    };
    name.len() <= 253
        && !name.split(|byte| *byte == b'.').all(is_number)
        && name.split(|byte| *byte == b'.').all(is_label)
        && name
            .iter()
            .any(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'-' | b'_'))
}

/// Go `net.SplitHostPort`: the last colon parts them, and a host with colons
/// stands in brackets.
fn split_host_port(text: &[u8]) -> Read<'_, (&[u8], &[u8])> {
    let complain = |why| Err(Complaint::address(text, why));
    let Some(colon) = text.iter().rposition(|byte| *byte == b':') else {
        return complain("missing port in address");
    };
    let (before, port) = text.split_at(colon);
    let port = port.get(1..).unwrap_or_default();
    let (host, behind) = match text.strip_prefix(b"[") {
        Some(inside) => {
            let Some(end) = inside.iter().position(|byte| *byte == b']') else {
                return complain("missing ']' in address");
            };
            let (host, rest) = inside.split_at(end);
            let rest = rest.get(1..).unwrap_or_default();
            match rest.split_first() {
                Some((b':', behind)) if !behind.contains(&b':') => (host, behind),
                Some((b':', _)) => return complain("too many colons in address"),
                _ => return complain("missing port in address"),
            }
        }
        None if before.contains(&b':') => return complain("too many colons in address"),
        None => (before, text),
    };
    if host.contains(&b'[') || behind.contains(&b'[') {
        return complain("unexpected '[' in address");
    }
    if behind.contains(&b']') {
        return complain("unexpected ']' in address");
    }
    Ok((host, port))
}

/// A path, of any bytes, with room for its NUL; or "@name", which needs none.
pub fn unix(text: &[u8]) -> Read<'_, Sockaddr> {
    if text.contains(&0) {
        return Err(Complaint::address(text, "invalid address"));
    }
    if text.len() > PATH_ROOM || (text.len() == PATH_ROOM && !text.starts_with(b"@")) {
        // Go says it of bind(2) or connect(2), which it does not come to.
        return Err(Complaint {
            error: INVAL,
            why: "invalid argument",
            ..Complaint::missing()
        });
    }
    let mut name = [0; PATH_ROOM];
    for (place, byte) in name.iter_mut().zip(text) {
        *place = *byte;
    }
    let len = match text.strip_prefix(b"@") {
        Some(_) => {
            name[0] = 0;
            text.len()
        }
        None if text.is_empty() => 0,
        None => text.len() + 1,
    };
    Ok(unix_named(name.get(..len).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::parse;
    use crate::addr::text;
    use crate::error::{ADDRESS, Error, INVAL, NETWORK};

    fn round(network: &str, address: &str) -> Result<String, Error> {
        let parsed = parse(network.as_bytes(), address.as_bytes())?;
        Ok(String::from_utf8_lossy(text(&parsed).bytes()).into_owned())
    }

    #[test]
    fn what_go_writes_is_read_back() {
        for (network, address) in [
            ("tcp", "127.0.0.1:80"),
            ("tcp4", "0.0.0.0:0"),
            ("udp", "[::1]:53"),
            ("udp6", "[fe80::1%lo]:1"),
            ("unix", "/run/app.sock"),
            ("unixgram", "relative/path"),
            ("unixpacket", "@abstract"),
            ("unix", "@"),
        ] {
            assert_eq!(round(network, address).as_deref(), Ok(address));
        }
    }

    #[test]
    fn an_empty_host_is_the_wildcard_and_an_empty_port_is_0() {
        assert_eq!(round("tcp", ":80").as_deref(), Ok("[::]:80"));
        assert_eq!(round("tcp6", ":80").as_deref(), Ok("[::]:80"));
        assert_eq!(round("udp4", ":").as_deref(), Ok("0.0.0.0:0"));
        assert_eq!(round("tcp", "[]:9").as_deref(), Ok("[::]:9"));
        assert_eq!(round("tcp", "1.2.3.4:").as_deref(), Ok("1.2.3.4:0"));
    }

    #[test]
    fn mapped_literals_are_ipv4() {
        assert_eq!(
            round("tcp", "[::ffff:1.2.3.4]:5").as_deref(),
            Ok("1.2.3.4:5")
        );
        assert_eq!(
            round("tcp4", "[::ffff:1.2.3.4]:5").as_deref(),
            Ok("1.2.3.4:5")
        );
        assert_eq!(round("tcp6", "[::ffff:1.2.3.4]:5"), Err(ADDRESS));
    }

    #[test]
    fn a_literal_of_the_other_family_is_no_address_of_the_network() {
        assert_eq!(round("tcp6", "1.2.3.4:5"), Err(ADDRESS));
        assert_eq!(round("udp4", "[::1]:5"), Err(ADDRESS));
    }

    #[test]
    fn what_go_refuses_is_refused() {
        for address in [
            "",
            "1.2.3.4",
            "[::1]",
            "::1:80",
            "[::1]80",
            "[::1:80",
            "::1]:80",
            "1.2.3.4:80:90",
            "[1.2.3.4]:[80]",
            "1.2.3.4:65536",
            "1.2.3.4:-1",
            "1.2.3.4:+1",
            "1.2.3.4:http",
            "localhost:80",
            "1.2.3:80",
            "01.2.3.4:80",
            "1.2.3.4%lo:80",
            "[fe80::1%]:80",
            "[fe80::1%+1]:80",
            "[fe80::1%nowhere0]:80",
            "[::ffff:1.2.3.4%lo]:80",
            " 1.2.3.4:80",
        ] {
            assert_eq!(round("tcp", address), Err(ADDRESS), "{address:?}");
        }
        assert_eq!(round("unix", "a\0b"), Err(ADDRESS));
    }

    #[test]
    fn a_zone_may_be_a_number() {
        assert_eq!(
            round("tcp", "[fe80::1%1]:2").as_deref(),
            Ok("[fe80::1%lo]:2")
        );
        assert_eq!(
            round("tcp", "[fe80::1%4711]:2").as_deref(),
            Ok("[fe80::1%4711]:2")
        );
    }

    #[test]
    fn a_unix_name_fills_its_room_and_no_more() {
        let path = "p".repeat(107);
        let name = format!("@{}", "n".repeat(107));
        assert_eq!(round("unix", &path).as_deref(), Ok(&*path));
        assert_eq!(round("unix", &name).as_deref(), Ok(&*name));
        assert_eq!(round("unix", &format!("{path}p")), Err(INVAL));
        assert_eq!(round("unix", &format!("{name}n")), Err(INVAL));
        assert_eq!(parse(b"unix", b"").map(|address| address.len()), Ok(2));
    }

    #[test]
    fn networks_are_gos() {
        for network in ["", "TCP", "tcp5", "ip", "unixstream"] {
            assert_eq!(round(network, "1.2.3.4:5"), Err(NETWORK), "{network:?}");
        }
    }
}
