// A program of two units of different kinds: what they use in common.
#ifndef UNITS_HPP
#define UNITS_HPP

#include "netfd.hpp"

// Types that both units instantiate the header's templates with.
using handler = void (*)(const netfd::conn &);
struct number {
    int value;
    int operator()() const { return value; }
};
struct nothing {
    void operator()() const {}
};

// Of the unit that knows no exceptions.
namespace [[gnu::visibility("default")]] two {
const std::error_category &category();
std::error_code refused();
std::error_code read_from(const netfd::conn &peer);
int all_calls(const netfd::listener &door, handler serves);
} // namespace two

#endif
