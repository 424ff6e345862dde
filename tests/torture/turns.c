/* Two writers and two readers of one connection: writes are not interleaved, and
 * of each record the bytes are one writer's. */
#include "torture.h"

enum { RECORDS = 4, SIZE = 40 };
static int fds[2];
static _Atomic int came;

static void writes(void *arg) {
    unsigned char record[SIZE];
    memset(record, *(int *)arg, SIZE);
    for (int i = 0; i < RECORDS; i++) {
        long n = netfd_write(fds[0], record, SIZE);
        if (n >= 0 && n < SIZE)
            n = why_short();
        if (n < 0) {
            lost((int)n, __FILE__, __LINE__, "netfd_write");
            netfd_shutdown(fds[0], SHUT_WR);
            return;
        }
    }
}

static void reads(void *arg) {
    unsigned char byte;
    long n = 1;
    while (came < 2 * RECORDS * SIZE && (n = netfd_read(fds[1], &byte, 1)) > 0) {
        WANT(byte == 1 || byte == 2);
        if (++came == 2 * RECORDS * SIZE)
            netfd_set_read_deadline(fds[1], 1);
    }
    if (n < 0 && came < 2 * RECORDS * SIZE)
        TRY(n);
    (void)arg;
}

static void scenario(void) {
    static int names[] = {1, 2};
    struct task *all[4];
    if (!pair(fds))
        return;
    for (int i = 0; i < 2; i++) {
        all[i] = start(writes, &names[i]);
        all[2 + i] = start(reads, NULL);
    }
    for (int i = 0; i < 4; i++)
        join(all[i]);
    WANT(has_failed() || came == 2 * RECORDS * SIZE);
}
