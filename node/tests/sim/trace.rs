//! What happened in a world, as one number: the same seed must give the same number. With `ORDEAL_SIM_TRACE=1` also as
//! lines on stderr, to read along with a failing seed.

use ordeal_node::kv::digest;

/// The course of a world.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    events: u64,
    print: bool,
}

impl Trace {
    pub fn new() -> Self {
        Trace { hash: 0, events: 0, print: std::env::var_os("ORDEAL_SIM_TRACE").is_some() }
    }

    /// Notes an event: numbers that tell it from all others, and words for a person.
    pub fn note(&mut self, now_us: u64, numbers: &[u64], words: impl FnOnce() -> String) {
        self.hash = digest::mix(&[self.hash, now_us, digest::mix(numbers)]);
        self.events += 1;
        if self.print {
            eprintln!("{:>12.6} {}", now_us as f64 / 1e6, words());
        }
    }

    /// The number.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// How many events were noted.
    pub fn events(&self) -> u64 {
        self.events
    }
}
