/* netfd_resolve by the C library, which reads its files. */
#include "torture.h"

static void scenario(void) {
    struct sockaddr_storage all[8];
    for (int i = 0; i < 2; i++) {
        int n = netfd_resolve("tcp4", "localhost:80", all, COUNT(all), soon(), NULL);
        TRY(n);
        WANT(n >= 1);
        struct sockaddr_in *in = (struct sockaddr_in *)&all[0];
        WANT(in->sin_family == AF_INET && in->sin_port == htons(80));
        WANT(ntohl(in->sin_addr.s_addr) >> 24 == 127);
    }
}
