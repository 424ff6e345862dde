/* netfd_copy from one connection to another: splice(2). */
#include "torture.h"

static int in[2], out[2];
static struct flow flow;
static int64_t copied;

static void copies(void *arg) {
    int64_t said;
    while ((said = netfd_copy(out[0], in[1], -1)) > 0)
        copied += said;
    netfd_shutdown(out[0], SHUT_WR);
    TRY(said);
    (void)arg;
}

static void scenario(void) {
    if (!pair(in) || !pair(out))
        return;
    flow = (struct flow){in[0], out[1], 400000, 50000, 30000, 0, 0, 7, 0};
    struct task *copier = start(copies, NULL), *reader = start(flow_in, &flow),
                *writer = start(flow_out, &flow);
    join(copier);
    join(writer);
    join(reader);
    if (!copier || !reader || !writer)
        return;
    if (flow.came > flow.sent || (flow.whole && (int64_t)flow.came != copied))
        WRONG("sent %zu, copied %lld, came %zu", flow.sent, (long long)copied, flow.came);
    if (!has_failed())
        check_flow(&flow);
}
