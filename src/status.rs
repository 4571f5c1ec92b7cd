//! The one error type: what the C interface returns as a negative `int`.

use core::ffi::CStr;

/// A failure: `-errno`, or one of gyre's own codes below -4000. Always negative.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Status(i32);

/// What fallible functions of this crate return.
pub type Result<T> = core::result::Result<T, Status>;

impl Status {
    /// The failure that a result is; `None` for one that is not negative.
    pub fn from_result(result: i64) -> Option<Status> {
        i32::try_from(result).ok().filter(|code| *code < 0).map(Status)
    }

    /// The handle is none, stale, forged, or of another kind.
    pub const EHANDLE: Status = Status(-4001);
    /// The calling thread does not own the loop.
    pub const ETHREAD: Status = Status(-4002);
    /// Not from inside a callback.
    pub const EREENTRANT: Status = Status(-4003);
    /// The process was forked since the loop was opened.
    pub const EFORKED: Status = Status(-4004);
    /// The loop is being closed.
    pub const ECLOSING: Status = Status(-4005);
    /// The kernel, the backend or the engine cannot do this.
    pub const EUNSUPPORTED: Status = Status(-4006);
    /// A bounded queue is full; nothing was taken.
    pub const EFULL: Status = Status(-4007);

    /// `EAGAIN`.
    pub const EAGAIN: Status = Status::from_errno(libc::EAGAIN);
    /// `EBADF`.
    pub const EBADF: Status = Status::from_errno(libc::EBADF);
    /// `EALREADY`.
    pub const EALREADY: Status = Status::from_errno(libc::EALREADY);
    /// `ENOBUFS`.
    pub const ENOBUFS: Status = Status::from_errno(libc::ENOBUFS);
    /// `ETIME`.
    pub const ETIME: Status = Status::from_errno(libc::ETIME);
    /// `EBUSY`.
    pub const EBUSY: Status = Status::from_errno(libc::EBUSY);
    /// `ECANCELED`.
    pub const ECANCELED: Status = Status::from_errno(libc::ECANCELED);
    /// `ECONNABORTED`.
    pub const ECONNABORTED: Status = Status::from_errno(libc::ECONNABORTED);
    /// `EEXIST`.
    pub const EEXIST: Status = Status::from_errno(libc::EEXIST);
    /// `EINPROGRESS`.
    pub const EINPROGRESS: Status = Status::from_errno(libc::EINPROGRESS);
    /// `EINTR`.
    pub const EINTR: Status = Status::from_errno(libc::EINTR);
    /// `EINVAL`.
    pub const EINVAL: Status = Status::from_errno(libc::EINVAL);
    /// `ENOENT`.
    pub const ENOENT: Status = Status::from_errno(libc::ENOENT);
    /// `ENOMEM`.
    pub const ENOMEM: Status = Status::from_errno(libc::ENOMEM);
    /// `ENOSYS`.
    pub const ENOSYS: Status = Status::from_errno(libc::ENOSYS);
    /// `ENOTSOCK`.
    pub const ENOTSOCK: Status = Status::from_errno(libc::ENOTSOCK);
    /// `EOPNOTSUPP`.
    pub const EOPNOTSUPP: Status = Status::from_errno(libc::EOPNOTSUPP);
    /// `ESPIPE`.
    pub const ESPIPE: Status = Status::from_errno(libc::ESPIPE);
    /// `ETIMEDOUT`.
    pub const ETIMEDOUT: Status = Status::from_errno(libc::ETIMEDOUT);
    /// `EPIPE`.
    pub const EPIPE: Status = Status::from_errno(libc::EPIPE);
    /// `EPERM`.
    pub const EPERM: Status = Status::from_errno(libc::EPERM);

    /// The status of an `errno` value, which is positive by definition (errno(3)).
    pub const fn from_errno(errno: i32) -> Status {
        Status(errno.saturating_neg())
    }

    /// The status of the calling thread's `errno`.
    pub fn last_os_error() -> Status {
        Status::from_io(std::io::Error::last_os_error())
    }

    /// The status of an error of the standard library's.
    pub fn from_io(error: std::io::Error) -> Status {
        Status::from_errno(error.raw_os_error().unwrap_or(libc::EIO))
    }

    /// The value that C sees.
    pub const fn code(self) -> i32 {
        self.0
    }
}

/// The name of a status, as it stands in a header: `"EBADF"`, `"GYRE_EHANDLE"`, `"GYRE_OK"` for 0 and counts; `"?"` for
/// what is neither.
pub fn name(status: i32) -> &'static CStr {
    describe(status).0
}

/// A sentence for people.
pub fn message(status: i32) -> &'static CStr {
    describe(status).1
}

fn describe(status: i32) -> (&'static CStr, &'static CStr) {
    if status >= 0 {
        return (c"GYRE_OK", c"success");
    }
    let own = OWN.iter().find(|(own, ..)| own.code() == status).map(|(_, name, message)| (*name, *message));
    let errno = || ERRNO.iter().find(|(errno, ..)| errno.checked_neg() == Some(status));
    own.or_else(|| errno().map(|(_, name, message)| (*name, *message))).unwrap_or((c"?", c"unknown status"))
}

#[rustfmt::skip]
static OWN: [(Status, &CStr, &CStr); 7] = [
    (Status::EHANDLE, c"GYRE_EHANDLE", c"the handle is none, stale, forged, or of another kind"),
    (Status::ETHREAD, c"GYRE_ETHREAD", c"the calling thread does not own the loop"),
    (Status::EREENTRANT, c"GYRE_EREENTRANT", c"not allowed from inside a callback"),
    (Status::EFORKED, c"GYRE_EFORKED", c"the process was forked: call gyre_loop_after_fork or gyre_loop_close first"),
    (Status::ECLOSING, c"GYRE_ECLOSING", c"the loop is being closed"),
    (Status::EUNSUPPORTED, c"GYRE_EUNSUPPORTED", c"not supported by the kernel, the backend or the engine"),
    (Status::EFULL, c"GYRE_EFULL", c"a bounded queue is full; nothing was taken"),
];

/// errno(3), in order of the values that x86-64 gives them.
#[rustfmt::skip]
static ERRNO: &[(i32, &CStr, &CStr)] = &[
    (libc::EPERM, c"EPERM", c"operation not permitted"),
    (libc::ENOENT, c"ENOENT", c"no such file or directory"),
    (libc::ESRCH, c"ESRCH", c"no such process"),
    (libc::EINTR, c"EINTR", c"interrupted system call"),
    (libc::EIO, c"EIO", c"input/output error"),
    (libc::ENXIO, c"ENXIO", c"no such device or address"),
    (libc::E2BIG, c"E2BIG", c"argument list too long"),
    (libc::ENOEXEC, c"ENOEXEC", c"exec format error"),
    (libc::EBADF, c"EBADF", c"bad file descriptor"),
    (libc::ECHILD, c"ECHILD", c"no child processes"),
    (libc::EAGAIN, c"EAGAIN", c"resource temporarily unavailable"),
    (libc::ENOMEM, c"ENOMEM", c"cannot allocate memory"),
    (libc::EACCES, c"EACCES", c"permission denied"),
    (libc::EFAULT, c"EFAULT", c"bad address"),
    (libc::ENOTBLK, c"ENOTBLK", c"block device required"),
    (libc::EBUSY, c"EBUSY", c"device or resource busy"),
    (libc::EEXIST, c"EEXIST", c"file exists"),
    (libc::EXDEV, c"EXDEV", c"invalid cross-device link"),
    (libc::ENODEV, c"ENODEV", c"no such device"),
    (libc::ENOTDIR, c"ENOTDIR", c"not a directory"),
    (libc::EISDIR, c"EISDIR", c"is a directory"),
    (libc::EINVAL, c"EINVAL", c"invalid argument"),
    (libc::ENFILE, c"ENFILE", c"too many open files in system"),
    (libc::EMFILE, c"EMFILE", c"too many open files"),
    (libc::ENOTTY, c"ENOTTY", c"inappropriate ioctl for device"),
    (libc::ETXTBSY, c"ETXTBSY", c"text file busy"),
    (libc::EFBIG, c"EFBIG", c"file too large"),
    (libc::ENOSPC, c"ENOSPC", c"no space left on device"),
    (libc::ESPIPE, c"ESPIPE", c"illegal seek"),
    (libc::EROFS, c"EROFS", c"read-only file system"),
    (libc::EMLINK, c"EMLINK", c"too many links"),
    (libc::EPIPE, c"EPIPE", c"broken pipe"),
    (libc::EDOM, c"EDOM", c"numerical argument out of domain"),
    (libc::ERANGE, c"ERANGE", c"numerical result out of range"),
    (libc::EDEADLK, c"EDEADLK", c"resource deadlock avoided"),
    (libc::ENAMETOOLONG, c"ENAMETOOLONG", c"file name too long"),
    (libc::ENOLCK, c"ENOLCK", c"no locks available"),
    (libc::ENOSYS, c"ENOSYS", c"function not implemented"),
    (libc::ENOTEMPTY, c"ENOTEMPTY", c"directory not empty"),
    (libc::ELOOP, c"ELOOP", c"too many levels of symbolic links"),
    (libc::ENOMSG, c"ENOMSG", c"no message of desired type"),
    (libc::EIDRM, c"EIDRM", c"identifier removed"),
    (libc::ECHRNG, c"ECHRNG", c"channel number out of range"),
    (libc::EL2NSYNC, c"EL2NSYNC", c"level 2 not synchronized"),
    (libc::EL3HLT, c"EL3HLT", c"level 3 halted"),
    (libc::EL3RST, c"EL3RST", c"level 3 reset"),
    (libc::ELNRNG, c"ELNRNG", c"link number out of range"),
    (libc::EUNATCH, c"EUNATCH", c"protocol driver not attached"),
    (libc::ENOCSI, c"ENOCSI", c"no CSI structure available"),
    (libc::EL2HLT, c"EL2HLT", c"level 2 halted"),
    (libc::EBADE, c"EBADE", c"invalid exchange"),
    (libc::EBADR, c"EBADR", c"invalid request descriptor"),
    (libc::EXFULL, c"EXFULL", c"exchange full"),
    (libc::ENOANO, c"ENOANO", c"no anode"),
    (libc::EBADRQC, c"EBADRQC", c"invalid request code"),
    (libc::EBADSLT, c"EBADSLT", c"invalid slot"),
    (libc::EBFONT, c"EBFONT", c"bad font file format"),
    (libc::ENOSTR, c"ENOSTR", c"device not a stream"),
    (libc::ENODATA, c"ENODATA", c"no data available"),
    (libc::ETIME, c"ETIME", c"timer expired"),
    (libc::ENOSR, c"ENOSR", c"out of streams resources"),
    (libc::ENONET, c"ENONET", c"machine is not on the network"),
    (libc::ENOPKG, c"ENOPKG", c"package not installed"),
    (libc::EREMOTE, c"EREMOTE", c"object is remote"),
    (libc::ENOLINK, c"ENOLINK", c"link has been severed"),
    (libc::EADV, c"EADV", c"advertise error"),
    (libc::ESRMNT, c"ESRMNT", c"srmount error"),
    (libc::ECOMM, c"ECOMM", c"communication error on send"),
    (libc::EPROTO, c"EPROTO", c"protocol error"),
    (libc::EMULTIHOP, c"EMULTIHOP", c"multihop attempted"),
    (libc::EDOTDOT, c"EDOTDOT", c"RFS specific error"),
    (libc::EBADMSG, c"EBADMSG", c"bad message"),
    (libc::EOVERFLOW, c"EOVERFLOW", c"value too large for defined data type"),
    (libc::ENOTUNIQ, c"ENOTUNIQ", c"name not unique on network"),
    (libc::EBADFD, c"EBADFD", c"file descriptor in bad state"),
    (libc::EREMCHG, c"EREMCHG", c"remote address changed"),
    (libc::ELIBACC, c"ELIBACC", c"can not access a needed shared library"),
    (libc::ELIBBAD, c"ELIBBAD", c"accessing a corrupted shared library"),
    (libc::ELIBSCN, c"ELIBSCN", c".lib section in a.out corrupted"),
    (libc::ELIBMAX, c"ELIBMAX", c"attempting to link in too many shared libraries"),
    (libc::ELIBEXEC, c"ELIBEXEC", c"cannot exec a shared library directly"),
    (libc::EILSEQ, c"EILSEQ", c"invalid or incomplete multibyte or wide character"),
    (libc::ERESTART, c"ERESTART", c"interrupted system call should be restarted"),
    (libc::ESTRPIPE, c"ESTRPIPE", c"streams pipe error"),
    (libc::EUSERS, c"EUSERS", c"too many users"),
    (libc::ENOTSOCK, c"ENOTSOCK", c"socket operation on non-socket"),
    (libc::EDESTADDRREQ, c"EDESTADDRREQ", c"destination address required"),
    (libc::EMSGSIZE, c"EMSGSIZE", c"message too long"),
    (libc::EPROTOTYPE, c"EPROTOTYPE", c"protocol wrong type for socket"),
    (libc::ENOPROTOOPT, c"ENOPROTOOPT", c"protocol not available"),
    (libc::EPROTONOSUPPORT, c"EPROTONOSUPPORT", c"protocol not supported"),
    (libc::ESOCKTNOSUPPORT, c"ESOCKTNOSUPPORT", c"socket type not supported"),
    (libc::EOPNOTSUPP, c"EOPNOTSUPP", c"operation not supported"),
    (libc::EPFNOSUPPORT, c"EPFNOSUPPORT", c"protocol family not supported"),
    (libc::EAFNOSUPPORT, c"EAFNOSUPPORT", c"address family not supported by protocol"),
    (libc::EADDRINUSE, c"EADDRINUSE", c"address already in use"),
    (libc::EADDRNOTAVAIL, c"EADDRNOTAVAIL", c"cannot assign requested address"),
    (libc::ENETDOWN, c"ENETDOWN", c"network is down"),
    (libc::ENETUNREACH, c"ENETUNREACH", c"network is unreachable"),
    (libc::ENETRESET, c"ENETRESET", c"network dropped connection on reset"),
    (libc::ECONNABORTED, c"ECONNABORTED", c"software caused connection abort"),
    (libc::ECONNRESET, c"ECONNRESET", c"connection reset by peer"),
    (libc::ENOBUFS, c"ENOBUFS", c"no buffer space available"),
    (libc::EISCONN, c"EISCONN", c"transport endpoint is already connected"),
    (libc::ENOTCONN, c"ENOTCONN", c"transport endpoint is not connected"),
    (libc::ESHUTDOWN, c"ESHUTDOWN", c"cannot send after transport endpoint shutdown"),
    (libc::ETOOMANYREFS, c"ETOOMANYREFS", c"too many references: cannot splice"),
    (libc::ETIMEDOUT, c"ETIMEDOUT", c"connection timed out"),
    (libc::ECONNREFUSED, c"ECONNREFUSED", c"connection refused"),
    (libc::EHOSTDOWN, c"EHOSTDOWN", c"host is down"),
    (libc::EHOSTUNREACH, c"EHOSTUNREACH", c"no route to host"),
    (libc::EALREADY, c"EALREADY", c"operation already in progress"),
    (libc::EINPROGRESS, c"EINPROGRESS", c"operation now in progress"),
    (libc::ESTALE, c"ESTALE", c"stale file handle"),
    (libc::EUCLEAN, c"EUCLEAN", c"structure needs cleaning"),
    (libc::ENOTNAM, c"ENOTNAM", c"not a XENIX named type file"),
    (libc::ENAVAIL, c"ENAVAIL", c"no XENIX semaphores available"),
    (libc::EISNAM, c"EISNAM", c"is a named type file"),
    (libc::EREMOTEIO, c"EREMOTEIO", c"remote I/O error"),
    (libc::EDQUOT, c"EDQUOT", c"disk quota exceeded"),
    (libc::ENOMEDIUM, c"ENOMEDIUM", c"no medium found"),
    (libc::EMEDIUMTYPE, c"EMEDIUMTYPE", c"wrong medium type"),
    (libc::ECANCELED, c"ECANCELED", c"operation canceled"),
    (libc::ENOKEY, c"ENOKEY", c"required key not available"),
    (libc::EKEYEXPIRED, c"EKEYEXPIRED", c"key has expired"),
    (libc::EKEYREVOKED, c"EKEYREVOKED", c"key has been revoked"),
    (libc::EKEYREJECTED, c"EKEYREJECTED", c"key was rejected by service"),
    (libc::EOWNERDEAD, c"EOWNERDEAD", c"owner died"),
    (libc::ENOTRECOVERABLE, c"ENOTRECOVERABLE", c"state not recoverable"),
    (libc::ERFKILL, c"ERFKILL", c"operation not possible due to RF-kill"),
    (libc::EHWPOISON, c"EHWPOISON", c"memory page has hardware error"),
];
