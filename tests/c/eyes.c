/*
 * Fibers before the eyes of a sanitizer: compiled with -fsanitize=address or
 * =thread, linked with the library as everybody has it.
 */
#include "check.h"

#include <setjmp.h>
#include <sys/socket.h>

enum { FIBERS = 16, ROUNDS = 50, DEEP = 20 };

static struct netfd_group *group;

/* Fills buffers on the way down, parks at the bottom, looks on the way up. */
static __attribute__((noinline)) long descends(int fd, int depth, int seed) {
    volatile char buffer[300];
    long sum = 0;
    for (size_t i = 0; i < sizeof buffer; i++)
        buffer[i] = (char)(depth + seed);
    if (depth == 0) {
        char byte;
        CHECK(netfd_read(fd, &byte, 1) == 1);
        netfd_yield();
    } else {
        sum = descends(fd, depth - 1, seed);
    }
    for (size_t i = 0; i < sizeof buffer; i++)
        CHECK(buffer[i] == (char)(depth + seed));
    return sum + buffer[7];
}

static __attribute__((noinline)) void jumps(jmp_buf *out, int depth) {
    volatile char buffer[200];
    memset((char *)buffer, depth, sizeof buffer);
    if (depth > 0)
        jumps(out, depth - 1);
    else if (buffer[0] == 0)
        longjmp(*out, 1);
    buffer[0] = 1;
}

/* longjmp(3) leaves frames behind that have not been cleaned up. */
static void leaves_frames_behind(int round) {
    jmp_buf out;
    if (setjmp(out) == 0) {
        if (round % 2)
            netfd_yield();
        jumps(&out, DEEP);
    }
}

struct job {
    int fd, seed;
    long sum;
};

static void counts(void *arg) {
    struct job *job = arg;
    job->sum++;
}

static void works(void *arg) {
    struct job *job = arg;
    for (int i = 0; i < ROUNDS; i++) {
        leaves_frames_behind(i);
        job->sum += descends(job->fd, i % DEEP, job->seed);
    }
    CHECK(netfd_sleep(MS) == 0);
    CHECK(netfd_block(counts, job) == 0);
    netfd_group_done(group);
}

static void feeds(void *arg) {
    int fd = *(int *)arg;
    for (int i = 0; i < ROUNDS; i++) {
        char bytes[64] = {0};
        CHECK(netfd_write(fd, bytes, 1) == 1);
        netfd_yield();
    }
    netfd_group_done(group);
}

static void is_clean(void) {
    static struct job jobs[FIBERS];
    static int ends[FIBERS][2];
    group = netfd_group_new();
    /* Twice: the second time on stacks that others have used. */
    for (int time = 0; time < 2; time++) {
        for (int i = 0; i < FIBERS; i++) {
            CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends[i]) == 0);
            for (int end = 0; end < 2; end++)
                CHECK(netfd_attach(ends[i][end]) >= 0);
            jobs[i] = (struct job){ends[i][0], i, 0};
            netfd_group_add(group, 2);
            CHECK(netfd_go(works, &jobs[i]) == 0);
            CHECK(netfd_go(feeds, &ends[i][1]) == 0);
        }
        CHECK(netfd_group_wait(group, NETFD_NO_DEADLINE, NULL) == 0);
        for (int i = 0; i < FIBERS; i++) {
            CHECK(jobs[i].sum != 0);
            netfd_destroy(ends[i][0]);
            netfd_destroy(ends[i][1]);
        }
    }
    netfd_group_free(group);
}

static __attribute__((noinline)) void writes_beyond(int index) {
    volatile char buffer[32];
    memset((char *)buffer, 0, sizeof buffer);
    buffer[index] = 1;
}

static void overflows(void *arg) {
    netfd_yield();
    writes_beyond(*(int *)arg);
    netfd_group_done(group);
}

static void is_told_of_an_overflow(void) {
    static int index = 32;
    group = netfd_group_new();
    netfd_group_add(group, 1);
    CHECK(netfd_go(overflows, &index) == 0);
    netfd_group_wait(group, NETFD_NO_DEADLINE, NULL);
}

static __attribute__((noinline)) void *forget(void *memory) {
    return (void *)((uintptr_t)memory & 0);
}

/* Sleeps with memory that nothing but its own frame knows, or nothing. */
static void owns(void *arg) {
    void *volatile own[1] = {malloc(1000)};
    if (!*(int *)arg)
        own[0] = forget(own[0]);
    netfd_sleep(INT64_MAX);
    free(own[0]);
}

static void ends_under_an_owner(int knows) {
    static int arg;
    arg = knows;
    CHECK(netfd_go(owns, &arg) == 0);
    await_parked(1);
}

static void is_told_of_a_leak(void) { ends_under_an_owner(0); }
static void leaks_nothing(void) { ends_under_an_owner(1); }

static volatile int shared;

static __attribute__((noinline)) void writes_without_order(void) { shared++; }

static void races(void *arg) {
    (void)arg;
    writes_without_order();
    netfd_sleep(MS);
}

static void is_told_of_a_race(void) {
    CHECK(netfd_go(races, NULL) == 0);
    /* Nothing orders this behind the fiber's. */
    pause_ms(200);
    writes_without_order();
}

static const struct scenario all[] = {
    {"is_clean", is_clean},
    {"is_told_of_an_overflow", is_told_of_an_overflow},
    {"is_told_of_a_race", is_told_of_a_race},
    {"is_told_of_a_leak", is_told_of_a_leak},
    {"leaks_nothing", leaks_nothing},
};

int main(int argc, char **argv) {
    return run_scenario(all, sizeof all / sizeof *all, argc > 1 ? argv[1] : NULL);
}
