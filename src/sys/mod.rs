//! The only raw system calls of gyre, behind safe functions. Called by every layer above; calls libc alone.
//!
//! Contract:
//! 1. Nothing here keeps loop state, and nothing here calls back into a layer above, but through a function pointer that
//!    the layer registered (`fork`, `thread`, `signal`).
//! 2. Every descriptor made here is `CLOEXEC` and non-blocking from birth, and closes itself when dropped.
//! 3. A failure is a [`Status`](crate::status::Status) that carries the `errno`.
//!
//! Start reading at `wakeup`, then `epoll`.

pub mod aio;
pub mod clock;
pub mod descriptor;
pub mod environment;
pub mod epoll;
pub mod fork;
pub mod io;
pub mod memory;
pub mod poll;
pub mod process;
pub mod signal;
pub mod socket;
pub mod thread;
pub mod wakeup;
