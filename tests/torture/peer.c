/* netfd_peer_cred, netfd_local_addr and netfd_remote_addr. */
#include "torture.h"

static void scenario(void) {
    int fds[2];
    pid_t pid = 0;
    uid_t uid = 1;
    gid_t gid = 1;
    struct where at, peer = {.len = sizeof peer.sa};
    if (!pair(fds))
        return;
    if (kind->family == AF_UNIX) {
        TRY(netfd_peer_cred(fds[0], &pid, &uid, &gid));
        WANT(pid == getpid() && uid == getuid() && gid == getgid());
    } else {
        TRY(sockaddr_of(fds[0], &at));
        TRY(netfd_remote_addr(fds[1], (struct sockaddr *)&peer.sa, &peer.len));
        WANT(at.len == peer.len && memcmp(&at.sa, &peer.sa, at.len) == 0);
    }
    ping(fds[0], fds[1]);
}
