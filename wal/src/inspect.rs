//! Looking into a log without opening it: what the next start would find, and every frame that can be read, wherever it
//! lies, with what is wrong with it. Nothing is written, synced or locked, and so a live log may be looked at: its last
//! frame may be half there, and a segment may go while it is looked at.

use std::fmt;
use std::io;

use crate::bytes::length;
use crate::error::{WalError, io_error};
use crate::frame::HEAD_BYTES;
use crate::groups::Groups;
use crate::layout::{BLOCK, FRAMES_START, HEADER_BYTES, HeaderFault, SegmentHeader};
use crate::media::{Media, Source};
use crate::read::read_group;
use crate::recovered::{GroupState, Recovered};
use crate::recovery::{self, Asker, number_of, segment_name};
use crate::runs::{Run, Runs, What, entry_checksum};
use crate::scan;
use crate::stride::Stride;
use crate::window::Window;

/// A segment, or a frame in one; they come in the order of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// A segment begins.
    Segment(SegmentSeen),
    /// A frame of it.
    Frame(FrameSeen),
}

/// A segment's headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentSeen {
    /// Its number.
    pub segment: u64,
    /// Whose it is, if a header can be read.
    pub store_id: u64,
    /// Bytes that it says it has, if a header can be read.
    pub bytes: u64,
    /// Its first frame.
    pub first_frame: u64,
    /// The first segment that counted when it was begun.
    pub oldest: u64,
    /// What is wrong with each of the two copies of its header.
    pub faults: [Option<String>; 2],
}

/// A frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameSeen {
    /// Number of its segment.
    pub segment: u64,
    /// Where it starts in it.
    pub offset: u64,
    /// Its number.
    pub sequence: u64,
    /// The last frame that it proves durable.
    pub durable: u64,
    /// The first segment that counts.
    pub oldest: u64,
    /// Its length.
    pub bytes: u64,
    /// Whether only its mirror can be read.
    pub head_is_damaged: bool,
    /// Whether its mirror cannot.
    pub mirror_is_damaged: bool,
    /// What it says, run by run.
    pub runs: Vec<RunSeen>,
    /// Group and index of entries that are damaged.
    pub damaged: Vec<(u64, u64)>,
    /// Where the copy of its head was found that was read.
    copy_at: usize,
}

/// An entry of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntrySeen<'a> {
    /// Whose.
    pub group: u64,
    /// Which.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// Bytes that it has, damaged or not.
    pub bytes: u64,
    /// What is in it; none if that is damaged.
    pub content: Option<&'a [u8]>,
}

/// What a frame says about one group. Prints as `g1 entries 5..8 @3`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunSeen {
    /// The group.
    pub group: u64,
    /// What it says.
    pub what: String,
}

impl fmt::Display for RunSeen {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "g{} {}", self.group, self.what)
    }
}

/// What [`crate::Wal::open`] would find now.
#[derive(Debug)]
pub struct Examined {
    /// Whose log it is, if any segment says so.
    pub store_id: Option<u64>,
    /// What is in it.
    pub recovered: Recovered,
    groups: Groups,
}

impl Examined {
    /// Reads the entries of a group from this index on, as [`crate::Wal::read`] does, on the media that was examined.
    ///
    /// # Errors
    /// As there; the owner of a live log may have freed what is asked for.
    pub fn read<E: From<WalError>>(
        &self,
        media: &dyn Media,
        group: u64,
        from: u64,
        mut visit: impl FnMut(u64, u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        read_group(media, &self.groups, group, from, &mut visit)
    }
}

/// Finds what [`crate::Wal::open`] would find now. On a live log, what was acknowledged before the call is in it.
///
/// # Errors
/// As [`crate::Wal::open_on`], except that nobody is refused; segments that belong to different stores are.
pub fn examine(media: &dyn Media) -> Result<Examined, WalError> {
    // The owner may free a segment between our look at the names and our look into it. It does so once in many thousand
    // commits, so that more than a few in a row is no such accident.
    let mut tries = 5;
    let survey = loop {
        match recovery::survey(media, Asker::Onlooker) {
            Err(WalError::Io { source, .. }) if tries > 0 && source.kind() == io::ErrorKind::NotFound => {
                tries -= 1;
            }
            survey => break survey?,
        }
    };
    let store_id = (!survey.kept.is_empty()).then_some(survey.header.store_id);
    let states = survey.groups.by_id.iter().map(|(&id, group)| (id, GroupState::of(group))).collect();
    Ok(Examined {
        store_id,
        recovered: Recovered { groups: states, report: survey.report },
        groups: survey.groups,
    })
}

/// Looks at all segments of a log, oldest number first. `visit` says whether to go on.
///
/// # Errors
/// Those of the system. A segment that goes away meanwhile is left out.
pub fn inspect(media: &dyn Media, mut visit: impl FnMut(Seen) -> bool) -> Result<(), WalError> {
    let names = media.list().map_err(io_error("list", media.path("")))?;
    let mut segments: Vec<u64> = names.iter().filter_map(|name| number_of(name, ".wal")).collect();
    segments.sort_unstable();
    for segment in segments {
        let Some(mut window) = look_into(media, segment, Window::new)? else { continue };
        let copies = headers(&mut window);
        let header = copies.iter().find_map(|copy| copy.ok());
        let seen = SegmentSeen {
            segment,
            store_id: header.map_or(0, |header| header.store_id),
            bytes: header.map_or(0, |header| header.length),
            first_frame: header.map_or(0, |header| header.first_frame),
            oldest: header.map_or(0, |header| header.oldest),
            faults: copies.map(|copy| copy.err().map(fault)),
        };
        if !visit(Seen::Segment(seen)) {
            return Ok(());
        }
        let Some(header) = header else { continue };
        for found in scan::look_for_frames(&mut window, FRAMES_START, &header).into_values() {
            let contents = window.at(found.head.payload_offset(), found.head.payload_bytes);
            let damaged = scan::damaged_entries(&found.copy(), contents, &mut Stride::default());
            let mirror = scan::copy_at(&mut window, found.head.mirror_offset(), &header);
            let frame = FrameSeen {
                segment,
                offset: found.head.offset as u64,
                sequence: found.head.sequence,
                durable: found.head.durable,
                oldest: found.head.oldest,
                bytes: found.head.bytes as u64,
                head_is_damaged: !found.has_head(),
                mirror_is_damaged: mirror.is_err(),
                runs: Runs::of(&found.directory).flatten().map(|run| run_seen(&run)).collect(),
                damaged: damaged.iter().map(|entry| (entry.group, entry.index)).collect(),
                copy_at: found.at,
            };
            if !visit(Seen::Frame(frame)) {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Looks at the entries of a frame that was seen before, in its order. There are none if the frame went meanwhile.
///
/// # Errors
/// Those of the system.
pub fn entries_of(
    media: &dyn Media,
    frame: &FrameSeen,
    mut visit: impl FnMut(EntrySeen<'_>),
) -> Result<(), WalError> {
    let Some(mut window) = look_into(media, frame.segment, Window::of_parts)? else { return Ok(()) };
    let Some(header) = headers(&mut window).into_iter().find_map(Result::ok) else { return Ok(()) };
    let Ok(copy) = scan::copy_at(&mut window, frame.copy_at, &header) else { return Ok(()) };
    if copy.head.sequence != frame.sequence {
        return Ok(());
    }
    let (head, directory) = (copy.head, copy.directory.to_vec());
    let payload_at = head.offset + HEAD_BYTES + head.directory_bytes;
    let contents = window.at(payload_at, head.payload_bytes);
    for run in Runs::of(&directory).flatten() {
        let What::Entries { first, term, items, .. } = run.what else { continue };
        let mut at = run.payload_at;
        for (index, (bytes, checksum)) in (first..).zip(items.iter()) {
            let content = contents.get(at..at.saturating_add(bytes));
            let content =
                content.filter(|content| entry_checksum(run.group, index, term, content) == checksum);
            visit(EntrySeen { group: run.group, index, term, bytes: bytes as u64, content });
            at = at.saturating_add(bytes);
        }
    }
    Ok(())
}

/// A segment to read, if it is still there.
fn look_into(
    media: &dyn Media,
    segment: u64,
    window: impl Fn(Box<dyn Source>, usize) -> Window,
) -> Result<Option<Window>, WalError> {
    let path = || media.path(&segment_name(segment));
    let source = match media.open(&segment_name(segment)) {
        Ok(source) => source,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error("open", path())(error)),
    };
    let bytes = source.length().map_err(io_error("look at", path()))?;
    Ok(Some(window(source, length(bytes))))
}

fn headers(window: &mut Window) -> [Result<SegmentHeader, HeaderFault>; 2] {
    [0, BLOCK].map(|at| SegmentHeader::decode(window.at(at, HEADER_BYTES)))
}

fn fault(fault: HeaderFault) -> String {
    match fault {
        HeaderFault::Damaged(what) => what.to_owned(),
        HeaderFault::Version(version) => format!("version {version}"),
        HeaderFault::Flags(flags) => format!("unknown flags {flags:#x}"),
    }
}

fn run_seen(run: &Run<'_>) -> RunSeen {
    let what = match run.what {
        What::Entries { first, term, items, repair, .. } => {
            let end = first + items.count() as u64;
            let word = if repair { "repair" } else { "entries" };
            format!("{word} {first}..{end} @{term}, {} bytes", items.bytes())
        }
        What::HardState { term, vote } => format!("term {term} vote {vote}"),
        What::Truncate { from, .. } => format!("truncated from {from}"),
        What::Snapshot { index, term, ends_log: false } => format!("snapshot {index}@{term}"),
        What::Snapshot { index, term, ends_log: true } => format!("snapshot {index}@{term}, ends the log"),
        What::Compact { first } => format!("compacted to {first}"),
        What::Destroy => "destroyed".to_owned(),
        What::State(state) => {
            let (first, end, term, vote) = (state.first, state.last + 1, state.term, state.vote);
            let (index, of) = state.snapshot;
            format!("state: entries {first}..{end}, term {term} vote {vote}, snapshot {index}@{of}")
        }
        What::Ignored => "of a later version".to_owned(),
    };
    RunSeen { group: run.group, what }
}
