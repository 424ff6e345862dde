//! The manual pages and the HTML reference that tools/manual makes of the
//! header: that each function has a page, that nothing the header says of it is
//! lost, and that man(1), groff(1) and mandoc(1) have nothing to say against any.
//!
//! The order of sections is man-pages(7)'s.

#![allow(clippy::indexing_slicing, reason = "a test that indexes wrongly fails")]

mod common;

use common::is_missing;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("manpages")
        .join(name)
}

/// Has the tool make `what` in a folder of this name.
fn make(what: &str, name: &str, vars: &[(&str, &str)]) -> PathBuf {
    let folder = scratch(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("the target folder is writable");
    let made = Command::new("python3")
        .arg(root().join("tools/manual"))
        .arg(what)
        .arg(&folder)
        .envs(vars.iter().copied())
        .current_dir("/")
        .output()
        .expect("python3 runs");
    assert!(made.status.success(), "{}", told(&made));
    folder
}

fn told(output: &Output) -> String {
    let both = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&both).into_owned()
}

/// The pages, made once.
fn pages() -> &'static Path {
    static PAGES: OnceLock<PathBuf> = OnceLock::new();
    PAGES.get_or_init(|| make("man", "pages", &[]))
}

fn reference() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        let file = make("html", "html", &[]).join("netfd.html");
        fs::read_to_string(file).expect("it was made")
    })
}

/// Every page and link, below `folder`.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for section in ["man3", "man7"] {
        let entries = fs::read_dir(folder.join(section)).expect("it was made");
        found.extend(entries.map(|entry| entry.expect("it can be read").path()));
    }
    found.sort();
    found
}

fn page_of(function: &str) -> PathBuf {
    pages().join("man3").join(format!("{function}.3"))
}

fn on_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A function of the header: its comment and its prototype.
struct Declared {
    comment: String,
    prototype: String,
    must_use: bool,
}

fn header() -> String {
    fs::read_to_string(root().join("include/netfd.h")).expect("it is committed")
}

/// The header's functions, by a reader that is not the tool's.
fn functions() -> BTreeMap<String, Declared> {
    let header = header();
    let mut found = BTreeMap::new();
    for part in header.split("\n/**\n").skip(1) {
        let (comment, code) = part.split_once("\n */\n").expect("comments end");
        let code = on_one_line(code.split(';').next().unwrap_or_default());
        let must_use = code.starts_with("NETFD_MUST_USE ");
        let prototype = code.replace("NETFD_MUST_USE ", "");
        if !prototype.ends_with(')') || prototype.starts_with(['#', '}']) {
            continue;
        }
        let (head, _) = prototype.split_once('(').expect("it is a function");
        let name = head.rsplit([' ', '*']).next().unwrap_or_default();
        found.insert(
            name.to_owned(),
            Declared {
                comment: comment.replace("\n *", "\n"),
                must_use,
                prototype: prototype.clone(),
            },
        );
    }
    found
}

/// A page as mandoc(1) shows it to a terminal without letters of its own.
/// `None`: it is not installed.
fn rendered(page: &Path) -> Option<String> {
    if is_missing("mandoc") {
        return None;
    }
    let shown = Command::new("mandoc")
        .args(["-T", "ascii", "-O", "width=500"])
        .arg(page)
        .output()
        .expect("mandoc runs");
    assert!(shown.status.success(), "{}", told(&shown));
    let mut text = String::new();
    for letter in String::from_utf8_lossy(&shown.stdout).chars() {
        match letter {
            '\u{8}' => drop(text.pop()), // what follows is struck over it
            letter => text.push(letter),
        }
    }
    Some(text)
}

/// What stands below a heading.
fn section<'a>(text: &'a str, heading: &str) -> Option<&'a str> {
    let start = text.find(&format!("\n{heading}\n"))? + heading.len() + 2;
    let rest = &text[start..];
    let is_heading = |at: &usize| rest[at + 1..].starts_with(|c: char| c.is_ascii_uppercase());
    let end = rest.match_indices('\n').map(|(at, _)| at).find(is_heading);
    Some(&rest[..end.unwrap_or(rest.len())])
}

#[test]
fn every_function_has_a_page_that_shows_its_prototype() {
    let functions = functions();
    assert!(functions.len() > 50, "{}", functions.len());
    for (name, declared) in &functions {
        let Some(text) = rendered(&page_of(name)) else {
            return;
        };
        let synopsis = on_one_line(section(&text, "SYNOPSIS").expect("it has one"));
        let prototype = format!("{};", declared.prototype);
        assert!(synopsis.contains(&prototype), "{prototype}\n{synopsis}");
        let title = section(&text, "NAME").expect("it has one");
        assert!(title.contains(name.as_str()), "{title}");
        let warns = text.contains("A compiler warns where the result is not looked at");
        assert!(warns || !declared.must_use, "{name}");
    }
    println!("{} functions have a page", functions.len());
}

#[test]
fn there_is_no_page_of_what_is_not_a_function() {
    let names: BTreeSet<_> = files(pages())
        .iter()
        .filter_map(|page| Some(page.file_name()?.to_str()?.to_owned()))
        .collect();
    let mut wanted: BTreeSet<_> = functions().keys().map(|name| format!("{name}.3")).collect();
    wanted.insert("netfd.7".to_owned());
    assert_eq!(names, wanted);
}

#[test]
fn sections_stand_in_the_order_of_manual_pages() {
    const ORDER: [&str; 12] = [
        "NAME",
        "LIBRARY",
        "SYNOPSIS",
        "DESCRIPTION",
        "RETURN VALUE",
        "ERRORS",
        "ENVIRONMENT",
        "ATTRIBUTES",
        "STANDARDS",
        "CAVEATS",
        "EXAMPLES",
        "SEE ALSO",
    ];
    for page in files(pages()) {
        let text = fs::read_to_string(&page).expect("it was made");
        let headings = text.lines().filter_map(|line| line.strip_prefix(".SH "));
        let headings: Vec<_> = headings.map(|it| it.trim_matches('"')).collect();
        let wanted: Vec<_> = ORDER
            .into_iter()
            .filter(|it| headings.contains(it))
            .collect();
        assert_eq!(headings, wanted, "{}", page.display());
        for needed in ["NAME", "LIBRARY", "SYNOPSIS", "DESCRIPTION", "SEE ALSO"] {
            assert!(headings.contains(&needed), "{}: {needed}", page.display());
        }
    }
}

/// Its words, without marks.
fn words(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(|c: char| !is_part(c))
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

/// A page is made of a comment's parts; a part that fell through would miss.
#[test]
fn no_word_of_a_functions_comment_is_lost() {
    // The tags, and the phrases that the page puts in other words.
    const PUT_ANEW: [&str; 13] = [
        "@param",
        "@return",
        "# Safety",
        "if asked for by netfd_set_interruptible()",
        "if asked for",
        "not attached",
        "destroyed before or meanwhile",
        "destroyed meanwhile",
        "too many callers",
        "no lookup",
        "As for netfd_listen().\n\n",
        "where none was",
        "where none did",
    ];
    let mut compared = 0;
    for (name, declared) in functions() {
        let Some(text) = rendered(&page_of(&name)) else {
            return;
        };
        let mut comment = on_one_line(&declared.comment);
        for phrase in PUT_ANEW {
            comment = comment.replace(phrase, " ");
        }
        let shown = words(&text);
        let is_shown = |word: &String| {
            let stem = word.trim_end_matches('s').trim_end_matches('e');
            shown.contains(word) || shown.contains(stem) || shown.contains(&format!("{stem}e"))
        };
        let lost: Vec<_> = words(&comment)
            .into_iter()
            .filter(|it| !is_shown(it))
            .collect();
        assert!(lost.is_empty(), "{name}: {lost:?}");
        compared += words(&comment).len();
    }
    println!("{compared} words are on their pages");
}

#[test]
fn every_struct_field_constant_and_variable_is_explained() {
    let header = header();
    let mut all = String::new();
    for page in files(pages()) {
        let Some(text) = rendered(&page) else {
            return;
        };
        all.push_str(&text);
    }
    let constants: Vec<_> = header
        .lines()
        .filter_map(|line| line.strip_prefix("#define NETFD_")?.split_once(' '))
        .filter(|(name, _)| !name.starts_with("VERSION") && *name != "MUST_USE")
        .map(|(name, _)| format!("NETFD_{name}"))
        .collect();
    assert!(constants.len() > 10, "{constants:?}");
    for name in constants {
        assert!(all.contains(&name), "{name}");
    }
    let mut fields = 0;
    for part in header.split("\nstruct ").skip(1) {
        let Some((name, rest)) = part.split_once(" {\n") else {
            continue;
        };
        let (body, _) = rest.split_once("\n};").expect("structs end");
        assert!(all.contains(&format!("struct {name} {{")), "{name}");
        for field in body
            .lines()
            .filter(|line| line.ends_with(';') && !line.contains('*'))
        {
            assert!(all.contains(field.trim()), "{name}: {field}");
            fields += 1;
        }
    }
    assert!(fields > 30, "{fields}");
    let runtime = fs::read_to_string(root().join("src/fiber/runtime.rs")).expect("it is there");
    let variables: Vec<_> = runtime.split("secure_environment(c\"").skip(1).collect();
    assert!(!variables.is_empty());
    for variable in variables {
        let (name, _) = variable.split_once('"').expect("it is a text");
        let text = fs::read_to_string(pages().join("man7/netfd.7")).expect("it was made");
        assert!(text.contains(name), "{name}");
    }
}

/// The names in capitals that begin with `start`, each behind `before`.
fn names(text: &str, before: &str, start: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let begin = format!("{before}{start}");
    text.split(&begin)
        .skip(1)
        .map(|rest| &rest[..rest.find(|c| !is_part(c)).unwrap_or(rest.len())])
        .filter(|rest| !rest.is_empty())
        .map(|rest| format!("{start}{rest}"))
        .collect()
}

#[test]
fn every_error_on_a_page_is_one_of_the_systems_or_of_the_headers() {
    let mut all = BTreeSet::new();
    let mut own = BTreeSet::new();
    for page in files(pages()) {
        let text = fs::read_to_string(page).expect("it was made");
        all.extend(names(&text, "\\-", "E"));
        own.extend(names(&text, "", "NETFD_E"));
    }
    own.retain(|name| !name.starts_with("NETFD_ERROR_"));
    assert!(all.len() > 20 && own.len() == 8, "{all:?} {own:?}");
    let mut program = String::from("#include <errno.h>\n#include <netfd.h>\nint codes[] = {");
    for name in all.iter().chain(&own) {
        program.push_str(name);
        program.push(',');
    }
    program.push_str("};\nint main(void) { return codes[0] == 0; }\n");
    let source = scratch("errors.c");
    fs::create_dir_all(scratch("")).expect("the target folder is writable");
    fs::write(&source, program).expect("it is writable");
    let built = Command::new("gcc")
        .args(["-std=c99", "-Wall", "-Werror", "-fsyntax-only", "-I"])
        .arg(root().join("include"))
        .arg(&source)
        .output()
        .expect("gcc runs");
    assert!(built.status.success(), "{}", told(&built));
    println!("{} errors are known", all.len() + own.len());
}

#[test]
fn errors_are_sorted() {
    for page in files(pages()) {
        let text = fs::read_to_string(&page).expect("it was made");
        let Some((_, errors)) = text.split_once(".SH ERRORS\n") else {
            continue;
        };
        let (errors, _) = errors.split_once("\n.SH ").expect("it is not the last");
        let tags: Vec<_> = errors
            .split(".TP\n\\fB")
            .skip(1)
            .filter_map(|item| item.split("\\fP").next())
            .filter(|tag| !tag.starts_with("NETFD_") || !page.ends_with("netfd.7"))
            .map(|tag| tag.trim_start_matches("\\-"))
            .collect();
        let mut sorted = tags.clone();
        sorted.sort_unstable();
        assert_eq!(tags, sorted, "{}", page.display());
    }
}

/// Nobody may have anything to say against any page.
fn is_silent_on_all(tool: &str, args: &[&str]) {
    if is_missing(tool) {
        return;
    }
    let pages = files(pages());
    for page in &pages {
        let mut command = Command::new(tool);
        command.args(args).arg(page).env("MANWIDTH", "80");
        let output = command.env("LC_ALL", "C.UTF-8").output().expect("it runs");
        let says = if tool == "man" {
            String::from_utf8_lossy(&output.stderr).into_owned()
        } else {
            told(&output)
        };
        assert!(says.is_empty() && output.status.success(), "{says}");
    }
    println!("{tool} is silent on {} pages", pages.len());
}

#[test]
fn mandoc_warns_of_nothing() {
    is_silent_on_all("mandoc", &["-T", "lint", "-W", "warning"]);
}

#[test]
fn groff_warns_of_nothing() {
    is_silent_on_all("groff", &["-t", "-ww", "-man", "-z"]);
}

#[test]
fn man_warns_of_nothing() {
    is_silent_on_all("man", &["--warnings", "-l"]);
}

/// whatis(1) and apropos(1) have it from lexgrog(1).
#[test]
fn every_page_is_found_by_its_name() {
    if is_missing("lexgrog") {
        return;
    }
    let pages = files(pages());
    let found = Command::new("lexgrog").args(&pages).output();
    let found = told(&found.expect("lexgrog runs"));
    for page in pages {
        let name = page.file_stem().and_then(|name| name.to_str());
        let entry = format!("{}: \"{} - ", page.display(), name.unwrap_or_default());
        assert!(found.contains(&entry), "{entry}\n{found}");
    }
}

#[test]
fn pages_depend_on_nothing_but_the_source_and_its_date() {
    let made = |name: &str, vars: &[(&str, &str)]| {
        let folder = make("man", name, vars);
        let read = |page: &PathBuf| {
            let name = page.strip_prefix(&folder).expect("it lies there");
            let link = fs::read_link(page).ok();
            (name.to_owned(), link, fs::read(page).expect("it was made"))
        };
        files(&folder).iter().map(read).collect::<Vec<_>>()
    };
    let date = ("SOURCE_DATE_EPOCH", "1700000000");
    let one = made("one", &[date, ("PYTHONHASHSEED", "1"), ("TZ", "UTC-14")]);
    let other = made(
        "other",
        &[
            date,
            ("PYTHONHASHSEED", "2"),
            ("LC_ALL", "C"),
            ("TZ", "UTC+11"),
        ],
    );
    assert!(one.len() > 50);
    assert!(one == other, "two runs made two results");
    let (_, _, page) = one.first().expect("there is one");
    assert!(String::from_utf8_lossy(page).contains(" 2023-11-14 "));
}

/// What stands between quotes after `before`, each time.
fn quoted<'a>(text: &'a str, before: &str) -> Vec<&'a str> {
    let parts = text.split(before).skip(1);
    parts.filter_map(|rest| rest.split('"').next()).collect()
}

#[test]
fn the_html_reference_has_a_section_for_each_function_and_no_dead_link() {
    let html = reference();
    let ids = quoted(html, " id=\"");
    let unique: BTreeSet<_> = ids.iter().copied().collect();
    assert_eq!(ids.len(), unique.len(), "an id stands twice");
    for name in functions().keys() {
        assert!(unique.contains(name.as_str()), "{name}");
    }
    let links = quoted(html, " href=\"");
    assert!(links.len() > 200, "{}", links.len());
    for link in &links {
        let target = link.strip_prefix('#');
        let target = target.unwrap_or_else(|| panic!("{link} leads elsewhere"));
        assert!(unique.contains(target), "{link}");
    }
    for outside in ["src=", "http:", "https:", "@import", "url("] {
        assert!(!html.contains(outside), "{outside}");
    }
    println!("{} links have a target", links.len());
}

#[test]
fn the_html_reference_is_well_formed() {
    const EMPTY: [&str; 2] = ["meta", "br"];
    let html = reference();
    let body = html
        .strip_prefix("<!DOCTYPE html>\n")
        .expect("it says what it is");
    let mut open: Vec<&str> = Vec::new();
    let mut seen = 0;
    for part in body.split('<').skip(1) {
        let (tag, _) = part.split_once('>').expect("a tag ends");
        let name = tag.split([' ', '\n']).next().unwrap_or_default();
        if let Some(name) = name.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "{part}");
        } else if !EMPTY.contains(&name) {
            let holds_text_only = ["p", "dt", "h2", "h3", "h4", "pre"];
            let parent = open.last().copied().unwrap_or_default();
            let is_block = ["p", "dl", "ul", "div", "section", "table", "pre"].contains(&name);
            assert!(
                !(is_block && holds_text_only.contains(&parent)),
                "<{name}> in <{parent}>: {part}"
            );
            open.push(name);
        }
        seen += 1;
    }
    assert!(open.is_empty(), "{open:?}");
    assert!(seen > 1000);
    for amp in body.split('&').skip(1) {
        let (entity, _) = amp.split_once(';').expect("an entity ends");
        assert!(
            ["lt", "gt", "amp", "quot", "#x27"].contains(&entity),
            "&{entity};"
        );
    }
}

/// The record of the ABI says where the fields lie, and the reference repeats it.
#[test]
fn the_html_reference_has_every_struct_with_its_size() {
    let record = fs::read_to_string(root().join("abi/lp64.txt")).expect("it is committed");
    let mut structs = 0;
    for line in record.lines().filter(|line| line.starts_with("struct ")) {
        let Some((name, size)) = line.split_once(": ") else {
            continue;
        };
        let shown = format!("<code>{name}</code></a> <span class=\"dim\">{size}</span>");
        assert!(reference().contains(&shown), "{shown}");
        structs += 1;
    }
    assert_eq!(structs, 5);
}

/// The example on the overview page is a program.
#[test]
fn the_example_compiles_without_a_warning() {
    let header = header();
    let (_, rest) = header.split_once("\n * Example. ").expect("it has one");
    let (rest, _) = rest.split_once("\n */").expect("the comment ends");
    let (_, code) = rest.split_once(":\n").expect("a line before it");
    let code: Vec<_> = code
        .lines()
        .map(|line| line.trim_start_matches(" *"))
        .collect();
    let source = scratch("example.c");
    fs::create_dir_all(scratch("")).expect("the target folder is writable");
    fs::write(&source, code.join("\n")).expect("it is writable");
    let built = Command::new("gcc")
        .args([
            "-std=c11",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-fsyntax-only",
            "-I",
        ])
        .arg(root().join("include"))
        .arg(&source)
        .output()
        .expect("gcc runs");
    assert!(built.status.success(), "{}", told(&built));
}
