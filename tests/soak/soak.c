/* Connections that come and go, a fault each second, for as long as it is told.
 *
 * Each client dials, sends bytes that are its own and no one else's, is sent
 * bytes that only its own server can know, looks at every one of both, and
 * begins again. Each second something happens to some of them: resets, peers
 * that stall, destroy and deadlines from outside, a token that fires, a
 * listener that is made anew, a spell without descriptors, signals. In between
 * all come to rest: then memory, descriptors and threads are what they were.
 *
 * Usage: soak SECONDS [CONNECTIONS]; SOAK_CALLERS=threads for threads in the
 * place of fibers, NETFD_POLL=epoll or uring. Ends with 0 where all has held.
 */
#include "netfd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MS INT64_C(1000000)
#define SECOND (1000 * MS)
#define KIB 1024

enum { MOST_CLIENTS = 8192, LISTENERS = 3, BLOCK = KIB, BIG = 32 * BLOCK };

/* What may be heard while faults go on, and all that may. */
enum heard {
    REFUSED,
    RESET,
    BROKEN_PIPE,
    DEADLINE,
    CANCELED,
    CLOSED,
    NO_FD,
    NO_PORT,
    ENDED,
    KINDS
};
static const char *const heard_names[KINDS] = {
    "refused", "reset",         "broken pipe", "deadline", "canceled",
    "closed",  "no descriptor", "no port",     "ended",
};
static atomic_ulong heard[KINDS];

static atomic_ulong dials, rounds, bytes, wrong, served, evicted, hurried,
    counted;
static atomic_int broken; /* something has not held */
static int by_threads, clients_n;

/* What the faults want of clients, who take one each. */
static atomic_int resets_wanted, floods_wanted, holds_wanted;

static void fail(const char *format, ...) {
    va_list rest;
    char text[512];
    va_start(rest, format);
    vsnprintf(text, sizeof text, format, rest);
    va_end(rest);
    if (atomic_fetch_add(&broken, 1) < 20) /* the first are enough */
        printf("BROKEN: %s\n", text);
}

static int take(atomic_int *wanted) {
    return atomic_load_explicit(wanted, memory_order_relaxed) > 0 &&
           atomic_fetch_sub(wanted, 1) > 0;
}

/* Notes a failure that faults explain; any other is one of the library's. */
static void hear(const char *call, long code) {
    enum heard kind;
    switch (code) {
    case 0: kind = ENDED; break;
    case -ECONNREFUSED: kind = REFUSED; break;
    case -ECONNRESET: kind = RESET; break;
    case -EPIPE: kind = BROKEN_PIPE; break;
    case NETFD_EDEADLINE: kind = DEADLINE; break;
    case NETFD_ECANCELED: kind = CANCELED; break;
    case NETFD_ECLOSED: kind = CLOSED; break;
    case -EMFILE: kind = NO_FD; break;
    case -EADDRNOTAVAIL: kind = NO_PORT; break;
    default: {
        char text[256];
        netfd_error_text(text, sizeof text);
        fail("%s said %ld (%s)", call, code, text);
        return;
    }
    }
    atomic_fetch_add_explicit(&heard[kind], 1, memory_order_relaxed);
}

/* --- callers --- */

static void *as_thread(void *arg) {
    void (**body)(void *) = arg;
    void (*run)(void *) = body[0];
    void *with = (void *)body[1];
    free(arg);
    run(with);
    return NULL;
}

/* Starts a caller. 0, or why not. */
static int spawn(void (*run)(void *), void *arg) {
    if (!by_threads)
        return netfd_go(run, arg);
    pthread_t thread;
    pthread_attr_t attr;
    void (**body)(void *) = malloc(2 * sizeof *body);
    if (body == NULL)
        return -ENOMEM;
    body[0] = run;
    body[1] = (void (*)(void *))arg;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 128 * KIB);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    int error = pthread_create(&thread, &attr, as_thread, body);
    pthread_attr_destroy(&attr);
    if (error != 0)
        free(body);
    return -error;
}

/* --- whose bytes are whose --- */

/* An identity, whose lowest bits say how its connection goes. */
enum how { ECHOES, COPIES, STALLS, HOWS = 4 };

static uint64_t mixed(uint64_t x) {
    x ^= x >> 30;
    x *= UINT64_C(0xbf58476d1ce4e5b9);
    x ^= x >> 27;
    x *= UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static unsigned char byte_of(uint64_t id, uint64_t at) {
    return (unsigned char)(mixed(id + at / 8) >> at % 8 * 8);
}

static void make(unsigned char *to, size_t len, uint64_t id, uint64_t at) {
    for (size_t n = 0; n < len; n++)
        to[n] = byte_of(id, at + n);
}

/* Looks at every byte. */
static int is_own(const unsigned char *got, size_t len, uint64_t id,
                  uint64_t at, const char *who) {
    atomic_fetch_add_explicit(&bytes, len, memory_order_relaxed);
    for (size_t n = 0; n < len; n++) {
        if (got[n] != byte_of(id, at + n)) {
            atomic_fetch_add(&wrong, 1);
            fail("%s: byte %llu of %016llx is another's", who,
                 (unsigned long long)(at + n), (unsigned long long)id);
            return 0;
        }
    }
    return 1;
}

/* What the server sends for an identity. */
static uint64_t answer_to(uint64_t id) { return mixed(~id); }

/* Reads all of it. 1, or what came in its place. */
static long read_all(int fd, void *to, size_t len) {
    for (size_t done = 0; done < len;) {
        ssize_t n = netfd_read(fd, (char *)to + done, len - done);
        if (n <= 0)
            return n;
        done += (size_t)n;
    }
    return 1;
}

/* Writes all of it. 1, or why not. */
static long write_all(int fd, const void *from, size_t len) {
    ssize_t n = netfd_write(fd, from, len);
    if (n == (ssize_t)len)
        return 1;
    return n < 0 ? n : netfd_last_error(NULL);
}

/* --- the servers --- */

struct server {
    char network[8], address[64];
    atomic_int listener; /* whoever takes it out destroys it */
    struct netfd_cancel *stop;
    atomic_int stopping, handlers;
};

static struct server servers[LISTENERS];
static atomic_int napping, resting, warming;

/* A connection's deadline; none until all are there. */
static void set_deadline(int fd, int64_t ns) {
    netfd_set_deadline(fd, atomic_load(&warming) ? 0 : netfd_after(ns));
}

static struct netfd_group *gate; /* where the idle wait for each other */

static void echo(int fd, const struct server *server, uint64_t id) {
    unsigned char in[BLOCK], out[BLOCK];
    for (uint64_t at = 0; !atomic_load(&server->stopping);) {
        set_deadline(fd, 20 * SECOND);
        ssize_t n = netfd_read(fd, in, sizeof in);
        if (n <= 0)
            return hear("a server's read", n);
        if (!is_own(in, (size_t)n, id, at, "a server"))
            return;
        make(out, (size_t)n, answer_to(id), at);
        at += (uint64_t)n;
        long done = write_all(fd, out, (size_t)n);
        if (done != 1)
            return hear("a server's write", done);
    }
}

/* Is deaf for a while, and then says how much has come. */
static void stall(int fd, uint64_t id) {
    unsigned char in[BLOCK];
    uint64_t at = 0;
    atomic_fetch_add(&napping, 1);
    netfd_sleep(1500 * MS);
    atomic_fetch_sub(&napping, 1);
    set_deadline(fd, 20 * SECOND);
    for (;;) {
        ssize_t n = netfd_read(fd, in, sizeof in);
        if (n < 0)
            return hear("a stalled server's read", n);
        if (n == 0)
            break;
        if (!is_own(in, (size_t)n, id, at, "a stalled server"))
            return;
        at += (uint64_t)n;
    }
    long done = write_all(fd, &at, sizeof at);
    if (done != 1)
        hear("a stalled server's write", done);
}

/* The library keeps the most of everything that there ever was at once, and
 * some stacks with all that was ever touched of them. So that this is the same
 * at each rest, all who end there have failed, have been deep down, and wait
 * for each other a little. */
static void linger(void) {
    volatile char deep[24 * KIB];
    for (size_t at = 0; at < sizeof deep; at += KIB)
        deep[at] = 1;
    if (netfd_dial("no network", "", NULL) != NETFD_ENETWORK)
        fail("a dial to no network");
    netfd_sleep(500 * MS);
}

static void handle(int fd, void *arg) {
    struct server *server = arg;
    uint64_t id;
    atomic_fetch_add(&server->handlers, 1);
    atomic_fetch_add_explicit(&served, 1, memory_order_relaxed);
    set_deadline(fd, 20 * SECOND);
    long got = read_all(fd, &id, sizeof id);
    if (got != 1) {
        hear("a server's first read", got);
    } else if (id % HOWS == COPIES) {
        int64_t n = netfd_copy(fd, fd, -1);
        if (n < 0)
            hear("a copy", n);
    } else if (id % HOWS == STALLS) {
        stall(fd, id);
    } else {
        echo(fd, server, id);
    }
    if (atomic_load(&resting))
        linger();
    atomic_fetch_sub(&server->handlers, 1);
}

struct visit {
    int fd;
    struct server *server;
};

static void visit(void *arg) {
    struct visit *visit = arg;
    handle(visit->fd, visit->server);
    netfd_destroy(visit->fd);
    free(visit);
}

/* The accept loop of threads, as netfd_serve() is that of fibers. */
static int serve_by_threads(int listener, struct server *server) {
    for (;;) {
        int fd = netfd_accept(listener, NULL, NULL);
        if (fd == -EMFILE) {
            netfd_sleep(5 * MS);
        } else if (fd < 0) {
            while (fd == NETFD_ECANCELED && atomic_load(&server->handlers) > 0)
                netfd_sleep(5 * MS);
            return fd == NETFD_ECANCELED ? 0 : fd;
        } else {
            struct visit *one = malloc(sizeof *one);
            if (one != NULL)
                *one = (struct visit){fd, server};
            if (one == NULL || spawn(visit, one) != 0) {
                free(one);
                netfd_destroy(fd);
            }
        }
    }
}

static atomic_int servers_left;

static void serve(void *arg) {
    struct server *server = arg;
    struct netfd_serve_config config;
    memset(&config, 0, sizeof config);
    config.size = sizeof config;
    /* Somewhat more than its share. Memory is that of the most there ever were
     * at once, so that is to be the same in each lap. */
    config.max_connections = clients_n / LISTENERS + clients_n / 20 + 1;
    for (int pause = 1; !atomic_load(&resting);) {
        int listener = netfd_listen(server->network, server->address, NULL);
        if (listener < 0) { /* a spell without descriptors */
            hear("listen", listener);
            netfd_sleep(pause * MS);
            pause = pause < 64 ? 2 * pause : pause;
            continue;
        }
        struct sockaddr_storage at;
        socklen_t len = sizeof at;
        pause = 1;
        netfd_local_addr(listener, (struct sockaddr *)&at, &len);
        netfd_addr_format((struct sockaddr *)&at, len, server->address,
                          sizeof server->address);
        server->stop = netfd_cancel_new();
        netfd_set_cancel(listener, server->stop);
        atomic_store(&server->stopping, 0);
        atomic_store(&server->listener, listener);
        int code = by_threads ? serve_by_threads(listener, server)
                              : netfd_serve(listener, handle, server, &config);
        if (code != 0 && code != NETFD_ECLOSED)
            fail("serve said %d", code);
        if (atomic_exchange(&server->listener, -1) == listener)
            netfd_destroy(listener);
        netfd_cancel_free(server->stop);
    }
    atomic_fetch_sub(&servers_left, 1);
}

/* --- the clients --- */

/* A client that holds still in a read, for others to have their way with: they
 * make it BUSY meanwhile, and KILLED if its descriptor is theirs from then on.
 */
enum state { IDLE, HOLD, BUSY, KILLED };

struct client {
    atomic_int state, fd;
    atomic_long alive; /* when it last got on: seconds */
    uint64_t random;
    const struct server *server;
};

static struct client clients[MOST_CLIENTS];
static atomic_int idle, clients_left, connected;

static pthread_mutex_t token_lock = PTHREAD_MUTEX_INITIALIZER;
static struct netfd_cancel *token; /* under the lock, over which nobody parks */

static long seconds(void) { return (long)(netfd_now() / SECOND); }

static void gets_on(struct client *client) {
    atomic_store_explicit(&client->alive, seconds(), memory_order_relaxed);
}

static uint64_t next(struct client *client) {
    client->random += UINT64_C(0x9e3779b97f4a7c15);
    return mixed(client->random);
}

static int dial(struct client *client) {
    const struct server *server = &servers[next(client) % LISTENERS];
    client->server = server;
    struct netfd_dial_config config;
    memset(&config, 0, sizeof config);
    config.size = sizeof config;
    config.deadline = netfd_after(5 * SECOND);
    atomic_fetch_add_explicit(&dials, 1, memory_order_relaxed);
    return netfd_dial(server->network, server->address, &config);
}

/* One exchange. 1, or what ended it. */
static long exchange(struct client *client, int fd, uint64_t id, uint64_t *at) {
    unsigned char buf[BLOCK];
    uint64_t whose = id % HOWS == COPIES ? id : answer_to(id);
    size_t len = 1 + next(client) % BLOCK,
           all = next(client) % 32 == 0 ? BIG : len;
    set_deadline(fd, 10 * SECOND);
    for (size_t done = 0; done < all; done += len) {
        len = all - done < sizeof buf ? all - done : sizeof buf;
        make(buf, len, id, *at + done);
        struct iovec parts[2] = {{buf, len / 3},
                                 {buf + len / 3, len - len / 3}};
        long sent = done % (2 * BLOCK) == 0 ? write_all(fd, buf, len)
                    : netfd_writev(fd, parts, 2) == (ssize_t)len
                        ? 1
                        : netfd_last_error(NULL);
        if (sent != 1)
            return sent;
    }
    if (take(&resets_wanted)) {
        struct linger now = {1, 0};
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
        return NETFD_ECLOSED; /* its destroy will reset it, with the answer on
                                 its way */
    }
    for (size_t done = 0; done < all; done += len) {
        len = all - done < sizeof buf ? all - done : sizeof buf;
        long got = read_all(fd, buf, len);
        if (got != 1)
            return got;
        if (!is_own(buf, len, whose, *at + done, "a client"))
            return NETFD_ECLOSED;
    }
    *at += all;
    atomic_fetch_add_explicit(&rounds, 1, memory_order_relaxed);
    return 1;
}

/* Reads what nobody sends, until somebody ends it. 1: the descriptor is still
 * its own. */
static int hold(struct client *client, int fd) {
    char byte;
    set_deadline(fd, 4 * SECOND);
    atomic_store(&client->state, HOLD);
    ssize_t n = netfd_read(fd, &byte, 1);
    for (;;) {
        int state = HOLD;
        if (atomic_compare_exchange_strong(&client->state, &state, IDLE))
            break;
        if (state == KILLED) {
            if (n == NETFD_ECLOSED)
                atomic_fetch_add(&evicted, 1);
            hear("a read that was held", n);
            atomic_store(&client->state, IDLE);
            return 0;
        }
        netfd_yield(); /* BUSY */
    }
    if (n > 0)
        fail("a read of nothing read %zd", n);
    hear("a read that is let go", n);
    return 1;
}

/* Writes more than a deaf server takes: what it says has gone is what came. */
static void flood(int fd, uint64_t id) {
    enum { MUCH = 8 << 20 };
    uint64_t sent = 0, came = 0;
    unsigned char *much = mmap(NULL, MUCH, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (much == MAP_FAILED)
        return;
    make(much, MUCH, id, 0);
    netfd_set_write_deadline(fd, netfd_after(300 * MS));
    ssize_t n = netfd_write(fd, much, MUCH);
    munmap(much, MUCH);
    if (n < 0)
        return hear("a flood", n);
    sent = (uint64_t)n;
    if (sent < MUCH)
        hear("a flood that was stopped", netfd_last_error(NULL));
    set_deadline(fd, 20 * SECOND);
    netfd_shutdown(fd, SHUT_WR);
    long got = read_all(fd, &came, sizeof came);
    if (got != 1)
        return hear("a flood's end", got);
    atomic_fetch_add(&counted, 1);
    if (came != sent)
        fail("%llu bytes of a flood had gone, %llu came",
             (unsigned long long)sent, (unsigned long long)came);
}

/* Whether clients that have a connection are to keep it, and rest. */
static int is_over(void) {
    return atomic_load(&resting) || atomic_load(&warming);
}

/* Is idle with the others, until the servers are destroyed; and its end. */
static void rest(int fd) {
    char byte;
    atomic_fetch_add(&idle, 1);
    netfd_group_wait(gate, 0, NULL);
    if (fd >= 0) {
        set_deadline(fd, 10 * SECOND);
        netfd_shutdown(fd, SHUT_WR);
        ssize_t n = netfd_read(fd, &byte, 1);
        if (n > 0)
            fail("a byte that nobody sent");
        hear("a last read", n);
        netfd_destroy(fd);
        atomic_fetch_sub(&connected, 1);
    }
    linger();
    atomic_fetch_sub(&clients_left, 1);
}

/* A connection, from its first byte to its last. The descriptor, where it may
 * go on; or -1, it is gone. */
static int talk(struct client *client, int fd) {
    uint64_t id = next(client), at = 0;
    int how = take(&floods_wanted) ? STALLS : id % 4 == 0 ? COPIES : ECHOES;
    id = id - id % HOWS + (uint64_t)how;
    set_deadline(fd, 10 * SECOND);
    if (id >> 4 & 1) {
        pthread_mutex_lock(&token_lock);
        netfd_set_cancel(fd, token);
        pthread_mutex_unlock(&token_lock);
    }
    long done = write_all(fd, &id, sizeof id);
    if (done == 1 && how == STALLS) {
        flood(fd, id);
        netfd_destroy(fd);
        return -1;
    }
    for (uint64_t left = 1 + next(client) % 8; done == 1 && left > 0; left--) {
        gets_on(client);
        done = exchange(client, fd, id, &at);
        if (done == 1 && how == ECHOES && take(&holds_wanted))
            return hold(client, fd) ? fd : -1;
        if (is_over() || atomic_load(&client->server->stopping))
            break;
        if (done == 1)
            netfd_sleep((int64_t)(next(client) % 2000) * MS);
    }
    if (done == 1)
        return fd;
    hear("an exchange", done);
    netfd_destroy(fd); /* its answer may still come */
    return -1;
}

static void live(void *arg) {
    struct client *client = arg;
    int fd = -1;
    for (int64_t pause = 1; !atomic_load(&resting);) {
        gets_on(client);
        if ((fd = dial(client)) < 0) {
            hear("dial", fd);
            netfd_sleep((pause + (int64_t)(next(client) % 16)) * MS);
            pause = pause < 128 ? 2 * pause : pause;
            continue;
        }
        pause = 1;
        atomic_fetch_add(&connected, 1);
        atomic_store(&client->fd, fd);
        fd = talk(client, fd);
        atomic_store(&client->fd, -1);
        if (fd >= 0 && is_over())
            break;
        if (fd >= 0)
            netfd_destroy(fd);
        atomic_fetch_sub(&connected, 1);
        fd = -1;
    }
    gets_on(client);
    rest(fd);
}

/* --- what is measured --- */

static int entries_of(const char *folder) {
    int n = 0;
    DIR *all = opendir(folder);
    if (all == NULL)
        return -1;
    while (readdir(all) != NULL)
        n++;
    closedir(all);
    return n - 2;
}

struct measure {
    long rss, anon; /* KiB */
    int fds, threads;
};

static struct measure measure(void) {
    struct measure now = {-1, -1, entries_of("/proc/self/fd") - 1,
                          entries_of("/proc/self/task")};
    char text[4096], *at;
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    text[n > 0 ? n : 0] = 0;
    close(fd);
    if ((at = strstr(text, "VmRSS:")) != NULL)
        now.rss = atol(at + 6);
    if ((at = strstr(text, "RssAnon:")) != NULL)
        now.anon = atol(at + 8);
    return now;
}

static struct netfd_stats stats(void) {
    struct netfd_stats now;
    memset(&now, 0, sizeof now);
    now.size = sizeof now;
    netfd_stats(&now);
    return now;
}

static void tell(long since, int faults) {
    struct measure now = measure();
    printf("%5ld s: %d connected, %lu dials, %lu served, %lu exchanges, %lu "
           "MiB looked at, %d faults;",
           since, atomic_load(&connected), atomic_load(&dials),
           atomic_load(&served), atomic_load(&rounds),
           atomic_load(&bytes) >> 20, faults);
    for (int kind = 0; kind < KINDS; kind++)
        printf(" %s %lu%s", heard_names[kind], atomic_load(&heard[kind]),
               kind < KINDS - 1 ? "," : "");
    printf("; RSS %.1f MiB, %d fds, %d threads\n", (double)now.rss / KIB,
           now.fds, now.threads);
    fflush(stdout);
}

static void nap(long ms) {
    int64_t until = netfd_now() + ms * MS;
    for (int64_t left; (left = until - netfd_now()) > 0;) {
        struct timespec time = {left / SECOND, left % SECOND};
        nanosleep(&time, NULL);
    }
}

/* Who is parked on what, the first of them. */
static void dump(void) {
    char text[8 * KIB];
    int file = memfd_create("dump", MFD_CLOEXEC);
    if (file < 0 || netfd_dump(file) != 0)
        return;
    ssize_t n = pread(file, text, sizeof text, 0);
    close(file);
    fflush(stdout);
    if (n > 0 && write(1, text, (size_t)n) < n)
        return;
}

/* Waits until something is so: 120 s at most, or it counts as stuck. */
static int await(const char *what, int (*is_so)(void)) {
    for (int64_t until = netfd_after(120 * SECOND); !is_so(); nap(5)) {
        if (netfd_now() > until) {
            fail("waited in vain: %s", what);
            dump();
            return 0;
        }
    }
    return 1;
}

/* --- the faults --- */

static atomic_ulong signals;

static void on_signal(int number) {
    (void)number;
    atomic_fetch_add_explicit(&signals, 1, memory_order_relaxed);
}

/* Which descriptors somebody is parked in a read on, by netfd_dump(). */
static unsigned char read_on[1 << 16];

static void look(void) {
    memset(read_on, 0, sizeof read_on);
    int file = memfd_create("dump", MFD_CLOEXEC);
    if (file < 0 || netfd_dump(file) != 0)
        return fail("no dump");
    off_t len = lseek(file, 0, SEEK_END);
    char *text = mmap(NULL, (size_t)len + 1, PROT_READ, MAP_PRIVATE, file, 0);
    close(file);
    if (text == MAP_FAILED)
        return fail("no memory for a dump");
    unsigned fd = 0;
    for (const char *line = text, *end;
         (end = memchr(line, '\n', (size_t)(text + len - line))) != NULL;
         line = end + 1) {
        if (strncmp(line, "fd ", 3) == 0)
            fd = (unsigned)atoi(line + 3);
        else if (fd < sizeof read_on &&
                 memmem(line, (size_t)(end - line), " reads,", 7) != NULL)
            read_on[fd] = 1;
    }
    munmap(text, (size_t)len + 1);
}

/* Has its way with clients that hold still in a read: whoever is seen parked
 * there has begun its call, so that no call of its can begin on a number that
 * is another's by then. */
static void touch(int kills) {
    static struct {
        struct client *client;
        int fd;
    } held[MOST_CLIENTS];
    int n = 0;
    atomic_store(&holds_wanted, 50);
    nap(400);
    atomic_store(&holds_wanted, 0);
    for (int i = 0; i < clients_n; i++) {
        int fd = atomic_load(&clients[i].fd);
        if (atomic_load(&clients[i].state) == HOLD && fd >= 0) {
            held[n].client = &clients[i];
            held[n++].fd = fd;
        }
    }
    if (n == 0)
        return;
    look();
    while (n-- > 0) {
        struct client *client = held[n].client;
        int fd = held[n].fd, state = HOLD;
        if (!read_on[fd] || atomic_load(&client->fd) != fd ||
            !atomic_compare_exchange_strong(&client->state, &state, BUSY))
            continue;
        int code = kills ? netfd_destroy(fd) : netfd_set_read_deadline(fd, 1);
        if (code != 0)
            fail("touching %d said %d", fd, code);
        if (!kills)
            atomic_fetch_add(&hurried, 1);
        atomic_store(&client->state, kills ? KILLED : HOLD);
    }
}

static void fire(void) {
    struct netfd_cancel *anew = netfd_cancel_new();
    pthread_mutex_lock(&token_lock);
    struct netfd_cancel *old = token;
    token = anew;
    pthread_mutex_unlock(&token_lock);
    netfd_cancel_fire(old);
    netfd_cancel_free(old);
}

/* A listener stops, lets its handlers end, and is made anew in its place. */
static void renew(struct server *server) {
    if (atomic_load(&server->listener) < 0 || atomic_load(&server->stopping))
        return; /* still at it */
    atomic_store(&server->stopping, 1);
    netfd_cancel_fire(server->stop);
}

static void starve(void) {
    struct rlimit limit, none;
    getrlimit(RLIMIT_NOFILE, &limit);
    none = limit;
    none.rlim_cur = 3;
    setrlimit(RLIMIT_NOFILE, &none);
    nap(300);
    setrlimit(RLIMIT_NOFILE, &limit);
}

static void signal_all(void) {
    for (int n = 0; n < 1000; n++)
        kill(getpid(), SIGUSR1);
}

static void fault(int number) {
    switch (number % 8) {
    case 0: atomic_store(&resets_wanted, 200); break;
    case 1: atomic_store(&floods_wanted, 20); break;
    case 2: touch(1); break;
    case 3: touch(0); break;
    case 4: fire(); break;
    case 5: renew(&servers[number / 8 % LISTENERS]); break;
    case 6: starve(); break;
    case 7: signal_all(); break;
    }
}

/* Whether somebody has not got on for longer than anything may take. */
static void look_for_the_stuck(void) {
    for (int i = 0; i < clients_n; i++) {
        long still = seconds() - atomic_load(&clients[i].alive);
        if (still > 60) {
            fail("a client on %d has not got on for %ld s",
                 atomic_load(&clients[i].fd), still);
            dump();
            exit(1);
        }
    }
}

/* --- rest --- */

static int handlers(void) {
    int all = 0;
    for (int i = 0; i < LISTENERS; i++)
        all += atomic_load(&servers[i].handlers);
    return all;
}

static int all_are_idle(void) { return atomic_load(&idle) == clients_n; }
static int all_listen(void) {
    for (int i = 0; i < LISTENERS; i++)
        if (atomic_load(&servers[i].listener) < 0)
            return 0;
    return 1;
}
static int none_naps(void) { return atomic_load(&napping) == 0; }
/* Each client waits at the gate, each handler in a read, each server that has
 * not ended in accept. */
static int all_are_parked(void) {
    return stats().parked ==
           (uint64_t)(clients_n + handlers() + atomic_load(&servers_left));
}
static int nothing_is_left(void) {
    struct netfd_stats now = stats();
    return now.open_fds == 0 && now.parked == 0 && now.fibers == 0;
}
static int all_have_ended(void) {
    for (int i = 0; i < LISTENERS; i++) {
        int listener = atomic_exchange(&servers[i].listener, -1);
        if (listener >= 0 && netfd_destroy(listener) != 0)
            fail("a listener that was not there");
    }
    return atomic_load(&clients_left) == 0 && atomic_load(&servers_left) == 0 &&
           handlers() == 0;
}
static int threads_at_the_start;
static int threads_have_ended(void) {
    return measure().threads <= threads_at_the_start;
}

/* All come to rest and end: in fibers the listeners are destroyed over handlers
 * that are all parked, which ends thousands at once. What is left is measured.
 */
static int come_to_rest(struct measure *at) {
    atomic_store(&resting, 1);
    if (!await("all are idle", all_are_idle) || !await("none naps", none_naps))
        return 0;
    int ends = handlers();
    if (!by_threads && !await("all are parked", all_are_parked))
        return 0;
    int64_t begun = netfd_now();
    (void)all_have_ended(); /* from here on */
    netfd_group_done(gate);
    if (!await("all have ended", all_have_ended) ||
        !await("nothing is left", nothing_is_left) ||
        !await("threads have ended", threads_have_ended))
        return 0;
    int64_t took = netfd_now() - begun;
    malloc_trim(0); /* what the C library keeps of what was freed is its own */
    *at = measure();
    printf("  rest: %d handlers ended at once, all in %d ms; RSS %.2f MiB "
           "(anonymous %.2f), %d fds, %d threads\n",
           ends, (int)(took / MS), (double)at->rss / KIB,
           (double)at->anon / KIB, at->fds, at->threads);
    fflush(stdout);
    return 1;
}

static void nothing(void *arg) { netfd_group_done(arg); }

static void begin(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal; /* without SA_RESTART */
    sigaction(SIGUSR1, &action, NULL);
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if ((rlim_t)(2 * clients_n + 100) > limit.rlim_max) {
        printf("%d connections need %d descriptors, %lu are allowed\n",
               clients_n, 2 * clients_n + 100, (unsigned long)limit.rlim_max);
        exit(2);
    }
    gate = netfd_group_new();
    token = netfd_cancel_new();
    struct netfd_group *workers = netfd_group_new();
    netfd_group_add(workers, 1);
    if (!by_threads && netfd_go(nothing, workers) == 0)
        netfd_group_wait(workers, 0, NULL);
    netfd_group_free(workers);
    for (int i = 0; i < LISTENERS; i++) {
        struct server *server = &servers[i];
        snprintf(server->network, sizeof server->network, "%s",
                 i < 2 ? "tcp" : "unix");
        if (i < 2)
            snprintf(server->address, sizeof server->address, "127.0.0.%d:0",
                     i + 1);
        else
            snprintf(server->address, sizeof server->address, "@netfd-soak-%d",
                     getpid());
    }
    for (int i = 0; i < clients_n; i++) {
        clients[i].random = mixed((uint64_t)netfd_now() + (uint64_t)i);
        atomic_store(&clients[i].fd, -1);
    }
}

static void start_all(void) {
    atomic_store(&resting, 0);
    atomic_store(&idle, 0);
    netfd_group_add(gate, 1);
    for (int i = 0; i < LISTENERS; i++) {
        struct server *server = &servers[i];
        atomic_store(&server->listener, -1);
        atomic_fetch_add(&servers_left, 1);
        if (spawn(serve, server) != 0)
            fail("no server");
    }
    await("all listen", all_listen);
    for (int i = 0; i < clients_n; i++) {
        gets_on(&clients[i]);
        atomic_fetch_add(&clients_left, 1);
        if (spawn(live, &clients[i]) != 0)
            fail("no client");
    }
}

/* A lap: all begin, faults, and then rest. */
static int lap(long length, long since, int *faults, struct measure *at) {
    int64_t until = netfd_after(length * SECOND);
    start_all();
    while (netfd_now() < until) {
        int64_t second = netfd_after(SECOND);
        fault((*faults)++);
        look_for_the_stuck();
        int64_t left = second - netfd_now();
        if (left > 0)
            nap((long)(left / MS));
        if (*faults % 10 == 0)
            tell(seconds() - since, *faults);
    }
    return come_to_rest(at);
}

int main(int argc, char **argv) {
    long length = argc > 1 ? atol(argv[1]) : 0;
    const char *callers = getenv("SOAK_CALLERS");
    by_threads = callers != NULL && strcmp(callers, "threads") == 0;
    clients_n = argc > 2 ? atoi(argv[2]) : by_threads ? 500 : 5000;
    if (length < 1 || clients_n < 1 || clients_n > MOST_CLIENTS) {
        printf("usage: soak SECONDS [CONNECTIONS]\n");
        return 2;
    }
    begin();
    const struct measure start = measure();
    threads_at_the_start = start.threads;
    long since = seconds();
    long lap_length = length / 4 < 9 ? 9 : length / 4 > 60 ? 60 : length / 4;
    int faults = 0, laps = 0;
    struct measure first = start, now = start;
    /* Memory counts from when all have been there at once, and each fault. */
    atomic_store(&warming, 1);
    start_all();
    int goes_on = await("all are idle", all_are_idle) && come_to_rest(&first);
    atomic_store(&warming, 0);
    since = seconds();
    for (long left = length; goes_on && (laps < 2 || left > 0);
         left = length - (seconds() - since), laps++) {
        goes_on = lap(laps > 0 && left > lap_length && left < 2 * lap_length
                          ? left
                          : lap_length,
                      since, &faults, &now);
        if (laps == 0)
            first = now;
        if (now.rss > first.rss + KIB)
            fail("memory has grown by %ld KiB", now.rss - first.rss);
        if (now.fds > first.fds)
            fail("%d descriptors, where there were %d", now.fds, first.fds);
    }
    printf("%d laps, %d faults: %lu evicted by destroy, %lu hurried by "
           "deadlines, %lu floods counted, %lu signals\n",
           laps, faults, atomic_load(&evicted), atomic_load(&hurried),
           atomic_load(&counted), atomic_load(&signals));
    printf("at the end: RSS %.2f MiB, when warm %.2f; %d descriptors, %d at "
           "the start, %d when warm; "
           "%d threads, %d at the start; %s\n",
           (double)now.rss / KIB, (double)first.rss / KIB, now.fds, start.fds,
           first.fds, now.threads, start.threads,
           by_threads                ? "threads"
           : stats().submissions > 0 ? "fibers on io_uring"
                                     : "fibers on epoll");
    if (atomic_load(&rounds) == 0 || atomic_load(&bytes) == 0)
        fail("nothing was exchanged");
    /* A short run on a busy machine may not come to all of them. */
    if (length >= 60 &&
        (!atomic_load(&evicted) || !atomic_load(&hurried) ||
         !atomic_load(&counted) || !atomic_load(&signals) ||
         !atomic_load(&heard[RESET]) || !atomic_load(&heard[CANCELED]) ||
         !atomic_load(&heard[NO_FD])))
        fail("a fault that touched nobody");
    netfd_cancel_free(token);
    netfd_group_free(gate);
    printf("verdict: %s\n", atomic_load(&broken) == 0 ? "all held" : "BROKEN");
    return atomic_load(&broken) != 0;
}
