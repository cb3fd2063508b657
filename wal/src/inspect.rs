//! Looking into a log without opening it: every frame that can be read, wherever it lies, and what is wrong with it.
//! Nothing is written, nothing is locked, and so a live log may be looked at: its last frame may be half there.

use std::fmt;

use crate::bytes;
use crate::error::{WalError, io_error};
use crate::layout::{BLOCK, FRAMES_START, HEADER_BYTES, HeaderFault, SegmentHeader};
use crate::media::Media;
use crate::recovery::{number_of, segment_name};
use crate::runs::{Run, Runs, What};
use crate::scan;
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
    /// What it says, run by run.
    pub runs: Vec<RunSeen>,
    /// Group and index of entries that are damaged.
    pub damaged: Vec<(u64, u64)>,
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

/// Looks at all segments of a log, oldest number first. `visit` says whether to go on.
///
/// # Errors
/// Those of the system. A segment that goes away meanwhile is left out.
pub fn inspect(media: &dyn Media, mut visit: impl FnMut(Seen) -> bool) -> Result<(), WalError> {
    let names = media.list().map_err(io_error("list", media.path("")))?;
    let mut segments: Vec<u64> = names.iter().filter_map(|name| number_of(name, ".wal")).collect();
    segments.sort_unstable();
    for segment in segments {
        let source = match media.open(&segment_name(segment)) {
            Ok(source) => source,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(io_error("open", media.path(&segment_name(segment)))(error)),
        };
        let length = source.length().map_err(io_error("look at", media.path(&segment_name(segment))))?;
        let mut window = Window::new(source, bytes::length(length));
        let copies = [0, BLOCK].map(|at| SegmentHeader::decode(window.at(at, HEADER_BYTES)));
        let header = copies.iter().find_map(|copy| copy.ok());
        let seen = SegmentSeen {
            segment,
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
            let damaged = scan::damaged_entries(&found.copy(), contents);
            let frame = FrameSeen {
                segment,
                offset: found.head.offset as u64,
                sequence: found.head.sequence,
                durable: found.head.durable,
                oldest: found.head.oldest,
                bytes: found.head.bytes as u64,
                head_is_damaged: !found.has_head(),
                runs: Runs::of(&found.directory).flatten().map(|run| run_seen(&run)).collect(),
                damaged: damaged.iter().map(|entry| (entry.group, entry.index)).collect(),
            };
            if !visit(Seen::Frame(frame)) {
                return Ok(());
            }
        }
    }
    Ok(())
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
