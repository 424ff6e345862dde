//! Go's Control: a function of the caller's that sees a socket before it is
//! bound or connected.

use crate::addr::{self, Network};
use crate::error::{Error, Result};
use crate::fd::desc::Call;
use crate::fd::limits::Limits;
use crate::fd::table::Entry;
use crate::park;
use crate::sync::Ordering;
use crate::sys::Fd;
use crate::sys::socket::Sockaddr;
use core::ffi::CStr;
use libc::c_int;

/// The function: the descriptor, Go's concrete network ("tcp4"), the address.
pub type Control<'a> = &'a dyn Fn(Fd, &CStr, &CStr) -> c_int;

/// Runs `control` for the socket of `call`. A negative number that it returns
/// is the error; and it may have destroyed its own descriptor.
pub fn run(control: Control<'_>, call: &Call, network: &Network, at: &Sockaddr) -> Result<()> {
    let concrete = network.concrete(at.family());
    let mut address = addr::text(at);
    address.push(b"\0");
    let address = CStr::from_bytes_until_nul(address.bytes()).unwrap_or_default();
    // The caller's, not its thread's: a fiber may park in there, and others
    // of its worker run meanwhile.
    let caller = park::caller();
    let shown_to = &call.entry().shown_to;
    shown_to.store(caller, Ordering::Relaxed);
    let code = control(call.fd(), concrete, address);
    // Unless the number is another's by now, who shows it to somebody else.
    let _ = shown_to.compare_exchange(caller, 0, Ordering::Relaxed, Ordering::Relaxed);
    call.prepare(Limits::NONE)?;
    if code < 0 {
        return Err(Error::given(code));
    }
    Ok(())
}

/// Whether the caller is in the control function of `entry`'s descriptor, whose
/// end it must not wait for then.
pub fn is_inside(entry: &Entry) -> bool {
    park::is_caller(entry.shown_to.load(Ordering::Relaxed))
}
