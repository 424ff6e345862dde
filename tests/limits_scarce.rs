//! A server that runs out of something: descriptors, threads, memory. It rests
//! meanwhile, and nobody who came is lost.
//!
//! Specifies netfd_serve() and netfd_accept() where accept4(2) says EMFILE with
//! clients in its queue: at most 5 % of a core and 200 attempts a second, and
//! all are served after relief; what goes on where no thread is to be had; that
//! a fiber without memory for its stack costs no client his connection; and a
//! process that may have 64 descriptors in all. Behind it: Go
//! `TestAcceptMaxFds`, `(*http.Server).Serve`, getrlimit(2), seccomp(2).
//!
//! Every test has processes of its own, one of which is the clients'.

#![allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test that is out of range has failed"
)]

mod common;

use common::calls::*;
use common::fibers::*;
use common::others::Other;
use common::*;
use libc::{c_int, c_long, c_void, sockaddr, socklen_t};
use std::io::{Read, Write};
use std::mem::size_of;
use std::net::TcpStream;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// How often accept4(2) was called.
static ACCEPTS: AtomicUsize = AtomicUsize::new(0);

/// Stands before the C library's, for the library under test as well.
#[unsafe(no_mangle)]
unsafe extern "C" fn accept4(
    fd: c_int,
    to: *mut sockaddr,
    len: *mut socklen_t,
    flags: c_int,
) -> c_int {
    ACCEPTS.fetch_add(1, Ordering::Relaxed);
    // SAFETY: the caller's to see to.
    unsafe { libc::syscall(libc::SYS_accept4, fd, to, len, flags) as c_int }
}

/// Clients that come all at once, each with a byte, and want it back.
fn queue_of(clients: usize, at: &Addr) -> Other {
    let port = at.port();
    Other::start(move |line| {
        line.read_exact(&mut [0])?;
        let mut all = Vec::new();
        for n in 0..clients {
            let mut stream = TcpStream::connect(("127.0.0.1", port))?;
            stream.set_read_timeout(Some(Duration::from_secs(30)))?;
            stream.write_all(&[n as u8])?;
            all.push(stream);
        }
        line.write_all(b"!")?;
        // Who has been answered goes, and makes room for others.
        for (n, mut stream) in all.into_iter().enumerate() {
            let mut back = [0];
            stream.read_exact(&mut back)?;
            if back[0] != n as u8 {
                return Err(std::io::ErrorKind::InvalidData.into());
            }
        }
        Ok(())
    })
}

/// Sends back what comes, until the end.
fn echo(fd: c_int) {
    let mut buf = [0; 16];
    loop {
        match read(fd, &mut buf) {
            n if n > 0 => assert_eq!(write(fd, &buf[..n as usize]), n),
            _ => return,
        }
    }
}

unsafe extern "C" fn handle(fd: c_int, _: *mut c_void) {
    echo(fd);
}

/// netfd_serve() with an echo.
fn serve(listener: c_int, stack_size: usize) -> c_int {
    let config = netfd_serve_config {
        size: size_of::<netfd_serve_config>(),
        stack_size,
        ..Default::default()
    };
    // SAFETY: the handler takes any argument, the config is one.
    unsafe { netfd_serve(listener, Some(handle), null_mut(), &config) }
}

/// The accept loop as it is written by hand: on what is temporary it pauses, as
/// Go's does.
fn serve_by_hand(listener: c_int, start: fn(c_int)) -> c_int {
    let mut pause = 5 * MS;
    loop {
        let fd = accept(listener);
        if fd >= 0 {
            pause = 5 * MS;
            start(fd);
        } else if last_error().flags & NETFD_ERROR_TEMPORARY != 0 {
            sleep(pause);
            pause = (2 * pause).min(SECOND);
        } else {
            return fd;
        }
    }
}

/// The processor time that the process has used.
fn used() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the timespec is there to be written.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Runs `body` in a process of its own, with two workers on `poller`.
fn on(poller: &str, test: &str, body: impl FnOnce()) {
    let vars = [
        ("NETFD_POLL", poller),
        ("NETFD_WORKERS", "2"),
        ("NETFD_TEST_FIBERS", "0"),
    ];
    let said = alone_under(test, &[], &vars, || {
        threads_only(); // who is a fiber is said below
        body();
    });
    for line in said.iter().flat_map(|said| said.lines()) {
        if line.contains("starved") || line.contains("served") {
            println!("{line}");
        }
    }
}

/// As `on`, with each poller in turn.
fn on_each(test: &str, body: impl Fn()) {
    if std::env::var_os(ALONE).is_some() {
        return on("", test, body); // it is in the environment
    }
    for poller in ["epoll", "uring"] {
        on(poller, test, &body);
    }
}

/// Starves a server of descriptors for a while, with clients in its queue.
fn rests_and_loses_nobody(
    poller: &str,
    test: &str,
    server: impl FnOnce(c_int) -> c_int + Send + 'static,
) {
    const CLIENTS: usize = 200;
    const WHILE: u32 = 3;
    on(poller, test, || {
        let (listener, at) = listener();
        let mut clients = queue_of(CLIENTS, &at);
        assert_eq!(fiber(|| 7).join(), 7); // the workers are there
        let server = spawn_thread(move || server(listener));
        await_parked(listener, 1);
        limit_fds(64);
        let taken = use_up_fds();
        clients.tell(b'!');
        clients.hear();
        let (time, accepts, submissions) =
            (used(), ACCEPTS.load(Ordering::Relaxed), stats().submissions);
        std::thread::sleep(Duration::from_secs(WHILE.into())); // what is measured
        let time = used() - time;
        let accepts = ACCEPTS.load(Ordering::Relaxed) - accepts;
        let submissions = stats().submissions - submissions;
        println!(
            "starved for {WHILE} s: {time:?} of processor time, {accepts} accept4(2), {submissions} by the ring"
        );
        assert!(time < Duration::from_secs(1) * WHILE / 20, "{time:?}");
        let attempts = accepts + submissions as usize;
        assert!(attempts <= 200 * WHILE as usize, "{attempts}");
        // Relief.
        limit_fds(1024);
        drop(taken);
        clients.end();
        assert_eq!(destroy(listener), 0);
        assert_eq!(server.join(), NETFD_ECLOSED);
    });
}

#[test]
fn a_starved_server_on_epoll_rests_and_loses_nobody() {
    let test = "a_starved_server_on_epoll_rests_and_loses_nobody";
    rests_and_loses_nobody("epoll", test, |listener| serve(listener, 0));
}

#[test]
fn a_starved_server_on_uring_rests_and_loses_nobody() {
    let test = "a_starved_server_on_uring_rests_and_loses_nobody";
    rests_and_loses_nobody("uring", test, |listener| serve(listener, 0));
}

#[test]
fn a_starved_server_in_a_fiber_rests_and_loses_nobody() {
    let test = "a_starved_server_in_a_fiber_rests_and_loses_nobody";
    rests_and_loses_nobody("uring", test, |listener| {
        spawn_fiber(move || serve(listener, 0)).await_end()
    });
}

#[test]
fn a_starved_accept_loop_of_threads_rests_and_loses_nobody() {
    let test = "a_starved_accept_loop_of_threads_rests_and_loses_nobody";
    rests_and_loses_nobody("epoll", test, |listener| {
        serve_by_hand(listener, |fd| {
            std::thread::spawn(move || {
                echo(fd);
                destroy(fd);
            });
        })
    });
}

#[test]
fn a_starved_accept_loop_of_fibers_rests_and_loses_nobody() {
    let test = "a_starved_accept_loop_of_fibers_rests_and_loses_nobody";
    rests_and_loses_nobody("uring", test, |listener| {
        spawn_fiber(move || {
            serve_by_hand(listener, |fd| {
                go(move || {
                    echo(fd);
                    destroy(fd);
                });
            })
        })
        .await_end()
    });
}

/// A task's result, however long it takes.
trait AwaitEnd<T> {
    fn await_end(self) -> T;
}

impl<T> AwaitEnd<T> for Task<T> {
    fn await_end(self) -> T {
        while !self.is_finished() {
            std::thread::sleep(Duration::from_millis(10));
        }
        self.join()
    }
}

/// Each handler's stack takes more of the address space than there is for all.
#[test]
fn a_server_without_memory_for_stacks_rests_and_loses_nobody() {
    let test = "a_server_without_memory_for_stacks_rests_and_loses_nobody";
    on_each(test, || {
        const CLIENTS: usize = 60;
        const STACK: usize = 8 << 20;
        let (listener, at) = listener();
        let mut clients = queue_of(CLIENTS, &at);
        assert_eq!(fiber(|| 7).join(), 7); // the workers are there
        let server = spawn_thread(move || serve(listener, STACK));
        await_parked(listener, 1);
        let all = limit_memory(address_space() + 10 * STACK as u64);
        clients.tell(b'!');
        clients.hear();
        clients.end();
        limit_memory(all);
        println!("{CLIENTS} clients were served, ten at a time");
        assert_eq!(destroy(listener), 0);
        assert_eq!(server.join(), NETFD_ECLOSED);
    });
}

/// Bytes of the process's address space that are in use.
fn address_space() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("procfs");
    let pages = statm.split(' ').next().and_then(|n| n.parse::<u64>().ok());
    pages.expect("a number") * 4096
}

/// Sets the limit of the address space, and returns what it was.
fn limit_memory(most: u64) -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the struct is there to be written.
    let told = unsafe { libc::getrlimit(libc::RLIMIT_AS, &mut limit) };
    assert_eq!(told, 0);
    let before = limit.rlim_cur;
    limit.rlim_cur = most.min(limit.rlim_max);
    // SAFETY: the struct is there.
    let set = unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) };
    assert_eq!(set, 0);
    before
}

/// Has the kernel make no more threads for this process, for good.
fn deny_threads() {
    const LOAD_NUMBER: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const IF_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    let step = |code, jt, jf, k| libc::sock_filter {
        code: u16::try_from(code).expect("codes are small"),
        jt,
        jf,
        k,
    };
    let number = |call: c_long| u32::try_from(call).expect("it is small");
    let no = libc::SECCOMP_RET_ERRNO | libc::EAGAIN.unsigned_abs();
    let mut filter = [
        step(LOAD_NUMBER, 0, 0, 0),
        step(IF_EQUAL, 1, 0, number(libc::SYS_clone)),
        step(IF_EQUAL, 0, 1, number(libc::SYS_clone3)),
        step(RETURN, 0, 0, no),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: prctl takes longs.
    let code = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(code, 0);
    let (set, all_threads) = (
        libc::SECCOMP_SET_MODE_FILTER,
        libc::SECCOMP_FILTER_FLAG_TSYNC,
    );
    // SAFETY: the program is there, and the filter that it points to.
    let code = unsafe { libc::syscall(libc::SYS_seccomp, set, all_threads, &raw const program) };
    assert_eq!(code, 0);
}

#[test]
fn without_a_thread_to_be_had_all_goes_on_but_what_needs_one() {
    let test = "without_a_thread_to_be_had_all_goes_on_but_what_needs_one";
    on_each(test, || {
        let (listener, at) = listener();
        let server = spawn_thread(move || serve(listener, 0));
        assert_eq!(fiber(|| 7).join(), 7); // the workers are there
        deny_threads();
        let asks = |fd: c_int| {
            assert_eq!(write(fd, b"still there?"), 12);
            assert_eq!(read_exactly(fd, 12), b"still there?");
        };
        // In a thread, then in a fiber.
        let port = at.port();
        let calls = move || {
            let none = [
                dial("tcp", &format!("localhost:{port}"), None),
                resolve("tcp", "localhost:1", 0).err().unwrap_or(0),
                listen("tcp", "localhost:0", None),
            ];
            assert_eq!(none, [-libc::EAGAIN; 3]);
            assert_eq!(last_error().flags & NETFD_ERROR_TIMEOUT, 0);
            let fd = dial("tcp", &format!("127.0.0.1:{port}"), None);
            assert!(fd >= 0, "{}", error_text());
            asks(fd);
            assert_eq!(set_read_deadline(fd, after(MS)), 0);
            assert_eq!(read(fd, &mut [0]), DEADLINE);
            // A close(2) that lingers has a helper, where there is one.
            linger(fd, 1);
            assert_eq!(destroy(fd), 0);
        };
        calls();
        fiber(calls).join();
        static HAS_RUN: AtomicBool = AtomicBool::new(false);
        unsafe extern "C" fn runs(_: *mut c_void) {
            HAS_RUN.store(true, Ordering::Relaxed);
        }
        // SAFETY: it takes any argument.
        let blocked = fiber(|| unsafe { netfd_block(Some(runs), null_mut()) });
        assert_eq!(blocked.join(), -libc::EAGAIN);
        assert!(!HAS_RUN.load(Ordering::Relaxed), "it has not run");
        assert_eq!(destroy(listener), 0);
        assert_eq!(server.join(), NETFD_ECLOSED);
        println!("served without a thread more");
    });
}

/// SO_LINGER.
fn linger(fd: c_int, seconds: c_int) {
    let value = libc::linger {
        l_onoff: 1,
        l_linger: seconds,
    };
    let len = size_of::<libc::linger>() as socklen_t;
    // SAFETY: the option is as long as said.
    let code = unsafe {
        libc::setsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const value).cast(),
            len,
        )
    };
    assert_eq!(code, 0);
}

/// Far more clients than descriptors, one batch after the other.
#[test]
fn a_server_with_64_descriptors_serves_300_clients_that_come_at_once() {
    let test = "a_server_with_64_descriptors_serves_300_clients_that_come_at_once";
    on_each(test, || {
        const CLIENTS: usize = 300;
        let (listener, at) = listener();
        let mut clients = queue_of(CLIENTS, &at);
        assert_eq!(fiber(|| 7).join(), 7); // the workers are there
        limit_fds(64);
        let before = open_fds();
        let server = spawn_thread(move || serve(listener, 0));
        clients.tell(b'!');
        clients.hear();
        clients.end();
        await_that("all have gone", || open_fds() <= before + 1);
        println!("{CLIENTS} clients were served with 64 descriptors");
        assert_eq!(destroy(listener), 0);
        assert_eq!(server.join(), NETFD_ECLOSED);
    });
}

/// All kinds of calls, at once and again and again, in one process.
#[test]
fn with_64_descriptors_in_all_each_kind_of_call_works() {
    let test = "with_64_descriptors_in_all_each_kind_of_call_works";
    on_each(test, || {
        assert_eq!(fiber(|| 7).join(), 7); // the workers are there
        limit_fds(64);
        let round = || {
            let (listener, at) = listener();
            let client = dial("tcp", &format!("localhost:{}", at.port()), None);
            assert!(client >= 0, "{}", error_text());
            let server = accept(listener);
            assert!(server >= 0, "{}", error_text());
            assert_eq!(write(client, b"over"), 4);
            assert_eq!(shutdown(client, libc::SHUT_WR), 0);
            let (feeder, reader) = unix_pair(libc::SOCK_STREAM);
            assert_eq!(lines::copy(feeder, server, -1), 4, "{}", error_text());
            assert_eq!(read_exactly(reader, 4), b"over");
            let (one, two) = udp_pair();
            assert_eq!(write(one, b"datagram"), 8);
            assert_eq!(recv(two, &mut [0; 16], 0), 8);
            for fd in [listener, client, server, feeder, reader, one, two] {
                assert_eq!(destroy(fd), 0);
            }
        };
        round();
        // A resolver's thread may still have a file open.
        await_that("the helper has ended", || threads() <= 2 + WORKERS);
        let before = open_fds();
        for _ in 0..20 {
            let thread = spawn_thread(round);
            let fibers = [(); 2].map(|()| fiber(round));
            round();
            thread.join();
            fibers.into_iter().for_each(Fiber::join);
        }
        await_that("nothing is left", || open_fds() <= before + 8);
        // And no more than there are, in a clean way.
        let taken = use_up_fds();
        assert_eq!(dial("tcp", "127.0.0.1:9", None), -libc::EMFILE);
        assert_eq!(listen("tcp", "127.0.0.1:0", None), -libc::EMFILE);
        assert_eq!(listen_packet("udp", "127.0.0.1:0", None), -libc::EMFILE);
        drop(taken);
        round();
        println!("80 rounds were served with 64 descriptors");
    });
}

/// As `on` says.
const WORKERS: usize = 2;
