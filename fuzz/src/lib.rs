//! What the targets share: the C symbols, a network that nobody else is in, and
//! what must be true after each input.

use libc::{
    c_char, c_int, c_void, iovec, mmsghdr, msghdr, sockaddr, sockaddr_storage, socklen_t, ssize_t,
};
use netfd as _; // or the linker finds nothing to link
use std::fs;
use std::os::fd::RawFd;

pub const EDEADLINE: c_int = -10001;
pub const ECLOSED: c_int = -10002;
pub const ECANCELED: c_int = -10003;
pub const ENETWORK: c_int = -10004;
pub const EADDRESS: c_int = -10005;
const EDNS: c_int = -10007;

/// `struct netfd_cancel`, which is opaque.
#[repr(C)]
pub struct netfd_cancel {
    _opaque: [u8; 0],
}

/// `struct netfd_group`, which is opaque.
#[repr(C)]
pub struct netfd_group {
    _opaque: [u8; 0],
}

unsafe extern "C" {
    pub fn netfd_error_text(buf: *mut c_char, cap: usize) -> c_int;
    pub fn netfd_sys_socket(family: c_int, sotype: c_int, proto: c_int) -> c_int;
    pub fn netfd_attach(fd: c_int) -> c_int;
    pub fn netfd_detach(fd: c_int) -> c_int;
    pub fn netfd_destroy(fd: c_int) -> c_int;
    pub fn netfd_shutdown(fd: c_int, how: c_int) -> c_int;
    pub fn netfd_listen_stream(
        fd: c_int,
        laddr: *const sockaddr,
        laddrlen: socklen_t,
        backlog: c_int,
    ) -> c_int;
    pub fn netfd_accept(fd: c_int, raddr: *mut sockaddr, raddrlen: *mut socklen_t) -> c_int;
    pub fn netfd_connect(
        fd: c_int,
        laddr: *const sockaddr,
        laddrlen: socklen_t,
        raddr: *const sockaddr,
        raddrlen: socklen_t,
        deadline: i64,
        cancel: *mut netfd_cancel,
    ) -> c_int;
    pub fn netfd_read(fd: c_int, buf: *mut c_void, len: usize) -> ssize_t;
    pub fn netfd_write(fd: c_int, buf: *const c_void, len: usize) -> ssize_t;
    pub fn netfd_readv(fd: c_int, iov: *const iovec, iovcnt: c_int) -> ssize_t;
    pub fn netfd_writev(fd: c_int, iov: *const iovec, iovcnt: c_int) -> ssize_t;
    pub fn netfd_wait(fd: c_int, events: c_int, deadline: i64) -> c_int;
    pub fn netfd_recvfrom(
        fd: c_int,
        buf: *mut c_void,
        len: usize,
        flags: c_int,
        from: *mut sockaddr,
        fromlen: *mut socklen_t,
    ) -> ssize_t;
    pub fn netfd_sendto(
        fd: c_int,
        buf: *const c_void,
        len: usize,
        flags: c_int,
        to: *const sockaddr,
        tolen: socklen_t,
    ) -> ssize_t;
    pub fn netfd_recvmsg(fd: c_int, msg: *mut msghdr, flags: c_int) -> ssize_t;
    pub fn netfd_sendmsg(fd: c_int, msg: *const msghdr, flags: c_int) -> ssize_t;
    pub fn netfd_recvmmsg(fd: c_int, msgs: *mut mmsghdr, n: u32, flags: c_int) -> c_int;
    pub fn netfd_sendmmsg(fd: c_int, msgs: *mut mmsghdr, n: u32, flags: c_int) -> c_int;
    pub fn netfd_send_fds(
        fd: c_int,
        fds: *const c_int,
        nfds: usize,
        buf: *const c_void,
        len: usize,
    ) -> ssize_t;
    pub fn netfd_recv_fds(
        fd: c_int,
        fds: *mut c_int,
        cap: usize,
        nfds: *mut usize,
        buf: *mut c_void,
        len: usize,
    ) -> ssize_t;
    pub fn netfd_peer_cred(fd: c_int, pid: *mut i32, uid: *mut u32, gid: *mut u32) -> c_int;
    pub fn netfd_sendfile(fd: c_int, file_fd: c_int, offset: i64, count: i64) -> i64;
    pub fn netfd_copy(dst: c_int, src: c_int, max: i64) -> i64;
    pub fn netfd_now() -> i64;
    pub fn netfd_after(ns: i64) -> i64;
    pub fn netfd_set_deadline(fd: c_int, t: i64) -> c_int;
    pub fn netfd_set_read_deadline(fd: c_int, t: i64) -> c_int;
    pub fn netfd_set_write_deadline(fd: c_int, t: i64) -> c_int;
    pub fn netfd_cancel_new() -> *mut netfd_cancel;
    pub fn netfd_cancel_fire(c: *mut netfd_cancel);
    pub fn netfd_cancel_fired(c: *const netfd_cancel) -> c_int;
    pub fn netfd_cancel_free(c: *mut netfd_cancel);
    pub fn netfd_set_cancel(fd: c_int, c: *mut netfd_cancel) -> c_int;
    pub fn netfd_local_addr(fd: c_int, sa: *mut sockaddr, len: *mut socklen_t) -> c_int;
    pub fn netfd_remote_addr(fd: c_int, sa: *mut sockaddr, len: *mut socklen_t) -> c_int;
    pub fn netfd_addr_format(
        sa: *const sockaddr,
        len: socklen_t,
        buf: *mut c_char,
        cap: usize,
    ) -> c_int;
    pub fn netfd_addr_parse(
        network: *const c_char,
        address: *const c_char,
        sa: *mut sockaddr_storage,
        len: *mut socklen_t,
    ) -> c_int;
    pub fn netfd_go(f: extern "C" fn(*mut c_void), arg: *mut c_void) -> c_int;
    pub fn netfd_group_new() -> *mut netfd_group;
    pub fn netfd_group_add(g: *mut netfd_group, n: c_int) -> c_int;
    pub fn netfd_group_done(g: *mut netfd_group) -> c_int;
    pub fn netfd_group_wait(g: *mut netfd_group, deadline: i64, cancel: *mut netfd_cancel)
    -> c_int;
    pub fn netfd_group_free(g: *mut netfd_group);
    pub fn netfd_dump(out_fd: c_int) -> c_int;
}

/// The point in time `us` microseconds ahead.
pub fn soon(us: i64) -> i64 {
    // SAFETY: no pointers.
    unsafe { netfd_after(us * 1000) }
}

/// A result that the header allows: no count is over `most`, no error is
/// another than an errno or a code of a call that may fail so; never
/// NETFD_EPANIC.
#[track_caller]
pub fn documented(result: i64, most: i64) {
    let errno = (-133..0).contains(&result);
    let ours = (i64::from(EDNS)..=i64::from(EDEADLINE)).contains(&result);
    assert!(errno || ours || (0..=most).contains(&result), "{result}");
    // What comes out only where it was asked for.
    assert_ne!(result, -i64::from(libc::EINTR));
}

/// As `documented`, of a call that succeeds with 0.
#[track_caller]
pub fn done(result: c_int) {
    documented(i64::from(result), 0);
}

/// Every descriptor of the process, with what it is.
pub fn descriptors() -> Vec<(RawFd, String)> {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else {
        panic!("no /proc");
    };
    let of_entry = |entry: fs::DirEntry| {
        let fd = entry.file_name().to_str()?.parse().ok()?;
        let what = fs::read_link(entry.path()).ok()?; // not the directory itself
        Some((fd, what.to_string_lossy().into_owned()))
    };
    entries.flatten().filter_map(of_entry).collect()
}

/// What the library may keep for later: eventfds of threads and pipes of
/// copies, eight of each at most, and what the caller's thread has.
const KEPT: usize = 8 + 2 * 8 + 2;

/// How many descriptors there were that somebody has to account for.
pub struct Count {
    others: usize,
    kept: usize,
}

impl Count {
    /// Counts.
    pub fn now() -> Self {
        let all = descriptors();
        let kept = |what: &str| what == "anon_inode:[eventfd]" || what.starts_with("pipe:");
        let kept = all.iter().filter(|(_, what)| kept(what)).count();
        Self {
            others: all.len() - kept,
            kept,
        }
    }

    /// Whether all that came since has gone.
    #[track_caller]
    pub fn has_settled(&self) {
        let now = Self::now();
        let limit = self.kept + KEPT;
        if now.others != self.others || now.kept > limit {
            panic!(
                "{} descriptors were {}, eventfds and pipes {} were {}: {:?}",
                now.others,
                self.others,
                now.kept,
                self.kept,
                descriptors()
            );
        }
    }
}

/// Numbers and bytes from an input. Where it is at its end: zeros.
pub struct Bytes<'a>(pub &'a [u8]);

impl<'a> Bytes<'a> {
    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    /// The next two, as a number.
    pub fn short(&mut self) -> usize {
        usize::from(self.byte()) << 8 | usize::from(self.byte())
    }

    /// The next four, as an int.
    pub fn int(&mut self) -> c_int {
        c_int::from_ne_bytes([(); 4].map(|()| self.byte()))
    }

    /// The next `len`, or what there is.
    pub fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Bytes in a box of their own, so that a step beyond is seen.
pub fn boxed(bytes: &[u8]) -> Box<[u8]> {
    bytes.into()
}

/// Puts the process into a network of its own, where there is nothing but its
/// loopback, and into a folder of its own. An input must not reach anybody.
pub fn alone() {
    // SAFETY: no pointers.
    let apart = unsafe { libc::unshare(libc::CLONE_NEWNET) } == 0
        // SAFETY: as above.
        || unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET) } == 0;
    if !apart {
        // Without one an input could reach others.
        println!("skipped: no network namespace of one's own here");
        std::process::exit(0);
    }
    loopback_up();
    let folder = std::env::temp_dir().join(format!("netfd-fuzz-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder can be made");
    std::env::set_current_dir(&folder).expect("and be gone to");
}

/// Brings the loopback interface up.
fn loopback_up() {
    // SAFETY: no pointers.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    // SAFETY: an all-zero request is one to be filled in.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as c_char;
    request.ifr_name[1] = b'o' as c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
    // SAFETY: the request is there.
    let up = unsafe { libc::ioctl(fd, libc::SIOCSIFFLAGS, &request) };
    assert_eq!(up, 0, "lo can be brought up");
    // SAFETY: it is ours.
    unsafe { libc::close(fd) };
}

/// Keeps a unix path in the process's folder: no slash leads out of it.
pub fn tame(address: &mut [u8]) {
    let family = address
        .first_chunk()
        .map(|bytes| u16::from_ne_bytes(*bytes));
    if family == Some(libc::AF_UNIX as u16) && address.get(2) != Some(&0) {
        for byte in address.iter_mut().skip(2).filter(|byte| **byte == b'/') {
            *byte = b'_';
        }
        // A lone dot, or two, are folders, which is harmless.
    }
}

/// Removes the socket files that an input has left.
pub fn tidy() {
    let Ok(entries) = fs::read_dir(".") else {
        return;
    };
    for entry in entries.flatten() {
        let _ = fs::remove_file(entry.path());
    }
}
