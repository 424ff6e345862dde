//! The header for C++, include/netfd.hpp: what its comments promise, by every
//! compiler, in every standard, with and without exceptions, and under the
//! sanitizers; and that it is a good neighbour: no macro left behind, nothing
//! that runs before main, units of both kinds in one program. And the examples
//! of it in `c_examples/`; the README's is run by `tests/guide.rs`.
//!
//! Behind it are `tests/cpp/`, a scenario for each promise. A build whose
//! compiler is not there says so and passes.

mod common;

use common::{is_missing, shared_library};
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::OnceLock;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const WARNINGS: [&str; 6] = [
    "-Wall",
    "-Wextra",
    "-Wpedantic",
    "-Wconversion",
    "-Wshadow",
    "-Werror",
];
const WITHOUT: [&str; 2] = ["-fno-exceptions", "-fno-rtti"];

fn header() -> String {
    fs::read_to_string(format!("{ROOT}/include/netfd.hpp")).expect("it is committed")
}

/// Where this file's tests build.
fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(env!("CARGO_CRATE_NAME"));
    fs::create_dir_all(&folder).expect("the target folder is writable");
    folder
}

/// A folder with the fresh library, under the names that the linker and the
/// loader look for.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let library = folder().join("lib");
        let _ = fs::remove_dir_all(&library);
        fs::create_dir(&library).expect("it is ours");
        for name in ["libnetfd.so", env!("NETFD_SONAME")] {
            symlink(shared_library(), library.join(name)).expect("the folder is new");
        }
        library
    })
}

fn told_by(output: &Output) -> String {
    let told = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&told).into_owned()
}

/// A compiler and what it is asked for.
struct Build {
    name: &'static str,
    compiler: &'static str,
    options: Vec<&'static str>,
}

impl Build {
    fn new(name: &'static str, compiler: &'static str, options: &[&'static str]) -> Self {
        let options = options.to_vec();
        Self {
            name,
            compiler,
            options,
        }
    }

    /// The compiler's command, as strict as it goes.
    fn command(&self) -> Command {
        let mut command = Command::new(self.compiler);
        command.args(&self.options).arg("-pthread");
        command.args(WARNINGS).arg(format!("-I{ROOT}/include"));
        if self.compiler == "clang++" {
            command.arg("-Wdocumentation");
        }
        command
    }

    fn file(&self) -> PathBuf {
        folder().join(self.name.replace(' ', "-"))
    }

    /// Whether it makes no program here that runs, which is said.
    fn is_missing(&self) -> bool {
        let source = self.file().with_extension("empty.cpp");
        fs::write(&source, "#include <vector>\nint main() {}\n").expect("it is writable");
        let empty = source.with_extension("");
        let mut compile = self.command();
        compile.arg(&source).arg("-o").arg(&empty);
        let is_there = compile.output().is_ok_and(|made| made.status.success())
            && Command::new(&empty)
                .output()
                .is_ok_and(|ran| ran.status.success());
        if !is_there {
            println!("skipped: no {} here", self.name);
        }
        !is_there
    }

    /// Compiles what is named, of `tests/cpp/` or with a path of its own.
    fn compile(&self, inputs: &[&str], output: &Path, more: &[&str]) {
        let mut compile = self.command();
        for input in inputs {
            compile.arg(Path::new(ROOT).join("tests/cpp").join(input));
        }
        compile.arg("-o").arg(output).args(more);
        if !more.contains(&"-c") {
            compile.arg("-L").arg(library()).args(["-lnetfd", "-ldl"]);
            compile.arg(format!("-Wl,-rpath,{}", library().display()));
            compile.arg("-Wl,--disable-new-dtags");
        }
        let made = compile.output().expect("the compiler runs");
        let told = told_by(&made);
        assert!(made.status.success() && told.is_empty(), "{told}");
    }

    /// The program of all scenarios.
    fn scenarios(&self) -> PathBuf {
        let program = self.file();
        self.compile(&["main.cpp"], &program, &[]);
        program
    }
}

fn run(program: &Path, args: &[&str]) -> Output {
    let suppressions = format!("suppressions={ROOT}/tests/cpp/tsan.txt");
    Command::new("timeout")
        .arg("120")
        .arg(program)
        .args(args)
        .env_remove("LD_LIBRARY_PATH") // it may name a stale copy first
        .env("ASAN_OPTIONS", "detect_stack_use_after_return=1")
        .env("TSAN_OPTIONS", suppressions)
        .output()
        .expect("it runs")
}

/// Builds the scenarios, runs them all, and returns their names.
fn keeps_every_promise(build: &Build) -> BTreeSet<String> {
    if build.is_missing() {
        return BTreeSet::new();
    }
    let program = build.scenarios();
    let names = told_by(&run(&program, &["--list"]));
    let names: BTreeSet<String> = names.lines().map(str::to_owned).collect();
    let ran = run(&program, &[]);
    let told = told_by(&ran);
    assert!(ran.status.success(), "{told}");
    let all = format!("{0} of {0}\n", names.len());
    assert!(names.len() > 80 && told.contains(&all), "{told}");
    println!("{}: {} scenarios", build.name, names.len());
    names
}

#[test]
fn gcc_in_cpp17_keeps_every_promise() {
    keeps_every_promise(&Build::new("g++-17", "g++", &["-std=c++17"]));
}

#[test]
fn gcc_in_cpp23_keeps_every_promise_those_of_expected_too() {
    let names = keeps_every_promise(&Build::new("g++-23", "g++", &["-std=c++23"]));
    assert!(names.is_empty() || names.contains("calls_give_what_is_expected"));
}

#[test]
fn clang_in_cpp20_keeps_every_promise() {
    keeps_every_promise(&Build::new("clang++-20", "clang++", &["-std=c++20"]));
}

#[test]
fn clang_with_its_own_library_keeps_every_promise() {
    let options = ["-std=c++2b", "-stdlib=libc++"];
    keeps_every_promise(&Build::new("libc++-23", "clang++", &options));
}

#[test]
fn without_exceptions_and_rtti_gcc_keeps_every_promise() {
    let options = ["-std=c++20", WITHOUT[0], WITHOUT[1]];
    let names = keeps_every_promise(&Build::new("g++-20-without", "g++", &options));
    assert!(!names.contains("calls_throw"));
}

#[test]
fn without_exceptions_and_rtti_clang_keeps_every_promise() {
    let options = ["-std=c++17", WITHOUT[0], WITHOUT[1]];
    let names = keeps_every_promise(&Build::new("clang++-17-without", "clang++", &options));
    assert!(!names.contains("calls_throw"));
}

#[test]
fn address_and_undefined_behaviour_sanitizers_have_nothing_to_say() {
    let sanitizers = "-fsanitize=address,undefined";
    let options = ["-std=c++23", "-g", sanitizers, "-fno-sanitize-recover=all"];
    keeps_every_promise(&Build::new("address sanitizer that runs", "g++", &options));
}

#[test]
fn thread_sanitizer_has_nothing_to_say_of_objects_that_threads_share() {
    let options = ["-std=c++20", "-g", "-fsanitize=thread"];
    let build = Build::new("thread sanitizer that runs", "g++", &options);
    if build.is_missing() {
        return;
    }
    let shared = [
        "readers_that_race_with_a_close_find_it_closed",
        "a_close_wakes_a_reader_that_is_parked",
        "a_detach_gives_it_back_open_and_wakes_who_is_inside",
        "a_source_ends_calls_that_are_parked_and_those_that_come",
    ];
    let ran = run(&build.scenarios(), &shared);
    let told = told_by(&ran);
    assert!(ran.status.success() && told == "4 of 4\n", "{told}");
}

#[test]
fn it_compiles_in_every_other_standard() {
    let mut compiled = 0;
    let others = [
        ("g++", "-std=c++20", false),
        ("g++", "-std=c++17", true),
        ("g++", "-std=c++23", true),
        ("clang++", "-std=c++17", false),
        ("clang++", "-std=c++2b", false),
        ("clang++", "-std=c++20", true),
        ("clang++", "-std=c++2b", true),
    ];
    for (compiler, standard, is_without) in others {
        let mut options = vec![standard, "-fsyntax-only"];
        options.extend(WITHOUT.iter().filter(|_| is_without));
        if is_missing(compiler) {
            continue;
        }
        let mut compile = Build::new("syntax", compiler, &options).command();
        compile.arg(format!("{ROOT}/tests/cpp/twice.cpp"));
        let made = compile.output().expect("the compiler runs");
        let told = told_by(&made);
        assert!(
            made.status.success() && told.is_empty(),
            "{options:?}: {told}"
        );
        compiled += 1;
    }
    assert!(compiled >= 3, "{compiled}");
}

#[test]
fn units_of_different_kinds_are_linked_in_any_order_and_across_libraries() {
    let one = Build::new("units", "g++", &["-std=c++17"]);
    let two = Build::new("units", "g++", &["-std=c++20", WITHOUT[0], WITHOUT[1]]);
    let made = folder().join("units");
    let [first, second, hidden] = ["one.o", "two.o", "libtwo.so"].map(|name| {
        let _ = fs::create_dir_all(&made);
        made.join(name)
    });
    one.compile(&["unit_one.cpp"], &first, &["-c"]);
    two.compile(&["unit_two.cpp"], &second, &["-c"]);
    let shared = ["-shared", "-fPIC", "-fvisibility=hidden"];
    two.compile(&["unit_two.cpp"], &hidden, &shared);
    let [first, second, hidden] =
        [&first, &second, &hidden].map(|path| path.to_str().expect("the target folder is text"));
    for inputs in [[first, second], [second, first], [first, hidden]] {
        let program = made.join("program");
        one.compile(&inputs, &program, &[]);
        let ran = run(&program, &[]);
        assert!(ran.status.success(), "{inputs:?}: {}", told_by(&ran));
    }
}

#[test]
fn it_leaves_one_macro_behind() {
    let header = header();
    let includes: String = header
        .lines()
        .filter(|line| line.starts_with("#include"))
        .filter(|line| !line.contains("<expected>"))
        .map(|line| format!("{line}\n"))
        .collect();
    let macros = |name: &str, text: &str| -> BTreeSet<String> {
        let source = folder().join(name);
        fs::write(&source, text).expect("it is writable");
        let build = Build::new("macros", "g++", &["-std=c++20", "-dM", "-E"]);
        let made = build.command().arg(&source).output().expect("g++ runs");
        assert!(made.status.success(), "{}", told_by(&made));
        told_by(&made).lines().map(str::to_owned).collect()
    };
    let before = macros("before.cpp", &includes);
    let after = macros("after.cpp", "#include \"netfd.hpp\"\n");
    let left: Vec<&String> = after.difference(&before).collect();
    assert_eq!(left, ["#define NETFD_HPP "]);
}

#[test]
fn nothing_of_it_runs_before_main() {
    for compiler in ["g++", "clang++"] {
        let build = Build::new("before-main", compiler, &["-std=c++17"]);
        if build.is_missing() {
            continue;
        }
        let object = folder().join(format!("{compiler}-twice.o"));
        build.compile(&["twice.cpp"], &object, &["-c"]);
        let sections = Command::new("objdump").arg("-h").arg(&object).output();
        let sections = told_by(&sections.expect("objdump runs"));
        assert!(sections.contains(".text"), "{sections}");
        assert!(!sections.contains(".init_array"), "{sections}");
        assert!(!sections.contains(".ctors"), "{sections}");
    }
}

/// Compiles a program that stands elsewhere, under all warnings.
fn program(source: &Path, options: &[&'static str]) -> PathBuf {
    let build = Build::new("program", "g++", options);
    let name = source.file_stem().expect("it has a name");
    let program = folder().join(format!("{}-program", name.to_string_lossy()));
    let source = source.to_str().expect("the folder is text");
    build.compile(&[source], &program, &[]);
    program
}

/// A server that is ended by SIGINT, and the address that it told.
struct Server {
    child: Child,
    out: BufReader<ChildStdout>,
    address: String,
}

impl Server {
    fn start(program: &Path) -> Self {
        let mut child = Command::new("timeout")
            .args(["--foreground", "60"])
            .arg(program)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let mut out = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut line = String::new();
        out.read_line(&mut line).expect("it tells where it is");
        let address = line.trim().rsplit(' ').next().unwrap_or_default();
        let address = address.to_owned();
        Self {
            child,
            out,
            address,
        }
    }

    /// What it still said.
    fn end(mut self) -> String {
        let id = self.child.id().to_string();
        let killed = Command::new("kill").args(["-INT", &id]).status();
        assert!(killed.expect("kill runs").success());
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).expect("it ends");
        assert!(self.child.wait().expect("it is ours").success());
        rest
    }
}

fn example(name: &str, options: &[&'static str]) -> PathBuf {
    let source = format!("{ROOT}/c_examples/{name}.cpp");
    program(Path::new(&source), options)
}

#[test]
fn the_examples_talk_and_end_in_good_order() {
    let server = Server::start(&example("echo_server", &["-std=c++17"]));
    let dial = example("dial", &["-std=c++20", "-fno-exceptions"]);
    let mut client = Command::new("timeout")
        .arg("60")
        .arg(&dial)
        .args(["tcp", &server.address])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut said = client.stdin.take().expect("it is piped");
    said.write_all(b"hello\n").expect("it reads");
    drop(said); // which tells the server that there is no more
    let heard = client.wait_with_output().expect("it ends");
    assert!(heard.status.success());
    assert_eq!(heard.stdout, b"hello\n");
    assert_eq!(server.end(), "echo_server: all ended, 1 served\n");
    let refused = run(&dial, &["carrier pigeon", "localhost:1"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(told_by(&refused).contains("unknown network carrier pigeon (netfd says so)"));
}

/// The header without what is its own.
fn public() -> String {
    let mut public = String::new();
    let mut inside = false;
    for line in header().lines() {
        let begins = ["namespace detail {", "namespace parts {"].contains(&line);
        inside = inside || begins;
        if !inside {
            public.push_str(line);
            public.push('\n');
        }
        if line.starts_with("} // namespace detail") || line.starts_with("} // namespace parts") {
            inside = false;
        }
    }
    public
}

/// The public functions that store an error_code: their names, and the line
/// that comes before each.
fn calls() -> Vec<(String, String)> {
    const OWN: [&str; 9] = [
        "told",
        "told_size",
        "all",
        "until_end",
        "addr",
        "error",
        "group",
        "cancel_source",
        "void", // of control_function
    ];
    let public = public();
    let mut calls = Vec::new();
    for (end, _) in public.match_indices("std::error_code &ec)") {
        let before = public.get(..end).unwrap_or_default();
        let open = before.rfind('(').expect("it has parameters");
        let signature = before.get(..open).unwrap_or_default();
        let name = signature
            .rsplit(|c: char| !c.is_alphanumeric() && c != '_')
            .next()
            .unwrap_or_default();
        if name.is_empty() || OWN.contains(&name) {
            continue;
        }
        let line = signature.lines().rev().nth(1).unwrap_or_default();
        calls.push((name.to_owned(), line.trim().to_owned()));
    }
    calls
}

#[test]
fn every_call_has_its_three_forms() {
    let header = header();
    let calls = calls();
    assert!(calls.len() > 40, "{calls:?}");
    for (name, _) in calls {
        let throws = ["return ", ""].map(|word| format!("thrown([&](auto &ec) {{ {word}{name}("));
        let throws = throws.iter().any(|text| header.contains(text.as_str()));
        assert!(throws, "{name} has no throwing form");
        assert!(header.contains(&format!(" try_{name}(")), "no try_{name}");
    }
}

#[test]
fn everything_public_is_explained() {
    for (name, before) in calls() {
        assert!(before.ends_with("*/"), "{name} comes after: {before}");
    }
    let public = public();
    let mut types = 0;
    for (before, line) in public.lines().zip(public.lines().skip(1)) {
        let starts = ["class ", "struct ", "enum class ", "using "];
        if !starts.iter().any(|start| line.starts_with(start)) {
            continue;
        }
        types += 1;
        let explained = before.ends_with("*/") || before.starts_with("template");
        assert!(explained, "{line} comes after: {before}");
    }
    assert!(types > 12, "{types}");
}
