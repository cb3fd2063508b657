//! Every limit of the server, each with its reason. What is beyond a limit is refused or dropped, never queued.

use std::time::Duration;

use crate::raft;

/// Clients at a time. With the peers and the rest below half of the 1,024 descriptors that a process has by default.
pub const CLIENTS_MAX: usize = 400;

/// Accepted connections at a time, whatever they turn out to be: the clients, and as many again that have not said yet who
/// they are or are being told that they are not wanted. Members of the cluster always find room among these.
pub const ACCEPTED_MAX: usize = 500;

/// Connections accepted in one turn, so that a storm of them holds nobody else up.
pub const ACCEPTS_PER_TURN: usize = 64;

/// After a failed accept (no descriptor left) the listener rests so long.
pub const ACCEPT_REST: Duration = Duration::from_millis(100);

/// Who has not said a whole hello by then is no client of ours; it also ends the wait for whoever was refused to leave.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(2);

/// Bytes before a whole hello (which takes below 64): a stranger costs no more memory than this.
pub const HELLO_BYTES_MAX: usize = 4 << 10;

/// Bytes read from one connection in one turn, so that a loud one does not starve the others: 4 reads of a socket buffer.
pub const READ_BYTES_PER_TURN: usize = 256 << 10;

/// One read from a socket.
pub const READ_BYTES: usize = 64 << 10;

/// Requests taken from one client in one turn; the rest of its frame waits. Each may ask for a value of 1 MiB at once, and
/// so a client gets at most 64 MiB of answers ready before its own limit is looked at.
pub const REQUESTS_PER_TURN: usize = 64;

/// Answers that wait for one client to read them. Above it nothing more is read from the client.
pub const CLIENT_OUT_BYTES_PAUSE: usize = 1 << 20;

/// A client that has so many answers unread is let go: it asks and does not listen.
pub const CLIENT_OUT_BYTES_MAX: usize = 16 << 20;

/// Bytes that wait for one peer: 4 full frames, 16 full `AppendEntries`. What comes on top is dropped: Raft sends again.
pub const PEER_OUT_BYTES_MAX: usize = 16 << 20;

/// A dial, with its handshake, takes at most so long: a round trip inside of a data centre takes 1 ms. Short, because a
/// SYN that a partition swallowed is repeated by the kernel only after 1 s, 2 s, 4 s; a new dial is at once.
pub const DIAL_TIMEOUT: Duration = Duration::from_millis(500);

/// Links at a time: to the members (of all groups, and while they change, the old and the new ones), and to others that
/// dial us before we know of them.
pub const LINKS_MAX: usize = 4 * raft::MEMBERS_MAX;

/// A node that is told to stop waits so long for others to take over what it leads: a few round trips when all is well.
/// When not, Raft itself gives up after an election timeout.
pub const HANDOVER_MAX: Duration = Duration::from_secs(1);

/// A failed dial is tried again after a random time between these, so that members do not dial each other in step.
pub const REDIAL_MS: std::ops::Range<u64> = 50..200;

/// A peer that has said nothing for so long is asked whether it is there.
pub const PING_AFTER: Duration = Duration::from_millis(250);

/// A peer that has not answered by then is dialled anew: TCP itself would wait in its back-off for seconds to minutes after
/// a partition is healed.
pub const PONG_TIMEOUT: Duration = Duration::from_secs(1);

/// An incoming peer is pinging us every 250 ms; silent for so long, it is gone: 40 pings lost.
pub const PEER_SILENCE_MAX: Duration = Duration::from_secs(10);

/// Ticks delivered at once after the loop was held up (a slow disk, a stopped process): one heartbeat's worth by default.
/// Enough that a disk of 50 ms a sync delays no heartbeat; far below an election timeout, so that a process that was
/// stopped for seconds does not campaign before it has heard what happened meanwhile. The other missed ticks never were.
pub const CATCH_UP_TICKS_MAX: u32 = crate::raft::LATE_TICKS_MAX;

/// Bytes of entries that wait for the disk. Beyond it nothing more is read from anybody until the disk has caught up: 64
/// full `AppendEntries`, a leader's whole window. Ticks go on, so that a leader with such a disk still hears that it is one.
pub const DISK_QUEUE_BYTES_MAX: usize = 64 << 20;

/// After so long without a batch the disk marks its last frame: long enough that a busy one never does, and short, as until
/// then damage to that frame could not be told from a torn tail.
pub const DISK_IDLE: Duration = Duration::from_millis(10);

/// A disk without space is looked at so often, and what waits for space is tried again: soon enough for whoever made some.
pub const DISK_FULL_REST: Duration = Duration::from_millis(200);

/// Who was silent for too long is looked for so often: the limits above are seconds.
pub const SWEEP_EVERY: Duration = Duration::from_millis(100);
