// Whose a descriptor is: moves, ends, closing while others are inside.
#include "check.hpp"

static_assert(!std::is_copy_constructible_v<netfd::conn> && !std::is_copy_assignable_v<netfd::conn>);
static_assert(std::is_nothrow_move_constructible_v<netfd::conn> && std::is_nothrow_move_assignable_v<netfd::conn>);
static_assert(std::is_nothrow_move_constructible_v<netfd::listener>);
static_assert(std::is_nothrow_move_constructible_v<netfd::packet_conn>);
static_assert(std::is_nothrow_move_constructible_v<netfd::cancel_source>);
static_assert(!std::is_copy_constructible_v<netfd::cancel_source> && !std::is_copy_constructible_v<netfd::group>);
static_assert(!std::is_convertible_v<int, netfd::conn> && std::is_constructible_v<netfd::conn, int>);
static_assert(!std::is_constructible_v<netfd::conn, const netfd::conn &&>, "what serve() shows is not moved from");
static_assert(!std::is_convertible_v<netfd::conn, netfd::listener>);
static_assert(sizeof(netfd::conn) == sizeof(int) && sizeof(netfd::cancel_source) == sizeof(void *));

static void a_move_empties_the_source_and_closes_nothing()
{
    const std::uint64_t before = open_fds();
    {
        pair ends = make_pair();
        const int fd = ends.first.fd();
        netfd::conn taken = std::move(ends.first);
        CHECK(!ends.first && ends.first.fd() == -1);
        CHECK(taken.fd() == fd);
        CHECK(open_fds() == before + 2);
    }
    CHECK(open_fds() == before);
}

static void a_move_to_itself_changes_nothing()
{
    pair ends = make_pair();
    netfd::conn &same = ends.first;
    const int fd = same.fd();
    ends.first = std::move(same);
    CHECK(ends.first.fd() == fd);
    CHECK(ends.first.write("x", fine()) == 1);
}

static void an_assignment_closes_what_was_there()
{
    pair ends = make_pair();
    pair others = make_pair();
    ends.first = std::move(others.first);
    char byte;
    CHECK(ends.second.read({&byte, 1}, fine()) == 0);
}

static void an_end_closes_once()
{
    pair ends = make_pair();
    { const netfd::conn ended = std::move(ends.first); }
    char byte;
    CHECK(ends.second.read({&byte, 1}, fine()) == 0);
}

static void what_owns_nothing_says_closed()
{
    const netfd::conn none;
    std::error_code ec;
    char byte = 0;
    CHECK(none.read({&byte, 1}, ec) == 0);
    CHECK(ec == netfd::errc::closed);
    CHECK(none.local_addr(ec) == netfd::address());
    CHECK(ec == netfd::errc::closed);
    CHECK(none.copy_from(0, 1, ec) == 0);
    CHECK(ec == netfd::errc::closed);
    CHECK(!netfd::listener().accept(ec));
    CHECK(ec == netfd::errc::closed);
    netfd::serve(netfd::listener(), [](const netfd::conn &) {}, {}, ec);
    CHECK(ec == netfd::errc::closed);
}

static void a_second_close_says_closed()
{
    const pair ends = make_pair();
    ends.first.close(fine());
    CHECK(!ends.first && ends.first.fd() == -1);
    std::error_code ec;
    ends.first.close(ec);
    CHECK(ec == netfd::errc::closed);
    CHECK(ends.first.detach(ec) == -1);
    CHECK(ec == netfd::errc::closed);
}

static void a_close_wakes_a_reader_that_is_parked()
{
    const pair ends = make_pair();
    const in_thread reader([&] {
        std::error_code ec;
        char byte;
        CHECK(ends.first.read({&byte, 1}, ec) == 0);
        CHECK(ec == netfd::errc::closed);
    });
    await_parked(1);
    ends.first.close(fine());
}

static void a_close_wakes_a_fiber_that_accepts()
{
    const netfd::listener door = make_listener();
    const netfd::group all{fine()};
    all.go([&] {
        std::error_code ec;
        CHECK(!door.accept(ec));
        CHECK(ec == netfd::errc::closed);
    }, fine());
    await([] { return netfd::stats().parked == 1; });
    door.close(fine());
    all.wait(8s, nullptr, fine());
}

// The number is the object's until it is closed, and nobody's then.
static void readers_that_race_with_a_close_find_it_closed()
{
    for (int round = 0; round < 300; round++) {
        const pair ends = make_pair();
        std::atomic<bool> reads{false};
        const in_thread reader([&] {
            std::error_code ec;
            char byte;
            do {
                reads = true;
                CHECK(ends.first.read({&byte, 1}, ec) <= 1);
            } while (!ec);
            CHECK(ec == netfd::errc::closed);
        });
        await([&] { return reads.load(); });
        ends.second.write("x", fine());
        ends.first.close(fine());
    }
}

static void a_release_leaves_it_open_and_attached()
{
    pair ends = make_pair();
    netfd::conn again(ends.first.release());
    CHECK(!ends.first);
    CHECK(again.write("x", fine()) == 1);
}

static void a_detach_gives_it_back_open_and_wakes_who_is_inside()
{
    const pair ends = make_pair();
    const in_thread reader([&] {
        std::error_code ec;
        char byte;
        CHECK(ends.first.read({&byte, 1}, ec) == 0);
        CHECK(ec == netfd::errc::closed);
    });
    await_parked(1);
    const int fd = ends.first.detach(fine());
    CHECK(!ends.first && ::write(fd, "x", 1) == 1);
    CHECK(::close(fd) == 0);
}

static void what_cannot_be_attached_stays_the_callers()
{
    int pipes[2];
    CHECK(::pipe(pipes) == 0);
    std::error_code ec;
    CHECK(!netfd::attach(pipes[0], ec));
    CHECK(ec == std::errc::not_a_socket);
    CHECK(::close(pipes[0]) == 0 && ::close(pipes[1]) == 0);
}

static void a_socket_is_made_bound_listened_on_and_connected()
{
    const netfd::address any = netfd::address::parse("tcp", "127.0.0.1:0", fine());
    netfd::socket made = netfd::make_socket(AF_INET, SOCK_STREAM, 0, fine());
    made.listen(any, 0, fine());
    const netfd::listener door(std::move(made));
    const netfd::conn dialed(netfd::make_socket(AF_INET, SOCK_STREAM, 0, fine()));
    dialed.connect(door.local_addr(fine()), any, 8s, nullptr, fine());
    const netfd::conn accepted = door.accept(fine());
    CHECK(accepted.remote_addr(fine()) == dialed.local_addr(fine()));
}

static void a_wait_tells_what_is_ready()
{
    const pair ends = make_pair();
    CHECK(ends.first.wait(NETFD_READABLE | NETFD_WRITABLE, 8s, fine()) == NETFD_WRITABLE);
    std::error_code ec;
    CHECK(ends.first.wait(NETFD_READABLE, 0s, ec) == 0);
    CHECK(ec == netfd::errc::deadline_exceeded);
}
