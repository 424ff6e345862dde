/* netfd_listen_fds: sockets that systemd passed. */
#include "torture.h"

static void scenario(void) {
    struct where at;
    int made[2], took[3], n;
    char pid[16];
    /* What systemd would have done: 3 and 4 are listeners. */
    at = anywhere();
    for (int i = 0; i < 2; i++)
        made[i] = -1;
    for (int i = 0; i < 2; i++) {
        made[i] = socket(kind->family, kind->type, 0);
        if (made[i] != 3 + i || (i == 0 && (bind(made[i], SA(&at)) != 0 || listen(made[i], 5) != 0))) {
            int said = -errno;
            for (int k = 0; k <= i; k++)
                if (made[k] >= 0)
                    close(made[k]);
            WANT(said < 0);
            TRY(said);
        }
    }
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    setenv("LISTEN_PID", pid, 1);
    setenv("LISTEN_FDS", "2", 1);
    setenv("LISTEN_FDNAMES", "one:other", 1);
    n = netfd_listen_fds("one", took, 1);
    if (n == 1) {
        WANT(took[0] == 3);
        own(3);
    } else {
        close(3);
    }
    close(4);
    TRY(n);
    WANT(n == 1 || fault.error != 0);
    if (n == 0)
        return; /* passed over: it could not be made non-blocking, say */
    int fd, conn;
    TRY(sockaddr_of(3, &at));
    TRY(netfd_set_deadline(3, soon()));
    TRY(fd = connected(&at));
    TRY(conn = accepted(3));
    ping(fd, conn);
}
