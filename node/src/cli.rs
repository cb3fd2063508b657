//! `ordeal node start`: flags to a configuration, errors to one clear line, a hint and an exit code. `ordeal node inspect`
//! only finds the room.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use ordeal_client::wire::{ClusterId, NodeId};
use ordeal_wal::SyncMode;
use tracing_subscriber::EnvFilter;

use crate::config::NodeConfig;
use crate::inspect;
use crate::server::{Server, ServerError};

/// The node failed while it ran: a failed sync, a failed event loop.
const EXIT_FAILED: u8 = 1;
/// The flags make no sense.
const EXIT_USAGE: u8 = 2;
/// The node could not be set up: port in use, directory of another node, no free disk, damaged log.
const EXIT_SET_UP: u8 = 13;

/// The arguments of `ordeal node`.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true, after_help = EXAMPLES)]
pub struct NodeArgs {
    #[command(subcommand)]
    command: NodeCommand,
}

#[derive(Debug, Subcommand)]
enum NodeCommand {
    /// Run one node in the foreground until SIGTERM or SIGINT.
    Start(StartArgs),
    /// Look into a node's files, whether it runs or not.
    Inspect(InspectArgs),
}

#[derive(Debug, Args)]
#[command(arg_required_else_help = true, after_help = inspect::EXAMPLES)]
struct InspectArgs {
    #[command(subcommand)]
    command: InspectCommand,
}

#[derive(Debug, Subcommand)]
enum InspectCommand {
    /// Show what the log holds: segments, groups, damage, the last frames with their entries in words.
    Wal(inspect::WalArgs),
}

const EXAMPLES: &str = "\
Examples:
  a cluster of one node:
    ordeal node start --id n1 --cluster 00c0ffee00c0ffee --dir data/1 --listen 127.0.0.1:7101 --member n1=127.0.0.1:7101
  one node of three:
    ordeal node start --id n2 --cluster 00c0ffee00c0ffee --dir data/2 --listen 127.0.0.1:7102 \\
      --member n1=127.0.0.1:7101 --member n2=127.0.0.1:7102 --member n3=127.0.0.1:7103
  a fourth, and then `ordeal kv member add n4=127.0.0.1:7104`:
    ordeal node start --join --id n4 --cluster 00c0ffee00c0ffee --dir data/4 --listen 127.0.0.1:7104 \\
      --member n4=127.0.0.1:7104
  what the log of the first holds, while it runs:
    ordeal node inspect wal data/1

--member says who is there when a cluster begins. From then on its log does, and the flag only says where they are.

When it listens it prints one line, `ready n1 127.0.0.1:7101`, with the actual port. Its log goes to stderr; ORDEAL_LOG
sets how much (error, warn, info, debug). Exit codes: 0 stopped as asked, 1 failed while running, 2 usage, 13 set-up failed.";

/// Flags of `ordeal node start`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
struct StartArgs {
    /// This node, such as n1.
    #[arg(long, value_name = "NODE")]
    id: NodeId,
    /// The cluster: 16 hexadecimal digits, the same on all its nodes, drawn once.
    #[arg(long, value_name = "HEX")]
    cluster: ClusterId,
    /// Data directory, made if it is missing.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Where to listen; port 0 takes any free one.
    #[arg(long, value_name = "IP:PORT", value_parser = address)]
    listen: SocketAddr,
    /// A member and its advertised address, this node's own among them. Give one for each; to --join, its own is enough.
    #[arg(long = "member", value_name = "NODE=IP:PORT", value_parser = node_address, required = true)]
    members: Vec<(NodeId, SocketAddr)>,
    /// Join a cluster that there is: start empty, and wait until `ordeal kv member add` makes this node a member. Take an id
    /// that no node of it ever had: who lost its data must not vote again under its old one.
    #[arg(long)]
    join: bool,
    /// Dial a member elsewhere than where it is advertised: through a proxy or a forwarded port.
    #[arg(long = "dial", value_name = "NODE=IP:PORT", value_parser = node_address)]
    dial: Vec<(NodeId, SocketAddr)>,
    /// Data groups of the cluster, the same on all its nodes.
    #[arg(long, default_value_t = 1)]
    groups: u32,
    /// So many nodes belong to each data group at first, the same on all nodes; the groups follow one another around them. All,
    /// unless said.
    #[arg(long, value_name = "N")]
    replicas: Option<u32>,
    /// Shards of the cluster, the same on all its nodes.
    #[arg(long, default_value_t = 64)]
    shards: u32,
    /// How often a leader says that it is there.
    #[arg(long, value_name = "TIME", default_value = "50ms", value_parser = duration)]
    heartbeat: Duration,
    /// How long a follower waits for a leader before it campaigns; up to a quarter as long again by chance.
    #[arg(long, value_name = "TIME", default_value = "250ms", value_parser = duration)]
    election_timeout: Duration,
    /// A group takes a snapshot after so many entries.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    snapshot_entries: u64,
    /// A group takes a snapshot, too, when its log has grown by more bytes than this, or by half of its state if
    /// that is more; about as much of the log is kept behind it.
    #[arg(long, value_name = "BYTES", default_value_t = 32 << 20)]
    snapshot_bytes: u64,
    /// Whether writes wait for the disk. `never` survives the death of the process, not that of the machine.
    #[arg(long, value_name = "WHEN", default_value = "always")]
    sync: SyncWhen,
    /// How a leader makes sure that it still leads before it answers a read; the same on all nodes. `lease` is quicker, and
    /// right as long as no node's clock runs more than a tenth faster than another's.
    #[arg(long, value_name = "HOW", default_value = "quorum")]
    reads: Reads,
    /// Seed of the random timeouts.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Reads {
    /// A majority answers a round of heartbeats first
    Quorum,
    /// A majority that was heard lately keeps from electing anybody else
    Lease,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum SyncWhen {
    Always,
    Never,
}

/// Runs the command to its end.
#[must_use]
pub fn run(args: NodeArgs) -> ExitCode {
    match args.command {
        NodeCommand::Start(args) => start(args),
        NodeCommand::Inspect(InspectArgs { command: InspectCommand::Wal(args) }) => inspect::run(&args),
    }
}

fn start(args: StartArgs) -> ExitCode {
    log_to_stderr();
    let id = args.id;
    let config = match args.into_config() {
        Ok(config) => config,
        Err(error) => return fail(&error, "see: ordeal node start --help", EXIT_USAGE),
    };
    abort_on_panic();
    let mut server = match Server::bind(&config).and_then(with_signals) {
        Ok(server) => server,
        Err(ServerError::Storage(error)) if error.forgot() => {
            return fail(&error.to_string(), &replacement(&config), EXIT_SET_UP);
        }
        Err(error) => return fail(&error.to_string(), &error.hint(), EXIT_SET_UP),
    };
    match server.address() {
        Ok(address) => announce(id, address),
        Err(error) => return fail(&error.to_string(), &error.hint(), EXIT_SET_UP),
    }
    match server.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error.to_string(), &error.hint(), EXIT_FAILED),
    }
}

impl StartArgs {
    fn into_config(self) -> Result<NodeConfig, String> {
        let members = unique("--member", self.members)?;
        let config = NodeConfig {
            listen: self.listen,
            join: self.join,
            dial: unique("--dial", self.dial)?,
            groups: self.groups,
            replicas: self.replicas,
            shards: self.shards,
            heartbeat: self.heartbeat,
            election_timeout: self.election_timeout,
            snapshot_entries: self.snapshot_entries,
            snapshot_bytes: self.snapshot_bytes,
            sync: match self.sync {
                SyncWhen::Always => SyncMode::Always,
                SyncWhen::Never => SyncMode::Never,
            },
            leases: self.reads == Reads::Lease,
            seed: self.seed,
            ..NodeConfig::new(self.id, self.cluster, self.dir, members)
        };
        config.check().map_err(|error| error.to_string())?;
        Ok(config)
    }
}

/// How a member that may have forgotten something is replaced, in commands to paste: as a new one with a directory of its own.
fn replacement(config: &NodeConfig) -> String {
    let NodeConfig { node, cluster, listen, members, .. } = config;
    let layout = config.layout();
    let others: Vec<String> =
        members.iter().filter(|(id, _)| *id != node).map(|(_, address)| address.to_string()).collect();
    // One that joined knows no others by its flags.
    let endpoints = if others.is_empty() { "$ORDEAL_ENDPOINTS".to_owned() } else { others.join(",") };
    let last = members.keys().last().unwrap_or(node);
    let (new, address) = (NodeId(last.0 + 1), members.get(node).unwrap_or(listen));
    let dir = format!("{}-{new}", config.dir.display());
    let heartbeat = config.heartbeat.as_millis();
    let election_timeout = config.election_timeout.as_millis();
    format!(
        "it must not vote again under its id; replace it by {new}, or any id that was never used:
  ordeal kv member remove {node} --endpoints {endpoints}
  ordeal node start --join --id {new} --cluster {cluster} --dir {dir} --listen {listen} --member {new}={address} \
    {layout} --heartbeat {heartbeat}ms --election-timeout {election_timeout}ms &
  ordeal kv member add {new}={address} --endpoints {endpoints}"
    )
}

fn with_signals(mut server: Server) -> Result<Server, ServerError> {
    server.stop_on_signals()?;
    Ok(server)
}

/// The one line that whoever started us waits for. If nobody reads it any more, nobody misses it.
fn announce(id: NodeId, address: SocketAddr) {
    tracing::info!(node = %id, %address, "ready");
    let mut stdout = std::io::stdout().lock();
    let _unread = writeln!(stdout, "ready {id} {address}").and_then(|()| stdout.flush());
}

fn fail(error: &str, hint: &str, code: u8) -> ExitCode {
    let mut stderr = std::io::stderr().lock();
    let _unread = writeln!(stderr, "error: {error}\nhint: {hint}");
    ExitCode::from(code)
}

/// A broken promise of ours ends the process at once, in whichever thread it was found, with nothing more written.
fn abort_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
}

fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("ORDEAL_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let log =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colour);
    // Whoever embeds us may have set one up already; then that one is used.
    let _set_up_already = log.try_init();
}

fn unique(flag: &str, pairs: Vec<(NodeId, SocketAddr)>) -> Result<BTreeMap<NodeId, SocketAddr>, String> {
    let mut map = BTreeMap::new();
    for (node, address) in pairs {
        if map.insert(node, address).is_some() {
            return Err(format!("{flag} names {node} twice"));
        }
    }
    Ok(map)
}

fn address(text: &str) -> Result<SocketAddr, String> {
    // A name is not looked up here: it would stop the loop for as long as the name server likes.
    text.parse().map_err(|_| format!("`{text}` is no address, expected an IP and a port like 127.0.0.1:7101"))
}

fn node_address(text: &str) -> Result<(NodeId, SocketAddr), String> {
    let (node, rest) = text.split_once('=').ok_or(format!("`{text}` is not like n1=127.0.0.1:7101"))?;
    Ok((node.parse().map_err(|error| format!("{error}"))?, address(rest)?))
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no time, expected one like 50ms or 2s");
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    match &text[digits.len()..] {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_or_refused_with_an_example() {
        assert_eq!(duration("50ms"), Ok(Duration::from_millis(50)));
        assert_eq!(duration("2s"), Ok(Duration::from_secs(2)));
        for text in ["", "50", "ms", "1h", "-1s"] {
            assert!(duration(text).is_err_and(|error| error.contains("50ms")), "{text}");
        }
        assert!(node_address("n2=127.0.0.1:7102").is_ok());
        for text in ["n2", "2=127.0.0.1:7102", "n2=localhost:7102", "n2=127.0.0.1"] {
            assert!(node_address(text).is_err(), "{text}");
        }
        let twice = vec![node_address("n2=127.0.0.1:1").unwrap(), node_address("n2=127.0.0.1:2").unwrap()];
        assert_eq!(unique("--member", twice), Err("--member names n2 twice".to_owned()));
    }
    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(subcommand)]
        command: NodeCommand,
    }

    #[test]
    fn who_forgot_is_replaced_by_commands_that_can_be_pasted() {
        let members = (1..=3).map(|id| {
            (NodeId(id), SocketAddr::from(([127, 0, 0, 1], 7100 + u16::try_from(id).unwrap_or(0))))
        });
        let config = NodeConfig::new(NodeId(2), ClusterId(0xc0_ffee), "data/2".into(), members.collect());
        let config = NodeConfig { listen: config.members[&NodeId(2)], groups: 3, ..config };
        let hint = replacement(&config).replace("\\\n", "");
        let lines: Vec<&str> = hint.lines().skip(1).map(str::trim).collect();
        let [remove, start, add] = lines[..] else { panic!("three commands: {hint}") };
        let endpoints = "--endpoints 127.0.0.1:7101,127.0.0.1:7103";
        assert_eq!(remove, format!("ordeal kv member remove n2 {endpoints}"));
        assert_eq!(add, format!("ordeal kv member add n4=127.0.0.1:7102 {endpoints}"));
        let start = start.strip_suffix(" &").expect("the next command is pasted while it runs");
        let line = <Line as clap::Parser>::try_parse_from(start.split_whitespace().skip(1)).expect(start);
        let NodeCommand::Start(args) = line.command else { panic!("{start} starts a node") };
        let new = args.into_config().expect("flags that make sense");
        assert_eq!((new.node, new.join, new.listen), (NodeId(4), true, config.listen));
        assert_eq!((new.cluster, new.groups, new.shards), (config.cluster, 3, config.shards));
        assert_ne!(new.dir, config.dir);
    }
}
