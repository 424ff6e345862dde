/* Two writers of records, one reader: each record is whole. */
#include "torture.h"

enum { RECORDS = 6, SIZE = 5000 };
static int fds[2];

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

static void scenario(void) {
    static int names[] = {1, 2};
    static unsigned char record[SIZE];
    int seen[3] = {0};
    if (!pair(fds))
        return;
    struct task *one = start(writes, &names[0]), *other = start(writes, &names[1]);
    for (int i = 0; i < 2 * RECORDS && !has_failed(); i++) {
        size_t have = 0;
        while (have < SIZE) {
            long n = netfd_read(fds[1], record + have, SIZE - have);
            TRY(n);
            WANT(n > 0 || has_failed());
            if (n == 0)
                return;
            have += (size_t)n;
        }
        for (size_t k = 1; k < SIZE; k++)
            WANT(record[k] == record[0]);
        seen[record[0]]++;
    }
    join(one);
    join(other);
    WANT(has_failed() || (seen[1] == RECORDS && seen[2] == RECORDS));
}
