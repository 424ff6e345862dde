//! netfd_listen_fds: the sockets that systemd passed. sd_listen_fds(3) and
//! sd_listen_fds_with_names(3). Go has nothing like it built in.
//!
//! The environment and the descriptors from 3 on are the whole process's, so
//! each test runs in one of its own.

#![allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test says what it expects, and knows the sizes"
)]

mod common;

use common::calls::*;
use common::*;
use libc::{SOL_SOCKET, c_char, c_int, c_void};
use std::ffi::CString;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::IntoRawFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::time::{Duration, Instant};

/// Sets a variable of the environment, or removes it.
fn set(name: &str, value: Option<&str>) {
    match value {
        // SAFETY: no other thread looks: the test runs alone.
        Some(value) => unsafe { std::env::set_var(name, value) },
        // SAFETY: likewise.
        None => unsafe { std::env::remove_var(name) },
    }
}

/// Arranges descriptors as systemd does: from 3 on, blocking, not
/// close-on-exec, and told of by the environment.
fn pass(fds: &[c_int], names: Option<&str>) {
    // First away from where they are to be.
    let away: Vec<c_int> = fds
        .iter()
        .map(|fd| {
            // SAFETY: F_DUPFD takes an int.
            let high = unsafe { libc::fcntl(*fd, libc::F_DUPFD, 100) };
            assert!(high >= 100);
            plain_close(*fd);
            high
        })
        .collect();
    for (fd, at) in away.into_iter().zip(3..) {
        assert!(!is_open(at), "{at} is somebody's");
        // SAFETY: no pointers.
        assert_eq!(unsafe { libc::dup2(fd, at) }, at);
        plain_close(fd);
    }
    set("LISTEN_PID", Some(&std::process::id().to_string()));
    set("LISTEN_FDS", Some(&fds.len().to_string()));
    set("LISTEN_FDNAMES", names);
}

/// A listener that blocks, as systemd's do, and its port.
fn tcp() -> c_int {
    let listener = TcpListener::bind("127.0.0.1:0").expect("ports are free");
    listener.into_raw_fd()
}

fn unix(name: &str) -> c_int {
    let listener = UnixListener::bind(unix_path(name)).expect("it is free");
    listener.into_raw_fd()
}

fn pipe() -> c_int {
    let mut fds = [-1; 2];
    // SAFETY: there is room for two.
    assert_eq!(unsafe { libc::pipe(fds.as_mut_ptr()) }, 0);
    plain_close(fds[1]);
    fds[0]
}

/// netfd_listen_fds(): how many match, and those that were taken.
fn listen_fds(name: Option<&str>, cap: usize) -> (c_int, Vec<c_int>) {
    const UNTOUCHED: c_int = -77;
    let name = name.map(|name| CString::new(name).expect("no NUL"));
    let name = name.as_ref().map_or(std::ptr::null(), |name| name.as_ptr());
    let mut fds = vec![UNTOUCHED; cap + 1];
    // SAFETY: the name is NULL or ends with a NUL, the room is as long as said.
    let n = unsafe { netfd_listen_fds(name, fds.as_mut_ptr(), cap) };
    assert_eq!(fds.pop(), Some(UNTOUCHED), "nothing behind the room");
    fds.retain(|fd| *fd != UNTOUCHED);
    (n, fds)
}

fn is_attached(fd: c_int) -> bool {
    match set_deadline(fd, 0) {
        0 => true,
        code => {
            assert_eq!(code, -libc::EBADF);
            false
        }
    }
}

#[test]
fn all_that_was_passed_comes_in_order_attached_nonblocking_and_close_on_exec() {
    if !by_itself("all_that_was_passed_comes_in_order_attached_nonblocking_and_close_on_exec") {
        return;
    }
    pass(&[tcp(), unix("activated"), tcp()], None);
    for fd in 3..6 {
        assert_eq!(flags(fd), (false, false));
    }
    let before = open_fds();
    assert_eq!(listen_fds(None, 8), (3, vec![3, 4, 5]));
    assert_eq!(open_fds(), before, "taken as they are");
    for fd in 3..6 {
        assert_eq!(flags(fd), (true, true));
        assert!(is_attached(fd));
    }
    std::fs::remove_file(local_addr(4).text()).expect("it is there");
}

#[test]
fn a_listener_that_was_passed_accepts_and_parks() {
    if !by_itself("a_listener_that_was_passed_accepts_and_parks") {
        return;
    }
    pass(&[tcp()], None);
    assert_eq!(listen_fds(None, 1), (1, vec![3]));
    let task = spawn(|| accept(3));
    await_parked(3, 1);
    let client = socket(libc::AF_INET, libc::SOCK_STREAM);
    assert_eq!(connect(client, &local_addr(3)), 0);
    let conn = task.join();
    assert_eq!(write(client, b"!"), 1);
    assert_eq!(read_exactly(conn, 1), b"!");
    let task = spawn(|| accept(3));
    await_parked(3, 1);
    assert_eq!(destroy(3), 0);
    assert_eq!(task.join(), NETFD_ECLOSED);
    assert!(!is_open(3));
}

#[test]
fn connections_of_a_tcp_listener_inherit_gos_options() {
    if !by_itself("connections_of_a_tcp_listener_inherit_gos_options") {
        return;
    }
    pass(&[tcp()], None);
    let tcp = libc::IPPROTO_TCP;
    assert_eq!(option(3, tcp, libc::TCP_NODELAY), 0);
    assert_eq!(listen_fds(None, 1).0, 1);
    let client = socket(libc::AF_INET, libc::SOCK_STREAM);
    assert_eq!(connect(client, &local_addr(3)), 0);
    let conn = accept(3);
    for fd in [3, conn] {
        assert_eq!(option(fd, tcp, libc::TCP_NODELAY), 1);
        assert_eq!(option(fd, SOL_SOCKET, libc::SO_KEEPALIVE), 1);
        assert_eq!(option(fd, tcp, libc::TCP_KEEPIDLE), 15);
        assert_eq!(option(fd, tcp, libc::TCP_KEEPINTVL), 15);
        assert_eq!(option(fd, tcp, libc::TCP_KEEPCNT), 9);
    }
}

#[test]
fn sockets_of_every_kind_come() {
    if !by_itself("sockets_of_every_kind_come") {
        return;
    }
    let udp = UdpSocket::bind("127.0.0.1:0").expect("ports are free");
    let gram = UnixDatagram::bind(unix_path("gram")).expect("it is free");
    // As with Accept=yes: a connection.
    let (one, two) = plain_pair(libc::SOCK_STREAM);
    // SAFETY: F_DUPFD_CLOEXEC takes an int.
    let peer = unsafe { libc::fcntl(two, libc::F_DUPFD_CLOEXEC, 200) };
    plain_close(two);
    let fds = [udp.into_raw_fd(), gram.into_raw_fd(), unix("stream"), one];
    pass(&fds, None);
    assert_eq!(listen_fds(None, 8), (4, vec![3, 4, 5, 6]));
    for fd in [3, 4] {
        let at = local_addr(fd);
        let sender = socket(c_int::from(at.storage.ss_family), libc::SOCK_DGRAM);
        assert_eq!(sendto(sender, b"hello", 0, Some(&at)), 5);
        assert_eq!(recv(fd, &mut [0; 8], 0), 5);
    }
    let client = socket(libc::AF_UNIX, libc::SOCK_STREAM);
    assert_eq!(connect(client, &local_addr(5)), 0);
    assert!(accept(5) >= 0);
    assert_eq!(attach(peer), peer);
    assert_eq!(write(6, b"!"), 1);
    assert_eq!(read_exactly(peer, 1), b"!");
    for fd in [4, 5] {
        let path = local_addr(fd).text();
        assert_eq!(destroy(fd), 0);
        std::fs::remove_file(path).expect("systemd's file stays");
    }
}

#[test]
fn names_choose_and_one_name_may_be_that_of_several() {
    if !by_itself("names_choose_and_one_name_may_be_that_of_several") {
        return;
    }
    let fds = [tcp(), tcp(), tcp(), tcp()];
    pass(&fds, Some("web:admin:web:we"));
    assert_eq!(listen_fds(Some("web"), 8), (2, vec![3, 5]));
    assert!(!is_attached(4), "nobody has asked for it");
    assert_eq!(flags(4), (false, false));
    assert_eq!(listen_fds(Some("admin"), 8), (1, vec![4]));
    assert_eq!(listen_fds(Some("we"), 8), (1, vec![6]));
    for name in ["", "w", "WEB", "web:admin", "unknown", "weba"] {
        assert_eq!(listen_fds(Some(name), 8), (0, vec![]), "{name:?}");
    }
    assert_eq!(listen_fds(None, 8), (4, vec![3, 4, 5, 6]));
}

#[test]
fn an_empty_name_is_a_name() {
    if !by_itself("an_empty_name_is_a_name") {
        return;
    }
    pass(&[tcp(), tcp()], Some(":"));
    assert_eq!(listen_fds(Some(""), 8), (2, vec![3, 4]));
    assert_eq!(listen_fds(Some("unknown"), 8), (0, vec![]));
}

#[test]
fn without_names_all_are_unknown() {
    if !by_itself("without_names_all_are_unknown") {
        return;
    }
    pass(&[tcp(), tcp()], None);
    assert_eq!(listen_fds(Some("web"), 8), (0, vec![]));
    assert_eq!(listen_fds(Some("unknown"), 8), (2, vec![3, 4]));
}

#[test]
fn more_than_there_is_room_for_are_counted_and_left_alone() {
    if !by_itself("more_than_there_is_room_for_are_counted_and_left_alone") {
        return;
    }
    pass(&[tcp(), tcp(), tcp()], Some("a:b:a"));
    // SAFETY: NULL is allowed where there is room for none.
    let n = unsafe { netfd_listen_fds(std::ptr::null(), std::ptr::null_mut(), 0) };
    assert_eq!(n, 3);
    assert_eq!(listen_fds(None, 0), (3, vec![]));
    assert!(!(3..6).any(is_attached));
    assert_eq!(listen_fds(Some("a"), 1), (2, vec![3]));
    assert!(is_attached(3) && !is_attached(5));
    assert_eq!(listen_fds(None, 2), (3, vec![3, 4]));
    assert_eq!(flags(5), (false, false));
}

#[test]
fn null_without_room_for_it_is_efault() {
    if !by_itself("null_without_room_for_it_is_efault") {
        return;
    }
    pass(&[tcp()], None);
    for cap in [1, usize::MAX] {
        // SAFETY: NULL is refused.
        let n = unsafe { netfd_listen_fds(std::ptr::null(), std::ptr::null_mut(), cap) };
        assert_eq!(n, -libc::EFAULT);
    }
    assert!(!is_attached(3));
}

#[test]
fn what_is_no_socket_is_passed_over_and_left_alone() {
    if !by_itself("what_is_no_socket_is_passed_over_and_left_alone") {
        return;
    }
    pass(&[pipe(), tcp(), pipe(), tcp()], Some("a:b:a:c"));
    assert_eq!(listen_fds(None, 8), (2, vec![4, 6]));
    assert_eq!(listen_fds(Some("a"), 8), (0, vec![]));
    assert_eq!(listen_fds(Some("c"), 8), (1, vec![6]));
    assert_eq!((flags(3), flags(5)), ((false, false), (false, false)));
}

#[test]
fn a_gap_is_passed_over() {
    if !by_itself("a_gap_is_passed_over") {
        return;
    }
    pass(&[tcp(), tcp(), tcp()], None);
    plain_close(4);
    assert_eq!(listen_fds(None, 8), (2, vec![3, 5]));
    assert_eq!(destroy(3), 0);
    assert_eq!(listen_fds(None, 8), (1, vec![5]));
}

#[test]
fn what_was_meant_for_another_process_or_is_garbled_is_nothing() {
    if !by_itself("what_was_meant_for_another_process_or_is_garbled_is_nothing") {
        return;
    }
    let mine = std::process::id().to_string();
    let mine = mine.as_str();
    // SAFETY: no pointers.
    let parents = unsafe { libc::getppid() }.to_string();
    pass(&[tcp(), tcp()], None);
    let (minus, plus) = (format!("-{mine}"), format!("+{mine}"));
    let (long, word) = (format!("{mine}0000000000"), format!("{mine}x"));
    let (before, behind) = (format!(" {mine}"), format!("{mine} "));
    for pid in [
        None,
        Some(""),
        Some("0"),
        Some("1"),
        Some(&parents),
        Some(&minus),
        Some(&plus),
        Some(&long),
        Some(&word),
        Some(&before),
        Some(&behind),
        Some("self"),
    ] {
        set("LISTEN_PID", pid);
        assert_eq!(listen_fds(None, 8), (0, vec![]), "LISTEN_PID {pid:?}");
    }
    set("LISTEN_PID", Some(mine));
    for fds in [
        None,
        Some(""),
        Some("0"),
        Some("-1"),
        Some("-2"),
        Some("+2"),
        Some("abc"),
        Some("2x"),
        Some("0x2"),
        Some(" 2"),
        Some("2 "),
        Some("2.0"),
        Some("2147483648"),
        Some("4294967298"), // 2^32 + 2
        Some("99999999999999999999999999"),
    ] {
        set("LISTEN_FDS", fds);
        assert_eq!(listen_fds(None, 8), (0, vec![]), "LISTEN_FDS {fds:?}");
    }
    set("LISTEN_FDS", Some("2"));
    for names in ["", "a", "a:b:c", "a:b:", "::", "a:b:c:d:e:f"] {
        set("LISTEN_FDNAMES", Some(names));
        assert_eq!(listen_fds(None, 8), (0, vec![]), "LISTEN_FDNAMES {names:?}");
        assert_eq!(listen_fds(Some("a"), 8), (0, vec![]), "{names:?}");
    }
    assert!(!is_attached(3) && !is_attached(4));
    set("LISTEN_FDNAMES", Some("a:b"));
    assert_eq!(listen_fds(None, 8), (2, vec![3, 4]), "now all is well");
}

#[test]
fn a_count_that_cannot_be_is_nothing_at_once() {
    if !by_itself("a_count_that_cannot_be_is_nothing_at_once") {
        return;
    }
    pass(&[tcp()], None);
    for count in ["2147483647", "2147483644", "1000000000", "131073"] {
        set("LISTEN_FDS", Some(count));
        let begun = Instant::now();
        assert_eq!(listen_fds(None, 8), (0, vec![]), "{count}");
        assert!(begun.elapsed() < Duration::from_secs(1), "{count}");
    }
    set("LISTEN_FDS", Some("131072"));
    let begun = Instant::now();
    assert_eq!(listen_fds(None, 8), (1, vec![3]), "the most there can be");
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_child_does_not_take_what_is_its_parents() {
    if !by_itself("a_child_does_not_take_what_is_its_parents") {
        return;
    }
    pass(&[tcp()], None);
    // SAFETY: no thread holds anything: the test runs alone.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let code = c_int::from(listen_fds(None, 8) != (0, vec![]));
        // SAFETY: no pointers.
        unsafe { libc::_exit(code) };
    }
    let mut status = -1;
    // SAFETY: the status is there to be written.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    assert_eq!(status, 0);
    assert_eq!(listen_fds(None, 8), (1, vec![3]));
}

#[test]
fn the_environment_is_left_alone() {
    if !by_itself("the_environment_is_left_alone") {
        return;
    }
    pass(&[tcp(), tcp()], Some("a:b"));
    let all = || std::env::vars_os().collect::<Vec<_>>();
    let before = all();
    assert_eq!(listen_fds(None, 8).0, 2);
    assert_eq!(listen_fds(Some("nobody"), 8).0, 0);
    assert_eq!(all(), before);
}

#[test]
fn a_second_call_gives_the_same_and_disturbs_nobody() {
    if !by_itself("a_second_call_gives_the_same_and_disturbs_nobody") {
        return;
    }
    pass(&[tcp(), tcp()], None);
    assert_eq!(listen_fds(None, 8), (2, vec![3, 4]));
    let token = Token::new();
    token.set_on(3);
    set_option(3, libc::IPPROTO_TCP, libc::TCP_NODELAY, 0);
    let all: Vec<_> = (0..3).map(|_| spawn(|| accept(3))).collect();
    await_parked(3, 3);
    for _ in 0..10 {
        assert_eq!(listen_fds(None, 8), (2, vec![3, 4]));
    }
    assert_eq!(parked_lines(3).len(), 3);
    assert_eq!(option(3, libc::IPPROTO_TCP, libc::TCP_NODELAY), 0);
    token.fire();
    for task in all {
        assert_eq!(task.join(), NETFD_ECANCELED);
    }
    token.free();
}

#[test]
fn many_threads_that_ask_at_once_get_the_same() {
    if !by_itself("many_threads_that_ask_at_once_get_the_same") {
        return;
    }
    pass(&[tcp(), tcp()], Some("a:b"));
    let all: Vec<_> = (0..8)
        .map(|_| spawn(|| (0..50).all(|_| listen_fds(None, 8) == (2, vec![3, 4]))))
        .collect();
    assert!(all.into_iter().all(Task::join));
    assert_eq!((flags(3), flags(4)), ((true, true), (true, true)));
    assert_eq!(destroy(3), 0);
    assert_eq!(destroy(4), 0);
}

#[test]
fn one_that_was_detached_is_taken_again() {
    if !by_itself("one_that_was_detached_is_taken_again") {
        return;
    }
    pass(&[tcp()], None);
    assert_eq!(listen_fds(None, 1), (1, vec![3]));
    assert_eq!(detach(3), 3);
    assert!(!is_attached(3));
    assert_eq!(listen_fds(None, 1), (1, vec![3]));
    assert!(is_attached(3));
}

/// Destroys its own descriptor by another thread, whose destroy waits for this
/// call to end, and looks what is there then.
unsafe extern "C" fn look_while_destroyed(
    fd: c_int,
    _: *const c_char,
    _: *const c_char,
    arg: *mut c_void,
) -> c_int {
    let destroys = spawn(move || destroy(fd));
    await_that("it has begun", || set_deadline(fd, 0) == NETFD_ECLOSED);
    // SAFETY: it is the place of the test.
    let (seen, task) = unsafe { &mut *arg.cast::<(Seen, Option<Task<c_int>>)>() };
    *seen = listen_fds(None, 8);
    *task = Some(destroys);
    0
}

type Seen = (c_int, Vec<c_int>);

#[test]
fn one_that_is_being_destroyed_is_not_there_any_more() {
    if !by_itself("one_that_is_being_destroyed_is_not_there_any_more") {
        return;
    }
    threads_only(); // a worker's descriptors take the numbers
    pass(&[tcp(), tcp()], None);
    plain_close(3); // the number that the next one gets
    let mut place: (Seen, Option<Task<c_int>>) = ((-1, vec![]), None);
    let mut config = listen_config();
    config.control = Some(look_while_destroyed);
    config.control_arg = (&raw mut place).cast();
    let code = listen("tcp", "127.0.0.1:0", Some(&config));
    assert_eq!(code, NETFD_ECLOSED);
    let (seen, task) = place;
    assert_eq!(seen, (1, vec![4]));
    assert_eq!(task.map(Task::join), Some(0));
    assert!(!is_open(3));
}

#[test]
fn what_a_launcher_passes_over_exec_comes() {
    const ASKED: &str = "NETFD_TEST_ASKED";
    let test = "what_a_launcher_passes_over_exec_comes";
    if std::env::var_os(ASKED).is_some() {
        assert_eq!(listen_fds(Some("one"), 8), (1, vec![3]));
        assert_eq!(listen_fds(Some("two"), 8), (1, vec![4]));
        assert_eq!(option(3, SOL_SOCKET, libc::SO_ACCEPTCONN), 1);
        return;
    }
    if !by_itself(test) {
        return; // what is not close-on-exec would reach other tests' children
    }
    let (one, two) = (tcp(), tcp());
    for fd in [one, two] {
        // SAFETY: F_SETFD takes an int.
        assert_eq!(unsafe { libc::fcntl(fd, libc::F_SETFD, 0) }, 0);
    }
    // The shell keeps its number over exec, as systemd's child does.
    let script = format!(
        "exec 8<&{one} 9<&{two} 3<&- 4<&-; exec 3<&8 4<&9 8<&- 9<&-; \
         LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=one:two exec \"$0\" \"$@\""
    );
    let program = std::env::current_exe().expect("a program knows itself");
    let output = std::process::Command::new("sh")
        .args(["-c", &script])
        .arg(program)
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(ASKED, "1")
        .output()
        .expect("there is a shell");
    let said = String::from_utf8_lossy(&output.stdout);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{told}");
    assert!(said.contains("1 passed"), "{said}{told}");
}
