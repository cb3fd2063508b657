//! Plans: the same seed is the same plan, every fault is undone, counts are kept.

use super::*;

fn settings(seed: u64, nodes: u32, time_ms: u64) -> Settings {
    Settings {
        seed,
        nodes,
        clients: 10,
        time_ms,
        workload: WorkloadKind::Register,
        faults: FaultKind::ALL.to_vec(),
        rate: 1_000,
        keys: 5,
        read_level: ReadLevel::Linearizable,
        groups: 1,
        replicas: None,
        shards: 1,
        op_timeout_ms: 2_000,
    }
}

#[test]
fn the_same_seed_gives_the_same_plan_and_another_seed_another() {
    let plan = draw(&settings(42, 5, 30_000));
    assert_eq!(plan, draw(&settings(42, 5, 30_000)));
    assert_ne!(plan.faults, draw(&settings(43, 5, 30_000)).faults);
    let text = serde_json::to_string(&plan).expect("plans serialise");
    assert_eq!(serde_json::from_str::<Plan>(&text).expect("and come back"), plan);
}

#[test]
fn the_default_run_has_more_than_five_of_each_kind() {
    for seed in 0..200 {
        let plan = draw(&settings(seed, 5, 30_000));
        for kind in FaultKind::ALL {
            assert!(plan.count(kind) >= 5, "seed {seed}: {} {kind}s", plan.count(kind));
        }
        for planned in &plan.faults {
            assert!((1_000..=3_000).contains(&planned.for_ms), "seed {seed}: {planned}");
        }
    }
}

#[test]
fn everything_is_undone_in_time_and_two_of_a_kind_never_meet() {
    for seed in 0..100 {
        for (nodes, time_ms) in [(1, 1_000), (1, 30_000), (2, 30_000), (3, 12_345), (5, 30_000), (7, 90_000)]
        {
            let mut asked = settings(seed, nodes, time_ms);
            asked.faults.retain(|kind| kind.unsupported(nodes, 2).is_none());
            let plan = draw(&asked);
            assert!(plan.faults.is_sorted_by_key(|planned| planned.at_ms), "seed {seed}");
            for kind in &asked.faults {
                assert!(plan.count(*kind) >= 1, "seed {seed}, {nodes} nodes: no {kind}");
                let mut free_ms = 0;
                for planned in plan.faults.iter().filter(|planned| planned.fault.kind() == *kind) {
                    assert!(planned.at_ms >= free_ms, "seed {seed}: {planned} begins before {free_ms}");
                    assert!(planned.for_ms > 0, "seed {seed}: {planned} does not last");
                    free_ms = planned.until_ms();
                }
                assert!(free_ms <= time_ms, "seed {seed}: {kind} until {free_ms} of {time_ms}");
            }
        }
    }
}

#[test]
fn somebody_is_left_at_every_moment() {
    for seed in 0..200 {
        for nodes in [3, 4, 5, 7] {
            let plan = draw(&settings(seed, nodes, 60_000));
            for at_ms in (0..60_000).step_by(50) {
                let hit: usize = plan
                    .faults
                    .iter()
                    .filter(|planned| (planned.at_ms..planned.until_ms()).contains(&at_ms))
                    .filter_map(|planned| planned.victims().map(Victims::count))
                    .sum();
                assert!(hit < nodes as usize, "seed {seed}: {hit} of {nodes} nodes at {at_ms} ms");
            }
        }
    }
}

#[test]
fn leaders_and_majorities_are_hit_too_and_kinds_overlap() {
    let plans: Vec<Plan> = (0..20).map(|seed| draw(&settings(seed, 5, 30_000))).collect();
    let faults = || plans.iter().flat_map(|plan| &plan.faults);
    assert!(faults().any(|planned| matches!(planned.victims(), Some(Victims::Leader { .. }))));
    assert!(faults().any(|planned| planned.victims().is_some_and(|victims| victims.count() == 3)));
    assert!(faults().filter(|planned| planned.victims().is_some_and(|v| v.count() == 1)).count() > 100);
    let overlap =
        plans.iter().any(|plan| plan.faults.windows(2).any(|pair| pair[1].at_ms < pair[0].until_ms()));
    assert!(overlap, "no two faults are in force at one time in twenty plans");
    for shape in Shape::ALL {
        let drawn =
            faults().any(|planned| matches!(planned.fault, Fault::Partition { shape: s, .. } if s == shape));
        assert!(drawn, "{shape} was never drawn");
    }
}

#[test]
fn members_come_and_go_and_three_voters_stay() {
    for seed in 0..50 {
        for nodes in [3, 4, 5, 15] {
            let plan = draw(&settings(seed, nodes, 30_000));
            let (mut came, mut went, mut leader_went) = (0, 0, 0);
            for planned in &plan.faults {
                match &planned.fault {
                    Fault::Members { change: MembersChange::Joins(node) } => {
                        assert_eq!((Some(*node), node.0), (plan.settings.spare(), nodes + 1));
                        came += 1;
                    }
                    Fault::Members { change: MembersChange::Leaves(victims) } => {
                        assert_eq!(victims.count(), 1, "three voters stay");
                        leader_went += usize::from(matches!(victims, Victims::Leader { .. }));
                        went += 1;
                    }
                    Fault::Transfer { order } => assert_eq!(order.len(), nodes as usize),
                    Fault::MoveShards { shard, steps } | Fault::KillMover { shard, steps, .. } => {
                        assert!(*shard < plan.settings.shards && *steps > 0, "{planned}");
                    }
                    Fault::JoinLeave { group } => assert!((1..=plan.settings.groups).contains(group)),
                    Fault::Kill { .. } | Fault::Pause { .. } | Fault::Partition { .. } => {}
                }
            }
            assert_eq!(came + went, plan.count(FaultKind::Members));
            assert!((came > 0) == (nodes < 15) && (went > 0) == (nodes > 3), "seed {seed}: {came}, {went}");
            assert!(leader_went <= went);
        }
    }
    let leaves = |planned: &PlannedFault| {
        matches!(planned.fault, Fault::Members { change: MembersChange::Leaves(Victims::Leader { .. }) })
    };
    let drawn = (0..20).any(|seed| draw(&settings(seed, 5, 30_000)).faults.iter().any(leaves));
    assert!(drawn, "no leader leaves in twenty plans");
}

#[test]
fn changes_leave_the_other_faults_of_a_seed_as_they_are() {
    let all = draw(&settings(42, 5, 30_000));
    let mut fewer = settings(42, 5, 30_000);
    fewer.faults.retain(|kind| !kind.is_change());
    let of_others = all.faults.into_iter().filter(|planned| !planned.fault.kind().is_change());
    assert_eq!(of_others.collect::<Vec<_>>(), draw(&fewer).faults);
}

#[test]
fn fault_sets_are_read_and_resolved() {
    assert_eq!("all".parse(), Ok(FaultSet::All));
    assert_eq!("none".parse(), Ok(FaultSet::Named(vec![])));
    assert_eq!("pause,kill,pause".parse(), Ok(FaultSet::Named(vec![FaultKind::Kill, FaultKind::Pause])));
    let wrong = "kill,fire".parse::<FaultSet>().expect_err("no such fault").to_string();
    assert!(wrong.contains("`fire`") && wrong.contains("hint:"), "{wrong}");
    let (kinds, left_out) = FaultSet::All.resolve(1, 1).expect("all takes what there is");
    assert_eq!(kinds, [FaultKind::Kill, FaultKind::Pause]);
    assert_eq!(left_out[0], (FaultKind::Partition, "one node has no links"));
    assert_eq!(left_out.len(), 3, "members and leaders are changed in larger clusters only: {left_out:?}");
    let (kinds, left_out) = FaultSet::All.resolve(2, 1).expect("all takes what there is");
    assert_eq!(kinds, [FaultKind::Kill, FaultKind::Pause, FaultKind::Partition, FaultKind::Transfer]);
    assert_eq!(left_out, [(FaultKind::Members, "three voters always stay")]);
    assert!(FaultSet::Named(vec![FaultKind::Partition]).resolve(1, 1).is_err(), "asked by name is required");
}

#[test]
fn settings_out_of_range_are_named() {
    let check = |change: fn(&mut Settings), flag: &str| {
        let mut settings = settings(1, 5, 30_000);
        change(&mut settings);
        let error = settings.check().expect_err(flag).to_string();
        assert!(error.contains(flag) && error.contains("hint:"), "{error}");
    };
    check(|s| s.nodes = 0, "--nodes 0");
    check(|s| s.nodes = 16, "--nodes 16");
    check(|s| s.clients = 0, "--clients 0");
    check(|s| s.time_ms = 999, "--time 999 ms");
    check(|s| s.rate = 0, "--rate 0");
    check(|s| s.keys = 2, "--keys 2");
    check(|s| s.shards = 0, "--shards 0");
    check(|s| s.op_timeout_ms = 0, "--op-timeout 0 ms");
    check(
        |s| (s.workload, s.read_level) = (WorkloadKind::Bank, ReadLevel::Stale),
        "--workload bank has no reads",
    );
    assert!(settings(1, 5, 30_000).check().is_ok());
}

#[test]
fn the_text_names_every_fault() {
    let mut of_one_group = settings(42, 5, 30_000);
    of_one_group.faults.retain(|kind| !kind.is_of_groups());
    assert!(draw(&of_one_group).to_string().contains("6 changes of members, 6 transfers; all undone by 2"));
    let plan = draw(&settings(42, 5, 30_000));
    let text = plan.to_string();
    assert_eq!(text.lines().count(), plan.faults.len() + 3, "{text}");
    assert!(text.starts_with("seed 42: 5 nodes, 10 clients, 30.000 s"), "{text}");
    assert!(
        text.contains(
            "48 faults: 6 kills, 6 pauses, 6 partitions, 6 changes of members, 6 transfers, 6 moves of shards, \
             6 groups that left and joined, 6 kills in the middle of a move; all undone by 2"
        ),
        "{text}"
    );
}
