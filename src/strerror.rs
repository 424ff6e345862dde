//! What each code means, in Go's words: the kernel's errors as Go's tables
//! have them, and this library's own.

use core::ffi::CStr;
use libc::c_int;

/// The text of a code. What is not negative is success.
pub fn text(code: c_int) -> &'static CStr {
    match code {
        0.. => c"success",
        -10001 => c"i/o timeout",
        -10002 => c"use of closed network connection",
        -10003 => c"operation was canceled",
        -10004 => c"unknown network",
        -10005 => c"invalid address",
        -10006 => c"no such host",
        -10007 => c"name lookup failed",
        -10008 => c"internal error (a bug in netfd)",
        _ => of_errno(code.saturating_neg()),
    }
}

#[rustfmt::skip]
fn of_errno(errno: c_int) -> &'static CStr {
    match errno {
        libc::EPERM => c"operation not permitted",
        libc::ENOENT => c"no such file or directory",
        libc::ESRCH => c"no such process",
        libc::EINTR => c"interrupted system call",
        libc::EIO => c"input/output error",
        libc::ENXIO => c"no such device or address",
        libc::E2BIG => c"argument list too long",
        libc::ENOEXEC => c"exec format error",
        libc::EBADF => c"bad file descriptor",
        libc::ECHILD => c"no child processes",
        libc::EAGAIN => c"resource temporarily unavailable",
        libc::ENOMEM => c"cannot allocate memory",
        libc::EACCES => c"permission denied",
        libc::EFAULT => c"bad address",
        libc::ENOTBLK => c"block device required",
        libc::EBUSY => c"device or resource busy",
        libc::EEXIST => c"file exists",
        libc::EXDEV => c"invalid cross-device link",
        libc::ENODEV => c"no such device",
        libc::ENOTDIR => c"not a directory",
        libc::EISDIR => c"is a directory",
        libc::EINVAL => c"invalid argument",
        libc::ENFILE => c"too many open files in system",
        libc::EMFILE => c"too many open files",
        libc::ENOTTY => c"inappropriate ioctl for device",
        libc::ETXTBSY => c"text file busy",
        libc::EFBIG => c"file too large",
        libc::ENOSPC => c"no space left on device",
        libc::ESPIPE => c"illegal seek",
        libc::EROFS => c"read-only file system",
        libc::EMLINK => c"too many links",
        libc::EPIPE => c"broken pipe",
        libc::EDOM => c"numerical argument out of domain",
        libc::ERANGE => c"numerical result out of range",
        libc::EDEADLK => c"resource deadlock avoided",
        libc::ENAMETOOLONG => c"file name too long",
        libc::ENOLCK => c"no locks available",
        libc::ENOSYS => c"function not implemented",
        libc::ENOTEMPTY => c"directory not empty",
        libc::ELOOP => c"too many levels of symbolic links",
        libc::ENOMSG => c"no message of desired type",
        libc::EIDRM => c"identifier removed",
        libc::ECHRNG => c"channel number out of range",
        libc::EL2NSYNC => c"level 2 not synchronized",
        libc::EL3HLT => c"level 3 halted",
        libc::EL3RST => c"level 3 reset",
        libc::ELNRNG => c"link number out of range",
        libc::EUNATCH => c"protocol driver not attached",
        libc::ENOCSI => c"no CSI structure available",
        libc::EL2HLT => c"level 2 halted",
        libc::EBADE => c"invalid exchange",
        libc::EBADR => c"invalid request descriptor",
        libc::EXFULL => c"exchange full",
        libc::ENOANO => c"no anode",
        libc::EBADRQC => c"invalid request code",
        libc::EBADSLT => c"invalid slot",
        libc::EBFONT => c"bad font file format",
        libc::ENOSTR => c"device not a stream",
        libc::ENODATA => c"no data available",
        libc::ETIME => c"timer expired",
        libc::ENOSR => c"out of streams resources",
        libc::ENONET => c"machine is not on the network",
        libc::ENOPKG => c"package not installed",
        libc::EREMOTE => c"object is remote",
        libc::ENOLINK => c"link has been severed",
        libc::EADV => c"advertise error",
        libc::ESRMNT => c"srmount error",
        libc::ECOMM => c"communication error on send",
        libc::EPROTO => c"protocol error",
        libc::EMULTIHOP => c"multihop attempted",
        libc::EDOTDOT => c"RFS specific error",
        libc::EBADMSG => c"bad message",
        libc::EOVERFLOW => c"value too large for defined data type",
        libc::ENOTUNIQ => c"name not unique on network",
        libc::EBADFD => c"file descriptor in bad state",
        libc::EREMCHG => c"remote address changed",
        libc::ELIBACC => c"can not access a needed shared library",
        libc::ELIBBAD => c"accessing a corrupted shared library",
        libc::ELIBSCN => c".lib section in a.out corrupted",
        libc::ELIBMAX => c"attempting to link in too many shared libraries",
        libc::ELIBEXEC => c"cannot exec a shared library directly",
        libc::EILSEQ => c"invalid or incomplete multibyte or wide character",
        libc::ERESTART => c"interrupted system call should be restarted",
        libc::ESTRPIPE => c"streams pipe error",
        libc::EUSERS => c"too many users",
        libc::ENOTSOCK => c"socket operation on non-socket",
        libc::EDESTADDRREQ => c"destination address required",
        libc::EMSGSIZE => c"message too long",
        libc::EPROTOTYPE => c"protocol wrong type for socket",
        libc::ENOPROTOOPT => c"protocol not available",
        libc::EPROTONOSUPPORT => c"protocol not supported",
        libc::ESOCKTNOSUPPORT => c"socket type not supported",
        libc::EOPNOTSUPP => c"operation not supported",
        libc::EPFNOSUPPORT => c"protocol family not supported",
        libc::EAFNOSUPPORT => c"address family not supported by protocol",
        libc::EADDRINUSE => c"address already in use",
        libc::EADDRNOTAVAIL => c"cannot assign requested address",
        libc::ENETDOWN => c"network is down",
        libc::ENETUNREACH => c"network is unreachable",
        libc::ENETRESET => c"network dropped connection on reset",
        libc::ECONNABORTED => c"software caused connection abort",
        libc::ECONNRESET => c"connection reset by peer",
        libc::ENOBUFS => c"no buffer space available",
        libc::EISCONN => c"transport endpoint is already connected",
        libc::ENOTCONN => c"transport endpoint is not connected",
        libc::ESHUTDOWN => c"cannot send after transport endpoint shutdown",
        libc::ETOOMANYREFS => c"too many references: cannot splice",
        libc::ETIMEDOUT => c"connection timed out",
        libc::ECONNREFUSED => c"connection refused",
        libc::EHOSTDOWN => c"host is down",
        libc::EHOSTUNREACH => c"no route to host",
        libc::EALREADY => c"operation already in progress",
        libc::EINPROGRESS => c"operation now in progress",
        libc::ESTALE => c"stale file handle",
        libc::EUCLEAN => c"structure needs cleaning",
        libc::ENOTNAM => c"not a XENIX named type file",
        libc::ENAVAIL => c"no XENIX semaphores available",
        libc::EISNAM => c"is a named type file",
        libc::EREMOTEIO => c"remote I/O error",
        libc::EDQUOT => c"disk quota exceeded",
        libc::ENOMEDIUM => c"no medium found",
        libc::EMEDIUMTYPE => c"wrong medium type",
        libc::ECANCELED => c"operation canceled",
        libc::ENOKEY => c"required key not available",
        libc::EKEYEXPIRED => c"key has expired",
        libc::EKEYREVOKED => c"key has been revoked",
        libc::EKEYREJECTED => c"key was rejected by service",
        libc::EOWNERDEAD => c"owner died",
        libc::ENOTRECOVERABLE => c"state not recoverable",
        libc::ERFKILL => c"operation not possible due to RF-kill",
        libc::EHWPOISON => c"memory page has hardware error",
        _ => c"unknown error",
    }
}

#[cfg(test)]
mod tests {
    use super::text;
    use core::ffi::CStr;

    #[test]
    fn every_errno_has_the_systems_text_in_lower_case() {
        for errno in 1..=133 {
            // SAFETY: strerror takes any number.
            let theirs = unsafe { libc::strerror(errno) };
            // SAFETY: its text lives until the next call; this is the only
            // thread here that calls it.
            let theirs = unsafe { CStr::from_ptr(theirs) }.to_string_lossy();
            if !theirs.starts_with("Unknown error") {
                let ours = text(-errno).to_string_lossy();
                assert_eq!(ours.to_lowercase(), theirs.to_lowercase(), "{errno}");
            }
        }
    }

    #[test]
    fn codes_that_nobody_uses_are_unknown() {
        for code in [-9999, -10000, -10009, i32::MIN] {
            assert_eq!(text(code), c"unknown error");
        }
    }
}
