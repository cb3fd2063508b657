//! A batch: what one frame will hold, for any number of groups. It is filled without the log, so one thread can fill the
//! next while another waits for the disk with the last.

use crate::bytes::{put_u32, put_u64, u32_at, word};
use crate::group::Group;
use crate::runs::{ENDS_LOG, INDEX_MAX, RUN_BYTES, UNKNOWN, entry_checksum, kind};

/// Changes of any number of groups, to become durable together with [`crate::Wal::commit`]. They take effect in the order
/// of the calls.
///
/// Invariant: `directory` is made of whole runs, and `payload` is as long as they say.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    pub(crate) directory: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    pub(crate) entries: usize,
    /// Group, term and vote of each hard state.
    pub(crate) hard_states: Vec<(u64, u64, u64)>,
    open: Option<OpenRun>,
}

/// The run at the end of the directory, which takes the next entry if it fits behind its last.
#[derive(Debug, Clone, Copy)]
struct OpenRun {
    at: usize,
    kind: u8,
    group: u64,
    next: u64,
    term: u64,
}

impl Batch {
    /// An empty one.
    #[must_use]
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.directory.is_empty()
    }

    /// Bytes that it takes in a frame, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.directory.len() + self.payload.len()
    }

    /// Empties it, and keeps its memory.
    pub fn clear(&mut self) {
        self.directory.clear();
        self.payload.clear();
        self.entries = 0;
        self.hard_states.clear();
        self.open = None;
    }

    /// An entry at the end of a group's log, its content given in parts. If there are entries with this index or a higher
    /// one, they go. Two entries of a group with the same index and term must be the same entry: recovery relies on it.
    ///
    /// # Panics
    /// When `index` is 0 or above 2^62, or the content is not shorter than 4 GiB.
    pub fn entry(&mut self, group: u64, index: u64, term: u64, parts: &[&[u8]]) {
        self.push_entry(kind::ENTRIES, (group, index, term), parts);
    }

    /// An entry that the log holds already, once more: in place of one that is damaged, or to free the space of the old
    /// one. It removes nothing; an index that the log does not reach is left out.
    ///
    /// # Panics
    /// As [`Batch::entry`].
    pub fn repair(&mut self, group: u64, index: u64, term: u64, parts: &[&[u8]]) {
        self.push_entry(kind::REPAIR, (group, index, term), parts);
    }

    /// Term and vote of a group are these now; the vote is a number of the caller's.
    pub fn hard_state(&mut self, group: u64, term: u64, vote: u64) {
        self.push_run((kind::HARD_STATE, 0), group, (term, vote, 0));
        self.hard_states.push((group, term, vote));
    }

    /// The entries from here on go.
    pub fn truncate(&mut self, group: u64, from: u64) {
        self.push_run((kind::TRUNCATE, 0), group, (from, 0, UNKNOWN));
    }

    /// A snapshot up to this entry exists; the caller has made it durable before. The log stays as it is.
    pub fn snapshot(&mut self, group: u64, index: u64, term: u64) {
        self.push_run((kind::SNAPSHOT, 0), group, (index, term, 0));
    }

    /// As [`Batch::snapshot`]; but if the log does not hold that very entry, all of it goes, and begins anew behind the
    /// snapshot. Whether it did is written down, and not found out again by a recovery.
    pub fn install(&mut self, group: u64, index: u64, term: u64) {
        self.push_run((kind::SNAPSHOT, IF_NOT_HELD), group, (index, term, 0));
    }

    /// The entries before this index are needed no more.
    pub fn compact(&mut self, group: u64, first: u64) {
        self.push_run((kind::COMPACT, 0), group, (first, 0, 0));
    }

    /// The group, with all that is known of it, is needed no more.
    pub fn destroy(&mut self, group: u64) {
        self.push_run((kind::DESTROY, 0), group, (0, 0, 0));
    }

    /// The state of a group, for the first frame of a segment.
    pub(crate) fn state(&mut self, id: u64, group: &Group) {
        let terms = group.stretches();
        self.push_run((kind::STATE, group.flags()), id, (group.term, group.vote, group.first()));
        let at = self.directory.len() - RUN_BYTES;
        put_u32(&mut self.directory, at + 4, word(terms.len()));
        let (snapshot, snapshot_term) = group.snapshot;
        let fixed = [group.next() - 1, snapshot, snapshot_term, group.before()];
        let words = fixed.into_iter().chain(terms.into_iter().flat_map(|(first, term)| [first, term]));
        self.directory.extend(words.flat_map(u64::to_le_bytes));
    }

    fn push_run(&mut self, (kind, flags): (u8, u8), group: u64, (a, b, c): (u64, u64, u64)) {
        let mut run = [0; RUN_BYTES];
        (run[0], run[1]) = (kind, flags);
        put_u64(&mut run, 8, group);
        put_u64(&mut run, 16, a);
        put_u64(&mut run, 24, b);
        put_u64(&mut run, 32, c);
        self.directory.extend_from_slice(&run);
        self.open = None;
    }

    fn push_entry(&mut self, kind: u8, (group, index, term): (u64, u64, u64), parts: &[&[u8]]) {
        assert!((1..INDEX_MAX).contains(&index), "an entry's index is between 1 and 2^62");
        let fits =
            |open: &OpenRun| (open.kind, open.group, open.next, open.term) == (kind, group, index, term);
        let mut open = match self.open.filter(fits) {
            Some(open) => open,
            None => {
                let at = self.directory.len();
                self.push_run((kind, 0), group, (index, term, UNKNOWN));
                OpenRun { at, kind, group, next: index, term }
            }
        };
        let start = self.payload.len();
        for part in parts {
            self.payload.extend_from_slice(part);
        }
        let content = &self.payload[start..];
        let length = u32::try_from(content.len()).expect("an entry is shorter than 4 GiB");
        let checksum = entry_checksum(group, index, term, content);
        let item = u64::from(checksum) << 32 | u64::from(length);
        self.directory.extend_from_slice(&item.to_le_bytes());
        let count = u32_at(&self.directory, open.at + 4).unwrap_or_default() + 1;
        put_u32(&mut self.directory, open.at + 4, count);
        open.next += 1;
        self.open = Some(open);
        self.entries += 1;
    }

    /// Writes down what only the log knows: the term of the entry before a run.
    pub(crate) fn set_before(&mut self, run_at: usize, before: u64) {
        put_u64(&mut self.directory, run_at + 32, before);
    }

    /// Writes down whether an installed snapshot ended the log.
    pub(crate) fn set_ends_log(&mut self, run_at: usize, ends_log: bool) {
        self.directory[run_at + 1] = if ends_log { ENDS_LOG } else { 0 };
    }

    /// Whether the snapshot mark at this place of the directory is to be decided by [`Batch::set_ends_log`].
    pub(crate) fn is_undecided(directory: &[u8], run_at: usize) -> bool {
        directory.get(run_at + 1) == Some(&IF_NOT_HELD)
    }
}

/// Flag of a snapshot mark in a batch, never in a file: the log decides.
const IF_NOT_HELD: u8 = 0x80;
