//! An address as Go writes it.

use super::sockaddr::{Parts, parts};
use crate::sys::{interface_name, socket::Sockaddr};
use crate::text::Text;
use core::fmt::Write;
use core::net::IpAddr;

/// Room for the text of any address and a NUL.
pub const TEXT_ROOM: usize = 128;

/// The text of an address: "1.2.3.4:80", "[fe80::1%eth0]:80", a path,
/// "@abstract", and nothing for an unnamed one. An IPv4-mapped IPv6 address is
/// plain IPv4.
pub fn text(address: &Sockaddr) -> Text<TEXT_ROOM> {
    let mut text = Text::default();
    // Writing to a `Text` cannot fail.
    let _ = match parts(address) {
        Parts::Inet(ip, port, scope) => match ip.to_canonical() {
            IpAddr::V4(ip) => write!(text, "{ip}:{port}"),
            IpAddr::V6(ip) if scope == 0 => write!(text, "[{ip}]:{port}"),
            IpAddr::V6(ip) => {
                let zone = write!(text, "[{ip}%");
                match interface_name(scope) {
                    Some(name) => text.push(name.bytes()),
                    None => zone.and_then(|()| write!(text, "{scope}")).unwrap_or(()),
                }
                write!(text, "]:{port}")
            }
        },
        Parts::Path(path) => {
            text.push(path);
            Ok(())
        }
        Parts::Abstract(name) => {
            text.push(b"@");
            text.push(name);
            Ok(())
        }
        Parts::Unnamed => Ok(()),
        Parts::Other if address.len() == 0 => Ok(()),
        Parts::Other => write!(text, "family {}", address.family()),
    };
    text
}

#[cfg(test)]
mod tests {
    use super::text;
    use crate::addr::sockaddr::{inet, unix_named};
    use crate::sys::socket::Sockaddr;

    fn written(address: &Sockaddr) -> String {
        String::from_utf8_lossy(text(address).bytes()).into_owned()
    }

    fn ip(ip: &str, port: u16, scope: u32) -> String {
        written(&inet(ip.parse().expect("an IP address"), port, scope))
    }

    #[test]
    fn inet_addresses_are_written_as_go_does() {
        assert_eq!(ip("127.0.0.1", 80, 0), "127.0.0.1:80");
        assert_eq!(ip("::1", 65535, 0), "[::1]:65535");
        assert_eq!(
            ip("2001:db8::8:800:200c:417a", 1, 0),
            "[2001:db8::8:800:200c:417a]:1"
        );
    }

    #[test]
    fn mapped_addresses_are_plain_ipv4() {
        assert_eq!(ip("::ffff:10.1.2.3", 9, 0), "10.1.2.3:9");
        assert_eq!(ip("::ffff:10.1.2.3", 9, 1), "10.1.2.3:9");
    }

    #[test]
    fn zones_are_names_where_there_is_one_and_numbers_elsewhere() {
        assert_eq!(ip("fe80::1", 7, 1), "[fe80::1%lo]:7");
        assert_eq!(ip("fe80::1", 7, 99999), "[fe80::1%99999]:7");
    }

    #[test]
    fn unix_addresses_end_at_their_nul() {
        assert_eq!(written(&unix_named(b"/run/a\0")), "/run/a");
        assert_eq!(written(&unix_named(b"/run/a")), "/run/a");
        assert_eq!(written(&unix_named(b"\0name")), "@name");
        assert_eq!(written(&unix_named(b"\0na\0me")), "@na");
        assert_eq!(written(&unix_named(b"\0")), "@");
        assert_eq!(written(&unix_named(b"")), "");
    }

    #[test]
    fn the_longest_texts_fit() {
        assert_eq!(text(&unix_named(&[b'x'; 108])).bytes().len(), 108);
        let long = [&[0][..], &[b'x'; 107]].concat();
        assert_eq!(text(&unix_named(&long)).bytes().len(), 108);
    }

    #[test]
    fn what_is_not_understood_is_named_by_its_family() {
        let family = 77u16.to_ne_bytes();
        assert_eq!(written(&Sockaddr::from_bytes(&family)), "family 77");
        let short = 2u16.to_ne_bytes();
        assert_eq!(written(&Sockaddr::from_bytes(&short)), "family 2");
        assert_eq!(written(&Sockaddr::none()), "");
    }
}
