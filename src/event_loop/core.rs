//! The state of a loop, and the one dispatch that all its events come out of.
//!
//! [`Core`] never calls the caller's functions: it names the next one ([`Core::next_call`]) and is not borrowed while that
//! runs. So a callback may do anything to any handle, and what an exception leaves undelivered stays where it is.

use super::Loop;
use super::callback::{
    gyre_child_cb, gyre_child_exit, gyre_completion, gyre_hook_cb, gyre_io_cb, gyre_op_cb, gyre_post_cb,
    gyre_signal_cb, gyre_timer_cb,
};
use super::handle::{gyre_child, gyre_hook, gyre_io, gyre_loop, gyre_op, gyre_signal, gyre_timer};
use super::handler::{Entry, Handlers, Occasion};
use super::hooks::Hooks;
use super::io::{Descriptors, FanOut};
use super::operations::Operations;
use super::place::{Post, place};
use super::signals::Signals;
use super::slots::{Kind, Object, Slots};
use super::timers::{Heap, Timer, next_on_grid};
use crate::demux::{Backend, Batch, Demux, Events};
use crate::proactor;
use crate::status::{Result, Status};
use crate::sys::clock::{FOREVER, monotonic_ns};
use crate::sys::memory::UserData;
use crate::sys::wakeup::Wakeup;
use std::os::fd::RawFd;

/// A function of the caller's, with what it is to be told.
pub enum Call {
    /// A descriptor is ready.
    Io { callback: gyre_io_cb, bits: u64, events: Events, user_data: UserData },
    /// A child process has ended.
    Child { callback: gyre_child_cb, bits: u64, exit: gyre_child_exit, user_data: UserData },
    /// A signal was raised.
    Signal { callback: gyre_signal_cb, bits: u64, signum: i32, count: u32, user_data: UserData },
    /// Another thread, or this one, has posted a function.
    Post { callback: gyre_post_cb, user_data: UserData },
    /// A timer's deadline has passed.
    Timer { callback: gyre_timer_cb, bits: u64, user_data: UserData },
    /// A hook's phase has come.
    Hook { callback: gyre_hook_cb, bits: u64, user_data: UserData },
    /// An operation has completed, or has a result and goes on.
    Op {
        callback: gyre_op_cb,
        bits: u64,
        result: i64,
        fd: RawFd,
        more: bool,
        buffer: (*mut u8, usize),
        peer: (*const libc::sockaddr, libc::socklen_t),
        user_data: UserData,
    },
    /// Something has come for a handler of a layer above, which calls the caller's functions itself.
    Handler { entry: Entry, bits: u64, occasion: Occasion },
}

impl Call {
    /// Calls the function. Nothing of the loop may be borrowed meanwhile.
    #[inline]
    pub fn make(self, the_loop: &Loop) {
        let handle = gyre_loop { bits: the_loop.bits };
        match self {
            Call::Io { callback: Some(callback), bits, events, user_data } => {
                callback(handle, gyre_io { bits }, u32::from(events.0), user_data.0);
            }
            Call::Child { callback: Some(callback), bits, exit, user_data } => {
                callback(handle, gyre_child { bits }, &raw const exit, user_data.0);
            }
            Call::Signal { callback: Some(callback), bits, signum, count, user_data } => {
                callback(handle, gyre_signal { bits }, signum, count, user_data.0);
            }
            Call::Post { callback: Some(callback), user_data } => callback(handle, user_data.0),
            Call::Timer { callback: Some(callback), bits, user_data } => {
                callback(handle, gyre_timer { bits }, user_data.0);
            }
            Call::Hook { callback: Some(callback), bits, user_data } => {
                callback(handle, gyre_hook { bits }, user_data.0);
            }
            Call::Op { callback: Some(callback), bits, result, fd, more, buffer: (buf, len), peer, user_data } => {
                let done = gyre_completion {
                    size: size_of::<gyre_completion>(),
                    op: gyre_op { bits },
                    result,
                    fd,
                    flags: u32::from(more),
                    buf: buf.cast(),
                    len,
                    peer: peer.0,
                    peer_len: peer.1,
                };
                callback(handle, &raw const done, user_data.0);
            }
            Call::Handler { entry, bits, occasion } => entry(the_loop, bits, occasion),
            // Opening anything without a callback is refused.
            _ => {}
        }
    }
}

/// Which source the dispatch is at. In a turn it goes from the first to the last; after an exception the next run goes on
/// where it stopped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Io,
    Orphans,
    Handlers,
    Completions,
    MoreCompletions,
    Signals,
    Posts,
    Timers,
    DueTimers,
    Nothing,
}

/// What a loop counts.
#[derive(Clone, Copy, Default)]
pub struct Statistics {
    /// Turns begun.
    pub turns: u64,
    /// Waits in the demultiplexer.
    pub waits: u64,
    /// Reports delivered to watchers of descriptors and children.
    pub events: u64,
    /// Timers fired.
    pub timers: u64,
    /// Posts run.
    pub posts: u64,
    /// Reports dropped because nobody watches any more.
    pub stale_events: u64,
    /// Connections taken, or not to be had, by operations.
    pub accept_calls: u64,
    /// Completions told, those of `_many` operations each.
    pub completions: u64,
    /// Times that a listener ran out of descriptors, or of memory, and paused.
    pub accept_pauses: u64,
}

/// Room for so many posts is kept from turn to turn; what a larger burst took is given back.
const KEPT_POSTS: usize = 1 << 16;

/// The state of a loop. Its owner's thread alone touches it.
pub struct Core {
    /// Which place of the process-wide table the loop lives in.
    pub place: u8,
    /// What the handles stand for.
    pub slots: Slots,
    /// The backend's entry in the table of backends.
    pub backend: &'static Backend,
    /// The demultiplexer.
    pub demux: Box<dyn Demux>,
    /// What ends a wait from other threads.
    pub wakeup: Wakeup,
    /// What the last wait reported.
    pub batch: Batch,
    /// Counts waits; wraps.
    pub batch_number: u32,
    /// Counts turns; wraps.
    pub turn_number: u32,
    /// The next report to deliver.
    pub next_ready: usize,
    /// The watched descriptors.
    pub descriptors: Descriptors,
    /// The report, or the signal, that goes from watcher to watcher.
    pub fan_out: FanOut,
    /// The watched signals.
    pub signals: Signals,
    /// The hooks.
    pub hooks: Hooks,
    /// The operations.
    pub operations: Operations,
    /// The handlers of the layers above.
    pub handlers: Handlers,
    /// The armed timers, and deadlines of operations.
    pub timers: Heap,
    /// What the loop counts.
    pub statistics: Statistics,
    /// Whether the loop runs even with nothing alive.
    pub keepalive: bool,
    /// Whether the loop is in a run.
    pub in_run: bool,
    /// The caller's pointer.
    pub user_data: UserData,
    open_timers: usize,
    source: Source,
    /// The posts taken from the place, and the next one to run.
    posts: Vec<Post>,
    next_post: usize,
    /// Whether posts may be waiting in the place.
    news: bool,
    now: u64,
    now_is_fresh: bool,
    /// A timer that closes itself unless its callback, which was the last call, has armed it.
    closing_timer: u64,
}

impl Core {
    /// The state of a loop with nothing in it.
    pub fn new(
        place: u8,
        backend: &'static Backend,
        demux: Box<dyn Demux>,
        wakeup: Wakeup,
        batch: Batch,
        operations: Operations,
    ) -> Core {
        Core {
            place,
            slots: Slots::new(place, Vec::new()),
            backend,
            demux,
            wakeup,
            batch,
            batch_number: 0,
            turn_number: 0,
            next_ready: 0,
            descriptors: Descriptors::new(),
            fan_out: FanOut::NOTHING,
            signals: Signals::new(),
            hooks: Hooks::new(),
            operations,
            handlers: Handlers::new(),
            timers: Heap::new(),
            statistics: Statistics::default(),
            keepalive: false,
            in_run: false,
            user_data: UserData(core::ptr::null_mut()),
            open_timers: 0,
            source: Source::Nothing,
            posts: Vec::new(),
            next_post: 0,
            news: false,
            now: monotonic_ns(),
            now_is_fresh: true,
            closing_timer: 0,
        }
    }

    // ---- time ----

    /// The loop's time: read once a turn, when first asked for.
    #[inline]
    pub fn now(&mut self) -> u64 {
        if self.now_is_fresh { self.now } else { self.update_now() }
    }

    /// The time for marks that deadlines count from: the loop's time in the dispatch, a reading of the clock elsewhere, where
    /// the loop's time may be old.
    #[inline]
    pub fn now_for_marks(&mut self) -> u64 {
        if self.source == Source::Nothing { monotonic_ns() } else { self.now() }
    }

    /// Reads the clock.
    #[inline]
    pub fn update_now(&mut self) -> u64 {
        self.now = monotonic_ns();
        self.now_is_fresh = true;
        self.now
    }

    // ---- timers ----

    /// Opens a timer that fires `delay` from now.
    pub fn timer_open(
        &mut self,
        delay: u64,
        period: u64,
        callback: gyre_timer_cb,
        user_data: UserData,
        closes_itself: bool,
    ) -> Result<u64> {
        if callback.is_none() || (closes_itself && period > 0) {
            return Err(Status::EINVAL);
        }
        let timer = Timer { callback, period, armed: false, closes_itself };
        let index = self.slots.insert(Object::Timer(timer), user_data)?;
        if let Err(status) = self.reserve_timer(index) {
            self.slots.remove(index);
            return Err(status);
        }
        self.timer_arm(index, monotonic_ns().saturating_add(delay), period);
        Ok(self.slots.bits(index))
    }

    /// Makes room in the heap for one more timer, in the slot `index`.
    pub fn reserve_timer(&mut self, index: u32) -> Result<()> {
        let timers = self.open_timers.saturating_add(1);
        self.timers.reserve(timers, index)?;
        self.open_timers = timers;
        Ok(())
    }

    /// Gives back what [`Core::reserve_timer`] made.
    pub fn release_timer(&mut self) {
        self.open_timers = self.open_timers.saturating_sub(1);
    }

    /// Arms a timer anew.
    #[inline]
    pub fn timer_set(&mut self, index: u32, deadline: u64, period: u64) -> Result<()> {
        if let Some(Object::Timer(Timer { closes_itself: true, .. })) = self.slots.get(index).map(|slot| &slot.object)
            && period > 0
        {
            return Err(Status::EINVAL);
        }
        self.timer_arm(index, deadline, period);
        Ok(())
    }

    /// Stops a timer; it can be armed again.
    pub fn timer_stop(&mut self, index: u32) {
        self.timer_arm(index, FOREVER, 0);
    }

    /// The nanoseconds until a timer fires; [`FOREVER`] for one that is stopped.
    pub fn timer_remaining(&self, index: u32) -> u64 {
        self.timers.deadline(index).map_or(FOREVER, |deadline| deadline.saturating_sub(monotonic_ns()))
    }

    /// Closes a timer.
    #[inline]
    pub fn timer_close(&mut self, index: u32) {
        self.timers.disarm(index);
        self.slots.remove(index);
        self.release_timer();
    }

    #[inline]
    fn timer_arm(&mut self, index: u32, deadline: u64, period: u64) {
        if let Some(slot) = self.slots.get_mut(index)
            && let Object::Timer(timer) = &mut slot.object
        {
            timer.period = period;
            timer.armed = self.timers.arm(index, deadline);
        }
        self.slots.refresh(index);
    }

    fn next_timer(&mut self) -> Option<Call> {
        loop {
            let due = self.timers.next_due()?;
            let now = self.now();
            let Some(slot) = self.slots.get_mut(due.slot) else { continue };
            let Object::Timer(timer) = &mut slot.object else {
                let call = self.handler_expired(due.slot);
                if call.is_some() {
                    return call;
                }
                self.op_expired(due.slot);
                continue;
            };
            let (callback, user_data, closes_itself) = (timer.callback, slot.user_data, timer.closes_itself);
            timer.armed = timer.period > 0 && self.timers.arm(due.slot, next_on_grid(due.deadline, timer.period, now));
            self.slots.refresh(due.slot);
            let bits = self.slots.bits(due.slot);
            if closes_itself {
                self.closing_timer = bits;
            }
            self.statistics.timers = self.statistics.timers.wrapping_add(1);
            return Some(Call::Timer { callback, bits, user_data });
        }
    }

    /// Closes a timer that closes itself, after its callback.
    #[cold]
    fn settle_closing_timer(&mut self) {
        let bits = core::mem::take(&mut self.closing_timer);
        if let Ok(index) = self.slots.find(bits, Kind::Timer)
            && let Some(Object::Timer(Timer { armed: false, .. })) = self.slots.get(index).map(|slot| &slot.object)
        {
            self.timer_close(index);
        }
    }

    // ---- life ----

    /// Whether anything keeps the loop running.
    #[inline]
    pub fn is_alive(&self) -> bool {
        self.slots.active() > 0 || self.keepalive || self.has_posts()
    }

    /// Whether posts wait to be run.
    fn has_posts(&self) -> bool {
        if self.next_post < self.posts.len() {
            return true;
        }
        let place = place(self.place);
        (self.news || place.has_news()) && !place.posts().waiting.is_empty()
    }

    /// How many posts wait to be run.
    pub fn posts(&self) -> usize {
        let taken = self.posts.len().saturating_sub(self.next_post);
        place(self.place).posts().waiting.len().saturating_add(taken)
    }

    /// Takes note that the loop's place has news.
    pub fn note_news(&mut self, news: bool) {
        self.news |= news;
    }

    // ---- the turn ----

    /// Sends what has changed to the kernel, then says how long a wait may last: at most `limit`. What was submitted goes to
    /// the kernel here, unless the wait is going to be the engine's.
    #[inline]
    pub fn prepare_wait(&mut self, limit: u64, in_engine: bool) -> Result<u64> {
        if self.descriptors.rebuild {
            self.rebuild()?;
        }
        self.flush_interest();
        if !in_engine {
            self.operations.submit();
        }
        if limit == 0
            || self.news
            || self.hooks.has_idle()
            || self.descriptors.has_orphans()
            || self.operations.has_completed()
            || self.handlers.has_scheduled()
            || self.source != Source::Nothing
            || self.next_post < self.posts.len()
        {
            return Ok(0);
        }
        Ok(match self.timers.next_deadline() {
            FOREVER => limit,
            0 => 0,
            deadline => deadline.saturating_sub(self.update_now()).min(limit),
        })
    }

    /// Waits for events, at most `limit`, and takes what came.
    #[inline]
    pub fn wait(&mut self, limit: u64) -> Result<()> {
        self.feed_starved();
        let in_engine = self.operations.wants_to_wait() && self.demux.pollable().is_some();
        let mut timeout = self.prepare_wait(limit, in_engine)?;
        let in_engine = if in_engine { self.demux.pollable() } else { None };
        let place = place(self.place);
        if timeout > 0 && !place.begin_sleep() {
            timeout = 0;
        }
        self.batch.clear();
        self.next_ready = 0;
        self.batch_number = self.batch_number.wrapping_add(1);
        self.statistics.waits = self.statistics.waits.wrapping_add(1);
        let begun = if proactor::ring_has_ended() { monotonic_ns() } else { 0 };
        let mut result = self.wait_once(timeout, in_engine);
        while begun != 0 && result.is_ok() && timeout > 0 && self.was_interrupted_by_a_ring() {
            let waited = monotonic_ns().saturating_sub(begun);
            let left = if timeout == FOREVER { FOREVER } else { timeout.saturating_sub(waited) };
            if left == 0 {
                break;
            }
            result = self.wait_once(left, in_engine);
        }
        self.news |= place.begin_work();
        self.now_is_fresh = false;
        self.take_signals();
        self.handlers.begin_turn();
        self.source = Source::Io;
        result
    }

    fn wait_once(&mut self, timeout: u64, in_engine: Option<RawFd>) -> Result<()> {
        match in_engine {
            Some(descriptor) if !self.operations.engine.wait(timeout, descriptor) => Ok(()),
            Some(_) => self.demux.wait(0, &mut self.batch),
            None => self.demux.wait(timeout, &mut self.batch),
        }
    }

    /// Whether the last wait ended with nothing, shortly after a ring of io_uring has ended: that interrupts the thread which
    /// used it, and is no reason to end a turn early.
    #[cold]
    fn was_interrupted_by_a_ring(&mut self) -> bool {
        self.batch.is_empty()
            && !place(self.place).has_news()
            && self.operations.is_nothing_ready()
            && proactor::ring_interrupts(monotonic_ns())
    }

    /// Makes a new set in the demultiplexer, without what cannot be removed from the old one.
    #[cold]
    fn rebuild(&mut self) -> Result<()> {
        self.demux.reset(self.wakeup.fd())?;
        self.operations.engine.unwatch();
        self.descriptors.rebuild = false;
        self.register_all();
        Ok(())
    }

    /// In a child of fork: a kernel object of its own, and a wake-up descriptor that the parent does not write to.
    pub fn after_fork(&mut self) -> Result<()> {
        let wakeup = Wakeup::new()?;
        self.operations_after_fork(wakeup.fd())?;
        self.demux.reset(wakeup.fd())?;
        self.wakeup = wakeup;
        self.descriptors.rebuild = false;
        self.handlers_after_fork();
        self.batch.clear(); // what was ready is reported again
        self.register_all();
        self.news = true;
        Ok(())
    }

    /// The next function to call. All sources come out of here, in a fixed order, each bounded by what there was at the
    /// start: descriptors and children, operations, signals, posts, timers.
    #[inline]
    pub fn next_call(&mut self) -> Option<Call> {
        if self.closing_timer != 0 {
            self.settle_closing_timer();
        }
        self.settle_operations();
        loop {
            self.source = match self.source {
                Source::Io => match self.next_io() {
                    None => Source::Orphans,
                    call => return call,
                },
                Source::Orphans => match self.next_orphan() {
                    None => Source::Handlers,
                    call => return call,
                },
                Source::Handlers => match self.next_scheduled() {
                    None => Source::Completions,
                    call => return call,
                },
                Source::Completions => {
                    self.begin_completions();
                    Source::MoreCompletions
                }
                Source::MoreCompletions => match self.next_completion() {
                    None => Source::Signals,
                    call => return call,
                },
                Source::Signals => match self.next_signal() {
                    None => Source::Posts,
                    call => return call,
                },
                Source::Posts => match self.next_post() {
                    None => Source::Timers,
                    call => return call,
                },
                Source::Timers => {
                    if self.timers.is_empty() {
                        Source::Nothing
                    } else {
                        let now = self.now();
                        self.timers.collect_due(now);
                        Source::DueTimers
                    }
                }
                Source::DueTimers => match self.next_timer() {
                    None => Source::Nothing,
                    call => return call,
                },
                Source::Nothing => return None,
            };
        }
    }

    fn next_post(&mut self) -> Option<Call> {
        if self.next_post >= self.posts.len() {
            if !self.news {
                return None;
            }
            self.news = false;
            self.next_post = 0;
            self.posts.clear();
            if self.posts.capacity() > KEPT_POSTS {
                self.posts = Vec::new();
            }
            core::mem::swap(&mut self.posts, &mut place(self.place).posts().waiting);
        }
        let post = self.posts.get(self.next_post)?;
        self.next_post = self.next_post.wrapping_add(1);
        self.statistics.posts = self.statistics.posts.wrapping_add(1);
        Some(Call::Post { callback: post.callback, user_data: post.user_data })
    }

    // ---- the end ----

    /// What is still to be called before the loop goes: completions, then posts.
    pub fn next_last_call(&mut self) -> Option<Call> {
        self.settle_operations();
        self.news = true;
        self.next_last_completion().or_else(|| self.next_closing_handler()).or_else(|| self.next_post())
    }

    /// Gives back what is process-wide, before the loop goes: signals, children, generations of handles.
    pub fn leave(&mut self) {
        self.signals_close();
        self.children_leave();
        let slots = core::mem::replace(&mut self.slots, Slots::new(self.place, Vec::new()));
        let place = place(self.place);
        *place.generations() = slots.into_generations();
        place.posts().waiting = Vec::new();
    }
}
