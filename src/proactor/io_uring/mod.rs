//! The io_uring engine: the kernel carries out the I/O by itself, and one system call a turn hands over and takes back
//! all of it, and waits (io_uring(7)).
//!
//! Called by the loop through [`Engine`]; calls the crate `io-uring`, which maps the rings and fills in their
//! entries. It owns the ring, and the identities of the jobs that the kernel has.
//!
//! | file | what is in it |
//! |---|---|
//! | `mod.rs` | the engine: what waits, what the kernel has, what is done |
//! | `ring.rs` | one ring, and what this kernel can do |
//! | `entry.rs` | jobs as the kernel takes them |
//! | `buffers.rs` | the buffers that the kernel receives into |
//!
//! A job's way:
//!
//! ```text
//!   start -> waiting -- submit --> flying -- harvest --> done -> reap
//! ```
//!
//! Contract, besides E1 to E8:
//! 1. An entry stays in `waiting` until the kernel has said that it took it; so nothing is lost when the queue is
//!    full, the kernel takes less than was offered, or the ring is made anew.
//! 2. Completions carry the job's id. One that is not in `flying` (the answer to a cancel, for one) is dropped.
//! 3. No more jobs on files are in the kernel than the completion queue holds; the rest waits. Operations on sockets may
//!    be more: most of them wait for a peer, and the kernel keeps what does not fit.
//! 4. The ring is made for the first job: a loop without operations has none. One with deferred task work belongs to
//!    the thread that made it; another thread gets a new one, and it can, since a loop changes hands only without
//!    jobs in flight.
//! 5. A loop that can wait in the ring does ([`Engine::wait`]): the ring watches the demultiplexer's descriptor by a
//!    one-shot poll, which stays until it reports. For other waits the loop's wake-up descriptor is registered with the
//!    ring; the kernel writes to it only while the loop may sleep: from `submit` without a result to the next `reap`.
//! 6. A child of fork has neither the ring's memory nor, once the engine is made usable or dropped, its descriptor.
//!
//! When a ring ends, the kernel later interrupts the thread that used it, once: epoll_wait(2) there is `-EINTR`
//! without a signal ([`ring_interrupts`]).
//!
//! Start reading at `impl Engine for Uring`.

mod buffers;
mod entry;
mod ring;

#[cfg(test)]
mod tests;

use self::buffers::BufferRing;
use self::ring::{Abilities, COMPLETIONS, Mode, Ring, SUBMISSIONS, probe};
use super::{Cancel, Done, Engine, Job, NO_BUFFER, Settings, Transfer};
use crate::status::{Result, Status};
use core::hash::{BuildHasherDefault, Hasher};
use io_uring::squeue::{Entry, Flags};
use io_uring::{cqueue, opcode, types};
use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsRawFd, RawFd};

pub use self::ring::{ring_has_ended, ring_interrupts, unavailable};

/// The user data of requests to cancel. No job's id: these have a generation, which is never 0, in the upper half.
const CANCEL: u64 = 1;

/// The user data of the polls of the demultiplexer's descriptor, one after the other.
const WATCHES: core::ops::RangeInclusive<u64> = 2..=0xffff_ffff;

fn is_job(entry: &Entry) -> bool {
    entry.get_user_data() > *WATCHES.end()
}

/// What a job that the kernel has is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Socket,
}

/// Spreads ids, which are numbers already: the hash of the standard library would cost more than the rest of `harvest`.
#[derive(Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(self.0 ^ u64::from(*byte)));
    }

    fn write_u64(&mut self, id: u64) {
        self.0 = id.wrapping_mul(0x9e37_79b9_7f4a_7c15); // 2^64 / golden ratio (Knuth, TAOCP 6.4)
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// A buffer that the kernel has. The address is a number here, for nobody on this side follows it.
#[derive(Clone, Copy)]
struct Lent {
    address: usize,
    len: usize,
}

pub struct Uring {
    ring: Option<Ring>,
    abilities: Abilities,
    /// Jobs on files beyond those that may be in the kernel.
    backlog: VecDeque<Entry>,
    /// Jobs, polls and requests to cancel that the kernel has not taken.
    waiting: VecDeque<Entry>,
    /// How many of them are jobs on files.
    waiting_files: usize,
    /// How many of them, from the front, stand in the submission queue.
    offered: usize,
    /// The jobs that the kernel has.
    flying: HashMap<u64, Kind, BuildHasherDefault<Spread>>,
    /// How many of them are on files.
    flying_files: usize,
    /// Jobs that are done. It has room for the last completion of each job that was started; so has `flying`.
    done: VecDeque<Done>,
    /// How many jobs on files may be in the kernel.
    limit: usize,
    sizes: (u32, u32),
    /// The user data of the poll of the demultiplexer's descriptor.
    watch: u64,
    /// Whether the kernel has that poll.
    watching: bool,
    /// The buffers that the kernel receives into, and what each of them is while the kernel has it.
    buffers: Option<BufferRing>,
    lent: Vec<Option<Lent>>,
    settings: Settings,
}

impl Uring {
    /// Makes the engine, or says `GYRE_EUNSUPPORTED`; then [`unavailable`] has the reason.
    pub fn new(settings: &Settings) -> Result<Uring> {
        Ok(Uring::with(settings, probe()?, (SUBMISSIONS, COMPLETIONS)))
    }

    fn with(settings: &Settings, abilities: Abilities, sizes: (u32, u32)) -> Uring {
        Uring {
            ring: None,
            abilities,
            backlog: VecDeque::new(),
            waiting: VecDeque::new(),
            waiting_files: 0,
            offered: 0,
            flying: HashMap::default(),
            flying_files: 0,
            done: VecDeque::new(),
            limit: sizes.1 as usize,
            sizes,
            watch: *WATCHES.start(),
            watching: false,
            buffers: None,
            lent: Vec::new(),
            settings: *settings,
        }
    }

    /// Sees to it that there is a ring, and that it is the calling thread's.
    fn own_ring(&mut self) -> Result<()> {
        if self.flying.is_empty() && self.ring.as_ref().is_none_or(Ring::is_foreign) {
            self.make_ring()?;
        }
        Ok(())
    }

    /// Makes the ring, also anew; no job is in the kernel.
    fn make_ring(&mut self) -> Result<()> {
        let ring = Ring::new(self.abilities.mode, self.sizes, self.settings.wake_fd)?;
        if let Some(buffers) = &mut self.buffers {
            buffers.clear();
            buffers.register(&ring)?;
            for (index, buffer) in (0..=u16::MAX).zip(&self.lent) {
                if let Some(Lent { address, len }) = *buffer {
                    buffers.push(index, address, len);
                }
            }
        }
        self.ring = Some(ring);
        self.offered = 0;
        self.next_watch();
        Ok(())
    }

    /// Another number for the next poll of the demultiplexer's descriptor: what the old one may still report is not it.
    fn next_watch(&mut self) {
        self.watching = false;
        self.watch = if self.watch == *WATCHES.end() { *WATCHES.start() } else { self.watch.wrapping_add(1) };
    }

    /// Puts an entry among those that wait, with room for what may have to follow it: requests to cancel what is in
    /// flight, and a poll.
    fn add(&mut self, id: u64, entry: Entry) -> Result<()> {
        self.own_ring()?;
        let room = self.in_flight().saturating_add(1);
        self.backlog.try_reserve(1).map_err(|_| Status::ENOMEM)?;
        self.waiting.try_reserve(room.saturating_add(2)).map_err(|_| Status::ENOMEM)?;
        self.flying.try_reserve(room.saturating_sub(self.flying.len())).map_err(|_| Status::ENOMEM)?;
        self.done.try_reserve(room.saturating_sub(self.done.len())).map_err(|_| Status::ENOMEM)?;
        let queue = if kind_of(&entry) == Kind::File { &mut self.backlog } else { &mut self.waiting };
        queue.push_back(entry.user_data(id));
        Ok(())
    }

    /// Puts into the submission queue what fits. Returns whether something stands in it.
    fn offer(&mut self) -> bool {
        let Some(ring) = &mut self.ring else { return false };
        while self.flying_files.saturating_add(self.waiting_files) < self.limit
            && let Some(entry) = self.backlog.pop_front()
        {
            self.waiting.push_back(entry); // within the capacity that `add` reserved
            self.waiting_files = self.waiting_files.saturating_add(1);
        }
        let mut limited = None;
        let mut queue = ring.uring.submission();
        for entry in self.waiting.iter().skip(self.offered) {
            let mut entry = entry.clone();
            if matches!(entry.get_opcode() as u8, opcode::Write::CODE | opcode::Writev::CODE)
                && *limited.get_or_insert_with(entry::file_size_is_limited)
            {
                // Past RLIMIT_FSIZE the writing thread gets SIGXFSZ: let it be one of the kernel's, which blocks
                // signals.
                entry = entry.flags(Flags::ASYNC);
            }
            // SAFETY: what the entry points to is lent until its completion (P2).
            if unsafe { queue.push(&entry) }.is_err() {
                break;
            }
            self.offered = self.offered.saturating_add(1);
        }
        self.offered > 0
    }

    /// Enters the kernel once, and takes note of what it took and what it has done. Returns whether it took all it was
    /// offered.
    fn enter(&mut self, call: impl FnOnce(&mut Ring) -> Result<usize>) -> bool {
        let Some(ring) = &mut self.ring else { return false };
        let mut all = true;
        match call(ring) {
            Ok(taken) => {
                all = taken >= self.offered;
                self.note_taken(taken);
            }
            // Memory is short, completions are to be taken first, a signal came, or the time is over: again, later.
            Err(Status::EAGAIN | Status::EBUSY | Status::EINTR | Status::ETIME) => all = false,
            Err(status) => self.give_up(status),
        }
        self.harvest();
        all
    }

    fn note_taken(&mut self, taken: usize) {
        for entry in self.waiting.drain(..taken.min(self.waiting.len())) {
            if is_job(&entry) {
                let kind = kind_of(&entry);
                let files = usize::from(kind == Kind::File);
                self.waiting_files = self.waiting_files.saturating_sub(files);
                self.flying_files = self.flying_files.saturating_add(files);
                self.flying.insert(entry.get_user_data(), kind);
            }
        }
        self.offered = self.offered.saturating_sub(taken);
    }

    /// The ring is of no use any more. EEXIST: the thread that made it has ended, and another one has its number;
    /// then only the ring is lost, unless that thread left jobs in the kernel, which it may not. Everything else: the
    /// host closed the descriptor beneath it, or forbade the call. The jobs that are lost are done, with the status.
    #[cold]
    fn give_up(&mut self, status: Status) {
        self.harvest();
        let stolen = status == Status::EEXIST;
        let result = i64::from(if stolen { Status::ECANCELED } else { status }.code());
        self.done.extend(self.flying.drain().map(|(id, _)| Done::new(id, result)));
        self.flying_files = 0;
        if stolen && self.make_ring().is_ok() {
            return;
        }
        let ring = self.ring.take();
        if matches!(status, Status::EBADF | Status::EOPNOTSUPP) {
            // The number is closed, or another file's: a ring that stays mapped is better than a close of the host's
            // file.
            core::mem::forget(ring);
        }
        self.offered = 0;
        self.waiting_files = 0;
        let jobs =
            self.waiting.drain(..).chain(self.backlog.drain(..)).filter(is_job).map(|entry| entry.get_user_data());
        self.done.extend(jobs.map(|id| Done::new(id, result)));
        self.next_watch();
    }

    /// Takes what is in the completion queue.
    fn harvest(&mut self) {
        let reserved = self.unfinished();
        let Some(ring) = &mut self.ring else { return };
        let mut queue = ring.uring.completion();
        // Completions of jobs that go on need room besides what is reserved. What there is none for stays where it is.
        let _ = self.done.try_reserve(reserved.saturating_add(queue.len()));
        let spare = self.done.capacity().saturating_sub(self.done.len()).saturating_sub(reserved);
        let room = spare.max(usize::from(self.done.is_empty()));
        for entry in queue.by_ref().take(room) {
            let (id, flags) = (entry.user_data(), entry.flags());
            let (more, buffer) = (cqueue::more(flags), cqueue::buffer_select(flags));
            if let Some(buffer) = buffer.and_then(|buffer| self.lent.get_mut(usize::from(buffer))) {
                *buffer = None;
            }
            if id == self.watch {
                self.watching = false;
            }
            match self.flying.get(&id) {
                None => continue,
                Some(_) if more => {}
                Some(kind) => {
                    self.flying_files = self.flying_files.saturating_sub(usize::from(*kind == Kind::File));
                    self.flying.remove(&id);
                }
            }
            let (result, buffer) = (entry::result_of(entry.result()), buffer.map_or(NO_BUFFER, u32::from));
            self.done.push_back(Done { id, result, more, buffer });
        }
    }

    /// Hands over what waits, as far as there is room in the kernel.
    fn hand_over(&mut self) {
        while self.offer() && self.enter(|ring| ring.enter(0)) {}
    }

    /// Has the kernel asked to cancel a job.
    fn ask_back(&mut self, id: u64) -> Cancel {
        if self.waiting.try_reserve(1).is_ok() {
            self.waiting.push_back(opcode::AsyncCancel::new(id).build().user_data(CANCEL));
        } // without memory the request is not made, and the job comes with its result
        Cancel::Comes
    }

    /// Asks for the jobs of some kind back.
    fn ask_all_back(&mut self, which: impl Fn(Kind) -> bool) {
        for (id, kind) in &self.flying {
            if which(*kind) && self.waiting.try_reserve(1).is_ok() {
                self.waiting.push_back(opcode::AsyncCancel::new(*id).build().user_data(CANCEL));
            }
        }
    }

    /// How many jobs were started and not reaped, at most.
    fn in_flight(&self) -> usize {
        self.unfinished().saturating_add(self.done.len())
    }

    /// How many jobs were started and are not done, at most.
    fn unfinished(&self) -> usize {
        self.backlog.len().saturating_add(self.waiting.len()).saturating_add(self.flying.len())
    }
}

fn kind_of(entry: &Entry) -> Kind {
    match entry.get_opcode() as u8 {
        opcode::Read::CODE | opcode::Write::CODE | opcode::Readv::CODE | opcode::Writev::CODE | opcode::Fsync::CODE => {
            Kind::File
        }
        _ => Kind::Socket,
    }
}

impl Engine for Uring {
    fn start(&mut self, id: u64, job: Job) -> Result<()> {
        self.add(id, entry::of_job(&job))
    }

    fn takes_sockets(&self) -> bool {
        self.abilities.sockets && self.settings.sockets
    }

    fn start_transfer(&mut self, id: u64, fd: RawFd, transfer: &Transfer) -> Result<()> {
        self.add(id, entry::of_transfer(fd, transfer))
    }

    fn lend(&mut self, index: u16, buf: *mut u8, len: usize) -> Result<()> {
        self.own_ring()?;
        let at = usize::from(index);
        if at >= self.lent.len() {
            self.lent.try_reserve(at.saturating_add(1)).map_err(|_| Status::ENOMEM)?;
            self.lent.resize(at.saturating_add(1), None);
        }
        if self.buffers.is_none() {
            let buffers = BufferRing::new(self.settings.buffer_count.saturating_mul(2))?; // see `event_loop/buffers.rs`
            if let Some(ring) = &self.ring {
                buffers.register(ring)?;
            }
            self.buffers = Some(buffers);
        }
        if let (Some(buffers), Some(lent)) = (&mut self.buffers, self.lent.get_mut(at)) {
            if !buffers.has_room_for(index) {
                return Err(Status::EINVAL);
            }
            let address = buf.expose_provenance();
            *lent = Some(Lent { address, len });
            buffers.push(index, address, len);
        }
        Ok(())
    }

    fn submit(&mut self) {
        self.hand_over();
        if self.done.is_empty()
            && !self.flying.is_empty()
            && let Some(ring) = &mut self.ring
        {
            ring.listen(true);
            // Off x86-64 the kernel's note that it holds something back may become visible after its look at
            // `listen`; a call is certain.
            if ring.holds_back() || cfg!(not(target_arch = "x86_64")) {
                self.enter(|ring| ring.enter(0));
            } else {
                self.harvest();
            }
        }
        let stuck = self.flying.is_empty() && self.unfinished() > 0; // for want of memory: to be tried again
        if stuck || !self.done.is_empty() {
            (self.settings.wake)(self.settings.place);
        }
    }

    fn wants_to_wait(&self) -> bool {
        self.abilities.sockets && self.unfinished() > 0
    }

    fn wait(&mut self, timeout_ns: u64, descriptor: RawFd) -> bool {
        if let Some(ring) = &mut self.ring {
            ring.listen(false); // a foreign wait may have been prepared before
        }
        if timeout_ns > 0 && !self.watching && self.waiting.try_reserve(1).is_ok() {
            let poll = opcode::PollAdd::new(types::Fd(descriptor), libc::POLLIN as u32).build();
            self.waiting.push_back(poll.user_data(self.watch));
            self.watching = true;
        }
        while self.offer() && self.offered < self.waiting.len() && self.enter(|ring| ring.enter(0)) {}
        self.harvest();
        let timeout_ns = if self.done.is_empty() && self.watching { timeout_ns } else { 0 };
        if timeout_ns > 0 {
            self.enter(|ring| ring.enter_for(timeout_ns));
        } else if self.offered > 0 || self.ring.as_mut().is_some_and(Ring::holds_back) {
            self.enter(|ring| ring.enter(0));
        }
        !self.watching
    }

    fn unwatch(&mut self) {
        if self.watching && self.waiting.try_reserve(1).is_ok() {
            self.waiting.push_back(opcode::PollRemove::new(self.watch).build().user_data(CANCEL));
        } // without memory it reports once more, to nobody
        self.next_watch();
    }

    fn cancel(&mut self, id: u64) -> Cancel {
        if self.flying.contains_key(&id) {
            return self.ask_back(id);
        }
        // From the back, since the loop cancels in that order.
        match self.waiting.iter().rposition(|entry| entry.get_user_data() == id) {
            Some(index) if index >= self.offered => {
                let files = self.waiting.remove(index).is_some_and(|entry| kind_of(&entry) == Kind::File);
                self.waiting_files = self.waiting_files.saturating_sub(usize::from(files));
                Cancel::Dropped
            }
            // It stands in the submission queue, and the request behind it.
            Some(_) => self.ask_back(id),
            None => match self.backlog.iter().rposition(|entry| entry.get_user_data() == id) {
                Some(index) => {
                    self.backlog.remove(index);
                    Cancel::Dropped
                }
                None => Cancel::Comes,
            },
        }
    }

    fn ready(&mut self) -> usize {
        if self.done.is_empty() && !self.flying.is_empty() {
            if let Some(ring) = &mut self.ring {
                ring.listen(false);
            }
            self.harvest();
            if self.done.is_empty() && self.ring.as_mut().is_some_and(Ring::holds_back) {
                self.enter(|ring| ring.enter(0));
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

    fn drain(&mut self) {
        loop {
            self.hand_over();
            self.harvest();
            if !self.done.is_empty() || self.unfinished() == 0 {
                return;
            }
            self.enter(|ring| ring.enter(1));
        }
    }

    fn is_bound_to_thread(&self) -> bool {
        self.abilities.mode == Mode::Deferred && self.ring.is_some()
    }

    fn leave_thread(&mut self) {
        self.hand_over();
        self.ask_all_back(|_| true);
        loop {
            self.hand_over();
            if self.unfinished() == 0 {
                return;
            }
            let had = self.done.len();
            self.enter(|ring| ring.enter(1));
            let is_left = self.ring.as_mut().is_some_and(|ring| !ring.uring.completion().is_empty());
            if is_left && had == self.done.len() {
                return; // no memory for what there is
            }
        }
    }

    fn after_fork(&mut self, wake_fd: RawFd) -> Result<()> {
        let settings = Settings { wake_fd, ..self.settings };
        *self = Uring::with(&settings, self.abilities, self.sizes); // drops the old one, which sees where it is
        Ok(())
    }

    fn owns(&self, fd: RawFd) -> bool {
        self.ring.as_ref().is_some_and(|ring| ring.uring.as_raw_fd() == fd)
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        if self.ring.as_ref().is_none_or(Ring::is_inherited) {
            return;
        }
        self.hand_over();
        self.ask_all_back(|kind| kind == Kind::Socket); // files end by themselves
        while self.unfinished() > 0 {
            self.drain();
            self.done.clear();
        }
    }
}
