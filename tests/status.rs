//! The names and messages of statuses.

mod support;

use gyre::capi::*;
use std::collections::HashSet;
use std::ffi::{CStr, c_char, c_int};
use support::*;

fn message(status: c_int) -> &'static str {
    text(gyre_status_message(status))
}

/// What the C library calls an errno; `None` when this C library cannot tell.
fn name_in_libc() -> Option<impl Fn(c_int) -> Option<&'static str>> {
    // SAFETY: the name ends with NUL.
    let symbol = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"strerrorname_np".as_ptr()) };
    if symbol.is_null() {
        return None;
    }
    // SAFETY: glibc's `const char *strerrorname_np(int errnum)`.
    let function = unsafe { std::mem::transmute::<*mut libc::c_void, extern "C" fn(c_int) -> *const c_char>(symbol) };
    Some(move |errno| {
        let name = function(errno);
        // SAFETY: NULL, or a string that lives as long as the C library.
        (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) }.to_str().unwrap())
    })
}

#[test]
fn every_errno_has_the_name_that_the_c_library_gives_it() {
    let Some(name_in_libc) = name_in_libc() else {
        return say("status: SKIPPED, this C library has no strerrorname_np to compare with");
    };
    for errno in 1..=4000 {
        let expected = match name_in_libc(errno) {
            Some("ENOTSUP") => "EOPNOTSUPP", // one number, two names
            Some(name) => name,
            None => "?",
        };
        assert_eq!(name(-errno), expected, "-{errno}");
    }
    assert!((1..=133).filter(|errno| name(-errno) != "?").count() > 120);
}

#[test]
fn every_status_has_a_message_of_its_own() {
    let named = (-5000..=0).filter(|status| name(*status) != "?").collect::<Vec<_>>();
    let messages = named.iter().map(|status| message(*status)).collect::<HashSet<_>>();
    assert_eq!(messages.len(), named.len());
    for text in messages {
        assert!(!text.is_empty() && text.trim() == text && !text.ends_with('.') && !text.contains('\n'), "{text:?}");
    }
    assert_eq!(message(-libc::EBADF), "bad file descriptor");
}

#[test]
fn gyres_own_statuses_have_names_and_stable_values() {
    let own = [
        (-4001, "GYRE_EHANDLE", EHANDLE),
        (-4002, "GYRE_ETHREAD", ETHREAD),
        (-4003, "GYRE_EREENTRANT", EREENTRANT),
        (-4004, "GYRE_EFORKED", EFORKED),
        (-4005, "GYRE_ECLOSING", ECLOSING),
        (-4006, "GYRE_EUNSUPPORTED", EUNSUPPORTED),
        (-4007, "GYRE_EFULL", EFULL),
    ];
    for (value, expected, constant) in own {
        assert_eq!((name(value), constant), (expected, value));
    }
    for count in [0, 1, 133, c_int::MAX] {
        assert_eq!((name(count), message(count)), ("GYRE_OK", "success"));
    }
    for nothing in [-134, -4000, -4008, -5000, c_int::MIN, c_int::MIN + 1] {
        assert_eq!((name(nothing), message(nothing)), ("?", "unknown status"), "{nothing}");
    }
}

#[test]
fn the_version_is_the_packages() {
    let part = |text: &str| text.parse::<u32>().unwrap();
    let expected = part(env!("CARGO_PKG_VERSION_MAJOR")) << 16
        | part(env!("CARGO_PKG_VERSION_MINOR")) << 8
        | part(env!("CARGO_PKG_VERSION_PATCH"));
    assert_eq!(gyre_version(), expected);
    assert_eq!(text(gyre_version_string()), env!("CARGO_PKG_VERSION"));
}
