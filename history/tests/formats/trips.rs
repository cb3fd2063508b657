//! What is written is read back, whatever the history.

use std::path::Path;

use ordeal_history::formats::{FaultNote, Format, Reader, Record, Writer, collect, convert};
use ordeal_history::{
    Answer, Call, Claim, ClientId, Event, Header, History, OpId, Outcome, Value, Version, Versions,
};
use proptest::prelude::*;

/// One operation before it has a time.
#[derive(Debug, Clone)]
struct Draft {
    client: u8,
    key: String,
    call: Call,
    answer: Ending,
    node: Option<String>,
    claim: Claim,
}

#[derive(Debug, Clone)]
enum Ending {
    Ok(Option<Value>),
    Failed(String),
    Unknown(String),
    Open,
}

/// Texts that are words, numbers, forms, quotes, controls, other scripts.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{1,4}",
        "-?[0-9]{1,3}",
        Just("nil".to_owned()),
        Just("true".to_owned()),
        Just(":k".to_owned()),
        Just("[1 2]".to_owned()),
        Just("[1 [2 3]]".to_owned()),
        Just("\"3\"".to_owned()),
        Just("\"\"3\"\"".to_owned()),
        Just("#{1}".to_owned()),
        Just("1/2".to_owned()),
        Just("\\a".to_owned()),
        Just("register".to_owned()),
        "[\\[\\]{}()\"\\\\#:;, a0\n\t\u{1}ä\u{1F980}]{0,6}",
        any::<String>(),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    text().prop_map(Value::from)
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        Just(Call::Read),
        Just(Call::Delete),
        value().prop_map(Call::Write),
        value().prop_map(Call::Append),
        (proptest::option::of(value()), value()).prop_map(|(expected, new)| Call::Cas { expected, new }),
    ]
}

fn ending() -> impl Strategy<Value = Ending> {
    prop_oneof![
        6 => proptest::option::of(value()).prop_map(Ending::Ok),
        1 => text().prop_map(Ending::Failed),
        1 => text().prop_map(Ending::Unknown),
        1 => Just(Ending::Open),
    ]
}

fn version() -> impl Strategy<Value = Option<Version>> {
    proptest::option::of((any::<u64>(), any::<u64>()).prop_map(|(epoch, index)| Version { epoch, index }))
}

fn draft() -> impl Strategy<Value = Draft> {
    let node = proptest::option::of("n[1-5]");
    let claim = (version(), version(), version())
        .prop_map(|(made, replaced, seen)| Versions { made, replaced, seen }.into());
    (0..4u8, text(), call(), ending(), node, claim)
        .prop_map(|(client, key, call, answer, node, claim)| Draft { client, key, call, answer, node, claim })
}

/// Events with times that ascend by these steps; a client that never returned is not used again.
fn events(drafts: Vec<Draft>, steps: &[u64]) -> Vec<Event> {
    let mut time_ns = 0;
    let mut steps = steps.iter().cycle();
    let mut next_time = || {
        time_ns += steps.next().expect("some steps");
        time_ns
    };
    let mut events = Vec::new();
    let mut waiting: Vec<(u8, Event)> = Vec::new();
    let mut gone = Vec::new();
    for (number, draft) in (0..).zip(drafts) {
        if let Some(at) = waiting.iter().position(|(client, _)| *client == draft.client) {
            let (_, event) = waiting.remove(at);
            events.push(at_time(event, next_time()));
        }
        if gone.contains(&draft.client) {
            continue;
        }
        let (op, client) = (OpId(number), ClientId(u32::from(draft.client)));
        let key = draft.key.as_str().into();
        events.push(Event::Invoke { op, client, key, call: draft.call.clone(), time_ns: next_time() });
        let Some(outcome) = outcome(&draft) else {
            gone.push(draft.client);
            continue;
        };
        waiting.push((
            draft.client,
            Event::Return { op, time_ns: 0, outcome, node: draft.node.map(Into::into) },
        ));
    }
    for (_, event) in waiting {
        events.push(at_time(event, next_time()));
    }
    events
}

fn outcome(draft: &Draft) -> Option<Outcome> {
    let answer = match &draft.answer {
        Ending::Failed(reason) => return Some(Outcome::Failed(reason.clone())),
        Ending::Unknown(reason) => return Some(Outcome::Unknown(reason.clone())),
        Ending::Open => return None,
        Ending::Ok(value) => value,
    };
    let answer = match (&draft.call, answer) {
        (Call::Read, value) => Answer::Value(value.clone()),
        (Call::Write(_) | Call::Append(_) | Call::Delete, _) => Answer::Done,
        (Call::Txn(_), _) => panic!("`txns.rs` has those"),
        (Call::Cas { .. }, None) => Answer::CasDone,
        (Call::Cas { .. }, Some(value)) => match value.len() % 3 {
            0 => Answer::CasFailed(None),
            1 => Answer::CasFailedAbsent,
            _ => Answer::CasFailed(Some(value.clone())),
        },
    };
    Some(Outcome::Ok(answer, draft.claim.clone()))
}

fn at_time(event: Event, time_ns: u64) -> Event {
    match event {
        Event::Return { op, outcome, node, .. } => Event::Return { op, time_ns, outcome, node },
        invoke @ Event::Invoke { .. } => invoke,
    }
}

fn header() -> Header {
    Header { notes: [("seed".to_owned(), "7".to_owned())].into(), ..Header::default() }
}

/// Writes and reads.
fn written(path: &Path, records: &[Record], format: Format) -> Vec<Record> {
    let mut writer = Writer::create(path, format, &header()).expect("a fresh file");
    for record in records {
        writer.push(record.clone()).expect("room on the disk");
    }
    writer.finish().expect("room on the disk");
    // The first bytes can mislead where they are drawn by chance: `--format` is for that.
    records_of(Reader::open(path, Some(format)).unwrap_or_else(|error| panic!("{error}")))
}

fn records_of(mut reader: Reader) -> Vec<Record> {
    let mut records = Vec::new();
    while let Some(record) = reader.next_record().unwrap_or_else(|error| panic!("{error}")) {
        records.push(record);
    }
    records
}

/// As a history: formats that name no operations number them anew.
fn history(records: Vec<Record>) -> History {
    let events = records.into_iter().filter_map(|record| match record {
        Record::Event(event) => Some(event),
        Record::Fault(_) => None,
    });
    let mut history = History::from_events(events).expect("a history");
    for (number, operation) in (0..).zip(&mut history.operations) {
        operation.id = OpId(number);
    }
    history
}

fn fault(time_ns: u64) -> Record {
    let (process, what, value) = (":nemesis".to_owned(), ":kill".to_owned(), "{\"n1\" :killed}".to_owned());
    Record::Fault(FaultNote { time_ns, process, what, value })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn any_history_survives_every_format_that_says_all(
        drafts in proptest::collection::vec(draft(), 0..30),
        steps in proptest::collection::vec(prop_oneof![Just(1u64), 1..1_000_000_000u64], 1..8),
    ) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let events = events(drafts, &steps);
        let records: Vec<Record> = events.into_iter().map(Record::Event).collect();
        for format in [Format::Ordeal, Format::Binary] {
            let found = written(&directory.path().join(format.name()), &records, format);
            prop_assert_eq!(&found, &records, "{}", format);
        }
        let expected = history(records.clone());
        let mut with_fault = records.clone();
        with_fault.push(fault(records.last().map_or(0, Record::time_ns) + 1));
        let found = written(&directory.path().join("jepsen"), &with_fault, Format::Jepsen);
        prop_assert_eq!(found.last(), with_fault.last());
        prop_assert_eq!(history(found), expected);
        prop_assert_eq!(&written(&directory.path().join("faults"), &with_fault, Format::Binary), &with_fault);
    }
}

#[test]
fn a_chain_of_conversions_keeps_the_history() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let jepsen = directory.path().join("a.edn");
    std::fs::write(&jepsen, crate::samples::JEPSEN).expect("room on the disk");
    let first = collect(Reader::open(&jepsen, None).expect("a good file")).expect("a good file");
    let mut before = jepsen;
    let chain = [Format::Binary, Format::Elle, Format::Ordeal, Format::Binary, Format::Jepsen];
    for (number, format) in chain.into_iter().enumerate() {
        let after = directory.path().join(number.to_string());
        let mut reader = Reader::open(&before, None).unwrap_or_else(|error| panic!("{error}"));
        let writer = Writer::create(&after, format, &reader.header()).expect("a fresh file");
        let converted = convert(&mut reader, writer).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((converted.operations, converted.returns), (3, 3), "{format}");
        let imported = collect(Reader::open(&after, None).expect("known again")).expect("a good file");
        assert_eq!(imported.format, format);
        let found = imported.loaded.history;
        assert_eq!(found.operations.len(), 3);
        for (found, expected) in found.operations.iter().zip(&first.loaded.history.operations) {
            assert_eq!((&found.key, &found.call), (&expected.key, &expected.call), "{format}");
            assert_eq!((found.client, found.invoked_ns), (expected.client, expected.invoked_ns), "{format}");
        }
        let no_place =
            (format == Format::Ordeal).then_some("2 faults are left out: this format has no place for them");
        assert_eq!(converted.warnings.iter().map(String::as_str).next(), no_place);
        before = after;
    }
}

#[test]
fn jepsen_gets_a_new_process_after_an_unknown_outcome_and_calls_before_returns_of_one_time() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("history.edn");
    let invoke = |op: u64, client: u32, time_ns: u64| {
        let (op, client) = (OpId(op), ClientId(client));
        Record::Event(Event::Invoke { op, client, key: "k".into(), call: Call::Delete, time_ns })
    };
    let returned = |op: u64, time_ns: u64, outcome: Outcome| {
        Record::Event(Event::Return { op: OpId(op), time_ns, outcome, node: None })
    };
    let done = || Outcome::Ok(Answer::Done, Claim::default());
    let records = [
        invoke(0, 1, 10),
        invoke(1, 2, 20),
        // Written late, and at one time with a call of another client and with one of its own.
        returned(0, 15, Outcome::Unknown("timeout".to_owned())),
        invoke(2, 1, 30),
        returned(2, 40, done()),
        returned(1, 40, done()),
        invoke(3, 2, 40),
        invoke(4, 3, 40),
    ];
    let mut writer = Writer::create(&path, Format::Jepsen, &header()).expect("a fresh file");
    records.into_iter().for_each(|record| writer.push(record).expect("room on the disk"));
    writer.finish().expect("room on the disk");
    let text = std::fs::read_to_string(&path).expect("a text");
    let expected = "\
{:index 0, :time 10, :type :invoke, :process 1, :f :delete, :value [\"k\" nil]}
{:index 1, :time 15, :type :info, :process 1, :f :delete, :value [\"k\" nil], :error \"timeout\"}
{:index 2, :time 20, :type :invoke, :process 2, :f :delete, :value [\"k\" nil]}
{:index 3, :time 30, :type :invoke, :process 1048576, :f :delete, :value [\"k\" nil], :ordeal/client 1}
{:index 4, :time 40, :type :invoke, :process 3, :f :delete, :value [\"k\" nil]}
{:index 5, :time 40, :type :ok, :process 1048576, :f :delete, :value [\"k\" nil], :ordeal/client 1}
{:index 6, :time 40, :type :ok, :process 2, :f :delete, :value [\"k\" nil]}
{:index 7, :time 40, :type :invoke, :process 2, :f :delete, :value [\"k\" nil]}
";
    assert_eq!(text, expected);
}

#[test]
fn text_is_written_as_jepsen_does() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("history.txt");
    let mut reader = Reader::on(Path::new("x"), crate::samples::TEXT.as_bytes(), None).expect("a good file");
    let writer = Writer::create(&path, Format::JepsenText, &header()).expect("a fresh file");
    convert(&mut reader, writer).expect("room on the disk");
    assert_eq!(std::fs::read_to_string(&path).expect("a text"), crate::samples::TEXT);
}

#[test]
fn what_cannot_be_written_says_so() {
    let path = Path::new("/nowhere/history");
    let error = Writer::create(path, Format::JepsenLog, &header()).err().expect("not written").to_string();
    assert!(error.contains("jepsen-log can be read, but not written"), "{error}");
    for format in Format::ALL {
        assert_eq!(format.name().parse(), Ok(format));
        assert!(Format::NAMES.split(", ").any(|name| name == format.name()), "{format}");
        assert!(Writer::create(path, format, &header()).is_err());
    }
    assert!("rot13".parse::<Format>().expect_err("no format").to_string().contains("porcupine-kv"));
}
