/* The heap: the steady state asks nothing of it, and a call that asks in vain
 * says so. This program's malloc stands before the C library's.
 * Usage: heap SCENARIO [NUMBER] */
#include "check.h"

#include <sys/resource.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

static unsigned long allocations; /* of all threads */
static __thread int fails;        /* the calling thread's get nothing */
static __thread int is_main;
static int others_fail; /* those of all but the main thread get nothing */

static int refused(void) {
    __atomic_add_fetch(&allocations, 1, __ATOMIC_RELAXED);
    int none = fails || (!is_main && __atomic_load_n(&others_fail, __ATOMIC_RELAXED));
    if (none)
        errno = ENOMEM;
    return none;
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

/* --- the steady state --- */

#define TIMES 10000

/* Sees that `TIMES` rounds allocate nothing, after a few to warm up. */
static void check_steady(void (*round)(void *), void *arg) {
    for (int i = 0; i < 10; i++)
        round(arg);
    unsigned long before = allocations;
    for (int i = 0; i < TIMES; i++)
        round(arg);
    EQ(allocations - before, 0);
}

static void the_counter_counts(void) {
    unsigned long before = allocations;
    int pair[2];
    free(malloc(1));
    EQ(allocations - before, 1);
    make_pair(pair); /* the library's come through here as well */
    CHECK(allocations - before > 1);
}

static void echo_round(void *arg) { echo_over(arg); }

static void read_and_write(void) {
    int pair[2];
    make_pair(pair);
    check_steady(echo_round, pair);
}

static void deadline_round(void *arg) {
    const int *pair = arg;
    EQ(netfd_set_deadline(pair[0], netfd_after(SECOND)), 0);
    EQ(netfd_set_read_deadline(pair[0], netfd_after(SECOND)), 0);
    EQ(netfd_set_write_deadline(pair[0], NETFD_NO_DEADLINE), 0);
}

static void set_deadline(void) {
    int pair[2];
    make_pair(pair);
    check_steady(deadline_round, pair);
}

struct accepting {
    int listener;
    struct sockaddr_in at;
};

/* The client is the C library's, so that the accept alone is looked at. */
static void accept_round(void *arg) {
    const struct accepting *accepting = arg;
    int client = socket(AF_INET, SOCK_STREAM, 0);
    const struct sockaddr *at = (const struct sockaddr *)&accepting->at;
    EQ(connect(client, at, sizeof accepting->at), 0);
    int server = netfd_accept(accepting->listener, NULL, NULL);
    CHECK(server >= 0);
    struct linger abort = {1, 0}; /* or ports run out in TIME_WAIT */
    EQ(setsockopt(client, SOL_SOCKET, SO_LINGER, &abort, sizeof abort), 0);
    close(client);
    EQ(netfd_destroy(server), 0);
}

static void accept_and_destroy(void) {
    struct accepting accepting;
    accepting.listener = make_listener(&accepting.at);
    check_steady(accept_round, &accepting);
}

static void connect_round(void *arg) {
    const struct accepting *accepting = arg;
    int client = connect_to(&accepting->at);
    int server = netfd_accept(accepting->listener, NULL, NULL);
    CHECK(server >= 0);
    struct linger abort = {1, 0};
    EQ(setsockopt(client, SOL_SOCKET, SO_LINGER, &abort, sizeof abort), 0);
    EQ(netfd_destroy(client), 0);
    EQ(netfd_destroy(server), 0);
}

static void connect_and_destroy(void) {
    struct accepting accepting;
    accepting.listener = make_listener(&accepting.at);
    check_steady(connect_round, &accepting);
}

static void *answer(void *arg) {
    const int *pair = arg;
    char byte;
    ssize_t n;
    while ((n = netfd_read(pair[1], &byte, 1)) == 1)
        EQ(netfd_write(pair[1], &byte, 1), 1);
    EQ(n, 0);
    return NULL;
}

static void ping_round(void *arg) {
    const int *pair = arg;
    char byte;
    EQ(netfd_set_read_deadline(pair[0], netfd_after(5 * SECOND)), 0);
    EQ(netfd_write(pair[0], "p", 1), 1);
    EQ(netfd_read(pair[0], &byte, 1), 1);
}

/* Both ends park, each in a thread of its own. */
static void parked_read_and_write(void) {
    int pair[2];
    make_pair(pair);
    pthread_t other = start(answer, pair);
    await_parked(1); /* both have parked before we count */
    EQ(netfd_wait(pair[0], NETFD_READABLE, netfd_after(MS)), NETFD_EDEADLINE);
    check_steady(ping_round, pair);
    EQ(netfd_destroy(pair[0]), 0);
    joined(other);
}

/* Two datagram sockets, connected to each other. */
static void make_datagram_pair(int pair[2]) {
    EQ(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), 0);
    EQ(netfd_attach(pair[0]), pair[0]);
    EQ(netfd_attach(pair[1]), pair[1]);
}

#define BATCH 8

struct batch {
    struct mmsghdr messages[BATCH];
    struct iovec buffers[BATCH];
    char bytes[BATCH];
};

static void make_batch(struct batch *batch) {
    memset(batch, 0, sizeof *batch);
    for (int i = 0; i < BATCH; i++) {
        batch->buffers[i].iov_base = &batch->bytes[i];
        batch->buffers[i].iov_len = 1;
        batch->messages[i].msg_hdr.msg_iov = &batch->buffers[i];
        batch->messages[i].msg_hdr.msg_iovlen = 1;
    }
}

static void datagram_round(void *arg) {
    const int *pair = arg;
    struct batch batch;
    struct sockaddr_storage from;
    socklen_t len = sizeof from;
    char byte;
    make_batch(&batch);
    EQ(netfd_sendmmsg(pair[0], batch.messages, BATCH, 0), BATCH);
    EQ(netfd_recvmmsg(pair[1], batch.messages, BATCH, 0), BATCH);
    EQ(netfd_sendmsg(pair[0], &batch.messages[0].msg_hdr, 0), 1);
    EQ(netfd_recvmsg(pair[1], &batch.messages[0].msg_hdr, 0), 1);
    EQ(netfd_sendto(pair[0], "d", 1, 0, NULL, 0), 1);
    EQ(netfd_recvfrom(pair[1], &byte, 1, 0, (struct sockaddr *)&from, &len), 1);
    EQ(netfd_recvmmsg(pair[1], batch.messages, BATCH, MSG_DONTWAIT), -EAGAIN);
}

static void datagrams(void) {
    int pair[2];
    make_datagram_pair(pair);
    check_steady(datagram_round, pair);
}

static void *answer_batches(void *arg) {
    const int *pair = arg;
    struct batch batch;
    int n;
    make_batch(&batch);
    while ((n = netfd_recvmmsg(pair[1], batch.messages, BATCH, 0)) > 0)
        EQ(netfd_sendmmsg(pair[1], batch.messages, (unsigned)n, 0), n);
    EQ(n, NETFD_ECLOSED);
    return NULL;
}

static void ping_batch_round(void *arg) {
    const int *pair = arg;
    struct batch batch;
    make_batch(&batch);
    EQ(netfd_set_read_deadline(pair[0], netfd_after(5 * SECOND)), 0);
    EQ(netfd_sendmmsg(pair[0], batch.messages, 2, 0), 2);
    for (int got = 0, n; got < 2; got += n) {
        n = netfd_recvmmsg(pair[0], batch.messages, BATCH, 0);
        CHECK(n > 0);
    }
}

/* As parked_read_and_write. */
static void parked_batches(void) {
    int pair[2];
    make_datagram_pair(pair);
    pthread_t other = start(answer_batches, pair);
    await_parked(1);
    EQ(netfd_wait(pair[0], NETFD_READABLE, netfd_after(MS)), NETFD_EDEADLINE);
    check_steady(ping_batch_round, pair);
    EQ(netfd_destroy(pair[1]), 0);
    joined(other);
}

/* A token that is set, and one that is made and freed each time. */
static void token_round(void *arg) {
    const int *pair = arg;
    char byte;
    struct netfd_cancel *token = netfd_cancel_new();
    CHECK(token != NULL);
    EQ(netfd_set_cancel(pair[0], token), 0);
    netfd_cancel_free(token);
    EQ(netfd_set_read_deadline(pair[0], netfd_after(1000)), 0);
    EQ(netfd_read(pair[0], &byte, 1), NETFD_EDEADLINE);
}

static void failures_and_tokens(void) {
    int pair[2];
    make_pair(pair);
    check_steady(token_round, pair);
}

/* Two connections, and what lies between: 0 to 1 to 2 to 3. */
static void make_line(int line[4]) {
    make_pair(line);
    make_pair(line + 2);
}

static void copy_round(void *arg) {
    const int *line = arg;
    char byte = 'x';
    EQ(netfd_write(line[0], &byte, 1), 1);
    EQ(netfd_copy(line[2], line[1], 1), 1);
    EQ(netfd_read(line[3], &byte, 1), 1);
}

static void copy_end_round(void *arg) {
    const int *line = arg;
    EQ(netfd_copy(line[2], line[1], -1), 0);
}

static void *copy_parked(void *arg) {
    const int *line = arg;
    EQ(netfd_set_read_deadline(line[1], netfd_after(MS / 100)), 0);
    int64_t n = netfd_copy(line[2], line[1], -1);
    EQ(n, NETFD_EDEADLINE);
    EQ(netfd_set_read_deadline(line[1], NETFD_NO_DEADLINE), 0);
    return NULL;
}

static void copy_parked_round(void *arg) { copy_parked(arg); }

static void copy_streams(void) {
    int line[4];
    make_line(line);
    check_steady(copy_round, line);
    check_steady(copy_parked_round, line);
    EQ(netfd_shutdown(line[0], SHUT_WR), 0);
    check_steady(copy_end_round, line);
}

/* --- without memory --- */

/* Streams are copied all the same; a message, which takes a buffer, is left
 * where it is. */
static void copy_without_memory(void) {
    int line[4];
    char byte = 'x';
    make_line(line);
    copy_round(line);
    fails = 1;
    copy_round(line);
    fails = 0;
    int pair[2];
    EQ(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), 0);
    EQ(netfd_attach(pair[0]), pair[0]);
    EQ(netfd_attach(pair[1]), pair[1]);
    EQ(netfd_write(pair[0], &byte, 1), 1);
    fails = 1;
    int64_t n = netfd_copy(line[2], pair[1], 1);
    fails = 0;
    EQ(n, -ENOMEM);
    EQ(netfd_copy(line[2], pair[1], 1), 1);
}

static void sys_socket_without_memory(void) {
    int before = open_fds();
    fails = 1;
    int code = netfd_sys_socket(AF_INET, SOCK_STREAM, 0);
    fails = 0;
    EQ(code, -ENOMEM);
    EQ(open_fds(), before);
    CHECK(netfd_sys_socket(AF_INET, SOCK_STREAM, 0) >= 0);
}

static void attach_without_memory(void) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    fails = 1;
    EQ(netfd_attach(fd), -ENOMEM);
    fails = 0;
    EQ(netfd_read(fd, NULL, 0), -EBADF); /* it is still the caller's */
    EQ(netfd_attach(fd), fd);
    EQ(netfd_destroy(fd), 0);
}

static void cancel_new_without_memory(void) {
    fails = 1;
    CHECK(netfd_cancel_new() == NULL);
    fails = 0;
    struct netfd_cancel *token = netfd_cancel_new();
    CHECK(token != NULL);
    netfd_cancel_free(token);
}

/* A thread that never parked before parks without memory: it says ENOMEM, or
 * waits as if nothing was amiss. */
static void *park_without_memory(void *arg) {
    const int *pair = arg;
    char byte;
    fails = 1;
    ssize_t n = netfd_read(pair[0], &byte, 1);
    fails = 0;
    CHECK(n == -ENOMEM || n == NETFD_EDEADLINE);
    return NULL;
}

static void park_as_the_first(void) {
    int pair[2];
    make_pair(pair);
    EQ(netfd_set_read_deadline(pair[0], netfd_after(10 * MS)), 0);
    joined(start(park_without_memory, pair));
    EQ(netfd_set_read_deadline(pair[0], NETFD_NO_DEADLINE), 0);
    echo_over(pair);
}

/* There is a waiter to be had; what else a first park asks for is not. */
static void park_as_one_of_many(void) {
    int pair[2];
    char byte;
    make_pair(pair);
    EQ(netfd_set_read_deadline(pair[0], netfd_after(10 * MS)), 0);
    EQ(netfd_read(pair[0], &byte, 1), NETFD_EDEADLINE);
    EQ(netfd_set_read_deadline(pair[0], netfd_after(10 * MS)), 0);
    joined(start(park_without_memory, pair));
    EQ(netfd_set_read_deadline(pair[0], NETFD_NO_DEADLINE), 0);
    echo_over(pair);
}

static void *destroy_in_vain(void *arg) {
    fails = 1;
    int code = netfd_destroy(*(int *)arg);
    fails = 0;
    EQ(code, 0);
    return NULL;
}

/* destroy has no ENOMEM: what it cannot do is close nothing. */
static void destroy_without_memory(void) {
    int pair[2];
    char byte;
    make_pair(pair);
    struct caller reader = {.what = READS, .fd = pair[0]};
    joined(start(destroy_in_vain, &pair[1]));
    EQ(netfd_read(pair[0], &byte, 1), 0);
    make_pair(pair);
    reader.fd = pair[0];
    begin(&reader);
    await_parked(1);
    joined(start(destroy_in_vain, &pair[0]));
    EQ(result_of(&reader), NETFD_ECLOSED);
    EQ(netfd_destroy(pair[0]), NETFD_ECLOSED);
}

/* The calls that make nothing need nothing, in a thread that has parked. */
static void work_without_memory(void) {
    int pair[2];
    char text[256];
    struct netfd_error error = {.size = sizeof error};
    make_pair(pair);
    EQ(netfd_wait(pair[0], NETFD_READABLE, netfd_after(MS)), NETFD_EDEADLINE);
    fails = 1;
    echo_over(pair);
    EQ(netfd_set_deadline(pair[0], netfd_after(-1)), 0);
    EQ(netfd_read(pair[0], text, 1), NETFD_EDEADLINE);
    CHECK(netfd_error_text(text, sizeof text) > 0);
    EQ(netfd_last_error(&error), NETFD_EDEADLINE);
    EQ(netfd_wait(pair[0], NETFD_WRITABLE, netfd_after(-1)), NETFD_WRITABLE);
    EQ(netfd_dump(1), 0);
    EQ(netfd_destroy(pair[1]), 0);
    fails = 0;
}

/* The accepted one finds no room in the table: the listener lives on. */
static void accept_without_memory(void) {
    struct accepting accepting;
    accepting.listener = make_listener(&accepting.at);
    int first = connect_to(&accepting.at);
    int high = netfd_accept(accepting.listener, NULL, NULL);
    int filler = -1;
    CHECK(high >= 0);
    for (;;) { /* the next number is the first of a part of the table */
        filler = dup(0);
        CHECK(filler >= 0);
        if (filler % 128 == 126)
            break;
    }
    int client = socket(AF_INET, SOCK_STREAM, 0); /* ...127 */
    EQ(client % 128, 127);
    EQ(connect(client, (struct sockaddr *)&accepting.at, sizeof accepting.at), 0);
    fails = 1;
    int code = netfd_accept(accepting.listener, NULL, NULL);
    fails = 0;
    EQ(code, -ENOMEM);
    EQ(netfd_set_read_deadline(accepting.listener, netfd_after(SECOND)), 0);
    int server = netfd_accept(accepting.listener, NULL, NULL);
    CHECK(server >= 0); /* the connection was not lost */
    EQ(write(client, "c", 1), 1);
    char byte;
    EQ(netfd_read(server, &byte, 1), 1);
    EQ(netfd_destroy(first), 0);
}

/* --- without address space --- */

static void *use_what_is_left(void *arg) {
    (void)arg;
    for (int i = 0; i < 300; i++) {
        int pair[2];
        char byte;
        if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0)
            break;
        int one = netfd_attach(pair[0]), other = netfd_attach(pair[1]);
        CHECK(one == pair[0] || one == -ENOMEM);
        CHECK(other == pair[1] || other == -ENOMEM);
        int fd = netfd_sys_socket(AF_INET, SOCK_STREAM, 0);
        CHECK(fd >= 0 || fd == -ENOMEM);
        struct netfd_cancel *token = netfd_cancel_new();
        if (one < 0)
            continue;
        int set = netfd_set_cancel(one, token);
        EQ(set, 0);
        EQ(netfd_set_read_deadline(one, netfd_after(MS)), 0);
        ssize_t n = netfd_read(one, &byte, 1);
        CHECK(n == NETFD_EDEADLINE || n == -ENOMEM);
        if (i % 3 == 0)
            EQ(netfd_destroy(one), 0);
    }
    return NULL;
}

static int go[2];

static void *wait_and_use(void *arg) {
    const int *pair = arg;
    char byte;
    hear(go);
    EQ(netfd_set_read_deadline(pair[0], netfd_after(MS)), 0);
    ssize_t n = netfd_read(pair[0], &byte, 1);
    CHECK(n == NETFD_EDEADLINE || n == -ENOMEM);
    return use_what_is_left(arg);
}

static void limited_address_space(void) {
    /* The threads are there before the memory has gone, their first parks
     * come after. */
    pthread_t threads[4];
    struct rlimit limit;
    int pair[2];
    make_pair(pair);
    EQ(netfd_wait(pair[0], NETFD_READABLE, netfd_after(MS)), NETFD_EDEADLINE);
    EQ(pipe(go), 0);
    for (int i = 0; i < 4; i++)
        threads[i] = start(wait_and_use, pair);
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max < 4096 ? limit.rlim_max : 4096;
    setrlimit(RLIMIT_NOFILE, &limit);
    limit = (struct rlimit){1 << 20, 1 << 20}; /* less than there is already */
    EQ(setrlimit(RLIMIT_AS, &limit), 0);
    for (size_t size = 1 << 16; size >= 16; size /= 2)
        while (malloc(size) != NULL) {
        }
    for (int i = 0; i < 4; i++)
        tell(go);
    for (int i = 0; i < 4; i++)
        joined(threads[i]);
    use_what_is_left(NULL);
}

/* --- fibers --- */

static struct netfd_group *born, *over;

static void live_until_over(void *arg) {
    (void)arg;
    EQ(netfd_group_done(born), 0);
    EQ(netfd_group_wait(over, NETFD_NO_DEADLINE, NULL), 0);
}

static void begin_fibers(int n) {
    born = netfd_group_new();
    over = netfd_group_new();
    EQ(netfd_group_add(over, 1), 0);
    __atomic_store_n(&others_fail, 1, __ATOMIC_RELAXED);
    EQ(netfd_group_add(born, n), 0);
    for (int i = 0; i < n; i++)
        EQ(netfd_go(live_until_over, NULL), 0);
}

/* The worker's thread is given nothing, from its first moment on. */
static void go_without_memory(void) {
    begin_fibers(1);
    EQ(netfd_group_wait(born, netfd_after(8 * SECOND), NULL), 0);
}

/* More than their worker has room for: they are born once there is memory, and
 * until then it tries now and then. */
static void go_many_without_memory(void) {
    EQ(setenv("NETFD_WORKERS", "1", 1), 0);
    begin_fibers(70);
    EQ(netfd_group_wait(born, netfd_after(100 * MS), NULL), NETFD_EDEADLINE);
    unsigned long before = __atomic_load_n(&allocations, __ATOMIC_RELAXED);
    pause_ms(200);
    unsigned long tries = __atomic_load_n(&allocations, __ATOMIC_RELAXED) - before;
    CHECK(tries > 0);
    CHECK(tries < 5000); /* who spins makes a hundred thousand */
    __atomic_store_n(&others_fail, 0, __ATOMIC_RELAXED);
    EQ(netfd_group_wait(born, netfd_after(8 * SECOND), NULL), 0);
    EQ(netfd_group_done(over), 0);
}

int main(int argc, char **argv) {
    is_main = 1;
    static const struct scenario all[] = {
        {"the_counter_counts", the_counter_counts},
        {"read_and_write", read_and_write},
        {"set_deadline", set_deadline},
        {"accept_and_destroy", accept_and_destroy},
        {"connect_and_destroy", connect_and_destroy},
        {"parked_read_and_write", parked_read_and_write},
        {"failures_and_tokens", failures_and_tokens},
        {"datagrams", datagrams},
        {"parked_batches", parked_batches},
        {"copy_streams", copy_streams},
        {"copy_without_memory", copy_without_memory},
        {"sys_socket_without_memory", sys_socket_without_memory},
        {"attach_without_memory", attach_without_memory},
        {"cancel_new_without_memory", cancel_new_without_memory},
        {"park_as_the_first", park_as_the_first},
        {"park_as_one_of_many", park_as_one_of_many},
        {"destroy_without_memory", destroy_without_memory},
        {"work_without_memory", work_without_memory},
        {"accept_without_memory", accept_without_memory},
        {"limited_address_space", limited_address_space},
        {"go_without_memory", go_without_memory},
        {"go_many_without_memory", go_many_without_memory},
    };
    return run_scenario(all, sizeof all / sizeof *all, argc > 1 ? argv[1] : NULL);
}
