//! What a debugger finds fibers by: a table in a section of its own, which
//! tools/netfd-gdb.py reads. It needs no debug information, and costs nothing
//! but when a worker's seats move.

use core::sync::atomic::{AtomicUsize, Ordering};

/// What is where in a seat.
#[derive(Debug)]
#[repr(C)]
pub struct Layout {
    /// The bytes of a seat.
    pub size: usize,
    /// Where its state is, a byte.
    pub state: usize,
    /// That byte, when its fiber is parked.
    pub parked: usize,
    /// Where its fiber is. Of the words there, those within the stack are where
    /// the stack began and, lower, where it was left.
    pub fiber: usize,
    /// The bytes of a fiber.
    pub fiber_size: usize,
    /// Where the address of the stack's lowest byte is,
    pub lowest: usize,
    /// and of a place near its highest.
    pub highest: usize,
}

/// The seats of a worker.
#[derive(Debug)]
#[repr(C)]
struct Row {
    seats: AtomicUsize,
    count: AtomicUsize,
}

impl Row {
    const fn new() -> Self {
        Self {
            seats: AtomicUsize::new(0),
            count: AtomicUsize::new(0),
        }
    }
}

/// The table of `N` workers.
#[derive(Debug)]
#[repr(C)]
pub struct Table<const N: usize> {
    name: [u8; 8],
    workers: usize,
    layout: Layout,
    rows: [Row; N],
}

impl<const N: usize> Table<N> {
    /// One of nobody yet.
    pub const fn new(layout: Layout) -> Self {
        Self {
            name: *b"netfd 1\0",
            workers: N,
            layout,
            rows: [const { Row::new() }; N],
        }
    }

    /// Says where a worker's seats are, and how many.
    pub fn show<T>(&self, worker: u32, seats: &[T]) {
        if let Some(row) = self.rows.get(worker as usize) {
            row.count.store(0, Ordering::Relaxed);
            row.seats.store(seats.as_ptr().addr(), Ordering::Relaxed);
            row.count.store(seats.len(), Ordering::Relaxed);
        }
    }
}
