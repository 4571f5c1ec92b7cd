//! What comes for a stream: readiness, deadlines, and what its state leaves to be told.
//!
//! A [`Visit`] takes the state of the loop for a moment, changes the stream and learns what to call, and calls that
//! with nothing borrowed; so a function of the caller's may do anything to any handle. When an exception leaves one,
//! what the visit has left to do is done by another one in the next turn. Where to start reading: [`visit`], then
//! [`next`].

use super::connect::{attempt_failed, connecting};
use super::input::Input;
use super::{
    AT_EOF, CLOSING, CONNECTING, DRAINED, DROPPED, ENDED, EOF_TOLD, FAILING, LINGERING, OFFER, OPENING, PAUSED, RESET,
    REST_SHOWN, SHUT, Stream, VISITED, adjust, alter, stream,
};
use crate::demux::Events;
use crate::event_loop::Loop;
use crate::event_loop::core::Core;
use crate::event_loop::handle::{gyre_loop, gyre_stream};
use crate::event_loop::handler::Occasion;
use crate::event_loop::slots::Kind;
use crate::net::listener;
use crate::net::write_queue::Lent;
use crate::status::{Result, Status};
use crate::sys::memory::UserData;
use crate::sys::socket;
use core::cell::Cell;
use core::ffi::{c_int, c_void};
use std::os::fd::{AsRawFd, IntoRawFd};

/// How many times a visit calls `on_data`.
const CALLS: u32 = 1024;

type OnData = extern "C-unwind" fn(gyre_loop, gyre_stream, *const u8, usize, *mut c_void) -> usize;

/// What was received, behind what was kept, and whom to show it to.
struct Received {
    scratch: Vec<u8>,
    len: usize,
    input: Input,
    on_data: OnData,
    user_data: UserData,
    /// Whether there is nothing else about the stream: then nothing else is to be done if that stays so.
    plain: bool,
}

/// What is to be called next.
enum Step {
    /// A lent buffer goes back.
    Release(Lent),
    /// `on_open`, `on_drain` or `on_eof`.
    Tell(extern "C-unwind" fn(gyre_loop, gyre_stream, *mut c_void), UserData),
    /// What is kept is shown.
    Offer,
    /// The last one; the stream is gone.
    Close(Option<extern "C-unwind" fn(gyre_loop, gyre_stream, c_int, *mut c_void)>, UserData, i32),
    /// Nothing is to be done now.
    Rest,
}

/// Why no more is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// All was consumed.
    Empty,
    /// None of what is left was consumed.
    Refused,
    /// The stream was paused or closed, or is ended.
    Stopped,
    /// The visit has called often enough.
    Exhausted,
}

/// Carries out what has come for a stream, and calls the caller's functions.
struct Visit<'a> {
    the_loop: &'a Loop,
    bits: u64,
    calls: Cell<u32>,
    /// Whether nothing is left to be done; not so when an exception has ended the visit.
    done: Cell<bool>,
}

impl Drop for Visit<'_> {
    #[inline]
    fn drop(&mut self) {
        if !self.done.get() {
            self.with(|core, index| {
                alter(core, index, |stream| stream.clear(VISITED));
                core.handler_schedule(index);
            });
        }
    }
}

/// The entry of streams.
pub fn visit(the_loop: &Loop, bits: u64, occasion: Occasion) {
    let visit = Visit { the_loop, bits, calls: Cell::new(CALLS), done: Cell::new(false) };
    if let Some(Some(received)) = visit.with(|core, index| begin(core, index, occasion)) {
        visit.show(received);
    }
    // Not in a child that a function of the caller's has forked: there the stream is the parent's.
    if the_loop.is_ours() && !visit.done.get() {
        if let Occasion::Ready(events) = occasion
            && events.intersects(Events::WRITE | Events::UNASKED)
        {
            visit.with(|core, index| flush(core, index, events));
        }
        visit.settle();
    }
    visit.done.set(true);
}

impl Visit<'_> {
    /// Calls `act` with the state of the loop and the stream's slot, if it is still there.
    #[inline]
    fn with<T>(&self, act: impl FnOnce(&mut Core, u32) -> T) -> Option<T> {
        let mut core = self.the_loop.core().ok()?;
        let index = core.slots.find(self.bits, Kind::Stream).ok()?;
        Some(act(&mut core, index))
    }

    fn handles(&self) -> (gyre_loop, gyre_stream) {
        (gyre_loop { bits: self.the_loop.bits() }, gyre_stream { bits: self.bits })
    }

    /// Shows what was received.
    #[inline]
    fn show(&self, received: Received) {
        let Received { scratch, len, mut input, on_data, user_data, plain } = received;
        let fresh = scratch.get(..len).unwrap_or_default();
        let (consumed, stop, kept);
        if input.len() == 0 {
            (consumed, stop) = self.offer(fresh, on_data, user_data);
            kept = match fresh.get(consumed..) {
                Some(rest) if !rest.is_empty() => input.append(rest),
                _ => Ok(()),
            };
        } else {
            kept = input.append(fresh);
            (consumed, stop) = match kept {
                Ok(()) => self.offer(input.bytes(), on_data, user_data),
                Err(_) => (0, Stop::Stopped),
            };
            input.consume(consumed);
        }
        self.with(|core, index| {
            core.handlers.give_back(scratch);
            let Some(stream) = keep(core, index, kept.map(|()| input), consumed, stop) else { return };
            if plain && stream.is_plain() {
                stream.clear(VISITED); // nothing has changed but that bytes have come and gone
                self.done.set(true);
            }
        });
    }

    /// Shows bytes to `on_data`. Returns how many it has consumed, and why it is not called again.
    #[inline]
    fn offer(&self, bytes: &[u8], mut on_data: OnData, mut user_data: UserData) -> (usize, Stop) {
        let (the_loop, stream) = self.handles();
        let mut consumed = 0usize;
        loop {
            let rest = bytes.get(consumed..).unwrap_or_default();
            let Some(calls) = self.calls.get().checked_sub(1) else { return (consumed, Stop::Exhausted) };
            self.calls.set(calls);
            let taken = on_data(the_loop, stream, rest.as_ptr(), rest.len(), user_data.0);
            if !self.the_loop.is_ours() {
                return (consumed, Stop::Stopped);
            }
            if taken > rest.len() {
                self.with(|core, index| alter(core, index, |stream| stream.end(Status::EINVAL.code(), true)));
                return (bytes.len(), Stop::Stopped);
            }
            if taken == rest.len() {
                return (bytes.len(), Stop::Empty);
            }
            if taken == 0 {
                return (consumed, Stop::Refused);
            }
            consumed = consumed.saturating_add(taken);
            match self.with(whom_to_show) {
                Some(Some(next)) => (on_data, user_data) = next,
                _ => return (consumed, Stop::Stopped),
            }
        }
    }

    /// Shows what is kept.
    fn offer_kept(&self) {
        let taken = self.with(|core, index| {
            let (on_data, user_data) = whom_to_show(core, index)?;
            let input = core::mem::replace(&mut stream(core, index)?.input, Input::EMPTY);
            Some((input, on_data, user_data))
        });
        let Some(Some((mut input, on_data, user_data))) = taken else { return };
        let (consumed, stop) = self.offer(input.bytes(), on_data, user_data);
        input.consume(consumed);
        self.with(|core, index| {
            keep(core, index, Ok(input), consumed, stop);
        });
    }

    /// Calls what is to be called, until nothing is.
    fn settle(&self) {
        let (the_loop, stream) = self.handles();
        loop {
            match self.with(|core, index| next(core, index, self.calls.get() > 0)) {
                Some(Step::Release(lent)) => {
                    if let Some(release) = lent.release {
                        release(lent.data.cast(), lent.len, lent.arg.0);
                    }
                }
                Some(Step::Tell(callback, user_data)) => callback(the_loop, stream, user_data.0),
                Some(Step::Offer) => self.offer_kept(),
                Some(Step::Close(callback, user_data, status)) => {
                    self.done.set(true);
                    if let Some(callback) = callback {
                        callback(the_loop, stream, status, user_data.0);
                    }
                    return;
                }
                Some(Step::Rest) | None => return,
            }
            if !self.the_loop.is_ours() {
                return;
            }
        }
    }
}

/// Takes note of what has come, and receives.
#[inline]
fn begin(core: &mut Core, index: u32, occasion: Occasion) -> Option<Received> {
    if let Occasion::Ready(events) = occasion {
        return receive(core, index, events);
    }
    let now = core.now();
    let stream = stream(core, index)?;
    stream.set(VISITED);
    match occasion {
        Occasion::Ready(_) | Occasion::Scheduled => {}
        Occasion::Deadline => expire(core, index, now),
        Occasion::Gone => {
            let _ = stream.fd.take().map(IntoRawFd::into_raw_fd); // closed already, by somebody else
            stream.end(Status::EBADF.code(), false);
        }
        Occasion::LoopClosing => stream.end(Status::ECANCELED.code(), false),
    }
    None
}

/// Receives into the buffer that streams share; or finds out how connecting has ended.
#[inline]
fn receive(core: &mut Core, index: u32, events: Events) -> Option<Received> {
    let user_data = core.slots.get(index)?.user_data;
    let lent = core.handlers.lend();
    let stream = stream(core, index)?;
    stream.set(VISITED);
    let (room, is_connecting) = (stream.room(), stream.is(CONNECTING));
    let mut scratch = match lent {
        Ok(scratch) if room > 0 => scratch,
        unused => {
            match unused {
                Ok(scratch) => core.handlers.give_back(scratch),
                Err(status) if room > 0 => stream.end(status.code(), true),
                Err(_) => {}
            }
            if is_connecting {
                connecting(core, index);
            }
            return None;
        }
    };
    let received = socket::recv(stream.number(), scratch.get_mut(..room).unwrap_or_default());
    match (received, stream.setup.callbacks.on_data) {
        (Ok(len @ 1..), Some(on_data)) => {
            stream.received = stream.received.saturating_add(len as u64);
            if !stream.is(CLOSING) {
                stream.rest = stream.rest.saturating_sub(u32::try_from(len).unwrap_or(u32::MAX));
                let plain = events == Events::READ && stream.is_plain();
                let input = core::mem::replace(&mut stream.input, Input::EMPTY);
                return Some(Received { scratch, len, input, on_data, user_data, plain });
            }
            stream.set(DROPPED);
        }
        (received, _) => stream.input_ended(received.err()),
    }
    core.handlers.give_back(scratch);
    None
}

/// Whom to show what is there, if anybody.
fn whom_to_show(core: &mut Core, index: u32) -> Option<(OnData, UserData)> {
    let user_data = core.slots.get(index)?.user_data;
    let stream = stream(core, index)?;
    if stream.is(PAUSED | CLOSING | ENDED) {
        return None;
    }
    stream.setup.callbacks.on_data.map(|on_data| (on_data, user_data))
}

/// Keeps what was not consumed.
#[inline]
fn keep(core: &mut Core, index: u32, input: Result<Input>, consumed: usize, stop: Stop) -> Option<&mut Stream> {
    let now = core.now();
    let stream = stream(core, index)?;
    if stream.is(CLOSING | ENDED) {
        return None;
    }
    if consumed > 0 {
        stream.since = now;
    }
    match input {
        Ok(input) => stream.input = input,
        Err(status) => stream.end(status.code(), true),
    }
    let full = stream.input.len() >= stream.setup.options.max_input;
    match stop {
        Stop::Refused if full && !stream.is(PAUSED | AT_EOF) => {
            stream.end(Status::from_errno(libc::EMSGSIZE).code(), true);
        }
        Stop::Exhausted => stream.set(OFFER),
        _ => {}
    }
    Some(stream)
}

/// Sends what waits, after a report that it can be.
fn flush(core: &mut Core, index: u32, events: Events) {
    let now = core.now();
    let Some(stream) = stream(core, index) else { return };
    if stream.is(CONNECTING | ENDED) {
        return;
    }
    if stream.pending() > 0 {
        stream.flush(now);
    } else if events.intersects(Events::ERROR)
        && !stream.wants_input()
        && !stream.is(PAUSED)
        && let Err(status) = socket::pending_error(stream.number())
    {
        stream.end(status.code(), false); // nobody else would find it
    }
}

/// What is to be called next for a stream; when that is nothing, the loop is told what the stream waits for.
fn next(core: &mut Core, index: u32, may_offer: bool) -> Step {
    let Some(user_data) = core.slots.get(index).map(|slot| slot.user_data) else { return Step::Rest };
    loop {
        let now = core.now();
        let Some(stream) = stream(core, index) else { return Step::Rest };
        if let Some(lent) = stream.output.as_mut().and_then(|output| output.next_done()) {
            return Step::Release(lent);
        }
        if stream.is(ENDED) {
            return finish(core, index, user_data);
        }
        if stream.is(CLOSING) {
            if stream.pending() > 0 || stream.is(LINGERING) {
                break;
            }
            stream.wind_up();
            continue;
        }
        if stream.take(OPENING) {
            stream.since = now;
            match stream.setup.callbacks.on_open {
                Some(callback) => return Step::Tell(callback, user_data),
                None => continue,
            }
        }
        if stream.take(DRAINED) {
            match stream.setup.callbacks.on_drain {
                Some(callback) => return Step::Tell(callback, user_data),
                None => continue,
            }
        }
        if stream.is(FAILING) && (stream.is(PAUSED) || stream.rest == 0 && !stream.is(OFFER)) {
            stream.end(stream.status, false);
            continue;
        }
        if stream.is(PAUSED) {
            break;
        }
        if stream.is(OFFER) && !may_offer {
            core.handler_schedule(index);
            break;
        }
        if stream.take(OFFER) && stream.input.len() > 0 {
            return Step::Offer;
        }
        if stream.is(AT_EOF) && !stream.is(EOF_TOLD) {
            if stream.input.len() > 0 && !stream.is(REST_SHOWN) {
                stream.set(REST_SHOWN | OFFER);
                continue;
            }
            stream.input = Input::EMPTY;
            stream.set(EOF_TOLD);
            match stream.setup.callbacks.on_eof {
                Some(callback) => return Step::Tell(callback, user_data),
                None => stream.begin_to_close(now),
            }
            continue;
        }
        if stream.is(SHUT) && stream.is(EOF_TOLD) {
            stream.end(0, false); // both directions have come to their end
            continue;
        }
        break;
    }
    alter(core, index, |stream| stream.clear(VISITED));
    adjust(core, index);
    Step::Rest
}

/// Closes the descriptor and frees the slot.
fn finish(core: &mut Core, index: u32, user_data: UserData) -> Step {
    core.handler_unwatch(index);
    let Some(stream) = stream(core, index) else { return Step::Rest };
    let (callback, status, listener) = (stream.setup.callbacks.on_close, stream.status, stream.listener);
    let reset = stream.is(RESET);
    if let Some(fd) = stream.fd.take() {
        if reset {
            let _ = socket::reset_on_close(fd.as_raw_fd()); // else it is closed in order
        }
        core.leave_descriptor(fd.as_raw_fd());
    }
    core.handler_remove(index);
    listener::connection_ended(core, listener);
    Step::Close(callback, user_data, status)
}

/// Looks whether a deadline has passed, and does what it was for.
fn expire(core: &mut Core, index: u32, now: u64) {
    let Some(stream) = stream(core, index) else { return };
    let timed_out = Status::ETIMEDOUT.code();
    match () {
        () if stream.deadline() > now => {}
        () if stream.is(CLOSING) => {
            let lingered = stream.is(LINGERING);
            stream.end(if lingered { 0 } else { timed_out }, true);
        }
        () if stream.is(CONNECTING) => {
            let over = stream.since.saturating_add(stream.setup.options.connect_ns) <= now;
            attempt_failed(core, index, if over { Status::ETIMEDOUT } else { Status::EAGAIN });
        }
        () if stream.pending() > 0 => {
            if stream.has_stalled(now) {
                stream.end(timed_out, true);
            }
        }
        () => stream.end(timed_out, false), // it has sent everything, and needs no reset
    }
}
