//! How to talk to an Ordeal cluster: the public protocol ([`wire`]), the client library ([`Client`]) and the
//! `ordeal kv` commands ([`cli`]).
//!
//! Whoever wants to speak to a cluster needs this crate and nothing else. The node takes [`wire`] from here and no more;
//! the harness takes [`wire`] and [`Client`], and so knows no more of a node than a stranger with a network cable.
//!
//! ```text
//!  client      get, put, …: sessions, sequence numbers, the three outcomes
//!   ├ shards     who owns which shard: asked, watched, changed
//!   └ admin      members and leaders of its groups: asked until it is done
//!    └ caller     one operation: attempts, pauses, one deadline
//!        ├ router    where to: addresses, shards, leaders, who failed lately
//!        └ link      one connection: handshake, one request at a time
//!  watch       changes of keys, told as they come: over a pipeline
//!  pipe        the same for many operations at a time over few connections, from one thread: [`Pipeline`]
//! ```

mod admin;
mod caller;
pub mod cli;
mod client;
mod config;
mod course;
mod error;
mod link;
mod pipe;
mod router;
mod shards;
mod watch;
pub mod wire;

pub use client::{CasAnswer, Client, Got, TxnAnswer, Written, status, welcome};
pub use config::{ATTEMPT_TIMEOUT_DEFAULT, ClientConfig, DEADLINE_DEFAULT, Prefer};
pub use error::{ClientError, LinkError, Tries};
pub use pipe::{Done, OPERATIONS_MAX, Operation, Pipeline};
pub use shards::{CONTROLLER, members_of};
pub use watch::{Behind, Told, Watch};
