//! The ABI: names, prototypes, constants and the layout of structs are those on
//! record in `abi/lp64.txt`. A program that was built before runs on.
//!
//! `BLESS=1 cargo test --test abi` writes the record anew; `CHANGELOG.md` says
//! what its difference means for those who have linked the library.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn record() -> PathBuf {
    root().join("abi/lp64.txt")
}

/// The header without comments and what the preprocessor does for itself.
fn code() -> String {
    let header = fs::read_to_string(root().join("include/netfd.h")).expect("it is committed");
    let mut code = String::new();
    for part in header.split("/*") {
        code.push_str(part.split_once("*/").map_or(part, |(_, code)| code));
    }
    code
}

fn on_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn prototypes(code: &str) -> Vec<String> {
    let is_directive = |line: &&str| line.starts_with('#') || line.starts_with("extern \"C\"");
    let lines = code.lines().filter(|line| !is_directive(line));
    let text = lines.collect::<Vec<_>>().join("\n");
    let mut found: Vec<_> = text
        .split(';')
        .map(on_one_line)
        .filter(|it| it.ends_with(')') && it.contains("netfd_") && !it.contains('{'))
        .collect();
    found.sort();
    found
}

/// A field's name, and how it is declared: a callback's prototype has no size.
struct Field {
    name: String,
    declared: String,
}

/// The structs that have a body, with their fields.
fn structs(code: &str) -> Vec<(String, Vec<Field>)> {
    let name_of = |field: &str| {
        let field = match field.split_once("(*") {
            Some((_, pointer)) => pointer.split(')').next().unwrap_or_default(),
            None => field.split('[').next().unwrap_or_default(),
        };
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let name = field.rsplit(|c| !is_name(c)).next();
        name.unwrap_or_default().to_owned()
    };
    let bodies = code.split("\nstruct ").skip(1).filter_map(|part| {
        let (name, rest) = part.split_once(" {\n")?;
        let (body, _) = rest.split_once("\n}")?;
        let fields = body.split(';').map(str::trim).filter(|it| !it.is_empty());
        let fields = fields.map(|field| Field {
            name: name_of(field),
            declared: on_one_line(field),
        });
        Some((name.to_owned(), fields.collect()))
    });
    bodies.filter(|(name, _)| !name.contains(';')).collect()
}

fn constants(code: &str) -> Vec<String> {
    let named = code
        .lines()
        .filter_map(|line| line.strip_prefix("#define NETFD_"));
    let with_value = named.filter_map(|line| Some(line.split_once(' ')?.0.to_owned()));
    with_value
        .filter(|name| !name.starts_with("VERSION") && name != "MUST_USE")
        .collect()
}

/// What a C compiler makes of the header.
fn measured() -> String {
    let code = code();
    let mut program = String::from(
        "#include <netfd.h>\n#include <stdio.h>\n#include <stddef.h>\nint main(void) {\n",
    );
    for name in constants(&code) {
        let _ = writeln!(
            program,
            "printf(\"NETFD_{name} %lld\\n\", (long long)(NETFD_{name}));"
        );
    }
    for (name, fields) in structs(&code) {
        let _ = writeln!(
            program,
            "printf(\"\\nstruct {name}: %zu bytes\\n\", sizeof(struct {name}));"
        );
        for Field {
            name: field,
            declared,
        } in fields
        {
            let _ = writeln!(
                program,
                "printf(\"  {declared}: at %zu, %zu bytes\\n\", offsetof(struct {name}, {field}), \
                 sizeof(((struct {name} *)0)->{field}));"
            );
        }
    }
    program.push_str("return 0;\n}\n");
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (source, binary) = (dir.join("abi.c"), dir.join("abi"));
    fs::write(&source, program).expect("the target folder is writable");
    let built = Command::new("gcc")
        .args(["-std=c99", "-Wall", "-Werror", "-I"])
        .arg(root().join("include"))
        .args([&source, Path::new("-o"), &binary])
        .output()
        .expect("gcc runs");
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    let told = Command::new(&binary).output().expect("it runs");
    String::from_utf8(told.stdout).expect("it is text")
}

#[test]
#[cfg(target_pointer_width = "64")]
fn the_abi_is_the_one_on_record() {
    let now = format!("{}\n\n{}", prototypes(&code()).join("\n"), measured());
    if env::var_os("BLESS").is_some() {
        fs::write(record(), &now).expect("abi/ is writable");
    }
    let then = fs::read_to_string(record()).expect("abi/lp64.txt is committed");
    assert!(
        now == then,
        "the ABI has changed. Is that meant, and does CHANGELOG.md say so? BLESS=1 cargo test --test abi\n{now}"
    );
}

#[test]
fn the_record_has_every_function_and_every_struct() {
    let code = code();
    let functions = prototypes(&code);
    let called = code.matches("netfd_version(").count();
    assert_eq!(called, 1);
    assert!(
        functions.iter().any(|it| it.contains("netfd_version(")),
        "{functions:?}"
    );
    let named = ["netfd_error", "netfd_listen_config", "netfd_dial_config"];
    let named = named
        .into_iter()
        .chain(["netfd_serve_config", "netfd_stats"]);
    let found = structs(&code);
    for name in named {
        let fields = found.iter().find(|(it, _)| it == name);
        let fields = &fields.unwrap_or_else(|| panic!("{name} is missing")).1;
        let first = fields.first().map(|field| field.declared.as_str());
        assert_eq!(first, Some("size_t size"), "{name}");
    }
    assert!(constants(&code).iter().any(|name| name == "ECLOSED"));
}

/// A program is told by the changelog what a version means for it.
#[test]
fn the_changelog_has_an_abi_line_for_each_version() {
    let log = fs::read_to_string(root().join("CHANGELOG.md")).expect("it is committed");
    let versions: Vec<_> = log.split("\n## ").skip(1).collect();
    assert!(
        versions
            .first()
            .is_some_and(|it| it.starts_with(env!("CARGO_PKG_VERSION"))),
        "the first entry is of this version"
    );
    for version in versions {
        assert!(version.contains("\nABI: "), "{version}");
    }
}
