//! Exit codes, and which one is given when several hold.

/// Why a command did not simply succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// The history is not linearizable, or nodes broke a promise of safety before any client could see it.
    NotLinearizable,
    /// A node ended uninvited, or the cluster did not recover.
    Cluster,
    /// The user interrupted the run.
    Interrupted,
    /// Set-up or the injection of a fault failed.
    SetUp,
    /// A requirement (`--require-…`) was missed.
    Requirement,
    /// A fault kept clients waiting for longer than `--require` allows.
    Availability,
    /// Two judges of ours contradict each other.
    OwnBug,
    /// The judge gave up.
    Undecided,
    /// An input file is missing or damaged.
    BadInput,
    /// A flag is unknown or out of range.
    Usage,
}

impl Cause {
    /// All of them, in the order in which they are given when several hold: a found bug is never masked, not even by an
    /// interruption; an interruption explains why an injection failed.
    pub const BY_RANK: [Cause; 10] = [
        Cause::NotLinearizable,
        Cause::OwnBug,
        Cause::Cluster,
        Cause::Interrupted,
        Cause::SetUp,
        Cause::Requirement,
        Cause::Availability,
        Cause::Undecided,
        Cause::BadInput,
        Cause::Usage,
    ];

    /// Its exit code.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Cause::NotLinearizable => 10,
            Cause::Undecided => 11,
            Cause::Cluster => 12,
            Cause::SetUp => 13,
            Cause::Requirement => 14,
            Cause::Availability => 15,
            Cause::OwnBug => 16,
            Cause::BadInput => 3,
            Cause::Usage => 2,
            Cause::Interrupted => 130,
        }
    }
}

/// The exit code for these causes; 0 for none.
#[must_use]
pub fn code_of(causes: &[Cause]) -> u8 {
    Cause::BY_RANK.into_iter().find(|cause| causes.contains(cause)).map_or(0, Cause::code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_causes_the_first_in_rank_is_given() {
        use Cause::{
            Availability, Cluster, Interrupted, NotLinearizable, OwnBug, Requirement, SetUp, Undecided,
        };
        let check = |causes: &[Cause], code: u8| {
            assert_eq!(code_of(causes), code, "{causes:?}");
            let turned: Vec<Cause> = causes.iter().rev().copied().collect();
            assert_eq!(code_of(&turned), code, "{turned:?}");
        };
        check(&[], 0);
        check(&[NotLinearizable], 10);
        check(&[Undecided], 11);
        check(&[Cluster], 12);
        check(&[SetUp], 13);
        check(&[Requirement], 14);
        check(&[Availability], 15);
        check(&[OwnBug], 16);
        check(&[OwnBug, Cluster, Interrupted, SetUp], 16);
        check(&[OwnBug, NotLinearizable], 10);
        check(&[Interrupted], 130);
        check(&[Undecided, Requirement, SetUp, Cluster, NotLinearizable], 10);
        check(&[Undecided, Requirement, SetUp, Cluster], 12);
        check(&[Undecided, Requirement, SetUp], 13);
        check(&[Undecided, Requirement], 14);
        check(&[Undecided, Availability], 15);
        check(&[Availability, Requirement], 14);
        check(&[Availability, NotLinearizable], 10);
        check(&[Interrupted, NotLinearizable], 10);
        check(&[Interrupted, Cluster], 12);
        check(&[Interrupted, SetUp, Undecided], 130);
    }

    #[test]
    fn every_cause_has_a_rank_and_a_code_of_its_own() {
        let mut codes = Cause::BY_RANK.map(Cause::code);
        codes.sort_unstable();
        assert!(codes.windows(2).all(|pair| pair[0] < pair[1]), "{codes:?}");
    }
}
