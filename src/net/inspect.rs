//! What is going on: counts, and who is parked on what.

use crate::addr;
use crate::error::Result;
use crate::fd::desc::Call;
use crate::fd::{Turn, table};
use crate::fiber;
use crate::net::failure::Place;
use crate::park::{self, Aside, Waiter};
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
    /// Callers that are parked: in a poll, in a queue, or on no descriptor.
    pub parked: u64,
    /// What the workers have, and have done.
    pub workers: fiber::Counts,
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
    counts.workers = fiber::counts();
    counts.parked += park::parked_aside().count() as u64;
    for entry in table::entries() {
        counts.accepts += entry.accepts.load(Ordering::Relaxed);
        counts.parks += entry.parks.load(Ordering::Relaxed);
        counts.wakeups += entry.wakeups.load(Ordering::Relaxed);
    }
    counts
}

/// Writes a line for each descriptor and each parked caller to `out`; those who
/// are parked on no descriptor come last.
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
                parked.push(Parked::of(waiter, doing(turn, polls)));
            }
        });
        for one in parked {
            one.write(&mut text, now);
            flush(&mut text, out)?;
        }
    }
    let mut text = Text::default();
    for (index, (waiter, what)) in park::parked_aside().enumerate() {
        if index == 0 {
            text.push(b"no fd\n");
        }
        Parked::of(waiter, doing_aside(what)).write(&mut text, now);
        flush(&mut text, out)?;
    }
    Ok(())
}

/// A parked caller, as it is told of.
struct Parked {
    /// The worker of a fiber, from 1; 0: it is a thread.
    worker: u32,
    /// The fiber's number there, or the thread's.
    number: u32,
    doing: &'static str,
    since: i64,
}

impl Parked {
    fn of(waiter: &Waiter, doing: &'static str) -> Self {
        let number = if waiter.is_fiber() {
            &waiter.seat
        } else {
            &waiter.thread
        };
        Self {
            worker: waiter.home.load(Ordering::Relaxed),
            number: number.load(Ordering::Relaxed),
            doing,
            since: waiter.since.load(Ordering::Relaxed),
        }
    }

    fn write(&self, text: &mut Text<512>, now: i64) {
        let ms = (now - self.since).max(0) / 1_000_000;
        let (number, doing) = (self.number, self.doing);
        let _ = match self.worker {
            0 => write!(text, "  thread {number} "),
            worker => write!(text, "  fiber {number} of worker {worker} "),
        };
        let _ = writeln!(text, "{doing}, parked for {ms} ms");
    }
}

fn doing_aside(what: Aside) -> &'static str {
    match what {
        Aside::Time => "sleeps",
        Aside::Group => "waits for a group",
        Aside::Helper => "waits for a helper thread",
        Aside::Name => "waits for a name",
        Aside::Handlers => "waits for handlers",
    }
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
