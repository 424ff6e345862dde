/* Numbers that are used again at once, with readers inside: each reads its own. */
#include "torture.h"

static int fds[2];

static void reads(void *arg) {
    char byte;
    long said = netfd_read(*(int *)arg, &byte, 1);
    if (said == NETFD_ECLOSED)
        return;
    WANT(said < 0 || has_failed()); /* nobody has written for it */
    TRY(said);
}

static void scenario(void) {
    char byte = 0;
    for (int i = 0; i < 4; i++) {
        int mine[2];
        if (!pair(fds))
            return;
        static int numbers[4];
        numbers[i] = fds[0];
        struct task *reader = start(reads, &numbers[i]);
        if (reader == NULL)
            return;
        await_parked(1);
        TRY(end(fds[0]));
        TRY(end(fds[1]));
        if (!pair(mine))
            return;
        TRY(netfd_write(mine[1], "m", 1));
        join(reader);
        TRY(netfd_read(mine[0], &byte, 1));
        WANT(byte == 'm');
        TRY(end(mine[0]));
        TRY(end(mine[1]));
    }
}
