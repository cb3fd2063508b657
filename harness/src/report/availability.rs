//! How long clients waited around each fault, as a table; the name of a fault leads to its place in the picture.

use std::fmt::Write;

use super::escape::{Escaped, head};
use crate::plan::{FaultKind, seconds};
use crate::store::{Absence, Availability, FaultAbsence, FaultSpan, Figure};

/// Faults that are listed.
const FAULTS_MAX: usize = 300;
/// Characters of a name.
const NAME_CHARS: usize = 120;

/// The table; nothing where no fault was measured.
pub(super) fn table(page: &mut String, availability: Option<&Availability>, spans: &[FaultSpan]) {
    let Some(availability) = availability.filter(|availability| !availability.faults.is_empty()) else {
        return;
    };
    page.push_str(
        "<h2>Availability</h2>\n<p class=\"dim\">first: from the beginning of a fault to a success; gap: the longest stretch in \
         which a shard was asked and gave no success; lost: of the throughput before; recover: from its end until every shard \
         that was asked gave a success; normal: until nine tenths of the throughput before. Names lead to the picture.</p>\n\
         <table><thead><tr><th>fault</th><th>began</th>",
    );
    for figure in Figure::ALL {
        let _ = write!(page, "<th>{figure}</th>");
    }
    page.push_str("<th>beside it</th></tr></thead><tbody>\n");
    for worst in &availability.worst {
        let name = format!("worst of {}", worst.kind.counted(worst.faults));
        row(page, &format!("<b>{}</b>", Escaped(&name)), "", &worst.absence, "");
    }
    for fault in availability.faults.iter().take(FAULTS_MAX) {
        let name = Escaped(&shown(&fault.name, fault.kind)).to_string();
        let name = match spans.iter().position(|span| span.fault == fault.fault) {
            Some(band) => format!("<a href=\"#picture\" data-band=\"{band}\">{name}</a>"),
            None => name,
        };
        let began = seconds(fault.began_ns / 1_000_000);
        row(page, &name, &began, &fault.absence, &beside(fault, spans));
    }
    page.push_str("</tbody></table>\n");
    let shown = availability.faults.len().min(FAULTS_MAX);
    if availability.faults_count > shown {
        let _ = writeln!(page, "<p class=\"dim\">… and {} more.</p>", availability.faults_count - shown);
    }
}

fn row(page: &mut String, name: &str, began: &str, absence: &Absence, beside: &str) {
    let _ = write!(page, "<tr><td>{name}</td><td>{began}</td>");
    for figure in Figure::ALL {
        let _ = write!(page, "<td>{}</td>", absence.words(figure));
    }
    let _ = writeln!(page, "<td>{}</td></tr>", Escaped(beside));
}

/// Others that may have a share in what was measured.
fn beside(fault: &FaultAbsence, spans: &[FaultSpan]) -> String {
    let named = |number: &usize| spans.iter().find(|span| span.fault == *number);
    let names: Vec<String> =
        fault.beside.iter().filter_map(named).map(|span| shown(&span.name, span.kind)).collect();
    head(&names.join(", "), NAME_CHARS)
}

/// `kill n3` says what it is; of a partition its shape comes first, and stays.
fn shown(name: &str, kind: FaultKind) -> String {
    let short = name.split(" (").next().unwrap_or(name);
    let whole =
        if short.starts_with(&kind.to_string()) { short.to_owned() } else { format!("{kind} {short}") };
    head(&whole, NAME_CHARS)
}
