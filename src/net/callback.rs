//! The types of the caller's functions for streams; see [`crate::event_loop::callback`] for what makes them safe to
//! call.

use crate::event_loop::handle::{gyre_loop, gyre_stream};
use core::ffi::{c_int, c_void};

/// Gives a buffer back that `gyre_stream_write_owned` took: runs once, on the loop's thread, never inside that call,
/// and before the stream's `on_close`.
#[allow(non_camel_case_types)]
pub type gyre_release_cb = Option<extern "C-unwind" fn(data: *const c_void, len: usize, arg: *mut c_void)>;

/// What a stream tells. Set `size` to sizeof(gyre_stream_callbacks); only `on_data` is required, the others may be
/// NULL.
///
/// They run on the loop's thread inside its run, each with the stream's user_data, and may do anything to any handle.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct gyre_stream_callbacks {
    /// sizeof(gyre_stream_callbacks).
    pub size: usize,
    /// The stream is connected. Comes first, once; not when connecting failed.
    pub on_open: Option<extern "C-unwind" fn(r#loop: gyre_loop, stream: gyre_stream, user_data: *mut c_void)>,
    /// Bytes have come; they are valid during the call. Returns how many of them are done with: the rest is shown
    /// again, together with what follows, in one piece. While it takes something and bytes remain it is called again; 0
    /// waits for more.
    pub on_data: Option<
        extern "C-unwind" fn(
            r#loop: gyre_loop,
            stream: gyre_stream,
            data: *const u8,
            len: usize,
            user_data: *mut c_void,
        ) -> usize,
    >,
    /// After a write was GYRE_EFULL: what is pending has gone down to half of the limit or less, and what was refused
    /// fits.
    pub on_drain: Option<extern "C-unwind" fn(r#loop: gyre_loop, stream: gyre_stream, user_data: *mut c_void)>,
    /// The peer sends nothing more; writing goes on. Without this function the stream closes itself, as by
    /// gyre_stream_close.
    pub on_eof: Option<extern "C-unwind" fn(r#loop: gyre_loop, stream: gyre_stream, user_data: *mut c_void)>,
    /// The stream has ended: exactly once, last, and its handle is dead. `status` is 0 after gyre_stream_close or when
    /// both directions have come to their end; -ETIMEDOUT for a deadline; -ECONNABORTED after gyre_stream_abort;
    /// -ECANCELED when the loop is closed; -EMSGSIZE for more than max_input; -EINVAL for an on_data that took more
    /// than there was; or the errno.
    pub on_close:
        Option<extern "C-unwind" fn(r#loop: gyre_loop, stream: gyre_stream, status: c_int, user_data: *mut c_void)>,
}
