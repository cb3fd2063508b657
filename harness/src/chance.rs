//! Where chance comes from: one seed, and a stream of its own for every use, so that one more draw here changes nothing
//! there.

use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;

/// A use of chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Which faults, when, on whom.
    Faults,
    /// Operations of the client thread with this number.
    Lane(u32),
    /// The id of the cluster.
    Cluster,
    /// What befalls the frames of one directed way of a proxy.
    Way(u32),
    /// The script of a scenario.
    Script,
    /// Jitter in the retries of the client with this number.
    Retries(u32),
}

/// A generator for one use.
#[must_use]
pub fn generator(seed: u64, stream: Stream) -> Pcg64Mcg {
    Pcg64Mcg::seed_from_u64(derive(seed, stream))
}

/// A seed for one use, for whoever makes a generator of its own.
#[must_use]
pub fn derive(seed: u64, stream: Stream) -> u64 {
    let number = match stream {
        Stream::Faults => 1,
        Stream::Cluster => 2,
        Stream::Script => 3,
        Stream::Way(way) => (3 << 32) | u64::from(way),
        Stream::Lane(lane) => (1 << 32) | u64::from(lane),
        Stream::Retries(client) => (2 << 32) | u64::from(client),
    };
    // The finaliser of SplitMix64: neighbouring seeds and streams end far apart.
    let mut z = seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A seed for those who name none.
#[must_use]
pub fn fresh_seed() -> u64 {
    // Six digits can be read out, and are more than anybody runs.
    fresh() % 1_000_000
}

/// The id of a new cluster.
#[must_use]
pub fn fresh_cluster_id() -> u64 {
    fresh()
}

/// The randomness that the standard library seeds its hash maps with: the system's.
fn fresh() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}
