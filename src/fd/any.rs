//! Waiting for any of several descriptors, which one caller is inside all by
//! himself.

use crate::error::Result;
use crate::fd::desc::Call;
use crate::fd::limits::Limits;
use crate::poll::{Poller, SLICE};
use crate::sys::event::Epoll;
use libc::c_short;

/// Parks until any of the calls, each of which has its turn, is ready for
/// `events`, has an error or a hang-up. `Some`: what the only one is ready for.
/// `None`: which one, if any, is for the caller to see. Of several only the
/// first is one whose eviction wakes him. `poller` is the only one's.
pub fn wait<'a>(
    first: &'a Call,
    mut rest: impl Iterator<Item = &'a Call>,
    events: c_short,
    limits: Limits,
    poller: &mut Poller,
) -> Result<Option<c_short>> {
    let Some(second) = rest.next() else {
        return first.wait(events, limits, poller).map(Some);
    };
    let all = [first, second].into_iter().chain(rest);
    match set_of(all, events) {
        Ok(set) => {
            let watched = (set.fd(), libc::POLLIN);
            first.wait_beside(watched, limits, &mut Poller::default(), None)?;
        }
        Err(_) => first.pause(SLICE, limits)?,
    }
    Ok(None)
}

fn set_of<'a>(calls: impl Iterator<Item = &'a Call>, events: c_short) -> Result<Epoll> {
    let set = Epoll::new()?;
    for call in calls {
        set.add(call.fd(), u32::from(events.unsigned_abs()), 0)?;
    }
    Ok(set)
}
