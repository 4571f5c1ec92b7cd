//! What a stream has still to send: copies in chunks, and buffers that the caller has lent until they are released.
//!
//! Contract:
//! 1. `pending` is what was taken and not sent.
//! 2. A lent buffer goes from `waiting` to `done` when it is sent, or given up by [`WriteQueue::give_up`], and leaves
//!    `done` once.
//! 3. What fails with `-ENOMEM` leaves the queue as it was.

use super::callback::gyre_release_cb;
use crate::status::{Result, Status};
use crate::sys::memory::UserData;
use crate::sys::socket::Piece;
use std::collections::VecDeque;

/// Small writes are gathered in chunks of this size, so that many of them do not take many allocations.
const CHUNK: usize = 4 * 1024;

/// Large writes are cut into chunks of this size, so that their memory goes as they are sent.
const LARGE_CHUNK: usize = 64 * 1024;

/// How many pieces one system call takes.
pub const GATHER: usize = 64;

/// A buffer of the caller's that is to be given back.
pub struct Lent {
    /// Where it is.
    pub data: *const u8,
    /// How long it is.
    pub len: usize,
    /// What gives it back.
    pub release: gyre_release_cb,
    /// What to call it with.
    pub arg: UserData,
}

enum Chunk {
    Copied(Vec<u8>),
    Lent(Lent),
}

impl Chunk {
    fn len(&self) -> usize {
        match self {
            Chunk::Copied(bytes) => bytes.len(),
            Chunk::Lent(lent) => lent.len,
        }
    }

    fn data(&self) -> *const u8 {
        match self {
            Chunk::Copied(bytes) => bytes.as_ptr(),
            Chunk::Lent(lent) => lent.data,
        }
    }
}

/// The queue.
pub struct WriteQueue {
    waiting: VecDeque<Chunk>,
    done: VecDeque<Lent>,
    /// What of the first chunk is sent.
    sent: usize,
    pending: usize,
    /// When something was sent last, or when something was first there to be sent.
    pub since: u64,
    /// What the kernel held for the peer when that was some time ago; `None` before it was looked at.
    pub untaken: Option<usize>,
    /// The length of the last write that did not fit; 0 for none.
    pub refused: usize,
}

impl WriteQueue {
    /// Nothing to send.
    pub const fn new() -> WriteQueue {
        WriteQueue {
            waiting: VecDeque::new(),
            done: VecDeque::new(),
            sent: 0,
            pending: 0,
            since: 0,
            untaken: None,
            refused: 0,
        }
    }

    /// How many bytes are still to be sent.
    pub fn pending(&self) -> usize {
        self.pending
    }

    /// Whether nothing is left to be done.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.done.is_empty() && self.refused == 0
    }

    /// Takes copies of the pieces, without their first `skip` bytes.
    pub fn copy<'a>(&mut self, pieces: impl Iterator<Item = &'a [u8]>, mut skip: usize) -> Result<()> {
        let (chunks, pending) = (self.waiting.len(), self.pending);
        let last_len = self.last().map_or(0, |last| last.len());
        for piece in pieces {
            let rest = piece.get(skip..).unwrap_or_default();
            skip = skip.saturating_sub(piece.len());
            if let Err(status) = self.append(rest) {
                self.waiting.truncate(chunks);
                if let Some(last) = self.last() {
                    last.truncate(last_len);
                }
                self.pending = pending;
                return Err(status);
            }
            self.pending = self.pending.saturating_add(rest.len());
        }
        Ok(())
    }

    /// The last chunk, if it is a copy.
    fn last(&mut self) -> Option<&mut Vec<u8>> {
        match self.waiting.back_mut() {
            Some(Chunk::Copied(bytes)) => Some(bytes),
            _ => None,
        }
    }

    fn append(&mut self, mut bytes: &[u8]) -> Result<()> {
        if let Some(last) = self.last() {
            let room = last.capacity().saturating_sub(last.len()).min(bytes.len());
            let (fits, rest) = bytes.split_at_checked(room).unwrap_or_default();
            last.extend_from_slice(fits);
            bytes = rest;
        }
        while !bytes.is_empty() {
            let (now, rest) = bytes.split_at_checked(LARGE_CHUNK).unwrap_or((bytes, &[]));
            let mut chunk = Vec::new();
            chunk.try_reserve_exact(now.len().max(CHUNK)).map_err(|_| Status::ENOMEM)?;
            chunk.extend_from_slice(now);
            self.waiting.try_reserve(1).map_err(|_| Status::ENOMEM)?;
            self.waiting.push_back(Chunk::Copied(chunk));
            bytes = rest;
        }
        Ok(())
    }

    /// Makes room for one lent buffer, so that [`WriteQueue::lend`] cannot fail.
    pub fn reserve_lent(&mut self) -> Result<()> {
        let lent = self.waiting.len().saturating_add(1); // as many as all that wait may come to be done at once
        self.waiting.try_reserve(1).map_err(|_| Status::ENOMEM)?;
        self.done.try_reserve(lent).map_err(|_| Status::ENOMEM)
    }

    /// Takes a lent buffer of which `sent` bytes are sent already, which is more than none only if nothing is waiting.
    pub fn lend(&mut self, lent: Lent, sent: usize) {
        if sent >= lent.len {
            self.done.push_back(lent);
            return;
        }
        self.pending = self.pending.saturating_add(lent.len.saturating_sub(sent));
        if self.waiting.is_empty() {
            self.sent = sent;
        }
        self.waiting.push_back(Chunk::Lent(lent));
    }

    /// The first pieces of what is to be sent; returns how many there are, and their bytes.
    pub fn gather(&self, pieces: &mut [Piece; GATHER]) -> (usize, usize) {
        let (mut count, mut bytes, mut skip) = (0usize, 0usize, self.sent);
        for (piece, chunk) in pieces.iter_mut().zip(&self.waiting) {
            *piece = Piece::new(chunk.data().wrapping_add(skip), chunk.len().saturating_sub(skip));
            bytes = bytes.saturating_add(piece.len());
            count = count.saturating_add(1);
            skip = 0;
        }
        (count, bytes)
    }

    /// Notes that so many bytes were sent.
    pub fn consume(&mut self, bytes: usize) {
        self.pending = self.pending.saturating_sub(bytes);
        self.sent = self.sent.saturating_add(bytes);
        while let Some(first) = self.waiting.front().map(Chunk::len).filter(|len| *len <= self.sent) {
            self.sent = self.sent.saturating_sub(first);
            self.finish_first();
        }
    }

    fn finish_first(&mut self) {
        if let Some(Chunk::Lent(lent)) = self.waiting.pop_front() {
            self.done.push_back(lent); // within what `reserve_lent` made
        }
    }

    /// Gives up what is not sent.
    pub fn give_up(&mut self) {
        while !self.waiting.is_empty() {
            self.finish_first();
        }
        (self.sent, self.pending, self.refused) = (0, 0, 0);
    }

    /// Notes that the peer has made progress.
    pub fn note_progress(&mut self, now: u64) {
        (self.since, self.untaken) = (now, None);
    }

    /// The next lent buffer to be given back.
    pub fn next_done(&mut self) -> Option<Lent> {
        self.done.pop_front()
    }

    /// Whether a write that did not fit is to be tried again: when at most half of the limit is left, and it would fit.
    pub fn has_drained(&self, limit: usize) -> bool {
        self.refused > 0 && self.pending <= limit / 2 && self.pending.saturating_add(self.refused) <= limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::ffi::c_void;

    extern "C-unwind" fn ignore(_: *const c_void, _: usize, _: *mut c_void) {}

    fn lent(data: &'static [u8]) -> Lent {
        let arg = UserData(core::ptr::null_mut());
        Lent { data: data.as_ptr(), len: data.len(), release: Some(ignore), arg }
    }

    fn copy(queue: &mut WriteQueue, bytes: &[u8]) {
        queue.copy([bytes].into_iter(), 0).unwrap();
    }

    /// Sends at most `limit` bytes, as a socket would, and returns them.
    fn send(queue: &mut WriteQueue, limit: usize) -> Vec<u8> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut pieces = [Piece::EMPTY; GATHER];
        let (count, bytes) = queue.gather(&mut pieces);
        assert!(bytes <= queue.pending());
        let sent = crate::sys::socket::send_pieces(std::os::fd::AsRawFd::as_raw_fd(&ours), &pieces[..count]).unwrap();
        let mut buffer = vec![0; sent];
        std::io::Read::read_exact(&mut &theirs, &mut buffer).unwrap();
        let taken = sent.min(limit);
        queue.consume(taken);
        buffer.truncate(taken);
        buffer
    }

    #[test]
    fn bytes_leave_in_order_whatever_is_taken_at_once() {
        for step in [1, 2, 3, 7, 4096, 100_000] {
            let mut queue = WriteQueue::new();
            let mut expected = Vec::new();
            for round in 0..40u8 {
                let bytes = vec![round; usize::from(round) * 13 % 50];
                copy(&mut queue, &bytes);
                expected.extend(&bytes);
                if round % 5 == 0 {
                    queue.reserve_lent().unwrap();
                    queue.lend(lent(b"lent"), 0);
                    expected.extend(b"lent");
                }
            }
            assert_eq!(queue.pending(), expected.len());
            let mut sent = Vec::new();
            while queue.pending() > 0 {
                sent.extend(send(&mut queue, step));
            }
            assert!(sent == expected, "in steps of {step}");
            assert_eq!(core::iter::from_fn(|| queue.next_done()).count(), 8);
            assert!(queue.is_idle());
        }
    }

    #[test]
    fn pieces_are_copied_without_what_was_sent() {
        let mut queue = WriteQueue::new();
        queue.copy([&b"abc"[..], b"", b"defg", b"h"].into_iter(), 5).unwrap();
        assert_eq!(send(&mut queue, 100), b"fgh");
        queue.copy([&b"abc"[..], b"d"].into_iter(), 4).unwrap();
        assert_eq!(queue.pending(), 0);
    }

    #[test]
    fn a_large_write_is_kept_in_chunks_and_small_ones_share_one() {
        let mut queue = WriteQueue::new();
        (0..100).for_each(|_| copy(&mut queue, b"twenty bytes of text"));
        assert_eq!(queue.waiting.len(), 1);
        copy(&mut queue, &vec![1; 1 << 20]);
        assert!(queue.waiting.iter().all(|chunk| chunk.len() <= LARGE_CHUNK));
        assert_eq!(queue.pending(), 2000 + (1 << 20));
    }

    #[test]
    fn a_lent_buffer_is_done_once_when_all_of_it_is_sent_or_given_up() {
        let mut queue = WriteQueue::new();
        queue.reserve_lent().unwrap();
        queue.lend(lent(b"sent at once"), 12);
        assert_eq!(queue.next_done().map(|lent| lent.len), Some(12));
        queue.reserve_lent().unwrap();
        queue.lend(lent(b"half"), 2);
        queue.reserve_lent().unwrap();
        queue.lend(lent(b"rest"), 0);
        assert_eq!(queue.pending(), 6);
        queue.consume(3);
        assert!(queue.next_done().is_some() && queue.next_done().is_none());
        queue.give_up();
        assert!(queue.next_done().is_some() && queue.next_done().is_none());
        assert!(queue.is_idle() && queue.pending() == 0);
    }

    #[test]
    fn it_has_drained_when_half_is_free_and_what_was_refused_fits() {
        let mut queue = WriteQueue::new();
        copy(&mut queue, &[0; 40]);
        assert!(!queue.has_drained(100));
        queue.refused = 80;
        assert!(!queue.has_drained(100), "40 is below half, but 80 more do not fit");
        queue.consume(20);
        assert!(queue.has_drained(100));
    }
}
