//! What the judge is to reach, on one core: `cargo bench -p ordeal-history --bench goals [-- NAME…]`, with the names of the
//! rows in the first column. Recorded histories of other tools are read from `../shared/data`; where that is absent, so are their
//! rows.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike};
use ordeal_history::formats::{Format, Record, Writer, load};
use ordeal_history::model::KeyModel;
use ordeal_history::online::Online;
use ordeal_history::{
    Answer, Budget, Call, Certificate, Claim, ClientId, Event, Header, History, OpId, Operation, Outcome,
    Value, Verdict, check, verdict,
};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use stateright::semantics::SequentialSpec;

/// What clients ask.
#[derive(Clone, Copy)]
enum Mix {
    Unique,
    UniqueCas,
    Append,
    FiveValues,
}

/// A closed loop of busy clients on one key: latencies of 100 to 1,000 units, an effect anywhere between.
struct Loop {
    mix: Mix,
    clients: u32,
    operations: usize,
    crashed: usize,
    is_stale: bool,
    seed: u64,
}

struct Draft {
    client: u32,
    call: Call,
    called: u64,
    effect: Option<u64>,
    returned: Option<u64>,
    answer: Answer,
}

impl Loop {
    fn history(&self, key: &str) -> History {
        let mut drafts = self.drafts();
        let mut order: Vec<(u64, usize)> =
            drafts.iter().enumerate().filter_map(|(at, draft)| Some((draft.effect?, at))).collect();
        order.sort_unstable();
        let mut random = Pcg64::seed_from_u64(self.seed + 1);
        let mut model = KeyModel::default();
        for (_, at) in order {
            // A client cannot know what is there; that half of them guess right is what makes a chain.
            if let Call::Cas { expected, .. } = &mut drafts[at].call
                && matches!(self.mix, Mix::UniqueCas)
                && random.random_bool(0.5)
            {
                expected.clone_from(&model.value);
            }
            drafts[at].answer = model.invoke(&drafts[at].call);
        }
        if self.is_stale {
            make_stale(&mut drafts);
        }
        let key: Arc<str> = Arc::from(key);
        let operations = (0..).zip(drafts).map(|(id, draft)| Operation {
            id: OpId(id),
            client: ClientId(draft.client),
            key: Arc::clone(&key),
            call: draft.call,
            invoked_ns: draft.called,
            returned: draft.returned.map(|ns| (ns, Outcome::Ok(draft.answer, Claim::default()))),
            node: None,
        });
        History { operations: operations.collect() }
    }

    fn drafts(&self) -> Vec<Draft> {
        let mut random = Pcg64::seed_from_u64(self.seed);
        let mut idle: BinaryHeap<Reverse<(u64, u32)>> =
            (0..self.clients).map(|client| Reverse((u64::from(client), client))).collect();
        let mut next_client = self.clients;
        let mut drafts = Vec::with_capacity(self.operations);
        let every = self.operations.checked_div(self.crashed).unwrap_or(usize::MAX);
        let mut crashed = 0;
        for number in 0..self.operations {
            let Some(Reverse((called, client))) = idle.pop() else { break };
            let effect = called + random.random_range(1..500);
            let returned = effect + random.random_range(99..500);
            let call = self.call(number, &mut random);
            let is_crashed = call != Call::Read && crashed < self.crashed && number >= crashed * every;
            crashed += usize::from(is_crashed);
            let effect = match (is_crashed, random.random_bool(0.5)) {
                (true, true) => None,
                (true, false) => Some(effect + random.random_range(0..100_000)),
                (false, _) => Some(effect),
            };
            let answer = Answer::Done;
            let returned_if = (!is_crashed).then_some(returned);
            drafts.push(Draft { client, call, called, effect, returned: returned_if, answer });
            if is_crashed {
                next_client += 1;
            }
            idle.push(Reverse((returned + 1, if is_crashed { next_client } else { client })));
        }
        drafts
    }

    fn call(&self, number: usize, random: &mut Pcg64) -> Call {
        if random.random_bool(0.5) {
            return Call::Read;
        }
        let few = |random: &mut Pcg64| Value::from(random.random_range(0..5).to_string());
        match self.mix {
            Mix::Unique => Call::Write(Value::from(number.to_string())),
            Mix::UniqueCas => Call::Cas { expected: None, new: Value::from(number.to_string()) },
            Mix::Append => Call::Append(Value::from(format!("{number},"))),
            Mix::FiveValues if random.random_bool(0.5) => Call::Write(few(random)),
            Mix::FiveValues => Call::Cas { expected: Some(few(random)), new: few(random) },
        }
    }
}

/// One of the last reads shows what was overwritten long before.
fn make_stale(drafts: &mut [Draft]) {
    let is_read = |draft: &Draft| draft.call == Call::Read && draft.returned.is_some();
    let at = drafts.len() - drafts.len() / 100 - 30;
    let late = (at..drafts.len()).find(|&at| is_read(&drafts[at])).expect("a read");
    let called = drafts[late].called;
    let early = (0..late)
        .rev()
        .find(|&at| is_read(&drafts[at]) && drafts[at].returned.is_some_and(|ns| ns + 5_000 < called))
        .expect("a read long before");
    drafts[late].answer = drafts[early].answer.clone();
}

/// The events of a history in the order of time.
fn events_of(history: &History) -> Vec<Event> {
    let mut events = Vec::with_capacity(history.operations.len() * 2);
    for operation in &history.operations {
        events.push((operation.invoked_ns, false, operation.id, operation));
        events.extend(operation.answered_ns().map(|ns| (ns, true, operation.id, operation)));
    }
    events.sort_unstable_by_key(|&(ns, is_return, id, _)| (ns, is_return, id));
    // Ids ascend with the calls.
    let event = |(time_ns, is_return, op, operation): (u64, bool, OpId, &Operation)| match (
        &operation.returned,
        is_return,
    ) {
        (Some((_, outcome)), true) => Event::Return { op, time_ns, outcome: outcome.clone(), node: None },
        (Some(_), false) | (None, _) => Event::Invoke {
            op,
            client: operation.client,
            key: Arc::clone(&operation.key),
            call: operation.call.clone(),
            time_ns,
        },
    };
    events.into_iter().map(event).collect()
}

fn write_file(path: &Path, format: Format, history: &History) {
    let mut writer = Writer::create(path, format, &Header::default()).expect("a fresh file");
    for event in events_of(history) {
        writer.push(Record::Event(event)).expect("it is written");
    }
    writer.finish().expect("it is written");
}

/// What this process has used of its one core: others on the machine take wall time, not this.
fn cpu() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("it is always known");
    let part = |time: TimeVal| {
        Duration::from_micros(u64::try_from(time.num_microseconds()).expect("it is positive"))
    };
    part(usage.user_time()) + part(usage.system_time())
}

/// The peak of this process since the last call, in MB.
fn peak_mb() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kb = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0);
    let _reset = fs::write("/proc/self/clear_refs", "5");
    kb / 1024
}

fn budget() -> Budget {
    Budget { time: Duration::from_secs(60), memory_bytes: 4 << 30 }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn backing(history: &ordeal_history::Report) -> String {
    match history.keys.first().map(|key| &key.certificate) {
        Some(Certificate::Order(order)) => format!("an order of {}", order.len()),
        Some(Certificate::Core(answered, open) | Certificate::CoreBehind(_, answered, open)) => {
            format!("a core of {}", answered.len() + open.len())
        }
        Some(Certificate::CoreOfWords(answered, open, words)) => {
            format!("a core of {} on {} words", answered.len() + open.len(), words.len())
        }
        Some(Certificate::None) | None => "nothing".to_owned(),
    }
}

/// Judges in memory, three times; the median.
fn in_memory(name: &str, history: &History) {
    let mut runs: Vec<(Duration, ordeal_history::Report)> = (0..3)
        .map(|_| {
            let start = cpu();
            let report = check(history, &budget(), &|_| {});
            (cpu() - start, report)
        })
        .collect();
    runs.sort_by_key(|run| run.0);
    let (time, report) = &runs[1];
    println!(
        "{name:<44} {:<8} {:>10.2} ms   backed by {}",
        report.verdict.to_string(),
        ms(*time),
        backing(report)
    );
}

fn from_file(name: &str, format: Format, how: &Loop) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("history");
    write_file(&path, format, &how.history("k"));
    peak_mb();
    let start = cpu();
    let loaded = load(&path, Some(format)).expect("what was written is read").loaded;
    let read = cpu() - start;
    let report = check(&loaded.history, &budget(), &|_| {});
    let all = cpu() - start;
    let verdict = report.verdict.to_string();
    println!(
        "{name:<44} {verdict:<8} {:>10.2} ms, of which {:.0} reading {} MB; peak {} MB; backed by {}",
        ms(all),
        ms(read),
        fs::metadata(&path).map_or(0, |meta| meta.len() >> 20),
        peak_mb(),
        backing(&report),
    );
}

fn unique(operations: usize, clients: u32, crashed: usize, is_stale: bool) -> Loop {
    Loop { mix: Mix::Unique, clients, operations, crashed, is_stale, seed: 7 }
}

/// 1,000 keys of few values, each judged for itself.
fn few_values() {
    let mut times: Vec<(Duration, Verdict)> = (0..1000)
        .map(|seed| {
            let how = Loop {
                mix: Mix::FiveValues,
                clients: 20,
                operations: 500,
                crashed: 50,
                is_stale: seed % 2 == 1,
                seed: seed * 2,
            };
            let history = how.history("k");
            let start = cpu();
            // The budget is of wall time, of which a busy machine gives a part only.
            let report = check(&history, &Budget { time: Duration::from_secs(4), ..budget() }, &|_| {});
            (cpu() - start, report.verdict)
        })
        .collect();
    times.sort_by_key(|run| run.0);
    let count = |verdict: Verdict| times.iter().filter(|run| run.1 == verdict).count();
    let in_time =
        times.iter().filter(|run| run.0 < Duration::from_secs(1) && run.1 != Verdict::Unknown).count();
    println!(
        "{:<44} within 1 s {in_time}, valid {}, invalid {}, unknown {}; median {:.2} ms, 99 of 100 within {:.2} ms, longest {:.2} ms",
        "few-values: 1,000 keys, 20 clients x 500",
        count(Verdict::Valid),
        count(Verdict::Invalid),
        count(Verdict::Unknown),
        ms(times[500].0),
        ms(times[989].0),
        ms(times[999].0),
    );
}

/// A run of a million operations as it goes.
fn online() {
    for keys in [1, 100] {
        let each = (0..keys).map(|key| unique(1_000_000 / keys, 100, 0, false).history(&format!("k{key}")));
        let mut all = History { operations: each.flat_map(|history| history.operations).collect() };
        (0..).zip(&mut all.operations).for_each(|(id, operation)| operation.id = OpId(id));
        let events = events_of(&all);
        let mut online = Online::default();
        let start = cpu();
        for event in &events {
            assert_eq!(online.push(event), None, "the run is without a fault");
        }
        let seconds = (cpu() - start).as_secs_f64();
        println!(
            "{:<44} {:.0} events/s, {} remembered at the end",
            format!("online: 1,000,000 operations, 100 clients a key, {keys} keys"),
            f64::from(u32::try_from(events.len()).expect("a few million")) / seconds,
            online.remembered(),
        );
    }
}

/// All files of a folder: together, and the longest.
fn folder(name: &str, files: &[PathBuf], format: Format, judge: fn(&History) -> Verdict) {
    if files.is_empty() {
        println!("{name:<44} skipped: no ../shared/data");
        return;
    }
    let mut times: Vec<(Duration, String, Verdict)> = files
        .iter()
        .filter_map(|path| {
            let file = path.file_name()?.to_string_lossy().into_owned();
            let history = match load(path, Some(format)) {
                Ok(imported) => imported.loaded.history,
                Err(error) => {
                    println!("  {file}: {error}");
                    return None;
                }
            };
            let mut runs: Vec<(Duration, Verdict)> = (0..5)
                .map(|_| {
                    let start = cpu();
                    let verdict = judge(&history);
                    (cpu() - start, verdict)
                })
                .collect();
            runs.sort_by_key(|run| run.0);
            Some((runs[2].0, file, runs[2].1))
        })
        .collect();
    times.sort_by_key(|run| run.0);
    let all: Duration = times.iter().map(|run| run.0).sum();
    let valid = times.iter().filter(|run| run.2 == Verdict::Valid).count();
    let longest =
        times.last().map_or_else(String::new, |(time, file, _)| format!("{file} {:.2} ms", ms(*time)));
    println!("{name:<44} {valid} of {} valid, {:.2} ms together, longest {longest}", times.len(), ms(all));
}

fn files(below: &str, ending: &str) -> Vec<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data").join(below);
    let mut files: Vec<PathBuf> = fs::read_dir(beside)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == ending))
        .collect();
    files.sort();
    files
}

fn appends_on_many_keys() -> History {
    let mut all = History::default();
    for key in 0..2_000 {
        let how =
            Loop { mix: Mix::Append, clients: 10, operations: 500, crashed: 5, is_stale: false, seed: key };
        all.operations.extend(how.history(&format!("k{key}")).operations);
    }
    (0..).zip(&mut all.operations).for_each(|(id, operation)| operation.id = OpId(id));
    all
}

/// That of the binary, so that the figures are those of `ordeal check`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    rayon::ThreadPoolBuilder::new().num_threads(1).build_global().expect("one core");
    let names: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let run = |name: &str, what: &dyn Fn()| {
        if names.is_empty() || names.iter().any(|wanted| name.starts_with(wanted.as_str())) {
            what();
        }
    };
    let append = |clients, operations| Loop {
        mix: Mix::Append,
        clients,
        operations,
        crashed: operations / 50,
        is_stale: false,
        seed: 3,
    };
    let cas = |is_stale| Loop { mix: Mix::UniqueCas, ..unique(1_000_000, 100, 50, is_stale) };
    run("million", &|| {
        from_file("million: binary file, valid", Format::Binary, &unique(1_000_000, 100, 50, false));
        from_file("million: binary file, one stale read", Format::Binary, &unique(1_000_000, 100, 50, true));
        from_file("million: JSON lines, valid", Format::Ordeal, &unique(1_000_000, 100, 50, false));
        in_memory("million: in memory", &unique(1_000_000, 100, 50, false).history("k"));
    });
    run("ten-million", &|| {
        from_file("ten-million: binary file", Format::Binary, &unique(10_000_000, 100, 50, false));
    });
    run("crashed", &|| {
        in_memory(
            "crashed: 3,000, 1,000 crashed, one stale read",
            &unique(3_000, 8, 1_000, true).history("k"),
        );
    });
    run("cas", &|| {
        in_memory("cas: 1,000,000, unique, valid", &cas(false).history("k"));
        in_memory("cas: 1,000,000, unique, one stale read", &cas(true).history("k"));
    });
    run("append", &|| {
        in_memory("append: 10 clients x 1,000 on one key", &append(10, 1_000).history("k"));
        in_memory("append: 1,000,000 on 2,000 keys", &appends_on_many_keys());
    });
    run("few-values", &few_values);
    run("online", &online);
    let alone = |history: &History| verdict(history, &budget());
    let explained = |history: &History| check(history, &budget(), &|_| {}).verdict;
    run("etcd", &|| {
        let logs = files("porcupine/etcd", "log");
        folder("etcd: Porcupine's logs, verdicts alone", &logs, Format::JepsenLog, alone);
        folder("etcd: the same, explained", &logs, Format::JepsenLog, explained);
    });
    run("kv", &|| {
        let logs = files("porcupine/kv", "txt");
        folder("kv: Porcupine's c01 and c10, explained", &logs, Format::PorcupineKv, explained);
    });
    run("knossos", &|| {
        folder("knossos: good", &files("knossos/good", "edn"), Format::Jepsen, explained);
        folder("knossos: bad, explained", &files("knossos/bad", "edn"), Format::Jepsen, explained);
    });
}
