/* netfd_sys_socket and netfd_destroy, and a number that is used again. */
#include "torture.h"

static void scenario(void) {
    for (int i = 0; i < 3; i++) {
        int fds[3];
        for (int k = 0; k < 3; k++)
            TRY_FD(fds[k], netfd_sys_socket(kind->family, kind->type, 0));
        for (int k = 0; k < 3; k++)
            TRY(end(fds[k]));
        WANT(netfd_destroy(fds[0]) == NETFD_ECLOSED);
    }
}
