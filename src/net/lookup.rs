//! From an address text to socket addresses, by getaddrinfo(3) where there is
//! something to look up.
//!
//! getaddrinfo(3) cannot be interrupted, so it runs on a thread of its own, and
//! a caller whose time is up walks away: the thread finishes alone and drops
//! its answer. A thread for each lookup, and none kept: it has the caller's
//! network and mount namespaces, whatever other callers have.

use crate::addr::{self, Complaint, Host, Network, Port, Protocol};
use crate::error::{DNS, Error, NOHOST, Result, Sys};
use crate::fd::cancel::{Cancel, Held};
use crate::fd::look::{in_time, wait_for};
use crate::net::failure::{self, Place};
use crate::park::{self, Aside, Slot};
use crate::poll::SLICE;
use crate::pool::{self, Pool, Pooled};
use crate::sync::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use crate::sys::lookup::{Answer, Mailbox, Refusal, getaddrinfo};
use crate::sys::socket::Sockaddr;
use crate::sys::{process, time};
use crate::text::Long;
use core::net::{IpAddr, Ipv4Addr};
use libc::c_int;
use std::ffi::CString;

/// How many lookups run at once, as in Go, those included that nobody waits
/// for any more. So a hundred that a dead name server holds up leave room.
const LOOKUPS_MAX: u32 = 500;

/// Until when a lookup is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// 0: none.
    pub deadline: i64,
    /// Held by the caller.
    pub token: Option<&'static Cancel>,
}

/// A lookup that failed: the error, and Go's text of it.
#[derive(Debug)]
pub struct Failed {
    /// The error.
    pub error: Error,
    /// Go's text, without the operation.
    pub text: Long,
}

impl Failed {
    /// Makes it the thread's last failure, as that of `op` on the network that
    /// a caller named `name`.
    pub fn record(self, op: &'static str, name: &[u8]) -> Error {
        let network = Network::find(name).map_or("", |network| network.name);
        let place = Place {
            network,
            ..Place::nowhere()
        };
        let mut text = Long::new();
        let space: &[u8] = if name.is_empty() { b"" } else { b" " };
        for part in [op.as_bytes(), space, name, b": "] {
            text.push(part);
        }
        if self.text.is_empty() {
            text.push(failure::cause(self.error).bytes());
        } else {
            text.push(self.text.bytes());
        }
        failure::record_as(op, place, self.error, text)
    }
}

impl Limit {
    /// Whether it is at an end already.
    fn check(&self) -> Result<()> {
        in_time(self.deadline, self.token)
    }
}

impl From<Complaint<'_>> for Failed {
    fn from(complaint: Complaint<'_>) -> Self {
        let mut text = Long::new();
        complaint.write(&mut text);
        let error = complaint.error;
        Self { error, text }
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        let text = Long::new();
        Self { error, text }
    }
}

/// For what addresses are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To listen on: an empty host is the wildcard of IPv6, if possible.
    Listen,
    /// To dial: an empty host is this machine, by IPv4 if possible, as in Go;
    /// and the wildcard of IPv6 is that of IPv4 as well.
    Dial,
}

/// The addresses of `text` on the network `name`.
pub fn resolve(
    name: &[u8],
    text: &[u8],
    deadline: i64,
    token: Option<&Held>,
) -> Result<Vec<Sockaddr>> {
    let limit = Limit {
        deadline,
        token: token.and_then(Held::token),
    };
    let network = Network::find(name).ok_or(Failed::from(Complaint::network(name)));
    let all = network.and_then(|network| {
        limit.check()?;
        addresses(&network, text, Purpose::Listen, limit)
    });
    all.map_err(|failed| failed.record("resolve", name))
}

/// Go `Resolver.internetAddrList`: the addresses of `text`, in the order in
/// which the C library has them (RFC 6724).
pub fn addresses(
    network: &Network,
    text: &[u8],
    purpose: Purpose,
    limit: Limit,
) -> core::result::Result<Vec<Sockaddr>, Failed> {
    if network.protocol == Protocol::Unix {
        return one(addr::unix(text)?);
    }
    let read = addr::host_port(network, text)?;
    let any = |port| match purpose {
        Purpose::Dial if network.family != libc::AF_INET6 => {
            addr::inet(Ipv4Addr::UNSPECIFIED.into(), port, 0)
        }
        _ => addr::wildcard(network, port).unwrap_or_else(Sockaddr::none),
    };
    match (read.host, read.port) {
        (Host::Any, Port::Number(port)) => one(any(port)),
        (Host::Ip(ip, scope), Port::Number(port)) => literal(network, ip, scope, port, purpose),
        (Host::Any, Port::Service(service)) => {
            let port = port_of(network, service, limit)?;
            one(any(port))
        }
        (Host::Ip(ip, scope), Port::Service(service)) => {
            let port = port_of(network, service, limit)?;
            literal(network, ip, scope, port, purpose)
        }
        (Host::Name(host), port) => by_name(network, host, port, limit),
    }
}

fn literal(
    network: &Network,
    ip: IpAddr,
    scope: u32,
    port: u16,
    purpose: Purpose,
) -> core::result::Result<Vec<Sockaddr>, Failed> {
    let mut all = one(addr::inet(ip, port, scope))?;
    let is_both = ip.is_ipv6() && ip.is_unspecified() && network.family == libc::AF_UNSPEC;
    if purpose == Purpose::Dial && is_both {
        push(&mut all, addr::inet(Ipv4Addr::UNSPECIFIED.into(), port, 0))?;
    }
    Ok(all)
}

fn one(address: Sockaddr) -> core::result::Result<Vec<Sockaddr>, Failed> {
    let mut all = Vec::new();
    push(&mut all, address)?;
    Ok(all)
}

/// Adds to a list, or `-ENOMEM`.
pub fn push<T>(all: &mut Vec<T>, one: T) -> Result<()> {
    all.try_reserve(1)
        .map_err(|_| Error::os(libc::ENOMEM, Sys::Malloc))?;
    all.push(one);
    Ok(())
}

fn by_name(
    network: &Network,
    host: &str,
    port: Port<'_>,
    limit: Limit,
) -> core::result::Result<Vec<Sockaddr>, Failed> {
    let port = match port {
        Port::Number(port) => port,
        Port::Service(service) => port_of(network, service, limit)?,
    };
    let answer = ask(network, Some(host), None, limit)
        .map_err(|why| why.explain(host.as_bytes()))?
        .map_err(|refusal| of_refusal(host.as_bytes(), refusal))?;
    let mut all: Vec<Sockaddr> = Vec::new();
    for found in answer.addresses() {
        let Some((ip, scope)) = addr::ip_of(&found) else {
            continue;
        };
        let address = addr::inet(ip.to_canonical(), port, scope);
        // A hosts file may name one twice.
        let is_new = !all.iter().any(|known| known.bytes() == address.bytes());
        if is_new && network.takes(&ip.to_canonical()) {
            push(&mut all, address)?;
        }
    }
    if all.is_empty() {
        return Err(Complaint::address(host.as_bytes(), "no suitable address found").into());
    }
    Ok(all)
}

/// The number of a service. Go knows these where the system has no list.
const SERVICES: [(&str, &str, u16); 15] = [
    ("tcp", "domain", 53),
    ("tcp", "ftp", 21),
    ("tcp", "ftps", 990),
    ("tcp", "gopher", 70),
    ("tcp", "http", 80),
    ("tcp", "https", 443),
    ("tcp", "imap2", 143),
    ("tcp", "imap3", 220),
    ("tcp", "imaps", 993),
    ("tcp", "pop3", 110),
    ("tcp", "pop3s", 995),
    ("tcp", "smtp", 25),
    ("tcp", "ssh", 22),
    ("tcp", "telnet", 23),
    ("udp", "domain", 53),
];

fn port_of(network: &Network, service: &str, limit: Limit) -> core::result::Result<u16, Failed> {
    let transport = network.transport();
    let unknown = || Failed::from(Complaint::service(transport, service.as_bytes()));
    let found =
        ask(network, None, Some(service), limit).map_err(|why| why.explain(service.as_bytes()))?;
    match &found {
        Ok(answer) => {
            if let Some(address) = answer.addresses().next() {
                return Ok(addr::port_of(&address));
            }
        }
        Err(refusal) if [libc::EAI_SERVICE, libc::EAI_NONAME].contains(&refusal.code) => {}
        Err(refusal) => return Err(of_refusal(service.as_bytes(), *refusal)),
    }
    let known = SERVICES
        .iter()
        .find(|(of, name, _)| *of == transport && name.eq_ignore_ascii_case(service));
    known.map(|(_, _, port)| *port).ok_or_else(unknown)
}

/// What a refusal means, and Go's text of it.
fn of_refusal(name: &[u8], refusal: Refusal) -> Failed {
    let (error, why) = match refusal.code {
        // glibc's for a name that exists and has no address of the family.
        libc::EAI_NONAME | libc::EAI_NODATA | EAI_ADDRFAMILY => (NOHOST, c"no such host"),
        libc::EAI_MEMORY => (
            Error::os(libc::ENOMEM, Sys::GetAddrInfo),
            c"cannot allocate memory",
        ),
        libc::EAI_SYSTEM => (DNS, crate::strerror::text(-refusal.errno)),
        _ => (DNS, refusal.text()),
    };
    let text = about(name, why.to_bytes());
    Failed { error, text }
}

const EAI_ADDRFAMILY: c_int = -9; // netdb.h, with _GNU_SOURCE

fn about(name: &[u8], why: &[u8]) -> Long {
    let mut text = Long::new();
    for part in [b"lookup ", name, b": ", why] {
        text.push(part);
    }
    text
}

/// A lookup, as its two threads share it: the caller, who may leave, and the
/// helper. The last of them gives it back.
#[derive(Debug, Default)]
struct Lookup {
    mailbox: Mailbox,
    done: AtomicBool,
    /// The caller, while he is parked.
    caller: Slot,
    /// How many of the two have it.
    holders: AtomicU32,
    link: AtomicU32,
}

impl Pooled for Lookup {
    fn link(&self) -> &AtomicU32 {
        &self.link
    }
}

static LOOKUPS: Pool<Lookup> = Pool::new();

/// How many lookups run, in the process whose epoch stands above it: a child
/// of fork(2) has none of the threads.
static RUNNING: AtomicU64 = AtomicU64::new(0);

fn change(counter: &AtomicU64, change: impl Fn(u32) -> Option<u32>) -> bool {
    let epoch = process::epoch();
    counter
        .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |word| {
            let (of, count) = pool::halves(word);
            let count = if of == epoch { count } else { 0 };
            change(count).map(|count| pool::joined(epoch, count))
        })
        .is_ok()
}

/// A place among the lookups that run; dropped by the thread that looked up.
#[derive(Debug)]
struct Room;

impl Room {
    fn take() -> Option<Self> {
        let has_room = change(&RUNNING, |count| (count < LOOKUPS_MAX).then(|| count + 1));
        // Not `then_some`, which would make one that is dropped, and give up a
        // place that was never taken.
        has_room.then(|| Self)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        change(&RUNNING, |count| Some(count.saturating_sub(1)));
    }
}

/// One holder's share in a lookup.
#[derive(Debug)]
struct Share {
    id: u32,
    lookup: &'static Lookup,
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.lookup.holders.fetch_sub(1, Ordering::AcqRel) == 1 {
            drop(self.lookup.mailbox.take()); // an answer that nobody took
            LOOKUPS.put(self.id);
        }
    }
}

/// What the helper is to ask, and for whom.
#[derive(Debug)]
struct Question {
    host: Option<CString>,
    service: Option<CString>,
    family: c_int,
    sotype: c_int,
    share: Share,
    room: Room,
}

impl Question {
    /// The helper's whole life.
    fn answer(self) {
        let (host, service) = (self.host.as_deref(), self.service.as_deref());
        let answer = getaddrinfo(host, service, self.family, self.sotype);
        let lookup = self.share.lookup;
        lookup.mailbox.put(answer);
        drop(self.room);
        lookup.done.store(true, Ordering::Release);
        if let Some(caller) = park::find(lookup.caller.take()) {
            caller.wake();
        }
    }
}

/// A failure that says nothing of the name.
#[derive(Clone, Copy, Debug)]
struct Stopped(Error);

impl Stopped {
    fn explain(self, name: &[u8]) -> Failed {
        let text = about(name, failure::cause(self.0).bytes());
        Failed {
            error: self.0,
            text,
        }
    }
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

/// Has a helper call getaddrinfo(3), and waits for it as `limit` allows.
fn ask(
    network: &Network,
    host: Option<&str>,
    service: Option<&str>,
    limit: Limit,
) -> core::result::Result<core::result::Result<Answer, Refusal>, Stopped> {
    limit.check()?;
    process::prepare()?;
    let room = take_room(limit)?;
    let (id, lookup) = LOOKUPS.take()?;
    lookup.done.store(false, Ordering::Relaxed);
    lookup.holders.store(2, Ordering::Release);
    let mine = Share { id, lookup };
    let theirs = Share { id, lookup };
    let question = Question {
        host: host.map(lower_case_c_string).transpose()?,
        service: service.map(lower_case_c_string).transpose()?,
        family: network.family,
        sotype: network.sotype,
        share: theirs,
        room,
    };
    process::spawn(Question::answer, question)?;
    let is_done = || lookup.done.load(Ordering::Acquire);
    wait_for(
        &lookup.caller,
        Aside::Name,
        is_done,
        limit.deadline,
        limit.token,
    )?;
    let answer = mine.lookup.mailbox.take();
    Ok(answer)
}

/// Waits for room among the lookups.
fn take_room(limit: Limit) -> Result<Room> {
    loop {
        if let Some(room) = Room::take() {
            return Ok(room);
        }
        let until = time::now().saturating_add(SLICE);
        let deadline = match limit.deadline {
            0 => until,
            deadline => deadline.min(until),
        };
        let nobody = Slot::default();
        match wait_for(&nobody, Aside::Name, || false, deadline, limit.token) {
            Err(error) if deadline == until && error.same(crate::error::DEADLINE) => {}
            other => other?,
        }
    }
}

/// In lower case, as services are listed; hosts are found in any.
fn lower_case_c_string(text: &str) -> Result<CString> {
    let full = || Error::os(libc::ENOMEM, Sys::Malloc);
    let mut bytes = Vec::new();
    bytes
        .try_reserve_exact(text.len() + 1)
        .map_err(|_| full())?;
    bytes.extend(text.bytes().map(|byte| byte.to_ascii_lowercase()));
    // The room for the NUL is there: nothing is allocated.
    CString::new(bytes).map_err(|_| crate::error::INVAL)
}
