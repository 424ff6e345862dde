//! A process whose files in /etc and whose network are a test's own.

use super::*;
use std::path::Path;
use std::process::Command;

/// What the folder of a world holds besides its files: how one knows it.
const MARK: &str = "of-netfd-tests";

/// Run with the folder as `$0`, and the program to be run behind it. An IPv6
/// address besides the loopback one, which the C library takes for 127.0.0.1
/// at times.
const ENTER: &str = r#"mount -t tmpfs none /etc && cp -r "$0"/. /etc &&
ip link set lo up && ip addr add fd00::1/128 dev lo nodad && exec "$@""#;

/// Runs the calling test once more in a process of its own, where /etc holds
/// `files` and nothing else, and the network is a loopback interface. True in
/// that process, which is to do the test; false in the other one, which has
/// seen it pass, or has no rights to namespaces of its own.
pub fn in_a_world(test: &str, files: &[(&str, &str)]) -> bool {
    in_a_world_under(test, files, &[])
}

/// As `in_a_world`, the process being started by `wrapper`, a command line.
pub fn in_a_world_under(test: &str, files: &[(&str, &str)], wrapper: &[&str]) -> bool {
    if is_in_a_world() {
        // The kernel makes a way to an IPv6 address when it finds the time.
        let nobody = "[fd00::1]:9".parse().expect("an address");
        await_that("a way to fd00::1", || {
            let soon = Duration::from_millis(50);
            let refused = std::net::TcpStream::connect_timeout(&nobody, soon);
            refused.is_err_and(|error| error.raw_os_error() == Some(libc::ECONNREFUSED))
        });
        return true;
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("world-{test}"));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("the target folder is writable");
    for (name, text) in files.iter().chain(&[(MARK, "")]) {
        std::fs::write(folder.join(name), text).expect("the folder is writable");
    }
    let folder = folder.to_str().expect("its path is text");
    let enter = ["unshare", "-m", "-n", "sh", "-c", ENTER, folder];
    let (unshare, rest) = enter.split_first().expect("there is a program");
    let tried = Command::new(unshare).args(rest).arg("true").output();
    if !tried.is_ok_and(|tried| tried.status.success()) {
        println!("{test} skipped: no rights to namespaces of its own");
        return false;
    }
    let words: Vec<&str> = enter.iter().chain(wrapper).copied().collect();
    alone_under(test, &words, &[], || {}).is_none()
}

/// Whether the calling process is such a one.
pub fn is_in_a_world() -> bool {
    Path::new("/etc").join(MARK).exists()
}
