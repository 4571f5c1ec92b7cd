//! What happens around a fork of the process: every lock of gyre's is taken before it and given back after it, in parent
//! and child, so that a child never finds one that a thread holds which does not exist there.

use super::place::{Posts, live_places};
use super::{children, signals};
use crate::status::Result;
use crate::sys::fork;
use crate::sys::memory::reserve;
use core::cell::RefCell;
use std::sync::MutexGuard;

/// The locks that a fork in this thread holds.
struct Held {
    signals: Option<MutexGuard<'static, signals::Registry>>,
    children: Option<MutexGuard<'static, children::Table>>,
    posts: Vec<MutexGuard<'static, Posts>>,
}

thread_local! {
    /// Used around forks only, so its cost is no matter.
    static HELD: RefCell<Held> = const { RefCell::new(Held { signals: None, children: None, posts: Vec::new() }) };
}

extern "C" fn take_locks() {
    // A thread that forks while it ends has no thread-locals any more; it forks without the locks.
    let _ = HELD.try_with(|held| {
        let Ok(mut held) = held.try_borrow_mut() else { return };
        held.signals = Some(signals::lock_registry());
        held.children = Some(children::lock_table());
        for place in live_places() {
            if reserve(&mut held.posts, 1).is_ok() {
                held.posts.push(place.posts());
            }
        }
    });
}

extern "C" fn give_locks_back() {
    let _ = HELD.try_with(|held| {
        let Ok(mut held) = held.try_borrow_mut() else { return };
        held.posts.clear();
        held.children = None;
        held.signals = None;
    });
}

/// Prepares the process, once.
pub fn init() -> Result<()> {
    fork::init()?;
    fork::around(take_locks, give_locks_back)
}
