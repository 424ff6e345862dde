//! Deadlines and tokens of a descriptor: stored first, then whoever is parked
//! is woken to look at them.

use crate::error::Result;
use crate::fd::cancel::Cancel;
use crate::fd::desc::Call;
use crate::fd::limits::Side;
use crate::sync::Ordering;
use crate::sys::{Fd, time};

/// Go `setDeadlineImpl`: absolute, 0 is none, in the past is at once.
pub fn set(fd: Fd, deadline: i64, sides: &[Side]) -> Result<()> {
    let call = Call::incref(fd)?;
    let entry = call.entry();
    for side in sides {
        let place = match side {
            Side::Read => &entry.read_deadline,
            Side::Write => &entry.write_deadline,
        };
        place.store(deadline, Ordering::Release);
        call.wake(*side);
    }
    Ok(())
}

/// Sets the token that every call on `fd` obeys, and wakes all so that they
/// do.
pub fn set_cancel(fd: Fd, token: Option<&'static Cancel>) -> Result<()> {
    let call = Call::incref(fd)?;
    call.entry().cancel.set(token.map(Cancel::hold));
    call.wake(Side::Read);
    call.wake(Side::Write);
    Ok(())
}

/// A deadline `ns` from now: never 0, which is none, and never beyond range.
pub fn after(ns: i64) -> i64 {
    match time::now().saturating_add(ns) {
        0 => -1,
        deadline => deadline,
    }
}
