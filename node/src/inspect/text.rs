//! Findings for a person: tables whose columns stand under each other, then sentences.

use std::io::{self, Write};

use ordeal_client::wire::NodeId;
use ordeal_wal::{Damage, Faulty, GroupState, Loss, Torn};

use super::findings::{Findings, Frame, Role, Segment};

/// Writes all of it.
pub(super) fn show(findings: &Findings, out: &mut impl Write) -> io::Result<()> {
    let report = &findings.recovered.report;
    let store = findings.store_id.map_or_else(String::new, |store| format!(", store {store:016x}"));
    writeln!(
        out,
        "log in {}{store}: {}, {} in {}\n",
        findings.dir.display(),
        count(report.segments, "segment"),
        count(report.frames, "frame"),
        bytes(report.bytes)
    )?;
    segments(&findings.segments, out)?;
    groups(findings, out)?;
    health(findings, out)?;
    if !findings.frames.is_empty() {
        writeln!(out)?;
    }
    findings.frames.iter().try_for_each(|frame| show_frame(frame, findings, out))
}

fn segments(segments: &[Segment], out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "{:<9}{:<8}{:>10}  {:<18}{:>8}  header copies",
        "segment", "", "length", "frames", "count"
    )?;
    for segment in segments {
        let role = match segment.role {
            Role::Open => "open",
            Role::Sealed => "sealed",
            Role::Freed => "freed",
        };
        let range = segment.range().map_or_else(String::new, |(first, last)| format!("{first}..{last}"));
        let copies = segment
            .seen
            .faults
            .each_ref()
            .map(|fault| fault.as_ref().map_or("whole", |fault| fault.as_str()));
        writeln!(
            out,
            "{:<9}{role:<8}{:>10}  {range:<18}{:>8}  {}",
            segment.seen.segment,
            bytes(segment.seen.bytes),
            segment.frames(),
            if copies == ["whole"; 2] { "both whole".to_owned() } else { copies.join(" / ") }
        )?;
    }
    writeln!(out)
}

fn groups(findings: &Findings, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{:<7}{:<22}{:>8}  {:<6}snapshot", "group", "first..next", "term", "vote")?;
    for (id, state) in findings.groups() {
        let entries = format!("{}..{}", state.first, state.next);
        let snapshot =
            state.snapshot.map_or_else(|| "-".to_owned(), |(index, term)| format!("{index}@{term}"));
        let row = format!(
            "{:<7}{entries:<22}{:>8}  {:<6}{snapshot:<12}{}",
            format!("g{id}"),
            state.term,
            vote(state.vote),
            losses(state)
        );
        writeln!(out, "{}", row.trim_end())?;
    }
    writeln!(out)
}

/// What a group has lost, in a few words.
fn losses(state: &GroupState) -> String {
    let mut words: Vec<String> = state.faulty.iter().map(slots).collect();
    if let Some(amnesia) = state.amnesia {
        let what = match (amnesia.tail, amnesia.vote) {
            (true, true) => "its last entries and a vote",
            (_, true) => "a vote",
            _ => "its last entries",
        };
        words.push(format!("may have forgotten {what}"));
    }
    words.join("; ")
}

fn slots(faulty: &Faulty) -> String {
    let term = faulty.term.map_or_else(String::new, |term| format!("@{term}"));
    match faulty.count {
        1 => format!("entry {}{term} lost", faulty.first),
        count => format!("entries {}..{}{term} lost", faulty.first, faulty.first + count),
    }
}

fn health(findings: &Findings, out: &mut impl Write) -> io::Result<()> {
    let report = &findings.recovered.report;
    if let Some(torn) = &report.torn {
        writeln!(out, "{}", torn_in_words(torn))?;
    }
    for damage in &report.damage {
        writeln!(out, "damage: {}", damage_in_words(damage))?;
    }
    for found in findings.verified.iter().flatten() {
        writeln!(out, "damage: {}", found.what)?;
    }
    if report.groups_may_be_missing {
        writeln!(out, "damage: there may have been groups of which nothing is left")?;
    }
    if !findings.is_damaged() {
        let how = if findings.verified.is_some() { "verified, every copy" } else { "no damage" };
        writeln!(out, "{how}: all that was acknowledged is there")?;
    }
    Ok(())
}

/// A torn tail, such as `torn tail: …, never acknowledged`.
fn torn_in_words(torn: &Torn) -> String {
    let held: Vec<String> = torn
        .entries
        .iter()
        .map(|(group, faulty)| format!("g{group} {}..{}", faulty.first, faulty.first + faulty.count))
        .collect();
    let held = if held.is_empty() { String::new() } else { format!(" (it held {})", held.join(", ")) };
    format!("torn tail: segment {} at {}: {}, never acknowledged{held}", torn.segment, torn.offset, torn.what)
}

/// A damage and what it means.
fn damage_in_words(damage: &Damage) -> String {
    let loss = match damage.loss {
        Loss::Nothing => "nothing is lost, a second copy was whole".to_owned(),
        Loss::Entry { group, index } => format!("entry {index} of g{group} is lost"),
        Loss::Frames(count) => format!("{} lost, nobody knows what of", self::count(count, "frame")),
        Loss::Segment => "the whole segment is lost".to_owned(),
    };
    format!("segment {} at {}: {}: {loss}", damage.segment, damage.offset, damage.what)
}

fn show_frame(frame: &Frame, findings: &Findings, out: &mut impl Write) -> io::Result<()> {
    let seen = &frame.seen;
    let mut remarks = String::new();
    for (so, remark) in [
        (seen.head_is_damaged, ", read from its second copy"),
        (frame.is_void, ", void: a torn tail of an earlier life"),
        (seen.runs.is_empty(), ", a mark: proves those before it durable"),
    ] {
        remarks.push_str(if so { remark } else { "" });
    }
    writeln!(
        out,
        "frame {} in segment {} at {}: {}, durable up to {}{remarks}",
        seen.sequence,
        seen.segment,
        seen.offset,
        bytes(seen.bytes),
        seen.durable
    )?;
    for run in seen.runs.iter().filter(|run| findings.shows(run.group)) {
        writeln!(out, "  {run}")?;
    }
    for entry in &frame.entries {
        let words = match &entry.words {
            Ok(words) => words.clone(),
            Err(what) => format!("cannot be told: {what}"),
        };
        writeln!(out, "    g{} {}  {words}", entry.group, entry.id)?;
    }
    Ok(())
}

/// A vote as the node wrote it: 0 is none.
fn vote(vote: u64) -> String {
    match u32::try_from(vote) {
        Ok(0) => "-".to_owned(),
        Ok(node) => NodeId(node).to_string(),
        Err(_) => vote.to_string(),
    }
}

fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn bytes(number: u64) -> String {
    match number {
        0..1_048_576 => format!("{} KiB", number.div_ceil(1024)),
        _ => format!("{:.1} MiB", number as f64 / 1_048_576.0),
    }
}
