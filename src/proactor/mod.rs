//! Engines: who carries out operations. The seam between the loop and the kernel's ways of doing I/O for a program;
//! [`crate::event_loop`] is the only caller.
//!
//! What waits for readiness (sockets, pipes, terminals) is carried out by the loop itself, with non-blocking calls
//! (`sys/io.rs`); this is the simulated proactor of the textbooks, and needs no engine. An [`Engine`] takes the rest: files,
//! for which there is no readiness.
//!
//! | engine | file | carries out files by |
//! |---|---|---|
//! | `io_uring` | `io_uring.rs` | the kernel, through a pair of queues |
//! | `emulated` | `emulated.rs` | a few worker threads |
//! | `io_uring` | `io_uring.rs` | io_uring(7) |
//! | `posix_aio` | `posix_aio.rs` | aio_read(3), aio_write(3), aio_fsync(3) |
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
//! - E5 `drain` returns when no job is with the kernel any more; what is done then comes out of `reap`.
//! - E6 In a child of fork `after_fork` makes the engine empty without waiting; nothing comes out of `reap` for jobs of the
//!   parent's, and the parent's jobs are not disturbed.

mod emulated;
mod io_uring;
mod posix_aio;

pub use crate::sys::io::{Job, Work};
pub use posix_aio::{AioSettings, Notify};

use crate::status::{Result, Status};
use crate::sys::memory::try_box;
use core::ffi::CStr;
use std::os::fd::RawFd;

/// A job that is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// What the job was started with.
    pub id: u64,
    /// Bytes, or a negative status.
    pub result: i64,
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
}

/// Carries out file I/O; the clauses are in the module's documentation.
pub trait Engine {
    /// Takes a job (E1).
    fn start(&mut self, id: u64, job: Job) -> Result<()>;
    /// Hands to the kernel what was started since the last time (P5). Called before each wait while jobs are in flight.
    fn submit(&mut self) {}
    /// Asks for a job not to be carried out.
    fn cancel(&mut self, id: u64) -> Cancel;
    /// The next job that is done.
    fn reap(&mut self) -> Option<Done>;
    /// Waits until no job is with the kernel (E5).
    fn drain(&mut self);
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

/// The engines, in the order in which AUTO tries them. The first is always to be had, so the others are taken by name only.
pub static ENGINES: [Kind; 3] = [
    Kind {
        name: c"emulated",
        note: "worker threads for files",
        unavailable: || None,
        open: |settings| Ok(try_box(emulated::Emulated::new(settings)?)?),
    },
    Kind {
        name: c"io_uring",
        note: "io_uring(7) for files",
        unavailable: io_uring::unavailable,
        open: |settings| Ok(try_box(io_uring::Uring::new(settings)?)?),
    },
    Kind {
        name: c"posix_aio",
        note: "aio_read, aio_write and aio_fsync of the C library for files",
        unavailable: || None,
        open: |settings| Ok(try_box(posix_aio::PosixAio::new(settings)?)?),
    },
];
