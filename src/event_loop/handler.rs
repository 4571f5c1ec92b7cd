//! Event handlers of the layers above: objects that live in the loop's slots, under handles of their own, and are
//! called with what comes for them. The loop does not know what they are; streams and listeners (`net`) are such
//! handlers.
//!
//! Contract:
//! 1. A handler has at most one descriptor, which is watched as those of other watchers are: with the same guards
//!    against numbers that are closed or reused.
//! 2. Its entry is called by the dispatch alone, with nothing of the loop borrowed, and takes the state whenever it
//!    needs it.
//! 3. It is called once for each [`Occasion`]. What it leaves to be done later it asks for by
//!    [`Core::handler_schedule`], and is called in the next turn, which then does not wait.
//! 4. Its slot is freed by itself alone ([`Core::handler_remove`]), or with the loop. [`Occasion::LoopClosing`] comes
//!    once before that, unless the process is a child of fork: then it is dropped.
//! 5. Scheduling and arming a deadline cannot fail: what they need is reserved when the handler is inserted.

use super::Loop;
use super::core::{Call, Core};
use super::io::Watch;
use super::slots::{Kind, Object};
use crate::demux::Events;
use crate::status::{Result, Status};
use crate::sys::memory::UserData;
use core::any::Any;
use core::fmt;
use std::collections::VecDeque;
use std::os::fd::RawFd;

/// Why a handler is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Occasion {
    /// Its descriptor is ready for this.
    Ready(Events),
    /// Its descriptor was closed, or replaced by another file, by somebody else.
    Gone,
    /// Its deadline has passed.
    Deadline,
    /// It has asked for it.
    Scheduled,
    /// The loop is being closed: the last call.
    LoopClosing,
}

/// What the dispatch calls, with the handler's handle.
pub type Entry = fn(&Loop, u64, Occasion);

/// An object of a layer above.
pub trait EventHandler: Any {
    /// The function that is called with what comes.
    fn entry(&self) -> Entry;
    /// In a child of fork that takes the loop over. Returns whether the handler is to be called there.
    fn after_fork(&mut self) -> bool;
    /// What it is and waits for, for people.
    fn describe(&self, out: &mut dyn fmt::Write) -> fmt::Result;
}

/// A handler's slot.
pub struct Handler {
    /// Its descriptor and what is asked of it.
    pub watch: Watch,
    /// The kind of its handles.
    pub kind: Kind,
    /// Whether it can still bring a callback by itself.
    pub active: bool,
    scheduled: bool,
    body: Box<dyn EventHandler>,
}

impl Handler {
    /// The function that is called with what comes.
    pub fn entry(&self) -> Entry {
        self.body.entry()
    }

    /// What it is and waits for, for people.
    pub fn describe(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        self.body.describe(out)
    }
}

/// The handlers of a loop.
pub struct Handlers {
    /// Those that asked to be called; some may be gone by now.
    queue: VecDeque<u64>,
    /// How many of them the present turn calls.
    quota: usize,
    /// How many of them are gone.
    stale: usize,
    count: usize,
    /// The slot to look at next when the loop is closed.
    closing: u32,
    scratch: Vec<u8>,
}

/// Bytes of the buffer that handlers share.
pub const SCRATCH: usize = 64 * 1024;

impl Handlers {
    /// No handlers.
    pub const fn new() -> Handlers {
        Handlers { queue: VecDeque::new(), quota: 0, stale: 0, count: 0, closing: 0, scratch: Vec::new() }
    }

    /// Whether handlers are to be called in the next turn.
    #[inline]
    pub fn has_scheduled(&self) -> bool {
        !self.queue.is_empty()
    }

    /// A turn begins: it calls what has been scheduled up to now.
    #[inline]
    pub fn begin_turn(&mut self) {
        self.quota = self.queue.len();
    }

    /// Lends the buffer of [`SCRATCH`] bytes that handlers share, until [`Handlers::give_back`]. What is not given
    /// back, because an exception came between, is made anew.
    #[inline]
    pub fn lend(&mut self) -> Result<Vec<u8>> {
        let mut scratch = core::mem::take(&mut self.scratch);
        if scratch.is_empty() {
            scratch.try_reserve_exact(SCRATCH).map_err(|_| Status::ENOMEM)?;
            scratch.resize(SCRATCH, 0);
        }
        Ok(scratch)
    }

    /// Takes the shared buffer back.
    #[inline]
    pub fn give_back(&mut self, scratch: Vec<u8>) {
        self.scratch = scratch;
    }
}

impl Core {
    /// Puts a handler into a slot; it watches nothing yet.
    pub fn handler_insert(&mut self, kind: Kind, body: Box<dyn EventHandler>, user_data: UserData) -> Result<u32> {
        let handlers = &mut self.handlers;
        let needed = handlers.count.saturating_add(handlers.stale).saturating_add(1);
        let missing = needed.saturating_sub(handlers.queue.len());
        handlers.queue.try_reserve(missing).map_err(|_| Status::ENOMEM)?;
        let handler = Handler { watch: Watch::NOTHING, kind, active: true, scheduled: false, body };
        let index = self.slots.insert(Object::Handler(handler), user_data)?;
        if let Err(status) = self.reserve_timer(index) {
            self.slots.remove(index);
            return Err(status);
        }
        self.handlers.count = self.handlers.count.saturating_add(1);
        Ok(index)
    }

    /// Frees a handler's slot, after its descriptor is not watched any more.
    pub fn handler_remove(&mut self, index: u32) {
        self.handler_unwatch(index);
        self.timers.disarm(index);
        self.release_timer();
        self.handlers.count = self.handlers.count.saturating_sub(1);
        if self.handler(index).is_some_and(|handler| handler.scheduled) {
            self.handlers.stale = self.handlers.stale.saturating_add(1);
        }
        self.slots.remove(index);
    }

    /// A handler's slot.
    #[inline]
    fn handler(&mut self, index: u32) -> Option<&mut Handler> {
        match self.slots.get_mut(index).map(|slot| &mut slot.object) {
            Some(Object::Handler(handler)) => Some(handler),
            _ => None,
        }
    }

    /// A handler, as what the layer above knows it as.
    #[inline]
    pub fn handler_body<T: EventHandler>(&mut self, index: u32) -> Option<&mut T> {
        let body: &mut dyn Any = &mut *self.handler(index)?.body;
        body.downcast_mut::<T>()
    }

    /// Watches a descriptor for a handler that has none.
    pub fn handler_watch(&mut self, index: u32, fd: RawFd, interest: Events) -> Result<()> {
        let watch = Watch::new(fd, self.batch_number, interest);
        self.watch(index, Events::NONE, watch)?;
        if let Some(handler) = self.handler(index) {
            handler.watch = watch;
        }
        Ok(())
    }

    /// Ends what [`Core::handler_watch`] began. What others have on the same descriptor stays.
    pub fn handler_unwatch(&mut self, index: u32) {
        if self.handler(index).is_some_and(|handler| handler.watch.fd >= 0) {
            self.unwatch(index);
        }
        if let Some(handler) = self.handler(index) {
            handler.watch = Watch::NOTHING;
        }
    }

    /// Changes what a handler waits for, and whether it can still bring a callback by itself.
    #[inline]
    pub fn handler_adjust(&mut self, index: u32, interest: Events, active: bool) {
        let Some(handler) = self.handler(index) else { return };
        let refresh = core::mem::replace(&mut handler.active, active) != active;
        if handler.watch.interest != interest {
            self.watch_set(index, interest);
        }
        if refresh {
            self.slots.refresh(index);
        }
    }

    /// Has a handler called at `deadline` or before; it looks at the time itself. An earlier deadline that is armed
    /// stays, so that one which moves on with every event costs nothing.
    #[inline]
    pub fn handler_arm(&mut self, index: u32, deadline: u64) {
        if self.timers.deadline(index).is_none_or(|armed| armed > deadline) {
            self.timers.arm(index, deadline);
        }
    }

    /// Has a handler called in the next turn.
    pub fn handler_schedule(&mut self, index: u32) {
        let bits = self.slots.bits(index);
        if let Some(handler) = self.handler(index)
            && !handler.scheduled
        {
            handler.scheduled = true;
            self.handlers.queue.push_back(bits); // within what `handler_insert` reserved
        }
    }

    /// The next handler that asked to be called.
    #[inline]
    pub fn next_scheduled(&mut self) -> Option<Call> {
        while self.handlers.quota > 0 {
            self.handlers.quota = self.handlers.quota.saturating_sub(1);
            let bits = self.handlers.queue.pop_front()?;
            match self.handler_of(bits) {
                Some(handler) => {
                    handler.scheduled = false;
                    return Some(Call::Handler { entry: handler.entry(), bits, occasion: Occasion::Scheduled });
                }
                None => self.handlers.stale = self.handlers.stale.saturating_sub(1),
            }
        }
        None
    }

    fn handler_of(&mut self, bits: u64) -> Option<&mut Handler> {
        let index = super::handle::index_of(bits);
        if self.slots.bits(index) == bits { self.handler(index) } else { None }
    }

    /// A handler's deadline may have passed.
    pub fn handler_expired(&mut self, index: u32) -> Option<Call> {
        let bits = self.slots.bits(index);
        let entry = self.handler(index)?.entry();
        Some(Call::Handler { entry, bits, occasion: Occasion::Deadline })
    }

    /// The next handler to be told that the loop is being closed.
    pub fn next_closing_handler(&mut self) -> Option<Call> {
        loop {
            let index = self.handlers.closing;
            let slot = self.slots.get(index)?;
            self.handlers.closing = index.saturating_add(1);
            if let Object::Handler(handler) = &slot.object {
                let entry = handler.entry();
                return Some(Call::Handler { entry, bits: self.slots.bits(index), occasion: Occasion::LoopClosing });
            }
        }
    }

    /// In a child of fork.
    pub fn handlers_after_fork(&mut self) {
        let mut index = 0;
        while self.slots.get(index).is_some() {
            if self.handler(index).is_some_and(|handler| handler.body.after_fork()) {
                self.handler_schedule(index);
            }
            index = index.saturating_add(1);
        }
    }

    /// Whether a handler has this descriptor.
    pub fn is_handled(&mut self, fd: RawFd) -> bool {
        let mut index = self.first_watcher(fd);
        while let Some(slot) = self.slots.get(index) {
            if matches!(slot.object, Object::Handler(_)) {
                return true;
            }
            index = slot.next;
        }
        false
    }

    /// Whether `fd` may become a handler's: not if it is the loop's own, or others carry out operations on it.
    pub fn check_adoptable(&mut self, fd: RawFd) -> Result<()> {
        if fd == self.wakeup.fd() || self.demux.owns(fd) || self.operations.owns(fd) {
            return Err(Status::EINVAL);
        }
        if self.is_handled(fd) || self.operations.has_any(fd) {
            return Err(Status::EBUSY);
        }
        Ok(())
    }
}
