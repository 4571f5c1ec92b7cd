//! One ring: how it is made on this kernel, and the calls on it.

use super::buffers::{self, BufferRing};
use crate::status::{Result, Status};
use crate::sys::clock::{FOREVER, monotonic_ns};
use crate::sys::thread;
use crate::sys::wakeup::Wakeup;
use core::cell::Cell;
use core::mem::ManuallyDrop;
use core::sync::atomic::{AtomicBool, Ordering, fence};
use io_uring::{EnterFlags, IoUring, Probe, opcode, types};

use once_cell::sync::OnceCell;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::thread::Builder;
use std::time::Duration;

/// How many jobs one io_uring_enter(2) hands over.
pub const SUBMISSIONS: u32 = 256;

/// How many jobs on files may be in the kernel.
pub const COMPLETIONS: u32 = 4096;

/// What the engine cannot do without.
const OPCODES: [u8; 6] = [
    opcode::Read::CODE,
    opcode::Write::CODE,
    opcode::Readv::CODE,
    opcode::Writev::CODE,
    opcode::Fsync::CODE,
    opcode::AsyncCancel::CODE,
];

/// What it takes to carry out operations on sockets, and to wait in the ring.
const SOCKET_OPCODES: [u8; 6] = [
    opcode::Accept::CODE,
    opcode::Recv::CODE,
    opcode::Send::CODE,
    opcode::RecvMsg::CODE,
    opcode::SendMsg::CODE,
    opcode::PollAdd::CODE,
];

/// Bytes of the stack of the thread that probes.
const STACK: usize = 128 * 1024;

/// How the kernel finishes what was not done at once, best first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// When this thread asks for completions, and in no other thread: Linux 6.1.
    Deferred,
    /// When this thread is in the kernel anyway: Linux 5.19.
    Cooperative,
    /// By interrupting this thread: Linux 5.6.
    Plain,
}

pub const MODES: [Mode; 3] = [Mode::Deferred, Mode::Cooperative, Mode::Plain];

impl Mode {
    fn builder(self) -> io_uring::Builder {
        let mut builder = IoUring::builder();
        builder.dontfork();
        match self {
            Mode::Deferred => {
                builder.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag().setup_submit_all()
            }
            Mode::Cooperative => builder.setup_coop_taskrun().setup_taskrun_flag().setup_submit_all(),
            Mode::Plain => &mut builder,
        };
        builder
    }
}

/// What this kernel has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Abilities {
    pub mode: Mode,
    /// Whether it carries out operations on sockets: multishot, with a ring of buffers (Linux 6.0), in deferred mode.
    pub sockets: bool,
}

/// What this kernel has, or why there is nothing: found out once a process.
static PROBED: OnceCell<Result<Abilities>> = OnceCell::new();

/// Why io_uring is not to be had in this process, if that was found out: `-ENOSYS` when the kernel has none, `-EPERM`
/// and `-EACCES` when it is forbidden (a seccomp filter, the sysctl `kernel.io_uring_disabled`), `-EOPNOTSUPP` when
/// it is too old, `-ENOMEM` when RLIMIT_MEMLOCK leaves no room for a ring (before Linux 5.12).
pub fn unavailable() -> Option<Status> {
    PROBED.get().and_then(|probed| probed.err())
}

/// Finds out what this kernel has by making rings, in a thread of its own: the kernel interrupts the thread when they
/// have ended.
pub fn probe() -> Result<Abilities> {
    let probed = PROBED.get_or_try_init(|| {
        let builder = Builder::new().name("gyre-probe".into()).stack_size(STACK);
        let thread = builder.spawn(|| {
            thread::block_signals();
            try_modes()
        });
        let result = match thread {
            Ok(thread) => thread.join().unwrap_or(Err(Status::EUNSUPPORTED)),
            Err(_) => try_modes(), // better interrupted than without
        };
        match result {
            Err(status) if status == EMFILE || status == ENFILE => Err(status), // another time, perhaps
            result => Ok(result),
        }
    })?;
    probed.map_err(|_| Status::EUNSUPPORTED)
}

fn try_modes() -> Result<Abilities> {
    let wakeup = Wakeup::new()?;
    let mut result = Err(Status::EOPNOTSUPP);
    for mode in MODES {
        let ring = Ring::new(mode, (SUBMISSIONS, COMPLETIONS), wakeup.fd());
        result = ring.map(|ring| Abilities { mode, sockets: mode == Mode::Deferred && ring.has_what_sockets_take() });
        if result != Err(Status::EINVAL) {
            break; // EINVAL is a flag that this kernel does not know
        }
    }
    result
}

/// Whether a ring has ended in this process.
static ONE_HAS_ENDED: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// When the last ring that this thread used has ended, in nanoseconds of the monotonic clock; 0 for never.
    static LAST_END: Cell<u64> = const { Cell::new(0) };
}

/// How long after a ring's end the kernel may interrupt the thread that used it.
const AFTERMATH_NS: u64 = 1_000_000_000;

/// Whether a ring that the calling thread used has ended.
#[inline]
pub fn ring_has_ended() -> bool {
    ONE_HAS_ENDED.load(Ordering::Relaxed) && LAST_END.get() != 0
}

/// Whether a wait that was interrupted now may have been so because a ring has ended, and not by a signal.
pub fn ring_interrupts(now: u64) -> bool {
    ring_has_ended() && now.saturating_sub(LAST_END.get()) < AFTERMATH_NS
}

/// The arguments of a wait: `struct io_uring_getevents_arg` of linux/io_uring.h.
#[repr(C)]
struct WaitArguments {
    sigmask: u64,
    sigmask_size: u32,
    min_wait_usec: u32,
    timeout: u64,
}

/// Waiting in the ring is not waiting for a disk: without this flag it counts as such (Linux 6.15).
const ENTER_NO_IOWAIT: u32 = 1 << 7;

/// A ring, and what it is bound to.
pub struct Ring {
    pub uring: ManuallyDrop<IoUring>,
    mode: Mode,
    /// The thread that made it.
    thread: usize,
    /// The process that made it.
    process: u32,
    /// Whether the kernel writes to the wake-up descriptor.
    listening: bool,
    /// `ENTER_NO_IOWAIT` where the kernel knows it.
    wait_flags: u32,
}

impl Ring {
    pub fn new(mode: Mode, (submissions, completions): (u32, u32), wake_fd: RawFd) -> Result<Ring> {
        let uring = mode.builder().setup_cqsize(completions).build(submissions).map_err(Status::from_io)?;
        let features = uring.params();
        if !features.is_feature_nodrop() || !features.is_feature_rw_cur_pos() {
            return Err(Status::EOPNOTSUPP);
        }
        let (thread, process) = (thread::current(), std::process::id());
        let uring = ManuallyDrop::new(uring);
        let mut ring = Ring { uring, mode, thread, process, listening: true, wait_flags: 0 };
        if !ring.has(&OPCODES)? {
            return Err(Status::EOPNOTSUPP);
        }
        ring.uring.submitter().register_eventfd(wake_fd).map_err(Status::from_io)?;
        ring.listen(false);
        // SAFETY: nothing is handed over, and no argument is passed.
        let knows = unsafe { ring.uring.submitter().enter::<libc::sigset_t>(0, 0, ENTER_NO_IOWAIT, None) }.is_ok();
        ring.wait_flags = if knows { ENTER_NO_IOWAIT } else { 0 };
        Ok(ring)
    }

    fn has(&self, opcodes: &[u8]) -> Result<bool> {
        let mut probe = Probe::new();
        self.uring.submitter().register_probe(&mut probe).map_err(Status::from_io)?;
        Ok(opcodes.iter().all(|opcode| probe.is_supported(*opcode)))
    }

    fn has_what_sockets_take(&self) -> bool {
        self.uring.params().is_feature_ext_arg()
            && self.has(&SOCKET_OPCODES).unwrap_or(false)
            && BufferRing::new(1).is_ok_and(|buffers| {
                buffers.register(self).is_ok() && self.uring.submitter().unregister_buf_ring(buffers::GROUP).is_ok()
            })
    }

    /// Whether the calling thread may not use it: deferred rings are for the thread that made them.
    pub fn is_foreign(&self) -> bool {
        self.mode == Mode::Deferred && self.thread != thread::current()
    }

    /// Whether it came with a fork.
    pub fn is_inherited(&self) -> bool {
        self.process != std::process::id()
    }

    /// Has the kernel write to the wake-up descriptor, or not.
    pub fn listen(&mut self, on: bool) {
        // Plain rings are those of old kernels, where the word of flags may not be there (before Linux 5.8).
        if self.listening == on || self.mode == Mode::Plain {
            return;
        }
        self.listening = on;
        let queue = self.uring.completion();
        if on {
            queue.enable_eventfd();
            fence(Ordering::SeqCst); // before it is looked whether something was done meanwhile
        } else {
            queue.disable_eventfd();
        }
    }

    /// Whether the kernel has completions that only a call brings into the queue.
    pub fn holds_back(&mut self) -> bool {
        let queue = self.uring.submission();
        queue.cq_overflow() || (self.mode != Mode::Plain && queue.taskrun())
    }

    /// io_uring_enter(2): hands over what stands in the submission queue and waits for `want` completions. Returns how
    /// many entries the kernel took.
    pub fn enter(&mut self, want: u32) -> Result<usize> {
        // GETEVENTS always: it is what makes the kernel do deferred work, and costs next to nothing beside the call.
        let (offered, flags) = (self.offered(), EnterFlags::GETEVENTS.bits());
        // SAFETY: no argument is passed; what the entries point to is lent until their completion (P2).
        unsafe { self.uring.submitter().enter::<libc::sigset_t>(offered, want, flags, None) }.map_err(Status::from_io)
    }

    /// As [`Ring::enter`], for one completion and at most `timeout_ns` ([`FOREVER`] for no end): `-ETIME` when that is
    /// over.
    pub fn enter_for(&mut self, timeout_ns: u64) -> Result<usize> {
        let timespec = types::Timespec::from(Duration::from_nanos(timeout_ns));
        let timeout = if timeout_ns == FOREVER { 0 } else { (&raw const timespec).addr() as u64 };
        let arguments = WaitArguments { sigmask: 0, sigmask_size: 0, min_wait_usec: 0, timeout };
        let flags = (EnterFlags::GETEVENTS | EnterFlags::EXT_ARG).bits() | self.wait_flags;
        let offered = self.offered();
        // SAFETY: the arguments and the timespec live through the call; what the entries point to is lent until their
        // completion (P2).
        unsafe { self.uring.submitter().enter(offered, 1, flags, Some(&arguments)) }.map_err(Status::from_io)
    }

    fn offered(&mut self) -> u32 {
        u32::try_from(self.uring.submission().len()).unwrap_or(u32::MAX)
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if self.is_inherited() {
            // The memory is not mapped here (`dontfork`), and what is mapped in its place by now is somebody else's.
            // SAFETY: the copy of the descriptor came with the fork; nothing else in this process closes it, for the
            // IoUring is not dropped.
            drop(unsafe { OwnedFd::from_raw_fd(self.uring.as_raw_fd()) });
        } else {
            // SAFETY: dropped once, and not used afterwards.
            unsafe { ManuallyDrop::drop(&mut self.uring) };
            if self.thread == thread::current() {
                LAST_END.set(monotonic_ns());
                ONE_HAS_ENDED.store(true, Ordering::Relaxed);
            }
        }
    }
}

pub const EMFILE: Status = Status::from_errno(libc::EMFILE);
const ENFILE: Status = Status::from_errno(libc::ENFILE);
