//! io_uring(7): operations that the kernel carries out for one thread.
//!
//! A ring belongs to the thread that made it (`IORING_SETUP_SINGLE_ISSUER`),
//! and nothing is completed but while that thread is in `enter`
//! (`IORING_SETUP_DEFER_TASKRUN`). Both want Linux 6.1, which has all else that
//! is used here.

use crate::error::{Error, Result, Sys};
use crate::sys::Fd;
use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, Submitter, opcode, squeue, types};
use libc::{c_int, sockaddr, socklen_t};
use std::io;
use std::os::fd::AsRawFd;

/// One system call that a ring can make for a caller. What it points to is the
/// kernel's until the answer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// recv(2).
    Recv {
        /// Where the bytes go,
        at: *mut u8,
        /// and how many at most.
        len: usize,
        /// There is probably nothing yet: it is not tried before it waits.
        waits: bool,
    },
    /// send(2), without SIGPIPE.
    Send {
        /// Where the bytes are,
        at: *const u8,
        /// and how many.
        len: usize,
    },
    /// accept4(2), the new one non-blocking and close-on-exec.
    Accept {
        /// Where the peer's address goes,
        peer: *mut sockaddr,
        /// and the room for it, which becomes its length.
        len: *mut socklen_t,
    },
}

/// How many operations go to the kernel at once, and how many of its answers
/// there is room for; it keeps those beyond.
const SUBMISSIONS: u32 = 1024;
const COMPLETIONS: u32 = 4096;

/// `IORING_RECVSEND_POLL_FIRST` of linux/io_uring.h.
const POLL_FIRST: u16 = 1;

/// The longest transfer of one system call: `MAX_RW_COUNT`.
const LONGEST: u32 = 0x7fff_f000;

/// A thread's ring. It lives for as long as the process, as its thread does.
pub struct Ring {
    ring: &'static IoUring,
    submitter: Submitter<'static>,
}

impl core::fmt::Debug for Ring {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Ring").finish_non_exhaustive()
    }
}

fn failed(error: &io::Error, call: Sys) -> Error {
    Error::os(error.raw_os_error().unwrap_or(libc::EIO), call)
}

fn count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(LONGEST).min(LONGEST)
}

impl Ring {
    /// A ring of the calling thread's, whose memory no forked child has.
    pub fn new() -> Result<Self> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(COMPLETIONS)
            .dontfork()
            .build(SUBMISSIONS)
            .map_err(|error| failed(&error, Sys::IoUringSetup))?;
        let [ring]: &'static [IoUring; 1] = Box::leak(crate::pool::boxed_one(ring)?);
        let mut submitter = ring.submitter();
        // The thread keeps it by a number of its own, which the kernel looks up
        // faster. So it needs no descriptor, that others could close, or a
        // forked child inherit. (Where it is not to be used after all, its memory
        // stays, once for each worker.)
        let kept = submitter.register_ring_fd();
        let _ = crate::sys::close(ring.as_raw_fd());
        kept.map_err(|error| failed(&error, Sys::IoUringSetup))?;
        let mut ring = Self { ring, submitter };
        // A filter may let it be made, and not be used.
        match ring.enter(0) {
            Err(error) if !error.is(libc::EINTR) => Err(error),
            _ => Ok(ring),
        }
    }

    /// Has `operation` on `fd` made at the next `enter`; `key` comes back with
    /// its answer.
    ///
    /// # Safety
    ///
    /// What the operation points to is there, and nobody touches it, until the
    /// answer has been seen.
    pub unsafe fn begin(&mut self, fd: Fd, operation: Operation, key: u64) -> Result<()> {
        let target = types::Fd(fd);
        let entry = match operation {
            Operation::Recv { at, len, waits } => opcode::Recv::new(target, at, count(len))
                .ioprio(if waits { POLL_FIRST } else { 0 })
                .build(),
            Operation::Send { at, len } => opcode::Send::new(target, at, count(len))
                .flags(libc::MSG_NOSIGNAL)
                .build(),
            Operation::Accept { peer, len } => opcode::Accept::new(target, peer, len)
                .flags(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC)
                .build(),
        };
        // SAFETY: the caller's promise.
        unsafe { self.push(&entry.user_data(key)) }
    }

    /// Has the operation with the key `of` end, if it has not ended; it has an
    /// answer all the same. That of this one has `key`.
    pub fn cancel(&mut self, of: u64, key: u64) -> Result<()> {
        let entry = opcode::AsyncCancel::new(of).build().user_data(key);
        // SAFETY: it points to nothing.
        unsafe { self.push(&entry) }
    }

    /// Has `key` told once when `fd` has input.
    pub fn watch(&mut self, fd: Fd, key: u64) -> Result<()> {
        let input = libc::POLLIN.unsigned_abs().into();
        let entry = opcode::PollAdd::new(types::Fd(fd), input).build();
        // SAFETY: it points to nothing.
        unsafe { self.push(&entry.user_data(key)) }
    }

    /// # Safety
    ///
    /// As for `begin`.
    unsafe fn push(&mut self, entry: &squeue::Entry) -> Result<()> {
        // SAFETY: the ring's one thread is here, and nowhere else.
        let mut queue = unsafe { self.ring.submission_shared() };
        if queue.is_full() {
            drop(queue);
            self.enter(0)?;
            // SAFETY: as above.
            queue = unsafe { self.ring.submission_shared() };
        }
        // SAFETY: the caller's promise.
        let pushed = unsafe { queue.push(entry) };
        pushed.map_err(|_| Error::os(libc::EBUSY, Sys::IoUringEnter))
    }

    /// Whether `enter` has something to do without waiting.
    pub fn is_busy(&self) -> bool {
        // SAFETY: the ring's one thread is here, and nowhere else.
        let queue = unsafe { self.ring.submission_shared() };
        !queue.is_empty() || queue.taskrun() || queue.cq_overflow()
    }

    /// Hands to the kernel what was begun, has it complete what it can, and
    /// waits for a first answer, at most `timeout` nanoseconds (negative: for
    /// ever; 0: not at all). `-ETIME` and `-EINTR` are no failures of what was
    /// begun.
    pub fn enter(&mut self, timeout: i64) -> Result<()> {
        // SAFETY: the ring's one thread is here, and nowhere else.
        let begun = unsafe { self.ring.submission_shared() }.len();
        let limit = Timespec::from(core::time::Duration::from_nanos(
            timeout.max(0).unsigned_abs(),
        ));
        let mut args = SubmitArgs::new();
        if timeout > 0 {
            args = args.timespec(&limit);
        }
        let flags = (EnterFlags::GETEVENTS | EnterFlags::EXT_ARG).bits();
        let wanted = u32::from(timeout != 0);
        // SAFETY: these flags go with these arguments, which live over the
        // call.
        let entered = unsafe {
            self.submitter
                .enter(count(begun), wanted, flags, Some(&args))
        };
        match entered {
            Ok(_) => Ok(()),
            Err(error) => Err(failed(&error, Sys::IoUringEnter)),
        }
    }

    /// Shows all answers that have come: each with its key.
    pub fn answers(&mut self, mut show: impl FnMut(u64, c_int)) {
        // SAFETY: the ring's one thread is here, and nowhere else: `show` gets
        // no ring.
        let queue = unsafe { self.ring.completion_shared() };
        for answer in queue {
            show(answer.user_data(), answer.result());
        }
    }
}

/// What a ring's answer to an operation says, as the system call `call` would.
pub fn answered(answer: c_int, call: Sys) -> Result<usize> {
    usize::try_from(answer).map_err(|_| Error::os(-answer, call))
}
