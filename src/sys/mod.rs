//! The one room that calls libc: a safe function for each system call, which
//! returns `Result`. What is Linux-only is in here.
//!
//! Nothing here decides anything: no retry, no policy, no state but the
//! process epoch.

pub mod event;
pub mod file;
pub mod futex;
pub mod lookup;
pub mod memory;
pub mod message;
pub mod option;
pub mod process;
pub mod sanitizer;
pub mod socket;
pub mod time;
pub mod uring;

use crate::error::{Error, INVAL, Result, Sys};
use crate::text::Text;
use libc::c_int;
use socket::ADDRESS_ROOM;

/// A file descriptor, as C knows it.
pub type Fd = c_int;

/// The calling thread's errno.
pub fn errno() -> c_int {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// Sets the calling thread's errno.
pub fn set_errno(value: c_int) {
    // SAFETY: it takes nothing.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: the C library's errno of this thread is always there to write.
    unsafe { errno.write(value) };
}

/// Turns the C convention of -1 and errno into a `Result`.
fn check(result: c_int, call: Sys) -> Result<c_int> {
    if result < 0 {
        Err(Error::os(errno(), call))
    } else {
        Ok(result)
    }
}

/// As `check`, for calls that return a length.
fn check_len(result: isize, call: Sys) -> Result<usize> {
    usize::try_from(result).map_err(|_| Error::os(errno(), call))
}

/// close(2). The descriptor is gone whatever it says, EINTR included: it is
/// never to be repeated, and EINTR, which asks for that, is no failure.
pub fn close(fd: Fd) -> Result<()> {
    // SAFETY: close takes any int; that the number is the caller's is the
    // lifetime word's business.
    match check(unsafe { libc::close(fd) }, Sys::Close) {
        Err(error) if !error.is(libc::EINTR) => Err(error),
        _ => Ok(()),
    }
}

/// `-EBADF` where `fd` is not open.
pub fn check_open(fd: Fd) -> Result<()> {
    // SAFETY: F_GETFD takes no third argument.
    check(unsafe { libc::fcntl(fd, libc::F_GETFD) }, Sys::Fcntl).map(drop)
}

/// write(2) to a descriptor that is no socket of ours: `netfd_dump`'s output.
pub fn write(fd: Fd, text: &[u8]) -> Result<usize> {
    // SAFETY: `text` is readable for its length.
    let n = unsafe { libc::write(fd, text.as_ptr().cast(), text.len()) };
    check_len(n, Sys::Write)
}

/// Sets `O_NONBLOCK` on the open description and `FD_CLOEXEC` on the number.
pub fn set_nonblock_cloexec(fd: Fd) -> Result<()> {
    // SAFETY: F_GETFL takes no third argument.
    let flags = check(unsafe { libc::fcntl(fd, libc::F_GETFL) }, Sys::Fcntl)?;
    if flags & libc::O_NONBLOCK == 0 {
        let flags = flags | libc::O_NONBLOCK;
        // SAFETY: F_SETFL takes an int.
        check(unsafe { libc::fcntl(fd, libc::F_SETFL, flags) }, Sys::Fcntl)?;
    }
    // SAFETY: F_SETFD takes an int.
    let set = unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    check(set, Sys::Fcntl).map(drop)
}

/// unlink(2).
pub fn unlink(path: &[u8]) -> Result<()> {
    let path = terminated::<ADDRESS_ROOM>(path).ok_or(INVAL)?;
    // SAFETY: `path` ends with a NUL and lives over the call.
    check(unsafe { libc::unlink(path.as_ptr().cast()) }, Sys::Unlink).map(drop)
}

/// Which file a path names: its device and its inode, where it is a socket.
/// lstat(2).
pub fn socket_file(path: &[u8]) -> Result<(u64, u64)> {
    let path = terminated::<ADDRESS_ROOM>(path).ok_or(INVAL)?;
    // SAFETY: an all-zero stat is one to be filled in.
    let mut file: libc::stat = unsafe { core::mem::zeroed() };
    // SAFETY: `path` ends with a NUL, `file` is there to be written.
    let found = unsafe { libc::lstat(path.as_ptr().cast(), &mut file) };
    check(found, Sys::Lstat)?;
    if file.st_mode & libc::S_IFMT != libc::S_IFSOCK {
        return Err(Error::os(libc::ENOTSOCK, Sys::Lstat));
    }
    Ok((file.st_dev, file.st_ino))
}

/// getenv(3), copied.
pub fn environment(name: &core::ffi::CStr) -> Result<Option<Vec<u8>>> {
    // SAFETY: the name ends with a NUL.
    copied(unsafe { libc::getenv(name.as_ptr()) })
}

/// secure_getenv(3), copied: nothing where the process has another's rights.
pub fn secure_environment(name: &core::ffi::CStr) -> Result<Option<Vec<u8>>> {
    // SAFETY: the name ends with a NUL.
    copied(unsafe { secure_getenv(name.as_ptr()) })
}

unsafe extern "C" {
    fn secure_getenv(name: *const libc::c_char) -> *const libc::c_char;
}

fn copied(value: *const libc::c_char) -> Result<Option<Vec<u8>>> {
    if value.is_null() {
        return Ok(None);
    }
    // SAFETY: what is set ends with a NUL. That nobody changes the environment
    // meanwhile is the caller's business, as for getenv(3) itself.
    let value = unsafe { core::ffi::CStr::from_ptr(value) }.to_bytes();
    let mut copy = Vec::new();
    copy.try_reserve_exact(value.len())
        .map_err(|_| Error::os(libc::ENOMEM, Sys::Malloc))?;
    copy.extend_from_slice(value);
    Ok(Some(copy))
}

/// if_nametoindex(3): an interface's index by its name.
pub fn interface_index(name: &str) -> Option<u32> {
    let name = terminated::<{ libc::IF_NAMESIZE }>(name.as_bytes())?;
    // SAFETY: `name` ends with a NUL and lives over the call.
    match unsafe { libc::if_nametoindex(name.as_ptr().cast()) } {
        0 => None,
        index => Some(index),
    }
}

/// Text with a NUL behind it, where it fits and has none inside.
fn terminated<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut room = [0; N];
    if text.len() >= N || text.contains(&0) {
        return None;
    }
    room.get_mut(..text.len())?.copy_from_slice(text);
    Some(room)
}

/// if_indextoname(3): an interface's name by its index.
pub fn interface_name(index: u32) -> Option<Text<{ libc::IF_NAMESIZE }>> {
    let mut name = [0u8; libc::IF_NAMESIZE];
    // SAFETY: `name` has the IF_NAMESIZE bytes that the call asks for.
    let found = unsafe { libc::if_indextoname(index, name.as_mut_ptr().cast()) };
    if found.is_null() {
        return None;
    }
    let mut text = Text::default();
    text.push(
        core::ffi::CStr::from_bytes_until_nul(&name)
            .ok()?
            .to_bytes(),
    );
    Some(text)
}
