/* What the test programs share: checks that tell their line, threads that are
 * expected to end, pairs of sockets, and callers that are going to park. */
#ifndef CHECK_H
#define CHECK_H

#include "netfd.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MS INT64_C(1000000)
#define SECOND (1000 * MS)
#define HELPER __attribute__((unused)) static

/* Ends the process with a message unless both are the same number. */
#define EQ(got, want) equal(__FILE__, __LINE__, #got, (got), (want))
/* Likewise, unless something is so. */
#define CHECK(so) equal(__FILE__, __LINE__, #so, !!(so), 1)

HELPER void equal(const char *file, int line, const char *what, long long got,
                  long long want) {
    if (got == want)
        return;
    char text[512];
    netfd_error_text(text, sizeof text);
    dprintf(2, "%s:%d: %s: got %lld, want %lld (last failure: %s)\n", file, line,
            what, got, want, text);
    _exit(1);
}

HELPER void pause_ms(long ms) {
    struct timespec time = {ms / 1000, ms % 1000 * MS};
    while (nanosleep(&time, &time) != 0) {
    }
}

/* Between two looks at what is not so yet: on a busy machine sched_yield(2)
 * would give all others a slice each. */
HELPER void look_again(void) {
    struct timespec time = {0, MS / 10};
    nanosleep(&time, NULL);
}

HELPER pthread_t start(void *(*body)(void *), void *arg) {
    pthread_t thread;
    EQ(pthread_create(&thread, NULL, body, arg), 0);
    return thread;
}

/* Waits for a thread to end, 8 s at most. */
HELPER void *joined(pthread_t thread) {
    struct timespec until;
    void *result = NULL;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 8;
    EQ(pthread_timedjoin_np(thread, &result, &until), 0);
    return result;
}

HELPER uint64_t parked(void) {
    struct netfd_stats stats;
    memset(&stats, 0, sizeof stats);
    stats.size = sizeof stats;
    EQ(netfd_stats(&stats), 0);
    return stats.parked;
}

/* Waits until `n` callers are parked in this process. */
HELPER void await_parked(uint64_t n) {
    for (int64_t until = netfd_after(8 * SECOND); parked() != n;) {
        if (netfd_now() > until)
            EQ(parked(), n);
        look_again();
    }
}

HELPER void make_pair(int pair[2]) {
    EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    EQ(netfd_attach(pair[0]), pair[0]);
    EQ(netfd_attach(pair[1]), pair[1]);
}

HELPER void destroy_pair(const int pair[2]) {
    EQ(netfd_destroy(pair[0]), 0);
    EQ(netfd_destroy(pair[1]), 0);
}

/* Sends a byte from each end to the other. */
HELPER void echo_over(const int pair[2]) {
    for (int from = 0; from < 2; from++) {
        char byte = 0;
        EQ(netfd_write(pair[from], "e", 1), 1);
        EQ(netfd_read(pair[1 - from], &byte, 1), 1);
        EQ(byte, 'e');
    }
}

/* A listener on 127.0.0.1, and where it listens. */
HELPER int make_listener(struct sockaddr_in *at) {
    socklen_t len = sizeof *at;
    memset(at, 0, sizeof *at);
    at->sin_family = AF_INET;
    at->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = netfd_sys_socket(AF_INET, SOCK_STREAM, 0);
    CHECK(fd >= 0);
    EQ(netfd_listen_stream(fd, (struct sockaddr *)at, len, 0), 0);
    EQ(netfd_local_addr(fd, (struct sockaddr *)at, &len), 0);
    return fd;
}

HELPER int connect_to(const struct sockaddr_in *at) {
    int fd = netfd_sys_socket(AF_INET, SOCK_STREAM, 0);
    CHECK(fd >= 0);
    EQ(netfd_connect(fd, NULL, 0, (const struct sockaddr *)at, sizeof *at, 0, NULL),
       0);
    return fd;
}

/* One call in a thread of its own. */
struct caller {
    enum { READS, WRITES, ACCEPTS, WAITS } what;
    int fd;
    size_t len; /* of a write; a read takes one byte */
    long result;
    pthread_t thread;
};

HELPER long call(const struct caller *caller) {
    char byte;
    switch (caller->what) {
    case READS:
        return netfd_read(caller->fd, &byte, 1);
    case ACCEPTS:
        return netfd_accept(caller->fd, NULL, NULL);
    case WAITS:
        return netfd_wait(caller->fd, NETFD_READABLE, NETFD_NO_DEADLINE);
    case WRITES:
        break;
    }
    char *block = calloc(1, caller->len);
    CHECK(block != NULL);
    long n = netfd_write(caller->fd, block, caller->len);
    free(block);
    return n;
}

HELPER void *call_in_thread(void *arg) {
    struct caller *caller = arg;
    caller->result = call(caller);
    return NULL;
}

HELPER void begin(struct caller *caller) {
    caller->thread = start(call_in_thread, caller);
}

HELPER long result_of(struct caller *caller) {
    joined(caller->thread);
    return caller->result;
}

/* The processor time that a thread has used. */
HELPER int64_t cpu_of(pthread_t thread) {
    clockid_t clock;
    struct timespec used;
    EQ(pthread_getcpuclockid(thread, &clock), 0);
    EQ(clock_gettime(clock, &used), 0);
    return used.tv_sec * SECOND + used.tv_nsec;
}

/* Sees that a parked thread sleeps, and does not spin. */
HELPER void check_asleep(pthread_t thread) {
    int64_t before = cpu_of(thread);
    pause_ms(100);
    CHECK(cpu_of(thread) - before < 20 * MS);
}

/* A byte by which processes meet. */
HELPER void tell(const int pipe[2]) { EQ(write(pipe[1], "t", 1), 1); }

HELPER void hear(const int pipe[2]) {
    char byte;
    ssize_t n;
    do
        n = read(pipe[0], &byte, 1);
    while (n < 0 && errno == EINTR);
    EQ(n, 1);
}

/* How many descriptors are open. */
HELPER int open_fds(void) {
    int n = 0;
    for (int fd = 0; fd < 1024; fd++) {
        struct pollfd one = {fd, 0, 0};
        n += poll(&one, 1, 0) == 0 || !(one.revents & POLLNVAL);
    }
    return n;
}

/* The scenarios of a program, by name. */
struct scenario {
    const char *name;
    void (*run)(void);
};

HELPER int run_scenario(const struct scenario *all, size_t n, const char *name) {
    for (size_t at = 0; at < n; at++) {
        if (name != NULL && strcmp(all[at].name, name) == 0) {
            all[at].run();
            return 0;
        }
    }
    dprintf(2, "no such scenario\n");
    return 2;
}

#endif
