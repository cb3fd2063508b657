//! Figure 3, asked of every state, and what must be reached at least, so that the search says something.

use ordeal_node::raft::{Entry, Payload, Role};
use stateright::Property;

use crate::member::{Disk, Member};
use crate::past::Broken;
use crate::world::{State, World};

pub fn properties(wanted: &[&str]) -> Vec<Property<World>> {
    let sometimes = reached().into_iter().filter(|property| wanted.contains(&property.name));
    always().into_iter().chain(sometimes).collect()
}

fn always() -> Vec<Property<World>> {
    vec![
        Property::always("Election Safety", |_, state: &State| {
            state.past.broken != Some(Broken::ElectionSafety)
        }),
        Property::always("State Machine Safety", |_, state: &State| {
            state.past.broken != Some(Broken::StateMachineSafety)
        }),
        Property::always("the register is linearizable", |_, state: &State| {
            state.past.broken != Some(Broken::Linearizability)
        }),
        Property::always("no member finds itself wrong", |_, state: &State| {
            !matches!(state.past.broken, Some(Broken::Assertion(_)))
        }),
        Property::always("nobody acknowledges what it lost", |_, state: &State| {
            state.past.broken != Some(Broken::Promise)
        }),
        Property::always("once all links are whole, all is repaired", |world: &World, state: &State| {
            !world.lossy || !state.is_quiet() || state.heals()
        }),
        Property::always("Log Matching", log_matching),
        Property::always("Leader Completeness", leader_completeness),
        Property::always("what is committed is durable on a majority", durable_on_a_majority),
    ]
}

/// A world names those of them that it must reach.
fn reached() -> Vec<Property<World>> {
    vec![
        Property::sometimes("a leader is elected", |_, state: &State| !state.past.leaders.is_empty()),
        Property::sometimes("two lead at once", |_, state: &State| leaders(state).count() == 2),
        Property::sometimes("a leader commits", |_, state: &State| {
            leaders(state).any(|leader| leader.status().commit > 0)
        }),
        Property::sometimes("a follower commits", |_, state: &State| {
            members(state).any(|member| member.status().role == Role::Follower && member.status().commit > 0)
        }),
        Property::sometimes("a command is committed", |_, state: &State| {
            state.past.committed.values().any(|(entry, _)| entry.payload != Payload::Noop)
        }),
        Property::sometimes("a leader of a higher term commits", |_, state: &State| {
            let terms: Vec<_> = state.past.committed.values().map(|(entry, _)| entry.id.term).collect();
            terms.iter().any(|&term| state.past.leaders.range(..term).next().is_some())
        }),
        Property::sometimes("a read is answered", |_, state: &State| {
            state.past.register.as_ref().is_some_and(|register| register.answered() > 0)
        }),
        Property::sometimes("a leader is asked that is none any more", |_, state: &State| {
            let newest = leaders(state).map(|leader| leader.status().term).max();
            leaders(state).any(|leader| Some(leader.status().term) < newest && leader.has_asked())
        }),
        Property::sometimes("a crash loses a write", |_, state: &State| state.past.lost_writes),
        Property::sometimes("an entry is lost", |_, state: &State| members(state).any(lacks)),
        Property::sometimes("who lacks an entry leads", |_, state: &State| leaders(state).any(lacks)),
        Property::sometimes("all is repaired", |_, state: &State| {
            state.past.asks > 0 && !members(state).any(lacks)
        }),
        Property::sometimes("an entry is given up", |world: &World, state: &State| {
            let before = world.disks.iter().zip(members(state));
            before.into_iter().any(|(disk, now)| now.view.entries.len() < disk.entries.len())
        }),
        Property::sometimes("an old entry is replaced", |world: &World, state: &State| {
            let before = world.disks.iter().zip(members(state));
            before.into_iter().any(|(disk, now)| {
                disk.entry(1).is_some_and(|entry| now.disk.entry(1).is_some_and(|other| entry.id != other.id))
            })
        }),
    ]
}

fn lacks(member: &Member) -> bool {
    member.status().lost > 0
}

fn leaders(state: &State) -> impl Iterator<Item = &Member> {
    members(state).filter(|member| member.status().role == Role::Leader)
}

fn members(state: &State) -> impl Iterator<Item = &Member> {
    state.members.iter().map(|known| &*known.member)
}

/// "If two logs contain an entry with the same index and term, then the logs are identical in all entries up through the
/// given index": of logs in memory and on the disks.
fn log_matching(_: &World, state: &State) -> bool {
    let logs: Vec<&[Entry]> =
        members(state).flat_map(|member| [&*member.view.entries, &*member.disk.entries]).collect();
    let match_each_other = |a: &[Entry], b: &[Entry]| {
        let same = a.iter().zip(b).rposition(|(a, b)| a.id == b.id).map_or(0, |last| last + 1);
        a[..same] == b[..same]
    };
    logs.iter().enumerate().all(|(at, a)| logs[at + 1..].iter().all(|b| match_each_other(a, b)))
}

/// "If a log entry is committed in a given term, then that entry will be present in the logs of the leaders for all
/// higher-numbered terms", and of the leader of that term.
fn leader_completeness(_: &World, state: &State) -> bool {
    leaders(state).all(|leader| {
        let term = leader.status().term;
        let mut known = state.past.committed.values().filter(|(_, known_in)| *known_in <= term);
        known.all(|(entry, _)| leader.view.holds(entry))
    })
}

fn durable_on_a_majority(_: &World, state: &State) -> bool {
    let disks: Vec<&Disk> = members(state).map(|member| &member.disk).collect();
    let mut committed = state.past.committed.values();
    committed.all(|(entry, _)| disks.iter().filter(|disk| disk.holds(entry)).count() >= 2)
}
