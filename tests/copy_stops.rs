//! What stops a copy, and what becomes of the bytes it has read: destroy and
//! detach of either descriptor, deadlines and tokens of both, lost
//! connections. Go's `io.Copy` and its OpErrors (net/splice_test.go,
//! net/net_test.go), splice(2).

#![allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test that is out of range has failed"
)]

mod common;

use common::calls::*;
use common::lines::*;
use common::*;
use libc::c_int;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

const READS: (&str, c_int) = ("read", NETFD_ECLOSED);
const WRITES: (&str, c_int) = ("write", NETFD_ECLOSED);

/// What is done to a line.
type Deed<'a> = &'a dyn Fn(Line);

/// What sets a deadline in a line.
type Setter = fn(Line, i64) -> c_int;

/// Both ways to evict callers.
#[derive(Clone, Copy)]
enum Evict {
    Destroy,
    Detach,
}

impl Evict {
    const BOTH: [Self; 2] = [Self::Destroy, Self::Detach];

    /// It waits for all callers to leave, so it may hang.
    fn run(self, fd: c_int) {
        spawn(move || self.evict(fd)).join();
    }

    fn evict(self, fd: c_int) {
        match self {
            Self::Destroy => assert_eq!(destroy(fd), 0),
            Self::Detach => {
                assert_eq!(detach(fd), fd);
                plain_close(fd);
            }
        }
    }
}

/// Lines of every kind, in which a copy can be stuck.
fn lines() -> [Line; 2] {
    [
        Line::new(unix_stream, unix_stream),
        Line::new(seqpacket, seqpacket),
    ]
}

/// One of the two, and what is told where it is evicted.
fn side(line: Line, of_src: bool) -> (c_int, (&'static str, c_int)) {
    if of_src {
        (line.src, READS)
    } else {
        (line.dst, WRITES)
    }
}

fn told(result: (i64, netfd_error)) -> (i64, String, c_int) {
    (result.0, blamed(&result.1).0, result.1.code)
}

#[test]
fn destroy_and_detach_of_either_end_a_copy_that_waits_for_bytes() {
    for evict in Evict::BOTH {
        for of_src in [true, false] {
            for line in [Line::tcp(), Line::new(udp_pair, udp_pair)] {
                let copier = spawn(move || (copy(line.dst, line.src, -1), last_error()));
                await_parked(line.src, 1);
                let (which, (op, code)) = side(line, of_src);
                evict.run(which);
                let result = told(copier.join());
                assert_eq!(result, (i64::from(code), op.into(), code));
                line.end_without(which);
            }
        }
    }
}

#[test]
fn destroy_and_detach_of_either_end_a_copy_that_waits_for_room() {
    for evict in Evict::BOTH {
        for of_src in [true, false] {
            for line in lines() {
                let (which, (op, code)) = side(line, of_src);
                let (copier, _) = line.stuck();
                evict.run(which);
                let result = told(copier.join());
                assert_eq!(result, (i64::from(code), op.into(), code));
                line.end_without(which);
            }
        }
    }
}

/// Somebody else has the turn, and destroy of the other descriptor does not
/// wait for him.
#[test]
fn destroy_and_detach_of_the_other_descriptor_end_a_copy_that_queues() {
    for evict in Evict::BOTH {
        let line = Line::tcp();
        let reader = spawn(move || read(line.src, &mut [0; 8]));
        await_parked(line.src, 1);
        let copier = line.copier();
        await_parked(line.src, 2); // one of them queues
        evict.run(line.dst);
        assert_eq!(copier.join(), code(NETFD_ECLOSED));
        assert!(!reader.is_finished());
        shutdown(line.feeder, libc::SHUT_WR);
        assert_eq!(reader.join(), 0);
        line.end_without(line.dst);

        let line = Line::tcp();
        fill(line.dst);
        let writer = spawn(move || write(line.dst, &[0; 1 << 20]));
        await_parked(line.dst, 1);
        let copier = line.copier();
        await_parked(line.dst, 2);
        evict.run(line.src);
        assert_eq!(copier.join(), code(NETFD_ECLOSED));
        assert!(!writer.is_finished());
        set_write_deadline(line.dst, -1);
        writer.join();
        line.end_without(line.src);
    }
}

#[test]
fn destroy_and_detach_end_a_copy_that_queues_at_the_descriptor() {
    for evict in Evict::BOTH {
        let line = Line::tcp();
        let reader = spawn(move || read(line.src, &mut [0; 8]));
        await_parked(line.src, 1);
        let copier = line.copier();
        await_parked(line.src, 2);
        evict.run(line.src);
        assert_eq!(copier.join(), code(NETFD_ECLOSED));
        assert_eq!(reader.join(), CLOSED);
        line.end_without(line.src);

        let line = Line::tcp();
        fill(line.dst);
        let writer = spawn(move || write(line.dst, &[0; 1 << 20]));
        await_parked(line.dst, 1);
        let copier = line.copier();
        await_parked(line.dst, 2);
        evict.run(line.dst);
        assert_eq!(copier.join(), code(NETFD_ECLOSED));
        writer.join();
        line.end_without(line.dst);
    }
}

#[test]
fn limits_of_the_other_descriptor_end_a_copy_that_queues() {
    let token = Token::new();
    token.fire();
    let limit = |fd: c_int, way: usize| match way {
        0 => assert_eq!(set_write_deadline(fd, -1), 0),
        1 => assert_eq!(set_read_deadline(fd, -1), 0),
        _ => token.set_on(fd),
    };
    for (way, wanted) in [(0, NETFD_EDEADLINE), (2, NETFD_ECANCELED)] {
        let line = Line::tcp();
        let reader = spawn(move || read(line.src, &mut [0; 8]));
        await_parked(line.src, 1);
        let copier = line.copier();
        await_parked(line.src, 2);
        limit(line.dst, way);
        assert_eq!(copier.join(), code(wanted));
        set_read_deadline(line.src, -1);
        reader.join();
        line.end();
    }
    for (way, wanted) in [(1, NETFD_EDEADLINE), (2, NETFD_ECANCELED)] {
        let line = Line::tcp();
        fill(line.dst);
        let writer = spawn(move || write(line.dst, &[0; 1 << 20]));
        await_parked(line.dst, 1);
        let copier = line.copier();
        await_parked(line.dst, 2);
        limit(line.src, way);
        assert_eq!(copier.join(), code(wanted));
        set_write_deadline(line.dst, -1);
        writer.join();
        line.end();
    }
    token.free();
}

/// A copy keeps its place in a queue, however long it takes.
#[test]
fn a_copy_that_queues_comes_before_those_who_came_later() {
    let line = Line::new(unix_stream, unix_stream);
    let filled = fill(line.dst);
    let first = spawn(move || write(line.dst, b"first"));
    await_parked(line.dst, 1);
    assert_eq!(write(line.feeder, b"second"), 6);
    shutdown(line.feeder, libc::SHUT_WR);
    let copier = line.copier();
    await_parked(line.dst, 2);
    std::thread::sleep(Duration::from_millis(50)); // it looks up meanwhile
    let third = spawn(move || write(line.dst, b"third"));
    await_parked(line.dst, 3);
    let all = read_exactly(line.reader, filled + 16);
    assert_eq!(&all[filled..], b"firstsecondthird");
    first.join();
    third.join();
    assert_eq!(copier.join(), 6);
    line.end();
}

#[test]
fn a_deadline_or_token_that_is_set_before_stops_it_at_once_and_nothing_is_lost() {
    let token = Token::new();
    token.fire();
    let cases: [(Deed<'_>, &str, c_int); 4] = [
        (
            &|line| assert_eq!(set_read_deadline(line.src, -1), 0),
            "read",
            NETFD_EDEADLINE,
        ),
        (
            &|line| assert_eq!(set_write_deadline(line.dst, -1), 0),
            "write",
            NETFD_EDEADLINE,
        ),
        (&|line| token.set_on(line.src), "read", NETFD_ECANCELED),
        (&|line| token.set_on(line.dst), "write", NETFD_ECANCELED),
    ];
    for (limit, op, wanted) in cases {
        for line in Line::all() {
            assert_eq!(write(line.feeder, b"data"), 4);
            limit(line);
            let result = told((copy(line.dst, line.src, -1), last_error()));
            assert_eq!(result, (code(wanted), op.into(), wanted));
            for fd in [line.src, line.dst] {
                set_deadline(fd, 0);
                lift_cancel(fd);
            }
            assert_eq!(copy(line.dst, line.src, 4), 4);
            assert_eq!(read_exactly(line.reader, 4), b"data");
            line.end();
        }
    }
    token.free();
}

/// The other two deadlines are of no concern.
#[test]
fn the_write_deadline_of_src_and_the_read_deadline_of_dst_do_not_count() {
    let line = Line::tcp();
    set_write_deadline(line.src, -1);
    set_read_deadline(line.dst, -1);
    let feeder = line.feed(1 << 20);
    let copier = line.copier();
    assert!(read_exactly(line.reader, 1 << 20) == pattern(1 << 20));
    assert_eq!(copier.join(), 1 << 20);
    feeder.join();
    line.end();
}

#[test]
fn deadlines_of_both_end_a_copy_that_waits_for_bytes_and_nothing_is_lost() {
    let sets: [(Setter, &str); 2] = [
        (|line, t| set_read_deadline(line.src, t), "read"),
        (|line, t| set_write_deadline(line.dst, t), "write"),
    ];
    for (set, op) in sets {
        for while_parked in [true, false] {
            let line = Line::tcp();
            if !while_parked {
                set(line, after(30 * MS));
            }
            let copier = spawn(move || (copy(line.dst, line.src, -1), last_error()));
            if while_parked {
                await_parked(line.src, 1);
                set(line, after(30 * MS));
            }
            let result = told(copier.join());
            assert_eq!(result, (code(NETFD_EDEADLINE), op.into(), NETFD_EDEADLINE));
            set(line, 0);
            assert_eq!(write(line.feeder, b"data"), 4);
            assert_eq!(copy(line.dst, line.src, 4), 4);
            assert_eq!(read_exactly(line.reader, 4), b"data");
            line.end();
        }
    }
}

#[test]
fn a_deadline_that_moves_away_lets_it_wait_on() {
    let line = Line::tcp();
    set_read_deadline(line.src, after(20 * SECOND));
    set_write_deadline(line.dst, after(100 * MS));
    let begun = Instant::now();
    let copier = spawn(move || (copy(line.dst, line.src, -1), begun.elapsed()));
    await_parked(line.src, 1);
    set_write_deadline(line.dst, 0);
    set_read_deadline(line.src, after(300 * MS));
    let (n, waited) = copier.join();
    assert_eq!(n, code(NETFD_EDEADLINE));
    assert!(waited >= Duration::from_millis(300), "{waited:?}");
    line.end();
}

#[test]
fn tokens_of_both_end_a_copy_that_waits_for_bytes() {
    for of_src in [true, false] {
        for while_parked in [true, false] {
            let token = Token::new();
            let line = Line::tcp();
            let (which, op) = if of_src {
                (line.src, "read")
            } else {
                (line.dst, "write")
            };
            if !while_parked {
                token.set_on(which);
            }
            let copier = spawn(move || (copy(line.dst, line.src, -1), last_error()));
            await_parked(line.src, 1);
            if while_parked {
                token.set_on(which);
            }
            token.fire();
            let result = told(copier.join());
            assert_eq!(result, (code(NETFD_ECANCELED), op.into(), NETFD_ECANCELED));
            line.end();
            token.free();
        }
    }
}

/// Has `stop` stop a copy that is stuck, and returns what it said, having
/// checked that the next write tells of the hole, once.
fn lost(stop: impl FnOnce(Line), next: fn(Line) -> i64) -> (i64, String, c_int) {
    let line = Line::new(unix_stream, unix_stream);
    let (copier, filled) = line.stuck();
    stop(line);
    let result = told(copier.join());
    set_write_deadline(line.dst, 0);
    lift_cancel(line.dst);
    let reader = spawn(move || read_exactly(line.reader, filled + 4));
    assert_eq!(next(line), code(-libc::EPIPE), "there is a hole");
    assert_eq!(write(line.dst, b"more"), 4, "it was told");
    assert!(reader.join().ends_with(b"more"));
    line.end();
    result
}

fn written(n: isize) -> i64 {
    n as i64
}

#[test]
fn deadlines_and_tokens_of_both_end_a_copy_that_waits_for_room() {
    let by_write = |line: Line| written(write(line.dst, b"x"));
    let token = Token::new();
    let deadline = (code(NETFD_EDEADLINE), NETFD_EDEADLINE);
    let canceled = (code(NETFD_ECANCELED), NETFD_ECANCELED);
    let cases: [(Deed<'_>, &str, (i64, c_int)); 4] = [
        (
            &|line| assert_eq!(set_read_deadline(line.src, -1), 0),
            "read",
            deadline,
        ),
        (
            &|line| assert_eq!(set_write_deadline(line.dst, after(30 * MS)), 0),
            "write",
            deadline,
        ),
        (&|line| token.set_on(line.src), "read", canceled),
        (&|line| token.set_on(line.dst), "write", canceled),
    ];
    token.fire();
    for (stop, op, (n, code)) in cases {
        assert_eq!(lost(stop, by_write), (n, op.into(), code));
    }
    token.free();
}

#[test]
fn bytes_that_were_read_and_not_written_make_the_next_write_fail() {
    let stop = |line: Line| assert_eq!(set_write_deadline(line.dst, -1), 0);
    lost(stop, |line| written(write(line.dst, b"x")));
    lost(stop, |line| written(writev(line.dst, &[b"x"])));
    lost(stop, |line| written(sendto(line.dst, b"x", 0, None)));
    lost(stop, |line| {
        sendfile(line.dst, file(b"x").as_raw_fd(), 0, -1)
    });
    lost(stop, |line| copy(line.dst, line.src, -1));
    let evict = |line: Line| {
        assert_eq!(detach(line.src), line.src);
        attach(line.src);
    };
    lost(evict, |line| written(write(line.dst, b"x")));
}

#[test]
fn a_descriptor_that_is_attached_anew_knows_nothing_of_a_hole() {
    let line = Line::new(unix_stream, unix_stream);
    let (copier, filled) = line.stuck();
    detach(line.dst);
    assert_eq!(copier.join().0, code(NETFD_ECLOSED));
    attach(line.dst);
    read_exactly(line.reader, filled);
    assert_eq!(write(line.dst, b"x"), 1);
    line.end();
}

#[test]
fn bytes_of_a_file_that_were_not_written_are_read_again() {
    // A unixgram socket takes no sendfile(2): they are copied.
    let (dst, reader) = unixgram();
    let bytes = pattern(20 << 20);
    let file = file(&bytes);
    let fd = file.as_raw_fd();
    let copier = spawn(move || copy(dst, fd, -1));
    await_parked(dst, 1);
    set_write_deadline(dst, -1);
    let n = copier.join();
    assert!(n > 0);
    assert_eq!(offset(&file), n);
    set_write_deadline(dst, 0);
    let copier = spawn(move || copy(dst, fd, -1));
    let mut got = Vec::new();
    let mut buf = vec![0; 1 << 16];
    while got.len() < bytes.len() {
        let n = read(reader, &mut buf);
        got.extend_from_slice(&buf[..n as usize]);
    }
    assert!(got == bytes);
    assert_eq!(copier.join(), bytes.len() as i64 - n);
    destroy(dst);
    destroy(reader);
}

/// Copies 10 bytes, has `lose` end the connection, and says what it said.
fn after_ten(line: Line, lose: impl FnOnce(Line)) -> (i64, netfd_error) {
    let copier = spawn(move || (copy(line.dst, line.src, -1), last_error()));
    assert_eq!(write(line.feeder, &[7; 10]), 10);
    assert_eq!(read_exactly(line.reader, 10), [7; 10]);
    await_parked(line.src, 1);
    lose(line);
    copier.join()
}

#[test]
fn a_connection_that_src_lost_is_no_end_and_is_told_again() {
    let line = Line::tcp();
    let (n, error) = after_ten(line, |line| reset(line.feeder));
    assert_eq!(n, 10);
    assert_eq!(error.code, -libc::ECONNRESET);
    assert_eq!(blamed(&error), ("read".into(), "splice".into()));
    assert!(error_of(error).starts_with("127.0.0.1:"), "where it was");
    assert_eq!(copy(line.dst, line.src, -1), code(-libc::ECONNRESET));
    assert_eq!(read(line.src, &mut [0; 8]), no(libc::ECONNRESET));
    assert_eq!(write(line.dst, b"x"), 1, "nothing was lost of it");
    line.end_without(line.feeder);
}

fn error_of(error: netfd_error) -> String {
    c_text(&error.remote)
}

#[test]
fn a_connection_that_dst_lost_is_told_again_to_writes_and_to_reads() {
    let line = Line::tcp();
    let (n, error) = after_ten(line, |line| {
        reset(line.reader);
        await_that("the reset", || polled(line.dst, 0) & libc::POLLERR != 0);
        assert_eq!(write(line.feeder, b"lost"), 4);
    });
    assert_eq!(n, 10);
    assert_eq!(error.code, -libc::ECONNRESET);
    assert_eq!(blamed(&error), ("write".into(), "splice".into()));
    assert_eq!(read(line.dst, &mut [0; 8]), no(libc::ECONNRESET));
    assert_eq!(write(line.dst, b"x"), no(libc::ECONNRESET));
    assert_eq!(write(line.dst, b"x"), no(libc::EPIPE));
    line.end_without(line.reader);
}

/// One splice(2) sends many times. It tells how much went before a reset, and
/// forgets the reset.
#[test]
fn a_reset_in_the_middle_of_a_call_is_no_end_to_who_reads() {
    let (out, into) = pipe(0);
    // SAFETY: no pointers.
    let room = unsafe { libc::fcntl(into, libc::F_SETPIPE_SZ, 1 << 20) };
    let page = pattern(4096); // small parts are many sends
    for round in 0..300 {
        for _ in 0..room / 4096 {
            plain_write(into, &page);
        }
        let (dst, reader) = tcp_pair();
        let copier = spawn(move || (copy(dst, out, room.into()), last_error().code));
        read(reader, &mut vec![0; 1 + 500 * round]);
        reset(reader);
        let (n, why) = copier.join();
        let reset = -libc::ECONNRESET;
        if n != room.into() {
            assert!(n > 0 && why == reset || n == code(reset), "{n}, {why}");
            assert_eq!(read(dst, &mut [0; 8]), no(libc::ECONNRESET));
        }
        destroy(dst);
        // What is left, for the next round.
        while polled(out, libc::POLLIN) != 0 {
            let mut rest = vec![0; 1 << 20];
            // SAFETY: the buffer is as long as said.
            let n = unsafe { libc::read(out, rest.as_mut_ptr().cast(), rest.len()) };
            assert!(n > 0);
        }
    }
    plain_close(out);
    plain_close(into);
}

#[test]
fn a_copy_into_a_socket_whose_peer_is_gone_says_so_with_its_first_byte() {
    let line = Line::new(tcp_pair, unix_stream);
    destroy(line.reader);
    assert_eq!(write(line.feeder, b"x"), 1);
    assert_eq!(copy(line.dst, line.src, -1), code(-libc::EPIPE));
    let error = last_error();
    assert_eq!(blamed(&error), ("write".into(), "splice".into()));
    line.end_without(line.reader);
}

/// Both ends ask at once how the other direction ended.
#[test]
fn copies_in_both_directions_that_end_at_once_do_not_wait_for_each_other() {
    for round in 0..300 {
        let line = Line::new(unix_stream, unix_stream);
        let copiers = [line.copier(), spawn(move || copy(line.src, line.dst, -1))];
        if round % 2 == 0 {
            await_parked(line.src, 2);
        }
        shutdown(line.feeder, libc::SHUT_WR);
        shutdown(line.reader, libc::SHUT_WR);
        for copier in copiers {
            assert_eq!(copier.join(), 0);
        }
        line.end();
    }
}

#[test]
fn a_handler_ends_a_copy_of_a_thread_that_asked() {
    let line = Line::tcp();
    let copier = spawn_thread(move || {
        // SAFETY: no pointers.
        assert_eq!(unsafe { netfd_set_interruptible(1) }, 0);
        let _storm = Storm::begin();
        copy(line.dst, line.src, -1)
    });
    assert_eq!(copier.join(), code(-libc::EINTR));
    line.end();
}

#[test]
fn a_storm_of_signals_ends_no_copy_and_loses_no_byte() {
    const ALL: usize = 16 << 20;
    let line = Line::tcp();
    let copier = spawn_thread(move || {
        let _storm = Storm::begin();
        copy(line.dst, line.src, -1)
    });
    let feeder = line.feed(ALL);
    assert!(read_exactly(line.reader, ALL) == pattern(ALL));
    assert_eq!(copier.join(), ALL as i64);
    feeder.join();
    line.end();
}
