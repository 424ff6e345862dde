/* Fibers that stay parked, for a debugger to look at. */
#include "check.h"

#include <sys/socket.h>

static int ends[2];

static __attribute__((noinline)) int reads_and_never_returns(int fd) {
    volatile char bytes[64] = {0};
    int n = (int)netfd_read(fd, (char *)bytes, sizeof bytes);
    return n + bytes[0];
}

static void handles(void *arg) {
    volatile int n = reads_and_never_returns(*(int *)arg);
    (void)n;
}

static __attribute__((noinline)) int sleeps_for_long(void) {
    volatile int slept = netfd_sleep(3600 * SECOND);
    return slept;
}

static void naps(void *arg) {
    volatile int slept = sleeps_for_long();
    (void)slept;
    (void)arg;
}

/* A worker runs its fibers in turn: those before this one are parked. */
static void is_the_last_to_run(void *arg) { EQ(netfd_group_done(arg), 0); }

/* A debugger stops here. */
__attribute__((noinline)) void all_are_parked(void) { __asm__ volatile(""); }

int main(void) {
    EQ(setenv("NETFD_WORKERS", "1", 1), 0);
    EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    EQ(netfd_attach(ends[0]), ends[0]);
    EQ(netfd_go(handles, &ends[0]), 0);
    EQ(netfd_go(naps, NULL), 0);
    struct netfd_group *others = netfd_group_new();
    EQ(netfd_group_add(others, 1), 0);
    EQ(netfd_go(is_the_last_to_run, others), 0);
    EQ(netfd_group_wait(others, NETFD_NO_DEADLINE, NULL), 0);
    all_are_parked();
    EQ(write(ends[1], "!", 1), 1);
    while (parked() > 1)
        look_again();
    puts("went on");
    return 0;
}
