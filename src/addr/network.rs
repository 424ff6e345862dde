//! Go's names of networks, and what each of them takes.

use core::ffi::CStr;
use core::net::IpAddr;
use libc::c_int;

/// What is spoken over a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// tcp, tcp4, tcp6.
    Tcp,
    /// udp, udp4, udp6.
    Udp,
    /// unix, unixgram, unixpacket.
    Unix,
}

/// A network that a caller named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Its name.
    pub name: &'static str,
    /// What is spoken.
    pub protocol: Protocol,
    /// `SOCK_STREAM` and so on.
    pub sotype: c_int,
    /// The one address family that it takes; `AF_UNSPEC`: both of IP.
    pub family: c_int,
}

const fn network(name: &'static str, protocol: Protocol, sotype: c_int, family: c_int) -> Network {
    Network {
        name,
        protocol,
        sotype,
        family,
    }
}

const NETWORKS: [Network; 9] = [
    network("tcp", Protocol::Tcp, libc::SOCK_STREAM, libc::AF_UNSPEC),
    network("tcp4", Protocol::Tcp, libc::SOCK_STREAM, libc::AF_INET),
    network("tcp6", Protocol::Tcp, libc::SOCK_STREAM, libc::AF_INET6),
    network("udp", Protocol::Udp, libc::SOCK_DGRAM, libc::AF_UNSPEC),
    network("udp4", Protocol::Udp, libc::SOCK_DGRAM, libc::AF_INET),
    network("udp6", Protocol::Udp, libc::SOCK_DGRAM, libc::AF_INET6),
    network("unix", Protocol::Unix, libc::SOCK_STREAM, libc::AF_UNIX),
    network("unixgram", Protocol::Unix, libc::SOCK_DGRAM, libc::AF_UNIX),
    network(
        "unixpacket",
        Protocol::Unix,
        libc::SOCK_SEQPACKET,
        libc::AF_UNIX,
    ),
];

impl Network {
    /// The network with that name.
    pub fn find(name: &[u8]) -> Option<Self> {
        NETWORKS
            .into_iter()
            .find(|network| network.name.as_bytes() == name)
    }

    /// Whether it takes addresses like this one.
    pub fn takes(&self, ip: &IpAddr) -> bool {
        match self.family {
            libc::AF_INET => ip.is_ipv4(),
            libc::AF_INET6 => ip.is_ipv6(),
            _ => true,
        }
    }

    /// Whether its sockets send and receive by themselves, without a
    /// connection that was accepted.
    pub fn is_packet(&self) -> bool {
        self.sotype == libc::SOCK_DGRAM
    }

    /// What its services and the like are filed under.
    pub fn transport(&self) -> &'static str {
        match self.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Unix => "unix",
        }
    }

    /// Go's name for its sockets of one family: "tcp4", "tcp6".
    pub fn concrete(&self, family: c_int) -> &'static CStr {
        match (self.protocol, family) {
            (Protocol::Tcp, libc::AF_INET) => c"tcp4",
            (Protocol::Tcp, _) => c"tcp6",
            (Protocol::Udp, libc::AF_INET) => c"udp4",
            (Protocol::Udp, _) => c"udp6",
            (Protocol::Unix, _) => match self.sotype {
                libc::SOCK_DGRAM => c"unixgram",
                libc::SOCK_SEQPACKET => c"unixpacket",
                _ => c"unix",
            },
        }
    }
}

/// Go's name of the network that a socket belongs to, without 4 or 6.
pub fn name_of(family: c_int, sotype: c_int) -> &'static str {
    match (family, sotype) {
        (libc::AF_INET | libc::AF_INET6, libc::SOCK_STREAM) => "tcp",
        (libc::AF_INET | libc::AF_INET6, libc::SOCK_DGRAM) => "udp",
        (libc::AF_INET | libc::AF_INET6, libc::SOCK_SEQPACKET) => "sctp",
        (libc::AF_INET | libc::AF_INET6, libc::SOCK_RAW) => "ip",
        (libc::AF_UNIX, libc::SOCK_STREAM) => "unix",
        (libc::AF_UNIX, libc::SOCK_DGRAM) => "unixgram",
        (libc::AF_UNIX, libc::SOCK_SEQPACKET) => "unixpacket",
        (libc::AF_VSOCK, _) => "vsock",
        (libc::AF_NETLINK, _) => "netlink",
        _ => "socket",
    }
}
