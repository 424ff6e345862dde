/* netfd_dump and netfd_stats beside callers that are parked. */
#include "torture.h"

static int fds[2];

static void reads(void *arg) {
    char byte;
    long said = netfd_read(fds[0], &byte, 1);
    TRY(said);
    (void)arg;
}

static void scenario(void) {
    static char text[4096];
    if (!pair(fds))
        return;
    struct task *one = start(reads, NULL), *other = start(reads, NULL);
    if (has_failed())
        return;
    await_parked(2);
    int out[2];
    TRY_C(pipe2(out, O_CLOEXEC | O_NONBLOCK));
    int said = netfd_dump(out[1]);
    ssize_t n = said < 0 ? 0 : read(out[0], text, sizeof text - 1);
    close(out[0]);
    close(out[1]);
    if (said == -EAGAIN)
        WANT(fault.error == EAGAIN && strcmp(fault.call, "write") == 0);
    else
        TRY(said);
    WANT(n > 0 || said < 0 || has_failed() || strcmp(fault.call, "read") == 0);
    TRY(netfd_write(fds[1], "xy", 2));
    join(one);
    join(other);
}
