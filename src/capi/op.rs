//! Operations: the proactor.

use super::{code, code_and_output, loop_of, set_keepalive, set_user_data, user_data, with_loop, with_slot};
use crate::event_loop::callback::{gyre_completion, gyre_op_cb};
use crate::event_loop::core::Core;
use crate::event_loop::handle::{gyre_buffer, gyre_loop, gyre_op};
use crate::event_loop::operations::Ask;
use crate::event_loop::slots::Kind;
use crate::proactor::Work;
use crate::status::{Result, Status};
use crate::sys::memory::UserData;
use core::ffi::{c_int, c_void};

/// The offset that means the file position, or none: for streams.
pub const GYRE_NO_OFFSET: i64 = -1;

/// In a completion's flags: a _many operation goes on.
pub const GYRE_MORE: u32 = 1;

/// For gyre_op_fsync: leave out metadata that no read needs (fdatasync).
pub const GYRE_DATA_ONLY: u32 = 1;

/// For gyre_op_send, beside MSG_*: complete when everything is sent.
pub const GYRE_SEND_ALL: c_int = 0x100;

/// Submits and hands out the handle, which the caller may not want.
///
/// # Safety
/// `out` is NULL or valid to write to.
unsafe fn submit(r#loop: gyre_loop, out: *mut gyre_op, act: impl FnOnce(&mut Core) -> Result<u64>) -> c_int {
    let submitted = || with_loop(r#loop, act).map(|bits| gyre_op { bits });
    if out.is_null() {
        return code(submitted().map(|_| ()));
    }
    // SAFETY: by this function's contract.
    unsafe { code_and_output(out, submitted) }
}

/// `-EINVAL` for a length that no call can return, or a buffer that is missing.
fn check_buffer(buf: *const c_void, len: usize) -> Result<()> {
    if len > isize::MAX as usize || (buf.is_null() && len > 0) { Err(Status::EINVAL) } else { Ok(()) }
}

fn check_pieces(iov: *const libc::iovec, count: c_int) -> Result<()> {
    if !(0..=libc::UIO_MAXIOV).contains(&count) || (iov.is_null() && count > 0) { Err(Status::EINVAL) } else { Ok(()) }
}

fn check_offset(offset: i64) -> Result<()> {
    if offset < GYRE_NO_OFFSET { Err(Status::EINVAL) } else { Ok(()) }
}

/// Reads from a file at an offset, or from a stream or the file position. Completes with the number of bytes, which may be
/// fewer than asked for; 0 is the end.
///
/// Reads and writes at an offset run at the same time and in any order. On a socket, a pipe, or with GYRE_NO_OFFSET they run
/// one after the other in the order of submission, reads and writes apart.
///
/// @param fd the descriptor; its flags stay as they are.
/// @param buf where to; the operation's until it completes, also after a cancel.
/// @param len bytes.
/// @param offset where in the file, or GYRE_NO_OFFSET.
/// @param callback what to call.
/// @param user_data what to call it with.
/// @param out receives the handle; may be NULL.
/// @return 0; -EINVAL for a NULL callback, `buf` NULL with `len`, a length above SSIZE_MAX, an offset below -1; -EBADF for what
/// is no open descriptor, or one that is being closed; -ESPIPE for an offset on what has none; -EBUSY beside a
/// gyre_op_recv_many; GYRE_EFULL when as many operations are in flight as the option op_capacity says, or 16,777,214 handles
/// are open; -ENOMEM; or an error of the handle's. After an error nothing was accepted.
///
/// Thread: the owner. Ownership: `buf` and the descriptor are the operation's until the callback; close the descriptor by
/// gyre_op_close_fd. Engines: files by the engine; sockets by io_uring when that was named; the rest by readiness.
///
/// # Safety
/// `buf` is valid for `len` bytes until the operation completes; `callback` may be called with `user_data` then; `out` is NULL or
/// valid to write to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gyre_op_read(
    r#loop: gyre_loop,
    fd: c_int,
    buf: *mut c_void,
    len: usize,
    offset: i64,
    callback: gyre_op_cb,
    user_data: *mut c_void,
    out: *mut gyre_op,
) -> c_int {
    let act = |core: &mut Core| {
        check_buffer(buf, len)?;
        check_offset(offset)?;
        core.op_open(fd, offset, Ask::File(Work::Read { buf: buf.cast(), len }), callback, UserData(user_data))
    };
    // SAFETY: by this function's contract.
    unsafe { submit(r#loop, out, act) }
}

/// Writes to a file at an offset, or to a stream or the file position. Completes with the number of bytes, which may be fewer
/// than asked for. Never raises SIGPIPE.
///
/// Parameters, statuses and order are those of gyre_op_read.
///
/// Thread: the owner. Ownership: `buf` is the operation's until the callback.
///
/// # Safety
/// As gyre_op_read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gyre_op_write(
    r#loop: gyre_loop,
    fd: c_int,
    buf: *const c_void,
    len: usize,
    offset: i64,
    callback: gyre_op_cb,
    user_data: *mut c_void,
    out: *mut gyre_op,
) -> c_int {
    let act = |core: &mut Core| {
        check_buffer(buf, len)?;
        check_offset(offset)?;
        core.op_open(fd, offset, Ask::File(Work::Write { buf: buf.cast(), len }), callback, UserData(user_data))
    };
    // SAFETY: by this function's contract.
    unsafe { submit(r#loop, out, act) }
}

/// As gyre_op_read, into several pieces: preadv(2), readv(2).
///
/// @param iov the pieces; they and what they point to are the operation's until it completes.
/// @param count how many: 0 to IOV_MAX (1024), else -EINVAL.
/// @return as gyre_op_read.
///
/// Thread: the owner.
///
/// # Safety
/// As gyre_op_read, for the pieces and the array.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gyre_op_readv(
    r#loop: gyre_loop,
    fd: c_int,
    iov: *const libc::iovec,
    count: c_int,
    offset: i64,
    callback: gyre_op_cb,
    user_data: *mut c_void,
    out: *mut gyre_op,
) -> c_int {
    let act = |core: &mut Core| {
        check_pieces(iov, count)?;
        check_offset(offset)?;
        core.op_open(fd, offset, Ask::File(Work::Readv { iov, count }), callback, UserData(user_data))
    };
    // SAFETY: by this function's contract.
    unsafe { submit(r#loop, out, act) }
}

/// As gyre_op_write, from several pieces: pwritev(2), writev(2).
///
/// @param iov the pieces; they and what they point to are the operation's until it completes.
/// @param count how many: 0 to IOV_MAX (1024), else -EINVAL.
/// @return as gyre_op_read.
///
/// Thread: the owner.
///
/// # Safety
/// As gyre_op_read, for the pieces and the array.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gyre_op_writev(
    r#loop: gyre_loop,
    fd: c_int,
    iov: *const libc::iovec,
    count: c_int,
    offset: i64,
    callback: gyre_op_cb,
    user_data: *mut c_void,
    out: *mut gyre_op,
) -> c_int {
    let act = |core: &mut Core| {
        check_pieces(iov, count)?;
        check_offset(offset)?;
        core.op_open(fd, offset, Ask::File(Work::Writev { iov, count }), callback, UserData(user_data))
    };
    // SAFETY: by this function's contract.
    unsafe { submit(r#loop, out, act) }
}

/// Receives from a socket: recv(2). Completes with the number of bytes; 0 is the end of the stream.
///
/// @param buf where to; the operation's until it completes, also after a cancel.
/// @param flags MSG_* of recv(2).
/// @return as gyre_op_read; what is no socket completes with -ENOTSOCK.
///
/// Thread: the owner.
///
/// # Safety
/// As gyre_op_read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gyre_op_recv(
    r#loop: gyre_loop,
    fd: c_int,
    buf: *mut c_void,
    len: usize,
    flags: c_int,
    callback: gyre_op_cb,
    user_data: *mut c_void,
    out: *mut gyre_op,
) -> c_int {
    let act = |core: &mut Core| {
        check_buffer(buf, len)?;
        core.op_open(fd, -1, Ask::Recv { buf: buf.cast(), len, flags }, callback, UserData(user_data))
    };
    // SAFETY: by this function's contract.
    unsafe { submit(r#loop, out, act) }
}

/// Sends on a socket: send(2). Completes with the number of bytes, which may be fewer than asked for unless `flags` holds
/// GYRE_SEND_ALL; several sends behind each other want that, for a short one does not stop the next. A cancelled
/// GYRE_SEND_ALL that has sent something completes with what it has sent. Never raises SIGPIPE.
///
/// @param buf where from; the operation's until it completes, also after a cancel.
/// @param flags MSG_* of send(2), and GYRE_SEND_ALL.
/// @return as gyre_op_read; what is no socket completes with -ENOTSOCK.
///
/// Thread: the owner.
///
/// # Safety
/// As gyre_op_read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gyre_op_send(
    r#loop: gyre_loop,
    fd: c_int,
    buf: *const c_void,
    len: usize,
    flags: c_int,
    callback: gyre_op_cb,
    user_data: *mut c_void,
    out: *mut gyre_op,
) -> c_int {
    let act = |core: &mut Core| {
        check_buffer(buf, len)?;
        let (all, flags) = (flags & GYRE_SEND_ALL != 0, flags & !GYRE_SEND_ALL);
        core.op_open(fd, -1, Ask::Send { buf: buf.cast(), len, flags, all }, callback, UserData(user_data))
    };
    // SAFETY: by this function's contract.
    unsafe { submit(r#loop, out, act) }
}

/// Receives a message from a socket: recvmsg(2).
///
/// @param msg the message; it and what it points to are the operation's until it completes.
/// @param flags MSG_* of recvmsg(2).
/// @return as gyre_op_read; -EINVAL for `msg` NULL.
///
/// Thread: the owner.
///
/// # Safety
/// As gyre_op_read, for the message and what it points to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gyre_op_recvmsg(
    r#loop: gyre_loop,
    fd: c_int,
    msg: *mut libc::msghdr,
    flags: c_int,
    callback: gyre_op_cb,
    user_data: *mut c_void,
    out: *mut gyre_op,
) -> c_int {
    let act = |core: &mut Core| {
        if msg.is_null() {
            return Err(Status::EINVAL);
        }
        core.op_open(fd, -1, Ask::RecvMessage { message: msg, flags }, callback, UserData(user_data))
    };
    // SAFETY: by this function's contract.
    unsafe { submit(r#loop, out, act) }
}

/// Sends a message on a socket: sendmsg(2). Never raises SIGPIPE.
///
/// @param msg the message; it and what it points to are the operation's until it completes.
/// @param flags MSG_* of sendmsg(2).
/// @return as gyre_op_read; -EINVAL for `msg` NULL.
///
/// Thread: the owner.
///
/// # Safety
/// As gyre_op_read, for the message and what it points to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gyre_op_sendmsg(
    r#loop: gyre_loop,
    fd: c_int,
    msg: *const libc::msghdr,
    flags: c_int,
    callback: gyre_op_cb,
    user_data: *mut c_void,
    out: *mut gyre_op,
) -> c_int {
    let act = |core: &mut Core| {
        if msg.is_null() {
            return Err(Status::EINVAL);
        }
        core.op_open(fd, -1, Ask::SendMessage { message: msg, flags }, callback, UserData(user_data))
    };
    // SAFETY: by this function's contract.
    unsafe { submit(r#loop, out, act) }
}

/// Accepts one connection: accept4(2). Completes with its descriptor, non-blocking and close-on-exec, which is the caller's, and
/// shows the peer's address in the completion. A connection that was aborted in the queue is skipped.
///
/// @return as gyre_op_read.
///
/// Thread: the owner. Ownership: the new descriptor is the caller's.
///
/// # Safety
/// `callback` may be called with `user_data` when the operation completes; `out` is NULL or valid to write to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gyre_op_accept(
    r#loop: gyre_loop,
    fd: c_int,
    callback: gyre_op_cb,
    user_data: *mut c_void,
    out: *mut gyre_op,
) -> c_int {
    let act = |core: &mut Core| core.op_open(fd, -1, Ask::Accept, callback, UserData(user_data));
    // SAFETY: by this function's contract.
    unsafe { submit(r#loop, out, act) }
}

/// Connects a socket: connect(2). Completes with 0 or the error. The socket must be non-blocking.
///
/// @param addr the address; the operation's until it completes.
/// @param len its length.
/// @return as gyre_op_read; -EINVAL for `addr` NULL or a blocking socket.
///
/// Thread: the owner.
///
/// # Safety
/// `addr` is valid for `len` bytes until the operation completes; the rest as gyre_op_accept.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gyre_op_connect(
    r#loop: gyre_loop,
    fd: c_int,
    addr: *const libc::sockaddr,
    len: libc::socklen_t,
    callback: gyre_op_cb,
    user_data: *mut c_void,
    out: *mut gyre_op,
) -> c_int {
    let act = |core: &mut Core| {
        if addr.is_null() {
            return Err(Status::EINVAL);
        }
        core.op_open(fd, -1, Ask::Connect { address: addr, len }, callback, UserData(user_data))
    };
    // SAFETY: by this function's contract.
    unsafe { submit(r#loop, out, act) }
}

/// Closes a descriptor after what is pending on it has been cancelled and has ended. From now on operations on the number are
/// -EBADF. Completes with 0 or the error of close(2); cannot be cancelled.
///
/// @return as gyre_op_read; -EBUSY while watchers are open on the descriptor.
///
/// Thread: the owner. Ownership: the descriptor is the operation's; its number may be given out again before the callback.
///
/// # Safety
/// As gyre_op_accept; and nobody else uses the descriptor any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gyre_op_close_fd(
    r#loop: gyre_loop,
    fd: c_int,
    callback: gyre_op_cb,
    user_data: *mut c_void,
    out: *mut gyre_op,
) -> c_int {
    let act = |core: &mut Core| core.op_close_fd(fd, callback, UserData(user_data));
    // SAFETY: by this function's contract.
    unsafe { submit(r#loop, out, act) }
}

/// Writes a file's data to the disk: fsync(2). Completes with 0 or the error. Covers writes that have completed before.
///
/// @param flags GYRE_DATA_ONLY, or 0.
/// @return as gyre_op_read; -EINVAL for other flags.
///
/// Thread: the owner.
///
/// # Safety
/// As gyre_op_accept.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gyre_op_fsync(
    r#loop: gyre_loop,
    fd: c_int,
    flags: u32,
    callback: gyre_op_cb,
    user_data: *mut c_void,
    out: *mut gyre_op,
) -> c_int {
    let act = |core: &mut Core| {
        if flags & !GYRE_DATA_ONLY != 0 {
            return Err(Status::EINVAL);
        }
        let work = Work::Sync { data_only: flags & GYRE_DATA_ONLY != 0 };
        core.op_open(fd, -1, Ask::File(work), callback, UserData(user_data))
    };
    // SAFETY: by this function's contract.
    unsafe { submit(r#loop, out, act) }
}

/// Completes with 0 after a time: a timer in the shape of an operation.
///
/// @param delay_ns nanoseconds; GYRE_FOREVER only ends by a cancel.
/// @return as gyre_op_read.
///
/// Thread: the owner.
///
/// # Safety
/// As gyre_op_accept.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gyre_op_sleep(
    r#loop: gyre_loop,
    delay_ns: u64,
    callback: gyre_op_cb,
    user_data: *mut c_void,
    out: *mut gyre_op,
) -> c_int {
    let act = |core: &mut Core| core.op_sleep(delay_ns, callback, UserData(user_data));
    // SAFETY: by this function's contract.
    unsafe { submit(r#loop, out, act) }
}

/// Accepts connections until it is cancelled or fails. Each is told with GYRE_MORE; the last completion, without it, tells the
/// end: an error (-EMFILE among them) or -ECANCELED.
///
/// @return as gyre_op_read; -EBUSY beside other accepts on the descriptor.
///
/// Thread: the owner. Ownership: the new descriptors are the caller's.
///
/// # Safety
/// As gyre_op_accept; the callback is called any number of times.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gyre_op_accept_many(
    r#loop: gyre_loop,
    fd: c_int,
    callback: gyre_op_cb,
    user_data: *mut c_void,
    out: *mut gyre_op,
) -> c_int {
    let act = |core: &mut Core| core.op_open(fd, -1, Ask::AcceptMany, callback, UserData(user_data));
    // SAFETY: by this function's contract.
    unsafe { submit(r#loop, out, act) }
}

/// Receives from a socket until the end of the stream, into buffers of the library's. Each piece is told with GYRE_MORE, and is
/// valid during the callback, or until gyre_buffer_release if gyre_buffer_hold keeps it; the last completion, without GYRE_MORE, is
/// 0 for the end of the stream, an error or -ECANCELED. A connection without data holds no buffer; when all are held, it
/// waits for one.
///
/// @return as gyre_op_read; -EBUSY beside other receives on the descriptor.
///
/// Thread: the owner.
///
/// # Safety
/// As gyre_op_accept; the callback is called any number of times.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gyre_op_recv_many(
    r#loop: gyre_loop,
    fd: c_int,
    callback: gyre_op_cb,
    user_data: *mut c_void,
    out: *mut gyre_op,
) -> c_int {
    let act = |core: &mut Core| core.op_open(fd, -1, Ask::ReceiveMany, callback, UserData(user_data));
    // SAFETY: by this function's contract.
    unsafe { submit(r#loop, out, act) }
}

/// Stops a _many operation from taking more, so that what the peer sends stays with the kernel. A paused one does not keep the
/// loop alive.
///
/// @return 0; -EINVAL for an operation of another kind; or an error of the handle's.
///
/// Thread: the owner.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_op_pause(op: gyre_op) -> c_int {
    code(with_slot(op.bits, Kind::Op, |core, index| core.op_pause(index, true)))
}

/// Lets a paused _many operation go on.
///
/// @return 0; -EINVAL for an operation of another kind; or an error of the handle's.
///
/// Thread: the owner.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_op_resume(op: gyre_op) -> c_int {
    code(with_slot(op.bits, Kind::Op, |core, index| core.op_pause(index, false)))
}

/// Asks for an operation not to be carried out. Its completion comes all the same, once: with -ECANCELED, or with the real result
/// when it was quicker. Until then its buffer is not the caller's.
///
/// @return 0, also the second time; GYRE_EHANDLE for what has completed; -EALREADY for gyre_op_close_fd; or another error of
/// the handle's.
///
/// Thread: the owner.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_op_cancel(op: gyre_op) -> c_int {
    code(with_slot(op.bits, Kind::Op, |core, index| core.op_cancel(index, Status::ECANCELED)))
}

/// Sets a deadline for an operation, all of a _many one: at the deadline it is asked to end, and completes with -ETIMEDOUT, or with
/// the real result when that was quicker. File I/O that the kernel has begun is not bounded by it.
///
/// @param timeout_ns nanoseconds from now; 0 clears the deadline.
/// @return 0; -EINVAL for a sleep or a close; GYRE_EHANDLE for what has completed; -ENOMEM; or another error of the handle's.
///
/// Thread: the owner.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_op_timeout(op: gyre_op, timeout_ns: u64) -> c_int {
    code(with_slot(op.bits, Kind::Op, |core, index| core.op_timeout(index, timeout_ns)))
}

/// Keeps the buffer of a gyre_op_recv_many past the callback that it was shown to. It counts against the pool until it is released.
///
/// @param done the completion, as it came.
/// @param out receives the buffer's handle; its bytes stay where `done->buf` says.
/// @return 0; -EINVAL for `done` or `out` NULL, outside that callback, a second time, or without a buffer of the library's;
/// GYRE_EFULL, -ENOMEM; or an error of the operation's handle.
///
/// Thread: the owner. Ownership: give it back with gyre_buffer_release; closing the loop frees it.
///
/// # Safety
/// `done` is NULL or points to a completion; `out` is NULL or valid to write to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gyre_buffer_hold(done: *const gyre_completion, out: *mut gyre_buffer) -> c_int {
    // SAFETY: NULL or valid, by this function's contract.
    let Some(done) = (unsafe { done.as_ref() }) else { return Status::EINVAL.code() };
    let hold = || {
        if out.is_null() {
            return Err(Status::EINVAL);
        }
        let hold = |core: &mut Core, _| core.buffer_hold(done.op.bits, done.buf.cast());
        with_slot(done.op.bits, Kind::Op, hold).map(|bits| gyre_buffer { bits })
    };
    // SAFETY: by this function's contract.
    unsafe { code_and_output(out, hold) }
}

/// Gives a buffer back.
///
/// @return 0 or an error of the handle's.
///
/// Thread: the owner.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_buffer_release(buffer: gyre_buffer) -> c_int {
    code(with_slot(buffer.bits, Kind::Buffer, |core, index| {
        core.buffer_release(index);
        Ok(())
    }))
}

/// Chooses whether the operation, while active, keeps gyre_loop_run from returning; it does by default.
///
/// @param on 0 for no.
/// @return 0 or an error of the handle's.
///
/// Thread: the owner.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_op_set_keepalive(op: gyre_op, on: c_int) -> c_int {
    set_keepalive(op.bits, Kind::Op, on)
}

/// The loop that the operation belongs to.
///
/// @param out receives the loop's handle.
/// @return 0; -EINVAL for `out` NULL; or an error of the handle's.
///
/// Thread: the owner.
///
/// # Safety
/// `out` is NULL or valid to write to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gyre_op_loop(op: gyre_op, out: *mut gyre_loop) -> c_int {
    // SAFETY: by this function's contract.
    unsafe { loop_of(op.bits, Kind::Op, out) }
}

/// The pointer that the operation calls back with.
///
/// @return the pointer; NULL for a bad handle and from other threads.
///
/// Thread: the owner.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_op_user_data(op: gyre_op) -> *mut c_void {
    user_data(op.bits, Kind::Op)
}

/// Changes the pointer that the operation calls back with, from the next callback on.
///
/// @return 0 or an error of the handle's.
///
/// Thread: the owner. Ownership: the pointer stays the caller's.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_op_set_user_data(op: gyre_op, user_data: *mut c_void) -> c_int {
    set_user_data(op.bits, Kind::Op, user_data)
}
