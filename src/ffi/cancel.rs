//! Cancel tokens.

use super::boundary::{boundary, quiet};
use crate::fd::cancel::Cancel;
use crate::net::deadline;
use core::ptr;
use libc::c_int;

/// Makes a cancel token: a switch that ends calls on any number of
/// descriptors, in any number of threads, once and for good.
///
/// It needs no descriptor until a call parks on it.
///
/// @return the token, the caller's until netfd_cancel_free(), or NULL where
///   there is no memory
///
/// Any thread. Follows Go `context.WithCancel`.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C-unwind" fn netfd_cancel_new() -> *mut Cancel {
    quiet(Cancel::new).map_or(ptr::null_mut(), |token| ptr::from_ref(token).cast_mut())
}

/// Fires a token: every call that obeys it fails with NETFD_ECANCELED, those
/// that are parked already too. It cannot be undone.
///
/// All that the caller did before is visible to the callers that it wakes.
///
/// @param c  a token, or NULL: nothing happens
///
/// Any thread, and signal handlers: it is async-signal-safe and leaves errno
/// alone.
///
/// # Safety
///
/// `c` is NULL or a token that is not freed before the call returns.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn netfd_cancel_fire(c: *mut Cancel) {
    // SAFETY: the contract above.
    if let Some(token) = unsafe { c.as_ref() } {
        token.fire();
    }
}

/// Says whether a token has fired.
///
/// @param c  a token, or NULL: it has not
/// @return 1 or 0
///
/// Any thread, and signal handlers.
///
/// # Safety
///
/// `c` is NULL or a token that is not freed before the call returns.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn netfd_cancel_fired(c: *const Cancel) -> c_int {
    // SAFETY: the contract above.
    c_int::from(unsafe { c.as_ref() }.is_some_and(Cancel::is_fired))
}

/// Gives a token back.
///
/// Descriptors and calls that still have it go on obeying it; the last of
/// them lets it go. Freeing does not fire.
///
/// @param c  a token, not to be used by the caller again; or NULL
///
/// Any thread.
///
/// # Safety
///
/// `c` is NULL or a token, freed for the first time.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn netfd_cancel_free(c: *mut Cancel) {
    boundary("set", || {
        // SAFETY: the contract above.
        if let Some(token) = unsafe { c.as_ref() } {
            token.release();
        }
        Ok(0)
    });
}

/// Sets the token that every call on a descriptor obeys, those that are parked
/// already too.
///
/// @param c  a token; or NULL: none
/// @return 0, or -EBADF, NETFD_ECLOSED
///
/// Any thread. What was set before is let go. Follows the use of Go's
/// `context.Context`, which Go itself has for dials only.
///
/// # Safety
///
/// `c` is NULL or a token.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn netfd_set_cancel(fd: c_int, c: *mut Cancel) -> c_int {
    boundary("set", || {
        // SAFETY: the contract above; a token's memory is never freed.
        let token = unsafe { c.as_ref() };
        deadline::set_cancel(fd, token).map(|()| 0)
    })
}
