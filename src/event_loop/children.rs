//! Child processes: the process-wide table of ends, and a loop's watchers.
//!
//! The end of a child can be taken from the kernel once only, and watchers in several loops may wait for it. So the
//! watchers of a child share one entry of the table, with one pidfd; whoever comes first takes the end and leaves it there.
//! The pidfd is watched like any other descriptor, and so children come out of the same dispatch.

use super::callback::{gyre_child_cb, gyre_child_exit};
use super::core::Core;
use super::slots::Object;
use crate::demux::Events;
use crate::status::{Result, Status};
use crate::sys::memory::{UserData, reserve};
use crate::sys::process::{self, Ending};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A child watcher's slot.
pub struct Child {
    /// What to call; never `None`.
    pub callback: gyre_child_cb,
    /// The pidfd, shared with the other watchers of this process; [`GONE`] when somebody closed it.
    pub fd: RawFd,
    /// The watched process.
    pub pid: libc::pid_t,
    entry: u32,
    /// The batch in which it was opened: it hears nothing of that one.
    pub opened_in: u32,
    /// Whether the end was told.
    pub told: bool,
}

/// In place of a pidfd that is not ours any more.
pub const GONE: RawFd = -1;

/// A child process that somebody watches.
pub struct Entry {
    pid: libc::pid_t,
    pidfd: OwnedFd,
    watchers: u32,
    end: Option<gyre_child_exit>,
}

/// The children that somebody watches, with gaps.
pub type Table = Vec<Option<Entry>>;

static TABLE: Mutex<Table> = Mutex::new(Vec::new());

/// Locks the table.
pub fn lock_table() -> MutexGuard<'static, Table> {
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Joins the watchers of a child, or becomes its first one.
fn join(pid: libc::pid_t) -> Result<(u32, RawFd)> {
    let mut table = lock_table();
    for (index, entry) in table.iter_mut().enumerate() {
        // An entry whose end was taken may stand for an earlier process of the same number.
        if let Some(entry) = entry
            && entry.pid == pid
            && entry.end.is_none()
            && process::check_child(entry.pidfd.as_fd()).is_ok()
        {
            entry.watchers = entry.watchers.saturating_add(1);
            return Ok((index as u32, entry.pidfd.as_raw_fd()));
        }
    }
    let pidfd = process::open(pid)?;
    process::check_child(pidfd.as_fd())?;
    let fd = pidfd.as_raw_fd();
    let entry = Some(Entry { pid, pidfd, watchers: 1, end: None });
    if let Some((index, free)) = table.iter_mut().enumerate().find(|(_, entry)| entry.is_none()) {
        *free = entry;
        return Ok((index as u32, fd));
    }
    reserve(&mut *table, 1)?;
    table.push(entry);
    Ok((table.len().saturating_sub(1) as u32, fd))
}

/// Leaves the watchers of a child; the last one closes the pidfd.
fn leave(entry: u32) {
    let mut table = lock_table();
    if let Some(slot) = table.get_mut(entry as usize)
        && let Some(entry) = slot
    {
        entry.watchers = entry.watchers.saturating_sub(1);
        if entry.watchers == 0 {
            *slot = None;
        }
    }
}

/// How the child ended; `None` while it still runs.
fn end_of(entry: u32) -> Option<gyre_child_exit> {
    let mut table = lock_table();
    let entry = table.get_mut(entry as usize)?.as_mut()?;
    if entry.end.is_none() {
        let unknown = unknown_end(entry.pid, 0);
        entry.end = match process::reap(entry.pidfd.as_fd()) {
            Ok(None) => None,
            Ok(Some(Ending::Exited(code))) => Some(gyre_child_exit { code, ..unknown }),
            Ok(Some(Ending::Killed { signal, core_dumped })) => {
                Some(gyre_child_exit { signal, core_dumped: i32::from(core_dumped), ..unknown })
            }
            Err(status) => Some(unknown_end(entry.pid, status.code())),
        };
    }
    entry.end
}

fn unknown_end(pid: libc::pid_t, error: i32) -> gyre_child_exit {
    gyre_child_exit { size: size_of::<gyre_child_exit>(), pid, error, code: -1, signal: 0, core_dumped: 0 }
}

impl Core {
    /// Opens a watcher of a child process.
    pub fn child_open(&mut self, pid: libc::pid_t, callback: gyre_child_cb, user_data: UserData) -> Result<u64> {
        if pid <= 0 || callback.is_none() {
            return Err(Status::EINVAL);
        }
        let (entry, fd) = join(pid)?;
        let child = Child { callback, fd, pid, entry, opened_in: self.batch_number, told: false };
        self.watch_open(fd, Events::NONE, Object::Child(child), user_data).inspect_err(|_| leave(entry))
    }

    /// Closes a watcher of a child process.
    pub fn child_close(&mut self, index: u32) {
        let Some(Object::Child(Child { entry, .. })) = self.slots.get(index).map(|slot| &slot.object) else { return };
        let entry = *entry;
        self.watch_close(index); // takes the pidfd out of the demultiplexer before the last watcher closes it
        leave(entry);
    }

    /// Gives up the entries of all child watchers, before the loop goes.
    pub fn children_leave(&mut self) {
        for (_, slot) in self.slots.iter() {
            if let Object::Child(child) = &slot.object {
                leave(child.entry);
            }
        }
    }
}

impl Child {
    /// The end to tell now, if it has come and was not told; marks it as told.
    pub fn take_end(&mut self) -> Option<gyre_child_exit> {
        if self.told {
            return None; // the pidfd goes on to report a hangup
        }
        let end = end_of(self.entry)?;
        self.told = true;
        Some(end)
    }

    /// What to tell when the pidfd was closed by somebody: the end if it can be had, else only that nothing can be known.
    pub fn take_orphaned_end(&mut self) -> gyre_child_exit {
        self.told = true;
        end_of(self.entry).unwrap_or(unknown_end(self.pid, Status::EBADF.code()))
    }
}
