//! Watching keys: every change of a key, or of all keys with a prefix, once and in the order of its shard; over leaders, moves of
//! shards, and connections that break.
//!
//! A [`Watch`] asks the leader of each shard that it concerns for what comes behind the last change that it was told, again and
//! again, over one [`Pipeline`]. There is no order between changes of different shards: each has its own versions, and a place to go
//! on from is a mark a shard ([`Behind`]). A key, and a prefix with a whole `{tag}` in it, is of one shard; any other prefix
//! concerns them all.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use crate::caller::Caller;
use crate::client::check_length;
use crate::config::ClientConfig;
use crate::course::{Course, WATCH_TIME};
use crate::error::ClientError;
use crate::pipe::{Done, Operation, Pipeline};
use crate::wire::{Change, Interest, KEY_BYTES_MAX, Mark, MarkError, RefusalReason, Reply, ShardId};

/// A place to go on from: all changes up to it are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Behind {
    /// Of the one shard that is watched; [`Mark::BEGINNING`] of any.
    Mark(Mark),
    /// Of each shard.
    Shards(BTreeMap<ShardId, Mark>),
}

/// Follows the changes of keys.
///
/// ```no_run
/// # use std::time::Duration;
/// # use ordeal_client::{ClientConfig, Watch, wire::Interest};
/// let config = ClientConfig::new(["127.0.0.1:7101"]);
/// let mut watch = Watch::open(config, Interest::Prefix(b"{orders}".to_vec()), None)?;
/// while let Some(told) = watch.next(Duration::from_secs(60))? {
///     println!("{:?} is {:?} since {}", told.change.key, told.change.value, told.change.mark);
/// }
/// println!("nothing for a minute; to go on later: {}", watch.behind());
/// # Ok::<(), ordeal_client::ClientError>(())
/// ```
#[derive(Debug)]
pub struct Watch {
    pipeline: Pipeline,
    of: Interest,
    shards: BTreeMap<ShardId, Followed>,
    /// What came and was not handed out yet: of each shard an answer at most.
    inbox: VecDeque<(ShardId, News)>,
}

/// A change, and where it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The shard.
    pub shard: ShardId,
    /// The change.
    pub change: Change,
}

/// A shard that is followed.
#[derive(Debug, Default)]
struct Followed {
    /// Up to here all was handed out; none: nobody has said yet what now is.
    behind: Option<Mark>,
}

#[derive(Debug)]
enum News {
    Change(Change),
    /// Up to here that was all: time to ask again.
    Upto(Mark),
}

impl Watch {
    /// Watches these keys from there on; without a place from now on: whatever is written after this has returned is told.
    ///
    /// # Errors
    /// [`ClientError::Config`] and [`ClientError::TooLong`] when that makes no sense, others when the cluster cannot be reached.
    pub fn open(config: ClientConfig, of: Interest, behind: Option<&Behind>) -> Result<Watch, ClientError> {
        check_length("key or prefix", of.bytes(), KEY_BYTES_MAX)?;
        config.check()?;
        let shards = shards_of(&config, &of)?;
        let marks = marks(&shards, behind)?;
        // Whoever has nothing to tell takes a second of it.
        let config = ClientConfig { deadline: config.deadline + WATCH_TIME, ..config };
        let followed = |&shard: &ShardId| (shard, Followed { behind: marks.get(&shard).copied() });
        let mut watch = Watch {
            pipeline: Pipeline::new(config, 1)?,
            of,
            shards: shards.iter().map(followed).collect(),
            inbox: VecDeque::new(),
        };
        shards.into_iter().for_each(|shard| watch.ask(shard));
        while watch.shards.values().any(|followed| followed.behind.is_none()) {
            watch.turn(WATCH_TIME)?;
        }
        Ok(watch)
    }

    /// The next change; none when there was none for so long.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with [`RefusalReason::Compacted`] when changes are not kept any more that were not told: then this
    /// watch has a hole, and is over. Others say that a shard could not be reached for as long as the deadline says; who calls again
    /// goes on, and misses nothing.
    pub fn next(&mut self, timeout: Duration) -> Result<Option<Told>, ClientError> {
        let until = Instant::now() + timeout;
        loop {
            while let Some((shard, news)) = self.inbox.pop_front() {
                match news {
                    News::Change(change) => {
                        self.follow(shard).behind = Some(change.mark);
                        return Ok(Some(Told { shard, change }));
                    }
                    News::Upto(upto) => self.go_on(shard, upto),
                }
            }
            let left = until.saturating_duration_since(Instant::now());
            self.turn(left)?;
            if left.is_zero() && self.inbox.is_empty() {
                return Ok(None);
            }
        }
    }

    /// Where another watch of the same keys goes on: behind everything that this one has handed out.
    #[must_use]
    pub fn behind(&self) -> Behind {
        let marks = self.shards.iter().map(|(&shard, followed)| (shard, followed.behind.unwrap_or_default()));
        let marks: BTreeMap<ShardId, Mark> = marks.collect();
        match marks.first_key_value() {
            Some((_, &mark)) if marks.len() == 1 => Behind::Mark(mark),
            Some(_) | None => Behind::Shards(marks),
        }
    }

    /// Whether changes come from more than one shard.
    #[must_use]
    pub fn is_of_many(&self) -> bool {
        self.shards.len() > 1
    }

    fn follow(&mut self, shard: ShardId) -> &mut Followed {
        self.shards.get_mut(&shard).expect("answers come of shards that are followed")
    }

    fn go_on(&mut self, shard: ShardId, upto: Mark) {
        let followed = self.follow(shard);
        followed.behind = followed.behind.max(Some(upto));
        self.ask(shard);
    }

    fn ask(&mut self, shard: ShardId) {
        let behind = self.follow(shard).behind;
        let operation = Operation::Watch { shard, of: self.of.clone(), behind };
        let taken = self.pipeline.submit(u64::from(shard.0), operation);
        assert!(taken.is_ok(), "one operation a shard is far below the limit");
    }

    /// Waits for something to happen, and takes it in.
    fn turn(&mut self, timeout: Duration) -> Result<(), ClientError> {
        let failed = |error| ClientError::Config(format!("event queue: {error}"));
        self.pipeline.turn(timeout).map_err(failed)?;
        while let Some(Done { operation, outcome, .. }) = self.pipeline.done() {
            let Operation::Watch { shard, behind, .. } = operation else {
                unreachable!("nothing else was submitted")
            };
            match outcome {
                // What now is, is told without a change.
                Ok((_, Reply::Changes { upto, .. })) if behind.is_none() => self.go_on(shard, upto),
                Ok((_, Reply::Changes { changes, upto })) => {
                    self.inbox.extend(changes.into_iter().map(|change| (shard, News::Change(change))));
                    self.inbox.push_back((shard, News::Upto(upto)));
                }
                Ok(_) => unreachable!("the pipeline hands out what fits the request"),
                Err(error) => {
                    if !is_final(&error) {
                        self.ask(shard);
                    }
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

/// Whether asking again would bring the same.
fn is_final(error: &ClientError) -> bool {
    matches!(
        error,
        ClientError::Refused { reason: RefusalReason::Compacted { .. } | RefusalReason::Unfit(_), .. }
            | ClientError::Config(_)
            | ClientError::TooLong { .. }
            | ClientError::Strangers(_)
    )
}

/// The shards that these keys may be in: asks how many there are.
fn shards_of(config: &ClientConfig, of: &Interest) -> Result<Vec<ShardId>, ClientError> {
    let mut caller = Caller::new(config.clone());
    let mut course = Course::new(Instant::now(), config.deadline);
    caller.shard(&mut course, of.bytes()).map_err(|stop| course.error(stop, Instant::now()))?;
    let count = caller.router.shards().and_then(|count| u32::try_from(count).ok()).expect("told just now");
    Ok(of.shard(count).map_or_else(|| (0..count).map(ShardId).collect(), |shard| vec![shard]))
}

/// Where each of these shards begins; none, where all begin now.
fn marks(shards: &[ShardId], behind: Option<&Behind>) -> Result<BTreeMap<ShardId, Mark>, ClientError> {
    match behind {
        None => Ok(BTreeMap::new()),
        Some(Behind::Mark(mark)) if shards.len() == 1 || *mark == Mark::BEGINNING => {
            Ok(shards.iter().map(|&shard| (shard, *mark)).collect())
        }
        Some(Behind::Mark(mark)) => Err(ClientError::Config(format!(
            "{mark} is of one shard, and the keys are of {}: expected one for each, as s0=1.42,s1=…",
            shards.len()
        ))),
        Some(Behind::Shards(marks)) => {
            let missing = shards.iter().find(|shard| !marks.contains_key(shard));
            match missing {
                None => Ok(shards.iter().map(|shard| (*shard, marks[shard])).collect()),
                Some(shard) => {
                    Err(ClientError::Config(format!("nothing is said of {shard}, one of the keys' shards")))
                }
            }
        }
    }
}

impl fmt::Display for Behind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Behind::Mark(mark) => write!(f, "{mark}"),
            Behind::Shards(marks) => marks.iter().enumerate().try_for_each(|(at, (shard, mark))| {
                write!(f, "{}{shard}={mark}", if at == 0 { "" } else { "," })
            }),
        }
    }
}

impl FromStr for Behind {
    type Err = MarkError;

    /// Reads what [`fmt::Display`] prints.
    fn from_str(text: &str) -> Result<Self, MarkError> {
        if !text.contains('=') {
            return text.parse().map(Behind::Mark);
        }
        let wrong = |part: &str| MarkError(part.to_owned());
        let one = |part: &str| {
            let (shard, mark) = part.split_once('=').ok_or_else(|| wrong(part))?;
            Ok((shard.parse().map_err(|_| wrong(part))?, mark.parse()?))
        };
        text.split(',').map(one).collect::<Result<_, _>>().map(Behind::Shards)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_print_and_read_back() {
        for text in ["1.42", "0.0", "s0=1.42,s7=2.9+3"] {
            assert_eq!(text.parse::<Behind>().expect("it is one").to_string(), text);
        }
        for wrong in ["", "x", "s0=", "s0=1.2,", "0=1.2", "s0=1.2,1.3"] {
            assert!(wrong.parse::<Behind>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_place_fits_the_shards_that_are_watched_or_is_refused() {
        let behind = |text: &str| text.parse::<Behind>().expect("it is one");
        let (one, two) = ([ShardId(3)], [ShardId(0), ShardId(1)]);
        let begin =
            |shards: &[ShardId], text: &str| marks(shards, Some(&behind(text))).map(|marks| marks.len()).ok();
        assert_eq!(marks(&two, None).expect("now").len(), 0);
        assert_eq!((begin(&one, "1.4"), begin(&two, "1.4"), begin(&two, "0.0")), (Some(1), None, Some(2)));
        assert_eq!(
            (begin(&two, "s0=1.4,s1=1.5"), begin(&two, "s0=1.4"), begin(&one, "s3=1.1")),
            (Some(2), None, Some(1))
        );
    }
}
