/*
 * dial: a tiny netcat, by name.
 *
 * Shows a connection by name, within a deadline that covers the lookup and
 * every address of the name; both directions at once, where the end of stdin
 * is told to the other side and what it still has to say is waited for; and
 * that netfd_destroy() ends what another thread is blocked in, here a copy
 * from a terminal. It ends when the other side hangs up: with 0, or with 1
 * and the reason where something was lost.
 *
 * Build: make -C c_examples; or, once that has built the library,
 *   cc -std=c99 -pthread -Iinclude c_examples/dial.c -o dial \
 *      -Lc_examples/build -lnetfd -Wl,-rpath,c_examples/build
 * Run: c_examples/build/dial tcp example.org:80
 *      c_examples/build/dial unix /run/app.sock
 */
#include "netfd.h"
#include "example.h"

#include <string.h>

/* Sends what comes from stdin, and that there is no more. */
static void *send_stdin(void *arg)
{
    int fd = *(int *)arg;
    int64_t n;

    do /* a count means that it was stopped, or that the end is next */
        n = netfd_copy(fd, 0, -1);
    while (n > 0);
    if (n == 0)
        n = netfd_shutdown(fd, SHUT_WR);
    if (n < 0 && n != NETFD_ECLOSED)
        complain();
    return (void *)(intptr_t)(n < 0 && n != NETFD_ECLOSED);
}

int main(int argc, char **argv)
{
    struct netfd_dial_config how;
    pthread_t sender;
    void *failed;
    char buf[16384];
    ssize_t n;
    int fd;

    if (argc != 3)
        fail("usage: dial NETWORK ADDRESS, as in: dial tcp example.org:80");
    memset(&how, 0, sizeof how); /* all else is Go's way */
    how.size = sizeof how;
    how.deadline = netfd_after(10 * SECOND);
    fd = check(netfd_dial(argv[1], argv[2], &how));

    sender = start(send_stdin, &fd);
    while ((n = check(netfd_read(fd, buf, sizeof buf))) > 0)
        if (fwrite(buf, 1, (size_t)n, stdout) != (size_t)n || fflush(stdout) != 0)
            fail("nobody reads stdout");
    check(netfd_destroy(fd)); /* whatever stdin may still have */
    pthread_join(sender, &failed);
    return failed != NULL;
}
