//! That the three ways to search lose nothing between them: turns of one configuration, sweeps of one a level, so that a few
//! operations are enough for every way to take over from every other; against all orders.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use super::*;
use crate::linear::{Entry, all_orders, replay};
use crate::models::{Register, RegisterOp, RegisterRet};

/// So many histories: a few seconds in the build of the tests. `ORDEAL_HISTORIES` asks for more.
const HISTORIES: u64 = 20_000;

type RegisterTrace = Vec<Entry<RegisterOp<u8>, RegisterRet<u8>>>;

fn op(random: &mut Pcg64) -> RegisterOp<u8> {
    let value = |random: &mut Pcg64| random.random_range(0..3);
    match random.random_range(0..4) {
        0 | 1 => RegisterOp::Read,
        2 => RegisterOp::Write(value(random)),
        _ => RegisterOp::Cas(value(random), value(random)),
    }
}

/// A register with moments of effect drawn at random; many operations never return, and some answers are changed.
fn history(random: &mut Pcg64) -> RegisterTrace {
    let count = random.random_range(4..10);
    let mut drafts: Vec<(u64, u64, RegisterOp<u8>)> = (0..count)
        .map(|_| {
            let called = random.random_range(0..20);
            (called + random.random_range(0..10), called, op(random))
        })
        .collect();
    drafts.sort_unstable_by_key(|&(effect, called, _)| (effect, called));
    let mut state = Register(0);
    let entries = drafts.into_iter().map(|(effect, called, op)| {
        let ret = match (&op, random.random_range(0..10)) {
            (RegisterOp::Read, 0..3) => RegisterRet::Value(random.random_range(0..3)),
            (_, 3..6) => return Entry { op, called, returned: None },
            (..) => {
                let next = state.step(&op, None).expect("it is a specification");
                let ret = match op {
                    RegisterOp::Read => RegisterRet::Value(state.0),
                    RegisterOp::Cas(expected, _) if expected != state.0 => RegisterRet::Refused,
                    RegisterOp::Write(_) | RegisterOp::Cas(..) => RegisterRet::Done,
                };
                state = next;
                ret
            }
        };
        Entry { op, called, returned: Some((effect + random.random_range(0..10), ret)) }
    });
    entries.collect()
}

#[test]
fn the_ways_take_over_from_each_other_and_lose_nothing() {
    let rounds = std::env::var("ORDEAL_HISTORIES").ok().and_then(|count| count.parse().ok());
    let mut random = Pcg64::seed_from_u64(17);
    let stop = AtomicBool::new(false);
    let deadline = Instant::now() + Duration::from_secs(24 * 3600);
    let limits = Limits { steps: u64::MAX, deadline, memory_bytes: 1 << 30, stop: &stop };
    let (mut valid, mut invalid, mut swept, mut again) = (0_u64, 0_u64, 0_u64, 0_u64);
    for _ in 0..rounds.unwrap_or(HISTORIES) {
        let trace = history(&mut random);
        let (classes, members) = Classes::of(&Register(0), &trace);
        let plan = Plan::new(&classes.all, &members);
        let mut states = States::new(&Register(0), &trace);
        let mut search = Search::new(&plan, &mut states, &limits);
        search.sweep = Sweep { level: 0, left: 1, width: 1 };
        let expected = all_orders(&Register(0), &trace);
        match search.decide(1) {
            Decision::Order(order) => {
                assert!(expected, "{order:?} of {trace:#?}");
                assert_eq!(replay(&Register(0), &trace, &order), Ok(()), "{trace:#?}");
                valid += 1;
            }
            Decision::NoOrder(_) => {
                assert!(!expected, "an order was missed: {trace:#?}");
                invalid += 1;
            }
            Decision::GaveUp(limit, _) => panic!("{limit:?} at {trace:#?}"),
        }
        let Sweep { level, left, width } = search.sweep;
        swept += u64::from((level, left, width) != (0, 1, 1));
        again += u64::from(width > 1);
    }
    println!("{valid} valid, {invalid} invalid; {swept} swept over, {again} of them again");
    let rounds = valid + invalid;
    assert!(valid * 4 > rounds, "{valid} valid");
    assert!(invalid * 4 > rounds, "{invalid} invalid");
    assert!(swept * 4 > rounds, "{swept} swept over");
    assert!(again * 1000 > rounds, "{again} swept over again");
}
