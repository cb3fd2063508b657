//! What there is in a log: what the next start would find, and what only a look at every frame shows.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use ordeal_client::wire::GroupId;
use ordeal_wal::media::{Directory, Media};
use ordeal_wal::{FrameSeen, GroupState, Recovered, Seen, SegmentSeen, SyncMode, WalError};

use super::WalArgs;
use super::words;
use crate::raft::LogId;

/// All that is to be shown.
#[derive(Debug)]
pub(super) struct Findings {
    /// The log's directory.
    pub(super) dir: PathBuf,
    pub(super) store_id: Option<u64>,
    pub(super) recovered: Recovered,
    /// The one group that was asked for.
    pub(super) only: Option<GroupId>,
    pub(super) segments: Vec<Segment>,
    /// The last frames, if they were asked for.
    pub(super) frames: VecDeque<Frame>,
    /// Second copies that are damaged, and entries that are no entry of ours; if `--verify` looked for them.
    pub(super) verified: Option<Vec<Suspect>>,
    /// The highest frame that another one proves durable, and the highest oldest segment that one tells.
    durable: u64,
    oldest: u64,
}

/// Something in a frame that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Suspect {
    segment: u64,
    pub(super) frame: u64,
    pub(super) what: String,
}

/// A segment and its frames.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) seen: SegmentSeen,
    /// Numbers of the frames that can be found in it.
    sequences: Vec<u64>,
    pub(super) role: Role,
}

/// What a segment is to the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Written to.
    Open,
    /// Full.
    Sealed,
    /// Needed no more; only its name is still there.
    Freed,
}

/// A frame that is shown.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) seen: FrameSeen,
    pub(super) entries: Vec<Entry>,
    /// A torn tail of an earlier life that the next segment leaves out.
    pub(super) is_void: bool,
}

/// An entry that is shown.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) group: u64,
    pub(super) id: LogId,
    pub(super) bytes: u64,
    /// What it says, or why nobody can tell.
    pub(super) words: Result<String, String>,
}

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
pub(super) enum InspectError {
    #[error("{}: {what}", dir.display())]
    NoLog { dir: PathBuf, what: String },
    #[error("{group} is not in the log in {}", dir.display())]
    NoGroup { dir: PathBuf, group: GroupId, known: String },
    #[error(transparent)]
    Log(#[from] WalError),
}

impl InspectError {
    pub(super) fn is_damage(&self) -> bool {
        matches!(self, InspectError::Log(WalError::Damaged { .. } | WalError::Foreign { .. }))
    }

    /// What a person can do about it.
    pub(super) fn hint(&self) -> String {
        match self {
            InspectError::NoLog { .. } => {
                "give the directory that `ordeal node start --dir` was given, or the directory wal in it"
                    .to_owned()
            }
            InspectError::NoGroup { known, .. } => format!("it has {known}"),
            InspectError::Log(WalError::Version { .. } | WalError::Flags { .. }) => {
                "use the build that wrote it, or a newer one".to_owned()
            }
            InspectError::Log(WalError::Foreign { .. }) => {
                "segments of two nodes lie in one directory: take out those of the other".to_owned()
            }
            InspectError::Log(WalError::Io { path, .. }) => {
                format!("look at its owner and mode: ls -ld {}", path.display())
            }
            InspectError::Log(_) => {
                "keep the directory for a look at it; its disk has lost or changed what was durable"
                    .to_owned()
            }
        }
    }
}

impl Findings {
    /// Looks into the log.
    pub(super) fn of(args: &WalArgs) -> Result<Findings, InspectError> {
        let dir = log_dir(&args.dir)?;
        let media = Directory::new(&dir, SyncMode::Never);
        let ordeal_wal::Examined { store_id, recovered, .. } = ordeal_wal::examine(&media)?;
        let mut findings = Findings {
            dir,
            store_id,
            recovered,
            only: args.group,
            segments: Vec::new(),
            frames: VecDeque::new(),
            verified: args.verify.then(Vec::new),
            durable: 0,
            oldest: 0,
        };
        findings.check_group()?;
        findings.look_at_frames(&media, args.last)?;
        if let Some(found) = findings.verified.as_mut().filter(|found| !found.is_empty()) {
            // A frame that was only half there, because the node was writing it, is whole by now.
            let first = std::mem::take(found);
            (findings.segments, findings.frames) = (Vec::new(), VecDeque::new());
            findings.look_at_frames(&media, args.last)?;
            let again = findings.verified.take().unwrap_or_default().into_iter();
            let counts = |suspect: &Suspect| {
                suspect.frame <= findings.durable && !findings.is_void(suspect.segment, suspect.frame)
            };
            let again = again.filter(|suspect| first.contains(suspect) && counts(suspect));
            findings.verified = Some(again.collect());
        }
        Ok(findings)
    }

    /// The groups to show.
    pub(super) fn groups(&self) -> impl Iterator<Item = (u64, &GroupState)> {
        let groups = self.recovered.groups.iter().map(|(&id, state)| (id, state));
        groups.filter(|(id, _)| self.shows(*id))
    }

    /// Whether a group is one of those to show.
    pub(super) fn shows(&self, group: u64) -> bool {
        self.only.is_none_or(|only| u64::from(only.0) == group)
    }

    /// Whether anything that was durable is not as it was written.
    pub(super) fn is_damaged(&self) -> bool {
        let found = self.verified.as_ref().is_some_and(|found| !found.is_empty());
        found || !self.recovered.report.is_clean() || self.groups().any(|(_, state)| is_hurt(state))
    }

    fn check_group(&self) -> Result<(), InspectError> {
        let Some(group) = self.only else { return Ok(()) };
        if self.recovered.groups.contains_key(&u64::from(group.0)) {
            return Ok(());
        }
        let known: Vec<String> = self.recovered.groups.keys().map(|id| format!("g{id}")).collect();
        let known = if known.is_empty() { "no groups yet".to_owned() } else { known.join(" ") };
        Err(InspectError::NoGroup { dir: self.dir.clone(), group, known })
    }

    fn look_at_frames(&mut self, media: &dyn Media, last: usize) -> Result<(), InspectError> {
        let mut failed = None;
        ordeal_wal::inspect(media, |seen| {
            match seen {
                Seen::Segment(seen) => self.begin_segment(seen),
                Seen::Frame(seen) => failed = self.note_frame(media, seen, last).err(),
            }
            failed.is_none()
        })?;
        if let Some(error) = failed {
            return Err(error.into());
        }
        let mut frames = std::mem::take(&mut self.frames);
        for frame in &mut frames {
            frame.is_void = self.is_void(frame.seen.segment, frame.seen.sequence);
            frame.entries = entries(media, &frame.seen)?;
            let only = self.only;
            frame.entries.retain(|entry| only.is_none_or(|only| u64::from(only.0) == entry.group));
        }
        self.frames = frames;
        for segment in &mut self.segments {
            if segment.seen.segment < self.oldest {
                segment.role = Role::Freed;
            }
        }
        Ok(())
    }

    /// Whether a frame stands behind the end of its segment, as a later one says.
    fn is_void(&self, segment: u64, frame: u64) -> bool {
        // One whose header cannot be read says nothing.
        let mut later =
            self.segments.iter().filter(|later| later.seen.segment > segment && later.seen.first_frame > 0);
        later.any(|later| later.seen.first_frame <= frame)
    }

    fn begin_segment(&mut self, seen: SegmentSeen) {
        if let Some(before) = self.segments.last_mut() {
            before.role = Role::Sealed;
            before.sequences.retain(|&sequence| seen.first_frame == 0 || sequence < seen.first_frame);
        }
        self.oldest = self.oldest.max(seen.oldest);
        self.segments.push(Segment { seen, sequences: Vec::new(), role: Role::Open });
    }

    fn note_frame(&mut self, media: &dyn Media, seen: FrameSeen, last: usize) -> Result<(), WalError> {
        if let Some(segment) = self.segments.last_mut() {
            segment.sequences.push(seen.sequence);
        }
        (self.durable, self.oldest) = (self.durable.max(seen.durable), self.oldest.max(seen.oldest));
        if let Some(found) = &mut self.verified {
            let place = format!("segment {} at {}: frame {}", seen.segment, seen.offset, seen.sequence);
            let suspect = |what: String| Suspect {
                segment: seen.segment,
                frame: seen.sequence,
                what: format!("{place}: {what}"),
            };
            if seen.mirror_is_damaged {
                found.push(suspect("its second copy cannot be read".to_owned()));
            }
            for entry in entries(media, &seen)? {
                // What is damaged is told by the recovery already.
                let is_damaged = seen.damaged.contains(&(entry.group, entry.id.index));
                if let (Err(what), false) = (entry.words, is_damaged) {
                    found.push(suspect(format!("entry {} of g{}: {what}", entry.id, entry.group)));
                }
            }
        }
        let is_asked_for = seen.runs.iter().any(|run| self.shows(run.group)) || self.only.is_none();
        if last > 0 && is_asked_for {
            if self.frames.len() == last {
                self.frames.pop_front();
            }
            self.frames.push_back(Frame { seen, entries: Vec::new(), is_void: false });
        }
        Ok(())
    }
}

impl Segment {
    pub(super) fn frames(&self) -> usize {
        self.sequences.len()
    }

    /// First and last frame.
    pub(super) fn range(&self) -> Option<(u64, u64)> {
        Some((*self.sequences.first()?, *self.sequences.last()?))
    }
}

/// Whether a group has lost anything, or may have.
fn is_hurt(state: &GroupState) -> bool {
    !state.faulty.is_empty() || state.amnesia.is_some()
}

/// The entries of a frame in words.
fn entries(media: &dyn Media, frame: &FrameSeen) -> Result<Vec<Entry>, WalError> {
    let mut entries = Vec::new();
    ordeal_wal::entries_of(media, frame, |entry| {
        let id = LogId::new(entry.index, entry.term);
        let words = match entry.content {
            Some(content) => words::of(entry.group, id, content),
            None => Err("damaged".to_owned()),
        };
        entries.push(Entry { group: entry.group, id, bytes: entry.bytes, words });
    })?;
    Ok(entries)
}

/// The directory of the log: the one that was given, or the one in it.
fn log_dir(dir: &Path) -> Result<PathBuf, InspectError> {
    let no_log = |what: &str| InspectError::NoLog { dir: dir.to_owned(), what: what.to_owned() };
    let inner = dir.join("wal");
    let log = if inner.is_dir() { inner } else { dir.to_owned() };
    let mut names = std::fs::read_dir(&log).map_err(|error| no_log(&error.to_string()))?.flatten();
    let is_segment = |name: &Path| name.extension().is_some_and(|extension| extension == "wal");
    if names.any(|entry| is_segment(Path::new(&entry.file_name()))) {
        Ok(log)
    } else {
        Err(no_log("there is no log in it"))
    }
}
