/* The system calls that may be failed. The programs have a filter stop them at
 * these (torture.h), the tracer decides about each (inject.c), and the table of
 * what each may say stands in torture.py. Not futex: a wake-up that is not
 * carried out is one that the harness lost. */
#ifndef CALLS_H
#define CALLS_H

#include <sys/syscall.h>

/* FD(name): takes descriptors, so that its EBADF is looked for. MEM(name): none. */
#define CALLS(FD, MEM)                                                           \
    FD(socket) FD(socketpair) FD(bind) FD(listen) FD(accept) FD(accept4)         \
    FD(connect) FD(getsockname) FD(getpeername) FD(getsockopt) FD(setsockopt)    \
    FD(shutdown) FD(read) FD(pread64) FD(readv) FD(recvfrom) FD(recvmsg)         \
    FD(recvmmsg) FD(write) FD(writev) FD(sendto) FD(sendmsg) FD(sendmmsg)        \
    FD(sendfile) FD(splice) FD(lseek) FD(pipe2) FD(epoll_create1) FD(epoll_ctl)  \
    FD(epoll_wait) FD(epoll_pwait) FD(ppoll) FD(poll) FD(eventfd2)               \
    FD(io_uring_setup) FD(io_uring_enter) FD(io_uring_register) FD(fcntl)        \
    FD(ioctl) FD(fstat) FD(newfstatat) FD(openat) FD(close) FD(memfd_create)     \
    MEM(unlink) MEM(mmap) MEM(munmap) MEM(mprotect) MEM(madvise) MEM(mremap)     \
    MEM(brk) MEM(clone) MEM(clone3) MEM(getrandom) MEM(sched_getaffinity)

#endif
