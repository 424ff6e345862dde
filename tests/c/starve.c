/* Listening by name without memory: each call is made again and again, and
 * finds none at the first allocation that it asks for, at the second, and so
 * on, until it needs no more. This program's malloc stands before the C
 * library's. */
#include "check.h"

#include <sys/socket.h>
#include <sys/stat.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

/* How many more the calling thread gets; negative: any number. */
static __thread long left = -1;

static int refused(void) {
    if (left < 0)
        return 0;
    if (left == 0) {
        errno = ENOMEM;
        return 1;
    }
    left--;
    return 0;
}

void *malloc(size_t size) { return refused() ? NULL : __libc_malloc(size); }
void *calloc(size_t n, size_t size) {
    return refused() ? NULL : __libc_calloc(n, size);
}
void *realloc(void *old, size_t size) {
    return refused() ? NULL : __libc_realloc(old, size);
}
void *aligned_alloc(size_t align, size_t size) {
    return refused() ? NULL : __libc_memalign(align, size);
}
int posix_memalign(void **to, size_t align, size_t size) {
    if (refused() || (*to = __libc_memalign(align, size)) == NULL)
        return ENOMEM;
    return 0;
}

/* The next number that socket(2) would give. */
static int next_fd(void) {
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(fd >= 0);
    close(fd);
    return fd;
}

static int look_up(void *at) { return netfd_listen("tcp", at, NULL); }

/* The most allocations that any of these calls needs, and some. */
#define MANY 64

/* A call's results, from no allocation on: -ENOMEM, or -EAGAIN for want of a
 * thread, and in the end `want`, or a descriptor where that is 0. Returns how
 * many it could not do without. */
static int starve(int (*call)(void *), void *arg, int want) {
    int refusals = 0, next = next_fd();
    for (long n = 0; n < MANY; n++) {
        left = n;
        int code = call(arg);
        left = -1;
        if (code == -ENOMEM || code == -EAGAIN) {
            CHECK(n < MANY - 1);
            refusals++;
        } else if (want == 0) {
            CHECK(code >= 0);
            EQ(netfd_destroy(code), 0);
        } else {
            EQ(code, want);
        }
        if (call != look_up) /* whose thread may still have a file open */
            EQ(next_fd(), next);
    }
    return refusals;
}

static int listen_tcp(void *at) { return netfd_listen("tcp", at, NULL); }
static int listen_udp(void *at) { return netfd_listen_packet("udp", at, NULL); }
static int listen_file(void *at) {
    struct stat there;
    int fd = netfd_listen("unix", at, NULL);
    if (fd < 0)
        CHECK(stat(at, &there) != 0); /* its file went again */
    return fd;
}

static int take_all(void *fds) { return netfd_listen_fds(NULL, fds, 2); }
static int take_web(void *fds) { return netfd_listen_fds("web", fds, 2); }

/* Sockets as from systemd: counted or -ENOMEM, and not fewer. */
static void take(void) {
    char pid[32];
    int fds[2];
    snprintf(pid, sizeof pid, "%ld", (long)getpid());
    for (int fd = 3; fd < 5; fd++) {
        int made = socket(AF_INET, SOCK_STREAM, 0);
        EQ(dup2(made, fd), fd);
        if (made != fd)
            close(made);
    }
    setenv("LISTEN_PID", pid, 1);
    setenv("LISTEN_FDS", "2", 1);
    setenv("LISTEN_FDNAMES", "web:web", 1);
    CHECK(starve(take_all, fds, 2) > 0);
    CHECK(starve(take_web, fds, 2) > 0);
    EQ(netfd_destroy(3), 0);
    EQ(netfd_destroy(4), 0);
}

int main(void) {
    char path[64];
    alarm(8);
    take();
    snprintf(path, sizeof path, "/tmp/netfd-%ld-starve", (long)getpid());
    CHECK(starve(listen_file, path, 0) > 0);
    CHECK(starve(listen_tcp, "127.0.0.1:0", 0) > 0);
    CHECK(starve(look_up, "localhost:0", 0) > 0);
    starve(listen_tcp, ":0", 0);
    starve(listen_udp, ":0", 0);
    starve(listen_tcp, "nonsense", NETFD_EADDRESS);
    starve(listen_tcp, "192.0.2.1:1", -EADDRNOTAVAIL);
    starve(listen_udp, "239.0.0.1:0", 0);
    for (int last = next_fd(); last != 3;) {
        pause_ms(1); /* the threads that looked up have ended */
        last = next_fd();
    }
    return 0;
}
