//! Cutting links by iptables: one atomic replacement of the filter table in the namespace of the receiver.

use std::fmt::Write;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::namespace::Namespace;
use super::tool;

/// The programs that can do it, the machine's own choice first. Which one works is found out by its effect: both kinds
/// may accept rules of which the kernel then obeys none.
pub(crate) const PROGRAMS: [&str; 3] =
    ["iptables-restore", "iptables-nft-restore", "iptables-legacy-restore"];

/// A program that sets the rules of a namespace.
#[derive(Debug, Clone)]
pub(crate) struct Firewall {
    /// Its name.
    pub(crate) name: &'static str,
    path: PathBuf,
}

impl Firewall {
    /// The program of this name.
    pub(crate) fn named(name: &'static str) -> anyhow::Result<Firewall> {
        Ok(Firewall { name, path: tool::find(name)? })
    }

    /// Drops what comes from these addresses, and nothing else. `lock` is a file that only this namespace uses.
    pub(crate) fn replace(
        &self,
        namespace: &Namespace,
        lock: &Path,
        silenced: &[Ipv4Addr],
    ) -> anyhow::Result<()> {
        let rules = rules(silenced);
        namespace.within(|| {
            let mut command = Command::new(&self.path);
            command.arg("--wait").env("XTABLES_LOCKFILE", lock);
            tool::run(command, &rules)
        })
    }
}

fn rules(silenced: &[Ipv4Addr]) -> String {
    let mut text = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n".to_owned();
    for address in silenced {
        let _ = writeln!(text, "-A INPUT -s {address}/32 -j DROP");
    }
    text.push_str("COMMIT\n");
    text
}
