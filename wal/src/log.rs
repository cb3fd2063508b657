//! The log itself: commit, mark, read, reclaim, and the turn from one segment to the next.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::Options;
use crate::batch::Batch;
use crate::bytes::length;
use crate::error::{WalError, io_error, space_error};
use crate::frame::{Head, Mirror, frame_bytes};
use crate::group::Piece;
use crate::groups::{Groups, Site};
use crate::layout::{BLOCK, FRAMES_START, SegmentHeader};
use crate::media::{Ahead, Directory, Guard, Media, Store};
use crate::prepare::{Progress, Spare, prepare};
use crate::read::{copies, read_group};
use crate::recovered::{GroupState, Recovered};
use crate::recovery::{self, Asker, segment_name, unfinished_name};
use crate::space::{reserve, room, twice, within_range};

/// Frames up to this length are put together in memory and stored by one call; of longer ones that copy would cost more
/// than two calls do (6 µs for 64 KiB).
const STORED_AT_ONCE: usize = 16 * BLOCK;

/// An open log. One writer: it is neither shared nor cloned. Dropping it syncs nothing.
///
/// Invariants:
/// * `end` is a block's start, at or behind which nothing was ever written in the current segment.
/// * All frames before `next` are durable: there is no frame under way between two calls.
/// * `oldest` is written in the current segment's header or in a durable frame; what is before it is unlinked, or was.
#[derive(Debug)]
pub struct Wal {
    media: Arc<dyn Media>,
    options: Options,
    groups: Groups,
    /// Lengths of the segments before the current one, by number.
    kept: BTreeMap<u64, u64>,
    current: SegmentHeader,
    file: Box<dyn Store>,
    end: usize,
    next: u64,
    last_checksum: u32,
    /// The first segment that counts, as told in `current` or in a frame.
    oldest: u64,
    /// Whether a frame stands behind the last one that holds anything.
    marked: bool,
    /// Length of the next segment.
    next_length: u64,
    spare: Option<Spare>,
    /// The last try to prepare the next segment found no space for it.
    short: bool,
    poisoned: Option<String>,
    /// The frame being written, of a long one without its contents.
    scratch: Vec<u8>,
    /// Last, so that it is let go after everything else.
    _guard: Guard,
}

impl Wal {
    /// Opens the log of a directory, which is made if it is missing, and returns what it holds.
    ///
    /// # Errors
    /// As [`Wal::open_on`].
    pub fn open(dir: &Path, options: Options) -> Result<(Wal, Recovered), WalError> {
        Wal::open_on(Arc::new(Directory::new(dir, options.sync)), options)
    }

    /// Opens a log wherever it lives. Damage is no error but a finding in what is returned, except where nothing can be
    /// said of what is lost.
    ///
    /// # Errors
    /// [`WalError::Locked`], [`WalError::Foreign`], [`WalError::Version`], [`WalError::Flags`], [`WalError::Damaged`]:
    /// nothing was touched. [`WalError::NoSpace`], [`WalError::Io`]: may be tried again.
    pub fn open_on(media: Arc<dyn Media>, options: Options) -> Result<(Wal, Recovered), WalError> {
        let options = within_range(options);
        let guard = match media.lock() {
            Ok(guard) => guard,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(WalError::Locked { path: media.path("LOCK") });
            }
            Err(error) => return Err(io_error("lock", media.path("LOCK"))(error)),
        };
        let survey = recovery::survey(&*media, Asker::Owner(options.store_id))?;
        for name in &survey.unfinished {
            media.remove(name).map_err(io_error("remove", media.path(name)))?;
        }
        let mut batches = vec![survey.groups.table()];
        batches.extend(copies(&*media, &survey.to_be_copied())?);
        let (header, store) = begin(&*media, &options, &survey.header, &batches)?;
        let mut wal = Wal {
            kept: survey.kept,
            file: store,
            end: FRAMES_START,
            next: header.first_frame,
            last_checksum: header.previous_checksum,
            oldest: 0,
            marked: true,
            next_length: twice(header.length, &options),
            spare: None,
            short: false,
            poisoned: None,
            scratch: Vec::new(),
            groups: survey.groups,
            current: header,
            media,
            options,
            _guard: guard,
        };
        wal.activate(batches)?;
        wal.unlink_old(&survey.segments)?;
        let states = wal.groups.by_id.iter().map(|(&id, group)| (id, GroupState::of(group))).collect();
        Ok((wal, Recovered { groups: states, report: survey.report }))
    }

    /// Writes a batch as one frame and makes it durable: one sync, however many groups there are in it. When this
    /// returns, the batch and all before it are. Nothing in it is nothing done.
    ///
    /// # Errors
    /// [`WalError::TooLarge`], [`WalError::NoSpace`]: the log is as it was. All others poison it.
    ///
    /// # Panics
    /// When entries of a group leave a gap: what would be written is no log.
    pub fn commit(&mut self, batch: &mut Batch) -> Result<(), WalError> {
        self.check_poison()?;
        if batch.is_empty() {
            return Ok(());
        }
        self.put(batch)?;
        self.marked = false;
        Ok(())
    }

    /// Proves the last frame durable by one behind it, unless that was done. To be called when the log has been idle for
    /// some time: until then, damage to the last frame cannot be told from a torn tail.
    ///
    /// # Errors
    /// As [`Wal::commit`].
    pub fn mark(&mut self) -> Result<(), WalError> {
        self.check_poison()?;
        if !self.marked {
            self.put(&mut Batch::new())?;
            self.marked = true;
        }
        Ok(())
    }

    /// Frees the segments that no group needs any more. While the log is longer than [`Options::slack_bytes`] and twice
    /// what is needed of it, moves what is needed of the oldest segment to the end; at most one segment a call.
    ///
    /// # Errors
    /// As [`Wal::commit`]; and [`WalError::Damaged`] when an entry that is to be moved is.
    pub fn reclaim(&mut self) -> Result<(), WalError> {
        self.check_poison()?;
        if !self.is_too_long() {
            return Ok(());
        }
        if self.oldest_needed() == self.oldest && self.oldest < self.current.segment {
            let oldest = self.oldest;
            let moved: Vec<(u64, Piece)> = self.groups.pieces_where(|spot| spot.segment == oldest);
            let copied = copies(&*self.media, &moved);
            for mut batch in self.poison_on_error(copied)? {
                self.put(&mut batch)?;
            }
        }
        if self.oldest_needed() > self.oldest {
            self.marked = false;
            self.mark()?;
        }
        Ok(())
    }

    /// Reads the entries of a group from this index on, in order: index, term and content. Slots that are faulty are
    /// left out.
    ///
    /// # Errors
    /// [`WalError::Damaged`] when the disk has damaged one since the log was opened, [`WalError::Io`]; and whatever `visit`
    /// answers. None of them poisons.
    pub fn read<E: From<WalError>>(
        &self,
        group: u64,
        from: u64,
        mut visit: impl FnMut(u64, u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        read_group(&*self.media, &self.groups, group, from, &mut visit)
    }

    /// What the log knows of a group now.
    #[must_use]
    pub fn group(&self, group: u64) -> Option<GroupState> {
        self.groups.by_id.get(&group).map(GroupState::of)
    }

    /// Lowest index of a group that is still needed; 1 for one that the log does not know.
    #[must_use]
    pub fn first(&self, group: u64) -> u64 {
        self.groups.by_id.get(&group).map_or(1, crate::group::Group::first)
    }

    /// Bytes of all files of the log, the next segment included while it is prepared.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        let kept: u64 = self.kept.values().sum();
        kept + self.current.length + self.spare.as_ref().map_or(0, Spare::length)
    }

    /// Whether there is space for what comes: the next segment is ready, or nothing says that it will not be. When there is
    /// none, half of the current one is still left, for what is under way and for votes. To be asked now and then: each call
    /// tries once more to have the next one prepared.
    ///
    /// # Errors
    /// As [`Wal::commit`], but never for want of space.
    pub fn has_room(&mut self) -> Result<bool, WalError> {
        self.check_poison()?;
        self.look_at_spare()?;
        self.prepare_ahead();
        self.look_at_spare()?;
        Ok(!self.short)
    }

    /// Bytes of the entries that are still needed.
    #[must_use]
    pub fn live_bytes(&self) -> u64 {
        self.groups.usage.bytes()
    }

    /// Number of the last frame. All up to it are durable.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.next - 1
    }

    /// Number of the segment that is written to.
    #[must_use]
    pub fn segment(&self) -> u64 {
        self.current.segment
    }

    fn put(&mut self, batch: &mut Batch) -> Result<(), WalError> {
        let mirror = if self.groups.changes_hard_state(batch) { Mirror::Apart } else { Mirror::Near };
        let bytes = frame_bytes(batch.directory.len(), batch.payload.len(), mirror);
        if bytes > crate::FRAME_BYTES_MAX {
            return Err(WalError::TooLarge { bytes });
        }
        // What has no entries may still go when there is no space for more: votes, and what frees space.
        let reserve = if batch.entries > 0 { reserve(self.current.length) } else { 0 };
        if self.end + bytes + reserve > length(self.current.length) {
            let mut turned = self.turn(bytes);
            let is_full = matches!(turned, Err(WalError::NoSpace { .. }));
            if is_full
                && self.oldest_needed() > self.oldest
                && self.end + BLOCK <= length(self.current.length)
            {
                // Space that is only waiting for a frame that says so.
                self.put(&mut Batch::new())?;
                turned = self.turn(bytes);
            }
            match turned {
                Err(error @ WalError::NoSpace { .. }) => return Err(error),
                turned => self.poison_on_error(turned)?,
            }
        }
        let written = self.write_and_sync(batch, bytes);
        self.poison_on_error(written)
    }

    fn write_and_sync(&mut self, batch: &mut Batch, bytes: usize) -> Result<(), WalError> {
        let (at, durable) = (self.end, self.next - 1);
        self.oldest_told();
        let told = self.oldest;
        self.write_frame(batch, bytes, durable)?;
        self.file.sync(at, bytes).map_err(|error| self.failed("sync", error))?;
        self.free_before(told)?;
        self.prepare_ahead();
        Ok(())
    }

    /// Lays a frame at the end of the current segment. Nothing of it is durable yet.
    fn write_frame(&mut self, batch: &mut Batch, bytes: usize, durable: u64) -> Result<(), WalError> {
        let mut head = Head {
            sequence: self.next,
            durable,
            bytes,
            directory_bytes: batch.directory.len(),
            payload_bytes: batch.payload.len(),
            previous: self.last_checksum,
            offset: self.end,
            segment: self.current.segment,
            oldest: self.oldest,
        };
        let payload_at = head.payload_offset();
        let directory = payload_at - head.directory_bytes;
        self.groups.apply_batch(batch, Site { segment: head.segment, directory, payload: payload_at });
        head.payload_bytes = batch.payload.len();
        let checksum = head.encode(self.current.salt, &batch.directory, &mut self.scratch);
        let file = &mut self.file;
        let written = if bytes <= STORED_AT_ONCE {
            head.complete(&batch.payload, &mut self.scratch);
            file.write(head.offset, &self.scratch)
        } else {
            head.complete(&[], &mut self.scratch);
            let (copy, rest) = self.scratch.split_at(payload_at - head.offset);
            file.write(head.offset, copy)
                .and_then(|()| file.write(payload_at, &batch.payload))
                .and_then(|()| file.write(payload_at + batch.payload.len(), rest))
        };
        written.map_err(|error| self.failed("write", error))?;
        self.last_checksum = checksum;
        self.next += 1;
        self.end += bytes;
        Ok(())
    }

    /// What the system answered about the current segment.
    fn failed(&self, what: &'static str, error: io::Error) -> WalError {
        io_error(what, self.media.path(&segment_name(self.current.segment)))(error)
    }

    /// Turns to the next segment, with room for a frame of `needed` bytes behind its table.
    fn turn(&mut self, needed: usize) -> Result<(), WalError> {
        let batches = vec![self.groups.table()];
        let at_least = room(&batches, needed);
        let (store, length) = self.take_prepared(at_least)?;
        let header = SegmentHeader {
            segment: self.current.segment + 1,
            salt: self.media.salt(),
            length,
            first_frame: self.next,
            previous_segment: self.current.segment,
            previous_checksum: self.last_checksum,
            ..self.current
        };
        let old = std::mem::replace(&mut self.current, header);
        self.kept.insert(old.segment, old.length);
        self.file = store;
        self.short = false;
        self.next_length = twice(length, &self.options);
        self.activate(batches)
    }

    /// Fills the current segment, a prepared one without a name, with its header and first frames, and gives it its name:
    /// once it has that, all that it needs is durable.
    fn activate(&mut self, batches: Vec<Batch>) -> Result<(), WalError> {
        let (proven, segment) = (self.next - 1, self.current.segment);
        (self.end, self.marked) = (FRAMES_START, true);
        let (unfinished, name) = (unfinished_name(segment), segment_name(segment));
        for mut batch in batches {
            let bytes = frame_bytes(batch.directory.len(), batch.payload.len(), Mirror::Apart);
            self.write_frame(&mut batch, bytes, proven)?;
        }
        self.oldest_told();
        self.current.oldest = self.oldest;
        self.current.durable = self.next - 1;
        let header = self.current.encode();
        let failed = |what| io_error(what, self.media.path(&unfinished));
        for copy in [0, BLOCK] {
            self.file.write(copy, &header).map_err(failed("write"))?;
        }
        self.file.sync(0, self.end).map_err(failed("sync"))?;
        self.media.rename(&unfinished, &name).map_err(failed("rename"))?;
        self.media.sync_names().map_err(failed("sync name of"))?;
        self.free_before(self.oldest)
    }

    /// A segment that takes at least so many bytes: the spare one, or one made now.
    fn take_prepared(&mut self, at_least: u64) -> Result<(Box<dyn Store>, u64), WalError> {
        let name = unfinished_name(self.current.segment + 1);
        if let Some(spare) = self.spare.take() {
            if spare.length() >= at_least {
                let length = spare.length();
                let store = spare.finish().map_err(space_error(self.media.path(&name), length))?;
                return Ok((store, length));
            }
            spare.discard();
        }
        let length = self.next_length.max(at_least);
        let limit = self.options.total_bytes_max;
        if self.disk_bytes() + length > limit {
            return Err(WalError::NoSpace { path: self.media.path(""), wanted: length, limit: Some(limit) });
        }
        prepare(&*self.media, &name, length).map(|store| (store, length))
    }

    /// Has the next segment prepared while this one fills, if there is room for it.
    fn prepare_ahead(&mut self) {
        let length = self.next_length;
        if self.spare.is_none()
            && self.media.ahead() != Ahead::Never
            && self.end as u64 > self.current.length / 2
        {
            if self.disk_bytes() + length > self.options.total_bytes_max {
                self.short = true;
                return;
            }
            let name = unfinished_name(self.current.segment + 1);
            self.spare = Spare::start(Arc::clone(&self.media), name, length);
        }
    }

    /// Notes what came of the next segment. For one that did not fit, a smaller one is tried.
    fn look_at_spare(&mut self) -> Result<(), WalError> {
        self.spare = self.spare.take().map(Spare::settled);
        match self.spare.as_ref().map(Spare::progress) {
            Some(Progress::Ready) => self.short = false,
            Some(Progress::NoSpace) => {
                (self.short, self.spare) = (true, None);
                self.next_length = self.options.segment_bytes_first;
            }
            Some(Progress::Failed) => {
                let failed = self.spare.take().map_or(Ok(()), |spare| {
                    let error =
                        io_error("prepare", self.media.path(&unfinished_name(self.current.segment + 1)));
                    spare.finish().map(drop).map_err(error)
                });
                return self.poison_on_error(failed);
            }
            Some(Progress::UnderWay) | None => {}
        }
        Ok(())
    }

    fn oldest_needed(&self) -> u64 {
        self.groups.usage.oldest().unwrap_or(self.current.segment)
    }

    /// What the next frame, or header, says of the oldest segment: what is needed now, with all of it durable.
    fn oldest_told(&mut self) {
        self.oldest = self.oldest_needed().max(self.oldest);
    }

    /// Unlinks the segments before one, as a durable frame or header says. Their names may come back after a loss of
    /// power, and are then ignored: so this waits for nothing.
    fn free_before(&mut self, oldest: u64) -> Result<(), WalError> {
        while let Some(entry) = self.kept.first_entry().filter(|entry| *entry.key() < oldest) {
            let name = segment_name(*entry.key());
            entry.remove();
            self.media.remove(&name).map_err(io_error("remove", self.media.path(&name)))?;
        }
        Ok(())
    }

    /// Removes those of the segments found that do not count.
    fn unlink_old(&mut self, found: &[u64]) -> Result<(), WalError> {
        for &segment in found.iter().filter(|&&segment| segment < self.oldest) {
            let name = segment_name(segment);
            self.media.remove(&name).map_err(io_error("remove", self.media.path(&name)))?;
        }
        Ok(())
    }

    fn is_too_long(&self) -> bool {
        self.disk_bytes() > 2 * self.live_bytes() + self.options.slack_bytes
    }

    fn check_poison(&self) -> Result<(), WalError> {
        match &self.poisoned {
            Some(cause) => Err(WalError::Poisoned { cause: cause.clone() }),
            None => Ok(()),
        }
    }

    fn poison_on_error<T>(&mut self, result: Result<T, WalError>) -> Result<T, WalError> {
        if let Err(error) = &result {
            self.poisoned = Some(error.to_string());
        }
        result
    }
}

impl Drop for Wal {
    fn drop(&mut self) {
        if let Some(spare) = self.spare.take() {
            // What cannot be removed now is at the next open.
            spare.discard();
        }
    }
}

/// The first segment of a life. Never an append to a segment of an earlier life: its last block may hold half of what was
/// torn, and its pages are not as `Directory` made them.
fn begin(
    media: &dyn Media,
    options: &Options,
    header: &SegmentHeader,
    batches: &[Batch],
) -> Result<(SegmentHeader, Box<dyn Store>), WalError> {
    let length = options.segment_bytes_first.max(room(batches, 0));
    let store = prepare(media, &unfinished_name(header.segment), length)?;
    Ok((SegmentHeader { salt: media.salt(), length, ..*header }, store))
}
