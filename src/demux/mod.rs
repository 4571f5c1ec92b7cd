//! Synchronous event demultiplexers: which of many descriptors are ready. The seam between the loop and the kernel's
//! readiness calls; [`crate::event_loop`] is the only caller.
//!
//! | backend | file | waits by | scale |
//! |---|---|---|---|
//! | `epoll`  | `mio.rs`    | epoll_pwait2(2) or epoll_wait(2) on mio's descriptor | any number |
//! | `poll`   | `poll.rs`   | ppoll(2)   | hundreds |
//! | `select` | `select.rs` | select(2) | descriptors below `FD_SETSIZE` |
//!
//! Contract, the same for each ([`Demux`]):
//! - D1 `add` and `remove` reach the kernel at once; a descriptor that is not open is `-EBADF`.
//! - D2 `modify` finds out whether the number still stands for the file that was added: `-EBADF` or `-ENOENT` if not.
//! - D3 Interest is level-triggered unless [`Events::EDGE`] is in it. Regular files, and all else that has no readiness,
//!   are always ready.
//! - D4 Hangup and error are reported whether asked for or not. With an empty interest they are reported at most once,
//!   then not again before the next `modify`.
//! - D5 A report carries the token of the last `add` or `modify`.
//! - D6 What can be seen to be closed, or replaced by another file, is reported as [`Events::GONE`] at most once and
//!   never as ready. What cannot be seen is found by `verify`.
//! - D7 `wait` returns early when the wake-up descriptor is written to; that is not reported as an event.
//! - D8 `wait` adds at most as many reports as the batch has room for; what is left out comes first the next time.
//! - D9 Nothing allocates in `wait`.

mod mio;
mod poll;
mod select;

use crate::status::{Result, Status};
use crate::sys::memory::try_box;
use core::ops::{BitAnd, BitOr, BitOrAssign, Not};
use std::os::fd::RawFd;

/// What is waited for on a descriptor, or what came. The bits below 64 are those of the C interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Events(pub u8);

impl Events {
    /// Nothing.
    pub const NONE: Events = Events(0);
    /// There is data, a connection to accept, or the end of the stream.
    pub const READ: Events = Events(1);
    /// There is room to write.
    pub const WRITE: Events = Events(2);
    /// An exceptional condition: TCP urgent data.
    pub const PRIORITY: Events = Events(4);
    /// The peer has shut down its sending side.
    pub const PEER_CLOSED: Events = Events(8);
    /// Both sides are shut down, or the last writer is gone. Report only.
    pub const HANGUP: Events = Events(16);
    /// An error is pending on the descriptor. Report only.
    pub const ERROR: Events = Events(32);
    /// Interest only: report when readiness changes.
    pub const EDGE: Events = Events(64);
    /// Report only: the number does not stand for the file that was added any more.
    pub const GONE: Events = Events(128);
    /// What a watcher can ask for.
    pub const ASKABLE: Events = Events(15);
    /// What comes unasked.
    pub const UNASKED: Events = Events(48);

    /// Whether no bit is set.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether a bit of `other` is set here.
    #[inline]
    pub const fn intersects(self, other: Events) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for Events {
    type Output = Events;
    #[inline]
    fn bitor(self, other: Events) -> Events {
        Events(self.0 | other.0)
    }
}

impl BitOrAssign for Events {
    #[inline]
    fn bitor_assign(&mut self, other: Events) {
        self.0 |= other.0;
    }
}

impl BitAnd for Events {
    type Output = Events;
    #[inline]
    fn bitand(self, other: Events) -> Events {
        Events(self.0 & other.0)
    }
}

impl Not for Events {
    type Output = Events;
    #[inline]
    fn not(self) -> Events {
        Events(!self.0)
    }
}

/// One descriptor that is ready.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    /// What the loop gave with the descriptor.
    pub token: u64,
    /// What came.
    pub events: Events,
}

/// The reports of one wait, in memory that is allocated once.
pub struct Batch {
    reports: Vec<Ready>,
    limit: usize,
}

impl Batch {
    /// Room for `limit` reports.
    pub fn new(limit: usize) -> Result<Batch> {
        let mut reports = Vec::new();
        reports.try_reserve_exact(limit).map_err(|_| Status::ENOMEM)?;
        Ok(Batch { reports, limit })
    }

    /// How many more reports fit.
    pub fn room(&self) -> usize {
        self.limit.saturating_sub(self.reports.len())
    }

    /// Whether nothing was reported.
    pub fn is_empty(&self) -> bool {
        self.reports.is_empty()
    }

    /// Adds a report; without room it is dropped, so ask [`Batch::room`] first.
    #[inline]
    pub fn push(&mut self, token: u64, events: Events) {
        if self.reports.len() < self.limit {
            self.reports.push(Ready { token, events }); // within the capacity reserved by `new`
        }
    }

    /// The report at `index`, in the order they came.
    #[inline]
    pub fn get(&self, index: usize) -> Option<Ready> {
        self.reports.get(index).copied()
    }

    /// Forgets all reports.
    #[inline]
    pub fn clear(&mut self) {
        self.reports.clear();
    }
}

/// A demultiplexer; the clauses are in the module's documentation.
pub trait Demux {
    /// Starts to wait on `fd` (D1, D3).
    fn add(&mut self, fd: RawFd, interest: Events, token: u64) -> Result<()>;
    /// Changes what is waited for (D2), and asks for an edge that is already there to be reported.
    fn modify(&mut self, fd: RawFd, interest: Events, token: u64) -> Result<()>;
    /// Stops to wait on `fd` (D1).
    fn remove(&mut self, fd: RawFd) -> Result<()>;
    /// Whether `fd` still stands for the file that was added (D6); the interest stays as it is.
    fn verify(&mut self, fd: RawFd, interest: Events, token: u64) -> Result<()>;
    /// Waits until something is ready, the wake-up descriptor is written to, a signal interrupts, or `timeout_ns` is over.
    fn wait(&mut self, timeout_ns: u64, batch: &mut Batch) -> Result<()>;
    /// Whether the next wait returns at once, as far as [`Demux::descriptor`] does not tell.
    fn is_ready(&mut self) -> bool;
    /// A descriptor that is readable whenever a wait would report something now, for a wait elsewhere; [`Demux::reset`] may
    /// put another file in its place.
    fn pollable(&self) -> Option<RawFd> {
        None
    }
    /// Whether `fd` is a descriptor of the demultiplexer's own.
    fn owns(&self, fd: RawFd) -> bool;
    /// A descriptor that is readable when [`Demux::wait`] would report something; its number and file stay the same for
    /// the demultiplexer's life.
    fn descriptor(&mut self) -> Result<RawFd>;
    /// Forgets all descriptors, with a kernel object of its own where there was one, and takes a new wake-up descriptor.
    fn reset(&mut self, wake: RawFd) -> Result<()>;
}

/// A backend in the table of them.
pub struct Backend {
    /// The name in the C interface and in `GYRE_BACKEND`.
    pub name: &'static core::ffi::CStr,
    /// Whether it has [`Events::EDGE`].
    pub edge: bool,
    /// Why AUTO takes it or not, for `gyre_loop_explain`.
    pub note: &'static str,
    open: fn(wake: RawFd, events_per_wait: usize) -> Result<Box<dyn Demux>>,
}

impl Backend {
    /// Makes a demultiplexer that wakes by `wake` and reports at most `events_per_wait` at once.
    pub fn open(&self, wake: RawFd, events_per_wait: usize) -> Result<Box<dyn Demux>> {
        (self.open)(wake, events_per_wait)
    }
}

/// The backends, in the order in which AUTO tries them.
pub static BACKENDS: [Backend; 3] = [
    Backend {
        name: c"epoll",
        edge: true,
        note: "its cost does not grow with the number of descriptors that are not ready",
        open: |wake, events| Ok(try_box(mio::Mio::new(wake, events)?)?),
    },
    Backend {
        name: c"poll",
        edge: false,
        note: "walks all descriptors at each wait",
        open: |wake, _| Ok(try_box(poll::Poll::new(wake)?)?),
    },
    Backend {
        name: c"select",
        edge: false,
        note: "walks all descriptors at each wait and takes none above FD_SETSIZE",
        open: |wake, _| Ok(try_box(select::Select::new(wake)?)?),
    },
];
