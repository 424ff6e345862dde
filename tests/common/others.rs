//! A process beside the test's own.

use super::*;
use std::io::Write;
use std::os::unix::net::UnixStream;

/// A process beside this one, which runs `body`: it meets this one by bytes on
/// a line.
pub struct Other {
    pid: libc::pid_t,
    line: UnixStream,
}

impl Other {
    /// While the process has no more threads than the harness.
    pub fn start(body: impl FnOnce(&mut UnixStream) -> std::io::Result<()>) -> Self {
        let (line, mut theirs) = UnixStream::pair().expect("a socketpair");
        // SAFETY: the harness's other thread holds no lock.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0);
        if pid == 0 {
            // SAFETY: no pointers; it ends with its parent.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            drop(line);
            let done = body(&mut theirs);
            let code = c_int::from(done.is_err());
            // SAFETY: no pointers.
            unsafe { libc::_exit(code) };
        }
        Self { pid, line }
    }

    /// Writes a byte to it.
    pub fn tell(&mut self, byte: u8) {
        self.line.write_all(&[byte]).expect("the other one lives");
    }

    /// Waits for a byte of it.
    pub fn hear(&mut self) {
        let told = self.line.read_exact(&mut [0]);
        told.expect("the other one has what it expects");
    }

    /// Sees that it ends, and has had all that it expects.
    pub fn end(self) {
        let mut status = -1;
        // SAFETY: the status is there to be written.
        let ended = unsafe { libc::waitpid(self.pid, &mut status, 0) };
        assert_eq!((ended, status), (self.pid, 0));
    }
}
