//! Fibers as only a program of its own can show them: its threads, its memory,
//! its children, its end by a signal, its C++ exceptions.
//!
//! Specifies netfd_go(), NETFD_WORKERS, and fibers and fork(2). Behind it are
//! `tests/c/fiber.c` and `tests/c/fiberxx.cc`; Go's stackoverflow test in
//! runtime/crash_test.go, `TestStackGrowth`, fork(2), MADV_GUARD_INSTALL in
//! madvise(2), and the C++ ABI's `__cxa_get_globals`.

mod common;

use common::{c_program, run_program};
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

fn program() -> &'static Path {
    static PROGRAM: OnceLock<std::path::PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| c_program("fiber", true))
}

/// Runs a scenario. One at a time: they look at memory.
fn run(scenario: &str) -> String {
    static ONE: Mutex<()> = Mutex::new(());
    let _alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    run_program(program(), &[scenario])
}

/// How many workers there are with NETFD_WORKERS so.
fn workers(named: Option<&str>) -> String {
    let mut command = Command::new(program());
    command.arg("starts_workers").env_remove("NETFD_WORKERS");
    if let Some(named) = named {
        command.env("NETFD_WORKERS", named);
    }
    let output = command.output().expect("it runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn processors() -> String {
    let count = std::thread::available_parallelism();
    count.expect("it is known").to_string()
}

#[test]
fn there_is_no_worker_before_the_first_fiber_and_then_one_for_each_processor() {
    assert_eq!(workers(None), processors());
}

#[test]
fn there_are_as_many_workers_as_the_environment_says() {
    assert_eq!(workers(Some("1")), "1");
    assert_eq!(workers(Some("3")), "3");
}

#[test]
fn more_workers_than_can_be_are_as_many_as_can_be() {
    assert_eq!(workers(Some("1000")), "64");
}

#[test]
fn a_number_of_workers_that_is_none_is_passed_over() {
    for none in ["0", "", "-1", "x", "2x", "99999999999999999999"] {
        assert_eq!(workers(Some(none)), processors(), "{none:?}");
    }
}

#[test]
fn a_fiber_that_recurses_to_its_limit_dies_by_sigsegv() {
    run("dies_in_the_guard");
}

#[test]
fn a_fiber_has_room_for_200_kib() {
    run("has_room_on_its_stack");
}

#[test]
fn what_ended_fibers_have_touched_is_given_back() {
    println!("{}", run("gives_memory_back"));
}

#[test]
fn what_ended_fibers_have_touched_is_given_back_each_time() {
    println!("{}", run("gives_memory_back_each_time"));
}

#[test]
fn a_hundred_thousand_fibers_park_and_are_woken() {
    println!("{}", run("parks_a_hundred_thousand"));
}

#[test]
fn a_child_makes_workers_of_its_own_and_uses_what_it_inherited() {
    run("forks_with_workers");
}

#[test]
fn a_fiber_that_forks_goes_on_in_the_child_as_a_thread_and_ends_it() {
    run("forks_in_a_fiber");
}

/// C++ exceptions are each fiber's own, on one worker and on two.
#[test]
fn exceptions_in_flight_are_the_fibers_own() {
    let folder = program().parent().expect("it lies in a folder");
    let program = folder.join("fiberxx");
    let library = folder.join(env!("NETFD_SONAME"));
    let result = Command::new("g++")
        .args([
            "-std=c++17",
            "-g",
            "-pthread",
            "-Wall",
            "-Wextra",
            "-Werror",
        ])
        .arg(concat!("-I", env!("CARGO_MANIFEST_DIR"), "/include"))
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/c/fiberxx.cc"))
        .arg("-o")
        .args([&program, &library])
        .arg("-Wl,--disable-new-dtags")
        .arg(format!("-Wl,-rpath,{}", folder.display()))
        .output()
        .expect("g++ runs");
    let told = String::from_utf8_lossy(&result.stderr);
    assert!(result.status.success(), "{told}");
    for workers in ["1", "2"] {
        let output = Command::new(&program)
            .env("NETFD_WORKERS", workers)
            .env_remove("LD_LIBRARY_PATH")
            .output()
            .expect("it runs");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{told}");
    }
}
