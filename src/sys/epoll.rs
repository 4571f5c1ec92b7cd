//! epoll(7) calls on a descriptor that somebody else owns.

use super::clock::{FOREVER, timespec_of};
use crate::status::{Result, Status};
use core::sync::atomic::{AtomicBool, Ordering};
use std::os::fd::RawFd;

/// Waits of at least this long are given to epoll_wait(2), in whole milliseconds, rounded up; shorter ones to
/// epoll_pwait2(2), which is exact and costs about 100 ns more.
const COARSE_NS: u64 = 16_000_000;
const NS_PER_MS: u64 = 1_000_000;

/// Set once the kernel (before 5.11) or an emulator has answered that it has no epoll_pwait2.
static NO_PWAIT2: AtomicBool = AtomicBool::new(false);

/// Adds `fd` to the set (`EPOLL_CTL_ADD`).
pub fn add(epoll: RawFd, fd: RawFd, events: u32, token: u64) -> Result<()> {
    control(epoll, libc::EPOLL_CTL_ADD, fd, events, token)
}

/// Changes what is waited for on `fd` (`EPOLL_CTL_MOD`).
pub fn modify(epoll: RawFd, fd: RawFd, events: u32, token: u64) -> Result<()> {
    control(epoll, libc::EPOLL_CTL_MOD, fd, events, token)
}

/// Takes `fd` out of the set (`EPOLL_CTL_DEL`).
pub fn remove(epoll: RawFd, fd: RawFd) -> Result<()> {
    control(epoll, libc::EPOLL_CTL_DEL, fd, 0, 0)
}

fn control(epoll: RawFd, operation: i32, fd: RawFd, events: u32, token: u64) -> Result<()> {
    let mut event = libc::epoll_event { events, u64: token };
    // SAFETY: `event` is valid for the call; bad descriptors are an error of the kernel's.
    if unsafe { libc::epoll_ctl(epoll, operation, fd, &mut event) } == 0 {
        Ok(())
    } else {
        Err(Status::last_os_error())
    }
}

/// Waits at most `timeout_ns` ([`FOREVER`] for no end) and returns how many events stand at the start of `buffer`.
/// A signal that interrupts ends the wait with 0.
pub fn wait(epoll: RawFd, buffer: &mut [libc::epoll_event], timeout_ns: u64) -> Result<usize> {
    let capacity = i32::try_from(buffer.len()).unwrap_or(i32::MAX);
    let exact = timeout_ns != 0 && timeout_ns < COARSE_NS && !NO_PWAIT2.load(Ordering::Relaxed);
    let count = if exact {
        let timeout = timespec_of(timeout_ns);
        // SAFETY: the buffer is writable for `capacity` events; the timespec lives through the call; a NULL signal mask
        // leaves the mask alone.
        let count = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                epoll,
                buffer.as_mut_ptr(),
                capacity,
                &raw const timeout,
                core::ptr::null::<libc::sigset_t>(),
                0usize,
            )
        };
        if count < 0 && Status::last_os_error() == Status::ENOSYS {
            NO_PWAIT2.store(true, Ordering::Relaxed);
            return wait(epoll, buffer, timeout_ns);
        }
        count
    } else {
        let timeout_ms = match timeout_ns {
            FOREVER => -1,
            ns => i32::try_from(ns.div_ceil(NS_PER_MS)).unwrap_or(i32::MAX),
        };
        // SAFETY: the buffer is writable for `capacity` events.
        libc::c_long::from(unsafe { libc::epoll_wait(epoll, buffer.as_mut_ptr(), capacity, timeout_ms) })
    };
    match usize::try_from(count) {
        Ok(count) => Ok(count),
        Err(_) => match Status::last_os_error() {
            Status::EINTR => Ok(0),
            status => Err(status),
        },
    }
}
