/*
 * tls.h: what the examples with TLS share: a certificate that is made at the
 * start and vouches for itself, and clients that trust it and no other.
 */
#ifndef TLS_H
#define TLS_H

#include "../example.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

/* Passes on what a function of OpenSSL's returned, and ends the program where
 * it says 0. Not for what may fail because of the other end. */
static inline void *need(const void *result)
{
    if (result == NULL) {
        ERR_print_errors_fp(stderr);
        fail("OpenSSL does not do what it should");
    }
    return (void *)(intptr_t)result;
}

#define NEED(result) need((result) > 0 ? "" : NULL)

/* A server's context and a client's, for a server whose name is "localhost". */
static inline void make_contexts(SSL_CTX **server, SSL_CTX **client)
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

    *server = (SSL_CTX *)need(SSL_CTX_new(TLS_server_method()));
    NEED(SSL_CTX_use_certificate(*server, paper));
    NEED(SSL_CTX_use_PrivateKey(*server, key));
    *client = (SSL_CTX *)need(SSL_CTX_new(TLS_client_method()));
    NEED(X509_STORE_add_cert(SSL_CTX_get_cert_store(*client), paper));
    SSL_CTX_set_verify(*client, SSL_VERIFY_PEER, NULL);
    X509_free(paper);
    EVP_PKEY_free(key);
    EVP_PKEY_CTX_free(maker);
}

#endif
