//! Statuses and the version.

use crate::status;
use core::ffi::{c_char, c_int};

/// Statuses of gyre's own, beside 0 for success and -errno. Stable from version 1.0 on.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum gyre_status {
    /// Success.
    GYRE_OK = 0,
    /// The handle is none, stale, forged, or of another kind.
    GYRE_EHANDLE = -4001,
    /// The calling thread does not own the loop.
    GYRE_ETHREAD = -4002,
    /// Not allowed from inside a callback.
    GYRE_EREENTRANT = -4003,
    /// The process was forked since the loop was opened.
    GYRE_EFORKED = -4004,
    /// The loop is being closed.
    GYRE_ECLOSING = -4005,
    /// The kernel, the backend or the engine cannot do this.
    GYRE_EUNSUPPORTED = -4006,
    /// A bounded queue is full; nothing was taken.
    GYRE_EFULL = -4007,
}

/// Names a status: "EBADF" for -EBADF, "GYRE_EHANDLE", "GYRE_OK" for 0 and for counts, "?" for what is no status.
///
/// @return a string that lives as long as the library, never NULL.
///
/// Thread: any.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_status_name(status: c_int) -> *const c_char {
    status::name(status).as_ptr()
}

/// Describes a status in a few English words.
///
/// @return a string that lives as long as the library, never NULL.
///
/// Thread: any.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_status_message(status: c_int) -> *const c_char {
    status::message(status).as_ptr()
}

const fn number(text: &str) -> u32 {
    let mut value = 0_u32;
    let mut bytes = text.as_bytes();
    while let [digit, rest @ ..] = bytes {
        value = value.wrapping_mul(10).wrapping_add(digit.wrapping_sub(b'0') as u32);
        bytes = rest;
    }
    value
}

const VERSION: u32 = number(env!("CARGO_PKG_VERSION_MAJOR")) << 16
    | number(env!("CARGO_PKG_VERSION_MINOR")) << 8
    | number(env!("CARGO_PKG_VERSION_PATCH"));

/// The version of the library that is linked: major << 16 | minor << 8 | patch. Compare with GYRE_VERSION, which is that of
/// the header.
///
/// Thread: any.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_version() -> u32 {
    VERSION
}

/// The version of the library that is linked, as "major.minor.patch".
///
/// @return a string that lives as long as the library, never NULL.
///
/// Thread: any.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_version_string() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}
