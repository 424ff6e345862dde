/*
 * fiber_tls: OpenSSL over netfd, server and clients in one program.
 *
 * OpenSSL works on two buffers in memory and never sees a descriptor: what it
 * wants sent is written by netfd_write(), what it waits for is read by
 * netfd_read(), and each of them parks the fiber. So nothing parks inside
 * OpenSSL. That matters, for its queue of errors is the thread's and not the
 * fiber's: it is emptied before a step and asked right behind it, before
 * another fiber of the same worker can put its own errors there.
 *
 * The certificate is made at the start, and the clients trust it and no other.
 *
 * Build: make -C c_examples; or, once that has built the library,
 *   cc -std=c99 -pthread -Iinclude c_examples/fiber_tls.c -o fiber_tls \
 *      -Lc_examples/build -lnetfd -lssl -lcrypto -Wl,-rpath,c_examples/build
 * Run: c_examples/build/fiber_tls [CLIENTS [ROUNDS]]
 */
#define _POSIX_C_SOURCE 200809L
#include "netfd.h"
#include "example.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <string.h>

struct tls {
    int fd;
    SSL *ssl;
    BIO *in, *out; /* what has come, what is to go; they are the SSL's */
};

static SSL_CTX *server_context, *client_context;
static struct netfd_cancel *stop; /* fired when all clients are done */
static struct netfd_group *clients, *server;
static char at[NETFD_ADDR_TEXT];
static int rounds = 20;

/* Passes on what a function of OpenSSL's returned, and ends the program where
 * it says 0. Not for what may fail because of the other end. */
static void *need(const void *result)
{
    if (result == NULL) {
        ERR_print_errors_fp(stderr);
        fail("OpenSSL does not do what it should");
    }
    return (void *)(intptr_t)result;
}

#define NEED(result) need((result) > 0 ? "" : NULL)

/* The key and the certificate, which vouches for itself. */
static void make_contexts(void)
{
    EVP_PKEY_CTX *maker = (EVP_PKEY_CTX *)need(EVP_PKEY_CTX_new_id(EVP_PKEY_ED25519, NULL));
    X509 *paper = (X509 *)need(X509_new());
    X509_NAME *name = X509_get_subject_name(paper);
    EVP_PKEY *key = NULL;

    NEED(EVP_PKEY_keygen_init(maker));
    NEED(EVP_PKEY_keygen(maker, &key));
    NEED(X509_set_version(paper, 2)); /* which is the third */
    NEED(ASN1_INTEGER_set(X509_get_serialNumber(paper), 1));
    need(X509_gmtime_adj(X509_getm_notBefore(paper), -60));
    need(X509_gmtime_adj(X509_getm_notAfter(paper), 3600));
    NEED(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                                    (const unsigned char *)"localhost", -1, -1, 0));
    NEED(X509_set_issuer_name(paper, name));
    NEED(X509_set_pubkey(paper, key));
    NEED(X509_sign(paper, key, NULL));

    server_context = (SSL_CTX *)need(SSL_CTX_new(TLS_server_method()));
    NEED(SSL_CTX_use_certificate(server_context, paper));
    NEED(SSL_CTX_use_PrivateKey(server_context, key));
    client_context = (SSL_CTX *)need(SSL_CTX_new(TLS_client_method()));
    NEED(X509_STORE_add_cert(SSL_CTX_get_cert_store(client_context), paper));
    SSL_CTX_set_verify(client_context, SSL_VERIFY_PEER, NULL);
    X509_free(paper);
    EVP_PKEY_free(key);
    EVP_PKEY_CTX_free(maker);
}

static void tls_begin(struct tls *t, int fd, SSL_CTX *context)
{
    t->fd = fd;
    t->ssl = (SSL *)need(SSL_new(context));
    t->in = (BIO *)need(BIO_new(BIO_s_mem()));
    t->out = (BIO *)need(BIO_new(BIO_s_mem()));
    SSL_set_bio(t->ssl, t->in, t->out);
}

/* Sends what OpenSSL has left to be sent. */
static int flush(struct tls *t)
{
    char buf[4096];
    int n;

    while ((n = BIO_read(t->out, buf, sizeof buf)) > 0)
        if (netfd_write(t->fd, buf, (size_t)n) != n) {
            complain();
            return 0;
        }
    return 1;
}

/* After a step: sends, and receives if that is what is missing. Returns
 * whether to take the step again; `result` becomes -1 where it failed. */
static int goes_on(struct tls *t, int *result)
{
    int why = SSL_get_error(t->ssl, *result); /* first, before anything parks */
    char buf[4096];
    ssize_t n;

    if (why == SSL_ERROR_SSL) {
        ERR_error_string_n(ERR_peek_error(), buf, sizeof buf);
        fprintf(stderr, "%s\n", buf);
    }
    if (!flush(t) || why == SSL_ERROR_SSL || why == SSL_ERROR_SYSCALL)
        *result = -1;
    else if (why == SSL_ERROR_WANT_READ) {
        n = netfd_read(t->fd, buf, sizeof buf);
        if (n > 0)
            return BIO_write(t->in, buf, (int)n) == n;
        if (n < 0)
            complain();
        *result = -1; /* without a farewell: maybe cut */
    }
    return 0;
}

/* 1, or -1: failed. */
static int tls_handshake(struct tls *t)
{
    int result;

    do {
        ERR_clear_error();
        result = SSL_do_handshake(t->ssl);
    } while (goes_on(t, &result));
    return result;
}

/* The number of bytes, 0: the other end said farewell, or -1: failed. */
static int tls_read(struct tls *t, char *buf, size_t len)
{
    int result;

    do {
        ERR_clear_error();
        result = SSL_read(t->ssl, buf, (int)len);
    } while (goes_on(t, &result));
    return result;
}

/* All of it, or -1. */
static int tls_write(struct tls *t, const char *buf, size_t len)
{
    int result;

    do {
        ERR_clear_error();
        result = SSL_write(t->ssl, buf, (int)len);
    } while (goes_on(t, &result));
    return result;
}

static void tls_end(struct tls *t)
{
    ERR_clear_error();
    if (SSL_is_init_finished(t->ssl) && SSL_shutdown(t->ssl) >= 0)
        flush(t);
    SSL_free(t->ssl);
}

static void echo(int fd, void *arg)
{
    struct tls t;
    char buf[1024];
    int n;

    (void)arg;
    netfd_set_deadline(fd, netfd_after(30 * SECOND));
    tls_begin(&t, fd, server_context);
    SSL_set_accept_state(t.ssl);
    if (tls_handshake(&t) > 0)
        while ((n = tls_read(&t, buf, sizeof buf)) > 0 && tls_write(&t, buf, (size_t)n) == n)
            continue;
    tls_end(&t);
}

static void serve(void *listener)
{
    check(netfd_serve(*(int *)listener, echo, NULL, NULL));
    netfd_group_done(server);
}

static void talk(void *arg)
{
    char message[64], back[64];
    int fd, round, n, len, have;
    struct tls t;

    fd = (int)check(netfd_dial("tcp", at, NULL));
    check(netfd_set_deadline(fd, netfd_after(30 * SECOND)));
    tls_begin(&t, fd, client_context);
    SSL_set_connect_state(t.ssl);
    NEED(SSL_set1_host(t.ssl, "localhost")); /* whom the certificate is for */
    if (tls_handshake(&t) <= 0)
        fail("no handshake");
    for (round = 0; round < rounds; round++) {
        len = snprintf(message, sizeof message, "%d of client %d", round, (int)(intptr_t)arg);
        if (tls_write(&t, message, (size_t)len) != len)
            fail("it cannot be sent");
        for (have = 0; have < len; have += n)
            if ((n = tls_read(&t, back + have, sizeof back - (size_t)have)) <= 0)
                fail("the other end hung up");
        if (have != len || memcmp(message, back, (size_t)len) != 0)
            fail("what came back is not what was sent");
    }
    tls_end(&t);
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
    make_contexts();
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
