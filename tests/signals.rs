//! Signals: SIGPIPE is never raised, handlers of others end no call unless
//! the thread asked for it, and dispositions and masks are the process's own.
//!
//! Behind it: `tests/c/signals.c`; signal(7) on which system calls are
//! restarted, send(2) on MSG_NOSIGNAL, Go `os/signal` ("SIGPIPE") and
//! `internal/poll` (ignoringEINTR), PEP 475 for netfd_set_interruptible().

mod common;

use common::{c_program, run_program};
use std::path::Path;
use std::sync::OnceLock;

fn program() -> &'static Path {
    static PROGRAM: OnceLock<std::path::PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| c_program("signals", true))
}

fn signals(scenario: &str) {
    assert_eq!(run_program(program(), &[scenario]), "");
}

#[test]
fn no_way_to_send_to_a_peer_that_is_gone_raises_sigpipe() {
    signals("sigpipe_from_sockets");
}

#[test]
fn dump_into_a_closed_pipe_raises_no_sigpipe() {
    signals("sigpipe_from_dump");
}

#[test]
fn a_sigpipe_that_was_pending_before_a_dump_is_so_after_it() {
    signals("sigpipe_of_somebody_else");
}

#[test]
fn a_storm_of_signals_ends_no_call_and_loses_no_byte() {
    signals("storm");
}

#[test]
fn a_handler_ends_a_parked_read_accept_and_wait_of_a_thread_that_asked() {
    signals("interrupts_parked_calls");
    signals("interrupts_parked_calls_of_restarting_handlers");
}

#[test]
fn a_handler_ends_a_queued_read_and_wait_of_a_thread_that_asked() {
    signals("interrupts_queued_calls");
}

#[test]
fn a_handler_with_sa_restart_ends_a_queued_read_and_wait_as_well() {
    signals("interrupts_queued_calls_of_restarting_handlers");
}

#[test]
fn a_handler_ends_a_connect_of_a_thread_that_asked() {
    signals("interrupts_a_connect");
}

#[test]
fn an_interrupted_write_returns_what_had_gone() {
    signals("interrupted_write_returns_the_count");
}

#[test]
fn a_handler_ends_no_call_of_a_thread_that_did_not_ask_or_took_it_back() {
    signals("interrupts_no_thread_that_did_not_ask");
}

#[test]
fn set_interruptible_takes_one_and_zero_only() {
    signals("other_values_are_invalid");
}

#[test]
fn a_stop_and_a_continue_end_no_call_since_no_handler_ran() {
    signals("a_stop_ends_nothing");
}

#[test]
fn fire_fired_and_now_work_in_a_handler_of_the_parked_thread() {
    signals("fires_in_a_handler");
}

#[test]
fn no_handler_is_installed_and_no_mask_changed() {
    signals("leaves_handlers_and_masks_alone");
}
