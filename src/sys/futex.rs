//! futex(2): the wait and the wake on a word of memory.

use crate::sync::{AtomicU32, Ordering};
use crate::sys::{errno, time};
use core::ptr;

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// A wake, a value that had changed already, or for no reason at all.
    Maybe,
    /// The deadline has passed.
    Deadline,
    /// A signal handler ran.
    Signal,
}

/// Waits while `word` is `expected`, at most until `deadline` (0: no limit).
pub fn wait(word: &AtomicU32, expected: u32, deadline: i64) -> Woken {
    if word.load(Ordering::Acquire) != expected {
        return Woken::Maybe;
    }
    let limit = time::timespec(deadline);
    let limit: *const libc::timespec = if deadline == 0 { ptr::null() } else { &limit };
    // SAFETY: the word and the timespec live over the call. The BITSET form
    // takes its deadline as a point in CLOCK_MONOTONIC.
    let result = unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT_BITSET | libc::FUTEX_PRIVATE_FLAG,
            expected,
            limit,
            ptr::null::<u32>(),
            libc::FUTEX_BITSET_MATCH_ANY,
        )
    };
    match result {
        0 => Woken::Maybe,
        _ if errno() == libc::ETIMEDOUT => Woken::Deadline,
        _ if errno() == libc::EINTR => Woken::Signal,
        _ => Woken::Maybe,
    }
}

/// Wakes up to `count` of those who wait on `word`.
pub fn wake(word: &AtomicU32, count: i32) {
    // SAFETY: the kernel takes the word's address as a key and reads nothing.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
            count,
        )
    };
}
