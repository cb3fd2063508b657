//! Cuts and heals, seen by the nodes themselves.

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use ordeal_client::wire::NodeId;
use ordeal_harness::cluster::{Action, Cluster};
use ordeal_harness::lab::{self, Lab, LabKind, Link, PATIENCE, ProxyLab, Shape, all_links};

use super::{cluster, link, nodes, set, soon};
use crate::lab_node::{ask, ask_on};

/// What the nodes themselves find: the links over which one gets an answer.
fn heard(cluster: &Cluster) -> BTreeSet<Link> {
    let links = all_links(cluster.nodes());
    std::thread::scope(|scope| {
        let question = |link: Link| {
            let address = cluster.address(link.from).expect("every node has an address").to_string();
            (link, scope.spawn(move || ask(&address, &format!("dial {}", link.to))))
        };
        let threads: Vec<_> = links.into_iter().map(question).collect();
        let answered = threads.into_iter().map(|(link, thread)| (link, thread.join().expect("a question")));
        answered.filter(|(_, answer)| answer.as_deref() == Some("heard")).map(|(link, _)| link).collect()
    })
}

/// Over a cut link no connection can be made. TCP needs both ways: in the kernel one cut direction silences both, in
/// the proxy each direction has connections of its own.
fn expected(kind: LabKind, all: &BTreeSet<Link>, cut: &BTreeSet<Link>) -> BTreeSet<Link> {
    let back = |link: &Link| Link { from: link.to, to: link.from };
    let open = |link: &&Link| !cut.contains(link) && (kind == LabKind::Proxy || !cut.contains(&back(link)));
    all.iter().filter(open).copied().collect()
}

pub fn shapes(kind: LabKind) {
    let (cluster, _dir) = cluster(kind, 5);
    let order: Vec<NodeId> = [3, 1, 5, 2, 4].map(NodeId).to_vec();
    let all = all_links(cluster.nodes());
    assert_eq!(heard(&cluster), all, "before any cut");
    for shape in Shape::ALL {
        let links = shape.links(&order);
        let evidence =
            cluster.act(&Action::Cut { links: links.clone() }).unwrap_or_else(|e| panic!("{shape}: {e}"));
        let (cut, open) = (links.len(), all.len() - links.len());
        let proof = format!("{cut} of {cut} cut links are silent, {open} of {open} others answer");
        assert_eq!(evidence.proof, proof, "{shape}");
        assert_eq!(heard(&cluster), expected(kind, &all, &links), "{shape}");
    }
    let evidence = cluster.act(&Action::Heal).unwrap();
    assert_eq!(evidence.proof, "all 20 links answer");
    assert_eq!(heard(&cluster), all, "after the heal");

    let strange = cluster.act(&Action::Cut { links: set(&[link(1, 6)]) }).unwrap_err();
    assert!(strange.reason.contains("no node n6"), "{strange}");
    // The probes are the harness's: they need no nodes.
    for &node in cluster.nodes() {
        cluster.act(&Action::Kill { node }).unwrap();
    }
    cluster.act(&Action::Cut { links: all }).unwrap();
    cluster.act(&Action::Heal).unwrap();
    assert!(cluster.lab().probe(link(1, 2), PATIENCE).unwrap());
}

/// Partitions of five nodes under measurement. The bound is for a machine under load; the usual time is printed.
pub fn speed(kind: LabKind) {
    let (cluster, _dir) = cluster(kind, 5);
    let order = nodes(5);
    let (mut applied, mut proven) = (Vec::new(), Vec::new());
    for shape in Shape::ALL.into_iter().chain(Shape::ALL) {
        for action in [Action::Cut { links: shape.links(&order) }, Action::Heal] {
            let start = Instant::now();
            let evidence = cluster.act(&action).unwrap();
            assert!(start.elapsed() < Duration::from_secs(2), "{action} took {:?}", start.elapsed());
            if action != Action::Heal {
                applied.push((evidence.applied_ns - evidence.asked_ns) / 1_000);
                proven.push((evidence.verified_ns - evidence.asked_ns) / 1_000);
            }
        }
    }
    applied.sort_unstable();
    proven.sort_unstable();
    let middle = applied.len() / 2;
    println!(
        "measured: a cut is applied after {} µs (at most {}), proven after {} µs (at most {})",
        applied[middle],
        applied[applied.len() - 1],
        proven[middle],
        proven[proven.len() - 1]
    );
}

/// Two labs side by side, each with the same addresses: here in nested namespaces, as two runs have them.
pub fn host_untouched() {
    let here = std::fs::read_link("/proc/self/ns/net").unwrap();
    let one = lab::open(LabKind::Kernel, &nodes(2)).unwrap();
    one.cut(&set(&[link(1, 2)])).unwrap();
    let other = std::thread::spawn(|| {
        // A thread in a network of its own stands for a second harness.
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        let lab = lab::open(LabKind::Kernel, &nodes(2)).unwrap();
        lab.survey(&BTreeSet::new(), PATIENCE).unwrap()
    });
    assert_eq!(other.join().unwrap().len(), 2, "the other lab has no cut");
    assert_eq!(one.survey(&set(&[link(1, 2)]), PATIENCE).unwrap(), set(&[link(2, 1)]));
    assert_eq!(std::fs::read_link("/proc/self/ns/net").unwrap(), here);
}

/// A connection over a cut link is not closed; what was sent meanwhile arrives after the heal.
pub fn breath() {
    let (cluster, _dir) = cluster(LabKind::Proxy, 2);
    let to = cluster.lab().dial(NodeId(1))[&NodeId(2)].clone();
    let mut open = TcpStream::connect(&to).unwrap();
    assert_eq!(ask_on(&mut open, "who").as_deref(), Some("n2"));
    cluster.act(&Action::Cut { links: set(&[link(1, 2)]) }).unwrap();
    assert_eq!(ask_on(&mut open, "who"), None, "silence, not the end of the connection");
    let late = TcpStream::connect(&to).expect("a cut link accepts, and says nothing");
    cluster.act(&Action::Heal).unwrap();
    // The answer to the question that was asked while the link was cut.
    assert_eq!(ask_on(&mut open, "who").as_deref(), Some("n2"));
    let mut late = late;
    assert_eq!(ask_on(&mut late, "who").as_deref(), Some("n2"), "who waited is served");
}

/// A node that is down refuses, as it would without a proxy; the same address serves it when it is back.
pub fn refused() {
    let lab = ProxyLab::new(&nodes(2)).unwrap();
    let to = lab.members()[&NodeId(1)].clone();
    assert_eq!(ask(&to, "who"), None);
    let (cluster, _dir) = cluster(LabKind::Proxy, 2);
    let node = NodeId(2);
    cluster.act(&Action::Kill { node }).unwrap();
    let to = cluster.lab().dial(NodeId(1))[&node].clone();
    let start = Instant::now();
    assert_eq!(ask(&to, "who"), None);
    assert!(start.elapsed() < Duration::from_millis(300), "refused at once, not after a timeout");
    cluster.act(&Action::Start { node }).unwrap();
    soon("the proxy has heard where it listens", || ask(&to, "who").as_deref() == Some("n2"));
}
