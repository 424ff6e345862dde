/* What the library's calls cost in instructions.
 *
 *   valgrind --tool=callgrind ./instructions WHAT N
 *
 * calls WHAT N times in a loop that is the same for all. The difference between
 * N and 2N, by N, is one turn of the loop; less the same for `recv` or `send`,
 * it is what the library puts around the system call. */
#include "../include/netfd.h"

#include "shared/bench.h"

#define CHUNK 64
#define IDLE (30 * INT64_C(1000000000))

static int ours, theirs;
static char buf[CHUNK];

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

static ssize_t do_recv(void) { return recv(ours, buf, CHUNK, 0); }
static ssize_t do_send(void) { return send(ours, buf, CHUNK, MSG_NOSIGNAL); }
static ssize_t do_read(void) { return netfd_read(ours, buf, CHUNK); }
static ssize_t do_write(void) { return netfd_write(ours, buf, CHUNK); }
static ssize_t do_set(void) { return netfd_set_read_deadline(ours, INT64_MAX); }
static ssize_t do_nothing(void) { return 0; }

static const struct what {
    const char *name;
    ssize_t (*call)(void), result;
    int deadline;
} WHATS[] = {
    {"nothing", do_nothing, 0, 0},   {"recv", do_recv, CHUNK, 0},
    {"send", do_send, CHUNK, 0},     {"read", do_read, CHUNK, 0},
    {"read-deadline", do_read, CHUNK, 1},
    {"write", do_write, CHUNK, 0},   {"set_read_deadline", do_set, 0, 0},
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
    fill();
    for (int i = 0; i < count; i++)
        if (w->call() != w->result) fail(w->name);
    return 0;
}
