//! Which requirements the availability of a run breaks, in sentences that name the fault and the figure.

use std::cmp::Reverse;

use crate::plan::seconds;
use crate::store::{FaultAbsence, Figure, Requirement, percent};

/// What came of the requirements.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Required {
    /// A sentence for each that is broken.
    pub broken: Vec<String>,
    /// A line for each that no fault was measured by: that it holds says nothing.
    pub untested: Vec<String>,
}

/// Holds the requirements against the figures of all faults.
#[must_use]
pub fn required(requirements: &[Requirement], faults: &[FaultAbsence]) -> Required {
    let mut required = Required::default();
    for requirement in requirements {
        let about = faults.iter().filter(|fault| requirement.is_about(fault.kind));
        let mut measured: Vec<(u64, &FaultAbsence)> =
            about.filter_map(|fault| Some((fault.absence.number(requirement.figure)?, fault))).collect();
        if measured.is_empty() {
            let line = format!("nothing was measured by --require {requirement}: no fault has this figure");
            required.untested.push(line);
            continue;
        }
        // The worst first; of equals the earliest.
        measured.sort_by_key(|(number, _)| Reverse(*number));
        measured.retain(|(number, _)| *number >= requirement.limit);
        if let Some((_, worst)) = measured.first() {
            required.broken.push(sentence(requirement, worst, measured.len() - 1, faults));
        }
    }
    required
}

/// `kill.recover<2s is broken: it took 3.120 s from the end of kill n3 at 14.002 s to a success of shard s5`
fn sentence(requirement: &Requirement, worst: &FaultAbsence, others: usize, all: &[FaultAbsence]) -> String {
    let name = &worst.name;
    let wait = worst.absence.wait(requirement.figure);
    let time = wait.map_or(String::new(), |wait| {
        let least = if wait.at_least { "at least " } else { "" };
        format!("{least}{}", seconds(wait.ns / 1_000_000))
    });
    let shard =
        wait.and_then(|wait| wait.shard).map_or("a shard".to_owned(), |shard| format!("shard s{shard}"));
    let at = |ns: u64| seconds(ns / 1_000_000);
    let (began, ended) = (at(worst.began_ns), worst.ended_ns.map_or("the end of the run".to_owned(), at));
    let what = match requirement.figure {
        Figure::First => {
            format!("it took {time} from the beginning of {name} at {began} to the first success")
        }
        Figure::Gap => {
            format!("{shard} gave no success for {time} in the effect of {name}, which began at {began}")
        }
        Figure::Lost => {
            let lost = worst.absence.lost_permille.map_or(String::new(), percent);
            format!("{lost} of the throughput was lost in {name} from {began} to {ended}")
        }
        Figure::Recover => {
            format!("it took {time} from the end of {name} at {ended} to a success of {shard}")
        }
        Figure::Normal => format!("it took {time} from the end of {name} at {ended} to normal throughput"),
    };
    let named = |number: &usize| all.iter().find(|fault| fault.fault == *number).map(|fault| &*fault.name);
    let beside: Vec<&str> = worst.beside.iter().filter_map(named).collect();
    let beside = match beside.is_empty() {
        true => String::new(),
        false => format!(" (beside it: {})", beside.join(", ")),
    };
    let more = match others {
        0 => String::new(),
        1 => "; another fault breaks it, too".to_owned(),
        others => format!("; {others} other faults break it, too"),
    };
    format!("{requirement} is broken: {what}{beside}{more}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::FaultKind;
    use crate::store::{Absence, Wait};

    fn fault(number: usize, kind: FaultKind, recover_ms: u64, lost_permille: Option<u64>) -> FaultAbsence {
        let recover = Some(Wait { ns: recover_ms * 1_000_000, at_least: number == 2, shard: Some(5) });
        FaultAbsence {
            fault: number,
            kind,
            name: format!("{kind} n{number}"),
            began_ns: 12_000_000_000,
            ended_ns: Some(14_002_000_000),
            absence: Absence { recover, lost_permille, ..Absence::default() },
            beside: if number == 1 { vec![2] } else { vec![] },
        }
    }

    fn check(requirement: &str, broken: Option<&str>) {
        let faults = [
            fault(0, FaultKind::Kill, 100, Some(213)),
            fault(1, FaultKind::Kill, 3_120, None),
            fault(2, FaultKind::Pause, 5_000, Some(999)),
        ];
        let came = required(&[requirement.parse().expect("a requirement")], &faults);
        assert_eq!(came.broken, Vec::from_iter(broken.map(str::to_owned)), "{requirement}");
        assert_eq!(came.untested, Vec::<String>::new(), "{requirement}");
    }

    #[test]
    fn the_worst_fault_is_named_with_its_figure() {
        check("recover<5001ms", None);
        check(
            "recover<5s",
            Some(
                "recover<5s is broken: it took at least 5.000 s from the end of pause n2 at 14.002 s to a success of shard s5",
            ),
        );
        check("kill.recover<4s", None);
        check(
            "kill.recover<2s",
            Some(
                "kill.recover<2s is broken: it took 3.120 s from the end of kill n1 at 14.002 s to a success of shard s5 \
                 (beside it: pause n2)",
            ),
        );
        check("kill.lost<21.4%", None);
        check(
            "lost<20%",
            Some(
                "lost<20% is broken: 99.9 % of the throughput was lost in pause n2 from 12.000 s to 14.002 s; another fault breaks it, too",
            ),
        );
    }

    #[test]
    fn what_no_fault_was_measured_by_is_said() {
        let wanted: Requirement = "partition.recover<1s".parse().expect("a requirement");
        let came = required(&[wanted], &[fault(0, FaultKind::Kill, 9_000, None)]);
        assert_eq!(came.broken, Vec::<String>::new());
        assert!(came.untested[0].contains("--require partition.recover<1s"), "{came:?}");
    }
}
