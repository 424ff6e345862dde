/* netfd_accept by one caller, of three connections that come while it waits:
 * none is lost, none comes twice, and each peer is the one that it names. */
#include "torture.h"

static struct where at;

static void connects(void *arg) {
    for (int i = 0; i < 3; i++) {
        int fd;
        TRY(fd = connected(&at));
        unsigned char byte = (unsigned char)(10 + i);
        TRY(netfd_write(fd, &byte, 1));
    }
    (void)arg;
}

static void scenario(void) {
    int by, seen = 0;
    TRY(by = listener(&at));
    struct task *task = start(connects, NULL);
    for (int i = 0; i < 3; i++) {
        unsigned char byte = 0;
        int fd;
        struct where peer = {.len = sizeof peer.sa};
        TRY(fd = accepted(by));
        TRY(netfd_read(fd, &byte, 1));
        WANT(byte == 10 + i);
        TRY(netfd_remote_addr(fd, (struct sockaddr *)&peer.sa, &peer.len));
        WANT(peer.sa.ss_family == kind->family);
        seen++;
    }
    join(task);
    WANT(seen == 3);
}
