//! What may befall whole frames on a link: lost, late, overtaken. The numbers are those of the MIT suite's `labrpc`, so
//! that its scenarios keep their pressure; the unit is the frame, because over TCP a lost packet is only a late one.

use std::time::Duration;

use ordeal_client::wire::{Kind, Message};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

/// A request waits less than this on an unreliable network.
const REQUEST_WAIT_MS_MAX: u64 = 27;
/// Of a thousand requests, and of a thousand replies, so many are lost on an unreliable network.
const LOST_PER_MILLE: u32 = 100;
/// Of nine replies so many are held back under long reordering.
const HELD_OF_NINE: u32 = 6;
/// They are held back at least so long, and at most this long more: the draw of a draw, so that most come soon.
const HELD_MS_MIN: u64 = 200;
const HELD_MS_MORE: u64 = 2_000;

/// How a network treats what it carries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Weather {
    /// Requests wait up to 26 ms; one of ten requests is lost, and one of ten replies.
    pub unreliable: bool,
    /// Two of three replies are held back for 0.2 to 2.2 s, while later ones pass.
    pub long_reordering: bool,
    /// Clients have it, too, and not only the nodes among each other.
    pub clients_too: bool,
    /// Two of three letters between groups are held back for 0.2 to 2.2 s, while later ones pass.
    pub late_letters: bool,
}

/// What a cut link does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Manner {
    /// Holds its breath: bytes stay unread, and go on when it is healed.
    #[default]
    Hold,
    /// Reads on and loses every frame, as a network does; the connections stay open.
    Swallow,
    /// Resets every connection, and refuses new ones.
    Reset,
}

/// What a frame is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Handshakes and signs of life: nothing that the suite's network knows of. Never lost and never late.
    Plumbing,
    Request,
    Reply,
    /// Between the leaders of two groups, about a shard on its way. A request as far as it can be lost.
    Letter,
}

/// What becomes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Passes,
    Lost,
    Waits(Duration),
}

/// The class of a frame. One with anything but replies in it counts as a request.
pub(super) fn class_of(messages: &[Message]) -> Class {
    if messages.iter().all(|message| is_plumbing(message.kind)) {
        Class::Plumbing
    } else if messages.iter().all(|message| message.kind.is_reply()) {
        Class::Reply
    } else if messages.iter().any(|message| message.kind == Kind::Move) {
        Class::Letter
    } else {
        Class::Request
    }
}

fn is_plumbing(kind: Kind) -> bool {
    matches!(kind, Kind::Hello | Kind::Welcome | Kind::Refused | Kind::Ping | Kind::Pong)
}

/// Chance of one direction of one link: the same seed and the same frames give the same fates.
#[derive(Debug)]
pub(super) struct Dice(Pcg64Mcg);

impl Dice {
    pub(super) fn new(seed: u64) -> Dice {
        Dice(Pcg64Mcg::seed_from_u64(seed))
    }

    /// Rolls for the next frame. Every frame takes as many draws as any other, so that its number alone decides.
    pub(super) fn roll(&mut self, weather: Weather, class: Class) -> Fate {
        let wait_ms = self.0.random_range(0..REQUEST_WAIT_MS_MAX);
        let is_lost = self.0.random_range(0..1_000) < LOST_PER_MILLE;
        let is_held = self.0.random_range(0..9) < HELD_OF_NINE;
        let more_ms = self.0.random_range(0..=HELD_MS_MORE);
        let more_ms = self.0.random_range(0..=more_ms);
        match class {
            Class::Plumbing => Fate::Passes,
            Class::Request | Class::Reply | Class::Letter if weather.unreliable && is_lost => Fate::Lost,
            Class::Letter if weather.late_letters && is_held => {
                Fate::Waits(Duration::from_millis(HELD_MS_MIN + more_ms))
            }
            Class::Request | Class::Letter if weather.unreliable => {
                Fate::Waits(Duration::from_millis(wait_ms))
            }
            Class::Reply if weather.long_reordering && is_held => {
                Fate::Waits(Duration::from_millis(HELD_MS_MIN + more_ms))
            }
            Class::Request | Class::Reply | Class::Letter => Fate::Passes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORM: Weather =
        Weather { unreliable: true, long_reordering: true, clients_too: true, late_letters: false };

    fn fates(seed: u64, weather: Weather, class: Class) -> Vec<Fate> {
        let mut dice = Dice::new(seed);
        (0..10_000).map(|_| dice.roll(weather, class)).collect()
    }

    #[test]
    fn fates_come_as_often_as_they_should_and_from_the_seed() {
        let lost = |fates: &[Fate]| fates.iter().filter(|fate| **fate == Fate::Lost).count();
        for class in [Class::Request, Class::Reply] {
            let rolled = fates(7, STORM, class);
            assert!((900..1_100).contains(&lost(&rolled)), "{class:?}: {} lost", lost(&rolled));
            assert_eq!(rolled, fates(7, STORM, class), "the same seed, the same fates");
            assert_ne!(rolled, fates(8, STORM, class));
        }
        let waits = |fate: &Fate| match fate {
            Fate::Waits(time) => Some(*time),
            Fate::Passes | Fate::Lost => None,
        };
        let held: Vec<Duration> = fates(7, STORM, Class::Reply).iter().filter_map(waits).collect();
        assert!((5_700..6_300).contains(&held.len()), "{} of 9000 are held back", held.len());
        assert!(held.iter().all(|time| (200..=2_200).contains(&time.as_millis())));
        let waited: Vec<Duration> = fates(7, STORM, Class::Request).iter().filter_map(waits).collect();
        assert!(waited.iter().all(|time| time.as_millis() < 27));
    }

    #[test]
    fn fair_weather_and_plumbing_pass() {
        for class in [Class::Request, Class::Reply] {
            assert!(fates(7, Weather::default(), class).iter().all(|fate| *fate == Fate::Passes));
        }
        assert!(fates(7, STORM, Class::Plumbing).iter().all(|fate| *fate == Fate::Passes));
    }
}
