//! Sequences of calls on a handful of descriptors, by one caller, or by two at
//! once, the second of which is a thread or a fiber. Nothing crashes or hangs,
//! each result is one that the header knows, and no descriptor is left.
#![no_main]

use common::*;
use libc::{c_int, c_void, iovec, sockaddr, socklen_t};
use libfuzzer_sys::fuzz_target;
use std::mem::zeroed;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicPtr, Ordering};

const SLOTS: usize = 8;
const TOKENS: usize = 2;
const BYTES: usize = 70_000;

/// What the callers share: numbers, some of which are of descriptors that were
/// destroyed, and tokens.
struct World {
    fds: [AtomicI32; SLOTS],
    tokens: [AtomicPtr<netfd_cancel>; TOKENS],
    file: c_int,
}

impl World {
    fn fd(&self, input: &mut Bytes<'_>) -> c_int {
        self.fds[usize::from(input.byte()) % SLOTS].load(Ordering::Relaxed)
    }

    /// Puts one in a place, and ends the one that was there.
    fn put(&self, place: usize, fd: c_int) {
        documented(i64::from(fd), i64::from(c_int::MAX));
        if fd >= 0 {
            limit(fd, 200);
            end(self.fds[place % SLOTS].swap(fd, Ordering::Relaxed));
        }
    }

    fn token(&self, input: &mut Bytes<'_>) -> *mut netfd_cancel {
        self.tokens[usize::from(input.byte()) % TOKENS].load(Ordering::Relaxed)
    }
}

/// Sees to it that no call on it takes long.
fn limit(fd: c_int, us: i64) {
    // SAFETY: no pointers.
    done(unsafe { netfd_set_deadline(fd, soon(us)) });
}

/// Destroys. Where somebody else has done so, or nobody had it, it is said.
fn end(fd: c_int) {
    // SAFETY: no pointers.
    let code = unsafe { netfd_destroy(fd) };
    let known = [0, ECLOSED, -libc::EBADF, -libc::EIO, -libc::ECONNRESET];
    assert!(known.contains(&code), "{code}");
}

/// Detaches, and closes what is the caller's then.
fn detach(fd: c_int) {
    // SAFETY: no pointers.
    let own = unsafe { netfd_detach(fd) };
    documented(i64::from(own), i64::from(c_int::MAX));
    if own >= 0 {
        assert_eq!(own, fd);
        // SAFETY: it is ours.
        assert_eq!(unsafe { libc::close(own) }, 0);
    }
}

fn pair(world: &World, input: &mut Bytes<'_>) {
    let types = [libc::SOCK_STREAM, libc::SOCK_DGRAM, libc::SOCK_SEQPACKET];
    let sotype = types[usize::from(input.byte()) % 3] | libc::SOCK_CLOEXEC;
    let mut both = [-1; 2];
    // SAFETY: room for two.
    if unsafe { libc::socketpair(libc::AF_UNIX, sotype, 0, both.as_mut_ptr()) } == 0 {
        let place = usize::from(input.byte());
        for (at, fd) in both.into_iter().enumerate() {
            // SAFETY: it is ours, and nobody else's.
            let attached = unsafe { netfd_attach(fd) };
            assert_eq!(attached, fd);
            world.put(place + at, fd);
        }
    }
}

fn make(world: &World, input: &mut Bytes<'_>) {
    let families = [libc::AF_INET, libc::AF_INET6, libc::AF_UNIX, libc::AF_INET];
    let types = [
        libc::SOCK_STREAM,
        libc::SOCK_DGRAM,
        libc::SOCK_STREAM,
        libc::SOCK_SEQPACKET,
    ];
    let kind = input.byte();
    let (family, sotype) = (kind & 3, kind >> 2 & 3);
    // SAFETY: no pointers.
    let fd =
        unsafe { netfd_sys_socket(families[usize::from(family)], types[usize::from(sotype)], 0) };
    world.put(usize::from(input.byte()), fd);
}

/// The address of a descriptor, where it has one.
fn address(fd: c_int) -> ([u8; 128], socklen_t) {
    let (mut bytes, mut len) = ([0; 128], 128);
    // SAFETY: the room is as long as said.
    let code = unsafe { netfd_local_addr(fd, bytes.as_mut_ptr().cast(), &mut len) };
    done(code);
    (bytes, if code == 0 { len.min(128) } else { 0 })
}

/// A listener, of TCP or of the abstract names.
fn listen(world: &World, input: &mut Bytes<'_>) {
    let text = [c"127.0.0.1:0", c"[::1]:0", c"@"][usize::from(input.byte()) % 3];
    let network = if text == c"@" { c"unix" } else { c"tcp" };
    let (mut at, mut len) = ([0u8; 128], 128);
    // SAFETY: both end with a NUL, the room is as long as said.
    let code = unsafe {
        netfd_addr_parse(
            network.as_ptr(),
            text.as_ptr(),
            at.as_mut_ptr().cast(),
            &mut len,
        )
    };
    assert_eq!(code, 0);
    if network == c"unix" {
        len = 2; // autobind
    }
    let family = c_int::from(u16::from_ne_bytes([at[0], at[1]]));
    // SAFETY: the address is as long as said.
    let fd = unsafe {
        let fd = netfd_sys_socket(family, libc::SOCK_STREAM, 0);
        done(netfd_listen_stream(fd, at.as_ptr().cast(), len, 4));
        fd
    };
    world.put(usize::from(input.byte()), fd);
}

/// Connects one descriptor to where another one is, or a new one.
fn connect(world: &World, input: &mut Bytes<'_>) {
    let (to, len) = address(world.fd(input));
    let form = input.byte();
    let family = c_int::from(u16::from_ne_bytes([to[0], to[1]]));
    let sotype = if form & 1 == 0 {
        libc::SOCK_STREAM
    } else {
        libc::SOCK_DGRAM
    };
    let fd = if form & 2 == 0 {
        // SAFETY: no pointers.
        let fd = unsafe { netfd_sys_socket(family, sotype, 0) };
        world.put(usize::from(input.byte()), fd);
        fd
    } else {
        world.fd(input)
    };
    let token = if form & 4 == 0 {
        ptr::null_mut()
    } else {
        world.token(input)
    };
    // SAFETY: the address is as long as said, the token lives.
    done(unsafe {
        netfd_connect(
            fd,
            ptr::null(),
            0,
            to.as_ptr().cast(),
            len,
            soon(300),
            token,
        )
    });
}

fn accept(world: &World, input: &mut Bytes<'_>) {
    let fd = world.fd(input);
    let (mut from, mut len) = (vec![0u8; usize::from(input.byte())], 0);
    len += from.len() as socklen_t;
    // SAFETY: the room is as long as said.
    let conn = unsafe { netfd_accept(fd, from.as_mut_ptr().cast(), &mut len) };
    world.put(usize::from(input.byte()), conn);
}

/// Vectors over parts of the bytes.
fn vectors(bytes: &mut [u8], input: &mut Bytes<'_>) -> Vec<iovec> {
    let count = usize::from(input.byte()) % 5;
    (0..count)
        .map(|_| {
            let len = input.short().min(bytes.len());
            iovec {
                iov_base: bytes.as_mut_ptr().cast(),
                iov_len: len,
            }
        })
        .collect()
}

/// Which way bytes go.
fn moves(world: &World, input: &mut Bytes<'_>, bytes: &mut [u8]) {
    let (how, fd, len) = (input.byte(), world.fd(input), input.short());
    let flags = [0, libc::MSG_DONTWAIT, libc::MSG_PEEK, libc::MSG_OOB][usize::from(how >> 4 & 3)];
    let most = len as i64;
    let start: *mut c_void = bytes.as_mut_ptr().cast();
    // SAFETY: there are more bytes than any `len`, and each vector is in them.
    unsafe {
        match how & 15 {
            0 => documented(netfd_read(fd, start, len) as i64, most),
            1 | 2 => documented(netfd_write(fd, start, len) as i64, most),
            3 => {
                let iov = vectors(bytes, input);
                documented(
                    netfd_readv(fd, iov.as_ptr(), iov.len() as c_int) as i64,
                    1 << 20,
                );
            }
            4 => {
                let iov = vectors(bytes, input);
                documented(
                    netfd_writev(fd, iov.as_ptr(), iov.len() as c_int) as i64,
                    1 << 20,
                );
            }
            5 => {
                let (mut from, mut room) = ([0u8; 128], 128);
                let from: *mut sockaddr = from.as_mut_ptr().cast();
                documented(
                    netfd_recvfrom(fd, start, len, flags, from, &mut room) as i64,
                    most,
                );
            }
            6 => {
                let (to, room) = address(world.fd(input));
                documented(
                    netfd_sendto(fd, start, len, flags, to.as_ptr().cast(), room) as i64,
                    most,
                );
            }
            7 => documented(
                netfd_sendto(fd, start, len, flags, ptr::null(), 0) as i64,
                most,
            ),
            8 => {
                let mut iov = vectors(bytes, input);
                let mut msg: libc::msghdr = zeroed();
                msg.msg_iov = iov.as_mut_ptr();
                msg.msg_iovlen = iov.len();
                if how & 0x80 == 0 {
                    documented(netfd_recvmsg(fd, &mut msg, flags) as i64, 1 << 20);
                } else {
                    documented(netfd_sendmsg(fd, &msg, flags) as i64, 1 << 20);
                }
            }
            9 => {
                let mut iov = vectors(bytes, input);
                let mut all: [libc::mmsghdr; 3] = zeroed();
                for one in &mut all {
                    one.msg_hdr.msg_iov = iov.as_mut_ptr();
                    one.msg_hdr.msg_iovlen = iov.len();
                }
                if how & 0x80 == 0 {
                    documented(i64::from(netfd_recvmmsg(fd, all.as_mut_ptr(), 3, flags)), 3);
                } else {
                    documented(i64::from(netfd_sendmmsg(fd, all.as_mut_ptr(), 3, flags)), 3);
                }
            }
            10 => {
                let offset = input.short() as i64 - i64::from(how >> 4);
                documented(netfd_sendfile(fd, world.file, offset, most), most);
            }
            11 | 12 => documented(netfd_copy(fd, world.fd(input), most), most),
            13 => {
                let fds = [world.file; 3];
                documented(netfd_send_fds(fd, fds.as_ptr(), 3, start, len) as i64, most);
            }
            14 => {
                let (mut fds, mut count) = ([-1; 2], 0);
                let n = netfd_recv_fds(fd, fds.as_mut_ptr(), 2, &mut count, start, len);
                documented(n as i64, most);
                if n >= 0 {
                    for fd in &fds[..count.min(2)] {
                        assert_eq!(libc::close(*fd), 0); // the file's
                    }
                }
            }
            _ => {
                let events = c_int::from(how >> 4);
                documented(i64::from(netfd_wait(fd, events, soon(100))), 3);
            }
        }
    }
}

fn limits(world: &World, input: &mut Bytes<'_>) {
    let (how, fd) = (input.byte(), world.fd(input));
    let at = match how >> 6 {
        0 => 1,
        1 => soon(-5),
        2 => soon(50),
        _ => soon(i64::from(input.byte()) * 8),
    };
    // SAFETY: the tokens live.
    unsafe {
        match how & 7 {
            0 => done(netfd_set_deadline(fd, at)),
            1 => done(netfd_set_read_deadline(fd, at)),
            2 => done(netfd_set_write_deadline(fd, at)),
            3 => done(netfd_set_cancel(fd, world.token(input))),
            4 => done(netfd_set_cancel(fd, ptr::null_mut())),
            5 => netfd_cancel_fire(world.token(input)),
            6 => documented(i64::from(netfd_cancel_fired(world.token(input))), 1),
            _ => done(netfd_shutdown(fd, c_int::from(how >> 3 & 3))),
        }
    }
}

/// Asks, and sets what the kernel has options for.
fn looks(world: &World, input: &mut Bytes<'_>) {
    let (how, fd) = (input.byte(), world.fd(input));
    let (mut at, mut len) = ([0u8; 128], 128);
    // SAFETY: each room is as long as said.
    unsafe {
        match how & 7 {
            0 => drop(address(fd)),
            1 => done(netfd_remote_addr(fd, at.as_mut_ptr().cast(), &mut len)),
            2 => {
                let (mut pid, mut uid, mut gid) = (0, 0, 0);
                done(netfd_peer_cred(fd, &mut pid, &mut uid, &mut gid));
            }
            3 => {
                let mut text = [0; 600];
                let n = netfd_error_text(text.as_mut_ptr(), usize::from(input.byte()));
                documented(i64::from(n), 1 << 16);
            }
            4 => done(netfd_dump(world.file)),
            _ => {}
        }
    }
}

/// A descriptor that is closed behind the library's back, and its number at
/// once another's: what attach(2) has to put up with. Only where nobody else
/// makes descriptors meanwhile.
fn replaces(world: &World, input: &mut Bytes<'_>) {
    let (fd, flags) = (world.fd(input), libc::SOCK_STREAM | libc::SOCK_CLOEXEC);
    // SAFETY: the number is one of the library's, or nobody's.
    unsafe {
        if netfd_set_deadline(fd, soon(200)) != 0 {
            return; // it is not open
        }
        let other = libc::socket(libc::AF_UNIX, flags, 0);
        assert_eq!(libc::dup3(other, fd, libc::O_CLOEXEC), fd);
        assert_eq!(libc::close(other), 0);
        assert_eq!(netfd_attach(fd), fd);
    }
    limit(fd, 200);
}

fn run(world: &World, program: &[u8], alone: bool) {
    let mut input = Bytes(program);
    let mut bytes = vec![7; BYTES];
    for _ in 0..64 {
        if input.is_empty() {
            break;
        }
        let op = input.byte();
        if op & 0x80 == 0 {
            // As most programs do; else what was set before counts.
            for fd in &world.fds {
                let fd = fd.load(Ordering::Relaxed);
                // SAFETY: no pointers.
                documented(i64::from(unsafe { netfd_set_deadline(fd, soon(150)) }), 0);
            }
        }
        match op & 31 {
            0 => make(world, &mut input),
            1 | 2 => pair(world, &mut input),
            3 => listen(world, &mut input),
            4 | 5 => connect(world, &mut input),
            6 | 7 => accept(world, &mut input),
            8..=19 => moves(world, &mut input, &mut bytes),
            20..=23 => limits(world, &mut input),
            24 => looks(world, &mut input),
            25..=27 => end(world.fd(&mut input)),
            28 => detach(world.fd(&mut input)),
            29 if alone => replaces(world, &mut input),
            _ => end(c_int::from(input.byte()) * 1000 - 100_000), // nobody's
        }
    }
}

/// A second caller: what it runs, and who waits for it.
struct Second<'a> {
    world: &'a World,
    program: &'a [u8],
    group: *mut netfd_group,
}

extern "C" fn run_second(arg: *mut c_void) {
    // SAFETY: it lives until the group has ended.
    let second = unsafe { &*arg.cast::<Second<'_>>() };
    run(second.world, second.program, false);
    // SAFETY: the group lives until it has ended.
    assert_eq!(unsafe { netfd_group_done(second.group) }, 0);
}

fn by_two(world: &World, one: &[u8], two: &[u8]) {
    // SAFETY: no pointers.
    let group = unsafe { netfd_group_new() };
    let mut second = Second {
        world,
        program: two,
        group,
    };
    // SAFETY: `second` lives until the group has ended.
    unsafe {
        assert_eq!(netfd_group_add(group, 1), 0);
        assert_eq!(netfd_go(run_second, (&raw mut second).cast()), 0);
    }
    run(world, one, false);
    // SAFETY: it lives; nobody uses it afterwards.
    unsafe {
        let far = soon(20_000_000);
        assert_eq!(
            netfd_group_wait(group, far, ptr::null_mut()),
            0,
            "the fiber ends"
        );
        netfd_group_free(group);
    }
}

/// The workers, and all that is made once.
fn begin() {
    alone();
    extern "C" fn nothing(_: *mut c_void) {}
    // SAFETY: no pointers.
    assert_eq!(unsafe { netfd_go(nothing, ptr::null_mut()) }, 0);
}

fuzz_target!(init: begin(), |data: &[u8]| {
    let (Some((how, rest)), before) = (data.split_first(), Count::now()) else { return };
    // SAFETY: a name that ends with a NUL.
    let file = unsafe { libc::memfd_create(c"file".as_ptr(), libc::MFD_CLOEXEC) };
    // SAFETY: it is ours.
    assert_eq!(unsafe { libc::ftruncate(file, 100_000) }, 0);
    let world = World {
        fds: [(); SLOTS].map(|()| AtomicI32::new(-1)),
        // SAFETY: no pointers.
        tokens: [(); TOKENS].map(|()| AtomicPtr::new(unsafe { netfd_cancel_new() })),
        file,
    };
    let (one, two) = rest.split_at(rest.len() / 2);
    match how & 3 {
        0 | 1 => run(&world, rest, true),
        2 => by_two(&world, one, two),
        _ => std::thread::scope(|scope| {
            let second = scope.spawn(|| run(&world, two, false));
            run(&world, one, false);
            second.join().expect("it does not panic");
        }),
    }
    for fd in &world.fds {
        end(fd.load(Ordering::Relaxed));
    }
    for token in &world.tokens {
        // SAFETY: it is freed once.
        unsafe { netfd_cancel_free(token.load(Ordering::Relaxed)) };
    }
    // SAFETY: it is ours.
    assert_eq!(unsafe { libc::close(file) }, 0);
    before.has_settled();
});
