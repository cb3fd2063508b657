//! `ordeal`: one binary for the cluster and for its ordeal. This file only finds the room that a command belongs to.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use mimalloc::MiMalloc;
use ordeal_client::cli::KvArgs;
use ordeal_harness::cli::HarnessCommand;
use ordeal_harness::lab::exec::LabExecArgs;
use ordeal_node::cli::NodeArgs;

/// A node takes and gives back a dozen small pieces of memory for each put (docs/performance.md).
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// A linearizable key-value cluster, and the ordeal it must survive.
///
/// `ordeal run` starts a cluster of real processes on this machine, kills, pauses and partitions it and changes its members
/// while clients write, and judges what they saw. No root, no containers, nothing to configure.
#[derive(Debug, Parser)]
#[command(name = "ordeal", version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = EXAMPLES)]
struct Ordeal {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Harness(HarnessCommand),
    /// Read and write keys of a cluster.
    Kv(KvArgs),
    /// Run one node of a cluster.
    Node(NodeArgs),
    /// Enter a namespace, then become another program (what the harness starts its children with).
    #[command(hide = true)]
    LabExec(LabExecArgs),
}

const EXAMPLES: &str = "\
Examples:
  ordeal run                              five nodes, thirty seconds, every fault, a verdict
  ordeal run --workload append --seed 7   the same plan again and again
  ordeal doctor                           what this machine can do
  ordeal cluster up                       a cluster by hand, in the foreground";

fn main() -> ExitCode {
    match Ordeal::parse().command {
        Command::Harness(command) => command.execute(),
        Command::Kv(args) => ordeal_client::cli::run(args),
        Command::Node(args) => ordeal_node::cli::run(args),
        Command::LabExec(args) => ordeal_harness::lab::exec::run(args),
    }
}
