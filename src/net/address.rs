//! Addresses as text: `127.0.0.1:80`, `[::1]:80`, `[fe80::1%2]:80`, `unix:/path`. Numeric only: nothing is looked up,
//! and there is no short form that means every interface.

use crate::status::{Result, Status};
use crate::sys::memory::reserve;
use crate::sys::socket::SocketAddress;
use core::fmt::{self, Write};

/// More addresses than this are refused where several are taken.
const LIMIT: usize = 64;

const UNIX: &[u8] = b"unix:";

/// The path of a Unix socket's address.
pub fn unix_path(text: &[u8]) -> Option<&[u8]> {
    text.strip_prefix(UNIX)
}

/// One address; `-EINVAL` for what is none, `-ENAMETOOLONG` for a path that no socket can have.
pub fn parse(text: &[u8]) -> Result<SocketAddress> {
    match unix_path(text) {
        Some([]) => Err(Status::EINVAL),
        Some(path) => SocketAddress::from_path(path),
        None => {
            let text = core::str::from_utf8(text).map_err(|_| Status::EINVAL)?;
            text.parse().map(SocketAddress::from_ip).map_err(|_| Status::EINVAL)
        }
    }
}

/// Several addresses with commas between them; the path of a Unix socket can hold none here. The last one comes first,
/// to be popped in order.
pub fn parse_list(text: &[u8]) -> Result<Vec<SocketAddress>> {
    let mut addresses = Vec::new();
    for one in text.rsplit(|byte| *byte == b',') {
        if addresses.len() >= LIMIT {
            return Err(Status::EINVAL);
        }
        reserve(&mut addresses, 1)?;
        addresses.push(parse(one)?);
    }
    Ok(addresses)
}

/// Writes an address in the form that [`parse`] takes.
pub fn format(address: &SocketAddress, out: &mut impl Write) -> fmt::Result {
    if let Some(ip) = address.ip() {
        return write!(out, "{ip}");
    }
    let written = address.with_path(|path| {
        out.write_str("unix:")?;
        // A path is bytes; as text it keeps those that are UTF-8, and abstract names show their NUL as an at-sign.
        match path.split_first() {
            Some((0, name)) => write!(out, "@{}", String::from_utf8_lossy(name)),
            _ => out.write_str(&String::from_utf8_lossy(path)),
        }
    });
    written.unwrap_or_else(|| write!(out, "family {}", address.family()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(address: &SocketAddress) -> String {
        let mut text = String::new();
        format(address, &mut text).unwrap();
        text
    }

    #[test]
    fn an_address_comes_back_as_the_text_it_was_made_from() {
        for text in
            ["127.0.0.1:0", "255.255.255.255:65535", "[::1]:8080", "[fe80::1%2]:80", "unix:/run/a b.sock", "unix:x"]
        {
            assert_eq!(text_of(&parse(text.as_bytes()).unwrap()), text);
        }
    }

    #[test]
    fn what_is_not_numeric_and_whole_is_refused() {
        for text in [
            "",
            ":80",
            "80",
            "*:80",
            "localhost:80",
            "127.0.0.1",
            "127.0.0.1:",
            "127.0.0.1:65536",
            "127.0.0.1:-1",
            "127.1:80",
            " 127.0.0.1:80",
            "127.0.0.1:80 ",
            "::1:80",
            "[::1]",
            "[::1:80",
            "unix:",
            "tcp:127.0.0.1:80",
            "127.0.0.1:80,127.0.0.1:81",
            "\u{ff11}27.0.0.1:80",
        ] {
            assert_eq!(parse(text.as_bytes()).err(), Some(Status::EINVAL), "{text}");
        }
        assert_eq!(parse(b"\xff\xfe").err(), Some(Status::EINVAL));
    }

    #[test]
    fn a_path_of_107_bytes_is_the_longest() {
        let path = |len: usize| [UNIX, &vec![b'p'; len]].concat();
        assert_eq!(text_of(&parse(&path(107)).unwrap()).len(), 112);
        assert_eq!(parse(&path(108)).err(), Some(Status::from_errno(libc::ENAMETOOLONG)));
    }

    #[test]
    fn a_list_is_popped_in_order_and_has_no_gaps() {
        let mut list = parse_list(b"[::1]:1,127.0.0.1:2,unix:/x").unwrap();
        let order: Vec<_> = core::iter::from_fn(|| list.pop()).map(|address| text_of(&address)).collect();
        assert_eq!(order, ["[::1]:1", "127.0.0.1:2", "unix:/x"]);
        for text in ["", ",", "127.0.0.1:1,", ",127.0.0.1:1", "127.0.0.1:1,,127.0.0.1:2"] {
            assert_eq!(parse_list(text.as_bytes()).err(), Some(Status::EINVAL), "{text}");
        }
        let many = |count: usize| vec!["127.0.0.1:1"; count].join(",");
        assert_eq!(parse_list(many(LIMIT).as_bytes()).unwrap().len(), LIMIT);
        assert_eq!(parse_list(many(LIMIT + 1).as_bytes()).err(), Some(Status::EINVAL));
    }

    #[test]
    fn an_unnamed_socket_has_an_address_without_a_path() {
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let local = crate::sys::socket::local(std::os::fd::AsRawFd::as_raw_fd(&one)).unwrap();
        assert_eq!(text_of(&local), "unix:");
    }
}
