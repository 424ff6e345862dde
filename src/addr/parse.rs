//! An address from text, in Go's grammar, without looking anything up.

use super::sockaddr::{PATH_ROOM, inet, unix_named};
use crate::error::{ADDRESS, INVAL, NETWORK, Result};
use crate::sys::{interface_index, socket::Sockaddr};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::str::FromStr;

/// The address that `text` means on `network`.
pub fn parse(network: &[u8], text: &[u8]) -> Result<Sockaddr> {
    match network {
        b"tcp" | b"udp" => parse_inet(text, |_| true),
        b"tcp4" | b"udp4" => parse_inet(text, |ip| ip.is_ipv4()),
        b"tcp6" | b"udp6" => parse_inet(text, |ip| ip.is_ipv6()),
        b"unix" | b"unixgram" | b"unixpacket" => parse_unix(text),
        _ => Err(NETWORK),
    }
}

/// Go's `host:port` with literal addresses. An empty host is the wildcard: of
/// IPv6 where the network has it, for that one takes IPv4 too.
fn parse_inet(text: &[u8], fits: impl Fn(&IpAddr) -> bool) -> Result<Sockaddr> {
    let text = core::str::from_utf8(text).map_err(|_| ADDRESS)?;
    let (host, port) = split_host_port(text)?;
    let port = match port {
        "" => 0,
        digits => number(digits).ok_or(ADDRESS)?,
    };
    let wildcards = [Ipv6Addr::UNSPECIFIED.into(), Ipv4Addr::UNSPECIFIED.into()];
    let (ip, scope) = match host {
        "" => (wildcards.into_iter().find(&fits).ok_or(ADDRESS)?, 0),
        _ => parse_host(host)?,
    };
    if !fits(&ip) {
        return Err(ADDRESS);
    }
    Ok(inet(ip, port, scope))
}

/// A literal IP address, with its zone as an interface's index.
fn parse_host(host: &str) -> Result<(IpAddr, u32)> {
    let (ip, zone) = match host.split_once('%') {
        Some((ip, zone)) => (ip, Some(zone)),
        None => (host, None),
    };
    let ip: IpAddr = ip.parse().map_err(|_| ADDRESS)?;
    let Some(zone) = zone else {
        return Ok((ip.to_canonical(), 0));
    };
    if ip.to_canonical().is_ipv4() {
        return Err(ADDRESS);
    }
    let scope = match interface_index(zone) {
        Some(index) => index,
        None => number(zone).ok_or(ADDRESS)?,
    };
    Ok((ip, scope))
}

/// A decimal number without a sign.
fn number<T: FromStr>(digits: &str) -> Option<T> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| plain)
}

/// Go `net.SplitHostPort`: the last colon parts them, and a host with colons
/// stands in brackets.
fn split_host_port(text: &str) -> Result<(&str, &str)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or(ADDRESS)?;
            (host, port.strip_prefix(':').ok_or(ADDRESS)?)
        }
        None => text.split_once(':').ok_or(ADDRESS)?,
    };
    let in_brackets = text.starts_with('[');
    if port.contains([':', '[', ']']) || host.contains(['[', ']']) {
        return Err(ADDRESS);
    }
    if !in_brackets && host.contains(':') {
        return Err(ADDRESS);
    }
    Ok((host, port))
}

/// A path, of any bytes, with room for its NUL; or "@name", which needs none.
fn parse_unix(text: &[u8]) -> Result<Sockaddr> {
    if text.contains(&0) {
        return Err(ADDRESS);
    }
    if text.len() > PATH_ROOM || (text.len() == PATH_ROOM && !text.starts_with(b"@")) {
        return Err(INVAL);
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
