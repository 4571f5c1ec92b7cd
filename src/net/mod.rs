//! What servers and clients are made of: listeners (the acceptor of the textbooks) and streams (connection and
//! buffers).
//!
//! Called by `capi`; calls `event_loop`, whose event handlers ([`crate::event_loop::handler`]) listeners and streams
//! are, and `sys::socket`. The loop does not know this layer. Where to start reading: the contract of [`stream`], then
//! `stream/visit.rs`.
//!
//! | file | what is in it |
//! |---|---|
//! | `address.rs` | addresses as text: `127.0.0.1:80`, `[::1]:80`, `unix:/path` |
//! | `listener.rs` | listeners |
//! | `stream/mod.rs` | streams: their state, and what callers ask of them |
//! | `stream/visit.rs` | what comes for a stream, and what it tells |
//! | `stream/connect.rs` | connecting |
//! | `stream/input.rs`, `write_queue.rs` | what a stream has not consumed yet, what it has still to send |
//! | `callback.rs` | the types of the caller's functions |

pub mod address;
pub mod callback;
pub mod listener;
pub mod stream;
mod write_queue;
