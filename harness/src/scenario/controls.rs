//! What a script does to the cluster and its network. Each is noted as a fault of the run, with its proof.

use std::collections::BTreeSet;

use ordeal_client::wire::NodeId;

use super::stage::Stage;
use super::{Halt, Step};
use crate::cluster::{Action, Cluster, Evidence, NodeState};
use crate::exit::Cause;
use crate::lab::{Lab, Link, Manner, Weather, all_links};
use crate::plan::FaultKind;
use crate::store::Event;

impl Stage<'_> {
    /// Takes these nodes' links away, both ways: frames are lost, connections stay open. Proven by probes.
    pub(super) fn disconnect(&mut self, nodes: &[NodeId]) -> Step {
        self.away.extend(nodes);
        self.cut_off_away()
    }

    /// Gives these nodes their links back.
    pub(super) fn connect(&mut self, nodes: &[NodeId]) -> Step {
        self.away.retain(|node| !nodes.contains(node));
        self.cut_off_away()
    }

    /// All links again.
    pub(super) fn connect_all(&mut self) -> Step {
        self.away.clear();
        self.cut_off_away()
    }

    /// Only these nodes have links, among each other.
    pub(super) fn connect_only(&mut self, nodes: &[NodeId]) -> Step {
        self.away = self.others(nodes).into_iter().collect();
        self.cut_off_away()
    }

    fn cut_off_away(&mut self) -> Step {
        let links = links_of(&self.nodes(), &self.away);
        let names: Vec<String> = self.away.iter().map(NodeId::to_string).collect();
        self.cut(links, format!("cut off {}", names.join(" ")))
    }

    /// Two sides, and no link from one to the other. Proven by probes.
    pub(super) fn partition(&mut self, left: &[NodeId], right: &[NodeId]) -> Step {
        self.away.clear();
        let (links, name) = between(left, right);
        self.cut(links, name)
    }

    /// The same without probes, for scripts that are in a hurry: what the cut links lose is the proof.
    pub(super) fn partition_quickly(&mut self, left: &[NodeId], right: &[NodeId]) -> Step {
        self.away.clear();
        let (links, name) = between(left, right);
        self.cut_quickly(links, name)
    }

    /// As [`Stage::disconnect`] and [`Stage::connect`], without probes.
    pub(super) fn set_away_quickly(&mut self, away: BTreeSet<NodeId>) -> Step {
        self.away = away;
        let links = links_of(&self.nodes(), &self.away);
        let names: Vec<String> = self.away.iter().map(NodeId::to_string).collect();
        self.cut_quickly(links, format!("cut off {}", names.join(" ")))
    }

    /// All links again, without probes.
    pub(super) fn connect_all_quickly(&mut self) -> Step {
        self.set_away_quickly(BTreeSet::new())
    }

    /// From now on cut links reset their connections instead of swallowing frames: as a kill looks from outside.
    pub(super) fn cut_by_resets(&mut self) -> Step {
        self.asked.resets = true;
        Ok(self.lab.set_manner(Manner::Reset)?)
    }

    fn cut(&mut self, links: BTreeSet<Link>, name: String) -> Step {
        let action = match links.is_empty() {
            true => Action::Heal,
            false => Action::Cut { links: links.clone() },
        };
        let evidence = self.act(&action)?;
        self.note_cut(links, name, evidence)
    }

    fn cut_quickly(&mut self, links: BTreeSet<Link>, name: String) -> Step {
        let asked_ns = (self.now_ns)();
        self.lab.cut(&links)?;
        let applied_ns = (self.now_ns)();
        self.asked.quick_cuts |= !links.is_empty();
        let proof = "frames lost at cut links are counted".to_owned();
        self.note_cut(links, name, Evidence { asked_ns, applied_ns, verified_ns: applied_ns, proof })
    }

    fn note_cut(&mut self, links: BTreeSet<Link>, name: String, evidence: Evidence) -> Step {
        if let Some(fault) = self.faults.cut.take() {
            self.events.write(&Event::FaultUndone { fault, evidence: vec![evidence.clone()] })?;
        }
        if !links.is_empty() {
            let fault = self.begin(FaultKind::Partition, name, links.clone(), evidence)?;
            self.faults.cut = Some(fault);
        }
        self.cut = links;
        self.check()
    }

    /// kill -9.
    pub(super) fn crash(&mut self, node: NodeId) -> Step {
        self.peeks.remove(&node);
        let evidence = self.act(&Action::Kill { node })?;
        let fault = self.begin(FaultKind::Kill, format!("kill {node}"), BTreeSet::new(), evidence)?;
        self.faults.down.insert(node, fault);
        Ok(())
    }

    /// kill -9 of all of these at once, as near as threads come to that.
    pub(super) fn crash_all(&mut self, nodes: &[NodeId]) -> Step {
        let evidence = self.act_on_all(nodes, |node| Action::Kill { node })?;
        for (&node, evidence) in nodes.iter().zip(evidence) {
            self.peeks.remove(&node);
            let fault = self.begin(FaultKind::Kill, format!("kill {node}"), BTreeSet::new(), evidence)?;
            self.faults.down.insert(node, fault);
        }
        Ok(())
    }

    /// Starts it again, with what its disk holds.
    pub(super) fn restart(&mut self, node: NodeId) -> Step {
        self.restart_all(&[node])
    }

    /// Starts all of these again.
    pub(super) fn restart_all(&mut self, nodes: &[NodeId]) -> Step {
        let evidence = self.act_on_all(nodes, |node| Action::Start { node })?;
        for (node, evidence) in nodes.iter().zip(evidence) {
            if let Some(fault) = self.faults.down.remove(node) {
                self.events.write(&Event::FaultUndone { fault, evidence: vec![evidence] })?;
            }
        }
        self.check()
    }

    /// SIGSTOP of all of these at once: their connections stay open, and nobody answers.
    pub(super) fn pause_all(&mut self, nodes: &[NodeId]) -> Step {
        let evidence = self.act_on_all(nodes, |node| Action::Pause { node })?;
        for (&node, evidence) in nodes.iter().zip(evidence) {
            let fault = self.begin(FaultKind::Pause, format!("pause {node}"), BTreeSet::new(), evidence)?;
            self.faults.paused.insert(node, fault);
        }
        Ok(())
    }

    /// SIGCONT of all that are stopped.
    pub(super) fn resume_all(&mut self) -> Step {
        let nodes: Vec<NodeId> = self.faults.paused.keys().copied().collect();
        let evidence = self.act_on_all(&nodes, |node| Action::Resume { node })?;
        for (fault, evidence) in std::mem::take(&mut self.faults.paused).into_values().zip(evidence) {
            self.events.write(&Event::FaultUndone { fault, evidence: vec![evidence] })?;
        }
        self.check()
    }

    /// Nodes that run.
    pub(super) fn up(&self) -> Vec<NodeId> {
        let states = self.cluster.states().into_iter();
        states.filter(|(_, state)| matches!(state, NodeState::Up { .. })).map(|(node, _)| node).collect()
    }

    /// Nodes that do not.
    pub(super) fn down(&self) -> Vec<NodeId> {
        self.others(&self.up())
    }

    /// One of ten frames lost, requests late, between nodes.
    pub(super) fn unreliable(&mut self, on: bool) -> Step {
        self.asked.unreliable |= on;
        self.set_weather(Weather { unreliable: on, ..self.weather })
    }

    /// The same between nodes and clients, too.
    pub(super) fn unreliable_for_all(&mut self, on: bool) -> Step {
        self.asked.unreliable |= on;
        self.set_weather(Weather { unreliable: on, clients_too: on, ..self.weather })
    }

    /// Two of three replies held back for up to two seconds, while later ones pass.
    pub(super) fn long_reordering(&mut self, on: bool) -> Step {
        self.asked.long_reordering |= on;
        self.set_weather(Weather { long_reordering: on, ..self.weather })
    }

    /// Two of three letters between groups held back for up to two seconds, while later ones pass.
    pub(super) fn late_letters(&mut self, on: bool) -> Step {
        self.asked.late_letters |= on;
        self.set_weather(Weather { late_letters: on, ..self.weather })
    }

    /// These nodes hear their clients and answer, and no answer arrives.
    pub(super) fn mute(&mut self, nodes: &[NodeId]) -> Step {
        self.asked.mute |= !nodes.is_empty();
        self.lab.set_mute(&nodes.iter().copied().collect())?;
        let names: Vec<String> = nodes.iter().map(NodeId::to_string).collect();
        let phase = format!("answers to clients are lost of: {}", names.join(" "));
        Ok(self.events.write(&Event::Phase { at_ns: (self.now_ns)(), phase })?)
    }

    fn set_weather(&mut self, weather: Weather) -> Step {
        self.weather = weather;
        self.lab.set_weather(weather)?;
        let what = match (weather.unreliable, weather.long_reordering) {
            (false, false) if weather.late_letters => "network: late letters",
            (false, false) => "network: reliable",
            (true, false) => "network: unreliable",
            (false, true) => "network: long reordering",
            (true, true) => "network: unreliable, long reordering",
        };
        Ok(self.events.write(&Event::Phase { at_ns: (self.now_ns)(), phase: what.to_owned() })?)
    }

    /// Makes everything whole.
    pub(super) fn heal(&mut self) -> Step {
        self.lab.set_manner(Manner::Swallow)?;
        if self.weather != Weather::default() {
            self.set_weather(Weather::default())?;
        }
        if !self.cut.is_empty() {
            self.connect_all()?;
        }
        self.lab.set_mute(&BTreeSet::new())?;
        self.resume_all()?;
        let down = self.down();
        if down.is_empty() { Ok(()) } else { self.restart_all(&down) }
    }

    fn begin(
        &mut self,
        kind: FaultKind,
        name: String,
        links: BTreeSet<Link>,
        evidence: Evidence,
    ) -> Step<usize> {
        let fault = self.faults.next;
        self.faults.next += 1;
        self.progress(|| name.clone());
        self.events.write(&Event::FaultBegan { fault, kind, name, links, evidence: vec![evidence] })?;
        Ok(fault)
    }

    fn act(&self, action: &Action) -> Step<Evidence> {
        act(self.cluster, action)
    }

    fn act_on_all(&self, nodes: &[NodeId], action: impl Fn(NodeId) -> Action) -> Step<Vec<Evidence>> {
        let cluster = self.cluster;
        std::thread::scope(|scope| {
            let actions = nodes.iter().map(|&node| action(node));
            let threads: Vec<_> = actions.map(|action| scope.spawn(move || act(cluster, &action))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap_or(Err(Halt::Stopped))).collect()
        })
    }
}

fn act(cluster: &Cluster, action: &Action) -> Step<Evidence> {
    cluster.act(action).map_err(|refused| Halt::Fails(cause_of(action), refused.to_string()))
}

/// A node that does not come back is the cluster's fault; everything else that cannot be proven is the harness's.
fn cause_of(action: &Action) -> Cause {
    match action {
        Action::Start { .. } => Cause::Cluster,
        Action::Kill { .. }
        | Action::Pause { .. }
        | Action::Resume { .. }
        | Action::Cut { .. }
        | Action::Heal
        | Action::Add { .. }
        | Action::Remove { .. }
        | Action::Transfer { .. }
        | Action::MoveShard { .. }
        | Action::Settle { .. }
        | Action::Leave { .. }
        | Action::Join { .. } => Cause::SetUp,
    }
}

/// Every link from or to one of these.
fn links_of(nodes: &[NodeId], away: &BTreeSet<NodeId>) -> BTreeSet<Link> {
    let concerns = |link: &Link| away.contains(&link.from) || away.contains(&link.to);
    all_links(nodes).into_iter().filter(concerns).collect()
}

/// Every link between two sides, and the name of that cut.
fn between(left: &[NodeId], right: &[NodeId]) -> (BTreeSet<Link>, String) {
    let pairs = left.iter().flat_map(|&from| right.iter().map(move |&to| [(from, to), (to, from)]));
    let links = pairs.flatten().map(|(from, to)| Link { from, to }).collect();
    let words = |nodes: &[NodeId]| nodes.iter().map(NodeId::to_string).collect::<Vec<_>>().join(" ");
    (links, format!("({} | {})", words(left), words(right)))
}
