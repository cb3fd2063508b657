//! The part of a run after its cluster: judging what was recorded, and writing down what came of it.

use ordeal_history::Budget;

use super::Run;
use super::screen::Screen;
use crate::report;
use crate::store::{RunDir, Summary};
use crate::verdict::{Course, Known, conclude};

impl Run<'_> {
    /// Judges and writes the verdict and the report.
    pub(super) fn conclude(&self, course: Course) -> anyhow::Result<Summary> {
        self.phase("check")?;
        self.recorder.sync()?;
        let known = Known {
            causes: self.causes(),
            system: self.system.name(),
            lab: Some(self.choice.kind),
            lab_reason: self.choice.why.clone(),
            require_ops: self.order.require_ops,
            course,
            measures: Vec::new(),
            wire: None,
        };
        settle(&self.dir, known, &self.order.budget, &self.screen)
    }
}

/// Judges what a run recorded, and writes the report and the summary. The data directories of a good run are dropped.
pub(crate) fn settle(
    dir: &RunDir,
    known: Known,
    budget: &Budget,
    screen: &Screen,
) -> anyhow::Result<Summary> {
    let concluded = conclude(dir, known, budget, &|progress| {
        screen.progress(|| format!("judging: {} of {} keys", progress.keys_done, progress.keys));
    })?;
    dir.write_report(&report::html(&concluded))?;
    dir.write_summary(&concluded.summary)?;
    if concluded.summary.exit == 0 {
        dir.drop_data();
    }
    Ok(concluded.summary)
}
