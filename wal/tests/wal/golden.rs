//! Golden images: logs as released versions wrote them, which every later version must recover. An image is never changed;
//! a new version of the layout adds its own. Those of the version that is written now are made by
//!
//! ```sh
//! ORDEAL_WAL_GOLDEN=1 cargo test -p ordeal-wal --test wal golden
//! ```
//!
//! and a diff of them says that the layout has changed.

use std::path::Path;
use std::sync::Arc;

use ordeal_wal::media::Memory;
use ordeal_wal::{Loss, Options, Recovered, VERSION, Wal, WalError};

use crate::basic::{commit, entries};
use crate::common::{content, options, segment};

/// A life of one segment of 64 KiB, and the segment of the life behind it.
const VERSION_2: [&[u8]; 2] =
    [include_bytes!("golden/version-2.wal"), include_bytes!("golden/version-2-next.wal")];

fn open(disk: &Memory, length: u64) -> Result<(Wal, Recovered), WalError> {
    Wal::open_on(Arc::new(disk.clone()), Options { segment_bytes_first: length, ..options() })
}

/// What the first image holds: every kind of run.
fn fill_golden(wal: &mut Wal) {
    commit(wal, |batch| {
        batch.hard_state(1, 1, 2);
        batch.entry(1, 1, 1, &[b"first"]);
        batch.entry(1, 2, 1, &[]);
        batch.entry(0x0102_0304_0506_0708, 1, 9, &[&content(8, 1, 9, 300)]);
    });
    commit(wal, |batch| {
        batch.hard_state(1, 3, 0);
        batch.entry(1, 2, 3, &[b"second, anew"]);
        batch.entry(1, 3, 3, &[b"third"]);
        batch.snapshot(1, 1, 1);
        batch.compact(1, 2);
    });
    commit(wal, |batch| {
        batch.truncate(1, 3);
        batch.hard_state(2, 1, 1);
        batch.install(3, 40, 4);
        batch.entry(3, 41, 4, &[b"behind the snapshot"]);
    });
    commit(wal, |batch| {
        batch.destroy(2);
        batch.repair(1, 2, 3, &[b"second, anew"]);
    });
    wal.mark().unwrap();
}

/// What the second image holds: the table of all groups, and what nothing proved durable in the first, as repairs.
fn fill_next(wal: &mut Wal) {
    commit(wal, |batch| {
        batch.entry(1, 3, 3, &[b"of the next life"]);
        batch.hard_state(3, 5, 1);
    });
    wal.mark().unwrap();
}

#[test]
fn the_images_of_the_version_in_use_are_what_is_written() {
    assert_eq!(VERSION, 2, "a new version has images of its own");
    let disk = Memory::new();
    let (mut wal, _) = open(&disk, 64 << 10).unwrap();
    fill_golden(&mut wal);
    drop(wal);
    let (mut wal, _) = open(&disk, 32 << 10).unwrap();
    fill_next(&mut wal);
    let written = [1, 2].map(|number| disk.read_all(&segment(number)).unwrap());
    if std::env::var_os("ORDEAL_WAL_GOLDEN").is_some() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wal/golden");
        for (name, bytes) in ["version-2.wal", "version-2-next.wal"].iter().zip(&written) {
            std::fs::write(dir.join(name), bytes).unwrap();
        }
    }
    assert!(written == VERSION_2, "a new layout needs a new version, and images of its own");
}

/// A disk with the images as segments 1 and on.
fn disk_of(images: &[&[u8]]) -> Memory {
    let disk = Memory::new();
    for (number, image) in (1..).zip(images) {
        disk.put(&segment(number), image);
    }
    disk
}

/// (group, term, vote, first, next) of each group.
fn states(recovered: &Recovered) -> Vec<(u64, u64, u64, u64, u64)> {
    let states = recovered.groups.iter();
    states.map(|(id, group)| (*id, group.term, group.vote, group.first, group.next)).collect()
}

const LONG_ID: u64 = 0x0102_0304_0506_0708;

#[test]
fn the_images_of_version_2_are_recovered() {
    let (wal, recovered) = open(&disk_of(&VERSION_2[..1]), 32 << 10).unwrap();
    assert!(recovered.report.is_clean());
    assert_eq!(states(&recovered), [(1, 3, 0, 2, 3), (3, 0, 0, 41, 42), (LONG_ID, 0, 0, 1, 2)]);
    assert_eq!(recovered.groups[&3].snapshot, Some((40, 4)));
    assert_eq!(entries(&wal, 1), [(2, 3, "second, anew".to_owned())]);

    let (wal, recovered) = open(&disk_of(&VERSION_2), 32 << 10).unwrap();
    assert!(recovered.report.is_clean());
    assert_eq!(states(&recovered), [(1, 3, 0, 2, 4), (3, 5, 1, 41, 42), (LONG_ID, 0, 0, 1, 2)]);
    let expected = [(2, 3, "second, anew".to_owned()), (3, 3, "of the next life".to_owned())];
    assert_eq!(entries(&wal, 1), expected);
}

#[test]
fn damage_to_the_images_of_version_2_is_told() {
    let needle = b"behind the snapshot";
    let at = VERSION_2[0].windows(needle.len()).position(|bytes| bytes == needle).unwrap();
    let mut damaged = VERSION_2[0].to_vec();
    damaged[at] ^= 1;
    let (_, recovered) = open(&disk_of(&[&damaged, VERSION_2[1]]), 32 << 10).unwrap();
    let losses: Vec<Loss> = recovered.report.damage.iter().map(|damage| damage.loss).collect();
    assert_eq!(losses, [Loss::Entry { group: 3, index: 41 }]);
    assert_eq!(recovered.groups[&3].faulty[0].first, 41);
    // And a tail that was torn is none.
    let mut torn = VERSION_2[1].to_vec();
    let mark = torn.chunks(4096).rposition(|block| block.iter().any(|&byte| byte != 0)).unwrap();
    torn[4096 * mark..][..32].fill(0);
    torn[4096 * mark + 4096 - 64..][..64].fill(0);
    let (_, recovered) = open(&disk_of(&[VERSION_2[0], &torn]), 32 << 10).unwrap();
    assert!(recovered.report.is_clean(), "{:?}", recovered.report);
    assert!(recovered.report.torn.is_some());
    assert_eq!(states(&recovered)[0], (1, 3, 0, 2, 4));
}

#[test]
fn a_log_that_a_newer_version_went_on_with_is_refused_and_left_as_it_is() {
    let mut newer = VERSION_2[1].to_vec();
    for copy in [0, 4096] {
        newer[copy + 8] += 1;
        let checksum = crc32fast::hash(&newer[copy..copy + 124]);
        newer[copy + 124..copy + 128].copy_from_slice(&checksum.to_le_bytes());
    }
    let disk = disk_of(&[VERSION_2[0], &newer]);
    let before = disk.operations();
    let error = open(&disk, 32 << 10).unwrap_err();
    assert!(matches!(error, WalError::Version { found: 3, .. }), "{error}");
    assert_eq!(disk.operations(), before, "nothing is written, renamed or removed");
    assert_eq!(disk.read_all(&segment(1)).unwrap(), VERSION_2[0]);
    assert_eq!(disk.read_all(&segment(2)).unwrap(), newer);
}

#[test]
fn a_log_that_claims_numbers_that_nothing_can_go_on_from_is_refused_and_left_as_it_is() {
    let mut strange = VERSION_2[0].to_vec();
    for copy in [0, 4096] {
        // The frame that was durable when the segment was begun.
        strange[copy + 64..copy + 72].copy_from_slice(&(1_u64 << 62).to_le_bytes());
        let checksum = crc32fast::hash(&strange[copy..copy + 124]);
        strange[copy + 124..copy + 128].copy_from_slice(&checksum.to_le_bytes());
    }
    let disk = disk_of(&[&strange]);
    let before = disk.operations();
    let error = open(&disk, 32 << 10).unwrap_err();
    assert!(error.to_string().contains("numbers beyond those of any log"), "{error}");
    // Syncs of what is there are all that was done.
    assert!(disk.operations() <= before + 2, "nothing is written, renamed or removed");
    assert_eq!(disk.read_all(&segment(1)).unwrap(), strange);
    assert!(disk.read_all(&segment(2)).is_none());
}
