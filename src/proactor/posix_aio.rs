//! The POSIX AIO engine: file I/O by `aio_read`, `aio_write` and `aio_fsync` of the C library, told by a real-time signal or by a
//! thread that the library makes for it. Opened through [`super::ENGINES`]; calls `sys::aio`.
//!
//! What POSIX AIO does not have goes to an [`Emulated`] engine inside: pieces (readv, writev), the file position, and writes to
//! a file that is open for appending, which ignore their offset.
//!
//! Contract, beside E1 to E6:
//! 1. At most [`AioSettings::in_flight`] jobs are with the library, fewer when the queue of signals is small: of
//!    `RLIMIT_SIGPENDING` all engines of the process together use a quarter. The rest waits here, in order. An engine that finds
//!    no room has its jobs told by thread, one at a time; with a limit below 4 this holds for all engines from the start.
//! 2. The limit is the user's, not the process's, so another process can fill the queue. The library then loses the
//!    notification and overwrites the result with EAGAIN. The job is carried out again: it has an offset, or is a sync, so that
//!    it comes to the same. From then on this engine is told by thread. A thread that cannot be made loses a result in the same
//!    way, and is made good in the same way.
//! 3. A thread of the engine's, made at its first job, listens to the signal, so that a host may block it in all of its
//!    threads; a host's mask is never changed. The same thread has the loop look after jobs that are in flight for a [`TICK`],
//!    which finds what was lost. It sleeps while nothing is in flight.
//! 4. A job has a descriptor of its own for the file: the library finds the file late, and a number that was closed and given
//!    out again would lead it to another one. It also keeps requests on one file from being carried out one by one. Jobs that
//!    wait share one descriptor a file. When none is to be had `start` answers `-EMFILE`.
//! 5. Closing any descriptor of a file drops the program's record locks on it (fcntl(2)). So while there is such a lock the
//!    engine keeps its descriptor open, and uses it again for the next job on that file.
//! 6. In a child of fork the library's threads are not there, and a request would wait for ever: the emulated engine serves
//!    everything, also in engines that are opened there.
//!
//! The cost beside the library's own is a dup, two queries and a close a job, which is little against the library's wake-up
//! of two threads. On a network file system the query for locks and the close may wait for the server.

use super::emulated::Emulated;
use super::{Cancel, Done, Engine, Job, Settings, Work};
use crate::status::{Result, Status};
use crate::sys::aio::{self, Canceled, Requests, SLOTS, Signal, Tell, Ticket};
use crate::sys::descriptor::identity;
use crate::sys::io::run_job;
use crate::sys::memory::{reserve_to, try_box};
use core::sync::atomic::Ordering::{Relaxed, SeqCst};
use core::sync::atomic::{AtomicBool, AtomicUsize};
use core::time::Duration;
use std::collections::VecDeque;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

/// How the engine works; the default of each field is its zero.
#[derive(Clone, Copy, Debug, Default)]
pub struct AioSettings {
    /// How ends of jobs are told.
    pub notify: Notify,
    /// The real-time signal for [`Notify::Signal`]; 0 for the first that has no handler.
    pub signal: i32,
    /// Threads of the C library's for all engines of the process; the first engine decides. 0 for [`THREADS`].
    pub threads: usize,
    /// How many jobs may be with the C library; 0 for as many as there can be, [`SLOTS`].
    pub in_flight: usize,
}

/// How ends of jobs are told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Notify {
    /// By a real-time signal, whose earlier handler still gets what is not the engine's.
    #[default]
    Signal,
    /// By a thread that the C library makes for each job.
    Thread,
}

/// Threads of the C library's, when the settings do not say.
pub const THREADS: usize = 8;

/// After this time in flight a job is looked after.
const TICK: Duration = Duration::from_millis(100);

/// Bytes of the listening thread's stack: signal handlers of the host's may run on it.
const STACK: usize = 256 * 1024;

/// The engine.
pub struct PosixAio {
    /// For what POSIX AIO does not have, and for everything in a child of fork.
    emulated: Emulated,
    /// `None` in a child of fork.
    aio: Option<Box<Library>>,
    /// The process that the engine is for.
    process: u32,
}

impl PosixAio {
    /// Opens the engine: `-EINVAL` for a signal that is not a real-time one.
    pub fn new(settings: &Settings) -> Result<PosixAio> {
        let emulated = Emulated::new(settings)?;
        let threads = if settings.aio.threads == 0 { THREADS } else { settings.aio.threads };
        let aio = if aio::init(threads) { Some(try_box(Library::new(settings)?)?) } else { None };
        Ok(PosixAio { emulated, aio, process: std::process::id() })
    }
}

impl Engine for PosixAio {
    fn start(&mut self, id: u64, job: Job) -> Result<()> {
        match self.aio.as_mut().map_or(Err(Status::EUNSUPPORTED), |aio| aio.start(id, job)) {
            Err(Status::EUNSUPPORTED) => self.emulated.start(id, job),
            result => result,
        }
    }

    fn cancel(&mut self, id: u64) -> Cancel {
        self.aio.as_mut().and_then(|aio| aio.cancel(id)).unwrap_or_else(|| self.emulated.cancel(id))
    }

    fn ready(&mut self) -> usize {
        self.aio.as_mut().map_or(0, |aio| aio.ready()).saturating_add(self.emulated.ready())
    }

    fn reap(&mut self) -> Option<Done> {
        self.aio.as_mut().and_then(|aio| aio.reap()).or_else(|| self.emulated.reap())
    }

    fn drain(&mut self) {
        if let Some(aio) = &mut self.aio {
            aio.drain();
        }
        self.emulated.drain();
    }

    fn after_fork(&mut self, wake_fd: RawFd) -> Result<()> {
        self.aio = None;
        self.process = std::process::id();
        self.emulated.after_fork(wake_fd)
    }
}

impl Drop for PosixAio {
    fn drop(&mut self) {
        if self.process != std::process::id() {
            let _ = self.after_fork(-1); // without memory for a fresh one, the old one's lock is no worse off
        }
    }
}

/// A job that is with the C library.
struct Flight {
    id: u64,
    job: Job,
    file: OwnedFd,
    canceled: bool,
    /// Its room in the queue of signals, if it is told by one.
    ticket: Option<Ticket>,
}

/// A job that waits for its turn.
struct Waiting {
    id: u64,
    job: Job,
    /// Which of the shared descriptors is its own.
    file: usize,
}

/// A descriptor that waiting jobs share.
struct Shared {
    number: RawFd,
    file: OwnedFd,
    jobs: usize,
}

/// The jobs that POSIX AIO carries out.
struct Library {
    requests: Requests,
    flights: Vec<Option<Flight>>,
    free: Vec<usize>,
    in_flight: usize,
    cap: usize,
    waiting: VecDeque<Waiting>,
    shared: Vec<Option<Shared>>,
    /// Which of `shared` was made last for a number, by its lowest bits.
    recent: [usize; RECENT],
    /// Descriptors of files with record locks.
    kept: Vec<OwnedFd>,
    /// Results that were taken and not yet given out, with room for all that may come.
    done: VecDeque<Done>,
    notify: Notify,
    queue_share: usize,
    listener: Listener,
    /// Last, so that all else is gone when the signal's disposition is put back.
    signal: Option<Signal>,
}

const RECENT: usize = 64;

impl Library {
    fn new(settings: &Settings) -> Result<Library> {
        let queue_share = aio::queue_limit() / 4;
        let mut notify = settings.aio.notify;
        let signal = match notify {
            Notify::Signal if queue_share > 0 => match Signal::take(settings.aio.signal) {
                Err(Status::EBUSY) => None,
                result => Some(result?),
            },
            _ => None,
        };
        let mut cap = if settings.aio.in_flight == 0 { SLOTS } else { settings.aio.in_flight.min(SLOTS) };
        match &signal {
            Some(_) => cap = cap.min(queue_share),
            None => notify = Notify::Thread,
        }
        let mut flights = Vec::new();
        let mut free = Vec::new();
        reserve_to(&mut flights, cap)?;
        reserve_to(&mut free, cap)?;
        Ok(Library {
            requests: Requests::new(settings.wake, settings.place)?,
            flights,
            free,
            in_flight: 0,
            cap,
            waiting: VecDeque::new(),
            shared: Vec::new(),
            recent: [0; RECENT],
            kept: Vec::new(),
            done: VecDeque::new(),
            notify,
            queue_share,
            listener: Listener::new(settings.wake, settings.place, signal.as_ref().map(Signal::number)),
            signal,
        })
    }

    fn start(&mut self, id: u64, job: Job) -> Result<()> {
        match job.work {
            Work::Readv { .. } | Work::Writev { .. } => return Err(Status::EUNSUPPORTED),
            Work::Read { .. } | Work::Write { .. } if job.offset < 0 => return Err(Status::EUNSUPPORTED),
            Work::Write { .. } if aio::flags(job.fd)? & libc::O_APPEND != 0 => return Err(Status::EUNSUPPORTED),
            _ => {}
        }
        let accepted = self.in_flight.saturating_add(self.waiting.len()).saturating_add(1);
        self.waiting.try_reserve(1).map_err(|_| Status::ENOMEM)?;
        self.done.try_reserve(accepted).map_err(|_| Status::ENOMEM)?;
        // Every descriptor may come to be kept.
        let descriptors = accepted.saturating_add(self.kept.len());
        reserve_to(&mut self.kept, descriptors)?;
        self.listener.begin()?;
        if self.waiting.is_empty() && self.has_room() {
            let file = self.own_descriptor(job.fd)?;
            let Err((status, file)) = self.launch(id, job, file) else { return Ok(()) };
            self.put_away(file);
            if self.in_flight == 0 {
                return Err(status);
            }
        }
        let file = self.share(job.fd)?;
        self.waiting.push_back(Waiting { id, job, file });
        Ok(())
    }

    /// Whether one more may go to the library.
    fn has_room(&self) -> bool {
        self.in_flight < self.cap
    }

    /// Gives a job to the library, or says why not and gives back its descriptor.
    fn launch(&mut self, id: u64, job: Job, file: OwnedFd) -> core::result::Result<(), (Status, OwnedFd)> {
        let ticket = match (self.notify, &self.signal) {
            (Notify::Signal, Some(signal)) => Ticket::take(self.queue_share).map(|ticket| (ticket, signal.number())),
            _ => None,
        };
        if ticket.is_none() && self.notify == Notify::Signal && self.in_flight > 0 {
            return Err((Status::EAGAIN, file)); // other engines fill the queue; what is in flight here will go on
        }
        let slot = match self.free.pop().map_or_else(|| self.add_slot(), Ok) {
            Ok(slot) => slot,
            Err(status) => return Err((status, file)),
        };
        let tell = ticket.as_ref().map_or(Tell::Thread, |(_, number)| Tell::Signal(*number));
        if let Err(status) = self.requests.submit(slot, &job, file.as_raw_fd(), tell) {
            self.free.push(slot); // within the capacity that `new` reserved
            return Err((status, file));
        }
        if let Some(flight) = self.flights.get_mut(slot) {
            *flight = Some(Flight { id, job, file, canceled: false, ticket: ticket.map(|(ticket, _)| ticket) });
        }
        self.in_flight = self.in_flight.saturating_add(1);
        self.listener.watch(self.in_flight);
        Ok(())
    }

    fn add_slot(&mut self) -> Result<usize> {
        let slot = self.requests.add()?;
        self.flights.push(None); // within the capacity that `new` reserved
        Ok(slot)
    }

    /// Fills the room in the library with jobs that wait.
    fn refill(&mut self) {
        while self.has_room()
            && let Some(Waiting { id, job, file }) = self.waiting.pop_front()
        {
            let launched = match self.take_shared(file) {
                Ok(own) => self.launch(id, job, own).map_err(|(status, own)| {
                    self.give_back(file, job.fd, own);
                    status
                }),
                Err(status) => Err(status),
            };
            match launched {
                Ok(()) => {}
                Err(_) if self.in_flight > 0 => {
                    self.waiting.push_front(Waiting { id, job, file });
                    return; // it is tried again when one of those in flight has ended
                }
                Err(status) => {
                    self.leave_shared(file);
                    self.done.push_back(Done::new(id, i64::from(status.code())));
                }
            }
        }
    }

    fn cancel(&mut self, id: u64) -> Option<Cancel> {
        if let Some(index) = self.waiting.iter().position(|waiting| waiting.id == id) {
            if let Some(Waiting { file, .. }) = self.waiting.remove(index) {
                self.leave_shared(file);
            }
            return Some(Cancel::Dropped);
        }
        let is_it = |flight: &Option<Flight>| flight.as_ref().is_some_and(|flight| flight.id == id);
        let slot = self.flights.iter().position(is_it);
        match slot {
            Some(slot) => self.cancel_flight(slot),
            None if !self.done.iter().any(|done| done.id == id) => return None,
            None => {}
        }
        Some(Cancel::Comes)
    }

    fn cancel_flight(&mut self, slot: usize) {
        if let Some(Some(flight)) = self.flights.get_mut(slot)
            && self.requests.cancel(slot, flight.file.as_raw_fd()) == Canceled::Yes
        {
            flight.canceled = true;
        }
    }

    fn ready(&mut self) -> usize {
        if self.in_flight > 0 || !self.waiting.is_empty() {
            if self.done.is_empty() {
                self.take_told();
            }
            if self.listener.is_time_to_look() {
                self.look_after();
            }
        }
        self.done.len()
    }

    fn reap(&mut self) -> Option<Done> {
        if self.done.is_empty() {
            self.ready();
        }
        self.done.pop_front()
    }

    /// Takes the results of all jobs whose end was told.
    fn take_told(&mut self) {
        while let Some(slot) = self.requests.next_told() {
            if !self.requests.ended(slot) {
                // A forged notification. The true one may come while the token is given back.
                self.requests.await_again(slot);
                if !self.requests.ended(slot) || !self.requests.forget(slot) {
                    continue;
                }
            }
            let result = self.requests.result(slot);
            self.finish(slot, result);
        }
        self.refill();
    }

    /// Takes the results of all jobs that have ended and were not told, or not yet.
    fn look_after(&mut self) {
        for slot in 0..self.flights.len() {
            let Some(Some(flight)) = self.flights.get(slot) else { continue };
            if !self.requests.ended(slot) || !self.requests.forget(slot) {
                continue;
            }
            let mut result = self.requests.result(slot);
            // Of what is told by thread any failure may stand for a thread that could not be made.
            let by_signal = flight.ticket.is_some();
            let lost = if by_signal { result == i64::from(Status::EAGAIN.code()) } else { result < 0 };
            if flight.canceled {
                result = i64::from(Status::ECANCELED.code());
            } else if lost {
                // It was carried out a moment ago, so that this finds all in the page cache.
                result = run_job(&Job { fd: flight.file.as_raw_fd(), ..flight.job });
                if by_signal {
                    self.notify = Notify::Thread;
                }
            }
            self.finish(slot, result);
        }
        self.refill();
    }

    fn finish(&mut self, slot: usize, result: i64) {
        let Some(flight) = self.flights.get_mut(slot).and_then(Option::take) else { return };
        self.free.push(slot); // within the capacity that `new` reserved
        self.in_flight = self.in_flight.saturating_sub(1);
        self.listener.watch(self.in_flight);
        self.put_away(flight.file);
        self.done.push_back(Done::new(flight.id, result)); // within the capacity that `start` reserved
    }

    fn drain(&mut self) {
        loop {
            self.take_told();
            if self.in_flight == 0 && self.waiting.is_empty() {
                return;
            }
            self.wait();
            self.look_after();
        }
    }

    /// Waits until something in flight has ended.
    fn wait(&self) {
        let flown = self.flights.iter().enumerate().filter(|(_, flight)| flight.is_some());
        self.requests.wait(flown.map(|(slot, _)| slot));
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        if !aio::usable() {
            self.listener.abandon();
            return;
        }
        while let Some(Waiting { file, .. }) = self.waiting.pop_front() {
            self.leave_shared(file);
        }
        for slot in 0..self.flights.len() {
            self.cancel_flight(slot);
        }
        while self.in_flight > 0 {
            self.wait();
            for slot in 0..self.flights.len() {
                if matches!(self.flights.get(slot), Some(Some(_))) && self.requests.ended(slot) {
                    self.done.clear();
                    self.finish(slot, 0);
                }
            }
        }
        self.listener.end();
        for file in self.kept.drain(..) {
            if aio::record_locked(file.as_raw_fd()) {
                let _ = file.into_raw_fd(); // left open: a descriptor is worth less than the program's locks
            }
        }
    }
}

/// Descriptors (clauses 4 and 5).
impl Library {
    /// A descriptor for one job.
    fn own_descriptor(&mut self, number: RawFd) -> Result<OwnedFd> {
        if !self.kept.is_empty() {
            // The same file, opened in the same way, will do: a job with an offset does not use the file position.
            let like = |file: &OwnedFd| {
                let fd = file.as_raw_fd();
                identity(fd) == identity(number) && aio::flags(fd) == aio::flags(number)
            };
            if let Some(index) = self.kept.iter().position(like) {
                return Ok(self.kept.swap_remove(index));
            }
        }
        aio::duplicate(number)
    }

    /// Closes a descriptor as soon as that costs the program no locks.
    fn put_away(&mut self, file: OwnedFd) {
        if aio::record_locked(file.as_raw_fd()) {
            self.kept.push(file); // within the capacity that `start` reserved
        } else if self.in_flight == 0 {
            self.kept.retain(|file| aio::record_locked(file.as_raw_fd()));
        }
    }

    /// A descriptor for a job that waits, shared with others that wait on the same open file.
    fn share(&mut self, number: RawFd) -> Result<usize> {
        let recent = self.recent.get_mut(number as usize % RECENT).ok_or(Status::EBADF)?;
        if let Some(Some(shared)) = self.shared.get_mut(*recent)
            && shared.number == number
            && identity(number)? == identity(shared.file.as_raw_fd())?
            && aio::flags(number)? == aio::flags(shared.file.as_raw_fd())?
        {
            shared.jobs = shared.jobs.saturating_add(1);
            return Ok(*recent);
        }
        let index = match self.shared.iter().position(Option::is_none) {
            Some(index) => index,
            None => {
                let len = self.shared.len();
                reserve_to(&mut self.shared, len.saturating_add(1))?;
                self.shared.push(None);
                len
            }
        };
        *recent = index;
        let file = self.own_descriptor(number)?;
        if let Some(place) = self.shared.get_mut(index) {
            *place = Some(Shared { number, file, jobs: 1 });
        }
        Ok(index)
    }

    /// The descriptor of its own for a job that waits no more: the shared one for the last that does.
    fn take_shared(&mut self, index: usize) -> Result<OwnedFd> {
        let place = self.shared.get_mut(index).ok_or(Status::EBADF)?;
        match place {
            Some(shared) if shared.jobs > 1 => {
                let number = shared.file.as_raw_fd();
                let own = self.own_descriptor(number)?;
                self.leave_shared(index);
                Ok(own)
            }
            _ => place.take().map(|shared| shared.file).ok_or(Status::EBADF),
        }
    }

    /// Undoes `take_shared`.
    fn give_back(&mut self, index: usize, number: RawFd, file: OwnedFd) {
        match self.shared.get_mut(index) {
            Some(Some(shared)) => {
                shared.jobs = shared.jobs.saturating_add(1);
                self.put_away(file);
            }
            Some(place) => *place = Some(Shared { number, file, jobs: 1 }),
            None => {}
        }
    }

    /// A job that waited needs its descriptor no more.
    fn leave_shared(&mut self, index: usize) {
        let Some(place) = self.shared.get_mut(index) else { return };
        if let Some(shared) = place {
            shared.jobs = shared.jobs.saturating_sub(1);
            if shared.jobs == 0
                && let Some(shared) = place.take()
            {
                self.put_away(shared.file);
            }
        }
    }
}

/// The thread that listens to the signal and says when it is time to look after jobs.
struct Listener {
    common: Arc<Common>,
    thread: Option<JoinHandle<()>>,
}

struct Common {
    ending: Mutex<bool>,
    news: Condvar,
    in_flight: AtomicUsize,
    /// Whether the thread sleeps until there is a job in flight.
    asleep: AtomicBool,
    look: AtomicBool,
    wake: fn(u8),
    place: u8,
    signal: Option<i32>,
}

impl Listener {
    fn new(wake: fn(u8), place: u8, signal: Option<i32>) -> Listener {
        let common = Common {
            ending: Mutex::new(false),
            news: Condvar::new(),
            in_flight: AtomicUsize::new(0),
            asleep: AtomicBool::new(false),
            look: AtomicBool::new(false),
            wake,
            place,
            signal,
        };
        Listener { common: Arc::new(common), thread: None }
    }

    /// Makes the thread, at the first job.
    fn begin(&mut self) -> Result<()> {
        if self.thread.is_none() {
            let common = Arc::clone(&self.common);
            let builder = Builder::new().name("gyre-aio".into()).stack_size(STACK);
            self.thread = Some(builder.spawn(move || common.serve()).map_err(Status::from_io)?);
        }
        Ok(())
    }

    /// Says how many jobs are in flight.
    fn watch(&self, in_flight: usize) {
        self.common.in_flight.store(in_flight, SeqCst);
        // At most once a tick, so that jobs one after the other do not wake it each time.
        if in_flight > 0 && self.common.asleep.swap(false, SeqCst) {
            drop(self.common.lock());
            self.common.news.notify_one();
        }
    }

    fn is_time_to_look(&self) -> bool {
        self.common.look.load(Relaxed) && self.common.look.swap(false, SeqCst)
    }

    fn end(&mut self) {
        if let Some(thread) = self.thread.take() {
            *self.common.lock() = true;
            self.common.news.notify_one();
            let _ = thread.join(); // an error would be a panic of ours, whose message is out
        }
    }

    /// In a child of fork: the thread is not here.
    fn abandon(&mut self) {
        core::mem::forget(self.thread.take());
    }
}

impl Common {
    fn lock(&self) -> MutexGuard<'_, bool> {
        self.ending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self) {
        match self.signal {
            Some(signal) => Signal::listen(signal),
            None => crate::sys::thread::block_signals(),
        }
        let mut ending = self.lock();
        while !*ending {
            if self.in_flight.load(SeqCst) == 0 {
                self.asleep.store(true, SeqCst);
                // Who starts a job stores `in_flight` and then looks at `asleep`; here it is the other way round.
                if self.in_flight.load(SeqCst) == 0 {
                    ending = self.news.wait(ending).unwrap_or_else(PoisonError::into_inner);
                }
                self.asleep.store(false, SeqCst);
                continue;
            }
            ending = self.news.wait_timeout(ending, TICK).unwrap_or_else(PoisonError::into_inner).0;
            if !*ending && self.in_flight.load(SeqCst) > 0 {
                self.look.store(true, SeqCst);
                drop(ending);
                (self.wake)(self.place);
                ending = self.lock();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::thread;
    use core::ffi::{c_int, c_void};
    use std::fs::{File, OpenOptions, remove_file};
    use std::io::Write;
    use std::os::unix::fs::FileExt;
    use std::os::unix::process::CommandExt;
    use std::path::PathBuf;
    use std::time::Instant;

    const BLOCK: usize = 4096;
    const SECONDS: u64 = 30;

    static WAKES: [AtomicUsize; 256] = [const { AtomicUsize::new(0) }; 256];
    static PLACES: AtomicUsize = AtomicUsize::new(0);

    fn wake(place: u8) {
        WAKES[usize::from(place)].fetch_add(1, SeqCst);
    }

    fn settings(aio: AioSettings) -> Settings {
        let place = PLACES.fetch_add(1, SeqCst) as u8;
        Settings { file_threads: 2, aio, wake, place, wake_fd: -1, sockets: true, buffer_count: 1 }
    }

    /// An engine, and what a loop does with it: it sleeps until it is woken.
    struct World {
        engine: PosixAio,
        place: u8,
        seen: usize,
    }

    impl World {
        fn new(aio: AioSettings) -> World {
            let settings = settings(aio);
            World { engine: PosixAio::new(&settings).unwrap(), place: settings.place, seen: 0 }
        }

        fn told_by(notify: Notify) -> World {
            World::new(AioSettings { notify, ..AioSettings::default() })
        }

        /// The next result; waits for a wake-up when there is none.
        fn next(&mut self) -> Done {
            let deadline = Instant::now() + Duration::from_secs(SECONDS);
            loop {
                let woken = WAKES[usize::from(self.place)].load(SeqCst);
                if let Some(done) = self.engine.reap() {
                    return done;
                }
                self.seen = woken;
                while WAKES[usize::from(self.place)].load(SeqCst) == self.seen {
                    assert!(Instant::now() < deadline, "no wake-up came");
                    std::thread::sleep(Duration::from_micros(50));
                }
            }
        }

        fn run(&mut self, job: Job) -> i64 {
            self.engine.start(7, job).unwrap();
            let done = self.next();
            assert_eq!(done.id, 7);
            done.result
        }

        fn is_told_by_signal(&self) -> bool {
            self.engine.aio.as_ref().is_some_and(|aio| aio.notify == Notify::Signal)
        }
    }

    fn read(fd: RawFd, buf: &mut [u8], offset: i64) -> Job {
        Job { fd, offset, work: Work::Read { buf: buf.as_mut_ptr(), len: buf.len() } }
    }

    fn write(fd: RawFd, buf: &[u8], offset: i64) -> Job {
        Job { fd, offset, work: Work::Write { buf: buf.as_ptr(), len: buf.len() } }
    }

    fn errno(errno: i32) -> i64 {
        -i64::from(errno)
    }

    /// A file that is removed when dropped.
    struct Scratch {
        file: File,
        path: PathBuf,
    }

    impl Scratch {
        fn new(append: bool) -> Scratch {
            static COUNT: AtomicUsize = AtomicUsize::new(0);
            let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos();
            let name = format!("gyre-aio-{}-{}-{now}", std::process::id(), COUNT.fetch_add(1, SeqCst));
            let path = std::env::temp_dir().join(name);
            let mut options = OpenOptions::new();
            options.read(true).create_new(true);
            if append {
                options.append(true)
            } else {
                options.write(true)
            };
            Scratch { file: options.open(&path).unwrap(), path }
        }

        /// A file of so many blocks, in which each byte tells its block.
        fn of_blocks(blocks: usize) -> Scratch {
            let mut scratch = Scratch::new(false);
            for block in 0..blocks {
                scratch.file.write_all(&[block as u8; BLOCK]).unwrap();
            }
            scratch
        }

        fn fd(&self) -> RawFd {
            self.file.as_raw_fd()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = remove_file(&self.path);
        }
    }

    /// A job that stays in flight until somebody writes: the library reads a pipe although it has no offset.
    fn pipe() -> (std::io::PipeReader, std::io::PipeWriter) {
        std::io::pipe().unwrap()
    }

    /// Runs the calling test once more in a process of its own, where it may do what concerns the whole process; true there.
    fn alone(name: &str) -> bool {
        alone_after(name, || {})
    }

    /// The same, with something done to the process before it has any other thread.
    fn alone_after(name: &str, prepare: fn()) -> bool {
        const VARIABLE: &str = "GYRE_TEST_ALONE";
        if std::env::var(VARIABLE).is_ok_and(|alone| alone == name) {
            return true;
        }
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        let test = format!("proactor::posix_aio::tests::{name}");
        command.args(["--exact", &test, "--nocapture", "--test-threads=1"]).env(VARIABLE, name);
        // SAFETY: what the tests prepare is one system call.
        unsafe {
            command.pre_exec(move || {
                prepare();
                Ok(())
            })
        };
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{}\n{text}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
        assert!(text.contains("1 passed"), "{text}");
        false
    }

    fn read_blocks(world: &mut World, count: usize) {
        let scratch = Scratch::of_blocks(64);
        let mut buffers = vec![[0xEE_u8; BLOCK]; count];
        for (id, buffer) in buffers.iter_mut().enumerate() {
            let offset = (id % 64 * BLOCK) as i64;
            world.engine.start(id as u64, read(scratch.fd(), buffer, offset)).unwrap();
        }
        let mut seen = vec![false; count];
        for _ in 0..count {
            let done = world.next();
            assert_eq!(done.result, BLOCK as i64);
            assert!(!core::mem::replace(&mut seen[done.id as usize], true), "told twice");
        }
        assert_eq!(world.engine.reap(), None);
        for (id, buffer) in buffers.iter().enumerate() {
            assert!(buffer.iter().all(|byte| *byte == (id % 64) as u8), "wrong data in {id}");
        }
    }

    fn both(test: impl Fn(&mut World)) {
        for notify in [Notify::Signal, Notify::Thread] {
            let mut world = World::told_by(notify);
            assert_eq!(world.is_told_by_signal(), notify == Notify::Signal);
            test(&mut world);
        }
    }

    #[test]
    fn each_kind_of_job_does_what_its_system_call_does() {
        both(|world| {
            let scratch = Scratch::new(false);
            let fd = scratch.fd();
            let mut buf = [0; 8];
            assert_eq!(world.run(write(fd, b"abcdef", 10)), 6);
            assert_eq!(world.run(read(fd, &mut buf, 12)), 4);
            assert_eq!(&buf, b"cdef\0\0\0\0");
            assert_eq!(world.run(read(fd, &mut buf, 16)), 0, "end of file");
            assert_eq!(world.run(read(fd, &mut [], 0)), 0);
            assert_eq!(world.run(write(fd, &[], 0)), 0);
            let far = 5 << 30;
            assert_eq!(world.run(write(fd, b"far", far)), 3);
            assert_eq!(world.run(read(fd, &mut buf, far + 1)), 2);
            assert_eq!(&buf[..2], b"ar");
            assert_eq!(world.run(Job { fd, offset: 0, work: Work::Sync { data_only: false } }), 0);
            assert_eq!(world.run(Job { fd, offset: 0, work: Work::Sync { data_only: true } }), 0);
        });
    }

    #[test]
    fn what_posix_aio_has_not_is_served_all_the_same() {
        both(|world| {
            let scratch = Scratch::new(false);
            let fd = scratch.fd();
            assert_eq!(world.run(write(fd, b"one", -1)), 3);
            assert_eq!(world.run(write(fd, b"two", -1)), 3);
            let mut buf = [0_u8; 6];
            let (first, second) = buf.split_at_mut(3);
            let pieces =
                [first, second].map(|piece| libc::iovec { iov_base: piece.as_mut_ptr().cast(), iov_len: piece.len() });
            assert_eq!(world.run(Job { fd, offset: 0, work: Work::Readv { iov: pieces.as_ptr(), count: 2 } }), 6);
            assert_eq!(&buf, b"onetwo");
            assert_eq!(world.run(Job { fd, offset: 6, work: Work::Writev { iov: pieces.as_ptr(), count: 2 } }), 6);
            assert_eq!(scratch.file.metadata().unwrap().len(), 12);
            let log = Scratch::new(true);
            assert_eq!(world.run(write(log.fd(), b"ab", 100)), 2);
            assert_eq!(log.file.metadata().unwrap().len(), 2, "an appending write ignores its offset");
        });
    }

    #[test]
    fn failures_come_by_their_errno() {
        both(|world| {
            let scratch = Scratch::new(false);
            let mut buf = [0; 8];
            assert_eq!(world.engine.start(1, read(-1, &mut buf, 0)), Err(Status::EBADF));
            let read_only = File::open(&scratch.path).unwrap();
            assert_eq!(world.run(write(read_only.as_raw_fd(), b"x", 0)), errno(libc::EBADF));
            let write_only = OpenOptions::new().write(true).open(&scratch.path).unwrap();
            assert_eq!(world.run(read(write_only.as_raw_fd(), &mut buf, 0)), errno(libc::EBADF));
            let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
            assert_eq!(world.run(write(full.as_raw_fd(), b"x", 0)), errno(libc::ENOSPC));
            let directory = File::open(std::env::temp_dir()).unwrap();
            assert_eq!(world.run(read(directory.as_raw_fd(), &mut buf, 0)), errno(libc::EISDIR));
            let nowhere = Job { fd: scratch.fd(), offset: 0, work: Work::Read { buf: 8 as *mut u8, len: 1 } };
            scratch.file.write_at(b"x", 0).unwrap();
            assert_eq!(world.run(nowhere), errno(libc::EFAULT));
        });
    }

    #[test]
    fn a_signal_that_is_no_real_time_signal_is_refused() {
        let with = |signal| PosixAio::new(&settings(AioSettings { signal, ..AioSettings::default() })).map(|_| ());
        for signal in [-1, libc::SIGUSR1, 32, 33, 65] {
            assert_eq!(with(signal), Err(Status::EINVAL));
        }
        assert_eq!(with(libc::SIGRTMIN() + 8), Ok(()));
    }

    #[test]
    fn a_thousand_reads_complete_once_each_with_the_right_data() {
        both(|world| read_blocks(world, 1000));
    }

    fn become_user_with_queue_of(signals: u64) {
        let limit = libc::rlimit { rlim_cur: signals, rlim_max: signals };
        // SAFETY: `limit` is valid; the numbers mean a user that has no other process.
        unsafe {
            if libc::getuid() == 0 {
                let user = 60_000 + std::process::id() % 5000;
                assert_eq!(libc::setresuid(user, user, user), 0);
            }
            assert_eq!(libc::setrlimit(libc::RLIMIT_SIGPENDING, &limit), 0);
        }
    }

    #[test]
    fn a_small_queue_of_signals_loses_nothing() {
        if alone("a_small_queue_of_signals_loses_nothing") {
            become_user_with_queue_of(8);
            let mut world = World::told_by(Notify::Signal);
            read_blocks(&mut world, 1000);
            assert!(world.is_told_by_signal(), "no signal was lost");
            let mut other = World::told_by(Notify::Signal);
            read_blocks(&mut other, 100);
        }
    }

    #[test]
    fn without_a_queue_of_signals_threads_tell() {
        if alone("without_a_queue_of_signals_threads_tell") {
            become_user_with_queue_of(0);
            let mut world = World::told_by(Notify::Signal);
            assert!(!world.is_told_by_signal());
            read_blocks(&mut world, 1000);
        }
    }

    #[test]
    fn what_others_make_the_queue_lose_is_made_good() {
        if alone("what_others_make_the_queue_lose_is_made_good") {
            let mut world = World::told_by(Notify::Signal);
            become_user_with_queue_of(0); // as if others had filled it
            assert!(world.is_told_by_signal());
            read_blocks(&mut world, 200);
            assert!(!world.is_told_by_signal());
        }
    }

    #[test]
    fn jobs_that_wait_are_dropped_and_those_in_flight_come() {
        let mut world = World::new(AioSettings { in_flight: 1, ..AioSettings::default() });
        let scratch = Scratch::of_blocks(1);
        let (reader, mut writer) = pipe();
        let mut buf = [0; 8];
        world.engine.start(1, read(reader.as_raw_fd(), &mut buf, 0)).unwrap();
        let mut others = [[0; 8]; 3];
        for (id, buf) in (2..).zip(&mut others) {
            world.engine.start(id, read(scratch.fd(), buf, 0)).unwrap();
        }
        assert_eq!(world.engine.cancel(3), Cancel::Dropped);
        std::thread::sleep(Duration::from_millis(50)); // so that it is under way, and not queued
        assert_eq!(world.engine.cancel(1), Cancel::Comes);
        writer.write_all(b"late").unwrap();
        assert_eq!(world.next(), Done::new(1, 4));
        assert_eq!(world.next(), Done::new(2, 8));
        assert_eq!(world.next(), Done::new(4, 8));
        assert_eq!(world.engine.reap(), None);
        assert_eq!(others[1], [0; 8]);
    }

    #[test]
    fn cancel_against_completion_tells_each_job_once() {
        both(|world| {
            let scratch = Scratch::of_blocks(4);
            let mut buffers = vec![[0_u8; BLOCK]; 200];
            let (mut canceled, mut read_all, mut dropped) = (0, 0, 0);
            for _ in 0..20 {
                let mut expected = 0;
                for (id, buf) in buffers.iter_mut().enumerate() {
                    world.engine.start(id as u64, read(scratch.fd(), buf, 0)).unwrap();
                }
                for id in 0..200 {
                    match world.engine.cancel(id) {
                        Cancel::Dropped => dropped += 1,
                        Cancel::Comes => expected += 1,
                    }
                }
                for _ in 0..expected {
                    match world.next().result {
                        4096 => read_all += 1,
                        result => {
                            assert_eq!(result, errno(libc::ECANCELED));
                            canceled += 1;
                        }
                    }
                }
                assert_eq!(world.engine.reap(), None);
            }
            assert_eq!(canceled + read_all + dropped, 4000);
            assert!(canceled > 0 && read_all > 0 && dropped > 0, "{canceled} {read_all} {dropped}");
        });
    }

    static FOREIGN: AtomicUsize = AtomicUsize::new(0);

    extern "C" fn count_foreign(_: c_int, _: *mut libc::siginfo_t, _: *mut c_void) {
        FOREIGN.fetch_add(1, SeqCst);
    }

    fn disposition(signum: c_int, handler: Option<usize>) -> usize {
        // SAFETY: all zero is a valid sigaction, and both are valid to read or write.
        unsafe {
            let mut action: libc::sigaction = core::mem::zeroed();
            let mut before: libc::sigaction = core::mem::zeroed();
            action.sa_sigaction = handler.unwrap_or(0);
            action.sa_flags = libc::SA_SIGINFO;
            let new = if handler.is_some() { &raw const action } else { core::ptr::null() };
            assert_eq!(libc::sigaction(signum, new, &mut before), 0);
            before.sa_sigaction
        }
    }

    #[test]
    fn a_signal_of_the_hosts_reaches_the_hosts_handler() {
        if !alone("a_signal_of_the_hosts_reaches_the_hosts_handler") {
            return;
        }
        let signum = libc::SIGRTMIN() + 3;
        let handler = count_foreign as *const () as usize;
        disposition(signum, Some(handler));
        let mut world = World::new(AioSettings { signal: signum, ..AioSettings::default() });
        assert_ne!(disposition(signum, None), handler);
        let queue = |code: c_int, value: usize| {
            // SAFETY: all zero is a valid siginfo; the value stands behind si_pid and si_uid, as the kernel has it.
            unsafe {
                let mut info: libc::siginfo_t = core::mem::zeroed();
                info.si_signo = signum;
                info.si_code = code;
                (&raw mut info).cast::<usize>().add(3).write(value);
                let id = std::process::id();
                assert_eq!(libc::syscall(libc::SYS_rt_sigqueueinfo, id, signum, &raw const info), 0);
            }
        };
        let wait_for = |count| {
            let deadline = Instant::now() + Duration::from_secs(SECONDS);
            while FOREIGN.load(SeqCst) < count {
                assert!(Instant::now() < deadline);
                std::thread::yield_now();
            }
        };
        queue(libc::SI_QUEUE, 1);
        wait_for(1);
        queue(libc::SI_ASYNCIO, 0x7FFF_1234_5678); // another user of POSIX AIO in the process
        wait_for(2);
        let scratch = Scratch::of_blocks(1);
        assert_eq!(world.run(read(scratch.fd(), &mut [0; 8], 0)), 8);
        assert_eq!(FOREIGN.load(SeqCst), 2, "the engine's own is not the host's");
        // One that pretends to tell of a request in flight changes nothing.
        let (reader, mut writer) = pipe();
        let mut buf = [0; 8];
        world.engine.start(1, read(reader.as_raw_fd(), &mut buf, 0)).unwrap();
        let token = world.engine.aio.as_ref().unwrap().requests.token(0);
        assert_ne!(token, 0);
        for _ in 0..3 {
            queue(libc::SI_ASYNCIO, token);
            std::thread::sleep(Duration::from_millis(5));
            assert_eq!(world.engine.reap(), None);
        }
        writer.write_all(b"true").unwrap();
        assert_eq!(world.next(), Done::new(1, 4));
        queue(libc::SI_ASYNCIO, token);
        drop(world);
        assert_eq!(disposition(signum, None), handler, "put back");
        assert_eq!(FOREIGN.load(SeqCst), 2);
    }

    #[test]
    fn a_handler_that_the_host_installed_later_stays() {
        if alone("a_handler_that_the_host_installed_later_stays") {
            let signum = libc::SIGRTMIN() + 4;
            let world = World::new(AioSettings { signal: signum, ..AioSettings::default() });
            let handler = count_foreign as *const () as usize;
            disposition(signum, Some(handler));
            drop(world);
            assert_eq!(disposition(signum, None), handler);
        }
    }

    #[test]
    fn a_host_that_blocks_the_signal_everywhere_is_told() {
        if alone_after("a_host_that_blocks_the_signal_everywhere_is_told", thread::block_signals) {
            let mut world = World::told_by(Notify::Signal);
            let scratch = Scratch::of_blocks(1);
            let begin = Instant::now();
            for _ in 0..100 {
                assert_eq!(world.run(read(scratch.fd(), &mut [0; 8], 0)), 8);
            }
            assert!(begin.elapsed() < 100 * TICK / 2, "told, and not found by looking after");
            assert!(world.is_told_by_signal());
        }
    }

    #[test]
    fn closing_with_notifications_on_their_way_harms_nobody() {
        if alone("closing_with_notifications_on_their_way_harms_nobody") {
            let scratch = Scratch::of_blocks(1);
            let mut buffers = vec![[0_u8; BLOCK]; 32];
            // Blocked, so that only the engine's thread takes notifications while there is one, and nobody after that.
            thread::block_signals();
            for round in 0..200 {
                let notify = if round % 2 == 0 { Notify::Signal } else { Notify::Thread };
                let mut world = World::told_by(notify);
                for (id, buf) in buffers.iter_mut().enumerate() {
                    world.engine.start(id as u64, read(scratch.fd(), buf, 0)).unwrap();
                }
                if round % 3 == 0 {
                    world.engine.drain();
                }
            }
            for number in libc::SIGRTMIN()..=libc::SIGRTMAX() {
                assert_eq!(disposition(number, None), libc::SIG_DFL, "signal {number}");
                // SAFETY: the set is filled before it is read. A signal that had been left behind would end the process now.
                unsafe {
                    let mut set = core::mem::zeroed();
                    libc::sigemptyset(&mut set);
                    libc::sigaddset(&mut set, number);
                    libc::pthread_sigmask(libc::SIG_UNBLOCK, &set, core::ptr::null_mut());
                }
            }
        }
    }

    #[test]
    fn drain_waits_for_what_is_in_flight() {
        both(|world| {
            let scratch = Scratch::of_blocks(1);
            let (reader, mut writer) = pipe();
            let (mut piped, mut buf) = ([0; 8], [0; 8]);
            world.engine.start(1, read(reader.as_raw_fd(), &mut piped, 0)).unwrap();
            world.engine.start(2, read(scratch.fd(), &mut buf, 0)).unwrap();
            world.engine.start(3, Job { fd: scratch.fd(), offset: 0, work: Work::Sync { data_only: true } }).unwrap();
            std::thread::scope(|scope| {
                scope.spawn(move || {
                    std::thread::sleep(Duration::from_millis(30));
                    writer.write_all(b"late").unwrap();
                });
                world.engine.drain();
            });
            assert_eq!(&piped[..4], b"late");
            let mut done = [(); 3].map(|()| world.engine.reap().unwrap());
            done.sort_by_key(|done| done.id);
            assert_eq!(done.map(|done| done.result), [4, 8, 0]);
            assert_eq!(world.engine.reap(), None);
        });
    }

    #[test]
    fn nothing_is_written_after_the_engine_is_gone() {
        both(|world| {
            let (reader, mut writer) = pipe();
            let mut buf = [0; 8];
            let mut other = World::told_by(if world.is_told_by_signal() { Notify::Signal } else { Notify::Thread });
            other.engine.start(1, read(reader.as_raw_fd(), &mut buf, 0)).unwrap();
            std::thread::sleep(Duration::from_millis(50)); // so that it is under way, and not queued
            std::thread::scope(|scope| {
                scope.spawn(move || {
                    std::thread::sleep(Duration::from_millis(30));
                    writer.write_all(b"late").unwrap();
                });
                drop(other);
                assert_eq!(&buf[..4], b"late", "the end of the engine waited for it");
            });
            // And the place can be used again.
            let scratch = Scratch::of_blocks(1);
            assert_eq!(world.run(read(scratch.fd(), &mut [0; 8], 0)), 8);
        });
    }

    #[test]
    fn a_queued_write_does_not_follow_a_number_that_is_given_out_again() {
        if !alone("a_queued_write_does_not_follow_a_number_that_is_given_out_again") {
            return;
        }
        for in_flight in [1, 64] {
            let threads = 1; // one reader of a pipe keeps the library busy
            let mut world = World::new(AioSettings { in_flight, threads, ..AioSettings::default() });
            let (reader, mut writer) = pipe();
            let mut buf = [0; 8];
            world.engine.start(1, read(reader.as_raw_fd(), &mut buf, 0)).unwrap();
            let (first, second) = (Scratch::new(false), Scratch::new(false));
            let number = first.fd();
            for id in 2..12 {
                world.engine.start(id, write(number, b"x", id as i64 - 2)).unwrap();
            }
            // SAFETY: both numbers belong to this test; the first file's is closed, and the second's put in its place.
            assert_eq!(unsafe { libc::dup2(second.fd(), number) }, number);
            writer.write_all(b"go").unwrap();
            for _ in 1..12 {
                assert!(world.next().result > 0);
            }
            assert_eq!(std::fs::read(&first.path).unwrap(), b"xxxxxxxxxx");
            assert_eq!(std::fs::read(&second.path).unwrap(), b"");
        }
    }

    fn open_descriptors() -> usize {
        std::fs::read_dir("/proc/self/fd").unwrap().count()
    }

    #[test]
    fn the_programs_record_locks_and_descriptors_are_as_before() {
        if !alone("the_programs_record_locks_and_descriptors_are_as_before") {
            return;
        }
        let scratch = Scratch::of_blocks(4);
        let mut world = World::told_by(Notify::Signal);
        read_blocks(&mut world, 300);
        let before = open_descriptors();
        // SAFETY: all zero is a valid flock, from the start of the file to its end.
        let mut lock: libc::flock = unsafe { core::mem::zeroed() };
        lock.l_type = libc::F_WRLCK as i16;
        // SAFETY: `lock` is valid.
        assert_eq!(unsafe { libc::fcntl(scratch.fd(), libc::F_SETLK, &lock) }, 0);
        let mut buf = [0; 8];
        for _ in 0..50 {
            assert_eq!(world.run(read(scratch.fd(), &mut buf, 0)), 8);
        }
        assert!(aio::record_locked(scratch.fd()), "the lock is still there");
        assert!(open_descriptors() <= before + 1, "the descriptor is used again");
        lock.l_type = libc::F_UNLCK as i16;
        // SAFETY: `lock` is valid.
        assert_eq!(unsafe { libc::fcntl(scratch.fd(), libc::F_SETLK, &lock) }, 0);
        assert_eq!(world.run(read(scratch.fd(), &mut buf, 0)), 8);
        assert_eq!(world.run(read(scratch.fd(), &mut buf, 0)), 8);
        assert_eq!(open_descriptors(), before);
    }

    #[test]
    fn without_descriptors_a_job_is_refused() {
        if alone("without_descriptors_a_job_is_refused") {
            let scratch = Scratch::of_blocks(4);
            let mut world = World::told_by(Notify::Signal);
            let mut buffers = vec![[0_u8; 8]; 300];
            let limit = libc::rlimit { rlim_cur: 40, rlim_max: 40 };
            // SAFETY: `limit` is valid.
            assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
            let mut accepted = 0;
            for (id, buf) in buffers.iter_mut().enumerate() {
                match world.engine.start(id as u64, read(scratch.fd(), buf, 0)) {
                    Ok(()) => accepted += 1,
                    Err(status) => assert_eq!(status.code(), -libc::EMFILE),
                }
            }
            assert!(accepted > 0);
            for _ in 0..accepted {
                assert_eq!(world.next().result, 8);
            }
            assert_eq!(world.engine.reap(), None);
        }
    }

    #[test]
    fn a_child_of_fork_is_served_and_its_parent_not_disturbed() {
        if !alone("a_child_of_fork_is_served_and_its_parent_not_disturbed") {
            return;
        }
        let scratch = Scratch::of_blocks(64);
        let mut world = World::told_by(Notify::Signal);
        let mut other = World::told_by(Notify::Thread);
        read_blocks(&mut world, 100); // leaves idle threads behind
        let (reader, mut writer) = pipe();
        let mut buf = [0; 8];
        world.engine.start(1, read(reader.as_raw_fd(), &mut buf, 0)).unwrap();
        // SAFETY: the child does what a program would, and leaves by _exit.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: ends the child if it hangs, and at its end.
            unsafe { libc::alarm(20) };
            drop(other); // without after_fork
            world.engine.after_fork(-1).unwrap();
            let nothing = world.engine.reap().is_none();
            let served = (0..50).all(|_| world.run(read(scratch.fd(), &mut [0; 8], 0)) == 8);
            let mut fresh = World::told_by(Notify::Signal);
            let fresh = fresh.run(read(scratch.fd(), &mut [0; 8], 0)) == 8;
            drop(world);
            // SAFETY: no destructor of the harness is to run here.
            unsafe { libc::_exit(if nothing && served && fresh { 0 } else { 1 }) };
        }
        let mut status = -1;
        // SAFETY: `status` is valid to write to.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert_eq!(status, 0);
        writer.write_all(b"mine").unwrap();
        assert_eq!(world.next(), Done::new(1, 4));
        read_blocks(&mut world, 100);
        read_blocks(&mut other, 100);
    }
}
