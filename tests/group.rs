//! Wait groups: counts of work that threads and fibers wait for.
//!
//! Specifies netfd_group_new(), netfd_group_add(), netfd_group_done(),
//! netfd_group_wait() and netfd_group_free(). Follows Go `sync.WaitGroup` and
//! its `TestWaitGroup`, `TestWaitGroupMisuse` and `TestWaitGroupRace`.

mod common;

use common::calls::now;
use common::fibers::*;
use common::*;
use libc::c_int;
use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A pointer that goes to other threads.
#[derive(Clone, Copy)]
struct Group(*mut netfd_group);

// SAFETY: a group is made for many threads.
unsafe impl Send for Group {}
// SAFETY: likewise.
unsafe impl Sync for Group {}

impl Group {
    fn new() -> Self {
        // SAFETY: no pointers.
        let group = unsafe { netfd_group_new() };
        assert!(!group.is_null());
        Self(group)
    }

    fn add(self, n: c_int) -> c_int {
        // SAFETY: the group lives, or is NULL.
        unsafe { netfd_group_add(self.0, n) }
    }

    fn done(self) -> c_int {
        // SAFETY: likewise.
        unsafe { netfd_group_done(self.0) }
    }

    fn wait(self) -> c_int {
        self.wait_by(NETFD_NO_DEADLINE, no_token())
    }

    fn wait_by(self, deadline: i64, token: *mut netfd_cancel) -> c_int {
        // SAFETY: likewise, and so does the token.
        unsafe { netfd_group_wait(self.0, deadline, token) }
    }

    fn free(self) {
        // SAFETY: likewise, and it is freed once.
        unsafe { netfd_group_free(self.0) }
    }
}

const NONE: Group = Group(null_mut());

#[test]
fn a_group_of_nothing_is_waited_for_at_once() {
    let group = Group::new();
    assert_eq!(group.wait(), 0);
    assert_eq!(fiber(move || group.wait()).join(), 0);
    group.free();
}

#[test]
fn without_work_neither_a_past_deadline_nor_a_fired_token_ends_the_wait() {
    let (group, token) = (Group::new(), Token::new());
    token.fire();
    assert_eq!(group.wait_by(1, token.0), 0);
    assert_eq!(fiber(move || group.wait_by(1, { token }.0)).join(), 0);
    token.free();
    group.free();
}

#[test]
fn null_is_efault_and_is_freed_for_nothing() {
    assert_eq!(NONE.add(1), -libc::EFAULT);
    assert_eq!(NONE.done(), -libc::EFAULT);
    assert_eq!(NONE.wait(), -libc::EFAULT);
    NONE.free();
}

#[test]
fn a_count_below_zero_or_beyond_an_int_is_einval_and_changes_nothing() {
    let group = Group::new();
    assert_eq!(group.done(), -libc::EINVAL);
    assert_eq!(group.add(-1), -libc::EINVAL);
    assert_eq!(group.add(c_int::MIN), -libc::EINVAL);
    assert_eq!(group.add(c_int::MAX), 0);
    assert_eq!(group.add(1), -libc::EINVAL);
    assert_eq!(group.add(-c_int::MAX), 0);
    assert_eq!(group.add(0), 0);
    assert_eq!(group.wait(), 0);
    group.free();
}

#[test]
fn threads_and_fibers_wait_alike_until_all_is_done() {
    let group = Group::new();
    assert_eq!(group.add(2), 0);
    let ended = Arc::new(AtomicU32::new(0));
    let body = || {
        let ended = Arc::clone(&ended);
        move || {
            let code = group.wait();
            ended.fetch_add(1, Ordering::AcqRel);
            code
        }
    };
    let before = stats().fibers;
    let fibers: Vec<_> = (0..10).map(|_| fiber(body())).collect();
    let threads: Vec<_> = (0..5).map(|_| spawn(body())).collect();
    await_that("the fibers are there", || stats().fibers >= before + 10);
    assert_eq!(group.done(), 0);
    sleep(5 * MS);
    assert_eq!(ended.load(Ordering::Acquire), 0);
    assert_eq!(fiber(move || group.done()).join(), 0);
    fibers.into_iter().for_each(|one| assert_eq!(one.join(), 0));
    threads
        .into_iter()
        .for_each(|one| assert_eq!(one.join(), 0));
    group.free();
}

#[test]
fn what_was_done_is_visible_to_whoever_waited() {
    static SUM: AtomicU32 = AtomicU32::new(0);
    let group = Group::new();
    for _ in 0..200 {
        SUM.store(0, Ordering::Relaxed);
        assert_eq!(group.add(8), 0);
        for _ in 0..8 {
            go(move || {
                SUM.fetch_add(1, Ordering::Relaxed);
                assert_eq!(group.done(), 0);
            });
        }
        assert_eq!(group.wait(), 0);
        assert_eq!(SUM.load(Ordering::Relaxed), 8);
    }
    group.free();
}

#[test]
fn a_deadline_ends_the_wait_in_threads_and_fibers() {
    let group = Group::new();
    assert_eq!(group.add(1), 0);
    let waits = move || {
        let until = after(20 * MS);
        assert_eq!(group.wait_by(until, no_token()), NETFD_EDEADLINE);
        assert!(now() >= until);
        assert_eq!(group.wait_by(1, no_token()), NETFD_EDEADLINE);
    };
    waits();
    fiber(waits).join();
    assert_eq!(group.done(), 0);
    group.free();
}

#[test]
fn a_token_ends_the_wait_in_threads_and_fibers() {
    let (group, token) = (Group::new(), Token::new());
    assert_eq!(group.add(1), 0);
    let waits = move || group.wait_by(NETFD_NO_DEADLINE, { token }.0);
    let fibers: Vec<_> = (0..5).map(|_| fiber(waits)).collect();
    let threads: Vec<_> = (0..5).map(|_| spawn(waits)).collect();
    sleep(5 * MS);
    token.fire();
    fibers
        .into_iter()
        .for_each(|one| assert_eq!(one.join(), NETFD_ECANCELED));
    threads
        .into_iter()
        .for_each(|one| assert_eq!(one.join(), NETFD_ECANCELED));
    assert_eq!(fiber(waits).join(), NETFD_ECANCELED);
    assert_eq!(group.done(), 0);
    token.free();
    group.free();
}

/// The last one to be done may still be inside his call when the group is
/// freed by whoever waited, and is somebody else's by then.
#[test]
fn a_group_is_freed_and_made_anew_right_after_the_wait() {
    on_two_workers(
        "a_group_is_freed_and_made_anew_right_after_the_wait",
        || {
            for _ in 0..5000 {
                let group = Group::new();
                assert_eq!(group.add(2), 0);
                for _ in 0..2 {
                    go(move || assert_eq!(group.done(), 0));
                }
                assert_eq!(group.wait(), 0);
                group.free();
            }
        },
    );
}

#[test]
fn done_a_deadline_and_a_token_race_and_the_group_stays_whole() {
    on_two_workers(
        "done_a_deadline_and_a_token_race_and_the_group_stays_whole",
        || {
            let group = Group::new();
            let mut seen = [0; 3];
            for round in 0..2000 {
                let token = Token::new();
                assert_eq!(group.add(1), 0);
                let until = after(MS / 20 * (round % 3));
                let waits = move || group.wait_by(until, { token }.0);
                let (one, other) = (fiber(waits), fiber(waits));
                go(move || token.fire());
                go(move || assert_eq!(group.done(), 0));
                for code in [one.join(), other.join()] {
                    let known = [0, NETFD_EDEADLINE, NETFD_ECANCELED];
                    let at = known.iter().position(|known| *known == code);
                    let place = at.and_then(|at| seen.get_mut(at));
                    *place.unwrap_or_else(|| panic!("{code}")) += 1;
                }
                assert_eq!(group.wait(), 0);
                await_that("it has fired", || {
                    // SAFETY: the token lives.
                    unsafe { netfd_cancel_fired(token.0) == 1 }
                });
                token.free();
            }
            println!("{seen:?}");
            group.free();
        },
    );
}
