//! The socket calls, and the forms in which addresses and buffers reach them.

use crate::error::{BADF, FAULT, INVAL, Result, Sys};
use crate::sys::{Fd, check, check_len};
use core::mem::{MaybeUninit, zeroed};
use core::ptr;
use core::slice;
use libc::{c_int, c_uchar, msghdr, sockaddr, sockaddr_storage, socklen_t};

/// Bytes of a caller. C does not say whether they were ever written.
pub type Bytes = [MaybeUninit<u8>];

/// The room for an address: what the kernel calls `sockaddr_storage`.
pub const ADDRESS_ROOM: usize = size_of::<sockaddr_storage>();

/// A socket address as the kernel wrote it or takes it. Length 0 is none.
#[derive(Clone, Copy)]
pub struct Sockaddr {
    storage: sockaddr_storage,
    len: socklen_t,
}

/// The size of a type in the form in which the kernel takes it.
#[allow(
    clippy::cast_possible_truncation,
    reason = "no type here is that large"
)]
pub const fn len_of<T>() -> socklen_t {
    size_of::<T>() as socklen_t
}

impl Sockaddr {
    /// No address.
    pub fn none() -> Self {
        Self {
            // SAFETY: every field of sockaddr_storage is an integer.
            storage: unsafe { zeroed() },
            len: 0,
        }
    }

    /// A copy of a caller's address.
    ///
    /// # Safety
    ///
    /// `from` is NULL or readable for `len` bytes.
    pub unsafe fn copy_from(from: *const sockaddr, len: socklen_t) -> Result<Self> {
        if from.is_null() {
            return Err(FAULT);
        }
        let bytes = len as usize;
        if !(size_of::<libc::sa_family_t>()..=ADDRESS_ROOM).contains(&bytes) {
            return Err(INVAL);
        }
        let mut this = Self::none();
        // SAFETY: `bytes` are readable at `from` and fit the storage, which is
        // a new object.
        unsafe { ptr::copy_nonoverlapping(from.cast::<u8>(), this.start(), bytes) };
        this.len = len;
        Ok(this)
    }

    /// An address made of its bytes, cut to what an address can hold.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut this = Self::none();
        let len = bytes.len().min(ADDRESS_ROOM);
        // SAFETY: `len` bytes are readable there and fit the storage.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), this.start(), len) };
        this.len = socklen_t::try_from(len).unwrap_or(0);
        this
    }

    /// The bytes of the address.
    pub fn bytes(&self) -> &[u8] {
        let start = (&raw const self.storage).cast::<u8>();
        // SAFETY: all of the storage is initialized, and len() stays inside.
        unsafe { slice::from_raw_parts(start, self.len()) }
    }

    /// The address in the room that C has for it; what lies behind it is zero.
    pub fn storage(&self) -> sockaddr_storage {
        self.storage
    }

    /// Its length in bytes; 0 is no address.
    #[allow(clippy::len_without_is_empty, reason = "it is a length in C's sense")]
    pub fn len(&self) -> usize {
        (self.len as usize).min(ADDRESS_ROOM)
    }

    /// The address family.
    pub fn family(&self) -> c_int {
        c_int::from(self.storage.ss_family)
    }

    fn start(&mut self) -> *mut u8 {
        (&raw mut self.storage).cast()
    }

    fn as_ptr(&self) -> *const sockaddr {
        (&raw const self.storage).cast()
    }

    /// Runs a call that fills in an address.
    fn filled(call: impl FnOnce(*mut sockaddr, *mut socklen_t) -> Result<c_int>) -> Result<Self> {
        let (_, address) = Self::filled_with(call)?;
        Ok(address)
    }

    fn filled_with<T>(
        call: impl FnOnce(*mut sockaddr, *mut socklen_t) -> Result<T>,
    ) -> Result<(T, Self)> {
        let mut this = Self::none();
        let mut len = len_of::<sockaddr_storage>();
        let result = call(this.start().cast(), &mut len)?;
        this.len = len;
        Ok((result, this))
    }
}

impl core::fmt::Debug for Sockaddr {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_list().entries(self.bytes()).finish()
    }
}

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
}

/// socket(2), born non-blocking and close-on-exec.
pub fn socket(family: c_int, sotype: c_int, proto: c_int) -> Result<Fd> {
    let sotype = sotype | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: socket takes no pointer.
    check(unsafe { libc::socket(family, sotype, proto) }, Sys::Socket)
}

/// bind(2).
pub fn bind(fd: Fd, to: &Sockaddr) -> Result<()> {
    // SAFETY: the address is readable for its length.
    let bound = unsafe { libc::bind(fd, to.as_ptr(), to.len) };
    check(bound, Sys::Bind).map(drop)
}

/// listen(2).
pub fn listen(fd: Fd, backlog: c_int) -> Result<()> {
    // SAFETY: listen takes no pointer.
    check(unsafe { libc::listen(fd, backlog) }, Sys::Listen).map(drop)
}

/// accept4(2), the new one non-blocking and close-on-exec; with the peer.
pub fn accept4(fd: Fd) -> Result<(Fd, Sockaddr)> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    Sockaddr::filled_with(|address, len| {
        // SAFETY: `address` is writable for `*len` bytes.
        check(
            unsafe { libc::accept4(fd, address, len, flags) },
            Sys::Accept4,
        )
    })
}

/// connect(2).
pub fn connect(fd: Fd, to: &Sockaddr) -> Result<()> {
    // SAFETY: the address is readable for its length.
    let connected = unsafe { libc::connect(fd, to.as_ptr(), to.len) };
    check(connected, Sys::Connect).map(drop)
}

/// connect(2) to `AF_UNSPEC`: ends an attempt or an association.
pub fn disconnect(fd: Fd) -> Result<()> {
    let mut nowhere = Sockaddr::none();
    nowhere.len = len_of::<sockaddr>();
    connect(fd, &nowhere)
}

/// getsockname(2).
pub fn getsockname(fd: Fd) -> Result<Sockaddr> {
    Sockaddr::filled(|address, len| {
        // SAFETY: `address` is writable for `*len` bytes.
        check(
            unsafe { libc::getsockname(fd, address, len) },
            Sys::GetSockName,
        )
    })
}

/// getpeername(2).
pub fn getpeername(fd: Fd) -> Result<Sockaddr> {
    Sockaddr::filled(|address, len| {
        // SAFETY: `address` is writable for `*len` bytes.
        check(
            unsafe { libc::getpeername(fd, address, len) },
            Sys::GetPeerName,
        )
    })
}

/// getsockopt(2) at `SOL_SOCKET` of an option that is an int.
pub fn socket_option(fd: Fd, option: c_int) -> Result<c_int> {
    let mut value: c_int = 0;
    let mut len = len_of::<c_int>();
    // SAFETY: `value` is writable for the `len` bytes it has.
    let got = unsafe {
        libc::getsockopt(
            fd,
            libc::SOL_SOCKET,
            option,
            (&raw mut value).cast(),
            &mut len,
        )
    };
    check(got, Sys::GetSockOpt).map(|_| value)
}

/// The credentials of a unix socket's peer.
pub fn peer_credentials(fd: Fd) -> Result<libc::ucred> {
    // SAFETY: ucred is three integers.
    let mut who: libc::ucred = unsafe { zeroed() };
    let mut len = len_of::<libc::ucred>();
    // SAFETY: `who` is writable for the `len` bytes it has.
    let got = unsafe {
        libc::getsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut who).cast(),
            &mut len,
        )
    };
    check(got, Sys::GetSockOpt).map(|_| who)
}

/// shutdown(2).
pub fn shutdown(fd: Fd, how: c_int) -> Result<()> {
    // SAFETY: shutdown takes no pointer.
    check(unsafe { libc::shutdown(fd, how) }, Sys::Shutdown).map(drop)
}

/// recv(2).
pub fn recv(fd: Fd, buf: &mut Bytes, flags: c_int) -> Result<usize> {
    // SAFETY: `buf` is writable for its length.
    let n = unsafe { libc::recv(fd, buf.as_mut_ptr().cast(), buf.len(), flags) };
    check_len(n, Sys::Recv)
}

/// recvfrom(2), with the sender.
pub fn recvfrom(fd: Fd, buf: &mut Bytes, flags: c_int) -> Result<(usize, Sockaddr)> {
    Sockaddr::filled_with(|address, len| {
        let data = buf.as_mut_ptr().cast();
        // SAFETY: `buf` is writable for its length, `address` for `*len`.
        let n = unsafe { libc::recvfrom(fd, data, buf.len(), flags, address, len) };
        check_len(n, Sys::Recvfrom)
    })
}

/// send(2), without SIGPIPE.
pub fn send(fd: Fd, buf: &Bytes, flags: c_int) -> Result<usize> {
    let flags = flags | libc::MSG_NOSIGNAL;
    // SAFETY: `buf` is readable for its length.
    let n = unsafe { libc::send(fd, buf.as_ptr().cast(), buf.len(), flags) };
    check_len(n, Sys::Send)
}

/// sendto(2), without SIGPIPE.
pub fn sendto(fd: Fd, buf: &Bytes, flags: c_int, to: &Sockaddr) -> Result<usize> {
    let flags = flags | libc::MSG_NOSIGNAL;
    let data = buf.as_ptr().cast();
    // SAFETY: `buf` and the address are readable for their lengths.
    let n = unsafe { libc::sendto(fd, data, buf.len(), flags, to.as_ptr(), to.len) };
    check_len(n, Sys::Sendto)
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
    const RIGHTS_DATA: u32 = 253 * 4;
    const _: () = assert!(RIGHTS_DATA as usize == FDS_MAX * size_of::<Fd>());

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

/// Checks that `fd` is an open socket: `-ENOTSOCK` or `-EBADF` where not.
/// Returns its family, type and protocol.
pub fn describe(fd: Fd) -> Result<(c_int, c_int, c_int)> {
    if fd < 0 {
        return Err(BADF);
    }
    let family = socket_option(fd, libc::SO_DOMAIN)?;
    let sotype = socket_option(fd, libc::SO_TYPE)?;
    let proto = socket_option(fd, libc::SO_PROTOCOL)?;
    Ok((family, sotype, proto))
}
