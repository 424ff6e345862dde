//! What README.md and docs/guide.md show: that every block of code is compiled,
//! run, and prints what the text says. A block that nobody runs is a failure.
//!
//! In a block's fence stands its language, and what is done with it:
//!
//! - `c`, `cpp`: compiled as C11 or C++17, a warning being an error. One with a
//!   `main` is linked and run, and ends with 0. One without is compiled as the
//!   body of a function, its `#include` lines before that, with all that a
//!   compiler declares where no standard is asked for.
//! - `python`: run, with the package in `python/src` and the fresh library.
//! - `sh`: run by bash, line by line until one fails, in a folder that all blocks
//!   of the page share. It looks like the repository, and `pkg-config netfd`
//!   names the fresh library. What ends with `&` has until it listens on port
//!   7777, and ends with the block.
//! - `text`: what the block before it prints. `...` stands for anything.
//!
//! Port 7777 is a free one wherever it stands, and 7778 another.
//!
//! A comment of HTML before a block changes that, and no reader sees it:
//!
//! - `<!-- file: NAME -->`: it is put there, and some `sh` block runs it.
//! - `<!-- change: OLD -> NEW -->`: likewise. What the block defines takes the
//!   place of what has that name in OLD; what is new goes before it; `#include`
//!   goes with OLD's, `#define` before all.
//! - `<!-- inside: PARAMETERS -->`: of the function that it is the body of; with
//!   ` = ARGUMENTS` behind them it is called with these, and so is run.
//! - `<!-- run by: FILE -->`: its lines stand in that file, which CI runs; or
//!   `<!-- run by: FILE, COMMAND -->`: that command does, which does the same.
//! - `<!-- sh ... -->`, `<!-- text ... -->`: blocks that are for the tests only.

#![allow(clippy::indexing_slicing, reason = "a test that indexes wrongly fails")]

mod common;

use common::shared_library;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A block of code, or a comment that is one.
#[derive(Debug, PartialEq, Eq)]
struct Block {
    line: usize,
    language: String,
    code: String,
    /// What the comment before it says: its key and what follows.
    directive: Option<(String, String)>,
}

/// The blocks of a page in Markdown.
fn blocks(page: &str) -> Result<Vec<Block>, String> {
    let lines: Vec<&str> = page.lines().collect();
    let mut found = Vec::new();
    let mut directive = None;
    let mut at = 0;
    while at < lines.len() {
        let (line, text) = (at + 1, lines[at]);
        at += 1;
        let hidden = ["sh", "text"]
            .into_iter()
            .find(|it| text.strip_prefix("<!-- ") == Some(*it));
        let fence = text.strip_prefix("```");
        if let Some(language) = hidden.or(fence) {
            let end = if hidden.is_some() { "-->" } else { "```" };
            let length = lines[at..].iter().position(|it| *it == end);
            let length = length.ok_or_else(|| format!("line {line}: the block has no end"))?;
            let mut code = lines[at..at + length].join("\n");
            code.push('\n');
            at += length + 1;
            found.push(Block {
                line,
                language: language.to_owned(),
                code,
                directive: directive.take(),
            });
        } else if let Some(comment) = text.strip_prefix("<!-- ") {
            let comment = comment
                .strip_suffix(" -->")
                .ok_or_else(|| format!("line {line}: the comment is none of ours"))?;
            let (key, value) = comment.split_once(": ").unwrap_or((comment, ""));
            directive = Some((key.to_owned(), value.to_owned()));
        } else if text.trim_start().starts_with("```") || text.starts_with("~~~") {
            return Err(format!("line {line}: a block that is found by nobody"));
        } else if directive.is_some() && !text.is_empty() {
            return Err(format!("line {line}: a comment without a block"));
        }
    }
    match directive {
        Some(_) => Err("a comment without a block".to_owned()),
        None => Ok(found),
    }
}

/// The parts of a C file: a directive, a definition with the comment before it.
fn items(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    let (mut item, mut depth) = (String::new(), 0);
    for line in code.lines() {
        if line.is_empty() && depth == 0 && item.is_empty() {
            continue;
        }
        item.push_str(line);
        item.push('\n');
        depth += line.matches('{').count();
        depth -= line.matches('}').count();
        let ends = line.starts_with('#') || line.ends_with(';') || line.ends_with('}');
        if depth == 0 && ends {
            found.push(std::mem::take(&mut item));
        }
    }
    found
}

/// What an item defines: "main", "struct tls".
fn defined(item: &str) -> String {
    let mut code = item;
    while let Some(rest) = code.strip_prefix("/*") {
        code = rest
            .split_once("*/")
            .map_or("", |(_, code)| code.trim_start());
    }
    let head = code.split(['(', '=', ';', '{']).next().unwrap_or_default();
    let words: Vec<_> = head
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
        .collect();
    match (words.as_slice(), code.contains('(')) {
        ([kind @ ("struct" | "enum"), name], _) => format!("{kind} {name}"),
        (words, _) => (*words.last().unwrap_or(&"")).to_owned(),
    }
}

/// A program with a change made to it; `Err` where it changes nothing.
fn changed(old: &str, change: &str) -> Result<String, String> {
    let is_directive = |item: &String| item.starts_with('#');
    let (top, news): (Vec<_>, Vec<_>) = items(change).into_iter().partition(is_directive);
    let mut result = items(old);
    let mut waiting = Vec::new();
    let mut replaced = 0;
    for item in news {
        let name = defined(&item);
        let place = result
            .iter()
            .position(|old| !is_directive(old) && defined(old) == name);
        waiting.push(item);
        if let Some(place) = place {
            result.splice(place..=place, waiting.drain(..));
            replaced += 1;
        }
    }
    let main = result.iter().position(|item| defined(item) == "main");
    let main = main.ok_or("there is no main to put it before")?;
    result.splice(main..main, waiting);
    if replaced == 0 {
        return Err("it takes the place of nothing".to_owned());
    }
    let is_define = |item: &String| item.starts_with("#define");
    let (defines, includes): (Vec<_>, Vec<_>) = top.into_iter().partition(is_define);
    let first = result.iter().position(|item| item.starts_with("#include"));
    let first = first.unwrap_or(0);
    result.splice(first..first, includes);
    result.splice(0..0, defines);
    Ok(result.join("\n"))
}

/// A fragment as a function's body, its `#include` lines on top. What it is
/// inside of is "PARAMETERS" or "PARAMETERS = ARGUMENTS": then `main` calls it.
fn wrapped(code: &str, inside: &str, header: &str) -> String {
    let (top, body): (Vec<_>, Vec<_>) = code.lines().partition(|line| line.starts_with("#include"));
    let (top, body) = (top.join("\n"), body.join("\n"));
    let (parameters, arguments) = inside.split_once(" =").unzip();
    let parameters = match parameters.unwrap_or(inside) {
        "" => "void",
        parameters => parameters,
    };
    let main = arguments.map(|arguments| {
        format!("int main(void) {{\n    fragment({arguments});\n    return 0;\n}}\n")
    });
    format!(
        "#define _DEFAULT_SOURCE\n#include <{header}>\n{top}\nvoid fragment({parameters});\n\
         void fragment({parameters}) {{\n{body}\n}}\n{}",
        main.unwrap_or_default()
    )
}

/// Whether a text is the expected one, in which "..." stands for anything: in a
/// line for a part of it, as a line for any number of lines.
fn matches(expected: &str, said: &str) -> bool {
    fn line(expected: &str, said: &str) -> bool {
        let Some((start, rest)) = expected.split_once("...") else {
            return expected == said;
        };
        let Some(said) = said.strip_prefix(start) else {
            return false;
        };
        (0..=said.len())
            .filter_map(|at| said.get(at..))
            .any(|said| line(rest, said))
    }
    fn all(expected: &[&str], said: &[&str]) -> bool {
        match (expected, said) {
            ([], said) => said.is_empty(),
            (["...", rest @ ..], said) => (0..=said.len()).any(|at| all(rest, &said[at..])),
            ([first, rest @ ..], [next, more @ ..]) => line(first, next) && all(rest, more),
            _ => false,
        }
    }
    all(&lines_of(expected), &lines_of(said))
}

/// Its lines without the blanks at their ends.
fn lines_of(text: &str) -> Vec<&str> {
    text.trim_end().lines().map(str::trim_end).collect()
}

/// Two ports that nobody has, outside the range that port 0 takes from. Tests
/// that run at once look in places of their own.
fn free_ports() -> (u16, u16) {
    static FOLDERS: AtomicU16 = AtomicU16::new(0);
    let process = u16::try_from(std::process::id() % 100).expect("it is small");
    let from = 20_000 + 100 * process + 5 * FOLDERS.fetch_add(1, Ordering::Relaxed);
    let mut free = (from..32_000).filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    let one = free.next().expect("there is a free port");
    (one, free.next().expect("there is another one"))
}

/// What has been done with the blocks of a page.
#[derive(Debug, Default)]
struct Counts {
    blocks: usize,
    compiled: usize,
    run: usize,
    compared: usize,
    elsewhere: usize,
}

/// A folder in which a page's blocks are compiled and run.
struct Folder {
    path: PathBuf,
    ports: (u16, u16),
    files: BTreeMap<String, String>,
    counts: Counts,
}

impl Folder {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join("guide")
            .join(name);
        let _ = fs::remove_dir_all(&path);
        let library = path.join("target/release");
        fs::create_dir_all(&library).expect("the target folder is writable");
        for name in ["libnetfd.so", env!("NETFD_SONAME")] {
            symlink(shared_library(), library.join(name)).expect("the folder is new");
        }
        for name in ["include", "tools", "python", "c_examples"] {
            symlink(root().join(name), path.join(name)).expect("the folder is new");
        }
        let package = format!(
            "Name: netfd\nDescription: the fresh one\nVersion: 0\nCflags: -I{}\n\
             Libs: -L{lib} -lnetfd -Wl,-rpath,{lib}\n",
            root().join("include").display(),
            lib = library.display()
        );
        fs::write(library.join("netfd.pc"), package).expect("the folder is ours");
        Self {
            path,
            ports: free_ports(),
            files: BTreeMap::new(),
            counts: Counts::default(),
        }
    }

    /// With the ports that are free here.
    fn with_ports(&self, text: &str) -> String {
        let (one, other) = self.ports;
        text.replace("7777", &one.to_string())
            .replace("7778", &other.to_string())
    }

    fn command(&self, program: &str) -> Command {
        let library = self.path.join("target/release");
        let mut command = Command::new("timeout");
        command
            .args(["-k", "5", "60", program])
            .current_dir(&self.path)
            .env_remove("LD_LIBRARY_PATH") // it may name a stale copy first
            .env("PKG_CONFIG_PATH", &library)
            .env("PYTHONPATH", root().join("python/src"))
            .env("NETFD_LIBRARY", library.join("libnetfd.so"))
            .env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    /// Runs a command to its end, with 0. Returns what it printed.
    fn run(&self, command: &mut Command) -> Result<String, String> {
        // Files, for a pipe would wait for whatever is left in the background.
        let (out, err) = (self.path.join("stdout"), self.path.join("stderr"));
        let mut child = command
            .stdin(std::process::Stdio::null())
            .stdout(File::create(&out).expect("the folder is ours"))
            .stderr(File::create(&err).expect("the folder is ours"))
            .process_group(0)
            .spawn()
            .expect("timeout runs");
        let status = child.wait().expect("it is our child");
        // SAFETY: no pointers; a group that is gone is no harm.
        let _ = unsafe { libc::kill(-(child.id() as libc::pid_t), libc::SIGKILL) };
        let text = |path| fs::read(path).map(|text| String::from_utf8_lossy(&text).into_owned());
        let (out, err) = (text(out).unwrap_or_default(), text(err).unwrap_or_default());
        if status.success() {
            Ok(out)
        } else {
            Err(format!("{status}:\n{out}{err}"))
        }
    }

    /// Compiles a file as strictly as it goes, and links it if it has a `main`.
    fn compile(&mut self, language: &str, file: &Path, link: bool) -> Result<(), String> {
        let (compiler, standard) = match language {
            "cpp" => ("g++", "-std=c++17"),
            _ => ("gcc", "-std=c11"),
        };
        let mut command = self.command(compiler);
        command
            .args([standard, "-Wall", "-Wextra", "-Werror", "-Iinclude"])
            .arg(file);
        if link {
            command
                .args(["-pthread", "-Ltarget/release", "-lnetfd", "-Wl,-rpath"])
                .arg(self.path.join("target/release"))
                .args(["-o", "program"]);
        } else {
            command.args(["-c", "-o", "object.o"]);
        }
        self.run(&mut command)?;
        self.counts.compiled += 1;
        Ok(())
    }

    fn sh(&mut self, code: &str) -> Result<String, String> {
        let mut script = format!(
            "set -eu\n\
             trap 'jobs=$(jobs -p); [ -z \"$jobs\" ] || kill $jobs 2>/dev/null || :; wait' EXIT\n\
             await_listener() {{\n\
             for _ in $(seq 1000); do\n\
             grep -q ':{:04X} 0*:0000 0A' /proc/net/tcp /proc/net/tcp6 && return; sleep 0.01\n\
             done\n\
             echo 'nobody listens' >&2; return 1\n\
             }}\n",
            self.ports.0
        );
        for line in code.lines() {
            script.push_str(line);
            script.push('\n');
            if line.ends_with(" &") {
                script.push_str("await_listener\n");
            }
        }
        let file = self.path.join("script.sh");
        fs::write(&file, script).expect("the folder is ours");
        let said = self.run(self.command("bash").arg("script.sh"))?;
        self.counts.run += 1;
        Ok(said)
    }

    /// Puts a program where `sh` blocks find it.
    fn put(&mut self, language: &str, name: &str, code: String) -> Result<(), String> {
        let file = self.path.join(name);
        fs::write(&file, &code).expect("the folder is ours");
        if language != "python" {
            self.compile(language, &file, false)?;
        }
        self.files.insert(name.to_owned(), code);
        Ok(())
    }

    /// Does what is to be done with a block. Returns what it printed, if anybody
    /// ran it.
    fn take(&mut self, block: &Block) -> Result<Option<String>, String> {
        let code = self.with_ports(&block.code);
        let language = block.language.as_str();
        let (key, value) = match &block.directive {
            Some((key, value)) => (key.as_str(), value.as_str()),
            None => ("", ""),
        };
        match (language, key) {
            (_, "run by") => {
                let (file, command) = value.split_once(", ").unzip();
                let file = file.unwrap_or(value);
                let runner = fs::read_to_string(root().join(file)).map_err(|e| e.to_string())?;
                for line in block.code.lines() {
                    let line = line.split(" #").next().unwrap_or_default().trim_end();
                    let command = command.unwrap_or(line);
                    if !runner.contains(command) {
                        return Err(format!("{file} does not run {command}"));
                    }
                }
                self.counts.elsewhere += 1;
                Ok(None)
            }
            ("c" | "cpp" | "python", "file") => self.put(language, value, code).map(|()| None),
            ("c" | "cpp", "change") => {
                let (old, new) = value.split_once(" -> ").ok_or("change: OLD -> NEW")?;
                let before = self.files.get(old).ok_or("there is no such file before")?;
                let after = changed(before, &code)?;
                self.put(language, new, after).map(|()| None)
            }
            ("c" | "cpp", "inside" | "") => {
                let header = match language {
                    "c" => "netfd.h",
                    _ => "netfd.hpp",
                };
                let code = match code.contains("int main(") {
                    true => code,
                    false => wrapped(&code, value, header),
                };
                let has_main = code.contains("int main(");
                let name = format!("block.{language}");
                let file = self.path.join(name);
                fs::write(&file, code).expect("the folder is ours");
                self.compile(language, &file, has_main)?;
                if !has_main {
                    return Ok(None);
                }
                self.counts.run += 1;
                self.run(&mut self.command("./program")).map(Some)
            }
            ("python", "") => {
                fs::write(self.path.join("block.py"), code).expect("the folder is ours");
                self.counts.run += 1;
                self.run(self.command("python3").arg("block.py")).map(Some)
            }
            ("sh", "") => self.sh(&code).map(Some),
            (language, key) => Err(format!("nobody runs a block of {language:?} with {key:?}")),
        }
    }

    /// Takes all blocks of a page.
    fn take_all(&mut self, page: &str) -> Result<(), String> {
        let blocks = blocks(page)?;
        let mut said = None;
        let mut scripts = String::new();
        for block in &blocks {
            let at = |why: String| format!("line {}: {why}", block.line);
            self.counts.blocks += 1;
            if block.language == "text" {
                let expected = self.with_ports(&block.code);
                let said: String = said
                    .take()
                    .ok_or_else(|| at("nothing printed this".to_owned()))?;
                if !matches(&expected, &said) {
                    return Err(at(format!("it says:\n{said}")));
                }
                self.counts.compared += 1;
                continue;
            }
            said = self.take(block).map_err(at)?;
            if block.language == "sh" {
                scripts.push_str(&block.code);
            }
        }
        for name in self.files.keys() {
            let stem = name.split('.').next().unwrap_or_default();
            if !scripts.contains(&format!("./{stem}"))
                && !scripts.contains(&format!("python3 {name}"))
            {
                return Err(format!("nobody runs {name}"));
            }
        }
        Ok(())
    }
}

/// The page's blocks all run, and say what it says.
fn holds(page: &str, name: &str) -> Counts {
    let text = fs::read_to_string(root().join(page)).expect("the page is there");
    let mut folder = Folder::new(name);
    if let Err(why) = folder.take_all(&text) {
        panic!("{page}, {why}");
    }
    let counts = folder.counts;
    let mut told = String::new();
    let _ = write!(
        told,
        "{page}: of {} blocks {} were compiled, {} run, {} compared, {} run elsewhere",
        counts.blocks, counts.compiled, counts.run, counts.compared, counts.elsewhere
    );
    println!("{told}");
    counts
}

#[test]
fn every_block_of_the_readme_is_run() {
    let counts = holds("README.md", "readme");
    assert!(counts.compiled >= 2 && counts.run >= 2, "{counts:?}");
}

#[test]
fn every_block_of_the_guide_is_run_and_says_what_stands_there() {
    let counts = holds("docs/guide.md", "guide");
    assert!(counts.compiled >= 10, "{counts:?}");
    assert!(counts.run >= 10 && counts.compared >= 10, "{counts:?}");
}

/// Why a page does not hold.
fn complaint(page: &str) -> String {
    let test = std::thread::current().name().map(str::to_owned);
    let mut folder = Folder::new(&test.unwrap_or_default());
    folder.take_all(page).expect_err("it is not taken")
}

#[test]
fn a_block_that_nobody_runs_is_told() {
    assert!(complaint("```perl\nprint 1;\n```\n").contains("nobody runs"));
    assert!(complaint("```\nls\n```\n").contains("nobody runs"));
    assert!(complaint("  ```sh\n  ls\n  ```\n").contains("found by nobody"));
    assert!(complaint("```sh\nls\n").contains("no end"));
    let unused = "<!-- file: unused.c -->\n```c\nint main(void) { return 0; }\n```\n";
    assert!(complaint(unused).contains("nobody runs unused.c"));
    let elsewhere = "<!-- run by: .ci/run -->\n```sh\nmake nothing\n```\n";
    assert!(complaint(elsewhere).contains("does not run make nothing"));
}

#[test]
fn a_block_that_fails_is_told() {
    assert!(complaint("```sh\nfalse\ntrue\n```\n").contains("exit status: 1"));
    assert!(complaint("```c\nint unused = 1;\n```\n").contains("unused"));
    assert!(complaint("```c\nint main(void) { return 3; }\n```\n").contains("exit status: 3"));
    assert!(complaint("```python\nraise OSError('no')\n```\n").contains("OSError: no"));
}

#[test]
fn a_block_that_prints_something_else_is_told() {
    let page = "```sh\necho one\n```\n\n```text\ntwo\n```\n";
    assert!(complaint(page).contains("it says:\none"));
    assert!(complaint("```text\ntwo\n```\n").contains("nothing printed this"));
}

#[test]
fn a_fragment_is_called_where_its_arguments_are_known() {
    let page = "<!-- inside: int n = 7 -->\n```c\n#include <stdlib.h>\nexit(n);\n```\n";
    assert!(complaint(page).contains("exit status: 7"));
}

#[test]
fn three_dots_stand_for_anything() {
    assert!(matches("a ... c\n", "a b c"));
    assert!(matches("...\nlast\n", "first\nsecond\nlast\n"));
    assert!(!matches("a ... c\n", "a b d"));
    assert!(!matches("one\n", "one\ntwo\n"));
}

#[test]
fn a_change_takes_the_place_of_what_has_its_name() {
    let old = "#include <a.h>\n\nstatic int f(void)\n{\n    return 1;\n}\n\nint main(void)\n{\n    return f();\n}\n";
    let change = "#include <b.h>\n\nstatic int n;\n\n/* Two. */\nstatic int f(void)\n{\n    return 2;\n}\n\nstatic int g;\n";
    let new = changed(old, change).expect("f is there");
    let places: Vec<_> = [
        "b.h",
        "a.h",
        "int n;",
        "/* Two. */\nstatic int f",
        "int g;",
        "int main",
    ]
    .iter()
    .map(|part| new.find(part).unwrap_or_else(|| panic!("{part} in {new}")))
    .collect();
    assert!(places.is_sorted(), "{new}");
    assert!(!new.contains("return 1;"), "{new}");
    assert!(changed(old, "static int h;\n").is_err());
}
