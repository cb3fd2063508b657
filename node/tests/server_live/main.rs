//! Nodes with real sockets and real files, in threads of the test: clusters, strangers, links.

#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "the tests dial nodes, play nodes, and wait for them"
)]

mod cluster;
mod full_disk;
mod layout;
mod links;
mod pipeline;
mod repair;
mod rest;
mod strangers;
mod support;
