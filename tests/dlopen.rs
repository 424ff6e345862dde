//! The library by dlopen(3), as ctypes and plugins use it: found by name,
//! closed again under parked threads, and loaded twice.
//!
//! Behind it: `tests/c/dlopen.c`; dlopen(3) on RTLD_LOCAL and dlclose, ld(1)
//! on `-z nodelete`.

mod common;

use common::{c_program, run_program, shared_library};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The program, and two copies of the library.
fn program() -> &'static [PathBuf; 3] {
    static PROGRAM: OnceLock<[PathBuf; 3]> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let program = c_program("dlopen", false);
        let folder = program.parent().expect("it lies in a folder");
        let copies = ["one.so", "two.so"].map(|name| {
            let copy = folder.join(name);
            fs::copy(shared_library(), &copy).expect("the target folder is writable");
            copy
        });
        let [one, two] = copies;
        [program, one, two]
    })
}

fn dlopen(scenario: &str) {
    let [program, one, two] = program();
    let [one, two] = [one, two].map(|path: &PathBuf| text(path));
    assert_eq!(run_program(program, &[scenario, one, two]), "");
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the target folder is text")
}

#[test]
fn it_is_loaded_used_and_closed_a_hundred_times() {
    dlopen("a_hundred_times");
}

#[test]
fn closing_it_under_a_parked_thread_is_harmless() {
    dlopen("under_a_parked_thread");
}

#[test]
fn threads_that_parked_end_after_it_was_closed() {
    dlopen("threads_end_after_it");
}

#[test]
fn two_copies_have_two_tables_and_descriptors_cross_by_detach_and_attach() {
    dlopen("two_copies");
}

#[test]
fn it_is_used_by_the_names_of_its_symbols_alone() {
    dlopen("by_name_alone");
}
