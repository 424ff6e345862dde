/* What a switch between fibers costs, and the start of one.
 *
 *   switches yield FIBERS BATCHES   so many fibers yield to each other
 *   switches go BATCHES             a fiber starts others from a warm pool
 *
 * Prints a line for each batch, in nanoseconds: of a netfd_yield, which is a
 * park and a resume; or of a netfd_go alone, and of it with the whole life of
 * a fiber that does nothing. All on one worker. */
#define _GNU_SOURCE
#include "../include/netfd.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define YIELDS 100000
#define STARTS 200 /* no more than stay warm */

static int fibers, batches, running, lives;
static struct netfd_group *all;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void others(void *arg) {
    (void)arg;
    while (running) netfd_yield();
    netfd_group_done(all);
}

static void counts(void *arg) {
    (void)arg;
    int each = YIELDS / fibers;
    for (int i = 0; i < batches; i++) {
        double begun = now();
        for (int k = 0; k < each; k++) netfd_yield();
        printf("%.1f\n", (now() - begun) / each / fibers);
    }
    running = 0;
    netfd_group_done(all);
}

static void lives_once(void *arg) {
    (void)arg;
    lives++;
}

static void starts(void *arg) {
    (void)arg;
    for (int i = -1; i < batches; i++) {
        lives = 0;
        double begun = now();
        for (int k = 0; k < STARTS; k++)
            if (netfd_go(lives_once, NULL)) abort();
        double started = now();
        while (lives < STARTS) netfd_yield();
        double ended = now();
        if (i >= 0) printf("%.1f %.1f\n", (started - begun) / STARTS, (ended - begun) / STARTS);
    }
    netfd_group_done(all);
}

int main(int argc, char **argv) {
    int yields = argc == 4 && !strcmp(argv[1], "yield");
    if (!yields && !(argc == 3 && !strcmp(argv[1], "go"))) {
        fprintf(stderr, "usage: %s yield FIBERS BATCHES | go BATCHES\n", argv[0]);
        return 2;
    }
    fibers = yields ? atoi(argv[2]) : 1;
    batches = atoi(argv[argc - 1]);
    setenv("NETFD_WORKERS", "1", 1);
    all = netfd_group_new();
    if (!all || netfd_group_add(all, fibers)) return 1;
    running = 1;
    for (int i = 1; i < fibers; i++)
        if (netfd_go(others, NULL)) return 1;
    if (netfd_go(yields ? counts : starts, NULL)) return 1;
    if (netfd_group_wait(all, 0, 0)) return 1;
    netfd_group_free(all);
    return 0;
}
