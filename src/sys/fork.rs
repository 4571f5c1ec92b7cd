//! How a child of fork(2) is told from its parent: a page that the kernel wipes in the child, and fork handlers that
//! leave locks in a known state.

use crate::status::{Result, Status};
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use once_cell::sync::OnceCell;

/// How many words the wiped page holds of each kind: one for each place a loop can have.
const WORDS: usize = 256;

/// What reads as zero in a child: `MADV_WIPEONFORK` of madvise(2).
pub struct Wiped {
    /// The thread that owns the loop in this place; 0 for none.
    pub owner: [AtomicUsize; WORDS],
    /// 1 where the loop in this place was opened, or taken over after a fork, by this process.
    pub ours: [AtomicUsize; WORDS],
}

static NOTHING: Wiped =
    Wiped { owner: [const { AtomicUsize::new(0) }; WORDS], ours: [const { AtomicUsize::new(0) }; WORDS] };
static PAGE: AtomicPtr<Wiped> = AtomicPtr::new(&raw const NOTHING as *mut Wiped);
static MADE: OnceCell<()> = OnceCell::new();

/// The wiped page; all zero until [`init`] has run.
#[inline]
pub fn wiped() -> &'static Wiped {
    // SAFETY: the pointer is either to the static NOTHING or to a mapping that is never unmapped; both hold atomics only,
    // for which all bit patterns are valid.
    unsafe { &*PAGE.load(Ordering::Relaxed) }
}

extern "C" fn wipe_in_child() {
    for word in wiped().owner.iter().chain(wiped().ours.iter()) {
        word.store(0, Ordering::Relaxed);
    }
}

/// Maps the wiped page, once a process.
pub fn init() -> Result<()> {
    MADE.get_or_try_init(|| {
        let len = size_of::<Wiped>();
        // SAFETY: an anonymous mapping at an address of the kernel's choice touches no existing memory.
        let page = unsafe {
            libc::mmap(
                core::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if page == libc::MAP_FAILED {
            return Err(Status::last_os_error());
        }
        // SAFETY: page and len are of the mapping just made.
        if unsafe { libc::madvise(page, len, libc::MADV_WIPEONFORK) } != 0 {
            // Kernels before 4.14, and emulators: a fork handler does the same for every fork that goes through libc.
            // SAFETY: the handler only stores to atomics in memory that is never unmapped.
            let errno = unsafe { libc::pthread_atfork(None, None, Some(wipe_in_child)) };
            if errno != 0 {
                // SAFETY: the mapping is ours and nothing refers to it yet.
                unsafe { libc::munmap(page, len) };
                return Err(Status::from_errno(errno));
            }
        }
        PAGE.store(page.cast(), Ordering::Release);
        Ok(())
    })
    .copied()
}

/// Runs `before` in the thread that forks, and `after` in parent and child once the fork is done (pthread_atfork(3)).
pub fn around(before: extern "C" fn(), after: extern "C" fn()) -> Result<()> {
    // SAFETY: the functions belong to this library, which is linked `nodelete` and so is never unmapped.
    match unsafe { libc::pthread_atfork(Some(before), Some(after), Some(after)) } {
        0 => Ok(()),
        errno => Err(Status::from_errno(errno)),
    }
}
