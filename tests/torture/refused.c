/* netfd_connect to nobody. */
#include "torture.h"

static void scenario(void) {
    struct where at;
    int fd, said;
    TRY(fd = is_datagram() ? bound(&at) : listener(&at));
    TRY(end(fd));
    TRY_FD(fd, netfd_sys_socket(kind->family, kind->type, 0));
    said = netfd_connect(fd, NULL, 0, SA(&at), soon(), NULL);
    if (said == -ECONNREFUSED)
        return;
    if (said >= 0 && kind->family != AF_UNIX && is_datagram()) {
        char byte;
        TRY(netfd_set_deadline(fd, soon()));
        TRY(netfd_write(fd, "x", 1));
        said = (int)netfd_read(fd, &byte, 1);
        if (said == -ECONNREFUSED)
            return;
    }
    WANT(said < 0);
    TRY(said);
}
