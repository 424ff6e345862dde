//! getaddrinfo(3), and the place where one thread leaves its answer for
//! another.

use crate::sys::{errno, socket::Sockaddr};
use core::ffi::CStr;
use core::mem::zeroed;
use core::ptr;
use core::sync::atomic::{AtomicI32, AtomicPtr, Ordering};
use libc::{addrinfo, c_int};

/// What getaddrinfo(3) found.
#[derive(Debug)]
pub struct Answer(*mut addrinfo);

// SAFETY: the list is memory of the C library's allocator, and has one owner.
unsafe impl Send for Answer {}

impl Drop for Answer {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: the list is the C library's, and freed once.
            unsafe { libc::freeaddrinfo(self.0) };
        }
    }
}

impl Answer {
    /// The addresses, in the C library's order.
    pub fn addresses(&self) -> impl Iterator<Item = Sockaddr> {
        let mut next = self.0;
        core::iter::from_fn(move || {
            // SAFETY: NULL, or an entry of the list, which lives as long as
            // `self`, whom the iterator borrows.
            let entry = unsafe { next.as_ref() }?;
            next = entry.ai_next;
            // SAFETY: the entry tells the truth about its address.
            unsafe { Sockaddr::copy_from(entry.ai_addr, entry.ai_addrlen) }.ok()
        })
    }
}

/// Why getaddrinfo(3) found nothing: its code, and errno where that is
/// `EAI_SYSTEM`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// An `EAI_` code.
    pub code: c_int,
    /// The error of the system.
    pub errno: c_int,
}

impl Refusal {
    /// The C library's words for it.
    pub fn text(self) -> &'static CStr {
        // SAFETY: it takes any number.
        let text = unsafe { libc::gai_strerror(self.code) };
        // SAFETY: the C library's texts are constants.
        unsafe { CStr::from_ptr(text) }
    }
}

/// getaddrinfo(3), which may take as long as it likes.
pub fn getaddrinfo(
    host: Option<&CStr>,
    service: Option<&CStr>,
    family: c_int,
    sotype: c_int,
) -> Result<Answer, Refusal> {
    // SAFETY: an all-zero addrinfo is one without hints.
    let mut hints: addrinfo = unsafe { zeroed() };
    hints.ai_family = family;
    hints.ai_socktype = sotype;
    let mut list = ptr::null_mut();
    let text = |text: Option<&CStr>| text.map_or(ptr::null(), CStr::as_ptr);
    // SAFETY: the strings end with a NUL or are NULL, the hints and the place
    // for the answer are there.
    let code = unsafe { libc::getaddrinfo(text(host), text(service), &hints, &mut list) };
    if code == 0 {
        Ok(Answer(list))
    } else {
        let errno = errno();
        Err(Refusal { code, errno })
    }
}

/// Where an answer is left. What nobody takes is freed.
#[derive(Debug, Default)]
pub struct Mailbox {
    list: AtomicPtr<addrinfo>,
    code: AtomicI32,
    errno: AtomicI32,
}

impl Mailbox {
    /// Leaves an answer; whoever is to take it learns of it in another way.
    pub fn put(&self, result: Result<Answer, Refusal>) {
        match result {
            Ok(answer) => {
                let list = core::mem::ManuallyDrop::new(answer).0;
                drop(Answer(self.list.swap(list, Ordering::AcqRel)));
                self.code.store(0, Ordering::Release);
            }
            Err(refusal) => {
                self.errno.store(refusal.errno, Ordering::Relaxed);
                self.code.store(refusal.code, Ordering::Release);
            }
        }
    }

    /// Takes what was left.
    pub fn take(&self) -> Result<Answer, Refusal> {
        match self.code.swap(0, Ordering::AcqRel) {
            0 => Ok(Answer(self.list.swap(ptr::null_mut(), Ordering::AcqRel))),
            code => {
                let errno = self.errno.load(Ordering::Relaxed);
                Err(Refusal { code, errno })
            }
        }
    }
}
