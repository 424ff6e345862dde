//! What is going on: counts, and who is parked on what.

use crate::addr;
use crate::error::Result;
use crate::fd::desc::Call;
use crate::fd::{Turn, table};
use crate::fiber;
use crate::net::failure::Place;
use crate::net::lookup;
use crate::sync::Ordering;
use crate::sys::process::{self, Quiet};
use crate::sys::{self, Fd, time};
use crate::text::Text;
use core::fmt::Write;

/// Counts of the whole process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Descriptors that are attached.
    pub open: u64,
    /// Callers that are parked, in a poll, in a queue, or for a lookup.
    pub parked: u64,
    /// Fibers that have begun, or are about to, and have not ended.
    pub fibers: u64,
    /// Connections that accept returned.
    pub accepts: u64,
    /// Times that a caller parked.
    pub parks: u64,
    /// Times that one was woken by another call: by a turn given back, a
    /// deadline or token that changed, destroy or detach.
    pub wakeups: u64,
}

/// The counts as of now. Each is right by itself; they are not of one moment.
pub fn counts() -> Counts {
    let mut counts = Counts::default();
    let epoch = process::epoch();
    for (_, entry) in table::open_entries() {
        counts.open += 1;
        entry.mutex.each(epoch, |_, _, waiter| {
            // One caller that is parked in two descriptors has two waiters.
            counts.parked += u64::from(!waiter.second.load(Ordering::Relaxed));
        });
    }
    counts.fibers = fiber::counts();
    counts.parked += u64::from(lookup::waiting());
    for entry in table::entries() {
        counts.accepts += entry.accepts.load(Ordering::Relaxed);
        counts.parks += entry.parks.load(Ordering::Relaxed);
        counts.wakeups += entry.wakeups.load(Ordering::Relaxed);
    }
    counts
}

/// Writes a line for each descriptor and each parked caller to `out`.
pub fn dump(out: Fd) -> Result<()> {
    // Where nothing is attached nothing is written; a bad `out` is told so.
    sys::check_open(out)?;
    let now = time::now();
    let epoch = process::epoch();
    for (fd, entry) in table::open_entries() {
        // Without one it was destroyed meanwhile.
        let Ok(call) = Call::incref(fd) else { continue };
        let mut text = Text::default();
        let place = Place::of(&call);
        let _ = write!(text, "fd {fd} {} ", place.network);
        text.push(addr::text(&place.local).bytes());
        text.push(b" -> ");
        text.push(addr::text(&place.remote).bytes());
        text.push(b"\n");
        drop(call);
        flush(&mut text, out)?;
        // What was seen is written without the queue's lock: `out` may block.
        let mut parked = Vec::new();
        entry.mutex.each(epoch, |turn, polls, waiter| {
            if parked.try_reserve(1).is_ok() {
                let who = if waiter.is_fiber() {
                    let seat = waiter.seat.load(Ordering::Relaxed);
                    ("fiber", seat, waiter.home.load(Ordering::Relaxed))
                } else {
                    ("thread", waiter.thread.load(Ordering::Relaxed), 0)
                };
                let since = waiter.since.load(Ordering::Relaxed);
                parked.push((who, doing(turn, polls), now - since));
            }
        });
        for ((what, number, worker), doing, ns) in parked {
            let ms = ns.max(0) / 1_000_000;
            let _ = write!(text, "  {what} {number} ");
            if worker > 0 {
                let _ = write!(text, "of worker {worker} ");
            }
            let _ = writeln!(text, "{doing}, parked for {ms} ms");
            flush(&mut text, out)?;
        }
    }
    let waiting = lookup::waiting();
    if waiting > 0 {
        let mut text = Text::default();
        let _ = writeln!(text, "lookups\n  {waiting} callers wait for a name");
        flush(&mut text, out)?;
    }
    Ok(())
}

fn doing(turn: Turn, polls: bool) -> &'static str {
    match (turn, polls) {
        (Turn::Read, true) => "reads",
        (Turn::Read, false) => "queues to read",
        (Turn::Write, true) => "writes",
        (Turn::Write, false) => "queues to write",
        (_, true) => "waits",
        (_, false) => "queues to wait",
    }
}

fn flush(text: &mut Text<512>, out: Fd) -> Result<()> {
    let mut rest = text.bytes();
    while !rest.is_empty() {
        match Quiet::new().run(rest.len(), || sys::write(out, rest)) {
            Ok(n) => rest = rest.get(n..).unwrap_or_default(),
            Err(error) if error.is(libc::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
    *text = Text::default();
    Ok(())
}
