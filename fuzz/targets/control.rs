//! Control messages: any bytes sent as such, into any room, by each call that
//! takes or gives them; and descriptors that come and go, each of which is
//! somebody's at the end.
#![no_main]

use common::*;
use libc::{c_int, c_void, iovec, mmsghdr, msghdr};
use libfuzzer_sys::fuzz_target;
use std::mem::zeroed;

const TYPES: [c_int; 3] = [libc::SOCK_STREAM, libc::SOCK_DGRAM, libc::SOCK_SEQPACKET];

/// Control messages of the input: raw, or of a form, which the kernel would
/// look at, with such descriptors as there are.
fn control(input: &mut Bytes<'_>, some: &[c_int]) -> Vec<u8> {
    let form = input.byte();
    let len = usize::from(input.byte());
    if form & 1 == 0 {
        return input.take(len).to_vec();
    }
    let mut all = Vec::new();
    for _ in 0..form >> 1 & 3 {
        let (level, kind) = match input.byte() & 3 {
            0 => (input.int(), input.int()),
            1 => (libc::SOL_SOCKET, libc::SCM_CREDENTIALS),
            _ => (libc::SOL_SOCKET, libc::SCM_RIGHTS),
        };
        let count = usize::from(input.byte()) % 8;
        let mut body = Vec::new();
        for _ in 0..count {
            let which = input.byte();
            // One of ours; now and then one that is not open, or the like.
            let fd = match which {
                0..240 => some[usize::from(which) % some.len()],
                _ => c_int::from(which) * 1000 - 245_000,
            };
            body.extend(fd.to_ne_bytes());
        }
        let wrong = usize::from(input.byte());
        let said = 16 + body.len() + if wrong > 250 { wrong } else { 0 };
        all.extend((said).to_ne_bytes());
        all.extend(level.to_ne_bytes());
        all.extend(kind.to_ne_bytes());
        all.extend(&body);
        all.resize(all.len().next_multiple_of(8), 0);
    }
    all
}

/// A message header, and what it points at, each in a box of its own.
struct Message {
    header: Box<msghdr>,
    _iov: Box<[iovec]>,
    _body: Box<[u8]>,
    control: Box<[u64]>,
}

impl Message {
    fn new(body: usize, control: &[u8], room: usize) -> Self {
        let mut words = vec![0u64; room.max(control.len()).div_ceil(8)].into_boxed_slice();
        for (at, byte) in control.iter().enumerate() {
            words[at / 8] |= u64::from(*byte) << (at % 8 * 8);
        }
        let mut bytes = vec![b'x'; body].into_boxed_slice();
        let mut iov = Box::new([iovec {
            iov_base: bytes.as_mut_ptr().cast(),
            iov_len: body,
        }]);
        // SAFETY: an all-zero header is one to be filled in.
        let mut header: Box<msghdr> = Box::new(unsafe { zeroed() });
        header.msg_iov = iov.as_mut_ptr();
        header.msg_iovlen = 1;
        header.msg_control = words.as_mut_ptr().cast();
        header.msg_controllen = room.max(control.len());
        Self {
            header,
            _iov: iov,
            _body: bytes,
            control: words,
        }
    }

    /// The descriptors that came with it, by what cmsg(3) says of its layout.
    fn fds(&self, given: usize) -> Vec<c_int> {
        let bytes: Vec<u8> = self
            .control
            .iter()
            .flat_map(|word| word.to_ne_bytes())
            .collect();
        let bytes = &bytes[..given.min(bytes.len())];
        let word = |at: usize| Some(usize::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
        let int = |at: usize| Some(c_int::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
        let (mut at, mut fds) = (0, Vec::new());
        while let (Some(len), Some(level), Some(kind)) = (word(at), int(at + 8), int(at + 12)) {
            if len < 16 {
                break;
            }
            if (level, kind) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
                fds.extend((at + 16..at + len).step_by(4).filter_map(int));
            }
            at += len.next_multiple_of(8);
        }
        fds
    }
}

/// Ends a descriptor that came, which may be attached.
fn end(fd: c_int) {
    // SAFETY: no pointers; it is ours.
    unsafe {
        if netfd_destroy(fd) < 0 {
            assert_eq!(libc::close(fd), 0, "{fd} came");
        }
    }
}

fn set_deadlines(fds: [c_int; 2]) {
    for fd in fds {
        // SAFETY: no pointers.
        unsafe { netfd_set_deadline(fd, soon(200)) };
    }
}

fn send(input: &mut Bytes<'_>, fd: c_int, some: &[c_int]) {
    let (how, len) = (input.byte(), usize::from(input.byte()));
    match how % 3 {
        0 => {
            let message = Message::new(len, &control(input, some), 0);
            // SAFETY: the header is whole.
            documented(
                unsafe { netfd_sendmsg(fd, &*message.header, 0) } as i64,
                len as i64,
            );
        }
        1 => {
            let messages = [control(input, some), control(input, some)]
                .map(|control| Message::new(len, &control, 0));
            // SAFETY: an all-zero entry is one to be filled in.
            let mut all = [unsafe { zeroed::<mmsghdr>() }; 2];
            for (entry, message) in all.iter_mut().zip(&messages) {
                entry.msg_hdr = *message.header;
            }
            // SAFETY: there are two.
            documented(
                i64::from(unsafe { netfd_sendmmsg(fd, all.as_mut_ptr(), 2, 0) }),
                2,
            );
        }
        _ => {
            let count = input.short() % 300;
            let fds: Box<[c_int]> = (0..count)
                .map(|at| match input.byte() {
                    255 => -1,
                    which => some[(usize::from(which) + at) % some.len()],
                })
                .collect();
            let body = vec![b'y'; len].into_boxed_slice();
            // SAFETY: both are as long as said.
            let n = unsafe { netfd_send_fds(fd, fds.as_ptr(), count, body.as_ptr().cast(), len) };
            documented(n as i64, len as i64);
            if count > 253 {
                assert_eq!(n, -(libc::EINVAL as isize));
            }
        }
    }
}

/// Receives, and ends what came.
fn receive(input: &mut Bytes<'_>, fd: c_int) {
    let (how, len, room) = (
        input.byte(),
        usize::from(input.byte()),
        input.short() % 1200,
    );
    let flags = if how & 0x80 == 0 {
        libc::MSG_CMSG_CLOEXEC
    } else {
        0
    };
    match how % 3 {
        0 => {
            let mut message = Message::new(len, &[], room);
            // SAFETY: the header is whole.
            let n = unsafe { netfd_recvmsg(fd, &mut *message.header, flags) };
            documented(n as i64, len as i64);
            if n >= 0 {
                assert!(message.header.msg_controllen <= room);
                message
                    .fds(message.header.msg_controllen)
                    .into_iter()
                    .for_each(end);
            }
        }
        1 => {
            let messages = [len, 1].map(|len| Message::new(len, &[], room));
            // SAFETY: an all-zero entry is one to be filled in.
            let mut all = [unsafe { zeroed::<mmsghdr>() }; 2];
            for (entry, message) in all.iter_mut().zip(&messages) {
                entry.msg_hdr = *message.header;
            }
            // SAFETY: there are two.
            let n = unsafe { netfd_recvmmsg(fd, all.as_mut_ptr(), 2, flags) };
            documented(i64::from(n), 2);
            for (entry, message) in all.iter().zip(&messages).take(n.max(0) as usize) {
                message
                    .fds(entry.msg_hdr.msg_controllen)
                    .into_iter()
                    .for_each(end);
            }
        }
        _ => {
            let cap = room % 64;
            let mut fds = vec![-7; cap].into_boxed_slice();
            let mut body = vec![0u8; len].into_boxed_slice();
            let mut came = 4711;
            // SAFETY: all are as long as said.
            let n = unsafe {
                let to = body.as_mut_ptr().cast::<c_void>();
                netfd_recv_fds(fd, fds.as_mut_ptr(), cap, &mut came, to, len)
            };
            documented(n as i64, len as i64);
            if n >= 0 {
                assert!(came <= 3 * 253, "{came}");
                let (given, rest) = fds.split_at(came.min(cap));
                assert!(rest.iter().all(|fd| *fd == -7), "none but those that came");
                given.iter().copied().for_each(end);
            }
        }
    }
}

fuzz_target!(init: alone(), |data: &[u8]| {
    let before = Count::now();
    let mut input = Bytes(data);
    let kind = input.byte();
    let mut pair = [-1; 2];
    let sotype = TYPES[usize::from(kind) % 3] | libc::SOCK_CLOEXEC;
    // SAFETY: room for two.
    assert_eq!(unsafe { libc::socketpair(libc::AF_UNIX, sotype, 0, pair.as_mut_ptr()) }, 0);
    for fd in pair {
        // SAFETY: it is ours.
        assert_eq!(unsafe { netfd_attach(fd) }, fd);
    }
    if kind & 0x80 != 0 {
        let on = 1 as c_int;
        // SAFETY: the option is as long as said.
        unsafe {
            libc::setsockopt(pair[1], libc::SOL_SOCKET, libc::SO_PASSCRED, (&raw const on).cast(), 4)
        };
    }
    // What travels: a socket, a file, and the two themselves.
    // SAFETY: no pointers, and a name that ends with a NUL.
    let others = unsafe {
        [netfd_sys_socket(libc::AF_INET, libc::SOCK_DGRAM, 0), libc::memfd_create(c"x".as_ptr(), 1)]
    };
    let some = [others[0], others[1], pair[0], others[0]];
    while !input.is_empty() {
        set_deadlines(pair);
        match input.byte() & 3 {
            0 => receive(&mut input, pair[1]),
            1 => receive(&mut input, pair[0]),
            2 => send(&mut input, pair[1], &some),
            _ => send(&mut input, pair[0], &some),
        }
    }
    for fd in pair.into_iter().chain(others) {
        end(fd);
    }
    before.has_settled();
});
