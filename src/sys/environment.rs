//! Variables of the environment, read without an allocation.

use core::ffi::CStr;

/// Calls `read` with the value of a variable; the value may not be kept, because the host may change it later.
pub fn with_variable<R>(name: &CStr, read: impl FnOnce(Option<&CStr>) -> R) -> R {
    // SAFETY: `name` ends with a NUL.
    let value = unsafe { libc::getenv(name.as_ptr()) };
    if value.is_null() {
        return read(None);
    }
    // SAFETY: getenv returned a string; it stays as it is for this call unless the host changes the environment from another
    // thread at the same time, which getenv(3) forbids.
    read(Some(unsafe { CStr::from_ptr(value) }))
}

/// Whether the process runs under valgrind, which then preloads a library of its own into it.
pub fn is_valgrind() -> bool {
    with_variable(c"LD_PRELOAD", |value| {
        value.is_some_and(|value| value.to_bytes().windows(NAME.len()).any(|part| part == NAME))
    })
}

const NAME: &[u8] = b"vgpreload_";
