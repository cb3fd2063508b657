//! A run that was stopped at its first violation: what the judge of the whole history says to it, and what was kept.
//!
//! The judge of the running run sees one event after the other and rests on each value being written once; the judge at the end
//! sees all of them and rests on nothing of the kind. So the one is held against the other, whatever the verdict is.

use ordeal_history::{Report, Verdict};

use crate::store::{Event, RunDir, Stop, tail};

/// Of each file that was kept: some 60 lines.
const KEPT_BYTES_MAX: u64 = 8 << 10;
/// Files that are shown.
const KEPT_MAX: usize = 40;

/// A file that was kept: its name and its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// In the directory `stopped` of the run.
    pub name: String,
    /// The end of what it says.
    pub text: String,
}

/// Where the run was stopped.
pub(super) fn stop_of(events: &[Event]) -> Option<&Stop> {
    events.iter().find_map(|event| match event {
        Event::Stopped { stop } => Some(stop),
        _ => None,
    })
}

/// A sentence where the judge of the whole does not find what the run was stopped for.
pub(super) fn contradiction(stop: &Stop, report: &Report) -> Option<String> {
    let verdict = report.keys.iter().find(|key| *key.key == *stop.key).map(|key| key.verdict);
    let found = match verdict {
        Some(Verdict::Invalid) => return None,
        Some(Verdict::Valid) => "finds that key linearizable",
        Some(Verdict::Unknown) => "could not decide about that key",
        None => "knows of no such key",
    };
    Some(format!(
        "a bug of Ordeal itself: the run was stopped for {stop}, and the judge of the whole history {found}; \
         please keep the run's directory and report it"
    ))
}

/// What a reader should know of how far the run was judged while it went.
pub(super) fn remarks(events: &[Event]) -> Vec<String> {
    let told = events.iter().filter_map(|event| match event {
        Event::JudgedMeanwhile { lost: Some(why), .. } => {
            Some(format!("from some moment on the run was judged at its end only: {why}"))
        }
        Event::JudgedMeanwhile { keys_left_out, .. } if *keys_left_out > 0 => {
            Some(format!("{keys_left_out} keys were judged at the end only"))
        }
        _ => None,
    });
    told.collect()
}

/// The files that were kept, by their names; none where it was not stopped.
pub(super) fn kept(dir: &RunDir) -> Vec<Kept> {
    let entries = std::fs::read_dir(dir.stopped()).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    // How nodes were comes first.
    paths.sort_by_key(|path| (!path.ends_with("status"), path.clone()));
    let read = |path: &std::path::PathBuf| {
        let bytes = tail(path, KEPT_BYTES_MAX).ok()?;
        let name = path.file_name()?.to_string_lossy().into_owned();
        Some(Kept { name, text: String::from_utf8_lossy(&bytes).into_owned() })
    };
    paths.iter().take(KEPT_MAX).filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use ordeal_history::{
        Answer, Budget, Call, Claim, ClientId, History, OpId, Operation, Outcome, Value, check,
    };

    use super::*;

    fn read(id: u64, key: &str, value: Option<&str>) -> Operation {
        let answer = Answer::Value(value.map(Value::from));
        Operation {
            id: OpId(id),
            client: ClientId(0),
            key: key.into(),
            call: Call::Read,
            invoked_ns: id * 10,
            returned: Some((id * 10 + 5, Outcome::Ok(answer, Claim::default()))),
            node: None,
        }
    }

    fn stop(key: &str) -> Stop {
        Stop {
            op: 1,
            other: None,
            key: key.to_owned(),
            what: "a value was seen that nobody wrote".to_owned(),
            returned_ns: 15_000_000,
            found_ns: 17_000_000,
            frozen_ns: 24_500_000,
        }
    }

    #[test]
    fn only_a_violation_of_that_key_confirms_it() {
        let history = History { operations: vec![read(0, "fine", None), read(1, "bad", Some("phantom"))] };
        let report = check(&history, &Budget::default(), &|_| {});
        assert_eq!(contradiction(&stop("bad"), &report), None);
        let said = contradiction(&stop("fine"), &report).expect("another key is no excuse");
        assert!(said.starts_with("a bug of Ordeal itself: the run was stopped for #1 on fine"), "{said}");
        assert!(
            said.contains("finds that key linearizable") && said.contains("stopped 9.5 ms after"),
            "{said}"
        );
        assert!(contradiction(&stop("none"), &report).is_some_and(|said| said.contains("no such key")));
        let mut undecided = report;
        undecided.keys.iter_mut().for_each(|key| key.verdict = Verdict::Unknown);
        assert!(contradiction(&stop("bad"), &undecided).is_some_and(|said| said.contains("not decide")));
    }

    #[test]
    fn what_was_not_judged_meanwhile_is_told() {
        let judged = |keys_left_out, lost: Option<&str>| {
            remarks(&[Event::JudgedMeanwhile {
                at_ns: 9,
                events: 3,
                lag_ns_max: 1,
                keys_left_out,
                lost: lost.map(str::to_owned),
            }])
        };
        assert_eq!(judged(0, None), Vec::<String>::new());
        assert_eq!(judged(2, None), ["2 keys were judged at the end only"]);
        let lost = judged(0, Some("more than 3 events waited"));
        assert_eq!(
            lost,
            ["from some moment on the run was judged at its end only: more than 3 events waited"]
        );
    }
}
