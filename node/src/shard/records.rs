//! What snapshots and parcels are made of: records, one behind the other.
//!
//! ```text
//!   record := length u32 | bincode of Record       keys and values stand in runs, behind a record that announces them:
//!           | … of Record::Run | run of `bytes`    see `kv/item.rs`
//! ```

use std::borrow::Cow;
use std::sync::Arc;

use ordeal_client::wire::{self, GroupId, Mark, MoveId, Reply, SessionId, ShardId, Version};
use serde::{Deserialize, Serialize};
use serde_bytes::Bytes;

use super::moving::Cursor;
use super::snapshot::SnapshotError;
use crate::kv::{Event, Item, Kv, RUN_BYTES, Session};

/// One of them. Which stand where is told by `snapshot` and `parcel`.
#[derive(Serialize, Deserialize)]
pub(super) enum Record<'a> {
    /// Begins a snapshot.
    Head { applied: u64, shards: u32 },
    /// What follows, up to the next of these, belongs to this shard, which the group owns.
    Shard { shard: ShardId, epoch: u64, moments: u64 },
    /// A run of items of so many bytes follows. The items of a shard ascend, from run to run as well.
    Run { bytes: u32 },
    /// So many replies that it remembers follow, in the order of their sequence numbers.
    Session { id: SessionId, settled: u64, used: u64, replies: u32 },
    /// A reply of the session before.
    Remembered { sequence: u64, reply: Cow<'a, Reply> },
    /// The shard before is on its way to another group; frozen, perhaps. All `Changed` of it follow, by index.
    Leaving { id: MoveId, to: GroupId, begun: u64, frozen: Option<u64> },
    /// What the entry at an index changed last, since the move of its shard began.
    Changed { index: u64, what: Cow<'a, super::export::Changed> },
    /// What follows, up to the next of these, is what came so far of a shard that is on its way here.
    Arriving { shard: ShardId, id: MoveId, epoch: u64, from: GroupId, cursor: Cow<'a, Cursor> },
    /// A shard that was here once.
    Away { shard: ShardId, epoch: u64, to: GroupId },
    /// Moves of this shard up to this one are over, as far as this group goes.
    Spent { shard: ShardId, id: MoveId },
    /// Begins a parcel: which part of its shard it is, and how many bytes follow.
    Way { from: Cow<'a, Cursor>, to: Cow<'a, Cursor>, bytes: u32 },
    /// A key that is there no more.
    Removed {
        #[serde(with = "serde_bytes")]
        key: Vec<u8>,
    },
    /// Ends a snapshot: the digest of its state.
    End { digest: u64 },
    /// Up to here the history of the shard before is forgotten. All `Event` of it that are kept, or come next, follow.
    History { floor: Mark },
    /// A change of a key, one of several of its version.
    Event { key: Cow<'a, Bytes>, made: Made<'a>, version: Version, part: u32 },
}

/// What a change made of its key.
#[derive(Serialize, Deserialize)]
pub(super) enum Made<'a> {
    /// This value.
    Value(Cow<'a, Bytes>),
    /// What stands there: nobody has changed it since.
    Standing,
    /// It was removed.
    Nothing,
}

/// Adds a record.
pub(super) fn push(bytes: &mut Vec<u8>, record: &Record<'_>) {
    wire::encode_record_into(record, bytes);
}

/// Adds items, in runs.
pub(super) fn push_items<'a>(bytes: &mut Vec<u8>, items: impl Iterator<Item = &'a Item>) {
    let mut run = Vec::with_capacity(RUN_BYTES);
    let mut items = items.peekable();
    while let Some(item) = items.next() {
        item.write_to(&mut run);
        if run.len() >= RUN_BYTES || items.peek().is_none() {
            let length = u32::try_from(run.len()).expect("a run ends with the key that makes it long");
            push(bytes, &Record::Run { bytes: length });
            bytes.append(&mut run);
        }
    }
}

/// Adds a session with these of its replies.
pub(super) fn push_session<'a>(
    bytes: &mut Vec<u8>,
    id: SessionId,
    session: &Session,
    replies: impl Iterator<Item = (u64, &'a Reply)> + Clone,
) {
    let count = u32::try_from(replies.clone().count()).expect("a window of them");
    push(bytes, &Record::Session { id, settled: session.settled(), used: session.used(), replies: count });
    for (sequence, reply) in replies {
        push(bytes, &Record::Remembered { sequence, reply: Cow::Borrowed(reply) });
    }
}

/// Adds a change; `standing`: it is what its key is now.
pub(super) fn push_event(bytes: &mut Vec<u8>, event: &Event, standing: bool) {
    let item = event.item();
    let made = match standing {
        true => Made::Standing,
        false if event.is_removal() => Made::Nothing,
        false => Made::Value(Cow::Borrowed(Bytes::new(item.value()))),
    };
    let (key, version, part) = (Cow::Borrowed(Bytes::new(item.key())), item.version(), event.mark().told);
    push(bytes, &Record::Event { key, made, version, part });
}

/// Adds all that is kept of a shard's history, behind its items.
pub(super) fn push_history(bytes: &mut Vec<u8>, kv: &Kv) {
    let history = kv.history();
    push(bytes, &Record::History { floor: history.floor() });
    for event in history.behind(history.floor()) {
        let now = kv.item(event.item().key()).map(Item::version);
        push_event(bytes, event, !event.is_removal() && now == Some(event.item().version()));
    }
}

/// A change as it stands in a record; none, where it is said to stand in a state in which it does not.
pub(super) fn event_of(
    key: &[u8],
    made: &Made<'_>,
    version: Version,
    part: u32,
    kv: Option<&Kv>,
) -> Option<Event> {
    let item = match made {
        Made::Value(value) => Item::new(key, value, version),
        Made::Nothing => Item::new(key, &[], version),
        // A run of items is not to be held on to by what is forgotten at another time.
        Made::Standing => kv?.item(key).filter(|item| item.version() == version)?.alone(),
    };
    Some(Event::new(item, matches!(made, Made::Nothing), part))
}

/// Records as they stand in bytes from outside.
pub(super) struct Records<'a> {
    rest: &'a [u8],
    bytes: usize,
}

impl<'a> Records<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Records { rest: bytes, bytes: bytes.len() }
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// Bytes that were not read yet.
    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    /// The next record, of which there must be one.
    pub(super) fn pull(&mut self) -> Result<Record<'static>, SnapshotError> {
        let cut_short = SnapshotError::CutShort { bytes: self.bytes };
        let (record, rest) = wire::decode_record_front(self.rest)?.ok_or(cut_short)?;
        self.rest = rest;
        Ok(record)
    }

    /// The items of a run of so many bytes, which stands next.
    pub(super) fn run(&mut self, bytes: u32) -> Result<Vec<Item>, SnapshotError> {
        let cut_short = SnapshotError::CutShort { bytes: self.bytes };
        let (run, rest) = self.rest.split_at_checked(bytes as usize).ok_or(cut_short)?;
        self.rest = rest;
        let run: Arc<[u8]> = run.into();
        let (mut items, mut at) = (Vec::new(), 0);
        while at < run.len() {
            let item =
                Item::read_from(&run, at).ok_or(SnapshotError::Nonsense("a run ends within an item"))?;
            at += item.run_bytes();
            items.push(item);
        }
        Ok(items)
    }

    /// The replies of a session, which stand next.
    pub(super) fn replies(&mut self, count: u32, session: &mut Session) -> Result<(), SnapshotError> {
        for _ in 0..count {
            let Record::Remembered { sequence, reply } = self.pull()? else {
                return Err(SnapshotError::Nonsense("a session ends before its replies"));
            };
            if !session.takes(sequence) {
                let words = "a reply is there twice, or outside of its session's window";
                return Err(SnapshotError::Nonsense(words));
            }
            session.remember(sequence, reply.into_owned());
        }
        Ok(())
    }
}
