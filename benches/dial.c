/* What netfd_dial costs in system calls where the address is a literal one.
 *
 *   strace -c -f ./dial netfd|plain N
 *
 * connects N times to a listener of its own, by netfd_dial, or by socket(2),
 * connect(2) and poll(2) alone. The difference of two runs is what N more of
 * them cost. */
#include "../include/netfd.h"

#include "shared/bench.h"

#include <poll.h>

static void fail(const char *what, int code) {
    fprintf(stderr, "%s: %s\n", what, netfd_strerror(code));
    exit(1);
}

static void by_netfd(const char *address) {
    int fd = netfd_dial("tcp", address, NULL);
    if (fd < 0) fail("netfd_dial", fd);
    netfd_destroy(fd);
}

static void plainly(const struct sockaddr_in *a) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    if (fd < 0) fail("socket", -errno);
    if (connect(fd, (const struct sockaddr *)a, sizeof *a) && errno != EINPROGRESS) fail("connect", -errno);
    if (poll(&p, 1, -1) != 1) fail("poll", -errno);
    close(fd);
}

int main(int argc, char **argv) {
    int count = argc == 3 ? atoi(argv[2]) : -1, plain = argc == 3 && !strcmp(argv[1], "plain");
    if (count < 0) {
        fprintf(stderr, "usage: dial netfd|plain N\n");
        return 2;
    }
    struct sockaddr_in a;
    socklen_t len = sizeof a;
    char address[NETFD_ADDR_TEXT];
    int ls = netfd_listen("tcp", "127.0.0.1:0", NULL);
    int code = ls < 0 ? ls : netfd_local_addr(ls, (struct sockaddr *)&a, &len);
    if (code < 0) fail("listen", code);
    netfd_addr_format((struct sockaddr *)&a, len, address, sizeof address);

    for (int i = 0; i < count; i++) {
        if (plain) plainly(&a);
        else by_netfd(address);
        int conn = accept(ls, NULL, NULL); /* so that no backlog fills up */
        if (conn < 0) fail("accept", -errno);
        close(conn);
    }
    return 0;
}
