/* A caller that is parked in a descriptor: what cancel_*.c and destroy_*.c end. */
#ifndef EVICT_H
#define EVICT_H

#include "torture.h"

#define TRY_NULL(call)                                       \
    do {                                                     \
        long long tried_ = (call);                           \
        if (tried_ < 0) {                                    \
            lost((int)tried_, __FILE__, __LINE__, #call);    \
            return NULL;                                     \
        }                                                    \
    } while (0)

static int fds[2], more[2];
static struct where at;
static struct netfd_cancel *token;
static _Atomic long long said = 1;

/* How a caller's call ended: one of the two ways that it may, or by the fault. */
static void see(long long how) {
    if (how < 0 && how != NETFD_ECLOSED && how != NETFD_ECANCELED)
        lost((int)how, __FILE__, __LINE__, "the call");
}

HELPER void reads(void *arg) {
    static char room[1 << 16];
    said = netfd_read(fds[0], room, sizeof room);
    see(said);
    (void)arg;
}

HELPER void accepts(void *arg) {
    said = own(netfd_accept(fds[0], NULL, NULL));
    see(said);
    (void)arg;
}

HELPER void connects(void *arg) {
    said = netfd_connect(fds[0], NULL, 0, SA(&at), soon(), NULL);
    see(said);
    (void)arg;
}

HELPER void writes(void *arg) {
    static char all[8 << 20];
    long n;
    while ((n = netfd_write(fds[0], all, sizeof all)) == sizeof all) {
    }
    said = n >= 0 ? why_short() : n; /* a part had gone */
    see(said);
    (void)arg;
}

HELPER void copies(void *arg) {
    said = netfd_copy(more[0], fds[0], -1);
    see(said);
    (void)arg;
}

/* Has a caller parked in fds[0]. */
HELPER struct task *parked(void (*body)(void *)) {
    int rest;
    if (body == accepts) {
        TRY_NULL(fds[0] = listener(&at));
    } else if (body == connects) {
        /* Nobody takes what is queued for this one. */
        kind = &KINDS[2];
        at = anywhere();
        TRY_NULL(rest = own(netfd_sys_socket(kind->family, kind->type, 0)));
        TRY_NULL(netfd_listen_stream(rest, SA(&at), 1));
        TRY_NULL(connected(&at));
        TRY_NULL(connected(&at));
        TRY_NULL(fds[0] = own(netfd_sys_socket(kind->family, kind->type, 0)));
    } else if (!pair(fds) || (body == copies && !pair(more))) {
        return NULL;
    }
    if (token != NULL)
        TRY_NULL(netfd_set_cancel(fds[0], token));
    struct task *task = start(body, NULL);
    if (task != NULL)
        await_parked(1);
    return has_failed() ? NULL : task;
}

/* A token is fired while the caller is parked. */
HELPER void cancel_during(void (*body)(void *)) {
    if ((token = netfd_cancel_new()) == NULL) {
        lost(-ENOMEM, __FILE__, __LINE__, "netfd_cancel_new");
        return;
    }
    struct task *task = parked(body);
    netfd_cancel_fire(token);
    join(task);
    netfd_cancel_free(token);
    if (task == NULL)
        return;
    if (said != NETFD_ECANCELED) {
        WANT(said < 0);
        TRY(said);
    }
    char byte;
    WANT(body == connects || has_failed() || netfd_read(fds[0], &byte, 1) == NETFD_ECANCELED);
    TRY(netfd_set_cancel(fds[0], NULL));
    TRY(end(fds[0]));
}

/* The descriptor is destroyed while the caller is parked. */
HELPER void destroy_during(void (*body)(void *)) {
    struct task *task = parked(body);
    if (task == NULL)
        return;
    TRY(end(fds[0]));
    join(task);
    if (said != NETFD_ECLOSED) {
        WANT(said < 0);
        TRY(said);
    }
}

#endif
