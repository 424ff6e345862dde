//! The thread's back end: ppoll(2) on the descriptor, the thread's eventfd and
//! the tokens'. No poller thread stands between, and nothing is registered.

use crate::error::Result;
use crate::poll::{Outcome, Watch};
use crate::sys::event::{interest, ppoll};
use libc::POLLIN;

/// Waits once.
#[inline]
pub fn wait(watch: Watch, timeout: i64) -> Result<Outcome> {
    let [one, two, three, four] = watch.others;
    let mut set = [
        interest(watch.fd, watch.events),
        interest(one, POLLIN),
        interest(two, POLLIN),
        interest(three, POLLIN),
        interest(four, POLLIN),
    ];
    let used = set.get_mut(..=watch.count).unwrap_or_default();
    match ppoll(used, timeout) {
        Ok(_) => {
            let [fd, others @ ..] = set;
            Ok(Outcome {
                ready: fd.revents,
                other: others.iter().any(|other| other.revents != 0),
                signal: false,
            })
        }
        Err(error) if error.is(libc::EINTR) => Ok(Outcome::SIGNAL),
        Err(error) => Err(error),
    }
}
