//! Allocation that can fail: the caller gets `-ENOMEM`, never an abort.

use crate::status::{Result, Status};
use core::cell::Cell;
use core::ffi::c_void;
use core::ptr::NonNull;
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

/// A value with several owners, all in one thread at a time: `Rc` that reports when there is no memory.
pub struct Shared<T>(NonNull<Counted<T>>);

struct Counted<T> {
    owners: Cell<usize>,
    value: T,
}

impl<T> Shared<T> {
    /// The value with its first owner.
    pub fn new(value: T) -> Result<Shared<T>> {
        let counted = try_box(Counted { owners: Cell::new(1), value })?;
        Ok(Shared(NonNull::from(Box::leak(counted))))
    }

    fn counted(&self) -> &Counted<T> {
        // SAFETY: the box lives as long as it has owners, and this is one of them. Nobody has it mutably.
        unsafe { self.0.as_ref() }
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Shared<T> {
        let owners = &self.counted().owners;
        owners.set(owners.get().saturating_add(1)); // memory ends long before the count does
        Shared(self.0)
    }
}

impl<T> core::ops::Deref for Shared<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.counted().value
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        let owners = &self.counted().owners;
        owners.set(owners.get().saturating_sub(1));
        if owners.get() == 0 {
            // SAFETY: `new` leaked this box, and this was its last owner.
            drop(unsafe { Box::from_raw(self.0.as_ptr()) });
        }
    }
}

/// The caller's pointer that gyre hands back with a callback and never looks behind.
#[derive(Clone, Copy)]
pub struct UserData(pub *mut c_void);

// SAFETY: gyre never dereferences the pointer; it only carries the value to the thread that runs the loop, which is what
// the caller asked for.
unsafe impl Send for UserData {}
