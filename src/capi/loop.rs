//! Loops: open, close, run, and what other threads may do.

use super::{
    MAX_SIZE, Text, code, code_and_output, leave_thread, open_loop, owned, read_sized, require, run_code, with_loop,
};
use crate::event_loop::callback::gyre_post_cb;
use crate::event_loop::handle::{gyre_loop, place_of};
use crate::event_loop::place::{Post, place};
use crate::event_loop::{Loop, RunMode, Settings};
use crate::proactor::{AioSettings, MOST_LENT, Notify};
use crate::status::{Result, Status};
use crate::sys::memory::UserData;
use core::ffi::{c_char, c_int, c_void};
use core::mem::offset_of;

/// Which demultiplexer a loop waits with.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum gyre_backend {
    /// The best one there is, or the one that the environment variable GYRE_BACKEND names: epoll, poll or select.
    GYRE_BACKEND_AUTO = 0,
    /// epoll(7): any number of descriptors.
    GYRE_BACKEND_EPOLL = 1,
    /// poll(2): a few hundred descriptors; no GYRE_EDGE, no gyre_loop_fd.
    GYRE_BACKEND_POLL = 2,
    /// select(2): descriptors below FD_SETSIZE (1024); no GYRE_EDGE, no gyre_loop_fd. Hangups of a watcher that asks for
    /// neither GYRE_READ nor GYRE_WRITE are told up to 100 ms late.
    GYRE_BACKEND_SELECT = 3,
}

/// Which engine serves operations on files. Sockets, pipes and terminals go by readiness, but on io_uring when it is named, by
/// this option or the environment: then sockets go by it, too.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum gyre_engine {
    /// Whatever serves best, or what the environment variable GYRE_ENGINE names.
    GYRE_ENGINE_AUTO = 0,
    /// io_uring(7). Named, it serves operations on sockets as well, where the kernel has multishot receive and deferred task
    /// work (Linux 6.1); a turn hands over, waits and takes back by one system call.
    GYRE_ENGINE_IO_URING = 1,
    /// POSIX AIO, aio(7), where it has a call; the file position and vectors by worker threads.
    GYRE_ENGINE_POSIX_AIO = 2,
    /// Worker threads.
    GYRE_ENGINE_EMULATED = 3,
}

/// How POSIX AIO tells of completions.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum gyre_aio_notify {
    /// By a real-time signal; by threads where the queue of signals is too small (RLIMIT_SIGPENDING).
    GYRE_AIO_SIGNAL = 0,
    /// By a thread of the C library's.
    GYRE_AIO_THREAD = 1,
}

/// How long gyre_loop_run goes on.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum gyre_run_mode {
    /// Until nothing is alive, or gyre_loop_stop.
    GYRE_RUN_DEFAULT = 0,
    /// One turn, which waits if something is alive.
    GYRE_RUN_ONCE = 1,
    /// One turn, which does not wait.
    GYRE_RUN_NOWAIT = 2,
}

/// What a loop is opened with. Set `size` to sizeof(gyre_loop_options) and the rest to zero, which is the default of every
/// field: `gyre_loop_options options = {sizeof options};`
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct gyre_loop_options {
    /// sizeof(gyre_loop_options).
    pub size: usize,
    /// A gyre_backend.
    pub backend: c_int,
    /// A gyre_engine.
    pub engine: c_int,
    /// How many ready descriptors a turn takes at the most; default 1024, at most 65,536.
    pub events_per_turn: u32,
    /// How many posts may wait; default 1,048,576.
    pub post_capacity: u32,
    /// How many operations may be in flight; default 65,536.
    pub op_capacity: u32,
    /// A gyre_aio_notify.
    pub aio_notify: c_int,
    /// The real-time signal of POSIX AIO, SIGRTMIN to SIGRTMAX; 0 for the first free one.
    pub aio_signal: c_int,
    /// How many threads POSIX AIO may have; the first loop of the process that uses it decides. Default: the C library's.
    pub aio_threads: u32,
    /// How many threads file operations of the emulated engine may have; default 4, at most 64.
    pub file_threads: u32,
    /// Bytes a buffer of gyre_op_recv_many; default 16 KiB.
    pub buffer_size: u32,
    /// How many such buffers there may be; default 1024, at most 32,768. They are made when they are needed. What an
    /// engine had received for an operation that was then paused does not count, up to as many again.
    pub buffer_count: u32,
}

/// What a loop has counted since it was opened.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct gyre_loop_statistics {
    /// Set by the caller: sizeof(gyre_loop_statistics).
    pub size: usize,
    /// Turns begun.
    pub turns: u64,
    /// Waits in the demultiplexer.
    pub waits: u64,
    /// Callbacks of descriptor and child watchers.
    pub events: u64,
    /// Timers fired.
    pub timers: u64,
    /// Posts run.
    pub posts: u64,
    /// Operations completed.
    pub completions: u64,
    /// Reports of the kernel's that were dropped because their watcher was closed.
    pub stale_events: u64,
    /// Operations in flight now.
    pub op_in_flight: u64,
    /// Handles open now, without the loop's own.
    pub handles: u64,
    /// The longest time that a callback took, in nanoseconds.
    pub callback_ns_max: u64,
    /// Calls of accept.
    pub accept_calls: u64,
    /// Times that a listener found no descriptor or no memory for a connection, and paused; once however long it lasts.
    pub accept_pauses: u64,
}

/// More than this is a bound that no turn comes to.
const MAX_EVENTS: usize = 1 << 16;
const MAX_FILE_THREADS: usize = 64;

/// Reads options of any version.
///
/// # Safety
/// `options` is NULL, or valid for as many bytes as its first field says.
unsafe fn read_options(options: *const gyre_loop_options) -> Result<Settings> {
    const DEFAULTS: Settings = Settings {
        backend: None,
        events_per_turn: 1024,
        post_capacity: 1 << 20,
        op_capacity: 1 << 16,
        engine: None,
        file_threads: 4,
        aio: AioSettings { notify: Notify::Signal, signal: 0, threads: 0, in_flight: 0 },
        buffer_size: 16 * 1024,
        buffer_count: 1024,
    };
    if options.is_null() {
        return Ok(DEFAULTS);
    }
    // SAFETY: by this function's contract.
    let options = unsafe { read_sized(options)? };
    let backend = match options.backend {
        0 => None,
        1 => Some(c"epoll"),
        2 => Some(c"poll"),
        3 => Some(c"select"),
        _ => return Err(Status::EINVAL),
    };
    let engine = match options.engine {
        0 => None,
        1 => Some(c"io_uring"),
        2 => Some(c"posix_aio"),
        3 => Some(c"emulated"),
        _ => return Err(Status::EINVAL),
    };
    let notify = match options.aio_notify {
        0 => Notify::Signal,
        1 => Notify::Thread,
        _ => return Err(Status::EINVAL),
    };
    let or = |value: u32, default: usize| if value == 0 { default } else { value as usize };
    Ok(Settings {
        backend,
        events_per_turn: or(options.events_per_turn, DEFAULTS.events_per_turn).min(MAX_EVENTS),
        post_capacity: or(options.post_capacity, DEFAULTS.post_capacity),
        op_capacity: or(options.op_capacity, DEFAULTS.op_capacity),
        engine,
        file_threads: or(options.file_threads, DEFAULTS.file_threads).min(MAX_FILE_THREADS),
        aio: AioSettings { notify, signal: options.aio_signal, threads: options.aio_threads as usize, in_flight: 0 },
        buffer_size: or(options.buffer_size, DEFAULTS.buffer_size),
        buffer_count: or(options.buffer_count, DEFAULTS.buffer_count).min(MOST_LENT),
    })
}

/// Opens a loop. The calling thread owns it: all functions of the loop and of its handles are for this thread alone, but
/// gyre_loop_post, gyre_loop_wake and gyre_loop_stop.
///
/// @param options what to open it with, or NULL for the defaults.
/// @param out receives the handle.
/// @return 0; -EINVAL for `out` NULL, a bad size, an unknown enum value, or non-zero bytes behind what this library knows;
/// -EINVAL for an aio_signal that is no real-time signal; GYRE_EUNSUPPORTED for a backend or engine that is named and not to be had; GYRE_EFULL for the 256th loop; -ENOMEM,
/// -EMFILE, -ENFILE.
///
/// Thread: any. Ownership: close it with gyre_loop_close.
///
/// # Safety
/// `options` is NULL or valid for as many bytes as its size field says; `out` is NULL or valid to write to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gyre_loop_open(options: *const gyre_loop_options, out: *mut gyre_loop) -> c_int {
    let open = || {
        require(out)?;
        // SAFETY: by this function's contract.
        let settings = unsafe { read_options(options)? };
        Loop::open(&settings, leave_thread).map(|bits| gyre_loop { bits })
    };
    // SAFETY: by this function's contract.
    unsafe { code_and_output(out, open) }
}

/// Closes a loop and all of its handles. Before it returns it tells the operations that are in flight, with -ECANCELED or their
/// result, and runs the posts that were accepted, once each; from these every call on the loop is GYRE_ECLOSING. No buffer is
/// used after it returns. Watchers, timers and hooks hear nothing. Descriptors of the caller's stay open.
///
/// In a child of fork it frees memory and descriptors, runs nothing, and leaves the parent's loop as it is.
///
/// @return 0; GYRE_EHANDLE; GYRE_ETHREAD; GYRE_EREENTRANT inside a callback; GYRE_ECLOSING.
///
/// Thread: the owner. Blocks: while these functions run, and while file operations that have begun go on. An exception that leaves one of these ends the process.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_loop_close(r#loop: gyre_loop) -> c_int {
    code(close(r#loop))
}

fn close(handle: gyre_loop) -> Result<()> {
    let number = place_of(handle.bits);
    let here = place(number);
    if here.live() != handle.bits {
        return Err(Status::EHANDLE);
    }
    if !here.is_forked(number) {
        owned(handle.bits)?;
    }
    let pointer = here.pointer();
    // SAFETY: the calling thread owns the loop; or this is a child of fork, where nobody owns it until somebody has called
    // gyre_loop_after_fork, and the pointer is that of the parent's loop, copied.
    let may_be_freed = unsafe { &*pointer }.close()?;
    if may_be_freed {
        // SAFETY: `gyre_loop_open` boxed it; the place holds it no more, so no further call reaches it, and no reference is
        // left: `close` refuses inside callbacks.
        drop(unsafe { Box::from_raw(pointer) });
    }
    Ok(())
}

/// Runs the loop: waits for what is watched and calls back.
///
/// One turn: IDLE hooks, PREPARE hooks, the wait, descriptors and children, operations, signals, posts, due timers, CHECK hooks. A turn is
/// bounded: each source gives what there was when its time came.
///
/// A C++ exception that leaves a callback leaves this function too. What was reaped and not delivered comes in the next run;
/// the callback that threw counts as done. longjmp and pthread_exit out of a callback are undefined behaviour.
///
/// @param mode a gyre_run_mode.
/// @return 1 while something is alive (also after a stop), 0 when nothing is; GYRE_EHANDLE; GYRE_EFORKED, also when a
/// callback forked and the child returned from it; GYRE_ETHREAD; GYRE_ECLOSING; GYRE_EREENTRANT inside a callback; -EINVAL for
/// an unknown mode; the status of a wait that failed.
///
/// Thread: the owner. Blocks: as the mode says.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn gyre_loop_run(r#loop: gyre_loop, mode: c_int) -> c_int {
    run_code(open_loop(r#loop).and_then(|found| {
        found.check_idle()?;
        found.run(match mode {
            0 => RunMode::Default,
            1 => RunMode::Once,
            2 => RunMode::NoWait,
            _ => return Err(Status::EINVAL),
        })
    }))
}

/// Runs the loop as GYRE_RUN_DEFAULT does, and comes back when the time is over.
///
/// @param timeout_ns nanoseconds; GYRE_FOREVER for no end; 0 for one turn that does not wait.
/// @return as gyre_loop_run.
///
/// Thread: the owner. Blocks: until nothing is alive, gyre_loop_stop, or `timeout_ns` later.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn gyre_loop_run_for(r#loop: gyre_loop, timeout_ns: u64) -> c_int {
    run_code(open_loop(r#loop).and_then(|found| found.run_for(timeout_ns)))
}

/// Runs one turn, which waits at most `max_wait_ns`, alive or not.
///
/// @param max_wait_ns nanoseconds; GYRE_FOREVER for no end.
/// @return as gyre_loop_run.
///
/// Thread: the owner. Blocks: at most `max_wait_ns`, and the callbacks' time.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn gyre_loop_turn(r#loop: gyre_loop, max_wait_ns: u64) -> c_int {
    run_code(open_loop(r#loop).and_then(|found| found.turn_for(max_wait_ns)))
}

/// Keeps a pointer of the caller's with the loop.
///
/// @return 0 or an error of the handle's.
///
/// Thread: the owner. Ownership: the pointer stays the caller's.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_loop_set_user_data(r#loop: gyre_loop, user_data: *mut c_void) -> c_int {
    code(with_loop(r#loop, |core| {
        core.user_data = UserData(user_data);
        Ok(())
    }))
}

/// The pointer that gyre_loop_set_user_data kept.
///
/// @return the pointer; NULL for a bad handle and from other threads.
///
/// Thread: the owner.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_loop_user_data(r#loop: gyre_loop) -> *mut c_void {
    with_loop(r#loop, |core| Ok(core.user_data.0)).unwrap_or(core::ptr::null_mut())
}

/// Ends the present run after its turn; if none is going on, the next one, after one turn that does not wait.
///
/// @return 0; GYRE_EHANDLE; GYRE_EFORKED; GYRE_ECLOSING.
///
/// Thread: any, and signal handlers: takes no lock and keeps errno.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_loop_stop(r#loop: gyre_loop) -> c_int {
    let number = place_of(r#loop.bits);
    code(place(number).stop(number, r#loop.bits))
}

/// Ends the present wait; if none is going on, the next one.
///
/// @return 0; GYRE_EHANDLE; GYRE_EFORKED; GYRE_ECLOSING.
///
/// Thread: any, and signal handlers: takes no lock and keeps errno.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_loop_wake(r#loop: gyre_loop) -> c_int {
    let number = place_of(r#loop.bits);
    code(place(number).wake(number, r#loop.bits))
}

/// Has a function run on the loop's thread. Posts of one thread run in the order in which they were accepted; an accepted
/// post is never lost, and keeps the loop alive. A turn runs those that were accepted before it came to them.
///
/// @param callback what to run.
/// @param user_data what to run it with.
/// @return 0; GYRE_EHANDLE; GYRE_EFORKED; GYRE_ECLOSING; -EINVAL for a NULL callback; GYRE_EFULL when as many posts wait as
/// the option post_capacity says; -ENOMEM. After an error the post was not taken.
///
/// Thread: any. Not for signal handlers.
///
/// # Safety
/// `callback` may be called with `user_data` on the loop's thread until it has been.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gyre_loop_post(r#loop: gyre_loop, callback: gyre_post_cb, user_data: *mut c_void) -> c_int {
    let number = place_of(r#loop.bits);
    code(place(number).post(number, r#loop.bits, Post { callback, user_data: UserData(user_data) }))
}

/// The loop's time: nanoseconds on CLOCK_MONOTONIC, read once a turn when first asked for, so that all callbacks of a turn
/// see the same. For a fresh one call gyre_loop_update_now before.
///
/// @return the time; 0 for a bad handle and from other threads.
///
/// Thread: the owner.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_loop_now(r#loop: gyre_loop) -> u64 {
    with_loop(r#loop, |core| Ok(core.now())).unwrap_or(0)
}

/// Reads the clock, for gyre_loop_now to tell.
///
/// @return 0 or an error of the handle's.
///
/// Thread: the owner.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_loop_update_now(r#loop: gyre_loop) -> c_int {
    code(with_loop(r#loop, |core| {
        core.update_now();
        Ok(())
    }))
}

/// Whether something keeps gyre_loop_run from returning: watchers that ask for something, armed timers, signals, children
/// that have not ended, hooks, posts; but none whose keep-alive is off.
///
/// @return 1 or 0, or an error of the handle's.
///
/// Thread: the owner.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_loop_is_alive(r#loop: gyre_loop) -> c_int {
    run_code(with_loop(r#loop, |core| Ok(core.is_alive())))
}

/// Lets the loop count as alive even with nothing in it, so that gyre_loop_run waits for posts and gyre_loop_stop.
///
/// @param on 0 for off, which is the default.
/// @return 0 or an error of the handle's.
///
/// Thread: the owner.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_loop_set_keepalive(r#loop: gyre_loop, on: c_int) -> c_int {
    code(with_loop(r#loop, |core| {
        core.keepalive = on != 0;
        Ok(())
    }))
}

/// A descriptor that is readable when the loop has something to do, to be watched by another loop. Watch it only for
/// reading; before each wait ask gyre_loop_timeout, after it run GYRE_RUN_NOWAIT.
///
/// @return the descriptor, the same for the life of the loop (another one after gyre_loop_after_fork); GYRE_EUNSUPPORTED on
/// poll and select; -EMFILE, -ENFILE, -ENOMEM; or an error of the handle's.
///
/// Thread: the owner. Ownership: the loop's; do not close it.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_loop_fd(r#loop: gyre_loop) -> c_int {
    with_loop(r#loop, |core| core.demux.descriptor()).unwrap_or_else(Status::code)
}

/// How long a foreign wait on gyre_loop_fd may last at the most. Sends changes of interest to the kernel first, so call it
/// before each such wait.
///
/// @param out_ns receives nanoseconds; GYRE_FOREVER for no end.
/// @return 0; -EINVAL for `out_ns` NULL; or an error of the handle's.
///
/// Thread: the owner.
///
/// # Safety
/// `out_ns` is NULL or valid to write to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gyre_loop_timeout(r#loop: gyre_loop, out_ns: *mut u64) -> c_int {
    // SAFETY: by this function's contract.
    unsafe { code_and_output(out_ns, || open_loop(r#loop)?.timeout()) }
}

/// Gives the loop up, for another thread to take with gyre_loop_claim. A thread that ends gives up all it owns.
///
/// @return 0; -EBUSY while operations are in flight; GYRE_EREENTRANT inside a callback; or an error of the handle's.
///
/// Thread: the owner.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_loop_release(r#loop: gyre_loop) -> c_int {
    code(open_loop(r#loop).and_then(|found| {
        found.check_idle()?;
        if found.core()?.operations.in_flight() > 0 {
            return Err(Status::EBUSY);
        }
        let number = place_of(r#loop.bits);
        place(number).release(number);
        Ok(())
    }))
}

/// Takes a loop that no thread owns.
///
/// @return 0, also when the calling thread owns it already; -EBUSY when another thread does; GYRE_EHANDLE; GYRE_EFORKED;
/// -ENOMEM.
///
/// Thread: any; it is the owner from then on.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_loop_claim(r#loop: gyre_loop) -> c_int {
    let number = place_of(r#loop.bits);
    let here = place(number);
    code(here.check(number, r#loop.bits).and_then(|()| Loop::claim(number, r#loop.bits, leave_thread)))
}

/// Makes the loop usable in a child of fork. All watchers, timers, hooks and posts are there, on a kernel object of the
/// child's own; operations that were in flight complete with -ECANCELED; the parent's loop stays as it is. Until then every call but this one and gyre_loop_close is GYRE_EFORKED.
/// Watchers of children hear -ECHILD when the process ends: it is not the child's child.
///
/// @return 0, also when there was no fork; GYRE_EHANDLE; -EBUSY when another thread forked while the owner was at work in the
/// loop (then only gyre_loop_close is left); -EMFILE, -ENFILE, -ENOMEM (then it can be tried again).
///
/// Thread: any of the child; it is the owner from then on.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_loop_after_fork(r#loop: gyre_loop) -> c_int {
    let number = place_of(r#loop.bits);
    let here = place(number);
    if here.live() != r#loop.bits {
        return Status::EHANDLE.code();
    }
    if !here.is_forked(number) {
        return code(open_loop(r#loop).map(|_| ()));
    }
    // SAFETY: in a child of fork nobody owns the loop until this call has succeeded, and the pointer is that of the
    // parent's loop, copied.
    code(unsafe { &*here.pointer() }.after_fork())
}

/// The name of the loop's backend.
///
/// @return "epoll", "poll" or "select"; "none" for a bad handle and from other threads. Lives as long as the library.
///
/// Thread: the owner.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_loop_backend(r#loop: gyre_loop) -> *const c_char {
    with_loop(r#loop, |core| Ok(core.backend.name)).unwrap_or(c"none").as_ptr()
}

/// The name of the engine that serves operations on files.
///
/// @return "emulated", "io_uring" or "posix_aio"; "none" for a bad handle and from other threads. Lives as long as the library.
///
/// Thread: the owner.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_loop_engine(r#loop: gyre_loop) -> *const c_char {
    open_loop(r#loop).map_or(c"none", Loop::engine_name).as_ptr()
}

/// Says in a line a backend which one the loop took and why, and why not the others.
///
/// @param buf receives the text and a NUL, cut to `len` bytes; may be NULL when `len` is 0.
/// @param len how many bytes `buf` has.
/// @return the length of the whole text without the NUL, as snprintf does; -EINVAL for `buf` NULL with `len`; or an error of
/// the handle's.
///
/// Thread: the owner.
///
/// # Safety
/// `buf` is NULL or valid to write `len` bytes to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gyre_loop_explain(r#loop: gyre_loop, buf: *mut c_char, len: usize) -> c_int {
    let explain = || {
        let found = open_loop(r#loop)?;
        // SAFETY: by this function's contract.
        unsafe { Text::fill(buf, len, |text| found.explain(text).map_err(|_| Status::EREENTRANT)) }
    };
    explain().unwrap_or_else(Status::code)
}

/// Tells what the loop has counted.
///
/// @param out receives the figures; its size field is set by the caller.
/// @return 0; -EINVAL for `out` NULL or a size below the first version's or above 4096; or an error of the handle's.
///
/// Thread: the owner.
///
/// # Safety
/// `out` is NULL, or valid to read its size field from and to write as many bytes to as that says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gyre_loop_stats(r#loop: gyre_loop, out: *mut gyre_loop_statistics) -> c_int {
    let fill = || {
        let found = open_loop(r#loop)?;
        require(out)?;
        // SAFETY: by this function's contract.
        let size = unsafe { (&raw const (*out).size).read() };
        let first_version = offset_of!(gyre_loop_statistics, accept_pauses);
        if size != first_version && !(size_of::<gyre_loop_statistics>()..=MAX_SIZE).contains(&size) {
            return Err(Status::EINVAL);
        }
        let core = found.core()?;
        let counted = core.statistics;
        let figures = gyre_loop_statistics {
            size: size_of::<gyre_loop_statistics>(),
            turns: counted.turns,
            waits: counted.waits,
            events: counted.events,
            timers: counted.timers,
            posts: counted.posts,
            completions: counted.completions,
            stale_events: counted.stale_events,
            op_in_flight: core.operations.in_flight() as u64,
            handles: core.slots.open() as u64,
            callback_ns_max: found.longest_callback_ns(),
            accept_calls: counted.accept_calls,
            accept_pauses: counted.accept_pauses,
        };
        let known = size_of::<gyre_loop_statistics>().min(size);
        // SAFETY: so many bytes are valid to write to by this function's contract, and are there to be read.
        unsafe { out.cast::<u8>().copy_from_nonoverlapping((&raw const figures).cast(), known) };
        Ok(())
    };
    code(fill())
}

/// Writes a line of text for the loop (backend, whether it is alive, posts), and one for each open handle: its kind and bits,
/// what it waits for, and whether it keeps the loop running.
/// For finding out why gyre_loop_run does not return.
///
/// @param fd where to write to.
/// @return 0; the status of a write that failed (-EBADF, -EPIPE without the signal, …); or an error of the handle's.
///
/// Thread: the owner. Blocks: while `fd` takes no more.
#[unsafe(no_mangle)]
pub extern "C" fn gyre_loop_dump(r#loop: gyre_loop, fd: c_int) -> c_int {
    code(open_loop(r#loop).and_then(|found| found.dump(fd)))
}
