/*
 * What the examples share, so that each of them can be about one thing: a call
 * that fails is explained and ends the program, a message is read whole, a
 * listener is made and accepted from.
 */
#ifndef EXAMPLE_H
#define EXAMPLE_H

#include "netfd.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define MS INT64_C(1000000) /* in nanoseconds, as all times are */
#define SECOND (1000 * MS)

/* Says why this thread's last call failed: "read tcp A->B: i/o timeout". */
static inline void complain(void)
{
    char text[512];

    netfd_error_text(text, sizeof text);
    fprintf(stderr, "%s\n", text);
}

static inline void fail(const char *why)
{
    fprintf(stderr, "%s\n", why);
    exit(1);
}

/* Passes on what a call returned, and ends the program if it failed. */
static inline ssize_t check(ssize_t result)
{
    if (result < 0) {
        complain();
        exit(1);
    }
    return result;
}

/* Writes a message. A short count would mean that something stopped it. */
static inline void write_whole(int fd, const void *message, size_t len)
{
    if (check(netfd_write(fd, message, len)) != (ssize_t)len)
        check(netfd_last_error(NULL));
}

/* Reads a message of known length. A short count is normal here. */
static inline void read_whole(int fd, void *message, size_t len)
{
    size_t have = 0;

    while (have < len) {
        ssize_t n = check(netfd_read(fd, (char *)message + have, len - have));
        if (n == 0)
            fail("the other end hung up");
        have += (size_t)n;
    }
}

static inline pthread_t start(void *(*run)(void *), void *arg)
{
    pthread_t thread;
    int error = pthread_create(&thread, NULL, run, arg);

    if (error != 0)
        fail(netfd_strerror(-error));
    return thread;
}

/* Waits until so many threads are parked in calls of the library. */
static inline void await_parked(unsigned n)
{
    int64_t limit = netfd_after(10 * SECOND);
    struct netfd_stats stats;

    stats.size = sizeof stats;
    while (check(netfd_stats(&stats)) == 0 && stats.parked < n) {
        if (netfd_now() > limit)
            fail("a call came back that should wait");
        poll(NULL, 0, 1); /* a millisecond for them to get there */
    }
}

/* Says where a listener is. */
static inline void tell_where(int listener, const char *program)
{
    char text[NETFD_ADDR_TEXT];
    struct sockaddr_storage at;
    socklen_t len = sizeof at;

    check(netfd_local_addr(listener, (struct sockaddr *)&at, &len));
    check(netfd_addr_format((struct sockaddr *)&at, len, text, sizeof text));
    printf("%s: listening on %s\n", program, text);
    fflush(stdout); /* scripts read this line */
}

/* A listener on a port of 127.0.0.1, "0" for any. It is told where it is. */
static inline int listen_on(const char *port, const char *program)
{
    char text[NETFD_ADDR_TEXT];
    int fd;

    snprintf(text, sizeof text, "127.0.0.1:%s", port);
    fd = check(netfd_listen("tcp", text, NULL));
    tell_where(fd, program);
    return fd;
}

/* The next connection, or -1 once the listener's token has been fired. */
static inline int accept_next(int listener)
{
    struct netfd_error error;
    int fd;

    while ((fd = netfd_accept(listener, NULL, NULL)) < 0) {
        if (fd == NETFD_ECANCELED)
            return -1;
        complain();
        error.size = sizeof error;
        netfd_last_error(&error);
        if (!(error.flags & NETFD_ERROR_TEMPORARY))
            exit(1);
        /* Out of descriptors, say; the connection stays queued. A pause that
         * the token ends, since a listener never becomes writable. */
        netfd_wait(listener, NETFD_WRITABLE, netfd_after(10 * MS));
    }
    return fd;
}

#endif
