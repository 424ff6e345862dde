/* A guest in somebody else's process: threads that are cancelled or end, calls
 * before main and after it, and what the process finds unchanged.
 * Usage: process SCENARIO */
#include "check.h"

#include <dirent.h>
#include <sys/stat.h>
#include <sys/syscall.h>

extern char **environ;

/* --- pthread_cancel --- */

struct victim {
    struct caller caller;
    int async;
    volatile int returned;
};

static void *call_and_be_cancelled(void *arg) {
    struct victim *victim = arg;
    if (victim->async)
        pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
    victim->caller.result = call(&victim->caller);
    victim->returned = 1;
    pthread_testcancel();
    return NULL;
}

/* Cancels a thread that is parked, sees that it stays so until its deadline,
 * and that it ends then. */
static void cancel_until_deadline(struct victim *victim) {
    int fd = victim->caller.fd;
    pthread_t thread = start(call_and_be_cancelled, victim);
    await_parked(1);
    EQ(pthread_cancel(thread), 0);
    int64_t deadline = netfd_after(100 * MS);
    EQ(netfd_set_deadline(fd, deadline), 0);
    void *result = joined(thread);
    CHECK(netfd_now() >= deadline);
    EQ(victim->returned, !victim->async);
    /* Of one that ends as pthread_setcancelstate(3) returns, glibc before 2.38
     * does not tell that it was cancelled. */
    CHECK(result == PTHREAD_CANCELED || (victim->async && result == NULL));
    EQ(parked(), 0);
    EQ(netfd_set_deadline(fd, NETFD_NO_DEADLINE), 0);
}

static void cancel_a_reader(int async) {
    int pair[2];
    make_pair(pair);
    struct victim victim = {.caller = {.what = READS, .fd = pair[0]}, .async = async};
    cancel_until_deadline(&victim);
    echo_over(pair); /* its turn was not lost */
    int64_t begun = netfd_now();
    destroy_pair(pair); /* nor its reference */
    CHECK(netfd_now() - begun < SECOND);
}

static void cancelled_reader(void) { cancel_a_reader(0); }

static void cancel_an_acceptor(int async) {
    struct sockaddr_in at;
    int listener = make_listener(&at);
    struct victim victim = {.caller = {.what = ACCEPTS, .fd = listener},
                            .async = async};
    cancel_until_deadline(&victim);
    int pair[2];
    pair[0] = connect_to(&at);
    pair[1] = netfd_accept(listener, NULL, NULL);
    echo_over(pair);
    destroy_pair(pair);
    EQ(netfd_destroy(listener), 0);
}

static void cancelled_acceptor(void) { cancel_an_acceptor(0); }

static void cancel_a_writer(int async) {
    int pair[2];
    make_pair(pair);
    struct victim victim = {
        .caller = {.what = WRITES, .fd = pair[0], .len = 4 << 20}, .async = async};
    cancel_until_deadline(&victim);
    char byte;
    EQ(netfd_read(pair[1], &byte, 1), 1);
    EQ(netfd_sendto(pair[0], "", 0, 0, NULL, 0), 0);
    destroy_pair(pair);
}

static void cancelled_writer(void) { cancel_a_writer(0); }

/* Asynchronous cancellation may strike anywhere, but not within the call. */
static void cancelled_asynchronously(void) {
    cancel_a_reader(1);
    cancel_an_acceptor(1);
    cancel_a_writer(1);
}

static void cancelled_by_data(void) {
    int pair[2];
    make_pair(pair);
    struct victim victim = {.caller = {.what = READS, .fd = pair[0]}};
    pthread_t thread = start(call_and_be_cancelled, &victim);
    await_parked(1);
    EQ(pthread_cancel(thread), 0);
    check_asleep(thread);
    EQ(netfd_write(pair[1], "d", 1), 1);
    CHECK(joined(thread) == PTHREAD_CANCELED);
    EQ(victim.returned, 1);
    EQ(victim.caller.result, 1);
    echo_over(pair);
    destroy_pair(pair);
}

static void cancelled_in_the_queue(void) {
    int pair[2];
    make_pair(pair);
    struct caller first = {.what = READS, .fd = pair[0]};
    struct caller last = first;
    struct victim victim = {.caller = first};
    begin(&first);
    await_parked(1);
    pthread_t thread = start(call_and_be_cancelled, &victim);
    await_parked(2);
    begin(&last);
    await_parked(3);
    EQ(pthread_cancel(thread), 0);
    EQ(netfd_write(pair[1], "123", 3), 3);
    CHECK(joined(thread) == PTHREAD_CANCELED);
    EQ(victim.caller.result, 1);
    EQ(result_of(&first), 1);
    EQ(result_of(&last), 1);
    destroy_pair(pair);
}

/* A thread that is cancelled while it destroys has destroyed. */
static void *destroy_when_cancelled(void *arg) {
    pthread_cancel(pthread_self());
    EQ(netfd_destroy(*(int *)arg), 0);
    pthread_testcancel();
    return NULL;
}

static void cancelled_destroyer(void) {
    int pair[2];
    make_pair(pair);
    CHECK(joined(start(destroy_when_cancelled, &pair[0])) == PTHREAD_CANCELED);
    EQ(netfd_destroy(pair[0]), NETFD_ECLOSED);
    char byte;
    EQ(netfd_read(pair[1], &byte, 1), 0);
}

static void *check_cancel_state(void *arg) {
    int state;
    echo_over(arg);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    EQ(state, PTHREAD_CANCEL_ENABLE);
    echo_over(arg);
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &state);
    EQ(state, PTHREAD_CANCEL_DISABLE);
    return NULL;
}

static void cancel_state_is_put_back(void) {
    int pair[2];
    make_pair(pair);
    joined(start(check_cancel_state, pair));
}

/* --- threads that end --- */

/* Parks, is woken by the deadline, and leaves nothing behind. */
static void park_once(void) {
    int pair[2];
    char byte;
    make_pair(pair);
    EQ(netfd_set_read_deadline(pair[0], netfd_after(MS / 10)), 0);
    EQ(netfd_read(pair[0], &byte, 1), NETFD_EDEADLINE);
    destroy_pair(pair);
}

static void *park_in_thread(void *arg) {
    park_once();
    return arg;
}

static void many_threads(void) {
    park_once();
    int before = open_fds();
    for (int i = 0; i < 2000; i++)
        joined(start(park_in_thread, NULL));
    EQ(open_fds(), before);
}

static pthread_key_t key;
static int rounds;

static void park_in_destructor(void *arg) {
    int *left = arg;
    park_once();
    if (--*left > 0)
        pthread_setspecific(key, left); /* once more, please */
}

struct late {
    int parks_before, left;
};

static void *end_with_destructor(void *arg) {
    struct late *late = arg;
    late->left = rounds;
    if (late->parks_before)
        park_once();
    EQ(pthread_setspecific(key, &late->left), 0);
    return NULL;
}

static void end_threads_with_destructors(int parks_before) {
    struct late late = {parks_before, 0};
    EQ(pthread_key_create(&key, park_in_destructor), 0);
    park_once();
    int before = open_fds();
    for (rounds = 1; rounds <= 3; rounds++) {
        for (int i = 0; i < 100; i++) {
            joined(start(end_with_destructor, &late));
            EQ(late.left, 0);
        }
    }
    EQ(open_fds(), before);
}

static void destructors_of_threads_that_parked(void) {
    end_threads_with_destructors(1);
}

static void destructors_of_threads_that_never_parked(void) {
    end_threads_with_destructors(0);
}

/* C++'s thread_local destructors are these. */
extern int __cxa_thread_atexit_impl(void (*)(void *), void *, void *);
extern void *__dso_handle;

static int thread_local_destroyed;

static void destroy_thread_local(void *arg) {
    (void)arg;
    park_once();
    thread_local_destroyed++;
}

static void *end_with_thread_local(void *arg) {
    EQ(__cxa_thread_atexit_impl(destroy_thread_local, NULL, &__dso_handle), 0);
    if (arg != NULL)
        park_once();
    EQ(__cxa_thread_atexit_impl(destroy_thread_local, NULL, &__dso_handle), 0);
    return NULL;
}

static void destructors_of_thread_locals(void) {
    park_once();
    int before = open_fds();
    for (int i = 0; i < 200; i++)
        joined(start(end_with_thread_local, i % 2 ? &before : NULL));
    EQ(thread_local_destroyed, 400);
    EQ(open_fds(), before);
}

static void *end_by_exit(void *arg) {
    park_once();
    pthread_exit(arg);
}

static void threads_that_call_pthread_exit(void) {
    int before = open_fds();
    for (int i = 0; i < 200; i++)
        joined(start(end_by_exit, NULL));
    EQ(open_fds(), before);
}

/* --- the end of the process --- */

static int at_exit_pipe[2];

static void exit_with_threads_parked(int how) {
    int pair[2];
    struct sockaddr_in at;
    make_pair(pair);
    struct caller callers[] = {
        {.what = READS, .fd = pair[0]},
        {.what = READS, .fd = pair[0]},
        {.what = WAITS, .fd = pair[1]},
        {.what = ACCEPTS, .fd = make_listener(&at)},
    };
    for (unsigned i = 0; i < 4; i++) {
        begin(&callers[i]);
        await_parked(i + 1);
    }
    struct caller own = {.what = READS, .fd = pair[1]};
    EQ(netfd_set_read_deadline(pair[1], netfd_after(MS)), 0);
    call(&own);
    tell(at_exit_pipe);
    if (how == 0)
        exit(0);
    exit(netfd_destroy(pair[0])); /* those parked in it are on their way */
}

/* The time is the best of five: others use this machine as well. */
static void exits_in_time(int how) {
    int64_t best = INT64_MAX;
    EQ(pipe(at_exit_pipe), 0);
    for (int i = 0; i < 5; i++) {
        int status = -1;
        pid_t pid = fork();
        if (pid == 0)
            exit_with_threads_parked(how);
        hear(at_exit_pipe);
        int64_t begun = netfd_now();
        EQ(waitpid(pid, &status, 0), pid);
        EQ(status, 0);
        int64_t took = netfd_now() - begun;
        best = took < best ? took : best;
    }
    CHECK(best < 100 * MS);
}

static void exits_with_threads_parked(void) { exits_in_time(0); }
static void exits_just_after_a_destroy(void) { exits_in_time(1); }

static int main_is_over, expects_late_calls, early_calls;

static void work(void) {
    int pair[2];
    make_pair(pair);
    echo_over(pair);
    destroy_pair(pair);
    park_once();
}

static void work_in_atexit(void) {
    work();
    main_is_over = 1;
}

__attribute__((constructor)) static void work_before_main(void) {
    work();
    early_calls = 1;
}

__attribute__((destructor)) static void work_after_main(void) {
    if (!expects_late_calls)
        return;
    work();
    joined(start(park_in_thread, NULL));
    if (!main_is_over)
        _exit(4);
    _exit(0); /* else 5: see below */
}

static void works_in_constructors(void) {
    EQ(early_calls, 1);
    work();
}

static void works_at_exit_and_after_main(void) {
    expects_late_calls = 1;
    EQ(atexit(work_in_atexit), 0);
    work();
    exit(5);
}

/* --- what the process finds unchanged --- */

static int count_tasks(void) {
    int n = 0;
    DIR *tasks = opendir("/proc/self/task");
    CHECK(tasks != NULL);
    for (struct dirent *one; (one = readdir(tasks)) != NULL;)
        n += one->d_name[0] != '.';
    closedir(tasks);
    return n;
}

/* All that this issue has, once, with failures among it. */
static void use_everything(void) {
    struct sockaddr_in at;
    char byte;
    int pair[2];
    struct netfd_cancel *token = netfd_cancel_new();
    struct netfd_error error = {.size = sizeof error};
    int listener = make_listener(&at);
    pair[0] = connect_to(&at);
    pair[1] = netfd_accept(listener, NULL, NULL);
    echo_over(pair);
    EQ(netfd_set_deadline(pair[0], netfd_after(5 * MS)), 0);
    EQ(netfd_read(pair[0], &byte, 1), NETFD_EDEADLINE);
    EQ(netfd_wait(pair[0], NETFD_READABLE, netfd_after(MS)), NETFD_EDEADLINE);
    EQ(netfd_set_cancel(pair[0], token), 0);
    netfd_cancel_fire(token);
    EQ(netfd_read(pair[0], &byte, 1), NETFD_ECANCELED);
    netfd_cancel_free(token);
    EQ(netfd_read(-1, &byte, 1), -EBADF);
    EQ(netfd_read(pair[1], NULL, 1), -EFAULT);
    EQ(netfd_last_error(&error), -EFAULT);
    int null = fileno(fopen("/dev/null", "w"));
    EQ(netfd_dump(null), 0);
    destroy_pair(pair);
    EQ(netfd_destroy(listener), 0);
    EQ(netfd_destroy(listener), NETFD_ECLOSED);
    CHECK(connect_to != NULL && netfd_version() != NULL);
    EQ(netfd_set_interruptible(2), -EINVAL);
    park_once();
}

static void starts_no_thread(void) {
    int before = count_tasks();
    use_everything();
    EQ(count_tasks(), before);
}

static void prints_nothing(void) { use_everything(); }

static void changes_nothing_of_the_process(void) {
    char before[4096], after[4096];
    char **names = environ;
    size_t count = 0;
    CHECK(getcwd(before, sizeof before) != NULL);
    umask(031);
    while (environ[count] != NULL)
        count++;
    use_everything();
    CHECK(environ == names);
    CHECK(environ[count] == NULL);
    CHECK(getcwd(after, sizeof after) != NULL);
    EQ(strcmp(before, after), 0);
    EQ(umask(0), 031);
    errno = 4711;
    netfd_cancel_fire(NULL);
    EQ(errno, 4711);
}

/* errno is left alone by what a signal handler may call. */
static void fire_keeps_errno(void) {
    int pair[2];
    make_pair(pair);
    struct netfd_cancel *token = netfd_cancel_new();
    struct caller reader = {.what = READS, .fd = pair[0]};
    EQ(netfd_set_cancel(pair[0], token), 0);
    begin(&reader);
    await_parked(1);
    errno = 4711;
    netfd_cancel_fire(token);
    EQ(errno, 4711);
    EQ(result_of(&reader), NETFD_ECANCELED);
}

int main(int argc, char **argv) {
    static const struct scenario all[] = {
        {"cancelled_reader", cancelled_reader},
        {"cancelled_writer", cancelled_writer},
        {"cancelled_asynchronously", cancelled_asynchronously},
        {"cancelled_by_data", cancelled_by_data},
        {"cancelled_acceptor", cancelled_acceptor},
        {"cancelled_in_the_queue", cancelled_in_the_queue},
        {"cancelled_destroyer", cancelled_destroyer},
        {"cancel_state_is_put_back", cancel_state_is_put_back},
        {"many_threads", many_threads},
        {"destructors_of_threads_that_parked", destructors_of_threads_that_parked},
        {"destructors_of_threads_that_never_parked",
         destructors_of_threads_that_never_parked},
        {"destructors_of_thread_locals", destructors_of_thread_locals},
        {"threads_that_call_pthread_exit", threads_that_call_pthread_exit},
        {"exits_with_threads_parked", exits_with_threads_parked},
        {"exits_just_after_a_destroy", exits_just_after_a_destroy},
        {"works_in_constructors", works_in_constructors},
        {"works_at_exit_and_after_main", works_at_exit_and_after_main},
        {"starts_no_thread", starts_no_thread},
        {"prints_nothing", prints_nothing},
        {"changes_nothing_of_the_process", changes_nothing_of_the_process},
        {"fire_keeps_errno", fire_keeps_errno},
    };
    return run_scenario(all, sizeof all / sizeof *all, argc > 1 ? argv[1] : NULL);
}
