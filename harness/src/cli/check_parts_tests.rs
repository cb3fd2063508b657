//! A history that is judged in parts is judged as it would be in memory, word by word.

use std::collections::BTreeMap;
use std::path::Path;

use clap::Parser;
use ordeal_history::formats::{Format, Record, Writer};
use ordeal_history::{Answer, Call, Claim, ClientId, Event, Header, OpId, Outcome, Value, Version};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use super::check::{CheckArgs, check};

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    args: CheckArgs,
}

/// What the judge says, without how long it took.
fn said(words: &[&str]) -> serde_json::Value {
    let flags = Flags::try_parse_from([&["check"], words].concat()).expect("good flags");
    match check(&flags.args, words[0]) {
        Ok(checked) => {
            let mut said = serde_json::to_value(&checked).expect("it has a JSON form");
            said["check_ms"].take();
            said
        }
        Err(failure) => serde_json::Value::String(format!("{:#}", failure.error)),
    }
}

/// Keys, operations, and how often of a hundred answers are old ones.
struct Recipe {
    keys: u64,
    operations: u64,
    stale_of_100: u32,
    has_claims: bool,
}

#[derive(Default)]
struct Key {
    values: Vec<(Option<Value>, Option<Version>)>,
}

struct Open {
    op: OpId,
    key: String,
    call: Call,
}

/// Clients that call by turns on random keys.
struct World<'a> {
    recipe: &'a Recipe,
    random: Pcg64,
    keys: BTreeMap<String, Key>,
    open: BTreeMap<u32, Open>,
    next_client: u32,
    now: u64,
}

impl World<'_> {
    fn invoke(&mut self, client: u32, op: OpId) -> Event {
        let key = format!("k{}", self.random.random_range(0..self.recipe.keys));
        let new = Value::from(op.0.to_string());
        let call = match self.random.random_range(0..10) {
            0..5 => Call::Read,
            5..9 => Call::Write(new),
            _ => {
                Call::Cas { expected: self.keys.get(&key).and_then(|key| key.values.last()?.0.clone()), new }
            }
        };
        self.open.insert(client, Open { op, key: key.clone(), call: call.clone() });
        Event::Invoke { op, client: ClientId(client), key: key.into(), call, time_ns: self.now }
    }

    fn answer(&mut self, client: u32) -> Event {
        let Open { op, key, call } = self.open.remove(&client).expect("it waits");
        let is_old = self.random.random_range(0..100) < self.recipe.stale_of_100;
        let states = &mut self.keys.entry(key).or_default().values;
        if states.is_empty() {
            states.push((None, None));
        }
        let (value, version) = states[states.len() - 1].clone();
        let made = Version { epoch: 1, index: op.0 + 1 };
        let (answer, claim) = match call {
            Call::Read => {
                let old = states.len().saturating_sub(if is_old { 3 } else { 1 });
                let (value, version) = states[old].clone();
                (Answer::Value(value), Claim::seen(version))
            }
            Call::Cas { expected, .. } if expected != value => match value {
                Some(value) => (Answer::CasFailed(Some(value)), Claim::seen(version)),
                None => (Answer::CasFailedAbsent, Claim::default()),
            },
            Call::Write(new) => {
                states.push((Some(new), Some(made)));
                (Answer::Done, Claim::made(Some(made), version))
            }
            Call::Cas { new, .. } => {
                states.push((Some(new), Some(made)));
                (Answer::CasDone, Claim::made(Some(made), version))
            }
            Call::Append(_) | Call::Delete | Call::Txn(_) => unreachable!("nobody calls that here"),
        };
        let claim = if self.recipe.has_claims { claim } else { Claim::default() };
        let outcome = match self.random.random_range(0..50) {
            0 => Outcome::Unknown("timeout".to_owned()),
            _ => Outcome::Ok(answer, claim),
        };
        Event::Return { op, time_ns: self.now, outcome, node: Some("n1".into()) }
    }
}

fn record(recipe: &Recipe, seed: u64, path: &Path) {
    let mut world = World {
        recipe,
        random: Pcg64::seed_from_u64(seed),
        keys: BTreeMap::new(),
        open: BTreeMap::new(),
        next_client: 8,
        now: 0,
    };
    let format = Format::of_name(path).expect("a name that says it");
    let mut writer = Writer::create(path, format, &Header::default()).expect("a fresh file");
    let mut clients: Vec<u32> = (0..8).collect();
    let mut next_op = 0;
    while next_op < recipe.operations || !world.open.is_empty() {
        world.now += world.random.random_range(1..1000);
        let place = world.random.random_range(0..clients.len());
        let client = clients[place];
        let event = if world.open.contains_key(&client) {
            if world.random.random_range(0..40) == 0 {
                // It crashes: nobody will ever know.
                world.open.remove(&client);
                clients[place] = world.next_client;
                world.next_client += 1;
                continue;
            }
            world.answer(client)
        } else if next_op < recipe.operations {
            next_op += 1;
            world.invoke(client, OpId(next_op - 1))
        } else {
            continue;
        };
        writer.push(Record::Event(event)).expect("it is written");
    }
    writer.finish().expect("it is written");
}

#[test]
fn in_parts_the_judge_says_the_same_as_in_memory() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut verdicts = BTreeMap::new();
    for seed in 0..24 {
        let name = if seed % 2 == 0 { "history.jsonl" } else { "history.ohb" };
        let recipe = Recipe {
            keys: [3, 40, 200][usize::try_from(seed % 3).expect("small")],
            operations: 4_000,
            stale_of_100: [0, 1, 8][usize::try_from(seed / 3 % 3).expect("small")],
            has_claims: seed % 4 < 2,
        };
        let path = dir.path().join(format!("{seed}-{name}"));
        record(&recipe, seed, &path);
        let file = path.to_str().expect("a plain name");
        let (whole, in_parts) = (said(&[file]), said(&[file, "--memory", "1"]));
        assert_eq!(whole, in_parts, "seed {seed}");
        *verdicts.entry(whole["verdict"].to_string()).or_insert(0) += 1;
        for key in [&["--key", "k1"][..], &["--key", "k1", "--key", "k2"], &["--key", "nowhere"]] {
            let (all, few) = ([&[file], key].concat(), [&[file, "--memory", "1"], key].concat());
            assert_eq!(said(&all), said(&few), "seed {seed} {key:?}");
        }
        let model = ["--model", "append"];
        let (all, few) = ([&[file], &model[..]].concat(), [&[file, "--memory", "1"], &model[..]].concat());
        assert_eq!(said(&all), said(&few), "seed {seed}: a model that it does not fit");
    }
    assert!(verdicts.len() >= 2 && verdicts.values().all(|&count| count >= 4), "{verdicts:?}");
}

/// What is wrong with a file is told in the same words.
#[test]
fn a_damaged_file_is_refused_as_in_memory() {
    let dir = tempfile::tempdir().expect("a directory");
    let good = dir.path().join("good.jsonl");
    record(&Recipe { keys: 20, operations: 3_000, stale_of_100: 0, has_claims: true }, 7, &good);
    let text = std::fs::read_to_string(&good).expect("it is there");
    let lines: Vec<&str> = text.lines().collect();
    let nth = |what: &str, from: usize| {
        (from..lines.len()).find(|&at| lines[at].starts_with(what)).expect("such a line")
    };
    let (call, answer) = (nth("{\"invoke\"", 900), nth("{\"return\"", 900));
    let with = |at: usize, line: String| {
        let mut changed: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
        changed[at] = line;
        changed.join("\n") + "\n"
    };
    let without_checksum = |line: &str| line.split_once(",\"crc\"").expect("a checksum").0.to_owned() + "}";
    let cases = [
        ("a line twice", with(answer, format!("{0}\n{0}", lines[answer]))),
        ("a call twice", with(call, format!("{0}\n{0}", lines[call]))),
        (
            "no such call",
            with(answer, "{\"return\":{\"op\":999999,\"time_ns\":1,\"ok\":\"done\"}}".to_owned()),
        ),
        (
            "wrong kind",
            with(answer, without_checksum(lines[answer]).replace("\"ok\":", "\"ok\":\"cas_done\",\"x\":")),
        ),
        ("torn", text[..text.len() - 20].to_owned()),
        ("cut line", with(call, lines[call][..30].to_owned())),
    ];
    for (name, content) in cases {
        let path = dir.path().join("damaged.jsonl");
        std::fs::write(&path, content).expect("it is written");
        let file = path.to_str().expect("a plain name");
        assert_eq!(said(&[file]), said(&[file, "--memory", "1"]), "{name}");
    }
}
