/* netfd_sendmsg and netfd_recvmsg, in pieces; a receiver that is parked. */
#include "torture.h"

static int fds[2];

static void receives(void *arg) {
    unsigned char a[3], b[100];
    struct iovec iov[] = {{a, sizeof a}, {b, sizeof b}};
    struct msghdr message = {.msg_iov = iov, .msg_iovlen = 2};
    long n = netfd_recvmsg(fds[1], &message, 0);
    TRY(n);
    WANT(n == 50);
    verify(a, 3, 0, 9);
    verify(b, 47, 3, 9);
    (void)arg;
}

static void scenario(void) {
    unsigned char bytes[50];
    struct iovec iov[] = {{bytes, 20}, {bytes + 20, 30}};
    struct msghdr message = {.msg_iov = iov, .msg_iovlen = 2};
    if (!pair(fds))
        return;
    struct task *receiver = start(receives, NULL);
    if (receiver == NULL)
        return;
    await_parked(1);
    fill(bytes, 50, 0, 9);
    long n = netfd_sendmsg(fds[0], &message, 0);
    TRY(n);
    WANT(n == 50);
    join(receiver);
}
