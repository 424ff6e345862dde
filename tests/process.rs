//! A guest in somebody else's process: threads that are cancelled or end at
//! any point, calls before main and after it, and what the process finds
//! unchanged.
//!
//! Behind it: `tests/c/process.c`; pthread_cancel(3), pthread_key_create(3),
//! exit(3), the ELF constructors and destructors.

mod common;

use common::{c_program, run_program};
use std::path::Path;
use std::sync::OnceLock;

fn program() -> &'static Path {
    static PROGRAM: OnceLock<std::path::PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| c_program("process", true))
}

/// Runs a scenario, which prints nothing, and neither does the library.
fn process(scenario: &str) {
    assert_eq!(run_program(program(), &[scenario]), "");
}

#[test]
fn cancelling_a_parked_reader_takes_effect_at_its_deadline_and_loses_no_turn() {
    process("cancelled_reader");
}

#[test]
fn cancelling_a_parked_acceptor_takes_effect_at_its_deadline_and_loses_no_turn() {
    process("cancelled_acceptor");
}

#[test]
fn cancelling_a_parked_writer_takes_effect_at_its_deadline_and_loses_no_turn() {
    process("cancelled_writer");
}

#[test]
fn asynchronous_cancellation_takes_effect_when_the_call_returns() {
    process("cancelled_asynchronously");
}

#[test]
fn cancelling_a_parked_reader_loses_no_byte_that_comes_later() {
    process("cancelled_by_data");
}

#[test]
fn cancelling_a_reader_in_the_queue_leaves_those_behind_it_their_turn() {
    process("cancelled_in_the_queue");
}

#[test]
fn destroy_in_a_cancelled_thread_destroys() {
    process("cancelled_destroyer");
}

#[test]
fn a_call_leaves_the_threads_cancel_state_as_it_was() {
    process("cancel_state_is_put_back");
}

#[test]
fn threads_that_end_leave_no_descriptor_behind() {
    process("many_threads");
}

#[test]
fn threads_that_end_by_pthread_exit_leave_no_descriptor_behind() {
    process("threads_that_call_pthread_exit");
}

#[test]
fn calls_park_in_destructors_of_thread_specific_data() {
    process("destructors_of_threads_that_parked");
}

#[test]
fn the_first_park_in_a_destructor_of_thread_specific_data_leaves_nothing_behind() {
    process("destructors_of_threads_that_never_parked");
}

#[test]
fn calls_park_in_destructors_of_thread_locals() {
    process("destructors_of_thread_locals");
}

#[test]
fn exit_with_threads_parked_ends_the_process_within_100_ms() {
    process("exits_with_threads_parked");
}

#[test]
fn exit_while_evicted_threads_are_on_their_way_ends_the_process_within_100_ms() {
    process("exits_just_after_a_destroy");
}

#[test]
fn calls_work_in_constructors_before_main() {
    process("works_in_constructors");
}

#[test]
fn calls_work_in_exit_handlers_and_in_destructors_after_main() {
    process("works_at_exit_and_after_main");
}

#[test]
fn no_thread_is_started() {
    process("starts_no_thread");
}

#[test]
fn nothing_is_printed() {
    process("prints_nothing");
}

#[test]
fn environment_directory_and_umask_stay_as_they_are() {
    process("changes_nothing_of_the_process");
}

#[test]
fn fire_leaves_errno_alone() {
    process("fire_keeps_errno");
}
