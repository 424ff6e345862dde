//! What all tests share: the C symbols, and a few ways to come by sockets.
//!
//! The tests use the library as a C program does, by its symbols. Nothing in
//! here decides what is right.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(
    clippy::cast_possible_truncation,
    reason = "sizes of C structs are small"
)]
#![allow(clippy::indexing_slicing, reason = "a test that indexes wrongly fails")]

use libc::{
    c_char, c_int, c_uint, c_void, iovec, msghdr, sockaddr, sockaddr_in, sockaddr_storage,
    sockaddr_un, socklen_t, ssize_t,
};
use netfd as _; // or the linker finds nothing to link
use std::ffi::{CStr, CString};
use std::io::{Read, Seek};
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

pub const NETFD_EDEADLINE: c_int = -10001;
pub const NETFD_ECLOSED: c_int = -10002;
pub const NETFD_ECANCELED: c_int = -10003;
pub const NETFD_ENETWORK: c_int = -10004;
pub const NETFD_EADDRESS: c_int = -10005;
pub const NETFD_ENOHOST: c_int = -10006;
pub const NETFD_EDNS: c_int = -10007;
pub const NETFD_EPANIC: c_int = -10008;
pub const NETFD_ERROR_TIMEOUT: c_uint = 1;
pub const NETFD_ERROR_CANCELED: c_uint = 2;
pub const NETFD_ERROR_CLOSED: c_uint = 4;
pub const NETFD_ERROR_TEMPORARY: c_uint = 8;
pub const NETFD_READABLE: c_int = 1;
pub const NETFD_WRITABLE: c_int = 2;
pub const NETFD_NO_DEADLINE: i64 = 0;

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

/// `struct netfd_serve_config`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct netfd_serve_config {
    pub size: usize,
    pub drain_timeout: i64,
    pub max_connections: c_int,
    pub stack_size: usize,
}

/// `struct netfd_error`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct netfd_error {
    pub size: usize,
    pub code: c_int,
    pub flags: c_uint,
    pub op: [c_char; 16],
    pub network: [c_char; 16],
    pub syscall: [c_char; 16],
    pub local: [c_char; 128],
    pub remote: [c_char; 128],
}

/// `struct netfd_stats`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct netfd_stats {
    pub size: usize,
    pub open_fds: u64,
    pub parked: u64,
    pub accepts: u64,
    pub parks: u64,
    pub wakeups: u64,
    pub fibers: u64,
    pub switches: u64,
    pub submissions: u64,
}

/// What `control` is in the two configs.
pub type Control = unsafe extern "C" fn(c_int, *const c_char, *const c_char, *mut c_void) -> c_int;

/// `struct netfd_dial_config`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct netfd_dial_config {
    pub size: usize,
    pub deadline: i64,
    pub cancel: *mut netfd_cancel,
    pub local_address: *const c_char,
    pub fallback_delay: i64,
    pub keepalive_idle: i64,
    pub keepalive_interval: i64,
    pub keepalive_count: c_int,
    pub nodelay: c_int,
    pub mptcp: c_int,
    pub control: Option<Control>,
    pub control_arg: *mut c_void,
}

/// `struct netfd_listen_config`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct netfd_listen_config {
    pub size: usize,
    pub backlog: c_int,
    pub reuse_port: c_int,
    pub v6only: c_int,
    pub keepalive_idle: i64,
    pub keepalive_interval: i64,
    pub keepalive_count: c_int,
    pub nodelay: c_int,
    pub mptcp: c_int,
    pub unlink: c_int,
    pub control: Option<Control>,
    pub control_arg: *mut c_void,
}

/// A dial config of which only the size is set.
pub fn dial_config() -> netfd_dial_config {
    // SAFETY: an all-zero config is a valid one.
    let config: netfd_dial_config = unsafe { zeroed() };
    netfd_dial_config {
        size: size_of::<netfd_dial_config>(),
        ..config
    }
}

/// A listen config of which only the size is set.
pub fn listen_config() -> netfd_listen_config {
    // SAFETY: an all-zero config is a valid one.
    let config: netfd_listen_config = unsafe { zeroed() };
    netfd_listen_config {
        size: size_of::<netfd_listen_config>(),
        ..config
    }
}

/// netfd_dial().
pub fn dial(network: &str, address: &str, config: Option<&netfd_dial_config>) -> c_int {
    let network = CString::new(network).expect("no NUL");
    let address = CString::new(address).expect("no NUL");
    let config = config.map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the strings end with a NUL, the config is NULL or one.
    unsafe { netfd_dial(network.as_ptr(), address.as_ptr(), config) }
}

/// netfd_listen().
pub fn listen(network: &str, address: &str, config: Option<&netfd_listen_config>) -> c_int {
    let network = CString::new(network).expect("no NUL");
    let address = CString::new(address).expect("no NUL");
    let config = config.map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the strings end with a NUL, the config is NULL or one.
    unsafe { netfd_listen(network.as_ptr(), address.as_ptr(), config) }
}

/// netfd_listen_packet().
pub fn listen_packet(network: &str, address: &str, config: Option<&netfd_listen_config>) -> c_int {
    let network = CString::new(network).expect("no NUL");
    let address = CString::new(address).expect("no NUL");
    let config = config.map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the strings end with a NUL, the config is NULL or one.
    unsafe { netfd_listen_packet(network.as_ptr(), address.as_ptr(), config) }
}

/// netfd_resolve(): the addresses as text, or the code.
pub fn resolve(network: &str, address: &str, deadline: i64) -> Result<Vec<String>, c_int> {
    let network = CString::new(network).expect("no NUL");
    let address = CString::new(address).expect("no NUL");
    let mut all = [Addr::room().storage; 64];
    let none = std::ptr::null_mut();
    // SAFETY: the strings end with a NUL, the room is as long as said.
    let n = unsafe {
        let (out, cap) = (all.as_mut_ptr(), all.len());
        netfd_resolve(network.as_ptr(), address.as_ptr(), out, cap, deadline, none)
    };
    let n = usize::try_from(n).map_err(|_| n)?;
    let addresses = all.iter().take(n).map(|storage| {
        let mut address = Addr::room();
        address.storage = *storage;
        address.text()
    });
    Ok(addresses.collect())
}

callers::functions! {
    pub fn netfd_version() -> *const c_char;
    pub fn netfd_strerror(code: c_int) -> *const c_char;
    pub fn netfd_last_error(out: *mut netfd_error) -> c_int;
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
    pub fn netfd_dial(
        network: *const c_char,
        address: *const c_char,
        cfg: *const netfd_dial_config,
    ) -> c_int;
    pub fn netfd_resolve(
        network: *const c_char,
        address: *const c_char,
        out: *mut sockaddr_storage,
        cap: usize,
        deadline: i64,
        cancel: *mut netfd_cancel,
    ) -> c_int;
    pub fn netfd_listen(
        network: *const c_char,
        address: *const c_char,
        cfg: *const netfd_listen_config,
    ) -> c_int;
    pub fn netfd_listen_packet(
        network: *const c_char,
        address: *const c_char,
        cfg: *const netfd_listen_config,
    ) -> c_int;
    pub fn netfd_listen_fds(name: *const c_char, fds: *mut c_int, cap: usize) -> c_int;
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
    pub fn netfd_recvmmsg(
        fd: c_int,
        msgs: *mut libc::mmsghdr,
        n: libc::c_uint,
        flags: c_int,
    ) -> c_int;
    pub fn netfd_sendmmsg(
        fd: c_int,
        msgs: *mut libc::mmsghdr,
        n: libc::c_uint,
        flags: c_int,
    ) -> c_int;
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
    pub fn netfd_peer_cred(
        fd: c_int,
        pid: *mut libc::pid_t,
        uid: *mut libc::uid_t,
        gid: *mut libc::gid_t,
    ) -> c_int;
    pub fn netfd_sendfile(fd: c_int, file_fd: c_int, offset: i64, count: i64) -> i64;
    pub fn netfd_copy(dst: c_int, src: c_int, max: i64) -> i64;
    pub fn netfd_now() -> i64;
    pub fn netfd_after(ns: i64) -> i64;
    pub fn netfd_set_deadline(fd: c_int, t: i64) -> c_int;
    pub fn netfd_set_read_deadline(fd: c_int, t: i64) -> c_int;
    pub fn netfd_set_write_deadline(fd: c_int, t: i64) -> c_int;
    pub fn netfd_set_interruptible(on: c_int) -> c_int;
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
    pub fn netfd_go(body: Option<unsafe extern "C" fn(*mut c_void)>, arg: *mut c_void) -> c_int;
    pub fn netfd_serve(
        listener: c_int,
        handler: Option<unsafe extern "C" fn(c_int, *mut c_void)>,
        arg: *mut c_void,
        cfg: *const netfd_serve_config,
    ) -> c_int;
    pub fn netfd_sleep(ns: i64) -> c_int;
    pub fn netfd_yield();
    pub fn netfd_in_fiber() -> c_int;
    pub fn netfd_block(body: Option<unsafe extern "C" fn(*mut c_void)>, arg: *mut c_void) -> c_int;
    pub fn netfd_group_new() -> *mut netfd_group;
    pub fn netfd_group_add(g: *mut netfd_group, n: c_int) -> c_int;
    pub fn netfd_group_done(g: *mut netfd_group) -> c_int;
    pub fn netfd_group_wait(g: *mut netfd_group, deadline: i64, cancel: *mut netfd_cancel)
    -> c_int;
    pub fn netfd_group_free(g: *mut netfd_group);
    pub fn netfd_stats(out: *mut netfd_stats) -> c_int;
    pub fn netfd_dump(out_fd: c_int) -> c_int;
}

/// Nanoseconds in a millisecond.
pub const MS: i64 = 1_000_000;
/// Nanoseconds in a second.
pub const SECOND: i64 = 1_000_000_000;
/// How long anything may take before a test counts as hung.
pub const GUARD: Duration = Duration::from_secs(10);

/// A socket address and its length, as C passes them.
#[derive(Clone, Copy)]
pub struct Addr {
    pub storage: sockaddr_storage,
    pub len: socklen_t,
}

impl Addr {
    /// Room for an address.
    pub fn room() -> Self {
        Self {
            // SAFETY: an all-zero sockaddr_storage is a valid one.
            storage: unsafe { zeroed() },
            len: size_of::<sockaddr_storage>() as socklen_t,
        }
    }

    /// The address that netfd_addr_parse() reads.
    pub fn parse(network: &str, text: &str) -> Self {
        let mut this = Self::room();
        let network = CString::new(network).expect("no NUL");
        let text = CString::new(text).expect("no NUL");
        // SAFETY: the strings end with a NUL, the room is as long as said.
        let code = unsafe {
            netfd_addr_parse(
                network.as_ptr(),
                text.as_ptr(),
                &mut this.storage,
                &mut this.len,
            )
        };
        assert_eq!(code, 0, "{text:?} parses");
        this
    }

    pub fn ptr(&self) -> *const sockaddr {
        (&raw const self.storage).cast()
    }

    pub fn ptr_mut(&mut self) -> *mut sockaddr {
        (&raw mut self.storage).cast()
    }

    /// The text that netfd_addr_format() writes.
    pub fn text(&self) -> String {
        let mut text = [0; 128];
        // SAFETY: the address is as long as said, the buffer too.
        let n = unsafe { netfd_addr_format(self.ptr(), self.len, text.as_mut_ptr(), text.len()) };
        assert!((0..128).contains(&n), "{n}");
        c_text(&text)
    }

    /// The port of an AF_INET or AF_INET6 address.
    pub fn port(&self) -> u16 {
        // SAFETY: the port is at the same place in both.
        let inet = unsafe { &*self.ptr().cast::<sockaddr_in>() };
        u16::from_be(inet.sin_port)
    }
}

/// A C array of characters as text.
pub fn c_text(text: &[c_char]) -> String {
    let bytes: Vec<u8> = text.iter().map(|c| *c as u8).collect();
    let text = CStr::from_bytes_until_nul(&bytes).expect("ends with a NUL");
    text.to_string_lossy().into_owned()
}

/// netfd_error_text().
pub fn error_text() -> String {
    let mut text = [0; 1024];
    // SAFETY: the buffer is as long as said.
    let n = unsafe { netfd_error_text(text.as_mut_ptr(), text.len()) };
    let text = c_text(&text);
    assert_eq!(n as usize, text.len());
    text
}

/// netfd_last_error() in full.
pub fn last_error() -> netfd_error {
    // SAFETY: an all-zero netfd_error is a valid one.
    let mut error: netfd_error = unsafe { zeroed() };
    error.size = size_of::<netfd_error>();
    // SAFETY: the struct is as long as it says.
    let code = unsafe { netfd_last_error(&mut error) };
    assert_eq!(code, error.code);
    error
}

/// netfd_stats().
pub fn stats() -> netfd_stats {
    let mut stats = netfd_stats {
        size: size_of::<netfd_stats>(),
        ..Default::default()
    };
    // SAFETY: the struct is as long as it says.
    assert_eq!(unsafe { netfd_stats(&mut stats) }, 0);
    stats
}

/// A socket of the library's.
pub fn socket(family: c_int, sotype: c_int) -> c_int {
    // SAFETY: no pointers.
    let fd = unsafe { netfd_sys_socket(family, sotype, 0) };
    assert!(fd >= 0, "{}", error_text());
    fd
}

/// netfd_destroy().
pub fn destroy(fd: c_int) -> c_int {
    // SAFETY: no pointers.
    unsafe { netfd_destroy(fd) }
}

/// A listener on `address` ("127.0.0.1:0"), and where it listens.
pub fn listener_at(network: &str, address: &str) -> (c_int, Addr) {
    let at = Addr::parse(network, address);
    let sotype = if network == "unixpacket" {
        libc::SOCK_SEQPACKET
    } else {
        libc::SOCK_STREAM
    };
    let fd = socket(c_int::from(at.storage.ss_family), sotype);
    // SAFETY: the address is as long as said.
    let code = unsafe { netfd_listen_stream(fd, at.ptr(), at.len, 0) };
    assert_eq!(code, 0, "{}", error_text());
    (fd, local_addr(fd))
}

/// A TCP listener on a free port of 127.0.0.1, and its address.
pub fn listener() -> (c_int, Addr) {
    listener_at("tcp", "127.0.0.1:0")
}

/// netfd_local_addr().
pub fn local_addr(fd: c_int) -> Addr {
    let mut at = Addr::room();
    // SAFETY: the room is as long as said.
    let code = unsafe { netfd_local_addr(fd, at.ptr_mut(), &mut at.len) };
    assert_eq!(code, 0, "{}", error_text());
    at
}

/// netfd_connect() without local address, deadline and token.
pub fn connect(fd: c_int, to: &Addr) -> c_int {
    connect_by(fd, to, NETFD_NO_DEADLINE, std::ptr::null_mut())
}

/// netfd_connect() without local address.
pub fn connect_by(fd: c_int, to: &Addr, deadline: i64, cancel: *mut netfd_cancel) -> c_int {
    // SAFETY: the address is as long as said.
    unsafe { netfd_connect(fd, std::ptr::null(), 0, to.ptr(), to.len, deadline, cancel) }
}

/// netfd_accept() without the peer's address.
pub fn accept(fd: c_int) -> c_int {
    // SAFETY: NULL is allowed.
    unsafe { netfd_accept(fd, std::ptr::null_mut(), std::ptr::null_mut()) }
}

/// A TCP connection over loopback: the client's end, the server's end.
pub fn tcp_pair() -> (c_int, c_int) {
    let (listener, at) = listener();
    let client = socket(libc::AF_INET, libc::SOCK_STREAM);
    assert_eq!(connect(client, &at), 0, "{}", error_text());
    let server = accept(listener);
    assert!(server >= 0, "{}", error_text());
    assert_eq!(destroy(listener), 0);
    (client, server)
}

/// A socketpair(2), attached.
pub fn unix_pair(sotype: c_int) -> (c_int, c_int) {
    let mut fds = [-1; 2];
    // SAFETY: there is room for two.
    let code = unsafe { libc::socketpair(libc::AF_UNIX, sotype, 0, fds.as_mut_ptr()) };
    assert_eq!(code, 0);
    for fd in fds {
        // SAFETY: no pointers.
        assert_eq!(unsafe { netfd_attach(fd) }, fd);
    }
    (fds[0], fds[1])
}

/// netfd_read().
pub fn read(fd: c_int, buf: &mut [u8]) -> ssize_t {
    // SAFETY: the buffer is as long as said.
    unsafe { netfd_read(fd, buf.as_mut_ptr().cast(), buf.len()) }
}

/// netfd_write().
pub fn write(fd: c_int, buf: &[u8]) -> ssize_t {
    // SAFETY: the buffer is as long as said.
    unsafe { netfd_write(fd, buf.as_ptr().cast(), buf.len()) }
}

/// Reads exactly `n` bytes.
pub fn read_exactly(fd: c_int, n: usize) -> Vec<u8> {
    let mut buf = vec![0; n];
    let mut done = 0;
    while done < n {
        let got = read(fd, &mut buf[done..]);
        assert!(got > 0, "{got} after {done} of {n}: {}", error_text());
        done += got as usize;
    }
    buf
}

/// Fills a socket's send buffer, and the peer's, until a write would park.
/// Returns how many bytes went.
pub fn fill(fd: c_int) -> usize {
    let block = [b'f'; 65536];
    let begun = Instant::now();
    let mut sent = 0;
    loop {
        // What is on its way to the peer makes room again once the peer has it,
        // and a busy machine takes its time over that.
        let is_still = !is_in_flight(fd);
        // SAFETY: the buffer is as long as said.
        let n = unsafe {
            netfd_sendto(
                fd,
                block.as_ptr().cast(),
                block.len(),
                libc::MSG_DONTWAIT,
                std::ptr::null(),
                0,
            )
        };
        if n > 0 {
            sent += n as usize;
            continue;
        }
        assert_eq!(n, -(libc::EAGAIN as ssize_t));
        // What the peer had no memory for is sent again, for ever.
        if is_still || begun.elapsed() > Duration::from_secs(1) {
            return sent;
        }
        fibers::yield_now();
    }
}

/// Whether a TCP connection has bytes that were sent and not acknowledged.
fn is_in_flight(fd: c_int) -> bool {
    const SIOCOUTQNSD: libc::c_ulong = 0x894b;
    let asked = |what| {
        let mut bytes: c_int = 0;
        // SAFETY: the count is there to be written.
        let code = unsafe { libc::ioctl(fd, what, &raw mut bytes) };
        (code == 0).then_some(bytes)
    };
    // What was not sent first: it may be sent in between.
    asked(SIOCOUTQNSD).is_some_and(|unsent| asked(libc::TIOCOUTQ).is_some_and(|all| all > unsent))
}

/// How many descriptors the process has open.
pub fn open_fds() -> usize {
    start_workers();
    std::fs::read_dir("/proc/self/fd").expect("procfs").count() - 1
}

/// What netfd_dump() writes.
pub fn dump() -> String {
    // SAFETY: the name ends with a NUL.
    let file = unsafe { libc::memfd_create(c"dump".as_ptr(), libc::MFD_CLOEXEC) };
    assert!(file >= 0);
    // SAFETY: the descriptor is ours alone.
    let mut file = unsafe { std::fs::File::from_raw_fd(file) };
    // SAFETY: no pointers.
    assert_eq!(unsafe { netfd_dump(file.as_raw_fd()) }, 0);
    let mut text = String::new();
    file.rewind().expect("a memfd seeks");
    file.read_to_string(&mut text).expect("it is text");
    text
}

/// What netfd_dump() says of those who are parked on `fd`, a line for each.
pub fn parked_lines(fd: c_int) -> Vec<String> {
    let head = format!("fd {fd} ");
    dump()
        .lines()
        .skip_while(|line| !line.starts_with(&head))
        .skip(1)
        .take_while(|line| line.starts_with("  "))
        .map(str::to_owned)
        .collect()
}

/// Waits until `n` callers are parked on `fd`.
pub fn await_parked(fd: c_int, n: usize) {
    await_that(&format!("{n} parked on {fd}"), || {
        parked_lines(fd).len() == n
    });
}

/// A pointer that goes to another thread.
#[derive(Clone, Copy)]
pub struct Token(pub *mut netfd_cancel);

// SAFETY: a cancel token is made for many threads.
unsafe impl Send for Token {}
// SAFETY: likewise.
unsafe impl Sync for Token {}

impl Token {
    /// netfd_cancel_new().
    pub fn new() -> Self {
        // SAFETY: no pointers.
        let token = unsafe { netfd_cancel_new() };
        assert!(!token.is_null());
        Self(token)
    }

    /// netfd_cancel_fire().
    pub fn fire(self) {
        // SAFETY: the token lives.
        unsafe { netfd_cancel_fire(self.0) }
    }

    /// netfd_set_cancel().
    pub fn set_on(self, fd: c_int) {
        // SAFETY: the token lives.
        assert_eq!(unsafe { netfd_set_cancel(fd, self.0) }, 0);
    }

    /// netfd_cancel_free().
    pub fn free(self) {
        // SAFETY: the token lives, and is freed once.
        unsafe { netfd_cancel_free(self.0) }
    }
}

/// A path for a unix socket that nobody else uses.
pub fn unix_path(name: &str) -> String {
    let dir = std::env::temp_dir();
    let path = dir.join(format!("netfd-{}-{name}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path.to_string_lossy().into_owned()
}

/// An abstract unix name that nobody else uses.
pub fn abstract_name(name: &str) -> String {
    format!("@netfd-{}-{name}", std::process::id())
}

/// The size of a sockaddr_un's path.
pub const UNIX_PATH: usize = size_of::<sockaddr_un>() - 2;

/// The shared library that belongs to this test run: cargo puts it beside the
/// test programs, or names it when asked to build it.
pub fn shared_library() -> std::path::PathBuf {
    let program = std::env::current_exe().expect("a program knows itself");
    let beside = program.with_file_name("libnetfd.so");
    if beside.exists() {
        return beside;
    }
    let output = std::process::Command::new(env!("CARGO"))
        .args(["build", "--lib", "--message-format=json", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success());
    let messages = String::from_utf8_lossy(&output.stdout);
    messages
        .split('"')
        .rfind(|part| part.ends_with("/libnetfd.so"))
        .expect("cargo names the library")
        .into()
}

/// Whether a tool is missing, which is said.
pub fn is_missing(tool: &str) -> bool {
    let result = std::process::Command::new(tool).arg("--version").output();
    let missing = result.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
    if missing {
        println!("skipped: {tool} is not installed");
    }
    missing
}

/// Set where a test runs once more, in a process of its own.
pub const ALONE: &str = "NETFD_TEST_ALONE";

/// Runs `body` in a process of its own: this test program again, told to run
/// the one test `test` and nothing else. What it says is given back, or nothing
/// in that process itself.
pub fn alone(test: &str, body: impl FnOnce()) -> Option<String> {
    alone_under(test, &[], &[], body)
}

/// As `alone`, started by the command `wrapper`, with `vars` in its
/// environment.
pub fn alone_under(
    test: &str,
    wrapper: &[&str],
    vars: &[(&str, &str)],
    body: impl FnOnce(),
) -> Option<String> {
    if std::env::var_os(ALONE).is_some() {
        body();
        return None;
    }
    let program = std::env::current_exe().expect("a program knows itself");
    let program = program.to_str().expect("its path is text");
    let mut words = wrapper.to_vec();
    words.extend([program, test, "--exact", "--nocapture", "--test-threads=1"]);
    let (first, rest) = words.split_first().expect("there is a program");
    let output = std::process::Command::new(first)
        .args(rest)
        .env(ALONE, "1")
        .envs(vars.iter().copied())
        .output()
        .expect("the program runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{test} by itself: {said}{told}");
    assert!(said.contains("1 passed"), "no test is named {test}: {said}");
    Some(said)
}

/// As `alone`, under strace(1) with `options`, and what that wrote. `None` in
/// the process itself, and where strace is missing or may not trace.
pub fn alone_under_strace(test: &str, options: &[&str], body: impl FnOnce()) -> Option<String> {
    if std::env::var_os(ALONE).is_some() {
        no_twin(); // strace(1) counts by threads, and sees no call of a ring
        body();
        return None;
    }
    let tried = std::process::Command::new("strace")
        .args(["-qq", "-e", "trace=none", "true"])
        .output();
    if !tried.is_ok_and(|tried| tried.status.success()) {
        println!("{test} skipped: there is no strace that works");
        return None;
    }
    let trace = format!("{}/strace-{test}", env!("CARGO_TARGET_TMPDIR"));
    let mut words = vec!["strace", "-f", "-qq", "-o", &trace];
    words.extend(options);
    // LeakSanitizer cannot trace what is traced.
    alone_under(test, &words, &[("LSAN_OPTIONS", "detect_leaks=0")], || ())?;
    let traced = std::fs::read_to_string(&trace).expect("strace wrote it");
    let _ = std::fs::remove_file(&trace);
    Some(traced)
}

/// Sets the process's limit of descriptors. Only for tests that run alone.
pub fn limit_fds(most: u64) -> u64 {
    start_workers();
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the struct is there to be written.
    let told = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    assert_eq!(told, 0);
    let before = limit.rlim_cur;
    limit.rlim_cur = most;
    // SAFETY: the struct is there.
    let set = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) };
    assert_eq!(set, 0);
    before
}

/// Uses up all descriptors that the limit leaves. Only for tests that run
/// alone.
pub fn use_up_fds() -> Vec<std::os::fd::OwnedFd> {
    let mut all = Vec::new();
    loop {
        // SAFETY: no pointers.
        let fd = unsafe { libc::dup(0) };
        if fd < 0 {
            return all;
        }
        // SAFETY: the descriptor is new and ours.
        all.push(unsafe { std::os::fd::OwnedFd::from_raw_fd(fd) });
    }
}

/// A listener on which no more connections find room, and the clients that
/// took it: they have connected, and nobody accepts.
pub fn full_listener(network: &str, address: &str) -> (c_int, Addr, Vec<c_int>) {
    let (fd, at) = listener_at(network, address);
    // SAFETY: no pointers. A second listen(2) changes the backlog.
    assert_eq!(unsafe { libc::listen(fd, 1) }, 0);
    let kind = if network == "unixpacket" {
        libc::SOCK_SEQPACKET
    } else {
        libc::SOCK_STREAM
    };
    let clients = (0..2)
        .map(|_| {
            let client = socket(c_int::from(at.storage.ss_family), kind);
            assert_eq!(connect_by(client, &at, after(5 * SECOND), no_token()), 0);
            client
        })
        .collect();
    (fd, at, clients)
}

/// netfd_after().
pub fn after(ns: i64) -> i64 {
    // SAFETY: no pointers.
    unsafe { netfd_after(ns) }
}

/// No cancel token.
pub fn no_token() -> *mut netfd_cancel {
    std::ptr::null_mut()
}

/// netfd_remote_addr(), or its code.
pub fn remote_addr(fd: c_int) -> Result<Addr, c_int> {
    let mut at = Addr::room();
    // SAFETY: the room is as long as said.
    match unsafe { netfd_remote_addr(fd, at.ptr_mut(), &mut at.len) } {
        0 => Ok(at),
        code => Err(code),
    }
}

/// Makes a TCP connection end with a reset: the peer's reads say ECONNRESET.
pub fn reset(fd: c_int) {
    let now = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    // SAFETY: the option is as long as said.
    let code = unsafe {
        libc::setsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const now).cast(),
            size_of::<libc::linger>() as socklen_t,
        )
    };
    assert_eq!(code, 0);
    assert_eq!(destroy(fd), 0);
}

/// getsockopt(2) of an option that is an int.
pub fn option(fd: c_int, level: c_int, name: c_int) -> c_int {
    let mut value: c_int = -1;
    let mut len = size_of::<c_int>() as socklen_t;
    // SAFETY: `value` is there to be written.
    let code = unsafe { libc::getsockopt(fd, level, name, (&raw mut value).cast(), &mut len) };
    assert_eq!(code, 0);
    value
}

/// Whether a descriptor is non-blocking, and whether it is close-on-exec.
pub fn flags(fd: c_int) -> (bool, bool) {
    // SAFETY: F_GETFL takes no third argument.
    let status = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    // SAFETY: nor does F_GETFD.
    let of_number = unsafe { libc::fcntl(fd, libc::F_GETFD) };
    assert!(status >= 0 && of_number >= 0, "{fd} is not open");
    (
        status & libc::O_NONBLOCK != 0,
        of_number & libc::FD_CLOEXEC != 0,
    )
}

/// Compiles `tests/c/NAME.c`, for what only a program of its own can show: how
/// it forks, dies, or finds itself. `shared` links it to the shared library,
/// which then also lies beside it under its soname.
pub fn c_program(name: &str, shared: bool) -> std::path::PathBuf {
    let sources = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/c");
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(env!("CARGO_CRATE_NAME"));
    std::fs::create_dir_all(&folder).expect("the target folder is writable");
    let program = folder.join(name);
    let mut compiler = std::process::Command::new("gcc");
    compiler
        .args(["-std=gnu11", "-D_GNU_SOURCE", "-g", "-pthread"])
        .args(["-Wall", "-Wextra", "-Werror"])
        .arg(concat!("-I", env!("CARGO_MANIFEST_DIR"), "/include"))
        .arg(format!("{sources}/{name}.c"))
        .arg("-o")
        .arg(&program)
        .args(instrumentation());
    if shared {
        let library = folder.join(env!("NETFD_SONAME"));
        std::fs::copy(shared_library(), &library).expect("the target folder is writable");
        compiler
            .arg(library)
            .arg("-Wl,--disable-new-dtags")
            .arg(format!("-Wl,-rpath,{}", folder.display()));
    }
    let result = compiler.arg("-ldl").output().expect("gcc runs");
    let told = String::from_utf8_lossy(&result.stderr);
    assert!(result.status.success(), "{name}.c: {told}");
    program
}

/// What C programs need to be compiled with where the library is instrumented
/// (tests/sanitize), and has to find the sanitizer in them.
pub fn instrumentation() -> Vec<String> {
    let options = std::env::var("NETFD_TEST_CFLAGS").unwrap_or_default();
    options.split_whitespace().map(str::to_owned).collect()
}

/// Runs a program that is expected to end in time with 0. Returns what it
/// printed, which on failure is the message.
pub fn run_program(program: &std::path::Path, args: &[&str]) -> String {
    use std::os::unix::process::CommandExt;
    let child = std::process::Command::new(program)
        .args(args)
        .env_remove("LD_LIBRARY_PATH") // it may name a stale copy first
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .process_group(0)
        .spawn()
        .expect("it starts");
    let group = child.id() as libc::pid_t;
    let (send, result) = mpsc::channel();
    thread::spawn(move || send.send(child.wait_with_output()));
    let result = result.recv_timeout(GUARD);
    if result.is_err() {
        // SAFETY: no pointers; the group is the program and its children.
        unsafe { libc::kill(-group, libc::SIGKILL) };
    }
    let output = result.expect("the program ends in time");
    let output = output.expect("it can be waited for");
    let told = [output.stdout, output.stderr].concat();
    let told = String::from_utf8_lossy(&told).into_owned();
    assert!(
        output.status.success(),
        "{args:?}: {}\n{told}",
        output.status
    );
    told
}

/// A TCP address of 127.0.0.1 at which connects are refused: somebody has the
/// port for as long as the process lives, so that no other test gets it, and
/// does not listen.
pub fn refusing() -> Addr {
    let at = Addr::parse("tcp", "127.0.0.1:0");
    let fd = socket(libc::AF_INET, libc::SOCK_STREAM);
    // SAFETY: the address is as long as said.
    assert_eq!(unsafe { libc::bind(fd, at.ptr(), at.len) }, 0);
    let at = local_addr(fd);
    // SAFETY: no pointers.
    assert_eq!(unsafe { netfd_detach(fd) }, fd); // left open, and not counted
    at
}

/// A TCP address of 127.0.0.1 that was free a moment ago.
pub fn free_place() -> Addr {
    let (fd, at) = listener();
    assert_eq!(destroy(fd), 0);
    at
}

pub mod callers;
pub use callers::*;
pub mod calls;
pub mod fibers;
pub mod lines;
pub mod others;
pub mod world;
/// A socketpair(2) that the library does not know, close-on-exec.
pub fn plain_pair(sotype: c_int) -> (c_int, c_int) {
    let mut fds = [-1; 2];
    let sotype = sotype | libc::SOCK_CLOEXEC;
    // SAFETY: there is room for two.
    let code = unsafe { libc::socketpair(libc::AF_UNIX, sotype, 0, fds.as_mut_ptr()) };
    assert_eq!(code, 0);
    (fds[0], fds[1])
}

/// close(2), behind the library's back.
pub fn plain_close(fd: c_int) {
    // SAFETY: no pointers.
    assert_eq!(unsafe { libc::close(fd) }, 0);
}

/// send(2) of all of `bytes`, past the library.
pub fn plain_send(fd: c_int, bytes: &[u8]) {
    // SAFETY: the buffer is as long as said.
    let n = unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) };
    assert_eq!(n, bytes.len() as isize);
}

/// What recv(2) finds without waiting, past the library. `None`: nothing is
/// there, and the stream has not ended.
pub fn plain_recv(fd: c_int) -> Option<Vec<u8>> {
    let mut buf = [0; 4096];
    // SAFETY: the buffer is as long as said.
    let n = unsafe { libc::recv(fd, buf.as_mut_ptr().cast(), buf.len(), libc::MSG_DONTWAIT) };
    let errno = std::io::Error::last_os_error().raw_os_error();
    match usize::try_from(n) {
        Ok(n) => Some(buf.iter().take(n).copied().collect()),
        Err(_) if errno == Some(libc::EAGAIN) => None,
        Err(_) => panic!("recv: {errno:?}"),
    }
}

/// Whether a number is open.
pub fn is_open(fd: c_int) -> bool {
    // SAFETY: no pointers.
    unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
}

/// netfd_attach().
pub fn attach(fd: c_int) -> c_int {
    // SAFETY: no pointers.
    unsafe { netfd_attach(fd) }
}

/// netfd_detach().
pub fn detach(fd: c_int) -> c_int {
    // SAFETY: no pointers.
    unsafe { netfd_detach(fd) }
}

/// netfd_wait().
pub fn wait(fd: c_int, events: c_int, deadline: i64) -> c_int {
    // SAFETY: no pointers.
    unsafe { netfd_wait(fd, events, deadline) }
}

/// netfd_set_deadline().
pub fn set_deadline(fd: c_int, t: i64) -> c_int {
    // SAFETY: no pointers.
    unsafe { netfd_set_deadline(fd, t) }
}

/// netfd_set_read_deadline().
pub fn set_read_deadline(fd: c_int, t: i64) -> c_int {
    // SAFETY: no pointers.
    unsafe { netfd_set_read_deadline(fd, t) }
}
