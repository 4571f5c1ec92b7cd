//! The calls that streams and listeners are made of. Nothing here blocks, and nothing raises SIGPIPE.
//!
//! Descriptors come as numbers: they belong to an object of `net` that holds them as `OwnedFd` for as long as it uses
//! them.

use crate::status::{Result, Status};
use core::mem::{MaybeUninit, offset_of};
use libc::{c_int, iovec, sa_family_t, sockaddr_in, sockaddr_in6, sockaddr_storage, sockaddr_un, socklen_t};
use std::ffi::CString;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// A socket's address as the kernel takes it and gives it.
pub struct SocketAddress {
    storage: sockaddr_storage,
    len: socklen_t,
}

const UNIX_PATH: usize = offset_of!(sockaddr_un, sun_path);
const UNIX_PATH_MAX: usize = size_of::<sockaddr_un>() - UNIX_PATH;

impl SocketAddress {
    fn empty() -> SocketAddress {
        // SAFETY: all zero is a valid sockaddr_storage.
        let storage = unsafe { MaybeUninit::zeroed().assume_init() };
        SocketAddress { storage, len: 0 }
    }

    fn put<T>(value: T) -> SocketAddress {
        const { assert!(size_of::<T>() <= size_of::<sockaddr_storage>()) };
        const { assert!(align_of::<T>() <= align_of::<sockaddr_storage>()) };
        let mut address = SocketAddress::empty();
        // SAFETY: the storage is large enough and aligned, by the assertions above.
        unsafe { (&raw mut address.storage).cast::<T>().write(value) };
        address.len = size_of::<T>() as socklen_t;
        address
    }

    /// What the kernel has written, as one kind of address.
    ///
    /// # Safety
    /// T is plain data, no larger and no more aligned than a `sockaddr_storage`.
    unsafe fn get<T: Copy>(&self) -> T {
        // SAFETY: by this function's contract; the storage is initialised to its end.
        unsafe { (&raw const self.storage).cast::<T>().read() }
    }

    /// An address of IPv4 or IPv6.
    pub fn from_ip(address: SocketAddr) -> SocketAddress {
        match address {
            SocketAddr::V4(v4) => SocketAddress::put(sockaddr_in {
                sin_family: libc::AF_INET as sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from(*v4.ip()).to_be() },
                sin_zero: [0; 8],
            }),
            SocketAddr::V6(v6) => SocketAddress::put(sockaddr_in6 {
                sin6_family: libc::AF_INET6 as sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            }),
        }
    }

    /// The address of a Unix socket; `-ENAMETOOLONG` for a path that does not fit with its NUL.
    pub fn from_path(path: &[u8]) -> Result<SocketAddress> {
        if path.len() >= UNIX_PATH_MAX {
            return Err(Status::from_errno(libc::ENAMETOOLONG));
        }
        let mut unix = sockaddr_un { sun_family: libc::AF_UNIX as sa_family_t, sun_path: [0; UNIX_PATH_MAX] };
        for (place, byte) in unix.sun_path.iter_mut().zip(path) {
            *place = *byte as libc::c_char;
        }
        let mut address = SocketAddress::put(unix);
        address.len = UNIX_PATH.saturating_add(path.len()).saturating_add(1) as socklen_t;
        Ok(address)
    }

    /// `AF_INET`, `AF_INET6`, `AF_UNIX` or another.
    pub fn family(&self) -> c_int {
        c_int::from(self.storage.ss_family)
    }

    /// The address of IPv4 or IPv6, if it is one.
    pub fn ip(&self) -> Option<SocketAddr> {
        match self.family() {
            libc::AF_INET => {
                // SAFETY: a sockaddr_in is plain data and fits.
                let v4: sockaddr_in = unsafe { self.get() };
                let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
                Some(SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(v4.sin_port))))
            }
            libc::AF_INET6 => {
                // SAFETY: a sockaddr_in6 is plain data and fits.
                let v6: sockaddr_in6 = unsafe { self.get() };
                let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
                let port = u16::from_be(v6.sin6_port);
                Some(SocketAddr::V6(SocketAddrV6::new(ip, port, v6.sin6_flowinfo, v6.sin6_scope_id)))
            }
            _ => None,
        }
    }

    /// Calls `with` with the path of a Unix socket; an unnamed one has an empty path.
    pub fn with_path<T>(&self, with: impl FnOnce(&[u8]) -> T) -> Option<T> {
        if self.family() != libc::AF_UNIX {
            return None;
        }
        // SAFETY: a sockaddr_un is plain data and fits.
        let unix: sockaddr_un = unsafe { self.get() };
        let bytes = unix.sun_path.map(|byte| byte as u8);
        let given = bytes.get(..(self.len as usize).saturating_sub(UNIX_PATH)).unwrap_or_default();
        let (first, rest) = given.split_first().unwrap_or((&0, &[]));
        if *first == 0 && !rest.is_empty() {
            return Some(with(given)); // a name in the abstract namespace
        }
        Some(with(given.split(|byte| *byte == 0).next().unwrap_or_default()))
    }

    fn as_ptr(&self) -> *const libc::sockaddr {
        (&raw const self.storage).cast()
    }
}

fn check(result: c_int) -> Result<()> {
    if result < 0 { Err(Status::last_os_error()) } else { Ok(()) }
}

fn count(result: isize) -> Result<usize> {
    usize::try_from(result).map_err(|_| Status::last_os_error())
}

/// A stream socket, non-blocking and close-on-exec.
pub fn open(family: c_int) -> Result<OwnedFd> {
    // SAFETY: socket takes no pointer.
    let fd = unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, 0) };
    check(fd)?;
    Ok(own(fd))
}

/// Takes over a descriptor that the caller's program has given away, or that was just made.
pub fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: the descriptor was given away to this library, which holds it here and nowhere else.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// bind(2).
pub fn bind(fd: RawFd, address: &SocketAddress) -> Result<()> {
    // SAFETY: pointer and length are of a live address.
    check(unsafe { libc::bind(fd, address.as_ptr(), address.len) })
}

/// listen(2).
pub fn listen(fd: RawFd, backlog: c_int) -> Result<()> {
    // SAFETY: listen takes no pointer.
    check(unsafe { libc::listen(fd, backlog) })
}

/// One connection from a listener's queue, non-blocking and close-on-exec. The listener must be non-blocking.
pub fn accept(fd: RawFd) -> Result<OwnedFd> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: no address is asked for.
    let accepted = unsafe { libc::accept4(fd, core::ptr::null_mut(), core::ptr::null_mut(), flags) };
    check(accepted)?;
    Ok(own(accepted))
}

/// Begins to connect; returns whether it is connected already.
pub fn connect(fd: RawFd, address: &SocketAddress) -> Result<bool> {
    // SAFETY: pointer and length are of a live address.
    match check(unsafe { libc::connect(fd, address.as_ptr(), address.len) }) {
        Ok(()) => Ok(true),
        Err(Status::EINPROGRESS | Status::EINTR) => Ok(false), // interrupted, it goes on all the same (connect(2))
        Err(status) => Err(status),
    }
}

fn option(fd: RawFd, level: c_int, name: c_int) -> Result<c_int> {
    let mut value: c_int = 0;
    let mut len = size_of::<c_int>() as socklen_t;
    // SAFETY: value and length are valid to write to, and the length says how much.
    check(unsafe { libc::getsockopt(fd, level, name, (&raw mut value).cast(), &mut len) })?;
    Ok(value)
}

fn set_option<T>(fd: RawFd, level: c_int, name: c_int, value: T) -> Result<()> {
    // SAFETY: pointer and length are of a live value.
    check(unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), size_of::<T>() as socklen_t) })
}

/// The error that is pending on a socket, which is then not pending any more.
pub fn pending_error(fd: RawFd) -> Result<()> {
    match option(fd, libc::SOL_SOCKET, libc::SO_ERROR)? {
        0 => Ok(()),
        errno => Err(Status::from_errno(errno)),
    }
}

/// SO_REUSEADDR: connections of an earlier listener that are still being wound up do not keep the address.
pub fn reuse_address(fd: RawFd) -> Result<()> {
    set_option(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1 as c_int)
}

/// SO_REUSEPORT: several listeners share the address.
pub fn reuse_port(fd: RawFd) -> Result<()> {
    set_option(fd, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1 as c_int)
}

/// IPV6_V6ONLY: `[::]` does not take IPv4 as well.
pub fn ipv6_only(fd: RawFd) -> Result<()> {
    set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1 as c_int)
}

/// TCP_NODELAY. On Linux the connections that a listener accepts take it over from the listener (tcp(7)).
pub fn no_delay(fd: RawFd) -> Result<()> {
    set_option(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1 as c_int)
}

/// SO_KEEPALIVE. Accepted connections take it over from the listener.
pub fn keep_alive(fd: RawFd) -> Result<()> {
    set_option(fd, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1 as c_int)
}

/// The next close resets the connection, and drops what is still to be sent.
pub fn reset_on_close(fd: RawFd) -> Result<()> {
    set_option(fd, libc::SOL_SOCKET, libc::SO_LINGER, libc::linger { l_onoff: 1, l_linger: 0 })
}

/// Checks a stream socket that is given away, and makes it non-blocking and close-on-exec: `-ENOTSOCK` for no socket,
/// `-EINVAL` for one of another type, or for one that listens where it should not or the other way round; `-ENOTCONN`.
pub fn prepare_adopted(fd: RawFd, listens: bool) -> Result<()> {
    let is_stream = option(fd, libc::SOL_SOCKET, libc::SO_TYPE)? == libc::SOCK_STREAM;
    let is_listener = option(fd, libc::SOL_SOCKET, libc::SO_ACCEPTCONN)? != 0;
    if !is_stream || is_listener != listens {
        return Err(Status::EINVAL);
    }
    if !listens {
        peer(fd)?;
    }
    // SAFETY: these take no pointer.
    unsafe {
        let flags = libc::fcntl(fd, libc::F_GETFL);
        check(flags)?;
        check(libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK))?;
        check(libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC))
    }
}

type NameCall = unsafe extern "C" fn(c_int, *mut libc::sockaddr, *mut socklen_t) -> c_int;

fn name(fd: RawFd, call: NameCall) -> Result<SocketAddress> {
    let mut address = SocketAddress::empty();
    address.len = size_of::<sockaddr_storage>() as socklen_t;
    // SAFETY: storage and length are valid to write to, and the length says how much.
    check(unsafe { call(fd, (&raw mut address.storage).cast(), &mut address.len) })?;
    Ok(address)
}

/// A socket's own address.
pub fn local(fd: RawFd) -> Result<SocketAddress> {
    name(fd, libc::getsockname)
}

/// The address of what a socket is connected to.
pub fn peer(fd: RawFd) -> Result<SocketAddress> {
    name(fd, libc::getpeername)
}

/// Receives what is there; 0 at the end of the stream.
#[inline]
pub fn recv(fd: RawFd, buffer: &mut [u8]) -> Result<usize> {
    loop {
        // SAFETY: pointer and length are of a live slice.
        match count(unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_DONTWAIT) }) {
            Err(Status::EINTR) => {}
            result => return result,
        }
    }
}

/// How many bytes have come that were not received.
pub fn unread(fd: RawFd) -> usize {
    queued(fd, libc::FIONREAD)
}

/// How much the kernel holds that the peer has not taken, in bytes of TCP, or in what a Unix socket counts for them.
pub fn untaken(fd: RawFd) -> usize {
    queued(fd, libc::TIOCOUTQ)
}

fn queued(fd: RawFd, request: libc::Ioctl) -> usize {
    let mut bytes: c_int = 0;
    // SAFETY: both requests write one int.
    match check(unsafe { libc::ioctl(fd, request, &raw mut bytes) }) {
        Ok(()) => usize::try_from(bytes).unwrap_or(0),
        Err(_) => 0,
    }
}

const SEND_FLAGS: c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

/// Sends what the socket takes.
#[inline]
pub fn send(fd: RawFd, bytes: &[u8]) -> Result<usize> {
    loop {
        // SAFETY: pointer and length are of a live slice.
        match count(unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), SEND_FLAGS) }) {
            Err(Status::EINTR) => {}
            result => return result,
        }
    }
}

/// A piece of what is to be sent.
#[derive(Clone, Copy)]
#[repr(transparent)] // an array of them is what sendmsg(2) takes
pub struct Piece(iovec);

impl Piece {
    /// Nothing.
    pub const EMPTY: Piece = Piece(iovec { iov_base: core::ptr::null_mut(), iov_len: 0 });

    /// Bytes that live until the call that sends them.
    pub fn new(data: *const u8, len: usize) -> Piece {
        Piece(iovec { iov_base: data.cast_mut().cast(), iov_len: len })
    }

    /// How many bytes.
    pub fn len(&self) -> usize {
        self.0.iov_len
    }
}

/// Sends what the socket takes of several pieces, in order.
pub fn send_pieces(fd: RawFd, pieces: &[Piece]) -> Result<usize> {
    // SAFETY: all zero is a valid msghdr.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_iov = pieces.as_ptr().cast_mut().cast();
    message.msg_iovlen = pieces.len() as _;
    loop {
        // SAFETY: the message is valid; the pieces live, by the contract of `Piece::new`, and are only read.
        match count(unsafe { libc::sendmsg(fd, &raw const message, SEND_FLAGS) }) {
            Err(Status::EINTR) => {}
            result => return result,
        }
    }
}

/// Tells the peer that nothing more comes.
pub fn shut_down_writing(fd: RawFd) -> Result<()> {
    // SAFETY: shutdown takes no pointer.
    check(unsafe { libc::shutdown(fd, libc::SHUT_WR) })
}

/// A Unix socket that a listener has made in the file system.
pub struct SocketFile {
    path: CString,
    device_and_inode: (u64, u64),
    /// The process that made it; a child of fork leaves it alone.
    process: u32,
}

impl SocketFile {
    /// Notes what stands at `path` now.
    pub fn note(path: &[u8]) -> Result<SocketFile> {
        let path = CString::new(path).map_err(|_| Status::EINVAL)?;
        let (device_and_inode, _) = look(&path)?;
        Ok(SocketFile { path, device_and_inode, process: std::process::id() })
    }

    /// Removes the file if it is still the same, and this process has made it.
    pub fn remove(&self) {
        if self.process == std::process::id() && look(&self.path).is_ok_and(|(found, _)| found == self.device_and_inode)
        {
            // SAFETY: the path is a live C string. When the file has gone meanwhile there is nothing to remove.
            unsafe { libc::unlink(self.path.as_ptr()) };
        }
    }
}

/// Device and inode of what stands at a path, and whether it is a socket.
fn look(path: &CString) -> Result<((u64, u64), bool)> {
    let mut stat = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the path is a live C string and `stat` is valid to write to.
    check(unsafe { libc::lstat(path.as_ptr(), stat.as_mut_ptr()) })?;
    // SAFETY: lstat succeeded and so filled the struct.
    let stat = unsafe { stat.assume_init() };
    Ok(((stat.st_dev, stat.st_ino), stat.st_mode & libc::S_IFMT == libc::S_IFSOCK))
}

/// Removes a socket that nobody listens on any more: what a server leaves behind that was killed. Returns whether the
/// path is free now.
///
/// Between the look and the removal another process may do the same and bind its own; a look right before the removal
/// makes that a matter of microseconds, and more than that the file system does not offer.
pub fn remove_if_dead(path: &[u8], address: &SocketAddress) -> Result<bool> {
    let name = CString::new(path).map_err(|_| Status::EINVAL)?;
    let Ok((before, true)) = look(&name) else { return Ok(false) };
    let probe = open(libc::AF_UNIX)?;
    if connect(probe.as_raw_fd(), address) != Err(Status::from_errno(libc::ECONNREFUSED)) {
        return Ok(false); // somebody listens, or it is another type of socket
    }
    if !look(&name).is_ok_and(|(now, _)| now == before) {
        return Ok(false);
    }
    // SAFETY: the path is a live C string.
    check(unsafe { libc::unlink(name.as_ptr()) })?;
    Ok(true)
}
