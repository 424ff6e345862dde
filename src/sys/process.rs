//! What is said of the process and the thread as such: which process this is,
//! and that a thread inside a call cannot be cancelled.

use crate::error::{Error, Result, Sys};
use crate::sync::{AtomicU32, Ordering};
use core::ptr;
use libc::c_int;
use once_cell::race::OnceRef;

/// The process epoch: 1 in the process that loaded the library, another number
/// after each fork(2). What carries an older one (a turn, a reference, a
/// parked caller) belongs to threads that this process does not have.
///
/// It lives in a page of its own which the kernel wipes in a forked child,
/// raw clone(2) included. Where the kernel does not know how,
/// pthread_atfork(3) zeroes it.
static PAGE: OnceRef<'static, AtomicU32> = OnceRef::new();

/// The last epoch that was taken, in memory that fork copies.
static LAST: AtomicU32 = AtomicU32::new(0);

/// Makes the epoch's page, once. Every door through which a descriptor enters
/// the table comes here first.
pub fn prepare() -> Result<()> {
    PAGE.get_or_try_init(map).map(drop)
}

/// This process's epoch.
pub fn epoch() -> u32 {
    let Some(page) = PAGE.get() else {
        return 1; // before `prepare`: there is nothing that could be older
    };
    match page.load(Ordering::Acquire) {
        0 => take_epoch(page),
        epoch => epoch,
    }
}

#[cold]
fn take_epoch(page: &AtomicU32) -> u32 {
    // Threads of a new process may meet here: one number wins, the rest
    // follow, and a number that lost is used by nobody.
    let mine = LAST.fetch_add(1, Ordering::AcqRel) + 1;
    match page.compare_exchange(0, mine, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => mine,
        Err(theirs) => theirs,
    }
}

fn map() -> Result<&'static AtomicU32> {
    // SAFETY: sysconf reads a constant.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    let size = usize::try_from(size).unwrap_or(4096);
    // SAFETY: a new anonymous mapping touches no memory that exists.
    let page = unsafe {
        libc::mmap(
            ptr::null_mut(),
            size,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if page == libc::MAP_FAILED {
        return Err(Error::os(libc::ENOMEM, Sys::Mmap));
    }
    // SAFETY: the mapping is ours and as long as said.
    if unsafe { libc::madvise(page, size, libc::MADV_WIPEONFORK) } != 0 {
        // SAFETY: `wipe` is a function of this library, which is never
        // unloaded (it is linked with -z nodelete).
        unsafe { libc::pthread_atfork(None, None, Some(wipe)) };
    }
    // SAFETY: the page is aligned, zeroed, and never unmapped. When two
    // threads map at once one page is left unused.
    let page: &'static AtomicU32 = unsafe { AtomicU32::from_ptr(page.cast()) };
    take_epoch(page);
    Ok(page)
}

unsafe extern "C" fn wipe() {
    if let Some(page) = PAGE.get() {
        page.store(0, Ordering::Release);
    }
}

unsafe extern "C-unwind" {
    fn pthread_setcancelstate(state: c_int, old: *mut c_int) -> c_int;
}

/// `PTHREAD_CANCEL_DISABLE` of pthread.h, the same in glibc and musl.
const CANCEL_DISABLE: c_int = 1;

/// While it lives, pthread_cancel(3) of the calling thread has to wait: a
/// thread that unwound through a call would take its turn away with it.
#[derive(Debug)]
pub struct Uncancelable(c_int);

impl Uncancelable {
    /// Disables cancellation of the calling thread.
    #[allow(clippy::new_without_default, reason = "a guard is not a value")]
    pub fn new() -> Self {
        let mut before = 0;
        // SAFETY: `before` is there to be written.
        unsafe { pthread_setcancelstate(CANCEL_DISABLE, &mut before) };
        Self(before)
    }
}

impl Drop for Uncancelable {
    fn drop(&mut self) {
        // SAFETY: the state is the one that the C library gave us. Both C
        // libraries for Linux take NULL where the old one is not wanted.
        unsafe { pthread_setcancelstate(self.0, ptr::null_mut()) };
    }
}

/// The key, plus one, whose destructor runs when a thread ends; 0: none yet.
static KEY: AtomicU32 = AtomicU32::new(0);

/// Has `end` run when the calling thread ends, after thread-local destructors
/// and among those of pthread_key_create(3). False: it will not, for lack of a
/// key or of memory. Every caller passes the same function.
pub fn at_thread_end(end: fn()) -> bool {
    let key = match KEY.load(Ordering::Acquire) {
        0 => match make_key() {
            Some(key) => key,
            None => return false,
        },
        key => key - 1,
    };
    // SAFETY: the key was made and is never deleted; the value is only looked
    // at by `run_end`, which takes it for what it is.
    unsafe { libc::pthread_setspecific(key, end as *const libc::c_void) == 0 }
}

#[cold]
fn make_key() -> Option<u32> {
    let mut key = 0;
    // SAFETY: `key` is there to be written, `run_end` is never unloaded.
    if unsafe { libc::pthread_key_create(&mut key, Some(run_end)) } != 0 {
        return None;
    }
    match KEY.compare_exchange(0, key + 1, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => Some(key),
        Err(theirs) => {
            // SAFETY: the key is ours, and nobody has seen it.
            unsafe { libc::pthread_key_delete(key) };
            Some(theirs - 1)
        }
    }
}

unsafe extern "C" fn run_end(end: *mut libc::c_void) {
    // SAFETY: `at_thread_end` stored a function of this type.
    let end: fn() = unsafe { core::mem::transmute(end) };
    end();
}

/// The kernel's number of the calling thread.
pub fn thread_id() -> u32 {
    // SAFETY: gettid takes nothing and cannot fail.
    let id = unsafe { libc::syscall(libc::SYS_gettid) };
    u32::try_from(id).unwrap_or(0)
}

/// Runs `call` so that no SIGPIPE comes of it: the signal is blocked for this
/// thread, and one that the call raised is swallowed.
pub fn without_sigpipe<T>(call: impl FnOnce() -> Result<T>) -> Result<T> {
    // SAFETY: an all-zero sigset_t is one to be initialized.
    let mut pipe: libc::sigset_t = unsafe { core::mem::zeroed() };
    let mut before = pipe;
    let mut pending = pipe;
    // SAFETY: `pipe` is there to be written.
    unsafe { libc::sigemptyset(&mut pipe) };
    // SAFETY: likewise, and the signal exists.
    unsafe { libc::sigaddset(&mut pipe, libc::SIGPIPE) };
    // SAFETY: `pending` is there to be written.
    unsafe { libc::sigpending(&mut pending) };
    // SAFETY: `pending` was initialized.
    let was_pending = unsafe { libc::sigismember(&pending, libc::SIGPIPE) } == 1;
    // SAFETY: both sets are there.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &pipe, &mut before) };
    let result = call();
    let raised = result.as_ref().is_err_and(|error| error.is(libc::EPIPE));
    if raised && !was_pending {
        let now = crate::sys::time::timespec(0);
        // SAFETY: the set and the timespec are there; no information is asked.
        unsafe { libc::sigtimedwait(&pipe, ptr::null_mut(), &now) };
    }
    // SAFETY: `before` is what the thread had.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &before, ptr::null_mut()) };
    result
}
