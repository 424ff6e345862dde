//! The one kind of error inside: a number, and the call that failed.
//!
//! It becomes the number that C sees in `ffi::boundary` and nowhere else.

use libc::c_int;

/// What every fallible function of this crate returns.
pub type Result<T> = core::result::Result<T, Error>;

/// A failure: `-errno` where the kernel said it, a code from -10001 down where
/// this library did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(align(8))] // one register
pub struct Error {
    code: c_int,
    call: Sys,
    recorded: bool,
}

macro_rules! calls {
    ($($call:ident $text:literal)*) => {
        /// The calls that can fail, by a number: an `Error` of eight bytes
        /// goes through registers.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        #[allow(missing_docs, reason = "the names are those of the man pages")]
        pub enum Sys { None, $($call,)* }

        impl Sys {
            /// The call's name, as Go has it in error texts; "" for none.
            pub const fn name(self) -> &'static str {
                match self { Self::None => "", $(Self::$call => $text,)* }
            }
        }
    };
}

calls! {
    Accept4 "accept4"
    Bind "bind"
    Close "close"
    Connect "connect"
    EpollCreate1 "epoll_create1"
    EpollCtl "epoll_ctl"
    EpollWait "epoll_wait"
    Eventfd2 "eventfd2"
    Fcntl "fcntl"
    Fstat "fstat"
    Futex "futex"
    GetAddrInfo "getaddrinfo"
    GetPeerName "getpeername"
    GetSockName "getsockname"
    GetSockOpt "getsockopt"
    IoUringEnter "io_uring_enter"
    IoUringSetup "io_uring_setup"
    Listen "listen"
    Lstat "lstat"
    Lseek "lseek"
    Malloc "malloc"
    Mmap "mmap"
    Mprotect "mprotect"
    Pipe2 "pipe2"
    Ppoll "ppoll"
    PthreadCreate "pthread_create"
    Read "read"
    Readv "readv"
    Recv "recv"
    Recvfrom "recvfrom"
    Recvmmsg "recvmmsg"
    Recvmsg "recvmsg"
    Send "send"
    Sendmmsg "sendmmsg"
    Sendfile "sendfile"
    Sendmsg "sendmsg"
    Sendto "sendto"
    SetSockOpt "setsockopt"
    Shutdown "shutdown"
    Socket "socket"
    Splice "splice"
    Unlink "unlink"
    Write "write"
    Writev "writev"
}

/// The deadline has passed.
pub const DEADLINE: Error = Error::ours(-10001);
/// The descriptor was destroyed, or handed back by detach, meanwhile or before.
pub const CLOSED: Error = Error::ours(-10002);
/// The cancel token has fired.
pub const CANCELED: Error = Error::ours(-10003);
/// The network's name is unknown.
pub const NETWORK: Error = Error::ours(-10004);
/// The address text does not parse.
pub const ADDRESS: Error = Error::ours(-10005);
/// The host name does not exist.
pub const NOHOST: Error = Error::ours(-10006);
/// The host name could not be looked up.
pub const DNS: Error = Error::ours(-10007);
/// A bug in this library.
pub const PANIC: Error = Error::ours(-10008);

/// Not a descriptor that the library holds.
pub const BADF: Error = Error::argument(libc::EBADF);
/// A pointer that may not be NULL is.
pub const FAULT: Error = Error::argument(libc::EFAULT);
/// An argument out of its range.
pub const INVAL: Error = Error::argument(libc::EINVAL);

impl Error {
    const fn ours(code: c_int) -> Self {
        Self {
            code,
            call: Sys::None,
            recorded: false,
        }
    }

    /// An errno value that this library found by itself, no system call being
    /// to blame.
    pub const fn argument(errno: c_int) -> Self {
        Self::ours(-errno)
    }

    /// A code that a caller's own function gave, which is negative.
    pub const fn given(code: c_int) -> Self {
        Self::ours(code)
    }

    /// What the system call named `call` said.
    pub const fn os(errno: c_int, call: Sys) -> Self {
        Self {
            code: -errno,
            call,
            recorded: false,
        }
    }

    /// The same failure, blamed on another name: Go's for the call.
    #[must_use]
    pub const fn named(self, call: Sys) -> Self {
        Self { call, ..self }
    }

    /// The same failure, now that its circumstances are in the thread's
    /// failure record.
    #[must_use]
    pub const fn recorded(self) -> Self {
        Self {
            recorded: true,
            ..self
        }
    }

    /// Whether the circumstances have been recorded.
    pub const fn is_recorded(self) -> bool {
        self.recorded
    }

    /// The number that C sees.
    pub const fn code(self) -> c_int {
        self.code
    }

    /// The call that failed.
    pub const fn call(self) -> Sys {
        self.call
    }

    /// Whether this is the errno value `errno`.
    pub const fn is(self, errno: c_int) -> bool {
        self.code == -errno
    }

    /// Whether this is the same failure as `other`, wherever it came from.
    pub const fn same(self, other: Self) -> bool {
        self.code == other.code
    }
}
