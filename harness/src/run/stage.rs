//! What a run needs of a cluster. Behind a trait so that the schedule can be tested without processes.

use std::collections::BTreeMap;

use ordeal_client::wire::NodeId;

use crate::cluster::{Action, Evidence, NodeState, NotVerified};

/// A cluster, as the schedule of faults sees it.
pub trait Stage: Send + Sync {
    /// Does it, and proves that it took effect.
    ///
    /// # Errors
    /// [`NotVerified`] when it could not be done or proven.
    fn act(&self, action: &Action) -> Result<Evidence, NotVerified>;

    /// How every node's process is.
    fn states(&self) -> BTreeMap<NodeId, NodeState>;

    /// Who leads most groups, if anybody says that it leads.
    fn leader(&self) -> Option<NodeId>;
}
