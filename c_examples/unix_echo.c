/*
 * unix_echo: server and client over unix sockets, by path and by abstract name.
 *
 * Shows that nothing but the address is different, who the peer is, and whose
 * the socket's file is: netfd_destroy() does not remove what
 * netfd_listen_stream() made.
 *
 * Build: make -C c_examples; or, once that has built the library,
 *   cc -std=c99 -pthread -Iinclude c_examples/unix_echo.c -o unix_echo \
 *      -Lc_examples/build -lnetfd -Wl,-rpath,c_examples/build
 * Run: c_examples/build/unix_echo
 */
#define _POSIX_C_SOURCE 200809L
#include "netfd.h"
#include "example.h"

#include <string.h>
#include <unistd.h>

/* The server: one connection, until the client has no more to say. */
static void *serve(void *listener)
{
    int fd = check(netfd_accept(*(int *)listener, NULL, NULL));
    char buf[64];
    pid_t pid;
    uid_t uid;
    ssize_t n;

    check(netfd_peer_cred(fd, &pid, &uid, NULL));
    printf("unix_echo: the client is %s, of user %ld\n",
           pid == getpid() ? "this process" : "a stranger", (long)uid);
    while ((n = check(netfd_read(fd, buf, sizeof buf))) > 0)
        write_whole(fd, buf, (size_t)n);
    check(netfd_destroy(fd));
    return NULL;
}

static void talk(int fd)
{
    char message[64], answer[64];
    int i;

    check(netfd_set_deadline(fd, netfd_after(10 * SECOND)));
    for (i = 0; i < 1000; i++) {
        size_t len = (size_t)snprintf(message, sizeof message, "message %d", i);

        write_whole(fd, message, len);
        read_whole(fd, answer, len);
        if (memcmp(message, answer, len) != 0)
            fail("a wrong byte came back");
    }
    check(netfd_shutdown(fd, SHUT_WR)); /* no more to say */
    if (check(netfd_read(fd, answer, sizeof answer)) != 0)
        fail("a byte too many came back");
}

static void echo_at(const char *name)
{
    struct sockaddr_storage at;
    struct sockaddr *addr = (struct sockaddr *)&at;
    socklen_t len = sizeof at;
    pthread_t server;
    int listener, fd;

    check(netfd_addr_parse("unix", name, &at, &len));
    listener = check(netfd_sys_socket(AF_UNIX, SOCK_STREAM, 0));
    check(netfd_listen_stream(listener, addr, len, 0));
    server = start(serve, &listener);

    fd = check(netfd_sys_socket(AF_UNIX, SOCK_STREAM, 0));
    check(netfd_connect(fd, NULL, 0, addr, len, netfd_after(10 * SECOND), NULL));
    talk(fd);
    check(netfd_destroy(fd));
    pthread_join(server, NULL);
    check(netfd_destroy(listener));
    printf("unix_echo: 1000 messages and back over %s\n", name);
}

int main(void)
{
    char dir[] = "/tmp/netfd-XXXXXX", name[64];

    if (mkdtemp(dir) == NULL)
        fail("no folder for the socket");
    snprintf(name, sizeof name, "%s/echo.sock", dir);
    echo_at(name);
    if (unlink(name) != 0) /* it is still there, and ours */
        fail("the socket's file is gone");
    rmdir(dir);

    snprintf(name, sizeof name, "@netfd-unix-echo-%ld", (long)getpid());
    echo_at(name); /* this one has no file */
    return 0;
}
