//! The atomics that the lifetime word, the queues and the waiters are made of.
//!
//! `tests/loom.rs` compiles those files with loom's atomics in place of these.

pub use core::hint::spin_loop;
pub use core::sync::atomic::{
    AtomicBool, AtomicI32, AtomicI64, AtomicU32, AtomicU64, Ordering, fence,
};

/// Gives out numbers, and orders nothing: of the model, too, it is no part.
pub use core::sync::atomic::AtomicU32 as Serials;
