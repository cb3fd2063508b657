//! Each model by hand, and what belongs to the search but to no model.

use ordeal_history::linear::{Decision, Entry, Keyed, all_orders, decide, decide_in_parts, replay};
use ordeal_history::model::KeyModel;
use ordeal_history::models::*;
use ordeal_history::{Answer, Call};
use stateright::semantics::SequentialSpec;

use crate::agreement::with_limits;

fn check<S: SequentialSpec + Clone>(initial: &S, steps: Vec<(S::Op, S::Ret)>, expected: bool) {
    assert_eq!(initial.clone().is_valid_history(steps), expected);
}

#[test]
fn a_lock_is_held_by_one_and_its_tokens_grow() {
    use LockOp::{Acquire, Release};
    use LockRet::{Done, Granted, Refused};
    let lock = Lock::default();
    check(&lock, vec![(Acquire(1), Granted(5)), (Release(1), Done), (Acquire(2), Granted(6))], true);
    check(&lock, vec![(Acquire(1), Granted(5)), (Release(1), Done), (Acquire(2), Granted(5))], false);
    check(
        &lock,
        vec![(Acquire(1), Done), (Acquire(2), Refused), (Release(1), Done), (Acquire(2), Done)],
        true,
    );
    check(&lock, vec![(Acquire(1), Done), (Acquire(2), Done)], false);
    check(&lock, vec![(Release(1), Done)], false);
}

#[test]
fn a_bank_keeps_its_sum_and_a_queue_its_order() {
    let transfer = |from, to, amount| BankOp::Transfer { from, to, amount };
    let bank = Bank(vec![3, 0]);
    check(
        &bank,
        vec![(transfer(0, 1, 2), BankRet::Done), (BankOp::Read, BankRet::Balances(vec![1, 2]))],
        true,
    );
    check(&bank, vec![(transfer(0, 1, 4), BankRet::Refused), (transfer(0, 7, 1), BankRet::Refused)], true);
    check(
        &bank,
        vec![(transfer(0, 0, 3), BankRet::Done), (BankOp::Read, BankRet::Balances(vec![3, 0]))],
        true,
    );
    let (put, take) = (QueueOp::Enqueue, |element| (QueueOp::Dequeue, QueueRet::Taken(element)));
    let both = || vec![(put(1), QueueRet::Done), (put(2), QueueRet::Done)];
    check(&Queue::default(), [both(), vec![take(Some(1)), take(Some(2)), take(None)]].concat(), true);
    check(&Queue::default(), [both(), vec![take(Some(2))]].concat(), false);
}

#[test]
fn objects_under_keys_are_judged_one_by_one_or_as_a_whole() {
    let entry = |key: &'static str, op, called, returned| Entry { op: (key, op), called, returned };
    let write = |value| RegisterOp::Write(value);
    let mut trace = vec![
        entry("a", write(1), 0, Some((10, RegisterRet::Done))),
        entry("b", write(2), 0, None),
        entry("a", RegisterOp::Read, 20, Some((30, RegisterRet::Value(1)))),
        entry("b", RegisterOp::Read, 20, Some((30, RegisterRet::Value(2)))),
    ];
    let judge = |trace: &[Entry<_, _>]| {
        let parts = with_limits(|limits| decide_in_parts(&Register(0), trace, limits));
        let whole = with_limits(|limits| decide(&Keyed::new(Register(0)), trace, limits).0);
        let is_valid = parts.iter().all(|(_, decision)| matches!(decision, Decision::Order(_)));
        assert_eq!(is_valid, matches!(whole, Decision::Order(_)));
        assert_eq!(is_valid, all_orders(&Keyed::new(Register(0)), trace));
        parts
    };
    let parts = judge(&trace);
    assert_eq!(parts, [("a", Decision::Order(vec![0, 2])), ("b", Decision::Order(vec![1, 3]))]);
    trace[2].returned = Some((30, RegisterRet::Value(0)));
    let parts = judge(&trace);
    assert!(matches!(&parts[0], ("a", Decision::NoOrder(stuck)) if stuck.culprit == Some(2)), "{parts:?}");
}

#[test]
fn the_replayer_finds_fault_with_wrong_orders() {
    let entry = |op, called, returned| Entry { op, called, returned };
    let trace = [
        entry(RegisterOp::Write(1), 0, Some((10, RegisterRet::Done))),
        entry(RegisterOp::Read, 20, Some((30, RegisterRet::Value(1)))),
        entry(RegisterOp::Write(2), 5, None),
    ];
    let wrong = |order: &[usize]| replay(&Register(0), &trace, order).unwrap_err();
    assert_eq!(replay(&Register(0), &trace, &[0, 1]), Ok(()));
    assert_eq!(replay(&Register(0), &trace, &[2, 0, 1]), Ok(()));
    assert_eq!(wrong(&[0, 2, 1]), "operation 1 is answered otherwise");
    assert_eq!(wrong(&[1, 0]), "operation 1 is answered otherwise");
    assert_eq!(wrong(&[0]), "operation 1 is missing");
    assert_eq!(wrong(&[0, 0, 1]), "operation 0 stands in the order twice");
    assert_eq!(wrong(&[0, 1, 7]), "there is no operation 7");
    let late = [trace[1].clone(), entry(RegisterOp::Write(1), 40, None)];
    assert_eq!(
        replay(&Register(0), &late, &[1, 0]).unwrap_err(),
        "operation 0 returned before one that stands before it was called"
    );
}

/// Found by the random histories, one in 56,000: the delete changes nothing where it is used first, and yet is of use, since the
/// write can hide behind it.
#[test]
fn an_optional_operation_that_changes_nothing_can_be_of_use() {
    let entry = |op, called, returned| Entry { op, called, returned };
    let shown = |text: &str| Answer::Value(Some(text.into()));
    let trace = [
        entry(Call::Read, 3, Some((5, shown("a")))),
        entry(Call::Write("ab".into()), 0, Some((2, Answer::Done))),
        entry(Call::Append("a".into()), 0, Some((2, Answer::Done))),
        entry(Call::Delete, 0, None),
    ];
    let decision = with_limits(|limits| decide(&KeyModel::default(), &trace, limits).0);
    let Decision::Order(order) = decision else { panic!("{decision:?}") };
    replay(&KeyModel::default(), &trace, &order).expect("an order");
}
