/* netfd_serve with five clients that are fibers, and an end in order. */
#include "torture.h"

enum { CLIENTS = 5 };
static struct where at;
static struct netfd_cancel *token;
static int by;
static _Atomic int said, served;

static void echo(int fd, void *arg) {
    char buf[2000];
    long n;
    netfd_set_deadline(fd, soon());
    while ((n = netfd_read(fd, buf, sizeof buf)) > 0) {
        long went = netfd_write(fd, buf, (size_t)n);
        if (went >= 0 && went < n)
            went = why_short();
        TRY(went);
    }
    TRY(n);
    served++;
    (void)arg;
}

static void serves(void *arg) {
    struct netfd_serve_config how = {.size = sizeof how, .drain_timeout = SECOND};
    said = netfd_serve(by, echo, NULL, &how);
    if (said < 0 && said != NETFD_ECLOSED)
        lost(said, __FILE__, __LINE__, "netfd_serve");
    (void)arg;
}

static void asks(void *arg) {
    unsigned stream = *(unsigned *)arg;
    unsigned char out[1500], in[1500];
    size_t have = 0;
    int fd;
    TRY(fd = connected(&at));
    fill(out, sizeof out, 0, stream);
    long n = netfd_write(fd, out, sizeof out);
    if (n >= 0 && n < (long)sizeof out)
        n = why_short();
    TRY(n);
    while (have < sizeof in) {
        n = netfd_read(fd, in + have, sizeof in - have);
        TRY(n);
        if (n == 0)
            TRY(-ECONNRESET); /* its handler gave up */
        have += (size_t)n;
    }
    verify(in, sizeof in, 0, stream);
    TRY(netfd_shutdown(fd, SHUT_WR));
    TRY(netfd_read(fd, in, 1));
}

static void scenario(void) {
    static unsigned streams[CLIENTS];
    struct task *clients[CLIENTS], *server;
    if ((token = netfd_cancel_new()) == NULL)
        TRY(-ENOMEM);
    TRY(by = listener(&at));
    TRY(netfd_set_cancel(by, token));
    server = start(serves, NULL);
    for (unsigned i = 0; i < CLIENTS; i++) {
        streams[i] = i;
        clients[i] = server == NULL ? NULL : start(asks, &streams[i]);
    }
    for (int i = 0; i < CLIENTS; i++)
        join(clients[i]);
    netfd_cancel_fire(token);
    join(server);
    netfd_cancel_free(token);
    WANT(has_failed() || (said == 0 && served == CLIENTS));
}
