/* Fibers as only a program of its own can show them: its memory, its threads,
 * its processes, its end. */
#include "check.h"

#include <dirent.h>
#include <malloc.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/socket.h>

static struct netfd_group *group;

static void go(void (*body)(void *), void *arg) {
    EQ(netfd_group_add(group, 1), 0);
    EQ(netfd_go(body, arg), 0);
}

/* The last thing that a fiber does. */
static void done(void) { EQ(netfd_group_done(group), 0); }

static void await_all(void) {
    EQ(netfd_group_wait(group, netfd_after(60 * SECOND), NULL), 0);
}

static int entries_of(const char *folder) {
    int n = 0;
    DIR *all = opendir(folder);
    CHECK(all != NULL);
    while (readdir(all) != NULL)
        n++;
    closedir(all);
    return n - 2;
}

static int threads(void) { return entries_of("/proc/self/task"); }

/* A line of /proc/self/status, in KiB. */
static long status_of(const char *name) {
    char line[256];
    long value = -1;
    FILE *status = fopen("/proc/self/status", "r");
    CHECK(status != NULL);
    while (fgets(line, sizeof line, status) != NULL)
        if (strncmp(line, name, strlen(name)) == 0)
            value = atol(line + strlen(name) + 1);
    fclose(status);
    return value;
}

static void nothing(void *arg) {
    (void)arg;
    done();
}

/* No thread before the first fiber, then as many as it takes. */
static void starts_workers(void) {
    struct netfd_group *unused = netfd_group_new();
    EQ(netfd_in_fiber(), 0);
    EQ(netfd_sleep(1), 0);
    netfd_yield();
    netfd_group_free(unused);
    EQ(threads(), 1);
    for (int n = 0; n < 10; n++)
        go(nothing, NULL);
    await_all();
    printf("%d", threads() - 1);
}

/* Recursion to its limit: a frame of less than the guard's size at a time. */
static volatile size_t *depth;

static __attribute__((noinline)) size_t deeper(size_t frame) {
    volatile char room[4096];
    room[0] = room[sizeof room - 1] = 1;
    *depth += sizeof room;
    if (frame == 0)
        return 0;
    return deeper(frame) + room[0];
}

static void recurses(void *arg) {
    (void)arg;
    deeper(1);
}

static void dies_in_the_guard(void) {
    int access = PROT_READ | PROT_WRITE;
    depth = mmap(NULL, 4096, access, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(depth != MAP_FAILED);
    pid_t child = fork();
    if (child == 0) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        alarm(8);
        EQ(netfd_go(recurses, NULL), 0);
        for (;;)
            pause();
    }
    int status = 0;
    EQ(waitpid(child, &status, 0), child);
    CHECK(WIFSIGNALED(status));
    EQ(WTERMSIG(status), SIGSEGV);
    CHECK(*depth >= 200 << 10);
    CHECK(*depth <= 256 << 10);
}

static __attribute__((noinline)) size_t takes(size_t bytes) {
    volatile char room[4096];
    room[0] = room[sizeof room - 1] = 1;
    size_t more = bytes <= sizeof room ? 0 : takes(bytes - sizeof room);
    return more + room[0];
}

static struct netfd_group *gate;
static int arrived;

static void uses_its_stack(void *arg) {
    CHECK(takes((size_t)arg) > 0);
    __atomic_add_fetch(&arrived, 1, __ATOMIC_RELEASE);
    EQ(netfd_group_wait(gate, NETFD_NO_DEADLINE, NULL), 0);
    done();
}

/* Waits until `n` fibers are about to park. */
static void await_arrived(int n) {
    int64_t until = netfd_after(8 * SECOND);
    while (__atomic_load_n(&arrived, __ATOMIC_ACQUIRE) != n && netfd_now() < until)
        look_again();
    EQ(__atomic_load_n(&arrived, __ATOMIC_ACQUIRE), n);
}

/* 200 KiB are a fiber's to use. */
static void has_room_on_its_stack(void) {
    gate = netfd_group_new();
    for (int n = 0; n < 10; n++)
        go(uses_its_stack, (void *)(size_t)(200 << 10));
    await_all();
}

/* Starts fibers that touch `touched` bytes of their stacks each, has all of
 * them there at once, and lets them end. */
static void come_and_go(int fibers, size_t touched) {
    arrived = 0;
    EQ(netfd_group_add(gate, 1), 0);
    for (int n = 0; n < fibers; n++)
        go(uses_its_stack, (void *)touched);
    await_arrived(fibers);
    EQ(netfd_group_done(gate), 0);
    await_all();
}

/* So it is however often more and fewer fibers take turns: 256 stacks stay
 * warm, and not others each time. */
static void gives_memory_back_each_time(void) {
    enum { MOST = 4000, TIMES = 30, KIB = 40 };
    gate = netfd_group_new();
    long before = status_of("VmRSS:");
    come_and_go(MOST, KIB << 10);
    for (int n = 0; n < TIMES; n++) {
        come_and_go(512, KIB << 10);
        come_and_go(256, KIB << 10);
    }
    long after = 0;
    for (int64_t until = netfd_after(5 * SECOND); netfd_now() < until;) {
        after = status_of("VmRSS:") - before;
        if (after < 600L * KIB)
            break;
        look_again();
    }
    printf("%ld KiB after %d times\n", after, TIMES);
    CHECK(after < 600L * KIB);
}

/* What ended fibers have touched goes back, but for some that are kept warm. */
static void gives_memory_back(void) {
    enum { FIBERS = 5000 };
    gate = netfd_group_new();
    EQ(netfd_group_add(gate, 1), 0);
    long before = status_of("VmRSS:");
    for (int n = 0; n < FIBERS; n++)
        go(uses_its_stack, (void *)(size_t)(40 << 10));
    await_arrived(FIBERS);
    long most = status_of("VmRSS:") - before;
    EQ(netfd_group_done(gate), 0);
    await_all();
    for (int64_t until = netfd_after(5 * SECOND); netfd_now() < until;) {
        if (status_of("VmRSS:") - before < most / 4)
            break;
        look_again();
    }
    long after = status_of("VmRSS:") - before;
    printf("%ld KiB at most, %ld afterwards\n", most, after);
    CHECK(most > FIBERS * 20L);
    CHECK(after < most / 4);
}

static int shared_pairs[1000][2];

static void reads_one(void *arg) {
    char byte;
    __atomic_add_fetch(&arrived, 1, __ATOMIC_RELEASE);
    EQ(netfd_read((int)(long)arg, &byte, 1), 1);
    done();
}

/* A hundred thousand fibers, parked, and woken one by one. */
static void parks_a_hundred_thousand(void) {
    enum { FIBERS = 100000 };
    for (int n = 0; n < 1000; n++)
        make_pair(shared_pairs[n]);
    long before = status_of("VmRSS:");
    for (int n = 0; n < FIBERS; n++)
        go(reads_one, (void *)(long)shared_pairs[n % 1000][0]);
    await_arrived(FIBERS);
    await_parked(FIBERS);
    printf("%.1f KiB for each\n", (double)(status_of("VmRSS:") - before) / FIBERS);
    for (int n = 0; n < FIBERS; n++)
        EQ(netfd_write(shared_pairs[n % 1000][1], "x", 1), 1);
    await_all();
}

/* Waits for a child that is to end with 0. */
static void reap(pid_t child) {
    int status = 0;
    CHECK(child > 0);
    EQ(waitpid(child, &status, 0), child);
    EQ(status, 0);
}

static void echoes(void *arg) {
    const int *pair = arg;
    for (int n = 0; n < 20; n++) {
        echo_over(pair);
        EQ(netfd_sleep(MS / 10), 0);
    }
    done();
}

/* The child has no workers, makes its own, and uses what it inherited; the
 * parent's fibers notice nothing. */
static void forks_with_workers(void) {
    int pair[2], other[2];
    make_pair(pair);
    make_pair(other);
    go(reads_one, (void *)(long)pair[0]);
    await_parked(1);
    for (int round = 0; round < 5; round++) {
        pid_t child = fork();
        if (child == 0) {
            alarm(8);
            EQ(threads(), 1);
            netfd_group_free(group);
            group = netfd_group_new();
            go(echoes, other);
            await_all();
            CHECK(threads() > 1);
            _exit(0);
        }
        reap(child);
        await_parked(1);
    }
    EQ(netfd_write(pair[1], "x", 1), 1);
    await_all();
}

static int inside[2];

static void forks(void *arg) {
    (void)arg;
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        alarm(8);
        EQ(netfd_in_fiber(), 0);
        EQ(threads(), 1);
        echo_over(inside); /* a thread like any other */
        EQ(netfd_sleep(MS), 0);
        netfd_yield();
        struct netfd_group *own = netfd_group_new();
        netfd_group_free(group);
        group = own;
        int fresh[2];
        make_pair(fresh);
        go(echoes, fresh);
        await_all();
        return; /* and ends with _exit(0) */
    }
    EQ(netfd_in_fiber(), 1);
    EQ(netfd_sleep(MS), 0);
    reap(child);
    done();
}

static void forks_in_a_fiber(void) {
    make_pair(inside);
    for (int n = 0; n < 5; n++) {
        go(forks, NULL);
        await_all();
    }
}

static const struct scenario all[] = {
    {"starts_workers", starts_workers},
    {"dies_in_the_guard", dies_in_the_guard},
    {"has_room_on_its_stack", has_room_on_its_stack},
    {"gives_memory_back", gives_memory_back},
    {"gives_memory_back_each_time", gives_memory_back_each_time},
    {"parks_a_hundred_thousand", parks_a_hundred_thousand},
    {"forks_with_workers", forks_with_workers},
    {"forks_in_a_fiber", forks_in_a_fiber},
};

int main(int argc, char **argv) {
    group = netfd_group_new();
    CHECK(group != NULL);
    return run_scenario(all, sizeof all / sizeof *all, argc > 1 ? argv[1] : NULL);
}
