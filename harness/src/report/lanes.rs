//! The operations of a key on a true time axis, one lane a client, the guilty ones marked.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use ordeal_history::{History, OpId, Operation, Outcome};

use super::escape::Escaped;
use super::svg::{Axis, CHAR, LEFT, WIDTH, band_names, bands, bands_height, open};
use super::words::words;
use crate::plan::seconds;
use crate::store::FaultSpan;
use crate::verdict::Failing;

/// Height of a lane.
const LANE: f64 = 30.0;
/// Characters of a value in a title, and in a label.
const TITLE_CHARS: usize = 160;
const LABEL_CHARS: usize = 24;

/// Operations in a table: a core that is larger explains nothing to a person.
const ROWS_MAX: usize = 60;

/// What is to be drawn.
pub(super) struct Scene<'a> {
    pub(super) history: &'a History,
    pub(super) spans: &'a [FaultSpan],
    /// How many lanes client numbers fold to.
    pub(super) clients: u32,
    pub(super) key: &'a str,
    pub(super) guilty: &'a [u64],
    /// At most so many operations, those nearest to the guilty ones.
    pub(super) operations_max: usize,
}

/// The drawing.
pub(super) fn draw(scene: &Scene<'_>) -> String {
    let chosen = choose(scene);
    let (Some(first), Some(last)) =
        (chosen.iter().map(|op| op.invoked_ns).min(), chosen.iter().map(|op| end_ns(op)).max())
    else {
        return String::new();
    };
    let margin_ns = (last - first) / 50;
    let axis = Axis::new(first.saturating_sub(margin_ns), last + margin_ns);
    let lanes: BTreeSet<u32> = chosen.iter().map(|op| scene.lane(op)).collect();
    let rows: BTreeMap<u32, usize> = lanes.into_iter().enumerate().map(|(row, lane)| (lane, row)).collect();
    let top = bands_height();
    let bottom = top + rows.len() as f64 * LANE;
    let mut svg = open(bottom + 20.0, &format!("operations on key {} by client over time", scene.key));
    bands(&mut svg, &axis, scene.spans, bottom);
    band_names(&mut svg);
    axis.draw(&mut svg, top, bottom);
    for (&lane, &row) in &rows {
        let y = top + row as f64 * LANE;
        let _ = write!(
            svg,
            "<text class=\"lane\" x=\"0\" y=\"{:.0}\">c{lane}</text>\
             <line class=\"rule\" x1=\"{LEFT:.0}\" x2=\"{WIDTH:.0}\" y1=\"{:.0}\" y2=\"{:.0}\"/>",
            y + 18.0,
            y + LANE - 1.0,
            y + LANE - 1.0
        );
    }
    for op in chosen {
        let row = rows[&scene.lane(op)];
        scene.operation(&mut svg, &axis, op, top + row as f64 * LANE);
    }
    svg + "</svg>"
}

/// The guilty operations, and of the others of the key those that are nearest to them in time.
fn choose<'a>(scene: &Scene<'a>) -> Vec<&'a Operation> {
    let is_guilty = |op: &Operation| scene.guilty.contains(&op.id.0);
    let of_key = || scene.history.operations.iter().filter(|op| &*op.key == scene.key);
    let from_ns = of_key().filter(|op| is_guilty(op)).map(|op| op.invoked_ns).min().unwrap_or(0);
    let until_ns = of_key().filter(|op| is_guilty(op)).map(end_ns).max().unwrap_or(u64::MAX);
    let mut chosen: Vec<&Operation> = of_key().collect();
    chosen.sort_by_key(|op| {
        let gap_ns = from_ns.saturating_sub(end_ns(op)).max(op.invoked_ns.saturating_sub(until_ns));
        (!is_guilty(op), gap_ns, op.id)
    });
    chosen.truncate(scene.operations_max);
    // The guilty ones last, so that they lie on top.
    chosen.sort_by_key(|op| (is_guilty(op), op.id));
    chosen
}

fn end_ns(op: &Operation) -> u64 {
    op.returned.as_ref().map_or(op.invoked_ns, |(time_ns, _)| *time_ns)
}

impl Scene<'_> {
    fn lane(&self, op: &Operation) -> u32 {
        op.client.0 % self.clients.max(1)
    }

    fn operation(&self, svg: &mut String, axis: &Axis, op: &Operation, y: f64) {
        let guilty = self.guilty.contains(&op.id.0);
        let (left, right) = (axis.x(op.invoked_ns), axis.x(end_ns(op)));
        let width = (right - left).max(2.0);
        let class = match &op.returned {
            Some((_, Outcome::Ok(..))) => "ok",
            Some((_, Outcome::Failed(_))) => "failed",
            Some((_, Outcome::Unknown(_))) | None => "unknown",
        };
        let mark = if guilty { " guilty" } else { "" };
        let _ = write!(svg, "<g class=\"op\"><title>{}</title>", Escaped(&title(op)));
        if op.is_open() {
            // It may take effect at any later time.
            let _ = write!(
                svg,
                "<line class=\"open\" x1=\"{right:.1}\" x2=\"{WIDTH:.0}\" y1=\"{0:.0}\" y2=\"{0:.0}\"/>",
                y + 25.0
            );
        }
        let _ = write!(
            svg,
            "<rect class=\"{class}{mark}\" x=\"{left:.1}\" y=\"{:.0}\" width=\"{width:.1}\" height=\"20\" rx=\"2\"/>",
            y + 4.0
        );
        let label = label(op);
        if guilty || label.chars().count() as f64 * CHAR < width {
            // Near the right edge the label stands before its end.
            let (x, anchor) =
                if left > WIDTH - 200.0 && guilty { (right, "end") } else { (left + 3.0, "start") };
            let flag = if guilty { "▶ " } else { "" };
            let _ = write!(
                svg,
                "<text class=\"label{mark}\" x=\"{x:.1}\" y=\"{:.0}\" text-anchor=\"{anchor}\">{flag}{}</text>",
                y + 18.0,
                Escaped(&label)
            );
        }
        svg.push_str("</g>");
    }
}

/// The operations in a table, by the time of their calls; marked is the one that shows it.
pub(super) fn table(history: &History, failing: &Failing) -> String {
    let mut html = String::from(
        "<table><thead><tr><th>operation</th><th>client</th><th>called</th><th>returned</th><th>what</th>\
         <th>node</th></tr></thead><tbody>",
    );
    let mut all: Vec<&Operation> =
        failing.all().into_iter().filter_map(|id| history.operation(OpId(id))).collect();
    all.sort_by_key(|op| (op.invoked_ns, op.id));
    for op in all.into_iter().take(ROWS_MAX) {
        let returned = op.returned.as_ref().map_or("never".to_owned(), |(ns, _)| seconds(ns / 1_000_000));
        let shows = failing.operations.first() == Some(&op.id.0);
        let free = if failing.open.contains(&op.id.0) { " (open for ever in the proof)" } else { "" };
        let _ = write!(
            html,
            "<tr{}><td>{}{}</td><td>{}</td><td>{}</td><td>{returned}</td><td class=\"what\">{}{free}</td><td>{}</td></tr>",
            if shows { " class=\"shows\"" } else { "" },
            if shows { "▶ " } else { "" },
            op.id,
            op.client,
            seconds(op.invoked_ns / 1_000_000),
            Escaped(&words(op, TITLE_CHARS)),
            Escaped(op.node.as_deref().unwrap_or("not known"))
        );
    }
    html + "</tbody></table>"
}

fn title(op: &Operation) -> String {
    let from = seconds(op.invoked_ns / 1_000_000);
    let until = op.returned.as_ref().map_or("never".to_owned(), |(ns, _)| seconds(ns / 1_000_000));
    let node = op.node.as_ref().map(|node| format!(", answered by {node}")).unwrap_or_default();
    format!("{} {}: {}, {from} to {until}{node}", op.id, op.client, words(op, TITLE_CHARS))
}

fn label(op: &Operation) -> String {
    words(op, LABEL_CHARS)
}
