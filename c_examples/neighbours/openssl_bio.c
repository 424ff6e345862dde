/*
 * openssl_bio: what a deadline, a token, and an end that is gone look like through
 * OpenSSL, in a thread and then in a fiber.
 *
 * netfd_bio.h is what it is about: with it SSL_read() and SSL_write() are calls
 * of netfd's, as they are not after SSL_set_fd().
 *
 * Build: make -C c_examples; or, once that has built the library,
 *   cc -std=c99 -pthread -Iinclude c_examples/neighbours/openssl_bio.c -o openssl_bio \
 *      -Lc_examples/build -lnetfd -lssl -lcrypto -Wl,-rpath,c_examples/build
 * Run: c_examples/build/openssl_bio
 */
#define _POSIX_C_SOURCE 200809L
#include "netfd.h"
#include "netfd_bio.h"
#include "tls.h"

static SSL_CTX *server_context, *client_context;

/* Two ends of a connection, whose server is a thread or fiber of its own. */
struct scene {
    int client, server;
    SSL *ssl;
    struct netfd_cancel *token;
    struct netfd_group *running, *held;
};

/* More than the buffers of two sockets take. */
#define MUCH 1000000

static void expect(int holds, const char *claim)
{
    if (!holds) {
        ERR_print_errors_fp(stderr);
        fprintf(stderr, "openssl_bio: not so: %s\n", claim);
        exit(1);
    }
}

static char pattern(int i)
{
    return (char)('a' + i / 1000 % 26);
}

/* Reads nothing for a while, and then MUCH. */
static void swallow(struct scene *scene, SSL *ssl)
{
    char buf[4096];
    int have = 0, n, i;

    check(netfd_group_wait(scene->held, NETFD_NO_DEADLINE, NULL));
    while (have < MUCH) {
        n = SSL_read(ssl, buf, sizeof buf);
        expect(n > 0, "what was sent comes");
        for (i = 0; i < n; i++, have++)
            expect(buf[i] == pattern(have), "each byte of it once");
    }
}

/* Echoes, but for two words. "hold" goes before much that it is slow to read;
 * with "leave" it is gone, without a farewell. */
static void serve(void *arg)
{
    struct scene *scene = (struct scene *)arg;
    SSL *ssl = (SSL *)need(SSL_new(server_context));
    char buf[64];
    int n;

    NEED(netfd_bio_attach(ssl, scene->server, BIO_CLOSE));
    NEED(SSL_accept(ssl));
    while ((n = SSL_read(ssl, buf, sizeof buf)) > 0 && memcmp(buf, "leave", 5) != 0) {
        if (memcmp(buf, "hold", 4) == 0)
            swallow(scene, ssl);
        expect(SSL_write(ssl, buf, n) == n, "what came can be sent back");
    }
    SSL_free(ssl); /* which destroys the descriptor */
    netfd_group_done(scene->running);
}

static void fire_later(void *arg)
{
    struct scene *scene = (struct scene *)arg;

    netfd_sleep(50 * MS);
    netfd_cancel_fire(scene->token);
    netfd_group_done(scene->running);
}

/* A neighbour on the same worker, who leaves an error behind. */
static void leave_an_error(void *arg)
{
    struct scene *scene = (struct scene *)arg;

    ERR_clear_error();
    expect(SSL_CTX_use_certificate_file(client_context, "/nowhere", SSL_FILETYPE_PEM) != 1,
           "there is no such file");
    expect(ERR_peek_error() != 0, "an error is left behind");
    netfd_group_done(scene->running);
}

/* Starts fn(scene) as a thread where we are one, and as a fiber where not. */
struct task {
    void (*fn)(void *);
    void *arg;
};

static void *run_task(void *arg)
{
    struct task task = *(struct task *)arg;

    free(arg);
    task.fn(task.arg);
    return NULL;
}

static void beside(void (*fn)(void *), struct scene *scene)
{
    struct task *task;

    check(netfd_group_add(scene->running, 1));
    if (netfd_in_fiber()) {
        check(netfd_go(fn, scene));
        return;
    }
    task = (struct task *)need(malloc(sizeof *task));
    task->fn = fn;
    task->arg = scene;
    pthread_detach(start(run_task, task));
}

/* SSL_read() that has to end with a token or a deadline. */
static void ends_with(struct scene *scene, int code, int number, const char *claim)
{
    char buf[64];
    int n, why, said;

    ERR_clear_error();
    n = SSL_read(scene->ssl, buf, sizeof buf);
    said = errno;
    why = SSL_get_error(scene->ssl, n);
    expect(n < 0 && why == SSL_ERROR_WANT_READ && netfd_bio_code(scene->ssl) == code &&
           said == number, claim);
}

static void echoes(struct scene *scene, const char *message)
{
    char back[64];
    int len = (int)strlen(message);

    ERR_clear_error();
    expect(SSL_write(scene->ssl, message, len) == len, "the connection is whole");
    expect(SSL_read(scene->ssl, back, sizeof back) == len &&
           memcmp(back, message, (size_t)len) == 0, "the message comes back");
}

/* A write whose other end does not read: it ends at its deadline, in the middle
 * of a record, and goes on from there when it is called once more. */
static void writes_on(struct scene *scene)
{
    static char much[MUCH];
    char back[64];
    int i, n, why, said;

    for (i = 0; i < MUCH; i++)
        much[i] = pattern(i);
    check(netfd_group_add(scene->held, 1));
    expect(SSL_write(scene->ssl, "hold", 4) == 4, "it can be sent");
    check(netfd_set_write_deadline(scene->client, netfd_after(100 * MS)));
    n = SSL_write(scene->ssl, much, MUCH);
    said = errno;
    why = SSL_get_error(scene->ssl, n);
    expect(n < 0 && why == SSL_ERROR_WANT_WRITE && said == ETIMEDOUT &&
           netfd_bio_code(scene->ssl) == NETFD_EDEADLINE, "a deadline ends SSL_write()");
    check(netfd_set_write_deadline(scene->client, netfd_after(30 * SECOND)));
    check(netfd_group_done(scene->held));
    ERR_clear_error();
    expect(SSL_write(scene->ssl, much, MUCH) == MUCH, "the write goes on");
    expect(SSL_read(scene->ssl, back, sizeof back) == 4, "and all of it came");
}

/* Two ends that are connected. */
static void connect_ends(struct scene *scene)
{
    struct sockaddr_storage at;
    socklen_t len = sizeof at;
    char text[NETFD_ADDR_TEXT];
    int listener = (int)check(netfd_listen("tcp", "127.0.0.1:0", NULL)), little = 16384;

    check(netfd_local_addr(listener, (struct sockaddr *)&at, &len));
    check(netfd_addr_format((struct sockaddr *)&at, len, text, sizeof text));
    scene->client = (int)check(netfd_dial("tcp", text, NULL));
    scene->server = (int)check(netfd_accept(listener, NULL, NULL));
    check(netfd_destroy(listener));
    setsockopt(scene->client, SOL_SOCKET, SO_SNDBUF, &little, sizeof little); /* else it grows */
    scene->ssl = (SSL *)need(SSL_new(client_context));
    NEED(SSL_set1_host(scene->ssl, "localhost"));
    NEED(netfd_bio_attach(scene->ssl, scene->client, BIO_CLOSE));
    expect(SSL_get_fd(scene->ssl) == scene->client, "SSL_get_fd() knows the descriptor");
}

static void play(void *arg)
{
    const char *who = netfd_in_fiber() ? "a fiber" : "a thread";
    struct scene scene;
    int64_t begun;
    int n, said, why;

    scene.held = (struct netfd_group *)need(netfd_group_new());
    scene.running = (struct netfd_group *)need(netfd_group_new());
    scene.token = (struct netfd_cancel *)need(netfd_cancel_new());
    connect_ends(&scene);

    /* A handshake that nobody answers; the same one goes on once there is
     * somebody. */
    check(netfd_set_deadline(scene.client, netfd_after(50 * MS)));
    n = SSL_connect(scene.ssl);
    why = SSL_get_error(scene.ssl, n);
    expect(n < 0 && (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE) &&
           netfd_bio_code(scene.ssl) == NETFD_EDEADLINE, "a handshake ends at its deadline");
    check(netfd_set_deadline(scene.client, netfd_after(30 * SECOND)));
    beside(serve, &scene);
    expect(SSL_connect(scene.ssl) == 1, "the handshake goes on");
    echoes(&scene, "hello");

    begun = netfd_now();
    check(netfd_set_read_deadline(scene.client, begun + 50 * MS));
    ends_with(&scene, NETFD_EDEADLINE, ETIMEDOUT, "a deadline ends SSL_read()");
    expect(netfd_now() - begun >= 50 * MS, "not before it has passed");
    check(netfd_set_read_deadline(scene.client, netfd_after(30 * SECOND)));
    echoes(&scene, "after the deadline");

    check(netfd_set_cancel(scene.client, scene.token));
    beside(fire_later, &scene);
    ends_with(&scene, NETFD_ECANCELED, ECANCELED, "a token ends SSL_read()");
    check(netfd_set_cancel(scene.client, NULL));
    echoes(&scene, "after the token");

    check(netfd_set_read_deadline(scene.client, netfd_after(30 * SECOND)));
    writes_on(&scene);

    /* While we are parked in SSL_read(), somebody else's OpenSSL fails. */
    check(netfd_set_read_deadline(scene.client, netfd_after(50 * MS)));
    beside(leave_an_error, &scene);
    ends_with(&scene, NETFD_EDEADLINE, ETIMEDOUT, "another's error is not ours");

    /* And while what we have in the queue is ours: as if in the middle of an
     * alert that is being sent. */
    ERR_raise(ERR_LIB_USER, 7);
    beside(leave_an_error, &scene);
    check(netfd_set_read_deadline(scene.client, netfd_after(50 * MS)));
    expect(BIO_read(SSL_get_rbio(scene.ssl), &n, 1) < 0 &&
           ERR_GET_LIB(ERR_peek_error()) == ERR_LIB_USER &&
           ERR_GET_REASON(ERR_peek_error()) == 7, "our error is ours still");

    /* The other end is gone. The first write meets its kernel, a later one
     * would raise SIGPIPE, which would end this program. */
    ERR_clear_error();
    expect(SSL_write(scene.ssl, "leave", 5) == 5, "the connection is whole");
    check(netfd_group_wait(scene.running, NETFD_NO_DEADLINE, NULL));
    do {
        ERR_clear_error();
        n = SSL_write(scene.ssl, "anybody?", 8);
        said = errno;
        why = SSL_get_error(scene.ssl, n);
    } while (n > 0);
    expect(why == SSL_ERROR_SYSCALL && (said == EPIPE || said == ECONNRESET) &&
           netfd_bio_code(scene.ssl) == -said, "a write to nobody fails, and without SIGPIPE");

    SSL_free(scene.ssl);
    expect(netfd_set_deadline(scene.client, 0) == NETFD_ECLOSED, "BIO_CLOSE destroys");
    netfd_cancel_free(scene.token);
    netfd_group_free(scene.held);
    netfd_group_free(scene.running);
    printf("openssl_bio: in %s deadline, token and no SIGPIPE hold\n", who);
    if (arg != NULL)
        netfd_group_done((struct netfd_group *)arg);
}

int main(void)
{
    struct netfd_group *fiber = (struct netfd_group *)need(netfd_group_new());

    make_contexts(&server_context, &client_context);
    play(NULL);
    check(netfd_group_add(fiber, 1));
    check(netfd_go(play, fiber));
    check(netfd_group_wait(fiber, NETFD_NO_DEADLINE, NULL));
    netfd_group_free(fiber);
    SSL_CTX_free(client_context);
    SSL_CTX_free(server_context);
    return 0;
}
