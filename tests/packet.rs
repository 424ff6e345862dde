//! Messages: with addresses, flags and control messages, which pass through as
//! the kernel gives and takes them. Go's `FD.ReadFrom`, `FD.WriteTo`,
//! `FD.ReadMsg`, `FD.WriteMsg` (net/udpsock_test.go, net/unixsock_test.go),
//! recvmsg(2), sendmsg(2), udp(7), ip(7).

#![allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test that is out of range has failed"
)]

mod common;

use common::calls::*;
use common::*;
use libc::{c_int, c_void, iovec, msghdr};
use std::mem::{size_of, zeroed};

/// A message with one buffer and room for control messages.
struct Message {
    data: Vec<u8>,
    control: Vec<u64>,
    header: msghdr,
    /// What the header points to, at a place that does not move.
    iov: Box<iovec>,
}

impl Message {
    fn room(len: usize) -> Self {
        Self::with(vec![0; len], vec![0; 64])
    }

    fn with(data: Vec<u8>, control: Vec<u64>) -> Self {
        let mut this = Self {
            data,
            control,
            // SAFETY: an all-zero msghdr is an empty one.
            header: unsafe { zeroed() },
            iov: Box::new(iovec {
                iov_base: std::ptr::null_mut(),
                iov_len: 0,
            }),
        };
        this.iov.iov_base = this.data.as_mut_ptr().cast();
        this.iov.iov_len = this.data.len();
        this.header.msg_iov = &mut *this.iov;
        this.header.msg_iovlen = 1;
        if !this.control.is_empty() {
            this.header.msg_control = this.control.as_mut_ptr().cast();
            this.header.msg_controllen = this.control.len() * 8;
        }
        this
    }

    /// One with a control message that holds `value`.
    fn carrying<T: Copy>(data: &[u8], level: c_int, kind: c_int, value: T) -> Self {
        let len = size_of::<T>() as u32;
        // SAFETY: it computes with its argument.
        let space = unsafe { libc::CMSG_SPACE(len) };
        // SAFETY: likewise.
        let len = unsafe { libc::CMSG_LEN(len) };
        let this = Self::with(data.to_vec(), vec![0; space as usize / 8]);
        // SAFETY: there is room for one header and its value.
        let head = unsafe { libc::CMSG_FIRSTHDR(&this.header) };
        let header = libc::cmsghdr {
            cmsg_len: len as usize,
            cmsg_level: level,
            cmsg_type: kind,
        };
        // SAFETY: likewise.
        unsafe { head.write(header) };
        // SAFETY: likewise.
        let place = unsafe { libc::CMSG_DATA(head) };
        // SAFETY: likewise.
        unsafe { place.cast::<T>().write_unaligned(value) };
        this
    }

    fn recv(&mut self, fd: c_int, flags: c_int) -> isize {
        // SAFETY: the header points to what it says.
        unsafe { netfd_recvmsg(fd, &mut self.header, flags) }
    }

    fn send(&self, fd: c_int, flags: c_int) -> isize {
        // SAFETY: the header points to what it says.
        unsafe { netfd_sendmsg(fd, &self.header, flags) }
    }

    fn to(mut self, to: &mut Addr) -> Self {
        self.header.msg_name = to.ptr_mut().cast::<c_void>();
        self.header.msg_namelen = to.len;
        self
    }

    /// The value of the control message of a kind that came.
    fn control<T: Copy>(&self, level: c_int, kind: c_int) -> Option<T> {
        // SAFETY: the kernel wrote whole headers.
        let mut head = unsafe { libc::CMSG_FIRSTHDR(&self.header) };
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
            head = unsafe { libc::CMSG_NXTHDR(&self.header, head) };
        }
        None
    }

    fn truncated(&self) -> bool {
        self.header.msg_flags & libc::MSG_TRUNC != 0
    }
}

#[test]
fn recvfrom_tells_the_sender_and_sendto_finds_it() {
    for network in ["udp4", "udp6"] {
        let at = if network == "udp4" {
            "127.0.0.1:0"
        } else {
            "[::1]:0"
        };
        let ((one, one_at), (two, two_at)) = (bound(network, at), bound(network, at));
        assert_eq!(sendto(one, b"ping", 0, Some(&two_at)), 4);
        let mut buf = [0; 8];
        let (n, from) = recvfrom(two, &mut buf, 0);
        assert_eq!((n, &buf[..4]), (4, &b"ping"[..]));
        assert_eq!(from.text(), one_at.text());
        assert_eq!(sendto(two, b"pong", 0, Some(&from)), 4);
        assert_eq!(read(one, &mut buf), 4);
        destroy(one);
        destroy(two);
    }
}

#[test]
fn a_senders_address_is_cut_to_the_room_and_its_whole_length_told() {
    let ((one, one_at), (two, two_at)) = (udp(), udp());
    assert_eq!(sendto(one, b"x", 0, Some(&two_at)), 1);
    let mut from = [0xaa_u8; 16];
    let mut len = 4;
    let mut buf = [0; 8];
    let (to, room) = (buf.as_mut_ptr().cast(), from.as_mut_ptr().cast());
    // SAFETY: the buffer and the room are at least as long as said.
    let n = unsafe { netfd_recvfrom(two, to, 8, 0, room, &mut len) };
    assert_eq!((n, len), (1, 16));
    assert_eq!(from[2..4], one_at.port().to_be_bytes());
    assert_eq!(from[4..], [0xaa; 12], "not a byte beyond the room");
    destroy(one);
    destroy(two);
}

#[test]
fn an_unnamed_unix_sender_has_an_address_of_length_0_or_its_family() {
    let (two, two_at) = bound("unixgram", &abstract_name("unnamed"));
    let one = socket(libc::AF_UNIX, libc::SOCK_DGRAM);
    assert_eq!(sendto(one, b"x", 0, Some(&two_at)), 1);
    let (n, from) = recvfrom(two, &mut [0; 8], 0);
    assert_eq!(n, 1);
    assert!(from.len <= 2, "{}", from.len);
    destroy(one);
    destroy(two);
}

#[test]
fn sendto_without_an_address_on_an_unconnected_socket_is_edestaddrreq() {
    let (fd, _) = udp();
    assert_eq!(sendto(fd, b"x", 0, None), no(libc::EDESTADDRREQ));
    assert!(
        error_text().contains("destination address required"),
        "{}",
        error_text()
    );
    destroy(fd);
    let unixgram = socket(libc::AF_UNIX, libc::SOCK_DGRAM);
    assert_eq!(sendto(unixgram, b"x", 0, None), no(libc::ENOTCONN));
    destroy(unixgram);
}

/// A datagram socket that netfd_connect() has connected, and another that it is
/// not connected to: of every family.
fn connected_and_a_third(test: &str) -> Vec<(c_int, c_int, Addr)> {
    let mut all = Vec::new();
    for (network, at) in [
        ("udp4", "127.0.0.1:0".to_owned()),
        ("udp6", "[::1]:0".to_owned()),
        ("unixgram", abstract_name(&format!("{test}-peer"))),
    ] {
        let ((peer, peer_at), one) = (bound(network, &at), {
            let family = c_int::from(Addr::parse(network, &at).storage.ss_family);
            socket(family, libc::SOCK_DGRAM)
        });
        let third = if network == "unixgram" {
            bound(network, &abstract_name(&format!("{test}-third")))
        } else {
            bound(network, &at)
        };
        assert_eq!(connect(one, &peer_at), 0, "{}", error_text());
        destroy(peer);
        all.push((one, third.0, third.1));
    }
    all
}

/// Go's `ErrWriteToConnected`.
#[test]
fn a_connected_datagram_socket_takes_no_address_and_sends_nothing() {
    for (one, third, third_at) in connected_and_a_third("none") {
        for flags in [0, libc::MSG_DONTWAIT] {
            assert_eq!(
                sendto(one, b"aside", flags, Some(&third_at)),
                no(libc::EISCONN)
            );
            let mut to = third_at;
            let message = Message::with(b"aside".to_vec(), vec![]).to(&mut to);
            assert_eq!(message.send(one, flags), no(libc::EISCONN));
        }
        let text = error_text();
        assert!(text.starts_with("write "), "{text}");
        assert!(text.ends_with("already connected"), "{text}");
        let nothing = recv(third, &mut [0; 8], libc::MSG_DONTWAIT);
        assert_eq!(nothing, no(libc::EAGAIN));
        destroy(one);
        destroy(third);
    }
}

#[test]
fn no_system_call_is_made_for_an_address_that_is_not_taken() {
    const TEST: &str = "no_system_call_is_made_for_an_address_that_is_not_taken";
    let options = ["-e", "trace=sendto,sendmsg,sendmmsg"];
    let trace = alone_under_strace(TEST, &options, || {
        let (one, two) = udp_pair();
        let (three, three_at) = udp();
        assert_eq!(sendto(one, b"aside", 0, Some(&three_at)), no(libc::EISCONN));
        assert_eq!(write(one, b"straight on"), 11);
        for fd in [one, two, three] {
            destroy(fd);
        }
    });
    let Some(trace) = trace else { return };
    let calls = trace.lines().filter(|line| line.contains("send"));
    assert_eq!(calls.count(), 1, "{trace}");
}

#[test]
fn a_name_of_length_0_is_no_address() {
    let (one, two) = udp_pair();
    let mut name = Addr::room();
    name.len = 0;
    let message = Message::with(b"x".to_vec(), vec![]).to(&mut name);
    assert_eq!(message.send(one, 0), 1, "{}", error_text());
    assert_eq!(read(two, &mut [0; 8]), 1);
    destroy(one);
    destroy(two);
}

#[test]
fn a_datagram_socket_that_is_disconnected_takes_addresses_again() {
    for (one, third, third_at) in connected_and_a_third("again") {
        // SAFETY: an all-zero sockaddr_storage has the family AF_UNSPEC.
        let storage: libc::sockaddr_storage = unsafe { zeroed() };
        let nowhere = Addr { storage, len: 16 };
        assert_eq!(connect(one, &nowhere), 0, "{}", error_text());
        assert_eq!(sendto(one, b"aside", 0, Some(&third_at)), 5);
        assert_eq!(read(third, &mut [0; 8]), 5);
        assert_eq!(connect(one, &third_at), 0);
        let again = sendto(one, b"aside", 0, Some(&third_at));
        assert_eq!(again, no(libc::EISCONN), "connected once more");
        destroy(one);
        destroy(third);
    }
}

#[test]
fn a_connect_that_fails_leaves_a_datagram_socket_free_to_send() {
    let ((one, _), (two, two_at)) = (udp(), udp());
    let six = Addr::parse("udp6", "[::1]:9");
    assert_eq!(connect(one, &six), -libc::EAFNOSUPPORT);
    assert_eq!(sendto(one, b"x", 0, Some(&two_at)), 1);
    destroy(one);
    destroy(two);
}

#[test]
fn an_adopted_datagram_socket_has_the_kernels_rules() {
    for (one, third, third_at) in connected_and_a_third("adopted") {
        assert_eq!(detach(one), one);
        assert_eq!(attach(one), one);
        assert_eq!(sendto(one, b"aside", 0, Some(&third_at)), 5);
        assert_eq!(read(third, &mut [0; 8]), 5);
        destroy(one);
        destroy(third);
    }
}

#[test]
fn sendto_with_an_address_on_a_connected_stream_is_as_the_kernel_has_it() {
    let (one, two) = unix_pair(libc::SOCK_STREAM);
    let at = Addr::parse("unix", "@nobody");
    assert_eq!(sendto(one, b"x", 0, Some(&at)), no(libc::EISCONN));
    destroy(one);
    destroy(two);
    let (one, two) = tcp_pair();
    let (listener, at) = listener();
    assert_eq!(sendto(one, b"x", 0, Some(&at)), 1, "TCP looks at none");
    assert_eq!(read(two, &mut [0; 8]), 1);
    for fd in [one, two, listener] {
        destroy(fd);
    }
}

#[test]
fn sendto_an_address_of_another_family_is_refused_by_the_kernel() {
    let (fd, _) = udp();
    let six = Addr::parse("udp6", "[::1]:9");
    assert_eq!(sendto(fd, b"x", 0, Some(&six)), no(libc::EAFNOSUPPORT));
    destroy(fd);
}

#[test]
fn a_connected_socket_tells_a_refusal_once() {
    let (fd, _) = udp();
    assert_eq!(connect(fd, &nobody()), 0);
    assert_eq!(write(fd, b"x"), 1);
    assert_eq!(read(fd, &mut [0; 8]), no(libc::ECONNREFUSED));
    set_read_deadline(fd, after(20 * MS));
    assert_eq!(read(fd, &mut [0; 8]), DEADLINE, "it was told");
    assert_eq!(sendto(fd, b"x", 0, None), 1);
    await_that("the refusal", || polled(fd, 0) & libc::POLLERR != 0);
    assert_eq!(sendto(fd, b"x", 0, None), no(libc::ECONNREFUSED));
    destroy(fd);
}

#[test]
fn a_refusal_wakes_a_parked_receiver() {
    let (fd, _) = udp();
    assert_eq!(connect(fd, &nobody()), 0);
    let task = spawn(move || recv(fd, &mut [0; 8], 0));
    await_parked(fd, 1);
    assert_eq!(write(fd, b"x"), 1);
    assert_eq!(task.join(), no(libc::ECONNREFUSED));
    destroy(fd);
}

#[test]
fn a_message_too_long_for_the_buffer_is_cut_and_msg_trunc_shows_it() {
    for (one, two) in [
        udp_pair(),
        unix_pair(libc::SOCK_DGRAM),
        unix_pair(libc::SOCK_SEQPACKET),
    ] {
        for _ in 0..3 {
            assert_eq!(write(one, b"0123456789"), 10);
        }
        let mut message = Message::room(4);
        assert_eq!(message.recv(two, 0), 4);
        assert!(message.truncated());
        assert_eq!(message.data, b"0123");
        let mut buf = [0; 4];
        assert_eq!(recv(two, &mut buf, libc::MSG_TRUNC), 10, "its whole length");
        assert_eq!(
            recv(two, &mut buf, 0),
            4,
            "the rest of the one before is gone"
        );
        assert_eq!(write(one, b"fits"), 4);
        let mut message = Message::room(4);
        assert_eq!(message.recv(two, 0), 4);
        assert!(!message.truncated());
        destroy(one);
        destroy(two);
    }
}

#[test]
fn recvmsg_tells_the_sender() {
    let ((one, one_at), (two, two_at)) = (udp(), udp());
    assert_eq!(sendto(one, b"x", 0, Some(&two_at)), 1);
    let mut from = Addr::room();
    let mut message = Message::room(8).to(&mut from);
    assert_eq!(message.recv(two, 0), 1);
    from.len = message.header.msg_namelen;
    assert_eq!(from.text(), one_at.text());
    destroy(one);
    destroy(two);
}

#[test]
fn recvmsg_parks_and_then_fills_in_the_header_once() {
    let (one, two) = udp_pair();
    set_option(two, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1);
    let task = spawn(move || {
        let mut message = Message::room(8);
        let n = message.recv(two, 0);
        let stamp: Option<libc::timespec> =
            message.control(libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS);
        (n, stamp.is_some_and(|stamp| stamp.tv_sec > 0))
    });
    await_parked(two, 1);
    assert_eq!(write(one, b"x"), 1);
    assert_eq!(task.join(), (1, true));
    destroy(one);
    destroy(two);
}

#[test]
fn ip_pktinfo_passes_through_both_ways() {
    let ((one, _), (two, two_at)) = (udp(), udp());
    set_option(two, libc::IPPROTO_IP, libc::IP_PKTINFO, 1);
    let local = u32::from_be_bytes([127, 0, 0, 1]).to_be();
    let info = libc::in_pktinfo {
        ipi_ifindex: 1,
        ipi_spec_dst: libc::in_addr { s_addr: local },
        ipi_addr: libc::in_addr { s_addr: 0 },
    };
    let mut to = two_at;
    let sent = Message::carrying(b"x", libc::IPPROTO_IP, libc::IP_PKTINFO, info).to(&mut to);
    assert_eq!(sent.send(one, 0), 1, "{}", error_text());
    let mut message = Message::room(8);
    assert_eq!(message.recv(two, 0), 1);
    let came: libc::in_pktinfo = message
        .control(libc::IPPROTO_IP, libc::IP_PKTINFO)
        .expect("it was asked for");
    assert_eq!(came.ipi_addr.s_addr, local);
    assert!(came.ipi_ifindex > 0);
    destroy(one);
    destroy(two);
}

#[test]
fn segments_of_a_large_send_come_as_datagrams_or_as_one_with_their_size() {
    const SOL_UDP: c_int = 17;
    const UDP_SEGMENT: c_int = 103;
    const UDP_GRO: c_int = 104;
    for gro in [false, true] {
        let (one, two) = udp_pair();
        if gro {
            set_option(two, SOL_UDP, UDP_GRO, 1);
        }
        let data = pattern(3_000);
        let sent = Message::carrying(&data, SOL_UDP, UDP_SEGMENT, 1_000_u16);
        let n = sent.send(one, 0);
        if n == no(libc::EINVAL) || n == no(libc::EIO) {
            println!("no UDP GSO here: {}", error_text());
        } else {
            assert_eq!(n, 3_000, "{}", error_text());
            let mut got = Vec::new();
            while got.len() < 3_000 {
                let mut message = Message::room(8_000);
                let n = message.recv(two, 0);
                assert!(n == 1_000 || gro, "{n}");
                if gro && n > 1_000 {
                    assert_eq!(message.control::<c_int>(SOL_UDP, UDP_GRO), Some(1_000));
                }
                got.extend_from_slice(&message.data[..n as usize]);
            }
            assert_eq!(got, data);
        }
        destroy(one);
        destroy(two);
    }
}

#[test]
fn descriptors_that_recvmsg_gives_are_close_on_exec() {
    let (one, two) = unix_pair(libc::SOCK_DGRAM);
    let sent = Message::carrying(b"x", libc::SOL_SOCKET, libc::SCM_RIGHTS, 1_i32);
    assert_eq!(sent.send(one, 0), 1);
    let mut message = Message::room(8);
    assert_eq!(message.recv(two, 0), 1);
    let came: c_int = message
        .control(libc::SOL_SOCKET, libc::SCM_RIGHTS)
        .expect("it came");
    assert_eq!(fcntl(came, libc::F_GETFD), libc::FD_CLOEXEC);
    // SAFETY: it is ours.
    unsafe { libc::close(came) };
    destroy(one);
    destroy(two);
}

#[test]
fn msg_peek_leaves_the_message() {
    for (one, two) in [udp_pair(), tcp_pair()] {
        let task = spawn(move || {
            let mut buf = [0; 8];
            let n = recv(two, &mut buf, libc::MSG_PEEK);
            (n, buf)
        });
        await_parked(two, 1);
        assert_eq!(write(one, b"look"), 4);
        let (n, buf) = task.join();
        assert_eq!((n, &buf[..4]), (4, &b"look"[..]));
        assert_eq!(read(two, &mut [0; 8]), 4);
        destroy(one);
        destroy(two);
    }
}

#[test]
fn msg_dontwait_never_parks_and_says_eagain() {
    for (one, two) in [tcp_pair(), udp_pair(), unix_pair(libc::SOCK_SEQPACKET)] {
        let eagain = no(libc::EAGAIN);
        assert_eq!(recv(two, &mut [0; 8], libc::MSG_DONTWAIT), eagain);
        assert_eq!(Message::room(8).recv(two, libc::MSG_DONTWAIT), eagain);
        assert_eq!(write(one, b"x"), 1);
        assert_eq!(recv(two, &mut [0; 8], libc::MSG_DONTWAIT), 1);
        destroy(one);
        destroy(two);
    }
    let (one, two) = tcp_pair();
    fill(one);
    assert_eq!(
        sendto(one, b"x", libc::MSG_DONTWAIT, None),
        no(libc::EAGAIN)
    );
    let message = Message::with(b"x".to_vec(), vec![]);
    assert_eq!(message.send(one, libc::MSG_DONTWAIT), no(libc::EAGAIN));
    destroy(one);
    destroy(two);
}

#[test]
fn msg_dontwait_does_not_wait_for_a_turn() {
    let (one, two) = tcp_pair();
    let reader = spawn(move || read(two, &mut [0; 8]));
    await_parked(two, 1);
    assert_eq!(recv(two, &mut [0; 8], libc::MSG_DONTWAIT), no(libc::EAGAIN));
    fill(two);
    let writer = spawn(move || write(two, b"x"));
    await_parked(two, 2);
    assert_eq!(
        sendto(two, b"x", libc::MSG_DONTWAIT, None),
        no(libc::EAGAIN)
    );
    destroy(two);
    assert_eq!((reader.join(), writer.join()), (CLOSED, CLOSED));
    destroy(one);
}

#[test]
fn a_past_deadline_wins_over_msg_dontwait() {
    for (one, two) in [tcp_pair(), udp_pair()] {
        assert_eq!(write(one, b"x"), 1);
        await_that("the byte", || polled(two, libc::POLLIN) != 0);
        set_deadline(two, -1);
        assert_eq!(recv(two, &mut [0; 8], libc::MSG_DONTWAIT), DEADLINE);
        assert_eq!(sendto(two, b"x", libc::MSG_DONTWAIT, None), DEADLINE);
        set_deadline(two, 0);
        assert_eq!(recv(two, &mut [0; 8], libc::MSG_DONTWAIT), 1);
        destroy(one);
        destroy(two);
    }
}

#[test]
fn a_fired_token_wins_over_msg_dontwait() {
    let token = Token::new();
    token.fire();
    for (one, two) in [tcp_pair(), udp_pair()] {
        assert_eq!(write(one, b"x"), 1);
        await_that("the byte", || polled(two, libc::POLLIN) != 0);
        token.set_on(two);
        assert_eq!(recv(two, &mut [0; 8], libc::MSG_DONTWAIT), CANCELED);
        assert_eq!(sendto(two, b"x", libc::MSG_DONTWAIT, None), CANCELED);
        destroy(one);
        destroy(two);
    }
    token.free();
}

#[test]
fn msg_errqueue_never_parks_and_gives_what_stands_there() {
    let (fd, _) = with_error_queue();
    let mut message = Message::room(64);
    assert_eq!(message.recv(fd, libc::MSG_ERRQUEUE), 1, "what was refused");
    assert_ne!(message.header.msg_flags & libc::MSG_ERRQUEUE, 0);
    let error: libc::sock_extended_err = message
        .control(libc::IPPROTO_IP, libc::IP_RECVERR)
        .expect("the reason");
    assert_eq!(error.ee_errno, libc::ECONNREFUSED as u32);
    assert_eq!(
        Message::room(64).recv(fd, libc::MSG_ERRQUEUE),
        no(libc::EAGAIN)
    );
    assert_eq!(recv(fd, &mut [0; 8], libc::MSG_ERRQUEUE), no(libc::EAGAIN));
    destroy(fd);
}

#[test]
fn msg_errqueue_is_read_beside_a_parked_reader() {
    let (one, two) = tcp_pair();
    let reader = spawn(move || read(two, &mut [0; 8]));
    await_parked(two, 1);
    assert_eq!(recv(two, &mut [0; 8], libc::MSG_ERRQUEUE), no(libc::EAGAIN));
    set_read_deadline(two, -1);
    assert_eq!(reader.join(), DEADLINE);
    assert_eq!(recv(two, &mut [0; 8], libc::MSG_ERRQUEUE), DEADLINE);
    destroy(one);
    destroy(two);
}

#[test]
fn a_receive_of_length_0_takes_an_empty_message_or_drops_one() {
    for (one, two) in [udp_pair(), unix_pair(libc::SOCK_DGRAM)] {
        assert_eq!(sendto(one, b"", 0, None), 0);
        assert_eq!(recv(two, &mut [0; 8], 0), 0);
        assert_eq!(sendto(one, b"dropped", 0, None), 7);
        assert_eq!(sendto(one, b"kept", 0, None), 4);
        assert_eq!(recv(two, &mut [], 0), 0);
        assert_eq!(recv(two, &mut [0; 8], 0), 4);
        destroy(one);
        destroy(two);
    }
}

#[test]
fn a_receive_of_length_0_waits_for_a_message() {
    let (one, two) = udp_pair();
    let task = spawn(move || recv(two, &mut [], 0));
    await_parked(two, 1);
    assert_eq!(write(one, b"x"), 1);
    assert_eq!(task.join(), 0);
    destroy(one);
    destroy(two);
}

#[test]
fn deadline_token_and_destroy_end_a_parked_receive() {
    let token = Token::new();
    let ends: [fn(c_int, Token); 3] = [
        |fd, _| assert_eq!(set_read_deadline(fd, after(20 * MS)), 0),
        |fd, token| {
            token.set_on(fd);
            token.fire();
        },
        |fd, _| assert_eq!(destroy(fd), 0),
    ];
    for (end, code) in ends.iter().zip([DEADLINE, CANCELED, CLOSED]) {
        let (fd, _) = udp();
        let one = spawn(move || recvfrom(fd, &mut [0; 8], 0).0);
        let two = spawn(move || Message::room(8).recv(fd, 0));
        await_parked(fd, 2);
        end(fd, token);
        assert_eq!((one.join(), two.join()), (code, code));
        if code != CLOSED {
            destroy(fd); // else the number may be another test's by now
        }
    }
    token.free();
}

#[test]
fn receivers_of_datagrams_park_side_by_side_and_each_gets_one() {
    const COUNT: usize = 20;
    let (one, two) = udp_pair();
    let tasks: Vec<_> = (0..COUNT)
        .map(|_| {
            spawn(move || {
                let mut buf = [0; 1];
                assert_eq!(recv(two, &mut buf, 0), 1);
                buf[0]
            })
        })
        .collect();
    await_parked(two, COUNT);
    for id in 0..COUNT as u8 {
        assert_eq!(write(one, &[id]), 1);
    }
    let mut got: Vec<u8> = tasks.into_iter().map(Task::join).collect();
    got.sort_unstable();
    assert_eq!(got, (0..COUNT as u8).collect::<Vec<_>>());
    destroy(one);
    destroy(two);
}

/// A unixgram receiver whose queue is full of `filler`'s messages.
fn full_receiver(name: &str, filler: c_int) -> (c_int, Addr, usize) {
    let (full, at) = bound("unixgram", &abstract_name(name));
    let mut count = 0;
    loop {
        match sendto(filler, b"filler", libc::MSG_DONTWAIT, Some(&at)) {
            6 => count += 1,
            n => {
                assert_eq!(n, no(libc::EAGAIN));
                return (full, at, count);
            }
        }
    }
}

#[test]
fn an_unconnected_send_to_a_full_receiver_waits_without_spinning() {
    let sender = socket(libc::AF_UNIX, libc::SOCK_DGRAM);
    let (full, at, count) = full_receiver("full", sender);
    // poll(2) says POLLOUT all the while: the queue is not the sender's.
    assert_ne!(polled(sender, libc::POLLOUT) & libc::POLLOUT, 0);
    let n = parked_idly(
        sender,
        move || sendto(sender, b"next", 0, Some(&at)),
        || assert_eq!(read(full, &mut [0; 8]), 6),
    );
    assert_eq!(n, 4);
    for _ in 1..count {
        assert_eq!(read(full, &mut [0; 8]), 6);
    }
    assert_eq!(read(full, &mut [0; 8]), 4);
    destroy(sender);
    destroy(full);
}

/// The kernel tells a sender when one of its own messages was read, and says
/// nothing when another's was.
#[test]
fn an_unconnected_send_goes_on_when_another_senders_message_is_read() {
    let (filler, sender) = (
        socket(libc::AF_UNIX, libc::SOCK_DGRAM),
        socket(libc::AF_UNIX, libc::SOCK_DGRAM),
    );
    let (full, at, _) = full_receiver("others", filler);
    let n = parked_idly(
        sender,
        move || sendto(sender, b"next", 0, Some(&at)),
        || assert_eq!(read(full, &mut [0; 8]), 6),
    );
    assert_eq!(n, 4);
    for fd in [filler, sender, full] {
        destroy(fd);
    }
}

#[test]
fn a_connected_send_to_a_full_receiver_waits_and_goes_on() {
    let filler = socket(libc::AF_UNIX, libc::SOCK_DGRAM);
    let (full, at, _) = full_receiver("connected", filler);
    let sender = socket(libc::AF_UNIX, libc::SOCK_DGRAM);
    assert_eq!(connect(sender, &at), 0);
    let n = parked_idly(
        sender,
        move || write(sender, b"next"),
        || assert_eq!(read(full, &mut [0; 8]), 6),
    );
    assert_eq!(n, 4);
    for fd in [filler, sender, full] {
        destroy(fd);
    }
}

#[test]
fn deadline_and_destroy_end_a_send_to_a_full_receiver() {
    let filler = socket(libc::AF_UNIX, libc::SOCK_DGRAM);
    let (full, at, _) = full_receiver("ended", filler);
    let sender = socket(libc::AF_UNIX, libc::SOCK_DGRAM);
    let task = spawn(move || sendto(sender, b"next", 0, Some(&at)));
    await_parked(sender, 1);
    set_write_deadline(sender, after(20 * MS));
    assert_eq!(task.join(), DEADLINE);
    set_write_deadline(sender, 0);
    let task = spawn(move || sendto(sender, b"next", 0, Some(&at)));
    await_parked(sender, 1);
    destroy(sender);
    assert_eq!(task.join(), CLOSED);
    destroy(filler);
    destroy(full);
}

#[test]
fn a_send_with_flags_may_be_short_on_a_stream() {
    let (one, two) = tcp_pair();
    let data = pattern(32 << 20);
    let n = sendto(one, &data, 0, None);
    assert!(n > 0 && n < 32 << 20, "one system call: {n}");
    destroy(one);
    assert!(read_to_end(two) == data[..n as usize]);
    destroy(two);
}

#[test]
fn recvfrom_on_a_stream_reads_and_has_no_sender() {
    let (one, two) = tcp_pair();
    assert_eq!(write(one, b"x"), 1);
    let (n, from) = recvfrom(two, &mut [0; 8], 0);
    assert_eq!((n, from.len), (1, 0));
    destroy(one);
    assert_eq!(recvfrom(two, &mut [0; 8], 0).0, 0);
    destroy(two);
}

#[test]
fn bad_arguments_are_answered() {
    let (fd, at) = udp();
    let null = std::ptr::null_mut();
    let mut buf = [0_u8; 8];
    let to: *mut c_void = buf.as_mut_ptr().cast();
    let mut room = Addr::room();
    let recv_into = |to, len, from, fromlen| {
        // SAFETY: what is wrong is refused before a pointer is followed.
        unsafe { netfd_recvfrom(fd, to, len, 0, from, fromlen) }
    };
    let send_from = |from, len, tolen| {
        // SAFETY: likewise.
        unsafe { netfd_sendto(fd, from, len, 0, at.ptr(), tolen) }
    };
    let (efault, einval) = (no(libc::EFAULT), no(libc::EINVAL));
    assert_eq!(recv_into(null, 1, null.cast(), null.cast()), efault);
    assert_eq!(recv_into(to, 8, room.ptr_mut(), null.cast()), efault);
    assert_eq!(send_from(null.cast_const(), 1, at.len), efault);
    // SAFETY: NULL is refused.
    assert_eq!(unsafe { netfd_recvmsg(fd, null.cast(), 0) }, efault);
    // SAFETY: NULL is refused.
    assert_eq!(unsafe { netfd_sendmsg(fd, null.cast(), 0) }, efault);
    let long = isize::MAX as usize + 1;
    assert_eq!(recv_into(to, long, null.cast(), null.cast()), einval);
    assert_eq!(send_from(to.cast_const(), long, at.len), einval);
    assert_eq!(send_from(to.cast_const(), 1, 1), einval);
    assert_eq!(send_from(to.cast_const(), 1, 129), einval);
    destroy(fd);
    assert_eq!(recv(-1, &mut buf, 0), no(libc::EBADF));
    assert_eq!(sendto(-1, &buf, 0, Some(&at)), no(libc::EBADF));
}
