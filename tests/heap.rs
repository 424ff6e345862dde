//! The heap: the steady state asks nothing of it, and a call that asks in vain
//! says so; nothing aborts.
//!
//! Behind it: `tests/c/heap.c`, a program with a malloc of its own; malloc(3)
//! "replacing malloc", setrlimit(2) RLIMIT_AS; Go `testing.AllocsPerRun`, by
//! which its own tests see that a read allocates nothing.

mod common;

use common::{c_program, run_program};
use std::path::Path;
use std::sync::OnceLock;

fn program() -> &'static Path {
    static PROGRAM: OnceLock<std::path::PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| c_program("heap", true))
}

fn heap(scenario: &str) {
    assert_eq!(run_program(program(), &[scenario]), "");
}

#[test]
fn the_count_of_allocations_counts() {
    heap("the_counter_counts");
}

#[test]
fn read_and_write_allocate_nothing() {
    heap("read_and_write");
}

#[test]
fn read_and_write_that_park_allocate_nothing() {
    heap("parked_read_and_write");
}

#[test]
fn datagrams_one_by_one_and_in_batches_allocate_nothing() {
    heap("datagrams");
}

#[test]
fn batches_that_park_allocate_nothing() {
    heap("parked_batches");
}

#[test]
fn copies_of_streams_allocate_nothing() {
    heap("copy_streams");
}

#[test]
fn a_copy_without_memory_takes_streams_and_leaves_messages() {
    heap("copy_without_memory");
}

#[test]
fn setting_a_deadline_allocates_nothing() {
    heap("set_deadline");
}

#[test]
fn accept_and_destroy_allocate_nothing() {
    heap("accept_and_destroy");
}

#[test]
fn socket_connect_and_destroy_allocate_nothing() {
    heap("connect_and_destroy");
}

#[test]
fn failures_and_tokens_allocate_nothing() {
    heap("failures_and_tokens");
}

#[test]
fn sys_socket_returns_enomem_without_memory_and_leaks_no_descriptor() {
    heap("sys_socket_without_memory");
}

#[test]
fn attach_returns_enomem_without_memory_and_leaves_the_descriptor() {
    heap("attach_without_memory");
}

#[test]
fn cancel_new_returns_null_without_memory() {
    heap("cancel_new_without_memory");
}

#[test]
fn the_first_park_of_a_process_returns_enomem_without_memory() {
    heap("park_as_the_first");
}

#[test]
fn the_first_park_of_a_thread_does_not_abort_without_memory() {
    heap("park_as_one_of_many");
}

#[test]
fn destroy_destroys_without_memory() {
    heap("destroy_without_memory");
}

#[test]
fn a_thread_that_has_parked_goes_on_without_memory() {
    let dump = run_program(program(), &["work_without_memory"]);
    assert!(dump.starts_with("fd 3 "), "{dump}");
}

#[test]
fn accept_returns_enomem_without_memory_and_a_later_one_gets_the_connection() {
    heap("accept_without_memory");
}

#[test]
fn a_process_that_has_used_up_its_address_space_is_told_so_and_lives() {
    heap("limited_address_space");
}

#[test]
fn a_fiber_that_was_started_runs_though_its_worker_gets_no_memory() {
    heap("go_without_memory");
}

#[test]
fn fibers_that_find_no_memory_are_born_later_and_do_not_make_their_worker_spin() {
    heap("go_many_without_memory");
}
