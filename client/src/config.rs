//! What a [`Client`](crate::Client) is told about the cluster, and how patient it is.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::error::ClientError;
use crate::wire::{ClusterId, NodeId};

/// Time for one operation, retries and pauses and all: room for an election or two, and short enough for a person.
pub const DEADLINE_DEFAULT: Duration = Duration::from_secs(5);

/// Time for one attempt at one node, at most: many commits long, yet a tenth of the deadline. The first attempt of an
/// operation gets 150 ms of it, less than an election takes, so that a paused leader costs hardly more than one.
pub const ATTEMPT_TIMEOUT_DEFAULT: Duration = Duration::from_millis(500);

/// What a client is told. [`ClientConfig::new`] fills in all but the endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientConfig {
    /// Where nodes answer, as `host:port`; at least one. The others are learnt from whoever answers first. Names are
    /// resolved by the system, which no deadline can hurry: where time matters, give addresses.
    pub endpoints: Vec<String>,
    /// Addresses that take the place of advertised ones: proxies, forwarded ports. (Hints name node ids.)
    pub dial: BTreeMap<NodeId, String>,
    /// The cluster that is meant; `None`: that of the first node that answers, from then on.
    pub cluster: Option<ClusterId>,
    /// Time for one operation, all its attempts together.
    pub deadline: Duration,
    /// Time for one attempt at one node, at most: to connect, and again to be answered (long values get 1 s a megabyte
    /// more). The first one gets three tenths of it; each that is not answered in time doubles the next.
    pub attempt_timeout: Duration,
    /// Seed of the jitter in pauses, and of the endpoint to begin with (`seed` modulo their number).
    pub seed: u64,
    /// Whom stale reads and first tries go to.
    pub prefer: Option<Prefer>,
}

/// Whom a client would rather talk to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefer {
    /// This node, wherever it is found.
    Node(NodeId),
    /// Whoever answers at this place of [`ClientConfig::endpoints`], from 0.
    Endpoint(usize),
}

impl ClientConfig {
    /// The defaults for these endpoints.
    pub fn new<I>(endpoints: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        ClientConfig {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            dial: BTreeMap::new(),
            cluster: None,
            deadline: DEADLINE_DEFAULT,
            attempt_timeout: ATTEMPT_TIMEOUT_DEFAULT,
            seed: 0,
            prefer: None,
        }
    }

    /// Whether a client can be made of it.
    pub(crate) fn check(&self) -> Result<(), ClientError> {
        let wrong = |what: String| Err(ClientError::Config(what));
        if self.endpoints.is_empty() {
            return wrong("no endpoints, expected at least one host:port".to_owned());
        }
        for address in self.endpoints.iter().chain(self.dial.values()) {
            check_address(address)?;
        }
        if self.deadline.is_zero() || self.attempt_timeout.is_zero() {
            return wrong("a deadline of 0 leaves no time for anything".to_owned());
        }
        match self.prefer {
            Some(Prefer::Endpoint(index)) if index >= self.endpoints.len() => {
                wrong(format!("endpoint {index} is preferred, there are {}", self.endpoints.len()))
            }
            _ => Ok(()),
        }
    }
}

/// Whether this has the form `host:port`. Whether the host exists is seen when it is dialled.
pub(crate) fn check_address(address: &str) -> Result<(), ClientError> {
    let good = address
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0));
    if good {
        return Ok(());
    }
    Err(ClientError::Config(format!("`{address}` is no endpoint, expected host:port like 127.0.0.1:7101")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(endpoints: &[&str]) -> bool {
        ClientConfig::new(endpoints.iter().copied()).check().is_ok()
    }

    #[test]
    fn endpoints_are_hosts_with_ports() {
        assert!(check(&["127.0.0.1:7101", "localhost:1", "[::1]:7101"]));
        for wrong in ["", "localhost", ":7101", "localhost:", "localhost:0", "localhost:70000", "a:b"] {
            assert!(!check(&[wrong]), "`{wrong}` was taken");
        }
        assert!(!check(&[]));
    }

    #[test]
    fn a_preferred_endpoint_exists_and_time_is_not_zero() {
        let config = ClientConfig::new(["a:1", "b:1"]);
        assert!(ClientConfig { prefer: Some(Prefer::Endpoint(1)), ..config.clone() }.check().is_ok());
        assert!(ClientConfig { prefer: Some(Prefer::Endpoint(2)), ..config.clone() }.check().is_err());
        assert!(ClientConfig { deadline: Duration::ZERO, ..config.clone() }.check().is_err());
        assert!(ClientConfig { attempt_timeout: Duration::ZERO, ..config }.check().is_err());
    }
}
