//! Watchers of descriptors: the reactor.

use super::{code, code_and_output, loop_of, require, set_keepalive, set_user_data, user_data, with_loop, with_slot};
use crate::demux::Events;
use crate::event_loop::callback::gyre_io_cb;
use crate::event_loop::handle::{gyre_io, gyre_loop};
use crate::event_loop::slots::Kind;
use crate::status::{Result, Status};
use crate::sys::memory::UserData;
use core::ffi::{c_int, c_void};

/// What is waited for on a descriptor, and what came.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum gyre_events {
    /// There is data, a connection to accept, or the end of the stream: a read would not block.
    GYRE_READ = 1,
    /// A write would not block.
    GYRE_WRITE = 2,
    /// There is an exceptional condition: TCP urgent data.
    GYRE_PRIORITY = 4,
    /// The peer has shut down its sending side.
    GYRE_PEER_CLOSED = 8,
    /// Report only: the connection is gone, or the pipe has no other end. Comes with the GYRE_READ and GYRE_WRITE that were
    /// asked for, because neither would block.
    GYRE_HANGUP = 16,
    /// Report only: an error is pending on the descriptor (SO_ERROR), or the descriptor is closed or another file by now.
    GYRE_ERROR = 32,
    /// Mode, when a watcher is opened: tell when readiness changes, and not as long as it lasts. Only with epoll.
    GYRE_EDGE = 256,
    /// Mode, when a watcher is opened: tell once, then be silent until gyre_io_set.
    GYRE_ONESHOT = 512,
}

const EDGE: u32 = gyre_events::GYRE_EDGE as u32;
const ONESHOT: u32 = gyre_events::GYRE_ONESHOT as u32;

/// What is asked for, if it may be.
fn interest(events: u32) -> Result<Events> {
    match u8::try_from(events).map(Events) {
        Ok(interest) if (interest & !Events::ASKABLE).is_empty() => Ok(interest),
        _ => Err(Status::EINVAL),
    }
}

/// Opens a watcher: the callback runs whenever the descriptor is ready, level-triggered unless GYRE_EDGE says otherwise.
///
/// Several watchers may share a descriptor; they are called in the order of opening, each with what it asked for. A watcher
/// opened in a callback hears nothing of the events that were reaped before. Regular files are always ready.
///
/// GYRE_HANGUP and GYRE_ERROR come unasked. A watcher that asks for nothing is told of them once, without GYRE_READ or
/// GYRE_WRITE, then not again before gyre_io_set; it does not keep the loop alive. When the descriptor is closed under the watcher,
/// or its number is given to another file, the watcher is told GYRE_ERROR at most once and nothing of the other file. Close
/// watchers before their descriptors.
///
/// @param fd the descriptor; it stays the caller's, with its flags as they are.
/// @param events GYRE_READ, GYRE_WRITE, GYRE_PRIORITY, GYRE_PEER_CLOSED, or none of them to begin paused; and GYRE_EDGE,
/// GYRE_ONESHOT.
/// @param callback what to call.
/// @param user_data what to call it with.
/// @param out receives the handle.
/// @return 0; -EINVAL for a NULL callback or `out`, unknown or report-only bits, the loop's own descriptor, or GYRE_EDGE on a
/// descriptor that is watched without it or the other way round; -EBADF for what is no open descriptor; GYRE_EUNSUPPORTED for
/// GYRE_EDGE on poll and select, and for FD_SETSIZE and above on select; GYRE_EFULL for more than 16,777,214 handles; -ENOMEM, -ENOSPC;
/// or an error of the handle's.
///
/// Thread: the owner. Ownership: close it with gyre_io_close.
///
/// # Safety
/// `callback` may be called with `user_data` until the watcher is closed; `out` is NULL or valid to write to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gyre_io_open(
    r#loop: gyre_loop,
    fd: c_int,
    events: u32,
    callback: gyre_io_cb,
    user_data: *mut c_void,
    out: *mut gyre_io,
) -> c_int {
    let open = || {
        with_loop(r#loop, |core| {
            require(out)?;
            let interest = interest(events & !(EDGE | ONESHOT))?;
            let (edge, oneshot) = (events & EDGE != 0, events & ONESHOT != 0);
            let bits = core.io_open(fd, interest, edge, oneshot, callback, UserData(user_data))?;
            Ok(gyre_io { bits })
        })
    };
    // SAFETY: by this function's contract.
    unsafe { code_and_output(out, open) }
}

/// Changes what a watcher asks for. Changes of one turn go to the kernel together, before the next wait; what is changed back
/// costs nothing. On a GYRE_EDGE watcher it also asks for readiness that is there already to be told once more.
///
/// @param events GYRE_READ, GYRE_WRITE, GYRE_PRIORITY, GYRE_PEER_CLOSED; 0 pauses.
/// @return 0; -EINVAL for other bits; -EBADF when the watcher has been told that its descriptor is gone, or is about to be; or
/// an error of the handle's.
///
/// Thread: the owner.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_io_set(io: gyre_io, events: u32) -> c_int {
    code(with_slot(io.bits, Kind::Io, |core, index| core.io_set(index, interest(events)?)))
}

/// Closes a watcher. Once it returns the callback never runs again, also when its event was reaped already; user_data may be
/// freed at once. The descriptor stays open.
///
/// @return 0 or an error of the handle's.
///
/// Thread: the owner.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_io_close(io: gyre_io) -> c_int {
    code(with_slot(io.bits, Kind::Io, |core, index| {
        core.watch_close(index);
        Ok(())
    }))
}

/// The descriptor that the watcher was opened with.
///
/// @return the descriptor or an error of the handle's.
///
/// Thread: the owner.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_io_fd(io: gyre_io) -> c_int {
    with_slot(io.bits, Kind::Io, |core, index| core.io_fd(index)).unwrap_or_else(Status::code)
}

/// Chooses whether the watcher, while active, keeps gyre_loop_run from returning; it does by default.
///
/// @param on 0 for no.
/// @return 0 or an error of the handle's.
///
/// Thread: the owner.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_io_set_keepalive(io: gyre_io, on: c_int) -> c_int {
    set_keepalive(io.bits, Kind::Io, on)
}

/// The loop that the watcher belongs to.
///
/// @param out receives the loop's handle.
/// @return 0; -EINVAL for `out` NULL; or an error of the handle's.
///
/// Thread: the owner.
///
/// # Safety
/// `out` is NULL or valid to write to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gyre_io_loop(io: gyre_io, out: *mut gyre_loop) -> c_int {
    // SAFETY: by this function's contract.
    unsafe { loop_of(io.bits, Kind::Io, out) }
}

/// The pointer that the watcher calls back with.
///
/// @return the pointer; NULL for a bad handle and from other threads.
///
/// Thread: the owner.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_io_user_data(io: gyre_io) -> *mut c_void {
    user_data(io.bits, Kind::Io)
}

/// Changes the pointer that the watcher calls back with, from the next callback on.
///
/// @return 0 or an error of the handle's.
///
/// Thread: the owner. Ownership: the pointer stays the caller's.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_io_set_user_data(io: gyre_io, user_data: *mut c_void) -> c_int {
    set_user_data(io.bits, Kind::Io, user_data)
}
