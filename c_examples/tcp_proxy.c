/*
 * tcp_proxy: what comes in goes on to another address, and back.
 *
 * Shows netfd_copy(), a thread for each direction, by which the kernel moves
 * the bytes; the end of one direction, passed on as just that while the other
 * goes on; and a graceful stop: after Ctrl-C nothing new is accepted, and what
 * runs has some seconds, by a deadline that copies which are parked already
 * obey as well.
 *
 * Build: make -C c_examples; or, once that has built the library,
 *   cc -std=c99 -pthread -Iinclude c_examples/tcp_proxy.c -o tcp_proxy \
 *      -Lc_examples/build -lnetfd -Wl,-rpath,c_examples/build
 * Run: c_examples/build/tcp_proxy TARGET [PORT [GRACE_SECONDS]]
 */
#define _POSIX_C_SOURCE 200809L
#include "netfd.h"
#include "example.h"

#include <signal.h>
#include <string.h>

struct pair {
    int client, target; /* the target is -1 until it is dialled */
    int broken;         /* one direction failed: both end */
    struct pair *next, **here;
};

static const char *target;
static struct netfd_cancel *stop; /* fired by Ctrl-C */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t all_gone = PTHREAD_COND_INITIALIZER;
static struct pair *pairs; /* all there are; under the lock, as what is in them */
static int64_t last_moment = NETFD_NO_DEADLINE; /* set when it stops; likewise */

static void on_signal(int number)
{
    (void)number;
    netfd_cancel_fire(stop);
}

/* Under the lock: gives a pair until then; a target of -1 is passed over. */
static void limit(struct pair *p, int64_t deadline)
{
    netfd_set_deadline(p->client, deadline);
    netfd_set_deadline(p->target, deadline);
}

static void enter(struct pair *p)
{
    pthread_mutex_lock(&lock);
    p->next = pairs;
    p->here = &pairs;
    if (pairs != NULL)
        pairs->here = &p->next;
    pairs = p;
    pthread_mutex_unlock(&lock);
}

/* Ends a pair. Under the lock, so that limit() meets no number used again. */
static void leave(struct pair *p)
{
    pthread_mutex_lock(&lock);
    *p->here = p->next;
    if (p->next != NULL)
        p->next->here = p->here;
    netfd_destroy(p->client);
    if (p->target >= 0)
        netfd_destroy(p->target);
    if (pairs == NULL)
        pthread_cond_signal(&all_gone);
    pthread_mutex_unlock(&lock);
    free(p);
}

/* One direction, to its end. The first to fail says why, and ends the other. */
static void forward(struct pair *p, int to, int from)
{
    int64_t n;

    do /* a count means that it was stopped, or that the end is next */
        n = netfd_copy(to, from, -1);
    while (n > 0);
    if (n == 0)
        n = netfd_shutdown(to, SHUT_WR);
    if (n < 0) {
        pthread_mutex_lock(&lock);
        if (!p->broken)
            complain();
        p->broken = 1;
        limit(p, netfd_now());
        pthread_mutex_unlock(&lock);
    }
}

static void *forward_back(void *arg)
{
    struct pair *p = (struct pair *)arg;

    forward(p, p->client, p->target);
    return NULL;
}

static int thread_for(pthread_t *thread, void *(*run)(void *), struct pair *p)
{
    int error = pthread_create(thread, NULL, run, p);

    if (error != 0)
        fprintf(stderr, "thread: %s\n", netfd_strerror(-error));
    return error == 0;
}

static void *serve(void *arg)
{
    struct pair *p = (struct pair *)arg;
    struct netfd_dial_config how;
    pthread_t back;
    int fd;

    memset(&how, 0, sizeof how);
    how.size = sizeof how;
    how.deadline = netfd_after(10 * SECOND);
    how.cancel = stop;
    if ((fd = netfd_dial("tcp", target, &how)) < 0) {
        complain();
    } else {
        pthread_mutex_lock(&lock);
        p->target = fd;
        limit(p, last_moment);
        pthread_mutex_unlock(&lock);
        if (thread_for(&back, forward_back, p)) {
            forward(p, p->target, p->client);
            pthread_join(back, NULL);
        }
    }
    leave(p);
    return NULL;
}

static void take(int fd)
{
    struct pair *p = (struct pair *)calloc(1, sizeof *p);
    pthread_t thread;

    if (p == NULL) {
        fprintf(stderr, "out of memory\n");
        netfd_destroy(fd);
        return;
    }
    p->client = fd;
    p->target = -1;
    enter(p);
    if (thread_for(&thread, serve, p))
        pthread_detach(thread);
    else
        leave(p);
}

int main(int argc, char **argv)
{
    int64_t grace = (argc > 3 ? atoi(argv[3]) : 5) * SECOND;
    struct sigaction action;
    struct pair *p;
    int listener, fd;

    if (argc < 2)
        fail("usage: tcp_proxy TARGET [PORT [GRACE_SECONDS]]");
    target = argv[1];
    if ((stop = netfd_cancel_new()) == NULL)
        fail("out of memory");
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);

    listener = listen_on(argc > 2 ? argv[2] : "0", "tcp_proxy");
    check(netfd_set_cancel(listener, stop)); /* it alone, not the connections */
    while ((fd = accept_next(listener)) >= 0)
        take(fd);
    check(netfd_destroy(listener)); /* whoever comes now is refused */

    pthread_mutex_lock(&lock);
    last_moment = netfd_after(grace);
    for (p = pairs; p != NULL; p = p->next)
        if (!p->broken)
            limit(p, last_moment);
    printf("tcp_proxy: stops when its connections have ended\n");
    fflush(stdout);
    while (pairs != NULL)
        pthread_cond_wait(&all_gone, &lock);
    pthread_mutex_unlock(&lock);
    printf("tcp_proxy: all ended\n");
    return 0; /* the token is not freed: a second Ctrl-C may still fire it */
}
