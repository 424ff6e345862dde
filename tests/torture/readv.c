/* netfd_readv into buffers of different lengths. */
#include "torture.h"

static int fds[2];
static struct flow flow;

static void reads(void *arg) {
    unsigned char one[1], two[300], three[7];
    struct iovec iov[] = {{one, 1}, {two, 0}, {two, sizeof two}, {three, sizeof three}};
    long said;
    while ((said = netfd_readv(fds[1], iov, COUNT(iov))) > 0) {
        size_t left = (size_t)said;
        for (int i = 0; i < COUNT(iov); i++) {
            size_t here = left < iov[i].iov_len ? left : iov[i].iov_len;
            verify(iov[i].iov_base, here, flow.came, 5);
            flow.came += here;
            left -= here;
        }
        WANT(left == 0);
    }
    flow.whole = said == 0;
    TRY(said);
    (void)arg;
}

static void scenario(void) {
    if (!pair(fds))
        return;
    flow = (struct flow){fds[0], fds[1], 5000, 1000, 0, 0, 0, 5, 0};
    struct task *reader = start(reads, NULL), *writer = start(flow_out, &flow);
    join(writer);
    join(reader);
    if (writer && reader)
        check_flow(&flow);
}
