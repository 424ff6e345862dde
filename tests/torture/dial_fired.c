/* netfd_dial with a token that is fired before it, and while it waits. */
#include "torture.h"

static struct netfd_cancel *token;
static char text[NETFD_ADDR_TEXT];
static _Atomic int said = 1;

static void dials(void *arg) {
    struct netfd_dial_config how = {.size = sizeof how, .deadline = soon(), .cancel = token};
    said = own(netfd_dial("unix", text, &how));
    (void)arg;
}

static void scenario(void) {
    struct netfd_dial_config how = {.size = sizeof how, .deadline = soon()};
    struct where at;
    int by, fd;
    snprintf(text, sizeof text, "@torture-fired-%d", (int)getpid());
    TRY(netfd_addr_parse("unix", text, &at.sa, (at.len = sizeof at.sa, &at.len)));
    TRY_FD(by, netfd_sys_socket(AF_UNIX, SOCK_STREAM, 0));
    TRY(netfd_listen_stream(by, SA(&at), 1));
    for (int i = 0; i < 2; i++) /* its queue is full now */
        TRY_FD(fd, netfd_dial("unix", text, &how));
    if ((token = netfd_cancel_new()) == NULL)
        TRY(-ENOMEM);
    struct task *dialer = start(dials, NULL);
    if (dialer != NULL)
        await_parked(1);
    netfd_cancel_fire(token);
    join(dialer);
    if (dialer != NULL && said != NETFD_ECANCELED) {
        WANT(said < 0);
        lost(said, __FILE__, __LINE__, "netfd_dial");
    }
    how.cancel = token;
    fd = own(netfd_dial("unix", text, &how));
    netfd_cancel_free(token);
    if (fd != NETFD_ECANCELED) {
        WANT(fd < 0);
        TRY(fd);
    }
}
