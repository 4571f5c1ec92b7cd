//! Streams.

use super::{
    Text, code, code_and_output, loop_of, read_sized, set_keepalive, set_user_data, user_data, with_loop, with_slot,
};
use crate::event_loop::core::Core;
use crate::event_loop::handle::{gyre_loop, gyre_stream};
use crate::event_loop::slots::Kind;
use crate::net::address::parse_list;
use crate::net::callback::{gyre_release_cb, gyre_stream_callbacks};
use crate::net::stream::{self, Options, Setup};
use crate::status::{Result, Status};
use crate::sys::memory::{Shared, UserData};
use core::ffi::{CStr, c_char, c_int, c_void};

/// The bounds and deadlines of a stream. Set `size` to sizeof(gyre_stream_options) and the rest to zero, which is the
/// default of every field. GYRE_FOREVER is no deadline, SIZE_MAX no bound.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct gyre_stream_options {
    /// sizeof(gyre_stream_options).
    pub size: usize,
    /// How many bytes may wait to be sent; default 1 MiB.
    pub write_limit: usize,
    /// How many bytes that on_data did not consume are kept, and the most that it is shown at once; default 1 MiB. When
    /// so many are there and it still consumes nothing, the stream ends with -EMSGSIZE.
    pub max_input: usize,
    /// How long connecting may take, for each address; default 30 s. Then -ETIMEDOUT.
    pub connect_ns: u64,
    /// How long on_data may consume nothing, and nothing be sent; default 120 s. Then -ETIMEDOUT. A peer that sends a
    /// message in ever smaller bits does not keep the stream open. Does not count while the stream is paused, or output
    /// waits.
    pub idle_ns: u64,
    /// How long nothing of the output that waits may be sent; default 30 s. Then -ETIMEDOUT, by a reset.
    pub write_stall_ns: u64,
    /// How long gyre_stream_close may take; default 5 s. Then -ETIMEDOUT, by a reset.
    pub close_ns: u64,
    /// Not 0: probes idle connections (SO_KEEPALIVE).
    pub keepalive: c_int,
    /// Not 0: leaves the delay of small segments on (no TCP_NODELAY).
    pub delay: c_int,
}

/// What the options mean.
pub(super) fn stream_options(options: &gyre_stream_options) -> Options {
    let or = |value: u64, default: u64| if value == 0 { default } else { value };
    let or_bytes = |value: usize, default: usize| if value == 0 { default } else { value };
    let defaults = Options::DEFAULTS;
    Options {
        write_limit: or_bytes(options.write_limit, defaults.write_limit),
        max_input: or_bytes(options.max_input, defaults.max_input),
        connect_ns: or(options.connect_ns, defaults.connect_ns),
        idle_ns: or(options.idle_ns, defaults.idle_ns),
        write_stall_ns: or(options.write_stall_ns, defaults.write_stall_ns),
        close_ns: or(options.close_ns, defaults.close_ns),
        keepalive: options.keepalive != 0,
        delay: options.delay != 0,
    }
}

/// Reads the callbacks, and puts them together with the options.
///
/// # Safety
/// `callbacks` is NULL, or valid for as many bytes as its first field says.
pub(super) unsafe fn read_setup(callbacks: *const gyre_stream_callbacks, options: Options) -> Result<Shared<Setup>> {
    if callbacks.is_null() {
        return Err(Status::EINVAL);
    }
    // SAFETY: by this function's contract.
    let callbacks = unsafe { read_sized(callbacks)? };
    if callbacks.on_data.is_none() {
        return Err(Status::EINVAL);
    }
    Shared::new(Setup { callbacks, options })
}

/// Makes a stream and hands out its handle, which the caller may not want.
///
/// # Safety
/// `options` and `callbacks` are NULL or valid for as many bytes as their first fields say; `out` is NULL or valid to
/// write to.
unsafe fn open(
    handle: gyre_loop,
    options: *const gyre_stream_options,
    callbacks: *const gyre_stream_callbacks,
    out: *mut gyre_stream,
    act: impl FnOnce(&mut Core, Shared<Setup>) -> Result<u64>,
) -> c_int {
    let opened = || {
        with_loop(handle, |core| {
            let options = match options.is_null() {
                true => Options::DEFAULTS,
                // SAFETY: by this function's contract.
                false => stream_options(&unsafe { read_sized(options)? }),
            };
            // SAFETY: by this function's contract.
            let setup = unsafe { read_setup(callbacks, options)? };
            act(core, setup).map(|bits| gyre_stream { bits })
        })
    };
    if out.is_null() {
        return code(opened().map(|_| ()));
    }
    // SAFETY: by this function's contract.
    unsafe { code_and_output(out, opened) }
}

/// Makes a stream that connects. `on_open` tells that it has; what is written before that is sent then. When no address
/// can be connected to, `on_close` comes alone, with the status of the last one: -ECONNREFUSED, -ETIMEDOUT, -ENOENT and
/// so on.
///
/// @param address "127.0.0.1:80", "[::1]:80" or "unix:/path"; numeric only. Several with commas between them are tried
/// in turn; a path has no comma here.
/// @param options its bounds and deadlines, or NULL for the defaults.
/// @param callbacks what it tells; copied.
/// @param user_data what to call it with.
/// @param out receives the handle; may be NULL.
/// @return 0; -EINVAL for what is no address, more than 64 of them, `address` or `callbacks` NULL, a NULL on_data, a
/// bad size, or non-zero bytes behind what this library knows; -ENAMETOOLONG for a path of more than 107 bytes;
/// -EMFILE, -ENFILE, -ENOBUFS; GYRE_EUNSUPPORTED for a descriptor that select cannot take; GYRE_EFULL for more than
/// 16,777,214 handles; -ENOMEM; or an error of the handle's. After an error no callback comes.
///
/// Thread: the owner. Ownership: it ends by gyre_stream_close, gyre_stream_abort or by itself; `on_close` tells.
///
/// # Safety
/// `address` is NULL or a C string; `options` and `callbacks` are NULL or valid for as many bytes as their size fields
/// say; the callbacks may be called with `user_data` until `on_close`; `out` is NULL or valid to write to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gyre_stream_connect(
    r#loop: gyre_loop,
    address: *const c_char,
    options: *const gyre_stream_options,
    callbacks: *const gyre_stream_callbacks,
    user_data: *mut c_void,
    out: *mut gyre_stream,
) -> c_int {
    let act = |core: &mut Core, setup| {
        if address.is_null() {
            return Err(Status::EINVAL);
        }
        // SAFETY: by this function's contract.
        let addresses = parse_list(unsafe { CStr::from_ptr(address) }.to_bytes())?;
        stream::connect(core, addresses, setup, UserData(user_data))
    };
    // SAFETY: by this function's contract.
    unsafe { open(r#loop, options, callbacks, out, act) }
}

/// Makes a stream of a connected socket: one that was accepted elsewhere, or half of a socketpair. `on_open` comes in
/// the next turn.
///
/// @param fd a connected stream socket. It becomes non-blocking and close-on-exec.
/// @return as gyre_stream_connect; also -EBADF; -ENOTSOCK; -EINVAL for a socket of another type, or one that listens;
/// -ENOTCONN; -EBUSY when it is a stream's already, or operations are in flight on it.
///
/// Thread: the owner. Ownership: on success the descriptor is the stream's, which closes it; else it stays the
/// caller's.
///
/// # Safety
/// As gyre_stream_connect; nobody else closes the descriptor.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gyre_stream_adopt(
    r#loop: gyre_loop,
    fd: c_int,
    options: *const gyre_stream_options,
    callbacks: *const gyre_stream_callbacks,
    user_data: *mut c_void,
    out: *mut gyre_stream,
) -> c_int {
    let act = |core: &mut Core, setup| stream::adopt(core, fd, setup, UserData(user_data));
    // SAFETY: by this function's contract.
    unsafe { open(r#loop, options, callbacks, out, act) }
}

/// Sends bytes, all or none: what the socket does not take at once is copied and sent when it does. Writes go out in
/// their order.
///
/// @param data the bytes; the caller's again when this returns.
/// @param len how many.
/// @return 0 when all were taken; GYRE_EFULL when what waits would be more than write_limit: nothing was taken, and
/// `on_drain` tells when to try again; -EMSGSIZE for more than write_limit at once; -EINVAL for `data` NULL with `len`,
/// or a length above SSIZE_MAX; -EPIPE after gyre_stream_shutdown; GYRE_EHANDLE after gyre_stream_close or
/// gyre_stream_abort; -ENOMEM; the status of send(2) when the connection is gone, and `on_close` follows with it; or an
/// error of the handle's.
///
/// Thread: the owner.
///
/// # Safety
/// `data` is NULL or valid for `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gyre_stream_write(stream: gyre_stream, data: *const c_void, len: usize) -> c_int {
    code(with_slot(stream.bits, Kind::Stream, |core, index| {
        // SAFETY: by this function's contract.
        let bytes = unsafe { slice(data, len)? };
        stream::write(core, index, core::iter::once(bytes), len)
    }))
}

/// Sends several pieces as one: all or none of them. Else as gyre_stream_write.
///
/// @param iov the pieces.
/// @param count how many; at most IOV_MAX.
/// @return as gyre_stream_write; -EINVAL for a bad count or piece.
///
/// Thread: the owner.
///
/// # Safety
/// `iov` is NULL or valid for `count` pieces, and each of them for its length.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gyre_stream_writev(stream: gyre_stream, iov: *const libc::iovec, count: c_int) -> c_int {
    code(with_slot(stream.bits, Kind::Stream, |core, index| {
        let bad = !(0..=libc::UIO_MAXIOV).contains(&count) || (iov.is_null() && count > 0);
        if bad {
            return Err(Status::EINVAL);
        }
        let pieces = match count {
            0 => &[],
            // SAFETY: not NULL, and valid by this function's contract.
            _ => unsafe { core::slice::from_raw_parts(iov, count as usize) },
        };
        let mut len = 0usize;
        for piece in pieces {
            // SAFETY: by this function's contract.
            len = len.saturating_add(unsafe { slice(piece.iov_base, piece.iov_len)? }.len());
        }
        if len > isize::MAX as usize {
            return Err(Status::EINVAL);
        }
        // SAFETY: each was looked at above.
        let slices = pieces.iter().map(|piece| unsafe { slice(piece.iov_base, piece.iov_len) }.unwrap_or_default());
        stream::write(core, index, slices, len)
    }))
}

/// # Safety
/// `data` is NULL or valid for `len` bytes for as long as the slice lives.
unsafe fn slice<'a>(data: *const c_void, len: usize) -> Result<&'a [u8]> {
    if len > isize::MAX as usize || (data.is_null() && len > 0) {
        return Err(Status::EINVAL);
    }
    if len == 0 {
        return Ok(&[]);
    }
    // SAFETY: not NULL, and valid by this function's contract.
    Ok(unsafe { core::slice::from_raw_parts(data.cast::<u8>(), len) })
}

/// Sends a buffer without copying it: it is the stream's until `release` is called, which happens once, on the loop's
/// thread, never inside this call, and before `on_close`; also for a stream that fails, and when the loop is closed.
///
/// @param data the bytes, which nobody may change until then.
/// @param len how many.
/// @param release what gives the buffer back.
/// @param arg what to call it with.
/// @return as gyre_stream_write, and -EINVAL for a NULL release. After an error the buffer is still the caller's, and
/// `release` is not called.
///
/// Thread: the owner. Ownership: `data` is the stream's until `release`.
///
/// # Safety
/// `data` is NULL or valid for `len` bytes until `release` is called; `release` may be called with `arg`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gyre_stream_write_owned(
    stream: gyre_stream,
    data: *const c_void,
    len: usize,
    release: gyre_release_cb,
    arg: *mut c_void,
) -> c_int {
    code(with_slot(stream.bits, Kind::Stream, |core, index| {
        if len > isize::MAX as usize || (data.is_null() && len > 0) {
            return Err(Status::EINVAL);
        }
        stream::write_lent(core, index, stream::lent(data.cast(), len, release, UserData(arg))?)
    }))
}

/// Withholds what comes, also the end of the stream, until gyre_stream_resume: backpressure. What was not consumed is
/// kept; the peer can send only as much more as the kernel's buffers take. A paused stream that has nothing to send
/// does not keep the loop alive, and is not idle for its deadline.
///
/// @return 0, also when it is paused; or an error of the handle's. GYRE_EHANDLE after gyre_stream_close.
///
/// Thread: the owner.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_stream_pause(stream: gyre_stream) -> c_int {
    code(with_slot(stream.bits, Kind::Stream, stream::pause))
}

/// Ends a pause: what was kept is shown in the next turn, without waiting for more, and then what has come.
///
/// @return 0, also when it is not paused; or an error of the handle's. GYRE_EHANDLE after gyre_stream_close.
///
/// Thread: the owner.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_stream_resume(stream: gyre_stream) -> c_int {
    code(with_slot(stream.bits, Kind::Stream, stream::resume))
}

/// Tells the peer that nothing more comes, once what waits is sent. What the peer sends goes on to be told; when that
/// has come to its end too, the stream ends with status 0.
///
/// @return 0; -EALREADY the second time; GYRE_EHANDLE after gyre_stream_close; or an error of the handle's.
///
/// Thread: the owner.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_stream_shutdown(stream: gyre_stream) -> c_int {
    code(with_slot(stream.bits, Kind::Stream, stream::shut_down))
}

/// Ends a stream in order: nothing more is shown, what waits is sent, within close_ns, and then `on_close` comes, with
/// status 0. When the peer is in the middle of sending, what it sends is dropped until it has ended, within close_ns
/// too, for else the kernel would reset the connection and the peer might lose the last bytes.
///
/// Until `on_close` the handle serves gyre_stream_abort, gyre_stream_pending and the functions that tell something; all
/// else is GYRE_EHANDLE.
///
/// @return 0; GYRE_EHANDLE the second time; or an error of the handle's.
///
/// Thread: the owner.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_stream_close(stream: gyre_stream) -> c_int {
    code(with_slot(stream.bits, Kind::Stream, stream::close))
}

/// Ends a stream at once: the connection is reset, and what waits is not sent. `on_close` comes with -ECONNABORTED.
///
/// @return 0, also after gyre_stream_close; GYRE_EHANDLE the second time; or an error of the handle's.
///
/// Thread: the owner.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_stream_abort(stream: gyre_stream) -> c_int {
    code(with_slot(stream.bits, Kind::Stream, stream::abort))
}

/// Tells the peer's address.
///
/// @param buf receives the text and a NUL, cut to `len` bytes; may be NULL when `len` is 0. 128 bytes are enough. A
/// Unix socket without a name is "unix:".
/// @param len how many bytes `buf` has.
/// @return the length of the whole text without the NUL, as snprintf does; -EINVAL for `buf` NULL with `len`; -ENOTCONN
/// before it is connected, or when the connection is gone; or an error of the handle's.
///
/// Thread: the owner.
///
/// # Safety
/// `buf` is NULL or valid to write `len` bytes to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gyre_stream_peer(stream: gyre_stream, buf: *mut c_char, len: usize) -> c_int {
    let tell = |core: &mut Core, index| {
        // SAFETY: by this function's contract.
        unsafe { Text::fill(buf, len, |text| stream::peer(core, index, text)) }
    };
    with_slot(stream.bits, Kind::Stream, tell).unwrap_or_else(Status::code)
}

/// Tells the stream's own address; as gyre_stream_peer.
///
/// @param buf receives the text and a NUL, cut to `len` bytes; may be NULL when `len` is 0.
/// @param len how many bytes `buf` has.
/// @return as gyre_stream_peer.
///
/// Thread: the owner.
///
/// # Safety
/// `buf` is NULL or valid to write `len` bytes to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gyre_stream_local(stream: gyre_stream, buf: *mut c_char, len: usize) -> c_int {
    let tell = |core: &mut Core, index| {
        // SAFETY: by this function's contract.
        unsafe { Text::fill(buf, len, |text| stream::local(core, index, text)) }
    };
    with_slot(stream.bits, Kind::Stream, tell).unwrap_or_else(Status::code)
}

/// The descriptor, for getsockopt(2) and the like. It stays the stream's: do not read, write or close it.
///
/// @return the descriptor; -ENOTCONN while there is none; or an error of the handle's.
///
/// Thread: the owner.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_stream_fd(stream: gyre_stream) -> c_int {
    with_slot(stream.bits, Kind::Stream, stream::descriptor).unwrap_or_else(Status::code)
}

/// How many bytes still wait to be sent.
///
/// @return the number or an error of the handle's.
///
/// Thread: the owner.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_stream_pending(stream: gyre_stream) -> i64 {
    number(with_slot(stream.bits, Kind::Stream, stream::pending))
}

/// How many bytes were received from the peer since the stream was made.
///
/// @return the number or an error of the handle's.
///
/// Thread: the owner.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_stream_received(stream: gyre_stream) -> i64 {
    number(with_slot(stream.bits, Kind::Stream, stream::received))
}

/// How many bytes the kernel has taken to be sent to the peer since the stream was made.
///
/// @return the number or an error of the handle's.
///
/// Thread: the owner.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_stream_sent(stream: gyre_stream) -> i64 {
    number(with_slot(stream.bits, Kind::Stream, stream::sent))
}

fn number(result: Result<u64>) -> i64 {
    result.map_or_else(|status| i64::from(status.code()), |bytes| i64::try_from(bytes).unwrap_or(i64::MAX))
}

/// Chooses whether the stream, while active, keeps gyre_loop_run from returning; it does by default.
///
/// @param on 0 for no.
/// @return 0 or an error of the handle's.
///
/// Thread: the owner.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_stream_set_keepalive(stream: gyre_stream, on: c_int) -> c_int {
    set_keepalive(stream.bits, Kind::Stream, on)
}

/// The loop that the stream belongs to.
///
/// @param out receives the loop's handle.
/// @return 0; -EINVAL for `out` NULL; or an error of the handle's.
///
/// Thread: the owner.
///
/// # Safety
/// `out` is NULL or valid to write to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gyre_stream_loop(stream: gyre_stream, out: *mut gyre_loop) -> c_int {
    // SAFETY: by this function's contract.
    unsafe { loop_of(stream.bits, Kind::Stream, out) }
}

/// The pointer that the stream calls back with.
///
/// @return the pointer; NULL for a bad handle and from other threads.
///
/// Thread: the owner.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_stream_user_data(stream: gyre_stream) -> *mut c_void {
    user_data(stream.bits, Kind::Stream)
}

/// Changes the pointer that the stream calls back with, from the next callback on.
///
/// @return 0 or an error of the handle's.
///
/// Thread: the owner. Ownership: the pointer stays the caller's.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_stream_set_user_data(stream: gyre_stream, user_data: *mut c_void) -> c_int {
    set_user_data(stream.bits, Kind::Stream, user_data)
}
