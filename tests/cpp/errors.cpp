// Errors: categories, messages, what is thrown.
#include "check.hpp"

// A port where nobody listens.
static std::string nowhere()
{
    const netfd::listener door = make_listener();
    std::string at = where(door);
    door.close(fine());
    return at;
}

static void the_kernels_errors_equal_std_errc()
{
    std::error_code ec;
    const netfd::conn none = netfd::dial("tcp", nowhere(), {}, ec);
    CHECK(!none);
    CHECK(ec == std::errc::connection_refused);
    CHECK(ec == std::error_code(ECONNREFUSED, std::system_category()));
    CHECK(ec != netfd::errc::closed);
}

static void netfds_errors_equal_their_errc_and_have_its_texts()
{
    const std::pair<int, netfd::errc> all[] = {
        {NETFD_EDEADLINE, netfd::errc::deadline_exceeded}, {NETFD_ECLOSED, netfd::errc::closed},
        {NETFD_ECANCELED, netfd::errc::canceled},          {NETFD_ENETWORK, netfd::errc::unknown_network},
        {NETFD_EADDRESS, netfd::errc::bad_address},        {NETFD_ENOHOST, netfd::errc::no_such_host},
        {NETFD_EDNS, netfd::errc::lookup_failed},          {NETFD_EPANIC, netfd::errc::panic},
    };
    for (const auto &[code, named] : all) {
        const std::error_code ec = netfd::to_error_code(code);
        CHECK(ec == named);
        CHECK(ec.value() == code);
        CHECK(ec.category() == netfd::category());
        CHECK(ec.message() == ::netfd_strerror(code));
    }
    CHECK(std::string_view(netfd::category().name()) == "netfd");
    CHECK(make_error_code(netfd::errc::unexpected_end).message() == "unexpected end of stream");
}

static void a_timeout_is_one_whoever_says_so()
{
    const std::error_code netfds = netfd::errc::deadline_exceeded;
    CHECK(netfds == std::errc::timed_out);
    CHECK(netfd::to_error_code(-ETIMEDOUT) == std::errc::timed_out);
    CHECK(netfd::to_error_code(-ETIMEDOUT) != netfd::errc::deadline_exceeded);
}

static void what_is_canceled_is_so_for_std_and_what_is_closed_is_nothing_of_std()
{
    const std::error_code canceled = netfd::errc::canceled;
    const std::error_code closed = netfd::errc::closed;
    CHECK(canceled == std::errc::operation_canceled);
    CHECK(closed != std::errc::bad_file_descriptor);
    CHECK(closed.default_error_condition().category() == netfd::category());
}

static void what_is_not_negative_is_no_error()
{
    CHECK(!netfd::to_error_code(0));
    CHECK(!netfd::to_error_code(INT64_MAX));
}

static void a_call_that_succeeds_clears_the_error_code()
{
    std::error_code ec = netfd::errc::closed;
    const netfd::listener door = netfd::listen("tcp", "127.0.0.1:0", {}, ec);
    CHECK(!ec);
}

static void bad_names_have_errors_of_their_own()
{
    std::error_code ec;
    CHECK(!netfd::dial("carrier pigeon", "localhost:1", {}, ec));
    CHECK(ec == netfd::errc::unknown_network);
    CHECK(!netfd::listen("tcp", "no port", {}, ec));
    CHECK(ec == netfd::errc::bad_address);
}

static void the_last_error_tells_of_an_error_code()
{
    std::error_code ec;
    const std::string at = nowhere();
    const netfd::conn none = netfd::dial("tcp", at, {}, ec);
    CHECK(netfd::last_error().code == -ECONNREFUSED);
    CHECK(std::string_view(netfd::last_error().op) == "dial");
    CHECK(netfd::last_error_text() == "dial tcp " + at + ": connect: connection refused");
}

#ifdef __cpp_exceptions
static void what_is_thrown_has_the_code_the_record_and_netfds_text()
{
    const std::string at = nowhere();
    try {
        (void)netfd::dial("tcp", at);
        NEVER("it throws");
    } catch (const netfd::error &error) {
        CHECK(error.code() == std::errc::connection_refused);
        CHECK(error.what() == "dial tcp " + at + ": connect: connection refused");
        CHECK(error.record().remote == at);
    }
}

static void what_is_thrown_is_a_system_error_whose_copies_do_not_fail()
{
    static_assert(std::is_nothrow_copy_constructible_v<netfd::error>);
    try {
        (void)netfd::listen("pigeon", "x");
        NEVER("it throws");
    } catch (const std::system_error &error) {
        CHECK(error.code() == netfd::errc::unknown_network);
        CHECK(std::string_view(error.what()).find("pigeon") != std::string_view::npos);
    }
}

static void an_error_without_a_record_says_what_its_code_says()
{
    std::error_code ec;
    CHECK(!netfd::dial("pigeon", "x", {}, ec)); // which has one, of another code
    const netfd::error error(netfd::errc::unexpected_end);
    CHECK(std::string_view(error.what()) == "unexpected end of stream");
    CHECK(error.record().code == 0);
}
#endif
