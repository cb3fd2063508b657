//! A run from its flags to its verdict.
//!
//! ```text
//!   execute   lab chosen, inside it, run directory, plan        what fails here is set-up: 13
//!     └ perform   nodes, clients, faults, heal, recover, final reads, stop
//!     └ conclude  history judged, summary, verdict.json, report.html        always, whatever perform met
//! ```
//!
//! * [`schedule`]: the faults; [`changes`]: those that the cluster itself carries out; `hunt`: who drives a move is killed; `trouble`: what the ones have to know
//!   of the others. [`stage`]: the cluster as they see it.
//! * `meanwhile`: the judge of a run that is going, who stops it at the first violation; `gather`: what is kept of nodes then.
//! * [`screen`], [`interrupt`]: the user.

pub mod changes;
mod faults;
pub(crate) mod finish;
mod gather;
mod hunt;
pub mod interrupt;
mod meanwhile;
pub mod perform;
pub mod schedule;
pub mod screen;
pub mod stage;
pub mod trouble;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use ordeal_history::{Budget, Header, Recorder};

use crate::chance::{Stream, derive};
use crate::exit::Cause;
use crate::lab::{self, Choice, LabKind, NetChoice};
use crate::latch::Latch;
use crate::plan::{FaultKind, LeftOut, Plan, Settings, draw};
use crate::store::{Event, EventLog, Requirement, RunDir, Store, Summary};
use crate::system::{OrdealOptions, OrdealSystem, System};

use interrupt::Interrupt;
use screen::Screen;

/// What the user asks for.
#[derive(Debug, Clone)]
pub struct Order {
    /// What the run is to be.
    pub settings: Settings,
    /// Faults of `all` that cannot be had, and why.
    pub left_out: Vec<LeftOut>,
    /// Where runs are kept.
    pub store: PathBuf,
    /// Which network lab.
    pub net: NetChoice,
    /// The executable of the nodes.
    pub node_bin: PathBuf,
    /// Arguments for every node.
    pub node_args: Vec<String>,
    /// What judging may cost.
    pub budget: Budget,
    /// Operations that must be answered.
    pub require_ops: Option<usize>,
    /// What is required of its availability.
    pub require: Vec<Requirement>,
    /// Whether it is judged while it goes, and ends at the first violation.
    pub stop_at_violation: bool,
}

/// How a run ended.
#[derive(Debug)]
pub enum Ended {
    /// It ran inside a lab, in another process, which has said everything; its exit code.
    Elsewhere(u8),
    /// It ran here.
    Here(Box<Summary>),
}

/// A run in progress.
pub(crate) struct Run<'a> {
    pub(crate) order: &'a Order,
    pub(crate) choice: Choice,
    pub(crate) plan: Plan,
    pub(crate) dir: RunDir,
    pub(crate) origin: Instant,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) events: EventLog,
    pub(crate) system: Arc<dyn System>,
    pub(crate) screen: Screen,
    /// Set when clients and faults are to end.
    pub(crate) stop: Arc<Latch>,
    pub(crate) interrupt: Interrupt,
    causes: Mutex<Vec<(Cause, String)>>,
}

/// Carries out a run.
///
/// # Errors
/// When it could not even begin: no lab, no store. Everything later is part of the summary.
pub fn execute(order: &Order) -> anyhow::Result<Ended> {
    let choice = lab::choose(order.net)?;
    if choice.kind == LabKind::Kernel && !lab::is_inside() {
        return Ok(Ended::Elsewhere(lab::reexec_inside(&choice)?));
    }
    Ok(Ended::Here(Box::new(execute_in(order, choice, system(order))?)))
}

/// Carries out a run of any system, in this lab, in this process.
///
/// # Errors
/// As [`execute`].
pub fn execute_in(order: &Order, choice: Choice, system: Arc<dyn System>) -> anyhow::Result<Summary> {
    check_changes(order, system.as_ref())?;
    let screen = Screen::new();
    screen.say(&first_line(&choice, order));
    let store = Store::prepare(&order.store)?;
    let dir = store.create_run(jiff::Zoned::now().datetime(), order.settings.seed)?;
    let plan = draw(&order.settings);
    dir.write_plan(&plan)?;
    dir.write_requirements(&order.require)?;
    screen.say(&format!(
        "seed {} (--seed {0} repeats the plan), run {}",
        order.settings.seed,
        dir.path().display()
    ));
    let origin = Instant::now();
    let mut header = Header::default();
    header.notes.insert("run".to_owned(), dir.name());
    header.notes.insert("seed".to_owned(), order.settings.seed.to_string());
    let stop = Arc::new(Latch::new());
    let run = Run {
        choice,
        plan,
        origin,
        recorder: Arc::new(Recorder::create_at(&dir.history(), &header, origin)?),
        events: EventLog::create(&dir.events())?,
        system,
        dir,
        screen,
        interrupt: Interrupt::watch(Arc::clone(&stop)).context("watch for signals")?,
        stop,
        causes: Mutex::new(Vec::new()),
        order,
    };
    let course = run.perform();
    let summary = run.conclude(course)?;
    run.screen.clear();
    Ok(summary)
}

/// Refuses changes where the system under test knows of none.
fn check_changes(order: &Order, system: &dyn System) -> anyhow::Result<()> {
    let change = order.settings.faults.iter().find(|kind| kind.is_change());
    match (change, system.steward()) {
        (Some(kind), None) => anyhow::bail!(
            "fault `{kind}` cannot be had: {} does not let members or leaders be changed\n\
             hint: leave `{kind}` out of --faults",
            system.name()
        ),
        (Some(_), Some(_)) | (None, _) => Ok(()),
    }
}

fn system(order: &Order) -> Arc<dyn System> {
    let settings = &order.settings;
    Arc::new(OrdealSystem::new(OrdealOptions {
        exe: order.node_bin.clone(),
        cluster: ordeal_client::wire::ClusterId(derive(settings.seed, Stream::Cluster)),
        node_args: order.node_args.clone(),
        groups: settings.groups,
        replicas: settings.replicas,
        shards: settings.shards,
    }))
}

/// Which lab and why, which faults, and which of `all` are left out.
fn first_line(choice: &Choice, order: &Order) -> String {
    let kind = match choice.kind {
        LabKind::Kernel => "kernel",
        LabKind::Proxy => "proxy",
    };
    let names: Vec<String> = order.settings.faults.iter().map(FaultKind::to_string).collect();
    let faults = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let left_out: Vec<String> =
        order.left_out.iter().map(|(kind, reason)| format!("{kind} ({reason})")).collect();
    let left_out = match left_out.is_empty() {
        true => String::new(),
        false => format!("; left out: {}", left_out.join(", ")),
    };
    format!("network lab: {kind} ({}); faults: {faults}{left_out}", choice.why)
}

impl Run<'_> {
    pub(crate) fn now_ns(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).expect("584 years fit")
    }

    pub(crate) fn time(&self) -> Duration {
        Duration::from_millis(self.order.settings.time_ms)
    }

    pub(crate) fn phase(&self, phase: &str) -> anyhow::Result<()> {
        Ok(self.events.write(&Event::Phase { at_ns: self.now_ns(), phase: phase.to_owned() })?)
    }

    /// Notes why this run is no success, and says it at once.
    pub(crate) fn blame(&self, cause: Cause, what: impl Into<String>) {
        let what = what.into();
        self.screen.say(&what);
        self.causes.lock().unwrap_or_else(PoisonError::into_inner).push((cause, what));
    }

    pub(crate) fn causes(&self) -> Vec<(Cause, String)> {
        self.causes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
