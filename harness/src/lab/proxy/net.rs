//! The network of a framed proxy: its weather, what cut links do, the dice of every way, and what was counted.

use std::collections::{BTreeMap, BTreeSet};

use ordeal_client::wire::frame::HEADER_BYTES;
use ordeal_client::wire::{Message, NodeId};

use super::switch::Route;
use super::traffic::{Traffic, Way};
use super::weather::{Class, Dice, Fate, Manner, Weather, class_of};
use crate::chance::{Stream, derive};
use crate::lab::Link;

/// Everything that the frames of a proxy meet.
#[derive(Debug)]
pub(super) struct Net {
    seed: u64,
    pub(super) weather: Weather,
    pub(super) manner: Manner,
    /// Nodes whose answers do not reach their clients.
    pub(super) mute: BTreeSet<NodeId>,
    dice: BTreeMap<Way, Dice>,
    traffic: Traffic,
}

impl Net {
    pub(super) fn new(seed: u64) -> Net {
        let traffic = Traffic::default();
        Net {
            seed,
            weather: Weather::default(),
            manner: Manner::Swallow,
            mute: BTreeSet::new(),
            dice: BTreeMap::new(),
            traffic,
        }
    }

    /// Counts a frame, and decides what becomes of it.
    pub(super) fn fate(&mut self, way: Way, messages: &[Message], is_cut: bool) -> Fate {
        let tally = self.traffic.ways.entry(way).or_default();
        tally.frames.sent += 1;
        for message in messages {
            let count = tally.kinds.entry(message.kind).or_default();
            count.messages += 1;
            count.bytes += u64::try_from(HEADER_BYTES + message.body.len()).expect("a frame is short");
        }
        let seed = derive(self.seed, Stream::Way(number_of(way)));
        let dice = self.dice.entry(way).or_insert_with(|| Dice::new(seed));
        let weather = match way {
            Way::Peers(_) => self.weather,
            Way::ToNode(_) | Way::FromNode(_) if self.weather.clients_too => self.weather,
            Way::ToNode(_) | Way::FromNode(_) => Weather::default(),
        };
        let class = class_of(messages);
        let mut fate = dice.roll(weather, class);
        if matches!(way, Way::FromNode(node) if self.mute.contains(&node)) && class == Class::Reply {
            fate = Fate::Lost;
        }
        if is_cut {
            tally.frames.swallowed += 1;
            return Fate::Lost;
        }
        match fate {
            Fate::Passes => {}
            Fate::Lost => tally.frames.lost += 1,
            Fate::Waits(_) => tally.frames.delayed += 1,
        }
        fate
    }

    pub(super) fn swallowed(&mut self, way: Way) {
        self.traffic.ways.entry(way).or_default().frames.swallowed += 1;
    }

    pub(super) fn overtaken(&mut self, way: Way) {
        self.traffic.ways.entry(way).or_default().frames.overtaken += 1;
    }

    pub(super) fn reset(&mut self) {
        self.traffic.resets += 1;
    }

    pub(super) fn traffic(&self) -> Traffic {
        self.traffic.clone()
    }
}

/// The ways of a route: from the dialler, and back.
pub(super) fn ways_of(route: Route) -> [Way; 2] {
    match route {
        Route::Link(Link { from, to }) => {
            [Way::Peers(Link { from, to }), Way::Peers(Link { from: to, to: from })]
        }
        Route::Client(node) => [Way::ToNode(node), Way::FromNode(node)],
    }
}

/// A number for every way, its stream of chance.
fn number_of(way: Way) -> u32 {
    // A laboratory has few nodes: 12 bits an end.
    match way {
        Way::Peers(Link { from, to }) => (from.0 << 12) | to.0,
        Way::ToNode(node) => (1 << 24) | node.0,
        Way::FromNode(node) => (2 << 24) | node.0,
    }
}
