/*
 * deadline: a point in time that ends calls and damages nothing.
 *
 * A deadline belongs to one direction of a descriptor. It stays until another
 * is set, wakes a call that is blocked already, and the descriptor goes on
 * working: the rules of Go's SetDeadline.
 *
 * Build: make -C c_examples; or, once that has built the library,
 *   cc -std=c99 -pthread -Iinclude c_examples/deadline.c -o deadline \
 *      -Lc_examples/build -lnetfd -Wl,-rpath,c_examples/build
 * Run: c_examples/build/deadline
 */
#include "netfd.h"
#include "example.h"

static char big[8 * 1024 * 1024]; /* more than a socket's buffers take */

/* Tells what a call returned, and ends the program if it was not `wanted`. */
static void expect(const char *what, ssize_t wanted, ssize_t got)
{
    if (got < 0)
        printf("deadline: %-44s %s\n", what, netfd_strerror((int)got));
    else
        printf("deadline: %-44s %ld\n", what, (long)got);
    if (got != wanted)
        fail("which is not what it should be");
}

static void *reads(void *fd)
{
    char byte;

    return (void *)(intptr_t)netfd_read(*(int *)fd, &byte, 1);
}

int main(void)
{
    int fd[2];
    char buf[16];
    int64_t begun;
    pthread_t thread;
    void *result;
    ssize_t sent, n;
    size_t got = 0;

    if (socketpair(AF_UNIX, SOCK_STREAM, 0, fd) != 0)
        fail("no socketpair");
    check(netfd_attach(fd[0])); /* sockets from elsewhere are welcome */
    check(netfd_attach(fd[1]));

    begun = netfd_now();
    check(netfd_set_read_deadline(fd[0], begun + 50 * MS));
    expect("read for 50 ms", NETFD_EDEADLINE, netfd_read(fd[0], buf, 16));
    if (netfd_now() < begun + 50 * MS)
        fail("it came back early");

    expect("the peer writes", 5, netfd_write(fd[1], "hello", 5));
    expect("read: the deadline stays, data or not", NETFD_EDEADLINE,
           netfd_read(fd[0], buf, 16));
    expect("write: the other direction has none", 2, netfd_write(fd[0], "hi", 2));
    check(netfd_set_read_deadline(fd[0], NETFD_NO_DEADLINE));
    expect("lifted, read: nothing was lost", 5, netfd_read(fd[0], buf, 16));
    expect("the peer reads", 2, netfd_read(fd[1], buf, 16));

    thread = start(reads, &fd[0]);
    await_parked(1);
    check(netfd_set_read_deadline(fd[0], netfd_now()));
    pthread_join(thread, &result);
    expect("set while another thread is in read: it gets", NETFD_EDEADLINE,
           (intptr_t)result);

    check(netfd_set_write_deadline(fd[0], netfd_after(50 * MS)));
    sent = netfd_write(fd[0], big, sizeof big); /* nobody reads */
    printf("deadline: wrote %ld of %ld bytes\n", (long)sent, (long)sizeof big);
    if (check(sent) == (ssize_t)sizeof big)
        fail("which is more than nobody reads");
    expect("what stopped it", NETFD_EDEADLINE, netfd_last_error(NULL));
    expect("write again", NETFD_EDEADLINE, netfd_write(fd[0], big, 1));
    check(netfd_destroy(fd[0]));
    while ((n = check(netfd_read(fd[1], big, sizeof big))) > 0)
        got += (size_t)n;
    expect("the peer reads as many as write said", sent, (ssize_t)got);
    check(netfd_destroy(fd[1]));
    return 0;
}
