//! `ordeal kv watch`: prints each change of a key, or of all keys with a prefix, as it comes, until it is interrupted; then, how to go
//! on from there.

use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value, json};
use signal_hook::consts::{SIGINT, SIGTERM};

use super::outcome::{Printer, bytes_into, judged, line_without_key, quoted};
use super::{Exit, with_codes};
use crate::config::ClientConfig;
use crate::error::ClientError;
use crate::watch::{Behind, Told, Watch};
use crate::wire::{Interest, RefusalReason};

/// So soon an interrupt is noticed while nothing changes.
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub(super) fn examples() -> String {
    with_codes(
        "\
Examples:
  ordeal kv watch greeting --endpoints 127.0.0.1:7101
  ordeal kv watch --prefix '{orders}' --from 1.42 --json --endpoints 127.0.0.1:7101,127.0.0.1:7102

Every change is told once, in the order of its shard. Keys with the same {tag} are of one shard, and so is a prefix with a
whole tag in it; any other prefix, like '' for all keys, is of all shards, between which there is no order. On an interrupt it
says how to go on. `--from 0.0` tells all changes that are kept, if none was forgotten yet.",
    )
}

/// `ordeal kv watch`.
#[derive(Debug, Clone, Args)]
pub(super) struct WatchArgs {
    /// The key
    #[arg(required_unless_present = "prefix")]
    key: Option<OsString>,
    /// All keys that begin like this
    #[arg(long, conflicts_with = "key")]
    prefix: Option<OsString>,
    /// Tell what changed behind this version, as an earlier watch or a write has named it; 0.0 is the beginning [default: from now on]
    #[arg(long, value_name = "VERSION")]
    from: Option<Behind>,
}

/// Watches until it is interrupted, or nobody reads what it prints.
pub(super) fn watch(config: ClientConfig, args: WatchArgs, printer: &mut Printer<'_>) -> Exit {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        if let Err(error) = signal_hook::flag::register(signal, Arc::clone(&interrupted)) {
            return printer.usage(&format!("signals: {error}"), "run it where signals can be handled");
        }
    }
    let WatchArgs { key, prefix, from } = args;
    let of = match (key, prefix) {
        (Some(key), _) => Interest::Key(key.into_encoded_bytes()),
        (None, prefix) => Interest::Prefix(prefix.unwrap_or_default().into_encoded_bytes()),
    };
    let mut watch = match Watch::open(config, of.clone(), from.as_ref()) {
        Ok(watch) => watch,
        Err(error) => return failed(&of, &error, printer),
    };
    frame("begun", "watching from", &watch, printer);
    let mut troubled = false;
    while !interrupted.load(Ordering::Relaxed) && !printer.is_closed() {
        match watch.next(LOOK_EVERY) {
            Ok(Some(told)) => {
                troubled = false;
                tell(&told, watch.is_of_many(), printer);
            }
            Ok(None) => {}
            Err(error @ ClientError::Unavailable(_)) => {
                if !troubled {
                    printer.say(&format!("no change is missed, but none is heard of: {error}"), Exit::Done);
                }
                troubled = true;
            }
            Err(error) => return failed(&of, &error, printer),
        }
    }
    frame("ended", "go on with --from", &watch, printer);
    Exit::Done
}

/// Where it begins or ends.
fn frame(what: &str, words: &str, watch: &Watch, printer: &mut Printer<'_>) {
    if printer.json {
        let mut line = line_without_key("watch", "done");
        line.insert("what".into(), json!(what));
        line.insert("from".into(), json!(watch.behind().to_string()));
        printer.line(&line, Exit::Done);
    } else {
        printer.say(&format!("{words} {}", watch.behind()), Exit::Done);
    }
}

fn tell(told: &Told, of_many: bool, printer: &mut Printer<'_>) {
    let Told { shard, change } = told;
    if printer.json {
        let mut line: Map<String, Value> = line_without_key("watch", "done");
        line.insert("what".into(), json!(if change.value.is_some() { "put" } else { "delete" }));
        bytes_into(&mut line, "key", &change.key);
        if let Some(value) = &change.value {
            bytes_into(&mut line, "value", value);
        }
        line.insert("version".into(), json!(change.mark.version.to_string()));
        line.insert("shard".into(), json!(shard.to_string()));
        line.insert("from".into(), json!(change.mark.to_string()));
        printer.line(&line, Exit::Done);
        return;
    }
    let what = match &change.value {
        Some(value) => format!("put {} {}", quoted(&change.key), quoted(value)),
        None => format!("delete {}", quoted(&change.key)),
    };
    let of = if of_many { format!(" of {shard}") } else { String::new() };
    printer.result(format!("{what}, version {}{of}\n", change.mark).as_bytes(), Exit::Done);
}

fn failed(of: &Interest, error: &ClientError, printer: &mut Printer<'_>) -> Exit {
    match error {
        ClientError::Config(what) => {
            printer.usage(what, "`--from` takes what a watch of the same keys has said when it ended")
        }
        ClientError::Refused { reason: RefusalReason::Compacted { shard, oldest }, .. } => {
            let (outcome, exit) = judged(error);
            if printer.json {
                let mut line = line_without_key("watch", outcome);
                line.insert("what".into(), json!("compacted"));
                line.insert("shard".into(), json!(shard.to_string()));
                line.insert("oldest".into(), json!(oldest.to_string()));
                printer.line(&line, exit);
            }
            let hint = format!(
                "hint: read the keys, and watch on from {oldest} in {shard}; or from now, without --from"
            );
            printer.say(&format!("error: watch {}: {error}\n{hint}", quoted(of.bytes())), exit)
        }
        error => printer.failed("watch", of.bytes(), error),
    }
}
