/* netfd_dial of a name whose first address is silent, so that two attempts run
 * beside each other; the loser is closed. */
#include "names.h"

static void scenario(void) {
    struct netfd_dial_config how = {
        .size = sizeof how, .deadline = soon(), .fallback_delay = 5 * MS};
    char text[64];
    struct where at, v6;
    int by, full, fd, conn;
    TRY(by = listener(&at)); /* tcp4 */
    /* The same port of IPv6, with a queue that one connection fills. */
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&v6.sa;
    *in6 = (struct sockaddr_in6){.sin6_family = AF_INET6,
                                 .sin6_port = ((struct sockaddr_in *)&at.sa)->sin_port,
                                 .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    v6.len = sizeof *in6;
    kind = &KINDS[1];
    TRY_FD(full, netfd_sys_socket(AF_INET6, SOCK_STREAM, 0));
    if (bind(full, SA(&v6)) == 0 && listen(full, 0) == 0)
        TRY(connected(&v6));
    kind = KINDS;
    name_of(&at, text);
    TRY_FD(fd, netfd_dial("tcp", text, &how));
    TRY(netfd_set_deadline(fd, soon()));
    TRY(conn = accepted(by));
    ping(fd, conn);
}
