//! Hooks.

use super::{code, code_and_output, loop_of, require, set_keepalive, set_user_data, user_data, with_loop, with_slot};
use crate::event_loop::HookPhase;
use crate::event_loop::callback::gyre_hook_cb;
use crate::event_loop::handle::{gyre_hook, gyre_loop};
use crate::event_loop::slots::Kind;
use crate::status::Status;
use crate::sys::memory::UserData;
use core::ffi::{c_int, c_void};

/// Where in a turn a hook runs.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum gyre_hook_phase {
    /// Before the wait.
    GYRE_HOOK_PREPARE = 0,
    /// At the end of the turn.
    GYRE_HOOK_CHECK = 1,
    /// At the start of the turn, which then does not wait: for work that is done a piece at a time while nothing else is to do.
    GYRE_HOOK_IDLE = 2,
}

/// Opens a hook: the callback runs in each turn, from the next one on, in the order of opening. A hook keeps the loop alive.
///
/// @param phase a gyre_hook_phase.
/// @param callback what to call.
/// @param user_data what to call it with.
/// @param out receives the handle.
/// @return 0; -EINVAL for an unknown phase or a NULL callback or `out`; GYRE_EFULL for more than 16,777,214 handles; -ENOMEM; or
/// an error of the handle's.
///
/// Thread: the owner. Ownership: close it with gyre_hook_close.
///
/// # Safety
/// `callback` may be called with `user_data` until the hook is closed; `out` is NULL or valid to write to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gyre_hook_open(
    r#loop: gyre_loop,
    phase: c_int,
    callback: gyre_hook_cb,
    user_data: *mut c_void,
    out: *mut gyre_hook,
) -> c_int {
    let open = || {
        with_loop(r#loop, |core| {
            require(out)?;
            let phase = match phase {
                0 => HookPhase::Prepare,
                1 => HookPhase::Check,
                2 => HookPhase::Idle,
                _ => return Err(Status::EINVAL),
            };
            Ok(gyre_hook { bits: core.hook_open(phase, callback, UserData(user_data))? })
        })
    };
    // SAFETY: by this function's contract.
    unsafe { code_and_output(out, open) }
}

/// Closes a hook. Once it returns the callback never runs again; user_data may be freed at once.
///
/// @return 0 or an error of the handle's.
///
/// Thread: the owner.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_hook_close(hook: gyre_hook) -> c_int {
    code(with_slot(hook.bits, Kind::Hook, |core, index| {
        core.hook_close(index);
        Ok(())
    }))
}

/// Chooses whether the hook, while active, keeps gyre_loop_run from returning; it does by default.
///
/// @param on 0 for no.
/// @return 0 or an error of the handle's.
///
/// Thread: the owner.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_hook_set_keepalive(hook: gyre_hook, on: c_int) -> c_int {
    set_keepalive(hook.bits, Kind::Hook, on)
}

/// The loop that the hook belongs to.
///
/// @param out receives the loop's handle.
/// @return 0; -EINVAL for `out` NULL; or an error of the handle's.
///
/// Thread: the owner.
///
/// # Safety
/// `out` is NULL or valid to write to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gyre_hook_loop(hook: gyre_hook, out: *mut gyre_loop) -> c_int {
    // SAFETY: by this function's contract.
    unsafe { loop_of(hook.bits, Kind::Hook, out) }
}

/// The pointer that the hook calls back with.
///
/// @return the pointer; NULL for a bad handle and from other threads.
///
/// Thread: the owner.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_hook_user_data(hook: gyre_hook) -> *mut c_void {
    user_data(hook.bits, Kind::Hook)
}

/// Changes the pointer that the hook calls back with, from the next callback on.
///
/// @return 0 or an error of the handle's.
///
/// Thread: the owner. Ownership: the pointer stays the caller's.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_hook_set_user_data(hook: gyre_hook, user_data: *mut c_void) -> c_int {
    set_user_data(hook.bits, Kind::Hook, user_data)
}
