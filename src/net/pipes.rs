//! Pipes for splice(2), kept for the next who needs one: making a pipe of this
//! size costs more than moving what a small copy moves.

use crate::error::Result;
use crate::sync::{AtomicU64, Ordering};
use crate::sys::{self, Fd, file, process};

/// How much a pipe is to hold: what the kernel allows everybody.
pub const ROOM: u32 = 1 << 20;

/// Pipes that are empty and open, as `packed`; 0 is none. One of an older
/// process is forgotten, not closed: it is shared with that process, and its
/// numbers may be anything by now.
static SPARE: [AtomicU64; 8] = [const { AtomicU64::new(0) }; 8];

const FD_BITS: u32 = 24;
const FD: u64 = (1 << FD_BITS) - 1;

/// A pipe, and how many bytes are in it.
#[derive(Debug)]
pub struct Pipe {
    read: Fd,
    write: Fd,
    fill: usize,
}

impl Pipe {
    /// A pipe that is empty.
    pub fn take() -> Result<Self> {
        if let Some(spare) = take_spare() {
            return Ok(spare);
        }
        let (read, write) = file::pipe()?;
        // The kernel refuses where this user's pipes hold too much already.
        let _ = file::set_pipe_size(write, ROOM);
        Ok(Self {
            read,
            write,
            fill: 0,
        })
    }

    /// How many bytes are in it.
    pub fn fill(&self) -> usize {
        self.fill
    }

    /// Splices at most `len` bytes from `src` into the pipe.
    pub fn drain(&mut self, src: Fd, len: usize) -> Result<usize> {
        let n = file::splice(src, self.write, len)?;
        self.fill += n;
        Ok(n)
    }

    /// Splices what is in the pipe to `dst`, as far as that takes it.
    pub fn pump(&mut self, dst: Fd) -> Result<usize> {
        let n = file::splice(self.read, dst, self.fill)?.min(self.fill);
        self.fill -= n;
        Ok(n)
    }

    /// Reads what is in the pipe, as far as there is room.
    pub fn read(&mut self, buf: &mut sys::socket::Bytes) -> Result<usize> {
        let n = file::read(self.read, buf)?.min(self.fill);
        self.fill -= n;
        Ok(n)
    }

    /// Both ends and the process as one word. 0: they do not fit.
    fn packed(&self) -> u64 {
        let [read, write] = [self.read, self.write].map(|fd| u64::from(fd.unsigned_abs()));
        if read > FD || write > FD {
            return 0;
        }
        u64::from(process::epoch()) << (2 * FD_BITS) | read << FD_BITS | write
    }

    #[allow(
        clippy::cast_possible_truncation,
        reason = "each end has 24 bits of the word"
    )]
    fn unpacked(word: u64) -> Self {
        Self {
            read: (word >> FD_BITS & FD) as Fd,
            write: (word & FD) as Fd,
            fill: 0,
        }
    }
}

fn take_spare() -> Option<Pipe> {
    SPARE.iter().find_map(|place| {
        if place.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let word = place.swap(0, Ordering::AcqRel);
        let pipe = core::mem::ManuallyDrop::new(Pipe::unpacked(word));
        (word != 0 && pipe.packed() == word).then(|| Pipe::unpacked(word))
    })
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let word = self.packed();
        let kept = self.fill == 0
            && word != 0
            && SPARE.iter().any(|place| {
                place.load(Ordering::Relaxed) == 0
                    && place
                        .compare_exchange(0, word, Ordering::AcqRel, Ordering::Relaxed)
                        .is_ok()
            });
        if !kept {
            let _ = sys::close(self.read);
            let _ = sys::close(self.write);
        }
    }
}
