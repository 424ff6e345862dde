/* The server that is measured: a fiber for each connection, over netfd.
 *
 * Called as the servers in shared/ are: fiber_echo PORT [--threads N]
 * [--mode echo|sink|source] [--buf B]. N is the number of workers. With
 * --deadline the connection gets 30 s more to live before each read. It
 * accepts in a fiber: in main it would wake a worker for each connection. */
#define _GNU_SOURCE
#include "../include/netfd.h"

#include "shared/bench.h"

#define IDLE (30 * INT64_C(1000000000))

static struct opts O;
static int deadlines = 0;

static void conn(int fd, void *arg) {
    char b[O.buf];
    (void)arg;
    if (O.mode == M_SOURCE) memset(b, 'x', sizeof b);
    for (;;) {
        ssize_t n = O.buf;
        if (O.mode != M_SOURCE) {
            if (deadlines) netfd_set_read_deadline(fd, netfd_after(IDLE));
            if ((n = netfd_read(fd, b, O.buf)) <= 0) break;
        }
        if (O.mode != M_SINK && netfd_write(fd, b, n) != n) break;
    }
}

static void serve(void *arg) {
    int code = netfd_serve(*(int *)arg, conn, NULL, NULL);
    fprintf(stderr, "serve: %s\n", netfd_strerror(code));
    exit(1);
}

int main(int argc, char **argv) {
    char address[64];
    if (argc > 1 && !strcmp(argv[argc - 1], "--deadline")) {
        deadlines = 1;
        argc--;
    }
    O = bench_args(argc, argv, "netfd");
    snprintf(address, sizeof address, "%d", O.threads);
    setenv("NETFD_WORKERS", address, 1);
    snprintf(address, sizeof address, "127.0.0.1:%d", O.port);
    int listener = netfd_listen("tcp", address, NULL);
    if (listener < 0 || netfd_go(serve, &listener)) return 1;
    for (;;) pause();
}
