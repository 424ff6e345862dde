/* What a datagram costs its receiver, one at a time and in batches.
 *
 *   ./batches ROUNDS
 *
 * sends bursts of 64-byte datagrams to itself over loopback and receives them
 * in each way in turn, on one core and one thread: all has come when it looks,
 * so that nothing but the receiving is measured. Prints, for each round, the
 * thread's CPU nanoseconds for each datagram by each way, in the order of WAYS.
 * All of them are told who sent it, as a server has to be. */
#define _GNU_SOURCE /* recvmmsg */
#include "../include/netfd.h"

#include "shared/bench.h"
#include <time.h>

#define BATCH 32
#define BURST 128 /* as many as the socket's buffer holds with ease */
#define BURSTS 100 /* of each way in a round */
#define SIZE 64

static int receiver, sender;
static struct mmsghdr out[BURST], in[BATCH];
static struct iovec out_buf, in_buf[BATCH];
static struct sockaddr_storage from[BATCH];
static char message[SIZE], room[BATCH][SIZE];

static void fail(const char *what, long code) {
    fprintf(stderr, "%s: %s\n", what, netfd_strerror((int)code));
    exit(1);
}

static int64_t cpu_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static void make_room(void) {
    for (int i = 0; i < BATCH; i++) {
        in[i].msg_hdr.msg_name = &from[i];
        in[i].msg_hdr.msg_namelen = sizeof from[i];
    }
}

static int by_netfd_recvmmsg(void) {
    make_room();
    return netfd_recvmmsg(receiver, in, BATCH, 0);
}
static int by_recvmmsg(void) {
    make_room();
    return recvmmsg(receiver, in, BATCH, 0, NULL);
}
static int by_netfd_recvfrom(void) {
    socklen_t len = sizeof from[0];
    return netfd_recvfrom(receiver, room[0], SIZE, 0, (struct sockaddr *)&from[0], &len) == SIZE ? 1 : -1;
}
static int by_recvfrom(void) {
    socklen_t len = sizeof from[0];
    return recvfrom(receiver, room[0], SIZE, 0, (struct sockaddr *)&from[0], &len) == SIZE ? 1 : -1;
}

static int (*const WAYS[])(void) = {by_netfd_recvmmsg, by_netfd_recvfrom, by_recvmmsg, by_recvfrom};
#define COUNT (sizeof WAYS / sizeof *WAYS)

static int64_t burst(int (*receive)(void)) {
    if (sendmmsg(sender, out, BURST, 0) != BURST) fail("sendmmsg", -errno);
    int64_t begun = cpu_ns();
    for (int got = 0, n; got < BURST; got += n)
        if ((n = receive()) <= 0) fail("receive", n);
    return cpu_ns() - begun;
}

static void prepare(void) {
    struct sockaddr_in a;
    socklen_t len = sizeof a;
    memset(&a, 0, sizeof a);
    a.sin_family = AF_INET;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    receiver = netfd_sys_socket(AF_INET, SOCK_DGRAM, 0);
    sender = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (receiver < 0 || sender < 0) fail("socket", receiver);
    if (bind(receiver, (struct sockaddr *)&a, len)) fail("bind", -errno);
    int code = netfd_local_addr(receiver, (struct sockaddr *)&a, &len);
    if (code < 0) fail("getsockname", code);
    if (connect(sender, (struct sockaddr *)&a, len)) fail("connect", -errno);
    out_buf.iov_base = message;
    out_buf.iov_len = SIZE;
    for (int i = 0; i < BURST; i++) {
        out[i].msg_hdr.msg_iov = &out_buf;
        out[i].msg_hdr.msg_iovlen = 1;
    }
    for (int i = 0; i < BATCH; i++) {
        in_buf[i].iov_base = room[i];
        in_buf[i].iov_len = SIZE;
        in[i].msg_hdr.msg_iov = &in_buf[i];
        in[i].msg_hdr.msg_iovlen = 1;
    }
}

int main(int argc, char **argv) {
    int rounds = argc == 2 ? atoi(argv[1]) : 0;
    if (rounds <= 0) {
        fprintf(stderr, "usage: batches ROUNDS\n");
        return 2;
    }
    prepare();
    for (int round = -1; round < rounds; round++) { /* the first warms up */
        int64_t spent[COUNT] = {0};
        for (int i = 0; i < BURSTS; i++)
            for (size_t way = 0; way < COUNT; way++) spent[way] += burst(WAYS[way]);
        for (size_t way = 0; way < COUNT && round >= 0; way++)
            printf("%.1f%c", (double)spent[way] / (BURSTS * BURST), way + 1 < COUNT ? ' ' : '\n');
    }
    return 0;
}
