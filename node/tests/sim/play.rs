//! Plays one world from its beginning to its verdict.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use ordeal_history::{Budget, Counts, History, Report, Verdict, check};

use crate::plan::Plan;
use crate::script::Script;
use crate::watcher::Watcher;
use crate::world::World;

/// What a world leaves behind.
#[derive(Debug)]
pub struct Course {
    pub hash: u64,
    pub events: u64,
    pub operations: u64,
    pub faults: u64,
    pub elections: u64,
    /// Comparisons of states between nodes, and parts of snapshots that arrived.
    pub compared: u64,
    pub parts: u64,
    /// Beats of whole nodes that arrived, for groups at rest.
    pub beats: u64,
    /// Places where bits changed on disks, and nodes that did not start again for it.
    pub rotted: u64,
    pub dead: u64,
    pub filled: u64,
    /// Shards that got another owner.
    pub moved: u64,
    /// Groups that were made under way.
    pub created: u64,
    /// Changes that watchers were told.
    pub told: u64,
    pub counts: Counts,
    /// Simulated time, and time of a processor that the play and the judge took.
    pub simulated_us: u64,
    pub spent: Duration,
    pub failure: Option<Failure>,
}

/// A check that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Which one: the same for the same fault, wherever and whenever it shows.
    pub check: String,
    /// All of it.
    pub words: String,
    pub at_us: u64,
}

thread_local! {
    /// Whether this thread plays: then a panic is a finding, and told as one.
    static PLAYING: Cell<bool> = const { Cell::new(false) };
    /// What it panicked with last: place and words.
    static PANIC: RefCell<Option<(String, String)>> = const { RefCell::new(None) };
}

/// Makes this thread the only one that the judge uses when it is asked from here: another world has the other core.
pub fn judge_alone() {
    thread_local! {
        static POOL: Option<rayon::ThreadPool> =
            rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build().ok();
    }
    POOL.with(|pool| assert!(pool.is_some(), "a thread is made a pool of one once"));
}

/// From now on panics of a play are noted, not printed.
pub fn catch_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map_or_else(String::new, |at| format!("{}:{}", at.file(), at.line()));
        let words = info.payload_as_str().unwrap_or("no reason given").to_owned();
        if !PLAYING.get() {
            eprintln!("{place}: {words}");
        }
        PANIC.set(Some((place, words)));
    }));
}

/// What this thread panicked with last.
pub fn last_panic() -> String {
    PANIC.take().map_or_else(String::new, |(place, words)| format!("{place}: {words}"))
}

/// Plays a world.
pub fn play(plan: &Plan, script: &Script, print: bool) -> Course {
    let begun = processor_time();
    let mut world = World::new(plan, script, print);
    PLAYING.set(true);
    let failure = catch_unwind(AssertUnwindSafe(|| world.run())).err().map(|_| {
        let (place, words) = PANIC.take().unwrap_or_default();
        // Where a sentence begins with the name of its check, that tells it; elsewhere the place does.
        let named = words.split_once(": ").map(|(name, _)| name).filter(|_| place.contains("tests/sim/"));
        Failure { check: named.map_or(place, str::to_owned), words, at_us: world.now_us }
    });
    PLAYING.set(false);
    let (failure, counts) = match failure {
        Some(failure) => (Some(failure), Counts::default()),
        None => judge(&mut world),
    };
    Course {
        hash: world.trace.hash(),
        events: world.trace.events(),
        operations: world.operations,
        faults: world.faults,
        elections: world.checks.elections,
        compared: world.checks.compared,
        parts: world.parts,
        beats: world.beats,
        rotted: world.rotted,
        filled: world.filled,
        moved: world.checks.owners.moves(),
        created: world.created(),
        told: world.watchers.iter().map(Watcher::told).sum(),
        dead: world.nodes.iter().filter(|node| node.dead).count() as u64,
        counts,
        simulated_us: world.now_us,
        spent: processor_time().saturating_sub(begun),
        failure,
    }
}

fn judge(world: &mut World) -> (Option<Failure>, Counts) {
    let history = match History::from_events(std::mem::take(&mut world.history)) {
        Ok(history) => history,
        Err(error) => {
            let words = format!("history: {error}");
            let failure = Failure { check: "history".to_owned(), words, at_us: world.now_us };
            return (Some(failure), Counts::default());
        }
    };
    let budget = Budget { time: Duration::from_secs(30), memory_bytes: 1 << 30 };
    let report = check(&history, &budget, &|_| {});
    let failure = (report.verdict != Verdict::Valid).then(|| failure_of(&report, world.now_us));
    (failure, report.counts)
}

fn failure_of(report: &Report, end_us: u64) -> Failure {
    match report.anomalies.first() {
        Some(anomaly) => {
            let words = format!("history: {}: {}", anomaly.kind, anomaly.sentence);
            Failure { check: "history".to_owned(), words, at_us: end_us }
        }
        None => {
            let words = "the judge came to no verdict".to_owned();
            Failure { check: "no verdict".to_owned(), words, at_us: end_us }
        }
    }
}

/// Time of a processor that this thread has spent.
fn processor_time() -> Duration {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_THREAD) else { return Duration::ZERO };
    [usage.user_time(), usage.system_time()]
        .iter()
        .map(|time| {
            let seconds = u64::try_from(time.tv_sec()).unwrap_or_default();
            Duration::from_secs(seconds)
                + Duration::from_micros(u64::try_from(time.tv_usec()).unwrap_or_default())
        })
        .sum()
}
