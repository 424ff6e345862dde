/* netfd_dial of a name with two addresses, of which the second is listened on:
 * Happy Eyeballs goes on from the one that fails. */
#include "names.h"

static void scenario(void) {
    struct netfd_dial_config how = {.size = sizeof how, .deadline = soon()};
    char text[64];
    struct where at;
    int by, fd, conn;
    TRY(by = listener(&at)); /* tcp4 */
    name_of(&at, text);
    TRY_FD(fd, netfd_dial("tcp", text, &how));
    TRY(netfd_set_deadline(fd, soon()));
    TRY(conn = accepted(by));
    ping(fd, conn);
}
