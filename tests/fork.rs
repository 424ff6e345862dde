//! fork(2) without exec: the child uses what it inherited and does not wait
//! for threads that it does not have; the parent notices nothing.
//!
//! Behind it: `tests/c/fork.c`, a program for each of which the process is one
//! of many threads; fork(2), clone(2), MADV_WIPEONFORK in madvise(2). Go has no
//! fork without exec; CPython's `test_fork1` and `test_threading` ask the same.

mod common;

use common::{c_program, run_program};
use std::path::Path;
use std::sync::OnceLock;

fn program() -> &'static Path {
    static PROGRAM: OnceLock<std::path::PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| c_program("fork", true))
}

/// Runs a scenario, by each way to make a process.
fn child(scenario: &str) {
    for way in ["libc", "fork", "clone"] {
        assert_eq!(run_program(program(), &[scenario, way]), "");
    }
}

#[test]
fn the_child_reads_though_a_thread_of_the_parents_is_parked_in_a_read() {
    child("reads_beside_a_parked_reader");
}

#[test]
fn the_childs_readers_take_turns_though_some_of_the_parents_queue() {
    child("takes_turns_beside_queued_readers");
}

#[test]
fn the_child_accepts_though_a_thread_of_the_parents_is_parked_in_accept() {
    child("accepts_beside_a_parked_accept");
}

#[test]
fn the_child_writes_though_a_thread_of_the_parents_is_parked_in_a_write() {
    child("writes_beside_a_parked_write");
}

#[test]
fn the_child_waits_though_threads_of_the_parents_wait() {
    child("waits_beside_parked_waits");
}

#[test]
fn the_childs_destroy_is_quick_and_leaves_the_parents_callers_parked() {
    child("destroys_what_others_are_parked_on");
}

#[test]
fn the_childs_detach_is_quick_and_leaves_the_parents_callers_parked() {
    child("detaches_what_others_are_parked_on");
}

#[test]
fn a_child_that_destroyed_all_leaves_the_parents_connections_alive() {
    child("leaves_the_parents_connections_alive");
}

#[test]
fn a_token_made_before_the_fork_works_in_the_child() {
    child("fires_an_inherited_token");
}

#[test]
fn the_childs_fire_neither_wakes_nor_spins_the_parents_callers() {
    child("fires_for_itself_alone");
}

#[test]
fn the_parents_fire_neither_wakes_nor_spins_the_childs_callers() {
    child("does_not_hear_the_parents_token");
}

#[test]
fn a_token_made_before_the_fork_ends_a_connect_of_the_childs() {
    child("cancels_a_call_by_an_inherited_token");
}

#[test]
fn deadlines_work_in_the_child_those_of_the_parents_and_its_own() {
    child("obeys_deadlines");
}

#[test]
fn stats_count_what_is_parked_anew_in_the_child() {
    child("counts_parked_callers_anew");
}

#[test]
fn the_thread_that_forked_parks_and_is_woken_in_both_processes() {
    child("parks_in_the_thread_that_forked");
}

#[test]
fn a_child_may_have_children_of_its_own() {
    child("has_children_of_its_own");
    child("goes_on_for_generations");
}

#[test]
fn a_program_that_the_child_executes_finds_no_descriptor_of_ours() {
    child("holds_no_descriptor_after_exec");
}

/// By fork(3) alone: malloc(3) does not survive a bare system call made while
/// another thread is inside it.
#[test]
fn two_hundred_children_of_a_process_that_is_busy_with_all_calls_work() {
    assert_eq!(run_program(program(), &["works_in_a_storm", "libc"]), "");
}
