/* netfd_wait for both directions, with and without something to wait for. */
#include "torture.h"

static int fds[2];

static void waits(void *arg) {
    int said = netfd_wait(fds[0], NETFD_READABLE, soon());
    TRY(said);
    WANT(said == NETFD_READABLE);
    (void)arg;
}

static void scenario(void) {
    char byte = 0;
    if (!pair(fds))
        return;
    int said = netfd_wait(fds[0], NETFD_READABLE | NETFD_WRITABLE, soon());
    TRY(said);
    WANT(said == NETFD_WRITABLE);
    WANT(netfd_wait(fds[0], NETFD_READABLE, 1) != NETFD_READABLE);
    struct task *one = start(waits, NULL), *other = start(waits, NULL);
    if (has_failed())
        return;
    await_parked(2);
    TRY(netfd_write(fds[1], "x", 1));
    join(one);
    join(other);
    TRY(netfd_read(fds[0], &byte, 1));
    WANT(byte == 'x');
}
