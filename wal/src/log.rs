//! The log itself: append, sync, read, release, and the turn from one segment to the next.

use std::collections::VecDeque;
use std::fs::File;
use std::hash::{BuildHasher, Hasher};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::directory::{self, Lock, segment_path, unfinished_path};
use crate::error::{WalError, io_error};
use crate::format::{
    BLOCK, FRAME_HEAD_BYTES, FRAMES_START, FrameHead, RECORD_BYTES_MAX, RECORD_HEAD_BYTES, SegmentHeader,
    decode_record, record_head, record_length, to_block,
};
use crate::mmap::Mapping;
use crate::prepare::{Prepared, Spare, prepare};
use crate::recovery::{self, Kept};
use crate::{Options, Position, Record, Recovered, SyncMode};

/// A segment below this would be all header; one above needs offsets and counts that a frame's head does not have.
const SEGMENT_BYTES_RANGE: (u64, u64) = (4 * BLOCK as u64, 1 << 30);

/// An open log. One writer: it is neither shared nor cloned. Dropping it syncs nothing.
///
/// Invariants:
/// * `frame_at` is a block's start, at or behind which nothing was ever written in this segment, except the open frame.
/// * `cursor` is `frame_at` + a frame's head + the records appended since the last sync.
/// * A block's length behind the records stays free in every segment, so that a release finds room for its mark.
/// * `durable` < `next_frame`; frames up to `durable` will never be written again.
#[derive(Debug)]
pub struct Wal {
    dir: PathBuf,
    options: Options,
    /// The segments before the current one, ascending.
    kept: VecDeque<Kept>,
    current: SegmentHeader,
    mapping: Mapping,
    frame_at: usize,
    cursor: usize,
    frame_records: u32,
    next_frame: u64,
    durable: u64,
    last_checksum: u32,
    /// The first segment that counts.
    oldest: u64,
    /// Length of the next segment.
    next_length: usize,
    spare: Option<Spare>,
    poisoned: Option<String>,
    /// Last, so that it is let go after everything else.
    _lock: Lock,
}

impl Wal {
    /// Opens the log of a directory, which is made if it is missing, and returns what it holds.
    ///
    /// # Errors
    /// [`WalError::Locked`], [`WalError::Foreign`], [`WalError::Version`], [`WalError::Damaged`]: nothing was touched.
    /// [`WalError::NoSpace`], [`WalError::Io`]: may be tried again.
    pub fn open(dir: &Path, options: Options) -> Result<(Wal, Recovered), WalError> {
        let options = within_range(options);
        directory::create(dir)?;
        let lock = directory::lock(dir)?;
        let listing = directory::list(dir)?;
        let survey = recovery::survey(dir, &listing, options)?;
        for path in &listing.unfinished {
            directory::unlink(path)?;
        }
        for (header, copy) in &survey.repairs {
            rewrite_header(dir, header, *copy)?;
        }
        let segment = survey.newest + 1;
        let length = in_memory(options.segment_bytes_first);
        let header = SegmentHeader {
            store_id: options.store_id,
            segment,
            salt: random_salt(),
            length: length as u64,
            first_frame: survey.next_frame,
            previous_segment: survey.kept.back().map_or(0, |kept| kept.segment),
            oldest: survey.kept.front().map_or(segment, |kept| kept.segment),
            previous_checksum: survey.last_checksum,
        };
        // Never an append to a segment of an earlier life: its last block may hold half of what was cut. The new header
        // also says where the log ends now, so that the cut stays a cut whatever the old blocks turn out to hold.
        let mapping = prepare(&unfinished_path(dir, segment), length, options.sync)?.activate(
            dir,
            &header,
            options.sync,
        )?;
        for path in &survey.leftovers {
            directory::unlink(path)?;
        }
        let headers_repaired = survey.repairs.iter().map(|(header, _)| header.segment).collect();
        let wal = Wal {
            dir: dir.to_owned(),
            _lock: lock,
            kept: survey.kept,
            mapping,
            frame_at: FRAMES_START,
            cursor: FRAMES_START + FRAME_HEAD_BYTES,
            frame_records: 0,
            next_frame: survey.next_frame,
            durable: survey.next_frame - 1,
            last_checksum: survey.last_checksum,
            oldest: header.oldest,
            next_length: twice(length, &options),
            spare: None,
            poisoned: None,
            current: header,
            options,
        };
        Ok((wal, Recovered { records: survey.records, cut: survey.cut, headers_repaired }))
    }

    /// Appends a record, of which nothing is durable before the next [`Wal::sync`]; its position is final.
    ///
    /// Begins a new segment when this one is full, and then syncs what was appended before.
    ///
    /// # Errors
    /// [`WalError::TooLarge`], [`WalError::NoSpace`]: the log is as it was. All others poison it.
    pub fn append(&mut self, kind: u8, bytes: &[u8]) -> Result<Position, WalError> {
        self.check_poison()?;
        if bytes.len() > RECORD_BYTES_MAX {
            return Err(WalError::TooLarge { bytes: bytes.len() });
        }
        let needed = RECORD_HEAD_BYTES + bytes.len();
        if self.cursor + needed > self.records_end() {
            let prepared = self.take_prepared(needed);
            let turned = prepared.and_then(|prepared| self.rotate(prepared));
            self.poison_on_error(turned)?;
        }
        let position = self.next_position();
        let head = record_head(self.current.salt, position, kind, bytes);
        self.mapping.write(self.cursor, &head);
        self.mapping.write(self.cursor + RECORD_HEAD_BYTES, bytes);
        self.cursor += needed;
        self.frame_records += 1;
        if self.spare.is_none() && self.cursor > self.length() / 2 {
            self.start_spare();
        }
        Ok(position)
    }

    /// Makes everything durable that was appended so far: one msync. Nothing to do is no sync.
    ///
    /// # Errors
    /// [`WalError::Io`]: nobody knows what reached the disk, and the log is poisoned.
    pub fn sync(&mut self) -> Result<(), WalError> {
        self.check_poison()?;
        if self.frame_records == 0 {
            return Ok(());
        }
        let closed = self.close_frame();
        self.poison_on_error(closed)
    }

    /// Reads a record back, synced or not.
    ///
    /// # Errors
    /// [`WalError::NoRecord`] outside of the log, [`WalError::Damaged`] where no record starts or where the disk has
    /// damaged it, [`WalError::Io`]. None of them poisons.
    pub fn read(&self, position: Position) -> Result<Record, WalError> {
        self.check_poison()?;
        let missing = || WalError::NoRecord { position };
        if position >= self.next_position() || position < self.oldest() {
            return Err(missing());
        }
        if position.segment == self.current.segment {
            let end = if self.frame_records > 0 { self.cursor } else { self.frame_at };
            let written = self.mapping.bytes().get(in_memory(position.offset)..end).ok_or_else(missing)?;
            return self.decode(written, self.current.salt, position);
        }
        let kept = self.kept.binary_search_by_key(&position.segment, |kept| kept.segment);
        let kept = &self.kept[kept.map_err(|_| missing())?];
        let path = segment_path(&self.dir, kept.segment);
        let room = kept.end.checked_sub(position.offset).ok_or_else(missing)?;
        if room < RECORD_HEAD_BYTES as u64 {
            return Err(missing());
        }
        let file = File::open(&path).map_err(io_error("open", &path))?;
        let mut head = [0; RECORD_HEAD_BYTES];
        file.read_exact_at(&mut head, position.offset).map_err(io_error("read", &path))?;
        // A length that leads out of the segment is not followed: the checksum then fails, as it should.
        let bytes = (RECORD_HEAD_BYTES + record_length(&head)).min(in_memory(room));
        let mut record = vec![0; bytes];
        file.read_exact_at(&mut record, position.offset).map_err(io_error("read", &path))?;
        self.decode(&record, kept.salt, position)
    }

    /// Forgets what is before a position, as far as whole segments go; the segment of the position stays. What was
    /// appended and not yet synced is synced by this.
    ///
    /// # Errors
    /// [`WalError::NoSpace`] leaves the log as it was. All others poison it.
    pub fn release(&mut self, keep_from: Position) -> Result<(), WalError> {
        self.check_poison()?;
        let kept = self.kept.iter().map(|kept| kept.segment).find(|&segment| segment >= keep_from.segment);
        let oldest = kept.unwrap_or(self.current.segment);
        if oldest <= self.oldest {
            return Ok(());
        }
        let released = self.release_before(oldest);
        self.poison_on_error(released)
    }

    /// Bytes of all files of the log, the next segment included while it is prepared.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        let kept: u64 = self.kept.iter().map(|kept| kept.length).sum();
        kept + self.current.length + self.spare.as_ref().map_or(0, |spare| spare.length as u64)
    }

    /// No record before this is left.
    #[must_use]
    pub fn oldest(&self) -> Position {
        Position { segment: self.oldest, offset: FRAMES_START as u64 }
    }

    /// All records so far are before this, all later ones at it or behind.
    #[must_use]
    pub fn next_position(&self) -> Position {
        Position { segment: self.current.segment, offset: self.cursor as u64 }
    }

    /// Writes the head of the open frame, and waits for the disk.
    fn close_frame(&mut self) -> Result<(), WalError> {
        let head = FrameHead {
            sequence: self.next_frame,
            durable: self.durable,
            bytes: u32::try_from(self.cursor - self.frame_at).expect("a segment is shorter than 4 GiB"),
            records: self.frame_records,
            previous_checksum: self.last_checksum,
            position: Position { segment: self.current.segment, offset: self.frame_at as u64 },
            oldest: self.oldest,
        };
        let (bytes, checksum) = head.encode(self.current.salt);
        self.mapping.write(self.frame_at, &bytes);
        if self.options.sync == SyncMode::Always {
            let path = || segment_path(&self.dir, self.current.segment);
            let synced = self.mapping.sync(self.frame_at, self.cursor - self.frame_at);
            synced.map_err(|error| io_error("sync", &path())(error))?;
            self.durable = self.next_frame;
        }
        self.next_frame += 1;
        self.last_checksum = checksum;
        self.begin_frame(to_block(self.cursor));
        Ok(())
    }

    fn begin_frame(&mut self, frame_at: usize) {
        self.frame_at = frame_at;
        self.cursor = frame_at + FRAME_HEAD_BYTES;
        self.frame_records = 0;
    }

    /// A segment that takes a record of `needed` bytes: the spare one, or one made now.
    fn take_prepared(&mut self, needed: usize) -> Result<Prepared, WalError> {
        let at_least = to_block(FRAMES_START + FRAME_HEAD_BYTES + needed) + BLOCK;
        if let Some(spare) = self.spare.take() {
            if spare.length >= at_least {
                return spare.finish();
            }
            spare.discard()?;
        }
        let length = self.next_length.max(at_least);
        let (wanted, limit) = (length as u64, self.options.total_bytes_max);
        if self.disk_bytes() + wanted > limit {
            return Err(WalError::NoSpace { path: self.dir.clone(), wanted, limit: Some(limit) });
        }
        prepare(&unfinished_path(&self.dir, self.current.segment + 1), length, self.options.sync)
    }

    /// Turns to the next segment, which then vouches for all frames of this one.
    fn rotate(&mut self, prepared: Prepared) -> Result<(), WalError> {
        if self.frame_records > 0 {
            self.close_frame()?;
        }
        let header = SegmentHeader {
            segment: self.current.segment + 1,
            salt: random_salt(),
            length: prepared.length as u64,
            first_frame: self.next_frame,
            previous_segment: self.current.segment,
            oldest: self.oldest,
            previous_checksum: self.last_checksum,
            ..self.current
        };
        self.mapping = prepared.activate(&self.dir, &header, self.options.sync)?;
        let SegmentHeader { segment, salt, length, .. } = std::mem::replace(&mut self.current, header);
        self.kept.push_back(Kept { segment, salt, length, end: self.frame_at as u64 });
        self.next_length = twice(self.next_length, &self.options);
        self.begin_frame(FRAMES_START);
        Ok(())
    }

    /// Has the next segment prepared while this one fills, if there is room for it.
    fn start_spare(&mut self) {
        if self.disk_bytes() + self.next_length as u64 <= self.options.total_bytes_max {
            let path = unfinished_path(&self.dir, self.current.segment + 1);
            self.spare = Spare::start(path, self.next_length, self.options.sync);
        }
    }

    /// First a durable mark that says what counts, then the unlinking: a crash between them only leaves files that the
    /// next open removes, and a file that is missing although it counts is known to be missing.
    fn release_before(&mut self, oldest: u64) -> Result<(), WalError> {
        let room = self.frame_records > 0 || self.frame_at + BLOCK <= self.length();
        if room {
            self.oldest = oldest;
            self.close_frame()?;
        } else {
            // Past the limit, as the space comes back at once.
            let path = unfinished_path(&self.dir, self.current.segment + 1);
            let prepared = match self.spare.take() {
                Some(spare) => spare.finish()?,
                None => prepare(&path, self.next_length, self.options.sync)?,
            };
            self.oldest = oldest;
            self.rotate(prepared)?;
        }
        while let Some(kept) = self.kept.pop_front_if(|kept| kept.segment < oldest) {
            directory::unlink(&segment_path(&self.dir, kept.segment))?;
        }
        if self.options.sync == SyncMode::Always { directory::sync(&self.dir) } else { Ok(()) }
    }

    fn decode(&self, bytes: &[u8], salt: u64, position: Position) -> Result<Record, WalError> {
        let Position { segment, offset } = position;
        let damaged = |what| WalError::Damaged { dir: self.dir.clone(), segment, offset, what };
        let (kind, content) = decode_record(bytes, salt, position).map_err(damaged)?;
        Ok(Record { position, kind, bytes: content.to_vec() })
    }

    fn length(&self) -> usize {
        in_memory(self.current.length)
    }

    /// Where records end at the latest.
    fn records_end(&self) -> usize {
        self.length() - BLOCK
    }

    fn check_poison(&self) -> Result<(), WalError> {
        match &self.poisoned {
            Some(cause) => Err(WalError::Poisoned { cause: cause.clone() }),
            None => Ok(()),
        }
    }

    fn poison_on_error<T>(&mut self, result: Result<T, WalError>) -> Result<T, WalError> {
        if let Err(error) = &result
            && !matches!(error, WalError::NoSpace { .. })
        {
            self.poisoned = Some(error.to_string());
        }
        result
    }
}

impl Drop for Wal {
    fn drop(&mut self) {
        if let Some(spare) = self.spare.take() {
            // What cannot be unlinked now is at the next open.
            let _ = spare.discard();
        }
    }
}

fn within_range(options: Options) -> Options {
    let (least, most) = SEGMENT_BYTES_RANGE;
    let fit = |bytes: u64| bytes.clamp(least, most).next_multiple_of(BLOCK as u64);
    let first = fit(options.segment_bytes_first);
    Options {
        segment_bytes_first: first,
        segment_bytes_max: fit(options.segment_bytes_max).max(first),
        ..options
    }
}

fn twice(length: usize, options: &Options) -> usize {
    (2 * length).min(in_memory(options.segment_bytes_max))
}

fn rewrite_header(dir: &Path, header: &SegmentHeader, copy: u64) -> Result<(), WalError> {
    let path = segment_path(dir, header.segment);
    let file = File::options().write(true).open(&path).map_err(io_error("open", &path))?;
    file.write_all_at(&header.encode(), copy).map_err(io_error("write header", &path))?;
    file.sync_data().map_err(io_error("sync header", &path))
}

/// An offset or length in a segment as one in memory: segments are mapped whole.
fn in_memory(bytes: u64) -> usize {
    usize::try_from(bytes).expect("segments are bounded to what can be mapped")
}

/// Random enough that no two segments share it: the standard library seeds its hashers from the system.
fn random_salt() -> u64 {
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_failed_sync_nothing_is_retried_and_everything_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (mut wal, _) = Wal::open(dir.path(), Options::default()).unwrap();
        let synced = wal.append(1, b"synced").unwrap();
        wal.sync().unwrap();
        wal.append(1, b"not synced").unwrap();
        wal.mapping.fail_syncs = true;
        assert!(matches!(wal.sync(), Err(WalError::Io { what: "sync", .. })));
        wal.mapping.fail_syncs = false;
        let poisoned = |result: Result<(), WalError>| matches!(result, Err(WalError::Poisoned { .. }));
        assert!(poisoned(wal.sync()));
        assert!(poisoned(wal.append(1, b"later").map(drop)));
        assert!(poisoned(wal.read(synced).map(drop)));
        assert!(poisoned(wal.release(synced)));
        drop(wal);
        let (_, recovered) = Wal::open(dir.path(), Options::default()).unwrap();
        assert_eq!(recovered.records[0].bytes, b"synced");
    }

    #[test]
    fn a_release_without_room_for_its_mark_turns_to_a_new_segment() {
        let dir = tempfile::tempdir().unwrap();
        let small = Options { segment_bytes_first: 0, segment_bytes_max: 0, ..Options::default() };
        let (mut wal, _) = Wal::open(dir.path(), small).unwrap();
        for _ in 0..3 {
            wal.append(1, b"a segment each").unwrap();
            wal.sync().unwrap();
        }
        for segment in 2..=3 {
            wal.release(Position { segment, offset: 0 }).unwrap();
            assert_eq!(wal.oldest().segment, segment);
        }
        assert_eq!(wal.current.segment, 4, "the first mark took the reserve, the second a new segment");
        drop(wal);
        let (_, recovered) = Wal::open(dir.path(), small).unwrap();
        assert_eq!(recovered.records.len(), 1);
    }
}
