/*
 * fiber_tls: OpenSSL over netfd, server and clients in one program.
 *
 * A fiber calls SSL_read() and SSL_write() as a thread would, and parks inside
 * of them: neighbours/netfd_bio.h is what OpenSSL reads and writes through. Its
 * queue of errors is the thread's and not the fiber's; the BIO puts it aside
 * over a park, and we empty it before a step and ask it right behind.
 *
 * Build: make -C c_examples; or, once that has built the library,
 *   cc -std=c99 -pthread -Iinclude c_examples/fiber_tls.c -o fiber_tls \
 *      -Lc_examples/build -lnetfd -lssl -lcrypto -Wl,-rpath,c_examples/build
 * Run: c_examples/build/fiber_tls [CLIENTS [ROUNDS]]
 */
#define _POSIX_C_SOURCE 200809L
#include "netfd.h"
#include "example.h"
#include "neighbours/netfd_bio.h"
#include "neighbours/tls.h"

#include <string.h>

static SSL_CTX *server_context, *client_context;
static struct netfd_cancel *stop; /* fired when all clients are done */
static struct netfd_group *clients, *server;
static char at[NETFD_ADDR_TEXT];
static int rounds = 20;

/* The next step of OpenSSL's begins with an empty queue of errors, as
 * SSL_get_error() wants it. */
static SSL *next(SSL *ssl)
{
    ERR_clear_error();
    return ssl;
}

/* A connection's TLS. It does not own the descriptor. */
static SSL *tls_begin(int fd, SSL_CTX *context)
{
    SSL *ssl = (SSL *)need(SSL_new(context));

    NEED(netfd_bio_attach(ssl, fd, BIO_NOCLOSE));
    return ssl;
}

/* Passes on what a step of OpenSSL's returned. One that failed is explained:
 * by netfd where it was the connection, else by OpenSSL. */
static int explain(SSL *ssl, int result)
{
    char text[256];

    switch (SSL_get_error(ssl, result)) {
    case SSL_ERROR_WANT_READ:  /* a deadline */
    case SSL_ERROR_WANT_WRITE: /* likewise */
    case SSL_ERROR_SYSCALL:
        fprintf(stderr, "fiber_tls: %s\n", netfd_strerror(netfd_bio_code(ssl)));
        break;
    case SSL_ERROR_SSL:
        ERR_error_string_n(ERR_peek_error(), text, sizeof text);
        fprintf(stderr, "fiber_tls: %s\n", text);
        break;
    default: /* it succeeded, or the other end said farewell */
        break;
    }
    return result;
}

static void echo(int fd, void *arg)
{
    SSL *ssl = tls_begin(fd, server_context);
    char buf[1024];
    int n;

    (void)arg;
    netfd_set_deadline(fd, netfd_after(30 * SECOND));
    if (explain(ssl, SSL_accept(next(ssl))) > 0)
        while ((n = explain(ssl, SSL_read(next(ssl), buf, sizeof buf))) > 0 &&
               explain(ssl, SSL_write(next(ssl), buf, n)) == n)
            continue;
    if (SSL_get_shutdown(ssl) & SSL_RECEIVED_SHUTDOWN)
        SSL_shutdown(next(ssl)); /* an answer to a farewell, and only to one */
    SSL_free(ssl);
}

static void serve(void *listener)
{
    check(netfd_serve(*(int *)listener, echo, NULL, NULL));
    netfd_group_done(server);
}

static void talk(void *arg)
{
    int fd = (int)check(netfd_dial("tcp", at, NULL)), round, n, len, have;
    SSL *ssl = tls_begin(fd, client_context);
    char message[64], back[64];

    check(netfd_set_deadline(fd, netfd_after(30 * SECOND)));
    NEED(SSL_set1_host(ssl, "localhost")); /* whom the certificate is for */
    if (explain(ssl, SSL_connect(next(ssl))) <= 0)
        fail("no handshake");
    for (round = 0; round < rounds; round++) {
        len = snprintf(message, sizeof message, "%d of client %d", round, (int)(intptr_t)arg);
        if (explain(ssl, SSL_write(next(ssl), message, len)) != len)
            fail("it cannot be sent");
        for (have = 0; have < len; have += n)
            if ((n = explain(ssl, SSL_read(next(ssl), back + have, (int)sizeof back - have))) <= 0)
                fail("the other end hung up");
        if (have != len || memcmp(message, back, (size_t)len) != 0)
            fail("what came back is not what was sent");
    }
    SSL_shutdown(next(ssl));
    SSL_free(ssl);
    check(netfd_destroy(fd));
    netfd_group_done(clients);
}

int main(int argc, char **argv)
{
    int count = argc > 1 ? atoi(argv[1]) : 100, listener, i;
    struct sockaddr_storage where;
    socklen_t len = sizeof where;

    if (argc > 2)
        rounds = atoi(argv[2]);
    make_contexts(&server_context, &client_context);
    stop = (struct netfd_cancel *)need(netfd_cancel_new());
    clients = (struct netfd_group *)need(netfd_group_new());
    server = (struct netfd_group *)need(netfd_group_new());

    listener = (int)check(netfd_listen("tcp", "127.0.0.1:0", NULL));
    check(netfd_local_addr(listener, (struct sockaddr *)&where, &len));
    check(netfd_addr_format((struct sockaddr *)&where, len, at, sizeof at));
    check(netfd_set_cancel(listener, stop));
    check(netfd_group_add(server, 1));
    check(netfd_go(serve, &listener));

    check(netfd_group_add(clients, count));
    for (i = 0; i < count; i++)
        check(netfd_go(talk, (void *)(intptr_t)i));
    check(netfd_group_wait(clients, NETFD_NO_DEADLINE, NULL));
    netfd_cancel_fire(stop);
    check(netfd_group_wait(server, NETFD_NO_DEADLINE, NULL));
    printf("fiber_tls: %d clients, %d messages each, and every one came back\n", count, rounds);

    check(netfd_destroy(listener));
    netfd_group_free(server);
    netfd_group_free(clients);
    netfd_cancel_free(stop);
    SSL_CTX_free(client_context);
    SSL_CTX_free(server_context);
    return 0;
}
