/* netfd_go, netfd_sleep, netfd_yield, and a group that is waited for. */
#include "torture.h"

static struct netfd_group *group;
static _Atomic int ran;

static void naps(void *arg) {
    netfd_sleep(200000);
    netfd_yield();
    ran++;
    WANT(netfd_group_done(group) == 0);
    (void)arg;
}

static void scenario(void) {
    int begun = 0, said = 0;
    if ((group = netfd_group_new()) == NULL)
        TRY(-ENOMEM);
    for (int i = 0; i < 6 && said == 0; i++) {
        WANT(netfd_group_add(group, 1) == 0);
        if ((said = netfd_go(naps, NULL)) == 0)
            begun++;
        else
            WANT(netfd_group_done(group) == 0);
    }
    if (said != 0)
        lost(said, __FILE__, __LINE__, "netfd_go");
    said = netfd_group_wait(group, soon(), NULL);
    while (said != 0 && ran < begun)
        pause_us(100); /* before it is freed */
    WANT(said != 0 || ran == begun);
    pause_us(1000);
    netfd_group_free(group);
    TRY(said);
}
