/*
 * http_hello: HTTP/1.1 with keep-alive, by threads that all accept.
 *
 * Shows a fixed number of threads in netfd_accept() on one listener, where
 * each connection wakes one of them; a deadline for a whole request, which a
 * client that sends a byte now and then does not outlive; and a stop that
 * finishes the answer under way: a connection has the token only while it
 * waits for a request.
 *
 * Build: make -C c_examples; or, once that has built the library,
 *   cc -std=c99 -pthread -Iinclude c_examples/http_hello.c -o http_hello \
 *      -Lc_examples/build -lnetfd -Wl,-rpath,c_examples/build
 * Run: c_examples/build/http_hello [PORT [THREADS]]
 */
#define _POSIX_C_SOURCE 200809L
#include "netfd.h"
#include "example.h"

#include <signal.h>
#include <string.h>
#include <strings.h>
#include <time.h>

enum { LIMIT = 8192, MOST_THREADS = 1024 }; /* bytes of a header; clients */

static const char fine[] = "200 OK", bad[] = "400 Bad Request",
                  unknown[] = "404 Not Found", not_allowed[] = "405 Method Not Allowed",
                  too_large[] = "431 Request Header Fields Too Large";

struct client {
    int fd;
    const char *status;  /* of the answer */
    int head, keep_open; /* no body in it; another request may follow */
    size_t have;         /* bytes in `in`: a request, and maybe more behind it */
    char in[LIMIT + 1];  /* with a NUL behind them */
};

static struct netfd_cancel *stop; /* fired by Ctrl-C */

static void on_signal(int number)
{
    (void)number;
    netfd_cancel_fire(stop);
}

/* Forgets the first bytes that came. */
static void drop(struct client *c, size_t n)
{
    c->have -= n;
    memmove(c->in, c->in + n, c->have + 1);
}

/* Reads until a header is there. Returns its length, or 0: no more requests. */
static size_t receive(struct client *c)
{
    char *end;
    ssize_t n;

    check(netfd_set_cancel(c->fd, stop));
    check(netfd_set_read_deadline(c->fd, netfd_after(30 * SECOND)));
    for (;;) {
        drop(c, strspn(c->in, "\r\n")); /* empty lines before a request */
        end = strstr(c->in, "\r\n\r\n");
        if (end != NULL || c->have == LIMIT || strlen(c->in) < c->have)
            break; /* a header; too long for one; a NUL in it */
        n = netfd_read(c->fd, c->in + c->have, LIMIT - c->have);
        if (n <= 0)
            return 0; /* it hung up, is too slow, or Ctrl-C */
        c->have += (size_t)n;
        c->in[c->have] = '\0';
    }
    check(netfd_set_cancel(c->fd, NULL)); /* what was asked gets its answer */
    if (end == NULL) {
        c->status = c->have == LIMIT ? too_large : bad;
        return c->have;
    }
    c->status = fine;
    *end = '\0';
    return (size_t)(end - c->in) + 4;
}

/* Ends a text before `by`, and returns what is behind it. */
static char *cut(char *text, const char *by)
{
    char *at = text ? strstr(text, by) : NULL;

    if (at == NULL)
        return NULL;
    *at = '\0';
    return at + strlen(by);
}

/* Whether a list such as "keep-alive, TE" has a word. */
static int has_word(const char *list, const char *word)
{
    size_t len;

    for (; *list != '\0'; list += len) {
        list += strspn(list, ", \t");
        len = strcspn(list, ", \t");
        if (len == strlen(word) && strncasecmp(list, word, len) == 0)
            return 1;
    }
    return 0;
}

/* Understands a header. Returns the status of the answer. */
static const char *parse(struct client *c)
{
    char *line = cut(c->in, "\r\n"), *path = cut(c->in, " ");
    char *version = cut(path, " "), *next, *value;
    int hosts = 0, keep = 0, modern;

    if (version == NULL || strncmp(version, "HTTP/1.", 7) != 0
        || strspn(version + 7, "0123456789") != 1 || version[8] != '\0')
        return bad;
    modern = version[7] != '0';
    c->head = strcmp(c->in, "HEAD") == 0;
    c->keep_open = 1;
    for (; line != NULL; line = next) {
        next = cut(line, "\r\n");
        value = cut(line, ":");
        if (value == NULL || *line == '\0' || strpbrk(line, " \t") != NULL)
            return bad;
        value += strspn(value, " \t");
        if (strcasecmp(line, "Host") == 0) {
            hosts++;
        } else if (strcasecmp(line, "Connection") == 0) {
            keep |= has_word(value, "keep-alive");
            c->keep_open &= !has_word(value, "close");
        } else if (strcasecmp(line, "Transfer-Encoding") == 0
                   || (strcasecmp(line, "Content-Length") == 0 && strcmp(value, "0") != 0)) {
            c->keep_open = 0; /* a body, which is not read */
        }
    }
    c->keep_open &= modern || keep;
    if (hosts > 1 || hosts < modern)
        return bad;
    if (!c->head && strcmp(c->in, "GET") != 0)
        return not_allowed;
    if (strncasecmp(path, "http://", 7) == 0) /* as a proxy is asked */
        path += 7 + strcspn(path + 7, "/?");
    path[strcspn(path, "?")] = '\0';
    return *path == '\0' || strcmp(path, "/") == 0 ? fine : unknown;
}

/* Sends the answer. Returns whether all of it went. */
static int answer(struct client *c)
{
    const char *body = c->status == fine ? "Hello, world!" : c->status + 4;
    char out[512], date[64];
    time_t now = time(NULL);
    struct tm tm;
    int len;

    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &tm));
    len = snprintf(out, sizeof out,
                   "HTTP/1.1 %s\r\nDate: %s\r\nContent-Type: text/plain\r\n%s"
                   "Content-Length: %d\r\nConnection: %s\r\n\r\n%s%s",
                   c->status, date, c->status == not_allowed ? "Allow: GET, HEAD\r\n" : "",
                   (int)strlen(body) + 1, c->keep_open ? "keep-alive" : "close",
                   c->head ? "" : body, c->head ? "" : "\n");
    check(netfd_set_write_deadline(c->fd, netfd_after(30 * SECOND)));
    return netfd_write(c->fd, out, (size_t)len) == len;
}

static void serve(int fd)
{
    struct client c;
    size_t len;

    c.fd = fd;
    c.have = 0;
    c.in[0] = '\0';
    do {
        c.head = c.keep_open = 0;
        if ((len = receive(&c)) == 0)
            break;
        if (c.status == fine)
            c.status = parse(&c);
        if (c.status == bad || netfd_cancel_fired(stop))
            c.keep_open = 0;
        if (!answer(&c))
            break;
        drop(&c, len);
    } while (c.keep_open);
    if (len > 0) {
        /* Closing with bytes unread would reset the connection, and maybe take
         * the answer from the client. So wait until it hangs up, for a while. */
        netfd_shutdown(fd, SHUT_WR);
        netfd_set_read_deadline(fd, netfd_after(SECOND));
        while (netfd_read(fd, c.in, LIMIT) > 0)
            continue;
    }
    netfd_destroy(fd);
}

static void *work(void *listener)
{
    int fd;

    while ((fd = accept_next(*(int *)listener)) >= 0)
        serve(fd);
    return NULL;
}

int main(int argc, char **argv)
{
    int threads = argc > 2 ? atoi(argv[2]) : 512, listener, i;
    pthread_t thread[MOST_THREADS];
    struct sigaction action;

    if (threads < 1 || threads > MOST_THREADS)
        fail("usage: http_hello [PORT [THREADS up to 1024]]");
    if ((stop = netfd_cancel_new()) == NULL)
        fail("out of memory");
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);

    listener = listen_on(argc > 1 ? argv[1] : "0", "http_hello");
    check(netfd_set_cancel(listener, stop));
    for (i = 0; i < threads; i++)
        thread[i] = start(work, &listener);
    for (i = 0; i < threads; i++)
        pthread_join(thread[i], NULL);
    check(netfd_destroy(listener));
    printf("http_hello: all ended\n");
    return 0; /* the token is not freed: a second Ctrl-C may still fire it */
}
