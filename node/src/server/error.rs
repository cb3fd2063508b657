//! What ends a server, told apart by what a person can do about it.

use std::io;
use std::net::SocketAddr;

use crate::engine::EngineError;
use crate::storage::StorageError;

/// A server that cannot start, or not go on.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The data directory.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// What the data directory remembers does not fit the flags.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The event loop itself failed.
    #[error("event loop: {what}: {source}")]
    Loop {
        /// What was tried.
        what: &'static str,
        /// What the operating system answered.
        source: io::Error,
    },
}

impl ServerError {
    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            ServerError::Listen { address, source } => match source.kind() {
                io::ErrorKind::AddrInUse => {
                    format!("who has it: ss -ltnp 'sport = :{}'; port 0 takes any free one", address.port())
                }
                io::ErrorKind::AddrNotAvailable => {
                    "this machine has not this address: ip -brief address".to_owned()
                }
                io::ErrorKind::PermissionDenied => "give --listen a port from 1024 on".to_owned(),
                _ => "give another address with --listen".to_owned(),
            },
            ServerError::Storage(error) => error.hint(),
            ServerError::Engine(_) => {
                "start the node with the flags with which its directory was written".to_owned()
            }
            ServerError::Loop { .. } => "look at the limits of the process: ulimit -a".to_owned(),
        }
    }
}

/// Turns the operating system's answer into ours, for use with `map_err`.
pub(super) fn loop_error(what: &'static str) -> impl FnOnce(io::Error) -> ServerError {
    move |source| ServerError::Loop { what, source }
}
