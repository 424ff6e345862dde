/*
 * udp_echo: datagrams there and back, up to 32 with one system call.
 *
 * The server takes what has come (netfd_recvmmsg parks for the first datagram
 * and waits for no other), and answers each to its sender. The client is
 * connected, so it needs no address and hears of a server that is gone. A token
 * stops the server when it has answered everything.
 *
 * Build: make -C c_examples; or, once that has built the library,
 *   cc -std=c99 -pthread -Iinclude c_examples/udp_echo.c -o udp_echo \
 *      -Lc_examples/build -lnetfd -Wl,-rpath,c_examples/build
 * Run: c_examples/build/udp_echo
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* struct mmsghdr */
#endif
#include "netfd.h"
#include "example.h"

#include <string.h>

#define BATCH 32
#define ROUNDS 1000
#define ROOM 64 /* bytes for a datagram */

struct batch {
    struct mmsghdr messages[BATCH];
    struct iovec buffers[BATCH];
    struct sockaddr_storage peers[BATCH];
    char bytes[BATCH][ROOM];
};

/* Makes all of them ready to be received into. What comes changes the lengths,
 * so this has to be done each time. */
static void make_room(struct batch *batch)
{
    int i;

    for (i = 0; i < BATCH; i++) {
        struct msghdr *header = &batch->messages[i].msg_hdr;

        memset(header, 0, sizeof *header);
        batch->buffers[i].iov_base = batch->bytes[i];
        batch->buffers[i].iov_len = ROOM;
        header->msg_iov = &batch->buffers[i];
        header->msg_iovlen = 1;
        header->msg_name = &batch->peers[i];
        header->msg_namelen = sizeof batch->peers[i];
    }
}

/* One call may send fewer than it was given. */
static void send_all(int fd, struct batch *batch, int n)
{
    int sent = 0;

    while (sent < n)
        sent += (int)check(netfd_sendmmsg(fd, batch->messages + sent,
                                          (unsigned)(n - sent), 0));
}

static void *serve(void *arg)
{
    static struct batch batch;
    int fd = *(int *)arg, n, i;
    long calls = 0, datagrams = 0;

    for (;;) {
        make_room(&batch);
        n = netfd_recvmmsg(fd, batch.messages, BATCH, 0);
        if (n == NETFD_ECANCELED)
            break;
        check(n);
        for (i = 0; i < n; i++) {
            if (batch.messages[i].msg_hdr.msg_flags & MSG_TRUNC)
                fail("a datagram was longer than the room for it");
            batch.buffers[i].iov_len = batch.messages[i].msg_len;
        }
        send_all(fd, &batch, n);
        calls++;
        datagrams += n;
    }
    printf("udp_echo: the server got %ld datagrams by %ld calls, and was stopped\n",
           datagrams, calls);
    return NULL;
}

/* A round: a batch of numbered messages, each of which has to come back. */
static void talk(int fd, int round)
{
    static struct batch batch;
    char seen[BATCH] = {0};
    int i, n, which, back = 0;

    make_room(&batch);
    for (i = 0; i < BATCH; i++) {
        struct msghdr *header = &batch.messages[i].msg_hdr;

        header->msg_name = NULL; /* a connected socket knows where to */
        header->msg_namelen = 0;
        batch.buffers[i].iov_len = (size_t)snprintf(
            batch.bytes[i], ROOM, "%d of round %d", i, round);
    }
    send_all(fd, &batch, BATCH);

    while (back < BATCH) {
        char wanted[ROOM];

        make_room(&batch);
        n = (int)check(netfd_recvmmsg(fd, batch.messages, BATCH, 0));
        for (i = 0; i < n; i++, back++) {
            size_t len = batch.messages[i].msg_len;

            which = atoi(batch.bytes[i]);
            snprintf(wanted, sizeof wanted, "%d of round %d", which, round);
            if (len != strlen(wanted) || memcmp(batch.bytes[i], wanted, len) != 0)
                fail("what came back is not what was sent");
            if (which < 0 || which >= BATCH || seen[which]++)
                fail("one came back twice");
        }
    }
}

int main(void)
{
    struct sockaddr_storage at;
    struct sockaddr *addr = (struct sockaddr *)&at;
    socklen_t len = sizeof at;
    struct netfd_cancel *stop = netfd_cancel_new();
    int server_fd, fd, round;
    pthread_t server;

    if (stop == NULL)
        fail("no memory");
    check(netfd_addr_parse("udp", "127.0.0.1:0", &at, &len));
    server_fd = (int)check(netfd_sys_socket(AF_INET, SOCK_DGRAM, 0));
    if (bind(server_fd, addr, len) != 0) /* it is a plain descriptor */
        fail("no port");
    check(netfd_local_addr(server_fd, addr, &len));
    check(netfd_set_cancel(server_fd, stop));
    server = start(serve, &server_fd);

    fd = (int)check(netfd_sys_socket(AF_INET, SOCK_DGRAM, 0));
    check(netfd_connect(fd, NULL, 0, addr, len, NETFD_NO_DEADLINE, NULL));
    for (round = 0; round < ROUNDS; round++) {
        /* Datagrams may be lost, so nobody waits for ever. */
        check(netfd_set_read_deadline(fd, netfd_after(5 * SECOND)));
        talk(fd, round);
    }
    printf("udp_echo: %d datagrams, and all came back\n", ROUNDS * BATCH);

    netfd_cancel_fire(stop);
    pthread_join(server, NULL);
    check(netfd_destroy(fd));
    check(netfd_destroy(server_fd));
    netfd_cancel_free(stop);
    return 0;
}
