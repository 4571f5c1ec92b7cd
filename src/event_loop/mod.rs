//! The event loop: one thread, one turn after the other, all events out of one dispatch.
//!
//! Called by `capi`; calls `demux` to wait and `sys` for all else of the system. Where to start reading: [`Loop::turn`],
//! then `core`.
//!
//! | file | what is in it |
//! |---|---|
//! | `mod.rs` | open, close, run; what happens in a turn |
//! | `core.rs` | the state of a loop and its dispatch; timers as the caller sees them |
//! | `place.rs` | the process-wide table: what other threads and signal handlers reach |
//! | `handle.rs`, `slots.rs` | handles and what they stand for |
//! | `operations.rs` | operations: the proactor's face; carried out by readiness |
//! | `transfers.rs` | operations that the engine carries out |
//! | `buffers.rs` | the library's buffers that operations receive into |
//! | `handler.rs` | what layers above put into the loop |
//! | `io.rs`, `signals.rs`, `children.rs`, `hooks.rs`, `timers.rs` | the kinds of sources |
//! | `callback.rs` | the types of the caller's functions |
//! | `fork.rs` | the locks around a fork |
//! | `choice.rs` | which backend and engine, and why |
//! | `report.rs` | what a loop tells of itself: explain, dump |
//!
//! Contract (the invariants of ARCHITECTURE.md, by number):
//! - I1 Nothing of a loop is borrowed while a function of the caller's runs.
//! - I2 No function of the caller's runs inside an open, set or close, but inside the loop's close.
//! - I5 A turn is bounded: every source hands out what there was when the turn came to it.
//! - I6 What other threads reach is in `place.rs` alone.

pub mod callback;
pub mod core;
pub mod handle;
pub mod handler;
pub mod place;
pub mod slots;

mod buffers;
mod children;
mod choice;
mod fork;
mod hooks;
mod io;
pub mod operations;
mod report;
mod signals;
mod timers;
mod transfers;

pub use hooks::HookPhase;

use self::choice::{Choice, choose};
use self::core::{Call, Core};
use crate::demux::{BACKENDS, Backend, Batch};
use crate::proactor::{self, AioSettings, ENGINES};
use crate::status::{Result, Status};
use crate::sys::clock::{FOREVER, monotonic_ns, ticks};
use crate::sys::memory::try_box;
use crate::sys::thread;
use crate::sys::wakeup::Wakeup;
use ::core::cell::{Cell, RefCell, RefMut};
use ::core::ffi::CStr;
use once_cell::sync::OnceCell;
use operations::Operations;
use place::{Place, place};
use slots::{Object, Slots};

/// What a loop is opened with.
#[derive(Clone, Copy)]
pub struct Settings {
    /// Which backend, by name; `None` for AUTO.
    pub backend: Option<&'static CStr>,
    /// How many ready descriptors a turn takes.
    pub events_per_turn: usize,
    /// How many posts may wait.
    pub post_capacity: usize,
    /// How many operations may be in flight.
    pub op_capacity: usize,
    /// Which engine, by name; `None` for AUTO.
    pub engine: Option<&'static CStr>,
    /// How many threads file operations of the emulated engine may have.
    pub file_threads: usize,
    /// How the POSIX AIO engine works.
    pub aio: AioSettings,
    /// Bytes of a library-owned buffer.
    pub buffer_size: usize,
    /// How many library-owned buffers there may be.
    pub buffer_count: usize,
}

/// What a loop is in the middle of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Running,
    Closing,
}

/// When a turn may wait.
#[derive(Clone, Copy)]
enum Wait {
    /// At most so long, and not when nothing is alive.
    IfAlive(u64),
    /// At most so long.
    Always(u64),
}

/// How long a run goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RunMode {
    /// Until nothing is alive or it is stopped.
    Default,
    /// One turn, which may wait.
    Once,
    /// One turn, which does not wait.
    NoWait,
}

/// An event loop.
pub struct Loop {
    bits: u64,
    place: u8,
    phase: Cell<Phase>,
    core: RefCell<Core>,
    backend: Choice<Backend>,
    engine: Choice<proactor::Kind>,
    longest_callback: Cell<u64>,
    opened_ns: u64,
    opened_ticks: u64,
}

/// Ends a run, also one that an exception leaves.
struct Running<'a>(&'a Loop);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // A bug of gyre's own; the panic's message is out. It must not unwind into C.
            std::process::abort();
        }
        self.0.phase.set(Phase::Idle);
        let place = place(self.0.place);
        let news = !place.is_forked(self.0.place) && place.end_work();
        if let Ok(mut core) = self.0.core() {
            core.in_run = false;
            core.note_news(news);
        }
    }
}

static PROCESS: OnceCell<()> = OnceCell::new();

impl Loop {
    // ---- open and close ----

    /// Makes a loop that the calling thread owns, and puts it into the process-wide table. Returns its handle. When the
    /// thread ends, `at_thread_exit` is called in it: to call [`Loop::leave_thread`] of what it owns.
    pub fn open(settings: &Settings, at_thread_exit: fn()) -> Result<u64> {
        PROCESS.get_or_try_init(fork::init)?;
        thread::call_at_exit(at_thread_exit)?;
        let number = place::reserve_place()?;
        match Loop::build(number, settings) {
            Ok(boxed) => {
                let (bits, wake, capacity) = (boxed.bits, boxed.core.borrow().wakeup.fd(), settings.post_capacity);
                place(number).publish(number, bits, Box::into_raw(boxed), wake, capacity);
                Ok(bits)
            }
            Err(status) => {
                place(number).vacate(number, true);
                Err(status)
            }
        }
    }

    /// Makes the calling thread the owner of a loop that nobody owns.
    pub fn claim(number: u8, bits: u64, at_thread_exit: fn()) -> Result<()> {
        thread::call_at_exit(at_thread_exit)?;
        place(number).claim(number, bits)
    }

    /// The owner's thread is about to end: gives the loop up, for another thread to claim.
    pub fn leave_thread(&self) {
        if let Ok(mut core) = self.core() {
            core.operations_leave_thread();
        }
        place(self.place).release(self.place);
    }

    fn build(number: u8, settings: &Settings) -> Result<Box<Loop>> {
        let wakeup = Wakeup::new()?;
        let open = |backend: &Backend, _| backend.open(wakeup.fd(), settings.events_per_turn);
        let (backend, demux) = choose(&BACKENDS, settings.backend, open)?;
        let (engine, opened) = choose(&ENGINES, settings.engine, |engine, named| {
            engine.open(&proactor::Settings {
                file_threads: settings.file_threads,
                aio: settings.aio,
                wake: Place::wake_for_engine,
                place: number,
                wake_fd: wakeup.fd(),
                sockets: named,
                buffer_count: settings.buffer_count,
            })
        })?;
        let operations = Operations::new(opened, settings.op_capacity, settings.buffer_size, settings.buffer_count);
        let batch = Batch::new(settings.events_per_turn)?;
        let core = Core::new(number, backend.taken, demux, wakeup, batch, operations);
        let mut made = try_box(Loop {
            bits: 0,
            place: number,
            phase: Cell::new(Phase::Idle),
            core: RefCell::new(core),
            backend,
            engine,
            longest_callback: Cell::new(0),
            opened_ns: monotonic_ns(),
            opened_ticks: ticks(),
        })?;
        // The generations are taken last: from here on nothing fails but the first slot.
        let slots = Slots::new(number, ::core::mem::take(&mut *place(number).generations()));
        let core = made.core.get_mut();
        core.slots = slots;
        match core.slots.insert(Object::Loop, core.user_data) {
            Ok(0) => made.bits = core.slots.bits(0),
            // The loop's own slot is used up: so many loops were opened in this place.
            Ok(_) | Err(_) => {
                core.leave();
                return Err(Status::EFULL);
            }
        }
        Ok(made)
    }

    /// Delivers what was accepted and gives back what is process-wide; then only the memory is left, for the caller to
    /// free. The calling thread owns the loop, or the process is a child of fork.
    ///
    /// Returns whether the memory may be freed: not when another thread forked while the owner was at work in it. Then it
    /// was copied in the middle of a change, and is left alone.
    pub fn close(&self) -> Result<bool> {
        let here = place(self.place);
        let forked = here.is_forked(self.place);
        // In a child the run that was going on is another thread's, which does not exist here, unless it is this thread's.
        if self.phase.get() == Phase::Running && (!forked || here.was_owner()) {
            return Err(Status::EREENTRANT);
        }
        if self.phase.get() == Phase::Closing {
            return Err(Status::ECLOSING);
        }
        self.phase.set(Phase::Closing);
        if !forked {
            here.begin_closing();
            self.core()?.operations_end();
            loop {
                let call = self.core()?.next_last_call();
                let Some(call) = call else { break };
                call.make(self);
                if here.is_forked(self.place) {
                    self.phase.set(Phase::Idle); // a child that the function forked: it may close its copy itself
                    return Err(Status::EFORKED);
                }
            }
        }
        let whole = self.core.try_borrow_mut().map(|mut core| core.leave()).is_ok();
        here.vacate(self.place, whole);
        Ok(whole)
    }

    /// Makes the loop usable in a child of fork; the calling thread owns it then.
    pub fn after_fork(&self) -> Result<()> {
        let here = place(self.place);
        if !here.is_forked(self.place) {
            return Ok(());
        }
        {
            let mut core = self.core.try_borrow_mut().map_err(|_| Status::EBUSY)?;
            core.after_fork()?;
            here.after_fork(core.wakeup.fd());
        }
        if !here.was_owner() {
            self.phase.set(Phase::Idle);
        }
        here.own(self.place);
        Ok(())
    }

    // ---- state ----

    /// The state, for a call from the owner's thread. A second borrow means that a signal handler interrupted the first.
    #[inline]
    pub fn core(&self) -> Result<RefMut<'_, Core>> {
        self.core.try_borrow_mut().map_err(|_| Status::EREENTRANT)
    }

    /// `GYRE_ECLOSING` while the loop is being closed.
    #[inline]
    pub fn check_open(&self) -> Result<()> {
        if self.phase.get() == Phase::Closing { Err(Status::ECLOSING) } else { Ok(()) }
    }

    /// `GYRE_EREENTRANT` inside a callback.
    pub fn check_idle(&self) -> Result<()> {
        self.check_open()?;
        if self.phase.get() == Phase::Running { Err(Status::EREENTRANT) } else { Ok(()) }
    }

    /// The handle.
    pub fn bits(&self) -> u64 {
        self.bits
    }

    /// Whether the calling thread may go on with the loop: not in a child that the last callback forked.
    #[inline]
    pub fn is_ours(&self) -> bool {
        place::is_owner(self.place)
    }

    /// The name of the engine.
    pub fn engine_name(&self) -> &'static CStr {
        self.engine.taken.name
    }

    /// The longest time that a callback took, in nanoseconds.
    pub fn longest_callback_ns(&self) -> u64 {
        let ticks = ticks().wrapping_sub(self.opened_ticks).max(1);
        let ns = monotonic_ns().saturating_sub(self.opened_ns);
        let longest = u128::from(self.longest_callback.get()).saturating_mul(u128::from(ns));
        u64::try_from(longest.checked_div(u128::from(ticks)).unwrap_or(0)).unwrap_or(u64::MAX)
    }

    // ---- run ----

    /// Runs the loop. Returns whether something is still alive.
    pub fn run(&self, mode: RunMode) -> Result<bool> {
        match mode {
            RunMode::Default => self.run_until(FOREVER),
            RunMode::Once => self.one_turn(Wait::IfAlive(FOREVER)),
            RunMode::NoWait => self.one_turn(Wait::IfAlive(0)),
        }
    }

    /// Runs until nothing is alive, it is stopped, or the time is over.
    pub fn run_for(&self, timeout_ns: u64) -> Result<bool> {
        self.run_until(monotonic_ns().saturating_add(timeout_ns))
    }

    /// One turn that waits at most so long, alive or not.
    pub fn turn_for(&self, max_wait_ns: u64) -> Result<bool> {
        self.one_turn(Wait::Always(max_wait_ns))
    }

    fn run_until(&self, deadline: u64) -> Result<bool> {
        let _running = self.begin_run()?;
        let left = || if deadline == FOREVER { FOREVER } else { deadline.saturating_sub(monotonic_ns()) };
        while self.core()?.is_alive() {
            self.turn(Wait::IfAlive(left()))?;
            if place(self.place).take_stop() || left() == 0 {
                return Ok(self.core()?.is_alive());
            }
        }
        place(self.place).take_stop();
        Ok(false)
    }

    fn one_turn(&self, wait: Wait) -> Result<bool> {
        let _running = self.begin_run()?;
        self.turn(wait)?;
        place(self.place).take_stop();
        Ok(self.core()?.is_alive())
    }

    fn begin_run(&self) -> Result<Running<'_>> {
        self.check_idle()?;
        self.phase.set(Phase::Running);
        let running = Running(self);
        let mut core = self.core()?;
        core.note_news(place(self.place).begin_work());
        core.in_run = true;
        Ok(running)
    }

    /// One turn of the loop.
    fn turn(&self, wait: Wait) -> Result<()> {
        let had_leftovers = self.deliver()?; // what an exception left behind; this turn is theirs, and does not wait
        {
            let mut core = self.core()?;
            core.statistics.turns = core.statistics.turns.wrapping_add(1);
            core.turn_number = core.turn_number.wrapping_add(1);
        }
        self.run_hooks(HookPhase::Idle)?;
        self.run_hooks(HookPhase::Prepare)?;
        {
            let mut core = self.core()?;
            let limit = match wait {
                _ if had_leftovers => 0,
                Wait::IfAlive(limit) if limit > 0 && core.is_alive() => limit,
                Wait::IfAlive(_) => 0,
                Wait::Always(limit) => limit,
            };
            core.wait(limit)?;
        }
        let _ = self.deliver()?;
        self.run_hooks(HookPhase::Check)
    }

    /// Calls all that the dispatch names. Returns whether there was anything.
    #[inline]
    fn deliver(&self) -> Result<bool> {
        let mut begun = ticks();
        let mut any = false;
        loop {
            let call = self.core()?.next_call();
            match call {
                Some(call) => (begun, any) = (self.call(call, begun)?, true),
                None => return Ok(any),
            }
        }
    }

    #[inline]
    fn run_hooks(&self, phase: HookPhase) -> Result<()> {
        if !self.core()?.begin_hooks(phase) {
            return Ok(());
        }
        let mut begun = ticks();
        loop {
            let hook = self.core()?.next_hook();
            match hook {
                Some(hook) => begun = self.call(hook, begun)?,
                None => return Ok(()),
            }
        }
    }

    /// Calls a function of the caller's, notes how long it took, and ends the run in a child that it forked.
    #[inline]
    fn call(&self, call: Call, begun: u64) -> Result<u64> {
        call.make(self);
        if !place::is_owner(self.place) {
            return Err(Status::EFORKED);
        }
        let ended = ticks();
        let took = ended.wrapping_sub(begun);
        if took > self.longest_callback.get() {
            self.longest_callback.set(took);
        }
        Ok(ended)
    }

    // ---- embedding ----

    /// How long a host may wait on the loop's descriptor.
    pub fn timeout(&self) -> Result<u64> {
        let mut core = self.core()?;
        if place(self.place).has_news() || core.demux.is_ready() {
            core.flush_interest();
            return Ok(0);
        }
        core.feed_starved();
        core.prepare_wait(FOREVER, false)
    }
}
