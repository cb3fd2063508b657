//! The programs of others that the kernel lab needs: `ip` and `iptables-restore`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

/// Where such programs are even when an ordinary user's PATH does not say so.
const ALSO: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/bin"];

/// The path of a program.
///
/// # Errors
/// When it is not installed, with the command that installs it.
pub(crate) fn find(name: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(ALSO.iter().map(PathBuf::from));
    let found = places.map(|place| place.join(name)).find(|file| is_program(file));
    found.with_context(|| {
        let package = if name == "ip" { "iproute2" } else { "iptables" };
        format!("{name} is not installed\nhint: apt-get install {package}")
    })
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Runs a program to its end, with this text as its stdin.
///
/// # Errors
/// When it cannot be started or fails, with the last line that it said.
pub(crate) fn run(mut command: Command, input: &str) -> anyhow::Result<()> {
    let name = Path::new(command.get_program()).file_name().unwrap_or_default().display().to_string();
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("start {name}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that fails early may not read all; its exit code and words say why.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().with_context(|| format!("wait for {name}"))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        let words: Vec<&str> = words.lines().map(str::trim).filter(|line| !line.is_empty()).take(3).collect();
        bail!("{name} failed ({}): {}", output.status, words.join("; "));
    }
    Ok(())
}
