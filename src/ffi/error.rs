//! Codes, their texts, and the calling thread's last failure.

use super::boundary::{fill, quiet, store_text};
use crate::addr;
use crate::error::{self, Error};
use crate::net::failure::{self, Failure};
use crate::strerror;
use crate::sys::socket::Sockaddr;
use libc::{c_char, c_int, c_uint};

/// The deadline has passed: of the descriptor or of the call.
pub const NETFD_EDEADLINE: c_int = -10001;
/// The descriptor was destroyed or detached, or its number attached anew,
/// before the call or while it was inside.
pub const NETFD_ECLOSED: c_int = -10002;
/// A cancel token has fired: the descriptor's or the call's.
pub const NETFD_ECANCELED: c_int = -10003;
/// The network's name is unknown, or not one for this function.
pub const NETFD_ENETWORK: c_int = -10004;
/// The text of an address does not parse.
pub const NETFD_EADDRESS: c_int = -10005;
/// A host name that does not exist.
pub const NETFD_ENOHOST: c_int = -10006;
/// A host name that could not be looked up.
pub const NETFD_EDNS: c_int = -10007;
/// A bug in netfd; the call did not complete.
pub const NETFD_EPANIC: c_int = -10008;

const _: () = {
    assert!(NETFD_EDEADLINE == error::DEADLINE.code());
    assert!(NETFD_ECLOSED == error::CLOSED.code());
    assert!(NETFD_ECANCELED == error::CANCELED.code());
    assert!(NETFD_ENETWORK == error::NETWORK.code());
    assert!(NETFD_EADDRESS == error::ADDRESS.code());
    assert!(NETFD_ENOHOST == error::NOHOST.code());
    assert!(NETFD_EDNS == error::DNS.code());
    assert!(NETFD_EPANIC == error::PANIC.code());
};

/// A deadline, or what the kernel calls a timeout.
pub const NETFD_ERROR_TIMEOUT: c_uint = 1;
/// A cancel token fired.
pub const NETFD_ERROR_CANCELED: c_uint = 2;
/// The descriptor was destroyed or detached.
pub const NETFD_ERROR_CLOSED: c_uint = 4;
/// An accept loop may go on: this connection failed, not the listener, or
/// something ran out that may come back.
pub const NETFD_ERROR_TEMPORARY: c_uint = 8;

/// Room for the text of any address, its NUL included.
pub const NETFD_ADDR_TEXT: usize = 128;

const _: () = assert!(NETFD_ADDR_TEXT == addr::TEXT_ROOM);

/// A failure in full. Set `size` to the struct's sizeof before the call that
/// fills it in.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ErrorRecord {
    /// The caller's sizeof of this struct.
    pub size: usize,
    /// What the call returned, or what stopped it after a part had gone; 0
    /// where nothing has failed yet.
    pub code: c_int,
    /// NETFD_ERROR_TIMEOUT and so on.
    pub flags: c_uint,
    /// Go's name of the operation: "dial", "accept", "read".
    pub op: [c_char; 16],
    /// Go's name of the network: "tcp", "unixgram". Empty: not known.
    pub network: [c_char; 16],
    /// The call that the kernel refused. Empty: netfd itself did.
    pub syscall: [c_char; 16],
    /// The socket's own address. Empty: not known.
    pub local: [c_char; NETFD_ADDR_TEXT],
    /// The other end's. Empty: not known.
    pub remote: [c_char; NETFD_ADDR_TEXT],
}

/// Explains a code: what any function of this library returned.
///
/// @param code  a negative errno value or a NETFD_E code; what is not negative
///              is "success"
/// @return text in lower case, which lives for ever; never NULL
///
/// Any thread. The texts are Go's, in English whatever the locale.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn netfd_strerror(code: c_int) -> *const c_char {
    strerror::text(code).as_ptr()
}

/// Tells the calling thread's last failure.
///
/// A call that succeeds leaves it alone, except that a write which could send
/// a part only stores here what stopped it.
///
/// @param out  where to store it in full, `size` set; or NULL
/// @return the failure's code, 0 where nothing has failed yet, or
///   -EINVAL `size` is 0
///
/// Each thread has its own. Follows Go `net.OpError`.
///
/// # Safety
///
/// `out` is NULL or writable for `size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn netfd_last_error(out: *mut ErrorRecord) -> c_int {
    quiet(|| {
        let last = failure::last();
        let code = last.and_then(|last| last.error).map_or(0, Error::code);
        if out.is_null() {
            return Ok(code);
        }
        // SAFETY: the contract above.
        unsafe { fill(out, |size| record(size, last.as_ref())) }.map(|()| code)
    })
    .unwrap_or_else(Error::code)
}

/// Writes the calling thread's last failure as text in Go's shape, as in
/// "dial tcp 127.0.0.1:1: connect: connection refused".
///
/// @param buf  where to store it, cut to `cap` bytes with its NUL; NULL where
///             `cap` is 0
/// @param cap  bytes at `buf`
/// @return the length of the whole text, as snprintf(3); 0 where nothing has
///   failed yet; or
///   -EFAULT `buf` is NULL and `cap` is not 0
///
/// Each thread has its own. Follows Go `(*net.OpError).Error`.
///
/// # Safety
///
/// `buf` is NULL or writable for `cap` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn netfd_error_text(buf: *mut c_char, cap: usize) -> c_int {
    quiet(|| {
        // SAFETY: the contract above.
        failure::read_text(|text| unsafe { store_text(text, buf, cap) })
    })
    .unwrap_or_else(Error::code)
}

fn record(size: usize, last: Option<&Failure>) -> ErrorRecord {
    let mut record = ErrorRecord {
        size,
        code: 0,
        flags: 0,
        op: [0; 16],
        network: [0; 16],
        syscall: [0; 16],
        local: [0; NETFD_ADDR_TEXT],
        remote: [0; NETFD_ADDR_TEXT],
    };
    if let Some((failure, error)) = last.and_then(|last| Some((last, last.error?))) {
        record.code = error.code();
        record.flags = flags(failure.op, error);
        copy(failure.op.as_bytes(), &mut record.op);
        copy(failure.place.network.as_bytes(), &mut record.network);
        copy(error.call().name().as_bytes(), &mut record.syscall);
        copy_address(&failure.place.local, &mut record.local);
        copy_address(&failure.place.remote, &mut record.remote);
    }
    record
}

fn flags(op: &str, error: Error) -> c_uint {
    let each = [
        (failure::is_timeout(error), NETFD_ERROR_TIMEOUT),
        (error.same(error::CANCELED), NETFD_ERROR_CANCELED),
        (error.same(error::CLOSED), NETFD_ERROR_CLOSED),
        (failure::is_temporary(op, error), NETFD_ERROR_TEMPORARY),
    ];
    each.iter()
        .filter(|(is, _)| *is)
        .map(|(_, flag)| flag)
        .sum()
}

fn copy(text: &[u8], to: &mut [c_char]) {
    let room = to.len().saturating_sub(1);
    for (place, byte) in to.iter_mut().take(room).zip(text) {
        *place = c_char::from_ne_bytes([*byte]);
    }
}

fn copy_address(address: &Sockaddr, to: &mut [c_char]) {
    if !addr::is_unbound(address) {
        copy(addr::text(address).bytes(), to);
    }
}
