//! Helper threads: for what blocks and cannot be made not to, while its caller
//! parks. A thread for each piece of work, and none kept.

use crate::error::Result;
use crate::fd::look::wait_for;
use crate::park::{self, Aside, Slot};
use crate::pool::{Pool, Pooled};
use crate::sync::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use crate::sys::{process, sanitizer};

/// What a helper does: a function of two numbers, which has a result.
pub type Work = fn(usize, usize) -> i32;

/// A piece of work, as its caller and its helper share it.
#[derive(Debug, Default)]
struct Job {
    done: AtomicBool,
    result: AtomicI32,
    /// The caller, while he is parked.
    caller: Slot,
    link: AtomicU32,
}

impl Pooled for Job {
    fn link(&self) -> &AtomicU32 {
        &self.link
    }
}

static JOBS: Pool<Job> = Pool::new();

/// What the helper is given.
struct Task {
    work: Work,
    one: usize,
    two: usize,
    job: &'static Job,
}

impl Task {
    /// The helper's whole life.
    fn run(self) {
        let result = (self.work)(self.one, self.two);
        sanitizer::release(self.job);
        self.job.result.store(result, Ordering::Relaxed);
        self.job.done.store(true, Ordering::Release);
        if let Some(caller) = park::find(self.job.caller.take()) {
            caller.wake();
        }
    }
}

/// Runs `work` on a thread of its own, and parks the caller until it is done;
/// nothing ends that wait. `-EAGAIN`: there is no thread to be had, and nothing
/// was run.
pub fn run(work: Work, one: usize, two: usize) -> Result<i32> {
    process::prepare()?;
    let (id, job) = JOBS.take()?;
    job.done.store(false, Ordering::Relaxed);
    let task = Task {
        work,
        one,
        two,
        job,
    };
    let result = process::spawn(Task::run, task).map(|()| {
        let is_done = || job.done.load(Ordering::Acquire);
        // Whatever ends a wait early, the work goes on with the caller's.
        while !is_done() {
            let _ = wait_for(&job.caller, Aside::Helper, is_done, 0, None);
        }
        sanitizer::acquire(job);
        job.result.load(Ordering::Relaxed)
    });
    JOBS.put(id);
    result
}
