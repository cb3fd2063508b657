//! Machines that lack something. Mounts inside are private, so other programs can be put in the place of the real ones.

use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use ordeal_harness::doctor::{State, doctor};
use ordeal_harness::lab::{self, KernelLab, LabKind, NetChoice};

use super::nodes;

/// Puts `other` in the place of every program of this name.
fn replace(name: &str, other: &str) {
    let places = ["/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/bin", "/bin", "/usr/local/bin"];
    let mut found: Vec<PathBuf> =
        places.iter().filter_map(|place| Path::new(place).join(name).canonicalize().ok()).collect();
    found.sort();
    found.dedup();
    for file in found {
        mount(Some(other), &file, None::<&str>, MsFlags::MS_BIND, None::<&str>).expect("mounts are private");
    }
}

fn no_lab() -> String {
    format!("{:#}", KernelLab::new(&nodes(2)).expect_err("no lab without its programs"))
}

pub fn missing() {
    replace("ip", "/dev/null");
    let error = no_lab();
    assert!(error.contains("ip is not installed\nhint: apt-get install iproute2"), "{error}");
}

/// Programs that accept every rule and set none.
pub fn without_effect() {
    for name in ["iptables-restore", "iptables-nft-restore", "iptables-legacy-restore"] {
        replace(name, "/bin/true");
    }
    let error = no_lab();
    assert!(error.contains("no iptables program has an effect"), "{error}");
    assert!(error.contains("iptables-restore accepts a rule that has no effect"), "{error}");
}

/// What it says agrees with what is chosen.
pub fn doctor_is_true() {
    let report = doctor();
    let text = report.text();
    assert!(report.can_run, "{text}");
    let works = |what: &str| report.checks.iter().any(|check| check.what == what && check.state == State::Ok);
    let kernel = lab::choose(NetChoice::Kernel).is_ok();
    assert_eq!(kernel, report.net == LabKind::Kernel, "{text}");
    assert_eq!(kernel, works("cut and heal a link"), "{text}");
    assert!(works("loopback"), "{text}");
    assert!(works("child"), "{text}");
}
