//! Text that is built without fail: of a bounded length, where what is too long
//! is cut; or of any, where what finds no memory is left out.

use core::fmt;

/// Up to `N` bytes of text.
#[derive(Clone, Copy, Debug)]
pub struct Text<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self {
            bytes: [0; N],
            len: 0,
        }
    }
}

impl<const N: usize> Text<N> {
    /// Adds bytes, which need not be UTF-8.
    pub fn push(&mut self, bytes: &[u8]) {
        let room = self.bytes.get_mut(self.len..).unwrap_or_default();
        for (place, byte) in room.iter_mut().zip(bytes) {
            *place = *byte;
            self.len += 1;
        }
    }

    /// The text.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl<const N: usize> fmt::Write for Text<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}

/// Text of any length, on the heap: what there is no memory for is left out.
#[derive(Debug, Default)]
pub struct Long(Vec<u8>);

impl Long {
    /// No text.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds bytes, which need not be UTF-8.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.0.try_reserve(bytes.len()).is_ok() {
            self.0.extend_from_slice(bytes);
        }
    }

    /// The text.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}
