/*
 * http_hello: HTTP/1.1 with keep-alive, by threads that all accept.
 *
 * Shows a fixed number of threads in netfd_accept() on one listener, where
 * each connection wakes one of them; a deadline for a whole request, which a
 * client that sends a byte now and then does not outlive; and a stop that
 * finishes the answer under way: a connection has the token only while it
 * waits for a request.
 *
 * Build: make -C c_examples; or, once that has built the library,
 *   cc -std=c99 -pthread -Iinclude c_examples/http_hello.c -o http_hello \
 *      -Lc_examples/build -lnetfd -Wl,-rpath,c_examples/build
 * Run: c_examples/build/http_hello [PORT [THREADS]]
 */
#define _POSIX_C_SOURCE 200809L
#include "netfd.h"
#include "example.h"
#include "http.h"

#include <signal.h>

enum { MOST_THREADS = 1024 }; /* clients at a time */

static struct netfd_cancel *stop; /* fired by Ctrl-C */

static void on_signal(int number)
{
    (void)number;
    netfd_cancel_fire(stop);
}

/* Waits for a request. Returns its length, or 0: no more of them. */
static size_t await_request(struct client *c)
{
    size_t len;

    check(netfd_set_cancel(c->fd, stop));
    check(netfd_set_read_deadline(c->fd, netfd_after(30 * SECOND)));
    len = receive(c);
    check(netfd_set_cancel(c->fd, NULL)); /* what was asked gets its answer */
    return len;
}

static void serve(int fd)
{
    struct client c;
    size_t len;

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
    netfd_destroy(fd);
}

static void *work(void *listener)
{
    int fd;

    while ((fd = accept_next(*(int *)listener)) >= 0)
        serve(fd);
    return NULL;
}

int main(int argc, char **argv)
{
    int threads = argc > 2 ? atoi(argv[2]) : 512, listener, i;
    pthread_t thread[MOST_THREADS];
    struct sigaction action;

    if (threads < 1 || threads > MOST_THREADS)
        fail("usage: http_hello [PORT [THREADS up to 1024]]");
    if ((stop = netfd_cancel_new()) == NULL)
        fail("out of memory");
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);

    listener = listen_on(argc > 1 ? argv[1] : "0", "http_hello");
    check(netfd_set_cancel(listener, stop));
    for (i = 0; i < threads; i++)
        thread[i] = start(work, &listener);
    for (i = 0; i < threads; i++)
        pthread_join(thread[i], NULL);
    check(netfd_destroy(listener));
    printf("http_hello: all ended\n");
    return 0; /* the token is not freed: a second Ctrl-C may still fire it */
}
