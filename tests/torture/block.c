/* netfd_block: what blocks runs on a helper thread, once or not at all. */
#include "torture.h"

static _Atomic int ran;

static void blocks(void *arg) {
    struct timespec time = {0, 300000};
    WANT(!netfd_in_fiber());
    nanosleep(&time, NULL);
    ran++;
    (void)arg;
}

static void scenario(void) {
    for (int i = 0; i < 3; i++) {
        int said = netfd_block(blocks, NULL);
        WANT(ran == i + (said == 0));
        TRY(said);
    }
}
