//! The `raft` room: one test a rule of the paper, the errata of others, and random schedules.

mod disk;
mod member;
mod messages;
mod net;
mod oracle;

mod leader_hint;
mod malice;
mod paper_acceptance;
mod paper_commit;
mod paper_election;
mod paper_membership;
mod paper_reads;
mod paper_replication;
mod paper_snapshot;
mod paper_transfer;
mod random;
mod stable_leader;
