//! ppoll(2), and the set of descriptors that [`super::select`] shares.
//!
//! These calls look at numbers, not at open files: a number that was closed and given out again would bring another
//! file's events to the old watcher. So each report is checked against the identity that the file had when it was added.

use super::{Batch, Demux, Events};
use crate::status::{Result, Status};
use crate::sys::clock::FOREVER;
use crate::sys::descriptor::{Identity, identity};
use crate::sys::memory::{reserve, reserve_to};
use crate::sys::{poll, wakeup};
use libc::pollfd;
use std::os::fd::RawFd;

const ABSENT: u32 = u32::MAX;

/// What belongs to a descriptor beside its `pollfd`.
#[derive(Clone, Copy)]
struct Watched {
    token: u64,
    interest: Events,
    identity: Identity,
}

/// The watched descriptors, as ppoll(2) takes them.
pub struct PollSet {
    wake: RawFd,
    /// The wake-up descriptor stands first; the descriptor at `i + 1` belongs to `watched[i]`. A muted one (nothing more
    /// to say before the next `modify`) is stored as `!fd`, which is negative and so ignored by the kernel.
    polled: Vec<pollfd>,
    watched: Vec<Watched>,
    /// By descriptor: where it stands in `watched`.
    places: Vec<u32>,
    /// Where the next harvest starts, so that a full batch starves none.
    next: usize,
}

impl PollSet {
    pub fn new(wake: RawFd) -> Result<PollSet> {
        let mut set = PollSet { wake, polled: Vec::new(), watched: Vec::new(), places: Vec::new(), next: 0 };
        set.reset(wake)?;
        Ok(set)
    }

    pub fn reset(&mut self, wake: RawFd) -> Result<()> {
        reserve(&mut self.polled, 1)?;
        self.wake = wake;
        self.polled.clear();
        self.polled.push(pollfd { fd: wake, events: libc::POLLIN, revents: 0 });
        self.watched.clear();
        self.places.fill(ABSENT);
        Ok(())
    }

    fn place(&self, fd: RawFd) -> Option<usize> {
        let place = *self.places.get(usize::try_from(fd).ok()?)?;
        (place != ABSENT).then_some(place as usize)
    }

    pub fn add(&mut self, fd: RawFd, interest: Events, token: u64) -> Result<()> {
        let identity = identity(fd)?; // -EBADF before a table is grown for a number that is no descriptor
        let index = usize::try_from(fd).map_err(|_| Status::EBADF)?;
        let end = index.saturating_add(1);
        reserve_to(&mut self.places, end)?;
        reserve(&mut self.polled, 1)?;
        reserve(&mut self.watched, 1)?;
        if end > self.places.len() {
            self.places.resize(end, ABSENT);
        }
        let Some(place) = self.places.get_mut(index) else { return Err(Status::ENOMEM) };
        *place = self.watched.len() as u32;
        self.polled.push(pollfd { fd, events: to_poll(interest), revents: 0 });
        self.watched.push(Watched { token, interest, identity });
        Ok(())
    }

    pub fn modify(&mut self, fd: RawFd, interest: Events, token: u64) -> Result<()> {
        self.verify(fd)?;
        let place = self.place(fd).ok_or(Status::ENOENT)?;
        let watched = self.watched.get_mut(place).ok_or(Status::ENOENT)?;
        let polled = self.polled.get_mut(place.wrapping_add(1)).ok_or(Status::ENOENT)?;
        (watched.interest, watched.token) = (interest, token);
        (polled.fd, polled.events) = (fd, to_poll(interest));
        Ok(())
    }

    pub fn remove(&mut self, fd: RawFd) -> Result<()> {
        let place = self.place(fd).ok_or(Status::ENOENT)?;
        self.polled.swap_remove(place.wrapping_add(1));
        self.watched.swap_remove(place);
        if let Some(moved) = self.polled.get(place.wrapping_add(1)) {
            let moved = if moved.fd < 0 { !moved.fd } else { moved.fd };
            if let Some(at) = usize::try_from(moved).ok().and_then(|fd| self.places.get_mut(fd)) {
                *at = place as u32;
            }
        }
        if let Some(at) = usize::try_from(fd).ok().and_then(|fd| self.places.get_mut(fd)) {
            *at = ABSENT;
        }
        Ok(())
    }

    pub fn verify(&self, fd: RawFd) -> Result<()> {
        let watched = self.place(fd).and_then(|place| self.watched.get(place)).ok_or(Status::ENOENT)?;
        if identity(fd)? == watched.identity { Ok(()) } else { Err(Status::ENOENT) }
    }

    /// Whether something is ready now.
    pub fn is_ready(&mut self) -> bool {
        poll::poll(&mut self.polled, Some(0)).is_ok_and(|ready| ready > 0)
    }

    /// Every descriptor that is not muted, with what is waited for on it.
    pub fn audible(&self) -> impl Iterator<Item = (RawFd, Events)> {
        let polled = self.polled.iter().skip(1).map(|polled| polled.fd);
        polled.zip(self.watched.iter().map(|watched| watched.interest)).filter(|(fd, _)| *fd >= 0)
    }

    /// Waits by ppoll(2) and reports what is ready. Returns whether the wake-up descriptor was written to.
    pub fn wait(&mut self, timeout_ns: Option<u64>, batch: &mut Batch) -> Result<bool> {
        let mut left = poll::poll(&mut self.polled, timeout_ns)?;
        let mut woken = false;
        if let Some(wake) = self.polled.first_mut().filter(|wake| wake.revents != 0) {
            wake.revents = 0;
            wakeup::drain(self.wake);
            left = left.saturating_sub(1);
            woken = true;
        }
        let count = self.watched.len();
        for _ in 0..count {
            if left == 0 || batch.room() == 0 {
                break;
            }
            if self.next >= count {
                self.next = 0;
            }
            let place = self.next;
            self.next = self.next.wrapping_add(1);
            left = left.saturating_sub(usize::from(self.report(place, batch)));
        }
        Ok(woken)
    }

    /// Reports what the last poll(2) said of one descriptor, if anything.
    fn report(&mut self, place: usize, batch: &mut Batch) -> bool {
        let (Some(polled), Some(watched)) = (self.polled.get_mut(place.wrapping_add(1)), self.watched.get(place))
        else {
            return false;
        };
        if polled.revents == 0 || polled.fd < 0 {
            return false;
        }
        let events = match identity(polled.fd) {
            Ok(now) if now == watched.identity && polled.revents & libc::POLLNVAL == 0 => from_poll(polled.revents),
            _ => Events::GONE,
        };
        polled.revents = 0;
        if events == Events::GONE || !watched.interest.intersects(Events::ASKABLE) {
            polled.fd = !polled.fd;
        }
        batch.push(watched.token, events);
        true
    }
}

fn to_poll(interest: Events) -> i16 {
    let bit = |flag: Events, bits: i16| if interest.intersects(flag) { bits } else { 0 };
    bit(Events::READ, libc::POLLIN)
        | bit(Events::WRITE, libc::POLLOUT)
        | bit(Events::PRIORITY, libc::POLLPRI)
        | bit(Events::PEER_CLOSED, libc::POLLRDHUP)
}

fn from_poll(bits: i16) -> Events {
    let bit = |poll: i16, flag: Events| if bits & poll != 0 { flag } else { Events::NONE };
    bit(libc::POLLIN, Events::READ)
        | bit(libc::POLLOUT, Events::WRITE)
        | bit(libc::POLLPRI, Events::PRIORITY)
        | bit(libc::POLLRDHUP, Events::PEER_CLOSED)
        | bit(libc::POLLHUP, Events::HANGUP)
        | bit(libc::POLLERR, Events::ERROR)
}

/// The backend that waits by ppoll(2).
pub struct Poll(PollSet);

impl Poll {
    pub fn new(wake: RawFd) -> Result<Poll> {
        PollSet::new(wake).map(Poll)
    }
}

impl Demux for Poll {
    fn add(&mut self, fd: RawFd, interest: Events, token: u64) -> Result<()> {
        self.0.add(fd, interest, token)
    }

    fn modify(&mut self, fd: RawFd, interest: Events, token: u64) -> Result<()> {
        self.0.modify(fd, interest, token)
    }

    fn remove(&mut self, fd: RawFd) -> Result<()> {
        self.0.remove(fd)
    }

    fn verify(&mut self, fd: RawFd, _: Events, _: u64) -> Result<()> {
        self.0.verify(fd)
    }

    fn wait(&mut self, timeout_ns: u64, batch: &mut Batch) -> Result<()> {
        self.0.wait((timeout_ns != FOREVER).then_some(timeout_ns), batch).map(|_| ())
    }

    fn is_ready(&mut self) -> bool {
        self.0.is_ready()
    }

    fn owns(&self, _: RawFd) -> bool {
        false
    }

    fn descriptor(&mut self) -> Result<RawFd> {
        Err(Status::EUNSUPPORTED)
    }

    fn reset(&mut self, wake: RawFd) -> Result<()> {
        self.0.reset(wake)
    }
}
