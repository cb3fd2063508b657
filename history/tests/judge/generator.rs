//! Random small histories: a simulated key with random moments of effect, so that they can be explained, and mutations
//! of them, which often cannot.

use std::sync::Arc;

use ordeal_history::model::KeyModel;
use ordeal_history::{Answer, Call, Claim, ClientId, History, OpId, Operation, Outcome, Value};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use stateright::semantics::SequentialSpec;

/// What the clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mix {
    /// Reads and writes, each value written once.
    UniqueWrites,
    /// Reads, writes, compare-and-sets and deletes of three values.
    FewValues,
    /// Reads and compare-and-sets of values set once.
    UniqueCas,
    /// Reads and appends of words.
    Words,
    /// Reads and appends of texts that begin with each other, so that a value can be taken apart in several ways.
    Texts,
    /// Reads and appends of words, and a few calls that set or remove the value: the same words once more, at times.
    WordsAndDeletes,
    /// Everything.
    All,
}

pub const MIXES: [Mix; 7] = [
    Mix::UniqueWrites,
    Mix::FewValues,
    Mix::UniqueCas,
    Mix::Words,
    Mix::Texts,
    Mix::WordsAndDeletes,
    Mix::All,
];

/// What a history is to be like.
#[derive(Debug, Clone, Copy)]
pub struct Recipe {
    pub mix: Mix,
    pub clients: u32,
    pub operations: u64,
    /// Of ten operations, so many never get an answer.
    pub crashed_of_ten: u32,
    /// Times are drawn from so small a range that many are equal.
    pub pause_max: u64,
}

struct Draft {
    operation: Operation,
    /// When it takes effect; `None`: never.
    effect_ns: Option<u64>,
}

/// A history that can be explained.
pub fn valid(recipe: &Recipe, seed: u64) -> History {
    let mut random = Pcg64::seed_from_u64(seed);
    let mut now = vec![0_u64; recipe.clients as usize];
    let mut drafts: Vec<Draft> = Vec::new();
    for number in 0..recipe.operations {
        let client = random.random_range(0..recipe.clients);
        let clock = &mut now[client as usize];
        let mut later = |from: u64| from + random.random_range(0..=recipe.pause_max);
        let invoked_ns = later(*clock);
        let effect_ns = later(invoked_ns);
        let returned_ns = later(effect_ns);
        *clock = returned_ns;
        let call = call_of(recipe.mix, number, &mut random);
        let is_crashed = random.random_range(0..10) < recipe.crashed_of_ten;
        let effect_ns = match (is_crashed, random.random_range(0..3)) {
            (true, 0) => None,
            (true, 1) => Some(effect_ns + random.random_range(0..30)),
            (true, _) | (false, _) => Some(effect_ns),
        };
        let outcome = match (is_crashed, effect_ns, random.random_bool(0.5)) {
            (true, None, true) => Some(Outcome::Failed("refused".to_owned())),
            (true, _, true) => Some(Outcome::Unknown("timeout".to_owned())),
            (true, _, false) => None,
            (false, ..) => Some(Outcome::Ok(Answer::Done, Claim::default())),
        };
        let operation = Operation {
            id: OpId(0),
            client: ClientId(client),
            key: Arc::from("k"),
            call,
            invoked_ns,
            returned: outcome.map(|outcome| (returned_ns, outcome)),
            node: None,
        };
        drafts.push(Draft { operation, effect_ns });
    }
    apply(&mut drafts, &mut random);
    let mut operations: Vec<Operation> = drafts.into_iter().map(|draft| draft.operation).collect();
    operations.sort_by_key(|operation| operation.invoked_ns);
    (0..).zip(&mut operations).for_each(|(id, operation)| operation.id = OpId(id));
    History { operations }
}

/// Fills in the answers.
fn apply(drafts: &mut [Draft], random: &mut Pcg64) {
    let mut order: Vec<usize> = (0..drafts.len()).collect();
    order.sort_by_cached_key(|&at| (drafts[at].effect_ns, random.random::<u32>()));
    let mut model = KeyModel::default();
    for at in order {
        if drafts[at].effect_ns.is_none() {
            continue;
        }
        let operation = &mut drafts[at].operation;
        let mut truth = model.invoke(&operation.call);
        if matches!(truth, Answer::CasFailed(_) | Answer::CasFailedAbsent) && random.random_range(0..4) == 0 {
            truth = Answer::CasFailed(None);
        }
        if let Some((_, Outcome::Ok(answer, _))) = &mut operation.returned {
            *answer = truth;
        }
    }
}

fn few(random: &mut Pcg64) -> Value {
    Value::from(["a", "b", "c"][random.random_range(0..3)])
}

fn few_or_absent(random: &mut Pcg64) -> Option<Value> {
    (random.random_range(0..4) > 0).then(|| few(random))
}

fn call_of(mix: Mix, number: u64, random: &mut Pcg64) -> Call {
    let own = Value::from(format!("v{number}"));
    let word = Value::from(format!("w{number},"));
    let roll = random.random_range(0..10);
    match (mix, roll) {
        (_, 0..4) => Call::Read,
        (Mix::UniqueWrites, _) => Call::Write(own),
        (Mix::FewValues, 4..7) => Call::Write(few(random)),
        (Mix::FewValues, 7..9) => Call::Cas { expected: few_or_absent(random), new: few(random) },
        (Mix::FewValues, _) => Call::Delete,
        (Mix::UniqueCas, 4..6) => Call::Write(own),
        (Mix::UniqueCas, _) => {
            let guess = (number > 0).then(|| random.random_range(0..number));
            Call::Cas { expected: guess.map(|at| Value::from(format!("v{at}"))), new: own }
        }
        (Mix::Texts, _) => Call::Append(Value::from(format!("{:b}", number + 1))),
        (Mix::Words, _) | (Mix::WordsAndDeletes, 4..7) => Call::Append(word),
        (Mix::WordsAndDeletes, 7) => {
            Call::Write(Value::from(format!("w{},", random.random_range(0..=number))))
        }
        (Mix::WordsAndDeletes, 8) => Call::Cas { expected: None, new: word },
        (Mix::WordsAndDeletes, _) => Call::Delete,
        (Mix::All, 4..6) => Call::Append(few(random)),
        (Mix::All, 6..8) => Call::Write(few(random)),
        (Mix::All, 8) => Call::Cas { expected: few_or_absent(random), new: few(random) },
        (Mix::All, _) => Call::Delete,
    }
}

/// Takes the answers of so many operations away that are no reads: they took effect, but nobody was told.
pub fn forget(history: &mut History, count: usize, seed: u64) {
    let mut random = Pcg64::seed_from_u64(seed);
    let is_write = |operation: &Operation| operation.answer().is_some() && operation.call != Call::Read;
    for _ in 0..count {
        let writes: Vec<usize> =
            (0..history.operations.len()).filter(|&at| is_write(&history.operations[at])).collect();
        let at = writes[random.random_range(0..writes.len())];
        let returned_ns = history.operations[at].answered_ns().expect("it was answered");
        history.operations[at].returned = Some((returned_ns, Outcome::Unknown("timeout".to_owned())));
    }
}

/// Gives the last read an answer that one of the first reads got and that differs from its own: where every value is
/// written once, it is stale.
pub fn make_stale(history: &mut History) {
    let is_read = |operation: &&Operation| operation.call == Call::Read && operation.answer().is_some();
    let late = history.operations.iter().rposition(|operation| is_read(&operation)).expect("a read");
    let own = history.operations[late].answer().cloned();
    let reads = history.operations.iter().filter(is_read).filter_map(Operation::answer);
    let early = reads.skip(3).find(|&answer| Some(answer) != own.as_ref()).cloned();
    if let (Some((_, Outcome::Ok(answer, _))), Some(early)) = (&mut history.operations[late].returned, early)
    {
        *answer = early;
    }
}

/// Changes one thing: an answer for one that another operation got or could get, or a time.
pub fn mutate(history: &mut History, seed: u64) {
    let mut random = Pcg64::seed_from_u64(seed);
    let at = random.random_range(0..history.operations.len());
    let other = random.random_range(0..history.operations.len());
    let strange = match &history.operations[other].call {
        Call::Write(value) | Call::Append(value) | Call::Cas { new: value, .. } => Some(value.clone()),
        Call::Read | Call::Delete | Call::Txn(_) => None,
    };
    let borrowed = history.operations[other].answer().cloned();
    let operation = &mut history.operations[at];
    let Some((returned_ns, Outcome::Ok(answer, _))) = &mut operation.returned else { return };
    match (random.random_range(0..6), &operation.call) {
        (0, _) => *returned_ns = operation.invoked_ns,
        (_, Call::Read) => {
            let is_borrowed = random.random_bool(0.7);
            *answer = match borrowed.filter(|borrowed| is_borrowed && borrowed.fits(&Call::Read)) {
                Some(borrowed) => borrowed,
                None => Answer::Value(strange),
            };
        }
        (_, Call::Cas { .. }) => {
            *answer = match random.random_range(0..4) {
                0 => Answer::CasDone,
                1 => Answer::CasFailedAbsent,
                _ => Answer::CasFailed(strange),
            };
        }
        (_, Call::Write(_) | Call::Append(_) | Call::Delete | Call::Txn(_)) => {}
    }
}
