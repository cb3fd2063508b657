//! Clients that write or read beside a script, without pause or nearly so, until it ends.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ordeal_history::{Call, Outcome, Value};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::groups::Book;
use super::hands::{Hand, is_ok};
use super::stage::Stage;
use super::{Halt, Step};
use crate::chance::{Stream, derive};
use crate::latch::Latch;

/// What such clients do.
#[derive(Debug, Clone)]
pub(super) struct Habit {
    /// How many there are.
    pub(super) clients: usize,
    /// Between two operations of one of them.
    pub(super) pause: Duration,
    /// Of what.
    pub(super) keys: Vec<String>,
    /// What they do there.
    pub(super) kind: Kind,
    /// How long each waits for an answer.
    pub(super) patience: Duration,
}

/// What clients do beside a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Each appends to a key of its own.
    Append,
    /// Puts, appends and gets of any of the keys, by chance.
    Anything,
    /// Puts of any of the keys, and gets.
    PutAndGet,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// Operations with an answer.
    pub(super) answered: u64,
    /// Those that ended without one.
    pub(super) unanswered: u64,
    /// What each key must hold, of those with one client and no operation without an answer.
    pub(super) book: Book,
    /// The longest that an operation took.
    pub(super) longest: Duration,
}

/// How patient clients of the suite are: they never give up. Beyond this a store is not there.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

impl Habit {
    /// Ten clients that append each to a key of its own.
    pub(super) fn ten_append(keys: Vec<String>, pause_ms: u64) -> Habit {
        let pause = Duration::from_millis(pause_ms);
        Habit { clients: 10, pause, keys, kind: Kind::Append, patience: PATIENCE }
    }
}

impl Stage<'_> {
    /// Plays a part of the script beside such clients. Each of their operations must be answered: a shard that moves, a group that is
    /// killed and started are things that they wait out.
    pub(super) fn beside(&mut self, habit: &Habit, script: impl FnOnce(&mut Self) -> Step) -> Step<Done> {
        let mut hands = Vec::new();
        for number in 0..habit.clients {
            let seed =
                derive(self.kit.seed, Stream::Retries(u32::MAX / 2 + u32::try_from(number).unwrap_or(0)));
            hands.push((self.kit.hand(habit.patience)?, Pcg64Mcg::seed_from_u64(seed)));
        }
        let (over, sum) = (Latch::new(), Sum::default());
        std::thread::scope(|scope| -> Step {
            let mut threads = Vec::new();
            for (number, (hand, rng)) in hands.into_iter().enumerate() {
                let client = Client { number, hand, rng, habit, sum: &sum };
                let over = &over;
                threads.push(scope.spawn(move || client.run(over)));
            }
            let played = script(self);
            over.set();
            let ended: Vec<Step> =
                threads.into_iter().map(|thread| thread.join().unwrap_or(Err(Halt::Stopped))).collect();
            played.and_then(|()| ended.into_iter().collect())
        })?;
        self.check()?;
        let done = sum.done();
        let least = habit.clients as f64 * ANSWERS_MIN;
        self.at_least("operations answered beside it", done.answered as f64, least, "");
        self.at_most("operations without an answer", done.unanswered as f64, 0.0, "");
        self.note("longest operation", super::stage::ms(done.longest), "ms");
        Ok(done)
    }
}

/// Each client got so many answers, or hardly anything was tried.
const ANSWERS_MIN: f64 = 10.0;

#[derive(Default)]
struct Sum {
    answered: AtomicU64,
    unanswered: AtomicU64,
    longest_us: AtomicU64,
    book: Mutex<Book>,
}

impl Sum {
    fn done(self) -> Done {
        Done {
            answered: self.answered.into_inner(),
            unanswered: self.unanswered.into_inner(),
            longest: Duration::from_micros(self.longest_us.into_inner()),
            book: self.book.into_inner().unwrap_or_default(),
        }
    }

    fn note(&self, outcome: &Outcome, since: Instant) {
        let count = if is_ok(outcome) { &self.answered } else { &self.unanswered };
        count.fetch_add(1, Ordering::Relaxed);
        let took = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.longest_us.fetch_max(took, Ordering::Relaxed);
    }
}

struct Client<'a> {
    number: usize,
    hand: Hand,
    rng: Pcg64Mcg,
    habit: &'a Habit,
    sum: &'a Sum,
}

impl Client<'_> {
    fn run(mut self, over: &Latch) -> Step {
        let (mut said, mut all_said) = (String::new(), true);
        let own = self.habit.keys[self.number % self.habit.keys.len()].clone();
        for turn in 0u64.. {
            if over.wait(self.habit.pause) {
                break;
            }
            let word = format!("c{}-{turn},", self.number);
            let (key, call) = self.draw(&own, &word);
            let since = Instant::now();
            let outcome = self.hand.ask(&key, &call)?;
            self.sum.note(&outcome, since);
            all_said &= is_ok(&outcome);
            said.push_str(&word);
        }
        if self.habit.kind == Kind::Append && all_said {
            let mut book = self.sum.book.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            book.0.insert(own, said);
        }
        Ok(())
    }

    fn draw(&mut self, own: &str, word: &str) -> (String, Call) {
        let of = |text: &str| Value::from(text.to_owned());
        let at = self.rng.random_range(0..self.habit.keys.len());
        let any = self.habit.keys[at].clone();
        let roll = self.rng.random_range(0..100);
        match self.habit.kind {
            Kind::Append => (own.to_owned(), Call::Append(of(word))),
            // suite: one third each, about.
            Kind::Anything if roll < 40 => (any, Call::Append(of(word))),
            Kind::Anything if roll < 50 => (any, Call::Write(of(word))),
            Kind::PutAndGet if roll < 50 => (any, Call::Write(of(word))),
            Kind::Anything | Kind::PutAndGet => (any, Call::Read),
        }
    }
}
