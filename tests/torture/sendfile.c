/* netfd_sendfile from an offset, then from the file's own. */
#include "torture.h"

enum { ALL = 300000, HALF = 100000 };
static int fds[2], file;
static struct flow flow;

static void sends(void *arg) {
    int64_t said = netfd_sendfile(fds[0], file, 0, HALF);
    if (said > 0)
        flow.sent = (size_t)said;
    if (said == HALF) {
        WANT(lseek(file, 0, SEEK_CUR) == HALF || has_failed() || fault.call[0] == 'l');
        said = netfd_sendfile(fds[0], file, -1, -1);
        if (said > 0)
            flow.sent += (size_t)said;
    }
    if (said >= 0 && flow.sent < ALL)
        said = why_short();
    if (said < 0)
        lost((int)said, __FILE__, __LINE__, "netfd_sendfile");
    netfd_shutdown(fds[0], SHUT_WR);
    (void)arg;
}

static void scenario(void) {
    static unsigned char bytes[ALL];
    if (!pair(fds))
        return;
    TRY_C(file = memfd_create("file", MFD_CLOEXEC));
    fill(bytes, ALL, 0, 6);
    ssize_t n = write(file, bytes, ALL);
    if (n == ALL && lseek(file, HALF, SEEK_SET) == HALF) {
        flow = (struct flow){fds[0], fds[1], ALL, 0, 30000, 0, 0, 6, 0};
        struct task *writer = start(sends, NULL), *reader = start(flow_in, &flow);
        join(writer);
        join(reader);
        if (writer && reader)
            check_flow(&flow);
    } else {
        lost(-ENOMEM, __FILE__, __LINE__, "the file");
    }
    close(file);
}
