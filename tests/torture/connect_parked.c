/* netfd_connect that has to wait: the backlog of a unix listener is full. */
#include "torture.h"

static struct where at;

static void connects(void *arg) {
    int fd;
    TRY(fd = connected(&at));
    unsigned char byte = 5;
    TRY(netfd_write(fd, &byte, 1));
    (void)arg;
}

static void scenario(void) {
    int by, fd, first, second;
    at = anywhere();
    TRY_FD(by, netfd_sys_socket(kind->family, kind->type, 0));
    TRY(netfd_listen_stream(by, SA(&at), 1));
    TRY(netfd_set_deadline(by, soon()));
    TRY(first = connected(&at));
    TRY(second = connected(&at));
    struct task *task = start(connects, NULL);
    await_parked(1);
    for (int i = 0; i < 3; i++)
        TRY(fd = accepted(by));
    unsigned char byte = 0;
    TRY(netfd_read(fd, &byte, 1));
    WANT(byte == 5);
    join(task);
}
