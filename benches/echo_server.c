/* The server that is measured: a thread for each connection, over netfd.
 *
 * Called as the servers in shared/ are: echo_server PORT [--threads N]
 * [--mode echo|sink|source] [--buf B]. The threads have raw-thread.c's
 * attributes, so that what differs between the two is the library. Before each
 * read the connection gets 30 s more to live; with --no-deadline it does not. */
#include "../include/netfd.h"

#include "shared/bench.h"
#include <pthread.h>

#define IDLE (30 * INT64_C(1000000000))

static struct opts O;
static int deadlines = 1;

static void *conn(void *arg) {
    int fd = (int)(intptr_t)arg;
    char b[O.buf];
    if (O.mode == M_SOURCE) memset(b, 'x', sizeof b);
    for (;;) {
        ssize_t n = O.buf;
        if (O.mode != M_SOURCE) {
            if (deadlines) netfd_set_read_deadline(fd, netfd_after(IDLE));
            if ((n = netfd_read(fd, b, O.buf)) <= 0) break;
        }
        if (O.mode != M_SINK && netfd_write(fd, b, n) != n) break;
    }
    netfd_destroy(fd);
    return 0;
}

/* As bench_listen(): TCP_NODELAY is inherited by what is accepted. */
static int listener(int port) {
    int one = 1, fd = netfd_sys_socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a;
    memset(&a, 0, sizeof a);
    a.sin_family = AF_INET;
    a.sin_port = htons(port);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    int code = fd < 0 ? fd : netfd_listen_stream(fd, (struct sockaddr *)&a, sizeof a, 4096);
    if (code < 0) {
        fprintf(stderr, "listen: %s\n", netfd_strerror(code));
        exit(1);
    }
    return fd;
}

int main(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[argc - 1], "--no-deadline")) {
        deadlines = 0;
        argc--;
    }
    O = bench_args(argc, argv, "netfd");
    int ls = listener(O.port);
    pthread_t th;
    pthread_attr_t at;
    pthread_attr_init(&at);
    pthread_attr_setstacksize(&at, 65536 + O.buf);
    pthread_attr_setdetachstate(&at, PTHREAD_CREATE_DETACHED);
    for (;;) {
        int fd = netfd_accept(ls, 0, 0);
        if (fd < 0) { usleep(1000); continue; }
        if (pthread_create(&th, &at, conn, (void *)(intptr_t)fd)) netfd_destroy(fd);
    }
}
