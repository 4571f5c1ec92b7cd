//! epoll(7), on the descriptor that [`mio::Poll`] owns.
//!
//! mio registers edge-triggered only and rounds timeouts to milliseconds, so interest goes by `epoll_ctl` and waits by
//! `epoll_pwait2` on mio's descriptor. Traps that this file keeps out:
//! - A descriptor that was dup'd and then closed stays in the kernel's set, and no call can take it out. The loop notices
//!   (a token that it does not know, or [`Demux::verify`]) and calls [`Demux::reset`].
//! - The descriptor for embedding must outlive such a reset, so it is a second epoll set that holds the first.
//! - `EPERM` on ADD means a file without readiness: it is kept in `files` and always reported.

use super::{Batch, Demux, Events};
use crate::status::{Result, Status};
use crate::sys::descriptor::{Identity, identity};
use crate::sys::epoll;
use crate::sys::memory::reserve;
use std::os::fd::{AsRawFd, RawFd};

/// The token of the wake-up descriptor; the loop never gives it out.
const WAKE: u64 = u64::MAX;

/// An always-ready file.
struct File {
    fd: RawFd,
    token: u64,
    interest: Events,
    identity: Identity,
    /// An edge that was reported and waits for the next `modify`.
    told: bool,
}

impl File {
    fn is_ready(&self) -> bool {
        !self.told && self.interest.intersects(Events::READ | Events::WRITE)
    }
}

pub struct Mio {
    /// `None` only after a reset that found neither memory nor a descriptor; the next reset tries again.
    poll: Option<mio::Poll>,
    /// The set around `poll`, made when somebody asks for a descriptor to wait on.
    outer: Option<mio::Poll>,
    wake: RawFd,
    buffer: Vec<libc::epoll_event>,
    files: Vec<File>,
    /// Where the next round over `files` starts, so that a full batch starves none.
    next_file: usize,
    files_have_the_turn: bool,
}

impl Mio {
    pub fn new(wake: RawFd, events_per_wait: usize) -> Result<Mio> {
        let mut buffer = Vec::new();
        buffer.try_reserve_exact(events_per_wait).map_err(|_| Status::ENOMEM)?;
        buffer.resize(events_per_wait, libc::epoll_event { events: 0, u64: 0 });
        let poll = Some(set_that_wakes_by(wake)?);
        Ok(Mio { poll, outer: None, wake, buffer, files: Vec::new(), next_file: 0, files_have_the_turn: false })
    }

    fn set(&self) -> Result<RawFd> {
        self.poll.as_ref().map(AsRawFd::as_raw_fd).ok_or(Status::ENOMEM)
    }

    fn file(&mut self, fd: RawFd) -> Option<&mut File> {
        self.files.iter_mut().find(|file| file.fd == fd)
    }

    /// Reports files that are always ready, round robin.
    fn report_files(&mut self, batch: &mut Batch) {
        let count = self.files.len();
        for _ in 0..count {
            if batch.room() == 0 {
                return;
            }
            if self.next_file >= count {
                self.next_file = 0;
            }
            let Some(file) = self.files.get_mut(self.next_file) else { return };
            self.next_file = self.next_file.wrapping_add(1);
            if file.is_ready() {
                file.told = file.interest.intersects(Events::EDGE);
                batch.push(file.token, file.interest & (Events::READ | Events::WRITE));
            }
        }
    }
}

/// A new set that holds the wake-up descriptor, edge-triggered: each write to it ends a wait, and nobody has to read it.
fn set_that_wakes_by(wake: RawFd) -> Result<mio::Poll> {
    let poll = mio::Poll::new().map_err(Status::from_io)?;
    epoll::add(poll.as_raw_fd(), wake, (libc::EPOLLIN | libc::EPOLLET) as u32, WAKE)?;
    Ok(poll)
}

/// What epoll is asked for. An empty interest becomes a one-shot for hangup and error, which the kernel always adds.
#[inline]
fn to_epoll(interest: Events) -> u32 {
    if !interest.intersects(Events::ASKABLE) {
        return libc::EPOLLONESHOT as u32;
    }
    let bit = |flag: Events, bits: i32| if interest.intersects(flag) { bits as u32 } else { 0 };
    bit(Events::READ, libc::EPOLLIN)
        | bit(Events::WRITE, libc::EPOLLOUT)
        | bit(Events::PRIORITY, libc::EPOLLPRI)
        | bit(Events::PEER_CLOSED, libc::EPOLLRDHUP)
        | bit(Events::EDGE, libc::EPOLLET)
}

#[inline]
fn from_epoll(bits: u32) -> Events {
    let bit = |epoll: i32, flag: Events| if bits & epoll as u32 != 0 { flag } else { Events::NONE };
    bit(libc::EPOLLIN, Events::READ)
        | bit(libc::EPOLLOUT, Events::WRITE)
        | bit(libc::EPOLLPRI, Events::PRIORITY)
        | bit(libc::EPOLLRDHUP, Events::PEER_CLOSED)
        | bit(libc::EPOLLHUP, Events::HANGUP)
        | bit(libc::EPOLLERR, Events::ERROR)
}

impl Demux for Mio {
    fn add(&mut self, fd: RawFd, interest: Events, token: u64) -> Result<()> {
        let set = self.set()?;
        match epoll::add(set, fd, to_epoll(interest), token) {
            Err(Status::EPERM) => {
                let identity = identity(fd)?;
                reserve(&mut self.files, 1)?;
                self.files.push(File { fd, token, interest, identity, told: false });
                Ok(())
            }
            // What stayed behind when this same file was closed under another watcher, and is back at its number.
            Err(Status::EEXIST) => epoll::modify(set, fd, to_epoll(interest), token),
            result => result,
        }
    }

    fn modify(&mut self, fd: RawFd, interest: Events, token: u64) -> Result<()> {
        let set = self.set()?;
        let Some(file) = self.file(fd) else {
            return epoll::modify(set, fd, to_epoll(interest), token);
        };
        if identity(fd)? != file.identity {
            return Err(Status::ENOENT);
        }
        (file.interest, file.token, file.told) = (interest, token, false);
        Ok(())
    }

    fn remove(&mut self, fd: RawFd) -> Result<()> {
        if let Some(index) = self.files.iter().position(|file| file.fd == fd) {
            self.files.remove(index);
            return Ok(());
        }
        epoll::remove(self.set()?, fd)
    }

    fn verify(&mut self, fd: RawFd, interest: Events, token: u64) -> Result<()> {
        match self.file(fd) {
            Some(file) if identity(fd)? == file.identity => Ok(()),
            Some(_) => Err(Status::ENOENT),
            None => epoll::modify(self.set()?, fd, to_epoll(interest), token),
        }
    }

    fn wait(&mut self, timeout_ns: u64, batch: &mut Batch) -> Result<()> {
        let set = self.set()?;
        let files = if self.files.is_empty() { 0 } else { self.files.iter().filter(|file| file.is_ready()).count() };
        let (timeout_ns, room) = match (files, batch.room()) {
            (0, room) => (timeout_ns, room),
            (_, 1) => {
                // No room for both: they take turns.
                self.files_have_the_turn = !self.files_have_the_turn;
                if self.files_have_the_turn {
                    self.report_files(batch);
                    return Ok(());
                }
                (0, 1)
            }
            // Files leave at least half of the batch to the kernel's set.
            (files, room) => (0, room.saturating_sub(files.min(room / 2))),
        };
        let buffer = self.buffer.get_mut(..room).unwrap_or_default();
        let count = epoll::wait(set, buffer, timeout_ns)?;
        for event in buffer.iter().take(count) {
            let (token, bits) = (event.u64, event.events);
            if token != WAKE {
                batch.push(token, from_epoll(bits));
            }
        }
        if files > 0 {
            self.report_files(batch);
        }
        Ok(())
    }

    fn is_ready(&mut self) -> bool {
        self.files.iter().any(File::is_ready)
    }

    fn pollable(&self) -> Option<RawFd> {
        if self.files.is_empty() { self.set().ok() } else { None } // it does not tell of files that are always ready
    }

    fn owns(&self, fd: RawFd) -> bool {
        [&self.poll, &self.outer].into_iter().flatten().any(|set| set.as_raw_fd() == fd)
    }

    fn descriptor(&mut self) -> Result<RawFd> {
        let inner = self.set()?;
        if self.outer.is_none() {
            let outer = mio::Poll::new().map_err(Status::from_io)?;
            epoll::add(outer.as_raw_fd(), inner, libc::EPOLLIN as u32, 0)?;
            self.outer = Some(outer);
        }
        self.outer.as_ref().map(AsRawFd::as_raw_fd).ok_or(Status::ENOMEM)
    }

    fn reset(&mut self, wake: RawFd) -> Result<()> {
        let forked = wake != self.wake;
        self.wake = wake;
        self.files.clear();
        self.next_file = 0;
        self.poll = match set_that_wakes_by(wake) {
            Ok(poll) => Some(poll),
            // No descriptor to be had: give the old one up first.
            Err(_) => {
                self.poll = None;
                Some(set_that_wakes_by(wake)?)
            }
        };
        if self.outer.is_some() {
            let inner = self.set()?;
            if forked {
                self.outer = None; // the old one is the parent's too
                self.descriptor()?;
            } else if let Some(outer) = &self.outer {
                // The old inner set was closed above, which took it out of the outer one.
                epoll::add(outer.as_raw_fd(), inner, libc::EPOLLIN as u32, 0)?;
            }
        }
        Ok(())
    }
}
