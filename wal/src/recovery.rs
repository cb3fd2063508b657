//! What a directory holds after whatever happened to it. Only reads; `log.rs` writes, once all of this went well, so that
//! a log which is refused is left as it was found.
//!
//! Recovery walks from the newest segment back along the links in the headers. Each header says where the segment before
//! it ended, so only the newest can have a torn tail. There, frame *s* is
//!
//! ```text
//!   whole                                                        kept
//!   not whole, and a head behind it says "durable ≥ s"           damage: refuse
//!   not whole, and nothing says so                               torn: cut, with all that follows
//! ```
//!
//! The last line may meet whole frames: with [`crate::SyncMode::Never`] nothing vouches for the order in which blocks
//! reached the disk. What follows a gap was never promised, and goes with it.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::directory::{Listing, segment_path};
use crate::error::{WalError, io_error};
use crate::format::{BLOCK, HEADER_BYTES, HeaderFault, SegmentHeader};
use crate::scan::{Fault, Scan, durable_by_tail, scan, tail_bytes};
use crate::{CutTail, Options, Position, Record, SyncMode};

/// What is said of a segment that a link leads to, and that is not there.
const MISSING: &str = "missing file, looked for the header";

/// A segment of an earlier life, or one that is full: only read from now on.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) segment: u64,
    pub(crate) salt: u64,
    /// Bytes of the file.
    pub(crate) length: u64,
    /// Where its frames end: what is behind was cut.
    pub(crate) end: u64,
}

/// What was found, and what is to be done about it.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    pub(crate) records: Vec<Record>,
    pub(crate) cut: Option<CutTail>,
    /// Ascending.
    pub(crate) kept: VecDeque<Kept>,
    /// Segments that do not count any more: released ones, one at the end without a frame, ones no link leads to.
    pub(crate) leftovers: Vec<PathBuf>,
    /// Headers of which one copy is to be written anew.
    pub(crate) repairs: Vec<(SegmentHeader, u64)>,
    /// The highest number in use; 0 when there is none.
    pub(crate) newest: u64,
    pub(crate) next_frame: u64,
    pub(crate) last_checksum: u32,
}

/// Surveys the segments of a listing.
pub(crate) fn survey(dir: &Path, listing: &Listing, options: Options) -> Result<Survey, WalError> {
    let mut headers = BTreeMap::new();
    for &segment in &listing.segments {
        headers.insert(segment, read_header(dir, segment, options.store_id)?);
    }
    let mut survey = Survey { next_frame: 1, ..Survey::default() };
    let Some(&newest) = listing.segments.last() else { return Ok(survey) };
    survey.newest = newest;
    let mut parts = Vec::new();
    let (mut segment, mut oldest, mut seal) = (newest, 0, None);
    loop {
        let damaged = |segment, what| WalError::Damaged { dir: dir.to_owned(), segment, offset: 0, what };
        let (header, repair) = match headers.remove(&segment) {
            Some(HeaderPair::Good { header, repair }) => (header, repair),
            Some(HeaderPair::Damaged(what)) => return Err(damaged(segment, what)),
            None => return Err(damaged(segment, MISSING)),
        };
        let (bytes, file_length) = read_segment(dir, &header, seal.is_none(), options.sync)?;
        let scan = scan(&bytes, &header, seal.map(|(first_frame, _)| first_frame));
        match seal {
            Some((_, checksum)) => check_sealed(dir, &header, &scan, checksum)?,
            None => {
                survey.cut = judge_tail(dir, &header, &scan, &bytes)?;
                survey.next_frame = scan.next_frame;
                survey.last_checksum = scan.last_checksum;
            }
        }
        oldest = oldest.max(scan.oldest);
        // An empty one at the end is dropped. One further back (its first record was too long for it) stays, as the link
        // of the next one leads to it.
        let empty = seal.is_none() && scan.next_frame == header.first_frame;
        seal = Some((header.first_frame, header.previous_checksum));
        let previous = header.previous_segment;
        if !empty {
            survey.kept.push_front(Kept {
                segment,
                salt: header.salt,
                length: file_length,
                end: scan.end as u64,
            });
            parts.push(scan.records);
            survey.repairs.extend(repair.map(|copy| (header, copy)));
        }
        if segment <= oldest {
            break;
        }
        if previous >= segment || previous < oldest {
            return Err(damaged(oldest, MISSING));
        }
        segment = previous;
    }
    survey.records = parts.into_iter().rev().flatten().collect();
    let counts = |number: &u64| survey.kept.iter().any(|kept| kept.segment == *number);
    let gone = listing.segments.iter().filter(|number| !counts(number));
    survey.leftovers = gone.map(|&number| segment_path(dir, number)).collect();
    Ok(survey)
}

/// Every frame before the next segment's first had been acknowledged when that segment was begun.
fn check_sealed(dir: &Path, header: &SegmentHeader, scan: &Scan, checksum: u32) -> Result<(), WalError> {
    if let Some(fault) = scan.fault {
        return Err(damaged(dir, header, fault));
    }
    if scan.last_checksum != checksum {
        return Err(damaged(dir, header, Fault { offset: scan.end, what: "checksum of the frame before" }));
    }
    Ok(())
}

/// Whether what is behind the last whole frame of the newest segment is nothing, a torn tail or damage.
fn judge_tail(
    dir: &Path,
    header: &SegmentHeader,
    scan: &Scan,
    bytes: &[u8],
) -> Result<Option<CutTail>, WalError> {
    let fault = scan.fault.expect("the newest segment is read until something is no frame");
    let tail = tail_bytes(bytes, scan.end);
    if tail == 0 {
        return Ok(None);
    }
    if durable_by_tail(bytes, header, scan.end) >= scan.next_frame {
        return Err(damaged(dir, header, fault));
    }
    let position = Position { segment: header.segment, offset: scan.end as u64 };
    Ok(Some(CutTail { position, bytes: tail as u64, reason: format!("{} at {}", fault.what, fault.offset) }))
}

fn damaged(dir: &Path, header: &SegmentHeader, fault: Fault) -> WalError {
    let (segment, offset, what) = (header.segment, fault.offset as u64, fault.what);
    WalError::Damaged { dir: dir.to_owned(), segment, offset, what }
}

enum HeaderPair {
    /// With the offset of the copy that is damaged, if one is.
    Good {
        header: SegmentHeader,
        repair: Option<u64>,
    },
    Damaged(&'static str),
}

/// Reads both copies. A segment of another store or of a newer build is an error at once, wherever it stands; a damaged
/// one only if it is needed.
fn read_header(dir: &Path, segment: u64, store_id: u64) -> Result<HeaderPair, WalError> {
    let path = segment_path(dir, segment);
    let file = File::open(&path).map_err(io_error("open", &path))?;
    let copy = |offset: usize| -> Result<Result<SegmentHeader, HeaderFault>, WalError> {
        let mut bytes = [0; HEADER_BYTES];
        // A short file is a damaged copy, not an error of the disk.
        let count = file.read_at(&mut bytes, offset as u64).map_err(io_error("read", &path))?;
        Ok(SegmentHeader::decode(&bytes[..count]))
    };
    let (header, repair) = match (copy(0)?, copy(BLOCK)?) {
        (Err(HeaderFault::Version(found)), _) | (_, Err(HeaderFault::Version(found))) => {
            return Err(WalError::Version { path, found });
        }
        (Ok(one), Ok(two)) if one == two => (one, None),
        (Ok(_), Ok(_)) => return Ok(HeaderPair::Damaged("two different copies of the header")),
        (Ok(one), Err(HeaderFault::Damaged(_))) => (one, Some(BLOCK as u64)),
        (Err(HeaderFault::Damaged(_)), Ok(two)) => (two, Some(0)),
        (Err(HeaderFault::Damaged(what)), Err(HeaderFault::Damaged(_))) => {
            return Ok(HeaderPair::Damaged(what));
        }
    };
    if header.store_id != store_id {
        return Err(WalError::Foreign { path, found: header.store_id, expected: store_id });
    }
    if header.segment != segment {
        return Ok(HeaderPair::Damaged("number of another segment in the header"));
    }
    Ok(HeaderPair::Good { header, repair })
}

/// All bytes of a segment and their number, as they are on the disk.
fn read_segment(
    dir: &Path,
    header: &SegmentHeader,
    newest: bool,
    sync: SyncMode,
) -> Result<(Vec<u8>, u64), WalError> {
    let path = segment_path(dir, header.segment);
    let mut file = File::open(&path).map_err(io_error("open", &path))?;
    // The process before may have died between a store and its sync: the frame is in the page cache, looks whole, and is
    // gone after the next loss of power. So what is read is made durable first. A later issue copies the frames that
    // nothing proves durable into the new segment instead: a sync that failed in the life before can leave pages which
    // count as clean and never reach the disk, and a second sync does not help those.
    if sync == SyncMode::Always {
        file.sync_data().map_err(io_error("sync", &path))?;
    }
    if newest && sync == SyncMode::Always {
        // For the same reason the newest segment is read from the disk, not from the cache. Advice: it may be ignored.
        let _ = nix::fcntl::posix_fadvise(&file, 0, 0, nix::fcntl::PosixFadviseAdvice::POSIX_FADV_DONTNEED);
    }
    let length = file.metadata().map_err(io_error("look at", &path))?.len();
    if length > header.length {
        let fault = Fault {
            offset: usize::try_from(header.length).unwrap_or(usize::MAX),
            what: "bytes behind the end",
        };
        return Err(damaged(dir, header, fault));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(io_error("read", &path))?;
    Ok((bytes, length))
}
