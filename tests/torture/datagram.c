/* netfd_sendto and netfd_recvfrom between two that are not connected. */
#include "torture.h"

static void scenario(void) {
    struct where at[2], from;
    int fds[2];
    unsigned char bytes[700];
    for (int i = 0; i < 2; i++) {
        TRY(fds[i] = bound(&at[i]));
        TRY(netfd_set_deadline(fds[i], soon()));
    }
    for (int i = 0; i < 3; i++) {
        size_t n = i == 1 ? 0 : 500;
        fill(bytes, n, 0, (unsigned)i);
        long said = netfd_sendto(fds[0], bytes, n, 0, SA(&at[1]));
        TRY(said);
        WANT(said == (long)n);
        from.len = sizeof from.sa;
        said = netfd_recvfrom(fds[1], bytes, sizeof bytes, 0, (struct sockaddr *)&from.sa, &from.len);
        TRY(said);
        WANT(said == (long)n);
        verify(bytes, n, 0, (unsigned)i);
        WANT(from.len == at[0].len && memcmp(&from.sa, &at[0].sa, from.len) == 0);
    }
}
