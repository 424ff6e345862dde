//! Socket addresses: from the kernel's bytes to text, and back. No I/O, but
//! that the names of interfaces are asked for.

mod parse;
mod sockaddr;
mod text;

pub use parse::parse;
pub use sockaddr::{is_unbound, is_within, unix_path};
pub use text::{TEXT_ROOM, text};

use libc::c_int;

/// Go's name of the network that a socket belongs to, without 4 or 6.
pub fn network(family: c_int, sotype: c_int) -> &'static str {
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
