//! The compact form: cut, flipped, zeroed, appended to, streamed.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use ordeal_history::formats::{BinaryWriter, FaultNote, Format, FormatError, Reader, Record};
use ordeal_history::{Answer, Call, Claim, ClientId, Event, Header, OpId, Outcome, Value, Version};
use tempfile::TempDir;

fn file(bytes: &[u8]) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("history.ohb");
    std::fs::write(&path, bytes).expect("room on the disk");
    (directory, path)
}

fn record(number: u64) -> [Record; 2] {
    let (op, time_ns) = (OpId(number), number * 1000);
    let client = ClientId(u32::try_from(number % 7).expect("small"));
    let key = format!("k{}", number % 3).as_str().into();
    let call = Call::Write(Value::from(number.to_string()));
    let version = |index: u64| Some(Version { epoch: 1, index });
    let claim = Claim::made(version(number + 1), version(number));
    let outcome = match number % 5 {
        0 => Outcome::Unknown("timeout".to_owned()),
        1 => Outcome::Failed("busy".to_owned()),
        _ => Outcome::Ok(Answer::Done, claim),
    };
    [
        Record::Event(Event::Invoke { op, client, key, call, time_ns }),
        Record::Event(Event::Return { op, time_ns: time_ns + 10, outcome, node: Some("n3".into()) }),
    ]
}

fn records(count: u64) -> Vec<Record> {
    let fault = |time_ns| {
        let (process, what, value) = (":nemesis".to_owned(), ":kill".to_owned(), "nil".to_owned());
        Record::Fault(FaultNote { time_ns, process, what, value })
    };
    (0..count).flat_map(record).chain([fault(count * 1000)]).collect()
}

/// A file of several frames, one for each few records, and where each begins.
fn frames() -> (Vec<u8>, Vec<usize>, Vec<Record>) {
    let (_directory, path) = file(b"");
    std::fs::remove_file(&path).expect("it was there");
    let records = records(12);
    let length = || usize::try_from(std::fs::metadata(&path).expect("it is there").len()).expect("small");
    let mut writer = BinaryWriter::create(&path, &Header::default()).expect("a fresh file");
    let mut ends = vec![length()];
    for chunk in records.chunks(5) {
        chunk.iter().for_each(|record| writer.push(record).expect("room"));
        writer.flush().expect("room");
        ends.push(length());
    }
    (std::fs::read(&path).expect("it is there"), ends, records)
}

/// A small file, for the mutations.
pub fn sample() -> Vec<u8> {
    frames().0
}

fn read(bytes: &[u8]) -> Result<(Vec<Record>, Vec<String>), FormatError> {
    let mut reader = Reader::on(Path::new("history"), Cursor::new(bytes.to_vec()), Some(Format::Binary))?;
    let mut records = Vec::new();
    while let Some(record) = reader.next_record()? {
        records.push(record);
    }
    Ok((records, reader.warnings()))
}

#[test]
fn a_cut_file_is_read_up_to_its_last_whole_frame_and_can_be_appended_to() {
    let (bytes, ends, records) = frames();
    assert_eq!(read(&bytes).expect("a good file"), (records.clone(), Vec::new()));
    for cut in 0..=bytes.len() {
        let Some(whole) = ends.iter().rposition(|&end| end <= cut) else {
            assert!(read(&bytes[..cut]).is_err(), "cut at {cut}: without its header a file says nothing");
            let (_directory, path) = file(&bytes[..cut]);
            assert!(BinaryWriter::append(&path).is_err(), "cut at {cut}");
            continue;
        };
        let (found, warnings) = read(&bytes[..cut]).unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
        assert_eq!(found, records[..(whole * 5).min(records.len())], "cut at {cut}");
        assert_eq!(warnings.len(), usize::from(ends[whole] != cut), "cut at {cut}: {warnings:?}");
        let (_directory, path) = file(&bytes[..cut]);
        let mut writer = BinaryWriter::append(&path).expect("a torn end is cut off");
        writer.push(&records[0]).expect("room");
        writer.sync().expect("room");
        let (again, warnings) = read(&std::fs::read(&path).expect("it is there")).expect("whole again");
        assert_eq!((&again[..again.len() - 1], again.last()), (&found[..], records.first()));
        assert!(warnings.is_empty(), "{warnings:?}");
    }
}

#[test]
fn zeros_at_the_end_are_a_torn_end() {
    let (bytes, ends, records) = frames();
    for zeros in [1, 11, 12, 13, 5000] {
        // Room that was made and never filled, and a last frame whose second half never came.
        let (found, warnings) = read(&[&bytes[..], &vec![0; zeros]].concat()).expect("a torn end");
        assert_eq!((found.len(), warnings.len()), (records.len(), 1));
        let half = usize::midpoint(ends[4], bytes.len());
        let missing = [&bytes[..half], &vec![0; bytes.len() - half + zeros - 1]].concat();
        let (found, warnings) = read(&missing).expect("a torn end");
        assert_eq!((found.len(), warnings.len()), (20.min(records.len()), 1), "{zeros}");
    }
    // Zeros with a frame behind them are damage.
    let hole = [&bytes[..ends[2]], &[0; 64], &bytes[ends[2]..]].concat();
    let error = read(&hole).expect_err("damage").to_string();
    assert!(error.contains(&format!("byte {}: the length of a frame is damaged", ends[2])), "{error}");
}

#[test]
fn every_flipped_bit_is_found_and_its_place_told() {
    let (bytes, ends, records) = frames();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let start = ends.iter().rev().find(|&&end| end <= bit / 8);
        match read(&flipped) {
            Err(error) => {
                let place = start.map_or(String::new(), |start| format!("byte {start}: "));
                assert!(error.to_string().contains(&place), "bit {bit}: {error}");
            }
            Ok((found, warnings)) => {
                panic!("bit {bit}: {} of {} read, {warnings:?}", found.len(), records.len())
            }
        }
    }
}

#[test]
fn another_version_and_another_file_are_refused() {
    let (mut bytes, _, _) = frames();
    bytes[8] = 9;
    assert!(read(&bytes).expect_err("a new version").to_string().contains("binary history format 9"));
    assert!(read(b"{\"ordeal-history\":1}").expect_err("lines").to_string().contains("no binary history"));
    let (_directory, path) = file(b"something");
    assert!(BinaryWriter::create(&path, &Header::default()).is_err(), "nothing is overwritten");
}

#[test]
fn many_records_are_few_bytes() {
    let (_directory, path) = file(b"");
    std::fs::remove_file(&path).expect("it was there");
    let mut writer = BinaryWriter::create(&path, &Header::default()).expect("a fresh file");
    let records = records(50_000);
    records.iter().for_each(|record| writer.push(record).expect("room"));
    writer.sync().expect("room");
    let bytes = std::fs::read(&path).expect("it is there");
    assert!(bytes.len() < records.len() * 20, "{} bytes for {} records", bytes.len(), records.len());
    assert!(read(&bytes).expect("a good file").0 == records);
}
