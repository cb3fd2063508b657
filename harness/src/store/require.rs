//! What a user requires of the availability of a run: `recover<5s`, `kill.recover<2s`, `lost<20%`. Kept in the run's directory, so
//! that whoever judges it again judges by the same.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::availability::{Figure, percent};
use crate::plan::FaultKind;

/// What can be said, as errors and help tell it.
pub const REQUIREMENTS_TELL: &str = "FIGURE<LIMIT with first, gap, recover or normal and a time, or lost and a percentage: \
    recover<5s, gap<800ms, lost<20%; of one kind of fault: kill.recover<2s";

/// A limit that no fault may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Requirement {
    /// Of which kind of fault; `None`: of all.
    pub kind: Option<FaultKind>,
    /// Of which figure.
    pub figure: Figure,
    /// It must be below this: nanoseconds, or thousandths of the throughput.
    pub limit: u64,
}

/// A requirement that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}\nhint: {REQUIREMENTS_TELL}")]
pub struct RequirementError {
    what: String,
}

/// A longer time than a run can take requires nothing.
const LIMIT_NS_MAX: u64 = 24 * 3_600 * 1_000_000_000;
/// All of the throughput.
const LIMIT_PERMILLE_MAX: u64 = 1_000;

impl Requirement {
    /// Whether it speaks of faults of this kind.
    #[must_use]
    pub fn is_about(&self, kind: FaultKind) -> bool {
        self.kind.is_none_or(|own| own == kind)
    }
}

impl FromStr for Requirement {
    type Err = RequirementError;

    /// Reads `FIGURE<LIMIT` or `KIND.FIGURE<LIMIT`, spaces where one likes.
    fn from_str(text: &str) -> Result<Self, RequirementError> {
        let wrong = |what: String| RequirementError { what };
        let Some((subject, limit)) = text.split_once('<') else {
            return Err(wrong(format!("`{text}` has no limit")));
        };
        let (kind, figure) = match subject.trim().split_once('.') {
            Some((kind, figure)) => (Some(kind.trim()), figure.trim()),
            None => (None, subject.trim()),
        };
        let named =
            |name: &str| FaultKind::ALL.into_iter().find(|kind| kind.to_string().eq_ignore_ascii_case(name));
        let kind = match kind {
            None => None,
            Some(name) => {
                Some(named(name).ok_or_else(|| wrong(format!("`{text}`: no fault is named `{name}`")))?)
            }
        };
        let Some(figure) = Figure::ALL.into_iter().find(|known| known.to_string() == figure) else {
            return Err(wrong(format!("`{text}`: no figure is named `{figure}`")));
        };
        let limit = limit.trim();
        let read = match figure {
            Figure::Lost => read_permille(limit),
            Figure::First | Figure::Gap | Figure::Recover | Figure::Normal => read_ns(limit),
        };
        let limit = read.ok_or_else(|| wrong(format!("`{text}`: `{limit}` is no limit of {figure}")))?;
        Ok(Requirement { kind, figure, limit })
    }
}

/// A positive time of at most a day, to the millisecond.
fn read_ns(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    let (number, unit) = text.split_at(digits);
    let ms_per_unit: u64 = match unit.trim_start() {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    let thousandths = read_thousandths(number)?;
    let ns = thousandths.checked_mul(ms_per_unit)?.checked_mul(1_000)?;
    (1_000_000..=LIMIT_NS_MAX).contains(&ns).then_some(ns)
}

/// A percentage above 0 and up to 100, to the tenth.
fn read_permille(text: &str) -> Option<u64> {
    let permille = read_thousandths(text.strip_suffix('%')?.trim_end())? / 100;
    (1..=LIMIT_PERMILLE_MAX).contains(&permille).then_some(permille)
}

/// A decimal number with up to three digits behind the point.
fn read_thousandths(number: &str) -> Option<u64> {
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(part) || part.len() > 3 {
        return None;
    }
    let part: u64 = format!("{part:0<3}").parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(1_000)?.checked_add(part)
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(kind) = self.kind {
            write!(f, "{kind}.")?;
        }
        match self.figure {
            Figure::Lost if self.limit.is_multiple_of(10) => write!(f, "lost<{}%", self.limit / 10),
            Figure::Lost => write!(f, "lost<{}", percent(self.limit).replace(' ', "")),
            figure @ (Figure::First | Figure::Gap | Figure::Recover | Figure::Normal) => {
                let ms = self.limit / 1_000_000;
                let (number, unit) = if ms.is_multiple_of(1_000) { (ms / 1_000, "s") } else { (ms, "ms") };
                write!(f, "{figure}<{number}{unit}")
            }
        }
    }
}

impl Serialize for Requirement {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Requirement {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, kind: Option<FaultKind>, figure: Figure, limit: u64) {
        let read: Requirement = text.parse().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(read, Requirement { kind, figure, limit }, "{text}");
        assert_eq!(read.to_string().parse(), Ok(read), "what is written is read again: {read}");
        let json = serde_json::to_string(&read).unwrap();
        assert_eq!(serde_json::from_str::<Requirement>(&json).unwrap(), read, "{json}");
    }

    #[test]
    fn each_figure_has_a_limit_of_its_unit() {
        check("recover<5s", None, Figure::Recover, 5_000_000_000);
        check("gap < 800ms", None, Figure::Gap, 800_000_000);
        check("first<1.5s", None, Figure::First, 1_500_000_000);
        check("normal<2m", None, Figure::Normal, 120_000_000_000);
        check("lost<20%", None, Figure::Lost, 200);
        check("lost<12.5 %", None, Figure::Lost, 125);
        check("kill.recover<2s", Some(FaultKind::Kill), Figure::Recover, 2_000_000_000);
        check("move-shards.gap<1s", Some(FaultKind::MoveShards), Figure::Gap, 1_000_000_000);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_all_that_can_be_said() {
        for text in [
            "",
            "recover",
            "recover<",
            "recover<5",
            "recover<5%",
            "recover<-5s",
            "recover<0s",
            "recover<0.0001s",
            "recover<1..5s",
            "recover<25h",
            "recover<99999999999999999999s",
            "recover>5s",
            "lost<20s",
            "lost<0%",
            "lost<101%",
            "lost<x%",
            "speed<5s",
            "flood.recover<5s",
            ".recover<5s",
            "kill.<5s",
        ] {
            let error = text.parse::<Requirement>().expect_err(text).to_string();
            assert!(error.contains(text) && error.contains("kill.recover<2s"), "{error}");
        }
    }
}
