//! The calls that operations are made of, none of which blocks the loop's thread: sockets by `MSG_DONTWAIT`, pipes and
//! terminals by `RWF_NOWAIT` or after readiness was seen. Flags of the caller's descriptors are never changed. No call raises
//! SIGPIPE.
//!
//! Buffers come as raw pointers: the caller's program has lent them to an operation until it completes (P2 of `proactor`).

use super::descriptor::without_sigpipe;
use super::poll::poll;
use crate::status::{Result, Status};
use core::mem::MaybeUninit;
use libc::{c_int, c_void, iovec, msghdr, sockaddr, sockaddr_storage, socklen_t};
use std::os::fd::RawFd;

/// What stands behind a descriptor, as far as operations are concerned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// Told by readiness, read by recv(2).
    Socket,
    /// Told by readiness, read by read(2): pipes, terminals, event and timer descriptors.
    Stream,
    /// Regular files, directories, block devices, and devices with offsets such as /dev/zero: no readiness.
    File,
}

/// The class of a descriptor; `-EBADF` for what is none.
pub fn class_of(fd: RawFd) -> Result<Class> {
    let mut stat = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: `stat` is valid to write to.
    if unsafe { libc::fstat(fd, stat.as_mut_ptr()) } != 0 {
        return Err(Status::last_os_error());
    }
    // SAFETY: fstat succeeded and so filled the struct.
    Ok(match unsafe { stat.assume_init() }.st_mode & libc::S_IFMT {
        libc::S_IFSOCK => Class::Socket,
        libc::S_IFREG | libc::S_IFDIR | libc::S_IFBLK => Class::File,
        // SAFETY: lseek takes no pointer; by 0 from here it moves nothing. Terminals answer ESPIPE.
        libc::S_IFCHR if unsafe { libc::lseek(fd, 0, libc::SEEK_CUR) } >= 0 => Class::File,
        _ => Class::Stream,
    })
}

/// A socket's address, as accept(2) writes it.
pub struct Address {
    storage: MaybeUninit<sockaddr_storage>,
    len: socklen_t,
}

impl Address {
    /// None yet.
    pub const EMPTY: Address = Address { storage: MaybeUninit::uninit(), len: 0 };

    /// Where an address may be written, and how long it may be.
    pub fn room(&mut self) -> (*mut sockaddr, *mut socklen_t) {
        self.len = size_of::<sockaddr_storage>() as socklen_t;
        (self.storage.as_mut_ptr().cast(), &raw mut self.len)
    }

    /// Where it stands, and how long it is; NULL and 0 for none.
    pub fn parts(&self) -> (*const sockaddr, socklen_t) {
        if self.len == 0 { (core::ptr::null(), 0) } else { (self.storage.as_ptr().cast(), self.len) }
    }
}

fn count(result: isize) -> Result<usize> {
    usize::try_from(result).map_err(|_| Status::last_os_error())
}

/// Makes the call again as long as a signal interrupts it.
fn uninterrupted<T>(mut call: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match call() {
            Err(Status::EINTR) => {}
            result => return result,
        }
    }
}

/// recv(2).
pub fn recv(fd: RawFd, buf: *mut u8, len: usize, flags: c_int) -> Result<usize> {
    // SAFETY: the buffer is lent to the operation until it completes.
    uninterrupted(|| count(unsafe { libc::recv(fd, buf.cast(), len, flags | libc::MSG_DONTWAIT) }))
}

/// send(2).
pub fn send(fd: RawFd, buf: *const u8, len: usize, flags: c_int) -> Result<usize> {
    let flags = flags | libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the buffer is lent to the operation until it completes.
    uninterrupted(|| count(unsafe { libc::send(fd, buf.cast(), len, flags) }))
}

/// recvmsg(2).
pub fn recvmsg(fd: RawFd, message: *mut msghdr, flags: c_int) -> Result<usize> {
    // SAFETY: the message and all that it points to are lent to the operation until it completes.
    uninterrupted(|| count(unsafe { libc::recvmsg(fd, message, flags | libc::MSG_DONTWAIT) }))
}

/// sendmsg(2).
pub fn sendmsg(fd: RawFd, message: *const msghdr, flags: c_int) -> Result<usize> {
    let flags = flags | libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the message and all that it points to are lent to the operation until it completes.
    uninterrupted(|| count(unsafe { libc::sendmsg(fd, message, flags) }))
}

fn message_of(iov: *const iovec, count: c_int) -> msghdr {
    // SAFETY: all zero is a valid msghdr.
    let mut message: msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_iov = iov.cast_mut();
    message.msg_iovlen = count as _;
    message
}

/// Reads from a socket or stream what is there, without waiting.
pub fn read_ready(fd: RawFd, class: Class, iov: *const iovec, pieces: c_int) -> Result<usize> {
    if class == Class::Socket {
        return recvmsg(fd, &mut message_of(iov, pieces), 0);
    }
    // SAFETY: the pieces are lent to the operation until it completes.
    match uninterrupted(|| count(unsafe { libc::preadv2(fd, iov, pieces, -1, libc::RWF_NOWAIT) })) {
        Err(Status::EOPNOTSUPP | Status::ENOSYS | Status::ESPIPE | Status::EINVAL) => {}
        result => return result,
    }
    check_ready(fd, libc::POLLIN)?;
    // SAFETY: as above; ready, so that it does not wait.
    uninterrupted(|| count(unsafe { libc::readv(fd, iov, pieces) }))
}

/// Writes to a socket or stream what it takes, without waiting.
pub fn write_ready(fd: RawFd, class: Class, iov: *const iovec, pieces: c_int) -> Result<usize> {
    if class == Class::Socket {
        return sendmsg(fd, &message_of(iov, pieces), 0);
    }
    // SAFETY: the pieces are lent to the operation until it completes.
    let now = || without_sigpipe(|| unsafe { libc::pwritev2(fd, iov, pieces, -1, libc::RWF_NOWAIT) });
    match uninterrupted(now) {
        Err(Status::EOPNOTSUPP | Status::ENOSYS | Status::ESPIPE | Status::EINVAL) => {}
        result => return result,
    }
    check_ready(fd, libc::POLLOUT)?;
    // A ready pipe takes at least PIPE_BUF bytes without waiting (pipe(7)), and so does a terminal.
    for index in 0..usize::try_from(pieces).unwrap_or(0) {
        // SAFETY: the index lies within the caller's pieces.
        let piece = unsafe { *iov.wrapping_add(index) };
        if piece.iov_len > 0 {
            let len = piece.iov_len.min(libc::PIPE_BUF);
            // SAFETY: the piece is lent to the operation until it completes.
            return uninterrupted(|| without_sigpipe(|| unsafe { libc::write(fd, piece.iov_base, len) }));
        }
    }
    Ok(0)
}

/// `-EAGAIN` unless a read or a write would not wait now.
fn check_ready(fd: RawFd, events: i16) -> Result<()> {
    let mut one = [libc::pollfd { fd, events, revents: 0 }];
    if poll(&mut one, Some(0))? == 0 { Err(Status::EAGAIN) } else { Ok(()) }
}

/// One connection from a listener's queue, non-blocking and close-on-exec, with the peer's address. `-EAGAIN` for none.
/// A connection that was aborted while it waited is skipped.
pub fn accept(fd: RawFd, address: &mut Address) -> Result<RawFd> {
    loop {
        // A blocking listener would wait: readiness may have been somebody else's by now.
        check_ready(fd, libc::POLLIN)?;
        let (room, len) = address.room();
        let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: the room and its length are valid to write to.
        let accepted = unsafe { libc::accept4(fd, room, len, flags) };
        if accepted >= 0 {
            return Ok(accepted);
        }
        address.len = 0;
        match Status::last_os_error() {
            Status::EINTR | Status::ECONNABORTED => {}
            status => return Err(status),
        }
    }
}

/// Begins to connect a socket, which must be non-blocking: `-EINVAL` for one that is not, for connect(2) would wait.
/// Returns whether it is connected already.
pub fn connect(fd: RawFd, address: *const sockaddr, len: socklen_t) -> Result<bool> {
    // SAFETY: F_GETFL takes no pointer.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    if flags < 0 {
        return Err(Status::last_os_error());
    }
    if flags & libc::O_NONBLOCK == 0 {
        return Err(Status::EINVAL);
    }
    // SAFETY: the address is lent to the operation until it completes.
    if unsafe { libc::connect(fd, address, len) } == 0 {
        return Ok(true);
    }
    match Status::last_os_error() {
        Status::EINPROGRESS | Status::EINTR => Ok(false), // interrupted, it goes on all the same (connect(2))
        status => Err(status),
    }
}

/// How the connecting ended; `-EAGAIN` while it goes on.
pub fn connected(fd: RawFd) -> Result<()> {
    check_ready(fd, libc::POLLOUT)?;
    let mut error: c_int = 0;
    let mut len = size_of::<c_int>() as socklen_t;
    // SAFETY: `error` and `len` are valid to write to, and `len` says how much.
    if unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_ERROR, (&raw mut error).cast(), &mut len) } != 0 {
        return Err(Status::last_os_error());
    }
    if error == 0 { Ok(()) } else { Err(Status::from_errno(error)) }
}

/// close(2). An interrupted one has closed the descriptor all the same, on Linux.
pub fn close(fd: RawFd) -> Result<()> {
    // SAFETY: the caller's program has asked for this descriptor to be closed, and holds no other claim on it.
    if unsafe { libc::close(fd) } == 0 {
        return Ok(());
    }
    match Status::last_os_error() {
        Status::EINTR => Ok(()),
        status => Err(status),
    }
}

/// A piece of file I/O. The pointers are the caller's, and valid until the job is done (P2).
#[derive(Clone, Copy, Debug)]
pub struct Job {
    /// The file.
    pub fd: RawFd,
    /// Where in the file; -1 for the file position.
    pub offset: i64,
    /// What to do.
    pub work: Work,
}

/// What a job does.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// pread(2) or read(2).
    Read {
        /// Where to.
        buf: *mut u8,
        /// How many bytes; at most `SSIZE_MAX`.
        len: usize,
    },
    /// pwrite(2) or write(2).
    Write {
        /// Where from.
        buf: *const u8,
        /// How many bytes; at most `SSIZE_MAX`.
        len: usize,
    },
    /// preadv(2) or readv(2).
    Readv {
        /// The pieces.
        iov: *const libc::iovec,
        /// How many; 0 to `IOV_MAX`.
        count: i32,
    },
    /// pwritev(2) or writev(2).
    Writev {
        /// The pieces.
        iov: *const libc::iovec,
        /// How many; 0 to `IOV_MAX`.
        count: i32,
    },
    /// fsync(2), or fdatasync(2).
    Sync {
        /// Whether metadata that no read needs may be left out.
        data_only: bool,
    },
}

// SAFETY: the pointers are handed from the loop's thread to a worker and back; by P2 nobody else uses what they point to
// meanwhile.
unsafe impl Send for Job {}

/// Carries out a job, waiting as long as it takes: for threads that may wait. Returns bytes or a negative status.
pub fn run_job(job: &Job) -> i64 {
    let (fd, offset) = (job.fd, job.offset);
    let positioned = offset >= 0;
    let run = || {
        // SAFETY: what the job points to is lent to the operation until it completes.
        let result = unsafe {
            match job.work {
                Work::Read { buf, len } if positioned => libc::pread(fd, buf.cast::<c_void>(), len, offset),
                Work::Read { buf, len } => libc::read(fd, buf.cast::<c_void>(), len),
                Work::Write { buf, len } if positioned => libc::pwrite(fd, buf.cast::<c_void>(), len, offset),
                Work::Write { buf, len } => libc::write(fd, buf.cast::<c_void>(), len),
                Work::Readv { iov, count } if positioned => libc::preadv(fd, iov, count, offset),
                Work::Readv { iov, count } => libc::readv(fd, iov, count),
                Work::Writev { iov, count } if positioned => libc::pwritev(fd, iov, count, offset),
                Work::Writev { iov, count } => libc::writev(fd, iov, count),
                Work::Sync { data_only: true } => libc::fdatasync(fd) as isize,
                Work::Sync { data_only: false } => libc::fsync(fd) as isize,
            }
        };
        count(result)
    };
    match uninterrupted(run) {
        Ok(bytes) => bytes as i64,
        Err(status) => i64::from(status.code()),
    }
}
