//! Makes a failing world short: takes out faults, calls, clients and kinds of trouble as long as the same check fails.
//!
//! Delta debugging (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002), on one list after
//! the other, until nothing more can be taken out or the patience is over. Chance is drawn a stream a node, link and
//! client, so that what is left goes on much as before.

use crate::plan::{Plan, SECOND_US};
use crate::play::{Failure, play};
use crate::script::{Act, Line, Script};

/// Worlds played, at most: some minutes for the longest.
const PLAYS_MAX: u32 = 2_000;

/// A short world that fails as the long one did.
#[derive(Debug)]
pub struct Short {
    pub plan: Plan,
    pub script: Script,
    pub failure: Failure,
    lines_before: usize,
    plays: u32,
}

impl Short {
    /// What was done, for a person.
    pub fn words(&self) -> String {
        format!(
            "from {} lines to {} in {} plays; fails at {:.6} s: {}",
            self.lines_before,
            self.script.0.len(),
            self.plays,
            self.failure.at_us as f64 / 1e6,
            self.failure.words
        )
    }
}

/// Makes a failing world short.
pub fn shrink(plan: &Plan, script: &Script, failure: &Failure) -> Short {
    let mut short = Short {
        plan: plan.clone(),
        script: script.clone(),
        failure: failure.clone(),
        lines_before: script.0.len(),
        plays: 0,
    };
    loop {
        let before = (short.plan.clone(), short.script.0.len());
        short.cut_the_end();
        short.calm();
        short.thin(|line| matches!(line.act, Act::Fault { .. }));
        short.thin(|line| matches!(line.act, Act::Reshape(_)));
        short.thin(|line| matches!(line.act, Act::Call { .. }));
        short.soften();
        if before == (short.plan.clone(), short.script.0.len()) || short.plays >= PLAYS_MAX {
            return short;
        }
    }
}

impl Short {
    /// Takes the other world in, if it fails the same check.
    fn try_this(&mut self, plan: Plan, script: Script) -> bool {
        if self.plays >= PLAYS_MAX {
            return false;
        }
        self.plays += 1;
        let course = play(&plan, &script, false);
        match course.failure {
            Some(failure) if failure.check == self.failure.check => {
                (self.plan, self.script, self.failure) = (plan, script, failure);
                true
            }
            Some(_) | None => false,
        }
    }

    /// Nothing after the failure matters. A failure that shows at the end only may go with less time, too.
    fn cut_the_end(&mut self) {
        let seconds = self.plan.seconds;
        let by_failure = self.failure.at_us / SECOND_US + 1;
        for seconds in [by_failure, seconds / 2, seconds * 3 / 4, seconds - 1] {
            if seconds < self.plan.seconds && seconds > 0 {
                let end_us = seconds * SECOND_US;
                let lines = self.script.0.iter().filter(|line| line.at_us < end_us).cloned().collect();
                self.try_this(Plan { seconds, ..self.plan.clone() }, Script(lines));
            }
        }
    }

    /// Settings that may be calmer.
    fn calm(&mut self) {
        let names: Vec<&str> = self.plan.settings().into_iter().map(|(name, _)| name).collect();
        for name in names {
            let calm: &[u64] = match name {
                "lost_permille" | "doubled_permille" | "late_permille" | "slow_sync_permille" => &[0],
                "drift_permille" | "leases" | "follower_reads" | "replicas" | "late" => &[0],
                "groups" | "shards" | "slots" | "sharing" => &[1],
                "clients" => &[1, 2, 3],
                "nodes" => &[3],
                "snapshot_entries" => &[1_000_000],
                _ => &[],
            };
            for &value in calm {
                let mut plan = self.plan.clone();
                let setting = plan.settings().into_iter().find(|(known, _)| *known == name);
                let setting = setting.expect("it was listed a moment ago").1;
                if *setting <= value && value < 1_000 || *setting == value {
                    continue;
                }
                *setting = value;
                let script = self.script.fit(&plan);
                if self.try_this(plan, script) {
                    break;
                }
            }
        }
    }

    /// Takes out as many of these lines as can go, in halves first, one by one last.
    fn thin(&mut self, of: impl Fn(&Line) -> bool) {
        let mut size = self.script.0.iter().filter(|line| of(line)).count().div_ceil(2);
        while size > 0 {
            let mut taken = 0;
            loop {
                let places: Vec<usize> =
                    (0..self.script.0.len()).filter(|&at| of(&self.script.0[at])).collect();
                let Some(chunk) = places.get(taken..).filter(|rest| !rest.is_empty()) else { break };
                let out = &chunk[..size.min(chunk.len())];
                let lines = self.script.0.iter().enumerate();
                let left = lines.filter(|(at, _)| !out.contains(at)).map(|(_, line)| line.clone()).collect();
                if !self.try_this(self.plan.clone(), Script(left)) {
                    taken += size;
                }
            }
            size = if size == 1 { 0 } else { size.div_ceil(2) };
        }
    }

    /// Faults that may be shorter.
    fn soften(&mut self) {
        for at in 0..self.script.0.len() {
            let mut script = self.script.clone();
            let Act::Fault { lasts_us, .. } = &mut script.0[at].act else { continue };
            let rounded = *lasts_us / 4 / 10_000 * 10_000;
            if rounded == 0 {
                continue;
            }
            *lasts_us = rounded;
            self.try_this(self.plan.clone(), script);
        }
    }
}
