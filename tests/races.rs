//! Destroy against every other call, tens of thousands of times, while another
//! thread takes the number the moment it is free.
//!
//! Each connection carries an identity of its own, and so does the stranger on
//! the number: a byte that reaches the wrong one is seen. A race is steered so
//! that both sides win some, and how many each won is printed.
//!
//! Specifies the header's principles on any call from any thread and on
//! numbers. Follows Go `TestCloseUnblocksRead`, `TestRacyRead`,
//! `TestRacyWrite` and fd_mutex_test.go.

mod common;

use common::lines::copy;
use common::*;
use libc::{c_int, sa_family_t, sockaddr_un, socklen_t};
use std::hint::spin_loop;
use std::mem::size_of;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

const CLOSED: i64 = NETFD_ECLOSED as i64;
const BADF: i64 = -(libc::EBADF as i64);
/// How many rounds the great races have, and the smaller ones, each as many
/// times as NETFD_TEST_ROUNDS says.
const MANY: u32 = 20_000;
const SOME: u32 = 5_000;
/// What waits in every stranger's queue.
const SECRET: u64 = u64::from_be_bytes(*b"stranger");

/// What a call returned, and the identity that it came upon.
type Told = (i64, u64);

/// What is raced.
trait Race {
    /// The call that destroy races with.
    const CALL: fn(c_int) -> Told;
    /// In which of two ways round `k` goes: each is steered by itself.
    fn way(k: u32) -> usize {
        usize::from(k.is_multiple_of(2))
    }
    /// Makes the descriptor of round `k`. Nothing that it opens for long may
    /// come after it, so that its number is the next that the kernel gives.
    fn open(&mut self, k: u32) -> c_int;
    /// Does something that the call may wait for, once it may have begun.
    fn poke(&mut self, _k: u32) {}
    /// Says whether what happened is right, and whether the call was first.
    fn judge(&mut self, k: u32, fd: c_int, told: Told, destroyed: c_int) -> bool;
    /// What takes the number, by dup(2).
    fn stranger(&self) -> c_int;
    /// Asserts that nobody has touched the stranger.
    fn untouched(&self);
    /// How many descriptors the library may keep for the next call: one by which
    /// somebody polled.
    const KEPT: usize = 1;
    /// Whether the taker attaches the number to the library.
    const ATTACHES: bool = false;
    /// Whether the call is to be parked before destroy begins.
    fn parks_first(_k: u32) -> bool {
        false
    }
}

/// A number that one thread sets and others wait for: spinning for a while, so
/// that they start together, then asleep, so that they do not stand in the way
/// of those who are to run.
#[derive(Default)]
struct Gate(AtomicU32);

impl Gate {
    fn set(&self, to: u32) {
        self.0.store(to, Ordering::Release);
        let (word, wake) = (self.0.as_ptr(), libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG);
        // SAFETY: the word outlives the call.
        unsafe { libc::syscall(libc::SYS_futex, word, wake, c_int::MAX) };
    }

    fn get(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }

    /// Waits until the number is another than `before`, at most for GUARD.
    fn next(&self, before: u32) -> Option<u32> {
        let begun = Instant::now();
        for _ in 0..500 {
            if self.get() != before {
                return Some(self.get());
            }
            spin_loop();
        }
        let (word, wait) = (self.0.as_ptr(), libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG);
        let second = libc::timespec {
            tv_sec: 1,
            tv_nsec: 0,
        };
        while self.get() == before && begun.elapsed() < GUARD {
            // SAFETY: the word and the timespec outlive the call.
            unsafe { libc::syscall(libc::SYS_futex, word, wait, before, &raw const second) };
        }
        Some(self.get()).filter(|now| *now != before)
    }
}

/// Where the threads of a race meet. Each round has a number, from 1.
#[derive(Default)]
struct Track {
    /// All is prepared.
    set: Gate,
    /// The caller stands by.
    ready: Gate,
    go: Gate,
    /// The caller is about to call: from here on nothing but the call sleeps.
    begun: AtomicU32,
    called: Gate,
    taken: Gate,
    /// Destroy has returned: the number is free, or never will be.
    over: Gate,
    fd: AtomicI32,
    stranger: AtomicI32,
    /// Nanoseconds that the caller waits first.
    delay: AtomicU64,
    code: AtomicI64,
    identity: AtomicU64,
    /// The stranger has the number.
    caught: AtomicBool,
    /// The caller has been started.
    runs: AtomicBool,
}

/// The round that ends the threads.
const LAST: u32 = u32::MAX;

impl Track {
    fn call(&self, call: fn(c_int) -> Told) {
        self.runs.store(true, Ordering::Release);
        let mut round = 0;
        loop {
            round = self.set.next(round).unwrap_or(LAST);
            if round == LAST {
                return;
            }
            self.ready.set(round);
            self.go.next(round - 1);
            linger(self.delay.load(Ordering::Relaxed));
            self.begun.store(round, Ordering::Release);
            let (code, identity) = call(self.fd.load(Ordering::Relaxed));
            self.code.store(code, Ordering::Relaxed);
            self.identity.store(identity, Ordering::Relaxed);
            self.called.set(round);
        }
    }

    /// Duplicates the stranger again and again, until it gets the number.
    fn take(&self, attaches: bool) {
        let mut round = 0;
        loop {
            round = self.set.next(round).unwrap_or(LAST);
            if round == LAST {
                return;
            }
            let wanted = self.fd.load(Ordering::Relaxed);
            let stranger = self.stranger.load(Ordering::Relaxed);
            self.go.next(round - 1);
            // Not for long: there may be no more than two cores.
            let begun = Instant::now();
            let caught = loop {
                let over = self.over.get() == round;
                // SAFETY: no pointers.
                let got = unsafe { libc::fcntl(stranger, libc::F_DUPFD_CLOEXEC, 0) };
                if got == wanted {
                    if attaches {
                        assert_eq!(attach(got), got);
                    }
                    break true;
                }
                plain_close(got);
                if over {
                    break false;
                }
                if begun.elapsed() > Duration::from_micros(100) {
                    self.over.next(round - 1);
                }
            };
            self.caught.store(caught, Ordering::Relaxed);
            self.taken.set(round);
        }
    }

    /// Waits for the caller to stand by, and starts the round.
    fn start(&self, round: u32) {
        self.set.set(round);
        let ready = self.ready.next(round - 1);
        assert_eq!(ready, Some(round), "the caller has ended");
        self.go.set(round);
    }

    fn await_end(&self, round: u32) {
        for end in [&self.called, &self.taken] {
            let ended = end.next(round - 1);
            assert_eq!(ended, Some(round), "it hangs\n{}", dump());
        }
    }

    /// Waits until the caller is parked inside its call.
    fn await_parked(&self, round: u32) {
        await_that("the caller begins", || {
            self.begun.load(Ordering::Acquire) == round
        });
        await_that("the caller parks", || stats().parked == 1);
    }
}

/// Waits to the nanosecond, but leaves the core to others while it is long:
/// there may be only one for all who race.
fn linger(ns: u64) {
    let begun = Instant::now();
    let long = Duration::from_nanos(ns).saturating_sub(Duration::from_micros(100));
    if !long.is_zero() {
        thread::sleep(long);
    }
    while begun.elapsed() < Duration::from_nanos(ns) {
        spin_loop();
    }
}

/// Steers a race towards a draw: by how many nanoseconds destroy is to be the
/// later one, or the call where it is negative.
struct Steer {
    lead: i64,
    step: i64,
    last: bool,
    random: u64,
}

impl Steer {
    fn new() -> Self {
        Self {
            lead: 0,
            step: 100,
            last: false,
            random: 88_172_645_463_325_252,
        }
    }

    /// The waits of the destroyer and of the caller.
    fn waits(&mut self) -> (u64, u64) {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let jitter = self.random % (200 + self.lead.unsigned_abs() / 2);
        let waits = self.lead.unsigned_abs() + jitter;
        if self.lead < 0 {
            (0, waits)
        } else {
            (waits, 0)
        }
    }

    fn learn(&mut self, call_first: bool) {
        self.step = if call_first == self.last {
            (self.step * 2).min(50_000)
        } else {
            (self.step / 4).max(100)
        };
        self.last = call_first;
        let towards = if call_first { -self.step } else { self.step };
        self.lead = (self.lead + towards).clamp(-500_000, 3_000_000);
    }
}

/// Runs a race, in a process of its own and no two at once: the threads have
/// to run side by side, and the numbers are to be the kernel's next.
fn race<R: Race>(name: &str, rounds: u32, race: impl FnOnce() -> R) {
    static ONE: Mutex<()> = Mutex::new(());
    let times = std::env::var("NETFD_TEST_ROUNDS").map_or(Ok(1), |times| times.parse::<u32>());
    let rounds = rounds * times.expect("NETFD_TEST_ROUNDS is a number");
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let said = alone(name, || {
        no_twin(); // destroy is called beside the call
        let (fds, before) = (open_fds(), stats());
        let (first, second, untaken) = run(race(), rounds);
        println!("{name}: the call was first {first} times, destroy {second} times");
        assert!(untaken <= rounds / 10, "{untaken} numbers were not taken");
        // Which side is first is chance; that each is, often, is not.
        assert!(first >= rounds / 10, "{first}");
        assert!(second >= rounds / 10, "{second}");
        let after = stats();
        assert!(open_fds() <= fds + R::KEPT, "no descriptor leaked");
        assert_eq!((after.open_fds, after.parked), (before.open_fds, 0));
    });
    if let Some(said) = said {
        println!("{said}");
    }
}

/// How often the call was first, and destroy, and how often nobody took the
/// number though it was free.
fn run<R: Race>(mut race: R, rounds: u32) -> (u32, u32, u32) {
    let track = Arc::new(Track::default());
    let (caller, taker) = (track.clone(), track.clone());
    let caller = spawn(move || caller.call(R::CALL));
    let taker = spawn_thread(move || taker.take(R::ATTACHES));
    await_that("the caller runs", || track.runs.load(Ordering::Acquire));
    let mut steers = [Steer::new(), Steer::new()];
    let mut sides = (0, 0, 0);
    for k in 1..=rounds {
        let steer = steers.get_mut(R::way(k)).expect("one of two");
        let (mine, callers) = steer.waits();
        let fd = race.open(k);
        track.fd.store(fd, Ordering::Relaxed);
        track.stranger.store(race.stranger(), Ordering::Relaxed);
        track.delay.store(callers, Ordering::Relaxed);
        track.start(k);
        if R::parks_first(k) {
            track.await_parked(k);
        } else {
            race.poke(k);
            linger(mine);
        }
        let destroyed = destroy(fd);
        track.over.set(k);
        track.await_end(k);
        let code = track.code.load(Ordering::Relaxed);
        let told = (code, track.identity.load(Ordering::Relaxed));
        let call_first = race.judge(k, fd, told, destroyed);
        if track.caught.load(Ordering::Relaxed) {
            race.untouched();
            if R::ATTACHES {
                assert_eq!(destroy(fd), 0, "the stranger's own");
            } else {
                plain_close(fd); // it is still open: nobody closed it twice
            }
        } else if code == i64::from(fd) {
            plain_close(fd); // detached
        } else {
            // The kernel gave a number that the library had freed meanwhile.
            assert!(!is_open(fd), "only detach leaves it open");
            sides.2 += 1;
        }
        if !R::parks_first(k) {
            steer.learn(call_first);
        }
        if call_first {
            sides.0 += 1;
        } else {
            sides.1 += 1;
        }
    }
    track.set.set(LAST);
    caller.join();
    taker.join();
    sides
}

/// Most races are about a pair of unix sockets, and so is their stranger.
struct Pair {
    stranger: c_int,
    far: c_int,
    peer: c_int,
}

impl Pair {
    fn new() -> Self {
        let (stranger, far) = plain_pair(libc::SOCK_STREAM);
        plain_send(far, &SECRET.to_be_bytes());
        Self {
            stranger,
            far,
            peer: -1,
        }
    }

    fn open(&mut self) -> c_int {
        let (fd, peer) = plain_pair(libc::SOCK_STREAM);
        assert!(fd < peer);
        assert_eq!(attach(fd), fd);
        self.peer = peer;
        fd
    }

    fn send(&self, k: u32) {
        plain_send(self.peer, &u64::from(k).to_be_bytes());
    }

    /// Closes the peer, which has `got` some bytes and is to get no others than
    /// `bytes` before the end.
    fn close(&self, got: &[u8], bytes: &[u8]) {
        let mut got = got.to_vec();
        while let Some(more) = plain_recv(self.peer).filter(|more| !more.is_empty()) {
            got.extend(more);
        }
        assert_eq!(got, bytes);
        plain_close(self.peer);
    }

    fn untouched(&self) {
        assert_eq!(peek(self.stranger), Some(SECRET), "its bytes are there");
        let sent = plain_recv(self.far);
        assert_eq!(sent, None, "nothing was written, and it was not shut down");
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        plain_close(self.stranger);
        plain_close(self.far);
    }
}

/// The identity that waits in a socket.
fn peek(fd: c_int) -> Option<u64> {
    let mut bytes = [0; 8];
    let flags = libc::MSG_DONTWAIT | libc::MSG_PEEK;
    // SAFETY: the buffer is as long as said.
    let n = unsafe { libc::recv(fd, bytes.as_mut_ptr().cast(), 8, flags) };
    (n == 8).then(|| u64::from_be_bytes(bytes))
}

fn read_identity(fd: c_int) -> Told {
    let mut bytes = [0; 8];
    let n = read(fd, &mut bytes);
    (n as i64, u64::from_be_bytes(bytes))
}

/// Whether a call that reads an identity was first.
fn read_its_own(k: u32, told: Told) -> bool {
    match told {
        (8, identity) => {
            assert_eq!(identity, u64::from(k), "another one's bytes");
            true
        }
        (code, identity) => {
            assert_eq!((code, identity), (CLOSED, 0), "round {k}");
            false
        }
    }
}

struct Reads(Pair);

impl Race for Reads {
    const CALL: fn(c_int) -> Told = read_identity;

    fn open(&mut self, k: u32) -> c_int {
        let fd = self.0.open();
        if k.is_multiple_of(2) {
            self.0.send(k);
        }
        fd
    }

    fn poke(&mut self, k: u32) {
        if !k.is_multiple_of(2) {
            self.0.send(k);
        }
    }

    fn judge(&mut self, k: u32, _: c_int, told: Told, destroyed: c_int) -> bool {
        assert_eq!(destroyed, 0);
        plain_close(self.0.peer);
        read_its_own(k, told)
    }

    fn stranger(&self) -> c_int {
        self.0.stranger
    }

    fn untouched(&self) {
        self.0.untouched();
    }
}

#[test]
fn destroy_against_read() {
    race("destroy_against_read", MANY, || Reads(Pair::new()));
}

/// The stranger is one that the library knows: a call that begins after destroy
/// may reach it, one that was inside before may not, and none hears that the
/// number is unknown.
struct ReadsByNumber(Pair);

impl Race for ReadsByNumber {
    const CALL: fn(c_int) -> Told = read_identity;
    const ATTACHES: bool = true;

    fn parks_first(k: u32) -> bool {
        k.is_multiple_of(4)
    }

    fn open(&mut self, k: u32) -> c_int {
        let fd = self.0.open();
        if !Self::parks_first(k) {
            self.0.send(k);
        }
        fd
    }

    fn judge(&mut self, k: u32, _: c_int, told: Told, destroyed: c_int) -> bool {
        assert_eq!(destroyed, 0);
        plain_close(self.0.peer);
        if told == (8, SECRET) {
            assert!(!Self::parks_first(k), "it was inside before");
            plain_send(self.0.far, &SECRET.to_be_bytes());
            return false;
        }
        read_its_own(k, told)
    }

    fn stranger(&self) -> c_int {
        self.0.stranger
    }

    fn untouched(&self) {
        self.0.untouched();
    }
}

#[test]
fn destroy_against_read_while_the_library_takes_the_number() {
    race(
        "destroy_against_read_while_the_library_takes_the_number",
        MANY,
        || ReadsByNumber(Pair::new()),
    );
}

/// Every other write finds no room, and waits until the peer reads.
struct Writes {
    pair: Pair,
    filled: usize,
    /// What the peer has read already.
    got: Vec<u8>,
}

/// What a race writes: the number of its descriptor is no secret, and the
/// identity has to be known to the call.
static WRITTEN: AtomicU64 = AtomicU64::new(0);

impl Race for Writes {
    const CALL: fn(c_int) -> Told = |fd| {
        let identity = WRITTEN.load(Ordering::Relaxed);
        (write(fd, &identity.to_be_bytes()) as i64, identity)
    };

    fn open(&mut self, k: u32) -> c_int {
        let fd = self.pair.open();
        WRITTEN.store(u64::from(k), Ordering::Relaxed);
        self.filled = 0;
        self.got.clear();
        if !k.is_multiple_of(2) {
            let least: c_int = 1;
            let len = socklen_t::try_from(size_of::<c_int>()).expect("four");
            // SAFETY: the option is as long as said.
            let set = unsafe {
                libc::setsockopt(
                    fd,
                    libc::SOL_SOCKET,
                    libc::SO_SNDBUF,
                    (&raw const least).cast(),
                    len,
                )
            };
            assert_eq!(set, 0);
            self.filled = fill_by_bytes(fd);
        }
        fd
    }

    fn poke(&mut self, _: u32) {
        if self.filled > 0 {
            // Maybe what is written meanwhile, too.
            self.got = plain_recv(self.pair.peer).expect("there is a lot");
        }
    }

    fn judge(&mut self, k: u32, _: c_int, told: Told, destroyed: c_int) -> bool {
        assert_eq!(destroyed, 0);
        let mut expected = vec![b'f'; self.filled];
        let call_first = told.0 == 8;
        if call_first {
            expected.extend(u64::from(k).to_be_bytes());
        } else {
            assert_eq!(told.0, CLOSED, "round {k}");
        }
        self.pair.close(&self.got, &expected);
        call_first
    }

    fn stranger(&self) -> c_int {
        self.pair.stranger
    }

    fn untouched(&self) {
        self.pair.untouched();
    }
}

/// Fills a socket's small buffer. Returns how many bytes went.
fn fill_by_bytes(fd: c_int) -> usize {
    let block = [b'f'; 512];
    let mut sent = 0;
    loop {
        let (from, flags) = (block.as_ptr().cast(), libc::MSG_DONTWAIT);
        // SAFETY: the buffer is as long as said.
        match usize::try_from(unsafe { libc::send(fd, from, block.len(), flags) }) {
            Ok(n) => sent += n,
            Err(_) => return sent,
        }
    }
}

#[test]
fn destroy_against_write() {
    race("destroy_against_write", MANY, || Writes {
        pair: Pair::new(),
        filled: 0,
        got: Vec::new(),
    });
}

/// Copies into the descriptor in every other pair of rounds, and out of it in
/// those between. Every other copy waits for what it is to copy.
struct Copies {
    pair: Pair,
    into: bool,
    /// The other connection's two ends: one for the library, one to look at.
    other: (c_int, c_int),
}

/// What a race copies to and from; -1: the descriptor.
static ENDS: [AtomicI32; 2] = [const { AtomicI32::new(-1) }; 2];

impl Copies {
    fn new() -> Self {
        Self {
            pair: Pair::new(),
            into: false,
            other: (-1, -1),
        }
    }

    fn feed(&self, k: u32) {
        if self.into {
            plain_send(self.other.1, &u64::from(k).to_be_bytes());
        } else {
            self.pair.send(k);
        }
    }
}

impl Race for Copies {
    const KEPT: usize = 1 + 2; // a pipe
    const CALL: fn(c_int) -> Told = |fd| {
        let [to, from] = ENDS
            .each_ref()
            .map(|end| match end.load(Ordering::Relaxed) {
                -1 => fd,
                other => other,
            });
        (copy(to, from, 8), 0)
    };

    fn open(&mut self, k: u32) -> c_int {
        self.into = k & 2 != 0;
        self.other = plain_pair(libc::SOCK_STREAM);
        assert_eq!(attach(self.other.0), self.other.0);
        let ends = if self.into {
            [-1, self.other.0]
        } else {
            [self.other.0, -1]
        };
        for (end, fd) in ENDS.iter().zip(ends) {
            end.store(fd, Ordering::Relaxed);
        }
        let fd = self.pair.open();
        if k.is_multiple_of(2) {
            self.feed(k);
        }
        fd
    }

    fn poke(&mut self, k: u32) {
        if !k.is_multiple_of(2) {
            self.feed(k);
        }
    }

    fn judge(&mut self, k: u32, _: c_int, told: Told, destroyed: c_int) -> bool {
        assert_eq!(destroyed, 0);
        let call_first = told.0 == 8;
        assert!(call_first || told.0 == CLOSED, "round {k}: {}", told.0);
        let copied = if call_first {
            u64::from(k).to_be_bytes().to_vec()
        } else {
            Vec::new()
        };
        if self.into {
            self.pair.close(&[], &copied);
        } else {
            assert_eq!(plain_recv(self.other.1).unwrap_or_default(), copied);
            plain_close(self.pair.peer);
        }
        assert_eq!(destroy(self.other.0), 0);
        plain_close(self.other.1);
        call_first
    }

    fn stranger(&self) -> c_int {
        self.pair.stranger
    }

    fn untouched(&self) {
        self.pair.untouched();
    }
}

#[test]
fn destroy_against_copy() {
    race("destroy_against_copy", MANY, Copies::new);
}

/// A unix listener with an address of the kernel's choice, past the library.
fn plain_listen(fd: c_int) -> (sockaddr_un, socklen_t) {
    // SAFETY: an all-zero sockaddr_un is a valid one.
    let mut at: sockaddr_un = unsafe { std::mem::zeroed() };
    at.sun_family = sa_family_t::try_from(libc::AF_UNIX).expect("small");
    let family = socklen_t::try_from(size_of::<sa_family_t>()).expect("two");
    // SAFETY: the family alone is an address: it asks for an abstract name.
    let bound = unsafe { libc::bind(fd, (&raw const at).cast(), family) };
    assert_eq!(bound, 0);
    // SAFETY: no pointers.
    assert_eq!(unsafe { libc::listen(fd, 8) }, 0);
    let mut len = socklen_t::try_from(size_of::<sockaddr_un>()).expect("small");
    // SAFETY: the room is as long as said.
    let told = unsafe { libc::getsockname(fd, (&raw mut at).cast(), &mut len) };
    assert_eq!(told, 0);
    (at, len)
}

fn plain_socket(family: c_int) -> c_int {
    // SAFETY: no pointers.
    let fd = unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    assert!(fd >= 0);
    fd
}

/// Connects a socket, past the library, and introduces itself.
fn introduce(fd: c_int, (at, len): &(sockaddr_un, socklen_t), identity: u64) {
    // SAFETY: the address is as long as said.
    let connected = unsafe { libc::connect(fd, (&raw const *at).cast(), *len) };
    assert_eq!(connected, 0);
    plain_send(fd, &identity.to_be_bytes());
}

/// Every other client comes when the accept may have begun. The stranger is a
/// listener with a client of its own.
struct Accepts {
    stranger: c_int,
    far: c_int,
    client: c_int,
    at: (sockaddr_un, socklen_t),
}

impl Accepts {
    fn new() -> Self {
        let [stranger, far] = [(); 2].map(|()| plain_socket(libc::AF_UNIX));
        let at = plain_listen(stranger);
        introduce(far, &at, SECRET);
        Self {
            stranger,
            far,
            client: -1,
            at,
        }
    }
}

impl Drop for Accepts {
    fn drop(&mut self) {
        plain_close(self.stranger);
        plain_close(self.far);
    }
}

impl Race for Accepts {
    const CALL: fn(c_int) -> Told = |fd| {
        let conn = accept(fd);
        if conn < 0 {
            return (i64::from(conn), 0);
        }
        let told = read_identity(conn);
        assert_eq!(destroy(conn), 0);
        told
    };

    fn open(&mut self, k: u32) -> c_int {
        let fd = socket(libc::AF_UNIX, libc::SOCK_STREAM);
        self.client = plain_socket(libc::AF_UNIX);
        self.at = plain_listen(fd);
        if k.is_multiple_of(2) {
            introduce(self.client, &self.at, u64::from(k));
        }
        fd
    }

    fn poke(&mut self, k: u32) {
        if !k.is_multiple_of(2) {
            introduce(self.client, &self.at, u64::from(k));
        }
    }

    fn judge(&mut self, k: u32, _: c_int, told: Told, destroyed: c_int) -> bool {
        assert_eq!(destroyed, 0);
        plain_close(self.client);
        read_its_own(k, told)
    }

    fn stranger(&self) -> c_int {
        self.stranger
    }

    fn untouched(&self) {
        let mut set = libc::pollfd {
            fd: self.stranger,
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: there is one entry.
        assert_eq!(unsafe { libc::poll(&mut set, 1, 0) }, 1, "its client waits");
    }
}

#[test]
fn destroy_against_accept() {
    race("destroy_against_accept", MANY, Accepts::new);
}

/// Connects to a TCP listener that takes everybody; now and then to a unix
/// listener that has no room until the connecter waits. The stranger is a
/// socket that nobody has connected.
struct Connects {
    stranger: c_int,
    listener: c_int,
    queued: Vec<c_int>,
}

/// Where the race connects to. A listener lives for this many rounds.
static TARGET: Mutex<Option<Addr>> = Mutex::new(None);
const ROUNDS: u32 = 128;
/// One in so many rounds waits for room: it takes the pause of a back-off.
const WAITS: u32 = 15;

impl Connects {
    fn new() -> Self {
        Self {
            stranger: plain_socket(libc::AF_INET),
            listener: -1,
            queued: Vec::new(),
        }
    }

    fn aim(at: Addr) {
        *TARGET.lock().expect("nobody panics with it") = Some(at);
    }

    /// A listener of the library's, replaced behind it by one without a table
    /// entry: the numbers below the race's stay as they are.
    fn listen(&mut self) {
        if self.listener >= 0 {
            plain_close(self.listener);
        }
        let (fd, at) = listener();
        assert_eq!(detach(fd), fd);
        self.listener = fd;
        Self::aim(at);
    }
}

impl Drop for Connects {
    fn drop(&mut self) {
        plain_close(self.listener);
        plain_close(self.stranger);
    }
}

impl Race for Connects {
    const CALL: fn(c_int) -> Told = |fd| {
        let at = *TARGET.lock().expect("nobody panics with it");
        (i64::from(connect(fd, &at.expect("aimed"))), 0)
    };

    fn way(k: u32) -> usize {
        usize::from(k.is_multiple_of(WAITS))
    }

    fn open(&mut self, k: u32) -> c_int {
        if k % ROUNDS == 1 {
            self.listen();
        }
        if !k.is_multiple_of(WAITS) {
            return socket(libc::AF_INET, libc::SOCK_STREAM);
        }
        let fd = socket(libc::AF_UNIX, libc::SOCK_STREAM);
        let [full, client] = [(); 2].map(|()| plain_socket(libc::AF_UNIX));
        let at = plain_listen(full);
        // SAFETY: no pointers.
        assert_eq!(unsafe { libc::listen(full, 0) }, 0);
        introduce(client, &at, 0);
        self.queued = vec![full, client];
        let mut target = Addr::room();
        // SAFETY: a sockaddr_un fits a sockaddr_storage.
        unsafe { (&raw mut target.storage).cast::<sockaddr_un>().write(at.0) };
        target.len = at.1;
        Self::aim(target);
        fd
    }

    fn poke(&mut self, _: u32) {
        if let Some(full) = self.queued.first() {
            // SAFETY: NULL is allowed.
            let conn = unsafe { libc::accept(*full, std::ptr::null_mut(), std::ptr::null_mut()) };
            assert!(conn >= 0);
            self.queued.push(conn);
        }
    }

    fn judge(&mut self, k: u32, _: c_int, told: Told, destroyed: c_int) -> bool {
        assert_eq!(destroyed, 0);
        self.queued.drain(..).for_each(plain_close);
        if k.is_multiple_of(WAITS) {
            let mut at = Addr::room();
            // SAFETY: the room is as long as said.
            let named = unsafe { libc::getsockname(self.listener, at.ptr_mut(), &mut at.len) };
            assert_eq!(named, 0);
            Self::aim(at);
        }
        assert!([0, CLOSED].contains(&told.0), "{} in round {k}", told.0);
        told.0 == 0
    }

    fn stranger(&self) -> c_int {
        self.stranger
    }

    fn untouched(&self) {
        let mut at = Addr::room();
        // SAFETY: the room is as long as said.
        let named = unsafe { libc::getsockname(self.stranger, at.ptr_mut(), &mut at.len) };
        assert_eq!((named, at.port()), (0, 0), "it was not bound");
        // SAFETY: likewise.
        let peer = unsafe { libc::getpeername(self.stranger, at.ptr_mut(), &mut at.len) };
        assert_eq!(peer, -1, "it was not connected");
    }
}

#[test]
fn destroy_against_connect() {
    race("destroy_against_connect", MANY, Connects::new);
}

/// A race on a pair that has an identity to read: `call` returns 0 or more
/// where it was first.
macro_rules! race_of {
    ($test:ident, $race:ident, $call:expr, $judge:expr) => {
        struct $race(Pair);

        impl Race for $race {
            const CALL: fn(c_int) -> Told = |fd| {
                let call: fn(c_int) -> c_int = $call;
                (i64::from(call(fd)), 0)
            };

            fn open(&mut self, k: u32) -> c_int {
                let fd = self.0.open();
                self.0.send(k);
                fd
            }

            fn judge(&mut self, _: u32, fd: c_int, told: Told, destroyed: c_int) -> bool {
                let judge: fn(c_int, i64, i64) -> bool = $judge;
                let call_first = judge(fd, told.0, i64::from(destroyed));
                plain_close(self.0.peer);
                call_first
            }

            fn stranger(&self) -> c_int {
                self.0.stranger
            }

            fn untouched(&self) {
                self.0.untouched();
            }
        }

        #[test]
        fn $test() {
            race(stringify!($test), SOME, || $race(Pair::new()));
        }
    };
}

/// Whether a call that succeeds with `good` was first; destroy always succeeds.
fn succeeds(good: i64, code: i64, destroyed: i64) -> bool {
    assert_eq!(destroyed, 0);
    assert!([good, CLOSED].contains(&code), "{code}");
    code == good
}

race_of!(
    destroy_against_set_deadline,
    SetsDeadline,
    |fd| set_deadline(fd, -1),
    |_, code, destroyed| succeeds(0, code, destroyed)
);

race_of!(
    destroy_against_shutdown,
    ShutsDown,
    // SAFETY: no pointers.
    |fd| unsafe { netfd_shutdown(fd, libc::SHUT_RDWR) },
    |_, code, destroyed| succeeds(0, code, destroyed)
);

race_of!(
    destroy_against_wait,
    Waits,
    |fd| wait(fd, NETFD_READABLE, NETFD_NO_DEADLINE),
    |_, code, destroyed| succeeds(i64::from(NETFD_READABLE), code, destroyed)
);

race_of!(
    destroy_against_destroy,
    Destroys,
    destroy,
    |_, code, destroyed| {
        let both = [code.min(destroyed), code.max(destroyed)];
        assert_eq!(both, [CLOSED, 0], "one closes");
        code == 0
    }
);

race_of!(
    destroy_against_detach,
    Detaches,
    detach,
    |fd, code, destroyed| {
        if code == i64::from(fd) {
            // One that comes later still finds a number that is unknown.
            assert!([CLOSED, BADF].contains(&destroyed), "{destroyed}");
            assert!(peek(fd).is_some(), "it is open, and the same");
            return true;
        }
        assert_eq!((code, destroyed), (CLOSED, 0));
        false
    }
);
