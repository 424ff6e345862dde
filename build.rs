//! Makes the C header from `src/ffi`, and names the shared library.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

/// N of libnetfd.so.N. It moves when a promise of the header is broken.
const SONAME: u32 = 0;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=src/ffi");
    println!("cargo::rerun-if-changed=cbindgen.toml");
    println!("cargo::rerun-if-changed=build.rs");
    // The library's threads' state outlives dlclose(3), so it stays mapped.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libnetfd.so.{SONAME}");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    println!("cargo::rustc-env=NETFD_SONAME=libnetfd.so.{SONAME}");

    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(env::var("OUT_DIR")?).join("include");
    fs::create_dir_all(&out)?;
    let mut config = cbindgen::Config::from_file(root.join("cbindgen.toml"))?;
    config.header = Some(TOP.to_owned());
    config.after_includes = Some(preamble()?);
    cbindgen::Builder::new()
        .with_src(root.join("src/ffi/mod.rs"))
        .with_config(config)
        .generate()?
        .write_to_file(out.join("netfd.h"));
    println!("cargo::metadata=include={}", out.display());
    println!(
        "cargo::rustc-env=NETFD_HEADER={}",
        out.join("netfd.h").display()
    );
    Ok(())
}

fn preamble() -> Result<String, Box<dyn Error>> {
    let version = env::var("CARGO_PKG_VERSION")?;
    let [major, minor, patch] = ["MAJOR", "MINOR", "PATCH"]
        .map(|part| env::var(format!("CARGO_PKG_VERSION_{part}")).unwrap_or_default());
    Ok(format!(
        r#"
#define NETFD_VERSION "{version}"
#define NETFD_VERSION_MAJOR {major}
#define NETFD_VERSION_MINOR {minor}
#define NETFD_VERSION_PATCH {patch}

/* A descriptor or a count of bytes that is not looked at is a mistake. */
#if defined(__GNUC__) || defined(__clang__)
#define NETFD_MUST_USE __attribute__((warn_unused_result))
#else
#define NETFD_MUST_USE
#endif

/* For netfd_recvmmsg() and netfd_sendmmsg(): <sys/socket.h> has it, in C only
 * where _GNU_SOURCE is defined. */
struct mmsghdr;

/* A cancel token: netfd_cancel_new() makes it, netfd_cancel_free() ends it. */
struct netfd_cancel;

/* A wait group: netfd_group_new() makes it, netfd_group_free() ends it. */
struct netfd_group;"#
    ))
}

const TOP: &str = r"/*
 * netfd: the socket layer of Go's net package, for C.
 *
 * Made from src/ffi by cbindgen; change it there.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The handle is a raw fd, and every tool that takes one keeps working: poll(2),
 * setsockopt(2), SSL_set_fd(). netfd keeps its own state for each in a table.
 *
 * Results. What is not negative is success: a descriptor, a count, 0. Failures
 * are -errno where the kernel said it, and a NETFD_E code where netfd did;
 * errno itself plays no part. netfd_strerror() explains any code, and
 * netfd_last_error() the last failure in full.
 *
 * Blocking style. A call that cannot proceed parks its thread, or its fiber
 * where netfd_go() has started one; -EAGAIN and -EINTR do not come out of it
 * unless asked for. Each call may be made from any thread at any time: reads
 * of one stream take turns, writes take turns, and netfd_destroy() and the
 * deadlines work beside whoever is inside.
 *
 * Time is nanoseconds of CLOCK_MONOTONIC, absolute; 0 is no deadline.
 *
 * Bad arguments are answered, never crashed on: NULL where a pointer is needed
 * is -EFAULT, a number that is not attached -EBADF, a length or a choice out of
 * range -EINVAL.
 *
 * In a signal handler: netfd_cancel_fire(), netfd_cancel_fired() and
 * netfd_now(), nothing else.
 */";
