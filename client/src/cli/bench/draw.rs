//! Which operation is next: drawn from a seed, so that two benches with the same flags ask for the same things.

use std::io::Write;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg32;

use super::{BenchArgs, Distribution};

/// Reads or writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Read,
    Write,
}

/// Makes `key` the one with this number.
pub(super) fn key_into(number: u32, key: &mut Vec<u8>) {
    key.clear();
    write!(key, "bench-{number}").expect("a vector grows");
}

/// The operations of one client, one after the other.
#[derive(Debug)]
pub(super) struct Draw {
    chance: Pcg32,
    reads: f64,
    keys: u32,
    zipf: Option<Zipf>,
}

impl Draw {
    /// One draw a client; their seeds are drawn from that of the bench.
    pub(super) fn all(args: &BenchArgs) -> Vec<Draw> {
        let mut seeds = Pcg32::seed_from_u64(args.seed);
        let zipf = match args.distribution {
            Distribution::Uniform => None,
            Distribution::Zipf => Some(Zipf::new(args.keys)),
        };
        let one = |_| Draw {
            chance: Pcg32::seed_from_u64(seeds.random()),
            reads: args.reads,
            keys: args.keys,
            zipf,
        };
        (0..args.clients).map(one).collect()
    }

    /// The next operation: what, and on which key.
    pub(super) fn operation(&mut self) -> (Kind, u32) {
        let kind = if self.chance.random_bool(self.reads) { Kind::Read } else { Kind::Write };
        let key = match self.zipf {
            None => self.chance.random_range(0..self.keys),
            Some(zipf) => zipf.draw(&mut self.chance),
        };
        (kind, key)
    }

    /// A value of so many bytes.
    pub(super) fn value(&mut self, bytes: usize) -> Vec<u8> {
        (0..bytes).map(|_| self.chance.random()).collect()
    }
}

/// Zipf's law on 0..count, by rejection-inversion (Hörmann and Derflinger, 1996): no table, about one draw a number.
///
/// The area under x^-s is inverted in place of the sum; what lies between the curve and the steps is drawn again.
#[derive(Debug, Clone, Copy)]
struct Zipf {
    count: f64,
    area_first: f64,
    area_last: f64,
    /// So close below a number, no comparison is needed.
    shortcut: f64,
}

/// The exponent that YCSB uses, so that figures can be compared.
const EXPONENT: f64 = 0.99;

impl Zipf {
    fn new(count: u32) -> Zipf {
        let count = f64::from(count);
        Zipf {
            count,
            area_first: area(1.5) - 1.0,
            area_last: area(count + 0.5),
            shortcut: 2.0 - area_inverse(area(2.5) - height(2.0)),
        }
    }

    fn draw(self, chance: &mut Pcg32) -> u32 {
        loop {
            let target = self.area_last + chance.random::<f64>() * (self.area_first - self.area_last);
            let x = area_inverse(target);
            let rank = x.round().clamp(1.0, self.count);
            if rank - x <= self.shortcut || target >= area(rank + 0.5) - height(rank) {
                return whole(rank) - 1;
            }
        }
    }
}

fn height(x: f64) -> f64 {
    x.powf(-EXPONENT)
}

/// The area under `height` from 1 to `x`.
fn area(x: f64) -> f64 {
    (x.powf(1.0 - EXPONENT) - 1.0) / (1.0 - EXPONENT)
}

fn area_inverse(area: f64) -> f64 {
    (1.0 + area * (1.0 - EXPONENT)).powf(1.0 / (1.0 - EXPONENT))
}

#[expect(clippy::cast_possible_truncation, reason = "a rank is whole, at least 1 and at most a u32")]
fn whole(rank: f64) -> u32 {
    rank as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWS: u32 = 100_000;

    #[test]
    fn zipf_draws_each_number_as_often_as_its_law_says() {
        for count in [1, 2, 10, 100] {
            let zipf = Zipf::new(count);
            let mut chance = Pcg32::seed_from_u64(7);
            let mut seen = vec![0_u32; usize::try_from(count).expect("few")];
            for _ in 0..DRAWS {
                seen[usize::try_from(zipf.draw(&mut chance)).expect("few")] += 1;
            }
            let sum: f64 = (1..=count).map(|rank| height(f64::from(rank))).sum();
            for (rank, &seen) in (1..=count).zip(&seen) {
                let expected = f64::from(DRAWS) * height(f64::from(rank)) / sum;
                // 5 standard deviations of a count.
                let slack = 5.0 * expected.sqrt();
                assert!(
                    (f64::from(seen) - expected).abs() <= slack,
                    "{rank} of {count}: {seen}, not {expected}"
                );
            }
        }
    }

    #[test]
    fn zipf_stays_within_the_keys_however_many() {
        let zipf = Zipf::new(10_000_000);
        let mut chance = Pcg32::seed_from_u64(7);
        let greatest = (0..DRAWS).map(|_| zipf.draw(&mut chance)).max();
        assert!((1_000_000..10_000_000).contains(&greatest.expect("drawn")), "{greatest:?}");
    }
}
