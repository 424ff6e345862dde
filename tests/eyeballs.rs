//! netfd_dial where a name has several addresses: RFC 8305 (Happy Eyeballs),
//! Go's `dialParallel`, `dialSerial` and `partialDeadline` (net/dial.go) with
//! TestDialParallel, TestDialerFallbackDelay, TestDialerPartialDeadline and
//! TestCancelAfterDial.
//!
//! Each test is a process in a network of its own, with names of its own. Of
//! the addresses there those in `10.0.1.0/24` and `fd00:1::/64` are this
//! machine's: they refuse unless a test listens. Those in `10.0.2.0/24` and
//! `fd00:2::/64` are behind a cable that nobody holds at the other end: the
//! kernel sends its SYN, and hears nothing. Those in `10.0.3.0/24` and
//! `fd00:3::/64` have a route for all but TCP.

#![allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test that is out of range has failed"
)]

mod common;

use common::calls::*;
use common::*;
use libc::{c_char, c_int, c_void};
use std::ffi::{CStr, CString};
use std::fs;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// What all tests dial.
const THEM: &str = "them:4000";

/// Addresses of this machine.
const HERE4: [&str; 4] = ["10.0.1.1", "10.0.1.2", "10.0.1.3", "10.0.1.4"];
const HERE6: [&str; 4] = ["fd00:1::1", "fd00:1::2", "fd00:1::3", "fd00:1::4"];

/// Addresses from which nothing comes back.
const DEAD4: [&str; 4] = ["10.0.2.1", "10.0.2.2", "10.0.2.3", "10.0.2.4"];
const DEAD6: [&str; 4] = ["fd00:2::1", "fd00:2::2", "fd00:2::3", "fd00:2::4"];

const NETWORK: &str = "
    set -e
    for n in 1 2 3 4; do
        echo address add 10.0.1.$n/32 dev lo
        echo address add fd00:1::$n/128 dev lo nodad
        echo neighbour add 10.0.2.$n lladdr 02:00:00:00:00:02 dev near nud permanent
        echo neighbour add fd00:2::$n lladdr 02:00:00:00:00:02 dev near nud permanent
    done > $0
    ip link set lo up
    ip link add near type veth peer name far
    ip link set near up
    ip link set far up
    ip address add 10.0.2.100/24 dev near
    ip address add fd00:2::100/64 dev near nodad
    ip route add 10.0.3.0/24 dev near
    ip route add fd00:3::/64 dev near
    ip route add unreachable 10.0.3.0/24 table 7
    ip rule add to 10.0.3.0/24 ipproto 6 lookup 7
    ip -6 rule add to fd00:3::/64 ipproto 6 unreachable
    ip -batch $0
";

/// Makes the calling thread's network. Says what went wrong.
fn make_network() -> Result<(), String> {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let batch = unix_path(&format!("batch-{count}"));
    let output = Command::new("sh")
        .args(["-c", NETWORK, &batch])
        .output()
        .map_err(|error| error.to_string())?;
    let _ = fs::remove_file(&batch);
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    // IPv6 addresses come into use a while later, each with a route of its own.
    let is_local = |line: &str| {
        let flags = line.split_whitespace().nth(8).unwrap_or_default();
        line.starts_with("fd00") && flags.starts_with('8') // RTF_LOCAL
    };
    await_that("the addresses", || {
        let routes = fs::read_to_string("/proc/thread-self/net/ipv6_route").expect("procfs");
        routes.lines().filter(|line| is_local(line)).count() == HERE6.len() + 1
    });
    Ok(())
}

/// The command that gives a program a network and mounts of its own: as root,
/// or as somebody who is root in a world of his own. `None`: it cannot be.
fn unshare() -> Option<&'static [&'static str]> {
    static FOUND: OnceLock<Option<&'static [&'static str]>> = OnceLock::new();
    let ways: [&'static [&'static str]; 2] = [
        &["unshare", "-n", "-m"],
        &["unshare", "-U", "-r", "-n", "-m"],
    ];
    *FOUND.get_or_init(|| {
        ways.into_iter().find(|way| {
            let tried = Command::new(way[0])
                .args(&way[1..])
                .args(["sh", "-c", "ip link add near type veth peer name far"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            tried.is_ok_and(|status| status.success())
                && std::path::Path::new("/proc/sys/net/ipv6").exists()
        })
    })
}

/// Runs `body` in a process of its own that has a network of its own and an
/// empty /etc.
fn in_own_network(test: &str, body: impl FnOnce()) {
    let alone = std::env::var_os(ALONE).is_some();
    let way = if alone { Some(&[][..]) } else { unshare() };
    let Some(way) = way else {
        println!("{test} skipped: no network of its own, with veth and IPv6, by ip(8)");
        return;
    };
    let said = alone_under(test, way, &[], || set_the_stage(body)).unwrap_or_default();
    for skip in said.lines().filter(|line| line.contains(" skipped: ")) {
        println!("{skip}");
    }
}

fn set_the_stage(body: impl FnOnce()) {
    if let Err(why) = make_network() {
        panic!("no network: {why}");
    }
    let (etc, kind) = (c"/etc", c"tmpfs");
    // SAFETY: the strings end with a NUL; the mounts are this process's own.
    let code = unsafe {
        libc::mount(
            kind.as_ptr(),
            etc.as_ptr(),
            kind.as_ptr(),
            0,
            std::ptr::null(),
        )
    };
    assert_eq!(code, 0, "{}", std::io::Error::last_os_error());
    fs::write("/etc/nsswitch.conf", "hosts: files\n").expect("/etc is ours");
    fs::write("/etc/host.conf", "multi on\n").expect("/etc is ours");
    THREADS.store(threads(), Ordering::Relaxed);
    body();
}

/// Gives "them" these addresses, in this order.
fn name(addresses: &[&str]) {
    let mut hosts = String::new();
    // RFC 6724's table decides only where the C library's has none.
    let mut order = "label ::/0 1\n".to_owned();
    for (index, address) in addresses.iter().enumerate() {
        hosts += &format!("{address} them\n");
        let mapped = if address.contains(':') { "" } else { "::ffff:" };
        order += &format!("precedence {mapped}{address}/128 {}\n", 200 - index);
    }
    order += "reload yes\n";
    fs::write("/etc/gai.conf", order).expect("/etc is ours");
    fs::write("/etc/hosts", hosts).expect("/etc is ours");
    let expected: Vec<String> = addresses.iter().map(|address| at(address)).collect();
    assert_eq!(resolve("tcp", THEM, 0), Ok(expected), "the order is ours");
}

/// An address with the port that is dialed.
fn at(address: &str) -> String {
    if address.contains(':') {
        format!("[{address}]:4000")
    } else {
        format!("{address}:4000")
    }
}

/// Several lists of addresses as one.
fn join(lists: &[&[&'static str]]) -> Vec<&'static str> {
    lists.concat()
}

/// A listener at one of this machine's addresses.
fn listening(address: &str) -> c_int {
    let fd = listen("tcp", &at(address), None);
    assert!(fd >= 0, "{}", error_text());
    fd
}

/// How many sockets of the thread's network are in SYN-SENT.
fn syn_sent() -> usize {
    ["tcp", "tcp6"]
        .iter()
        .map(|table| {
            let table = format!("/proc/thread-self/net/{table}");
            let table = fs::read_to_string(table).expect("procfs");
            let state = |line: &str| line.split_whitespace().nth(3).map(str::to_owned);
            table
                .lines()
                .filter(|line| state(line).as_deref() == Some("02"))
                .count()
        })
        .sum()
}

fn await_syn_sent(n: usize) {
    await_that(&format!("{n} in SYN-SENT"), || syn_sent() == n);
}

/// How many threads there are while nothing happens.
static THREADS: AtomicUsize = AtomicUsize::new(0);

/// How many threads there are more than that.
fn helpers() -> usize {
    threads() - THREADS.load(Ordering::Relaxed)
}

fn await_helpers() {
    await_that("the helpers' end", || helpers() == 0);
}

/// What a dial must leave as it was.
struct Before {
    attached: u64,
    fds: usize,
}

impl Before {
    /// Takes stock, once that has been made which the library keeps: it dials
    /// by all means there are.
    fn dialing() -> Self {
        let hosts = fs::read("/etc/hosts").expect("there is a name");
        fs::write("/etc/hosts", "10.0.2.4 them\nfd00:2::4 them\n").expect("/etc is ours");
        let (token, watch) = (Token::new(), Watch::new());
        for n in 1.. {
            let config = netfd_dial_config {
                deadline: after(n * 20 * MS),
                fallback_delay: MS,
                cancel: token.0,
                ..watch.config()
            };
            assert_eq!(dial("tcp", THEM, Some(&config)), NETFD_EDEADLINE);
            if watch.seen().len() >= 2 {
                break; // the lookup left time for both
            }
        }
        token.free();
        fs::write("/etc/hosts", hosts).expect("/etc is ours");
        await_helpers();
        let this = Self {
            attached: stats().open_fds,
            fds: open_fds(),
        };
        this.is_now();
        this
    }

    /// That nothing is there which was not before: no attempt, no descriptor,
    /// no thread.
    fn is_now(&self) {
        assert_eq!(syn_sent(), 0, "attempts");
        assert_eq!(stats().open_fds, self.attached, "attached");
        await_helpers();
        assert_eq!(open_fds(), self.fds, "descriptors");
    }
}

/// An attempt, as the control function saw it.
#[derive(Clone, Debug)]
struct Seen {
    fd: c_int,
    network: String,
    address: String,
    at: Instant,
}

/// A control function that takes notes, and then does as it is told.
struct Watch {
    seen: Mutex<Vec<Seen>>,
    then: Box<dyn Fn(usize, c_int) -> c_int + Send + Sync>,
}

unsafe extern "C" fn watch(
    fd: c_int,
    network: *const c_char,
    address: *const c_char,
    arg: *mut c_void,
) -> c_int {
    // SAFETY: the argument is a Watch, which outlives the dial.
    let watch = unsafe { &*arg.cast::<Watch>() };
    // SAFETY: it ends with a NUL.
    let network = unsafe { CStr::from_ptr(network) };
    // SAFETY: it ends with a NUL.
    let address = unsafe { CStr::from_ptr(address) };
    let seen = Seen {
        fd,
        network: network.to_string_lossy().into_owned(),
        address: address.to_string_lossy().into_owned(),
        at: Instant::now(),
    };
    let index = {
        let mut all = watch.seen.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(seen);
        all.len() - 1
    };
    (watch.then)(index, fd)
}

impl Watch {
    fn new() -> Self {
        Self::then(|_, _| 0)
    }

    /// What is done at the attempt of an index, on its descriptor.
    fn then(then: impl Fn(usize, c_int) -> c_int + Send + Sync + 'static) -> Self {
        Self {
            seen: Mutex::default(),
            then: Box::new(then),
        }
    }

    fn config(&self) -> netfd_dial_config {
        netfd_dial_config {
            control: Some(watch),
            control_arg: std::ptr::from_ref(self).cast_mut().cast(),
            ..dial_config()
        }
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("nobody panics with it").clone()
    }

    fn addresses(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.address).collect()
    }

    /// How long after the one before each attempt began.
    fn gaps(&self) -> Vec<Duration> {
        let seen = self.seen();
        seen.windows(2).map(|two| two[1].at - two[0].at).collect()
    }
}

/// A config with a token.
fn until(token: Token) -> netfd_dial_config {
    netfd_dial_config {
        cancel: token.0,
        ..dial_config()
    }
}

/// A copy of a descriptor, which the library does not know.
fn copy_of(fd: c_int) -> c_int {
    // SAFETY: no pointers.
    let copy = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0) };
    assert!(copy >= 0);
    copy
}

fn dial_them(config: &netfd_dial_config) -> c_int {
    dial("tcp", THEM, Some(config))
}

/// How long something takes, and what it says.
fn timed<T>(what: impl FnOnce() -> T) -> (T, Duration) {
    let begun = Instant::now();
    let result = what();
    (result, begun.elapsed())
}

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// That one of a few tries takes less than `most`: a machine may be busy.
fn best_of_tries(most: Duration, mut attempt: impl FnMut() -> Duration) {
    let mut all = Vec::new();
    for _ in 0..8 {
        all.push(attempt());
        if all.last() < Some(&most) {
            return;
        }
    }
    panic!("not once in less than {most:?}: {all:?}");
}

/// Dials, and says whom it reached and how long that took. Nothing else is left.
fn reached(config: &netfd_dial_config) -> (String, Duration) {
    let (fd, took) = timed(|| dial_them(config));
    assert!(fd >= 0, "{}", error_text());
    assert_eq!(syn_sent(), 0, "losers are gone");
    let peer = remote_addr(fd).expect("it is connected").text();
    assert_eq!(destroy(fd), 0);
    (peer, took)
}

/// That the second of these is reached after one delay of 250 ms.
fn second_is_reached_in_time(dead: &'static str, good: &'static str) {
    let listener = listening(good);
    name(&[dead, good]);
    let before = Before::dialing();
    best_of_tries(ms(350), || {
        let (peer, took) = reached(&dial_config());
        assert_eq!(peer, at(good));
        assert!(took >= ms(250), "{took:?}");
        before.is_now();
        took
    });
    assert_eq!(destroy(listener), 0);
}

#[test]
fn a_dead_ipv6_costs_one_delay() {
    in_own_network("a_dead_ipv6_costs_one_delay", || {
        second_is_reached_in_time(DEAD6[0], HERE4[0]);
    });
}

#[test]
fn a_dead_ipv4_costs_one_delay() {
    in_own_network("a_dead_ipv4_costs_one_delay", || {
        second_is_reached_in_time(DEAD4[0], HERE6[0]);
    });
}

#[test]
fn a_good_first_address_is_the_only_one() {
    in_own_network("a_good_first_address_is_the_only_one", || {
        let listeners = [listening(HERE6[0]), listening(HERE4[0])];
        name(&[HERE6[0], HERE4[0]]);
        let before = Before::dialing();
        let watch = Watch::new();
        let (peer, _) = reached(&watch.config());
        assert_eq!(peer, at(HERE6[0]));
        assert_eq!(watch.addresses(), [at(HERE6[0])]);
        before.is_now();
        assert_eq!(listeners.map(destroy), [0, 0]);
    });
}

#[test]
fn a_refused_attempt_starts_the_next_at_once() {
    in_own_network("a_refused_attempt_starts_the_next_at_once", || {
        let listener = listening(HERE4[0]);
        name(&[HERE6[0], HERE4[0]]);
        let before = Before::dialing();
        best_of_tries(ms(50), || {
            let (peer, took) = reached(&dial_config());
            assert_eq!(peer, at(HERE4[0]));
            before.is_now();
            took
        });
        assert_eq!(destroy(listener), 0);
    });
}

#[test]
fn a_refused_attempt_beside_others_starts_the_next_at_once() {
    let test = "a_refused_attempt_beside_others_starts_the_next_at_once";
    in_own_network(test, || {
        let listener = listening(HERE6[0]);
        name(&[DEAD6[0], HERE4[0], HERE6[0]]);
        let before = Before::dialing();
        best_of_tries(ms(350), || {
            let (peer, took) = reached(&dial_config());
            assert_eq!(peer, at(HERE6[0]));
            assert!(took >= ms(250), "the first had its time: {took:?}");
            before.is_now();
            took
        });
        assert_eq!(destroy(listener), 0);
    });
}

#[test]
fn an_attempt_that_fails_late_starts_the_next_at_once() {
    let test = "an_attempt_that_fails_late_starts_the_next_at_once";
    in_own_network(test, move || {
        let listener = listening(HERE4[0]);
        name(&[DEAD6[0], HERE4[0]]);
        let before = Before::dialing();
        let token = Token::new();
        let task = spawn(move || {
            let config = netfd_dial_config {
                fallback_delay: 30 * SECOND,
                ..until(token)
            };
            let (fd, took) = timed(|| dial_them(&config));
            (fd, took, remote_addr(fd).map(|peer| peer.text()))
        });
        await_syn_sent(1);
        let ended = Command::new("ss")
            .args(["-K", "dst", "[fd00:2::1]"])
            .output();
        if !ended.is_ok_and(|said| String::from_utf8_lossy(&said.stdout).contains("fd00:2::1")) {
            println!("{test} skipped: ss(8) ends no connection");
            token.fire();
            let _ = task.join();
            return;
        }
        let (fd, took, peer) = task.join();
        assert_eq!(peer, Ok(at(HERE4[0])));
        assert!(took < Duration::from_secs(8), "{took:?}");
        assert_eq!(destroy(fd), 0);
        token.free();
        before.is_now();
        assert_eq!(destroy(listener), 0);
    });
}

/// That attempts at dead addresses begin `delay` apart, `fallback_delay` being
/// as given.
fn are_apart(fallback_delay: i64, delay: Duration) {
    name(&[DEAD6[0], DEAD4[0], DEAD6[1], DEAD4[1]]);
    let before = Before::dialing();
    best_of_tries(delay + ms(50), || {
        let watch = Watch::new();
        let all = i64::try_from(delay.as_nanos() * 3 + 200_000_000).expect("it is short");
        let config = netfd_dial_config {
            fallback_delay,
            deadline: after(all),
            ..watch.config()
        };
        assert_eq!(dial_them(&config), NETFD_EDEADLINE);
        before.is_now();
        let gaps = watch.gaps();
        assert_eq!(gaps.len(), 3, "{gaps:?}");
        assert!(gaps.iter().all(|gap| *gap >= delay - ms(5)), "{gaps:?}");
        gaps.into_iter().max().expect("there are some")
    });
}

#[test]
fn attempts_begin_250_ms_apart() {
    in_own_network("attempts_begin_250_ms_apart", || are_apart(0, ms(250)));
}

#[test]
fn attempts_begin_as_far_apart_as_the_caller_says() {
    in_own_network("attempts_begin_as_far_apart_as_the_caller_says", || {
        are_apart(80 * MS, ms(80));
    });
}

#[test]
fn families_take_turns_from_that_of_the_first() {
    in_own_network("families_take_turns_from_that_of_the_first", || {
        let lists = [
            (
                join(&[&HERE6[..3], &HERE4[..2]]),
                [HERE6[0], HERE4[0], HERE6[1], HERE4[1], HERE6[2]],
            ),
            (
                join(&[&HERE4[..1], &HERE6[..4]]),
                [HERE4[0], HERE6[0], HERE6[1], HERE6[2], HERE6[3]],
            ),
        ];
        for (list, expected) in lists {
            name(&list);
            let watch = Watch::new();
            assert_eq!(dial_them(&watch.config()), -libc::ECONNREFUSED);
            assert_eq!(watch.addresses(), expected.map(at));
            for seen in watch.seen() {
                let is_v6 = seen.address.starts_with('[');
                assert_eq!(seen.network, if is_v6 { "tcp6" } else { "tcp4" });
            }
        }
    });
}

#[test]
fn all_that_refused_are_named() {
    in_own_network("all_that_refused_are_named", || {
        name(&[HERE6[0], HERE4[0]]);
        let before = Before::dialing();
        assert_eq!(dial_them(&dial_config()), -libc::ECONNREFUSED);
        assert_eq!(
            error_text(),
            "dial tcp [fd00:1::1]:4000: connect: connection refused; \
             10.0.1.1:4000: connect: connection refused"
        );
        assert_eq!(c_text(&last_error().remote), at(HERE6[0]));
        before.is_now();
    });
}

#[test]
fn the_code_is_that_of_the_first_address() {
    in_own_network("the_code_is_that_of_the_first_address", || {
        name(&["10.0.3.1", HERE6[0], "fd00:3::1"]);
        let before = Before::dialing();
        let (code, took) = timed(|| dial_them(&dial_config()));
        assert_eq!(code, -libc::EHOSTUNREACH);
        assert_eq!(
            error_text(),
            "dial tcp 10.0.3.1:4000: connect: no route to host; \
             [fd00:1::1]:4000: connect: connection refused; \
             [fd00:3::1]:4000: connect: network is unreachable"
        );
        assert!(took < ms(250), "at once: {took:?}");
        before.is_now();
    });
}

#[test]
fn an_address_without_a_route_costs_nothing() {
    in_own_network("an_address_without_a_route_costs_nothing", || {
        let listener = listening(HERE4[0]);
        name(&["10.0.3.1", "fd00:3::1", HERE4[0]]);
        let before = Before::dialing();
        best_of_tries(ms(50), || {
            let (peer, took) = reached(&dial_config());
            assert_eq!(peer, at(HERE4[0]));
            before.is_now();
            took
        });
        assert_eq!(destroy(listener), 0);
    });
}

#[test]
fn the_last_of_eight_is_reached() {
    in_own_network("the_last_of_eight_is_reached", || {
        let listener = listening(HERE4[3]);
        let refused = join(&[&HERE6, &HERE4]);
        let dead = join(&[&DEAD6, &DEAD4[..3], &HERE4[3..]]);
        for (list, at_least) in [(refused, ms(0)), (dead, ms(7 * 20))] {
            name(&list);
            let before = Before::dialing();
            best_of_tries(at_least + ms(60), || {
                let watch = Watch::new();
                let config = netfd_dial_config {
                    fallback_delay: 20 * MS,
                    ..watch.config()
                };
                let (peer, took) = reached(&config);
                assert_eq!(peer, at(HERE4[3]));
                assert_eq!(watch.seen().len(), 8);
                assert!(took >= at_least, "{took:?}");
                before.is_now();
                took
            });
        }
        assert_eq!(destroy(listener), 0);
    });
}

#[test]
fn a_race_leaves_only_its_winner() {
    in_own_network("a_race_leaves_only_its_winner", || {
        let listener = listening(HERE4[0]);
        name(&[DEAD6[0], DEAD4[0], DEAD6[1], HERE4[0]]);
        let before = Before::dialing();
        let config = netfd_dial_config {
            fallback_delay: 5 * MS,
            ..dial_config()
        };
        for _ in 0..40 {
            let fd = dial_them(&config);
            assert!(fd >= 0, "{}", error_text());
            assert_eq!(syn_sent(), 0);
            assert_eq!(stats().open_fds, before.attached + 1);
            assert_eq!(open_fds(), before.fds + 1);
            assert_eq!(destroy(fd), 0);
        }
        before.is_now();
        assert_eq!(destroy(listener), 0);
    });
}

#[test]
fn of_two_that_stand_one_is_closed() {
    in_own_network("of_two_that_stand_one_is_closed", || {
        let (slow, _, _) = full_listener("tcp", &at(HERE6[0]));
        let good = listening(HERE4[0]);
        name(&[HERE6[0], HERE4[0]]);
        let before = Before::dialing();
        let watch = Watch::then(move |index, _| {
            if index == 1 {
                // Room for the first one, whose next SYN comes after 1 s.
                // SAFETY: no pointers.
                assert_eq!(unsafe { libc::listen(slow, 16) }, 0);
                await_syn_sent(0);
            }
            0
        });
        let config = netfd_dial_config {
            fallback_delay: 20 * MS,
            ..watch.config()
        };
        let (peer, _) = reached(&config);
        assert_eq!(peer, at(HERE6[0]));
        let server = accept(good);
        assert!(server >= 0, "{}", error_text());
        assert!(read(server, &mut [0]) <= 0, "nobody is at the other end");
        assert_eq!(destroy(server), 0);
        before.is_now();
    });
}

/// A child of fork(2) has copies like these.
#[test]
fn a_loser_ends_though_somebody_has_a_copy() {
    in_own_network("a_loser_ends_though_somebody_has_a_copy", || {
        let listener = listening(HERE4[0]);
        name(&[DEAD6[0], DEAD4[0], HERE4[0]]);
        let before = Before::dialing();
        let copies = Arc::new(Mutex::new(Vec::new()));
        let theirs = Arc::clone(&copies);
        let watch = Watch::then(move |_, fd| {
            let copy = copy_of(fd);
            theirs.lock().expect("whole").push(copy);
            0
        });
        let config = netfd_dial_config {
            fallback_delay: 10 * MS,
            ..watch.config()
        };
        reached(&config); // which finds nothing in SYN-SENT
        for copy in copies.lock().expect("whole").drain(..) {
            plain_close(copy);
        }
        before.is_now();
        assert_eq!(destroy(listener), 0);
    });
}

#[test]
fn a_race_by_multipath_tcp_leaves_only_its_winner() {
    in_own_network("a_race_by_multipath_tcp_leaves_only_its_winner", || {
        let listener = listening(HERE4[0]);
        name(&[DEAD6[0], DEAD4[0], HERE4[1], HERE4[0]]);
        let before = Before::dialing();
        let config = netfd_dial_config {
            fallback_delay: 5 * MS,
            mptcp: 1,
            ..dial_config()
        };
        for _ in 0..10 {
            reached(&config);
            before.is_now();
        }
        assert_eq!(destroy(listener), 0);
    });
}

/// Has the kernel take this port for connections, and no other.
fn only_port(port: u16) {
    let path = "/proc/sys/net/ipv4/ip_local_port_range";
    fs::write(path, format!("{port} {port}\n")).expect("the network is ours");
}

/// golang.org/issue/2690.
#[test]
fn a_connection_to_itself_is_a_refusal() {
    in_own_network("a_connection_to_itself_is_a_refusal", || {
        name(&[HERE4[0], HERE6[0]]);
        let before = Before::dialing();
        only_port(4000);
        let watch = Watch::new();
        assert_eq!(dial_them(&watch.config()), -libc::ECONNREFUSED);
        let thrice = [HERE4[0], HERE4[0], HERE4[0], HERE6[0], HERE6[0], HERE6[0]];
        assert_eq!(watch.addresses(), thrice.map(at));
        assert_eq!(
            error_text(),
            "dial tcp 10.0.1.1:4000: connect: connection refused; \
             [fd00:1::1]:4000: connect: connection refused"
        );
        before.is_now();
    });
}

#[test]
fn no_free_port_is_tried_thrice_beside_others() {
    in_own_network("no_free_port_is_tried_thrice_beside_others", || {
        let listener = listening(HERE4[0]);
        name(&[DEAD6[0], HERE4[0], DEAD6[1]]);
        let before = Before::dialing();
        only_port(5000);
        let first = dial("tcp4", THEM, None);
        assert!(first >= 0, "it has the only port: {}", error_text());
        let watch = Watch::new();
        let config = netfd_dial_config {
            fallback_delay: 10 * MS,
            deadline: after(100 * MS),
            ..watch.config()
        };
        assert_eq!(dial_them(&config), NETFD_EDEADLINE);
        let thrice = [DEAD6[0], HERE4[0], HERE4[0], HERE4[0], DEAD6[1]];
        assert_eq!(watch.addresses(), thrice.map(at));
        let text = error_text();
        let none = "10.0.1.1:4000: connect: cannot assign requested address";
        assert!(text.contains(none), "{text}");
        assert_eq!(destroy(first), 0);
        before.is_now();
        assert_eq!(destroy(listener), 0);
    });
}

#[test]
fn a_deadline_ends_all_attempts_and_names_them() {
    in_own_network("a_deadline_ends_all_attempts_and_names_them", || {
        name(&[DEAD6[0], HERE4[0], DEAD6[1], DEAD4[0]]);
        let before = Before::dialing();
        best_of_tries(ms(250), || {
            let config = netfd_dial_config {
                fallback_delay: 30 * MS,
                deadline: after(200 * MS),
                ..dial_config()
            };
            let (code, took) = timed(|| dial_them(&config));
            assert_eq!(code, NETFD_EDEADLINE);
            before.is_now();
            assert_eq!(
                error_text(),
                "dial tcp [fd00:2::1]:4000: i/o timeout; \
                 [fd00:2::2]:4000: i/o timeout; \
                 10.0.2.1:4000: i/o timeout; \
                 10.0.1.1:4000: connect: connection refused"
            );
            assert_eq!(c_text(&last_error().remote), at(DEAD6[0]));
            assert!(took >= ms(195), "{took:?}");
            took
        });
    });
}

/// That a token ends a dial promptly while `n` attempts are under way, and that
/// nothing is left. `fire` fires it, for the dialing thread.
fn is_canceled(n: usize, fire: impl Fn(Token, libc::pthread_t)) {
    let before = Before::dialing();
    best_of_tries(ms(50), || {
        let token = Token::new();
        let thread = Arc::new(Mutex::new(None));
        let place = Arc::clone(&thread);
        let task = spawn(move || {
            // SAFETY: no pointers.
            *place.lock().expect("whole") = Some(unsafe { libc::pthread_self() });
            let config = netfd_dial_config {
                fallback_delay: 10 * MS,
                ..until(token)
            };
            let code = dial_them(&config);
            (code, Instant::now(), error_text())
        });
        await_syn_sent(n);
        thread::sleep(ms(5)); // it parks; it need not have
        let dialing = thread.lock().expect("whole").expect("it has begun");
        let fired = Instant::now();
        fire(token, dialing);
        let (code, ended, text) = task.join();
        assert_eq!(code, NETFD_ECANCELED);
        let named = text.matches("operation was canceled").count();
        assert_eq!(named, n, "{text}");
        token.free();
        before.is_now();
        ended.saturating_duration_since(fired)
    });
}

static IN_HANDLER: AtomicPtr<netfd_cancel> = AtomicPtr::new(std::ptr::null_mut());

extern "C" fn fire_in_handler(_: c_int) {
    Token(IN_HANDLER.load(Ordering::Acquire)).fire();
}

/// Has a signal handler on the dialing thread fire the token.
fn fire_by_signal(token: Token, dialing: libc::pthread_t) {
    handle(libc::SIGUSR1, fire_in_handler);
    IN_HANDLER.store(token.0, Ordering::Release);
    // SAFETY: the thread is in its dial until the signal has come.
    assert_eq!(unsafe { libc::pthread_kill(dialing, libc::SIGUSR1) }, 0);
}

#[test]
fn a_token_ends_the_first_attempt() {
    in_own_network("a_token_ends_the_first_attempt", || {
        name(&[DEAD6[0]]);
        is_canceled(1, |token, _| token.fire());
        threads_only(); // a worker hears of no signal
        is_canceled(1, fire_by_signal);
    });
}

#[test]
fn a_token_ends_several_attempts() {
    in_own_network("a_token_ends_several_attempts", || {
        name(&[DEAD6[0], DEAD4[0], DEAD6[1]]);
        is_canceled(3, |token, _| token.fire());
        threads_only(); // a worker hears of no signal
        is_canceled(3, fire_by_signal);
    });
}

#[test]
fn a_token_that_fires_in_the_control_function_ends_the_dial() {
    let test = "a_token_that_fires_in_the_control_function_ends_the_dial";
    in_own_network(test, || {
        name(&[DEAD6[0], DEAD4[0]]);
        let before = Before::dialing();
        for when in [0, 1] {
            let token = Token::new();
            let watch = Watch::then(move |index, _| {
                if index == when {
                    token.fire();
                }
                0
            });
            let config = netfd_dial_config {
                cancel: token.0,
                fallback_delay: 10 * MS,
                ..watch.config()
            };
            assert_eq!(dial_them(&config), NETFD_ECANCELED);
            assert_eq!(watch.seen().len(), when + 1);
            token.free();
            before.is_now();
        }
    });
}

/// Makes a lookup hang in open(2), until `release` is called.
fn hang_lookups() {
    fs::remove_file("/etc/hosts").expect("there was one");
    // SAFETY: the path ends with a NUL.
    let code = unsafe { libc::mkfifo(c"/etc/hosts".as_ptr(), 0o600) };
    assert_eq!(code, 0);
}

/// Lets one lookup go that hangs: it reads an empty file.
fn release_lookup() {
    let path = c"/etc/hosts";
    let flags = libc::O_WRONLY | libc::O_NONBLOCK | libc::O_CLOEXEC;
    // SAFETY: the path ends with a NUL.
    let fd = unsafe { libc::open(path.as_ptr(), flags) };
    if fd >= 0 {
        plain_close(fd);
    }
}

#[test]
fn a_token_ends_the_lookup() {
    in_own_network("a_token_ends_the_lookup", || {
        name(&[DEAD6[0]]);
        let before = Before::dialing();
        hang_lookups();
        for fire in [|token: Token, _| token.fire(), fire_by_signal] {
            best_of_tries(ms(50), || {
                let token = Token::new();
                let (send, receive) = std::sync::mpsc::channel();
                let task = spawn_thread(move || {
                    // SAFETY: no pointers.
                    send.send(unsafe { libc::pthread_self() }).expect("heard");
                    (dial_them(&until(token)), Instant::now(), error_text())
                });
                let dialing = receive.recv().expect("it begins");
                await_that("the lookup", || helpers() == 2);
                thread::sleep(ms(5)); // it parks; it need not have
                let fired = Instant::now();
                fire(token, dialing);
                let (code, ended, text) = task.join();
                assert_eq!(code, NETFD_ECANCELED);
                assert_eq!(text, "dial tcp: lookup them: operation was canceled");
                token.free();
                await_that("the helper's end", || {
                    release_lookup();
                    helpers() == 0
                });
                before.is_now();
                ended.saturating_duration_since(fired)
            });
        }
    });
}

#[test]
fn a_deadline_covers_the_lookup() {
    in_own_network("a_deadline_covers_the_lookup", || {
        name(&[DEAD6[0]]);
        let before = Before::dialing();
        hang_lookups();
        best_of_tries(ms(150), || {
            let config = netfd_dial_config {
                deadline: after(100 * MS),
                ..dial_config()
            };
            let (code, took) = timed(|| dial_them(&config));
            assert_eq!(code, NETFD_EDEADLINE);
            assert!(took >= ms(95), "{took:?}");
            await_that("the helper's end", || {
                release_lookup();
                helpers() == 0
            });
            before.is_now();
            took
        });
    });
}

#[test]
fn one_after_the_other_has_no_two_at_once() {
    in_own_network("one_after_the_other_has_no_two_at_once", || {
        // Of 5 s each of two has 2.5.
        let listener = listening(HERE4[0]);
        name(&[DEAD6[0], HERE4[0]]);
        let before = Before::dialing();
        let watch = Watch::then(|index, _| {
            assert_eq!((index, syn_sent()), (index, 0), "one at a time");
            0
        });
        let config = netfd_dial_config {
            fallback_delay: -1,
            deadline: after(5 * SECOND),
            ..watch.config()
        };
        let (peer, took) = reached(&config);
        assert_eq!(peer, at(HERE4[0]));
        assert!((ms(2490)..ms(4000)).contains(&took), "{took:?}");
        before.is_now();
        assert_eq!(destroy(listener), 0);
    });
}

#[test]
fn one_after_the_other_each_has_two_seconds_at_least() {
    let test = "one_after_the_other_each_has_two_seconds_at_least";
    in_own_network(test, || {
        name(&[DEAD6[0], DEAD4[0], DEAD6[1]]);
        let before = Before::dialing();
        let watch = Watch::new();
        let config = netfd_dial_config {
            fallback_delay: -1,
            deadline: after(3 * SECOND),
            ..watch.config()
        };
        let (code, took) = timed(|| dial_them(&config));
        assert_eq!(code, NETFD_EDEADLINE);
        assert!((ms(2990)..ms(3500)).contains(&took), "{took:?}");
        assert_eq!(watch.addresses(), [DEAD6[0], DEAD4[0]].map(at));
        let gap = watch.gaps()[0];
        assert!((ms(1995)..ms(2500)).contains(&gap), "{gap:?}");
        assert_eq!(
            error_text(),
            "dial tcp 10.0.2.1:4000: i/o timeout; [fd00:2::1]:4000: i/o timeout"
        );
        before.is_now();
    });
}

#[test]
fn one_after_the_other_a_short_deadline_is_the_first_ones() {
    let test = "one_after_the_other_a_short_deadline_is_the_first_ones";
    in_own_network(test, || {
        let listener = listening(HERE4[0]);
        name(&[DEAD6[0], HERE4[0]]);
        let before = Before::dialing();
        let watch = Watch::new();
        let config = netfd_dial_config {
            fallback_delay: -1,
            deadline: after(100 * MS),
            ..watch.config()
        };
        assert_eq!(dial_them(&config), NETFD_EDEADLINE);
        assert_eq!(watch.addresses(), [at(DEAD6[0])]);
        before.is_now();
        assert_eq!(destroy(listener), 0);
    });
}

#[test]
fn one_after_the_other_a_refusal_starts_the_next_at_once() {
    let test = "one_after_the_other_a_refusal_starts_the_next_at_once";
    in_own_network(test, || {
        let listener = listening(HERE4[1]);
        name(&[HERE6[0], HERE4[0], HERE4[1]]);
        best_of_tries(ms(50), || {
            let config = netfd_dial_config {
                fallback_delay: -1,
                ..dial_config()
            };
            let (peer, took) = reached(&config);
            assert_eq!(peer, at(HERE4[1]));
            took
        });
        assert_eq!(destroy(listener), 0);
    });
}

/// That the dial ends once the attempt of index `which` is destroyed, of `n`
/// that are under way.
fn is_destroyed(n: usize, which: usize) {
    let before = Before::dialing();
    best_of_tries(ms(60), || {
        let watch = Arc::new(Watch::new());
        let theirs = Arc::clone(&watch);
        let task = spawn(move || {
            let config = netfd_dial_config {
                fallback_delay: 10 * MS,
                ..theirs.config()
            };
            (dial_them(&config), Instant::now(), error_text())
        });
        await_syn_sent(n);
        let fd = watch.seen()[which].fd;
        let begun = Instant::now();
        assert_eq!(destroy(fd), 0);
        // Whoever gets the number next keeps it.
        // SAFETY: no pointers.
        let next = unsafe { libc::fcntl(0, libc::F_DUPFD_CLOEXEC, fd) };
        let (code, ended, text) = task.join();
        assert_eq!(code, NETFD_ECLOSED, "{text}");
        assert!(is_open(next), "closed once");
        plain_close(next);
        let network = &watch.seen()[which].address;
        let head = format!("dial tcp {network}: use of closed network connection");
        assert!(text.starts_with(&head), "{text}");
        before.is_now();
        ended.saturating_duration_since(begun)
    });
}

#[test]
fn an_attempt_that_is_destroyed_ends_the_dial() {
    in_own_network("an_attempt_that_is_destroyed_ends_the_dial", || {
        name(&[DEAD6[0], DEAD4[0], DEAD6[1]]);
        for which in 0..3 {
            is_destroyed(3, which);
        }
        name(&[DEAD6[0]]);
        is_destroyed(1, 0);
    });
}

#[test]
fn an_attempt_that_is_detached_stays_open() {
    in_own_network("an_attempt_that_is_detached_stays_open", || {
        name(&[DEAD6[0], DEAD4[0]]);
        let before = Before::dialing();
        for which in 0..2 {
            let watch = Arc::new(Watch::new());
            let theirs = Arc::clone(&watch);
            let task = spawn(move || {
                let config = netfd_dial_config {
                    fallback_delay: 10 * MS,
                    ..theirs.config()
                };
                dial_them(&config)
            });
            await_syn_sent(2);
            let fd = watch.seen()[which].fd;
            assert_eq!(detach(fd), fd);
            assert_eq!(task.join(), NETFD_ECLOSED);
            assert!(is_open(fd));
            assert_eq!(syn_sent(), 1, "it goes on");
            plain_close(fd);
            before.is_now();
        }
    });
}

#[test]
fn a_control_function_that_destroys_ends_the_dial() {
    in_own_network("a_control_function_that_destroys_ends_the_dial", || {
        name(&[DEAD6[0], DEAD4[0], DEAD6[1]]);
        let before = Before::dialing();
        for when in 0..3 {
            let watch = Watch::then(move |index, fd| {
                if index == when {
                    assert_eq!(destroy(fd), 0);
                }
                0
            });
            let config = netfd_dial_config {
                fallback_delay: 10 * MS,
                ..watch.config()
            };
            assert_eq!(dial_them(&config), NETFD_ECLOSED);
            let named = format!("dial tcp {}: ", watch.addresses()[when]);
            assert!(error_text().starts_with(&named), "{}", error_text());
            before.is_now();
        }
    });
}

#[test]
fn a_control_function_that_refuses_is_told_with_its_address() {
    let test = "a_control_function_that_refuses_is_told_with_its_address";
    in_own_network(test, || {
        name(&[DEAD6[0], HERE4[0], DEAD6[1]]);
        let before = Before::dialing();
        let watch = Watch::then(|index, _| if index == 2 { -libc::EPERM } else { 0 });
        let config = netfd_dial_config {
            fallback_delay: 10 * MS,
            ..watch.config()
        };
        assert_eq!(dial_them(&config), -libc::EPERM);
        assert_eq!(
            error_text(),
            "dial tcp [fd00:2::2]:4000: operation not permitted; \
             [fd00:2::1]:4000: operation was canceled; \
             10.0.1.1:4000: connect: connection refused"
        );
        before.is_now();
    });
}

#[test]
fn a_slow_control_function_starts_no_others() {
    in_own_network("a_slow_control_function_starts_no_others", || {
        let listeners = [listening(HERE6[0]), listening(HERE4[0])];
        name(&[HERE6[0], HERE4[0]]);
        let before = Before::dialing();
        let watch = Watch::then(|_, _| {
            thread::sleep(ms(50)); // longer than the delay
            0
        });
        let config = netfd_dial_config {
            fallback_delay: 20 * MS,
            ..watch.config()
        };
        let (peer, _) = reached(&config);
        assert_eq!(peer, at(HERE6[0]));
        assert_eq!(watch.addresses(), [at(HERE6[0])]);
        before.is_now();
        assert_eq!(listeners.map(destroy), [0, 0]);
    });
}

#[test]
fn what_stands_already_starts_no_others() {
    in_own_network("what_stands_already_starts_no_others", || {
        let (slow, _, _) = full_listener("tcp", &at(HERE6[0]));
        let good = listening(HERE4[0]);
        name(&[HERE6[0], "10.0.3.1", HERE4[0]]);
        let before = Before::dialing();
        let watch = Watch::then(move |index, _| {
            if index == 1 {
                // SAFETY: no pointers. The next SYN, after 1 s, finds room.
                assert_eq!(unsafe { libc::listen(slow, 16) }, 0);
                await_syn_sent(0);
            }
            0
        });
        let config = netfd_dial_config {
            fallback_delay: 20 * MS,
            ..watch.config()
        };
        let (peer, _) = reached(&config);
        assert_eq!(peer, at(HERE6[0]));
        // The second has no route, which it said at once.
        assert_eq!(watch.addresses(), [HERE6[0], "10.0.3.1"].map(at));
        before.is_now();
        assert_eq!(destroy(good), 0);
    });
}

#[test]
fn an_interrupted_dial_leaves_nothing() {
    in_own_network("an_interrupted_dial_leaves_nothing", || {
        extern "C" fn nothing(_: c_int) {}
        handle(libc::SIGUSR1, nothing);
        name(&[DEAD6[0], DEAD4[0], DEAD6[1]]);
        let before = Before::dialing();
        for n in [1, 3] {
            let (send, receive) = std::sync::mpsc::channel();
            let done = Arc::new(AtomicBool::new(false));
            let is_done = Arc::clone(&done);
            let task = spawn_thread(move || {
                // SAFETY: no pointers.
                send.send(unsafe { libc::pthread_self() }).expect("heard");
                // SAFETY: no pointers.
                unsafe { netfd_set_interruptible(1) };
                let config = netfd_dial_config {
                    fallback_delay: if n == 1 { 8 * SECOND } else { 10 * MS },
                    ..dial_config()
                };
                let code = dial_them(&config);
                is_done.store(true, Ordering::Release);
                await_that("the last signal", || !is_done.load(Ordering::Acquire));
                code
            });
            let dialing = receive.recv().expect("it begins");
            await_syn_sent(n);
            await_that("the interruption", || {
                // SAFETY: the thread lives until it is told.
                unsafe { libc::pthread_kill(dialing, libc::SIGUSR1) };
                thread::sleep(ms(1));
                done.load(Ordering::Acquire)
            });
            done.store(false, Ordering::Release);
            assert_eq!(task.join(), -libc::EINTR);
            before.is_now();
        }
    });
}

#[test]
fn signals_do_not_disturb_a_race() {
    in_own_network("signals_do_not_disturb_a_race", || {
        let listener = listening(HERE4[0]);
        name(&[DEAD6[0], DEAD4[0], HERE4[0]]);
        let before = Before::dialing();
        let storm = Storm::begin();
        for _ in 0..5 {
            let watch = Watch::new();
            let config = netfd_dial_config {
                fallback_delay: 30 * MS,
                ..watch.config()
            };
            let (peer, took) = reached(&config);
            assert_eq!(peer, at(HERE4[0]));
            assert!(took >= ms(55), "{took:?}");
        }
        drop(storm);
        before.is_now();
        assert_eq!(destroy(listener), 0);
    });
}

#[test]
fn dials_in_two_networks_do_not_meet() {
    in_own_network("dials_in_two_networks_do_not_meet", || {
        name(&[HERE6[0], HERE4[0]]);
        let before = Before::dialing();
        let both = Arc::new(Barrier::new(2));
        let tasks = [true, false].map(|listens| {
            let both = Arc::clone(&both);
            spawn_thread(move || {
                // SAFETY: no pointers; a thread may have a network of its own.
                assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0);
                make_network().expect("it was made before");
                let listener = listens.then(|| listening(HERE4[0]));
                both.wait();
                for _ in 0..20 {
                    if listens {
                        assert_eq!(reached(&dial_config()).0, at(HERE4[0]));
                    } else {
                        assert_eq!(dial_them(&dial_config()), -libc::ECONNREFUSED);
                    }
                }
                assert_eq!(listener.map_or(0, destroy), 0);
            })
        });
        for task in tasks {
            task.join();
        }
        assert_eq!(stats().open_fds, before.attached);
    });
}

/// Numbers by chance, the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }
}

/// Dials once, with limits by chance. Says how it ended.
fn one_of_a_storm(dice: &mut Dice) -> c_int {
    let token = Token::new();
    let watch = Arc::new(Watch::new());
    let mut config = netfd_dial_config {
        deadline: after((1 + dice.below(60) as i64) * MS),
        fallback_delay: [MS, 5 * MS, 0, -1][dice.below(4) as usize],
        cancel: token.0,
        ..dial_config()
    };
    let destroys = dice.below(3) == 0;
    if dice.below(2) == 0 || destroys {
        config = netfd_dial_config {
            control: watch.config().control,
            control_arg: watch.config().control_arg,
            ..config
        };
    }
    let pause = Duration::from_micros(dice.below(40_000));
    let victim = dice.below(3) as usize;
    let theirs = Arc::clone(&watch);
    let meddler = spawn(move || {
        thread::sleep(pause);
        if destroys {
            // Perhaps the number is another dial's by now, which may stand that.
            if let Some(seen) = theirs.seen().get(victim) {
                let _ = destroy(seen.fd);
            }
        } else {
            token.fire();
        }
    });
    let code = dial_them(&config);
    if code >= 0 {
        let _ = destroy(code);
    }
    meddler.join();
    token.free();
    code
}

#[test]
fn a_storm_of_dials_leaves_nothing() {
    in_own_network("a_storm_of_dials_leaves_nothing", || {
        let listener = listening(HERE4[0]);
        name(&[DEAD6[0], HERE4[1], DEAD6[1], HERE4[0]]);
        let before = Before::dialing();
        let allowed = [NETFD_EDEADLINE, NETFD_ECANCELED, NETFD_ECLOSED];
        let mut codes = Vec::new();
        // Chance decides who is told what: until each has been told.
        for round in 0..20_u64 {
            let tasks = [1, 2, 3, 4].map(|seed| {
                spawn(move || {
                    let seed = 4 * round + seed;
                    let mut dice = Dice(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
                    let mut codes = Vec::new();
                    for _ in 0..60 {
                        codes.push(one_of_a_storm(&mut dice));
                    }
                    codes
                })
            });
            codes.extend(tasks.map(Task::join).concat());
            if allowed.iter().all(|code| codes.contains(code)) {
                break;
            }
        }
        assert!(
            codes
                .iter()
                .all(|code| *code >= 0 || allowed.contains(code)),
            "{codes:?}"
        );
        for code in allowed {
            assert!(codes.contains(&code), "{code} was never said");
        }
        assert!(codes.iter().any(|code| *code >= 0), "some win");
        assert_eq!(syn_sent(), 0);
        assert_eq!(stats().open_fds, before.attached);
        assert_eq!(destroy(listener), 0);
        await_helpers();
    });
}

#[test]
fn no_more_descriptors_end_no_attempt_that_is_under_way() {
    let test = "no_more_descriptors_end_no_attempt_that_is_under_way";
    in_own_network(test, || {
        let (slow, _, _) = full_listener("tcp", &at(HERE6[0]));
        name(&[HERE6[0], DEAD4[0], DEAD6[1], DEAD4[1]]);
        let before = Before::dialing();
        let all = Arc::new(Mutex::new(Vec::new()));
        let theirs = Arc::clone(&all);
        let watch = Watch::then(move |index, _| {
            if index == 1 {
                // SAFETY: no pointers. The next SYN finds room.
                assert_eq!(unsafe { libc::listen(slow, 16) }, 0);
                limit_fds(64);
                *theirs.lock().expect("whole") = use_up_fds();
            }
            0
        });
        let config = netfd_dial_config {
            fallback_delay: 20 * MS,
            deadline: after(5 * SECOND),
            ..watch.config()
        };
        let fd = dial_them(&config);
        all.lock().expect("whole").clear();
        assert!(fd >= 0, "{}", error_text());
        assert_eq!(remote_addr(fd).expect("connected").text(), at(HERE6[0]));
        assert_eq!(watch.seen().len(), 2, "the others have no socket");
        assert_eq!(destroy(fd), 0);
        before.is_now();
    });
}

#[test]
fn without_any_descriptor_each_address_says_so() {
    in_own_network("without_any_descriptor_each_address_says_so", || {
        name(&[DEAD6[0], HERE4[0]]);
        let before = Before::dialing();
        let all = Arc::new(Mutex::new(Vec::new()));
        let theirs = Arc::clone(&all);
        let watch = Watch::then(move |_, _| {
            limit_fds(64);
            *theirs.lock().expect("whole") = use_up_fds();
            0
        });
        let config = netfd_dial_config {
            fallback_delay: 20 * MS,
            deadline: after(100 * MS),
            ..watch.config()
        };
        assert_eq!(dial_them(&config), NETFD_EDEADLINE);
        all.lock().expect("whole").clear();
        assert_eq!(
            error_text(),
            "dial tcp [fd00:2::1]:4000: i/o timeout; \
             10.0.1.1:4000: socket: too many open files"
        );
        before.is_now();
    });
}

/// Where the waiting thread and its token have no eventfd.
#[test]
fn without_any_descriptor_a_token_and_destroy_are_heard() {
    let test = "without_any_descriptor_a_token_and_destroy_are_heard";
    in_own_network(test, || {
        name(&[DEAD6[0], DEAD4[0]]);
        for destroys in [false, true] {
            for n in [1, 2] {
                let token = Token::new();
                let all = Arc::new(Mutex::new(Vec::new()));
                let theirs = Arc::clone(&all);
                let watch = Arc::new(Watch::then(move |index, _| {
                    if index + 1 == n {
                        limit_fds(64);
                        *theirs.lock().expect("whole") = use_up_fds();
                    }
                    0
                }));
                let seen = Arc::clone(&watch);
                let ended = spawn(move || {
                    let config = netfd_dial_config {
                        fallback_delay: 10 * MS,
                        cancel: until(token).cancel,
                        ..watch.config()
                    };
                    (dial_them(&config), Instant::now())
                });
                await_that("the attempts", || {
                    seen.seen().len() >= n && !all.lock().expect("whole").is_empty()
                });
                thread::sleep(ms(50)); // it parks
                let begun = Instant::now();
                let expected = if destroys {
                    assert_eq!(destroy(seen.seen()[n - 1].fd), 0);
                    NETFD_ECLOSED
                } else {
                    token.fire();
                    NETFD_ECANCELED
                };
                let (code, ended) = ended.join();
                all.lock().expect("whole").clear();
                assert_eq!(code, expected, "{}", error_text());
                let took = ended.saturating_duration_since(begun);
                assert!(took < ms(500), "{took:?}");
                assert_eq!(syn_sent(), 0);
                token.free();
            }
        }
    });
}

#[test]
fn without_epoll_a_race_goes_on_in_slices() {
    let test = "without_epoll_a_race_goes_on_in_slices";
    threads_only(); // without epoll there are no fibers
    let body = || {
        let listener = listening(HERE4[0]);
        name(&[DEAD6[0], DEAD4[0], HERE4[0]]);
        let before = Before::dialing();
        best_of_tries(ms(400), || {
            let config = netfd_dial_config {
                fallback_delay: 100 * MS,
                ..dial_config()
            };
            let (peer, took) = reached(&config);
            assert_eq!(peer, at(HERE4[0]));
            assert!(took >= ms(195), "{took:?}");
            before.is_now();
            took
        });
        assert_eq!(destroy(listener), 0);
    };
    if std::env::var_os(ALONE).is_some() {
        return set_the_stage(body);
    }
    let Some(way) = unshare() else {
        println!("{test} skipped: no network of its own, with veth and IPv6, by ip(8)");
        return;
    };
    let mut options = vec!["-e", "trace=epoll_create1"];
    options.extend(["-e", "inject=epoll_create1:error=EMFILE"]);
    options.extend(way);
    if let Some(trace) = alone_under_strace(test, &options, || ()) {
        assert!(trace.contains("(INJECTED)"), "{trace}");
    }
}

#[test]
fn a_local_address_leaves_its_own_family() {
    in_own_network("a_local_address_leaves_its_own_family", || {
        let listener = listening(HERE4[1]);
        name(&[DEAD6[0], HERE4[0], DEAD6[1], HERE4[1]]);
        let before = Before::dialing();
        let local = CString::new("10.0.1.3:0").expect("no NUL");
        let watch = Watch::new();
        let config = netfd_dial_config {
            local_address: local.as_ptr(),
            ..watch.config()
        };
        let fd = dial_them(&config);
        assert!(fd >= 0, "{}", error_text());
        assert_eq!(watch.addresses(), [HERE4[0], HERE4[1]].map(at));
        assert!(local_addr(fd).text().starts_with("10.0.1.3:"));
        assert_eq!(destroy(fd), 0);
        name(&[DEAD6[0], DEAD6[1]]);
        assert_eq!(dial_them(&config), NETFD_EADDRESS);
        before.is_now();
        assert_eq!(destroy(listener), 0);
    });
}

/// As in Go, where a family's addresses take turns: two attempts at once
/// cannot both have the port.
#[test]
fn with_a_local_port_attempts_take_turns() {
    in_own_network("with_a_local_port_attempts_take_turns", || {
        let listener = listening(HERE4[0]);
        name(&[DEAD4[0], HERE4[0]]);
        let before = Before::dialing();
        let local = CString::new(":5000").expect("no NUL");
        let config = netfd_dial_config {
            local_address: local.as_ptr(),
            deadline: after(4 * SECOND),
            ..dial_config()
        };
        let fd = dial_them(&config);
        assert!(fd >= 0, "{}", error_text());
        assert_eq!(local_addr(fd).port(), 5000);
        assert_eq!(destroy(fd), 0);
        before.is_now();
        assert_eq!(destroy(listener), 0);
    });
}

#[test]
fn a_winner_has_the_options_of_a_connection() {
    in_own_network("a_winner_has_the_options_of_a_connection", || {
        let listener = listening(HERE4[0]);
        name(&[DEAD6[0], DEAD4[0], HERE4[0]]);
        let config = netfd_dial_config {
            fallback_delay: 10 * MS,
            keepalive_idle: 33 * SECOND,
            ..dial_config()
        };
        let fd = dial_them(&config);
        assert!(fd >= 0, "{}", error_text());
        let tcp = |name| option(fd, libc::IPPROTO_TCP, name);
        let told = [
            tcp(libc::TCP_NODELAY),
            option(fd, libc::SOL_SOCKET, libc::SO_KEEPALIVE),
            tcp(libc::TCP_KEEPIDLE),
            tcp(libc::TCP_KEEPINTVL),
            tcp(libc::TCP_KEEPCNT),
        ];
        assert_eq!(told, [1, 1, 33, 15, 9]);
        assert_eq!(flags(fd), (true, true));
        let server = accept(listener);
        assert_eq!(write(server, b"!"), 1);
        assert_eq!(read_exactly(fd, 1), b"!", "it reads as any other");
        assert_eq!([fd, server, listener].map(destroy), [0, 0, 0]);
    });
}

/// What is known of an attempt that failed says nothing of the one that is
/// made at the same address instead.
#[test]
fn plain_tcp_in_place_of_multipath_has_its_own_time() {
    let test = "plain_tcp_in_place_of_multipath_has_its_own_time";
    in_own_network(test, || {
        name(&[HERE4[0]]);
        let before = Before::dialing();
        let watch = Watch::then(|index, _| {
            if index == 1 {
                // What refused is behind the cable from now on.
                for args in [
                    "address del 10.0.1.1/32 dev lo",
                    "neighbour add 10.0.1.1 lladdr 02:00:00:00:00:02 dev near nud permanent",
                    "route add 10.0.1.1/32 dev near",
                ] {
                    let done = Command::new("ip").args(args.split(' ')).status();
                    assert!(done.is_ok_and(|status| status.success()), "{args}");
                }
            }
            0
        });
        let config = netfd_dial_config {
            mptcp: 1,
            deadline: after(300 * MS),
            ..watch.config()
        };
        assert_eq!(dial_them(&config), NETFD_EDEADLINE, "{}", error_text());
        assert_eq!(watch.addresses(), [at(HERE4[0]), at(HERE4[0])]);
        before.is_now();
    });
}

/// Waiting for several costs next to no processor time.
#[test]
fn a_race_waits_idly() {
    in_own_network("a_race_waits_idly", || {
        name(&[DEAD6[0], DEAD4[0], DEAD6[1]]);
        let before = Before::dialing();
        let config = netfd_dial_config {
            fallback_delay: 10 * MS,
            deadline: after(400 * MS),
            ..dial_config()
        };
        let begun = cpu_time();
        assert_eq!(dial_them(&config), NETFD_EDEADLINE);
        let cost = cpu_time() - begun;
        assert!(cost < ms(30), "{cost:?}");
        before.is_now();
    });
}
