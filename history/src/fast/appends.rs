//! Keys with nothing but reads and appends, each text appended once and none the beginning of another, so that a value can be
//! taken apart in one way only. The longest value read gives the order of the appends that it shows; every read stands behind
//! the last append that it shows; what no read shows stands behind all, if it was answered, and need not have happened if not.
//! So the order is forced, and only the times can contradict it.

use super::Fast;
use crate::operation::{Answer, Call};
use crate::problem::View;

/// A text and the append of it.
type Text<'a> = (&'a str, u32);

/// Decides a key of appends.
pub(super) fn decide(views: &[View<'_>]) -> Option<Fast> {
    let texts = texts_of(views)?;
    let mut longest: Option<(&str, u32)> = None;
    for (at, view) in views.iter().enumerate() {
        if let Some((_, Answer::Value(Some(value)))) = view.answer()
            && longest.is_none_or(|(other, _)| other.len() < value.len())
        {
            longest = Some((value.as_str(), place(at)));
        }
    }
    let (value, blamed) = longest.unwrap_or(("", 0));
    let Some((appends, ends)) = take_apart(value, &texts) else { return Some(Fast::NoOrder(vec![blamed])) };
    let mut is_shown = vec![false; views.len()];
    appends.iter().for_each(|&at| is_shown[at as usize] = true);
    // The reads of each length.
    let mut reads: Vec<Vec<u32>> = vec![Vec::new(); appends.len() + 1];
    let mut unseen = Vec::new();
    for (at, view) in views.iter().enumerate() {
        let Some((_, answer)) = view.answer() else { continue };
        match answer {
            Answer::Value(None) => reads[0].push(place(at)),
            Answer::Value(Some(seen)) => match ends.binary_search(&seen.len()) {
                Ok(length) if value.starts_with(seen.as_str()) => reads[length + 1].push(place(at)),
                Ok(_) | Err(_) => return Some(Fast::NoOrder(vec![place(at), blamed])),
            },
            _ if is_shown[at] => {}
            _ => unseen.push(place(at)),
        }
    }
    let mut groups = Vec::with_capacity(2 * appends.len() + 2);
    for (length, reads) in reads.into_iter().enumerate() {
        groups.extend(length.checked_sub(1).map(|append| vec![appends[append]]));
        groups.push(reads);
    }
    groups.push(unseen);
    Some(in_time(views, groups))
}

fn place(at: usize) -> u32 {
    u32::try_from(at).expect("there are fewer operations")
}

/// All texts, ascending; `None` where one is the beginning of another, where there is an empty one, or another call.
fn texts_of<'a>(views: &[View<'a>]) -> Option<Vec<Text<'a>>> {
    let mut texts: Vec<Text<'a>> = Vec::with_capacity(views.len() / 2);
    for (at, view) in views.iter().enumerate() {
        match &view.operation.call {
            Call::Read => {}
            Call::Append(text) if !text.is_empty() => texts.push((text.as_str(), place(at))),
            Call::Append(_) | Call::Write(_) | Call::Cas { .. } | Call::Delete | Call::Txn(_) => return None,
        }
    }
    texts.sort_unstable();
    // If one begins with another, so does the one right behind the other.
    texts.windows(2).all(|pair| !pair[1].0.starts_with(pair[0].0)).then_some(texts)
}

/// The appends that make a value, and how long it was after each; `None` where none do, or one twice.
fn take_apart(value: &str, texts: &[Text<'_>]) -> Option<(Vec<u32>, Vec<usize>)> {
    let (mut appends, mut ends) = (Vec::new(), Vec::new());
    let mut is_used = vec![false; texts.len()];
    let mut end = 0;
    while end < value.len() {
        let rest = &value[end..];
        // The one that the rest begins with is the last that is not behind it: none that begins with that one lies between.
        let at = texts.partition_point(|(text, _)| *text <= rest).checked_sub(1)?;
        let (text, append) = texts[at];
        if !rest.starts_with(text) || std::mem::replace(&mut is_used[at], true) {
            return None;
        }
        end += text.len();
        appends.push(append);
        ends.push(end);
    }
    Some((appends, ends))
}

/// Whether the times allow for an order in which group stands behind group.
fn in_time(views: &[View<'_>], groups: Vec<Vec<u32>>) -> Fast {
    let mut order = Vec::with_capacity(views.len());
    // The latest call in the groups so far: what comes behind must not have returned before it.
    let mut latest: Option<(u64, u32)> = None;
    for mut group in groups {
        let called = |at: &u32| views[*at as usize].operation.invoked_ns;
        group.sort_by_key(called);
        for &at in &group {
            let returned = views[at as usize].answer().map(|(ns, _)| ns.max(called(&at)));
            if let Some((call, before)) = latest
                && returned.is_some_and(|returned| returned < call)
            {
                return Fast::NoOrder(vec![before, at]);
            }
        }
        let last = group.last().map(|at| (called(at), *at));
        latest = latest.max(last);
        order.extend(group);
    }
    Fast::Order(order)
}
