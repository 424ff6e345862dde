/* What the library's calls cost in instructions.
 *
 *   valgrind --tool=callgrind ./instructions WHAT N
 *
 * calls WHAT N times in a loop that is the same for all. The difference between
 * 2N and N, by N, is one turn of the loop; less the same for the bare system
 * calls, it is what the library puts around them. */
#define _GNU_SOURCE /* ppoll */
#include "../include/netfd.h"

#include "shared/bench.h"
#include <poll.h>

#define CHUNK 64
#define IDLE (30 * INT64_C(1000000000))

static int ours, theirs;
static char buf[CHUNK], big[4096];

static void fail(const char *what) {
    fprintf(stderr, "%s failed\n", what);
    exit(1);
}

/* As many bytes as the calls will read, and as the buffer of a unix socket
 * holds: the reader finds data each time. */
static void fill(void) {
    static char all[CHUNK * 1000];
    if (write(theirs, all, sizeof all) != (ssize_t)sizeof all) fail("fill");
}

static ssize_t do_feed(void) { return write(theirs, buf, CHUNK); }
static ssize_t do_recv(void) { return recv(ours, buf, CHUNK, 0); }
static ssize_t do_send(void) { return send(ours, buf, CHUNK, MSG_NOSIGNAL); }
static ssize_t do_read(void) { return netfd_read(ours, buf, CHUNK); }
static ssize_t do_write(void) { return netfd_write(ours, buf, CHUNK); }
/* A read that finds less than it asked for takes the way that waits first; so
 * does each turn here. */
static ssize_t do_ppoll(void) {
    struct pollfd p[2] = {{ours, POLLIN, 0}, {-1, POLLIN, 0}};
    struct timespec t = {30, 0};
    return do_feed() == CHUNK && ppoll(p, 2, &t, 0) == 1 ? recv(ours, big, sizeof big, 0) : -1;
}
static ssize_t do_wait(void) { return do_feed() == CHUNK ? netfd_read(ours, big, sizeof big) : -1; }
static ssize_t do_set(void) { return netfd_set_read_deadline(ours, INT64_MAX); }
static ssize_t do_nothing(void) { return 0; }

static const struct what {
    const char *name;
    ssize_t (*call)(void), result;
    int full, deadline; /* data for all reads lies there; a deadline is set */
} WHATS[] = {
    {"nothing", do_nothing, 0, 0, 0},
    {"recv", do_recv, CHUNK, 1, 0},
    {"ppoll-recv", do_ppoll, CHUNK, 0, 0},
    {"send", do_send, CHUNK, 0, 0},
    {"read", do_read, CHUNK, 1, 0},
    {"read-deadline", do_read, CHUNK, 1, 1},
    {"wait-read", do_wait, CHUNK, 0, 0},
    {"wait-read-deadline", do_wait, CHUNK, 0, 1},
    {"write", do_write, CHUNK, 0, 0},
    {"set_read_deadline", do_set, 0, 0, 0},
};

int main(int argc, char **argv) {
    const struct what *w = 0;
    for (size_t i = 0; argc == 3 && i < sizeof WHATS / sizeof *WHATS; i++)
        if (!strcmp(argv[1], WHATS[i].name)) w = &WHATS[i];
    if (!w) {
        fprintf(stderr, "usage: instructions WHAT N\n");
        return 2;
    }
    int pair[2], count = atoi(argv[2]), size = 1 << 20;
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair)) fail("socketpair");
    ours = pair[0];
    theirs = pair[1];
    setsockopt(ours, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    setsockopt(theirs, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    if (netfd_attach(ours) != ours) fail("attach");
    if (w->deadline) netfd_set_read_deadline(ours, netfd_after(IDLE));
    if (w->full) fill();
    for (int i = 0; i < count; i++)
        if (w->call() != w->result) fail(w->name);
    return 0;
}
