//! Listening and accepting.

use super::boundary::{self, AddressOut, address, boundary, parking, text};
use crate::error::{FAULT, INVAL, Result};
use crate::net::bind::{self, ListenConfig as Config};
use crate::net::options::{Switch, TcpOptions};
use crate::net::{activation, listen};
use crate::sys::Fd;
use core::ffi::c_void;
use libc::{c_char, c_int, sockaddr, socklen_t};

/// Makes a socket a listener: SO_REUSEADDR, bind(2), listen(2).
///
/// @param fd        a stream or seqpacket socket of any family
/// @param laddr     where to listen, or NULL: the kernel picks (a port)
/// @param laddrlen  bytes at `laddr`
/// @param backlog   how many connections may queue; 0 or less is as many as
///                  the system allows (net.core.somaxconn)
/// @return 0, or
///   -EBADF, NETFD_ECLOSED, -EINVAL `laddrlen` out of range, -EOPNOTSUPP no
///   stream socket, or what setsockopt(2), bind(2) or listen(2) said, negated
///   (-EADDRINUSE, -EACCES, ...)
///
/// On failure the descriptor is still the caller's and open; a unix socket
/// file that this call made is removed again. netfd_destroy() never removes
/// one.
/// Any thread; never parks. Follows Go `netFD.listenStream`.
///
/// # Safety
///
/// `laddr` is NULL or readable for `laddrlen` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn netfd_listen_stream(
    fd: c_int,
    laddr: *const sockaddr,
    laddrlen: socklen_t,
    backlog: c_int,
) -> c_int {
    boundary("listen", || {
        // SAFETY: the contract above.
        let laddr = unsafe { address(laddr, laddrlen) }?;
        listen::listen_stream(fd, laddr.as_ref(), backlog).map(|()| 0)
    })
}

/// Accepts the next connection on a listener.
///
/// It parks its caller until a connection is ready. The new descriptor is
/// non-blocking, close-on-exec and attached, has no deadlines and no token,
/// and remembers its peer's address. A connection that was gone before it
/// could be accepted is passed over.
///
/// @param fd        a listener, as made by netfd_listen_stream()
/// @param raddr     where to store the peer's address, or NULL
/// @param raddrlen  in: bytes at `raddr`, out: bytes of the address
/// @return the descriptor, the caller's until netfd_destroy(), or
///   -EBADF not attached, -EFAULT `raddr` without `raddrlen`,
///   -EUSERS too many callers,
///   NETFD_EDEADLINE, NETFD_ECANCELED, NETFD_ECLOSED destroyed meanwhile,
///   -EINTR if asked for by netfd_set_interruptible(),
///   or what accept4(2) said, negated: -EMFILE, -ENFILE, -ENOBUFS and -ENOMEM
///   leave the connection in the queue
///
/// Any thread; accepts on one listener take turns, and one wakes at a time.
/// Obeys the listener's read deadline and cancel token.
/// Follows Go `(*net.TCPListener).Accept` and accept4(2).
///
/// # Safety
///
/// `raddrlen` is NULL or valid, `raddr` NULL or writable for `*raddrlen`
/// bytes.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C-unwind" fn netfd_accept(
    fd: c_int,
    raddr: *mut sockaddr,
    raddrlen: *mut socklen_t,
) -> c_int {
    parking("accept", || {
        // SAFETY: the contract above.
        let out = unsafe { AddressOut::new(raddr, raddrlen) }?;
        let (conn, peer) = listen::accept(fd)?;
        out.store(&peer);
        Ok(conn)
    })
}

/// How netfd_listen() and netfd_listen_packet() go about it. Set `size` to the
/// struct's sizeof; all else zero is Go's way.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ListenConfig {
    /// The caller's sizeof of this struct.
    pub size: usize,
    /// How many connections may queue; 0 or less: as many as the system allows.
    pub backlog: c_int,
    /// SO_REUSEPORT: 1 on; 0 or -1 off.
    pub reuse_port: c_int,
    /// IPV6_V6ONLY: 1 on, -1 off. 0 is Go's rule: on for "tcp6" and "udp6";
    /// else off, and the wildcard of IPv4, "0.0.0.0:80", takes IPv6 too.
    pub v6only: c_int,
    /// TCP, what connections inherit: silence before the first keepalive
    /// probe, in nanoseconds, rounded up to seconds; 0: 15 s. Negative: no
    /// keepalive.
    pub keepalive_idle: i64,
    /// TCP: between probes, likewise; 0: 15 s. Negative: the kernel's own.
    pub keepalive_interval: i64,
    /// TCP: how many probes; 0: 9. Negative: the kernel's own.
    pub keepalive_count: c_int,
    /// TCP_NODELAY: 0 or 1 on, -1 off.
    pub nodelay: c_int,
    /// Multipath TCP: 1 on, with plain TCP where that fails; 0 or -1 off.
    pub mptcp: c_int,
    /// Whether netfd_destroy() removes the socket file: 1 on, -1 off. 0: on
    /// for listeners, off for "unixgram".
    pub unlink: c_int,
    /// Called with the socket before it is bound, and once more where plain TCP
    /// follows Multipath TCP: the descriptor, Go's concrete network ("tcp6"),
    /// and the address it is for. On the calling thread, while
    /// pthread_cancel(3) waits. A negative result ends the call, which returns
    /// it. It may call whatever it likes; destroying its own descriptor returns
    /// at once and ends the call with NETFD_ECLOSED. No C++ exception may leave
    /// it. NULL: none.
    pub control: Option<
        unsafe extern "C" fn(
            fd: c_int,
            network: *const c_char,
            address: *const c_char,
            arg: *mut c_void,
        ) -> c_int,
    >,
    /// What `control` is called with.
    pub control_arg: *mut c_void,
}

/// Listens on an address by name.
///
/// An empty host, or a wildcard, listens on IPv4 and IPv6 where both are there.
/// Of a name's addresses the first IPv4 one is taken, else the first. TCP
/// connections inherit TCP_NODELAY and keepalive, so that netfd_accept() is
/// one system call. A unix socket's file is removed by netfd_destroy(), before
/// close(2), in the process that made it and if it is still the same file
/// (device and inode; the check and the removal are not one step; a relative
/// path is looked up where the process is then). So there is no file without a
/// listener, though who had just found it may still be refused. A file that is
/// there already, a stale socket's too, is -EADDRINUSE and never removed.
///
/// @param network  "tcp", "tcp4", "tcp6", "unix" or "unixpacket"
/// @param address  "host:port", ":port", a service's name for the port, 0 for
///                 any; a path, or "@name"
/// @param cfg      how, or NULL
/// @return the descriptor, the caller's until netfd_destroy(), or
///   -EFAULT, -EINVAL `cfg` says what cannot be or is longer than 4096 bytes,
///   or a path is too long,
///   NETFD_ENETWORK unknown network, or one of packets, NETFD_EADDRESS bad
///   address or unknown service, NETFD_ENOHOST no such host, NETFD_EDNS no
///   lookup, -EINTR if asked for by netfd_set_interruptible(), -EAGAIN no
///   thread to look up with, -ENOMEM, NETFD_ECLOSED or NETFD_ECANCELED
///   what `control` brought about, what `control` returned,
///   or what socket(2), setsockopt(2), bind(2) or listen(2) said, negated
///
/// Any thread; parks only to look up a name, for as long as the name service
/// takes: netfd_resolve() has a deadline. Follows Go
/// `net.ListenConfig.Listen`.
///
/// # Safety
///
/// `network` and `address` are NULL or end with a NUL; `cfg` is NULL or
/// readable for its `size` bytes, and its pointers are NULL or valid.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C-unwind" fn netfd_listen(
    network: *const c_char,
    address: *const c_char,
    cfg: *const ListenConfig,
) -> c_int {
    // SAFETY: the contract above.
    boundary("listen", || unsafe {
        by_name(network, address, cfg, bind::listen)
    })
}

/// Binds a datagram socket to an address by name.
///
/// It is netfd_listen() for sockets that receive and send by themselves. They
/// may send to broadcast addresses. A multicast group's address stands for its
/// port: the socket is bound to the wildcard, with SO_REUSEADDR.
///
/// @param network  "udp", "udp4", "udp6" or "unixgram"
/// @param address  as for netfd_listen()
/// @param cfg      how, or NULL; what concerns TCP and `backlog` has no effect
/// @return the descriptor, the caller's until netfd_destroy(), or
///   as netfd_listen(); NETFD_ENETWORK unknown network, or one of connections
///
/// Any thread; parks only to look up a name. Follows Go
/// `net.ListenConfig.ListenPacket`.
///
/// # Safety
///
/// As for netfd_listen().
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C-unwind" fn netfd_listen_packet(
    network: *const c_char,
    address: *const c_char,
    cfg: *const ListenConfig,
) -> c_int {
    // SAFETY: the contract above.
    boundary("listen", || unsafe {
        by_name(network, address, cfg, bind::listen_packet)
    })
}

type Bind = fn(&[u8], &[u8], &Config<'_>) -> Result<Fd>;

/// # Safety
///
/// As for netfd_listen().
unsafe fn by_name(
    network: *const c_char,
    address: *const c_char,
    cfg: *const ListenConfig,
    bind: Bind,
) -> Result<c_int> {
    // SAFETY: the caller's promise.
    let network = unsafe { text(network) }?;
    // SAFETY: the caller's promise.
    let address = unsafe { text(address) }?;
    // SAFETY: the caller's promise; all fields are numbers or pointers.
    let cfg = unsafe { boundary::config(cfg) }?;
    // SAFETY: the caller's promise.
    let control = cfg
        .control
        .map(|run| unsafe { boundary::control(run, cfg.control_arg) });
    let config = Config {
        backlog: cfg.backlog,
        reuse_port: Switch::new(cfg.reuse_port)?,
        v6only: Switch::new(cfg.v6only)?,
        options: TcpOptions::new(
            cfg.keepalive_idle,
            cfg.keepalive_interval,
            cfg.keepalive_count,
            Switch::new(cfg.nodelay)?,
        )?,
        mptcp: Switch::new(cfg.mptcp)?,
        unlink: Switch::new(cfg.unlink)?,
        control: control.as_ref().map(|run| run as &dyn Fn(_, &_, &_) -> _),
    };
    bind(network, address, &config)
}

/// Takes the sockets that systemd passed to this process.
///
/// They are attached: non-blocking, close-on-exec, the caller's until
/// netfd_destroy(). TCP sockets get TCP_NODELAY and keepalive. What an earlier
/// call took stays as it is. What is no socket, or is just being destroyed, is
/// passed over; a number that was closed and given to another socket meanwhile
/// cannot be told from what was passed. The environment (LISTEN_PID,
/// LISTEN_FDS, LISTEN_FDNAMES) is left alone.
///
/// @param name  which of them, by FileDescriptorName=; NULL: all
/// @param fds   where to store them, in order; NULL where `cap` is 0
/// @param cap   how many to take at most
/// @return how many match, of which the first `cap` were taken; 0 where none
///   was passed, or what was passed is for another process or is malformed;
///   or -EFAULT, -ENOMEM
///
/// Any thread, but nobody may change the environment meanwhile; never parks.
/// Follows sd_listen_fds(3) and sd_listen_fds_with_names(3).
///
/// # Safety
///
/// `name` is NULL or ends with a NUL; `fds` is NULL or writable for `cap`
/// entries.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn netfd_listen_fds(
    name: *const c_char,
    fds: *mut c_int,
    cap: usize,
) -> c_int {
    boundary("listen", || {
        if fds.is_null() && cap > 0 {
            return Err(FAULT);
        }
        let name = if name.is_null() {
            None
        } else {
            // SAFETY: the contract above.
            Some(unsafe { text(name) }?)
        };
        let mut taken = 0;
        let count = activation::listen_fds(name, |fd| {
            if taken == cap {
                return false;
            }
            // SAFETY: `taken` is less than `cap`.
            let place = unsafe { fds.add(taken) };
            // SAFETY: the place is writable.
            unsafe { place.write(fd) };
            taken += 1;
            true
        })?;
        c_int::try_from(count).map_err(|_| INVAL)
    })
}
