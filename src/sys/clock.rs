//! The monotonic clock, and a tick counter that costs one instruction where the processor has one.

use libc::{CLOCK_MONOTONIC, clock_gettime, timespec};

/// A time or a length of time that never comes to its end.
pub const FOREVER: u64 = u64::MAX;

const NS_PER_SEC: u64 = 1_000_000_000;

/// Nanoseconds on `CLOCK_MONOTONIC` (clock_gettime(2)), which does not jump when the wall clock is set.
pub fn monotonic_ns() -> u64 {
    let mut now = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a valid timespec to write to; CLOCK_MONOTONIC always exists, so the call cannot fail.
    unsafe { clock_gettime(CLOCK_MONOTONIC, &mut now) };
    (now.tv_sec as u64).wrapping_mul(NS_PER_SEC).wrapping_add(now.tv_nsec as u64)
}

/// Splits nanoseconds into a `timespec` for a wait.
pub fn timespec_of(ns: u64) -> timespec {
    timespec { tv_sec: (ns / NS_PER_SEC) as libc::time_t, tv_nsec: (ns % NS_PER_SEC) as libc::c_long }
}

/// A counter that runs at a constant rate: for the length of callbacks, where a clock call an event would cost more
/// than the event. Turn differences into nanoseconds with two readings of [`monotonic_ns`] around them.
#[inline]
pub fn ticks() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: RDTSC exists on every x86-64 processor and has no effect but its result.
    unsafe {
        core::arch::x86_64::_rdtsc()
    }
    #[cfg(not(target_arch = "x86_64"))]
    monotonic_ns()
}
