//! What is said of the process and the thread as such: which process this is,
//! and that a thread inside a call cannot be cancelled.

use crate::error::{Error, Result, Sys};
use crate::sync::{AtomicU32, Ordering};
use core::marker::PhantomData;
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
    crate::sys::sanitizer::find();
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

impl Uncancelable {
    /// Whether the thread was not to be cancelled before, either.
    #[inline]
    pub fn was_so(&self) -> bool {
        self.0 == CANCEL_DISABLE
    }
}

impl Drop for Uncancelable {
    fn drop(&mut self) {
        // SAFETY: the state is the one that the C library gave us. Both C
        // libraries for Linux take NULL where the old one is not wanted.
        unsafe { pthread_setcancelstate(self.0, ptr::null_mut()) };
    }
}

/// What is to run when threads end. It is in no thread-local destructor: one
/// would be registered with the C library at the first use, which ends the
/// process where memory is short.
#[derive(Debug)]
pub struct AtThreadEnd {
    /// The key, plus one, whose destructor does it; 0: none yet.
    key: AtomicU32,
}

impl AtThreadEnd {
    /// Nothing yet.
    #[allow(clippy::new_without_default, reason = "it is used for a static")]
    pub const fn new() -> Self {
        Self {
            key: AtomicU32::new(0),
        }
    }

    /// Has `end` run when the calling thread ends, after thread-local
    /// destructors and among those of pthread_key_create(3). False: it will
    /// not, for lack of a key or of memory. Every caller passes the same
    /// function.
    pub fn run(&self, end: fn()) -> bool {
        let key = match self.key.load(Ordering::Acquire) {
            0 => match self.make_key() {
                Some(key) => key,
                None => return false,
            },
            key => key - 1,
        };
        // SAFETY: the key was made and is never deleted; the value is only
        // looked at by `run_end`, which takes it for what it is.
        unsafe { libc::pthread_setspecific(key, end as *const libc::c_void) == 0 }
    }

    #[cold]
    fn make_key(&self) -> Option<u32> {
        let mut key = 0;
        // SAFETY: `key` is there to be written, `run_end` is never unloaded.
        if unsafe { libc::pthread_key_create(&mut key, Some(run_end)) } != 0 {
            return None;
        }
        let put = self
            .key
            .compare_exchange(0, key + 1, Ordering::AcqRel, Ordering::Acquire);
        match put {
            Ok(_) => Some(key),
            Err(theirs) => {
                // SAFETY: the key is ours, and nobody has seen it.
                unsafe { libc::pthread_key_delete(key) };
                Some(theirs - 1)
            }
        }
    }
}

unsafe extern "C" fn run_end(end: *mut libc::c_void) {
    // SAFETY: `run` stored a function of this type.
    let end: fn() = unsafe { core::mem::transmute(end) };
    end();
}

/// The stack of a helper thread: what name services were written for.
const HELPER_STACK: usize = 256 * 1024;

/// Runs `body` on a thread of its own, which nobody joins, and on which no
/// signal handler runs. What is handed to `body` is dropped where there is no
/// thread to be had (`-EAGAIN`).
pub fn spawn<T: Send>(body: fn(T), arg: T) -> Result<()> {
    struct Start<T>(fn(T), T);

    extern "C" fn run<T>(start: *mut libc::c_void) -> *mut libc::c_void {
        // SAFETY: `spawn` made it of such a box, and gave it to this thread.
        let [Start(body, arg)] = *unsafe { Box::from_raw(start.cast::<[Start<T>; 1]>()) };
        // The thread has no caller who could be told of a panic.
        let _ = std::panic::catch_unwind(core::panic::AssertUnwindSafe(|| body(arg)));
        ptr::null_mut()
    }

    let start = crate::pool::boxed_one(Start(body, arg))?;
    // SAFETY: an all-zero pthread_attr_t is one to be initialized.
    let mut attributes: libc::pthread_attr_t = unsafe { core::mem::zeroed() };
    // SAFETY: it is there to be initialized.
    let made = unsafe { libc::pthread_attr_init(&mut attributes) };
    if made != 0 {
        return Err(Error::os(made, Sys::PthreadCreate));
    }
    // SAFETY: the attributes are initialized.
    unsafe { libc::pthread_attr_setdetachstate(&mut attributes, libc::PTHREAD_CREATE_DETACHED) };
    let mut own = 0;
    // SAFETY: the attributes are initialized, and `own` is there to be written.
    unsafe { libc::pthread_attr_getstacksize(&attributes, &mut own) };
    let start = Box::into_raw(start);
    let mut failed = libc::EINVAL;
    // A small stack, or where the program's thread-local storage leaves no room
    // in it, the C library's own.
    for size in [HELPER_STACK, own] {
        // SAFETY: the attributes are initialized.
        unsafe { libc::pthread_attr_setstacksize(&mut attributes, size) };
        let mut thread = 0;
        let blocked = Blocked::all();
        // SAFETY: all is initialized, and `start` is what `run` expects.
        failed = unsafe { libc::pthread_create(&mut thread, &attributes, run::<T>, start.cast()) };
        drop(blocked);
        if failed != libc::EINVAL {
            break;
        }
    }
    // SAFETY: the attributes are initialized, and not used any more.
    unsafe { libc::pthread_attr_destroy(&mut attributes) };
    if failed != 0 {
        // SAFETY: no thread has it.
        drop(unsafe { Box::from_raw(start) });
        let out_of = if failed == libc::ENOMEM {
            failed
        } else {
            libc::EAGAIN
        };
        return Err(Error::os(out_of, Sys::PthreadCreate));
    }
    Ok(())
}

/// While it lives, signals wait that would interrupt the calling thread; a
/// thread that it creates begins so.
struct Blocked(libc::sigset_t);

impl Blocked {
    fn all() -> Self {
        // SAFETY: an all-zero sigset_t is one to be initialized.
        let mut all: libc::sigset_t = unsafe { core::mem::zeroed() };
        let mut before = all;
        // SAFETY: the set is there to be written.
        unsafe { libc::sigfillset(&mut all) };
        // SAFETY: both sets are there.
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &all, &mut before) };
        Self(before)
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // SAFETY: it is the mask that the thread had.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.0, ptr::null_mut()) };
    }
}

/// How many processors this process may run on.
pub fn processors() -> u32 {
    // SAFETY: an all-zero cpu_set_t is an empty set.
    let mut set: libc::cpu_set_t = unsafe { core::mem::zeroed() };
    // SAFETY: the set is there to be written, and as large as said.
    let got = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) };
    if got != 0 {
        return 1;
    }
    // SAFETY: the set is there to be read.
    let count = unsafe { libc::CPU_COUNT(&set) };
    u32::try_from(count).unwrap_or(1).max(1)
}

/// The address of a function that some library of this process has; 0: none.
pub fn symbol(name: &core::ffi::CStr) -> usize {
    // SAFETY: the name ends with a NUL.
    unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) as usize }
}

/// Whether the process runs in valgrind, by what that preloads.
pub fn is_in_valgrind() -> bool {
    const ITS: &[u8] = b"vgpreload_";
    let preloaded = crate::sys::environment(c"LD_PRELOAD").ok().flatten();
    preloaded.is_some_and(|names| names.windows(ITS.len()).any(|name| name == ITS))
}

/// Ends the process without further ado.
pub fn exit_now() -> ! {
    // SAFETY: it runs nothing of this process any more.
    unsafe { libc::_exit(0) }
}

/// The process's number.
pub fn id() -> u32 {
    std::process::id()
}

/// The kernel's number of the calling thread.
pub fn thread_id() -> u32 {
    // SAFETY: gettid takes nothing and cannot fail.
    let id = unsafe { libc::syscall(libc::SYS_gettid) };
    u32::try_from(id).unwrap_or(0)
}

/// While it lives, no SIGPIPE comes of the calling thread's system calls that
/// go through it: the signal is blocked, and one that such a call raised is
/// swallowed in the end. For calls that have no MSG_NOSIGNAL.
#[derive(Debug)]
pub struct Quiet {
    /// What the thread had blocked; `None`: SIGPIPE too, so nothing changed.
    before: Option<libc::sigset_t>,
    /// One was pending before, and is to stay so.
    was_pending: bool,
    /// A call may have raised one.
    raised: bool,
    /// A mask is its thread's.
    thread: PhantomData<*const ()>,
}

impl Quiet {
    /// Blocks the signal for the calling thread.
    #[allow(clippy::new_without_default, reason = "a guard is not a value")]
    pub fn new() -> Self {
        let mut before = no_signals();
        // SAFETY: both sets are there.
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &sigpipe(), &mut before) };
        // One that was not blocked cannot have been pending for this thread.
        let was_blocked = contains_sigpipe(&before);
        Self {
            before: (!was_blocked).then_some(before),
            was_pending: was_blocked && is_sigpipe_pending(),
            raised: false,
            thread: PhantomData,
        }
    }

    /// Runs a call that is to move `asked` bytes. One that moved fewer may
    /// have met the end of its peer behind them, and have raised the signal
    /// all the same; EAGAIN proves that it did not.
    pub fn run(&mut self, asked: usize, call: impl FnOnce() -> Result<usize>) -> Result<usize> {
        let result = call();
        match result {
            Ok(n) => self.raised |= n < asked,
            Err(error) if error.is(libc::EINTR) => {}
            Err(error) if error.is(libc::EAGAIN) => self.raised = false,
            Err(_) => self.raised = true,
        }
        result
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        if self.raised && !self.was_pending {
            let now = crate::sys::time::timespec(0);
            // SAFETY: the set and the timespec are there; no information is
            // asked for.
            unsafe { libc::sigtimedwait(&sigpipe(), ptr::null_mut(), &now) };
        }
        if let Some(before) = &self.before {
            // SAFETY: `before` is what the thread had.
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before, ptr::null_mut()) };
        }
    }
}

fn no_signals() -> libc::sigset_t {
    // SAFETY: an all-zero sigset_t is one to be initialized.
    let mut none: libc::sigset_t = unsafe { core::mem::zeroed() };
    // SAFETY: it is there to be written.
    unsafe { libc::sigemptyset(&mut none) };
    none
}

fn sigpipe() -> libc::sigset_t {
    let mut pipe = no_signals();
    // SAFETY: the set was initialized, and the signal exists.
    unsafe { libc::sigaddset(&mut pipe, libc::SIGPIPE) };
    pipe
}

fn contains_sigpipe(set: &libc::sigset_t) -> bool {
    // SAFETY: the set was initialized, and the signal exists.
    unsafe { libc::sigismember(set, libc::SIGPIPE) == 1 }
}

fn is_sigpipe_pending() -> bool {
    let mut pending = no_signals();
    // SAFETY: `pending` is there to be written.
    unsafe { libc::sigpending(&mut pending) };
    contains_sigpipe(&pending)
}
