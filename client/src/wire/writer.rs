//! Messages to frames, one behind the other in one buffer, each written once where it is sent from.

use serde::Serialize;

use super::codec;
use super::frame::{FRAME_BYTES_MAX, HEAD_BYTES, HEADER_BYTES, Kind, head};
use super::ids::GroupId;

/// A burst is not remembered for ever in the length of the buffer.
const BUFFER_BYTES_KEPT: usize = 64 << 10;

/// What waits to be sent over one connection: whole frames, and one that still takes messages.
///
/// Invariants: `taken` ≤ `open` ≤ length of `bytes`; from `open` on, if there is one, lies a frame without its head.
#[derive(Debug, Default)]
pub struct FrameWriter {
    bytes: Vec<u8>,
    /// Everything before this was sent.
    taken: usize,
    /// Where the frame begins that takes messages.
    open: Option<usize>,
}

impl FrameWriter {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a message; false, and nothing added, when more than `limit` bytes would wait.
    ///
    /// # Panics
    /// When the message alone is longer than a frame: all that is sent is bounded far below it.
    #[must_use]
    pub fn push<T: Serialize + ?Sized>(
        &mut self,
        kind: Kind,
        group: GroupId,
        body: &T,
        limit: usize,
    ) -> bool {
        let before = self.bytes.len();
        if !self.lay(kind, group, body) {
            self.bytes.truncate(before);
            self.seal();
            let fits = self.lay(kind, group, body);
            assert!(fits, "a {kind:?} fits an empty frame: its parts are bounded");
        }
        if self.waiting_bytes() <= limit {
            return true;
        }
        self.bytes.truncate(before);
        self.open = self.open.filter(|&open| open < before);
        false
    }

    /// Bytes not sent yet.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.bytes.len() - self.taken
    }

    /// Ends the open frame, and gives all that is to be sent.
    pub fn sealed(&mut self) -> &[u8] {
        self.seal();
        &self.bytes[self.taken..]
    }

    /// The first `count` of the sealed bytes were sent.
    pub fn sent(&mut self, count: usize) {
        self.taken += count;
        assert!(self.taken <= self.bytes.len(), "no more is sent than there was");
        if self.taken == self.bytes.len() {
            self.bytes.clear();
            self.bytes.shrink_to(BUFFER_BYTES_KEPT);
            self.taken = 0;
        } else if self.open.is_none() && self.taken > self.bytes.len() / 2 {
            // What is left moves to the front only when it is the smaller part.
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
    }

    /// Lays a message into the open frame, or a new one; false when that is too long then.
    fn lay<T: Serialize + ?Sized>(&mut self, kind: Kind, group: GroupId, body: &T) -> bool {
        let open = *self.open.get_or_insert_with(|| {
            let open = self.bytes.len();
            self.bytes.extend_from_slice(&[0; HEAD_BYTES]);
            open
        });
        self.bytes.push(kind as u8);
        self.bytes.extend_from_slice(&group.0.to_le_bytes());
        let length_at = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        codec::encode_into(body, &mut self.bytes);
        let length = self.bytes.len() - length_at - 4;
        if self.bytes.len() - open - HEAD_BYTES > FRAME_BYTES_MAX {
            return false;
        }
        let length = u32::try_from(length).expect("bounded by the frame's limit");
        self.bytes[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
        true
    }

    fn seal(&mut self) {
        let Some(open) = self.open.take() else { return };
        if self.bytes.len() < open + HEAD_BYTES + HEADER_BYTES {
            self.bytes.truncate(open); // nothing was laid into it
            return;
        }
        let head = head(&self.bytes[open + HEAD_BYTES..]);
        self.bytes[open..open + HEAD_BYTES].copy_from_slice(&head);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::FrameReader;

    fn frames(bytes: &[u8]) -> Vec<Vec<usize>> {
        let mut reader = FrameReader::new();
        reader.feed(bytes);
        std::iter::from_fn(|| reader.next_frame().expect("healthy"))
            .map(|messages| messages.iter().map(|message| message.body.len()).collect())
            .collect()
    }

    /// Takes everything, some bytes at a time.
    fn send_all(writer: &mut FrameWriter, step: usize) -> Vec<u8> {
        let mut sent = Vec::new();
        while writer.waiting_bytes() > 0 {
            let part = writer.sealed();
            let part = part[..part.len().min(step)].to_vec();
            writer.sent(part.len());
            sent.extend(part);
        }
        sent
    }

    #[test]
    fn a_full_writer_takes_no_more_and_forgets_nothing() {
        let mut writer = FrameWriter::new();
        let push = |writer: &mut FrameWriter, bytes: usize| {
            writer.push(Kind::Request, GroupId(1), &vec![1u8; bytes], 1_050)
        };
        assert!(!push(&mut writer, 1_100));
        assert!(push(&mut writer, 600));
        assert!(!push(&mut writer, 600));
        assert!(push(&mut writer, 400));
        // The length before the bytes takes 3 bytes.
        assert_eq!(frames(&send_all(&mut writer, usize::MAX)), [[603, 403]], "one frame a turn");
        assert_eq!(writer.waiting_bytes(), 0);
        assert!(!push(&mut writer, 1_100));
        assert_eq!(writer.sealed(), b"");
    }

    #[test]
    fn messages_beyond_one_frame_begin_another_however_they_are_sent() {
        for step in [1_000, 70_000, usize::MAX] {
            let mut writer = FrameWriter::new();
            for _ in 0..5 {
                assert!(writer.push(Kind::Request, GroupId(1), &vec![0u8; 1 << 20], usize::MAX));
            }
            let sent = send_all(&mut writer, step);
            assert_eq!(frames(&sent).iter().map(Vec::len).collect::<Vec<_>>(), [3, 2]);
        }
    }

    #[test]
    fn what_is_pushed_between_two_writes_goes_behind() {
        let mut writer = FrameWriter::new();
        let mut sent = Vec::new();
        for bytes in 1..50 {
            assert!(writer.push(Kind::Request, GroupId(1), &vec![0u8; bytes], usize::MAX));
            let part = writer.sealed();
            let part = part[..part.len() * 2 / 3].to_vec();
            writer.sent(part.len());
            sent.extend(part);
        }
        sent.extend(send_all(&mut writer, usize::MAX));
        assert_eq!(frames(&sent).concat(), (2..51).collect::<Vec<_>>());
    }
}
