//! The C interface: every exported function, one file a family, in the order of `gyre.h`. The documentation here becomes
//! the header's.
//!
//! Called by C; calls `event_loop`. What every function does first stands in this file: it turns a handle into the loop
//! or slot that it stands for, in the order of checks that the header promises.
//!
//! 1. A function is `extern "C"`, so that a panic in it, which would be a bug, aborts with a message; those that run the
//!    caller's functions are `extern "C-unwind"`, so that C++ exceptions pass (a panic still aborts: `event_loop::Running`).
//! 2. Enums and flags from C are integers until they are checked.
//! 3. Outputs are written only on success.

#![allow(non_camel_case_types)]

mod status;

mod r#loop;

mod io;

mod timer;

mod signal;

mod child;

mod hook;

mod op;

mod listener;

mod stream;

pub use self::child::*;
pub use self::hook::*;
pub use self::io::*;
pub use self::listener::*;
pub use self::r#loop::*;
pub use self::op::*;
pub use self::signal::*;
pub use self::status::*;
pub use self::stream::*;
pub use self::timer::*;
pub use crate::event_loop::callback::*;
pub use crate::event_loop::handle::{
    gyre_buffer, gyre_child, gyre_hook, gyre_io, gyre_listener, gyre_loop, gyre_op, gyre_signal, gyre_stream,
    gyre_timer,
};
pub use crate::net::callback::*;

use crate::event_loop::Loop;
use crate::event_loop::core::Core;
use crate::event_loop::handle::place_of;
use crate::event_loop::place::{is_owner, owned_places, place};
use crate::event_loop::slots::Kind;
use crate::status::{Result, Status};
use crate::sys::memory::UserData;
use core::ffi::{c_char, c_int, c_void};

/// The loop that a handle of any kind belongs to: `GYRE_EHANDLE`, `GYRE_EFORKED`, `GYRE_ETHREAD`.
#[inline]
fn owned<'a>(bits: u64) -> Result<&'a Loop> {
    let number = place_of(bits);
    if is_owner(number) {
        // SAFETY: the calling thread owns the loop in this place, so no other thread can close it, and the pointer is to the
        // loop that `gyre_loop_open` boxed. No caller keeps the reference past its own call into the library.
        return Ok(unsafe { &*place(number).pointer() });
    }
    Err(why_not_owned(number))
}

/// Gives up whatever loops the calling thread owns: it is about to end.
fn leave_thread() {
    for number in owned_places() {
        // SAFETY: as in `owned`.
        unsafe { &*place(number).pointer() }.leave_thread();
    }
}

#[cold]
fn why_not_owned(number: u8) -> Status {
    let place = place(number);
    if !place.is_live() {
        Status::EHANDLE
    } else if place.is_forked(number) {
        Status::EFORKED
    } else {
        Status::ETHREAD
    }
}

/// The loop that a loop's handle stands for; also `GYRE_ECLOSING`.
#[inline]
fn open_loop<'a>(handle: gyre_loop) -> Result<&'a Loop> {
    if place(place_of(handle.bits)).live() != handle.bits {
        return Err(Status::EHANDLE);
    }
    let found = owned(handle.bits)?;
    found.check_open()?;
    Ok(found)
}

/// Calls `act` with the state of a loop.
#[inline]
fn with_loop<T>(handle: gyre_loop, act: impl FnOnce(&mut Core) -> Result<T>) -> Result<T> {
    act(&mut *open_loop(handle)?.core()?)
}

/// Calls `act` with the state of the loop and the slot that a handle stands for.
#[inline]
fn with_slot<T>(bits: u64, kind: Kind, act: impl FnOnce(&mut Core, u32) -> Result<T>) -> Result<T> {
    let found = owned(bits)?;
    let mut core = found.core()?;
    let index = core.slots.find(bits, kind)?;
    found.check_open()?;
    act(&mut core, index)
}

/// What C sees of a result.
#[inline]
fn code(result: Result<()>) -> c_int {
    match result {
        Ok(()) => 0,
        Err(status) => status.code(),
    }
}

/// What C sees of a run: 1 while something is alive.
#[inline]
fn run_code(result: Result<bool>) -> c_int {
    match result {
        Ok(alive) => c_int::from(alive),
        Err(status) => status.code(),
    }
}

/// Writes an output on success.
///
/// # Safety
/// `out` is NULL or valid to write to.
#[inline]
unsafe fn code_and_output<T>(out: *mut T, result: impl FnOnce() -> Result<T>) -> c_int {
    code(result().and_then(|value| {
        if out.is_null() {
            return Err(Status::EINVAL);
        }
        // SAFETY: not NULL, and valid by this function's contract.
        unsafe { out.write(value) };
        Ok(())
    }))
}

/// Options and other structs that begin with their size may come from a newer header, and are taken when what this library does
/// not know is zero.
const MAX_SIZE: usize = 4096;

/// Reads a struct whose first field is its size, of this version or a later one.
///
/// # Safety
/// T is plain C data whose first field is its size as a `size_t`; `given` is valid for as many bytes as that says.
unsafe fn read_sized<T: Copy>(given: *const T) -> Result<T> {
    let known = size_of::<T>();
    // SAFETY: by this function's contract; the first field is there in every version.
    let size = unsafe { given.cast::<usize>().read() };
    if !(known..=MAX_SIZE).contains(&size) {
        return Err(Status::EINVAL);
    }
    // SAFETY: `size` bytes are valid by this function's contract.
    let tail = unsafe { core::slice::from_raw_parts(given.cast::<u8>().wrapping_add(known), size.wrapping_sub(known)) };
    if tail.iter().any(|byte| *byte != 0) {
        return Err(Status::EINVAL);
    }
    // SAFETY: at least the known part is valid.
    Ok(unsafe { given.read() })
}

/// Text for C as snprintf(3) gives it: cut to the room there is, and counted to the end.
struct Text {
    buf: *mut u8,
    room: usize,
    len: usize,
}

impl core::fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        for byte in text.bytes() {
            if self.len.saturating_add(1) < self.room {
                // SAFETY: `len` lies below `room`, and so within the caller's buffer.
                unsafe { self.buf.wrapping_add(self.len).write(byte) };
            }
            self.len = self.len.saturating_add(1);
        }
        Ok(())
    }
}

impl Text {
    /// Has text written to the caller's buffer, with a NUL; the length of the whole text.
    ///
    /// # Safety
    /// `buf` is NULL or valid to write `len` bytes to.
    unsafe fn fill(buf: *mut c_char, len: usize, write: impl FnOnce(&mut Text) -> Result<()>) -> Result<c_int> {
        if len > isize::MAX as usize || (buf.is_null() && len > 0) {
            return Err(Status::EINVAL);
        }
        let mut text = Text { buf: buf.cast(), room: len, len: 0 };
        write(&mut text)?;
        if len > 0 {
            // SAFETY: the index lies below `len`, within the caller's buffer.
            unsafe { buf.wrapping_add(text.len.min(len.wrapping_sub(1))).write(0) };
        }
        Ok(c_int::try_from(text.len).unwrap_or(c_int::MAX))
    }
}

/// `-EINVAL` for an output that is required and missing.
fn require<T>(out: *mut T) -> Result<()> {
    if out.is_null() { Err(Status::EINVAL) } else { Ok(()) }
}

fn set_keepalive(bits: u64, kind: Kind, on: c_int) -> c_int {
    code(with_slot(bits, kind, |core, index| {
        core.slots.set_keepalive(index, on != 0);
        Ok(())
    }))
}

/// # Safety
/// `out` is NULL or valid to write to.
unsafe fn loop_of(bits: u64, kind: Kind, out: *mut gyre_loop) -> c_int {
    let find = || with_slot(bits, kind, |core, _| Ok(gyre_loop { bits: core.slots.bits(0) }));
    // SAFETY: by this function's contract.
    unsafe { code_and_output(out, find) }
}

fn user_data(bits: u64, kind: Kind) -> *mut c_void {
    let find = |core: &mut Core, index| core.slots.get(index).map(|slot| slot.user_data.0).ok_or(Status::EHANDLE);
    with_slot(bits, kind, find).unwrap_or(core::ptr::null_mut())
}

fn set_user_data(bits: u64, kind: Kind, user_data: *mut c_void) -> c_int {
    code(with_slot(bits, kind, |core, index| {
        core.slots.get_mut(index).ok_or(Status::EHANDLE)?.user_data = UserData(user_data);
        Ok(())
    }))
}
