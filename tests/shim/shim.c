/* Stands between a program and the C library, and has its system calls behave as
 * they may, and hardly ever do. LD_PRELOAD names it, NETFD_SHIM says how:
 *
 *     eintr   half of the calls, at random, that wait or move bytes say EINTR.
 *             What the kernel gives up then is not done (recv, send, accept,
 *             epoll_wait, io_uring_enter); what goes on all the same is done
 *             (connect), and what is only looked at as well (ppoll)
 *     short   a recv or send of a stream moves one byte, and 1,000 once its
 *             number has been through 3,000 of them; a splice or sendfile 997.
 *             Not a recv of TCP whose edges are waited for: epoll(7) lets a
 *             program conclude from a short one that nothing is left
 *     storm   10,000 signals a second, to one thread after the other, with a
 *             handler that was installed without SA_RESTART; none to who is traced
 *     stale   epoll_wait tells of what it has told before, and of what was never
 *             ready; every third call tells of nothing else
 *
 * All but the storm concern the library's own calls: those that are made in its
 * room `sys`, or in the crate `io_uring`, as the symbols of the program or of
 * libnetfd.so have it. What tests call by themselves is left alone.
 *
 * NETFD_SHIM_COUNT names a file to which each process adds, when it exits, how
 * often it did so: a line with the number. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OFF, EINTR_, SHORT, STORM, STALE };
static int mode;
static _Atomic unsigned long did;

/* The C library's own. */
#define NEXT(name) ((__typeof__(&name))next(#name))

static void *next(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    if (found == NULL)
        abort();
    return found;
}

/* Looked up once. */
#define REAL(name)                                 \
    static __typeof__(&name) real;                 \
    if (real == NULL)                              \
        real = NEXT(name)

/* Where the library's calls are made from. */
static struct range {
    size_t from, to;
} *ranges;
static size_t n_ranges;

static int by_from(const void *one, const void *other) {
    size_t a = ((const struct range *)one)->from, b = ((const struct range *)other)->from;
    return a < b ? -1 : a > b;
}

static int is_the_librarys(const char *name) {
    return strstr(name, "5netfd3sys") != NULL || strstr(name, "8io_uring") != NULL;
}

/* Notes the functions of an object, by its file's table of symbols. */
static int note_object(struct dl_phdr_info *object, size_t size, void *arg) {
    const char *path = object->dlpi_name[0] == '\0' ? "/proc/self/exe" : object->dlpi_name;
    struct stat stat;
    (void)size, (void)arg;
    if (object->dlpi_name[0] != '\0' && strstr(path, "libnetfd") == NULL)
        return 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    const char *file = fstat(fd, &stat) != 0 ? MAP_FAILED
                                             : mmap(NULL, (size_t)stat.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    syscall(SYS_close, fd);
    if (file == MAP_FAILED)
        return 0;
    const ElfW(Ehdr) *head = (const void *)file;
    const ElfW(Shdr) *sections = (const void *)(file + head->e_shoff);
    for (int i = 0; i < head->e_shnum; i++) {
        if (sections[i].sh_type != SHT_SYMTAB)
            continue;
        const ElfW(Sym) *all = (const void *)(file + sections[i].sh_offset);
        const char *names = file + sections[sections[i].sh_link].sh_offset;
        size_t n = sections[i].sh_size / sizeof *all;
        struct range *more = realloc(ranges, (n_ranges + n) * sizeof *ranges);
        for (size_t k = 0; more != NULL && k < n; k++) {
            size_t from = object->dlpi_addr + all[k].st_value;
            if (ELF64_ST_TYPE(all[k].st_info) == STT_FUNC && is_the_librarys(names + all[k].st_name))
                more[n_ranges++] = (struct range){from, from + all[k].st_size};
        }
        ranges = more == NULL ? ranges : more;
    }
    munmap((void *)file, (size_t)stat.st_size);
    return 0;
}

/* Whether a call that returns to `to` is one of the library's. */
static int is_ours(const void *to) {
    size_t at = (size_t)to, low = 0, high = n_ranges;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (ranges[middle].from < at)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 && at <= ranges[low - 1].to;
}

#define OURS (mode != OFF && is_ours(__builtin_return_address(0)))

static int refuses(void) {
    did++;
    errno = EINTR;
    return -1;
}

/* Whether it is this call's turn to be interrupted. At random: a loop of two calls
 * would meet every second one at the same place, for ever. */
static int interrupts(void) {
    static __thread unsigned state = 1;
    state = state * 1664525 + 1013904223;
    return mode == EINTR_ && state >> 31;
}

static int option(int fd, int name) {
    int value = 0;
    socklen_t len = sizeof value;
    int before = errno;
    long said = syscall(SYS_getsockopt, fd, SOL_SOCKET, name, &value, &len);
    errno = before;
    return said == 0 ? value : -1;
}

static int is_socket(int fd) { return option(fd, SO_TYPE) >= 0; }

static _Atomic unsigned cuts[65536];
static _Atomic unsigned char has_edges[65536];

int close(int fd) {
    REAL(close);
    if (fd >= 0 && fd < 65536)
        cuts[fd] = has_edges[fd] = 0;
    return real(fd);
}

/* How many bytes of `len` a call on a stream is to move. */
static size_t cut(int fd, size_t len, int flags, size_t few) {
    if (mode != SHORT || len <= few || (flags & (MSG_WAITALL | MSG_OOB | MSG_ERRQUEUE)) ||
        option(fd, SO_TYPE) != SOCK_STREAM)
        return len;
    did++;
    if (fd < 65536 && ++cuts[fd] > 3000)
        few = 1000;
    return len < few ? len : few;
}

/* Whether a short recv would say that nothing is left. */
static int means_drained(int fd) {
    return fd >= 0 && fd < 65536 && has_edges[fd] && option(fd, SO_PROTOCOL) == IPPROTO_TCP;
}

/* Likewise what a recv is to take. */
static size_t cut_recv(int fd, size_t len, int flags) {
    return mode == SHORT && means_drained(fd) ? len : cut(fd, len, flags, 1);
}

/* The same for a message's buffers, which are `room`, in the place of its own. */
static void cut_message(int fd, struct msghdr *message, struct iovec *room, int flags) {
    struct iovec *iov = message->msg_iov;
    size_t n = message->msg_iovlen;
    while (n > 0 && iov->iov_len == 0)
        iov++, n--;
    if (n == 0)
        return;
    size_t all = iov->iov_len + (n > 1);
    size_t len = cut(fd, all, flags, 1);
    if (len == all)
        return;
    *room = (struct iovec){iov->iov_base, len < iov->iov_len ? len : iov->iov_len};
    message->msg_iov = room;
    message->msg_iovlen = 1;
}

ssize_t recv(int fd, void *buf, size_t len, int flags) {
    REAL(recv);
    if (!OURS)
        return real(fd, buf, len, flags);
    return interrupts() ? refuses() : real(fd, buf, cut_recv(fd, len, flags), flags);
}

ssize_t send(int fd, const void *buf, size_t len, int flags) {
    REAL(send);
    if (!OURS)
        return real(fd, buf, len, flags);
    return interrupts() ? refuses() : real(fd, buf, cut(fd, len, flags, 1), flags);
}

ssize_t recvfrom(int fd, void *restrict buf, size_t len, int flags, struct sockaddr *restrict from,
                 socklen_t *restrict fromlen) {
    REAL(recvfrom);
    if (!OURS)
        return real(fd, buf, len, flags, from, fromlen);
    return interrupts() ? refuses() : real(fd, buf, cut_recv(fd, len, flags), flags, from, fromlen);
}

ssize_t sendto(int fd, const void *buf, size_t len, int flags, const struct sockaddr *to, socklen_t tolen) {
    REAL(sendto);
    if (!OURS)
        return real(fd, buf, len, flags, to, tolen);
    return interrupts() ? refuses() : real(fd, buf, cut(fd, len, flags, 1), flags, to, tolen);
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags) {
    REAL(recvmsg);
    if (!OURS)
        return real(fd, message, flags);
    if (interrupts())
        return refuses();
    struct iovec room, *iov = message->msg_iov;
    size_t n = message->msg_iovlen;
    if (mode == SHORT && !means_drained(fd))
        cut_message(fd, message, &room, flags);
    ssize_t said = real(fd, message, flags);
    message->msg_iov = iov;
    message->msg_iovlen = n;
    return said;
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    REAL(sendmsg);
    if (!OURS)
        return real(fd, message, flags);
    if (interrupts())
        return refuses();
    struct iovec room;
    struct msghdr mine = *message;
    cut_message(fd, &mine, &room, flags);
    return real(fd, &mine, flags);
}

int recvmmsg(int fd, struct mmsghdr *all, unsigned n, int flags, struct timespec *limit) {
    REAL(recvmmsg);
    if (!OURS)
        return real(fd, all, n, flags, limit);
    if (interrupts())
        return refuses();
    struct iovec room, *iov;
    if (mode != SHORT || n == 0 || option(fd, SO_TYPE) != SOCK_STREAM || means_drained(fd))
        return real(fd, all, n, flags, limit);
    iov = all->msg_hdr.msg_iov;
    size_t iovlen = all->msg_hdr.msg_iovlen;
    cut_message(fd, &all->msg_hdr, &room, flags);
    int said = real(fd, all, 1, flags, limit);
    all->msg_hdr.msg_iov = iov;
    all->msg_hdr.msg_iovlen = iovlen;
    return said;
}

int sendmmsg(int fd, struct mmsghdr *all, unsigned n, int flags) {
    REAL(sendmmsg);
    if (!OURS)
        return real(fd, all, n, flags);
    if (interrupts())
        return refuses();
    struct iovec room, *iov;
    if (mode != SHORT || n == 0 || option(fd, SO_TYPE) != SOCK_STREAM)
        return real(fd, all, n, flags);
    iov = all->msg_hdr.msg_iov;
    size_t iovlen = all->msg_hdr.msg_iovlen;
    cut_message(fd, &all->msg_hdr, &room, flags);
    int said = real(fd, all, 1, flags);
    all->msg_hdr.msg_iov = iov;
    all->msg_hdr.msg_iovlen = iovlen;
    return said;
}

/* read and write are other things than sockets as well. */
ssize_t read(int fd, void *buf, size_t len) {
    REAL(read);
    if (!OURS)
        return real(fd, buf, len);
    if (mode == EINTR_ && is_socket(fd) && interrupts())
        return refuses();
    return real(fd, buf, mode == SHORT ? cut(fd, len, 0, 1) : len);
}

ssize_t write(int fd, const void *buf, size_t len) {
    REAL(write);
    if (!OURS)
        return real(fd, buf, len);
    if (mode == EINTR_ && is_socket(fd) && interrupts())
        return refuses();
    return real(fd, buf, mode == SHORT ? cut(fd, len, 0, 1) : len);
}

ssize_t splice(int in, off64_t *in_at, int out, off64_t *out_at, size_t len, unsigned flags) {
    REAL(splice);
    if (!OURS)
        return real(in, in_at, out, out_at, len, flags);
    if (interrupts())
        return refuses();
    len = cut(in, len, 0, 997);
    return real(in, in_at, out, out_at, cut(out, len, 0, 997), flags);
}

ssize_t sendfile64(int out, int in, off64_t *at, size_t len) {
    REAL(sendfile64);
    if (!OURS)
        return real(out, in, at, len);
    return interrupts() ? refuses() : real(out, in, at, cut(out, len, 0, 997));
}

int accept4(int fd, struct sockaddr *peer, socklen_t *len, int flags) {
    REAL(accept4);
    if (!OURS)
        return real(fd, peer, len, flags);
    return interrupts() ? refuses() : real(fd, peer, len, flags);
}

/* The kernel goes on with it. */
int connect(int fd, const struct sockaddr *to, socklen_t len) {
    REAL(connect);
    if (!OURS)
        return real(fd, to, len);
    int said = real(fd, to, len);
    if ((said == 0 || errno == EINPROGRESS) && interrupts())
        return refuses();
    return said;
}

int ppoll(struct pollfd *all, nfds_t n, const struct timespec *limit, const sigset_t *mask) {
    REAL(ppoll);
    if (!OURS)
        return real(all, n, limit, mask);
    int said = real(all, n, limit, mask);
    return said >= 0 && interrupts() ? refuses() : said;
}

/* What each epoll set has told of, or might. */
enum { SETS = 64, KNOWN = 16 };
static struct {
    int fd;
    unsigned n;
    struct epoll_event known[KNOWN];
} sets[SETS];
static pthread_mutex_t sets_lock = PTHREAD_MUTEX_INITIALIZER;

static int set_of(int fd) {
    for (int i = 0; i < SETS; i++)
        if (sets[i].fd == fd + 1 || sets[i].fd == 0) {
            sets[i].fd = fd + 1;
            return i;
        }
    return -1;
}

static void learn(int fd, const struct epoll_event *event) {
    pthread_mutex_lock(&sets_lock);
    int i = set_of(fd);
    if (i >= 0)
        sets[i].known[sets[i].n++ % KNOWN] = *event;
    pthread_mutex_unlock(&sets_lock);
}

/* Adds up to `room` events that are old or made up. */
static int add_stale(int fd, struct epoll_event *events, int room) {
    static unsigned from;
    int added = 0;
    pthread_mutex_lock(&sets_lock);
    int i = set_of(fd);
    if (i >= 0) {
        unsigned n = sets[i].n < KNOWN ? sets[i].n : KNOWN;
        for (unsigned k = 0; k < n && k < 4 && added < room; k++)
            events[added++] = sets[i].known[from++ % n];
    }
    pthread_mutex_unlock(&sets_lock);
    did += (unsigned)added;
    return added;
}

int epoll_create1(int flags) {
    REAL(epoll_create1);
    int fd = real(flags);
    pthread_mutex_lock(&sets_lock);
    for (int i = 0; mode == STALE && i < SETS; i++)
        if (sets[i].fd == fd + 1)
            sets[i].n = 0; /* another set's number */
    pthread_mutex_unlock(&sets_lock);
    return fd;
}

int epoll_ctl(int set, int what, int fd, struct epoll_event *event) {
    REAL(epoll_ctl);
    if (what == EPOLL_CTL_ADD && event != NULL && event->events & EPOLLET && fd >= 0 && fd < 65536)
        has_edges[fd] = 1;
    if (mode == STALE && what == EPOLL_CTL_ADD && event != NULL) {
        struct epoll_event made_up = *event;
        made_up.events &= EPOLLIN | EPOLLOUT;
        learn(set, &made_up);
    }
    return real(set, what, fd, event);
}

int epoll_wait(int set, struct epoll_event *events, int room, int limit) {
    REAL(epoll_wait);
    if (!OURS)
        return real(set, events, room, limit);
    static _Atomic unsigned calls;
    if (interrupts())
        return refuses();
    if (mode != STALE)
        return real(set, events, room, limit);
    if (limit != 0 && ++calls % 3 == 0) {
        int n = add_stale(set, events, room);
        if (n > 0)
            return n;
    }
    int n = real(set, events, room, limit);
    if (n > 0) {
        struct epoll_event seen = events[0];
        n += add_stale(set, events + n, room - n);
        learn(set, &seen);
    }
    return n;
}

/* What the library, and what it is made of, calls by number. */
long syscall(long number, ...) {
    long a[6];
    va_list rest;
    va_start(rest, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(rest, long);
    va_end(rest);
    static long (*real)(long, ...);
    if (real == NULL)
        real = (long (*)(long, ...))next("syscall");
    int waits = number == SYS_io_uring_enter ||
                (number == SYS_futex && ((a[1] & FUTEX_CMD_MASK) == FUTEX_WAIT ||
                                         (a[1] & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET));
    if (waits && OURS && interrupts())
        return refuses();
    return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* The storm: the process's timer tells one thread of it, which tells the next of
 * all. */
enum { THREADS = 4096 };
static _Atomic int threads[THREADS];
static pthread_key_t leaving;
static int drop; /* the signal */

static void drop_falls(int number) {
    (void)number;
    did++;
}

static void thunder(int number) {
    static _Atomic unsigned at;
    int before = errno;
    for (int tries = 0; tries < THREADS; tries++) {
        int tid = threads[at++ % THREADS];
        if (tid != 0) {
            syscall(SYS_tgkill, getpid(), tid, drop);
            break;
        }
    }
    errno = before;
    (void)number;
}

static void enlist(void) {
    int tid = (int)syscall(SYS_gettid);
    for (int i = 0; i < THREADS; i++) {
        int none = 0;
        if (atomic_compare_exchange_strong(&threads[i], &none, tid)) {
            pthread_setspecific(leaving, (void *)(size_t)(i + 1));
            return;
        }
    }
}

static void leave(void *place) { threads[(size_t)place - 1] = 0; }

struct start {
    void *(*body)(void *);
    void *arg;
};

static void *in_the_rain(void *arg) {
    struct start start = *(struct start *)arg;
    free(arg);
    enlist();
    return start.body(start.arg);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *how, void *(*body)(void *), void *arg) {
    REAL(pthread_create);
    struct start *start = mode == STORM ? malloc(sizeof *start) : NULL;
    if (start == NULL)
        return real(thread, how, body, arg);
    *start = (struct start){body, arg};
    int said = real(thread, how, in_the_rain, start);
    if (said != 0)
        free(start);
    return said;
}

static void after_fork(void) { memset((void *)threads, 0, sizeof threads); }

/* A tracer would see each signal, and nothing else for a long time. */
static int is_traced(void) {
    char text[4096];
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : syscall(SYS_read, fd, text, sizeof text - 1);
    if (fd >= 0)
        syscall(SYS_close, fd);
    text[n > 0 ? n : 0] = '\0';
    const char *tracer = strstr(text, "TracerPid:\t");
    return tracer != NULL && tracer[11] != '0';
}

__attribute__((constructor)) static void begin(void) {
    static const char *const MODES[] = {"off", "eintr", "short", "storm", "stale"};
    const char *wanted = getenv("NETFD_SHIM");
    for (int i = 0; wanted != NULL && i < 5; i++)
        if (strcmp(wanted, MODES[i]) == 0)
            mode = i;
    if (mode == OFF)
        return;
    dl_iterate_phdr(note_object, NULL);
    qsort(ranges, n_ranges, sizeof *ranges, by_from);
    if (n_ranges == 0)
        mode = OFF; /* strace(1), the compiler */
    if (mode != STORM || is_traced())
        return;
    drop = SIGRTMIN + 9;
    struct sigaction rain = {.sa_handler = drop_falls}, cloud = {.sa_handler = thunder, .sa_flags = SA_RESTART};
    struct itimerval often = {{0, 100}, {0, 100}};
    pthread_key_create(&leaving, leave);
    pthread_atfork(NULL, NULL, after_fork);
    enlist();
    sigaction(drop, &rain, NULL);
    sigaction(SIGALRM, &cloud, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
}

__attribute__((destructor)) static void tell(void) {
    const char *path = getenv("NETFD_SHIM_COUNT");
    char line[32];
    if (path == NULL || mode == OFF || did == 0)
        return;
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    int n = snprintf(line, sizeof line, "%lu\n", (unsigned long)did);
    if (fd >= 0) {
        REAL(write);
        n = (int)real(fd, line, (size_t)n);
        close(fd);
    }
}
