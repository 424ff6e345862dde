//! All workers of the process: made at the first fiber, one for each processor.
//!
//! A child made by fork(2) has none of them, and makes its own at its first
//! fiber.

use crate::error::{Error, Result, Sys};
use crate::fiber::foreign::{self, Body};
use crate::fiber::mail::Mailbox;
use crate::fiber::stack::Stack;
use crate::fiber::worker::{self, BACK, HOST, Unborn};
use crate::park::{self, Waiter};
use crate::poll;
use crate::pool::{self, Pool, Pooled};
use crate::sync::{AtomicI32, AtomicU32, AtomicU64, Ordering};
use crate::sys::{self, Fd, event, process, sanitizer};
use core::ffi::c_void;
use core::sync::atomic::{AtomicPtr, AtomicUsize};

/// The most workers.
pub const WORKERS_MAX: u32 = 64;

/// A worker, as others see it.
#[derive(Debug, Default)]
pub struct Post {
    /// Who is to be woken, and who is to be born: the id of a waiter, or of a
    /// newborn with `BIRTH` set.
    mail: Mailbox,
    /// Its eventfd.
    event: AtomicI32,
    /// How many fibers it has.
    fibers: AtomicU32,
    /// What the worker has done so far; only the worker itself counts.
    switches: AtomicU64,
    submissions: AtomicU64,
    link: AtomicU32,
}

impl Pooled for Post {
    fn link(&self) -> &AtomicU32 {
        &self.link
    }
}

const BIRTH: u32 = 1 << 31;

static POSTS: Pool<Post> = Pool::new();

/// The posts of this process's workers.
static TEAM: [AtomicU32; WORKERS_MAX as usize] =
    [const { AtomicU32::new(0) }; WORKERS_MAX as usize];

/// The process epoch above the number of its workers; or `STARTING`.
static STATE: AtomicU64 = AtomicU64::new(0);
const STARTING: u32 = u32::MAX;

/// A fiber that is about to be.
#[derive(Debug)]
pub struct Birth {
    /// What it runs,
    pub body: Body,
    /// with what.
    pub arg: *mut c_void,
    /// On what.
    pub stack: Stack,
    /// Its waiter.
    pub waiter: u32,
}

/// A fiber on its way to its worker.
#[derive(Debug, Default)]
struct Newborn {
    body: AtomicUsize,
    arg: AtomicPtr<c_void>,
    stack: AtomicU32,
    stack_at: AtomicUsize,
    stack_size: AtomicUsize,
    waiter: AtomicU32,
    mail: AtomicU32,
    link: AtomicU32,
}

impl Pooled for Newborn {
    fn link(&self) -> &AtomicU32 {
        &self.link
    }
}

static NEWBORNS: Pool<Newborn> = Pool::new();

/// A piece of mail.
#[derive(Debug)]
pub enum Mail {
    /// Run the fiber of this waiter.
    Wake(&'static Waiter),
    /// Begin a fiber.
    Birth(Birth),
}

impl Post {
    /// The worker's eventfd.
    pub fn event(&self) -> Fd {
        self.event.load(Ordering::Relaxed)
    }

    /// The worker's mailbox.
    pub fn mail(&self) -> &Mailbox {
        &self.mail
    }

    /// A fiber of the worker's has ended.
    pub fn has_ended(&self) {
        self.fibers.fetch_sub(1, Ordering::Relaxed);
    }

    /// The worker's own: it switches to a fiber.
    #[inline]
    pub fn has_switched(&self) {
        count(&self.switches, 1);
    }

    /// The worker's own: it hands an operation to its ring.
    #[inline]
    pub fn has_submitted(&self) {
        count(&self.submissions, 1);
    }

    fn leave(&self, id: u32, link: &AtomicU32) {
        if self.mail.leave(id, link) {
            event::signal(self.event());
        }
    }

    /// Opens all mail, the oldest first.
    pub fn collect(&self, mut open: impl FnMut(Mail)) {
        self.mail.collect(link_of, |id| {
            if let Some(mail) = opened(id) {
                open(mail);
            }
        });
    }
}

/// Counts on, for the only one who counts: no other one's is lost, and a store
/// is cheaper than an addition that is one step for all.
#[inline]
fn count(counter: &AtomicU64, more: u64) {
    let before = counter.load(Ordering::Relaxed);
    counter.store(before.wrapping_add(more), Ordering::Relaxed);
}

fn link_of(id: u32) -> Option<&'static AtomicU32> {
    if id == 0 {
        return None;
    }
    if id & BIRTH == 0 {
        return park::any(id).map(|waiter| &waiter.mail);
    }
    NEWBORNS.get(id & !BIRTH).map(|newborn| &newborn.mail)
}

fn opened(id: u32) -> Option<Mail> {
    if id & BIRTH == 0 {
        let waiter = park::any(id)?;
        // From here on it may be left once more. A swap, for whoever found it
        // in the mail meanwhile has left it to this worker to read what he
        // wrote before: which worker is its home by now.
        waiter.mailed.swap(false, Ordering::AcqRel);
        return Some(Mail::Wake(waiter));
    }
    let id = id & !BIRTH;
    let newborn = NEWBORNS.get(id)?;
    sanitizer::acquire(newborn);
    let birth = Birth {
        body: foreign::body_of(newborn.body.load(Ordering::Relaxed))?,
        arg: newborn.arg.load(Ordering::Relaxed),
        stack: Stack::of((
            newborn.stack.load(Ordering::Relaxed),
            newborn.stack_at.load(Ordering::Relaxed),
            newborn.stack_size.load(Ordering::Relaxed),
        )),
        waiter: newborn.waiter.load(Ordering::Relaxed),
    };
    NEWBORNS.put(id);
    Some(Mail::Birth(birth))
}

/// Leaves mail for the worker of a waiter: its fiber is to run.
pub fn mail(waiter: &Waiter) {
    let home = waiter.home.load(Ordering::Acquire);
    let Some(post) = home.checked_sub(1).and_then(post_of) else {
        return;
    };
    if !waiter.mailed.swap(true, Ordering::AcqRel) {
        post.leave(waiter.id.load(Ordering::Relaxed), &waiter.mail);
    }
}

/// Leaves a birth for a worker.
fn send(post: &Post, birth: Birth) -> Result<()> {
    let (id, newborn) = NEWBORNS.take()?;
    newborn.body.store(birth.body as usize, Ordering::Relaxed);
    newborn.arg.store(birth.arg, Ordering::Relaxed);
    let (stack, at, size) = birth.stack.into_parts();
    newborn.stack.store(stack, Ordering::Relaxed);
    newborn.stack_at.store(at, Ordering::Relaxed);
    newborn.stack_size.store(size, Ordering::Relaxed);
    newborn.waiter.store(birth.waiter, Ordering::Relaxed);
    sanitizer::release(newborn);
    post.leave(id | BIRTH, &newborn.mail);
    Ok(())
}

/// Leaves a birth that found no memory for the worker to try again. One that
/// was opened just now has its place among the newborns.
pub fn post_again(post: &Post, birth: Birth) {
    let _ = send(post, birth);
}

fn post_of(number: u32) -> Option<&'static Post> {
    let id = TEAM.get(number as usize)?.load(Ordering::Acquire);
    POSTS.get(id)
}

/// Go's `go`: a fiber that runs `body(arg)`, on the worker that has the fewest;
/// of several, on the caller's own. Its stack has at least `size` bytes, 0: as
/// usual.
pub fn go(body: Body, arg: *mut c_void, size: usize) -> Result<()> {
    let workers = start()?;
    let own = worker::number();
    let load = |number: u32| {
        let fibers = post_of(number).map_or(u32::MAX, |post| post.fibers.load(Ordering::Relaxed));
        (fibers, own != Some(number))
    };
    let number = (0..workers).min_by_key(|number| load(*number)).unwrap_or(0);
    let Some(post) = post_of(number) else {
        return Err(crate::error::PANIC);
    };
    let stack = Stack::take(size)?;
    let (waiter, _) = park::take_for_fiber(number + 1)?;
    post.fibers.fetch_add(1, Ordering::Relaxed);
    let birth = Birth {
        body,
        arg,
        stack,
        waiter,
    };
    let born = if own == Some(number) {
        worker::bear(birth).map_err(|_| Error::os(libc::ENOMEM, Sys::Malloc))
    } else {
        send(post, birth)
    };
    born.inspect_err(|_| {
        post.has_ended();
        park::give_back(waiter);
    })
}

/// Sees to it that there are workers; how many.
fn start() -> Result<u32> {
    process::prepare()?;
    let epoch = process::epoch();
    loop {
        let state = STATE.load(Ordering::Acquire);
        let (of, workers) = pool::halves(state);
        if of == epoch && workers == STARTING {
            std::thread::yield_now(); // another thread is at it, and soon done
            continue;
        }
        if of == epoch && workers > 0 {
            return Ok(workers);
        }
        let mine = pool::joined(epoch, STARTING);
        let begun = STATE.compare_exchange(state, mine, Ordering::AcqRel, Ordering::Acquire);
        if begun.is_ok() {
            let hired = hire();
            let workers = hired.as_ref().copied().unwrap_or(0);
            STATE.store(pool::joined(epoch, workers), Ordering::Release);
            return hired;
        }
    }
}

/// Makes the workers: as many as are wanted, or as there is room for.
fn hire() -> Result<u32> {
    park::host::set(&HOST);
    poll::set_back(&BACK);
    foreign::find_exceptions();
    let wanted = wanted();
    let mut hired = 0;
    for number in 0..wanted {
        if let Err(error) = hire_one(number) {
            if number == 0 {
                return Err(error);
            }
            break;
        }
        hired = number + 1;
    }
    Ok(hired)
}

fn hire_one(number: u32) -> Result<()> {
    let (id, post) = POSTS.take()?;
    let event = event::eventfd().inspect_err(|_| POSTS.put(id))?;
    post.mail.clear();
    post.fibers.store(0, Ordering::Relaxed);
    post.switches.store(0, Ordering::Relaxed);
    post.submissions.store(0, Ordering::Relaxed);
    post.event.store(event, Ordering::Relaxed);
    if let Some(place) = TEAM.get(number as usize) {
        place.store(id, Ordering::Release);
    }
    let started = Unborn::new(number, post).and_then(|unborn| process::spawn(Unborn::live, unborn));
    started.inspect_err(|_| {
        let _ = sys::close(event);
        POSTS.put(id);
    })
}

/// Whether workers are to have rings, where the kernel gives them: unless
/// NETFD_POLL says otherwise, or a sanitizer or valgrind watches, which do not
/// see what the kernel writes.
pub fn wants_rings() -> bool {
    let named = sys::secure_environment(c"NETFD_POLL").ok().flatten();
    match named.as_deref() {
        Some(b"epoll") => false,
        Some(b"uring") => true,
        _ => !sanitizer::is_on() && !process::is_in_valgrind(),
    }
}

/// NETFD_WORKERS, else as many as there are processors for this process.
fn wanted() -> u32 {
    let named = sys::secure_environment(c"NETFD_WORKERS");
    let named = named
        .ok()
        .flatten()
        .and_then(|text| core::str::from_utf8(&text).ok()?.parse::<u32>().ok());
    named
        .filter(|count| *count > 0)
        .unwrap_or_else(process::processors)
        .clamp(1, WORKERS_MAX)
}

/// What the workers have, and have done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// How many fibers there are.
    pub fibers: u64,
    /// How often a worker switched to one.
    pub switches: u64,
    /// How many operations were handed to rings.
    pub submissions: u64,
}

/// The counts of this process's workers.
pub fn counts() -> Counts {
    let mut counts = Counts::default();
    let (of, workers) = pool::halves(STATE.load(Ordering::Acquire));
    if of != process::epoch() || workers == STARTING {
        return counts;
    }
    for post in (0..workers).filter_map(post_of) {
        counts.fibers += u64::from(post.fibers.load(Ordering::Relaxed));
        counts.switches += post.switches.load(Ordering::Relaxed);
        counts.submissions += post.submissions.load(Ordering::Relaxed);
    }
    counts
}
