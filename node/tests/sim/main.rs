//! The simulator: whole clusters of engines, with disks, a network, clocks and clients that are all made up, in virtual
//! time and from a seed. What clients saw is judged by `ordeal-history`; what must hold inside is asserted after every turn.
//!
//! ```text
//! cargo sim                              20 seeds, optimised
//! ORDEAL_SIM_SEEDS=1000 cargo sim        more of them
//! ORDEAL_SIM_SEED=17 cargo sim           this one; with ORDEAL_SIM_TRACE=1 its course on stderr (add `-- --nocapture`)
//! ```

mod checks;
mod client;
mod disk;
mod faults;
mod node;
mod plan;
mod trace;
mod world;

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use ordeal_history::{Budget, History, Report, Verdict, check};

use plan::Plan;
use world::World;

/// Seeds of a plain `cargo test`: a few seconds.
const SEEDS_DEFAULT: u64 = 20;

/// What a world leaves behind.
struct Course {
    hash: u64,
    events: u64,
    operations: u64,
    faults: u64,
    compared: u64,
    parts: u64,
    report: Report,
}

fn run(plan: Plan) -> Course {
    let mut world = World::new(plan);
    world.run();
    let history = History::from_events(std::mem::take(&mut world.history)).expect("clients keep the rules");
    let budget = Budget { time: Duration::from_secs(30), memory_bytes: 1 << 30 };
    let report = check(&history, &budget, &|_| {});
    Course {
        hash: world.trace.hash(),
        events: world.trace.events(),
        operations: world.operations(),
        faults: world.faults,
        compared: world.checks.compared,
        parts: world.parts,
        report,
    }
}

/// Runs a seed whose history must be valid; says how to see it again when it is not.
fn must_be_valid(seed: u64) -> Course {
    let again = format!("again: ORDEAL_SIM_SEED={seed} cargo sim");
    let course = catch_unwind(AssertUnwindSafe(|| run(Plan::new(seed))))
        .unwrap_or_else(|_| panic!("seed {seed} broke a promise, see above\n{again}"));
    let first = course.report.anomalies.first().map(|anomaly| anomaly.sentence.clone());
    assert!(
        course.report.verdict == Verdict::Valid,
        "seed {seed} is {}: {first:?}\n{again}",
        course.report.verdict
    );
    course
}

fn seeds() -> Range<u64> {
    let number = |name: &str| {
        let text = std::env::var(name).ok()?;
        Some(text.parse::<u64>().unwrap_or_else(|_| panic!("{name}={text} is no number")))
    };
    match number("ORDEAL_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("ORDEAL_SIM_SEEDS").unwrap_or(SEEDS_DEFAULT),
    }
}

#[test]
fn every_seed_is_linearizable_and_breaks_no_promise() {
    let seeds = seeds();
    let courses: Vec<Course> = seeds.map(must_be_valid).collect();
    let sum = |of: fn(&Course) -> u64| courses.iter().map(of).sum::<u64>();
    let (operations, faults) = (sum(|course| course.operations), sum(|course| course.faults));
    let (compared, parts) = (sum(|course| course.compared), sum(|course| course.parts));
    let counts = courses.iter().map(|course| course.report.counts);
    let unknown: usize = counts.clone().map(|counts| counts.unknown).sum();
    let failed: usize = counts.map(|counts| counts.failed).sum();
    println!(
        "{} seeds: {} events, {faults} faults, {operations} operations ({unknown} unknown, {failed} failed), \
         {parts} parts of snapshots, {compared} states compared",
        courses.len(),
        sum(|course| course.events),
    );
    // What never happened was never tested.
    if courses.len() >= 20 {
        let rare = [operations, faults, unknown as u64, failed as u64, parts, compared];
        assert!(rare.iter().all(|&count| count > 20), "something never happens: {rare:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_course() {
    let seed = seeds().start + 3;
    let [one, other] = [must_be_valid(seed), must_be_valid(seed)];
    assert_eq!((one.hash, one.events), (other.hash, other.events));
    assert_ne!(one.hash, must_be_valid(seed + 1).hash, "another seed takes another course");
}

/// The negative control: whoever answers reads from whatever it has is found out.
#[test]
fn stale_reads_are_found() {
    let found = (0..10).find(|&seed| run(Plan::with_stale_reads(seed)).report.verdict == Verdict::Invalid);
    assert!(found.is_some(), "ten worlds with stale reads, and nobody noticed");
}
