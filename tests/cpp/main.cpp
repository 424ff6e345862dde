// What the C++ header promises, a scenario each; those that need exceptions or
// std::expected are there where these are. `main --list` names them, `main NAME...`
// runs those, each in a process of its own.
//
// All in one unit, so that the header is compiled once.
#include "errors.cpp"
#include "fibers.cpp"
#include "forms.cpp"
#include "names.cpp"
#include "sockets.cpp"
#include "streams.cpp"
#include "times.cpp"

#include <dlfcn.h>
#include <sys/wait.h>

// These come before the library's own, and fail where they are told to.
template <class F> static F *next(const char *name)
{
    void *found = ::dlsym(RTLD_NEXT, name);
    CHECK(found != nullptr);
    F *function;
    std::memcpy(&function, &found, sizeof function);
    return function;
}

extern "C" int netfd_go(void (*fn)(void *), void *arg)
{
    return fails::go.exchange(false) ? -EAGAIN : next<decltype(netfd_go)>("netfd_go")(fn, arg);
}

extern "C" int netfd_block(void (*fn)(void *), void *arg)
{
    return fails::block.exchange(false) ? -EAGAIN : next<decltype(netfd_block)>("netfd_block")(fn, arg);
}

extern "C" netfd_cancel *netfd_cancel_new()
{
    return fails::memory.exchange(false) ? nullptr : next<decltype(netfd_cancel_new)>("netfd_cancel_new")();
}

extern "C" netfd_group *netfd_group_new()
{
    return fails::memory.exchange(false) ? nullptr : next<decltype(netfd_group_new)>("netfd_group_new")();
}

void *operator new(std::size_t size, const std::nothrow_t &) noexcept
{
    return fails::memory.exchange(false) ? nullptr : ::operator new(size);
}

struct scenario {
    const char *name;
    void (*run)();
};

#define NAMED(name) {#name, name}

static const scenario scenarios[] = {
    NAMED(the_kernels_errors_equal_std_errc),
    NAMED(netfds_errors_equal_their_errc_and_have_its_texts),
    NAMED(a_timeout_is_one_whoever_says_so),
    NAMED(what_is_canceled_is_so_for_std_and_what_is_closed_is_nothing_of_std),
    NAMED(what_is_not_negative_is_no_error),
    NAMED(a_call_that_succeeds_clears_the_error_code),
    NAMED(bad_names_have_errors_of_their_own),
    NAMED(the_last_error_tells_of_an_error_code),
#ifdef __cpp_exceptions
    NAMED(what_is_thrown_has_the_code_the_record_and_netfds_text),
    NAMED(what_is_thrown_is_a_system_error_whose_copies_do_not_fail),
    NAMED(an_error_without_a_record_says_what_its_code_says),
#endif
    NAMED(a_fiber_runs_its_closure_and_ends_it_once),
    NAMED(a_closure_may_be_one_that_only_moves_or_one_that_is_copied),
    NAMED(a_fiber_that_cannot_start_ends_its_closure_once_and_tells_why),
    NAMED(without_memory_a_closure_ends_once_and_nothing_has_run),
    NAMED(fibers_sleep_and_let_others_run),
    NAMED(a_group_waits_until_closures_have_ended),
    NAMED(a_group_whose_fiber_cannot_start_waits_for_nothing),
    NAMED(a_group_counts_and_gives_up_at_a_deadline_or_a_source),
    NAMED(a_group_that_was_moved_from_is_none),
    NAMED(what_blocks_returns_what_it_returns),
    NAMED(what_could_not_block_has_not_run),
    NAMED(a_server_has_a_fiber_for_each_connection_and_ends_without_an_error),
    NAMED(a_server_whose_listener_is_closed_says_so),
    NAMED(a_connection_ends_with_its_handler),
    NAMED(a_handler_may_close_its_connection_before),
    NAMED(a_handler_may_keep_its_connection),
    NAMED(what_is_left_when_the_time_is_up_is_closed),
    NAMED(a_handler_whose_connection_was_closed_touches_no_other),
    NAMED(what_serve_is_told_reaches_it),
#ifdef __cpp_exceptions
    NAMED(what_blocks_throws_what_it_throws),
    NAMED(an_error_that_leaves_a_handler_ends_its_connection_alone),
    NAMED(exceptions_of_handlers_are_told),
    NAMED(an_exception_that_leaves_a_fiber_terminates),
    NAMED(an_exception_that_leaves_a_handler_terminates),
    NAMED(calls_throw),
    NAMED(without_memory_sources_and_groups_throw),
#endif
    NAMED(without_memory_there_is_no_source_and_no_group),
#ifdef __cpp_lib_expected
    NAMED(calls_give_what_is_expected),
    NAMED(what_is_not_so_is_unexpected),
#endif
    NAMED(an_address_is_a_value),
    NAMED(an_address_of_nothing_is_none),
    NAMED(a_unix_address_has_a_path_and_no_port),
    NAMED(what_is_no_address_is_none),
    NAMED(hosts_are_resolved_to_addresses_of_their_family),
    NAMED(both_ends_know_their_addresses),
    NAMED(names_are_literals_and_strings),
    NAMED(a_dial_gives_up_at_its_deadline),
    NAMED(a_dial_obeys_its_cancel_source),
    NAMED(options_reach_the_socket),
    NAMED(control_sees_the_socket_before_it_is_used),
    NAMED(an_error_of_control_is_the_calls_whatever_its_category),
#ifdef __cpp_exceptions
    NAMED(an_exception_of_control_leaves_the_call_around_it),
#endif
    NAMED(a_unix_listeners_file_goes_with_it),
    NAMED(nothing_passed_by_systemd_is_no_socket),
    NAMED(what_systemd_passed_is_taken_by_name),
    NAMED(a_move_empties_the_source_and_closes_nothing),
    NAMED(a_move_to_itself_changes_nothing),
    NAMED(an_assignment_closes_what_was_there),
    NAMED(an_end_closes_once),
    NAMED(what_owns_nothing_says_closed),
    NAMED(a_second_close_says_closed),
    NAMED(a_close_wakes_a_reader_that_is_parked),
    NAMED(a_close_wakes_a_fiber_that_accepts),
    NAMED(readers_that_race_with_a_close_find_it_closed),
    NAMED(a_release_leaves_it_open_and_attached),
    NAMED(a_detach_gives_it_back_open_and_wakes_who_is_inside),
    NAMED(what_cannot_be_attached_stays_the_callers),
    NAMED(a_socket_is_made_bound_listened_on_and_connected),
    NAMED(a_wait_tells_what_is_ready),
    NAMED(whatever_holds_bytes_is_a_buffer),
    NAMED(text_is_a_buffer_without_its_nul),
    NAMED(a_buffer_is_cut_and_never_grows),
    NAMED(what_is_written_is_read_and_the_end_is_nothing),
    NAMED(several_buffers_go_as_one),
    NAMED(a_full_read_waits_for_all_of_it),
    NAMED(a_full_read_that_ends_in_between_fails_and_tells_how_much),
    NAMED(a_write_that_is_stopped_tells_by_what_and_how_much_had_gone),
    NAMED(a_write_to_nobody_is_a_broken_pipe),
    NAMED(a_file_is_sent_whole_and_in_part),
    NAMED(a_copy_goes_to_the_end_or_as_far_as_it_is_told),
    NAMED(a_copy_that_is_stopped_tells_how_much_had_gone),
    NAMED(descriptors_go_along_and_their_owner_is_said),
    NAMED(a_unix_peer_is_known),
    NAMED(packets_name_the_other_end),
    NAMED(a_dialed_packet_conn_reads_and_writes_messages),
    NAMED(packets_go_in_batches),
    NAMED(messages_go_with_what_belongs_to_them),
    NAMED(a_duration_counts_from_where_it_is_made),
    NAMED(a_duration_that_is_not_positive_has_passed),
    NAMED(a_duration_beyond_all_numbers_is_for_ever),
    NAMED(a_point_of_the_steady_clock_is_itself),
    NAMED(the_beginning_of_the_steady_clock_has_passed),
    NAMED(a_point_of_another_clock_is_as_far_ahead_as_that_says),
    NAMED(no_deadline_is_none),
    NAMED(a_deadline_ends_a_read_and_lifted_does_no_harm),
    NAMED(a_deadline_wakes_a_reader_that_is_parked),
    NAMED(a_source_ends_calls_that_are_parked_and_those_that_come),
    NAMED(a_source_that_ended_fires_nothing),
    NAMED(a_source_that_was_moved_from_is_none),
};

// Runs a scenario in a process of its own, which has 20 s. Those that say so in
// their name end by std::terminate().
static bool holds(const scenario &one)
{
    const ::pid_t child = ::fork();
    CHECK(child >= 0);
    if (child == 0) {
        ::alarm(20);
        one.run();
        std::exit(0);
    }
    int status = 0;
    CHECK(::waitpid(child, &status, 0) == child);
    const std::string_view name = one.name;
    const std::string_view last = "_terminates";
    const bool terminates = name.size() > last.size() && name.substr(name.size() - last.size()) == last;
    const bool did = terminates ? WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT : status == 0;
    if (!did)
        std::fprintf(stderr, "FAILED: %s (status %d)\n", one.name, status);
    return did;
}

int main(int argc, char **argv)
{
    if (argc > 1 && std::string_view(argv[1]) == "--list") {
        for (const scenario &one : scenarios)
            std::puts(one.name);
        return 0;
    }
    int held = 0, run = 0;
    for (const scenario &one : scenarios) {
        bool wanted = argc == 1;
        for (int at = 1; at < argc; at++)
            wanted = wanted || std::string_view(argv[at]) == one.name;
        if (wanted) {
            run++;
            held += holds(one);
        }
    }
    std::printf("%d of %d\n", held, run);
    return held == run && run > 0 ? 0 : 1;
}
