//! Frames and the messages in them.
//!
//! ```text
//!  0         4         8    9           13          17
//!  | length  |  crc32  | kind | group u32 | length u32 | body … | kind | group | length | body … |
//!  |  u32    |   u32   |<------------ message ------------------>|<------- message ------------->|
//!            |         |<------------------- `length` bytes, covered by the checksum ----------->|
//! ```
//!
//! The checksum covers the length as well, so that a damaged length is a damaged frame and not a wait for bytes that
//! never come. A frame that is too long, damaged or malformed is a [`FrameError`]: the connection ends, the process never.

use super::codec;
use super::ids::GroupId;
use serde::Serialize;

/// The longest frame, in bytes after its 8-byte head: room for one message of the largest value (1 MiB, see
/// [`super::protocol::VALUE_BYTES_MAX`]) beside a turn's worth of small ones.
pub const FRAME_BYTES_MAX: usize = 4 << 20;

/// Bytes of the public header before each message's body.
pub const HEADER_BYTES: usize = 9;

pub(super) const HEAD_BYTES: usize = 8;

/// What a message is. Kinds below 16 belong to the handshake, from 16 to clients, from 32 to peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[expect(
    missing_docs,
    reason = "the names are the field's own; the raft ones stand in Figures 2 and 13 of the paper"
)]
pub enum Kind {
    Hello = 1,
    Welcome = 2,
    Refused = 3,
    Ping = 4,
    Pong = 5,
    Request = 16,
    Reply = 17,
    RequestVote = 32,
    RequestVoteReply = 33,
    AppendEntries = 34,
    AppendEntriesReply = 35,
    Heartbeat = 36,
    HeartbeatReply = 37,
    InstallSnapshot = 38,
    InstallSnapshotReply = 39,
    TimeoutNow = 40,
    ReadIndex = 42,
    ReadIndexReply = 43,
    /// Of several groups at once; the group in the header is 0.
    Heartbeats = 44,
    /// The answers, likewise.
    HeartbeatReplies = 45,
    /// Of a whole node, for all its groups at rest; the group in the header is 0.
    Beat = 46,
    /// For entries that a disk lost.
    Fetch = 47,
    Fetched = 48,
    /// From the leader of a group to that of another, about a shard on its way; the group in the header is the other one.
    Move = 49,
    /// To the leader of the controller, from that of a group.
    Control = 50,
}

impl Kind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Kind; 25] = [
        Kind::Hello,
        Kind::Welcome,
        Kind::Refused,
        Kind::Ping,
        Kind::Pong,
        Kind::Request,
        Kind::Reply,
        Kind::RequestVote,
        Kind::RequestVoteReply,
        Kind::AppendEntries,
        Kind::AppendEntriesReply,
        Kind::Heartbeat,
        Kind::HeartbeatReply,
        Kind::InstallSnapshot,
        Kind::InstallSnapshotReply,
        Kind::TimeoutNow,
        Kind::ReadIndex,
        Kind::ReadIndexReply,
        Kind::Heartbeats,
        Kind::HeartbeatReplies,
        Kind::Beat,
        Kind::Fetch,
        Kind::Fetched,
        Kind::Move,
        Kind::Control,
    ];

    /// Whether it answers another message.
    #[must_use]
    pub fn is_reply(self) -> bool {
        match self {
            Kind::Welcome
            | Kind::Refused
            | Kind::Pong
            | Kind::Reply
            | Kind::RequestVoteReply
            | Kind::AppendEntriesReply
            | Kind::HeartbeatReply
            | Kind::HeartbeatReplies
            | Kind::InstallSnapshotReply
            | Kind::ReadIndexReply
            | Kind::Fetched => true,
            Kind::Hello
            | Kind::Ping
            | Kind::Request
            | Kind::RequestVote
            | Kind::AppendEntries
            | Kind::Heartbeat
            | Kind::Heartbeats
            | Kind::Beat
            | Kind::InstallSnapshot
            | Kind::TimeoutNow
            | Kind::ReadIndex
            | Kind::Fetch
            | Kind::Move
            | Kind::Control => false,
        }
    }

    fn of(byte: u8) -> Option<Kind> {
        Kind::ALL.into_iter().find(|&kind| kind as u8 == byte)
    }
}

/// Bytes that are no frame. Whoever sent them cannot be understood any more: the connection ends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Longer than [`FRAME_BYTES_MAX`].
    #[error("frame of {length} bytes, the limit is {FRAME_BYTES_MAX}")]
    TooLong {
        /// What the head says.
        length: usize,
    },
    /// The checksum does not match.
    #[error("frame of {length} bytes is damaged: checksum {found:08x}, expected {expected:08x}")]
    Damaged {
        /// What the head says.
        length: usize,
        /// Checksum in the head.
        found: u32,
        /// Checksum of what arrived.
        expected: u32,
    },
    /// The checksum matches, the messages do not add up.
    #[error("frame holds a message of unknown kind {0}")]
    UnknownKind(u8),
    /// A message reaches beyond its frame, or a frame is empty.
    #[error("frame holds a message cut short")]
    CutShort,
}

/// One message of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What the body is.
    pub kind: Kind,
    /// The Raft group concerned; [`GroupId`] 0 where none is.
    pub group: GroupId,
    /// The encoded body, see [`super::codec`].
    pub body: Vec<u8>,
}

/// Collects the messages of a turn into one frame.
#[derive(Debug)]
pub struct FrameBuilder {
    bytes: Vec<u8>,
}

impl Default for FrameBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl FrameBuilder {
    /// An empty frame.
    #[must_use]
    pub fn new() -> Self {
        FrameBuilder { bytes: vec![0; HEAD_BYTES] }
    }

    /// A finished frame with one message.
    pub fn single<T: Serialize + ?Sized>(kind: Kind, group: GroupId, body: &T) -> Vec<u8> {
        let mut frame = FrameBuilder::new();
        let pushed = frame.push(kind, group, body);
        assert!(pushed, "a single message fits a frame: values and chunks are bounded far below it");
        frame.finish()
    }

    /// Adds a message; false, and nothing added, when it does not fit into this frame any more.
    #[must_use]
    pub fn push<T: Serialize + ?Sized>(&mut self, kind: Kind, group: GroupId, body: &T) -> bool {
        let start = self.bytes.len();
        self.head(kind, group, 0);
        let body_start = self.bytes.len();
        codec::encode_into(body, &mut self.bytes);
        if self.bytes.len() - HEAD_BYTES > FRAME_BYTES_MAX {
            self.bytes.truncate(start);
            return false;
        }
        let length = u32::try_from(self.bytes.len() - body_start).expect("bounded by the frame's limit");
        self.bytes[body_start - 4..body_start].copy_from_slice(&length.to_le_bytes());
        true
    }

    /// As [`FrameBuilder::push`], with a body that is encoded already.
    #[must_use]
    pub fn push_encoded(&mut self, kind: Kind, group: GroupId, body: &[u8]) -> bool {
        if self.bytes.len() - HEAD_BYTES + HEADER_BYTES + body.len() > FRAME_BYTES_MAX {
            return false;
        }
        let length = u32::try_from(body.len()).expect("bounded by the frame's limit");
        self.head(kind, group, length);
        self.bytes.extend_from_slice(body);
        true
    }

    fn head(&mut self, kind: Kind, group: GroupId, length: u32) {
        self.bytes.push(kind as u8);
        self.bytes.extend_from_slice(&group.0.to_le_bytes());
        self.bytes.extend_from_slice(&length.to_le_bytes());
    }

    /// Whether no message was added yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.len() == HEAD_BYTES
    }

    /// The bytes to send.
    ///
    /// # Panics
    /// When the frame is empty: an empty frame says nothing and is refused by readers.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        assert!(!self.is_empty(), "a frame holds at least one message");
        let head = head(&self.bytes[HEAD_BYTES..]);
        self.bytes[..HEAD_BYTES].copy_from_slice(&head);
        self.bytes
    }
}

/// What stands before these messages in a frame.
pub(super) fn head(content: &[u8]) -> [u8; HEAD_BYTES] {
    let length = u32::try_from(content.len()).expect("bounded by the frame's limit");
    let mut head = [0; HEAD_BYTES];
    head[..4].copy_from_slice(&length.to_le_bytes());
    head[4..].copy_from_slice(&checksum(length, content).to_le_bytes());
    head
}

/// Cuts a byte stream into frames. Holds at most one frame and what was read behind it.
#[derive(Debug, Default)]
pub struct FrameReader {
    bytes: Vec<u8>,
    /// Everything before this was handed out already.
    start: usize,
}

impl FrameReader {
    /// A reader at the start of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds bytes as they came from the socket. Call [`FrameReader::next_frame`] until it has none before feeding more.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.start);
        self.start = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The messages of the next whole frame, or `None` until more bytes are fed.
    ///
    /// # Errors
    /// [`FrameError`]; the stream cannot be read any further then.
    pub fn next_frame(&mut self) -> Result<Option<Vec<Message>>, FrameError> {
        let own = |message: MessageRef<'_>| Message {
            kind: message.kind,
            group: message.group,
            body: message.body.to_vec(),
        };
        Ok(self.next_messages()?.map(|messages| messages.map(own).collect()))
    }

    /// As [`FrameReader::next_frame`], without a copy of the bodies.
    ///
    /// # Errors
    /// As [`FrameReader::next_frame`].
    pub fn next_messages(&mut self) -> Result<Option<Messages<'_>>, FrameError> {
        let rest = &self.bytes[self.start..];
        let Some((head, rest)) = rest.split_first_chunk::<HEAD_BYTES>() else { return Ok(None) };
        let length_word = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
        let found = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        let length = length_word as usize;
        if length > FRAME_BYTES_MAX {
            return Err(FrameError::TooLong { length });
        }
        let Some(content) = rest.get(..length) else { return Ok(None) };
        let expected = checksum(length_word, content);
        if found != expected {
            return Err(FrameError::Damaged { length, found, expected });
        }
        let mut left = content;
        loop {
            left = message_of(left)?.1;
            if left.is_empty() {
                break;
            }
        }
        self.start += HEAD_BYTES + length;
        Ok(Some(Messages { left: content }))
    }
}

/// One message of a frame, where it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageRef<'a> {
    /// What the body is.
    pub kind: Kind,
    /// The Raft group concerned; [`GroupId`] 0 where none is.
    pub group: GroupId,
    /// The encoded body, see [`super::codec`].
    pub body: &'a [u8],
}

/// The messages of a whole frame, in their order.
#[derive(Debug, Clone)]
pub struct Messages<'a> {
    /// Looked through already: messages without a fault.
    left: &'a [u8],
}

impl<'a> Iterator for Messages<'a> {
    type Item = MessageRef<'a>;

    fn next(&mut self) -> Option<MessageRef<'a>> {
        let (message, left) = message_of(self.left).ok()?;
        self.left = left;
        Some(message)
    }
}

fn message_of(content: &[u8]) -> Result<(MessageRef<'_>, &[u8]), FrameError> {
    let (header, rest) = content.split_first_chunk::<HEADER_BYTES>().ok_or(FrameError::CutShort)?;
    let kind = Kind::of(header[0]).ok_or(FrameError::UnknownKind(header[0]))?;
    let group = GroupId(u32::from_le_bytes([header[1], header[2], header[3], header[4]]));
    let length = u32::from_le_bytes([header[5], header[6], header[7], header[8]]) as usize;
    let body = rest.get(..length).ok_or(FrameError::CutShort)?;
    Ok((MessageRef { kind, group, body }, &rest[length..]))
}

fn checksum(length: u32, content: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length.to_le_bytes());
    hasher.update(content);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame_of(bodies: &[&[u8]]) -> Vec<u8> {
        let mut frame = FrameBuilder::new();
        for body in bodies {
            assert!(frame.push_encoded(Kind::Request, GroupId(1), body));
        }
        frame.finish()
    }

    fn read(bytes: &[u8]) -> Result<Option<Vec<Message>>, FrameError> {
        let mut reader = FrameReader::new();
        reader.feed(bytes);
        reader.next_frame()
    }

    #[test]
    fn messages_come_back_in_order_however_the_stream_is_cut() {
        let stream = [frame_of(&[b"one", b""]), frame_of(&[b"three"])].concat();
        for size in 1..stream.len() {
            let mut reader = FrameReader::new();
            let mut bodies = Vec::new();
            for part in stream.chunks(size) {
                reader.feed(part);
                while let Some(messages) = reader.next_frame().expect("healthy") {
                    bodies.extend(messages.into_iter().map(|message| message.body));
                }
            }
            assert_eq!(bodies, [b"one".to_vec(), b"".to_vec(), b"three".to_vec()], "in parts of {size}");
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let healthy = frame_of(&[b"one", b"two"]);
        for bit in 0..healthy.len() * 8 {
            let mut bytes = healthy.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            // A longer length waits for more bytes, and the checksum refuses once they are there.
            bytes.resize(bytes.len() + (1 << 16), 0);
            match read(&bytes) {
                Err(_) => {}
                Ok(None) => assert!(bit < 32, "only a damaged length may wait: bit {bit}"),
                Ok(Some(messages)) => panic!("bit {bit} went unnoticed: {messages:?}"),
            }
        }
    }

    #[test]
    fn too_long_is_refused_before_it_is_read() {
        let head = [u32::try_from(FRAME_BYTES_MAX + 1).unwrap().to_le_bytes(), [0; 4]].concat();
        assert!(matches!(read(&head), Err(FrameError::TooLong { .. })));
    }

    #[test]
    fn a_full_frame_takes_no_more() {
        let mut frame = FrameBuilder::new();
        assert!(frame.push_encoded(Kind::Request, GroupId(1), &vec![0; FRAME_BYTES_MAX - HEADER_BYTES]));
        assert!(!frame.push_encoded(Kind::Request, GroupId(1), b""));
        assert!(!frame.push(Kind::Request, GroupId(1), &()));
        assert!(read(&frame.finish()).is_ok());
    }

    #[test]
    fn a_body_is_encoded_in_its_place() {
        let (mut one, mut other) = (FrameBuilder::new(), FrameBuilder::new());
        for body in [(1_u8, "one".to_owned()), (2, String::new())] {
            assert!(one.push(Kind::Request, GroupId(1), &body));
            assert!(other.push_encoded(Kind::Request, GroupId(1), &codec::encode(&body)));
        }
        assert_eq!(one.finish(), other.finish());
    }
}
