//! The cases, by what they are about.

pub mod death;
mod faults;
mod network;
mod sham;
mod tools;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ordeal_client::wire::NodeId;
use ordeal_harness::cluster::{Clock, Cluster, ClusterConfig};
use ordeal_harness::lab::{self, Lab, LabKind, Link};

use crate::lab_node::Askable;

/// A case.
pub struct Case {
    /// Its name.
    pub name: &'static str,
    /// The lab that it needs.
    pub lab: Option<LabKind>,
    /// Whether the case itself runs inside; else it stays outside and starts others.
    pub inside: bool,
    /// What it does; panics when it fails.
    pub run: fn(),
}

/// All of them.
pub fn all() -> Vec<Case> {
    let kernel = |name, run| Case { name, lab: Some(LabKind::Kernel), inside: true, run };
    let outside = |name, run| Case { name, lab: Some(LabKind::Kernel), inside: false, run };
    let proxy = |name, run| Case { name, lab: Some(LabKind::Proxy), inside: false, run };
    vec![
        kernel("kernel_faults_on_processes_are_proven", || faults::processes(LabKind::Kernel)),
        proxy("proxy_faults_on_processes_are_proven", || faults::processes(LabKind::Proxy)),
        kernel("kernel_a_crash_is_seen_and_named", || faults::crash(LabKind::Kernel)),
        proxy("proxy_a_crash_is_seen_and_named", || faults::crash(LabKind::Proxy)),
        proxy("proxy_a_node_that_does_not_start_fails_the_cluster", faults::no_start),
        kernel("kernel_every_shape_cuts_what_it_says", || network::shapes(LabKind::Kernel)),
        proxy("proxy_every_shape_cuts_what_it_says", || network::shapes(LabKind::Proxy)),
        kernel("kernel_cut_and_proof_are_fast", || network::speed(LabKind::Kernel)),
        proxy("proxy_cut_and_proof_are_fast", || network::speed(LabKind::Proxy)),
        kernel("kernel_two_labs_of_one_machine_know_nothing_of_each_other", network::host_untouched),
        proxy("proxy_an_open_connection_holds_its_breath", network::breath),
        proxy("proxy_a_dead_target_is_refused", network::refused),
        kernel("kernel_a_cut_without_effect_is_found_out", || sham::cuts_nothing(LabKind::Kernel)),
        proxy("proxy_a_cut_without_effect_is_found_out", || sham::cuts_nothing(LabKind::Proxy)),
        kernel("kernel_a_cut_of_too_much_is_found_out", || sham::cuts_all(LabKind::Kernel)),
        proxy("proxy_a_cut_of_too_much_is_found_out", || sham::cuts_all(LabKind::Proxy)),
        kernel("kernel_the_harness_is_in_a_pid_namespace", death::pid_namespace),
        outside("kernel_killing_the_outer_harness_leaves_nothing", || death::outer(LabKind::Kernel)),
        outside("kernel_killing_the_inner_harness_leaves_nothing", death::inner),
        outside("kernel_a_signal_reaches_the_inner_harness", death::forwarded),
        proxy("proxy_killing_the_harness_leaves_nothing", || death::outer(LabKind::Proxy)),
        kernel("kernel_a_missing_program_is_named_with_the_command_that_installs_it", tools::missing),
        kernel("kernel_a_firewall_without_effect_is_no_lab", tools::without_effect),
        proxy("doctor_is_true", tools::doctor_is_true),
        outside("outside_no_kernel_lab_is_built", death::refuses_the_host),
    ]
}

/// `n1` to `n{count}`.
fn nodes(count: u32) -> Vec<NodeId> {
    (1..=count).map(NodeId).collect()
}

fn link(from: u32, to: u32) -> Link {
    Link { from: NodeId(from), to: NodeId(to) }
}

fn clock() -> Clock {
    let start = Instant::now();
    Arc::new(move || u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX))
}

fn cluster_in(lab: Arc<dyn Lab>, nodes: Vec<NodeId>, dir: &Path) -> anyhow::Result<Cluster> {
    let config =
        ClusterConfig { nodes, spares: vec![], dir: dir.to_owned(), ready_timeout: Duration::from_secs(10) };
    Cluster::start(config, lab, Arc::new(Askable), clock())
}

/// A cluster in a fresh lab and directory.
fn cluster(kind: LabKind, count: u32) -> (Cluster, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a directory for the cluster");
    let lab = lab::open(kind, &nodes(count)).expect("the lab opens");
    (cluster_in(lab, nodes(count), dir.path()).expect("the cluster starts"), dir)
}

/// Waits for something that happens soon, by looking.
fn soon(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !so() {
        assert!(Instant::now() < deadline, "not within 10 s: {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

fn set(links: &[Link]) -> BTreeSet<Link> {
    links.iter().copied().collect()
}
