/* What a child made by fork(2) can do, and what its parent does not notice.
 * Usage: fork SCENARIO libc|fork|clone, the latter two by the bare system
 * call. */
#include "check.h"

#include <sys/syscall.h>

static const char *way = "libc";

static pid_t make_child(void) {
    pid_t pid;
    if (strcmp(way, "clone") == 0) {
        pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
#ifdef SYS_fork
    } else if (strcmp(way, "fork") == 0) {
        pid = (pid_t)syscall(SYS_fork);
#endif
    } else {
        pid = fork();
    }
    CHECK(pid >= 0);
    if (pid == 0)
        alarm(8); /* a child that hangs is told so */
    return pid;
}

/* Runs `body` in a child and sees that it ends well. */
static void in_child(void (*body)(void *), void *arg) {
    pid_t pid = make_child();
    int status = -1;
    if (pid == 0) {
        body(arg);
        _exit(0);
    }
    EQ(waitpid(pid, &status, 0), pid);
    EQ(status, 0);
}

/* Sees that nothing wakes the parent's callers, and that they sleep. */
static void check_parked(const struct caller *callers, unsigned n) {
    EQ(parked(), n);
    for (unsigned i = 0; i < n; i++)
        check_asleep(callers[i].thread);
    EQ(parked(), n);
}

/* Readers of one stream: one of them polls, the others queue. */
static void begin_readers(struct caller *readers, unsigned n, int fd) {
    for (unsigned i = 0; i < n; i++) {
        readers[i] = (struct caller){.what = READS, .fd = fd};
        begin(&readers[i]);
        await_parked(i + 1);
    }
}

static void feed_readers(struct caller *readers, unsigned n, int to) {
    for (unsigned i = 0; i < n; i++)
        EQ(netfd_write(to, "p", 1), 1);
    for (unsigned i = 0; i < n; i++)
        EQ(result_of(&readers[i]), 1);
    EQ(parked(), 0);
}

/* --- the same descriptor, in the child and in the parent --- */

/* The socket is one, and the bytes go to whoever is first: one for us, and as
 * many as the other process has readers, each of which takes one. */
static void read_beside(const int *pair, unsigned readers) {
    char byte;
    EQ(netfd_set_read_deadline(pair[0], netfd_after(5 * SECOND)), 0);
    EQ(netfd_write(pair[1], "12345678", readers + 1), readers + 1);
    EQ(netfd_read(pair[0], &byte, 1), 1);
}

static void read_own_byte(void *arg) { read_beside(arg, 1); }

static void reads_beside_a_parked_reader(void) {
    int pair[2];
    struct caller reader;
    make_pair(pair);
    begin_readers(&reader, 1, pair[0]);
    in_child(read_own_byte, pair);
    EQ(result_of(&reader), 1);
    destroy_pair(pair);
}

static void take_turns_in_child(void *arg) {
    const int *pair = arg;
    struct caller readers[3];
    EQ(netfd_set_read_deadline(pair[0], netfd_after(5 * SECOND)), 0);
    begin_readers(readers, 3, pair[0]);
    /* The parent's three may take as many. */
    EQ(netfd_write(pair[1], "123456", 6), 6);
    for (int i = 0; i < 3; i++)
        EQ(result_of(&readers[i]), 1);
}

static void takes_turns_beside_queued_readers(void) {
    int pair[2];
    struct caller readers[3];
    make_pair(pair);
    begin_readers(readers, 3, pair[0]);
    in_child(take_turns_in_child, pair);
    for (int i = 0; i < 3; i++)
        EQ(result_of(&readers[i]), 1);
    destroy_pair(pair);
}

struct listening {
    int fd;
    struct sockaddr_in at;
};

static void accept_own_connection(void *arg) {
    const struct listening *listening = arg;
    int mine = connect_to(&listening->at);
    int parents = connect_to(&listening->at);
    EQ(netfd_set_read_deadline(listening->fd, netfd_after(5 * SECOND)), 0);
    int got = netfd_accept(listening->fd, NULL, NULL);
    CHECK(got >= 0);
    EQ(netfd_destroy(got), 0);
    EQ(netfd_destroy(mine), 0);
    EQ(netfd_destroy(parents), 0);
}

static void accepts_beside_a_parked_accept(void) {
    struct listening listening;
    listening.fd = make_listener(&listening.at);
    struct caller acceptor = {.what = ACCEPTS, .fd = listening.fd};
    begin(&acceptor);
    await_parked(1);
    in_child(accept_own_connection, &listening);
    long got = result_of(&acceptor);
    CHECK(got >= 0);
    EQ(netfd_destroy((int)got), 0);
    EQ(netfd_destroy(listening.fd), 0);
}

#define BLOCK (4 << 20)

static size_t filled; /* what lay in the socket before the parked write */

static void write_own_byte(void *arg) {
    const int *pair = arg;
    static char sink[65536];
    /* What was there, and all of the parent's write, which goes on as room
     * comes up. */
    for (size_t left = filled + BLOCK; left > 0;) {
        size_t most = left < sizeof sink ? left : sizeof sink;
        ssize_t n = netfd_read(pair[1], sink, most);
        CHECK(n > 0);
        left -= (size_t)n;
    }
    EQ(netfd_set_write_deadline(pair[0], netfd_after(5 * SECOND)), 0);
    EQ(netfd_write(pair[0], "w", 1), 1);
    EQ(netfd_read(pair[1], sink, 1), 1);
    EQ(sink[0], 'w');
}

static void fill(int fd) {
    static const char block[65536];
    ssize_t n;
    while ((n = netfd_sendto(fd, block, sizeof block, MSG_DONTWAIT, NULL, 0)) > 0)
        filled += (size_t)n;
    EQ(n, -EAGAIN);
}

static void writes_beside_a_parked_write(void) {
    int pair[2];
    make_pair(pair);
    fill(pair[0]);
    struct caller writer = {.what = WRITES, .fd = pair[0], .len = BLOCK};
    begin(&writer);
    await_parked(1);
    in_child(write_own_byte, pair);
    EQ(result_of(&writer), BLOCK);
    destroy_pair(pair);
}

static void wait_in_child(void *arg) {
    const int *pair = arg;
    EQ(netfd_wait(pair[0], NETFD_READABLE, netfd_after(20 * MS)), NETFD_EDEADLINE);
    EQ(netfd_write(pair[1], "w", 1), 1);
    EQ(netfd_wait(pair[0], NETFD_READABLE, netfd_after(5 * SECOND)), NETFD_READABLE);
}

static void waits_beside_parked_waits(void) {
    int pair[2];
    struct caller waits[3];
    make_pair(pair);
    for (unsigned i = 0; i < 3; i++) {
        waits[i] = (struct caller){.what = WAITS, .fd = pair[0]};
        begin(&waits[i]);
        await_parked(i + 1);
    }
    in_child(wait_in_child, pair);
    for (int i = 0; i < 3; i++)
        EQ(result_of(&waits[i]), NETFD_READABLE);
    destroy_pair(pair);
}

/* --- destroy and detach --- */

struct everything {
    int read[2], queued[2], write[2], wait[2];
    struct listening listening;
    struct caller callers[8];
};

static void park_everything(struct everything *all) {
    make_pair(all->read);
    make_pair(all->queued);
    make_pair(all->write);
    make_pair(all->wait);
    all->listening.fd = make_listener(&all->listening.at);
    fill(all->write[0]);
    struct caller callers[8] = {
        {.what = READS, .fd = all->read[0]},
        {.what = READS, .fd = all->queued[0]},
        {.what = READS, .fd = all->queued[0]},
        {.what = READS, .fd = all->queued[0]},
        {.what = WRITES, .fd = all->write[0], .len = BLOCK},
        {.what = WAITS, .fd = all->wait[0]},
        {.what = WAITS, .fd = all->wait[0]},
        {.what = ACCEPTS, .fd = all->listening.fd},
    };
    memcpy(all->callers, callers, sizeof callers);
    for (unsigned i = 0; i < 8; i++) {
        begin(&all->callers[i]);
        await_parked(i + 1);
    }
}

/* Gives each parked caller what it waits for. */
static void release_everything(struct everything *all) {
    static char sink[65536];
    char byte = 'r';
    EQ(netfd_write(all->read[1], &byte, 1), 1);
    EQ(netfd_write(all->queued[1], "qqq", 3), 3);
    EQ(netfd_write(all->wait[1], &byte, 1), 1);
    for (size_t left = filled + BLOCK; left > 0;) {
        ssize_t n = netfd_read(all->write[1], sink, sizeof sink);
        CHECK(n > 0);
        left -= (size_t)n;
    }
    int client = connect_to(&all->listening.at);
    for (int i = 0; i < 4; i++)
        EQ(result_of(&all->callers[i]), 1);
    EQ(result_of(&all->callers[4]), BLOCK);
    for (int i = 5; i < 7; i++)
        EQ(result_of(&all->callers[i]), NETFD_READABLE);
    int server = (int)result_of(&all->callers[7]);
    CHECK(server >= 0);
    EQ(parked(), 0);
    int connection[2] = {client, server};
    echo_over(connection);
}

static void destroy_everything(void *arg) {
    const struct everything *all = arg;
    EQ(parked(), 0);
    int64_t begun = netfd_now();
    destroy_pair(all->read);
    destroy_pair(all->queued);
    destroy_pair(all->write);
    destroy_pair(all->wait);
    EQ(netfd_destroy(all->listening.fd), 0);
    CHECK(netfd_now() - begun < SECOND);
    EQ(netfd_destroy(all->read[0]), NETFD_ECLOSED);
    int fresh[2];
    make_pair(fresh);
    echo_over(fresh);
    destroy_pair(fresh);
}

static void destroys_what_others_are_parked_on(void) {
    struct everything all;
    park_everything(&all);
    in_child(destroy_everything, &all);
    check_parked(all.callers, 8);
    release_everything(&all);
}

static void detach_everything(void *arg) {
    const struct everything *all = arg;
    EQ(netfd_detach(all->read[0]), all->read[0]);
    EQ(netfd_detach(all->queued[0]), all->queued[0]);
    EQ(netfd_detach(all->listening.fd), all->listening.fd);
    EQ(netfd_read(all->read[0], NULL, 0), -EBADF);
    EQ(netfd_attach(all->read[0]), all->read[0]);
    EQ(netfd_destroy(all->read[0]), 0);
}

static void detaches_what_others_are_parked_on(void) {
    struct everything all;
    park_everything(&all);
    in_child(detach_everything, &all);
    check_parked(all.callers, 8);
    release_everything(&all);
}

static void destroy_all_of(void *arg) {
    const int(*pairs)[2] = arg;
    for (int i = 0; i < 20; i++)
        destroy_pair(pairs[i]);
}

static void leaves_the_parents_connections_alive(void) {
    int pairs[20][2];
    for (int i = 0; i < 20; i++)
        make_pair(pairs[i]);
    in_child(destroy_all_of, pairs);
    for (int i = 0; i < 20; i++) {
        echo_over(pairs[i]);
        destroy_pair(pairs[i]);
    }
}

/* --- tokens and deadlines --- */

struct with_token {
    int pair[2];
    struct netfd_cancel *token;
    int there[2], back[2]; /* pipes by which parent and child meet */
};

static void prepare_token(struct with_token *one) {
    make_pair(one->pair);
    one->token = netfd_cancel_new();
    CHECK(one->token != NULL);
    EQ(netfd_set_cancel(one->pair[0], one->token), 0);
    EQ(pipe(one->there), 0);
    EQ(pipe(one->back), 0);
}

/* Parks on the token, fires it, and is done with the descriptor. */
static void fire_in_child(void *arg) {
    const struct with_token *one = arg;
    struct caller reader;
    begin_readers(&reader, 1, one->pair[0]);
    check_asleep(reader.thread);
    netfd_cancel_fire(one->token);
    EQ(result_of(&reader), NETFD_ECANCELED);
    EQ(netfd_cancel_fired(one->token), 1);
    EQ(call(&reader), NETFD_ECANCELED);
    netfd_cancel_free(one->token);
    EQ(netfd_set_cancel(one->pair[0], NULL), 0);
    EQ(netfd_destroy(one->pair[0]), 0);
}

static void fires_an_inherited_token(void) {
    struct with_token one;
    prepare_token(&one);
    in_child(fire_in_child, &one);
    EQ(netfd_cancel_fired(one.token), 0);
    echo_over(one.pair);
}

static void fires_for_itself_alone(void) {
    struct with_token one;
    struct caller reader;
    prepare_token(&one);
    begin_readers(&reader, 1, one.pair[0]);
    in_child(fire_in_child, &one);
    EQ(netfd_cancel_fired(one.token), 0);
    check_parked(&reader, 1);
    feed_readers(&reader, 1, one.pair[1]);
}

/* Both are parked; the parent fires, and only the parent's caller ends. */
static void does_not_hear_the_parents_token(void) {
    struct with_token one;
    struct caller reader;
    prepare_token(&one);
    begin_readers(&reader, 1, one.pair[0]);
    pid_t pid = make_child();
    if (pid == 0) {
        begin_readers(&reader, 1, one.pair[0]);
        tell(one.there);
        hear(one.back);
        check_parked(&reader, 1);
        EQ(netfd_cancel_fired(one.token), 0);
        feed_readers(&reader, 1, one.pair[1]);
        _exit(0);
    }
    hear(one.there);
    netfd_cancel_fire(one.token);
    EQ(result_of(&reader), NETFD_ECANCELED);
    tell(one.back);
    int status = -1;
    EQ(waitpid(pid, &status, 0), pid);
    EQ(status, 0);
}

/* Each end of a connect has a token of the call's own, too. */
static void token_of_a_call(void *arg) {
    const struct with_token *one = arg;
    struct sockaddr_in at;
    int listener = make_listener(&at);
    int fd = netfd_sys_socket(AF_INET, SOCK_STREAM, 0);
    CHECK(fd >= 0);
    netfd_cancel_fire(one->token);
    EQ(netfd_connect(fd, NULL, 0, (struct sockaddr *)&at, sizeof at, 0, one->token),
       NETFD_ECANCELED);
    EQ(netfd_destroy(fd), 0);
    EQ(netfd_destroy(listener), 0);
}

static void cancels_a_call_by_an_inherited_token(void) {
    struct with_token one;
    prepare_token(&one);
    in_child(token_of_a_call, &one);
    EQ(netfd_cancel_fired(one.token), 0);
}

static void deadlines_of_its_own(void *arg) {
    const int *pair = arg;
    struct caller reader;
    begin_readers(&reader, 1, pair[0]);
    EQ(netfd_set_read_deadline(pair[0], netfd_after(-1)), 0);
    EQ(result_of(&reader), NETFD_EDEADLINE);
    EQ(netfd_set_read_deadline(pair[0], netfd_after(20 * MS)), 0);
    EQ(call(&reader), NETFD_EDEADLINE);
}

static void deadline_of_the_parents(void *arg) {
    const int *pair = arg;
    struct caller reader = {.what = READS, .fd = pair[0]};
    EQ(call(&reader), NETFD_EDEADLINE);
    EQ(netfd_set_read_deadline(pair[0], NETFD_NO_DEADLINE), 0);
    deadlines_of_its_own(arg);
}

static void obeys_deadlines(void) {
    int pair[2];
    struct caller reader;
    make_pair(pair);
    EQ(netfd_set_read_deadline(pair[0], netfd_after(200 * MS)), 0);
    in_child(deadline_of_the_parents, pair);
    EQ(netfd_set_read_deadline(pair[0], NETFD_NO_DEADLINE), 0);
    begin_readers(&reader, 1, pair[0]);
    in_child(deadlines_of_its_own, pair);
    check_parked(&reader, 1);
    feed_readers(&reader, 1, pair[1]);
}

/* --- counts, and the thread that forks --- */

static void count_parked(void *arg) {
    const int *pair = arg;
    struct caller reader;
    EQ(parked(), 0);
    begin_readers(&reader, 1, pair[1]);
    EQ(netfd_set_read_deadline(pair[1], netfd_after(-1)), 0);
    EQ(result_of(&reader), NETFD_EDEADLINE);
    EQ(parked(), 0);
}

static void counts_parked_callers_anew(void) {
    int pair[2];
    struct caller readers[3];
    make_pair(pair);
    begin_readers(readers, 3, pair[0]);
    in_child(count_parked, pair);
    EQ(parked(), 3);
    feed_readers(readers, 3, pair[1]);
}

static void *end_its_read(void *arg) {
    const int *pair = arg;
    await_parked(1);
    EQ(netfd_set_read_deadline(pair[0], netfd_after(-1)), 0);
    return NULL;
}

/* The calling thread parks and is woken by another. */
static void park_and_be_woken(int pair[2]) {
    struct caller reader = {.what = READS, .fd = pair[0]};
    EQ(netfd_set_read_deadline(pair[0], NETFD_NO_DEADLINE), 0);
    pthread_t other = start(end_its_read, pair);
    EQ(call(&reader), NETFD_EDEADLINE);
    joined(other);
}

/* The thread that forks has parked, so it has an eventfd, which the child
 * inherits. Fifty wake-ups in each of the two processes at once reach
 * nobody in the other. */
static void parks_in_the_thread_that_forked(void) {
    int pair[2];
    make_pair(pair);
    park_and_be_woken(pair);
    pid_t pid = make_child();
    for (int i = 0; i < 50; i++)
        park_and_be_woken(pair);
    if (pid == 0)
        _exit(0);
    struct caller reader = {.what = READS, .fd = pair[0]};
    int status = -1;
    EQ(waitpid(pid, &status, 0), pid);
    EQ(status, 0);
    EQ(netfd_set_read_deadline(pair[0], netfd_after(100 * MS)), 0);
    int64_t before = cpu_of(pthread_self());
    EQ(call(&reader), NETFD_EDEADLINE);
    CHECK(cpu_of(pthread_self()) - before < 20 * MS);
    destroy_pair(pair);
}

static void be_a_grandchild(void *arg) {
    const int *pair = arg;
    EQ(parked(), 0);
    read_beside(pair, 2);
    EQ(netfd_destroy(pair[0]), 0);
}

static void be_a_child_with_children(void *arg) {
    const int *pair = arg;
    struct caller readers[2];
    EQ(netfd_set_read_deadline(pair[0], netfd_after(5 * SECOND)), 0);
    begin_readers(readers, 2, pair[0]);
    in_child(be_a_grandchild, arg);
    for (int i = 0; i < 2; i++)
        EQ(result_of(&readers[i]), 1);
}

static void has_children_of_its_own(void) {
    int pair[2];
    make_pair(pair);
    in_child(be_a_child_with_children, pair);
    in_child(be_a_child_with_children, pair);
}

/* Sixteen generations, each with a reader parked while the next one lives. */
static void generation(void *arg) {
    static int depth;
    const int *pair = arg;
    struct caller reader;
    if (++depth > 16)
        return;
    begin_readers(&reader, 1, pair[0]);
    in_child(generation, arg);
    EQ(netfd_set_read_deadline(pair[0], netfd_after(-1)), 0);
    EQ(result_of(&reader), NETFD_EDEADLINE);
    destroy_pair(pair);
    int fresh[2];
    make_pair(fresh);
    echo_over(fresh);
    destroy_pair(fresh);
}

static void goes_on_for_generations(void) {
    int pair[2];
    make_pair(pair);
    generation(pair);
}

/* --- exec --- */

static void list_descriptors(void) { EQ(open_fds(), 3); }

static void holds_no_descriptor_after_exec(void) {
    struct everything all;
    struct with_token one;
    struct caller reader;
    for (int fd = 3; fd < 1024; fd++)
        close(fd); /* what we have from whoever started us */
    park_everything(&all);
    make_pair(one.pair);
    one.token = netfd_cancel_new();
    EQ(netfd_set_cancel(one.pair[0], one.token), 0);
    reader = (struct caller){.what = READS, .fd = one.pair[0]};
    begin(&reader);
    await_parked(9);
    pid_t pid = make_child();
    int status = -1;
    if (pid == 0) {
        netfd_cancel_fire(one.token);
        EQ(call(&reader), NETFD_ECANCELED); /* parks nowhere, but looks */
        reader.fd = all.read[0];
        EQ(netfd_set_read_deadline(reader.fd, netfd_after(10 * MS)), 0);
        EQ(call(&reader), NETFD_EDEADLINE);
        execl("/proc/self/exe", "fork", "list_descriptors", (char *)NULL);
        _exit(3);
    }
    EQ(waitpid(pid, &status, 0), pid);
    EQ(status, 0);
}

/* --- in a storm --- */

static volatile int stop;

static void *storm_pairs(void *arg) {
    while (!stop) {
        int pair[2];
        make_pair(pair);
        echo_over(pair);
        destroy_pair(pair);
    }
    return arg;
}

static void *storm_connections(void *arg) {
    struct sockaddr_in at;
    int listener = make_listener(&at);
    while (!stop) {
        int pair[2];
        pair[0] = connect_to(&at);
        pair[1] = netfd_accept(listener, NULL, NULL);
        CHECK(pair[1] >= 0);
        echo_over(pair);
        destroy_pair(pair);
    }
    EQ(netfd_destroy(listener), 0);
    return arg;
}

static void *storm_queue(void *arg) {
    const int *pair = arg;
    struct caller reader = {.what = READS, .fd = pair[0]};
    while (!stop) {
        EQ(netfd_set_read_deadline(pair[0], netfd_after(MS / 10)), 0);
        EQ(call(&reader), NETFD_EDEADLINE);
        EQ(netfd_wait(pair[0], NETFD_READABLE, netfd_after(MS / 10)),
           NETFD_EDEADLINE);
    }
    return NULL;
}

static void *storm_tokens(void *arg) {
    int pair[2];
    make_pair(pair);
    struct caller reader = {.what = READS, .fd = pair[0]};
    while (!stop) {
        struct netfd_cancel *token = netfd_cancel_new();
        CHECK(token != NULL);
        EQ(netfd_set_cancel(pair[0], token), 0);
        begin(&reader);
        netfd_cancel_fire(token);
        EQ(result_of(&reader), NETFD_ECANCELED);
        netfd_cancel_free(token);
    }
    destroy_pair(pair);
    return arg;
}

static void *storm_looks(void *arg) {
    int out = *(int *)arg;
    while (!stop) {
        parked();
        EQ(netfd_dump(out), 0);
    }
    return NULL;
}

/* What the parent's other threads had at that moment is destroyed as far as it
 * is there: the kernel copies the descriptors first and the memory then, so a
 * socket that was made in between is in the table and nowhere else. */
static void destroy_all_numbers(void) {
    for (int fd = 0; fd < 128; fd++) {
        int code = netfd_destroy(fd);
        CHECK(code == 0 || code == NETFD_ECLOSED || code == -EBADF);
        CHECK(netfd_read(fd, NULL, 0) < 0);
    }
}

static int keep[2], quiet[2], busy[2];

static void work_in_a_storm(void *arg) {
    int pair[2];
    (void)arg;
    echo_over(keep);
    make_pair(pair);
    echo_over(pair);
    EQ(netfd_set_read_deadline(pair[0], netfd_after(MS)), 0);
    struct caller reader = {.what = READS, .fd = pair[0]};
    EQ(call(&reader), NETFD_EDEADLINE);
    destroy_pair(pair);
    destroy_pair(keep);
    destroy_pair(quiet);
    destroy_pair(busy);
    destroy_all_numbers();
}

static void works_in_a_storm(void) {
    int null = fileno(fopen("/dev/null", "w"));
    struct caller reader;
    make_pair(keep);
    make_pair(quiet);
    make_pair(busy);
    begin_readers(&reader, 1, quiet[0]);
    pthread_t threads[] = {
        start(storm_pairs, NULL),    start(storm_connections, NULL),
        start(storm_queue, busy),    start(storm_queue, busy),
        start(storm_tokens, NULL),   start(storm_looks, &null),
    };
    for (int i = 0; i < 200; i++)
        in_child(work_in_a_storm, NULL);
    stop = 1;
    for (size_t i = 0; i < sizeof threads / sizeof *threads; i++)
        joined(threads[i]);
    echo_over(keep);
    feed_readers(&reader, 1, quiet[1]);
}

int main(int argc, char **argv) {
    static const struct scenario all[] = {
        {"reads_beside_a_parked_reader", reads_beside_a_parked_reader},
        {"takes_turns_beside_queued_readers", takes_turns_beside_queued_readers},
        {"accepts_beside_a_parked_accept", accepts_beside_a_parked_accept},
        {"writes_beside_a_parked_write", writes_beside_a_parked_write},
        {"waits_beside_parked_waits", waits_beside_parked_waits},
        {"destroys_what_others_are_parked_on", destroys_what_others_are_parked_on},
        {"detaches_what_others_are_parked_on", detaches_what_others_are_parked_on},
        {"leaves_the_parents_connections_alive", leaves_the_parents_connections_alive},
        {"fires_an_inherited_token", fires_an_inherited_token},
        {"fires_for_itself_alone", fires_for_itself_alone},
        {"does_not_hear_the_parents_token", does_not_hear_the_parents_token},
        {"cancels_a_call_by_an_inherited_token", cancels_a_call_by_an_inherited_token},
        {"obeys_deadlines", obeys_deadlines},
        {"counts_parked_callers_anew", counts_parked_callers_anew},
        {"parks_in_the_thread_that_forked", parks_in_the_thread_that_forked},
        {"has_children_of_its_own", has_children_of_its_own},
        {"goes_on_for_generations", goes_on_for_generations},
        {"holds_no_descriptor_after_exec", holds_no_descriptor_after_exec},
        {"list_descriptors", list_descriptors},
        {"works_in_a_storm", works_in_a_storm},
    };
    if (argc > 2)
        way = argv[2];
    alarm(9);
    return run_scenario(all, sizeof all / sizeof *all, argv[1]);
}
