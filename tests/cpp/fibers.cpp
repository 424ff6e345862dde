// Fibers: who owns a closure, what becomes of its exceptions, groups, serving.
#include "check.hpp"

static void a_fiber_runs_its_closure_and_ends_it_once()
{
    std::atomic<bool> ran{false};
    netfd::go([&ran, held = token()] { ran = netfd::in_fiber() && held.holds; }, fine());
    await([] { return token::ended == 1; });
    CHECK(ran && token::alive == 0);
    CHECK(!netfd::in_fiber());
}

static void a_closure_may_be_one_that_only_moves_or_one_that_is_copied()
{
    std::atomic<int> sum{0};
    const auto copied = [&sum] { sum += 2; };
    netfd::go([&sum, number = std::make_unique<int>(1)] { sum += *number; }, fine());
    netfd::go(copied, fine());
    await([&] { return sum == 3; });
}

static void a_fiber_that_cannot_start_ends_its_closure_once_and_tells_why()
{
    std::error_code ec;
    fails::go = true;
    netfd::go([held = token()] { NEVER("it runs"); }, ec);
    CHECK(ec == std::errc::resource_unavailable_try_again);
    CHECK(token::alive == 0 && token::ended == 1);
}

static void without_memory_a_closure_ends_once_and_nothing_has_run()
{
    std::error_code ec;
    fails::memory = true;
    netfd::go([held = token()] { NEVER("it runs"); }, ec);
    CHECK(ec == std::errc::not_enough_memory);
    CHECK(token::alive == 0 && token::ended == 1);
}

static void fibers_sleep_and_let_others_run()
{
    const netfd::group all{fine()};
    std::atomic<int> turns{0};
    for (int at = 0; at < 10; at++)
        all.go([&] {
            netfd::yield();
            netfd::sleep(1ms);
            ++turns;
        }, fine());
    all.wait(8s, nullptr, fine());
    CHECK(turns == 10);
}

static void a_group_waits_until_closures_have_ended()
{
    for (int round = 0; round < 200; round++) {
        const netfd::group all{fine()};
        token::ended = 0;
        for (int at = 0; at < 5; at++)
            all.go([held = token()] { netfd::yield(); }, fine());
        all.wait(8s, nullptr, fine());
        CHECK(token::ended == 5);
    }
}

static void a_group_whose_fiber_cannot_start_waits_for_nothing()
{
    const netfd::group all{fine()};
    std::error_code ec;
    fails::go = true;
    all.go([held = token()] { NEVER("it runs"); }, ec);
    CHECK(ec == std::errc::resource_unavailable_try_again);
    CHECK(token::alive == 0 && token::ended == 1);
    all.wait({}, nullptr, fine());
}

static void a_group_counts_and_gives_up_at_a_deadline_or_a_source()
{
    const netfd::group all{fine()};
    const netfd::cancel_source stop{fine()};
    std::error_code ec;
    all.add(2, fine());
    all.wait(1ms, nullptr, ec);
    CHECK(ec == netfd::errc::deadline_exceeded);
    stop.fire();
    all.wait({}, &stop, ec);
    CHECK(ec == netfd::errc::canceled);
    all.done(fine());
    all.done(fine());
    all.done(ec);
    CHECK(ec == std::errc::invalid_argument);
    all.wait({}, nullptr, fine());
}

static void a_group_that_was_moved_from_is_none()
{
    netfd::group all{fine()};
    const netfd::group taken = std::move(all);
    std::error_code ec;
    all.add(1, ec);
    CHECK(ec == std::errc::bad_address);
    taken.wait({}, nullptr, fine());
}

static void what_blocks_returns_what_it_returns()
{
    const netfd::group all{fine()};
    const auto blocks = [] {
        CHECK(netfd::block([] { return 5; }, fine()) == 5);
        CHECK(**netfd::block([] { return std::make_unique<int>(6); }, fine()) == 6);
        int ran = 0;
        netfd::block([&] { ran += 1 + netfd::in_fiber(); }, fine());
        CHECK(ran == 1);
    };
    blocks();
    all.go(blocks, fine());
    all.wait(8s, nullptr, fine());
}

static void what_could_not_block_has_not_run()
{
    std::error_code ec;
    fails::block = true;
    CHECK(!netfd::block([] { return 5; }, ec));
    CHECK(ec == std::errc::resource_unavailable_try_again);
    fails::block = true;
    netfd::block([] { NEVER("it runs"); }, ec);
    CHECK(ec == std::errc::resource_unavailable_try_again);
}

#ifdef __cpp_exceptions
static void what_blocks_throws_what_it_throws()
{
    const netfd::group all{fine()};
    const auto blocks = [] {
        std::error_code ec;
        try {
            netfd::block([]() -> int { throw std::string("thrown"); }, ec);
            NEVER("it throws");
        } catch (const std::string &thrown) {
            CHECK(thrown == "thrown");
        }
        try {
            netfd::block([] { throw 7; });
            NEVER("it throws");
        } catch (int thrown) {
            CHECK(thrown == 7);
        }
    };
    blocks();
    all.go(blocks);
    all.wait(8s);
}
#endif

// A server that runs until its block ends, and how it ended.
template <class F> class in_service {
  public:
    explicit in_service(F handler, netfd::serve_options how = {})
        : how_(std::move(how)), stop_(fine()), server_([this, handler]() mutable {
              netfd::serve(door, handler, how_, ended);
          })
    {
        door.set_cancel(stop_, fine());
    }
    ~in_service()
    {
        stop();
        if (server_.joinable())
            server_.join();
    }

    void stop() { stop_.fire(); }
    void join() { server_.join(); }

    netfd::listener door = make_listener();
    std::error_code ended = netfd::errc::panic;

  private:
    netfd::serve_options how_;
    netfd::cancel_source stop_;
    std::thread server_;
};

static void echo(const netfd::conn &peer)
{
    std::error_code ec;
    std::array<char, 64> buf;
    while (const std::size_t n = peer.read(buf, ec))
        peer.write({buf.data(), n}, ec);
}

static void echoes(const netfd::conn &peer)
{
    char buf[4];
    CHECK(peer.write("echo", fine()) == 4);
    CHECK(peer.read_full(buf, fine()) == 4 && std::string_view(buf, 4) == "echo");
}

static void a_server_has_a_fiber_for_each_connection_and_ends_without_an_error()
{
    in_service server(echo);
    {
        const netfd::conn one = dial(server.door);
        const netfd::conn two = dial(server.door);
        echoes(two);
        echoes(one);
    }
    server.stop();
    server.join();
    CHECK(!server.ended);
}

static void a_server_whose_listener_is_closed_says_so()
{
    in_service server(echo);
    await_parked(1);
    server.door.close(fine());
    server.join();
    CHECK(server.ended == netfd::errc::closed);
}

static void a_connection_ends_with_its_handler()
{
    in_service server([](const netfd::conn &peer) { peer.write("bye", fine()); });
    const netfd::conn one = dial(server.door);
    char buf[8];
    CHECK(one.read_full({buf, 3}, fine()) == 3 && one.read(buf, fine()) == 0);
}

static void a_handler_may_close_its_connection_before()
{
    in_service server([](const netfd::conn &peer) {
        peer.close(fine());
        netfd::sleep(1ms);
    });
    char byte;
    for (int round = 0; round < 20; round++)
        CHECK(dial(server.door).read({&byte, 1}, fine()) == 0);
}

static void a_handler_may_keep_its_connection()
{
    netfd::conn kept;
    std::atomic<bool> is_kept{false};
    in_service server([&](const netfd::conn &peer) {
        kept = netfd::conn(netfd::attach(peer.detach(fine()), fine()));
        is_kept = true;
    });
    const netfd::conn one = dial(server.door);
    await([&] { return is_kept.load(); });
    server.stop();
    server.join();
    CHECK(kept.write("kept", fine()) == 4);
    char buf[4];
    CHECK(one.read_full(buf, fine()) == 4);
}

static void what_is_left_when_the_time_is_up_is_closed()
{
    std::atomic<int> closed{0};
    netfd::serve_options how;
    how.drain_timeout = 1ms;
    in_service server([&](const netfd::conn &peer) {
        std::error_code ec;
        char byte;
        CHECK(peer.read({&byte, 1}, ec) == 0);
        closed += ec == netfd::errc::closed;
    }, how);
    const netfd::conn one = dial(server.door);
    await([] { return netfd::stats().fibers > 0 && netfd::stats().parked == 2; });
    server.stop();
    server.join();
    CHECK(closed == 1);
}

// Takes a number as soon as it is free, for another socket.
static netfd::conn take(int number, const netfd::conn &like)
{
    int taken = -1;
    for (const netfd::deadline limit = 8s; taken != number; netfd::sleep(100us)) {
        CHECK(::netfd_now() < limit.ns());
        if (taken >= 0)
            CHECK(::close(taken) == 0);
        taken = ::fcntl(like.fd(), F_DUPFD_CLOEXEC, number);
    }
    return netfd::conn(netfd::attach(taken, fine()));
}

static void a_handler_whose_connection_was_closed_touches_no_other()
{
    const pair ends = make_pair();
    netfd::conn other;
    netfd::serve_options how;
    how.drain_timeout = 1ms;
    in_service server([&](const netfd::conn &peer) {
        const int number = peer.fd();
        std::error_code ec;
        char byte;
        CHECK(peer.read({&byte, 1}, ec) == 0 && ec == netfd::errc::closed);
        other = take(number, ends.first);
    }, how);
    const netfd::conn one = dial(server.door);
    await([] { return netfd::stats().fibers > 0 && netfd::stats().parked == 2; });
    server.stop();
    server.join();
    CHECK(other.local_addr(fine()).family() == AF_UNIX);
}

static void what_serve_is_told_reaches_it()
{
    netfd::serve_options how;
    how.max_connections = -1;
    std::error_code ec;
    const netfd::listener door = make_listener();
    netfd::serve(door, echo, how, ec);
    CHECK(ec == std::errc::invalid_argument);
}

#ifdef __cpp_exceptions
static void an_error_that_leaves_a_handler_ends_its_connection_alone()
{
    in_service server([](const netfd::conn &peer) {
        peer.set_deadline(0s);
        char byte;
        (void)peer.read({&byte, 1});
    });
    char byte;
    for (int round = 0; round < 20; round++)
        CHECK(dial(server.door).read({&byte, 1}, fine()) == 0);
    server.stop();
    server.join();
    CHECK(!server.ended);
}

static void exceptions_of_handlers_are_told()
{
    std::atomic<int> errors{0}, others{0};
    netfd::serve_options how;
    how.on_exception = [&](std::exception_ptr thrown) {
        try {
            std::rethrow_exception(thrown);
        } catch (const netfd::error &) {
            ++errors;
        } catch (int) {
            ++others;
        }
    };
    in_service server([](const netfd::conn &peer) {
        char byte;
        if (peer.read({&byte, 1}) == 0)
            throw 7;
        (void)peer.read_full(std::array<char, 8>());
    }, how);
    char byte;
    for (int round = 0; round < 20; round++) {
        const netfd::conn one = dial(server.door);
        if (round % 2 != 0)
            one.write("xy", fine());
        one.shutdown(SHUT_WR, fine());
        CHECK(one.read({&byte, 1}, fine()) == 0);
    }
    await([&] { return errors == 10 && others == 10; });
}

// These end the process.
static void an_exception_that_leaves_a_fiber_terminates()
{
    netfd::go([] { throw 7; });
    std::this_thread::sleep_for(8s);
}

static void an_exception_that_leaves_a_handler_terminates()
{
    in_service server([](const netfd::conn &) { throw 7; });
    const netfd::conn one = dial(server.door);
    std::this_thread::sleep_for(8s);
}
#endif
