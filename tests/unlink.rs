//! Whose a unix socket's file is: what netfd_listen makes, netfd_destroy
//! removes, before close(2), where it is still the same file; all others stay.
//! Go's `UnixListener.close` and `SetUnlinkOnClose` (net/unixsock_posix.go),
//! their tests in net/unixsock_test.go, and what Go's issues 11826, 13877 and
//! 17131 ask for beyond; unix(7), unlink(2).

#![allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test says what it expects, and knows the sizes"
)]

mod common;

use common::calls::*;
use common::*;
use libc::{AF_UNIX, c_char, c_int, c_void};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

fn listening(network: &str, address: &str) -> c_int {
    listening_as(network, address, 0)
}

fn listening_as(network: &str, address: &str, unlink: c_int) -> c_int {
    let mut config = listen_config();
    config.unlink = unlink;
    let call = if network == "unixgram" {
        listen_packet
    } else {
        listen
    };
    let fd = call(network, address, Some(&config));
    assert!(fd >= 0, "{network} {address:?}: {}", error_text());
    fd
}

/// Whether a file of any kind is there, a dead link too.
fn exists(path: &str) -> bool {
    fs::symlink_metadata(path).is_ok()
}

fn is_socket(path: &str) -> bool {
    fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket())
}

fn remove(path: &str) {
    fs::remove_file(path).expect("it is there");
}

/// Removes a file when the test ends, however it does.
struct Cleared<'a>(&'a str);

impl Drop for Cleared<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.0);
    }
}

// The file of a listener.

#[test]
fn destroy_removes_the_file_that_listen_made() {
    for network in ["unix", "unixpacket"] {
        for unlink in [0, 1] {
            let path = unix_path("made");
            let fd = listening_as(network, &path, unlink);
            assert!(is_socket(&path), "{network}");
            assert_eq!(destroy(fd), 0);
            assert!(!exists(&path), "{network}");
        }
    }
}

#[test]
fn the_place_can_be_listened_on_again_and_again() {
    let path = unix_path("again");
    for _ in 0..100 {
        assert_eq!(destroy(listening("unix", &path)), 0);
    }
    assert!(!exists(&path));
}

#[test]
fn a_switch_leaves_the_file() {
    for network in ["unix", "unixpacket"] {
        let path = unix_path("left");
        let _cleared = Cleared(&path);
        assert_eq!(destroy(listening_as(network, &path, -1)), 0);
        assert!(is_socket(&path), "{network}");
    }
}

#[test]
fn the_file_of_a_datagram_socket_stays_unless_it_is_asked_for() {
    for (unlink, stays) in [(0, true), (-1, true), (1, false)] {
        let path = unix_path("gram");
        let _cleared = Cleared(&path);
        assert_eq!(destroy(listening_as("unixgram", &path, unlink)), 0);
        assert_eq!(is_socket(&path), stays, "{unlink}");
    }
}

#[test]
fn what_has_no_file_removes_none() {
    if !by_itself("what_has_no_file_removes_none") {
        return;
    }
    let folder = unix_path("folder");
    fs::create_dir(&folder).expect("it is new");
    std::env::set_current_dir(&folder).expect("it is there");
    let name = format!("netfd-{}-decoy", std::process::id());
    fs::write(&name, "somebody's").expect("it is ours");
    fs::write(format!("@{name}"), "somebody's").expect("it is ours");
    for (network, address) in [
        ("unix", format!("@{name}")),
        ("unixpacket", format!("@{name}")),
        ("unixgram", format!("@{name}")),
        ("unix", String::new()),
        ("unixgram", String::new()),
        ("unixgram", "@".to_owned()),
    ] {
        assert_eq!(destroy(listening_as(network, &address, 1)), 0);
    }
    assert_eq!(fs::read_dir(&folder).expect("it is there").count(), 2);
    fs::remove_dir_all(&folder).expect("it is ours");
}

#[test]
fn a_file_that_another_way_made_stays() {
    let path = unix_path("other");
    let _cleared = Cleared(&path);
    let (fd, _) = listener_at("unix", &path); // netfd_listen_stream()
    assert_eq!(destroy(fd), 0);
    assert!(is_socket(&path));
    remove(&path);

    let plain = UnixListener::bind(&path).expect("it is free");
    let fd = std::os::fd::IntoRawFd::into_raw_fd(plain);
    assert_eq!(attach(fd), fd);
    assert_eq!(destroy(fd), 0);
    assert!(is_socket(&path));
}

#[test]
fn a_listener_that_was_detached_leaves_its_file_for_good() {
    let path = unix_path("detached");
    let _cleared = Cleared(&path);
    let fd = listening_as("unix", &path, 1);
    assert_eq!(detach(fd), fd);
    assert!(is_socket(&path));
    assert_eq!(attach(fd), fd);
    assert_eq!(destroy(fd), 0);
    assert!(is_socket(&path));
}

#[test]
fn a_listener_that_was_attached_again_leaves_its_file() {
    let path = unix_path("attached");
    let _cleared = Cleared(&path);
    let fd = listening_as("unix", &path, 1);
    assert_eq!(attach(fd), fd); // drops the old state
    assert_eq!(destroy(fd), 0);
    assert!(is_socket(&path));
}

#[test]
fn a_number_that_was_closed_and_is_anothers_removes_nothing() {
    if !by_itself("a_number_that_was_closed_and_is_anothers_removes_nothing") {
        return;
    }
    let path = unix_path("reused");
    let _cleared = Cleared(&path);
    let fd = listening_as("unix", &path, 1);
    plain_close(fd);
    assert_eq!(socket(AF_UNIX, libc::SOCK_STREAM), fd);
    assert_eq!(destroy(fd), 0);
    assert!(is_socket(&path));

    // And another listener there removes its own and no other.
    let other = unix_path("reused-by");
    let fd = listening("unix", &other);
    plain_close(fd);
    let third = unix_path("reused-again");
    assert_eq!(listening("unix", &third), fd);
    assert_eq!(destroy(fd), 0);
    assert!(!exists(&third));
    assert!(is_socket(&other));
    remove(&other);
}

#[test]
fn a_connection_removes_nothing() {
    let path = unix_path("connection");
    let fd = listening("unix", &path);
    let client = UnixStream::connect(&path).expect("it listens");
    let conn = accept(fd);
    assert_eq!(destroy(conn), 0);
    assert!(is_socket(&path));
    drop(client);
    assert_eq!(destroy(fd), 0);
    assert!(!exists(&path));
}

// Only if it is still the same.

/// What is left where a file was replaced meanwhile.
fn replaced(name: &str, by: impl FnOnce(&str)) -> String {
    let path = unix_path(name);
    let fd = listening_as("unix", &path, 1);
    remove(&path);
    by(&path);
    assert_eq!(destroy(fd), 0);
    path
}

#[test]
fn another_socket_in_its_place_is_left_alone() {
    // Made while the first lives, so it cannot have its inode.
    let path = replaced("by-socket", |path| {
        drop(UnixListener::bind(path).expect("it is free"));
    });
    assert!(is_socket(&path));
    remove(&path);
    let path = replaced("by-gram", |path| {
        drop(UnixDatagram::bind(path).expect("it is free"));
    });
    assert!(is_socket(&path));
    remove(&path);
}

#[test]
fn a_listener_of_ours_in_its_place_is_left_alone_and_removes_its_own() {
    let path = unix_path("by-ours");
    let first = listening("unix", &path);
    remove(&path);
    let second = listening("unix", &path);
    assert_eq!(destroy(first), 0);
    assert!(is_socket(&path));
    UnixStream::connect(&path).expect("the second listens");
    assert_eq!(destroy(second), 0);
    assert!(!exists(&path));
}

#[test]
fn a_plain_file_in_its_place_is_left_alone() {
    let path = replaced("by-file", |path| {
        fs::write(path, "somebody's").expect("it is free");
    });
    assert_eq!(
        fs::read_to_string(&path).expect("it is there"),
        "somebody's"
    );
    remove(&path);
}

#[test]
fn a_folder_in_its_place_is_left_alone() {
    let path = replaced("by-folder", |path| {
        fs::create_dir(path).expect("it is free")
    });
    fs::remove_dir(&path).expect("it is there");
}

#[test]
fn a_link_in_its_place_is_left_alone_though_it_leads_to_the_socket() {
    let path = unix_path("by-link");
    let moved = unix_path("by-link-moved");
    let fd = listening("unix", &path);
    fs::rename(&path, &moved).expect("it is there");
    symlink(&moved, &path).expect("it is free");
    UnixStream::connect(&path).expect("it leads there");
    assert_eq!(destroy(fd), 0);
    assert!(exists(&path) && is_socket(&moved));
    remove(&path);
    remove(&moved);
}

#[test]
fn a_file_that_is_gone_already_is_no_failure() {
    let path = replaced("gone", |_| {});
    assert!(!exists(&path));
}

#[test]
fn a_file_that_was_moved_away_stays() {
    let path = unix_path("moved");
    let away = unix_path("moved-away");
    let fd = listening("unix", &path);
    fs::rename(&path, &away).expect("it is there");
    assert_eq!(destroy(fd), 0);
    assert!(is_socket(&away));
    remove(&away);
}

#[test]
fn a_relative_path_is_looked_up_where_the_process_is_then() {
    if !by_itself("a_relative_path_is_looked_up_where_the_process_is_then") {
        return;
    }
    let folder = unix_path("relative");
    for name in ["one", "two"] {
        fs::create_dir_all(format!("{folder}/{name}")).expect("it is ours");
    }
    let go = |name: &str| std::env::set_current_dir(format!("{folder}/{name}"));
    go("one").expect("it is there");
    let stays = listening("unix", "a.sock");
    let goes = listening("unix", "b.sock");
    go("two").expect("it is there");
    let other = listening_as("unix", "a.sock", -1);
    assert_eq!(destroy(stays), 0);
    assert!(is_socket("a.sock"), "another's of that name");
    assert_eq!(destroy(other), 0);
    go("one").expect("it is there");
    assert!(
        is_socket("a.sock"),
        "out of reach from where the process was"
    );
    assert_eq!(destroy(goes), 0);
    assert!(!exists("b.sock"));
    fs::remove_dir_all(&folder).expect("it is ours");
}

#[test]
fn a_folder_that_is_gone_is_no_failure() {
    let folder = unix_path("gone-folder");
    fs::create_dir(&folder).expect("it is new");
    let path = format!("{folder}/s");
    let fd = listening("unix", &path);
    fs::remove_dir_all(&folder).expect("it is ours");
    assert_eq!(destroy(fd), 0);
    assert!(!exists(&path));
}

// When.

#[test]
fn the_file_goes_before_the_descriptor() {
    let test = "the_file_goes_before_the_descriptor";
    let options = ["-e", "trace=unlink,unlinkat,close,getppid"];
    let trace = alone_under_strace(test, &options, || {
        let fd = listening("unix", &unix_path("order"));
        // SAFETY: getppid takes nothing; it marks the place in the trace.
        unsafe { libc::getppid() };
        assert_eq!(destroy(fd), 0);
        // SAFETY: likewise.
        unsafe { libc::getppid() };
    });
    let Some(trace) = trace else { return };
    let marked: Vec<&str> = trace
        .lines()
        .skip_while(|line| !line.contains("getppid("))
        .skip(1)
        .take_while(|line| !line.contains("getppid("))
        .collect();
    assert_eq!(marked.len(), 2, "{marked:#?}");
    assert!(marked[0].contains("unlink"), "{marked:#?}");
    assert!(marked[1].contains("close("), "{marked:#?}");
}

#[test]
fn who_connects_meanwhile_gets_through_or_finds_no_file() {
    // A connect(2) that had found the file just before it went may still be
    // refused: the kernel looks the socket up in a second step. So it is the
    // file alone that is never there without its listener.
    for round in 0..200 {
        let path = unix_path(&format!("meanwhile-{round}"));
        let fd = listening("unix", &path);
        let client = {
            let path = path.clone();
            // A thread: it blocks in connect(2) while the backlog is full.
            spawn_thread(move || {
                loop {
                    match UnixStream::connect(&path) {
                        Ok(_) => {}
                        Err(why) => match why.raw_os_error() {
                            Some(libc::ENOENT) => return,
                            Some(libc::EAGAIN) => {} // the backlog is full
                            Some(libc::ECONNREFUSED) => {
                                assert!(!exists(&path), "a file without a listener");
                            }
                            _ => panic!("{why}"),
                        },
                    }
                }
            })
        };
        assert_eq!(destroy(accept(fd)), 0); // it has begun
        assert_eq!(destroy(fd), 0);
        client.join();
    }
}

#[test]
fn those_parked_in_accept_are_evicted_and_the_file_goes_once_they_have_left() {
    let path = unix_path("parked");
    let fd = listening("unix", &path);
    let all: Vec<_> = (0..5).map(|_| spawn(move || accept(fd))).collect();
    await_parked(fd, 5);
    assert_eq!(destroy(fd), 0);
    assert!(!exists(&path));
    for task in all {
        assert_eq!(task.join(), NETFD_ECLOSED);
    }
}

#[test]
fn many_who_destroy_at_once_remove_it_once() {
    if !by_itself("many_who_destroy_at_once_remove_it_once") {
        return; // a late one would meet whoever has the number next
    }
    for round in 0..200 {
        let path = unix_path(&format!("at-once-{round}"));
        let fd = listening("unix", &path);
        let all: Vec<_> = (0..3).map(|_| spawn(move || destroy(fd))).collect();
        let mut codes: Vec<c_int> = all.into_iter().map(Task::join).collect();
        codes.sort_unstable();
        assert_eq!(codes, [NETFD_ECLOSED, NETFD_ECLOSED, 0]);
        assert!(!exists(&path));
    }
}

#[test]
fn many_listeners_each_remove_their_own() {
    const MANY: usize = 200;
    let path = |n: usize| unix_path(&format!("many-{n}"));
    for _ in 0..3 {
        let all: Vec<(String, c_int)> = (0..MANY)
            .map(|n| {
                let path = path(n);
                let fd = listening("unix", &path);
                (path, fd)
            })
            .collect();
        // Every other one first, so that what they give back is used again.
        let (some, others): (Vec<_>, Vec<_>) =
            all.into_iter().enumerate().partition(|(n, _)| n % 2 == 0);
        for (_, (path, fd)) in &some {
            assert_eq!(destroy(*fd), 0);
            assert!(!exists(path));
        }
        let more: Vec<(String, c_int)> = some
            .into_iter()
            .map(|(_, (path, _))| {
                let fd = listening("unix", &path);
                (path, fd)
            })
            .collect();
        for (path, fd) in others.into_iter().map(|(_, one)| one).chain(more) {
            assert!(is_socket(&path));
            assert_eq!(destroy(fd), 0);
            assert!(!exists(&path));
        }
    }
}

#[test]
fn threads_that_listen_and_destroy_at_once_remove_their_own() {
    let all: Vec<_> = (0..4)
        .map(|thread| {
            spawn(move || {
                for round in 0..300 {
                    let path = unix_path(&format!("threads-{thread}-{round}"));
                    let fd = listening("unix", &path);
                    let made = fs::symlink_metadata(&path).expect("it is there").ino();
                    assert_ne!(made, 0);
                    if round % 3 == 0 {
                        assert_eq!(detach(fd), fd);
                        plain_close(fd);
                        remove(&path); // it is there
                    } else {
                        assert_eq!(destroy(fd), 0);
                    }
                    assert!(!exists(&path));
                }
            })
        })
        .collect();
    all.into_iter().for_each(Task::join);
}

// Processes.

/// What a child made by fork(2) ends with.
fn in_child(body: impl FnOnce() -> bool) -> c_int {
    // SAFETY: the process has no threads that hold anything: the test runs
    // alone.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        let code = if body() { 0 } else { 1 };
        // SAFETY: no pointers.
        unsafe { libc::_exit(code) };
    }
    let mut status = -1;
    // SAFETY: the status is there to be written.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    status
}

#[test]
fn a_childs_destroy_leaves_the_file_and_the_parents_removes_it() {
    if !by_itself("a_childs_destroy_leaves_the_file_and_the_parents_removes_it") {
        return;
    }
    let path = unix_path("forked");
    let fd = listening_as("unix", &path, 1);
    let status = in_child(|| destroy(fd) == 0 && is_socket(&path));
    assert_eq!(status, 0);
    assert!(is_socket(&path));
    UnixStream::connect(&path).expect("the parent still listens");
    assert_eq!(destroy(fd), 0);
    assert!(!exists(&path));
}

#[test]
fn a_child_removes_the_file_of_its_own_listener() {
    if !by_itself("a_child_removes_the_file_of_its_own_listener") {
        return;
    }
    let (parents, childs) = (unix_path("parents"), unix_path("childs"));
    let fd = listening("unix", &parents);
    let status = in_child(|| {
        let mine = listen("unix", &childs, None);
        let made = mine >= 0 && is_socket(&childs);
        // The parent's goes first: its place in the child's memory is free.
        made && destroy(fd) == 0 && destroy(mine) == 0 && !exists(&childs) && is_socket(&parents)
    });
    assert_eq!(status, 0);
    assert_eq!(destroy(fd), 0);
    assert!(!exists(&parents));
}

// What is there already, and what fails.

#[test]
fn a_file_that_is_there_is_in_use_and_stays() {
    let path = unix_path("stale");
    let _cleared = Cleared(&path);
    drop(UnixListener::bind(&path).expect("it is free")); // stale: nobody listens
    for network in ["unix", "unixpacket"] {
        assert_eq!(listen(network, &path, None), -libc::EADDRINUSE);
        let words = format!("listen {network} {path}: bind: address already in use");
        assert_eq!(error_text(), words);
        let error = last_error();
        assert_eq!(c_text(&error.syscall), "bind");
        assert_eq!(c_text(&error.local), path);
        assert!(is_socket(&path));
    }
    let mut config = listen_config();
    config.unlink = 1;
    let code = listen_packet("unixgram", &path, Some(&config));
    assert_eq!(code, -libc::EADDRINUSE);
    assert!(is_socket(&path));

    remove(&path);
    fs::write(&path, "somebody's").expect("it is free");
    assert_eq!(listen("unix", &path, Some(&config)), -libc::EADDRINUSE);
    assert_eq!(
        fs::read_to_string(&path).expect("it is there"),
        "somebody's"
    );
}

#[test]
fn a_path_that_is_too_long_is_einval_and_named() {
    let room = UNIX_PATH - 1; // for the NUL
    let long = |len: usize| {
        let path = unix_path("long-");
        format!("{path}{}", "x".repeat(len - path.len()))
    };
    let fits = long(room);
    let fd = listening("unix", &fits);
    assert!(is_socket(&fits));
    assert_eq!(local_addr(fd).text(), fits);
    assert_eq!(destroy(fd), 0);
    assert!(!exists(&fits));
    for (network, path) in [
        ("unix", long(room + 1)),
        ("unixpacket", long(500)),
        ("unix", format!("@{}", "x".repeat(UNIX_PATH))),
    ] {
        assert_eq!(listen(network, &path, None), -libc::EINVAL);
        let words = format!("listen {network} {path}: bind: invalid argument");
        assert_eq!(error_text(), words);
        assert_eq!(c_text(&last_error().syscall), "bind");
        assert_eq!(c_text(&last_error().network), network);
    }
    let whole = format!("@{}", "x".repeat(UNIX_PATH - 1));
    let fd = listening("unix", &whole);
    assert_eq!(local_addr(fd).text(), whole);
    assert_eq!(destroy(fd), 0);
}

#[test]
fn a_path_of_any_bytes_is_a_path() {
    let path = unix_path("b\u{fffd}: [%]\n\t");
    let fd = listening("unix", &path);
    assert!(is_socket(&path));
    assert_eq!(destroy(fd), 0);
    assert!(!exists(&path));
}

#[test]
fn a_folder_that_is_not_there_is_told() {
    let path = "/nowhere/at/all";
    assert_eq!(listen("unix", path, None), -libc::ENOENT);
    let words = "listen unix /nowhere/at/all: bind: no such file or directory";
    assert_eq!(error_text(), words);
}

#[test]
fn a_listen_that_fails_after_bind_removes_its_own_file() {
    let test = "a_listen_that_fails_after_bind_removes_its_own_file";
    let inject = "inject=listen:error=EADDRINUSE:when=1";
    alone_under_strace(test, &["-e", "trace=listen", "-e", inject], || {
        let path = unix_path("failed");
        let before = open_fds();
        assert_eq!(listen("unix", &path, None), -libc::EADDRINUSE);
        let words = format!("listen unix {path}: listen: address already in use");
        assert_eq!(error_text(), words);
        assert!(!exists(&path));
        assert_eq!(open_fds(), before);
    });
}

unsafe extern "C" fn control(
    fd: c_int,
    _: *const c_char,
    _: *const c_char,
    arg: *mut c_void,
) -> c_int {
    if arg.is_null() {
        -libc::EPERM
    } else {
        destroy(fd)
    }
}

#[test]
fn a_listen_that_control_ends_makes_no_file_and_removes_none() {
    let path = unix_path("ended");
    let _cleared = Cleared(&path);
    let mut config = listen_config();
    config.control = Some(control);
    for (arg, code) in [
        (std::ptr::null_mut(), -libc::EPERM),
        ((&raw const config).cast_mut().cast(), NETFD_ECLOSED),
    ] {
        let mut config = config;
        config.control_arg = arg;
        assert_eq!(listen("unix", &path, Some(&config)), code);
        assert!(!exists(&path));
        fs::write(&path, "somebody's").expect("it is free");
        assert_eq!(listen("unix", &path, Some(&config)), code);
        assert!(exists(&path));
        remove(&path);
    }
}
