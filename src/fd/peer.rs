//! The peer's address, kept with the descriptor: accept4(2) tells it for
//! nothing, and after a reset the kernel has forgotten it.

use crate::sync::{AtomicU32, AtomicU64, Ordering, fence};
use crate::sys::socket::{ADDRESS_ROOM, Sockaddr};

const WORDS: usize = ADDRESS_ROOM / size_of::<u64>();

/// An address that one writes and many read, without a lock: the version is
/// odd while it changes, and a reader who saw it change reads nothing.
#[derive(Debug, Default)]
pub struct Peer {
    version: AtomicU32,
    len: AtomicU32,
    words: [AtomicU64; WORDS],
}

impl Peer {
    /// Keeps `address`. Writers take turns, or are alone.
    pub fn set(&self, address: &Sockaddr) {
        let version = self.version.load(Ordering::Relaxed) | 1;
        self.version.store(version, Ordering::Relaxed);
        fence(Ordering::Release);
        for (word, bytes) in self.words.iter().zip(address.bytes().chunks(8)) {
            let mut whole = [0; 8];
            if let Some(part) = whole.get_mut(..bytes.len()) {
                part.copy_from_slice(bytes);
            }
            word.store(u64::from_ne_bytes(whole), Ordering::Relaxed);
        }
        let len = u32::try_from(address.len()).unwrap_or(0);
        self.len.store(len, Ordering::Relaxed);
        self.version
            .store(version.wrapping_add(1), Ordering::Release);
    }

    /// Forgets it.
    pub fn clear(&self) {
        if self.len.load(Ordering::Relaxed) != 0 {
            self.set(&Sockaddr::none());
        }
    }

    /// The address, if there is one.
    pub fn get(&self) -> Option<Sockaddr> {
        let before = self.version.load(Ordering::Acquire);
        let len = self.len.load(Ordering::Relaxed) as usize;
        if len == 0 || before % 2 == 1 {
            return None;
        }
        let mut bytes = [0u8; ADDRESS_ROOM];
        for (part, word) in bytes.chunks_mut(8).zip(&self.words) {
            part.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
        }
        fence(Ordering::Acquire);
        if self.version.load(Ordering::Relaxed) != before {
            return None;
        }
        bytes.get(..len).map(Sockaddr::from_bytes)
    }
}
