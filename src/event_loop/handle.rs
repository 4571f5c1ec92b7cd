//! Handles as C sees them: values of 64 bits, one struct type a kind.
//!
//! | bits  | content |
//! |-------|---------|
//! | 63-32 | generation of the slot, never 0 |
//! | 31-24 | place of the loop in the process-wide table; 0 for what belongs to no loop |
//! | 23-0  | index of the slot; 0 is the loop itself |
//!
//! One index space serves all kinds of a loop, so bits copied from one kind to another match no slot of that kind.

/// An event loop. All-zero is none.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(non_camel_case_types)]
pub struct gyre_loop {
    /// Opaque; compare for equality only.
    pub bits: u64,
}

/// A watcher of a descriptor. All-zero is none.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(non_camel_case_types)]
pub struct gyre_io {
    /// Opaque; compare for equality only.
    pub bits: u64,
}

/// A timer. All-zero is none.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(non_camel_case_types)]
pub struct gyre_timer {
    /// Opaque; compare for equality only.
    pub bits: u64,
}

/// A watcher of a signal. All-zero is none.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(non_camel_case_types)]
pub struct gyre_signal {
    /// Opaque; compare for equality only.
    pub bits: u64,
}

/// A watcher of a child process. All-zero is none.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(non_camel_case_types)]
pub struct gyre_child {
    /// Opaque; compare for equality only.
    pub bits: u64,
}

/// A hook that runs in each turn. All-zero is none.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(non_camel_case_types)]
pub struct gyre_hook {
    /// Opaque; compare for equality only.
    pub bits: u64,
}

/// An operation. All-zero is none.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(non_camel_case_types)]
pub struct gyre_op {
    /// Opaque; compare for equality only.
    pub bits: u64,
}

/// One of the library's buffers that the caller keeps. All-zero is none.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(non_camel_case_types)]
pub struct gyre_buffer {
    /// Opaque; compare for equality only.
    pub bits: u64,
}

/// A listener: what accepts connections. All-zero is none.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(non_camel_case_types)]
pub struct gyre_listener {
    /// Opaque; compare for equality only.
    pub bits: u64,
}

/// A stream: a connection with its buffers and deadlines. All-zero is none.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(non_camel_case_types)]
pub struct gyre_stream {
    /// Opaque; compare for equality only.
    pub bits: u64,
}

/// Puts the three parts together.
#[inline]
pub const fn pack(generation: u32, place: u8, index: u32) -> u64 {
    (generation as u64) << 32 | (place as u64) << 24 | index as u64
}

/// The place of the loop that a handle belongs to.
#[inline]
pub const fn place_of(bits: u64) -> u8 {
    (bits >> 24) as u8
}

/// The slot that a handle names.
#[inline]
pub const fn index_of(bits: u64) -> u32 {
    bits as u32 & MAX_INDEX
}

/// The generation that the slot must have.
#[inline]
pub const fn generation_of(bits: u64) -> u32 {
    (bits >> 32) as u32
}

/// The highest index of a slot.
pub const MAX_INDEX: u32 = 0x00ff_ffff;
