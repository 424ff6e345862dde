// The unit of another standard, without exceptions and RTTI.
#include "units.hpp"

namespace two {

const std::error_category &category()
{
    return netfd::category();
}

std::error_code refused()
{
    std::error_code ec;
    netfd::dial_options how;
    how.control = [](int, const char *, const char *, std::error_code &error) { error = netfd::errc::closed; };
    (void)netfd::dial("tcp", "127.0.0.1:1", how, ec);
    return ec;
}

std::error_code read_from(const netfd::conn &peer)
{
    std::error_code ec;
    char byte;
    (void)peer.read({&byte, 1}, ec);
    return ec;
}

int all_calls(const netfd::listener &door, handler serves)
{
    std::error_code ec;
    const netfd::group all(ec);
    all.go(nothing(), ec);
    all.wait({}, nullptr, ec);
    netfd::go(nothing(), ec);
    netfd::serve(door, serves, {}, ec);
    return ec ? -1 : netfd::block(number{5}, ec).value_or(-1);
}

} // namespace two
