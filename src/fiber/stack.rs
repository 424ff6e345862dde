//! The stacks that fibers run on: pooled, never unmapped, each over a guard.
//!
//! They come from regions of many, each region one mapping: where the kernel
//! has `MADV_GUARD_INSTALL` the guards do not part it, so that a hundred
//! thousand stacks need a hundred mappings. Where it has not, each guard is a
//! mapping, and their number is limited (vm.max_map_count).

use crate::error::{Error, INVAL, Result, Sys};
use crate::pool::{Free, Pool, Pooled};
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use crate::sys::memory;
use core::num::NonZeroUsize;
use core::sync::atomic::AtomicUsize;
use corosensei::stack::valgrind::ValgrindStackRegistration;

/// The bytes of a stack, guard not included, and of its guard.
pub const SIZE: usize = 256 << 10;
const GUARD: usize = 64 << 10;

/// What is added to each stack, for the place where it begins to differ: were
/// all of them apart by the same power of two, what fibers touch would crowd
/// in the same few sets of the caches. An odd number of pages spreads the pages
/// of stacks over a cache that is indexed by more than a page; a shift within
/// the page spreads the lines over the first-level cache.
const SPREAD: usize = 4 << 10;
const SHIFT: usize = 256;
/// So many shifts: a handler that touches a page does not touch one more.
const SHIFTS: usize = 8;

const WHOLE: usize = SIZE + SPREAD + GUARD;

/// How many stacks a region has, where there is room for as many.
const REGION: usize = 1024;

/// How many stacks stay warm, once they are free: their pages are kept.
const WARM: u32 = 256;

/// A stack, by its lowest usable byte; 0: not made yet.
#[derive(Debug, Default)]
struct Place {
    at: AtomicUsize,
    link: AtomicU32,
}

impl Pooled for Place {
    fn link(&self) -> &AtomicU32 {
        &self.link
    }
}

static STACKS: Pool<Place> = Pool::new();

/// The free ones that are warm, which are taken first; and how many there are,
/// or are about to be.
static WARM_STACKS: Free = Free::new();
static WARMTH: AtomicU32 = AtomicU32::new(0);

/// Where the next new stack is, and how many more there are behind it: the
/// address in whole pages above 16 bits for the number.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// A stack that somebody has. One of another size than the usual is not of the
/// pool: its id is 0.
#[derive(Debug)]
pub struct Stack {
    id: u32,
    at: usize,
    size: usize,
}

/// The least that a stack has.
const LEAST: usize = 16 << 10;
/// The most that it may be asked to have.
pub const MOST: usize = 1 << 30;

impl Stack {
    /// A stack of at least `size` bytes (0: the usual), `-ENOMEM` where there
    /// is none.
    pub fn take(size: usize) -> Result<Self> {
        if size == 0 || size == SIZE {
            return Self::pooled();
        }
        if size > MOST {
            return Err(INVAL);
        }
        let size = size.max(LEAST).next_multiple_of(GUARD);
        let at = memory::map(size + GUARD)?;
        // SAFETY: it was mapped just now.
        unsafe { memory::guard(at, GUARD) }.inspect_err(|_| {
            // SAFETY: likewise, and nobody has it.
            unsafe { memory::unmap(at, size + GUARD) };
        })?;
        let at = at + GUARD;
        tell_valgrind(at, size);
        Ok(Self { id: 0, at, size })
    }

    fn pooled() -> Result<Self> {
        let size = SIZE;
        if let Some((id, place)) = WARM_STACKS.take(&STACKS) {
            WARMTH.fetch_sub(1, Ordering::Relaxed);
            let at = place.at.load(Ordering::Acquire);
            return Ok(Self { id, at, size });
        }
        let (id, place) = STACKS.take()?;
        let mut at = place.at.load(Ordering::Acquire);
        if at == 0 {
            at = new_stack().inspect_err(|_| STACKS.put(id))?;
            place.at.store(at, Ordering::Release);
        }
        Ok(Self { id, at, size })
    }
}

impl Stack {
    /// The stack by numbers, for `of` to give back.
    pub fn into_parts(self) -> (u32, usize, usize) {
        let this = core::mem::ManuallyDrop::new(self);
        (this.id, this.at, this.size)
    }

    /// The stack that `into_parts` made numbers of.
    pub fn of((id, at, size): (u32, usize, usize)) -> Self {
        Self { id, at, size }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if self.id == 0 {
            // SAFETY: it is a mapping of its own, and nothing runs on it.
            unsafe { memory::unmap(self.at - GUARD, self.size + GUARD) };
            return;
        }
        if WARMTH.fetch_add(1, Ordering::Relaxed) < WARM {
            return WARM_STACKS.put(&STACKS, self.id);
        }
        WARMTH.fetch_sub(1, Ordering::Relaxed);
        // SAFETY: the stack is this one's, and nothing runs on it.
        unsafe { memory::give_back(self.at, SIZE + SPREAD) };
        STACKS.put(self.id);
    }
}

/// Cuts a stack from the region that is begun, or begins another one.
fn new_stack() -> Result<usize> {
    loop {
        let next = NEXT.load(Ordering::Acquire);
        let at = usize::try_from(next >> 16 << 12).unwrap_or(0);
        let left = next & 0xffff;
        if left > 0 {
            let after = (((at + WHOLE) as u64) >> 12 << 16) | (left - 1);
            let taken =
                NEXT.compare_exchange_weak(next, after, Ordering::AcqRel, Ordering::Relaxed);
            if taken.is_ok() {
                // SAFETY: the guard is the lowest part of a stack that was cut
                // just now.
                unsafe { memory::guard(at, GUARD) }?;
                tell_valgrind(at + GUARD, SIZE + SPREAD);
                return Ok(at + GUARD);
            }
            continue;
        }
        let (at, count) = new_region()?;
        let fresh = ((at as u64) >> 12 << 16) | count;
        // Another thread may have begun one at the same time: that one's is
        // used, and this one is left, for it has cost nothing yet.
        let _ = NEXT.compare_exchange(next, fresh, Ordering::AcqRel, Ordering::Relaxed);
    }
}

/// Tells valgrind, where the process runs under it, that this is a stack: else
/// it takes a switch to it for one large frame. Elsewhere that is a handful of
/// instructions without effect, once in a stack's life. It is not taken back
/// when a stack is unmapped, for nothing runs there any more.
fn tell_valgrind(at: usize, size: usize) {
    let bottom = core::ptr::without_provenance_mut(at);
    core::mem::forget(ValgrindStackRegistration::new(bottom, size));
}

fn new_region() -> Result<(usize, u64)> {
    let mut count = REGION;
    loop {
        match memory::map(count * WHOLE) {
            Ok(at) => return Ok((at, count as u64)),
            Err(_) if count > 1 => count /= 4,
            Err(_) => return Err(Error::os(libc::ENOMEM, Sys::Mmap)),
        }
    }
}

/// A stack as the switch between stacks knows it.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    base: NonZeroUsize,
    limit: NonZeroUsize,
}

impl Part {
    /// All of a stack, but for its shift.
    pub fn new(stack: &Stack) -> Option<Self> {
        let shift = match stack.id {
            0 => 0,
            id => SPREAD - id as usize % SHIFTS * SHIFT,
        };
        Some(Self {
            base: NonZeroUsize::new(stack.at + stack.size + shift)?,
            limit: NonZeroUsize::new(stack.at - GUARD)?,
        })
    }
}

impl Part {
    /// Its lowest byte, guard not included, and its size.
    pub fn bounds(self) -> (usize, usize) {
        let bottom = self.limit.get() + GUARD;
        (bottom, self.base.get() - bottom)
    }
}

// SAFETY: the stack has a guard of 64 KiB, and at least 16 KiB above it; both
// addresses are in whole pages.
unsafe impl corosensei::stack::Stack for Part {
    fn base(&self) -> NonZeroUsize {
        self.base
    }

    fn limit(&self) -> NonZeroUsize {
        self.limit
    }
}
