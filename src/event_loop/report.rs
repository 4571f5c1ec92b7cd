//! What a loop tells of itself: why it took its backend, and what keeps it running. Allocates nothing.

use super::Loop;
use super::core::Core;
use super::slots::{Kind, Object};
use crate::status::{Result, Status};
use crate::sys::clock::FOREVER;
use crate::sys::descriptor::write_all;
use core::fmt::{self, Write};
use std::os::fd::RawFd;

/// A line of text of bounded length; what does not fit is cut off.
pub struct Line {
    text: [u8; 256],
    len: usize,
}

impl Line {
    const EMPTY: Line = Line { text: [0; 256], len: 0 };

    fn as_bytes(&self) -> &[u8] {
        self.text.get(..self.len).unwrap_or_default()
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for (place, byte) in self.text.iter_mut().skip(self.len).zip(text.bytes()) {
            *place = byte;
            self.len = self.len.saturating_add(1);
        }
        Ok(())
    }
}

impl Loop {
    /// Writes, a line a backend and a line an engine, which one was taken and why, and why not the others.
    pub fn explain(&self, out: &mut impl Write) -> fmt::Result {
        self.backend.explain(out)?;
        self.engine.explain(out)
    }

    /// Writes a line for the loop, and one for each open handle, to a descriptor.
    pub fn dump(&self, fd: RawFd) -> Result<()> {
        let core = self.core()?;
        let name = core.backend.name.to_str().unwrap_or_default();
        let alive = if core.is_alive() { "alive" } else { "not alive" };
        let keepalive = if core.keepalive { "on" } else { "off" };
        let mut line = Line::EMPTY;
        writeln!(
            line,
            "loop {:#018x}: {name}, {alive}, keepalive {keepalive}, {} posts waiting",
            self.bits,
            core.posts()
        )
        .map_err(|_| Status::EINVAL)?;
        write_all(fd, line.as_bytes())?;
        for (index, slot) in core.slots.iter() {
            let mut line = Line::EMPTY;
            let described = core.describe(index, &slot.object, &mut line);
            if described.map_err(|_| Status::EINVAL)? {
                let life = match (slot.is_counted(), slot.keepalive()) {
                    (true, _) => "keeps the loop running",
                    (false, true) => "inactive",
                    (false, false) => "keepalive off",
                };
                writeln!(line, ", {life}").map_err(|_| Status::EINVAL)?;
                write_all(fd, line.as_bytes())?;
            }
        }
        Ok(())
    }
}

impl Core {
    /// Names an object; `false` for what is no handle of the caller's.
    fn describe(&self, index: u32, object: &Object, line: &mut Line) -> core::result::Result<bool, fmt::Error> {
        let bits = self.slots.bits(index);
        match object {
            Object::Io(io) => {
                write!(line, "io {bits:#018x}: descriptor {}, interest {}", io.watch.fd, io.watch.interest.0)?
            }
            Object::Timer(timer) => {
                write!(line, "timer {bits:#018x}: ")?;
                match self.timers.deadline(index).unwrap_or(FOREVER) {
                    FOREVER => write!(line, "stopped")?,
                    deadline => write!(line, "deadline {deadline} ns, period {} ns", timer.period)?,
                }
            }
            Object::Signal(signal) => write!(line, "signal {bits:#018x}: number {}", signal.signum)?,
            Object::Child(child) => write!(line, "child {bits:#018x}: pid {}", child.pid)?,
            Object::Hook(hook) => write!(line, "hook {bits:#018x}: {:?}", hook.phase)?,
            Object::Op(op) => write!(line, "op {bits:#018x}: descriptor {}", op.fd())?,
            Object::Buffer(number) => write!(line, "buffer {bits:#018x}: number {number}")?,
            Object::Handler(handler) => {
                let kind = if handler.kind == Kind::Stream { "stream" } else { "listener" };
                write!(line, "{kind} {bits:#018x}: descriptor {}, ", handler.watch.fd)?;
                handler.describe(line)?;
            }
            Object::Free { .. } | Object::Retired | Object::Loop => return Ok(false),
        }
        Ok(true)
    }
}
