/*
 * fiber_proxy: what comes in goes on to another address, and back.
 *
 * Shows tcp_proxy again, by fibers: netfd_dial() and netfd_copy() park the
 * fiber, the two directions are two fibers that share what is on the stack of
 * one of them, and a wait group tells when both are done. The end of one
 * direction is passed on as just that while the other goes on. After Ctrl-C
 * nothing new is accepted, and what runs has some seconds.
 *
 * Build: make -C c_examples; or, once that has built the library,
 *   cc -std=c99 -pthread -Iinclude c_examples/fiber_proxy.c -o fiber_proxy \
 *      -Lc_examples/build -lnetfd -Wl,-rpath,c_examples/build
 * Run: c_examples/build/fiber_proxy TARGET [PORT [DRAIN_SECONDS]]
 */
#define _POSIX_C_SOURCE 200809L
#include "netfd.h"
#include "example.h"

#include <signal.h>
#include <string.h>

struct direction {
    int from, to;
    struct netfd_group *both;
};

static struct netfd_cancel *stop; /* fired by Ctrl-C */

static void on_signal(int number)
{
    (void)number;
    netfd_cancel_fire(stop);
}

/* One direction, to its end. The first to fail says why, and ends the other by
 * a deadline, which nobody else sets. */
static void forward(void *arg)
{
    struct direction *d = (struct direction *)arg;
    int64_t n;

    do /* a count means that it was stopped, or that the end is next */
        n = netfd_copy(d->to, d->from, -1);
    while (n > 0);
    if (n == 0)
        n = netfd_shutdown(d->to, SHUT_WR);
    if (n < 0) {
        if (n != NETFD_EDEADLINE)
            complain();
        netfd_set_deadline(d->from, netfd_now());
        netfd_set_deadline(d->to, netfd_now());
    }
    netfd_group_done(d->both);
}

static void forward_both_ways(int client, int target)
{
    struct direction there, back;
    struct netfd_group *both = netfd_group_new();

    if (both == NULL) {
        fprintf(stderr, "out of memory\n");
        return;
    }
    there.from = back.to = client;
    there.to = back.from = target;
    there.both = back.both = both;
    check(netfd_group_add(both, 2));
    if (netfd_go(forward, &back) == 0) {
        forward(&there);
        check(netfd_group_wait(both, NETFD_NO_DEADLINE, NULL));
    } else {
        complain();
    }
    netfd_group_free(both);
}

static void serve(int client, void *arg)
{
    struct netfd_dial_config how;
    int target;

    memset(&how, 0, sizeof how);
    how.size = sizeof how;
    how.deadline = netfd_after(10 * SECOND);
    how.cancel = stop;
    if ((target = netfd_dial("tcp", (const char *)arg, &how)) < 0) {
        complain();
        return;
    }
    forward_both_ways(client, target);
    netfd_destroy(target); /* the client's end is netfd_serve()'s */
}

int main(int argc, char **argv)
{
    struct netfd_serve_config how;
    struct sigaction action;
    int listener;

    if (argc < 2)
        fail("usage: fiber_proxy TARGET [PORT [DRAIN_SECONDS]]");
    memset(&how, 0, sizeof how);
    how.size = sizeof how;
    how.drain_timeout = (argc > 3 ? atoi(argv[3]) : 5) * SECOND;
    if ((stop = netfd_cancel_new()) == NULL)
        fail("out of memory");
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);

    listener = listen_on(argc > 2 ? argv[2] : "0", "fiber_proxy");
    check(netfd_set_cancel(listener, stop)); /* it alone, not the connections */
    check(netfd_serve(listener, serve, argv[1], &how));
    check(netfd_destroy(listener));
    printf("fiber_proxy: all ended\n");
    return 0; /* the token is not freed: a second Ctrl-C may still fire it */
}
