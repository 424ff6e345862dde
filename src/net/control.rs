//! Go's Control: a function of the caller's that sees a socket before it is
//! bound or connected.

use crate::addr::{self, Network};
use crate::error::{Error, Result};
use crate::fd::desc::{Call, Limits};
use crate::sys::Fd;
use crate::sys::socket::Sockaddr;
use core::cell::Cell;
use core::ffi::CStr;
use libc::c_int;

/// The function: the descriptor, Go's concrete network ("tcp4"), the address.
pub type Control<'a> = &'a dyn Fn(Fd, &CStr, &CStr) -> c_int;

/// How many control functions may run inside each other.
const DEPTH_MAX: usize = 8;

thread_local! {
    /// The descriptors whose control functions run on this thread, and how
    /// many there are.
    static INSIDE: Cell<([Fd; DEPTH_MAX], usize)> = const { Cell::new(([-1; DEPTH_MAX], 0)) };
}

/// Runs `control` for the socket of `call`. A negative number that it returns
/// is the error; and it may have destroyed its own descriptor.
pub fn run(control: Control<'_>, call: &Call, network: &Network, at: &Sockaddr) -> Result<()> {
    let concrete = network.concrete(at.family());
    let mut address = addr::text(at);
    address.push(b"\0");
    let address = CStr::from_bytes_until_nul(address.bytes()).unwrap_or_default();
    let (mut all, depth) = INSIDE.get();
    match all.get_mut(depth) {
        Some(place) => *place = call.fd(),
        None => return Err(Error::argument(libc::ELOOP)),
    }
    INSIDE.set((all, depth + 1));
    let code = control(call.fd(), concrete, address);
    INSIDE.set((all, depth));
    call.prepare(Limits::NONE)?;
    if code < 0 {
        return Err(Error::given(code));
    }
    Ok(())
}

/// Whether the calling thread is in the control function of `fd`, whose end it
/// must not wait for then.
pub fn is_inside(fd: Fd) -> bool {
    let (all, depth) = INSIDE.get();
    all.iter().take(depth).any(|inside| *inside == fd)
}
