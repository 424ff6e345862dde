//! Waiting for any of several descriptors, which one caller is inside all by
//! himself.

use crate::error::Result;
use crate::fd::desc::{Call, Limits};
use crate::poll::Poller;
use crate::sys::event::Epoll;
use libc::c_short;

/// How long the caller sleeps at a time where there is no descriptor for a set
/// of its own: 10 ms.
const SLICE: i64 = 10_000_000;

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
        Ok(set) => first.wait_on(set.fd(), limits),
        Err(_) => first.pause(SLICE, limits),
    }
    .map(|()| None)
}

fn set_of<'a>(calls: impl Iterator<Item = &'a Call>, events: c_short) -> Result<Epoll> {
    let set = Epoll::new()?;
    for call in calls {
        set.add(call.fd(), u32::from(events.unsigned_abs()), 0)?;
    }
    Ok(set)
}
