//! netfd_dial and netfd_resolve where names are looked up: in a hosts file and
//! a list of services of the tests' own, and at a name server that never
//! answers.
//!
//! Each test has a process, an /etc and a network of its own. Behind it: Go
//! `TestLookupHostCancel`, `TestDNSTimeout`, `TestDialerFallbackDelay`,
//! `TestLookupPort`; getaddrinfo(3), hosts(5), services(5), resolv.conf(5),
//! nsswitch.conf(5); docs/design.md on lookups.

#![allow(clippy::indexing_slicing, reason = "a test that indexes wrongly fails")]

mod common;

use common::calls::*;
use common::world::*;
use common::*;
use libc::{c_char, c_int, c_void, sockaddr_storage};
use std::ffi::{CStr, CString};
use std::net::ToSocketAddrs;
use std::path::{Path, PathBuf};
use std::ptr::null_mut;
use std::sync::{OnceLock, mpsc};
use std::time::{Duration, Instant};

const EDEADLINE: c_int = NETFD_EDEADLINE;

const HOSTS: &str = "\
127.0.0.1 known localhost
127.0.0.1 both
fd00::1   both
fd00::1   six
127.0.0.2 many
127.0.0.3 many
127.0.0.2 many
127.0.0.4 many
fd00::1   many
::ffff:127.0.0.5 mapped
127.0.0.2 two
127.0.0.3 two
";

/// A hosts file, and nobody else to ask.
const FILES: [(&str, &str); 4] = [
    ("hosts", HOSTS),
    ("host.conf", "multi on\n"),
    ("nsswitch.conf", "hosts: files\nservices: files\n"),
    (
        "services",
        "special 4242/tcp alias\nspecial 4343/udp\nonly-udp 4444/udp\n",
    ),
];

/// A hosts file, and a name server: it is mute where `mute_server` lives, and
/// else refuses.
fn with_server(options: &str) -> Vec<(&'static str, String)> {
    vec![
        ("hosts", HOSTS.to_owned()),
        ("nsswitch.conf", "hosts: files dns\n".to_owned()),
        (
            "resolv.conf",
            format!("nameserver 127.0.0.9\noptions {options}\n"),
        ),
    ]
}

/// For longer than any test.
const PATIENT: &str = "timeout:30 attempts:5";

/// For a second.
const HASTY: &str = "timeout:1 attempts:1";

/// A world with a mute name server. `None`: not in it.
fn mute_world(test: &str, options: &str) -> Option<c_int> {
    let files = with_server(options);
    let files: Vec<_> = files.iter().map(|(name, text)| (*name, &**text)).collect();
    in_a_world(test, &files).then(|| bound("udp", "127.0.0.9:53").0)
}

const MUTE: &str = "nobody.example:80";

/// netfd_resolve() without a limit.
fn all(network: &str, address: &str) -> Vec<String> {
    let found = resolve(network, address, NETFD_NO_DEADLINE);
    found.unwrap_or_else(|code| panic!("{network} {address}: {code}, {}", error_text()))
}

fn fails(network: &str, address: &str, expected: c_int, text: &str) {
    let found = resolve(network, address, NETFD_NO_DEADLINE);
    assert_eq!(found, Err(expected), "{network} {address}");
    assert_eq!(error_text(), text);
}

fn good(fd: c_int) -> c_int {
    assert!(fd >= 0, "{fd}: {}", error_text());
    fd
}

/// What the C library itself finds, each once.
fn theirs(address: &str) -> Vec<String> {
    let found = address.to_socket_addrs().expect("it is known");
    let mut all: Vec<String> = Vec::new();
    for at in found.map(|at| at.to_string()) {
        if !all.contains(&at) {
            all.push(at);
        }
    }
    all
}

#[test]
fn a_name_has_the_c_librarys_addresses_in_its_order_and_none_twice() {
    let test = "a_name_has_the_c_librarys_addresses_in_its_order_and_none_twice";
    if !in_a_world(test, &FILES) {
        return;
    }
    for name in ["both:80", "many:80", "known:80"] {
        assert_eq!(all("tcp", name), theirs(name));
    }
    assert_eq!(all("tcp", "many:80").len(), 4);
    assert_eq!(
        all("udp4", "many:80"),
        ["127.0.0.2:80", "127.0.0.3:80", "127.0.0.4:80"]
    );
}

#[test]
fn a_network_of_one_family_has_its_addresses_only() {
    let test = "a_network_of_one_family_has_its_addresses_only";
    if !in_a_world(test, &FILES) {
        return;
    }
    for network in ["tcp4", "udp4"] {
        assert_eq!(all(network, "both:80"), ["127.0.0.1:80"]);
    }
    for network in ["tcp6", "udp6"] {
        assert_eq!(all(network, "both:80"), ["[fd00::1]:80"]);
    }
    let found = resolve("tcp4", "six:80", NETFD_NO_DEADLINE);
    assert_eq!(found, Err(NETFD_ENOHOST), "{}", error_text());
}

#[test]
fn a_name_is_found_in_any_case_and_a_mapped_address_is_plain_ipv4() {
    let test = "a_name_is_found_in_any_case_and_a_mapped_address_is_plain_ipv4";
    if !in_a_world(test, &FILES) {
        return;
    }
    assert_eq!(all("tcp4", "KnOwN:80"), ["127.0.0.1:80"]);
    assert_eq!(all("tcp", "mapped:80"), ["127.0.0.5:80"]);
}

#[test]
fn no_more_is_stored_than_there_is_room_for_and_all_are_counted() {
    let test = "no_more_is_stored_than_there_is_room_for_and_all_are_counted";
    if !in_a_world(test, &FILES) {
        return;
    }
    let (network, address) = (c"tcp".as_ptr(), c"many:80".as_ptr());
    let expected = all("tcp", "many:80");
    for cap in 0..6 {
        let mut room = [Addr::room().storage; 6];
        let out: *mut sockaddr_storage = if cap == 0 {
            null_mut()
        } else {
            room.as_mut_ptr()
        };
        // SAFETY: the texts end with a NUL, the room is longer than said.
        let n = unsafe { netfd_resolve(network, address, out, cap, 0, no_token()) };
        assert_eq!(n, 4);
        let stored = room.iter().take_while(|one| one.ss_family != 0);
        let stored: Vec<_> = stored
            .map(|storage| {
                let mut at = Addr::room();
                at.storage = *storage;
                at.text()
            })
            .collect();
        assert_eq!(stored, expected[..cap.min(4)]);
    }
}

#[test]
fn a_name_that_does_not_exist_is_told_in_gos_words() {
    let test = "a_name_that_does_not_exist_is_told_in_gos_words";
    if !in_a_world(test, &FILES) {
        return;
    }
    let text = "resolve tcp: lookup nowhere: no such host";
    fails("tcp", "nowhere:80", NETFD_ENOHOST, text);
    for network in ["tcp", "udp6"] {
        assert_eq!(dial(network, "No.Where:80", None), NETFD_ENOHOST);
        let text = format!("dial {network}: lookup No.Where: no such host");
        assert_eq!(error_text(), text);
        let error = last_error();
        assert_eq!((error.code, error.flags), (NETFD_ENOHOST, 0));
        assert_eq!(c_text(&error.op), "dial");
        assert_eq!(c_text(&error.network), network);
    }
}

#[test]
fn a_lookup_that_fails_otherwise_is_edns() {
    let test = "a_lookup_that_fails_otherwise_is_edns";
    let files = with_server(HASTY);
    let files: Vec<_> = files.iter().map(|(name, text)| (*name, &**text)).collect();
    if !in_a_world(test, &files) {
        return;
    }
    // Nobody is at the name server's address.
    assert_eq!(dial("tcp", MUTE, None), NETFD_EDNS);
    let text = error_text();
    let begins = text.starts_with("dial tcp: lookup nobody.example: ");
    assert!(begins && !text.ends_with(": "), "{text}");
    assert_eq!(last_error().code, NETFD_EDNS);
}

#[test]
fn a_service_is_the_systems_by_its_transport() {
    let test = "a_service_is_the_systems_by_its_transport";
    if !in_a_world(test, &FILES) {
        return;
    }
    for (network, service, port) in [
        ("tcp", "special", 4242),
        ("tcp4", "SPECIAL", 4242),
        ("tcp", "Alias", 4242),
        ("udp", "special", 4343),
        ("udp4", "only-udp", 4444),
        // Not in the list: Go knows it all the same.
        ("tcp", "http", 80),
        ("tcp", "HTTPS", 443),
        ("udp", "domain", 53),
    ] {
        let found = all(network, &format!("127.0.0.1:{service}"));
        assert_eq!(found, [format!("127.0.0.1:{port}")], "{service}");
    }
    assert_eq!(all("tcp4", "known:special"), ["127.0.0.1:4242"]);
    let text = "resolve tcp: lookup tcp/only-udp: unknown port";
    fails("tcp", "127.0.0.1:only-udp", NETFD_EADDRESS, text);
    let text = "resolve udp: lookup udp/http: unknown port";
    fails("udp", "127.0.0.1:http", NETFD_EADDRESS, text);
    // The port is looked at before the host.
    let text = "resolve tcp: lookup tcp/nosuch: unknown port";
    fails("tcp", "nowhere:nosuch", NETFD_EADDRESS, text);
}

#[test]
fn without_a_list_of_services_gos_few_are_known() {
    let test = "without_a_list_of_services_gos_few_are_known";
    if !in_a_world(test, &FILES[..3]) {
        return;
    }
    for (network, service, port) in [
        ("tcp", "https", 443),
        ("tcp", "SSH", 22),
        ("udp", "domain", 53),
    ] {
        let found = all(network, &format!("127.0.0.1:{service}"));
        assert_eq!(found, [format!("127.0.0.1:{port}")], "{service}");
    }
    let text = "resolve tcp: lookup tcp/special: unknown port";
    fails("tcp", "127.0.0.1:special", NETFD_EADDRESS, text);
}

/// The addresses of "many", at a port where nobody listens, as dialed: the
/// families take turns.
fn in_turn(port: u16) -> Vec<String> {
    let found = all("tcp", &format!("many:{port}"));
    let is_first = |at: &&String| at.starts_with('[') == found[0].starts_with('[');
    let (ones, others): (Vec<&String>, Vec<&String>) = found.iter().partition(is_first);
    let mut mixed: Vec<&String> = Vec::new();
    for index in 0..found.len() {
        mixed.extend(ones.get(index).into_iter().chain(others.get(index)));
    }
    mixed.into_iter().cloned().collect()
}

#[test]
fn when_all_fail_each_is_told_with_its_address_and_cause() {
    let test = "when_all_fail_each_is_told_with_its_address_and_cause";
    if !in_a_world(test, &FILES) {
        return;
    }
    for fallback_delay in [0, -1, 1] {
        let config = netfd_dial_config {
            fallback_delay,
            ..dial_config()
        };
        let code = dial("tcp", "many:7", Some(&config));
        assert_eq!(code, -libc::ECONNREFUSED);
        let refused: Vec<_> = in_turn(7)
            .iter()
            .map(|at| format!("{at}: connect: connection refused"))
            .collect();
        assert_eq!(refused.len(), 4);
        assert_eq!(error_text(), format!("dial tcp {}", refused.join("; ")));
        let error = last_error();
        assert_eq!(c_text(&error.remote), in_turn(7)[0]);
        assert_eq!(c_text(&error.syscall), "connect");
    }
    // A record of one failure only does not show the many.
    assert_eq!(dial("tcp", "127.0.0.1:7", None), -libc::ECONNREFUSED);
    let text = "dial tcp 127.0.0.1:7: connect: connection refused";
    assert_eq!(error_text(), text);
}

#[test]
fn the_first_that_stands_wins_though_others_refuse() {
    let test = "the_first_that_stands_wins_though_others_refuse";
    if !in_a_world(test, &FILES) {
        return;
    }
    for at in ["127.0.0.4:77", "[fd00::1]:78"] {
        let (listener, at) = listener_at("tcp", at);
        for fallback_delay in [0, -1] {
            let config = netfd_dial_config {
                fallback_delay,
                ..dial_config()
            };
            let begun = Instant::now();
            let fd = good(dial("tcp", &format!("many:{}", at.port()), Some(&config)));
            assert!(begun.elapsed() < Duration::from_secs(1), "at once");
            assert_eq!(remote_addr(fd).map(|at| at.text()), Ok(at.text()));
            assert_eq!(destroy(fd), 0);
        }
        assert_eq!(destroy(listener), 0);
    }
}

unsafe extern "C" fn note(
    _: c_int,
    network: *const c_char,
    address: *const c_char,
    seen: *mut c_void,
) -> c_int {
    // SAFETY: the test passes such a list.
    let seen = unsafe { &mut *seen.cast::<Vec<String>>() };
    for text in [network, address] {
        // SAFETY: both end with a NUL.
        let text = unsafe { CStr::from_ptr(text) };
        seen.push(text.to_string_lossy().into_owned());
    }
    0
}

#[test]
fn control_sees_each_address_of_a_name() {
    let test = "control_sees_each_address_of_a_name";
    if !in_a_world(test, &FILES) {
        return;
    }
    let mut seen: Vec<String> = Vec::new();
    let config = netfd_dial_config {
        control: Some(note),
        control_arg: (&raw mut seen).cast(),
        ..dial_config()
    };
    assert_eq!(dial("tcp", "many:7", Some(&config)), -libc::ECONNREFUSED);
    let expected: Vec<String> = in_turn(7)
        .into_iter()
        .flat_map(|at| {
            let network = if at.starts_with('[') { "tcp6" } else { "tcp4" };
            [network.to_owned(), at]
        })
        .collect();
    assert_eq!(seen, expected);
}

#[test]
fn a_local_address_leaves_the_targets_of_its_family() {
    let test = "a_local_address_leaves_the_targets_of_its_family";
    if !in_a_world(test, &FILES) {
        return;
    }
    let from = |address: &CStr, to: &str| {
        let config = netfd_dial_config {
            local_address: address.as_ptr(),
            ..dial_config()
        };
        let code = dial("tcp", to, Some(&config));
        (code, error_text())
    };
    let (code, text) = from(c"[fd00::1]:0", "many:7");
    assert_eq!(code, -libc::ECONNREFUSED);
    let expected = "dial tcp [fd00::1]:0->[fd00::1]:7: connect: connection refused";
    assert_eq!(text, expected);
    let (code, text) = from(c"127.0.0.1:0", "six:7");
    assert_eq!(code, NETFD_EADDRESS);
    let expected = "dial tcp: address 127.0.0.1:0: no suitable address found";
    assert_eq!(text, expected);
}

#[test]
fn udp_takes_the_first_address_that_there_is_a_way_to() {
    let test = "udp_takes_the_first_address_that_there_is_a_way_to";
    if !in_a_world(test, &FILES) {
        return;
    }
    let fd = good(dial("udp", "many:53", None));
    assert_eq!(
        remote_addr(fd).map(|at| at.text()),
        Ok(all("udp", "many:53")[0].clone())
    );
    assert_eq!(destroy(fd), 0);
}

#[test]
fn a_lookup_has_the_callers_namespaces() {
    let test = "a_lookup_has_the_callers_namespaces";
    if !in_a_world(test, &FILES) {
        return;
    }
    assert_eq!(all("tcp", "known:80"), ["127.0.0.1:80"]);
    let other = spawn_thread(|| {
        // SAFETY: no pointers; a thread may have its own.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNS) }, 0);
        let (none, etc) = (c"none".as_ptr(), c"/etc".as_ptr());
        let tmpfs = c"tmpfs".as_ptr();
        // SAFETY: the texts end with a NUL.
        let mounted = unsafe { libc::mount(none, etc, tmpfs, 0, std::ptr::null()) };
        assert_eq!(mounted, 0);
        std::fs::write("/etc/hosts", "127.0.0.77 known\n").expect("it is ours");
        all("tcp", "known:80")
    });
    assert_eq!(other.join(), ["127.0.0.77:80"]);
    assert_eq!(all("tcp", "known:80"), ["127.0.0.1:80"]);
}

// Addresses that hang: somebody listens, and the backlog is full.

/// Listeners on all addresses of a name, at port 77: those that hang, and of
/// the last one, as dialed, whether it answers.
struct Hanging {
    all: Vec<String>,
    fds: Vec<c_int>,
}

impl Hanging {
    fn at(name: &str, last_answers: bool) -> Self {
        let all = all("tcp", &format!("{name}:77"));
        let mut fds = Vec::new();
        for (index, at) in all.iter().enumerate() {
            if last_answers && index + 1 == all.len() {
                fds.push(listener_at("tcp", at).0);
            } else {
                let (full, _, clients) = full_listener("tcp", at);
                fds.extend(clients);
                fds.push(full);
            }
        }
        Self { all, fds }
    }

    fn end(self) {
        for fd in self.fds {
            assert_eq!(destroy(fd), 0);
        }
    }
}

/// A dial of "two:77", and how long it took.
fn timed(config: &netfd_dial_config) -> (c_int, i64) {
    let begun = now();
    let code = dial("tcp", "two:77", Some(config));
    (code, now() - begun)
}

/// Whether something was connected to 127.0.0.N and then within a time.
fn connected_within(config: &netfd_dial_config, at: &str, least: i64, most: i64) {
    let is_prompt = (0..5).any(|_| {
        let (fd, took) = timed(config);
        assert_eq!(remote_addr(good(fd)).map(|at| at.text()).as_deref(), Ok(at));
        assert_eq!(destroy(fd), 0);
        assert!(took >= least, "{took} ns");
        took < most
    });
    assert!(is_prompt, "at the best of five times");
}

#[test]
fn another_address_is_tried_beside_one_that_hangs() {
    let test = "another_address_is_tried_beside_one_that_hangs";
    if !in_a_world(test, &FILES) {
        return;
    }
    let hanging = Hanging::at("two", true);
    let fds = {
        let warm = good(dial("tcp", "two:77", None));
        assert_eq!(destroy(warm), 0);
        await_that("the helper ends", || threads() <= 2);
        open_fds()
    };
    connected_within(&dial_config(), &hanging.all[1], 250 * MS, 350 * MS);
    let soon = netfd_dial_config {
        fallback_delay: 30 * MS,
        ..dial_config()
    };
    connected_within(&soon, &hanging.all[1], 30 * MS, 100 * MS);
    await_that("the helpers end", || threads() <= 2);
    assert_eq!(open_fds(), fds, "the losers are closed");
    hanging.end();
}

#[test]
fn one_after_the_other_each_has_its_share_of_the_time() {
    let test = "one_after_the_other_each_has_its_share_of_the_time";
    if !in_a_world(test, &FILES) {
        return;
    }
    // Go's least: two seconds, which leave one for the last.
    let hanging = Hanging::at("two", true);
    let serial = netfd_dial_config {
        fallback_delay: -1,
        deadline: after(3 * SECOND),
        ..dial_config()
    };
    let (fd, took) = timed(&serial);
    let peer = remote_addr(good(fd)).map(|at| at.text());
    assert_eq!(peer.as_deref(), Ok(&*hanging.all[1]));
    assert!((2 * SECOND..3 * SECOND).contains(&took), "{took}");
    assert_eq!(destroy(fd), 0);
    // Without that much the first has it all.
    let short = netfd_dial_config {
        deadline: after(300 * MS),
        ..serial
    };
    let (code, took) = timed(&short);
    assert_eq!(code, EDEADLINE);
    assert!((250 * MS..2 * SECOND).contains(&took), "{took}");
    let text = format!("dial tcp {}: i/o timeout", hanging.all[0]);
    assert!(error_text().starts_with(&text), "{}", error_text());
    hanging.end();
}

#[test]
fn a_deadline_ends_a_race() {
    if !in_a_world("a_deadline_ends_a_race", &FILES) {
        return;
    }
    let hanging = Hanging::at("two", false);
    let is_punctual = (0..5).any(|_| {
        let config = netfd_dial_config {
            deadline: after(60 * MS),
            fallback_delay: MS,
            ..dial_config()
        };
        let (code, _) = timed(&config);
        assert_eq!(code, EDEADLINE);
        let text = error_text();
        let first = format!("dial tcp {}: i/o timeout", hanging.all[0]);
        assert!(text.starts_with(&first), "{text}");
        let late = now() - config.deadline;
        assert!(late >= 0, "{late}");
        late < 50 * MS
    });
    assert!(is_punctual, "at the best of five times");
    hanging.end();
}

/// A race for "two:77" that hangs on another thread, and the descriptors of
/// its two attempts.
fn race(token: Token) -> (Task<(c_int, i64)>, [c_int; 2]) {
    unsafe extern "C" fn tell(
        fd: c_int,
        _: *const c_char,
        _: *const c_char,
        told: *mut c_void,
    ) -> c_int {
        // SAFETY: the thread below passes one that outlives the call.
        let told = unsafe { &*told.cast::<mpsc::Sender<c_int>>() };
        told.send(fd).expect("somebody listens");
        0
    }
    let (sender, told) = mpsc::channel();
    let task = spawn(move || {
        let (token, mut sender) = (token, sender);
        let config = netfd_dial_config {
            deadline: after(9 * SECOND),
            fallback_delay: MS,
            cancel: token.0,
            control: Some(tell),
            control_arg: (&raw mut sender).cast(),
            ..dial_config()
        };
        let (code, _) = timed(&config);
        (code, now())
    });
    let [one, two] = [(); 2].map(|()| told.recv().expect("it runs"));
    await_parked(one, 1);
    (task, [one, two])
}

#[test]
fn a_token_ends_a_race() {
    if !in_a_world("a_token_ends_a_race", &FILES) {
        return;
    }
    let hanging = Hanging::at("two", false);
    let is_prompt = (0..5).any(|_| {
        let token = Token::new();
        let (racing, fds) = race(token);
        let fired = now();
        token.fire();
        let (code, ended) = racing.join();
        assert_eq!(code, NETFD_ECANCELED);
        assert!(!fds.into_iter().any(is_open));
        token.free();
        ended - fired < 50 * MS
    });
    assert!(is_prompt, "at the best of five times");
    hanging.end();
}

#[test]
fn destroy_of_any_attempt_ends_a_race() {
    if !in_a_world("destroy_of_any_attempt_ends_a_race", &FILES) {
        return;
    }
    let hanging = Hanging::at("two", false);
    for which in 0..2 {
        for end in [destroy, detach] {
            let (racing, fds) = race(NO_TOKEN);
            let code = end(fds[which]);
            assert!(code >= 0, "{code}");
            assert_eq!(racing.join().0, NETFD_ECLOSED);
            assert!(!is_open(fds[1 - which]));
            if code > 0 {
                plain_close(code);
            }
        }
    }
    hanging.end();
}

#[test]
fn a_race_without_descriptors_left_goes_on_with_those_it_has() {
    let test = "a_race_without_descriptors_left_goes_on_with_those_it_has";
    if !in_a_world(test, &FILES) {
        return;
    }
    // For all attempts, but not for what would wait for them: a lookup is over
    // by then.
    let hanging = Hanging::at("two", false);
    let config = |ns| netfd_dial_config {
        deadline: after(ns),
        fallback_delay: MS,
        ..dial_config()
    };
    assert_eq!(timed(&config(50 * MS)).0, EDEADLINE);
    await_that("the helper ends", || threads() <= 2);
    let before = limit_fds(128);
    for left in 1..4 {
        let mut used = use_up_fds();
        for _ in 0..left {
            used.pop();
        }
        let (code, took) = timed(&config(200 * MS));
        assert_eq!(code, EDEADLINE, "{left}: {}", error_text());
        assert!(took < 5 * SECOND, "{took}");
        await_that("the helper ends", || threads() <= 2);
    }
    limit_fds(before);
    hanging.end();
}

#[test]
fn what_control_says_of_an_address_is_told_with_that_address() {
    unsafe extern "C" fn forbid(
        _: c_int,
        _: *const c_char,
        address: *const c_char,
        forbidden: *mut c_void,
    ) -> c_int {
        // SAFETY: the text ends with a NUL.
        let address = unsafe { CStr::from_ptr(address) };
        // SAFETY: the test passes a text.
        let forbidden = unsafe { &*forbidden.cast::<String>() };
        if address.to_bytes() == forbidden.as_bytes() {
            -libc::EPERM
        } else {
            0
        }
    }
    let test = "what_control_says_of_an_address_is_told_with_that_address";
    if !in_a_world(test, &FILES) {
        return;
    }
    let hanging = Hanging::at("two", false);
    for mut forbidden in hanging.all.clone() {
        let config = netfd_dial_config {
            deadline: after(9 * SECOND),
            fallback_delay: MS,
            control: Some(forbid),
            control_arg: (&raw mut forbidden).cast(),
            ..dial_config()
        };
        assert_eq!(timed(&config).0, -libc::EPERM);
        // The one that it is about comes first, then what was under way.
        let text = format!("dial tcp {forbidden}: operation not permitted");
        let told = error_text();
        assert!(told.starts_with(&text), "{told}");
        let others = told[text.len()..].replace("; ", "");
        let canceled = format!("{}: operation was canceled", hanging.all[0]);
        assert!(others.is_empty() || others == canceled, "{told}");
        assert_eq!(c_text(&last_error().remote), forbidden);
    }
    hanging.end();
}

#[test]
fn from_a_port_of_the_callers_one_attempt_follows_the_other() {
    let test = "from_a_port_of_the_callers_one_attempt_follows_the_other";
    if !in_a_world(test, &FILES) {
        return;
    }
    // Two at once could not be bound to it.
    let hanging = Hanging::at("two", true);
    for from in [c":4567", c"127.0.0.1:4568"] {
        let config = netfd_dial_config {
            deadline: after(3 * SECOND),
            local_address: from.as_ptr(),
            ..dial_config()
        };
        let (fd, took) = timed(&config);
        let peer = remote_addr(good(fd)).map(|at| at.text());
        assert_eq!(peer.as_deref(), Ok(&*hanging.all[1]));
        assert!(took >= 2 * SECOND, "the first had its share: {took}");
        reset(fd);
    }
    hanging.end();
}

#[test]
fn a_name_may_have_thousands_of_addresses() {
    let test = "a_name_may_have_thousands_of_addresses";
    let addresses = (0..2000).map(|n| format!("127.1.{}.{}", n / 250, n % 250 + 1));
    let lines: Vec<_> = addresses.map(|at| format!("{at} crowd\n")).collect();
    let mut files = FILES.to_vec();
    let hosts = lines.concat();
    files[0] = ("hosts", &hosts);
    if !in_a_world(test, &files) {
        return;
    }
    let mut room = vec![Addr::room().storage; 3000];
    let (network, address) = (c"tcp".as_ptr(), c"crowd:7".as_ptr());
    let (out, cap) = (room.as_mut_ptr(), room.len());
    // SAFETY: the texts end with a NUL, the room is as long as said.
    let n = unsafe { netfd_resolve(network, address, out, cap, 0, no_token()) };
    assert_eq!(n, 2000, "{}", error_text());
    // Each is tried, and told.
    assert_eq!(dial("tcp", "crowd:7", None), -libc::ECONNREFUSED);
    // SAFETY: NULL is allowed where there is no room.
    let len = unsafe { netfd_error_text(null_mut(), 0) };
    assert!(len > 2000 * 40, "{len}");
    let mut text = [0; 60];
    // SAFETY: the buffer is as long as said.
    let whole = unsafe { netfd_error_text(text.as_mut_ptr(), text.len()) };
    assert_eq!((whole, c_text(&text).len()), (len, 59), "cut, and ended");
}

// A name server that never answers.

/// netfd_resolve() by a deadline or a token: the code.
fn resolve_by(deadline: i64, token: Token) -> c_int {
    let (network, address) = (c"tcp".as_ptr(), CString::new(MUTE).expect("no NUL"));
    // SAFETY: the texts end with a NUL, there is no room, a token lives.
    unsafe { netfd_resolve(network, address.as_ptr(), null_mut(), 0, deadline, token.0) }
}

/// netfd_dial() likewise.
fn dial_by(deadline: i64, token: Token) -> c_int {
    let config = netfd_dial_config {
        deadline,
        cancel: token.0,
        ..dial_config()
    };
    dial("tcp", MUTE, Some(&config))
}

/// A call, by its deadline and its token.
type Limited = fn(i64, Token) -> c_int;

const EITHER: [(&str, Limited); 2] = [("resolve", resolve_by), ("dial", dial_by)];

/// A call on a thread of its own, which sleeps by now: it waits for a lookup.
fn waiting<T: Send + 'static>(
    call: impl FnOnce() -> T + Send + 'static,
) -> (Task<T>, libc::pthread_t) {
    let (tell, told) = mpsc::channel();
    let task = spawn_thread(move || {
        // SAFETY: no pointers.
        let thread = unsafe { libc::pthread_self() };
        // SAFETY: no pointers.
        let id = unsafe { libc::gettid() };
        tell.send((thread, id)).expect("somebody listens");
        call()
    });
    let (thread, id) = told.recv().expect("it runs");
    await_that("it waits", || {
        let stat = std::fs::read_to_string(format!("/proc/self/task/{id}/syscall"));
        // Its number, or "running".
        stat.is_ok_and(|stat| {
            let number = stat.split(' ').next().and_then(|n| n.parse().ok());
            [libc::SYS_ppoll, libc::SYS_futex]
                .map(Some)
                .contains(&number)
        })
    });
    (task, thread)
}

const NO_TOKEN: Token = Token(null_mut());

/// Gives up `n` lookups.
fn abandon(n: usize) {
    for _ in 0..n {
        assert_eq!(resolve_by(after(MS), NO_TOKEN), EDEADLINE);
    }
}

#[test]
fn a_lookup_ends_within_50_ms_of_the_deadline() {
    let Some(server) = mute_world("a_lookup_ends_within_50_ms_of_the_deadline", PATIENT) else {
        return;
    };
    for (op, call) in EITHER {
        let is_punctual = (0..5).any(|_| {
            let deadline = after(60 * MS);
            assert_eq!(call(deadline, NO_TOKEN), EDEADLINE);
            let late = now() - deadline;
            assert!(late >= 0, "{late} ns early");
            late < 50 * MS
        });
        assert!(is_punctual, "{op}: at the best of five times");
        let text = format!("{op} tcp: lookup nobody.example: i/o timeout");
        assert_eq!(error_text(), text);
        assert_eq!(last_error().flags, NETFD_ERROR_TIMEOUT);
    }
    assert_eq!(destroy(server), 0);
}

#[test]
fn a_lookup_ends_at_once_when_the_token_fires() {
    let Some(server) = mute_world("a_lookup_ends_at_once_when_the_token_fires", PATIENT) else {
        return;
    };
    for (op, call) in EITHER {
        let is_prompt = (0..5).any(|_| {
            let token = Token::new();
            let (waiting, _) = waiting(move || {
                let token = token;
                (call(NETFD_NO_DEADLINE, token), error_text(), now())
            });
            let fired = now();
            token.fire();
            let (code, text, ended) = waiting.join();
            assert_eq!(code, NETFD_ECANCELED);
            let expected = format!("{op} tcp: lookup nobody.example: operation was canceled");
            assert_eq!(text, expected);
            token.free();
            ended - fired < 20 * MS
        });
        assert!(is_prompt, "{op}: at the best of five times");
    }
    assert_eq!(destroy(server), 0);
}

#[test]
fn a_caller_that_waits_for_a_name_is_counted_and_shown() {
    let test = "a_caller_that_waits_for_a_name_is_counted_and_shown";
    let Some(server) = mute_world(test, PATIENT) else {
        return;
    };
    let token = Token::new();
    let caller = spawn(move || resolve_by(NETFD_NO_DEADLINE, token));
    await_that("it waits", || stats().parked == 1);
    let shown = dump();
    assert!(shown.contains(" waits for a name, parked for "), "{shown}");
    token.fire();
    assert_eq!(caller.join(), NETFD_ECANCELED);
    assert_eq!(stats().parked, 0);
    token.free();
    assert_eq!(destroy(server), 0);
}

#[test]
fn a_past_deadline_and_a_fired_token_start_no_lookup() {
    let test = "a_past_deadline_and_a_fired_token_start_no_lookup";
    let Some(server) = mute_world(test, PATIENT) else {
        return;
    };
    let token = Token::new();
    token.fire();
    let before = threads();
    for (_, call) in EITHER {
        assert_eq!(call(1, NO_TOKEN), EDEADLINE);
        assert_eq!(call(NETFD_NO_DEADLINE, token), NETFD_ECANCELED);
    }
    assert_eq!(threads(), before);
    token.free();
    assert_eq!(destroy(server), 0);
}

extern "C" fn nothing(_: c_int) {}

#[test]
fn a_signal_ends_a_lookup_where_the_thread_asked_for_it() {
    let test = "a_signal_ends_a_lookup_where_the_thread_asked_for_it";
    let Some(server) = mute_world(test, PATIENT) else {
        return;
    };
    handle(libc::SIGUSR1, nothing);
    for (_, call) in EITHER {
        let (waiting, thread) = waiting(move || {
            // SAFETY: no pointers.
            assert_eq!(unsafe { netfd_set_interruptible(1) }, 0);
            call(after(9 * SECOND), NO_TOKEN)
        });
        await_that("the signal is seen", || {
            if !waiting.is_finished() {
                // SAFETY: the thread has not been joined.
                unsafe { libc::pthread_kill(thread, libc::SIGUSR1) };
            }
            std::thread::yield_now();
            waiting.is_finished()
        });
        assert_eq!(waiting.join(), -libc::EINTR);
    }
    assert_eq!(destroy(server), 0);
}

#[test]
fn signals_by_the_thousand_do_not_end_a_lookup() {
    let Some(server) = mute_world("signals_by_the_thousand_do_not_end_a_lookup", PATIENT) else {
        return;
    };
    let storm = Storm::begin();
    let deadline = after(100 * MS);
    assert_eq!(resolve_by(deadline, NO_TOKEN), EDEADLINE);
    assert!(now() >= deadline);
    drop(storm);
    assert_eq!(destroy(server), 0);
}

#[test]
fn a_hundred_dead_lookups_starve_nobody() {
    let Some(server) = mute_world("a_hundred_dead_lookups_starve_nobody", PATIENT) else {
        return;
    };
    no_twin(); // there is no more than a millisecond for each
    abandon(100);
    let alive = threads();
    assert!(alive > 100, "{alive}: they are still at it");
    let is_prompt = (0..5).any(|_| {
        let begun = Instant::now();
        let found = resolve("tcp4", "known:80", after(5 * SECOND));
        assert_eq!(found.as_deref(), Ok(&["127.0.0.1:80".to_owned()][..]));
        begun.elapsed() < Duration::from_millis(100)
    });
    assert!(is_prompt, "at the best of five times");
    let (listener, at) = listener();
    let fd = good(dial("tcp4", &format!("known:{}", at.port()), None));
    for fd in [fd, listener, server] {
        assert_eq!(destroy(fd), 0);
    }
}

#[test]
fn no_more_than_500_look_up_at_once_and_the_rest_wait_within_their_limits() {
    let test = "no_more_than_500_look_up_at_once_and_the_rest_wait_within_their_limits";
    let Some(server) = mute_world(test, PATIENT) else {
        return;
    };
    let own = threads();
    abandon(550);
    let helpers = threads() - own;
    assert_eq!(helpers, 500);
    // There is no room: not for a name that is known either.
    let deadline = after(60 * MS);
    assert_eq!(resolve("tcp", "known:80", deadline), Err(EDEADLINE));
    assert!(now() >= deadline);
    let text = "resolve tcp: lookup known: i/o timeout";
    assert_eq!(error_text(), text);
    let token = Token::new();
    let (waiting, _) = waiting(move || {
        let token = token;
        dial_by(NETFD_NO_DEADLINE, token)
    });
    token.fire();
    assert_eq!(waiting.join(), NETFD_ECANCELED);
    // What needs no lookup goes on.
    assert_eq!(all("tcp", "127.0.0.1:80"), ["127.0.0.1:80"]);
    assert_eq!(threads() - own, 500);
    token.free();
    assert_eq!(destroy(server), 0);
}

#[test]
fn whoever_waits_for_room_gets_it_when_there_is_some() {
    let test = "whoever_waits_for_room_gets_it_when_there_is_some";
    let Some(server) = mute_world(test, HASTY) else {
        return;
    };
    let begun = Instant::now();
    abandon(500);
    let found = resolve("tcp4", "known:80", after(9 * SECOND));
    assert_eq!(found.as_deref(), Ok(&["127.0.0.1:80".to_owned()][..]));
    println!("room after {:?}", begun.elapsed());
    assert_eq!(destroy(server), 0);
}

#[test]
fn helpers_end_by_themselves_and_leave_nothing() {
    let Some(server) = mute_world("helpers_end_by_themselves_and_leave_nothing", HASTY) else {
        return;
    };
    assert_eq!(all("tcp4", "known:80"), ["127.0.0.1:80"]);
    await_that("the helper ends", || threads() <= 2);
    let (own, fds) = (threads(), open_fds());
    abandon(50);
    assert!(threads() > own);
    await_that("the helpers end", || threads() == own);
    assert_eq!(open_fds(), fds);
    assert_eq!(stats().parked, 0);
    assert_eq!(destroy(server), 0);
}

#[test]
fn no_thread_is_kept_for_the_next_lookup() {
    let test = "no_thread_is_kept_for_the_next_lookup";
    if !in_a_world(test, &FILES) {
        return;
    }
    let own = threads();
    for _ in 0..200 {
        assert_eq!(all("tcp4", "known:80"), ["127.0.0.1:80"]);
    }
    await_that("the helpers end", || threads() == own);
}

/// The signals that a thread does not hear, as a mask.
fn blocked(thread: &Path) -> Option<u64> {
    let status = std::fs::read_to_string(thread.join("status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("SigBlk:"))?;
    u64::from_str_radix(line.split_whitespace().nth(1)?, 16).ok()
}

#[test]
fn no_signal_is_handled_on_a_helper() {
    let Some(server) = mute_world("no_signal_is_handled_on_a_helper", PATIENT) else {
        return;
    };
    let tasks = || -> Vec<_> {
        let tasks = std::fs::read_dir("/proc/self/task").expect("procfs");
        tasks.map(|task| task.expect("procfs").path()).collect()
    };
    let own = tasks();
    abandon(3);
    let helpers: Vec<_> = tasks()
        .into_iter()
        .filter(|one| !own.contains(one))
        .collect();
    assert_eq!(helpers.len(), 3);
    let mine = blocked(Path::new("/proc/thread-self"));
    assert_eq!(mine, Some(0), "the caller's mask is as it was");
    for helper in helpers {
        let mask = blocked(&helper).expect("it lives");
        for signal in 1..=64 {
            // Two cannot be blocked, two are the C library's own.
            let open = [libc::SIGKILL, libc::SIGSTOP, 32, 33].contains(&signal);
            assert!(open || mask >> (signal - 1) & 1 == 1, "{signal}: {mask:x}");
        }
    }
    assert_eq!(destroy(server), 0);
}

#[test]
fn without_a_thread_it_is_eagain_of_that_call() {
    // Of each thread the first clone is made; the test's own is the main
    // thread's first.
    let test = "without_a_thread_it_is_eagain_of_that_call";
    let options = [
        "-e",
        "trace=clone,clone3",
        "-e",
        "inject=clone,clone3:error=EAGAIN:when=2..4",
    ];
    let body = || {
        let found = resolve("tcp4", "localhost:80", NETFD_NO_DEADLINE);
        assert!(found.is_ok(), "{}", error_text());
        for _ in 0..2 {
            let found = resolve("tcp4", "localhost:80", NETFD_NO_DEADLINE);
            assert_eq!(found, Err(-libc::EAGAIN));
        }
        let cause = "pthread_create: resource temporarily unavailable";
        let text = format!("resolve tcp4: lookup localhost: {cause}");
        assert_eq!(error_text(), text);
        assert_eq!(last_error().flags, 0, "no timeout");
        assert_eq!(dial("tcp", "localhost:80", None), -libc::EAGAIN);
        let found = resolve("tcp4", "localhost:80", NETFD_NO_DEADLINE);
        assert!(found.is_ok(), "nothing is left of it: {}", error_text());
    };
    alone_under_strace(test, &options, body);
}

#[test]
fn many_callers_look_up_at_once() {
    if !in_a_world("many_callers_look_up_at_once", &FILES) {
        return;
    }
    let callers: Vec<_> = (0..40)
        .map(|index| {
            spawn(move || {
                let name = if index % 2 == 0 {
                    "known:80"
                } else {
                    "mapped:80"
                };
                let expected = if index % 2 == 0 {
                    "127.0.0.1:80"
                } else {
                    "127.0.0.5:80"
                };
                for _ in 0..10 {
                    assert_eq!(all("tcp", name), [expected]);
                }
            })
        })
        .collect();
    for caller in callers {
        caller.join();
    }
}

#[test]
fn callers_who_leave_at_any_moment_get_their_own_answers_later() {
    let test = "callers_who_leave_at_any_moment_get_their_own_answers_later";
    if !in_a_world(test, &FILES) {
        return;
    }
    // Deadlines about as long as a lookup takes: an answer that came too late
    // must not be the next caller's.
    let callers: Vec<_> = (0..4)
        .map(|caller| {
            spawn(move || {
                let (name, expected) = match caller % 2 {
                    0 => ("known:80", "127.0.0.1:80"),
                    _ => ("mapped:80", "127.0.0.5:80"),
                };
                let (mut found, mut late) = (0, 0);
                for round in 0..200 {
                    match resolve("tcp", name, after(round * 5_000)) {
                        Ok(all) => {
                            assert_eq!(all, [expected]);
                            found += 1;
                        }
                        Err(code) => {
                            assert_eq!(code, EDEADLINE);
                            late += 1;
                        }
                    }
                    if round % 10 == 0 {
                        let found = resolve("tcp", "nowhere:80", NETFD_NO_DEADLINE);
                        assert_eq!(found, Err(NETFD_ENOHOST));
                    }
                }
                (found, late)
            })
        })
        .collect();
    for caller in callers {
        println!("found and late: {:?}", caller.join());
    }
    assert_eq!(stats().parked, 0);
    await_that("the helpers end", || threads() <= 2);
}

/// Runs a scenario of tests/c/lookup.c where the name server is mute.
fn process(test: &str, scenario: &str, expected: &str) {
    // Compiled once, by the process that has the real /etc.
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    if !is_in_a_world() {
        PROGRAM.get_or_init(|| c_program("lookup", true));
    }
    let Some(server) = mute_world(test, PATIENT) else {
        return;
    };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(env!("CARGO_CRATE_NAME"));
    let program = folder.join("lookup");
    let is_prompt = (0..3).any(|_| {
        let begun = Instant::now();
        assert_eq!(run_program(&program, &[scenario]), expected);
        begun.elapsed() < Duration::from_secs(1)
    });
    assert!(is_prompt, "at the best of three times");
    assert_eq!(destroy(server), 0);
}

#[test]
fn exit_with_abandoned_lookups_is_prompt_and_clean() {
    let test = "exit_with_abandoned_lookups_is_prompt_and_clean";
    process(test, "exits_with_abandoned_lookups", "clean");
}

#[test]
fn exit_with_lookups_that_are_waited_for_is_prompt_and_clean() {
    let test = "exit_with_lookups_that_are_waited_for_is_prompt_and_clean";
    process(test, "exits_with_lookups_waited_for", "clean");
}

#[test]
fn a_return_from_main_with_abandoned_lookups_is_prompt_and_clean() {
    let test = "a_return_from_main_with_abandoned_lookups_is_prompt_and_clean";
    process(test, "returns_with_abandoned_lookups", "clean");
}

#[test]
fn a_child_of_fork_looks_up_though_its_parents_helpers_are_gone() {
    let test = "a_child_of_fork_looks_up_though_its_parents_helpers_are_gone";
    process(test, "child_looks_up_too", "");
}

#[test]
fn without_descriptors_a_name_is_not_said_not_to_exist() {
    let test = "without_descriptors_a_name_is_not_said_not_to_exist";
    if !in_a_world(test, &FILES) {
        return;
    }
    let before = limit_fds(64);
    let used = use_up_fds();
    for name in ["known", "nowhere"] {
        let text = format!("resolve tcp4: lookup {name}: too many open files");
        fails("tcp4", &format!("{name}:80"), NETFD_EDNS, &text);
    }
    drop(used);
    limit_fds(before);
    assert_eq!(all("tcp4", "known:80"), ["127.0.0.1:80"]);
}

/// How many bytes of the C library's heap are in use.
fn heap() -> usize {
    // SAFETY: no pointers.
    unsafe { libc::mallinfo2() }.uordblks
}

#[test]
fn answers_that_nobody_takes_are_freed() {
    if !in_a_world("answers_that_nobody_takes_are_freed", &FILES) {
        return;
    }
    let leave = |n: i64| {
        let mut late = 0;
        for round in 0..n {
            let found = resolve("tcp", "many:80", after(round % 200 * 1_000));
            late += usize::from(found == Err(EDEADLINE));
        }
        await_that("the helpers end", || threads() <= 2);
        late
    };
    // An answer has a hundred bytes an address. The heap itself grows a little
    // at first.
    let is_even = (0..20).any(|_| {
        let before = heap();
        let late = leave(1000);
        assert!(late > 50, "{late}");
        let more = heap().saturating_sub(before);
        println!("{late} of 1000 left, {more} bytes more");
        more < 20 * late
    });
    assert!(is_even, "at the best of twenty times");
}
