//! Go's Dial, with the Happy Eyeballs of RFC 8305: the one room where several
//! addresses are tried for one connection.

use crate::addr::{self, Complaint, Network, Protocol};
use crate::error::{CANCELED, CLOSED, DEADLINE, Error, Result, Sys};
use crate::fd::any;
use crate::fd::cancel::Cancel;
use crate::fd::desc::Call;
use crate::fd::limits::{Limits, Patience, Side};
use crate::fd::look::in_time;
use crate::net::connect::{self, Progress};
use crate::net::control::{self, Control};
use crate::net::failure::{self, Failure, Place};
use crate::net::lookup::{Failed, push};
use crate::net::options::TcpOptions;
use crate::net::socket as sockets;
use crate::net::targets::{Local, targets};
use crate::poll::{Poller, SLICE};
use crate::sys::socket::{self, Sockaddr};
use crate::sys::time::{self, SECOND};
use crate::sys::{self, Fd};
use crate::text::Long;
use libc::c_short;

/// The Connection Attempt Delay of RFC 8305: 250 ms.
const DELAY: i64 = 250_000_000;

/// The least that a partial deadline leaves an address: Go's `saneMinimum`.
const SHARE_MIN: i64 = 2 * SECOND;

/// Whole attempts at one address that are made once more, as in Go: the kernel
/// connected the socket to itself, or found no port.
const AGAIN_MAX: u32 = 2;

/// Go's Dialer.
#[derive(Clone, Copy)]
pub struct Dialer<'a> {
    /// Until when, lookup and all attempts together; 0: no limit.
    pub deadline: i64,
    /// Held by the caller.
    pub token: Option<&'static Cancel>,
    /// The local address's text.
    pub local: Option<&'a [u8]>,
    /// How long before the next address is tried as well, in ns; 0: the
    /// default; negative: not before the one before has failed.
    pub fallback_delay: i64,
    /// What a TCP connection is given.
    pub options: TcpOptions,
    /// Whether Multipath TCP is tried first.
    pub mptcp: bool,
    /// What sees each socket before it is bound or connected.
    pub control: Option<Control<'a>>,
}

/// Go `Dialer.Dial`.
pub fn dial(name: &[u8], text: &[u8], dialer: &Dialer<'_>) -> Result<Fd> {
    let Some(network) = Network::find(name) else {
        return Err(Failed::from(Complaint::network(name)).record("dial", name));
    };
    let (local, targets) =
        targets(&network, text, dialer).map_err(|failed| failed.record("dial", name))?;
    Race {
        network: &network,
        dialer,
        local,
        targets: &targets,
        next: 0,
        next_at: 0,
        running: Vec::new(),
        failed: Vec::new(),
        stopped_at: None,
    }
    .run()
}

/// One socket on its way to one address.
#[derive(Debug)]
struct Attempt {
    target: usize,
    tries: Tries,
    call: Call,
}

/// How an address is tried.
#[derive(Clone, Copy, Debug)]
struct Tries {
    /// How often it was before that is not held against it.
    again: u32,
    /// It is Multipath TCP's turn.
    mptcp: bool,
    /// The address's share of the time where they take turns; 0: no limit.
    deadline: i64,
}

/// Why an attempt is at an end.
#[derive(Clone, Copy, Debug)]
enum Stop {
    /// The address is no good.
    Address(Error),
    /// The kernel connected the socket to itself: nobody listens there.
    Itself,
    /// All is over: a limit, the control function, destroy.
    Race(Error),
}

type Outcome<T> = core::result::Result<T, Stop>;

impl Attempt {
    /// Ends the socket. `undecided`: the kernel may still be at it, and has to
    /// be told in so many words, for the child of a fork(2) may have a copy.
    fn discard(self, undecided: bool) {
        if undecided && self.call.is_open() {
            connect::give_up(self.call.fd());
        }
        self.call.destroy_when_left();
    }
}

/// The attempts at one connection.
struct Race<'a> {
    network: &'a Network,
    dialer: &'a Dialer<'a>,
    local: Local,
    targets: &'a [Sockaddr],
    /// The target that comes next, and when, however the others fare.
    next: usize,
    next_at: i64,
    running: Vec<Attempt>,
    /// The targets that failed, and why.
    failed: Vec<(usize, Error)>,
    /// The target that ended it, where it was one and no limit of the whole.
    stopped_at: Option<usize>,
}

impl Race<'_> {
    fn run(mut self) -> Result<Fd> {
        let ended = self.until_won();
        self.running.sort_unstable_by_key(|attempt| attempt.target);
        let result = ended.map_err(|error| self.explain(error));
        for loser in self.running.drain(..) {
            loser.discard(true);
        }
        result
    }

    fn until_won(&mut self) -> Result<Fd> {
        let mut poller = Poller::exact();
        loop {
            let won = if self.is_next_due() {
                // Whom the caller kept waiting may be decided by now.
                let won = self.look(None, &mut poller)?;
                if won.is_none() && self.is_next_due() {
                    poller = Poller::exact();
                    self.begin_next()?
                } else {
                    won
                }
            } else if self.running.is_empty() {
                self.failed.sort_unstable_by_key(|(target, _)| *target);
                let first = self.failed.first().map(|(_, error)| *error);
                return Err(first.unwrap_or(crate::error::PANIC));
            } else {
                let ready = self.wait(&mut poller)?;
                self.look(ready, &mut poller)?
            };
            if let Some(fd) = won {
                return Ok(fd);
            }
        }
    }

    /// Whether the addresses take turns: where it is asked for, and where two
    /// attempts would be from one port.
    fn is_serial(&self) -> bool {
        self.dialer.fallback_delay < 0 || !self.picks_port()
    }

    fn delay(&self) -> i64 {
        match self.dialer.fallback_delay {
            0 => DELAY,
            delay => delay,
        }
    }

    fn is_next_due(&self) -> bool {
        let is_time = self.running.is_empty() || (!self.is_serial() && time::now() >= self.next_at);
        self.next < self.targets.len() && is_time
    }

    /// The limits of the whole, and what the control function has set on the
    /// descriptor.
    fn limits(&self) -> Limits {
        Limits {
            side: Some(Side::Write),
            deadline: self.dialer.deadline,
            token: self.dialer.token,
        }
    }

    /// Go `partialDeadline`: where the addresses take turns each has its share
    /// of the time that is left, which is not too short for any.
    fn partial_deadline(&self) -> i64 {
        let deadline = self.dialer.deadline;
        if deadline == 0 || !self.is_serial() {
            return 0;
        }
        let now = time::now();
        let left = deadline.saturating_sub(now);
        let addresses = i64::try_from(self.targets.len() - self.next + 1).unwrap_or(i64::MAX);
        let share = (left / addresses).max(SHARE_MIN.min(left));
        now.saturating_add(share)
    }

    /// Tries the next address.
    fn begin_next(&mut self) -> Result<Option<Fd>> {
        let target = self.next;
        self.next += 1;
        let tries = Tries {
            again: 0,
            mptcp: self.dialer.mptcp && self.network.protocol == Protocol::Tcp,
            deadline: self.partial_deadline(),
        };
        self.attempt(target, tries)
    }

    /// Tries one address, as often as it takes. `Some`: it stands. `None`: it
    /// is under way, or has failed.
    fn attempt(&mut self, target: usize, mut tries: Tries) -> Result<Option<Fd>> {
        self.running
            .try_reserve(1)
            .map_err(|_| Error::os(libc::ENOMEM, Sys::Malloc))?;
        loop {
            let stopped = match self.start(target, tries) {
                Ok((attempt, Progress::Pending)) => {
                    self.running.push(attempt);
                    // Not counting what the control function took.
                    self.next_at = time::now().saturating_add(self.delay());
                    return Ok(None);
                }
                Ok((attempt, Progress::Connected(peer))) => match self.finish(attempt, &peer) {
                    Ok(fd) => return Ok(Some(fd)),
                    Err(stop) => stop,
                },
                Err(stop) => stop,
            };
            match self.another((target, tries), stopped)? {
                Some(next) => tries = next,
                None => return Ok(None),
            }
        }
    }

    /// What is tried once more after an attempt that came to nothing: plain
    /// TCP, or the same where the failure says nothing of the address. `None`:
    /// the address has failed, and the next one's turn has come.
    fn another(&mut self, (target, tries): (usize, Tries), stopped: Stop) -> Result<Option<Tries>> {
        let (error, spurious) = match stopped {
            Stop::Race(error) => {
                if ![DEADLINE, CANCELED].iter().any(|limit| error.same(*limit)) {
                    self.stopped_at = Some(target);
                }
                return Err(error);
            }
            Stop::Itself => (Error::os(libc::ECONNREFUSED, Sys::Connect), true),
            Stop::Address(error) => (error, error.is(libc::EADDRNOTAVAIL)),
        };
        let mut next = Tries {
            mptcp: false,
            ..tries
        };
        if tries.mptcp {
            return Ok(Some(next));
        }
        if spurious && self.picks_port() && tries.again < AGAIN_MAX {
            next.again += 1;
            return Ok(Some(next));
        }
        self.next_at = time::now();
        push(&mut self.failed, (target, error))?;
        Ok(None)
    }

    /// Whether it is TCP from a port of the kernel's choice.
    fn picks_port(&self) -> bool {
        let port = match &self.local {
            Local::Port(port) => *port,
            Local::At(local) => addr::port_of(local),
        };
        self.network.protocol == Protocol::Tcp && port == 0
    }

    /// Makes a socket and has it connect.
    fn start(&self, target: usize, tries: Tries) -> Outcome<(Attempt, Progress)> {
        let Some(raddr) = self.targets.get(target) else {
            return Err(Stop::Race(crate::error::PANIC));
        };
        in_time(self.dialer.deadline, self.dialer.token).map_err(Stop::Race)?;
        let proto = if tries.mptcp { libc::IPPROTO_MPTCP } else { 0 };
        let fd =
            sockets::make(raddr.family(), self.network.sotype, proto).map_err(Stop::Address)?;
        // The turn is taken behind the control function, which may want it.
        let mut attempt = Attempt {
            target,
            tries,
            call: Call::deferred(fd, Side::Write).map_err(Stop::Race)?,
        };
        match self.set_off(&mut attempt.call, raddr) {
            Ok(progress) => Ok((attempt, progress)),
            Err(stop) => {
                attempt.discard(false);
                Err(stop)
            }
        }
    }

    /// The order is Go's: options, control function, bind, connect.
    fn set_off(&self, call: &mut Call, raddr: &Sockaddr) -> Outcome<Progress> {
        sockets::set_broadcast(call).map_err(Stop::Address)?;
        if let Some(control) = self.dialer.control {
            control::run(control, call, self.network, raddr).map_err(Stop::Race)?;
        }
        call.rwlock(self.limits(), Patience::Park)
            .map_err(Stop::Race)?;
        let local = self.local.of(raddr);
        if let Some(local) = &local {
            socket::bind(call.fd(), local).map_err(Stop::Address)?;
        }
        let started = connect::start(call, raddr, self.limits()).inspect_err(|_| {
            // Or the next attempt would find the file of this one.
            if let Some(path) = local.as_ref().and_then(addr::unix_path) {
                let _ = sys::unlink(path);
            }
        });
        started.map_err(|error| self.stop(error))
    }

    /// What an error of an attempt stops. A deadline may be the descriptor's
    /// own, which the control function has set.
    fn stop(&self, error: Error) -> Stop {
        let is_late = || in_time(self.dialer.deadline, self.dialer.token).is_err();
        let over = error.is(libc::EINTR)
            || error.same(CANCELED)
            || error.same(CLOSED)
            || (error.same(DEADLINE) && is_late());
        if over {
            Stop::Race(error)
        } else {
            Stop::Address(error)
        }
    }

    /// Parks until an attempt may be decided, or the next one's time has come.
    /// What the one is ready for that runs alone.
    fn wait(&mut self, poller: &mut Poller) -> Result<Option<c_short>> {
        let Some((first, rest)) = self.running.split_first() else {
            return Ok(None);
        };
        let mut limits = self.limits().no_later(first.tries.deadline);
        if self.next < self.targets.len() && !self.is_serial() {
            limits = limits.no_later(self.next_at);
        }
        if self.dialer.control.is_some() && !rest.is_empty() {
            // Somebody knows the descriptors, and one that he destroys, but for
            // the first, wakes nobody.
            limits = limits.no_later(time::now().saturating_add(SLICE));
        }
        let rest = rest.iter().map(|attempt| &attempt.call);
        match any::wait(&first.call, rest, Side::Write.event(), limits, poller) {
            // Perhaps not of the whole; and nobody may have looked at them.
            Err(error) if error.same(DEADLINE) => {
                in_time(self.dialer.deadline, self.dialer.token)?;
                Ok(None)
            }
            other => other,
        }
    }

    /// Looks which attempts are decided. `ready`: what is known already.
    fn look(&mut self, mut ready: Option<c_short>, poller: &mut Poller) -> Result<Option<Fd>> {
        let mut index = 0;
        while let Some(attempt) = self.running.get(index) {
            let decided = match self.decided(attempt, ready) {
                Ok(None) => {
                    if ready.is_some_and(|ready| ready != 0) {
                        poller.missed();
                    }
                    index += 1;
                    continue;
                }
                Ok(Some(peer)) => Ok(peer),
                Err(stop) => Err(stop),
            };
            // It was said of this one, and not of the one that may follow it.
            ready = None;
            *poller = Poller::exact();
            let attempt = self.running.swap_remove(index);
            let of = (attempt.target, attempt.tries);
            let stopped = match decided {
                Ok(peer) => match self.finish(attempt, &peer) {
                    Ok(fd) => return Ok(Some(fd)),
                    Err(stop) => stop,
                },
                Err(stop) => {
                    let decided = matches!(stop, Stop::Address(why) if why.call() != Sys::None);
                    attempt.discard(!decided);
                    stop
                }
            };
            if let Some(next) = self.another(of, stopped)?
                && let Some(fd) = self.attempt(of.0, next)?
            {
                return Ok(Some(fd));
            }
        }
        Ok(None)
    }

    /// What became of an attempt: its peer, or nothing yet.
    fn decided(&self, attempt: &Attempt, ready: Option<c_short>) -> Outcome<Option<Sockaddr>> {
        let call = &attempt.call;
        call.prepare(Limits::NONE).map_err(Stop::Race)?;
        let ready = match ready {
            Some(ready) => ready,
            None => call.poll_now(Side::Write.event()).map_err(Stop::Address)?,
        };
        if ready == 0 {
            let limits = Limits::of(Side::Write).no_later(attempt.tries.deadline);
            return match call.prepare(limits) {
                Ok(()) => Ok(None),
                Err(error) => Err(Stop::Address(error)),
            };
        }
        // Where poll(2) sees no error there is none, and who has a peer is
        // connected: SO_ERROR need not be asked.
        if ready & (libc::POLLERR | libc::POLLHUP) == 0
            && let Ok(peer) = socket::getpeername(call.fd())
        {
            return Ok(Some(peer));
        }
        connect::verdict(call, ready).map_err(Stop::Address)
    }

    /// Makes a connection the caller's.
    fn finish(&self, attempt: Attempt, peer: &Sockaddr) -> Outcome<Fd> {
        let (call, fd) = (&attempt.call, attempt.call.fd());
        let is_itself = self.picks_port()
            && socket::getsockname(fd).is_ok_and(|local| local.bytes() == peer.bytes());
        if is_itself {
            // Without a goodbye, or its port would be kept for a minute.
            attempt.discard(true);
            return Err(Stop::Itself);
        }
        if self.network.protocol == Protocol::Tcp {
            self.dialer.options.apply(fd);
        }
        connect::stands(call, peer);
        if let Err(error) = call.prepare(Limits::NONE) {
            attempt.discard(false);
            return Err(Stop::Race(error));
        }
        Ok(fd)
    }

    /// Records the failure of the whole, with the text of all that was tried:
    /// first the one that `error` is about, then those under way, then those
    /// that had failed.
    fn explain(&self, error: Error) -> Error {
        let has_failed = |target: &usize| self.failed.iter().any(|(failed, _)| failed == target);
        let running = self.running.iter().map(|attempt| attempt.target);
        // What was ended by an attempt's beginning is no more among those.
        let last = self.next.checked_sub(1).filter(|_| self.running.is_empty());
        let last = last.filter(|last| !has_failed(last));
        let others = if self.stopped_at.is_some() {
            CANCELED
        } else {
            error
        };
        let under_way = running
            .chain(last)
            .filter(|target| Some(*target) != self.stopped_at);
        let mut told = (self.stopped_at.into_iter().map(|target| (target, error)))
            .chain(under_way.map(|target| (target, others)))
            .chain(self.failed.iter().copied());
        let Some((target, error)) = told.next() else {
            return failure::record("dial", self.place(0), error);
        };
        let place = self.place(target);
        let mut text = Long::new();
        for (index, (other, why)) in told.enumerate() {
            if index == 0 {
                text.push(Failure::new("dial", place, error).text().bytes());
            }
            text.push(b"; ");
            text.push(addr::text(&self.place(other).remote).bytes());
            text.push(b": ");
            text.push(failure::cause(why).bytes());
        }
        failure::record_as("dial", place, error, text)
    }

    fn place(&self, target: usize) -> Place {
        let remote = self.targets.get(target).copied();
        let remote = remote.unwrap_or_else(Sockaddr::none);
        Place {
            network: self.network.name,
            // As in Go, the source is told where the caller named one.
            local: self.local.of(&remote).unwrap_or_else(Sockaddr::none),
            remote,
        }
    }
}
