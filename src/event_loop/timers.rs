//! Timers: a 4-ary heap of deadlines, indexed by slot.
//!
//! A timer is in one of three states: not armed; in the heap; or due, taken out of the heap by the present turn and about
//! to be called. Nodes are 16 bytes, four children share a cache line, and `positions` finds a timer's node, so stopping
//! and re-arming need no search and leave nothing behind.
//!
//! Contract:
//! 1. A timer never fires before its deadline; the order is by deadline, then by arming.
//! 2. A turn takes at most [`DUE_LIMIT`] timers, and none that is armed while it calls them.
//! 3. [`Heap::reserve`] is the only call that allocates; arming cannot fail.

use super::callback::gyre_timer_cb;
use crate::status::Result;
use crate::sys::clock::FOREVER;
use crate::sys::memory::reserve_to;

/// What a timer's slot holds; its deadline is in the heap.
pub struct Timer {
    /// What to call; never `None`.
    pub callback: gyre_timer_cb,
    /// Nanoseconds between deadlines; 0 for once.
    pub period: u64,
    /// Whether it is in the heap or due.
    pub armed: bool,
    /// Whether it closes itself when its callback has left it unarmed.
    pub closes_itself: bool,
}

/// How many timers a turn calls at the most; the rest is due in the next turn, which does not wait.
const DUE_LIMIT: usize = 1024;

const ARITY: usize = 4;
const NOT_ARMED: u32 = u32::MAX;
const DUE: u32 = u32::MAX - 1;

/// A timer in the heap.
#[derive(Clone, Copy)]
pub struct Node {
    /// When it is to fire, in nanoseconds on the loop's clock.
    pub deadline: u64,
    /// The timer's slot.
    pub slot: u32,
    /// Counts armings, and wraps: it only orders timers of one deadline.
    armed_as: u32,
}

impl Node {
    #[inline]
    fn is_before(&self, other: &Node) -> bool {
        if self.deadline == other.deadline {
            (self.armed_as.wrapping_sub(other.armed_as) as i32) < 0
        } else {
            self.deadline < other.deadline
        }
    }
}

/// The armed timers of a loop.
pub struct Heap {
    nodes: Vec<Node>,
    /// By slot: the index in `nodes`, or [`DUE`], or [`NOT_ARMED`].
    positions: Vec<u32>,
    due: Vec<Node>,
    next_due: usize,
    armings: u32,
}

impl Heap {
    /// No timers.
    pub const fn new() -> Heap {
        Heap { nodes: Vec::new(), positions: Vec::new(), due: Vec::new(), next_due: 0, armings: 0 }
    }

    /// Makes room for `timers` timers in all, with slots up to `slot`.
    pub fn reserve(&mut self, timers: usize, slot: u32) -> Result<()> {
        reserve_to(&mut self.nodes, timers)?;
        if self.due.capacity() < DUE_LIMIT {
            reserve_to(&mut self.due, DUE_LIMIT)?;
        }
        let end = (slot as usize).saturating_add(1);
        if end > self.positions.len() {
            reserve_to(&mut self.positions, end)?;
            self.positions.resize(end, NOT_ARMED);
        }
        Ok(())
    }

    /// Arms the timer in `slot` anew; a deadline of [`FOREVER`] leaves it unarmed. Returns whether it is armed.
    #[inline]
    pub fn arm(&mut self, slot: u32, deadline: u64) -> bool {
        let position = self.position(slot);
        if deadline == FOREVER {
            self.disarm(slot);
            return false;
        }
        self.armings = self.armings.wrapping_add(1);
        let node = Node { deadline, slot, armed_as: self.armings };
        match self.nodes.get(position as usize) {
            Some(_) => self.sift(position as usize, node),
            None => {
                self.nodes.push(node); // within the capacity that `reserve` made
                self.sift_up(self.nodes.len().wrapping_sub(1), node);
            }
        }
        true
    }

    /// Takes a timer out.
    #[inline]
    pub fn disarm(&mut self, slot: u32) {
        let position = self.position(slot);
        self.set_position(slot, NOT_ARMED);
        if (position as usize) < self.nodes.len() {
            self.take(position as usize);
        }
    }

    /// The deadline of a timer in the heap; 0 for one that is due; `None` for one that is not armed.
    pub fn deadline(&self, slot: u32) -> Option<u64> {
        match self.position(slot) {
            NOT_ARMED => None,
            DUE => Some(0),
            position => self.nodes.get(position as usize).map(|node| node.deadline),
        }
    }

    /// The earliest deadline; 0 when timers are due, [`FOREVER`] when none is armed.
    #[inline]
    pub fn next_deadline(&self) -> u64 {
        if self.next_due < self.due.len() {
            return 0;
        }
        self.nodes.first().map_or(FOREVER, |node| node.deadline)
    }

    /// Whether no timer is armed.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty() && self.next_due >= self.due.len()
    }

    /// Takes the timers whose deadline is not after `now` out of the heap, for [`Heap::next_due`] to hand out. Does nothing
    /// while timers of an earlier call are still to be handed out.
    #[inline]
    pub fn collect_due(&mut self, now: u64) {
        if self.next_due < self.due.len() {
            return;
        }
        self.due.clear();
        self.next_due = 0;
        while let Some(first) = self.nodes.first().copied().filter(|first| first.deadline <= now) {
            if self.due.len() >= DUE_LIMIT {
                break;
            }
            self.take(0);
            self.set_position(first.slot, DUE);
            self.due.push(first); // within the capacity that `reserve` made
        }
    }

    /// The next timer to call, which is then not armed any more. What was stopped or re-armed meanwhile is left out.
    #[inline]
    pub fn next_due(&mut self) -> Option<Node> {
        while let Some(node) = self.due.get(self.next_due).copied() {
            self.next_due = self.next_due.wrapping_add(1);
            if self.position(node.slot) == DUE {
                self.set_position(node.slot, NOT_ARMED);
                return Some(node);
            }
        }
        None
    }

    #[inline]
    fn position(&self, slot: u32) -> u32 {
        self.positions.get(slot as usize).copied().unwrap_or(NOT_ARMED)
    }

    #[inline]
    fn set_position(&mut self, slot: u32, position: u32) {
        if let Some(stored) = self.positions.get_mut(slot as usize) {
            *stored = position;
        }
    }

    /// Removes the node at `position`: the last one takes its place.
    #[inline]
    fn take(&mut self, position: usize) {
        if let Some(last) = self.nodes.pop().filter(|_| position < self.nodes.len()) {
            self.sift(position, last);
        }
    }

    /// Puts `node` at `position`, or where it belongs from there.
    #[inline]
    fn sift(&mut self, position: usize, node: Node) {
        let parent = position.wrapping_sub(1) / ARITY;
        if position > 0 && self.nodes.get(parent).is_some_and(|parent| node.is_before(parent)) {
            self.sift_up(position, node);
        } else {
            self.sift_down(position, node);
        }
    }

    #[inline]
    fn sift_up(&mut self, mut hole: usize, node: Node) {
        while hole > 0 {
            let parent = hole.wrapping_sub(1) / ARITY;
            match self.nodes.get(parent).copied().filter(|parent| node.is_before(parent)) {
                Some(above) => self.put(hole, above),
                None => break,
            }
            hole = parent;
        }
        self.put(hole, node);
    }

    #[inline]
    fn sift_down(&mut self, mut hole: usize, node: Node) {
        loop {
            let first = hole.wrapping_mul(ARITY).wrapping_add(1);
            let children = self.nodes.get(first..).unwrap_or_default();
            let mut least: Option<(usize, Node)> = None;
            for (child, candidate) in (first..).zip(children.iter().take(ARITY)) {
                if least.is_none_or(|(_, best)| candidate.is_before(&best)) {
                    least = Some((child, *candidate));
                }
            }
            match least.filter(|(_, child)| child.is_before(&node)) {
                Some((child, below)) => {
                    self.put(hole, below);
                    hole = child;
                }
                None => break,
            }
        }
        self.put(hole, node);
    }

    #[inline]
    fn put(&mut self, position: usize, node: Node) {
        if let Some(stored) = self.nodes.get_mut(position) {
            *stored = node;
        }
        self.set_position(node.slot, position as u32);
    }
}

/// The deadline on the grid of `deadline` and `period` that comes after `now`: missed ones are left out.
pub fn next_on_grid(deadline: u64, period: u64, now: u64) -> u64 {
    let next = deadline.saturating_add(period);
    if next > now {
        return next;
    }
    let missed = now.wrapping_sub(deadline).checked_div(period).unwrap_or(0);
    deadline.saturating_add(period.saturating_mul(missed.saturating_add(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heap(timers: u32) -> Heap {
        let mut heap = Heap::new();
        heap.reserve(timers as usize, timers).unwrap();
        heap
    }

    fn drain(heap: &mut Heap, now: u64) -> Vec<u32> {
        heap.collect_due(now);
        core::iter::from_fn(|| heap.next_due()).map(|node| node.slot).collect()
    }

    #[test]
    fn any_sequence_of_arming_and_stopping_fires_in_the_order_of_a_sorted_list() {
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = move || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random
        };
        let mut heap = heap(300);
        let mut model: Vec<(u64, u64, u32)> = Vec::new(); // deadline, arming, slot
        let mut armings = 0;
        for round in 0..20_000_u64 {
            let slot = (next() % 300) as u32;
            match next() % 3 {
                0 => {
                    heap.disarm(slot);
                    model.retain(|armed| armed.2 != slot);
                }
                _ => {
                    let deadline = round + next() % 50;
                    armings += 1;
                    heap.arm(slot, deadline);
                    model.retain(|armed| armed.2 != slot);
                    model.push((deadline, armings, slot));
                }
            }
            if round % 64 == 0 {
                model.sort_unstable();
                let due = model.iter().take_while(|armed| armed.0 <= round).count();
                let expected: Vec<u32> = model.drain(..due).map(|armed| armed.2).collect();
                assert_eq!(drain(&mut heap, round), expected);
            }
            assert_eq!(heap.next_deadline(), model.iter().map(|armed| armed.0).min().unwrap_or(FOREVER));
        }
    }

    #[test]
    fn a_due_timer_that_is_stopped_or_armed_again_is_not_handed_out() {
        let mut heap = heap(3);
        (0..3).for_each(|slot| assert!(heap.arm(slot, 10)));
        heap.collect_due(10);
        heap.disarm(0);
        heap.arm(1, 20);
        assert_eq!(heap.next_due().map(|node| node.slot), Some(2));
        assert!(heap.next_due().is_none());
        assert_eq!(heap.deadline(1), Some(20));
        assert_eq!(heap.next_deadline(), 20);
    }

    #[test]
    fn a_deadline_of_forever_is_not_armed() {
        let mut heap = heap(1);
        assert!(!heap.arm(0, FOREVER));
        assert!(heap.is_empty());
    }

    #[test]
    fn missed_periods_are_left_out_and_the_grid_is_kept() {
        assert_eq!(next_on_grid(100, 10, 100), 110);
        assert_eq!(next_on_grid(100, 10, 109), 110);
        assert_eq!(next_on_grid(100, 10, 110), 120);
        assert_eq!(next_on_grid(100, 10, 1_234), 1_240);
        assert_eq!(next_on_grid(u64::MAX - 5, 10, u64::MAX - 5), FOREVER);
    }

    #[test]
    fn a_turn_takes_a_bounded_number_of_timers_and_the_rest_in_order() {
        let mut heap = heap(3_000);
        (0..3_000).for_each(|slot| assert!(heap.arm(slot, 1)));
        let mut fired = Vec::new();
        for _ in 0..3 {
            let turn = drain(&mut heap, 1);
            assert!(turn.len() <= DUE_LIMIT);
            fired.extend(turn);
        }
        assert_eq!(fired, (0..3_000).collect::<Vec<_>>());
    }
}
