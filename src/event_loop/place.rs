//! The process-wide table of loops, and all of a loop that other threads and signal handlers may touch.
//!
//! Contract:
//! 1. A place holds one loop at a time; `live` is that loop's handle, 0 when there is none.
//! 2. Only the owner, named in the page that a fork wipes, follows `pointer`.
//! 3. What other threads do: [`Place::post`], [`Place::wake`], [`Place::stop`]. The last two, and [`Place::raise`], take no
//!    lock and allocate nothing, so signal handlers may call them.
//! 4. A wake-up descriptor is written to under a pin. Closing a loop first ends `live` and then waits for the pins, so a late
//!    wake never writes into a number that was given out again.
//! 5. Wake-ups: `RUNNING` while the loop is at work, `ASLEEP` while it waits or nobody runs it, `NOTIFIED` when there is
//!    news. Who makes news first puts it where it belongs, then swaps `NOTIFIED` in, and writes to the descriptor only when it
//!    finds `ASLEEP`. The loop swaps `RUNNING` in before it looks for news. So none is lost, and a loop that is at work costs
//!    its posters no system call.

use super::Loop;
use super::callback::gyre_post_cb;
use crate::status::{Result, Status};
use crate::sys::memory::{UserData, reserve};
use crate::sys::{fork, signal, thread, wakeup};
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A function to be run on the loop's thread.
#[derive(Clone, Copy)]
pub struct Post {
    /// What to run; never `None` once accepted.
    pub callback: gyre_post_cb,
    /// What to run it with.
    pub user_data: UserData,
}

/// The posts that the loop has not taken yet.
pub struct Posts {
    /// In order of acceptance.
    pub waiting: Vec<Post>,
    /// How many may wait.
    pub capacity: usize,
}

/// One place in the table.
#[repr(align(128))] // two cache lines: neighbours do not slow each other down
pub struct Place {
    live: AtomicU64,
    pointer: AtomicPtr<Loop>,
    state: AtomicU8,
    stop: AtomicBool,
    /// Whether the loop is being closed; changes under the lock of `posts`.
    closing: AtomicBool,
    pins: AtomicU32,
    wake_fd: AtomicI32,
    /// The owner once more, not wiped by a fork: a child tells by it whether it is the owner's own copy.
    owner_before_fork: AtomicUsize,
    raised: AtomicU64,
    raise_counts: [AtomicU32; signal::LIMIT],
    posts: Mutex<Posts>,
    generations: Mutex<Vec<u32>>,
}

const ASLEEP: u8 = 0;
const RUNNING: u8 = 1;
const NOTIFIED: u8 = 2;

/// How many places there are; the first belongs to what is in no loop.
pub const PLACES: usize = 256;

static TABLE: [Place; PLACES] = [const { Place::new() }; PLACES];

/// The place with this number.
#[inline]
pub fn place(number: u8) -> &'static Place {
    #[expect(clippy::indexing_slicing, reason = "a u8 is always below the table's 256 entries")]
    &TABLE[usize::from(number)]
}

/// Takes a place that is free: the 256th loop is `GYRE_EFULL`.
pub fn reserve_place() -> Result<u8> {
    let taken = |place: &Place| place.live.compare_exchange(0, RESERVED, SeqCst, Relaxed).is_ok();
    (1..=u8::MAX).find(|number| taken(place(*number))).ok_or(Status::EFULL)
}

/// What `live` holds between reservation and publication: no handle has generation 0.
const RESERVED: u64 = 1;

/// Every place that holds a loop.
pub fn live_places() -> impl Iterator<Item = &'static Place> {
    TABLE.iter().filter(|place| place.is_live())
}

/// The places of the loops that the calling thread owns.
pub fn owned_places() -> impl Iterator<Item = u8> {
    (1..=u8::MAX).filter(|number| is_owner(*number))
}

#[inline]
fn owner_word(number: u8) -> &'static AtomicUsize {
    #[expect(clippy::indexing_slicing, reason = "a u8 is always below the page's 256 words")]
    &fork::wiped().owner[usize::from(number)]
}

#[inline]
fn ours_word(number: u8) -> &'static AtomicUsize {
    #[expect(clippy::indexing_slicing, reason = "a u8 is always below the page's 256 words")]
    &fork::wiped().ours[usize::from(number)]
}

/// Whether the calling thread owns the loop in this place, in this process.
#[inline]
pub fn is_owner(number: u8) -> bool {
    owner_word(number).load(Relaxed) == thread::current()
}

impl Place {
    const fn new() -> Place {
        Place {
            live: AtomicU64::new(0),
            pointer: AtomicPtr::new(core::ptr::null_mut()),
            state: AtomicU8::new(ASLEEP),
            stop: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            pins: AtomicU32::new(0),
            wake_fd: AtomicI32::new(-1),
            owner_before_fork: AtomicUsize::new(0),
            raised: AtomicU64::new(0),
            raise_counts: [const { AtomicU32::new(0) }; signal::LIMIT],
            posts: Mutex::new(Posts { waiting: Vec::new(), capacity: 0 }),
            generations: Mutex::new(Vec::new()),
        }
    }

    /// The posts, locked.
    pub fn posts(&self) -> MutexGuard<'_, Posts> {
        self.posts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The generations that the loops of this place have left behind, to be taken and put back.
    pub fn generations(&self) -> MutexGuard<'_, Vec<u32>> {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The handle of the loop that lives here, or what is no handle.
    #[inline]
    pub fn live(&self) -> u64 {
        self.live.load(Acquire)
    }

    /// Whether a loop lives here, whichever.
    pub fn is_live(&self) -> bool {
        !matches!(self.live(), 0 | RESERVED)
    }

    /// The loop that lives here; only the owner may follow the pointer.
    #[inline]
    pub fn pointer(&self) -> *mut Loop {
        self.pointer.load(Relaxed)
    }

    /// Makes a loop known: `bits` is its handle, the calling thread its owner.
    pub fn publish(&self, number: u8, bits: u64, pointer: *mut Loop, wake_fd: i32, post_capacity: usize) {
        self.posts().capacity = post_capacity;
        self.closing.store(false, SeqCst);
        self.state.store(ASLEEP, SeqCst);
        self.stop.store(false, SeqCst);
        self.raised.store(0, SeqCst);
        self.wake_fd.store(wake_fd, SeqCst);
        self.pointer.store(pointer, Release);
        self.own(number);
        self.live.store(bits, SeqCst);
    }

    /// Gives the place up, before or after a loop lived here. No thread is left that could write to the wake-up descriptor.
    /// A place that is not to be used again stays taken.
    pub fn vacate(&self, number: u8, reusable: bool) {
        // In a child the threads that held pins are gone, and their pins stay.
        let forked = self.is_forked(number);
        self.live.store(RESERVED, SeqCst); // before `ours`, or a late caller would take the close for a fork
        owner_word(number).store(0, SeqCst);
        ours_word(number).store(0, SeqCst);
        self.pointer.store(core::ptr::null_mut(), SeqCst);
        if forked {
            self.pins.store(0, SeqCst);
        }
        while self.pins.load(SeqCst) != 0 {
            std::thread::yield_now();
        }
        self.wake_fd.store(-1, SeqCst);
        if reusable {
            self.live.store(0, SeqCst);
        }
    }

    /// Makes the calling thread the owner, after a fork or at open.
    pub fn own(&self, number: u8) {
        ours_word(number).store(1, SeqCst);
        self.owner_before_fork.store(thread::current(), Relaxed);
        owner_word(number).store(thread::current(), SeqCst);
    }

    /// Prepares the place for a child of fork: a wake-up descriptor of its own, and no pins.
    pub fn after_fork(&self, wake_fd: i32) {
        self.pins.store(0, SeqCst);
        self.wake_fd.store(wake_fd, SeqCst);
        self.state.store(NOTIFIED, SeqCst); // so that the next run looks at everything
    }

    /// Whether the calling thread, in the parent, owned the loop that a fork copied.
    pub fn was_owner(&self) -> bool {
        self.owner_before_fork.load(Relaxed) == thread::current()
    }

    /// From now on calls from other threads are `GYRE_ECLOSING`. What was posted before is in the queue.
    pub fn begin_closing(&self) {
        let _posts = self.posts();
        self.closing.store(true, SeqCst);
    }

    /// Checks a handle of the loop from any thread: `GYRE_EHANDLE`, `GYRE_EFORKED`, `GYRE_ECLOSING`.
    pub fn check(&self, number: u8, bits: u64) -> Result<()> {
        if bits == 0 || self.live() != bits {
            return Err(Status::EHANDLE);
        }
        if self.is_forked(number) {
            return Err(Status::EFORKED);
        }
        if self.live() != bits {
            return Err(Status::EHANDLE); // closed meanwhile
        }
        if self.closing.load(SeqCst) {
            return Err(Status::ECLOSING);
        }
        Ok(())
    }

    /// Whether a loop lives here and this process is a child that has not taken it over.
    pub fn is_forked(&self, number: u8) -> bool {
        let live = self.live();
        // The second look tells a fork from a close that happens meanwhile in another thread.
        !matches!(live, 0 | RESERVED) && ours_word(number).load(Acquire) == 0 && self.live() == live
    }

    /// Gives the loop up, for another thread to claim.
    pub fn release(&self, number: u8) {
        owner_word(number).store(0, Release);
    }

    /// Takes a loop that nobody owns; `-EBUSY` when another thread does.
    pub fn claim(&self, number: u8, bits: u64) -> Result<()> {
        let me = thread::current();
        match owner_word(number).compare_exchange(0, me, SeqCst, Relaxed) {
            Ok(_) if self.live() != bits => {
                // Closed, by a thread that claimed it first, since the handle was checked.
                owner_word(number).store(0, Release);
                Err(Status::EHANDLE)
            }
            Ok(_) => {
                self.owner_before_fork.store(me, Relaxed);
                Ok(())
            }
            Err(owner) if owner == me => Ok(()),
            Err(_) => Err(Status::EBUSY),
        }
    }

    /// Queues a function for the loop's thread. From any thread.
    pub fn post(&self, number: u8, bits: u64, post: Post) -> Result<()> {
        self.check(number, bits)?;
        if post.callback.is_none() {
            return Err(Status::EINVAL);
        }
        {
            let mut posts = self.posts();
            if self.live() != bits {
                return Err(Status::EHANDLE); // closed while this thread waited for the lock
            }
            if self.closing.load(SeqCst) {
                return Err(Status::ECLOSING);
            }
            if posts.waiting.len() >= posts.capacity {
                return Err(Status::EFULL);
            }
            reserve(&mut posts.waiting, 1)?;
            posts.waiting.push(post);
        }
        self.notify(bits);
        Ok(())
    }

    /// Ends the loop's wait, or its next one. From any thread and from signal handlers.
    pub fn wake(&self, number: u8, bits: u64) -> Result<()> {
        self.check(number, bits)?;
        self.notify(bits);
        Ok(())
    }

    /// Ends the loop's run, or its next one. From any thread and from signal handlers.
    pub fn stop(&self, number: u8, bits: u64) -> Result<()> {
        self.check(number, bits)?;
        self.pins.fetch_add(1, SeqCst);
        if self.live.load(SeqCst) == bits {
            self.stop.store(true, SeqCst);
        }
        self.pins.fetch_sub(1, SeqCst);
        self.notify(bits);
        Ok(())
    }

    /// Counts a signal for the loop that lives here. From signal handlers.
    pub fn raise(&self, number: u8, signal: usize) {
        let bits = self.live();
        if self.check(number, bits).is_err() {
            return;
        }
        if let Some(count) = self.raise_counts.get(signal) {
            count.fetch_add(1, SeqCst);
            self.raised.fetch_or(signal_bit(signal), SeqCst);
            self.notify(bits);
        }
    }

    /// Takes the set of signals that were raised.
    pub fn take_raised(&self) -> u64 {
        if self.raised.load(Relaxed) == 0 { 0 } else { self.raised.swap(0, SeqCst) }
    }

    /// How often a signal was raised since the process began; wraps.
    pub fn raise_count(&self, signal: usize) -> u32 {
        self.raise_counts.get(signal).map_or(0, |count| count.load(SeqCst))
    }

    /// Tells the loop that lives here that an engine has done something. From any thread and from signal handlers.
    pub fn wake_for_engine(number: u8) {
        let here = place(number);
        let bits = here.live();
        if here.is_live() && !here.is_forked(number) {
            here.notify(bits);
        }
    }

    fn notify(&self, bits: u64) {
        if self.state.swap(NOTIFIED, SeqCst) == ASLEEP {
            self.pins.fetch_add(1, SeqCst);
            if self.live.load(SeqCst) == bits {
                wakeup::signal(self.wake_fd.load(Relaxed));
            }
            self.pins.fetch_sub(1, SeqCst);
        }
    }

    /// The loop is at work. Returns whether there was news.
    pub fn begin_work(&self) -> bool {
        // A turn that did not sleep finds RUNNING nearly always, and then a load is enough.
        self.state.load(Acquire) != RUNNING && self.state.swap(RUNNING, SeqCst) == NOTIFIED
    }

    /// The loop wants to sleep. Returns whether it may: not when there is news.
    pub fn begin_sleep(&self) -> bool {
        self.state.compare_exchange(RUNNING, ASLEEP, SeqCst, Relaxed).is_ok()
    }

    /// Nobody runs the loop any more. Returns whether there is news; then the wake-up descriptor is readable, for a host
    /// that waits on the loop's descriptor.
    pub fn end_work(&self) -> bool {
        let news = self.state.swap(ASLEEP, SeqCst) == NOTIFIED;
        if news {
            wakeup::signal(self.wake_fd.load(Relaxed));
        }
        news
    }

    /// Whether there is news that the loop has not looked at.
    pub fn has_news(&self) -> bool {
        self.state.load(SeqCst) == NOTIFIED
    }

    /// Takes the request to stop.
    #[inline]
    pub fn take_stop(&self) -> bool {
        self.stop.load(Acquire) && self.stop.swap(false, SeqCst)
    }
}

/// The bit of a signal in a set; signal 64 is bit 0.
pub const fn signal_bit(number: usize) -> u64 {
    1 << (number % 64)
}

/// A signal of a set.
pub const fn first_signal(set: u64) -> Option<usize> {
    match set.trailing_zeros() {
        64 => None,
        0 => Some(64),
        bit => Some(bit as usize),
    }
}
