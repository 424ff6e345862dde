/* Runs a program again and again, and has one of its system calls fail.
 *
 *     inject SECONDS PROGRAM [ARG...]
 *
 * reads a line per run from standard input, "MODE CALL ERRNO N USEC", and writes
 * one per run, a JSON object. The Nth CALL of the process, whichever thread's or
 * child's it is, is met; the modes are
 *
 *     none   nothing is done; all calls are counted
 *     once   the call is not made, and fails with ERRNO
 *     from   so do all after it
 *     done   the call is made, and fails with ERRNO all the same
 *     enter  the call begins USEC microseconds late
 *     leave  it returns USEC microseconds late
 *
 * Beside strace(1), whose injections it resembles, it counts for the process and
 * not for each thread, has a close that fails close, as the kernel does, leaves
 * the loader alone, and takes 3 ms a run.
 *
 * What is written to an eventfd is the call "wake", and read from one "drain": a
 * wake-up that is not carried out, which the kernel never refuses, is one that
 * the harness lost.
 *
 * The program asks for it: where TORTURE is in its environment it has a filter
 * of seccomp(2) stop it at the calls of calls.h, from that moment on. It ends
 * within SECONDS or is killed. Writes to descriptors 1 and 2 do not count. */
#define _GNU_SOURCE
#include "calls.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef __x86_64__
#error "it knows the registers of x86-64 alone"
#endif

enum mode { NONE, ONCE, FROM, DONE, ENTER, LEAVE };
static const char *const MODES[] = {"none", "once", "from", "done", "enter", "leave"};

static const struct call {
    const char *name;
    long number;
    int takes_fds;
} ALL[] = {
#define FD(name) {#name, SYS_##name, 1},
#define MEM(name) {#name, SYS_##name, 0},
    CALLS(FD, MEM)
#undef FD
#undef MEM
    {"wake", -2, 1},
    {"drain", -3, 1},
};
enum { KINDS = sizeof ALL / sizeof *ALL, THREADS = 512 };

/* What one run is to be, and what became of it. */
static struct {
    enum mode mode;
    long call, n, usec;
    int error;
} want;
static struct {
    long counts[KINDS], hits;
    char ebadf[128];
} got;

/* A thread that is traced: what it waits for the end of. */
static struct thread {
    pid_t tid;
    int kind;      /* the call that it is in, or -1 */
    int met;       /* by want */
    int64_t until; /* held up; 0: not */
    int how;       /* and how it goes on then */
} threads[THREADS];

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * INT64_C(1000000) + time.tv_nsec / 1000;
}

static void die(const char *why) {
    fprintf(stderr, "inject: %s: %s\n", why, strerror(errno));
    exit(2);
}

static struct thread *find(pid_t tid, int make) {
    struct thread *empty = NULL;
    for (struct thread *t = threads; t < threads + THREADS; t++) {
        if (t->tid == tid)
            return t;
        if (t->tid == 0 && empty == NULL)
            empty = t;
    }
    if (make && empty != NULL)
        *empty = (struct thread){.tid = tid, .kind = -1};
    return make ? empty : NULL;
}

static void go_on(struct thread *t, int how, int signal) {
    ptrace(how, t->tid, 0, (long)signal); /* ESRCH: it has been killed */
}

static void hold(struct thread *t, int how) {
    t->until = now() + want.usec;
    t->how = how;
}

/* Which call it is: its number, or one of our own. */
static long named(pid_t tid, const struct user_regs_struct *regs) {
    long number = (long)regs->orig_rax;
    if (number == SYS_write || number == SYS_read) {
        char path[64], text[64] = "";
        snprintf(path, sizeof path, "/proc/%d/fd/%d", tid, (int)regs->rdi);
        if (readlink(path, text, sizeof text - 1) > 0 && strcmp(text, "anon_inode:[eventfd]") == 0)
            return number == SYS_write ? -2 : -3;
    }
    return number;
}

/* Before a call of calls.h is made. */
static void entered(struct thread *t) {
    struct user_regs_struct regs;
    int kind = 0;

    if (ptrace(PTRACE_GETREGS, t->tid, 0, &regs) != 0)
        return;
    for (long number = named(t->tid, &regs); kind < KINDS && ALL[kind].number != number;)
        kind++;
    if (kind == KINDS || (regs.orig_rax == SYS_write && (regs.rdi == 1 || regs.rdi == 2))) {
        go_on(t, PTRACE_CONT, 0);
        return;
    }
    long nth = ++got.counts[kind];
    t->kind = kind;
    t->met = want.mode != NONE && want.call == kind &&
             (want.mode == FROM ? nth >= want.n : nth == want.n);
    got.hits += t->met;
    if (t->met && (want.mode == ONCE || want.mode == FROM)) {
        regs.orig_rax = -1ULL; /* is not made */
        regs.rax = -(long)want.error;
        ptrace(PTRACE_SETREGS, t->tid, 0, &regs);
        go_on(t, PTRACE_CONT, 0);
    } else if (t->met && want.mode == ENTER) {
        hold(t, PTRACE_SYSCALL);
    } else {
        go_on(t, t->met || ALL[kind].takes_fds ? PTRACE_SYSCALL : PTRACE_CONT, 0);
    }
}

/* After one was made. */
static void left(struct thread *t) {
    struct user_regs_struct regs;

    if (t->kind < 0 || ptrace(PTRACE_GETREGS, t->tid, 0, &regs) != 0) {
        go_on(t, PTRACE_CONT, 0);
        return;
    }
    if ((long)regs.rax == -EBADF && got.ebadf[0] == '\0')
        snprintf(got.ebadf, sizeof got.ebadf, "%s(%d) #%ld", ALL[t->kind].name,
                 (int)regs.rdi, got.counts[t->kind]);
    if (t->met && want.mode == DONE && ((long)regs.rax >= 0 || (long)regs.rax == -EINPROGRESS)) {
        regs.rax = -(long)want.error;
        ptrace(PTRACE_SETREGS, t->tid, 0, &regs);
    }
    t->kind = -1;
    if (t->met && want.mode == LEAVE)
        hold(t, PTRACE_CONT);
    else
        go_on(t, PTRACE_CONT, 0);
}

static void stopped(pid_t tid, int status) {
    struct thread *t = find(tid, 0);
    int signal = WSTOPSIG(status);

    if (t == NULL) { /* a new one: the stop that it is born with */
        if ((t = find(tid, 1)) == NULL)
            die("too many threads");
        go_on(t, PTRACE_CONT, signal == SIGSTOP ? 0 : signal);
    } else if (status >> 8 == (SIGTRAP | PTRACE_EVENT_SECCOMP << 8)) {
        entered(t);
    } else if (status >> 16 != 0) { /* it made a thread or a child */
        go_on(t, PTRACE_CONT, 0);
    } else if (signal == (SIGTRAP | 0x80)) {
        left(t);
    } else {
        go_on(t, PTRACE_CONT, signal == SIGTRAP ? 0 : signal);
    }
}

/* What those who do not end are in. */
static void tell_where(pid_t pid, char *out, size_t room) {
    size_t at = 0;
    out[0] = '\0';
    for (struct thread *t = threads; t < threads + THREADS && at + 64 < room; t++) {
        char path[64], text[64] = "";
        if (t->tid == 0)
            continue;
        snprintf(path, sizeof path, "/proc/%d/task/%d/syscall", pid, t->tid);
        FILE *file = fopen(path, "r");
        if (file != NULL && fgets(text, sizeof text, file) != NULL)
            text[strcspn(text, " \n")] = '\0';
        if (file != NULL)
            fclose(file);
        at += (size_t)snprintf(out + at, room - at, " %d:%s", t->tid, text);
    }
}

static pid_t start(char **program, int out) {
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(null, 0);
    dup2(out, 1);
    dup2(out, 2);
    char text[3][32];
    snprintf(text[0], sizeof text[0], "%d", want.error);
    setenv("TORTURE", MODES[want.mode], 1);
    setenv("TORTURE_CALL", want.mode == NONE ? "" : ALL[want.call].name, 1);
    setenv("TORTURE_ERRNO", text[0], 1);
    ptrace(PTRACE_TRACEME, 0, 0, 0);
    raise(SIGSTOP); /* until the tracer is ready */
    execv(program[0], program);
    dprintf(2, "inject: %s: %s\n", program[0], strerror(errno));
    _exit(126);
}

static void put_text(const char *text) {
    putchar('"');
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\')
            printf("\\%c", c);
        else if (c >= ' ' && c < 127)
            putchar(c);
        else
            printf("\\u%04x", c);
    }
    putchar('"');
}

/* The last line that it said. */
static const char *last_line(int out, char *text, size_t room) {
    off_t end = lseek(out, 0, SEEK_END);
    off_t at = end > (off_t)room - 1 ? end - (off_t)room + 1 : 0;
    ssize_t n = pread(out, text, room - 1, at);
    while (n > 0 && text[n - 1] == '\n')
        n--;
    text[n > 0 ? n : 0] = '\0';
    char *line = strrchr(text, '\n');
    return line == NULL ? text : line + 1;
}

static void run(double seconds, char **program) {
    char where[512] = "", text[1024];
    int out = memfd_create("out", MFD_CLOEXEC), status, result = 0, hung = 0;
    int64_t begun = now(), end = begun + (int64_t)(seconds * 1e6);
    sigset_t child;

    memset(threads, 0, sizeof threads);
    memset(&got, 0, sizeof got);
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    pid_t pid = start(program, out);
    if (out < 0 || pid < 0 || waitpid(pid, &status, __WALL) != pid || !WIFSTOPPED(status))
        die("no program");
    if (ptrace(PTRACE_SETOPTIONS, pid, 0,
               PTRACE_O_TRACESECCOMP | PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE |
                   PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC |
                   PTRACE_O_EXITKILL) != 0)
        die("ptrace");
    go_on(find(pid, 1), PTRACE_CONT, 0);
    for (int done = 0; !done;) {
        pid_t tid;
        while (!done && (tid = waitpid(-1, &status, __WALL | WNOHANG)) > 0) {
            if (WIFSTOPPED(status)) {
                stopped(tid, status);
                continue;
            }
            struct thread *t = find(tid, 0);
            if (t != NULL)
                t->tid = 0;
            if (tid == pid) {
                result = status;
                done = 1;
            }
        }
        int64_t next = end, at = now();
        for (struct thread *t = threads; t < threads + THREADS; t++) {
            if (t->tid == 0 || t->until == 0)
                continue;
            if (t->until <= at) {
                t->until = 0;
                go_on(t, t->how, 0);
            } else if (t->until < next) {
                next = t->until;
            }
        }
        if (done)
            break;
        if (at >= end) {
            hung = 1;
            tell_where(pid, where, sizeof where);
            for (struct thread *t = threads; t < threads + THREADS; t++)
                if (t->tid != 0)
                    kill(t->tid, SIGKILL);
            end += INT64_C(60000000);
            continue;
        }
        struct timespec limit = {(next - at) / 1000000, (next - at) % 1000000 * 1000};
        sigtimedwait(&child, NULL, &limit);
    }
    /* Children that it left behind. */
    for (struct thread *t = threads; t < threads + THREADS; t++)
        if (t->tid != 0)
            kill(t->tid, SIGKILL);
    while (waitpid(-1, &status, __WALL) > 0 || errno == EINTR) {
    }
    const char *outcome = hung ? "hang" : WIFSIGNALED(result) ? "signal" : "exit";
    printf("{\"outcome\":\"%s\",\"status\":%d,\"hits\":%ld,\"ms\":%ld,\"ebadf\":", outcome,
           WIFSIGNALED(result) ? WTERMSIG(result) : WEXITSTATUS(result), got.hits,
           (long)((now() - begun) / 1000));
    put_text(got.ebadf);
    printf(",\"where\":");
    put_text(where);
    printf(",\"line\":");
    put_text(last_line(out, text, sizeof text));
    printf(",\"counts\":{");
    const char *comma = "";
    for (int kind = 0; kind < KINDS && want.mode == NONE; kind++)
        if (got.counts[kind] != 0) {
            printf("%s\"%s\":%ld", comma, ALL[kind].name, got.counts[kind]);
            comma = ",";
        }
    printf("}}\n");
    fflush(stdout);
    close(out);
}

int main(int argc, char **argv) {
    char line[256], mode[16], call[32];
    sigset_t child;

    if (argc < 3) {
        fprintf(stderr, "usage: inject SECONDS PROGRAM [ARG...]\n");
        return 2;
    }
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, NULL);
    while (fgets(line, sizeof line, stdin) != NULL) {
        if (sscanf(line, "%15s %31s %d %ld %ld", mode, call, &want.error, &want.n, &want.usec) != 5)
            die("a line that is none");
        for (want.mode = NONE; strcmp(MODES[want.mode], mode) != 0;)
            if (++want.mode > LEAVE)
                die("no such mode");
        for (want.call = 0; want.mode != NONE && strcmp(ALL[want.call].name, call) != 0;)
            if (++want.call == KINDS)
                die("no such call");
        run(atof(argv[1]), argv + 2);
    }
    return 0;
}
