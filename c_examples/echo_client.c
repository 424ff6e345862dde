/*
 * echo_client: many connections in a few threads, every byte checked.
 *
 * Shows connecting by a deadline, and messages over a stream. Each message is
 * one that no other connection and no other round sends, so that a byte which
 * went astray is seen.
 *
 * Build: make -C c_examples; or, once that has built the library,
 *   cc -std=c99 -pthread -Iinclude c_examples/echo_client.c -o echo_client \
 *      -Lc_examples/build -lnetfd -Wl,-rpath,c_examples/build
 * Run: c_examples/build/echo_client PORT [CONNECTIONS [ROUNDS [THREADS]]]
 */
#include "netfd.h"
#include "example.h"

#include <string.h>

enum { SIZE = 64, MOST_THREADS = 64 };

static struct sockaddr_storage server;
static socklen_t server_len = sizeof server;
static int connections = 200, rounds = 100, threads = 4;

static void compose(unsigned char *message, int connection, int round)
{
    uint32_t x = (uint32_t)connection * 2654435761u + (uint32_t)round;
    int i;

    for (i = 0; i < SIZE; i++) {
        x = x * 1664525u + 1013904223u;
        message[i] = (unsigned char)(x >> 24);
    }
}

static int dial(void)
{
    int fd = check(netfd_sys_socket(server.ss_family, SOCK_STREAM, 0));

    check(netfd_connect(fd, NULL, 0, (struct sockaddr *)&server, server_len,
                        netfd_after(10 * SECOND), NULL));
    return fd;
}

/* Talks on every connection whose number leaves `arg` divided by `threads`. */
static void *talk(void *arg)
{
    int i, round, first = (int)(intptr_t)arg;
    int *fds = (int *)calloc((size_t)connections, sizeof *fds);
    unsigned char message[SIZE], answer[SIZE];

    if (fds == NULL)
        fail("out of memory");
    for (i = first; i < connections; i += threads)
        fds[i] = dial();
    for (round = 0; round < rounds; round++) {
        for (i = first; i < connections; i += threads) {
            check(netfd_set_deadline(fds[i], netfd_after(10 * SECOND)));
            compose(message, i, round);
            write_whole(fds[i], message, SIZE);
        }
        for (i = first; i < connections; i += threads) {
            compose(message, i, round);
            read_whole(fds[i], answer, SIZE);
            if (memcmp(message, answer, SIZE) != 0)
                fail("a wrong byte came back");
        }
    }
    for (i = first; i < connections; i += threads) {
        check(netfd_shutdown(fds[i], SHUT_WR)); /* no more to say */
        if (check(netfd_read(fds[i], answer, SIZE)) != 0)
            fail("a byte too many came back");
        check(netfd_destroy(fds[i]));
    }
    free(fds);
    return NULL;
}

int main(int argc, char **argv)
{
    char text[NETFD_ADDR_TEXT];
    pthread_t thread[MOST_THREADS];
    int64_t begun;
    double seconds;
    int i;

    if (argc > 2)
        connections = atoi(argv[2]);
    if (argc > 3)
        rounds = atoi(argv[3]);
    if (argc > 4)
        threads = atoi(argv[4]);
    if (argc < 2 || connections < 1 || rounds < 1 || threads < 1
        || threads > MOST_THREADS)
        fail("usage: echo_client PORT [CONNECTIONS [ROUNDS [THREADS]]]");
    snprintf(text, sizeof text, "127.0.0.1:%s", argv[1]);
    check(netfd_addr_parse("tcp", text, &server, &server_len));

    begun = netfd_now();
    for (i = 0; i < threads; i++)
        thread[i] = start(talk, (void *)(intptr_t)i);
    for (i = 0; i < threads; i++)
        pthread_join(thread[i], NULL);
    seconds = (double)(netfd_now() - begun) / (double)SECOND;
    printf("echo_client: %d connections in %d threads, every byte checked: "
           "%.0f requests/s\n",
           connections, threads, (double)connections * rounds / seconds);
    return 0;
}
