/* Signals: SIGPIPE is never raised, others end no call unless the thread asked
 * for it, and the process's dispositions are its own.
 * Usage: signals SCENARIO */
#include "check.h"

#include <sys/time.h>

/* --- SIGPIPE --- */

static void check_no_sigpipe(void) {
    sigset_t set;
    sigpending(&set);
    EQ(sigismember(&set, SIGPIPE), 0);
    pthread_sigmask(SIG_BLOCK, NULL, &set);
    EQ(sigismember(&set, SIGPIPE), 0);
}

/* Every way to send, to a peer that is gone. */
static void send_in_every_way(int fd) {
    struct iovec iov[2] = {{"a", 1}, {"b", 1}};
    struct msghdr msg;
    memset(&msg, 0, sizeof msg);
    msg.msg_iov = iov;
    msg.msg_iovlen = 2;
    EQ(netfd_write(fd, "w", 1), -EPIPE);
    EQ(netfd_writev(fd, iov, 2), -EPIPE);
    EQ(netfd_sendto(fd, "s", 1, 0, NULL, 0), -EPIPE);
    EQ(netfd_sendto(fd, "s", 1, MSG_DONTWAIT, NULL, 0), -EPIPE);
    EQ(netfd_sendmsg(fd, &msg, 0), -EPIPE);
    check_no_sigpipe();
}

static void sigpipe_from_sockets(void) {
    struct sockaddr_in at;
    int pair[2];
    signal(SIGPIPE, SIG_DFL);

    make_pair(pair);
    EQ(netfd_destroy(pair[1]), 0);
    send_in_every_way(pair[0]);
    EQ(netfd_send_fds(pair[0], pair, 1, "f", 1), -EPIPE);

    make_pair(pair);
    EQ(netfd_shutdown(pair[0], SHUT_WR), 0);
    send_in_every_way(pair[0]);

    int listener = make_listener(&at);
    pair[0] = connect_to(&at);
    pair[1] = netfd_accept(listener, NULL, NULL);
    CHECK(pair[1] >= 0);
    EQ(netfd_shutdown(pair[0], SHUT_WR), 0);
    send_in_every_way(pair[0]);
}

static int closed_pipe(void) {
    int ends[2];
    EQ(pipe(ends), 0);
    close(ends[0]);
    return ends[1];
}

static void sigpipe_from_dump(void) {
    int pair[2];
    signal(SIGPIPE, SIG_DFL);
    make_pair(pair);
    EQ(netfd_dump(closed_pipe()), -EPIPE);
    check_no_sigpipe();
}

/* A SIGPIPE of the process's own, blocked and pending, is not swallowed. */
static void sigpipe_of_somebody_else(void) {
    int pair[2];
    sigset_t set;
    signal(SIGPIPE, SIG_DFL);
    make_pair(pair);
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    raise(SIGPIPE);
    EQ(netfd_dump(closed_pipe()), -EPIPE);
    sigpending(&set);
    EQ(sigismember(&set, SIGPIPE), 1);
    pthread_sigmask(SIG_BLOCK, NULL, &set);
    EQ(sigismember(&set, SIGPIPE), 1);
}

/* --- a storm --- */

static volatile sig_atomic_t handled;

static void count_signal(int signal) {
    (void)signal;
    handled++;
}

static void handle(int signal, int flags) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = count_signal;
    action.sa_flags = flags;
    EQ(sigaction(signal, &action, NULL), 0);
}

#define CONNECTIONS 50
#define ROUNDS 300
#define BLOCK 64

static void *serve(void *arg) {
    int listener = *(int *)arg;
    char block[BLOCK];
    int fd = netfd_accept(listener, NULL, NULL);
    CHECK(fd >= 0);
    for (;;) {
        EQ(netfd_set_read_deadline(fd, netfd_after(8 * SECOND)), 0);
        ssize_t n = netfd_read(fd, block, sizeof block);
        CHECK(n >= 0);
        if (n == 0)
            break;
        EQ(netfd_write(fd, block, (size_t)n), n);
    }
    EQ(netfd_destroy(fd), 0);
    return NULL;
}

static void *ask(void *arg) {
    int fd = connect_to(arg);
    for (int round = 0; round < ROUNDS; round++) {
        char block[BLOCK], answer[BLOCK];
        for (int i = 0; i < BLOCK; i++)
            block[i] = (char)(fd * 31 + round * 7 + i);
        EQ(netfd_write(fd, block, sizeof block), BLOCK);
        for (size_t done = 0; done < sizeof answer;) {
            EQ(netfd_wait(fd, NETFD_READABLE, netfd_after(8 * SECOND)),
               NETFD_READABLE);
            ssize_t n = netfd_read(fd, answer + done, sizeof answer - done);
            CHECK(n > 0);
            done += (size_t)n;
        }
        EQ(memcmp(block, answer, sizeof block), 0);
    }
    EQ(netfd_destroy(fd), 0);
    return NULL;
}

static void storm(void) {
    struct sockaddr_in at;
    pthread_t servers[CONNECTIONS], clients[CONNECTIONS];
    int listener = make_listener(&at);
    sigset_t set;
    struct itimerval often = {{0, 100}, {0, 100}}, never = {{0, 0}, {0, 0}};
    handle(SIGALRM, 0); /* without SA_RESTART */
    for (int i = 0; i < CONNECTIONS; i++)
        servers[i] = start(serve, &listener);
    await_parked(CONNECTIONS);
    EQ(setitimer(ITIMER_REAL, &often, NULL), 0);
    for (int i = 0; i < CONNECTIONS; i++)
        clients[i] = start(ask, &at);
    sigemptyset(&set);
    sigaddset(&set, SIGALRM);
    pthread_sigmask(SIG_BLOCK, &set, NULL); /* the others get it */
    for (int i = 0; i < CONNECTIONS; i++) {
        joined(clients[i]);
        joined(servers[i]);
    }
    EQ(setitimer(ITIMER_REAL, &never, NULL), 0);
    CHECK(handled > 100);
    EQ(parked(), 0);
    EQ(netfd_destroy(listener), 0);
}

/* --- netfd_set_interruptible --- */

struct asking {
    struct caller caller;
    int code; /* of the failure record */
};

static void *ask_to_be_interrupted(void *arg) {
    struct asking *asking = arg;
    EQ(netfd_set_interruptible(1), 0);
    asking->caller.result = call(&asking->caller);
    asking->code = netfd_last_error(NULL);
    return NULL;
}

/* Sends signals until the thread has ended: one that comes just before the
 * call waits does not count. */
static void interrupt(pthread_t thread) {
    struct timespec until;
    int64_t give_up = netfd_after(5 * SECOND);
    do {
        CHECK(netfd_now() < give_up);
        pthread_kill(thread, SIGUSR1);
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 10 * MS;
        if (until.tv_nsec >= SECOND) {
            until.tv_nsec -= SECOND;
            until.tv_sec++;
        }
    } while (pthread_timedjoin_np(thread, NULL, &until) != 0);
}

/* Interrupts one caller that parks, `others` being parked beside it. */
static void interrupt_one(struct caller caller, uint64_t others, long want) {
    struct asking asking = {.caller = caller};
    pthread_t thread = start(ask_to_be_interrupted, &asking);
    await_parked(others + 1);
    interrupt(thread);
    EQ(asking.caller.result, want);
    EQ(asking.code, -EINTR);
    EQ(parked(), others);
}

static void interrupt_all(int flags) {
    struct sockaddr_in at;
    int pair[2];
    make_pair(pair);
    int listener = make_listener(&at);
    handle(SIGUSR1, flags);
    struct caller reader = {.what = READS, .fd = pair[0]};
    struct caller waiter = {.what = WAITS, .fd = pair[0]};
    struct caller acceptor = {.what = ACCEPTS, .fd = listener};
    interrupt_one(reader, 0, -EINTR);
    interrupt_one(waiter, 0, -EINTR);
    interrupt_one(acceptor, 0, -EINTR);
    echo_over(pair);
}

static void interrupts_parked_calls(void) { interrupt_all(0); }

/* As signal(3) installs them: ppoll(2) is not restarted even so. */
static void interrupts_parked_calls_of_restarting_handlers(void) {
    interrupt_all(SA_RESTART);
}

static void interrupt_queued(int flags) {
    int pair[2];
    make_pair(pair);
    handle(SIGUSR1, flags);
    struct caller holder = {.what = READS, .fd = pair[0]};
    struct caller waiting = {.what = WAITS, .fd = pair[1]};
    begin(&holder);
    await_parked(1);
    begin(&waiting);
    await_parked(2);
    interrupt_one((struct caller){.what = READS, .fd = pair[0]}, 2, -EINTR);
    interrupt_one((struct caller){.what = WAITS, .fd = pair[1]}, 2, -EINTR);
    EQ(netfd_set_read_deadline(pair[0], netfd_after(20 * SECOND)), 0);
    interrupt_one((struct caller){.what = READS, .fd = pair[0]}, 2, -EINTR);
    EQ(netfd_write(pair[1], "h", 1), 1);
    EQ(netfd_write(pair[0], "w", 1), 1);
    EQ(result_of(&holder), 1);
    EQ(result_of(&waiting), NETFD_READABLE);
}

static void interrupts_queued_calls(void) { interrupt_queued(0); }

static void interrupts_queued_calls_of_restarting_handlers(void) {
    interrupt_queued(SA_RESTART);
}

static void interrupted_write_returns_the_count(void) {
    int pair[2];
    make_pair(pair);
    handle(SIGUSR1, 0);
    struct asking asking = {
        .caller = {.what = WRITES, .fd = pair[0], .len = 4 << 20}};
    pthread_t thread = start(ask_to_be_interrupted, &asking);
    await_parked(1);
    interrupt(thread);
    long sent = asking.caller.result, got = 0;
    CHECK(sent > 0 && sent < 4 << 20);
    EQ(asking.code, -EINTR);
    static char sink[65536];
    for (ssize_t n; (n = netfd_recvfrom(pair[1], sink, sizeof sink, MSG_DONTWAIT,
                                        NULL, NULL)) > 0;)
        got += n;
    EQ(got, sent);
    EQ(netfd_write(pair[0], "n", 1), 1); /* it was the thread, not the stream */
}

/* A backlog that is full, so that a connect waits. */
static void *connect_interruptibly(void *arg) {
    const struct sockaddr_in *at = arg;
    int fd = netfd_sys_socket(AF_INET, SOCK_STREAM, 0);
    CHECK(fd >= 0);
    EQ(netfd_set_interruptible(1), 0);
    EQ(netfd_connect(fd, NULL, 0, (const struct sockaddr *)at, sizeof *at,
                     netfd_after(8 * SECOND), NULL),
       -EINTR);
    EQ(netfd_destroy(fd), 0);
    return NULL;
}

static void interrupts_a_connect(void) {
    struct sockaddr_in at;
    socklen_t len = sizeof at;
    memset(&at, 0, sizeof at);
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    EQ(bind(listener, (struct sockaddr *)&at, len), 0);
    EQ(listen(listener, 1), 0);
    EQ(getsockname(listener, (struct sockaddr *)&at, &len), 0);
    for (int i = 0; i < 4; i++) {
        int filler = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        connect(filler, (struct sockaddr *)&at, len);
    }
    handle(SIGUSR1, 0);
    pthread_t thread = start(connect_interruptibly, &at);
    await_parked(1);
    interrupt(thread);
}

static void *ask_and_take_it_back(void *arg) {
    EQ(netfd_set_interruptible(1), 0);
    EQ(netfd_set_interruptible(0), 0);
    return call_in_thread(arg);
}

static void interrupts_no_thread_that_did_not_ask(void) {
    int pair[2], other[2];
    make_pair(pair);
    make_pair(other);
    handle(SIGUSR1, 0);
    EQ(netfd_set_interruptible(1), 0); /* this thread */
    struct caller reader = {.what = READS, .fd = pair[0]};
    struct caller queued = reader;
    struct caller undecided = {.what = READS, .fd = other[0]};
    begin(&reader);
    await_parked(1);
    begin(&queued);
    await_parked(2);
    undecided.thread = start(ask_and_take_it_back, &undecided);
    await_parked(3);
    for (int i = 0; i < 100; i++) {
        pthread_kill(reader.thread, SIGUSR1);
        pthread_kill(queued.thread, SIGUSR1);
        pthread_kill(undecided.thread, SIGUSR1);
    }
    while (handled == 0)
        look_again();
    EQ(netfd_write(pair[1], "12", 2), 2);
    EQ(netfd_write(other[1], "1", 1), 1);
    EQ(result_of(&reader), 1);
    EQ(result_of(&queued), 1);
    EQ(result_of(&undecided), 1);
}

static void other_values_are_invalid(void) {
    EQ(netfd_set_interruptible(2), -EINVAL);
    EQ(netfd_set_interruptible(-1), -EINVAL);
    EQ(netfd_set_interruptible(INT32_MAX), -EINVAL);
    EQ(netfd_set_interruptible(INT32_MIN), -EINVAL);
    EQ(netfd_set_interruptible(1), 0);
    EQ(netfd_set_interruptible(0), 0);
}

/* Without a handler nothing ran: a stop and a continue end no call. */
static void a_stop_ends_nothing(void) {
    int pair[2];
    int status;
    make_pair(pair);
    pid_t pid = fork();
    if (pid == 0) {
        struct asking asking = {.caller = {.what = READS, .fd = pair[0]}};
        EQ(netfd_set_read_deadline(pair[0], netfd_after(5 * SECOND)), 0);
        pthread_t thread = start(ask_to_be_interrupted, &asking);
        await_parked(1);
        raise(SIGSTOP);
        EQ(netfd_write(pair[1], "c", 1), 1);
        joined(thread);
        EQ(asking.caller.result, 1);
        _exit(0);
    }
    EQ(waitpid(pid, &status, WUNTRACED), pid);
    CHECK(WIFSTOPPED(status));
    EQ(kill(pid, SIGCONT), 0);
    EQ(waitpid(pid, &status, 0), pid);
    EQ(status, 0);
}

/* --- handlers --- */

static struct netfd_cancel *token;
static volatile sig_atomic_t fired_before, fired_after;
static volatile int64_t time_in_handler;

static void fire_in_handler(int signal) {
    (void)signal;
    fired_before = netfd_cancel_fired(token);
    netfd_cancel_fire(token);
    fired_after = netfd_cancel_fired(token);
    time_in_handler = netfd_now();
}

/* The handler runs in the very thread that is parked. */
static void fires_in_a_handler(void) {
    int pair[2];
    make_pair(pair);
    token = netfd_cancel_new();
    EQ(netfd_set_cancel(pair[0], token), 0);
    signal(SIGUSR1, fire_in_handler);
    struct caller reader = {.what = READS, .fd = pair[0]};
    struct caller queued = reader;
    int64_t begun = netfd_now();
    begin(&reader);
    await_parked(1);
    begin(&queued);
    await_parked(2);
    pthread_kill(reader.thread, SIGUSR1);
    EQ(result_of(&reader), NETFD_ECANCELED);
    EQ(result_of(&queued), NETFD_ECANCELED);
    EQ(fired_before, 0);
    EQ(fired_after, 1);
    CHECK(time_in_handler >= begun && time_in_handler <= netfd_now());
}

/* --- what the process finds of its signals afterwards --- */

static void signal_lines(char *to, size_t cap) {
    char line[256];
    FILE *status = fopen("/proc/thread-self/status", "r");
    CHECK(status != NULL);
    *to = 0;
    while (fgets(line, sizeof line, status) != NULL)
        if (strncmp(line, "Sig", 3) == 0 && strncmp(line, "SigQ", 4) != 0)
            strncat(to, line, cap - strlen(to) - 1);
    fclose(status);
}

static void leaves_handlers_and_masks_alone(void) {
    char before[1024], after[1024];
    struct sockaddr_in at;
    int pair[2];
    char byte;
    signal(SIGPIPE, SIG_DFL);
    signal_lines(before, sizeof before);
    CHECK(strstr(before, "SigCgt") != NULL);
    int listener = make_listener(&at);
    pair[0] = connect_to(&at);
    pair[1] = netfd_accept(listener, NULL, NULL);
    echo_over(pair);
    EQ(netfd_set_read_deadline(pair[0], netfd_after(MS)), 0);
    EQ(netfd_read(pair[0], &byte, 1), NETFD_EDEADLINE);
    EQ(netfd_dump(closed_pipe()), -EPIPE);
    destroy_pair(pair);
    EQ(netfd_destroy(listener), 0);
    signal_lines(after, sizeof after);
    EQ(strcmp(before, after), 0);
}

int main(int argc, char **argv) {
    static const struct scenario all[] = {
        {"sigpipe_from_sockets", sigpipe_from_sockets},
        {"sigpipe_from_dump", sigpipe_from_dump},
        {"sigpipe_of_somebody_else", sigpipe_of_somebody_else},
        {"storm", storm},
        {"interrupts_parked_calls", interrupts_parked_calls},
        {"interrupts_parked_calls_of_restarting_handlers",
         interrupts_parked_calls_of_restarting_handlers},
        {"interrupts_queued_calls", interrupts_queued_calls},
        {"interrupts_queued_calls_of_restarting_handlers",
         interrupts_queued_calls_of_restarting_handlers},
        {"interrupted_write_returns_the_count", interrupted_write_returns_the_count},
        {"interrupts_a_connect", interrupts_a_connect},
        {"interrupts_no_thread_that_did_not_ask",
         interrupts_no_thread_that_did_not_ask},
        {"other_values_are_invalid", other_values_are_invalid},
        {"a_stop_ends_nothing", a_stop_ends_nothing},
        {"fires_in_a_handler", fires_in_a_handler},
        {"leaves_handlers_and_masks_alone", leaves_handlers_and_masks_alone},
    };
    return run_scenario(all, sizeof all / sizeof *all, argc > 1 ? argv[1] : NULL);
}
