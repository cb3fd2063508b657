//! Finding the one who leads: hints, circles, the dead, the paused, forwarded ports, strangers.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ordeal_client::wire::{ClusterId, NodeId, ReadLevel};
use ordeal_client::{Client, ClientConfig, ClientError};

use crate::fake::{ATTEMPT_TIMEOUT, Act, alone, client, config, hint, members, on_write, seats};

const LONG_MS: u64 = 20_000;

#[test]
fn a_hint_is_followed_at_once_and_remembered() {
    let all: [_; 3] = seats();
    let members = members(&all);
    let leader = members[2].clone();
    let [first, second, third] = all;
    let hinting = leader;
    let first = first.start(&members, move |_| hint(Some((hinting.0, &hinting.1))));
    let second = second.start(&members, |_| Act::Behave);
    let third = third.start(&members, |_| Act::Behave);
    let mut client = client(&[first.address(), second.address(), third.address()], LONG_MS);
    for _ in 0..3 {
        assert_eq!(client.put(b"k", b"v").expect("answered").node, third.node());
    }
    assert_eq!(first.seen().len(), 1, "the first one is asked once, by the opening of the session");
    assert_eq!(second.seen().len(), 0);
}

#[test]
fn a_leader_that_nobody_named_is_remembered_too() {
    let all: [_; 3] = seats();
    let members = members(&all);
    let [first, second, third] = all;
    let first = first.start(&members, |_| hint(None));
    let second = second.start(&members, |_| hint(None));
    let third = third.start(&members, |_| Act::Behave);
    let mut client = client(&[first.address(), second.address(), third.address()], LONG_MS);
    for _ in 0..3 {
        assert_eq!(client.put(b"k", b"v").expect("answered").node, third.node());
    }
    assert_eq!((first.seen().len(), second.seen().len()), (1, 1), "each is asked once, by the first write");
}

#[test]
fn a_hint_leads_to_a_node_that_is_no_endpoint() {
    let all: [_; 2] = seats();
    let members = members(&all);
    let [first, second] = all;
    let leader = members[1].clone();
    let first = first.start(&members[..1], move |_| hint(Some((leader.0, &leader.1))));
    let second = second.start(&members, |_| Act::Behave);
    let done = client(&[first.address()], LONG_MS).put(b"k", b"v").expect("answered");
    assert_eq!(done.node, second.node());
}

#[test]
fn a_circle_of_hints_ends_with_the_deadline_and_is_not_run_through_in_haste() {
    let all: [_; 2] = seats();
    let members = members(&all);
    let [first, second] = all;
    let (one, other) = (members[0].clone(), members[1].clone());
    let first = first.start(&members, move |_| hint(Some((other.0, &other.1))));
    let second = second.start(&members, move |_| hint(Some((one.0, &one.1))));
    let error = client(&[first.address(), second.address()], 800).put(b"k", b"v").expect_err("nobody leads");
    let ClientError::Unavailable(tries) = &error else { panic!("{error}") };
    // Pauses of 5 to 50 ms, 4 attempts between two of them: about 25 pauses fit.
    assert!((6..=160).contains(&tries.attempts), "{error}");
    assert!(!first.seen().is_empty() && !second.seen().is_empty());
}

#[test]
fn a_hint_to_a_dead_node_expires() {
    let all: [_; 3] = seats();
    let members = members(&all);
    let [first, second, dead] = all;
    let hinted = members[2].clone();
    drop(dead);
    let first = first.start(&members, move |_| hint(Some((hinted.0, &hinted.1))));
    let second = second.start(&members, |_| Act::Behave);
    let done = client(&[first.address(), second.address()], LONG_MS).put(b"k", b"v").expect("answered");
    assert_eq!(done.node, second.node());
}

#[test]
fn a_paused_leader_costs_one_short_attempt() {
    let all: [_; 3] = seats();
    let members = members(&all);
    let [paused, follower, next] = all;
    let paused =
        paused.start(&members, on_write(|count, _| if count == 1 { Act::Behave } else { Act::Silence }));
    // This one has not heard the paused one for a while, and names it no more.
    let follower = follower.start(&members, move |_| hint(None));
    let next = next.start(&members, |_| Act::Behave);
    let mut client = client(&[paused.address(), follower.address(), next.address()], LONG_MS);
    assert_eq!(client.put(b"k", b"1").expect("answered").node, paused.node());
    let start = Instant::now();
    assert_eq!(client.put(b"k", b"2").expect("answered").node, next.node());
    assert!(start.elapsed() >= ATTEMPT_TIMEOUT * 3 / 10, "a first attempt's time was waited");
    assert_eq!(client.put(b"k", b"3").expect("answered").node, next.node());
    assert_eq!(paused.writes().len(), 2, "the paused one is asked once in vain");
    assert_eq!(next.writes(), [(101, 2), (101, 3)]);
}

#[test]
fn a_request_that_was_lost_is_sent_again_when_somebody_heard_the_leader_since() {
    let all: [_; 2] = seats();
    let members = members(&all);
    let [leader, follower] = all;
    let named = members[0].clone();
    let lossy = on_write(|count, _| if count == 2 { Act::Silence } else { Act::Behave });
    let leader = leader.start(&members, lossy);
    let follower = follower.start(&members, move |_| hint(Some((named.0, &named.1))));
    let mut client = client(&[leader.address(), follower.address()], LONG_MS);
    client.put(b"k", b"1").expect("answered");
    assert_eq!(client.put(b"k", b"2").expect("answered").node, leader.node());
    assert_eq!(leader.writes(), [(101, 1), (101, 2), (101, 2)], "the same write, once more");
    assert_eq!(follower.writes().len(), 1, "it is asked once, for nobody rests whom others hear");
}

#[test]
fn a_leader_behind_a_forwarded_port_is_found_among_the_endpoints() {
    let all: [_; 3] = seats();
    let inside: [_; 3] = seats();
    let advertised = members(&inside);
    let [first, second, third] = all;
    let leader = advertised[2].clone();
    let also = leader.clone();
    let first = first.start(&advertised, move |_| hint(Some((leader.0, &leader.1))));
    let second = second.start(&advertised, move |_| hint(Some((also.0, &also.1))));
    let third = third.start(&advertised, |_| Act::Behave);
    let mut client = client(&[first.address(), second.address(), third.address()], LONG_MS);
    assert_eq!(client.put(b"k", b"v").expect("answered").node, third.node());
    assert!(inside.iter().all(|seat| !seat.was_visited()), "advertised addresses lead nowhere from here");
}

#[test]
fn dial_overrides_advertised_addresses_and_hints() {
    let all: [_; 2] = seats();
    let inside: [_; 2] = seats();
    let advertised = members(&inside);
    let [first, second] = all;
    let leader = advertised[1].clone();
    let first = first.start(&advertised, move |_| hint(Some((leader.0, &leader.1))));
    let second = second.start(&advertised, |_| Act::Behave);
    let dial = BTreeMap::from([(second.node(), second.address().to_owned())]);
    let mut client = Client::new(ClientConfig { dial, ..config(&[first.address()]) }).expect("good");
    assert_eq!(client.put(b"k", b"v").expect("answered").node, second.node());
    assert!(inside.iter().all(|seat| !seat.was_visited()));
}

#[test]
fn somebody_else_than_expected_is_not_talked_to() {
    let all: [_; 2] = seats();
    let members = members(&all);
    let [first, second] = all;
    let first = first.start(&members[..1], |_| hint(Some((NodeId(7), "127.0.0.1:1"))));
    let second = second.start(&members, |_| Act::Behave);
    let dial = BTreeMap::from([(NodeId(7), second.address().to_owned())]);
    let deadline = Duration::from_millis(400);
    let config = ClientConfig { dial, deadline, ..config(&[first.address()]) };
    let error = Client::new(config).expect("good").put(b"k", b"v").expect_err("n7 is nowhere");
    assert!(!error.may_have_happened(), "{error}");
    assert_eq!(second.seen(), [], "n2 is not taken for n7");
}

#[test]
fn a_node_of_another_cluster_is_refused_without_delay() {
    let node = alone(|_| Act::Behave);
    let start = Instant::now();
    let cluster = Some(ClusterId(0xbad));
    let other = ClientConfig { cluster, deadline: Duration::from_secs(60), ..config(&[node.address()]) };
    let error = Client::new(other).expect("good").put(b"k", b"v").expect_err("of another cluster");
    assert!(matches!(error, ClientError::Strangers(_)), "{error}");
    assert!(!error.may_have_happened());
    assert!(error.to_string().contains("belongs to cluster 0000000000c0ffee"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(30), "no use in waiting for it to change");
    assert_eq!(node.seen(), []);
}

#[test]
fn one_stranger_among_the_endpoints_is_passed_by() {
    let [stranger, ours] = [alone(|_| Act::Behave), alone(|_| Act::Behave)];
    let mut client = client(&[ours.address(), stranger.address()], LONG_MS);
    client.get(b"k", ReadLevel::Linearizable).expect("the first one sets the cluster");
    ours.hang_up();
    client.get(b"k", ReadLevel::Linearizable).expect("answered by one of them");
}

#[test]
fn nobody_there_is_surely_not_done_within_the_deadline() {
    let [empty] = seats();
    let address = empty.address.clone();
    drop(empty);
    let error = client(&[&address], 300).put(b"k", b"v").expect_err("nobody listens");
    assert!(matches!(&error, ClientError::Unavailable(tries) if tries.attempts > 1), "{error}");
    assert!(error.to_string().contains("cannot connect"), "{error}");
}
