/*
 * netfd_bio.h: OpenSSL over netfd. To be copied into a program of one's own.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * A BIO whose reads are netfd_read() and whose writes are netfd_write():
 *
 *   SSL *ssl = SSL_new(context);
 *   netfd_bio_attach(ssl, fd, BIO_NOCLOSE);
 *
 * From here on SSL_connect(), SSL_read() and SSL_write() park their thread or
 * fiber, obey the descriptor's deadlines and its token, end when it is
 * destroyed, and raise no SIGPIPE. With SSL_set_fd() none of this would hold:
 * that BIO calls recv(2) and send(2).
 *
 * What SSL_get_error() says then:
 *
 *   SSL_ERROR_WANT_READ, _WANT_WRITE   a deadline or a token ended the call,
 *                                      and nothing else ever does. The
 *                                      connection is whole: lift the deadline
 *                                      and call again, a write with the same
 *                                      arguments. Do not just call again.
 *   SSL_ERROR_SYSCALL                  the descriptor was destroyed, or the
 *                                      connection broke
 *   SSL_ERROR_ZERO_RETURN, _SSL        as always
 *
 * netfd_bio_code() tells which: NETFD_EDEADLINE, NETFD_ECANCELED,
 * NETFD_ECLOSED, -ECONNRESET and so on. errno says it as well, in the system's
 * words: ETIMEDOUT, ECANCELED, EBADF, ECONNRESET.
 *
 * OpenSSL's queue of errors is the thread's, and all fibers of a worker share
 * it. So this BIO puts aside what is in it while a fiber is parked: between an
 * OpenSSL call and SSL_get_error() or ERR_get_error() a fiber must not park,
 * and inside of the call it may.
 *
 * OpenSSL 3.0 and later.
 */
#ifndef NETFD_BIO_H
#define NETFD_BIO_H

#include "netfd.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>

struct netfd_bio {
    int fd;
    int code;  /* what the last call on it failed with, or 0 */
    int ended; /* whether the stream has */
};

/* A queue of errors that is put aside. Where in OpenSSL each arose is lost. */
struct netfd_bio_errors {
    unsigned long code[ERR_NUM_ERRORS];
    int count;
};

static inline void netfd_bio_put_aside(struct netfd_bio_errors *errors)
{
    errors->count = 0;
    while (errors->count < ERR_NUM_ERRORS && (errors->code[errors->count] = ERR_get_error()) != 0)
        errors->count++;
}

static inline void netfd_bio_put_back(const struct netfd_bio_errors *errors)
{
    int i;

    ERR_clear_error(); /* those of other fibers */
    for (i = 0; i < errors->count; i++)
        ERR_raise(ERR_GET_LIB(errors->code[i]), ERR_GET_REASON(errors->code[i]));
}

/* What a read or a write came to, told to OpenSSL and in errno. */
static inline int netfd_bio_result(BIO *bio, ssize_t result, int retry)
{
    struct netfd_bio *of = (struct netfd_bio *)BIO_get_data(bio);

    BIO_clear_retry_flags(bio);
    of->code = result < 0 ? (int)result : 0;
    if (result >= 0)
        return (int)result;
    if (of->code == NETFD_EDEADLINE || of->code == NETFD_ECANCELED)
        BIO_set_flags(bio, retry | BIO_FLAGS_SHOULD_RETRY);
    switch (of->code) {
    case NETFD_EDEADLINE: errno = ETIMEDOUT; break;
    case NETFD_ECANCELED: errno = ECANCELED; break;
    case NETFD_ECLOSED: errno = EBADF; break;
    default: errno = of->code > -4096 ? -of->code : EIO; break;
    }
    return -1;
}

/* Reads into `in`, or writes from `out` where that is given. */
static inline int netfd_bio_transfer(BIO *bio, char *in, const char *out, int len)
{
    struct netfd_bio *of = (struct netfd_bio *)BIO_get_data(bio);
    struct netfd_bio_errors errors;
    int fiber = netfd_in_fiber();
    ssize_t result;

    if (of == NULL || len <= 0)
        return 0;
    if (fiber)
        netfd_bio_put_aside(&errors);
    if (out != NULL)
        result = netfd_write(of->fd, out, (size_t)len);
    else
        result = netfd_read(of->fd, in, (size_t)len);
    if (fiber)
        netfd_bio_put_back(&errors);
    if (out == NULL)
        of->ended = result == 0;
    return netfd_bio_result(bio, result, out != NULL ? BIO_FLAGS_WRITE : BIO_FLAGS_READ);
}

static inline int netfd_bio_read(BIO *bio, char *buf, int len)
{
    return netfd_bio_transfer(bio, buf, NULL, len);
}

static inline int netfd_bio_write(BIO *bio, const char *buf, int len)
{
    return netfd_bio_transfer(bio, NULL, buf, len);
}

static inline int netfd_bio_puts(BIO *bio, const char *text)
{
    return netfd_bio_write(bio, text, (int)strlen(text));
}

static inline long netfd_bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
    struct netfd_bio *of = (struct netfd_bio *)BIO_get_data(bio);

    switch (command) {
    case BIO_C_SET_FD:
        if (BIO_get_init(bio) && BIO_get_shutdown(bio))
            netfd_destroy(of->fd);
        of->fd = *(int *)pointer;
        of->code = of->ended = 0;
        BIO_set_shutdown(bio, (int)number);
        BIO_set_init(bio, 1);
        return 1;
    case BIO_C_GET_FD: /* and so SSL_get_fd() */
        if (!BIO_get_init(bio))
            return -1;
        if (pointer != NULL)
            *(int *)pointer = of->fd;
        return of->fd;
    case BIO_CTRL_GET_CLOSE:
        return BIO_get_shutdown(bio);
    case BIO_CTRL_SET_CLOSE:
        BIO_set_shutdown(bio, (int)number);
        return 1;
    case BIO_CTRL_EOF:
        return of->ended;
    case BIO_CTRL_FLUSH: /* a write sends all of it at once */
    case BIO_CTRL_DUP:
        return 1;
    default: /* nothing is pending, no kernel TLS, nothing else is known */
        return 0;
    }
}

static inline int netfd_bio_create(BIO *bio)
{
    struct netfd_bio *of = (struct netfd_bio *)calloc(1, sizeof *of);

    if (of == NULL)
        return 0;
    of->fd = -1;
    BIO_set_data(bio, of);
    return 1;
}

/* With BIO_CLOSE it owns the descriptor. */
static inline int netfd_bio_destroy(BIO *bio)
{
    struct netfd_bio *of = (struct netfd_bio *)BIO_get_data(bio);

    if (of != NULL && BIO_get_init(bio) && BIO_get_shutdown(bio))
        netfd_destroy(of->fd);
    free(of);
    BIO_set_data(bio, NULL);
    BIO_set_init(bio, 0);
    return 1;
}

static BIO_METHOD *netfd_bio_the_method;

static inline void netfd_bio_make_method(void)
{
    int type = BIO_get_new_index() | BIO_TYPE_SOURCE_SINK | BIO_TYPE_DESCRIPTOR;
    BIO_METHOD *method = BIO_meth_new(type, "netfd");

    if (method != NULL && BIO_meth_set_read(method, netfd_bio_read) &&
        BIO_meth_set_write(method, netfd_bio_write) && BIO_meth_set_puts(method, netfd_bio_puts) &&
        BIO_meth_set_ctrl(method, netfd_bio_ctrl) &&
        BIO_meth_set_create(method, netfd_bio_create) &&
        BIO_meth_set_destroy(method, netfd_bio_destroy))
        netfd_bio_the_method = method;
}

/* A BIO over a descriptor of netfd's; NULL: out of memory. With BIO_CLOSE
 * freeing it destroys the descriptor. */
static inline BIO *netfd_bio_new(int fd, int close)
{
    static CRYPTO_ONCE once = CRYPTO_ONCE_STATIC_INIT;
    BIO *bio;

    if (!CRYPTO_THREAD_run_once(&once, netfd_bio_make_method) || netfd_bio_the_method == NULL)
        return NULL;
    if ((bio = BIO_new(netfd_bio_the_method)) != NULL)
        BIO_set_fd(bio, fd, close);
    return bio;
}

/* What SSL_set_fd() does, through netfd: 1, or 0 where memory ran out. */
static inline int netfd_bio_attach(SSL *ssl, int fd, int close)
{
    BIO *bio = netfd_bio_new(fd, close);

    if (bio != NULL)
        SSL_set_bio(ssl, bio, bio);
    return bio != NULL;
}

/* What the last read or write beneath an SSL failed with, 0 if it did not. */
static inline int netfd_bio_code(const SSL *ssl)
{
    return ((struct netfd_bio *)BIO_get_data(SSL_get_rbio(ssl)))->code;
}

#endif
