/*
 * systemd: a server whose listeners were there before it was.
 *
 * Shows netfd_listen_fds(). systemd makes the sockets, starts the server when
 * somebody comes, and keeps those who come meanwhile in the queue: the server
 * needs no rights for its port, and may be restarted without refusing anyone.
 * Says hello on each listener that it was passed, or on those with the name
 * that it is given, until SIGTERM fires a token.
 *
 * Build: make -C c_examples; or, once that has built the library,
 *   cc -std=c99 -pthread -Iinclude c_examples/systemd.c -o systemd \
 *      -Lc_examples/build -lnetfd -Wl,-rpath,c_examples/build
 * Run: systemd-socket-activate -l 8080 c_examples/build/systemd [NAME]
 */
#define _POSIX_C_SOURCE 200809L
#include "netfd.h"
#include "example.h"

#include <signal.h>
#include <string.h>

#define LISTENERS 16

static struct netfd_cancel *stop; /* fired by SIGTERM */

static void on_signal(int number)
{
    (void)number;
    netfd_cancel_fire(stop); /* async-signal-safe */
}

/* One listener's thread. What is in the queue when the token fires stays
 * there, for whom systemd starts next. */
static void *serve(void *arg)
{
    static const char hello[] = "hello, whoever woke me\n";
    int listener = (int)(intptr_t)arg, fd;

    while ((fd = accept_next(listener)) >= 0) {
        check(netfd_set_deadline(fd, netfd_after(10 * SECOND)));
        if (netfd_write(fd, hello, sizeof hello - 1) < 0)
            complain();
        netfd_destroy(fd);
    }
    return NULL;
}

static void tell(int listener)
{
    char text[NETFD_ADDR_TEXT];
    struct sockaddr_storage at;
    socklen_t len = sizeof at;

    check(netfd_local_addr(listener, (struct sockaddr *)&at, &len));
    check(netfd_addr_format((struct sockaddr *)&at, len, text, sizeof text));
    printf("systemd: listening on %s\n", text);
    fflush(stdout); /* scripts read this line */
}

int main(int argc, char **argv)
{
    pthread_t threads[LISTENERS];
    int listeners[LISTENERS];
    struct sigaction action;
    int i, n;

    n = (int)check(netfd_listen_fds(argc > 1 ? argv[1] : NULL, listeners, LISTENERS));
    if (n == 0) {
        fprintf(stderr, "%s: nobody passed a socket; start it so:\n"
                "  systemd-socket-activate -l 8080 %s\n", argv[0], argv[0]);
        return 1;
    }
    if (n > LISTENERS)
        n = LISTENERS; /* the others are left alone */

    if ((stop = netfd_cancel_new()) == NULL)
        fail("out of memory");
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    sigaction(SIGTERM, &action, NULL); /* systemd's way to stop a server */
    sigaction(SIGINT, &action, NULL);

    for (i = 0; i < n; i++) {
        check(netfd_set_cancel(listeners[i], stop));
        tell(listeners[i]);
        threads[i] = start(serve, (void *)(intptr_t)listeners[i]);
    }
    for (i = 0; i < n; i++) {
        pthread_join(threads[i], NULL);
        check(netfd_destroy(listeners[i])); /* systemd has it still */
    }
    printf("systemd: all ended\n");
    return 0; /* the token is not freed: a second SIGTERM may still fire it */
}
