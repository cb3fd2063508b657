//! What makes two states the same: a hash of their `Debug` text, once for each way to name the three members.
//!
//! The text shows every field of a `Raft`, so a field that is new is told apart at once; what is left out is left out by
//! name, here:
//!
//! * `config` never changes, and nobody changes `memberships` here;
//! * `ticket`: writes finish in the order in which they began and stand in that order in both queues, so their numbers say nothing;
//! * `waiting_ticks` only says that a disk stalls; `now`, `lease`, `since_promise` are of leases: both are off here;
//! * `asked_ticks`: who lacks entries asks at any time (`Ask`); `idle_ticks` end a leader that lacks some, as time may at any time;
//! * `rng`, `timeout` and `elapsed`: a timer may fire at any time (`Campaign`), whatever was drawn. Of `since_leader` only
//!   is kept whether it is within the minimum election timeout, for nothing else is asked of it.
//!
//! A structure, a map and a set are hashed as sums over their members, so that the order of names plays no part. The hash of a
//! state is the least of its six faces: states that differ only in who is who are one (the algorithm knows no favourites; the
//! only thing drawn from an id is the stream of random timeouts, see above). 64 bits: among ten million states two are taken
//! for one with a chance of 1 in 400,000.

use std::fmt::Debug;

/// A hash for each way to name the members.
pub type Faces = [u64; 6];

/// The ways: member `i` (from 0) is called `WAYS[way][i]`.
pub const WAYS: [[u8; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

const IGNORED: [&[u8]; 12] = [
    b"config",
    b"memberships",
    b"ticket",
    b"rng",
    b"timeout",
    b"elapsed",
    b"waiting_ticks",
    b"now",
    b"lease",
    b"since_promise",
    b"asked_ticks",
    b"idle_ticks",
];

/// Faces of whatever can be shown. `patience` ticks after the last leader one may vote again.
pub fn faces(thing: &impl Debug, patience: u64) -> Faces {
    let text = format!("{thing:?}");
    let mut reader = Reader { text: text.as_bytes(), at: 0, patience };
    let faces = reader.value().unwrap_or_default();
    assert!(reader.at == text.len(), "the text ends early, at {} of {text}", reader.at);
    faces
}

/// The number in a field of the text, if there is one.
pub fn field(text: &str, name: &str) -> Option<u64> {
    let rest = &text[text.find(name)? + name.len()..];
    rest.split([',', ' ', '}']).find(|word| !word.is_empty())?.parse().ok()
}

/// A sum: what is in it counts, its order does not.
pub fn sum(parts: impl Iterator<Item = Faces>) -> Faces {
    parts.fold([0; 6], plus)
}

fn plus(sum: Faces, part: Faces) -> Faces {
    std::array::from_fn(|way| sum[way].wrapping_add(spread(part[way])))
}

/// A sequence: the order counts.
pub fn then(first: Faces, second: Faces) -> Faces {
    // Written out, here and below: this is where the search spends its time, and tests are hardly optimised.
    let ([a, b, c, d, e, f], [u, v, w, x, y, z]) = (first, second);
    [mix(a, u), mix(b, v), mix(c, w), mix(d, x), mix(e, y), mix(f, z)]
}

/// What belongs to member `index`.
pub fn of_member(index: usize, faces: Faces) -> Faces {
    std::array::from_fn(|way| mix(u64::from(WAYS[way][index]) + 1, faces[way]))
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    patience: u64,
}

impl Reader<'_> {
    /// Everything up to the end of this value; nothing when it is an ignored field.
    fn value(&mut self) -> Option<Faces> {
        let mut faces = [0; 6];
        let mut since_leader = false;
        while let Some(&byte) = self.text.get(self.at) {
            match byte {
                b',' | b')' | b']' | b'}' => break,
                b' ' => self.at += 1,
                b'(' | b'[' | b'{' => {
                    self.at += 1;
                    faces = then(faces, self.group(byte));
                }
                b':' => {
                    self.at += 1;
                    faces = then(faces, [u64::from(byte); 6]);
                }
                _ => {
                    let from = self.at;
                    self.pass_word();
                    let word = &self.text[from..self.at];
                    if self.text.get(self.at) == Some(&b':') && IGNORED.contains(&word) {
                        self.skip();
                        return None;
                    }
                    let part = if since_leader { self.hears(word) } else { name(word) };
                    since_leader |= word == b"since_leader";
                    faces = then(faces, part);
                }
            }
        }
        Some(faces)
    }

    /// What is in brackets, which are open: in braces as a sum, in others as a sequence.
    fn group(&mut self, open: u8) -> Faces {
        let mut faces = [u64::from(open); 6];
        loop {
            match self.text.get(self.at) {
                Some(b',' | b' ') => self.at += 1,
                Some(b')' | b']' | b'}') => {
                    self.at += 1;
                    return faces;
                }
                Some(_) => {
                    let Some(part) = self.value() else { continue };
                    faces = if open == b'{' { plus(faces, part) } else { then(faces, part) };
                }
                None => panic!("a bracket stays open"),
            }
        }
    }

    fn pass_word(&mut self) {
        while let Some(byte) = self.text.get(self.at) {
            if let b' ' | b',' | b':' | b'(' | b')' | b'[' | b']' | b'{' | b'}' = byte {
                return;
            }
            self.at += 1;
        }
    }

    /// Whether a leader was heard so lately that nobody else gets the vote.
    fn hears(&self, ticks: &[u8]) -> Faces {
        let ticks = std::str::from_utf8(ticks).ok().and_then(|ticks| ticks.parse::<u64>().ok());
        [u64::from(ticks.expect("a number of ticks") < self.patience); 6]
    }

    /// Up to the end of this value, unread.
    fn skip(&mut self) {
        let mut depth = 0_u32;
        while let Some(byte) = self.text.get(self.at) {
            match byte {
                b'(' | b'[' | b'{' => depth += 1,
                b')' | b']' | b'}' | b',' if depth == 0 => return,
                b')' | b']' | b'}' => depth -= 1,
                _ => {}
            }
            self.at += 1;
        }
    }
}

/// A word; the name of a member is another one each way.
fn name(word: &[u8]) -> Faces {
    if let [b'n', digit @ b'1'..=b'3'] = word {
        let index = usize::from(digit - b'1');
        return of_member(index, [0; 6]);
    }
    let mut hash = 7;
    for &byte in word {
        hash = mix(hash, u64::from(byte));
    }
    [hash; 6]
}

fn mix(hash: u64, more: u64) -> u64 {
    (hash.rotate_left(5) ^ more).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// So that sums of what is alike differ (the end of `splitmix64`).
fn spread(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Debug)]
    #[expect(dead_code, reason = "read by Debug")]
    struct Thing {
        ticket: u64,
        since_leader: u32,
        peers: BTreeMap<&'static str, Vec<u8>>,
    }

    /// Names without quotes, as ids show themselves.
    fn least(ticket: u64, since_leader: u32, peers: [(&'static str, &[u8]); 2]) -> u64 {
        let peers = peers.into_iter().map(|(name, list)| (name, list.to_vec())).collect();
        let text = format!("{:?}", Thing { ticket, since_leader, peers }).replace('"', "");
        faces(&format_args!("{text}"), 10).into_iter().min().unwrap_or(0)
    }

    #[test]
    fn who_is_who_does_not_count_and_everything_else_does() {
        let one = least(1, 3, [("n1", &[1, 2]), ("n2", &[])]);
        assert_eq!(one, least(7, 9, [("n3", &[1, 2]), ("n1", &[])]), "other names, ticket and ticks");
        for other in [
            least(1, 10, [("n1", &[1, 2]), ("n2", &[])]),
            least(1, 3, [("n1", &[2, 1]), ("n2", &[])]),
            least(1, 3, [("n1", &[1, 2]), ("n2", &[0])]),
            least(1, 3, [("n1", &[]), ("n1", &[1, 2])]),
        ] {
            assert_ne!(one, other);
        }
    }
}
