/* fork(2) with a reader parked: he does not notice, and the child uses what it
 * has inherited, and what it makes. */
#include "torture.h"

static int fds[2];

static void reads(void *arg) {
    char byte = 0;
    long said = netfd_read(fds[0], &byte, 1);
    TRY(said);
    WANT(said == 1 && byte == 'p');
    (void)arg;
}

static int in_the_child(void) {
    int mine[2];
    char byte = 0;
    long said = netfd_write(fds[1], "c", 1);
    if (said != 1)
        return said == -fault.error || said == -EPIPE ? 2 : 3;
    if (!pair(mine))
        return 2;
    said = netfd_write(mine[0], "m", 1);
    if (said == 1)
        said = netfd_read(mine[1], &byte, 1);
    return said == 1 && byte == 'm' ? 0 : said < 0 ? 2 : 3;
}

static void scenario(void) {
    char byte = 0;
    int status = 0;
    int inherited[2];
    if (!pair(inherited))
        return;
    if (!pair(fds))
        return;
    struct task *reader = start(reads, NULL);
    if (reader == NULL)
        return;
    await_parked(1);
    int mine = fds[1];
    pid_t child = fork();
    if (child == 0) {
        fds[1] = inherited[1];
        _exit(in_the_child());
    }
    if (child > 0) {
        fds[1] = mine;
        waitpid(child, &status, 0);
        if (!WIFEXITED(status) || (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != 2))
            WRONG("the child: %x", status);
        if (WEXITSTATUS(status) == 2 && fault.error != 0)
            lost(NETFD_ECLOSED, __FILE__, __LINE__, "the child");
        else
            WANT(WEXITSTATUS(status) == 0);
    }
    TRY(netfd_write(fds[1], "p", 1));
    join(reader);
    if (child > 0 && WEXITSTATUS(status) == 0) {
        TRY(netfd_read(inherited[0], &byte, 1));
        WANT(byte == 'c');
    }
    TRY(child < 0 ? -EAGAIN : 0);
}
