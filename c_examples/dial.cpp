/*
 * dial: a tiny netcat, by name, in C++ and without exceptions.
 *
 * Shows the calls that store a std::error_code, and how it is asked what went
 * wrong: in terms of std::errc, of netfd::errc, and in netfd's own words. A
 * deadline covers the lookup and all addresses of the name; Ctrl-C fires a token
 * that ends the dial, or what comes after. Both directions run at once: a thread
 * copies stdin to the connection, and tells the other side of its end.
 *
 * Build: make -C c_examples; or, once that has built the library,
 *   c++ -std=c++17 -fno-exceptions -pthread -Iinclude c_examples/dial.cpp -o dial \
 *       -Lc_examples/build -lnetfd -Wl,-rpath,c_examples/build
 * Run: c_examples/build/dial_cpp tcp example.org:80
 *      c_examples/build/dial_cpp unix /run/app.sock
 */
#include "netfd.hpp"

#include <array>
#include <csignal>
#include <cstdio>
#include <thread>
#include <unistd.h>

using namespace std::chrono_literals;

static netfd_cancel *fired_by_signals;

// Says what stopped the last call, and what kind of thing that is.
static int complain(const std::error_code &ec)
{
    const char *kind = ec == netfd::errc::no_such_host        ? "no such name"
                       : ec == netfd::errc::canceled          ? "interrupted"
                       : ec == std::errc::timed_out           ? "too slow" // netfd's or the kernel's
                       : ec == std::errc::connection_refused  ? "nobody listens there"
                       : ec.category() == netfd::category()   ? "netfd says so"
                                                              : "the kernel says so";
    std::fprintf(stderr, "%s (%s)\n", netfd::last_error_text().c_str(), kind);
    return 1;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        std::fprintf(stderr, "usage: dial NETWORK ADDRESS, as in: dial tcp example.org:80\n");
        return 2;
    }
    std::error_code ec;
    netfd::cancel_source stop(ec);
    if (ec)
        return complain(ec);
    fired_by_signals = stop.get();
    std::signal(SIGINT, [](int) { netfd_cancel_fire(fired_by_signals); });

    netfd::dial_options how;
    how.deadline = 10s;
    how.cancel = &stop;
    const netfd::conn there = netfd::dial(argv[1], argv[2], how, ec);
    if (!ec)
        there.set_cancel(stop, ec);
    if (ec)
        return complain(ec);

    int failed = 0;
    std::thread sender([&] {
        std::error_code error;
        there.copy_from(STDIN_FILENO, -1, error);
        if (!error)
            there.shutdown(SHUT_WR, error); // there is no more
        if (error && error != netfd::errc::closed)
            failed = complain(error);
    });
    std::array<char, 16384> buf;
    while (const std::size_t n = there.read(buf, ec))
        if (std::fwrite(buf.data(), 1, n, stdout) != n)
            break;
    const int lost = ec ? complain(ec) : std::fflush(stdout) != 0;
    there.close(ec); // whatever stdin may still have
    sender.join();
    fired_by_signals = nullptr; // which ends now
    return lost || failed;
}
