//! Streams: connections with their buffers and deadlines.
//!
//! A stream is a handler of the loop's ([`EventHandler`]). What comes for it, and what its state leaves to be told, is
//! carried out by a visit (`visit.rs`). What callers ask of it stands here: that changes the state, and the visit that
//! goes on, or one in the next turn, does what follows. All that a stream can be in the middle of is in its state, so
//! nothing is lost between.
//!
//! ```text
//!   CONNECTING --> OPENING --> open ----> CLOSING ---> (LINGERING) ---> ENDED ---> on_close, and the handle is dead
//!        \                         \----> FAILING ---------------------/
//!         \-----------------------------------------------------------/
//! ```
//!
//! Contract:
//! 1. `on_open` comes before all else, `on_close` exactly once and last, after every lent buffer was released.
//! 2. Bytes that have come are shown until they are consumed; what is kept is at most `max_input`, and stands in one
//!    piece.
//! 3. What is to be sent is at most `write_limit`; that is decided before anything is sent.
//! 4. Nothing is shown while the stream is paused: no data, no end of the stream, no excess of input.
//! 5. A visit calls `on_data` at most 1,024 times, and receives once; what is left has its turn in the next one.
//! 6. A deadline costs nothing while it moves on: the armed one is looked at when it passes.
//! 7. An idle stream holds no buffers.

mod connect;
mod input;
mod visit;

pub use connect::connect;
pub use visit::visit;

use super::address::format;
use super::callback::{gyre_release_cb, gyre_stream_callbacks};
use super::write_queue::{GATHER, Lent, WriteQueue};
use crate::demux::Events;
use crate::event_loop::core::Core;
use crate::event_loop::handler::{Entry, EventHandler, SCRATCH};
use crate::event_loop::slots::Kind;
use crate::status::{Result, Status};
use crate::sys::clock::FOREVER;
use crate::sys::memory::{Shared, UserData, try_box};
use crate::sys::socket::{self, Piece};
use connect::Attempt;
use core::fmt::{self, Write};
use input::Input;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// The bounds and deadlines of a stream.
#[derive(Clone, Copy)]
pub struct Options {
    /// How many bytes may wait to be sent.
    pub write_limit: usize,
    /// How many bytes that were not consumed are kept.
    pub max_input: usize,
    /// How long an address may take to connect.
    pub connect_ns: u64,
    /// How long nothing may be consumed or sent.
    pub idle_ns: u64,
    /// How long nothing of what waits may be sent.
    pub write_stall_ns: u64,
    /// How long a close may take to send what waits.
    pub close_ns: u64,
    /// SO_KEEPALIVE.
    pub keepalive: bool,
    /// No TCP_NODELAY.
    pub delay: bool,
}

impl Options {
    /// What is not said otherwise.
    pub const DEFAULTS: Options = Options {
        write_limit: 1 << 20,
        max_input: 1 << 20,
        connect_ns: 30_000_000_000,
        idle_ns: 120_000_000_000,
        write_stall_ns: 30_000_000_000,
        close_ns: 5_000_000_000,
        keepalive: false,
        delay: false,
    };
}

/// What the streams of a listener, or of a call, have in common.
pub struct Setup {
    /// The caller's functions; `on_data` is there.
    pub callbacks: gyre_stream_callbacks,
    /// Bounds and deadlines.
    pub options: Options,
}

/// A stream.
pub struct Stream {
    setup: Shared<Setup>,
    fd: Option<OwnedFd>,
    state: u32,
    /// Connecting: when the present address was first tried. Closing: when that began. Else: when bytes were last
    /// consumed or sent.
    since: u64,
    /// The listener that accepted it; 0 for none.
    listener: u64,
    received: u64,
    sent: u64,
    input: Input,
    output: Option<Box<WriteQueue>>,
    attempt: Option<Box<Attempt>>,
    /// Why it ends.
    status: i32,
    /// Failing: how many of the bytes that had come are still to be received.
    rest: u32,
}

/// Waits until the connection is there.
const CONNECTING: u32 = 1 << 0;
/// Connected, and `on_open` is to be told.
const OPENING: u32 = 1 << 1;
/// Shows nothing.
const PAUSED: u32 = 1 << 2;
/// What is kept is to be shown again.
const OFFER: u32 = 1 << 3;
/// Everything was received.
const AT_EOF: u32 = 1 << 4;
/// What was left at the end of the stream has been shown.
const REST_SHOWN: u32 = 1 << 5;
/// `on_eof` was told.
const EOF_TOLD: u32 = 1 << 6;
/// Our side is to be ended once everything is sent.
const SHUT_ASKED: u32 = 1 << 7;
/// Our side is ended.
const SHUT: u32 = 1 << 8;
/// `on_drain` is to be told.
const DRAINED: u32 = 1 << 9;
/// Ends once everything is sent.
const CLOSING: u32 = 1 << 10;
/// Everything is sent, but the peer was in the middle of sending: a close would reset the connection and drop what the
/// peer has not received yet. So what it sends is dropped until it ends its side.
const LINGERING: u32 = 1 << 11;
/// Closing, something has come, and was dropped.
const DROPPED: u32 = 1 << 12;
/// Nothing can be sent any more; what had come before is still shown.
const FAILING: u32 = 1 << 13;
/// `on_close` is to be told.
const ENDED: u32 = 1 << 14;
/// The close resets the connection.
const RESET: u32 = 1 << 15;
/// A visit is going on, and looks at the state again when the caller's function returns.
const VISITED: u32 = 1 << 16;

/// How many system calls a flush makes.
const FLUSH_ROUNDS: usize = 4;

impl Stream {
    fn new(setup: Shared<Setup>, fd: Option<OwnedFd>, state: u32, now: u64, listener: u64) -> Stream {
        Stream {
            setup,
            fd,
            state,
            since: now,
            listener,
            received: 0,
            sent: 0,
            input: Input::EMPTY,
            output: None,
            attempt: None,
            status: 0,
            rest: 0,
        }
    }

    #[inline]
    fn is(&self, state: u32) -> bool {
        self.state & state != 0
    }

    fn set(&mut self, state: u32) {
        self.state |= state;
    }

    fn clear(&mut self, state: u32) {
        self.state &= !state;
    }

    /// Whether a state was set; it is not any more.
    fn take(&mut self, state: u32) -> bool {
        let was = self.is(state);
        self.clear(state);
        was
    }

    fn number(&self) -> RawFd {
        self.fd.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }

    fn pending(&self) -> usize {
        self.output.as_ref().map_or(0, |output| output.pending())
    }

    /// Whether what comes is waited for.
    fn wants_input(&self) -> bool {
        !self.is(CONNECTING | PAUSED | AT_EOF | ENDED)
    }

    /// Whether what comes is received: not before `on_open`.
    fn receives(&self) -> bool {
        self.wants_input() && !self.is(OPENING)
    }

    /// How many bytes may be received now.
    fn room(&self) -> usize {
        match () {
            () if !self.receives() || self.is(OFFER) => 0,
            () if self.is(CLOSING) => SCRATCH,
            () => self.setup.options.max_input.saturating_sub(self.input.len()).min(SCRATCH),
        }
    }

    /// Whether all there is about the stream is that a visit goes on.
    fn is_plain(&self) -> bool {
        self.state == VISITED && self.output.is_none() && self.input.len() == 0
    }

    fn interest(&self) -> Events {
        let read = if self.wants_input() { Events::READ } else { Events::NONE };
        let writes = !self.is(ENDED) && (self.is(CONNECTING) || self.pending() > 0);
        if writes { read | Events::WRITE } else { read }
    }

    /// Whether it can still bring a callback by itself.
    fn is_active(&self) -> bool {
        !self.is(PAUSED) || self.is(CONNECTING | OPENING | CLOSING | FAILING | ENDED) || self.pending() > 0
    }

    /// When it is to be ended if nothing happens.
    fn deadline(&self) -> u64 {
        let options = &self.setup.options;
        match &self.output {
            _ if self.is(ENDED) => FOREVER,
            _ if self.is(CLOSING) => self.since.saturating_add(options.close_ns),
            _ if self.is(CONNECTING) => match &self.attempt {
                Some(attempt) if self.fd.is_none() => attempt.retry_at,
                _ => self.since.saturating_add(options.connect_ns),
            },
            Some(output) if output.pending() > 0 => {
                let stall = options.write_stall_ns;
                let look = if output.untaken.is_none() { stall.saturating_sub(stall / 4) } else { stall };
                output.since.saturating_add(look)
            }
            _ if self.is(PAUSED) => FOREVER,
            _ => self.since.saturating_add(options.idle_ns),
        }
    }

    /// Ends it: everything that is kept is given up, and `on_close` is what is left to be told.
    fn end(&mut self, status: i32, reset: bool) {
        if self.is(ENDED) {
            return;
        }
        self.set(if reset { ENDED | RESET } else { ENDED });
        self.status = status;
        self.input = Input::EMPTY;
        self.attempt = None;
        if let Some(output) = &mut self.output {
            output.give_up();
        }
    }

    /// Nothing can be sent any more: ends it once what had come before is shown.
    fn fail(&mut self, status: Status) {
        if self.is(FAILING | ENDED) {
            return;
        }
        let unread = if self.receives() { socket::unread(self.number()) } else { 0 };
        if unread == 0 {
            return self.end(status.code(), false);
        }
        self.rest = u32::try_from(unread).unwrap_or(u32::MAX);
        self.status = status.code();
        self.set(FAILING);
        if let Some(output) = &mut self.output {
            output.give_up();
        }
    }

    /// Nothing more is received: at the end of the stream (`None`), for now, or for good.
    fn input_ended(&mut self, why: Option<Status>) {
        match why {
            _ if self.is(FAILING) => self.end(self.status, false),
            Some(Status::EAGAIN) => {}
            // All is sent, or the flush finds out why it cannot be.
            _ if self.is(LINGERING) => self.end(0, false),
            None => self.set(AT_EOF),
            Some(status) => self.end(status.code(), false),
        }
    }

    /// Begins to end it in order.
    fn begin_to_close(&mut self, now: u64) {
        if self.is(FAILING) {
            return self.end(self.status, false);
        }
        self.set(CLOSING);
        self.clear(PAUSED | OFFER);
        self.since = now;
        self.input = Input::EMPTY;
    }

    /// Everything is sent: does what was to come after that.
    fn after_flush(&mut self) {
        if self.is(SHUT_ASKED) && !self.is(SHUT | CONNECTING) && self.pending() == 0 {
            // Fails only where the connection is gone, which shows by itself.
            let _ = socket::shut_down_writing(self.number());
            self.set(SHUT);
        }
        if self.output.as_ref().is_some_and(|output| output.is_idle()) {
            self.output = None;
        }
    }

    /// Everything is sent and the stream is to be closed: ends it, unless that would reset the connection.
    fn wind_up(&mut self) {
        if self.is(LINGERING) {
            return;
        }
        let sends = || self.is(DROPPED) || socket::unread(self.number()) > 0;
        if self.is(CONNECTING | OPENING | AT_EOF) || !sends() {
            return self.end(0, false);
        }
        let _ = socket::shut_down_writing(self.number()); // as in `after_flush`
        self.set(LINGERING);
    }

    /// The queue of what is to be sent, made when it is needed.
    fn output(&mut self) -> Result<&mut WriteQueue> {
        match &mut self.output {
            Some(_) => {}
            none => *none = Some(try_box(WriteQueue::new())?),
        }
        self.output.as_deref_mut().ok_or(Status::ENOMEM)
    }

    /// Checks that `len` more bytes may be taken to be sent.
    fn check_writable(&mut self, len: usize) -> Result<()> {
        if self.is(FAILING) {
            return Err(Status::from_errno(self.status.saturating_neg()));
        }
        if self.is(SHUT_ASKED) {
            return Err(Status::EPIPE);
        }
        let limit = self.setup.options.write_limit;
        if len > limit {
            return Err(Status::from_errno(libc::EMSGSIZE));
        }
        if self.pending().saturating_add(len) > limit {
            self.output()?.refused = len;
            return Err(Status::EFULL);
        }
        Ok(())
    }

    /// Sends what the socket takes now; nothing while something waits.
    fn send_now(&mut self, now: u64, send: impl FnOnce(RawFd) -> Result<usize>) -> Result<usize> {
        if self.is(CONNECTING) || self.pending() > 0 {
            return Ok(0);
        }
        match send(self.number()) {
            Ok(sent) => {
                self.sent = self.sent.saturating_add(sent as u64);
                self.since = now;
                Ok(sent)
            }
            Err(Status::EAGAIN) => Ok(0),
            Err(status) => {
                self.fail(status);
                Err(status)
            }
        }
    }

    /// Whether the peer takes nothing of what is sent. A socket is writable again only when a good part of its buffer
    /// is free, so a peer that reads slowly may seem to stand still: the kernel's own count is looked at late in the
    /// time that it has, and when that is over.
    fn has_stalled(&mut self, now: u64) -> bool {
        let untaken = socket::untaken(self.number());
        let Some(output) = &mut self.output else { return false };
        match output.untaken {
            None => output.untaken = Some(untaken),
            Some(before) if untaken < before => output.note_progress(now),
            Some(_) => return true,
        }
        false
    }

    /// Puts something into the queue of what is to be sent.
    fn queue(&mut self, now: u64, put: impl FnOnce(&mut WriteQueue) -> Result<()>) -> Result<()> {
        let output = self.output()?;
        let was_pending = output.pending() > 0;
        put(output)?;
        if !was_pending {
            output.note_progress(now);
        }
        Ok(())
    }

    /// Sends what the socket takes.
    fn flush(&mut self, now: u64) {
        let fd = self.number();
        let (limit, mut failed) = (self.setup.options.write_limit, None);
        let Some(output) = self.output.as_mut().filter(|output| output.pending() > 0) else { return };
        for _ in 0..FLUSH_ROUNDS {
            let mut pieces = [Piece::EMPTY; GATHER];
            let (count, bytes) = output.gather(&mut pieces);
            match socket::send_pieces(fd, pieces.get(..count).unwrap_or_default()) {
                Ok(sent) => {
                    output.consume(sent);
                    output.note_progress(now);
                    self.sent = self.sent.saturating_add(sent as u64);
                    if self.state & CLOSING == 0 {
                        self.since = now;
                    }
                    if sent < bytes || output.pending() == 0 {
                        break;
                    }
                }
                Err(Status::EAGAIN) => break,
                Err(status) => {
                    failed = Some(status);
                    break;
                }
            }
        }
        if output.has_drained(limit) {
            output.refused = 0;
            self.state |= DRAINED;
        }
        match failed {
            Some(status) => self.fail(status),
            None => self.after_flush(),
        }
    }
}

impl EventHandler for Stream {
    fn entry(&self) -> Entry {
        visit
    }

    /// The connection is the parent's: two that read it would split the data, two that send would send it twice.
    fn after_fork(&mut self) -> bool {
        self.clear(RESET | VISITED);
        self.end(Status::ECANCELED.code(), false);
        true
    }

    fn describe(&self, out: &mut dyn Write) -> fmt::Result {
        write!(out, "received {}, sent {}, pending {}", self.received, self.sent, self.pending())?;
        let states = [(CONNECTING, "connecting"), (PAUSED, "paused"), (AT_EOF, "at end"), (CLOSING, "closing")];
        for (_, name) in states.iter().filter(|(state, _)| self.is(*state)) {
            write!(out, ", {name}")?;
        }
        Ok(())
    }
}

fn stream(core: &mut Core, index: u32) -> Option<&mut Stream> {
    core.handler_body::<Stream>(index)
}

/// Does something to a stream, which is there if its slot was just found.
fn alter(core: &mut Core, index: u32, act: impl FnOnce(&mut Stream)) {
    if let Some(stream) = stream(core, index) {
        act(stream);
    }
}

/// Tells the loop what the stream waits for.
fn adjust(core: &mut Core, index: u32) {
    let Some(stream) = stream(core, index) else { return };
    stream.after_flush();
    let (interest, active, deadline) = (stream.interest(), stream.is_active(), stream.deadline());
    core.handler_adjust(index, interest, active);
    core.handler_arm(index, deadline);
}

/// Sets what the options say of a socket; a listener's connections take it over.
pub fn set_options(fd: RawFd, is_ip: bool, options: &Options) -> Result<()> {
    if is_ip && !options.delay {
        socket::no_delay(fd)?;
    }
    if is_ip && options.keepalive {
        socket::keep_alive(fd)?;
    }
    Ok(())
}

// ---- what callers ask of streams ----

/// Makes a stream of a connected socket that the caller gives away; on failure it stays the caller's.
pub fn adopt(core: &mut Core, fd: RawFd, setup: Shared<Setup>, user_data: UserData) -> Result<u64> {
    core.check_adoptable(fd)?;
    let options = setup.options;
    let stream = Stream::new(setup, None, OPENING, core.now_for_marks(), 0);
    let index = core.handler_insert(Kind::Stream, try_box(stream)?, user_data)?;
    let taken = core.handler_watch(index, fd, Events::READ).and_then(|()| socket::prepare_adopted(fd, false));
    if let Err(status) = taken {
        core.handler_remove(index);
        return Err(status);
    }
    let is_ip = socket::local(fd).is_ok_and(|address| address.ip().is_some());
    let _ = set_options(fd, is_ip, &options); // a connection that is going down has no options any more
    alter(core, index, |stream| stream.fd = Some(socket::own(fd)));
    settle_later(core, index);
    Ok(core.slots.bits(index))
}

/// Makes a stream of an accepted connection. Whoever calls it visits the stream next ([`visit`]), which tells
/// `on_open`.
pub fn accepted(core: &mut Core, fd: OwnedFd, setup: Shared<Setup>, listener: u64, user_data: UserData) -> Result<u64> {
    let number = fd.as_raw_fd();
    let stream = Stream::new(setup, Some(fd), OPENING, core.now_for_marks(), listener);
    let index = core.handler_insert(Kind::Stream, try_box(stream)?, user_data)?;
    if let Err(status) = core.handler_watch(index, number, Events::READ) {
        core.handler_remove(index);
        return Err(status);
    }
    Ok(core.slots.bits(index))
}

/// Has a stream visited in the next turn, unless a visit is going on, and tells the loop what it waits for.
fn settle_later(core: &mut Core, index: u32) {
    if stream(core, index).is_some_and(|stream| stream.is(VISITED)) {
        return;
    }
    core.handler_schedule(index);
    adjust(core, index);
}

/// A stream that is not being closed.
fn usable(core: &mut Core, index: u32) -> Result<&mut Stream> {
    stream(core, index).filter(|stream| !stream.is(CLOSING | ENDED)).ok_or(Status::EHANDLE)
}

/// Takes bytes to send, all or none; `len` is their sum.
pub fn write<'a>(
    core: &mut Core,
    index: u32,
    pieces: impl Iterator<Item = &'a [u8]> + Clone,
    len: usize,
) -> Result<()> {
    let now = core.now_for_marks();
    let stream = usable(core, index)?;
    stream.check_writable(len)?;
    if len == 0 {
        return Ok(());
    }
    let sent = match stream.send_now(now, |fd| send_slices(fd, pieces.clone())) {
        Ok(sent) if sent >= len => return Ok(()),
        Ok(sent) => sent,
        Err(status) => {
            settle_later(core, index);
            return Err(status);
        }
    };
    let queued = stream.queue(now, |output| output.copy(pieces, sent));
    if let Err(status) = queued {
        if sent > 0 {
            stream.end(status.code(), true); // half a write cannot be taken back
            settle_later(core, index);
        }
        return Err(status);
    }
    adjust_if_alone(core, index);
    Ok(())
}

fn send_slices<'a>(fd: RawFd, mut slices: impl Iterator<Item = &'a [u8]> + Clone) -> Result<usize> {
    let mut ahead = slices.clone();
    if let (Some(only), None) = (ahead.next(), ahead.next()) {
        return socket::send(fd, only);
    }
    let mut all = 0usize;
    loop {
        let mut pieces = [Piece::EMPTY; GATHER];
        let (mut count, mut bytes) = (0usize, 0usize);
        for (piece, slice) in pieces.iter_mut().zip(slices.by_ref()) {
            *piece = Piece::new(slice.as_ptr(), slice.len());
            count = count.saturating_add(1);
            bytes = bytes.saturating_add(slice.len());
        }
        if count == 0 {
            return Ok(all);
        }
        match socket::send_pieces(fd, pieces.get(..count).unwrap_or_default()) {
            Ok(sent) if sent < bytes => return Ok(all.saturating_add(sent)),
            Ok(sent) => all = all.saturating_add(sent),
            Err(_) if all > 0 => return Ok(all), // the next call fails again
            failed => return failed,
        }
    }
}

/// Takes a buffer to send that stays the caller's, until it is released; on failure it is not taken.
pub fn write_lent(core: &mut Core, index: u32, lent: Lent) -> Result<()> {
    let now = core.now_for_marks();
    let len = lent.len;
    let stream = usable(core, index)?;
    stream.check_writable(len)?;
    stream.output()?.reserve_lent()?;
    let piece = Piece::new(lent.data, len);
    let sent = match len {
        0 => Ok(0),
        _ => stream.send_now(now, |fd| socket::send_pieces(fd, &[piece])),
    };
    if let Ok(sent) = sent {
        stream.queue(now, |output| {
            output.lend(lent, sent);
            Ok(())
        })?;
    }
    match sent {
        Ok(sent) if sent < len => adjust_if_alone(core, index),
        _ => settle_later(core, index), // it is to be released, or the failure to be told
    }
    sent.map(|_| ())
}

/// What gives a lent buffer back is required.
pub fn lent(data: *const u8, len: usize, release: gyre_release_cb, arg: UserData) -> Result<Lent> {
    if release.is_none() {
        return Err(Status::EINVAL);
    }
    Ok(Lent { data, len, release, arg })
}

/// Shows nothing more until [`resume`].
pub fn pause(core: &mut Core, index: u32) -> Result<()> {
    usable(core, index)?.set(PAUSED);
    adjust_if_alone(core, index);
    Ok(())
}

/// Shows what was withheld, in the next turn, and what comes.
pub fn resume(core: &mut Core, index: u32) -> Result<()> {
    let now = core.now_for_marks();
    let stream = usable(core, index)?;
    if stream.take(PAUSED) {
        stream.since = now;
        if stream.input.len() > 0 {
            stream.set(OFFER);
        }
        if stream.is(OFFER | AT_EOF) {
            settle_later(core, index);
        } else {
            adjust_if_alone(core, index);
        }
    }
    Ok(())
}

/// Tells the loop what a stream waits for, unless a visit is going on that will.
fn adjust_if_alone(core: &mut Core, index: u32) {
    if !stream(core, index).is_some_and(|stream| stream.is(VISITED)) {
        adjust(core, index);
    }
}

/// Ends our side once everything is sent.
pub fn shut_down(core: &mut Core, index: u32) -> Result<()> {
    let stream = usable(core, index)?;
    if stream.is(SHUT_ASKED) {
        return Err(Status::EALREADY);
    }
    stream.set(SHUT_ASKED);
    stream.after_flush();
    if stream.is(SHUT) && stream.is(EOF_TOLD) {
        settle_later(core, index);
    }
    Ok(())
}

/// Ends the stream once everything is sent.
pub fn close(core: &mut Core, index: u32) -> Result<()> {
    let now = core.now_for_marks();
    usable(core, index)?.begin_to_close(now);
    settle_later(core, index);
    Ok(())
}

/// Ends the stream at once, by a reset.
pub fn abort(core: &mut Core, index: u32) -> Result<()> {
    let stream = stream(core, index).filter(|stream| !stream.is(ENDED)).ok_or(Status::EHANDLE)?;
    stream.end(Status::ECONNABORTED.code(), true);
    settle_later(core, index);
    Ok(())
}

/// How many bytes are still to be sent.
pub fn pending(core: &mut Core, index: u32) -> Result<u64> {
    stream(core, index).map(|stream| stream.pending() as u64).ok_or(Status::EHANDLE)
}

/// How many bytes were received.
pub fn received(core: &mut Core, index: u32) -> Result<u64> {
    stream(core, index).map(|stream| stream.received).ok_or(Status::EHANDLE)
}

/// How many bytes were sent.
pub fn sent(core: &mut Core, index: u32) -> Result<u64> {
    stream(core, index).map(|stream| stream.sent).ok_or(Status::EHANDLE)
}

/// The descriptor; `-ENOTCONN` while there is none.
pub fn descriptor(core: &mut Core, index: u32) -> Result<RawFd> {
    let fd = stream(core, index).ok_or(Status::EHANDLE)?.fd.as_ref();
    fd.map(AsRawFd::as_raw_fd).ok_or(Status::from_errno(libc::ENOTCONN))
}

/// Writes the peer's address.
pub fn peer(core: &mut Core, index: u32, out: &mut impl Write) -> Result<()> {
    let address = socket::peer(descriptor(core, index)?)?;
    format(&address, out).map_err(|_| Status::EINVAL)
}

/// Writes the stream's own address.
pub fn local(core: &mut Core, index: u32, out: &mut impl Write) -> Result<()> {
    let address = socket::local(descriptor(core, index)?)?;
    format(&address, out).map_err(|_| Status::EINVAL)
}
