//! The calls that move bytes, in a form that tests can use without `unsafe`,
//! and what those tests need around them.

#![allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test that is out of range has failed"
)]

use super::*;
use std::ptr;

/// What a call says of an errno.
pub const fn no(errno: c_int) -> ssize_t {
    -(errno as ssize_t)
}

/// The codes as byte counts carry them.
pub const DEADLINE: ssize_t = NETFD_EDEADLINE as ssize_t;
pub const CANCELED: ssize_t = NETFD_ECANCELED as ssize_t;
pub const CLOSED: ssize_t = NETFD_ECLOSED as ssize_t;

/// netfd_now().
pub fn now() -> i64 {
    // SAFETY: no pointers.
    unsafe { netfd_now() }
}

/// netfd_set_write_deadline().
pub fn set_write_deadline(fd: c_int, t: i64) -> c_int {
    // SAFETY: no pointers.
    unsafe { netfd_set_write_deadline(fd, t) }
}

/// netfd_shutdown().
pub fn shutdown(fd: c_int, how: c_int) -> c_int {
    // SAFETY: no pointers.
    unsafe { netfd_shutdown(fd, how) }
}

/// netfd_set_cancel() with NULL.
pub fn lift_cancel(fd: c_int) -> c_int {
    // SAFETY: NULL is allowed.
    unsafe { netfd_set_cancel(fd, ptr::null_mut()) }
}

/// netfd_recvfrom() without the sender's address.
pub fn recv(fd: c_int, buf: &mut [u8], flags: c_int) -> ssize_t {
    let (to, none, len) = (buf.as_mut_ptr().cast(), ptr::null_mut(), buf.len());
    // SAFETY: the buffer is as long as said.
    unsafe { netfd_recvfrom(fd, to, len, flags, none, ptr::null_mut()) }
}

/// netfd_recvfrom().
pub fn recvfrom(fd: c_int, buf: &mut [u8], flags: c_int) -> (ssize_t, Addr) {
    let mut from = Addr::room();
    let (to, len) = (buf.as_mut_ptr().cast(), buf.len());
    // SAFETY: the buffer and the room are as long as said.
    let n = unsafe { netfd_recvfrom(fd, to, len, flags, from.ptr_mut(), &mut from.len) };
    (n, from)
}

/// netfd_sendto().
pub fn sendto(fd: c_int, buf: &[u8], flags: c_int, to: Option<&Addr>) -> ssize_t {
    let (address, len) = to.map_or((ptr::null(), 0), |to| (to.ptr(), to.len));
    // SAFETY: the buffer and the address are as long as said.
    unsafe { netfd_sendto(fd, buf.as_ptr().cast(), buf.len(), flags, address, len) }
}

/// netfd_writev().
pub fn writev(fd: c_int, buffers: &[&[u8]]) -> ssize_t {
    let iov: Vec<iovec> = buffers
        .iter()
        .map(|one| iovec {
            iov_base: one.as_ptr().cast_mut().cast(),
            iov_len: one.len(),
        })
        .collect();
    // SAFETY: the buffers are as long as said, and are only read.
    unsafe { netfd_writev(fd, iov.as_ptr(), iov.len() as c_int) }
}

/// netfd_readv().
pub fn readv(fd: c_int, buffers: &mut [Vec<u8>]) -> ssize_t {
    let iov: Vec<iovec> = buffers
        .iter_mut()
        .map(|one| iovec {
            iov_base: one.as_mut_ptr().cast(),
            iov_len: one.len(),
        })
        .collect();
    // SAFETY: the buffers are as long as said.
    unsafe { netfd_readv(fd, iov.as_ptr(), iov.len() as c_int) }
}

/// setsockopt(2) of an int.
pub fn set_option(fd: c_int, level: c_int, name: c_int, value: c_int) {
    let len = size_of::<c_int>() as socklen_t;
    // SAFETY: the value is as long as said.
    let code = unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), len) };
    assert_eq!(code, 0, "option {name}");
}

/// fcntl(2) without an argument.
pub fn fcntl(fd: c_int, command: c_int) -> c_int {
    // SAFETY: no pointers.
    unsafe { libc::fcntl(fd, command) }
}

/// What poll(2) says at once.
pub fn polled(fd: c_int, events: i16) -> i16 {
    let mut one = libc::pollfd {
        fd,
        events,
        revents: 0,
    };
    // SAFETY: one entry.
    assert!(unsafe { libc::poll(&mut one, 1, 0) } >= 0);
    one.revents
}

/// Reads until the end of the stream.
pub fn read_to_end(fd: c_int) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buf = vec![0; 65536];
    loop {
        match read(fd, &mut buf) {
            0 => return all,
            n if n > 0 => all.extend_from_slice(&buf[..n as usize]),
            n => panic!("{n} after {}: {}", all.len(), error_text()),
        }
    }
}

/// Bytes of which no two stretches look alike.
pub fn pattern(len: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut all = Vec::with_capacity(len + 8);
    while all.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        all.extend_from_slice(&state.to_ne_bytes());
    }
    all.truncate(len);
    all
}

/// A socket bound to a free place: "127.0.0.1:0" of "udp", say.
pub fn bound(network: &str, address: &str) -> (c_int, Addr) {
    let at = Addr::parse(network, address);
    let fd = socket(c_int::from(at.storage.ss_family), libc::SOCK_DGRAM);
    // SAFETY: the address is as long as said.
    assert_eq!(unsafe { libc::bind(fd, at.ptr(), at.len) }, 0, "{address}");
    (fd, local_addr(fd))
}

/// A UDP socket on a free port of 127.0.0.1.
pub fn udp() -> (c_int, Addr) {
    bound("udp", "127.0.0.1:0")
}

/// Two UDP sockets, connected to each other.
pub fn udp_pair() -> (c_int, c_int) {
    let ((one, one_at), (two, two_at)) = (udp(), udp());
    assert_eq!(connect(one, &two_at), 0, "{}", error_text());
    assert_eq!(connect(two, &one_at), 0, "{}", error_text());
    (one, two)
}

/// A UDP address where nobody listens.
pub fn nobody() -> Addr {
    let (fd, at) = udp();
    assert_eq!(destroy(fd), 0);
    at
}

/// A UDP socket in whose error queue an entry stands, and nothing else: an
/// ICMP refusal that has been told already. poll(2) says POLLERR of it.
pub fn with_error_queue() -> (c_int, Addr) {
    let (fd, at) = udp();
    set_option(fd, libc::IPPROTO_IP, libc::IP_RECVERR, 1);
    assert_eq!(sendto(fd, b"x", 0, Some(&nobody())), 1);
    await_that("the refusal", || polled(fd, 0) & libc::POLLERR != 0);
    let told = recv(fd, &mut [0; 8], libc::MSG_DONTWAIT);
    assert_eq!(told, no(libc::ECONNREFUSED));
    assert_eq!(polled(fd, libc::POLLIN), libc::POLLERR, "the entry stands");
    (fd, at)
}

/// The processor time of the calling thread.
pub fn cpu_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the timespec is there to be written.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Runs `call` in a caller of its own, leaves it parked on `fd` for 200 ms,
/// then lets `end` end it. Returns what `call` did, having checked that
/// parking cost next to no processor time; a fiber has none of its own.
pub fn parked_idly<T: Send + 'static>(
    fd: c_int,
    call: impl FnOnce() -> T + Send + 'static,
    end: impl FnOnce(),
) -> T {
    let task = spawn(move || {
        let before = cpu_time();
        let result = call();
        let cost = cpu_time() - before;
        (
            result,
            if fibers::in_fiber() {
                Duration::ZERO
            } else {
                cost
            },
        )
    });
    await_parked(fd, 1);
    thread::sleep(Duration::from_millis(200)); // what is measured
    assert!(!task.is_finished(), "it waits");
    end();
    let (result, cost) = task.join();
    assert!(cost < Duration::from_millis(20), "it spins: {cost:?}");
    result
}

/// Runs the calling test in a process of its own, for what belongs to a whole
/// process: signals, limits, a count of descriptors. True in that process,
/// which is to do the test; false in the other one, which has seen it pass.
pub fn by_itself(test: &str) -> bool {
    by_itself_under(test, &[])
}

/// As `by_itself`, the process being started by `wrapper`, a command line.
pub fn by_itself_under(test: &str, wrapper: &[&str]) -> bool {
    alone_under(test, wrapper, &[], || {}).is_none()
}

extern "C" fn ignore(_: c_int) {}

/// Has `handler` run on `signal`, without SA_RESTART.
pub fn handle(signal: c_int, handler: extern "C" fn(c_int)) {
    // SAFETY: an all-zero sigaction is one to be filled in.
    let mut action: libc::sigaction = unsafe { zeroed() };
    action.sa_sigaction = handler as *const () as libc::sighandler_t;
    // SAFETY: the action is there, the old one is not wanted.
    let code = unsafe { libc::sigaction(signal, &action, ptr::null_mut()) };
    assert_eq!(code, 0);
}

/// A timer that interrupts the calling thread every 100 us while it lives.
pub struct Storm(libc::timer_t);

impl Storm {
    pub fn begin() -> Self {
        handle(libc::SIGUSR2, ignore);
        // SAFETY: an all-zero sigevent is one to be filled in.
        let mut event: libc::sigevent = unsafe { zeroed() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = libc::SIGUSR2;
        // SAFETY: no pointers.
        event.sigev_notify_thread_id = unsafe { libc::gettid() };
        let mut timer = ptr::null_mut();
        // SAFETY: both are there.
        let code = unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, &mut timer) };
        assert_eq!(code, 0);
        let often = libc::timespec {
            tv_sec: 0,
            tv_nsec: 100_000,
        };
        let period = libc::itimerspec {
            it_interval: often,
            it_value: often,
        };
        // SAFETY: the timer lives, the period is there.
        let code = unsafe { libc::timer_settime(timer, 0, &period, ptr::null_mut()) };
        assert_eq!(code, 0);
        Self(timer)
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        // SAFETY: the timer lives, and ends here.
        unsafe { libc::timer_delete(self.0) };
    }
}
