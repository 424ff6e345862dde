/* A lookup that its caller walks away from, and one that a token ends. */
#include "names.h"

static struct netfd_cancel *token;

static void resolves(void *arg) {
    struct sockaddr_storage all[2];
    int n = netfd_resolve("tcp", "two.test:80", all, 2, soon(), token);
    TRY(n == NETFD_ECANCELED ? 0 : n);
    (void)arg;
}

static void scenario(void) {
    if ((token = netfd_cancel_new()) == NULL)
        TRY(-ENOMEM);
    int n = netfd_resolve("tcp", "two.test:80", NULL, 0, netfd_after(1000), NULL);
    struct task *task = start(resolves, NULL);
    netfd_cancel_fire(token);
    join(task);
    netfd_cancel_free(token);
    TRY(n == NETFD_EDEADLINE ? 0 : n);
}
