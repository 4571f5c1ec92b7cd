//! Connecting: one address after the other, each under its deadline.

use super::{CONNECTING, OPENING, Options, Setup, Stream, alter, set_options, settle_later, stream};
use crate::demux::Events;
use crate::event_loop::core::Core;
use crate::event_loop::slots::Kind;
use crate::status::{Result, Status};
use crate::sys::memory::{Shared, UserData, try_box};
use crate::sys::socket::{self, SocketAddress};
use std::os::fd::{AsRawFd, OwnedFd};

/// How often a full queue of a Unix listener is tried again.
const RETRY_NS: u64 = 10_000_000;

/// The addresses that are still to be tried, the next one last.
pub struct Attempt {
    addresses: Vec<SocketAddress>,
    /// What came of the last one.
    status: Status,
    /// When an address that could not even be tried comes again.
    pub retry_at: u64,
}

// ---- what callers ask ----

/// Whether a failure is one of this process and not of the address.
fn is_own_failure(status: Status) -> bool {
    let errno = [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOBUFS, libc::ENOSPC];
    status == Status::EUNSUPPORTED || errno.iter().any(|errno| status == Status::from_errno(*errno))
}

/// Makes a stream that connects to one of several addresses, the last one of the list first.
pub fn connect(
    core: &mut Core,
    addresses: Vec<SocketAddress>,
    setup: Shared<Setup>,
    user_data: UserData,
) -> Result<u64> {
    let mut stream = Stream::new(setup, None, CONNECTING, core.now_for_marks(), 0);
    stream.attempt = Some(try_box(Attempt { addresses, status: Status::EINVAL, retry_at: 0 })?);
    let index = core.handler_insert(Kind::Stream, try_box(stream)?, user_data)?;
    match try_addresses(core, index, true) {
        Err(status) if is_own_failure(status) => {
            core.handler_remove(index);
            return Err(status);
        }
        Err(status) => alter(core, index, |stream| stream.end(status.code(), false)),
        Ok(()) => {}
    }
    settle_later(core, index);
    Ok(core.slots.bits(index))
}

// ---- what comes of it ----

/// Finds out how connecting has ended.
pub fn connecting(core: &mut Core, index: u32) {
    let Some(stream) = stream(core, index) else { return };
    match socket::pending_error(stream.number()) {
        Ok(()) => connected(stream),
        Err(status) => attempt_failed(core, index, status),
    }
}

fn connected(stream: &mut Stream) {
    stream.clear(CONNECTING);
    stream.set(OPENING);
    stream.attempt = None;
}

/// Goes on to the next address; when there is none the stream ends. `-EAGAIN` tries the same one again.
pub fn attempt_failed(core: &mut Core, index: u32, status: Status) {
    core.handler_unwatch(index);
    let Some(stream) = stream(core, index) else { return };
    stream.fd = None;
    let Some(attempt) = &mut stream.attempt else { return };
    if status != Status::EAGAIN {
        attempt.status = status;
        attempt.addresses.pop();
    }
    if let Err(status) = try_addresses(core, index, status != Status::EAGAIN) {
        alter(core, index, |stream| stream.end(status.code(), false));
    }
}

/// Tries the addresses in turn, until one is connected or may come to be; or the status of the last one.
fn try_addresses(core: &mut Core, index: u32, mut fresh: bool) -> Result<()> {
    loop {
        let now = core.now_for_marks();
        let tried = try_address(core, index);
        let Some(stream) = stream(core, index) else { return Ok(()) };
        if core::mem::replace(&mut fresh, true) {
            stream.since = now;
        }
        let Some(attempt) = &mut stream.attempt else { return Ok(()) };
        match tried {
            None => return Err(attempt.status),
            Some(Ok(true)) => {
                connected(stream);
                return Ok(());
            }
            Some(Ok(false)) => return Ok(()),
            Some(Err(Status::EAGAIN)) => {
                // The queue of a Unix listener is full, and there is nothing to wait on but time.
                attempt.retry_at = now.saturating_add(RETRY_NS);
                return Ok(());
            }
            Some(Err(status)) => {
                attempt.status = status;
                attempt.addresses.pop();
            }
        }
    }
}

/// Tries one address; `None` when there is none left.
fn try_address(core: &mut Core, index: u32) -> Option<Result<bool>> {
    let found = stream(core, index)?;
    let options = found.setup.options;
    let address = found.attempt.as_ref()?.addresses.last()?;
    let begun = begin_connecting(address, &options);
    let watched = begun.and_then(|(fd, connected)| {
        let interest = if connected { Events::READ } else { Events::WRITE };
        core.handler_watch(index, fd.as_raw_fd(), interest)?;
        Ok((fd, connected))
    });
    Some(watched.map(|(fd, connected)| {
        alter(core, index, |stream| stream.fd = Some(fd));
        connected
    }))
}

fn begin_connecting(address: &SocketAddress, options: &Options) -> Result<(OwnedFd, bool)> {
    let fd = socket::open(address.family())?;
    set_options(fd.as_raw_fd(), address.ip().is_some(), options)?;
    let connected = socket::connect(fd.as_raw_fd(), address)?;
    Ok((fd, connected))
}
