/* A connection, and streams in both directions at once. */
#include "torture.h"

static void scenario(void) {
    int fds[2];
    if (!pair(fds))
        return;
    struct flow there = {fds[0], fds[1], 20000, 3000, 777, 0, 0, 1, 0};
    struct flow back = {fds[1], fds[0], 20000, 1000, 4096, 0, 0, 2, 0};
    struct task *all[] = {start(flow_out, &there), start(flow_in, &there), start(flow_out, &back),
                          start(flow_in, &back)};
    for (int i = 0; i < 4; i++)
        join(all[i]);
    if (all[0] && all[1])
        check_flow(&there);
    if (all[2] && all[3])
        check_flow(&back);
}
