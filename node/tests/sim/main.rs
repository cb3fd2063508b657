//! The simulator: whole clusters of engines, with disks, a network, clocks and clients that are all made up, in virtual
//! time and from a seed. What clients saw is judged by `ordeal-history`; what must hold inside is asserted after every turn.
//!
//! `cargo sim --help` says how to use it. It has a main of its own for that; asked as a test target it behaves as one.
//!
//! * `plan`, `script`, `deaths`: what a seed stands for; `script_file`: all as text.
//! * `disk`: the real journal over memory that forgets; `shelf`: its snapshots; `shadow`: what it must remember.
//! * `world`, `queue`: time and what happens in it; `node`, `client`, `faults`: to whom.
//! * `watcher`: clients that watch, and what they must be told.
//! * `checks`: what must hold; `trace`: what happened.
//! * `play`: one world; `sweep`: many; `shrink`: a failing one made short; `cases`: the test cases.

mod args;
mod cases;
mod checks;
mod client;
mod deaths;
mod disk;
mod faults;
mod node;
mod parcel;
mod plan;
mod play;
mod queue;
mod script;
mod script_file;
mod shadow;
mod shards;
mod shelf;
mod shrink;
mod sweep;
mod trace;
mod watcher;
mod world;

use std::process::ExitCode;

use args::Args;
use mimalloc::MiMalloc;
use plan::Plan;
use script::Script;

/// As in the binary: a world is made of small things that come and go.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Exit code of a test target that failed.
const FAILED: u8 = 101;

fn main() -> ExitCode {
    let args = match Args::parse(std::env::args().skip(1)) {
        Ok(args) => args,
        Err(words) => {
            eprintln!("{words}");
            return ExitCode::from(2);
        }
    };
    play::catch_panics();
    let passed = match (&args.script, &args.seeds) {
        (Some(path), _) => from_file(&args, path),
        (None, Some(seeds)) if args.shrink => seeds.clone().all(|seed| {
            let plan = Plan::new(seed, args.seconds);
            let script = Script::new(&plan);
            one(&args, &plan, &script)
        }),
        (None, Some(seeds)) => sweep::sweep(&args, seeds.clone()).failed == 0,
        (None, None) => cases::run(&args),
    };
    if passed { ExitCode::SUCCESS } else { ExitCode::from(FAILED) }
}

fn from_file(args: &Args, path: &str) -> bool {
    let read = std::fs::read_to_string(path).map_err(|error| error.to_string());
    match read.and_then(|text| script_file::parse(&text)) {
        Ok((plan, script)) => one(args, &plan, &script),
        Err(words) => {
            eprintln!("{path}: {words}");
            false
        }
    }
}

/// Plays one world, and makes it short when it fails and that is asked for.
fn one(args: &Args, plan: &Plan, script: &Script) -> bool {
    play::judge_alone();
    let course = play::play(plan, script, args.trace && !args.shrink);
    let Some(failure) = &course.failure else {
        println!("nothing failed in {} events; course {:016x}", course.events, course.hash);
        return true;
    };
    eprintln!("failed at {:.6} s: {}", failure.at_us as f64 / 1e6, failure.words);
    if args.shrink {
        let short = shrink::shrink(plan, script, failure);
        eprintln!("{}", short.words());
        print!("{}", script_file::print(&short.plan, &short.script));
    }
    false
}
