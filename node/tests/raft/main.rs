//! The `raft` room: one test a rule of the paper, the errata of others, stories as scripts, and random schedules.

mod disk;
mod member;
mod messages;
mod net;
mod oracle;

mod disk_stall;
mod failover;
mod flow;
mod leader_hint;
mod lease_world;
mod malice;
mod paper_acceptance;
mod paper_commit;
mod paper_election;
mod paper_lease;
mod paper_membership;
mod paper_read_index;
mod paper_reads;
mod paper_replication;
mod paper_snapshot;
mod paper_transfer;
mod random;
mod repair;
mod rest;
mod stable_leader;
mod stories;
