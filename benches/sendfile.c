/* What it costs to send a file.
 *
 *   ./sendfile netfd|plain MIB
 *
 * A file of MIB MiB that is in memory is sent over a TCP connection, whose
 * other end another thread reads and drops: by one netfd_sendfile(), or by a
 * loop over sendfile(2) on a blocking socket. Prints the sender's nanoseconds
 * of CPU for each MiB. */
#define _GNU_SOURCE
#include "../include/netfd.h"

#include "shared/bench.h"
#include <pthread.h>
#include <sys/mman.h>
#include <sys/sendfile.h>

#define ROOM 1048576

static long long total;

static void fail(const char *what, int code) {
    fprintf(stderr, "%s: %s\n", what, netfd_strerror(code));
    exit(1);
}

static void connected(int ends[2]) {
    struct sockaddr_in a;
    socklen_t len = sizeof a;
    int ls = socket(AF_INET, SOCK_STREAM, 0);
    memset(&a, 0, sizeof a);
    a.sin_family = AF_INET;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ends[0] = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(ls, (struct sockaddr *)&a, sizeof a) || listen(ls, 1) ||
        getsockname(ls, (struct sockaddr *)&a, &len) ||
        connect(ends[0], (struct sockaddr *)&a, sizeof a) || (ends[1] = accept(ls, 0, 0)) < 0)
        fail("connect", -errno);
    close(ls);
}

static void *drop(void *arg) {
    int fd = (int)(intptr_t)arg;
    char *b = malloc(ROOM);
    long long got = 0;
    ssize_t n;
    while ((n = recv(fd, b, ROOM, MSG_TRUNC)) > 0) got += n;
    if (n < 0 || got != total) fail("recv", n < 0 ? -errno : -EIO);
    free(b);
    return 0;
}

/* Its pages exist: no hole. */
static int file(void) {
    int fd = memfd_create("file", 0);
    if (fd < 0 || ftruncate(fd, total)) fail("memfd_create", -errno);
    char *all = mmap(0, total, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (all == MAP_FAILED) fail("mmap", -errno);
    memset(all, 'x', total);
    munmap(all, total);
    return fd;
}

static int64_t cpu(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

int main(int argc, char **argv) {
    long long mib = argc == 3 ? atoll(argv[2]) : 0;
    int ours = argc == 3 && !strcmp(argv[1], "netfd");
    if (mib <= 0 || (!ours && strcmp(argv[1], "plain"))) {
        fprintf(stderr, "usage: sendfile netfd|plain MIB\n");
        return 2;
    }
    total = mib * ROOM;
    int ends[2], from = file();
    connected(ends);
    pthread_t dropper;
    pthread_create(&dropper, 0, drop, (void *)(intptr_t)ends[1]);
    int64_t before = cpu();
    if (ours) {
        netfd_attach(ends[0]);
        int64_t n = netfd_sendfile(ends[0], from, 0, total);
        if (n != total) fail("netfd_sendfile", n < 0 ? (int)n : -EIO);
    } else {
        for (off_t at = 0; at < total;)
            if (sendfile(ends[0], from, &at, total - at) <= 0) fail("sendfile", -errno);
    }
    printf("%.0f\n", (double)(cpu() - before) / mib);
    shutdown(ends[0], SHUT_WR);
    pthread_join(dropper, 0);
    return 0;
}
