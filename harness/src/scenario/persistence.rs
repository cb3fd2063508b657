//! kill -9 and a start with what the disk holds: TestPersist1 to TestPersist3.

use super::stage::{ELECTION, Stage};
use super::{Layout, Scenario, Step};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "persist-1",
        what: "All are killed and started, then the leader, then the leader while the others go on, then a follower.",
        source: "TestPersist1 2C/3C",
        seconds: 6,
        nodes: 3,
        node_args: &[],
        layout: Layout::ONE,
        script: persist_1,
    },
    Scenario {
        name: "persist-2",
        what: "Five rounds in which minorities are killed in turn and majorities overlap only in what the disks hold.",
        source: "TestPersist2 2C/3C",
        seconds: 20,
        nodes: 5,
        node_args: &[],
        layout: Layout::ONE,
        script: persist_2,
    },
    Scenario {
        name: "persist-3",
        what: "A follower is cut off, an entry is committed by the two others, both are killed, and only the leader comes back.",
        source: "TestPersist3 2C/3C",
        seconds: 4,
        nodes: 3,
        node_args: &[],
        layout: Layout::ONE,
        script: persist_3,
    },
];

fn persist_1(stage: &mut Stage<'_>) -> Step {
    stage.agree(3)?;
    let all = stage.nodes();
    stage.crash_all(&all)?;
    stage.restart_all(&all)?;
    stage.agree(3)?;
    let leader = stage.one_leader()?;
    stage.crash(leader)?;
    stage.restart(leader)?;
    stage.agree(3)?;
    let leader = stage.one_leader()?;
    stage.crash(leader)?;
    stage.agree(2)?;
    stage.restart(leader)?;
    stage.agree(3)?;
    let leader = stage.one_leader()?;
    let follower = stage.others(&[leader])[0];
    stage.crash(follower)?;
    stage.agree(2)?;
    stage.restart(follower)?;
    stage.agree(3)?;
    Ok(())
}

fn persist_2(stage: &mut Stage<'_>) -> Step {
    for _ in 0..5 {
        stage.agree(5)?;
        let leader = stage.one_leader()?;
        let [a, b, c, d] = stage.others(&[leader])[..] else { unreachable!("five nodes") };
        stage.disconnect(&[a, b])?;
        stage.agree(3)?;
        stage.crash_all(&[leader, c, d])?;
        // The two that missed it come back from their disks, and must not decide anything without a third.
        stage.crash_all(&[a, b])?;
        stage.connect_all()?;
        stage.restart_all(&[a, b])?;
        stage.pause(ELECTION)?;
        stage.no_leader()?;
        stage.restart(c)?;
        stage.agree(3)?;
        stage.restart_all(&[leader, d])?;
    }
    stage.agree(5)?;
    Ok(())
}

fn persist_3(stage: &mut Stage<'_>) -> Step {
    stage.agree(3)?;
    let leader = stage.one_leader()?;
    let [first, second] = stage.others(&[leader])[..] else { unreachable!("three nodes") };
    stage.disconnect(&[second])?;
    stage.agree(2)?;
    stage.crash_all(&[leader, first])?;
    stage.connect(&[second])?;
    stage.restart(leader)?;
    stage.agree(2)?;
    stage.restart(first)?;
    stage.agree(3)?;
    Ok(())
}
