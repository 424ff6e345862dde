//! Socket addresses from outside: any bytes, of any length, where a call takes
//! one; and any room, where a call gives one. What the kernel says of the same
//! bytes is what the library says.
#![no_main]

use common::*;
use libc::{c_int, sockaddr, socklen_t};
use libfuzzer_sys::fuzz_target;
use std::mem::zeroed;
use std::ptr;

const KINDS: [(c_int, c_int); 8] = [
    (libc::AF_INET, libc::SOCK_STREAM),
    (libc::AF_INET6, libc::SOCK_STREAM),
    (libc::AF_UNIX, libc::SOCK_STREAM),
    (libc::AF_UNIX, libc::SOCK_SEQPACKET),
    (libc::AF_INET, libc::SOCK_DGRAM),
    (libc::AF_INET6, libc::SOCK_DGRAM),
    (libc::AF_UNIX, libc::SOCK_DGRAM),
    (libc::AF_NETLINK, libc::SOCK_DGRAM),
];

/// An address of so many bytes. Where that is more than any address has, it is
/// not to be looked at, and there are fewer.
struct Address {
    bytes: Box<[u8]>,
    len: socklen_t,
    is_null: bool,
}

impl Address {
    fn from(input: &mut Bytes<'_>, family: c_int) -> Self {
        let form = input.byte();
        let len = usize::from(input.byte());
        let mut bytes = input.take(len.min(160)).to_vec();
        if form & 1 != 0
            && let Some(start) = bytes.first_chunk_mut()
        {
            *start = (family as u16).to_ne_bytes();
        }
        tame(&mut bytes);
        let len = match form >> 6 {
            3 if bytes.len() < 64 => socklen_t::MAX - form as socklen_t,
            _ => bytes.len() as socklen_t,
        };
        Self {
            bytes: bytes.into(),
            len,
            is_null: form & 0x30 == 0x30,
        }
    }

    fn ptr(&self) -> *const sockaddr {
        if self.is_null {
            return ptr::null();
        }
        self.bytes.as_ptr().cast()
    }

    /// Whether the kernel may be given it.
    fn is_sound(&self) -> bool {
        !self.is_null
            && self.len > 0
            && self.len as usize == self.bytes.len()
            && self.bytes.len() <= 128
    }
}

/// A socket for the kernel to be asked with.
fn twin(family: c_int, sotype: c_int) -> c_int {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: no pointers.
    unsafe { libc::socket(family, sotype | flags, 0) }
}

fn close(fd: c_int) {
    // SAFETY: it is ours.
    assert_eq!(unsafe { libc::close(fd) }, 0);
}

/// What a call of the kernel's says, as the library says it.
fn said(result: isize) -> i64 {
    match result {
        -1 => -i64::from(std::io::Error::last_os_error().raw_os_error().unwrap_or(0)),
        n => n as i64,
    }
}

fn connects(fd: c_int, local: &Address, remote: &Address) {
    // SAFETY: each is NULL or as long as said, or longer than any may be.
    let code = unsafe {
        let (from, to) = (local.ptr(), remote.ptr());
        netfd_connect(
            fd,
            from,
            local.len,
            to,
            remote.len,
            soon(300),
            ptr::null_mut(),
        )
    };
    done(code);
    if code == 0 {
        gives_no_more_than_there_is_room(fd, remote.len);
    }
}

/// The address of a socket, into as much room as there is.
fn gives_no_more_than_there_is_room(fd: c_int, room: socklen_t) {
    for of in [netfd_local_addr, netfd_remote_addr] {
        let mut out = vec![0xaa_u8; room.min(200) as usize].into_boxed_slice();
        let mut len = out.len() as socklen_t;
        // SAFETY: the room is as long as said.
        let code = unsafe { of(fd, out.as_mut_ptr().cast(), &mut len) };
        done(code);
        assert!(code != 0 || len <= 128);
    }
}

/// sendto of the library and of the kernel, by two sockets alike.
fn sends((family, sotype): (c_int, c_int), fd: c_int, to: &Address, by_msg: bool) {
    let body = b"x";
    let mut iov = libc::iovec {
        iov_base: body.as_ptr().cast_mut().cast(),
        iov_len: 1,
    };
    // SAFETY: an all-zero header is one to be filled in.
    let mut msg: libc::msghdr = unsafe { zeroed() };
    msg.msg_name = to.ptr().cast_mut().cast();
    msg.msg_namelen = to.len;
    msg.msg_iov = &mut iov;
    msg.msg_iovlen = 1;
    // SAFETY: no pointers.
    unsafe { netfd_set_deadline(fd, soon(10_000_000)) }; // none of them parks
    // SAFETY: the address is NULL or as long as said, or longer than any.
    let ours = unsafe {
        if by_msg {
            netfd_sendmsg(fd, &msg, 0)
        } else {
            netfd_sendto(fd, body.as_ptr().cast(), 1, 0, to.ptr(), to.len)
        }
    } as i64;
    documented(ours, 1);
    if !to.is_sound() || sotype != libc::SOCK_DGRAM || family == libc::AF_NETLINK {
        return;
    }
    let twin = twin(family, sotype);
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the address is as long as said.
    let theirs =
        said(unsafe { libc::sendto(twin, body.as_ptr().cast(), 1, flags, to.ptr(), to.len) });
    close(twin);
    if theirs != -i64::from(libc::EAGAIN) {
        assert_eq!(ours, theirs, "sendto(2) of {:?}", to.bytes);
    }
}

/// bind(2) and listen(2) of the library and of the kernel.
fn listens((family, sotype): (c_int, c_int), fd: c_int, at: &Address) {
    // SAFETY: the address is NULL or as long as said, or longer than any.
    let ours = unsafe { netfd_listen_stream(fd, at.ptr(), at.len, 1) };
    done(ours);
    if ours == 0 {
        gives_no_more_than_there_is_room(fd, at.len);
    }
    // SAFETY: it is ours.
    assert_eq!(unsafe { netfd_destroy(fd) }, 0);
    tidy();
    if !at.is_sound() || sotype == libc::SOCK_DGRAM {
        return;
    }
    let (twin, on) = (twin(family, sotype), 1 as c_int);
    // SAFETY: the option and the address are as long as said.
    let theirs = unsafe {
        libc::setsockopt(
            twin,
            libc::SOL_SOCKET,
            libc::SO_REUSEADDR,
            (&raw const on).cast(),
            4,
        );
        match said(libc::bind(twin, at.ptr(), at.len) as isize) {
            0 => said(libc::listen(twin, 1) as isize),
            error => error,
        }
    };
    close(twin);
    tidy();
    assert_eq!(i64::from(ours), theirs, "bind(2) of {:?}", at.bytes);
}

fuzz_target!(init: alone(), |data: &[u8]| {
    let before = Count::now();
    let mut input = Bytes(data);
    let kind = input.byte();
    let (family, sotype) = KINDS[usize::from(kind & 7)];
    // SAFETY: no pointers.
    let fd = unsafe { netfd_sys_socket(family, sotype, 0) };
    assert!(fd >= 0, "{fd}");
    let one = Address::from(&mut input, family);
    let two = Address::from(&mut input, family);
    match kind >> 3 & 3 {
        0 => connects(fd, &one, &two),
        1 => listens((family, sotype), fd, &one),
        2 => sends((family, sotype), fd, &one, kind & 0x20 != 0),
        _ => {
            let mut text = vec![0; usize::from(input.byte())].into_boxed_slice();
            // SAFETY: all are as long as said, the address is as above.
            let n = unsafe {
                netfd_addr_format(one.ptr(), one.len, text.as_mut_ptr().cast(), text.len())
            };
            documented(i64::from(n), 127);
            // A server that tells an address of any length to little room.
            gives_no_more_than_there_is_room(fd, two.len);
        }
    }
    // SAFETY: no pointers; where it is gone, it is told so.
    let code = unsafe { netfd_destroy(fd) };
    assert!(code == 0 || code == ECLOSED);
    tidy();
    before.has_settled();
});
