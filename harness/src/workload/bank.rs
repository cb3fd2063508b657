//! The bank: accounts are the keys of a tag, `{b3}a0` to `{b3}a4`, so that a bank has one shard and several banks have several.
//!
//! ```text
//!   open      if no account is there   put 20 on each           else get them all
//!   transfer  if two are as known      put less, put more, get the others     else get them all
//!   look      get them all
//! ```
//!
//! Every answer but that of an opening tells of all accounts, so that whoever is refused knows what to ask next, and the judge sees
//! the total each time. Half of the transfers compare the versions of both accounts beside their values, and some demand a balance that
//! is not there.

use std::collections::BTreeMap;

use ordeal_history::models::{Compare, Test, Txn, TxnOp};
use ordeal_history::txn_model::after;
use ordeal_history::{Answer, Call, KeyTxn, Value, Version};
use rand::RngExt;
use rand_pcg::Pcg64Mcg;

/// Accounts of a bank: enough that two transfers often share one account and seldom both.
const ACCOUNTS: u32 = 5;

/// What is on each at first. Five times this is the total, a number that a person adds up to.
const BALANCE_AT_FIRST: u64 = 20;

/// Moved at once at most: half of what is there at first, so that an account is empty now and then.
const AMOUNT_MAX: u64 = 10;

/// What is on the accounts of a bank, with the versions, as an answer told it.
pub type Accounts = BTreeMap<Value, (Value, Option<Version>)>;

/// Draws what to ask of a bank of which this is known; `None`: nothing.
pub fn draw(rng: &mut Pcg64Mcg, known: Option<&Accounts>) -> Call {
    let Some(known) = known else { return txn(open()) };
    if rng.random_range(0..100u32) < 25 {
        return look();
    }
    txn(transfer(rng, known).unwrap_or_else(|| Txn {
        compares: vec![],
        then: look_at_all(),
        or_else: vec![],
    }))
}

/// A look at all accounts.
#[must_use]
pub fn look() -> Call {
    txn(Txn { compares: vec![], then: look_at_all(), or_else: vec![] })
}

/// What is on the accounts after an answer; `None`: it did not tell, or the bank is not open.
#[must_use]
pub fn accounts_after(call: &Call, answer: &Answer) -> Option<Accounts> {
    let (Call::Txn(txn), Answer::Txn(ret)) = (call, answer) else { return None };
    let accounts: Option<Accounts> =
        after(txn, ret).into_iter().map(|(account, seen)| Some((account, seen?))).collect();
    accounts.filter(|accounts| accounts.len() == ACCOUNTS as usize)
}

fn txn(txn: KeyTxn) -> Call {
    Call::Txn(Box::new(txn))
}

fn name(account: u32) -> Value {
    Value::from(format!("a{account}"))
}

fn number(number: u64) -> Value {
    Value::from(number.to_string())
}

fn look_at_all() -> Vec<TxnOp<Value, Value>> {
    (0..ACCOUNTS).map(|account| TxnOp::Get(name(account))).collect()
}

fn open() -> KeyTxn {
    let is_absent = |account| Compare { key: name(account), test: Test::Is(None) };
    Txn {
        compares: (0..ACCOUNTS).map(is_absent).collect(),
        then: (0..ACCOUNTS).map(|account| TxnOp::Put(name(account), number(BALANCE_AT_FIRST))).collect(),
        or_else: look_at_all(),
    }
}

/// From an account that is not empty, as far as is known. (Where a broken store shows no numbers there is none.)
fn transfer(rng: &mut Pcg64Mcg, known: &Accounts) -> Option<KeyTxn> {
    let balances: Vec<(&Value, u64)> =
        known.iter().filter_map(|(account, (value, _))| Some((account, value.parse().ok()?))).collect();
    let givers: Vec<&(&Value, u64)> = balances.iter().filter(|(_, balance)| *balance > 0).collect();
    let &&(from, known_there) = givers.get(rng.random_range(0..givers.len().max(1)))?;
    // Now and then one more than is known, so that also a quiet store has to refuse.
    let there = known_there.saturating_add(u64::from(rng.random_bool(0.1)));
    let others: Vec<&(&Value, u64)> = balances.iter().filter(|(account, _)| *account != from).collect();
    let &&(to, here) = others.get(rng.random_range(0..others.len().max(1)))?;
    let amount = rng.random_range(1..=there.min(AMOUNT_MAX));
    let mut compares = Vec::new();
    let with_versions = rng.random_bool(0.5);
    for (account, balance) in [(from, there), (to, here)] {
        compares.push(Compare { key: account.clone(), test: Test::Is(Some(number(balance))) });
        let (_, version) = known[account];
        let version = version.filter(|_| with_versions).map(Test::HasVersion);
        compares.extend(version.map(|test| Compare { key: account.clone(), test }));
    }
    let then = known.keys().map(|account| match account {
        account if account == from => TxnOp::Put(account.clone(), number(there - amount)),
        account if account == to => TxnOp::Put(account.clone(), number(here.saturating_add(amount))),
        account => TxnOp::Get(account.clone()),
    });
    Some(Txn { compares, then: then.collect(), or_else: look_at_all() })
}

#[cfg(test)]
mod tests {
    use ordeal_history::linear::Model;
    use ordeal_history::models::{SequentialSpec, Store, TxnRet};

    use super::*;
    use crate::chance::{Stream, generator};

    #[test]
    fn a_bank_is_opened_once_and_keeps_its_total() {
        let mut rng = generator(1, Stream::Lane(0));
        let mut store: Store<Value, Value> = Store::default();
        let (mut known, mut done, mut refused, mut with_versions) = (None, 0, 0, 0);
        for turn in 0..500 {
            let Call::Txn(txn) = draw(&mut rng, known.as_ref()) else { panic!("a transaction") };
            let ret: TxnRet<Value> = store.invoke(&txn);
            assert!(store.step(&txn, None).is_some());
            done += usize::from(!txn.compares.is_empty() && ret.succeeded);
            refused += usize::from(!ret.succeeded);
            with_versions += usize::from(txn.versions().next().is_some());
            let call = Call::Txn(txn);
            known = accounts_after(&call, &Answer::Txn(Box::new(ret)));
            let accounts = known.as_ref().unwrap_or_else(|| panic!("turn {turn}: all accounts are told of"));
            let total: u64 = accounts.values().map(|(value, _)| value.parse::<u64>().unwrap()).sum();
            assert_eq!(total, u64::from(ACCOUNTS) * BALANCE_AT_FIRST);
        }
        assert!(done > 250 && with_versions > 100, "{done} transfers, {with_versions} with versions");
        assert!((10..80).contains(&refused), "{refused} that demanded what was not there");
    }

    #[test]
    fn who_is_refused_knows_what_there_is() {
        let mut rng = generator(1, Stream::Lane(0));
        let mut store: Store<Value, Value> = Store::default();
        let mut ask = |call: Call| {
            let Call::Txn(txn) = &call else { panic!("a transaction") };
            let answer = Answer::Txn(Box::new(store.invoke(txn)));
            accounts_after(&call, &answer)
        };
        let first = ask(draw(&mut rng, None));
        // Somebody else opens it as well, and moves money.
        let second = ask(draw(&mut rng, None));
        assert!(first.is_some() && first == second);
        assert_eq!(ask(look()), first);
    }
}
