//! netfd_connect: Go's `netFD.connect` and `netFD.dial` (net/fd_unix.go,
//! net/sock_posix.go), TestDialTimeout and its kin, connect(2).

#![allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test says what it expects, and knows the sizes"
)]

mod common;

use common::*;
use libc::{AF_INET, AF_INET6, AF_UNIX, SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM, c_int};
use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// netfd_connect() from a local address.
fn connect_from(fd: c_int, from: &Addr, to: &Addr) -> c_int {
    let by = after(5 * SECOND);
    // SAFETY: the addresses are as long as said.
    unsafe { netfd_connect(fd, from.ptr(), from.len, to.ptr(), to.len, by, no_token()) }
}

fn tcp() -> c_int {
    socket(AF_INET, SOCK_STREAM)
}

fn destroy_all(fds: impl IntoIterator<Item = c_int>) {
    for fd in fds {
        assert_eq!(destroy(fd), 0);
    }
}

/// That `client` is connected: a byte comes through.
fn carries(client: c_int, listener: c_int) {
    let server = accept(listener);
    assert!(server >= 0, "{}", error_text());
    assert_eq!(write(client, b"c"), 1);
    assert_eq!(read_exactly(server, 1), b"c");
    assert_eq!(write(server, b"s"), 1);
    assert_eq!(read_exactly(client, 1), b"s");
    assert_eq!(destroy(server), 0);
}

/// That a descriptor on which an attempt failed connects to a good listener.
fn is_as_new(fd: c_int, network: &str, address: &str) {
    let (good, at) = listener_at(network, address);
    let code = connect_by(fd, &at, after(5 * SECOND), no_token());
    assert_eq!(code, 0, "{}", error_text());
    carries(fd, good);
    assert_eq!(destroy(good), 0);
}

/// How many attempts are under way to a port of 127.0.0.1.
fn syn_sent(to: &Addr) -> usize {
    let wanted = format!("0100007F:{:04X} 02 ", to.port());
    let table = fs::read_to_string("/proc/self/net/tcp").expect("procfs");
    table.lines().filter(|line| line.contains(&wanted)).count()
}

#[test]
fn connect_reaches_listeners_of_every_kind() {
    let path = unix_path("connect");
    let packets = unix_path("connect-packets");
    for (network, address) in [
        ("tcp4", "127.0.0.1:0"),
        ("tcp6", "[::1]:0"),
        ("unix", &*path),
        ("unix", &*abstract_name("connect")),
        ("unixpacket", &*packets),
        ("unixpacket", &*abstract_name("connect-packets")),
    ] {
        let (fd, at) = listener_at(network, address);
        let sotype = option(fd, libc::SOL_SOCKET, libc::SO_TYPE);
        let client = socket(c_int::from(at.storage.ss_family), sotype);
        let code = connect_by(client, &at, after(5 * SECOND), no_token());
        assert_eq!(code, 0, "{network} {address}: {}", error_text());
        assert_eq!(remote_addr(client).unwrap().text(), at.text());
        carries(client, fd);
        destroy_all([client, fd]);
    }
    fs::remove_file(path).unwrap();
    fs::remove_file(packets).unwrap();
}

#[test]
fn an_ipv6_socket_reaches_an_ipv4_listener_by_its_mapped_address() {
    let (fd, at) = listener();
    let mut mapped = Addr::parse("tcp6", &format!("[::]:{}", at.port()));
    // SAFETY: the storage holds a sockaddr_in6.
    let inet6 = unsafe { &mut *mapped.ptr_mut().cast::<libc::sockaddr_in6>() };
    inet6.sin6_addr.s6_addr = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 127, 0, 0, 1];
    let client = socket(AF_INET6, SOCK_STREAM);
    assert_eq!(connect(client, &mapped), 0, "{}", error_text());
    let kernels = remote_addr(client).unwrap();
    assert_eq!(c_int::from(kernels.storage.ss_family), AF_INET6);
    assert_eq!(kernels.text(), at.text());
    carries(client, fd);
    destroy_all([client, fd]);
}

#[test]
fn a_datagram_socket_is_aimed_and_aimed_anew() {
    let peers = [socket(AF_INET, SOCK_DGRAM), socket(AF_INET, SOCK_DGRAM)];
    let client = socket(AF_INET, SOCK_DGRAM);
    for peer in peers {
        let any = Addr::parse("udp", "127.0.0.1:0");
        // SAFETY: the address is as long as said.
        assert_eq!(unsafe { libc::bind(peer, any.ptr(), any.len) }, 0);
        let at = local_addr(peer);
        assert_eq!(connect(client, &at), 0);
        assert_eq!(remote_addr(client).unwrap().text(), at.text());
        assert_eq!(write(client, b"!"), 1);
        assert_eq!(read_exactly(peer, 1), b"!");
    }
    destroy_all([client, peers[0], peers[1]]);
}

#[test]
fn a_unix_datagram_socket_is_aimed_and_aimed_anew() {
    let client = socket(AF_UNIX, SOCK_DGRAM);
    for name in ["aim-1", "aim-2"] {
        let at = Addr::parse("unixgram", &abstract_name(name));
        let peer = socket(AF_UNIX, SOCK_DGRAM);
        // SAFETY: the address is as long as said.
        assert_eq!(unsafe { libc::bind(peer, at.ptr(), at.len) }, 0);
        assert_eq!(connect(client, &at), 0, "{}", error_text());
        assert_eq!(write(client, b"!"), 1);
        assert_eq!(read_exactly(peer, 1), b"!");
        assert_eq!(destroy(peer), 0);
    }
    assert_eq!(destroy(client), 0);
}

#[test]
fn a_refused_connection_is_econnrefused_for_tcp_and_unix() {
    let (fd, gone) = listener_at("unix", &abstract_name("refused"));
    assert_eq!(destroy(fd), 0);
    let path = unix_path("refused");
    let (fd, left) = listener_at("unix", &path);
    assert_eq!(destroy(fd), 0);
    for at in [refusing(), gone, left] {
        let client = socket(c_int::from(at.storage.ss_family), SOCK_STREAM);
        assert_eq!(connect(client, &at), -libc::ECONNREFUSED, "{}", at.text());
        assert_eq!(c_text(&last_error().syscall), "connect");
        assert_eq!(destroy(client), 0);
    }
    fs::remove_file(path).unwrap();
}

#[test]
fn a_unix_path_that_is_not_there_is_enoent() {
    let client = socket(AF_UNIX, SOCK_STREAM);
    let at = Addr::parse("unix", &unix_path("not-there"));
    assert_eq!(connect(client, &at), -libc::ENOENT);
    assert_eq!(destroy(client), 0);
}

#[test]
fn a_stream_does_not_connect_to_a_seqpacket() {
    let path = unix_path("mixed");
    let (fd, at) = listener_at("unixpacket", &path);
    let client = socket(AF_UNIX, SOCK_STREAM);
    assert_eq!(connect(client, &at), -libc::EPROTOTYPE);
    destroy_all([client, fd]);
    fs::remove_file(path).unwrap();
}

#[test]
fn a_refused_descriptor_can_be_connected_anew() {
    let client = tcp();
    assert_eq!(connect(client, &refusing()), -libc::ECONNREFUSED);
    is_as_new(client, "tcp", "127.0.0.1:0");
    assert_eq!(destroy(client), 0);
}

#[test]
fn a_refused_unix_descriptor_can_be_connected_anew() {
    let (fd, gone) = listener_at("unix", &abstract_name("refused-anew"));
    assert_eq!(destroy(fd), 0);
    let client = socket(AF_UNIX, SOCK_STREAM);
    assert_eq!(connect(client, &gone), -libc::ECONNREFUSED);
    is_as_new(client, "unix", &abstract_name("refused-anew-good"));
    assert_eq!(destroy(client), 0);
}

/// Runs `body` in a thread that has a network of its own, with nothing in it
/// but a loopback interface that is down.
fn in_own_network(test: &str, body: impl FnOnce() + Send + 'static) {
    let test = test.to_owned();
    spawn_thread(move || {
        threads_only(); // a fiber would change its worker's network
        // SAFETY: no pointers; a thread may have a network of its own.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } == 0 {
            body();
        } else {
            println!("{test} skipped: no rights to a network of its own");
        }
    })
    .join();
}

fn ip(args: &str) -> bool {
    let done = Command::new("ip").args(args.split(' ')).status();
    done.is_ok_and(|status| status.success())
}

#[test]
fn a_network_without_a_route_is_enetunreach() {
    in_own_network("a_network_without_a_route_is_enetunreach", || {
        let client = tcp();
        let at = Addr::parse("tcp", "127.0.0.1:9");
        assert_eq!(connect(client, &at), -libc::ENETUNREACH);
        assert_eq!(destroy(client), 0);
    });
}

#[test]
fn routes_that_forbid_are_told_as_the_kernel_has_it() {
    let test = "routes_that_forbid_are_told_as_the_kernel_has_it";
    in_own_network(test, move || {
        let unreachable = "route add unreachable 192.0.2.0/25";
        let prohibit = "route add prohibit 192.0.2.128/25";
        if !ip("link set lo up") || !ip(unreachable) || !ip(prohibit) {
            println!("{test} skipped: no ip(8)");
            return;
        }
        for (address, errno) in [
            ("192.0.2.1:9", libc::EHOSTUNREACH),
            ("192.0.2.129:9", libc::EACCES),
        ] {
            let client = tcp();
            assert_eq!(connect(client, &Addr::parse("tcp", address)), -errno);
            assert_eq!(destroy(client), 0);
        }
    });
}

#[test]
fn a_host_that_does_not_answer_is_ehostunreach_or_the_deadline() {
    let test = "a_host_that_does_not_answer_is_ehostunreach_or_the_deadline";
    in_own_network(test, move || {
        let pair = "link add va type veth peer name vb";
        if !ip(pair) || !ip("addr add 192.0.2.1/24 dev va") || !ip("link set va up") {
            println!("{test} skipped: no ip(8) or no veth");
            return;
        }
        let _ = ip("link set vb up");
        // Nobody answers the ARP for it: only the deadline ends it soon.
        let client = tcp();
        let by = after(50 * MS);
        let at = Addr::parse("tcp", "192.0.2.2:9");
        assert_eq!(connect_by(client, &at, by, no_token()), NETFD_EDEADLINE);
        assert!(after(0) >= by);
        assert_eq!(destroy(client), 0);
    });
}

#[test]
fn a_backlog_that_never_accepts_ends_by_the_deadline_and_near_it() {
    let (fd, at, clients) = full_listener("tcp", "127.0.0.1:0");
    let client = tcp();
    let by = after(60 * MS);
    assert_eq!(connect_by(client, &at, by, no_token()), NETFD_EDEADLINE);
    let late = after(0) - by;
    assert!((0..3 * SECOND).contains(&late), "{late} ns late");
    destroy_all(clients.into_iter().chain([client, fd]));
}

#[test]
fn after_the_deadline_no_attempt_is_left_and_the_descriptor_is_as_new() {
    let (fd, at, clients) = full_listener("tcp", "127.0.0.1:0");
    let client = tcp();
    let waiting = spawn(move || connect(client, &at));
    await_parked(client, 1);
    assert_eq!(syn_sent(&at), 1);
    // SAFETY: no pointers.
    let set = unsafe { netfd_set_write_deadline(client, after(20 * MS)) };
    assert_eq!(set, 0);
    assert_eq!(waiting.join(), NETFD_EDEADLINE);
    assert_eq!(syn_sent(&at), 0);
    assert_eq!(option(client, libc::SOL_SOCKET, libc::SO_ERROR), 0);
    // SAFETY: no pointers.
    assert_eq!(unsafe { netfd_set_write_deadline(client, 0) }, 0);
    is_as_new(client, "tcp", "127.0.0.1:0");
    destroy_all(clients.into_iter().chain([client, fd]));
}

#[test]
fn a_handshake_that_could_complete_late_is_no_success() {
    let (fd, at, clients) = full_listener("tcp", "127.0.0.1:0");
    let client = tcp();
    let code = connect_by(client, &at, after(20 * MS), no_token());
    assert_eq!(code, NETFD_EDEADLINE);
    // Room appears. A SYN that was sent again, a second later, would find it.
    for _ in &clients {
        assert_eq!(destroy(accept(fd)), 0);
    }
    // SAFETY: no pointers.
    assert_eq!(unsafe { netfd_set_read_deadline(fd, after(1200 * MS)) }, 0);
    assert_eq!(accept(fd), NETFD_EDEADLINE, "nobody comes");
    assert_eq!(remote_addr(client).err(), Some(-libc::ENOTCONN));
    destroy_all(clients.into_iter().chain([client, fd]));
}

#[test]
fn an_attempt_waits_for_room_in_a_full_backlog() {
    let (fd, at, clients) = full_listener("tcp", "127.0.0.1:0");
    let client = tcp();
    let waiting = spawn(move || connect_by(client, &at, after(9 * SECOND), no_token()));
    await_parked(client, 1);
    let accepted = accept(fd);
    assert_eq!(waiting.join(), 0);
    destroy_all(clients.into_iter().chain([client, accepted, fd]));
}

#[test]
fn a_deadline_that_has_passed_fails_at_once_and_nothing_is_sent() {
    let (fd, at) = listener();
    for by in [1, -1, i64::MIN, after(0)] {
        let client = tcp();
        assert_eq!(connect_by(client, &at, by, no_token()), NETFD_EDEADLINE);
        assert_eq!(local_addr(client).port(), 0);
        assert_eq!(destroy(client), 0);
    }
    assert_eq!(destroy(fd), 0);
}

#[test]
fn the_far_end_of_time_is_a_deadline_too() {
    let (fd, at) = listener();
    let client = tcp();
    assert_eq!(connect_by(client, &at, i64::MAX, no_token()), 0);
    carries(client, fd);
    destroy_all([client, fd]);
}

#[test]
fn the_descriptors_write_deadline_counts_as_well() {
    let (fd, at, clients) = full_listener("tcp", "127.0.0.1:0");
    let client = tcp();
    // SAFETY: no pointers.
    let set = unsafe { netfd_set_write_deadline(client, after(30 * MS)) };
    assert_eq!(set, 0);
    let code = connect_by(client, &at, after(30 * SECOND), no_token());
    assert_eq!(code, NETFD_EDEADLINE);
    assert_eq!(connect(client, &at), NETFD_EDEADLINE, "it is sticky");
    // SAFETY: no pointers.
    assert_eq!(unsafe { netfd_set_write_deadline(client, 0) }, 0);
    is_as_new(client, "tcp", "127.0.0.1:0");
    destroy_all(clients.into_iter().chain([client, fd]));
}

#[test]
fn the_calls_deadline_wins_where_it_is_earlier_and_ends_with_the_call() {
    let (fd, at, clients) = full_listener("tcp", "127.0.0.1:0");
    let client = tcp();
    // SAFETY: no pointers.
    let set = unsafe { netfd_set_write_deadline(client, after(30 * SECOND)) };
    assert_eq!(set, 0);
    let code = connect_by(client, &at, after(30 * MS), no_token());
    assert_eq!(code, NETFD_EDEADLINE);
    is_as_new(client, "tcp", "127.0.0.1:0");
    destroy_all(clients.into_iter().chain([client, fd]));
}

#[test]
fn the_read_deadline_does_not_concern_connect() {
    let (fd, at) = listener();
    let client = tcp();
    // SAFETY: no pointers.
    assert_eq!(unsafe { netfd_set_read_deadline(client, 1) }, 0);
    assert_eq!(connect(client, &at), 0);
    destroy_all([client, fd]);
}

#[test]
fn a_write_deadline_set_meanwhile_ends_an_attempt_that_is_parked() {
    let (fd, at, clients) = full_listener("tcp", "127.0.0.1:0");
    let client = tcp();
    let waiting = spawn(move || connect(client, &at));
    await_parked(client, 1);
    // SAFETY: no pointers.
    assert_eq!(unsafe { netfd_set_write_deadline(client, 1) }, 0);
    assert_eq!(waiting.join(), NETFD_EDEADLINE);
    destroy_all(clients.into_iter().chain([client, fd]));
}

#[test]
fn a_token_of_the_call_ends_an_attempt_that_is_parked_and_leaves_it_as_new() {
    let (fd, at, clients) = full_listener("tcp", "127.0.0.1:0");
    let client = tcp();
    let token = Token::new();
    let waiting = spawn(move || {
        let token = token;
        connect_by(client, &at, 0, token.0)
    });
    await_parked(client, 1);
    token.fire();
    assert_eq!(waiting.join(), NETFD_ECANCELED);
    assert_eq!(syn_sent(&at), 0);
    is_as_new(client, "tcp", "127.0.0.1:0");
    token.free();
    destroy_all(clients.into_iter().chain([client, fd]));
}

#[test]
fn a_token_that_has_fired_ends_it_before_it_begins() {
    let (fd, at) = listener();
    let token = Token::new();
    token.fire();
    let client = tcp();
    assert_eq!(connect_by(client, &at, 0, token.0), NETFD_ECANCELED);
    assert_eq!(local_addr(client).port(), 0);
    assert_eq!(connect(client, &at), 0, "the token was that call's alone");
    token.free();
    destroy_all([client, fd]);
}

#[test]
fn the_descriptors_token_counts_as_well_before_and_meanwhile() {
    let (fd, at, clients) = full_listener("tcp", "127.0.0.1:0");
    let token = Token::new();
    let of_call = Token::new();
    let client = tcp();
    token.set_on(client);
    let waiting = spawn(move || {
        let of_call = of_call;
        connect_by(client, &at, 0, of_call.0)
    });
    await_parked(client, 1);
    token.fire();
    assert_eq!(waiting.join(), NETFD_ECANCELED);
    assert_eq!(connect_by(client, &at, 0, of_call.0), NETFD_ECANCELED);
    // SAFETY: NULL is none.
    assert_eq!(unsafe { netfd_set_cancel(client, no_token()) }, 0);
    is_as_new(client, "tcp", "127.0.0.1:0");
    token.free();
    of_call.free();
    destroy_all(clients.into_iter().chain([client, fd]));
}

#[test]
fn destroy_ends_an_attempt_that_is_parked() {
    let (fd, at, clients) = full_listener("tcp", "127.0.0.1:0");
    let client = tcp();
    let waiting = spawn(move || connect(client, &at));
    await_parked(client, 1);
    assert_eq!(destroy(client), 0);
    assert_eq!(waiting.join(), NETFD_ECLOSED);
    assert_eq!(syn_sent(&at), 0);
    destroy_all(clients.into_iter().chain([fd]));
}

/// Spins for so many nanoseconds, none if there are fewer than 0.
fn spin(ns: i64) {
    let until = after(ns.max(0));
    while after(0) < until {
        std::hint::spin_loop();
    }
}

#[test]
fn cancel_at_any_moment_gives_success_or_ecanceled_and_leaks_nothing() {
    const ROUNDS: usize = 600;
    let test = "cancel_at_any_moment_gives_success_or_ecanceled_and_leaks_nothing";
    let said = alone(test, || {
        no_twin(); // it calls at a moment
        let (fd, at) = listener();
        let server = spawn_server(fd);
        let warm = tcp();
        assert_eq!(connect(warm, &at), 0);
        assert_eq!(destroy(warm), 0);
        let (mut connected, mut canceled) = (0, 0);
        let before = open_fds();
        // How much later the token fires than the call begins. It follows the
        // results, so that the races end on both sides.
        let mut lead: i64 = 50_000;
        for _ in 0..ROUNDS {
            let token = Token::new();
            let client = tcp();
            let begun = Arc::new(AtomicBool::new(false));
            let begins = Arc::clone(&begun);
            let waiting = spawn(move || {
                let token = token;
                begins.store(true, Ordering::Release);
                spin(-lead);
                connect_by(client, &at, 0, token.0)
            });
            while !begun.load(Ordering::Acquire) {
                std::hint::spin_loop();
            }
            spin(lead);
            token.fire();
            match waiting.join() {
                0 => {
                    connected += 1;
                    lead -= lead.abs() / 8 + 1000;
                    assert_eq!(remote_addr(client).unwrap().text(), at.text());
                    assert_eq!(write(client, b"!"), 1);
                }
                code => {
                    canceled += 1;
                    lead += lead.abs() / 8 + 1000;
                    assert_eq!(code, NETFD_ECANCELED);
                    assert_eq!(remote_addr(client).err(), Some(-libc::ENOTCONN));
                    assert_eq!(connect(client, &at), 0, "it connects anew");
                }
            }
            assert_eq!(destroy(client), 0);
            token.free();
        }
        println!("{connected} connected, {canceled} canceled");
        assert!(connected >= ROUNDS / 10 && canceled >= ROUNDS / 10);
        assert_eq!(syn_sent(&at), 0);
        // Two threads may have parked for the first time meanwhile, each with
        // an eventfd.
        await_that("no descriptor leaks", || open_fds() <= before + 2);
        assert_eq!(destroy(fd), 0);
        assert_eq!(server.join(), NETFD_ECLOSED);
    });
    if let Some(said) = said {
        let counts = said.lines().find(|line| line.contains(" connected, "));
        println!("{}", counts.unwrap_or_default());
    }
}

/// Accepts and destroys until the listener is destroyed.
fn spawn_server(fd: c_int) -> Task<c_int> {
    spawn(move || {
        loop {
            let conn = accept(fd);
            if conn < 0 {
                return conn;
            }
            destroy(conn);
        }
    })
}

#[test]
fn a_full_unix_backlog_waits_and_succeeds_when_room_appears() {
    for network in ["unix", "unixpacket"] {
        let name = abstract_name(&format!("room-{network}"));
        let (fd, at, clients) = full_listener(network, &name);
        let sotype = option(fd, libc::SOL_SOCKET, libc::SO_TYPE);
        let client = socket(AF_UNIX, sotype);
        let waiting = spawn(move || connect(client, &at));
        await_parked(client, 1);
        let accepted = [accept(fd), accept(fd)];
        assert_eq!(waiting.join(), 0);
        carries(client, fd);
        destroy_all(clients.into_iter().chain(accepted).chain([client, fd]));
    }
}

#[test]
fn a_full_unix_backlog_obeys_the_deadline() {
    let (fd, at, clients) = full_listener("unix", &abstract_name("full-deadline"));
    let client = socket(AF_UNIX, SOCK_STREAM);
    let by = after(40 * MS);
    assert_eq!(connect_by(client, &at, by, no_token()), NETFD_EDEADLINE);
    let late = after(0) - by;
    assert!((0..3 * SECOND).contains(&late), "{late} ns late");
    is_as_new(client, "unix", &abstract_name("full-deadline-good"));
    destroy_all(clients.into_iter().chain([client, fd]));
}

#[test]
fn a_full_unix_backlog_obeys_the_token() {
    let (fd, at, clients) = full_listener("unix", &abstract_name("full-token"));
    let client = socket(AF_UNIX, SOCK_STREAM);
    let token = Token::new();
    let waiting = spawn(move || {
        let token = token;
        connect_by(client, &at, 0, token.0)
    });
    await_parked(client, 1);
    token.fire();
    assert_eq!(waiting.join(), NETFD_ECANCELED);
    is_as_new(client, "unix", &abstract_name("full-token-good"));
    token.free();
    destroy_all(clients.into_iter().chain([client, fd]));
}

#[test]
fn a_full_unix_backlog_obeys_destroy() {
    let (fd, at, clients) = full_listener("unix", &abstract_name("full-destroy"));
    let client = socket(AF_UNIX, SOCK_STREAM);
    let waiting = spawn(move || connect(client, &at));
    await_parked(client, 1);
    assert_eq!(destroy(client), 0);
    assert_eq!(waiting.join(), NETFD_ECLOSED);
    destroy_all(clients.into_iter().chain([fd]));
}

#[test]
fn a_full_unix_backlog_whose_listener_goes_is_refused() {
    let (fd, at, clients) = full_listener("unix", &abstract_name("full-gone"));
    let client = socket(AF_UNIX, SOCK_STREAM);
    let waiting = spawn(move || connect(client, &at));
    await_parked(client, 1);
    assert_eq!(destroy(fd), 0);
    assert_eq!(waiting.join(), -libc::ECONNREFUSED);
    destroy_all(clients.into_iter().chain([client]));
}

#[test]
fn a_connected_stream_is_eisconn_each_time_and_stays_connected() {
    let (fd, at) = listener();
    let (other, elsewhere) = listener();
    let client = tcp();
    assert_eq!(connect(client, &at), 0);
    let codes = [
        connect(client, &elsewhere),
        connect(client, &elsewhere),
        connect(client, &at),
    ];
    assert_eq!(codes, [-libc::EISCONN; 3]);
    assert_eq!(remote_addr(client).unwrap().text(), at.text());
    carries(client, fd);
    destroy_all([client, fd, other]);
}

#[test]
fn a_connected_unix_stream_or_seqpacket_is_eisconn() {
    for (network, sotype) in [("unix", SOCK_STREAM), ("unixpacket", SOCK_SEQPACKET)] {
        let (fd, at) = listener_at(network, &abstract_name(&format!("eisconn-{network}")));
        let client = socket(AF_UNIX, sotype);
        assert_eq!(connect(client, &at), 0);
        assert_eq!(connect(client, &at), -libc::EISCONN);
        let (one, two) = unix_pair(sotype);
        assert_eq!(connect(one, &at), -libc::EISCONN);
        carries(client, fd);
        destroy_all([client, fd, one, two]);
    }
}

#[test]
fn what_was_accepted_is_eisconn() {
    let (fd, at) = listener();
    let (client, server) = tcp_pair();
    assert_eq!(connect(server, &at), -libc::EISCONN);
    destroy_all([client, server, fd]);
}

#[test]
fn a_connected_unix_stream_is_eisconn_and_leaves_no_file_of_its_local_address() {
    let path = unix_path("eisconn-file");
    let (fd, at) = listener_at("unix", &abstract_name("eisconn-file"));
    let client = socket(AF_UNIX, SOCK_STREAM);
    assert_eq!(connect(client, &at), 0);
    let code = connect_from(client, &Addr::parse("unix", &path), &at);
    let left = fs::remove_file(path).is_ok();
    destroy_all([client, fd]);
    assert_eq!(code, -libc::EISCONN);
    assert!(!left, "bind(2) was called on a connected socket");
}

#[test]
fn a_local_address_is_bound_first() {
    let (fd, at) = listener();
    let client = tcp();
    assert_eq!(
        connect_from(client, &Addr::parse("tcp", "127.0.0.2:0"), &at),
        0
    );
    assert!(local_addr(client).text().starts_with("127.0.0.2:"));
    carries(client, fd);
    destroy_all([client, fd]);
}

#[test]
fn a_local_unix_path_is_bound_first() {
    let path = unix_path("local");
    let (fd, at) = listener_at("unix", &abstract_name("local"));
    let client = socket(AF_UNIX, SOCK_STREAM);
    assert_eq!(connect_from(client, &Addr::parse("unix", &path), &at), 0);
    let server = accept(fd);
    assert_eq!(remote_addr(server).unwrap().text(), path);
    destroy_all([client, server, fd]);
    fs::remove_file(path).unwrap();
}

#[test]
fn a_local_address_in_use_is_told_and_nothing_is_connected() {
    let (fd, at) = listener();
    let client = tcp();
    assert_eq!(connect_from(client, &at, &at), -libc::EADDRINUSE);
    assert_eq!(c_text(&last_error().syscall), "bind");
    is_as_new(client, "tcp", "127.0.0.1:0");
    destroy_all([client, fd]);
}

#[test]
fn a_second_attempt_may_name_the_same_local_address() {
    let (good, at) = listener();
    for (host, network) in [("127.0.0.3:0", "tcp"), ("", "unix")] {
        let (family, bad) = if network == "tcp" {
            (AF_INET, refusing())
        } else {
            (AF_UNIX, Addr::parse("unix", &abstract_name("no-such")))
        };
        let own = abstract_name("second-attempt");
        let from = Addr::parse(network, if host.is_empty() { &own } else { host });
        let client = socket(family, SOCK_STREAM);
        assert_eq!(connect_from(client, &from, &bad), -libc::ECONNREFUSED);
        assert_eq!(connect_from(client, &from, &bad), -libc::ECONNREFUSED);
        assert_eq!(destroy(client), 0);
    }
    // With a port that was asked for by number, which stays bound.
    let free = free_place();
    let client = tcp();
    assert_eq!(
        connect_from(client, &free, &refusing()),
        -libc::ECONNREFUSED
    );
    assert_eq!(connect_from(client, &free, &at), 0, "{}", error_text());
    assert_eq!(local_addr(client).text(), free.text());
    destroy_all([client, good]);
}

#[test]
fn a_second_attempt_from_another_local_address_is_einval() {
    let (fd, at) = listener();
    let client = tcp();
    let from = free_place();
    assert_eq!(
        connect_from(client, &from, &refusing()),
        -libc::ECONNREFUSED
    );
    let other = Addr::parse("tcp", "127.0.0.4:0");
    assert_eq!(connect_from(client, &other, &at), -libc::EINVAL);
    destroy_all([client, fd]);
}

#[test]
fn an_attempt_that_was_begun_outside_is_waited_for() {
    let (fd, at) = listener();
    let client = tcp();
    // SAFETY: the address is as long as said.
    let code = unsafe { libc::connect(client, at.ptr(), at.len) };
    let error = std::io::Error::last_os_error().raw_os_error();
    assert!(code == 0 || error == Some(libc::EINPROGRESS));
    let result = connect(client, &at);
    // It may have been decided before we asked.
    assert!([0, -libc::EISCONN].contains(&result), "{result}");
    carries(client, fd);
    destroy_all([client, fd]);
}

#[test]
fn writers_wait_behind_a_connect_and_go_on_when_it_stands() {
    let (fd, at, clients) = full_listener("unix", &abstract_name("writers"));
    let client = socket(AF_UNIX, SOCK_STREAM);
    let connecting = spawn(move || connect(client, &at));
    await_parked(client, 1);
    let writing = spawn(move || write(client, b"after"));
    await_parked(client, 2);
    let accepted = [accept(fd), accept(fd)];
    assert_eq!(connecting.join(), 0);
    assert_eq!(writing.join(), 5);
    let server = accept(fd);
    assert_eq!(read_exactly(server, 5), b"after");
    destroy_all(
        clients
            .into_iter()
            .chain(accepted)
            .chain([client, server, fd]),
    );
}

#[test]
fn a_signal_ends_it_where_the_thread_asked_for_it_and_the_descriptor_is_as_new() {
    extern "C" fn nothing(_: c_int) {}
    // SAFETY: an all-zero sigaction has no flags and an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = nothing as *const () as usize;
    // SAFETY: the struct is there; nobody else here uses the signal.
    let set = unsafe { libc::sigaction(libc::SIGUSR2, &action, std::ptr::null_mut()) };
    assert_eq!(set, 0);
    let (fd, at, clients) = full_listener("tcp", "127.0.0.1:0");
    let client = tcp();
    let (tell, told) = std::sync::mpsc::channel();
    let waiting = spawn_thread(move || {
        // SAFETY: no pointers.
        assert_eq!(unsafe { netfd_set_interruptible(1) }, 0);
        // SAFETY: no pointers.
        tell.send(unsafe { libc::pthread_self() })
            .expect("somebody listens");
        connect(client, &at)
    });
    let thread = told.recv().unwrap();
    await_parked(client, 1);
    // A handler that runs before the wait begins does not end it: again.
    await_that("the signal is seen", || {
        if !waiting.is_finished() {
            // SAFETY: the thread has not been joined.
            unsafe { libc::pthread_kill(thread, libc::SIGUSR2) };
        }
        std::thread::yield_now();
        waiting.is_finished()
    });
    assert_eq!(waiting.join(), -libc::EINTR);
    assert_eq!(syn_sent(&at), 0);
    is_as_new(client, "tcp", "127.0.0.1:0");
    destroy_all(clients.into_iter().chain([client, fd]));
}

/// A connect(2) that does what it is asked, then says EINTR, and counts.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
static int calls;
int shim_calls(void) { return calls; }
int connect(int fd, const struct sockaddr *to, socklen_t len) {
    long done = syscall(SYS_connect, fd, to, len);
    if (to->sa_family != AF_UNSPEC) calls++;
    if (to->sa_family == AF_UNSPEC) return (int)done;
    if (done < 0 && errno != EINPROGRESS) return -1;
    errno = EINTR;
    return -1;
}
"#;

/// Compiles `SHIM`, where there is a compiler.
fn shim(test: &str) -> Option<String> {
    let source = format!("{}/{test}.c", env!("CARGO_TARGET_TMPDIR"));
    let library = format!("{}/{test}.so", env!("CARGO_TARGET_TMPDIR"));
    fs::write(&source, SHIM).expect("the target folder is writable");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-o", &library, &source])
        .status();
    if built.is_ok_and(|status| status.success()) {
        return Some(library);
    }
    println!("{test} skipped: no C compiler");
    None
}

fn shim_calls() -> c_int {
    // SAFETY: the name ends with a NUL.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"shim_calls".as_ptr()) };
    assert!(!found.is_null(), "the shim is loaded");
    // SAFETY: that is the type of the function in `SHIM`.
    let calls: extern "C" fn() -> c_int = unsafe { std::mem::transmute(found) };
    calls()
}

#[test]
fn eintr_after_the_attempt_began_is_not_issued_again_and_connects() {
    let test = "eintr_after_the_attempt_began_is_not_issued_again_and_connects";
    let Some(shim) = shim(test) else { return };
    alone_under(test, &[], &[("LD_PRELOAD", &shim)], || {
        for (network, address) in [
            ("tcp4", "127.0.0.1:0"),
            ("tcp6", "[::1]:0"),
            ("unix", &*abstract_name("eintr")),
        ] {
            let before = shim_calls();
            let (fd, at) = listener_at(network, address);
            let client = socket(c_int::from(at.storage.ss_family), SOCK_STREAM);
            let code = connect_by(client, &at, after(5 * SECOND), no_token());
            assert_eq!(code, 0, "{network}: {}", error_text());
            assert_eq!(shim_calls() - before, 1);
            assert_eq!(remote_addr(client).unwrap().text(), at.text());
            carries(client, fd);
            destroy_all([client, fd]);
        }
    });
}

#[test]
fn eintr_before_a_refusal_still_tells_the_refusal() {
    let test = "eintr_before_a_refusal_still_tells_the_refusal";
    let Some(shim) = shim(test) else { return };
    alone_under(test, &[], &[("LD_PRELOAD", &shim)], || {
        let client = tcp();
        assert_eq!(connect(client, &refusing()), -libc::ECONNREFUSED);
        assert_eq!(shim_calls(), 1);
        assert_eq!(destroy(client), 0);
    });
}

#[test]
fn an_so_error_of_0_is_not_believed_without_a_peer() {
    // The attempt is said to be under way and is not: nothing can come of it,
    // and it must not pass for a success.
    let test = "an_so_error_of_0_is_not_believed_without_a_peer";
    let options = ["-e", "inject=connect:error=EINPROGRESS:when=1"];
    alone_under_strace(test, &options, || {
        let (fd, at) = listener();
        let client = tcp();
        let code = connect_by(client, &at, after(100 * MS), no_token());
        assert!(
            [NETFD_EDEADLINE, -libc::ECONNABORTED].contains(&code),
            "{code}"
        );
        assert_eq!(connect(client, &at), 0, "{}", error_text());
        destroy_all([client, fd]);
    });
}

#[test]
fn an_interrupted_connect_of_a_unix_socket_begins_again() {
    // There is nothing that would go on by itself, as a handshake does.
    let test = "an_interrupted_connect_of_a_unix_socket_begins_again";
    let options = ["-e", "inject=connect:error=EINTR:when=1"];
    alone_under_strace(test, &options, || {
        let (fd, at) = listener_at("unix", &abstract_name("interrupted"));
        let client = socket(AF_UNIX, SOCK_STREAM);
        assert_eq!(connect(client, &at), 0, "{}", error_text());
        carries(client, fd);
    });
}

#[test]
fn a_getpeername_that_fails_once_is_a_spurious_wakeup() {
    let test = "a_getpeername_that_fails_once_is_a_spurious_wakeup";
    let options = ["-e", "trace=connect,getpeername,getsockopt"];
    let trace = alone_under_strace(test, &options, || {
        let (fd, at) = listener();
        let client = tcp();
        assert_eq!(connect(client, &at), 0);
        carries(client, fd);
    });
    let Some(trace) = trace else { return };
    assert!(trace.contains("SO_ERROR, [0]"), "{trace}");
    let begun = trace.find("connect(").expect("it was traced");
    assert!(trace[begun..].contains("getpeername("), "{trace}");
}

#[test]
fn so_error_is_what_the_attempt_says() {
    let test = "so_error_is_what_the_attempt_says";
    let options = ["-e", "trace=connect,getsockopt,ppoll"];
    let trace = alone_under_strace(test, &options, || {
        let client = tcp();
        assert_eq!(connect(client, &refusing()), -libc::ECONNREFUSED);
    });
    let Some(trace) = trace else { return };
    let attempts = trace.lines().filter(|line| line.contains(" connect("));
    let attempts = attempts.filter(|line| line.contains("AF_INET"));
    assert_eq!(attempts.count(), 1, "{trace}");
}

#[test]
fn a_connection_forgets_how_the_one_before_on_the_same_descriptor_ended() {
    let (fd, at) = listener();
    let client = tcp();
    assert_eq!(connect(client, &at), 0);
    reset(accept(fd));
    assert_eq!(read(client, &mut [0]), -(libc::ECONNRESET as isize));
    let nowhere = libc::sockaddr {
        sa_family: libc::AF_UNSPEC as libc::sa_family_t,
        sa_data: [0; 14],
    };
    // SAFETY: the address is as long as said. It ends what is left.
    assert_eq!(unsafe { libc::connect(client, &nowhere, 16) }, 0);
    assert_eq!(connect(client, &at), 0, "{}", error_text());
    let server = accept(fd);
    assert_eq!(destroy(server), 0);
    assert_eq!(read(client, &mut [0]), 0, "{}", error_text());
    destroy_all([client, fd]);
}

#[test]
fn errors_of_the_addresses_are_the_kernels() {
    let client = tcp();
    let six = Addr::parse("tcp", "[::1]:9");
    assert_eq!(connect(client, &six), -libc::EAFNOSUPPORT);
    let mut short = Addr::parse("tcp", "127.0.0.1:9");
    short.len = 8;
    assert_eq!(connect(client, &short), -libc::EINVAL);
    assert_eq!(destroy(client), 0);
}
