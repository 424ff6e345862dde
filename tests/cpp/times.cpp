// When calls give up: deadlines of every clock, and cancel sources.
#include "check.hpp"

#include <cmath>

using std::chrono::steady_clock;
using std::chrono::system_clock;

static bool has_passed(netfd::deadline at)
{
    return at.ns() != NETFD_NO_DEADLINE && at.ns() <= ::netfd_now();
}

// Between `least` from before it was made and `most` from now.
static bool lies_ahead(std::int64_t before, netfd::deadline at, std::chrono::nanoseconds by)
{
    return at.ns() >= before + by.count() && at.ns() <= ::netfd_now() + by.count();
}

static void a_duration_counts_from_where_it_is_made()
{
    const std::int64_t now = ::netfd_now();
    CHECK(lies_ahead(now, 5s, 5s));
    CHECK(lies_ahead(now, std::chrono::duration<double>(0.5), 500ms));
    CHECK(lies_ahead(now, std::chrono::duration<unsigned, std::ratio<60>>(2u), 2min));
}

static void a_duration_that_is_not_positive_has_passed()
{
    CHECK(has_passed(0s));
    CHECK(has_passed(-1s));
    CHECK(has_passed(std::chrono::hours::min()));
}

static void a_duration_beyond_all_numbers_is_for_ever()
{
    CHECK(netfd::deadline(std::chrono::hours::max()).ns() == INT64_MAX);
    CHECK(netfd::deadline(std::chrono::duration<double>(1e300)).ns() == INT64_MAX);
    CHECK(netfd::deadline(std::chrono::duration<double>(std::nan(""))).ns() == INT64_MAX);
}

static void a_point_of_the_steady_clock_is_itself()
{
    const steady_clock::time_point at = steady_clock::now() + 1h;
    CHECK(netfd::deadline(at).ns() == at.time_since_epoch().count());
    CHECK(lies_ahead(::netfd_now() - 1'000'000'000, steady_clock::now() + 1h, 1h));
    CHECK(netfd::deadline(steady_clock::time_point::max()).ns() == INT64_MAX);
    using seconds = std::chrono::time_point<steady_clock, std::chrono::seconds>;
    CHECK(netfd::deadline(seconds(7s)).ns() == 7'000'000'000);
}

static void the_beginning_of_the_steady_clock_has_passed()
{
    CHECK(has_passed(steady_clock::time_point()));
    CHECK(has_passed(steady_clock::time_point::min()));
}

static void a_point_of_another_clock_is_as_far_ahead_as_that_says()
{
    const std::int64_t now = ::netfd_now();
    const netfd::deadline at = system_clock::now() + 1h;
    CHECK(at.ns() > now + std::chrono::nanoseconds(59min).count());
    CHECK(at.ns() < now + std::chrono::nanoseconds(61min).count());
    CHECK(has_passed(system_clock::now()));
    CHECK(has_passed(system_clock::time_point::min()));
    CHECK(!has_passed(system_clock::time_point::max()));
}

static void no_deadline_is_none()
{
    CHECK(netfd::no_deadline.ns() == NETFD_NO_DEADLINE);
    CHECK(netfd::deadline().ns() == NETFD_NO_DEADLINE);
}

static void a_deadline_ends_a_read_and_lifted_does_no_harm()
{
    const pair ends = make_pair();
    std::error_code ec;
    char byte;
    ends.first.set_read_deadline(1ms, fine());
    CHECK(ends.first.read({&byte, 1}, ec) == 0);
    CHECK(ec == netfd::errc::deadline_exceeded && ec == std::errc::timed_out);
    CHECK(ends.first.write("x", fine()) == 1);
    ends.first.set_deadline(netfd::no_deadline, fine());
    ends.second.write("x", fine());
    CHECK(ends.first.read({&byte, 1}, fine()) == 1);
}

static void a_deadline_wakes_a_reader_that_is_parked()
{
    const pair ends = make_pair();
    const in_thread reader([&] {
        std::error_code ec;
        char byte;
        CHECK(ends.first.read({&byte, 1}, ec) == 0);
        CHECK(ec == netfd::errc::deadline_exceeded);
    });
    await_parked(1);
    ends.first.set_read_deadline(steady_clock::now(), fine());
}

static void a_source_ends_calls_that_are_parked_and_those_that_come()
{
    const pair ends = make_pair();
    const netfd::cancel_source stop{fine()};
    ends.first.set_cancel(stop, fine());
    const auto reads = [&] {
        std::error_code ec;
        char byte;
        CHECK(ends.first.read({&byte, 1}, ec) == 0);
        CHECK(ec == netfd::errc::canceled && ec == std::errc::operation_canceled);
    };
    {
        const in_thread reader(reads);
        await_parked(1);
        CHECK(!stop.fired());
        stop.fire();
    }
    reads();
    CHECK(stop.fired());
    ends.first.clear_cancel(fine());
    ends.second.write("x", fine());
    char byte;
    CHECK(ends.first.read({&byte, 1}, fine()) == 1);
}

static void a_source_that_ended_fires_nothing()
{
    const pair ends = make_pair();
    {
        const netfd::cancel_source stop{fine()};
        ends.first.set_cancel(stop, fine());
    }
    ends.second.write("x", fine());
    char byte;
    CHECK(ends.first.read({&byte, 1}, fine()) == 1);
}

static void a_source_that_was_moved_from_is_none()
{
    netfd::cancel_source stop{fine()};
    const netfd::cancel_source taken = std::move(stop);
    stop.fire();
    CHECK(stop.get() == nullptr && !stop.fired() && !taken.fired());
    taken.fire();
    CHECK(taken.fired());
}
