//! `ordeal run`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use ordeal_history::Budget;

use super::output::{print, print_json};
use super::scenarios::{self, Bill};
use super::{Done, Failure, StoreArgs, time};
use crate::chance::fresh_seed;
use crate::exit::Cause;
use crate::lab::NetChoice;
use crate::plan::{FaultKind, FaultSet, ReadLevel, Settings, WorkloadKind, draw};
use crate::report::text;
use crate::run::{Ended, Order, execute as execute_run};
use crate::store::Requirement;

/// What a scenario says for itself.
const NOT_OF_SCENARIOS: [&str; 15] = [
    "nodes",
    "clients",
    "time",
    "workload",
    "faults",
    "rate",
    "keys",
    "read_level",
    "groups",
    "shards",
    "op_timeout",
    "net",
    "require_ops",
    "require",
    "stop_at_violation",
];

/// Flags of `ordeal run`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    ordeal run --seed 42\n      \
        five nodes, ten clients, thirty seconds of kills, pauses, partitions, changes of members and of leaders;\n      \
        the same plan every time\n  \
    ordeal run --workload cas --faults partition --time 1m --dry-run\n      \
        print what would happen, and start nothing\n  \
    ordeal run --faults kill,partition --require \"recover<5s\" --require \"kill.lost<30%\"\n      \
        fail with exit code 15 where a fault kept clients waiting for longer\n  \
    ordeal run --read-level stale --faults partition --stop-at-violation\n      \
        hold all nodes still at the first violation, and keep what they say\n  \
    ordeal run --scenario figure8-unreliable --scenario backup\n      \
        play scenarios of `ordeal catalog`, one after the other; `--scenario all` plays all of them\n\n\
    Exit codes: 0 valid, 10 not linearizable, 11 unknown, 12 a node ended uninvited or the cluster did not recover,\n\
    13 set-up or a fault failed, 14 a requirement was missed, 15 a fault kept clients waiting for longer than --require\n\
    allows, 16 a violation that the run was stopped for is none (a bug of Ordeal), 130 interrupted. Of several the first of 10,\n\
    16, 12, 130, 13, 14, 15, 11.")]
pub struct RunArgs {
    /// Play a scenario of `ordeal catalog`, or all, in place of a plan; can be repeated
    #[arg(long, value_name = "NAME", conflicts_with_all = NOT_OF_SCENARIOS)]
    scenario: Vec<String>,
    /// Nodes of the cluster
    #[arg(long, value_name = "N", default_value_t = 5)]
    nodes: u32,
    /// Clients, one thread each
    #[arg(long, value_name = "N", default_value_t = 10)]
    clients: u32,
    /// How long clients and faults go on
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time::parse)]
    time: Duration,
    /// Where all chance comes from; drawn and printed when it is not given
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// What clients ask
    #[arg(long, value_enum, default_value_t = WorkloadKind::Register)]
    workload: WorkloadKind,
    /// Faults: some of kill,pause,partition,members,transfer,move-shards,join-leave,kill-mover with commas, or all, or none; the
    /// last three need several groups
    #[arg(long, value_name = "FAULTS", default_value = "all")]
    faults: FaultSet,
    /// Operations a second, all clients together
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    rate: u32,
    /// Keys live at once [default: half the clients]
    #[arg(long, value_name = "N")]
    keys: Option<u32>,
    /// How fresh reads must be; stale ones are a negative control that the judge must refuse
    #[arg(long, value_enum, default_value_t = ReadLevel::Linearizable)]
    read_level: ReadLevel,
    /// Data groups of the cluster
    #[arg(long, value_name = "N", default_value_t = 1)]
    groups: u32,
    /// Nodes that belong to each data group [default: all]
    #[arg(long, value_name = "N")]
    replicas: Option<u32>,
    /// Shards of the cluster [default: 8 a group]
    #[arg(long, value_name = "N")]
    shards: Option<u32>,
    /// How long one operation may take before its outcome counts as unknown
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = time::parse)]
    op_timeout: Duration,
    /// Network lab
    #[arg(long, value_enum, default_value_t = NetChoice::Auto)]
    net: NetChoice,
    /// Executable of the nodes [default: this one]
    #[arg(long, value_name = "PATH")]
    node_bin: Option<PathBuf>,
    /// An argument handed through to every node; can be repeated
    #[arg(long = "node-arg", value_name = "ARG", allow_hyphen_values = true)]
    node_args: Vec<String>,
    /// How long judging may take
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = time::parse)]
    check_time: Duration,
    /// How much memory judging may take, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 2_048)]
    check_memory: usize,
    /// Fail with exit code 14 unless so many operations were completed
    #[arg(long, value_name = "N")]
    require_ops: Option<usize>,
    /// Fail with exit code 15 unless every fault keeps this: FIGURE<LIMIT, of one kind of fault KIND.FIGURE<LIMIT; can be
    /// repeated. Figures (docs/testing.md, "Availability"): first (from its beginning to a success), gap (the longest without a
    /// success of a shard), lost (of the throughput, in %), recover (from its end to a success of every shard), normal (from its
    /// end to normal throughput). E.g. 'recover<5s', 'gap<800ms', 'kill.lost<30%'
    #[arg(long, value_name = "ASSERTION", value_delimiter = ',')]
    require: Vec<Requirement>,
    /// Judge while the run goes, and stop all nodes within 100 ms of the first violation; what they leave to be seen is kept in the
    /// directory `stopped` of the run, and the run ends. For the workload register
    #[arg(long)]
    stop_at_violation: bool,
    /// Print the plan, and start nothing
    #[arg(long)]
    dry_run: bool,
    /// The result as one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

pub(super) fn execute(args: &RunArgs) -> Done {
    if !args.scenario.is_empty() {
        let bill = args.bill()?;
        return if args.dry_run { scenarios::rehearse(&bill) } else { scenarios::play(&bill) };
    }
    let order = args.order()?;
    if args.dry_run {
        let plan = draw(&order.settings);
        return if args.json { print_json(&plan, 0) } else { print(&format!("{plan}\n"), 0) };
    }
    match execute_run(&order).map_err(Failure::of(Cause::SetUp))? {
        Ended::Elsewhere(code) => Ok(ExitCode::from(code)),
        Ended::Here(summary) if args.json => print_json(&summary, summary.exit),
        Ended::Here(summary) => print(&text::result(&summary), summary.exit),
    }
}

impl RunArgs {
    pub(super) fn order(&self) -> Result<Order, Failure> {
        let (faults, left_out): (Vec<FaultKind>, _) =
            self.faults.resolve(self.nodes, self.groups).map_err(Failure::of(Cause::Usage))?;
        let settings = Settings {
            seed: self.seed.unwrap_or_else(fresh_seed),
            nodes: self.nodes,
            clients: self.clients,
            time_ms: time::ms(self.time),
            workload: self.workload,
            faults,
            rate: self.rate,
            keys: self.keys.unwrap_or_else(|| (self.clients / 2).max(1)),
            read_level: self.read_level,
            groups: self.groups,
            replicas: self.replicas,
            shards: self.shards.unwrap_or_else(|| self.groups.saturating_mul(8)),
            op_timeout_ms: time::ms(self.op_timeout),
        };
        settings.check().map_err(Failure::of(Cause::Usage))?;
        are_measured(&self.require, &settings.faults)?;
        if self.stop_at_violation && settings.workload != WorkloadKind::Register {
            let error = anyhow::anyhow!(
                "--stop-at-violation: workload {} cannot be judged while it goes\nhint: --workload register can",
                settings.workload
            );
            return Err(Failure { cause: Cause::Usage, error });
        }
        Ok(Order {
            settings,
            left_out,
            store: self.store.store.clone(),
            net: self.net,
            node_bin: self.node_bin()?,
            node_args: self.node_args.clone(),
            budget: self.budget(),
            require_ops: self.require_ops,
            require: self.require.clone(),
            stop_at_violation: self.stop_at_violation,
        })
    }

    fn bill(&self) -> Result<Bill, Failure> {
        Ok(Bill {
            scenarios: scenarios::named(&self.scenario)?,
            seed: self.seed.unwrap_or_else(fresh_seed),
            store: self.store.store.clone(),
            node_bin: self.node_bin()?,
            node_args: self.node_args.clone(),
            budget: self.budget(),
            json: self.json,
        })
    }

    fn budget(&self) -> Budget {
        Budget { time: self.check_time, memory_bytes: self.check_memory.saturating_mul(1 << 20) }
    }

    fn node_bin(&self) -> Result<PathBuf, Failure> {
        match &self.node_bin {
            Some(path) => path.canonicalize().map_err(|error| Failure {
                cause: Cause::SetUp,
                error: anyhow::anyhow!(
                    "--node-bin {}: {error}\nhint: name an executable file",
                    path.display()
                ),
            }),
            None => std::env::current_exe().map_err(Failure::of(Cause::SetUp)),
        }
    }
}

/// That each requirement is about a fault that the run has: what nothing is measured by holds always.
pub(super) fn are_measured(requirements: &[Requirement], faults: &[FaultKind]) -> Result<(), Failure> {
    let vain = requirements.iter().find(|requirement| !faults.iter().any(|kind| requirement.is_about(*kind)));
    let Some(vain) = vain else { return Ok(()) };
    let names: Vec<String> = faults.iter().map(FaultKind::to_string).collect();
    let has = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let error = anyhow::anyhow!(
        "--require {vain}: the run has no such fault\nhint: its faults are {has}; --faults adds others"
    );
    Err(Failure { cause: Cause::Usage, error })
}
