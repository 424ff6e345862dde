//! netfd: the socket layer of Go's `net` package for C, over raw fds.
//!
//! The product is the C header `include/netfd.h`, which is made from `ffi`;
//! Rust programs use it through the same symbols. The rooms, from the front
//! door down (each may use those below it, none climbs):
//!
//! - `ffi`: every exported symbol, and the boundary they share
//! - `net`: what Go's `net` does, and the record of what failed
//! - `addr`: socket addresses to text and back
//! - `fd`: the table, the lifetime word, who has which turn, the loops
//! - `fiber`: functions with stacks of their own, and the threads that run them
//! - `poll`: when is it ready
//! - `park`, `pool`, `sync`, `text`: the waiters, and what else is made of little
//! - `sys`: the system calls
//! - `error`, `strerror`: the one kind of error, and what its numbers mean
//!
//! `docs/design.md` says why it is built this way.

#[cfg(not(target_os = "linux"))]
compile_error!("netfd runs on Linux only: its parking is built on ppoll, eventfd and futex.");

mod addr;
mod error;
mod fd;
pub mod ffi;
mod fiber;
mod net;
mod park;
mod poll;
mod pool;
mod strerror;
mod sync;
mod sys;
mod text;
