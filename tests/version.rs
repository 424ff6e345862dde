//! netfd_version: the library's version is the header's and the package's.

#![allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "the common module is for tests"
)]

mod common;

use common::netfd_version;
use std::ffi::CStr;

const HEADER: &str = include_str!("../include/netfd.h");

fn version() -> &'static str {
    // SAFETY: no pointers.
    let text = unsafe { netfd_version() };
    assert!(!text.is_null());
    // SAFETY: it ends with a NUL and lives for ever.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().expect("it is text")
}

/// What the header says of a macro.
fn header_says(name: &str) -> &'static str {
    let line = HEADER.lines().find_map(|line| {
        let value = line.strip_prefix("#define ")?.strip_prefix(name)?;
        value.strip_prefix(' ')
    });
    line.expect("the header has it")
}

#[test]
fn the_version_is_the_packages() {
    assert_eq!(version(), env!("CARGO_PKG_VERSION"));
}

#[test]
fn the_version_is_the_headers() {
    assert_eq!(format!("{:?}", version()), header_says("NETFD_VERSION"));
    let parts = ["MAJOR", "MINOR", "PATCH"];
    let parts = parts.map(|part| header_says(&format!("NETFD_VERSION_{part}")));
    assert_eq!(version(), parts.join("."));
}

#[test]
fn the_version_is_the_same_text_each_time() {
    assert_eq!(version().as_ptr(), version().as_ptr());
}
