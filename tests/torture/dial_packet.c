/* netfd_dial and netfd_listen_packet: datagrams by address. */
#include "torture.h"

static void scenario(void) {
    struct netfd_dial_config how = {.size = sizeof how, .deadline = soon()};
    char text[NETFD_ADDR_TEXT], name[64], byte = 0;
    struct where at;
    int by, fd;
    if (kind->family == AF_UNIX)
        snprintf(name, sizeof name, "@torture-packet-%d", (int)getpid());
    else
        snprintf(name, sizeof name, "%s", kind->family == AF_INET ? "127.0.0.1:0" : "[::1]:0");
    TRY_FD(by, netfd_listen_packet(kind->name, name, NULL));
    TRY(netfd_set_deadline(by, soon()));
    TRY(sockaddr_of(by, &at));
    TRY(netfd_addr_format(SA(&at), text, sizeof text));
    TRY_FD(fd, netfd_dial(kind->name, text, &how));
    TRY(netfd_set_deadline(fd, soon()));
    TRY(netfd_write(fd, "x", 1));
    TRY(netfd_read(by, &byte, 1));
    WANT(byte == 'x');
}
