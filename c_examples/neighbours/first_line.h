/*
 * first_line.h: reads a line and not a byte more, for whoever hands the
 * descriptor on afterwards.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef FIRST_LINE_H
#define FIRST_LINE_H

#include "netfd.h"

#include <errno.h>
#include <string.h>

/* Reads up to the first '\n', which becomes the text's NUL. What has come
 * behind it stays in the kernel: it is looked at before it is taken. Obeys the
 * descriptor's read deadline. Returns the line's length; -EMSGSIZE: none in
 * `cap` bytes; -ENODATA: the stream ended before it did; or what netfd said.
 * What stands behind the NUL is not the line's. */
static inline ssize_t read_first_line(int fd, char *line, size_t cap)
{
    size_t have = 0;

    while (have < cap) {
        ssize_t n = netfd_recvfrom(fd, line + have, cap - have, MSG_PEEK, NULL, NULL);
        char *end;

        if (n == 0)
            return -ENODATA;
        if (n < 0)
            return n;
        end = (char *)memchr(line + have, '\n', (size_t)n);
        if (end != NULL)
            n = end + 1 - (line + have);
        n = netfd_read(fd, line + have, (size_t)n);
        if (n < 0)
            return n;
        have += (size_t)n;
        if (end != NULL) {
            *end = '\0';
            return (ssize_t)(have - 1);
        }
    }
    return -EMSGSIZE;
}

#endif
