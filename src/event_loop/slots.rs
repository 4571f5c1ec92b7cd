//! The slots of one loop: what its handles stand for, in one table for all kinds.
//!
//! Contract:
//! 1. A slot's generation moves on when it is freed, so a handle matches one object only; a slot whose generation has
//!    come to its end is never used again.
//! 2. The generations outlive the loop (`into_generations`), so a handle never matches a later loop in the same place.
//! 3. `active` counts the objects that keep the loop running; [`Slots::refresh`] keeps it true after each change.
//! 4. Lists (watchers of one descriptor, of one signal, hooks of one phase) run through the slots and need no memory.

use super::children::Child;
use super::handle::{MAX_INDEX, generation_of, index_of, pack};
use super::handler::Handler;
use super::hooks::Hook;
use super::io::Io;
use super::operations::Op;
use super::signals::Signal;
use super::timers::Timer;
use crate::status::{Result, Status};
use crate::sys::memory::{UserData, reserve, reserve_to};

/// No slot.
pub const NONE: u32 = u32::MAX;

/// What a slot holds.
pub enum Object {
    /// Nothing; `next` is the next free slot.
    Free {
        /// The next slot in the list of free ones.
        next: u32,
    },
    /// Nothing, for ever: its generations are used up.
    Retired,
    /// The loop itself, in slot 0.
    Loop,
    /// A watcher of a descriptor.
    Io(Io),
    /// A timer.
    Timer(Timer),
    /// A watcher of a signal.
    Signal(Signal),
    /// A watcher of a child process.
    Child(Child),
    /// A hook.
    Hook(Hook),
    /// An operation.
    Op(Op),
    /// One of the library's buffers, by number, that the caller keeps.
    Buffer(u32),
    /// An object of a layer above.
    Handler(Handler),
}

/// The kind of object that a handle is expected to stand for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// [`Object::Io`].
    Io,
    /// [`Object::Timer`].
    Timer,
    /// [`Object::Signal`].
    Signal,
    /// [`Object::Child`].
    Child,
    /// [`Object::Hook`].
    Hook,
    /// [`Object::Op`].
    Op,
    /// [`Object::Buffer`].
    Buffer,
    /// [`Object::Handler`]: a listener.
    Listener,
    /// [`Object::Handler`]: a stream.
    Stream,
}

impl Object {
    #[inline]
    fn is(&self, kind: Kind) -> bool {
        if let Object::Handler(handler) = self {
            return handler.kind == kind;
        }
        matches!(
            (self, kind),
            (Object::Io(_), Kind::Io)
                | (Object::Timer(_), Kind::Timer)
                | (Object::Signal(_), Kind::Signal)
                | (Object::Child(_), Kind::Child)
                | (Object::Hook(_), Kind::Hook)
                | (Object::Op(_), Kind::Op)
                | (Object::Buffer(_), Kind::Buffer)
        )
    }

    /// Whether it can still bring a callback by itself.
    #[inline]
    fn is_active(&self) -> bool {
        match self {
            Object::Io(io) => io.watch.is_active(),
            Object::Timer(timer) => timer.armed,
            Object::Child(child) => !child.told,
            Object::Op(op) => op.is_active(),
            Object::Handler(handler) => handler.active,
            Object::Signal(_) | Object::Hook(_) => true,
            Object::Free { .. } | Object::Retired | Object::Loop | Object::Buffer(_) => false,
        }
    }
}

/// One object of the loop, or room for one.
pub struct Slot {
    generation: u32,
    keepalive: bool,
    counted: bool,
    previous: u32,
    /// The next slot in the list that this one is in.
    pub next: u32,
    /// What the caller wants back.
    pub user_data: UserData,
    /// What the slot holds.
    pub object: Object,
}

impl Slot {
    /// Whether the object, while active, keeps the loop running.
    pub fn keepalive(&self) -> bool {
        self.keepalive
    }

    /// Whether the object keeps the loop running right now.
    pub fn is_counted(&self) -> bool {
        self.counted
    }
}

/// A list through the slots, in order of opening.
#[derive(Clone, Copy)]
pub struct List {
    /// The first slot.
    pub head: u32,
    tail: u32,
}

impl List {
    /// A list of nothing.
    pub const EMPTY: List = List { head: NONE, tail: NONE };

    /// The last slot.
    pub fn last(&self) -> Option<u32> {
        (self.tail != NONE).then_some(self.tail)
    }

    /// Whether no slot is in the list.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.head == NONE
    }
}

/// The table.
pub struct Slots {
    slots: Vec<Slot>,
    free: u32,
    /// The generations that slots of an earlier loop in this place were left with.
    generations: Vec<u32>,
    place: u8,
    open: usize,
    active: usize,
}

impl Slots {
    /// A table that holds the loop itself in slot 0, for the place `place`, with the generations that an earlier loop left.
    pub fn new(place: u8, generations: Vec<u32>) -> Slots {
        Slots { slots: Vec::new(), free: NONE, generations, place, open: 0, active: 0 }
    }

    /// The generations, for the next loop in this place. Allocates nothing.
    pub fn into_generations(mut self) -> Vec<u32> {
        for (index, slot) in self.slots.iter().enumerate() {
            let free = matches!(slot.object, Object::Free { .. } | Object::Retired);
            let generation = if free { slot.generation } else { slot.generation.saturating_add(1) };
            match self.generations.get_mut(index) {
                Some(kept) => *kept = generation,
                None => self.generations.push(generation), // within what `insert` reserved
            }
        }
        self.generations
    }

    /// Puts an object into a free slot.
    pub fn insert(&mut self, object: Object, user_data: UserData) -> Result<u32> {
        let index = if self.free != NONE { self.free } else { self.grow()? };
        let slot = self.slots.get_mut(index as usize).ok_or(Status::ENOMEM)?;
        if let Object::Free { next } = slot.object {
            self.free = next;
        }
        slot.object = object;
        slot.user_data = user_data;
        slot.keepalive = true;
        self.open = self.open.wrapping_add(1);
        self.refresh(index);
        Ok(index)
    }

    /// Appends one free slot and leaves it at the head of the free list.
    fn grow(&mut self) -> Result<u32> {
        loop {
            let index = u32::try_from(self.slots.len()).unwrap_or(NONE);
            if index > MAX_INDEX {
                return Err(Status::EFULL);
            }
            reserve(&mut self.slots, 1)?;
            reserve_to(&mut self.generations, self.slots.len().saturating_add(1))?;
            let generation = self.generations.get(index as usize).copied().unwrap_or(1);
            let retired = generation == u32::MAX;
            self.slots.push(Slot {
                generation,
                keepalive: true,
                counted: false,
                previous: NONE,
                next: NONE,
                user_data: UserData(core::ptr::null_mut()),
                object: if retired { Object::Retired } else { Object::Free { next: NONE } },
            });
            if !retired {
                self.free = index;
                return Ok(index);
            }
        }
    }

    /// Frees a slot that is in no list; its handles are stale from now on.
    #[inline]
    pub fn remove(&mut self, index: u32) {
        drop(self.take(index));
    }

    /// Frees a slot that is in no list, and returns what it held; its handles are stale from now on.
    #[inline]
    pub fn take(&mut self, index: u32) -> Option<Object> {
        let slot = self.slots.get_mut(index as usize)?;
        if slot.counted {
            slot.counted = false;
            self.active = self.active.wrapping_sub(1);
        }
        self.open = self.open.wrapping_sub(1);
        slot.generation = slot.generation.saturating_add(1);
        if slot.generation == u32::MAX {
            return Some(core::mem::replace(&mut slot.object, Object::Retired));
        }
        let next = core::mem::replace(&mut self.free, index);
        Some(core::mem::replace(&mut slot.object, Object::Free { next }))
    }

    /// The slot that a handle names, if it is of this kind.
    #[inline]
    pub fn find(&self, bits: u64, kind: Kind) -> Result<u32> {
        let index = index_of(bits);
        match self.slots.get(index as usize) {
            Some(slot) if slot.generation == generation_of(bits) && slot.object.is(kind) => Ok(index),
            _ => Err(Status::EHANDLE),
        }
    }

    /// The handle of a slot.
    #[inline]
    pub fn bits(&self, index: u32) -> u64 {
        pack(self.slots.get(index as usize).map_or(0, |slot| slot.generation), self.place, index)
    }

    /// A slot by its index.
    #[inline]
    pub fn get(&self, index: u32) -> Option<&Slot> {
        self.slots.get(index as usize)
    }

    /// A slot by its index.
    #[inline]
    pub fn get_mut(&mut self, index: u32) -> Option<&mut Slot> {
        self.slots.get_mut(index as usize)
    }

    /// Counts a slot as active or not, after its object changed.
    #[inline]
    pub fn refresh(&mut self, index: u32) {
        if let Some(slot) = self.slots.get_mut(index as usize) {
            let counts = slot.keepalive && slot.object.is_active();
            if counts != slot.counted {
                slot.counted = counts;
                self.active = if counts { self.active.wrapping_add(1) } else { self.active.wrapping_sub(1) };
            }
        }
    }

    /// Chooses whether the object, while active, keeps the loop running.
    pub fn set_keepalive(&mut self, index: u32, on: bool) {
        if let Some(slot) = self.slots.get_mut(index as usize) {
            slot.keepalive = on;
        }
        self.refresh(index);
    }

    /// How many objects keep the loop running.
    #[inline]
    pub fn active(&self) -> usize {
        self.active
    }

    /// How many objects there are, without the loop itself.
    pub fn open(&self) -> usize {
        self.open.saturating_sub(1)
    }

    /// Every slot with its index.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Slot)> {
        (0..).zip(self.slots.iter())
    }

    /// Every slot, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Slot> {
        self.slots.iter_mut()
    }

    /// Puts a slot at the end of a list.
    pub fn push_back(&mut self, list: &mut List, index: u32) {
        if let Some(slot) = self.slots.get_mut(index as usize) {
            slot.previous = list.tail;
            slot.next = NONE;
        }
        match self.slots.get_mut(list.tail as usize) {
            Some(tail) => tail.next = index,
            None => list.head = index,
        }
        list.tail = index;
    }

    /// Takes a slot out of the list that it is in.
    pub fn unlink(&mut self, list: &mut List, index: u32) {
        let Some((previous, next)) = self.slots.get(index as usize).map(|slot| (slot.previous, slot.next)) else {
            return;
        };
        match self.slots.get_mut(previous as usize) {
            Some(slot) => slot.next = next,
            None => list.head = next,
        }
        match self.slots.get_mut(next as usize) {
            Some(slot) => slot.previous = previous,
            None => list.tail = previous,
        }
    }
}
