//! The ordeal: starts a cluster as real processes, injects faults and proves that they took effect, records what every
//! client saw, judges the history and explains a violation.
//!
//! ```text
//!   cli ─▶ run ─▶ plan        what will happen: drawn from the seed, printable, storable
//!           │  ─▶ workload    what clients ask, and the threads that ask
//!           │  ─▶ cluster ─▶ lab       processes, and the network between them
//!           │        └─────▶ system    what is tested: how to start it, how to ask it
//!           │  ─▶ verdict     what came of it: numbers, judgement, exit code
//!           └───▶ store, report        the run directory, the table, report.html
//!   cli ─▶ scenario           scripts with limits of their own, in place of a plan
//! ```
//!
//! It never links `node` or `wal`: it knows processes, sockets and files, as a stranger with a network cable would.

pub mod byhand;
pub mod chance;
pub mod cli;
pub mod cluster;
pub mod doctor;
pub mod exit;
pub mod lab;
pub mod latch;
pub mod plan;
pub mod report;
pub mod run;
pub mod scenario;
pub mod store;
pub mod system;
pub mod verdict;
pub mod workload;
