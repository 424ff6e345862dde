/* What it costs to pass bytes on from one TCP connection to another.
 *
 *   ./copy netfd|splice|readwrite MIB
 *
 * A thread writes MIB MiB in chunks of 64 KiB, another one reads and drops
 * them, and a third one stands between: netfd_copy(), or a loop over splice(2)
 * and a pipe of 1 MiB as one would write it by hand, or one over read(2) and
 * write(2) of 64 KiB. Prints the nanoseconds of CPU of that third thread for
 * each MiB. Most of them are the kernel's, for the two connections. */
#define _GNU_SOURCE
#include "../include/netfd.h"

#include "shared/bench.h"
#include <poll.h>
#include <pthread.h>

#define CHUNK 65536
#define PIPE 1048576

static long long total;

static void fail(const char *what, int code) {
    fprintf(stderr, "%s: %s\n", what, netfd_strerror(code));
    exit(1);
}

/* Two ends of a connection over loopback. */
static void connected(int ends[2]) {
    struct sockaddr_in a;
    socklen_t len = sizeof a;
    int one = 1, ls = socket(AF_INET, SOCK_STREAM, 0);
    memset(&a, 0, sizeof a);
    a.sin_family = AF_INET;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ends[0] = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(ls, (struct sockaddr *)&a, sizeof a) || listen(ls, 1) ||
        getsockname(ls, (struct sockaddr *)&a, &len) ||
        connect(ends[0], (struct sockaddr *)&a, sizeof a) || (ends[1] = accept(ls, 0, 0)) < 0)
        fail("connect", -errno);
    for (int i = 0; i < 2; i++) setsockopt(ends[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    close(ls);
}

static void *feed(void *arg) {
    int fd = (int)(intptr_t)arg;
    char *b = calloc(1, CHUNK);
    for (long long left = total; left > 0;) {
        ssize_t n = write(fd, b, left < CHUNK ? left : CHUNK);
        if (n < 0) fail("write", -errno);
        left -= n;
    }
    shutdown(fd, SHUT_WR);
    free(b);
    return 0;
}

static void *drop(void *arg) {
    int fd = (int)(intptr_t)arg;
    char *b = malloc(PIPE);
    long long got = 0;
    ssize_t n;
    while ((n = recv(fd, b, PIPE, MSG_TRUNC)) > 0) got += n;
    if (n < 0 || got != total) fail("recv", n < 0 ? -errno : -EIO);
    free(b);
    return 0;
}

static void by_netfd(int dst, int src) {
    int64_t n, all = 0;
    netfd_attach(dst);
    netfd_attach(src);
    while ((n = netfd_copy(dst, src, -1)) > 0) all += n;
    if (n < 0 || all != total) fail("netfd_copy", n < 0 ? (int)n : -EIO);
}

static void await(int fd, short events) {
    struct pollfd one = {fd, events, 0};
    if (poll(&one, 1, -1) < 0) fail("poll", -errno);
}

static void by_splice(int dst, int src) {
    int p[2];
    fcntl(dst, F_SETFL, O_NONBLOCK);
    fcntl(src, F_SETFL, O_NONBLOCK);
    if (pipe2(p, O_NONBLOCK) || fcntl(p[1], F_SETPIPE_SZ, PIPE) < 0) fail("pipe", -errno);
    for (;;) {
        ssize_t n = splice(src, 0, p[1], 0, PIPE, SPLICE_F_NONBLOCK);
        if (n == 0) break;
        if (n < 0) {
            if (errno != EAGAIN) fail("splice in", -errno);
            await(src, POLLIN);
            continue;
        }
        while (n > 0) {
            ssize_t m = splice(p[0], 0, dst, 0, n, SPLICE_F_NONBLOCK);
            if (m > 0) { n -= m; continue; }
            if (errno != EAGAIN) fail("splice out", -errno);
            await(dst, POLLOUT);
        }
    }
    close(p[0]);
    close(p[1]);
}

static void by_readwrite(int dst, int src) {
    char *b = malloc(CHUNK);
    ssize_t n;
    while ((n = read(src, b, CHUNK)) > 0)
        for (ssize_t at = 0; at < n;) {
            ssize_t m = write(dst, b + at, n - at);
            if (m < 0) fail("write", -errno);
            at += m;
        }
    if (n < 0) fail("read", -errno);
    free(b);
}

static int64_t cpu(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

int main(int argc, char **argv) {
    long long mib = argc == 3 ? atoll(argv[2]) : 0;
    void (*between)(int, int) = 0;
    if (argc == 3 && !strcmp(argv[1], "netfd")) between = by_netfd;
    if (argc == 3 && !strcmp(argv[1], "splice")) between = by_splice;
    if (argc == 3 && !strcmp(argv[1], "readwrite")) between = by_readwrite;
    if (!between || mib <= 0) {
        fprintf(stderr, "usage: copy netfd|splice|readwrite MIB\n");
        return 2;
    }
    total = mib * PIPE;
    int in[2], out[2];
    connected(in);
    connected(out);
    pthread_t feeder, dropper;
    pthread_create(&dropper, 0, drop, (void *)(intptr_t)out[1]);
    pthread_create(&feeder, 0, feed, (void *)(intptr_t)in[0]);
    int64_t before = cpu();
    between(out[0], in[1]);
    printf("%.0f\n", (double)(cpu() - before) / mib);
    shutdown(out[0], SHUT_WR);
    pthread_join(feeder, 0);
    pthread_join(dropper, 0);
    return 0;
}
