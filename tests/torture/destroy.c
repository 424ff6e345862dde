/* netfd_destroy with two callers inside: a reader, and one who wants to be. */
#include "torture.h"

static int fds[2];

static void reads(void *arg) {
    char byte;
    long said = netfd_read(fds[0], &byte, 1);
    if (said == NETFD_ECLOSED)
        return;
    WANT(said < 0 || has_failed());
    TRY(said);
    (void)arg;
}

static void scenario(void) {
    if (!pair(fds))
        return;
    struct task *one = start(reads, NULL), *other = start(reads, NULL);
    await_parked(2);
    TRY(end(fds[0]));
    WANT(netfd_destroy(fds[0]) == NETFD_ECLOSED);
    join(one);
    join(other);
    char byte;
    long said = netfd_read(fds[1], &byte, 1);
    if (is_stream())
        TRY(said); /* the end */
    WANT(said <= 0);
}
