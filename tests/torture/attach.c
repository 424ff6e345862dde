/* netfd_attach of a socketpair(2), and netfd_detach with a reader inside. */
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
    char byte = 0;
    TRY_C(socketpair(AF_UNIX, kind->type, 0, fds));
    for (int i = 0; i < 2; i++) {
        int said = netfd_attach(fds[i]);
        if (said < 0) { /* it is as it was */
            while (i < 2)
                close(fds[i++]);
            TRY(said);
        }
        own(fds[i]);
        netfd_set_deadline(fds[i], soon());
    }
    ping(fds[0], fds[1]);
    if (has_failed())
        return;
    struct task *reader = start(reads, NULL);
    if (has_failed())
        return;
    await_parked(1);
    int was_mine = disown(fds[0]);
    int said = netfd_detach(fds[0]);
    WANT(was_mine && said == fds[0]);
    WANT(netfd_write(fds[0], "x", 1) < 0);
    join(reader);
    said = write(fds[0], "y", 1) == 1 && !has_failed() ? (int)netfd_read(fds[1], &byte, 1) : 0;
    close(fds[0]);
    TRY(said);
    WANT(said == 0 || byte == 'y');
}
