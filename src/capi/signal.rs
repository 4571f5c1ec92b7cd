//! Watchers of signals.

use super::{code, code_and_output, loop_of, require, set_keepalive, set_user_data, user_data, with_loop, with_slot};
use crate::event_loop::callback::gyre_signal_cb;
use crate::event_loop::handle::{gyre_loop, gyre_signal};
use crate::event_loop::slots::Kind;
use crate::sys::memory::UserData;
use core::ffi::{c_int, c_void};

/// Opens a watcher of a signal: the callback runs in the loop, not in a signal handler. Any number of loops and watchers may
/// watch a signal. Raises coalesce: after the last raise there is at least one callback, with the count.
///
/// A handler that was installed before still runs, in the context of the signal. The last watcher of the process to be
/// closed puts back what was there, unless somebody has replaced it since. The signal must not be blocked in all threads.
///
/// @param signum the signal's number.
/// @param callback what to call.
/// @param user_data what to call it with.
/// @param out receives the handle.
/// @return 0; -EINVAL for a NULL callback or `out`, a number that is no signal or is the C library's own, and for SIGKILL,
/// SIGSTOP, SIGSEGV, SIGBUS, SIGFPE and SIGILL; GYRE_EFULL for more than 16,777,214 handles; -ENOMEM; or an error of the handle's.
///
/// Thread: the owner. Ownership: close it with gyre_signal_close.
///
/// # Safety
/// `callback` may be called with `user_data` until the watcher is closed; `out` is NULL or valid to write to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gyre_signal_open(
    r#loop: gyre_loop,
    signum: c_int,
    callback: gyre_signal_cb,
    user_data: *mut c_void,
    out: *mut gyre_signal,
) -> c_int {
    let open = || {
        with_loop(r#loop, |core| {
            require(out)?;
            Ok(gyre_signal { bits: core.signal_open(signum, callback, UserData(user_data))? })
        })
    };
    // SAFETY: by this function's contract.
    unsafe { code_and_output(out, open) }
}

/// Closes a watcher of a signal. Once it returns the callback never runs again; user_data may be freed at once.
///
/// @return 0 or an error of the handle's.
///
/// Thread: the owner.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_signal_close(signal: gyre_signal) -> c_int {
    code(with_slot(signal.bits, Kind::Signal, |core, index| {
        core.signal_close(index);
        Ok(())
    }))
}

/// Chooses whether the watcher, while active, keeps gyre_loop_run from returning; it does by default.
///
/// @param on 0 for no.
/// @return 0 or an error of the handle's.
///
/// Thread: the owner.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_signal_set_keepalive(signal: gyre_signal, on: c_int) -> c_int {
    set_keepalive(signal.bits, Kind::Signal, on)
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
pub unsafe extern "C" fn gyre_signal_loop(signal: gyre_signal, out: *mut gyre_loop) -> c_int {
    // SAFETY: by this function's contract.
    unsafe { loop_of(signal.bits, Kind::Signal, out) }
}

/// The pointer that the watcher calls back with.
///
/// @return the pointer; NULL for a bad handle and from other threads.
///
/// Thread: the owner.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_signal_user_data(signal: gyre_signal) -> *mut c_void {
    user_data(signal.bits, Kind::Signal)
}

/// Changes the pointer that the watcher calls back with, from the next callback on.
///
/// @return 0 or an error of the handle's.
///
/// Thread: the owner. Ownership: the pointer stays the caller's.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_signal_set_user_data(signal: gyre_signal, user_data: *mut c_void) -> c_int {
    set_user_data(signal.bits, Kind::Signal, user_data)
}
