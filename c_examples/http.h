/*
 * What the HTTP servers among the examples share: a request's header is read
 * and understood, as far as GET and HEAD need it (RFC 9112).
 */
#ifndef HTTP_H
#define HTTP_H

#include "netfd.h"
#include "example.h"

#include <string.h>
#include <strings.h>
#include <time.h>

enum { LIMIT = 8192 }; /* bytes of a header */

static const char fine[] = "200 OK", bad[] = "400 Bad Request",
                  unknown[] = "404 Not Found", not_allowed[] = "405 Method Not Allowed",
                  too_large[] = "431 Request Header Fields Too Large";

struct client {
    int fd;
    const char *status;  /* of the answer */
    int head, keep_open; /* no body in it; another request may follow */
    char *path;          /* of what is fine, as it was asked for: not decoded */
    const char *range;   /* the field of that name, or NULL */
    size_t have;         /* bytes in `in`: a request, and maybe more behind it */
    char in[LIMIT + 1];  /* with a NUL behind them */
};

/* Forgets the first bytes that came. */
static inline void drop(struct client *c, size_t n)
{
    c->have -= n;
    memmove(c->in, c->in + n, c->have + 1);
}

/* Reads until a header is there. Returns its length, or 0: no more requests. */
static inline size_t receive(struct client *c)
{
    char *end;
    ssize_t n;

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
    if (end == NULL) {
        c->status = c->have == LIMIT ? too_large : bad;
        return c->have;
    }
    c->status = fine;
    *end = '\0';
    return (size_t)(end - c->in) + 4;
}

/* Ends a text before `by`, and returns what is behind it. */
static inline char *cut(char *text, const char *by)
{
    char *at = text ? strstr(text, by) : NULL;

    if (at == NULL)
        return NULL;
    *at = '\0';
    return at + strlen(by);
}

/* Whether a list such as "keep-alive, TE" has a word. */
static inline int has_word(const char *list, const char *word)
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
static inline const char *parse(struct client *c)
{
    char *line = cut(c->in, "\r\n"), *path = cut(c->in, " ");
    char *version = cut(path, " "), *next, *value, *end;
    int hosts = 0, keep = 0, ranges = 0, modern;

    if (version == NULL || strncmp(version, "HTTP/1.", 7) != 0
        || strspn(version + 7, "0123456789") != 1 || version[8] != '\0')
        return bad;
    modern = version[7] != '0';
    c->head = strcmp(c->in, "HEAD") == 0;
    c->keep_open = 1;
    c->range = NULL;
    for (; line != NULL; line = next) {
        next = cut(line, "\r\n");
        value = cut(line, ":");
        if (value == NULL || *line == '\0' || strpbrk(line, " \t") != NULL)
            return bad;
        value += strspn(value, " \t");
        for (end = value + strlen(value); end > value && strchr(" \t", end[-1]) != NULL;)
            *--end = '\0';
        if (strcasecmp(line, "Host") == 0) {
            hosts++;
        } else if (strcasecmp(line, "Connection") == 0) {
            keep |= has_word(value, "keep-alive");
            c->keep_open &= !has_word(value, "close");
        } else if (strcasecmp(line, "Transfer-Encoding") == 0
                   || (strcasecmp(line, "Content-Length") == 0 && strcmp(value, "0") != 0)) {
            c->keep_open = 0; /* a body, which is not read */
        } else if (strcasecmp(line, "Range") == 0) {
            c->range = value;
            ranges++;
        } else if (strcasecmp(line, "If-Range") == 0) {
            ranges = 2; /* of what we never said: the whole is wanted */
        }
    }
    if (ranges != 1)
        c->range = NULL;
    c->keep_open &= modern || keep;
    if (hosts > 1 || hosts < modern)
        return bad;
    if (!c->head && strcmp(c->in, "GET") != 0)
        return not_allowed;
    if (strncasecmp(path, "http://", 7) == 0) /* as a proxy is asked */
        path += 7 + strcspn(path + 7, "/?");
    path[strcspn(path, "?")] = '\0';
    c->path = path;
    return fine;
}

/* The time as the field Date has it. */
static inline void tell_date(char *text, size_t size)
{
    time_t now = time(NULL);
    struct tm tm;

    strftime(text, size, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &tm));
}

/* What the servers that say hello have: one page. Returns the status of the
 * answer to a request. */
static inline const char *find_hello(struct client *c)
{
    const char *status = parse(c);

    if (status != fine)
        return status;
    return *c->path == '\0' || strcmp(c->path, "/") == 0 ? fine : unknown;
}

/* Sends the answer. Returns whether all of it went. */
static inline int answer_hello(struct client *c)
{
    const char *body = c->status == fine ? "Hello, world!" : c->status + 4;
    char out[512], date[64];
    int len;

    tell_date(date, sizeof date);
    len = snprintf(out, sizeof out,
                   "HTTP/1.1 %s\r\nDate: %s\r\nContent-Type: text/plain\r\n%s"
                   "Content-Length: %d\r\nConnection: %s\r\n\r\n%s%s",
                   c->status, date, c->status == not_allowed ? "Allow: GET, HEAD\r\n" : "",
                   (int)strlen(body) + 1, c->keep_open ? "keep-alive" : "close",
                   c->head ? "" : body, c->head ? "" : "\n");
    netfd_set_write_deadline(c->fd, netfd_after(30 * SECOND)); /* fails where the write does */
    return netfd_write(c->fd, out, (size_t)len) == len;
}

/* Closing with bytes unread would reset the connection, and maybe take the
 * last answer from the client. So wait until it hangs up, for a while. */
static inline void hang_up(struct client *c)
{
    netfd_shutdown(c->fd, SHUT_WR);
    netfd_set_read_deadline(c->fd, netfd_after(SECOND));
    while (netfd_read(c->fd, c->in, LIMIT) > 0)
        continue;
}

#endif
