/*
 * fiber_http: HTTP/1.1 with keep-alive, a fiber for each connection.
 *
 * Shows http_hello without its threads: as many clients as there are
 * descriptors, each served in a straight line, and connections that wait for
 * their next request cost a stack and no thread. A deadline covers a whole
 * request. The stop finishes the answers under way: a connection has the token
 * only while it waits for a request.
 *
 * Build: make -C c_examples; or, once that has built the library,
 *   cc -std=c99 -pthread -Iinclude c_examples/fiber_http.c -o fiber_http \
 *      -Lc_examples/build -lnetfd -Wl,-rpath,c_examples/build
 * Run: c_examples/build/fiber_http [PORT [DRAIN_SECONDS]]
 */
#define _POSIX_C_SOURCE 200809L
#include "netfd.h"
#include "example.h"
#include "http.h"

#include <signal.h>

static struct netfd_cancel *stop; /* fired by Ctrl-C */

static void on_signal(int number)
{
    (void)number;
    netfd_cancel_fire(stop);
}

/* Waits for a request. Returns its length, or 0: no more of them. What fails
 * besides the read fails because the connection was destroyed: so does that. */
static size_t await_request(struct client *c)
{
    size_t len;

    netfd_set_cancel(c->fd, stop);
    netfd_set_read_deadline(c->fd, netfd_after(30 * SECOND));
    len = receive(c);
    netfd_set_cancel(c->fd, NULL); /* what was asked gets its answer */
    return len;
}

static void serve(int fd, void *arg)
{
    struct client c; /* 8 KiB of the fiber's stack */
    size_t len;

    (void)arg;
    c.fd = fd;
    c.have = 0;
    c.in[0] = '\0';
    do {
        c.head = c.keep_open = 0;
        if ((len = await_request(&c)) == 0)
            break;
        if (c.status == fine)
            c.status = find_hello(&c);
        if (c.status == bad || netfd_cancel_fired(stop))
            c.keep_open = 0;
        if (!answer_hello(&c))
            break;
        drop(&c, len);
    } while (c.keep_open);
    if (len > 0)
        hang_up(&c);
}

int main(int argc, char **argv)
{
    struct netfd_serve_config how;
    struct sigaction action;
    int listener;

    memset(&how, 0, sizeof how);
    how.size = sizeof how;
    how.drain_timeout = (argc > 2 ? atoi(argv[2]) : 5) * SECOND;
    if ((stop = netfd_cancel_new()) == NULL)
        fail("out of memory");
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);

    listener = listen_on(argc > 1 ? argv[1] : "0", "fiber_http");
    check(netfd_set_cancel(listener, stop));
    check(netfd_serve(listener, serve, NULL, &how));
    check(netfd_destroy(listener));
    printf("fiber_http: all ended\n");
    return 0; /* the token is not freed: a second Ctrl-C may still fire it */
}
