//! Fibers in programs that run under AddressSanitizer or ThreadSanitizer: no
//! report without a cause, and one where there is a cause, in the fiber's own
//! function.
//!
//! Specifies what docs/design.md says of tools. Behind it are
//! sanitizer/common_interface_defs.h (`__sanitizer_start_switch_fiber`) and
//! sanitizer/tsan_interface.h (`__tsan_switch_to_fiber`), and `tests/c/eyes.c`.
//!
//! A program that hides the sanitizer's functions (gcc links its runtime by
//! `-static-libasan` so that a library does not find them) is what all would
//! be, were switches not told: it shows that there is something to see.

mod common;

use common::shared_library;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Compiles `tests/c/eyes.c` under a sanitizer. `None`: the compiler has none.
fn program(sanitizer: &str, more: &[&str]) -> Option<PathBuf> {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(env!("CARGO_CRATE_NAME"));
    // Each test has files of its own: another one's may be running.
    let folder = folder.join(number.to_string());
    std::fs::create_dir_all(&folder).expect("the target folder is writable");
    let option = format!("-fsanitize={sanitizer}");
    let compile = |source: &Path, program: &Path, options: &[&str]| {
        let mut gcc = Command::new("gcc");
        gcc.args(["-std=gnu11", "-D_GNU_SOURCE", "-g", "-O1", "-pthread"])
            .args(["-fno-omit-frame-pointer", "-Wall", "-Wextra", "-Werror"])
            .arg(&option)
            .args(more)
            .arg(source)
            .arg("-o")
            .arg(program)
            .args(options);
        let result = gcc.output().expect("gcc runs");
        let told = String::from_utf8_lossy(&result.stderr).into_owned();
        result.status.success().then_some(()).ok_or(told)
    };
    let empty = folder.join("empty.c");
    std::fs::write(&empty, "int main(void) { return 0; }\n").expect("it is writable");
    let tried = folder.join("empty");
    let runs = compile(&empty, &tried, &[]).is_ok()
        && Command::new(&tried)
            .output()
            .is_ok_and(|output| output.status.success());
    if !runs {
        println!("skipped: no {sanitizer} sanitizer that runs here");
        return None;
    }
    let library = folder.join(env!("NETFD_SONAME"));
    std::fs::copy(shared_library(), &library).expect("likewise");
    let sources = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/c/eyes.c");
    let program = folder.join("eyes");
    let include = concat!("-I", env!("CARGO_MANIFEST_DIR"), "/include");
    let library = library.to_str().expect("its path is text");
    let run_path = format!("-Wl,-rpath,{}", folder.display());
    let options = [include, library, "-Wl,--disable-new-dtags", &run_path];
    let compiled = compile(Path::new(sources), &program, &options);
    compiled.unwrap_or_else(|told| panic!("{told}"));
    Some(program)
}

/// Runs a scenario, on one worker or two.
fn run(program: &Path, scenario: &str, workers: &str) -> Output {
    run_with(
        program,
        scenario,
        workers,
        "detect_stack_use_after_return=1",
    )
}

fn run_with(program: &Path, scenario: &str, workers: &str, options: &str) -> Output {
    Command::new("timeout")
        .arg("60")
        .arg(program)
        .arg(scenario)
        .env("NETFD_WORKERS", workers)
        .env("ASAN_OPTIONS", options)
        .env_remove("TSAN_OPTIONS")
        .env_remove("LD_LIBRARY_PATH")
        .output()
        .expect("it runs")
}

fn told_by(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn is_clean(sanitizer: &str) {
    let Some(program) = program(sanitizer, &[]) else {
        return;
    };
    for workers in ["1", "2"] {
        let output = run(&program, "is_clean", workers);
        let told = told_by(&output);
        assert!(output.status.success(), "{}: {told}", output.status);
        assert_eq!(told, "");
    }
}

/// The part of a report from `start` on holds `function` in its next lines.
fn names(report: &str, start: &str, function: &str) -> bool {
    let (_, rest) = report.split_once(start).unwrap_or_default();
    rest.lines().take(4).any(|line| line.contains(function))
}

#[test]
fn address_sanitizer_has_nothing_to_say_of_fibers_that_do_no_wrong() {
    is_clean("address");
}

#[test]
fn thread_sanitizer_has_nothing_to_say_of_fibers_that_do_no_wrong() {
    is_clean("thread");
}

#[test]
fn an_overflow_on_a_fibers_stack_is_reported_in_its_function() {
    let Some(program) = program("address", &[]) else {
        return;
    };
    let output = run(&program, "is_told_of_an_overflow", "1");
    let told = told_by(&output);
    assert!(!output.status.success());
    assert!(told.contains("stack-buffer-overflow"), "{told}");
    assert!(names(&told, "WRITE of size 1", " writes_beyond "), "{told}");
    assert!(names(&told, "WRITE of size 1", " overflows "), "{told}");
}

/// With frames where they belong: those that AddressSanitizer keeps elsewhere,
/// for use after return, are searched of running threads only.
fn at_its_end(scenario: &str) -> Option<String> {
    let program = program("address", &[])?;
    let options = "detect_stack_use_after_return=0";
    Some(told_by(&run_with(&program, scenario, "1", options)))
}

#[test]
fn what_a_parked_fiber_alone_knows_of_is_not_leaked() {
    assert_eq!(at_its_end("leaks_nothing").unwrap_or_default(), "");
}

#[test]
fn what_a_parked_fiber_has_lost_is_leaked() {
    let Some(told) = at_its_end("is_told_of_a_leak") else {
        return;
    };
    assert!(names(&told, "leak of 1000 byte(s)", " owns "), "{told}");
}

#[test]
fn a_race_of_a_fiber_is_reported_in_its_function() {
    let Some(program) = program("thread", &[]) else {
        return;
    };
    let output = run(&program, "is_told_of_a_race", "1");
    let told = told_by(&output);
    assert!(!output.status.success());
    assert!(told.contains("data race"), "{told}");
    let write = "Previous write of size 4";
    assert!(names(&told, write, " writes_without_order "), "{told}");
    assert!(names(&told, write, " races "), "{told}");
}

/// Were the switches not told, there would be complaints of what is right.
fn complains_blindly(sanitizer: &str, hides: &str, of: &str) {
    let Some(program) = program(sanitizer, &[hides]) else {
        return;
    };
    let told = told_by(&run(&program, "is_clean", "1"));
    assert!(told.contains(of), "{told}");
}

#[test]
fn address_sanitizer_is_lost_where_it_hears_of_no_switch() {
    let of = "False positive error reports may follow";
    complains_blindly("address", "-static-libasan", of);
}

#[test]
fn thread_sanitizer_is_lost_where_it_hears_of_no_switch() {
    complains_blindly("thread", "-static-libtsan", "data race");
}
