//! The server: one OS process that hosts Raft groups over one event loop, one connection a peer and one log.
//!
//! ```text
//!   cli, config ─▶ server ─────────▶ storage ─────▶ wal
//!                     │                 │
//!                     ▼                 ▼
//!                   engine ──────────▶ raft
//!                     │  (─▶ controller, mover)   which the engine does not use yet
//!                     └────▶ shard ──▶ kv
//! ```
//!
//! Pure rooms (`raft`, `kv`, `shard`, `controller`, `mover`, `engine`) read no clock, open no file or socket, start no thread and draw no
//! randomness but from a seeded generator handed in: the same inputs give the same outputs, byte for byte. The rooms with
//! hands are `storage` (disk), `server` (network, time, signals) and `inspect` (a look at the disk). tests/tidy.rs of the workspace holds these edges.

pub mod cli;
pub mod config;
pub mod controller;
pub mod engine;
mod inspect;
pub mod kv;
pub mod mover;
pub mod raft;
#[expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "the room whose hands are on the network and the clock; the bans are for the pure rooms"
)]
pub mod server;
pub mod shard;
#[expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "the room whose hands are on the disk; the bans are for the pure rooms"
)]
pub mod storage;
