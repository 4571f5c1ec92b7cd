//! ppoll(2) and select(2).

use super::clock::timespec_of;
use crate::status::{Result, Status};
use core::mem::MaybeUninit;
use std::os::fd::RawFd;

const NS_PER_US: u64 = 1000;

/// One descriptor past the last that select(2) can take.
pub const SELECT_LIMIT: RawFd = libc::FD_SETSIZE as RawFd;

/// Waits until one of `set` is ready or the time is over, and returns how many have `revents`. `None` waits for ever.
/// A signal that interrupts ends the wait with 0.
pub fn poll(set: &mut [libc::pollfd], timeout_ns: Option<u64>) -> Result<usize> {
    let timeout = timeout_ns.map(timespec_of);
    let timeout = timeout.as_ref().map_or(core::ptr::null(), core::ptr::from_ref);
    // SAFETY: pointer and length are of a live slice, the timespec lives through the call, the signal mask is left alone.
    let count = unsafe { libc::ppoll(set.as_mut_ptr(), set.len() as libc::nfds_t, timeout, core::ptr::null()) };
    counted(count)
}

/// The three sets of descriptors that select(2) takes.
pub struct SelectSets {
    sets: [libc::fd_set; 3],
    highest: RawFd,
}

impl SelectSets {
    /// Three empty sets.
    pub fn new() -> SelectSets {
        let mut empty = MaybeUninit::<libc::fd_set>::uninit();
        // SAFETY: FD_ZERO fills the whole set.
        let empty = unsafe {
            libc::FD_ZERO(empty.as_mut_ptr());
            empty.assume_init()
        };
        SelectSets { sets: [empty; 3], highest: -1 }
    }

    /// Asks for `fd` to be readable, writable, or to have an exceptional condition. Descriptors from [`SELECT_LIMIT`] on
    /// have no bit in the sets and are left out.
    pub fn insert(&mut self, fd: RawFd, wanted: [bool; 3]) {
        if !(0..SELECT_LIMIT).contains(&fd) {
            return;
        }
        for (set, _) in self.sets.iter_mut().zip(wanted).filter(|(_, wanted)| *wanted) {
            // SAFETY: fd lies within the set by the check above.
            unsafe { libc::FD_SET(fd, set) };
            self.highest = self.highest.max(fd);
        }
    }

    /// Waits as [`poll`] does, and leaves in the sets what is ready.
    pub fn wait(&mut self, timeout_ns: Option<u64>) -> Result<usize> {
        // select(2) takes microseconds; rounded up, so that nothing is early.
        let mut timeout = timeout_ns.map(|ns| {
            let timeout = timespec_of(ns.div_ceil(NS_PER_US).saturating_mul(NS_PER_US));
            libc::timeval { tv_sec: timeout.tv_sec, tv_usec: timeout.tv_nsec / 1000 }
        });
        let timeout = timeout.as_mut().map_or(core::ptr::null_mut(), core::ptr::from_mut);
        let [read, write, except] = &mut self.sets;
        // SAFETY: the three sets are distinct and writable, the timeval lives through the call.
        let count = unsafe { libc::select(self.highest.saturating_add(1), read, write, except, timeout) };
        counted(count)
    }
}

fn counted(count: i32) -> Result<usize> {
    match usize::try_from(count) {
        Ok(count) => Ok(count),
        Err(_) => match Status::last_os_error() {
            Status::EINTR => Ok(0),
            status => Err(status),
        },
    }
}
