//! As many connections as a process may have descriptors for.
//!
//! 18,000 of them in one process, each of which echoes a byte: by a fiber for
//! each, on each poller, and by threads that wait in ppoll(2). Twice, so that
//! what it costs the second time is told from what stays: pools keep the most
//! there ever were. The clients are another process, of plain sockets, because
//! one process has not enough descriptors for both ends.

#![allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test that is out of range has failed"
)]

mod common;

use common::fibers::*;
use common::others::Other;
use common::*;
use libc::{c_int, c_void};
use std::io::{Read, Write};
use std::mem::size_of;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::ptr::null;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Instant;

const CONNECTIONS: usize = 18_000;

/// After how many connections the clients wait for an answer.
const BATCH: usize = 1_000;

fn ask(n: usize, stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(&[n as u8])
}

fn hear(n: usize, stream: &mut TcpStream) -> std::io::Result<()> {
    let mut answer = [0];
    stream.read_exact(&mut answer)?;
    if answer[0] == (n as u8) ^ 0xff {
        return Ok(());
    }
    Err(std::io::ErrorKind::InvalidData.into())
}

/// What the clients are told: to write a byte on each connection and read its
/// answer, and to close all.
const ASK: u8 = b'a';
const CLOSE: u8 = b'c';

/// The clients, a process: it makes all connections, in rounds from different
/// addresses, whose ports are free, and does what it is told by a byte at a
/// time, which it answers.
fn clients(at: &Addr) -> Other {
    let port = at.port();
    Other::start(move |line| rounds(port, line))
}

fn rounds(port: u16, line: &mut UnixStream) -> std::io::Result<()> {
    for round in 1..=2 {
        line.read_exact(&mut [0])?;
        let mut all = Vec::with_capacity(CONNECTIONS);
        for n in 1..=CONNECTIONS {
            let mut stream = TcpStream::connect((format!("127.0.0.{round}"), port))?;
            // No more at once than the listener's queue has room for.
            if n % BATCH == 0 {
                ask(n, &mut stream)?;
                hear(n, &mut stream)?;
            }
            all.push(stream);
        }
        line.write_all(b"!")?;
        let mut order = [0];
        while line.read_exact(&mut order).is_ok() && order[0] == ASK {
            for (n, stream) in all.iter_mut().enumerate() {
                ask(n, stream)?;
            }
            for (n, stream) in all.iter_mut().enumerate() {
                hear(n, stream)?;
            }
            line.write_all(b"!")?;
        }
        drop(all);
        line.write_all(b"!")?;
    }
    Ok(())
}

/// One after the other: they measure memory.
fn one_by_one(test: &str, poller: &str, body: impl FnOnce()) {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    if most_fds() < CONNECTIONS as u64 + 100 {
        println!("{test} skipped: a process may not have 18,100 descriptors here");
        return;
    }
    let vars = [
        ("NETFD_POLL", poller),
        ("NETFD_WORKERS", "2"),
        ("NETFD_TEST_FIBERS", "0"),
    ];
    let said = alone_under(test, &[], &vars, || {
        threads_only(); // who calls is said below
        body();
    });
    for line in said.iter().flat_map(|said| said.lines()) {
        if line.contains("18000") {
            println!("{line}");
        }
    }
}

/// The most descriptors that the process may have.
fn most_fds() -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the struct is there to be written.
    let told = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    assert_eq!(told, 0);
    limit.rlim_max.min(1 << 16)
}

/// The process's resident memory that is no file's, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next());
    kib.and_then(|kib| kib.parse().ok()).expect("RssAnon: n kB")
}

/// Answers a byte by its complement until the end.
fn answer(fd: c_int) {
    let mut byte = [0];
    while read(fd, &mut byte) == 1 {
        byte[0] ^= 0xff;
        assert_eq!(write(fd, &byte), 1, "{}", error_text());
    }
}

fn answer_once(fd: c_int) {
    let mut byte = [0];
    assert_eq!(read(fd, &mut byte), 1, "{}", error_text());
    assert_eq!(write(fd, &[byte[0] ^ 0xff]), 1, "{}", error_text());
}

/// What there is of what must come back.
#[derive(Clone, Copy, Debug)]
struct Stock {
    memory: u64,
    fds: usize,
    attached: u64,
}

impl Stock {
    fn take() -> Self {
        Self {
            memory: resident(),
            fds: open_fds(),
            attached: stats().open_fds,
        }
    }
}

impl Stock {
    /// Tells what there was of memory with all connections, and after them, and
    /// sees that descriptors are as before.
    fn compare(self, by: &str, full: Self, now: Self) {
        println!(
            "{by}: of 18000 {} KiB before, {} with all of them, {} after; {} descriptors before, {} with all, {} after",
            self.memory, full.memory, now.memory, self.fds, full.fds, now.fds
        );
        assert!(full.fds >= self.fds + CONNECTIONS);
        assert!(now.fds <= self.fds + 4, "{} -> {}", self.fds, now.fds);
        assert_eq!(now.attached, self.attached);
    }

    /// Sees that a second round has kept no more than the first.
    fn is_no_more_than(self, first: Self) {
        let more = self.memory.saturating_sub(first.memory);
        assert!(more <= 1024, "the second round kept {more} KiB more");
        assert!(self.fds <= first.fds, "{} -> {}", first.fds, self.fds);
    }
}

/// As `await_that`, where looking takes its time.
fn await_slowly(what: &str, is_so: impl Fn() -> bool) {
    await_that(what, || {
        std::thread::sleep(std::time::Duration::from_millis(10));
        is_so()
    });
}

/// Two rounds of all connections. `is_full` says whether all are parked,
/// `is_empty` whether all have gone.
fn two_rounds(
    mut clients: Other,
    by: &str,
    is_full: impl Fn() -> bool,
    between: impl Fn(&mut Other),
    is_empty: impl Fn() -> bool,
) {
    let begin = Stock::take();
    let mut after_one = begin;
    for round in 1..=2 {
        let begun = Instant::now();
        clients.tell(ASK);
        clients.hear();
        await_slowly("all are served", &is_full);
        let connected = begun.elapsed();
        let full = Stock::take();
        let begun = Instant::now();
        between(&mut clients);
        let asked = begun.elapsed();
        clients.tell(CLOSE);
        clients.hear();
        await_slowly("all have gone", &is_empty);
        await_slowly("their descriptors are closed", || {
            stats().open_fds == begin.attached
        });
        let now = Stock::take();
        println!("{by}: 18000 connected in {connected:?}, answered in {asked:?}");
        begin.compare(by, full, now);
        if round == 1 {
            after_one = now;
        } else {
            now.is_no_more_than(after_one);
        }
    }
    clients.end();
}

unsafe extern "C" fn handle(fd: c_int, _: *mut c_void) {
    answer(fd);
}

fn by_fibers(test: &str, poller: &str) {
    one_by_one(test, poller, || {
        limit_fds(most_fds());
        let (listener, at) = listener_at("tcp", "0.0.0.0:0");
        let clients = clients(&at);
        let token = Token::new();
        token.set_on(listener);
        let server = spawn_thread(move || {
            let config = netfd_serve_config {
                size: size_of::<netfd_serve_config>(),
                ..Default::default()
            };
            // SAFETY: the handler takes any argument, the config is one.
            unsafe { netfd_serve(listener, Some(handle), null::<c_void>().cast_mut(), &config) }
        });
        await_parked(listener, 1);
        assert_eq!(fiber(|| 7).join(), 7); // the workers are there
        let running = || stats().fibers == CONNECTIONS as u64;
        let parked = || running() && stats().parked == CONNECTIONS as u64 + 1;
        let between = |clients: &mut Other| {
            for _ in 0..2 {
                clients.tell(ASK);
                clients.hear();
            }
        };
        two_rounds(clients, poller, parked, between, || stats().fibers == 0);
        token.fire();
        assert_eq!(server.join(), 0);
        assert_eq!(destroy(listener), 0);
        token.free();
    });
}

#[test]
fn eighteen_thousand_connections_are_served_by_fibers_on_epoll() {
    by_fibers(
        "eighteen_thousand_connections_are_served_by_fibers_on_epoll",
        "epoll",
    );
}

#[test]
fn eighteen_thousand_connections_are_served_by_fibers_on_uring() {
    by_fibers(
        "eighteen_thousand_connections_are_served_by_fibers_on_uring",
        "uring",
    );
}

/// A few threads, each of which has its share of them.
#[test]
fn eighteen_thousand_connections_are_served_by_threads() {
    const THREADS: usize = 4;
    let test = "eighteen_thousand_connections_are_served_by_threads";
    one_by_one(test, "epoll", || {
        limit_fds(most_fds());
        let (listener, at) = listener_at("tcp", "0.0.0.0:0");
        let mut clients = clients(&at);
        let begin = Stock::take();
        let mut after_one = begin;
        for round in 1..=2 {
            clients.tell(ASK);
            let all: Vec<c_int> = (1..=CONNECTIONS)
                .map(|n| {
                    let fd = accept(listener);
                    assert!(fd >= 0, "{}", error_text());
                    if n % BATCH == 0 {
                        answer_once(fd);
                    }
                    fd
                })
                .collect();
            clients.hear();
            let full = Stock::take();
            let begun = Instant::now();
            clients.tell(ASK);
            let threads: Vec<_> = all
                .chunks(CONNECTIONS / THREADS)
                .map(|share| {
                    let share = share.to_vec();
                    spawn_thread(move || {
                        // From the end, for which it has to park: the clients
                        // write from the beginning.
                        for fd in share.iter().rev() {
                            answer_once(*fd);
                        }
                        // And each to its end.
                        for fd in share {
                            assert_eq!(read(fd, &mut [0]), 0, "{}", error_text());
                            assert_eq!(destroy(fd), 0);
                        }
                    })
                })
                .collect();
            clients.hear();
            let asked = begun.elapsed();
            clients.tell(CLOSE);
            clients.hear();
            threads.into_iter().for_each(Task::join);
            assert_eq!(stats().open_fds, begin.attached);
            let now = Stock::take();
            println!("threads: 18000 answered in {asked:?}");
            begin.compare("threads", full, now);
            if round == 1 {
                after_one = now;
            } else {
                now.is_no_more_than(after_one);
            }
        }
        clients.end();
        assert_eq!(destroy(listener), 0);
    });
}
