//! A node that does nothing but answer: who it is, whether it can hear another one, and how to crash it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, ExitCode};
use std::time::Duration;

use ordeal_client::wire::NodeId;
use ordeal_harness::system::{ClientSetup, GroupView, NodeView, Place, System, SystemClient};

/// How long an answer may take: far longer than loopback needs, short for a cut link.
const ANSWER_TIME: Duration = Duration::from_millis(300);

/// The program: `node ID LISTEN DIR n1=ADDR …`.
pub fn main(words: &[&str]) -> ExitCode {
    let [id, listen, dir, peers @ ..] = words else { return ExitCode::from(2) };
    if *id == "n13" {
        eprintln!("n13: I will not start");
        return ExitCode::from(3);
    }
    let peers: BTreeMap<&str, &str> = peers.iter().filter_map(|peer| peer.split_once('=')).collect();
    let listener = TcpListener::bind(listen).expect("the lab's address can be listened on");
    println!("listening on {}", listener.local_addr().expect("a bound socket has an address"));
    eprintln!("{id}: my directory is {dir}");
    std::thread::scope(|scope| {
        for stream in listener.incoming().flatten() {
            let peers = &peers;
            scope.spawn(move || serve(id, stream, peers));
        }
    });
    ExitCode::SUCCESS
}

fn serve(id: &str, stream: TcpStream, peers: &BTreeMap<&str, &str>) {
    let mut answers = stream.try_clone().expect("a socket can be cloned");
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        let answer = match line.split_once(' ') {
            None if line == "who" => id.to_owned(),
            Some(("dial", peer)) => {
                let heard =
                    peers.get(peer).is_some_and(|address| ask(address, "who").as_deref() == Some(peer));
                if heard { "heard" } else { "silence" }.to_owned()
            }
            Some(("crash", code)) => {
                eprintln!("{id}: these are my last words");
                std::process::exit(code.parse().unwrap_or(1));
            }
            _ => "what?".to_owned(),
        };
        if writeln!(answers, "{answer}").is_err() {
            return;
        }
    }
}

/// One question on a connection of its own.
pub fn ask(address: &str, question: &str) -> Option<String> {
    let address: SocketAddr = address.parse().ok()?;
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_TIME).ok()?;
    ask_on(&mut stream, question)
}

/// One question on an open connection.
pub fn ask_on(stream: &mut TcpStream, question: &str) -> Option<String> {
    // `dial` makes the node itself wait twice.
    stream.set_read_timeout(Some(4 * ANSWER_TIME)).ok()?;
    writeln!(stream, "{question}").ok()?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).ok()?;
    (!answer.is_empty()).then(|| answer.trim_end().to_owned())
}

/// Such nodes as a system under test.
pub struct Askable;

impl System for Askable {
    fn name(&self) -> String {
        "nodes that answer".to_owned()
    }

    fn command(&self, place: &Place) -> Command {
        let mut command = Command::new("/proc/self/exe");
        command.args(["node", &place.node.to_string(), &place.listen]).arg(&place.dir);
        let mut peers = place.members.clone();
        peers.extend(place.dial.clone());
        command.args(peers.iter().map(|(node, address)| format!("{node}={address}")));
        command
    }

    fn ready(&self, line: &str) -> Option<SocketAddr> {
        line.strip_prefix("listening on ")?.parse().ok()
    }

    fn client(&self, _setup: ClientSetup) -> anyhow::Result<Box<dyn SystemClient>> {
        anyhow::bail!("these nodes keep nothing")
    }

    fn view(&self, address: SocketAddr, _timeout: Duration) -> Option<NodeView> {
        let node: NodeId = ask(&address.to_string(), "who")?.parse().ok()?;
        let group = GroupView { term: u64::from(node.0), leads: true, ..GroupView::default() };
        Some(NodeView { node, groups: vec![group] })
    }
}
