/*
 * fiber_chat: each line that somebody says goes to everybody.
 *
 * Shows a list under a mutex that is held for a moment only, and over no call
 * of the library: one that parks, or lets other fibers run, would keep it. So
 * a line is not written to the others; it is put into their letter boxes, which
 * are socket pairs and never block, and each client has a fiber of its own that
 * empties its box. A client that does not read keeps that fiber alone waiting,
 * until a write deadline drops it; a line for a box that is full is lost. A
 * wait group tells when the fiber has ended.
 *
 * Build: make -C c_examples; or, once that has built the library,
 *   cc -std=c99 -pthread -Iinclude c_examples/fiber_chat.c -o fiber_chat \
 *      -Lc_examples/build -lnetfd -Wl,-rpath,c_examples/build
 * Run: c_examples/build/fiber_chat [PORT [PATIENCE_MS]]
 */
#define _POSIX_C_SOURCE 200809L
#include "netfd.h"
#include "example.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

enum { LINE = 1024 }; /* bytes, its end included; longer ones are cut in two */

struct client {
    int fd;
    int slot, box; /* a pair of sockets: what goes in here comes out there */
    struct netfd_group *delivery;
    struct client *next, **here;
};

static struct netfd_cancel *stop; /* fired by Ctrl-C */
static int64_t patience = 5 * SECOND;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct client *clients; /* under the lock */

static void on_signal(int number)
{
    (void)number;
    netfd_cancel_fire(stop);
}

static void enter(struct client *c)
{
    pthread_mutex_lock(&lock);
    c->next = clients;
    c->here = &clients;
    if (clients != NULL)
        clients->here = &c->next;
    clients = c;
    pthread_mutex_unlock(&lock);
}

static void leave(struct client *c)
{
    pthread_mutex_lock(&lock);
    *c->here = c->next;
    if (c->next != NULL)
        c->next->here = c->here;
    pthread_mutex_unlock(&lock);
}

/* Puts a line into every box: send(2), which neither parks nor blocks. */
static void broadcast(const char *line, size_t len)
{
    struct client *c;

    pthread_mutex_lock(&lock);
    for (c = clients; c != NULL; c = c->next)
        (void)send(c->slot, line, len, MSG_DONTWAIT | MSG_NOSIGNAL); /* or it is full */
    pthread_mutex_unlock(&lock);
}

/* Writes what comes into the box, until nothing more can. */
static void deliver(void *arg)
{
    struct client *c = (struct client *)arg;
    char line[LINE];
    ssize_t n;

    while ((n = netfd_read(c->box, line, sizeof line)) > 0) {
        netfd_set_write_deadline(c->fd, netfd_after(patience));
        if (netfd_write(c->fd, line, (size_t)n) != n) {
            if (netfd_last_error(NULL) == NETFD_EDEADLINE)
                fprintf(stderr, "fiber_chat: a client that is too slow is dropped\n");
            netfd_shutdown(c->fd, SHUT_RDWR); /* whoever reads sees the end */
            break;
        }
    }
    netfd_group_done(c->delivery);
}

/* Reads lines and tells them, until the client hangs up, or Ctrl-C. */
static void listen_to(struct client *c)
{
    char buf[LINE], *end;
    size_t have = 0, len;
    ssize_t n;

    while ((n = netfd_read(c->fd, buf + have, sizeof buf - have)) > 0) {
        have += (size_t)n;
        while ((end = (char *)memchr(buf, '\n', have)) != NULL || have == sizeof buf) {
            len = end != NULL ? (size_t)(end - buf) + 1 : have;
            broadcast(buf, len);
            have -= len;
            memmove(buf, buf + len, have);
        }
    }
}

static void serve(int fd, void *arg)
{
    struct client c;
    int pair[2];

    (void)arg;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) != 0) {
        fprintf(stderr, "fiber_chat: no letter box\n");
        return;
    }
    c.fd = fd;
    c.slot = pair[0];
    c.box = pair[1];
    c.delivery = netfd_group_new();
    if (c.delivery == NULL || netfd_attach(c.box) < 0 || netfd_group_add(c.delivery, 1) < 0
        || netfd_go(deliver, &c) < 0) {
        complain();
    } else {
        netfd_set_cancel(fd, stop);
        enter(&c);
        listen_to(&c);
        leave(&c);
        netfd_set_cancel(fd, NULL); /* what is in the box still goes out */
        shutdown(c.slot, SHUT_WR);
        check(netfd_group_wait(c.delivery, NETFD_NO_DEADLINE, NULL));
    }
    netfd_group_free(c.delivery);
    close(c.slot);
    if (netfd_destroy(c.box) == -EBADF)
        close(c.box);
}

int main(int argc, char **argv)
{
    struct sigaction action;
    int listener;

    if (argc > 2)
        patience = atoi(argv[2]) * MS;
    if ((stop = netfd_cancel_new()) == NULL)
        fail("out of memory");
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);

    listener = listen_on(argc > 1 ? argv[1] : "0", "fiber_chat");
    check(netfd_set_cancel(listener, stop));
    check(netfd_serve(listener, serve, NULL, NULL)); /* until all have left */
    check(netfd_destroy(listener));
    printf("fiber_chat: all ended\n");
    return 0; /* the token is not freed: a second Ctrl-C may still fire it */
}
