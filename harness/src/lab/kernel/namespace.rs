//! A network namespace that lives as long as we hold it open.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use anyhow::{Context, anyhow};
use nix::sched::{CloneFlags, setns, unshare};

/// A network namespace. It ends when this, and every process and socket in it, is gone.
#[derive(Debug)]
pub(crate) struct Namespace {
    file: File,
}

impl Namespace {
    /// A new one, empty but for a loopback device that is down.
    pub(crate) fn new() -> anyhow::Result<Namespace> {
        let file = in_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).context("unshare a network namespace")?;
            File::open("/proc/thread-self/ns/net").context("open /proc/thread-self/ns/net")
        })??;
        Ok(Namespace { file })
    }

    /// A path by which other processes of ours can open it.
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd()))
    }

    /// Does something inside. Sockets that it opens and processes that it starts stay inside.
    pub(crate) fn within<T: Send>(
        &self,
        work: impl FnOnce() -> anyhow::Result<T> + Send,
    ) -> anyhow::Result<T> {
        in_thread(|| {
            setns(&self.file, CloneFlags::CLONE_NEWNET).context("enter a node's network namespace")?;
            work()
        })?
    }
}

/// Namespaces belong to threads: a thread of its own comes back into none.
fn in_thread<T: Send>(work: impl FnOnce() -> T + Send) -> anyhow::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("netns".to_owned()).spawn_scoped(scope, work)?;
        thread.join().map_err(|_| anyhow!("a thread in a network namespace panicked"))
    })
}
