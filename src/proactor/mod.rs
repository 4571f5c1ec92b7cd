//! Engines: who carries out operations. The seam between the loop and the kernel's ways of doing I/O for a program;
//! [`crate::event_loop`] is the only caller.
//!
//! What waits for readiness (sockets, pipes, terminals) the loop can carry out by itself, with non-blocking calls
//! (`sys/io.rs`); this is the simulated proactor of the textbooks, and needs no engine. An [`Engine`] takes the rest: files,
//! for which there is no readiness. One that can takes operations on sockets, too.
//!
//! | engine | directory or file | carries out files by | sockets |
//! |---|---|---|---|
//! | `io_uring` | `io_uring/` | io_uring(7) | io_uring(7), when it was chosen by name |
//! | `emulated` | `emulated.rs` | a few worker threads | by readiness |
//! | `posix_aio` | `posix_aio.rs` | aio_read(3), aio_write(3), aio_fsync(3) | by readiness |
//!
//! Contract of operations, which the loop and its engine keep together:
//! - P1 An accepted operation completes exactly once (a `_many` one: finally once, after all that it has taken), and never
//!   inside the call that submits it.
//! - P2 Buffer, iovec, address, msghdr and descriptor belong to the operation until then, after a cancel too.
//! - P3 Cancel is a request: the completion comes with the real result or `-ECANCELED`; with a deadline, `-ETIMEDOUT`. The
//!   first of the two names the status; a real result beats both.
//! - P4 On sockets, pipes and at the file position one operation a descriptor and direction is in the kernel, first in, first
//!   out. Operations at an offset are concurrent and unordered. Short transfers are told as they are.
//! - P5 What one turn submits goes to the kernel before the next wait.
//! - P6 A close cancels what is pending on the descriptor, and comes after it; later operations on the number are `-EBADF`.
//! - P7 Teardown ends the kernel's use of every buffer before it returns.
//!
//! Contract of engines ([`Engine`]):
//! - E1 `start` takes a job or refuses it with a status and has then not touched it; it never waits.
//! - E2 A job that was taken comes out of `reap` exactly once, unless `cancel` answered [`Cancel::Dropped`].
//! - E3 From `start` to `reap` nothing of the job's memory is touched by anybody else, and after `reap` nothing by the engine.
//! - E4 When jobs are done while the loop sleeps, `wake` is called, from any thread.
//! - E5 `drain` returns when `reap` has something, or no job is with the kernel any more.
//! - E6 In a child of fork `after_fork` makes the engine empty without waiting; nothing comes out of `reap` for jobs of the
//!   parent's, and the parent's jobs are not disturbed.
//! - E7 A `_many` transfer comes out of `reap` for each result, all but the last with `more`. It ends by itself when there is
//!   no lent buffer (`-ENOBUFS`) and when the kernel wants it to be started anew. A lent buffer is the engine's until it comes
//!   out of `reap` with what was received.
//! - E8 `wait` returns when a job is done, the descriptor is readable, a signal interrupts, or the time is over.

mod emulated;
mod io_uring;
mod posix_aio;

pub use crate::sys::io::{Job, Work};
pub use io_uring::{ring_has_ended, ring_interrupts};
pub use posix_aio::{AioSettings, Notify};

use crate::status::{Result, Status};
use crate::sys::environment::is_valgrind;
use crate::sys::memory::try_box;
use core::ffi::{CStr, c_int};
use std::os::fd::RawFd;

/// An operation on a socket. The pointers are the caller's (P2).
#[derive(Clone, Copy, Debug)]
pub enum Transfer {
    /// recv(2).
    Receive {
        /// Where to.
        buf: *mut u8,
        /// How many bytes.
        len: usize,
        /// `MSG_*`.
        flags: c_int,
    },
    /// send(2).
    Send {
        /// Where from.
        buf: *const u8,
        /// How many bytes.
        len: usize,
        /// `MSG_*`.
        flags: c_int,
        /// Whether to go on until everything is sent; the loop goes on where the engine stops.
        all: bool,
    },
    /// recvmsg(2).
    ReceiveMessage {
        /// The message.
        message: *mut libc::msghdr,
        /// `MSG_*`.
        flags: c_int,
    },
    /// sendmsg(2).
    SendMessage {
        /// The message.
        message: *const libc::msghdr,
        /// `MSG_*`.
        flags: c_int,
    },
    /// accept4(2), non-blocking and close-on-exec.
    Accept {
        /// Where the peer's address goes.
        address: *mut libc::sockaddr,
        /// How much room there is, then how long the address is.
        len: *mut libc::socklen_t,
    },
    /// Accept again and again (E7).
    AcceptMany,
    /// Receive again and again, into lent buffers (E7).
    ReceiveMany,
}

/// A job that is done, or a result of one that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// What the job was started with.
    pub id: u64,
    /// Bytes, a descriptor, or a negative status.
    pub result: i64,
    /// Whether the job goes on.
    pub more: bool,
    /// The lent buffer that holds what was received, or [`NO_BUFFER`].
    pub buffer: u32,
}

/// How many buffers may be lent at a time.
pub const MOST_LENT: usize = 1 << 15;

/// No lent buffer.
pub const NO_BUFFER: u32 = u32::MAX;

impl Done {
    /// The end of a job.
    pub fn new(id: u64, result: i64) -> Done {
        Done { id, result, more: false, buffer: NO_BUFFER }
    }
}

/// What became of a request to cancel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cancel {
    /// The job had not begun and never will; nothing comes out of `reap` for it.
    Dropped,
    /// The job comes out of `reap`, with its result or `-ECANCELED`.
    Comes,
}

/// How an engine is opened.
#[derive(Clone, Copy)]
pub struct Settings {
    /// Worker threads of the emulated engine.
    pub file_threads: usize,
    /// How the POSIX AIO engine works; the others do not look at it.
    pub aio: AioSettings,
    /// What to call when jobs are done, with `place`.
    pub wake: fn(u8),
    /// The loop's place.
    pub place: u8,
    /// The descriptor that ends the loop's wait: an eventfd.
    pub wake_fd: RawFd,
    /// Whether the engine is to carry out operations on sockets, if it can.
    pub sockets: bool,
    /// How many buffers may be lent.
    pub buffer_count: usize,
}

/// Carries out I/O; the clauses are in the module's documentation.
pub trait Engine {
    /// Takes a job on a file (E1).
    fn start(&mut self, id: u64, job: Job) -> Result<()>;
    /// Whether it carries out operations on sockets.
    fn takes_sockets(&self) -> bool {
        false
    }
    /// Takes an operation on a socket (E1).
    fn start_transfer(&mut self, _id: u64, _fd: RawFd, _transfer: &Transfer) -> Result<()> {
        Err(Status::EUNSUPPORTED)
    }
    /// Takes a buffer to receive into (E7), with its number.
    fn lend(&mut self, _index: u16, _buf: *mut u8, _len: usize) -> Result<()> {
        Err(Status::EUNSUPPORTED)
    }
    /// Hands to the kernel what was started since the last time (P5). Called before each wait while jobs are in flight,
    /// unless that is [`Engine::wait`].
    fn submit(&mut self) {}
    /// Whether the loop is to wait by [`Engine::wait`] now, if its demultiplexer has a descriptor for that.
    fn wants_to_wait(&self) -> bool {
        false
    }
    /// Submits (P5) and waits, at most `timeout_ns` (E8). Returns whether the descriptor may be readable.
    fn wait(&mut self, _timeout_ns: u64, _descriptor: RawFd) -> bool {
        true
    }
    /// The descriptor of the last waits stands for another file now.
    fn unwatch(&mut self) {}
    /// Asks for a job not to be carried out.
    fn cancel(&mut self, id: u64) -> Cancel;
    /// Looks for jobs that are done: how many [`Engine::reap`] gives out now.
    fn ready(&mut self) -> usize;
    /// The next job that is done.
    fn reap(&mut self) -> Option<Done>;
    /// Waits for jobs (E5).
    fn drain(&mut self);
    /// Whether what it does for a thread ends with that thread.
    fn is_bound_to_thread(&self) -> bool {
        false
    }
    /// The calling thread is about to end: asks for all jobs back and waits until none is with the kernel.
    fn leave_thread(&mut self) {}
    /// Makes the engine usable in a child of fork (E6), whose loop has another wake-up descriptor.
    fn after_fork(&mut self, wake_fd: RawFd) -> Result<()>;
    /// Whether `fd` is a descriptor of the engine's own.
    fn owns(&self, _fd: RawFd) -> bool {
        false
    }
}

/// An engine in the table of them.
pub struct Kind {
    /// The name in the C interface and in `GYRE_ENGINE`.
    pub name: &'static CStr,
    /// What it is, for `gyre_loop_explain`.
    pub note: &'static str,
    /// Why AUTO leaves it out in this process.
    pub objection: fn() -> Option<&'static str>,
    /// Why it is `GYRE_EUNSUPPORTED` here, when it says more than that.
    pub unavailable: fn() -> Option<Status>,
    open: fn(&Settings) -> Result<Box<dyn Engine>>,
}

impl Kind {
    /// Makes an engine.
    pub fn open(&self, settings: &Settings) -> Result<Box<dyn Engine>> {
        (self.open)(settings)
    }
}

/// The engines, in the order in which AUTO tries them. The second is always to be had, so the last is taken by name only.
pub static ENGINES: [Kind; 3] = [
    Kind {
        name: c"io_uring",
        note: "io_uring(7) for files, and for sockets when it is named",
        objection: || is_valgrind().then_some("valgrind does not see what the kernel writes for it"),
        unavailable: io_uring::unavailable,
        open: |settings| Ok(try_box(io_uring::Uring::new(settings)?)?),
    },
    Kind {
        name: c"emulated",
        note: "worker threads for files, readiness for sockets",
        objection: || None,
        unavailable: || None,
        open: |settings| Ok(try_box(emulated::Emulated::new(settings)?)?),
    },
    Kind {
        name: c"posix_aio",
        note: "aio_read, aio_write and aio_fsync of the C library for files, readiness for sockets",
        objection: || None,
        unavailable: || None,
        open: |settings| Ok(try_box(posix_aio::PosixAio::new(settings)?)?),
    },
];
