/* netfd_connect; a descriptor that failed to connect can be connected anew. */
#include "torture.h"

static void scenario(void) {
    struct where at, self;
    int by, fd, conn, said;
    if (is_datagram())
        by = bound(&at);
    else
        by = listener(&at);
    TRY(by);
    TRY(netfd_set_deadline(by, soon()));
    TRY_FD(fd, netfd_sys_socket(kind->family, kind->type, 0));
    self = anywhere();
    said = netfd_connect(fd, SA(&self), SA(&at), soon(), NULL);
    if (said < 0 && said != NETFD_EDEADLINE) {
        said = netfd_connect(fd, NULL, 0, SA(&at), soon(), NULL);
        WANT(said != -EISCONN && said != -EALREADY && (said != -EINVAL || fault.error == EINVAL));
    }
    TRY(said);
    TRY(netfd_set_deadline(fd, soon()));
    if (!is_datagram()) {
        int again = netfd_connect(fd, NULL, 0, SA(&at), soon(), NULL);
        WANT(again == -EISCONN || strcmp(fault.call, "getpeername") == 0);
        TRY(conn = accepted(by));
        ping(fd, conn);
    } else {
        char byte = 0;
        TRY(netfd_write(fd, "x", 1));
        TRY(netfd_read(by, &byte, 1));
        WANT(byte == 'x');
    }
}
