//! Who makes the calls of a test: threads, or fibers.
//!
//! Threads, unless NETFD_TEST_FIBERS says otherwise. With 1 in it every caller
//! is a fiber: `spawn` starts one, and each call that a thread makes (the
//! test's own is one) is made for it by a fiber that belongs to this thread,
//! its twin. With `mix` every other caller is one. What a test says must be so
//! each time, but for what a thread has and a fiber has not: signals, a
//! processor time, a network of its own. Such tests say `spawn_thread` or
//! `threads_only`, and why; `no_twin` where only the test's own calls are
//! meant.
//!
//! A body that may run in a fiber does not block in something else than this
//! library for what another fiber does: both may be the same worker's.
//! `Barrier`, `await_that` and `Task::join` let others run. A panic's backtrace
//! has no room on a fiber's stack: RUST_BACKTRACE=0 goes with fibers.

use super::*;
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

/// Declares the library's functions, as `direct` and as what has the twin of
/// the calling thread make the call.
macro_rules! functions {
    ($(pub fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $result:ty)?;)*) => {
        /// The functions themselves.
        pub mod direct {
            use super::*;
            unsafe extern "C" {
                $(pub fn $name($($arg: $type),*) $(-> $result)?;)*
            }
        }
        $(
            pub unsafe extern "C" fn $name($($arg: $type),*) $(-> $result)? {
                // SAFETY: the caller's to see to, who waits for the call's end.
                callers::by_the_caller(|| unsafe { direct::$name($($arg),*) })
            }
        )*
    };
}
pub(super) use functions;

/// What NETFD_TEST_FIBERS says of callers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Callers {
    Threads,
    Fibers,
    Mixed,
}

impl Callers {
    fn wanted() -> Self {
        static WANTED: OnceLock<Callers> = OnceLock::new();
        *WANTED.get_or_init(|| match std::env::var("NETFD_TEST_FIBERS").as_deref() {
            Err(_) | Ok("" | "0") => Self::Threads,
            Ok("1") => Self::Fibers,
            Ok("mix") => Self::Mixed,
            Ok(other) => panic!("NETFD_TEST_FIBERS={other}"),
        })
    }

    /// Whether the next caller is to be a fiber.
    fn next_is_a_fiber(self) -> bool {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        match self {
            Self::Threads => false,
            Self::Fibers => true,
            Self::Mixed => STARTED.fetch_add(1, Ordering::Relaxed).is_multiple_of(2),
        }
    }
}

/// How a thread calls the library.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Undecided,
    /// The thread itself.
    Itself,
    /// The thread itself, as do those that it spawns.
    ThreadsOnly,
    /// Its twin for it.
    ByTwin,
}

thread_local! {
    static WAY: Cell<Way> = const { Cell::new(Way::Undecided) };
    static TWIN: RefCell<Option<Twin>> = const { RefCell::new(None) };
}

/// Whether what `spawn` starts may be a fiber.
pub fn may_be_fibers() -> bool {
    Callers::wanted() != Callers::Threads && WAY.get() != Way::ThreadsOnly
}

/// Has the calling thread make its calls itself from here on, and `spawn` start
/// threads that do. For tests of what only threads have; first of all in them.
pub fn threads_only() {
    WAY.set(Way::ThreadsOnly);
}

/// Has the calling thread make its calls itself from here on, so that they go
/// beside those of the fibers that it spawns.
pub fn no_twin() {
    WAY.set(Way::Itself);
}

/// Makes a call, by the twin of the calling thread where it is to have one.
pub fn by_the_caller<R>(call: impl FnOnce() -> R) -> R {
    if fibers::in_fiber() {
        return call();
    }
    if WAY.get() == Way::Undecided {
        let by_twin = Callers::wanted().next_is_a_fiber();
        WAY.set(if by_twin { Way::ByTwin } else { Way::Itself });
    }
    if WAY.get() != Way::ByTwin {
        return call();
    }
    TWIN.with(|twin| {
        let pid = std::process::id();
        let mut twin = twin.borrow_mut();
        match twin.get_or_insert_with(|| Twin::new(pid)) {
            twin if twin.pid == pid => twin.make(call),
            _ => call(), // a child of fork(2) has no workers
        }
    })
}

/// A fiber that makes the calls of one thread, so that they share what a caller
/// has: the record of the last failure.
struct Twin {
    jobs: mpsc::Sender<Option<Job>>,
    done: mpsc::Receiver<()>,
    /// Its count is 1 while there is no job: what the fiber parks on.
    idle: Group,
    pid: u32,
}

/// What a twin is to run, while the thread waits.
struct Job(*mut (dyn FnMut() + 'static));

// SAFETY: the thread that it came from does nothing meanwhile.
unsafe impl Send for Job {}

#[derive(Clone, Copy)]
struct Group(*mut netfd_group);

// SAFETY: a group is made for many threads.
unsafe impl Send for Group {}

impl Group {
    fn new() -> Self {
        // SAFETY: no pointers.
        let group = unsafe { direct::netfd_group_new() };
        assert!(!group.is_null());
        Self(group)
    }

    fn add(self, n: c_int) {
        // SAFETY: the group lives.
        assert_eq!(unsafe { direct::netfd_group_add(self.0, n) }, 0);
    }

    fn wait(self) {
        // SAFETY: the group lives.
        let code = unsafe { direct::netfd_group_wait(self.0, NETFD_NO_DEADLINE, no_token()) };
        assert_eq!(code, 0);
    }

    fn free(self) {
        // SAFETY: the group lives, and is freed once.
        unsafe { direct::netfd_group_free(self.0) }
    }
}

impl Twin {
    fn new(pid: u32) -> Self {
        start_workers();
        let (jobs, to_do) = mpsc::channel::<Option<Job>>();
        let (tell, done) = mpsc::channel();
        let idle = Group::new();
        idle.add(1);
        fibers::go(move || {
            loop {
                let idle = idle; // all of it, which may go to another thread
                idle.wait();
                idle.add(1);
                let Ok(Some(job)) = to_do.try_recv() else {
                    return idle.free();
                };
                // SAFETY: the thread waits until it is told.
                let job = unsafe { &mut *job.0 };
                job();
                tell.send(()).expect("the thread waits");
            }
        });
        Self {
            jobs,
            done,
            idle,
            pid,
        }
    }

    fn make<R>(&self, call: impl FnOnce() -> R) -> R {
        let (mut call, mut result) = (Some(call), None);
        let mut job = || result = call.take().map(|call| call());
        let job: *mut (dyn FnMut() + '_) = &raw mut job;
        // SAFETY: only the lifetime changes, and the fiber is done before it ends.
        let job = unsafe { std::mem::transmute::<*mut (dyn FnMut() + '_), *mut dyn FnMut()>(job) };
        self.jobs.send(Some(Job(job))).expect("the twin lives");
        self.idle.add(-1);
        self.done.recv().expect("the twin lives");
        result.expect("the twin made the call")
    }
}

impl Drop for Twin {
    fn drop(&mut self) {
        if self.pid == std::process::id() {
            let _ = self.jobs.send(None);
            self.idle.add(-1);
        }
    }
}

/// A caller that is expected to end: a thread, or a fiber.
pub struct Task<T> {
    result: mpsc::Receiver<thread::Result<T>>,
    ended: Arc<AtomicBool>,
    /// The thread, where it is one.
    handle: Option<JoinHandle<()>>,
}

/// Starts a caller: a thread or a fiber, as NETFD_TEST_FIBERS says.
pub fn spawn<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> Task<T> {
    if WAY.get() != Way::ThreadsOnly && Callers::wanted().next_is_a_fiber() {
        spawn_fiber(body)
    } else {
        spawn_thread(body)
    }
}

/// Starts a thread, which makes its calls itself: for what a fiber has not.
pub fn spawn_thread<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> Task<T> {
    let way = match WAY.get() {
        Way::ThreadsOnly => Way::ThreadsOnly,
        _ => Way::Itself,
    };
    let (mut task, body) = Task::of(body);
    task.handle = Some(thread::spawn(move || {
        WAY.set(way);
        body();
    }));
    task
}

/// Starts a fiber.
pub fn spawn_fiber<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> Task<T> {
    start_workers();
    let (task, body) = Task::of(body);
    fibers::go(body);
    task
}

/// Where callers are fibers, sees to it that the workers are there, each with
/// all that it waits with: before descriptors are counted, or become few.
/// Returns how many workers there are.
pub fn start_workers() -> usize {
    static STARTED: OnceLock<usize> = OnceLock::new();
    if !may_be_fibers() {
        return STARTED.get().copied().unwrap_or_default();
    }
    *STARTED.get_or_init(|| {
        let workers = workers_wanted();
        on_each_worker(workers, || ());
        workers
    })
}

/// How many workers a first fiber starts.
fn workers_wanted() -> usize {
    let named = std::env::var("NETFD_WORKERS");
    if let Some(named) = named.ok().and_then(|named| named.parse().ok()) {
        return named;
    }
    // SAFETY: an all-zero cpu_set_t is an empty set.
    let mut set: libc::cpu_set_t = unsafe { zeroed() };
    // SAFETY: the set is there to be written, and as large as said.
    let told = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) };
    assert_eq!(told, 0);
    // SAFETY: the set is there to be read.
    unsafe { libc::CPU_COUNT(&set) as usize }
}

/// Runs `body` in a fiber of each worker, for a thread to wait for.
pub fn on_each_worker(workers: usize, body: fn()) {
    let there = Arc::new(Mutex::new(HashSet::new()));
    let came = Arc::new(AtomicUsize::new(0));
    let on_all =
        move |there: &Mutex<HashSet<i32>>| there.lock().expect("no panic").len() == workers;
    let mut all = Vec::new();
    // A new one goes to a worker with few, and those that came before stay.
    while !on_all(&there) {
        let (there, came_too) = (Arc::clone(&there), Arc::clone(&came));
        all.push(fibers::fiber(move || {
            there.lock().expect("no panic").insert(fibers::thread_id());
            came_too.fetch_add(1, Ordering::Release);
            await_that("a fiber on each worker", || on_all(&there));
            body();
        }));
        await_that("it begins", || came.load(Ordering::Acquire) == all.len());
    }
    all.into_iter().for_each(fibers::Fiber::join);
}

/// Waits until the kernel has what fibers handed to their rings: it gets that
/// at the end of a worker's turn, when the fiber is called parked already.
/// For a thread, before it closes what they are parked on behind their back.
pub fn await_handed_over() {
    let workers = start_workers();
    on_each_worker(workers, || {
        // In a ring this comes behind what is there before.
        let (one, two) = unix_pair(libc::SOCK_STREAM);
        assert_eq!(write(one, b"x"), 1);
        assert_eq!(read(two, &mut [0; 1]), 1);
        destroy(one);
        destroy(two);
    });
}

/// How many threads the process has, but for the workers.
pub fn threads() -> usize {
    let workers = start_workers();
    all_threads() - workers
}

fn all_threads() -> usize {
    let all = std::fs::read_dir("/proc/self/task");
    all.expect("procfs").count()
}

impl<T: Send + 'static> Task<T> {
    /// A task whose caller is not started yet, and what that is to run.
    fn of(body: impl FnOnce() -> T + Send + 'static) -> (Self, impl FnOnce() + Send + 'static) {
        let (send, result) = mpsc::channel();
        let ended = Arc::new(AtomicBool::new(false));
        let task = Self {
            result,
            ended: Arc::clone(&ended),
            handle: None,
        };
        let body = move || {
            let _ = send.send(catch_unwind(AssertUnwindSafe(body)));
            ended.store(true, Ordering::Release);
        };
        (task, body)
    }
}

impl<T> Task<T> {
    /// Its result; a caller that does not end fails the test, as does one that
    /// panicked.
    #[track_caller]
    pub fn join(self) -> T {
        if fibers::in_fiber() {
            // The other one may be this worker's, too.
            await_that("the end of a caller", || self.is_finished());
        }
        let result = self.result.recv_timeout(GUARD);
        let result = result.expect("the caller ends in time");
        if let Some(handle) = self.handle {
            handle.join().expect("its panics are caught");
        }
        result.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Whether it has ended.
    pub fn is_finished(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}

/// Waits until something is so, and fails the test when it does not come.
pub fn await_that(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < GUARD, "waited in vain: {what}");
        fibers::yield_now(); // in a thread, the thread's
    }
}

/// As std's, for callers of both kinds.
pub struct Barrier {
    of_threads: std::sync::Barrier,
    size: usize,
    came: AtomicUsize,
}

impl Barrier {
    pub fn new(size: usize) -> Self {
        Self {
            of_threads: std::sync::Barrier::new(size),
            size,
            came: AtomicUsize::new(0),
        }
    }

    /// Waits until as many as it is for have come.
    pub fn wait(&self) {
        if Callers::wanted() == Callers::Threads {
            self.of_threads.wait();
            return;
        }
        let place = self.came.fetch_add(1, Ordering::AcqRel);
        let all = (place / self.size + 1) * self.size;
        await_that("all come", || self.came.load(Ordering::Acquire) >= all);
    }
}
