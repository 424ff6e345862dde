/* What the torture's programs share. Each has a `static void scenario(void)`,
 * in which every call that waits has a deadline and every byte its place; `main`
 * is here. Run by torture.py, of which each run has one system call fail.
 *
 *     PROGRAM [KIND [fibers]]
 *
 * KIND says what sockets: tcp4, tcp6, unix, unixpacket, unixgram, udp4, udp6.
 * With "fibers" the scenario, and all that it starts, runs in fibers.
 *
 * It ends with one line, and with
 *
 *     0  "ok": all went as if nothing had happened; or "clean": a call returned
 *        an error that fits what was done to it, and nothing else was touched
 *     1  "wrong": something that must not be
 *     3  "leak": a descriptor is left over
 *
 * "kept" in that line counts the descriptors that the library keeps for the next
 * one who needs them: eventfds, pipes, epoll sets. The harness sees to it that
 * an error leaves no more of them. */
#ifndef TORTURE_H
#define TORTURE_H

#define _GNU_SOURCE
#include "calls.h"
#include "netfd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MS INT64_C(1000000)
#define SECOND (1000 * MS)
#define HELPER __attribute__((unused)) static
#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

static void scenario(void);

/* What sockets it is about. */
static const struct kind {
    const char *name;
    int family, type;
} KINDS[] = {
    {"tcp4", AF_INET, SOCK_STREAM},       {"tcp6", AF_INET6, SOCK_STREAM},
    {"unix", AF_UNIX, SOCK_STREAM},       {"unixpacket", AF_UNIX, SOCK_SEQPACKET},
    {"unixgram", AF_UNIX, SOCK_DGRAM},    {"udp4", AF_INET, SOCK_DGRAM},
    {"udp6", AF_INET6, SOCK_DGRAM},
}, *kind = KINDS;

static int in_fibers;
static unsigned char was_open[256]; /* by whoever started it */

/* What is done to it. */
static struct {
    const char *mode, *call;
    int error;
} fault = {"none", "", 0};

/* The first failure of all; the others follow from it. */
static struct {
    _Atomic int code;
    char text[256];
} failure;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Ends the program: something must not be. */
#define WRONG(...) wrong(__FILE__, __LINE__, __VA_ARGS__)
#define WANT(so) ((so) ? (void)0 : WRONG("not so: %s", #so))

/* Not by dprintf(3), which asks where a file is. */
HELPER void say(const char *line) {
    ssize_t n = write(1, line, strlen(line));
    n += write(1, "\n", 1);
    (void)n;
}

__attribute__((format(printf, 3, 4), noreturn)) HELPER void
wrong(const char *file, int line, const char *how, ...) {
    char text[512];
    va_list rest;
    va_start(rest, how);
    int n = snprintf(text, sizeof text, "wrong: %s:%d: ", file, line);
    n += vsnprintf(text + n, sizeof text - (size_t)n - 64, how, rest);
    va_end(rest);
    say(text);
    _exit(1);
}

HELPER void pause_us(long us) {
    struct timespec time = {us / 1000000, us % 1000000 * 1000};
    if (netfd_in_fiber())
        netfd_sleep(us * 1000);
    else
        nanosleep(&time, NULL);
}

static int has_failed(void);

/* What has failed somewhere is not waited for long elsewhere. */
HELPER int64_t soon(void) { return netfd_after(has_failed() ? 150 * MS : 6 * SECOND); }

/* Whether what has failed can be what was done, or follow from it. */
HELPER int is_plausible(int code) {
    if (strcmp(fault.mode, "once") != 0 && strcmp(fault.mode, "from") != 0 &&
        strcmp(fault.mode, "done") != 0)
        return 0; /* nothing was */
    switch (code) {
    case -EINTR: /* nobody asked for it */
    case NETFD_EPANIC:
        return 0;
    case -EAGAIN: /* no thread to be had, no port for a connect; no other one */
        if (strcmp(fault.call, "connect") == 0 && fault.error == EAGAIN)
            return 1;
        return strncmp(fault.call, "clone", 5) == 0 || strncmp(fault.call, "m", 1) == 0;
    case NETFD_EDEADLINE:
    case NETFD_ECLOSED:
    case NETFD_EDNS:
    case NETFD_ENOHOST:
    case -ENOMEM:
    case -EPIPE:
    case -ECONNRESET:
    case -ECONNREFUSED:
        return 1;
    case -ECONNABORTED: /* a connect that the harness did not let begin */
        return strcmp(fault.call, "connect") == 0;
    default:
        return code == -fault.error;
    }
}

static int has_failed(void) { return failure.code != 0; }

/* The descriptors that it has. */
static struct {
    int fds[256], n, over;
} owned;

/* A call of the library has failed; the program is over, in good order. */
HELPER void lost(int code, const char *file, int line, const char *what) {
    char text[200];
    netfd_error_text(text, sizeof text);
    pthread_mutex_lock(&lock);
    if (failure.code == 0) {
        if (!is_plausible(code))
            WRONG("%s: %s (%s), %s:%d", what, netfd_strerror(code), text, file, line);
        snprintf(failure.text, sizeof failure.text, "%.40s: %.60s (%.120s)", what,
                 netfd_strerror(code), text);
        failure.code = code;
        for (int i = 0; i < owned.n; i++)
            netfd_set_deadline(owned.fds[i], soon());
    }
    pthread_mutex_unlock(&lock);
}

/* Makes a call, and returns from the function where it fails. */
#define TRY(call)                                            \
    do {                                                     \
        long long tried_ = (call);                           \
        if (tried_ < 0) {                                    \
            lost((int)tried_, __FILE__, __LINE__, #call);    \
            return;                                          \
        }                                                    \
    } while (0)
/* A call of the C library's, which says -1. */
#define TRY_C(call) TRY((call) < 0 ? -errno : 0)
/* A call that gives a descriptor, the program's from now on. */
#define TRY_FD(fd, call)      \
    do {                      \
        (fd) = own(call);     \
        TRY(fd);              \
    } while (0)

HELPER int own(int fd) {
    if (fd < 0)
        return fd;
    pthread_mutex_lock(&lock);
    int late = owned.over;
    for (int i = 0; i < owned.n; i++)
        if (owned.fds[i] == fd)
            WRONG("descriptor %d twice", fd);
    if (owned.n == COUNT(owned.fds))
        WRONG("too many descriptors");
    if (!late)
        owned.fds[owned.n++] = fd;
    pthread_mutex_unlock(&lock);
    if (late) {
        netfd_destroy(fd);
        return NETFD_ECLOSED;
    }
    return fd;
}

/* It is another's from now on, or nobody's. False: it was not the program's. */
HELPER int disown(int fd) {
    int found = 0;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < owned.n && !found; i++)
        if ((found = owned.fds[i] == fd))
            owned.fds[i] = owned.fds[--owned.n];
    pthread_mutex_unlock(&lock);
    return found;
}

/* Destroys a descriptor: it is closed whatever close(2) says. */
HELPER int end(int fd) {
    if (!disown(fd))
        return NETFD_ECLOSED; /* at the program's end */
    int said = netfd_destroy(fd);
    if (said != 0 && !(strcmp(fault.call, "close") == 0 && said == -fault.error))
        WRONG("netfd_destroy(%d): %s", fd, netfd_strerror(said));
    return 0;
}

struct task {
    void (*body)(void *arg);
    void *arg;
    pthread_t thread;
    int is_thread;
    _Atomic int done;
};
static struct task tasks[64];
static _Atomic int n_tasks;

HELPER void run_task(void *arg) {
    struct task *task = arg;
    task->body(task->arg);
    task->done = 1;
}

HELPER void *run_thread(void *arg) {
    run_task(arg);
    return NULL;
}

/* Has `body(arg)` run beside the caller; NULL where that cannot be. */
HELPER struct task *start(void (*body)(void *arg), void *arg) {
    int place = n_tasks++;
    if (place >= COUNT(tasks))
        WRONG("too many tasks");
    struct task *task = &tasks[place];
    *task = (struct task){.body = body, .arg = arg};
    int said = in_fibers ? netfd_go(run_task, task)
                         : -pthread_create(&task->thread, NULL, run_thread, task);
    if (said != 0) {
        task->done = 1;
        lost(said, __FILE__, __LINE__, in_fibers ? "netfd_go" : "pthread_create");
        return NULL;
    }
    task->is_thread = !in_fibers;
    return task;
}

HELPER void join(struct task *task) {
    while (task != NULL && !task->done)
        pause_us(50);
}

/* Waits until so many callers are parked in the library, or something failed. */
HELPER void await_parked(unsigned n) {
    struct netfd_stats stats = {.size = sizeof stats};
    int64_t limit = soon();
    do {
        netfd_stats(&stats);
        if (stats.parked >= n)
            return;
        pause_us(50);
    } while (!has_failed() && netfd_now() < limit);
    if (!has_failed())
        lost(NETFD_EDEADLINE, __FILE__, __LINE__, "await_parked");
}

/* An address to bind to: the loopback's, any port; an abstract name. */
struct where {
    struct sockaddr_storage sa;
    socklen_t len;
};

HELPER struct where anywhere(void) {
    static _Atomic int serial;
    struct where at = {.sa = {.ss_family = (sa_family_t)kind->family}};
    if (kind->family == AF_INET) {
        struct sockaddr_in *in = (struct sockaddr_in *)&at.sa;
        in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        at.len = sizeof *in;
    } else if (kind->family == AF_INET6) {
        struct sockaddr_in6 *in = (struct sockaddr_in6 *)&at.sa;
        in->sin6_addr = in6addr_loopback;
        at.len = sizeof *in;
    } else {
        struct sockaddr_un *un = (struct sockaddr_un *)&at.sa;
        int n = snprintf(un->sun_path + 1, sizeof un->sun_path - 1, "torture-%d-%d",
                         (int)getpid(), serial++);
        at.len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
    }
    return at;
}

HELPER int sockaddr_of(int fd, struct where *at) {
    at->len = sizeof at->sa;
    return netfd_local_addr(fd, (struct sockaddr *)&at->sa, &at->len);
}

#define SA(at) ((struct sockaddr *)&(at)->sa), (at)->len

/* A listener of the kind, and where it is; negative where that failed. */
HELPER int listener(struct where *at) {
    *at = anywhere();
    int fd = own(netfd_sys_socket(kind->family, kind->type, 0)), said = fd;
    if (fd >= 0 && (said = netfd_listen_stream(fd, SA(at), 8)) == 0)
        said = netfd_set_deadline(fd, soon());
    if (said >= 0)
        said = sockaddr_of(fd, at);
    return said < 0 ? said : fd;
}

/* Accepts, and goes on where the header says that the connection is still
 * queued or the listener unharmed; for a while. */
HELPER int accepted(int fd) {
    struct netfd_error error;
    int conn, tries = 0;
    while ((conn = netfd_accept(fd, NULL, NULL)) < 0 && ++tries < 20) {
        error.size = sizeof error;
        netfd_last_error(&error);
        if (error.code != conn && conn != -ENOMEM) /* which leaves none, too */
            WRONG("accept said %d, its record %d", conn, error.code);
        if (!(error.flags & NETFD_ERROR_TEMPORARY) || (error.flags & NETFD_ERROR_TIMEOUT))
            break;
        pause_us(500);
    }
    if (conn >= 0)
        netfd_set_deadline(conn, soon());
    return own(conn);
}

/* A socket connected to `at`. */
HELPER int connected(struct where *at) {
    int fd = own(netfd_sys_socket(kind->family, kind->type, 0)), said = fd;
    if (fd >= 0)
        said = netfd_connect(fd, NULL, 0, SA(at), soon(), NULL);
    if (said >= 0)
        said = netfd_set_deadline(fd, soon());
    return said < 0 ? said : fd;
}

HELPER int is_datagram(void) { return kind->type == SOCK_DGRAM; }
HELPER int is_stream(void) { return kind->type == SOCK_STREAM; }

HELPER int bound(struct where *at) {
    *at = anywhere();
    int fd = own(netfd_sys_socket(kind->family, kind->type, 0));
    if (fd >= 0 && bind(fd, SA(at)) != 0)
        return -errno;
    int said = fd < 0 ? fd : sockaddr_of(fd, at);
    return said < 0 ? said : fd;
}

/* Two that are connected, of the kind. False: that failed, and is noted. */
HELPER int pair(int fds[2]) {
    struct where at[2];
    int i, said = 0;
    if (is_datagram()) {
        for (i = 0; i < 2 && said >= 0; i++)
            said = fds[i] = bound(&at[i]);
        for (i = 0; i < 2 && said >= 0; i++)
            said = netfd_connect(fds[i], NULL, 0, SA(&at[1 - i]), soon(), NULL);
        for (i = 0; i < 2 && said >= 0; i++)
            said = netfd_set_deadline(fds[i], soon());
    } else {
        int by = listener(at);
        said = by;
        if (said >= 0)
            said = fds[0] = connected(at);
        if (said >= 0)
            said = fds[1] = accepted(by);
        if (by >= 0)
            end(by);
    }
    if (said < 0)
        lost(said, __FILE__, __LINE__, "pair");
    return said >= 0;
}

/* The byte at a place of a stream. */
HELPER unsigned char byte_at(size_t i, unsigned stream) {
    return (unsigned char)(i * 167 + (i >> 8) * 13 + (i >> 16) * 7 + stream * 59);
}

HELPER void fill(void *buf, size_t n, size_t from, unsigned stream) {
    for (size_t i = 0; i < n; i++)
        ((unsigned char *)buf)[i] = byte_at(from + i, stream);
}

HELPER void verify(const void *buf, size_t n, size_t from, unsigned stream) {
    for (size_t i = 0; i < n; i++)
        if (((const unsigned char *)buf)[i] != byte_at(from + i, stream))
            WRONG("stream %u: another byte at %zu of %zu", stream, from + i, from + n);
}

/* What stopped a call after a part had gone. There is no record where there was
 * no memory for one. */
HELPER int why_short(void) {
    int code = netfd_last_error(NULL);
    if (code == 0 && fault.error == ENOMEM &&
        (strcmp(fault.call, "mmap") == 0 || strcmp(fault.call, "brk") == 0))
        return -ENOMEM;
    return code;
}

/* Writes `n` bytes of a stream in pieces; how many went. A failure is noted, and
 * ends the stream in order, so that its reader can count. */
HELPER size_t write_stream(int fd, size_t n, size_t piece, unsigned stream) {
    size_t sent = 0;
    unsigned char *buf = malloc(piece);
    long said = buf == NULL ? -ENOMEM : 0;
    while (said >= 0 && sent < n) {
        size_t len = n - sent < piece ? n - sent : piece;
        fill(buf, len, sent, stream);
        said = netfd_write(fd, buf, len);
        if (said > (long)len)
            WRONG("%ld of %zu bytes written", said, len);
        if (said > 0)
            sent += (size_t)said;
        if (said >= 0 && (size_t)said < len && (said = why_short()) >= 0)
            WRONG("a part only, and nothing says why");
    }
    free(buf);
    if (said < 0)
        lost((int)said, __FILE__, __LINE__, "write_stream");
    netfd_shutdown(fd, SHUT_WR);
    return sent;
}

/* Reads a stream to its end, and checks each byte; how many came. `whole`: it
 * ended in order. A failure is noted. */
HELPER size_t read_stream(int fd, size_t piece, unsigned stream, int *whole) {
    size_t have = 0;
    unsigned char *buf = malloc(piece);
    long said = buf == NULL ? -ENOMEM : 1;
    while (said > 0 && (said = netfd_read(fd, buf, piece)) > 0) {
        if (said > (long)piece)
            WRONG("%ld bytes read into %zu", said, piece);
        verify(buf, (size_t)said, have, stream);
        have += (size_t)said;
    }
    free(buf);
    *whole = said == 0;
    if (said < 0)
        lost((int)said, __FILE__, __LINE__, "read_stream");
    return have;
}

/* A stream from one end of a connection to the other, by two tasks. */
struct flow {
    int from, to;
    size_t n, out_piece, in_piece;
    size_t sent, came;
    unsigned stream;
    int whole;
};

HELPER void flow_out(void *arg) {
    struct flow *flow = arg;
    flow->sent = write_stream(flow->from, flow->n, flow->out_piece, flow->stream);
}

HELPER void flow_in(void *arg) {
    struct flow *flow = arg;
    flow->came = read_stream(flow->to, flow->in_piece, flow->stream, &flow->whole);
}

/* Once both have ended. */
HELPER void check_flow(struct flow *flow) {
    if (flow->came > flow->sent)
        WRONG("%zu bytes came of %zu sent", flow->came, flow->sent);
    if (flow->whole && flow->came != flow->sent)
        WRONG("an end after %zu of %zu bytes", flow->came, flow->sent);
    if (!has_failed() && flow->came != flow->n)
        WRONG("%zu of %zu bytes, and no failure", flow->came, flow->n);
}

/* A byte there and back, which only these two can have sent. */
HELPER void ping(int one, int other) {
    static _Atomic unsigned char serial;
    unsigned char out = serial++, in = (unsigned char)~out;
    for (int i = 0; i < 2; i++) {
        int from = i == 0 ? one : other, to = i == 0 ? other : one;
        long long said = netfd_write(from, &out, 1);
        if (said == 1)
            said = netfd_read(to, &in, 1);
        if (said < 0) {
            lost((int)said, __FILE__, __LINE__, "ping");
            return;
        }
        if (said != 1 || in != out)
            WRONG("ping: %lld, byte %d for %d", said, in, out);
    }
}

/* Has the calls of calls.h stop for the tracer, from here on. */
HELPER void let_faults_begin(void) {
    static const int numbers[] = {
#define NUMBER(name) SYS_##name,
        CALLS(NUMBER, NUMBER)
#undef NUMBER
    };
    enum { N = COUNT(numbers) };
    struct sock_filter filter[N + 3] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0)};
    for (int i = 0; i < N; i++)
        filter[1 + i] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
                                                     (unsigned)numbers[i], (unsigned char)(N - i), 0);
    filter[N + 1] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    filter[N + 2] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE);
    struct sock_fprog program = {N + 3, filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        WRONG("no filter: %s", strerror(errno));
}

/* Counts what is open: what the library keeps, and what nobody has. */
HELPER int kept(char *left, size_t room) {
    int kept = 0;
    strcpy(left, "leak:");
    for (int fd = 3; fd < 256; fd++) {
        char path[64], text[64];
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(path, text, sizeof text - 1);
        if (n < 0 || was_open[fd])
            continue;
        text[n] = '\0';
        if (strncmp(text, "anon_inode:[event", 17) == 0 || strncmp(text, "pipe:", 5) == 0)
            kept++;
        else if (strlen(left) + (size_t)n + 16 < room)
            snprintf(left + strlen(left), room - strlen(left), " %d=%s", fd, text);
    }
    return kept;
}

HELPER void run_scenario(void *arg) {
    (void)arg;
    scenario();
}

int main(int argc, char **argv) {
    char left[256];
    struct netfd_stats stats = {.size = sizeof stats};

    if (argc > 1)
        while (strcmp(kind->name, argv[1]) != 0)
            if (++kind == KINDS + COUNT(KINDS))
                return 2;
    in_fibers = argc > 2 && strcmp(argv[2], "fibers") == 0;
    setenv("NETFD_WORKERS", "2", 0);
    for (int fd = 0; fd < COUNT(was_open); fd++)
        was_open[fd] = fcntl(fd, F_GETFD) >= 0;
    if (getenv("TORTURE") != NULL) {
        fault.mode = getenv("TORTURE");
        fault.call = getenv("TORTURE_CALL");
        fault.error = atoi(getenv("TORTURE_ERRNO"));
        let_faults_begin();
    }
    if (in_fibers)
        join(start(run_scenario, NULL));
    else
        scenario();

    /* All that is left is ended, whoever is inside. */
    pthread_mutex_lock(&lock);
    owned.over = 1;
    pthread_mutex_unlock(&lock);
    while (owned.n > 0)
        end(owned.fds[0]);
    for (int i = 0; i < n_tasks; i++) {
        join(&tasks[i]);
        if (tasks[i].is_thread)
            pthread_join(tasks[i].thread, NULL);
    }
    for (int64_t limit = soon(); netfd_stats(&stats) == 0 && (stats.fibers || stats.parked);) {
        if (netfd_now() > limit)
            WRONG("%d fibers left, %d parked", (int)stats.fibers, (int)stats.parked);
        pause_us(100);
    }
    if (stats.open_fds != 0)
        WRONG("%d descriptors attached", (int)stats.open_fds);
    /* A worker that has only just begun may be at its ring. */
    int n;
    for (int64_t limit = soon(); (n = kept(left, sizeof left)), left[5] && netfd_now() < limit;)
        pause_us(1000);
    if (left[5] != '\0') {
        say(left);
        return 3;
    }
    char line[512];
    snprintf(line, sizeof line, "%s, kept %d: %s", has_failed() ? "clean" : "ok", n, failure.text);
    say(line);
    return 0;
}

#endif
