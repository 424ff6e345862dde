/*
 * fiber_echo: a fiber per connection, and an end in good order.
 *
 * Shows netfd_serve(), which accepts and runs a fiber for each connection, and
 * a handler in a straight line: its calls park it, and not the thread that runs
 * it and thousands of others. Ctrl-C fires the listener's token: nothing new is
 * accepted, connections have some seconds to end, and what is left then is
 * destroyed.
 *
 * Build: make -C c_examples; or, once that has built the library,
 *   cc -std=c99 -pthread -Iinclude c_examples/fiber_echo.c -o fiber_echo \
 *      -Lc_examples/build -lnetfd -Wl,-rpath,c_examples/build
 * Run: c_examples/build/fiber_echo [PORT [DRAIN_SECONDS [IDLE_SECONDS]]]
 */
#define _POSIX_C_SOURCE 200809L
#include "netfd.h"
#include "example.h"

#include <signal.h>
#include <string.h>

static struct netfd_cancel *stop; /* fired by Ctrl-C */
static int64_t idle = 60 * SECOND;

static void on_signal(int number)
{
    (void)number;
    netfd_cancel_fire(stop); /* async-signal-safe */
}

/* Whoever calls this destroys the connection when it returns. */
static void serve(int fd, void *arg)
{
    char buf[4096]; /* on the fiber's own stack */
    ssize_t n;

    (void)arg;
    do {
        netfd_set_deadline(fd, netfd_after(idle)); /* fails where the read does */
        n = netfd_read(fd, buf, sizeof buf);
        if (n > 0 && netfd_write(fd, buf, (size_t)n) != n)
            n = netfd_last_error(NULL); /* none or a part of it went: why */
    } while (n > 0);
    if (n < 0)
        complain();
}

int main(int argc, char **argv)
{
    struct netfd_serve_config how;
    struct sigaction action;
    int listener;

    memset(&how, 0, sizeof how);
    how.size = sizeof how;
    how.drain_timeout = (argc > 2 ? atoi(argv[2]) : 5) * SECOND;
    if (argc > 3)
        idle = atoi(argv[3]) * SECOND;
    if ((stop = netfd_cancel_new()) == NULL)
        fail("out of memory");
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);

    listener = listen_on(argc > 1 ? argv[1] : "0", "fiber_echo");
    check(netfd_set_cancel(listener, stop)); /* it alone, not the connections */
    check(netfd_serve(listener, serve, NULL, &how));
    check(netfd_destroy(listener));
    printf("fiber_echo: all ended\n");
    return 0; /* the token is not freed: a second Ctrl-C may still fire it */
}
