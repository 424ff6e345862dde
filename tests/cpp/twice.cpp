// The header alone, and twice.
#include "netfd.hpp"
#include "netfd.hpp"

int main()
{
    return netfd::in_fiber() ? 1 : 0;
}
