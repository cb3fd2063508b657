//! The `raft` room: one test a rule of the paper, the errata of others, and random schedules.

mod disk;
mod member;
mod messages;
mod net;
mod oracle;

mod paper_acceptance;
mod paper_election;
mod paper_replication;
mod random;
mod stable_leader;
