/* netfd_dial to an address, and netfd_listen by one. */
#include "torture.h"

static void scenario(void) {
    struct netfd_dial_config how = {.size = sizeof how, .deadline = soon()};
    char text[NETFD_ADDR_TEXT], name[64];
    struct where at;
    int by, fd, conn;
    if (kind->family == AF_UNIX)
        snprintf(name, sizeof name, "@torture-dial-%d", (int)getpid());
    else
        snprintf(name, sizeof name, "%s", kind->family == AF_INET ? "127.0.0.1:0" : "[::1]:0");
    TRY_FD(by, netfd_listen(kind->name, name, NULL));
    TRY(netfd_set_deadline(by, soon()));
    TRY(sockaddr_of(by, &at));
    TRY(netfd_addr_format(SA(&at), text, sizeof text));
    TRY_FD(fd, netfd_dial(kind->name, text, &how));
    TRY(netfd_set_deadline(fd, soon()));
    TRY(conn = accepted(by));
    ping(fd, conn);
}
