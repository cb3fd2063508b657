//! Runs cases, each in a process of its own: they watch signals, live in namespaces and end with their nodes.
//!
//! Behaves as libtest does, as far as cargo and people need it: filters, `--list`, `--nocapture`. A case has a time limit,
//! so that one that waits for ever is a red test and not a hung build.

use std::process::{Command, ExitCode, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Exit code of a case that this machine cannot run.
pub const SKIPPED: u8 = 77;

/// The longest case takes 15 s on an idle machine; a busy one is ten times slower.
const CASE_TIME_MAX: Duration = Duration::from_secs(150);

/// Runs those of the cases that `words` choose, as `<this program> case <name>`.
pub fn run(names: &[&str], words: &[&str]) -> ExitCode {
    let filters: Vec<&str> = words.iter().copied().filter(|word| !word.starts_with('-')).collect();
    let chosen = |name: &str| filters.is_empty() || filters.iter().any(|filter| name.contains(filter));
    let wanted: Vec<&str> = names.iter().copied().filter(|name| chosen(name)).collect();
    if words.contains(&"--list") {
        wanted.iter().for_each(|name| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let show = words.contains(&"--nocapture");
    let failed: Vec<&str> = wanted.into_iter().filter(|name| !passes(name, show)).collect();
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("failed: {}", failed.join(" "));
    ExitCode::from(101)
}

/// For the cases, and for what they start of this program: nobody stays when the runner ends or kills a case.
pub fn die_with_parent() {
    prctl::set_pdeathsig(Signal::SIGKILL).expect("the kernel knows parent death signals");
}

fn passes(name: &str, show: bool) -> bool {
    let start = Instant::now();
    let (in_time, output) = play(name, show);
    let took = start.elapsed().as_millis();
    let said = String::from_utf8_lossy(&output.stdout);
    match output.status.code() {
        Some(0) => {
            println!("test {name} ... ok ({took} ms)");
            said.lines().filter(|line| line.starts_with("measured")).for_each(|line| println!("    {line}"));
            return true;
        }
        Some(code) if code == i32::from(SKIPPED) => {
            println!("test {name} ... skipped: {}", said.trim());
            return true;
        }
        _ if in_time => println!("test {name} ... FAILED ({}, {took} ms)", output.status),
        _ => println!("test {name} ... FAILED (not done within {} s, killed)", CASE_TIME_MAX.as_secs()),
    }
    println!("{said}{}", String::from_utf8_lossy(&output.stderr));
    false
}

/// Everything that the case started dies with it, and so lets go of its output.
fn play(name: &str, show: bool) -> (bool, Output) {
    let mut command = Command::new("/proc/self/exe");
    command.args(["case", name]).stdin(Stdio::null());
    if show {
        command.stdout(Stdio::inherit()).stderr(Stdio::inherit());
    } else {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
    }
    let child = command.spawn().expect("this program can run itself");
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    let (sender, ended) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(move || sender.send(child.wait_with_output()));
        let (in_time, output) = match ended.recv_timeout(CASE_TIME_MAX) {
            Ok(output) => (true, output),
            Err(_) => {
                let _ = kill(pid, Signal::SIGKILL);
                (false, ended.recv().expect("a killed case ends"))
            }
        };
        (in_time, output.expect("the case can be waited for"))
    })
}
