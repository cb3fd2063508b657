//! The same `Raft` that runs in the server, under stateright's model checker: small worlds of three members, searched through
//! breadth first in every order of deliveries, losses, writes, timeouts and crashes within their bounds, against Figure 3.
//!
//! ```sh
//! cargo test -p ordeal-node --test model -- --nocapture                                   # the small worlds
//! ORDEAL_MODEL=large cargo test -p ordeal-node --test model --release -- --nocapture      # larger ones
//! ```
//!
//! Not in any of them: snapshots, membership, torn writes (a write is on the disk as a whole or not at all), a
//! second message that is the same as one under way. What two states must share to be one is in `faces`.

mod faces;
mod member;
mod past;
mod properties;
mod register;
mod world;
mod worlds;

use stateright::report::WriteReporter;
use stateright::{Checker, HasDiscoveries, Model};

use world::World;

/// Searches the whole of a world, or until a rule is broken.
fn search(name: &str, world: World) {
    let large = std::env::var("ORDEAL_MODEL").is_ok_and(|size| size == "large");
    let world = if large { worlds::large(world) } else { world };
    let mut report = Vec::new();
    let checker = world.checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_bfs();
    let checker = checker.join_and_report(&mut WriteReporter::new(&mut report));
    let report = String::from_utf8_lossy(&report);
    let done = report.lines().find(|line| line.starts_with("Done."));
    println!("{name}: {}", done.unwrap_or("nothing done"));
    checker.assert_properties();
    assert!(checker.is_done(), "{name}: given up before the end");
}

#[test]
fn one_term_two_candidates() {
    search("one term, two candidates", worlds::one_term_two_candidates());
}

#[test]
fn one_term_one_command() {
    search("one term, one command", worlds::one_term_one_command());
}

#[test]
fn two_terms_three_campaigns() {
    search("two terms, three campaigns", worlds::two_terms_three_campaigns());
}

#[test]
fn figure_8() {
    search("Figure 8", worlds::figure_8());
}

#[test]
fn one_disk_loses_an_entry() {
    search("one disk loses an entry", worlds::one_disk_loses_an_entry());
}

#[test]
fn two_disks_lose_what_was_never_committed() {
    search("two disks lose what was never committed", worlds::two_disks_lose_what_was_never_committed());
}

#[test]
fn a_register_and_a_new_leader() {
    search("a register, a new leader", worlds::register_new_leader());
}

#[test]
fn a_register_and_an_old_leader() {
    search("a register, an old leader", worlds::register_old_leader());
}
