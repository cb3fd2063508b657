//! The operations of a whole history, embedded for the script that draws them: columns of numbers, bounded, and nothing from
//! outside that could become markup. The script and its frame are files of their own, in `picture/`.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ordeal_history::formats::FaultNote;
use ordeal_history::{
    Answer, Call, Certificate, ClientId, History, OpId, Operation, Outcome, Report, Value, txn_words,
};
use serde::Serialize;

use super::escape::{head, tail};
use super::words;
use crate::store::{Event, FaultSpan};
use crate::verdict::Failing;

/// The script: one function, so that nothing of it is global.
const SCRIPT: &str = concat!(
    "(() => {\n'use strict';\n",
    include_str!("picture/data.js"),
    include_str!("picture/view.js"),
    include_str!("picture/draw.js"),
    include_str!("picture/control.js"),
    include_str!("picture/start.js"),
    "})();\n"
);
const FRAME: &str = include_str!("picture/frame.html");

/// Operations that are embedded: some 8 MB, which a browser reads in half a second.
pub(super) const OPERATIONS_MAX: usize = 200_000;

/// Of a longer history so many on the keys that fail, those nearest to what fails.
const OF_FAILING_KEYS_MAX: usize = 100_000;

/// Characters of a value: of what fails, and of all others. Of long ones the end is shown, where appends differ.
const FAILING_CHARS: usize = 96;
const VALUE_CHARS: usize = 48;

/// Characters of a name or a sentence.
const NAME_CHARS: usize = 200;
const SENTENCE_CHARS: usize = 1_000;

/// Faults and leaders that are embedded: more than a screen has pixels for.
const BANDS_MAX: usize = 1_000;

/// What is to be drawn.
pub(super) struct Material<'a> {
    pub(super) history: &'a History,
    pub(super) report: &'a Report,
    pub(super) failing: &'a [Failing],
    pub(super) bands: Vec<Band>,
    pub(super) leaders: Vec<Lead>,
    /// How many lanes client numbers fold to, where that is known.
    pub(super) clients: Option<u32>,
}

/// A fault from its beginning to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Band {
    kind: String,
    name: String,
    from_ns: u64,
    until_ns: Option<u64>,
}

/// Who led, from when to when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lead {
    group: u32,
    node: String,
    term: u64,
    from_ns: u64,
    until_ns: Option<u64>,
}

/// What the script reads.
#[derive(Serialize)]
struct Embedded<'a> {
    version: u32,
    base: u64,
    lanes: Vec<String>,
    keys: Vec<String>,
    nodes: Vec<String>,
    strings: Vec<String>,
    ops: Columns,
    bands: Vec<BandOut>,
    leaders: Vec<LeadOut>,
    failing: Vec<Part<'a>>,
    calm: String,
}

/// A row each for every operation, by ascending call.
#[derive(Default, Serialize)]
struct Columns {
    /// As differences.
    id: Vec<i64>,
    /// As differences.
    at: Vec<u64>,
    /// −1: it never returned.
    took: Vec<i64>,
    lane: Vec<usize>,
    client: Vec<u32>,
    key: Vec<usize>,
    call: Vec<u8>,
    /// Places in `strings`; −1: none.
    asked: Vec<i64>,
    answer: Vec<i64>,
    came: Vec<u8>,
    node: Vec<i64>,
    /// Nanoseconds after the call; −1: not known.
    point: Vec<i64>,
}

#[derive(Serialize)]
struct BandOut {
    kind: String,
    name: String,
    from: u64,
    until: i64,
}

#[derive(Serialize)]
struct LeadOut {
    group: u32,
    node: String,
    term: u64,
    from: u64,
    until: i64,
    tint: u64,
}

#[derive(Serialize)]
struct Part<'a> {
    kind: &'a str,
    key: String,
    /// Its place in `keys`.
    place: usize,
    sentence: String,
    operations: &'a [u64],
    core: &'a [u64],
    open: &'a [u64],
    reasons: Vec<String>,
}

/// The picture as HTML: frame, data, script. Nothing where nothing happened.
pub(super) fn draw(of: &Material<'_>) -> String {
    if of.history.operations.is_empty() {
        return String::new();
    }
    let json = serde_json::to_string(&of.embedded()).expect("texts and numbers always have a JSON form");
    // Whatever a value holds, it cannot end the element.
    let json = json.replace('<', "\\u003c");
    format!(
        "{FRAME}<script type=\"application/json\" id=\"picture-data\">{json}</script>\n<script>\n{SCRIPT}</script>\n"
    )
}

impl<'a> Material<'a> {
    fn embedded(&self) -> Embedded<'a> {
        let chosen = self.choose();
        let all = self.history.operations.len();
        let base = chosen.iter().map(|op| op.invoked_ns).min().unwrap_or(0);
        let lanes = fold(&chosen, self.clients);
        let rows: BTreeSet<u32> = lanes.values().copied().collect();
        let rows: BTreeMap<u32, usize> =
            rows.into_iter().enumerate().map(|(row, lane)| (lane, row)).collect();
        let mut pool = Pool::default();
        let points = points(self.report, self.history);
        let guilty: BTreeSet<u64> = self.failing.iter().flat_map(Failing::all).collect();
        let mut columns = Columns::default();
        let (mut last_id, mut last_ns) = (0, base);
        for op in &chosen {
            let chars = if guilty.contains(&op.id.0) { FAILING_CHARS } else { VALUE_CHARS };
            let id = i64::try_from(op.id.0).unwrap_or(i64::MAX);
            columns.id.push(id - last_id);
            columns.at.push(op.invoked_ns - last_ns);
            (last_id, last_ns) = (id, op.invoked_ns);
            columns.lane.push(rows[&lanes[&op.client]]);
            columns.client.push(op.client.0);
            columns.key.push(pool.keys.place(&op.key));
            let point = points.get(&op.id).map_or(-1, |&ns| signed(ns - op.invoked_ns));
            columns.point.push(point);
            columns.node.push(op.node.as_deref().map_or(-1, |node| index(pool.nodes.place(node))));
            columns.outcome(op, &mut pool, chars);
        }
        let note = if chosen.len() < all {
            format!(
                "Of {all} operations {} are drawn: what fails, its keys, and a sample of the others. ",
                chosen.len()
            )
        } else {
            String::new()
        };
        let calm = if columns.point.iter().any(|&point| point >= 0) {
            "A diamond in a bar is where it takes effect in the order that was found: every answer is the one of a single \
             copy of the data."
        } else {
            "Point at an operation, or choose one, to be told all of it."
        };
        let failing = self.failing.iter().map(|failing| self.part(failing, &mut pool)).collect();
        Embedded {
            version: 1,
            base,
            lanes: rows.keys().map(|lane| format!("c{lane}")).collect(),
            keys: pool.keys.shown(),
            nodes: pool.nodes.shown(),
            strings: pool.strings.names,
            ops: columns,
            bands: self.bands.iter().take(BANDS_MAX).map(|band| band.out(base)).collect(),
            leaders: self.leaders.iter().take(BANDS_MAX).map(|lead| lead.out(base)).collect(),
            failing,
            calm: note + calm,
        }
    }

    fn part(&self, failing: &'a Failing, pool: &mut Pool<'a>) -> Part<'a> {
        Part {
            kind: &failing.kind,
            key: tail(&failing.key, NAME_CHARS),
            place: pool.keys.place(&failing.key),
            sentence: head(&failing.sentence, SENTENCE_CHARS),
            operations: &failing.operations,
            core: &failing.core,
            open: &failing.open,
            reasons: failing.reasons(self.history),
        }
    }

    /// All operations, or as many as are embedded, by ascending call.
    fn choose(&self) -> Vec<&'a Operation> {
        let all = &self.history.operations;
        let mut chosen: Vec<&Operation> = all.iter().collect();
        if all.len() > OPERATIONS_MAX {
            let guilty: BTreeSet<u64> = self.failing.iter().flat_map(Failing::all).collect();
            let keys: BTreeSet<&str> = self.failing.iter().map(|failing| &*failing.key).collect();
            let shows = self
                .failing
                .first()
                .and_then(|first| self.history.operation(OpId(*first.operations.first()?)));
            let around_ns = shows.map_or(0, |shows| shows.invoked_ns);
            let (mut near, others): (Vec<&Operation>, Vec<&Operation>) =
                chosen.into_iter().partition(|op| keys.contains(&*op.key));
            near.sort_by_key(|op| (!guilty.contains(&op.id.0), op.invoked_ns.abs_diff(around_ns), op.id));
            near.truncate(OF_FAILING_KEYS_MAX);
            let step = others.len().div_ceil(OPERATIONS_MAX - near.len()).max(1);
            near.extend(others.into_iter().step_by(step));
            chosen = near;
        }
        chosen.sort_by_key(|op| (op.invoked_ns, op.id));
        chosen
    }
}

impl Columns {
    fn outcome<'a>(&mut self, op: &'a Operation, pool: &mut Pool<'a>, chars: usize) {
        let optional = |value: Option<&Value>| value.map_or("nothing".to_owned(), |value| tail(value, chars));
        let (call, asked) = match &op.call {
            Call::Read => (0, None),
            Call::Write(value) => (1, Some(tail(value, chars))),
            Call::Append(value) => (2, Some(tail(value, chars))),
            Call::Delete => (3, None),
            Call::Cas { expected, new } => {
                (4, Some(format!("{} → {}", optional(expected.as_ref()), tail(new, chars))))
            }
            Call::Txn(txn) => (5, Some(txn_words::asked(txn))),
        };
        let (came, answer) = match &op.returned {
            Some((_, Outcome::Ok(answer, _))) => {
                let seen = match answer {
                    Answer::Done | Answer::CasDone => None,
                    Answer::Value(value) => Some(optional(value.as_ref())),
                    Answer::CasFailed(Some(found)) => Some(tail(found, chars)),
                    Answer::CasFailed(None) => Some("what it expected".to_owned()),
                    Answer::CasFailedAbsent => Some("nothing".to_owned()),
                    Answer::Txn(ret) => Some(words::came_of_txn(&op.call, ret)),
                };
                (0, seen)
            }
            Some((_, Outcome::Failed(reason))) => (1, Some(head(reason, chars))),
            Some((_, Outcome::Unknown(reason))) => (2, Some(head(reason, chars))),
            None => (3, None),
        };
        let mut place = |text: Option<String>| text.map_or(-1, |text| index(pool.strings.place_owned(text)));
        self.asked.push(place(asked));
        self.answer.push(place(answer));
        self.call.push(call);
        self.came.push(came);
        self.took.push(op.returned.as_ref().map_or(-1, |(ns, _)| signed(ns - op.invoked_ns)));
    }
}

fn index(place: usize) -> i64 {
    i64::try_from(place).unwrap_or(i64::MAX)
}

fn signed(ns: u64) -> i64 {
    i64::try_from(ns).unwrap_or(i64::MAX)
}

/// Texts that are named by their places, each once.
#[derive(Default)]
struct Pool<'a> {
    keys: Names<'a>,
    nodes: Names<'a>,
    strings: Texts,
}

#[derive(Default)]
struct Names<'a> {
    names: Vec<&'a str>,
    places: HashMap<&'a str, usize>,
}

impl<'a> Names<'a> {
    fn place(&mut self, name: &'a str) -> usize {
        *self.places.entry(name).or_insert_with(|| {
            self.names.push(name);
            self.names.len() - 1
        })
    }

    fn shown(&self) -> Vec<String> {
        self.names.iter().map(|name| tail(name, NAME_CHARS)).collect()
    }
}

#[derive(Default)]
struct Texts {
    names: Vec<String>,
    places: HashMap<String, usize>,
}

impl Texts {
    fn place_owned(&mut self, text: String) -> usize {
        if let Some(&place) = self.places.get(&text) {
            return place;
        }
        self.names.push(text.clone());
        self.places.insert(text, self.names.len() - 1);
        self.names.len() - 1
    }
}

/// The lane of each client. A client that goes on for one that crashed has its lane: known by its number, or else by when
/// it began.
fn fold(operations: &[&Operation], clients: Option<u32>) -> HashMap<ClientId, u32> {
    if let Some(clients) = clients {
        return operations.iter().map(|op| (op.client, op.client.0 % clients.max(1))).collect();
    }
    let mut last: HashMap<ClientId, &Operation> = HashMap::new();
    operations.iter().for_each(|op| {
        last.insert(op.client, op);
    });
    let mut lanes: HashMap<ClientId, u32> = HashMap::new();
    // Lanes whose client crashed, by when it did.
    let mut free: BTreeMap<(u64, OpId), u32> = BTreeMap::new();
    for op in operations {
        if lanes.contains_key(&op.client) {
            let lane = lanes[&op.client];
            release(&mut free, op, &last, lane);
            continue;
        }
        let oldest =
            free.iter().next().filter(|((ns, _), _)| *ns <= op.invoked_ns).map(|(key, lane)| (*key, *lane));
        let lane = match oldest {
            Some((key, lane)) => {
                free.remove(&key);
                lane
            }
            None => op.client.0,
        };
        lanes.insert(op.client, lane);
        release(&mut free, op, &last, lane);
    }
    lanes
}

/// A lane is free when the last operation of its client never came to an end.
fn release(
    free: &mut BTreeMap<(u64, OpId), u32>,
    op: &Operation,
    last: &HashMap<ClientId, &Operation>,
    lane: u32,
) {
    if op.is_open() && last[&op.client].id == op.id {
        let until_ns = op.returned.as_ref().map_or(op.invoked_ns, |(ns, _)| *ns);
        free.insert((until_ns, op.id), lane);
    }
}

/// When each operation of the orders that were found takes effect: as early as it can, so inside of its bar.
fn points(report: &Report, history: &History) -> HashMap<OpId, u64> {
    let mut points = HashMap::new();
    for key in &report.keys {
        let Certificate::Order(order) = &key.certificate else { continue };
        let mut now_ns = 0;
        for op in order.iter().filter_map(|&id| history.operation(id)) {
            now_ns = now_ns.max(op.invoked_ns);
            points.insert(op.id, now_ns);
        }
    }
    points
}

impl Band {
    /// Of the faults of a run.
    pub(super) fn of_spans(spans: &[FaultSpan]) -> Vec<Band> {
        let band = |span: &FaultSpan| Band {
            kind: span.kind.to_string(),
            name: tail(&span.name, VALUE_CHARS * 2),
            from_ns: span.applied_ns(),
            until_ns: span.undone_ns(),
        };
        spans.iter().map(band).collect()
    }

    /// Of what a nemesis said: `:start-partition` until `:stop-partition`; what has no such beginning is a moment.
    pub(super) fn of_notes(notes: &[FaultNote]) -> Vec<Band> {
        let mut bands: Vec<Band> = Vec::new();
        for note in notes {
            let what = note.what.trim_start_matches(':');
            let named = |rest: &str| match rest.trim_start_matches(['-', ' ']) {
                "" => "fault".to_owned(),
                kind => tail(kind, VALUE_CHARS),
            };
            let (kind, is_start, is_stop) = match (what.strip_prefix("start"), what.strip_prefix("stop")) {
                (Some(rest), _) => (named(rest), true, false),
                (None, Some(rest)) => (named(rest), false, true),
                (None, None) => (tail(what, VALUE_CHARS), false, false),
            };
            let open = bands.iter_mut().rev().find(|band| band.kind == kind && band.until_ns.is_none());
            let name = if note.value == "nil" { kind.clone() } else { tail(&note.value, VALUE_CHARS * 2) };
            match open {
                Some(open) if is_stop => open.until_ns = Some(note.time_ns),
                Some(open) if note.value != "nil" => open.name = name,
                Some(_) => {}
                None if is_stop => {}
                None => {
                    let until_ns = (!is_start).then_some(note.time_ns);
                    bands.push(Band { kind, name, from_ns: note.time_ns, until_ns });
                }
            }
        }
        bands
    }

    fn out(&self, base: u64) -> BandOut {
        BandOut {
            kind: self.kind.clone(),
            name: self.name.clone(),
            from: self.from_ns.saturating_sub(base),
            until: self.until_ns.map_or(-1, |ns| signed(ns.saturating_sub(base))),
        }
    }
}

impl Lead {
    /// Of what was seen of a run: each leads until the next one of its group is seen.
    pub(super) fn of_events(events: &[Event]) -> Vec<Lead> {
        let mut leads: Vec<Lead> = Vec::new();
        for event in events {
            let Event::Leader { at_ns, group, term, node } = event else { continue };
            if let Some(before) = leads.iter_mut().rev().find(|lead| lead.group == *group) {
                before.until_ns = Some(*at_ns);
            }
            let (node, from_ns) = (node.to_string(), *at_ns);
            leads.push(Lead { group: *group, node, term: *term, from_ns, until_ns: None });
        }
        leads
    }

    fn out(&self, base: u64) -> LeadOut {
        let digits: String = self.node.chars().filter(char::is_ascii_digit).collect();
        LeadOut {
            group: self.group,
            node: self.node.clone(),
            term: self.term,
            from: self.from_ns.saturating_sub(base),
            until: self.until_ns.map_or(-1, |ns| signed(ns.saturating_sub(base))),
            tint: digits.parse().unwrap_or(0),
        }
    }
}
