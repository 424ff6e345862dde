//! The clock: nanoseconds of `CLOCK_MONOTONIC`.

use libc::timespec;

/// Nanoseconds in a second.
pub const SECOND: i64 = 1_000_000_000;

/// Now. Positive on any machine that is up.
pub fn now() -> i64 {
    of(libc::CLOCK_MONOTONIC)
}

/// Now, as of the kernel's last tick: some milliseconds late, and cheaper.
pub fn recent() -> i64 {
    of(libc::CLOCK_MONOTONIC_COARSE)
}

fn of(clock: libc::clockid_t) -> i64 {
    let mut time = timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is there to be written; the clocks asked for always exist.
    unsafe { libc::clock_gettime(clock, &mut time) };
    time.tv_sec
        .saturating_mul(SECOND)
        .saturating_add(time.tv_nsec)
}

/// The kernel's form of a time or a length of time that is not negative.
pub fn timespec(ns: i64) -> timespec {
    let ns = ns.max(0);
    timespec {
        tv_sec: ns / SECOND,
        tv_nsec: ns % SECOND,
    }
}
