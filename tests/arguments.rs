//! Bad arguments: NULL where a pointer is needed gives -EFAULT, a negative or
//! unattached descriptor -EBADF, an out-of-range length or enum -EINVAL, never
//! a crash, and nothing is touched. The section "Errors" of the interface.

#![allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test says what it expects, and knows the sizes"
)]

mod common;

use common::*;
use libc::{AF_INET, AF_UNIX, SOCK_DGRAM, SOCK_STREAM, c_char, c_int, c_void, iovec, msghdr};
use libc::{sockaddr_storage, socklen_t};
use std::mem::zeroed;
use std::ptr::{null, null_mut};

const EBADF: isize = -(libc::EBADF as isize);
const EFAULT: isize = -(libc::EFAULT as isize);
const EINVAL: isize = -(libc::EINVAL as isize);

/// A length that no object has.
const TOO_LONG: usize = isize::MAX as usize + 1;

/// A sender and a receiver, both datagram sockets: no call on them parks for
/// lack of a turn, and a message is ready to be read.
fn ready_pair() -> (c_int, c_int) {
    let (one, two) = unix_pair(SOCK_DGRAM);
    assert_eq!(write(one, b"still there"), 11);
    (one, two)
}

/// That the message of `ready_pair` was not taken.
fn still_there(two: c_int) {
    let mut buf = [0; 20];
    assert_eq!(read(two, &mut buf), 11);
    assert_eq!(&buf[..11], b"still there");
}

/// Every function that takes a descriptor, called on one with good arguments
/// otherwise.
fn each_function_on(fd: c_int) -> Vec<(&'static str, isize)> {
    let at = Addr::parse("tcp", "127.0.0.1:9");
    let mut to = Addr::room();
    let mut buf = [0u8; 4];
    let data: *mut c_void = buf.as_mut_ptr().cast();
    let iov = iovec {
        iov_base: data,
        iov_len: 4,
    };
    // SAFETY: an all-zero msghdr is an empty one.
    let mut msg: msghdr = unsafe { zeroed() };
    msg.msg_iov = (&raw const iov).cast_mut();
    msg.msg_iovlen = 1;
    let mut batch = libc::mmsghdr {
        msg_hdr: msg,
        msg_len: 0,
    };
    let mut fds = [-1; 2];
    let mut nfds = 0;
    let (mut pid, mut uid, mut gid) = (0, 0, 0);
    let past = 1;
    // SAFETY, for each: the arguments are as long as said and live over the
    // call; the descriptor may be any number.
    vec![
        // SAFETY: as above.
        ("destroy", unsafe { netfd_destroy(fd) } as isize),
        // SAFETY: as above.
        ("detach", unsafe { netfd_detach(fd) } as isize),
        // SAFETY: as above.
        ("shutdown", unsafe { netfd_shutdown(fd, 0) } as isize),
        (
            "listen_stream",
            // SAFETY: as above.
            unsafe { netfd_listen_stream(fd, at.ptr(), at.len, 0) } as isize,
        ),
        (
            "accept",
            // SAFETY: as above.
            unsafe { netfd_accept(fd, null_mut(), null_mut()) } as isize,
        ),
        (
            "connect",
            // SAFETY: as above.
            unsafe { netfd_connect(fd, null(), 0, at.ptr(), at.len, past, no_token()) } as isize,
        ),
        // SAFETY: as above.
        ("read", unsafe { netfd_read(fd, data, 4) }),
        // SAFETY: as above.
        ("read of 0", unsafe { netfd_read(fd, data, 0) }),
        // SAFETY: as above.
        ("write", unsafe { netfd_write(fd, data, 4) }),
        // SAFETY: as above.
        ("write of 0", unsafe { netfd_write(fd, data, 0) }),
        // SAFETY: as above.
        ("readv", unsafe { netfd_readv(fd, &iov, 1) }),
        // SAFETY: as above.
        ("readv of 0", unsafe { netfd_readv(fd, null(), 0) }),
        // SAFETY: as above.
        ("writev", unsafe { netfd_writev(fd, &iov, 1) }),
        // SAFETY: as above.
        ("wait", unsafe { netfd_wait(fd, NETFD_READABLE, past) }
            as isize),
        // SAFETY: as above.
        ("recvfrom", unsafe {
            netfd_recvfrom(fd, data, 4, 0, null_mut(), null_mut())
        }),
        // SAFETY: as above.
        ("recvfrom, errors", unsafe {
            netfd_recvfrom(fd, data, 4, libc::MSG_ERRQUEUE, null_mut(), null_mut())
        }),
        // SAFETY: as above.
        ("sendto", unsafe { netfd_sendto(fd, data, 4, 0, null(), 0) }),
        // SAFETY: as above.
        ("recvmsg", unsafe { netfd_recvmsg(fd, &mut msg, 0) }),
        // SAFETY: as above.
        ("sendmsg", unsafe { netfd_sendmsg(fd, &msg, 0) }),
        // SAFETY: as above.
        ("recvmmsg", unsafe { netfd_recvmmsg(fd, &mut batch, 1, 0) }
            as isize),
        (
            "recvmmsg, errors",
            // SAFETY: as above.
            unsafe { netfd_recvmmsg(fd, &mut batch, 1, libc::MSG_ERRQUEUE) } as isize,
        ),
        (
            "recvmmsg of 0",
            // SAFETY: as above.
            unsafe { netfd_recvmmsg(fd, null_mut(), 0, 0) } as isize,
        ),
        // SAFETY: as above.
        ("sendmmsg", unsafe { netfd_sendmmsg(fd, &mut batch, 1, 0) }
            as isize),
        (
            "sendmmsg of 0",
            // SAFETY: as above.
            unsafe { netfd_sendmmsg(fd, null_mut(), 0, 0) } as isize,
        ),
        // SAFETY: as above.
        ("send_fds", unsafe {
            netfd_send_fds(fd, fds.as_ptr(), 0, data, 4)
        }),
        // SAFETY: as above.
        ("recv_fds", unsafe {
            netfd_recv_fds(fd, fds.as_mut_ptr(), 2, &mut nfds, data, 4)
        }),
        (
            "peer_cred",
            // SAFETY: as above.
            unsafe { netfd_peer_cred(fd, &mut pid, &mut uid, &mut gid) } as isize,
        ),
        // SAFETY: as above.
        ("set_deadline", unsafe { netfd_set_deadline(fd, 0) }
            as isize),
        (
            "set_read_deadline",
            // SAFETY: as above.
            unsafe { netfd_set_read_deadline(fd, 0) } as isize,
        ),
        (
            "set_write_deadline",
            // SAFETY: as above.
            unsafe { netfd_set_write_deadline(fd, 0) } as isize,
        ),
        // SAFETY: as above.
        ("set_cancel", unsafe { netfd_set_cancel(fd, no_token()) }
            as isize),
        (
            "local_addr",
            // SAFETY: as above.
            unsafe { netfd_local_addr(fd, to.ptr_mut(), &mut to.len) } as isize,
        ),
        (
            "remote_addr",
            // SAFETY: as above.
            unsafe { netfd_remote_addr(fd, to.ptr_mut(), &mut to.len) } as isize,
        ),
    ]
}

#[test]
fn a_negative_descriptor_is_ebadf_everywhere() {
    for fd in [-1, -2, c_int::MIN] {
        for (function, code) in each_function_on(fd) {
            assert_eq!(code, EBADF, "{function}({fd})");
        }
        // SAFETY: no pointers.
        assert_eq!(unsafe { netfd_attach(fd) }, -libc::EBADF);
    }
}

#[test]
fn a_descriptor_that_was_never_attached_is_ebadf_everywhere() {
    let mut pair = [-1; 2];
    // SAFETY: there is room for two.
    let made = unsafe { libc::socketpair(AF_UNIX, SOCK_STREAM, 0, pair.as_mut_ptr()) };
    assert_eq!(made, 0);
    // SAFETY: no pointers. A number that no test has used.
    let open = unsafe { libc::fcntl(pair[0], libc::F_DUPFD_CLOEXEC, 900) };
    assert!(open >= 900);
    for fd in [open, 901, 19_999, 1 << 20, c_int::MAX] {
        for (function, code) in each_function_on(fd) {
            assert_eq!(code, EBADF, "{function}({fd})");
        }
    }
    for fd in [open, pair[0], pair[1]] {
        // SAFETY: the descriptor is ours.
        assert_eq!(unsafe { libc::close(fd) }, 0, "nothing was closed");
    }
}

#[test]
fn a_detached_descriptor_is_ebadf_everywhere_and_stays_open() {
    let fd = socket(AF_INET, SOCK_STREAM);
    // SAFETY: no pointers. A number that no other test takes.
    let high = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 950) };
    // SAFETY: no pointers.
    assert_eq!(unsafe { netfd_attach(high) }, high);
    // SAFETY: no pointers.
    assert_eq!(unsafe { netfd_detach(high) }, high);
    for (function, code) in each_function_on(high) {
        assert_eq!(code, EBADF, "{function}");
    }
    // SAFETY: the descriptor is ours.
    assert_eq!(unsafe { libc::close(high) }, 0);
    assert_eq!(destroy(fd), 0);
}

#[test]
fn a_destroyed_descriptor_is_eclosed_everywhere() {
    let fd = socket(AF_INET, SOCK_STREAM);
    // SAFETY: no pointers. A number that no other test takes.
    let high = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 1000) };
    // SAFETY: no pointers.
    assert_eq!(unsafe { netfd_attach(high) }, high);
    assert_eq!(destroy(high), 0);
    for (function, code) in each_function_on(high) {
        assert_eq!(code, NETFD_ECLOSED as isize, "{function}");
    }
    assert_eq!(destroy(fd), 0);
}

#[test]
fn attach_wants_an_open_socket() {
    alone("attach_wants_an_open_socket", || {
        // SAFETY: no pointers.
        assert_eq!(unsafe { netfd_attach(19_998) }, -libc::EBADF);
        let file = std::fs::File::open("/proc/self/status").unwrap();
        let fd = std::os::fd::AsRawFd::as_raw_fd(&file);
        // SAFETY: no pointers.
        assert_eq!(unsafe { netfd_attach(fd) }, -libc::ENOTSOCK);
        // SAFETY: F_GETFL takes no third argument.
        let status = unsafe { libc::fcntl(fd, libc::F_GETFL) };
        assert_eq!(status & libc::O_NONBLOCK, 0, "it is untouched");
        // SAFETY: no pointers.
        assert_eq!(unsafe { netfd_set_deadline(fd, 0) }, -libc::EBADF);
    });
}

#[test]
fn a_buffer_that_is_null_is_efault_and_nothing_moves() {
    let (one, two) = ready_pair();
    let null_iov = iovec {
        iov_base: null_mut(),
        iov_len: 3,
    };
    // SAFETY: an all-zero msghdr is an empty one.
    let mut no_iov: msghdr = unsafe { zeroed() };
    no_iov.msg_iovlen = 1;
    let mut null_in_iov = no_iov;
    null_in_iov.msg_iov = (&raw const null_iov).cast_mut();
    let mut buf = [0u8; 4];
    let data: *mut c_void = buf.as_mut_ptr().cast();
    let good = iovec {
        iov_base: data,
        iov_len: 4,
    };
    let mut fine = no_iov;
    fine.msg_iov = (&raw const good).cast_mut();
    // What is amiss stands behind a header that is fine.
    let mut batches = [no_iov, null_in_iov].map(|bad| {
        [fine, bad].map(|msg_hdr| libc::mmsghdr {
            msg_hdr,
            msg_len: 7,
        })
    });
    let [no_buffers, no_base] = batches.each_mut().map(|two| two.as_mut_ptr());
    let mut nfds = 77;
    let results = [
        // SAFETY: NULL is answered.
        ("read", unsafe { netfd_read(two, null_mut(), 3) }),
        // SAFETY: NULL is answered.
        ("write", unsafe { netfd_write(one, null(), 3) }),
        // SAFETY: NULL is answered.
        ("readv", unsafe { netfd_readv(two, null(), 1) }),
        // SAFETY: NULL is answered.
        ("readv, base", unsafe { netfd_readv(two, &null_iov, 1) }),
        // SAFETY: NULL is answered.
        ("writev", unsafe { netfd_writev(one, null(), 1) }),
        // SAFETY: NULL is answered.
        ("writev, base", unsafe { netfd_writev(one, &null_iov, 1) }),
        // SAFETY: NULL is answered.
        ("recvfrom", unsafe {
            netfd_recvfrom(two, null_mut(), 3, 0, null_mut(), null_mut())
        }),
        // SAFETY: NULL is answered.
        ("recvfrom, length", unsafe {
            netfd_recvfrom(two, data, 3, 0, data.cast(), null_mut())
        }),
        // SAFETY: NULL is answered.
        ("sendto", unsafe {
            netfd_sendto(one, null(), 3, 0, null(), 0)
        }),
        // SAFETY: NULL is answered.
        ("recvmsg", unsafe { netfd_recvmsg(two, null_mut(), 0) }),
        // SAFETY: NULL is answered.
        ("recvmsg, buffers", unsafe {
            netfd_recvmsg(two, &mut no_iov, 0)
        }),
        // SAFETY: NULL is answered.
        ("recvmsg, base", unsafe {
            netfd_recvmsg(two, &mut null_in_iov, 0)
        }),
        // SAFETY: NULL is answered.
        ("sendmsg", unsafe { netfd_sendmsg(one, null(), 0) }),
        // SAFETY: NULL is answered.
        ("sendmsg, buffers", unsafe {
            netfd_sendmsg(one, &no_iov, 0)
        }),
        // SAFETY: NULL is answered.
        ("sendmsg, base", unsafe {
            netfd_sendmsg(one, &null_in_iov, 0)
        }),
        // SAFETY: NULL is answered.
        ("recvmmsg", unsafe { netfd_recvmmsg(two, null_mut(), 1, 0) }
            as isize),
        (
            "recvmmsg, buffers",
            // SAFETY: NULL is answered.
            unsafe { netfd_recvmmsg(two, no_buffers, 2, 0) } as isize,
        ),
        (
            "recvmmsg, base",
            // SAFETY: NULL is answered.
            unsafe { netfd_recvmmsg(two, no_base, 2, 0) } as isize,
        ),
        // SAFETY: NULL is answered.
        ("sendmmsg", unsafe { netfd_sendmmsg(one, null_mut(), 1, 0) }
            as isize),
        (
            "sendmmsg, buffers",
            // SAFETY: NULL is answered.
            unsafe { netfd_sendmmsg(one, no_buffers, 2, 0) } as isize,
        ),
        (
            "sendmmsg, base",
            // SAFETY: NULL is answered.
            unsafe { netfd_sendmmsg(one, no_base, 2, 0) } as isize,
        ),
        // SAFETY: NULL is answered.
        ("send_fds, fds", unsafe {
            netfd_send_fds(one, null(), 1, data, 3)
        }),
        // SAFETY: NULL is answered.
        ("send_fds, buf", unsafe {
            netfd_send_fds(one, &one, 1, null(), 3)
        }),
        // SAFETY: NULL is answered.
        ("recv_fds, fds", unsafe {
            netfd_recv_fds(two, null_mut(), 1, &mut nfds, data, 3)
        }),
        // SAFETY: NULL is answered.
        ("recv_fds, nfds", unsafe {
            netfd_recv_fds(two, null_mut(), 0, null_mut(), data, 3)
        }),
        // SAFETY: NULL is answered.
        ("recv_fds, buf", unsafe {
            netfd_recv_fds(two, null_mut(), 0, &mut nfds, null_mut(), 3)
        }),
    ];
    for (function, code) in results {
        assert_eq!(code, EFAULT, "{function}");
    }
    assert_eq!((buf, nfds), ([0; 4], 77));
    assert!(batches.iter().flatten().all(|header| header.msg_len == 7));
    still_there(two);
    assert_eq!(destroy(one), 0);
    assert_eq!(destroy(two), 0);
}

#[test]
fn an_address_that_is_null_is_efault() {
    let fd = socket(AF_INET, SOCK_DGRAM);
    let mut at = Addr::room();
    let (sa, len) = (at.ptr_mut(), &raw mut at.len);
    let tcp = c"tcp".as_ptr();
    let text = c"1.2.3.4:5".as_ptr();
    let mut buf = [0 as c_char; 4];
    let good = Addr::parse("tcp", "1.2.3.4:5");
    let room = (&raw mut at.storage, len);
    let results = [
        // SAFETY: NULL is answered.
        ("connect", unsafe {
            netfd_connect(fd, null(), 0, null(), 16, 0, no_token())
        }),
        // SAFETY: NULL is answered.
        ("local_addr, sa", unsafe {
            netfd_local_addr(fd, null_mut(), len)
        }),
        // SAFETY: NULL is answered.
        ("local_addr, len", unsafe {
            netfd_local_addr(fd, sa, null_mut())
        }),
        // SAFETY: NULL is answered.
        ("remote_addr, sa", unsafe {
            netfd_remote_addr(fd, null_mut(), len)
        }),
        // SAFETY: NULL is answered.
        ("remote_addr, len", unsafe {
            netfd_remote_addr(fd, sa, null_mut())
        }),
        // SAFETY: NULL is answered.
        ("addr_format, sa", unsafe {
            netfd_addr_format(null(), 16, buf.as_mut_ptr(), 4)
        }),
        // SAFETY: NULL is answered.
        ("addr_format, buf", unsafe {
            netfd_addr_format(good.ptr(), good.len, null_mut(), 4)
        }),
        // SAFETY: NULL is answered.
        ("addr_parse, network", unsafe {
            netfd_addr_parse(null(), text, room.0, room.1)
        }),
        // SAFETY: NULL is answered.
        ("addr_parse, address", unsafe {
            netfd_addr_parse(tcp, null(), room.0, room.1)
        }),
        // SAFETY: NULL is answered.
        ("addr_parse, sa", unsafe {
            netfd_addr_parse(tcp, text, null_mut(), room.1)
        }),
        // SAFETY: NULL is answered.
        ("addr_parse, len", unsafe {
            netfd_addr_parse(tcp, text, room.0, null_mut())
        }),
        // SAFETY: NULL is answered.
        ("stats", unsafe { netfd_stats(null_mut()) }),
        // SAFETY: NULL is answered.
        ("error_text", unsafe { netfd_error_text(null_mut(), 1) }),
    ];
    for (function, code) in results {
        assert_eq!(code as isize, EFAULT, "{function}");
    }
    assert_eq!(at.len, Addr::room().len);
    assert_eq!(at.storage.ss_family, 0);
    assert_eq!(destroy(fd), 0);
}

#[test]
fn null_where_nothing_is_needed_is_fine() {
    // SAFETY: NULL is allowed.
    unsafe { netfd_cancel_fire(null_mut()) };
    // SAFETY: NULL is allowed.
    unsafe { netfd_cancel_free(null_mut()) };
    // SAFETY: NULL is allowed.
    assert_eq!(unsafe { netfd_cancel_fired(null()) }, 0);
    let (one, two) = unix_pair(SOCK_STREAM);
    // SAFETY: NULL is allowed.
    let code = unsafe { netfd_peer_cred(one, null_mut(), null_mut(), null_mut()) };
    assert_eq!(code, 0);
    // SAFETY: NULL is allowed for nothing.
    assert_eq!(unsafe { netfd_read(one, null_mut(), 0) }, 0);
    // SAFETY: NULL is allowed for nothing.
    assert_eq!(unsafe { netfd_write(one, null(), 0) }, 0);
    // SAFETY: NULL is allowed for nothing.
    assert_eq!(unsafe { netfd_readv(one, null(), 0) }, 0);
    // SAFETY: NULL is allowed for nothing.
    assert_eq!(unsafe { netfd_writev(one, null(), 0) }, 0);
    assert_eq!(destroy(one), 0);
    assert_eq!(destroy(two), 0);
}

#[test]
fn a_length_over_ssize_max_is_einval_in_every_call() {
    let (one, two) = ready_pair();
    let mut buf = [0u8; 4];
    let data: *mut c_void = buf.as_mut_ptr().cast();
    let half = iovec {
        iov_base: data,
        iov_len: TOO_LONG / 2,
    };
    let over = [half; 2];
    let wraps = [iovec {
        iov_base: data,
        iov_len: usize::MAX / 2 + 1,
    }; 2];
    // SAFETY: an all-zero msghdr is an empty one.
    let mut msg: msghdr = unsafe { zeroed() };
    msg.msg_iov = over.as_ptr().cast_mut();
    msg.msg_iovlen = 2;
    let mut nfds = 0;
    for len in [TOO_LONG, usize::MAX] {
        let results = [
            // SAFETY: the length is refused.
            ("read", unsafe { netfd_read(two, data, len) }),
            // SAFETY: the length is refused.
            ("write", unsafe { netfd_write(one, data, len) }),
            // SAFETY: the length is refused.
            ("recvfrom", unsafe {
                netfd_recvfrom(two, data, len, 0, null_mut(), null_mut())
            }),
            // SAFETY: the length is refused.
            ("sendto", unsafe {
                netfd_sendto(one, data, len, 0, null(), 0)
            }),
            // SAFETY: the length is refused.
            ("send_fds", unsafe {
                netfd_send_fds(one, null(), 0, data, len)
            }),
            // SAFETY: the length is refused.
            ("recv_fds", unsafe {
                netfd_recv_fds(two, null_mut(), 0, &mut nfds, data, len)
            }),
        ];
        for (function, code) in results {
            assert_eq!(code, EINVAL, "{function}");
        }
    }
    for iov in [over, wraps] {
        let iov = iov.as_ptr();
        // SAFETY: the lengths are refused.
        assert_eq!(unsafe { netfd_readv(two, iov, 2) }, EINVAL);
        // SAFETY: the lengths are refused.
        assert_eq!(unsafe { netfd_writev(one, iov, 2) }, EINVAL);
    }
    // SAFETY: the lengths are refused.
    assert_eq!(unsafe { netfd_recvmsg(two, &mut msg, 0) }, EINVAL);
    // SAFETY: the lengths are refused.
    assert_eq!(unsafe { netfd_sendmsg(one, &msg, 0) }, EINVAL);
    let mut batch = libc::mmsghdr {
        msg_hdr: msg,
        msg_len: 0,
    };
    // SAFETY: the lengths are refused.
    let code = unsafe { netfd_recvmmsg(two, &mut batch, 1, 0) };
    assert_eq!(code as isize, EINVAL);
    // SAFETY: the lengths are refused.
    let code = unsafe { netfd_sendmmsg(one, &mut batch, 1, 0) };
    assert_eq!(code as isize, EINVAL);
    still_there(two);
    assert_eq!(destroy(one), 0);
    assert_eq!(destroy(two), 0);
}

#[test]
fn a_count_out_of_range_is_einval_or_emsgsize() {
    let (one, two) = ready_pair();
    let mut buf = [0u8; 1];
    let data: *mut c_void = buf.as_mut_ptr().cast();
    let one_byte = iovec {
        iov_base: data,
        iov_len: 1,
    };
    let many = vec![one_byte; 1025];
    for count in [-1, c_int::MIN] {
        // SAFETY: the count is refused.
        assert_eq!(unsafe { netfd_readv(two, &one_byte, count) }, EINVAL);
        // SAFETY: the count is refused.
        assert_eq!(unsafe { netfd_writev(one, &one_byte, count) }, EINVAL);
    }
    let too_many = -(libc::EMSGSIZE as isize);
    // SAFETY: there are as many as said.
    assert_eq!(unsafe { netfd_writev(one, many.as_ptr(), 1025) }, too_many);
    // SAFETY: there are as many as said.
    assert_eq!(unsafe { netfd_readv(two, many.as_ptr(), 1025) }, too_many);
    // SAFETY: an all-zero mmsghdr is an empty one.
    let mut header: libc::mmsghdr = unsafe { zeroed() };
    for count in [1 << 31, u32::MAX] {
        // SAFETY: the count is refused.
        let code = unsafe { netfd_recvmmsg(two, &mut header, count, 0) };
        assert_eq!(code as isize, EINVAL);
        // SAFETY: the count is refused.
        let code = unsafe { netfd_sendmmsg(one, &mut header, count, 0) };
        assert_eq!(code as isize, EINVAL);
    }
    let fds = [one; 254];
    // SAFETY: there are as many as said.
    let code = unsafe { netfd_send_fds(one, fds.as_ptr(), 254, data, 1) };
    assert_eq!(code, EINVAL);
    let mut nfds = 0;
    let room = fds.as_ptr().cast_mut();
    // SAFETY: the count is refused.
    let code = unsafe { netfd_recv_fds(two, room, usize::MAX, &mut nfds, data, 1) };
    assert_eq!(code, EINVAL);
    still_there(two);
    assert_eq!(destroy(one), 0);
    assert_eq!(destroy(two), 0);
}

#[test]
fn the_length_of_an_address_out_of_range_is_einval_and_nothing_is_done() {
    let fd = socket(AF_INET, SOCK_STREAM);
    let datagrams = socket(AF_INET, SOCK_DGRAM);
    let at = Addr::parse("tcp", "127.0.0.1:9");
    let data: *const c_void = c"x".as_ptr().cast();
    let mut buf = [0 as c_char; 4];
    for len in [0, 1, 129, socklen_t::MAX] {
        let results = [
            (
                "listen_stream",
                // SAFETY: the length is refused.
                unsafe { netfd_listen_stream(fd, at.ptr(), len, 0) } as isize,
            ),
            (
                "connect",
                // SAFETY: the length is refused.
                unsafe { netfd_connect(fd, null(), 0, at.ptr(), len, 0, no_token()) } as isize,
            ),
            // SAFETY: the length is refused.
            ("connect, local", unsafe {
                netfd_connect(fd, at.ptr(), len, at.ptr(), at.len, 0, no_token())
            } as isize),
            // SAFETY: the length is refused.
            ("sendto", unsafe {
                netfd_sendto(datagrams, data, 1, 0, at.ptr(), len)
            }),
            (
                "addr_format",
                // SAFETY: the length is refused.
                unsafe { netfd_addr_format(at.ptr(), len, buf.as_mut_ptr(), 4) } as isize,
            ),
        ];
        for (function, code) in results {
            assert_eq!(code, EINVAL, "{function} with {len}");
        }
    }
    assert_eq!(buf, [0; 4]);
    assert_eq!(local_addr(fd).port(), 0);
    assert_eq!(destroy(fd), 0);
    assert_eq!(destroy(datagrams), 0);
}

#[test]
fn an_enum_out_of_range_is_einval() {
    let (one, two) = unix_pair(SOCK_STREAM);
    for events in [0, 4, NETFD_READABLE | 4, -1, c_int::MIN] {
        // SAFETY: no pointers.
        assert_eq!(unsafe { netfd_wait(one, events, 1) }, -libc::EINVAL);
    }
    for how in [-1, 3, c_int::MAX] {
        // SAFETY: no pointers.
        assert_eq!(unsafe { netfd_shutdown(one, how) }, -libc::EINVAL);
    }
    for on in [-1, 2, c_int::MAX] {
        // SAFETY: no pointers.
        assert_eq!(unsafe { netfd_set_interruptible(on) }, -libc::EINVAL);
    }
    assert_eq!(write(one, b"!"), 1);
    assert_eq!(read_exactly(two, 1), b"!");
    assert_eq!(destroy(one), 0);
    assert_eq!(destroy(two), 0);
}

#[test]
fn a_struct_of_size_0_is_einval() {
    let mut stats = netfd_stats::default();
    // SAFETY: the struct is there.
    assert_eq!(unsafe { netfd_stats(&mut stats) }, -libc::EINVAL);
    let mut error = last_error();
    error.size = 0;
    // SAFETY: the struct is there.
    assert_eq!(unsafe { netfd_last_error(&mut error) }, -libc::EINVAL);
}

#[test]
fn unix_calls_on_other_families_are_eopnotsupp() {
    let (client, server) = tcp_pair();
    let data: *mut c_void = [0u8; 1].as_mut_ptr().cast();
    let mut nfds = 77;
    let mut pid = 77;
    let unsupported = -(libc::EOPNOTSUPP as isize);
    // SAFETY: the arguments are as long as said.
    let sent = unsafe { netfd_send_fds(client, &client, 1, data, 1) };
    assert_eq!(sent, unsupported);
    // SAFETY: the arguments are as long as said.
    let got = unsafe { netfd_recv_fds(client, null_mut(), 0, &mut nfds, data, 1) };
    assert_eq!(got, unsupported);
    // SAFETY: the arguments are as long as said.
    let told = unsafe { netfd_peer_cred(client, &mut pid, null_mut(), null_mut()) };
    assert_eq!(told as isize, unsupported);
    assert_eq!((nfds, pid), (77, 77));
    assert_eq!(destroy(client), 0);
    assert_eq!(destroy(server), 0);
}

#[test]
fn outputs_are_left_alone_by_a_call_that_fails() {
    let fd = socket(AF_INET, SOCK_DGRAM);
    let mut peer = Addr::room();
    peer.len = 100;
    let sa = peer.ptr_mut();
    // SAFETY: the room is as long as said.
    let code = unsafe { netfd_remote_addr(fd, sa, &mut peer.len) };
    assert_eq!(code, -libc::ENOTCONN);
    // SAFETY: the room is as long as said.
    let code = unsafe { netfd_accept(fd, sa, &mut peer.len) };
    assert_eq!(code, -libc::EOPNOTSUPP);
    let mut buf = *b"kept";
    let data: *mut c_void = buf.as_mut_ptr().cast();
    let dontwait = libc::MSG_DONTWAIT;
    // SAFETY: the buffers are as long as said.
    let code = unsafe { netfd_recvfrom(fd, data, 4, dontwait, sa, &mut peer.len) };
    assert_eq!(code, -(libc::EAGAIN as isize));
    let bad = c"nowhere:x";
    let storage: *mut sockaddr_storage = sa.cast();
    // SAFETY: the room is as long as said.
    let code = unsafe { netfd_addr_parse(c"tcp".as_ptr(), bad.as_ptr(), storage, &mut peer.len) };
    assert_eq!(code, NETFD_EADDRESS);
    assert_eq!((peer.len, peer.storage.ss_family, &buf), (100, 0, b"kept"));
    assert_eq!(destroy(fd), 0);
}

#[test]
fn a_dump_to_a_bad_descriptor_is_ebadf_though_nothing_is_attached() {
    let test = "a_dump_to_a_bad_descriptor_is_ebadf_though_nothing_is_attached";
    alone(test, || {
        for fd in [-1, 19_997] {
            // SAFETY: no pointers.
            assert_eq!(unsafe { netfd_dump(fd) }, -libc::EBADF, "{fd}");
        }
    });
}

#[test]
fn every_family_type_and_protocol_of_sys_socket_gets_an_answer() {
    for family in [c_int::MIN, -1, 0, 46, 255, c_int::MAX] {
        for sotype in [c_int::MIN, -1, 0, 15, 0x7fff] {
            // SAFETY: no pointers.
            let code = unsafe { netfd_sys_socket(family, sotype, -1) };
            assert!((-4095..0).contains(&code), "{family} {sotype}: {code}");
        }
    }
}
