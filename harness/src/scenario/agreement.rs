//! Agreement with nodes that come and go: TestBasicAgree to TestCount.

use std::time::{Duration, Instant};

use ordeal_client::wire::Kind;
use ordeal_history::{Call, Value};

use super::asks::Ask;
use super::stage::{ELECTION, Stage, ms};
use super::{Halt, Layout, Scenario, Step};

pub(super) const SCENARIOS: &[Scenario] = &[
    scenario(
        "basic-agree",
        "Three operations, one after the other; nobody has one before it was asked for, and each takes the next index.",
        "TestBasicAgree 2B/3B",
        (1, 3),
        basic_agree,
    ),
    scenario(
        "rpc-bytes",
        "Ten values of 5000 bytes travel to each other node about once: bytes are counted on the wire.",
        "TestRPCBytes 2B/3B",
        (1, 3),
        rpc_bytes,
    ),
    scenario(
        "follower-failure",
        "Followers are lost one by one; the leader alone acknowledges nothing.",
        "TestFollowerFailure 2B/3B",
        (7, 3),
        follower_failure,
    ),
    scenario(
        "leader-failure",
        "Leaders are lost one by one; what is then asked of every node is acknowledged by none.",
        "TestLeaderFailure 2B/3B",
        (7, 3),
        leader_failure,
    ),
    scenario(
        "fail-agree",
        "A follower is away for four operations, and has caught up within 10 s of its return.",
        "TestFailAgree 2B/3B",
        (4, 3),
        fail_agree,
    ),
    scenario(
        "fail-no-agree",
        "Three followers of four are away: nothing is acknowledged; back again, all five agree.",
        "TestFailNoAgree 2B/3B",
        (5, 5),
        fail_no_agree,
    ),
    scenario(
        "concurrent-starts",
        "Five clients ask at once in one term; each word is there once on every node.",
        "TestConcurrentStarts 2B/3B",
        (1, 3),
        concurrent_starts,
    ),
    scenario(
        "rejoin",
        "A leader that took three operations while it was cut off comes back, after another was cut off in its turn.",
        "TestRejoin 2B/3B",
        (6, 3),
        rejoin,
    ),
    scenario(
        "backup",
        "Three long logs diverge, a hundred entries each; then all are brought in line.",
        "TestBackup 2B/3B",
        (15, 5),
        backup,
    ),
    scenario(
        "count",
        "Messages are counted on the wire: an election, ten agreements, and a second of rest each take few.",
        "TestCount 2B/3B",
        (3, 3),
        count,
    ),
];

const fn scenario(
    name: &'static str,
    what: &'static str,
    source: &'static str,
    (seconds, nodes): (u32, u32),
    script: fn(&mut Stage<'_>) -> Step,
) -> Scenario {
    Scenario { name, what, source, seconds, nodes, node_args: &[], layout: Layout::ONE, script }
}

/// Entries that are left to diverge on each side. suite: 50.
const DIVERGENT: usize = 100;
/// How often a count is begun anew when the term changes meanwhile.
const TRIES: usize = 5;

fn basic_agree(stage: &mut Stage<'_>) -> Step {
    // suite: index 1, 2, 3 exactly, which forbids an entry at the beginning of a term. Here: each the one after.
    let mut last = stage.agree(3)?;
    for _ in 0..3 {
        let (key, word) = stage.next_word(0);
        if stage.having(&key, &word)? > 0 {
            return Halt::is_unsafe(format!("`{word}` is there before anybody has asked for it"));
        }
        stage.words -= 1;
        let index = stage.agree(3)?;
        if index != last + 1 {
            return Halt::is_late(format!(
                "an operation took index {index} after {last}: others came between"
            ));
        }
        last = index;
    }
    Ok(())
}

fn rpc_bytes(stage: &mut Stage<'_>) -> Step {
    const VALUES: usize = 10;
    const BYTES: usize = 5_000;
    stage.agree(3)?;
    let before = stage.lab.traffic()?.between_nodes(|_| true).bytes;
    for _ in 0..VALUES {
        stage.agree_on_bytes(3, BYTES)?;
    }
    let sent = stage.lab.traffic()?.between_nodes(|_| true).bytes - before;
    // Each value to each node once, and room for the rest.
    stage.at_most("bytes between nodes", sent as f64, (3 * VALUES * BYTES + 50_000) as f64, "bytes");
    Ok(())
}

fn follower_failure(stage: &mut Stage<'_>) -> Step {
    stage.agree(3)?;
    let leader = stage.one_leader()?;
    let first = stage.others(&[leader])[0];
    stage.disconnect(&[first])?;
    stage.agree(2)?;
    stage.pause(ELECTION)?;
    stage.agree(2)?;
    let leader = stage.one_leader()?;
    let ask = stage.ask_at(leader)?;
    let second = stage.others(&[leader, first])[0];
    stage.disconnect(&[second])?;
    stage.must_not_complete(vec![ask])
}

fn leader_failure(stage: &mut Stage<'_>) -> Step {
    stage.agree(3)?;
    let first = stage.one_leader()?;
    stage.disconnect(&[first])?;
    stage.agree(2)?;
    stage.pause(ELECTION)?;
    stage.agree(2)?;
    let second = stage.one_leader()?;
    let asks = stage.nodes().into_iter().map(|node| stage.ask_at(node)).collect::<Step<Vec<Ask>>>()?;
    stage.disconnect(&[second])?;
    stage.must_not_complete(asks)
}

fn fail_agree(stage: &mut Stage<'_>) -> Step {
    stage.agree(3)?;
    let leader = stage.one_leader()?;
    let away = stage.others(&[leader])[0];
    stage.disconnect(&[away])?;
    stage.agree(2)?;
    stage.agree(2)?;
    stage.pause(ELECTION)?;
    stage.agree(2)?;
    stage.agree(2)?;
    stage.connect(&[away])?;
    // With PreVote its return disturbs nobody.
    let since = Instant::now();
    stage.agree(3)?;
    stage.note("caught up", ms(since.elapsed()), "ms");
    stage.pause(ELECTION)?;
    stage.agree(3)?;
    Ok(())
}

fn fail_no_agree(stage: &mut Stage<'_>) -> Step {
    stage.agree(5)?;
    let leader = stage.one_leader()?;
    let ask = stage.ask_at(leader)?;
    let away = stage.others(&[leader])[..3].to_vec();
    stage.disconnect(&away)?;
    stage.must_not_complete(vec![ask])?;
    stage.connect(&away)?;
    stage.agree(5)?;
    stage.agree(5)?;
    Ok(())
}

/// So many clients that have a session with the leader already.
fn ready_asks(stage: &mut Stage<'_>, count: usize) -> Step<Vec<Ask>> {
    let leader = stage.one_leader()?;
    (0..count).map(|_| stage.ask_at(leader)).collect()
}

/// All at once; whether all were acknowledged.
fn all_at_once(asks: &mut [Ask]) -> Step<bool> {
    let ended: Vec<Step<bool>> = std::thread::scope(|scope| {
        let ask = |ask: &mut Ask| ask.perform().map(|outcome| super::hands::is_ok(&outcome));
        let threads: Vec<_> = asks.iter_mut().map(|one| scope.spawn(move || ask(one))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or(Err(Halt::Stopped))).collect()
    });
    ended.into_iter().try_fold(true, |all, ended| Ok(all & ended?))
}

/// Does it until the term stays the same meanwhile.
fn in_one_term(stage: &mut Stage<'_>, mut what: impl FnMut(&mut Stage<'_>) -> Step) -> Step {
    for _ in 0..TRIES {
        stage.one_leader()?;
        let term = stage.one_term()?;
        what(stage)?;
        if stage.one_term()? == term {
            return Ok(());
        }
    }
    Halt::is_late(format!("the term changed {TRIES} times though nothing was done to anybody"))
}

fn concurrent_starts(stage: &mut Stage<'_>) -> Step {
    in_one_term(stage, |stage| {
        let mut asks = ready_asks(stage, 5)?;
        let key = format!("together-{}", stage.words);
        for (number, ask) in asks.iter_mut().enumerate() {
            ask.key.clone_from(&key);
            ask.call = Call::Append(Value::from(format!("c{number}-{},", stage.words)));
        }
        let since = Instant::now();
        if !all_at_once(&mut asks)? {
            return Halt::is_late("five clients at once, and not all were answered in 2 s");
        }
        for number in 0..asks.len() {
            stage.applied_by(3, &key, &format!("c{number}-{},", stage.words), since)?;
        }
        stage.check()
    })
}

fn rejoin(stage: &mut Stage<'_>) -> Step {
    stage.agree(3)?;
    let first = stage.one_leader()?;
    let asks = ready_asks(stage, 3)?;
    stage.disconnect(&[first])?;
    // What it took must not be acknowledged; afterwards it is gone, or its clients were told that nobody knows.
    stage.must_not_complete(asks)?;
    stage.agree(2)?;
    let second = stage.one_leader()?;
    stage.disconnect(&[second])?;
    stage.connect(&[first])?;
    stage.agree(2)?;
    stage.connect(&[second])?;
    stage.agree(3)?;
    Ok(())
}

fn backup(stage: &mut Stage<'_>) -> Step {
    stage.agree(5)?;
    let first = stage.one_leader()?;
    let asks = ready_asks(stage, DIVERGENT)?;
    let follower = stage.others(&[first])[0];
    let three = stage.others(&[first, follower]);
    stage.disconnect(&three)?;
    stage.must_not_complete(asks)?;
    stage.connect_only(&three)?;
    many(stage, 3)?;
    let second = stage.one_leader()?;
    let asks = ready_asks(stage, DIVERGENT)?;
    let other = stage.others(&[first, follower, second])[0];
    stage.disconnect(&[other])?;
    stage.must_not_complete(asks)?;
    stage.connect_only(&[first, follower, other])?;
    many(stage, 3)?;
    stage.connect_all()?;
    let since = Instant::now();
    stage.agree(5)?;
    stage.note("all logs in line", ms(since.elapsed()), "ms");
    Ok(())
}

/// As many operations as diverge elsewhere; the last one is waited for.
fn many(stage: &mut Stage<'_>, nodes: usize) -> Step {
    for _ in 1..DIVERGENT {
        let (key, word) = stage.next_word(0);
        if !stage.clerk.append(&key, &word)? {
            return Halt::is_late(format!("`{word}` was not acknowledged within 10 s"));
        }
    }
    stage.agree(nodes).map(|_| ())
}

fn is_request(kind: Kind) -> bool {
    !kind.is_reply() && !matches!(kind, Kind::Hello | Kind::Ping)
}

fn count(stage: &mut Stage<'_>) -> Step {
    stage.one_leader()?;
    let votes = stage.lab.traffic()?.between_nodes(|kind| kind == Kind::RequestVote).messages;
    stage.at_least("votes seen on the wire", votes as f64, 1.0, "messages");
    // 30 of each group, as in the suite: the controller's is there, too.
    let groups = f64::from(stage.layout.groups + 1);
    stage.at_most("votes asked for in an election", votes as f64, 30.0 * groups, "messages");
    let mut worst = 0;
    in_one_term(stage, |stage| {
        // 1 + 11 submits of the suite; their clients have a session by now, and an agreement to catch up with.
        let mut asks = ready_asks(stage, 12)?;
        stage.agree(3)?;
        let before = stage.lab.traffic()?.between_nodes(is_request).messages;
        if !all_at_once(&mut asks)? {
            return Halt::is_late("twelve clients at once, and not all were answered in 2 s");
        }
        worst = stage.lab.traffic()?.between_nodes(is_request).messages - before;
        Ok(())
    })?;
    // (10 + 1 + 3) × 3, as in the suite.
    stage.at_most("requests for twelve operations at once", worst as f64, 42.0, "messages");
    stage.converge()?;
    let before = stage.lab.traffic()?.between_nodes(is_request).messages;
    stage.pause(Duration::from_secs(1))?;
    let idle = stage.lab.traffic()?.between_nodes(is_request).messages - before;
    // 3 × 20 of each node that leads, as in the suite: heartbeats of all its groups travel together.
    stage.at_most("requests in an idle second", idle as f64, 60.0 * stage.leading_now() as f64, "messages");
    Ok(())
}
