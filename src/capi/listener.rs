//! Listeners.

use super::stream::{gyre_stream_options, read_setup, stream_options};
use super::{
    Text, code, code_and_output, loop_of, read_sized, set_keepalive, set_user_data, user_data, with_loop, with_slot,
};
use crate::event_loop::core::Core;
use crate::event_loop::handle::{gyre_listener, gyre_loop};
use crate::event_loop::slots::Kind;
use crate::net::callback::gyre_stream_callbacks;
use crate::net::listener::{self, Options};
use crate::net::stream;
use crate::status::{Result, Status};
use crate::sys::memory::UserData;
use core::ffi::{CStr, c_char, c_int, c_void};

/// How a listener is opened. Set `size` to sizeof(gyre_listener_options) and the rest to zero, which is the default of
/// every field.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct gyre_listener_options {
    /// sizeof(gyre_listener_options).
    pub size: usize,
    /// How many connections may wait to be accepted; default 1024. The kernel takes no more than net.core.somaxconn.
    pub backlog: c_int,
    /// Not 0: several listeners, also of other processes of the same user, may share the address (SO_REUSEPORT). Not
    /// for Unix sockets.
    pub reuse_port: c_int,
    /// How many connections there may be at once; default 65,536. Further ones wait to be accepted until one has ended.
    pub max_connections: u32,
    /// How many connections a turn accepts; default 64.
    pub accept_batch: u32,
    /// What the accepted streams are given. Its size may be 0 here.
    pub stream: gyre_stream_options,
}

/// Reads options of any version.
///
/// # Safety
/// `options` is NULL, or valid for as many bytes as its first field says.
unsafe fn read_options(options: *const gyre_listener_options) -> Result<(Options, stream::Options)> {
    if options.is_null() {
        return Ok((Options::DEFAULTS, stream::Options::DEFAULTS));
    }
    // SAFETY: by this function's contract.
    let options = unsafe { read_sized(options)? };
    if ![0, size_of::<gyre_stream_options>()].contains(&options.stream.size) || options.backlog < 0 {
        return Err(Status::EINVAL);
    }
    let or = |value: u32, default: u32| if value == 0 { default } else { value };
    let own = Options {
        backlog: if options.backlog == 0 { Options::DEFAULTS.backlog } else { options.backlog },
        reuse_port: options.reuse_port != 0,
        max_connections: or(options.max_connections, Options::DEFAULTS.max_connections),
        accept_batch: or(options.accept_batch, Options::DEFAULTS.accept_batch),
    };
    Ok((own, stream_options(&options.stream)))
}

/// Opens a listener and hands out its handle, which the caller may not want.
///
/// # Safety
/// `options` and `callbacks` are NULL or valid for as many bytes as their first fields say; `out` is NULL or valid to
/// write to.
unsafe fn open(
    handle: gyre_loop,
    options: *const gyre_listener_options,
    callbacks: *const gyre_stream_callbacks,
    out: *mut gyre_listener,
    act: impl FnOnce(&mut Core, Options, crate::sys::memory::Shared<stream::Setup>) -> Result<u64>,
) -> c_int {
    let opened = || {
        with_loop(handle, |core| {
            // SAFETY: by this function's contract.
            let (own, streams) = unsafe { read_options(options)? };
            // SAFETY: by this function's contract.
            let setup = unsafe { read_setup(callbacks, streams)? };
            act(core, own, setup).map(|bits| gyre_listener { bits })
        })
    };
    if out.is_null() {
        return code(opened().map(|_| ()));
    }
    // SAFETY: by this function's contract.
    unsafe { code_and_output(out, opened) }
}

/// Opens a listener: connections to the address are accepted and become streams, which are called back with the
/// listener's user_data until gyre_stream_set_user_data. The first callback of each is `on_open`.
///
/// A listener that finds no descriptor or no memory for a connection pauses and tries ten times a second, until there
/// is some; gyre_loop_stats counts such a time once, as accept_pauses, and gyre_loop_dump shows it while it lasts.
/// Connections that were aborted while they waited are skipped.
///
/// The file of a Unix socket is made by the listener, and removed by its close if it is still the same. One that a dead
/// server left behind, that is on which nobody listens, is replaced.
///
/// @param address "127.0.0.1:80", "[::1]:80" or "unix:/path"; numeric only. Port 0 takes a free one, which
/// gyre_listener_address tells. "0.0.0.0:80" and "[::]:80" stand for every interface, of IPv4 and IPv6 apart.
/// @param options how to open it, or NULL for the defaults.
/// @param callbacks what the streams tell; copied.
/// @param user_data what to call it with.
/// @param out receives the handle; may be NULL.
/// @return 0; -EINVAL for what is no address, `address` or `callbacks` NULL, a NULL on_data, a negative backlog, a bad
/// size, or non-zero bytes behind what this library knows; -ENAMETOOLONG for a path of more than 107 bytes;
/// -EADDRINUSE, also for a path where somebody listens, or where something else is; -EADDRNOTAVAIL, -EACCES, -ENOENT
/// and other statuses of bind(2); -EMFILE, -ENFILE; GYRE_EUNSUPPORTED for a descriptor that select cannot take;
/// GYRE_EFULL for more than 16,777,214 handles; -ENOMEM; or an error of the handle's.
///
/// Thread: the owner. Ownership: close it with gyre_listener_close.
///
/// # Safety
/// `address` is NULL or a C string; `options` and `callbacks` are NULL or valid for as many bytes as their size fields
/// say; the callbacks may be called with `user_data` until the listener is closed and its streams have ended; `out` is
/// NULL or valid to write to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gyre_listener_open(
    r#loop: gyre_loop,
    address: *const c_char,
    options: *const gyre_listener_options,
    callbacks: *const gyre_stream_callbacks,
    user_data: *mut c_void,
    out: *mut gyre_listener,
) -> c_int {
    let act = |core: &mut Core, own, setup| {
        if address.is_null() {
            return Err(Status::EINVAL);
        }
        // SAFETY: by this function's contract.
        let address = unsafe { CStr::from_ptr(address) };
        listener::open(core, address.to_bytes(), own, setup, UserData(user_data))
    };
    // SAFETY: by this function's contract.
    unsafe { open(r#loop, options, callbacks, out, act) }
}

/// Takes over a socket that listens already, as a service manager hands it to a program (socket activation). Else as
/// gyre_listener_open; backlog and reuse_port have no meaning, and no file is removed.
///
/// @param fd a stream socket in the listening state. It becomes non-blocking and close-on-exec.
/// @return as gyre_listener_open; also -EBADF; -ENOTSOCK; -EINVAL for a socket that does not listen or is of another
/// type; -EBUSY when it is a listener's already, or operations are in flight on it.
///
/// Thread: the owner. Ownership: on success the descriptor is the listener's, which closes it; else it stays the
/// caller's.
///
/// # Safety
/// As gyre_listener_open; nobody else closes the descriptor.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gyre_listener_adopt(
    r#loop: gyre_loop,
    fd: c_int,
    options: *const gyre_listener_options,
    callbacks: *const gyre_stream_callbacks,
    user_data: *mut c_void,
    out: *mut gyre_listener,
) -> c_int {
    let act = |core: &mut Core, own, setup| listener::adopt(core, fd, own, setup, UserData(user_data));
    // SAFETY: by this function's contract.
    unsafe { open(r#loop, options, callbacks, out, act) }
}

/// Tells the address that the listener listens on, with the port that was chosen for port 0.
///
/// @param buf receives the text and a NUL, cut to `len` bytes; may be NULL when `len` is 0. 128 bytes are enough.
/// @param len how many bytes `buf` has.
/// @return the length of the whole text without the NUL, as snprintf does; -EINVAL for `buf` NULL with `len`; the
/// status of getsockname(2); or an error of the handle's.
///
/// Thread: the owner.
///
/// # Safety
/// `buf` is NULL or valid to write `len` bytes to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gyre_listener_address(listener: gyre_listener, buf: *mut c_char, len: usize) -> c_int {
    let tell = |core: &mut Core, index| {
        // SAFETY: by this function's contract.
        unsafe { Text::fill(buf, len, |text| listener::address(core, index, text)) }
    };
    with_slot(listener.bits, Kind::Listener, tell).unwrap_or_else(Status::code)
}

/// The descriptor that is listened on. It stays the listener's.
///
/// @return the descriptor; -EBADF when somebody else has closed it; or an error of the handle's.
///
/// Thread: the owner.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_listener_fd(listener: gyre_listener) -> c_int {
    with_slot(listener.bits, Kind::Listener, listener::descriptor).unwrap_or_else(Status::code)
}

/// Closes a listener: nothing is accepted any more, and connections that were not accepted are gone. Its streams go on.
///
/// @return 0 or an error of the handle's.
///
/// Thread: the owner.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_listener_close(listener: gyre_listener) -> c_int {
    code(with_slot(listener.bits, Kind::Listener, |core, index| {
        listener::close(core, index);
        Ok(())
    }))
}

/// Chooses whether the listener, while active, keeps gyre_loop_run from returning; it does by default. What it accepts
/// is not concerned.
///
/// @param on 0 for no.
/// @return 0 or an error of the handle's.
///
/// Thread: the owner.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_listener_set_keepalive(listener: gyre_listener, on: c_int) -> c_int {
    set_keepalive(listener.bits, Kind::Listener, on)
}

/// The loop that the listener belongs to.
///
/// @param out receives the loop's handle.
/// @return 0; -EINVAL for `out` NULL; or an error of the handle's.
///
/// Thread: the owner.
///
/// # Safety
/// `out` is NULL or valid to write to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gyre_listener_loop(listener: gyre_listener, out: *mut gyre_loop) -> c_int {
    // SAFETY: by this function's contract.
    unsafe { loop_of(listener.bits, Kind::Listener, out) }
}

/// The pointer that the listener gives to the streams that it accepts.
///
/// @return the pointer; NULL for a bad handle and from other threads.
///
/// Thread: the owner.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_listener_user_data(listener: gyre_listener) -> *mut c_void {
    user_data(listener.bits, Kind::Listener)
}

/// Changes the pointer that the listener gives to the streams that it accepts, from the next stream on.
///
/// @return 0 or an error of the handle's.
///
/// Thread: the owner. Ownership: the pointer stays the caller's.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_listener_set_user_data(listener: gyre_listener, user_data: *mut c_void) -> c_int {
    set_user_data(listener.bits, Kind::Listener, user_data)
}
