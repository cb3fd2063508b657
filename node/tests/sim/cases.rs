//! The test cases, for `cargo test`: a sample of seeds, and the simulator's own checks of itself.

use crate::args::{Args, SECONDS};
use crate::plan::Plan;
use crate::play::{Course, judge_alone, play};
use crate::script::Script;
use crate::script_file;
use crate::shrink;
use crate::sweep;

/// Seeds of a plain `cargo test`, and their simulated seconds without optimisation: a few real ones.
const SEEDS: u64 = 20;
const SECONDS_SLOW: u64 = 20;

/// A case is its name and what it does.
type Case = (&'static str, fn(&Args));

const CASES: [Case; 5] = [
    ("every_seed_is_linearizable_and_breaks_no_promise", every_seed),
    ("the_same_seed_gives_the_same_course", the_same_seed),
    ("stale_reads_are_found", stale_reads),
    ("a_failing_seed_is_made_short", a_failing_seed),
    ("a_script_reads_back_as_it_was_written", a_script_reads_back),
];

/// Runs the cases that are asked for; says whether all passed.
pub fn run(args: &Args) -> bool {
    let chosen = |name: &str| {
        let fits = |filter: &String| if args.exact { name == filter } else { name.contains(filter.as_str()) };
        args.filters.is_empty() || args.filters.iter().any(fits)
    };
    let cases: Vec<_> = CASES.into_iter().filter(|(name, _)| chosen(name)).collect();
    if args.list {
        cases.iter().for_each(|(name, _)| println!("{name}: test"));
        return true;
    }
    let mut failed = 0;
    for (name, case) in &cases {
        let passed = std::panic::catch_unwind(|| case(args));
        println!("test {name} ... {}", if passed.is_ok() { "ok" } else { "FAILED" });
        if passed.is_err() {
            failed += 1;
            println!("  {}", crate::play::last_panic());
        }
    }
    println!(
        "test result: {}. {} passed; {failed} failed",
        if failed == 0 { "ok" } else { "FAILED" },
        cases.len() - failed
    );
    failed == 0
}

fn seconds() -> u64 {
    if cfg!(debug_assertions) { SECONDS_SLOW } else { SECONDS }
}

fn play_seed(seed: u64) -> Course {
    let plan = Plan::new(seed, seconds());
    play(&plan, &Script::new(&plan), false)
}

fn every_seed(args: &Args) {
    let sum = sweep::sweep(&Args { seconds: seconds(), ..args.clone() }, 0..SEEDS);
    assert!(sum.failed == 0, "{} of {SEEDS} seeds failed, see above", sum.failed);
    // What never happened was never tested.
    let rare = [
        sum.operations,
        sum.faults,
        sum.elections,
        sum.unknown,
        sum.refused,
        sum.parts,
        sum.beats,
        sum.rotted,
        sum.filled,
        sum.moved,
        sum.told,
        sum.compared,
    ];
    assert!(rare.iter().all(|&count| count > 20), "something never happens: {rare:?}");
}

fn the_same_seed(_: &Args) {
    let [one, other] = [play_seed(3), play_seed(3)];
    assert_eq!((one.hash, one.events), (other.hash, other.events));
    assert_ne!(one.hash, play_seed(4).hash, "another seed takes another course");
}

/// A world whose clients read whatever the nearest node has, and which is found out.
fn stale_world() -> (Plan, Script, Course) {
    judge_alone();
    let worlds = (0..10).map(|seed| Plan { stale_reads: 1, ..Plan::new(seed, 20) });
    let played = worlds.map(|plan| {
        let script = Script::new(&plan);
        let course = play(&plan, &script, false);
        (plan, script, course)
    });
    let found = played.into_iter().find(|(_, _, course)| course.failure.is_some());
    found.expect("ten worlds with stale reads, and nobody noticed")
}

/// The negative control: whoever answers reads from whatever it has is found out.
fn stale_reads(_: &Args) {
    let failure = stale_world().2.failure.expect("it was found out");
    assert!(failure.check == "history", "clients saw it: {failure:?}");
}

fn a_failing_seed(_: &Args) {
    let (plan, script, course) = stale_world();
    let failure = course.failure.expect("it was found out");
    let short = shrink::shrink(&plan, &script, &failure);
    // A stale read takes a write and a read, and something that keeps a node behind.
    let lines = short.script.0.len();
    assert!(lines <= 12, "{lines} lines are not short:\n{}", script_file::print(&short.plan, &short.script));
    let (plan, script) =
        script_file::parse(&script_file::print(&short.plan, &short.script)).expect("a script");
    let again = play(&plan, &script, false).failure.expect("the short one fails, too");
    assert!(again == short.failure, "{again:?} is not {:?}", short.failure);
}

fn a_script_reads_back(_: &Args) {
    for seed in 0..50 {
        let plan = Plan::new(seed, 60);
        let script = Script::new(&plan);
        let text = script_file::print(&plan, &script);
        assert_eq!(script_file::parse(&text), Ok((plan, script)), "seed {seed}");
    }
    for wrong in
        ["set nodes 3\nset x 1", "set nodes x", "1.0 crash", "1.0 crash n1", "1.0 cut n1 = rest", "x y z"]
    {
        assert!(script_file::parse(wrong).is_err(), "{wrong}");
    }
}
