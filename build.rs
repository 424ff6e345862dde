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

const TOP: &str = r#"/*
 * netfd: the socket layer of Go's net package, for C.
 *
 * Made from src/ffi by cbindgen; change it there.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * netfd blocks on a socket with a deadline, ends the call from another thread,
 * and closes the socket while others are inside, without ever touching a
 * stranger through a number that was used again. In a thread, or in a fiber, of
 * which a process has as many as connections.
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
 * Lifetime. What netfd_sys_socket(), netfd_accept(), netfd_listen(),
 * netfd_dial() and their like return is attached, and the caller's until
 * netfd_destroy(), which wakes everybody who is parked on it and calls close(2)
 * once, after the last of them has left. So nobody who was inside meets the
 * next socket of that number; a call that begins later gets NETFD_ECLOSED,
 * until netfd attaches the number again. A socket from elsewhere comes in by
 * netfd_attach(), and leaves open by netfd_detach(), which goes before any
 * close(2) or dup2(2) on an attached number. No buffer is touched after the
 * call that it was given to.
 *
 * Deadlines. Time is nanoseconds of CLOCK_MONOTONIC, absolute; 0 is no
 * deadline, and netfd_after() makes one. A descriptor has one for reading and
 * one for writing. Once it has passed, calls in that direction fail with
 * NETFD_EDEADLINE, those that are parked already too, until another is set:
 * it ends calls, not the connection.
 *
 * Tokens. A cancel token ends calls on any number of descriptors in any number
 * of threads, once and for good: netfd_cancel_new(), netfd_set_cancel(), and
 * netfd_cancel_fire() from wherever it is known that all is over.
 *
 * Fibers. netfd_go() runs a function with a stack of its own and no thread:
 * what parks it leaves its worker, a thread for each processor, to others.
 * netfd_serve() is an accept loop with a fiber for each connection. A fiber
 * that computes, or blocks outside netfd, holds its worker up; netfd_block()
 * is for that.
 *
 * Bad arguments. They are answered, never crashed on. A code that a list of
 * failures has without a word beside it means:
 *   -EFAULT  a pointer that is needed is NULL
 *   -EBADF   the number is not attached: never, or not any more
 *   -EINVAL  a length or a choice is out of range
 *   -EUSERS  2^20 - 1 callers are on the descriptor already
 *   -ENOMEM  there is no memory for it
 *   -EINTR   a signal handler has run, and netfd_set_interruptible() has asked
 *            to be told of that
 *
 * Signals. No handler is installed, and no mask changed; workers handle none.
 * SIGPIPE is never raised. In a signal handler: netfd_cancel_fire(),
 * netfd_cancel_fired() and netfd_now(), nothing else.
 *
 * Processes. After fork(2) the child may use the descriptors that it inherits,
 * and the parent's parked calls notice nothing. The parent's fibers are not in
 * the child, whose first one starts workers anew. A unix socket's file is
 * removed by none but the process that made it.
 *
 * Environment. The first fiber looks at it, but not in a program that runs
 * with more rights than its user has:
 *   NETFD_WORKERS  how many workers there are, at most 64, in the place of one
 *                  for each processor
 *   NETFD_POLL     epoll: fibers wait by epoll(7), not by io_uring(7), which
 *                  strace(1) does not see into. uring: by io_uring(7) under a
 *                  sanitizer or valgrind(1), too
 *
 * Example. An echo server, which ends a connection that is silent for 30 s:
 *   #include <netfd.h>
 *
 *   static void serve(int conn, void *arg)
 *   {
 *       char buf[4096];
 *       ssize_t n;
 *
 *       (void)arg;
 *       do {
 *           netfd_set_deadline(conn, netfd_after(30000000000));
 *           n = netfd_read(conn, buf, sizeof buf);
 *       } while (n > 0 && netfd_write(conn, buf, (size_t)n) == n);
 *   }
 *
 *   int main(void)
 *   {
 *       int fd = netfd_listen("tcp", "localhost:7777", NULL);
 *
 *       return fd < 0 || netfd_serve(fd, serve, NULL, NULL) < 0;
 *   }
 */"#;
