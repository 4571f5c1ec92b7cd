//! Child processes by descriptor: pidfd_open(2) and waitid(2).

use crate::status::{Result, Status};
use core::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// How a child ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// It called exit with this code.
    Exited(i32),
    /// A signal killed it, with or without a core dump.
    Killed {
        /// The signal's number.
        signal: i32,
        /// Whether a core was dumped.
        core_dumped: bool,
    },
}

const P_PIDFD: libc::idtype_t = 3; // since Linux 5.4

/// A descriptor that becomes readable when the process `pid` ends.
pub fn open(pid: libc::pid_t) -> Result<OwnedFd> {
    // SAFETY: pidfd_open takes no pointer. The descriptor is close-on-exec by definition.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, libc::PIDFD_NONBLOCK) };
    let fd = i32::try_from(fd).unwrap_or(-1);
    if fd < 0 {
        // Kernels before 5.3, and emulators, do not have the call.
        return Err(match Status::last_os_error() {
            Status::ENOSYS => Status::EUNSUPPORTED,
            status => status,
        });
    }
    // SAFETY: the descriptor was just made and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `-ECHILD` unless the process is a child of this one that nobody has waited for.
pub fn check_child(pidfd: BorrowedFd<'_>) -> Result<()> {
    wait(pidfd, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT).map(|_| ())
}

/// Takes the child's end from the kernel, once; `None` while it still runs, `-ECHILD` when somebody else took it.
pub fn reap(pidfd: BorrowedFd<'_>) -> Result<Option<Ending>> {
    wait(pidfd, libc::WEXITED | libc::WNOHANG)
}

fn wait(pidfd: BorrowedFd<'_>, options: i32) -> Result<Option<Ending>> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let id = pidfd.as_raw_fd() as libc::id_t;
    loop {
        // SAFETY: `info` is valid to write to.
        if unsafe { libc::waitid(P_PIDFD, id, info.as_mut_ptr(), options) } == 0 {
            break;
        }
        match Status::last_os_error() {
            Status::EINTR => {}
            status => return Err(status),
        }
    }
    // SAFETY: zeroed at first, and filled by waitid when there was a child to tell of.
    let info = unsafe { info.assume_init() };
    // SAFETY: waitid fills the SIGCHLD members of the union, or leaves the zeroes.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    Ok(match (pid, info.si_code) {
        (0, _) => None,
        (_, libc::CLD_EXITED) => Some(Ending::Exited(status)),
        (_, code) => Some(Ending::Killed { signal: status, core_dumped: code == libc::CLD_DUMPED }),
    })
}
