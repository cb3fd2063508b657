//! Histories on disk: what is recorded is read back, whatever prefix of it is left; other damage is an error in words.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ordeal_history::{
    Answer, Call, Claim, ClientId, Header, History, Outcome, ReadError, Recorder, Value, Version, read_file,
};
use tempfile::TempDir;

const HEADER: &str = "{\"ordeal-history\":1,\"model\":\"key-value\"}\n";

fn record(path: &Path) {
    let header = Header { notes: [("seed".to_owned(), "7".to_owned())].into(), ..Header::default() };
    let recorder = Recorder::create(path, &header).expect("a fresh file");
    let version = |index: u64| Some(Version { epoch: 1, index });
    let value = |text: &str| Value::from(text);
    let calls = [
        (Call::Write(value("a\"\n\u{1F980}")), Answer::Done, Claim::made(version(1), None)),
        (Call::Read, Answer::Value(Some(value("ä"))), Claim::seen(version(1))),
        (Call::Read, Answer::Value(None), Claim::default()),
        (Call::Append(value("x,")), Answer::Done, Claim::made(version(2), version(1))),
        (Call::Delete, Answer::Done, Claim::default()),
        (Call::Cas { expected: None, new: value("b") }, Answer::CasDone, Claim::default()),
        (
            Call::Cas { expected: Some(value("b")), new: value("c") },
            Answer::CasFailed(None),
            Claim::default(),
        ),
        (
            Call::Cas { expected: Some(value("b")), new: value("c") },
            Answer::CasFailedAbsent,
            Claim::default(),
        ),
    ];
    for (time_ns, (call, answer, claim)) in (0..).step_by(1000).zip(calls) {
        let op = recorder.invoke_at(ClientId(4), "k 1", call, time_ns).expect("room on the disk");
        recorder.returned_at(op, Outcome::Ok(answer, claim), Some("n3"), time_ns + 500).expect("room");
    }
    for outcome in [Outcome::Failed("busy".to_owned()), Outcome::Unknown("timeout".to_owned())] {
        let op = recorder.invoke_at(ClientId(4), "k 1", Call::Read, 100_000).expect("room on the disk");
        recorder.returned_at(op, outcome, None, 100_000).expect("room on the disk");
    }
    recorder.invoke_at(ClientId(4), "k 1", Call::Read, 200_000).expect("room on the disk");
    recorder.sync().expect("a healthy disk");
}

fn file(text: &[u8]) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("history.jsonl");
    std::fs::write(&path, text).expect("room on the disk");
    (directory, path)
}

fn recorded() -> (Vec<u8>, History) {
    let (_directory, path) = file(b"");
    std::fs::remove_file(&path).expect("it was there");
    record(&path);
    let loaded = read_file(&path).expect("a healthy file");
    assert_eq!(loaded.warnings, [""; 0]);
    assert_eq!(loaded.header.notes["seed"], "7");
    (std::fs::read(&path).expect("a healthy file"), loaded.history)
}

#[test]
fn what_is_recorded_is_read_back() {
    let (bytes, history) = recorded();
    assert_eq!(history.operations.len(), 11);
    assert_eq!(history.operations[0].call, Call::Write(Value::from("a\"\n\u{1F980}")));
    assert_eq!(
        history.operations[3].claim().expect("claimed").replaced,
        Some(Version { epoch: 1, index: 1 })
    );
    assert_eq!(history.operations[7].answer(), Some(&Answer::CasFailedAbsent));
    assert_eq!(history.operations[7].node.as_deref(), Some("n3"));
    assert!(history.operations[8].is_failed());
    assert_eq!(history.operations[10].returned, None);
    let text = String::from_utf8(bytes).expect("text");
    let first = "{\"invoke\":{\"op\":0,\"client\":4,\"key\":\"k 1\",\"time_ns\":0,\"call\":{\"write\":\"a\\\"\\n\u{1F980}\"}},\"crc\":\"";
    assert!(text.lines().nth(1).expect("an event").starts_with(first), "{text}");
}

#[test]
fn a_file_cut_at_any_byte_is_a_prefix_and_a_warning() {
    let (bytes, whole) = recorded();
    let header_end = 1 + bytes.iter().position(|&byte| byte == b'\n').expect("a first line");
    for end in header_end..bytes.len() {
        let (_directory, path) = file(&bytes[..end]);
        let loaded = read_file(&path).unwrap_or_else(|error| panic!("cut at {end}: {error}"));
        let got = loaded.history.operations;
        let is_line_end = bytes[end - 1] == b'\n' || bytes[end] == b'\n';
        let is_torn = loaded.warnings.iter().any(|warning| warning.contains("the last record is torn"));
        assert_eq!(is_torn, !is_line_end, "cut at {end}: {:?}", loaded.warnings);
        for (operation, original) in got.iter().zip(&whole.operations) {
            assert_eq!((operation.id, &operation.call), (original.id, &original.call), "cut at {end}");
            assert!(operation.returned.is_none() || operation.returned == original.returned, "cut at {end}");
        }
    }
    for end in 0..header_end - 1 {
        let (_directory, path) = file(&bytes[..end]);
        assert!(read_file(&path).is_err(), "a first line cut at {end} says nothing");
    }
}

#[test]
fn a_tail_of_zeros_is_a_torn_record() {
    let (bytes, whole) = recorded();
    for keep in [0, 1, 20] {
        let torn = [&bytes[..], &b"{\"invoke\":{\"op\":11,\"client\":4,"[..keep], &[0; 100]].concat();
        let (_directory, path) = file(&torn);
        let loaded = read_file(&path).expect("only a torn tail");
        assert_eq!(loaded.history, whole);
        assert_eq!(loaded.warnings.len(), 1, "{:?}", loaded.warnings);
    }
}

#[test]
fn every_damaged_byte_in_the_middle_is_an_error_with_its_line() {
    let (bytes, whole) = recorded();
    let header_end = 1 + bytes.iter().position(|&byte| byte == b'\n').expect("a first line");
    let last_start = bytes[..bytes.len() - 1].iter().rposition(|&byte| byte == b'\n').expect("many lines");
    for at in header_end..last_start {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        let (_directory, path) = file(&damaged);
        let line = 1 + bytes[..at].iter().filter(|&&byte| byte == b'\n').count();
        match read_file(&path) {
            // A flipped line end joins two lines, a flipped space may be whitespace still.
            Err(ReadError::Damaged { line: found, .. } | ReadError::Impossible { line: found, .. }) => {
                assert_eq!(found, line, "byte {at}");
            }
            Err(error) => panic!("byte {at}: {error}"),
            Ok(loaded) => assert_eq!(loaded.history, whole, "byte {at} went unnoticed"),
        }
    }
}

/// Reads a file of these lines behind a good first line; gives the error after the path, and the hint.
fn error_of(lines: &str) -> (String, String) {
    whole_error_of(&(HEADER.to_owned() + lines))
}

fn whole_error_of(text: &str) -> (String, String) {
    let (_directory, path) = file(text.as_bytes());
    let error = read_file(&path).expect_err("a bad file").to_string();
    let (what, hint) = error.split_once("\nhint: ").unwrap_or_else(|| panic!("no hint: {error}"));
    let what = what.strip_prefix(&format!("{}: ", path.display())).expect("names the file");
    (what.to_owned(), hint.to_owned())
}

fn refused(lines: &str, expected: &str) {
    let (what, hint) = error_of(lines);
    assert_eq!(what, expected, "{lines}");
    assert!(!hint.is_empty());
}

const CALL: &str =
    "{\"invoke\":{\"op\":0,\"client\":1,\"key\":\"k\",\"time_ns\":100,\"call\":{\"write\":\"a\"}}}\n";
const RETURN: &str = "{\"return\":{\"op\":0,\"time_ns\":200,\"ok\":\"done\"}}\n";

#[test]
fn events_that_cannot_be_are_refused() {
    refused(RETURN, "line 2, column 1: return of #0, which was never called");
    refused(&[CALL, RETURN, RETURN].concat(), "line 4, column 1: second return of #0");
    refused(
        &[CALL, "{\"return\":{\"op\":0,\"time_ns\":99,\"ok\":\"done\"}}\n"].concat(),
        "line 3, column 1: time goes backwards within c1: 99 ns at #0, after 100 ns",
    );
    refused(
        &[CALL, RETURN, CALL].concat(),
        "line 4, column 1: call #0 comes after call #0: ids of calls must ascend",
    );
    refused(
        &[CALL, &CALL.replace("\"op\":0", "\"op\":1")].concat(),
        "line 3, column 1: c1 calls #1 while its call #0 has not returned",
    );
    refused(
        &[CALL, "{\"return\":{\"op\":0,\"time_ns\":200,\"ok\":{\"value\":null}}}\n"].concat(),
        "line 3, column 1: the answer to #0 is not of the kind that its call asks for",
    );
}

#[test]
fn lines_that_are_no_events_are_refused_with_line_and_column() {
    refused(
        &[CALL, "{\"return\":{\"op\":0 \"time_ns\":200}}\n", CALL].concat(),
        "line 3, column 19: expected `,` or `}`",
    );
    refused(
        &[CALL, "{\"return\":{\"op\":0,\"time_n\n", CALL].concat(),
        "line 3, column 25: EOF while parsing a string",
    );
    refused(
        "{\"call\":1}\n",
        "line 2, column 7: unknown field `call`, expected one of `invoke`, `return`, `crc`",
    );
    refused("{}\n", "line 2, column 1: a line has exactly one of `invoke` and `return`");
    refused(
        "{\"return\":{\"op\":0,\"time_ns\":2}}\n",
        "line 2, column 1: a return has exactly one of `ok`, `failed` and `unknown`",
    );
    refused(
        "{\"return\":{\"op\":0,\"time_ns\":2,\"failed\":\"busy\",\"made\":\"1.4\"}}\n",
        "line 2, column 1: only a return that is `ok` names versions",
    );
    refused(
        "{\"return\":{\"op\":0,\"time_ns\":2,\"ok\":\"done\",\"made\":\"4\"}}\n",
        "line 2, column 53: `4` is no version, expected one like `1.42`",
    );
    let wrong = CALL.replace("}}}", "}},\"crc\":\"00000000\"}");
    let (what, hint) = error_of(&wrong);
    assert!(
        what.starts_with("line 2, column 83: the line is damaged: its checksum is 00000000, expected "),
        "{what}"
    );
    assert!(hint.contains("remove its `crc`"), "{hint}");
}

#[test]
fn what_is_no_history_is_refused() {
    assert_eq!(whole_error_of("").0, "the file is empty, it has not even a first line");
    let (what, hint) = whole_error_of("time,client,op\n1,2,read\n");
    assert_eq!(what, "line 1, column 2: not an ordeal history: expected ident");
    assert!(hint.contains("{\"ordeal-history\":2,\"model\":\"key-value\"}"), "{hint}");
    assert_eq!(
        whole_error_of("{\"process\":1,\"type\":\"invoke\"}\n").0,
        "line 1, column 29: not an ordeal history: missing field `ordeal-history`"
    );
    let newer = whole_error_of("{\"ordeal-history\":3,\"model\":\"key-value\",\"new\":1}\n");
    assert_eq!(newer.0, "line 1: history format 3, this build reads 1 to 2");
    assert_eq!(newer.1, "use the ordeal that wrote it");
    assert!(
        whole_error_of("{\"ordeal-history\":1,\"model\":\"queue\"}\n").0.contains("the model is `queue`")
    );
    let missing = read_file(Path::new("/no/such/history")).expect_err("missing").to_string();
    assert!(missing.starts_with("/no/such/history: No such file"), "{missing}");
    assert!(missing.contains("hint: check the path"), "{missing}");
    assert!(read_file(Path::new("/")).is_err(), "a directory");
}

#[test]
fn a_line_without_an_end_is_refused_before_it_is_held_in_memory() {
    let (what, _) = error_of(&format!("{{\"invoke\":\"{}", "x".repeat(9 << 20)));
    assert!(what.contains("the line is longer than"), "{what}");
}

#[test]
fn a_history_written_by_hand_needs_neither_checksums_nor_a_last_line_end() {
    let (_directory, path) = file([HEADER, CALL, "\n", RETURN.trim_end()].concat().as_bytes());
    let loaded = read_file(&path).expect("a good file");
    assert_eq!(loaded.warnings, [""; 0]);
    assert_eq!(loaded.history.operations[0].answered_ns(), Some(200));
    let (_directory, path) = file(HEADER.as_bytes());
    assert!(read_file(&path).expect("a good file").warnings[0].contains("no operations"));
}

#[test]
fn many_threads_record_at_once() {
    let (_directory, path) = file(b"");
    std::fs::remove_file(&path).expect("it was there");
    let recorder = Arc::new(Recorder::create(&path, &Header::default()).expect("a fresh file"));
    std::thread::scope(|scope| {
        for client in 0..8 {
            let recorder = Arc::clone(&recorder);
            scope.spawn(move || {
                for number in 0..200 {
                    let call = Call::Write(Value::from(format!("c{client}-{number}")));
                    let op = recorder.invoke(ClientId(client), "k", call).expect("room on the disk");
                    recorder.returned(op, Outcome::Ok(Answer::Done, Claim::default()), None).expect("room");
                }
            });
        }
    });
    let history = read_file(&path).expect("a healthy file").history;
    assert_eq!(history.operations.len(), 1600);
    assert!(history.operations.iter().all(|operation| operation.answer() == Some(&Answer::Done)));
    assert!(history.operations.is_sorted_by_key(|operation| operation.invoked_ns), "ids ascend with time");
}

#[test]
fn a_recorder_never_writes_into_a_file_that_is_there() {
    let full = Recorder::create(Path::new("/dev/full"), &Header::default());
    assert!(full.is_err(), "an existing file is never overwritten");
    let (_directory, path) = file(b"");
    assert!(Recorder::create(&path, &Header::default()).is_err(), "nor is an empty one");
    let missing =
        Recorder::create(Path::new("/no/such/place/h"), &Header::default()).expect_err("no directory");
    assert!(missing.to_string().contains("/no/such/place/h: cannot record the history"), "{missing}");
}
