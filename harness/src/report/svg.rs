//! What drawings share: a time axis, and faults as bands.

use std::fmt::Write;

use super::escape::{Escaped, tail};
use crate::plan::FaultKind;
use crate::store::FaultSpan;

/// Width of a drawing, in its own units; the page scales it.
pub(super) const WIDTH: f64 = 1100.0;
/// Room for the names of lanes.
pub(super) const LEFT: f64 = 64.0;
/// Height of a row of fault names.
pub(super) const BAND_ROW: f64 = 18.0;
/// Width of a character of the drawing's font.
pub(super) const CHAR: f64 = 6.5;
/// Bands in one drawing.
const BANDS_MAX: usize = 200;

/// A stretch of time on paper.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    from_ns: u64,
    until_ns: u64,
}

impl Axis {
    /// From the one to the other; at least a microsecond.
    pub(super) fn new(from_ns: u64, until_ns: u64) -> Self {
        Axis { from_ns, until_ns: until_ns.max(from_ns + 1_000) }
    }

    /// Where a moment stands; moments outside stand at the edge.
    pub(super) fn x(&self, ns: u64) -> f64 {
        let inside = ns.clamp(self.from_ns, self.until_ns) - self.from_ns;
        LEFT + (WIDTH - LEFT) * inside as f64 / (self.until_ns - self.from_ns) as f64
    }

    pub(super) fn overlaps(&self, from_ns: u64, until_ns: u64) -> bool {
        from_ns <= self.until_ns && until_ns >= self.from_ns
    }

    pub(super) fn ends_ns(&self) -> (u64, u64) {
        (self.from_ns, self.until_ns)
    }

    /// Vertical lines with their times below.
    pub(super) fn draw(&self, svg: &mut String, top: f64, bottom: f64) {
        let step_ns = self.step_ns();
        let mut at_ns = self.from_ns.div_ceil(step_ns) * step_ns;
        while at_ns <= self.until_ns {
            let x = self.x(at_ns);
            let _ = write!(
                svg,
                "<line class=\"tick\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{top:.0}\" y2=\"{bottom:.0}\"/>\
                 <text class=\"time\" x=\"{x:.1}\" y=\"{:.0}\">{}</text>",
                bottom + 14.0,
                moment(at_ns, step_ns)
            );
            at_ns += step_ns;
        }
    }

    /// 1, 2 or 5 times a power of ten, so that there are about eight.
    fn step_ns(&self) -> u64 {
        let rough = (self.until_ns - self.from_ns) / 8;
        let mut power = 1;
        while power * 10 <= rough {
            power *= 10;
        }
        [1, 2, 5, 10]
            .into_iter()
            .map(|factor| factor * power)
            .find(|&step| step >= rough)
            .unwrap_or(power * 10)
    }
}

/// A time with as many digits as a step needs.
fn moment(ns: u64, step_ns: u64) -> String {
    let digits = match step_ns {
        1_000_000_000.. => 0,
        1_000_000.. => 3,
        _ => 6,
    };
    format!("{:.digits$} s", ns as f64 / 1e9)
}

/// Faults as bands over the whole height, with their names above, a row for each kind.
pub(super) fn bands(svg: &mut String, axis: &Axis, spans: &[FaultSpan], bottom: f64) {
    let (_, end_ns) = axis.ends_ns();
    let shown = spans
        .iter()
        .filter(|span| axis.overlaps(span.applied_ns(), span.undone_ns().unwrap_or(end_ns)))
        .take(BANDS_MAX);
    for span in shown {
        let (left, right) = (axis.x(span.applied_ns()), axis.x(span.undone_ns().unwrap_or(end_ns)));
        let width = (right - left).max(1.0);
        let (row, class) = match span.kind {
            FaultKind::Kill => (0.0, "kill"),
            FaultKind::Pause => (1.0, "pause"),
            FaultKind::Partition => (2.0, "cut"),
            FaultKind::Members => (3.0, "members"),
            FaultKind::Transfer => (4.0, "transfer"),
            FaultKind::MoveShards => (5.0, "members"),
            FaultKind::JoinLeave => (6.0, "members"),
            FaultKind::KillMover => (7.0, "kill"),
        };
        let y = row * BAND_ROW;
        // As many characters as fit; the whole name stands in the title.
        let label = if width < 4.0 * CHAR { "" } else { &*span.name };
        let fits = |at: usize| (at + 1) as f64 * CHAR <= width;
        let label: String =
            label.chars().enumerate().take_while(|&(at, _)| fits(at)).map(|(_, char)| char).collect();
        let _ = write!(
            svg,
            "<g><title>{}</title><rect class=\"band {class}\" x=\"{left:.1}\" y=\"{y:.0}\" width=\"{width:.1}\" \
             height=\"{:.0}\"/><rect class=\"head {class}\" x=\"{left:.1}\" y=\"{y:.0}\" width=\"{width:.1}\" \
             height=\"{:.0}\"/><text class=\"bandname\" x=\"{:.1}\" y=\"{:.0}\">{}</text></g>",
            Escaped(&tail(&span.name, 200)),
            bottom - y,
            BAND_ROW - 2.0,
            left + 3.0,
            y + 12.0,
            Escaped(&label)
        );
    }
}

/// Names of the rows of bands.
pub(super) fn band_names(svg: &mut String) {
    for (row, kind) in FaultKind::ALL.into_iter().enumerate() {
        let y = row as f64 * BAND_ROW + 12.0;
        let _ = write!(svg, "<text class=\"lane\" x=\"0\" y=\"{y:.0}\">{kind}</text>");
    }
}

/// Height of all rows of names.
pub(super) fn bands_height() -> f64 {
    FaultKind::ALL.len() as f64 * BAND_ROW + 4.0
}

/// Opens a drawing with its description for those who cannot see it.
pub(super) fn open(height: f64, description: &str) -> String {
    format!(
        "<svg viewBox=\"0 0 {WIDTH:.0} {height:.0}\" role=\"img\" aria-label=\"{}\">",
        Escaped(description)
    )
}
