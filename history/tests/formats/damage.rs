//! Damaged files are errors with their place.

use ordeal_history::formats::{Format, FormatError, Place};

use crate::samples::{self, SAMPLES, read, read_as};

fn check(text: &str, place: (usize, usize), words: &str) {
    let error = read(text).expect_err(text);
    let FormatError::Damaged { place: Place::Text { line, column }, detail, .. } = &error else {
        panic!("{text}: {error}")
    };
    assert_eq!((*line, *column), place, "{text}: {error}");
    assert!(detail.contains(words), "{text}: {detail}");
    let text = error.to_string();
    assert!(text.contains("hint: "), "{text}");
}

#[test]
fn syntax_is_checked_to_the_byte() {
    let good = "{:process 0, :type :invoke, :f :read, :value nil}\n";
    check(&format!("{good}{{:process 1, :type ]"), (2, 20), "closes nothing");
    check(&format!("{good}{{:process 1, :type"), (2, 19), "the file ends inside of a form");
    check(&format!("{good}{{:process 1, :type }}"), (2, 20), "no value");
    check(&format!("{good}{{:process 01}}"), (2, 11), "`01` is no form");
    check(&format!("{good}{{:process 1x}}"), (2, 11), "`1x` is no form");
    check(&format!("{good}{{:process \"a\\q\"}}"), (2, 13), "an escape");
    check(&format!("{good}{{:process \"a"), (2, 11), "a string without its end");
    check(&format!("{good}{{:process \"\\ud800\"}}"), (2, 12), "`\\u` without");
    check(&format!("{good}{{:process \\bogus}}"), (2, 11), "no character");
    check(&format!("{good}{{:process #\"x\"}}"), (2, 11), "`#` is no form");
    check(&format!("{good}{{:process ##Bad}}"), (2, 11), "`##Bad` is no form");
    check(&format!("[{good}"), (2, 1), "the file ends before `]`");
    check(&format!("[{good}) "), (2, 1), "closes nothing");
    check(&format!("[{good}] {{}}"), (2, 3), "more after the end");
    check(&format!("{good}]"), (2, 1), "closes nothing");
    check("[{\"type\" 1}]", (1, 10), "expected `:`");
    check("[{\"type\":1,\n \"f\":tru}]", (2, 6), "`tru` is no JSON");
    let mut bytes = good.as_bytes().to_vec();
    bytes.extend_from_slice(b"{:process \xff}");
    let error = read_as(&bytes, None).expect_err("not UTF-8").to_string();
    assert!(error.contains("line 2, column 11: the text is not UTF-8"), "{error}");
}

#[test]
fn limits_hold() {
    check(&format!("{{:process {}", "[".repeat(100)), (1, 75), "more than 64 forms in forms");
    check(&format!("{{:process {}", "#_".repeat(1000)), (1, 139), "more than 64 forms in forms");
    let long = format!("{{:process \"{}\"}}", "x".repeat(9 << 20));
    check(&long, (1, 11), "more than 8388608 bytes");
    let many = format!("{{:process [{}]}}", "1 ".repeat(2 << 20));
    assert!(read(&many).expect_err("many parts").to_string().contains("more than 1048576 parts"));
    let line = format!("0 :invoke :write \"{}\"", "x".repeat(9 << 20));
    assert!(read(&line).expect_err("a long line").to_string().contains("longer than 8388608"));
}

#[test]
fn operations_are_checked_where_they_begin() {
    let call = "{:process 0, :type :invoke, :f :read, :value nil}";
    check(&format!("{call}\n [1]"), (2, 2), "an operation is a map");
    check(&format!("{call}\n{{:type :ok, :f :read}}"), (2, 1), "the map has no :process");
    check(&format!("{call}\n{{:process 0, :f :read}}"), (2, 1), "the map has no :type");
    check(&format!("{call}\n{{:process 0, :type :yes, :f :read}}"), (2, 1), ":type is :yes");
    check(&format!("{call}\n{{:process 0, :f :a, :type :ok, :f :read}}"), (2, 1), ":f twice");
    check(&format!("{call}\n{call}"), (2, 1), "process 0 calls :read while its :read has not returned");
    check(&format!("{call}\n{{:process 1, :type :ok, :f :read}}"), (2, 1), "has no call open");
    check(
        &format!("{call}\n{{:process 0, :type :ok, :f :write, :value 1}}"),
        (2, 1),
        "its open call is :read",
    );
    check(&format!("{call}\n{{:process 1, :type :invoke, :f :enqueue}}"), (2, 1), ":enqueue is no operation");
    check(&format!("{call}\n{{:process 1, :type :invoke, :f :cas, :value 7}}"), (2, 1), "expected [old new]");
    check(&format!("{call}\n{{:process 1, :type :invoke, :f :cas, :value [7 nil]}}"), (2, 1), "to nil");
    check(&format!("{call}\n{{:process -1, :type :invoke, :f :read}}"), (2, 1), "process -1");
    check(&format!("{call}\n{{:process 1, :time \"x\", :type :invoke, :f :read}}"), (2, 1), ":time is \"x\"");
    let keyed = "{:process 0, :type :invoke, :f :read, :value [3 nil]}";
    check(&format!("{keyed}\n{{:process 0, :type :ok, :f :read, :value [4 1]}}"), (2, 1), "expected [3 …]");
    check(&samples::KV.replacen(":key \"9\", :value nil", ":value nil", 1), (3, 1), "no :key");
    check(&samples::LOG.replacen("[1 2]", "[1 2", 1), (3, 45), "the file ends inside of a form");
    check(&samples::LOG.replacen("\tnil", "", 1), (6, 36), "the line ends before its value");
    check(&samples::LOG.replacen(":fail", ":fell", 1), (4, 21), ":fell is no type");
    check(&format!("{}what is this\n", samples::LOG), (8, 1), "begins with its level");
    check(
        &samples::TEXT.replacen(":write\t[0 3]\n:n", ":write [0 ]3\n:n", 1),
        (1, 22),
        "behind the value of a call",
    );
    check(&samples::TEXT.replacen("[0 3]", "[0 )", 1), (1, 21), "closes nothing");
    check(&samples::ETCD.replacen("\"Return\": 1045", "\"Return\": 1", 1), (1, 1), "before its call");
    check(&samples::ETCD.replacen("\"range\"", "\"leaseRevoke\"", 1), (12, 1), "a lease is revoked");
    check(&samples::ETCD.replacen("\"range\"", "\"dance\"", 1), (12, 1), "`dance` is no type");
    check(&samples::ETCD.replacen("\"ClientId\": 3", "\"ClientId\": \"x\"", 1), (1, 1), "ClientId is \"x\"");
}

#[test]
fn our_own_lines_keep_their_errors() {
    let error = read(&samples::ORDEAL.replacen("\"op\":1", "\"op\"1", 1)).expect_err("damaged").to_string();
    assert!(error.contains("line 4, column 16"), "{error}");
    let error =
        read(&samples::ORDEAL.replacen("history\":1", "history\":9", 1)).expect_err("new").to_string();
    assert!(error.contains("history format 9"), "{error}");
    let error = read(&samples::ORDEAL.replacen("\"op\":1", "\"op\":0", 1)).expect_err("twice").to_string();
    assert!(error.contains("line 4, column 1: call #0 comes after call #0"), "{error}");
    let torn = &samples::ORDEAL[..samples::ORDEAL.len() - 10];
    let imported = read(torn).expect("a torn end is no damage");
    assert_eq!(imported.loaded.warnings.len(), 1, "{:?}", imported.loaded.warnings);
    assert!(imported.loaded.warnings[0].contains("line 5: the last record is torn"));
}

/// Cut at any byte a file is an error or a shorter history: never a panic, never a longer one.
#[test]
fn any_prefix_is_an_error_or_a_shorter_history() {
    for (format, text) in SAMPLES {
        let whole = read(text).expect("a good file").loaded.history.operations.len();
        for end in 0..text.len() {
            if let Ok(imported) = read_as(&text.as_bytes()[..end], Some(format)) {
                assert!(imported.loaded.history.operations.len() <= whole, "{format} cut at {end}");
            }
        }
    }
    let cut = read_as(&samples::KNOSSOS.as_bytes()[..samples::KNOSSOS.len() - 3], Some(Format::Jepsen));
    assert!(cut.is_err(), "a vector without its end is not whole");
}
