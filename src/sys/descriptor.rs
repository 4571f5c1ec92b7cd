//! Questions about descriptors that belong to the caller. Nothing here changes their flags or closes them.

use crate::status::{Result, Status};
use core::mem::MaybeUninit;
use std::os::fd::RawFd;

/// What a descriptor refers to, as far as fstat(2) can tell two open files apart. Anonymous inodes (eventfd, timerfd,
/// epoll) share one identity.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    device: u64,
    inode: u64,
}

/// `-EBADF` unless the descriptor is open.
pub fn check_open(fd: RawFd) -> Result<()> {
    // SAFETY: F_GETFD takes no pointer.
    if unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0 { Err(Status::last_os_error()) } else { Ok(()) }
}

/// The identity of the open file behind a descriptor.
pub fn identity(fd: RawFd) -> Result<Identity> {
    let mut stat = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: `stat` is valid to write to.
    if unsafe { libc::fstat(fd, stat.as_mut_ptr()) } != 0 {
        return Err(Status::last_os_error());
    }
    // SAFETY: fstat succeeded and so filled the struct.
    let stat = unsafe { stat.assume_init() };
    Ok(Identity { device: stat.st_dev, inode: stat.st_ino })
}

/// Writes all of `text`; waits where the descriptor is non-blocking and full. A pipe without a reader is `-EPIPE`, without
/// the signal.
pub fn write_all(fd: RawFd, mut text: &[u8]) -> Result<()> {
    while !text.is_empty() {
        // SAFETY: pointer and length are of a live slice.
        let written = without_sigpipe(|| unsafe { libc::write(fd, text.as_ptr().cast(), text.len()) });
        match written {
            Ok(written) => text = text.get(written..).unwrap_or_default(),
            Err(Status::EINTR) => {}
            Err(Status::EAGAIN) => {
                let mut full = [libc::pollfd { fd, events: libc::POLLOUT, revents: 0 }];
                super::poll::poll(&mut full, None)?;
            }
            Err(status) => return Err(status),
        }
    }
    Ok(())
}

/// Calls `write` with SIGPIPE blocked in this thread, and takes the one that it may have raised.
pub fn without_sigpipe(write: impl FnOnce() -> isize) -> Result<usize> {
    let mut pipe = MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    let mut pending = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: all sets are valid to write to, and each is filled before it is read.
    let was_pending = unsafe {
        libc::sigemptyset(pipe.as_mut_ptr());
        libc::sigaddset(pipe.as_mut_ptr(), libc::SIGPIPE);
        libc::sigemptyset(pending.as_mut_ptr());
        libc::sigpending(pending.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_BLOCK, pipe.as_ptr(), before.as_mut_ptr());
        libc::sigismember(pending.as_ptr(), libc::SIGPIPE) == 1
    };
    let written = write();
    let result = usize::try_from(written).map_err(|_| Status::last_os_error());
    // SAFETY: as above; the timespec lives through the call, so that it does not wait.
    unsafe {
        if result == Err(Status::EPIPE) && !was_pending {
            let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
            libc::sigtimedwait(pipe.as_ptr(), core::ptr::null_mut(), &now);
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), core::ptr::null_mut());
    }
    result
}
