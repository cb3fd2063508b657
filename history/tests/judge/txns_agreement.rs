//! Random histories of transactions: the judge, its cores and its names against all orders.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ordeal_history::linear::{Entry, all_orders, replay};
use ordeal_history::models::{Compare, SequentialSpec, Store, Test, Told, Txn, TxnOp};
use ordeal_history::txn_model::TxnModel;
use ordeal_history::{
    Answer, Budget, Call, Certificate, Claim, ClientId, History, KeyEntry, KeyTxn, KeyTxnRet, OpId,
    Operation, Outcome, Report, Value, Verdict, Version, check,
};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

/// What of a world goes into its histories.
#[derive(Clone, Copy)]
struct Recipe {
    operations: u64,
    has_versions: bool,
    lies: u32,
}

struct World {
    random: Pcg64,
    store: Store<Value, Value>,
    history: Vec<Operation>,
    /// Versions that were told, of each key.
    told: Vec<(Value, Version)>,
    now: u64,
}

/// A client waits: for its effect, and then for its answer.
enum Waits {
    Effect(usize),
    Answer(usize, KeyTxnRet),
}

fn value(random: &mut Pcg64) -> Value {
    Value::from(["1", "2", "3"][random.random_range(0..3)])
}

fn key(random: &mut Pcg64) -> Value {
    Value::from(["a", "b"][random.random_range(0..2)])
}

fn ops(random: &mut Pcg64, most: usize) -> Vec<TxnOp<Value, Value>> {
    let count = random.random_range(0..=most);
    (0..count)
        .map(|_| match random.random_range(0..8) {
            0..4 => TxnOp::Get(key(random)),
            4..6 => TxnOp::Put(key(random), value(random)),
            6 => TxnOp::Append(key(random), value(random)),
            _ => TxnOp::Delete(key(random)),
        })
        .collect()
}

impl World {
    fn txn(&mut self) -> KeyTxn {
        let random = &mut self.random;
        if random.random_range(0..4) == 0 {
            let then = vec![TxnOp::Get("a".into()), TxnOp::Get("b".into())];
            return Txn { compares: vec![], then, or_else: vec![] };
        }
        let compares = (0..random.random_range(0..3)).map(|_| {
            let (key, value) = (key(random), random.random_bool(0.8).then(|| value(random)));
            match random.random_range(0..4) {
                0 if !self.told.is_empty() => {
                    let (key, version) = self.told[random.random_range(0..self.told.len())].clone();
                    Compare { key, test: Test::HasVersion(version) }
                }
                1 => Compare { key, test: Test::IsNot(value) },
                _ => Compare { key, test: Test::Is(value) },
            }
        });
        Txn { compares: compares.collect(), then: ops(random, 3), or_else: ops(random, 2) }
    }

    fn play(mut self, recipe: &Recipe) -> History {
        let mut clients: BTreeMap<u32, Option<Waits>> = (0..3).map(|client| (client, None)).collect();
        let mut fresh = 3;
        while (self.history.len() as u64) < recipe.operations || clients.values().any(Option::is_some) {
            self.now += 1;
            let at = self.random.random_range(0..clients.len());
            let (client, waits) = clients.iter_mut().nth(at).expect("one of them");
            let client = *client;
            *waits = match waits.take() {
                None if self.history.len() as u64 == recipe.operations => None,
                None => Some(Waits::Effect(self.call(client))),
                Some(Waits::Effect(at)) => {
                    let Call::Txn(txn) = self.history[at].call.clone() else { panic!("a transaction") };
                    let is_crashed = self.random.random_range(0..6) == 0;
                    let ret = (!is_crashed || self.random.random_bool(0.5)).then(|| self.store.invoke(&txn));
                    if is_crashed {
                        clients.remove(&client);
                        clients.insert(fresh, None);
                        fresh += 1;
                        continue;
                    }
                    Some(Waits::Answer(at, ret.expect("one that did not crash")))
                }
                Some(Waits::Answer(at, ret)) => {
                    self.answer(at, ret, recipe);
                    None
                }
            };
        }
        History { operations: self.history }
    }

    fn call(&mut self, client: u32) -> usize {
        let call = Call::Txn(Box::new(self.txn()));
        let (id, client, key) = (OpId(self.history.len() as u64), ClientId(client), Arc::from("{t}"));
        let operation = Operation { id, client, key, call, invoked_ns: self.now, returned: None, node: None };
        self.history.push(operation);
        self.history.len() - 1
    }

    fn answer(&mut self, at: usize, mut ret: KeyTxnRet, recipe: &Recipe) {
        let Call::Txn(txn) = &self.history[at].call else { panic!("a transaction") };
        for (op, told) in txn.branch(ret.succeeded).iter().zip(&mut ret.told) {
            let version = match told {
                Told::Value(Some((_, version))) => version,
                Told::Made(version) => version,
                Told::Value(None) => continue,
            };
            match version {
                Some(version) if recipe.has_versions => self.told.push((op.key().clone(), *version)),
                _ => *version = None,
            }
        }
        let answer = Answer::Txn(Box::new(ret));
        self.history[at].returned = Some((self.now, Outcome::Ok(answer, Claim::default())));
    }
}

/// Another branch, or another value where one was told.
fn lie(random: &mut Pcg64, history: &mut History) {
    let at = random.random_range(0..history.operations.len());
    let operation = &mut history.operations[at];
    let (Call::Txn(txn), Some((_, Outcome::Ok(Answer::Txn(ret), _)))) =
        (&operation.call, &mut operation.returned)
    else {
        return;
    };
    if random.random_bool(0.3) {
        ret.succeeded = !ret.succeeded;
        let told = txn.branch(ret.succeeded).iter().map(|op| match op {
            TxnOp::Get(_) => Told::Value(random.random_bool(0.7).then(|| (value(random), None))),
            TxnOp::Put(..) | TxnOp::Append(..) | TxnOp::Delete(_) => Told::Made(None),
        });
        ret.told = told.collect();
        return;
    }
    for told in &mut ret.told {
        match told {
            Told::Value(Some((seen, _))) if random.random_bool(0.5) => *seen = value(random),
            Told::Value(None) if random.random_bool(0.3) => *told = Told::Value(Some((value(random), None))),
            Told::Value(_) | Told::Made(_) => {}
        }
    }
}

fn drawn(recipe: &Recipe, seed: u64) -> History {
    let world = World {
        random: Pcg64::seed_from_u64(seed),
        store: Store::default(),
        history: vec![],
        told: vec![],
        now: 0,
    };
    let mut history = world.play(recipe);
    let mut random = Pcg64::seed_from_u64(seed ^ 0x11e);
    (0..random.random_range(0..=recipe.lies)).for_each(|_| lie(&mut random, &mut history));
    history
}

fn trace_of(history: &History) -> Vec<KeyEntry> {
    let entry = |operation: &Operation| Entry {
        op: operation.call.clone(),
        called: operation.invoked_ns,
        returned: operation.answered_ns().zip(operation.answer().cloned()),
    };
    history.operations.iter().map(entry).collect()
}

fn judge(history: &History, memory_bytes: usize) -> Report {
    check(history, &Budget { time: Duration::from_secs(20), memory_bytes }, &|_| {})
}

/// An order replays; a core has no order.
fn confirm(history: &History, certificate: &Certificate) -> bool {
    match certificate {
        Certificate::Order(order) => {
            let order: Vec<usize> = order.iter().map(|id| usize::try_from(id.0).expect("small")).collect();
            replay(&TxnModel::default(), &trace_of(history), &order)
                .expect("an order that explains all answers");
        }
        Certificate::None => return false,
        core => {
            let entries = core.core(history).expect("operations that are there");
            let entries: Vec<KeyEntry> = entries.into_iter().map(|(_, entry)| entry).collect();
            assert!(!all_orders(&TxnModel::default(), &entries), "{core:?} of {history:#?}");
        }
    }
    true
}

/// Counts of valid, invalid, and of invalid ones with a core.
fn round(recipe: Recipe, seeds: std::ops::Range<u64>) -> (usize, usize, usize) {
    let (mut valid, mut invalid, mut backed) = (0, 0, 0);
    for seed in seeds {
        let history = drawn(&recipe, seed);
        let has_order = all_orders(&TxnModel::default(), &trace_of(&history));
        assert!(has_order || recipe.lies > 0, "seed {seed}: the generator is wrong: {history:#?}");
        let report = judge(&history, 1 << 28);
        if report.sentence().contains("no answer had told") {
            assert!(recipe.has_versions && recipe.lies > 0, "seed {seed}: {report:#?}");
            continue;
        }
        let verdict = if has_order { Verdict::Valid } else { Verdict::Invalid };
        assert_eq!(report.verdict, verdict, "seed {seed}: {report:#?}\n{history:#?}");
        let is_backed = confirm(&history, &report.keys[0].certificate);
        assert!(is_backed || !has_order, "seed {seed}");
        // Without memory there is no search: what a name says alone must be a proof.
        let named = judge(&history, 0);
        assert!(named.verdict != Verdict::Invalid || !has_order, "seed {seed}: {named:#?}\n{history:#?}");
        valid += usize::from(has_order);
        invalid += usize::from(!has_order);
        backed += usize::from(!has_order && is_backed);
    }
    (valid, invalid, backed)
}

/// So many histories against all orders: `ORDEAL_HISTORIES=10000000` for the long version.
fn histories() -> u64 {
    std::env::var("ORDEAL_HISTORIES").ok().and_then(|count| count.parse().ok()).unwrap_or(60_000)
}

#[test]
fn it_agrees_with_all_orders() {
    for operations in 2..=7 {
        for has_versions in [false, true] {
            let seeds = 0..histories() / 30;
            let (valid, invalid, backed) = round(Recipe { operations, has_versions, lies: 3 }, seeds);
            assert!(valid > 300 && invalid > 100, "{operations}: {valid} valid, {invalid} invalid");
            assert!(backed * 10 > invalid * 9, "{operations}: {backed} of {invalid} have a core");
        }
    }
}

#[test]
fn what_a_store_did_has_an_order() {
    for has_versions in [false, true] {
        round(Recipe { operations: 9, has_versions, lies: 0 }, 0..histories() / 60);
    }
}
