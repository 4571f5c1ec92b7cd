//! What has come for a stream and was not consumed, in one piece.

use crate::status::Result;
use crate::sys::memory::reserve;

/// Bytes that have come and were not consumed.
pub struct Input {
    bytes: Vec<u8>,
    start: usize,
}

impl Input {
    /// Nothing; no memory.
    pub const EMPTY: Input = Input { bytes: Vec::new(), start: 0 };

    /// What is to be shown.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    /// How much that is.
    pub fn len(&self) -> usize {
        self.bytes.len().saturating_sub(self.start)
    }

    /// Adds what has come behind it.
    pub fn append(&mut self, more: &[u8]) -> Result<()> {
        if self.start > 0 {
            self.bytes.drain(..self.start.min(self.bytes.len()));
            self.start = 0;
        }
        reserve(&mut self.bytes, more.len())?;
        self.bytes.extend_from_slice(more);
        Ok(())
    }

    /// Takes the first bytes away; the memory goes with the last.
    pub fn consume(&mut self, bytes: usize) {
        self.start = self.start.saturating_add(bytes);
        if self.start >= self.bytes.len() {
            *self = Input::EMPTY;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Input;

    #[test]
    fn what_is_left_and_what_follows_stand_in_one_piece() {
        let mut input = Input::EMPTY;
        input.append(b"abcdef").unwrap();
        input.consume(4);
        assert_eq!(input.bytes(), b"ef");
        input.append(b"gh").unwrap();
        assert_eq!((input.bytes(), input.len()), (&b"efgh"[..], 4));
        input.consume(4);
        assert_eq!((input.len(), input.bytes.capacity()), (0, 0));
    }
}
