//! Jobs as the kernel takes them: entries of the submission queue.

use super::buffers::GROUP;
use crate::proactor::{Job, Transfer, Work};
use crate::status::Status;
use core::mem::MaybeUninit;
use io_uring::squeue::Entry;
use io_uring::{opcode, types};
use std::os::fd::RawFd;

/// The most that one read or write transfers on Linux, whatever is asked for (read(2)).
const MAX_TRANSFER: usize = 0x7fff_f000;

/// What accepted descriptors have from birth.
const ACCEPTED: i32 = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;

fn clamp(len: usize) -> u32 {
    len.min(MAX_TRANSFER) as u32
}

/// The entry of a job on a file.
pub fn of_job(job: &Job) -> Entry {
    let fd = types::Fd(job.fd);
    let offset = u64::try_from(job.offset).unwrap_or(u64::MAX); // which is the file position
    match job.work {
        Work::Read { buf, len } => opcode::Read::new(fd, buf, clamp(len)).offset(offset).build(),
        Work::Write { buf, len } => opcode::Write::new(fd, buf, clamp(len)).offset(offset).build(),
        Work::Readv { iov, count } => opcode::Readv::new(fd, iov, count.unsigned_abs()).offset(offset).build(),
        Work::Writev { iov, count } => opcode::Writev::new(fd, iov, count.unsigned_abs()).offset(offset).build(),
        Work::Sync { data_only: true } => opcode::Fsync::new(fd).flags(types::FsyncFlags::DATASYNC).build(),
        Work::Sync { data_only: false } => opcode::Fsync::new(fd).build(),
    }
}

/// The entry of an operation on a socket. The flags are those of the other engines' calls, which never wait in the
/// kernel: MSG_DONTWAIT would make this one complete with `-EAGAIN`, and MSG_WAITALL would make a receive wait for more.
pub fn of_transfer(fd: RawFd, transfer: &Transfer) -> Entry {
    let fd = types::Fd(fd);
    let receiving = |flags: i32| flags & !(libc::MSG_DONTWAIT | libc::MSG_WAITALL);
    let sending = |flags: i32| (flags & !(libc::MSG_DONTWAIT | libc::MSG_WAITALL)) | libc::MSG_NOSIGNAL;
    match *transfer {
        Transfer::Receive { buf, len, flags } => opcode::Recv::new(fd, buf, clamp(len)).flags(receiving(flags)).build(),
        Transfer::Send { buf, len, flags, all } => {
            let all = if all { libc::MSG_WAITALL } else { 0 };
            opcode::Send::new(fd, buf, clamp(len)).flags(sending(flags) | all).build()
        }
        Transfer::ReceiveMessage { message, flags } => {
            opcode::RecvMsg::new(fd, message).flags(receiving(flags) as u32).build()
        }
        Transfer::SendMessage { message, flags } => {
            opcode::SendMsg::new(fd, message).flags(sending(flags) as u32).build()
        }
        Transfer::Accept { address, len } => opcode::Accept::new(fd, address, len).flags(ACCEPTED).build(),
        Transfer::AcceptMany => opcode::AcceptMulti::new(fd).flags(ACCEPTED).build(),
        Transfer::ReceiveMany => opcode::RecvMulti::new(fd, GROUP).build(),
    }
}

/// Whether the process may write only so far into a file.
pub fn file_size_is_limited() -> bool {
    let mut limit = MaybeUninit::<libc::rlimit>::uninit();
    // SAFETY: `limit` is valid to write to, and read only when getrlimit has filled it.
    unsafe {
        libc::getrlimit(libc::RLIMIT_FSIZE, limit.as_mut_ptr()) != 0
            || limit.assume_init().rlim_cur != libc::RLIM_INFINITY
    }
}

/// A result as it is told. EINTR is what a cancel makes of I/O that was going on: nobody else interrupts the kernel's
/// threads.
pub fn result_of(result: i32) -> i64 {
    i64::from(if result == Status::EINTR.code() { Status::ECANCELED.code() } else { result })
}
