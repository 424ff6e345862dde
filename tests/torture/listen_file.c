/* netfd_listen at a path: whatever happens, there is no file without a listener. */
#include "torture.h"

static void scenario(void) {
    char path[64];
    int by, fd, conn;
    snprintf(path, sizeof path, "/tmp/torture-%d.sock", (int)getpid());
    by = own(netfd_listen(kind->name, path, NULL));
    if (by < 0)
        WANT(access(path, F_OK) != 0 || strcmp(fault.call, "unlink") == 0);
    TRY(by);
    TRY(netfd_set_deadline(by, soon()));
    struct netfd_dial_config how = {.size = sizeof how, .deadline = soon()};
    fd = own(netfd_dial(kind->name, path, &how));
    conn = fd < 0 ? fd : accepted(by);
    if (conn >= 0) {
        netfd_set_deadline(fd, soon());
        ping(fd, conn);
    }
    end(by);
    int is_there = access(path, F_OK) == 0;
    if (is_there) {
        static const char *const ITS[] = {"unlink", "newfstatat", "fstat"};
        int may_stay = 0;
        for (int i = 0; i < COUNT(ITS); i++)
            may_stay |= strcmp(fault.call, ITS[i]) == 0;
        WANT(may_stay);
        remove(path);
    }
    TRY(conn);
}
