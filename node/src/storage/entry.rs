//! What of an entry lies in the log, byte for byte: index and term are the log's own matter, as are length and checksum.
//!
//! ```text
//!  payload u8: 0 no-op, 1 command, 2 membership | command … or membership …, in the encoding of the wire
//! ```

use std::sync::Arc;

use ordeal_client::wire;
use ordeal_wal::Batch;

use crate::raft::{Entry, LogId, Payload};

const NOOP: u8 = 0;
const COMMAND: u8 = 1;
const MEMBERSHIP: u8 = 2;

/// How a batch takes an entry: [`Batch::entry`] or [`Batch::repair`].
type Put = fn(&mut Batch, u64, u64, u64, &[&[u8]]);

/// Puts an entry of a group behind what a batch has of it.
pub(super) fn put(batch: &mut Batch, group: u64, entry: &Entry) {
    put_as(Batch::entry, batch, group, entry);
}

/// Puts an entry where the log has its place already, and nothing readable in it.
pub(super) fn put_again(batch: &mut Batch, group: u64, entry: &Entry) {
    put_as(Batch::repair, batch, group, entry);
}

fn put_as(put: Put, batch: &mut Batch, group: u64, entry: &Entry) {
    let LogId { index, term } = entry.id;
    match &entry.payload {
        Payload::Noop => put(batch, group, index, term, &[&[NOOP]]),
        Payload::Command(command) => put(batch, group, index, term, &[&[COMMAND], command]),
        Payload::Membership(membership) => {
            put(batch, group, index, term, &[&[MEMBERSHIP], &wire::encode(membership)]);
        }
    }
}

/// The entry with this content; the error says what is wrong with it.
pub(crate) fn decode(id: LogId, content: &[u8]) -> Result<Entry, String> {
    let (kind, rest) = content.split_first().ok_or("cut short")?;
    let payload = match *kind {
        NOOP if rest.is_empty() => Payload::Noop,
        COMMAND => Payload::Command(Arc::from(rest)),
        MEMBERSHIP => Payload::Membership(Arc::new(wire::decode(rest).map_err(|error| error.to_string())?)),
        other => return Err(format!("{other} where 0, 1 or 2 belongs")),
    };
    Ok(Entry { id, payload })
}

#[cfg(test)]
mod tests {
    use ordeal_client::wire::NodeId;

    use super::*;

    fn payloads() -> Vec<Payload> {
        vec![
            Payload::Noop,
            Payload::Command(Arc::from(&b""[..])),
            Payload::Command(Arc::from(&b"set x"[..])),
            Payload::Membership(Arc::new([1, 2, 3].map(NodeId).into_iter().collect())),
        ]
    }

    /// As a log would give it back.
    fn content(payload: &Payload) -> Vec<u8> {
        let disk = ordeal_wal::media::Memory::new();
        let (mut wal, _) = ordeal_wal::Wal::open_on(Arc::new(disk), ordeal_wal::Options::default()).unwrap();
        let mut batch = Batch::new();
        put(&mut batch, 7, &Entry { id: LogId::new(1, 5), payload: payload.clone() });
        wal.commit(&mut batch).unwrap();
        let mut found = Vec::new();
        wal.read(7, 1, |_, _, content| {
            found.extend_from_slice(content);
            Ok::<(), ordeal_wal::WalError>(())
        })
        .unwrap();
        found
    }

    #[test]
    fn entries_come_back_equal() {
        for payload in payloads() {
            let entry = Entry { id: LogId::new(1, 5), payload };
            assert_eq!(decode(entry.id, &content(&entry.payload)), Ok(entry));
        }
    }

    #[test]
    fn bytes_that_are_no_entry_are_an_error() {
        let id = LogId::new(1, 5);
        let membership = content(payloads().last().unwrap());
        for cut in 0..membership.len() {
            assert!(decode(id, &membership[..cut]).is_err(), "cut at {cut}");
        }
        for wrong in [&[][..], &[NOOP, 1], &[3], &[3, 4]] {
            assert!(decode(id, wrong).is_err(), "{wrong:?}");
        }
    }
}
