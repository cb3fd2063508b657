//! `ordeal node inspect wal`: on the log of a running node, of a stopped one, and of one that is damaged.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;

use super::by_hand::ByHand;
use super::{Done, done, ordeal};

fn inspect(dir: &Path, words: &[&str]) -> Done {
    done(ordeal(["node", "inspect", "wal"]).arg(dir).args(words))
}

/// The lines of `--json` that are of a kind.
fn lines(result: &Done, what: &str) -> Vec<Value> {
    let lines =
        result.stdout.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON"));
    lines.inspect(|line| assert_eq!(line["v"], 1, "{line}")).filter(|line| line["what"] == what).collect()
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.join("wal")).expect("the log").flatten().map(|entry| entry.path());
    let mut paths: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|end| end == "wal")).collect();
    paths.sort();
    paths
}

/// What lies in a directory, byte for byte.
fn picture(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut open = vec![dir.to_owned()];
    let mut files = Vec::new();
    while let Some(dir) = open.pop() {
        for path in fs::read_dir(dir).expect("a directory").flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                open.push(path);
            } else {
                let bytes = fs::read(&path).expect("a file");
                files.push((path, bytes));
            }
        }
    }
    files.sort();
    files
}

#[test]
fn the_log_of_a_running_cluster_and_what_is_left_of_it() {
    let cluster = ByHand::up("proxy");
    cluster.kv(&["put", "greeting", "hello"]).exits(0);
    let mut bench =
        ordeal(["kv", "bench", "--clients", "8", "--reads", "0", "--time", "2s", "--warm-up", "0s"]);
    let busy = bench.env("ORDEAL_ENDPOINTS", cluster.endpoints()).stdout(Stdio::null()).spawn();
    let mut busy = super::Guarded(busy.expect("a load"));
    let dirs: Vec<PathBuf> = (1..=3).map(|node| cluster.dir().join(format!("n{node}/data"))).collect();
    let mut looks = 0;
    while looks < 6 || busy.0.try_wait().expect("its state").is_none() {
        let found = inspect(&dirs[looks % 3], &["--json", "--verify", "--last", "2"]).exits(0);
        assert_eq!(lines(&found, "log")[0]["damaged"], false, "{}", found.stdout);
        let frames: Vec<u64> =
            lines(&found, "frame").iter().filter_map(|frame| frame["frame"].as_u64()).collect();
        assert!(matches!(frames[..], [one, two] if two == one + 1), "the last two frames: {frames:?}");
        looks += 1;
    }
    assert!(busy.0.wait().expect("it ends").success());
    cluster.kv(&["cas", "greeting", "good bye", "--expect", "hello"]).exits(0);
    let dir = cluster.down();
    let dirs: Vec<PathBuf> = dirs.into_iter().filter(|path| path.starts_with(dir.path())).collect();
    let before = picture(&dirs[0]);
    let group = |found: &Done| lines(found, "group")[0].clone();
    let first = inspect(&dirs[0], &["--group", "g1", "--json"]).exits(0);
    for dir in &dirs {
        let found = inspect(dir, &["--group", "g1", "--json"]).exits(0);
        assert_eq!(group(&found)["next"], group(&first)["next"], "all of them have all of it");
    }
    let text = inspect(&dirs[0].join("wal"), &["--last", "40"]).exits(0).stdout;
    for words in ["segment  ", "group  ", "no damage: all that was acknowledged is there", "g1 entries "] {
        assert!(text.contains(words), "no `{words}` in\n{text}");
    }
    let wrote = "compare \"greeting\" with \"hello\" and set \"good bye\" in s";
    assert!(text.contains(wrote), "no `{wrote}` in\n{text}");
    assert!(picture(&dirs[0]) == before, "nothing is written");
    inspect(&dirs[0], &["--group", "g77"]).exits(3).explains("g77");
}

#[test]
fn a_damaged_log_is_told_and_left_as_it_is() {
    let cluster = ByHand::up("proxy");
    for number in 0..20 {
        cluster.kv(&["put", &format!("key{number}"), "a value that can be found again"]).exits(0);
    }
    let data = cluster.dir().join("n1/data");
    let dir = cluster.down();
    let path = segments(&data).pop().expect("a segment");
    let whole = fs::read(&path).expect("a segment");
    let needle = b"key3";
    let at = whole.windows(needle.len()).position(|bytes| bytes == needle).expect("the third key");
    let damage = |at: usize, with: &[u8]| {
        let mut bytes = whole.clone();
        bytes[at..at + with.len()].copy_from_slice(with);
        fs::write(&path, bytes).expect("write");
    };
    damage(at, b"kez3");
    let before = picture(&data);
    let found = inspect(&data, &["--json", "--last", "100"]).exits(10);
    let told = &lines(&found, "damage")[0];
    assert_eq!((&told["loss"], &told["group"]), (&"entry".into(), &1.into()), "{told}");
    let index = told["index"].as_u64().expect("an index");
    assert_eq!(lines(&found, "group").last().expect("g1")["faulty"][0]["first"], index);
    let frames = lines(&found, "frame");
    let entries = frames.iter().flat_map(|frame| frame["entries"].as_array().cloned().unwrap_or_default());
    let faults: Vec<Value> = entries.filter(|entry| !entry["fault"].is_null()).collect();
    assert!(matches!(&faults[..], [one] if one["index"] == index), "{faults:?}");
    let text = inspect(&data, &[]).exits(10).stdout;
    assert!(text.contains(&format!("checksum of entry: entry {index} of g1 is lost")), "{text}");
    assert!(picture(&data) == before, "nothing is written");

    // A second copy of a frame's head, at the frame's end: only --verify reads it.
    let number = |value: &Value| usize::try_from(value.as_u64().expect("a number")).expect("within a file");
    let end_of = |frame: &Value| {
        let (offset, end) = (number(&frame["offset"]), number(&frame["offset"]) + number(&frame["bytes"]));
        (offset..end).contains(&at).then_some(end)
    };
    let mirror = frames.iter().find_map(end_of).expect("the frame of the third key") - 8;
    damage(mirror, &[0xff; 4]);
    inspect(&data, &[]).exits(0);
    let found = inspect(&data, &["--verify"]).exits(10);
    assert!(found.stdout.contains("its second copy cannot be read"), "{}", found.stdout);

    // The header of the newest segment, both copies: nobody can say what it held.
    damage(0, &[0; 8192]);
    inspect(&data, &[]).exits(10).explains("header");
    damage(0, &whole[..1]);
    inspect(&data, &["--verify"]).exits(0);
    drop(dir);
}

#[test]
fn what_is_no_log_is_said() {
    let dir = tempfile::tempdir().expect("a directory");
    inspect(dir.path(), &[]).exits(3).explains("no log");
    inspect(&dir.path().join("missing"), &[]).exits(3).explains("missing");
    inspect(dir.path(), &["--group", "1"]).exits(2);
    // A build to come: its header is whole, and its version another.
    let mut header = [0; 128];
    header[..8].copy_from_slice(b"ORDWAL\r\n");
    header[8] = 99;
    let checksum = crc32(&header[..124]);
    header[124..].copy_from_slice(&checksum.to_le_bytes());
    fs::write(dir.path().join("0000000000000001.wal"), header).expect("write");
    inspect(dir.path(), &[]).exits(3).explains("version 99");
}

#[test]
fn whoever_reads_only_the_first_line_is_no_error() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut node = ordeal(["node", "start", "--id", "n1", "--cluster", "00000000000000aa"]);
    node.args(["--listen", "127.0.0.1:0", "--member", "n1=127.0.0.1:7101", "--dir"]).arg(dir.path());
    let mut node = super::Guarded(node.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("a node"));
    let mut ready = String::new();
    BufReader::new(node.0.stdout.take().expect("its output")).read_line(&mut ready).expect("a line");
    let mut look = ordeal(["node", "inspect", "wal"]);
    let mut look = look.arg(dir.path()).stdout(Stdio::piped()).spawn().expect("it starts");
    drop(look.stdout.take());
    assert!(look.wait().expect("it ends").success());
}

/// CRC-32 (IEEE), bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |sum: u32| if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 };
    !bytes.iter().fold(!0, |sum, &byte| (0..8).fold(sum ^ u32::from(byte), |sum, _| step(sum)))
}
