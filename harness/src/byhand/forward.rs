//! One loopback port a node, from any shell into the lab.
//!
//! In the kernel lab the nodes live in namespaces that a shell cannot reach by address. The file system is shared, though:
//! the outer process listens on loopback and passes each connection through a Unix socket to the inner process, which dials
//! the node.
//!
//! ```text
//!   shell ──tcp──▶ outer, 127.0.0.1:port ──unix, first line "n2"──▶ inner ──tcp──▶ n2, 10.77.0.2:7000
//! ```

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::Context;
use ordeal_client::wire::NodeId;

/// Connections under way at once, over all nodes; more are closed at once. Two threads each, so a bound is needed.
const CONNECTIONS_MAX: usize = 256;
const SOCKET: &str = "forward.sock";

/// The outer side: binds a loopback port for each node and forwards in the background.
///
/// # Errors
/// When a port cannot be bound.
pub fn listen(dir: &Path, nodes: &[NodeId]) -> anyhow::Result<BTreeMap<NodeId, String>> {
    let mut addresses = BTreeMap::new();
    let open = Arc::new(AtomicUsize::new(0));
    for &node in nodes {
        let listener = TcpListener::bind("127.0.0.1:0").context("bind a loopback port")?;
        addresses.insert(node, listener.local_addr()?.to_string());
        let (dir, open) = (dir.to_owned(), Arc::clone(&open));
        thread::Builder::new().name(format!("forward-{node}")).spawn(move || {
            for stream in listener.incoming().flatten() {
                carry(&open, move |dir: PathBuf| outward(stream, node, &dir), dir.clone());
            }
        })?;
    }
    Ok(addresses)
}

/// The inner side: takes connections from the outer and dials the nodes at `targets`, in the background.
///
/// # Errors
/// When the socket cannot be made.
pub fn accept(dir: &Path, targets: BTreeMap<NodeId, String>) -> anyhow::Result<()> {
    let path = dir.join(SOCKET);
    let _left_over = std::fs::remove_file(&path);
    let place = File::open(dir)?;
    let listener =
        UnixListener::bind(through(&place)).with_context(|| format!("listen on {}", path.display()))?;
    let targets = Arc::new(targets);
    let open = Arc::new(AtomicUsize::new(0));
    thread::Builder::new().name("forward".to_owned()).spawn(move || {
        for stream in listener.incoming().flatten() {
            carry(
                &open,
                move |targets: Arc<BTreeMap<NodeId, String>>| inward(stream, &targets),
                Arc::clone(&targets),
            );
        }
    })?;
    Ok(())
}

/// Runs `work` in a thread of its own, unless too many are under way: then the connection is dropped, and so closed.
fn carry<T: Send + 'static>(
    open: &Arc<AtomicUsize>,
    work: impl FnOnce(T) -> io::Result<()> + Send + 'static,
    with: T,
) {
    if open.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_MAX {
        open.fetch_sub(1, Ordering::Relaxed);
        return;
    }
    let counted = Arc::clone(open);
    let spawned = thread::Builder::new().name("forward-one".to_owned()).spawn(move || {
        // A connection that cannot be carried is closed: to the client that looks as it should, like a node that is down.
        let _closed = work(with);
        counted.fetch_sub(1, Ordering::Relaxed);
    });
    if spawned.is_err() {
        open.fetch_sub(1, Ordering::Relaxed);
    }
}

fn outward(stream: TcpStream, node: NodeId, dir: &Path) -> io::Result<()> {
    let place = File::open(dir)?;
    let mut inner = UnixStream::connect(through(&place))?;
    writeln!(inner, "{node}")?;
    stream.set_nodelay(true)?;
    join(stream, inner)
}

fn inward(stream: UnixStream, targets: &BTreeMap<NodeId, String>) -> io::Result<()> {
    // Byte by byte up to the newline: what follows belongs to the node.
    let mut name = String::new();
    let mut one = BufReader::with_capacity(1, &stream);
    while one.read_line(&mut name)? > 0 && !name.ends_with('\n') {}
    let node: Option<NodeId> = name.trim().parse().ok();
    let Some(target) = node.and_then(|node| targets.get(&node)) else { return Ok(()) };
    let node = TcpStream::connect(target)?;
    node.set_nodelay(true)?;
    join(node, stream)
}

fn join(tcp: TcpStream, unix: UnixStream) -> io::Result<()> {
    let (mut tcp_reads, mut unix_writes) = (tcp.try_clone()?, unix.try_clone()?);
    let up = thread::Builder::new().name("forward-up".to_owned()).spawn(move || {
        let _ended = io::copy(&mut tcp_reads, &mut unix_writes);
        let _gone = unix_writes.shutdown(Shutdown::Write);
    })?;
    let (mut tcp, mut unix) = (tcp, unix);
    let _ended = io::copy(&mut unix, &mut tcp);
    let _gone = tcp.shutdown(Shutdown::Write);
    let _joined = up.join();
    Ok(())
}

fn through(place: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", place.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn bytes_pass_both_ways_and_the_end_is_passed_on() {
        let dir = tempfile::tempdir().expect("a directory");
        let node = TcpListener::bind("127.0.0.1:0").expect("a node");
        let target = node.local_addr().expect("its address").to_string();
        accept(dir.path(), BTreeMap::from([(NodeId(2), target)])).expect("inner");
        let outer = listen(dir.path(), &[NodeId(2), NodeId(3)]).expect("outer");
        let echo = thread::spawn(move || {
            let (mut stream, _) = node.accept().expect("a connection");
            let mut heard = Vec::new();
            stream.read_to_end(&mut heard).expect("all of it");
            stream.write_all(&heard).expect("echo");
        });
        let mut client = TcpStream::connect(&outer[&NodeId(2)]).expect("connect");
        client.write_all(b"hello\nworld").expect("write");
        client.shutdown(Shutdown::Write).expect("end");
        let mut answer = String::new();
        client.read_to_string(&mut answer).expect("read");
        assert_eq!(answer, "hello\nworld");
        echo.join().expect("echo");
        let mut stranger = TcpStream::connect(&outer[&NodeId(3)]).expect("connect");
        assert_eq!(stranger.read(&mut [0; 1]).unwrap_or(0), 0, "a node without a target is closed at once");
    }
}
