//! gyre: one event loop with two faces, for C and C++ servers. The interface is C, in [`capi`]; ARCHITECTURE.md shows the
//! layers and one turn of the loop.
//!
//! Unsafe code stands in `capi`, `proactor` and `sys` only, and what input, the kernel or memory pressure can reach neither
//! panics nor overflows: the lints below say so, and every exception gives its reason on the line.

#![deny(missing_docs, unsafe_op_in_unsafe_fn, unsafe_code)]
#![deny(clippy::undocumented_unsafe_blocks, clippy::missing_safety_doc)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

#[cfg(not(target_os = "linux"))]
compile_error!("gyre runs on Linux; another system needs its own files in sys/ and demux/");

#[allow(unsafe_code)]
pub mod capi;
mod demux;
mod event_loop;
mod net;
#[allow(unsafe_code)]
mod proactor;
mod status;
#[allow(unsafe_code)]
mod sys;
