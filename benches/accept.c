/* What netfd_accept costs in system calls when connections are queued.
 *
 *   strace -c -f ./accept N
 *
 * connects 1,000 times and accepts N of them. All else is the same whatever N
 * is, so the difference of two runs is what the accepts cost. A first round,
 * the same for every N, accepts and destroys 1,000, so that the table has the
 * memory it needs: what is counted is the steady state. */
#include "../include/netfd.h"

#include "shared/bench.h"

#define QUEUED 1000

static int clients[QUEUED], conns[QUEUED];

static void fail(const char *what, int code) {
    fprintf(stderr, "%s: %s\n", what, netfd_strerror(code));
    exit(1);
}

/* The kernel has finished these connections when connect(2) returns. */
static void connect_all(const struct sockaddr_in *a) {
    for (int i = 0; i < QUEUED; i++) {
        clients[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (clients[i] < 0 || connect(clients[i], (const struct sockaddr *)a, sizeof *a)) fail("connect", -errno);
    }
}

static void accept_some(int ls, int count) {
    for (int i = 0; i < count; i++)
        if ((conns[i] = netfd_accept(ls, 0, 0)) < 0) fail("accept", conns[i]);
}

int main(int argc, char **argv) {
    int count = argc == 2 ? atoi(argv[1]) : -1;
    if (count < 0 || count > QUEUED) {
        fprintf(stderr, "usage: accept N, at most %d\n", QUEUED);
        return 2;
    }
    struct rlimit r;
    getrlimit(RLIMIT_NOFILE, &r);
    r.rlim_cur = r.rlim_max;
    setrlimit(RLIMIT_NOFILE, &r);

    struct sockaddr_in a;
    socklen_t len = sizeof a;
    memset(&a, 0, sizeof a);
    a.sin_family = AF_INET;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int ls = netfd_sys_socket(AF_INET, SOCK_STREAM, 0);
    int code = ls < 0 ? ls : netfd_listen_stream(ls, (struct sockaddr *)&a, sizeof a, 4096);
    if (code < 0 || (code = netfd_local_addr(ls, (struct sockaddr *)&a, &len)) < 0) fail("listen", code);

    connect_all(&a);
    accept_some(ls, QUEUED);
    for (int i = 0; i < QUEUED; i++) {
        netfd_destroy(conns[i]);
        close(clients[i]);
    }

    connect_all(&a);
    accept_some(ls, count);
    return 0;
}
