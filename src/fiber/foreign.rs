//! What comes from C and C++: the functions that fibers run, and the exceptions
//! that a thread has in flight.

use crate::sync::Ordering;
use crate::sys::process;
use core::ffi::c_void;
use core::sync::atomic::AtomicUsize;
use libc::c_int;

/// What a fiber runs.
pub type Body = unsafe extern "C" fn(*mut c_void);

/// A function that went through a number; 0 is none.
pub fn body_of(number: usize) -> Option<Body> {
    // SAFETY: a function's address, or 0, which is `None`: numbers come from
    // `Body`s only.
    unsafe { core::mem::transmute::<usize, Option<Body>>(number) }
}

/// Calls a function that went through a number.
pub fn call(body: usize, arg: usize) -> i32 {
    if let Some(body) = body_of(body) {
        let arg = core::ptr::with_exposed_provenance_mut(arg);
        // SAFETY: whoever passed the function promised that it may be called
        // with this.
        unsafe { body(arg) };
    }
    0
}

/// What serves a connection.
pub type Handler = unsafe extern "C" fn(c_int, *mut c_void);

/// Calls a handler that went through a number.
pub fn handle(handler: usize, fd: c_int, arg: *mut c_void) {
    // SAFETY: a function's address, or 0, which is `None`: numbers come from
    // `Handler`s only.
    let handler = unsafe { core::mem::transmute::<usize, Option<Handler>>(handler) };
    if let Some(handler) = handler {
        // SAFETY: whoever passed the function promised that it may be called
        // with this.
        unsafe { handler(fd, arg) };
    }
}

/// The exceptions that a thread has in flight: what `__cxa_get_globals` of the
/// C++ ABI points to, a pointer and a count.
pub type Exceptions = [usize; 2];

/// None in flight.
pub const NO_EXCEPTIONS: Exceptions = [0; 2];

type GetGlobals = unsafe extern "C" fn() -> *mut Exceptions;

/// `__cxa_get_globals`; 0: there is no C++ in this process.
static GET_GLOBALS: AtomicUsize = AtomicUsize::new(0);

/// Looks whether there is C++ in this process.
pub fn find_exceptions() {
    GET_GLOBALS.store(process::symbol(c"__cxa_get_globals"), Ordering::Relaxed);
}

fn globals() -> Option<*mut Exceptions> {
    let get = GET_GLOBALS.load(Ordering::Relaxed);
    // SAFETY: the address of that function, or 0, which is `None`.
    let get = unsafe { core::mem::transmute::<usize, Option<GetGlobals>>(get) }?;
    // SAFETY: it takes nothing, and may be called at any time.
    let globals = unsafe { get() };
    (!globals.is_null()).then_some(globals)
}

/// The calling thread's.
pub fn exceptions() -> Exceptions {
    match globals() {
        // SAFETY: it points to the thread's own.
        Some(globals) => unsafe { globals.read() },
        None => NO_EXCEPTIONS,
    }
}

/// Sets the calling thread's.
pub fn set_exceptions(exceptions: Exceptions) {
    if let Some(globals) = globals() {
        // SAFETY: it points to the thread's own.
        unsafe { globals.write(exceptions) };
    }
}
