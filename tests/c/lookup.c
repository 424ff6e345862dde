/* A process that looks up names which no server answers for, and ends. Run
 * where the name server is mute. Usage: lookup SCENARIO */
#include "check.h"

#include <dirent.h>

#define NAME "nobody.example:80"

static int cleaned;

static void clean(void) { cleaned = 1; }

/* The first that was registered runs last. */
static void see(void) {
    CHECK(cleaned);
    printf("clean");
}

static void register_exits(void) {
    EQ(atexit(see), 0);
    EQ(atexit(clean), 0);
}

static void abandon(int n) {
    for (; n > 0; n--) {
        int64_t soon = netfd_after(MS);
        EQ(netfd_resolve("tcp", NAME, NULL, 0, soon, NULL), NETFD_EDEADLINE);
    }
}

static void *wait_for_ever(void *arg) {
    (void)arg;
    netfd_resolve("tcp", NAME, NULL, 0, NETFD_NO_DEADLINE, NULL);
    CHECK(!"it is answered");
    return NULL;
}

/* exit(3) with helper threads that nobody waits for. */
static void exits_with_abandoned_lookups(void) {
    register_exits();
    abandon(20);
    exit(0);
}

/* The threads of the process, helpers included. */
static int threads(void) {
    DIR *all = opendir("/proc/self/task");
    CHECK(all != NULL);
    int n = -2; /* . and .. */
    while (readdir(all) != NULL)
        n++;
    closedir(all);
    return n;
}

/* exit(3) with callers that wait, and their helpers. */
static void exits_with_lookups_waited_for(void) {
    register_exits();
    for (int n = 0; n < 5; n++)
        start(wait_for_ever, NULL);
    for (int64_t until = netfd_after(8 * SECOND); threads() != 11; look_again())
        CHECK(netfd_now() < until);
    exit(0);
}

/* As above, by the way of main. */
static void returns_with_abandoned_lookups(void) {
    register_exits();
    abandon(20);
}

/* A child of fork(2) has none of the helpers, and room for its own. */
static void child_looks_up_too(void) {
    abandon(20);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        struct sockaddr_storage at;
        EQ(netfd_resolve("tcp", "known:80", &at, 1, netfd_after(5 * SECOND), NULL), 1);
        abandon(2);
        _exit(0);
    }
    int status;
    EQ(waitpid(child, &status, 0), child);
    EQ(status, 0);
}

int main(int argc, char **argv) {
    static const struct scenario all[] = {
        {"exits_with_abandoned_lookups", exits_with_abandoned_lookups},
        {"exits_with_lookups_waited_for", exits_with_lookups_waited_for},
        {"returns_with_abandoned_lookups", returns_with_abandoned_lookups},
        {"child_looks_up_too", child_looks_up_too},
    };
    return run_scenario(all, sizeof all / sizeof *all, argc > 1 ? argv[1] : NULL);
}
