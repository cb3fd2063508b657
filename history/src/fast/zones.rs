//! Blocks of operations that must stand together, and whether they can stand one behind the other (Gibbons and Korach, "Testing
//! shared memories", 1997; zones as in Golab, Li and Shah, "Analyzing consistency properties for fun and profit", 2011).
//!
//! Block A must stand before block B when something in A returned before something in B was called: when A's first return is
//! before B's last call. Let the blocks be such that no two must stand before each other. Then there is an order of all: were
//! there a longer circle, take the block of it with the first return of all: it must stand before every other one of the
//! circle, also before the one that must stand before it.
//!
//! ```text
//! forward zone:  first return ▏═══════▕ last call     nothing else may be here as a whole, nor another forward zone in part
//! backward zone: last call ▏───────▕ first return     all its operations overlap
//! ```

/// When a block returned first, and was called last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Zone {
    pub(crate) first_return: u64,
    pub(crate) last_call: u64,
}

impl Zone {
    /// Nothing in it yet.
    pub(crate) const EMPTY: Zone = Zone { first_return: u64::MAX, last_call: 0 };

    /// Takes an operation in.
    pub(crate) fn add(&mut self, called: u64, returned: u64) {
        self.first_return = self.first_return.min(returned);
        self.last_call = self.last_call.max(called);
    }

    /// Takes all of another in.
    pub(crate) fn join(&mut self, other: Zone) {
        self.add(other.last_call, other.first_return);
    }

    pub(crate) fn is_before(self, other: Zone) -> bool {
        self.first_return < other.last_call
    }

    fn is_forward(self) -> bool {
        self.first_return < self.last_call
    }

    /// Where it stands among those that it has no quarrel with: at its lower end; of two that begin together the backward one
    /// first. (F before B: F's lower end is its first return, before B's last call, which is B's lower end. B before F: B's last call
    /// is not after F's first return, or each were before the other.)
    fn place(self) -> (u64, bool) {
        (self.first_return.min(self.last_call), self.is_forward())
    }
}

/// An order of the blocks, or two that must stand before each other.
pub(crate) fn order(zones: &[Zone]) -> Result<Vec<u32>, (u32, u32)> {
    let count = u32::try_from(zones.len()).expect("as many zones as operations at most");
    let mut order: Vec<u32> = (0..count).collect();
    order.sort_by_key(|&at| zones[at as usize].place());
    // The forward zone with the largest last call so far: none of those before it can reach as far as it.
    let mut forward: Option<u32> = None;
    for &at in &order {
        let zone = zones[at as usize];
        if let Some(before) = forward {
            let other = zones[before as usize];
            if other.is_before(zone) && zone.is_before(other) {
                return Err((before, at));
            }
        }
        if zone.is_forward() && forward.is_none_or(|before| zones[before as usize].last_call < zone.last_call)
        {
            forward = Some(at);
        }
    }
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_found_exactly_when_no_two_must_stand_before_each_other() {
        // All sets of three zones with ends up to 5.
        let all: Vec<Zone> =
            (0..36).map(|number| Zone { first_return: number / 6, last_call: number % 6 }).collect();
        for a in &all {
            for b in &all {
                for c in &all {
                    let zones = [*a, *b, *c];
                    let quarrel =
                        |x: usize, y: usize| zones[x].is_before(zones[y]) && zones[y].is_before(zones[x]);
                    match order(&zones) {
                        Ok(order) => {
                            let order: Vec<usize> = order.into_iter().map(|at| at as usize).collect();
                            for (at, &first) in order.iter().enumerate() {
                                for &second in &order[at + 1..] {
                                    assert!(!zones[second].is_before(zones[first]), "{zones:?} {order:?}");
                                }
                            }
                        }
                        Err((x, y)) => assert!(quarrel(x as usize, y as usize), "{zones:?}"),
                    }
                }
            }
        }
    }
}
