/* The library by dlopen(3), as ctypes and plugins use it: found by name,
 * closed under parked threads, and loaded twice.
 * Usage: dlopen SCENARIO LIBRARY ANOTHER-COPY */
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CHECK(so) check(__LINE__, #so, so)

static void check(int line, const char *what, int so) {
    if (so)
        return;
    dprintf(2, "dlopen.c:%d: not so: %s\n", line, what);
    _exit(1);
}

/* One copy of the library, by its symbols. */
struct library {
    void *handle;
    int (*attach)(int);
    int (*detach)(int);
    int (*destroy)(int);
    ssize_t (*read)(int, void *, size_t);
    ssize_t (*write)(int, const void *, size_t);
    int (*set_read_deadline)(int, int64_t);
    int64_t (*after)(int64_t);
    int (*dump)(int);
    const char *(*strerror)(int);
    int (*last_error)(void *);
};

static void *symbol(struct library *library, const char *name) {
    void *found = dlsym(library->handle, name);
    if (found == NULL)
        dprintf(2, "%s\n", dlerror());
    CHECK(found != NULL);
    return found;
}

static struct library load(const char *path) {
    struct library it;
    it.handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (it.handle == NULL)
        dprintf(2, "%s\n", dlerror());
    CHECK(it.handle != NULL);
    *(void **)&it.attach = symbol(&it, "netfd_attach");
    *(void **)&it.detach = symbol(&it, "netfd_detach");
    *(void **)&it.destroy = symbol(&it, "netfd_destroy");
    *(void **)&it.read = symbol(&it, "netfd_read");
    *(void **)&it.write = symbol(&it, "netfd_write");
    *(void **)&it.set_read_deadline = symbol(&it, "netfd_set_read_deadline");
    *(void **)&it.after = symbol(&it, "netfd_after");
    *(void **)&it.dump = symbol(&it, "netfd_dump");
    *(void **)&it.strerror = symbol(&it, "netfd_strerror");
    *(void **)&it.last_error = symbol(&it, "netfd_last_error");
    return it;
}

static void make_pair(const struct library *library, int pair[2]) {
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    CHECK(library->attach(pair[0]) == pair[0]);
    CHECK(library->attach(pair[1]) == pair[1]);
}

static void destroy_pair(const struct library *library, const int pair[2]) {
    CHECK(library->destroy(pair[0]) == 0);
    CHECK(library->destroy(pair[1]) == 0);
}

static void echo_over(const struct library *library, const int pair[2]) {
    char byte = 0;
    CHECK(library->write(pair[0], "e", 1) == 1);
    CHECK(library->read(pair[1], &byte, 1) == 1);
    CHECK(byte == 'e');
}

static void park_once(const struct library *library) {
    int pair[2];
    char byte;
    make_pair(library, pair);
    CHECK(library->set_read_deadline(pair[0], library->after(100000)) == 0);
    CHECK(library->read(pair[0], &byte, 1) == -10001);
    destroy_pair(library, pair);
}

struct reader {
    const struct library *library;
    int fd;
    ssize_t result;
};

static void *read_in_thread(void *arg) {
    struct reader *reader = arg;
    char byte;
    reader->result = reader->library->read(reader->fd, &byte, 1);
    return NULL;
}

/* Waits until somebody is parked: the library says who. */
static void await_parked(const struct library *library) {
    char text[4096];
    for (;;) {
        int ends[2];
        CHECK(pipe(ends) == 0);
        CHECK(library->dump(ends[1]) == 0);
        close(ends[1]);
        ssize_t n = read(ends[0], text, sizeof text - 1);
        close(ends[0]);
        CHECK(n >= 0);
        text[n] = 0;
        if (strstr(text, "parked for") != NULL)
            return;
        nanosleep(&(struct timespec){0, 100000}, NULL);
    }
}

static const char *path, *other_path;

static void *use_in_thread(void *arg) {
    park_once(arg);
    return NULL;
}

static void a_hundred_times(void) {
    for (int i = 0; i < 100; i++) {
        struct library library = load(path);
        pthread_t thread;
        int pair[2];
        make_pair(&library, pair);
        echo_over(&library, pair);
        destroy_pair(&library, pair);
        park_once(&library);
        CHECK(pthread_create(&thread, NULL, use_in_thread, &library) == 0);
        CHECK(pthread_join(thread, NULL) == 0);
        CHECK(dlclose(library.handle) == 0);
    }
}

/* The thread is inside a call of the library when that is closed, and ends
 * only after it. */
static void under_a_parked_thread(void) {
    struct library library = load(path);
    struct reader reader = {&library, -1, 0};
    pthread_t thread;
    int pair[2];
    make_pair(&library, pair);
    reader.fd = pair[0];
    CHECK(pthread_create(&thread, NULL, read_in_thread, &reader) == 0);
    await_parked(&library);
    CHECK(dlclose(library.handle) == 0);
    struct library again = load(path);
    CHECK(again.write(pair[1], "x", 1) == 1); /* one and the same table */
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(reader.result == 1);
    destroy_pair(&again, pair);
    CHECK(dlclose(again.handle) == 0);
}

static void *park_and_wait(void *arg) {
    struct library library = load(path);
    park_once(&library);
    CHECK(dlclose(library.handle) == 0);
    CHECK(pthread_barrier_wait(arg) <= 0);
    return NULL; /* what the thread left in the library ends here */
}

static void threads_end_after_it(void) {
    pthread_t threads[10];
    pthread_barrier_t all;
    CHECK(pthread_barrier_init(&all, NULL, 10) == 0);
    for (int i = 0; i < 10; i++)
        CHECK(pthread_create(&threads[i], NULL, park_and_wait, &all) == 0);
    for (int i = 0; i < 10; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
}

static void two_copies(void) {
    struct library one = load(path), two = load(other_path);
    int pair[2];
    char byte;
    CHECK((void *)one.read != (void *)two.read);
    make_pair(&one, pair);
    CHECK(two.read(pair[0], &byte, 1) == -EBADF); /* not in its table */
    CHECK(two.destroy(pair[0]) == -EBADF);
    CHECK(one.detach(pair[0]) == pair[0]);
    CHECK(two.attach(pair[0]) == pair[0]);
    CHECK(one.read(pair[0], &byte, 1) == -EBADF);

    /* Each with one end, each with a parked thread of its own. */
    struct reader reader = {&two, pair[0], 0};
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, read_in_thread, &reader) == 0);
    await_parked(&two);
    park_once(&one);
    park_once(&two);
    CHECK(one.write(pair[1], "a", 1) == 1);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(reader.result == 1);
    CHECK(two.destroy(pair[0]) == 0);
    CHECK(one.read(pair[1], &byte, 1) == 0);
    CHECK(one.destroy(pair[1]) == 0);

    /* A failure of the one is none of the other's. */
    CHECK(one.read(-1, &byte, 1) == -EBADF);
    CHECK(one.last_error(NULL) == -EBADF);
    CHECK(two.read(pair[0], &byte, 1) == -10002);
    CHECK(one.last_error(NULL) == -EBADF);
    CHECK(two.last_error(NULL) == -10002);
}

/* By name alone, without the header, and with nothing but ints and pointers:
 * what ctypes does. */
static void by_name_alone(void) {
    void *library = dlopen(path, RTLD_LAZY | RTLD_LOCAL);
    CHECK(library != NULL);
    const char *(*version)(void);
    *(void **)&version = dlsym(library, "netfd_version");
    CHECK(version != NULL && strcmp(version(), "0.1.0") == 0);
    /* RTLD_LOCAL: nothing of it is anybody else's. */
    CHECK(dlsym(RTLD_DEFAULT, "netfd_version") == NULL);
    struct library it = load(path);
    CHECK(strcmp(it.strerror(-10001), "i/o timeout") == 0);
    park_once(&it);
}

int main(int argc, char **argv) {
    CHECK(argc == 4);
    path = argv[2];
    other_path = argv[3];
    if (strcmp(argv[1], "a_hundred_times") == 0)
        a_hundred_times();
    else if (strcmp(argv[1], "under_a_parked_thread") == 0)
        under_a_parked_thread();
    else if (strcmp(argv[1], "threads_end_after_it") == 0)
        threads_end_after_it();
    else if (strcmp(argv[1], "two_copies") == 0)
        two_copies();
    else if (strcmp(argv[1], "by_name_alone") == 0)
        by_name_alone();
    else
        return 2;
    return 0;
}
