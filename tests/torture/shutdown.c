/* netfd_shutdown beside a reader who is parked, and what came before it. */
#include "torture.h"

static int fds[2];

static void reads(void *arg) {
    char byte;
    long said = netfd_read(fds[0], &byte, 1);
    TRY(said);
    WANT(said == 0);
    (void)arg;
}

static void scenario(void) {
    char text[8];
    if (!pair(fds))
        return;
    struct task *reader = start(reads, NULL);
    if (reader == NULL)
        return;
    await_parked(1);
    TRY(netfd_write(fds[0], "last", 4));
    TRY(netfd_shutdown(fds[0], SHUT_RD));
    join(reader);
    TRY(netfd_shutdown(fds[0], SHUT_WR));
    size_t have = 0;
    for (long n = 1; n > 0; have += (size_t)n) {
        n = netfd_read(fds[1], text + have, sizeof text - have);
        TRY(n);
    }
    WANT(have == 4 && memcmp(text, "last", 4) == 0);
}
