//! Fibers whose reads, writes and accepts a ring carries out: io_uring(7).
//!
//! What a call means does not depend on who carries it out, so the other files
//! about fibers are run with and without (`NETFD_POLL`). Here stands what only a
//! ring can get wrong: whose the buffer is while a call is being called off, what
//! becomes of bytes that came at that moment, and where there is no ring.

mod common;

use common::calls::*;
use common::fibers::*;
use common::*;
use libc::{c_int, c_long};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Whether this kernel gives rings such as the library wants.
fn has_rings() -> bool {
    // SINGLE_ISSUER, DEFER_TASKRUN; struct io_uring_params is 120 bytes long.
    let mut params = [0u32; 30];
    params[2] = 1 << 12 | 1 << 13;
    // SAFETY: the parameters are as long as the kernel wants.
    let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, params.as_mut_ptr()) };
    let fd = c_int::try_from(fd).expect("a descriptor is an int");
    if fd < 0 {
        println!("skipped: the kernel gives no io_uring here");
        return false;
    }
    plain_close(fd);
    true
}

fn plain_close(fd: c_int) {
    // SAFETY: the descriptor is this test's own.
    assert_eq!(unsafe { libc::close(fd) }, 0);
}

/// Runs `body` in a process of its own, whose `workers` workers have rings.
fn on_rings(test: &str, workers: &str, body: impl FnOnce()) {
    if has_rings() {
        let variables = [("NETFD_POLL", "uring"), ("NETFD_WORKERS", workers)];
        let _ = alone_under(test, &[], &variables, body);
    }
}

/// A byte there and back between two fibers; how many operations rings were
/// handed.
fn submissions_of_an_echo() -> u64 {
    let before = stats().submissions;
    let (one, other) = tcp_pair();
    let echo = fiber(move || {
        let mut byte = [0];
        assert_eq!(read(other, &mut byte), 1);
        write(other, &byte)
    });
    let asks = fiber(move || {
        let mut byte = [0];
        assert_eq!(write(one, b"x"), 1);
        assert_eq!(read(one, &mut byte), 1);
        byte[0]
    });
    assert_eq!((asks.join(), echo.join()), (b'x', 1));
    assert_eq!((destroy(one), destroy(other)), (0, 0));
    stats().submissions - before
}

#[test]
fn reads_and_writes_of_fibers_are_the_rings_to_make() {
    let test = "reads_and_writes_of_fibers_are_the_rings_to_make";
    on_rings(test, "1", || {
        assert_eq!(submissions_of_an_echo(), 4);
        let rings = std::fs::read_to_string("/proc/self/maps").expect("it is there");
        assert!(rings.contains("io_uring"), "{rings}");
    });
}

#[test]
fn accepts_of_fibers_are_the_rings_to_make() {
    on_rings("accepts_of_fibers_are_the_rings_to_make", "1", || {
        let (fd, at) = listener();
        let accepts = fiber(move || accept(fd));
        await_parked(fd, 1);
        let before = stats().submissions;
        let client = socket(libc::AF_INET, libc::SOCK_STREAM);
        assert_eq!(connect(client, &at), 0);
        let conn = accepts.join();
        assert!(conn >= 0, "{conn}");
        assert_eq!(remote_addr(conn).unwrap().text(), local_addr(client).text());
        assert_eq!(stats().submissions, before);
        assert!(before > 0);
        assert_eq!((destroy(conn), destroy(client), destroy(fd)), (0, 0, 0));
    });
}

#[test]
fn epoll_may_be_asked_for() {
    let test = "epoll_may_be_asked_for";
    let _ = alone_under(test, &[], &[("NETFD_POLL", "epoll")], || {
        assert_eq!(submissions_of_an_echo(), 0);
    });
}

#[test]
fn another_name_of_a_poller_is_passed_over() {
    let test = "another_name_of_a_poller_is_passed_over";
    let _ = alone_under(test, &[], &[("NETFD_POLL", "kqueue")], || {
        let submissions = submissions_of_an_echo();
        assert_eq!(submissions > 0, has_rings());
    });
}

/// Has the kernel deny `io_uring_setup` to this thread and those that it makes.
fn deny_rings(errno: c_int) {
    deny(libc::SYS_io_uring_setup, errno);
}

/// Has the kernel deny a system call to this thread and those that it makes.
fn deny(call: c_long, errno: c_int) {
    const LOAD_NUMBER: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const IF_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    let step = |code, jt, jf, k| libc::sock_filter {
        code: u16::try_from(code).expect("codes are small"),
        jt,
        jf,
        k,
    };
    let number = u32::try_from(call).expect("it is small");
    let mut filter = [
        step(LOAD_NUMBER, 0, 0, 0),
        step(IF_EQUAL, 0, 1, number),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | errno.unsigned_abs()),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: 4,
        filter: filter.as_mut_ptr(),
    };
    const MODE: c_long = libc::SECCOMP_MODE_FILTER as c_long;
    // SAFETY: prctl takes longs.
    let code = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(code, 0);
    // SAFETY: the program is there, and the filter that it points to.
    let code = unsafe { libc::prctl(libc::PR_SET_SECCOMP, MODE, &raw const program) };
    assert_eq!(code, 0);
}

fn denied_rings_are_done_without(test: &str, errno: c_int) {
    let _ = alone_under(test, &[], &[("NETFD_POLL", "uring")], || {
        // Filters are of a thread, and of those that it starts.
        deny_rings(errno);
        assert_eq!(submissions_of_an_echo(), 0);
    });
}

#[test]
fn rings_that_a_filter_forbids_are_done_without() {
    denied_rings_are_done_without("rings_that_a_filter_forbids_are_done_without", libc::EPERM);
}

#[test]
fn rings_that_the_kernel_does_not_know_are_done_without() {
    denied_rings_are_done_without(
        "rings_that_the_kernel_does_not_know_are_done_without",
        libc::ENOSYS,
    );
}

#[test]
fn rings_for_which_there_is_no_memory_are_done_without() {
    denied_rings_are_done_without(
        "rings_for_which_there_is_no_memory_are_done_without",
        libc::ENOMEM,
    );
}

#[test]
fn a_ring_that_cannot_be_registered_is_done_without() {
    let test = "a_ring_that_cannot_be_registered_is_done_without";
    let options = ["-e", "inject=io_uring_register:error=EBUSY"];
    let _ = alone_under_strace(test, &options, || {
        let open = open_fds();
        assert_eq!(submissions_of_an_echo(), 0);
        // An epoll set and an eventfd for each worker, and no more.
        assert!(open_fds() <= open + 2 * 64);
        let maps = std::fs::read_to_string("/proc/self/fdinfo/0").expect("it is there");
        assert!(!maps.is_empty());
    });
}

#[test]
fn calls_to_the_ring_that_fail_at_times_lose_nothing() {
    let test = "calls_to_the_ring_that_fail_at_times_lose_nothing";
    if !has_rings() {
        return;
    }
    for errno in ["EINTR", "EAGAIN", "EBUSY", "ENOMEM"] {
        let inject = format!("inject=io_uring_enter:error={errno}:when=2+3");
        let options = [
            "-E",
            "NETFD_POLL=uring",
            "-E",
            "NETFD_WORKERS=1",
            "-e",
            &inject,
        ];
        let _ = alone_under_strace(test, &options, || {
            let (one, other) = tcp_pair();
            let sent = pattern(100_000);
            let sends = sent.clone();
            let writer = fiber(move || {
                let wrote = sends
                    .chunks(1000)
                    .map(|chunk| write(one, chunk))
                    .sum::<isize>();
                assert_eq!(destroy(one), 0);
                wrote
            });
            let reader = fiber(move || read_to_end(other));
            assert_eq!(writer.join(), 100_000);
            assert!(reader.join() == sent);
            assert_eq!(destroy(other), 0);
        });
    }
}

/// The bytes go to the reader, or stay for the next one; and his buffer is his
/// own once the call has returned, whatever comes then.
#[test]
fn a_call_that_is_called_off_takes_no_byte_and_touches_no_buffer() {
    let test = "a_call_that_is_called_off_takes_no_byte_and_touches_no_buffer";
    on_rings(test, "2", || {
        let (one, other) = tcp_pair();
        let (mut came, mut late) = (0, 0);
        for round in 0..3_000 {
            let reader = fiber(move || {
                let mut buf = [0xaa; 64];
                assert_eq!(set_read_deadline(one, after(round % 40 * 1_000)), 0);
                let told = read(one, &mut buf);
                let kept = buf;
                yield_now();
                sleep(20_000);
                assert_eq!(buf, kept, "it is the caller's again");
                (told, buf[0])
            });
            let writer = fiber(move || write(other, b"b"));
            let (told, first) = reader.join();
            assert_eq!(writer.join(), 1);
            if told == 1 {
                assert_eq!(first, b'b');
                came += 1;
            } else {
                assert_eq!((told, first), (DEADLINE, 0xaa));
                late += 1;
                assert_eq!(set_read_deadline(one, NETFD_NO_DEADLINE), 0);
                assert_eq!(read(one, &mut [0; 64]), 1, "it is there still");
            }
        }
        println!("{came} came, {late} came late");
        assert!(came >= 50 && late >= 50, "{came} {late}");
        assert_eq!((destroy(one), destroy(other)), (0, 0));
    });
}

#[test]
fn detach_at_any_moment_of_a_rings_read_loses_no_byte() {
    let test = "detach_at_any_moment_of_a_rings_read_loses_no_byte";
    on_rings(test, "2", || {
        let (mut read_so, mut left) = (0, 0);
        for round in 0..1_500u32 {
            let (one, other) = unix_pair(libc::SOCK_STREAM);
            let reader = fiber(move || read(one, &mut [0; 8]));
            await_parked(one, 1);
            let writer = std::thread::spawn(move || plain_send(other, b"abc"));
            for _ in 0..round % 200 {
                std::hint::spin_loop();
            }
            assert_eq!(detach(one), one);
            writer.join().expect("it sends");
            let mut buf = [0u8; 8];
            // SAFETY: there is room for so many bytes.
            let rest = unsafe { libc::recv(one, buf.as_mut_ptr().cast(), 8, libc::MSG_DONTWAIT) };
            match reader.join() {
                3 => {
                    assert_eq!(rest, -1);
                    read_so += 1;
                }
                told => {
                    assert_eq!((told, rest), (CLOSED, 3));
                    left += 1;
                }
            }
            plain_close(one);
            assert_eq!(destroy(other), 0);
        }
        println!("{read_so} read, {left} left");
        assert!(read_so + left == 1_500 && left > 0);
    });
}

/// Whoever gets the number next gets it when the ring is done with it.
#[test]
fn a_destroyed_number_is_free_only_when_the_ring_has_let_it_go() {
    let test = "a_destroyed_number_is_free_only_when_the_ring_has_let_it_go";
    on_rings(test, "2", || {
        let strangers = Arc::new(AtomicUsize::new(0));
        for _ in 0..1_500 {
            let (one, other) = unix_pair(libc::SOCK_STREAM);
            let reader = fiber(move || {
                let mut buf = [0u8; 8];
                (read(one, &mut buf), buf)
            });
            await_parked(one, 1);
            assert_eq!(destroy(one), 0);
            // The same number, most times, with bytes that are not the reader's.
            let (new, peer) = unix_pair(libc::SOCK_STREAM);
            plain_send(peer, b"secret");
            let (told, buf) = reader.join();
            assert_eq!((told, buf), (CLOSED, [0; 8]));
            strangers.fetch_add(usize::from(new == one), Ordering::Relaxed);
            let mut buf = [0u8; 8];
            assert_eq!(read(new, &mut buf), 6);
            assert_eq!((destroy(new), destroy(peer), destroy(other)), (0, 0, 0));
        }
        assert!(strangers.load(Ordering::Relaxed) > 1_000);
    });
}

#[test]
fn more_operations_at_once_than_the_ring_has_room_for_all_end() {
    const FIBERS: usize = 6_000; // of 1,024 and 4,096
    const PAIRS: usize = 200;
    let test = "more_operations_at_once_than_the_ring_has_room_for_all_end";
    on_rings(test, "1", || {
        let pairs: Vec<_> = (0..PAIRS).map(|_| unix_pair(libc::SOCK_STREAM)).collect();
        let ended = Arc::new(AtomicUsize::new(0));
        // They read and write as fast as they are let, all in one turn.
        let fibers: Vec<_> = (0..FIBERS)
            .map(|at| {
                let (here, there) = pairs[at % PAIRS];
                let ended = Arc::clone(&ended);
                fiber(move || {
                    let n = if (at / PAIRS).is_multiple_of(2) {
                        write(here, b"x")
                    } else {
                        read(there, &mut [0])
                    };
                    ended.fetch_add(1, Ordering::Relaxed);
                    n
                })
            })
            .collect();
        assert!(fibers.into_iter().all(|fiber| fiber.join() == 1));
        assert_eq!(ended.load(Ordering::Relaxed), FIBERS);
        assert!(stats().submissions >= FIBERS as u64);
        for (here, there) in pairs {
            assert_eq!((destroy(here), destroy(there)), (0, 0));
        }
    });
}

#[test]
fn a_child_of_fork_has_no_ring_and_makes_its_own() {
    let test = "a_child_of_fork_has_no_ring_and_makes_its_own";
    on_rings(test, "1", || {
        assert_eq!(submissions_of_an_echo(), 4);
        // SAFETY: the child calls what a child may, and exits.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
            let inherited = maps.contains("io_uring");
            let own = submissions_of_an_echo() == 4;
            // SAFETY: it ends the child.
            unsafe { libc::_exit(c_int::from(inherited || !own)) };
        }
        let mut status = -1;
        // SAFETY: the status is there to be written.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert_eq!(status, 0);
        assert_eq!(submissions_of_an_echo(), 4, "the parent's goes on");
    });
}

/// What the parent's rings have to do is none of the child's business.
#[test]
fn a_child_of_fork_does_not_wait_for_a_write_of_its_parents_ring() {
    let test = "a_child_of_fork_does_not_wait_for_a_write_of_its_parents_ring";
    on_rings(test, "1", || {
        let (one, other) = tcp_pair();
        let writer = fiber(move || write(one, &vec![0; 64 << 20]));
        await_parked(one, 1);
        // SAFETY: the child calls what a child may, and exits.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: it takes seconds. Without it a child that hangs would stay.
            unsafe { libc::alarm(20) };
            while polled(one, 0) & libc::POLLHUP == 0 {}
            std::thread::sleep(std::time::Duration::from_millis(20));
            let told = read(one, &mut [0; 8]);
            // SAFETY: it ends the child.
            unsafe { libc::_exit(c_int::from(told > 0)) };
        }
        assert_eq!(shutdown(one, libc::SHUT_RDWR), 0);
        assert!(writer.join() < 64 << 20);
        await_that("the child reads, and ends well", || {
            let mut status = -1;
            // SAFETY: the status is there to be written.
            let ended = unsafe { libc::waitpid(child, &mut status, libc::WNOHANG) };
            ended == child && status == 0
        });
        assert_eq!((destroy(one), destroy(other)), (0, 0));
    });
}

/// The kernel tells a reset once, and here tells it the writer, who hears of it
/// later than the reader is told 0.
#[test]
fn a_reset_that_a_rings_write_was_told_is_no_end_of_the_stream() {
    let test = "a_reset_that_a_rings_write_was_told_is_no_end_of_the_stream";
    on_rings(test, "2", || {
        for _ in 0..300 {
            let (one, other) = tcp_pair();
            let writer = fiber(move || {
                let bytes = vec![0; 1 << 20];
                loop {
                    let n = write(one, &bytes);
                    if n != 1 << 20 {
                        return n;
                    }
                }
            });
            let reader = fiber(move || read(one, &mut [0; 8]));
            await_parked(one, 2);
            reset(other);
            assert_eq!(reader.join(), no(libc::ECONNRESET));
            let told = writer.join();
            assert!(
                told >= 0 || told == no(libc::ECONNRESET) || told == no(libc::EPIPE),
                "{told}"
            );
            assert_eq!(destroy(one), 0);
        }
    });
}

/// Linux 6.18 sends an empty message in the place of one that it had to try
/// twice in a ring: the receiver was full of others'.
#[test]
fn a_message_that_waits_for_room_arrives_whole() {
    let test = "a_message_that_waits_for_room_arrives_whole";
    on_rings(test, "1", || {
        let name = format!("@netfd-whole-{}", std::process::id());
        let (full, at) = bound("unixgram", &name);
        let [filler, sender] = [(); 2].map(|()| {
            let fd = socket(libc::AF_UNIX, libc::SOCK_DGRAM);
            assert_eq!(connect(fd, &at), 0);
            fd
        });
        let mut queued = 0;
        // SAFETY: the byte is there.
        while unsafe { libc::send(filler, b"x".as_ptr().cast(), 1, libc::MSG_DONTWAIT) } == 1 {
            queued += 1;
        }
        let writer = fiber(move || write(sender, b"whole"));
        await_parked(sender, 1);
        let mut buf = [0; 8];
        for _ in 0..queued {
            assert_eq!(read(full, &mut buf), 1);
        }
        assert_eq!(read(full, &mut buf), 5);
        assert_eq!((writer.join(), &buf[..5]), (5, &b"whole"[..]));
        assert_eq!((destroy(full), destroy(filler), destroy(sender)), (0, 0, 0));
    });
}

/// Runs `body` with one worker, with a ring and without.
fn on_both(test: &str, body: impl FnOnce() + Copy) {
    if std::env::var_os("NETFD_POLL").is_some() {
        return body(); // by itself already, or under the poller that was asked for
    }
    for poller in ["uring", "epoll"] {
        let variables = [("NETFD_POLL", poller), ("NETFD_WORKERS", "1")];
        let _ = alone_under(test, &[], &variables, body);
    }
}

/// A fiber that waits for input or room takes nothing from one that receives.
#[test]
fn a_wait_for_both_directions_takes_no_edge_of_a_receiver() {
    let test = "a_wait_for_both_directions_takes_no_edge_of_a_receiver";
    on_both(test, || {
        let (one, other) = udp_pair();
        let ends = Arc::new(AtomicUsize::new(0));
        let over = Arc::clone(&ends);
        let receiver = fiber(move || recv(one, &mut [0; 8], 0));
        await_parked(one, 1);
        let looker = fiber(move || {
            while over.load(Ordering::Relaxed) == 0 {
                let both = NETFD_READABLE | NETFD_WRITABLE;
                assert!(wait(one, both, NETFD_NO_DEADLINE) > 0);
                yield_now();
            }
        });
        plain_send(other, b"x");
        assert_eq!(receiver.join(), 1);
        ends.store(1, Ordering::Relaxed);
        looker.join();
        assert_eq!((destroy(one), destroy(other)), (0, 0));
    });
}

/// What a writer has tried says nothing of what there is to be read.
#[test]
fn a_writer_that_parks_hides_no_end_of_the_stream() {
    let test = "a_writer_that_parks_hides_no_end_of_the_stream";
    on_both(test, || {
        let (one, other) = tcp_pair();
        fill(one);
        std::thread::sleep(std::time::Duration::from_millis(300));
        fill(one);
        let reader = fiber(move || {
            let first = readv(one, &mut [vec![0; 64]]);
            go(move || {
                let _ = writev(one, &[&[0; 100_000]]);
            });
            sleep(1_000_000);
            let second = readv(one, &mut [vec![0; 64]]);
            (first, second)
        });
        await_parked(one, 1);
        go(move || {
            // In one piece, for the worker.
            plain_send(other, b"0123456789");
            // SAFETY: no pointers.
            unsafe { libc::shutdown(other, libc::SHUT_WR) };
        });
        let read = reader.join();
        assert_eq!(read, (10, 0));
        assert_eq!((destroy(one), destroy(other)), (0, 0));
    });
}

/// A TCP connection whose first end has an entry in its error queue, which
/// stands there and makes it ready for ever: that of a send without a copy.
fn pair_with_a_notice() -> (c_int, c_int) {
    let (one, other) = tcp_pair();
    set_option(one, libc::SOL_SOCKET, libc::SO_ZEROCOPY, 1);
    let bytes = [0u8; 5000];
    // SAFETY: the buffer is as long as said.
    let n = unsafe { libc::send(one, bytes.as_ptr().cast(), 5000, libc::MSG_ZEROCOPY) };
    assert_eq!(n, 5000);
    await_that("the notice", || polled(one, 0) & libc::POLLERR != 0);
    (one, other)
}

/// An entry in the error queue is no end of both directions.
#[test]
fn the_end_of_a_stream_does_not_wait_for_a_write_that_goes_on() {
    let test = "the_end_of_a_stream_does_not_wait_for_a_write_that_goes_on";
    on_both(test, || {
        let (one, other) = pair_with_a_notice();
        let writer = fiber(move || write(one, &vec![0; 64 << 20]));
        await_parked(one, 1);
        assert_eq!(shutdown(other, libc::SHUT_WR), 0);
        let reader = fiber(move || read(one, &mut [0; 8]));
        assert_eq!(reader.join(), 0);
        let ends = spawn(move || destroy(one));
        assert_eq!((ends.join(), writer.join() > 0), (0, true));
        assert_eq!(destroy(other), 0);
    });
}

/// A socket that is ready for ever, and has nothing: a read can be called off.
#[test]
fn a_read_beside_an_error_queue_waits_and_is_called_off() {
    let test = "a_read_beside_an_error_queue_waits_and_is_called_off";
    on_both(test, || {
        let (fd, at) = with_error_queue();
        let late = fiber(move || {
            assert_eq!(set_read_deadline(fd, after(100_000_000)), 0);
            let told = read(fd, &mut [0; 8]);
            assert_eq!(set_read_deadline(fd, NETFD_NO_DEADLINE), 0);
            told
        });
        assert_eq!(late.join(), DEADLINE);
        let reader = fiber(move || read(fd, &mut [0; 8]));
        await_parked(fd, 1);
        let (from, _) = udp();
        assert_eq!(sendto(from, b"xy", 0, Some(&at)), 2);
        assert_eq!(reader.join(), 2);
        let reader = fiber(move || read(fd, &mut [0; 8]));
        await_parked(fd, 1);
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert_eq!(detach(fd), fd);
        assert_eq!(reader.join(), CLOSED);
        plain_close(fd);
        assert_eq!(destroy(from), 0);
    });
}

/// Who found nothing twice, since others were quicker, sleeps all the same.
#[test]
fn receivers_that_were_late_do_not_poll_for_ever() {
    let test = "receivers_that_were_late_do_not_poll_for_ever";
    on_both(test, || {
        let (one, other) = udp_pair();
        let receiver = fiber(move || recv(one, &mut [0; 8], 0));
        await_parked(one, 1);
        for _ in 0..4 {
            // It is taken before the worker's fiber can look.
            go(move || {
                plain_send(other, b"x");
                yield_now();
                let _ = plain_recv(one);
            });
            std::thread::sleep(std::time::Duration::from_millis(20));
            let mut left = [0u8; 8];
            // SAFETY: there is room for so many bytes.
            unsafe { libc::recv(one, left.as_mut_ptr().cast(), 8, libc::MSG_DONTWAIT) };
        }
        let before = stats().switches;
        std::thread::sleep(std::time::Duration::from_millis(300));
        let switches = stats().switches - before;
        plain_send(other, b"x");
        assert_eq!(receiver.join(), 1);
        assert!(switches < 20, "{switches}");
        assert_eq!((destroy(one), destroy(other)), (0, 0));
    });
}

/// What the ring refuses is tried, and not waited for: what is there already
/// makes no edge.
#[test]
fn a_read_that_the_ring_refuses_finds_what_is_there() {
    let test = "a_read_that_the_ring_refuses_finds_what_is_there";
    on_rings(test, "1", || {
        let (one, other) = tcp_pair();
        let pairs: Vec<_> = (0..300).map(|_| unix_pair(libc::SOCK_STREAM)).collect();
        let victim = fiber(move || {
            // It registers, takes the edge, and leaves bytes.
            assert_eq!(readv(one, &mut [vec![0; 2]]), 2);
            // The worker's ring is full, and takes no more.
            deny(libc::SYS_io_uring_enter, libc::EBUSY);
            for fd in pairs.into_iter().flat_map(|(here, there)| [here, there]) {
                go(move || assert!(read(fd, &mut [0]) <= 1));
                go(move || assert!(write(fd, &[0]) <= 1));
            }
            yield_now();
            read(one, &mut [0; 64])
        });
        await_parked(one, 1);
        plain_send(other, b"0123456789");
        assert_eq!(victim.join(), 8);
    });
}

/// A child that a fiber made goes on as a thread: it tries, and then waits.
#[test]
fn a_fibers_child_writes_where_there_is_little_room() {
    let test = "a_fibers_child_writes_where_there_is_little_room";
    on_both(test, || {
        let (one, other) = unix_pair(libc::SOCK_STREAM);
        while polled(one, libc::POLLOUT) != 0 {
            plain_send(one, &[0; 1000]);
        }
        let parent = fiber(move || {
            // SAFETY: the child calls what a child may, and exits.
            let child = unsafe { libc::fork() };
            if child == 0 {
                // A worker's signals are blocked: alarm(2) would end nothing.
                let _ = set_deadline(one, after(3_000_000_000));
                let told = write(one, b"x");
                // SAFETY: it ends the child.
                unsafe { libc::_exit(c_int::from(told != 1)) };
            }
            let mut status = -1;
            // SAFETY: the status is there to be written.
            assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
            status
        });
        assert_eq!(parent.join(), 0);
        assert_eq!((destroy(one), destroy(other)), (0, 0));
    });
}

/// A filter may let rings be made, and not be used.
#[test]
fn rings_that_may_not_be_entered_are_done_without() {
    let test = "rings_that_may_not_be_entered_are_done_without";
    let options = [
        "-E",
        "NETFD_POLL=uring",
        "-e",
        "inject=io_uring_enter:error=EPERM",
    ];
    let _ = alone_under_strace(test, &options, || {
        assert_eq!(submissions_of_an_echo(), 0);
    });
}

/// A send that the kernel gave to a thread of its own, since the socket is
/// ready for ever, is called off as any other.
#[test]
fn a_write_beside_an_error_queue_is_called_off() {
    let test = "a_write_beside_an_error_queue_is_called_off";
    on_both(test, || {
        let (one, other) = pair_with_a_notice();
        let writer = fiber(move || {
            assert_eq!(set_write_deadline(one, after(300_000_000)), 0);
            write(one, &vec![0; 64 << 20])
        });
        let wrote = writer.join();
        assert!(wrote > 0 && wrote < 64 << 20, "{wrote}");
        assert_eq!(set_write_deadline(one, NETFD_NO_DEADLINE), 0);
        let writer = fiber(move || write(one, &vec![0; 64 << 20]));
        await_parked(one, 1);
        assert_eq!((destroy(one), destroy(other)), (0, 0));
        let wrote = writer.join();
        assert!(wrote > 0 || wrote == CLOSED, "{wrote}");
    });
}

#[test]
fn a_read_beside_an_error_queue_is_called_off_at_any_moment() {
    let test = "a_read_beside_an_error_queue_is_called_off_at_any_moment";
    on_both(test, || {
        for round in 0..150u32 {
            let (fd, _) = with_error_queue();
            let reader = fiber(move || read(fd, &mut [0; 8]));
            await_parked(fd, 1);
            for _ in 0..round * 100 {
                std::hint::spin_loop();
            }
            let ends = spawn(move || destroy(fd));
            assert_eq!((ends.join(), reader.join()), (0, CLOSED), "{round}");
        }
    });
}
