/* Connections that are made, used and destroyed, one after the other, while their
 * server does the same. */
#include "torture.h"

enum { TIMES = 8 };
static struct where at;
static int by;

static void serves(void *arg) {
    for (int i = 0; i < TIMES; i++) {
        unsigned char byte = 0;
        int fd;
        TRY(fd = accepted(by));
        TRY(netfd_read(fd, &byte, 1));
        byte++;
        TRY(netfd_write(fd, &byte, 1));
        TRY(end(fd));
    }
    (void)arg;
}

static void scenario(void) {
    TRY(by = listener(&at));
    struct task *server = start(serves, NULL);
    if (server == NULL)
        return;
    for (int i = 0; i < TIMES; i++) {
        unsigned char byte = (unsigned char)i;
        int fd;
        TRY(fd = connected(&at));
        TRY(netfd_write(fd, &byte, 1));
        long said = netfd_read(fd, &byte, 1);
        TRY(said);
        if (said == 0)
            TRY(-ECONNRESET); /* its server gave up */
        WANT(byte == i + 1);
        TRY(end(fd));
    }
    join(server);
}
