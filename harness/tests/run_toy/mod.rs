//! A toy under test: nodes that only listen, and one store in this process that all clients share. It is as
//! linearizable as it was asked to be.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, ExitCode};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ordeal_client::wire::NodeId;
use ordeal_harness::latch::Latch;
use ordeal_harness::system::{ClientSetup, NodeView, Place, System, SystemClient};
use ordeal_history::{Answer, Call, Claim, Outcome, Value};

/// What is wrong with the toy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// Reads give the first value that a key ever had.
    StaleReads,
    /// A node ends by itself a second after its start.
    CrashesSoon,
    /// A node panics when it is asked to end.
    CrashesAtTheEnd,
    /// A node does not start.
    NeverStarts,
}

/// The program: `node ID LISTEN FAULT`.
pub fn main(words: &[&str]) -> ExitCode {
    let [id, listen, fault] = words else { return ExitCode::from(2) };
    if (*id, *fault) == ("n2", "NeverStarts") {
        eprintln!("n2: I will not start");
        return ExitCode::from(3);
    }
    let listener = TcpListener::bind(listen).expect("the lab's address can be listened on");
    println!("listening on {}", listener.local_addr().expect("a bound socket has an address"));
    if (*id, *fault) == ("n2", "CrashesSoon") {
        std::thread::spawn(|| {
            Latch::new().wait(Duration::from_secs(1));
            eprintln!("n2: these are my last words");
            std::process::exit(101);
        });
    }
    if (*id, *fault) == ("n2", "CrashesAtTheEnd") {
        let mut asked = signal_hook::iterator::Signals::new([signal_hook::consts::SIGTERM]).unwrap();
        std::thread::spawn(move || {
            asked.forever().next();
            std::process::exit(101);
        });
    }
    for mut stream in listener.incoming().flatten() {
        std::thread::spawn(move || while stream.read(&mut [0; 512]).is_ok_and(|bytes| bytes > 0) {});
    }
    ExitCode::SUCCESS
}

/// The toy as a system.
#[derive(Clone)]
pub struct Toy {
    pub fault: Fault,
    keys: Arc<Mutex<BTreeMap<String, Key>>>,
}

#[derive(Clone)]
struct Key {
    first: Value,
    last: Value,
}

impl Toy {
    pub fn new(fault: Fault) -> Self {
        Toy { fault, keys: Arc::default() }
    }
}

impl System for Toy {
    fn name(&self) -> String {
        format!("toy ({:?})", self.fault)
    }

    fn command(&self, place: &Place) -> Command {
        let mut command = Command::new("/proc/self/exe");
        command.args(["node", &place.node.to_string(), &place.listen, &format!("{:?}", self.fault)]);
        command
    }

    fn ready(&self, line: &str) -> Option<SocketAddr> {
        line.strip_prefix("listening on ")?.parse().ok()
    }

    fn client(&self, setup: ClientSetup) -> anyhow::Result<Box<dyn SystemClient>> {
        Ok(Box::new(ToyClient { toy: self.clone(), node: setup.prefer }))
    }

    fn view(&self, _: SocketAddr, _: Duration) -> Option<NodeView> {
        None
    }
}

struct ToyClient {
    toy: Toy,
    node: NodeId,
}

impl SystemClient for ToyClient {
    fn call(&mut self, key: &str, call: &Call) -> (Outcome, Option<NodeId>) {
        let mut keys = self.toy.keys.lock().unwrap();
        let found = keys.get(key);
        let (answer, new) = match call {
            Call::Read => {
                let stale = self.toy.fault == Fault::StaleReads;
                let value = found.map(|key| if stale { key.first.clone() } else { key.last.clone() });
                (Answer::Value(value), None)
            }
            Call::Write(value) => (Answer::Done, Some(value.clone())),
            Call::Append(text) => {
                let before = found.map_or("", |key| key.last.as_str());
                (Answer::Done, Some(Value::from(format!("{before}{}", text.as_str()))))
            }
            Call::Cas { expected, new } if *expected == found.map(|key| key.last.clone()) => {
                (Answer::CasDone, Some(new.clone()))
            }
            Call::Cas { expected, .. } => match found {
                Some(key) => (Answer::CasFailed(Some(key.last.clone())), None),
                None if expected.is_some() => (Answer::CasFailedAbsent, None),
                None => unreachable!("absence that was expected succeeds"),
            },
            Call::Delete => unreachable!("no workload deletes"),
        };
        if let Some(new) = new {
            let first = found.map_or_else(|| new.clone(), |key| key.first.clone());
            keys.insert(key.to_owned(), Key { first, last: new });
        }
        (Outcome::Ok(answer, Claim::default()), Some(self.node))
    }
}
