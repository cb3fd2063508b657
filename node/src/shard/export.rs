//! The donor's side of a move: what has changed since it began, and the next part of the copy.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use ordeal_client::wire::{GroupId, Mark, MoveId, Reply, SessionId, ShardId, encode};
use serde::{Deserialize, Serialize};

use super::moving::{Cursor, Parcel, Part};
use super::records::{Record, push, push_event, push_items, push_session};
use crate::kv::{Item, Kv, REPLY_BYTES, Session, digest};

/// A move of a shard that is owned here.
///
/// Invariants
/// * `latest` and `in_order` hold the same pairs; all their indexes are above `begun`
/// * a key or session that an entry above `begun` has changed is in them, under the last such entry
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Export {
    pub(super) id: MoveId,
    pub(super) to: GroupId,
    /// The entry that began it.
    pub(super) begun: u64,
    /// The entry that froze the shard.
    pub(super) frozen: Option<u64>,
    latest: BTreeMap<Changed, u64>,
    in_order: BTreeSet<(u64, Changed)>,
    /// Sum over them.
    digest: u64,
}

/// Each time that a value is so long it counts for one change more: 64 of them fit a part.
const CHANGE_BYTES: usize = 2 << 10;

/// What an entry changed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Changed {
    Session(SessionId),
    Key(#[serde(with = "shared")] Arc<[u8]>),
}

impl Changed {
    fn digest(&self, index: u64) -> u64 {
        match self {
            Changed::Session(id) => digest::mix(&[10, index, id.0]),
            Changed::Key(key) => digest::mix(&[11, index, digest::hash(key)]),
        }
    }
}

impl Export {
    pub(super) fn new(id: MoveId, to: GroupId, begun: u64) -> Self {
        Export { id, to, begun, frozen: None, latest: BTreeMap::new(), in_order: BTreeSet::new(), digest: 0 }
    }

    /// The entry at `index` changed this.
    pub(super) fn note(&mut self, index: u64, what: Changed) {
        self.digest = self.digest.wrapping_add(what.digest(index));
        if let Some(before) = self.latest.insert(what.clone(), index) {
            self.digest = self.digest.wrapping_sub(what.digest(before));
            self.in_order.remove(&(before, what.clone()));
        }
        self.in_order.insert((index, what));
    }

    /// Checksum of all of it.
    pub(super) fn digest(&self) -> u64 {
        let Export { id, to, begun, frozen, digest, .. } = self;
        digest::mix(&[id.0, to.0.into(), *begun, frozen.unwrap_or(0), *digest])
    }

    /// What was changed, by the last entry that did.
    pub(super) fn changes(&self) -> impl Iterator<Item = &(u64, Changed)> {
        self.in_order.iter()
    }

    /// How many changes are left to be sent, counted up to a limit; a long value counts for several.
    pub(super) fn left(&self, kv: &Kv, cursor: &Cursor, limit: usize) -> usize {
        let Cursor::Changes { upto, part, told } = cursor else { return limit };
        let mut left = 0;
        for event in kv.history().behind(*told) {
            if left >= limit {
                break;
            }
            left += 1 + event.item().run_bytes() / CHANGE_BYTES;
        }
        for (_, changed) in self.behind(*upto, part.as_ref()) {
            if left >= limit {
                break;
            }
            left += match changed {
                Changed::Key(key) => 1 + kv.item(key).map_or(0, Item::run_bytes) / CHANGE_BYTES,
                Changed::Session(_) => 1,
            };
        }
        left.min(limit)
    }

    fn behind(&self, upto: u64, part: Option<&Part>) -> impl Iterator<Item = &(u64, Changed)> {
        let from = match part {
            Some(Part::Key { index, key }) => Bound::Excluded((*index, Changed::Key(key.as_slice().into()))),
            // The least of all changes of an entry.
            Some(Part::Session { .. }) | None => Bound::Included((upto + 1, Changed::Session(SessionId(0)))),
        };
        self.in_order.range((from, Bound::Unbounded))
    }

    /// The next part of the copy of `kv`, of about so many bytes: a reply and an item at most beyond them, which a frame holds.
    pub(super) fn parcel(
        &self,
        (shard, epoch): (ShardId, u64),
        kv: &Kv,
        from: &Cursor,
        bytes_max: usize,
    ) -> Parcel {
        let mut packing = Packing { contents: Vec::new(), bytes_max };
        let to = match from {
            Cursor::Items { after } => packing.items(kv, after.as_deref()),
            Cursor::Sessions { after } => packing.sessions(kv, *after, self.begun),
            Cursor::Changes { upto, part, told } => {
                // What is further behind comes first; the other finds room behind it, when little is left of both.
                let history_first = told.version.index <= *upto || told.version.epoch < epoch;
                let mut told = *told;
                if history_first {
                    told = packing.history(kv, told);
                }
                let (upto, part) = packing.changes(kv, self, *upto, part.as_ref());
                if !history_first {
                    told = packing.history(kv, told);
                }
                Cursor::Changes { upto, part, told }
            }
        };
        let mut bytes = Vec::with_capacity(packing.contents.len() + 256);
        let length = u32::try_from(packing.contents.len()).expect("a parcel ends with what makes it long");
        push(&mut bytes, &Record::Way { from: Cow::Borrowed(from), to: Cow::Borrowed(&to), bytes: length });
        bytes.append(&mut packing.contents);
        Parcel { shard, from: from.clone(), to, bytes }
    }
}

/// A parcel while it is filled. It is full when it has reached its length, so that it always holds something.
struct Packing {
    contents: Vec<u8>,
    bytes_max: usize,
}

impl Packing {
    fn is_full(&self) -> bool {
        self.contents.len() >= self.bytes_max
    }

    fn items(&mut self, kv: &Kv, after: Option<&[u8]>) -> Cursor {
        let mut bytes = 0;
        let mut last = None;
        let fitting: Vec<&Item> = kv
            .after(after)
            .take_while(|item| {
                let fits = bytes < self.bytes_max;
                bytes += item.run_bytes();
                if fits {
                    last = Some(item.key().to_vec());
                }
                fits
            })
            .collect();
        push_items(&mut self.contents, fitting.into_iter());
        match last {
            Some(key) => Cursor::Items { after: Some(key) },
            None => Cursor::Sessions { after: None },
        }
    }

    fn sessions(&mut self, kv: &Kv, after: Option<(SessionId, Option<u64>)>, begun: u64) -> Cursor {
        if let Some((id, Some(sequence))) = after {
            let Some(session) = kv.sessions().get(id) else {
                // It has expired meanwhile.
                return Cursor::Sessions { after: Some((id, None)) };
            };
            return Cursor::Sessions { after: Some((id, self.session(id, session, sequence))) };
        }
        let mut last = None;
        for (id, session) in kv.sessions().after(after.map(|(id, _)| id)) {
            if self.is_full() {
                break;
            }
            let cut = self.session(id, session, 0);
            last = Some((id, cut));
            if cut.is_some() {
                break;
            }
        }
        match last {
            Some(last) => Cursor::Sessions { after: Some(last) },
            None => Cursor::Changes { upto: begun, part: None, told: Mark::BEGINNING },
        }
    }

    /// A session with its replies behind `sequence`; says up to which they are here, when they are not all.
    fn session(&mut self, id: SessionId, session: &Session, sequence: u64) -> Option<u64> {
        let room = self.bytes_max.saturating_sub(self.contents.len());
        let mut bytes = 0;
        let mut cut = false;
        let mut last = sequence;
        let fitting: Vec<_> = session
            .replies()
            .filter(|&(at, _)| at > sequence)
            .take_while(|&(at, reply)| {
                cut = bytes > 0 && bytes >= room;
                bytes += weight(reply);
                if !cut {
                    last = at;
                }
                !cut
            })
            .collect();
        push_session(&mut self.contents, id, session, fitting.into_iter());
        cut.then_some(last)
    }

    /// The changes of the shard's history behind a mark, as long as there is room; says up to where.
    fn history(&mut self, kv: &Kv, behind: Mark) -> Mark {
        let mut told = behind;
        let history = kv.history();
        if self.is_full() || behind >= history.end() {
            return told;
        }
        push(&mut self.contents, &Record::History { floor: history.floor() });
        let mut events = history.behind(behind).peekable();
        while !self.is_full()
            && let Some(event) = events.next()
        {
            push_event(&mut self.contents, event, false);
            told = event.behind(events.peek().copied());
        }
        told
    }

    /// What was changed behind there, as long as there is room; says up to where.
    fn changes(&mut self, kv: &Kv, export: &Export, upto: u64, part: Option<&Part>) -> (u64, Option<Part>) {
        if self.is_full() {
            return (upto, part.cloned());
        }
        let (mut done, mut cut) = (upto, None);
        let mut items = Vec::new();
        let mut bytes = 0;
        let mut behind = export.behind(upto, part).peekable();
        while let Some((index, changed)) = behind.next() {
            match changed {
                Changed::Key(key) => match kv.item(key) {
                    Some(item) => {
                        bytes += item.run_bytes();
                        items.push(item);
                    }
                    None => push(&mut self.contents, &Record::Removed { key: key.to_vec() }),
                },
                Changed::Session(id) => {
                    let session = kv.sessions().get(*id);
                    let ends = session.and_then(|session| self.session(*id, session, sequence(part, *index)));
                    if let Some(sequence) = ends {
                        cut = Some(Part::Session { index: *index, sequence });
                        break;
                    }
                }
            }
            let is_full = bytes + self.contents.len() >= self.bytes_max;
            let more = behind.peek().is_some_and(|(next, _)| next == index);
            match changed {
                Changed::Key(key) if more && is_full => {
                    cut = Some(Part::Key { index: *index, key: key.to_vec() });
                    break;
                }
                Changed::Session(_) | Changed::Key(_) if more => {}
                Changed::Session(_) | Changed::Key(_) => {
                    done = *index;
                    if is_full {
                        break;
                    }
                }
            }
        }
        push_items(&mut self.contents, items.into_iter());
        (done, cut)
    }
}

/// Up to which of its replies the session came that the entry at this index changed.
fn sequence(part: Option<&Part>, of: u64) -> u64 {
    match part {
        Some(&Part::Session { index, sequence }) if index == of => sequence,
        Some(Part::Session { .. } | Part::Key { .. }) | None => 0,
    }
}

/// What a reply takes in a parcel, roughly.
fn weight(reply: &Reply) -> usize {
    match reply {
        Reply::Written { .. } => REPLY_BYTES,
        _ => REPLY_BYTES + encode(reply).len(),
    }
}

mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serializer};
    use serde_bytes::ByteBuf;

    pub(super) fn serialize<S: Serializer>(bytes: &Arc<[u8]>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<[u8]>, D::Error> {
        let bytes: ByteBuf = Deserialize::deserialize(deserializer)?;
        Ok(bytes.into_vec().into())
    }
}
