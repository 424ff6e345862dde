/*
 * echo_server: a thread per connection, and an end in good order.
 *
 * Shows a socket made a listener; a connection's loop in blocking style; a
 * deadline that drops a client which has gone silent; and one cancel token that
 * a signal handler fires and every call obeys: Ctrl-C ends the program wherever
 * its threads are parked.
 *
 * Build: make -C c_examples; or, once that has built the library,
 *   cc -std=c99 -pthread -Iinclude c_examples/echo_server.c -o echo_server \
 *      -Lc_examples/build -lnetfd -Wl,-rpath,c_examples/build
 * Run: c_examples/build/echo_server [PORT [IDLE_SECONDS]]
 */
#define _POSIX_C_SOURCE 200809L
#include "netfd.h"
#include "example.h"

#include <signal.h>
#include <string.h>

static struct netfd_cancel *stop; /* fired by Ctrl-C */
static int64_t idle = 60 * SECOND;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t all_gone = PTHREAD_COND_INITIALIZER;
static int connections; /* that have a thread; under the lock */

static void on_signal(int number)
{
    (void)number;
    netfd_cancel_fire(stop); /* async-signal-safe */
}

static void count(int change)
{
    pthread_mutex_lock(&lock);
    connections += change;
    if (connections == 0)
        pthread_cond_signal(&all_gone);
    pthread_mutex_unlock(&lock);
}

static void *serve(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char buf[4096];
    ssize_t n;

    check(netfd_set_cancel(fd, stop));
    do {
        /* For the read and the write that answers it; no system call. */
        check(netfd_set_deadline(fd, netfd_after(idle)));
        n = netfd_read(fd, buf, sizeof buf);
        if (n > 0 && netfd_write(fd, buf, (size_t)n) != n)
            n = netfd_last_error(NULL); /* none or a part of it went: why */
    } while (n > 0);
    if (n < 0 && n != NETFD_ECANCELED)
        complain();
    netfd_destroy(fd);
    count(-1);
    return NULL;
}

/* Gives a connection a thread, or hangs up where there is none to be had. */
static void take(int fd)
{
    pthread_t thread;
    int error;

    count(+1);
    error = pthread_create(&thread, NULL, serve, (void *)(intptr_t)fd);
    if (error == 0) {
        pthread_detach(thread);
    } else {
        fprintf(stderr, "thread: %s\n", netfd_strerror(-error));
        netfd_destroy(fd);
        count(-1);
    }
}

/* Two calls where netfd_listen() is one, which also reads the text. */
static int listener_at(const char *port)
{
    char text[NETFD_ADDR_TEXT];
    struct sockaddr_storage at;
    socklen_t len = sizeof at;
    int fd;

    snprintf(text, sizeof text, "127.0.0.1:%s", port);
    check(netfd_addr_parse("tcp", text, &at, &len));
    fd = check(netfd_sys_socket(AF_INET, SOCK_STREAM, 0));
    check(netfd_listen_stream(fd, (struct sockaddr *)&at, len, 0));
    tell_where(fd, "echo_server");
    return fd;
}

int main(int argc, char **argv)
{
    struct sigaction action;
    int listener, fd;

    if (argc > 2)
        idle = atoi(argv[2]) * SECOND;
    if ((stop = netfd_cancel_new()) == NULL)
        fail("out of memory");
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);

    listener = listener_at(argc > 1 ? argv[1] : "0");
    check(netfd_set_cancel(listener, stop));
    while ((fd = accept_next(listener)) >= 0)
        take(fd);
    check(netfd_destroy(listener));

    printf("echo_server: stops when its connections have ended\n");
    pthread_mutex_lock(&lock);
    while (connections > 0)
        pthread_cond_wait(&all_gone, &lock);
    pthread_mutex_unlock(&lock);
    printf("echo_server: all ended\n");
    return 0; /* the token is not freed: a second Ctrl-C may still fire it */
}
