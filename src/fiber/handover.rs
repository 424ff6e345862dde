//! An operation's way through a ring: begun, and answered, or called off and
//! answered.
//!
//! # Why nobody's buffer is written late, and no byte is lost
//!
//! ```text
//! fiber:  waiter in;  look;  asleep;  begin;  park ...  take the answer;  waiter out
//! ring:                               ...  answer, and run the fiber
//! waker:  change the state;  waiter out;  run the fiber
//! ```
//!
//! A fiber that runs again has an answer, or was woken by somebody. In the
//! second case it calls the operation off, and parks until the answer comes: the
//! kernel gives one to each operation, one time. (It may not find one that is
//! just on its way to a thread of the kernel's, and is asked again.) What the
//! answer says counts, whoever was the first. Only then does the fiber leave,
//! with its reference to the descriptor. (A waker that comes while it parks for
//! the answer has claimed the waiter already, or finds it, and its wake-up is
//! for nothing: the fiber looks for the answer, and parks again.)
//!
//! `tests/loom.rs` runs this in every order, with a kernel of its kind.

use libc::c_int;

/// What a worker does for its current fiber.
pub trait Carrier {
    /// Begins the operation. False: it is not to be had now.
    fn begin(&self) -> bool;
    /// Parks the fiber: until the answer has come, until somebody wakes it, or
    /// for as long as it may wait.
    fn park(&self);
    /// The answer, once.
    fn take_answer(&self) -> Option<c_int>;
    /// Asks for the operation's end. False: try again.
    fn call_off(&self) -> bool;
    /// Parks the fiber until the answer has come, or for no reason; for a short
    /// time at most, a shorter one where the end could not be asked for.
    fn park_for_answer(&self, asked: bool);
}

/// What became of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carried {
    /// It was not begun, and the fiber has not parked.
    Refused,
    /// It was called off, or not begun since the fiber has been woken.
    Not,
    /// It has this answer.
    Out(c_int),
}

/// Has an operation carried out. `falls_asleep` is the waiter's.
#[inline(always)]
pub fn carry_out(carrier: &impl Carrier, falls_asleep: impl FnOnce() -> bool) -> Carried {
    if !falls_asleep() {
        return Carried::Not;
    }
    if !carrier.begin() {
        return Carried::Refused;
    }
    carrier.park();
    let answer = match carrier.take_answer() {
        Some(answer) => answer,
        None => answer_of_called_off(carrier),
    };
    if answer == -libc::ECANCELED {
        return Carried::Not;
    }
    Carried::Out(answer)
}

#[cold]
#[inline(never)]
fn answer_of_called_off(carrier: &impl Carrier) -> c_int {
    loop {
        // Again each time: the kernel may not find one that is just on its way
        // from one of its lists to another.
        let asked = carrier.call_off();
        carrier.park_for_answer(asked);
        if let Some(answer) = carrier.take_answer() {
            return answer;
        }
    }
}
