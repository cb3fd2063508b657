//! How to talk to an Ordeal cluster: the public protocol ([`wire`]), the client library ([`Client`]) and the
//! `ordeal kv` commands ([`cli`]).
//!
//! Whoever wants to speak to a cluster needs this crate and nothing else. The node takes [`wire`] from here and no more;
//! the harness takes [`wire`] and [`Client`], and so knows no more of a node than a stranger with a network cable.

pub mod wire;
