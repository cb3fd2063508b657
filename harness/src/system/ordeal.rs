//! Our own cluster as a system under test: `EXE node start …` and the client library. What it knows of a node is what a
//! stranger could know: its flags, its ready line, the public protocol.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ordeal_client::wire::{
    ClusterId, GroupId, MemberChange, NodeId, ReadLevel, RoleName, ShardId, Version as WireVersion,
};
use ordeal_client::{CasAnswer, Client, ClientConfig, ClientError, Prefer, Written};
use ordeal_history::{Answer, Call, Claim, Outcome, Value, Version};

use super::{
    Administrator, ClientSetup, Contact, Flood, GroupView, Moving, NodeView, Place, Steward, System,
    SystemClient,
};
use super::{shards, txns};

/// Frames that are told of the end of a log: the last half a second of a busy one.
const FRAMES_TOLD: &str = "200";

/// How our nodes are started, and how they are asked.
#[derive(Debug, Clone)]
pub struct OrdealOptions {
    /// The executable: the harness's own, or another build.
    pub exe: PathBuf,
    /// The cluster's id.
    pub cluster: ClusterId,
    /// Arguments that are handed through to every node.
    pub node_args: Vec<String>,
    /// Data groups.
    pub groups: u32,
    /// Nodes that belong to each; `None`: all.
    pub replicas: Option<u32>,
    /// Shards.
    pub shards: u32,
}

/// Our own cluster.
#[derive(Debug, Clone)]
pub struct OrdealSystem {
    options: OrdealOptions,
}

impl OrdealSystem {
    /// A cluster of our nodes.
    #[must_use]
    pub fn new(options: OrdealOptions) -> Self {
        OrdealSystem { options }
    }

    pub(super) fn cluster(&self) -> ClusterId {
        self.options.cluster
    }
}

impl System for OrdealSystem {
    fn name(&self) -> String {
        let exe = &self.options.exe;
        format!("ordeal {} ({})", env!("CARGO_PKG_VERSION"), exe.display())
    }

    fn command(&self, place: &Place) -> Command {
        let options = &self.options;
        let mut command = Command::new(&options.exe);
        command.args(["node", "start", "--id", &place.node.to_string()]);
        command.args(["--cluster", &options.cluster.to_string(), "--listen", &place.listen]);
        command.arg("--dir").arg(&place.dir);
        command.args(["--groups", &options.groups.to_string(), "--shards", &options.shards.to_string()]);
        if let Some(replicas) = options.replicas {
            command.args(["--replicas", &replicas.to_string()]);
        }
        if place.joins {
            command.arg("--join");
        }
        for (node, address) in &place.members {
            command.args(["--member", &format!("{node}={address}")]);
        }
        for (node, address) in &place.dial {
            command.args(["--dial", &format!("{node}={address}")]);
        }
        command.args(&options.node_args);
        command
    }

    fn inspect(&self, data: &Path) -> Option<Command> {
        let mut command = Command::new(&self.options.exe);
        command.args(["node", "inspect", "wal"]).arg(data).args(["--last", FRAMES_TOLD]);
        Some(command)
    }

    /// The line is `ready n1 127.0.0.1:43117`.
    fn ready(&self, line: &str) -> Option<SocketAddr> {
        let mut words = line.split_whitespace();
        let ready = words.next() == Some("ready") && words.next()?.parse::<NodeId>().is_ok();
        if ready { words.next()?.parse().ok() } else { None }
    }

    fn client(&self, setup: ClientSetup) -> anyhow::Result<Box<dyn SystemClient>> {
        let client = Client::new(self.config(&setup))?;
        Ok(Box::new(OrdealClient { client, read_level: setup.read_level }))
    }

    fn view(&self, address: SocketAddr, timeout: Duration) -> Option<NodeView> {
        let status = ordeal_client::status(&address.to_string(), timeout).ok()?;
        let groups = status.groups.iter().map(|group| GroupView {
            group: group.group.0,
            term: group.term,
            leads: group.role == RoleName::Leader,
            voters: group.voters.iter().chain(&group.outgoing).copied().collect(),
            changing: !group.outgoing.is_empty(),
            learners: group.learners.iter().copied().collect(),
            last: group.last,
            applied: group.applied,
            digest: group.digest,
            log_bytes: group.log_bytes,
            snapshot: group.snapshot,
            snapshot_bytes: group.snapshot_bytes,
            shards: group.shards,
            keys: group.keys,
            moves: group.moves.iter().map(|of| (of.shard.0, of.stage)).collect(),
        });
        Some(NodeView { node: status.node, groups: groups.collect() })
    }

    fn flood(&self, setup: &ClientSetup, clients: usize) -> anyhow::Result<Option<Box<dyn Flood>>> {
        Ok(Some(self.clients(setup, clients)?))
    }

    fn administrator(&self, setup: &ClientSetup) -> anyhow::Result<Box<dyn Administrator>> {
        Ok(Box::new(Client::new(self.config(setup))?))
    }

    fn steward(&self) -> Option<&dyn Steward> {
        Some(self)
    }
}

impl Steward for OrdealSystem {
    fn add(&self, contact: &Contact, group: u32, node: NodeId, address: &str) -> Result<(), String> {
        self.change(contact, group, &MemberChange::Add { node, address: address.to_owned() })
    }

    fn remove(&self, contact: &Contact, group: u32, node: NodeId) -> Result<(), String> {
        self.change(contact, group, &MemberChange::Remove { node })
    }

    fn transfer(&self, contact: &Contact, group: u32, to: NodeId) -> Result<(), String> {
        let done = self.administrator(contact)?.transfer(GroupId(group), Some(to));
        done.map(|_| ()).map_err(|error| error.to_string())
    }

    fn move_shard(&self, contact: &Contact, shard: u32, steps: u32) -> Result<String, String> {
        shards::move_shard(&mut self.administrator(contact)?, ShardId(shard), steps)
    }

    fn open_move(&self, contact: &Contact, shard: u32, steps: u32) -> Result<Moving, String> {
        shards::open_move(&mut self.administrator(contact)?, ShardId(shard), steps)
    }

    fn settle(&self, contact: &Contact, shard: u32) -> Result<String, String> {
        shards::settle(&mut self.administrator(contact)?, ShardId(shard))
    }

    fn leave(&self, contact: &Contact, group: u32) -> Result<String, String> {
        shards::leave(&mut self.administrator(contact)?, GroupId(group))
    }

    fn join(&self, contact: &Contact, group: u32) -> Result<String, String> {
        let nodes: Vec<String> = contact.members.values().cloned().collect();
        shards::join(&mut self.administrator(contact)?, GroupId(group), &nodes)
    }
}

impl OrdealSystem {
    fn config(&self, setup: &ClientSetup) -> ClientConfig {
        let mut config = ClientConfig::new(setup.members.values().cloned());
        config.cluster = Some(self.options.cluster);
        config.prefer = Some(Prefer::Node(setup.prefer));
        config.seed = setup.seed;
        config.deadline = setup.deadline;
        config.attempt_timeout = attempt_timeout(setup.deadline);
        // Nodes advertise what other nodes may dial; where clients reach them is what the lab says.
        config.dial = setup.dial.clone();
        config
    }

    fn change(&self, contact: &Contact, group: u32, change: &MemberChange) -> Result<(), String> {
        let done = self.administrator(contact)?.change_members(GroupId(group), change);
        done.map(|_| ()).map_err(|error| error.to_string())
    }

    fn administrator(&self, contact: &Contact) -> Result<Client, String> {
        let mut config = ClientConfig::new(contact.members.values().cloned());
        config.cluster = Some(self.options.cluster);
        config.deadline = contact.deadline;
        config.attempt_timeout = attempt_timeout(contact.deadline);
        config.dial = contact.members.clone();
        Client::new(config).map_err(|error| error.to_string())
    }
}

/// A quarter of the deadline, so that a dead node costs one attempt of four; never beyond half a second, many commits long.
fn attempt_timeout(deadline: Duration) -> Duration {
    (deadline / 4).clamp(Duration::from_millis(1), Duration::from_millis(500))
}

struct OrdealClient {
    client: Client,
    read_level: ReadLevel,
}

type Called = Result<(Answer, Claim, NodeId), ClientError>;

impl SystemClient for OrdealClient {
    fn call(&mut self, key: &str, call: &Call) -> (Outcome, Option<NodeId>) {
        outcome_of(self.ask(key.as_bytes(), call))
    }
}

impl OrdealClient {
    fn ask(&mut self, key: &[u8], call: &Call) -> Called {
        match call {
            Call::Read => self.client.get(key, self.read_level).map(|got| {
                let claim = Claim::seen(got.version.map(version));
                (Answer::Value(got.value.as_deref().map(text)), claim, got.node)
            }),
            Call::Write(value) => self.client.put(key, value.as_bytes()).map(done),
            Call::Append(value) => self.client.append(key, value.as_bytes()).map(done),
            Call::Delete => self.client.delete(key).map(done),
            Call::Cas { expected, new } => {
                let expected_bytes = expected.as_ref().map(|value| value.as_bytes());
                self.client.cas(key, expected_bytes, new.as_bytes()).map(|answer| cas_done(answer, expected))
            }
            Call::Txn(txn) => {
                let asked = txns::asked(key, txn);
                self.client.txn(&asked).map(|answer| {
                    let node = answer.node;
                    (txns::answered(txn, &answer), Claim::default(), node)
                })
            }
        }
    }
}

fn done(written: Written) -> (Answer, Claim, NodeId) {
    (Answer::Done, claim_of(&written), written.node)
}

fn cas_done(answer: CasAnswer, expected: &Option<Value>) -> (Answer, Claim, NodeId) {
    match answer {
        CasAnswer::Done(written) => (Answer::CasDone, claim_of(&written), written.node),
        CasAnswer::Failed { found: Some((value, seen)), node } => {
            let claim = Claim::seen(Some(version(seen)));
            (Answer::CasFailed(Some(text(&value))), claim, node)
        }
        // A cas that expects absence and is told that it found absence contradicts itself: recorded as it was said.
        CasAnswer::Failed { found: None, node } => {
            let answer = if expected.is_some() { Answer::CasFailedAbsent } else { Answer::CasFailed(None) };
            (answer, Claim::default(), node)
        }
    }
}

fn claim_of(written: &Written) -> Claim {
    Claim::made(Some(version(written.made)), written.replaced.map(version))
}

pub(super) fn version(of: WireVersion) -> Version {
    Version { epoch: of.epoch, index: of.index }
}

/// Our clients write text only. Bytes that are none were written by nobody, and the judge will say so.
pub(super) fn text(bytes: &[u8]) -> Value {
    Value::from(String::from_utf8_lossy(bytes).into_owned())
}

fn outcome_of(called: Called) -> (Outcome, Option<NodeId>) {
    match called {
        Ok((answer, claim, node)) => (Outcome::Ok(answer, claim), Some(node)),
        Err(error) if error.may_have_happened() => (Outcome::Unknown(error.to_string()), None),
        Err(error) => (Outcome::Failed(error.to_string()), None),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn system() -> OrdealSystem {
        OrdealSystem::new(OrdealOptions {
            exe: PathBuf::from("/bin/ordeal"),
            cluster: ClusterId(0xc0ffee),
            node_args: vec!["--tick-ms".to_owned(), "10".to_owned()],
            groups: 2,
            replicas: Some(3),
            shards: 8,
        })
    }

    #[test]
    fn the_command_names_everything_that_a_node_must_know() {
        let place = Place {
            node: NodeId(2),
            dir: PathBuf::from("/tmp/n2"),
            listen: "10.0.0.2:7000".to_owned(),
            members: BTreeMap::from([(NodeId(1), "10.0.0.1:7000".to_owned())]),
            joins: false,
            dial: BTreeMap::from([(NodeId(1), "127.0.0.1:9".to_owned())]),
        };
        let words = |place: &Place| {
            let command = system().command(place);
            let args: Vec<_> = command.get_args().map(|arg| arg.to_string_lossy().into_owned()).collect();
            args.join(" ")
        };
        assert_eq!(
            words(&place),
            "node start --id n2 --cluster 0000000000c0ffee --listen 10.0.0.2:7000 --dir /tmp/n2 \
             --groups 2 --shards 8 --replicas 3 --member n1=10.0.0.1:7000 --dial n1=127.0.0.1:9 --tick-ms 10"
        );
        let joins = words(&Place { joins: true, ..place });
        assert!(joins.contains(" --join --member n1=10.0.0.1:7000 "), "{joins}");
    }

    #[test]
    fn only_the_ready_line_is_ready() {
        let system = system();
        assert_eq!(system.ready("ready n1 127.0.0.1:43117"), Some("127.0.0.1:43117".parse().unwrap()));
        for line in
            ["", "ready", "ready n1", "ready n1 nowhere", "ready x 127.0.0.1:1", "not ready n1 127.0.0.1:1"]
        {
            assert_eq!(system.ready(line), None, "`{line}`");
        }
    }

    #[test]
    fn outcomes_are_kept_apart() {
        let wrong = ClientError::Config("no".to_owned());
        assert!(matches!(outcome_of(Err(wrong)), (Outcome::Failed(_), None)));
        let tries = ordeal_client::Tries { attempts: 3, after: Duration::from_secs(2), last: None };
        assert!(matches!(
            outcome_of(Err(ClientError::Unavailable(tries.clone()))),
            (Outcome::Failed(_), None)
        ));
        assert!(matches!(outcome_of(Err(ClientError::Unknown(tries))), (Outcome::Unknown(_), None)));
    }
}
