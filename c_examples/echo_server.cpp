/*
 * echo_server: a fiber per connection, in C++, with closures.
 *
 * Shows netfd::serve(), whose handler is a lambda that captures what the server
 * counts; a deadline from std::chrono; calls that throw, where an error ends its
 * connection and is told, but not the server; and netfd::go(), here a fiber that
 * tells every second who is there, until the same token that Ctrl-C fires ends
 * it. Connections have 5 seconds to end then.
 *
 * Build: make -C c_examples; or, once that has built the library,
 *   c++ -std=c++17 -pthread -Iinclude c_examples/echo_server.cpp -o echo_server \
 *       -Lc_examples/build -lnetfd -Wl,-rpath,c_examples/build
 * Run: c_examples/build/echo_server_cpp [PORT [IDLE_SECONDS]]
 */
#include "netfd.hpp"

#include <array>
#include <csignal>
#include <iostream>

using namespace std::chrono_literals;

static netfd::cancel_source stop; // fired by Ctrl-C

struct counts {
    std::atomic<int> here{0}, served{0};
};

// Counts a connection for as long as its handler runs, however that ends.
class visit {
  public:
    explicit visit(counts &all) : all_(all) { ++all_.here; }
    ~visit() { --all_.here, ++all_.served; }

  private:
    counts &all_;
};

int main(int argc, char **argv)
try {
    for (const int number : {SIGINT, SIGTERM})
        std::signal(number, [](int) { stop.fire(); }); // async-signal-safe

    const std::string port = argc > 1 ? argv[1] : "0";
    const auto idle = std::chrono::seconds(argc > 2 ? std::stoi(argv[2]) : 60);
    const netfd::listener door = netfd::listen("tcp", "127.0.0.1:" + port);
    door.set_cancel(stop); // it alone, not the connections
    std::cout << "echo_server: listening on " << door.local_addr().text() << std::endl;

    counts all;
    netfd::group work;
    work.go([&] {
        std::error_code ec;
        for (int told = 0; ec != netfd::errc::canceled;) {
            door.wait(NETFD_WRITABLE, 1s, ec); // never so: a second, or the token
            if (const int served = all.served; served != told)
                std::clog << "echo_server: " << all.here << " here, " << (told = served) << " served\n";
        }
    });

    netfd::serve_options how;
    how.drain_timeout = 5s;
    how.on_exception = [](std::exception_ptr thrown) {
        try {
            std::rethrow_exception(thrown);
        } catch (const std::exception &error) {
            std::clog << error.what() << '\n'; // "read tcp A->B: i/o timeout"
        }
    };
    const auto serve = [&](const netfd::conn &peer) {
        const visit counted(all);
        std::array<char, 4096> buf; // on the fiber's own stack
        peer.set_deadline(idle);
        while (const std::size_t n = peer.read(buf)) { // 0: the other side is done
            peer.write({buf.data(), n});
            peer.set_deadline(idle);
        }
    };
    netfd::serve(door, serve, how);
    work.wait();
    std::cout << "echo_server: all ended, " << all.served << " served\n";
} catch (const std::exception &error) {
    std::cerr << error.what() << '\n';
    return 1;
}
