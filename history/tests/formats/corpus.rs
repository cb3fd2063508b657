//! What others have recorded: Porcupine's and Knossos's histories, where they are at hand: in `ORDEAL_CORPUS`, or in
//! `../shared/data` beside the repository.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ordeal_history::formats::{Format, Imported, load};
use ordeal_history::{Answer, Budget, Call, History, Verdict, check};

/// A folder of the corpus; `None`, said aloud, where it is absent.
fn folder(name: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let corpus = std::env::var_os("ORDEAL_CORPUS").map_or(beside, PathBuf::from);
    let folder = corpus.join(name);
    if !folder.is_dir() {
        eprintln!("skipped: no recorded histories in {}", folder.display());
        return None;
    }
    Some(folder)
}

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|found| found == ending)).collect();
    files.sort();
    files
}

fn import(path: &Path, format: Format) -> Imported {
    let imported = load(path, None).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(imported.format, format, "{}", path.display());
    imported
}

/// What the judge says within this time.
fn verdict(history: &History, time: Duration) -> Verdict {
    check(history, &Budget { time, ..Budget::default() }, &|_| {}).verdict
}

/// Compares verdicts; a history that is not decided in its time is said aloud.
fn judge(name: &str, history: &History, expected: Verdict, time: Duration) -> bool {
    let found = verdict(history, time);
    if found == Verdict::Unknown {
        eprintln!("{name}: not decided in {time:?}");
        return false;
    }
    assert_eq!(found, expected, "{name}");
    true
}

/// File, operations and crashed ones, as counted by others.
const ETCD: [(&str, usize, usize); 52] = [
    ("etcd_000", 85, 16),
    ("etcd_002", 77, 19),
    ("etcd_004", 85, 11),
    ("etcd_006", 83, 17),
    ("etcd_008", 84, 12),
    ("etcd_010", 84, 11),
    ("etcd_012", 81, 15),
    ("etcd_014", 81, 14),
    ("etcd_016", 82, 15),
    ("etcd_018", 83, 14),
    ("etcd_020", 84, 15),
    ("etcd_022", 79, 17),
    ("etcd_024", 82, 14),
    ("etcd_026", 84, 11),
    ("etcd_028", 83, 11),
    ("etcd_030", 84, 14),
    ("etcd_032", 88, 7),
    ("etcd_034", 82, 14),
    ("etcd_036", 81, 12),
    ("etcd_038", 87, 12),
    ("etcd_040", 83, 12),
    ("etcd_042", 83, 13),
    ("etcd_044", 82, 12),
    ("etcd_046", 87, 9),
    ("etcd_048", 80, 11),
    ("etcd_050", 82, 15),
    ("etcd_052", 80, 14),
    ("etcd_054", 86, 11),
    ("etcd_056", 85, 12),
    ("etcd_058", 87, 11),
    ("etcd_060", 87, 11),
    ("etcd_062", 83, 13),
    ("etcd_064", 85, 11),
    ("etcd_066", 85, 12),
    ("etcd_068", 86, 11),
    ("etcd_070", 90, 8),
    ("etcd_072", 87, 12),
    ("etcd_074", 84, 8),
    ("etcd_076", 85, 11),
    ("etcd_078", 81, 13),
    ("etcd_080", 84, 12),
    ("etcd_082", 83, 13),
    ("etcd_084", 86, 11),
    ("etcd_086", 85, 7),
    ("etcd_088", 79, 15),
    ("etcd_090", 87, 11),
    ("etcd_092", 81, 15),
    ("etcd_094", 84, 12),
    ("etcd_096", 83, 13),
    ("etcd_098", 84, 14),
    ("etcd_100", 77, 11),
    ("etcd_102", 73, 18),
];

#[test]
fn porcupine_etcd_logs() {
    let Some(folder) = folder("porcupine/etcd") else { return };
    let expected = fs::read_to_string(folder.join("EXPECTED.tsv")).expect("the verdicts");
    let mut decided = 0;
    for (name, operations, crashed) in ETCD {
        let history = import(&folder.join(format!("{name}.log")), Format::JepsenLog).loaded.history;
        assert_eq!(history.operations.len(), operations, "{name}");
        assert_eq!(history.operations.iter().filter(|op| op.is_open()).count(), crashed, "{name}");
        let line = expected.lines().find(|line| line.starts_with(name)).expect("each has a verdict");
        let expected = if line.ends_with("\tvalid") { Verdict::Valid } else { Verdict::Invalid };
        decided += usize::from(judge(name, &history, expected, Duration::from_secs(5)));
    }
    eprintln!("{decided} of {} decided, all as expected", ETCD.len());
}

#[test]
fn porcupine_kv_logs() {
    let Some(folder) = folder("porcupine/kv") else { return };
    // File, appends, gets, puts, clients, keys, verdict.
    let expected = [
        ("c01-bad", [18, 18, 2], 1, 8, Verdict::Invalid),
        ("c01-ok", [31, 25, 2], 1, 10, Verdict::Valid),
        ("c10-bad", [190, 193, 22], 10, 10, Verdict::Invalid),
        ("c10-ok", [176, 142, 19], 10, 10, Verdict::Valid),
    ];
    for (name, calls, clients, keys, expected) in expected {
        let history = import(&folder.join(format!("{name}.txt")), Format::PorcupineKv).loaded.history;
        let count = |is: fn(&Call) -> bool| history.operations.iter().filter(|op| is(&op.call)).count();
        let found = [
            count(|call| matches!(call, Call::Append(_))),
            count(|call| matches!(call, Call::Read)),
            count(|call| matches!(call, Call::Write(_))),
        ];
        assert_eq!(found, calls, "{name}");
        assert!(history.operations.iter().all(|op| op.answer().is_some()), "{name}");
        let mut found: Vec<_> = history.operations.iter().map(|op| op.client).collect();
        found.sort_unstable();
        found.dedup();
        assert_eq!(found.len(), clients, "{name}");
        assert_eq!(history.by_key().len(), keys, "{name}");
        judge(name, &history, expected, Duration::from_secs(10));
    }
}

#[test]
fn knossos_histories() {
    for (name, expected) in [("knossos/good", Verdict::Valid), ("knossos/bad", Verdict::Invalid)] {
        let Some(folder) = folder(name) else { return };
        let mut decided = 0;
        let files = files(&folder, "edn");
        for path in &files {
            let imported = import(path, Format::Jepsen);
            let history = imported.loaded.history;
            let text = fs::read_to_string(path).expect("a text");
            let lines = |kind: &str| {
                let of_clients = |line: &&str| line.contains(kind) && !line.contains(":nemesis");
                text.lines().filter(of_clients).count()
            };
            let path = path.display().to_string();
            assert_eq!(history.operations.len(), lines(":type :invoke"), "{path}");
            assert_eq!(
                history.operations.iter().filter(|op| op.is_failed()).count(),
                lines(":type :fail"),
                "{path}"
            );
            let answered = history.operations.iter().filter(|op| op.answer().is_some()).count();
            assert_eq!(answered, lines(":type :ok"), "{path}");
            assert_eq!(imported.faults.len(), text.matches(":nemesis").count(), "{path}");
            decided += usize::from(judge(&path, &history, expected, Duration::from_secs(5)));
        }
        eprintln!("{name}: {decided} of {} decided, all as expected", files.len());
    }
}

#[test]
fn reads_of_nil_after_a_write_are_seen() {
    // In the old logs nil is a value like any other: it was there before the first write, and never after.
    let Some(folder) = folder("porcupine/etcd") else { return };
    let history = import(&folder.join("etcd_000.log"), Format::JepsenLog).loaded.history;
    assert!(history.operations.iter().any(|op| op.answer() == Some(&Answer::Value(None))));
}
