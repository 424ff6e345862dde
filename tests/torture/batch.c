/* netfd_sendmmsg and netfd_recvmmsg: each datagram once, and in order. */
#include "torture.h"

enum { MANY = 40, EACH = 50 };
static int fds[2];

static void sends(void *arg) {
    static unsigned char bytes[MANY][EACH];
    static struct iovec iov[MANY];
    static struct mmsghdr all[MANY];
    int done = 0;
    for (int i = 0; i < MANY; i++) {
        fill(bytes[i], EACH, 0, (unsigned)i);
        iov[i] = (struct iovec){bytes[i], EACH};
        all[i].msg_hdr.msg_iov = &iov[i];
        all[i].msg_hdr.msg_iovlen = 1;
    }
    while (done < MANY) {
        int n = netfd_sendmmsg(fds[0], all + done, (unsigned)(MANY - done), 0);
        TRY(n);
        WANT(n > 0 && n <= MANY - done);
        for (int i = 0; i < n; i++)
            WANT(all[done + i].msg_len == EACH);
        done += n;
    }
    (void)arg;
}

static void scenario(void) {
    static unsigned char bytes[7][EACH + 10];
    struct iovec iov[7];
    struct mmsghdr all[7];
    int have = 0;
    if (!pair(fds))
        return;
    struct task *sender = start(sends, NULL);
    while (sender != NULL && have < MANY) {
        memset(all, 0, sizeof all);
        for (int i = 0; i < 7; i++) {
            iov[i] = (struct iovec){bytes[i], sizeof bytes[i]};
            all[i].msg_hdr.msg_iov = &iov[i];
            all[i].msg_hdr.msg_iovlen = 1;
        }
        int n = netfd_recvmmsg(fds[1], all, 7, 0);
        TRY(n);
        WANT(n > 0 && have + n <= MANY);
        for (int i = 0; i < n; i++) {
            WANT(all[i].msg_len == EACH);
            verify(bytes[i], EACH, 0, (unsigned)(have + i));
        }
        have += n;
    }
    join(sender);
}
