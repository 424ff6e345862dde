// What the scenarios of the C++ header share: checks that tell their line,
// pairs of connections, callers that are going to park.
#ifndef CHECK_HPP
#define CHECK_HPP

#include "netfd.hpp"

#include <array>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <string_view>
#include <sys/un.h>
#include <thread>
#include <unistd.h>

using namespace std::chrono_literals;

// Ends the process with a message unless something is so.
#define CHECK(so)                                                                \
    do {                                                                         \
        if (!(so))                                                               \
            failed(__FILE__, __LINE__, #so);                                     \
    } while (0)

// Ends it where something must not come to pass.
#define NEVER(what) failed(__FILE__, __LINE__, "never: " what)

[[noreturn]] inline void failed(const char *file, int line, const char *what)
{
    std::fprintf(stderr, "%s:%d: %s (last failure: %s)\n", file, line, what, netfd::last_error_text().c_str());
    std::_Exit(1);
}

// An error_code for a call that is to succeed: it is looked at when it ends.
class fine {
  public:
    fine() = default;
    fine(const fine &) = delete;
    fine &operator=(const fine &) = delete;
    ~fine()
    {
        if (ec_)
            failed("an error_code", 0, ec_.message().c_str());
    }
    operator std::error_code &() { return ec_; }

  private:
    std::error_code ec_;
};

using pair = std::pair<netfd::conn, netfd::conn>;

inline pair make_pair(int type = SOCK_STREAM)
{
    int fds[2];
    CHECK(::socketpair(AF_UNIX, type, 0, fds) == 0);
    return {netfd::conn(netfd::attach(fds[0], fine())), netfd::conn(netfd::attach(fds[1], fine()))};
}

inline netfd::listener make_listener()
{
    return netfd::listen("tcp", "127.0.0.1:0", {}, fine());
}

inline std::string where(const netfd::socket &door)
{
    return door.local_addr(fine()).text();
}

inline netfd::conn dial(const netfd::listener &door)
{
    return netfd::dial("tcp", where(door), {}, fine());
}

inline std::uint64_t open_fds()
{
    return netfd::stats().open_fds;
}

// Waits until something is so, 8 s at most.
template <class F> void await(F &&is_so)
{
    for (const netfd::deadline limit = 8s; !is_so(); std::this_thread::sleep_for(100us))
        CHECK(::netfd_now() < limit.ns());
}

inline void await_parked(std::uint64_t n)
{
    await([&] { return netfd::stats().parked == n; });
}

// A thread that is joined at the end of its block.
template <class F> class in_thread {
  public:
    explicit in_thread(F body) : thread_(std::move(body)) {}
    ~in_thread() { thread_.join(); }

  private:
    std::thread thread_;
};

// Counts how many closures there are that hold one, and how many there were.
struct token {
    static inline std::atomic<int> alive{0};
    static inline std::atomic<int> ended{0};

    token() { ++alive; }
    token(token &&from) noexcept : holds(std::exchange(from.holds, false)) {}
    token(const token &) = delete;
    token &operator=(token &&) = delete;
    ~token()
    {
        if (holds) {
            --alive;
            ++ended;
        }
    }

    bool holds = true;
};

// What the library would say where there is no memory or no thread: the next
// call of netfd_go, netfd_block or operator new(nothrow) fails.
namespace fails {
inline std::atomic<bool> go{false};
inline std::atomic<bool> block{false};
inline std::atomic<bool> memory{false};
} // namespace fails

#endif
