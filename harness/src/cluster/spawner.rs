//! The one thread that starts processes. A process with a parent death signal dies with the *thread* that started it,
//! so that thread must live as long as the cluster.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;

use anyhow::Context;

use crate::lab::enter::VARIABLES;
use crate::lab::exec;

type Order = (Command, mpsc::Sender<io::Result<Child>>);

/// Starts processes that end with the harness, however the harness ends.
#[derive(Debug)]
pub(super) struct Spawner {
    orders: Mutex<Option<mpsc::Sender<Order>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Spawner {
    pub(super) fn new() -> anyhow::Result<Spawner> {
        let (orders, queue) = mpsc::channel::<Order>();
        let thread = std::thread::Builder::new().name("spawner".to_owned()).spawn(move || {
            for (mut command, answer) in queue {
                // Who ordered waits for the answer.
                let _ = answer.send(command.spawn());
            }
        });
        let thread = thread.context("start the spawner thread")?;
        Ok(Spawner { orders: Mutex::new(Some(orders)), thread: Mutex::new(Some(thread)) })
    }

    /// Starts the command in this network namespace, in a process group of its own, with its output piped.
    pub(super) fn start(&self, command: &Command, namespace: Option<&Path>) -> anyhow::Result<Child> {
        let name = command.get_program().display().to_string();
        let (answer, child) = mpsc::channel();
        {
            let orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
            let orders = orders.as_ref().context("the cluster is shut down")?;
            orders.send((wrapped(command, namespace), answer)).context("the spawner thread has ended")?;
        }
        child.recv().context("the spawner thread has ended")?.with_context(|| format!("start {name}"))
    }

    /// Ends the thread, and with it whatever it started that still runs.
    pub(super) fn end(&self) {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = thread.join();
        }
    }
}

/// The same command behind `lab-exec`, which enters the namespace, binds its life to ours and then becomes it.
fn wrapped(command: &Command, namespace: Option<&Path>) -> Command {
    let mut outer = exec::this_program();
    outer.arg("lab-exec");
    if let Some(namespace) = namespace {
        outer.arg("--netns").arg(namespace);
    }
    outer.arg("--die-with-parent").arg(std::process::id().to_string());
    let rest: Vec<OsString> = command.get_args().map(ToOwned::to_owned).collect();
    outer.arg("--").arg(command.get_program()).args(rest);
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    for name in VARIABLES {
        outer.env_remove(name);
    }
    if let Some(place) = command.get_current_dir() {
        outer.current_dir(place);
    }
    outer.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // Ctrl-C at the terminal is for the harness, which then ends the nodes in order.
    outer.process_group(0);
    outer
}
