/* netfd_copy of a file at its own offset, which is set behind what went. */
#include "torture.h"

enum { ALL = 200000 };
static int fds[2], file;
static struct flow flow;

static void copies(void *arg) {
    int64_t said;
    while ((said = netfd_copy(fds[0], file, 70000)) > 0)
        flow.sent += (size_t)said;
    if (!(fault.call[0] == 'l')) /* lseek itself */
        WANT(lseek(file, 0, SEEK_CUR) == (off_t)flow.sent);
    netfd_shutdown(fds[0], SHUT_WR);
    TRY(said);
    (void)arg;
}

static void scenario(void) {
    static unsigned char bytes[ALL];
    if (!pair(fds))
        return;
    TRY_C(file = memfd_create("file", MFD_CLOEXEC));
    fill(bytes, ALL, 0, 8);
    if (write(file, bytes, ALL) == ALL && lseek(file, 0, SEEK_SET) == 0) {
        flow = (struct flow){fds[0], fds[1], ALL, 0, 30000, 0, 0, 8, 0};
        struct task *copier = start(copies, NULL), *reader = start(flow_in, &flow);
        join(copier);
        join(reader);
        if (copier && reader)
            check_flow(&flow);
    } else {
        lost(-ENOMEM, __FILE__, __LINE__, "the file");
    }
    close(file);
}
