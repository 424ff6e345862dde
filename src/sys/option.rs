//! setsockopt(2) of options that are an int.

use crate::error::{Result, Sys};
use crate::sys::socket::len_of;
use crate::sys::{Fd, check};
use libc::c_int;

/// An option: its level and its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketOption(c_int, c_int);

/// `SO_REUSEADDR`.
pub const REUSE_ADDR: SocketOption = SocketOption(libc::SOL_SOCKET, libc::SO_REUSEADDR);
/// `SO_REUSEPORT`.
pub const REUSE_PORT: SocketOption = SocketOption(libc::SOL_SOCKET, libc::SO_REUSEPORT);
/// `SO_BROADCAST`.
pub const BROADCAST: SocketOption = SocketOption(libc::SOL_SOCKET, libc::SO_BROADCAST);
/// `SO_KEEPALIVE`.
pub const KEEPALIVE: SocketOption = SocketOption(libc::SOL_SOCKET, libc::SO_KEEPALIVE);
/// `TCP_KEEPIDLE`: seconds.
pub const KEEPALIVE_IDLE: SocketOption = SocketOption(libc::IPPROTO_TCP, libc::TCP_KEEPIDLE);
/// `TCP_KEEPINTVL`: seconds.
pub const KEEPALIVE_INTERVAL: SocketOption = SocketOption(libc::IPPROTO_TCP, libc::TCP_KEEPINTVL);
/// `TCP_KEEPCNT`.
pub const KEEPALIVE_COUNT: SocketOption = SocketOption(libc::IPPROTO_TCP, libc::TCP_KEEPCNT);
/// `TCP_NODELAY`.
pub const NODELAY: SocketOption = SocketOption(libc::IPPROTO_TCP, libc::TCP_NODELAY);
/// `IPV6_V6ONLY`.
pub const V6ONLY: SocketOption = SocketOption(libc::IPPROTO_IPV6, libc::IPV6_V6ONLY);

/// Sets an option.
pub fn set(fd: Fd, SocketOption(level, name): SocketOption, value: c_int) -> Result<()> {
    let len = len_of::<c_int>();
    // SAFETY: `value` is readable for `len` bytes.
    let set = unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), len) };
    check(set, Sys::SetSockOpt).map(drop)
}
