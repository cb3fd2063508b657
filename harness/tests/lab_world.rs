//! The labs and the cluster with real processes. This file has a main of its own, because it is several programs: the
//! runner, `lab-exec` as the real binary has it, a node that only answers questions, and a harness that gets killed.
//!
//! Each case runs in a process of its own; those of the kernel lab run inside namespaces, or say why they cannot.

mod lab_cases;
mod lab_node;

use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use ordeal_harness::lab::{self, LabKind, NetChoice};

/// Exit code of a case that this machine cannot run.
const SKIPPED: u8 = 77;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["lab-exec", ..] => ExitCode::from(lab::exec::execute(std::env::args_os().skip(2))),
        ["node", ..] => lab_node::main(&words[1..]),
        ["case", name] => ExitCode::from(case(name)),
        ["victim", kind, dir] => ExitCode::from(lab_cases::death::victim(kind, dir)),
        _ => runner(&words),
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

/// Behaves as libtest does, as far as cargo and people need it: a filter, `--list`, `--nocapture`.
fn runner(words: &[&str]) -> ExitCode {
    let filters: Vec<&str> = words.iter().copied().filter(|word| !word.starts_with('-')).collect();
    let cases = lab_cases::all();
    let wanted = cases
        .iter()
        .filter(|case| filters.is_empty() || filters.iter().any(|filter| case.name.contains(filter)));
    if words.contains(&"--list") {
        wanted.for_each(|case| println!("{}: test", case.name));
        return ExitCode::SUCCESS;
    }
    let mut failed = Vec::new();
    for case in wanted {
        let start = Instant::now();
        let mut command = Command::new("/proc/self/exe");
        command.args(["case", case.name]).stdin(Stdio::null());
        if words.contains(&"--nocapture") {
            command.stdout(Stdio::inherit()).stderr(Stdio::inherit());
        }
        let output = command.output().expect("this program can run itself");
        let took = start.elapsed().as_millis();
        let said = String::from_utf8_lossy(&output.stdout);
        match output.status.code() {
            Some(0) => println!("test {} ... ok ({took} ms)", case.name),
            Some(code) if code == i32::from(SKIPPED) => {
                println!("test {} ... skipped: {}", case.name, said.trim());
            }
            _ => {
                println!("test {} ... FAILED ({})", case.name, output.status);
                println!("{said}{}", String::from_utf8_lossy(&output.stderr));
                failed.push(case.name);
            }
        }
        if output.status.success() {
            said.lines().filter(|line| line.starts_with("measured")).for_each(|line| println!("    {line}"));
        }
    }
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("failed: {}", failed.join(" "));
    ExitCode::from(101)
}
