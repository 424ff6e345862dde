//! Descriptors: from an int to its entry, who may enter, and the loops that
//! call and park.

pub mod cancel;
pub mod desc;
pub mod mutex;
mod peer;
mod queue;
pub mod table;
mod word;

pub use word::{State, Turn};
