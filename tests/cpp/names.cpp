// Addresses as values, and sockets by name.
#include "check.hpp"

#include <future>

static void an_address_is_a_value()
{
    const netfd::address v4 = netfd::address::parse("tcp", "127.0.0.1:80", fine());
    const netfd::address v6 = netfd::address::parse("udp", "[::1]:443", fine());
    CHECK(v4.text() == "127.0.0.1:80" && v4.port() == 80 && v4.family() == AF_INET);
    CHECK(v6.text() == "[::1]:443" && v6.port() == 443 && v6.family() == AF_INET6);
    const netfd::address copy = v4;
    CHECK(copy == v4 && v4 != v6 && netfd::address(v4.data(), v4.size()) == v4);
}

static void an_address_of_nothing_is_none()
{
    const netfd::address none;
    CHECK(none.text().empty() && none.port() == 0 && none.family() == AF_UNSPEC);
    CHECK(none == netfd::address(none.data(), none.size()));
}

static void a_unix_address_has_a_path_and_no_port()
{
    const netfd::address path = netfd::address::parse("unix", "/run/app.sock", fine());
    const netfd::address abstract = netfd::address::parse("unix", "@app", fine());
    CHECK(path.text() == "/run/app.sock" && abstract.text() == "@app" && path.port() == 0);
}

static void what_is_no_address_is_none()
{
    std::error_code ec;
    CHECK(netfd::address::parse("tcp", "not one", ec) == netfd::address());
    CHECK(ec == netfd::errc::bad_address);
}

static void hosts_are_resolved_to_addresses_of_their_family()
{
    const std::vector<netfd::address> v4 = netfd::resolve("tcp", "127.0.0.1:80", 8s, nullptr, fine());
    CHECK(v4.size() == 1 && v4[0].text() == "127.0.0.1:80" && v4[0].size() == sizeof(::sockaddr_in));
    const std::vector<netfd::address> v6 = netfd::resolve("udp", "[::1]:80", {}, nullptr, fine());
    CHECK(v6.size() == 1 && v6[0].text() == "[::1]:80" && v6[0].size() == sizeof(::sockaddr_in6));
    const std::vector<netfd::address> local = netfd::resolve("unix", "@app", {}, nullptr, fine());
    CHECK(local.size() == 1 && local[0] == netfd::address::parse("unix", "@app", fine()));
    std::error_code ec;
    CHECK(netfd::resolve("tcp", "127.0.0.1:80", {}, nullptr, ec).size() == 1 && !ec);
    CHECK(netfd::resolve("tcp", "nothing", {}, nullptr, ec).empty());
    CHECK(ec == netfd::errc::bad_address);
}

static void both_ends_know_their_addresses()
{
    const netfd::listener door = make_listener();
    const netfd::conn dialed = dial(door);
    const netfd::conn accepted = door.accept(fine());
    CHECK(accepted.remote_addr(fine()) == dialed.local_addr(fine()));
    CHECK(dialed.remote_addr(fine()) == door.local_addr(fine()));
}

static void names_are_literals_and_strings()
{
    const std::string network = "tcp";
    const netfd::listener door = netfd::listen(network, std::string("127.0.0.1:") + "0", {}, fine());
    CHECK(door);
}

static void a_dial_gives_up_at_its_deadline()
{
    const netfd::listener door = make_listener();
    netfd::dial_options how;
    how.deadline = 0s;
    std::error_code ec;
    CHECK(!netfd::dial("tcp", where(door), how, ec));
    CHECK(ec == netfd::errc::deadline_exceeded);
}

static void a_dial_obeys_its_cancel_source()
{
    const netfd::listener door = make_listener();
    const netfd::cancel_source stop{fine()};
    stop.fire();
    netfd::dial_options how;
    how.cancel = &stop;
    std::error_code ec;
    CHECK(!netfd::dial("tcp", where(door), how, ec));
    CHECK(ec == netfd::errc::canceled);
}

static int option(const netfd::socket &of, int level, int name)
{
    int value = -1;
    ::socklen_t len = sizeof value;
    CHECK(::getsockopt(of.fd(), level, name, &value, &len) == 0);
    return value;
}

static void options_reach_the_socket()
{
    netfd::listen_options listening;
    listening.reuse_port = true;
    const netfd::listener door = netfd::listen("tcp", "127.0.0.1:0", listening, fine());
    CHECK(option(door, SOL_SOCKET, SO_REUSEPORT) == 1);
    netfd::dial_options how;
    how.nodelay = false;
    how.keepalive_idle = -1s;
    how.local_address = "127.0.0.2:0";
    const netfd::conn made = netfd::dial("tcp", where(door), how, fine());
    CHECK(option(made, IPPROTO_TCP, 1 /* TCP_NODELAY */) == 0 && option(made, SOL_SOCKET, SO_KEEPALIVE) == 0);
    CHECK(made.local_addr(fine()).text().rfind("127.0.0.2:", 0) == 0);
    const netfd::conn plain = dial(door);
    CHECK(option(plain, IPPROTO_TCP, 1) == 1 && option(plain, SOL_SOCKET, SO_KEEPALIVE) == 1);
}

static void control_sees_the_socket_before_it_is_used()
{
    netfd::listen_options listening;
    listening.control = [](int fd, const char *network, const char *address, std::error_code &) {
        int on = 1;
        CHECK(std::string_view(network) == "tcp4" && std::string_view(address) == "127.0.0.1:0");
        CHECK(::setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &on, sizeof on) == 0);
    };
    const netfd::listener door = netfd::listen("tcp", "127.0.0.1:0", listening, fine());
    CHECK(option(door, SOL_SOCKET, SO_BROADCAST) == 1);
}

static void an_error_of_control_is_the_calls_whatever_its_category()
{
    const std::uint64_t before = open_fds();
    std::error_code ec;
    netfd::dial_options how;
    how.control = [](int, const char *, const char *, std::error_code &error) {
        error = std::make_error_code(std::future_errc::no_state);
    };
    CHECK(!netfd::dial("tcp", "127.0.0.1:1", how, ec));
    CHECK(ec == std::future_errc::no_state);
    CHECK(open_fds() == before);
}

#ifdef __cpp_exceptions
static void an_exception_of_control_leaves_the_call_around_it()
{
    const std::uint64_t before = open_fds();
    std::error_code ec;
    netfd::dial_options how;
    how.control = [](int, const char *, const char *, std::error_code &) { throw 7; };
    try {
        (void)netfd::dial("tcp", "127.0.0.1:1", how, ec);
        NEVER("it throws");
    } catch (int thrown) {
        CHECK(thrown == 7);
    }
    netfd::listen_options listening;
    listening.control = how.control;
    try {
        (void)netfd::listen("tcp", "127.0.0.1:0", listening);
        NEVER("it throws");
    } catch (int thrown) {
        CHECK(thrown == 7);
    }
    CHECK(open_fds() == before);
}
#endif

static void a_unix_listeners_file_goes_with_it()
{
    char folder[] = "/tmp/netfd-cpp-XXXXXX";
    CHECK(::mkdtemp(folder) != nullptr);
    const std::string path = std::string(folder) + "/socket";
    {
        const netfd::listener door = netfd::listen("unix", path, {}, fine());
        CHECK(::access(path.c_str(), F_OK) == 0 && netfd::dial("unix", path, {}, fine()));
    }
    CHECK(::access(path.c_str(), F_OK) != 0 && ::rmdir(folder) == 0);
}

static void nothing_passed_by_systemd_is_no_socket()
{
    CHECK(netfd::listen_fds(nullptr, fine()).empty());
}

// A socket is passed as number 3, as systemd does it.
static void what_systemd_passed_is_taken_by_name()
{
    netfd::listener made = make_listener();
    const std::string at = where(made);
    const int number = made.detach(fine());
    CHECK(number == 3 || ::dup2(number, 3) == 3);
    ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
    ::setenv("LISTEN_FDS", "1", 1);
    ::setenv("LISTEN_FDNAMES", "web", 1);
    CHECK(netfd::listen_fds("other", fine()).empty());
    std::vector<netfd::socket> passed = netfd::listen_fds("web", fine());
    CHECK(passed.size() == 1);
    const netfd::listener door(std::move(passed[0]));
    CHECK(where(door) == at);
}
