//! Several administrators, and one that is cut off in the middle of a change: the tests of the suite's sharded store of 2025 and 2026
//! about its controllers, TestRecoverCtrler to TestLeaseBasicRefresh.
//!
//! suite: a controller is a client's program that moves shards itself, so another one must finish what the first has begun, and the
//! first must be kept from going on; in early 2025 by a lease. Here group 0 is the controller, and groups move shards by themselves.
//! What is left of the question is asked of administrators: a change that somebody is cut off from is made once or not at all, never on
//! top of a later one, and goes on without whoever asked for it; whoever comes next need not wait for anything.
//!
//! An administrator that can be cut off dials from where a node of the last group stands, and loses its links with it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use ordeal_client::wire::{AdminChange, Cause as Why, CommandId, Configuration, Decision, GroupId, NodeId};

use super::desk::{Desk, is_settled, leaving};
use super::groups::{A, B, C, MOVES_TIME_MAX, NODES};
use super::reconfigure::{FEW, sixty_keys};
use super::stage::{ELECTION, Stage, ms};
use super::writers::{Habit, Kind, PATIENCE};
use super::{Halt, Scenario, Step};
use crate::lab::Lab;
use crate::latch::Latch;

pub(super) const SCENARIOS: &[Scenario] = &[
    scenario(
        "recover-administrator",
        "Five times an administrator is cut off while a group that its change needs is down; the change is completed without it.",
        "TestRecoverCtrler 5B",
        40,
        |stage| recovery(stage, Recovery { rounds: 5, comes_back: false, clients: 0, unreliable: false }),
    ),
    scenario(
        "concurrent-administrators-reliable",
        "Four administrators let groups join and leave at once; none loses another's change.",
        "TestConcurrentReliable 5C",
        10,
        |stage| concurrent(stage, false),
    ),
    scenario(
        "concurrent-administrators-unreliable",
        "The same over a network that loses requests and replies: each command is done once.",
        "TestAcquireLockConcurrentUnreliable 5C, TestAcquireLockConcurrentReliable N25L",
        15,
        |stage| concurrent(stage, true),
    ),
    scenario(
        "partition-administrator-join",
        "An administrator lets a group join that is down, and is cut off; it is there when the group is, and asks again: done once.",
        "TestPartitionControllerJoin 5C",
        15,
        partition_join,
    ),
    scenario(
        "partition-recovery-reliable-no-clerk",
        "Five times an administrator is cut off in the middle of a change, another one makes the next, and the first comes back.",
        "TestPartitionRecoveryReliableNoClerk 5C, TestPartitionRecovery N25L",
        40,
        |stage| recovery(stage, Recovery { rounds: 5, comes_back: true, clients: 0, unreliable: false }),
    ),
    scenario(
        "partition-recovery-unreliable-no-clerk",
        "The same three times over an unreliable network.",
        "TestPartitionRecoveryUnreliableNoClerk 5C",
        35,
        |stage| recovery(stage, Recovery { rounds: 3, comes_back: true, clients: 0, unreliable: true }),
    ),
    scenario(
        "partition-recovery-reliable-clerks",
        "Five times, with five clients that put and get.",
        "TestPartitionRecoveryReliableClerks 5C",
        40,
        |stage| recovery(stage, Recovery { rounds: 5, comes_back: true, clients: 5, unreliable: false }),
    ),
    scenario(
        "partition-recovery-unreliable-clerks",
        "Three times, with five clients that put and get over an unreliable network.",
        "TestPartitionRecoveryUnreliableClerks 5C",
        35,
        |stage| recovery(stage, Recovery { rounds: 3, comes_back: true, clients: 5, unreliable: true }),
    ),
    scenario(
        "no-lease",
        "An administrator need not wait for another that has ended or is gone for ever, and cannot change what another has just changed.",
        "TestLeaseBasicRelease TestLeaseBasicExpire TestLeaseBasicRefresh N25L",
        12,
        no_lease,
    ),
];

const fn scenario(
    name: &'static str,
    what: &'static str,
    source: &'static str,
    seconds: u32,
    script: fn(&mut Stage<'_>) -> Step,
) -> Scenario {
    Scenario { name, what, source, seconds, nodes: NODES, node_args: &[], layout: FEW, script }
}

/// How patient an administrator is who is to be cut off.
const SHORT: Duration = Duration::from_secs(1);

/// An administrator and everything it asked for.
struct Clerk {
    desk: Desk,
    asked: Vec<Asked>,
}

struct Asked {
    id: CommandId,
    base: u64,
    change: AdminChange,
    told: Option<Decision>,
}

impl Clerk {
    fn new(desk: Desk) -> Clerk {
        Clerk { desk, asked: Vec::new() }
    }

    /// Asks for a change, once; what it was told.
    fn ask(&mut self, base: u64, change: AdminChange) -> Option<Decision> {
        let id = CommandId::new();
        let told = self.desk.try_change(id, base, &change);
        self.asked.push(Asked { id, base, change, told: told.clone() });
        told
    }

    /// Asks for whatever it was not told, again.
    fn ask_again(&mut self) {
        for asked in self.asked.iter_mut().filter(|asked| asked.told.is_none()) {
            asked.told = self.desk.try_change(asked.id, asked.base, &asked.change);
        }
    }

    /// Lets this group join, and leave, and join, until it is over or nobody answers.
    fn toggle(&mut self, group: u32, over: &Latch) {
        while !over.is_set() {
            let Ok(now) = self.desk.newest() else { return };
            let is_there = now.groups.get(&GroupId(group)).is_some_and(|info| !info.leaving);
            let change = if is_there { leaving(&[group]) } else { self.desk.joining(&[group]) };
            match self.ask(now.number, change) {
                Some(Decision::Done { .. }) => {
                    let until = |now: &Configuration| is_settled(now) || over.is_set();
                    if self.desk.wait(MOVES_TIME_MAX, until).is_err() {
                        return;
                    }
                }
                Some(Decision::Conflict { .. } | Decision::Refused(_)) => {}
                None => return,
            }
        }
    }
}

/// What administrators were told is what happened: each command once or, where it was refused, never.
fn told_the_truth<'a>(history: &[Configuration], asked: impl IntoIterator<Item = &'a Asked>) -> Step<u32> {
    let mut made: BTreeMap<CommandId, Vec<(u64, &AdminChange)>> = BTreeMap::new();
    for configuration in history {
        if let Why::Asked { command, change } = &configuration.cause {
            made.entry(*command).or_default().push((configuration.number, change));
        }
    }
    let mut done = 0;
    for asked in asked {
        let of = made.get(&asked.id).map_or(&[][..], Vec::as_slice);
        let right = match (&asked.told, of) {
            (Some(Decision::Done { number }), [(at, change)]) => number == at && **change == asked.change,
            (Some(Decision::Conflict { .. } | Decision::Refused(_)), []) | (None, []) => true,
            (None, [(_, change)]) => **change == asked.change,
            (Some(_) | None, _) => false,
        };
        if !right {
            return Halt::is_unsafe(format!(
                "{:?} on {} was told {:?}, and it is {of:?} in the configurations",
                asked.change, asked.base, asked.told
            ));
        }
        done += u32::from(!of.is_empty());
    }
    Ok(done)
}

impl Stage<'_> {
    /// An administrator that loses its links with the last node.
    fn clerk_at_the_edge(&self) -> Step<Clerk> {
        Ok(Clerk::new(self.kit.desk_at(&self.lab.dial(self.edge()), SHORT)?))
    }

    fn edge(&self) -> NodeId {
        *self.nodes().last().expect("twelve nodes")
    }

    fn cut_the_edge(&mut self) -> Step {
        self.set_away_quickly(BTreeSet::from([self.edge()]))
    }
}

#[derive(Clone, Copy)]
struct Recovery {
    rounds: u32,
    comes_back: bool,
    clients: usize,
    unreliable: bool,
}

fn recovery(stage: &mut Stage<'_>, of: Recovery) -> Step {
    stage.only(&[A, C])?;
    let book = sixty_keys(stage, 8)?;
    if of.unreliable {
        stage.unreliable_for_all(true)?;
    }
    // Keys of their own: what is in the book stays as it is.
    let keys: Vec<String> = stage.key_of_each_shard().iter().map(|key| format!("{{{key}}}busy")).collect();
    let pause = Duration::from_millis(10);
    let habit = Habit { clients: of.clients, pause, keys, kind: Kind::PutAndGet, patience: PATIENCE };
    let play = |stage: &mut Stage<'_>| -> Step {
        for round in 0..of.rounds {
            stage.progress(|| format!("round {} of {}", round + 1, of.rounds));
            one_recovery(stage, of)?;
        }
        Ok(())
    };
    if of.clients > 0 {
        stage.beside(&habit, play)?;
    } else {
        play(stage)?;
    }
    stage.unreliable_for_all(false)?;
    stage.check_all(&book)
}

/// The first administrator lets B join and leave; A, which has to give or take, is shut down, and the administrator cut off.
fn one_recovery(stage: &mut Stage<'_>, of: Recovery) -> Step {
    let (mut first, over) = (stage.clerk_at_the_edge()?, Latch::new());
    std::thread::scope(|scope| -> Step {
        let thread = scope.spawn(|| first.toggle(B, &over));
        let played = cut_off_in_the_middle(stage);
        over.set();
        thread.join().map_err(|_| Halt::Stopped)?;
        played
    })?;
    stage.start(&[A])?;
    // Another one, who knows of nothing: the change is completed without whoever asked for it.
    let now = stage.settle(MOVES_TIME_MAX)?;
    if of.comes_back {
        // suite: the old one must not undo what the new one does.
        // One more of which it hears nothing: it comes too late, or is not received at all.
        first.ask(now.number, leaving(&[C]));
        let is_there = now.groups.contains_key(&GroupId(B));
        let number = if is_there { stage.leave(&[B])? } else { stage.join(&[B])? };
        stage.connect_all_quickly()?;
        let since = Instant::now();
        first.ask_again();
        stage.at_most("the old administrator is told", ms(since.elapsed()), TOLD_MS_MAX, "ms");
        for asked in &first.asked {
            if let Some(Decision::Done { number: made }) = asked.told
                && made > number
            {
                return Halt::is_unsafe(format!("{:?} came after configuration {number}", asked.change));
            }
        }
        stage.settle(MOVES_TIME_MAX)?;
    } else {
        stage.connect_all_quickly()?;
    }
    let history = stage.desk()?.history()?;
    let done = told_the_truth(&history, &first.asked)?;
    stage.at_least("changes of an administrator that is cut off", f64::from(done), 1.0, "");
    Ok(())
}

/// suite: 100 ms. A connection that was cut is given up after an attempt of half a second, and then there is a new one.
const TOLD_MS_MAX: f64 = 1_000.0;

fn cut_off_in_the_middle(stage: &mut Stage<'_>) -> Step {
    stage.pause(ELECTION)?;
    stage.pause_up_to(400)?;
    stage.shut(&[A])?;
    stage.pause(ELECTION)?;
    stage.cut_the_edge()
}

fn concurrent(stage: &mut Stage<'_>, unreliable: bool) -> Step {
    stage.only(&[A])?;
    let book = sixty_keys(stage, 8)?;
    stage.unreliable_for_all(unreliable)?;
    let over = Latch::new();
    let mut clerks = Vec::new();
    // Two of them at odds about one group.
    for group in [1, B, C, C] {
        clerks.push((group, Clerk::new(stage.kit.desk()?)));
    }
    let asked: Vec<Asked> = std::thread::scope(|scope| -> Step<Vec<Asked>> {
        let threads: Vec<_> = clerks
            .into_iter()
            .map(|(group, mut clerk)| {
                let over = &over;
                scope.spawn(move || {
                    clerk.toggle(group, over);
                    clerk.ask_again();
                    clerk.asked
                })
            })
            .collect();
        let played = stage.pause(4 * ELECTION);
        over.set();
        let asked = threads.into_iter().map(|thread| thread.join().map_err(|_| Halt::Stopped));
        let asked: Step<Vec<Vec<Asked>>> = asked.collect();
        played.and(asked).map(|asked| asked.into_iter().flatten().collect())
    })?;
    stage.unreliable_for_all(false)?;
    let conflicts =
        asked.iter().filter(|asked| matches!(asked.told, Some(Decision::Conflict { .. }))).count();
    stage.settle(MOVES_TIME_MAX)?;
    let history = stage.desk()?.history()?;
    let done = told_the_truth(&history, &asked)?;
    stage.at_least("changes done", f64::from(done), 4.0, "");
    stage.note("changes that came too late", conflicts as f64, "");
    stage.check_all(&book)
}

fn partition_join(stage: &mut Stage<'_>) -> Step {
    stage.only(&[A, C])?;
    let book = sixty_keys(stage, 8)?;
    stage.shut(&[B])?;
    let mut first = stage.clerk_at_the_edge()?;
    let now = first.desk.newest()?;
    let change = first.desk.joining(&[B]);
    let told = first.ask(now.number, change);
    let Some(Decision::Done { number }) = told else {
        return Halt::is_late(format!("a group that is down joins: {told:?}"));
    };
    stage.stays_unsettled(ELECTION)?;
    stage.cut_the_edge()?;
    stage.stays_unsettled(ELECTION)?;
    stage.start(&[B])?;
    stage.settle(MOVES_TIME_MAX)?;
    let after = stage.leave(&[C])?;
    stage.settle(MOVES_TIME_MAX)?;
    stage.connect_all_quickly()?;
    // Asked again as if no answer had come, and once more what has become too late.
    first.asked.iter_mut().for_each(|asked| asked.told = None);
    first.ask_again();
    let late = first.ask(number, leaving(&[B]));
    if !matches!(late, Some(Decision::Conflict { current }) if current >= after) {
        return Halt::is_unsafe(format!("a change on {number} after one on {after} was told {late:?}"));
    }
    let history = stage.desk()?.history()?;
    told_the_truth(&history, &first.asked)?;
    if first.asked[0].told != told {
        return Halt::is_unsafe(format!("told {told:?} first, then {:?}", first.asked[0].told));
    }
    stage.check_all(&book)
}

/// suite: whoever has the lease changes; it must be had 1 s after it was released, or after it has expired, and not before.
fn no_lease(stage: &mut Stage<'_>) -> Step {
    const AT_ONCE: Duration = Duration::from_secs(1);
    stage.only(&[A, C])?;
    let mut second = Clerk::new(stage.kit.desk()?);
    let mut at_once = |stage: &mut Stage<'_>, name: &str| -> Step {
        let since = Instant::now();
        let number = second.desk.newest()?.number;
        let is_there = second.desk.newest()?.groups.contains_key(&GroupId(B));
        let change = if is_there { leaving(&[B]) } else { second.desk.joining(&[B]) };
        match second.ask(number, change) {
            Some(Decision::Done { .. }) => {}
            told => return Halt::is_late(format!("{name}: a change on the newest configuration: {told:?}")),
        }
        stage.at_most(name, ms(since.elapsed()), ms(AT_ONCE), "ms");
        stage.settle(MOVES_TIME_MAX).map(|_| ())
    };
    // Release: the first has changed something, and ends.
    let mut first = stage.clerk_at_the_edge()?;
    let base = first.desk.newest()?.number;
    first.ask(base, leaving(&[C]));
    stage.settle(MOVES_TIME_MAX)?;
    drop(first);
    at_once(stage, "after one that has ended")?;
    // Refresh: the first goes on, and whoever relies on what was before is told that it was.
    let mut first = stage.clerk_at_the_edge()?;
    let base = first.desk.newest()?.number;
    let change = first.desk.joining(&[C]);
    let done = first.ask(base, change);
    let late = stage.desk()?.try_change(CommandId::new(), base, &leaving(&[A]));
    if !matches!((&done, &late), (Some(Decision::Done { .. }), Some(Decision::Conflict { .. }))) {
        return Halt::is_unsafe(format!(
            "two changes on configuration {base} were told {done:?} and {late:?}"
        ));
    }
    stage.settle(MOVES_TIME_MAX)?;
    // Expire: the first is gone for ever, in the middle of a change.
    let base = first.desk.newest()?.number;
    stage.cut_the_edge()?;
    first.ask(base, leaving(&[A]));
    at_once(stage, "after one that is cut off")?;
    stage.connect_all_quickly()?;
    first.ask_again();
    let history = stage.desk()?.history()?;
    told_the_truth(&history, &first.asked).map(|_| ())
}
