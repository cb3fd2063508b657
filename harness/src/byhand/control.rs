//! The control socket of a cluster by hand: one JSON line asks, one JSON line answers, then the connection ends.
//!
//! The socket is a file in the cluster's directory, so whoever may write there may command. A path to a Unix socket may be
//! no longer than 107 bytes; it is therefore reached through `/proc/self/fd/…`, however deep the directory lies.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use ordeal_client::wire::NodeId;
use serde::{Deserialize, Serialize};

/// A longer line is no request of ours.
const LINE_BYTES_MAX: u64 = 1 << 20;
/// Starting a node may take its ready time, a cut its probes: well beyond both.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
const SOCKET: &str = "control.sock";

/// What a cluster can be asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// How are the nodes?
    Status,
    /// SIGKILL.
    Kill(NodeId),
    /// Start a node that is down.
    Start(NodeId),
    /// SIGSTOP.
    Pause(NodeId),
    /// SIGCONT.
    Resume(NodeId),
    /// Cut links, as [`super::split::links_of`] reads them.
    Partition(String),
    /// Cut none.
    Heal,
    /// Stop everything.
    Down,
}

/// What it answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// Done, in words.
    Done(String),
    /// Not done, and why.
    Refused(String),
    /// How the nodes are.
    Status(Vec<NodeLine>),
}

/// One node in a status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeLine {
    /// The node.
    pub node: NodeId,
    /// `up`, `down`, `paused` or `crashed: …`.
    pub state: String,
    /// Process id in the cluster's namespace.
    pub pid: Option<i32>,
    /// Where clients reach it.
    pub address: String,
    /// Groups that it leads, by number.
    pub leads: Vec<u32>,
}

/// Asks the cluster that runs in `dir`.
///
/// # Errors
/// When no cluster runs there, or it does not answer in time.
pub fn ask(dir: &Path, ask: &Ask) -> anyhow::Result<Told> {
    let no_cluster = || {
        format!(
            "no cluster runs in {}\nhint: start one with `ordeal cluster up --dir {}`",
            dir.display(),
            dir.display()
        )
    };
    let place = File::open(dir).with_context(no_cluster)?;
    let stream = UnixStream::connect(through(&place)).with_context(no_cluster)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    write_line(&stream, ask)?;
    read_line(&stream).context("the cluster did not answer")
}

/// The listening side. Removes its file when it is dropped.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
    path: PathBuf,
}

impl Control {
    /// Listens in `dir`.
    ///
    /// # Errors
    /// When another cluster runs there, or the socket cannot be made.
    pub fn listen(dir: &Path) -> anyhow::Result<Control> {
        let path = dir.join(SOCKET);
        let place = File::open(dir).with_context(|| format!("open {}", dir.display()))?;
        if UnixStream::connect(through(&place)).is_ok() {
            bail!(
                "a cluster runs in {} already\nhint: stop it with `ordeal cluster down --dir {}`, or name another --dir",
                dir.display(),
                dir.display()
            );
        }
        // Nobody answers: what is there was left by a cluster that was killed.
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("remove {}", path.display()));
            }
            _ => {}
        }
        let listener =
            UnixListener::bind(through(&place)).with_context(|| format!("listen on {}", path.display()))?;
        Ok(Control { listener, path })
    }

    /// Answers requests, one at a time, until `answer` says that it was the last.
    ///
    /// # Errors
    /// When the socket fails; a request that cannot be read only ends its own connection.
    pub fn serve(&self, mut answer: impl FnMut(Ask) -> (Told, Next)) -> anyhow::Result<()> {
        for stream in self.listener.incoming() {
            let stream = stream.context("accept on the control socket")?;
            stream.set_read_timeout(Some(Duration::from_secs(1)))?;
            let (told, next) = match read_line(&stream) {
                Ok(ask) => answer(ask),
                Err(error) => (Told::Refused(format!("{error:#}")), Next::GoOn),
            };
            // Whoever asked may have gone; the deed is done all the same.
            let _gone = write_line(&stream, &told);
            if next == Next::Stop {
                break;
            }
        }
        Ok(())
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ignored = std::fs::remove_file(&self.path);
    }
}

/// What follows an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Another request.
    GoOn,
    /// Nothing: that was the last.
    Stop,
}

fn through(place: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", place.as_raw_fd()))
}

fn write_line<T: Serialize>(mut stream: &UnixStream, value: &T) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(stream.write_all(&line)?)
}

fn read_line<T: for<'de> Deserialize<'de>>(stream: &UnixStream) -> anyhow::Result<T> {
    let mut line = String::new();
    BufReader::new(stream.take(LINE_BYTES_MAX)).read_line(&mut line)?;
    serde_json::from_str(&line).context("not a line of the control protocol")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_are_answered_however_deep_the_directory_lies() {
        let top = tempfile::tempdir().expect("a directory");
        let dir = top.path().join("x".repeat(120)).join("y".repeat(120));
        std::fs::create_dir_all(&dir).expect("a deep directory");
        assert!(ask(&dir, &Ask::Heal).is_err(), "nobody listens yet");
        let control = Control::listen(&dir).expect("listen");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                control
                    .serve(|ask| match ask {
                        Ask::Down => (Told::Done("down".to_owned()), Next::Stop),
                        other => (Told::Refused(format!("{other:?}")), Next::GoOn),
                    })
                    .expect("serve");
            });
            assert_eq!(
                ask(&dir, &Ask::Kill(NodeId(2))).expect("answer"),
                Told::Refused("Kill(n2)".to_owned())
            );
            assert!(Control::listen(&dir).is_err(), "one cluster a directory");
            assert_eq!(ask(&dir, &Ask::Down).expect("answer"), Told::Done("down".to_owned()));
        });
        drop(control);
        assert!(!dir.join(SOCKET).exists());
    }

    #[test]
    fn what_a_killed_cluster_left_behind_is_no_obstacle() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join(SOCKET), b"").expect("a left-over");
        assert!(Control::listen(dir.path()).is_ok());
    }
}
