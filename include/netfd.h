/*
 * netfd: the socket layer of Go's net package, for C.
 *
 * Made from src/ffi by cbindgen; change it there.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * netfd blocks on a socket with a deadline, ends the call from another thread,
 * and closes the socket while others are inside, without ever touching a
 * stranger through a number that was used again. In a thread, or in a fiber, of
 * which a process has as many as connections.
 *
 * The handle is a raw fd, and every tool that takes one keeps working: poll(2),
 * setsockopt(2), SSL_set_fd(). netfd keeps its own state for each in a table.
 *
 * Results. What is not negative is success: a descriptor, a count, 0. Failures
 * are -errno where the kernel said it, and a NETFD_E code where netfd did;
 * errno itself plays no part. netfd_strerror() explains any code, and
 * netfd_last_error() the last failure in full.
 *
 * Blocking style. A call that cannot proceed parks its thread, or its fiber
 * where netfd_go() has started one; -EAGAIN and -EINTR do not come out of it
 * unless asked for. Each call may be made from any thread at any time: reads
 * of one stream take turns, writes take turns, and netfd_destroy() and the
 * deadlines work beside whoever is inside.
 *
 * Lifetime. What netfd_sys_socket(), netfd_accept(), netfd_listen(),
 * netfd_dial() and their like return is attached, and the caller's until
 * netfd_destroy(), which wakes everybody who is parked on it and calls close(2)
 * once, after the last of them has left. So nobody who was inside meets the
 * next socket of that number; a call that begins later gets NETFD_ECLOSED,
 * until netfd attaches the number again. A socket from elsewhere comes in by
 * netfd_attach(), and leaves open by netfd_detach(), which goes before any
 * close(2) or dup2(2) on an attached number. No buffer is touched after the
 * call that it was given to.
 *
 * Deadlines. Time is nanoseconds of CLOCK_MONOTONIC, absolute; 0 is no
 * deadline, and netfd_after() makes one. A descriptor has one for reading and
 * one for writing. Once it has passed, calls in that direction fail with
 * NETFD_EDEADLINE, those that are parked already too, until another is set:
 * it ends calls, not the connection.
 *
 * Tokens. A cancel token ends calls on any number of descriptors in any number
 * of threads, once and for good: netfd_cancel_new(), netfd_set_cancel(), and
 * netfd_cancel_fire() from wherever it is known that all is over.
 *
 * Fibers. netfd_go() runs a function with a stack of its own and no thread:
 * what parks it leaves its worker, a thread for each processor, to others.
 * netfd_serve() is an accept loop with a fiber for each connection. A fiber
 * that computes, or blocks outside netfd, holds its worker up; netfd_block()
 * is for that.
 *
 * Bad arguments. They are answered, never crashed on. A code that a list of
 * failures has without a word beside it means:
 *   -EFAULT  a pointer that is needed is NULL
 *   -EBADF   the number is not attached: never, or not any more
 *   -EINVAL  a length or a choice is out of range
 *   -EUSERS  2^20 - 1 callers are on the descriptor already
 *   -ENOMEM  there is no memory for it
 *   -EINTR   a signal handler has run, and netfd_set_interruptible() has asked
 *            to be told of that
 *
 * Signals. No handler is installed, and no mask changed; workers handle none.
 * SIGPIPE is never raised. In a signal handler: netfd_cancel_fire(),
 * netfd_cancel_fired() and netfd_now(), nothing else.
 *
 * Processes. After fork(2) the child may use the descriptors that it inherits,
 * and the parent's parked calls notice nothing. The parent's fibers are not in
 * the child, whose first one starts workers anew. A unix socket's file is
 * removed by none but the process that made it.
 *
 * Environment. The first fiber looks at it, but not in a program that runs
 * with more rights than its user has:
 *   NETFD_WORKERS  how many workers there are, at most 64, in the place of one
 *                  for each processor
 *   NETFD_POLL     epoll: fibers wait by epoll(7), not by io_uring(7), which
 *                  strace(1) does not see into. uring: by io_uring(7) under a
 *                  sanitizer or valgrind(1), too
 *
 * Example. An echo server, which ends a connection that is silent for 30 s:
 *   #include <netfd.h>
 *
 *   static void serve(int conn, void *arg)
 *   {
 *       char buf[4096];
 *       ssize_t n;
 *
 *       (void)arg;
 *       do {
 *           netfd_set_deadline(conn, netfd_after(30000000000));
 *           n = netfd_read(conn, buf, sizeof buf);
 *       } while (n > 0 && netfd_write(conn, buf, (size_t)n) == n);
 *   }
 *
 *   int main(void)
 *   {
 *       int fd = netfd_listen("tcp", "localhost:7777", NULL);
 *
 *       return fd < 0 || netfd_serve(fd, serve, NULL, NULL) < 0;
 *   }
 */

#ifndef NETFD_H
#define NETFD_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#define NETFD_VERSION "0.1.0"
#define NETFD_VERSION_MAJOR 0
#define NETFD_VERSION_MINOR 1
#define NETFD_VERSION_PATCH 0

/* A descriptor or a count of bytes that is not looked at is a mistake. */
#if defined(__GNUC__) || defined(__clang__)
#define NETFD_MUST_USE __attribute__((warn_unused_result))
#else
#define NETFD_MUST_USE
#endif

/* For netfd_recvmmsg() and netfd_sendmmsg(): <sys/socket.h> has it, in C only
 * where _GNU_SOURCE is defined. */
struct mmsghdr;

/* A cancel token: netfd_cancel_new() makes it, netfd_cancel_free() ends it. */
struct netfd_cancel;

/* A wait group: netfd_group_new() makes it, netfd_group_free() ends it. */
struct netfd_group;

/**
 * The deadline has passed: of the descriptor or of the call.
 */
#define NETFD_EDEADLINE -10001

/**
 * The descriptor was destroyed or detached, or its number attached anew,
 * before the call or while it was inside.
 */
#define NETFD_ECLOSED -10002

/**
 * A cancel token has fired: the descriptor's or the call's.
 */
#define NETFD_ECANCELED -10003

/**
 * The network's name is unknown, or not one for this function.
 */
#define NETFD_ENETWORK -10004

/**
 * The text of an address does not parse.
 */
#define NETFD_EADDRESS -10005

/**
 * A host name that does not exist.
 */
#define NETFD_ENOHOST -10006

/**
 * A host name that could not be looked up.
 */
#define NETFD_EDNS -10007

/**
 * A bug in netfd; the call did not complete.
 */
#define NETFD_EPANIC -10008

/**
 * A deadline, or what the kernel calls a timeout.
 */
#define NETFD_ERROR_TIMEOUT 1

/**
 * A cancel token fired.
 */
#define NETFD_ERROR_CANCELED 2

/**
 * The descriptor was destroyed or detached.
 */
#define NETFD_ERROR_CLOSED 4

/**
 * An accept loop may go on: this connection failed, not the listener, or
 * something ran out that may come back.
 */
#define NETFD_ERROR_TEMPORARY 8

/**
 * Room for the text of any address, its NUL included.
 */
#define NETFD_ADDR_TEXT 128

/**
 * For netfd_wait(): ready to be read, or accepted from.
 */
#define NETFD_READABLE 1

/**
 * For netfd_wait(): ready to be written, or connected.
 */
#define NETFD_WRITABLE 2

/**
 * No deadline: a call may wait for ever.
 */
#define NETFD_NO_DEADLINE 0

/**
 * A failure in full. Set `size` to the struct's sizeof before the call that
 * fills it in.
 */
struct netfd_error {
    /**
     * The caller's sizeof of this struct.
     */
    size_t size;
    /**
     * What the call returned, or what stopped it after a part had gone; 0
     * where nothing has failed yet.
     */
    int code;
    /**
     * NETFD_ERROR_TIMEOUT and so on.
     */
    unsigned int flags;
    /**
     * Go's name of the operation: "dial", "accept", "read".
     */
    char op[16];
    /**
     * Go's name of the network: "tcp", "unixgram". Empty: not known.
     */
    char network[16];
    /**
     * The call that the kernel refused. Empty: netfd itself did.
     */
    char syscall[16];
    /**
     * The socket's own address. Empty: not known.
     */
    char local[NETFD_ADDR_TEXT];
    /**
     * The other end's. Empty: not known.
     */
    char remote[NETFD_ADDR_TEXT];
};

/**
 * How netfd_listen() and netfd_listen_packet() go about it. Set `size` to the
 * struct's sizeof; all else zero is Go's way.
 */
struct netfd_listen_config {
    /**
     * The caller's sizeof of this struct.
     */
    size_t size;
    /**
     * How many connections may queue; 0 or less: as many as the system allows.
     */
    int backlog;
    /**
     * SO_REUSEPORT: 1 on; 0 or -1 off.
     */
    int reuse_port;
    /**
     * IPV6_V6ONLY: 1 on, -1 off. 0 is Go's rule: on for "tcp6" and "udp6";
     * else off, and the wildcard of IPv4, "0.0.0.0:80", takes IPv6 too.
     */
    int v6only;
    /**
     * TCP, what connections inherit: silence before the first keepalive
     * probe, in nanoseconds, rounded up to seconds; 0: 15 s. Negative: no
     * keepalive.
     */
    int64_t keepalive_idle;
    /**
     * TCP: between probes, likewise; 0: 15 s. Negative: the kernel's own.
     */
    int64_t keepalive_interval;
    /**
     * TCP: how many probes; 0: 9. Negative: the kernel's own.
     */
    int keepalive_count;
    /**
     * TCP_NODELAY: 0 or 1 on, -1 off.
     */
    int nodelay;
    /**
     * Multipath TCP: 1 on, with plain TCP where that fails; 0 or -1 off.
     */
    int mptcp;
    /**
     * Whether netfd_destroy() removes the socket file: 1 on, -1 off. 0: on
     * for listeners, off for "unixgram".
     */
    int unlink;
    /**
     * Called with the socket before it is bound, and once more where plain TCP
     * follows Multipath TCP: the descriptor, Go's concrete network ("tcp6"),
     * and the address it is for. On the calling thread, while
     * pthread_cancel(3) waits. A negative result ends the call, which returns
     * it. It may call whatever it likes; destroying its own descriptor returns
     * at once and ends the call with NETFD_ECLOSED. No C++ exception may leave
     * it. NULL: none.
     */
    int (*control)(int fd, const char *network, const char *address, void *arg);
    /**
     * What `control` is called with.
     */
    void *control_arg;
};

/**
 * How netfd_dial() goes about it. Set `size` to the struct's sizeof; all else
 * zero is Go's way.
 */
struct netfd_dial_config {
    /**
     * The caller's sizeof of this struct.
     */
    size_t size;
    /**
     * When to give up, in nanoseconds of CLOCK_MONOTONIC, see netfd_after();
     * it covers the lookup and all attempts. 0: never.
     */
    int64_t deadline;
    /**
     * A token that ends it, or NULL; not to be freed before the call returns,
     * unless it is set on a descriptor.
     */
    struct netfd_cancel *cancel;
    /**
     * Where to come from, as "192.0.2.1:0" or ":5000"; no name. From a port
     * of one's own addresses are tried one after the other. For unix sockets a
     * path, whose file is removed where the dial fails and else stays. NULL:
     * the kernel's choice.
     */
    const char *local_address;
    /**
     * How long an attempt may take before the next address is tried beside
     * it, in nanoseconds; 0: 250 ms. Negative: one after the other, each
     * with its share of the time that is left, at least 2 s.
     */
    int64_t fallback_delay;
    /**
     * TCP: silence before the first keepalive probe, in nanoseconds, rounded
     * up to seconds; 0: 15 s. Negative: no keepalive.
     */
    int64_t keepalive_idle;
    /**
     * TCP: between probes, likewise; 0: 15 s. Negative: the kernel's own.
     */
    int64_t keepalive_interval;
    /**
     * TCP: how many probes; 0: 9. Negative: the kernel's own.
     */
    int keepalive_count;
    /**
     * TCP_NODELAY: 0 or 1 on, -1 off.
     */
    int nodelay;
    /**
     * Multipath TCP: 1 on, with plain TCP where that fails; 0 or -1 off.
     */
    int mptcp;
    /**
     * Called with each socket before it is bound or connected, those of a
     * second try too: the descriptor, Go's concrete network ("tcp4"), and the
     * address it is for. On the calling thread, while all other attempts
     * wait, and pthread_cancel(3). A negative result ends netfd_dial(), which
     * returns it. It may call whatever it likes, but not end the descriptor of
     * another attempt, which would wait for this one; destroying its own
     * returns at once and ends netfd_dial() with NETFD_ECLOSED. No C++
     * exception may leave it. NULL: none.
     */
    int (*control)(int fd, const char *network, const char *address, void *arg);
    /**
     * What `control` is called with.
     */
    void *control_arg;
};

/**
 * How netfd_serve() goes about it. Set `size` to the struct's sizeof; all else
 * zero is the usual way.
 */
struct netfd_serve_config {
    /**
     * The caller's sizeof of this struct.
     */
    size_t size;
    /**
     * How long handlers may run on once the listener's token has fired, in
     * nanoseconds; 0: as long as they like. Negative: not at all.
     */
    int64_t drain_timeout;
    /**
     * How many connections at once; 0: as many as there are descriptors.
     */
    int max_connections;
    /**
     * The least that a handler's stack has, in bytes; 0: 256 KiB.
     */
    size_t stack_size;
};

/**
 * Counts of the whole process. Set `size` to the struct's sizeof before the
 * call that fills it in.
 */
struct netfd_stats {
    /**
     * The caller's sizeof of this struct.
     */
    size_t size;
    /**
     * Descriptors that are attached.
     */
    uint64_t open_fds;
    /**
     * Callers that are parked, threads and fibers: in a call on a descriptor,
     * in a queue for a turn, for a lookup, a group or netfd_block(), asleep.
     */
    uint64_t parked;
    /**
     * Connections that netfd_accept() returned.
     */
    uint64_t accepts;
    /**
     * Times that a caller parked.
     */
    uint64_t parks;
    /**
     * Times that a parked caller was woken by another call: a turn given
     * back, a deadline or token set, destroy, detach.
     */
    uint64_t wakeups;
    /**
     * Fibers that have been started and have not ended.
     */
    uint64_t fibers;
    /**
     * Times that a worker switched to a fiber.
     */
    uint64_t switches;
    /**
     * Operations that were handed to io_uring; 0 where the poller is epoll.
     */
    uint64_t submissions;
};

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Tells the version of the library that runs, as in "0.1.0".
 *
 * The header that a program was compiled with says NETFD_VERSION.
 *
 * @return the text, which lives for ever
 *
 * Any thread.
 */
const char *netfd_version(void);

/**
 * Explains a code: what any function of this library returned.
 *
 * @param code  a negative errno value or a NETFD_E code; what is not negative
 *              is "success"
 * @return text in lower case, which lives for ever; never NULL
 *
 * Any thread. The texts are Go's, in English whatever the locale.
 */
const char *netfd_strerror(int code);

/**
 * Tells the calling thread's last failure.
 *
 * A call that succeeds leaves it alone, except that a write which could send
 * a part only stores here what stopped it.
 *
 * @param out  where to store it in full, `size` set; or NULL
 * @return the failure's code, 0 where nothing has failed yet, or
 *   -EINVAL `size` is 0
 *
 * Each thread has its own. Follows Go `net.OpError`.
 *
 * # Safety
 *
 * `out` is NULL or writable for `size` bytes.
 */
int netfd_last_error(struct netfd_error *out);

/**
 * Writes the calling thread's last failure as text in Go's shape, as in
 * "dial tcp 127.0.0.1:1: connect: connection refused".
 *
 * @param buf  where to store it, cut to `cap` bytes with its NUL; NULL where
 *             `cap` is 0
 * @param cap  bytes at `buf`
 * @return the length of the whole text, as snprintf(3); 0 where nothing has
 *   failed yet; or
 *   -EFAULT `buf` is NULL and `cap` is not 0
 *
 * Each thread has its own. Follows Go `(*net.OpError).Error`.
 *
 * # Safety
 *
 * `buf` is NULL or writable for `cap` bytes.
 */
int netfd_error_text(char *buf, size_t cap);

/**
 * Makes a socket.
 *
 * It is non-blocking and close-on-exec from birth, in one system call, and
 * attached: every function of this library takes it. The calls that wait
 * park their caller; the descriptor itself never blocks.
 *
 * @param family  AF_INET, AF_INET6, AF_UNIX, or any other
 * @param sotype  SOCK_STREAM and so on; SOCK_NONBLOCK and SOCK_CLOEXEC may
 *                be there and change nothing
 * @param proto   0, or a protocol of the family
 * @return the descriptor, the caller's until netfd_destroy(), or
 *   -ENOMEM, or what socket(2) said, negated (-EMFILE, -EAFNOSUPPORT, ...)
 *
 * Any thread; never parks. Follows Go `sysSocket` and socket(2).
 */
NETFD_MUST_USE int netfd_sys_socket(int family, int sotype, int proto);

/**
 * Attaches a socket from elsewhere: from systemd, inetd, socketpair(2),
 * accept(2), dup(2).
 *
 * O_NONBLOCK is set, on the open description, so that all who share it see
 * it; FD_CLOEXEC is set on the number. What the table still holds under the
 * number is dropped: callers inside get NETFD_ECLOSED, nothing is closed.
 * Attaching twice so resets deadlines and token.
 *
 * @param fd  an open socket; the library's from now on, to be closed by
 *            netfd_destroy() or taken back by netfd_detach()
 * @return fd, or
 *   -EBADF not open, -ENOTSOCK no socket, -ENOMEM; the descriptor is as it
 *   was then
 *
 * Any thread; never parks. Follows Go `net.FileConn`, but without a dup(2).
 */
int netfd_attach(int fd);

/**
 * Hands a descriptor back open, and forgets it.
 *
 * Callers inside get NETFD_ECLOSED; it returns when the last of them has
 * left. The descriptor stays non-blocking. Whatever closes or replaces an
 * attached descriptor by itself (close(2), dup2(2), another library) wants
 * this called first.
 *
 * @return fd, the caller's again, or
 *   -EBADF not attached, NETFD_ECLOSED destroyed or detached by another
 *   thread first
 *
 * Any thread; waits for callers that are inside a system call, which is not
 * long; in a control function of its own descriptor it does not wait.
 */
int netfd_detach(int fd);

/**
 * Closes a descriptor, whoever is inside.
 *
 * Every caller that is parked on it wakes and gets NETFD_ECLOSED; one in a
 * system call finishes it. When the last has left, close(2) is called, once:
 * the number cannot be reused while anyone could still touch it. When this
 * returns, close(2) has run, no buffer of any call is touched again, and the
 * number means nothing until the library attaches it again. Copies of the
 * descriptor in other processes live on: shutdown(2) is not called.
 *
 * With SO_LINGER set, close(2) may take that long, and so may this; it is the
 * caller of netfd_destroy() who waits, never one who was evicted.
 *
 * @return 0, or
 *   -EBADF never attached, or detached,
 *   NETFD_ECLOSED another thread destroyed or detached it first (it has
 *   happened when this returns),
 *   or what close(2) said, negated; the descriptor is closed all the same
 *
 * Any thread, any time. In a control function of its own descriptor it
 * returns at once, and close(2) runs when the call around it ends. Follows Go
 * `FD.Close`, but a second caller waits too and close(2)'s error is not lost.
 */
int netfd_destroy(int fd);

/**
 * Shuts down one or both directions of a connection.
 *
 * Calls that are parked in the direction wake and see it: a read the end of
 * the stream, a write -EPIPE.
 *
 * @param how  SHUT_RD, SHUT_WR or SHUT_RDWR
 * @return 0, or
 *   -EBADF, NETFD_ECLOSED, -EINVAL no such direction,
 *   or what shutdown(2) said, negated (-ENOTCONN)
 *
 * Any thread, beside any call; never parks. Follows Go `CloseRead`,
 * `CloseWrite` and shutdown(2).
 */
int netfd_shutdown(int fd, int how);

/**
 * Makes a socket a listener: SO_REUSEADDR, bind(2), listen(2).
 *
 * @param fd        a stream or seqpacket socket of any family
 * @param laddr     where to listen, or NULL: the kernel picks (a port)
 * @param laddrlen  bytes at `laddr`
 * @param backlog   how many connections may queue; 0 or less is as many as
 *                  the system allows (net.core.somaxconn)
 * @return 0, or
 *   -EBADF, NETFD_ECLOSED, -EINVAL `laddrlen` out of range, -EOPNOTSUPP no
 *   stream socket, or what setsockopt(2), bind(2) or listen(2) said, negated
 *   (-EADDRINUSE, -EACCES, ...)
 *
 * On failure the descriptor is still the caller's and open; a unix socket
 * file that this call made is removed again. netfd_destroy() never removes
 * one.
 * Any thread; never parks. Follows Go `netFD.listenStream`.
 *
 * # Safety
 *
 * `laddr` is NULL or readable for `laddrlen` bytes.
 */
int netfd_listen_stream(int fd,
                        const struct sockaddr *laddr,
                        socklen_t laddrlen,
                        int backlog);

/**
 * Accepts the next connection on a listener.
 *
 * It parks its caller until a connection is ready. The new descriptor is
 * non-blocking, close-on-exec and attached, has no deadlines and no token,
 * and remembers its peer's address. A connection that was gone before it
 * could be accepted is passed over.
 *
 * @param fd        a listener, as made by netfd_listen_stream()
 * @param raddr     where to store the peer's address, or NULL
 * @param raddrlen  in: bytes at `raddr`, out: bytes of the address
 * @return the descriptor, the caller's until netfd_destroy(), or
 *   -EBADF not attached, -EFAULT `raddr` without `raddrlen`,
 *   -EUSERS too many callers,
 *   NETFD_EDEADLINE, NETFD_ECANCELED, NETFD_ECLOSED destroyed meanwhile,
 *   -EINTR if asked for by netfd_set_interruptible(),
 *   or what accept4(2) said, negated: -EMFILE, -ENFILE, -ENOBUFS and -ENOMEM
 *   leave the connection in the queue
 *
 * Any thread; accepts on one listener take turns, and one wakes at a time.
 * Obeys the listener's read deadline and cancel token.
 * Follows Go `(*net.TCPListener).Accept` and accept4(2).
 *
 * # Safety
 *
 * `raddrlen` is NULL or valid, `raddr` NULL or writable for `*raddrlen`
 * bytes.
 */
NETFD_MUST_USE
int netfd_accept(int fd,
                 struct sockaddr *raddr,
                 socklen_t *raddrlen);

/**
 * Listens on an address by name.
 *
 * An empty host, or a wildcard, listens on IPv4 and IPv6 where both are there.
 * Of a name's addresses the first IPv4 one is taken, else the first. TCP
 * connections inherit TCP_NODELAY and keepalive, so that netfd_accept() is
 * one system call. A unix socket's file is removed by netfd_destroy(), before
 * close(2), in the process that made it and if it is still the same file
 * (device and inode; the check and the removal are not one step; a relative
 * path is looked up where the process is then). So there is no file without a
 * listener, though who had just found it may still be refused. A file that is
 * there already, a stale socket's too, is -EADDRINUSE and never removed.
 *
 * @param network  "tcp", "tcp4", "tcp6", "unix" or "unixpacket"
 * @param address  "host:port", ":port", a service's name for the port, 0 for
 *                 any; a path, or "@name"
 * @param cfg      how, or NULL
 * @return the descriptor, the caller's until netfd_destroy(), or
 *   -EFAULT, -EINVAL `cfg` says what cannot be or is longer than 4096 bytes,
 *   or a path is too long,
 *   NETFD_ENETWORK unknown network, or one of packets, NETFD_EADDRESS bad
 *   address or unknown service, NETFD_ENOHOST no such host, NETFD_EDNS no
 *   lookup, -EINTR if asked for by netfd_set_interruptible(), -EAGAIN no
 *   thread to look up with, -ENOMEM, NETFD_ECLOSED or NETFD_ECANCELED
 *   what `control` brought about, what `control` returned,
 *   or what socket(2), setsockopt(2), bind(2) or listen(2) said, negated
 *
 * Any thread; parks only to look up a name, for as long as the name service
 * takes: netfd_resolve() has a deadline. Follows Go
 * `net.ListenConfig.Listen`.
 *
 * # Safety
 *
 * `network` and `address` are NULL or end with a NUL; `cfg` is NULL or
 * readable for its `size` bytes, and its pointers are NULL or valid.
 */
NETFD_MUST_USE
int netfd_listen(const char *network,
                 const char *address,
                 const struct netfd_listen_config *cfg);

/**
 * Binds a datagram socket to an address by name.
 *
 * It is netfd_listen() for sockets that receive and send by themselves. They
 * may send to broadcast addresses. A multicast group's address stands for its
 * port: the socket is bound to the wildcard, with SO_REUSEADDR.
 *
 * @param network  "udp", "udp4", "udp6" or "unixgram"
 * @param address  as for netfd_listen()
 * @param cfg      how, or NULL; what concerns TCP and `backlog` has no effect
 * @return the descriptor, the caller's until netfd_destroy(), or
 *   as netfd_listen(); NETFD_ENETWORK unknown network, or one of connections
 *
 * Any thread; parks only to look up a name. Follows Go
 * `net.ListenConfig.ListenPacket`.
 *
 * # Safety
 *
 * As for netfd_listen().
 */
NETFD_MUST_USE
int netfd_listen_packet(const char *network,
                        const char *address,
                        const struct netfd_listen_config *cfg);

/**
 * Takes the sockets that systemd passed to this process.
 *
 * They are attached: non-blocking, close-on-exec, the caller's until
 * netfd_destroy(). TCP sockets get TCP_NODELAY and keepalive. What an earlier
 * call took stays as it is. What is no socket, or is just being destroyed, is
 * passed over; a number that was closed and given to another socket meanwhile
 * cannot be told from what was passed. The environment (LISTEN_PID,
 * LISTEN_FDS, LISTEN_FDNAMES) is left alone.
 *
 * @param name  which of them, by FileDescriptorName=; NULL: all
 * @param fds   where to store them, in order; NULL where `cap` is 0
 * @param cap   how many to take at most
 * @return how many match, of which the first `cap` were taken; 0 where none
 *   was passed, or what was passed is for another process or is malformed;
 *   or -EFAULT, -ENOMEM
 *
 * Any thread, but nobody may change the environment meanwhile; never parks.
 * Follows sd_listen_fds(3) and sd_listen_fds_with_names(3).
 *
 * # Safety
 *
 * `name` is NULL or ends with a NUL; `fds` is NULL or writable for `cap`
 * entries.
 */
int netfd_listen_fds(const char *name, int *fds, size_t cap);

/**
 * Connects a socket, and waits until the connection stands or has failed.
 *
 * A datagram socket is aimed at another peer at once; from then on it takes no
 * address to send to, until it is connected to AF_UNSPEC. A unix socket whose
 * listener's backlog is full waits for room. What ends the wait before it is
 * decided (a deadline, a token, -EINTR) ends the attempt as well: a handshake
 * that completes late is no success. The descriptor stays open and the
 * caller's, and may be connected anew.
 *
 * @param fd        a socket
 * @param laddr     where to bind it first, or NULL
 * @param laddrlen  bytes at `laddr`
 * @param raddr     where to connect to
 * @param raddrlen  bytes at `raddr`
 * @param deadline  when to give up, in nanoseconds of CLOCK_MONOTONIC, or
 *                  NETFD_NO_DEADLINE; the descriptor's write deadline counts
 *                  as well
 * @param cancel    a token for this call, or NULL; the descriptor's counts as
 *                  well
 * @return 0, or
 *   -EBADF, -EFAULT no `raddr`, -EINVAL a length out of range,
 *   -EISCONN connected before (streams and seqpacket),
 *   NETFD_EDEADLINE, NETFD_ECANCELED, NETFD_ECLOSED destroyed meanwhile,
 *   -EINTR if asked for by netfd_set_interruptible(),
 *   or what bind(2) or connect(2) said, negated (-ECONNREFUSED,
 *   -EHOSTUNREACH, -ETIMEDOUT, -EADDRNOTAVAIL, ...)
 *
 * Any thread; takes the turn of writers. Follows Go `netFD.connect` and
 * connect(2).
 *
 * # Safety
 *
 * `laddr` and `raddr` are NULL or readable for their lengths; `cancel` is
 * NULL or a token that is not freed before the call returns, unless it is
 * set on a descriptor.
 */
int netfd_connect(int fd,
                  const struct sockaddr *laddr,
                  socklen_t laddrlen,
                  const struct sockaddr *raddr,
                  socklen_t raddrlen,
                  int64_t deadline,
                  struct netfd_cancel *cancel);

/**
 * Connects to an address by name.
 *
 * The host is looked up, and its addresses are tried as RFC 8305 has it:
 * families in turn, another one each 250 ms and as soon as one fails, until
 * the first stands; the others are closed. A TCP connection has TCP_NODELAY
 * and keepalive after 15 s. An empty host is this machine.
 *
 * @param network  "tcp", "tcp4", "tcp6", "udp", "udp4", "udp6", "unix",
 *                 "unixgram" or "unixpacket"
 * @param address  "host:port", "[v6%zone]:port", a service's name for the
 *                 port; for unix sockets a path, or "@name"
 * @param cfg      how, or NULL
 * @return the descriptor, the caller's until netfd_destroy(), or
 *   -EFAULT, -EINVAL `cfg` says what cannot be or is longer than 4096 bytes,
 *   or a unix path is too long, NETFD_ENETWORK unknown network,
 *   NETFD_EADDRESS bad address, unknown service, or none of the local
 *   address's family, NETFD_ENOHOST no such host, NETFD_EDNS no lookup,
 *   NETFD_EDEADLINE, NETFD_ECANCELED, NETFD_ECLOSED destroyed meanwhile,
 *   -EINTR if asked for by netfd_set_interruptible(), -EAGAIN no thread to
 *   look up with, -ENOMEM, what `control` returned, or what socket(2),
 *   bind(2) or connect(2) said for the first address, negated:
 *   netfd_error_text() tells of each
 *
 * Any thread; parks until it is decided. A lookup runs on a helper thread,
 * which a caller whose time is up leaves behind; at most 500 run at once, and
 * one more waits for room.
 * Follows Go `net.Dialer.Dial`.
 *
 * # Safety
 *
 * `network` and `address` are NULL or end with a NUL; `cfg` is NULL or
 * readable for its `size` bytes, and its pointers are NULL or valid.
 */
NETFD_MUST_USE
int netfd_dial(const char *network,
               const char *address,
               const struct netfd_dial_config *cfg);

/**
 * Looks up the addresses of a host, in the order in which they are to be
 * tried (RFC 6724, as the C library has it).
 *
 * @param network   as for netfd_dial(); it limits the family
 * @param address   as for netfd_dial(); an empty host is the wildcard
 * @param out       where to store the addresses; NULL where `cap` is 0
 * @param cap       how many fit
 * @param deadline  when to give up, in nanoseconds of CLOCK_MONOTONIC, or
 *                  NETFD_NO_DEADLINE
 * @param cancel    a token that ends it, or NULL
 * @return how many addresses there are, of which the first `cap` are stored,
 *   or
 *   -EFAULT, -EINVAL a unix path that is too long, NETFD_ENETWORK,
 *   NETFD_EADDRESS bad address or unknown service, NETFD_ENOHOST no such
 *   host, NETFD_EDNS no lookup, NETFD_EDEADLINE, NETFD_ECANCELED,
 *   -EINTR if asked for by netfd_set_interruptible(), -EAGAIN no thread to
 *   look up with, -ENOMEM
 *
 * Any thread; parks as netfd_dial() does. IPv4-mapped addresses come as plain
 * IPv4, and none comes twice. Follows Go `net.Resolver.LookupIPAddr`,
 * `net.ResolveTCPAddr` and getaddrinfo(3).
 *
 * # Safety
 *
 * `network` and `address` are NULL or end with a NUL; `out` is NULL or
 * writable for `cap` entries; `cancel` is NULL or a token that is not freed
 * before the call returns, unless it is set on a descriptor.
 */
int netfd_resolve(const char *network,
                  const char *address,
                  struct sockaddr_storage *out,
                  size_t cap,
                  int64_t deadline,
                  struct netfd_cancel *cancel);

/**
 * Reads what is there, parking until something is.
 *
 * It is one successful system call: a short count is normal. With SO_RCVLOWAT
 * set it may wait for that much, even where `len` is less. A connection that
 * broke is told to every read from then on, once the bytes that had come
 * before are read; it is never taken for the end of the stream.
 *
 * @param buf  where to store it
 * @param len  bytes at `buf`; 0 reads nothing and returns 0
 * @return the number of bytes; 0 at the end of the stream; or
 *   -EBADF, -EFAULT, -EINVAL `len` over SSIZE_MAX, -EUSERS too many callers,
 *   NETFD_EDEADLINE, NETFD_ECANCELED, NETFD_ECLOSED destroyed meanwhile,
 *   -EINTR if asked for by netfd_set_interruptible(),
 *   or what recv(2) said, negated (-ECONNRESET, -ENOTCONN, ...)
 *
 * Any thread; reads of a stream take turns, beside its writes. Obeys the read
 * deadline and the token. Follows Go `FD.Read` and read(2).
 *
 * # Safety
 *
 * `buf` is NULL or writable for `len` bytes.
 */
NETFD_MUST_USE ssize_t netfd_read(int fd, void *buf, size_t len);

/**
 * Writes all of it, parking while there is no room.
 *
 * Fewer bytes than asked come back only if something stopped it after some
 * had gone: netfd_last_error() tells what, and an error that the kernel would
 * not repeat is returned by the next write too. Nothing is sent twice. On
 * datagram and seqpacket sockets it is one message, never cut; there a `len`
 * of 0 sends an empty one.
 *
 * SIGPIPE is never raised.
 *
 * @param buf  what to write
 * @param len  bytes at `buf`
 * @return the number of bytes written, or, where none was,
 *   -EBADF, -EFAULT, -EINVAL `len` over SSIZE_MAX, -EUSERS too many callers,
 *   NETFD_EDEADLINE, NETFD_ECANCELED, NETFD_ECLOSED destroyed meanwhile,
 *   -EINTR if asked for by netfd_set_interruptible(),
 *   or what send(2) said, negated (-EPIPE, -ECONNRESET, -EMSGSIZE, ...)
 *
 * Any thread; writes to a stream take turns and are never interleaved. Obeys
 * the write deadline and the token. Follows Go `FD.Write` and write(2).
 *
 * # Safety
 *
 * `buf` is NULL or readable for `len` bytes.
 */
NETFD_MUST_USE ssize_t netfd_write(int fd, const void *buf, size_t len);

/**
 * Reads into several buffers, as netfd_read() does into one.
 *
 * @param iov     the buffers; more than IOV_MAX are used as far as IOV_MAX
 *                on a stream
 * @param iovcnt  how many
 * @return as netfd_read(); -EINVAL where `iovcnt` is negative or the lengths
 *   add up to more than SSIZE_MAX; -EMSGSIZE more than IOV_MAX buffers for a
 *   message
 *
 * Any thread. Follows readv(2).
 *
 * # Safety
 *
 * `iov` is NULL or readable for `iovcnt` entries, each of them valid and
 * writable.
 */
NETFD_MUST_USE
ssize_t netfd_readv(int fd,
                    const struct iovec *iov,
                    int iovcnt);

/**
 * Writes from several buffers, as netfd_write() does from one: all of them,
 * any number of them.
 *
 * @param iov     the buffers; a message takes at most IOV_MAX
 * @param iovcnt  how many
 * @return as netfd_write(); -EINVAL where `iovcnt` is negative or the lengths
 *   add up to more than SSIZE_MAX; -EMSGSIZE more than IOV_MAX buffers for a
 *   message
 *
 * Any thread. Follows Go `FD.Writev` and writev(2).
 *
 * # Safety
 *
 * `iov` is NULL or readable for `iovcnt` entries, each of them valid.
 */
NETFD_MUST_USE
ssize_t netfd_writev(int fd,
                     const struct iovec *iov,
                     int iovcnt);

/**
 * Waits until a descriptor is ready, and moves no data.
 *
 * An error or a hang-up is ready in the directions asked; an entry that
 * stands in the error queue (IP_RECVERR, timestamps) alone is not.
 *
 * @param events    NETFD_READABLE, NETFD_WRITABLE, or both
 * @param deadline  of this call, in nanoseconds of CLOCK_MONOTONIC, or
 *                  NETFD_NO_DEADLINE; one that has passed looks once. The
 *                  descriptor's own deadlines do not count
 * @return those of `events` that are ready, at least one, or
 *   -EBADF, -EINVAL `events` is 0 or has other bits, -EUSERS too many
 *   callers, NETFD_EDEADLINE, NETFD_ECANCELED, NETFD_ECLOSED destroyed
 *   meanwhile, -EINTR if asked for by netfd_set_interruptible()
 *
 * Any thread; takes no turn, any number may wait at once. Obeys the token.
 * Follows poll(2).
 */
int netfd_wait(int fd, int events, int64_t deadline);

/**
 * Receives one message, or what a stream has.
 *
 * It is one successful system call. A datagram longer than `len` is cut;
 * netfd_recvmsg() shows it, or MSG_TRUNC in `flags` returns its whole length.
 *
 * @param buf      where to store it
 * @param len      bytes at `buf`
 * @param flags    as for recv(2); with MSG_DONTWAIT or MSG_ERRQUEUE it never
 *                 parks and says -EAGAIN
 * @param from     where to store the sender's address, or NULL
 * @param fromlen  in: bytes at `from`, out: bytes of the address
 * @return the number of bytes, 0 for an empty datagram or the end of a
 *   stream, or
 *   -EBADF, -EFAULT, -EINVAL, -EUSERS, NETFD_EDEADLINE, NETFD_ECANCELED,
 *   NETFD_ECLOSED destroyed meanwhile, -EINTR if asked for,
 *   or what recvfrom(2) said, negated (-ECONNREFUSED, ...)
 *
 * Any thread; on datagram sockets any number receive side by side, on others
 * they take turns with netfd_read(). Obeys the read deadline and the token.
 * Follows Go `FD.ReadFrom` and recvfrom(2).
 *
 * # Safety
 *
 * `buf` is NULL or writable for `len` bytes, `fromlen` NULL or valid, `from`
 * NULL or writable for `*fromlen` bytes.
 */
NETFD_MUST_USE
ssize_t netfd_recvfrom(int fd,
                       void *buf,
                       size_t len,
                       int flags,
                       struct sockaddr *from,
                       socklen_t *fromlen);

/**
 * Sends one message, or some bytes of a stream.
 *
 * It is one successful system call: on a stream it may send less, on others
 * it is the whole message or an error. SIGPIPE is never raised.
 *
 * @param buf    what to send
 * @param len    bytes at `buf`
 * @param flags  as for send(2); with MSG_DONTWAIT it never parks and says
 *               -EAGAIN
 * @param to     where to, or NULL on a connected socket
 * @param tolen  bytes at `to`
 * @return the number of bytes, or
 *   -EBADF, -EFAULT, -EINVAL, -EUSERS, NETFD_EDEADLINE, NETFD_ECANCELED,
 *   NETFD_ECLOSED destroyed meanwhile, -EINTR if asked for,
 *   -EISCONN a `to` on a datagram socket that netfd_connect() or netfd_dial()
 *   has connected (one that was attached so has the kernel's rules),
 *   -EDESTADDRREQ no `to` on an unconnected socket, -ENOTCONN no `to` on an
 *   unconnected unix socket, -EMSGSIZE too long for one message,
 *   -ECONNREFUSED an earlier message was refused, which is told once,
 *   or what else sendto(2) said, negated
 *
 * Any thread; on streams it takes turns with netfd_write(). Obeys the write
 * deadline and the token. Follows Go `FD.WriteTo`, whose UDPConn has the rule
 * of -EISCONN, and sendto(2).
 *
 * # Safety
 *
 * `buf` is NULL or readable for `len` bytes, `to` NULL or readable for
 * `tolen` bytes.
 */
NETFD_MUST_USE
ssize_t netfd_sendto(int fd,
                     const void *buf,
                     size_t len,
                     int flags,
                     const struct sockaddr *to,
                     socklen_t tolen);

/**
 * Receives one message with its control messages.
 *
 * Descriptors that come along are close-on-exec and not attached;
 * netfd_recv_fds() is the easier way to have them.
 *
 * @param msg    as for recvmsg(2), filled in on success
 * @param flags  as for netfd_recvfrom()
 * @return as netfd_recvfrom(); -EMSGSIZE more than IOV_MAX buffers
 *
 * Any thread, as netfd_recvfrom(). Follows Go `FD.ReadMsg` and recvmsg(2).
 *
 * # Safety
 *
 * `msg` is NULL or valid for recvmsg(2).
 */
NETFD_MUST_USE ssize_t netfd_recvmsg(int fd, struct msghdr *msg, int flags);

/**
 * Sends one message with control messages.
 *
 * @param msg    as for sendmsg(2)
 * @param flags  as for netfd_sendto()
 * @return as netfd_sendto(), `msg_name` being its `to`; -EMSGSIZE more than
 *   IOV_MAX buffers
 *
 * Any thread, as netfd_sendto(). Follows Go `FD.WriteMsg` and sendmsg(2).
 *
 * # Safety
 *
 * `msg` is NULL or valid for sendmsg(2).
 */
NETFD_MUST_USE
ssize_t netfd_sendmsg(int fd,
                      const struct msghdr *msg,
                      int flags);

/**
 * Receives a batch of messages: at least one, then what is there.
 *
 * It is one successful system call, whatever the number: it parks for the first
 * message, and waits for no other. Each of the first messages that came has
 * its length in `msg_len`, and its header as netfd_recvmsg() fills it in.
 * Nothing is allocated.
 *
 * On a stream each header takes what is there; a `msg_len` of 0 is its end.
 *
 * @param msgs   the headers, of sendmmsg(2)'s type, which in C is there with
 *               _GNU_SOURCE
 * @param n      how many, any number; 0 receives nothing and returns 0
 * @param flags  as for netfd_recvfrom(); MSG_WAITFORONE goes without saying
 * @return how many came, or
 *   -EBADF, -EFAULT, -EINVAL `n` over INT_MAX or a length out of range,
 *   -EMSGSIZE more than IOV_MAX buffers in one of them, -EUSERS,
 *   NETFD_EDEADLINE, NETFD_ECANCELED, NETFD_ECLOSED destroyed meanwhile,
 *   -EINTR if asked for,
 *   or what recvmmsg(2) said, negated (-ECONNREFUSED, ...). What goes wrong
 *   after some have come is told by the next call
 *
 * Any thread, as netfd_recvfrom(). Obeys the read deadline and the token.
 * Follows recvmmsg(2), without its timeout.
 *
 * # Safety
 *
 * `msgs` is NULL or valid for recvmmsg(2) of `n` messages.
 */
NETFD_MUST_USE
int netfd_recvmmsg(int fd,
                   struct mmsghdr *msgs,
                   unsigned int n,
                   int flags);

/**
 * Sends a batch of messages: as many as there is room for, at least one.
 *
 * It is one successful system call, which may send fewer than `n`, and at most
 * IOV_MAX (1,024) of them: the caller goes on behind those that went. Each of
 * these has its length in `msg_len`, which for the last one on a stream may
 * be less than all of it. SIGPIPE is never raised, and nothing is allocated.
 *
 * @param msgs   the headers, as for netfd_recvmmsg()
 * @param n      how many, any number; 0 sends nothing and returns 0
 * @param flags  as for netfd_sendto()
 * @return how many went, or, where none did,
 *   -EBADF, -EFAULT, -EINVAL `n` over INT_MAX or a length out of range,
 *   -EMSGSIZE more than IOV_MAX buffers in one of them, -EUSERS,
 *   NETFD_EDEADLINE, NETFD_ECANCELED, NETFD_ECLOSED destroyed meanwhile,
 *   -EINTR if asked for, -EISCONN as netfd_sendto(), if any of them has a
 *   `msg_name`,
 *   or what sendmmsg(2) said of the first, negated. What is wrong with a
 *   later one is told by the call that begins with it
 *
 * Any thread, as netfd_sendto(). Obeys the write deadline and the token.
 * Follows sendmmsg(2).
 *
 * # Safety
 *
 * `msgs` is NULL or valid for sendmmsg(2) of `n` messages.
 */
NETFD_MUST_USE
int netfd_sendmmsg(int fd,
                   struct mmsghdr *msgs,
                   unsigned int n,
                   int flags);

/**
 * Sends bytes with descriptors over a unix socket; the receiver gets copies
 * of these.
 *
 * On a stream the descriptors come with the first of the bytes; with `len` 0
 * one byte is sent for them to travel with, which netfd_recv_fds() with `len`
 * 0 takes away again.
 *
 * @param fds   the descriptors, of any kind; they stay the caller's
 * @param nfds  how many, at most 253
 * @param buf   what to send
 * @param len   bytes at `buf`
 * @return the number of bytes of `buf` sent, on a stream maybe less than
 *   `len`, or as netfd_sendto(), and
 *   -EOPNOTSUPP no unix socket, -EINVAL more than 253 descriptors
 *
 * Any thread, as netfd_sendto(). Follows unix(7), SCM_RIGHTS.
 *
 * # Safety
 *
 * `fds` is NULL or readable for `nfds` entries, `buf` NULL or readable for
 * `len` bytes.
 */
NETFD_MUST_USE
ssize_t netfd_send_fds(int fd,
                       const int *fds,
                       size_t nfds,
                       const void *buf,
                       size_t len);

/**
 * Receives bytes with descriptors over a unix socket.
 *
 * They are close-on-exec. Sockets among them are non-blocking and attached.
 * Those that exceed `cap` are closed, so that none leaks.
 *
 * @param fds   where to store them; each is the caller's
 * @param cap   how many fit
 * @param nfds  out: how many came; the first `cap` of them are in `fds`.
 *              Fewer than were sent come where this process has no
 *              descriptors left
 * @param buf   where to store the bytes
 * @param len   bytes at `buf`
 * @return as netfd_recvfrom(), and -EOPNOTSUPP no unix socket
 *
 * Any thread, as netfd_recvfrom(). Follows unix(7), SCM_RIGHTS.
 *
 * # Safety
 *
 * `fds` is NULL or writable for `cap` entries, `nfds` NULL or valid, `buf`
 * NULL or writable for `len` bytes.
 */
NETFD_MUST_USE
ssize_t netfd_recv_fds(int fd,
                       int *fds,
                       size_t cap,
                       size_t *nfds,
                       void *buf,
                       size_t len);

/**
 * Tells who is at the other end of a unix socket: who connected or listened,
 * when the connection was made.
 *
 * @param pid  where to store the process, or NULL
 * @param uid  where to store the user, or NULL
 * @param gid  where to store the group, or NULL
 * @return 0, or
 *   -EBADF, NETFD_ECLOSED, -EOPNOTSUPP no unix socket, -ENOTCONN no peer
 *
 * Any thread; never parks. Follows unix(7), SO_PEERCRED.
 *
 * # Safety
 *
 * Each pointer is NULL or valid.
 */
int netfd_peer_cred(int fd, pid_t *pid, uid_t *uid, gid_t *gid);

/**
 * Sends a file to a stream, or a part of it, parking while there is no room.
 *
 * The kernel moves the bytes (sendfile(2)) where it can; they are copied
 * where it cannot: out of a pipe, a socket, a terminal. A file that is
 * shorter than asked is sent to its end, and one that grows meanwhile to its
 * new end. With the file's own offset, that is behind the last byte sent
 * afterwards, however the call ended.
 *
 * Fewer bytes than there were come back only if something stopped it after
 * some had gone: see netfd_copy(). SIGPIPE is never raised.
 *
 * @param fd       a stream socket
 * @param file_fd  any descriptor that can be read, attached or not
 * @param offset   where in the file to begin, the file's own offset being
 *                 left alone; negative: at the file's own offset, which is
 *                 moved
 * @param count    how many bytes; negative: to the end
 * @return the number of bytes sent, 0 at or behind the end of the file; or,
 *   where none was sent,
 *   -EBADF `fd` is not attached, or `file_fd` not open for reading,
 *   -EOPNOTSUPP `fd` is no stream, -ESPIPE `offset` in what cannot seek,
 *   -EUSERS too many callers, NETFD_EDEADLINE, NETFD_ECANCELED,
 *   NETFD_ECLOSED destroyed meanwhile,
 *   -EPIPE an earlier copy read bytes that it could not write,
 *   -EINTR if asked for by netfd_set_interruptible(),
 *   or what sendfile(2), read(2) or send(2) said, negated
 *
 * Any thread; takes its turn with the writes to `fd`. Obeys its write
 * deadline and token; where `file_fd` is attached, its read deadline and
 * token as well, and the destroy of either ends it. Follows Go
 * `(*net.TCPConn).ReadFrom` and sendfile(2).
 */
NETFD_MUST_USE
int64_t netfd_sendfile(int fd,
                       int file_fd,
                       int64_t offset,
                       int64_t count);

/**
 * Copies from one descriptor to another until the end of what is read,
 * parking while either is not ready.
 *
 * Between streams the bytes do not pass through the process (splice(2)), nor
 * do those of a file (sendfile(2)); all else is copied, and so is what the
 * kernel refuses to move. A socket of messages is read a message at a time,
 * and each becomes one write; one that is longer than what `max` leaves, or
 * than 64 KiB, is left where it is, and told as -EMSGSIZE. To a socket of
 * messages, each read of at most 32 KiB of a stream is one message.
 *
 * The end is passed on to nobody: netfd_shutdown() of `dst` does that. To
 * copy in both directions takes two calls, and two threads.
 *
 * What stops it after bytes have gone leaves the count as the result; the
 * failure is what netfd_last_error() tells, of the operation "read" where it
 * was `src`'s. Call it again until it returns 0, the end, or a code. Nothing
 * that was not read is lost. What was read and could not be written any more
 * is set back where `src` is a file; elsewhere the next write to `dst` fails
 * with -EPIPE, for the stream has a hole there.
 *
 * @param dst  an attached descriptor
 * @param src  one that can be read, attached or not: a socket, a file at its
 *             own offset, a pipe, a terminal; `dst` itself is an echo
 * @param max  the most bytes to copy; negative: no limit
 * @return the number of bytes written to `dst`, 0 at the end; or, where none
 *   was written,
 *   -EBADF `dst` is not attached, or `src` not open,
 *   -EUSERS too many callers, NETFD_EDEADLINE, NETFD_ECANCELED,
 *   NETFD_ECLOSED destroyed before or meanwhile,
 *   -EMSGSIZE a message is too long,
 *   -EPIPE an earlier copy read bytes that it could not write,
 *   -EINTR if asked for by netfd_set_interruptible(),
 *   or what splice(2), read(2) or write(2) said, negated
 *
 * Any thread; takes its turn with the reads of `src` and with the writes to
 * `dst`, and keeps both. Whichever it waits for, it obeys `src`'s read
 * deadline, `dst`'s write deadline and both tokens, and the destroy of either
 * ends it. SIGPIPE is never raised. Follows Go `io.Copy`,
 * `(*net.TCPConn).ReadFrom` and splice(2).
 */
NETFD_MUST_USE int64_t netfd_copy(int dst, int src, int64_t max);

/**
 * Tells the time.
 *
 * @return nanoseconds of CLOCK_MONOTONIC
 *
 * Any thread; in signal handlers, too.
 */
int64_t netfd_now(void);

/**
 * Makes a deadline of a duration: the point in time that lies so far ahead.
 *
 * @param ns  nanoseconds; negative: it lies in the past
 * @return netfd_now() + `ns`, within the range of the type, and never
 *   NETFD_NO_DEADLINE
 *
 * Any thread.
 */
int64_t netfd_after(int64_t ns);

/**
 * Sets both deadlines of a descriptor.
 *
 * A deadline is a point in time. Once it has passed, every call in its
 * direction fails with NETFD_EDEADLINE, one that is parked already and one
 * that would have found data too, until another one is set. It ends calls,
 * not the descriptor: nothing is lost. Setting one costs no system call
 * unless somebody is parked.
 *
 * @param t  nanoseconds of CLOCK_MONOTONIC, see netfd_after(); or
 *           NETFD_NO_DEADLINE; what is not in the future has passed
 * @return 0, or -EBADF, NETFD_ECLOSED
 *
 * Any thread; calls that are parked obey it at once. Follows Go
 * `net.Conn.SetDeadline`.
 */
int netfd_set_deadline(int fd, int64_t t);

/**
 * Sets the deadline of reads, receives and accepts; otherwise as
 * netfd_set_deadline().
 *
 * @param t  as for netfd_set_deadline()
 * @return 0, or -EBADF, NETFD_ECLOSED
 *
 * Any thread. Follows Go `net.Conn.SetReadDeadline`.
 */
int netfd_set_read_deadline(int fd, int64_t t);

/**
 * Sets the deadline of writes, sends and connects; otherwise as
 * netfd_set_deadline().
 *
 * @param t  as for netfd_set_deadline()
 * @return 0, or -EBADF, NETFD_ECLOSED
 *
 * Any thread. Follows Go `net.Conn.SetWriteDeadline`.
 */
int netfd_set_write_deadline(int fd, int64_t t);

/**
 * Says whether signals end the calling thread's calls.
 *
 * Off, which is the default, a call that waits goes on waiting after a
 * signal handler has run. On, it returns -EINTR instead; a write that had
 * sent a part returns the count. For languages that act on signals between
 * calls only, as Python does on Ctrl-C.
 *
 * A handler that runs just before the call begins to wait does not end it.
 *
 * @param on  1 or 0
 * @return 0, or
 *   -EINVAL `on` is neither, or the caller is a fiber, whose worker handles no
 *   signals
 *
 * For the calling thread only.
 */
int netfd_set_interruptible(int on);

/**
 * Makes a cancel token: a switch that ends calls on any number of
 * descriptors, in any number of threads, once and for good.
 *
 * It needs no descriptor until a call parks on it.
 *
 * @return the token, the caller's until netfd_cancel_free(), or NULL where
 *   there is no memory
 *
 * Any thread. Follows Go `context.WithCancel`.
 */
NETFD_MUST_USE struct netfd_cancel *netfd_cancel_new(void);

/**
 * Fires a token: every call that obeys it fails with NETFD_ECANCELED, those
 * that are parked already too. It cannot be undone.
 *
 * All that the caller did before is visible to the callers that it wakes.
 *
 * @param c  a token, or NULL: nothing happens
 *
 * Any thread, and signal handlers: it is async-signal-safe and leaves errno
 * alone.
 *
 * # Safety
 *
 * `c` is NULL or a token that is not freed before the call returns.
 */
void netfd_cancel_fire(struct netfd_cancel *c);

/**
 * Says whether a token has fired.
 *
 * @param c  a token, or NULL: it has not
 * @return 1 or 0
 *
 * Any thread, and signal handlers.
 *
 * # Safety
 *
 * `c` is NULL or a token that is not freed before the call returns.
 */
int netfd_cancel_fired(const struct netfd_cancel *c);

/**
 * Gives a token back.
 *
 * Descriptors and calls that still have it go on obeying it; the last of
 * them lets it go. Freeing does not fire.
 *
 * @param c  a token, not to be used by the caller again; or NULL
 *
 * Any thread.
 *
 * # Safety
 *
 * `c` is NULL or a token, freed for the first time.
 */
void netfd_cancel_free(struct netfd_cancel *c);

/**
 * Sets the token that every call on a descriptor obeys, those that are parked
 * already too.
 *
 * @param c  a token; or NULL: none
 * @return 0, or -EBADF, NETFD_ECLOSED
 *
 * Any thread. What was set before is let go. Follows the use of Go's
 * `context.Context`, which Go itself has for dials only.
 *
 * # Safety
 *
 * `c` is NULL or a token.
 */
int netfd_set_cancel(int fd, struct netfd_cancel *c);

/**
 * Tells a socket's own address, as the kernel has it.
 *
 * @param sa   where to store it, cut to the room there is
 * @param len  in: bytes at `sa`, out: bytes of the address
 * @return 0, or
 *   -EBADF, NETFD_ECLOSED, -EFAULT,
 *   or what getsockname(2) said, negated
 *
 * Any thread; never parks. Follows Go `LocalAddr` and getsockname(2).
 *
 * # Safety
 *
 * `len` is NULL or valid, `sa` NULL or writable for `*len` bytes.
 */
int netfd_local_addr(int fd, struct sockaddr *sa, socklen_t *len);

/**
 * Tells the address of the other end.
 *
 * What accept or connect learned is kept with the descriptor, so that it is
 * known after a reset too.
 *
 * @param sa   where to store it, cut to the room there is
 * @param len  in: bytes at `sa`, out: bytes of the address
 * @return 0, or
 *   -EBADF, NETFD_ECLOSED, -EFAULT, -ENOTCONN there is no other end,
 *   or what getpeername(2) said, negated
 *
 * Any thread; never parks. Follows Go `RemoteAddr` and getpeername(2).
 *
 * # Safety
 *
 * `len` is NULL or valid, `sa` NULL or writable for `*len` bytes.
 */
int netfd_remote_addr(int fd, struct sockaddr *sa, socklen_t *len);

/**
 * Writes an address as text: "127.0.0.1:80", "[fe80::1%eth0]:80",
 * "/run/app.sock", "@abstract".
 *
 * An IPv4-mapped IPv6 address is written as plain IPv4. An unnamed unix
 * address is the empty text.
 *
 * @param sa   an address
 * @param len  bytes at `sa`
 * @param buf  where to store the text, cut to `cap` bytes with its NUL; NULL
 *             where `cap` is 0. NETFD_ADDR_TEXT bytes are always enough
 * @param cap  bytes at `buf`
 * @return the length of the whole text, as snprintf(3), or
 *   -EFAULT, -EINVAL `len` out of range
 *
 * Any thread. Follows Go `net.Addr.String`.
 *
 * # Safety
 *
 * `sa` is NULL or readable for `len` bytes, `buf` NULL or writable for `cap`
 * bytes.
 */
int netfd_addr_format(const struct sockaddr *sa,
                      socklen_t len,
                      char *buf,
                      size_t cap);

/**
 * Reads an address from text, without looking anything up.
 *
 * The host is an IP address or, for a wildcard, empty; the port a number or,
 * for 0, empty. Unix addresses are paths, or "@name" for the abstract ones.
 *
 * @param network  "tcp", "tcp4", "tcp6", "udp", "udp4", "udp6", "unix",
 *                 "unixgram" or "unixpacket"
 * @param address  "host:port", "[v6%zone]:port", ":port", or a path
 * @param sa       where to store the address
 * @param len      in: bytes at `sa`, out: bytes of the address
 * @return 0, or
 *   -EFAULT, NETFD_ENETWORK unknown network, NETFD_EADDRESS no address of
 *   that network, -EINVAL a unix path that is too long, or `*len` too small
 *
 * Any thread; never parks. Follows Go `net.SplitHostPort` and
 * `netip.ParseAddrPort`.
 *
 * # Safety
 *
 * `network` and `address` are NULL or end with a NUL, `len` is NULL or valid,
 * `sa` NULL or writable for `*len` bytes.
 */
int netfd_addr_parse(const char *network,
                     const char *address,
                     struct sockaddr_storage *sa,
                     socklen_t *len);

/**
 * Starts a fiber, which runs `fn(arg)`: Go's `go fn(arg)`.
 *
 * A fiber has a stack of its own and no thread: every call of this library
 * that parks parks the fiber, while its worker, one of a few threads, runs
 * others. It stays on the worker that it begins on, the one with the fewest
 * fibers; thread-local variables are the worker's. errno and C++ exceptions in
 * flight are the fiber's own. Its stack has 256 KiB, of which touched pages
 * cost memory, over a guard of 64 KiB. It is not preempted: one that computes,
 * or blocks outside netfd, holds its worker up, see netfd_block(); one whose
 * calls keep succeeding lets others run after 64. Hold no mutex over a call
 * that parks. Neither pthread_exit(3) nor longjmp(3) may leave it, nor an
 * exception.
 *
 * The first fiber starts the workers, one for each processor, or as many as
 * NETFD_WORKERS in the environment says. Signals are not handled on them.
 * They read, write and accept through io_uring(7) where the kernel gives it
 * (Linux 6.1), and wait by epoll(7) else, or where NETFD_POLL=epoll says so;
 * what calls do, and say, is the same.
 *
 * @param fn   what to run
 * @param arg  what to run it with
 * @return 0, or
 *   -EFAULT no `fn`, -ENOMEM, -EAGAIN no thread to be had, -EMFILE or
 *   -ENFILE no descriptor for the workers
 *
 * Any thread or fiber; never parks. In a child made by fork(2) the first fiber
 * starts workers anew; a fiber that forks goes on in the child as a thread, and
 * ends it with _exit(0). Follows Go's `go` statement.
 *
 * # Safety
 *
 * `fn` may be called with `arg`, on another thread.
 */
int netfd_go(void (*fn)(void *arg),
             void *arg);

/**
 * Accepts connections, and runs a fiber for each: `handler(fd, arg)`.
 *
 * The connection is destroyed when its handler returns, unless that has
 * detached it. Where accepting finds no descriptor or no memory it rests, from
 * 5 ms up to a second. When the listener's token fires it stops accepting;
 * handlers run on for `drain_timeout`, then what is left is destroyed. When the
 * listener is destroyed, what is left is destroyed at once. A handler whose
 * connection is destroyed is told NETFD_ECLOSED and has to return: the number
 * may soon be another's. Until the listener is destroyed, the kernel goes on
 * taking connections into its queue. The listener's token and deadlines are not
 * its connections'.
 *
 * @param listener  as made by netfd_listen(); it stays the caller's
 * @param handler   what serves a connection
 * @param arg       what it is called with
 * @param cfg       how, or NULL
 * @return 0 where the token has fired and the last handler has returned, or
 *   NETFD_ECLOSED the listener was destroyed, and the last handler has
 *   returned, -EBADF, -EFAULT no `handler`,
 *   -EINVAL `cfg` says what cannot be, NETFD_EDEADLINE the listener's read
 *   deadline has passed, -EINTR if asked for by netfd_set_interruptible(),
 *   -ENOMEM, or what accept4(2) said that will not pass, negated
 *
 * Any thread or fiber; parks. Follows Go `(*http.Server).Serve` and
 * `Shutdown`.
 *
 * # Safety
 *
 * `handler` may be called with `arg`, on any thread, several at once; `cfg` is
 * NULL or readable for its `size` bytes.
 */
int netfd_serve(int listener,
                void (*handler)(int fd, void *arg),
                void *arg,
                const struct netfd_serve_config *cfg);

/**
 * Sleeps for a time.
 *
 * @param ns  nanoseconds; 0 or less returns at once
 * @return 0
 *
 * Any thread or fiber; parks. Follows Go `time.Sleep`.
 */
int netfd_sleep(int64_t ns);

/**
 * Lets other fibers of the worker run: in a thread, other threads.
 *
 * Any thread or fiber. Follows Go `runtime.Gosched`.
 */
void netfd_yield(void);

/**
 * Says whether the caller is a fiber.
 *
 * @return 1 or 0
 *
 * Any thread or fiber.
 */
int netfd_in_fiber(void);

/**
 * Runs `fn(arg)` on a helper thread, and parks the fiber until it is done: for
 * what blocks, files or databases, or computes for long. Outside a fiber it
 * just runs it.
 *
 * @param fn   what to run
 * @param arg  what to run it with
 * @return 0 when it has run, or
 *   -EFAULT no `fn`, -ENOMEM, -EAGAIN no thread to be had: it has not run
 *
 * Any thread or fiber. What runs on the helper is no fiber.
 *
 * # Safety
 *
 * `fn` may be called with `arg`, on another thread.
 */
int netfd_block(void (*fn)(void *arg), void *arg);

/**
 * Makes a wait group: a count of work that threads and fibers can wait for.
 *
 * @return the group, the caller's until netfd_group_free(), or NULL where
 *   there is no memory
 *
 * Any thread or fiber. Follows Go `sync.WaitGroup`.
 */
NETFD_MUST_USE struct netfd_group *netfd_group_new(void);

/**
 * Counts more work.
 *
 * @param n  how much; negative: that much is done
 * @return 0, or
 *   -EFAULT, -EINVAL the count would be below 0 or beyond INT_MAX
 *
 * Any thread or fiber; never parks. Follows Go `WaitGroup.Add`.
 *
 * # Safety
 *
 * `g` is NULL or a group that is not freed before the call returns.
 */
int netfd_group_add(struct netfd_group *g, int n);

/**
 * Counts one piece of work as done: all that came before it is visible to
 * those who waited for it.
 *
 * @return 0, or
 *   -EFAULT, -EINVAL there was none
 *
 * Any thread or fiber; never parks. Follows Go `WaitGroup.Done`.
 *
 * # Safety
 *
 * `g` is NULL or a group that was not freed before the call. Whoever waited
 * for this piece of work may free it though the call has not returned.
 */
int netfd_group_done(struct netfd_group *g);

/**
 * Waits until all work of a group is done.
 *
 * @param deadline  when to give up, in nanoseconds of CLOCK_MONOTONIC, or
 *                  NETFD_NO_DEADLINE
 * @param cancel    a token that ends the wait, or NULL
 * @return 0, at once where there is no work, whatever the deadline or the
 *   token; or -EFAULT, NETFD_EDEADLINE, NETFD_ECANCELED,
 *   -EINTR if asked for by netfd_set_interruptible(), -ENOMEM
 *
 * Any thread or fiber, any number; parks. Follows Go `WaitGroup.Wait`.
 *
 * # Safety
 *
 * `g` is NULL or a group, `cancel` NULL or a token, neither of which is freed
 * before the call returns.
 */
int netfd_group_wait(struct netfd_group *g,
                     int64_t deadline,
                     struct netfd_cancel *cancel);

/**
 * Gives a group back.
 *
 * @param g  a group that nobody waits for, not to be used again; or NULL
 *
 * Any thread or fiber.
 *
 * # Safety
 *
 * `g` is NULL or a group, freed for the first time.
 */
void netfd_group_free(struct netfd_group *g);

/**
 * Counts what is going on.
 *
 * In a child made by fork(2) `parked` begins again, and so does what is
 * counted of fibers.
 *
 * @param out  where to store the counts, `size` set
 * @return 0, or -EFAULT, -EINVAL `size` is 0
 *
 * Any thread; looks at every descriptor. The counts are not of one moment.
 *
 * # Safety
 *
 * `out` is NULL or writable for `size` bytes.
 */
int netfd_stats(struct netfd_stats *out);

/**
 * Writes what is attached and who is parked on what, since when, as text for
 * people: a line for each descriptor, and under it one for each thread or
 * fiber that is parked there; at the end, those that are parked on none. Of
 * those without a deadline "since when" is as of the kernel's last tick, up
 * to 10 ms early.
 *
 * @param out_fd  any descriptor that can be written: 2, a file, a pipe
 * @return 0, or
 *   what write(2) said, negated (-EAGAIN where a non-blocking one is full)
 *
 * Any thread; may block as long as writing to `out_fd` does. SIGPIPE is not
 * raised.
 */
int netfd_dump(int out_fd);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* NETFD_H */
