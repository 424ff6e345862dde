// C++ exceptions in fibers: thrown and caught inside, in flight over parks, in
// several fibers of one worker at once.
#include "netfd.h"

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <stdexcept>
#include <string>

namespace {

netfd_group *group;

#define CHECK(so)                                                                \
    do {                                                                         \
        if (!(so)) {                                                             \
            std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #so);        \
            std::_Exit(1);                                                       \
        }                                                                        \
    } while (0)

void park(long turn) {
    if (turn % 2 == 0)
        netfd_yield();
    else
        CHECK(netfd_sleep(100000) == 0);
}

// Thrown and caught inside, with parks before, between and after.
void throws_and_catches(long id) {
    for (int round = 0; round < 20; round++) {
        park(id + round);
        try {
            park(id);
            throw std::runtime_error(std::to_string(id));
        } catch (const std::exception &error) {
            CHECK(error.what() == std::to_string(id));
        }
    }
}

// Parks inside the handler: the exception is the current one still.
void parks_in_a_handler(long id) {
    for (int round = 0; round < 20; round++) {
        try {
            throw id;
        } catch (...) {
            park(id + round);
            try {
                throw; // the current one
            } catch (long seen) {
                CHECK(seen == id);
                park(id);
            }
            std::exception_ptr kept = std::current_exception();
            park(round);
            try {
                std::rethrow_exception(kept);
            } catch (long seen) {
                CHECK(seen == id);
            }
        }
        CHECK(!std::current_exception());
    }
}

struct ParksAtItsEnd {
    long id;
    ~ParksAtItsEnd() {
        int flying = std::uncaught_exceptions();
        for (int turn = 0; turn < 4; turn++) {
            park(id + turn);
            CHECK(std::uncaught_exceptions() == flying);
        }
        // One that is thrown and caught while another flies.
        try {
            throw std::string("inner");
        } catch (const std::string &) {
            park(id);
            CHECK(std::uncaught_exceptions() == flying);
        }
    }
};

// Parks in a destructor while the stack is unwound.
void parks_in_flight(long id) {
    for (int round = 0; round < 20; round++) {
        CHECK(std::uncaught_exceptions() == 0);
        try {
            ParksAtItsEnd guard{id};
            throw id;
        } catch (long seen) {
            CHECK(seen == id);
        }
        { ParksAtItsEnd calm{id}; }
        park(id);
    }
}

void run(void *arg) {
    long id = reinterpret_cast<long>(arg);
    CHECK(std::uncaught_exceptions() == 0 && !std::current_exception());
    if (id % 3 == 0)
        throws_and_catches(id);
    else if (id % 3 == 1)
        parks_in_a_handler(id);
    else
        parks_in_flight(id);
    CHECK(netfd_group_done(group) == 0);
}

} // namespace

int main() {
    group = netfd_group_new();
    for (long id = 0; id < 60; id++) {
        CHECK(netfd_group_add(group, 1) == 0);
        CHECK(netfd_go(run, reinterpret_cast<void *>(id)) == 0);
    }
    CHECK(netfd_group_wait(group, netfd_after(8000000000), nullptr) == 0);
    netfd_group_free(group);
    return 0;
}
