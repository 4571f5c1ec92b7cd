//! The types of the caller's functions.
//!
//! They are `extern "C-unwind"`: a C++ exception may leave them and pass through the run of the loop. They are safe to
//! call here because whoever registered one promised, at the `unsafe` function of the C interface, that it may be called
//! with its `user_data` on the loop's thread until the handle is closed.

use super::handle::{gyre_child, gyre_hook, gyre_io, gyre_loop, gyre_op, gyre_signal, gyre_timer};
use core::ffi::{c_int, c_void};

/// Runs once on the loop's thread for each accepted `gyre_loop_post`.
#[allow(non_camel_case_types)]
pub type gyre_post_cb = Option<extern "C-unwind" fn(r#loop: gyre_loop, user_data: *mut c_void)>;

/// Tells what a descriptor is ready for: `events` holds `GYRE_READ`, `GYRE_WRITE`, `GYRE_PRIORITY` and `GYRE_PEER_CLOSED`
/// as far as asked for, and `GYRE_HANGUP` and `GYRE_ERROR` unasked.
#[allow(non_camel_case_types)]
pub type gyre_io_cb = Option<extern "C-unwind" fn(r#loop: gyre_loop, io: gyre_io, events: u32, user_data: *mut c_void)>;

/// Tells that a timer's deadline has passed.
#[allow(non_camel_case_types)]
pub type gyre_timer_cb = Option<extern "C-unwind" fn(r#loop: gyre_loop, timer: gyre_timer, user_data: *mut c_void)>;

/// Tells that `signum` was raised, `count` times since the last call.
#[allow(non_camel_case_types)]
pub type gyre_signal_cb = Option<
    extern "C-unwind" fn(r#loop: gyre_loop, signal: gyre_signal, signum: c_int, count: u32, user_data: *mut c_void),
>;

/// How a child process ended; valid during the callback.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(non_camel_case_types)]
pub struct gyre_child_exit {
    /// The size of this struct in the library; fields of later versions come behind the ones here.
    pub size: usize,
    /// The process that ended.
    pub pid: libc::pid_t,
    /// 0; or -ECHILD when the end was taken by somebody else (a waitpid of the host, or SIGCHLD set to SIG_IGN), and so
    /// only the fact of the end is known.
    pub error: c_int,
    /// What the process gave to exit, 0 to 255; -1 when a signal killed it or the end is not known.
    pub code: c_int,
    /// The signal that killed it; 0 when none did.
    pub signal: c_int,
    /// 1 when a core was dumped.
    pub core_dumped: c_int,
}

/// Tells, once, how a child process ended.
#[allow(non_camel_case_types)]
pub type gyre_child_cb = Option<
    extern "C-unwind" fn(r#loop: gyre_loop, child: gyre_child, exit: *const gyre_child_exit, user_data: *mut c_void),
>;

/// Runs in each turn of the loop, in the phase that the hook was opened for.
#[allow(non_camel_case_types)]
pub type gyre_hook_cb = Option<extern "C-unwind" fn(r#loop: gyre_loop, hook: gyre_hook, user_data: *mut c_void)>;

/// What came of an operation; valid during the callback.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(non_camel_case_types)]
pub struct gyre_completion {
    /// The size of this struct in the library; fields of later versions come behind the ones here.
    pub size: usize,
    /// The operation; its handle is dead unless `flags` holds GYRE_MORE.
    pub op: gyre_op,
    /// Bytes, a descriptor, 0, or a negative status.
    pub result: i64,
    /// The descriptor that it was submitted on; -1 for a sleep.
    pub fd: c_int,
    /// GYRE_MORE: a _many operation goes on.
    pub flags: u32,
    /// The caller's buffer, NULL where there is none; for gyre_op_recv_many the library's with `result` bytes, valid during
    /// the callback unless it is held.
    pub buf: *mut c_void,
    /// The length of `buf`.
    pub len: usize,
    /// The peer's address, for gyre_op_accept; else NULL.
    pub peer: *const libc::sockaddr,
    /// The length of the peer's address.
    pub peer_len: libc::socklen_t,
}

/// Tells, on the loop's thread, what came of an operation. Its buffer is the caller's again, unless GYRE_MORE is set.
#[allow(non_camel_case_types)]
pub type gyre_op_cb =
    Option<extern "C-unwind" fn(r#loop: gyre_loop, done: *const gyre_completion, user_data: *mut c_void)>;
