//! Hooks: functions that run in each turn, before and after the wait.

use super::callback::gyre_hook_cb;
use super::core::{Call, Core};
use super::slots::{List, NONE, Object};
use crate::status::{Result, Status};
use crate::sys::memory::UserData;

/// Where in a turn a hook runs. The order is the one in the C interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HookPhase {
    /// Before the wait.
    Prepare,
    /// At the end of the turn.
    Check,
    /// At the start of the turn, which then does not wait.
    Idle,
}

/// A hook's slot.
pub struct Hook {
    callback: gyre_hook_cb,
    /// When it runs.
    pub phase: HookPhase,
    /// The turn in which it was opened: it runs from the next one on, or a hook that opens hooks would never end.
    opened_in: u32,
}

/// The hooks of a loop, by phase.
pub struct Hooks {
    lists: [List; 3],
    /// The next hook of the phase that is running.
    next: u32,
}

impl Hooks {
    /// No hooks.
    pub const fn new() -> Hooks {
        Hooks { lists: [List::EMPTY; 3], next: NONE }
    }

    fn list(&mut self, phase: HookPhase) -> &mut List {
        let [prepare, check, idle] = &mut self.lists;
        match phase {
            HookPhase::Prepare => prepare,
            HookPhase::Check => check,
            HookPhase::Idle => idle,
        }
    }

    /// Whether a hook keeps the loop from waiting.
    pub fn has_idle(&self) -> bool {
        let [_, _, idle] = &self.lists;
        !idle.is_empty()
    }
}

impl Core {
    /// Opens a hook.
    pub fn hook_open(&mut self, phase: HookPhase, callback: gyre_hook_cb, user_data: UserData) -> Result<u64> {
        if callback.is_none() {
            return Err(Status::EINVAL);
        }
        let hook = Hook { callback, phase, opened_in: self.turn_number };
        let index = self.slots.insert(Object::Hook(hook), user_data)?;
        self.slots.push_back(self.hooks.list(phase), index);
        Ok(self.slots.bits(index))
    }

    /// Closes a hook.
    pub fn hook_close(&mut self, index: u32) {
        let Some(slot) = self.slots.get(index) else { return };
        let Object::Hook(Hook { phase, .. }) = slot.object else { return };
        if self.hooks.next == index {
            self.hooks.next = slot.next;
        }
        self.slots.unlink(self.hooks.list(phase), index);
        self.slots.remove(index);
    }

    /// Starts a phase; returns whether it has hooks.
    #[inline]
    pub fn begin_hooks(&mut self, phase: HookPhase) -> bool {
        self.hooks.next = self.hooks.list(phase).head;
        self.hooks.next != NONE
    }

    /// The next hook of the phase.
    pub fn next_hook(&mut self) -> Option<Call> {
        loop {
            let index = self.hooks.next;
            let slot = self.slots.get(index)?;
            self.hooks.next = slot.next;
            if let Object::Hook(hook) = &slot.object
                && hook.opened_in != self.turn_number
            {
                let (callback, user_data) = (hook.callback, slot.user_data);
                return Some(Call::Hook { callback, bits: self.slots.bits(index), user_data });
            }
        }
    }
}
