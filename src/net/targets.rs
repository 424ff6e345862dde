//! What a dial is to try: which addresses, in which order, and where from.

use crate::addr::{self, Complaint, Host, Network, Port, Protocol};
use crate::error::Result;
use crate::net::dial::Dialer;
use crate::net::lookup::{self, Failed, Limit, Purpose, push};
use crate::sys::socket::Sockaddr;

/// Where a connection is to come from.
#[derive(Clone, Copy, Debug)]
pub enum Local {
    /// From wherever the kernel says, and this port; 0: any.
    Port(u16),
    /// From this address.
    At(Sockaddr),
}

impl Local {
    fn read<'a>(network: &Network, text: &'a [u8]) -> addr::Read<'a, Self> {
        if network.protocol == Protocol::Unix {
            // As in Go, an empty one is none; to bind it would make up a name.
            return match text {
                [] => Ok(Self::Port(0)),
                _ => addr::unix(text).map(Self::At),
            };
        }
        let read = addr::host_port(network, text)?;
        match (read.host, read.port) {
            (Host::Any, Port::Number(port)) => Ok(Self::Port(port)),
            (Host::Ip(ip, _), Port::Number(port)) if ip.is_unspecified() => Ok(Self::Port(port)),
            (Host::Ip(ip, scope), Port::Number(port)) => Ok(Self::At(addr::inet(ip, port, scope))),
            // As in Go, whose local address is one already.
            _ => Err(Complaint::address(text, "invalid address")),
        }
    }

    /// Whether it suits `target`; a wildcard is made to suit it, as Go's does.
    fn takes(&self, target: &mut Sockaddr) -> bool {
        let Self::At(local) = self else {
            return true;
        };
        if addr::is_unspecified(target)
            && let Some((ip, _)) = addr::ip_of(local)
        {
            *target = addr::inet(addr::unspecified(ip), addr::port_of(target), 0);
        }
        local.family() == target.family()
    }

    /// What the socket for `target` is bound to.
    pub fn of(&self, target: &Sockaddr) -> Option<Sockaddr> {
        match self {
            Self::Port(0) => None,
            Self::Port(port) => {
                let (ip, _) = addr::ip_of(target)?;
                Some(addr::inet(addr::unspecified(ip), *port, 0))
            }
            Self::At(local) => Some(*local),
        }
    }
}

/// The addresses that are to be tried, in their order, and where from.
pub fn targets(
    network: &Network,
    text: &[u8],
    dialer: &Dialer<'_>,
) -> core::result::Result<(Local, Vec<Sockaddr>), Failed> {
    if text.is_empty() {
        return Err(Complaint::missing().into());
    }
    let local = match dialer.local {
        Some(text) => Local::read(network, text)?,
        None => Local::Port(0),
    };
    let limit = Limit {
        deadline: dialer.deadline,
        token: dialer.token,
    };
    let mut all = lookup::addresses(network, text, Purpose::Dial, limit)?;
    all.retain_mut(|target| local.takes(target));
    all.dedup_by(|one, other| one.bytes() == other.bytes());
    if all.is_empty() {
        let text = dialer.local.unwrap_or_default();
        return Err(Complaint::address(text, "no suitable address found").into());
    }
    Ok((local, interleaved(all)?))
}

/// RFC 8305, section 4: the families take turns, that of the first address
/// first.
fn interleaved(all: Vec<Sockaddr>) -> Result<Vec<Sockaddr>> {
    let Some(first) = all.first().map(Sockaddr::family) else {
        return Ok(all);
    };
    let mut ones = all.iter().filter(|target| target.family() == first);
    let mut others = all.iter().filter(|target| target.family() != first);
    let mut mixed = Vec::new();
    loop {
        let pair = [ones.next(), others.next()];
        if pair.iter().all(Option::is_none) {
            return Ok(mixed);
        }
        for target in pair.into_iter().flatten() {
            push(&mut mixed, *target)?;
        }
    }
}
