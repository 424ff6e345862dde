//! Addresses: of a socket, and as text.

use super::boundary::{AddressOut, boundary, store_text, text};
use crate::addr;

use crate::net::socket;
use crate::sys::socket::Sockaddr;
use libc::{c_char, c_int, sockaddr, sockaddr_storage, socklen_t};

/// Tells a socket's own address, as the kernel has it.
///
/// @param sa   where to store it, cut to the room there is
/// @param len  in: bytes at `sa`, out: bytes of the address
/// @return 0, or
///   -EBADF, NETFD_ECLOSED, -EFAULT,
///   or what getsockname(2) said, negated
///
/// Any thread; never parks. Follows Go `LocalAddr` and getsockname(2).
///
/// # Safety
///
/// `len` is NULL or valid, `sa` NULL or writable for `*len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn netfd_local_addr(
    fd: c_int,
    sa: *mut sockaddr,
    len: *mut socklen_t,
) -> c_int {
    boundary("getsockname", || {
        // SAFETY: the contract above.
        let out = unsafe { AddressOut::required(sa, len) }?;
        out.store(&socket::local_addr(fd)?);
        Ok(0)
    })
}

/// Tells the address of the other end.
///
/// What accept or connect learned is kept with the descriptor, so that it is
/// known after a reset too.
///
/// @param sa   where to store it, cut to the room there is
/// @param len  in: bytes at `sa`, out: bytes of the address
/// @return 0, or
///   -EBADF, NETFD_ECLOSED, -EFAULT, -ENOTCONN there is no other end,
///   or what getpeername(2) said, negated
///
/// Any thread; never parks. Follows Go `RemoteAddr` and getpeername(2).
///
/// # Safety
///
/// `len` is NULL or valid, `sa` NULL or writable for `*len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn netfd_remote_addr(
    fd: c_int,
    sa: *mut sockaddr,
    len: *mut socklen_t,
) -> c_int {
    boundary("getpeername", || {
        // SAFETY: the contract above.
        let out = unsafe { AddressOut::required(sa, len) }?;
        out.store(&socket::remote_addr(fd)?);
        Ok(0)
    })
}

/// Writes an address as text: "127.0.0.1:80", "[fe80::1%eth0]:80",
/// "/run/app.sock", "@abstract".
///
/// An IPv4-mapped IPv6 address is written as plain IPv4. An unnamed unix
/// address is the empty text.
///
/// @param sa   an address
/// @param len  bytes at `sa`
/// @param buf  where to store the text, cut to `cap` bytes with its NUL; NULL
///             where `cap` is 0. NETFD_ADDR_TEXT bytes are always enough
/// @param cap  bytes at `buf`
/// @return the length of the whole text, as snprintf(3), or
///   -EFAULT, -EINVAL `len` out of range
///
/// Any thread. Follows Go `net.Addr.String`.
///
/// # Safety
///
/// `sa` is NULL or readable for `len` bytes, `buf` NULL or writable for `cap`
/// bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn netfd_addr_format(
    sa: *const sockaddr,
    len: socklen_t,
    buf: *mut c_char,
    cap: usize,
) -> c_int {
    boundary("format", || {
        // SAFETY: the contract above.
        let address = unsafe { Sockaddr::copy_from(sa, len) }?;
        let text = addr::text(&address);
        // SAFETY: the contract above.
        unsafe { store_text(text.bytes(), buf, cap) }
    })
}

/// Reads an address from text, without looking anything up.
///
/// The host is an IP address or, for a wildcard, empty; the port a number or,
/// for 0, empty. Unix addresses are paths, or "@name" for the abstract ones.
///
/// @param network  "tcp", "tcp4", "tcp6", "udp", "udp4", "udp6", "unix",
///                 "unixgram" or "unixpacket"
/// @param address  "host:port", "[v6%zone]:port", ":port", or a path
/// @param sa       where to store the address
/// @param len      in: bytes at `sa`, out: bytes of the address
/// @return 0, or
///   -EFAULT, NETFD_ENETWORK unknown network, NETFD_EADDRESS no address of
///   that network, -EINVAL a unix path that is too long, or `*len` too small
///
/// Any thread; never parks. Follows Go `net.SplitHostPort` and
/// `netip.ParseAddrPort`.
///
/// # Safety
///
/// `network` and `address` are NULL or end with a NUL, `len` is NULL or valid,
/// `sa` NULL or writable for `*len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn netfd_addr_parse(
    network: *const c_char,
    address: *const c_char,
    sa: *mut sockaddr_storage,
    len: *mut socklen_t,
) -> c_int {
    boundary("parse", || {
        // SAFETY: the contract above.
        let network = unsafe { text(network) }?;
        // SAFETY: the contract above.
        let address = unsafe { text(address) }?;
        // SAFETY: the contract above.
        let out = unsafe { AddressOut::required(sa.cast(), len) }?;
        let parsed = addr::parse(network, address)?;
        // SAFETY: `required` made sure that there is a length.
        if parsed.len() > unsafe { *len } as usize {
            return Err(crate::error::INVAL);
        }
        out.store(&parsed);
        Ok(0)
    })
}
