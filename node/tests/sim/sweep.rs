//! Many seeds, several side by side, told in order.
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "the speed is measured in real time"
)]

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::args::{Args, SECONDS};
use crate::plan::Plan;
use crate::play::{Course, judge_alone, play};
use crate::script::Script;

/// What came of a sweep.
#[derive(Debug, Default)]
pub struct Sum {
    pub seeds: u64,
    pub failed: u64,
    /// Of all that passed.
    pub events: u64,
    pub faults: u64,
    pub elections: u64,
    pub operations: u64,
    pub unknown: u64,
    pub refused: u64,
    pub parts: u64,
    pub beats: u64,
    pub rotted: u64,
    pub dead: u64,
    pub filled: u64,
    pub moved: u64,
    pub told: u64,
    pub created: u64,
    pub compared: u64,
    simulated: Duration,
    spent: Duration,
    /// The same of worlds of five nodes.
    simulated_of_five: Duration,
    spent_of_five: Duration,
}

/// Plays seeds; tells of every one that fails, and how to see it again.
pub fn sweep(args: &Args, seeds: Range<u64>) -> Sum {
    let start = Instant::now();
    let (next, stop) = (AtomicU64::new(seeds.start), AtomicBool::new(false));
    let mut sum = Sum::default();
    std::thread::scope(|scope| {
        let (sender, courses) = mpsc::channel();
        for _ in 0..args.threads {
            let (sender, next, stop, end) = (sender.clone(), &next, &stop, seeds.end);
            scope.spawn(move || {
                judge_alone();
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        break;
                    }
                    let plan = Plan::new(seed, args.seconds);
                    let course = play(&plan, &Script::new(&plan), args.trace);
                    sender.send((seed, plan.nodes, course)).expect("somebody listens until all is told");
                }
            });
        }
        drop(sender);
        let (mut early, mut expected) = (BTreeMap::new(), seeds.start);
        for (seed, nodes, course) in courses {
            early.insert(seed, (nodes, course));
            while let Some((nodes, course)) = early.remove(&expected) {
                if !stop.load(Ordering::Relaxed) {
                    sum.take(args, expected, nodes, &course);
                    stop.store(args.stop && sum.failed > 0, Ordering::Relaxed);
                    if sum.seeds.is_multiple_of(1_000) {
                        eprintln!("… {} seeds, {} failed, {:.0?}", sum.seeds, sum.failed, start.elapsed());
                    }
                }
                expected += 1;
            }
        }
    });
    sum.tell(args, start.elapsed());
    sum
}

impl Sum {
    fn take(&mut self, args: &Args, seed: u64, nodes: u64, course: &Course) {
        self.seeds += 1;
        if let Some(failure) = &course.failure {
            self.failed += 1;
            println!("seed {seed} failed at {:.6} s: {}", course_seconds(failure.at_us), failure.words);
            println!("  again: {}", again(args, seed));
            return;
        }
        self.events += course.events;
        self.faults += course.faults;
        self.elections += course.elections;
        self.operations += course.operations;
        self.unknown += course.counts.unknown as u64;
        self.refused += course.counts.failed as u64;
        self.parts += course.parts;
        self.beats += course.beats;
        self.rotted += course.rotted;
        self.dead += course.dead;
        self.filled += course.filled;
        self.moved += course.moved;
        self.told += course.told;
        self.created += course.created;
        self.compared += course.compared;
        let simulated = Duration::from_micros(course.simulated_us);
        self.simulated += simulated;
        self.spent += course.spent;
        if nodes == 5 {
            self.simulated_of_five += simulated;
            self.spent_of_five += course.spent;
        }
    }

    fn tell(&self, args: &Args, took: Duration) {
        println!(
            "{} seeds, {} failed: {:.0} simulated s with {} faults, {} elections, {} operations ({} unknown, {} failed), \
             {} parts of snapshots, {} beats of nodes at rest, {} places of rot ({} nodes lost to it), {} full disks, {} shards moved, {} changes told, {} groups made, {} states compared, \
             {} events",
            self.seeds,
            self.failed,
            self.simulated.as_secs_f64(),
            self.faults,
            self.elections,
            self.operations,
            self.unknown,
            self.refused,
            self.parts,
            self.beats,
            self.rotted,
            self.dead,
            self.filled,
            self.moved,
            self.told,
            self.created,
            self.compared,
            self.events,
        );
        let rate =
            |simulated: Duration, spent: Duration| simulated.as_secs_f64() / spent.as_secs_f64().max(1e-9);
        println!(
            "in {took:.1?} on {} threads: {:.0} simulated s a second; of one core {:.0}, with 5 nodes {:.0} at {:.0} \
             operations a simulated second",
            args.threads,
            rate(self.simulated, took),
            rate(self.simulated, self.spent),
            rate(self.simulated_of_five, self.spent_of_five),
            self.operations as f64 / self.simulated.as_secs_f64().max(1e-9),
        );
    }
}

fn course_seconds(at_us: u64) -> f64 {
    at_us as f64 / 1e6
}

/// The command that plays a seed again.
fn again(args: &Args, seed: u64) -> String {
    let seconds =
        if args.seconds == SECONDS { String::new() } else { format!(" --seconds={}", args.seconds) };
    format!("cargo sim --seed={seed}{seconds}")
}
