/* A program with more thread-local storage than a small stack has room for: the
 * C library takes it from each thread's stack. */
#include "check.h"

static __thread char much[768 * 1024];

int main(void) {
    struct sockaddr_storage found[8];

    memset(much, 1, sizeof much);
    CHECK(netfd_resolve("tcp", "localhost:80", found, 8, NETFD_NO_DEADLINE, NULL) > 0);
    return 0;
}
