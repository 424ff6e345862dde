//! Go's Listen and ListenPacket: a socket that is bound by name.

use crate::addr::{self, Complaint, Host, Network, Protocol};
use crate::error::{Error, INVAL, Result, Sys};
use crate::fd::desc::Call;
use crate::net::control::{self, Control};
use crate::net::failure::{self, Place};
use crate::net::listen::bind_and_listen;
use crate::net::lookup::{self, Failed, Limit, Purpose};
use crate::net::options::{Switch, TcpOptions};
use crate::net::socket as sockets;
use crate::sys::socket::{self, Sockaddr};
use crate::sys::{Fd, option};
use crate::text::Long;
use libc::c_int;

/// Go's ListenConfig, and what it lacks.
#[derive(Clone, Copy)]
pub struct ListenConfig<'a> {
    /// How many connections may queue; not positive: as many as may be.
    pub backlog: c_int,
    /// SO_REUSEPORT.
    pub reuse_port: Switch,
    /// Whether an IPv6 socket takes IPv6 only.
    pub v6only: Switch,
    /// What the listener's connections inherit.
    pub options: TcpOptions,
    /// Whether it takes Multipath TCP as well.
    pub mptcp: Switch,
    /// Whether a socket file goes with its socket.
    pub unlink: Switch,
    /// What sees the socket before it is bound.
    pub control: Option<Control<'a>>,
}

/// Go `ListenConfig.Listen`.
pub fn listen(name: &[u8], text: &[u8], config: &ListenConfig<'_>) -> Result<Fd> {
    bind(name, text, config, false)
}

/// Go `ListenConfig.ListenPacket`.
pub fn listen_packet(name: &[u8], text: &[u8], config: &ListenConfig<'_>) -> Result<Fd> {
    bind(name, text, config, true)
}

fn bind(name: &[u8], text: &[u8], config: &ListenConfig<'_>, packet: bool) -> Result<Fd> {
    let (network, laddr) = where_to(name, text, packet).map_err(|failed| {
        if failed.error.same(INVAL) {
            too_long(name, text)
        } else {
            failed.record("listen", name)
        }
    })?;
    let wants_mptcp = network.protocol == Protocol::Tcp && config.mptcp.is_on(false);
    let mut made = make(&network, &laddr, config, wants_mptcp);
    if wants_mptcp && made.is_err_and(|stop| !stop.is_final) {
        made = make(&network, &laddr, config, false);
    }
    made.map_err(|stop| {
        let place = Place {
            network: network.name,
            local: laddr,
            remote: Sockaddr::none(),
        };
        let words = words(&network, text, &laddr, stop.error);
        failure::record_as("listen", place, stop.error, words)
    })
}

/// As in Go, it is bind(2) that does not take a path of that length.
fn too_long(name: &[u8], path: &[u8]) -> Error {
    let network = Network::find(name).map_or("", |network| network.name);
    let place = Place {
        network,
        ..Place::nowhere()
    };
    let error = INVAL.named(Sys::Bind);
    let words = said(network, path, error);
    failure::record_as("listen", place, error, words)
}

/// Go's words for a failure, in which a wildcard is as its caller has it:
/// ":80" without a host, and a port 0 is told too. Empty: those of the record.
fn words(network: &Network, text: &[u8], laddr: &Sockaddr, error: Error) -> Long {
    if !addr::is_unspecified(laddr) {
        return Long::new();
    }
    let whole = addr::text(laddr);
    let read = addr::host_port(network, text);
    let port = whole.bytes().iter().rposition(|byte| *byte == b':');
    let from = port.filter(|_| read.is_ok_and(|read| read.host == Host::Any));
    let shown = whole.bytes().get(from.unwrap_or(0)..);
    said(network.name, shown.unwrap_or_default(), error)
}

fn said(network: &str, address: &[u8], error: Error) -> Long {
    let mut words = Long::new();
    let cause = failure::cause(error);
    for part in [
        b"listen ",
        network.as_bytes(),
        b" ",
        address,
        b": ",
        cause.bytes(),
    ] {
        words.push(part);
    }
    words
}

/// The network and the one address of it that is bound: as in Go the first of
/// IPv4, else the first.
fn where_to(
    name: &[u8],
    text: &[u8],
    packet: bool,
) -> core::result::Result<(Network, Sockaddr), Failed> {
    let network = Network::find(name).ok_or(Complaint::network(name))?;
    if network.is_packet() != packet {
        return Err(Complaint::unexpected(text).into());
    }
    let limit = Limit {
        deadline: 0,
        token: None,
    };
    let all = lookup::addresses(&network, text, Purpose::Listen, limit)?;
    let is_v4 = |address: &&Sockaddr| address.family() == libc::AF_INET;
    let best = all.iter().find(is_v4).or(all.first());
    Ok((network, best.copied().unwrap_or_else(Sockaddr::none)))
}

/// Why there is no socket.
#[derive(Clone, Copy, Debug)]
struct Stop {
    error: Error,
    /// It was the caller's own function that said so.
    is_final: bool,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self {
            error,
            is_final: false,
        }
    }
}

/// Go `favoriteAddrFamily`: the wildcard, of either family, is that of both
/// where the network has both and nobody asks for one only.
fn widened(network: &Network, laddr: &Sockaddr, v6only: Switch) -> Option<Sockaddr> {
    let both = network.family == libc::AF_UNSPEC
        && laddr.family() == libc::AF_INET
        && addr::is_unspecified(laddr)
        && v6only != Switch::On;
    if !both {
        return None;
    }
    addr::wildcard(network, addr::port_of(laddr))
}

fn make(
    network: &Network,
    laddr: &Sockaddr,
    config: &ListenConfig<'_>,
    mptcp: bool,
) -> core::result::Result<Fd, Stop> {
    let proto = if mptcp { libc::IPPROTO_MPTCP } else { 0 };
    // Where the machine has no IPv6, the wildcard is that of IPv4.
    let wide = widened(network, laddr, config.v6only);
    let may_be_v4 = network.family == libc::AF_UNSPEC && config.v6only != Switch::On;
    let narrow = addr::narrowed(laddr).filter(|_| may_be_v4);
    let (first, second) = match wide {
        Some(wide) => (wide, Some(*laddr)),
        None => (*laddr, narrow),
    };
    let no_family = |error: &Error| error.is(libc::EAFNOSUPPORT);
    let made = sockets::make(first.family(), network.sotype, proto);
    let (fd, laddr) = match (made, second) {
        (Err(error), Some(second)) if no_family(&error) => {
            let fd = sockets::make(second.family(), network.sotype, proto)?;
            (fd, second)
        }
        (made, _) => (made?, first),
    };
    let call = Call::incref(fd)?;
    match set_up(&call, network, &laddr, config) {
        Ok(()) => Ok(fd),
        Err(stop) => {
            call.destroy_when_left();
            Err(stop)
        }
    }
}

fn set_up(
    call: &Call,
    network: &Network,
    laddr: &Sockaddr,
    config: &ListenConfig<'_>,
) -> core::result::Result<(), Stop> {
    let mut is_final = false;
    let before_bind = || {
        if let Some(control) = config.control {
            let seen = control::run(control, call, network, laddr);
            is_final = seen.is_err();
            seen?;
        }
        Ok(())
    };
    let done = set_options(call, network, laddr, config).and_then(|()| {
        if network.is_packet() {
            listen_datagram(call, laddr, before_bind)
        } else {
            bind_and_listen(call, Some(laddr), config.backlog, before_bind)
        }
    });
    done.map_err(|error| Stop { error, is_final })?;
    if let Some(path) = addr::unix_path(laddr)
        && config.unlink.is_on(!network.is_packet())
    {
        call.entry().unlink_at_end(path).inspect_err(|_| {
            let _ = crate::sys::unlink(path);
        })?;
    }
    Ok(())
}

fn set_options(
    call: &Call,
    network: &Network,
    laddr: &Sockaddr,
    config: &ListenConfig<'_>,
) -> Result<()> {
    let fd = call.fd();
    if laddr.family() == libc::AF_INET6 {
        let v6only = config.v6only.is_on(network.family == libc::AF_INET6);
        // As in Go, one that cannot be told stays as it is.
        let _ = option::set(fd, option::V6ONLY, v6only.into());
    }
    sockets::set_broadcast(call)?;
    if config.reuse_port.is_on(false) {
        option::set(fd, option::REUSE_PORT, 1)?;
    }
    if network.protocol == Protocol::Tcp {
        // Once, for the connections inherit them: accept need not. And before
        // listen(2), or the first to come would not.
        config.options.apply(fd);
    }
    Ok(())
}

/// Go `netFD.listenDatagram`: a group's address stands for its port, which
/// others may have as well.
fn listen_datagram(
    call: &Call,
    laddr: &Sockaddr,
    before_bind: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let fd = call.fd();
    let mut at = *laddr;
    if addr::is_multicast(laddr)
        && let Some((ip, _)) = addr::ip_of(laddr)
    {
        option::set(fd, option::REUSE_ADDR, 1)?;
        at = addr::inet(addr::unspecified(ip), addr::port_of(laddr), 0);
    }
    before_bind()?;
    socket::bind(fd, &at)
}
