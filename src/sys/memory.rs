//! Memory of the kernel's: mappings, guards.

use crate::error::{Error, Result, Sys};
use core::ptr;
use libc::{c_int, c_void};

/// `MADV_GUARD_INSTALL` of linux/mman.h, since Linux 6.13: the pages kill
/// whoever touches them, and the mapping stays one.
const GUARD_INSTALL: c_int = 102;

/// Maps `len` bytes that can be read and written, of which none costs anything
/// before it is touched. Returns where.
pub fn map(len: usize) -> Result<usize> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_STACK;
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new anonymous mapping touches no memory that exists.
    let at = unsafe { libc::mmap(ptr::null_mut(), len, access, flags, -1, 0) };
    if at == libc::MAP_FAILED {
        return Err(Error::os(libc::ENOMEM, Sys::Mmap));
    }
    // SAFETY: the mapping is ours and as long as said; a kernel without large
    // pages refuses, which is as good.
    unsafe { libc::madvise(at, len, libc::MADV_NOHUGEPAGE) };
    Ok(at as usize)
}

/// Makes `len` bytes at `at` deadly to touch.
///
/// # Safety
///
/// The range is a part of what `map` gave, in whole pages, and nobody uses it.
pub unsafe fn guard(at: usize, len: usize) -> Result<()> {
    let start = ptr::with_exposed_provenance_mut::<c_void>(at);
    // SAFETY: the caller's promise.
    if unsafe { libc::madvise(start, len, GUARD_INSTALL) } == 0 {
        return Ok(());
    }
    // An older kernel, or memory that is locked: a mapping of its own.
    // SAFETY: the caller's promise.
    if unsafe { libc::mprotect(start, len, libc::PROT_NONE) } == 0 {
        return Ok(());
    }
    Err(Error::os(crate::sys::errno(), Sys::Mprotect))
}

/// Gives the pages of `len` bytes at `at` back to the kernel: they are zero when
/// they are touched again.
///
/// # Safety
///
/// The range is a part of what `map` gave, in whole pages, and nobody needs
/// what is in it.
pub unsafe fn give_back(at: usize, len: usize) {
    let start = ptr::with_exposed_provenance_mut::<c_void>(at);
    // SAFETY: the caller's promise.
    unsafe { libc::madvise(start, len, libc::MADV_DONTNEED) };
}

/// Has the processor fetch `lines` cache lines from `at` on, meanwhile. Nothing
/// is read, and any address will do.
#[inline(always)]
pub fn prefetch(at: usize, lines: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in 0..lines {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let here = ptr::without_provenance::<i8>(at.wrapping_add(line * 64));
        // SAFETY: a hint, which is passed over where there is no such address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(here) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (at, lines);
}

/// Gives a mapping back.
///
/// # Safety
///
/// It is what `map` gave, and nobody uses any of it.
pub unsafe fn unmap(at: usize, len: usize) {
    let start = ptr::with_exposed_provenance_mut::<c_void>(at);
    // SAFETY: the caller's promise.
    unsafe { libc::munmap(start, len) };
}
