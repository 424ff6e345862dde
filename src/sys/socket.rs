//! The socket calls, and the forms in which addresses reach them. Those with
//! message headers are in `message`.

use crate::error::{BADF, FAULT, INVAL, Result, Sys};
use crate::sys::uring::{Operation, answered};
use crate::sys::{Fd, check, check_len};
use core::cell::UnsafeCell;
use core::mem::{MaybeUninit, zeroed};
use core::ptr;
use core::slice;
use libc::{c_int, sockaddr, sockaddr_storage, socklen_t};

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

/// Where an accept that a ring makes puts the peer's address.
#[derive(Debug)]
pub struct Incoming(UnsafeCell<Sockaddr>);

impl Default for Incoming {
    fn default() -> Self {
        let mut room = Sockaddr::none();
        room.len = len_of::<sockaddr_storage>();
        Self(UnsafeCell::new(room))
    }
}

impl Incoming {
    /// The accept4(2), to be made while this stays where it is.
    pub fn operation(&self) -> Operation {
        let room = self.0.get();
        Operation::Accept {
            // SAFETY: it lies inside of what the cell has.
            peer: unsafe { &raw mut (*room).storage }.cast(),
            // SAFETY: likewise.
            len: unsafe { &raw mut (*room).len },
        }
    }

    /// What it brought, by the ring's answer: as `accept4`.
    pub fn accepted(&self, answer: c_int) -> Result<(Fd, Sockaddr)> {
        answered(answer, Sys::Accept4)?;
        // SAFETY: the ring has answered, and nobody else writes to it.
        Ok((answer, unsafe { self.0.get().read() }))
    }
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

/// Whether a TCP connection is no more, in either direction.
pub fn is_dead_tcp(fd: Fd) -> bool {
    const CLOSE: u8 = 7; // TCP_CLOSE of netinet/tcp.h
    let mut state = 0u8; // struct tcp_info begins with it
    let mut len = len_of::<u8>();
    // SAFETY: `state` is writable for the `len` bytes it has.
    let got = unsafe {
        libc::getsockopt(
            fd,
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut state).cast(),
            &mut len,
        )
    };
    got == 0 && state == CLOSE
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

/// Whether close(2) of the socket may take its time: SO_LINGER.
pub fn lingers(fd: Fd) -> bool {
    let mut linger = libc::linger {
        l_onoff: 0,
        l_linger: 0,
    };
    let mut len = len_of::<libc::linger>();
    // SAFETY: `linger` is writable for the `len` bytes it has.
    let got = unsafe {
        libc::getsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw mut linger).cast(),
            &mut len,
        )
    };
    got == 0 && linger.l_onoff != 0 && linger.l_linger > 0
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
