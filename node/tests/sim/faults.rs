//! What befalls a world: crashes, pauses, cut links, drawn from the seed and undone after a while.

use ordeal_client::wire::NodeId;
use rand::RngExt;
use rand::seq::SliceRandom;

use crate::plan::SECOND_US;
use crate::world::{Event, World};

/// A fault, as it is undone.
#[derive(Debug, Clone)]
pub enum Fault {
    /// These nodes are down.
    Crash(Vec<NodeId>),
    /// These nodes stand still.
    Pause(Vec<NodeId>),
    /// These directed links carry nothing.
    Cut(Vec<(NodeId, NodeId)>),
}

impl World {
    pub fn next_fault(&mut self) {
        if self.now_us >= self.plan.faults_until_us {
            return;
        }
        let fault = self.draw();
        self.faults += 1;
        self.trace.note(self.now_us, &[8], || format!("fault: {fault:?}"));
        match &fault {
            Fault::Crash(nodes) => nodes.iter().for_each(|&node| self.crash(node)),
            Fault::Pause(nodes) => {
                for id in nodes {
                    self.nodes.get_mut(id).expect("a node of the plan").paused += 1;
                }
            }
            Fault::Cut(links) => {
                for &link in links {
                    *self.cut.entry(link).or_default() += 1;
                }
            }
        }
        let lasts_us = self.rng.random_range(SECOND_US / 20..=2 * SECOND_US);
        self.later(lasts_us, Event::Undo(fault));
        let mean_us = self.plan.fault_every_us;
        let delay_us = self.rng.random_range(mean_us / 2..=mean_us * 3 / 2);
        self.later(delay_us, Event::NextFault);
    }

    pub fn undo(&mut self, fault: Fault) {
        self.trace.note(self.now_us, &[9], || format!("undone: {fault:?}"));
        match fault {
            Fault::Crash(nodes) => {
                for id in nodes {
                    // Two crashes may overlap, and the end may have come first.
                    if self.nodes[&id].engine.is_none() {
                        self.start(id);
                    }
                }
            }
            Fault::Pause(nodes) => {
                for id in nodes {
                    let node = self.nodes.get_mut(&id).expect("a node of the plan");
                    if node.paused > 0 {
                        node.paused -= 1;
                        if node.paused == 0 {
                            self.resume(id);
                        }
                    }
                }
            }
            Fault::Cut(links) => {
                for link in links {
                    if let Some(count) = self.cut.get_mut(&link) {
                        *count -= 1;
                    }
                    self.cut.retain(|_, count| *count > 0);
                }
            }
        }
    }

    /// Everything is undone, and the network behaves from now on.
    pub fn heal_all(&mut self) {
        self.trace.note(self.now_us, &[10], || "all healed".to_owned());
        self.cut.clear();
        (self.plan.lost_permille, self.plan.doubled_permille, self.plan.late_permille) = (0, 0, 0);
        self.plan.slow_sync_permille = 0;
        for id in self.plan.nodes.clone() {
            let node = self.nodes.get_mut(&id).expect("a node of the plan");
            if std::mem::take(&mut node.paused) > 0 {
                self.resume(id);
            }
            if self.nodes[&id].engine.is_none() {
                self.start(id);
            }
        }
    }

    fn draw(&mut self) -> Fault {
        let mut nodes = self.plan.nodes.clone();
        nodes.shuffle(&mut self.rng);
        // Mostly one node; now and then any number, up to all.
        let few = if self.rng.random_range(0..4) > 0 { 1 } else { self.rng.random_range(1..=nodes.len()) };
        match self.rng.random_range(0..3) {
            0 => Fault::Crash(nodes[..few].to_vec()),
            1 => Fault::Pause(nodes[..few].to_vec()),
            _ => {
                let (side, other) = nodes.split_at(few);
                let one_way = self.rng.random_range(0..3) == 0;
                let pairs = || side.iter().flat_map(|&a| other.iter().map(move |&b| (a, b)));
                let mut links: Vec<_> = pairs().collect();
                if !one_way {
                    links.extend(pairs().map(|(a, b)| (b, a)));
                } else if self.rng.random_range(0..2) == 0 {
                    links = pairs().map(|(a, b)| (b, a)).collect();
                }
                Fault::Cut(links)
            }
        }
    }
}
