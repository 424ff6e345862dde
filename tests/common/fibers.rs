//! Fibers that run closures, and what tests of them need around that.

use super::*;

/// What a fiber runs, in a box.
type Body = Box<dyn FnOnce() + Send>;

unsafe extern "C" fn run(arg: *mut c_void) {
    // SAFETY: `go` made it of such a box, for this fiber.
    let body = unsafe { Box::from_raw(arg.cast::<Body>()) };
    body();
}

/// netfd_go() of a closure.
pub fn go(body: impl FnOnce() + Send + 'static) {
    let body: Body = Box::new(body);
    let arg = Box::into_raw(Box::new(body)).cast();
    // SAFETY: `run` takes such a box.
    let code = unsafe { direct::netfd_go(Some(run), arg) };
    assert_eq!(code, 0, "{}", error_text());
}

/// A fiber whose result is waited for.
pub struct Fiber<T>(mpsc::Receiver<T>);

/// Starts a fiber.
pub fn fiber<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> Fiber<T> {
    let (send, result) = mpsc::channel();
    go(move || {
        let _ = send.send(body());
    });
    Fiber(result)
}

impl<T> Fiber<T> {
    /// Its result, for a thread to wait for.
    pub fn join(self) -> T {
        let result = self.0.recv_timeout(GUARD);
        result.expect("the fiber ends in time, and by itself")
    }
}

/// gettid(2).
pub fn thread_id() -> i32 {
    // SAFETY: it takes nothing.
    unsafe { libc::gettid() }
}

/// netfd_sleep().
pub fn sleep(ns: i64) {
    // SAFETY: no pointers.
    assert_eq!(unsafe { netfd_sleep(ns) }, 0);
}

/// netfd_yield().
pub fn yield_now() {
    // SAFETY: no pointers.
    unsafe { direct::netfd_yield() }
}

/// netfd_in_fiber().
pub fn in_fiber() -> bool {
    // SAFETY: no pointers.
    unsafe { direct::netfd_in_fiber() == 1 }
}

/// As `alone`, with one worker.
pub fn on_one_worker(test: &str, body: impl FnOnce()) {
    let _ = alone_under(test, &[], &[("NETFD_WORKERS", "1")], body);
}

/// As `alone`, with two workers.
pub fn on_two_workers(test: &str, body: impl FnOnce()) {
    let _ = alone_under(test, &[], &[("NETFD_WORKERS", "2")], body);
}

/// netfd_block() of a closure.
pub fn block(body: impl FnOnce() + Send) {
    unsafe extern "C" fn run(arg: *mut c_void) {
        // SAFETY: it is the option below, which outlives the call.
        let body = unsafe { &mut *arg.cast::<Option<Box<dyn FnOnce() + Send>>>() };
        body.take().expect("it is called once")();
    }
    let body: Box<dyn FnOnce() + Send + '_> = Box::new(body);
    let mut body = Some(body);
    // SAFETY: `run` takes such an option, and the call returns after it.
    let code = unsafe { netfd_block(Some(run), (&raw mut body).cast()) };
    assert_eq!(code, 0, "{}", error_text());
    assert!(body.is_none());
}
