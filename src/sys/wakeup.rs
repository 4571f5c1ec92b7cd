//! The descriptor that ends a wait from another thread or a signal handler: an eventfd(2).

use crate::status::{Result, Status};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// An eventfd, non-blocking and close-on-exec.
pub struct Wakeup(OwnedFd);

impl Wakeup {
    /// Makes the descriptor.
    pub fn new() -> Result<Wakeup> {
        // SAFETY: eventfd takes no pointer.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(Status::last_os_error());
        }
        // SAFETY: the descriptor was just made and nobody else has it.
        Ok(Wakeup(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// The number of the descriptor, to be watched for reading.
    pub fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Makes the eventfd `fd` readable. Async-signal-safe, and keeps `errno`.
pub fn signal(fd: RawFd) {
    let one: u64 = 1;
    let errno = errno();
    // SAFETY: the buffer is 8 readable bytes. A descriptor that is not an eventfd any more cannot be reached: the caller
    // pins it. EAGAIN (the counter is full) leaves it readable, which is all that is wanted.
    unsafe { libc::write(fd, (&raw const one).cast(), size_of::<u64>()) };
    set_errno(errno);
}

/// Makes the eventfd `fd` unreadable again, for demultiplexers that are level-triggered.
pub fn drain(fd: RawFd) {
    let mut count: u64 = 0;
    // SAFETY: the buffer is 8 writable bytes; the descriptor is non-blocking, so an empty one answers EAGAIN.
    unsafe { libc::read(fd, (&raw mut count).cast(), size_of::<u64>()) };
}

/// The calling thread's `errno`, to be put back by what may run in a signal handler.
pub fn errno() -> i32 {
    // SAFETY: the location is valid for the life of the thread.
    unsafe { *libc::__errno_location() }
}

/// Sets the calling thread's `errno`.
pub fn set_errno(errno: i32) {
    // SAFETY: as in `errno`.
    unsafe { *libc::__errno_location() = errno }
}
