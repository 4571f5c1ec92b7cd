//! One handler for all watched signals, that remembers and still runs whatever was installed before it: sigaction(2).
//!
//! Everything in the handler's path is a static or an atomic, and keeps `errno` (signal-safety(7)).

use super::{thread, wakeup};
use crate::status::{Result, Status};
use core::ffi::{c_int, c_void};
use core::mem::MaybeUninit;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicU64, AtomicUsize};
use once_cell::sync::OnceCell;

/// One past the highest signal number of Linux.
pub const LIMIT: usize = 65;

/// What was installed for a signal before gyre's handler.
#[derive(Clone, Copy)]
pub struct Saved(pub(super) libc::sigaction);

static DELIVER: OnceCell<fn(usize)> = OnceCell::new();

/// What the handler calls after its own work: the address shifted left by one, and whether it takes three arguments.
/// One word, so that the handler never sees a half of it. 0 for the default and for ignore.
static PREVIOUS: [AtomicU64; LIMIT] = [const { AtomicU64::new(0) }; LIMIT];

/// By signal: the threads that run the previous handler just now. Finds the circle that a host makes which installed its
/// handler over gyre's, calls gyre's from it, and is then itself the previous one. A thread that finds no room among so many
/// runs the previous handler all the same.
static CHAINING: [[AtomicUsize; THREADS]; LIMIT] = [const { [const { AtomicUsize::new(0) }; THREADS] }; LIMIT];

pub(super) const THREADS: usize = 16;

type Plain = extern "C" fn(c_int);
type Detailed = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);

extern "C" fn on_signal(signum: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let errno = wakeup::errno();
    let number = signum as usize;
    let me = thread::current();
    if let (Some(previous), Some(chaining)) = (PREVIOUS.get(number), CHAINING.get(number))
        && !chaining.iter().any(|thread| thread.load(Relaxed) == me)
    {
        if let Some(deliver) = DELIVER.get() {
            deliver(number);
        }
        let previous = previous.load(Acquire);
        let room = chaining.iter().find(|thread| thread.compare_exchange(0, me, Relaxed, Relaxed).is_ok());
        call(previous, signum, info, context);
        if let Some(room) = room {
            room.store(0, Relaxed);
        }
    }
    wakeup::set_errno(errno);
}

/// Calls what an entry of [`PREVIOUS`] stands for.
pub(super) fn call(previous: u64, signum: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let address = (previous >> 1) as usize;
    if address == 0 {
        return;
    }
    if previous & 1 == 1 {
        // SAFETY: the kernel had this address as a handler with SA_SIGINFO, so it is one.
        let handler = unsafe { core::mem::transmute::<usize, Detailed>(address) };
        handler(signum, info, context);
    } else {
        // SAFETY: the kernel had this address as a handler without SA_SIGINFO, so it is one.
        let handler = unsafe { core::mem::transmute::<usize, Plain>(address) };
        handler(signum);
    }
}

/// `-EINVAL` for numbers that are no signals, that cannot be caught, or that mean a fault of the running thread.
pub fn check(signum: i32) -> Result<usize> {
    const REFUSED: [i32; 6] = [libc::SIGKILL, libc::SIGSTOP, libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL];
    match usize::try_from(signum) {
        Ok(number) if number > 0 && number < LIMIT && !REFUSED.contains(&signum) => Ok(number),
        _ => Err(Status::EINVAL),
    }
}

/// Installs the handler for `number`, which from then on calls `deliver` with it, and returns what was there before.
pub fn install(number: usize, deliver: fn(usize)) -> Result<Saved> {
    let _ = DELIVER.set(deliver);
    let saved = current(number)?;
    remember(number, saved);
    // The earlier handler runs under the mask that it was installed with, and what SIGCHLD means for children stays.
    let mut ours = saved.0;
    ours.sa_sigaction = on_signal as *const () as usize;
    let kept = saved.0.sa_flags & (libc::SA_NOCLDSTOP | libc::SA_NOCLDWAIT);
    ours.sa_flags = kept | libc::SA_SIGINFO | libc::SA_RESTART | libc::SA_ONSTACK;
    let replaced = exchange(number, Some(&ours))?;
    remember(number, replaced); // the host may have been quicker between the two calls
    Ok(replaced)
}

/// Puts back what was there before, unless somebody has replaced gyre's handler since.
pub fn restore(number: usize, saved: Saved) {
    if current(number).is_ok_and(|now| now.0.sa_sigaction == on_signal as *const () as usize) {
        let _ = exchange(number, Some(&saved.0)); // cannot fail: the kernel took this action before
    }
}

fn remember(number: usize, saved: Saved) {
    let handler = saved.0.sa_sigaction;
    let detailed = saved.0.sa_flags & libc::SA_SIGINFO != 0;
    let callable = handler != libc::SIG_DFL && handler != libc::SIG_IGN && handler != on_signal as *const () as usize;
    if let Some(previous) = PREVIOUS.get(number) {
        previous.store(if callable { (handler as u64) << 1 | u64::from(detailed) } else { 0 }, Release);
    }
}

pub(super) fn current(number: usize) -> Result<Saved> {
    exchange(number, None)
}

pub(super) fn exchange(number: usize, action: Option<&libc::sigaction>) -> Result<Saved> {
    let mut old = MaybeUninit::<libc::sigaction>::uninit();
    let action = action.map_or(core::ptr::null(), core::ptr::from_ref);
    // SAFETY: `action` is NULL or valid, `old` is valid to write to.
    if unsafe { libc::sigaction(number as c_int, action, old.as_mut_ptr()) } != 0 {
        return Err(Status::last_os_error());
    }
    // SAFETY: the call succeeded and so filled the struct.
    Ok(Saved(unsafe { old.assume_init() }))
}
