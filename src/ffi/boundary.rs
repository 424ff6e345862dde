//! What every exported function goes through: a panic is caught, a
//! cancellation held off, an `Error` becomes the number that C sees. And the
//! forms in which pointers come in.

use crate::error::{self, Error, FAULT, INVAL, Result};
use crate::fiber;
use crate::net::failure::{self, Place};
use crate::sys::process::Uncancelable;
use crate::sys::socket::{Bytes, Sockaddr};
use core::ffi::{CStr, c_void};
use core::panic::AssertUnwindSafe;
use core::{mem, ptr, slice};
use libc::{c_char, c_int, sockaddr, socklen_t};
use std::panic::catch_unwind;

/// A number that can say what went wrong.
pub trait Code {
    /// The number for a code.
    fn from_code(code: c_int) -> Self;
}

impl Code for c_int {
    fn from_code(code: c_int) -> Self {
        code
    }
}

impl Code for isize {
    fn from_code(code: c_int) -> Self {
        code as Self
    }
}

impl Code for i64 {
    fn from_code(code: c_int) -> Self {
        code.into()
    }
}

/// Runs the body of an exported function that never parks. `op` is Go's name
/// for what it does, for failures that have no record of their own.
#[inline]
pub fn boundary<N: Code>(op: &'static str, body: impl FnOnce() -> Result<N>) -> N {
    let _uncancelable = Uncancelable::new();
    caught(op, body)
}

/// As `boundary`, for a function that may park: in a fiber whose calls never have
/// to it lets others run now and then.
#[inline]
pub fn parking<N: Code>(op: &'static str, body: impl FnOnce() -> Result<N>) -> N {
    let uncancelable = Uncancelable::new();
    let number = caught(op, body);
    // Workers run without cancellation, and hardly any other thread does: so
    // this costs threads no look at what they are.
    if uncancelable.was_so() {
        fiber::let_others_run();
    }
    number
}

#[inline(always)]
fn caught<N: Code>(op: &'static str, body: impl FnOnce() -> Result<N>) -> N {
    let number = catch_unwind(AssertUnwindSafe(|| match body() {
        Ok(number) => number,
        Err(error) => N::from_code(failed(op, error)),
    }));
    number.unwrap_or_else(|_| N::from_code(failed(op, error::PANIC)))
}

/// The code of a failure, which is on record from here on at the latest.
#[cold]
#[inline(never)]
fn failed(op: &'static str, error: Error) -> c_int {
    if !error.is_recorded() {
        failure::record(op, Place::nowhere(), error);
    }
    error.code()
}

/// As `boundary`, for what asks about failures and leaves no record of its
/// own.
#[inline]
pub fn quiet<T>(body: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or(Err(error::PANIC))
}

/// A count of bytes, which never exceeds what was asked for and so SSIZE_MAX.
pub fn count(n: usize) -> isize {
    n as isize
}

/// A buffer to be read: `-EFAULT` where it is NULL but not empty, `-EINVAL`
/// where it is longer than SSIZE_MAX.
///
/// # Safety
///
/// `start` is NULL or readable for `len` bytes while the result lives.
pub unsafe fn bytes<'a>(start: *const c_void, len: usize) -> Result<&'a Bytes> {
    // One look at the usual way: more than nothing, and no more than can be.
    if len as isize <= 0 {
        return if len == 0 { Ok(&[]) } else { Err(INVAL) };
    }
    if start.is_null() {
        return Err(FAULT);
    }
    // SAFETY: the caller's promise.
    Ok(unsafe { slice::from_raw_parts(start.cast(), len) })
}

/// As `bytes`, for a buffer to be written.
///
/// # Safety
///
/// `start` is NULL or writable for `len` bytes while the result lives, and
/// nobody else uses those.
pub unsafe fn bytes_mut<'a>(start: *mut c_void, len: usize) -> Result<&'a mut Bytes> {
    if len as isize <= 0 {
        return if len == 0 { Ok(&mut []) } else { Err(INVAL) };
    }
    if start.is_null() {
        return Err(FAULT);
    }
    // SAFETY: the caller's promise.
    Ok(unsafe { slice::from_raw_parts_mut(start.cast(), len) })
}

/// An address that may be NULL, which is none.
///
/// # Safety
///
/// `address` is NULL or readable for `len` bytes.
pub unsafe fn address(address: *const sockaddr, len: socklen_t) -> Result<Option<Sockaddr>> {
    if address.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's promise.
    unsafe { Sockaddr::copy_from(address, len) }.map(Some)
}

/// A string of C: `-EFAULT` where it is NULL. It need not be UTF-8.
///
/// # Safety
///
/// `text` is NULL or ends with a NUL.
pub unsafe fn text<'a>(text: *const c_char) -> Result<&'a [u8]> {
    if text.is_null() {
        return Err(FAULT);
    }
    // SAFETY: the caller's promise.
    let text = unsafe { core::ffi::CStr::from_ptr(text) };
    Ok(text.to_bytes())
}

/// Where an address goes, as in accept(2): the length is room on the way in
/// and the address's own on the way out.
#[derive(Debug)]
pub struct AddressOut {
    to: *mut sockaddr,
    len: *mut socklen_t,
}

impl AddressOut {
    /// `-EFAULT` for an address without a length, `-EINVAL` for a length that
    /// is negative as an int. Both NULL: not wanted.
    ///
    /// # Safety
    ///
    /// `len` is NULL or valid, `to` is NULL or writable for `*len` bytes,
    /// while the result lives.
    pub unsafe fn new(to: *mut sockaddr, len: *mut socklen_t) -> Result<Self> {
        if !to.is_null() && len.is_null() {
            return Err(FAULT);
        }
        // SAFETY: a length that is not NULL is valid.
        if !to.is_null() && c_int::try_from(unsafe { *len }).is_err() {
            return Err(INVAL);
        }
        Ok(Self { to, len })
    }

    /// As `new`, where the address is what is asked for.
    ///
    /// # Safety
    ///
    /// As for `new`.
    pub unsafe fn required(to: *mut sockaddr, len: *mut socklen_t) -> Result<Self> {
        if to.is_null() || len.is_null() {
            return Err(FAULT);
        }
        // SAFETY: the caller's promise.
        unsafe { Self::new(to, len) }
    }

    /// Whether the address is wanted.
    pub fn is_wanted(&self) -> bool {
        !self.to.is_null()
    }

    /// Stores the address, cut to the room there is, and its whole length.
    pub fn store(self, address: &Sockaddr) {
        if !self.is_wanted() {
            return;
        }
        let bytes = address.bytes();
        // SAFETY: an address that is wanted has a length, by `new`.
        let room = unsafe { *self.len } as usize;
        let n = bytes.len().min(room);
        // SAFETY: `to` is writable for the room there is.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.to.cast(), n) };
        let len = socklen_t::try_from(bytes.len()).unwrap_or(0);
        // SAFETY: as above.
        unsafe { *self.len = len };
    }
}

/// The longest struct that a caller could mean: more than any version of this
/// library will have.
const CONFIG_MAX: usize = 4096;

/// A struct of C that a caller filled in, with the size he knows it by: what he
/// does not know is zero, and what this library does not know has to be. NULL:
/// all of it is zero.
///
/// # Safety
///
/// `from` is NULL or points to a size, and to as many readable bytes as that
/// says, up to `CONFIG_MAX`; a `T` of zeros is valid, as is one of any bytes
/// that a caller may write.
pub unsafe fn config<T: Copy>(from: *const T) -> Result<T> {
    // SAFETY: the caller's promise.
    let mut whole: T = unsafe { mem::zeroed() };
    if from.is_null() {
        return Ok(whole);
    }
    // SAFETY: the size is the first field.
    let size = unsafe { from.cast::<usize>().read_unaligned() };
    if size == 0 || size > CONFIG_MAX {
        return Err(INVAL);
    }
    // SAFETY: the caller says that there are `size` bytes.
    let bytes = unsafe { slice::from_raw_parts(from.cast::<u8>(), size) };
    let known = mem::size_of::<T>().min(size);
    if bytes.iter().skip(known).any(|byte| *byte != 0) {
        return Err(INVAL);
    }
    // SAFETY: `known` bytes are there on both sides.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), (&raw mut whole).cast(), known) };
    Ok(whole)
}

/// Where a descriptor is shown to a function of the caller's.
pub type ControlFn =
    unsafe extern "C" fn(c_int, *const c_char, *const c_char, *mut c_void) -> c_int;

/// A caller's control function as `net` takes it.
///
/// # Safety
///
/// `function` may be called with `arg`.
pub unsafe fn control(
    function: ControlFn,
    arg: *mut c_void,
) -> impl Fn(c_int, &CStr, &CStr) -> c_int {
    move |fd, network, address| {
        // SAFETY: the caller's promise; both texts end with a NUL.
        unsafe { function(fd, network.as_ptr(), address.as_ptr(), arg) }
    }
}

/// A struct of C that is filled in as far as its `size`, which comes first,
/// says. What lies behind what this library knows is zeroed.
///
/// # Safety
///
/// `out` is NULL or points to a size, and to as many writable bytes as that
/// says; `T` begins with its size and has no padding that matters.
pub unsafe fn fill<T: Copy>(out: *mut T, with_size: impl FnOnce(usize) -> T) -> Result<()> {
    if out.is_null() {
        return Err(FAULT);
    }
    // SAFETY: the size is the first field.
    let size = unsafe { out.cast::<usize>().read() };
    if size == 0 {
        return Err(INVAL);
    }
    let full = with_size(size);
    let n = size.min(mem::size_of::<T>());
    // SAFETY: `n` bytes are there on both sides.
    unsafe { ptr::copy_nonoverlapping((&raw const full).cast::<u8>(), out.cast(), n) };
    // SAFETY: the caller says that there are `size` bytes.
    let tail = unsafe { out.cast::<u8>().add(n) };
    // SAFETY: likewise.
    unsafe { tail.write_bytes(0, size - n) };
    Ok(())
}

/// Stores text for C as snprintf(3) does: cut to `cap` with its NUL. Returns
/// the length of the whole text without it.
///
/// # Safety
///
/// `buf` is NULL or writable for `cap` bytes.
pub unsafe fn store_text(bytes: &[u8], buf: *mut c_char, cap: usize) -> Result<c_int> {
    if buf.is_null() && cap > 0 {
        return Err(FAULT);
    }
    if cap > 0 {
        let n = bytes.len().min(cap - 1);
        // SAFETY: `n` is less than `cap`.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), buf.cast(), n) };
        // SAFETY: likewise.
        let end = unsafe { buf.add(n) };
        // SAFETY: likewise.
        unsafe { end.write(0) };
    }
    c_int::try_from(bytes.len()).map_err(|_| INVAL)
}
