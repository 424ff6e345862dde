//! Connecting, and looking up.

use super::boundary::{self, address, parking, text};
use crate::error::{FAULT, INVAL};
use crate::fd::cancel::{Cancel, Held};
use crate::net::connect;
use crate::net::dial::{self, Dialer};
use crate::net::lookup;
use crate::net::options::{Switch, TcpOptions};
use core::ffi::c_void;
use libc::{c_char, c_int, sockaddr, sockaddr_storage, socklen_t};

/// Connects a socket, and waits until the connection stands or has failed.
///
/// A datagram socket is aimed at another peer at once; from then on it takes no
/// address to send to, until it is connected to AF_UNSPEC. A unix socket whose
/// listener's backlog is full waits for room. What ends the wait before it is
/// decided (a deadline, a token, -EINTR) ends the attempt as well: a handshake
/// that completes late is no success. The descriptor stays open and the
/// caller's, and may be connected anew.
///
/// @param fd        a socket
/// @param laddr     where to bind it first, or NULL
/// @param laddrlen  bytes at `laddr`
/// @param raddr     where to connect to
/// @param raddrlen  bytes at `raddr`
/// @param deadline  when to give up, in nanoseconds of CLOCK_MONOTONIC, or
///                  NETFD_NO_DEADLINE; the descriptor's write deadline counts
///                  as well
/// @param cancel    a token for this call, or NULL; the descriptor's counts as
///                  well
/// @return 0, or
///   -EBADF, -EFAULT no `raddr`, -EINVAL a length out of range,
///   -EISCONN connected before (streams and seqpacket),
///   NETFD_EDEADLINE, NETFD_ECANCELED, NETFD_ECLOSED destroyed meanwhile,
///   -EINTR if asked for by netfd_set_interruptible(),
///   or what bind(2) or connect(2) said, negated (-ECONNREFUSED,
///   -EHOSTUNREACH, -ETIMEDOUT, -EADDRNOTAVAIL, ...)
///
/// Any thread; takes the turn of writers. Follows Go `netFD.connect` and
/// connect(2).
///
/// # Safety
///
/// `laddr` and `raddr` are NULL or readable for their lengths; `cancel` is
/// NULL or a token that is not freed before the call returns, unless it is
/// set on a descriptor.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn netfd_connect(
    fd: c_int,
    laddr: *const sockaddr,
    laddrlen: socklen_t,
    raddr: *const sockaddr,
    raddrlen: socklen_t,
    deadline: i64,
    cancel: *mut Cancel,
) -> c_int {
    parking("dial", || {
        // SAFETY: the contract above.
        let laddr = unsafe { address(laddr, laddrlen) }?;
        // SAFETY: the contract above.
        let raddr = unsafe { address(raddr, raddrlen) }?.ok_or(FAULT)?;
        // SAFETY: a token's memory is never freed.
        let token = unsafe { cancel.as_ref() }.map(Cancel::hold);
        connect::connect(fd, laddr.as_ref(), &raddr, deadline, token.as_ref()).map(|()| 0)
    })
}

/// How netfd_dial() goes about it. Set `size` to the struct's sizeof; all else
/// zero is Go's way.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct DialConfig {
    /// The caller's sizeof of this struct.
    pub size: usize,
    /// When to give up, in nanoseconds of CLOCK_MONOTONIC, see netfd_after();
    /// it covers the lookup and all attempts. 0: never.
    pub deadline: i64,
    /// A token that ends it, or NULL; not to be freed before the call returns,
    /// unless it is set on a descriptor.
    pub cancel: *mut Cancel,
    /// Where to come from, as "192.0.2.1:0" or ":5000"; no name. From a port
    /// of one's own addresses are tried one after the other. For unix sockets a
    /// path, whose file is removed where the dial fails and else stays. NULL:
    /// the kernel's choice.
    pub local_address: *const c_char,
    /// How long an attempt may take before the next address is tried beside
    /// it, in nanoseconds; 0: 250 ms. Negative: one after the other, each
    /// with its share of the time that is left, at least 2 s.
    pub fallback_delay: i64,
    /// TCP: silence before the first keepalive probe, in nanoseconds, rounded
    /// up to seconds; 0: 15 s. Negative: no keepalive.
    pub keepalive_idle: i64,
    /// TCP: between probes, likewise; 0: 15 s. Negative: the kernel's own.
    pub keepalive_interval: i64,
    /// TCP: how many probes; 0: 9. Negative: the kernel's own.
    pub keepalive_count: c_int,
    /// TCP_NODELAY: 0 or 1 on, -1 off.
    pub nodelay: c_int,
    /// Multipath TCP: 1 on, with plain TCP where that fails; 0 or -1 off.
    pub mptcp: c_int,
    /// Called with each socket before it is bound or connected, those of a
    /// second try too: the descriptor, Go's concrete network ("tcp4"), and the
    /// address it is for. On the calling thread, while all other attempts
    /// wait, and pthread_cancel(3). A negative result ends netfd_dial(), which
    /// returns it. It may call whatever it likes, but not end the descriptor of
    /// another attempt, which would wait for this one; destroying its own
    /// returns at once and ends netfd_dial() with NETFD_ECLOSED. No C++
    /// exception may leave it. NULL: none.
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

/// Connects to an address by name.
///
/// The host is looked up, and its addresses are tried as RFC 8305 has it:
/// families in turn, another one each 250 ms and as soon as one fails, until
/// the first stands; the others are closed. A TCP connection has TCP_NODELAY
/// and keepalive after 15 s. An empty host is this machine.
///
/// @param network  "tcp", "tcp4", "tcp6", "udp", "udp4", "udp6", "unix",
///                 "unixgram" or "unixpacket"
/// @param address  "host:port", "[v6%zone]:port", a service's name for the
///                 port; for unix sockets a path, or "@name"
/// @param cfg      how, or NULL
/// @return the descriptor, the caller's until netfd_destroy(), or
///   -EFAULT, -EINVAL `cfg` says what cannot be or is longer than 4096 bytes,
///   or a unix path is too long, NETFD_ENETWORK unknown network,
///   NETFD_EADDRESS bad address, unknown service, or none of the local
///   address's family, NETFD_ENOHOST no such host, NETFD_EDNS no lookup,
///   NETFD_EDEADLINE, NETFD_ECANCELED, NETFD_ECLOSED destroyed meanwhile,
///   -EINTR if asked for by netfd_set_interruptible(), -EAGAIN no thread to
///   look up with, -ENOMEM, what `control` returned, or what socket(2),
///   bind(2) or connect(2) said for the first address, negated:
///   netfd_error_text() tells of each
///
/// Any thread; parks until it is decided. A lookup runs on a helper thread,
/// which a caller whose time is up leaves behind; at most 500 run at once, and
/// one more waits for room.
/// Follows Go `net.Dialer.Dial`.
///
/// # Safety
///
/// `network` and `address` are NULL or end with a NUL; `cfg` is NULL or
/// readable for its `size` bytes, and its pointers are NULL or valid.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C-unwind" fn netfd_dial(
    network: *const c_char,
    address: *const c_char,
    cfg: *const DialConfig,
) -> c_int {
    parking("dial", || {
        // SAFETY: the contract above.
        let network = unsafe { text(network) }?;
        // SAFETY: the contract above.
        let address = unsafe { text(address) }?;
        // SAFETY: the contract above; all fields are numbers or pointers.
        let cfg = unsafe { boundary::config(cfg) }?;
        // SAFETY: a token's memory is never freed.
        let token = unsafe { cfg.cancel.as_ref() }.map(Cancel::hold);
        let local = if cfg.local_address.is_null() {
            None
        } else {
            // SAFETY: the contract above.
            Some(unsafe { text(cfg.local_address) }?)
        };
        // SAFETY: the contract above.
        let control = cfg
            .control
            .map(|run| unsafe { boundary::control(run, cfg.control_arg) });
        let dialer = Dialer {
            deadline: cfg.deadline,
            token: token.as_ref().and_then(Held::token),
            local,
            fallback_delay: cfg.fallback_delay,
            options: TcpOptions::new(
                cfg.keepalive_idle,
                cfg.keepalive_interval,
                cfg.keepalive_count,
                Switch::new(cfg.nodelay)?,
            )?,
            mptcp: Switch::new(cfg.mptcp)?.is_on(false),
            control: control.as_ref().map(|run| run as &dyn Fn(_, &_, &_) -> _),
        };
        dial::dial(network, address, &dialer)
    })
}

/// Looks up the addresses of a host, in the order in which they are to be
/// tried (RFC 6724, as the C library has it).
///
/// @param network   as for netfd_dial(); it limits the family
/// @param address   as for netfd_dial(); an empty host is the wildcard
/// @param out       where to store the addresses; NULL where `cap` is 0
/// @param cap       how many fit
/// @param deadline  when to give up, in nanoseconds of CLOCK_MONOTONIC, or
///                  NETFD_NO_DEADLINE
/// @param cancel    a token that ends it, or NULL
/// @return how many addresses there are, of which the first `cap` are stored,
///   or
///   -EFAULT, -EINVAL a unix path that is too long, NETFD_ENETWORK,
///   NETFD_EADDRESS bad address or unknown service, NETFD_ENOHOST no such
///   host, NETFD_EDNS no lookup, NETFD_EDEADLINE, NETFD_ECANCELED,
///   -EINTR if asked for by netfd_set_interruptible(), -EAGAIN no thread to
///   look up with, -ENOMEM
///
/// Any thread; parks as netfd_dial() does. IPv4-mapped addresses come as plain
/// IPv4, and none comes twice. Follows Go `net.Resolver.LookupIPAddr`,
/// `net.ResolveTCPAddr` and getaddrinfo(3).
///
/// # Safety
///
/// `network` and `address` are NULL or end with a NUL; `out` is NULL or
/// writable for `cap` entries; `cancel` is NULL or a token that is not freed
/// before the call returns, unless it is set on a descriptor.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn netfd_resolve(
    network: *const c_char,
    address: *const c_char,
    out: *mut sockaddr_storage,
    cap: usize,
    deadline: i64,
    cancel: *mut Cancel,
) -> c_int {
    parking("resolve", || {
        // SAFETY: the contract above.
        let network = unsafe { text(network) }?;
        // SAFETY: the contract above.
        let address = unsafe { text(address) }?;
        if out.is_null() && cap > 0 {
            return Err(FAULT);
        }
        // SAFETY: a token's memory is never freed.
        let token = unsafe { cancel.as_ref() }.map(Cancel::hold);
        let all = lookup::resolve(network, address, deadline, token.as_ref())?;
        for (index, one) in all.iter().enumerate().take(cap) {
            // SAFETY: `index` is less than `cap`.
            let place = unsafe { out.add(index) };
            // SAFETY: the place is writable.
            unsafe { place.write(one.storage()) };
        }
        c_int::try_from(all.len()).map_err(|_| INVAL)
    })
}
