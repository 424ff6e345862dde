//! Fibers: Go's `go`, and what goes with it.

use super::boundary::{self, boundary, parking, quiet};
use crate::error::{FAULT, INVAL};
use crate::fd::cancel::Cancel;
use crate::fd::helper;
use crate::fiber::{self, Handler};
use crate::net::group::Group;
use crate::net::serve::{self, Config};
use core::ffi::c_void;
use core::ptr;
use libc::c_int;

/// Starts a fiber, which runs `fn(arg)`: Go's `go fn(arg)`.
///
/// A fiber has a stack of its own and no thread: every call of this library
/// that parks parks the fiber, while its worker, one of a few threads, runs
/// others. It stays on the worker that it begins on, the one with the fewest
/// fibers; thread-local variables are the worker's. errno and C++ exceptions in
/// flight are the fiber's own. Its stack has 256 KiB, of which touched pages
/// cost memory, over a guard of 64 KiB. It is not preempted: one that computes,
/// or blocks outside netfd, holds its worker up, see netfd_block(); one whose
/// calls keep succeeding lets others run after 64. Hold no mutex over a call
/// that parks. Neither pthread_exit(3) nor longjmp(3) may leave it, nor an
/// exception.
///
/// The first fiber starts the workers, one for each processor, or as many as
/// NETFD_WORKERS in the environment says. Signals are not handled on them.
/// They read, write and accept through io_uring(7) where the kernel gives it
/// (Linux 6.1), and wait by epoll(7) else, or where NETFD_POLL=epoll says so;
/// what calls do, and say, is the same.
///
/// @param fn   what to run
/// @param arg  what to run it with
/// @return 0, or
///   -EFAULT no `fn`, -ENOMEM, -EAGAIN no thread to be had, -EMFILE or
///   -ENFILE no descriptor for the workers
///
/// Any thread or fiber; never parks. In a child made by fork(2) the first fiber
/// starts workers anew; a fiber that forks goes on in the child as a thread, and
/// ends it with _exit(0). Follows Go's `go` statement.
///
/// # Safety
///
/// `fn` may be called with `arg`, on another thread.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn netfd_go(
    r#fn: Option<unsafe extern "C" fn(arg: *mut c_void)>,
    arg: *mut c_void,
) -> c_int {
    boundary("go", || fiber::go(r#fn.ok_or(FAULT)?, arg, 0).map(|()| 0))
}

/// How netfd_serve() goes about it. Set `size` to the struct's sizeof; all else
/// zero is the usual way.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ServeConfig {
    /// The caller's sizeof of this struct.
    pub size: usize,
    /// How long handlers may run on once the listener's token has fired, in
    /// nanoseconds; 0: as long as they like. Negative: not at all.
    pub drain_timeout: i64,
    /// How many connections at once; 0: as many as there are descriptors.
    pub max_connections: c_int,
    /// The least that a handler's stack has, in bytes; 0: 256 KiB.
    pub stack_size: usize,
}

/// Accepts connections, and runs a fiber for each: `handler(fd, arg)`.
///
/// The connection is destroyed when its handler returns, unless that has
/// detached it. Where accepting finds no descriptor or no memory it rests, from
/// 5 ms up to a second. When the listener's token fires it stops accepting;
/// handlers run on for `drain_timeout`, then what is left is destroyed. When the
/// listener is destroyed, what is left is destroyed at once. A handler whose
/// connection is destroyed is told NETFD_ECLOSED and has to return: the number
/// may soon be another's. Until the listener is destroyed, the kernel goes on
/// taking connections into its queue. The listener's token and deadlines are not
/// its connections'.
///
/// @param listener  as made by netfd_listen(); it stays the caller's
/// @param handler   what serves a connection
/// @param arg       what it is called with
/// @param cfg       how, or NULL
/// @return 0 where the token has fired and the last handler has returned, or
///   NETFD_ECLOSED the listener was destroyed, and the last handler has
///   returned, -EBADF, -EFAULT no `handler`,
///   -EINVAL `cfg` says what cannot be, NETFD_EDEADLINE the listener's read
///   deadline has passed, -EINTR if asked for by netfd_set_interruptible(),
///   -ENOMEM, or what accept4(2) said that will not pass, negated
///
/// Any thread or fiber; parks. Follows Go `(*http.Server).Serve` and
/// `Shutdown`.
///
/// # Safety
///
/// `handler` may be called with `arg`, on any thread, several at once; `cfg` is
/// NULL or readable for its `size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn netfd_serve(
    listener: c_int,
    handler: Option<unsafe extern "C" fn(fd: c_int, arg: *mut c_void)>,
    arg: *mut c_void,
    cfg: *const ServeConfig,
) -> c_int {
    parking("serve", || {
        let handler: Handler = handler.ok_or(FAULT)?;
        // SAFETY: the contract above; all fields are numbers.
        let cfg = unsafe { boundary::config(cfg) }?;
        if cfg.max_connections < 0 || cfg.stack_size > fiber::STACK_MAX {
            return Err(INVAL);
        }
        let config = Config {
            drain_timeout: cfg.drain_timeout,
            max_connections: cfg.max_connections,
            stack_size: cfg.stack_size,
        };
        serve::serve(listener, handler, arg, config).map(|()| 0)
    })
}

/// Sleeps for a time.
///
/// @param ns  nanoseconds; 0 or less returns at once
/// @return 0
///
/// Any thread or fiber; parks. Follows Go `time.Sleep`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn netfd_sleep(ns: i64) -> c_int {
    parking("sleep", || {
        fiber::rest(ns);
        Ok(0)
    })
}

/// Lets other fibers of the worker run: in a thread, other threads.
///
/// Any thread or fiber. Follows Go `runtime.Gosched`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn netfd_yield() {
    let _ = quiet(|| {
        fiber::yield_now();
        Ok(())
    });
}

/// Says whether the caller is a fiber.
///
/// @return 1 or 0
///
/// Any thread or fiber.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn netfd_in_fiber() -> c_int {
    c_int::from(fiber::is_inside())
}

/// Runs `fn(arg)` on a helper thread, and parks the fiber until it is done: for
/// what blocks, files or databases, or computes for long. Outside a fiber it
/// just runs it.
///
/// @param fn   what to run
/// @param arg  what to run it with
/// @return 0 when it has run, or
///   -EFAULT no `fn`, -ENOMEM, -EAGAIN no thread to be had: it has not run
///
/// Any thread or fiber. What runs on the helper is no fiber.
///
/// # Safety
///
/// `fn` may be called with `arg`, on another thread.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn netfd_block(
    r#fn: Option<unsafe extern "C" fn(arg: *mut c_void)>,
    arg: *mut c_void,
) -> c_int {
    parking("block", || {
        let body = r#fn.ok_or(FAULT)? as usize;
        let arg = arg.expose_provenance();
        if fiber::is_inside() {
            helper::run(fiber::call, body, arg)
        } else {
            Ok(fiber::call(body, arg))
        }
    })
}

/// Makes a wait group: a count of work that threads and fibers can wait for.
///
/// @return the group, the caller's until netfd_group_free(), or NULL where
///   there is no memory
///
/// Any thread or fiber. Follows Go `sync.WaitGroup`.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C-unwind" fn netfd_group_new() -> *mut Group {
    quiet(Group::new).map_or(ptr::null_mut(), |group| ptr::from_ref(group).cast_mut())
}

/// Counts more work.
///
/// @param n  how much; negative: that much is done
/// @return 0, or
///   -EFAULT, -EINVAL the count would be below 0 or beyond INT_MAX
///
/// Any thread or fiber; never parks. Follows Go `WaitGroup.Add`.
///
/// # Safety
///
/// `g` is NULL or a group that is not freed before the call returns.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn netfd_group_add(g: *mut Group, n: c_int) -> c_int {
    boundary("add", || {
        // SAFETY: the contract above.
        let group = unsafe { g.as_ref() }.ok_or(FAULT)?;
        group.add(n).map(|()| 0)
    })
}

/// Counts one piece of work as done: all that came before it is visible to
/// those who waited for it.
///
/// @return 0, or
///   -EFAULT, -EINVAL there was none
///
/// Any thread or fiber; never parks. Follows Go `WaitGroup.Done`.
///
/// # Safety
///
/// `g` is NULL or a group that was not freed before the call. Whoever waited
/// for this piece of work may free it though the call has not returned.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn netfd_group_done(g: *mut Group) -> c_int {
    boundary("done", || {
        // SAFETY: the contract above.
        let group = unsafe { g.as_ref() }.ok_or(FAULT)?;
        group.add(-1).map(|()| 0)
    })
}

/// Waits until all work of a group is done.
///
/// @param deadline  when to give up, in nanoseconds of CLOCK_MONOTONIC, or
///                  NETFD_NO_DEADLINE
/// @param cancel    a token that ends the wait, or NULL
/// @return 0, at once where there is no work, whatever the deadline or the
///   token; or -EFAULT, NETFD_EDEADLINE, NETFD_ECANCELED,
///   -EINTR if asked for by netfd_set_interruptible(), -ENOMEM
///
/// Any thread or fiber, any number; parks. Follows Go `WaitGroup.Wait`.
///
/// # Safety
///
/// `g` is NULL or a group, `cancel` NULL or a token, neither of which is freed
/// before the call returns.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn netfd_group_wait(
    g: *mut Group,
    deadline: i64,
    cancel: *mut Cancel,
) -> c_int {
    parking("wait", || {
        // SAFETY: the contract above.
        let group = unsafe { g.as_ref() }.ok_or(FAULT)?;
        // SAFETY: a token's memory is never freed.
        let token = unsafe { cancel.as_ref() }.map(Cancel::hold);
        group.wait(deadline, token.as_ref()).map(|()| 0)
    })
}

/// Gives a group back.
///
/// @param g  a group that nobody waits for, not to be used again; or NULL
///
/// Any thread or fiber.
///
/// # Safety
///
/// `g` is NULL or a group, freed for the first time.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn netfd_group_free(g: *mut Group) {
    boundary("free", || {
        // SAFETY: the contract above.
        if let Some(group) = unsafe { g.as_ref() } {
            group.free();
        }
        Ok(0)
    });
}
