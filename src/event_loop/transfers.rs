//! Operations that the engine carries out: how those on sockets are started, and what comes of a result.
//!
//! A `_many` operation leaves the engine and comes back without the caller's seeing it: when there are no buffers, when
//! it is paused, when the kernel wants it to be started anew. Its results are told in their order, and its end after all
//! of them (P1). What comes while it is paused is held until it goes on.

use super::core::{Call, Core};
use super::operations::{Ask, Operation, State};
use super::slots::{Kind, Object};
use crate::demux::Events;
use crate::proactor::{Cancel, Done, NO_BUFFER, Transfer, Work};
use crate::status::{Result, Status};
use crate::sys::io::Class;
use std::collections::VecDeque;

/// What came from the engine.
pub struct Results {
    /// What was not told, because its operation was paused; in the order in which it came. The end of such an operation
    /// comes behind.
    held: VecDeque<Done>,
    /// Whether some of these may be told by now.
    released: bool,
    /// How many results this turn takes.
    quota: usize,
    /// The `recv_many` that wait for a buffer: how often in a row they have found none, and their handles.
    pub starved: Vec<(u32, u64)>,
}

impl Results {
    /// None.
    pub const EMPTY: Results = Results { held: VecDeque::new(), released: false, quota: 0, starved: Vec::new() };

    /// Whether something is to be told besides what the engine has.
    pub fn has_some(&self) -> bool {
        self.released
    }

    fn holds_of(&self, id: u64) -> bool {
        self.held.iter().any(|done| done.id == id)
    }
}

impl Operation {
    /// Whether nothing is to be told of it for now.
    fn is_withheld(&self) -> bool {
        self.paused && self.ended_by == 0
    }

    /// What an engine that takes sockets is asked for.
    pub fn transfer(&mut self) -> Option<Transfer> {
        if self.class != Class::Socket || self.ask.is_empty() {
            return None;
        }
        let sent = self.sent;
        match self.ask {
            Ask::Recv { buf, len, flags } => Some(Transfer::Receive { buf, len, flags }),
            Ask::File(Work::Read { buf, len }) => Some(Transfer::Receive { buf, len, flags: 0 }),
            Ask::Send { buf, len, flags, all } => {
                Some(Transfer::Send { buf: buf.wrapping_add(sent), len: len.saturating_sub(sent), flags, all })
            }
            Ask::File(Work::Write { buf, len }) => Some(Transfer::Send { buf, len, flags: 0, all: false }),
            Ask::RecvMessage { message, flags } => Some(Transfer::ReceiveMessage { message, flags }),
            Ask::SendMessage { message, flags } => Some(Transfer::SendMessage { message, flags }),
            Ask::Accept => {
                let (address, len) = self.peer.room();
                Some(Transfer::Accept { address, len })
            }
            Ask::AcceptMany => Some(Transfer::AcceptMany),
            Ask::ReceiveMany => Some(Transfer::ReceiveMany),
            _ => None,
        }
    }
}

impl Core {
    /// Has the engine carry out an operation on a socket.
    pub fn start_transfer(&mut self, index: u32, transfer: &Transfer) -> Result<()> {
        let bits = self.slots.bits(index);
        if matches!(transfer, Transfer::ReceiveMany) && self.operations.buffers.with_engine == 0 {
            self.lend_more()?;
        }
        let Some(operation) = self.operation(index) else { return Ok(()) };
        let fd = operation.fd;
        self.operations.engine.start_transfer(bits, fd, transfer)?;
        self.note_running(index);
        if !self.in_run {
            // Not for the next turn to submit: the host may close the descriptor before, and its number be another's.
            self.operations.submit();
        }
        Ok(())
    }

    /// The engine has the operation.
    pub fn note_running(&mut self, index: u32) {
        if let Some(operation) = self.operation(index) {
            operation.state = State::Running;
            self.operations.running = self.operations.running.saturating_add(1);
        }
    }

    /// The engine has the operation no more.
    fn note_left(&mut self, index: u32) {
        if let Some(operation) = self.operation(index)
            && operation.state == State::Running
        {
            operation.state = State::Queued;
            self.operations.running = self.operations.running.saturating_sub(1);
        }
    }

    /// Begins a turn's results, of which the engine has so many.
    pub fn begin_results(&mut self, ready: usize) {
        let held = if self.operations.results.released { self.operations.results.held.len() } else { 0 };
        self.operations.results.quota = ready.saturating_add(held);
    }

    /// The next call that a result of the engine's means.
    pub fn next_result(&mut self) -> Option<Call> {
        while self.operations.results.quota > 0 {
            self.operations.results.quota = self.operations.results.quota.saturating_sub(1);
            let done = match self.next_held() {
                Some(done) => done,
                None => {
                    let done = self.operations.engine.reap()?;
                    self.note_done(&done);
                    done
                }
            };
            if let Some(call) = self.take_done(done) {
                return Some(call);
            }
        }
        None
    }

    /// The first held result whose operation is not paused any more, or ended.
    fn next_held(&mut self) -> Option<Done> {
        if !self.operations.results.released {
            return None;
        }
        for place in 0..self.operations.results.held.len() {
            let id = self.operations.results.held.get(place)?.id;
            let found = self.slots.find(id, Kind::Op).ok().and_then(|index| self.operation(index));
            if !found.is_some_and(|operation| operation.is_withheld()) {
                let done = self.operations.results.held.remove(place)?;
                self.release_held(); // there may be more
                if done.buffer != NO_BUFFER {
                    self.operations.buffers.withheld = self.operations.buffers.withheld.saturating_sub(1);
                }
                return Some(done);
            }
        }
        self.operations.results.released = false;
        None
    }

    /// Keeps a result of an operation that is paused; `false` for want of memory.
    fn hold(&mut self, done: Done) -> bool {
        if self.operations.results.held.try_reserve(2).is_err() {
            return false;
        }
        self.operations.results.held.push_back(done);
        if done.buffer != NO_BUFFER {
            self.operations.buffers.withheld = self.operations.buffers.withheld.saturating_add(1);
        }
        true
    }

    fn note_done(&mut self, done: &Done) {
        if done.buffer != NO_BUFFER {
            self.operations.buffers.with_engine = self.operations.buffers.with_engine.saturating_sub(1);
        }
        if !done.more
            && let Ok(index) = self.slots.find(done.id, Kind::Op)
        {
            self.note_left(index);
        }
    }

    fn take_done(&mut self, done: Done) -> Option<Call> {
        let found = self.slots.find(done.id, Kind::Op);
        let Some((index, ask)) = found.ok().and_then(|index| Some((index, self.operation(index)?.ask))) else {
            if done.buffer != NO_BUFFER {
                self.give_back(done.buffer);
            }
            return None;
        };
        match ask {
            Ask::AcceptMany if done.result >= 0 => self.take_one_of_many(index, done),
            Ask::ReceiveMany if done.result > 0 && done.buffer != NO_BUFFER => self.take_one_of_many(index, done),
            _ => {
                if done.buffer != NO_BUFFER {
                    self.give_back(done.buffer);
                }
                if done.more { None } else { self.take_end(index, ask, done) }
            }
        }
    }

    /// A connection, or a buffer that was received into.
    fn take_one_of_many(&mut self, index: u32, done: Done) -> Option<Call> {
        let operation = self.operation(index)?;
        operation.hunger = 0;
        let is_withheld = operation.is_withheld();
        // It is known already whether the engine goes on: when it is told, that is not to be looked at again.
        if is_withheld && self.hold(Done { more: true, ..done }) {
            return None;
        } // without memory it is told in spite of the pause: better than to lose it
        let call = self.tell_one_of_many(index, done.result, done.buffer);
        if !done.more {
            self.go_on(index);
        }
        call
    }

    /// An operation that has left the engine is started again, unless it is paused, or ended: then that is its result.
    fn go_on(&mut self, index: u32) {
        let Some(operation) = self.operation(index) else { return };
        if operation.state != State::Queued {
            return;
        }
        let (ended_by, paused) = (operation.ended_by, operation.paused);
        let result = match ended_by {
            0 if paused => return,
            0 => match self.start(index) {
                Ok(()) => return,
                Err(status) => i64::from(status.code()),
            },
            ended_by => i64::from(ended_by),
        };
        self.finish(index, result);
    }

    /// The engine's last word on an operation, for now.
    fn take_end(&mut self, index: u32, ask: Ask, done: Done) -> Option<Call> {
        let canceled = done.result == i64::from(Status::ECANCELED.code());
        if matches!(ask, Ask::Accept | Ask::AcceptMany) && !canceled {
            self.statistics.accept_calls = self.statistics.accept_calls.wrapping_add(1);
        }
        let operation = self.operation(index)?;
        let (ended_by, asked) = (operation.ended_by, core::mem::take(&mut operation.cancel_asked));
        let status = Status::from_result(done.result);
        let begins_again = match status {
            Some(Status::ECANCELED) => asked, // by a pause, or because the thread has ended
            Some(Status::ECONNABORTED) => matches!(ask, Ask::Accept | Ask::AcceptMany),
            Some(Status::EAGAIN | Status::EINTR) => ask.is_many(),
            Some(Status::ENOBUFS) => matches!(ask, Ask::ReceiveMany),
            _ => false,
        };
        let mut result = if ended_by != 0 && (canceled || begins_again) { i64::from(ended_by) } else { done.result };
        let mut sent_a_part = false;
        if let Ask::Send { len, all: true, .. } = ask {
            let bytes = usize::try_from(done.result).unwrap_or(0);
            operation.sent = operation.sent.saturating_add(bytes);
            sent_a_part = bytes > 0 && operation.sent < len;
            if operation.sent > 0 && (done.result >= 0 || canceled) {
                result = operation.sent as i64;
            }
        }
        if ended_by == 0 && (begins_again || sent_a_part) {
            if status == Some(Status::ENOBUFS) {
                self.note_starved(index);
            } else {
                self.go_on(index);
            }
            return self.tell_if_completed(index);
        }
        if self.operation(index)?.is_withheld() && self.hold(done) {
            self.operation(index)?.state = State::Ending;
            return None;
        }
        self.complete(index, result);
        self.tell_if_completed(index)
    }

    fn tell_if_completed(&mut self, index: u32) -> Option<Call> {
        if self.operation(index).is_some_and(|operation| operation.state == State::Completed) {
            return self.tell(index);
        }
        None
    }

    /// There was no buffer to receive into: the operation waits for one.
    pub fn note_starved(&mut self, index: u32) {
        let bits = self.slots.bits(index);
        if let Some(operation) = self.operation(index)
            && !operation.starved
        {
            operation.starved = true;
            operation.hunger = operation.hunger.saturating_add(1);
            let hungry = (operation.hunger, bits);
            self.operations.results.starved.push(hungry); // within the capacity that `op_open` reserved
        }
    }

    /// The operation does not wait for a buffer any more.
    pub fn note_fed(&mut self, index: u32) {
        let bits = self.slots.bits(index);
        if self.operation(index).is_some_and(|operation| core::mem::take(&mut operation.starved)) {
            self.operations.results.starved.retain(|(_, starved)| *starved != bits);
        }
    }

    /// What waited for a buffer goes on, if there are any by now. Once a turn, so that many buffers serve many; those that
    /// have waited longest first, so that a connection on which much comes in does not take all of them, always.
    pub fn feed_starved(&mut self) {
        if self.operations.results.starved.is_empty() {
            return;
        }
        let lends = self.operations.engine.takes_sockets();
        if lends {
            let _ = self.lend_more(); // what there are has not been enough; without memory these are to do
        }
        if !(self.operations.buffers.with_engine > 0 || !lends && self.operations.buffers.has_one()) {
            return;
        }
        self.operations.results.starved.sort_unstable_by_key(|(hunger, _)| core::cmp::Reverse(*hunger));
        for place in 0..self.operations.results.starved.len() {
            let Some((_, bits)) = self.operations.results.starved.get(place).copied() else { break };
            let Ok(index) = self.slots.find(bits, Kind::Op) else { continue };
            let Some(operation) = self.operation(index) else { continue };
            operation.starved = false;
            let (fd, state, paused) = (operation.fd, operation.state, operation.paused);
            match state {
                State::Queued => self.go_on(index),
                State::Waiting if !paused && self.wait_for(fd, Events::READ).is_err() => {
                    self.complete(index, i64::from(Status::EBADF.code()));
                }
                _ => {}
            }
        }
        self.operations.results.starved.clear();
    }

    /// Ends an operation that the engine does not have, after what is still to be told of it.
    pub fn finish(&mut self, index: u32, result: i64) {
        let bits = self.slots.bits(index);
        let Some(operation) = self.operation(index) else { return };
        if operation.state == State::Ending {
            return; // its real end is among what is told next
        }
        if self.operations.results.holds_of(bits) && self.hold(Done::new(bits, result)) {
            if let Some(operation) = self.operation(index) {
                operation.state = State::Ending;
            }
            return;
        }
        self.complete(index, result);
    }

    /// What was held of operations may be told: one goes on, or was ended.
    pub fn release_held(&mut self) {
        self.operations.results.released = !self.operations.results.held.is_empty();
    }

    /// Asks the engine for an operation back. Returns whether it is back already.
    pub fn ask_back(&mut self, index: u32) -> bool {
        let bits = self.slots.bits(index);
        let Some(operation) = self.operation(index) else { return false };
        if core::mem::replace(&mut operation.cancel_asked, true) {
            return false; // by an earlier pause
        }
        if self.operations.engine.cancel(bits) == Cancel::Comes {
            return false;
        }
        self.note_left(index);
        if let Some(operation) = self.operation(index) {
            operation.cancel_asked = false;
        }
        true
    }

    /// Stops a `_many` operation from taking more, or lets it go on.
    pub fn op_pause(&mut self, index: u32, pause: bool) -> Result<()> {
        let Some(operation) = self.operation(index) else { return Err(Status::EHANDLE) };
        if !operation.ask.is_many() {
            return Err(Status::EINVAL);
        }
        operation.paused = pause;
        let (fd, state, starved) = (operation.fd, operation.state, operation.starved);
        self.slots.refresh(index);
        match state {
            State::Waiting if starved => {}
            State::Waiting if pause => self.stop_waiting(fd, Events::READ),
            State::Waiting => self.wait_for(fd, Events::READ)?,
            State::Running if pause => {
                self.ask_back(index);
            }
            State::Running | State::Queued | State::Ending if !pause => {
                self.release_held();
                if !starved {
                    self.go_on(index);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The owner's thread is about to end, and with it what the kernel does for it: the engine is asked for all back, and
    /// what had not ended is started again when another thread runs the loop.
    pub fn operations_leave_thread(&mut self) {
        if !self.operations.engine.is_bound_to_thread() {
            return;
        }
        for slot in self.slots.iter_mut() {
            if let Object::Op(op) = &mut slot.object {
                op.note_asked_back();
            }
        }
        self.operations.engine.leave_thread();
    }
}
