/* netfd_send_fds and netfd_recv_fds: what arrives works, and nothing else does. */
#include "torture.h"

static void scenario(void) {
    int fds[2], line[2], came[3] = {-1, -1, -1}, sent[2];
    size_t n = 0;
    char text[8];
    if (!pair(fds))
        return;
    kind = KINDS;
    if (!pair(line))
        return;
    sent[0] = sent[1] = line[0];
    long said = netfd_send_fds(fds[0], sent, 2, "hello", 5);
    TRY(said);
    WANT(said == 5);
    said = netfd_recv_fds(fds[1], came, 3, &n, text, sizeof text);
    for (size_t i = 0; i < n && said >= 0; i++) {
        if (netfd_set_deadline(came[i], soon()) == 0) {
            own(came[i]);
            continue;
        }
        /* It could not be told that this is a socket. */
        WANT(strcmp(fault.call, "getsockopt") == 0 || strcmp(fault.call, "fcntl") == 0);
        close(came[i]);
        lost(-fault.error, __FILE__, __LINE__, "a socket");
    }
    TRY(said);
    if (has_failed())
        return;
    WANT(said == 5 && memcmp(text, "hello", 5) == 0);
    WANT(n <= 2 && (n == 2 || fault.call[0] != '\0'));
    for (size_t i = 0; i < n && !has_failed(); i++)
        ping(came[i], line[1]);
    if (has_failed())
        return;
    /* More than there is room for: the rest is closed. */
    TRY(netfd_send_fds(fds[0], sent, 2, NULL, 0));
    n = 0;
    said = netfd_recv_fds(fds[1], came, 1, &n, NULL, 0);
    if (said >= 0 && n > 0) {
        if (netfd_set_deadline(came[0], soon()) == 0)
            own(came[0]);
        else
            close(came[0]);
    }
    TRY(said);
}
