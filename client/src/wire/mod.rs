//! The public protocol: what travels over a TCP connection to a node, from clients and from peers alike.
//!
//! ```text
//! connection  :=  frame*                        the first frame each way is the handshake
//! frame       :=  length u32 | crc32 u32 | message+      length counts the bytes after the checksum
//! message     :=  kind u8 | group u32 | length u32 | body    the public header: 9 bytes, little-endian
//! body        :=  bincode of the type that `kind` names
//! ```
//!
//! The header before each body is public so that whoever watches the wire can count messages by kind and group without
//! knowing any body; bodies between peers are private to the node. All integers are little-endian.
//!
//! * [`ids`]: the names of things (`n3`, `g1`, `s7`, versions).
//! * [`frame`]: frames, messages and their limits; [`writer`] lays many into one buffer.
//! * [`codec`]: the encoding of bodies, and the only file that names the crate behind it.
//! * [`handshake`]: who is there, and is it of our cluster?
//! * [`protocol`]: requests and replies of clients; [`txn`]: transactions; [`changes`]: what is told to who watches keys.
//! * [`shards`]: who owns which shard, and what administrators ask of the controller.

pub mod changes;
pub mod codec;
pub mod frame;
pub mod handshake;
pub mod ids;
pub mod protocol;
pub mod shards;
pub mod txn;
pub mod writer;

pub use changes::{CHANGES_BYTES_MAX, Change, Interest, Mark, MarkError};
pub use codec::{
    DecodeError, decode, decode_front, decode_record_front, encode, encode_into, encode_record_into,
};
pub use frame::{
    FRAME_BYTES_MAX, FrameBuilder, FrameError, FrameReader, Kind, Message, MessageRef, Messages,
};
pub use handshake::{Hello, Layout, MAGIC, PROTOCOL_VERSION, Refusal as HandshakeRefusal, Role, Welcome};
pub use ids::{
    ClusterId, CommandId, DirectoryId, GroupId, MoveId, NodeId, SessionId, ShardId, Version, shard_of,
    shard_of_prefix,
};
pub use protocol::{
    Answer, GroupStatus, KEY_BYTES_MAX, MemberChange, MoveStage, MoveStatus, NodeStatus, PeerMode,
    PeerStatus, ReadLevel, RefusalReason, Reply, Request, RequestBody, RoleName, SESSION_WINDOW_MAX,
    VALUE_BYTES_MAX, WriteOp,
};
pub use shards::{
    ADDRESS_BYTES_MAX, AdminChange, Cause, Configuration, Decision, EPOCH_FIRST, GROUPS_MAX, GroupInfo,
    MEMBERS_MAX, Members, Move, MoveEnd, NUMBER_FIRST, Objection, Owner, SHARDS_MAX,
};
pub use writer::FrameWriter;
