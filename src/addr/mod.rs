//! Socket addresses: from the kernel's bytes to text, and back. No I/O, but
//! that the names of interfaces are asked for.

mod complaint;
mod network;
mod parse;
mod sockaddr;
mod text;

pub use complaint::{Complaint, Read};
pub use network::{Network, Protocol, name_of};
pub use parse::{Host, Port, host_port, parse, unix, wildcard};
pub use sockaddr::{
    inet, ip_of, is_multicast, is_unbound, is_unspecified, is_within, narrowed, port_of, unix_path,
    unspecified,
};
pub use text::{TEXT_ROOM, text};
