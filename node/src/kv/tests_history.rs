//! The last changes of a shard: which are kept, in which order, and up to where none is.

use ordeal_client::wire::{Mark, Version};

use super::history::{Event, History, Limits};
use super::item::Item;

const SMALL: Limits = Limits { changes: 100, bytes: 1 << 20 };

fn version(index: u64) -> Version {
    Version { epoch: 1, index }
}

fn mark(index: u64, told: u32) -> Mark {
    Mark { version: version(index), told }
}

fn event(index: u64, part: u32, bytes: usize) -> Event {
    Event::new(Item::new(&index.to_be_bytes(), &vec![b'x'; bytes], version(index)), false, part)
}

/// Changes of these versions.
fn history(limits: Limits, indices: impl IntoIterator<Item = u64>) -> History {
    let mut history = History::new(limits);
    for index in indices {
        let item = event(index, 1, 10).item().clone();
        history.note(item.clone(), item.digest(), false);
    }
    history
}

fn marks(history: &History, behind: Mark) -> Vec<Mark> {
    history.behind(behind).map(Event::mark).collect()
}

#[test]
fn behind_each_mark_are_exactly_the_later_changes() {
    let indices: Vec<u64> = (1..=300).map(|number| number * 2).collect();
    let history = history(Limits { changes: 1_000, ..SMALL }, indices.iter().copied());
    for index in 0..=601 {
        let expected: Vec<Mark> = indices.iter().filter(|&&at| at > index).map(|&at| mark(at, 1)).collect();
        assert_eq!(marks(&history, Mark::behind(version(index))), expected, "behind {index}");
    }
    assert_eq!(marks(&history, Mark::BEGINNING).len(), 300);
    assert_eq!((history.floor(), history.end()), (Mark::BEGINNING, Mark::behind(version(600))));
}

/// A resume within a transaction, at each of its changes, loses none of the others and repeats none.
#[test]
fn the_changes_of_one_version_are_told_apart() {
    let mut history = history(SMALL, [1, 2, 2, 2, 3]);
    let all = [mark(1, 1), mark(2, 1), mark(2, 2), mark(2, 3), mark(3, 1)];
    assert_eq!(marks(&history, Mark::BEGINNING), all);
    for (at, &one) in all.iter().enumerate() {
        assert_eq!(marks(&history, one), all[at + 1..]);
    }
    assert_eq!(marks(&history, Mark::behind(version(2))), all[4..], "the whole of it");
    let events: Vec<&Event> = history.behind(Mark::BEGINNING).collect();
    let shown: Vec<Mark> = (0..5).map(|at| events[at].behind(events.get(at + 1).copied())).collect();
    let whole = |index| Mark::behind(version(index));
    assert_eq!(shown, [whole(1), mark(2, 1), mark(2, 2), whole(2), whole(3)]);
    history.cut(mark(2, 2));
    assert_eq!(
        (history.floor(), marks(&history, history.floor())),
        (mark(2, 2), vec![mark(2, 3), mark(3, 1)])
    );
}

#[test]
fn the_oldest_are_forgotten_and_the_floor_says_up_to_where() {
    let many = history(Limits { changes: 100, ..SMALL }, 1..=250);
    assert_eq!((many.floor(), marks(&many, many.floor()).len()), (Mark::behind(version(150)), 100));
    let long = history(Limits { changes: 1_000, bytes: 10_000 }, 1..=250);
    assert_eq!((long.floor(), marks(&long, long.floor()).len()), (Mark::behind(version(148)), 102));
    // Within a transaction that is longer than all that is kept.
    let mut one = History::new(Limits { changes: 3, ..SMALL });
    for _ in 0..5 {
        let item = event(7, 1, 10).item().clone();
        one.note(item.clone(), item.digest(), false);
    }
    assert_eq!(
        (one.floor(), marks(&one, one.floor())),
        (mark(7, 2), vec![mark(7, 3), mark(7, 4), mark(7, 5)])
    );
}

#[test]
fn the_newest_is_kept_however_long_it_is() {
    let mut history = history(Limits { bytes: 1_000, ..SMALL }, 1..=5);
    assert!(history.push(event(6, 1, 100_000)), "it comes next");
    assert_eq!(
        (history.floor(), marks(&history, history.floor())),
        (Mark::behind(version(5)), vec![mark(6, 1)])
    );
}

/// However it came to be: replicas compare digests, and one was restored from a snapshot, another was moved to.
#[test]
fn what_is_kept_is_the_same_however_it_came_here() {
    let limits = Limits { changes: 70, ..SMALL };
    let noted = history(limits, 1..=200);
    let mut restored = History::new(limits);
    restored.cut(noted.floor());
    noted.behind(noted.floor()).for_each(|event| assert!(restored.push(event.clone()), "they ascend"));
    assert_eq!((&restored, restored.digest()), (&noted, noted.digest()));
    let (mut one, mut other) = (noted.clone(), restored);
    for history in [&mut one, &mut other] {
        (201..=260).for_each(|index| assert!(history.push(event(index, 1, 10)), "it comes next"));
    }
    assert_eq!((&one, one.digest()), (&other, other.digest()));
    assert_eq!(noted.end(), Mark::behind(version(200)), "a copy is what it was");
    // All of it counts: the floor, a removal, what was written.
    let mut cut = noted.clone();
    cut.cut(Mark::behind(version(131)));
    let other_value = history(limits, (1..=199).chain([201]));
    let mut removal = history(limits, 1..=199);
    assert!(removal.push(Event::new(event(200, 1, 10).item().clone(), true, 1)), "it comes next");
    for other in [cut, other_value, removal] {
        assert!(noted != other && noted.digest() != other.digest());
    }
}

#[test]
fn what_is_out_of_order_or_below_the_floor_is_not_taken() {
    let mut history = history(SMALL, [5, 6]);
    for wrong in [event(5, 1, 1), event(6, 1, 1), event(4, 9, 1)] {
        assert!(!history.push(wrong));
    }
    history.cut(Mark::behind(version(9)));
    assert!(marks(&history, Mark::BEGINNING).is_empty() && !history.push(event(9, 7, 1)));
    history.cut(mark(3, 1));
    assert_eq!(history.floor(), Mark::behind(version(9)), "a floor never falls");
    assert!(history.push(event(10, 1, 1)));
}

#[test]
fn shards_share_what_may_be_kept() {
    for (shards, changes, bytes) in [(1, 8_192, 4 << 20), (64, 4_096, 2 << 20), (4_096, 64, 32 << 10)] {
        assert_eq!(Limits::of(shards), Limits { changes, bytes }, "{shards} shards");
    }
}
