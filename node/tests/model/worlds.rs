//! The small worlds that every `cargo test` searches, each around one danger, and how they grow under `ORDEAL_MODEL=large`.

use ordeal_client::wire::NodeId;
use ordeal_node::raft::{Entry, HardState, LogId, Payload, Term};

use crate::member::Disk;
use crate::past::Past;
use crate::register::{Deed, Register};
use crate::world::{Bounds, World};

const COMMITS: [&str; 3] = ["a leader is elected", "a leader commits", "a follower commits"];
const A_SECOND_LEADER: [&str; 2] = ["two lead at once", "a leader of a higher term commits"];

/// Small: lossless pairs of messages, everything else lost at will; a disk that holds up its process.
const SMALL: Bounds = Bounds {
    term_max: 1,
    campaigns_max: 2,
    commands_max: 0,
    reads_max: 0,
    crashes_max: 0,
    beats_max: 0,
    repeats_max: 0,
    waits_max: 0,
    rots_max: 0,
    asks_max: 0,
    in_flight_max: 2,
    writes_max: 1,
};

/// Two campaign in one term, and a member may forget for whom it voted.
pub fn one_term_two_candidates() -> World {
    let bounds = Bounds { crashes_max: 1, writes_max: 2, ..SMALL };
    world(bounds, &["a leader is elected", "a crash loses a write"])
}

/// One leader, a command and a crash.
pub fn one_term_one_command() -> World {
    let bounds = Bounds { campaigns_max: 1, commands_max: 1, crashes_max: 1, writes_max: 2, ..SMALL };
    world(bounds, &[&COMMITS[..], &["a command is committed", "a crash loses a write"]].concat())
}

/// Three campaigns in two terms: votes of the first arrive in the second.
pub fn two_terms_three_campaigns() -> World {
    let bounds = Bounds { term_max: 2, campaigns_max: 3, ..SMALL };
    world(bounds, &[&COMMITS[..], &A_SECOND_LEADER].concat())
}

/// Figure 8 between (b) and (c): n1 led term 1 and has an entry of it alone, n3 led term 2 with the vote of n2 and has another
/// one in its place; n1 heard of term 2, and refused its vote. Two elections from here to (d): from the very beginning it would
/// be four.
pub fn figure_8() -> World {
    let noop = |term| Entry { id: LogId::new(1, term), payload: Payload::Noop };
    let disk = |term: Term, vote, entries| {
        let hard_state = HardState { term, vote };
        Disk { hard_state, entries, ..Disk::default() }
    };
    let n3 = Some(NodeId(3));
    let disks = [disk(2, None, vec![noop(1)]), disk(2, n3, vec![]), disk(2, n3, vec![noop(2)])];
    let leaders = [(1, NodeId(1)), (2, NodeId(3))].into();
    let bounds = Bounds { term_max: 4, waits_max: 1, ..SMALL };
    let world = world(bounds, &[&COMMITS[..], &A_SECOND_LEADER, &["an old entry is replaced"]].concat());
    World { disks, past: Past { leaders, ..Past::default() }, ..world }
}

/// A leader of term 1 wrote to the register and answered; it is gone, n2 has the entry as well. Whoever leads next knows
/// nothing of what is committed at first, and is asked.
pub fn register_new_leader() -> World {
    let entry = |index, payload| Entry { id: LogId::new(index, 1), payload };
    let entries = vec![entry(1, Payload::Noop), entry(2, Payload::Command([1].into()))];
    let hard_state = HardState { term: 1, vote: Some(NodeId(1)) };
    let disk = |entries: &[Entry]| Disk { hard_state, entries: entries.to_vec(), ..Disk::default() };
    let disks = [disk(&entries), disk(&entries), disk(&[])];
    let past = Past {
        leaders: [(1, NodeId(1))].into(),
        committed: entries.into_iter().map(|entry| (entry.id.index, (entry, 1))).collect(),
        commands: 1,
        register: Some(Register::after(&[Deed::Writes(1), Deed::Wrote(1)])),
        ..Past::default()
    };
    let bounds = Bounds { term_max: 2, campaigns_max: 1, commands_max: 1, reads_max: 1, ..SMALL };
    World { disks, past, ..world(bounds, &["a leader is elected", "a read is answered"]) }
}

/// Two lead at once: one writes, the other, whom nobody follows any more, is asked.
pub fn register_old_leader() -> World {
    let bounds = Bounds { term_max: 2, commands_max: 1, reads_max: 1, waits_max: 1, ..SMALL };
    let bounds = Bounds { campaigns_max: 1, ..bounds };
    let wanted = ["two lead at once", "a command is committed", "a read is answered"];
    let past = Past { register: Some(Register::default()), ..Past::default() };
    let wanted = [&wanted[..], &["a leader is asked that is none any more"]].concat();
    World { past, led: true, ..world(bounds, &wanted) }
}

/// A leader of term 1 committed an entry with n2 and is gone; n3 never had it, and n2 lost it. In the large world another disk
/// loses any other, at any time.
pub fn one_disk_loses_an_entry() -> World {
    let committed = register_new_leader();
    let wanted = ["an entry is lost", "who lacks an entry leads", "all is repaired", "a leader commits"];
    let bounds = Bounds { term_max: 2, campaigns_max: 1, asks_max: 1, ..SMALL };
    let past = Past { register: None, ..committed.past };
    let mut disks = committed.disks;
    disks[1].lost.insert(2);
    // So that a vote is a matter of the second entry alone.
    disks[2].entries = disks[0].entries[..1].to_vec();
    World { disks, past, lossy: true, ..world(bounds, &wanted) }
}

/// Nobody committed anything behind the first entry: n1 led term 2 and has an entry of it alone, n2 led term 3 and has another
/// alone, and both are lost. Nobody votes for n3.
pub fn two_disks_lose_what_was_never_committed() -> World {
    let entry = |index, term| Entry { id: LogId::new(index, term), payload: Payload::Noop };
    let disk = |entries: &[Entry], vote: u32, lost: &[u64]| Disk {
        hard_state: HardState { term: 3, vote: Some(NodeId(vote)) },
        entries: entries.to_vec(),
        lost: lost.iter().copied().collect(),
    };
    let first = entry(1, 1);
    let disks = [
        disk(&[first.clone(), entry(2, 2)], 2, &[2]),
        disk(&[first.clone(), entry(2, 3)], 2, &[2]),
        disk(std::slice::from_ref(&first), 2, &[]),
    ];
    let wanted = ["an entry is lost", "who lacks an entry leads", "an entry is given up"];
    let past = Past {
        leaders: [(1, NodeId(1)), (2, NodeId(1)), (3, NodeId(2))].into(),
        committed: [(1, (first, 1))].into(),
        ..Past::default()
    };
    let bounds = Bounds { term_max: 4, campaigns_max: 1, asks_max: 2, ..SMALL };
    World { disks, past, lossy: true, ..world(bounds, &wanted) }
}

fn world(bounds: Bounds, wanted: &[&'static str]) -> World {
    World {
        bounds,
        disks: Default::default(),
        past: Past::default(),
        led: false,
        lossy: false,
        wanted: wanted.to_vec(),
    }
}

/// The same danger in a larger world: three messages under way, writes that wait, a heartbeat a command; or one more loss.
pub fn large(world: World) -> World {
    let beats_max = world.bounds.commands_max;
    if world.lossy {
        return World { bounds: Bounds { rots_max: 1, ..world.bounds }, ..world };
    }
    let bounds = Bounds { in_flight_max: 3, writes_max: 2, beats_max, ..world.bounds };
    World { bounds, ..world }
}
