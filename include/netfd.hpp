/*
 * netfd: the socket layer of Go's net package, for C++17 and later.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 *     netfd::listener door = netfd::listen("tcp", "localhost:7777");
 *     netfd::serve(door, [](const netfd::conn &peer) {
 *         std::array<char, 4096> buf;
 *         while (std::size_t n = peer.read(buf))
 *             peer.write({buf.data(), n});
 *     });
 *
 * A header over netfd.h and nothing else: an object owns a descriptor or a
 * token, a function is one call of the C function that its comment names, whose
 * comment in netfd.h says all about it (parking, turns, which errors), and
 * link with -lnetfd. What C++ adds is said here.
 *
 * Forms. Each call that can fail comes in three:
 *
 *     n = peer.read(buf);                throws netfd::error, a std::system_error
 *     n = peer.read(buf, ec);            stores a std::error_code, cleared on success
 *     peer.try_read(buf).value_or(0);    netfd::result<T>: std::expected<T, std::error_code>
 *
 * The second takes every argument, the others have defaults. The first is not
 * there under -fno-exceptions, the third where the library has no
 * std::expected. None of them needs RTTI.
 *
 * Errors. What the kernel said is in std::system_category() and equals
 * std::errc, as in `ec == std::errc::connection_refused`; what netfd said is
 * in netfd::category(), as in `ec == netfd::errc::closed`.
 *
 * The end of a stream is no error: read() returns 0. read_full(), which wants
 * a number of bytes, returns 0 where the stream ends before the first of them,
 * and fails with errc::unexpected_end where it ends in between.
 *
 * Threads. `const` is what threads and fibers may share: every call on a
 * socket is const, close() too, and may be made from any of them at any time.
 * Only what makes the object own something else (a move, an assignment, its
 * end) is the business of one. A call on an object that owns nothing, because
 * it was closed, detached or moved from, fails with errc::closed.
 *
 * Exceptions of the caller's own: see go(), serve(), block() and `control`.
 */
#ifndef NETFD_HPP
#define NETFD_HPP

// C has a struct and a function netfd_stats, as it has stat.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"
#include "netfd.h"
#pragma GCC diagnostic pop

#include <atomic>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <functional>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <memory>
#include <netinet/in.h>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#if __has_include(<version>)
#include <version>
#endif
#ifdef __cpp_lib_expected
#include <expected>
#endif

namespace netfd {

/* ---- Errors -------------------------------------------------------------- */

/**
 * What netfd itself says, in netfd::category(); the values are netfd.h's. The
 * first equals std::errc::timed_out, as the kernel's ETIMEDOUT does, and
 * `canceled` std::errc::operation_canceled; the others equal no std::errc.
 */
enum class errc : int {
    deadline_exceeded = NETFD_EDEADLINE, /**< of the socket, or of the call */
    closed = NETFD_ECLOSED,              /**< or detached, before the call or meanwhile */
    canceled = NETFD_ECANCELED,          /**< a cancel_source has fired */
    unknown_network = NETFD_ENETWORK,    /**< or not one for this function */
    bad_address = NETFD_EADDRESS,        /**< its text does not parse */
    no_such_host = NETFD_ENOHOST,        /**< the name does not exist */
    lookup_failed = NETFD_EDNS,          /**< the name could not be looked up */
    panic = NETFD_EPANIC,                /**< a bug in netfd */
    unexpected_end = 1,                  /**< of the stream, in read_full(): of this header alone */
};

} // namespace netfd

template <> struct std::is_error_code_enum<netfd::errc> : std::true_type {};

namespace netfd {

namespace detail {

// Visible wherever it is compiled, so that there is one in a process.
class [[gnu::visibility("default")]] error_category final : public std::error_category {
  public:
    const char *name() const noexcept override { return "netfd"; }

    std::string message(int value) const override
    {
        if (value == static_cast<int>(errc::unexpected_end))
            return "unexpected end of stream";
        return ::netfd_strerror(value);
    }

    std::error_condition default_error_condition(int value) const noexcept override
    {
        switch (static_cast<errc>(value)) {
        case errc::deadline_exceeded:
            return std::make_error_condition(std::errc::timed_out);
        case errc::canceled:
            return std::make_error_condition(std::errc::operation_canceled);
        default:
            return {value, *this};
        }
    }
};

} // namespace detail

/**
 * The category of netfd's own errors.
 *
 * Any thread, at any time of the process: it is made when first asked for, and
 * never ends.
 */
[[gnu::visibility("default")]] inline const std::error_category &category() noexcept
{
    alignas(detail::error_category) static unsigned char room[sizeof(detail::error_category)];
    static const detail::error_category &made = *new (room) detail::error_category;
    return made;
}

/** Makes a netfd::errc a std::error_code. */
inline std::error_code make_error_code(errc code) noexcept { return {static_cast<int>(code), category()}; }

/**
 * Makes what a function of netfd.h returned a std::error_code, for callers of
 * their own: no error where it is not negative. All forms of all calls here
 * use it.
 */
inline std::error_code to_error_code(std::int64_t result) noexcept
{
    if (result >= 0)
        return {};
    const int code = static_cast<int>(result);
    if (code <= NETFD_EDEADLINE) // no errno is as low
        return {code, category()};
    return {-code, std::system_category()};
}

/**
 * The calling thread's or fiber's last failure in full, which is what callers
 * of the error_code forms may want to tell. As netfd_last_error().
 */
inline ::netfd_error last_error() noexcept
{
    ::netfd_error record{};
    record.size = sizeof record;
    ::netfd_last_error(&record);
    return record;
}

/**
 * The same as text, "dial tcp 127.0.0.1:1: connect: connection refused"; empty
 * where nothing has failed yet. As netfd_error_text().
 */
inline std::string last_error_text()
{
    char buf[512];
    const int len = ::netfd_error_text(buf, sizeof buf);
    if (len <= 0)
        return {};
    const std::size_t whole = static_cast<std::size_t>(len);
    if (whole < sizeof buf)
        return {buf, whole};
    std::string text(whole, '\0'); // of a dial that tried many addresses
    ::netfd_error_text(&text[0], whole + 1);
    return text;
}

#ifdef __cpp_exceptions
/**
 * What the throwing forms throw.
 *
 * what() is netfd's whole message, as last_error_text() has it where it was
 * thrown; code() is what the error_code form would have stored.
 */
class [[gnu::visibility("default")]] error : public std::system_error {
  public:
    /** Of a call that has just failed on this thread or fiber. */
    explicit error(const std::error_code &ec) : error(ec, last_error()) {}

    const char *what() const noexcept override { return text_.what(); }

    /** The operation, the network, both addresses; empty where not known. */
    const ::netfd_error &record() const noexcept { return record_; }

  private:
    error(const std::error_code &ec, const ::netfd_error &last)
        : std::system_error(ec), record_(to_error_code(last.code) == ec ? last : ::netfd_error{}),
          text_(record_.code != 0 ? last_error_text() : ec.message())
    {
    }

    ::netfd_error record_;
    std::runtime_error text_; // a string whose copies cannot fail, as exceptions' may not
};
#endif

#ifdef __cpp_lib_expected
/** What the try_ forms return. */
template <class T> using result = std::expected<T, std::error_code>;
#endif

namespace detail {

// Where a result of C becomes an error_code, and what is left of it a number.
inline std::int64_t told(std::int64_t result, std::error_code &ec) noexcept
{
    ec = to_error_code(result);
    return result < 0 ? 0 : result;
}

#ifdef __cpp_exceptions
// The throwing form of a call, which is its error_code form and a look.
template <class F> auto thrown(F &&call)
{
    std::error_code ec;
    if constexpr (std::is_void_v<decltype(call(ec))>) {
        call(ec);
        if (ec)
            throw error(ec);
    } else {
        auto value = call(ec);
        if (ec)
            throw error(ec);
        return value;
    }
}
#endif

#ifdef __cpp_lib_expected
// The try_ form, likewise.
template <class F> auto tried(F &&call) -> result<decltype(call(std::declval<std::error_code &>()))>
{
    std::error_code ec;
    if constexpr (std::is_void_v<decltype(call(ec))>) {
        call(ec);
        if (ec)
            return std::unexpected(ec);
        return {};
    } else {
        auto value = call(ec);
        if (ec)
            return std::unexpected(ec);
        return value;
    }
}
#endif

// What is compiled in two ways has two names, so that units of both kinds may be linked together.
#ifdef __cpp_exceptions
inline namespace with_exceptions {
#else
inline namespace without_exceptions {
#endif

#ifdef __cpp_exceptions
template <class F> void guarded(F &&body, std::exception_ptr &thrown) noexcept
{
    try {
        body();
    } catch (...) {
        thrown = std::current_exception();
    }
}

inline void rethrow(const std::exception_ptr &thrown)
{
    if (thrown)
        std::rethrow_exception(thrown);
}

template <class F> [[gnu::noinline]] void without_errors(F &&body)
{
    try {
        body();
    } catch (const error &) {
    }
}

// Where nobody is told, nothing else is caught: std::terminate() finds the exception and its stack. (Inlined into
// what is noexcept, gcc would catch it to terminate.)
template <class F> void handled(F &&body, const std::function<void(std::exception_ptr)> &on_exception) noexcept
{
    if (!on_exception)
        return without_errors(body);
    std::exception_ptr thrown;
    guarded(body, thrown);
    if (thrown)
        on_exception(std::move(thrown));
}
#else
template <class F> void guarded(F &&body, std::exception_ptr &) noexcept
{
    body();
}

inline void rethrow(const std::exception_ptr &) noexcept
{
}

template <class F> void handled(F &&body, const std::function<void(std::exception_ptr)> &) noexcept
{
    body();
}
#endif

} // inline namespace

template <class T> struct is_byte : std::false_type {};
template <> struct is_byte<char> : std::true_type {};
template <> struct is_byte<signed char> : std::true_type {};
template <> struct is_byte<unsigned char> : std::true_type {};
template <> struct is_byte<std::byte> : std::true_type {};
#ifdef __cpp_char8_t
template <> struct is_byte<char8_t> : std::true_type {};
#endif

// What std::data() and std::size() know: vector, array, string, span, T[N].
template <class R>
using element = std::enable_if_t<std::is_convertible_v<decltype(std::size(std::declval<R &>())), std::size_t>,
                                 std::remove_pointer_t<decltype(std::data(std::declval<R &>()))>>;

template <class T> const T *start_of(std::initializer_list<T> list) noexcept
{
    return list.begin();
}

} // namespace detail

/* ---- What is passed ------------------------------------------------------ */

/**
 * Bytes to be written to, somebody else's: a pointer and a length, or any
 * contiguous container of one-byte elements (vector, array, string, std::span,
 * char[N]), whose size is how much may be written.
 *
 * It has the layout of an iovec.
 */
class bytes {
  public:
    constexpr bytes() noexcept : it_{} {}
    constexpr bytes(void *data, std::size_t size) noexcept : it_{data, size} {}

    template <class R, class T = detail::element<R>,
              class = std::enable_if_t<detail::is_byte<T>::value && !std::is_same_v<std::decay_t<R>, bytes>>>
    constexpr bytes(R &&range) noexcept : it_{std::data(range), std::size(range)}
    {
    }

    std::byte *data() const noexcept { return static_cast<std::byte *>(it_.iov_base); }
    constexpr std::size_t size() const noexcept { return it_.iov_len; }
    constexpr bool empty() const noexcept { return size() == 0; }

    /** The first `n` of them, or as many as there are. */
    bytes first(std::size_t n) const noexcept { return {data(), n < size() ? n : size()}; }
    /** All but the first `n`. */
    bytes drop(std::size_t n) const noexcept { return n < size() ? bytes(data() + n, size() - n) : bytes(); }

  private:
    ::iovec it_;
};

/**
 * Bytes to be read from, somebody else's: as bytes, and also text: a literal,
 * a const char *, a std::string_view, without a NUL at its end. Of a char[N] it
 * is not known how much is meant: say {buf, n}.
 */
class const_bytes {
  public:
    constexpr const_bytes() noexcept : it_{} {}
    const_bytes(const void *data, std::size_t size) noexcept : it_{const_cast<void *>(data), size} {}
    const_bytes(const char *text) noexcept : const_bytes(text, std::strlen(text)) {}
    const_bytes(std::nullptr_t) = delete;
    template <std::size_t N> const_bytes(char (&)[N]) = delete;

    template <class R, class T = detail::element<const R>,
              class = std::enable_if_t<detail::is_byte<std::remove_const_t<T>>::value &&
                                       !std::is_same_v<std::remove_cv_t<std::remove_extent_t<R>>, char> &&
                                       !std::is_same_v<R, const_bytes>>>
    const_bytes(const R &range) noexcept : const_bytes(std::data(range), std::size(range))
    {
    }

    const std::byte *data() const noexcept { return static_cast<const std::byte *>(it_.iov_base); }
    constexpr std::size_t size() const noexcept { return it_.iov_len; }
    constexpr bool empty() const noexcept { return size() == 0; }

    /** The first `n` of them, or as many as there are. */
    const_bytes first(std::size_t n) const noexcept { return {data(), n < size() ? n : size()}; }
    /** All but the first `n`. */
    const_bytes drop(std::size_t n) const noexcept
    {
        return n < size() ? const_bytes(data() + n, size() - n) : const_bytes();
    }

  private:
    ::iovec it_;
};

static_assert(sizeof(bytes) == sizeof(::iovec) && std::is_standard_layout_v<bytes>);
static_assert(sizeof(const_bytes) == sizeof(::iovec) && std::is_standard_layout_v<const_bytes>);

/**
 * Several objects side by side, somebody else's: a vector, an array, a
 * std::span, a T[N], a pointer and a number, or, to be read only, a list in
 * braces. What writev(), send_fds() and others take.
 */
template <class T> class sequence {
  public:
    constexpr sequence() noexcept = default;
    constexpr sequence(T *data, std::size_t size) noexcept : data_(data), size_(size) {}

    template <class U = T, class = std::enable_if_t<std::is_const_v<U>>>
    sequence(std::initializer_list<std::remove_const_t<U>> list) noexcept
        : data_(detail::start_of(list)), size_(list.size())
    {
    }

    template <class R, class U = detail::element<R>,
              class = std::enable_if_t<std::is_convertible_v<U (*)[], T (*)[]> &&
                                       !std::is_same_v<std::decay_t<R>, sequence>>>
    constexpr sequence(R &&range) noexcept : data_(std::data(range)), size_(std::size(range))
    {
    }

    constexpr T *data() const noexcept { return data_; }
    constexpr std::size_t size() const noexcept { return size_; }
    constexpr T *begin() const noexcept { return data_; }
    constexpr T *end() const noexcept { return data_ + size_; }

  private:
    T *data_ = nullptr;
    std::size_t size_ = 0;
};

/** Text with a NUL at its end, somebody else's: a literal, a std::string. */
class zstring {
  public:
    constexpr zstring(const char *text) noexcept : text_(text) {}
    template <class Traits, class Allocator>
    zstring(const std::basic_string<char, Traits, Allocator> &text) noexcept : text_(text.c_str())
    {
    }

    constexpr const char *c_str() const noexcept { return text_; }

  private:
    const char *text_;
};

namespace detail {

// The nanoseconds of a duration of any kind, as far as they go.
template <class Rep, class Period> std::int64_t nanoseconds(std::chrono::duration<Rep, Period> time) noexcept
{
    using limits = std::numeric_limits<std::int64_t>;
    const std::chrono::duration<long double, std::nano> wide = time;
    if (!(wide.count() < static_cast<long double>(limits::max()))) // NaN, too: for ever
        return limits::max();
    if (wide.count() <= static_cast<long double>(limits::min()))
        return limits::min();
    return std::chrono::duration_cast<std::chrono::nanoseconds>(time).count();
}

inline std::int64_t difference(std::int64_t a, std::int64_t b) noexcept
{
    using limits = std::numeric_limits<std::int64_t>;
    if (b < 0 && a > limits::max() + b)
        return limits::max();
    if (b > 0 && a < limits::min() + b)
        return limits::min();
    return a - b;
}

} // namespace detail

/**
 * A point in time at which a call gives up.
 *
 * Made of a duration, which counts from where it is made (`5s`); of a point of
 * std::chrono::steady_clock, which is CLOCK_MONOTONIC; or of any other clock,
 * by what that says now: that it is set later moves no deadline. One that is
 * not in the future has passed, a duration of 0 too. Made of nothing it is
 * none: a call may wait for ever.
 */
class deadline {
  public:
    constexpr deadline() noexcept = default;

    template <class Rep, class Period>
    deadline(std::chrono::duration<Rep, Period> from_now) noexcept
        : ns_(::netfd_after(detail::nanoseconds(from_now)))
    {
    }

    template <class Clock, class Duration> deadline(std::chrono::time_point<Clock, Duration> at) noexcept
    {
        const std::int64_t then = detail::nanoseconds(at.time_since_epoch());
        if constexpr (std::is_same_v<Clock, std::chrono::steady_clock>) {
            ns_ = then == NETFD_NO_DEADLINE ? 1 : then; // both have passed
        } else {
            const std::int64_t now = detail::nanoseconds(Clock::now().time_since_epoch());
            ns_ = ::netfd_after(detail::difference(then, now));
        }
    }

    /** As netfd.h has it: nanoseconds of CLOCK_MONOTONIC, 0 for none. */
    constexpr std::int64_t ns() const noexcept { return ns_; }

  private:
    std::int64_t ns_ = NETFD_NO_DEADLINE;
};

/** For ever. */
inline constexpr deadline no_deadline{};

/**
 * A switch that ends calls on any number of sockets, once and for good:
 * netfd_cancel_new(), owned.
 *
 * Sockets on which it was set go on obeying it when it is gone, which fires
 * nothing. One that is passed to a call outlives that call. Moved from, it is
 * none: it never fires, and nothing obeys it.
 */
class cancel_source {
  public:
    /** Makes one; on failure (std::errc::not_enough_memory) it is none. */
    explicit cancel_source(std::error_code &ec) noexcept : it_(::netfd_cancel_new())
    {
        detail::told(it_ ? 0 : -ENOMEM, ec);
    }
#ifdef __cpp_exceptions
    cancel_source() : cancel_source(detail::thrown([](auto &ec) { return cancel_source(ec); })) {}
#endif

    /** Ends all calls that obey it with errc::canceled. Any thread, and signal handlers. */
    void fire() const noexcept { ::netfd_cancel_fire(it_.get()); }
    /** Whether it has fired. Any thread, and signal handlers. */
    bool fired() const noexcept { return ::netfd_cancel_fired(it_.get()) != 0; }
    /** The token as C has it; it stays owned. NULL where it was moved from. */
    ::netfd_cancel *get() const noexcept { return it_.get(); }

  private:
    struct deleter {
        void operator()(::netfd_cancel *token) const noexcept { ::netfd_cancel_free(token); }
    };
    std::unique_ptr<::netfd_cancel, deleter> it_;
};

namespace detail {
inline ::netfd_cancel *token(const cancel_source *source) noexcept
{
    return source != nullptr ? source->get() : nullptr;
}
} // namespace detail

/**
 * A socket's address, of any family: a value. Empty, it is none.
 */
class address {
  public:
    address() noexcept : it_{} {}
    /** As the kernel has it; cut to the room of a sockaddr_storage. */
    address(const ::sockaddr *data, ::socklen_t size) noexcept : it_{}
    {
        resize(size);
        if (size_ != 0)
            std::memcpy(&it_, data, size_);
    }

    /** Reads text, without looking anything up. As netfd_addr_parse(). */
    static address parse(zstring network, zstring text, std::error_code &ec) noexcept
    {
        address parsed;
        ::socklen_t size = capacity();
        detail::told(::netfd_addr_parse(network.c_str(), text.c_str(), &parsed.it_, &size), ec);
        parsed.resize(ec ? 0 : size);
        return parsed;
    }

    /** "127.0.0.1:80", "[::1]:80", "/run/app.sock"; empty for none. As netfd_addr_format(). */
    std::string text() const
    {
        char buf[NETFD_ADDR_TEXT];
        const int len = ::netfd_addr_format(data(), size_, buf, sizeof buf);
        return len > 0 ? std::string(buf, static_cast<std::size_t>(len)) : std::string();
    }

    /** AF_INET and so on; AF_UNSPEC for none. */
    int family() const noexcept { return size_ == 0 ? AF_UNSPEC : it_.ss_family; }

    /** The port, of IPv4 and IPv6; else 0. */
    std::uint16_t port() const noexcept
    {
        if (family() == AF_INET)
            return ntohs(reinterpret_cast<const ::sockaddr_in *>(&it_)->sin_port);
        if (family() == AF_INET6)
            return ntohs(reinterpret_cast<const ::sockaddr_in6 *>(&it_)->sin6_port);
        return 0;
    }

    /** For calls of C: it, its bytes, and the room there is. */
    const ::sockaddr *data() const noexcept { return reinterpret_cast<const ::sockaddr *>(&it_); }
    ::sockaddr *data() noexcept { return reinterpret_cast<::sockaddr *>(&it_); }
    ::socklen_t size() const noexcept { return size_; }
    static constexpr ::socklen_t capacity() noexcept { return sizeof(::sockaddr_storage); }
    /** Says how many bytes of it are filled in. */
    void resize(::socklen_t size) noexcept { size_ = size < capacity() ? size : capacity(); }

    /** Whether they are the same bytes. */
    friend bool operator==(const address &a, const address &b) noexcept
    {
        return a.size_ == b.size_ && std::memcmp(&a.it_, &b.it_, a.size_) == 0;
    }
    friend bool operator!=(const address &a, const address &b) noexcept { return !(a == b); }

#ifdef __cpp_exceptions
    static address parse(zstring network, zstring text)
    { return detail::thrown([&](auto &ec) { return parse(network, text, ec); }); }
#endif
#ifdef __cpp_lib_expected
    static result<address> try_parse(zstring network, zstring text)
    { return detail::tried([&](auto &ec) { return parse(network, text, ec); }); }
#endif

  private:
    ::sockaddr_storage it_;
    ::socklen_t size_ = 0;
};

/* ---- Sockets ------------------------------------------------------------- */

/**
 * A descriptor, owned: what conn, listener and packet_conn have in common, and
 * how one of another kind is held until it becomes one of them.
 *
 * Its end is netfd_destroy(): callers inside wake with errc::closed, and
 * close(2) has run when it returns. An object must outlive the calls on it:
 * to end calls of others, close() it, or fire a cancel_source, and let them
 * return before its own end.
 */
class socket {
  public:
    /** None. */
    constexpr socket() noexcept = default;
    /** Takes over a descriptor that netfd has given out; see attach() for others. */
    explicit socket(int fd) noexcept : fd_(fd) {}
    socket(socket &&from) noexcept : fd_(from.release()) {}
    socket &operator=(socket &&from) noexcept
    {
        const int fd = from.release(); // first: it may be this one
        end();
        fd_.store(fd, std::memory_order_relaxed);
        return *this;
    }
    ~socket() { end(); }

    /** The descriptor, for calls of C; -1 for none. It stays owned. */
    int fd() const noexcept { return fd_.load(std::memory_order_relaxed); }
    /** Whether there is one. */
    explicit operator bool() const noexcept { return fd() >= 0; }
    /** Gives the descriptor up as it is, attached: the caller destroys it. -1 for none. */
    int release() noexcept { return fd_.exchange(-1); }

    /**
     * Closes it, whoever is inside: they get errc::closed, and so does a
     * second close(). As netfd_destroy().
     *
     * The number may be another socket's once this returns. No call that
     * begins then reaches that; one that has taken the number from here and
     * not yet entered the library can. Who has threads that begin calls all
     * the time stops them first, by a cancel_source or set_deadline().
     */
    void close(std::error_code &ec) const noexcept
    {
        const int fd = fd_.exchange(-1);
        detail::told(fd < 0 ? NETFD_ECLOSED : ::netfd_destroy(fd), ec);
    }

    /**
     * Hands the descriptor back open, and forgets it: the caller's to close(2)
     * or to attach() again, non-blocking; -1 on failure. Callers inside get
     * errc::closed. As netfd_detach().
     */
    int detach(std::error_code &ec) const noexcept
    {
        const int fd = fd_.exchange(-1);
        detail::told(fd < 0 ? NETFD_ECLOSED : ::netfd_detach(fd), ec);
        return ec ? -1 : fd;
    }

    /** Of both directions; no_deadline lifts it. Calls that are parked obey it at once. As
     *  netfd_set_deadline(). */
    void set_deadline(deadline until, std::error_code &ec) const noexcept
    {
        told(::netfd_set_deadline(fd(), until.ns()), ec);
    }
    /** Of reads, receives and accepts. As netfd_set_read_deadline(). */
    void set_read_deadline(deadline until, std::error_code &ec) const noexcept
    {
        told(::netfd_set_read_deadline(fd(), until.ns()), ec);
    }
    /** Of writes, sends and connects. As netfd_set_write_deadline(). */
    void set_write_deadline(deadline until, std::error_code &ec) const noexcept
    {
        told(::netfd_set_write_deadline(fd(), until.ns()), ec);
    }

    /** Sets what every call on it obeys, those that are parked too. As netfd_set_cancel(). */
    void set_cancel(const cancel_source &source, std::error_code &ec) const noexcept
    {
        told(::netfd_set_cancel(fd(), source.get()), ec);
    }
    /** Lets go of what set_cancel() set. */
    void clear_cancel(std::error_code &ec) const noexcept { told(::netfd_set_cancel(fd(), nullptr), ec); }

    /** Its own address. As netfd_local_addr(). */
    address local_addr(std::error_code &ec) const noexcept { return addr(::netfd_local_addr, ec); }
    /** The other end's, as accept or connect learned it. As netfd_remote_addr(). */
    address remote_addr(std::error_code &ec) const noexcept { return addr(::netfd_remote_addr, ec); }

    /** Waits until NETFD_READABLE, NETFD_WRITABLE or both are so; returns which. As netfd_wait(). */
    int wait(int events, deadline until, std::error_code &ec) const noexcept
    {
        return static_cast<int>(told(::netfd_wait(fd(), events, until.ns()), ec));
    }

    /** Connects what make_socket() made; `from` is where to bind it first, or none. As netfd_connect(). */
    void connect(const address &to, const address &from, deadline until, const cancel_source *cancel,
                 std::error_code &ec) const noexcept
    {
        const ::sockaddr *bound = from.size() == 0 ? nullptr : from.data();
        told(::netfd_connect(fd(), bound, from.size(), to.data(), to.size(), until.ns(), detail::token(cancel)),
             ec);
    }

    /** Makes what make_socket() made a listener, for listener{std::move(it)}. As netfd_listen_stream(). */
    void listen(const address &at, int backlog, std::error_code &ec) const noexcept
    {
        const ::sockaddr *bound = at.size() == 0 ? nullptr : at.data();
        told(::netfd_listen_stream(fd(), bound, at.size(), backlog), ec);
    }

#ifdef __cpp_exceptions
    void close() const { detail::thrown([&](auto &ec) { close(ec); }); }
    int detach() const { return detail::thrown([&](auto &ec) { return detach(ec); }); }
    void set_deadline(deadline until) const { detail::thrown([&](auto &ec) { set_deadline(until, ec); }); }
    void set_read_deadline(deadline until) const { detail::thrown([&](auto &ec) { set_read_deadline(until, ec); }); }
    void set_write_deadline(deadline until) const { detail::thrown([&](auto &ec) { set_write_deadline(until, ec); }); }
    void set_cancel(const cancel_source &source) const { detail::thrown([&](auto &ec) { set_cancel(source, ec); }); }
    void clear_cancel() const { detail::thrown([&](auto &ec) { clear_cancel(ec); }); }
    address local_addr() const { return detail::thrown([&](auto &ec) { return local_addr(ec); }); }
    address remote_addr() const { return detail::thrown([&](auto &ec) { return remote_addr(ec); }); }
    int wait(int events, deadline until = {}) const
    { return detail::thrown([&](auto &ec) { return wait(events, until, ec); }); }
    void connect(const address &to, const address &from = {}, deadline until = {},
                 const cancel_source *cancel = nullptr) const
    { detail::thrown([&](auto &ec) { connect(to, from, until, cancel, ec); }); }
    void listen(const address &at, int backlog = 0) const
    { detail::thrown([&](auto &ec) { listen(at, backlog, ec); }); }
#endif

#ifdef __cpp_lib_expected
    result<void> try_close() const { return detail::tried([&](auto &ec) { close(ec); }); }
    result<int> try_detach() const { return detail::tried([&](auto &ec) { return detach(ec); }); }
    result<void> try_set_deadline(deadline until) const
    { return detail::tried([&](auto &ec) { set_deadline(until, ec); }); }
    result<void> try_set_read_deadline(deadline until) const
    { return detail::tried([&](auto &ec) { set_read_deadline(until, ec); }); }
    result<void> try_set_write_deadline(deadline until) const
    { return detail::tried([&](auto &ec) { set_write_deadline(until, ec); }); }
    result<void> try_set_cancel(const cancel_source &source) const
    { return detail::tried([&](auto &ec) { set_cancel(source, ec); }); }
    result<void> try_clear_cancel() const { return detail::tried([&](auto &ec) { clear_cancel(ec); }); }
    result<address> try_local_addr() const { return detail::tried([&](auto &ec) { return local_addr(ec); }); }
    result<address> try_remote_addr() const { return detail::tried([&](auto &ec) { return remote_addr(ec); }); }
    result<int> try_wait(int events, deadline until = {}) const
    { return detail::tried([&](auto &ec) { return wait(events, until, ec); }); }
    result<void> try_connect(const address &to, const address &from = {}, deadline until = {},
                             const cancel_source *cancel = nullptr) const
    { return detail::tried([&](auto &ec) { connect(to, from, until, cancel, ec); }); }
    result<void> try_listen(const address &at, int backlog = 0) const
    { return detail::tried([&](auto &ec) { listen(at, backlog, ec); }); }
#endif

  protected:
    // What a call said; of an object that owns nothing, that it is closed.
    std::int64_t told(std::int64_t result, std::error_code &ec) const noexcept
    {
        return detail::told(result == -EBADF && fd() < 0 ? NETFD_ECLOSED : result, ec);
    }

    std::size_t told_size(std::int64_t result, std::error_code &ec) const noexcept
    {
        return static_cast<std::size_t>(told(result, ec));
    }

  private:
    address addr(int (*ask)(int, ::sockaddr *, ::socklen_t *), std::error_code &ec) const noexcept
    {
        address found;
        ::socklen_t size = address::capacity();
        told(ask(fd(), found.data(), &size), ec);
        found.resize(ec ? 0 : size);
        return found;
    }

    void end() noexcept
    {
        const int fd = release();
        if (fd >= 0)
            ::netfd_destroy(fd);
    }

    mutable std::atomic<int> fd_{-1};
};

/** Who is at the other end of a unix socket. */
struct credentials {
    ::pid_t pid;
    ::uid_t uid;
    ::gid_t gid;
};

/** What came by recv_fds(). */
struct received {
    std::size_t size; /**< bytes */
    std::size_t fds;  /**< descriptors; those beyond the room for them are closed */
};

/**
 * A connection: what dial() and accept() give, of a stream or of messages.
 */
class conn : public socket {
  public:
    using socket::socket;
    conn() noexcept = default;
    /** Makes a conn of a socket from elsewhere: conn{netfd::attach(fd)}. */
    explicit conn(socket &&from) noexcept : socket(std::move(from)) {}

    /** Reads what is there, parking until something is; 0 is the end of the stream. As netfd_read(). */
    [[nodiscard]] std::size_t read(bytes into, std::error_code &ec) const noexcept
    {
        return told_size(::netfd_read(fd(), into.data(), into.size()), ec);
    }

    /** As read(), into several buffers. As netfd_readv(). */
    [[nodiscard]] std::size_t readv(sequence<const bytes> into, std::error_code &ec) const noexcept
    {
        return told_size(::netfd_readv(fd(), iov(into.data()), count(into.size())), ec);
    }

    /**
     * Reads until `into` is full, by as many netfd_read() as that takes; not in
     * one turn, beside other readers.
     *
     * @return its size; 0 where the stream ends before the first byte, which
     *   is no error. With an error, how many had come: errc::unexpected_end
     *   the stream ends in between, or as read()
     */
    [[nodiscard]] std::size_t read_full(bytes into, std::error_code &ec) const noexcept
    {
        std::size_t have = 0;
        ec.clear();
        while (have < into.size()) {
            const bytes rest = into.drop(have);
            const std::size_t n = read(rest, ec);
            if (ec)
                return have;
            if (n == 0) {
                if (have > 0)
                    ec = errc::unexpected_end;
                return have;
            }
            have += n;
        }
        return have;
    }

    /**
     * Writes all of it, parking while there is no room. As netfd_write(), but
     * a part that went is no success:
     *
     * @return its size; with an error, how much had gone
     */
    std::size_t write(const_bytes from, std::error_code &ec) const noexcept
    {
        return all(::netfd_write(fd(), from.data(), from.size()), from.size(), ec);
    }

    /** As write(), from several buffers: writev({header, body}). As netfd_writev(). */
    std::size_t writev(sequence<const const_bytes> from, std::error_code &ec) const noexcept
    {
        std::size_t size = 0;
        for (const const_bytes &part : from)
            size += part.size();
        return all(::netfd_writev(fd(), iov(from.data()), count(from.size())), size, ec);
    }

    /** Receives one message with its control messages, or what a stream has. As netfd_recvmsg(). */
    [[nodiscard]] std::size_t recvmsg(::msghdr &message, int flags, std::error_code &ec) const noexcept
    {
        return told_size(::netfd_recvmsg(fd(), &message, flags), ec);
    }

    /** Sends one message with control messages; on a stream maybe a part. As netfd_sendmsg(). */
    std::size_t sendmsg(const ::msghdr &message, int flags, std::error_code &ec) const noexcept
    {
        return told_size(::netfd_sendmsg(fd(), &message, flags), ec);
    }

    /** Shuts down SHUT_RD, SHUT_WR or SHUT_RDWR. As netfd_shutdown(). */
    void shutdown(int how, std::error_code &ec) const noexcept { told(::netfd_shutdown(fd(), how), ec); }

    /**
     * Sends a file from `offset` on, or, where that is negative, from its own;
     * `count` bytes, or, where that is negative, to its end. By as many
     * netfd_sendfile() as that takes.
     *
     * @return how many bytes went, with an error too; fewer than `count`
     *   without one: the file is shorter
     */
    std::uint64_t sendfile(int file, std::int64_t offset, std::int64_t count, std::error_code &ec) const noexcept
    {
        return until_end(count, ec, [&](std::int64_t done, std::int64_t left) noexcept {
            return ::netfd_sendfile(fd(), file, offset < 0 ? offset : offset + done, left);
        });
    }

    /**
     * Copies what comes from a descriptor, attached or not, until its end or,
     * where `max` is not negative, as much as that. By as many netfd_copy() as
     * that takes. The end is passed on to nobody: shutdown(SHUT_WR) does that.
     *
     * @return how many bytes were written, with an error too
     */
    std::uint64_t copy_from(int source, std::int64_t max, std::error_code &ec) const noexcept
    {
        return until_end(max, ec, [&](std::int64_t, std::int64_t left) noexcept {
            return ::netfd_copy(fd(), source, left);
        });
    }

    /** Sends bytes, on a stream maybe a part of them, with copies of descriptors. As netfd_send_fds(). */
    std::size_t send_fds(sequence<const int> fds, const_bytes from, std::error_code &ec) const noexcept
    {
        return told_size(::netfd_send_fds(fd(), fds.data(), fds.size(), from.data(), from.size()), ec);
    }

    /**
     * Receives bytes with the descriptors that come along. Each is the
     * caller's: socket{fd} owns one that is a socket, which is attached; any
     * other wants close(2). As netfd_recv_fds().
     */
    [[nodiscard]] received recv_fds(sequence<int> fds, bytes into, std::error_code &ec) const noexcept
    {
        received came{};
        came.size = told_size(
            ::netfd_recv_fds(fd(), fds.data(), fds.size(), &came.fds, into.data(), into.size()), ec);
        return came;
    }

    /** Who connected or listened. As netfd_peer_cred(). */
    credentials peer_cred(std::error_code &ec) const noexcept
    {
        credentials peer{};
        told(::netfd_peer_cred(fd(), &peer.pid, &peer.uid, &peer.gid), ec);
        return peer;
    }

#ifdef __cpp_exceptions
    [[nodiscard]] std::size_t read(bytes into) const
    { return detail::thrown([&](auto &ec) { return read(into, ec); }); }
    [[nodiscard]] std::size_t readv(sequence<const bytes> into) const
    { return detail::thrown([&](auto &ec) { return readv(into, ec); }); }
    [[nodiscard]] std::size_t read_full(bytes into) const
    { return detail::thrown([&](auto &ec) { return read_full(into, ec); }); }
    std::size_t write(const_bytes from) const { return detail::thrown([&](auto &ec) { return write(from, ec); }); }
    std::size_t writev(sequence<const const_bytes> from) const
    { return detail::thrown([&](auto &ec) { return writev(from, ec); }); }
    [[nodiscard]] std::size_t recvmsg(::msghdr &message, int flags = 0) const
    { return detail::thrown([&](auto &ec) { return recvmsg(message, flags, ec); }); }
    std::size_t sendmsg(const ::msghdr &message, int flags = 0) const
    { return detail::thrown([&](auto &ec) { return sendmsg(message, flags, ec); }); }
    void shutdown(int how) const { detail::thrown([&](auto &ec) { shutdown(how, ec); }); }
    std::uint64_t sendfile(int file, std::int64_t offset = -1, std::int64_t count = -1) const
    { return detail::thrown([&](auto &ec) { return sendfile(file, offset, count, ec); }); }
    std::uint64_t copy_from(int source, std::int64_t max = -1) const
    { return detail::thrown([&](auto &ec) { return copy_from(source, max, ec); }); }
    std::size_t send_fds(sequence<const int> fds, const_bytes from = {}) const
    { return detail::thrown([&](auto &ec) { return send_fds(fds, from, ec); }); }
    [[nodiscard]] received recv_fds(sequence<int> fds, bytes into = {}) const
    { return detail::thrown([&](auto &ec) { return recv_fds(fds, into, ec); }); }
    credentials peer_cred() const { return detail::thrown([&](auto &ec) { return peer_cred(ec); }); }
#endif

#ifdef __cpp_lib_expected
    [[nodiscard]] result<std::size_t> try_read(bytes into) const
    { return detail::tried([&](auto &ec) { return read(into, ec); }); }
    [[nodiscard]] result<std::size_t> try_readv(sequence<const bytes> into) const
    { return detail::tried([&](auto &ec) { return readv(into, ec); }); }
    [[nodiscard]] result<std::size_t> try_read_full(bytes into) const
    { return detail::tried([&](auto &ec) { return read_full(into, ec); }); }
    result<std::size_t> try_write(const_bytes from) const
    { return detail::tried([&](auto &ec) { return write(from, ec); }); }
    result<std::size_t> try_writev(sequence<const const_bytes> from) const
    { return detail::tried([&](auto &ec) { return writev(from, ec); }); }
    [[nodiscard]] result<std::size_t> try_recvmsg(::msghdr &message, int flags = 0) const
    { return detail::tried([&](auto &ec) { return recvmsg(message, flags, ec); }); }
    result<std::size_t> try_sendmsg(const ::msghdr &message, int flags = 0) const
    { return detail::tried([&](auto &ec) { return sendmsg(message, flags, ec); }); }
    result<void> try_shutdown(int how) const { return detail::tried([&](auto &ec) { shutdown(how, ec); }); }
    result<std::uint64_t> try_sendfile(int file, std::int64_t offset = -1, std::int64_t count = -1) const
    { return detail::tried([&](auto &ec) { return sendfile(file, offset, count, ec); }); }
    result<std::uint64_t> try_copy_from(int source, std::int64_t max = -1) const
    { return detail::tried([&](auto &ec) { return copy_from(source, max, ec); }); }
    result<std::size_t> try_send_fds(sequence<const int> fds, const_bytes from = {}) const
    { return detail::tried([&](auto &ec) { return send_fds(fds, from, ec); }); }
    [[nodiscard]] result<received> try_recv_fds(sequence<int> fds, bytes into = {}) const
    { return detail::tried([&](auto &ec) { return recv_fds(fds, into, ec); }); }
    result<credentials> try_peer_cred() const { return detail::tried([&](auto &ec) { return peer_cred(ec); }); }
#endif

  private:
    // A buffer is an iovec and nothing else.
    static const ::iovec *iov(const void *buffers) noexcept { return static_cast<const ::iovec *>(buffers); }

    // What is no int is negative, which C refuses.
    static int count(std::size_t size) noexcept
    {
        return size <= static_cast<std::size_t>(INT_MAX) ? static_cast<int>(size) : -1;
    }

    // What stopped a write after a part is the last failure.
    std::size_t all(std::int64_t result, std::size_t wanted, std::error_code &ec) const noexcept
    {
        const std::size_t size = told_size(result, ec);
        if (result >= 0 && size < wanted)
            ec = to_error_code(::netfd_last_error(nullptr));
        return size;
    }

    // A count may be all there was or what went before a failure: the next call tells.
    template <class F> std::uint64_t until_end(std::int64_t max, std::error_code &ec, F &&move) const noexcept
    {
        std::int64_t done = 0;
        std::int64_t n;
        do {
            n = told(move(done, max < 0 ? max : max - done), ec);
            done += n;
        } while (n > 0 && done != max);
        return static_cast<std::uint64_t>(done);
    }
};

/**
 * A socket of messages that names the other end in each call: what
 * listen_packet() gives. Of a dialed one, packet_conn{netfd::dial("udp", …)},
 * read() and write() are a message each.
 */
class packet_conn : public conn {
  public:
    using conn::conn;
    packet_conn() noexcept = default;

    /** Receives one message, and whom it is from; one that is longer than `into` is cut, see
     *  recvmsg(). As netfd_recvfrom(). */
    [[nodiscard]] std::size_t recv_from(bytes into, address &from, int flags, std::error_code &ec) const noexcept
    {
        ::socklen_t size = address::capacity();
        const std::size_t n = told_size(
            ::netfd_recvfrom(fd(), into.data(), into.size(), flags, from.data(), &size), ec);
        from.resize(ec ? 0 : size);
        return n;
    }

    /** Sends one message. As netfd_sendto(). */
    std::size_t send_to(const_bytes message, const address &to, int flags, std::error_code &ec) const noexcept
    {
        return told_size(
            ::netfd_sendto(fd(), message.data(), message.size(), flags, to.data(), to.size()), ec);
    }

    /** Receives at least one message, and what else is there; returns how many. As netfd_recvmmsg(). */
    [[nodiscard]] std::size_t recvmmsg(sequence<::mmsghdr> messages, int flags, std::error_code &ec) const noexcept
    {
        return told_size(::netfd_recvmmsg(fd(), messages.data(), count(messages.size()), flags), ec);
    }

    /** Sends as many messages as there is room for, at least one; returns how many. As netfd_sendmmsg(). */
    [[nodiscard]] std::size_t sendmmsg(sequence<::mmsghdr> messages, int flags, std::error_code &ec) const noexcept
    {
        return told_size(::netfd_sendmmsg(fd(), messages.data(), count(messages.size()), flags), ec);
    }

#ifdef __cpp_exceptions
    [[nodiscard]] std::size_t recv_from(bytes into, address &from, int flags = 0) const
    { return detail::thrown([&](auto &ec) { return recv_from(into, from, flags, ec); }); }
    std::size_t send_to(const_bytes message, const address &to, int flags = 0) const
    { return detail::thrown([&](auto &ec) { return send_to(message, to, flags, ec); }); }
    [[nodiscard]] std::size_t recvmmsg(sequence<::mmsghdr> messages, int flags = 0) const
    { return detail::thrown([&](auto &ec) { return recvmmsg(messages, flags, ec); }); }
    [[nodiscard]] std::size_t sendmmsg(sequence<::mmsghdr> messages, int flags = 0) const
    { return detail::thrown([&](auto &ec) { return sendmmsg(messages, flags, ec); }); }
#endif

#ifdef __cpp_lib_expected
    [[nodiscard]] result<std::size_t> try_recv_from(bytes into, address &from, int flags = 0) const
    { return detail::tried([&](auto &ec) { return recv_from(into, from, flags, ec); }); }
    result<std::size_t> try_send_to(const_bytes message, const address &to, int flags = 0) const
    { return detail::tried([&](auto &ec) { return send_to(message, to, flags, ec); }); }
    [[nodiscard]] result<std::size_t> try_recvmmsg(sequence<::mmsghdr> messages, int flags = 0) const
    { return detail::tried([&](auto &ec) { return recvmmsg(messages, flags, ec); }); }
    [[nodiscard]] result<std::size_t> try_sendmmsg(sequence<::mmsghdr> messages, int flags = 0) const
    { return detail::tried([&](auto &ec) { return sendmmsg(messages, flags, ec); }); }
#endif

  private:
    static unsigned count(std::size_t size) noexcept
    {
        return size <= UINT_MAX ? static_cast<unsigned>(size) : UINT_MAX; // which C refuses
    }
};

/**
 * A socket that takes connections: what listen() gives.
 */
class listener : public socket {
  public:
    using socket::socket;
    listener() noexcept = default;
    /** Makes a listener of a socket from elsewhere: listener{netfd::attach(fd)}. */
    explicit listener(socket &&from) noexcept : socket(std::move(from)) {}

    /** The next connection. As netfd_accept(); last_error() says whether a loop may go on. */
    [[nodiscard]] conn accept(std::error_code &ec) const noexcept
    {
        const int accepted = ::netfd_accept(fd(), nullptr, nullptr);
        told(accepted, ec);
        return conn(ec ? -1 : accepted);
    }

#ifdef __cpp_exceptions
    [[nodiscard]] conn accept() const { return detail::thrown([&](auto &ec) { return accept(ec); }); }
#endif
#ifdef __cpp_lib_expected
    [[nodiscard]] result<conn> try_accept() const { return detail::tried([&](auto &ec) { return accept(ec); }); }
#endif
};

/* ---- Sockets by name ----------------------------------------------------- */

/**
 * Called with a socket before it is bound or connected: the descriptor, the
 * network ("tcp6") and the address it is for. An error that it stores ends the
 * call around it with that error; an exception that leaves it leaves that call.
 */
using control_function = std::function<void(int fd, const char *network, const char *address, std::error_code &ec)>;

/**
 * How dial() goes about it; all defaults are Go's way. As netfd_dial_config,
 * whose comments say what negative durations and counts are.
 */
struct dial_options {
    netfd::deadline deadline;              /**< for the lookup and all attempts */
    const cancel_source *cancel = nullptr; /**< ends it */
    std::string local_address;             /**< where to come from; empty: any */
    std::chrono::nanoseconds fallback_delay{0};
    std::chrono::nanoseconds keepalive_idle{0};
    std::chrono::nanoseconds keepalive_interval{0};
    int keepalive_count = 0;
    std::optional<bool> nodelay;
    std::optional<bool> mptcp;
    control_function control;
};

/**
 * How listen() and listen_packet() go about it; all defaults are Go's way. As
 * netfd_listen_config.
 */
struct listen_options {
    int backlog = 0;
    std::optional<bool> reuse_port;
    std::optional<bool> v6only;
    std::chrono::nanoseconds keepalive_idle{0};
    std::chrono::nanoseconds keepalive_interval{0};
    int keepalive_count = 0;
    std::optional<bool> nodelay;
    std::optional<bool> mptcp;
    std::optional<bool> unlink;
    control_function control;
};

#ifdef __cpp_exceptions
inline namespace with_exceptions {
#else
inline namespace without_exceptions {
#endif
namespace parts {

inline int choice(std::optional<bool> on) noexcept { return !on ? 0 : *on ? 1 : -1; }

// What the control function of a call said, on its way through C.
struct control {
    const control_function &call;
    std::error_code ec{};
    std::exception_ptr thrown{};

    static int show(int fd, const char *network, const char *address, void *arg) noexcept
    {
        control &self = *static_cast<control *>(arg);
        detail::guarded([&] { self.call(fd, network, address, self.ec); }, self.thrown);
        return self.ec || self.thrown ? NETFD_ECANCELED : 0;
    }
};

// What dial and listen have in common: their options as C has them, and the socket.
template <class Config, class Options, class F>
socket by_name(Config &config, const Options &how, std::error_code &ec, F &&call)
{
    control shown{how.control};
    config.size = sizeof config;
    config.keepalive_idle = how.keepalive_idle.count();
    config.keepalive_interval = how.keepalive_interval.count();
    config.keepalive_count = how.keepalive_count;
    config.nodelay = choice(how.nodelay);
    config.mptcp = choice(how.mptcp);
    if (how.control) {
        config.control = control::show;
        config.control_arg = &shown;
    }
    const int fd = call();
    detail::told(fd, ec);
    if (ec && shown.ec)
        ec = shown.ec;
    socket made(fd < 0 ? -1 : fd);
    detail::rethrow(shown.thrown);
    return made;
}

template <class F> socket bound(const listen_options &how, std::error_code &ec, F &&call)
{
    ::netfd_listen_config config{};
    config.backlog = how.backlog;
    config.reuse_port = choice(how.reuse_port);
    config.v6only = choice(how.v6only);
    config.unlink = choice(how.unlink);
    return by_name(config, how, ec, [&] { return call(&config); });
}

} // namespace parts

/** Connects to an address by name, "tcp" and "example.org:80" say. As netfd_dial(). */
[[nodiscard]] inline conn dial(zstring network, zstring address, const dial_options &how, std::error_code &ec)
{
    ::netfd_dial_config config{};
    config.deadline = how.deadline.ns();
    config.cancel = detail::token(how.cancel);
    config.local_address = how.local_address.empty() ? nullptr : how.local_address.c_str();
    config.fallback_delay = how.fallback_delay.count();
    return conn(parts::by_name(config, how, ec, [&] {
        return ::netfd_dial(network.c_str(), address.c_str(), &config);
    }));
}

/** Listens on an address by name, "tcp" and "localhost:0" say. As netfd_listen(). */
[[nodiscard]] inline listener listen(zstring network, zstring address, const listen_options &how,
                                     std::error_code &ec)
{
    return listener(parts::bound(how, ec, [&](const ::netfd_listen_config *config) {
        return ::netfd_listen(network.c_str(), address.c_str(), config);
    }));
}

/** Binds a socket of messages, "udp" and "localhost:0" say. As netfd_listen_packet(). */
[[nodiscard]] inline packet_conn listen_packet(zstring network, zstring address, const listen_options &how,
                                               std::error_code &ec)
{
    return packet_conn(parts::bound(how, ec, [&](const ::netfd_listen_config *config) {
        return ::netfd_listen_packet(network.c_str(), address.c_str(), config);
    }));
}

#ifdef __cpp_exceptions
[[nodiscard]] inline conn dial(zstring network, zstring address, const dial_options &how = {})
{ return detail::thrown([&](auto &ec) { return dial(network, address, how, ec); }); }
[[nodiscard]] inline listener listen(zstring network, zstring address, const listen_options &how = {})
{ return detail::thrown([&](auto &ec) { return listen(network, address, how, ec); }); }
[[nodiscard]] inline packet_conn listen_packet(zstring network, zstring address, const listen_options &how = {})
{ return detail::thrown([&](auto &ec) { return listen_packet(network, address, how, ec); }); }
#endif

#ifdef __cpp_lib_expected
[[nodiscard]] inline result<conn> try_dial(zstring network, zstring address, const dial_options &how = {})
{ return detail::tried([&](auto &ec) { return dial(network, address, how, ec); }); }
[[nodiscard]] inline result<listener> try_listen(zstring network, zstring address, const listen_options &how = {})
{ return detail::tried([&](auto &ec) { return listen(network, address, how, ec); }); }
[[nodiscard]] inline result<packet_conn> try_listen_packet(zstring network, zstring address,
                                                           const listen_options &how = {})
{ return detail::tried([&](auto &ec) { return listen_packet(network, address, how, ec); }); }
#endif
} // inline namespace

/**
 * The addresses of a host, in the order in which they are to be tried. As
 * netfd_resolve(), whose network and address are as for dial().
 */
[[nodiscard]] inline std::vector<address> resolve(zstring network, zstring name, deadline until,
                                                  const cancel_source *cancel, std::error_code &ec)
{
    std::vector<::sockaddr_storage> raw(16);
    std::int64_t n;
    for (;;) {
        n = detail::told(::netfd_resolve(network.c_str(), name.c_str(), raw.data(), raw.size(), until.ns(),
                                         detail::token(cancel)),
                         ec);
        if (static_cast<std::size_t>(n) <= raw.size())
            break;
        raw.resize(static_cast<std::size_t>(n));
    }
    raw.resize(static_cast<std::size_t>(n));
    std::vector<address> found;
    for (const ::sockaddr_storage &one : raw) {
        const ::socklen_t size = one.ss_family == AF_INET ? sizeof(::sockaddr_in) : sizeof(::sockaddr_in6);
        if (one.ss_family == AF_UNIX)
            found.push_back(address::parse(network, name, ec)); // whose length is not in it
        else
            found.emplace_back(reinterpret_cast<const ::sockaddr *>(&one), size);
    }
    return found;
}

/**
 * Takes the sockets that systemd passed, all or those of a name, each to be
 * made a listener or a packet_conn. As netfd_listen_fds().
 */
[[nodiscard]] inline std::vector<socket> listen_fds(zstring name, std::error_code &ec)
{
    std::vector<int> fds;
    std::int64_t n = detail::told(::netfd_listen_fds(name.c_str(), nullptr, 0), ec);
    fds.resize(static_cast<std::size_t>(n));
    n = detail::told(::netfd_listen_fds(name.c_str(), fds.data(), fds.size()), ec);
    fds.resize(static_cast<std::size_t>(n) < fds.size() ? static_cast<std::size_t>(n) : fds.size());
    std::vector<socket> sockets;
    sockets.reserve(fds.size());
    for (const int fd : fds)
        sockets.emplace_back(fd);
    return sockets;
}

/** Takes over a socket from elsewhere; on failure it is as it was. As netfd_attach(). */
[[nodiscard]] inline socket attach(int fd, std::error_code &ec) noexcept
{
    detail::told(::netfd_attach(fd), ec);
    return socket(ec ? -1 : fd);
}

/** Makes a socket of any family, to be connected or made to listen. As netfd_sys_socket(). */
[[nodiscard]] inline socket make_socket(int family, int type, int protocol, std::error_code &ec) noexcept
{
    const int fd = ::netfd_sys_socket(family, type, protocol);
    detail::told(fd, ec);
    return socket(ec ? -1 : fd);
}

#ifdef __cpp_exceptions
[[nodiscard]] inline std::vector<address> resolve(zstring network, zstring name, deadline until = {},
                                                  const cancel_source *cancel = nullptr)
{ return detail::thrown([&](auto &ec) { return resolve(network, name, until, cancel, ec); }); }
[[nodiscard]] inline std::vector<socket> listen_fds(zstring name = nullptr)
{ return detail::thrown([&](auto &ec) { return listen_fds(name, ec); }); }
[[nodiscard]] inline socket attach(int fd) { return detail::thrown([&](auto &ec) { return attach(fd, ec); }); }
[[nodiscard]] inline socket make_socket(int family, int type, int protocol = 0)
{ return detail::thrown([&](auto &ec) { return make_socket(family, type, protocol, ec); }); }
#endif

#ifdef __cpp_lib_expected
[[nodiscard]] inline result<std::vector<address>> try_resolve(zstring network, zstring name, deadline until = {},
                                                              const cancel_source *cancel = nullptr)
{ return detail::tried([&](auto &ec) { return resolve(network, name, until, cancel, ec); }); }
[[nodiscard]] inline result<std::vector<socket>> try_listen_fds(zstring name = nullptr)
{ return detail::tried([&](auto &ec) { return listen_fds(name, ec); }); }
[[nodiscard]] inline result<socket> try_attach(int fd)
{ return detail::tried([&](auto &ec) { return attach(fd, ec); }); }
[[nodiscard]] inline result<socket> try_make_socket(int family, int type, int protocol = 0)
{ return detail::tried([&](auto &ec) { return make_socket(family, type, protocol, ec); }); }
#endif

/* ---- Fibers -------------------------------------------------------------- */

namespace detail {

template <class F> void run_owned(void *arg) noexcept
{
    const std::unique_ptr<F> body(static_cast<F *>(arg));
    (*body)();
}

// Work of a group, which is done when this ends, wherever that is.
class pledge {
  public:
    explicit pledge(::netfd_group *group) noexcept : group_(group) {}
    pledge(pledge &&from) noexcept : group_(std::exchange(from.group_, nullptr)) {}
    pledge &operator=(pledge &&) = delete;
    ~pledge()
    {
        if (group_ != nullptr)
            ::netfd_group_done(group_);
    }

  private:
    ::netfd_group *group_;
};

template <class F> struct pledged {
    pledge done; // ends last: who waits for the group finds the body's captures gone
    F body;

    void operator()() { body(); }
};

} // namespace detail

/**
 * Starts a fiber, which runs `body()`: Go's `go`. As netfd_go().
 *
 * The fiber owns the closure, which may be one that can only be moved; it ends
 * in the fiber, once it has run. Where no fiber can be started it ends here,
 * not run, and what it captured with it. An exception that leaves it ends the
 * process by std::terminate(), as one that leaves a std::thread does.
 */
template <class F> void go(F &&body, std::error_code &ec)
{
    using closure = std::decay_t<F>;
    static_assert(std::is_invocable_v<closure &>, "a fiber's closure is called with nothing");
    std::unique_ptr<closure> owned(new (std::nothrow) closure(std::forward<F>(body)));
    detail::told(owned ? ::netfd_go(detail::run_owned<closure>, owned.get()) : -ENOMEM, ec);
    if (!ec)
        static_cast<void>(owned.release()); // the fiber's
}

#ifdef __cpp_exceptions
template <class F> void go(F &&body) { detail::thrown([&](auto &ec) { go(std::forward<F>(body), ec); }); }
#endif
#ifdef __cpp_lib_expected
template <class F> result<void> try_go(F &&body)
{ return detail::tried([&](auto &ec) { go(std::forward<F>(body), ec); }); }
#endif

/** Sleeps, a fiber or a thread. As netfd_sleep(). */
template <class Rep, class Period> void sleep(std::chrono::duration<Rep, Period> time) noexcept
{
    ::netfd_sleep(detail::nanoseconds(time));
}

/** Lets other fibers run. As netfd_yield(). */
inline void yield() noexcept { ::netfd_yield(); }

/** Whether the caller is a fiber. As netfd_in_fiber(). */
inline bool in_fiber() noexcept { return ::netfd_in_fiber() != 0; }

/**
 * How serve() goes about it. As netfd_serve_config.
 */
struct serve_options {
    std::chrono::nanoseconds drain_timeout{0}; /**< 0: as long as handlers like; negative: not at all */
    int max_connections = 0;                   /**< 0: as many as there are descriptors */
    std::size_t stack_size = 0;                /**< 0: 256 KiB */
    /** What is told of an exception that left a handler; on its fiber, several at once. */
    std::function<void(std::exception_ptr)> on_exception;
};

#ifdef __cpp_exceptions
inline namespace with_exceptions {
#else
inline namespace without_exceptions {
#endif
namespace parts {

template <class F> using returned = std::decay_t<std::invoke_result_t<F &>>;

template <class T> struct outcome {
    std::optional<T> value{};
    std::exception_ptr thrown{};

    template <class F> void run(F &body) noexcept
    {
        detail::guarded([&] { value.emplace(body()); }, thrown);
    }
    std::optional<T> take()
    {
        detail::rethrow(thrown);
        return std::move(value);
    }
};

template <> struct outcome<void> {
    std::exception_ptr thrown{};

    template <class F> void run(F &body) noexcept { detail::guarded(body, thrown); }
    void take() { detail::rethrow(thrown); }
};

template <class F> struct server {
    F &handler;
    const serve_options &how;

    static void visit(int fd, void *arg) noexcept
    {
        server &self = *static_cast<server *>(arg);
        conn peer(fd);
        detail::handled([&] { self.handler(static_cast<const conn &>(peer)); }, self.how.on_exception);
        peer.release(); // netfd_serve() ends it, unless the handler has
    }
};

} // namespace parts

/**
 * Accepts connections, and runs a fiber for each: `handler(const conn &)`.
 * As netfd_serve(); it returns when the last handler has: without an error
 * where the listener's cancel_source has fired, with errc::closed where the
 * listener was closed.
 *
 * The connection is closed when its handler returns. It is const, because
 * serve() has to find it until then: a handler that wants to keep it says
 * `netfd::conn mine{netfd::attach(peer.detach())};`.
 *
 * An exception that leaves a handler ends its connection and is told to
 * `on_exception`. Where that is empty a netfd::error is dropped, for peers go
 * away and must not take the server along, and any other exception ends the
 * process by std::terminate(). One handler serves all: calls of it run side
 * by side, on several threads.
 */
template <class F> void serve(const listener &door, F &&handler, const serve_options &how, std::error_code &ec)
{
    static_assert(std::is_invocable_v<F &, const conn &>, "a handler is called with a const netfd::conn &");
    using server = parts::server<std::remove_reference_t<F>>;
    server all{handler, how};
    ::netfd_serve_config config{};
    config.size = sizeof config;
    config.drain_timeout = how.drain_timeout.count();
    config.max_connections = how.max_connections;
    config.stack_size = how.stack_size;
    const int ended = ::netfd_serve(door.fd(), server::visit, &all, &config);
    detail::told(ended == -EBADF && !door ? NETFD_ECLOSED : ended, ec);
}

/**
 * Runs `body()`, which blocks or computes for long, on a helper thread, and
 * parks the fiber until it is done; outside a fiber it just runs it. As
 * netfd_block().
 *
 * @return what it returned, by value: a std::optional of it, empty with an
 *   error: it has not run. Nothing where it returns nothing
 *
 * An exception that leaves it leaves this call, in all forms of it.
 */
template <class F> auto block(F &&body, std::error_code &ec)
{
    struct call {
        std::remove_reference_t<F> &body;
        parts::outcome<parts::returned<F>> outcome{};

        static void run(void *arg) noexcept
        {
            call &self = *static_cast<call *>(arg);
            self.outcome.run(self.body);
        }
    } made{body};
    detail::told(::netfd_block(call::run, &made), ec);
    return made.outcome.take();
}

#ifdef __cpp_exceptions
template <class F> void serve(const listener &door, F &&handler, const serve_options &how = {})
{ detail::thrown([&](auto &ec) { serve(door, handler, how, ec); }); }
template <class F> auto block(F &&body) -> parts::returned<F>
{
    if constexpr (std::is_void_v<parts::returned<F>>)
        detail::thrown([&](auto &ec) { block(body, ec); });
    else
        return *detail::thrown([&](auto &ec) { return block(body, ec); });
}
#endif

#ifdef __cpp_lib_expected
template <class F> result<void> try_serve(const listener &door, F &&handler, const serve_options &how = {})
{ return detail::tried([&](auto &ec) { serve(door, handler, how, ec); }); }
template <class F> auto try_block(F &&body) -> result<parts::returned<F>>
{
    std::error_code ec;
    if constexpr (std::is_void_v<parts::returned<F>>) {
        block(body, ec);
        if (!ec)
            return {};
    } else {
        auto value = block(body, ec);
        if (!ec)
            return *std::move(value);
    }
    return std::unexpected(ec);
}
#endif
} // inline namespace

/**
 * A wait group: counts work that threads and fibers wait for, Go's
 * sync.WaitGroup. netfd_group_new(), owned.
 *
 * Its end is the business of one who knows that nobody waits and no work is
 * left. Moved from, it is none, and calls fail with std::errc::bad_address.
 */
class group {
  public:
    /** Makes one; on failure (std::errc::not_enough_memory) it is none. */
    explicit group(std::error_code &ec) noexcept : it_(::netfd_group_new()) { detail::told(it_ ? 0 : -ENOMEM, ec); }
#ifdef __cpp_exceptions
    group() : group(detail::thrown([](auto &ec) { return group(ec); })) {}
#endif

    /** Counts more work; negative: that much is done. As netfd_group_add(). */
    void add(int n, std::error_code &ec) const noexcept { detail::told(::netfd_group_add(get(), n), ec); }
    /** One piece of work is done. As netfd_group_done(). */
    void done(std::error_code &ec) const noexcept { detail::told(::netfd_group_done(get()), ec); }

    /** Parks until all work is done. As netfd_group_wait(). */
    void wait(deadline until, const cancel_source *cancel, std::error_code &ec) const noexcept
    {
        detail::told(::netfd_group_wait(get(), until.ns(), detail::token(cancel)), ec);
    }

    /**
     * Starts a fiber as netfd::go() does, which counts as a piece of work until
     * it has run and its closure has ended. Follows Go `WaitGroup.Go`.
     */
    template <class F> void go(F &&body, std::error_code &ec) const
    {
        add(1, ec);
        if (!ec)
            netfd::go(detail::pledged<std::decay_t<F>>{detail::pledge(get()), std::forward<F>(body)}, ec);
    }

    /** The group as C has it; it stays owned. NULL where it was moved from. */
    ::netfd_group *get() const noexcept { return it_.get(); }

#ifdef __cpp_exceptions
    void add(int n = 1) const { detail::thrown([&](auto &ec) { add(n, ec); }); }
    void done() const { detail::thrown([&](auto &ec) { done(ec); }); }
    void wait(deadline until = {}, const cancel_source *cancel = nullptr) const
    { detail::thrown([&](auto &ec) { wait(until, cancel, ec); }); }
    template <class F> void go(F &&body) const { detail::thrown([&](auto &ec) { go(std::forward<F>(body), ec); }); }
#endif

#ifdef __cpp_lib_expected
    result<void> try_add(int n = 1) const { return detail::tried([&](auto &ec) { add(n, ec); }); }
    result<void> try_done() const { return detail::tried([&](auto &ec) { done(ec); }); }
    result<void> try_wait(deadline until = {}, const cancel_source *cancel = nullptr) const
    { return detail::tried([&](auto &ec) { wait(until, cancel, ec); }); }
    template <class F> result<void> try_go(F &&body) const
    { return detail::tried([&](auto &ec) { go(std::forward<F>(body), ec); }); }
#endif

  private:
    struct deleter {
        void operator()(::netfd_group *group) const noexcept { ::netfd_group_free(group); }
    };
    std::unique_ptr<::netfd_group, deleter> it_;
};

/** Counts of the whole process: open descriptors, parked callers, fibers. As netfd_stats(). */
inline struct ::netfd_stats stats() noexcept
{
    struct ::netfd_stats now{};
    now.size = sizeof now;
    ::netfd_stats(&now);
    return now;
}

} // namespace netfd

#endif /* NETFD_HPP */
