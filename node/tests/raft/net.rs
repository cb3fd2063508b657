//! Several members and the wires between them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ordeal_client::wire::NodeId;
use ordeal_node::raft::{Config, HardState, Membership, Message, Role, Term};

use crate::disk::Disk;
use crate::member::{Member, config, entries, n};

/// A message under way.
#[derive(Debug, Clone)]
pub struct Packet {
    pub from: NodeId,
    pub to: NodeId,
    pub message: Message,
}

#[derive(Debug)]
pub struct Net {
    pub members: BTreeMap<NodeId, Member>,
    pub wires: VecDeque<Packet>,
    /// Links that carry nothing, by direction.
    cut: BTreeSet<(NodeId, NodeId)>,
    /// Everything ever delivered, for counting.
    pub delivered: Vec<Packet>,
}

impl Net {
    pub fn new(voters: u32) -> Net {
        Net::with(voters, |_| {})
    }

    pub fn with(voters: u32, tune: impl Fn(&mut Config)) -> Net {
        Net::of((1..=voters).map(|own| {
            let mut config = config(own, voters);
            tune(&mut config);
            Member::new(config, Disk::default())
        }))
    }

    /// Members that remember these terms and logs.
    pub fn remembering(members: &[(Term, &[Term])]) -> Net {
        let voters = u32::try_from(members.len()).expect("a handful");
        Net::of(members.iter().zip(1..).map(|(&(term, log), own)| {
            let hard_state = HardState { term, vote: None };
            Member::new(config(own, voters), Disk { hard_state, entries: entries(log), ..Disk::default() })
        }))
    }

    fn of(members: impl Iterator<Item = Member>) -> Net {
        Net {
            members: members.map(|member| (member.config.id, member)).collect(),
            wires: VecDeque::new(),
            cut: BTreeSet::new(),
            delivered: Vec::new(),
        }
    }

    /// A node that is to join, and knows nobody yet.
    pub fn join(&mut self, number: u32) {
        let one = self.members.values().next().expect("a member to take after").config.clone();
        let config = Config { id: n(number), bootstrap: Membership::default().into(), ..one };
        self.members.insert(n(number), Member::new(config, Disk::default()));
    }

    pub fn member(&mut self, number: u32) -> &mut Member {
        self.members.get_mut(&n(number)).expect("a member")
    }

    /// Nothing passes between `number` and the others.
    pub fn isolate(&mut self, number: u32) {
        for &other in self.members.keys() {
            self.cut.insert((n(number), other));
            self.cut.insert((other, n(number)));
        }
    }

    /// Nothing passes from `from` to `to`.
    pub fn cut_one_way(&mut self, from: u32, to: u32) {
        self.cut.insert((n(from), n(to)));
    }

    /// These two can talk again.
    pub fn reconnect(&mut self, one: u32, other: u32) {
        self.cut.remove(&(n(one), n(other)));
        self.cut.remove(&(n(other), n(one)));
    }

    /// Whether something from `from` reaches `to`.
    pub fn passes(&self, from: NodeId, to: NodeId) -> bool {
        !self.cut.contains(&(from, to))
    }

    pub fn heal(&mut self) {
        self.cut.clear();
    }

    /// Puts on the wires what the members sent.
    pub fn collect(&mut self) {
        let everybody: Vec<NodeId> = self.members.keys().copied().collect();
        for from in everybody {
            self.members.get_mut(&from).expect("a member").turn();
            self.collect_from(from);
        }
    }

    /// Puts on the wires what one member sent.
    pub fn collect_from(&mut self, from: NodeId) {
        for (to, message) in self.members.get_mut(&from).expect("a member").fetch() {
            if !self.cut.contains(&(from, to)) && self.members.contains_key(&to) {
                self.wires.push_back(Packet { from, to, message });
            }
        }
    }

    pub fn deliver(&mut self, packet: Packet) {
        self.delivered.push(packet.clone());
        let Packet { from, to, message } = packet;
        self.members.get_mut(&to).expect("a member").step(from, message);
    }

    /// Writes and delivers until all is quiet.
    pub fn settle(&mut self) {
        for _ in 0..100_000 {
            self.members.values_mut().for_each(Member::persist_all);
            self.collect();
            let Some(packet) = self.wires.pop_front() else { return };
            self.deliver(packet);
        }
        panic!("the members never stop talking");
    }

    /// A tick for everybody, and what follows from it.
    pub fn tick(&mut self) {
        self.members.values_mut().for_each(Member::tick);
        self.settle();
    }

    pub fn ticks(&mut self, count: u32) {
        (0..count).for_each(|_| self.tick());
    }

    /// Makes `number` the leader: the others wait until they hear no leader any more, then it alone campaigns.
    pub fn elect(&mut self, number: u32) {
        let patience = self.member(number).config.election_ticks;
        for member in self.members.values_mut() {
            if member.status().role != Role::Leader && member.config.id != n(number) {
                (0..patience).for_each(|_| member.tick());
                member.fetch(); // should it have campaigned, nobody hears it
            }
        }
        for _ in 0..10 * patience {
            self.member(number).tick();
            self.settle();
            if self.leads(number) {
                return;
            }
        }
        panic!("n{number} was not elected");
    }

    pub fn leads(&mut self, number: u32) -> bool {
        self.member(number).status().role == Role::Leader
    }

    /// Those who lead, with their terms.
    pub fn leaders(&self) -> Vec<(NodeId, Term)> {
        let leaders = self.members.values().filter(|member| member.status().role == Role::Leader);
        leaders.map(|member| (member.config.id, member.status().term)).collect()
    }

    /// Ticks until exactly one leads among those who are in the highest term.
    pub fn await_leader(&mut self) -> u32 {
        for _ in 0..1_000 {
            self.tick();
            let newest = self.members.values().map(|member| member.status().term).max();
            if let Some((leader, _)) = self.leaders().iter().find(|(_, term)| Some(*term) == newest) {
                return leader.0;
            }
        }
        panic!("no leader in 1000 ticks");
    }
}
