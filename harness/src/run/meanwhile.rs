//! The judge of a run that is going, on a thread of its own: it reads what the recorder writes, and stops the run at the first
//! violation.
//!
//! ```text
//!  clients ──▶ recorder ──▶ history.jsonl
//!                 └──▶ tap, bounded ──▶ judge ──▶ nothing wrong
//!                                        └──▶ a violation: all nodes stand still ──▶ logs are gathered ──▶ they go on, and
//!                                             say how they are ──▶ the run ends as it would have at its time
//! ```
//!
//! The recorder never waits for the judge: one that cannot follow is turned off, which the report says. What it says is confirmed by
//! the judge of the whole at the end, or the run is an error of ours.

use std::sync::Arc;
use std::time::Duration;

use ordeal_history::online::{Finding, Online};
use ordeal_history::{Event as Seen, Tap};

use super::{Run, gather};
use crate::cluster::Cluster;
use crate::latch::Latch;
use crate::plan::WorkloadKind;
use crate::store::{Event, Stop, StoreError};

/// Events that may wait for the judge: half a second of the fastest recording, some 10 MB.
const WAITING_MAX: usize = 1 << 16;
/// Between two looks at what came: a twentieth of the time in which the nodes have to stand still.
const TURN: Duration = Duration::from_millis(5);

/// The judge and what it has seen.
pub(super) struct Meanwhile {
    tap: Arc<Tap>,
    online: Online,
    events: u64,
    /// The longest time from an event until it was judged.
    lag_ns_max: u64,
}

/// How a look at what came ended.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    /// Nothing wrong.
    Fine,
    /// The first violation.
    Violation(Finding),
    /// It cannot follow, and why.
    Lost(String),
}

impl Meanwhile {
    fn of(tap: Arc<Tap>) -> Meanwhile {
        Meanwhile { tap, online: Online::default(), events: 0, lag_ns_max: 0 }
    }

    fn look(&mut self, now_ns: impl Fn() -> u64) -> Look {
        let came = match self.tap.take() {
            Ok(came) => came,
            Err(overflow) => return Look::Lost(overflow.to_string()),
        };
        for event in came {
            let (Seen::Invoke { time_ns, .. } | Seen::Return { time_ns, .. }) = event;
            let finding = self.online.push(&event);
            self.events += 1;
            self.lag_ns_max = self.lag_ns_max.max(now_ns().saturating_sub(time_ns));
            if let Some(finding) = finding {
                return Look::Violation(finding);
            }
        }
        Look::Fine
    }

    fn event(&self, at_ns: u64, lost: Option<String>) -> Event {
        Event::JudgedMeanwhile {
            at_ns,
            events: self.events,
            lag_ns_max: self.lag_ns_max,
            keys_left_out: self.online.left_out().len(),
            lost,
        }
    }
}

/// Sets it when the work is over, however it ends.
struct Over<'a>(&'a Latch);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.set();
    }
}

impl Run<'_> {
    /// A judge of what is recorded from now on, where it is wanted and the workload is one that it can judge: of values that are
    /// each written once, by writes alone.
    pub(super) fn meanwhile(&self) -> Option<Meanwhile> {
        let can = self.order.settings.workload == WorkloadKind::Register;
        (can && self.order.stop_at_violation).then(|| Meanwhile::of(self.recorder.tap(WAITING_MAX)))
    }

    /// Works while the judge looks on.
    ///
    /// # Errors
    /// When what it saw could not be noted.
    pub(super) fn judged<T>(
        &self,
        cluster: &Cluster,
        judge: Option<Meanwhile>,
        work: impl FnOnce() -> T,
    ) -> anyhow::Result<T> {
        let over = Latch::new();
        std::thread::scope(|scope| {
            let thread = judge.map(|judge| scope.spawn(|| self.look_on(cluster, judge, &over)));
            let done = {
                let _over = Over(&over);
                work()
            };
            match thread.map(std::thread::ScopedJoinHandle::join) {
                None => Ok(done),
                Some(Ok(noted)) => Ok(noted.map(|()| done)?),
                Some(Err(_)) => anyhow::bail!("the judge of the run panicked, its message stands above"),
            }
        })
    }

    fn look_on(&self, cluster: &Cluster, mut judge: Meanwhile, over: &Latch) -> Result<(), StoreError> {
        let lost = loop {
            // What came before the end is looked at after it.
            let is_over = over.wait(TURN);
            match judge.look(|| self.now_ns()) {
                Look::Fine if is_over => break None,
                Look::Fine => {}
                Look::Violation(finding) => {
                    self.halt(cluster, &finding)?;
                    break None;
                }
                Look::Lost(why) => {
                    self.screen.say(&format!("the run is judged at its end only: {why}"));
                    break Some(why);
                }
            }
        };
        judge.tap.close();
        self.events.write(&judge.event(self.now_ns(), lost))
    }

    /// Has all nodes stand still, gathers what they leave to be seen, and ends the run.
    fn halt(&self, cluster: &Cluster, finding: &Finding) -> Result<(), StoreError> {
        let found_ns = self.now_ns();
        let frozen = cluster.freeze();
        let frozen_ns = self.now_ns();
        let stop = Stop {
            op: finding.op.0,
            other: finding.other.map(|op| op.0),
            key: finding.key.to_string(),
            what: finding.what.to_owned(),
            returned_ns: finding.time_ns,
            found_ns,
            frozen_ns,
        };
        self.screen.say(&format!("a violation: {stop}"));
        let states = frozen.told.clone();
        gather::logs(&self.dir, cluster);
        drop(frozen);
        gather::status(&self.dir, &states, &cluster.views());
        let noted = self.events.write(&Event::Stopped { stop });
        self.stop.set();
        noted
    }
}

#[cfg(test)]
mod tests {
    use ordeal_history::{Answer, Call, Claim, ClientId, Header, OpId, Outcome, Recorder, Value};

    use super::*;

    fn recorder(dir: &tempfile::TempDir) -> Recorder {
        Recorder::create(&dir.path().join("history.jsonl"), &Header::default()).unwrap()
    }

    fn ask(recorder: &Recorder, call: Call, at_ns: u64, answer: Answer) -> OpId {
        let op = recorder.invoke_at(ClientId(1), "k", call, at_ns).unwrap();
        recorder.returned_at(op, Outcome::Ok(answer, Claim::default()), None, at_ns + 1).unwrap();
        op
    }

    #[test]
    fn the_first_violation_is_told_with_its_operation() {
        let dir = tempfile::tempdir().unwrap();
        let recorder = recorder(&dir);
        let mut judge = Meanwhile::of(recorder.tap(100));
        let value = |text: &str| Value::from(text);
        ask(&recorder, Call::Write(value("a")), 10, Answer::Done);
        ask(&recorder, Call::Write(value("b")), 20, Answer::Done);
        ask(&recorder, Call::Read, 30, Answer::Value(Some(value("b"))));
        assert_eq!(judge.look(|| 500), Look::Fine);
        assert_eq!((judge.events, judge.lag_ns_max), (6, 490));
        let stale = ask(&recorder, Call::Read, 40, Answer::Value(Some(value("a"))));
        ask(&recorder, Call::Read, 50, Answer::Value(Some(value("a"))));
        let Look::Violation(finding) = judge.look(|| 500) else { panic!("a stale read") };
        assert_eq!((finding.op, finding.time_ns), (stale, 41));
        assert_eq!(judge.look(|| 500), Look::Fine, "what came after it is not looked at");
    }

    #[test]
    fn who_cannot_follow_says_so_and_the_recording_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let recorder = recorder(&dir);
        let mut judge = Meanwhile::of(recorder.tap(3));
        ask(&recorder, Call::Read, 10, Answer::Value(None));
        ask(&recorder, Call::Read, 20, Answer::Value(None));
        let Look::Lost(why) = judge.look(|| 500) else { panic!("four events are too many") };
        assert_eq!(why, "more than 3 events waited");
        let Event::JudgedMeanwhile { events: 0, lost: Some(said), .. } = judge.event(7, Some(why)) else {
            panic!("it is told");
        };
        assert!(said.contains("3 events"));
    }
}
