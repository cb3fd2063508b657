//! The labs and the cluster with real processes. This file has a main of its own, because it is several programs: the
//! runner, `lab-exec` as the real binary has it, a node that only answers questions, and a harness that gets killed.
//!
//! Each case runs in a process of its own; those of the kernel lab run inside namespaces, or say why they cannot.

mod lab_cases;
mod lab_node;
mod runner;

use std::process::ExitCode;

use ordeal_harness::lab::{self, LabKind, NetChoice};
use runner::SKIPPED;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["lab-exec", ..] => ExitCode::from(lab::exec::execute(std::env::args_os().skip(2))),
        ["node", ..] => lab_node::main(&words[1..]),
        ["case", name] => {
            runner::die_with_parent();
            ExitCode::from(case(name))
        }
        ["victim", kind, dir] => {
            runner::die_with_parent();
            ExitCode::from(lab_cases::death::victim(kind, dir))
        }
        _ => {
            let names: Vec<&str> = lab_cases::all().iter().map(|case| case.name).collect();
            runner::run(&names, &words)
        }
    }
}

/// One case, in this process or inside.
fn case(name: &str) -> u8 {
    let Some(case) = lab_cases::all().into_iter().find(|case| case.name == name) else {
        eprintln!("no case {name}");
        return 2;
    };
    if case.lab == Some(LabKind::Kernel) {
        match lab::choose(NetChoice::Kernel) {
            Ok(choice) if case.inside && !lab::is_inside() => {
                return lab::reexec_inside(&choice).expect("the lab was tried a moment ago");
            }
            Ok(_) => {}
            Err(error) => {
                println!("{error:#}");
                return SKIPPED;
            }
        }
    }
    (case.run)();
    0
}
