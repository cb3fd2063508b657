//! `ordeal node inspect wal`: what a node's log holds, told to a person or as lines of JSON. It only reads, takes no lock
//! and waits for nobody, so the node may be running; what it shows is then what was acknowledged when it looked, or more.
//!
//! ```text
//!   findings   what there is: segments, groups, damage, the last frames and their entries
//!   words      an entry in words
//!   text, json how it is shown
//! ```

mod findings;
mod json;
mod text;
mod words;

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use ordeal_client::wire::GroupId;

use findings::{Findings, InspectError};

/// Damage was found, even if a second copy made it good.
const EXIT_DAMAGED: u8 = 10;
/// What was given is no log, or one that cannot be read.
const EXIT_NO_LOG: u8 = 3;

/// Examples of the command, for its help and for those above it.
pub const EXAMPLES: &str = "\
Examples:
  ordeal node inspect wal data/1                     segments, groups, damage; the node may be running
  ordeal node inspect wal data/1 --last 5            the last five frames, too, with their entries in words
  ordeal node inspect wal data/1/wal --group g1      of one group; DIR may be the log's own directory
  ordeal node inspect wal data/1 --verify --json     every copy of everything read; lines of JSON, each with \"v\":1

Exit codes: 0 whole (a torn tail is no damage: nobody was promised it), 2 usage, 3 no log there, or one of a newer build,
10 damage found, even if a second copy made it good.";

/// Flags of `ordeal node inspect wal`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct WalArgs {
    /// Data directory of a node, or the directory `wal` in it.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Only this group, such as g1.
    #[arg(long, value_name = "GROUP")]
    group: Option<GroupId>,
    /// Show the last N frames, too (of the group, if one is given), with their entries in words. A frame is one sync.
    #[arg(long, value_name = "N", default_value_t = 0)]
    last: usize,
    /// Read the second copies, too, and decode every entry: what a start does not do as long as the first copies are whole.
    #[arg(long)]
    verify: bool,
    /// Lines of JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command to its end.
#[must_use]
pub fn run(args: &WalArgs) -> ExitCode {
    let findings = match Findings::of(args) {
        Ok(findings) => findings,
        Err(error) => return fail(&error),
    };
    let mut out = BufWriter::new(io::stdout().lock());
    let shown = if args.json { json::show(&findings, &mut out) } else { text::show(&findings, &mut out) };
    match shown.and_then(|()| out.flush()) {
        // Whoever read only the first lines got them.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("error: standard output: {error}\nhint: is the disk full that it goes to?");
            ExitCode::FAILURE
        }
        Ok(()) | Err(_) if findings.is_damaged() => ExitCode::from(EXIT_DAMAGED),
        Ok(()) | Err(_) => ExitCode::SUCCESS,
    }
}

fn fail(error: &InspectError) -> ExitCode {
    eprintln!("error: {error}\nhint: {}", error.hint());
    ExitCode::from(if error.is_damage() { EXIT_DAMAGED } else { EXIT_NO_LOG })
}
