//! Which netfd this is.

use core::ffi::CStr;
use libc::c_char;

/// The version with its NUL; checked at compile time below.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");

const TEXT: &CStr = match CStr::from_bytes_with_nul(VERSION.as_bytes()) {
    Ok(text) => text,
    Err(_) => c"",
};

/// Tells the version of the library that runs, as in "0.1.0".
///
/// The header that a program was compiled with says NETFD_VERSION.
///
/// @return the text, which lives for ever
///
/// Any thread.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn netfd_version() -> *const c_char {
    TEXT.as_ptr()
}
