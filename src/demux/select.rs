//! select(2). It waits; what is ready, and how, ppoll(2) then tells exactly, so that the reports are those of the other
//! backends.
//!
//! select(2) has no way to wait for a hangup alone, or for the peer's half-close alone. While a descriptor is watched for
//! no more than these, the wait is cut into slices and the descriptors are looked at between them.

use super::poll::PollSet;
use super::{Batch, Demux, Events};
use crate::status::{Result, Status};
use crate::sys::clock::{FOREVER, monotonic_ns};
use crate::sys::poll::{SELECT_LIMIT, SelectSets};
use std::os::fd::RawFd;

/// How late a hangup that select(2) cannot see is told at the most.
const SLICE_NS: u64 = 100_000_000;

/// The backend that waits by select(2).
pub struct Select {
    set: PollSet,
    wake: RawFd,
}

impl Select {
    pub fn new(wake: RawFd) -> Result<Select> {
        check_limit(wake)?;
        Ok(Select { set: PollSet::new(wake)?, wake })
    }
}

/// A descriptor without a bit in an `fd_set` is refused; setting its bit would write past the set.
fn check_limit(fd: RawFd) -> Result<()> {
    if fd < SELECT_LIMIT { Ok(()) } else { Err(Status::EUNSUPPORTED) }
}

impl Demux for Select {
    fn add(&mut self, fd: RawFd, interest: Events, token: u64) -> Result<()> {
        check_limit(fd)?;
        self.set.add(fd, interest, token)
    }

    fn modify(&mut self, fd: RawFd, interest: Events, token: u64) -> Result<()> {
        self.set.modify(fd, interest, token)
    }

    fn remove(&mut self, fd: RawFd) -> Result<()> {
        self.set.remove(fd)
    }

    fn verify(&mut self, fd: RawFd, _: Events, _: u64) -> Result<()> {
        self.set.verify(fd)
    }

    fn wait(&mut self, timeout_ns: u64, batch: &mut Batch) -> Result<()> {
        let end = if timeout_ns == FOREVER { FOREVER } else { monotonic_ns().saturating_add(timeout_ns) };
        let mut left = timeout_ns;
        loop {
            let mut sets = SelectSets::new();
            sets.insert(self.wake, [true, false, false]);
            let mut unseen = false;
            for (fd, interest) in self.set.audible() {
                sets.insert(fd, [Events::READ, Events::WRITE, Events::PRIORITY].map(|flag| interest.intersects(flag)));
                unseen |= !interest.intersects(Events::READ | Events::WRITE);
            }
            let slice = if unseen { left.min(SLICE_NS) } else { left };
            match sets.wait((slice != FOREVER).then_some(slice)) {
                // A descriptor in the set is closed: ppoll says which.
                Ok(_) | Err(Status::EBADF) => {}
                Err(status) => return Err(status),
            }
            let woken = self.set.wait(Some(0), batch)?;
            left = if end == FOREVER { FOREVER } else { end.saturating_sub(monotonic_ns()) };
            if woken || !batch.is_empty() || left == 0 || !unseen {
                return Ok(());
            }
        }
    }

    fn is_ready(&mut self) -> bool {
        self.set.is_ready()
    }

    fn owns(&self, _: RawFd) -> bool {
        false
    }

    fn descriptor(&mut self) -> Result<RawFd> {
        Err(Status::EUNSUPPORTED)
    }

    fn reset(&mut self, wake: RawFd) -> Result<()> {
        check_limit(wake)?;
        self.wake = wake;
        self.set.reset(wake)
    }
}
