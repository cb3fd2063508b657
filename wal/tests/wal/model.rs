//! Random scripts of appends, syncs, reads, releases and new lives, against a list of what was promised.

use crate::common::{copy, options};
use ordeal_wal::{Options, Position, Record, SyncMode, Wal, WalError};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    Append {
        kind: u8,
        length: usize,
    },
    Sync,
    /// The record at this share of all of them stays, with what is behind it.
    Release {
        percent: usize,
    },
    /// Dies without a word, and lives again.
    Reopen,
    /// A copy of the directory is opened, as after a crash right now; the log goes on.
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let length = prop_oneof![8 => 0usize..300, 3 => 3000usize..9000, 1 => 40_000usize..120_000];
    let step = prop_oneof![
        8 => (any::<u8>(), length).prop_map(|(kind, length)| Step::Append { kind, length }),
        4 => Just(Step::Sync),
        1 => (0usize..=100).prop_map(|percent| Step::Release { percent }),
        1 => Just(Step::Reopen),
        1 => Just(Step::Crash),
    ];
    prop::collection::vec(step, 1..60)
}

/// What the log should hold.
#[derive(Default)]
struct Model {
    records: Vec<Record>,
    /// How many of them survive a crash.
    synced: usize,
}

impl Model {
    fn check(&self, wal: &Wal, found: &[Record]) {
        assert_eq!(found, &self.records[..self.synced]);
        for record in found {
            assert_eq!(&wal.read(record.position).unwrap(), record);
        }
    }
}

fn run(script: &[Step], options: Options) {
    let (dir, crashed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut model = Model::default();
    let mut wal = Some(Wal::open(dir.path(), options).unwrap().0);
    for (number, step) in script.iter().enumerate() {
        let log = wal.as_mut().unwrap();
        match *step {
            Step::Append { kind, length } => {
                let bytes: Vec<u8> = number.to_le_bytes().into_iter().cycle().take(length).collect();
                let (segment, expected) = (log.next_position().segment, log.next_position());
                let position = log.append(kind, &bytes).unwrap();
                assert!(position >= expected);
                if position.segment > segment {
                    model.synced = model.records.len();
                }
                model.records.push(Record { position, kind, bytes });
                assert!(model.records.is_sorted_by_key(|record| record.position));
            }
            Step::Sync => {
                log.sync().unwrap();
                model.synced = model.records.len();
            }
            Step::Release { percent } => {
                let index = model.records.len() * percent / 100;
                let keep = model.records.get(index).map_or(log.next_position(), |record| record.position);
                let oldest = log.oldest();
                log.release(keep).unwrap();
                if log.oldest() > oldest {
                    model.synced = model.records.len();
                }
                assert!(log.oldest().segment <= keep.segment);
                let before = model.records.len();
                model.records.retain(|record| record.position >= log.oldest());
                model.synced -= before - model.records.len();
            }
            Step::Reopen => {
                drop(wal.take());
                let (next, recovered) = Wal::open(dir.path(), options).unwrap();
                model.check(&next, &recovered.records);
                for lost in model.records.drain(model.synced..) {
                    assert!(matches!(next.read(lost.position), Err(WalError::NoRecord { .. })));
                }
                wal = Some(next);
            }
            Step::Crash => {
                copy(dir.path(), crashed.path());
                let (next, recovered) = Wal::open(crashed.path(), options).unwrap();
                model.check(&next, &recovered.records);
            }
        }
        let log = wal.as_ref().unwrap();
        assert!(model.records.iter().all(|record| log.read(record.position).unwrap() == *record));
        let none = Position { offset: log.next_position().offset + 1, ..log.next_position() };
        assert!(matches!(log.read(none), Err(WalError::NoRecord { .. })));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_script_gives_what_was_promised(script in steps()) {
        run(&script, Options { sync: SyncMode::Never, ..options() });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_script_gives_what_was_promised_with_real_syncs(script in steps()) {
        run(&script, options());
    }
}
