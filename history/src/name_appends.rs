//! Names for what is wrong with a read, on keys where nothing but reads and appends happens and every append adds one
//! word of its own (`c3-17,`), so that a value says which appends made it. Each name is a proof, as in `name_values`.

use std::collections::{HashMap, HashSet};

use crate::name_values::Name;
use crate::operation::{Answer, Call, Operation};
use crate::report::AnomalyKind;
use crate::words::{deed, from_node, moment, quoted, span};

/// What is wrong with the read `culprit`, if it has a name.
pub(crate) fn name<'a>(operations: &[&'a Operation], culprit: &'a Operation) -> Option<Name<'a>> {
    let appends = appends_by_word(operations)?;
    let words = words_read(culprit)?;
    misread(culprit, &words, &appends)
        .or_else(|| repeated(culprit, &words, &appends))
        .or_else(|| missing(operations, culprit, &words))
        .or_else(|| against_time(culprit, &words, &appends))
        .or_else(|| against_another_read(operations, culprit, &words))
}

/// Whether a text is one word: it ends in its only comma and has something before it.
fn is_word(text: &str) -> bool {
    text.len() > 1 && text.find(',') == Some(text.len() - 1)
}

type Appends<'a> = HashMap<&'a str, &'a Operation>;

/// The append of each word; `None` where words do not say which append made them.
fn appends_by_word<'a>(operations: &[&'a Operation]) -> Option<Appends<'a>> {
    let mut appends = HashMap::new();
    for &operation in operations {
        match &operation.call {
            Call::Read => {}
            Call::Append(word) if is_word(word) => {
                if appends.insert(word.as_str(), operation).is_some() {
                    return None;
                }
            }
            Call::Append(_) | Call::Write(_) | Call::Cas { .. } | Call::Delete | Call::Txn(_) => return None,
        }
    }
    Some(appends)
}

fn words_read(operation: &Operation) -> Option<Vec<&str>> {
    match operation.answer()? {
        Answer::Value(Some(value)) => Some(value.split_inclusive(',').collect()),
        Answer::Value(None) => Some(Vec::new()),
        Answer::Done | Answer::CasDone | Answer::CasFailed(_) | Answer::CasFailedAbsent | Answer::Txn(_) => {
            None
        }
    }
}

fn reading(culprit: &Operation) -> String {
    format!("{} at {}{}", culprit.client, moment(culprit.invoked_ns), from_node(culprit))
}

/// A word that nobody appended, whose append failed, or whose append was called later.
fn misread<'a>(culprit: &Operation, words: &[&str], appends: &Appends<'a>) -> Option<Name<'a>> {
    let (key, reading) = (&culprit.key, reading(culprit));
    let returned_ns = culprit.answered_ns()?;
    words.iter().find_map(|&word| match appends.get(word) {
        None => {
            let shown = quoted(word);
            let sentence = format!("phantom on {key}: {reading} read {shown}, but nobody appended that");
            Some((AnomalyKind::Phantom, sentence, Vec::new()))
        }
        Some(&append) if append.is_failed() => {
            let at = moment(append.invoked_ns);
            let sentence = format!(
                "failed write visible on {key}: {reading} read {}, but {} at {at} surely failed",
                quoted(word),
                deed(append)
            );
            Some((AnomalyKind::FailedWriteVisible, sentence, vec![append]))
        }
        Some(&append) if append.invoked_ns > returned_ns => {
            let sentence = format!(
                "read from the future of {key}: {reading} read {}, but {} was called only at {}, {} after that had returned",
                quoted(word),
                deed(append),
                moment(append.invoked_ns),
                span(append.invoked_ns - returned_ns),
            );
            Some((AnomalyKind::FutureRead, sentence, vec![append]))
        }
        Some(_) => None,
    })
}

fn repeated<'a>(culprit: &Operation, words: &[&str], appends: &Appends<'a>) -> Option<Name<'a>> {
    let mut seen = HashSet::new();
    let &word = words.iter().find(|&&word| !seen.insert(word))?;
    let append = appends.get(word)?;
    let times = words.iter().filter(|&&other| other == word).count();
    let sentence = format!(
        "duplicate append on {}: {} read {} {times} times, but it was appended once, by {} at {}",
        culprit.key,
        reading(culprit),
        quoted(word),
        append.client,
        moment(append.invoked_ns),
    );
    Some((AnomalyKind::DuplicateAppend, sentence, vec![append]))
}

/// A word whose append was acknowledged before the read began.
fn missing<'a>(operations: &[&'a Operation], culprit: &'a Operation, words: &[&str]) -> Option<Name<'a>> {
    let present: HashSet<&str> = words.iter().copied().collect();
    let acknowledged = operations.iter().filter_map(|&operation| {
        let Call::Append(word) = &operation.call else { return None };
        let ns = operation.answered_ns().filter(|&ns| ns < culprit.invoked_ns)?;
        (!present.contains(word.as_str())).then_some((ns, word, operation))
    });
    let (acknowledged_ns, word, append) = acknowledged.min_by_key(|&(ns, _, append)| (ns, append.id))?;
    let seen_later = operations.iter().copied().find(|other| {
        other.invoked_ns > culprit.invoked_ns
            && words_read(other).is_some_and(|words| words.contains(&word.as_str()))
    });
    let kind = if seen_later.is_some() { AnomalyKind::StaleRead } else { AnomalyKind::LostUpdate };
    let last = words
        .last()
        .map_or_else(|| "nothing".to_owned(), |last| format!("a value that ends in {}", quoted(last)));
    let client = culprit.client;
    let (at, node) = (moment(culprit.invoked_ns), from_node(culprit));
    let sentence = format!(
        "{} of {}: {client} read {last} at {at}{node}, without {}, {} after that had been acknowledged to {}",
        kind.words(),
        culprit.key,
        quoted(word),
        span(culprit.invoked_ns - acknowledged_ns),
        append.client,
    );
    Some((kind, sentence, [append].into_iter().chain(seen_later).collect()))
}

/// Two words in an order that contradicts the times of their appends.
fn against_time<'a>(culprit: &Operation, words: &[&str], appends: &Appends<'a>) -> Option<Name<'a>> {
    // The latest call so far; what stands behind it must not have returned before it.
    let mut latest: Option<&'a Operation> = None;
    for &word in words {
        let &append = appends.get(word)?;
        if let Some(before) = latest
            && append.answered_ns().is_some_and(|ns| ns < before.invoked_ns)
        {
            let sentence = format!(
                "reordered append on {}: {} read {} behind {}, but {} had returned before {} was called at {}",
                culprit.key,
                reading(culprit),
                quoted(word),
                call_text(before),
                deed(append),
                deed(before),
                moment(before.invoked_ns),
            );
            return Some((AnomalyKind::ReorderedAppend, sentence, vec![append, before]));
        }
        if latest.is_none_or(|before| append.invoked_ns > before.invoked_ns) {
            latest = Some(append);
        }
    }
    None
}

fn call_text(append: &Operation) -> String {
    match &append.call {
        Call::Append(word) => quoted(word),
        Call::Read | Call::Write(_) | Call::Cas { .. } | Call::Delete | Call::Txn(_) => append.id.to_string(),
    }
}

/// A value that is no prefix of what another read saw, and no continuation, or that went back.
fn against_another_read<'a>(
    operations: &[&'a Operation],
    culprit: &'a Operation,
    words: &[&str],
) -> Option<Name<'a>> {
    operations.iter().filter(|other| other.id != culprit.id).find_map(|&other| {
        let others = words_read(other)?;
        let same = words.iter().zip(&others).take_while(|(a, b)| a == b).count();
        let (key, mine, theirs) = (&culprit.key, reading(culprit), reading(other));
        if same < words.len() && same < others.len() {
            let sentence = format!(
                "reordered append on {key}: as word {} of the value, {theirs} read {} and {mine} read {}",
                same + 1,
                quoted(others[same]),
                quoted(words[same]),
            );
            return Some((AnomalyKind::ReorderedAppend, sentence, vec![other]));
        }
        let is_earlier = other.answered_ns().is_some_and(|ns| ns < culprit.invoked_ns);
        (is_earlier && others.len() > words.len()).then(|| {
            let sentence = format!(
                "non-monotonic read of {key}: {theirs} read {} words, and later {mine} only the first {}",
                others.len(),
                words.len(),
            );
            (AnomalyKind::NonMonotonicRead, sentence, vec![other])
        })
    })
}
