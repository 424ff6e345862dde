//! Batches of messages: at least one, then what is there, each with its own
//! length, flags, address and control messages. recvmmsg(2), sendmmsg(2),
//! udp(7); what Go has no call for (golang/go#45886), under the rules of its
//! `FD.ReadMsg` and `FD.WriteMsg`.

#![allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test that is out of range has failed"
)]

mod common;

use common::calls::*;
use common::*;
use libc::{c_int, c_uint, iovec, mmsghdr};
use std::mem::{size_of, zeroed};
use std::ptr::{null, null_mut};

/// The length that a header has before a call, to see which were touched.
const UNTOUCHED: c_uint = 0xdead;

/// Messages in a row, each with a buffer, and where asked for an address and
/// room for control messages.
struct Batch {
    data: Vec<Vec<u8>>,
    names: Vec<Addr>,
    controls: Vec<Vec<u64>>,
    /// What the headers point to.
    _iov: Vec<iovec>,
    headers: Vec<mmsghdr>,
}

impl Batch {
    fn of(data: Vec<Vec<u8>>) -> Self {
        let mut data = data;
        let mut iov: Vec<iovec> = data
            .iter_mut()
            .map(|one| iovec {
                iov_base: one.as_mut_ptr().cast(),
                iov_len: one.len(),
            })
            .collect();
        let headers = iov
            .iter_mut()
            .map(|iov| {
                // SAFETY: an all-zero mmsghdr is an empty one.
                let mut header: mmsghdr = unsafe { zeroed() };
                header.msg_hdr.msg_iov = iov;
                header.msg_hdr.msg_iovlen = 1;
                header.msg_len = UNTOUCHED;
                header
            })
            .collect();
        Self {
            data,
            names: Vec::new(),
            controls: Vec::new(),
            _iov: iov,
            headers,
        }
    }

    /// Room for `count` messages of `len` bytes.
    fn room(count: usize, len: usize) -> Self {
        Self::of(vec![vec![0; len]; count])
    }

    /// `count` messages, "0", "1" and so on.
    fn numbered(count: usize) -> Self {
        Self::of((0..count).map(|n| n.to_string().into_bytes()).collect())
    }

    /// With an address each: room for one, or where to.
    fn with_names(mut self, names: Vec<Addr>) -> Self {
        self.names = names;
        for (header, name) in self.headers.iter_mut().zip(&mut self.names) {
            header.msg_hdr.msg_name = name.ptr_mut().cast();
            header.msg_hdr.msg_namelen = name.len;
        }
        self
    }

    /// With control messages each: room for some, or some.
    fn with_controls(mut self, controls: Vec<Vec<u64>>) -> Self {
        self.controls = controls;
        for (header, control) in self.headers.iter_mut().zip(&mut self.controls) {
            header.msg_hdr.msg_control = control.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = control.len() * 8;
        }
        self
    }

    fn recv(&mut self, fd: c_int, flags: c_int) -> isize {
        let (start, count) = (self.headers.as_mut_ptr(), self.headers.len() as c_uint);
        // SAFETY: the headers point to what they say.
        unsafe { netfd_recvmmsg(fd, start, count, flags) as isize }
    }

    fn send(&mut self, fd: c_int, flags: c_int) -> isize {
        self.send_from(fd, 0, flags)
    }

    /// Sends those behind the first `from`.
    fn send_from(&mut self, fd: c_int, from: usize, flags: c_int) -> isize {
        let rest = &mut self.headers[from..];
        // SAFETY: the headers point to what they say.
        unsafe { netfd_sendmmsg(fd, rest.as_mut_ptr(), rest.len() as c_uint, flags) as isize }
    }

    fn len_of(&self, index: usize) -> usize {
        self.headers[index].msg_len as usize
    }

    /// What came in message number `index`.
    fn text(&self, index: usize) -> String {
        let bytes = &self.data[index][..self.len_of(index)];
        String::from_utf8_lossy(bytes).into_owned()
    }

    /// What came in the first `count` messages.
    fn texts(&self, count: usize) -> Vec<String> {
        (0..count).map(|index| self.text(index)).collect()
    }

    fn flags_of(&self, index: usize) -> c_int {
        self.headers[index].msg_hdr.msg_flags
    }

    fn is_cut(&self, index: usize) -> bool {
        self.flags_of(index) & libc::MSG_TRUNC != 0
    }

    fn untouched(&self) -> usize {
        let is = |header: &&mmsghdr| header.msg_len == UNTOUCHED;
        self.headers.iter().filter(is).count()
    }

    /// The value of the control message of a kind that came with one of them.
    fn control<T: Copy>(&self, index: usize, level: c_int, kind: c_int) -> Option<T> {
        let header = &self.headers[index].msg_hdr;
        // SAFETY: the kernel wrote whole headers.
        let mut head = unsafe { libc::CMSG_FIRSTHDR(header) };
        while !head.is_null() {
            // SAFETY: the header lies in the control buffer.
            let found = unsafe { head.read() };
            if (found.cmsg_level, found.cmsg_type) == (level, kind) {
                // SAFETY: its data lies behind it.
                let data = unsafe { libc::CMSG_DATA(head) };
                // SAFETY: likewise.
                return Some(unsafe { data.cast::<T>().read_unaligned() });
            }
            // SAFETY: as above.
            head = unsafe { libc::CMSG_NXTHDR(header, head) };
        }
        None
    }
}

/// A control message that holds `value`.
fn control<T: Copy>(level: c_int, kind: c_int, value: T) -> Vec<u64> {
    let len = size_of::<T>() as u32;
    // SAFETY: it computes with its argument.
    let space = unsafe { libc::CMSG_SPACE(len) } as usize;
    let mut room = vec![0_u64; space / 8];
    let head = libc::cmsghdr {
        // SAFETY: likewise.
        cmsg_len: unsafe { libc::CMSG_LEN(len) } as usize,
        cmsg_level: level,
        cmsg_type: kind,
    };
    let start = room.as_mut_ptr();
    // SAFETY: there is room for one header and its value.
    unsafe { start.cast::<libc::cmsghdr>().write(head) };
    // SAFETY: it computes with its argument.
    let data = unsafe { libc::CMSG_DATA(start.cast()) };
    // SAFETY: there is room for one header and its value.
    unsafe { data.cast::<T>().write_unaligned(value) };
    room
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

/// Pairs of sockets that keep the bounds of messages.
fn message_pairs() -> [(c_int, c_int); 3] {
    [
        udp_pair(),
        unix_pair(libc::SOCK_DGRAM),
        unix_pair(libc::SOCK_SEQPACKET),
    ]
}

// How many.

#[test]
fn a_batch_of_any_size_arrives_whole_and_in_order() {
    let (one, two) = udp_pair();
    for count in (1..=40).chain([64, 100]) {
        assert_eq!(Batch::numbered(count).send(one, 0), count as isize);
        let mut batch = Batch::room(count, 8);
        assert_eq!(batch.recv(two, 0), count as isize);
        assert_eq!(batch.texts(count), numbers(0..count));
    }
    destroy(one);
    destroy(two);
}

#[test]
fn a_batch_of_fewer_than_asked_for_leaves_the_other_headers_alone() {
    for (one, two) in message_pairs() {
        assert_eq!(Batch::numbered(3).send(one, 0), 3);
        let mut batch = Batch::room(8, 8);
        assert_eq!(batch.recv(two, 0), 3);
        assert_eq!(batch.texts(3), numbers(0..3));
        assert_eq!(batch.untouched(), 5);
        destroy(one);
        destroy(two);
    }
}

#[test]
fn what_exceeds_a_batch_stays_for_the_next_call() {
    for (one, two) in message_pairs() {
        assert_eq!(Batch::numbered(7).send(one, 0), 7);
        let mut batch = Batch::room(4, 8);
        assert_eq!(batch.recv(two, 0), 4);
        assert_eq!(batch.texts(4), numbers(0..4));
        assert_eq!(batch.recv(two, 0), 3);
        assert_eq!(batch.texts(3), numbers(4..7));
        destroy(one);
        destroy(two);
    }
}

#[test]
fn a_receiver_parks_for_the_first_and_waits_for_no_other() {
    for (one, two) in message_pairs() {
        let task = spawn(move || {
            let mut batch = Batch::room(8, 8);
            let n = batch.recv(two, 0);
            (n, batch.text(0))
        });
        await_parked(two, 1);
        assert_eq!(write(one, b"alone"), 5);
        assert_eq!(task.join(), (1, "alone".to_owned()));
        destroy(one);
        destroy(two);
    }
}

#[test]
fn a_batch_of_none_returns_0_and_does_nothing() {
    let (one, two) = udp_pair();
    assert_eq!(Batch::room(0, 0).recv(two, 0), 0, "it does not park");
    assert_eq!(Batch::room(0, 0).send(one, 0), 0);
    destroy(one);
    destroy(two);
}

#[test]
fn a_receiver_takes_batches_of_any_number() {
    let (one, two) = tcp_pair();
    assert_eq!(write(one, &[b'x'; 3_000]), 3_000);
    await_that("all of it", || queued(two) == 3_000);
    let mut batch = Batch::room(3_000, 1);
    assert_eq!(batch.recv(two, 0), 3_000);
    destroy(one);
    destroy(two);
}

#[test]
fn a_sender_takes_iov_max_at_a_time_and_goes_on_behind_those() {
    let (one, two) = tcp_pair();
    let mut batch = Batch::of(vec![b"y".to_vec(); 1_500]);
    assert_eq!(batch.send(one, 0), 1_024);
    assert_eq!(batch.untouched(), 1_500 - 1_024);
    assert_eq!(batch.send_from(one, 1_024, 0), 1_500 - 1_024);
    assert_eq!(read_exactly(two, 1_500), [b'y'; 1_500]);
    destroy(one);
    destroy(two);
}

/// FIONREAD.
fn queued(fd: c_int) -> c_int {
    let mut n = 0;
    // SAFETY: the int is there to be written.
    assert_eq!(unsafe { libc::ioctl(fd, libc::FIONREAD, &mut n) }, 0);
    n
}

#[test]
fn a_batch_is_one_system_call_without_sigpipe_and_close_on_exec() {
    const TEST: &str = "a_batch_is_one_system_call_without_sigpipe_and_close_on_exec";
    let options = ["-e", "trace=recvmmsg,sendmmsg,sendmsg,recvmsg,ppoll"];
    let trace = alone_under_strace(TEST, &options, || {
        let (one, two) = udp_pair();
        assert_eq!(Batch::numbered(32).send(one, 0), 32);
        assert_eq!(Batch::room(32, 8).recv(two, 0), 32);
        destroy(one);
        destroy(two);
    });
    let Some(trace) = trace else { return };
    let calls: Vec<&str> = trace.lines().filter(|line| line.contains('(')).collect();
    assert_eq!(calls.len(), 2, "{trace}");
    assert!(calls[0].contains("sendmmsg("), "{trace}");
    assert!(calls[0].contains("MSG_NOSIGNAL"), "{trace}");
    assert!(calls[1].contains("recvmmsg("), "{trace}");
    assert!(calls[1].contains("MSG_CMSG_CLOEXEC"), "{trace}");
    assert!(calls[1].contains("NULL) = 32"), "{trace}");
}

// What each message has of its own.

#[test]
fn each_message_shows_whether_it_was_cut() {
    for (one, two) in message_pairs() {
        let texts: [&[u8]; 3] = [b"ab", b"0123456789", b"cdef"];
        let sent: Vec<Vec<u8>> = texts.iter().map(|text| text.to_vec()).collect();
        assert_eq!(Batch::of(sent.clone()).send(one, 0), 3);
        let mut batch = Batch::room(3, 4);
        assert_eq!(batch.recv(two, 0), 3);
        assert_eq!(batch.texts(3), ["ab", "0123", "cdef"]);
        assert_eq!([0, 1, 2].map(|n| batch.is_cut(n)), [false, true, false]);
        assert_eq!(Batch::of(sent).send(one, 0), 3);
        assert_eq!(batch.recv(two, libc::MSG_TRUNC), 3);
        assert_eq!([0, 1, 2].map(|n| batch.len_of(n)), [2, 10, 4], "in whole");
        destroy(one);
        destroy(two);
    }
}

#[test]
fn an_empty_datagram_is_one_of_the_batch() {
    let (one, two) = udp_pair();
    let texts = ["a", "", "b"].map(|text| text.as_bytes().to_vec());
    assert_eq!(Batch::of(texts.to_vec()).send(one, 0), 3);
    let mut batch = Batch::room(4, 4);
    assert_eq!(batch.recv(two, 0), 3);
    assert_eq!(batch.texts(3), ["a", "", "b"]);
    destroy(one);
    destroy(two);
}

#[test]
fn each_message_tells_its_sender() {
    let (two, two_at) = udp();
    let senders: Vec<(c_int, Addr)> = (0..5).map(|_| udp()).collect();
    for (sender, _) in &senders {
        assert_eq!(sendto(*sender, b"x", 0, Some(&two_at)), 1);
    }
    let mut batch = Batch::room(5, 4).with_names(vec![Addr::room(); 5]);
    assert_eq!(batch.recv(two, 0), 5);
    for (index, (sender, at)) in senders.iter().enumerate() {
        let mut from = batch.names[index];
        from.len = batch.headers[index].msg_hdr.msg_namelen;
        assert_eq!(from.text(), at.text());
        destroy(*sender);
    }
    destroy(two);
}

#[test]
fn each_message_goes_to_its_own_address() {
    let (one, one_at) = udp();
    let receivers: Vec<(c_int, Addr)> = (0..5).map(|_| udp()).collect();
    let names = receivers.iter().map(|(_, at)| *at).collect();
    assert_eq!(Batch::numbered(5).with_names(names).send(one, 0), 5);
    for (index, (fd, _)) in receivers.iter().enumerate() {
        let mut buf = [0; 4];
        let (n, from) = recvfrom(*fd, &mut buf, 0);
        assert_eq!(n, 1);
        assert_eq!(buf[0], b'0' + index as u8);
        assert_eq!(from.text(), one_at.text());
        destroy(*fd);
    }
    destroy(one);
}

#[test]
fn each_message_has_its_control_messages_both_ways() {
    let ((one, _), (two, two_at)) = (udp(), udp());
    set_option(two, libc::IPPROTO_IP, libc::IP_PKTINFO, 1);
    set_option(two, libc::IPPROTO_IP, libc::IP_RECVTTL, 1);
    let ttls = [11, 12, 13];
    let sent: Vec<Vec<u64>> = ttls
        .iter()
        .map(|ttl| control::<c_int>(libc::IPPROTO_IP, libc::IP_TTL, *ttl))
        .collect();
    let mut batch = Batch::numbered(3)
        .with_names(vec![two_at; 3])
        .with_controls(sent.clone());
    assert_eq!(batch.send(one, 0), 3, "{}", error_text());
    assert_eq!(batch.controls, sent, "nothing was written to them");
    let mut batch = Batch::room(3, 4).with_controls(vec![vec![0; 32]; 3]);
    assert_eq!(batch.recv(two, 0), 3);
    for (index, ttl) in ttls.into_iter().enumerate() {
        let came: Option<c_int> = batch.control(index, libc::IPPROTO_IP, libc::IP_TTL);
        assert_eq!(came, Some(ttl));
        let info: libc::in_pktinfo = batch
            .control(index, libc::IPPROTO_IP, libc::IP_PKTINFO)
            .expect("it was asked for");
        assert_eq!(info.ipi_addr.s_addr.to_ne_bytes(), [127, 0, 0, 1]);
    }
    destroy(one);
    destroy(two);
}

#[test]
fn control_messages_that_find_no_room_are_shown_as_cut() {
    let (one, two) = udp_pair();
    set_option(two, libc::IPPROTO_IP, libc::IP_PKTINFO, 1);
    assert_eq!(Batch::numbered(2).send(one, 0), 2);
    let mut batch = Batch::room(2, 4).with_controls(vec![vec![0; 32], vec![0; 1]]);
    assert_eq!(batch.recv(two, 0), 2);
    assert_eq!(batch.flags_of(0) & libc::MSG_CTRUNC, 0);
    assert_eq!(batch.flags_of(1) & libc::MSG_CTRUNC, libc::MSG_CTRUNC);
    destroy(one);
    destroy(two);
}

#[test]
fn descriptors_that_come_in_a_batch_are_close_on_exec_and_not_attached() {
    let (one, two) = unix_pair(libc::SOCK_DGRAM);
    let (passed, other) = unix_pair(libc::SOCK_STREAM);
    let rights = control(libc::SOL_SOCKET, libc::SCM_RIGHTS, passed);
    let mut sent = Batch::numbered(2).with_controls(vec![rights; 2]);
    assert_eq!(sent.send(one, 0), 2);
    let mut batch = Batch::room(2, 4).with_controls(vec![vec![0; 8]; 2]);
    assert_eq!(batch.recv(two, 0), 2);
    for index in 0..2 {
        let came: c_int = batch
            .control(index, libc::SOL_SOCKET, libc::SCM_RIGHTS)
            .expect("it came");
        assert_eq!(fcntl(came, libc::F_GETFD), libc::FD_CLOEXEC);
        let code = read(came, &mut [0; 1]);
        assert!([no(libc::EBADF), CLOSED].contains(&code), "{code}");
        plain_close(came);
    }
    for fd in [one, two, passed, other] {
        destroy(fd);
    }
}

// Segments.

const SOL_UDP: c_int = 17;
const UDP_SEGMENT: c_int = 103; // linux/udp.h
const UDP_GRO: c_int = 104;

/// Sends two messages of 3,000 bytes each, to be cut into datagrams of 1,000.
/// Returns what they hold.
fn send_in_segments(one: c_int) -> Vec<u8> {
    let data = pattern(6_000);
    let (first, second) = data.split_at(3_000);
    let segment = control(SOL_UDP, UDP_SEGMENT, 1_000_u16);
    let mut batch =
        Batch::of(vec![first.to_vec(), second.to_vec()]).with_controls(vec![segment; 2]);
    assert_eq!(batch.send(one, 0), 2, "{}", error_text());
    assert_eq!([batch.len_of(0), batch.len_of(1)], [3_000, 3_000]);
    data
}

#[test]
fn large_sends_of_a_batch_are_cut_into_segments() {
    let (one, two) = udp_pair();
    let data = send_in_segments(one);
    let mut batch = Batch::room(8, 4_000);
    assert_eq!(batch.recv(two, 0), 6);
    for (index, part) in data.chunks(1_000).enumerate() {
        assert_eq!(batch.len_of(index), 1_000);
        assert!(batch.data[index][..1_000] == *part, "segment {index}");
    }
    destroy(one);
    destroy(two);
}

#[test]
fn segments_that_come_as_one_message_tell_their_size() {
    let (one, two) = udp_pair();
    set_option(two, SOL_UDP, UDP_GRO, 1);
    let data = send_in_segments(one);
    let mut batch = Batch::room(8, 4_000).with_controls(vec![vec![0; 8]; 8]);
    assert_eq!(batch.recv(two, 0), 2);
    for (index, part) in data.chunks(3_000).enumerate() {
        assert_eq!(batch.len_of(index), 3_000);
        assert!(batch.data[index][..3_000] == *part, "message {index}");
        let size: Option<c_int> = batch.control(index, SOL_UDP, UDP_GRO);
        assert_eq!(size, Some(1_000));
    }
    destroy(one);
    destroy(two);
}

// What ends a wait.

/// What may end a call that is parked on a descriptor, what the call says then,
/// and how the descriptor itself comes to its end.
struct End {
    act: fn(c_int, Token),
    code: isize,
    close: fn(c_int),
}

fn close_attached(fd: c_int) {
    assert_eq!(destroy(fd), 0);
}

const ENDS: [End; 5] = [
    End {
        act: |fd, _| assert_eq!(set_deadline(fd, after(20 * MS)), 0),
        code: DEADLINE,
        close: close_attached,
    },
    End {
        act: |fd, _| assert_eq!(set_deadline(fd, -1), 0),
        code: DEADLINE,
        close: close_attached,
    },
    End {
        act: |fd, token| {
            token.set_on(fd);
            token.fire();
        },
        code: CANCELED,
        close: close_attached,
    },
    End {
        act: |fd, _| assert_eq!(destroy(fd), 0),
        code: CLOSED,
        close: |_| (),
    },
    End {
        act: |fd, _| assert_eq!(detach(fd), fd),
        code: CLOSED,
        close: plain_close,
    },
];

#[test]
fn deadline_token_destroy_and_detach_end_a_parked_receiver() {
    let token = Token::new();
    for end in ENDS {
        for (one, two) in message_pairs().into_iter().chain([tcp_pair()]) {
            let task = spawn(move || {
                let mut batch = Batch::room(4, 8);
                (batch.recv(two, 0), batch.untouched())
            });
            await_parked(two, 1);
            (end.act)(two, token);
            assert_eq!(task.join(), (end.code, 4));
            destroy(one);
            (end.close)(two);
        }
    }
    token.free();
}

#[test]
fn deadline_token_destroy_and_detach_end_a_parked_sender() {
    let token = Token::new();
    for end in ENDS {
        for (one, two) in [
            tcp_pair(),
            unix_pair(libc::SOCK_DGRAM),
            unix_pair(libc::SOCK_SEQPACKET),
        ] {
            fill(one);
            let task = spawn(move || Batch::of(vec![vec![b'x'; 65_536]; 4]).send(one, 0));
            await_parked(one, 1);
            (end.act)(one, token);
            assert_eq!(task.join(), end.code);
            destroy(two);
            (end.close)(one);
        }
    }
    token.free();
}

#[test]
fn a_parked_sender_goes_on_when_there_is_room() {
    let (one, two) = unix_pair(libc::SOCK_DGRAM);
    let mut filled = 0;
    while sendto(one, b"filler", libc::MSG_DONTWAIT, None) == 6 {
        filled += 1;
    }
    let task = spawn(move || Batch::numbered(3).send(one, 0));
    await_parked(one, 1);
    let mut batch = Batch::room(filled, 8);
    assert_eq!(batch.recv(two, 0), filled as isize);
    let sent = task.join();
    assert!((1..=3).contains(&sent), "{sent}");
    let mut batch = Batch::room(3, 8);
    assert_eq!(batch.recv(two, 0), sent);
    assert_eq!(batch.texts(sent as usize), numbers(0..sent as usize));
    destroy(one);
    destroy(two);
}

#[test]
fn a_batch_that_finds_room_for_a_part_is_sent_in_part() {
    let (one, two) = unix_pair(libc::SOCK_DGRAM);
    let mut batch = Batch::numbered(1_000);
    let sent = batch.send(one, 0);
    assert!((1..1_000).contains(&sent), "{sent}");
    assert_eq!(batch.untouched(), 1_000 - sent as usize);
    assert_eq!(
        batch.send_from(one, sent as usize, libc::MSG_DONTWAIT),
        no(libc::EAGAIN)
    );
    let mut came = Batch::room(1_000, 8);
    assert_eq!(came.recv(two, 0), sent);
    assert_eq!(came.texts(sent as usize), numbers(0..sent as usize));
    assert!(batch.send_from(one, sent as usize, 0) > 0, "and goes on");
    destroy(one);
    destroy(two);
}

#[test]
fn a_past_deadline_and_a_fired_token_win_over_what_is_there() {
    let token = Token::new();
    token.fire();
    for (one, two) in message_pairs().into_iter().chain([tcp_pair()]) {
        assert_eq!(write(one, b"x"), 1);
        await_that("the byte", || polled(two, libc::POLLIN) != 0);
        for flags in [0, libc::MSG_DONTWAIT] {
            set_deadline(two, -1);
            assert_eq!(Batch::room(2, 8).recv(two, flags), DEADLINE);
            assert_eq!(Batch::numbered(2).send(two, flags), DEADLINE);
            set_deadline(two, 0);
            token.set_on(two);
            assert_eq!(Batch::room(2, 8).recv(two, flags), CANCELED);
            assert_eq!(Batch::numbered(2).send(two, flags), CANCELED);
            lift_cancel(two);
        }
        assert_eq!(Batch::room(2, 8).recv(two, 0), 1, "nothing was lost");
        destroy(one);
        destroy(two);
    }
    token.free();
}

#[test]
fn msg_dontwait_never_parks_and_says_eagain() {
    for (one, two) in message_pairs().into_iter().chain([tcp_pair()]) {
        let mut batch = Batch::room(2, 8);
        assert_eq!(batch.recv(two, libc::MSG_DONTWAIT), no(libc::EAGAIN));
        assert_eq!(batch.untouched(), 2);
        assert_eq!(write(one, b"x"), 1);
        await_that("the byte", || polled(two, libc::POLLIN) != 0);
        assert_eq!(batch.recv(two, libc::MSG_DONTWAIT), 1);
        destroy(one);
        destroy(two);
    }
    let (one, two) = tcp_pair();
    fill(one);
    assert_eq!(
        Batch::numbered(2).send(one, libc::MSG_DONTWAIT),
        no(libc::EAGAIN)
    );
    destroy(one);
    destroy(two);
}

// Errors.

#[test]
fn a_message_that_cannot_be_sent_ends_the_batch_and_is_told_by_the_next() {
    let (one, two) = udp_pair();
    let mut batch = Batch::of(vec![b"a".to_vec(), vec![b'b'; 70_000], b"c".to_vec()]);
    assert_eq!(batch.send(one, 0), 1);
    assert_eq!(batch.send_from(one, 1, 0), no(libc::EMSGSIZE));
    let text = error_text();
    assert!(text.ends_with("sendmmsg: message too long"), "{text}");
    assert_eq!(batch.send_from(one, 2, 0), 1);
    let mut came = Batch::room(4, 8);
    assert_eq!(came.recv(two, 0), 2);
    assert_eq!(came.texts(2), ["a", "c"]);
    destroy(one);
    destroy(two);
}

#[test]
fn an_address_of_another_family_in_the_middle_ends_the_batch() {
    let ((one, _), (two, two_at)) = (udp(), udp());
    let six = Addr::parse("udp6", "[::1]:9");
    let mut batch = Batch::numbered(3).with_names(vec![two_at, six, two_at]);
    assert_eq!(batch.send(one, 0), 1);
    assert_eq!(batch.send_from(one, 1, 0), no(libc::EAFNOSUPPORT));
    assert_eq!(batch.send_from(one, 2, 0), 1);
    destroy(one);
    destroy(two);
}

#[test]
fn a_connected_socket_sends_nothing_of_a_batch_that_has_an_address() {
    let (one, two) = udp_pair();
    let (third, third_at) = udp();
    let mut nowhere = third_at;
    nowhere.len = 0;
    let mut batch = Batch::numbered(2).with_names(vec![nowhere, third_at]);
    assert_eq!(batch.send(one, 0), no(libc::EISCONN));
    assert_eq!(batch.untouched(), 2);
    for fd in [two, third] {
        let nothing = recv(fd, &mut [0; 8], libc::MSG_DONTWAIT);
        assert_eq!(nothing, no(libc::EAGAIN));
    }
    let mut batch = Batch::numbered(2).with_names(vec![nowhere; 2]);
    assert_eq!(batch.send(one, 0), 2, "of length 0 it is none");
    for fd in [one, two, third] {
        destroy(fd);
    }
}

#[test]
fn a_refusal_is_told_once_and_what_is_queued_comes_after() {
    let (two, two_at) = udp();
    let (one, one_at) = udp();
    assert_eq!(connect(one, &two_at), 0);
    assert_eq!(sendto(two, b"before", 0, Some(&one_at)), 6);
    destroy(two);
    assert_eq!(write(one, b"x"), 1);
    await_that("the refusal", || polled(one, 0) & libc::POLLERR != 0);
    let mut batch = Batch::room(4, 8);
    assert_eq!(batch.recv(one, 0), no(libc::ECONNREFUSED));
    let text = error_text();
    assert!(text.ends_with("recvmmsg: connection refused"), "{text}");
    assert_eq!(batch.recv(one, 0), 1);
    assert_eq!(batch.text(0), "before");
    assert_eq!(batch.recv(one, libc::MSG_DONTWAIT), no(libc::EAGAIN));
    destroy(one);
}

#[test]
fn a_refusal_wakes_a_parked_receiver() {
    let (fd, _) = udp();
    assert_eq!(connect(fd, &nobody()), 0);
    let task = spawn(move || Batch::room(4, 8).recv(fd, 0));
    await_parked(fd, 1);
    assert_eq!(write(fd, b"x"), 1);
    assert_eq!(task.join(), no(libc::ECONNREFUSED));
    destroy(fd);
}

#[test]
fn a_batch_of_refusals_comes_from_the_error_queue() {
    let (fd, _) = udp();
    set_option(fd, libc::IPPROTO_IP, libc::IP_RECVERR, 1);
    let to = nobody();
    for count in 1..=3 {
        let sent = || sendto(fd, b"refused", 0, Some(&to));
        // A refusal that is pending is told to the next send.
        await_that("a send", || sent() == 7);
        await_that("the refusal", || polled(fd, 0) & libc::POLLERR != 0);
        let told = recv(fd, &mut [0; 8], libc::MSG_DONTWAIT);
        assert_eq!(told, no(libc::ECONNREFUSED), "{count}");
    }
    let mut batch = Batch::room(8, 16).with_controls(vec![vec![0; 16]; 8]);
    assert_eq!(batch.recv(fd, libc::MSG_ERRQUEUE), 3);
    for index in 0..3 {
        assert_eq!(batch.text(index), "refused");
        assert_ne!(batch.flags_of(index) & libc::MSG_ERRQUEUE, 0);
        let error: libc::sock_extended_err = batch
            .control(index, libc::IPPROTO_IP, libc::IP_RECVERR)
            .expect("the reason");
        assert_eq!(error.ee_errno, libc::ECONNREFUSED as u32);
    }
    assert_eq!(batch.recv(fd, libc::MSG_ERRQUEUE), no(libc::EAGAIN));
    destroy(fd);
}

#[test]
fn the_error_queue_is_read_beside_a_parked_reader_under_its_limits() {
    let (one, two) = tcp_pair();
    let reader = spawn(move || read(two, &mut [0; 8]));
    await_parked(two, 1);
    let mut batch = Batch::room(2, 8);
    assert_eq!(batch.recv(two, libc::MSG_ERRQUEUE), no(libc::EAGAIN));
    set_read_deadline(two, -1);
    assert_eq!(reader.join(), DEADLINE);
    assert_eq!(batch.recv(two, libc::MSG_ERRQUEUE), DEADLINE);
    destroy(one);
    destroy(two);
}

/// The kernel would take the first message, and keep the error of the second
/// for whatever is called next on the socket.
#[test]
fn a_bad_header_behind_good_ones_is_told_before_anything_is_taken() {
    let (one, two) = udp_pair();
    assert_eq!(Batch::numbered(2).send(one, 0), 2);
    let many = vec![
        iovec {
            iov_base: null_mut(),
            iov_len: 0,
        };
        1_025
    ];
    let mut batch = Batch::room(2, 8);
    batch.headers[1].msg_hdr.msg_iov = many.as_ptr().cast_mut();
    batch.headers[1].msg_hdr.msg_iovlen = many.len();
    assert_eq!(batch.recv(two, 0), no(libc::EMSGSIZE));
    assert_eq!(batch.send(one, 0), no(libc::EMSGSIZE));
    let mut batch = Batch::room(2, 8).with_names(vec![Addr::room(); 2]);
    batch.headers[1].msg_hdr.msg_namelen = u32::MAX;
    assert_eq!(batch.recv(two, 0), no(libc::EINVAL));
    assert_eq!(batch.send(one, 0), no(libc::EINVAL));
    assert_eq!(option(two, libc::SOL_SOCKET, libc::SO_ERROR), 0);
    let mut batch = Batch::room(4, 8);
    assert_eq!(batch.recv(two, 0), 2, "they are still there, and alone");
    destroy(one);
    destroy(two);
}

// Streams and sequences.

#[test]
fn a_stream_fills_one_header_after_the_other_and_then_ends() {
    let (one, two) = tcp_pair();
    assert_eq!(
        Batch::of(vec![b"abc".to_vec(), b"de".to_vec()]).send(one, 0),
        2
    );
    await_that("all of it", || queued(two) == 5);
    let mut batch = Batch::room(4, 2);
    assert_eq!(batch.recv(two, 0), 3);
    assert_eq!(batch.texts(3), ["ab", "cd", "e"]);
    destroy(one);
    assert!(batch.recv(two, 0) >= 1);
    assert_eq!(batch.len_of(0), 0, "the end");
    destroy(two);
}

#[test]
fn a_sequence_ends_with_an_empty_message() {
    let (one, two) = unix_pair(libc::SOCK_SEQPACKET);
    assert_eq!(Batch::numbered(3).send(one, 0), 3);
    destroy(one);
    let mut batch = Batch::room(8, 8);
    let n = batch.recv(two, 0);
    assert!(n >= 3, "{n}");
    assert_eq!(batch.texts(3), numbers(0..3));
    assert!((3..n as usize).all(|index| batch.len_of(index) == 0));
    assert!(batch.recv(two, 0) >= 1);
    assert_eq!(batch.len_of(0), 0);
    destroy(two);
}

#[test]
fn the_last_message_that_a_full_stream_takes_may_be_short() {
    let (one, two) = tcp_pair();
    let data = pattern(64 << 20);
    let mut batch = Batch::of(data.chunks(1 << 20).map(<[u8]>::to_vec).collect());
    let n = batch.send(one, 0) as usize;
    assert!((1..64).contains(&n), "{n}");
    let lens: Vec<usize> = (0..n).map(|index| batch.len_of(index)).collect();
    assert!(lens[..n - 1].iter().all(|len| *len == 1 << 20), "{lens:?}");
    destroy(one);
    assert!(read_to_end(two) == data[..lens.iter().sum()]);
    destroy(two);
}

#[test]
fn a_reset_is_told_after_the_bytes_that_came_before_and_from_then_on() {
    let (one, two) = tcp_pair();
    assert_eq!(write(one, b"last words"), 10);
    await_that("all of it", || queued(two) == 10);
    reset(one);
    await_that("the reset", || polled(two, 0) & libc::POLLHUP != 0);
    let mut batch = Batch::room(2, 6);
    assert_eq!(batch.recv(two, 0), 2);
    assert_eq!(batch.texts(2), ["last w", "ords"]);
    for _ in 0..2 {
        assert_eq!(batch.recv(two, 0), no(libc::ECONNRESET));
    }
    assert_eq!(read(two, &mut [0; 8]), no(libc::ECONNRESET));
    destroy(two);
}

#[test]
fn a_batch_never_ends_with_a_false_end_of_stream() {
    let (one, two) = tcp_pair();
    assert_eq!(write(one, b"last words"), 10);
    await_that("all of it", || queued(two) == 10);
    reset(one);
    await_that("the reset", || polled(two, 0) & libc::POLLHUP != 0);
    let mut batch = Batch::room(4, 10);
    assert_eq!(write(two, b"x"), no(libc::ECONNRESET), "the writer is told");
    assert_eq!(batch.recv(two, 0), 1, "what came, and no end");
    assert_eq!(batch.text(0), "last words");
    assert_eq!(batch.recv(two, 0), no(libc::ECONNRESET));
    destroy(two);
}

#[test]
fn a_sender_whose_peer_has_gone_gets_epipe() {
    let (one, two) = unix_pair(libc::SOCK_STREAM);
    destroy(two);
    assert_eq!(Batch::numbered(2).send(one, 0), no(libc::EPIPE));
    destroy(one);
}

#[test]
fn on_a_stream_a_batch_waits_for_its_turn() {
    let (one, two) = tcp_pair();
    let reader = spawn(move || read(two, &mut [0; 1]));
    await_parked(two, 1);
    let batch = spawn(move || {
        let mut batch = Batch::room(4, 1);
        let n = batch.recv(two, 0);
        (n, batch.text(0))
    });
    await_parked(two, 2);
    let mut other = Batch::room(4, 1);
    assert_eq!(other.recv(two, libc::MSG_DONTWAIT), no(libc::EAGAIN));
    assert_eq!(write(one, b"ab"), 2);
    assert_eq!(reader.join(), 1);
    assert_eq!(batch.join(), (1, "b".to_owned()));
    destroy(one);
    destroy(two);
}

// Side by side.

#[test]
fn readers_of_one_socket_share_the_datagrams_and_each_comes_once() {
    const READERS: usize = 4;
    const EACH: usize = 2_000;
    let (one, two) = udp_pair();
    let tasks: Vec<_> = (0..READERS)
        .map(|reader| {
            spawn(move || {
                let mut got: Vec<usize> = Vec::new();
                loop {
                    // Some take batches, some take one at a time.
                    let mut batch = Batch::room(1 + 7 * (reader % 2), 8);
                    let n = batch.recv(two, 0);
                    if n < 0 {
                        return (n, got);
                    }
                    let numbers = batch.texts(n as usize);
                    got.extend(
                        numbers
                            .iter()
                            .map(|n| n.parse::<usize>().expect("a number")),
                    );
                }
            })
        })
        .collect();
    // Never more than the socket's buffer holds: nothing is dropped.
    for number in 0..EACH {
        while queued_datagrams(two) > 50 {
            fibers::yield_now();
        }
        assert!(write(one, number.to_string().as_bytes()) > 0);
    }
    await_that("all are taken", || queued_datagrams(two) == 0);
    await_parked(two, READERS);
    destroy(two);
    let mut all = Vec::new();
    for task in tasks {
        let (end, got) = task.join();
        assert_eq!(end, CLOSED);
        all.extend(got);
    }
    all.sort_unstable();
    assert!(all == (0..EACH).collect::<Vec<_>>(), "{} came", all.len());
    destroy(one);
}

/// How many datagrams of about 1 byte each stand in the socket's buffer.
fn queued_datagrams(fd: c_int) -> u32 {
    let mut info = [0_u32; 9]; // SK_MEMINFO_VARS
    let mut len = size_of_val(&info) as libc::socklen_t;
    const SO_MEMINFO: c_int = 55;
    let place = info.as_mut_ptr().cast();
    // SAFETY: the array is as long as said.
    let code = unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, SO_MEMINFO, place, &mut len) };
    assert_eq!(code, 0);
    info[0] / 512 // a datagram counts for more than that
}

#[test]
fn a_reader_that_only_looks_does_not_hold_up_the_others() {
    let (one, two) = udp_pair();
    let looker = spawn(move || {
        let mut batch = Batch::room(1, 8);
        (batch.recv(two, libc::MSG_PEEK), batch.text(0))
    });
    await_parked(two, 1); // it is the one that polls
    let readers: Vec<_> = (0..3)
        .map(|_| spawn(move || Batch::room(1, 8).recv(two, 0)))
        .collect();
    await_parked(two, 4);
    // The looker may come too late to see the datagram, and looks on.
    for _ in 0..3 {
        assert_eq!(write(one, b"x"), 1);
    }
    for reader in readers {
        assert_eq!(reader.join(), 1);
    }
    if !looker.is_finished() {
        assert_eq!(write(one, b"x"), 1);
    }
    assert_eq!(looker.join(), (1, "x".to_owned()));
    destroy(one);
    destroy(two);
}

#[test]
fn readers_that_are_parked_do_not_hold_up_one_that_finds_a_datagram() {
    let (one, two) = udp_pair();
    let (half, _) = unix_pair(libc::SOCK_DGRAM);
    // A reader with a datagram in its hands is outside: nobody waits for it.
    let slow = spawn(move || {
        let n = Batch::room(1, 8).recv(two, 0);
        assert_eq!(read(half, &mut [0; 1]), CLOSED, "it is busy for ever");
        n
    });
    await_parked(two, 1);
    assert_eq!(write(one, b"for the slow one"), 16);
    await_parked(half, 1);
    for _ in 0..100 {
        assert_eq!(write(one, b"x"), 1);
        assert_eq!(Batch::room(4, 8).recv(two, 0), 1);
    }
    destroy(half);
    assert_eq!(slow.join(), 1);
    destroy(one);
    destroy(two);
}

#[test]
fn senders_of_one_socket_send_side_by_side() {
    const EACH: usize = 25;
    let (two, two_at) = udp();
    let (one, _) = udp();
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            spawn(move || {
                Batch::numbered(EACH)
                    .with_names(vec![two_at; EACH])
                    .send(one, 0)
            })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.join(), EACH as isize);
    }
    let mut batch = Batch::room(200, 8);
    assert_eq!(batch.recv(two, 0), 4 * EACH as isize);
    let mut texts = batch.texts(4 * EACH);
    texts.sort_unstable();
    let mut wanted: Vec<String> = (0..4).flat_map(|_| numbers(0..EACH)).collect();
    wanted.sort_unstable();
    assert_eq!(texts, wanted, "each went once, and whole");
    destroy(one);
    destroy(two);
}

#[test]
fn a_batch_on_a_number_that_is_not_attached_is_refused_even_if_it_is_empty() {
    // Other tests may be given the number of a socket that has been destroyed.
    if !by_itself("a_batch_on_a_number_that_is_not_attached_is_refused_even_if_it_is_empty") {
        return;
    }
    let (one, two) = udp_pair();
    destroy(one);
    assert_eq!(detach(two), two);
    for (fd, code) in [(one, CLOSED), (two, no(libc::EBADF)), (-1, no(libc::EBADF))] {
        for count in [0, 2] {
            assert_eq!(Batch::room(count, 8).recv(fd, 0), code);
            assert_eq!(Batch::room(count, 8).send(fd, 0), code);
            let errors = Batch::room(count, 8).recv(fd, libc::MSG_ERRQUEUE);
            assert_eq!(errors, code);
        }
    }
    // SAFETY: NULL is allowed for none.
    let none = unsafe { netfd_recvmmsg(one, null::<mmsghdr>().cast_mut(), 0, 0) };
    assert_eq!(none as isize, CLOSED);
    plain_close(two);
}
