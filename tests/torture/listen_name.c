/* netfd_listen on all addresses of this machine, both families on one socket. */
#include "torture.h"

static void scenario(void) {
    struct netfd_listen_config config = {.size = sizeof config, .reuse_port = 1};
    struct where at;
    int by, fd, conn;
    TRY_FD(by, netfd_listen("tcp", ":0", &config));
    TRY(netfd_set_deadline(by, soon()));
    TRY(sockaddr_of(by, &at));
    uint16_t port = ((struct sockaddr_in *)&at.sa)->sin_port; /* at the same place in both */
    at = anywhere();
    ((struct sockaddr_in *)&at.sa)->sin_port = port;
    TRY(fd = connected(&at)); /* tcp4 */
    TRY(conn = accepted(by));
    ping(fd, conn);
}
