//! The io_uring engine: the kernel carries out file I/O by itself, and one system call a turn hands over and takes
//! back all of it (io_uring(7)).
//!
//! Called by the loop through [`Engine`]; calls the crate `io-uring`, which maps the rings and fills in their
//! entries. It owns the ring, and the identities of the jobs that the kernel has.
//!
//! A job's way:
//!
//! ```text
//!   start -> waiting -- submit --> flying -- harvest --> done -> reap
//! ```
//!
//! Contract, besides E1 to E6:
//! 1. An entry stays in `waiting` until the kernel has said that it took it; so nothing is lost when the queue is
//!    full, the kernel takes less than was offered, or the ring is made anew.
//! 2. Completions carry the job's id. One that is not in `flying` (the answer to a cancel, for one) is dropped.
//! 3. No more jobs are in the kernel than the completion queue holds; the rest waits.
//! 4. The ring is made for the first job: a loop without file I/O has none. One with deferred task work belongs to
//!    the thread that made it; another thread gets a new one, and it can, since a loop changes hands only without
//!    jobs in flight.
//! 5. The loop's wake-up descriptor is registered with the ring, so that a completion ends any kind of wait. The
//!    kernel writes to it only while the loop may sleep: that is, from `submit` without a result to the next `reap`.
//! 6. A child of fork has neither the ring's memory nor, once the engine is made usable or dropped, its descriptor.
//!
//! When a ring ends, the kernel later interrupts the thread that used it, once: epoll_wait(2) there is `-EINTR`
//! without a signal.
//!
//! Start reading at `impl Engine for Uring`.

use super::{Cancel, Done, Engine, Job, Settings, Work};
use crate::status::{Result, Status};
use crate::sys::thread;
use crate::sys::wakeup::Wakeup;
use core::hash::{BuildHasherDefault, Hasher};
use core::mem::{ManuallyDrop, MaybeUninit};
use core::sync::atomic::{Ordering, fence};
use io_uring::squeue::{Entry, Flags};
use io_uring::{EnterFlags, IoUring, Probe, opcode, types};
use once_cell::sync::OnceCell;
use std::collections::{HashSet, VecDeque};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::thread::Builder;

/// How many jobs one io_uring_enter(2) hands over.
const SUBMISSIONS: u32 = 256;

/// How many jobs may be in the kernel.
const COMPLETIONS: u32 = 1024;

/// The user data of requests to cancel. No job's id: these have a generation, which is never 0, in the upper half.
const CANCEL: u64 = 1;

/// The most that one read or write transfers on Linux, whatever is asked for (read(2)).
const MAX_TRANSFER: usize = 0x7fff_f000;

/// What the engine cannot do without.
const OPCODES: [u8; 6] = [
    opcode::Read::CODE,
    opcode::Write::CODE,
    opcode::Readv::CODE,
    opcode::Writev::CODE,
    opcode::Fsync::CODE,
    opcode::AsyncCancel::CODE,
];

/// Bytes of the stack of the thread that probes.
const STACK: usize = 128 * 1024;

/// How the kernel finishes what was not done at once, best first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    /// When this thread asks for completions, and in no other thread: Linux 6.1.
    Deferred,
    /// When this thread is in the kernel anyway: Linux 5.19.
    Cooperative,
    /// By interrupting this thread: Linux 5.6.
    Plain,
}

const MODES: [Mode; 3] = [Mode::Deferred, Mode::Cooperative, Mode::Plain];

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

/// The best mode, or why there is none: found out once a process.
static PROBED: OnceCell<Result<Mode>> = OnceCell::new();

/// Why io_uring is not to be had in this process, if that was found out: `-ENOSYS` when the kernel has none, `-EPERM`
/// and `-EACCES` when it is forbidden (a seccomp filter, the sysctl `kernel.io_uring_disabled`), `-EOPNOTSUPP` when
/// it is too old, `-ENOMEM` when RLIMIT_MEMLOCK leaves no room for a ring (before Linux 5.12).
pub fn unavailable() -> Option<Status> {
    PROBED.get().and_then(|probed| probed.err())
}

/// Finds the best mode by making rings, in a thread of its own: the kernel interrupts the thread when they have ended.
fn probe() -> Result<Mode> {
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

fn try_modes() -> Result<Mode> {
    let wakeup = Wakeup::new()?;
    let mut result = Err(Status::EOPNOTSUPP);
    for mode in MODES {
        result = Ring::new(mode, (SUBMISSIONS, COMPLETIONS), wakeup.fd()).map(|_| mode);
        if result != Err(Status::EINVAL) {
            break; // EINVAL is a flag that this kernel does not know
        }
    }
    result
}

/// A ring, and what it is bound to.
struct Ring {
    uring: ManuallyDrop<IoUring>,
    mode: Mode,
    /// The thread that made it.
    thread: usize,
    /// The process that made it.
    process: u32,
    /// Whether the kernel writes to the wake-up descriptor.
    listening: bool,
}

impl Ring {
    fn new(mode: Mode, (submissions, completions): (u32, u32), wake_fd: RawFd) -> Result<Ring> {
        let uring = mode.builder().setup_cqsize(completions).build(submissions).map_err(Status::from_io)?;
        let features = uring.params();
        if !features.is_feature_nodrop() || !features.is_feature_rw_cur_pos() {
            return Err(Status::EOPNOTSUPP);
        }
        let mut probe = Probe::new();
        uring.submitter().register_probe(&mut probe).map_err(Status::from_io)?;
        if OPCODES.iter().any(|opcode| !probe.is_supported(*opcode)) {
            return Err(Status::EOPNOTSUPP);
        }
        uring.submitter().register_eventfd(wake_fd).map_err(Status::from_io)?;
        let (thread, process) = (thread::current(), std::process::id());
        let mut ring = Ring { uring: ManuallyDrop::new(uring), mode, thread, process, listening: true };
        ring.listen(false);
        Ok(ring)
    }

    /// Has the kernel write to the wake-up descriptor, or not.
    fn listen(&mut self, on: bool) {
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
    fn holds_back(&mut self) -> bool {
        let queue = self.uring.submission();
        queue.cq_overflow() || (self.mode != Mode::Plain && queue.taskrun())
    }

    /// io_uring_enter(2): hands over what stands in the submission queue and waits for `want` completions. Returns
    /// how many entries the kernel took.
    fn enter(&mut self, want: u32) -> Result<usize> {
        let offered = self.uring.submission().len();
        let offered = u32::try_from(offered).unwrap_or(u32::MAX);
        // GETEVENTS always: it is what makes the kernel do deferred work, and costs next to nothing beside the call.
        // SAFETY: no argument is passed; what the entries point to is lent until their completion (P2).
        let taken = unsafe {
            self.uring.submitter().enter::<libc::sigset_t>(offered, want, EnterFlags::GETEVENTS.bits(), None)
        };
        taken.map_err(Status::from_io)
    }

    fn is_inherited(&self) -> bool {
        self.process != std::process::id()
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
        }
    }
}

const EMFILE: Status = Status::from_errno(libc::EMFILE);
const ENFILE: Status = Status::from_errno(libc::ENFILE);

/// Spreads ids, which are numbers already: the hash of the standard library would cost more than the rest of `harvest`.
#[derive(Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(self.0 ^ u64::from(*byte)));
    }

    fn write_u64(&mut self, id: u64) {
        self.0 = id.wrapping_mul(0x9e37_79b9_7f4a_7c15); // 2^64 / golden ratio (Knuth, TAOCP 6.4)
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

pub struct Uring {
    ring: Option<Ring>,
    mode: Mode,
    /// Jobs, and requests to cancel, that the kernel has not taken.
    waiting: VecDeque<Entry>,
    /// How many of them, from the front, stand in the submission queue.
    offered: usize,
    /// The jobs that the kernel has.
    flying: HashSet<u64, BuildHasherDefault<Spread>>,
    /// Jobs that are done. It has room for all that were started, so that a push never allocates; so has `flying`.
    done: VecDeque<Done>,
    /// How many jobs may be in the kernel.
    limit: usize,
    sizes: (u32, u32),
    settings: Settings,
}

impl Uring {
    /// Makes the engine, or says `GYRE_EUNSUPPORTED`; then [`unavailable`] has the reason.
    pub fn new(settings: &Settings) -> Result<Uring> {
        Ok(Uring::with(settings, probe()?, (SUBMISSIONS, COMPLETIONS)))
    }

    fn with(settings: &Settings, mode: Mode, sizes: (u32, u32)) -> Uring {
        Uring {
            ring: None,
            mode,
            waiting: VecDeque::new(),
            offered: 0,
            flying: HashSet::default(),
            done: VecDeque::new(),
            limit: sizes.1 as usize,
            sizes,
            settings: *settings,
        }
    }

    /// Sees to it that there is a ring, and that it is the calling thread's.
    fn own_ring(&mut self) -> Result<()> {
        let foreign = |ring: &Ring| ring.mode == Mode::Deferred && ring.thread != thread::current();
        if self.flying.is_empty() && self.ring.as_ref().is_none_or(foreign) {
            self.make_ring()?;
        }
        Ok(())
    }

    /// Makes the ring, also anew; no job is in the kernel.
    fn make_ring(&mut self) -> Result<()> {
        self.ring = Some(Ring::new(self.mode, self.sizes, self.settings.wake_fd)?);
        self.offered = 0;
        Ok(())
    }

    /// Puts into the submission queue what fits. Returns whether something stands in it.
    fn offer(&mut self) -> bool {
        let Some(ring) = &mut self.ring else { return false };
        let mut room = self.limit.saturating_sub(self.flying.len()).saturating_sub(self.offered);
        let mut limited = None;
        let mut queue = ring.uring.submission();
        for entry in self.waiting.iter().skip(self.offered) {
            let mut entry = entry.clone();
            if matches!(entry.get_opcode() as u8, opcode::Write::CODE | opcode::Writev::CODE)
                && *limited.get_or_insert_with(file_size_is_limited)
            {
                // Past RLIMIT_FSIZE the writing thread gets SIGXFSZ: let it be one of the kernel's, which blocks
                // signals.
                entry = entry.flags(Flags::ASYNC);
            }
            let is_job = entry.get_user_data() != CANCEL;
            // SAFETY: what the entry points to is lent until its completion (P2).
            if (is_job && room == 0) || unsafe { queue.push(&entry) }.is_err() {
                break;
            }
            room = room.saturating_sub(usize::from(is_job));
            self.offered = self.offered.saturating_add(1);
        }
        self.offered > 0
    }

    /// Enters the kernel once, and takes note of what it took and what it has done. Returns whether it took all it
    /// was offered.
    fn enter(&mut self, want: u32) -> bool {
        let Some(ring) = &mut self.ring else { return false };
        let mut all = true;
        match ring.enter(want) {
            Ok(taken) => {
                all = taken >= self.offered;
                for entry in self.waiting.drain(..taken.min(self.waiting.len())) {
                    if entry.get_user_data() != CANCEL {
                        self.flying.insert(entry.get_user_data());
                    }
                }
                self.offered = self.offered.saturating_sub(taken);
            }
            // Memory is short, or completions are to be taken first, or a signal came: again, later.
            Err(Status::EAGAIN | Status::EBUSY | Status::EINTR) => all = false,
            Err(status) => self.give_up(status),
        }
        self.harvest();
        all
    }

    /// The ring is of no use any more. EEXIST: the thread that made it has ended, and another one has its number;
    /// then only the ring is lost, unless that thread left jobs in the kernel, which it may not. Everything else: the
    /// host closed the descriptor beneath it, or forbade the call. The jobs that are lost are done, with the status.
    #[cold]
    fn give_up(&mut self, status: Status) {
        self.harvest();
        let stolen = status == Status::EEXIST;
        let result = i64::from(if stolen { Status::ECANCELED } else { status }.code());
        self.done.extend(self.flying.drain().map(|id| Done { id, result }));
        if stolen && self.make_ring().is_ok() {
            return;
        }
        let ring = self.ring.take();
        if matches!(status, Status::EBADF | Status::EOPNOTSUPP) {
            // The number is closed, or another file's: a ring that stays mapped is better than a close of the host's
            // file.
            core::mem::forget(ring);
        }
        self.offered = 0;
        let jobs = self.waiting.drain(..).map(|entry| entry.get_user_data()).filter(|id| *id != CANCEL);
        self.done.extend(jobs.map(|id| Done { id, result }));
    }

    /// Takes what is in the completion queue.
    fn harvest(&mut self) {
        let Some(ring) = &mut self.ring else { return };
        for entry in ring.uring.completion() {
            if self.flying.remove(&entry.user_data()) {
                self.done.push_back(Done { id: entry.user_data(), result: result_of(entry.result()) });
            }
        }
    }

    /// Hands over what waits, as far as there is room in the kernel.
    fn hand_over(&mut self) {
        while self.offer() && self.enter(0) {}
    }

    /// How many jobs were started and not reaped, at most.
    fn in_flight(&self) -> usize {
        self.waiting.len().saturating_add(self.flying.len()).saturating_add(self.done.len())
    }
}

/// A result as it is told. EINTR is what a cancel makes of I/O that was going on: nobody else interrupts the kernel's
/// threads.
fn result_of(result: i32) -> i64 {
    i64::from(if result == Status::EINTR.code() { Status::ECANCELED.code() } else { result })
}

fn file_size_is_limited() -> bool {
    let mut limit = MaybeUninit::<libc::rlimit>::uninit();
    // SAFETY: `limit` is valid to write to, and read only when getrlimit has filled it.
    unsafe {
        libc::getrlimit(libc::RLIMIT_FSIZE, limit.as_mut_ptr()) != 0
            || limit.assume_init().rlim_cur != libc::RLIM_INFINITY
    }
}

fn entry_of(id: u64, job: &Job) -> Entry {
    let fd = types::Fd(job.fd);
    let offset = u64::try_from(job.offset).unwrap_or(u64::MAX); // which is the file position
    let clamp = |len: usize| len.min(MAX_TRANSFER) as u32;
    let entry = match job.work {
        Work::Read { buf, len } => opcode::Read::new(fd, buf, clamp(len)).offset(offset).build(),
        Work::Write { buf, len } => opcode::Write::new(fd, buf, clamp(len)).offset(offset).build(),
        Work::Readv { iov, count } => opcode::Readv::new(fd, iov, count.unsigned_abs()).offset(offset).build(),
        Work::Writev { iov, count } => opcode::Writev::new(fd, iov, count.unsigned_abs()).offset(offset).build(),
        Work::Sync { data_only: true } => opcode::Fsync::new(fd).flags(types::FsyncFlags::DATASYNC).build(),
        Work::Sync { data_only: false } => opcode::Fsync::new(fd).build(),
    };
    entry.user_data(id)
}

impl Engine for Uring {
    fn start(&mut self, id: u64, job: Job) -> Result<()> {
        self.own_ring()?;
        let room = self.in_flight().saturating_add(1);
        self.waiting.try_reserve(1).map_err(|_| Status::ENOMEM)?;
        self.flying.try_reserve(room.saturating_sub(self.flying.len())).map_err(|_| Status::ENOMEM)?;
        self.done.try_reserve(room.saturating_sub(self.done.len())).map_err(|_| Status::ENOMEM)?;
        self.waiting.push_back(entry_of(id, &job));
        Ok(())
    }

    fn submit(&mut self) {
        self.hand_over();
        if self.done.is_empty()
            && !self.flying.is_empty()
            && let Some(ring) = &mut self.ring
        {
            ring.listen(true);
            // Off x86-64 the kernel's note that it holds something back may become visible after its look at
            // `listen`; a call is certain.
            if ring.holds_back() || cfg!(not(target_arch = "x86_64")) {
                self.enter(0);
            } else {
                self.harvest();
            }
        }
        let stuck = self.flying.is_empty() && !self.waiting.is_empty(); // for want of memory: to be tried again
        if stuck || !self.done.is_empty() {
            (self.settings.wake)(self.settings.place);
        }
    }

    fn cancel(&mut self, id: u64) -> Cancel {
        if self.flying.contains(&id) {
            if self.waiting.try_reserve(1).is_ok() {
                self.waiting.push_back(opcode::AsyncCancel::new(id).build().user_data(CANCEL));
            } // without memory the request is not made, and the job comes with its result
            return Cancel::Comes;
        }
        // From the back, since the loop cancels in that order.
        match self.waiting.iter().rposition(|entry| entry.get_user_data() == id) {
            Some(index) if index >= self.offered => {
                self.waiting.remove(index);
                Cancel::Dropped
            }
            _ => Cancel::Comes,
        }
    }

    fn reap(&mut self) -> Option<Done> {
        if self.done.is_empty() && !self.flying.is_empty() {
            if let Some(ring) = &mut self.ring {
                ring.listen(false);
            }
            self.harvest();
            if self.done.is_empty() && self.ring.as_mut().is_some_and(Ring::holds_back) {
                self.enter(0);
            }
        }
        self.done.pop_front()
    }

    fn drain(&mut self) {
        loop {
            self.hand_over();
            if self.flying.is_empty() && self.waiting.is_empty() {
                return;
            }
            self.enter(u32::try_from(self.flying.len()).unwrap_or(u32::MAX));
        }
    }

    fn after_fork(&mut self, wake_fd: RawFd) -> Result<()> {
        let settings = Settings { wake_fd, ..self.settings };
        *self = Uring::with(&settings, self.mode, self.sizes); // drops the old one, which sees where it is
        Ok(())
    }

    fn owns(&self, fd: RawFd) -> bool {
        self.ring.as_ref().is_some_and(|ring| ring.uring.as_raw_fd() == fd)
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        if self.ring.as_ref().is_some_and(|ring| !ring.is_inherited()) {
            self.drain();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::AtomicUsize;
    use std::fs::File;
    use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
    use std::os::unix::fs::{FileExt, OpenOptionsExt};
    use std::process::Command;

    static WAKES: AtomicUsize = AtomicUsize::new(0);

    /// An engine, and what the loop would give it.
    struct Bench {
        engine: ManuallyDrop<Uring>,
        wake: OwnedFd,
    }

    impl Drop for Bench {
        fn drop(&mut self) {
            // SAFETY: dropped once; the engine goes before the descriptor that it was given.
            unsafe { ManuallyDrop::drop(&mut self.engine) };
        }
    }

    fn eventfd() -> OwnedFd {
        // SAFETY: eventfd takes no pointer, and the descriptor is nobody else's.
        unsafe { OwnedFd::from_raw_fd(libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK)) }
    }

    fn settings(wake_fd: RawFd) -> Settings {
        let wake = |_| {
            WAKES.fetch_add(1, Ordering::Relaxed);
        };
        Settings { file_threads: 1, aio: crate::proactor::AioSettings::default(), wake, place: 1, wake_fd }
    }

    impl Bench {
        fn with(mode: Mode, sizes: (u32, u32)) -> Bench {
            let wake = eventfd();
            let engine = Uring::with(&settings(wake.as_raw_fd()), mode, sizes);
            Bench { engine: ManuallyDrop::new(engine), wake }
        }

        fn new(mode: Mode) -> Bench {
            Bench::with(mode, (SUBMISSIONS, COMPLETIONS))
        }

        /// Whether the wake-up descriptor becomes readable in so many milliseconds; it is not, afterwards.
        fn wakes_within(&self, ms: i32) -> bool {
            let mut one = [libc::pollfd { fd: self.wake.as_raw_fd(), events: libc::POLLIN, revents: 0 }];
            // SAFETY: one entry is writable.
            while unsafe { libc::poll(one.as_mut_ptr(), 1, ms) } < 0 {} // EINTR: a thread of the kernel's called
            let woken = one[0].revents != 0;
            crate::sys::wakeup::drain(self.wake.as_raw_fd());
            woken
        }

        /// Submits, then waits as the loop does until so many jobs are done.
        fn reap(&mut self, count: usize) -> Vec<Done> {
            let mut done = Vec::new();
            while done.len() < count {
                let wakes = WAKES.load(Ordering::Relaxed);
                self.engine.submit();
                if !self.engine.done.is_empty() {
                    assert!(WAKES.load(Ordering::Relaxed) > wakes, "the loop would sleep over what is done");
                } else {
                    // Cooperative rings may be told of by EINTR alone, which ends a wait as well.
                    assert!(self.wakes_within(10_000) || self.engine.mode != Mode::Deferred, "never told");
                }
                done.extend(core::iter::from_fn(|| self.engine.reap()));
            }
            assert_eq!(self.engine.in_flight(), 0);
            done
        }

        fn ring(&mut self) -> &mut Ring {
            self.engine.ring.as_mut().unwrap()
        }

        fn run(&mut self, job: Job) -> i64 {
            self.engine.start(id(0), job).unwrap();
            let done = self.reap(1);
            assert_eq!(done[0].id, id(0));
            done[0].result
        }
    }

    fn id(index: usize) -> u64 {
        (7 << 32) | (1 << 24) | index as u64
    }

    /// A file without a name.
    fn file() -> File {
        let mut options = std::fs::OpenOptions::new();
        options.read(true).write(true).custom_flags(libc::O_TMPFILE).open(std::env::temp_dir()).unwrap()
    }

    fn read(fd: &impl AsRawFd, offset: i64, buf: &mut [u8]) -> Job {
        Job { fd: fd.as_raw_fd(), offset, work: Work::Read { buf: buf.as_mut_ptr(), len: buf.len() } }
    }

    fn write(fd: &impl AsRawFd, offset: i64, buf: &[u8]) -> Job {
        Job { fd: fd.as_raw_fd(), offset, work: Work::Write { buf: buf.as_ptr(), len: buf.len() } }
    }

    fn error(status: Status) -> i64 {
        i64::from(status.code())
    }

    /// A read that stays in the kernel until something is written.
    fn pending_read(bench: &mut Bench, index: usize, buf: &mut [u8]) -> (PipeReader, PipeWriter) {
        let (reader, writer) = pipe().unwrap();
        bench.engine.start(id(index), read(&reader, -1, buf)).unwrap();
        (reader, writer)
    }

    fn drop_cache(file: &File) {
        file.sync_all().unwrap();
        // SAFETY: takes no pointer.
        unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    }

    #[test]
    fn every_kind_of_job_gives_what_the_system_call_gives() {
        for mode in MODES {
            let mut bench = Bench::new(mode);
            let file = file();
            let fd = file.as_raw_fd();
            assert_eq!(bench.run(write(&file, 0, b"hello, world")), 12);
            assert_eq!(bench.run(write(&file, -1, b"HELLO")), 5, "at the position, which is 0");
            let mut buf = [0; 64];
            assert_eq!(bench.run(read(&file, -1, &mut buf)), 7, "from the position, which is 5");
            assert_eq!(&buf[..7], b", world");
            let pieces = [
                libc::iovec { iov_base: c"ab".as_ptr().cast_mut().cast(), iov_len: 2 },
                libc::iovec { iov_base: c"cde".as_ptr().cast_mut().cast(), iov_len: 3 },
            ];
            let writev = Work::Writev { iov: pieces.as_ptr(), count: 2 };
            assert_eq!(bench.run(Job { fd, offset: 10, work: writev }), 5);
            let (head, tail) = buf.split_at_mut(3);
            let pieces = [
                libc::iovec { iov_base: head.as_mut_ptr().cast(), iov_len: 3 },
                libc::iovec { iov_base: tail.as_mut_ptr().cast(), iov_len: 40 },
            ];
            let readv = Work::Readv { iov: pieces.as_ptr(), count: 2 };
            assert_eq!(bench.run(Job { fd, offset: 0, work: readv }), 15, "less than asked for");
            assert_eq!(&buf[..15], b"HELLO, worabcde");
            let none = Work::Readv { iov: core::ptr::null(), count: 0 };
            assert_eq!(bench.run(Job { fd, offset: 0, work: none }), 0);
            assert_eq!(bench.run(Job { fd, offset: -1, work: Work::Sync { data_only: true } }), 0);
            assert_eq!(bench.run(Job { fd, offset: -1, work: Work::Sync { data_only: false } }), 0);
            assert_eq!(bench.run(read(&file, 15, &mut buf)), 0, "the end of the file");
            assert_eq!(bench.run(read(&file, 0, &mut [])), 0);
        }
    }

    #[test]
    fn offsets_past_4_gib_and_lengths_past_the_kernels_most_are_carried_out() {
        let mut bench = Bench::new(Mode::Deferred);
        let file = file();
        let far = (5i64 << 30) + 3;
        assert_eq!(bench.run(write(&file, far, b"far")), 3);
        let mut buf = [0; 4];
        assert_eq!(bench.run(read(&file, far, &mut buf)), 3);
        assert_eq!(&buf[..3], b"far");
        assert_eq!(bench.run(read(&file, 3, &mut buf)), 4, "a hole");
        assert_eq!(buf, [0; 4]);
        // 4 GiB are asked for, modulo 2^32 that is nothing; only 4 bytes are there, and only they are touched.
        let work = Work::Read { buf: buf.as_mut_ptr(), len: 4 << 30 };
        assert_eq!(bench.run(Job { fd: file.as_raw_fd(), offset: far - 1, work }), 4);
        assert_eq!(&buf, b"\0far");
    }

    #[test]
    fn errors_are_those_of_the_system_call() {
        for mode in MODES {
            let mut bench = Bench::new(mode);
            let mut buf = [0; 8];
            let dir = File::open(std::env::temp_dir()).unwrap();
            assert_eq!(bench.run(read(&dir, 0, &mut buf)), error(Status::from_errno(libc::EISDIR)));
            let read_only = File::open("/dev/null").unwrap();
            assert_eq!(bench.run(write(&read_only, 0, b"x")), error(Status::EBADF));
            assert_eq!(bench.run(read(&i32::MAX, 0, &mut buf)), error(Status::EBADF));
            let full = File::options().write(true).open("/dev/full").unwrap();
            assert_eq!(bench.run(write(&full, 0, b"x")), error(Status::from_errno(libc::ENOSPC)));
            assert_eq!(bench.run(read(&full, 0, &mut buf)), error(Status::EBADF));
        }
    }

    #[test]
    fn a_non_blocking_file_that_is_not_cached_is_read_all_the_same() {
        let path = std::env::temp_dir().join(format!("gyre-uring-{}", std::process::id()));
        let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        file.write_all_at(&[7; 65536], 0).unwrap();
        drop_cache(&file);
        let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut buf = [0; 4096];
        assert_eq!(Bench::new(Mode::Deferred).run(read(&file, 32768, &mut buf)), 4096);
        assert_eq!(buf, [7; 4096]);
    }

    /// A write past RLIMIT_FSIZE raises SIGXFSZ, whose default is death, in the thread that writes.
    #[test]
    fn a_write_past_the_file_size_limit_is_an_error_and_no_signal() {
        in_child(|| {
            let mut bench = Bench::new(Mode::Deferred);
            let file = file();
            let limit = libc::rlimit { rlim_cur: 4096, rlim_max: libc::RLIM_INFINITY };
            // SAFETY: `limit` is readable.
            assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &limit) }, 0);
            let result = bench.run(write(&file, 4000, &[1; 200]));
            assert_eq!(result, 96, "what fits");
            assert_eq!(bench.run(write(&file, 4096, b"x")), error(Status::from_errno(libc::EFBIG)));
            // Where the file system can write without waiting, the submitting thread writes: direct I/O, nearly
            // everywhere.
            #[repr(align(4096))]
            struct Block([u8; 4096]);
            // SAFETY: takes no pointer. Where it is refused, the write below is an ordinary one.
            unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, libc::O_DIRECT) };
            let block = Box::new(Block([1; 4096]));
            assert_eq!(bench.run(write(&file, 4096, &block.0)), error(Status::from_errno(libc::EFBIG)));
        });
    }

    fn check_many(bench: &mut Bench, count: usize) {
        let file = file();
        for index in 0..count {
            file.write_all_at(&(index as u64).to_le_bytes(), index as u64 * 4096).unwrap();
        }
        drop_cache(&file);
        let mut buffers = vec![[0u8; 4096]; count];
        for (index, buf) in buffers.iter_mut().enumerate() {
            bench.engine.start(id(index), read(&file, index as i64 * 4096, buf)).unwrap();
        }
        let mut seen = vec![false; count];
        for done in bench.reap(count) {
            let index = (done.id - id(0)) as usize;
            assert!(!core::mem::replace(&mut seen[index], true), "told twice");
            assert_eq!(done.result, if index + 1 == count { 8 } else { 4096 });
            assert_eq!(buffers[index][..8], (index as u64).to_le_bytes());
        }
    }

    #[test]
    fn a_thousand_reads_in_flight_each_complete_once_with_their_data() {
        for mode in MODES {
            check_many(&mut Bench::new(mode), 1000);
        }
    }

    #[test]
    fn more_jobs_than_the_queues_hold_wait_and_complete() {
        for mode in MODES {
            check_many(&mut Bench::with(mode, (4, 8)), 300);
        }
    }

    #[test]
    fn a_completion_ends_the_sleep_and_only_the_sleep() {
        for mode in MODES {
            let mut bench = Bench::new(mode);
            let mut buf = [0; 4];
            let (_reader, mut writer) = pending_read(&mut bench, 1, &mut buf);
            bench.engine.submit();
            assert_eq!(bench.engine.reap(), None);
            bench.engine.submit();
            assert!(!bench.wakes_within(0), "told of nothing");
            let told = std::thread::scope(|scope| {
                scope.spawn(move || writer.write_all(b"data").unwrap());
                bench.wakes_within(10_000)
            });
            assert!(told || mode == Mode::Cooperative);
            let mut done = None;
            while done.is_none() {
                done = bench.engine.reap();
            }
            assert_eq!(done, Some(Done { id: id(1), result: 4 }));
            assert!(mode == Mode::Plain || !bench.wakes_within(0), "told again");
            assert_eq!(&buf, b"data");
        }
    }

    #[test]
    fn cancel_drops_what_waits_and_ends_what_is_in_the_kernel() {
        for mode in MODES {
            let mut bench = Bench::new(mode);
            let (mut first, mut second) = ([0; 4], [0; 4]);
            let _first = pending_read(&mut bench, 1, &mut first);
            let _second = pending_read(&mut bench, 2, &mut second);
            assert_eq!(bench.engine.cancel(id(2)), Cancel::Dropped);
            bench.engine.submit();
            assert_eq!(bench.engine.cancel(id(1)), Cancel::Comes);
            assert_eq!(bench.engine.cancel(id(1)), Cancel::Comes, "twice is no harm");
            assert_eq!(bench.reap(1), [Done { id: id(1), result: error(Status::ECANCELED) }]);
            assert_eq!(bench.engine.cancel(id(1)), Cancel::Comes, "too late is no harm");
            bench.engine.submit();
            assert_eq!(bench.engine.reap(), None);
        }
    }

    #[test]
    fn a_result_that_is_there_beats_the_cancel() {
        let mut bench = Bench::new(Mode::Deferred);
        let mut buf = [0; 4];
        let (_reader, mut writer) = pending_read(&mut bench, 1, &mut buf);
        bench.engine.submit();
        writer.write_all(b"real").unwrap();
        bench.ring().enter(0).unwrap(); // it stands in the completion queue, and the engine has not looked
        assert_eq!(bench.engine.cancel(id(1)), Cancel::Comes);
        assert_eq!(bench.reap(1)[0].result, 4);
        assert_eq!(&buf, b"real");
    }

    #[test]
    fn completions_that_overflow_the_queue_are_not_lost() {
        for mode in MODES {
            let mut bench = Bench::with(mode, (64, 64));
            let mut buffers = vec![[0u8; 4]; 64];
            let pipes: Vec<_> =
                buffers.iter_mut().enumerate().map(|(index, buf)| pending_read(&mut bench, index, buf)).collect();
            bench.engine.submit();
            (0..64).for_each(|index| assert_eq!(bench.engine.cancel(id(index)), Cancel::Comes));
            // Behind the engine's back, so that nothing is taken from the queue: 128 completions for 64 places.
            assert!(bench.engine.offer());
            let taken = bench.ring().enter(0).unwrap();
            assert_eq!(taken, 64);
            bench.engine.waiting.drain(..taken);
            bench.engine.offered = 0;
            assert!(bench.ring().uring.submission().cq_overflow());
            let mut done = bench.reap(64);
            done.sort_by_key(|done| done.id);
            assert!(
                done.iter().enumerate().all(|(i, done)| done.id == id(i) && done.result == error(Status::ECANCELED))
            );
            drop(pipes);
        }
    }

    #[test]
    fn drain_and_drop_wait_until_the_kernel_has_no_job() {
        for mode in MODES {
            let (mut first, mut second) = ([0; 4], [0; 4]);
            let mut bench = Bench::new(mode);
            let (_reader, mut writer) = pending_read(&mut bench, 1, &mut first);
            std::thread::scope(|scope| {
                scope.spawn(move || writer.write_all(b"one").unwrap());
                bench.engine.drain(); // also what was not submitted
            });
            assert_eq!(bench.engine.reap(), Some(Done { id: id(1), result: 3 }));
            assert_eq!(bench.engine.reap(), None);
            let (reader, mut writer) = pending_read(&mut bench, 2, &mut second);
            bench.engine.submit();
            std::thread::scope(|scope| {
                scope.spawn(move || writer.write_all(b"two").unwrap());
                drop(bench);
            });
            assert_eq!((&first, &second), (b"one\0", b"two\0"));
            drop(reader);
        }
    }

    #[test]
    fn another_thread_gets_a_new_ring_also_one_with_the_number_of_one_that_ended() {
        for mode in MODES {
            let mut bench = Bench::new(mode);
            let file = file();
            for round in 0u8..4 {
                // Threads of the C library's reuse stacks, and with them numbers, when the one before has ended.
                (bench, _) = std::thread::scope(|scope| {
                    let file = &file;
                    scope
                        .spawn(move || {
                            let mut bench = bench;
                            let mut buf = [0];
                            assert_eq!(bench.run(write(file, 0, &[round])), 1);
                            assert_eq!(bench.run(read(file, 0, &mut buf)), 1);
                            assert_eq!(buf, [round]);
                            (bench, ())
                        })
                        .join()
                        .unwrap()
                });
            }
            assert_eq!(bench.run(write(&file, 0, b"x")), 1);
        }
    }

    #[test]
    fn a_descriptor_closed_beneath_the_engine_ends_its_jobs_and_a_new_ring_serves_the_next() {
        in_child(|| {
            let mut bench = Bench::new(Mode::Deferred);
            let mut buf = [0; 4];
            let _pipe = pending_read(&mut bench, 1, &mut buf);
            bench.engine.submit();
            // SAFETY: the descriptor is the ring's, and the point of the test.
            unsafe { libc::close(bench.ring().uring.as_raw_fd()) };
            bench.engine.drain(); // nothing new to hand over: it finds out when it waits
            assert_eq!(bench.engine.reap(), Some(Done { id: id(1), result: error(Status::EBADF) }));
            assert_eq!(bench.run(write(&file(), 0, b"on")), 2);
        });
    }

    /// Runs a function in a child of fork, which may end itself only by returning.
    fn in_child(run: impl FnOnce()) {
        // SAFETY: the child uses memory and descriptors only, and does not return from here.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0);
        if pid == 0 {
            let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err();
            // SAFETY: ends the child without the parent's destructors.
            unsafe { libc::_exit(i32::from(failed)) };
        }
        let mut how = 0;
        // SAFETY: `how` is writable, and the child ours.
        assert_eq!(unsafe { libc::waitpid(pid, &mut how, 0) }, pid);
        assert_eq!(how, 0, "the child failed, or was killed");
    }

    #[test]
    fn a_child_of_fork_starts_empty_and_leaves_the_parents_jobs_alone() {
        for mode in MODES {
            let mut bench = Bench::new(mode);
            let (mut buf, mut queued) = ([0; 4], [0; 4]);
            let (_reader, mut writer) = pending_read(&mut bench, 1, &mut buf);
            bench.engine.submit();
            let _queued = pending_read(&mut bench, 2, &mut queued);
            in_child(|| {
                let inherited = bench.ring().uring.as_raw_fd();
                let wake = eventfd();
                bench.engine.after_fork(wake.as_raw_fd()).unwrap();
                // SAFETY: takes no pointer.
                assert_eq!(unsafe { libc::fcntl(inherited, libc::F_GETFD) }, -1, "the copy is closed");
                bench.wake = wake;
                assert_eq!(bench.engine.reap(), None);
                let file = file();
                assert_eq!(bench.run(write(&file, 0, b"child")), 5);
                bench.engine.drain();
                // SAFETY: dropped once, for the child does not return.
                unsafe { ManuallyDrop::drop(&mut bench.engine) };
            });
            // One that drops its copy without ado: it neither waits for the parent's jobs nor ends them.
            // SAFETY: dropped once in that child, which does not return.
            in_child(|| unsafe { ManuallyDrop::drop(&mut bench.engine) });
            assert_eq!(bench.engine.cancel(id(2)), Cancel::Dropped);
            writer.write_all(b"mine").unwrap();
            assert_eq!(bench.reap(1), [Done { id: id(1), result: 4 }]);
            assert_eq!(&buf, b"mine");
        }
    }

    /// Not a test by itself: run under strace by the next one.
    #[test]
    #[ignore = "run by without_the_system_call_it_is_unsupported_and_the_reason_is_kept"]
    fn child_without_the_system_call() {
        let errno: i32 = std::env::var("GYRE_TEST_ERRNO").unwrap().parse().unwrap();
        let wake = eventfd();
        let status = Uring::new(&settings(wake.as_raw_fd())).err();
        if errno == libc::EMFILE {
            assert_eq!((status, unavailable()), (Some(EMFILE), None));
        } else {
            assert_eq!((status, unavailable()), (Some(Status::EUNSUPPORTED), Some(Status::from_errno(errno))));
        }
        println!("as expected");
    }

    #[test]
    fn without_the_system_call_it_is_unsupported_and_the_reason_is_kept() {
        if Command::new("strace").arg("-V").output().is_err() {
            eprintln!("SKIPPED: no strace here, so that io_uring_setup cannot be made to fail");
            return;
        }
        let errors =
            [("EPERM", libc::EPERM), ("ENOSYS", libc::ENOSYS), ("EACCES", libc::EACCES), ("EMFILE", libc::EMFILE)];
        for (name, errno) in errors {
            let output = Command::new("strace")
                .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("inject=io_uring_setup:error={name}")])
                .arg(std::env::current_exe().unwrap())
                .args([
                    "--exact",
                    "proactor::io_uring::tests::child_without_the_system_call",
                    "--ignored",
                    "--nocapture",
                ])
                .env("GYRE_TEST_ERRNO", errno.to_string())
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(text.contains("as expected"), "{name}: {text}{}", String::from_utf8_lossy(&output.stderr));
        }
    }

    #[test]
    fn what_the_kernel_tells_of_an_unknown_id_is_dropped() {
        let mut bench = Bench::new(Mode::Deferred);
        let file = file();
        bench.engine.start(id(1), write(&file, 0, b"x")).unwrap();
        assert!(bench.engine.offer());
        assert_eq!(bench.ring().enter(0), Ok(1)); // and the engine does not know
        bench.engine.waiting.clear();
        bench.engine.offered = 0;
        assert_eq!(bench.run(write(&file, 0, b"y")), 1);
    }

    #[test]
    fn one_system_call_hands_over_a_turns_jobs() {
        let mut bench = Bench::new(Mode::Deferred);
        let file = file();
        (0..100).for_each(|index| bench.engine.start(id(index), write(&file, 0, b"x")).unwrap());
        assert!(bench.engine.offer());
        assert!(bench.engine.enter(0), "all are taken by the first call");
        assert_eq!(bench.engine.flying.len() + bench.engine.done.len(), 100);
        assert_eq!(bench.reap(100).len(), 100);
        let mut nothing = Vec::new();
        assert_eq!((&file).take(1).read_to_end(&mut nothing).unwrap(), 1);
    }
}
