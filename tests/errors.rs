//! netfd_last_error, netfd_error_text, netfd_strerror: Go's `net.OpError`
//! (net/net.go), its texts, and principle 9 of the interface: how structs
//! grow.

#![allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test says what it expects, and knows the sizes"
)]

mod common;

use common::*;
use libc::{AF_INET, AF_INET6, AF_UNIX, SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM, c_char, c_int};
use std::collections::BTreeSet;
use std::ffi::CStr;
use std::mem::size_of;
use std::ptr::null_mut;

/// An error record in Rust's types.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    code: c_int,
    flags: u32,
    op: String,
    network: String,
    syscall: String,
    local: String,
    remote: String,
}

fn told() -> Told {
    let error = last_error();
    Told {
        code: error.code,
        flags: error.flags,
        op: c_text(&error.op),
        network: c_text(&error.network),
        syscall: c_text(&error.syscall),
        local: c_text(&error.local),
        remote: c_text(&error.remote),
    }
}

fn strerror(code: c_int) -> String {
    // SAFETY: no pointers.
    let text = unsafe { netfd_strerror(code) };
    assert!(!text.is_null());
    // SAFETY: it ends with a NUL and lives for ever.
    unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned()
}

/// The last error's code.
fn last_code() -> c_int {
    // SAFETY: NULL is allowed.
    unsafe { netfd_last_error(null_mut()) }
}

/// Something that fails, and what it returns.
fn fail() -> c_int {
    // SAFETY: no pointers.
    unsafe { netfd_wait(0, 0, 0) }
}

fn in_fresh_thread<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    spawn(body).join()
}

#[test]
fn a_refused_dial_is_told_in_full() {
    let at = refusing();
    let client = socket(AF_INET, SOCK_STREAM);
    assert_eq!(connect(client, &at), -libc::ECONNREFUSED);
    let told = told();
    assert_eq!(told.code, -libc::ECONNREFUSED);
    assert_eq!((told.op.as_str(), told.network.as_str()), ("dial", "tcp"));
    assert_eq!((told.syscall.as_str(), told.remote), ("connect", at.text()));
    assert_eq!(told.flags, 0);
    assert_eq!(destroy(client), 0);
}

#[test]
fn a_refused_dial_reads_as_in_go() {
    let at = refusing();
    let client = socket(AF_INET, SOCK_STREAM);
    assert_eq!(connect(client, &at), -libc::ECONNREFUSED);
    let expected = format!("dial tcp {}: connect: connection refused", at.text());
    assert_eq!(error_text(), expected);
    assert_eq!(destroy(client), 0);
}

#[test]
fn a_dial_from_a_local_address_names_both() {
    let at = refusing();
    let client = socket(AF_INET, SOCK_STREAM);
    let from = free_place();
    // SAFETY: the addresses are as long as said.
    let code = unsafe {
        netfd_connect(
            client,
            from.ptr(),
            from.len,
            at.ptr(),
            at.len,
            0,
            no_token(),
        )
    };
    assert_eq!(code, -libc::ECONNREFUSED);
    let (from, to) = (from.text(), at.text());
    assert_eq!(told().local, from);
    let expected = format!("dial tcp {from}->{to}: connect: connection refused");
    assert_eq!(error_text(), expected);
    assert_eq!(destroy(client), 0);
}

#[test]
fn a_dial_that_cannot_bind_names_both_addresses() {
    let (fd, taken) = listener();
    let to = refusing();
    let client = socket(AF_INET, SOCK_STREAM);
    // SAFETY: the addresses are as long as said.
    let code = unsafe {
        netfd_connect(
            client,
            taken.ptr(),
            taken.len,
            to.ptr(),
            to.len,
            0,
            no_token(),
        )
    };
    assert_eq!(code, -libc::EADDRINUSE);
    let (from, to) = (taken.text(), to.text());
    let expected = format!("dial tcp {from}->{to}: bind: address already in use");
    assert_eq!(error_text(), expected);
    assert_eq!(destroy(client), 0);
    assert_eq!(destroy(fd), 0);
}

#[test]
fn a_dial_that_came_too_late_is_a_timeout() {
    let at = refusing();
    let client = socket(AF_INET, SOCK_STREAM);
    assert_eq!(connect_by(client, &at, 1, no_token()), NETFD_EDEADLINE);
    assert_eq!(error_text(), format!("dial tcp {}: i/o timeout", at.text()));
    let told = told();
    assert_eq!(told.flags & NETFD_ERROR_TIMEOUT, NETFD_ERROR_TIMEOUT);
    assert_eq!(told.syscall, "");
    assert_eq!(destroy(client), 0);
}

#[test]
fn a_dial_whose_deadline_passed_on_the_way_reads_the_same() {
    let (fd, at, clients) = full_listener("tcp", "127.0.0.1:0");
    let client = socket(AF_INET, SOCK_STREAM);
    let code = connect_by(client, &at, after(20 * MS), no_token());
    assert_eq!(code, NETFD_EDEADLINE);
    assert_eq!(error_text(), format!("dial tcp {}: i/o timeout", at.text()));
    for fd in clients.into_iter().chain([client, fd]) {
        assert_eq!(destroy(fd), 0);
    }
}

#[test]
fn a_dial_that_was_canceled_says_so() {
    let at = refusing();
    let client = socket(AF_INET, SOCK_STREAM);
    let token = Token::new();
    token.fire();
    assert_eq!(connect_by(client, &at, 0, token.0), NETFD_ECANCELED);
    let expected = format!("dial tcp {}: operation was canceled", at.text());
    assert_eq!(error_text(), expected);
    assert_eq!(told().flags, NETFD_ERROR_CANCELED);
    assert_eq!(destroy(client), 0);
    token.free();
}

#[test]
fn a_listener_whose_address_is_in_use_is_told_in_full() {
    let (taken, at) = listener();
    let fd = socket(AF_INET, SOCK_STREAM);
    // SAFETY: the address is as long as said.
    let code = unsafe { netfd_listen_stream(fd, at.ptr(), at.len, 0) };
    assert_eq!(code, -libc::EADDRINUSE);
    let expected = Told {
        code: -libc::EADDRINUSE,
        flags: 0,
        op: "listen".into(),
        network: "tcp".into(),
        syscall: "bind".into(),
        local: at.text(),
        remote: String::new(),
    };
    assert_eq!(told(), expected);
    let text = format!("listen tcp {}: bind: address already in use", at.text());
    assert_eq!(error_text(), text);
    assert_eq!(destroy(fd), 0);
    assert_eq!(destroy(taken), 0);
}

#[test]
fn an_accept_without_descriptors_left_is_told_in_full() {
    let test = "an_accept_without_descriptors_left_is_told_in_full";
    alone(test, || {
        let (fd, at) = listener();
        let client = socket(AF_INET, SOCK_STREAM);
        assert_eq!(connect(client, &at), 0);
        limit_fds(64);
        let all = use_up_fds();
        assert_eq!(accept(fd), -libc::EMFILE);
        let expected = Told {
            code: -libc::EMFILE,
            flags: NETFD_ERROR_TEMPORARY,
            op: "accept".into(),
            network: "tcp".into(),
            syscall: "accept4".into(),
            local: at.text(),
            remote: String::new(),
        };
        assert_eq!(told(), expected);
        let text = format!("accept tcp {}: accept4: too many open files", at.text());
        assert_eq!(error_text(), text);
        drop(all);
    });
}

#[test]
fn an_accept_that_was_evicted_names_its_listener() {
    let (fd, at) = listener();
    let waiting = spawn(move || (accept(fd), error_text(), told()));
    await_parked(fd, 1);
    assert_eq!(destroy(fd), 0);
    let (code, text, told) = waiting.join();
    assert_eq!(code, NETFD_ECLOSED);
    let at = at.text();
    let expected = format!("accept tcp {at}: use of closed network connection");
    assert_eq!(text, expected);
    assert_eq!((told.flags, told.local), (NETFD_ERROR_CLOSED, at));
}

#[test]
fn a_call_after_destroy_says_closed_and_may_miss_the_addresses() {
    let test = "a_call_after_destroy_says_closed_and_may_miss_the_addresses";
    alone(test, || {
        let (fd, _) = listener();
        assert_eq!(destroy(fd), 0);
        assert_eq!(accept(fd), NETFD_ECLOSED);
        let text = error_text();
        assert!(text.starts_with("accept"), "{text}");
        assert!(
            text.ends_with(": use of closed network connection"),
            "{text}"
        );
        assert_eq!(told().flags, NETFD_ERROR_CLOSED);
    });
}

#[test]
fn a_read_in_vain_is_told_in_full() {
    let (client, server) = tcp_pair();
    // SAFETY: no pointers.
    assert_eq!(unsafe { netfd_set_read_deadline(client, 1) }, 0);
    assert_eq!(read(client, &mut [0]), NETFD_EDEADLINE as isize);
    let (local, remote) = (local_addr(client).text(), local_addr(server).text());
    assert_eq!(
        error_text(),
        format!("read tcp {local}->{remote}: i/o timeout")
    );
    let told = told();
    assert_eq!(told.flags & NETFD_ERROR_TIMEOUT, NETFD_ERROR_TIMEOUT);
    assert_eq!(told.flags & !NETFD_ERROR_TEMPORARY, NETFD_ERROR_TIMEOUT);
    assert_eq!((told.op.as_str(), told.syscall.as_str()), ("read", ""));
    assert_eq!((told.local, told.remote), (local, remote));
    assert_eq!(destroy(client), 0);
    assert_eq!(destroy(server), 0);
}

#[test]
fn a_reset_read_names_both_ends_though_the_kernel_has_forgotten_one() {
    let (client, server) = tcp_pair();
    let (local, remote) = (local_addr(client).text(), local_addr(server).text());
    reset(server);
    assert_eq!(read(client, &mut [0]), -(libc::ECONNRESET as isize));
    let expected = format!("read tcp {local}->{remote}: read: connection reset by peer");
    assert_eq!(error_text(), expected);
    assert_eq!(destroy(client), 0);
}

#[test]
fn a_reset_read_is_not_temporary() {
    // Go's is so from accept only (golang.org/issue/24808).
    let (client, server) = tcp_pair();
    reset(server);
    assert_eq!(read(client, &mut [0]), -(libc::ECONNRESET as isize));
    assert_eq!(told().flags, 0);
    assert_eq!(destroy(client), 0);
}

#[test]
fn a_dial_that_finds_no_route_is_not_temporary() {
    let flags = spawn_thread(|| {
        // SAFETY: no pointers; a thread may have a network of its own.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
            return None;
        }
        let client = socket(AF_INET, SOCK_STREAM);
        let at = Addr::parse("tcp", "127.0.0.1:9");
        assert_eq!(connect(client, &at), -libc::ENETUNREACH);
        assert_eq!(destroy(client), 0);
        Some(told().flags)
    })
    .join();
    match flags {
        Some(flags) => assert_eq!(flags, 0),
        None => println!("skipped: no rights to a network of its own"),
    }
}

#[test]
fn a_write_to_nobody_is_a_broken_pipe() {
    let (client, server) = tcp_pair();
    let (local, remote) = (local_addr(client).text(), local_addr(server).text());
    // SAFETY: no pointers.
    assert_eq!(unsafe { netfd_shutdown(client, libc::SHUT_WR) }, 0);
    assert_eq!(write(client, b"!"), -(libc::EPIPE as isize));
    let expected = format!("write tcp {local}->{remote}: write: broken pipe");
    assert_eq!(error_text(), expected);
    assert_eq!(destroy(client), 0);
    assert_eq!(destroy(server), 0);
}

#[test]
fn a_vectored_write_is_named_writev() {
    let (client, server) = tcp_pair();
    // SAFETY: no pointers.
    assert_eq!(unsafe { netfd_shutdown(client, libc::SHUT_WR) }, 0);
    let one = libc::iovec {
        iov_base: c"!".as_ptr().cast_mut().cast(),
        iov_len: 1,
    };
    // SAFETY: the buffer is as long as said.
    let code = unsafe { netfd_writev(client, &one, 1) };
    assert_eq!(code, -(libc::EPIPE as isize));
    let text = error_text();
    assert!(text.starts_with("writev tcp "), "{text}");
    assert!(text.ends_with(": writev: broken pipe"), "{text}");
    assert_eq!(destroy(client), 0);
    assert_eq!(destroy(server), 0);
}

#[test]
fn a_shutdown_of_what_is_not_connected_is_that_of_a_close() {
    let fd = socket(AF_INET, SOCK_STREAM);
    // SAFETY: no pointers.
    let code = unsafe { netfd_shutdown(fd, libc::SHUT_WR) };
    assert_eq!(code, -libc::ENOTCONN);
    let expected = "close tcp: shutdown: transport endpoint is not connected";
    assert_eq!(error_text(), expected);
    assert_eq!(destroy(fd), 0);
}

#[test]
fn a_shutdown_after_a_reset_still_names_both_ends() {
    let (client, server) = tcp_pair();
    let (local, remote) = (local_addr(client).text(), local_addr(server).text());
    reset(server);
    assert_eq!(read(client, &mut [0]), -(libc::ECONNRESET as isize));
    // SAFETY: no pointers.
    let code = unsafe { netfd_shutdown(client, libc::SHUT_WR) };
    assert_eq!(code, -libc::ENOTCONN);
    let what = "shutdown: transport endpoint is not connected";
    assert_eq!(error_text(), format!("close tcp {local}->{remote}: {what}"));
    assert_eq!(destroy(client), 0);
}

#[test]
fn unix_sockets_are_named_by_gos_networks_and_their_paths() {
    let gone = abstract_name("errors-gone");
    for (network, sotype) in [
        ("unix", SOCK_STREAM),
        ("unixpacket", SOCK_SEQPACKET),
        ("unixgram", SOCK_DGRAM),
    ] {
        let client = socket(AF_UNIX, sotype);
        let to = Addr::parse(network, &gone);
        assert_eq!(connect(client, &to), -libc::ECONNREFUSED);
        let expected = format!("dial {network} {gone}: connect: connection refused");
        assert_eq!(error_text(), expected);
        assert_eq!(destroy(client), 0);
    }
}

#[test]
fn a_unix_listener_is_named_by_its_path() {
    let path = unix_path("errors");
    let (fd, _) = listener_at("unix", &path);
    // SAFETY: no pointers.
    assert_eq!(unsafe { netfd_set_read_deadline(fd, 1) }, 0);
    assert_eq!(accept(fd), NETFD_EDEADLINE);
    assert_eq!(error_text(), format!("accept unix {path}: i/o timeout"));
    assert_eq!(destroy(fd), 0);
    let other = socket(AF_UNIX, SOCK_STREAM);
    let at = Addr::parse("unix", &path);
    // SAFETY: the address is as long as said.
    let code = unsafe { netfd_listen_stream(other, at.ptr(), at.len, 0) };
    assert_eq!(code, -libc::EADDRINUSE);
    let expected = format!("listen unix {path}: bind: address already in use");
    assert_eq!(error_text(), expected);
    assert_eq!(destroy(other), 0);
    std::fs::remove_file(path).unwrap();
}

#[test]
fn the_longest_unix_path_is_told_whole() {
    let dir = std::env::temp_dir();
    let dir = dir.to_str().unwrap();
    let path = format!("{dir}/{}", "p".repeat(106 - dir.len()));
    assert_eq!(path.len(), 107);
    let client = socket(AF_UNIX, SOCK_STREAM);
    let at = Addr::parse("unix", &path);
    assert_eq!(connect(client, &at), -libc::ENOENT);
    let expected = format!("dial unix {path}: connect: no such file or directory");
    assert_eq!(error_text(), expected);
    assert_eq!(told().remote, path);
    assert_eq!(destroy(client), 0);
}

#[test]
fn udp_is_named_too() {
    let fd = socket(AF_INET, SOCK_DGRAM);
    assert_eq!(write(fd, b"!"), -(libc::EDESTADDRREQ as isize));
    let from = local_addr(fd).text();
    let expected = format!("write udp {from}: write: destination address required");
    assert_eq!(error_text(), expected);
    assert_eq!(destroy(fd), 0);
}

#[test]
fn a_mapped_address_is_told_as_plain_ipv4() {
    let mut to = Addr::parse("tcp6", &format!("[::]:{}", refusing().port()));
    // SAFETY: the storage holds a sockaddr_in6.
    let inet6 = unsafe { &mut *to.ptr_mut().cast::<libc::sockaddr_in6>() };
    inet6.sin6_addr.s6_addr = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 127, 0, 0, 1];
    let port = to.port();
    let client = socket(AF_INET6, SOCK_STREAM);
    assert_eq!(connect(client, &to), -libc::ECONNREFUSED);
    assert_eq!(told().remote, format!("127.0.0.1:{port}"));
    assert!(!error_text().contains("ffff"), "{}", error_text());
    assert_eq!(destroy(client), 0);
}

#[test]
fn ipv6_stands_in_brackets() {
    let (fd, at) = listener_at("tcp6", "[::1]:0");
    // SAFETY: no pointers.
    assert_eq!(unsafe { netfd_set_read_deadline(fd, 1) }, 0);
    assert_eq!(accept(fd), NETFD_EDEADLINE);
    assert_eq!(
        error_text(),
        format!("accept tcp [::1]:{}: i/o timeout", at.port())
    );
    assert_eq!(destroy(fd), 0);
}

#[test]
fn a_bad_argument_has_a_record_without_a_place() {
    assert_eq!(fail(), -libc::EINVAL);
    let expected = Told {
        code: -libc::EINVAL,
        flags: 0,
        op: "wait".into(),
        network: String::new(),
        syscall: String::new(),
        local: String::new(),
        remote: String::new(),
    };
    assert_eq!(told(), expected);
    assert_eq!(error_text(), "wait: invalid argument");
}

#[test]
fn the_last_error_is_the_threads_own() {
    let (mine, theirs) = (
        accept(-1),
        in_fresh_thread(|| (last_code(), fail(), last_code())),
    );
    assert_eq!(mine, -libc::EBADF);
    assert_eq!(theirs, (0, -libc::EINVAL, -libc::EINVAL));
    assert_eq!(last_code(), -libc::EBADF);
}

#[test]
fn a_thread_in_which_nothing_failed_has_none() {
    in_fresh_thread(|| {
        let expected = Told {
            code: 0,
            flags: 0,
            op: String::new(),
            network: String::new(),
            syscall: String::new(),
            local: String::new(),
            remote: String::new(),
        };
        assert_eq!(told(), expected);
        assert_eq!(error_text(), "");
        let mut text = [b'x' as c_char; 4];
        // SAFETY: the buffer is as long as said.
        assert_eq!(unsafe { netfd_error_text(text.as_mut_ptr(), 4) }, 0);
        assert_eq!(text[0], 0);
    });
}

#[test]
fn success_leaves_the_last_error_alone() {
    assert_eq!(fail(), -libc::EINVAL);
    let (client, server) = tcp_pair();
    assert_eq!(write(client, b"!"), 1);
    assert_eq!(read_exactly(server, 1), b"!");
    assert_eq!(destroy(client), 0);
    assert_eq!(destroy(server), 0);
    assert_eq!(error_text(), "wait: invalid argument");
}

#[test]
fn asking_for_the_last_error_leaves_it_alone() {
    assert_eq!(fail(), -libc::EINVAL);
    let before = told();
    let mut small = last_error();
    small.size = 0;
    // SAFETY: the struct is there.
    assert_eq!(unsafe { netfd_last_error(&mut small) }, -libc::EINVAL);
    // SAFETY: NULL is answered.
    assert_eq!(unsafe { netfd_error_text(null_mut(), 9) }, -libc::EFAULT);
    assert_eq!(told(), before);
}

#[test]
fn errno_plays_no_part() {
    // SAFETY: it takes nothing.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: a thread's errno is there to be written.
    unsafe { *errno = 77 };
    assert_eq!(fail(), -libc::EINVAL);
    // SAFETY: likewise.
    assert_eq!(unsafe { *errno }, 77);
}

#[test]
fn a_text_is_cut_to_its_room_as_by_snprintf() {
    assert_eq!(fail(), -libc::EINVAL);
    let whole = "wait: invalid argument";
    for cap in [1, 2, whole.len(), whole.len() + 1, whole.len() + 5] {
        let mut text = [b'x' as c_char; 40];
        // SAFETY: the buffer is as long as said.
        let n = unsafe { netfd_error_text(text.as_mut_ptr(), cap) };
        assert_eq!(n as usize, whole.len());
        assert_eq!(c_text(&text), whole[..whole.len().min(cap - 1)]);
        assert!(text[cap..].iter().all(|c| *c == b'x' as c_char), "{cap}");
    }
    // SAFETY: NULL is allowed where there is no room.
    let code = unsafe { netfd_error_text(null_mut(), 0) } as usize;
    assert_eq!(code, whole.len());
}

const CODES: [(c_int, &str); 8] = [
    (NETFD_EDEADLINE, "i/o timeout"),
    (NETFD_ECLOSED, "use of closed network connection"),
    (NETFD_ECANCELED, "operation was canceled"),
    (NETFD_ENETWORK, "unknown network"),
    (NETFD_EADDRESS, "invalid address"),
    (NETFD_ENOHOST, "no such host"),
    (NETFD_EDNS, "name lookup failed"),
    (NETFD_EPANIC, "internal error (a bug in netfd)"),
];

#[test]
fn every_code_of_the_librarys_own_is_explained() {
    for (code, text) in CODES {
        assert_eq!(strerror(code), text);
    }
    let all: BTreeSet<&str> = CODES.into_iter().map(|(_, text)| text).collect();
    assert_eq!(all.len(), CODES.len(), "no two read the same");
}

#[test]
fn every_errno_is_explained_as_in_go() {
    for (errno, text) in [
        (libc::ECONNREFUSED, "connection refused"),
        (libc::EADDRINUSE, "address already in use"),
        (libc::EMFILE, "too many open files"),
        (libc::ECONNRESET, "connection reset by peer"),
        (libc::EPIPE, "broken pipe"),
        (libc::EAGAIN, "resource temporarily unavailable"),
    ] {
        assert_eq!(strerror(-errno), text);
    }
    let mut texts = BTreeSet::new();
    let known = (1..=133).filter(|errno| ![41, 58].contains(errno));
    for errno in known {
        let text = strerror(-errno);
        assert_ne!(text, "unknown error", "{errno}");
        assert!(texts.insert(text), "{errno} reads as another one");
    }
}

#[test]
fn no_number_is_without_a_text() {
    for code in [0, 1, c_int::MAX, c_int::MIN, -134, -9999, -10000, -10009] {
        assert!(!strerror(code).is_empty());
    }
    assert_eq!(strerror(0), "success");
    assert_eq!(strerror(c_int::MAX), "success");
}

#[test]
fn timeouts_of_the_kernel_have_the_timeout_flag() {
    let fd = socket(AF_INET, SOCK_DGRAM);
    let mut buf = [0u8; 1];
    let (to, len) = (buf.as_mut_ptr().cast(), 1);
    let dontwait = libc::MSG_DONTWAIT;
    // SAFETY: the buffer is as long as said.
    let code = unsafe { netfd_recvfrom(fd, to, len, dontwait, null_mut(), null_mut()) };
    assert_eq!(code, -(libc::EAGAIN as isize));
    assert_eq!(told().flags & NETFD_ERROR_TIMEOUT, NETFD_ERROR_TIMEOUT);
    assert_eq!(destroy(fd), 0);
}

/// The flags of an accept to which the kernel says `name`.
fn flags_of_accept(test: &str, name: &str, errno: c_int, flags: u32) {
    let inject = format!("inject=accept4:error={name}:when=1");
    let expected = format!("EXPECTED={errno} {flags}");
    let options = ["-E", &expected, "-e", "trace=accept4", "-e", &inject];
    alone_under_strace(test, &options, || {
        let (fd, _) = listener();
        let code = accept(fd);
        let flags = told().flags;
        let seen = format!("{} {flags}", -code);
        let expected = std::env::var("EXPECTED").expect("strace sets it");
        assert_eq!(seen, expected);
    });
}

#[test]
fn what_an_accept_loop_may_go_on_after_is_temporary() {
    let test = "what_an_accept_loop_may_go_on_after_is_temporary";
    for (name, errno) in [
        ("EMFILE", libc::EMFILE),
        ("ENFILE", libc::ENFILE),
        ("ENOBUFS", libc::ENOBUFS),
        ("ENOMEM", libc::ENOMEM),
        ("ECONNRESET", libc::ECONNRESET),
        ("EPROTO", libc::EPROTO),
        ("ENETDOWN", libc::ENETDOWN),
        ("ENOPROTOOPT", libc::ENOPROTOOPT),
        ("EHOSTDOWN", libc::EHOSTDOWN),
        ("ENONET", libc::ENONET),
        ("EHOSTUNREACH", libc::EHOSTUNREACH),
        ("ENETUNREACH", libc::ENETUNREACH),
        ("EPERM", libc::EPERM),
    ] {
        flags_of_accept(test, name, errno, NETFD_ERROR_TEMPORARY);
        if std::env::var_os("EXPECTED").is_some() {
            return;
        }
    }
}

#[test]
fn what_is_the_listeners_own_failure_is_not_temporary() {
    let test = "what_is_the_listeners_own_failure_is_not_temporary";
    for (name, errno) in [("EINVAL", libc::EINVAL), ("EFAULT", libc::EFAULT)] {
        flags_of_accept(test, name, errno, 0);
        if std::env::var_os("EXPECTED").is_some() {
            return;
        }
    }
    // An accept loop that goes on after these would go on for ever.
    let packets = socket(AF_INET, SOCK_DGRAM);
    assert_eq!(accept(packets), -libc::EOPNOTSUPP);
    assert_eq!(told().flags, 0);
    assert_eq!(destroy(packets), 0);
}

#[test]
fn an_accept_loop_does_not_go_on_after_closed_and_canceled() {
    let (fd, _) = listener();
    let token = Token::new();
    token.fire();
    token.set_on(fd);
    assert_eq!(accept(fd), NETFD_ECANCELED);
    assert_eq!(told().flags, NETFD_ERROR_CANCELED);
    let waiting = spawn(move || {
        // SAFETY: NULL is none.
        assert_eq!(unsafe { netfd_set_cancel(fd, null_mut()) }, 0);
        (accept(fd), told().flags)
    });
    await_parked(fd, 1);
    assert_eq!(destroy(fd), 0);
    assert_eq!(waiting.join(), (NETFD_ECLOSED, NETFD_ERROR_CLOSED));
    token.free();
}

/// A record with room behind it, all of it `fill`.
fn record(fill: u8) -> [u64; 50] {
    [u64::from_ne_bytes([fill; 8]); 50]
}

fn bytes_of(record: &[u64; 50]) -> Vec<u8> {
    record.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// netfd_last_error() into a record of which `size` bytes are said to exist.
fn fill_record(size: usize, fill: u8) -> (c_int, Vec<u8>) {
    let mut record = record(fill);
    record[0] = size as u64;
    // SAFETY: there are 400 bytes, and `size` is no more.
    let code = unsafe { netfd_last_error(record.as_mut_ptr().cast()) };
    (code, bytes_of(&record))
}

#[test]
fn a_record_of_size_0_is_einval() {
    assert_eq!(accept(-1), -libc::EBADF);
    let (code, bytes) = fill_record(0, 0xaa);
    assert_eq!(code, -libc::EINVAL);
    assert!(
        bytes[8..].iter().all(|byte| *byte == 0xaa),
        "it is untouched"
    );
}

#[test]
fn a_shorter_record_is_filled_as_far_as_it_goes_and_not_beyond() {
    assert_eq!(accept(-1), -libc::EBADF);
    let (_, whole) = fill_record(size_of::<netfd_error>(), 0);
    for size in [8, 12, 16, 17, 32, 63, 319] {
        let (code, bytes) = fill_record(size, 0xaa);
        assert_eq!(code, -libc::EBADF);
        assert_eq!(bytes[..8], (size as u64).to_ne_bytes());
        assert_eq!(bytes[8..size], whole[8..size], "{size}");
        assert!(bytes[size..].iter().all(|byte| *byte == 0xaa), "{size}");
    }
}

#[test]
fn a_longer_record_has_its_tail_zeroed() {
    assert_eq!(accept(-1), -libc::EBADF);
    let known = size_of::<netfd_error>();
    for size in [known + 1, known + 8, 400] {
        let (code, bytes) = fill_record(size, 0xaa);
        assert_eq!(code, -libc::EBADF);
        assert_eq!(bytes[..8], (size as u64).to_ne_bytes());
        assert!(bytes[known..size].iter().all(|byte| *byte == 0), "{size}");
        assert!(bytes[size..].iter().all(|byte| *byte == 0xaa), "{size}");
    }
}

#[test]
fn a_write_that_was_stopped_halfway_is_told_at_once() {
    let (client, server) = tcp_pair();
    let writing = spawn(move || {
        assert_eq!(fail(), -libc::EINVAL);
        let much = vec![b'x'; 32 << 20];
        let sent = write(client, &much);
        (sent, last_code(), told().op)
    });
    await_parked(client, 1);
    // SAFETY: no pointers.
    assert_eq!(unsafe { netfd_set_write_deadline(client, 1) }, 0);
    let (sent, code, op) = writing.join();
    assert!(sent > 0 && sent < 32 << 20, "{sent}");
    assert_eq!((code, op.as_str()), (NETFD_EDEADLINE, "write"));
    assert_eq!(destroy(client), 0);
    assert_eq!(destroy(server), 0);
}
