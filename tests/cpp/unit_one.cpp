// The unit that knows exceptions: they find their way, whatever the other one
// has made of the same templates.
#include "units.hpp"

#include <cstdio>
#include <stdexcept>

#define CHECK(so)                                                                \
    do {                                                                         \
        if (!(so)) {                                                             \
            std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #so);        \
            return 1;                                                            \
        }                                                                        \
    } while (0)

static void throws(const netfd::conn &peer)
{
    char byte;
    peer.set_deadline(std::chrono::seconds(0));
    (void)peer.read({&byte, 1});
}

static int value_of(const number &from)
{
    if (from.value < 0)
        throw std::runtime_error("negative");
    return from.value;
}

int main()
{
    const netfd::listener door = netfd::listen("tcp", "127.0.0.1:0");
    const netfd::cancel_source stop;
    door.set_cancel(stop);

    CHECK(&two::category() == &netfd::category());
    CHECK(two::refused() == netfd::errc::closed);
    CHECK(two::read_from(netfd::conn()) == netfd::errc::closed);

    const netfd::group all;
    int ended = 0;
    all.go([&] {
        netfd::serve(door, handler(throws));
        ended++;
    });
    char byte;
    CHECK(netfd::dial("tcp", door.local_addr().text()).read({&byte, 1}) == 0);
    stop.fire();
    all.wait(std::chrono::seconds(8));
    CHECK(ended == 1);
    CHECK(two::all_calls(door, throws) == 5);

    CHECK(netfd::block(number{6}) == 6);
    try {
        netfd::block([] { return value_of(number{-1}); });
        return 2;
    } catch (const std::runtime_error &) {
    }
    netfd::dial_options how;
    how.control = [](int, const char *, const char *, std::error_code &) { throw 7; };
    try {
        (void)netfd::dial("tcp", "127.0.0.1:1", how);
        return 2;
    } catch (int) {
    }
    return 0;
}
