/* netfd_accept by three callers at one listener. */
#include "torture.h"

static int by;
static _Atomic int seen;

static void accepts(void *arg) {
    int fd;
    TRY(fd = accepted(by));
    seen++;
    unsigned char byte = 0;
    TRY(netfd_read(fd, &byte, 1));
    WANT(byte == 7);
    (void)arg;
}

static void scenario(void) {
    struct where at;
    struct task *tasks_[3];
    TRY(by = listener(&at));
    for (int i = 0; i < 3; i++)
        tasks_[i] = start(accepts, NULL);
    for (int i = 0; i < 3; i++) {
        int fd;
        TRY(fd = connected(&at));
        TRY(netfd_write(fd, "\7", 1));
    }
    for (int i = 0; i < 3; i++)
        join(tasks_[i]);
    WANT(has_failed() || seen == 3);
}
