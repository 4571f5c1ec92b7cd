//! Descriptors and their watchers.
//!
//! The kernel knows a descriptor once, with the union of what its watchers ask for; its report is fanned out to the
//! watchers in order of opening. Changes of interest are noted and go to the kernel before the next wait, merged.
//!
//! Contract:
//! 1. A report reaches only watchers that were open before the wait, ask for what came, and are still open.
//! 2. Watchers of a descriptor that was closed or replaced under them are orphans: they are told `GYRE_ERROR` once, and
//!    never anything of the file that has the number now. It shows as `-EBADF` or `-ENOENT` when the kernel is told of a
//!    change, as [`Events::GONE`], or when a level-triggered report that came 16, 32, 64 … turns running is verified.
//! 3. A report with a token that no descriptor has, and that was not closed since the wait, comes from a registration
//!    which no call can remove any more: the set is rebuilt.
//! 4. Nothing here allocates but opening a watcher.

use super::callback::gyre_io_cb;
use super::children::{Child, GONE};
use super::core::{Call, Core};
use super::handler::{Handler, Occasion};
use super::operations::ACCEPT_BATCH;
use super::slots::{List, NONE, Object};
use crate::demux::{Events, Ready};
use crate::status::{Result, Status};
use crate::sys::descriptor::check_open;
use crate::sys::memory::{UserData, reserve, reserve_to};
use std::os::fd::RawFd;

/// A descriptor watcher's slot.
pub struct Io {
    callback: gyre_io_cb,
    /// The descriptor, and what is asked of it.
    pub watch: Watch,
}

/// What somebody asks of a descriptor, and has been told.
#[derive(Clone, Copy)]
pub struct Watch {
    /// The descriptor's number; it may not be the file any more that was watched. Negative for none.
    pub fd: RawFd,
    /// The batch in which it was opened or orphaned: it hears nothing of that one.
    opened_in: u32,
    /// What it asks for.
    pub interest: Events,
    state: u8,
}

/// Edge-triggered.
const EDGE: u8 = 1;
/// Paused by each report.
const ONESHOT: u8 = 2;
/// A one-shot watcher that has had its report: silent until it is set.
const SPENT: u8 = 4;
/// Has been told of a hangup or an error without asking for anything: silent until it is set.
const HANGUP_TOLD: u8 = 8;
/// The descriptor is gone; the watcher is in the list of orphans until it has been told.
const ORPHAN: u8 = 16;
/// Has been told that the descriptor is gone.
const LOST: u8 = 32;

impl Watch {
    /// No descriptor.
    pub const NOTHING: Watch = Watch::new(-1, 0, Events::NONE);

    /// A descriptor that is watched from the batch `opened_in` on.
    pub const fn new(fd: RawFd, opened_in: u32, interest: Events) -> Watch {
        Watch { fd, opened_in, interest, state: 0 }
    }

    fn is(&self, state: u8) -> bool {
        self.state & state != 0
    }

    /// Whether it can still bring a callback by itself.
    pub fn is_active(&self) -> bool {
        !self.interest.is_empty()
    }

    /// Notes that it is told that the descriptor is gone.
    fn lose(&mut self) {
        self.state = (self.state & !ORPHAN) | LOST;
        self.interest = Events::NONE;
    }

    /// What to tell of a report, if anything, with the change of state that telling it means.
    #[inline]
    fn take(&mut self, events: Events) -> Option<Events> {
        let unasked = events & Events::UNASKED;
        if self.interest.is_empty() {
            if unasked.is_empty() || self.is(SPENT | HANGUP_TOLD) {
                return None;
            }
            self.state |= HANGUP_TOLD;
            return Some(unasked);
        }
        let mut told = (events & self.interest) | unasked;
        if !unasked.is_empty() {
            // After a hangup or an error neither a read nor a write would block.
            told |= self.interest & (Events::READ | Events::WRITE);
        }
        if told.is_empty() {
            return None;
        }
        if self.is(ONESHOT) {
            self.interest = Events::NONE;
            self.state |= SPENT;
        }
        Some(told)
    }
}

/// What the loop knows of a descriptor.
#[derive(Clone, Copy)]
struct Descriptor {
    watchers: List,
    /// Together with the number, the token given to the kernel; another one for each registration.
    generation: u32,
    /// The batch of the last report, and how many batches running there was one.
    reported_in: u32,
    streak: u16,
    /// The batch in which the last registration ended.
    removed_in: u32,
    /// What the kernel was asked for.
    asked: Events,
    registered: bool,
    /// Whether it is in the list of changed ones.
    changed: bool,
    /// Whether the next change goes to the kernel even if it changes nothing: an edge is to be told again.
    rearm: bool,
    /// Whether what operations wait for was first asked when nobody used the descriptor: its number may by now stand for
    /// another file than the one that is registered.
    fresh: bool,
    /// Whether it is known to be a socket; forgotten with the registration.
    socket: bool,
}

impl Descriptor {
    const UNKNOWN: Descriptor = Descriptor {
        watchers: List::EMPTY,
        generation: 0,
        reported_in: 0,
        streak: 0,
        removed_in: 0,
        asked: Events::NONE,
        registered: false,
        changed: false,
        rearm: false,
        fresh: false,
        socket: false,
    };

    /// Counts reports batch after batch; true when it is time to verify a level-triggered descriptor.
    #[inline]
    fn is_suspicious(&mut self, batch: u32) -> bool {
        let follows = self.reported_in.wrapping_add(1) == batch;
        self.reported_in = batch;
        self.streak = match self.streak {
            u16::MAX => u16::MAX / 2, // so that a report without end is verified again and again
            streak if follows => streak.wrapping_add(1),
            _ => 1,
        };
        self.streak >= 16 && self.streak.is_power_of_two() && !self.asked.intersects(Events::EDGE)
    }
}

/// The descriptors of a loop, by number.
pub struct Descriptors {
    table: Vec<Descriptor>,
    changed: Vec<RawFd>,
    registered: usize,
    /// Watchers whose descriptor is gone and who have not been told.
    orphans: List,
    /// Whether the demultiplexer holds a registration that cannot be removed.
    pub rebuild: bool,
}

/// The report that is being fanned out.
pub struct FanOut {
    /// The next watcher.
    pub next: u32,
    fd: RawFd,
    events: Events,
    /// What operations may still do about it.
    ready: Events,
    /// How much of it a `_many` operation may take.
    budget: u32,
}

impl FanOut {
    /// Nothing to fan out.
    pub const NOTHING: FanOut =
        FanOut { next: NONE, fd: -1, events: Events::NONE, ready: Events::NONE, budget: ACCEPT_BATCH };

    /// Something that comes from no descriptor, for the list that begins with `next`.
    pub fn of_no_descriptor(next: u32) -> FanOut {
        FanOut { next, ..FanOut::NOTHING }
    }

    /// Leaves out a watcher that is about to be closed.
    #[inline]
    pub fn skip(&mut self, index: u32, next: u32) {
        if self.next == index {
            self.next = next;
        }
    }
}

impl Descriptors {
    /// No descriptors.
    pub const fn new() -> Descriptors {
        Descriptors { table: Vec::new(), changed: Vec::new(), registered: 0, orphans: List::EMPTY, rebuild: false }
    }

    /// Whether watchers wait to be told that their descriptor is gone.
    #[inline]
    pub fn has_orphans(&self) -> bool {
        !self.orphans.is_empty()
    }

    #[inline]
    fn get(&mut self, fd: RawFd) -> Option<&mut Descriptor> {
        self.table.get_mut(fd as u32 as usize)
    }

    /// Makes room for a descriptor and for a note that it changed.
    fn reserve(&mut self, fd: RawFd) -> Result<()> {
        let end = usize::try_from(fd).map_err(|_| Status::EBADF)?.saturating_add(1);
        if end > self.table.len() {
            check_open(fd)?; // before the table grows for a number that is no descriptor
            reserve_to(&mut self.table, end)?;
            self.table.resize(end, Descriptor::UNKNOWN);
        }
        reserve(&mut self.changed, self.registered.saturating_add(1))
    }

    /// Notes that the kernel is to be told of a change before the next wait.
    #[inline]
    fn note_change(&mut self, fd: RawFd) {
        if let Some(descriptor) = self.get(fd)
            && !descriptor.changed
        {
            descriptor.changed = true;
            self.changed.push(fd); // within the capacity that `reserve` made: once a descriptor
        }
    }
}

/// Which of the operations that wait may go on after a report: after a hangup or an error neither read nor write blocks.
fn ready_for(waiting: Events, events: Events) -> Events {
    let any = Events::HANGUP | Events::ERROR | Events::PEER_CLOSED;
    let told = if events.intersects(any) { Events::READ | Events::WRITE } else { events };
    told & waiting
}

fn token(fd: RawFd, generation: u32) -> u64 {
    u64::from(generation) << 32 | u64::from(fd as u32)
}

fn watch_parts(object: &Object) -> Option<(RawFd, Events)> {
    match object {
        Object::Io(Io { watch, .. }) | Object::Handler(Handler { watch, .. }) => {
            let mode = if watch.is(EDGE) { Events::EDGE } else { Events::NONE };
            Some((watch.fd, watch.interest | mode))
        }
        Object::Child(Child { fd, told: false, .. }) => Some((*fd, Events::READ)),
        Object::Child(child) => Some((child.fd, Events::NONE)),
        _ => None,
    }
}

impl Core {
    /// Opens a watcher of a descriptor.
    pub fn io_open(
        &mut self,
        fd: RawFd,
        interest: Events,
        edge: bool,
        oneshot: bool,
        callback: gyre_io_cb,
        user_data: UserData,
    ) -> Result<u64> {
        if callback.is_none() || !(interest & !Events::ASKABLE).is_empty() {
            return Err(Status::EINVAL);
        }
        if fd == self.wakeup.fd() || self.demux.owns(fd) || self.operations.owns(fd) {
            return Err(Status::EINVAL); // perhaps a number that the host has closed before
        }
        if edge && !self.backend.edge {
            return Err(Status::EUNSUPPORTED);
        }
        let state = if edge { EDGE } else { 0 } | if oneshot { ONESHOT } else { 0 };
        let watch = Watch { state, ..Watch::new(fd, self.batch_number, interest) };
        let io = Io { callback, watch };
        self.watch_open(fd, if edge { Events::EDGE } else { Events::NONE }, Object::Io(io), user_data)
    }

    /// Opens a watcher of either kind on `fd`; `mode` is [`Events::EDGE`] or nothing.
    pub fn watch_open(&mut self, fd: RawFd, mode: Events, object: Object, user_data: UserData) -> Result<u64> {
        let (_, interest) = watch_parts(&object).ok_or(Status::EINVAL)?;
        let index = self.slots.insert(object, user_data)?;
        if let Err(status) = self.watch(index, mode, Watch::new(fd, self.batch_number, interest)) {
            self.slots.remove(index);
            return Err(status);
        }
        Ok(self.slots.bits(index))
    }

    /// Puts the slot `index` among the watchers of a descriptor.
    pub fn watch(&mut self, index: u32, mode: Events, Watch { fd, interest, .. }: Watch) -> Result<()> {
        self.descriptors.reserve(fd)?;
        self.register(fd, mode, interest)?;
        if let Some(descriptor) = self.descriptors.get(fd) {
            self.slots.push_back(&mut descriptor.watchers, index);
        }
        Ok(())
    }

    /// Tells the kernel of one more watcher on `fd`.
    fn register(&mut self, fd: RawFd, mode: Events, interest: Events) -> Result<()> {
        let unused = self.operations.waiting(fd).is_empty();
        let descriptor = self.descriptors.get(fd).ok_or(Status::EBADF)?;
        if descriptor.registered && descriptor.watchers.is_empty() && unused {
            self.unregister(fd); // what operations have left behind, and the next flush would have removed
        }
        let descriptor = self.descriptors.get(fd).ok_or(Status::EBADF)?;
        if descriptor.registered {
            // The number may stand for another file by now; a change finds out.
            let (asked, token) = (descriptor.asked, token(fd, descriptor.generation));
            let mixed = asked.intersects(Events::EDGE) != mode.intersects(Events::EDGE);
            let union = self.union_of(fd) | interest | mode;
            let result = if mixed { self.demux.verify(fd, asked, token) } else { self.demux.modify(fd, union, token) };
            match result {
                Ok(()) if mixed => return Err(Status::EINVAL),
                Ok(()) => {
                    if let Some(descriptor) = self.descriptors.get(fd) {
                        descriptor.asked = union;
                    }
                    return Ok(());
                }
                Err(Status::ENOENT | Status::EBADF) => self.orphan(fd),
                Err(status) => return Err(status),
            }
        }
        let descriptor = self.descriptors.get(fd).ok_or(Status::EBADF)?;
        let generation = descriptor.generation.wrapping_add(1);
        self.demux.add(fd, interest | mode, token(fd, generation))?;
        *descriptor = Descriptor {
            generation,
            asked: interest | mode,
            registered: true,
            removed_in: descriptor.removed_in,
            changed: descriptor.changed,
            ..Descriptor::UNKNOWN
        };
        self.descriptors.registered = self.descriptors.registered.saturating_add(1);
        Ok(())
    }

    /// Changes what a watcher asks for; nothing pauses it.
    pub fn io_set(&mut self, index: u32, interest: Events) -> Result<()> {
        if !(interest & !Events::ASKABLE).is_empty() {
            return Err(Status::EINVAL);
        }
        if !self.watch_set(index, interest) {
            return Err(Status::EBADF);
        }
        Ok(())
    }

    /// Changes what is asked of a descriptor; false when the descriptor is known to be gone.
    pub fn watch_set(&mut self, index: u32, interest: Events) -> bool {
        let Some(Object::Io(Io { watch, .. }) | Object::Handler(Handler { watch, .. })) =
            self.slots.get_mut(index).map(|slot| &mut slot.object)
        else {
            return false;
        };
        if watch.is(ORPHAN | LOST) {
            return false;
        }
        let still_paused = watch.interest.is_empty() && interest.is_empty();
        let edge = watch.is(EDGE) && !interest.is_empty();
        watch.interest = interest;
        watch.state &= !(SPENT | HANGUP_TOLD);
        let fd = watch.fd;
        // A paused watcher that is paused once more is to hear of a hangup again, and an edge that is there already is to
        // be told: both take a call although the union stays the same.
        if let Some(descriptor) = self.descriptors.get(fd)
            && (edge || still_paused)
        {
            descriptor.rearm = true;
        }
        self.descriptors.note_change(fd);
        self.slots.refresh(index);
        true
    }

    /// The number of the watched descriptor.
    pub fn io_fd(&self, index: u32) -> Result<RawFd> {
        match self.slots.get(index).map(|slot| &slot.object) {
            Some(Object::Io(io)) => Ok(io.watch.fd),
            _ => Err(Status::EHANDLE),
        }
    }

    /// Closes a watcher of either kind.
    pub fn watch_close(&mut self, index: u32) {
        self.unwatch(index);
        self.slots.remove(index);
    }

    /// Takes the slot `index` out of the watchers of its descriptor.
    pub fn unwatch(&mut self, index: u32) {
        let Some(slot) = self.slots.get(index) else { return };
        let next = slot.next;
        let Some((fd, _)) = watch_parts(&slot.object) else { return };
        match &slot.object {
            Object::Io(Io { watch, .. }) | Object::Handler(Handler { watch, .. }) if watch.is(ORPHAN) => {
                self.slots.unlink(&mut self.descriptors.orphans, index)
            }
            Object::Io(Io { watch, .. }) | Object::Handler(Handler { watch, .. }) if watch.is(LOST) => {}
            Object::Child(Child { fd: GONE, told: false, .. }) => {
                self.slots.unlink(&mut self.descriptors.orphans, index)
            }
            Object::Child(Child { fd: GONE, .. }) => {}
            _ => {
                self.fan_out.skip(index, next);
                if let Some(descriptor) = self.descriptors.get(fd) {
                    self.slots.unlink(&mut descriptor.watchers, index);
                    if descriptor.watchers.is_empty() && self.operations.waiting(fd).is_empty() {
                        self.unregister(fd);
                    } else {
                        self.descriptors.note_change(fd);
                    }
                }
            }
        }
    }

    /// Takes a descriptor without watchers out of the demultiplexer.
    fn unregister(&mut self, fd: RawFd) {
        let batch = self.batch_number;
        if let Some(descriptor) = self.descriptors.get(fd) {
            descriptor.registered = false;
            descriptor.watchers = List::EMPTY;
            descriptor.removed_in = batch;
            descriptor.generation = descriptor.generation.wrapping_add(1);
            self.descriptors.registered = self.descriptors.registered.saturating_sub(1);
        }
        // Fails when the number was closed before; what may stay behind then is found by its token.
        let _ = self.demux.remove(fd);
    }

    /// The descriptor is gone: its watchers wait to be told so.
    fn orphan(&mut self, fd: RawFd) {
        let Some(descriptor) = self.descriptors.get(fd) else { return };
        let mut index = descriptor.watchers.head;
        descriptor.watchers = List::EMPTY;
        if self.fan_out.fd == fd {
            self.fan_out = FanOut::NOTHING;
        }
        while let Some(slot) = self.slots.get_mut(index) {
            let next = slot.next;
            let waits = match &mut slot.object {
                Object::Io(Io { watch, .. }) | Object::Handler(Handler { watch, .. }) => {
                    (watch.state, watch.opened_in) = (watch.state | ORPHAN, self.batch_number);
                    true
                }
                Object::Child(child) => {
                    (child.fd, child.opened_in) = (GONE, self.batch_number);
                    !child.told
                }
                _ => false,
            };
            if waits {
                self.slots.push_back(&mut self.descriptors.orphans, index);
            }
            index = next;
        }
        self.unregister(fd);
        self.fail_operations(fd);
    }

    // ---- what operations need of a descriptor ----

    /// Registers `interest` for operations, beside what was registered. `before` is what operations waited for so far.
    pub fn register_operations(&mut self, fd: RawFd, interest: Events, before: Events) -> Result<()> {
        self.descriptors.reserve(fd)?;
        let batch = self.batch_number;
        let descriptor = self.descriptors.get(fd).ok_or(Status::EBADF)?;
        if !descriptor.registered {
            return self.register(fd, Events::NONE, interest);
        }
        let unused = descriptor.watchers.is_empty() && before.is_empty();
        descriptor.fresh |= unused && descriptor.removed_in != batch;
        descriptor.rearm |= unused || descriptor.asked.intersects(Events::EDGE);
        self.descriptors.note_change(fd);
        Ok(())
    }

    /// Whether a descriptor is known to be a socket.
    pub fn is_known_socket(&mut self, fd: RawFd) -> bool {
        self.descriptors.get(fd).is_some_and(|descriptor| descriptor.registered && descriptor.socket)
    }

    /// Notes that a registered descriptor is a socket.
    pub fn note_socket(&mut self, fd: RawFd) {
        if let Some(descriptor) = self.descriptors.get(fd) {
            descriptor.socket = true;
        }
    }

    /// What operations wait for on a descriptor has changed.
    pub fn note_operations_changed(&mut self, fd: RawFd) {
        self.descriptors.note_change(fd);
    }

    /// The first watcher of a descriptor.
    pub fn first_watcher(&mut self, fd: RawFd) -> u32 {
        self.descriptors.get(fd).map_or(NONE, |descriptor| descriptor.watchers.head)
    }

    /// A descriptor is about to be closed by the handler that owned it, and is not watched by that one any more: others
    /// that still use it are told that it is gone.
    pub fn leave_descriptor(&mut self, fd: RawFd) {
        if self.descriptors.get(fd).is_some_and(|descriptor| descriptor.registered) {
            self.orphan(fd);
        }
    }

    /// Whether watchers are open on a descriptor.
    pub fn descriptor_has_watchers(&mut self, fd: RawFd) -> bool {
        self.descriptors.get(fd).is_some_and(|descriptor| !descriptor.watchers.is_empty())
    }

    /// Takes a descriptor out that is about to be closed.
    pub fn forget_descriptor(&mut self, fd: RawFd) {
        if self.descriptors.get(fd).is_some_and(|descriptor| descriptor.registered) {
            self.unregister(fd);
        }
    }

    /// An operation has not used up the readiness of a descriptor: where others watch it edge-triggered, it is to be told
    /// again.
    pub fn rearm_edge(&mut self, fd: RawFd) {
        if self.descriptors.get(fd).is_some_and(|descriptor| descriptor.asked.intersects(Events::EDGE)) {
            self.rearm(fd);
        }
    }

    /// What all watchers of a descriptor ask for together.
    #[inline]
    fn union_of(&mut self, fd: RawFd) -> Events {
        let mut union = self.operations.waiting(fd);
        let mut index = self.descriptors.get(fd).map_or(NONE, |descriptor| descriptor.watchers.head);
        while let Some(slot) = self.slots.get(index) {
            union |= watch_parts(&slot.object).map_or(Events::NONE, |(_, interest)| interest);
            index = slot.next;
        }
        union
    }

    /// Tells the kernel what has changed since the last wait, and nothing of what has changed back.
    #[inline]
    pub fn flush_interest(&mut self) {
        while let Some(fd) = self.descriptors.changed.pop() {
            let union = self.union_of(fd);
            let Some(descriptor) = self.descriptors.get(fd) else { continue };
            descriptor.changed = false;
            let rearm = core::mem::take(&mut descriptor.rearm);
            let fresh = core::mem::take(&mut descriptor.fresh);
            if !descriptor.registered || (union == descriptor.asked && !rearm) {
                continue;
            }
            if descriptor.watchers.is_empty() && union.is_empty() {
                self.unregister(fd); // only operations used it, and none does now
                continue;
            }
            match self.demux.modify(fd, union, token(fd, descriptor.generation)) {
                Ok(()) => descriptor.asked = union,
                Err(_) if fresh && descriptor.watchers.is_empty() => {
                    self.unregister(fd);
                    if self.register(fd, Events::NONE, union).is_err() {
                        self.fail_operations(fd);
                    }
                }
                Err(_) => self.orphan(fd),
            }
        }
    }

    /// Registers everything anew in a demultiplexer that was reset.
    pub fn register_all(&mut self) {
        let count = i32::try_from(self.descriptors.table.len()).unwrap_or(i32::MAX);
        for fd in 0..count {
            let union = self.union_of(fd);
            let Some(descriptor) = self.descriptors.get(fd).filter(|descriptor| descriptor.registered) else {
                continue;
            };
            match self.demux.add(fd, union, token(fd, descriptor.generation)) {
                Ok(()) => descriptor.asked = union,
                Err(_) => self.orphan(fd),
            }
        }
    }

    /// The next watcher to be told of what the last wait reported.
    #[inline]
    pub fn next_io(&mut self) -> Option<Call> {
        loop {
            if !self.fan_out.ready.is_empty() {
                let FanOut { fd, mut ready, mut budget, .. } = self.fan_out;
                let call = self.next_ready_operation(fd, &mut ready, &mut budget);
                if self.fan_out.fd == fd {
                    (self.fan_out.ready, self.fan_out.budget) = (ready, budget);
                }
                if call.is_some() {
                    return call;
                }
            }
            while let Some(slot) = self.slots.get_mut(self.fan_out.next) {
                let index = self.fan_out.next;
                self.fan_out.next = slot.next;
                let user_data = slot.user_data;
                match &mut slot.object {
                    Object::Handler(handler) if handler.watch.opened_in != self.batch_number => {
                        let Some(events) = handler.watch.take(self.fan_out.events) else { continue };
                        let entry = handler.entry();
                        self.statistics.events = self.statistics.events.wrapping_add(1);
                        let (bits, occasion) = (self.slots.bits(index), Occasion::Ready(events));
                        return Some(Call::Handler { entry, bits, occasion });
                    }
                    Object::Io(Io { callback, watch }) if watch.opened_in != self.batch_number => {
                        let Some(events) = watch.take(self.fan_out.events) else {
                            if watch.is(EDGE) {
                                self.rearm(self.fan_out.fd); // paused for now: the edge is not to be lost
                            }
                            continue;
                        };
                        let callback = *callback;
                        if watch.is(SPENT) {
                            let fd = watch.fd;
                            self.descriptors.note_change(fd);
                            self.slots.refresh(index);
                        }
                        self.statistics.events = self.statistics.events.wrapping_add(1);
                        return Some(Call::Io { callback, bits: self.slots.bits(index), events, user_data });
                    }
                    Object::Child(child) if child.opened_in != self.batch_number => {
                        let Some(exit) = child.take_end() else { continue };
                        let (callback, fd) = (child.callback, child.fd);
                        self.descriptors.note_change(fd);
                        self.slots.refresh(index);
                        self.statistics.events = self.statistics.events.wrapping_add(1);
                        return Some(Call::Child { callback, bits: self.slots.bits(index), exit, user_data });
                    }
                    _ => {}
                }
            }
            let ready = self.batch.get(self.next_ready)?;
            self.next_ready = self.next_ready.wrapping_add(1);
            self.begin_fan_out(ready);
        }
    }

    fn rearm(&mut self, fd: RawFd) {
        if let Some(descriptor) = self.descriptors.get(fd) {
            descriptor.rearm = true;
        }
        self.descriptors.note_change(fd);
    }

    /// Checks a report and starts to fan it out.
    #[inline]
    fn begin_fan_out(&mut self, Ready { token, events }: Ready) {
        let (fd, generation) = (token as u32 as RawFd, (token >> 32) as u32);
        let batch = self.batch_number;
        match self.descriptors.get(fd) {
            Some(descriptor) if descriptor.registered && descriptor.generation == generation => {
                if descriptor.is_suspicious(batch) || events == Events::GONE {
                    let asked = descriptor.asked;
                    if events == Events::GONE || self.demux.verify(fd, asked, token).is_err() {
                        self.orphan(fd);
                        return;
                    }
                }
                let next = self.descriptors.get(fd).map_or(NONE, |descriptor| descriptor.watchers.head);
                let waiting = self.operations.waiting(fd);
                let ready = if waiting.is_empty() { Events::NONE } else { ready_for(waiting, events) };
                self.fan_out = FanOut { next, fd, events, ready, budget: ACCEPT_BATCH };
            }
            stale => {
                let closed_since_the_wait = stale.is_some_and(|descriptor| descriptor.removed_in == batch);
                self.descriptors.rebuild |= !closed_since_the_wait;
                self.statistics.stale_events = self.statistics.stale_events.wrapping_add(1);
            }
        }
    }

    /// The next watcher to be told that its descriptor is gone.
    pub fn next_orphan(&mut self) -> Option<Call> {
        let index = self.descriptors.orphans.head;
        let bits = self.slots.bits(index);
        let slot = self.slots.get_mut(index)?;
        let user_data = slot.user_data;
        let call = match &mut slot.object {
            Object::Io(Io { callback, watch }) if watch.opened_in != self.batch_number => {
                watch.lose();
                Call::Io { callback: *callback, bits, events: Events::ERROR, user_data }
            }
            Object::Handler(handler) if handler.watch.opened_in != self.batch_number => {
                handler.watch.lose();
                Call::Handler { entry: handler.entry(), bits, occasion: Occasion::Gone }
            }
            Object::Child(child) if child.opened_in != self.batch_number => {
                let (callback, exit) = (child.callback, child.take_orphaned_end());
                Call::Child { callback, bits, exit, user_data }
            }
            _ => return None, // orphaned in this batch: it is told in the next one
        };
        self.slots.unlink(&mut self.descriptors.orphans, index);
        self.slots.refresh(index);
        self.statistics.events = self.statistics.events.wrapping_add(1);
        Some(call)
    }
}
