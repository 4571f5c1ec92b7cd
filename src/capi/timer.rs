//! Timers.

use super::{code, code_and_output, loop_of, set_keepalive, set_user_data, user_data, with_loop, with_slot};
use crate::event_loop::callback::gyre_timer_cb;
use crate::event_loop::handle::{gyre_loop, gyre_timer};
use crate::event_loop::slots::Kind;
use crate::sys::clock::monotonic_ns;
use crate::sys::memory::UserData;
use core::ffi::{c_int, c_void};

/// Opens a timer. It never fires before its deadline; timers fire in the order of their deadlines, then of arming.
///
/// A periodic timer keeps to the grid of its first deadline, and fires once for ticks that it missed. A timer that is armed in
/// a callback fires in the next turn at the earliest.
///
/// @param delay_ns nanoseconds from now to the first deadline; GYRE_FOREVER opens it stopped, and it does not keep the loop
/// alive until it is set. A sum that overflows is never.
/// @param period_ns nanoseconds from deadline to deadline; 0 for once.
/// @param callback what to call.
/// @param user_data what to call it with.
/// @param out receives the handle; NULL for a timer that closes itself after it has fired, unless its callback has armed it
/// again. Until then it keeps the loop alive.
/// @return 0; -EINVAL for a NULL callback, or a period without `out`; GYRE_EFULL for more than 16,777,214 handles; -ENOMEM; or
/// an error of the handle's.
///
/// Thread: the owner. Ownership: close it with gyre_timer_close.
///
/// # Safety
/// `callback` may be called with `user_data` until the timer is closed; `out` is NULL or valid to write to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gyre_timer_open(
    r#loop: gyre_loop,
    delay_ns: u64,
    period_ns: u64,
    callback: gyre_timer_cb,
    user_data: *mut c_void,
    out: *mut gyre_timer,
) -> c_int {
    let open = |closes_itself| {
        with_loop(r#loop, |core| {
            let bits = core.timer_open(delay_ns, period_ns, callback, UserData(user_data), closes_itself)?;
            Ok(gyre_timer { bits })
        })
    };
    if out.is_null() {
        return code(open(true).map(|_| ()));
    }
    // SAFETY: by this function's contract.
    unsafe { code_and_output(out, || open(false)) }
}

/// Arms a timer anew, running or not, from a fresh reading of the clock.
///
/// @param delay_ns nanoseconds from now to the deadline; GYRE_FOREVER stops it.
/// @param period_ns nanoseconds from deadline to deadline; 0 for once.
/// @return 0; -EINVAL for a period on a timer that closes itself; or an error of the handle's.
///
/// Thread: the owner.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_timer_set(timer: gyre_timer, delay_ns: u64, period_ns: u64) -> c_int {
    code(with_slot(timer.bits, Kind::Timer, |core, index| {
        core.timer_set(index, monotonic_ns().saturating_add(delay_ns), period_ns)
    }))
}

/// Arms a timer anew for a point in time, without reading the clock.
///
/// @param deadline_ns nanoseconds on the clock of gyre_loop_now; one that has passed fires in the next turn; GYRE_FOREVER
/// stops it.
/// @param period_ns nanoseconds from deadline to deadline; 0 for once.
/// @return 0; -EINVAL for a period on a timer that closes itself; or an error of the handle's.
///
/// Thread: the owner.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_timer_set_at(timer: gyre_timer, deadline_ns: u64, period_ns: u64) -> c_int {
    code(with_slot(timer.bits, Kind::Timer, |core, index| core.timer_set(index, deadline_ns, period_ns)))
}

/// Stops a timer; it can be set again.
///
/// @return 0, also for one that was stopped, or an error of the handle's.
///
/// Thread: the owner.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_timer_stop(timer: gyre_timer) -> c_int {
    code(with_slot(timer.bits, Kind::Timer, |core, index| {
        core.timer_stop(index);
        Ok(())
    }))
}

/// Tells how long it is to a timer's deadline, from a fresh reading of the clock.
///
/// @param out_ns receives nanoseconds; 0 for a deadline that has passed, GYRE_FOREVER for a timer that is stopped.
/// @return 0; -EINVAL for `out_ns` NULL; or an error of the handle's.
///
/// Thread: the owner.
///
/// # Safety
/// `out_ns` is NULL or valid to write to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gyre_timer_remaining(timer: gyre_timer, out_ns: *mut u64) -> c_int {
    let remaining = || with_slot(timer.bits, Kind::Timer, |core, index| Ok(core.timer_remaining(index)));
    // SAFETY: by this function's contract.
    unsafe { code_and_output(out_ns, remaining) }
}

/// Closes a timer. Once it returns the callback never runs again; user_data may be freed at once.
///
/// @return 0 or an error of the handle's.
///
/// Thread: the owner.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_timer_close(timer: gyre_timer) -> c_int {
    code(with_slot(timer.bits, Kind::Timer, |core, index| {
        core.timer_close(index);
        Ok(())
    }))
}

/// Chooses whether the timer, while active, keeps gyre_loop_run from returning; it does by default.
///
/// @param on 0 for no.
/// @return 0 or an error of the handle's.
///
/// Thread: the owner.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_timer_set_keepalive(timer: gyre_timer, on: c_int) -> c_int {
    set_keepalive(timer.bits, Kind::Timer, on)
}

/// The loop that the timer belongs to.
///
/// @param out receives the loop's handle.
/// @return 0; -EINVAL for `out` NULL; or an error of the handle's.
///
/// Thread: the owner.
///
/// # Safety
/// `out` is NULL or valid to write to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gyre_timer_loop(timer: gyre_timer, out: *mut gyre_loop) -> c_int {
    // SAFETY: by this function's contract.
    unsafe { loop_of(timer.bits, Kind::Timer, out) }
}

/// The pointer that the timer calls back with.
///
/// @return the pointer; NULL for a bad handle and from other threads.
///
/// Thread: the owner.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_timer_user_data(timer: gyre_timer) -> *mut c_void {
    user_data(timer.bits, Kind::Timer)
}

/// Changes the pointer that the timer calls back with, from the next callback on.
///
/// @return 0 or an error of the handle's.
///
/// Thread: the owner. Ownership: the pointer stays the caller's.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_timer_set_user_data(timer: gyre_timer, user_data: *mut c_void) -> c_int {
    set_user_data(timer.bits, Kind::Timer, user_data)
}
