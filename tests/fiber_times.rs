//! When fibers wake that sleep, or wait with deadlines: never early, and late
//! by as little as an idle machine lets them. In a file of their own, for other
//! tests would keep the machine busy.
//!
//! Specifies netfd_sleep() and deadlines in fibers. Follows Go `TestSleep` and
//! `TestAfterStress` in time/sleep_test.go.

mod common;

use common::calls::*;
use common::fibers::*;
use common::*;
use std::sync::{Mutex, mpsc};

/// How often the machine may have been busy with something else.
const TRIES: u32 = 8;

/// One test at a time.
static ONE: Mutex<()> = Mutex::new(());

/// None is early, ever; none is late in the best of a few tries, for the
/// machine may be busy.
#[test]
fn ten_thousand_sleepers_wake_on_time() {
    let _alone = ONE.lock();
    const FIBERS: i64 = 10_000;
    let mut latest = i64::MAX;
    for _ in 0..TRIES {
        let (send, ended) = mpsc::channel();
        let begin = after(300 * MS);
        for number in 0..FIBERS {
            let send = send.clone();
            go(move || {
                // Not in order.
                let until = begin + number * 7919 % FIBERS * (SECOND / FIBERS);
                sleep(until - now());
                let _ = send.send(now() - until);
            });
        }
        let mut worst = 0;
        for _ in 0..FIBERS {
            let late = ended.recv_timeout(GUARD).expect("each wakes");
            assert!(late >= 0, "{late} early");
            worst = worst.max(late);
        }
        latest = latest.min(worst);
        if latest < 20 * MS {
            break;
        }
    }
    println!("the latest: {latest} ns");
    assert!(latest < 20 * MS, "{latest}");
}

/// The deadlines of the call, of fibers that queue and of some that poll.
#[test]
fn ten_thousand_waits_meet_their_deadlines_on_time() {
    let _alone = ONE.lock();
    const WAITS: i64 = 10_000;
    let pairs: Vec<_> = (0..100).map(|_| unix_pair(libc::SOCK_STREAM)).collect();
    let mut latest = i64::MAX;
    for _ in 0..TRIES {
        let (send, ended) = mpsc::channel();
        let begin = after(500 * MS);
        for (number, (fd, _)) in (0..WAITS).zip(pairs.iter().cycle()) {
            let (fd, send) = (*fd, send.clone());
            // Not in order.
            let until = begin + number * 7919 % WAITS * (SECOND / WAITS);
            go(move || {
                let code = wait(fd, NETFD_READABLE, until);
                let _ = send.send((code, now() - until));
            });
        }
        let mut worst = 0;
        for _ in 0..WAITS {
            let (code, late) = ended.recv_timeout(GUARD).expect("each ends");
            assert_eq!(code, NETFD_EDEADLINE);
            assert!(late >= 0, "{late} early");
            worst = worst.max(late);
        }
        latest = latest.min(worst);
        if latest < 20 * MS {
            break;
        }
    }
    println!("the latest: {latest} ns");
    assert!(latest < 20 * MS, "{latest}");
    for (one, other) in pairs {
        assert_eq!((destroy(one), destroy(other)), (0, 0));
    }
}
