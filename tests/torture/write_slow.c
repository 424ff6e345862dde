/* 1 MiB written at once, to a reader who takes his time. */
#include "torture.h"

static void slowly(void *arg) {
    struct flow *flow = arg;
    await_parked(1); /* the writer */
    flow_in(arg);
    (void)flow;
}

static void scenario(void) {
    int fds[2], small = 16384;
    if (!pair(fds))
        return;
    TRY_C(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small));
    struct flow flow = {fds[0], fds[1], 1 << 20, 1 << 20, 65536, 0, 0, 3, 0};
    struct task *writer = start(flow_out, &flow), *reader = start(slowly, &flow);
    join(writer);
    join(reader);
    if (writer && reader)
        check_flow(&flow);
}
