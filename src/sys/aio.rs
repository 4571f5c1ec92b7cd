//! POSIX AIO as glibc has it (aio(7)): requests, how their ends are told, and the real-time signal that tells them. Called by
//! `proactor/posix_aio.rs` alone; calls libc.
//!
//! Contract:
//! 1. A notification is a token that names seat, slot and generation, never an address. [`SEATS`] leads from it to the
//!    requests of an engine, under a pin that the closing engine waits for. So one that comes late, or was forged by another
//!    process, finds nothing and does nothing.
//! 2. A request's memory is used again only after [`Requests::error`] has said that it ended. aio_error(3) takes the lock under
//!    which glibc's thread ends and tells a request, so that this thread has then let go of it.
//! 3. What runs in the signal handler takes no lock, allocates nothing and keeps `errno` (signal-safety(7)).
//! 4. A signal that does not tell of a request of gyre's goes to the handler that was there before.
//! 5. In a child of fork nothing here calls into glibc's AIO, whose threads and locks stayed behind: see [`usable`].
//!
//! Start reading at [`Requests::submit`], then `tell`.

use super::io::{Job, Work};
use super::memory::try_box;
use super::signal::{LIMIT, Saved, THREADS, call, current, exchange};
use super::{thread, wakeup};
use crate::status::{Result, Status};
use core::cell::UnsafeCell;
use core::ffi::{c_int, c_void};
use core::mem::MaybeUninit;
use core::ptr::{NonNull, null, null_mut};
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use core::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

/// How many requests one engine can have in flight.
pub const SLOTS: usize = 128;

/// How the end of a request is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tell {
    /// By this signal.
    Signal(i32),
    /// By a thread that glibc makes for it.
    Thread,
}

// ---- start-up ----------------------------------------------------------------------------------------------------------------

/// `struct aioinit` of <aio.h>, a GNU extension that the libc crate does not declare.
#[repr(C)]
struct AioInit {
    threads: c_int,
    requests: c_int,
    unused: [c_int; 4],
    idle_seconds: c_int,
    reserved: c_int,
}

unsafe extern "C" {
    fn aio_init(init: *const AioInit);
}

/// The process in which [`init`] was called first; 0 for none yet.
static HOME: AtomicI32 = AtomicI32::new(0);

/// Says how many threads glibc may make, once a process and before its first request: later it is ignored. False in a child of
/// the process that was first: there POSIX AIO is not to be had, because a request would wait for threads that are not there.
pub fn init(threads: usize) -> bool {
    if HOME.compare_exchange(0, std::process::id() as i32, SeqCst, Relaxed).is_ok() {
        let threads = c_int::try_from(threads).unwrap_or(c_int::MAX);
        let init = AioInit { threads, requests: 0, unused: [0; 4], idle_seconds: 0, reserved: 0 };
        // SAFETY: the struct is laid out as <aio.h> has it, and lives through the call.
        unsafe { aio_init(&init) };
    }
    usable()
}

/// Whether this is the process in which [`init`] was called, and not a child of it.
pub fn usable() -> bool {
    HOME.load(SeqCst) == std::process::id() as i32
}

/// How many signals may be queued for this user (`RLIMIT_SIGPENDING`). When there are more, glibc loses the notification, and
/// the result with it.
pub fn queue_limit() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid to write to; when the call fails it stays 0, with which nothing is told by signal.
    unsafe { libc::getrlimit(libc::RLIMIT_SIGPENDING, &mut limit) };
    usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX)
}

// ---- descriptors -------------------------------------------------------------------------------------------------------------

/// Another descriptor for the same open file, close-on-exec.
pub fn duplicate(fd: RawFd) -> Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC takes a number.
    let copy = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) }; // 0 to 2 have a meaning
    if copy < 0 {
        return Err(Status::last_os_error());
    }
    // SAFETY: the descriptor was just made and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// The open file's status flags.
pub fn flags(fd: RawFd) -> Result<c_int> {
    // SAFETY: F_GETFL takes no pointer.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    if flags < 0 { Err(Status::last_os_error()) } else { Ok(flags) }
}

/// Whether somebody, this process maybe, holds a record lock on the file (F_SETLK of fcntl(2)). A query on behalf of the
/// open file and not of the process, because only that shows the process its own locks.
pub fn record_locked(fd: RawFd) -> bool {
    // SAFETY: all zero is a valid flock: from the start of the file to its end.
    let mut lock: libc::flock = unsafe { MaybeUninit::zeroed().assume_init() };
    lock.l_type = libc::F_WRLCK as libc::c_short;
    // SAFETY: `lock` is valid to read and write.
    let answered = unsafe { libc::fcntl(fd, libc::F_OFD_GETLK, &raw mut lock) } == 0;
    answered && lock.l_type != libc::F_UNLCK as libc::c_short
}

// ---- notifications -----------------------------------------------------------------------------------------------------------

/// One request, and its place in the list of those that were told.
struct Node {
    /// The token that has yet to come; 0 for none. Who takes it away tells the request, once.
    awaited: AtomicUsize,
    /// The next in the list: its slot plus 1, or 0.
    next: AtomicUsize,
    request: UnsafeCell<libc::aiocb>,
}

/// What notifications reach of an engine.
struct Told {
    /// The last that was told: its slot plus 1, or 0. A stack that is only ever taken as a whole.
    head: AtomicUsize,
    nodes: [AtomicPtr<Node>; SLOTS],
    wake: fn(u8),
    place: u8,
}

struct Seat {
    told: AtomicPtr<Told>,
    pins: AtomicU32,
}

/// Where tokens lead: one seat for each engine that is open.
static SEATS: [Seat; 256] = [const { Seat { told: AtomicPtr::new(null_mut()), pins: AtomicU32::new(0) } }; 256];

// A token, from the top: a mark, by which no small number and no address of a user's is taken for one; the generation; the
// seat; the slot.
const MARK: usize = 0xA5;
const MARK_SHIFT: u32 = usize::BITS - 8;
const GENERATION_SHIFT: u32 = 16;
const GENERATIONS: usize = (1 << (MARK_SHIFT - GENERATION_SHIFT)) - 1;
const SEAT_SHIFT: u32 = 8;
const BYTE: usize = 0xFF;

/// Counts the requests of all engines, so that no two in the same slot of the same seat have the same token.
static GENERATION: AtomicUsize = AtomicUsize::new(1);

/// Notes the end of the request that the token names, and wakes its loop. False for what is no token. Async-signal-safe.
fn tell(token: usize) -> bool {
    if token >> MARK_SHIFT != MARK {
        return false;
    }
    let Some(seat) = SEATS.get(token >> SEAT_SHIFT & BYTE) else { return false };
    seat.pins.fetch_add(1, SeqCst);
    // SAFETY: NULL, or pinned: who frees it first stores NULL and then waits until there are no pins.
    if let Some(told) = unsafe { seat.told.load(SeqCst).as_ref() } {
        told.push(token);
    }
    seat.pins.fetch_sub(1, SeqCst);
    true
}

impl Told {
    fn push(&self, token: usize) {
        let slot = token & BYTE;
        let Some(node) = self.nodes.get(slot) else { return };
        // SAFETY: NULL, or a node that lives as long as `self`.
        let Some(node) = (unsafe { node.load(Acquire).as_ref() }) else { return };
        if node.awaited.compare_exchange(token, 0, AcqRel, Relaxed).is_err() {
            return;
        }
        let mut head = self.head.load(Relaxed);
        loop {
            node.next.store(head, Relaxed);
            match self.head.compare_exchange_weak(head, slot.saturating_add(1), SeqCst, Relaxed) {
                Ok(_) => break,
                Err(now) => head = now,
            }
        }
        if head == 0 {
            (self.wake)(self.place);
        }
    }
}

/// What glibc calls in a thread that it makes for the purpose, in which all signals are unblocked.
extern "C" fn on_thread(value: libc::sigval) {
    thread::block_signals(); // the host's handlers run in the host's threads
    tell(value.sival_ptr.addr());
}

/// `struct sigevent` with the members for threads, which the libc crate does not declare.
#[repr(C)]
struct ThreadEvent {
    value: libc::sigval,
    signo: c_int,
    notify: c_int,
    function: extern "C" fn(libc::sigval),
    attributes: *mut c_void,
}

const _: () = assert!(size_of::<ThreadEvent>() <= size_of::<libc::sigevent>());
const _: () = assert!(align_of::<ThreadEvent>() <= align_of::<libc::sigevent>());

impl Tell {
    fn event(self, token: usize) -> libc::sigevent {
        let value = libc::sigval { sival_ptr: core::ptr::without_provenance_mut(token) };
        // SAFETY: all zero is a valid sigevent.
        let mut event: libc::sigevent = unsafe { MaybeUninit::zeroed().assume_init() };
        match self {
            Tell::Signal(signo) => {
                event.sigev_value = value;
                event.sigev_signo = signo;
                event.sigev_notify = libc::SIGEV_SIGNAL;
            }
            Tell::Thread => {
                let notify = libc::SIGEV_THREAD;
                let thread = ThreadEvent { value, signo: 0, notify, function: on_thread, attributes: null_mut() };
                // SAFETY: a sigevent has room for it and is aligned for it, as asserted above.
                unsafe { (&raw mut event).cast::<ThreadEvent>().write(thread) };
            }
        }
        event
    }
}

// ---- requests ----------------------------------------------------------------------------------------------------------------

/// What became of a request to cancel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Canceled {
    /// It had not begun and never will; its end is told all the same.
    Yes,
    /// It is under way or has ended.
    No,
}

/// The requests of one engine, each in its slot, and the list of those whose end was told. Used by the loop's thread.
pub struct Requests {
    seat: u8,
    told: NonNull<Told>,
    slots: usize,
    /// What was taken from the list and not given out: a slot plus 1, or 0.
    taken: usize,
}

impl Requests {
    /// Takes a seat. `GYRE_EFULL` when 256 engines are open.
    pub fn new(wake: fn(u8), place: u8) -> Result<Requests> {
        let nodes = [const { AtomicPtr::new(null_mut()) }; SLOTS];
        let told = Box::into_raw(try_box(Told { head: AtomicUsize::new(0), nodes, wake, place })?);
        let free = |seat: &Seat| seat.told.compare_exchange(null_mut(), told, SeqCst, Relaxed).is_ok();
        match (0..=u8::MAX).zip(&SEATS).find(|(_, seat)| free(seat)) {
            // SAFETY: `told` is from a Box and so is not NULL.
            Some((seat, _)) => Ok(Requests { seat, told: unsafe { NonNull::new_unchecked(told) }, slots: 0, taken: 0 }),
            None => {
                // SAFETY: the pointer is from the Box above, and no seat has taken it.
                drop(unsafe { Box::from_raw(told) });
                Err(Status::EFULL)
            }
        }
    }

    fn told(&self) -> &Told {
        // SAFETY: allocated in `new` and freed in `drop`; all that changes in it is atomic.
        unsafe { self.told.as_ref() }
    }

    fn node(&self, slot: usize) -> Option<&Node> {
        let node = self.told().nodes.get(slot)?.load(Relaxed);
        // SAFETY: NULL, or a node that `add` made and `drop` frees.
        unsafe { node.as_ref() }
    }

    /// Makes one more slot, and returns its number.
    pub fn add(&mut self) -> Result<usize> {
        let slot = self.slots;
        // SAFETY: all zero is a valid aiocb.
        let request = unsafe { MaybeUninit::zeroed().assume_init() };
        let node = Node { awaited: AtomicUsize::new(0), next: AtomicUsize::new(0), request: UnsafeCell::new(request) };
        let node = try_box(node)?;
        let place = self.told().nodes.get(slot).ok_or(Status::ENOMEM)?;
        place.store(Box::into_raw(node), Release);
        self.slots = slot.saturating_add(1);
        Ok(slot)
    }

    fn next_token(&self, slot: usize) -> usize {
        let generation = GENERATION.fetch_add(1, Relaxed) & GENERATIONS;
        MARK << MARK_SHIFT | generation << GENERATION_SHIFT | usize::from(self.seat) << SEAT_SHIFT | slot
    }

    /// Gives a job to glibc: on the descriptor `fd`, in a slot that has no request in flight. What has no request in POSIX AIO
    /// (pieces, the file position) is `GYRE_EUNSUPPORTED`.
    pub fn submit(&mut self, slot: usize, job: &Job, fd: RawFd, how: Tell) -> Result<()> {
        let (buf, len) = match job.work {
            Work::Read { buf, len } if job.offset >= 0 => (buf, len),
            Work::Write { buf, len } if job.offset >= 0 => (buf.cast_mut(), len),
            Work::Sync { .. } => (null_mut(), 0),
            _ => return Err(Status::EUNSUPPORTED),
        };
        let token = self.next_token(slot);
        let node = self.node(slot).ok_or(Status::EINVAL)?;
        // SAFETY: all zero is a valid aiocb.
        let mut request: libc::aiocb = unsafe { MaybeUninit::zeroed().assume_init() };
        request.aio_fildes = fd;
        request.aio_buf = buf.cast();
        request.aio_nbytes = len;
        request.aio_offset = libc::off_t::try_from(job.offset).map_err(|_| Status::EUNSUPPORTED)?;
        request.aio_sigevent = how.event(token);
        let place = node.request.get();
        // SAFETY: no request is in flight in this slot, so that nobody else uses the memory.
        unsafe { place.write(request) };
        node.awaited.store(token, SeqCst);
        // SAFETY: the request stays where it is until it has ended: `drop` of this is called after that. The buffer is lent to
        // the operation until it completes (P2).
        let result = unsafe {
            match job.work {
                Work::Read { .. } => libc::aio_read(place),
                Work::Write { .. } => libc::aio_write(place),
                Work::Sync { data_only } => {
                    libc::aio_fsync(if data_only { libc::O_DSYNC } else { libc::O_SYNC }, place)
                }
                Work::Readv { .. } | Work::Writev { .. } => return Err(Status::EUNSUPPORTED),
            }
        };
        if result == 0 {
            return Ok(());
        }
        let status = Status::last_os_error();
        node.awaited.store(0, SeqCst);
        Err(status)
    }

    /// The next slot whose request was told to have ended, in the order in which they were told.
    pub fn next_told(&mut self) -> Option<usize> {
        if self.taken == 0 {
            let mut link = self.told().head.swap(0, SeqCst);
            let mut first = 0;
            while let Some(node) = link.checked_sub(1).and_then(|slot| self.node(slot)) {
                // The last that came is on top: the links are turned round.
                first = core::mem::replace(&mut link, node.next.swap(first, Relaxed));
            }
            self.taken = first;
        }
        let slot = self.taken.checked_sub(1)?;
        self.taken = self.node(slot).map_or(0, |node| node.next.load(Relaxed));
        Some(slot)
    }

    /// Takes away the token of a request that has not been told: from then on it will not be.
    pub fn forget(&self, slot: usize) -> bool {
        let Some(node) = self.node(slot) else { return false };
        let token = node.awaited.load(SeqCst);
        token != 0 && node.awaited.compare_exchange(token, 0, SeqCst, Relaxed).is_ok()
    }

    /// Gives a request its token back, that somebody has told who had no right to.
    pub fn await_again(&self, slot: usize) {
        let Some(node) = self.node(slot) else { return };
        // SAFETY: the request is in flight, and glibc changes other members only.
        let value = unsafe { (*node.request.get()).aio_sigevent.sigev_value.sival_ptr };
        node.awaited.store(value.addr(), SeqCst);
    }

    /// The token that a slot awaits.
    #[cfg(test)]
    pub fn token(&self, slot: usize) -> usize {
        self.node(slot).map_or(0, |node| node.awaited.load(SeqCst))
    }

    /// Whether the request has ended.
    pub fn ended(&self, slot: usize) -> bool {
        // SAFETY: the slot has, or had, a request.
        self.node(slot).is_none_or(|node| unsafe { libc::aio_error(node.request.get()) } != libc::EINPROGRESS)
    }

    /// What a request that has ended came to: bytes, or a negative status.
    pub fn result(&self, slot: usize) -> i64 {
        let Some(node) = self.node(slot) else { return 0 };
        // SAFETY: the request has ended, and glibc no longer uses it.
        let (bytes, errno) = unsafe { (libc::aio_return(node.request.get()), libc::aio_error(node.request.get())) };
        match (bytes, errno) {
            (0.., _) => bytes as i64,
            // A thread that could not be made leaves no errno of its own.
            (_, 0) => i64::from(Status::from_errno(libc::EIO).code()),
            _ => i64::from(Status::from_errno(errno).code()),
        }
    }

    /// Asks for a request on the descriptor `fd` not to be carried out.
    pub fn cancel(&self, slot: usize, fd: RawFd) -> Canceled {
        let Some(node) = self.node(slot) else { return Canceled::No };
        // SAFETY: the request was given to glibc, with this descriptor.
        match unsafe { libc::aio_cancel(fd, node.request.get()) } {
            libc::AIO_CANCELED => Canceled::Yes,
            _ => Canceled::No, // AIO_NOTCANCELED, AIO_ALLDONE; errors are for what was never given
        }
    }

    /// Waits until one of these requests has ended, or a signal came, or a tenth of a second is over.
    pub fn wait(&self, slots: impl Iterator<Item = usize>) {
        let mut list = [null::<libc::aiocb>(); SLOTS];
        for (entry, node) in list.iter_mut().zip(slots.filter_map(|slot| self.node(slot))) {
            *entry = node.request.get();
        }
        let timeout = libc::timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        // SAFETY: the list holds NULLs, which are skipped, and requests that were given to glibc; it lives through the call.
        unsafe { libc::aio_suspend(list.as_ptr(), SLOTS as c_int, &timeout) };
    }
}

impl Drop for Requests {
    /// All requests have ended, or this is a child of fork, in which nobody carries them out.
    fn drop(&mut self) {
        if let Some(seat) = SEATS.get(usize::from(self.seat)) {
            if usable() {
                seat.told.store(null_mut(), SeqCst);
                while seat.pins.load(SeqCst) != 0 {
                    std::thread::yield_now();
                }
            } else {
                seat.pins.store(0, SeqCst); // of threads that are not here
                seat.told.store(null_mut(), SeqCst);
            }
        }
        // SAFETY: from a Box in `new`. The seat does not lead here any more, and there is no pin.
        let told = unsafe { Box::from_raw(self.told.as_ptr()) };
        for node in &told.nodes {
            let node = node.load(Relaxed);
            if !node.is_null() {
                // SAFETY: from a Box in `add`; glibc has no request in it any more.
                drop(unsafe { Box::from_raw(node) });
            }
        }
    }
}

// ---- the signal --------------------------------------------------------------------------------------------------------------

/// The right to have ends of requests told by a real-time signal. The last one of a number puts back what was there before.
pub struct Signal(usize);

/// By signal: how many engines use it, and what to put back.
static REGISTRY: Mutex<[(u32, Option<Saved>); LIMIT]> = Mutex::new([(0, None); LIMIT]);

/// By signal: what was there before, in one word as in `sys::signal`.
static PREVIOUS: [AtomicU64; LIMIT] = [const { AtomicU64::new(0) }; LIMIT];

/// By signal: the threads that run the previous handler just now, as in `sys::signal`.
static CHAINING: [[AtomicUsize; THREADS]; LIMIT] = [const { [const { AtomicUsize::new(0) }; THREADS] }; LIMIT];

extern "C" fn on_signal(signum: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let errno = wakeup::errno();
    // SAFETY: the kernel hands a handler with SA_SIGINFO a valid siginfo; NULL is for those who call it by hand.
    let token = unsafe { info.as_ref() }.filter(|info| info.si_code == libc::SI_ASYNCIO).map(|info| {
        // SAFETY: with SI_ASYNCIO the value is what was given in sigev_value (sigaction(2)).
        unsafe { info.si_value() }.sival_ptr.addr()
    });
    if !token.is_some_and(tell) {
        chain(signum, info, context);
    }
    wakeup::set_errno(errno);
}

/// Runs the previous handler, unless this thread is in it already.
fn chain(signum: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let me = thread::current();
    let number = signum as usize;
    let (Some(previous), Some(chaining)) = (PREVIOUS.get(number), CHAINING.get(number)) else { return };
    if chaining.iter().any(|thread| thread.load(Relaxed) == me) {
        return;
    }
    let room = chaining.iter().find(|thread| thread.compare_exchange(0, me, Relaxed, Relaxed).is_ok());
    call(previous.load(Acquire), signum, info, context);
    if let Some(room) = room {
        room.store(0, Relaxed);
    }
}

impl Signal {
    /// Installs the handler for a real-time signal; 0 takes the one that other engines use, else the first that has no handler.
    /// `-EINVAL` for another signal, `-EBUSY` when none is free.
    pub fn take(signum: i32) -> Result<Signal> {
        let mut registry = registry();
        let number = if signum == 0 { first_free(&registry)? } else { check(signum)? };
        let (users, saved) = registry.get_mut(number).ok_or(Status::EINVAL)?;
        if *users == 0 {
            install(number, saved)?;
        }
        *users = users.saturating_add(1);
        Ok(Signal(number))
    }

    /// The signal's number.
    pub fn number(&self) -> i32 {
        self.0 as i32
    }

    /// Blocks all signals but this one in the calling thread, which is then there to take it when all others block it.
    pub fn listen(number: i32) {
        thread::block_signals();
        let only = set_of(number);
        // SAFETY: the set is valid.
        unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &only, null_mut()) };
    }
}

impl Drop for Signal {
    /// No request that tells by this signal is in flight any more, and no thread of gyre's listens to it.
    fn drop(&mut self) {
        // In a child of fork the lock may be held for ever by a thread that is not here: then the handler stays.
        let mut registry = match REGISTRY.try_lock() {
            Ok(registry) => registry,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) if !usable() => return,
            Err(TryLockError::WouldBlock) => self::registry(),
        };
        let Some((users, saved)) = registry.get_mut(self.0) else { return };
        *users = users.saturating_sub(1);
        if *users == 0 {
            uninstall(self.0, saved);
        }
    }
}

fn registry() -> MutexGuard<'static, [(u32, Option<Saved>); LIMIT]> {
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

fn check(signum: i32) -> Result<usize> {
    let real_time = (libc::SIGRTMIN()..=libc::SIGRTMAX()).contains(&signum);
    if real_time { Ok(signum as usize) } else { Err(Status::EINVAL) }
}

fn first_free(registry: &[(u32, Option<Saved>); LIMIT]) -> Result<usize> {
    let all = || (libc::SIGRTMIN()..=libc::SIGRTMAX()).filter_map(|signum| usize::try_from(signum).ok());
    let used = |number: &usize| registry.get(*number).is_some_and(|(users, _)| *users > 0);
    let unhandled = |number: &usize| current(*number).is_ok_and(|now| now.0.sa_sigaction == libc::SIG_DFL);
    // One that is blocked may be waited for with sigwait(3): it is taken only when there is no other.
    let mask = mask_of_thread();
    // SAFETY: the set is filled.
    let unblocked = |number: &usize| unsafe { libc::sigismember(&mask, *number as c_int) } == 0;
    let free = || all().filter(unhandled);
    all().find(used).or_else(|| free().find(unblocked)).or_else(|| free().next()).ok_or(Status::EBUSY)
}

fn is_ours(saved: &Saved) -> bool {
    saved.0.sa_sigaction == on_signal as *const () as usize
}

fn install(number: usize, saved: &mut Option<Saved>) -> Result<()> {
    let before = current(number)?;
    if is_ours(&before) {
        return Ok(()); // it had been left in place, and PREVIOUS with it
    }
    remember(number, &before);
    // The earlier handler runs under the mask that it was installed with.
    let mut ours = before.0;
    ours.sa_sigaction = on_signal as *const () as usize;
    ours.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART | libc::SA_ONSTACK;
    let replaced = exchange(number, Some(&ours))?;
    remember(number, &replaced); // the host may have been quicker between the two calls
    *saved = Some(replaced);
    Ok(())
}

fn remember(number: usize, saved: &Saved) {
    let handler = saved.0.sa_sigaction;
    let detailed = saved.0.sa_flags & libc::SA_SIGINFO != 0;
    let callable = handler != libc::SIG_DFL && handler != libc::SIG_IGN;
    if let Some(previous) = PREVIOUS.get(number) {
        previous.store(if callable { (handler as u64) << 1 | u64::from(detailed) } else { 0 }, Release);
    }
}

/// Puts back what was there before, unless somebody has replaced gyre's handler since: it may be called from theirs.
fn uninstall(number: usize, saved: &mut Option<Saved>) {
    let mask = mask_of_thread();
    let only = set_of(number as c_int);
    // A notification that is still queued, because its request's end was seen before it came, would meet the old disposition,
    // and could end the process. This thread takes it, with the signal blocked for the while.
    // SAFETY: the sets are valid, and so is `info` to be written to; `now` lives through the calls.
    unsafe {
        libc::pthread_sigmask(libc::SIG_BLOCK, &only, null_mut());
        let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
        loop {
            if libc::sigtimedwait(&only, info.as_mut_ptr(), &now) > 0 {
                on_signal(number as c_int, info.as_mut_ptr(), null_mut());
            } else if wakeup::errno() != libc::EINTR {
                break;
            }
        }
    }
    if current(number).is_ok_and(|now| is_ours(&now))
        && let Some(before) = saved.take()
    {
        let _ = exchange(number, Some(&before.0)); // cannot fail: the kernel took this action before
    }
    // SAFETY: the set is what this thread had.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &mask, null_mut()) };
}

fn set_of(signum: c_int) -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset fills the set, before the number is added and it is read.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), signum);
        set.assume_init()
    }
}

fn mask_of_thread() -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: both calls fill the set; the second cannot fail with these arguments.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_BLOCK, null(), set.as_mut_ptr());
        set.assume_init()
    }
}

// ---- the budget --------------------------------------------------------------------------------------------------------------

/// Requests of all engines that will be told by signal.
static QUEUED: AtomicUsize = AtomicUsize::new(0);

/// Room for one signal in the queue, given back when dropped.
pub struct Ticket(());

impl Ticket {
    /// `None` when as many are out as the process may have.
    pub fn take(limit: usize) -> Option<Ticket> {
        let next = |queued: usize| queued.checked_add(1).filter(|next| *next <= limit);
        QUEUED.fetch_update(SeqCst, Relaxed, next).ok().map(|_| Ticket(()))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        QUEUED.fetch_sub(1, SeqCst);
    }
}
