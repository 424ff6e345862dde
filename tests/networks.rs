//! Networks that misbehave: what a call says, and when, where packets are lost,
//! held up or answered by a stranger, where the peer is stopped, killed or
//! forgetful, and where there is no way to it.
//!
//! Each test is a process in a network of its own, `near`, with a cable to
//! another one, `far`, which one thread has; filters of nft(8) stand for what
//! misbehaves on the way. Nothing ends earlier than it is said to, and later by
//! as much as a busy machine takes; how long it took is printed.
//!
//! Behind it: tcp(7), udp(7), icmp(7), ip-route(8), ss(8), RFC 1122 4.2.3.9
//! (which ICMP messages end a connection), Go `TestDialTimeout` and
//! `TestConnClose`'s kin, which have loopback alone.

#![allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test that is out of range has failed"
)]

mod common;

use common::calls::*;
use common::*;
use libc::{c_int, ssize_t};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc;
use std::time::{Duration, Instant};

const FAR: &str = "10.0.9.2";
const FAR6: &str = "fd00:9::2";

const NEAR_NETWORK: &str = "
    set -e
    ip link set lo up
    ip link add va type veth peer name vb address 02:00:00:00:00:02 netns FAR_THREAD
    ip addr add 10.0.9.1/24 dev va
    ip addr add fd00:9::1/64 dev va nodad
    ip link set va up
    sysctl -qw net.ipv4.tcp_syn_linear_timeouts=0 2>/dev/null || true
";

const FAR_NETWORK: &str = "
    set -e
    ip link set lo up
    ip addr add 10.0.9.2/24 dev vb
    ip addr add fd00:9::2/64 dev vb nodad
    ip link set vb up
    sysctl -qw net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0
";

/// What nft(8) is told before there are filters.
const TABLE: &str = "'table inet way { chain in { type filter hook input priority 0; }; }'";

/// Whether a program may have networks of its own, with cables and filters; by
/// which command.
fn unshare() -> Option<&'static [&'static str]> {
    static FOUND: OnceLock<Option<&'static [&'static str]>> = OnceLock::new();
    let ways: [&'static [&'static str]; 2] = [&["unshare", "-n"], &["unshare", "-U", "-r", "-n"]];
    let script = "ip link add va type veth peer name vb && nft add table inet way &&
        test -d /proc/sys/net/ipv6";
    *FOUND.get_or_init(|| {
        ways.into_iter().find(|way| {
            let tried = Command::new(way[0])
                .args(&way[1..])
                .args(["sh", "-c", script])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            tried.is_ok_and(|status| status.success())
        })
    })
}

/// Runs `body` in a process of its own, whose network is `near`.
fn in_two_networks(test: &str, body: impl FnOnce(&Far)) {
    let is_alone = std::env::var_os(ALONE).is_some();
    let way = if is_alone { Some(&[][..]) } else { unshare() };
    let Some(way) = way else {
        println!(
            "{test} skipped: no network of its own with cables and filters, by ip(8) and nft(8)"
        );
        return;
    };
    let said = alone_under(test, way, &[], || body(&Far::new()));
    for line in said.iter().flat_map(|said| said.lines()) {
        if line.contains(" skipped: ") || line.contains(" took ") {
            println!("{line}");
        }
    }
}

fn sh(script: &str) {
    let done = Command::new("sh").args(["-c", script]).output();
    let done = done.expect("there is a shell");
    let told = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{script}: {told}");
}

type Job = Box<dyn FnOnce() + Send>;

/// The network at the other end, and the thread that has it.
struct Far(mpsc::Sender<Job>);

impl Far {
    fn new() -> Self {
        let (send, jobs) = mpsc::channel::<Job>();
        let (tell, id) = mpsc::channel();
        std::thread::spawn(move || {
            threads_only();
            // SAFETY: no pointers; a thread may have a network of its own.
            assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0);
            tell.send(fibers::thread_id()).expect("it is waited for");
            jobs.into_iter().for_each(|job| job());
        });
        let id = id.recv().expect("it has a network");
        sh(&NEAR_NETWORK.replace("FAR_THREAD", &id.to_string()));
        let this = Self(send);
        this.sh(FAR_NETWORK);
        this.sh(&format!("nft {TABLE}"));
        // A way to an IPv6 address is there when the kernel finds the time.
        let nobody = format!("[{FAR6}]:9").parse().expect("an address");
        await_that("a way to the far IPv6 address", || {
            let tried = std::net::TcpStream::connect_timeout(&nobody, Duration::from_millis(50));
            tried.is_err_and(|error| error.raw_os_error() == Some(libc::ECONNREFUSED))
        });
        this
    }

    /// Runs `job` there.
    fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (tell, result) = mpsc::channel();
        let job = move || tell.send(job()).expect("it is waited for");
        self.0.send(Box::new(job)).expect("the far thread lives");
        result.recv_timeout(GUARD).expect("it is done in time")
    }

    fn sh(&self, script: &str) {
        let script = script.to_owned();
        self.run(move || sh(&script));
    }

    /// Has a filter treat all that arrives there and is `what`.
    fn filter(&self, what: &str) {
        self.sh(&format!("nft 'add rule inet way in iifname vb {what}'"));
    }

    /// Takes all filters away.
    fn clear(&self) {
        self.sh("nft flush chain inet way in");
    }

    /// A listener there, and its address.
    fn listener(&self) -> (c_int, Addr) {
        self.run(|| listener_at("tcp", &format!("{FAR}:0")))
    }

    /// A connection: the near end, the far one.
    fn connection(&self) -> (c_int, c_int) {
        let (listener, at) = self.listener();
        let client = tcp();
        assert_eq!(connect(client, &at), 0, "{}", error_text());
        let server = accept(listener);
        assert!(server >= 0, "{}", error_text());
        assert_eq!(destroy(listener), 0);
        (client, server)
    }
}

fn tcp() -> c_int {
    socket(libc::AF_INET, libc::SOCK_STREAM)
}

/// netfd_dial() with a deadline: the connection or the code.
fn dial_in(ms: i64, address: &str) -> c_int {
    let config = netfd_dial_config {
        deadline: after(ms * MS),
        ..dial_config()
    };
    dial("tcp", address, Some(&config))
}

/// What `call` says, having seen that it took `least` ms, and no hang.
#[track_caller]
fn timed<T>(what: &str, least: u64, call: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let result = call();
    lasted(what, least, begun);
    result
}

#[track_caller]
fn lasted(what: &str, least: u64, begun: Instant) {
    let took = begun.elapsed();
    println!("{what} took {} ms", took.as_millis());
    assert!(took >= Duration::from_millis(least), "{what}: {took:?}");
    let most = Duration::from_millis(least) + GUARD; // on a busy machine
    assert!(took < most, "{what}: {took:?}");
}

fn destroy_all<const N: usize>(fds: [c_int; N]) {
    assert_eq!(fds.map(destroy), [0; N]);
}

/// A read of one byte, by a caller of its own, which is parked.
fn reader(fd: c_int) -> Task<ssize_t> {
    let task = spawn(move || read(fd, &mut [0]));
    await_parked(fd, 1);
    task
}

/// A write that the peer takes no end of, by a caller of its own, which is
/// parked beside `others`. What it says, and its last failure.
fn writer(fd: c_int, others: usize) -> Task<(ssize_t, c_int)> {
    fill(fd);
    let task = spawn(move || {
        let block = vec![b'w'; 1 << 20];
        (write(fd, &block), last_error().code)
    });
    await_parked(fd, 1 + others);
    task
}

// A connection that does not come about.

#[test]
fn a_syn_that_is_dropped_ends_by_the_deadline() {
    in_two_networks("a_syn_that_is_dropped_ends_by_the_deadline", |far| {
        let (listener, at) = far.listener();
        far.filter("tcp flags syn drop");
        let code = timed("a black hole, deadline 300 ms,", 300, || {
            dial_in(300, &at.text())
        });
        assert_eq!(code, NETFD_EDEADLINE);
        assert_eq!(last_error().flags, NETFD_ERROR_TIMEOUT);
        destroy_all([listener]);
    });
}

#[test]
fn without_a_deadline_the_kernel_gives_up_after_its_last_syn() {
    let test = "without_a_deadline_the_kernel_gives_up_after_its_last_syn";
    in_two_networks(test, |far| {
        let (listener, at) = far.listener();
        far.filter("tcp flags syn drop");
        sh("sysctl -qw net.ipv4.tcp_syn_retries=1");
        let client = tcp();
        // One second for the first, two for the second.
        let code = timed("a black hole, one retry,", 2_900, || connect(client, &at));
        assert_eq!(code, -libc::ETIMEDOUT);
        assert_eq!(last_error().flags, NETFD_ERROR_TIMEOUT);
        far.clear();
        assert_eq!(connect(client, &at), 0, "{}", error_text());
        destroy_all([client, listener]);
    });
}

#[test]
fn a_user_timeout_ends_a_connect_too() {
    in_two_networks("a_user_timeout_ends_a_connect_too", |far| {
        let (listener, at) = far.listener();
        far.filter("tcp flags syn drop");
        let client = tcp();
        set_option(client, libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, 1_200);
        let code = timed("a black hole, user timeout 1.2 s,", 1_190, || {
            connect(client, &at)
        });
        assert_eq!(code, -libc::ETIMEDOUT);
        destroy_all([client, listener]);
    });
}

#[test]
fn a_first_syn_that_is_lost_is_sent_again() {
    in_two_networks("a_first_syn_that_is_lost_is_sent_again", |far| {
        let (listener, at) = far.listener();
        far.filter("tcp flags syn limit rate over 1/hour burst 1 packets accept");
        far.filter("tcp flags syn drop");
        let client = timed("a first SYN lost", 900, || dial_in(9_000, &at.text()));
        assert!(client >= 0, "{}", error_text());
        let server = accept(listener);
        assert_eq!(write(client, b"!"), 1);
        assert_eq!(read_exactly(server, 1), b"!");
        destroy_all([client, server, listener]);
    });
}

#[test]
fn a_reset_of_the_second_syn_refuses_a_parked_connect() {
    let test = "a_reset_of_the_second_syn_refuses_a_parked_connect";
    in_two_networks(test, |far| {
        let (listener, at) = far.listener();
        far.filter("tcp flags syn limit rate over 1/hour burst 1 packets reject with tcp reset");
        far.filter("tcp flags syn drop");
        let client = tcp();
        let code = timed("a reset of the second SYN", 900, || connect(client, &at));
        assert_eq!(code, -libc::ECONNREFUSED);
        destroy_all([client, listener]);
    });
}

/// What becomes of a SYN: how it is rejected, and what connect says.
const REJECTED: [(&str, c_int); 8] = [
    ("tcp reset", libc::ECONNREFUSED),
    ("icmp type net-unreachable", libc::ENETUNREACH),
    ("icmp type host-unreachable", libc::EHOSTUNREACH),
    ("icmp type prot-unreachable", libc::ENOPROTOOPT),
    ("icmp type port-unreachable", libc::ECONNREFUSED),
    ("icmp type net-prohibited", libc::ENETUNREACH),
    ("icmp type host-prohibited", libc::EHOSTUNREACH),
    ("icmp type admin-prohibited", libc::EHOSTUNREACH),
];

const REJECTED6: [(&str, c_int); 5] = [
    ("tcp reset", libc::ECONNREFUSED),
    ("icmpv6 type no-route", libc::ENETUNREACH),
    ("icmpv6 type addr-unreachable", libc::EHOSTUNREACH),
    ("icmpv6 type port-unreachable", libc::ECONNREFUSED),
    ("icmpv6 type admin-prohibited", libc::EACCES),
];

/// Rejects SYNs in each way, and connects.
fn is_told_of(far: &Far, address: &str, ways: &[(&str, c_int)]) {
    let address = address.to_owned();
    let (listener, at) = far.run(move || listener_at("tcp", &address));
    for (way, errno) in ways {
        far.filter(&format!("tcp flags syn reject with {way}"));
        let client = socket(c_int::from(at.storage.ss_family), libc::SOCK_STREAM);
        let code = timed(way, 0, || connect(client, &at));
        assert_eq!(code, -errno, "{way}: {}", error_text());
        assert_eq!(c_text(&last_error().syscall), "connect");
        // The descriptor is as new.
        far.clear();
        assert_eq!(connect(client, &at), 0, "{way}: {}", error_text());
        let server = accept(listener);
        destroy_all([client, server]);
    }
    destroy_all([listener]);
}

#[test]
fn each_answer_to_a_syn_is_told_at_once() {
    in_two_networks("each_answer_to_a_syn_is_told_at_once", |far| {
        is_told_of(far, &format!("{FAR}:0"), &REJECTED);
    });
}

/// Linux (6.18) makes nothing of an ICMPv6 message that arrives inside
/// connect(2): the second SYN, a second later, brings another one.
#[test]
fn each_answer_to_a_syn_over_ipv6_is_told() {
    in_two_networks("each_answer_to_a_syn_over_ipv6_is_told", |far| {
        is_told_of(far, &format!("[{FAR6}]:0"), &REJECTED6);
    });
}

/// Kinds of routes to nowhere: how made, and what calls say.
const ROUTES: [(&str, c_int); 4] = [
    ("unreachable", libc::EHOSTUNREACH),
    ("prohibit", libc::EACCES),
    ("blackhole", libc::EINVAL),
    ("throw", libc::ENETUNREACH),
];

#[test]
fn each_kind_of_route_to_nowhere_is_told_at_once() {
    let test = "each_kind_of_route_to_nowhere_is_told_at_once";
    in_two_networks(test, |_| {
        for (n, (kind, errno)) in ROUTES.iter().enumerate() {
            for (place, port) in [
                (format!("192.0.2.{n}"), ":9"),
                (format!("2001:db8::{n}"), ":9"),
            ] {
                let six = place.contains(':');
                let length = if six { 128 } else { 32 };
                sh(&format!("ip route add {kind} {place}/{length}"));
                let text = if six {
                    format!("[{place}]{port}")
                } else {
                    format!("{place}{port}")
                };
                let code = timed(&format!("{kind} {place}"), 0, || dial("tcp", &text, None));
                assert_eq!(code, -errno, "{kind}: {}", error_text());
                assert_eq!(dial("udp", &text, None), -errno, "{kind}: {}", error_text());
                let at = Addr::parse("udp", &text);
                let fd = socket(c_int::from(at.storage.ss_family), libc::SOCK_DGRAM);
                assert_eq!(sendto(fd, b"x", 0, Some(&at)), no(*errno), "{kind}");
                destroy_all([fd]);
            }
        }
    });
}

#[test]
fn where_there_is_no_route_it_is_enetunreach_of_each_family() {
    let test = "where_there_is_no_route_it_is_enetunreach_of_each_family";
    in_two_networks(test, |_| {
        for text in ["192.0.2.1:9", "[2001:db8::1]:9"] {
            for network in ["tcp", "udp"] {
                let code = timed(text, 0, || dial(network, text, None));
                assert_eq!(code, -libc::ENETUNREACH, "{network} {text}");
            }
        }
    });
}

/// Nobody answers when asked who has the address: three times, 200 ms apart.
#[test]
fn a_host_that_nobody_knows_is_ehostunreach() {
    in_two_networks("a_host_that_nobody_knows_is_ehostunreach", |_| {
        sh("sysctl -qw net.ipv4.neigh.va.retrans_time_ms=200");
        let code = timed("a host that nobody knows", 550, || {
            dial("tcp", "10.0.9.77:9", None)
        });
        assert_eq!(code, -libc::EHOSTUNREACH, "{}", error_text());
    });
}

// A connection that stands, and loses its way.

#[test]
fn thirty_percent_of_loss_lose_no_byte() {
    in_two_networks("thirty_percent_of_loss_lose_no_byte", |far| {
        const LEN: usize = 128 << 10;
        // Short waits for what is lost, or it takes minutes; and each segment
        // by itself.
        let quick = "sysctl -qw net.ipv4.tcp_thin_linear_timeouts=1
            sysctl -qw net.ipv4.tcp_rto_max_ms=1000 2>/dev/null
            ip route change 10.0.9.0/24 rto_min 5ms dev $dev
            ip link set dev $dev gso_max_segs 1";
        sh(&format!("dev=va; {quick}"));
        far.sh(&format!("dev=vb; {quick}"));
        let (client, server) = far.connection();
        let lossy = "'add rule inet way in ip protocol tcp numgen random mod 100 < 30 drop'";
        far.sh(&format!("nft {lossy}"));
        sh(&format!("nft {TABLE} && nft {lossy}"));
        let begun = Instant::now();
        let echo = spawn(move || {
            let all = read_exactly(server, LEN);
            assert_eq!(write(server, &all), LEN as ssize_t);
        });
        assert_eq!(write(client, &pattern(LEN)), LEN as ssize_t);
        assert!(read_exactly(client, LEN) == pattern(LEN), "it has changed");
        echo.join();
        println!(
            "128 KiB there and back at 30 % loss took {:?}",
            begun.elapsed()
        );
        let lost = retransmitted(client);
        assert!(lost > 0, "nothing was lost");
        println!("{lost} segments were sent again, which took no byte");
        far.clear();
        sh("nft flush chain inet way in");
        destroy_all([client, server]);
    });
}

/// How many segments a TCP connection has sent again.
fn retransmitted(fd: c_int) -> u32 {
    // SAFETY: an all-zero tcp_info is a valid one.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut len = size_of::<libc::tcp_info>() as libc::socklen_t;
    let place = (&raw mut info).cast();
    // SAFETY: the room is as long as said.
    let code = unsafe { libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, place, &mut len) };
    assert_eq!(code, 0);
    info.tcpi_total_retrans
}

#[test]
fn a_write_over_a_slow_line_tells_how_much_had_gone_at_its_deadline() {
    let test = "a_write_over_a_slow_line_tells_how_much_had_gone_at_its_deadline";
    in_two_networks(test, |far| {
        const LEN: usize = 1 << 20;
        let (client, server) = far.connection();
        set_option(client, libc::SOL_SOCKET, libc::SO_SNDBUF, 16 << 10);
        let slow = "tc qdisc add dev va root tbf rate 200kbit burst 4kb latency 400ms";
        sh(slow);
        let reader = spawn(move || read_to_end(server));
        let data = pattern(LEN);
        let gone = timed("a write at 200 kbit, deadline 500 ms,", 500, || {
            assert_eq!(set_write_deadline(client, after(500 * MS)), 0);
            write(client, &data)
        });
        assert_eq!(last_error().code, NETFD_EDEADLINE);
        assert!(gone > 0 && (gone as usize) < LEN, "{gone}");
        // From there it goes on.
        assert_eq!(set_write_deadline(client, 0), 0);
        let more = &data[gone as usize..][..8 << 10];
        assert_eq!(write(client, more), more.len() as ssize_t);
        assert_eq!(shutdown(client, libc::SHUT_WR), 0);
        let came = reader.join();
        assert!(came == data[..gone as usize + more.len()], "{}", came.len());
        println!("{gone} bytes of it took their way in time");
        destroy_all([client, server]);
    });
}

#[test]
fn keepalive_ends_a_read_whose_line_is_cut() {
    in_two_networks("keepalive_ends_a_read_whose_line_is_cut", |far| {
        let (listener, at) = far.listener();
        let config = netfd_dial_config {
            keepalive_idle: SECOND,
            keepalive_interval: SECOND,
            keepalive_count: 2,
            ..dial_config()
        };
        let client = dial("tcp", &at.text(), Some(&config));
        assert!(client >= 0, "{}", error_text());
        let server = accept(listener);
        let reader = reader(client);
        far.sh("ip link set vb down");
        let begun = Instant::now();
        assert_eq!(reader.join(), no(libc::ETIMEDOUT));
        // The last that was heard is a little older than the cut.
        lasted("keepalive 1 s, 1 s, twice,", 1_900, begun);
        assert_eq!(read(client, &mut [0]), no(libc::ETIMEDOUT), "for good");
        assert_eq!(write(client, b"x"), no(libc::EPIPE));
        destroy_all([client, server, listener]);
    });
}

/// At this end, which takes the route away, too.
#[test]
fn keepalive_ends_a_read_whose_interface_is_down() {
    let test = "keepalive_ends_a_read_whose_interface_is_down";
    in_two_networks(test, |far| {
        let (client, server) = far.connection();
        let tcp = |name, value| set_option(client, libc::IPPROTO_TCP, name, value);
        tcp(libc::TCP_KEEPIDLE, 1);
        tcp(libc::TCP_KEEPINTVL, 1);
        tcp(libc::TCP_KEEPCNT, 2);
        set_option(client, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1);
        let reader = reader(client);
        sh("ip link set va down");
        let begun = Instant::now();
        assert_eq!(reader.join(), no(libc::ETIMEDOUT));
        lasted("an interface down, keepalive 1 s, 1 s, twice,", 900, begun);
        assert_eq!(read(client, &mut [0]), no(libc::ETIMEDOUT), "for good");
        let code = timed("a dial after that", 0, || dial("tcp", "10.0.9.2:9", None));
        assert_eq!(code, -libc::ENETUNREACH, "{}", error_text());
        destroy_all([client, server]);
    });
}

#[test]
fn a_connection_outlives_a_line_that_was_cut_for_a_while() {
    let test = "a_connection_outlives_a_line_that_was_cut_for_a_while";
    in_two_networks(test, |far| {
        let (client, server) = far.connection();
        let reader = reader(client);
        far.sh("ip link set vb down");
        assert_eq!(write(client, b"ask"), 3);
        let begun = Instant::now();
        assert_eq!(set_read_deadline(client, after(300 * MS)), 0);
        assert_eq!(reader.join(), DEADLINE);
        lasted("a line cut, deadline 300 ms,", 300, begun);
        far.sh("ip link set vb up");
        assert_eq!(set_read_deadline(client, 0), 0);
        assert_eq!(read_exactly(server, 3), b"ask");
        assert_eq!(write(server, b"answer"), 6);
        assert_eq!(read_exactly(client, 6), b"answer");
        destroy_all([client, server]);
    });
}

#[test]
fn a_user_timeout_ends_a_parked_write_whose_line_is_cut() {
    let test = "a_user_timeout_ends_a_parked_write_whose_line_is_cut";
    in_two_networks(test, |far| {
        let (client, server) = far.connection();
        set_option(client, libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, 1_000);
        far.filter("drop");
        let begun = Instant::now();
        let writer = writer(client, 0);
        let (gone, code) = writer.join();
        lasted("a write into a void, user timeout 1 s,", 1_000, begun);
        assert!(gone == no(libc::ETIMEDOUT) || gone > 0, "{gone}");
        assert_eq!(code, -libc::ETIMEDOUT);
        assert_eq!(read(client, &mut [0]), no(libc::ETIMEDOUT), "reads too");
        destroy_all([client, server]);
    });
}

/// RFC 1122 4.2.3.9: those are for information only.
#[test]
fn an_unreachable_host_does_not_end_a_connection_that_stands() {
    let test = "an_unreachable_host_does_not_end_a_connection_that_stands";
    in_two_networks(test, |far| {
        for way in [
            "net-unreachable",
            "host-unreachable",
            "port-unreachable",
            "admin-prohibited",
        ] {
            let (client, server) = far.connection();
            let reader = reader(client);
            far.filter(&format!("tcp flags psh reject with icmp type {way}"));
            assert_eq!(write(client, b"ask"), 3);
            await_that("it is sent again", || retransmitted(client) > 0);
            assert!(!reader.is_finished(), "{way}");
            far.clear();
            let begun = Instant::now();
            assert_eq!(read_exactly(server, 3), b"ask");
            assert_eq!(write(server, b"!"), 1);
            assert_eq!(reader.join(), 1, "{way}: {}", error_text());
            lasted(way, 0, begun);
            destroy_all([client, server]);
        }
    });
}

#[test]
fn a_timeout_behind_an_unreachable_host_says_why() {
    let test = "a_timeout_behind_an_unreachable_host_says_why";
    in_two_networks(test, |far| {
        let (client, server) = far.connection();
        set_option(client, libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, 1_000);
        let reader = reader(client);
        far.filter("tcp flags psh reject with icmp type host-unreachable");
        let begun = Instant::now();
        assert_eq!(write(client, b"ask"), 3);
        assert_eq!(reader.join(), no(libc::EHOSTUNREACH), "{}", error_text());
        lasted("a host out of reach, user timeout 1 s,", 1_000, begun);
        assert_eq!(read(client, &mut [0]), no(libc::EHOSTUNREACH), "for good");
        destroy_all([client, server]);
    });
}

// Resets by whoever is on the way, stage by stage. In the connect: above.
// Before accept: tests/accept.rs.

#[test]
fn a_reset_ends_a_parked_read() {
    in_two_networks("a_reset_ends_a_parked_read", |far| {
        let (client, server) = far.connection();
        let reader = reader(client);
        far.filter("tcp flags psh reject with tcp reset");
        let begun = Instant::now();
        assert_eq!(write(client, b"ask"), 3);
        assert_eq!(reader.join(), no(libc::ECONNRESET));
        lasted("a reset under a parked read", 0, begun);
        assert_eq!(read(client, &mut [0]), no(libc::ECONNRESET), "for good");
        assert_eq!(write(client, b"x"), no(libc::EPIPE));
        destroy_all([client, server]);
    });
}

#[test]
fn a_reset_ends_a_parked_write() {
    in_two_networks("a_reset_ends_a_parked_write", |far| {
        let (client, server) = far.connection();
        let writer = writer(client, 0);
        let begun = Instant::now();
        // The next probe of the closed window meets it.
        far.filter("reject with tcp reset");
        let (gone, code) = writer.join();
        lasted("a reset under a parked write", 0, begun);
        assert!(gone == no(libc::ECONNRESET) || gone > 0, "{gone}");
        assert_eq!(code, -libc::ECONNRESET);
        assert_eq!(read(client, &mut [0]), no(libc::ECONNRESET), "reads too");
        destroy_all([client, server]);
    });
}

#[test]
fn a_reset_ends_a_parked_copy() {
    in_two_networks("a_reset_ends_a_parked_copy", |far| {
        let (client, server) = far.connection();
        let (feeder, source) = unix_pair(libc::SOCK_STREAM);
        let copier = spawn(move || (lines::copy(client, source, -1), last_error().code));
        await_that("it is parked", || stats().parked == 1);
        far.filter("tcp flags psh reject with tcp reset");
        let begun = Instant::now();
        assert_eq!(write(feeder, b"first"), 5);
        await_that("the reset is there", || {
            polled(client, libc::POLLIN) & libc::POLLHUP != 0
        });
        let _ = write(feeder, b"second");
        let (moved, code) = copier.join();
        lasted("a reset under a parked copy", 0, begun);
        assert!(
            moved >= 0 || moved == i64::from(-libc::ECONNRESET),
            "{moved}"
        );
        assert_eq!(code, -libc::ECONNRESET, "{}", error_text());
        destroy_all([client, server, feeder, source]);
    });
}

#[test]
fn what_came_before_a_reset_is_read_before_it_is_told() {
    let test = "what_came_before_a_reset_is_read_before_it_is_told";
    in_two_networks(test, |far| {
        let (client, server) = far.connection();
        assert_eq!(write(server, b"last words"), 10);
        await_that("they have come", || polled(client, libc::POLLIN) != 0);
        far.filter("tcp flags psh reject with tcp reset");
        assert_eq!(write(client, b"ask"), 3);
        await_that("the reset is there", || {
            polled(client, libc::POLLIN) & libc::POLLHUP != 0
        });
        assert_eq!(read_exactly(client, 10), b"last words");
        assert_eq!(read(client, &mut [0]), no(libc::ECONNRESET));
        destroy_all([client, server]);
    });
}

/// The far host has forgotten the connection, as one does that was started
/// anew: nobody hears of it until something is sent.
#[test]
fn a_peer_that_forgot_the_connection_resets_it_when_it_is_spoken_to() {
    let test = "a_peer_that_forgot_the_connection_resets_it_when_it_is_spoken_to";
    in_two_networks(test, |far| {
        const TCP_REPAIR: c_int = 19;
        let (client, server) = far.connection();
        let reader = reader(client);
        set_option(server, libc::IPPROTO_TCP, TCP_REPAIR, 1);
        assert_eq!(destroy(server), 0);
        assert_eq!(set_read_deadline(client, after(200 * MS)), 0);
        assert_eq!(reader.join(), DEADLINE);
        assert_eq!(set_read_deadline(client, 0), 0);
        let reader = self::reader(client);
        let begun = Instant::now();
        assert_eq!(write(client, b"ask"), 3);
        assert_eq!(reader.join(), no(libc::ECONNRESET));
        lasted("a peer that forgot", 0, begun);
        destroy_all([client]);
    });
}

// A peer that is a process.

/// A process in the far network that accepts one connection, and answers a
/// byte with a byte until it is told to stop listening to it.
struct Peer {
    pid: libc::pid_t,
    at: Addr,
}

impl Peer {
    fn new(far: &Far) -> Self {
        far.run(|| {
            let (listener, at) = listener_at("tcp", &format!("{FAR}:0"));
            // SAFETY: the child makes system calls only.
            let pid = unsafe { libc::fork() };
            assert!(pid >= 0);
            if pid == 0 {
                Self::serve(listener);
            }
            // The child's is the only one left.
            assert_eq!(destroy(listener), 0);
            Self { pid, at }
        })
    }

    /// The child: until it is killed.
    fn serve(listener: c_int) -> ! {
        // SAFETY: no pointers; it ends with its parent.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        // SAFETY: no pointers.
        unsafe { libc::fcntl(listener, libc::F_SETFL, 0) };
        loop {
            // SAFETY: NULL is allowed.
            let fd = unsafe { libc::accept(listener, std::ptr::null_mut(), std::ptr::null_mut()) };
            let mut byte = 0u8;
            // 'q' is left unanswered, and what comes behind it unread.
            loop {
                // SAFETY: there is room for a byte.
                let n = unsafe { libc::read(fd, (&raw mut byte).cast(), 1) };
                if n != 1 {
                    break;
                }
                if byte == b'q' {
                    // SAFETY: no pointers.
                    unsafe { libc::pause() };
                }
                // SAFETY: the byte is there.
                unsafe { libc::write(fd, (&raw const byte).cast(), 1) };
            }
            // SAFETY: no pointers.
            unsafe { libc::close(fd) };
        }
    }

    fn signal(&self, signal: c_int) {
        // SAFETY: no pointers.
        assert_eq!(unsafe { libc::kill(self.pid, signal) }, 0);
    }

    /// Waits until the child is as `state` in /proc says: T is stopped.
    fn await_state(&self, state: char) {
        let stat = format!("/proc/{}/stat", self.pid);
        await_that("the peer's state", || {
            let stat = std::fs::read_to_string(&stat).expect("procfs");
            let behind_name = stat.rsplit(") ").next();
            behind_name.is_some_and(|rest| rest.starts_with(state))
        });
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.signal(libc::SIGKILL);
        // SAFETY: NULL is allowed.
        unsafe { libc::waitpid(self.pid, std::ptr::null_mut(), 0) };
    }
}

#[test]
fn a_stopped_peer_is_connected_to_and_its_answer_waited_for() {
    let test = "a_stopped_peer_is_connected_to_and_its_answer_waited_for";
    in_two_networks(test, |far| {
        let peer = Peer::new(far);
        peer.signal(libc::SIGSTOP);
        peer.await_state('T');
        let client = timed("a stopped peer's connect", 0, || {
            dial_in(9_000, &peer.at.text())
        });
        assert!(client >= 0, "{}", error_text());
        assert_eq!(write(client, b"!"), 1);
        let code = timed("a stopped peer, deadline 300 ms,", 300, || {
            assert_eq!(set_read_deadline(client, after(300 * MS)), 0);
            read(client, &mut [0])
        });
        assert_eq!(code, DEADLINE);
        assert_eq!(set_read_deadline(client, 0), 0);
        let reader = reader(client);
        peer.signal(libc::SIGCONT);
        assert_eq!(reader.join(), 1, "{}", error_text());
        destroy_all([client]);
    });
}

#[test]
fn a_stopped_peers_full_window_stops_a_write_at_its_deadline() {
    let test = "a_stopped_peers_full_window_stops_a_write_at_its_deadline";
    in_two_networks(test, |far| {
        let peer = Peer::new(far);
        let client = dial_in(9_000, &peer.at.text());
        assert_eq!(write(client, b"!"), 1);
        assert_eq!(read_exactly(client, 1), b"!");
        peer.signal(libc::SIGSTOP);
        peer.await_state('T');
        let writer = writer(client, 0);
        let begun = Instant::now();
        assert_eq!(set_write_deadline(client, after(300 * MS)), 0);
        let (gone, code) = writer.join();
        lasted("a write to a stopped peer, deadline 300 ms,", 300, begun);
        assert!(gone == DEADLINE || gone > 0, "{gone}");
        assert_eq!(code, NETFD_EDEADLINE);
        destroy_all([client]);
    });
}

#[test]
fn a_killed_peer_that_had_read_all_is_the_end_of_the_stream() {
    let test = "a_killed_peer_that_had_read_all_is_the_end_of_the_stream";
    in_two_networks(test, |far| {
        let peer = Peer::new(far);
        let client = dial_in(9_000, &peer.at.text());
        assert_eq!(write(client, b"!"), 1);
        assert_eq!(read_exactly(client, 1), b"!");
        let reader = reader(client);
        let begun = Instant::now();
        peer.signal(libc::SIGKILL);
        assert_eq!(reader.join(), 0, "{}", error_text());
        lasted("a peer killed", 0, begun);
        destroy_all([client]);
    });
}

#[test]
fn a_killed_peer_that_left_bytes_unread_is_a_reset() {
    let test = "a_killed_peer_that_left_bytes_unread_is_a_reset";
    in_two_networks(test, |far| {
        let peer = Peer::new(far);
        let client = dial_in(9_000, &peer.at.text());
        assert_eq!(write(client, b"q and more"), 10);
        let reader = reader(client);
        await_that("all has arrived", || unacknowledged(client) == 0);
        let begun = Instant::now();
        peer.signal(libc::SIGKILL);
        assert_eq!(reader.join(), no(libc::ECONNRESET), "{}", error_text());
        lasted("a peer killed over unread bytes", 0, begun);
        destroy_all([client]);
    });
}

/// How many bytes were sent and are not acknowledged.
fn unacknowledged(fd: c_int) -> c_int {
    let mut bytes: c_int = -1;
    // SAFETY: the count is there to be written.
    let told = unsafe { libc::ioctl(fd, libc::TIOCOUTQ, &raw mut bytes) };
    assert_eq!(told, 0);
    bytes
}

// ss -K: an administrator ends a connection.

/// Ends what ss(8) finds by `what`. False: this kernel lets nobody.
fn ss_kill(test: &str, what: &str) -> bool {
    let words = what.split(' ');
    let ended = Command::new("ss")
        .args(["-H", "-K", "-n"])
        .args(words)
        .output();
    if ended.is_ok_and(|ended| ended.status.success() && !ended.stdout.is_empty()) {
        return true;
    }
    println!("{test} skipped: ss(8) ends no connection");
    false
}

#[test]
fn a_connection_that_the_administrator_ends_is_told_at_once() {
    let test = "a_connection_that_the_administrator_ends_is_told_at_once";
    in_two_networks(test, |far| {
        let (client, server) = far.connection();
        let port = local_addr(server).port();
        let reader = reader(client);
        let writer = writer(client, 1);
        let begun = Instant::now();
        if !ss_kill(test, &format!("dst {FAR} dport = {port}")) {
            return destroy_all([client, server]);
        }
        assert_eq!(reader.join(), no(libc::ECONNABORTED));
        let (gone, code) = writer.join();
        lasted("ss -K of a parked read and a parked write", 0, begun);
        // The kernel tells it once: the other one hears of a broken pipe.
        let told = [-libc::ECONNABORTED, -libc::EPIPE];
        assert!(gone >= 0 || told.contains(&(gone as c_int)), "{gone}");
        assert!(told.contains(&code), "{code}");
        assert_eq!(read(client, &mut [0]), no(libc::ECONNABORTED), "for good");
        destroy_all([client, server]);
    });
}

#[test]
fn a_connect_that_the_administrator_ends_is_told_at_once() {
    let test = "a_connect_that_the_administrator_ends_is_told_at_once";
    in_two_networks(test, |far| {
        let (listener, at) = far.listener();
        far.filter("tcp flags syn drop");
        let client = tcp();
        let connecting = spawn(move || connect(client, &at));
        await_parked(client, 1);
        let begun = Instant::now();
        let what = format!("state syn-sent dst {FAR} dport = {}", at.port());
        if !ss_kill(test, &what) {
            return destroy_all([client, listener]);
        }
        assert_eq!(connecting.join(), -libc::ECONNABORTED, "{}", error_text());
        lasted("ss -K of a parked connect", 0, begun);
        destroy_all([client, listener]);
    });
}

// Datagrams.

/// What becomes of a datagram: how it is rejected, and what a receive on a
/// connected socket says; 0: it waits on, udp(7) "Errors".
const DATAGRAMS: [(&str, c_int); 7] = [
    ("net-unreachable", 0),
    ("host-unreachable", 0),
    ("prot-unreachable", libc::ENOPROTOOPT),
    ("port-unreachable", libc::ECONNREFUSED),
    ("net-prohibited", libc::ENETUNREACH),
    ("host-prohibited", libc::EHOSTUNREACH),
    ("admin-prohibited", libc::EHOSTUNREACH),
];

/// A near UDP socket, and the address of a far one.
fn datagrams(far: &Far) -> (c_int, c_int, Addr) {
    let (there, at) = far.run(|| bound("udp", &format!("{FAR}:0")));
    (socket(libc::AF_INET, libc::SOCK_DGRAM), there, at)
}

#[test]
fn a_parked_receive_is_told_of_what_forbids_and_waits_through_what_passes() {
    let test = "a_parked_receive_is_told_of_what_forbids_and_waits_through_what_passes";
    in_two_networks(test, |far| {
        for (way, errno) in DATAGRAMS {
            let (here, there, at) = datagrams(far);
            assert_eq!(connect(here, &at), 0, "{}", error_text());
            let receiver = spawn(move || recv(here, &mut [0; 8], 0));
            await_parked(here, 1);
            far.filter(&format!("ip protocol udp reject with icmp type {way}"));
            let begun = Instant::now();
            assert_eq!(write(here, b"ask"), 3);
            if errno == 0 {
                assert_eq!(set_read_deadline(here, after(200 * MS)), 0);
                assert_eq!(receiver.join(), DEADLINE, "{way}");
                lasted(way, 200, begun);
            } else {
                assert_eq!(receiver.join(), no(errno), "{way}");
                lasted(way, 0, begun);
            }
            // Either way the socket goes on.
            far.clear();
            assert_eq!(set_read_deadline(here, after(9 * SECOND)), 0);
            assert_eq!(write(here, b"again"), 5);
            let mut buf = [0; 8];
            let (n, from) = recvfrom(there, &mut buf, 0);
            assert_eq!((n, &buf[..5]), (5, &b"again"[..]));
            assert_eq!(sendto(there, b"!", 0, Some(&from)), 1);
            assert_eq!(recv(here, &mut buf, 0), 1, "{way}: {}", error_text());
            destroy_all([here, there]);
        }
    });
}

#[test]
fn a_socket_that_is_not_connected_hears_of_no_rejection() {
    let test = "a_socket_that_is_not_connected_hears_of_no_rejection";
    in_two_networks(test, |far| {
        let (here, there, at) = datagrams(far);
        far.filter("ip protocol udp reject with icmp type port-unreachable");
        assert_eq!(sendto(here, b"ask", 0, Some(&at)), 3);
        let code = timed("an unconnected receive, deadline 200 ms,", 200, || {
            assert_eq!(set_read_deadline(here, after(200 * MS)), 0);
            recv(here, &mut [0; 8], 0)
        });
        assert_eq!(code, DEADLINE);
        assert_eq!(sendto(here, b"ask", 0, Some(&at)), 3);
        destroy_all([here, there]);
    });
}

#[test]
fn datagrams_that_are_lost_are_a_deadline() {
    in_two_networks("datagrams_that_are_lost_are_a_deadline", |far| {
        let (here, there, at) = datagrams(far);
        assert_eq!(connect(here, &at), 0, "{}", error_text());
        far.filter("drop");
        assert_eq!(write(here, b"ask"), 3);
        let code = timed("a lost datagram, deadline 200 ms,", 200, || {
            assert_eq!(set_read_deadline(here, after(200 * MS)), 0);
            recv(here, &mut [0; 8], 0)
        });
        assert_eq!(code, DEADLINE);
        destroy_all([here, there]);
    });
}
