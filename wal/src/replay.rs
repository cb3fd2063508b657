//! What the frames of a log come to, frame by frame; and where one is damaged, what that means. The decision table, for
//! frame *s* of a segment, *D* being the highest frame that anything proves durable:
//!
//! ```text
//!   whole                                                      applied
//!   s ≤ D, head or mirror readable                             its intact entries are applied, the others become FAULTY
//!   s ≤ D, neither readable                                    a HOLE: groups are in doubt until something later tells
//!   s > D, mirror and contents whole                           applied
//!   s > D, head or mirror readable, contents not               TORN: the log ends before it; its votes count nevertheless
//!   s > D, neither readable                                    TORN: the log ends before it
//! ```
//!
//! In a sealed segment all frames are ≤ D. The votes of a torn frame count because it may have been acknowledged, if
//! it is a damaged one after all; and to have voted without anybody knowing harms nobody.

use std::collections::{BTreeMap, BTreeSet};

use crate::bytes;
use crate::frame::{Copy, HEAD_BYTES};
use crate::groups::{Groups, Site};
use crate::layout::{BLOCK, FRAMES_START, SegmentHeader};
use crate::recovered::{Damage, Faulty, Loss, Report, Torn};
use crate::runs::{Run, Runs, What};
use crate::scan::{self, DamagedEntry, Fault, Found};
use crate::stride::Stride;
use crate::window::Window;

/// The state of a log that is read from its oldest segment to its newest.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    pub(crate) groups: Groups,
    pub(crate) report: Report,
    /// Something is missing since the last table: whether a term or a vote may be, too.
    hole: Option<bool>,
    /// Segments whose table could not be read. What lies in them can be told only with those before.
    pub(crate) without_table: BTreeSet<u64>,
    /// Where the log stands: the frame to come, its place in the segment, and the checksum of the one before.
    next: u64,
    at: usize,
    previous: u32,
    stride: Stride,
    /// Where the first frame behind D begins, and the checksum of D; of the newest segment.
    pub(crate) proven_end: usize,
    pub(crate) proven_checksum: u32,
}

/// How far a segment goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// Up to this frame, as the header of the next segment says.
    Frame(u64),
    /// Nobody knows: the next segment is missing. Up to the last frame that is found.
    LastFound,
    /// To the end of the log, all frames up to this one being durable.
    Proven(u64),
}

impl Replay {
    /// Notes that segments are missing before the next one.
    pub(crate) fn miss_segment(&mut self, segment: u64, what: &'static str) {
        self.report.damage.push(Damage { segment, offset: 0, what, loss: Loss::Segment });
        self.note_hole(true);
    }

    /// Reads a segment.
    pub(crate) fn segment(&mut self, window: &mut Window, header: &SegmentHeader, until: Until) {
        self.report.segments += 1;
        self.without_table.insert(header.segment);
        (self.next, self.at, self.previous) = (header.first_frame, FRAMES_START, header.previous_checksum);
        if let Until::Proven(durable) = until
            && durable < self.next
        {
            (self.proven_end, self.proven_checksum) = (self.at, self.previous);
        }
        let fault = loop {
            if until == Until::Frame(self.next) {
                return;
            }
            match scan::whole_frame(window, self.at, header, self.next, self.previous, &mut self.stride) {
                Ok(copy) => {
                    let at = copy.head.offset;
                    self.apply(&copy, at, &[], (header, until));
                }
                Err(fault) => break fault,
            }
        };
        self.piece_together(window, header, until, fault);
    }

    /// From the first frame on that is not whole.
    fn piece_together(
        &mut self,
        window: &mut Window,
        header: &SegmentHeader,
        until: Until,
        mut fault: Fault,
    ) {
        let found = scan::look_for_frames(window, self.at, header);
        // No more frames than blocks, whatever numbers a file may claim.
        let most = self.next + bytes::length(header.length).div_ceil(BLOCK) as u64;
        let durable = match until {
            Until::Frame(end) => end - 1,
            Until::LastFound => found.last_key_value().map_or(0, |(&last, _)| last),
            Until::Proven(durable) => durable,
        };
        loop {
            if until == Until::Frame(self.next) || (until == Until::LastFound && self.next > durable) {
                return;
            }
            let proven = self.next <= durable;
            // A frame lies behind all before it, whatever a mirror may claim: what is behind the last proven one is known by
            // its place (`Survey::to_be_copied`).
            let belongs =
                |found: &&Found| found.head.offset >= self.at && scan::follows(&found.head, self.previous);
            let frame = found.get(&self.next).filter(belongs);
            match frame {
                Some(frame) => {
                    let contents = window.at(frame.head.payload_offset(), frame.head.payload_bytes);
                    let damaged = scan::damaged_entries(&frame.copy(), contents, &mut self.stride);
                    if !proven && !damaged.is_empty() {
                        return self.torn(window, header, Some(frame), damaged[0].fault);
                    }
                    if proven {
                        self.note_damage(header.segment, frame, &damaged, fault);
                    }
                    self.apply(&frame.copy(), frame.at, &damaged, (header, until));
                }
                None if proven && self.next < most => {
                    let next = found.range(self.next..).find(|(_, frame)| frame.head.offset >= self.at);
                    self.skip(next.map(|(&next, frame)| (next, frame)), header, (durable, until), fault);
                }
                None => return self.torn(window, header, None, fault),
            }
            fault = Fault { offset: self.at, what: "magic of frame" };
        }
    }

    /// Steps over frames of which nothing can be read, up to the next that can, or to the last durable one.
    fn skip(
        &mut self,
        to: Option<(u64, &Found)>,
        header: &SegmentHeader,
        (durable, until): (u64, Until),
        fault: Fault,
    ) {
        let next = to.map_or(durable + 1, |(next, _)| next.min(durable + 1)).max(self.next + 1);
        let one_block =
            to.is_some_and(|(next, frame)| next == self.next + 1 && frame.head.offset == self.at + BLOCK);
        let loss = Loss::Frames(next - self.next);
        let damage = Damage { segment: header.segment, offset: fault.offset as u64, what: fault.what, loss };
        self.report.damage.push(damage);
        // A frame that changes a term or a vote has two blocks.
        self.note_hole(!one_block);
        self.at = to.map_or(self.at, |(_, frame)| frame.head.offset);
        (self.next, self.previous) = (next, 0);
        if until == Until::Proven(next - 1) {
            (self.proven_end, self.proven_checksum) = (self.at, 0);
        }
    }

    /// The log ends here, with something behind its end or without.
    fn torn(&mut self, window: &mut Window, header: &SegmentHeader, frame: Option<&Found>, fault: Fault) {
        if frame.is_none() && scan::is_blank(window, self.at) {
            return;
        }
        let mut entries = Vec::new();
        for run in frame.iter().flat_map(|frame| Runs::of(&frame.directory)).flatten() {
            match run.what {
                What::Entries { first, term, items, .. } => {
                    let faulty = Faulty { first, count: items.count() as u64, term: Some(term) };
                    entries.push((run.group, faulty));
                }
                What::HardState { term, .. } if !destroys(frame, run.group) => {
                    let known = self.groups.by_id.get(&run.group).map_or(0, |group| group.term);
                    if term >= known {
                        self.apply_run(&run, Site { segment: header.segment, directory: 0, payload: 0 });
                    }
                }
                _ => {}
            }
        }
        let (segment, offset) = (header.segment, self.at as u64);
        self.report.torn = Some(Torn { segment, offset, what: fault.what, entries });
    }

    fn note_damage(&mut self, segment: u64, frame: &Found, damaged: &[DamagedEntry], fault: Fault) {
        for entry in damaged {
            let loss = Loss::Entry { group: entry.group, index: entry.index };
            let (offset, what) = (entry.fault.offset as u64, entry.fault.what);
            self.report.damage.push(Damage { segment, offset, what, loss });
        }
        if !frame.has_head() {
            let offset = frame.head.offset as u64;
            let what = if fault.offset == frame.head.offset { fault.what } else { "magic of frame" };
            self.report.damage.push(Damage { segment, offset, what, loss: Loss::Nothing });
        }
    }

    /// Applies a frame, of which this copy of head and directory lies at `at`, but for its damaged entries: their slots stay.
    fn apply(
        &mut self,
        copy: &Copy<'_>,
        at: usize,
        damaged: &[DamagedEntry],
        (header, until): (&SegmentHeader, Until),
    ) {
        let head = &copy.head;
        let site = Site { segment: head.segment, directory: at + HEAD_BYTES, payload: head.payload_offset() };
        let is_table = head.sequence == header.first_frame;
        if is_table {
            self.keep_only_listed(copy);
        }
        for run in Runs::of(copy.directory).flatten() {
            self.apply_run(&run, site);
        }
        if is_table {
            self.hole = None;
            self.without_table.remove(&header.segment);
        }
        for entry in damaged {
            if let Some(group) = self.groups.by_id.get_mut(&entry.group)
                && group.term_at(entry.index) == entry.term
            {
                group.damage(entry.index, entry.term, &mut self.groups.usage);
            }
        }
        self.report.frames += 1;
        self.report.bytes += head.bytes as u64;
        (self.next, self.at) = (head.sequence + 1, head.offset + head.bytes);
        self.previous = copy.checksum;
        if until == Until::Proven(head.sequence) {
            (self.proven_end, self.proven_checksum) = (self.at, self.previous);
        }
    }

    fn apply_run(&mut self, run: &Run<'_>, site: Site) {
        // A group that is first heard of behind a hole may have begun in it.
        if let Some(may_vote) = self.hole
            && !matches!(run.what, What::Destroy | What::Ignored)
            && !self.groups.by_id.contains_key(&run.group)
        {
            self.groups.by_id.entry(run.group).or_default().note_hole(may_vote);
        }
        self.groups.apply(run, site);
    }

    /// Groups that a table does not list were destroyed: in a hole before it, or in a frame that nothing proved durable in
    /// its own segment, and which counts by what this table says.
    fn keep_only_listed(&mut self, table: &Copy<'_>) {
        let listed: BTreeSet<u64> = Runs::of(table.directory).flatten().map(|run| run.group).collect();
        let Groups { by_id, usage } = &mut self.groups;
        let old = std::mem::take(by_id);
        let (kept, gone): (BTreeMap<_, _>, BTreeMap<_, _>) =
            old.into_iter().partition(|(id, _)| listed.contains(id));
        gone.into_values().for_each(|mut group| group.forget_entries(usage));
        *by_id = kept;
    }

    fn note_hole(&mut self, may_vote: bool) {
        self.hole = Some(may_vote || self.hole.unwrap_or(false));
        for group in self.groups.by_id.values_mut() {
            group.note_hole(may_vote);
        }
    }

    /// All segments are read.
    pub(crate) fn finish(&mut self) {
        self.report.groups_may_be_missing = self.hole.is_some();
    }
}

/// Whether a frame destroys a group: then its votes in it count for nothing.
fn destroys(frame: Option<&Found>, group: u64) -> bool {
    let mut runs = frame.into_iter().flat_map(|frame| Runs::of(&frame.directory)).flatten();
    runs.any(|run| run.group == group && run.what == What::Destroy)
}
