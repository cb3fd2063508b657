//! Random histories of every model: the search, all orders, and stateright agree; orders replay, cores are cores.

use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use ordeal_history::linear::{
    Decision, Limits, Model, Nondeterministic, Possible, Spec, Tester, all_orders, decide, replay,
    smallest_core,
};
use ordeal_history::model::KeyModel;
use ordeal_history::models::*;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use stateright::semantics::{ConsistencyTester, LinearizabilityTester, SequentialSpec};

use crate::chance::{Drawn, TraceOf, trace};

/// So many histories of all models together: 20 seconds of two cores.
const HISTORIES: u64 = 90_000;

/// Operations of a small history: beyond, all orders take too long.
const SMALL_MAX: usize = 10;

fn histories() -> u64 {
    std::env::var("ORDEAL_HISTORIES").ok().and_then(|count| count.parse().ok()).unwrap_or(HISTORIES)
}

pub fn with_limits<R>(look: impl FnOnce(&Limits<'_>) -> R) -> R {
    let stop = AtomicBool::new(false);
    let deadline = Instant::now() + Duration::from_secs(60);
    look(&Limits { steps: u64::MAX, deadline, memory_bytes: 1 << 30, stop: &stop })
}

/// Decides, and confirms the certificate.
fn is_explained<M: Drawn>(trace: &TraceOf<M>) -> bool {
    match with_limits(|limits| decide(&M::initial(), trace, limits).0) {
        Decision::Order(order) => {
            replay(&M::initial(), trace, &order)
                .unwrap_or_else(|wrong| panic!("{wrong}: {order:?} of {trace:#?}"));
            true
        }
        Decision::NoOrder(_) => false,
        Decision::GaveUp(limit, _) => panic!("{limit:?} at {trace:#?}"),
    }
}

/// A core, if there is one, is few of the operations, and all orders of it fail.
fn confirm_core<M: Drawn>(trace: &TraceOf<M>) {
    let core = with_limits(|limits| smallest_core(&M::initial(), trace, limits)).expect("it has no order");
    let few = core.trace::<M>(trace);
    assert!(!all_orders(&M::initial(), &few), "{}: {core:?} of {trace:#?}", M::NAME);
    for spared in 0..core.answered.len() {
        let mut smaller = core.clone();
        smaller.open.push(smaller.answered.remove(spared));
        assert!(
            all_orders(&M::initial(), &smaller.trace::<M>(trace)),
            "{core:?} can spare {spared}: {trace:#?}"
        );
    }
}

fn agree<M: Drawn>(seed: u64) {
    let rounds = histories() / 9;
    let mut random = Pcg64::seed_from_u64(seed);
    let (mut valid, mut invalid) = (0_u64, 0_u64);
    for round in 0..rounds {
        let most = if round.is_multiple_of(16) { SMALL_MAX } else { 7 };
        let count = random.random_range(1..=most);
        let trace = trace::<M>(&mut random, count);
        let expected = all_orders(&M::initial(), &trace);
        assert_eq!(is_explained::<M>(&trace), expected, "{} {round}: {trace:#?}", M::NAME);
        if expected {
            valid += 1;
        } else {
            invalid += 1;
            if invalid.is_multiple_of(16) {
                confirm_core::<M>(&trace);
            }
        }
    }
    println!("{}: {valid} valid, {invalid} invalid", M::NAME);
    assert!(valid * 10 > rounds && invalid * 10 > rounds, "{}: {valid} valid, {invalid} invalid", M::NAME);
}

#[test]
fn registers() {
    agree::<Register<u8>>(1);
}

#[test]
fn compare_and_set_registers() {
    agree::<Register<u16>>(2);
}

#[test]
fn keys() {
    agree::<KeyModel>(3);
}

#[test]
fn lists() {
    agree::<List<u8>>(4);
}

#[test]
fn sets() {
    agree::<Set<u8>>(5);
}

#[test]
fn counters() {
    agree::<Counter>(6);
}

#[test]
fn queues() {
    agree::<Queue<u8>>(7);
}

#[test]
fn locks() {
    agree::<Lock>(8);
}

#[test]
fn banks() {
    agree::<Bank>(9);
}

#[test]
fn stores_with_transactions() {
    agree::<Store<u8, u8>>(10);
}

/// Feeds a trace to one of stateright's testers; every operation has a thread of its own.
fn feed<M: Drawn, T: ConsistencyTester<usize, M>>(mut tester: T, trace: &TraceOf<M>) -> bool {
    let mut events: Vec<(u64, bool, usize)> = Vec::new();
    for (at, entry) in trace.iter().enumerate() {
        events.push((entry.called, false, at));
        events.extend(entry.returned.iter().map(|(time, _)| (*time, true, at)));
    }
    events.sort_unstable();
    for (_, is_return, at) in events {
        let noted = match trace[at].returned.as_ref().filter(|_| is_return) {
            Some((_, ret)) => tester.on_return(at, ret.clone()).map(drop),
            None => tester.on_invoke(at, trace[at].op.clone()).map(drop),
        };
        noted.expect("one call, one return");
    }
    tester.is_consistent()
}

/// Larger ones, against stateright's tester, by way of its own interface, with and without our short cuts.
fn agree_with_stateright<M: Drawn>(seed: u64) {
    let mut random = Pcg64::seed_from_u64(seed);
    for _ in 0..150 {
        let count = random.random_range(6..=9);
        let trace = trace::<M>(&mut random, count);
        let expected = feed(LinearizabilityTester::new(M::initial()), &trace);
        assert_eq!(is_explained::<M>(&trace), expected, "{}: {trace:#?}", M::NAME);
        assert_eq!(feed(Tester::new(M::initial()), &trace), expected, "{}: {trace:#?}", M::NAME);
    }
}

#[test]
fn stateright_agrees_and_our_tester_takes_the_place_of_its_own() {
    agree_with_stateright::<Register<u8>>(11);
    agree_with_stateright::<Register<u16>>(12);
    agree_with_stateright::<KeyModel>(13);
    agree_with_stateright::<List<u8>>(14);
    agree_with_stateright::<Set<u8>>(15);
    agree_with_stateright::<Counter>(16);
    agree_with_stateright::<Queue<u8>>(17);
    agree_with_stateright::<Lock>(18);
    agree_with_stateright::<Bank>(19);
}

/// Many more than all orders could judge: with our short cuts and without them.
fn agree_with_itself<M: Drawn>(seed: u64) {
    let mut random = Pcg64::seed_from_u64(seed);
    for round in 0..400 {
        let count = random.random_range(10..=24);
        let trace = trace::<M>(&mut random, count);
        let plain: Vec<_> = trace.clone();
        let decided = with_limits(|limits| {
            decide(&Spec(M::initial()), &plain, &Limits { steps: 200_000, ..*limits }).0
        });
        let expected = match decided {
            Decision::Order(_) => true,
            Decision::NoOrder(_) => false,
            Decision::GaveUp(..) => continue,
        };
        assert_eq!(is_explained::<M>(&trace), expected, "{} {round}: {trace:#?}", M::NAME);
    }
}

#[test]
fn short_cuts_change_no_verdict() {
    agree_with_itself::<Register<u8>>(21);
    agree_with_itself::<Register<u16>>(22);
    agree_with_itself::<KeyModel>(23);
    agree_with_itself::<Queue<u8>>(27);
    agree_with_itself::<Lock>(28);
    agree_with_itself::<Bank>(29);
}

/// A register in which every write may get lost: nondeterministic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Lossy(u8);

impl Nondeterministic for Lossy {
    type Op = RegisterOp<u8>;
    type Ret = RegisterRet<u8>;

    fn steps(&self, op: &RegisterOp<u8>, ret: Option<&RegisterRet<u8>>) -> Vec<Self> {
        let mut register = Register(self.0);
        let truth = register.invoke(op);
        if ret.is_some_and(|ret| *ret != truth) { Vec::new() } else { vec![Lossy(register.0), self.clone()] }
    }
}

#[test]
fn what_may_go_on_in_several_ways_is_judged_by_the_set_of_its_states() {
    let mut random = Pcg64::seed_from_u64(31);
    let (mut valid, mut invalid) = (0, 0);
    for _ in 0..3000 {
        let count = random.random_range(1..=6);
        let trace = trace::<Register<u8>>(&mut random, count);
        let initial = Possible::surely(Lossy(0));
        let decision = with_limits(|limits| decide(&initial, &trace, limits).0);
        let is_explained = matches!(decision, Decision::Order(_));
        assert_eq!(is_explained, all_orders(&initial, &trace), "{trace:#?}");
        let is_register = all_orders(&Register(0), &trace);
        assert!(is_explained || !is_register, "what a register shows, one that may lose writes can show");
        valid += u32::from(is_explained && !is_register);
        invalid += u32::from(!is_explained);
    }
    assert!(valid > 10 && invalid > 100, "{valid} {invalid}");
}

#[test]
fn a_model_need_not_be_a_specification() {
    // `Model` alone is enough for the search.
    fn takes_any<M: Model>(initial: &M) -> bool {
        with_limits(
            |limits| matches!(decide(initial, &[], limits).0, Decision::Order(order) if order.is_empty()),
        )
    }
    assert!(takes_any(&Possible::surely(Lossy(3))));
}
