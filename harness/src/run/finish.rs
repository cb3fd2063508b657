//! The part of a run after its cluster: judging what was recorded, and writing down what came of it.

use super::Run;
use crate::report;
use crate::store::Summary;
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
        let concluded = conclude(&self.dir, known, &self.order.budget, &|progress| {
            self.screen.progress(|| format!("judging: {} of {} keys", progress.keys_done, progress.keys));
        })?;
        self.dir.write_report(&report::html(&concluded))?;
        self.dir.write_summary(&concluded.summary)?;
        if concluded.summary.exit == 0 {
            self.dir.drop_data();
        }
        Ok(concluded.summary)
    }
}
