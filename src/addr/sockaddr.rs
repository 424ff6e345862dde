//! The layouts of socket addresses: what their bytes say.

use crate::sys::socket::{ADDRESS_ROOM, Sockaddr};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The bytes of a path in a unix address.
pub const PATH_ROOM: usize = 108;
/// Where a path begins, behind the family.
const PATH_AT: usize = 2;

/// An address that is understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parts<'a> {
    /// An IP address, a port, and for IPv6 the interface's index or 0.
    Inet(IpAddr, u16, u32),
    /// A unix path, without its NUL.
    Path(&'a [u8]),
    /// An abstract unix name, without the NUL that marks it.
    Abstract(&'a [u8]),
    /// A unix address without a name.
    Unnamed,
    /// Anything else.
    Other,
}

/// Takes an address apart.
pub fn parts(address: &Sockaddr) -> Parts<'_> {
    let bytes = address.bytes();
    let inet = || match address.family() {
        libc::AF_INET => {
            let ip = Ipv4Addr::from(field::<4>(bytes, 4)?);
            Some(Parts::Inet(ip.into(), port(bytes)?, 0))
        }
        libc::AF_INET6 => {
            let ip = Ipv6Addr::from(field::<16>(bytes, 8)?);
            // The kernel takes one without a scope, too.
            let scope = field(bytes, 24).map_or(0, u32::from_ne_bytes);
            Some(Parts::Inet(ip.into(), port(bytes)?, scope))
        }
        _ => None,
    };
    match address.family() {
        libc::AF_UNIX => unix(bytes.get(PATH_AT..).unwrap_or_default()),
        _ => inet().unwrap_or(Parts::Other),
    }
}

fn unix(name: &[u8]) -> Parts<'_> {
    // As Go has it: a name ends at its first NUL, an abstract one behind the
    // first.
    let until_nul = |bytes: &'_ [u8]| bytes.iter().take_while(|byte| **byte != 0).count();
    match name.split_first() {
        None => Parts::Unnamed,
        Some((0, rest)) => Parts::Abstract(rest.get(..until_nul(rest)).unwrap_or_default()),
        Some(_) => Parts::Path(name.get(..until_nul(name)).unwrap_or_default()),
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn port(bytes: &[u8]) -> Option<u16> {
    field(bytes, 2).map(u16::from_be_bytes)
}

/// The address of an IP address and a port; `scope` is an interface's index.
pub fn inet(ip: IpAddr, port: u16, scope: u32) -> Sockaddr {
    let mut bytes = [0; 28];
    let mut at = 0;
    let mut put = |part: &[u8]| {
        for (place, byte) in bytes.iter_mut().skip(at).zip(part) {
            *place = *byte;
        }
        at += part.len();
    };
    match ip {
        IpAddr::V4(ip) => {
            put(&family(libc::AF_INET));
            put(&port.to_be_bytes());
            put(&ip.octets());
            put(&[0; 8]);
        }
        IpAddr::V6(ip) => {
            put(&family(libc::AF_INET6));
            put(&port.to_be_bytes());
            put(&[0; 4]);
            put(&ip.octets());
            put(&scope.to_ne_bytes());
        }
    }
    Sockaddr::from_bytes(bytes.get(..at).unwrap_or_default())
}

/// The wildcard of IPv4 in the place of that of IPv6.
pub fn narrowed(address: &Sockaddr) -> Option<Sockaddr> {
    let (ip, _) = ip_of(address)?;
    let is_wide = ip.is_ipv6() && ip.is_unspecified();
    is_wide.then(|| inet(Ipv4Addr::UNSPECIFIED.into(), port_of(address), 0))
}

/// The wildcard of the family of `ip`.
pub fn unspecified(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// The unix address whose name, NULs included, is `name`.
pub fn unix_named(name: &[u8]) -> Sockaddr {
    let mut bytes = [0; ADDRESS_ROOM];
    let whole = family(libc::AF_UNIX);
    let whole = whole.iter().chain(name);
    let mut len = 0;
    for (place, byte) in bytes.iter_mut().zip(whole) {
        *place = *byte;
        len += 1;
    }
    Sockaddr::from_bytes(bytes.get(..len).unwrap_or_default())
}

fn family(family: libc::c_int) -> [u8; 2] {
    libc::sa_family_t::try_from(family)
        .unwrap_or(0)
        .to_ne_bytes()
}

/// The file of a unix socket, if it has one.
pub fn unix_path(address: &Sockaddr) -> Option<&[u8]> {
    match parts(address) {
        Parts::Path(path) => Some(path),
        _ => None,
    }
}

/// The IP address, and for IPv6 the interface's index or 0.
pub fn ip_of(address: &Sockaddr) -> Option<(IpAddr, u32)> {
    match parts(address) {
        Parts::Inet(ip, _, scope) => Some((ip, scope)),
        _ => None,
    }
}

/// The port of an IP address; 0 where there is none.
pub fn port_of(address: &Sockaddr) -> u16 {
    match parts(address) {
        Parts::Inet(_, port, _) => port,
        _ => 0,
    }
}

/// Whether it is the wildcard of its family, whatever the port.
pub fn is_unspecified(address: &Sockaddr) -> bool {
    matches!(parts(address), Parts::Inet(ip, ..) if ip.is_unspecified())
}

/// Whether it is a group's and not a host's.
pub fn is_multicast(address: &Sockaddr) -> bool {
    matches!(parts(address), Parts::Inet(ip, ..) if ip.is_multicast())
}

/// Whether the address says nothing: no port, and no host.
pub fn is_unbound(address: &Sockaddr) -> bool {
    matches!(parts(address), Parts::Inet(ip, 0, _) if ip.is_unspecified())
}

/// Whether a socket that asked for `wanted` may have been given `given`: an
/// unspecified host or port leaves the choice to the kernel.
pub fn is_within(given: &Sockaddr, wanted: &Sockaddr) -> bool {
    match (parts(given), parts(wanted)) {
        (Parts::Inet(ip, port, scope), Parts::Inet(wanted_ip, wanted_port, wanted_scope)) => {
            given.family() == wanted.family()
                && (wanted_ip.is_unspecified() || (ip, scope) == (wanted_ip, wanted_scope))
                && (wanted_port == 0 || port == wanted_port)
        }
        (Parts::Path(given), Parts::Path(wanted)) => given == wanted, // a NUL or not
        _ => given.bytes() == wanted.bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::{inet, is_within, unix_named};
    use crate::sys::socket::Sockaddr;

    fn ip(ip: &str, port: u16, scope: u32) -> Sockaddr {
        inet(ip.parse().expect("an IP address"), port, scope)
    }

    #[test]
    fn what_is_unspecified_is_the_kernels_to_choose() {
        let given = ip("127.0.0.1", 80, 0);
        assert!(is_within(&given, &given));
        assert!(is_within(&given, &ip("127.0.0.1", 0, 0)));
        assert!(is_within(&given, &ip("0.0.0.0", 80, 0)));
        assert!(is_within(&unix_named(b"/a\0"), &unix_named(b"/a")));
    }

    #[test]
    fn what_is_specified_is_not() {
        let given = ip("127.0.0.1", 80, 0);
        assert!(!is_within(&given, &ip("127.0.0.2", 80, 0)));
        assert!(!is_within(&given, &ip("127.0.0.1", 81, 0)));
        assert!(!is_within(&given, &ip("::", 80, 0)));
        assert!(!is_within(&ip("fe80::1", 1, 1), &ip("fe80::1", 1, 2)));
        assert!(!is_within(&unix_named(b"\0a\0b"), &unix_named(b"\0a\0c")));
        let vsock = |port: u8| Sockaddr::from_bytes(&[40, 0, 0, 0, port, 0, 0, 0]);
        assert!(!is_within(&vsock(1), &vsock(2)));
    }
}
