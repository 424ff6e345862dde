/*
 * netfd_curl.h: libcurl over netfd. To be copied into a program of one's own.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * netfd_curl_perform() is curl_easy_perform(), but
 *
 *   - its sockets are netfd's: dialed by netfd_dial() and closed by
 *     netfd_destroy();
 *   - it parks its thread, or its fiber, whose worker runs others meanwhile;
 *   - a token ends it at once, and a deadline, whether it dials, waits for an
 *     answer or is in the middle of it: CURLE_ABORTED_BY_CALLBACK,
 *     CURLE_OPERATION_TIMEDOUT.
 *
 * libcurl looks names up itself, in a thread of its own, whose end is looked for
 * every 10 ms; netfd_resolve() and CURLOPT_RESOLVE spare that. Connections are
 * kept for the next request, until netfd_curl_end().
 *
 * libcurl 7.72 and later.
 */
#ifndef NETFD_CURL_H
#define NETFD_CURL_H

#include "netfd.h"

#include <curl/curl.h>
#include <string.h>
#include <unistd.h>

#define NETFD_CURL_SOCKETS 8

struct netfd_curl_wait {
    curl_socket_t fd;
    int events;
};

/* All zero at first, but for what the caller wants. One for each thread or
 * fiber that has something to fetch at a time. */
struct netfd_curl {
    struct netfd_cancel *cancel; /* a token, or NULL */
    int64_t deadline;            /* of all of it, or NETFD_NO_DEADLINE */
    int code;                    /* out: netfd's, where netfd ended it; else 0 */

    CURLM *multi; /* has the connections */
    int64_t wake; /* when libcurl wants to be called; 0: when something comes */
    int open;     /* how many of netfd's descriptors it has */
    int fds[NETFD_CURL_SOCKETS];
    int count; /* how many descriptors it waits for */
    struct netfd_curl_wait waits[NETFD_CURL_SOCKETS];
};

static inline int netfd_curl_find(const struct netfd_curl *with, curl_socket_t fd)
{
    int i = with->open;

    while (--i >= 0 && with->fds[i] != fd)
        continue;
    return i;
}

static inline curl_socket_t netfd_curl_open(void *arg, curlsocktype purpose,
                                            struct curl_sockaddr *address)
{
    struct netfd_curl *with = (struct netfd_curl *)arg;
    struct netfd_dial_config config;
    char text[NETFD_ADDR_TEXT];
    int fd;

    (void)purpose;
    if (with->open == NETFD_CURL_SOCKETS)
        return CURL_SOCKET_BAD;
    fd = netfd_addr_format(&address->addr, address->addrlen, text, sizeof text);
    memset(&config, 0, sizeof config);
    config.size = sizeof config;
    config.deadline = with->deadline;
    config.cancel = with->cancel;
    if (fd >= 0)
        fd = netfd_dial(address->family == AF_UNIX ? "unix" : "tcp", text, &config);
    with->code = fd < 0 ? fd : 0;
    if (fd < 0)
        return CURL_SOCKET_BAD;
    netfd_set_cancel(fd, with->cancel); /* so that netfd_wait() obeys it */
    return with->fds[with->open++] = fd;
}

static inline int netfd_curl_option(void *arg, curl_socket_t fd, curlsocktype purpose)
{
    (void)arg, (void)fd, (void)purpose;
    return CURL_SOCKOPT_ALREADY_CONNECTED;
}

static inline int netfd_curl_close(void *arg, curl_socket_t fd)
{
    struct netfd_curl *with = (struct netfd_curl *)arg;
    int i = netfd_curl_find(with, fd);

    if (i < 0)
        return close(fd); /* not one that netfd_curl_open() made */
    with->fds[i] = with->fds[--with->open];
    netfd_destroy(fd);
    return 0;
}

/* libcurl says what it waits for, and for how long. */
static inline int netfd_curl_on_socket(CURL *easy, curl_socket_t fd, int events, void *arg,
                                       void *of)
{
    struct netfd_curl *with = (struct netfd_curl *)arg;
    int i = 0;

    (void)easy, (void)of;
    while (i < with->count && with->waits[i].fd != fd)
        i++;
    if (events == CURL_POLL_REMOVE || events == CURL_POLL_NONE) {
        if (i < with->count)
            with->waits[i] = with->waits[--with->count];
        return 0;
    }
    if (i == NETFD_CURL_SOCKETS)
        return -1;
    if (i == with->count)
        with->waits[with->count++].fd = fd;
    with->waits[i].events = (events & CURL_POLL_IN ? NETFD_READABLE : 0) |
                            (events & CURL_POLL_OUT ? NETFD_WRITABLE : 0);
    return 0;
}

static inline int netfd_curl_on_timer(CURLM *multi, long ms, void *arg)
{
    (void)multi;
    ((struct netfd_curl *)arg)->wake = ms < 0 ? 0 : netfd_after((int64_t)ms * 1000000);
    return 0;
}

static inline int netfd_curl_action(int ready)
{
    return (ready & NETFD_READABLE ? CURL_CSELECT_IN : 0) |
           (ready & NETFD_WRITABLE ? CURL_CSELECT_OUT : 0);
}

/* Waits once, and tells libcurl what has come. 0, or what it ends with. */
static inline int netfd_curl_turn(struct netfd_curl *with, int *running)
{
    struct netfd_curl_wait waits[NETFD_CURL_SOCKETS];
    int64_t until = with->wake, soon = netfd_after(10000000);
    int i, ready, count = with->count, first = 0;

    for (i = 0; i < count; i++) /* libcurl changes them while we look */
        waits[i] = with->waits[i];
    while (first < count && netfd_curl_find(with, waits[first].fd) < 0)
        first++;
    if (with->cancel != NULL && netfd_cancel_fired(with->cancel))
        return NETFD_ECANCELED;
    if (with->deadline != NETFD_NO_DEADLINE && netfd_now() >= with->deadline)
        return NETFD_EDEADLINE;
    if (with->deadline != NETFD_NO_DEADLINE && (until == 0 || with->deadline < until))
        until = with->deadline;
    /* One descriptor of netfd's is waited for. What else there is, as a rule
     * where libcurl hears of its resolver, is looked at now and then. */
    if ((count != 1 || first != 0) && (until == 0 || soon < until))
        until = soon;

    if (first == count)
        netfd_sleep(until - netfd_now());
    for (i = 0; i < count; i++) {
        if (netfd_curl_find(with, waits[i].fd) < 0)
            ready = 0; /* libcurl looks for itself */
        else
            ready = netfd_wait(waits[i].fd, waits[i].events, i == first ? until : 1);
        if (ready == NETFD_EDEADLINE)
            continue;
        if (ready < 0)
            return ready;
        curl_multi_socket_action(with->multi, waits[i].fd, netfd_curl_action(ready), running);
    }
    if (with->wake != 0 && netfd_now() >= with->wake) {
        with->wake = 0;
        curl_multi_socket_action(with->multi, CURL_SOCKET_TIMEOUT, 0, running);
    }
    return 0;
}

static inline CURLcode netfd_curl_perform(CURL *easy, struct netfd_curl *with)
{
    CURLcode result = CURLE_FAILED_INIT;
    int running = 1, left, code = 0, i;
    CURLMsg *message;

    if (with->multi == NULL && (with->multi = curl_multi_init()) == NULL)
        return CURLE_OUT_OF_MEMORY;
    curl_multi_setopt(with->multi, CURLMOPT_SOCKETFUNCTION, netfd_curl_on_socket);
    curl_multi_setopt(with->multi, CURLMOPT_SOCKETDATA, with);
    curl_multi_setopt(with->multi, CURLMOPT_TIMERFUNCTION, netfd_curl_on_timer);
    curl_multi_setopt(with->multi, CURLMOPT_TIMERDATA, with);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, netfd_curl_open);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, with);
    curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, netfd_curl_option);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, netfd_curl_close);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, with);
    for (i = 0; i < with->open; i++) /* kept from before, with the token of before */
        netfd_set_cancel(with->fds[i], with->cancel);
    with->code = 0;

    if (curl_multi_add_handle(with->multi, easy) != CURLM_OK)
        return result;
    while (code == 0 && running)
        code = netfd_curl_turn(with, &running);
    while ((message = curl_multi_info_read(with->multi, &left)) != NULL)
        if (message->msg == CURLMSG_DONE && message->easy_handle == easy)
            result = message->data.result;
    curl_multi_remove_handle(with->multi, easy); /* closes what is in the middle of something */

    if (code != 0) {
        with->code = code;
        result = CURLE_RECV_ERROR;
    }
    if (result != CURLE_OK && with->code == NETFD_ECANCELED)
        return CURLE_ABORTED_BY_CALLBACK;
    if (result != CURLE_OK && with->code == NETFD_EDEADLINE)
        return CURLE_OPERATION_TIMEDOUT;
    return result;
}

/* Closes the connections that were kept. The struct may be used again. */
static inline void netfd_curl_end(struct netfd_curl *with)
{
    if (with->multi != NULL)
        curl_multi_cleanup(with->multi);
    with->multi = NULL;
}

#endif
