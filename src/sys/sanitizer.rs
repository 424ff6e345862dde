//! AddressSanitizer, LeakSanitizer and ThreadSanitizer, where the program runs
//! under one: what they are told of stacks that take turns on a thread, and of
//! what one thread leaves for another through this library, whose atomics they
//! do not see.
//!
//! Their functions are those of sanitizer/common_interface_defs.h and
//! sanitizer/tsan_interface.h. They are looked for at run time, so that one
//! library serves programs with and without.

use crate::sync::{AtomicBool, Ordering};
use crate::sys::process::symbol;
use core::ffi::{c_uint, c_void};
use core::mem::transmute;
use core::ptr;
use core::sync::atomic::AtomicUsize;

type StartSwitch = unsafe extern "C" fn(*mut *mut c_void, *const c_void, usize);
type FinishSwitch = unsafe extern "C" fn(*mut c_void, *mut *const c_void, *mut usize);
type CurrentFiber = unsafe extern "C" fn() -> *mut c_void;
type CreateFiber = unsafe extern "C" fn(c_uint) -> *mut c_void;
type SwitchToFiber = unsafe extern "C" fn(*mut c_void, c_uint);
type OfAddress = unsafe extern "C" fn(*mut c_void);
type OfRegion = unsafe extern "C" fn(*const c_void, usize);

/// Whether there is one. Set before there is a fiber, and not taken back.
static ON: AtomicBool = AtomicBool::new(false);

/// Their functions; 0: there is no such one.
static START_SWITCH: AtomicUsize = AtomicUsize::new(0);
static FINISH_SWITCH: AtomicUsize = AtomicUsize::new(0);
static CURRENT_FIBER: AtomicUsize = AtomicUsize::new(0);
static CREATE_FIBER: AtomicUsize = AtomicUsize::new(0);
static SWITCH_TO_FIBER: AtomicUsize = AtomicUsize::new(0);
static DESTROY_FIBER: AtomicUsize = AtomicUsize::new(0);
static ACQUIRE: AtomicUsize = AtomicUsize::new(0);
static RELEASE: AtomicUsize = AtomicUsize::new(0);
static ADD_ROOTS: AtomicUsize = AtomicUsize::new(0);
static REMOVE_ROOTS: AtomicUsize = AtomicUsize::new(0);

/// Whether switches are to be told.
#[inline(always)]
pub fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// Looks whether the process runs under one.
pub fn find() {
    let address = [
        (&START_SWITCH, c"__sanitizer_start_switch_fiber"),
        (&FINISH_SWITCH, c"__sanitizer_finish_switch_fiber"),
    ];
    let thread = [
        (&SWITCH_TO_FIBER, c"__tsan_switch_to_fiber"),
        (&CURRENT_FIBER, c"__tsan_get_current_fiber"),
        (&CREATE_FIBER, c"__tsan_create_fiber"),
        (&DESTROY_FIBER, c"__tsan_destroy_fiber"),
        (&ACQUIRE, c"__tsan_acquire"),
        (&RELEASE, c"__tsan_release"),
    ];
    // Threads' stacks are searched for what is not leaked, and fibers' are not.
    let leaks = [
        (&ADD_ROOTS, c"__lsan_register_root_region"),
        (&REMOVE_ROOTS, c"__lsan_unregister_root_region"),
    ];
    for all in [&address[..], &thread[..], &leaks[..]] {
        let found = all.iter().map(|(_, name)| symbol(name));
        if found.clone().any(|function| function == 0) {
            continue; // a part of them is of no use
        }
        for ((place, _), function) in all.iter().zip(found) {
            place.store(function, Ordering::Relaxed);
        }
        ON.store(true, Ordering::Release);
    }
}

/// A stack, as they know it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stack {
    bottom: usize,
    size: usize,
    /// ThreadSanitizer's.
    fiber: usize,
    /// What `leave_for` returned to a fiber that has ended.
    kept: usize,
}

impl Stack {
    /// The calling thread's; where it lies is known when it has been left.
    pub fn of_thread() -> Self {
        // SAFETY: the address of that function, or 0, which is `None`.
        let current = unsafe {
            transmute::<usize, Option<CurrentFiber>>(CURRENT_FIBER.load(Ordering::Relaxed))
        };
        // SAFETY: it takes nothing.
        let fiber = current.map_or(0, |current| unsafe { current() }.addr());
        Self {
            fiber,
            ..Self::default()
        }
    }

    /// A new fiber's, with its lowest byte and its size.
    pub fn new(bottom: usize, size: usize) -> Self {
        // SAFETY: the address of that function, or 0, which is `None`.
        let create = unsafe {
            transmute::<usize, Option<CreateFiber>>(CREATE_FIBER.load(Ordering::Relaxed))
        };
        // SAFETY: there are no flags.
        let fiber = create.map_or(0, |create| unsafe { create(0) }.addr());
        let stack = Self {
            bottom,
            size,
            fiber,
            kept: 0,
        };
        stack.tell(&ADD_ROOTS);
        stack
    }

    fn tell(self, function: &AtomicUsize) {
        // SAFETY: the address of that function, or 0, which is `None`.
        let function =
            unsafe { transmute::<usize, Option<OfRegion>>(function.load(Ordering::Relaxed)) };
        if let Some(function) = function {
            // SAFETY: the whole of a stack, which can be read.
            unsafe { function(ptr::without_provenance(self.bottom), self.size) };
        }
    }

    /// The same stack, which lies where `arrive` said.
    #[must_use]
    pub fn at(self, (bottom, size): (usize, usize)) -> Self {
        Self {
            bottom,
            size,
            ..self
        }
    }

    /// The same stack, whose fiber has left it for good, and was told this.
    #[must_use]
    pub fn kept(self, kept: usize) -> Self {
        Self { kept, ..self }
    }

    /// Its fiber has ended, and the caller is on another one.
    ///
    /// What AddressSanitizer keeps for a fiber's frames goes when the fiber
    /// leaves for good. But the frames by which it leaves are among them, where
    /// this library itself is instrumented: so it is the caller who goes there
    /// once more, in name, and leaves for good.
    pub fn end(self) {
        self.tell(&REMOVE_ROOTS);
        // SAFETY: the address of that function, or 0, which is `None`.
        let start = unsafe {
            transmute::<usize, Option<StartSwitch>>(START_SWITCH.load(Ordering::Relaxed))
        };
        // SAFETY: likewise.
        let finish = unsafe {
            transmute::<usize, Option<FinishSwitch>>(FINISH_SWITCH.load(Ordering::Relaxed))
        };
        if let (Some(start), Some(finish)) = (start, finish) {
            let (there, kept) = (ptr::without_provenance(self.bottom), self.kept);
            let kept = ptr::without_provenance_mut(kept);
            let (mut own, mut bottom, mut size) = (ptr::null_mut(), ptr::null(), 0);
            // SAFETY: the pointers are there to be written, `kept` is what
            // belongs to that stack, and nothing but these four runs meanwhile.
            unsafe { start(&mut own, there, self.size) };
            // SAFETY: likewise.
            unsafe { finish(kept, &mut bottom, &mut size) };
            // SAFETY: likewise.
            unsafe { start(ptr::null_mut(), bottom, size) };
            // SAFETY: likewise.
            unsafe { finish(own, ptr::null_mut(), ptr::null_mut()) };
        }
        // SAFETY: the address of that function, or 0, which is `None`.
        let destroy =
            unsafe { transmute::<usize, Option<OfAddress>>(DESTROY_FIBER.load(Ordering::Relaxed)) };
        if let Some(destroy) = destroy {
            // SAFETY: `new` made it, and nobody switches to it any more.
            unsafe { destroy(ptr::without_provenance_mut(self.fiber)) };
        }
    }

    /// The next thing that the caller does is to switch to this stack. Returns
    /// what `arrive` wants to be given when the caller is back.
    pub fn leave_for(self) -> usize {
        let mut kept = ptr::null_mut();
        // SAFETY: the address of that function, or 0, which is `None`.
        let start = unsafe {
            transmute::<usize, Option<StartSwitch>>(START_SWITCH.load(Ordering::Relaxed))
        };
        if let Some(start) = start {
            let bottom = ptr::without_provenance(self.bottom);
            // SAFETY: `kept` is there to be written.
            unsafe { start(&mut kept, bottom, self.size) };
        }
        // SAFETY: the address of that function, or 0, which is `None`.
        let switch = unsafe {
            transmute::<usize, Option<SwitchToFiber>>(SWITCH_TO_FIBER.load(Ordering::Relaxed))
        };
        if let Some(switch) = switch {
            // SAFETY: it is of a thread or a fiber that has not ended.
            unsafe { switch(ptr::without_provenance_mut(self.fiber), 0) };
        }
        kept.addr()
    }
}

/// The caller has come to its stack: by what `leave_for` returned, or for the
/// first time, by 0. Returns where the stack lies that was left.
pub fn arrive(kept: usize) -> (usize, usize) {
    let (mut bottom, mut size) = (ptr::null(), 0);
    // SAFETY: the address of that function, or 0, which is `None`.
    let finish =
        unsafe { transmute::<usize, Option<FinishSwitch>>(FINISH_SWITCH.load(Ordering::Relaxed)) };
    if let Some(finish) = finish {
        // SAFETY: `kept` is what belongs to this stack; the rest is there to be
        // written.
        unsafe { finish(ptr::without_provenance_mut(kept), &mut bottom, &mut size) };
    }
    (bottom.addr(), size)
}

/// What the caller has done is left for those who `acquire` the same thing.
#[inline]
pub fn release<T>(thing: &T) {
    if is_on() {
        tell(&RELEASE, thing);
    }
}

/// What others have done before they released the thing is seen by the caller.
#[inline]
pub fn acquire<T>(thing: &T) {
    if is_on() {
        tell(&ACQUIRE, thing);
    }
}

#[cold]
fn tell<T>(function: &AtomicUsize, thing: &T) {
    // SAFETY: the address of that function, or 0, which is `None`.
    let function =
        unsafe { transmute::<usize, Option<OfAddress>>(function.load(Ordering::Relaxed)) };
    if let Some(function) = function {
        // SAFETY: it takes the address for a name, and touches nothing there.
        unsafe { function(ptr::from_ref(thing).cast_mut().cast()) };
    }
}
