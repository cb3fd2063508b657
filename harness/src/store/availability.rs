//! Availability around faults, as it stands in `verdict.json`. What each figure means exactly stands in docs/testing.md; how it is
//! drawn from a history, in `verdict::availability`.
//!
//! ```text
//!             began                        ended
//!   ──success──▐█████████ fault ████████████▌──────────────────────▶ time
//!              │◀──── first ────▶success    │◀─ recover ─▶ every shard gave a success
//!              │◀── lost: successes here ──▶│◀──── normal ────▶ nine tenths of what it was before
//!              │◀───────────────── gap: the longest within ──────▶│
//! ```

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::plan::{FaultKind, seconds};

/// How available the system was around the faults of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Availability {
    /// The worst of each kind, by kind.
    pub worst: Vec<KindAbsence>,
    /// The faults in the order in which they began; at most [`Availability::FAULTS_MAX`].
    pub faults: Vec<FaultAbsence>,
    /// How many there were in all.
    pub faults_count: usize,
}

/// The worst figures of a kind of fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindAbsence {
    /// The kind.
    pub kind: FaultKind,
    /// How many faults of it there were.
    pub faults: usize,
    /// Each figure where it was worst.
    #[serde(flatten)]
    pub absence: Absence,
}

/// The figures of one fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultAbsence {
    /// Its number in the plan, from 0.
    pub fault: usize,
    /// What it is.
    pub kind: FaultKind,
    /// In words, with the nodes in place.
    pub name: String,
    /// When it had been carried out, in nanoseconds of the run.
    pub began_ns: u64,
    /// When it had been undone; `None`: not while clients were at work.
    pub ended_ns: Option<u64>,
    /// What was measured.
    #[serde(flatten)]
    pub absence: Absence,
    /// Numbers of other faults that were in force within its effect, and may have a share in it; at most
    /// [`FaultAbsence::BESIDE_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub beside: Vec<usize>,
}

/// The five figures; `None`: it cannot be told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Absence {
    /// From its beginning to the first success of an operation that was called after it.
    pub first: Option<Wait>,
    /// The longest stretch in which a shard was asked and gave no success, within its effect.
    pub gap: Option<Wait>,
    /// The part of the throughput that was lost while it was in force, in thousandths of what it was before.
    pub lost_permille: Option<u64>,
    /// From its end until every shard that was asked had given a success.
    pub recover: Option<Wait>,
    /// From its end until throughput was normal.
    pub normal: Option<Wait>,
}

/// A stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// How long.
    pub ns: u64,
    /// Whether it was not over when nobody asked any more: it may have gone on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub at_least: bool,
    /// The shard that waited longest, where it is one of a shard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<u32>,
}

/// One of the figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Figure {
    /// See [`Absence::first`].
    First,
    /// See [`Absence::gap`].
    Gap,
    /// See [`Absence::lost_permille`].
    Lost,
    /// See [`Absence::recover`].
    Recover,
    /// See [`Absence::normal`].
    Normal,
}

impl Availability {
    /// A day of faults has more than anybody reads; the worst of each kind are of all of them.
    pub const FAULTS_MAX: usize = 1_000;

    /// Of all faults of a run.
    #[must_use]
    pub fn of(mut faults: Vec<FaultAbsence>) -> Availability {
        let kinds = FaultKind::ALL.into_iter().filter_map(|kind| {
            let of_kind = || faults.iter().filter(move |fault| fault.kind == kind);
            let worst = of_kind().map(|fault| fault.absence).reduce(Absence::or_worse)?;
            Some(KindAbsence { kind, faults: of_kind().count(), absence: worst })
        });
        let (worst, faults_count) = (kinds.collect(), faults.len());
        faults.truncate(Availability::FAULTS_MAX);
        Availability { worst, faults, faults_count }
    }
}

impl FaultAbsence {
    /// With more beside it nobody can tell whose doing it was.
    pub const BESIDE_MAX: usize = 8;
}

impl Absence {
    /// A figure as a bare number: nanoseconds, or thousandths of the throughput.
    #[must_use]
    pub fn number(&self, figure: Figure) -> Option<u64> {
        match figure {
            Figure::Lost => self.lost_permille,
            Figure::First | Figure::Gap | Figure::Recover | Figure::Normal => {
                self.wait(figure).map(|wait| wait.ns)
            }
        }
    }

    /// A figure that is a stretch of time.
    #[must_use]
    pub fn wait(&self, figure: Figure) -> Option<Wait> {
        match figure {
            Figure::First => self.first,
            Figure::Gap => self.gap,
            Figure::Recover => self.recover,
            Figure::Normal => self.normal,
            Figure::Lost => None,
        }
    }

    /// A figure in words; `-` where it cannot be told.
    #[must_use]
    pub fn words(&self, figure: Figure) -> String {
        let told = match figure {
            Figure::Lost => self.lost_permille.map(percent),
            Figure::First | Figure::Gap | Figure::Recover | Figure::Normal => {
                self.wait(figure).map(|wait| wait.to_string())
            }
        };
        told.unwrap_or_else(|| "-".to_owned())
    }

    fn or_worse(self, other: Absence) -> Absence {
        let longer = |a: Option<Wait>, b: Option<Wait>| {
            [a, b].into_iter().flatten().max_by_key(|wait| (wait.ns, wait.at_least))
        };
        Absence {
            first: longer(self.first, other.first),
            gap: longer(self.gap, other.gap),
            lost_permille: self.lost_permille.max(other.lost_permille),
            recover: longer(self.recover, other.recover),
            normal: longer(self.normal, other.normal),
        }
    }
}

impl Figure {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Figure; 5] = [Figure::First, Figure::Gap, Figure::Lost, Figure::Recover, Figure::Normal];
}

/// Thousandths as percent: `21.3 %`.
#[must_use]
pub fn percent(permille: u64) -> String {
    format!("{}.{} %", permille / 10, permille % 10)
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Figure::First => "first",
            Figure::Gap => "gap",
            Figure::Lost => "lost",
            Figure::Recover => "recover",
            Figure::Normal => "normal",
        })
    }
}

/// `0.412 s`, `over 1.200 s (s3)`: where nobody asked any more, it was at least that.
impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let over = if self.at_least { "over " } else { "" };
        write!(f, "{over}{}", seconds(self.ns / 1_000_000))?;
        self.shard.map_or(Ok(()), |shard| write!(f, " (s{shard})"))
    }
}
