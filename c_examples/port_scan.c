/*
 * port_scan: hundreds of dials, each with a deadline, from a few threads.
 *
 * Shows a name looked up once and then used as an address; a queue of work
 * that bounds how much goes on at once, connections and descriptors alike;
 * and how a dial that failed says why: refused, silent until its deadline, or
 * something that makes it pointless to go on. Without arguments it makes
 * listeners of its own, and scans the ports around them.
 *
 * Build: make -C c_examples; or, once that has built the library,
 *   cc -std=c99 -pthread -Iinclude c_examples/port_scan.c -o port_scan \
 *      -Lc_examples/build -lnetfd -Wl,-rpath,c_examples/build
 * Run: c_examples/build/port_scan [HOST FIRST LAST [THREADS [MS_EACH]]]
 */
#include "netfd.h"
#include "example.h"

#include <errno.h>
#include <string.h>

enum { PORTS = 65536, MOST_THREADS = 256, OWN = 3, AROUND = 250 };
enum state { OPEN, REFUSED, SILENT, STATES };

static char host[NETFD_ADDR_TEXT]; /* "127.0.0.1", "[::1]" */
static int64_t patience = SECOND;
static char states[PORTS];

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int next_port, last_port; /* the queue; under the lock */

/* Takes the next port from the queue, or returns -1. */
static int take(void)
{
    int port;

    pthread_mutex_lock(&lock);
    port = next_port <= last_port ? next_port++ : -1;
    pthread_mutex_unlock(&lock);
    return port;
}

static enum state try_port(int port)
{
    char address[NETFD_ADDR_TEXT + 16];
    struct netfd_dial_config how;
    int fd;

    memset(&how, 0, sizeof how);
    how.size = sizeof how;
    how.deadline = netfd_after(patience);
    snprintf(address, sizeof address, "%s:%d", host, port);
    fd = netfd_dial("tcp", address, &how);
    if (fd == -ECONNREFUSED)
        return REFUSED;
    if (fd == NETFD_EDEADLINE)
        return SILENT;
    check(fd); /* no route, no descriptors: it is not about this port */
    check(netfd_destroy(fd));
    return OPEN;
}

static void *work(void *arg)
{
    int port;

    while ((port = take()) >= 0)
        states[port] = (char)try_port(port);
    return arg;
}

/* Looks the host up, and keeps the address that is to be tried first. */
static void resolve(const char *name)
{
    char text[NETFD_ADDR_TEXT];
    struct sockaddr_storage at;

    /* An IPv6 address wants brackets before a port. */
    snprintf(text, sizeof text, strchr(name, ':') ? "[%s]:0" : "%s:0", name);
    check(netfd_resolve("tcp", text, &at, 1, netfd_after(10 * SECOND), NULL));
    check(netfd_addr_format((struct sockaddr *)&at, sizeof at, host, sizeof host));
    *strrchr(host, ':') = '\0'; /* the port */
}

/* A listener on a port of 127.0.0.1, 0 for any. Returns its port, or a code. */
static int listen_at(int port, int *listener)
{
    char text[NETFD_ADDR_TEXT];
    struct sockaddr_storage at;
    socklen_t len = sizeof at;

    snprintf(text, sizeof text, "127.0.0.1:%d", port);
    if ((*listener = netfd_listen("tcp", text, NULL)) < 0)
        return *listener;
    check(netfd_local_addr(*listener, (struct sockaddr *)&at, &len));
    check(netfd_addr_format((struct sockaddr *)&at, len, text, sizeof text));
    return atoi(strrchr(text, ':') + 1);
}

static void scan(int first, int last, int threads)
{
    static const char *const words[] = {"open", "refused", "silent"};
    pthread_t thread[MOST_THREADS];
    int count[STATES] = {0, 0, 0}, i;
    int64_t begun = netfd_now();

    next_port = first;
    last_port = last;
    for (i = 0; i < threads; i++)
        thread[i] = start(work, NULL);
    for (i = 0; i < threads; i++)
        pthread_join(thread[i], NULL);
    for (i = first; i <= last; i++) {
        count[(int)states[i]]++;
        if (states[i] == OPEN)
            printf("port_scan: %s:%d is open\n", host, i);
    }
    printf("port_scan: %d ports by %d threads in %ld ms:", last - first + 1, threads,
           (long)((netfd_now() - begun) / MS));
    for (i = 0; i < STATES; i++)
        printf(" %d %s%s", count[i], words[i], i + 1 < STATES ? "," : "\n");
}

/* Makes listeners of its own, close together, and finds them. */
static void scan_own(int threads)
{
    int listener[OWN], own[OWN], port = 0, i;

    snprintf(host, sizeof host, "127.0.0.1");
    for (i = 0; i < OWN; i++, port++) {
        while ((own[i] = listen_at(port, &listener[i])) == -EADDRINUSE)
            port++; /* a stranger's */
        port = check(own[i]);
        printf("port_scan: listens on port %d\n", port);
    }
    scan(own[0] > AROUND ? own[0] - AROUND : 1,
         own[0] < PORTS - AROUND ? own[0] + AROUND : PORTS - 1, threads);
    for (i = 0; i < OWN; i++) {
        if (states[own[i]] != OPEN)
            fail("it does not find its own");
        check(netfd_destroy(listener[i]));
    }
}

int main(int argc, char **argv)
{
    int threads = argc > 4 ? atoi(argv[4]) : 16, first = 1, last = 1;

    if (argc > 3) {
        first = atoi(argv[2]);
        last = atoi(argv[3]);
    }
    if (argc > 5)
        patience = atoi(argv[5]) * MS;
    if (argc == 2 || argc == 3 || first < 1 || last < first || last >= PORTS
        || threads < 1 || threads > MOST_THREADS || patience <= 0)
        fail("usage: port_scan [HOST FIRST LAST [THREADS up to 256 [MS_EACH]]]");
    if (argc == 1) {
        scan_own(threads);
    } else {
        resolve(argv[1]);
        scan(first, last, threads);
    }
    return 0;
}
