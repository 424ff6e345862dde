//! netfd_listen: Go's `net.ListenConfig.Listen` (net/dial.go, ipsock_posix.go
//! `favoriteAddrFamily`, sock_posix.go), its words for what cannot be, and the
//! options that connections inherit. Behind it: Go's net/listen_test.go,
//! tcpsock_test.go, mptcpsock_linux_test.go and `TestListenConfigControl`;
//! socket(7), ipv6(7), tcp(7).

#![allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test says what it expects, and knows the sizes"
)]

mod common;

use common::calls::*;
use common::*;
use libc::{AF_INET, AF_INET6, AF_UNIX, SOL_SOCKET, c_char, c_int, c_void};
use std::ffi::{CStr, CString};
use std::net::TcpStream;
use std::ptr;
use std::sync::Mutex;

const EVERYWHERE: [&str; 4] = ["", ":0", "0.0.0.0:0", "[::]:0"];

/// What listens there, by Go's way.
fn listening(network: &str, address: &str) -> c_int {
    listening_as(network, address, &listen_config())
}

fn listening_as(network: &str, address: &str, config: &netfd_listen_config) -> c_int {
    let fd = listen(network, address, Some(config));
    assert!(fd >= 0, "{network} {address:?}: {}", error_text());
    fd
}

fn family(fd: c_int) -> c_int {
    option(fd, SOL_SOCKET, libc::SO_DOMAIN)
}

fn v6only(fd: c_int) -> c_int {
    option(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY)
}

fn protocol(fd: c_int) -> c_int {
    option(fd, SOL_SOCKET, libc::SO_PROTOCOL)
}

/// Whether a connection to that host, at the listener's port, is accepted.
fn takes(fd: c_int, host: &str) -> bool {
    let port = local_addr(fd).port();
    let Ok(client) = TcpStream::connect((host, port)) else {
        return false;
    };
    set_read_deadline(fd, after(5 * SECOND));
    let conn = accept(fd);
    assert!(conn >= 0, "{}", error_text());
    let theirs = client.local_addr().expect("it is bound").port();
    assert_eq!(remote_addr(conn).map(|at| at.port()), Ok(theirs));
    assert_eq!(destroy(conn), 0);
    true
}

/// A connection to a TCP listener: the client's end, the server's end.
fn connected(fd: c_int) -> (TcpStream, c_int) {
    let client = TcpStream::connect(("127.0.0.1", local_addr(fd).port())).expect("it listens");
    set_read_deadline(fd, after(5 * SECOND));
    let conn = accept(fd);
    assert!(conn >= 0, "{}", error_text());
    (client, conn)
}

/// That the call fails so, and in these words.
#[track_caller]
fn refuses(network: &str, address: &str, code: c_int, words: &str) {
    assert_eq!(
        listen(network, address, None),
        code,
        "{network} {address:?}"
    );
    assert_eq!(error_text(), words);
    assert_eq!(last_error().code, code);
    assert_eq!(c_text(&last_error().op), "listen");
}

// Families.

#[test]
fn every_wildcard_of_tcp_takes_both_families() {
    for address in EVERYWHERE {
        let fd = listening("tcp", address);
        assert_eq!((family(fd), v6only(fd)), (AF_INET6, 0), "{address:?}");
        assert!(takes(fd, "127.0.0.1"), "{address:?}");
        assert!(takes(fd, "::1"), "{address:?}");
        assert_eq!(destroy(fd), 0);
    }
}

#[test]
fn the_wildcard_of_tcp4_takes_ipv4_alone() {
    for address in ["", ":0", "0.0.0.0:0"] {
        let fd = listening("tcp4", address);
        assert_eq!(family(fd), AF_INET, "{address:?}");
        assert!(takes(fd, "127.0.0.1"));
        assert!(!takes(fd, "::1"));
        assert_eq!(destroy(fd), 0);
    }
}

#[test]
fn the_wildcard_of_tcp6_takes_ipv6_alone() {
    for address in ["", ":0", "[::]:0"] {
        let fd = listening("tcp6", address);
        assert_eq!((family(fd), v6only(fd)), (AF_INET6, 1), "{address:?}");
        assert!(takes(fd, "::1"));
        assert!(!takes(fd, "127.0.0.1"));
        assert_eq!(destroy(fd), 0);
    }
}

#[test]
fn a_literal_is_of_its_own_family() {
    for network in ["tcp", "tcp4"] {
        for address in ["127.0.0.1:0", "[::ffff:127.0.0.1]:0"] {
            let fd = listening(network, address);
            assert_eq!(family(fd), AF_INET);
            assert!(local_addr(fd).text().starts_with("127.0.0.1:"));
            assert!(takes(fd, "127.0.0.1"));
            assert_eq!(destroy(fd), 0);
        }
    }
    for network in ["tcp", "tcp6"] {
        let fd = listening(network, "[::1]:0");
        assert_eq!(family(fd), AF_INET6, "{network}");
        assert!(local_addr(fd).text().starts_with("[::1]:"));
        assert!(takes(fd, "::1"));
        assert_eq!(destroy(fd), 0);
    }
}

#[test]
fn v6only_on_keeps_ipv4_out_of_the_wildcard_of_tcp() {
    let mut config = listen_config();
    config.v6only = 1;
    for address in ["", ":0", "[::]:0"] {
        let fd = listening_as("tcp", address, &config);
        assert_eq!((family(fd), v6only(fd)), (AF_INET6, 1), "{address:?}");
        assert!(takes(fd, "::1"));
        assert!(!takes(fd, "127.0.0.1"));
        assert_eq!(destroy(fd), 0);
    }
}

#[test]
fn v6only_on_leaves_the_wildcard_of_ipv4_to_ipv4() {
    let mut config = listen_config();
    config.v6only = 1;
    let fd = listening_as("tcp", "0.0.0.0:0", &config);
    assert_eq!(family(fd), AF_INET);
    assert!(takes(fd, "127.0.0.1"));
    assert!(!takes(fd, "::1"));
    assert_eq!(destroy(fd), 0);
}

#[test]
fn v6only_off_lets_ipv4_into_tcp6() {
    let mut config = listen_config();
    config.v6only = -1;
    let fd = listening_as("tcp6", ":0", &config);
    assert_eq!((family(fd), v6only(fd)), (AF_INET6, 0));
    assert!(takes(fd, "127.0.0.1"));
    assert!(takes(fd, "::1"));
    assert_eq!(destroy(fd), 0);
}

#[test]
fn one_family_beside_the_other_shares_a_port_by_v6only() {
    let mut config = listen_config();
    config.v6only = 1;
    // The port is free in IPv6; in IPv4 somebody else may have it.
    let both = || {
        let six = listening_as("tcp", "[::]:0", &config);
        let four = listen("tcp4", &format!(":{}", local_addr(six).port()), None);
        if four == -libc::EADDRINUSE {
            assert_eq!(destroy(six), 0);
            return None;
        }
        assert!(four >= 0, "{}", error_text());
        Some((six, four))
    };
    let (six, four) = (0..100)
        .find_map(|_| both())
        .expect("a port is free in both");
    assert!(takes(six, "::1"));
    assert!(takes(four, "127.0.0.1"));
    assert_eq!(destroy(six), 0);
    assert_eq!(destroy(four), 0);
}

/// That the first socket(2), which says that there is no such family, is not
/// the end; or is, and in which words.
fn without_ipv6(test: &str, network: &'static str, address: &'static str, only: c_int) -> c_int {
    let inject = "inject=socket:error=EAFNOSUPPORT:when=1";
    let mut code = 0;
    alone_under_strace(test, &["-e", "trace=socket", "-e", inject], || {
        let mut config = listen_config();
        config.v6only = only;
        code = listen(network, address, Some(&config));
        if code < 0 {
            assert_eq!(c_text(&last_error().syscall), "socket");
            assert_eq!(code, -libc::EAFNOSUPPORT, "{}", error_text());
        } else {
            assert_eq!(family(code), AF_INET);
            assert!(takes(code, "127.0.0.1"));
        }
        assert_eq!(
            code >= 0,
            network == "tcp" && only < 1,
            "{network} {address}"
        );
    });
    code
}

#[test]
fn without_ipv6_the_empty_host_is_the_wildcard_of_ipv4() {
    without_ipv6(
        "without_ipv6_the_empty_host_is_the_wildcard_of_ipv4",
        "tcp",
        ":0",
        0,
    );
}

#[test]
fn without_ipv6_the_wildcard_of_ipv4_is_itself() {
    let test = "without_ipv6_the_wildcard_of_ipv4_is_itself";
    without_ipv6(test, "tcp", "0.0.0.0:0", -1);
}

#[test]
fn without_ipv6_tcp6_fails() {
    without_ipv6("without_ipv6_tcp6_fails", "tcp6", ":0", 0);
}

#[test]
fn without_ipv6_what_is_to_be_ipv6_only_fails() {
    let test = "without_ipv6_what_is_to_be_ipv6_only_fails";
    without_ipv6(test, "tcp", ":0", 1);
}

#[test]
fn without_ipv6_a_packet_socket_is_one_of_ipv4() {
    let test = "without_ipv6_a_packet_socket_is_one_of_ipv4";
    let inject = "inject=socket:error=EAFNOSUPPORT:when=1";
    alone_under_strace(test, &["-e", "trace=socket", "-e", inject], || {
        let fd = listen_packet("udp", ":0", None);
        assert!(fd >= 0, "{}", error_text());
        assert_eq!(family(fd), AF_INET);
    });
}

#[test]
fn where_ipv6_is_switched_off_the_wildcard_takes_ipv4() {
    let test = "where_ipv6_is_switched_off_the_wildcard_takes_ipv4";
    let script = "echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6";
    if !by_itself_in_a_network(test, script) {
        return;
    }
    for address in EVERYWHERE {
        let fd = listening("tcp", address);
        assert!(takes(fd, "127.0.0.1"), "{address:?}");
        assert!(!takes(fd, "::1"), "{address:?}");
        assert_eq!(destroy(fd), 0);
    }
    let code = listen("tcp", "[::1]:0", None);
    assert_eq!(code, -libc::EADDRNOTAVAIL);
}

// Names.

/// Runs a test by itself where names are looked up in `hosts` and nowhere else.
/// True in that process.
fn by_itself_with_hosts(test: &str, hosts: &str) -> bool {
    let folder = format!("{}/{test}", env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(&folder).expect("the target folder is writable");
    for (name, text) in [("hosts", hosts), ("nsswitch.conf", "hosts: files\n")] {
        let file = format!("{folder}/{name}");
        std::fs::write(file, text).expect("the target folder is writable");
    }
    let script = format!(
        "for name in hosts nsswitch.conf; do touch /etc/$name && \
         mount --bind '{folder}'/$name /etc/$name || exit; done; exec \"$0\" \"$@\""
    );
    let words = ["unshare", "-m", "sh", "-c", &script];
    works(&words, "no mount namespace of one's own here") && by_itself_under(test, &words)
}

/// Whether a command that runs others can be had; else says why not.
fn works(words: &[&str], why_not: &str) -> bool {
    let mut command = std::process::Command::new(words[0]);
    let tried = command.args(&words[1..]).arg("true").output();
    let works = tried.is_ok_and(|tried| tried.status.success());
    if !works {
        println!("skipped: {why_not}");
    }
    works
}

#[test]
fn of_a_names_addresses_the_first_of_ipv4_is_taken_else_the_first() {
    let test = "of_a_names_addresses_the_first_of_ipv4_is_taken_else_the_first";
    let hosts = "::1 both.test six.test\n127.0.0.1 both.test\n127.0.0.2 two.test\n\
                 127.0.0.3 two.test\n2001:db8::1 far.test\n";
    if !by_itself_with_hosts(test, hosts) {
        return;
    }
    for (network, address, at) in [
        ("tcp", "both.test:0", "127.0.0.1:"),
        ("tcp4", "both.test:0", "127.0.0.1:"),
        ("tcp6", "both.test:0", "[::1]:"),
        ("tcp", "six.test:0", "[::1]:"),
        ("tcp", "two.test:0", "127.0.0.2:"),
        ("tcp", "Two.Test:0", "127.0.0.2:"),
    ] {
        let fd = listening(network, address);
        let text = local_addr(fd).text();
        assert!(text.starts_with(at), "{network} {address}: {text}");
        assert_eq!(destroy(fd), 0);
    }
    assert_eq!(listen("tcp4", "far.test:0", None), NETFD_ENOHOST);
    assert_eq!(
        error_text(),
        "listen tcp4: lookup far.test: no such host",
        "it has no address of that family"
    );
}

#[test]
fn a_port_may_be_a_services_name() {
    // Which only root may have everywhere: the words tell the number too.
    for (network, address, at) in [
        ("tcp", "127.77.0.1:http", "127.77.0.1:80"),
        ("tcp4", "127.77.0.2:HTTP", "127.77.0.2:80"),
        ("tcp", "127.77.0.3:domain", "127.77.0.3:53"),
        ("tcp", "[::ffff:127.77.0.4]:smtp", "127.77.0.4:25"),
    ] {
        let fd = listen(network, address, None);
        if fd == -libc::EACCES {
            let words = format!("listen {network} {at}: bind: permission denied");
            assert_eq!(error_text(), words);
            continue;
        }
        assert!(fd >= 0, "{address}: {}", error_text());
        assert_eq!(local_addr(fd).text(), at);
        assert_eq!(destroy(fd), 0);
    }
}

#[test]
fn port_0_is_any_that_is_free() {
    let all: Vec<c_int> = (0..10).map(|_| listening("tcp", "127.0.0.1:0")).collect();
    let mut ports: Vec<u16> = all.iter().map(|fd| local_addr(*fd).port()).collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 10);
    assert_ne!(ports[0], 0);
    for fd in all {
        assert_eq!(destroy(fd), 0);
    }
}

#[test]
fn an_empty_port_is_0() {
    let fd = listening("tcp", "127.0.0.1:");
    assert_ne!(local_addr(fd).port(), 0);
    assert_eq!(destroy(fd), 0);
}

#[test]
fn a_zone_is_an_interfaces_name_or_number() {
    // The loopback has no link-local address: only the scope can be looked at.
    for zone in ["lo", "1"] {
        let address = format!("[fe80::1%{zone}]:0");
        let code = listen("tcp", &address, None);
        assert_eq!(code, -libc::EADDRNOTAVAIL, "{address}");
        let words = "listen tcp [fe80::1%lo]:0: bind: cannot assign requested address";
        assert_eq!(error_text(), words);
    }
}

// What is refused, in Go's words.

#[test]
fn a_text_that_is_no_address_is_refused_in_gos_words() {
    for (network, address, words) in [
        (
            "tcp",
            "127.0.0.1",
            "address 127.0.0.1: missing port in address",
        ),
        (
            "tcp",
            "localhost",
            "address localhost: missing port in address",
        ),
        ("tcp", "[::1]", "address [::1]: missing port in address"),
        ("tcp", "[::1]80", "address [::1]80: missing port in address"),
        (
            "tcp",
            "::1:80",
            "address ::1:80: too many colons in address",
        ),
        (
            "tcp",
            "1.2.3.4:5:6",
            "address 1.2.3.4:5:6: too many colons in address",
        ),
        (
            "tcp",
            "[::1]:80:90",
            "address [::1]:80:90: too many colons in address",
        ),
        ("tcp", "[::1:80", "address [::1:80: missing ']' in address"),
        ("tcp", "a[b:80", "address a[b:80: unexpected '[' in address"),
        ("tcp", "a]b:80", "address a]b:80: unexpected ']' in address"),
        ("tcp", "127.0.0.1:65536", "address 65536: invalid port"),
        ("tcp", "127.0.0.1:-1", "address -1: invalid port"),
        ("tcp", ":99999999999", "address 99999999999: invalid port"),
        (
            "tcp",
            "127.0.0.1:no-such-service",
            "lookup tcp/no-such-service: unknown port",
        ),
        (
            "tcp6",
            "[::1]:no-such-service",
            "lookup tcp/no-such-service: unknown port",
        ),
        ("tcp4", "[::1]:80", "address ::1: no suitable address found"),
        (
            "tcp6",
            "127.0.0.1:80",
            "address 127.0.0.1: no suitable address found",
        ),
        ("tcp", "1.2.3:80", "lookup 1.2.3: no such host"),
        ("tcp", "a b:80", "lookup a b: no such host"),
        ("tcp", "-a:80", "lookup -a: no such host"),
    ] {
        let words = format!("listen {network}: {words}");
        refuses(network, address, NETFD_EADDRESS, &words);
        assert_eq!(c_text(&last_error().network), network);
    }
}

#[test]
fn a_host_that_does_not_exist_is_enohost() {
    let test = "a_host_that_does_not_exist_is_enohost";
    if !by_itself_with_hosts(test, "127.0.0.1 localhost\n") {
        return;
    }
    for host in [
        "nobody",
        "no-such-host.example.",
        "under_score",
        "localhost2",
    ] {
        let words = format!("listen tcp: lookup {host}: no such host");
        refuses("tcp", &format!("{host}:80"), NETFD_ENOHOST, &words);
    }
}

#[test]
fn a_network_that_is_unknown_is_refused() {
    refuses(
        "",
        "127.0.0.1:0",
        NETFD_ENETWORK,
        "listen: unknown network ",
    );
    for network in ["tcp5", "TCP", "tcp ", "unixstream", "ip", "ip4:icmp"] {
        let words = format!("listen {network}: unknown network {network}");
        refuses(network, "127.0.0.1:0", NETFD_ENETWORK, &words);
    }
}

#[test]
fn a_network_of_packets_is_refused() {
    for (network, address) in [
        ("udp", "127.0.0.1:0"),
        ("udp4", "127.0.0.1:0"),
        ("udp6", "[::1]:0"),
        ("unixgram", "@netfd-packets"),
    ] {
        let words = format!("listen {network}: address {address}: unexpected address type");
        refuses(network, address, NETFD_ENETWORK, &words);
    }
}

#[test]
fn an_address_in_use_is_told_as_the_caller_wrote_it() {
    let fd = listening("tcp", ":0");
    let port = local_addr(fd).port();
    for (network, address, shown) in [
        ("tcp", format!(":{port}"), format!(":{port}")),
        ("tcp4", format!(":{port}"), format!(":{port}")),
        ("tcp6", format!(":{port}"), format!(":{port}")),
        ("tcp", format!("0.0.0.0:{port}"), format!("0.0.0.0:{port}")),
        ("tcp", format!("[::]:{port}"), format!("[::]:{port}")),
        (
            "tcp",
            format!("127.0.0.1:{port}"),
            format!("127.0.0.1:{port}"),
        ),
        (
            "tcp",
            format!("localhost:{port}"),
            format!("127.0.0.1:{port}"),
        ),
    ] {
        let words = format!("listen {network} {shown}: bind: address already in use");
        refuses(network, &address, -libc::EADDRINUSE, &words);
        let error = last_error();
        assert_eq!(c_text(&error.syscall), "bind");
        assert_eq!(c_text(&error.network), network);
        assert_eq!(c_text(&error.remote), "");
        assert!(c_text(&error.local).ends_with(&format!(":{port}")));
    }
    assert_eq!(destroy(fd), 0);
}

#[test]
fn an_address_that_is_nobodys_here_is_told() {
    let words = "listen tcp 192.0.2.1:9: bind: cannot assign requested address";
    refuses("tcp", "192.0.2.1:9", -libc::EADDRNOTAVAIL, words);
}

#[test]
fn a_lack_of_descriptors_is_told_with_the_wildcard() {
    if !by_itself("a_lack_of_descriptors_is_told_with_the_wildcard") {
        return;
    }
    limit_fds(64);
    let all = use_up_fds();
    for (address, shown) in [("", ":0"), (":0", ":0"), ("0.0.0.0:7", "0.0.0.0:7")] {
        let words = format!("listen tcp {shown}: socket: too many open files");
        refuses("tcp", address, -libc::EMFILE, &words);
    }
    drop(all);
    assert_eq!(destroy(listening("tcp", ":0")), 0);
}

#[test]
fn null_is_efault() {
    let (null, text) = (ptr::null(), c"tcp".as_ptr());
    for (network, address) in [(null, text), (text, null), (null, null)] {
        // SAFETY: NULL is refused, the other ends with a NUL.
        let code = unsafe { netfd_listen(network, address, ptr::null()) };
        assert_eq!(code, -libc::EFAULT);
        // SAFETY: likewise.
        let code = unsafe { netfd_listen_packet(network, address, ptr::null()) };
        assert_eq!(code, -libc::EFAULT);
    }
}

#[test]
fn a_config_that_says_what_cannot_be_is_einval() {
    if !by_itself("a_config_that_says_what_cannot_be_is_einval") {
        return;
    }
    type Change = fn(&mut netfd_listen_config);
    let changes: [Change; 14] = [
        |config| config.size = 0,
        |config| config.size = usize::MAX,
        |config| config.reuse_port = 2,
        |config| config.reuse_port = -2,
        |config| config.v6only = 2,
        |config| config.v6only = c_int::MIN,
        |config| config.nodelay = 2,
        |config| config.mptcp = -2,
        |config| config.mptcp = c_int::MAX,
        |config| config.unlink = 2,
        |config| config.keepalive_idle = 32_768 * SECOND,
        |config| config.keepalive_interval = i64::MAX,
        |config| config.keepalive_count = 128,
        |config| config.keepalive_count = c_int::MAX,
    ];
    let before = open_fds();
    for (at, change) in changes.iter().enumerate() {
        let mut config = listen_config();
        change(&mut config);
        let code = listen("tcp", "127.0.0.1:0", Some(&config));
        assert_eq!(code, -libc::EINVAL, "change {at}");
        let code = listen_packet("udp", "127.0.0.1:0", Some(&config));
        assert_eq!(code, -libc::EINVAL, "change {at}");
    }
    assert_eq!(open_fds(), before);
}

/// A config as a later version of the library may have it.
#[repr(C)]
struct Longer {
    known: netfd_listen_config,
    more: u64,
}

#[test]
fn a_config_of_another_version_is_taken_where_all_that_is_unknown_is_zero() {
    let mut config = listen_config();
    config.size = std::mem::offset_of!(netfd_listen_config, v6only);
    config.v6only = 7; // behind its end
    let fd = listening_as("tcp", "127.0.0.1:0", &config);
    assert_eq!(destroy(fd), 0);
    for (more, is_taken) in [(0, true), (1, false)] {
        let mut longer = Longer {
            known: listen_config(),
            more,
        };
        longer.known.size = std::mem::size_of::<Longer>();
        let config = (&raw const longer).cast();
        // SAFETY: the strings end with a NUL, the config is as long as it says.
        let fd = unsafe { netfd_listen(c"tcp".as_ptr(), c"127.0.0.1:0".as_ptr(), config) };
        assert_eq!(fd >= 0, is_taken, "{}", error_text());
        if is_taken {
            assert_eq!(destroy(fd), 0);
        } else {
            assert_eq!(fd, -libc::EINVAL);
        }
    }
}

#[test]
fn listens_that_fail_leak_no_descriptor() {
    if !by_itself("listens_that_fail_leak_no_descriptor") {
        return;
    }
    extern "C" fn refuse(_: c_int, _: *const c_char, _: *const c_char, _: *mut c_void) -> c_int {
        -libc::EPERM
    }
    let taken = listening("tcp", "127.0.0.1:0");
    let port = local_addr(taken).port();
    let mut refusing = listen_config();
    refusing.control = Some(refuse);
    let mut with_mptcp = listen_config();
    with_mptcp.mptcp = 1;
    let before = (open_fds(), stats().open_fds);
    for _ in 0..50 {
        let there = format!("127.0.0.1:{port}");
        assert!(listen("tcp", &there, None) < 0);
        assert!(listen("tcp", &there, Some(&with_mptcp)) < 0);
        assert!(listen("tcp", "192.0.2.1:0", None) < 0);
        assert!(listen("tcp", "127.0.0.1:0", Some(&refusing)) < 0);
        assert!(listen("unix", "/nowhere/at/all", None) < 0);
        assert!(listen("unix", &"x".repeat(200), None) < 0);
        assert!(listen("tcp", "nonsense", None) < 0);
        assert!(listen_packet("udp", "192.0.2.1:0", None) < 0);
        assert!(listen_packet("udp", "127.0.0.1:0", Some(&refusing)) < 0);
    }
    assert_eq!((open_fds(), stats().open_fds), before);
}

// The descriptor.

#[test]
fn it_is_nonblocking_close_on_exec_and_attached() {
    if !by_itself("it_is_nonblocking_close_on_exec_and_attached") {
        return; // or another test gets the number
    }
    let name = abstract_name("born");
    for (network, address) in [
        ("tcp", "127.0.0.1:0"),
        ("tcp6", "[::1]:0"),
        ("unix", &*name),
        ("unixpacket", &*format!("{name}-packets")),
    ] {
        let fd = listening(network, address);
        assert_eq!(flags(fd), (true, true), "{network}");
        assert_eq!(option(fd, SOL_SOCKET, libc::SO_ACCEPTCONN), 1);
        assert_eq!(option(fd, SOL_SOCKET, libc::SO_REUSEADDR), 1);
        assert_eq!(set_deadline(fd, 0), 0);
        assert_eq!(destroy(fd), 0);
        assert_eq!(set_deadline(fd, 0), NETFD_ECLOSED);
    }
}

#[test]
fn an_accept_on_it_parks_obeys_its_deadline_and_ends_with_it() {
    let fd = listening("tcp", "127.0.0.1:0");
    set_read_deadline(fd, after(20 * MS));
    assert_eq!(accept(fd), NETFD_EDEADLINE);
    set_read_deadline(fd, 0);
    let task = spawn(move || accept(fd));
    await_parked(fd, 1);
    assert_eq!(destroy(fd), 0);
    assert_eq!(task.join(), NETFD_ECLOSED);
}

#[test]
fn unix_sockets_listen_by_path_by_abstract_name_and_by_one_of_the_kernels() {
    for (network, sotype) in [
        ("unix", libc::SOCK_STREAM),
        ("unixpacket", libc::SOCK_SEQPACKET),
    ] {
        let path = unix_path(&format!("listens-{network}"));
        let name = abstract_name(&format!("listens-{network}"));
        for address in [&*path, &*name, ""] {
            let fd = listening(network, address);
            let at = local_addr(fd);
            if address.is_empty() {
                assert_eq!((&at.text()[..1], at.text().len()), ("@", 6));
            } else {
                assert_eq!(at.text(), address);
            }
            let client = socket(AF_UNIX, sotype);
            assert_eq!(connect(client, &at), 0);
            let conn = accept(fd);
            assert_eq!(write(client, b"!"), 1);
            assert_eq!(read_exactly(conn, 1), b"!");
            for fd in [client, conn, fd] {
                assert_eq!(destroy(fd), 0);
            }
        }
    }
}

// Options.

const TCP: c_int = libc::IPPROTO_TCP;

/// TCP_NODELAY, SO_KEEPALIVE, and what keepalive is set to.
fn tcp_options(fd: c_int) -> (bool, bool, [c_int; 3]) {
    let keepalive = [libc::TCP_KEEPIDLE, libc::TCP_KEEPINTVL, libc::TCP_KEEPCNT];
    (
        option(fd, TCP, libc::TCP_NODELAY) != 0,
        option(fd, SOL_SOCKET, libc::SO_KEEPALIVE) != 0,
        keepalive.map(|name| option(fd, TCP, name)),
    )
}

/// What a connection inherits from a listener that was configured so.
fn inherited(change: impl Fn(&mut netfd_listen_config)) -> (bool, bool, [c_int; 3]) {
    let mut config = listen_config();
    change(&mut config);
    let fd = listening_as("tcp", "127.0.0.1:0", &config);
    let (_client, conn) = connected(fd);
    let options = tcp_options(conn);
    assert_eq!(tcp_options(fd), options, "they are the listener's");
    assert_eq!(destroy(conn), 0);
    assert_eq!(destroy(fd), 0);
    options
}

/// What the kernel sets by itself.
fn kernels() -> [c_int; 3] {
    let fd = socket(AF_INET, libc::SOCK_STREAM);
    let (_, _, keepalive) = tcp_options(fd);
    assert_eq!(destroy(fd), 0);
    keepalive
}

#[test]
fn connections_inherit_gos_options() {
    assert_eq!(inherited(|_| {}), (true, true, [15, 15, 9]));
}

#[test]
fn connections_inherit_options_of_the_callers_own() {
    let options = inherited(|config| {
        config.nodelay = 1;
        config.keepalive_idle = 33 * SECOND;
        config.keepalive_interval = 34 * SECOND;
        config.keepalive_count = 7;
    });
    assert_eq!(options, (true, true, [33, 34, 7]));
}

#[test]
fn durations_are_rounded_up_to_seconds() {
    let options = inherited(|config| {
        config.keepalive_idle = 1;
        config.keepalive_interval = 2 * SECOND + 1;
        config.keepalive_count = 1;
    });
    assert_eq!(options, (true, true, [1, 3, 1]));
}

#[test]
fn the_most_that_the_kernel_takes_is_taken() {
    let options = inherited(|config| {
        config.keepalive_idle = 32_767 * SECOND;
        config.keepalive_interval = 32_766 * SECOND + 1;
        config.keepalive_count = 127;
    });
    assert_eq!(options, (true, true, [32_767, 32_767, 127]));
}

#[test]
fn what_is_off_is_off() {
    let options = inherited(|config| {
        config.nodelay = -1;
        config.keepalive_idle = -1;
    });
    assert_eq!(options, (false, false, kernels()));
}

#[test]
fn a_negative_interval_or_count_leaves_the_kernels() {
    let options = inherited(|config| {
        config.keepalive_interval = -1;
        config.keepalive_count = -1;
    });
    let [_, interval, count] = kernels();
    assert_eq!(options, (true, true, [15, interval, count]));
}

#[test]
fn the_wildcards_connections_inherit_by_either_family() {
    let fd = listening("tcp", ":0");
    for host in ["127.0.0.1", "::1"] {
        let client = TcpStream::connect((host, local_addr(fd).port())).expect("it listens");
        let conn = accept(fd);
        assert_eq!(tcp_options(conn), (true, true, [15, 15, 9]), "{host}");
        assert_eq!(destroy(conn), 0);
        drop(client);
    }
    assert_eq!(destroy(fd), 0);
}

#[test]
fn all_options_are_set_before_the_first_connection_can_come() {
    let test = "all_options_are_set_before_the_first_connection_can_come";
    let trace = alone_under_strace(test, &["-e", "trace=%network"], || {
        listening("tcp", ":0");
    });
    let Some(trace) = trace else { return };
    let mut calls: Vec<&str> = trace
        .lines()
        .filter_map(|line| line.split_once(' ')?.1.trim().split_once('('))
        .map(|(call, _)| call)
        .skip_while(|call| *call != "socket")
        .collect();
    calls.dedup();
    let expected = ["socket", "setsockopt", "bind", "listen", "getsockname"];
    assert_eq!(calls, expected, "{trace}");
}

#[test]
fn an_accept_on_it_is_one_accept4_and_nothing_else() {
    const CONNECTIONS: usize = 10;
    let test = "an_accept_on_it_is_one_accept4_and_nothing_else";
    let trace = alone_under_strace(test, &[], || {
        let fd = listening("tcp", ":0");
        let _warm = connected(fd);
        let port = local_addr(fd).port();
        let clients: Vec<_> = (0..CONNECTIONS)
            .map(|_| TcpStream::connect(("127.0.0.1", port)).expect("it listens"))
            .collect();
        let mut conns = [0; CONNECTIONS];
        // SAFETY: getppid takes nothing; it marks the place in the trace.
        unsafe { libc::getppid() };
        for conn in &mut conns {
            *conn = accept(fd);
        }
        // SAFETY: likewise.
        unsafe { libc::getppid() };
        for conn in conns {
            assert_eq!(tcp_options(conn), (true, true, [15, 15, 9]));
        }
        drop(clients);
    });
    let Some(trace) = trace else { return };
    let marked: Vec<&str> = trace
        .lines()
        .skip_while(|line| !line.contains("getppid("))
        .skip(1)
        .take_while(|line| !line.contains("getppid("))
        .collect();
    assert_eq!(marked.len(), CONNECTIONS, "{marked:#?}");
    let is_accept = |line: &&str| line.contains("accept4(");
    assert!(marked.iter().all(is_accept), "{marked:#?}");
}

/// The backlog that the kernel has for a TCP listener.
fn backlog_of(fd: c_int) -> u32 {
    // SAFETY: all-zero is a valid tcp_info.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut len = std::mem::size_of::<libc::tcp_info>() as libc::socklen_t;
    let to = (&raw mut info).cast();
    // SAFETY: the struct is as long as said.
    let code = unsafe { libc::getsockopt(fd, TCP, libc::TCP_INFO, to, &mut len) };
    assert_eq!(code, 0);
    info.tcpi_sacked // of a listener: sk_max_ack_backlog
}

#[test]
fn the_backlog_is_the_callers_else_somaxconn() {
    let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn").expect("procfs");
    let most: u32 = most.trim().parse().expect("it is a number");
    for (backlog, expected) in [(0, most), (-1, most), (1, 1), (17, 17), (c_int::MAX, most)] {
        let mut config = listen_config();
        config.backlog = backlog;
        let fd = listening_as("tcp", "127.0.0.1:0", &config);
        assert_eq!(backlog_of(fd), expected, "{backlog}");
        assert_eq!(destroy(fd), 0);
    }
}

#[test]
fn a_port_is_shared_by_those_who_ask_for_it_and_all_get_connections() {
    let mut config = listen_config();
    config.reuse_port = 1;
    let one = listening_as("tcp", "127.0.0.1:0", &config);
    let port = local_addr(one).port();
    let other = listening_as("tcp", &format!("127.0.0.1:{port}"), &config);
    let clients: Vec<TcpStream> = (0..100)
        .map(|_| TcpStream::connect(("127.0.0.1", port)).expect("they listen"))
        .collect();
    let accepted = [one, other].map(|fd| {
        let mut n = 0;
        while wait(fd, NETFD_READABLE, 1) == NETFD_READABLE {
            assert_eq!(destroy(accept(fd)), 0);
            n += 1;
        }
        n
    });
    assert_eq!(accepted[0] + accepted[1], clients.len());
    assert!(accepted.iter().all(|n| *n > 0), "{accepted:?}");
    assert_eq!(destroy(one), 0);
    assert_eq!(destroy(other), 0);
}

#[test]
fn a_port_is_not_shared_unless_both_ask_for_it() {
    let mut shared = listen_config();
    shared.reuse_port = 1;
    let mut alone = listen_config();
    alone.reuse_port = -1;
    for (first, second) in [
        (&alone, &alone),
        (&alone, &shared),
        (&shared, &alone),
        (&listen_config(), &listen_config()),
    ] {
        let fd = listening_as("tcp", "127.0.0.1:0", first);
        let there = format!("127.0.0.1:{}", local_addr(fd).port());
        assert_eq!(listen("tcp", &there, Some(second)), -libc::EADDRINUSE);
        assert_eq!(destroy(fd), 0);
    }
}

#[test]
fn a_port_whose_connections_linger_is_taken_again_at_once() {
    let fd = listening("tcp", "127.0.0.1:0");
    let at = local_addr(fd).text();
    let (client, conn) = connected(fd);
    assert_eq!(destroy(conn), 0); // closes first: TIME_WAIT is on our port
    assert_eq!(destroy(fd), 0);
    let mut rest = Vec::new();
    std::io::Read::read_to_end(&mut &client, &mut rest).expect("it ends");
    drop(client);
    let again = listening("tcp", &at);
    assert_eq!(local_addr(again).text(), at);
    assert_eq!(destroy(again), 0);
}

// Multipath TCP.

/// A config that asks for it, where the kernel has it.
fn with_mptcp() -> Option<netfd_listen_config> {
    // SAFETY: no pointers.
    let fd = unsafe { libc::socket(AF_INET, libc::SOCK_STREAM, libc::IPPROTO_MPTCP) };
    if fd < 0 {
        println!("skipped: the kernel has no Multipath TCP");
        return None;
    }
    plain_close(fd);
    let mut config = listen_config();
    config.mptcp = 1;
    Some(config)
}

#[test]
fn multipath_tcp_is_off_unless_asked_for() {
    for mptcp in [0, -1] {
        let mut config = listen_config();
        config.mptcp = mptcp;
        let fd = listening_as("tcp", ":0", &config);
        assert_eq!(protocol(fd), libc::IPPROTO_TCP);
        assert_eq!(destroy(fd), 0);
    }
}

#[test]
fn a_multipath_tcp_listener_serves_plain_clients_whose_options_are_gos() {
    let Some(config) = with_mptcp() else { return };
    for (network, address) in [
        ("tcp", ":0"),
        ("tcp4", "127.0.0.1:0"),
        ("tcp", "127.0.0.1:0"),
    ] {
        let fd = listening_as(network, address, &config);
        assert_eq!(protocol(fd), libc::IPPROTO_MPTCP);
        let (client, conn) = connected(fd);
        assert_eq!(protocol(conn), libc::IPPROTO_TCP);
        assert_eq!(tcp_options(conn), (true, true, [15, 15, 9]));
        std::io::Write::write_all(&mut &client, b"!").expect("it is connected");
        assert_eq!(read_exactly(conn, 1), b"!");
        assert_eq!(destroy(conn), 0);
        assert_eq!(destroy(fd), 0);
    }
}

#[test]
fn a_multipath_tcp_listener_serves_multipath_clients() {
    let Some(config) = with_mptcp() else { return };
    let fd = listening_as("tcp4", "127.0.0.1:0", &config);
    // SAFETY: no pointers.
    let client = unsafe { netfd_sys_socket(AF_INET, libc::SOCK_STREAM, libc::IPPROTO_MPTCP) };
    assert_eq!(connect(client, &local_addr(fd)), 0);
    let conn = accept(fd);
    assert_eq!(protocol(conn), libc::IPPROTO_MPTCP);
    assert_eq!(option(conn, SOL_SOCKET, libc::SO_KEEPALIVE), 1);
    assert_eq!(option(conn, TCP, libc::TCP_NODELAY), 1);
    assert_eq!(write(client, b"!"), 1);
    assert_eq!(read_exactly(conn, 1), b"!");
    for fd in [client, conn, fd] {
        assert_eq!(destroy(fd), 0);
    }
}

#[test]
fn where_the_kernel_refuses_multipath_tcp_it_is_plain_tcp() {
    let test = "where_the_kernel_refuses_multipath_tcp_it_is_plain_tcp";
    let inject = "inject=socket:error=EPROTONOSUPPORT:when=1";
    alone_under_strace(test, &["-e", "trace=socket", "-e", inject], || {
        let mut config = listen_config();
        config.mptcp = 1;
        let fd = listening_as("tcp", ":0", &config);
        assert_eq!(protocol(fd), libc::IPPROTO_TCP);
        assert!(takes(fd, "127.0.0.1"));
    });
}

/// Runs a test by itself in a network of its own, which `script` sets up.
fn by_itself_in_a_network(test: &str, script: &str) -> bool {
    let script = format!("ip link set lo up && {script} && exec \"$0\" \"$@\"");
    let words = ["unshare", "-n", "sh", "-c", &script];
    works(&words, "no network namespace of one's own here") && by_itself_under(test, &words)
}

#[test]
fn the_sysctl_that_forbids_multipath_tcp_leaves_plain_tcp() {
    let test = "the_sysctl_that_forbids_multipath_tcp_leaves_plain_tcp";
    let script = "echo 0 >/proc/sys/net/mptcp/enabled";
    if !by_itself_in_a_network(test, script) {
        return;
    }
    let mut config = listen_config();
    config.mptcp = 1;
    let fd = listening_as("tcp", ":0", &config);
    assert_eq!(protocol(fd), libc::IPPROTO_TCP);
    assert!(takes(fd, "127.0.0.1"));
}

// The control function.

/// What a control function saw, and what it is to do.
struct Seen {
    calls: Mutex<Vec<(c_int, String, String)>>,
    does: Box<dyn Fn(c_int) -> c_int>,
}

unsafe extern "C" fn control(
    fd: c_int,
    network: *const c_char,
    address: *const c_char,
    arg: *mut c_void,
) -> c_int {
    // SAFETY: it is the `Seen` of the call.
    let seen = unsafe { &*arg.cast::<Seen>() };
    let text = |text: *const c_char| {
        // SAFETY: both texts end with a NUL.
        let text = unsafe { CStr::from_ptr(text) };
        text.to_string_lossy().into_owned()
    };
    let call = (fd, text(network), text(address));
    seen.calls.lock().expect("nobody panicked").push(call);
    (seen.does)(fd)
}

/// netfd_listen(), or the other, with a control function: what came of it, and
/// what that function saw.
fn controlled(
    network: &str,
    address: &str,
    config: &netfd_listen_config,
    does: impl Fn(c_int) -> c_int + 'static,
) -> (c_int, Vec<(c_int, String, String)>) {
    let seen = Seen {
        calls: Mutex::default(),
        does: Box::new(does),
    };
    let mut config = *config;
    config.control = Some(control);
    config.control_arg = (&raw const seen).cast_mut().cast();
    let is_packet = network.starts_with("udp") || network == "unixgram";
    let call = if is_packet { listen_packet } else { listen };
    let fd = call(network, address, Some(&config));
    let calls = seen.calls.into_inner().expect("nobody panicked");
    (fd, calls)
}

#[test]
fn control_is_called_once_with_the_concrete_network_and_the_address() {
    let path = unix_path("controlled");
    let name = abstract_name("controlled");
    for (network, address, concrete, shown) in [
        ("tcp", "127.0.0.1:0", "tcp4", "127.0.0.1:0"),
        ("tcp", "[::1]:0", "tcp6", "[::1]:0"),
        ("tcp", ":0", "tcp6", "[::]:0"),
        ("tcp", "0.0.0.0:0", "tcp6", "[::]:0"),
        ("tcp4", ":0", "tcp4", "0.0.0.0:0"),
        ("tcp6", ":0", "tcp6", "[::]:0"),
        ("tcp", "localhost:0", "tcp4", "127.0.0.1:0"),
        ("udp", "127.0.0.1:0", "udp4", "127.0.0.1:0"),
        ("udp", ":0", "udp6", "[::]:0"),
        ("udp4", ":0", "udp4", "0.0.0.0:0"),
        ("unix", &*path, "unix", &*path),
        ("unixpacket", &*name, "unixpacket", &*name),
        (
            "unixgram",
            &*format!("{name}-gram"),
            "unixgram",
            &*format!("{name}-gram"),
        ),
    ] {
        let (fd, calls) = controlled(network, address, &listen_config(), |_| 0);
        assert!(fd >= 0, "{network} {address}: {}", error_text());
        let expected = (fd, concrete.to_owned(), shown.to_owned());
        assert_eq!(calls, [expected], "{network} {address}");
        assert_eq!(destroy(fd), 0);
    }
}

#[test]
fn control_runs_before_bind_on_a_socket_that_is_attached() {
    let (fd, _) = controlled("tcp", "127.0.0.1:0", &listen_config(), |fd| {
        assert_eq!(local_addr(fd).text(), "0.0.0.0:0");
        assert_eq!(flags(fd), (true, true));
        assert_eq!(option(fd, SOL_SOCKET, libc::SO_REUSEADDR), 1, "as Go's");
        assert_eq!(option(fd, SOL_SOCKET, libc::SO_ACCEPTCONN), 0);
        0
    });
    assert!(fd >= 0, "{}", error_text());
    assert_eq!(destroy(fd), 0);
}

#[test]
fn a_positive_result_of_control_is_no_failure() {
    let (fd, _) = controlled("tcp", "127.0.0.1:0", &listen_config(), |_| 1);
    assert!(takes(fd, "127.0.0.1"));
    assert_eq!(destroy(fd), 0);
}

#[test]
fn what_control_sets_holds() {
    const FASTOPEN: c_int = libc::TCP_FASTOPEN;
    let (fd, _) = controlled("tcp", "127.0.0.1:0", &listen_config(), |fd| {
        set_option(fd, SOL_SOCKET, libc::SO_RCVBUF, 20_000);
        set_option(fd, TCP, FASTOPEN, 5);
        set_option(fd, TCP, libc::TCP_KEEPIDLE, 77);
        set_option(fd, TCP, libc::TCP_NODELAY, 0);
        0
    });
    assert_eq!(option(fd, SOL_SOCKET, libc::SO_RCVBUF), 40_000);
    assert_eq!(option(fd, TCP, FASTOPEN), 5);
    let (_client, conn) = connected(fd);
    assert_eq!(option(conn, SOL_SOCKET, libc::SO_RCVBUF), 40_000);
    assert_eq!(tcp_options(conn), (false, true, [77, 15, 9]));
    assert_eq!(destroy(conn), 0);
    assert_eq!(destroy(fd), 0);
}

#[test]
fn a_deadline_or_token_that_control_sets_is_the_listeners() {
    let token = Token::new();
    let (fd, _) = controlled("tcp", "127.0.0.1:0", &listen_config(), move |fd| {
        token.set_on(fd);
        set_read_deadline(fd, after(3600 * SECOND))
    });
    assert!(fd >= 0, "{}", error_text());
    let task = spawn(move || accept(fd));
    await_parked(fd, 1);
    token.fire();
    assert_eq!(task.join(), NETFD_ECANCELED);
    assert_eq!(destroy(fd), 0);
    token.free();
}

#[test]
fn a_negative_result_of_control_is_returned_and_nothing_stays() {
    if !by_itself("a_negative_result_of_control_is_returned_and_nothing_stays") {
        return;
    }
    let path = unix_path("refused");
    let mut config = listen_config();
    config.mptcp = 1; // whose second attempt it stops too
    let before = open_fds();
    for code in [-libc::EPERM, -1_000_000, NETFD_ECANCELED, c_int::MIN] {
        for (network, address) in [
            ("tcp", "127.0.0.1:0"),
            ("unix", &*path),
            ("udp", "127.0.0.1:0"),
        ] {
            let (result, calls) = controlled(network, address, &config, move |_| code);
            assert_eq!(result, code, "{network}");
            assert_eq!(last_error().code, code);
            assert_eq!(calls.len(), 1, "{network}");
            assert_eq!(set_deadline(calls[0].0, 0), NETFD_ECLOSED);
        }
    }
    let (_, _) = controlled("tcp", "127.0.0.1:7", &config, |_| -libc::EPERM);
    let words = "listen tcp 127.0.0.1:7: operation not permitted";
    assert_eq!(error_text(), words);
    assert!(!std::path::Path::new(&path).exists());
    assert_eq!(open_fds(), before);
}

#[test]
fn destroy_inside_control_returns_0_at_once_and_ends_the_listen() {
    if !by_itself("destroy_inside_control_returns_0_at_once_and_ends_the_listen") {
        return;
    }
    let path = unix_path("destroyed-inside");
    let mut config = listen_config();
    config.mptcp = 1;
    let before = open_fds();
    for (network, address) in [
        ("tcp", "127.0.0.1:0"),
        ("unix", &*path),
        ("udp", "127.0.0.1:0"),
    ] {
        let (result, calls) = controlled(network, address, &config, |fd| {
            assert_eq!(destroy(fd), 0);
            assert_eq!(destroy(fd), NETFD_ECLOSED);
            assert_eq!(set_deadline(fd, 0), NETFD_ECLOSED);
            assert!(is_open(fd), "until the outer call sees to it");
            0
        });
        assert_eq!(result, NETFD_ECLOSED, "{network}");
        assert_eq!(calls.len(), 1, "{network}");
        assert!(!is_open(calls[0].0));
        assert_eq!(destroy(calls[0].0), NETFD_ECLOSED);
    }
    assert!(!std::path::Path::new(&path).exists());
    assert_eq!(open_fds(), before);
}

#[test]
fn destroy_inside_control_closes_once() {
    let test = "destroy_inside_control_closes_once";
    let trace = alone_under_strace(test, &["-e", "trace=socket,close,getppid"], || {
        let (result, _) = controlled("tcp4", "127.0.0.1:0", &listen_config(), |fd| {
            // SAFETY: getppid takes nothing; it marks the place in the trace.
            unsafe { libc::getppid() };
            destroy(fd)
        });
        assert_eq!(result, NETFD_ECLOSED);
        // SAFETY: likewise.
        unsafe { libc::getppid() };
    });
    let Some(trace) = trace else { return };
    let marked: Vec<&str> = trace
        .lines()
        .skip_while(|line| !line.contains("getppid("))
        .skip(1)
        .take_while(|line| !line.contains("getppid("))
        .collect();
    assert_eq!(marked.len(), 1, "{trace}");
    assert!(marked[0].contains("close("), "{trace}");
}

#[test]
fn destroy_by_another_thread_during_control_waits_and_ends_the_listen() {
    let (send, destroyed) = std::sync::mpsc::channel();
    let (result, calls) = controlled("tcp", "127.0.0.1:0", &listen_config(), move |fd| {
        let send = send.clone();
        let task = spawn(move || send.send(destroy(fd)));
        await_that("it has begun", || set_deadline(fd, 0) == NETFD_ECLOSED);
        assert!(!task.is_finished());
        0
    });
    assert_eq!(result, NETFD_ECLOSED);
    assert_eq!(calls.len(), 1);
    assert_eq!(destroyed.recv_timeout(GUARD), Ok(0));
}

#[test]
fn detach_inside_control_leaves_the_socket_to_the_caller() {
    let (result, calls) = controlled("tcp", "127.0.0.1:0", &listen_config(), |fd| {
        assert_eq!(detach(fd), fd);
        0
    });
    assert_eq!(result, NETFD_ECLOSED);
    let fd = calls[0].0;
    assert!(is_open(fd));
    assert_eq!(option(fd, SOL_SOCKET, libc::SO_ACCEPTCONN), 0);
    assert_eq!(set_deadline(fd, 0), -libc::EBADF);
    plain_close(fd);
}

#[test]
fn a_control_function_may_listen_itself() {
    let (fd, _) = controlled("tcp", "127.0.0.1:0", &listen_config(), |outer| {
        let (inner, calls) = controlled("tcp", "127.0.0.1:0", &listen_config(), |_| 0);
        assert_eq!((calls.len(), takes(inner, "127.0.0.1")), (1, true));
        assert_eq!(destroy(inner), 0);
        assert_eq!(set_deadline(outer, 0), 0);
        0
    });
    assert!(takes(fd, "127.0.0.1"));
    assert_eq!(destroy(fd), 0);
}

#[test]
fn what_a_control_function_destroys_beside_its_own_ends_at_once() {
    if !by_itself("what_a_control_function_destroys_beside_its_own_ends_at_once") {
        return; // others would get its number
    }
    let other = listening("tcp", "127.0.0.1:0");
    let (fd, _) = controlled("tcp", "127.0.0.1:0", &listen_config(), move |_| {
        assert_eq!(destroy(other), 0);
        assert!(!is_open(other));
        0
    });
    assert!(fd >= 0, "{}", error_text());
    assert_eq!(destroy(fd), 0);
}

#[test]
fn a_number_that_control_gives_away_and_gets_again_is_another_descriptor() {
    let test = "a_number_that_control_gives_away_and_gets_again_is_another_descriptor";
    if !by_itself(test) {
        return;
    }
    let before = open_fds();
    let (result, calls) = controlled("tcp", "127.0.0.1:0", &listen_config(), |fd| {
        assert_eq!(detach(fd), fd);
        plain_close(fd);
        assert_eq!(socket(AF_INET, libc::SOCK_STREAM), fd);
        assert_eq!(destroy(fd), 0);
        assert!(!is_open(fd), "nobody is inside that one");
        0
    });
    assert_eq!(result, NETFD_ECLOSED);
    assert_eq!(destroy(calls[0].0), NETFD_ECLOSED);
    assert_eq!(open_fds(), before);
}

#[test]
fn a_control_function_inside_another_may_destroy_the_outer_descriptor() {
    let (result, calls) = controlled("tcp", "127.0.0.1:0", &listen_config(), |outer| {
        let (inner, _) = controlled("udp", "127.0.0.1:0", &listen_config(), move |_| {
            assert_eq!(destroy(outer), 0);
            0
        });
        assert!(inner >= 0, "{}", error_text());
        assert_eq!(destroy(inner), 0);
        0
    });
    assert_eq!(result, NETFD_ECLOSED);
    assert_eq!(calls.len(), 1);
}

#[test]
fn a_control_function_may_use_its_descriptor() {
    let (result, _) = controlled("tcp", "127.0.0.1:0", &listen_config(), |fd| {
        assert_eq!(accept(fd), -libc::EINVAL, "it does not listen yet");
        assert_eq!(read(fd, &mut [0]), -(libc::ENOTCONN as isize));
        0
    });
    assert!(result >= 0, "{}", error_text());
    assert_eq!(destroy(result), 0);
}

#[test]
fn with_multipath_tcp_that_cannot_bind_control_sees_the_plain_attempt_too() {
    let Some(config) = with_mptcp() else { return };
    let taken = listening("tcp", "127.0.0.1:0");
    let there = local_addr(taken).text();
    let (code, calls) = controlled("tcp", &there, &config, |_| 0);
    assert_eq!(code, -libc::EADDRINUSE);
    assert_eq!(calls.len(), 2, "a whole attempt, as in Go");
    assert_eq!(destroy(taken), 0);
}

#[test]
fn any_bytes_are_taken_for_a_text() {
    let address = CString::new([0xff, 0xfe, b':', b'0']).expect("no NUL");
    // SAFETY: the strings end with a NUL, NULL is allowed.
    let code = unsafe { netfd_listen(c"tcp".as_ptr(), address.as_ptr(), ptr::null()) };
    assert_eq!(code, NETFD_EADDRESS);
    // SAFETY: likewise.
    let code = unsafe { netfd_listen(address.as_ptr(), address.as_ptr(), ptr::null()) };
    assert_eq!(code, NETFD_ENETWORK);
    let long = "x".repeat(100_000);
    assert_eq!(listen("tcp", &long, None), NETFD_EADDRESS);
    assert_eq!(listen(&long, ":0", None), NETFD_ENETWORK);
    assert_eq!(listen("tcp", &format!("{long}:0"), None), NETFD_EADDRESS);
    assert_eq!(listen("tcp", &format!(":{long}"), None), NETFD_EADDRESS);
    assert_eq!(listen("unix", &long, None), -libc::EINVAL);
}

#[test]
fn without_memory_a_call_says_enomem_and_leaves_nothing_behind() {
    assert_eq!(run_program(&c_program("starve", true), &[]), "");
}
