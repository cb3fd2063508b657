//! What a log's files hold after whatever happened to them. Only reads; `log.rs` writes, once all of this went well, so
//! that a log which is refused is left as it was found.
//!
//! ```text
//!   locked by another                       refused
//!   a segment of another store              refused
//!   another version, unknown flags          refused
//!   the newest segment has no header        refused: nobody can say what it held
//!   <number>.tmp                            never counted: removed
//!   before the oldest that counts           freed once, and back after a loss of power: ignored, removed
//!   one header copy damaged                 the other counts
//!   any other segment missing, twice there  damage: what it held is told by the table of the next
//!   or without a header
//! ```
//!
//! The page cache is not believed: what the process before wrote and did not sync, or failed to sync, is in the cache,
//! looks whole, and is gone after the next loss of power. So the last two segments are synced, dropped from the cache
//! and read again; and what nothing proves durable is written anew into the new segment before anything is served. So is
//! what lies in a segment whose table is lost: a segment before it, which may be freed, was needed to understand it.

use std::collections::{BTreeMap, BTreeSet};

use crate::bytes;
use crate::error::{WalError, io_error};
use crate::group::Piece;
use crate::groups::Groups;
use crate::layout::{BLOCK, HEADER_BYTES, HeaderFault, SEQUENCE_MAX, SegmentHeader};
use crate::media::{Media, Source};
use crate::recovered::{Damage, Loss, Report};
use crate::replay::{Replay, Until};
use crate::scan::{self, Evidence};
use crate::window::Window;

/// What was found.
#[derive(Debug)]
pub(crate) struct Survey {
    pub(crate) groups: Groups,
    pub(crate) report: Report,
    /// Lengths of the segments that count, by number.
    pub(crate) kept: BTreeMap<u64, u64>,
    /// Numbers of all that are there.
    pub(crate) segments: Vec<u64>,
    pub(crate) unfinished: Vec<String>,
    /// The newest segment, and where in it the proven frames end.
    pub(crate) newest: u64,
    pub(crate) proven_end: usize,
    /// Segments whose table could not be read.
    pub(crate) without_table: BTreeSet<u64>,
    /// Of the segment to come; salt and length are still to be chosen.
    pub(crate) header: SegmentHeader,
}

/// The file of a segment.
pub(crate) fn segment_name(segment: u64) -> String {
    format!("{segment:016x}.wal")
}

/// The file of a segment while it is prepared.
pub(crate) fn unfinished_name(segment: u64) -> String {
    format!("{segment:016x}.tmp")
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asker {
    /// The owner, this store, about to open the log: only what the disk has counts.
    Owner(u64),
    /// Somebody who looks in and may not even sync, perhaps while the owner goes on: what memory has will do.
    Onlooker,
}

/// Reads the log.
pub(crate) fn survey(media: &dyn Media, asker: Asker) -> Result<Survey, WalError> {
    let names = media.list().map_err(io_error("list", media.path("")))?;
    let mut segments: Vec<u64> = names.iter().filter_map(|name| number_of(name, ".wal")).collect();
    segments.sort_unstable();
    let unfinished = names.into_iter().filter(|name| number_of(name, ".tmp").is_some()).collect();
    let mut replay = Replay::default();
    let mut headers = read_headers(media, &segments, asker, &mut replay)?;
    let newest = segments.last().copied().unwrap_or(0);
    let mut proven = 0;
    let mut oldest = 0;
    let mut store_id = None;
    if let Some(header) = headers.get(&newest) {
        store_id = Some(header.store_id);
        if let Asker::Owner(_) = asker {
            settle_all(media, &headers, header)?;
        }
        let evidence = scan::evidence(
            &mut Window::of_parts(source(media, header)?, bytes::length(header.length)),
            header,
        );
        (proven, oldest) = (evidence.durable, evidence.oldest);
        headers = headers.split_off(&oldest);
        replay.report.damage.retain(|damage| damage.segment >= oldest);
        read_segments(media, &headers, evidence, &mut replay)?;
    }
    replay.finish();
    let header = SegmentHeader {
        store_id: match asker {
            Asker::Owner(store_id) => store_id,
            Asker::Onlooker => store_id.unwrap_or(0),
        },
        segment: newest + 1,
        salt: 0,
        length: 0,
        first_frame: proven + 1,
        durable: proven,
        previous_segment: newest,
        oldest,
        previous_checksum: replay.proven_checksum,
    };
    // A log goes on from these numbers, and what it writes must be readable. No log of ours comes near them.
    if header.first_frame > SEQUENCE_MAX / 2 || header.segment > SEQUENCE_MAX / 2 {
        let path = media.path(&segment_name(newest));
        return Err(WalError::Damaged { path, offset: 0, what: "numbers beyond those of any log" });
    }
    Ok(Survey {
        kept: headers.values().map(|header| (header.segment, header.length)).collect(),
        groups: replay.groups,
        report: replay.report,
        segments,
        unfinished,
        newest,
        proven_end: replay.proven_end,
        without_table: replay.without_table,
        header,
    })
}

impl Survey {
    /// The entries that the next start might not find where they are: those behind everything that is proved durable, and
    /// those in a segment without a table, which were understood only because older ones are still there.
    pub(crate) fn to_be_copied(&self) -> Vec<(u64, Piece)> {
        self.groups.pieces_where(|spot| {
            let is_unproven =
                spot.segment == self.newest && bytes::length(spot.contents.into()) >= self.proven_end;
            is_unproven || self.without_table.contains(&spot.segment)
        })
    }
}

/// Reads the segments that count, from the oldest to the newest.
fn read_segments(
    media: &dyn Media,
    headers: &BTreeMap<u64, SegmentHeader>,
    Evidence { durable, oldest, end }: Evidence,
    replay: &mut Replay,
) -> Result<(), WalError> {
    let mut last = None;
    for (&segment, header) in headers {
        let expected = header.previous_segment;
        let joined = last.map_or(segment <= oldest || expected < oldest, |last| last == expected);
        if !joined {
            let missing = if expected >= oldest { expected } else { oldest };
            replay.miss_segment(missing, "no segment");
        }
        let next = headers.range(segment + 1..).next();
        let source = source(media, header)?;
        let length = bytes::length(header.length);
        let (until, length) = match next {
            None => (Until::Proven(durable), end.min(length)),
            Some((_, next)) if next.previous_segment == segment => (Until::Frame(next.first_frame), length),
            Some(_) => (Until::LastFound, length),
        };
        replay.segment(&mut Window::new(source, length), header, until);
        last = Some(segment);
    }
    Ok(())
}

/// The headers of all segments that have one. A segment of another store or of another build is an error at once,
/// wherever it stands; one without a header only if it is the newest.
fn read_headers(
    media: &dyn Media,
    segments: &[u64],
    asker: Asker,
    replay: &mut Replay,
) -> Result<BTreeMap<u64, SegmentHeader>, WalError> {
    let mut headers = BTreeMap::new();
    let mut expected = match asker {
        Asker::Owner(store_id) => Some(store_id),
        Asker::Onlooker => None,
    };
    for &segment in segments {
        let path = media.path(&segment_name(segment));
        let source = media.open(&segment_name(segment)).map_err(io_error("open", path.clone()))?;
        let mut window = Window::new(source, 2 * BLOCK);
        let copies = [0, BLOCK].map(|at| SegmentHeader::decode(window.at(at, HEADER_BYTES)));
        for copy in &copies {
            match *copy {
                Err(HeaderFault::Version(found)) => return Err(WalError::Version { path, found }),
                Err(HeaderFault::Flags(flags)) => return Err(WalError::Flags { path, flags }),
                Ok(header) if *expected.get_or_insert(header.store_id) != header.store_id => {
                    let (found, expected) = (header.store_id, expected.unwrap_or_default());
                    return Err(WalError::Foreign { path, found, expected });
                }
                Ok(_) | Err(HeaderFault::Damaged(_)) => {}
            }
        }
        let what = match copies {
            [Ok(one), Ok(two)] if one != two => "two different copies of the header",
            [Ok(header), _] | [_, Ok(header)] if header.segment != segment => "header of another segment",
            [Ok(header), other] | [other, Ok(header)] => {
                if let Err(HeaderFault::Damaged(what)) = other {
                    replay.report.damage.push(Damage { segment, offset: 0, what, loss: Loss::Nothing });
                }
                headers.insert(segment, header);
                continue;
            }
            [Err(HeaderFault::Damaged(what)), _] => what,
            [Err(_), _] => "header",
        };
        if segments.last() == Some(&segment) {
            return Err(WalError::Damaged { path, offset: 0, what });
        }
    }
    Ok(headers)
}

/// Makes sure that what is read from now on is what the disk has: of the last two segments, and of the names.
fn settle_all(
    media: &dyn Media,
    headers: &BTreeMap<u64, SegmentHeader>,
    newest: &SegmentHeader,
) -> Result<(), WalError> {
    // The names, too, are only seen: the next segment must not be there after a loss of power, and this one not.
    media.sync_names().map_err(io_error("sync", media.path("")))?;
    for (&segment, header) in headers.range(newest.previous_segment.max(1)..) {
        settle(media, segment, header)?;
    }
    Ok(())
}

fn settle(media: &dyn Media, segment: u64, header: &SegmentHeader) -> Result<(), WalError> {
    let path = media.path(&segment_name(segment));
    let source = media.open(&segment_name(segment)).map_err(io_error("open", path.clone()))?;
    source.settle().map_err(io_error("sync", path.clone()))?;
    // The header is in use by now: it must be the one on the disk.
    let mut window = Window::new(source, 2 * BLOCK);
    let same = [0, BLOCK].iter().any(|&at| SegmentHeader::decode(window.at(at, HEADER_BYTES)) == Ok(*header));
    if same { Ok(()) } else { Err(WalError::Damaged { path, offset: 0, what: "header" }) }
}

fn source(media: &dyn Media, header: &SegmentHeader) -> Result<Box<dyn Source>, WalError> {
    let name = segment_name(header.segment);
    media.open(&name).map_err(io_error("open", media.path(&name)))
}

/// The number that a file's name says, if it is written exactly as we write it.
pub(crate) fn number_of(name: &str, suffix: &str) -> Option<u64> {
    let digits = name.strip_suffix(suffix)?;
    let ours = digits.len() == 16 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if ours { u64::from_str_radix(digits, 16).ok() } else { None }
}
