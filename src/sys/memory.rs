//! Allocation that can fail: the caller gets `-ENOMEM`, never an abort.

use crate::status::{Result, Status};
use core::ffi::c_void;
use std::alloc::{Layout, alloc};

/// `Box::new` that reports when there is no memory.
pub fn try_box<T>(value: T) -> Result<Box<T>> {
    let layout = Layout::new::<T>();
    if layout.size() == 0 {
        return Ok(Box::new(value)); // does not allocate
    }
    // SAFETY: the layout has a size other than 0.
    let memory = unsafe { alloc(layout) }.cast::<T>();
    if memory.is_null() {
        return Err(Status::ENOMEM);
    }
    // SAFETY: `memory` is fresh, aligned and large enough for one T by its layout, and from the allocator that Box uses.
    unsafe {
        memory.write(value);
        Ok(Box::from_raw(memory))
    }
}

/// Makes room for `additional` more items, or says `-ENOMEM` and leaves `items` as it was.
pub fn reserve<T>(items: &mut Vec<T>, additional: usize) -> Result<()> {
    items.try_reserve(additional).map_err(|_| Status::ENOMEM)
}

/// Makes room for `len` items in all, or says `-ENOMEM` and leaves `items` as it was.
pub fn reserve_to<T>(items: &mut Vec<T>, len: usize) -> Result<()> {
    let missing = len.saturating_sub(items.len());
    reserve(items, missing)
}

/// The caller's pointer that gyre hands back with a callback and never looks behind.
#[derive(Clone, Copy)]
pub struct UserData(pub *mut c_void);

// SAFETY: gyre never dereferences the pointer; it only carries the value to the thread that runs the loop, which is what
// the caller asked for.
unsafe impl Send for UserData {}
