/*
 * pass_fd: a listener and a file go to another process, which serves on them.
 *
 * The parent owns the port and the file, and passes both over a socketpair. The
 * child has neither the right nor the name to open them: it checks who sent
 * them, accepts on the listener and answers with what is in the file.
 *
 * Build: make -C c_examples; or, once that has built the library,
 *   cc -std=c99 -pthread -Iinclude c_examples/pass_fd.c -o pass_fd \
 *      -Lc_examples/build -lnetfd -Wl,-rpath,c_examples/build
 * Run: c_examples/build/pass_fd
 */
#define _POSIX_C_SOURCE 200809L
#include "netfd.h"
#include "example.h"

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define CLIENTS 3
#define TEXT "read from a file that the child could not open\n"

/* The child: what it knows at first is one end of a socketpair. */
static int serve(int from_parent)
{
    int fds[2], conn, i;
    size_t came;
    char what[16], text[256];
    pid_t pid;
    ssize_t n;

    check(netfd_attach(from_parent));
    check(netfd_set_deadline(from_parent, netfd_after(10 * SECOND)));
    check(netfd_peer_cred(from_parent, &pid, NULL, NULL));
    if (pid != getppid())
        fail("the other end is not the parent's");
    n = check(netfd_recv_fds(from_parent, fds, 2, &came, what, sizeof what));
    if (n != 4 || memcmp(what, "work", 4) != 0 || came != 2)
        fail("that is not what was to come");

    /* Sockets come attached; the file is a descriptor like any other. */
    for (i = 0; i < CLIENTS; i++) {
        check(netfd_set_read_deadline(fds[0], netfd_after(10 * SECOND)));
        conn = (int)check(netfd_accept(fds[0], NULL, NULL));
        n = pread(fds[1], text, sizeof text, 0);
        if (n < 0)
            fail("the file cannot be read");
        write_whole(conn, text, (size_t)n);
        check(netfd_destroy(conn));
    }
    check(netfd_destroy(fds[0]));
    close(fds[1]);
    check(netfd_destroy(from_parent));
    return 0;
}

/* A client reads to the end of the stream. */
static void ask(const struct sockaddr *at, socklen_t len)
{
    char text[256];
    size_t have = 0;
    ssize_t n;
    int fd = (int)check(netfd_sys_socket(AF_INET, SOCK_STREAM, 0));

    check(netfd_connect(fd, NULL, 0, at, len, netfd_after(10 * SECOND), NULL));
    check(netfd_set_deadline(fd, netfd_after(10 * SECOND)));
    while ((n = check(netfd_read(fd, text + have, sizeof text - have))) > 0)
        have += (size_t)n;
    if (have != sizeof TEXT - 1 || memcmp(text, TEXT, have) != 0)
        fail("that is not what is in the file");
    check(netfd_destroy(fd));
}

int main(void)
{
    char name[] = "/tmp/netfd-XXXXXX";
    struct sockaddr_storage at;
    struct sockaddr *addr = (struct sockaddr *)&at;
    socklen_t len = sizeof at;
    int pair[2], fds[2], status, i;
    pid_t child;

    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0)
        fail("no socketpair");
    child = fork();
    if (child < 0)
        fail("no process");
    if (child == 0) {
        close(pair[0]);
        return serve(pair[1]);
    }
    close(pair[1]);

    /* Made after fork(2): the child could not have inherited them. */
    fds[0] = listen_on("0", "pass_fd");
    check(netfd_local_addr(fds[0], addr, &len));
    fds[1] = mkstemp(name);
    if (fds[1] < 0 || unlink(name) != 0) /* nobody can open it any more */
        fail("no file");
    if (write(fds[1], TEXT, sizeof TEXT - 1) != sizeof TEXT - 1)
        fail("the file cannot be written");

    check(netfd_attach(pair[0]));
    check(netfd_set_deadline(pair[0], netfd_after(10 * SECOND)));
    if (check(netfd_send_fds(pair[0], fds, 2, "work", 4)) != 4)
        fail("the message went in part");
    /* The child has copies. Destroying ours does not end them. */
    check(netfd_destroy(fds[0]));
    close(fds[1]);

    for (i = 0; i < CLIENTS; i++)
        ask(addr, len);
    if (waitpid(child, &status, 0) != child || status != 0)
        fail("the child failed");
    check(netfd_destroy(pair[0]));
    printf("pass_fd: %d clients served by another process\n", CLIENTS);
    return 0;
}
