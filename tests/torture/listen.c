/* netfd_listen_stream, with an address and without; what it has failed at can be
 * tried again. */
#include "torture.h"

static void scenario(void) {
    struct where at = anywhere(), is;
    int fd, first, wild;
    TRY_FD(fd, netfd_sys_socket(kind->family, kind->type, 0));
    first = netfd_listen_stream(fd, SA(&at), 5);
    if (first < 0 && netfd_listen_stream(fd, SA(&at), 5) == 0)
        first = 0; /* not where bind(2) had succeeded */
    TRY(first);
    TRY(sockaddr_of(fd, &is));
    WANT(is.sa.ss_family == kind->family);
    if (kind->family == AF_UNIX)
        WANT(is.len == at.len && memcmp(&is.sa, &at.sa, at.len) == 0);
    TRY_FD(wild, netfd_sys_socket(kind->family, kind->type, 0));
    if (kind->family != AF_UNIX)
        TRY(netfd_listen_stream(wild, NULL, 0, 0));
    int conn;
    TRY(conn = connected(&is));
    TRY(netfd_set_deadline(fd, soon()));
    int got = accepted(fd);
    TRY(got);
    ping(conn, got);
}
