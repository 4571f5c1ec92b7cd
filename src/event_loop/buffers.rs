//! The library's own buffers, which `recv_many` receives into. They are made when they are first needed, and belong to
//! the loop, to the engine that receives into them, or to the caller, who may hold one past its callback.

use super::core::Core;
use super::slots::{NONE, Object};
use crate::proactor::MOST_LENT;
use crate::status::{Result, Status};
use crate::sys::memory::{UserData, reserve, reserve_to};

/// How many buffers the engine gets at first; when they are used up it gets as many again as there are.
const FIRST_LOAN: usize = 16;

/// The buffers of a loop.
pub struct Buffers {
    size: usize,
    limit: usize,
    made: Vec<Vec<u8>>,
    free: Vec<u32>,
    /// How many the engine has.
    pub with_engine: usize,
    /// How many hold what was received for operations that are paused. Up to as many as there may be at all are made in
    /// their place, so that a paused operation does not keep the others from receiving.
    pub withheld: usize,
}

impl Buffers {
    /// No buffers yet.
    pub fn new(size: usize, limit: usize) -> Buffers {
        Buffers { size, limit, made: Vec::new(), free: Vec::new(), with_engine: 0, withheld: 0 }
    }

    /// Bytes of a buffer.
    pub fn size(&self) -> usize {
        self.size
    }

    /// A buffer that nobody has; `None` when all are out.
    pub fn take(&mut self) -> Result<Option<u32>> {
        if let Some(index) = self.free.pop() {
            return Ok(Some(index));
        }
        if !self.may_make_one() {
            return Ok(None);
        }
        let mut buffer = Vec::new();
        buffer.try_reserve_exact(self.size).map_err(|_| Status::ENOMEM)?;
        buffer.resize(self.size, 0);
        reserve(&mut self.made, 1)?;
        reserve_to(&mut self.free, self.made.len().saturating_add(1))?;
        self.made.push(buffer);
        Ok(Some((self.made.len() as u32).wrapping_sub(1)))
    }

    /// Where a buffer begins; NULL for none.
    pub fn address(&mut self, index: u32) -> *mut u8 {
        self.made.get_mut(index as usize).map_or(core::ptr::null_mut(), Vec::as_mut_ptr)
    }

    /// Whether [`Buffers::take`] has one, or can make one.
    pub fn has_one(&self) -> bool {
        !self.free.is_empty() || self.may_make_one()
    }

    fn may_make_one(&self) -> bool {
        let limit = self.limit.saturating_add(self.withheld.min(self.limit));
        self.made.len() < limit.min(MOST_LENT)
    }

    /// Takes a buffer back that nobody uses any more.
    pub fn give_back(&mut self, index: u32) {
        self.free.push(index); // within the capacity that `take` reserved
    }
}

impl Core {
    /// A buffer is free again.
    pub fn give_back(&mut self, index: u32) {
        if !self.operations.engine.takes_sockets() || self.lend(index).is_err() {
            self.operations.buffers.give_back(index);
        }
    }

    fn lend(&mut self, index: u32) -> Result<()> {
        let number = u16::try_from(index).map_err(|_| Status::EINVAL)?;
        let (address, size) = (self.operations.buffers.address(index), self.operations.buffers.size());
        self.operations.engine.lend(number, address, size)?;
        self.operations.buffers.with_engine = self.operations.buffers.with_engine.saturating_add(1);
        Ok(())
    }

    /// Gives the engine as many more buffers as there are, if that is possible. Fails when there are none at all.
    pub fn lend_more(&mut self) -> Result<()> {
        for _ in 0..self.operations.buffers.made.len().max(FIRST_LOAN) {
            let result = match self.operations.buffers.take() {
                Ok(None) => break,
                Ok(Some(index)) => self.lend(index).inspect_err(|_| self.operations.buffers.give_back(index)),
                Err(status) => Err(status),
            };
            match result {
                Ok(()) => {}
                Err(status) if self.operations.buffers.made.len() == self.operations.buffers.free.len() => {
                    return Err(status); // nobody has any, who could give it back
                }
                Err(_) => break,
            }
        }
        Ok(())
    }

    /// The engine that had buffers is gone, with what it received: whatever the caller does not hold is free.
    pub fn take_buffers_back(&mut self) {
        let mut held = Vec::new();
        let made = self.operations.buffers.made.len();
        if reserve_to(&mut held, made).is_err() {
            return; // fewer buffers, from now on
        }
        held.resize(made, false);
        let in_slots = self.slots.iter().filter_map(|(_, slot)| match slot.object {
            Object::Buffer(index) => Some(index),
            _ => None,
        });
        for index in in_slots.chain([self.operations.current.buffer]) {
            if let Some(held) = held.get_mut(index as usize) {
                *held = true;
            }
        }
        (self.operations.buffers.with_engine, self.operations.buffers.withheld) = (0, 0);
        self.operations.buffers.free.clear();
        let free = (0u32..).zip(held).filter_map(|(index, held)| (!held).then_some(index));
        self.operations.buffers.free.extend(free); // within the capacity that `take` reserved
    }

    /// Keeps the library's buffer of the present call past its callback.
    pub fn buffer_hold(&mut self, bits: u64, buf: *const u8) -> Result<u64> {
        let index = self.operations.current.buffer;
        let same = index != NONE && core::ptr::eq(self.operations.buffers.address(index), buf);
        if bits != self.operations.current.bits || !same {
            return Err(Status::EINVAL);
        }
        let slot = self.slots.insert(Object::Buffer(index), UserData(core::ptr::null_mut()))?;
        self.operations.current.buffer = NONE;
        self.operations.current.bits = 0;
        Ok(self.slots.bits(slot))
    }

    /// Gives a buffer back that was kept.
    pub fn buffer_release(&mut self, index: u32) {
        if let Some(Object::Buffer(buffer)) = self.slots.get(index).map(|slot| &slot.object) {
            let buffer = *buffer;
            self.slots.remove(index);
            self.give_back(buffer);
        }
    }
}
