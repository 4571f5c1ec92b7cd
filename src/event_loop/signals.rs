//! Signals: the process-wide registry of who watches what, and a loop's watchers.
//!
//! The handler (in `sys::signal`) counts a signal in the place of each loop that watches it and wakes the loop; the loop
//! tells its watchers in its next turn. The registry's lock is taken when watchers open and close, never by the handler.

use super::callback::gyre_signal_cb;
use super::core::{Call, Core};
use super::io::FanOut;
use super::place::{self, PLACES, place};
use super::slots::{List, NONE, Object};
use crate::status::{Result, Status};
use crate::sys::memory::UserData;
use crate::sys::signal::{self, LIMIT, Saved};
use core::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A signal watcher's slot.
pub struct Signal {
    callback: gyre_signal_cb,
    /// The watched signal.
    pub signum: i32,
    /// How often the signal had been raised when this watcher was last told, or opened.
    heard: u32,
}

/// The watchers of one loop, by signal, and the signals that were raised and are still to be told.
pub struct Signals {
    lists: [List; LIMIT],
    raised: u64,
}

impl Signals {
    /// No watchers.
    pub const fn new() -> Signals {
        Signals { lists: [List::EMPTY; LIMIT], raised: 0 }
    }
}

const WORDS: usize = PLACES / 64;

/// By signal: the loops that watch it, as a set of places. Read by the handler.
static WATCHERS: [[AtomicU64; WORDS]; LIMIT] = [const { [const { AtomicU64::new(0) }; WORDS] }; LIMIT];

/// By signal: how many loops watch it, and what to restore when none does any more.
pub type Registry = [(u32, Option<Saved>); LIMIT];

static REGISTRY: Mutex<Registry> = Mutex::new([(0, None); LIMIT]);

/// Locks the registry.
pub fn lock_registry() -> MutexGuard<'static, Registry> {
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Called by the handler: async-signal-safe.
fn deliver(number: usize) {
    let Some(words) = WATCHERS.get(number) else { return };
    for (word, base) in words.iter().zip((0_u8..).step_by(64)) {
        let mut bits = word.load(SeqCst);
        while bits != 0 {
            let loop_place = base.wrapping_add(bits.trailing_zeros() as u8);
            bits &= bits.wrapping_sub(1);
            place(loop_place).raise(loop_place, number);
        }
    }
}

fn watch(number: usize, loop_place: u8) -> Result<()> {
    let mut registry = lock_registry();
    let (Some((loops, saved)), Some(words)) = (registry.get_mut(number), WATCHERS.get(number)) else {
        return Err(Status::EINVAL);
    };
    if *loops == 0 {
        *saved = Some(signal::install(number, deliver)?);
    }
    *loops = loops.saturating_add(1);
    if let Some(word) = words.get(usize::from(loop_place) / 64) {
        word.fetch_or(1 << (loop_place % 64), SeqCst);
    }
    Ok(())
}

fn unwatch(number: usize, loop_place: u8) {
    let mut registry = lock_registry();
    let (Some((loops, saved)), Some(words)) = (registry.get_mut(number), WATCHERS.get(number)) else {
        return;
    };
    if let Some(word) = words.get(usize::from(loop_place) / 64) {
        word.fetch_and(!(1 << (loop_place % 64)), SeqCst);
    }
    *loops = loops.saturating_sub(1);
    if *loops == 0
        && let Some(saved) = saved.take()
    {
        signal::restore(number, saved);
    }
}

impl Core {
    /// Opens a watcher of a signal.
    pub fn signal_open(&mut self, signum: i32, callback: gyre_signal_cb, user_data: UserData) -> Result<u64> {
        let number = signal::check(signum)?;
        if callback.is_none() {
            return Err(Status::EINVAL);
        }
        let heard = place(self.place).raise_count(number);
        let index = self.slots.insert(Object::Signal(Signal { callback, signum, heard }), user_data)?;
        let Some(list) = self.signals.lists.get_mut(number) else { return Err(Status::EINVAL) };
        if list.is_empty()
            && let Err(status) = watch(number, self.place)
        {
            self.slots.remove(index);
            return Err(status);
        }
        self.slots.push_back(list, index);
        Ok(self.slots.bits(index))
    }

    /// Closes a watcher of a signal; the last one of the process puts back what handled the signal before.
    pub fn signal_close(&mut self, index: u32) {
        let Some(slot) = self.slots.get(index) else { return };
        let Object::Signal(Signal { signum, .. }) = slot.object else { return };
        self.fan_out.skip(index, slot.next);
        if let Some(list) = self.signals.lists.get_mut(signum as usize) {
            self.slots.unlink(list, index);
            if list.is_empty() {
                unwatch(signum as usize, self.place);
            }
        }
        self.slots.remove(index);
    }

    /// Closes all watchers of signals, before the loop goes.
    pub fn signals_close(&mut self) {
        for number in 0..LIMIT {
            while let Some(index) =
                self.signals.lists.get(number).map(|list| list.head).filter(|&i| self.slots.get(i).is_some())
            {
                self.signal_close(index);
            }
        }
    }

    /// Takes what was raised up to now; raised later is told in the next turn.
    #[inline]
    pub fn take_signals(&mut self) {
        self.signals.raised = place(self.place).take_raised();
    }

    /// The next watcher to be told of a signal, with the number of raises that it has not heard of.
    pub fn next_signal(&mut self) -> Option<Call> {
        loop {
            while let Some(slot) = self.slots.get_mut(self.fan_out.next) {
                let index = self.fan_out.next;
                self.fan_out.next = slot.next;
                let user_data = slot.user_data;
                let Object::Signal(signal) = &mut slot.object else { continue };
                let raised = place(self.place).raise_count(signal.signum as usize);
                let count = raised.wrapping_sub(signal.heard);
                signal.heard = raised;
                if count > 0 {
                    let (callback, signum) = (signal.callback, signal.signum);
                    return Some(Call::Signal { callback, bits: self.slots.bits(index), signum, count, user_data });
                }
            }
            let number = place::first_signal(self.signals.raised)?;
            self.signals.raised &= !place::signal_bit(number);
            let next = self.signals.lists.get(number).map_or(NONE, |list| list.head);
            self.fan_out = FanOut::of_no_descriptor(next);
        }
    }
}
