/*
 * libcurl_fetch: requests over netfd's sockets, in a thread and then in a fiber.
 *
 * netfd_curl.h is what it is about: it has libcurl dial by netfd_dial(), wait
 * by netfd_wait() and close by netfd_destroy(), so that a token ends a request
 * wherever it is, and a fiber that makes one holds nobody up.
 *
 * Build: make -C c_examples; or, once that has built the library,
 *   cc -std=c99 -pthread -Iinclude c_examples/neighbours/libcurl_fetch.c -o libcurl_fetch \
 *      -Lc_examples/build -lnetfd -lcurl -Wl,-rpath,c_examples/build
 * Run: c_examples/build/libcurl_fetch
 */
#define _POSIX_C_SOURCE 200809L
#include "netfd.h"
#include "../example.h"
#include "netfd_curl.h"

#include <string.h>

static char server[NETFD_ADDR_TEXT]; /* where ours is */
static struct netfd_cancel *stop;    /* ends it */
static struct netfd_group *serving, *firing;

static void expect(int holds, const char *claim)
{
    if (!holds) {
        fprintf(stderr, "libcurl_fetch: not so: %s\n", claim);
        exit(1);
    }
}

/* "GET /slow" is answered in part, and then no more; all else at once. */
static void answer(int fd, void *arg)
{
    static const char whole[] = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n";
    static const char part[] = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhel";
    char buf[1024];
    ssize_t n;

    (void)arg;
    /* Small requests come in one piece from this client; a server that is no
     * example reads up to the empty line. */
    while ((n = netfd_read(fd, buf, sizeof buf)) > 0) {
        int slow = n > 9 && memcmp(buf, "GET /slow", 9) == 0;

        if (netfd_write(fd, slow ? part : whole, slow ? sizeof part - 1 : sizeof whole - 1) < 0)
            break;
    }
}

static void serve(void *listener)
{
    struct netfd_serve_config config;

    memset(&config, 0, sizeof config);
    config.size = sizeof config;
    config.drain_timeout = -1;
    check(netfd_serve(*(int *)listener, answer, NULL, &config));
    netfd_group_done(serving);
}

static size_t keep(char *data, size_t size, size_t count, void *arg)
{
    char *body = (char *)arg;

    if (strlen(body) + size * count > 63)
        return 0; /* more than there is room for: libcurl ends it */
    strncat(body, data, size * count);
    return size * count;
}

/* One request; what came of its body is in `body`. */
static CURLcode get(CURL *easy, struct netfd_curl *with, const char *host, const char *path,
                    char *body)
{
    char url[2 * NETFD_ADDR_TEXT];

    snprintf(url, sizeof url, "http://%s%s", host, path);
    body[0] = '\0';
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_PROXY, ""); /* whatever the environment says */
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, keep);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, body);
    return netfd_curl_perform(easy, with);
}

static void is_answered(CURL *easy, struct netfd_curl *with, const char *host, const char *claim)
{
    char body[64];

    expect(get(easy, with, host, "/", body) == CURLE_OK && strcmp(body, "hello\n") == 0, claim);
}

/* By then libcurl has no timer of its own that could end the wait. */
static void fire_later(void *token)
{
    netfd_sleep(300 * MS);
    netfd_cancel_fire((struct netfd_cancel *)token);
    netfd_group_done(firing);
}

/* The server's "/slow" has half an answer, a full queue not even a connection. */
static void ends_by_token(CURL *easy, struct netfd_curl *with, const char *host, const char *claim)
{
    int64_t begun = netfd_now();
    char body[64];

    with->cancel = netfd_cancel_new();
    check(netfd_group_add(firing, 1));
    check(netfd_go(fire_later, with->cancel));
    expect(get(easy, with, host, "/slow", body) == CURLE_ABORTED_BY_CALLBACK &&
           with->code == NETFD_ECANCELED, claim);
    expect(netfd_now() - begun < 5 * SECOND, "at once, but for what a busy machine takes");
    check(netfd_group_wait(firing, NETFD_NO_DEADLINE, NULL)); /* it has done with the token */
    netfd_cancel_free(with->cancel);
    with->cancel = NULL;
}

/* A listener whose queue is full: who dials it waits. */
static int full(char *where, int *fillers, int *count, int cap)
{
    struct netfd_listen_config listening;
    struct netfd_dial_config dialing;
    struct sockaddr_storage at;
    socklen_t len = sizeof at;
    int listener, fd;

    memset(&listening, 0, sizeof listening);
    memset(&dialing, 0, sizeof dialing);
    listening.size = sizeof listening;
    listening.backlog = 1;
    listener = (int)check(netfd_listen("tcp", "127.0.0.1:0", &listening));
    check(netfd_local_addr(listener, (struct sockaddr *)&at, &len));
    check(netfd_addr_format((struct sockaddr *)&at, len, where, NETFD_ADDR_TEXT));
    dialing.size = sizeof dialing;
    do {
        dialing.deadline = netfd_after(100 * MS);
        if ((fd = netfd_dial("tcp", where, &dialing)) >= 0)
            fillers[(*count)++] = fd;
    } while (fd >= 0 && *count < cap);
    expect(fd == NETFD_EDEADLINE, "a queue gets full");
    return listener;
}

static uint64_t open_fds(void)
{
    struct netfd_stats stats;

    stats.size = sizeof stats;
    check(netfd_stats(&stats));
    return stats.open_fds;
}

static void play(void *player)
{
    const char *who = netfd_in_fiber() ? "a fiber" : "a thread";
    char body[64], by_name[NETFD_ADDR_TEXT], where[NETFD_ADDR_TEXT];
    CURL *easy = curl_easy_init();
    struct netfd_curl with;
    int listener, fillers[16], count = 0;
    uint64_t before;
    int64_t begun, limit;
    long made;

    memset(&with, 0, sizeof with);
    expect(easy != NULL, "libcurl has a handle");
    listener = full(where, fillers, &count, 16);
    before = open_fds();

    is_answered(easy, &with, server, "an answer comes");
    is_answered(easy, &with, server, "another one");
    expect(curl_easy_getinfo(easy, CURLINFO_NUM_CONNECTS, &made) == CURLE_OK && made == 0,
           "by the same connection");
    expect(with.open == 1, "which is netfd's");

    snprintf(by_name, sizeof by_name, "localhost%s", strrchr(server, ':'));
    is_answered(easy, &with, by_name, "a name is looked up");

    /* In the middle of an answer. */
    with.deadline = (begun = netfd_now()) + 300 * MS;
    expect(get(easy, &with, server, "/slow", body) == CURLE_OPERATION_TIMEDOUT &&
           with.code == NETFD_EDEADLINE, "a deadline ends it");
    expect(netfd_now() - begun >= 300 * MS, "not before it has passed");
    expect(strcmp(body, "hel") == 0, "what had come is there");

    with.deadline = netfd_after(100 * MS);
    expect(get(easy, &with, where, "/", body) == CURLE_OPERATION_TIMEDOUT &&
           with.code == NETFD_EDEADLINE, "a deadline ends the dial");
    with.deadline = NETFD_NO_DEADLINE;

    ends_by_token(easy, &with, server, "a token ends it");
    ends_by_token(easy, &with, where, "a token ends the dial");

    is_answered(easy, &with, server, "the handle is as good as before");
    curl_easy_cleanup(easy);
    netfd_curl_end(&with);
    expect(with.open == 0, "closed connections are destroyed");
    limit = netfd_after(10 * SECOND);
    while (open_fds() != before) { /* the server's ends */
        expect(netfd_now() < limit, "no descriptor is left");
        netfd_sleep(1 * MS);
    }
    while (count > 0)
        check(netfd_destroy(fillers[--count]));
    check(netfd_destroy(listener));
    printf("libcurl_fetch: in %s answers come, deadline and token hold\n", who);
    if (player != NULL)
        netfd_group_done((struct netfd_group *)player);
}

int main(void)
{
    struct netfd_group *player = netfd_group_new();
    struct sockaddr_storage at;
    socklen_t len = sizeof at;
    int listener;

    stop = netfd_cancel_new();
    serving = netfd_group_new();
    firing = netfd_group_new();
    expect(curl_global_init(CURL_GLOBAL_DEFAULT) == 0 && stop != NULL && serving != NULL &&
           firing != NULL && player != NULL, "there is memory");
    listener = (int)check(netfd_listen("tcp", "127.0.0.1:0", NULL));
    check(netfd_local_addr(listener, (struct sockaddr *)&at, &len));
    check(netfd_addr_format((struct sockaddr *)&at, len, server, sizeof server));
    check(netfd_set_cancel(listener, stop));
    check(netfd_group_add(serving, 1));
    check(netfd_go(serve, &listener));

    play(NULL);
    check(netfd_group_add(player, 1));
    check(netfd_go(play, player));
    check(netfd_group_wait(player, NETFD_NO_DEADLINE, NULL));
    netfd_cancel_fire(stop);
    check(netfd_group_wait(serving, NETFD_NO_DEADLINE, NULL));
    check(netfd_destroy(listener));
    netfd_group_free(player);
    netfd_group_free(firing);
    netfd_group_free(serving);
    netfd_cancel_free(stop);
    curl_global_cleanup();
    return 0;
}
