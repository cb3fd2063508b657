//! What the map of a shard costs, against the standard library's ordered map in the same run:
//!
//! ```sh
//! cargo bench -p ordeal-node --bench state                      # a million keys with values of 100 bytes
//! cargo bench -p ordeal-node --bench state -- 100000 256        # so many keys, with values so long
//! ```

#![expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "a bench measures time")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ordeal_client::wire::{SessionId, ShardId, Version, shard_of};
use ordeal_node::kv::parts::Parts;
use ordeal_node::kv::{Item, Op};
use ordeal_node::shard::{Command, Machine};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64;

const SHARDS: u32 = 64;

/// What a shard would be without parts.
type Plain = BTreeMap<Vec<u8>, (Vec<u8>, Version)>;

fn main() {
    let numbers: Vec<usize> = std::env::args().filter_map(|word| word.parse().ok()).collect();
    let count = numbers.first().copied().unwrap_or(1_000_000);
    let value = vec![7; numbers.get(1).copied().unwrap_or(100)];
    let mut keys: Vec<Vec<u8>> = (0..count).map(|number| format!("key-{number}").into_bytes()).collect();
    keys.shuffle(&mut Pcg64::seed_from_u64(1));
    println!("{count} keys, values of {} bytes, 1/{SHARDS} of them in a map", value.len());
    maps(&keys, &value);
    machine(&keys, &value);
}

/// Puts, reads and overwrites in maps of a shard's size, in both kinds in turn.
fn maps(keys: &[Vec<u8>], value: &[u8]) {
    let version = Version { epoch: 1, index: 1 };
    let mut plain = vec![Plain::new(); SHARDS as usize];
    let mut parts: Vec<Parts> = vec![Parts::default(); SHARDS as usize];
    let place = |key: &[u8]| shard_of(key, SHARDS).0 as usize;
    for what in ["put new", "overwrite", "overwrite"] {
        let one = each(keys, |key| {
            drop(plain[place(key)].insert(key.clone(), (value.to_vec(), version)));
        });
        let other = each(keys, |key| drop(parts[place(key)].put(Item::new(key, value, version))));
        report(what, one, other);
    }
    let one = each(keys, |key| assert!(black_box(plain[place(key)].get(key)).is_some(), "it is there"));
    let other = each(keys, |key| assert!(black_box(parts[place(key)].find(key)).is_some(), "it is there"));
    report("find", one, other);
    let started = Instant::now();
    let copy = parts.clone();
    println!("copy of all parts: {:.2?}", started.elapsed());
    let mut slowest = Duration::ZERO;
    let after = each(keys, |key| {
        let started = Instant::now();
        drop(parts[place(key)].put(Item::new(key, value, version)));
        slowest = slowest.max(started.elapsed());
    });
    println!("overwrite beside a copy: {after:.0?} each, the slowest {slowest:.1?}");
    drop(copy);
}

/// The whole machine: apply, a snapshot, a restore.
fn machine(keys: &[Vec<u8>], value: &[u8]) {
    let mut machine = Machine::new(SHARDS, (0..SHARDS).map(ShardId));
    let opened = (0..SHARDS).map(|shard| Command::OpenSession { shard: ShardId(shard) }.encode());
    let mut sequences = vec![0; SHARDS as usize];
    let write = |key: &Vec<u8>| {
        let shard = shard_of(key, SHARDS);
        let sequence = &mut sequences[shard.0 as usize];
        *sequence += 1;
        let (sequence, settled) = (*sequence, *sequence - 1);
        let session = SessionId(u64::from(shard.0) + 1);
        let op = Op::Put(value);
        Command::Write { shard, session, sequence, settled, key, op }.encode()
    };
    let opened: Vec<Arc<[u8]>> = opened.collect();
    let commands: Vec<Arc<[u8]>> = keys.iter().map(write).collect();
    let mut apply = |command: &Arc<[u8]>| drop(black_box(machine.apply(machine.applied() + 1, command)));
    opened.iter().for_each(&mut apply);
    println!("apply: {:.0?} each", each(&commands, &mut apply));
    let mut ahead = Machine::new(SHARDS, (0..SHARDS).map(ShardId));
    opened.iter().for_each(|command| drop(ahead.apply(ahead.applied() + 1, command)));
    let started = Instant::now();
    for some in commands.chunks(64) {
        black_box(ahead.look_ahead(some.iter().map(|command| &**command)));
        some.iter().for_each(|command| drop(black_box(ahead.apply(ahead.applied() + 1, command))));
    }
    let each = started.elapsed() / u32::try_from(commands.len()).expect("a count of keys");
    println!("apply, looking ahead at 64: {each:.0?} each");
    assert!(ahead == machine, "the same state");
    let started = Instant::now();
    let snapshot: Arc<[u8]> = machine.snapshot().into();
    println!("snapshot: {:.0?}, {} bytes", started.elapsed(), snapshot.len());
    let started = Instant::now();
    let restored = Machine::restore(&snapshot).expect("our own");
    println!("restore: {:.0?}", started.elapsed());
    assert!(restored == machine, "the same state");
}

fn each<T>(of: &[T], what: impl FnMut(&T)) -> Duration {
    let started = Instant::now();
    of.iter().for_each(what);
    started.elapsed() / u32::try_from(of.len().max(1)).expect("a count of keys")
}

fn report(what: &str, plain: Duration, parts: Duration) {
    let ratio = parts.as_secs_f64() / plain.as_secs_f64();
    println!("{what}: BTreeMap {plain:.0?}, parts {parts:.0?}, {ratio:.2} of it");
}
