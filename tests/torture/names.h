/* A resolver that knows one name: what it says is this program's. */
#ifndef NAMES_H
#define NAMES_H

#include "torture.h"

/* getaddrinfo(3) as the library finds it: "two.test" has ::1 and 127.0.0.1, in
 * this order; else literals only. */
int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                struct addrinfo **list) {
    static const int FAMILIES[] = {AF_INET6, AF_INET};
    struct addrinfo *first = NULL, **end = &first;
    int port = service == NULL ? 0 : atoi(service);
    if (name == NULL || strcmp(name, "two.test") != 0)
        return EAI_NONAME;
    for (int i = 0; i < 2; i++) {
        if (hints != NULL && hints->ai_family != AF_UNSPEC && hints->ai_family != FAMILIES[i])
            continue;
        struct {
            struct addrinfo info;
            union {
                struct sockaddr_in in;
                struct sockaddr_in6 in6;
            } at;
        } *one = calloc(1, sizeof *one);
        if (one == NULL)
            return EAI_MEMORY;
        one->info.ai_family = FAMILIES[i];
        one->info.ai_socktype = hints == NULL ? SOCK_STREAM : hints->ai_socktype;
        one->info.ai_addr = (struct sockaddr *)&one->at;
        if (FAMILIES[i] == AF_INET) {
            one->at.in = (struct sockaddr_in){.sin_family = AF_INET,
                                              .sin_port = htons((uint16_t)port),
                                              .sin_addr = {htonl(INADDR_LOOPBACK)}};
            one->info.ai_addrlen = sizeof one->at.in;
        } else {
            one->at.in6 = (struct sockaddr_in6){.sin6_family = AF_INET6,
                                                .sin6_port = htons((uint16_t)port),
                                                .sin6_addr = IN6ADDR_LOOPBACK_INIT};
            one->info.ai_addrlen = sizeof one->at.in6;
        }
        *end = &one->info;
        end = &one->info.ai_next;
    }
    *list = first;
    return first == NULL ? EAI_NONAME : 0;
}

void freeaddrinfo(struct addrinfo *list) {
    while (list != NULL) {
        struct addrinfo *next = list->ai_next;
        free(list);
        list = next;
    }
}

/* "two.test:PORT" of where a listener is. */
HELPER void name_of(const struct where *at, char text[64]) {
    const struct sockaddr_in *in = (const struct sockaddr_in *)&at->sa;
    snprintf(text, 64, "two.test:%d", ntohs(in->sin_port));
}

#endif
