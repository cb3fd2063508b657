//! All faults of a run, side by side: the schedule, and a thread for each kind of change that the cluster itself carries out.

use std::time::{Duration, Instant};

use anyhow::Context;

use super::Run;
use super::changes::{CALM_TIME_MAX, Changes, Pending, restore};
use super::perform::cause_of;
use super::schedule::{Schedule, ScheduleError};
use super::trouble::Trouble;
use crate::cluster::{Cluster, Evidence};
use crate::exit::Cause;
use crate::latch::Latch;
use crate::plan::FaultKind;
use crate::store::Event;
use crate::workload::Lanes;

/// Until the first members are the members again, in a cluster that serves.
const RESTORE_TIME_MAX: Duration = Duration::from_secs(20);

/// What is left to be undone.
type Outcome = Result<Option<Pending>, ScheduleError>;

impl Run<'_> {
    /// Lets the faults loose, and watches nodes, clients and user meanwhile. Gives a change that is left to be undone.
    pub(super) fn faults_until_over(
        &self,
        cluster: &Cluster,
        lanes: &Lanes,
    ) -> anyhow::Result<Option<Pending>> {
        let start = Instant::now();
        let over = Latch::new();
        std::thread::scope(|scope| {
            let faults = scope.spawn(|| {
                let ended = self.all_faults(cluster, start);
                over.set();
                ended
            });
            let watched = self.watch(cluster, lanes, start, &over);
            self.stop.set();
            let ended = faults.join().unwrap_or_else(|_| vec![None]);
            watched?;
            let mut pending = None;
            for ended in ended {
                match ended.context("a thread of the faults panicked, its message stands above")? {
                    Ok(left) => pending = pending.or(left),
                    Err(ScheduleError::Store(error)) => return Err(error.into()),
                    Err(ScheduleError::NotVerified { name, reason }) => {
                        self.blame(cause_of(&reason.action), format!("fault not verified: {name}: {reason}"));
                    }
                }
            }
            Ok(pending)
        })
    }

    /// How each of them ended, `None` by a panic. The first that fails ends the others.
    fn all_faults(&self, cluster: &Cluster, start: Instant) -> Vec<Option<Outcome>> {
        let (trouble, now_ns) = (Trouble::default(), || self.now_ns());
        let changes = Changes {
            plan: &self.plan,
            stage: cluster,
            events: &self.events,
            now_ns: &now_ns,
            trouble: &trouble,
            start,
            calm: CALM_TIME_MAX,
            stop: &self.stop,
        };
        let ended = |outcome: Outcome| {
            if outcome.is_err() {
                self.stop.set();
            }
            outcome
        };
        std::thread::scope(|scope| {
            let kinds = FaultKind::ALL.into_iter().filter(|kind| kind.is_change());
            let mut threads: Vec<_> =
                kinds.map(|kind| scope.spawn(move || ended(changes.run(kind)))).collect();
            threads.push(scope.spawn(|| {
                let schedule = Schedule::new(&self.plan, cluster, &self.events, &now_ns, &trouble);
                ended(schedule.run(start, &self.stop).map(|()| None))
            }));
            threads.into_iter().map(|thread| thread.join().ok()).collect()
        })
    }

    /// The cluster ends with the members that it began with.
    pub(super) fn restore_members(&self, cluster: &Cluster, pending: Option<Pending>) -> anyhow::Result<()> {
        if self.plan.count(FaultKind::Members) == 0 {
            return Ok(());
        }
        let asked_ns = self.now_ns();
        if let Some(failed) = restore(cluster, &self.plan, RESTORE_TIME_MAX) {
            let limit = RESTORE_TIME_MAX.as_secs();
            let what = format!("the cluster did not have its first members again within {limit} s: {failed}");
            self.blame(Cause::Cluster, what);
        } else if let Some(Pending { fault, began: true }) = pending {
            let now_ns = self.now_ns();
            let proof = "the first members are the members again".to_owned();
            let evidence = vec![Evidence { asked_ns, applied_ns: now_ns, verified_ns: now_ns, proof }];
            self.events.write(&Event::FaultUndone { fault, evidence })?;
        }
        Ok(())
    }
}
