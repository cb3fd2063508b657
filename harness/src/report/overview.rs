//! The whole run in bars: answers in a second, outcomes that are none, the slowest answer.

use std::fmt::Write;

use super::svg::{Axis, band_names, bands, bands_height, open};
use crate::store::FaultSpan;
use crate::verdict::{Bucket, Figures};

/// Height of the chart of answers, and of that of latencies.
const RATE: f64 = 140.0;
const SLOWEST: f64 = 70.0;
/// Between the two.
const SPACE: f64 = 34.0;

/// The drawing.
pub(super) fn draw(figures: &Figures, spans: &[FaultSpan]) -> String {
    if figures.buckets.is_empty() {
        return String::new();
    }
    let axis = Axis::new(figures.from_ns, figures.until_ns);
    let top = bands_height();
    let rate_bottom = top + RATE;
    let bottom = rate_bottom + SPACE + SLOWEST;
    let mut svg = open(bottom + 20.0, "operations in a second and slowest answers over the run, with faults");
    bands(&mut svg, &axis, spans, bottom);
    band_names(&mut svg);
    axis.draw(&mut svg, top, bottom);
    let seconds = figures.bucket_ns as f64 / 1e9;
    let total = |bucket: &Bucket| (bucket.ok + bucket.failed + bucket.unknown) as f64;
    let most = figures.buckets.iter().map(total).fold(1.0, f64::max);
    let slowest = figures.buckets.iter().map(|bucket| bucket.slowest_ms).fold(1.0, f64::max);
    names(&mut svg, top, &format!("{:.0}/s", most / seconds));
    names(&mut svg, rate_bottom + SPACE, &format!("{slowest:.0} ms"));
    for (number, bucket) in figures.buckets.iter().enumerate() {
        let from_ns = figures.from_ns + number as u64 * figures.bucket_ns;
        let (x, end) = (axis.x(from_ns), axis.x(from_ns + figures.bucket_ns));
        let width = (end - x - 0.5).max(0.5);
        let mut y = rate_bottom;
        for (class, count) in [("ok", bucket.ok), ("unknown", bucket.unknown), ("failed", bucket.failed)] {
            let height = RATE * count as f64 / most;
            y -= height;
            bar(&mut svg, class, x, y, width, height);
        }
        let height = SLOWEST * bucket.slowest_ms / slowest;
        bar(&mut svg, "slow", x, bottom - height, width, height);
    }
    svg + "</svg>"
}

fn names(svg: &mut String, y: f64, text: &str) {
    let _ = write!(svg, "<text class=\"lane\" x=\"0\" y=\"{:.0}\">{text}</text>", y + 10.0);
}

fn bar(svg: &mut String, class: &str, x: f64, y: f64, width: f64, height: f64) {
    if height > 0.0 {
        let _ = write!(
            svg,
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>"
        );
    }
}
