//! The header: that it is the one that the sources make, that it declares what
//! the library exports and nothing else, and that C and C++ compilers take it.

#![allow(clippy::indexing_slicing, reason = "a test that indexes wrongly fails")]

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn committed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("include/netfd.h")
}

fn header() -> String {
    fs::read_to_string(committed()).expect("include/netfd.h is committed")
}

/// The names that follow `before`, as far as they are C names.
fn names_after<'a>(text: &'a str, before: &str) -> BTreeSet<&'a str> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.match_indices(before)
        .map(|(at, _)| {
            let name = &text[at + before.len()..];
            &name[..name.find(|c| !is_name(c)).unwrap_or(name.len())]
        })
        .collect()
}

/// The header without its comments.
fn code() -> String {
    let mut code = String::new();
    for part in header().split("/*") {
        code.push_str(part.split_once("*/").map_or(part, |(_, code)| code));
    }
    code
}

fn declared() -> BTreeSet<String> {
    let code = code();
    let names = names_after(&code, "netfd_");
    names
        .into_iter()
        .filter(|name| code.contains(&format!("netfd_{name}(")))
        .map(|name| format!("netfd_{name}"))
        .collect()
}

#[test]
fn the_committed_header_is_the_one_that_the_sources_make() {
    let made = fs::read_to_string(env!("NETFD_HEADER")).expect("build.rs made it");
    if env::var_os("BLESS").is_some() {
        fs::write(committed(), &made).expect("include/ is writable");
    }
    assert!(
        made == header(),
        "include/netfd.h is stale: BLESS=1 cargo test --test header"
    );
}

#[test]
fn the_library_exports_what_the_header_declares_and_nothing_else() {
    let library = common::shared_library();
    let symbols = Command::new("nm")
        .args(["-D", "--defined-only", "--format=posix"])
        .arg(&library)
        .output()
        .expect("nm runs");
    assert!(symbols.status.success());
    let symbols = String::from_utf8(symbols.stdout).expect("symbols are text");
    let exported: BTreeSet<String> = symbols
        .lines()
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned)
        .collect();
    assert_eq!(exported, declared());
}

#[test]
fn the_tests_know_every_function_that_the_header_declares() {
    let common = include_str!("common/mod.rs");
    let known: BTreeSet<String> = names_after(common, "pub fn netfd_")
        .into_iter()
        .map(|name| format!("netfd_{name}"))
        .collect();
    assert_eq!(known, declared());
}

#[test]
fn every_macro_is_named_netfd() {
    let code = code();
    let macros = names_after(&code, "#define ");
    assert!(macros.len() > 10, "{macros:?}");
    for name in macros {
        assert!(name.starts_with("NETFD_"), "{name}");
    }
}

#[test]
fn every_function_says_which_threads_may_call_it_and_what_it_returns() {
    let header = header();
    for comment in header.split("/**").skip(1) {
        let (comment, code) = comment.split_once("*/").expect("comments end");
        let declaration = code.split(';').next().unwrap_or_default().trim();
        let is_field = declaration.contains("(*");
        if !declaration.ends_with(')') || declaration.contains("#define") || is_field {
            continue; // a macro, a struct, or a field
        }
        assert!(comment.contains("thread"), "{declaration}: threads");
        let is_time = declaration.starts_with("int64_t"); // its first line says
        if !declaration.starts_with("void") && !is_time {
            assert!(comment.contains("@return"), "{declaration}: @return");
        }
    }
}

#[test]
fn no_line_of_the_header_is_longer_than_a_terminal_is_wide() {
    for line in header().lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

/// Whoever has a file that was installed, and nothing else, knows its licence.
#[test]
fn every_header_says_what_its_licence_is() {
    let folder = committed();
    let folder = fs::read_dir(folder.parent().expect("it lies in a folder"));
    let mut seen = 0;
    for file in folder.expect("include/ is there") {
        let path = file.expect("it is listed").path();
        let text = fs::read_to_string(&path).expect("it is text");
        let top = text.lines().take(10).collect::<Vec<_>>().join("\n");
        let line = concat!("SPDX-License-Identifier: ", env!("CARGO_PKG_LICENSE"));
        assert!(top.contains(line), "{}", path.display());
        seen += 1;
    }
    assert!(seen > 0);
}

/// Compiles a file that includes the header twice.
fn compiles(compiler: &str, standard: &str, extension: &str) {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let source = dir.join(format!("header-{standard}.{extension}"));
    let text = "#include \"netfd.h\"\n#include \"netfd.h\"\n\
                int main(void) { return netfd_version() == 0; }\n";
    fs::write(&source, text).expect("the target folder is writable");
    let result = Command::new(compiler)
        .arg(format!("-std={standard}"))
        .args(["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"])
        .arg("-I")
        .arg(committed().parent().expect("it lies in a folder"))
        .arg(&source)
        .output();
    let result = result.expect("the compiler runs");
    let told = String::from_utf8_lossy(&result.stderr);
    assert!(
        result.status.success(),
        "{compiler} -std={standard}: {told}"
    );
}

#[test]
fn it_compiles_as_c99() {
    compiles("gcc", "c99", "c");
}

#[test]
fn it_compiles_as_c11() {
    compiles("gcc", "c11", "c");
}

#[test]
fn it_compiles_as_cpp11() {
    compiles("g++", "c++11", "cpp");
}

#[test]
fn it_compiles_as_cpp20() {
    compiles("g++", "c++20", "cpp");
}
