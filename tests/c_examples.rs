//! The C examples: that every compiler takes them as C99 and as C++11 without
//! a warning, and that each does what the comment on its top says. What HTTP
//! asks of `http_hello` is RFC 9112.
//!
//! A test whose tool is not installed says so and passes.

mod common;

use common::{GUARD, await_that, destroy, is_missing, shared_library, spawn};
use libc::c_int;
use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::fd::{IntoRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const EXAMPLES: [&str; 17] = [
    "echo_server",
    "echo_client",
    "http_hello",
    "evict",
    "deadline",
    "unix_echo",
    "udp_echo",
    "pass_fd",
    "systemd",
    "dial",
    "port_scan",
    "tcp_proxy",
    "static_http",
    "fiber_echo",
    "fiber_http",
    "fiber_proxy",
    "fiber_chat",
];

/// The one that needs OpenSSL.
const TLS: &str = "fiber_tls";

/// A compiler, and the language that it is asked for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Compiler {
    name: &'static str,
    language: &'static [&'static str],
}

const C: &[&str] = &["-std=c99"];
const CPP: &[&str] = &["-x", "c++", "-std=c++11"];
const C99: Compiler = compiler("gcc", C);
const CPP11: Compiler = compiler("g++", CPP);
const CLANG_C99: Compiler = compiler("clang", C);
const CLANG_CPP11: Compiler = compiler("clang++", CPP);

const fn compiler(name: &'static str, language: &'static [&'static str]) -> Compiler {
    Compiler { name, language }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("c_examples")
}

fn python_echo() -> PathBuf {
    folder().join("python_echo.py")
}

/// Where this file's tests build.
fn build() -> PathBuf {
    let build = Path::new(env!("CARGO_TARGET_TMPDIR")).join("c_examples");
    fs::create_dir_all(&build).expect("the target folder is writable");
    build
}

/// A folder that holds the fresh library under the names that the linker and
/// the loader look for.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let library = build().join("lib");
        let _ = fs::remove_dir_all(&library);
        fs::create_dir(&library).expect("it is ours");
        for name in ["libnetfd.so", env!("NETFD_SONAME")] {
            symlink(shared_library(), library.join(name)).expect("the folder is new");
        }
        library
    })
}

/// Whether OpenSSL's headers are missing, which is said.
fn is_openssl_missing() -> bool {
    let mut asked = command(C99.name);
    asked.args(["-E", "-x", "c", "-include", "openssl/ssl.h", "/dev/null"]);
    let missing = !asked.output().is_ok_and(|output| output.status.success());
    if missing {
        println!("skipped: OpenSSL's headers are not installed");
    }
    missing
}

/// The compiler's command for a source, as strict as it goes.
fn compile(compiler: Compiler, source: &Path) -> Command {
    let mut command = command(compiler.name);
    command
        .args(compiler.language)
        .args(["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O2", "-g"])
        .args(["-pthread", "-I"])
        .arg(folder().join("../include"))
        .arg(source);
    command
}

/// The same for a program.
fn link(compiler: Compiler, source: &Path, program: &Path) -> Command {
    let rpath = format!("-Wl,-rpath,{}", library().display());
    let mut command = compile(compiler, source);
    command.args(["-x", "none", "-lnetfd", &rpath, "-L"]);
    command.arg(library()).arg("-o").arg(program);
    if source.file_stem().is_some_and(|stem| stem == TLS) {
        command.args(["-lssl", "-lcrypto"]);
    }
    command
}

fn source(example: &str) -> PathBuf {
    folder().join(example).with_extension("c")
}

/// An example's program, which each test run compiles once.
fn program(compiler: Compiler, example: &'static str) -> Command {
    type Key = (Compiler, &'static str);
    static BUILT: Mutex<BTreeMap<Key, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let program = built.entry((compiler, example)).or_insert_with(|| {
        let program = build().join(format!("{example}-{}", compiler.name));
        Running::start(&mut link(compiler, &source(example), &program)).succeeds();
        program
    });
    command(&*program)
}

/// A command that finds the library by its rpath or not at all: cargo's
/// LD_LIBRARY_PATH may name another copy.
fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env_remove("LD_LIBRARY_PATH");
    command
}

/// A program that runs, and does not outlive its test.
struct Running {
    child: Child,
    lines: Receiver<String>,
    errors: Option<JoinHandle<String>>,
}

/// What became of one.
struct Ended {
    status: ExitStatus,
    out: String,
    err: String,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        Self::start_with(command, Stdio::null())
    }

    /// Starts a program that reads from `input`.
    fn start_with(command: &mut Command, input: Stdio) -> Self {
        let mut child = command
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let out = BufReader::new(child.stdout.take().expect("it is a pipe"));
        let mut err = child.stderr.take().expect("it is a pipe");
        let (send, lines) = mpsc::channel();
        thread::spawn(move || {
            let lines = out.lines().map_while(Result::ok);
            lines.for_each(|line| drop(send.send(line)));
        });
        let errors = thread::spawn(move || {
            let mut text = String::new();
            let _ = err.read_to_string(&mut text);
            text
        });
        Self {
            child,
            lines,
            errors: Some(errors),
        }
    }

    /// The port in the line "NAME: listening on 127.0.0.1:PORT".
    fn port(&self) -> u16 {
        let line = self.lines.recv_timeout(GUARD * VALGRIND);
        let line = line.expect("a server says where it listens");
        assert!(line.contains(": listening on 127.0.0.1:"), "{line}");
        let port = line.rsplit(':').next().expect("it has a colon");
        port.parse().expect("a port is a number")
    }

    fn signal(&self, number: i32) {
        let pid = self.child.id() as libc::pid_t;
        // SAFETY: no pointers; the child is not waited for yet.
        assert_eq!(unsafe { libc::kill(pid, number) }, 0);
    }

    /// How many threads it has.
    fn threads(&self) -> usize {
        let tasks = format!("/proc/{}/task", self.child.id());
        fs::read_dir(tasks).expect("it runs").count()
    }

    /// Whether a signal that it was sent waits to be handled.
    fn is_signal_pending(&self) -> bool {
        let status = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(status).expect("it runs");
        !status.contains("ShdPnd:\t0000000000000000")
    }

    /// Waits until it has ended.
    fn ends(mut self) -> Ended {
        let mut out = String::new();
        loop {
            match self.lines.recv_timeout(GUARD * VALGRIND) {
                Ok(line) => out.push_str(&(line + "\n")),
                Err(RecvTimeoutError::Timeout) => panic!("it does not end: {out}"),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let errors = self.errors.take().expect("it is joined once");
        Ended {
            err: errors.join().expect("it did not panic"),
            status: self.child.wait().expect("it is our child"),
            out,
        }
    }

    /// Waits until it has ended, with 0; returns what it wrote.
    fn succeeds(self) -> Ended {
        let ended = self.ends();
        assert!(
            ended.status.success(),
            "{}: {}{}",
            ended.status,
            ended.out,
            ended.err
        );
        ended
    }

    /// Interrupts it as Ctrl-C does; it ends with 0.
    fn stops(self) -> Ended {
        self.signal(libc::SIGINT);
        self.succeeds()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// By how much a program may be slower under valgrind.
const VALGRIND: u32 = 6;

/// The same command under valgrind, which ends with 9 where it finds a fault.
fn under_valgrind(program: &Command) -> Command {
    let mut valgrind = command("valgrind");
    valgrind.env_remove("NETFD_POLL"); // it does not know of rings
    valgrind
        .args([
            "-q",
            "--error-exitcode=9",
            "--leak-check=full",
            "--track-fds=yes",
        ])
        .arg(program.get_program());
    valgrind
}

/// Fails if valgrind told of descriptors that a program left open, other than
/// those that last as long as the process: the eventfds of its first thread
/// and of each token that is not freed, and the pipes that copies leave to the
/// next ones.
fn assert_no_descriptors_leaked(ended: &Ended, tokens: usize) {
    let reports = ended.err.split("Open ").skip(1);
    let (events, others): (Vec<&str>, Vec<&str>) = reports
        .filter(|report| !report.contains("<inherited from parent>"))
        .filter(|report| !report.contains(" pipe2 "))
        .partition(|report| report.contains(" eventfd "));
    assert_eq!(others, [""; 0]);
    assert!(events.len() <= 1 + tokens, "{events:?}");
}

/// A client that checks what comes.
struct Client(BufReader<TcpStream>);

/// An answer of HTTP.
struct Answer {
    status: String,
    fields: String,
    body: String,
}

impl Client {
    fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        stream.set_nodelay(true).expect("it is TCP");
        let limit = Some(GUARD);
        stream.set_read_timeout(limit).expect("it is not zero");
        Self(BufReader::new(stream))
    }

    fn send(&mut self, text: &str) {
        let sent = self.0.get_mut().write_all(text.as_bytes());
        sent.expect("the server reads");
    }

    fn echoes(&mut self, text: &str) {
        self.send(text);
        let mut back = vec![0; text.len()];
        self.0.read_exact(&mut back).expect("it comes back");
        assert_eq!(back, text.as_bytes());
    }

    /// The answer to a request.
    fn answer(&mut self) -> Answer {
        let mut answer = self.answer_to_head();
        let length = answer.fields.lines().find_map(|line| {
            let length = line.strip_prefix("Content-Length: ")?;
            length.parse().ok()
        });
        let mut body = vec![0; length.expect("it has a length")];
        self.0.read_exact(&mut body).expect("the body comes");
        answer.body = String::from_utf8(body).expect("it is text");
        answer
    }

    /// The answer to HEAD, which has no body.
    fn answer_to_head(&mut self) -> Answer {
        let mut lines = self.0.by_ref().lines().map(|line| line.expect("it comes"));
        let status = lines.next().expect("an answer comes");
        let fields = lines.take_while(|line| !line.is_empty());
        Answer {
            status,
            fields: fields.map(|line| line + "\n").collect(),
            body: String::new(),
        }
    }

    /// What is asked, answered.
    fn ask(&mut self, request: &str) -> Answer {
        self.send(request);
        self.answer()
    }

    /// Waits for the end of the stream, with nothing before it.
    fn is_hung_up_on(&mut self) {
        let mut rest = String::new();
        let read = self.0.read_to_string(&mut rest);
        read.expect("it ends, and is not reset");
        assert_eq!(rest, "");
    }
}

const GET: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
const HEAD: &str = "HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK";
const HELLO: &str = "Hello, world!\n";

/// An HTTP server with so many threads, and its port.
fn http_hello(threads: &str) -> (Running, u16) {
    let server = Running::start(program(C99, "http_hello").args(["0", threads]));
    let port = server.port();
    (server, port)
}

fn echo_server() -> (Running, u16) {
    let server = Running::start(&mut program(C99, "echo_server"));
    let port = server.port();
    (server, port)
}

/// The echo client over 20 connections.
fn echo_client(compiler: Compiler, port: u16) -> Running {
    let mut client = program(compiler, "echo_client");
    Running::start(client.args([&port.to_string(), "20", "20"]))
}

/// A port at which nobody listens, and the socket that keeps it so.
fn unused_port() -> (c_int, u16) {
    let at = common::Addr::parse("tcp", "127.0.0.1:0");
    let fd = common::socket(libc::AF_INET, libc::SOCK_STREAM);
    let on: [c_int; 1] = [1]; // a server may listen there all the same
    let (option, len) = (libc::SO_REUSEADDR, 4);
    // SAFETY: the option is as long as said.
    let set = unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, option, on.as_ptr().cast(), len) };
    assert_eq!(set, 0);
    // SAFETY: the address is as long as said.
    assert_eq!(unsafe { libc::bind(fd, at.ptr(), at.len) }, 0);
    (fd, common::local_addr(fd).port())
}

fn python(arguments: &[&str]) -> Running {
    let mut python = command("python3");
    python.arg(python_echo()).args(arguments);
    python.env("NETFD_LIBRARY", library().join("libnetfd.so"));
    Running::start(&mut python)
}

// The sources.

fn takes_every_example(compiler: Compiler) {
    if is_missing(compiler.name) {
        return;
    }
    let tls = (!is_openssl_missing()).then_some(TLS);
    for example in EXAMPLES.into_iter().chain(tls) {
        let object = build().join(format!("{example}-{}.o", compiler.name));
        let mut command = compile(compiler, &source(example));
        Running::start(command.arg("-c").arg("-o").arg(object)).succeeds();
    }
}

#[test]
fn gcc_takes_every_example_as_c99() {
    takes_every_example(C99);
}

#[test]
fn gcc_takes_every_example_as_cpp11() {
    takes_every_example(CPP11);
}

#[test]
fn clang_takes_every_example_as_c99() {
    takes_every_example(CLANG_C99);
}

#[test]
fn clang_takes_every_example_as_cpp11() {
    takes_every_example(CLANG_CPP11);
}

#[test]
fn every_example_is_tested_and_in_the_makefile() {
    let files = fs::read_dir(folder()).expect("c_examples is there");
    let mut names: Vec<String> = files
        .map(|file| file.expect("it is listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "c"))
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    let mut tested = EXAMPLES.to_vec();
    tested.push(TLS);
    tested.sort_unstable();
    assert_eq!(names, tested);
    let makefile = fs::read_to_string(folder().join("Makefile")).expect("it is there");
    assert!(makefile.contains(&format!("EXAMPLES = {}\n", EXAMPLES.join(" "))));
    assert!(makefile.contains(&format!("&& echo {TLS})\n")));
}

#[test]
fn every_example_includes_the_library_s_header_first() {
    for example in EXAMPLES.into_iter().chain([TLS]) {
        let source = fs::read_to_string(source(example)).expect("it is there");
        let first = source.lines().find(|line| line.starts_with("#include"));
        assert_eq!(first, Some("#include \"netfd.h\""), "{example}");
    }
}

/// The server in the README, which listens on `port` instead of its own.
fn readme_server(compiler: Compiler, port: u16) -> Command {
    let readme = include_str!("../README.md");
    let (_, server) = readme.split_once("## A server").expect("it has one");
    let (_, server) = server.split_once("```c\n").expect("it is in C");
    let (server, _) = server.split_once("```").expect("it ends");
    let server = server.replace("localhost:7777", &format!("127.0.0.1:{port}"));
    let source = build().join(format!("readme-{}.c", compiler.name));
    fs::write(&source, server).expect("the folder is ours");
    let program = source.with_extension("");
    Running::start(&mut link(compiler, &source, &program)).succeeds();
    command(program)
}

fn the_server_in_the_readme_serves(compiler: Compiler) {
    if is_missing(compiler.name) {
        return;
    }
    let (holder, port) = unused_port();
    let server = Running::start(&mut readme_server(compiler, port));
    await_that("it listens", || {
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    let mut clients: Vec<Client> = (0..5).map(|_| Client::connect(port)).collect();
    clients.iter_mut().for_each(|client| client.echoes("hello"));
    drop(server);
    destroy(holder);
}

#[test]
fn the_server_in_the_readme_serves_as_c99() {
    the_server_in_the_readme_serves(C99);
}

#[test]
fn the_server_in_the_readme_serves_as_cpp11() {
    the_server_in_the_readme_serves(CPP11);
}

#[test]
fn the_server_in_the_readme_serves_by_clang() {
    the_server_in_the_readme_serves(CLANG_C99);
    the_server_in_the_readme_serves(CLANG_CPP11);
}

// The echo server and its client.

fn echo_server_serves_echo_client(compiler: Compiler) {
    let server = Running::start(&mut program(compiler, "echo_server"));
    let client = echo_client(compiler, server.port()).succeeds();
    assert!(client.out.contains("every byte checked"), "{}", client.out);
    let server = server.stops();
    assert!(server.out.ends_with("all ended\n"), "{}", server.out);
}

#[test]
fn echo_server_serves_echo_client_as_c99() {
    echo_server_serves_echo_client(C99);
}

#[test]
fn echo_server_serves_echo_client_as_cpp11() {
    echo_server_serves_echo_client(CPP11);
}

#[test]
fn echo_server_ends_with_0_on_sigint_and_hangs_up_on_clients() {
    let (server, port) = echo_server();
    let mut clients: Vec<Client> = (0..5).map(|_| Client::connect(port)).collect();
    clients.iter_mut().for_each(|client| client.echoes("hello"));
    let server = server.stops();
    assert!(server.out.ends_with("all ended\n"), "{}", server.out);
    clients.iter_mut().for_each(Client::is_hung_up_on);
}

#[test]
fn echo_server_ends_with_0_on_sigterm() {
    let (server, _) = echo_server();
    server.signal(libc::SIGTERM);
    server.succeeds();
}

#[test]
fn echo_server_listens_on_the_port_that_it_is_given() {
    let (holder, port) = unused_port();
    let mut command = program(C99, "echo_server");
    let server = Running::start(command.arg(port.to_string()));
    assert_eq!(server.port(), port);
    server.stops();
    destroy(holder);
}

#[test]
fn echo_server_hangs_up_on_a_client_that_is_silent_for_too_long() {
    let server = Running::start(program(C99, "echo_server").args(["0", "1"]));
    let mut client = Client::connect(server.port());
    client.echoes("hello");
    client.is_hung_up_on();
    let server = server.stops();
    assert!(server.err.contains("i/o timeout"), "{}", server.err);
}

#[test]
fn echo_server_outlives_a_lack_of_descriptors() {
    let echo_server = program(C99, "echo_server");
    let mut limited = command("sh");
    limited.args(["-c", "ulimit -n 12 && exec \"$0\""]);
    let server = Running::start(limited.arg(echo_server.get_program()));
    let port = server.port();
    let clients: Vec<Client> = (0..30).map(|_| Client::connect(port)).collect();
    for mut client in clients {
        client.echoes("one after the other"); // and each makes room for one
    }
    let server = server.stops();
    assert!(
        server.err.contains("accept4: too many open files"),
        "{}",
        server.err
    );
}

#[test]
fn echo_server_outlives_a_lack_of_threads() {
    let echo_server = program(C99, "echo_server");
    let mut limited = command("sh");
    limited.args(["-c", "ulimit -s 8192 && ulimit -v 200000 && exec \"$0\""]);
    let server = Running::start(limited.arg(echo_server.get_program()));
    let port = server.port();
    let mut clients: Vec<Client> = (0..60).map(|_| Client::connect(port)).collect();
    clients[0].echoes("the first has a thread");
    clients[59].is_hung_up_on();
    drop(clients);
    await_that("their threads are gone", || server.threads() == 1);
    Client::connect(port).echoes("there is room again");
    let server = server.stops();
    let why = "thread: resource temporarily unavailable";
    assert!(server.err.contains(why), "{}", server.err);
}

#[test]
fn echo_server_says_why_it_cannot_listen() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("there are free ports");
    let port = taken.local_addr().expect("it is bound").port();
    let mut command = program(C99, "echo_server");
    let server = Running::start(command.arg(port.to_string())).ends();
    assert_eq!(server.status.code(), Some(1));
    let why = format!("listen tcp 127.0.0.1:{port}: bind: address already in use");
    assert_eq!(server.err.trim_end(), why);
}

#[test]
fn echo_client_says_why_it_cannot_connect() {
    let (holder, port) = unused_port();
    let client = echo_client(C99, port).ends();
    assert_eq!(client.status.code(), Some(1));
    assert!(client.err.contains("dial tcp 127.0.0.1:"), "{}", client.err);
    let why = format!("127.0.0.1:{port}: connect: connection refused");
    assert!(client.err.contains(&why), "{}", client.err);
    destroy(holder);
}

/// A server for one client of one round, which sends it what `change` makes
/// of its message.
fn echo_client_against(change: fn(Vec<u8>) -> Vec<u8>) -> Ended {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there are free ports");
    let port = listener.local_addr().expect("it is bound").port();
    let server = spawn(move || {
        let (mut stream, _) = listener.accept().expect("the client connects");
        let mut message = vec![0; 64];
        stream.read_exact(&mut message).expect("it sends");
        stream.write_all(&change(message)).expect("it reads");
    });
    let mut client = program(C99, "echo_client");
    let client = Running::start(client.args([&port.to_string(), "1", "1"])).ends();
    server.join();
    client
}

#[test]
fn echo_client_sees_a_wrong_byte() {
    let client = echo_client_against(|mut message| {
        message[63] ^= 1;
        message
    });
    assert_eq!(client.status.code(), Some(1));
    assert_eq!(client.err, "a wrong byte came back\n");
}

#[test]
fn echo_client_sees_a_missing_byte() {
    let client = echo_client_against(|mut message| {
        message.pop();
        message
    });
    assert_eq!(client.status.code(), Some(1));
    assert_eq!(client.err, "the other end hung up\n");
}

#[test]
fn echo_client_sees_a_byte_too_many() {
    let client = echo_client_against(|mut message| {
        message.push(b'!');
        message
    });
    assert_eq!(client.status.code(), Some(1));
    assert_eq!(client.err, "a byte too many came back\n");
}

// The HTTP server.

#[test]
fn http_hello_answers_many_requests_on_one_connection() {
    let (server, port) = http_hello("2");
    let mut client = Client::connect(port);
    for _ in 0..100 {
        let answer = client.ask(GET);
        assert_eq!(answer.status, OK);
        assert!(answer.fields.contains("Connection: keep-alive\n"));
        assert_eq!(answer.body, HELLO);
    }
    server.stops();
}

#[test]
fn http_hello_answers_pipelined_requests_in_their_order() {
    let (server, port) = http_hello("2");
    let mut client = Client::connect(port);
    let last = "GET /last HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    client.send(&(GET.repeat(40) + HEAD + GET + last));
    for _ in 0..40 {
        assert_eq!(client.answer().body, HELLO);
    }
    assert_eq!(client.answer_to_head().status, OK);
    assert_eq!(client.answer().body, HELLO);
    assert_eq!(client.answer().status, "HTTP/1.1 404 Not Found");
    client.is_hung_up_on();
    server.stops();
}

#[test]
fn http_hello_takes_requests_in_pieces() {
    let (server, port) = http_hello("2");
    let mut client = Client::connect(port);
    for byte in GET.repeat(2).chars() {
        client.send(&byte.to_string());
        thread::yield_now();
    }
    assert_eq!(client.answer().body, HELLO);
    assert_eq!(client.answer().body, HELLO);
    server.stops();
}

#[test]
fn http_hello_answers_head_as_get_without_the_body() {
    let (server, port) = http_hello("2");
    let mut client = Client::connect(port);
    client.send(HEAD);
    let answer = client.answer_to_head();
    assert_eq!(answer.status, OK);
    assert!(answer.fields.contains("Content-Length: 14\n"));
    assert_eq!(client.ask(GET).status, OK); // what follows is no body
    server.stops();
}

#[test]
fn http_hello_says_431_to_a_header_of_more_than_8_kib() {
    let (server, port) = http_hello("2");
    let mut client = Client::connect(port);
    let request = format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\nCookie: {}\r\n\r\n",
        "c".repeat(100_000)
    );
    let answer = client.ask(&request);
    assert_eq!(
        answer.status,
        "HTTP/1.1 431 Request Header Fields Too Large"
    );
    client.is_hung_up_on(); // in order, and not with a reset
    server.stops();
}

#[test]
fn http_hello_takes_a_header_of_just_8_kib() {
    let (server, port) = http_hello("2");
    let mut client = Client::connect(port);
    let field = "GET / HTTP/1.1\r\nHost: localhost\r\nCookie: \r\n\r\n";
    let request = field.replace(": \r", &format!(": {}\r", "c".repeat(8192 - field.len())));
    assert_eq!(request.len(), 8192);
    assert_eq!(client.ask(&request).status, OK);
    assert_eq!(client.ask(GET).status, OK);
    server.stops();
}

#[test]
fn http_hello_says_404_and_goes_on() {
    let (server, port) = http_hello("2");
    let mut client = Client::connect(port);
    let answer = client.ask("GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(answer.status, "HTTP/1.1 404 Not Found");
    assert_eq!(client.ask(GET).status, OK);
    server.stops();
}

#[test]
fn http_hello_says_405_and_takes_no_body_for_a_request() {
    let (server, port) = http_hello("2");
    let mut client = Client::connect(port);
    let length = GET.len();
    let answer = client.ask(&format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{GET}"
    ));
    assert_eq!(answer.status, "HTTP/1.1 405 Method Not Allowed");
    assert!(answer.fields.contains("Allow: GET, HEAD\n"));
    client.is_hung_up_on();
    server.stops();
}

#[test]
fn http_hello_answers_every_form_of_its_address() {
    let (server, port) = http_hello("2");
    let mut client = Client::connect(port);
    for target in ["/", "/?q=1", "http://localhost/", "http://localhost"] {
        let request = format!("GET {target} HTTP/1.1\r\nhost:localhost\r\n\r\n");
        assert_eq!(client.ask(&request).status, OK, "{target}");
    }
    server.stops();
}

#[test]
fn http_hello_says_400_to_what_is_no_request() {
    let (server, port) = http_hello("2");
    for request in [
        "hello\r\n\r\n",
        "GET /\r\n\r\n",
        "GET / HTTP/2.0\r\nHost: localhost\r\n\r\n",
        "GET / HTTP/1.11\r\nHost: localhost\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n", // no host
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nno field\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\n folded: line\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : localhost\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: local\0host\r\n\r\n",
    ] {
        let mut client = Client::connect(port);
        let answer = client.ask(request);
        assert_eq!(answer.status, "HTTP/1.1 400 Bad Request", "{request:?}");
        client.is_hung_up_on();
    }
    server.stops();
}

#[test]
fn http_hello_hangs_up_on_a_client_of_http_1_0_unless_asked_not_to() {
    let (server, port) = http_hello("2");
    let mut client = Client::connect(port);
    let answer = client.ask("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n");
    assert!(answer.fields.contains("Connection: keep-alive\n"));
    let answer = client.ask("GET / HTTP/1.0\r\n\r\n");
    assert!(answer.fields.contains("Connection: close\n"));
    client.is_hung_up_on();
    server.stops();
}

#[test]
fn http_hello_passes_over_empty_lines_between_requests() {
    let (server, port) = http_hello("2");
    let mut client = Client::connect(port);
    assert_eq!(client.ask(GET).status, OK);
    assert_eq!(client.ask(&format!("\r\n{GET}")).status, OK);
    server.stops();
}

#[test]
fn http_hello_lets_clients_wait_that_are_more_than_its_threads() {
    let (server, port) = http_hello("1");
    let mut first = Client::connect(port);
    assert_eq!(first.ask(GET).status, OK);
    let mut second = Client::connect(port);
    second.send(GET);
    drop(first);
    assert_eq!(second.answer().status, OK);
    server.stops();
}

#[test]
fn http_hello_ends_with_0_on_sigint_and_hangs_up_on_clients() {
    let (server, port) = http_hello("8");
    let mut clients: Vec<Client> = (0..5).map(|_| Client::connect(port)).collect();
    for client in &mut clients {
        assert_eq!(client.ask(GET).status, OK);
    }
    let server = server.stops();
    assert!(server.out.ends_with("all ended\n"), "{}", server.out);
    clients.iter_mut().for_each(Client::is_hung_up_on);
}

#[test]
fn http_hello_ends_with_0_on_sigterm() {
    let (server, _) = http_hello("8");
    server.signal(libc::SIGTERM);
    server.succeeds();
}

#[test]
fn http_hello_runs_as_cpp11() {
    let server = Running::start(&mut program(CPP11, "http_hello"));
    let mut client = Client::connect(server.port());
    assert_eq!(client.ask(GET).body, HELLO);
    server.stops();
}

#[test]
fn curl_asks_http_hello_twice_over_one_connection() {
    if is_missing("curl") {
        return;
    }
    let (server, port) = http_hello("2");
    let url = format!("http://127.0.0.1:{port}/");
    let mut curl = command("curl");
    curl.args([
        "-q",
        "-sS",
        "--noproxy",
        "*",
        "-w",
        "%{http_code} %{num_connects}\n",
    ]);
    let curl = Running::start(curl.args([&url, &url])).succeeds();
    assert_eq!(curl.out, format!("{HELLO}200 1\n{HELLO}200 0\n"));
    server.stops();
}

#[test]
fn wrk_gets_no_errors_from_http_hello() {
    if is_missing("wrk") {
        return;
    }
    let server = Running::start(&mut program(C99, "http_hello"));
    let url = format!("http://127.0.0.1:{}/", server.port());
    let mut wrk = command("wrk");
    let wrk = Running::start(wrk.args(["-t1", "-c100", "-d1s", &url])).succeeds();
    assert!(wrk.out.contains("Requests/sec"), "{}", wrk.out);
    assert!(!wrk.out.contains("errors"), "{}", wrk.out);
    assert!(!wrk.out.contains("Non-2xx"), "{}", wrk.out);
    server.stops();
}

// Those that end by themselves.

fn evict_tells_each_blocked_call(compiler: Compiler) {
    let evict = Running::start(&mut program(compiler, "evict")).succeeds();
    for call in ["accept", "read", "connect"] {
        let told = format!("{call} was told: use of closed network connection\n");
        assert!(evict.out.contains(&told), "{}", evict.out);
    }
    assert!(evict.out.contains("no byte lost"), "{}", evict.out);
}

#[test]
fn evict_tells_each_blocked_call_as_c99() {
    evict_tells_each_blocked_call(C99);
}

#[test]
fn evict_tells_each_blocked_call_as_cpp11() {
    evict_tells_each_blocked_call(CPP11);
}

#[test]
fn deadline_sees_go_s_rules_kept_as_c99() {
    Running::start(&mut program(C99, "deadline")).succeeds();
}

#[test]
fn deadline_sees_go_s_rules_kept_as_cpp11() {
    Running::start(&mut program(CPP11, "deadline")).succeeds();
}

fn unix_echo_talks_by_path_and_by_abstract_name(compiler: Compiler) {
    let echo = Running::start(&mut program(compiler, "unix_echo")).succeeds();
    for place in ["/tmp/netfd-", "@netfd-"] {
        let talked = format!("1000 messages and back over {place}");
        assert!(echo.out.contains(&talked), "{}", echo.out);
    }
    assert_eq!(echo.out.matches("is this process").count(), 2);
}

#[test]
fn unix_echo_talks_by_path_and_by_abstract_name_as_c99() {
    unix_echo_talks_by_path_and_by_abstract_name(C99);
}

#[test]
fn unix_echo_talks_by_path_and_by_abstract_name_as_cpp11() {
    unix_echo_talks_by_path_and_by_abstract_name(CPP11);
}

fn udp_echo_gets_every_datagram_back(compiler: Compiler) {
    let echo = Running::start(&mut program(compiler, "udp_echo")).succeeds();
    let back = "32000 datagrams, and all came back\n";
    assert!(echo.out.contains(back), "{}", echo.out);
    let (_, server) = echo.out.split_once("the server got ").expect("it tells");
    let counts: Vec<u32> = server
        .split(' ')
        .filter_map(|word| word.parse().ok())
        .collect();
    assert_eq!(counts.first(), Some(&32_000));
    // Batches are what it is about; how large they are is up to the scheduler.
    assert!(
        counts.get(1).is_some_and(|calls| *calls < 32_000),
        "{server}"
    );
}

#[test]
fn udp_echo_gets_every_datagram_back_as_c99() {
    udp_echo_gets_every_datagram_back(C99);
}

#[test]
fn udp_echo_gets_every_datagram_back_as_cpp11() {
    udp_echo_gets_every_datagram_back(CPP11);
}

fn pass_fd_has_another_process_serve(compiler: Compiler) {
    let pass = Running::start(&mut program(compiler, "pass_fd")).succeeds();
    let served = "3 clients served by another process\n";
    assert!(pass.out.ends_with(served), "{}", pass.out);
}

#[test]
fn pass_fd_has_another_process_serve_as_c99() {
    pass_fd_has_another_process_serve(C99);
}

#[test]
fn pass_fd_has_another_process_serve_as_cpp11() {
    pass_fd_has_another_process_serve(CPP11);
}

// Socket activation.

/// Starts a command as systemd does, with a listener as number 3.
fn activated(command: &Command, listener: impl Into<OwnedFd>) -> Running {
    let script = "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" \"$@\" 3<&0 </dev/null";
    let mut shell = self::command("sh");
    shell.args(["-c", script]);
    shell.arg(command.get_program()).args(command.get_args());
    Running::start_with(&mut shell, Stdio::from(listener.into()))
}

fn systemd_serves_on_the_listener_that_it_was_passed(compiler: Compiler) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there are free ports");
    let port = listener.local_addr().expect("it is bound").port();
    let early = Client::connect(port); // before there is a server
    let server = activated(&program(compiler, "systemd"), listener);
    assert_eq!(server.port(), port);
    for mut client in [early, Client::connect(port)] {
        let mut hello = String::new();
        let read = client.0.read_to_string(&mut hello);
        read.expect("it ends, and is not reset");
        assert_eq!(hello, "hello, whoever woke me\n");
    }
    server.signal(libc::SIGTERM);
    let server = server.succeeds();
    assert!(server.out.ends_with("all ended\n"), "{}", server.out);
    assert_eq!(server.err, "");
}

#[test]
fn systemd_serves_on_the_listener_that_it_was_passed_as_c99() {
    systemd_serves_on_the_listener_that_it_was_passed(C99);
}

#[test]
fn systemd_serves_on_the_listener_that_it_was_passed_as_cpp11() {
    systemd_serves_on_the_listener_that_it_was_passed(CPP11);
}

#[test]
fn systemd_is_started_by_systemd_socket_activate() {
    if is_missing("systemd-socket-activate") {
        return;
    }
    let path = common::unix_path("systemd");
    let mut launcher = command("systemd-socket-activate");
    launcher.args(["-l", &path]);
    let server = Running::start(launcher.arg(program(C99, "systemd").get_program()));
    let connected = std::cell::OnceCell::new();
    await_that("it listens", || {
        UnixStream::connect(&path).is_ok_and(|client| connected.set(client).is_ok())
    });
    let mut client = connected.into_inner().expect("it is set");
    let mut hello = String::new();
    let limit = Some(GUARD);
    client.set_read_timeout(limit).expect("it is not zero");
    client.read_to_string(&mut hello).expect("it ends");
    assert_eq!(hello, "hello, whoever woke me\n");
    server.signal(libc::SIGTERM);
    let server = server.succeeds();
    let listened = format!("systemd: listening on {path}\nsystemd: all ended\n");
    assert_eq!(server.out, listened);
    fs::remove_file(path).expect("the file is the launcher's");
}

#[test]
fn systemd_says_how_it_is_to_be_started() {
    let server = Running::start(&mut program(C99, "systemd")).ends();
    assert_eq!(server.status.code(), Some(1));
    let how = "systemd-socket-activate -l 8080 ";
    assert!(server.err.contains(how), "{}", server.err);
}

// Dial.

fn dial(network: &str, address: &str) -> Command {
    let mut dial = program(C99, "dial");
    dial.args([network, address]);
    dial
}

/// A listener, and its address as text.
fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there are free ports");
    let at = listener.local_addr().expect("it is bound").to_string();
    (listener, at)
}

/// A file to read from.
fn input(name: &str, bytes: &[u8]) -> fs::File {
    let path = build().join(format!("{name}.in"));
    fs::write(&path, bytes).expect("the folder is ours");
    fs::File::open(path).expect("it is there")
}

/// So many bytes that look random, the same ones for each seed.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut x = seed;
    let mut next = || {
        x = x
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        x.to_be_bytes()[0]
    };
    (0..len).map(|_| next()).collect()
}

fn dial_takes_what_comes_back(compiler: Compiler) {
    let (server, port) = echo_server();
    let sent = noise(1, 3_000_000);
    let file = input(&format!("dial-{}", compiler.name), &sent);
    let mut dial = program(compiler, "dial");
    dial.args(["tcp", &format!("127.0.0.1:{port}")]);
    let came = spawn(move || dial.stdin(file).output().expect("it runs")).join();
    assert!(came.status.success(), "{}", came.status);
    assert!(came.stdout == sent, "of {} bytes", came.stdout.len());
    assert_eq!(came.stderr, b"");
    server.stops();
}

#[test]
fn dial_takes_what_comes_back_as_c99() {
    dial_takes_what_comes_back(C99);
}

#[test]
fn dial_takes_what_comes_back_as_cpp11() {
    dial_takes_what_comes_back(CPP11);
}

#[test]
fn dial_tells_that_stdin_has_ended_and_waits_for_the_answer() {
    let (listener, at) = listener();
    let server = spawn(move || {
        let (mut stream, _) = listener.accept().expect("it connects");
        let mut request = String::new();
        stream.read_to_string(&mut request).expect("it ends");
        assert_eq!(request, ""); // of /dev/null
        stream.write_all(b"the answer").expect("it reads");
    });
    let dial = Running::start(&mut dial("tcp", &at)).succeeds();
    assert_eq!(dial.out, "the answer\n"); // the newline is lines()'s
    server.join();
}

#[test]
fn dial_talks_while_stdin_is_open_and_ends_when_it_is_hung_up_on() {
    let (listener, at) = listener();
    let mut dial = Running::start_with(&mut dial("tcp", &at), Stdio::piped());
    let mut stdin = dial.child.stdin.take().expect("it is a pipe");
    let (stream, _) = listener.accept().expect("it connects");
    let mut stream = BufReader::new(stream);
    for i in 0..3 {
        writeln!(stdin, "question {i}").expect("it reads");
        let mut line = String::new();
        stream.read_line(&mut line).expect("it comes");
        assert_eq!(line, format!("question {i}\n"));
        stream.get_mut().write_all(b"yes\n").expect("it reads");
        let answer = dial.lines.recv_timeout(GUARD).expect("it is not held back");
        assert_eq!(answer, "yes");
    }
    drop(stream);
    dial.succeeds();
    drop(stdin); // which was open, and silent, until now
}

#[test]
fn dial_connects_to_unix_sockets() {
    let path = build().join(format!("dial-{}.sock", std::process::id()));
    let listener = UnixListener::bind(&path).expect("the folder is ours");
    let dial = Running::start(&mut dial("unix", path.to_str().expect("it is text")));
    let (mut stream, _) = listener.accept().expect("it connects");
    stream.write_all(b"hello").expect("it reads");
    drop(stream);
    assert_eq!(dial.succeeds().out, "hello\n");
    fs::remove_file(path).expect("it is ours");
}

/// Fails unless the program ends with 1 and says `why`.
fn fails(command: &mut Command, why: &str) {
    let ended = Running::start(command).ends();
    assert_eq!(ended.status.code(), Some(1));
    assert_eq!(ended.err.trim_end(), why);
}

#[test]
fn dial_says_in_go_s_words_why_it_cannot_connect() {
    let (holder, port) = unused_port();
    let at = format!("127.0.0.1:{port}");
    let why = format!("dial tcp {at}: connect: connection refused");
    fails(&mut dial("tcp", &at), &why);
    destroy(holder);
    let why = "dial tcp: lookup no..host: no such host"; // whatever the resolver
    fails(&mut dial("tcp", "no..host:80"), why);
    let why = "dial tcp: address localhost: missing port in address";
    fails(&mut dial("tcp", "localhost"), why);
    fails(&mut dial("tpc", &at), "dial tpc: unknown network tpc");
}

#[test]
fn dial_ends_with_1_where_the_connection_breaks() {
    let (listener, at) = listener();
    let mut dial = Running::start_with(&mut dial("tcp", &at), Stdio::piped());
    let stdin = dial.child.stdin.take();
    let (stream, _) = listener.accept().expect("it connects");
    common::reset(common::attach(stream.into_raw_fd()));
    let dial = dial.ends();
    assert_eq!(dial.status.code(), Some(1));
    assert!(
        dial.err.contains("connection reset by peer"),
        "{}",
        dial.err
    );
    drop(stdin);
}

// The port scanner.

/// Ports of an address that no other test listens on.
struct Ports {
    ip: Ipv4Addr,
    listeners: Vec<TcpListener>,
    first: u16,
}

const SPAN: u16 = 300;

impl Ports {
    /// So many listeners, in a span of ports whose first they do not have.
    fn with_listeners(count: u16, test: u8) -> Self {
        let [_, _, high, low] = std::process::id().to_be_bytes();
        let ip = Ipv4Addr::new(127, test, high, low);
        // The kernel gives ports above; these are asked for by number.
        let first = 20_000 + 1_000 * u16::from(test);
        let listen = |i| TcpListener::bind((ip, first + 7 + i * 11)).expect("it is free");
        Self {
            ip,
            listeners: (0..count).map(listen).collect(),
            first,
        }
    }

    fn last(&self) -> u16 {
        self.first + SPAN - 1
    }

    /// What a scanner says of the listeners.
    fn told(&self) -> String {
        let tell = |listener: &TcpListener| {
            let at = listener.local_addr().expect("it is bound");
            format!("port_scan: {at} is open\n")
        };
        self.listeners.iter().map(tell).collect()
    }

    /// Scans the span with so many threads.
    fn scan(&self, command: &mut Command, threads: &str, ms: &str) -> Ended {
        let ports = [self.first.to_string(), self.last().to_string()];
        command.arg(self.ip.to_string()).args(ports);
        Running::start(command.args([threads, ms])).succeeds()
    }
}

fn port_scan_finds_the_ports_that_are_open_and_no_others(compiler: Compiler, test: u8) {
    let ports = Ports::with_listeners(20, test);
    let scan = ports.scan(&mut program(compiler, "port_scan"), "16", "5000");
    let (open, summary) = scan.out.split_at(ports.told().len());
    assert_eq!(open, ports.told());
    assert!(summary.starts_with("port_scan: 300 ports by 16 threads in "));
    assert!(summary.ends_with(": 20 open, 280 refused, 0 silent\n"));
}

#[test]
fn port_scan_finds_the_ports_that_are_open_and_no_others_as_c99() {
    port_scan_finds_the_ports_that_are_open_and_no_others(C99, 1);
}

#[test]
fn port_scan_finds_the_ports_that_are_open_and_no_others_as_cpp11() {
    port_scan_finds_the_ports_that_are_open_and_no_others(CPP11, 2);
}

#[test]
fn port_scan_gives_each_port_its_deadline() {
    let ports = Ports::with_listeners(3, 3);
    let at = format!("{}:{}", ports.ip, ports.first);
    let (full, _, waiting) = common::full_listener("tcp", &at);
    let scan = ports.scan(&mut program(C99, "port_scan"), "4", "1000");
    let told = ": 3 open, 296 refused, 1 silent\n";
    assert!(scan.out.ends_with(told), "{}", scan.out);
    waiting
        .into_iter()
        .chain([full])
        .for_each(|fd| assert_eq!(destroy(fd), 0));
}

#[test]
fn port_scan_has_no_more_connections_than_threads() {
    let ports = Ports::with_listeners(20, 4);
    let port_scan = program(C99, "port_scan");
    let mut limited = command("sh");
    // Three of its own, what each thread parks with, and a socket for each.
    limited.args(["-c", "ulimit -n 12 && exec \"$0\" \"$@\""]);
    limited.arg(port_scan.get_program());
    let scan = ports.scan(&mut limited, "4", "5000");
    assert!(scan.out.starts_with(&ports.told()), "{}", scan.out);
}

#[test]
fn port_scan_scans_around_its_own_listeners_where_it_is_told_nothing() {
    let scan = Running::start(&mut program(C99, "port_scan")).succeeds();
    let listens = "port_scan: listens on port ";
    let own = scan
        .out
        .lines()
        .filter_map(|line| line.strip_prefix(listens));
    let own: Vec<&str> = own.collect();
    assert_eq!(own.len(), 3);
    for port in own {
        let told = format!("port_scan: 127.0.0.1:{port} is open\n");
        assert!(scan.out.contains(&told), "{}", scan.out);
    }
}

#[test]
fn port_scan_says_why_it_cannot_go_on() {
    let mut scan = program(C99, "port_scan");
    let why = "resolve tcp: lookup no..host: no such host";
    fails(scan.args(["no..host", "1", "9"]), why);
    let mut scan = program(C99, "port_scan");
    // Nobody may connect to the broadcast address: EACCES at once.
    let why = "dial tcp 255.255.255.255:1: connect: ";
    let ended = Running::start(scan.args(["255.255.255.255", "1", "9", "1"])).ends();
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.err.starts_with(why), "{}", ended.err);
}

// The proxy.

/// A proxy for a target, which gives connections so many seconds when it
/// stops; and its port.
fn tcp_proxy(compiler: Compiler, target: &str, grace: &str) -> (Running, u16) {
    proxy("tcp_proxy", compiler, target, grace)
}

/// By threads or by fibers.
fn proxy(name: &'static str, compiler: Compiler, target: &str, grace: &str) -> (Running, u16) {
    let mut proxy = program(compiler, name);
    let proxy = Running::start(proxy.args([target, "0", grace]));
    let port = proxy.port();
    (proxy, port)
}

/// A connection through a proxy, by both of its ends.
struct Through {
    proxy: Running,
    client: TcpStream,
    target: TcpStream,
}

impl Through {
    fn begin(compiler: Compiler, grace: &str) -> Self {
        Self::begin_by("tcp_proxy", compiler, grace)
    }

    fn begin_by(name: &'static str, compiler: Compiler, grace: &str) -> Self {
        let (listener, at) = listener();
        let (proxy, port) = proxy(name, compiler, &at, grace);
        let client = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        let (target, _) = listener.accept().expect("the proxy connects");
        (&client).write_all(b".").expect("it reads");
        (&target).read_exact(&mut [0]).expect("it copies");
        for end in [&client, &target] {
            let limit = Some(GUARD);
            end.set_read_timeout(limit).expect("it is not zero");
            end.set_write_timeout(limit).expect("it is not zero");
        }
        Self {
            proxy,
            client,
            target,
        }
    }
}

/// Sends bytes in pieces of all sizes, and that there are no more.
fn send_in_pieces(mut stream: &TcpStream, bytes: &[u8]) {
    let mut rest = bytes;
    let mut sizes = noise(2, 1000).into_iter().cycle();
    while !rest.is_empty() {
        let size = 1 + 3 * usize::from(sizes.next().expect("it goes on")).pow(2);
        let (piece, behind) = rest.split_at(size.min(rest.len()));
        stream.write_all(piece).expect("it reads");
        rest = behind;
    }
    stream.shutdown(Shutdown::Write).expect("it stands");
}

/// Reads to the end.
fn receive_all(mut stream: &TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("it ends in order");
    bytes
}

fn tcp_proxy_takes_every_byte_both_ways_at_once(compiler: Compiler) {
    let through = Through::begin(compiler, "5");
    let (there, back) = (noise(3, 6_000_000), noise(4, 4_000_000));
    thread::scope(|scope| {
        scope.spawn(|| send_in_pieces(&through.client, &there));
        scope.spawn(|| send_in_pieces(&through.target, &back));
        scope.spawn(|| assert!(receive_all(&through.target) == there));
        scope.spawn(|| assert!(receive_all(&through.client) == back));
    });
    through.proxy.stops();
}

#[test]
fn tcp_proxy_takes_every_byte_both_ways_at_once_as_c99() {
    tcp_proxy_takes_every_byte_both_ways_at_once(C99);
}

#[test]
fn tcp_proxy_takes_every_byte_both_ways_at_once_as_cpp11() {
    tcp_proxy_takes_every_byte_both_ways_at_once(CPP11);
}

#[test]
fn tcp_proxy_passes_on_the_end_of_a_client_that_waits_for_its_answer() {
    let through = Through::begin(C99, "5");
    send_in_pieces(&through.client, b"a question");
    assert_eq!(receive_all(&through.target), b"a question");
    send_in_pieces(&through.target, b"its answer");
    assert_eq!(receive_all(&through.client), b"its answer");
    through.proxy.stops();
}

#[test]
fn tcp_proxy_passes_on_the_end_of_a_target_that_goes_on_reading() {
    let through = Through::begin(C99, "5");
    send_in_pieces(&through.target, b"a greeting");
    assert_eq!(receive_all(&through.client), b"a greeting");
    send_in_pieces(&through.client, b"an upload");
    assert_eq!(receive_all(&through.target), b"an upload");
    through.proxy.stops();
}

#[test]
fn tcp_proxy_ends_both_directions_where_one_breaks() {
    let through = Through::begin(C99, "5");
    common::reset(common::attach(through.client.into_raw_fd()));
    assert_eq!(receive_all(&through.target), b"");
    let proxy = through.proxy.stops();
    let why = ": connection reset by peer\n";
    assert!(proxy.err.ends_with(why), "{}", proxy.err);
    assert_eq!(proxy.err.lines().count(), 1, "{}", proxy.err);
}

#[test]
fn tcp_proxy_keeps_no_descriptor_of_connections_that_have_ended() {
    let (echo, target) = echo_server();
    let (proxy, port) = tcp_proxy(C99, &format!("127.0.0.1:{target}"), "5");
    for _ in 0..3 {
        echo_client(C99, port).succeeds(); // 20 connections at once
    }
    await_that("their threads are gone", || proxy.threads() == 1);
    let fds = format!("/proc/{}/fd", proxy.child.id());
    let sockets = fs::read_dir(fds).expect("it runs").filter(|fd| {
        let target = fs::read_link(fd.as_ref().expect("it is listed").path());
        target.is_ok_and(|target| target.to_string_lossy().starts_with("socket:"))
    });
    assert_eq!(sockets.count(), 1); // the listener
    proxy.stops();
    echo.stops();
}

#[test]
fn tcp_proxy_hangs_up_where_the_target_refuses_and_goes_on() {
    let (holder, target) = unused_port();
    let (proxy, port) = tcp_proxy(C99, &format!("127.0.0.1:{target}"), "5");
    Client::connect(port).is_hung_up_on();
    Client::connect(port).is_hung_up_on();
    let proxy = proxy.stops();
    let why = format!("dial tcp 127.0.0.1:{target}: connect: connection refused\n");
    assert_eq!(proxy.err, why.repeat(2));
    destroy(holder);
}

#[test]
fn tcp_proxy_lets_what_runs_finish_once_it_stops_and_takes_nothing_new() {
    let mut through = Through::begin(C99, "60");
    let at = through.client.peer_addr().expect("it stands");
    through.proxy.signal(libc::SIGINT);
    let stops = through.proxy.lines.recv_timeout(GUARD);
    let stops = stops.expect("it says that it stops");
    assert!(stops.contains("stops when its connections have ended"));
    let refused = TcpStream::connect(at).expect_err("nobody listens");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);

    let mut came = [0; 5];
    through.client.write_all(b"still").expect("it reads");
    through.target.read_exact(&mut came).expect("it comes");
    assert_eq!(&came, b"still");
    send_in_pieces(&through.target, b"the rest");
    assert_eq!(receive_all(&through.client), b"the rest");
    drop(through.client);
    let proxy = through.proxy.succeeds();
    assert_eq!(proxy.out, "tcp_proxy: all ended\n");
    assert_eq!(proxy.err, "");
}

#[test]
fn tcp_proxy_ends_what_runs_when_its_time_is_up() {
    let through = Through::begin(C99, "1");
    let begun = Instant::now();
    let proxy = through.proxy.stops();
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(1), "{took:?}");
    assert!(proxy.out.ends_with("all ended\n"), "{}", proxy.out);
    assert!(proxy.err.contains("i/o timeout"), "{}", proxy.err);
    assert_eq!(receive_all(&through.client), b"");
    assert_eq!(receive_all(&through.target), b"");
}

#[test]
fn tcp_proxy_gives_up_a_dial_once_it_stops() {
    let (full, at, waiting) = common::full_listener("tcp", "127.0.0.1:0");
    let (proxy, port) = tcp_proxy(C99, &format!("127.0.0.1:{}", at.port()), "60");
    let mut client = Client::connect(port);
    await_that("it dials", || proxy.threads() == 2);
    let proxy = proxy.stops();
    assert!(
        proxy.err.contains("operation was canceled"),
        "{}",
        proxy.err
    );
    client.is_hung_up_on();
    waiting
        .into_iter()
        .chain([full])
        .for_each(|fd| assert_eq!(destroy(fd), 0));
}

#[test]
fn tcp_proxy_ends_with_0_on_sigterm() {
    let (proxy, _) = tcp_proxy(C99, "127.0.0.1:1", "5");
    proxy.signal(libc::SIGTERM);
    proxy.succeeds();
}

// The server of files.

const TEN: &str = "0123456789";

/// A folder of files, for one test, beside something that is not in it.
fn site(test: &str) -> PathBuf {
    let folder = build().join(format!("site-{test}"));
    let _ = fs::remove_dir_all(&folder);
    let www = folder.join("www");
    fs::create_dir_all(www.join("sub/empty")).expect("the folder is ours");
    fs::write(folder.join("secret"), "secret").expect("it is ours");
    for (name, text) in [
        ("ten.txt", TEN),
        ("index.html", "<p>the root</p>"),
        ("sub/index.html", "<p>sub</p>"),
        ("sub/two words.css", "p {}"),
        ("ünï.json", "[]"),
        ("..data", "two dots lead nowhere"),
        ("a%20b", "not decoded twice"),
        ("nothing.png", ""),
        ("no_type", "bytes"),
    ] {
        fs::write(www.join(name), text).expect("it is ours");
    }
    www
}

/// A server of a folder, and its port.
fn static_http(www: &Path) -> (Running, u16) {
    let mut server = program(C99, "static_http");
    let server = Running::start(server.arg(www).args(["0", "4"]));
    let port = server.port();
    (server, port)
}

/// A request for a path, with further fields.
fn get(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n")
}

/// A request for a part of the ten bytes.
fn get_range(range: &str) -> String {
    get("/ten.txt", &format!("Range: {range}\r\n"))
}

fn static_http_sends_files_with_their_length_and_type(compiler: Compiler) {
    let www = site(&format!("types-{}", compiler.name));
    let server = Running::start(program(compiler, "static_http").arg(&www));
    let mut client = Client::connect(server.port());
    for (path, body, kind) in [
        ("/ten.txt", TEN, "text/plain; charset=utf-8"),
        ("/", "<p>the root</p>", "text/html; charset=utf-8"),
        ("/sub/", "<p>sub</p>", "text/html; charset=utf-8"),
        ("/sub/two%20words.css", "p {}", "text/css"),
        ("/%C3%BCn%c3%af.json", "[]", "application/json"),
        ("/nothing.png", "", "image/png"),
        ("/no_type", "bytes", "application/octet-stream"),
        ("/a%2520b", "not decoded twice", "application/octet-stream"),
        (
            "/..data",
            "two dots lead nowhere",
            "application/octet-stream",
        ),
        (
            "/sub%2findex.html?q=1",
            "<p>sub</p>",
            "text/html; charset=utf-8",
        ),
        ("http://localhost/ten.txt", TEN, "text/plain; charset=utf-8"),
        (
            "http://localhost",
            "<p>the root</p>",
            "text/html; charset=utf-8",
        ),
    ] {
        let answer = client.ask(&get(path, ""));
        assert_eq!(answer.status, OK, "{path}");
        assert_eq!(answer.body, body, "{path}");
        let kind = format!("Content-Type: {kind}\n");
        assert!(answer.fields.contains(&kind), "{path}: {}", answer.fields);
        assert!(answer.fields.contains("Accept-Ranges: bytes\n"));
        assert!(answer.fields.contains("Connection: keep-alive\n"));
    }
    server.stops();
}

#[test]
fn static_http_sends_files_with_their_length_and_type_as_c99() {
    static_http_sends_files_with_their_length_and_type(C99);
}

#[test]
fn static_http_sends_files_with_their_length_and_type_as_cpp11() {
    static_http_sends_files_with_their_length_and_type(CPP11);
}

#[test]
fn static_http_sends_the_part_that_is_asked_for() {
    let (server, port) = static_http(&site("parts"));
    let mut client = Client::connect(port);
    for (range, part, told) in [
        ("bytes=0-0", "0", "0-0"),
        ("bytes=2-4", "234", "2-4"),
        ("bytes=7-", "789", "7-9"),
        ("bytes=-3", "789", "7-9"),
        ("bytes=0-", TEN, "0-9"),
        ("bytes=9-9", "9", "9-9"),
        ("bytes=5-1000", "56789", "5-9"),
        ("bytes=-1000", TEN, "0-9"),
        ("bytes=1-99999999999999999999999", "123456789", "1-9"),
        ("bytes=-99999999999999999999999", TEN, "0-9"),
        ("Bytes=2-4 \t", "234", "2-4"),
    ] {
        let answer = client.ask(&get_range(range));
        assert_eq!(answer.status, "HTTP/1.1 206 Partial Content", "{range}");
        assert_eq!(answer.body, part, "{range}");
        let told = format!("Content-Range: bytes {told}/10\n");
        assert!(answer.fields.contains(&told), "{range}: {}", answer.fields);
    }
    server.stops();
}

#[test]
fn static_http_says_416_where_the_file_has_no_such_part() {
    let (server, port) = static_http(&site("no-parts"));
    let mut client = Client::connect(port);
    for range in [
        "bytes=10-",
        "bytes=10-20",
        "bytes=-0",
        "bytes=99999999999999999999-",
    ] {
        let answer = client.ask(&get_range(range));
        assert_eq!(
            answer.status, "HTTP/1.1 416 Range Not Satisfiable",
            "{range}"
        );
        let told = "Content-Range: bytes */10\n";
        assert!(answer.fields.contains(told), "{range}: {}", answer.fields);
    }
    assert_eq!(client.ask(&get_range("bytes=9-")).body, "9"); // it goes on
    server.stops();
}

#[test]
fn static_http_sends_the_whole_where_a_range_is_none_that_it_knows() {
    let (server, port) = static_http(&site("odd-parts"));
    let mut client = Client::connect(port);
    let if_range = "Range: bytes=2-4\r\nIf-Range: \"tag\"\r\n";
    let twice = "Range: bytes=2-4\r\nRange: bytes=2-4\r\n";
    let odd = [
        "bytes=",
        "bytes=-",
        "bytes=4",
        "bytes=4-2",
        "bytes=a-b",
        "bytes=1-2x",
        "bytes=--3",
        "bytes=0-1,3-4",
        "bytes =0-1",
        "bytes=+1-2",
        "bytes=0x1-2",
        "lines=0-1",
        "",
    ];
    let requests = odd.into_iter().map(get_range);
    let more = [get("/ten.txt", if_range), get("/ten.txt", twice)];
    for request in requests.chain(more) {
        let answer = client.ask(&request);
        assert_eq!(answer.status, OK, "{request}");
        assert_eq!(answer.body, TEN, "{request}");
        assert!(!answer.fields.contains("Content-Range"), "{request}");
    }
    let empty = client.ask(&get("/nothing.png", "Range: bytes=0-\r\n"));
    assert_eq!(empty.status, OK); // as Go: no part of nothing can be told
    server.stops();
}

#[test]
fn static_http_answers_head_as_get_without_a_range() {
    let (server, port) = static_http(&site("head"));
    let mut client = Client::connect(port);
    client.send(&get_range("bytes=2-4").replace("GET", "HEAD"));
    let answer = client.answer_to_head();
    assert_eq!(answer.status, OK);
    assert!(answer.fields.contains("Content-Length: 10\n"));
    client.send(&get("/none", "").replace("GET", "HEAD"));
    assert_eq!(client.answer_to_head().status, "HTTP/1.1 404 Not Found");
    assert_eq!(client.ask(&get("/ten.txt", "")).body, TEN); // no body before it
    server.stops();
}

#[test]
fn static_http_answers_pipelined_requests_in_their_order() {
    let (server, port) = static_http(&site("pipelined"));
    let mut client = Client::connect(port);
    let last = get("/ten.txt", "Connection: close\r\n");
    let ranges: Vec<String> = (0..10).map(|i| format!("bytes={i}-{i}")).collect();
    let requests: String = ranges.iter().map(|range| get_range(range)).collect();
    client.send(&(requests + &get("/none", "") + &last));
    for digit in TEN.chars() {
        assert_eq!(client.answer().body, digit.to_string());
    }
    assert_eq!(client.answer().status, "HTTP/1.1 404 Not Found");
    assert_eq!(client.answer().body, TEN);
    client.is_hung_up_on();
    server.stops();
}

#[test]
fn static_http_does_not_leave_its_folder() {
    let www = site("traversal");
    let (server, port) = static_http(&www);
    let absolute = www.with_file_name("secret");
    let absolute = absolute.to_str().expect("it is text");
    for path in [
        "/../secret",
        "/..",
        "/../",
        "/sub/../../secret",
        "/sub/..",
        "/%2e%2e/secret",
        "/.%2E/secret",
        "/..%2fsecret",
        "/sub/%2e%2e%2f..%2Fsecret",
        "/./../secret",
        "../secret",
        "http://localhost/../secret",
        "http://localhost../secret",
        absolute,
        &format!("/{absolute}"),
        &format!("/%2F{absolute}"),
        &format!("/sub/%2F..//..{absolute}"),
    ] {
        let answer = Client::connect(port).ask(&get(path, ""));
        let refused = ["HTTP/1.1 400 Bad Request", "HTTP/1.1 404 Not Found"];
        assert!(refused.contains(&answer.status.as_str()), "{path}");
        assert!(!answer.body.contains("secret"), "{path}");
    }
    server.stops();
}

#[test]
fn static_http_says_404_to_what_is_no_file() {
    let www = site("no-files");
    let fifo = CString::new(www.join("fifo").as_os_str().as_bytes()).expect("no NUL");
    // SAFETY: the path ends with a NUL.
    assert_eq!(unsafe { libc::mkfifo(fifo.as_ptr(), 0o600) }, 0);
    let (server, port) = static_http(&www);
    let mut client = Client::connect(port);
    for path in ["/none", "/fifo", "/sub", "/sub/empty/", "/ten.txt/", "/%FF"] {
        let answer = client.ask(&get(path, ""));
        assert_eq!(answer.status, "HTTP/1.1 404 Not Found", "{path}");
    }
    let long = client.ask(&get(&format!("/{}", "n".repeat(5000)), ""));
    assert_eq!(long.status, "HTTP/1.1 404 Not Found");
    server.stops();
}

#[test]
fn static_http_says_400_to_a_path_that_is_none() {
    let (server, port) = static_http(&site("no-paths"));
    for path in [
        "/%",
        "/%4",
        "/%zz",
        "/%00",
        "/ten.txt%00.png",
        "*",
        "ten.txt",
    ] {
        let mut client = Client::connect(port);
        let answer = client.ask(&get(path, ""));
        assert_eq!(answer.status, "HTTP/1.1 400 Bad Request", "{path}");
        client.is_hung_up_on();
    }
    server.stops();
}

#[test]
fn static_http_sends_the_end_of_a_file_of_5_gib() {
    let www = site("large");
    let mut large = fs::File::create(www.join("large")).expect("it is ours");
    large.seek(SeekFrom::Start(5 << 30)).expect("it is a file");
    large
        .write_all(b"the end")
        .expect("it has a hole before it");
    let (server, port) = static_http(&www);
    let mut client = Client::connect(port);
    for range in ["bytes=5368709120-", "bytes=-7"] {
        let answer = client.ask(&get("/large", &format!("Range: {range}\r\n")));
        assert_eq!(answer.body, "the end");
        let told = "Content-Range: bytes 5368709120-5368709126/5368709127\n";
        assert!(answer.fields.contains(told), "{}", answer.fields);
    }
    client.send(&get("/large", "").replace("GET", "HEAD"));
    let fields = client.answer_to_head().fields;
    assert!(fields.contains("Content-Length: 5368709127\n"), "{fields}");
    server.stops();
    fs::remove_file(www.join("large")).expect("it is ours");
}

/// A file that does not fit into a connection's buffers.
fn big_file(www: &Path) -> Vec<u8> {
    let bytes = noise(5, 20_000_000);
    fs::write(www.join("big"), &bytes).expect("it is ours");
    bytes
}

#[test]
fn static_http_finishes_the_answer_under_way_when_it_stops() {
    let www = site("stop");
    let bytes = big_file(&www);
    let (server, port) = static_http(&www);
    let mut client = Client::connect(port);
    client.send(&get("/big", ""));
    assert_eq!(client.answer_to_head().status, OK);
    server.signal(libc::SIGINT);
    await_that("those who accept are gone", || server.threads() == 2);
    let mut came = Vec::new();
    client.0.read_to_end(&mut came).expect("it ends in order");
    assert!(came == bytes, "{} bytes", came.len());
    drop(client);
    let server = server.succeeds();
    assert!(server.out.ends_with("all ended\n"), "{}", server.out);
}

#[test]
fn static_http_hangs_up_where_a_file_has_become_shorter() {
    let www = site("shorter");
    let bytes = big_file(&www);
    let (server, port) = static_http(&www);
    let mut client = Client::connect(port);
    client.send(&(get("/big", "") + &get("/ten.txt", "")));
    assert_eq!(client.answer_to_head().status, OK);
    fs::write(www.join("big"), "").expect("it is ours");
    let mut came = Vec::new();
    client.0.read_to_end(&mut came).expect("it ends in order");
    assert!(came.len() < bytes.len());
    assert!(bytes.starts_with(&came)); // nothing of the next answer
    server.stops();
}

#[test]
fn static_http_keeps_no_file_open() {
    let (server, port) = static_http(&site("descriptors"));
    let mut client = Client::connect(port);
    let fds = format!("/proc/{}/fd", server.child.id());
    let files = || {
        let fds = fs::read_dir(&fds).expect("it runs");
        let targets = fds.filter_map(|fd| fs::read_link(fd.ok()?.path()).ok());
        targets.filter(|target| target.is_file()).count()
    };
    let before = files();
    for range in ["bytes=1-2", "bytes=20-", "bytes=x"] {
        client.ask(&get_range(range));
        client.ask(&get("/sub", ""));
    }
    client.ask(&get("/none", "")); // what was before it is closed by now
    assert_eq!(files(), before);
    server.stops();
}

#[test]
fn static_http_says_why_it_cannot_start() {
    let mut server = program(C99, "static_http");
    fails(server.arg("/nowhere"), "static_http: no such folder");
}

/// What curl has fetched.
fn curl(arguments: &[&str]) -> Vec<u8> {
    let mut curl = command("curl");
    curl.args(["-q", "-sS", "--noproxy", "*", "--fail"])
        .args(arguments);
    let curl = spawn(move || curl.output().expect("it runs")).join();
    let errors = String::from_utf8_lossy(&curl.stderr);
    assert!(curl.status.success(), "{errors}");
    curl.stdout
}

#[test]
fn curl_fetches_files_from_static_http_whole_in_parts_and_on_from_where_it_was() {
    if is_missing("curl") {
        return;
    }
    let www = site("curl");
    let bytes = big_file(&www);
    let (server, port) = static_http(&www);
    let url = format!("http://127.0.0.1:{port}/big");
    assert!(curl(&[&url]) == bytes);
    assert!(curl(&["-r", "1000000-3999999", &url]) == bytes[1_000_000..4_000_000]);
    assert!(curl(&["-r", "-12345", &url]) == bytes[bytes.len() - 12_345..]);
    let part = www.with_file_name("part");
    fs::write(&part, &bytes[..7_654_321]).expect("it is ours");
    curl(&["-C", "-", "-o", part.to_str().expect("it is text"), &url]);
    assert!(fs::read(part).expect("it is there") == bytes);
    server.stops();
}

#[test]
fn wrk_gets_no_errors_from_static_http() {
    if is_missing("wrk") {
        return;
    }
    let (server, port) = static_http(&site("wrk"));
    let url = format!("http://127.0.0.1:{port}/ten.txt");
    let mut wrk = command("wrk");
    let wrk = Running::start(wrk.args(["-t1", "-c4", "-d1s", &url])).succeeds();
    assert!(wrk.out.contains("Requests/sec"), "{}", wrk.out);
    assert!(!wrk.out.contains("errors"), "{}", wrk.out);
    assert!(!wrk.out.contains("Non-2xx"), "{}", wrk.out);
    server.stops();
}

// By fibers.

/// A server by fibers, and its port.
fn fiber_server(compiler: Compiler, name: &'static str, arguments: &[&str]) -> (Running, u16) {
    let server = Running::start(program(compiler, name).args(arguments));
    let port = server.port();
    (server, port)
}

/// How many sockets a program has open.
fn sockets(server: &Running) -> usize {
    let fds = format!("/proc/{}/fd", server.child.id());
    let fds = fs::read_dir(fds).expect("it runs");
    let targets = fds.filter_map(|fd| fs::read_link(fd.ok()?.path()).ok());
    let is_socket = |target: &PathBuf| target.to_string_lossy().starts_with("socket:");
    targets.filter(is_socket).count()
}

fn fiber_echo_serves_echo_client(compiler: Compiler) {
    let (server, port) = fiber_server(compiler, "fiber_echo", &[]);
    let client = echo_client(compiler, port).succeeds();
    assert!(client.out.contains("every byte checked"), "{}", client.out);
    let server = server.stops();
    assert!(server.out.ends_with("all ended\n"), "{}", server.out);
}

#[test]
fn fiber_echo_serves_echo_client_as_c99() {
    fiber_echo_serves_echo_client(C99);
}

#[test]
fn fiber_echo_serves_echo_client_as_cpp11() {
    fiber_echo_serves_echo_client(CPP11);
}

#[test]
fn fiber_echo_needs_no_thread_for_a_connection() {
    let (server, port) = fiber_server(C99, "fiber_echo", &[]);
    let mut first = Client::connect(port);
    first.echoes("hello");
    let threads = server.threads();
    let mut clients: Vec<Client> = (0..100).map(|_| Client::connect(port)).collect();
    clients.iter_mut().for_each(|client| client.echoes("hello"));
    assert_eq!(server.threads(), threads);
    drop((first, clients));
    server.stops();
}

#[test]
fn fiber_echo_lets_connections_finish_once_it_stops() {
    let (server, port) = fiber_server(C99, "fiber_echo", &["0", "60"]);
    let mut client = Client::connect(port);
    client.echoes("before");
    server.signal(libc::SIGINT);
    // It is the thread that accepts which handles it.
    await_that("it is handled", || !server.is_signal_pending());
    let mut late = Client::connect(port);
    late.send("is not accepted any more");
    client.echoes("after");
    drop(client);
    let server = server.succeeds();
    assert!(server.out.ends_with("all ended\n"), "{}", server.out);
    assert_eq!(server.err, "");
}

#[test]
fn fiber_echo_hangs_up_on_connections_when_their_time_is_up() {
    let (server, port) = fiber_server(C99, "fiber_echo", &["0", "1"]);
    let mut client = Client::connect(port);
    client.echoes("hello");
    let begun = Instant::now();
    let server = server.stops();
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(1), "{took:?}");
    let why = "use of closed network connection\n";
    assert!(server.err.ends_with(why), "{}", server.err);
    client.is_hung_up_on();
}

#[test]
fn fiber_echo_hangs_up_on_a_client_that_is_silent_for_too_long() {
    let (server, port) = fiber_server(C99, "fiber_echo", &["0", "5", "1"]);
    let mut client = Client::connect(port);
    client.echoes("hello");
    client.is_hung_up_on();
    let server = server.stops();
    assert!(server.err.contains("i/o timeout"), "{}", server.err);
}

#[test]
fn fiber_echo_outlives_a_lack_of_descriptors() {
    let fiber_echo = program(C99, "fiber_echo");
    let mut limited = command("sh");
    limited.args(["-c", "ulimit -n 20 && NETFD_WORKERS=2 exec \"$0\""]);
    let server = Running::start(limited.arg(fiber_echo.get_program()));
    let port = server.port();
    let clients: Vec<Client> = (0..40).map(|_| Client::connect(port)).collect();
    for mut client in clients {
        client.echoes("one after the other"); // and each makes room for one
    }
    server.stops();
}

#[test]
fn fiber_http_answers_as_http_hello_does() {
    let (server, port) = fiber_server(C99, "fiber_http", &[]);
    let mut client = Client::connect(port);
    client.send(&(GET.repeat(40) + HEAD + GET));
    for _ in 0..40 {
        assert_eq!(client.answer().body, HELLO);
    }
    assert_eq!(client.answer_to_head().status, OK);
    assert_eq!(client.answer().body, HELLO);
    let unknown = client.ask("GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(unknown.status, "HTTP/1.1 404 Not Found");
    assert_eq!(
        client.ask("no request\r\n\r\n").status,
        "HTTP/1.1 400 Bad Request"
    );
    client.is_hung_up_on();
    server.stops();
}

#[test]
fn fiber_http_runs_as_cpp11() {
    let (server, port) = fiber_server(CPP11, "fiber_http", &[]);
    assert_eq!(Client::connect(port).ask(GET).body, HELLO);
    server.stops();
}

#[test]
fn fiber_http_hangs_up_at_once_on_clients_that_ask_nothing_when_it_stops() {
    let (server, port) = fiber_server(C99, "fiber_http", &["0", "60"]);
    let mut clients: Vec<Client> = (0..100).map(|_| Client::connect(port)).collect();
    for client in &mut clients {
        assert_eq!(client.ask(GET).status, OK);
    }
    let server = server.stops();
    assert!(server.out.ends_with("all ended\n"), "{}", server.out);
    clients.iter_mut().for_each(Client::is_hung_up_on);
}

#[test]
fn wrk_gets_no_errors_from_fiber_http() {
    if is_missing("wrk") {
        return;
    }
    let (server, port) = fiber_server(C99, "fiber_http", &[]);
    let url = format!("http://127.0.0.1:{port}/");
    let mut wrk = command("wrk");
    let wrk = Running::start(wrk.args(["-t1", "-c100", "-d1s", &url])).succeeds();
    assert!(wrk.out.contains("Requests/sec"), "{}", wrk.out);
    assert!(!wrk.out.contains("errors"), "{}", wrk.out);
    assert!(!wrk.out.contains("Non-2xx"), "{}", wrk.out);
    server.stops();
}

fn fiber_proxy_takes_every_byte_both_ways_at_once(compiler: Compiler) {
    let through = Through::begin_by("fiber_proxy", compiler, "5");
    let (there, back) = (noise(3, 6_000_000), noise(4, 4_000_000));
    thread::scope(|scope| {
        scope.spawn(|| send_in_pieces(&through.client, &there));
        scope.spawn(|| send_in_pieces(&through.target, &back));
        scope.spawn(|| assert!(receive_all(&through.target) == there));
        scope.spawn(|| assert!(receive_all(&through.client) == back));
    });
    through.proxy.stops();
}

#[test]
fn fiber_proxy_takes_every_byte_both_ways_at_once_as_c99() {
    fiber_proxy_takes_every_byte_both_ways_at_once(C99);
}

#[test]
fn fiber_proxy_takes_every_byte_both_ways_at_once_as_cpp11() {
    fiber_proxy_takes_every_byte_both_ways_at_once(CPP11);
}

#[test]
fn fiber_proxy_passes_on_the_end_of_a_client_that_waits_for_its_answer() {
    let through = Through::begin_by("fiber_proxy", C99, "5");
    send_in_pieces(&through.client, b"a question");
    assert_eq!(receive_all(&through.target), b"a question");
    send_in_pieces(&through.target, b"its answer");
    assert_eq!(receive_all(&through.client), b"its answer");
    through.proxy.stops();
}

#[test]
fn fiber_proxy_passes_on_the_end_of_a_target_that_goes_on_reading() {
    let through = Through::begin_by("fiber_proxy", C99, "5");
    send_in_pieces(&through.target, b"a greeting");
    assert_eq!(receive_all(&through.client), b"a greeting");
    send_in_pieces(&through.client, b"an upload");
    assert_eq!(receive_all(&through.target), b"an upload");
    through.proxy.stops();
}

#[test]
fn fiber_proxy_ends_both_directions_where_one_breaks() {
    let through = Through::begin_by("fiber_proxy", C99, "5");
    common::reset(common::attach(through.client.into_raw_fd()));
    assert_eq!(receive_all(&through.target), b"");
    let proxy = through.proxy.stops();
    let why = ": connection reset by peer\n";
    assert!(proxy.err.ends_with(why), "{}", proxy.err);
    assert_eq!(proxy.err.lines().count(), 1, "{}", proxy.err);
}

#[test]
fn fiber_proxy_ends_what_runs_when_its_time_is_up() {
    let through = Through::begin_by("fiber_proxy", C99, "1");
    let begun = Instant::now();
    let proxy = through.proxy.stops();
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(1), "{took:?}");
    assert!(proxy.out.ends_with("all ended\n"), "{}", proxy.out);
    assert_eq!(receive_all(&through.client), b"");
    assert_eq!(receive_all(&through.target), b"");
}

#[test]
fn fiber_proxy_hangs_up_where_the_target_refuses_and_goes_on() {
    let (holder, target) = unused_port();
    let (proxy, port) = proxy("fiber_proxy", C99, &format!("127.0.0.1:{target}"), "5");
    Client::connect(port).is_hung_up_on();
    Client::connect(port).is_hung_up_on();
    let proxy = proxy.stops();
    let why = format!("dial tcp 127.0.0.1:{target}: connect: connection refused\n");
    assert_eq!(proxy.err, why.repeat(2));
    destroy(holder);
}

#[test]
fn fiber_proxy_gives_up_a_dial_once_it_stops() {
    let (full, at, waiting) = common::full_listener("tcp", "127.0.0.1:0");
    let at = format!("127.0.0.1:{}", at.port());
    let (proxy, port) = proxy("fiber_proxy", C99, &at, "60");
    let mut client = Client::connect(port);
    await_that("it dials", || sockets(&proxy) == 3);
    let proxy = proxy.stops();
    let why = "operation was canceled";
    assert!(proxy.err.contains(why), "{}", proxy.err);
    client.is_hung_up_on();
    let all = waiting.into_iter().chain([full]);
    all.for_each(|fd| assert_eq!(destroy(fd), 0));
}

#[test]
fn fiber_proxy_keeps_no_descriptor_of_connections_that_have_ended() {
    let (echo, target) = echo_server();
    let (proxy, port) = proxy("fiber_proxy", C99, &format!("127.0.0.1:{target}"), "5");
    for _ in 0..3 {
        echo_client(C99, port).succeeds(); // 20 connections at once
    }
    await_that("all but the listener are closed", || sockets(&proxy) == 1);
    proxy.stops();
    echo.stops();
}

/// Those who are in a chat: each knows that all are in it.
fn chatters(port: u16, count: usize) -> Vec<Client> {
    let mut all = Vec::new();
    for _ in 0..count {
        let mut newcomer = Client::connect(port);
        newcomer.send("I am here\n");
        all.push(newcomer);
        all.iter_mut().for_each(|one| one.hears("I am here\n"));
    }
    all
}

impl Client {
    /// The next line that comes.
    fn hears(&mut self, line: &str) {
        let mut heard = String::new();
        self.0.read_line(&mut heard).expect("it comes");
        assert_eq!(heard, line);
    }
}

fn fiber_chat_tells_everybody_each_line(compiler: Compiler) {
    let (server, port) = fiber_server(compiler, "fiber_chat", &[]);
    let mut all = chatters(port, 20);
    for speaker in 0..20 {
        let line = format!("it is number {speaker}'s turn\n");
        all.rotate_left(1);
        all.first_mut().expect("there are twenty").send(&line);
        all.iter_mut().for_each(|one| one.hears(&line));
    }
    server.stops();
}

#[test]
fn fiber_chat_tells_everybody_each_line_as_c99() {
    fiber_chat_tells_everybody_each_line(C99);
}

#[test]
fn fiber_chat_tells_everybody_each_line_as_cpp11() {
    fiber_chat_tells_everybody_each_line(CPP11);
}

#[test]
fn fiber_chat_makes_lines_of_what_comes_in_pieces_or_at_once() {
    let (server, port) = fiber_server(C99, "fiber_chat", &[]);
    let mut client = Client::connect(port);
    client.send("one\ntwo\nth");
    client.hears("one\n");
    client.hears("two\n");
    client.send("ree\n");
    client.hears("three\n");
    let long = "x".repeat(3000) + "\n";
    client.send(&long);
    client.hears(&long);
    server.stops();
}

#[test]
fn fiber_chat_goes_on_when_somebody_leaves() {
    let (server, port) = fiber_server(C99, "fiber_chat", &[]);
    let mut all = chatters(port, 3);
    let leaver = all.pop().expect("there are three");
    leaver
        .0
        .get_ref()
        .shutdown(Shutdown::Write)
        .expect("it stands");
    await_that("its sockets are closed", || sockets(&server) == 1 + 2 * 3);
    all[0].send("who is left?\n");
    all.iter_mut().for_each(|one| one.hears("who is left?\n"));
    server.stops();
}

#[test]
fn fiber_chat_drops_who_does_not_read_and_holds_nobody_up() {
    let (server, port) = fiber_server(C99, "fiber_chat", &["0", "300"]);
    let mut all = chatters(port, 3);
    let deaf = all.pop().expect("there are three"); // it does not read from here on
    let line = "x".repeat(1000) + "\n";
    // What the deaf one's connection and its box take is a matter of the
    // system's: lines go on until it is dropped.
    let begun = Instant::now();
    while sockets(&server) != 1 + 2 * 3 {
        let asked = Instant::now();
        all[0].send(&line);
        all.iter_mut().for_each(|one| one.hears(&line));
        let took = asked.elapsed();
        assert!(took < Duration::from_millis(250), "held up for {took:?}");
        assert!(begun.elapsed() < GUARD, "it is not dropped");
    }
    drop((deaf, all));
    let server = server.stops();
    assert_eq!(
        server.err,
        "fiber_chat: a client that is too slow is dropped\n"
    );
}

#[test]
fn fiber_chat_ends_with_0_on_sigint_and_hangs_up_on_clients() {
    let (server, port) = fiber_server(C99, "fiber_chat", &[]);
    let mut all = chatters(port, 5);
    let server = server.stops();
    assert!(server.out.ends_with("all ended\n"), "{}", server.out);
    assert_eq!(server.err, "");
    all.iter_mut().for_each(Client::is_hung_up_on);
}

fn fiber_tls_gets_every_message_back(compiler: Compiler) {
    if is_openssl_missing() {
        return;
    }
    let tls = Running::start(&mut program(compiler, TLS)).succeeds();
    let talked = "fiber_tls: 100 clients, 20 messages each, and every one came back\n";
    assert_eq!(tls.out, talked);
    assert_eq!(tls.err, "");
}

#[test]
fn fiber_tls_gets_every_message_back_as_c99() {
    fiber_tls_gets_every_message_back(C99);
}

#[test]
fn fiber_tls_gets_every_message_back_as_cpp11() {
    fiber_tls_gets_every_message_back(CPP11);
}

#[test]
fn fiber_tls_sends_nothing_that_can_be_read() {
    if is_openssl_missing() || is_missing("strace") {
        return;
    }
    let mut strace = command("strace");
    strace.args(["-f", "-s", "4096", "-e", "trace=sendto,write", "-o"]);
    strace.env("NETFD_POLL", "epoll"); // what a ring sends it does not see
    let log = build().join("fiber_tls.strace");
    strace.arg(&log).arg(program(C99, TLS).get_program());
    Running::start(strace.args(["2", "3"])).succeeds();
    let log = fs::read_to_string(log).expect("strace wrote it");
    assert!(log.contains("sendto("), "{log}");
    assert!(!log.contains("of client 1"), "{log}");
}

// Under valgrind.

fn valgrind_finds_no_fault_in(example: &'static str, argument: &[&str]) {
    valgrind_finds_no_fault(example, argument, 0);
}

/// As `valgrind_finds_no_fault_in`, where `events` eventfds more may be left.
fn valgrind_finds_no_fault(example: &'static str, argument: &[&str], events: usize) {
    if is_missing("valgrind") {
        return;
    }
    let mut valgrind = under_valgrind(&program(C99, example));
    let ended = Running::start(valgrind.args(argument)).succeeds();
    assert_no_descriptors_leaked(&ended, events);
}

#[test]
fn valgrind_finds_no_fault_in_evict() {
    valgrind_finds_no_fault_in("evict", &["5"]); // it is slow
}

#[test]
fn valgrind_finds_no_fault_in_deadline() {
    valgrind_finds_no_fault_in("deadline", &[]);
}

#[test]
fn valgrind_finds_no_fault_in_unix_echo() {
    valgrind_finds_no_fault_in("unix_echo", &[]);
}

#[test]
fn valgrind_finds_no_fault_in_udp_echo() {
    // A receiver of datagrams gives its eventfd back, for the next to use.
    valgrind_finds_no_fault("udp_echo", &[], 1);
}

#[test]
fn valgrind_finds_no_fault_in_pass_fd() {
    valgrind_finds_no_fault("pass_fd", &[], 1); // the child has one, too
}

#[test]
fn valgrind_finds_no_fault_in_systemd() {
    if is_missing("valgrind") {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("there are free ports");
    let valgrind = under_valgrind(&program(C99, "systemd"));
    let server = activated(&valgrind, listener);
    let mut client = Client::connect(server.port());
    let mut hello = String::new();
    let read = client.0.read_to_string(&mut hello);
    read.expect("it ends, and is not reset");
    server.signal(libc::SIGTERM);
    assert_no_descriptors_leaked(&server.succeeds(), 1);
}

#[test]
fn valgrind_finds_no_fault_in_port_scan() {
    valgrind_finds_no_fault_in("port_scan", &[]);
}

#[test]
fn valgrind_finds_no_fault_in_tcp_proxy() {
    if is_missing("valgrind") {
        return;
    }
    let (echo, target) = echo_server();
    let mut proxy = under_valgrind(&program(C99, "tcp_proxy"));
    let proxy = Running::start(proxy.arg(format!("127.0.0.1:{target}")));
    let mut client = program(C99, "echo_client");
    client.args([&proxy.port().to_string(), "5", "5", "2"]);
    Running::start(&mut client).succeeds();
    await_that("the connections' threads are gone", || proxy.threads() == 1);
    // And eight eventfds that calls in two descriptors leave to the next ones.
    assert_no_descriptors_leaked(&proxy.stops(), 1 + 8);
    echo.stops();
}

#[test]
fn valgrind_finds_no_fault_in_static_http() {
    if is_missing("valgrind") {
        return;
    }
    let mut server = under_valgrind(&program(C99, "static_http"));
    let server = Running::start(server.arg(site("valgrind")).args(["0", "2"]));
    let mut client = Client::connect(server.port());
    for range in ["bytes=2-4", "bytes=20-", "bytes=x"] {
        client.ask(&get_range(range));
    }
    for path in ["/none", "/sub", "/a%2520b", "/%zz"] {
        client.ask(&get(path, ""));
    }
    client.is_hung_up_on(); // after a bad request
    drop(client);
    assert_no_descriptors_leaked(&server.stops(), 1);
}

#[test]
fn valgrind_finds_no_fault_in_dial() {
    if is_missing("valgrind") {
        return;
    }
    let (server, port) = echo_server();
    let file = input("dial-valgrind", &b"a line\n".repeat(10_000));
    let mut valgrind = under_valgrind(&program(C99, "dial"));
    valgrind.args(["tcp", &format!("127.0.0.1:{port}")]);
    let ended = Running::start_with(&mut valgrind, file.into());
    assert_no_descriptors_leaked(&ended.succeeds(), 0);
    server.stops();
}

#[test]
fn valgrind_finds_no_fault_in_echo_server_and_echo_client() {
    if is_missing("valgrind") {
        return;
    }
    let server = Running::start(&mut under_valgrind(&program(C99, "echo_server")));
    let mut client = under_valgrind(&program(C99, "echo_client"));
    client.args([&server.port().to_string(), "5", "5", "2"]);
    let client = Running::start(&mut client).succeeds();
    assert_no_descriptors_leaked(&client, 0);
    // A thread that still lives at the end counts as memory lost.
    await_that("the connections' threads are gone", || {
        server.threads() == 1
    });
    assert_no_descriptors_leaked(&server.stops(), 1);
}

// Fibers under valgrind: their workers live as long as the process, so that what
// belongs to a thread counts as "possibly lost" at its end.

fn fibers_under_valgrind(program: &Command) -> Command {
    let mut valgrind = command("valgrind");
    valgrind
        .args(["-q", "--error-exitcode=9", "--leak-check=full"])
        .args([
            "--show-leak-kinds=definite",
            "--errors-for-leak-kinds=definite",
        ])
        .arg(program.get_program());
    valgrind
}

#[test]
fn valgrind_finds_no_fault_in_fiber_echo() {
    if is_missing("valgrind") {
        return;
    }
    let server = Running::start(&mut fibers_under_valgrind(&program(C99, "fiber_echo")));
    let mut client = program(C99, "echo_client");
    client.args([&server.port().to_string(), "20", "5", "2"]);
    Running::start(&mut client).succeeds();
    assert_eq!(server.stops().err, "");
}

#[test]
fn valgrind_finds_no_fault_in_fiber_http() {
    if is_missing("valgrind") {
        return;
    }
    let server = Running::start(&mut fibers_under_valgrind(&program(C99, "fiber_http")));
    let mut client = Client::connect(server.port());
    assert_eq!(client.ask(GET).status, OK);
    client.ask("no request\r\n\r\n");
    client.is_hung_up_on();
    drop(client);
    assert_eq!(server.stops().err, "");
}

#[test]
fn valgrind_finds_no_fault_in_fiber_proxy() {
    if is_missing("valgrind") {
        return;
    }
    let (echo, target) = echo_server();
    let mut proxy = fibers_under_valgrind(&program(C99, "fiber_proxy"));
    let proxy = Running::start(proxy.arg(format!("127.0.0.1:{target}")));
    let mut client = program(C99, "echo_client");
    client.args([&proxy.port().to_string(), "5", "5", "2"]);
    Running::start(&mut client).succeeds();
    assert_eq!(proxy.stops().err, "");
    echo.stops();
}

#[test]
fn valgrind_finds_no_fault_in_fiber_chat() {
    if is_missing("valgrind") {
        return;
    }
    let server = Running::start(&mut fibers_under_valgrind(&program(C99, "fiber_chat")));
    let all = chatters(server.port(), 5);
    drop(all);
    assert_eq!(server.stops().err, "");
}

#[test]
fn valgrind_finds_no_fault_in_fiber_tls() {
    if is_missing("valgrind") || is_openssl_missing() {
        return;
    }
    let mut valgrind = fibers_under_valgrind(&program(C99, TLS));
    let ended = Running::start(valgrind.args(["5", "3"])).succeeds();
    assert_eq!(ended.err, "");
}

// Python.

#[test]
fn the_python_client_talks_to_the_c_server() {
    if is_missing("python3") {
        return;
    }
    let (server, port) = echo_server();
    let client = python(&["client", &port.to_string(), "5", "20"]).succeeds();
    assert!(client.out.contains("every byte checked"), "{}", client.out);
    server.stops();
}

#[test]
fn the_c_client_talks_to_the_python_server() {
    if is_missing("python3") {
        return;
    }
    let server = python(&["server"]);
    echo_client(C99, server.port()).succeeds();
    server.stops();
}

#[test]
fn the_python_server_ends_with_0_on_ctrl_c_and_hangs_up_on_clients() {
    if is_missing("python3") {
        return;
    }
    let server = python(&["server"]);
    let mut client = Client::connect(server.port());
    client.echoes("hello");
    let server = server.stops();
    assert!(server.out.ends_with("all ended\n"), "{}", server.out);
    assert_eq!(server.err, "");
    client.is_hung_up_on();
}

#[test]
fn the_python_example_takes_the_library_that_it_is_given() {
    if is_missing("python3") {
        return;
    }
    let mut wrong = command("python3");
    wrong.env("NETFD_LIBRARY", "/nowhere/libnetfd.so");
    let wrong = Running::start(wrong.arg(python_echo()).arg("server")).ends();
    assert!(wrong.err.contains("/nowhere/libnetfd.so"), "{}", wrong.err);

    let right = library().join("libnetfd.so");
    let right = right.to_str().expect("it is text");
    let mut given = command("python3");
    given.env("NETFD_LIBRARY", "/nowhere/libnetfd.so");
    given
        .arg(python_echo())
        .args(["--library", right, "server"]);
    let server = Running::start(&mut given);
    server.port();
    server.stops();
}

#[test]
fn the_python_client_says_why_it_cannot_connect() {
    if is_missing("python3") {
        return;
    }
    let (holder, port) = unused_port();
    let client = python(&["client", &port.to_string()]).ends();
    assert_eq!(client.status.code(), Some(1));
    assert!(client.err.contains("dial tcp 127.0.0.1:"), "{}", client.err);
    let why = format!("127.0.0.1:{port}: connect: connection refused");
    assert!(client.err.contains(&why), "{}", client.err);
    destroy(holder);
}
