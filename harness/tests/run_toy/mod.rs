//! A toy under test: nodes that only listen, and one store in this process that all clients share. It is as
//! linearizable as it was asked to be.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, ExitCode};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ordeal_client::wire::NodeId;
use ordeal_harness::latch::Latch;
use ordeal_harness::system::{ClientSetup, GroupView, NodeView, Place, System, SystemClient};
use ordeal_history::models::{SequentialSpec, Store, Txn, TxnOp};
use ordeal_history::{Answer, Call, Claim, KeyTxn, Outcome, Value, Version};

/// What a node answers with its id.
const WHO: &[u8] = b"who";

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
    /// Two nodes say that they lead, in one term.
    TwoLeaders,
    /// The nodes' digests differ.
    Diverges,
    /// For a second after a node was started again nothing is answered.
    StaysAway,
    /// The second write of a key is acknowledged and lost.
    LosesWrites,
    /// Now and then a transaction is acknowledged of which only the first write is done.
    HalfTransactions,
    /// Now and then a transaction is done whatever it compares.
    IgnoresCompares,
    /// Now and then a client is given the answer to its transaction before, where that has the same shape, and this one is not done.
    AnswersOfBefore,
}

/// Every so many transactions one is done wrong.
const WRONG_EVERY: u64 = 10;

/// How long it stays away.
const AWAY: Duration = Duration::from_secs(1);

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
        let id = (*id).to_owned();
        std::thread::spawn(move || {
            let mut bytes = [0; 512];
            while let Ok(count @ 1..) = stream.read(&mut bytes) {
                if &bytes[..count] == WHO && stream.write_all(id.as_bytes()).is_err() {
                    return;
                }
            }
        });
    }
    ExitCode::SUCCESS
}

/// The toy as a system.
#[derive(Clone)]
pub struct Toy {
    pub fault: Fault,
    keys: Arc<Mutex<BTreeMap<String, Key>>>,
    banks: Arc<Mutex<Banks>>,
    starts: Arc<Mutex<Starts>>,
}

/// Who was started, and when somebody was started again.
#[derive(Default)]
struct Starts {
    known: BTreeSet<NodeId>,
    again: Option<Instant>,
}

/// The tags with transactions.
#[derive(Default)]
struct Banks {
    stores: BTreeMap<String, Store<Value, Value>>,
    /// Transactions so far.
    count: u64,
}

#[derive(Clone)]
struct Key {
    first: Value,
    last: Value,
    writes: u64,
    version: Version,
}

impl Toy {
    pub fn new(fault: Fault) -> Self {
        Toy { fault, keys: Arc::default(), banks: Arc::default(), starts: Arc::default() }
    }
}

impl System for Toy {
    fn name(&self) -> String {
        format!("toy ({:?})", self.fault)
    }

    fn command(&self, place: &Place) -> Command {
        let mut starts = self.starts.lock().unwrap();
        if !starts.known.insert(place.node) {
            starts.again = Some(Instant::now());
        }
        let mut command = Command::new("/proc/self/exe");
        command.args(["node", &place.node.to_string(), &place.listen, &format!("{:?}", self.fault)]);
        command
    }

    fn ready(&self, line: &str) -> Option<SocketAddr> {
        line.strip_prefix("listening on ")?.parse().ok()
    }

    fn client(&self, setup: ClientSetup) -> anyhow::Result<Box<dyn SystemClient>> {
        Ok(Box::new(ToyClient { toy: self.clone(), node: setup.prefer, before: None }))
    }

    /// One group, which n1 leads for ever; what is applied is the number of writes.
    fn view(&self, address: SocketAddr, timeout: Duration) -> Option<NodeView> {
        let mut stream = TcpStream::connect_timeout(&address, timeout).ok()?;
        stream.set_read_timeout(Some(timeout)).ok()?;
        stream.write_all(WHO).ok()?;
        let mut id = [0; 8];
        let count = stream.read(&mut id).ok()?;
        let node: NodeId = std::str::from_utf8(&id[..count]).ok()?.parse().ok()?;
        let applied = self.keys.lock().unwrap().values().map(|key| key.writes).sum();
        let leads = node == NodeId(1) || (node == NodeId(2) && self.fault == Fault::TwoLeaders);
        let digest = if self.fault == Fault::Diverges { u64::from(node.0) } else { applied };
        let voters = [node].into();
        let group = GroupView { group: 1, term: 1, leads, voters, applied, digest, ..GroupView::default() };
        Some(NodeView { node, groups: vec![group] })
    }
}

struct ToyClient {
    toy: Toy,
    node: NodeId,
    /// What its last transaction was answered.
    before: Option<Answer>,
}

impl ToyClient {
    fn transact(&mut self, tag: &str, call: &Call, txn: &KeyTxn) -> Answer {
        let mut banks = self.toy.banks.lock().unwrap();
        banks.count += 1;
        let is_wrong = banks.count.is_multiple_of(WRONG_EVERY);
        let store = banks.stores.entry(tag.to_owned()).or_default();
        let answer = match self.toy.fault {
            Fault::HalfTransactions if is_wrong => {
                let ret = store.clone().invoke(txn);
                let first = txn.then.iter().position(|op| !matches!(op, TxnOp::Get(_)));
                let half =
                    Txn { then: first.map(|at| txn.then[at].clone()).into_iter().collect(), ..txn.clone() };
                store.invoke(&half);
                ret
            }
            Fault::IgnoresCompares if is_wrong => store.invoke(&Txn { compares: vec![], ..txn.clone() }),
            Fault::AnswersOfBefore if is_wrong && self.before.as_ref().is_some_and(|old| old.fits(call)) => {
                return self.before.clone().expect("just seen");
            }
            _ => store.invoke(txn),
        };
        let answer = Answer::Txn(Box::new(answer));
        self.before = Some(answer.clone());
        answer
    }
}

impl Toy {
    fn is_away(&self) -> bool {
        let again = self.starts.lock().unwrap().again;
        self.fault == Fault::StaysAway && again.is_some_and(|again| again.elapsed() < AWAY)
    }
}

impl SystemClient for ToyClient {
    fn call(&mut self, key: &str, call: &Call) -> (Outcome, Option<NodeId>) {
        if self.toy.is_away() {
            return (Outcome::Failed("away".to_owned()), Some(self.node));
        }
        if let Call::Txn(txn) = call {
            let answer = self.transact(key, call, txn);
            return (Outcome::Ok(answer, Claim::default()), Some(self.node));
        }
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
            Call::Txn(_) => unreachable!("these are answered above"),
        };
        let mut claim = Claim::default();
        if let Some(new) = new {
            let index = 1 + keys.values().map(|key| key.writes).sum::<u64>();
            claim = Claim::made(Some(Version { epoch: 1, index }), found.map(|key| key.version));
            let first = found.map_or_else(|| new.clone(), |key| key.first.clone());
            let writes = found.map_or(1, |key| key.writes + 1);
            let is_lost = self.toy.fault == Fault::LosesWrites && writes == 2;
            let last = found.filter(|_| is_lost).map_or(new, |key| key.last.clone());
            keys.insert(key.to_owned(), Key { first, last, writes, version: Version { epoch: 1, index } });
        }
        (Outcome::Ok(answer, claim), Some(self.node))
    }
}
