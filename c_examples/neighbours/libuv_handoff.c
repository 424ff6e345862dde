/*
 * libuv_handoff: netfd accepts, reads the first line under a deadline, and hands the
 * connection to a libuv loop, which goes on with it.
 *
 * netfd_detach() gives the descriptor back open and non-blocking, as
 * uv_tcp_open() wants it. The line is read without a byte of what follows
 * (first_line.h), so that the loop gets all of that, whenever it came. Says
 * "so long" to those who say nothing in time.
 *
 * Build: make -C c_examples; or, once that has built the library,
 *   cc -std=c99 -pthread -Iinclude c_examples/neighbours/libuv_handoff.c -o libuv_handoff \
 *      -Lc_examples/build -lnetfd -luv -Wl,-rpath,c_examples/build
 * Run: c_examples/build/libuv_handoff [CLIENTS [BYTES]]
 */
#define _POSIX_C_SOURCE 200809L
#define _DEFAULT_SOURCE
#include "netfd.h"
#include "../example.h"
#include "first_line.h"

#include <string.h>
#include <uv.h>

/* A connection that is handed over, and then the loop's. */
struct guest {
    uv_tcp_t tcp;
    uv_write_t write;
    char line[32]; /* "client 7": what netfd read */
    ssize_t len;
    char buf[4096];
    int fd;
    struct guest *next;
};

static struct netfd_cancel *stop; /* ends the listener */
static uv_async_t door;           /* who comes in here is in `waiting` */
static uv_mutex_t lock;
static struct guest *waiting;
static int closing;
static struct netfd_group *clients, *helpers;

static void need(int uv)
{
    if (uv < 0)
        fail(uv_strerror(uv));
}

/* In a fiber of netfd's, one for each connection. A mutex is fine in one, as
 * long as nothing parks while it is held. */
static void welcome(int fd, void *arg)
{
    struct guest *guest = (struct guest *)calloc(1, sizeof *guest);

    (void)arg;
    if (guest == NULL)
        return; /* netfd_serve() destroys the descriptor */
    check(netfd_set_read_deadline(fd, netfd_after(2 * SECOND)));
    guest->len = read_first_line(fd, guest->line, sizeof guest->line);
    if (guest->len < 0) {
        if (guest->len == NETFD_EDEADLINE && netfd_write(fd, "so long\n", 8) < 0)
            complain();
        free(guest);
        return;
    }
    guest->fd = (int)check(netfd_detach(fd)); /* the deadline is forgotten with it */
    uv_mutex_lock(&lock);
    guest->next = waiting;
    waiting = guest;
    need(uv_async_send(&door));
    uv_mutex_unlock(&lock);
}

static void serve(void *listener)
{
    check(netfd_serve(*(int *)listener, welcome, NULL, NULL));
    uv_mutex_lock(&lock);
    closing = 1;
    need(uv_async_send(&door)); /* under the lock, or the door might be closed by now */
    uv_mutex_unlock(&lock);
    netfd_group_done(helpers);
}

/* From here on all is libuv's, in its loop's thread. */

static void on_closed(uv_handle_t *tcp)
{
    free(tcp->data);
}

static void leave(struct guest *guest)
{
    if (!uv_is_closing((uv_handle_t *)&guest->tcp))
        uv_close((uv_handle_t *)&guest->tcp, on_closed);
}

static void on_room(uv_handle_t *tcp, size_t wanted, uv_buf_t *buf)
{
    struct guest *guest = (struct guest *)tcp->data;

    (void)wanted;
    *buf = uv_buf_init(guest->buf, sizeof guest->buf);
}

static void on_read(uv_stream_t *tcp, ssize_t n, const uv_buf_t *buf);

static void on_written(uv_write_t *write, int status)
{
    struct guest *guest = (struct guest *)write->data;

    if (status < 0 || uv_read_start((uv_stream_t *)&guest->tcp, on_room, on_read) < 0)
        leave(guest);
}

/* Echoes, and reads on when that has gone. */
static void on_read(uv_stream_t *tcp, ssize_t n, const uv_buf_t *buf)
{
    struct guest *guest = (struct guest *)tcp->data;
    uv_buf_t out = uv_buf_init(buf->base, (unsigned)(n > 0 ? n : 0));

    if (n == 0)
        return;
    uv_read_stop(tcp);
    guest->write.data = guest;
    if (n < 0 || uv_write(&guest->write, tcp, &out, 1, on_written) < 0)
        leave(guest);
}

static void on_door(uv_async_t *async)
{
    struct guest *guest, *next;
    uv_buf_t greeting;
    int end;

    uv_mutex_lock(&lock);
    guest = waiting;
    waiting = NULL;
    end = closing;
    uv_mutex_unlock(&lock);
    for (; guest != NULL; guest = next) {
        next = guest->next;
        need(uv_tcp_init(async->loop, &guest->tcp));
        guest->tcp.data = guest->write.data = guest;
        need(uv_tcp_open(&guest->tcp, guest->fd));
        guest->line[guest->len] = '\n'; /* as it came */
        greeting = uv_buf_init(guest->line, (unsigned)guest->len + 1);
        need(uv_write(&guest->write, (uv_stream_t *)&guest->tcp, &greeting, 1, on_written));
    }
    if (end)
        uv_close((uv_handle_t *)async, NULL);
}

/* Clients, which are netfd's: a fiber each. */

static char at[NETFD_ADDR_TEXT];
static int bytes = 100000;

static void send_all(void *arg)
{
    int fd = (int)(intptr_t)arg, i;
    char part[1000];

    for (i = 0; i < bytes; i += (int)sizeof part) {
        memset(part, 'a' + i / 1000 % 26, sizeof part);
        write_whole(fd, part, sizeof part);
    }
    check(netfd_shutdown(fd, SHUT_WR));
    netfd_group_done(clients);
}

/* The line and the first bytes go in one piece, so that the listener could take
 * too much; then many more. */
static void talk(void *arg)
{
    int fd = (int)check(netfd_dial("tcp", at, NULL)), i, j;
    char hello[64], back[1000];
    size_t line;

    check(netfd_set_deadline(fd, netfd_after(20 * SECOND)));
    line = (size_t)snprintf(hello, sizeof hello, "client %d\n", (int)(intptr_t)arg);
    memcpy(hello + line, "first", 5);
    write_whole(fd, hello, line + 5);
    check(netfd_group_add(clients, 1));
    check(netfd_go(send_all, (void *)(intptr_t)fd));
    read_whole(fd, back, line + 5);
    if (memcmp(back, hello, line + 5) != 0)
        fail("libuv_handoff: the first bytes are others");
    for (i = 0; i < bytes; i += (int)sizeof back) {
        read_whole(fd, back, sizeof back);
        for (j = 0; j < (int)sizeof back; j++)
            if (back[j] != 'a' + i / 1000 % 26)
                fail("libuv_handoff: what came back is not what was sent");
    }
    if (check(netfd_read(fd, back, 1)) != 0)
        fail("libuv_handoff: more came back than was sent");
    check(netfd_destroy(fd));
    netfd_group_done(clients);
}

static void say_nothing(void *arg)
{
    int fd = (int)check(netfd_dial("tcp", at, NULL));
    char back[8];

    (void)arg;
    check(netfd_set_deadline(fd, netfd_after(20 * SECOND)));
    read_whole(fd, back, sizeof back);
    if (memcmp(back, "so long\n", 8) != 0 || check(netfd_read(fd, back, 1)) != 0)
        fail("libuv_handoff: who says nothing is not sent away");
    check(netfd_destroy(fd));
    netfd_group_done(clients);
}

static void all_clients(void *count)
{
    int i, n = *(int *)count;

    check(netfd_group_add(clients, n + 1));
    check(netfd_go(say_nothing, NULL));
    for (i = 0; i < n; i++)
        check(netfd_go(talk, (void *)(intptr_t)i));
    check(netfd_group_wait(clients, NETFD_NO_DEADLINE, NULL));
    netfd_cancel_fire(stop);
    netfd_group_done(helpers);
}

int main(int argc, char **argv)
{
    int count = argc > 1 ? atoi(argv[1]) : 50, listener;
    struct sockaddr_storage where;
    socklen_t len = sizeof where;
    uv_loop_t *loop = uv_default_loop();

    if (argc > 2)
        bytes = atoi(argv[2]) / 1000 * 1000;
    stop = netfd_cancel_new();
    clients = netfd_group_new();
    helpers = netfd_group_new();
    if (stop == NULL || clients == NULL || helpers == NULL)
        fail("out of memory");
    need(uv_mutex_init(&lock));
    need(uv_async_init(loop, &door, on_door));
    listener = (int)check(netfd_listen("tcp", "127.0.0.1:0", NULL));
    check(netfd_local_addr(listener, (struct sockaddr *)&where, &len));
    check(netfd_addr_format((struct sockaddr *)&where, len, at, sizeof at));
    check(netfd_set_cancel(listener, stop));
    check(netfd_group_add(helpers, 2));
    check(netfd_go(serve, &listener));
    check(netfd_go(all_clients, &count));

    uv_run(loop, UV_RUN_DEFAULT); /* until the door and every guest are closed */
    check(netfd_group_wait(helpers, NETFD_NO_DEADLINE, NULL));
    need(uv_loop_close(loop));
    printf("libuv_handoff: %d connections were handed over, and not a byte was lost\n", count);
    uv_mutex_destroy(&lock);
    check(netfd_destroy(listener));
    netfd_group_free(helpers);
    netfd_group_free(clients);
    netfd_cancel_free(stop);
    return 0;
}
