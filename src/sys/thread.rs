//! Who the calling thread is, without thread-local storage, and a hook for its exit.

use crate::status::{Result, Status};
use core::ffi::c_void;
use once_cell::sync::OnceCell;

/// A number for the calling thread that no other live thread has; never 0.
///
/// On x86-64 and AArch64 this is the thread pointer, one instruction; thread-local storage of a shared library would be
/// a call.
#[inline]
pub fn current() -> usize {
    let id: usize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the x86-64 ABI for ELF keeps the thread pointer itself at offset 0 of the FS segment (Drepper, "ELF
    // Handling For Thread-Local Storage", section 3.4.6); reading it has no effect.
    unsafe {
        core::arch::asm!("mov {}, fs:0", out(reg) id, options(nostack, preserves_flags, readonly));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: TPIDR_EL0 is the thread pointer and readable from user space.
    unsafe {
        core::arch::asm!("mrs {}, tpidr_el0", out(reg) id, options(nostack, preserves_flags, nomem));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        // SAFETY: pthread_self has no precondition and cannot fail.
        id = unsafe { libc::pthread_self() } as usize;
    }
    id
}

type ExitHook = fn();

static EXIT_KEY: OnceCell<libc::pthread_key_t> = OnceCell::new();
static EXIT_HOOK: OnceCell<ExitHook> = OnceCell::new();

extern "C" fn run_exit_hook(_: *mut c_void) {
    if let Some(hook) = EXIT_HOOK.get() {
        hook();
    }
}

/// Calls `hook` in the calling thread when that ends. The first hook given serves all.
///
/// A pthread key (pthread_key_create(3)) and not a Rust thread-local: its destructor runs when a thread ends, and not
/// when the process exits, so that destructors of the host may still close their loops at exit.
pub fn call_at_exit(hook: ExitHook) -> Result<()> {
    let _ = EXIT_HOOK.set(hook);
    let key = EXIT_KEY.get_or_try_init(|| {
        let mut key = 0;
        // SAFETY: `key` is valid to write to, and the destructor is a function of this library, which is linked
        // `nodelete` and so outlives every thread.
        match unsafe { libc::pthread_key_create(&mut key, Some(run_exit_hook)) } {
            0 => Ok(key),
            errno => Err(Status::from_errno(errno)),
        }
    })?;
    // SAFETY: the key was made above; the value only has to differ from NULL for the destructor to run, it is never
    // dereferenced.
    match unsafe { libc::pthread_setspecific(*key, core::ptr::dangling::<c_void>()) } {
        0 => Ok(()),
        errno => Err(Status::from_errno(errno)),
    }
}

/// Blocks all signals in the calling thread: for threads of gyre's own.
pub fn block_signals() {
    let mut all = core::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigfillset fills the set before it is read.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), core::ptr::null_mut());
    }
}
