/*
 * evict: destroying what other threads are blocked on is an ordinary thing.
 *
 * Three threads are blocked, in accept, in read and in connect. The main
 * thread destroys what they wait on, and each is told so at once. Then a
 * number is put to use again, time after time, and the socket that gets it
 * loses no byte to the thread that read from the old one.
 *
 * Build: make -C c_examples; or, once that has built the library,
 *   cc -std=c99 -pthread -Iinclude c_examples/evict.c -o evict \
 *      -Lc_examples/build -lnetfd -Wl,-rpath,c_examples/build
 * Run: c_examples/build/evict [TIMES]
 */
#include "netfd.h"
#include "example.h"

#include <string.h>

enum { MOST_QUEUED = 8 };

static struct sockaddr_storage at; /* of the listener that was made last */
static socklen_t at_len = sizeof at;

static ssize_t connect_by(int fd, int64_t deadline)
{
    return netfd_connect(fd, NULL, 0, (struct sockaddr *)&at, at_len, deadline, NULL);
}

/* Three threads' bodies: each makes one call and returns what it was told. */
static void *accepts(void *fd)
{
    return (void *)(intptr_t)netfd_accept(*(int *)fd, NULL, NULL);
}

static void *reads(void *fd)
{
    char byte;

    return (void *)(intptr_t)netfd_read(*(int *)fd, &byte, 1);
}

static void *connects(void *fd)
{
    return (void *)(intptr_t)connect_by(*(int *)fd, NETFD_NO_DEADLINE);
}

static void has_been_told(pthread_t thread, const char *call)
{
    void *result;
    int code;

    pthread_join(thread, &result);
    code = (int)(intptr_t)result;
    if (call != NULL || code != NETFD_ECLOSED)
        printf("evict: %s was told: %s\n", call ? call : "read", netfd_strerror(code));
    if (code != NETFD_ECLOSED)
        exit(1);
}

static int listener(void)
{
    int fd = check(netfd_sys_socket(AF_INET, SOCK_STREAM, 0));

    check(netfd_addr_parse("tcp", "127.0.0.1:0", &at, &at_len));
    check(netfd_listen_stream(fd, (struct sockaddr *)&at, at_len, 1));
    check(netfd_local_addr(fd, (struct sockaddr *)&at, &at_len));
    return fd;
}

/* Two sockets that are connected; the first has the lowest free number. */
static void make_pair(int *pair)
{
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0)
        fail("no socketpair");
    check(netfd_attach(pair[0]));
    check(netfd_attach(pair[1]));
}

/* A reader is evicted, and the number that it read from used again at once. */
static void reuse(char letter)
{
    char message[16], got[16];
    int old[2], pair[2];
    pthread_t reader;

    make_pair(old);
    reader = start(reads, &old[0]);
    await_parked(1);
    check(netfd_destroy(old[0]));
    make_pair(pair); /* while the reader is on its way out */
    if (pair[0] != old[0])
        fail("the number was not used again");
    memset(message, letter, sizeof message);
    write_whole(pair[1], message, sizeof message);
    has_been_told(reader, NULL);
    read_whole(pair[0], got, sizeof got);
    if (memcmp(message, got, sizeof got) != 0)
        fail("wrong bytes arrived");
    check(netfd_destroy(pair[0]));
    check(netfd_destroy(pair[1]));
    check(netfd_destroy(old[1]));
}

int main(int argc, char **argv)
{
    int times = argc > 1 ? atoi(argv[1]) : 200;
    int idle = listener(), never_accepts = listener();
    int fds[MOST_QUEUED], n = 0, i;
    pthread_t accepting, reading, connecting;
    ssize_t code;

    if (listen(never_accepts, 0) != 0) /* a plain fd: the backlog shrinks */
        fail("no listen");
    do { /* connects until there is no room left, and one has to wait */
        fds[n] = check(netfd_sys_socket(AF_INET, SOCK_STREAM, 0));
        code = connect_by(fds[n++], netfd_after(200 * MS));
    } while (code == 0 && n < MOST_QUEUED);
    if (code != NETFD_EDEADLINE || n < 2)
        fail("the backlog does not fill up");

    accepting = start(accepts, &idle);
    reading = start(reads, &fds[0]);           /* nobody will answer */
    connecting = start(connects, &fds[n - 1]); /* it may be tried again */
    await_parked(3);
    check(netfd_dump(1)); /* who is parked on what, since when */

    check(netfd_destroy(idle));
    has_been_told(accepting, "accept");
    check(netfd_destroy(fds[0]));
    has_been_told(reading, "read");
    check(netfd_destroy(fds[n - 1]));
    has_been_told(connecting, "connect");
    for (i = 1; i < n - 1; i++)
        check(netfd_destroy(fds[i]));
    check(netfd_destroy(never_accepts));

    for (i = 0; i < times; i++)
        reuse((char)('a' + i % 26));
    printf("evict: a number was used again %d times, and no byte lost\n", i);
    return 0;
}
