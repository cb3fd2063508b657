//! What of each segment is still needed: as long as one piece of some group lies in it, it stays.

use std::collections::BTreeMap;

use crate::group::Piece;

/// Live pieces and bytes of each segment that has any.
#[derive(Debug, Clone, Default)]
pub(crate) struct Usage {
    /// Pieces, by segment.
    segments: BTreeMap<u64, u64>,
    bytes: u64,
}

impl Usage {
    pub(crate) fn add(&mut self, piece: &Piece) {
        if let Some(spot) = piece.spot {
            *self.segments.entry(spot.segment).or_default() += 1;
            self.bytes += u64::from(spot.bytes);
        }
    }

    pub(crate) fn remove(&mut self, piece: &Piece) {
        let Some(spot) = piece.spot else { return };
        let pieces = self.segments.get_mut(&spot.segment).expect("what is removed was added");
        *pieces -= 1;
        self.bytes -= u64::from(spot.bytes);
        if *pieces == 0 {
            self.segments.remove(&spot.segment);
        }
    }

    /// The oldest segment in which something is needed.
    pub(crate) fn oldest(&self) -> Option<u64> {
        self.segments.keys().next().copied()
    }

    /// Bytes of all that is needed.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}
