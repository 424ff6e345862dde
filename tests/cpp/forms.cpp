// The forms of a call: which there are, and that each of them reaches C.
#include "check.hpp"

// Whether there is a throwing form, which takes a buffer and nothing else.
template <class T, class = void> struct throws : std::false_type {};
template <class T> struct throws<T, std::void_t<decltype(std::declval<T>().read(netfd::bytes()))>> : std::true_type {};

#ifdef __cpp_exceptions
static_assert(throws<netfd::conn>::value);

static void calls_throw()
{
    const netfd::cancel_source stop;
    const netfd::group all;
    const netfd::listener door = netfd::listen("tcp", "127.0.0.1:0");
    door.set_cancel(stop);
    std::thread server([&] {
        netfd::serve(door, [](const netfd::conn &peer) {
            std::array<char, 64> buf;
            while (const std::size_t n = peer.read(buf))
                peer.write({buf.data(), n});
        });
    });
    const netfd::conn one = netfd::dial("tcp", door.local_addr().text());
    one.set_deadline(8s);
    one.set_read_deadline(8s);
    one.set_write_deadline(8s);
    one.clear_cancel();
    one.writev({"a", "bc"});
    char buf[8];
    CHECK(one.read_full({buf, 3}) == 3);
    one.write("xy");
    CHECK(one.wait(NETFD_READABLE) == NETFD_READABLE);
    CHECK(one.readv({{buf, 1}, {buf + 1, 1}}) > 0);
    CHECK(one.remote_addr() == door.local_addr());
    one.close();
    stop.fire();
    server.join();

    all.add();
    all.done();
    all.go([] { netfd::yield(); });
    all.wait(8s);
    netfd::go([] {});
    CHECK(netfd::block([] { return std::make_unique<int>(5); }) != nullptr);
    netfd::block([] {});
    CHECK(netfd::address::parse("tcp", ":80").port() == 80);
    CHECK(netfd::resolve("tcp", "127.0.0.1:80").size() == 1);
    CHECK(netfd::listen_fds().empty());
    const netfd::socket made = netfd::make_socket(AF_INET, SOCK_STREAM);
    made.listen(netfd::address::parse("tcp", "127.0.0.1:0"));
    const netfd::conn raw(netfd::make_socket(AF_INET, SOCK_STREAM));
    raw.connect(made.local_addr());
    const netfd::listener unattached(made.detach());
    CHECK(netfd::attach(unattached.fd()).release() == unattached.fd());
    const netfd::conn accepted = unattached.accept();
    const netfd::packet_conn packets = netfd::listen_packet("udp", "127.0.0.1:0");
    packets.send_to("x", packets.local_addr());
    netfd::address from;
    CHECK(packets.recv_from(buf, from) == 1);

    const pair ends = make_pair();
    ends.first.send_fds({0}, "x");
    int fds[1];
    CHECK(ends.second.recv_fds(fds, {buf, 1}).fds == 1 && ::close(fds[0]) == 0);
    CHECK(ends.first.peer_cred().pid == ::getpid());
    ends.first.shutdown(SHUT_WR);
    CHECK(ends.second.copy_from(ends.second.fd()) == 0);
    try {
        CHECK(ends.second.sendfile(-1) == 0);
        NEVER("it throws");
    } catch (const netfd::error &error) {
        CHECK(error.code() == std::errc::bad_file_descriptor);
    }
}

static void without_memory_sources_and_groups_throw()
{
    for (int which = 0; which < 2; which++) {
        fails::memory = true;
        try {
            if (which == 0)
                const netfd::cancel_source none;
            else
                const netfd::group none;
            NEVER("it throws");
        } catch (const std::system_error &error) {
            CHECK(error.code() == std::errc::not_enough_memory);
        }
    }
}
#else
static_assert(!throws<netfd::conn>::value, "without exceptions there is no throwing form");
#endif

static void without_memory_there_is_no_source_and_no_group()
{
    std::error_code ec;
    fails::memory = true;
    CHECK(netfd::cancel_source(ec).get() == nullptr);
    CHECK(ec == std::errc::not_enough_memory);
    fails::memory = true;
    CHECK(netfd::group(ec).get() == nullptr);
    CHECK(ec == std::errc::not_enough_memory);
}

#ifdef __cpp_lib_expected
static_assert(std::is_same_v<decltype(std::declval<netfd::conn>().try_read({})), std::expected<std::size_t, std::error_code>>);

static void calls_give_what_is_expected()
{
    const netfd::cancel_source stop{fine()};
    const netfd::group all{fine()};
    const netfd::result<netfd::listener> door = netfd::try_listen("tcp", "127.0.0.1:0");
    CHECK(door && door->try_set_cancel(stop) && door->try_clear_cancel());
    const netfd::result<netfd::conn> one = netfd::try_dial("tcp", door->try_local_addr()->text());
    const netfd::result<netfd::conn> two = door->try_accept();
    CHECK(one && two && one->try_set_deadline(8s) && two->try_set_read_deadline(8s) && two->try_set_write_deadline(8s));
    char buf[8];
    CHECK(one->try_write("abc").value_or(0) == 3 && two->try_read_full({buf, 2}).value_or(0) == 2);
    CHECK(two->try_wait(NETFD_READABLE).value_or(0) == NETFD_READABLE && two->try_read(buf).value_or(0) == 1);
    CHECK(one->try_writev({"a", "b"}).value_or(0) == 2 && two->try_readv({{buf, 1}, {buf, 1}}).value_or(0) == 2);
    CHECK(*one->try_remote_addr() == *door->try_local_addr());
    CHECK(one->try_shutdown(SHUT_WR) && two->try_copy_from(two->fd()).value_or(9) == 0);
    CHECK(one->try_close() && one->try_close().error() == netfd::errc::closed);
    CHECK(one->try_read(buf).error() == netfd::errc::closed && !one->try_detach());
    CHECK(two->try_sendfile(-1).error() == std::errc::bad_file_descriptor && !two->try_peer_cred());

    CHECK(netfd::try_dial("pigeon", "x").error() == netfd::errc::unknown_network);
    CHECK(netfd::address::try_parse("tcp", ":80")->port() == 80 && !netfd::address::try_parse("tcp", "x"));
    CHECK(netfd::try_resolve("tcp", "127.0.0.1:80")->size() == 1 && netfd::try_listen_fds()->empty());
    const netfd::result<netfd::socket> made = netfd::try_make_socket(AF_INET, SOCK_STREAM);
    CHECK(made->try_listen(netfd::address()) && netfd::try_attach(made->fd())->release() == made->fd());
    const netfd::socket raw = netfd::try_make_socket(AF_INET, SOCK_STREAM).value();
    CHECK(raw.try_connect(*made->try_local_addr()));
    const netfd::result<netfd::packet_conn> packets = netfd::try_listen_packet("udp", "127.0.0.1:0");
    netfd::address from;
    CHECK(packets->try_send_to("x", *packets->try_local_addr()) && packets->try_recv_from(buf, from).value_or(0) == 1);
    CHECK(packets->try_sendmmsg({}).value_or(9) == 0 && packets->try_recvmmsg({}).value_or(9) == 0);
    ::msghdr nothing{};
    CHECK(!one->try_sendmsg(nothing) && !one->try_recvmsg(nothing));
    int fds[1];
    const pair ends = make_pair();
    CHECK(ends.first.try_send_fds({0}, "x") && ends.second.try_recv_fds(fds, buf)->fds == 1 && ::close(fds[0]) == 0);

    CHECK(all.try_add() && all.try_done() && all.try_go([] {}) && all.try_wait(8s));
    CHECK(netfd::try_go([] {}));
    CHECK(*netfd::try_block([] { return 5; }) == 5 && netfd::try_block([] {}));
    CHECK(**netfd::try_block([] { return std::make_unique<int>(5); }) == 5);
    stop.fire();
    CHECK(door->try_set_cancel(stop) && netfd::try_serve(*door, [](const netfd::conn &) {}));
}

static void what_is_not_so_is_unexpected()
{
    fails::block = true;
    CHECK(netfd::try_block([] { return 5; }).error() == std::errc::resource_unavailable_try_again);
    fails::block = true;
    CHECK(!netfd::try_block([] {}));
    fails::go = true;
    CHECK(netfd::try_go([held = token()] {}).error() == std::errc::resource_unavailable_try_again);
    CHECK(token::alive == 0 && token::ended == 1);
}
#endif
