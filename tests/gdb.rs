//! What gdb shows of parked fibers: tools/netfd-gdb.py, and the section
//! `.netfd_fibers` that it reads.
//!
//! Specifies what docs/design.md says of it. Behind it is `tests/c/parked.c`.

mod common;

use common::c_program;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

const TOOL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/netfd-gdb.py");

fn program() -> &'static Path {
    static PROGRAM: OnceLock<std::path::PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| c_program("parked", true))
}

/// What gdb prints that runs `commands` where two fibers are parked, and then
/// lets the program go on. `None`: it may trace nothing here.
fn gdb(commands: &[&str]) -> Option<String> {
    let run = |arguments: &[&str]| {
        let mut gdb = Command::new("timeout");
        gdb.args([
            "60",
            "gdb",
            "-nx",
            "-batch",
            "-iex",
            "set debuginfod enabled off",
        ])
        .args(arguments)
        .arg(program())
        .env("NETFD_WORKERS", "1")
        .env_remove("LD_LIBRARY_PATH");
        let output = gdb.output().expect("timeout runs");
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&text).into_owned()
    };
    if !run(&["-ex", "starti", "-ex", "info registers rip"]).contains("rip ") {
        println!("skipped: no gdb that may trace here");
        return None;
    }
    let load = format!("source {TOOL}");
    let mut arguments = vec!["-ex", "break all_are_parked", "-ex", "run", "-ex", &load];
    for command in commands {
        arguments.extend(["-ex", command]);
    }
    arguments.extend(["-ex", "continue"]);
    let shown = run(&arguments);
    assert!(shown.contains("went on"), "{shown}");
    Some(shown)
}

/// The functions of frames, the innermost first, between `start` and an empty
/// line.
fn functions<'a>(shown: &'a str, start: &str) -> Vec<&'a str> {
    let (_, rest) = shown.split_once(start).unwrap_or_default();
    let (trace, _) = rest.split_once("\n\n").unwrap_or((rest, ""));
    let frames = trace.lines().filter(|line| line.starts_with('#'));
    let name = |line: &'a str| {
        let (_, frame) = line.split_once(' ').unwrap_or_default();
        let frame = frame.trim_start();
        let frame = frame.split_once(" in ").map_or(frame, |(_, name)| name);
        let name = frame.split(" (").next().unwrap_or_default();
        name.rsplit("::").next().unwrap_or_default()
    };
    frames.map(name).collect()
}

#[test]
fn a_parked_fiber_has_a_backtrace_from_the_switch_to_its_function() {
    let Some(shown) = gdb(&["netfd-fibers"]) else {
        return;
    };
    let wants = ["netfd_read", "reads_and_never_returns", "handles"];
    let found = functions(&shown, "fiber 0 of worker 1\n");
    let own: Vec<_> = found.iter().filter(|name| wants.contains(name)).collect();
    assert_eq!(own, wants.iter().collect::<Vec<_>>(), "{shown}");
    let wants = ["netfd_sleep", "sleeps_for_long", "naps"];
    let found = functions(&shown, "fiber 1 of worker 1\n");
    let own: Vec<_> = found.iter().filter(|name| wants.contains(name)).collect();
    assert_eq!(own, wants.iter().collect::<Vec<_>>(), "{shown}");
}

#[test]
fn the_worker_behind_a_fiber_is_no_part_of_its_backtrace() {
    let Some(shown) = gdb(&["netfd-fibers 1 1"]) else {
        return;
    };
    let found = functions(&shown, "fiber 1 of worker 1\n");
    assert!(found.contains(&"naps"), "{shown}");
    assert!(!found.iter().any(|name| name.contains("resume")), "{shown}");
}

#[test]
fn one_fiber_may_be_asked_for() {
    let Some(shown) = gdb(&["netfd-fibers 1 1", "netfd-fibers 2"]) else {
        return;
    };
    assert!(!shown.contains("fiber 0 of worker 1"), "{shown}");
    assert!(shown.contains("fiber 1 of worker 1"), "{shown}");
    assert!(shown.contains("no parked fibers"), "{shown}");
}

#[test]
fn the_thread_that_lent_its_registers_has_them_again() {
    let print = "printf \"%lx %lx %lx %lx\\n\", $rip, $rsp, $rbp, $rbx";
    let Some(shown) = gdb(&[print, "netfd-fibers", print]) else {
        return;
    };
    let is_registers = |line: &&str| {
        let words: Vec<_> = line.split(' ').collect();
        words.len() == 4
            && words
                .iter()
                .all(|word| u64::from_str_radix(word, 16).is_ok())
    };
    let lines: Vec<_> = shown.lines().filter(is_registers).collect();
    let [before, after] = lines.as_slice() else {
        panic!("{shown}");
    };
    assert_eq!(before, after);
}
