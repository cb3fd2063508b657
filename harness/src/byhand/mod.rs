//! A cluster by hand: `ordeal cluster up` runs one in the foreground, and the other commands ask it to kill, pause, cut and
//! heal, with the same proofs as in a run.

mod control;
mod forward;
mod split;
mod up;

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::bail;
use clap::{Args, Subcommand};
use ordeal_client::wire::NodeId;

use control::{Ask, NodeLine, Told};
pub use up::UpArgs;

/// A cluster in the foreground, and commands for it from any other shell.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ordeal cluster up --nodes 3
  ordeal cluster partition \"n1 | n2 n3\"")]
pub struct ClusterArgs {
    #[command(subcommand)]
    command: ClusterCommand,
}

#[derive(Debug, Subcommand)]
enum ClusterCommand {
    /// Start a cluster and stay in the foreground until Ctrl-C or `ordeal cluster down`; data is kept.
    #[command(after_help = "\
Examples:
  ordeal cluster up
  ordeal cluster up --nodes 5 --dir /tmp/five --net proxy")]
    Up(UpArgs),
    /// Stop the cluster; data is kept.
    #[command(after_help = "\
Examples:
  ordeal cluster down
  ordeal cluster down --dir /tmp/five")]
    Down(Where),
    /// How the nodes are, and where to reach them.
    #[command(after_help = "\
Examples:
  ordeal cluster status
  ordeal cluster status --json")]
    Status(StatusArgs),
    /// Kill a node with SIGKILL.
    #[command(after_help = "\
Examples:
  ordeal cluster kill n1
  ordeal cluster kill n2 --dir /tmp/five")]
    Kill(OneNode),
    /// Start a node that is down.
    #[command(after_help = "\
Examples:
  ordeal cluster start n1
  ordeal cluster start n2 --dir /tmp/five")]
    Start(OneNode),
    /// Pause a node with SIGSTOP.
    #[command(after_help = "\
Examples:
  ordeal cluster pause n1
  ordeal cluster pause n2 --dir /tmp/five")]
    Pause(OneNode),
    /// Let a paused node go on.
    #[command(after_help = "\
Examples:
  ordeal cluster resume n1
  ordeal cluster resume n2 --dir /tmp/five")]
    Resume(OneNode),
    /// Cut links between nodes; replaces an earlier partition.
    #[command(after_help = "\
Examples:
  ordeal cluster partition \"n1 | n2 n3\"     n1 alone
  ordeal cluster partition \"n1>n2\"          what n1 sends to n2 is lost, not the other way")]
    Partition(PartitionArgs),
    /// Restore all links.
    #[command(after_help = "\
Examples:
  ordeal cluster heal
  ordeal cluster heal --dir /tmp/five")]
    Heal(Where),
}

/// Which cluster.
#[derive(Debug, Args)]
struct Where {
    /// Directory of the cluster.
    #[arg(long, value_name = "DIR", default_value = "ordeal-cluster", env = "ORDEAL_CLUSTER")]
    dir: PathBuf,
}

#[derive(Debug, Args)]
struct OneNode {
    /// The node, like n1.
    node: NodeId,
    #[command(flatten)]
    place: Where,
}

#[derive(Debug, Args)]
struct StatusArgs {
    /// Print one JSON object a node.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Where,
}

#[derive(Debug, Args)]
struct PartitionArgs {
    /// The parts, like "n1 | n2 n3", or directions, like "n1>n2, n3>n2".
    split: String,
    #[command(flatten)]
    place: Where,
}

/// Carries the command out; the exit code is 0, or that of the failure.
///
/// # Errors
/// When no cluster runs there, or it refuses.
pub fn run(args: ClusterArgs) -> anyhow::Result<u8> {
    let (place, ask, json) = match args.command {
        ClusterCommand::Up(args) => return up::up(args),
        ClusterCommand::Down(place) => (place, Ask::Down, false),
        ClusterCommand::Status(args) => (args.place, Ask::Status, args.json),
        ClusterCommand::Kill(args) => (args.place, Ask::Kill(args.node), false),
        ClusterCommand::Start(args) => (args.place, Ask::Start(args.node), false),
        ClusterCommand::Pause(args) => (args.place, Ask::Pause(args.node), false),
        ClusterCommand::Resume(args) => (args.place, Ask::Resume(args.node), false),
        ClusterCommand::Partition(args) => (args.place, Ask::Partition(args.split), false),
        ClusterCommand::Heal(place) => (place, Ask::Heal, false),
    };
    match control::ask(&place.dir, &ask)? {
        Told::Done(what) => print(&format!("{what}\n"))?,
        Told::Status(nodes) if json => print(&as_json(&nodes)?)?,
        Told::Status(nodes) => print(&as_table(&nodes))?,
        Told::Refused(why) => bail!("{why}"),
    }
    Ok(0)
}

fn as_json(nodes: &[NodeLine]) -> anyhow::Result<String> {
    let mut text = String::new();
    for node in nodes {
        text += &serde_json::to_string(node)?;
        text.push('\n');
    }
    Ok(text)
}

fn as_table(nodes: &[NodeLine]) -> String {
    let mut text = format!("{:<5} {:<8} {:<22} {:<10} {}\n", "NODE", "PID", "ADDRESS", "LEADS", "STATE");
    for line in nodes {
        let pid = line.pid.map_or("-".to_owned(), |pid| pid.to_string());
        let leads = line.leads.iter().map(|group| format!("g{group}")).collect::<Vec<_>>().join(" ");
        let leads = if leads.is_empty() { "-" } else { &leads };
        text += &format!(
            "{:<5} {pid:<8} {:<22} {leads:<10} {}\n",
            line.node.to_string(),
            line.address,
            line.state
        );
    }
    text
}

/// To stdout; a closed pipe is success.
fn print(text: &str) -> anyhow::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}
