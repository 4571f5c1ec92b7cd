//! The ring of buffers out of which the kernel takes one when something was received, and not before: a connection on
//! which nothing comes in holds none (io_uring_register(2), `IORING_REGISTER_PBUF_RING`).

use super::ring::Ring;
use crate::proactor::MOST_LENT;
use crate::status::{Result, Status};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU16, Ordering};
use io_uring::types::BufRingEntry;
use std::alloc::{Layout, alloc_zeroed, dealloc};

/// The group's number, which receives name. One is enough.
pub const GROUP: u16 = 0;

/// The kernel wants the ring to begin a page.
const PAGE: usize = 4096;

/// The entries that the program and the kernel share.
pub struct BufferRing {
    entries: NonNull<BufRingEntry>,
    /// A power of two.
    count: u16,
    tail: u16,
}

fn layout(count: u16) -> Result<Layout> {
    let layout = Layout::array::<BufRingEntry>(usize::from(count)).and_then(|layout| layout.align_to(PAGE));
    layout.map(|layout| layout.pad_to_align()).map_err(|_| Status::ENOMEM)
}

impl BufferRing {
    /// Room for so many buffers, at most [`MOST_LENT`].
    pub fn new(buffers: usize) -> Result<BufferRing> {
        let count = buffers.clamp(1, MOST_LENT).next_power_of_two() as u16;
        // SAFETY: the layout has a size other than 0, for there is at least one entry.
        let memory = unsafe { alloc_zeroed(layout(count)?) };
        let entries = NonNull::new(memory.cast()).ok_or(Status::ENOMEM)?;
        Ok(BufferRing { entries, count, tail: 0 })
    }

    /// Makes it known to a ring, with nothing in it. It may not be dropped before that ring.
    pub fn register(&self, ring: &Ring) -> Result<()> {
        let address = self.entries.as_ptr().addr() as u64;
        // SAFETY: the entries are `count` in number, and stay until the ring has gone: the engine drops the ring first.
        unsafe { ring.uring.submitter().register_buf_ring_with_flags(address, self.count, GROUP, 0) }
            .map_err(Status::from_io)
    }

    /// Forgets all buffers: for another ring.
    pub fn clear(&mut self) {
        self.tail = 0;
        self.publish();
    }

    /// Whether the number can be one of a buffer.
    pub fn has_room_for(&self, index: u16) -> bool {
        index < self.count
    }

    /// Gives the kernel a buffer to receive into. Each has a number below `count` of its own, so the ring never overflows.
    pub fn push(&mut self, index: u16, address: usize, len: usize) {
        let at = usize::from(self.tail & self.count.wrapping_sub(1));
        // SAFETY: `at` is below `count`, and the kernel does not look at this entry before the tail is published.
        let entry = unsafe { self.entries.add(at).as_mut() };
        entry.set_addr(address as u64);
        entry.set_len(u32::try_from(len).unwrap_or(u32::MAX));
        entry.set_bid(index);
        self.tail = self.tail.wrapping_add(1);
        self.publish();
    }

    fn publish(&self) {
        // SAFETY: the tail lies in the first entry, and is aligned as a u16; the kernel only reads it.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(self.entries.as_ptr()).cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}

// SAFETY: the entries are this value's own; nothing about them is bound to a thread.
unsafe impl Send for BufferRing {}

impl Drop for BufferRing {
    fn drop(&mut self) {
        if let Ok(layout) = layout(self.count) {
            // SAFETY: allocated with this layout, and freed once. No ring has it any more.
            unsafe { dealloc(self.entries.as_ptr().cast(), layout) };
        }
    }
}
