//! The front door: every symbol that C sees, a file for each noun. What stands
//! here becomes `include/netfd.h`, comments included, in this order.
//!
//! No policy lives here. A function checks its arguments, hands them to `net`
//! in Rust's types, and gives back a number.

pub mod version;

pub mod error;

pub mod socket;

pub mod listener;

pub mod dial;

pub mod io;

pub mod packet;

pub mod copy;

pub mod deadline;

pub mod cancel;

pub mod address;

pub mod fiber;

pub mod stats;

mod boundary;
