//! What happened in a world, as one number: the same seed must give the same number. With `--trace` also as lines on
//! stderr, to read along with a failing seed.

/// The course of a world.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    events: u64,
    print: bool,
}

impl Trace {
    /// One that prints, or only counts.
    pub fn new(print: bool) -> Self {
        Trace { hash: 0, events: 0, print }
    }

    /// Notes an event: numbers that tell it from all others, and words for a person.
    pub fn note(&mut self, now_us: u64, numbers: &[u64], words: impl FnOnce() -> String) {
        self.stir(now_us);
        numbers.iter().for_each(|&number| self.stir(number));
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

    /// As the hash of rustc does it: a word costs a multiplication, and nobody attacks us here.
    fn stir(&mut self, word: u64) {
        self.hash = (self.hash.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}
