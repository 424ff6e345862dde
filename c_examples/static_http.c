/*
 * static_http: files over HTTP/1.1, whole or in part.
 *
 * Shows netfd_sendfile(), by which the kernel takes a file's bytes straight to
 * the connection, from any offset, which is what a Range asks for; a deadline
 * for each piece, so that a big file may take its time and a client that has
 * gone silent may not; and what keeps a path inside the folder. Threads,
 * requests and the stop are those of http_hello.
 *
 * Build: make -C c_examples; or, once that has built the library,
 *   cc -std=c99 -pthread -Iinclude c_examples/static_http.c -o static_http \
 *      -Lc_examples/build -lnetfd -Wl,-rpath,c_examples/build
 * Run: c_examples/build/static_http [FOLDER [PORT [THREADS]]]
 */
#define _POSIX_C_SOURCE 200809L
#include "netfd.h"
#include "example.h"
#include "http.h"

#include <ctype.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE INT64_C(1048576)

enum { MOST_THREADS = 1024 };

static const char partial[] = "206 Partial Content",
                  unsatisfiable[] = "416 Range Not Satisfiable";

struct file {
    int fd; /* or -1 */
    const char *type;
    int64_t size, first, count; /* of it all, and what is to be sent of it */
};

static int folder;                /* what is served */
static struct netfd_cancel *stop; /* fired by Ctrl-C */

static void on_signal(int number)
{
    (void)number;
    netfd_cancel_fire(stop);
}

/* Decodes a path to a name in the folder. Returns whether it is one. */
static int decode(const char *path, char *name)
{
    char *to = name, *part, hex[3] = "";

    if (*path != '/' && *path != '\0')
        return 0;
    path += strspn(path, "/");
    for (; *path != '\0'; path++) {
        *to = *path;
        if (*path == '%') {
            if (!isxdigit((unsigned char)path[1]) || !isxdigit((unsigned char)path[2]))
                return 0;
            memcpy(hex, path + 1, 2);
            path += 2;
            *to = (char)strtol(hex, NULL, 16);
        }
        if (*to == '\0' || (to == name && *to == '/'))
            return 0; /* an end that is none; the root of the file system */
        to++;
    }
    strcpy(to, to == name || to[-1] == '/' ? "index.html" : "");
    for (part = name; part != NULL; part = (part = strchr(part, '/')) ? part + 1 : NULL)
        if (strncmp(part, "..", 2) == 0 && (part[2] == '/' || part[2] == '\0'))
            return 0; /* it leads out, or may */
    return 1;
}

static const char *type_of(const char *name)
{
    static const char *const types[][2] = {
        {".html", "text/html; charset=utf-8"}, {".txt", "text/plain; charset=utf-8"},
        {".css", "text/css"},                  {".js", "text/javascript"},
        {".json", "application/json"},         {".svg", "image/svg+xml"},
        {".png", "image/png"},                 {".jpg", "image/jpeg"},
    };
    const char *ending = strrchr(name, '.');
    size_t i;

    for (i = 0; ending != NULL && i < sizeof types / sizeof *types; i++)
        if (strcasecmp(ending, types[i][0]) == 0)
            return types[i][1];
    return "application/octet-stream";
}

/* Reads a number, which stops at the end of its range. NULL: there is none. */
static const char *number(const char *text, int64_t *n)
{
    if (!isdigit((unsigned char)*text))
        return NULL;
    for (*n = 0; isdigit((unsigned char)*text); text++)
        *n = *n < INT64_MAX / 10 - 1 ? *n * 10 + (*text - '0') : INT64_MAX / 10;
    return text;
}

/* Finds the part that is asked for, "bytes=" and then "A-B", "A-" or "-N" (RFC
 * 9110, section 14). Another unit or several parts: the whole is an answer. */
static const char *choose(const char *range, struct file *f)
{
    int64_t first, last = f->size - 1, n;

    if (range == NULL || f->size == 0 || strncasecmp(range, "bytes=", 6) != 0)
        return fine;
    range += 6;
    if (*range == '-') { /* the last so many */
        range = number(range + 1, &n);
        if (range == NULL || *range != '\0')
            return fine;
        first = n < f->size ? f->size - n : 0;
    } else {
        range = number(range, &first);
        if (range == NULL || *range++ != '-')
            return fine;
        if (*range != '\0') {
            range = number(range, &n);
            if (range == NULL || *range != '\0' || n < first)
                return fine;
            last = n < last ? n : last;
        }
    }
    if (first >= f->size)
        return unsatisfiable;
    f->first = first;
    f->count = last - first + 1;
    return partial;
}

/* Opens what a request is about. Returns the status of the answer. */
static const char *find(struct client *c, struct file *f)
{
    char name[LIMIT + sizeof "index.html"];
    const char *status = parse(c);
    struct stat stat;

    if (status != fine)
        return status;
    if (!decode(c->path, name))
        return bad;
    f->fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* no FIFO blocks */
    if (f->fd < 0 || fstat(f->fd, &stat) != 0 || !S_ISREG(stat.st_mode))
        return unknown;
    f->type = type_of(name);
    f->size = f->count = stat.st_size;
    f->first = 0;
    return choose(c->head ? NULL : c->range, f);
}

/* Sends the part of the file. Returns whether all of it went. */
static int send_part(struct client *c, struct file *f)
{
    int64_t n, end = f->first + f->count;

    for (; f->first < end; f->first += n) {
        if (!netfd_cancel_fired(stop)) /* once it stops, there is no more time */
            check(netfd_set_write_deadline(c->fd, netfd_after(30 * SECOND)));
        n = end - f->first < PIECE ? end - f->first : PIECE;
        n = netfd_sendfile(c->fd, f->fd, f->first, n);
        if (n <= 0)
            return 0; /* too slow, gone, or the file has become shorter */
    }
    return 1;
}

/* Sends the answer. Returns whether all of it went. */
static int answer(struct client *c, struct file *f)
{
    int has_file = c->status == fine || c->status == partial, len;
    char out[1024], date[64], range[96] = "";
    const char *body = has_file ? "" : c->status + 4;

    tell_date(date, sizeof date);
    if (c->status == partial)
        snprintf(range, sizeof range, "Content-Range: bytes %lld-%lld/%lld\r\n",
                 (long long)f->first, (long long)(f->first + f->count - 1), (long long)f->size);
    else if (c->status == unsatisfiable)
        snprintf(range, sizeof range, "Content-Range: bytes */%lld\r\n", (long long)f->size);
    len = snprintf(out, sizeof out,
                   "HTTP/1.1 %s\r\nDate: %s\r\nContent-Type: %s\r\nContent-Length: %lld\r\n"
                   "Accept-Ranges: bytes\r\n%s%sConnection: %s\r\n\r\n%s",
                   c->status, date, has_file ? f->type : "text/plain",
                   has_file ? (long long)f->count : (long long)strlen(body), range,
                   c->status == not_allowed ? "Allow: GET, HEAD\r\n" : "",
                   c->keep_open ? "keep-alive" : "close", c->head ? "" : body);
    check(netfd_set_write_deadline(c->fd, netfd_after(30 * SECOND)));
    return netfd_write(c->fd, out, (size_t)len) == len
           && (c->head || !has_file || send_part(c, f));
}

static void serve(int fd)
{
    struct client c;
    struct file f;
    size_t len;
    int sent;

    c.fd = fd;
    c.have = 0;
    c.in[0] = '\0';
    do {
        c.head = c.keep_open = 0;
        memset(&f, 0, sizeof f);
        f.fd = -1;
        check(netfd_set_cancel(fd, stop));
        check(netfd_set_read_deadline(fd, netfd_after(30 * SECOND)));
        if ((len = receive(&c)) == 0)
            break;
        check(netfd_set_cancel(fd, NULL)); /* what was asked gets its answer */
        if (c.status == fine)
            c.status = find(&c, &f);
        if (c.status == bad || netfd_cancel_fired(stop))
            c.keep_open = 0;
        sent = answer(&c, &f);
        if (f.fd >= 0)
            close(f.fd);
        drop(&c, len);
    } while (sent && c.keep_open);
    if (len > 0)
        hang_up(&c);
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
    int threads = argc > 3 ? atoi(argv[3]) : 64, listener, i;
    pthread_t thread[MOST_THREADS];
    struct sigaction action;

    if (threads < 1 || threads > MOST_THREADS)
        fail("usage: static_http [FOLDER [PORT [THREADS up to 1024]]]");
    folder = open(argc > 1 ? argv[1] : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        fail("static_http: no such folder");
    if ((stop = netfd_cancel_new()) == NULL)
        fail("out of memory");
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);

    listener = listen_on(argc > 2 ? argv[2] : "0", "static_http");
    check(netfd_set_cancel(listener, stop));
    for (i = 0; i < threads; i++)
        thread[i] = start(work, &listener);
    for (i = 0; i < threads; i++)
        pthread_join(thread[i], NULL);
    check(netfd_destroy(listener));
    close(folder);
    printf("static_http: all ended\n");
    return 0; /* the token is not freed: a second Ctrl-C may still fire it */
}
