//! What a member is told once.

use std::sync::Arc;

use ordeal_client::wire::NodeId;

use super::{Entry, HardState, LogId, Membership, Snapshot};

/// Settings of one member of one group. Times are in ticks of the driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// This member.
    pub id: NodeId,
    /// Who belongs to the group before its log says anything, this member among them; the same on all of them, for ever.
    /// Empty for one that joins later: it does not campaign before the log tells it that it votes.
    pub bootstrap: Arc<Membership>,
    /// A leader's heartbeat goes out every so many ticks of the driver.
    pub heartbeat_ticks: u32,
    /// Ticks of the driver before this member began, so that groups of one driver beat in the same tick.
    pub ticks_before: u64,
    /// A leader tells at once what is committed, and not with the next entry or heartbeat: for a group whose followers act on
    /// what they apply.
    pub tells_commits: bool,
    /// A follower waits longer than this without a leader, and up to a quarter as long again by chance, before it campaigns. At
    /// least 3 × heartbeat, so that one lost beat is no election.
    pub election_ticks: u32,
    /// A member whose disk has finished no write for so long, while one is under way, neither leads nor campaigns: it could
    /// commit nothing, and others can.
    pub stall_ticks: u32,
    /// Seed of the generator behind the random timeouts.
    pub seed: u64,
    /// Entries of one `AppendEntries` hold at most so many bytes (but always at least one entry).
    pub append_bytes_max: usize,
    /// At most so many `AppendEntries` are under way to one follower.
    pub inflight_max: usize,
    /// Those hold at most so many bytes of entries, a single entry aside that is longer than what is left.
    pub inflight_bytes_max: usize,
    /// Proposals are refused as busy while the uncommitted entries hold more bytes than this.
    pub uncommitted_bytes_max: usize,
    /// Parts of a snapshot hold so many bytes.
    pub chunk_bytes: usize,
    /// Committed entries handed out in one `Ready` hold at most so many bytes (but always at least one entry).
    pub apply_bytes_max: usize,
    /// Entries kept in the log behind a snapshot, so that a follower a little behind needs no snapshot.
    pub trailing_entries: u64,
    /// Those entries weigh at most so many bytes, so that a log of large values does not keep a thousand of them.
    pub trailing_bytes: u64,
    /// Reads waiting for their round, at most.
    pub reads_max: usize,
    /// Leader leases, off by default: see [`super::lease_ticks`] for how long one may be, and what clocks must promise. The
    /// same on all members: who has none keeps no promise.
    pub lease_ticks: Option<u32>,
    /// Another number each time this member starts, as good as surely. Needed for reads on followers.
    pub incarnation: u64,
    /// A group in which nothing happened for so long goes to rest (`rest`), when the driver sends beats of whole nodes; never,
    /// when there is no such time. At least a heartbeat.
    pub rest_after_ticks: Option<u32>,
    /// A learner that lacks at most so many entries is caught up.
    pub promotion_lag_entries: u64,
}

impl Config {
    /// Defaults for ticks of 10 ms.
    #[must_use]
    pub fn new(id: NodeId, bootstrap: Membership, seed: u64) -> Self {
        Config {
            id,
            bootstrap: Arc::new(bootstrap),
            heartbeat_ticks: 5, // 50 ms
            ticks_before: 0,
            tells_commits: false,
            election_ticks: 25, // 250 ms: 5 × heartbeat
            stall_ticks: 25,    // an election timeout, as for a leader that nobody hears
            seed,
            append_bytes_max: 1 << 20, // a quarter of a frame
            inflight_max: 64,
            inflight_bytes_max: 4 << 20, // 4 full messages: a quarter of what waits for a peer in the server
            uncommitted_bytes_max: 16 << 20, // 16 full messages
            chunk_bytes: 256 << 10,      // 1/16 of a frame, so that heartbeats pass between parts
            apply_bytes_max: 4 << 20,
            trailing_entries: 1_000,
            trailing_bytes: 8 << 20, // 8 full messages
            reads_max: 10_000,
            lease_ticks: None,
            incarnation: 0,
            rest_after_ticks: None,
            promotion_lag_entries: 1_000, // some 100 ms of writes: a few appends, and no snapshot
        }
    }
}

/// What the disk remembered: the state that a member starts from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovered {
    /// Term and vote.
    pub hard_state: HardState,
    /// The newest durable snapshot.
    pub snapshot: Option<Snapshot>,
    /// Entries in order, the first at most one behind the snapshot's last (or 1); without a gap but for `lost`.
    pub entries: Vec<Entry>,
    /// What was durable and is damaged, in order. None of it stands at or before the snapshot's last.
    pub lost: Vec<Lost>,
}

/// An entry whose content the disk lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    /// Which one.
    pub id: LogId,
    /// Whether it may have said who belongs to the group.
    pub may_be_membership: bool,
}
