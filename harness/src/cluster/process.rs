//! One node's process: its state, its end, and who invited it.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use ordeal_client::wire::NodeId;

use super::NodeState;
use super::log::NodeLog;
use super::spawner::Spawner;

/// How long a dead node's last words may take to come through its pipes; longer only if a child of its own holds them.
const LAST_WORDS_TIME_MAX: Duration = Duration::from_millis(500);
/// Longest line that is read as one.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// A node and its process, if it has one.
#[derive(Debug)]
pub(super) struct Process {
    node: NodeId,
    log: Mutex<NodeLog>,
    life: Mutex<Life>,
    changed: Condvar,
}

#[derive(Debug)]
struct Life {
    state: NodeState,
    /// Counts its processes, so that a waiter of an earlier one changes nothing.
    number: u64,
    /// The signal by which we have asked for the end of the present process.
    invited: Option<Signal>,
    /// How processes of this node ended without our doing, oldest first.
    crashes: Vec<String>,
    /// How the last process ended.
    ended: Option<ExitStatus>,
}

/// What a start needs.
pub(super) struct Start<'a> {
    pub(super) spawner: &'a Spawner,
    pub(super) command: &'a Command,
    pub(super) namespace: Option<&'a Path>,
    pub(super) ready: &'a dyn Fn(&str) -> Option<SocketAddr>,
    pub(super) timeout: Duration,
    /// Called when this process has ended, invited or not, before its end is seen by anybody.
    pub(super) on_end: Box<dyn FnOnce() + Send>,
}

impl Process {
    pub(super) fn new(node: NodeId, log: &Path) -> anyhow::Result<Arc<Process>> {
        let log = NodeLog::open(log).with_context(|| format!("open {}", log.display()))?;
        let life =
            Life { state: NodeState::Down, number: 0, invited: None, crashes: Vec::new(), ended: None };
        Ok(Arc::new(Process { node, log: Mutex::new(log), life: Mutex::new(life), changed: Condvar::new() }))
    }

    /// How its processes ended without our doing, oldest first.
    pub(super) fn crashes(&self) -> Vec<String> {
        self.life().crashes.clone()
    }

    pub(super) fn state(&self) -> NodeState {
        self.life().state.clone()
    }

    /// Starts it and waits until it says that it listens; returns its pid and address. A process that does not is
    /// killed again.
    pub(super) fn start(self: &Arc<Self>, start: Start<'_>) -> anyhow::Result<(i32, SocketAddr)> {
        let (child, lines, said_all, number) = {
            let mut life = self.life();
            if let NodeState::Up { pid } | NodeState::Paused { pid } = life.state {
                bail!("it runs already, as pid {pid}");
            }
            let mut child = start.spawner.start(start.command, start.namespace)?;
            life.state = NodeState::Up { pid: i32::try_from(child.id())? };
            life.number += 1;
            life.invited = None;
            life.ended = None;
            let _ = self.log().begin(&format!("{} starts as pid {}", self.node, child.id()));
            let (lines, said_all) = match self.listen(&mut child) {
                Ok(channels) => channels,
                Err(error) => {
                    let _ = child.kill().and_then(|()| child.wait());
                    life.state = NodeState::Down;
                    return Err(error);
                }
            };
            (child, lines, said_all, life.number)
        };
        let pid = i32::try_from(child.id())?;
        let (this, on_end) = (Arc::clone(self), start.on_end);
        let waiter = std::thread::Builder::new().name(format!("wait {}", self.node));
        waiter.spawn(move || {
            this.wait(child, &said_all, number, on_end);
        })?;
        let deadline = Instant::now() + start.timeout;
        loop {
            match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    if let Some(address) = (start.ready)(&line) {
                        return Ok((pid, address));
                    }
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    let _ = self.end(Signal::SIGKILL, Duration::from_secs(2));
                    bail!("it did not say that it listens within {:?}{}", start.timeout, self.words());
                }
                // Its stdout is closed: it has ended or is about to.
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    let status = self.end(Signal::SIGKILL, Duration::from_secs(2));
                    let how = status.map_or_else(|| "it hangs".to_owned(), describe);
                    bail!("it ended before it listened: {how}{}", self.words());
                }
            }
        }
    }

    /// Sends a signal to the whole group of the running process; returns its pid.
    pub(super) fn signal(&self, signal: Signal) -> anyhow::Result<i32> {
        let life = self.life();
        self.signal_locked(&life, signal)
    }

    /// The state is locked, so the process cannot be reaped and its pid cannot be a stranger's.
    fn signal_locked(&self, life: &Life, signal: Signal) -> anyhow::Result<i32> {
        let pid = match &life.state {
            NodeState::Up { pid } | NodeState::Paused { pid } => *pid,
            NodeState::Down => bail!("{} is down", self.node),
            NodeState::Crashed { how, .. } => bail!("{} has crashed: {how}", self.node),
        };
        match killpg(Pid::from_raw(pid), signal) {
            // All of them are zombies: it has just ended, and the waiter will say so.
            Ok(()) | Err(Errno::ESRCH) => Ok(pid),
            Err(error) => Err(error).with_context(|| format!("send {signal} to pid {pid}")),
        }
    }

    /// Sends the signal that is meant to end it and waits for the end.
    pub(super) fn end(&self, signal: Signal, timeout: Duration) -> Option<ExitStatus> {
        let mut life = self.life();
        life.invited = Some(signal);
        let number = life.number;
        if self.signal_locked(&life, signal).is_err() {
            return life.ended;
        }
        let running = |life: &mut Life| life.number == number && life.ended.is_none();
        let (life, _) =
            self.changed.wait_timeout_while(life, timeout, running).unwrap_or_else(PoisonError::into_inner);
        life.ended
    }

    /// Notes that it was paused or resumed, if it still runs.
    pub(super) fn set_paused(&self, paused: bool) {
        let mut life = self.life();
        if let NodeState::Up { pid } | NodeState::Paused { pid } = life.state {
            life.state = if paused { NodeState::Paused { pid } } else { NodeState::Up { pid } };
        }
    }

    /// Its last lines, for the end of an error message.
    fn words(&self) -> String {
        let words = self.log().last_words();
        let from = words.len().saturating_sub(3);
        if words.is_empty() {
            String::new()
        } else {
            format!("; its last words: {}", words[from..].join(" / "))
        }
    }

    /// Copies what it says to the log. Lines of its stdout go to the first receiver too; the second one is
    /// disconnected when both pipes are at their end.
    fn listen(
        self: &Arc<Self>,
        child: &mut Child,
    ) -> anyhow::Result<(mpsc::Receiver<String>, mpsc::Receiver<()>)> {
        let (lines, heard) = mpsc::channel();
        let (open, said_all) = mpsc::channel::<()>();
        let stdout = child.stdout.take().context("its stdout is no pipe")?;
        let stderr = child.stderr.take().context("its stderr is no pipe")?;
        self.copy(stdout, open.clone(), move |line| {
            // After the first ready line nobody listens any more.
            let _ = lines.send(String::from_utf8_lossy(line).trim_end().to_owned());
        })?;
        self.copy(stderr, open, |_| {})?;
        Ok((heard, said_all))
    }

    fn copy(
        self: &Arc<Self>,
        pipe: impl Read + Send + 'static,
        open: mpsc::Sender<()>,
        mut also: impl FnMut(&[u8]) + Send + 'static,
    ) -> anyhow::Result<()> {
        let this = Arc::clone(self);
        let thread = std::thread::Builder::new().name(format!("log {}", self.node));
        thread.spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while pipe.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line).is_ok_and(|count| count > 0)
            {
                // A full disk must not stop the node by a full pipe.
                let _ = this.log().add(&line);
                also(&line);
                line.clear();
            }
            drop(open);
        })?;
        Ok(())
    }

    /// Waits for the end of a process, and reaps it under the lock.
    fn wait(&self, mut child: Child, said_all: &mpsc::Receiver<()>, number: u64, on_end: impl FnOnce()) {
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
        while waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) == Err(Errno::EINTR) {}
        // `said_all` never gets a message, it only ends.
        let _ = said_all.recv_timeout(LAST_WORDS_TIME_MAX);
        on_end();
        let mut life = self.life();
        let status = child.wait().ok();
        assert!(life.number == number, "{}: a process was replaced before its end was seen", self.node);
        let how = status.map_or_else(|| "its end could not be read".to_owned(), describe);
        let _ = self.log().note(&format!("{} has ended: {how}", self.node));
        life.ended = status.or(Some(ExitStatus::from_raw(0)));
        if life.invited.is_some_and(|signal| status.is_some_and(|status| follows(signal, status))) {
            life.state = NodeState::Down;
        } else {
            life.crashes.push(how.clone());
            life.state = NodeState::Crashed { how, last_words: self.log().last_words() };
        }
        self.changed.notify_all();
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log(&self) -> MutexGuard<'_, NodeLog> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether this is the end that such a signal leads to. A node that panics just before it is killed was not killed.
fn follows(signal: Signal, status: ExitStatus) -> bool {
    if signal == Signal::SIGKILL {
        return status.signal() == Some(Signal::SIGKILL as i32);
    }
    // 128 + 15 is how shells and virtual machines say that they followed SIGTERM.
    status.signal() == Some(signal as i32) || matches!(status.code(), Some(0 | 143))
}

/// In words.
pub(super) fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => {
            let name = Signal::try_from(signal).map(Signal::as_str).unwrap_or("unknown");
            format!("signal {signal} ({name})")
        }
        (None, None) => status.to_string(),
    }
}
