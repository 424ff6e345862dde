/* netfd_copy between sockets of messages: none is cut, none is lost. */
#include "torture.h"

static int in[2], out[2];

static void copies(void *arg) {
    int64_t said = 0, copied = 0;
    while (copied < 900 && (said = netfd_copy(out[0], in[1], 900 - copied)) > 0)
        copied += said;
    WANT(said < 0 || copied == 900);
    TRY(said);
    (void)arg;
}

static void scenario(void) {
    unsigned char message[400];
    if (!pair(in) || !pair(out))
        return;
    struct task *copier = start(copies, NULL);
    for (int i = 1; i <= 3; i++) {
        fill(message, sizeof message, 0, (unsigned)i);
        TRY(netfd_write(in[0], message, 300));
    }
    for (int i = 1; i <= 3; i++) {
        long n = netfd_read(out[1], message, sizeof message);
        TRY(n);
        WANT(n == 300);
        verify(message, 300, 0, (unsigned)i);
    }
    join(copier);
}
