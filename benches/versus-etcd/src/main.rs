//! Puts and linearizable gets of an etcd cluster in a closed loop, told as one line of JSON with the names that
//! `ordeal kv bench --json` uses. One thread, a few HTTP/2 connections shared by all clients, as there.
//!
//! ```text
//! versus-etcd --endpoints 127.0.0.1:2379,… --clients 64 [--connections 4] --reads 0|1 --value-bytes 256 --keys 10000
//!             --warm-up-ms 500 --time-ms 5000
//! versus-etcd --table FILE       the lines that ./run noted, as a table
//! versus-etcd --sync FILE        a bare loop of 4 KiB pwrite and fdatasync there, for one second
//! ```

mod grpc;
mod load;
mod sync;
mod table;

use std::collections::BTreeMap;
use std::process::ExitCode;

use serde_json::{Value, json};

fn main() -> ExitCode {
    match run(std::env::args().skip(1)) {
        Ok(report) => {
            println!("{}", report.trim_end());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: impl Iterator<Item = String>) -> Result<String, Box<dyn std::error::Error>> {
    let flags = flags(args)?;
    if let Some(file) = flags.get("sync") {
        return Ok(line(&json!({ "v": 1, "command": "sync", "all": sync::measure(file.as_ref())?.json() })));
    }
    if let Some(file) = flags.get("table") {
        return table::of(file);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let settings = load::Settings::from(&flags)?;
    let sheet = runtime.block_on(tokio::task::LocalSet::new().run_until(load::run(settings)))?;
    Ok(line(&json!({ "v": 1, "command": "bench", "system": "etcd", "both": sheet.json() })))
}

fn line(value: &Value) -> String {
    value.to_string()
}

/// `--name value` pairs.
fn flags(mut args: impl Iterator<Item = String>) -> Result<BTreeMap<String, String>, String> {
    let mut flags = BTreeMap::new();
    while let Some(name) = args.next() {
        let name = name.strip_prefix("--").ok_or_else(|| format!("`{name}` is no flag"))?.to_owned();
        let value = args.next().ok_or_else(|| format!("--{name} has no value"))?;
        flags.insert(name, value);
    }
    Ok(flags)
}
