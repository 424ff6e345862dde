/* netfd_writev of 2,500 buffers, which is beyond IOV_MAX. */
#include "torture.h"

enum { MANY = 2500, EACH = 11 };
static unsigned char bytes[MANY * EACH];
static struct iovec iov[MANY];
static int fds[2];
static struct flow flow;

static void writes(void *arg) {
    long said = netfd_writev(fds[0], iov, MANY);
    if (said > 0)
        flow.sent = (size_t)said;
    if (said >= 0 && flow.sent < sizeof bytes)
        said = why_short();
    if (said < 0)
        lost((int)said, __FILE__, __LINE__, "netfd_writev");
    netfd_shutdown(fds[0], SHUT_WR);
    (void)arg;
}

static void scenario(void) {
    if (!pair(fds))
        return;
    fill(bytes, sizeof bytes, 0, 4);
    for (int i = 0; i < MANY; i++)
        iov[i] = (struct iovec){bytes + i * EACH, EACH};
    flow = (struct flow){fds[0], fds[1], sizeof bytes, 0, 5000, 0, 0, 4, 0};
    struct task *writer = start(writes, NULL), *reader = start(flow_in, &flow);
    join(writer);
    join(reader);
    if (writer && reader)
        check_flow(&flow);
}
