//! netfd_stats and netfd_dump: what is open, and who is parked on what. Counts
//! are of the whole process, so each test here runs in one of its own.

#![allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test says what it expects, and knows the sizes"
)]

mod common;

use common::fibers::*;
use common::*;
use libc::{AF_INET, AF_UNIX, SOCK_DGRAM, SOCK_STREAM, c_int};
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd};

#[test]
fn open_fds_is_what_is_attached() {
    alone("open_fds_is_what_is_attached", || {
        assert_eq!(stats().open_fds, 0);
        let (client, server) = tcp_pair();
        assert_eq!(stats().open_fds, 2);
        let (one, two) = unix_pair(SOCK_DGRAM);
        assert_eq!(stats().open_fds, 4);
        // SAFETY: no pointers.
        assert_eq!(unsafe { netfd_detach(one) }, one);
        assert_eq!(stats().open_fds, 3);
        // SAFETY: the descriptor is ours again.
        assert_eq!(unsafe { libc::close(one) }, 0);
        for fd in [client, server, two] {
            assert_eq!(destroy(fd), 0);
        }
        assert_eq!(stats().open_fds, 0);
    });
}

#[test]
fn parked_is_who_waits_and_who_queues() {
    alone("parked_is_who_waits_and_who_queues", || {
        let (fd, _) = listener();
        let (one, two) = tcp_pair();
        assert_eq!(stats().parked, 0);
        let accepts: Vec<_> = (0..3).map(|_| spawn(move || accept(fd))).collect();
        let reads = spawn(move || read(one, &mut [0]));
        await_parked(fd, 3);
        await_parked(one, 1);
        await_that("all four are counted", || stats().parked == 4);
        assert_eq!(write(two, b"!"), 1);
        assert_eq!(reads.join(), 1);
        await_that("one has gone", || stats().parked == 3);
        assert_eq!(destroy(fd), 0);
        for one in accepts {
            assert_eq!(one.join(), NETFD_ECLOSED);
        }
        await_that("all have gone", || stats().parked == 0);
    });
}

#[test]
fn accepts_parks_and_wakeups_are_counted() {
    alone("accepts_parks_and_wakeups_are_counted", || {
        let (fd, at) = listener();
        let before = stats();
        for _ in 0..5 {
            let client = socket(AF_INET, SOCK_STREAM);
            assert_eq!(connect(client, &at), 0);
            assert_eq!(destroy(accept(fd)), 0);
            assert_eq!(destroy(client), 0);
        }
        assert_eq!(stats().accepts - before.accepts, 5);
        let before = stats();
        let waiting = spawn(move || accept(fd));
        await_parked(fd, 1);
        let parked = stats();
        assert!(parked.parks > before.parks);
        assert_eq!(parked.wakeups, before.wakeups);
        assert_eq!(destroy(fd), 0);
        assert_eq!(waiting.join(), NETFD_ECLOSED);
        assert_eq!(stats().wakeups - parked.wakeups, 1);
        assert_eq!(stats().accepts, parked.accepts, "counts outlive the fd");
    });
}

#[test]
fn fibers_are_counted_from_their_start_to_their_end() {
    alone("fibers_are_counted_from_their_start_to_their_end", || {
        no_twin(); // it would be counted
        assert_eq!(stats().fibers, 0);
        let (one, other) = unix_pair(SOCK_STREAM);
        let fibers: Vec<_> = (0..3).map(|_| fiber(move || read(one, &mut [0]))).collect();
        assert_eq!(stats().fibers, 3);
        await_parked(one, 3);
        assert_eq!(stats().parked, 3);
        assert_eq!(write(other, b"abc"), 3);
        for one in fibers {
            assert_eq!(one.join(), 1);
        }
        await_that("all have ended", || stats().fibers == 0);
    });
}

#[test]
fn a_switch_is_counted_each_time_that_a_fiber_runs() {
    alone("a_switch_is_counted_each_time_that_a_fiber_runs", || {
        no_twin(); // it would be counted
        assert_eq!(stats().switches, 0);
        fiber(|| (0..100).for_each(|_| yield_now())).join();
        await_that("it has ended", || stats().fibers == 0);
        assert_eq!(stats().switches, 101);
        let (one, other) = unix_pair(SOCK_STREAM);
        let reader = fiber(move || read(one, &mut [0]));
        await_parked(one, 1);
        assert_eq!(stats().switches, 102);
        assert_eq!(write(other, b"!"), 1);
        assert_eq!(reader.join(), 1);
        assert_eq!(stats().switches, 103);
    });
}

#[test]
fn on_epoll_nothing_is_submitted() {
    let vars = [("NETFD_POLL", "epoll")];
    let _ = alone_under("on_epoll_nothing_is_submitted", &[], &vars, || {
        let (one, other) = unix_pair(SOCK_STREAM);
        let reader = fiber(move || read(one, &mut [0]));
        await_parked(one, 1);
        assert_eq!(write(other, b"!"), 1);
        assert_eq!(reader.join(), 1);
        assert_eq!(stats().submissions, 0);
    });
}

#[test]
fn who_is_parked_on_no_descriptor_is_counted_too() {
    alone("who_is_parked_on_no_descriptor_is_counted_too", || {
        no_twin(); // it would be counted
        let parked = Aside::park();
        await_that("all are counted", || stats().parked == 5);
        parked.end();
        assert_eq!(stats().parked, 2);
    });
}

#[test]
fn a_failed_accept_is_not_counted() {
    alone("a_failed_accept_is_not_counted", || {
        let (fd, _) = listener();
        // SAFETY: no pointers.
        assert_eq!(unsafe { netfd_set_read_deadline(fd, 1) }, 0);
        assert_eq!(accept(fd), NETFD_EDEADLINE);
        assert_eq!(stats().accepts, 0);
        assert_eq!(destroy(fd), 0);
    });
}

#[test]
fn stats_obeys_the_size_of_the_struct() {
    let whole = size_of::<netfd_stats>();
    let (fd, _) = listener();
    for size in [8, 12, 16, whole, whole + 8, whole + 11] {
        let mut words = [u64::from_ne_bytes([0xaa; 8]); 20];
        words[0] = size as u64;
        // SAFETY: there are 160 bytes, and the size is less.
        assert_eq!(unsafe { netfd_stats(words.as_mut_ptr().cast()) }, 0);
        assert_eq!(words[0], size as u64);
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        assert!(bytes[size..].iter().all(|byte| *byte == 0xaa), "{size}");
        if size >= 16 {
            assert!((1..1000).contains(&words[1]), "open_fds is filled in");
        }
        if size > whole {
            assert!(bytes[whole..size].iter().all(|byte| *byte == 0), "{size}");
        }
    }
    assert_eq!(destroy(fd), 0);
}

#[test]
fn a_dump_has_a_line_for_each_descriptor_with_its_addresses() {
    alone(
        "a_dump_has_a_line_for_each_descriptor_with_its_addresses",
        || {
            assert_eq!(dump(), "");
            let (client, server) = tcp_pair();
            let path = unix_path("dump");
            let (fd, _) = listener_at("unix", &path);
            let (one, two) = (local_addr(client).text(), local_addr(server).text());
            let text = dump();
            assert_eq!(text.lines().count(), 3, "{text}");
            for line in [
                format!("fd {client} tcp {one} -> {two}"),
                format!("fd {server} tcp {two} -> {one}"),
                format!("fd {fd} unix {path} -> "),
            ] {
                assert!(text.lines().any(|is| is == line), "{line:?} in {text:?}");
            }
            std::fs::remove_file(path).unwrap();
        },
    );
}

#[test]
fn a_dump_tells_which_thread_does_what_and_since_when() {
    alone("a_dump_tells_which_thread_does_what_and_since_when", || {
        let (fd, _) = listener();
        let (send, thread) = std::sync::mpsc::channel();
        let first = spawn_thread(move || {
            // SAFETY: gettid takes nothing.
            send.send(unsafe { libc::gettid() }).unwrap();
            accept(fd)
        });
        let thread = thread.recv().unwrap();
        await_parked(fd, 1);
        let second = spawn(move || accept(fd));
        await_parked(fd, 2);
        let begun = std::time::Instant::now();
        await_that("time goes by", || begun.elapsed().as_millis() >= 20);
        let lines = parked_lines(fd);
        let of_first = format!("  thread {thread} reads, parked for ");
        let line = lines.iter().find(|line| line.starts_with(&of_first));
        let line = line.unwrap_or_else(|| panic!("{of_first:?} in {lines:?}"));
        let ms: String = line
            .chars()
            .skip(of_first.len())
            .take_while(char::is_ascii_digit)
            .collect();
        assert!((20..60_000).contains(&ms.parse::<u64>().unwrap()), "{line}");
        assert!(
            lines.iter().any(|line| line.contains(" queues to read")),
            "{lines:?}"
        );
        assert_eq!(destroy(fd), 0);
        for one in [first, second] {
            assert_eq!(one.join(), NETFD_ECLOSED);
        }
    });
}

#[test]
fn a_dump_tells_fibers_from_threads_and_since_when() {
    on_one_worker("a_dump_tells_fibers_from_threads_and_since_when", || {
        threads_only(); // what is none is started as a fiber
        let (one, other) = unix_pair(SOCK_STREAM);
        let first = fiber(move || read(one, &mut [0]));
        await_parked(one, 1);
        let second = spawn(move || read(one, &mut [0]));
        await_parked(one, 2);
        let begun = std::time::Instant::now();
        await_that("time goes by", || begun.elapsed().as_millis() >= 20);
        let lines = parked_lines(one);
        let ms = ms_of(&lines, "  fiber 0 of worker 1 reads, parked for ");
        assert!((20..60_000).contains(&ms), "{lines:?}");
        let threads = lines.iter().filter(|line| line.starts_with("  thread "));
        assert_eq!(threads.count(), 1, "{lines:?}");
        assert_eq!(write(other, b"ab"), 2);
        assert_eq!(first.join(), 1);
        assert_eq!(second.join(), 1);
    });
}

#[test]
fn a_dump_ends_with_who_is_parked_on_no_descriptor() {
    on_one_worker("a_dump_ends_with_who_is_parked_on_no_descriptor", || {
        threads_only(); // what is none is started as a fiber
        let (fd, _) = listener();
        let parked = Aside::park();
        await_that("all are there", || stats().parked == 5);
        let begun = std::time::Instant::now();
        await_that("time goes by", || begun.elapsed().as_millis() >= 20);
        let shown = dump();
        let lines: Vec<_> = shown.lines().map(str::to_owned).collect();
        assert!(lines[0].starts_with(&format!("fd {fd} ")), "{shown}");
        assert_eq!(lines[1], "no fd");
        assert_eq!(lines.len(), 7, "{shown}");
        for what in [
            "  fiber 0 of worker 1 sleeps, parked for ",
            "  fiber 1 of worker 1 waits for a group, parked for ",
            "  fiber 2 of worker 1 waits for a helper thread, parked for ",
        ] {
            assert!((20..60_000).contains(&ms_of(&lines, what)), "{shown}");
        }
        for what in [" sleeps,", " waits for a group,"] {
            let of_thread = |line: &&String| line.starts_with("  thread ") && line.contains(what);
            assert_eq!(lines.iter().filter(of_thread).count(), 1, "{shown}");
        }
        parked.end();
        let asleep = dump();
        let asleep = asleep.lines().skip(2);
        assert!(asleep.clone().all(|line| line.contains(" sleeps,")));
        assert_eq!(asleep.count(), 2);
        assert_eq!(destroy(fd), 0);
    });
}

/// How many milliseconds the line says that begins so.
fn ms_of(lines: &[String], start: &str) -> u64 {
    let line = lines.iter().find_map(|line| line.strip_prefix(start));
    let ms = line.and_then(|ms| ms.strip_suffix(" ms")?.parse().ok());
    ms.unwrap_or_else(|| panic!("{start:?} in {lines:?}"))
}

/// Five callers that are parked on no descriptor: two fibers and a thread that
/// can be told to go on, a fiber and a thread that sleep for longer than any test.
struct Aside {
    group: Group,
    block: std::sync::mpsc::Sender<()>,
    fibers: Vec<Fiber<()>>,
    thread: Task<()>,
}

/// `struct netfd_group`, by its address.
#[derive(Clone, Copy)]
struct Group(usize);

impl Group {
    fn wait(self) {
        let token = std::ptr::null_mut();
        // SAFETY: the group is not freed, and there is no token.
        let waited = unsafe { netfd_group_wait(self.0 as *mut _, NETFD_NO_DEADLINE, token) };
        assert_eq!(waited, 0);
    }
}

impl Aside {
    fn park() -> Self {
        // SAFETY: no pointers.
        let group = unsafe { netfd_group_new() };
        // SAFETY: it was made just now.
        assert_eq!(unsafe { netfd_group_add(group, 1) }, 0);
        let group = Group(group as usize);
        let (block, until) = std::sync::mpsc::channel::<()>();
        go(|| sleep(600_000 * MS));
        drop(spawn(|| sleep(600_000 * MS)));
        let fibers = vec![
            fiber(move || group.wait()),
            fiber(move || block_until_gone(until)),
        ];
        let thread = spawn(move || group.wait());
        Self {
            group,
            block,
            fibers,
            thread,
        }
    }

    /// Only those who sleep are still there afterwards.
    fn end(self) {
        // SAFETY: the group is not freed.
        assert_eq!(unsafe { netfd_group_done(self.group.0 as *mut _) }, 0);
        drop(self.block);
        self.fibers.into_iter().for_each(Fiber::join);
        self.thread.join();
    }
}

fn block_until_gone(until: std::sync::mpsc::Receiver<()>) {
    block(move || {
        let _ = until.recv();
    });
}

#[test]
fn a_dump_tells_readers_writers_and_those_who_wait_apart() {
    alone(
        "a_dump_tells_readers_writers_and_those_who_wait_apart",
        || {
            let (one, two) = unix_pair(SOCK_STREAM);
            fill(one);
            let tasks = [
                spawn(move || read(one, &mut [0])),
                spawn(move || write(one, b"!")),
                // SAFETY: no pointers.
                spawn(move || unsafe { netfd_wait(one, NETFD_READABLE, 0) } as isize),
            ];
            await_parked(one, 3);
            let lines = parked_lines(one).join("\n");
            for word in [" reads,", " writes,", " waits,"] {
                assert!(lines.contains(word), "{word} in {lines}");
            }
            assert_eq!(destroy(one), 0);
            for task in tasks {
                assert_eq!(task.join(), NETFD_ECLOSED as isize);
            }
            assert_eq!(destroy(two), 0);
        },
    );
}

#[test]
fn a_dump_goes_to_a_pipe_too_and_its_error_is_told() {
    alone("a_dump_goes_to_a_pipe_too_and_its_error_is_told", || {
        let (fd, _) = listener();
        let mut ends = [-1; 2];
        // SAFETY: there is room for two.
        assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
        // SAFETY: no pointers.
        assert_eq!(unsafe { netfd_dump(ends[1]) }, 0);
        let mut text = [0u8; 200];
        // SAFETY: the buffer is as long as said.
        let n = unsafe { libc::read(ends[0], text.as_mut_ptr().cast(), text.len()) };
        let text = String::from_utf8_lossy(&text[..n as usize]);
        assert!(
            text.starts_with(&format!("fd {fd} tcp 127.0.0.1:")),
            "{text}"
        );
        // SAFETY: the descriptor is ours.
        assert_eq!(unsafe { libc::close(ends[0]) }, 0);
        // SIGPIPE would kill: Rust ignores it, C programs do not.
        // SAFETY: no handler of ours is replaced.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
        // SAFETY: no pointers.
        assert_eq!(unsafe { netfd_dump(ends[1]) }, -libc::EPIPE);
        let full = std::fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap();
        // SAFETY: no pointers.
        assert_eq!(unsafe { netfd_dump(full.as_raw_fd()) }, -libc::ENOSPC);
        assert_eq!(destroy(fd), 0);
    });
}

#[test]
fn a_dump_is_whole_while_descriptors_come_and_go() {
    let churn = spawn(|| {
        for _ in 0..300 {
            let fd = socket(AF_UNIX, SOCK_STREAM);
            assert_eq!(destroy(fd), 0);
        }
    });
    while !churn.is_finished() {
        for line in dump().lines() {
            assert!(
                line.starts_with("fd ") || line.starts_with("  thread "),
                "{line}"
            );
        }
        assert!(stats().open_fds < 1000);
    }
    churn.join();
}

#[test]
fn after_fork_the_child_begins_with_nobody_parked() {
    alone("after_fork_the_child_begins_with_nobody_parked", || {
        let (fd, _) = listener();
        let waiting = spawn(move || accept(fd));
        await_parked(fd, 1);
        // SAFETY: the child makes a few calls and leaves.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let counts = stats();
            let right = counts.parked == 0 && counts.open_fds == 1;
            // SAFETY: it leaves without running what is the parent's.
            unsafe { libc::_exit(c_int::from(!right)) };
        }
        let mut status = -1;
        // SAFETY: the status is there to be written.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert_eq!(status, 0);
        assert_eq!(stats().parked, 1);
        assert_eq!(destroy(fd), 0);
        assert_eq!(waiting.join(), NETFD_ECLOSED);
    });
}

#[test]
fn a_dump_may_go_to_a_descriptor_that_is_itself_attached() {
    alone(
        "a_dump_may_go_to_a_descriptor_that_is_itself_attached",
        || {
            let (one, two) = unix_pair(SOCK_STREAM);
            // SAFETY: no pointers.
            assert_eq!(unsafe { netfd_dump(one) }, 0);
            let mut text = [0; 200];
            let n = read(two, &mut text);
            assert!(n > 0);
            assert!(text.starts_with(format!("fd {one} unix ").as_bytes()));
            // SAFETY: the descriptor is ours to close when it was detached.
            assert_eq!(unsafe { netfd_detach(one) }, one);
            // SAFETY: as said.
            drop(unsafe { std::fs::File::from_raw_fd(one) });
            assert_eq!(destroy(two), 0);
        },
    );
}
