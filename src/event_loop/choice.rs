//! Which backend and which engine a loop takes, and why: by the option, by the environment, or the first of the table that is
//! to be had here.

use crate::demux::Backend;
use crate::proactor::Kind;
use crate::status::{Result, Status, name};
use crate::sys::environment;
use core::ffi::CStr;
use core::fmt::{self, Write};

/// An entry of a table of implementations.
pub trait Entry: 'static {
    /// What is chosen among, for people.
    const WHAT: &'static str;
    /// The variable of the environment that overrides AUTO.
    const VARIABLE: &'static CStr;
    /// The entry's name.
    fn name(&self) -> &'static CStr;
    /// What is good or bad about it.
    fn note(&self) -> &'static str;
    /// Why AUTO does not take it in this process, though it may be to be had.
    fn objection(&self) -> Option<&'static str> {
        None
    }
    /// Why it was just refused with `status`.
    fn reason(&self, status: Status) -> Status {
        status
    }
}

impl Entry for Backend {
    const WHAT: &'static str = "backend";
    const VARIABLE: &'static CStr = c"GYRE_BACKEND";

    fn name(&self) -> &'static CStr {
        self.name
    }

    fn note(&self) -> &'static str {
        self.note
    }
}

impl Entry for Kind {
    const WHAT: &'static str = "engine";
    const VARIABLE: &'static CStr = c"GYRE_ENGINE";

    fn objection(&self) -> Option<&'static str> {
        (self.objection)()
    }

    fn reason(&self, status: Status) -> Status {
        (self.unavailable)().unwrap_or(status)
    }

    fn name(&self) -> &'static CStr {
        self.name
    }

    fn note(&self) -> &'static str {
        self.note
    }
}

/// How an entry came to be taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Option,
    Environment,
    Auto,
}

/// What was taken from a table.
pub struct Choice<T: 'static> {
    /// The entry.
    pub taken: &'static T,
    table: &'static [T],
    how: How,
    /// Whether the variable of the environment held a value that means nothing.
    ignored_variable: bool,
    /// Why the first entries of the table were not to be had, as far as they were tried.
    refused: [Option<Status>; 3],
}

/// Whether a failure means that this kernel, or this container, does not have it.
fn is_absent(status: Status) -> bool {
    matches!(status, Status::ENOSYS | Status::EPERM | Status::EUNSUPPORTED)
}

/// Takes an entry of a table and opens it; `open` is told whether it was named. What is named and not to be had is
/// `GYRE_EUNSUPPORTED`; AUTO goes on to the next.
pub fn choose<T: Entry, D>(
    table: &'static [T],
    named: Option<&CStr>,
    open: impl Fn(&T, bool) -> Result<D>,
) -> Result<(Choice<T>, D)> {
    let find = |wanted: &CStr| table.iter().find(|entry| entry.name() == wanted);
    let by_variable = |value: Option<&CStr>| value.map(|value| find(value).ok_or(()));
    let (how, entry, ignored_variable) = match (named, environment::with_variable(T::VARIABLE, by_variable)) {
        (Some(wanted), _) => (How::Option, Some(find(wanted).ok_or(Status::EUNSUPPORTED)?), false),
        (None, Some(Ok(entry))) => (How::Environment, Some(entry), false),
        (None, variable) => (How::Auto, None, variable.is_some()),
    };
    let mut refused = [None; 3];
    let may_be = |other: &T| entry.map_or_else(|| other.objection().is_none(), |entry| is(entry, other));
    for (place, candidate) in table.iter().enumerate().filter(|(_, other)| may_be(other)) {
        match open(candidate, entry.is_some()) {
            Ok(opened) => return Ok((Choice { taken: candidate, table, how, ignored_variable, refused }, opened)),
            Err(status) if !is_absent(status) => return Err(status),
            Err(status) => {
                if let Some(place) = refused.get_mut(place) {
                    *place = Some(candidate.reason(status));
                }
            }
        }
    }
    Err(Status::EUNSUPPORTED)
}

fn is<T>(one: &T, other: &T) -> bool {
    core::ptr::eq(one, other)
}

impl<T: Entry> Choice<T> {
    /// Writes a line for each entry of the table: whether it was taken, and why.
    pub fn explain(&self, out: &mut impl Write) -> fmt::Result {
        let variable = T::VARIABLE.to_str().unwrap_or_default();
        for (entry, refused) in self.table.iter().zip(self.refused) {
            write!(out, "{} {}: ", T::WHAT, entry.name().to_str().unwrap_or_default())?;
            match (is(entry, self.taken), self.how, refused) {
                (true, How::Option, _) => write!(out, "taken: named by the option")?,
                (true, How::Environment, _) => write!(out, "taken: named by {variable}")?,
                (true, How::Auto, _) => {
                    write!(out, "taken: the first in the order of preference that is to be had here")?
                }
                (false, How::Auto, Some(status)) => {
                    write!(out, "not taken: not to be had here, {}", name(status.code()).to_str().unwrap_or_default())?;
                }
                (false, How::Auto, None) => {
                    let why = entry.objection().unwrap_or("comes later in the order of preference");
                    write!(out, "not taken: {why}")?;
                }
                (false, ..) => write!(out, "not taken: another one was named")?,
            }
            writeln!(out, " ({})", entry.note())?;
        }
        if !self.ignored_variable {
            return Ok(());
        }
        environment::with_variable(T::VARIABLE, |value| {
            let value = value.map_or(&b""[..], CStr::to_bytes).escape_ascii();
            writeln!(out, "{variable} names no {} and was ignored: {value}", T::WHAT)
        })
    }
}
