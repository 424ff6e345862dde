//! The neighbours: that what other libraries do over netfd's descriptors keeps
//! netfd's promises. Each program in `c_examples/neighbours/` plays both ends
//! and checks what it claims; here they are compiled, run on each poller, and
//! looked into by valgrind.
//!
//! Behind it: `docs/neighbours.md`, BIO_meth_new(3), libcurl-multi(3), libuv's
//! uv_tcp_open, asio's assign, sd_listen_fds(3), systemd.socket(5).

mod common;

use common::{await_that, is_missing, shared_library, unix_path};
use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Against hanging: valgrind is slow, and slower yet on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

struct Neighbour {
    file: &'static str,
    /// Whose it is, and a header of it.
    library: &'static str,
    header: &'static str,
    links: &'static [&'static str],
    /// What valgrind may be given to do.
    little: &'static [&'static str],
    /// What it says at its end.
    says: &'static str,
}

const OPENSSL: Neighbour = Neighbour {
    file: "openssl_bio.c",
    library: "OpenSSL",
    header: "openssl/ssl.h",
    links: &["-lssl", "-lcrypto"],
    little: &[],
    says: "openssl_bio: in a thread deadline, token and no SIGPIPE hold\n\
           openssl_bio: in a fiber deadline, token and no SIGPIPE hold\n",
};

const LIBCURL: Neighbour = Neighbour {
    file: "libcurl_fetch.c",
    library: "libcurl",
    header: "curl/curl.h",
    links: &["-lcurl"],
    little: &[],
    says: "libcurl_fetch: in a thread answers come, deadline and token hold\n\
           libcurl_fetch: in a fiber answers come, deadline and token hold\n",
};

const LIBUV: Neighbour = Neighbour {
    file: "libuv_handoff.c",
    library: "libuv",
    header: "uv.h",
    links: &["-luv"],
    little: &["5", "5000"],
    says: "libuv_handoff: 5 connections were handed over, and not a byte was lost\n",
};

const ASIO: Neighbour = Neighbour {
    file: "asio_handoff.cpp",
    library: "asio",
    header: "asio/version.hpp",
    links: &[],
    little: &["5", "5000"],
    says: "asio_handoff: 5 connections were handed over, and not a byte was lost\n",
};

const ALL: [Neighbour; 4] = [OPENSSL, LIBCURL, LIBUV, ASIO];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn folder() -> PathBuf {
    root().join("c_examples/neighbours")
}

/// Where this file's tests build: the fresh library, under the names that the
/// linker and the loader look for.
fn build() -> &'static Path {
    static BUILD: OnceLock<PathBuf> = OnceLock::new();
    BUILD.get_or_init(|| {
        let build = Path::new(env!("CARGO_TARGET_TMPDIR")).join("neighbours");
        let _ = fs::remove_dir_all(&build);
        fs::create_dir_all(&build).expect("the target folder is writable");
        for name in ["libnetfd.so", env!("NETFD_SONAME")] {
            symlink(shared_library(), build.join(name)).expect("the folder is new");
        }
        build
    })
}

/// What links a program with it.
fn library() -> [String; 3] {
    let build = build().display();
    let rpath = format!("-Wl,-rpath,{build},--disable-new-dtags");
    [format!("-L{build}"), "-lnetfd".to_owned(), rpath]
}

/// A compiler for a source of this name, as strict as it goes, with what it
/// was asked for.
fn compiler(source: &str, arguments: &[&str]) -> Command {
    let cpp = source.ends_with(".cpp");
    let mut command = Command::new(if cpp { "g++" } else { "gcc" });
    command
        .arg(if cpp { "-std=c++17" } else { "-std=c99" })
        .args(["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-g", "-O1"])
        .args(["-pthread", "-I"])
        .arg(root().join("include"))
        .args(arguments);
    command
}

fn succeeds(command: &mut Command) {
    let output = command.output().expect("it runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {told}");
}

impl Neighbour {
    /// Whether the library's headers are not there, which is said.
    fn is_missing(&self) -> bool {
        let mut asked = compiler(self.file, &["-E", "-include", self.header]);
        asked.args(["-x", "c++", "/dev/null"]).args(["-std=c++17"]);
        let missing = !asked.output().expect("gcc runs").status.success();
        if missing {
            println!("skipped: {}'s headers are not installed", self.library);
        }
        missing
    }

    /// Its program, which each test run compiles once.
    fn program(&self) -> Option<PathBuf> {
        static BUILT: Mutex<BTreeMap<&str, PathBuf>> = Mutex::new(BTreeMap::new());
        if self.is_missing() {
            return None;
        }
        let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
        let program = built.entry(self.file).or_insert_with(|| {
            let program = build().join(self.file).with_extension("");
            let mut command = compiler(self.file, &[]);
            command
                .arg(folder().join(self.file))
                .arg("-o")
                .arg(&program);
            succeeds(command.args(library()).args(self.links));
            program
        });
        Some(program.clone())
    }

    /// Runs it on a poller, with one worker that all fibers share.
    fn holds_on(&self, poller: &str) {
        let Some(program) = self.program() else {
            return;
        };
        let mut command = Command::new(program);
        command.args(self.little).env("NETFD_POLL", poller);
        assert_eq!(told_by(command.env("NETFD_WORKERS", "1")), self.says);
    }

    /// Runs it as it runs by itself, under valgrind.
    fn is_clean(&self) {
        if is_missing("valgrind") {
            return;
        }
        let Some(program) = self.program() else {
            return;
        };
        let mut command = Command::new("valgrind");
        command
            .args(["-q", "--error-exitcode=9", "--leak-check=full"])
            .args(["--show-leak-kinds=definite"])
            .args(["--errors-for-leak-kinds=definite"])
            .arg(program)
            .args(self.little);
        assert_eq!(told_by(&mut command), self.says);
    }
}

/// Runs a program that ends in time with 0 and has no complaint; what it says.
fn told_by(command: &mut Command) -> String {
    let mut child = command
        .env_remove("LD_LIBRARY_PATH") // it may name a stale copy first
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let begun = Instant::now();
    while child.try_wait().expect("it is our child").is_none() {
        if begun.elapsed() > LIMIT {
            let _ = child.kill();
            panic!("{command:?} does not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().expect("it has ended");
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{}: {complaint}", output.status);
    assert_eq!(complaint, "");
    String::from_utf8(output.stdout).expect("it is text")
}

#[test]
fn openssl_obeys_deadlines_and_tokens_and_raises_no_sigpipe_on_epoll() {
    OPENSSL.holds_on("epoll");
}

#[test]
fn openssl_obeys_deadlines_and_tokens_and_raises_no_sigpipe_on_uring() {
    OPENSSL.holds_on("uring");
}

#[test]
fn libcurl_dials_waits_and_ends_as_netfd_does_on_epoll() {
    LIBCURL.holds_on("epoll");
}

#[test]
fn libcurl_dials_waits_and_ends_as_netfd_does_on_uring() {
    LIBCURL.holds_on("uring");
}

#[test]
fn libuv_gets_every_byte_behind_the_first_line_on_epoll() {
    LIBUV.holds_on("epoll");
}

#[test]
fn libuv_gets_every_byte_behind_the_first_line_on_uring() {
    LIBUV.holds_on("uring");
}

#[test]
fn asio_gets_every_byte_behind_the_first_line_on_epoll() {
    ASIO.holds_on("epoll");
}

#[test]
fn asio_gets_every_byte_behind_the_first_line_on_uring() {
    ASIO.holds_on("uring");
}

#[test]
fn valgrind_finds_no_fault_over_openssl() {
    OPENSSL.is_clean();
}

#[test]
fn valgrind_finds_no_fault_over_libcurl() {
    LIBCURL.is_clean();
}

#[test]
fn valgrind_finds_no_fault_beside_libuv() {
    LIBUV.is_clean();
}

#[test]
fn valgrind_finds_no_fault_beside_asio() {
    ASIO.is_clean();
}

#[test]
fn every_neighbour_is_tested_and_in_the_makefile_and_in_the_documentation() {
    let files = fs::read_dir(folder()).expect("the folder is there");
    let mut files: Vec<String> = files
        .map(|file| file.expect("it is listed").file_name())
        .map(|name| name.into_string().expect("names are text"))
        .collect();
    files.sort();
    let makefile = include_str!("../c_examples/Makefile");
    let guide = include_str!("../docs/neighbours.md");
    for file in &files {
        assert!(guide.contains(file.as_str()) || file == "tls.h", "{file}");
    }
    files.retain(|file| !file.ends_with(".h"));
    let mut tested = ALL.map(|neighbour| neighbour.file);
    tested.sort_unstable();
    assert_eq!(files, tested);
    for neighbour in ALL {
        let stem = neighbour.file.split('.').next().expect("it has one");
        let line = format!("$(call known,{},{stem})", neighbour.header);
        assert!(makefile.contains(&line), "{line}");
    }
}

/// Files that a program takes with it say by themselves what their licence is.
#[test]
fn what_is_to_be_copied_has_its_licence_in_it() {
    for name in ["netfd_bio.h", "netfd_curl.h", "first_line.h"] {
        let text = fs::read_to_string(folder().join(name)).expect("it is there");
        let line = " * SPDX-License-Identifier: MIT OR Apache-2.0\n";
        assert!(text.contains(line), "{name}");
    }
}

// systemd.

/// The blocks of a language in the guide.
fn blocks(language: &str) -> Vec<&'static str> {
    let guide = include_str!("../docs/neighbours.md");
    let begin = format!("```{language}\n");
    let parts = guide.split(begin.as_str()).skip(1);
    parts.filter_map(|part| part.split("```").next()).collect()
}

#[test]
fn what_the_guide_has_in_c_compiles() {
    let found = blocks("c");
    assert!(found.len() >= 4, "{}", found.len());
    for (n, block) in found.into_iter().enumerate() {
        let needs = [("netfd_bio.h", OPENSSL), ("netfd_curl.h", LIBCURL)];
        let needed = needs.iter().find(|(header, _)| block.contains(header));
        if needed.is_some_and(|(_, neighbour)| neighbour.is_missing()) {
            continue;
        }
        let source = build().join(format!("guide-{n}.c"));
        fs::write(&source, block).expect("the folder is ours");
        let mut command = compiler("guide.c", &["-Wno-unused-result", "-c", "-o", "/dev/null"]);
        succeeds(command.arg("-I").arg(folder()).arg(&source));
    }
}

fn systemd_example() -> PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let made = PROGRAM.get_or_init(|| {
        let program = build().join("systemd");
        let mut command = compiler("systemd.c", &[]);
        command.arg(root().join("c_examples/systemd.c"));
        succeeds(command.arg("-o").arg(&program).args(library()));
        program
    });
    made.clone()
}

/// The units in the guide are such that systemd takes them, and start what is
/// there.
#[test]
fn systemd_takes_the_units_that_the_guide_has() {
    if is_missing("systemd-analyze") {
        return;
    }
    let units = build().join("units");
    fs::create_dir_all(&units).expect("the folder is ours");
    let program = systemd_example();
    let program = program.to_str().expect("it is text");
    let found = blocks("ini");
    assert_eq!(found.len(), 2);
    let mut names = Vec::new();
    for block in found {
        let first = block.lines().next().expect("it is not empty");
        let name = first.rsplit('/').next().expect("it is a path");
        let unit = block.replace("/usr/local/bin/hello", program);
        fs::write(units.join(name), unit).expect("the folder is ours");
        names.push(name);
    }
    assert_eq!(names, ["hello.socket", "hello.service"]);
    let mut analyze = Command::new("systemd-analyze");
    analyze.arg("verify").arg("--man=no");
    analyze.env("SYSTEMD_UNIT_PATH", format!("{}:", units.display()));
    analyze.args(names.iter().map(|name| units.join(name)));
    let output = analyze.output().expect("it runs");
    let told = String::from_utf8_lossy(&output.stderr);
    let ours: Vec<_> = told.lines().filter(|line| line.contains("hello")).collect();
    assert!(output.status.success() && ours.is_empty(), "{told}");
}

/// Ends a launcher, and the server that it has become.
struct Launched(Child);

impl Drop for Launched {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Two sockets are passed by name, as by the two units of a bigger service;
/// the one that was not asked for is not touched.
#[test]
fn a_server_takes_the_sockets_with_its_name_from_systemd_and_no_other() {
    if is_missing("systemd-socket-activate") {
        return;
    }
    let (web, admin) = (unix_path("web"), unix_path("admin"));
    let mut launcher = Command::new("systemd-socket-activate");
    launcher
        .args(["-l", &web, "-l", &admin, "--fdname=web:admin"])
        .arg(systemd_example())
        .arg("web")
        .env_remove("LD_LIBRARY_PATH")
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut server = Launched(launcher.spawn().expect("it starts"));

    let unanswered = std::cell::OnceCell::new(); // it also starts the server
    await_that("it listens", || {
        UnixStream::connect(&admin).is_ok_and(|client| unanswered.set(client).is_ok())
    });
    let mut answered = UnixStream::connect(&web).expect("it listens");
    let mut hello = String::new();
    let limit = Some(common::GUARD);
    answered.set_read_timeout(limit).expect("it is not zero");
    answered.read_to_string(&mut hello).expect("it ends");
    assert_eq!(hello, "hello, whoever woke me\n");

    let pid = server.0.id() as libc::pid_t;
    // SAFETY: no pointers; the child is not waited for yet.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGTERM) }, 0);
    let mut said = String::new();
    let out = server.0.stdout.as_mut().expect("it is a pipe");
    out.read_to_string(&mut said).expect("it is text");
    assert!(server.0.wait().expect("it is our child").success());
    let listened = format!("systemd: listening on {web}\nsystemd: all ended\n");
    assert_eq!(said, listened);

    let mut rest = String::new();
    let mut unanswered = unanswered.into_inner().expect("it is set");
    unanswered.set_read_timeout(limit).expect("it is not zero");
    unanswered.read_to_string(&mut rest).unwrap_or_default();
    assert_eq!(rest, "", "nobody served it");
    for path in [web, admin] {
        fs::remove_file(path).expect("the file is the launcher's");
    }
}
