//! netfd_sys_socket: Go's `sysSocket` (net/sock_cloexec.go) and socket(2).

#![allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test says what it expects, and knows the sizes"
)]

mod common;

use common::*;
use libc::{AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_UNIX, AF_VSOCK, c_int};
use libc::{SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK, SOCK_RAW, SOCK_SEQPACKET, SOCK_STREAM};

const IPPROTO_MPTCP: c_int = 262;

fn sys_socket(family: c_int, sotype: c_int, proto: c_int) -> c_int {
    // SAFETY: no pointers.
    unsafe { netfd_sys_socket(family, sotype, proto) }
}

/// What socket(2) says: 0 or -errno.
fn kernel_says(family: c_int, sotype: c_int, proto: c_int) -> c_int {
    // SAFETY: no pointers.
    let fd = unsafe { libc::socket(family, sotype | SOCK_CLOEXEC, proto) };
    if fd < 0 {
        return -std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
    }
    // SAFETY: the descriptor is ours.
    assert_eq!(unsafe { libc::close(fd) }, 0);
    0
}

#[test]
fn a_socket_is_non_blocking_and_close_on_exec() {
    for sotype in [SOCK_STREAM, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC] {
        let fd = sys_socket(AF_INET, sotype, 0);
        assert_eq!(flags(fd), (true, true));
        assert_eq!(destroy(fd), 0);
    }
}

#[test]
fn a_socket_is_so_from_birth_by_one_system_call() {
    let test = "a_socket_is_so_from_birth_by_one_system_call";
    let trace = alone_under_strace(test, &["-e", "trace=socket,fcntl,ioctl"], || {
        assert!(sys_socket(AF_INET, SOCK_STREAM, 0) >= 0);
        assert!(sys_socket(AF_UNIX, SOCK_SEQPACKET, 0) >= 0);
    });
    let Some(trace) = trace else { return };
    let made: Vec<&str> = trace.lines().filter(|l| l.contains("socket(AF_")).collect();
    assert_eq!(made.len(), 2, "{trace}");
    for line in &made {
        assert!(line.contains("SOCK_CLOEXEC|SOCK_NONBLOCK"), "{line}");
    }
    let first = trace.find(made[0]).unwrap();
    assert!(!trace[first..].contains("fcntl("), "{trace}");
    assert!(!trace[first..].contains("ioctl("), "{trace}");
}

#[test]
fn every_family_and_type_that_the_kernel_has_is_made_and_else_its_error_told() {
    for family in [AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_VSOCK] {
        for sotype in [SOCK_STREAM, SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET, 6, 9] {
            let fd = sys_socket(family, sotype, 0);
            let expected = kernel_says(family, sotype, 0);
            assert_eq!(fd.min(0), expected, "{family} {sotype}");
            if fd >= 0 {
                assert_eq!(option(fd, libc::SOL_SOCKET, libc::SO_DOMAIN), family);
                let made = option(fd, libc::SOL_SOCKET, libc::SO_TYPE);
                // The kernel makes a raw unix socket one of datagrams.
                assert!(made == sotype || (family, sotype) == (AF_UNIX, SOCK_RAW));
                assert_eq!(flags(fd), (true, true));
                assert_eq!(destroy(fd), 0);
            }
        }
    }
}

#[test]
fn a_protocol_of_the_family_is_passed_on() {
    let asked = [
        (SOCK_STREAM, libc::IPPROTO_TCP),
        (SOCK_DGRAM, libc::IPPROTO_UDP),
        (SOCK_STREAM, IPPROTO_MPTCP),
        (SOCK_RAW, libc::IPPROTO_ICMP),
    ];
    for (sotype, proto) in asked {
        let fd = sys_socket(AF_INET, sotype, proto);
        assert_eq!(fd.min(0), kernel_says(AF_INET, sotype, proto), "{proto}");
        if fd >= 0 {
            assert_eq!(option(fd, libc::SOL_SOCKET, libc::SO_PROTOCOL), proto);
            assert_eq!(destroy(fd), 0);
        }
    }
}

#[test]
fn what_the_kernel_refuses_is_its_errno_negated() {
    let refused = [
        (255, SOCK_STREAM, 0, libc::EAFNOSUPPORT),
        (-1, SOCK_STREAM, 0, libc::EAFNOSUPPORT),
        (AF_INET, 15, 0, libc::EINVAL),
        (AF_INET, -1, 0, libc::EINVAL),
        (AF_INET, SOCK_SEQPACKET, 0, libc::ESOCKTNOSUPPORT),
        (
            AF_INET,
            SOCK_STREAM,
            libc::IPPROTO_UDP,
            libc::EPROTONOSUPPORT,
        ),
        (AF_UNIX, SOCK_STREAM, 77, libc::EPROTONOSUPPORT),
    ];
    for (family, sotype, proto, errno) in refused {
        let code = sys_socket(family, sotype, proto);
        assert_eq!(code, -errno, "{family} {sotype} {proto}");
        assert_eq!(c_text(&last_error().syscall), "socket");
    }
}

#[test]
fn without_a_descriptor_left_it_says_emfile_and_works_again_later() {
    let test = "without_a_descriptor_left_it_says_emfile_and_works_again_later";
    alone(test, || {
        let before = limit_fds(32);
        let all = use_up_fds();
        assert_eq!(sys_socket(AF_INET, SOCK_STREAM, 0), -libc::EMFILE);
        assert_eq!(error_text(), "socket tcp: socket: too many open files");
        drop(all);
        let fds = open_fds();
        let fd = sys_socket(AF_INET, SOCK_STREAM, 0);
        assert!(fd >= 0);
        assert_eq!(destroy(fd), 0);
        assert_eq!(open_fds(), fds);
        limit_fds(before);
    });
}

#[test]
fn without_memory_in_the_kernel_it_says_enomem_or_enobufs() {
    for (name, errno) in [("ENOMEM", libc::ENOMEM), ("ENOBUFS", libc::ENOBUFS)] {
        let test = "without_memory_in_the_kernel_it_says_enomem_or_enobufs";
        let inject = format!("inject=socket:error={name}:when=1");
        let vars = ["-E", &format!("EXPECTED={errno}"), "-e", &inject];
        alone_under_strace(test, &vars, || {
            let expected: c_int = std::env::var("EXPECTED").unwrap().parse().unwrap();
            assert_eq!(sys_socket(AF_INET, SOCK_STREAM, 0), -expected);
        });
        if std::env::var_os("EXPECTED").is_some() {
            return;
        }
    }
}

#[test]
fn a_number_that_comes_again_remembers_nothing_of_the_one_before() {
    let test = "a_number_that_comes_again_remembers_nothing_of_the_one_before";
    alone(test, || {
        let token = Token::new();
        let (first, _) = listener();
        token.set_on(first);
        // SAFETY: no pointers.
        assert_eq!(unsafe { netfd_set_deadline(first, 1) }, 0);
        token.fire();
        assert_eq!(accept(first), NETFD_ECANCELED);
        assert_eq!(destroy(first), 0);
        let second = socket(AF_INET, SOCK_DGRAM);
        assert_eq!(second, first);
        // SAFETY: no pointers.
        let ready = unsafe { netfd_wait(second, NETFD_WRITABLE, after(SECOND)) };
        assert_eq!(ready, NETFD_WRITABLE);
        let to = Addr::parse("udp", "127.0.0.1:9");
        assert_eq!(connect(second, &to), 0);
        assert_eq!(write(second, b"x"), 1);
        assert_eq!(destroy(second), 0);
        token.free();
    });
}

#[test]
fn a_socket_is_attached() {
    let fd = socket(AF_INET6, SOCK_STREAM);
    // SAFETY: no pointers.
    assert_eq!(unsafe { netfd_set_deadline(fd, 0) }, 0);
    // SAFETY: no pointers.
    assert_eq!(unsafe { netfd_detach(fd) }, fd);
    // SAFETY: no pointers.
    assert_eq!(unsafe { netfd_set_deadline(fd, 0) }, -libc::EBADF);
    // SAFETY: the descriptor is ours again.
    assert_eq!(unsafe { libc::close(fd) }, 0);
}
