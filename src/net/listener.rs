//! Listeners: sockets that connections are accepted from, each of which becomes a stream.
//!
//! Contract:
//! 1. A report of readiness accepts at most `accept_batch` connections; those that are left are reported again.
//! 2. With `max_connections` streams of its own a listener accepts no more until one of them has ended; those that wait
//!    stay in the kernel's queue.
//! 3. Without descriptors or memory (`EMFILE`, `ENFILE`, `ENOBUFS`, `ENOMEM`) it tries again after [`PAUSE_NS`], and
//!    goes on when there are some. A pause is counted once (`accept_pauses`), however often it is tried meanwhile, and
//!    dump shows it.
//! 4. A connection that was aborted while it waited is nothing (`ECONNABORTED`).
//! 5. The file of a Unix socket is removed with the listener, if it is still the one that the listener made.

use super::address::{format, parse, unix_path};
use super::stream::{self, Setup, set_options};
use crate::demux::Events;
use crate::event_loop::Loop;
use crate::event_loop::core::Core;
use crate::event_loop::handler::{Entry, EventHandler, Occasion};
use crate::event_loop::slots::Kind;
use crate::status::{Result, Status, name};
use crate::sys::clock::FOREVER;
use crate::sys::memory::{Shared, UserData, try_box};
use crate::sys::socket::{self, SocketAddress, SocketFile};
use core::ffi::c_int;
use core::fmt::{self, Write};
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};

/// How a listener is opened.
#[derive(Clone, Copy)]
pub struct Options {
    /// How many connections wait in the kernel's queue.
    pub backlog: c_int,
    /// Whether several listeners may share the address.
    pub reuse_port: bool,
    /// How many connections there may be at once.
    pub max_connections: u32,
    /// How many are accepted in a turn.
    pub accept_batch: u32,
}

impl Options {
    /// What is not said otherwise.
    pub const DEFAULTS: Options =
        Options { backlog: 1024, reuse_port: false, max_connections: 1 << 16, accept_batch: 64 };
}

/// How long it waits for descriptors before it tries again: ten calls of accept a second.
const PAUSE_NS: u64 = 100_000_000;

/// A listener.
pub struct Listener {
    fd: Option<OwnedFd>,
    setup: Shared<Setup>,
    options: Options,
    connections: u32,
    /// When it tries again; [`FOREVER`] when nothing was missing.
    paused_until: u64,
    /// What was missing when it last tried.
    short_of: Option<Status>,
    file: Option<SocketFile>,
}

impl Listener {
    fn interest(&self) -> Events {
        let accepts = self.paused_until == FOREVER && self.connections < self.options.max_connections;
        if accepts { Events::READ } else { Events::NONE }
    }
}

impl EventHandler for Listener {
    fn entry(&self) -> Entry {
        visit
    }

    fn after_fork(&mut self) -> bool {
        false // parent and child may accept from the same queue
    }

    fn describe(&self, out: &mut dyn Write) -> fmt::Result {
        write!(out, "{} connections", self.connections)?;
        if let Some(status) = self.short_of {
            write!(out, ", paused: {}", name(status.code()).to_str().unwrap_or_default())?;
        } else if self.connections >= self.options.max_connections {
            write!(out, ", paused: max_connections")?;
        }
        Ok(())
    }
}

fn listener(core: &mut Core, index: u32) -> Option<&mut Listener> {
    core.handler_body::<Listener>(index)
}

fn adjust(core: &mut Core, index: u32) {
    let Some(listener) = listener(core, index) else { return };
    let (interest, active) = (listener.interest(), listener.fd.is_some());
    core.handler_adjust(index, interest, active);
}

// ---- open and close ----

/// Opens a listener on an address.
pub fn open(core: &mut Core, text: &[u8], options: Options, setup: Shared<Setup>, user_data: UserData) -> Result<u64> {
    let address = parse(text)?;
    let fd = socket::open(address.family())?;
    let number = fd.as_raw_fd();
    set_options(number, address.ip().is_some(), &setup.options)?;
    if address.ip().is_some() {
        socket::reuse_address(number)?;
        if options.reuse_port {
            socket::reuse_port(number)?;
        }
    }
    if address.family() == libc::AF_INET6 {
        socket::ipv6_only(number)?;
    }
    let file = match unix_path(text) {
        Some(path) => Some(bind_path(number, path, &address)?),
        None => {
            socket::bind(number, &address)?;
            None
        }
    };
    let listening = socket::listen(number, options.backlog);
    let opened =
        listening.and_then(|()| insert(core, options, setup, user_data)).and_then(|index| watch(core, index, number));
    match opened {
        Ok(index) => {
            if let Some(listener) = listener(core, index) {
                (listener.fd, listener.file) = (Some(fd), file);
            }
            Ok(core.slots.bits(index))
        }
        Err(status) => {
            if let Some(file) = file {
                file.remove();
            }
            Err(status)
        }
    }
}

/// Binds to a path. A socket there that nobody listens on any more is replaced.
fn bind_path(fd: RawFd, path: &[u8], address: &SocketAddress) -> Result<SocketFile> {
    const IN_USE: Status = Status::from_errno(libc::EADDRINUSE);
    match socket::bind(fd, address) {
        Err(IN_USE) if socket::remove_if_dead(path, address)? => socket::bind(fd, address)?,
        result => result?,
    }
    SocketFile::note(path)
}

/// Makes a listener of a socket that listens already, and that the caller gives away; on failure it stays the caller's.
pub fn adopt(core: &mut Core, fd: RawFd, options: Options, setup: Shared<Setup>, user_data: UserData) -> Result<u64> {
    core.check_adoptable(fd)?;
    let index = insert(core, options, setup, user_data)?;
    watch(core, index, fd)?;
    if let Err(status) = socket::prepare_adopted(fd, true) {
        core.handler_remove(index);
        return Err(status);
    }
    let is_ip = socket::local(fd).is_ok_and(|address| address.ip().is_some());
    if let Some(listener) = listener(core, index) {
        let _ = set_options(fd, is_ip, &listener.setup.options); // a matter of speed only
        listener.fd = Some(socket::own(fd));
    }
    Ok(core.slots.bits(index))
}

fn insert(core: &mut Core, options: Options, setup: Shared<Setup>, user_data: UserData) -> Result<u32> {
    let made = Listener { fd: None, setup, options, connections: 0, paused_until: FOREVER, short_of: None, file: None };
    core.handler_insert(Kind::Listener, try_box(made)?, user_data)
}

fn watch(core: &mut Core, index: u32, fd: RawFd) -> Result<u32> {
    match core.handler_watch(index, fd, Events::READ) {
        Ok(()) => Ok(index),
        Err(status) => {
            core.handler_remove(index);
            Err(status)
        }
    }
}

/// Closes a listener; its streams go on.
pub fn close(core: &mut Core, index: u32) {
    core.handler_unwatch(index);
    if let Some(listener) = listener(core, index) {
        let (fd, file) = (listener.fd.take(), listener.file.take());
        if let Some(file) = file {
            file.remove();
        }
        if let Some(fd) = fd {
            core.leave_descriptor(fd.as_raw_fd());
        }
    }
    core.handler_remove(index);
}

/// The descriptor.
pub fn descriptor(core: &mut Core, index: u32) -> Result<RawFd> {
    listener(core, index).and_then(|listener| listener.fd.as_ref()).map(AsRawFd::as_raw_fd).ok_or(Status::EBADF)
}

/// Writes the address that it listens on.
pub fn address(core: &mut Core, index: u32, out: &mut impl Write) -> Result<()> {
    let address = socket::local(descriptor(core, index)?)?;
    format(&address, out).map_err(|_| Status::EINVAL)
}

/// A stream of this listener's has ended.
pub fn connection_ended(core: &mut Core, bits: u64) {
    if let Ok(index) = core.slots.find(bits, Kind::Listener) {
        if let Some(listener) = listener(core, index) {
            listener.connections = listener.connections.saturating_sub(1);
        }
        adjust(core, index);
    }
}

// ---- what comes for a listener ----

/// The entry of listeners.
pub fn visit(the_loop: &Loop, bits: u64, occasion: Occasion) {
    match occasion {
        Occasion::Ready(_) => {
            let batch = with(the_loop, bits, |core, index| listener(core, index).map_or(0, |l| l.options.accept_batch));
            for _ in 0..batch.unwrap_or(0) {
                match with(the_loop, bits, accept) {
                    Some(Accepted::Stream(stream)) => stream::visit(the_loop, stream, Occasion::Scheduled),
                    Some(Accepted::Aborted) => {}
                    Some(Accepted::NoMore) | None => return,
                }
                if !the_loop.is_ours() {
                    return;
                }
            }
        }
        Occasion::Deadline => {
            with(the_loop, bits, |core, index| {
                if let Some(listener) = listener(core, index) {
                    listener.paused_until = FOREVER;
                }
                adjust(core, index);
            });
        }
        Occasion::Gone => {
            with(the_loop, bits, |core, index| {
                if let Some(listener) = listener(core, index) {
                    let _ = listener.fd.take().map(IntoRawFd::into_raw_fd); // closed already, by somebody else
                }
                core.handler_adjust(index, Events::NONE, false);
            });
        }
        Occasion::LoopClosing => {
            with(the_loop, bits, close);
        }
        Occasion::Scheduled => {}
    }
}

/// Calls `act` with the state of the loop and the listener's slot, if it is still there.
fn with<T>(the_loop: &Loop, bits: u64, act: impl FnOnce(&mut Core, u32) -> T) -> Option<T> {
    let mut core = the_loop.core().ok()?;
    let index = core.slots.find(bits, Kind::Listener).ok()?;
    Some(act(&mut core, index))
}

/// What came of a call of accept.
enum Accepted {
    /// A stream, whose `on_open` is to be told.
    Stream(u64),
    /// The connection was gone before it was accepted.
    Aborted,
    /// There are none, or there may be no more.
    NoMore,
}

fn accept(core: &mut Core, index: u32) -> Accepted {
    let bits = core.slots.bits(index);
    let Some(user_data) = core.slots.get(index).map(|slot| slot.user_data) else { return Accepted::NoMore };
    let Some(found) = listener(core, index) else { return Accepted::NoMore };
    let (Some(fd), true) = (&found.fd, found.interest() == Events::READ) else { return Accepted::NoMore };
    let (accepted, setup) = (socket::accept(fd.as_raw_fd()), found.setup.clone());
    if accepted.as_ref().err() != Some(&Status::EAGAIN) {
        core.statistics.accept_calls = core.statistics.accept_calls.wrapping_add(1);
    }
    let made = match accepted {
        Ok(fd) => stream::accepted(core, fd, setup, bits, user_data),
        Err(Status::EAGAIN) => return Accepted::NoMore,
        Err(status) if is_the_peers(status) => return Accepted::Aborted,
        Err(status) => Err(status),
    };
    match made {
        Ok(stream) => {
            if let Some(listener) = listener(core, index) {
                listener.connections = listener.connections.saturating_add(1);
                listener.short_of = None;
            }
            adjust(core, index);
            Accepted::Stream(stream)
        }
        Err(status) => {
            pause(core, index, status);
            Accepted::NoMore
        }
    }
}

/// Whether the status is one of the connection's and not of this process; accept(2) on Linux passes on what is pending
/// on the new socket.
fn is_the_peers(status: Status) -> bool {
    let errno = [
        libc::ECONNABORTED,
        libc::EINTR,
        libc::EPROTO,
        libc::ENOPROTOOPT,
        libc::EPERM,
        libc::ENETDOWN,
        libc::ENETUNREACH,
        libc::EHOSTDOWN,
        libc::EHOSTUNREACH,
        libc::ENONET,
        libc::EOPNOTSUPP,
        libc::ETIMEDOUT,
    ];
    errno.iter().any(|errno| status == Status::from_errno(*errno))
}

/// Something is missing, descriptors most likely: tries again later, and not in every turn.
fn pause(core: &mut Core, index: u32, status: Status) {
    let deadline = core.update_now().saturating_add(PAUSE_NS);
    let Some(listener) = listener(core, index) else { return };
    listener.paused_until = deadline;
    if listener.short_of.replace(status).is_none() {
        core.statistics.accept_pauses = core.statistics.accept_pauses.wrapping_add(1);
    }
    core.handler_arm(index, deadline);
    adjust(core, index);
}
