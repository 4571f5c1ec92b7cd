//! Watchers of child processes.

use super::{code, code_and_output, loop_of, require, set_keepalive, set_user_data, user_data, with_loop, with_slot};
use crate::event_loop::callback::gyre_child_cb;
use crate::event_loop::handle::{gyre_child, gyre_loop};
use crate::event_loop::slots::Kind;
use crate::sys::memory::UserData;
use core::ffi::{c_int, c_void};

/// Opens a watcher of a child process: the callback runs once, when the process has ended. The end is taken from the kernel
/// (the child is no zombie any more) and told to all watchers of the process, in any loop. SIGCHLD is left alone.
///
/// @param pid the process.
/// @param callback what to call.
/// @param user_data what to call it with.
/// @param out receives the handle.
/// @return 0; -EINVAL for `pid` <= 0 or a NULL callback or `out`; -ESRCH when there is no such process; -ECHILD when it is not
/// a child of this process, or somebody has waited for it; GYRE_EUNSUPPORTED on kernels without pidfd_open(2);
/// GYRE_EFULL for more than 16,777,214 handles; -EMFILE, -ENFILE, -ENOMEM; or an error of the handle's.
///
/// Thread: the owner. Ownership: close it with gyre_child_close, also after the callback.
///
/// # Safety
/// `callback` may be called with `user_data` until the watcher is closed; `out` is NULL or valid to write to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gyre_child_open(
    r#loop: gyre_loop,
    pid: libc::pid_t,
    callback: gyre_child_cb,
    user_data: *mut c_void,
    out: *mut gyre_child,
) -> c_int {
    let open = || {
        with_loop(r#loop, |core| {
            require(out)?;
            Ok(gyre_child { bits: core.child_open(pid, callback, UserData(user_data))? })
        })
    };
    // SAFETY: by this function's contract.
    unsafe { code_and_output(out, open) }
}

/// Closes a watcher of a child process; the process goes on. Once it returns the callback never runs again; user_data may be
/// freed at once.
///
/// @return 0 or an error of the handle's.
///
/// Thread: the owner.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_child_close(child: gyre_child) -> c_int {
    code(with_slot(child.bits, Kind::Child, |core, index| {
        core.child_close(index);
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
pub extern "C" fn gyre_child_set_keepalive(child: gyre_child, on: c_int) -> c_int {
    set_keepalive(child.bits, Kind::Child, on)
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
pub unsafe extern "C" fn gyre_child_loop(child: gyre_child, out: *mut gyre_loop) -> c_int {
    // SAFETY: by this function's contract.
    unsafe { loop_of(child.bits, Kind::Child, out) }
}

/// The pointer that the watcher calls back with.
///
/// @return the pointer; NULL for a bad handle and from other threads.
///
/// Thread: the owner.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_child_user_data(child: gyre_child) -> *mut c_void {
    user_data(child.bits, Kind::Child)
}

/// Changes the pointer that the watcher calls back with, from the next callback on.
///
/// @return 0 or an error of the handle's.
///
/// Thread: the owner. Ownership: the pointer stays the caller's.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_child_set_user_data(child: gyre_child, user_data: *mut c_void) -> c_int {
    set_user_data(child.bits, Kind::Child, user_data)
}
