//! The calls with several buffers and with message headers, and the forms in
//! which those reach them.

use crate::error::{Error, FAULT, INVAL, Result, Sys};
use crate::sys::socket::Bytes;
use crate::sys::{Fd, check_len};
use core::marker::PhantomData;
use core::mem::{MaybeUninit, zeroed};
use core::ptr;
use core::slice;
use libc::{c_int, c_uchar, c_uint, mmsghdr, msghdr};

/// The most messages that one sendmmsg(2) takes: the kernel's UIO_MAXIOV.
const SENT_MAX: c_uint = 1024;
/// The most buffers of one message: the same.
pub const IOV_MAX: usize = SENT_MAX as usize;

/// A caller's array of buffers.
#[derive(Clone, Copy, Debug)]
pub struct IoVecs<'a>(&'a [libc::iovec]);

impl<'a> IoVecs<'a> {
    /// Takes an array from C: `-EINVAL` where the count or the sum of the
    /// lengths is out of range, `-EFAULT` where a pointer is missing.
    ///
    /// # Safety
    ///
    /// `iov` is NULL or readable for `count` entries, and each of those tells
    /// the truth about its buffer while the result lives.
    pub unsafe fn new(iov: *const libc::iovec, count: usize) -> Result<Self> {
        if count == 0 {
            return Ok(Self(&[]));
        }
        if iov.is_null() {
            return Err(FAULT);
        }
        if count > isize::MAX as usize / size_of::<libc::iovec>() {
            return Err(INVAL);
        }
        // SAFETY: the caller's promise.
        let all = unsafe { slice::from_raw_parts(iov, count) };
        let mut sum = 0usize;
        for one in all {
            sum = sum.checked_add(one.iov_len).ok_or(INVAL)?;
            if one.iov_base.is_null() && one.iov_len > 0 {
                return Err(FAULT);
            }
        }
        isize::try_from(sum).map_err(|_| INVAL)?;
        Ok(Self(all))
    }

    /// How many buffers there are.
    pub fn count(self) -> usize {
        self.0.len()
    }

    /// The bytes of all buffers.
    pub fn total(self) -> usize {
        self.0.iter().map(|one| one.iov_len).sum()
    }

    /// The buffers from number `from` on, at most `count` of them.
    #[must_use]
    pub fn part(self, from: usize, count: usize) -> Self {
        let rest = self.0.get(from..).unwrap_or_default();
        Self(rest.get(..count).unwrap_or(rest))
    }

    /// The buffers behind those that are empty at the beginning.
    #[must_use]
    pub fn skip_empty(self) -> Self {
        let at = self.0.iter().position(|one| one.iov_len > 0);
        Self(self.0.get(at.unwrap_or(0)..).unwrap_or_default())
    }

    /// The length of buffer number `index`, 0 where there is none.
    pub fn len_of(self, index: usize) -> usize {
        self.0.get(index).map_or(0, |one| one.iov_len)
    }

    /// The bytes of buffer number `index` behind the first `skip`.
    pub fn tail_of(self, index: usize, skip: usize) -> &'a Bytes {
        match self.0.get(index) {
            Some(one) if one.iov_len > skip => {
                // SAFETY: `new` was promised that the buffer is as long as it
                // says, and `skip` lies inside.
                let start = unsafe { one.iov_base.cast::<MaybeUninit<u8>>().add(skip) };
                // SAFETY: likewise.
                unsafe { slice::from_raw_parts(start, one.iov_len - skip) }
            }
            _ => &[],
        }
    }

    fn message(self) -> msghdr {
        // SAFETY: an all-zero msghdr is an empty one.
        let mut message: msghdr = unsafe { zeroed() };
        message.msg_iov = self.0.as_ptr().cast_mut();
        message.msg_iovlen = self.0.len() as _;
        message
    }
}

/// A caller's message header.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    header: *mut msghdr,
    buffers: IoVecs<'a>,
}

impl<'a> Message<'a> {
    /// Takes a header from C, with the checks of `IoVecs::new`.
    ///
    /// # Safety
    ///
    /// `header` is NULL or points to a msghdr whose pointers are valid for
    /// their lengths while the result lives; writable for `recvmsg`.
    pub unsafe fn new(header: *const msghdr) -> Result<Self> {
        if header.is_null() {
            return Err(FAULT);
        }
        // SAFETY: the caller's promise; the fields are read one by one.
        let iov = unsafe { (*header).msg_iov };
        // SAFETY: likewise.
        let count = unsafe { (*header).msg_iovlen };
        #[allow(clippy::unnecessary_cast, reason = "musl has an int there")]
        let count = count as usize;
        // SAFETY: likewise.
        let buffers = unsafe { IoVecs::new(iov, count) }?;
        Ok(Self {
            header: header.cast_mut(),
            buffers,
        })
    }

    /// The bytes of all its buffers.
    pub fn total(self) -> usize {
        self.buffers.total()
    }

    /// Whether it says where to send it.
    pub fn is_addressed(self) -> bool {
        // SAFETY: `new` was promised a header, which lives as long as this.
        let name = unsafe { (*self.header).msg_name };
        // SAFETY: likewise.
        let len = unsafe { (*self.header).msg_namelen };
        !name.is_null() && len > 0
    }
}

/// A caller's array of message headers.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    start: *mut mmsghdr,
    count: c_uint,
    headers: PhantomData<&'a mmsghdr>,
}

impl<'a> Batch<'a> {
    /// Takes an array from C: `-EINVAL` where the count is out of an int's
    /// range, `-EFAULT` where the array is missing, and the checks of
    /// `Message::new` for each header. What the kernel would find amiss in a
    /// header is found here, `-EMSGSIZE` too many buffers and `-EINVAL` a
    /// negative length of an address: after some messages it would keep the
    /// error as the socket's, for a call that has nothing to do with it.
    ///
    /// # Safety
    ///
    /// `start` is NULL or points to `count` headers, each as for
    /// `Message::new`, and all writable.
    pub unsafe fn new(start: *mut mmsghdr, count: c_uint) -> Result<Self> {
        c_int::try_from(count).map_err(|_| INVAL)?;
        if start.is_null() && count > 0 {
            return Err(FAULT);
        }
        let this = Self {
            start,
            count,
            headers: PhantomData,
        };
        for index in 0..this.len() {
            // SAFETY: the caller's promise.
            let message = unsafe { Message::new(this.header(index)) }?;
            if message.buffers.count() > IOV_MAX {
                return Err(Error::argument(libc::EMSGSIZE));
            }
            // SAFETY: likewise.
            let len = unsafe { (*message.header).msg_namelen };
            if message.is_addressed() && c_int::try_from(len).is_err() {
                return Err(INVAL);
            }
        }
        Ok(this)
    }

    /// As `new`, of as many as sendmmsg(2) takes.
    ///
    /// # Safety
    ///
    /// As for `new`.
    pub unsafe fn to_send(start: *mut mmsghdr, count: c_uint) -> Result<Self> {
        c_int::try_from(count).map_err(|_| INVAL)?;
        // SAFETY: the caller's promise.
        unsafe { Self::new(start, count.min(SENT_MAX)) }
    }

    /// How many there are.
    #[allow(clippy::len_without_is_empty, reason = "a count in C's sense")]
    pub fn len(self) -> usize {
        self.count as usize
    }

    /// Whether one of them says where to send it.
    pub fn is_addressed(self) -> bool {
        (0..self.len()).any(|index| self.message(index).is_some_and(Message::is_addressed))
    }

    /// Which of the first `count`, received just now, got nothing though it
    /// had room.
    pub fn first_empty(self, count: usize) -> Option<usize> {
        (0..count.min(self.len())).find(|index| {
            // SAFETY: `new` was promised that many.
            let one = unsafe { self.start.add(*index) };
            // SAFETY: likewise.
            let len = unsafe { (*one).msg_len };
            len == 0 && self.message(*index).is_some_and(|it| it.total() > 0)
        })
    }

    fn message(self, index: usize) -> Option<Message<'a>> {
        // SAFETY: `new` was promised valid headers.
        unsafe { Message::new(self.header(index)) }.ok()
    }

    /// Header number `index`, which is less than the count.
    fn header(self, index: usize) -> *const msghdr {
        // SAFETY: `new` was promised that many.
        let one = unsafe { self.start.add(index) };
        // SAFETY: likewise.
        unsafe { &raw const (*one).msg_hdr }
    }
}

/// recvmsg(2) into buffers alone.
pub fn recv_vectored(fd: Fd, buffers: IoVecs<'_>) -> Result<usize> {
    let mut message = buffers.message();
    // SAFETY: the message's buffers are the caller's and writable.
    check_len(unsafe { libc::recvmsg(fd, &mut message, 0) }, Sys::Recvmsg)
}

/// sendmsg(2) of buffers alone, without SIGPIPE.
pub fn send_vectored(fd: Fd, buffers: IoVecs<'_>) -> Result<usize> {
    let message = buffers.message();
    // SAFETY: the message's buffers are the caller's and readable.
    let n = unsafe { libc::sendmsg(fd, &message, libc::MSG_NOSIGNAL) };
    check_len(n, Sys::Sendmsg)
}

/// recvmsg(2); descriptors that come along are close-on-exec.
pub fn recvmsg(fd: Fd, message: Message<'_>, flags: c_int) -> Result<usize> {
    let flags = flags | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: the header and what it points to are the caller's and writable.
    check_len(
        unsafe { libc::recvmsg(fd, message.header, flags) },
        Sys::Recvmsg,
    )
}

/// sendmsg(2), without SIGPIPE.
pub fn sendmsg(fd: Fd, message: Message<'_>, flags: c_int) -> Result<usize> {
    let flags = flags | libc::MSG_NOSIGNAL;
    // SAFETY: the header and what it points to are the caller's and readable.
    check_len(
        unsafe { libc::sendmsg(fd, message.header, flags) },
        Sys::Sendmsg,
    )
}

/// recvmmsg(2) of what is there, at least one message; descriptors that come
/// along are close-on-exec. Returns how many messages came.
pub fn recvmmsg(fd: Fd, batch: Batch<'_>, flags: c_int) -> Result<usize> {
    let flags = flags | libc::MSG_CMSG_CLOEXEC | libc::MSG_WAITFORONE;
    let (start, count) = (batch.start, batch.count);
    // SAFETY: the headers and what they point to are the caller's and
    // writable. The timeout, which looks at the clock only when a message has
    // come, is not used.
    let n = unsafe { libc::recvmmsg(fd, start, count, flags as _, ptr::null_mut()) };
    check_len(n as isize, Sys::Recvmmsg)
}

/// sendmmsg(2), without SIGPIPE. Returns how many messages went.
pub fn sendmmsg(fd: Fd, batch: Batch<'_>, flags: c_int) -> Result<usize> {
    let flags = flags | libc::MSG_NOSIGNAL;
    // SAFETY: the headers are the caller's and writable, what they point to is
    // readable.
    let n = unsafe { libc::sendmmsg(fd, batch.start, batch.count, flags as _) };
    check_len(n as isize, Sys::Sendmmsg)
}

/// The most descriptors that one message carries: the kernel's `SCM_MAX_FD`.
pub const FDS_MAX: usize = 253;

/// The control message of SO_PASSPIDFD: the sender as a descriptor, which
/// nobody here asked for.
const SCM_PIDFD: c_int = 4; // linux/socket.h, since Linux 6.5

/// Room for one control message with `FDS_MAX` descriptors, and for those that
/// options of the socket add (SO_PASSCRED, SO_PASSSEC), aligned as their
/// headers must be.
#[repr(C, align(8))]
struct Rights([c_uchar; RIGHTS]);

const RIGHTS_DATA: u32 = 253 * 4;
const _: () = assert!(RIGHTS_DATA as usize == FDS_MAX * size_of::<Fd>());

// SAFETY: CMSG_SPACE computes with its argument and touches no memory.
const RIGHTS: usize = unsafe { libc::CMSG_SPACE(RIGHTS_DATA) } as usize + 512;

/// sendmsg(2) of bytes with the descriptors `fds` (at most `FDS_MAX`, at least
/// one), without SIGPIPE.
pub fn send_rights(fd: Fd, buf: &Bytes, fds: &[Fd]) -> Result<usize> {
    let bytes = size_of_val(fds);
    if fds.is_empty() || fds.len() > FDS_MAX {
        return Err(INVAL);
    }
    let bytes32 = u32::try_from(bytes).map_err(|_| INVAL)?;
    let mut control = Rights([0; RIGHTS]);
    let mut iov = libc::iovec {
        iov_base: buf.as_ptr().cast_mut().cast(),
        iov_len: buf.len(),
    };
    // SAFETY: an all-zero msghdr is an empty one.
    let mut message: msghdr = unsafe { zeroed() };
    message.msg_iov = &mut iov;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    // SAFETY: CMSG_SPACE computes with its argument.
    message.msg_controllen = unsafe { libc::CMSG_SPACE(bytes32) } as _;
    // SAFETY: the control buffer has room for the header.
    let header = unsafe { libc::CMSG_FIRSTHDR(&message) };
    // SAFETY: CMSG_LEN computes with its argument.
    let len = unsafe { libc::CMSG_LEN(bytes32) };
    let head = libc::cmsghdr {
        cmsg_len: len as _,
        cmsg_level: libc::SOL_SOCKET,
        cmsg_type: libc::SCM_RIGHTS,
    };
    // SAFETY: the header lies in `control`, which is aligned for it.
    unsafe { header.write(head) };
    // SAFETY: the data of that header lies behind it.
    let data = unsafe { libc::CMSG_DATA(header) };
    // SAFETY: `control` has room for FDS_MAX descriptors, and `fds` has fewer.
    unsafe { ptr::copy_nonoverlapping(fds.as_ptr().cast::<u8>(), data, bytes) };
    // SAFETY: all that the message points to lives over the call.
    let n = unsafe { libc::sendmsg(fd, &message, libc::MSG_NOSIGNAL) };
    check_len(n, Sys::Sendmsg)
}

/// recvmsg(2) of bytes and of the descriptors that come along, which are
/// close-on-exec. Returns the bytes, and how many of `fds` were filled.
pub fn recv_rights(fd: Fd, buf: &mut Bytes, fds: &mut [Fd; FDS_MAX]) -> Result<(usize, usize)> {
    let mut control = Rights([0; RIGHTS]);
    let mut iov = libc::iovec {
        iov_base: buf.as_mut_ptr().cast(),
        iov_len: buf.len(),
    };
    // SAFETY: an all-zero msghdr is an empty one.
    let mut message: msghdr = unsafe { zeroed() };
    message.msg_iov = &mut iov;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = RIGHTS as _;
    // SAFETY: all that the message points to is writable over the call.
    let n = unsafe { libc::recvmsg(fd, &mut message, libc::MSG_CMSG_CLOEXEC) };
    let n = check_len(n, Sys::Recvmsg)?;
    let mut count = 0;
    // SAFETY: the kernel wrote msg_controllen bytes of whole headers.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(&message) };
    while !header.is_null() {
        // SAFETY: a header that FIRSTHDR or NXTHDR gave lies in `control`.
        let head = unsafe { header.read() };
        if head.cmsg_level == libc::SOL_SOCKET && head.cmsg_type == libc::SCM_RIGHTS {
            // SAFETY: the data lies behind its header.
            let data = unsafe { libc::CMSG_DATA(header) };
            // SAFETY: CMSG_LEN computes with its argument.
            let before = unsafe { libc::CMSG_LEN(0) } as usize;
            let here = (head.cmsg_len as usize).saturating_sub(before) / size_of::<Fd>();
            let here = here.min(FDS_MAX - count);
            if let Some(room) = fds.get_mut(count..count + here) {
                let bytes = size_of_val(room);
                // SAFETY: `here` descriptors lie at `data`, and `room` holds
                // as many.
                unsafe { ptr::copy_nonoverlapping(data, room.as_mut_ptr().cast(), bytes) };
                count += here;
            }
        } else if head.cmsg_level == libc::SOL_SOCKET && head.cmsg_type == SCM_PIDFD {
            // SAFETY: the data lies behind its header.
            let data = unsafe { libc::CMSG_DATA(header) };
            // SAFETY: the kernel put one descriptor, or an error, there.
            let pidfd = unsafe { data.cast::<Fd>().read_unaligned() };
            if pidfd >= 0 {
                let _ = super::close(pidfd);
            }
        }
        // SAFETY: the message and the header are those of above.
        header = unsafe { libc::CMSG_NXTHDR(&message, header) };
    }
    Ok((n, count))
}
