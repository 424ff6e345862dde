//! The socket file of a listener, which goes when the listener does.

use crate::error::Result;
use crate::fd::peer::Peer;
use crate::pool::{Pool, Pooled};
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use crate::sys::socket::Sockaddr;
use crate::sys::{self, process};

/// Which file it was when it was made, and by which process.
#[derive(Debug, Default)]
struct Bound {
    /// The path, kept as addresses are.
    path: Peer,
    device: AtomicU64,
    inode: AtomicU64,
    epoch: AtomicU32,
    link: AtomicU32,
}

impl Pooled for Bound {
    fn link(&self) -> &AtomicU32 {
        &self.link
    }
}

static FILES: Pool<Bound> = Pool::new();

/// A descriptor's file: an id, or 0.
#[derive(Debug, Default)]
pub struct File(AtomicU32);

impl File {
    /// The file at `path`, which has just been bound. One that is gone already
    /// is none.
    pub fn set(&self, path: &[u8]) -> Result<()> {
        let Ok((device, inode)) = sys::socket_file(path) else {
            return Ok(());
        };
        let (id, file) = FILES.take()?;
        file.path.set(&Sockaddr::from_bytes(path));
        file.device.store(device, Ordering::Relaxed);
        file.inode.store(inode, Ordering::Relaxed);
        file.epoch.store(process::epoch(), Ordering::Relaxed);
        FILES.put(self.0.swap(id, Ordering::AcqRel));
        Ok(())
    }

    /// Removes the file where it is still the one that was made, in the process
    /// that made it. (Between the look and unlink(2) it may become another's:
    /// the kernel has no call that does both.)
    pub fn unlink(&self) {
        let id = self.0.swap(0, Ordering::AcqRel);
        let Some(file) = FILES.get(id) else { return };
        if file.epoch.load(Ordering::Relaxed) == process::epoch()
            && let Some(path) = file.path.get()
        {
            let made = (
                file.device.load(Ordering::Relaxed),
                file.inode.load(Ordering::Relaxed),
            );
            if sys::socket_file(path.bytes()) == Ok(made) {
                let _ = sys::unlink(path.bytes());
            }
        }
        FILES.put(id);
    }

    /// Forgets the file, and leaves it.
    pub fn clear(&self) {
        if self.0.load(Ordering::Relaxed) != 0 {
            FILES.put(self.0.swap(0, Ordering::AcqRel));
        }
    }
}
