//! Watching keys beside nodes that answer, refuse, hang up and forget.

use std::collections::VecDeque;
use std::time::Duration;

use ordeal_client::wire::{Change, Interest, Mark, RefusalReason, Reply, RequestBody, ShardId, Version};
use ordeal_client::{Behind, ClientError, Watch};

use crate::fake::{Act, alone, config};

fn mark(index: u64) -> Mark {
    Mark::behind(Version { epoch: 1, index })
}

fn told(indices: &[u64], upto: u64) -> Reply {
    let change = |&index: &u64| Change { key: b"k".to_vec(), value: None, mark: mark(index) };
    Reply::Changes { changes: indices.iter().map(change).collect(), upto: mark(upto) }
}

fn refused(reason: RefusalReason) -> Act {
    Act::Say(Reply::Refused(reason))
}

#[test]
fn a_watch_goes_on_where_it_was_whatever_happens_until_changes_are_forgotten() {
    let shard = ordeal_client::wire::shard_of(b"k", 4);
    let compacted = RefusalReason::Compacted { shard, oldest: mark(20) };
    let mut script = VecDeque::from([
        Act::Say(told(&[], 3)),
        Act::Say(told(&[4, 6], 7)),
        Act::HangUp,
        refused(RefusalReason::Busy),
        Act::Say(told(&[], 8)),
        refused(RefusalReason::Frozen { shard }),
        Act::Say(told(&[9], 9)),
        refused(compacted.clone()),
    ]);
    let node = alone(move |_| script.pop_front().unwrap_or(Act::Silence));
    let of = || Interest::Key(b"k".to_vec());
    let mut watch = Watch::open(config(&[node.address()]), of(), None).expect("the node answers");
    assert_eq!(watch.behind(), Behind::Mark(mark(3)));
    for index in [4, 6, 9] {
        let next = watch.next(Duration::from_secs(10)).expect("it is told").expect("in time");
        assert_eq!((next.shard, next.change.mark), (shard, mark(index)));
        assert_eq!(watch.behind(), Behind::Mark(mark(index)), "what was handed out, and no more");
    }
    let error = watch.next(Duration::from_secs(10)).expect_err("they are forgotten");
    assert!(matches!(&error, ClientError::Refused { reason, .. } if *reason == compacted), "{error}");
    let asked = |body: RequestBody| match body {
        RequestBody::Changes { shard: of, behind, .. } if of == shard => behind,
        other => panic!("{other:?} was asked for"),
    };
    let behind: Vec<Option<Mark>> = node.seen().into_iter().map(asked).collect();
    let marks = [3, 7, 7, 7, 8, 8, 9].map(|index| Some(mark(index)));
    assert_eq!(behind, [&[None], &marks[..]].concat());
}

#[test]
fn a_prefix_of_all_shards_is_asked_for_in_each() {
    let node = alone(|request| match &request.body {
        RequestBody::Changes { behind: None, .. } => Act::Say(told(&[], 3)),
        RequestBody::Changes { shard: ShardId(2), behind, .. } if *behind == Some(mark(3)) => {
            Act::Say(told(&[4], 4))
        }
        _ => Act::Silence,
    });
    let mut watch = Watch::open(config(&[node.address()]), Interest::Prefix(b"k".to_vec()), None)
        .expect("the node answers");
    let next = watch.next(Duration::from_secs(10)).expect("it is told").expect("in time");
    assert_eq!((next.shard, next.change.mark), (ShardId(2), mark(4)));
    let place = "s0=1.3,s1=1.3,s2=1.4,s3=1.3";
    assert_eq!(watch.behind().to_string(), place);
    assert!(matches!(watch.next(Duration::from_millis(50)), Ok(None)), "nothing more is told");
}
