//! The emulated engine: file I/O by a few threads that make the blocking calls.
//!
//! Threads are started when there is a job and no idle thread, up to the number asked for, and end with the engine. They run with
//! all signals blocked, so that the host's handlers run in the host's threads.

use super::{Cancel, Done, Engine, Job, Settings};
use crate::status::{Result, Status};
use crate::sys::io::run_job;
use crate::sys::memory::{reserve, reserve_to};
use crate::sys::thread::block_signals;
use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

/// What the threads and the loop share.
struct Shared {
    state: Mutex<State>,
    /// Told when there is a job, or the end.
    work: Condvar,
    /// Told when the last running job is done.
    rest: Condvar,
    wake: fn(u8),
    place: u8,
}

struct State {
    /// Jobs that no thread has taken; with room for all that may be started, so that a push never allocates.
    waiting: VecDeque<(u64, Job)>,
    /// Jobs that are done; with room likewise.
    done: Vec<Done>,
    running: usize,
    idle: usize,
    ending: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a thread does from its start to its end.
    fn serve(&self) {
        block_signals();
        let mut state = self.lock();
        loop {
            if let Some((id, job)) = state.waiting.pop_front() {
                state.running = state.running.saturating_add(1);
                drop(state);
                let result = run_job(&job);
                state = self.lock();
                state.running = state.running.saturating_sub(1);
                let first = state.done.is_empty();
                state.done.push(Done::new(id, result));
                if state.running == 0 && state.waiting.is_empty() {
                    self.rest.notify_all();
                }
                if first {
                    drop(state);
                    (self.wake)(self.place);
                    state = self.lock();
                }
            } else if state.ending {
                return;
            } else {
                state.idle = state.idle.saturating_add(1);
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.idle = state.idle.saturating_sub(1);
            }
        }
    }
}

pub struct Emulated {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// What was taken from `Shared::done` and not yet given out.
    done: Vec<Done>,
    in_flight: usize,
    /// The process that the threads are in.
    process: u32,
    settings: Settings,
}

impl Emulated {
    pub fn new(settings: &Settings) -> Result<Emulated> {
        let state = State { waiting: VecDeque::new(), done: Vec::new(), running: 0, idle: 0, ending: false };
        let shared = Shared {
            state: Mutex::new(state),
            work: Condvar::new(),
            rest: Condvar::new(),
            wake: settings.wake,
            place: settings.place,
        };
        let mut threads = Vec::new();
        reserve(&mut threads, settings.file_threads)?;
        let process = std::process::id();
        Ok(Emulated { shared: Arc::new(shared), threads, done: Vec::new(), in_flight: 0, process, settings: *settings })
    }

    fn add_thread(&mut self) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let builder = Builder::new().name("gyre-file".into()).stack_size(STACK);
        let thread = builder.spawn(move || shared.serve()).map_err(Status::from_io)?;
        self.threads.push(thread); // within the capacity that `new` reserved
        Ok(())
    }
}

/// Bytes of a thread's stack: the calls that it makes need little.
const STACK: usize = 128 * 1024;

impl Engine for Emulated {
    fn start(&mut self, id: u64, job: Job) -> Result<()> {
        let room = self.in_flight.saturating_add(1);
        reserve_to(&mut self.done, room)?;
        let no_idle_thread = {
            let mut state = self.shared.lock();
            let waiting = state.waiting.len();
            state.waiting.try_reserve(room.saturating_sub(waiting)).map_err(|_| Status::ENOMEM)?;
            reserve_to(&mut state.done, room)?;
            state.idle <= waiting
        };
        if no_idle_thread && self.threads.len() < self.settings.file_threads {
            match self.add_thread() {
                Err(status) if self.threads.is_empty() => return Err(status),
                _ => {} // with fewer threads it takes longer
            }
        }
        self.in_flight = room;
        self.shared.lock().waiting.push_back((id, job));
        self.shared.work.notify_one();
        Ok(())
    }

    fn cancel(&mut self, id: u64) -> Cancel {
        let mut state = self.shared.lock();
        match state.waiting.iter().position(|(waiting, _)| *waiting == id) {
            Some(index) => {
                state.waiting.remove(index);
                self.in_flight = self.in_flight.saturating_sub(1);
                Cancel::Dropped
            }
            None => Cancel::Comes,
        }
    }

    fn ready(&mut self) -> usize {
        if self.in_flight > 0 && self.done.is_empty() {
            core::mem::swap(&mut self.done, &mut self.shared.lock().done);
            self.done.reverse(); // so that they come out in the order in which they were done
        }
        self.done.len()
    }

    fn reap(&mut self) -> Option<Done> {
        if self.ready() == 0 {
            return None;
        }
        let done = self.done.pop()?;
        self.in_flight = self.in_flight.saturating_sub(1);
        Some(done)
    }

    fn drain(&mut self) {
        let mut state = self.shared.lock();
        while state.running > 0 || !state.waiting.is_empty() {
            state = self.shared.rest.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn after_fork(&mut self, _wake_fd: RawFd) -> Result<()> {
        if self.threads.is_empty() {
            return Ok(()); // no job was ever started
        }
        *self = Emulated::new(&self.settings)?; // what is dropped here finds that it is in a child
        Ok(())
    }
}

impl Drop for Emulated {
    fn drop(&mut self) {
        if std::process::id() != self.process {
            // A child of fork: the threads are not here, and one of them may hold the lock for ever.
            self.threads.drain(..).for_each(core::mem::forget);
            return;
        }
        self.shared.lock().ending = true;
        self.shared.work.notify_all();
        for thread in self.threads.drain(..) {
            let _ = thread.join(); // an error would be a panic of ours, whose message is out
        }
    }
}
