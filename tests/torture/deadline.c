/* A read deadline that is moved while the reader is parked: later, then into the
 * past; it ends the call and nothing else. */
#include "torture.h"

static int fds[2];

static void reads(void *arg) {
    char byte;
    long said = netfd_read(fds[0], &byte, 1);
    if (said == NETFD_EDEADLINE)
        return;
    WANT(said < 0 || has_failed());
    TRY(said);
    (void)arg;
}

static void scenario(void) {
    char byte = 0;
    if (!pair(fds))
        return;
    struct task *reader = start(reads, NULL);
    if (reader == NULL)
        return;
    await_parked(1);
    TRY(netfd_set_read_deadline(fds[0], netfd_after(SECOND)));
    TRY(netfd_write(fds[0], "w", 1)); /* the other direction does not mind */
    TRY(netfd_set_read_deadline(fds[0], 1));
    join(reader);
    TRY(netfd_write(fds[1], "x", 1));
    WANT(netfd_read(fds[0], &byte, 1) == NETFD_EDEADLINE || has_failed());
    TRY(netfd_set_read_deadline(fds[0], soon()));
    TRY(netfd_read(fds[0], &byte, 1));
    WANT(byte == 'x');
}
