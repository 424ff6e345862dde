//! Fibers: functions with stacks of their own, many on one thread, which park
//! where a thread would block.
//!
//! `stack.rs` is what they run on, `worker.rs` the thread that runs them (its
//! turns, its mail, its poller; `worker/seats.rs` the fibers and their queue,
//! `worker/waits.rs` how they wait), `timers.rs` their deadlines, `handover.rs`
//! an operation's way through a ring, `debug.rs` what a debugger finds them by,
//! `runtime.rs` all workers of the process. What C sees is in `net::go` and
//! `ffi::fiber`.

mod debug;
mod foreign;
mod handover;
mod mail;
mod runtime;
mod stack;
mod timers;
mod worker;

pub use foreign::{Handler, call, handle};
pub use runtime::{Counts, counts, go};
pub use stack::MOST as STACK_MAX;
pub use worker::{is_inside, let_others_run, rest, yield_now};
