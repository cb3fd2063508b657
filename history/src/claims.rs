//! What the server claimed: every acknowledged write names the version that it made and the one that it replaced, every
//! read the one that it saw. Together they must form one chain that grows with time. A write that fell out of the chain
//! is lost data, even when nobody reads the key again.

use std::collections::{HashMap, HashSet};

use crate::operation::{Answer, Call, Claim, OpId, Operation, Version, Versions};
use crate::report::{Anomaly, AnomalyKind, lateness};
use crate::words::{deed, from_node, left_behind, moment, observed, quoted, shown, sight, span};

/// Broken claims reported for one key. One lost write often breaks many: the first few tell the story.
const PER_KEY_MAX: usize = 5;

/// Looks for claims on one key that cannot all be true; at most one for an operation.
pub(crate) fn broken(operations: &[&Operation]) -> Vec<Anomaly> {
    let has_claims =
        |operation: &&Operation| operation.claim().is_some_and(|claim| *claim != Claim::default());
    if !operations.iter().any(has_claims) {
        return Vec::new();
    }
    let chain = Chain::of(operations);
    let mut found = Vec::new();
    let mut known: HashSet<OpId> = HashSet::new();
    let checks: [(AnomalyKind, Check); 7] = [
        (AnomalyKind::BrokenClaim, against_itself),
        (AnomalyKind::BrokenClaim, out_of_chain),
        (AnomalyKind::BrokenClaim, unheard_of),
        (AnomalyKind::BrokenClaim, other_value),
        (AnomalyKind::StaleRead, misses),
        (AnomalyKind::NonMonotonicRead, back_in_time),
        (AnomalyKind::BrokenClaim, against_time),
    ];
    for (kind, check) in checks {
        for (operation, others, sentence) in check(&chain) {
            if known.insert(operation.id) {
                found.push(anomaly(kind, operation, &others, &sentence));
            }
        }
    }
    found.sort_by_cached_key(Anomaly::rank);
    found.truncate(PER_KEY_MAX);
    found
}

/// An operation whose claim is broken, those that contradict it, and why.
type Break<'a> = (&'a Operation, Vec<&'a Operation>, String);

/// Finds all breaks of one sort.
type Check = for<'a> fn(&Chain<'a>) -> Vec<Break<'a>>;

fn anomaly(kind: AnomalyKind, operation: &Operation, others: &[&Operation], sentence: &str) -> Anomaly {
    let preposition = if kind == AnomalyKind::BrokenClaim { "on" } else { "of" };
    Anomaly {
        key: operation.key.clone(),
        kind,
        sentence: format!("{} {preposition} {}: {sentence}", kind.words(), operation.key),
        operations: std::iter::once(operation.id).chain(others.iter().map(|other| other.id)).collect(),
        at_ns: operation.answered_ns().unwrap_or(operation.invoked_ns),
        late_ns: lateness(kind, operation, others.first().copied()),
    }
}

/// The claims on one key.
struct Chain<'a> {
    /// Acknowledged writes and the version that each made, ascending.
    writes: Vec<(Version, &'a Operation)>,
    /// Answers and the version that each saw, in the order of the calls. Only those that saw one.
    sights: Vec<(Version, &'a Operation)>,
    /// Writes whose version nobody knows: unknown outcome, or acknowledged without a claim.
    unclaimed: Vec<&'a Operation>,
}

impl<'a> Chain<'a> {
    fn of(operations: &[&'a Operation]) -> Self {
        let mut chain = Chain { writes: Vec::new(), sights: Vec::new(), unclaimed: Vec::new() };
        for &operation in operations {
            let Versions { made, seen, .. } = claims(operation);
            let fails = matches!(operation.answer(), Some(Answer::CasFailed(_) | Answer::CasFailedAbsent));
            if matches!(operation.call, Call::Read) || fails {
                chain.sights.extend(seen.map(|seen| (seen, operation)));
            } else if let Some(made) = made {
                chain.writes.push((made, operation));
            } else if !operation.is_failed() {
                chain.unclaimed.push(operation);
            }
        }
        chain.writes.sort_by_key(|&(made, operation)| (made, operation.id));
        chain.sights.sort_by_key(|&(_, operation)| (operation.invoked_ns, operation.id));
        chain
    }

    /// Whether a delete that nobody knows the version of can have emptied the key before this operation returned.
    fn may_be_deleted(&self, before: &Operation) -> bool {
        self.unclaimed
            .iter()
            .any(|other| matches!(other.call, Call::Delete) && Some(other.invoked_ns) <= before.answered_ns())
    }
}

fn acknowledged(operation: &Operation, made: Version) -> String {
    format!("{}, acknowledged as version {made}", deed(operation))
}

fn claims(operation: &Operation) -> Versions {
    operation.claim().map(|claim| **claim).unwrap_or_default()
}

/// A write that replaced a version not older than the one that it made.
fn against_itself<'a>(chain: &Chain<'a>) -> Vec<Break<'a>> {
    let broken = chain.writes.iter().filter_map(|&(made, write)| {
        let replaced = claims(write).replaced.filter(|&replaced| replaced >= made)?;
        let sentence = format!("{}, says it replaced version {replaced}", acknowledged(write, made));
        Some((write, Vec::new(), sentence))
    });
    broken.collect()
}

/// Two writes of one version, or a write that the next one in the chain did not replace.
fn out_of_chain<'a>(chain: &Chain<'a>) -> Vec<Break<'a>> {
    let mut broken = Vec::new();
    for pair in chain.writes.windows(2) {
        let [(made, write), (next_made, next)] = [pair[0], pair[1]];
        if made == next_made {
            let sentence = format!("version {made} was made twice, by {} and by {}", deed(write), deed(next));
            broken.push((next, vec![write], sentence));
            continue;
        }
        let is_delete = matches!(write.call, Call::Delete);
        let replaced = claims(next).replaced;
        let says = match replaced {
            Some(replaced) if replaced < made => {
                let twin = chain
                    .writes
                    .iter()
                    .map(|&(_, other)| other)
                    .find(|other| other.id != next.id && claims(other).replaced == Some(replaced));
                match twin.filter(|twin| twin.id != write.id) {
                    Some(twin) => format!("it replaced {replaced}, which {} had replaced", deed(twin)),
                    None => format!("it replaced {replaced}"),
                }
            }
            None if !is_delete && !chain.may_be_deleted(next) => "the key was absent".to_owned(),
            Some(_) | None => continue,
        };
        let sentence =
            format!("{}, is not in the chain: version {next_made} says {says}", acknowledged(write, made));
        broken.push((next, vec![write], sentence));
    }
    broken
}

/// A version that was replaced or seen, and that nobody can have made.
fn unheard_of<'a>(chain: &Chain<'a>) -> Vec<Break<'a>> {
    let is_made = |version: Version| chain.writes.binary_search_by_key(&version, |&(made, _)| made).is_ok();
    let can_be_made =
        |by: &Operation| chain.unclaimed.iter().any(|write| Some(write.invoked_ns) <= by.answered_ns());
    let replaced = chain.writes.iter().filter_map(|&(made, write)| {
        Some((claims(write).replaced?, write, format!("version {made} says it replaced")))
    });
    let seen = chain.sights.iter().map(|&(seen, read)| (seen, read, format!("{}, as version", sight(read))));
    let named: Vec<(Version, &Operation, String)> = replaced.chain(seen).collect();
    let unheard = named.into_iter().filter(|(version, by, _)| !is_made(*version) && !can_be_made(by));
    unheard
        .map(|(version, by, says)| {
            (by, Vec::new(), format!("{says} {version}, which no write can have made"))
        })
        .collect()
}

/// A read that saw a version with another value than was written with it.
fn other_value<'a>(chain: &Chain<'a>) -> Vec<Break<'a>> {
    let made: HashMap<Version, &Operation> = chain.writes.iter().copied().collect();
    let broken = chain.sights.iter().filter_map(|&(seen, read)| {
        let &write = made.get(&seen)?;
        let value = observed(read)?;
        let fits = match &write.call {
            Call::Write(written) | Call::Cas { new: written, .. } => value == Some(written),
            Call::Append(text) => value.is_some_and(|value| value.ends_with(text.as_str())),
            Call::Delete => value.is_none(),
            Call::Read | Call::Txn(_) => true,
        };
        let sentence = format!("{}, as version {seen}, but that is {}", sight(read), deed(write));
        (!fits).then_some((read, vec![write], sentence))
    });
    broken.collect()
}

/// A read that saw an older version than that of a write acknowledged before it was called: told with the first such
/// write, after whose acknowledgement it was out of date.
fn misses<'a>(chain: &Chain<'a>) -> Vec<Break<'a>> {
    // For each write the first acknowledgement among those of its version and newer ones.
    let mut first_from: Vec<(u64, Version, &Operation)> = Vec::with_capacity(chain.writes.len());
    for &(made, write) in chain.writes.iter().rev() {
        let own = (write.answered_ns().unwrap_or(u64::MAX), made, write);
        first_from.push(first_from.last().copied().filter(|&(ns, ..)| ns <= own.0).unwrap_or(own));
    }
    first_from.reverse();
    let broken = chain.sights.iter().filter_map(|&(seen, read)| {
        let newer = chain.writes.partition_point(|&(made, _)| made <= seen);
        let &(acknowledged_ns, made, write) = first_from.get(newer)?;
        let late_ns = read.invoked_ns.checked_sub(acknowledged_ns).filter(|&late_ns| late_ns > 0)?;
        let what = left_behind(write).flatten().map_or_else(|| deed(write), |value| quoted(value));
        let sentence = format!(
            "{}, as version {seen}, {} after {what}, version {made}, had been acknowledged to {}",
            sight(read),
            span(late_ns),
            write.client,
        );
        Some((read, vec![write], sentence))
    });
    broken.collect()
}

/// A write whose version is not newer than one that had been given to somebody before its call.
fn against_time<'a>(chain: &Chain<'a>) -> Vec<Break<'a>> {
    too_old_ones(chain).filter(|(_, makes)| *makes).map(|(broken, _)| broken).collect()
}

/// A read whose version is older than one that had been seen before its call. (Those that miss a write are stale.)
fn back_in_time<'a>(chain: &Chain<'a>) -> Vec<Break<'a>> {
    too_old_ones(chain).filter(|(_, makes)| !makes).map(|(broken, _)| broken).collect()
}

/// Both of them, each with whether it makes a version.
fn too_old_ones<'a>(chain: &Chain<'a>) -> impl Iterator<Item = (Break<'a>, bool)> + use<'a> {
    let claimed = || {
        let writes = chain.writes.iter().map(|&(made, write)| (made, write, true));
        writes.chain(chain.sights.iter().map(|&(seen, read)| (seen, read, false)))
    };
    let mut returns: Vec<(u64, Version, &Operation)> = claimed()
        .filter_map(|(version, operation, _)| Some((operation.answered_ns()?, version, operation)))
        .collect();
    returns.sort_by_key(|&(ns, _, operation)| (ns, operation.id));
    let mut calls: Vec<(u64, OpId, Version, &Operation, bool)> = claimed()
        .map(|(version, operation, makes)| (operation.invoked_ns, operation.id, version, operation, makes))
        .collect();
    calls.sort_by_key(|&(ns, id, ..)| (ns, id));
    let mut returned = returns.into_iter().peekable();
    let mut newest: Option<(Version, &Operation)> = None;
    let mut broken = Vec::new();
    for (invoked_ns, _, version, operation, makes) in calls {
        while let Some((_, version, earlier)) = returned.next_if(|&(ns, ..)| ns < invoked_ns) {
            newest = newest.filter(|&(newest, _)| newest >= version).or(Some((version, earlier)));
        }
        let Some((known, earlier)) = newest else { continue };
        let is_right = if makes { version > known } else { version >= known };
        if !is_right {
            let sentence = too_old(operation, version, makes, earlier, known);
            broken.push(((operation, vec![earlier], sentence), makes));
        }
    }
    broken.into_iter()
}

fn too_old(
    operation: &Operation,
    version: Version,
    makes: bool,
    earlier: &Operation,
    known: Version,
) -> String {
    let claim = if makes {
        let (at, node) = (moment(operation.invoked_ns), from_node(operation));
        format!("{} at {at}{node} made version {version}", deed(operation))
    } else {
        format!("{}, as version {version}", sight(operation))
    };
    let returned = moment(earlier.answered_ns().unwrap_or_default());
    // What had that version: what was seen of it, or what was left behind by who made it. A compare-and-set that failed
    // saw a value, and left none.
    let client = earlier.client;
    let what = match (&earlier.call, observed(earlier)) {
        (Call::Read, Some(seen)) => shown(seen),
        (Call::Cas { .. }, Some(seen)) if earlier.answer() != Some(&Answer::CasDone) => shown(seen),
        (Call::Write(value) | Call::Append(value) | Call::Cas { new: value, .. }, _) => quoted(value),
        (Call::Read, None) => "a read".to_owned(),
        (Call::Delete, _) => "a delete".to_owned(),
        (Call::Txn(_), _) => "a transaction".to_owned(),
    };
    format!("{claim}, although version {known} ({what}) had been given to {client} at {returned}")
}
