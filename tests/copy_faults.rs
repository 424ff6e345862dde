//! Copying where the kernel refuses, is short of something, or hits back:
//! splice(2) and sendfile(2) that fail, no pipe to be had, SIGPIPE, fork(2), a
//! number that is used again. The header's principles on the process and on
//! numbers; Go's fallbacks (internal/poll/splice_linux.go, sendfile.go).

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
use std::collections::BTreeSet;
use std::mem::zeroed;
use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const ALL: usize = (3 << 20) + 77;

/// Copies streams of every kind, with a slow start and a park on each side.
fn copy_streams() {
    for line in Line::all() {
        let copier = line.copier();
        await_parked(line.src, 1);
        let feeder = line.feed(ALL);
        assert!(read_exactly(line.reader, ALL) == pattern(ALL));
        assert_eq!(copier.join(), ALL as i64, "{}", error_text());
        assert_eq!(feeder.join(), ALL as isize);
        assert_eq!(plain_recv(line.reader), None, "no byte twice");
        assert_eq!(write(line.dst, b"x"), 1, "no hole");
        line.end();
    }
}

/// Sends a file in two ways.
fn send_files() {
    let bytes = pattern(ALL);
    for (fd, peer) in [tcp_pair(), unix_stream()] {
        for at in [-1, 0] {
            let file = file(&bytes);
            let from = file.as_raw_fd();
            let sender = spawn(move || sendfile(fd, from, at, -1));
            assert!(read_exactly(peer, ALL) == bytes);
            assert_eq!(sender.join(), ALL as i64);
            assert_eq!(offset(&file), if at < 0 { ALL as i64 } else { 0 });
            assert_eq!(plain_recv(peer), None, "no byte twice");
        }
        destroy(fd);
        destroy(peer);
    }
}

/// Runs `body` under strace(1) once for each of `faults`, which the calls of
/// `call` meet. `when` counts the calls of each thread, so each caller is one;
/// and after an EAGAIN that is none no edge comes, for which a fiber waits.
fn under_faults(test: &str, call: &str, faults: &[&str], body: fn()) {
    for fault in faults {
        let trace = format!("trace={call}");
        let inject = format!("inject={call}:{fault}");
        let options = ["-e", &trace, "-e", &inject];
        let body = || {
            threads_only();
            body();
        };
        match alone_under_strace(test, &options, body) {
            Some(trace) => assert!(trace.contains("(INJECTED)"), "{fault}: {trace}"),
            None => return,
        }
    }
}

/// The first call of a copier finds nothing, and parks. The second fills the
/// pipe, the third empties it.
#[test]
fn a_copy_is_exact_whatever_its_splices_say() {
    let mut faults = Vec::new();
    for errno in [
        "EINVAL",
        "ENOSYS",
        "EPERM",
        "EOPNOTSUPP",
        "ENOMEM",
        "EINTR",
        "EAGAIN",
        "EINPROGRESS", // a fast open's first send
    ] {
        for when in ["1", "2", "3", "5", "6"] {
            faults.push(format!("error={errno}:when={when}"));
        }
    }
    faults.push("error=EINVAL:when=1+".into());
    faults.push("error=ENOSYS:when=1+".into());
    faults.push("error=EINTR:when=1+2".into());
    faults.push("retval=0:when=2".into()); // an end that is none
    let faults: Vec<&str> = faults.iter().map(String::as_str).collect();
    let test = "a_copy_is_exact_whatever_its_splices_say";
    under_faults(test, "splice", &faults, copy_streams);
}

#[test]
fn a_file_is_sent_whole_whatever_sendfile_says() {
    let mut faults = Vec::new();
    for errno in [
        "EINVAL", "ENOSYS", "EPERM", "ENOMEM", "EIO", "EINTR", "EAGAIN",
    ] {
        for when in ["1", "2"] {
            faults.push(format!("error={errno}:when={when}"));
        }
    }
    faults.push("error=EINVAL:when=1+".into());
    faults.push("error=EINTR:when=1+2".into());
    faults.push("retval=0:when=2".into());
    let faults: Vec<&str> = faults.iter().map(String::as_str).collect();
    let test = "a_file_is_sent_whole_whatever_sendfile_says";
    under_faults(test, "sendfile", &faults, send_files);
}

#[test]
fn a_pipe_that_cannot_be_made_or_made_large_is_done_without() {
    let test = "a_pipe_that_cannot_be_made_or_made_large_is_done_without";
    let faults = ["error=EMFILE:when=1+", "error=ENFILE:when=1"];
    under_faults(test, "pipe2", &faults, copy_streams);
}

/// Has every call of these numbers fail with `errno` from here on, in this
/// process and for good.
fn deny(calls: &[libc::c_long], errno: c_int) {
    let statement = |code: u32, k: u32, jt: usize| libc::sock_filter {
        code: code as u16,
        jt: jt as u8,
        jf: 0,
        k,
    };
    // Load the number; for each, jump to the end where it is the one.
    let mut program = vec![statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0)];
    for (at, call) in calls.iter().enumerate() {
        let jump = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
        program.push(statement(jump, *call as u32, calls.len() - at));
    }
    let ret = libc::BPF_RET | libc::BPF_K;
    program.push(statement(ret, libc::SECCOMP_RET_ALLOW, 0));
    program.push(statement(ret, libc::SECCOMP_RET_ERRNO | errno as u32, 0));
    let filter = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: no pointers.
    let alone = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    let mode = libc::SECCOMP_MODE_FILTER;
    // SAFETY: the program lives over the call.
    let denied = unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const filter) };
    assert_eq!((alone, denied), (0, 0));
}

#[test]
fn where_splice_and_sendfile_are_denied_all_is_copied() {
    if !by_itself("where_splice_and_sendfile_are_denied_all_is_copied") {
        return;
    }
    deny(&[libc::SYS_splice, libc::SYS_sendfile], libc::EPERM);
    let (one, two) = pipe(libc::O_NONBLOCK);
    // SAFETY: no offsets are given.
    let n = unsafe { libc::splice(one, ptr::null_mut(), two, ptr::null_mut(), 1, 0) };
    assert_eq!(n, -1, "it is denied");
    copy_streams();
    send_files();
}

#[test]
fn where_no_descriptor_is_left_all_is_copied() {
    if !by_itself("where_no_descriptor_is_left_all_is_copied") {
        return;
    }
    let lines = Line::all();
    limit_fds(64);
    let held = use_up_fds();
    for line in lines {
        let begun = Arc::new(AtomicBool::new(false));
        let flag = begun.clone();
        let copier = spawn(move || {
            flag.store(true, Ordering::Release);
            copy(line.dst, line.src, -1)
        });
        await_that("it has begun", || begun.load(Ordering::Acquire));
        let feeder = line.feed(ALL);
        assert!(read_exactly(line.reader, ALL) == pattern(ALL));
        assert_eq!(copier.join(), ALL as i64);
        feeder.join();
    }
    // Nor can what is parked be woken by a descriptor.
    let line = Line {
        feeder: lines[0].reader,
        src: lines[0].dst,
        dst: lines[0].src,
        reader: lines[0].feeder,
    };
    let copier = line.copier();
    let evicter = spawn(move || destroy(line.dst));
    assert_eq!(copier.join(), code(NETFD_ECLOSED));
    assert_eq!(evicter.join(), 0);
    drop(held);
}

fn default_sigpipe() {
    // SAFETY: no handler is installed.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

/// Copies and sends to peers that are gone: through a pipe, from a file, by
/// reading and writing.
fn write_to_the_dead() {
    let epipe = code(-libc::EPIPE);
    let file = file(&pattern(1 << 20));
    for to in [unix_stream, tcp_pair] {
        let line = Line::new(unix_stream, to);
        // One's own end: TCP says EPIPE for it at once, a peer's end is told
        // as a reset first.
        shutdown(line.dst, libc::SHUT_WR);
        assert_eq!(write(line.feeder, b"x"), 1);
        assert_eq!(copy(line.dst, line.src, -1), epipe);
        assert_eq!(
            sendfile(line.dst, file.as_raw_fd(), 0, -1),
            epipe,
            "the hole"
        );
        assert_eq!(sendfile(line.dst, file.as_raw_fd(), 0, -1), epipe);
        assert_eq!(copy(line.dst, file.as_raw_fd(), 1), epipe);
        line.end();
    }
    let unconnected = socket(libc::AF_INET, libc::SOCK_STREAM);
    assert_eq!(sendfile(unconnected, file.as_raw_fd(), 0, -1), epipe);
    destroy(unconnected);
    let line = Line::new(seqpacket, seqpacket);
    destroy(line.reader);
    assert_eq!(write(line.feeder, b"x"), 1);
    assert_eq!(copy(line.dst, line.src, -1), epipe);
    line.end_without(line.reader);
}

#[test]
fn sigpipe_is_not_raised() {
    if !by_itself("sigpipe_is_not_raised") {
        return;
    }
    default_sigpipe();
    write_to_the_dead();
    assert!(!is_sigpipe_pending());
}

/// The kernel tells of bytes that went, and has raised the signal for those
/// behind them. The deadline sees to it that the call is not made again, which
/// would be told.
#[test]
fn sigpipe_is_not_raised_by_a_peer_that_goes_in_the_middle_of_a_call() {
    if !by_itself("sigpipe_is_not_raised_by_a_peer_that_goes_in_the_middle_of_a_call") {
        return;
    }
    default_sigpipe();
    let (out, into) = pipe(0);
    // SAFETY: no pointers.
    let room = unsafe { libc::fcntl(into, libc::F_SETPIPE_SZ, 1 << 20) };
    let file = file(&pattern(4 << 20));
    let from = file.as_raw_fd();
    for round in 0..600 {
        let to = if round % 2 == 0 {
            unix_stream
        } else {
            tcp_pair
        };
        let (fd, peer) = to();
        let sender = if round % 4 < 2 {
            spawn(move || sendfile(fd, from, 0, -1))
        } else {
            while polled(into, libc::POLLOUT) != 0 {
                plain_write(into, &[0; 4096]); // small parts are many sends
            }
            spawn(move || copy(fd, out, room.into()))
        };
        read(peer, &mut vec![0; 1 + 500 * round]);
        destroy(peer);
        set_write_deadline(fd, -1);
        sender.join();
        destroy(fd);
    }
    assert!(!is_sigpipe_pending());
}

fn is_sigpipe_pending() -> bool {
    // SAFETY: an all-zero sigset_t is one to be filled in.
    let mut pending: libc::sigset_t = unsafe { zeroed() };
    // SAFETY: it is there to be written.
    assert_eq!(unsafe { libc::sigpending(&mut pending) }, 0);
    // SAFETY: the set was filled in.
    unsafe { libc::sigismember(&pending, libc::SIGPIPE) == 1 }
}

fn block_sigpipe() {
    // SAFETY: an all-zero sigset_t is one to be filled in.
    let mut set: libc::sigset_t = unsafe { zeroed() };
    // SAFETY: it is there to be written.
    unsafe { libc::sigemptyset(&mut set) };
    // SAFETY: likewise.
    unsafe { libc::sigaddset(&mut set, libc::SIGPIPE) };
    // SAFETY: the set was filled in; the old one is not wanted.
    let told = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &set, ptr::null_mut()) };
    assert_eq!(told, 0);
}

#[test]
fn a_thread_that_blocks_sigpipe_finds_none_pending_and_blocks_it_still() {
    if !by_itself("a_thread_that_blocks_sigpipe_finds_none_pending_and_blocks_it_still") {
        return;
    }
    default_sigpipe();
    block_sigpipe();
    write_to_the_dead();
    assert!(!is_sigpipe_pending());
    // SAFETY: no pointers.
    assert_eq!(unsafe { libc::raise(libc::SIGPIPE) }, 0); // or it dies here
    assert!(is_sigpipe_pending());
}

#[test]
fn a_sigpipe_that_was_pending_stays_so() {
    if !by_itself("a_sigpipe_that_was_pending_stays_so") {
        return;
    }
    default_sigpipe();
    block_sigpipe();
    // SAFETY: no pointers.
    assert_eq!(unsafe { libc::raise(libc::SIGPIPE) }, 0);
    write_to_the_dead();
    assert!(is_sigpipe_pending());
}

fn pipes() -> BTreeSet<String> {
    let all = std::fs::read_dir("/proc/self/fd").expect("procfs");
    all.filter_map(|entry| {
        let path = std::fs::read_link(entry.ok()?.path()).ok()?;
        let name = path.to_string_lossy().into_owned();
        name.starts_with("pipe:").then_some(name)
    })
    .collect()
}

/// A copy of one byte.
fn copy_once() {
    let line = Line::new(unix_stream, unix_stream);
    assert_eq!(write(line.feeder, b"x"), 1);
    assert_eq!(copy(line.dst, line.src, 1), 1);
    assert_eq!(read_exactly(line.reader, 1), b"x");
    line.end();
}

#[test]
fn a_child_makes_pipes_of_its_own() {
    if !by_itself("a_child_makes_pipes_of_its_own") {
        return;
    }
    copy_once();
    let before = pipes();
    copy_once();
    assert_eq!(pipes(), before, "it is used again");
    // SAFETY: the child calls what is written for it, and _exit.
    let child = unsafe { libc::fork() };
    if child == 0 {
        copy_once();
        let new: Vec<_> = pipes().difference(&before).cloned().collect();
        copy_once();
        let all = pipes();
        let ok = new.len() == 1 && all.len() == before.len() + 1;
        // SAFETY: it does not return.
        unsafe { libc::_exit(i32::from(!ok)) };
    }
    copy_once();
    let mut status = 0;
    // SAFETY: the status is there to be written.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0);
    assert_eq!(pipes(), before, "the parent's are the parent's");
}

/// Destroys one of the two while it copies, and has strangers take its number
/// at once.
fn destroyed_meanwhile(rounds: usize, of_src: bool) {
    let mut early = 0;
    for round in 0..rounds {
        let line = Line::new(unix_stream, unix_stream);
        let gone = if of_src { line.src } else { line.dst };
        assert_eq!(write(line.feeder, b"bytes"), 5);
        let copier = line.copier();
        for _ in 0..round % 50 * 20 {
            std::hint::spin_loop();
        }
        if round % 3 == 0 {
            await_parked(line.dst, 1);
        }
        let free = Arc::new(AtomicBool::new(false));
        let seen = free.clone();
        let taker = spawn(move || {
            let mut strangers = Vec::new();
            loop {
                let pair = plain_pair(libc::SOCK_STREAM);
                plain_send(pair.1, b"secret");
                strangers.push(pair);
                if pair.0 == gone || pair.1 == gone {
                    return strangers;
                }
                if strangers.len() >= 100 {
                    await_that("it is free", || seen.load(Ordering::Acquire));
                }
            }
        });
        assert_eq!(destroy(gone), 0);
        free.store(true, Ordering::Release);
        let strangers = taker.join();
        let n = copier.join();
        assert!(n == 5 || n == code(NETFD_ECLOSED), "{n}");
        early += usize::from(n != 5);
        for (one, two) in strangers {
            assert_eq!(plain_recv(one).as_deref(), Some(&b"secret"[..]));
            assert_eq!(plain_recv(two), None, "nobody wrote to it");
            plain_close(one);
            plain_close(two);
        }
        line.end_without(gone);
    }
    println!("{early} of {rounds} ended before they copied");
}

#[test]
fn a_destroyed_src_whose_number_is_used_again_is_never_read() {
    if by_itself("a_destroyed_src_whose_number_is_used_again_is_never_read") {
        destroyed_meanwhile(3_000, true);
    }
}

#[test]
fn a_destroyed_dst_whose_number_is_used_again_is_never_written() {
    if by_itself("a_destroyed_dst_whose_number_is_used_again_is_never_written") {
        destroyed_meanwhile(3_000, false);
    }
}
