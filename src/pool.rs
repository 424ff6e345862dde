//! Things that are handed out again and never freed, so that a late look at
//! one touches memory that exists: waiters and cancel tokens.
//!
//! An object is known by its id, a small number from 1; 0 is none. A free list
//! is a stack whose head carries a count of changes, so that it needs no lock: a
//! fork(2) at any moment leaves the child with a whole one.

use crate::error::{Error, Result, Sys};
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use once_cell::race::OnceBox;

const CHUNK: usize = 64;
const CHUNKS: usize = 1 << 15;

/// What a pool holds.
pub trait Pooled: Default + Sync {
    /// The link of the free list, the pool's while the object is free.
    fn link(&self) -> &AtomicU32;
}

/// A pool of `T`.
#[derive(Debug)]
pub struct Pool<T: 'static> {
    chunks: [OnceBox<[T; CHUNK]>; CHUNKS],
    free: Free,
    /// How many objects exist.
    made: AtomicU32,
}

/// Free objects of one pool: the first in the low half, a count of changes in
/// the high.
#[derive(Debug)]
pub struct Free(AtomicU64);

impl Free {
    /// An empty list.
    #[allow(clippy::new_without_default, reason = "it is used for a static")]
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Takes the object that was put last.
    pub fn take<T: Pooled>(&self, pool: &'static Pool<T>) -> Option<(u32, &'static T)> {
        loop {
            let head = self.0.load(Ordering::Acquire);
            let (count, id) = halves(head);
            let object = pool.get(id)?;
            let next = object.link().load(Ordering::Relaxed);
            if self.swap(head, joined(count.wrapping_add(1), next)) {
                return Some((id, object));
            }
        }
    }

    /// Puts an object that nobody has.
    pub fn put<T: Pooled>(&self, pool: &'static Pool<T>, id: u32) {
        let Some(object) = pool.get(id) else { return };
        loop {
            let head = self.0.load(Ordering::Acquire);
            let (count, next) = halves(head);
            object.link().store(next, Ordering::Relaxed);
            if self.swap(head, joined(count.wrapping_add(1), id)) {
                return;
            }
        }
    }

    fn swap(&self, old: u64, new: u64) -> bool {
        self.0
            .compare_exchange_weak(old, new, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }
}

/// A boxed array of defaults, or `-ENOMEM`: the standard `Box` would abort.
pub fn boxed<T: Default, const N: usize>() -> Result<Box<[T; N]>> {
    let full = || Error::os(libc::ENOMEM, Sys::Malloc);
    let mut room = Vec::new();
    room.try_reserve_exact(N).map_err(|_| full())?;
    room.resize_with(N, T::default);
    room.into_boxed_slice().try_into().map_err(|_| full())
}

/// One value in a box, or `-ENOMEM`.
pub fn boxed_one<T>(value: T) -> Result<Box<[T; 1]>> {
    let full = || Error::os(libc::ENOMEM, Sys::Malloc);
    let mut room = Vec::new();
    room.try_reserve_exact(1).map_err(|_| full())?;
    room.push(value);
    room.into_boxed_slice().try_into().map_err(|_| full())
}

impl<T: Pooled> Pool<T> {
    /// An empty pool.
    #[allow(clippy::new_without_default, reason = "it is used for a static")]
    pub const fn new() -> Self {
        Self {
            chunks: [const { OnceBox::new() }; CHUNKS],
            free: Free::new(),
            made: AtomicU32::new(0),
        }
    }

    /// The object known as `id`.
    pub fn get(&'static self, id: u32) -> Option<&'static T> {
        let index = id.checked_sub(1)? as usize;
        self.chunks.get(index / CHUNK)?.get()?.get(index % CHUNK)
    }

    /// All objects that exist, the free ones too.
    pub fn all(&'static self) -> impl Iterator<Item = &'static T> {
        (1..=self.made.load(Ordering::Acquire)).filter_map(|id| self.get(id))
    }

    /// Takes an object as it was left, or a new one.
    pub fn take(&'static self) -> Result<(u32, &'static T)> {
        match self.free.take(self) {
            Some(one) => Ok(one),
            None => self.make(),
        }
    }

    /// Gives an object back.
    pub fn put(&'static self, id: u32) {
        self.free.put(self, id);
    }

    #[cold]
    fn make(&'static self) -> Result<(u32, &'static T)> {
        loop {
            let made = self.made.load(Ordering::Acquire);
            let index = made as usize;
            let Some(chunk) = self.chunks.get(index / CHUNK) else {
                return Err(Error::os(libc::ENOMEM, Sys::Malloc));
            };
            let chunk = chunk.get_or_try_init(boxed)?;
            let Some(object) = chunk.get(index % CHUNK) else {
                return Err(Error::os(libc::ENOMEM, Sys::Malloc));
            };
            let taken = self.made.compare_exchange_weak(
                made,
                made + 1,
                Ordering::AcqRel,
                Ordering::Relaxed,
            );
            if taken.is_ok() {
                return Ok((made + 1, object));
            }
        }
    }
}

/// The two numbers in a word: the high half, the low half.
#[allow(
    clippy::cast_possible_truncation,
    reason = "the low half is what is meant"
)]
pub const fn halves(head: u64) -> (u32, u32) {
    ((head >> 32) as u32, head as u32)
}

/// A word of two numbers: the high half, the low half.
pub const fn joined(count: u32, id: u32) -> u64 {
    (count as u64) << 32 | id as u64
}
