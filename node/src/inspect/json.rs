//! Findings as lines of JSON, for programs. Each line has `"v":1` and says in `what` which it is: one `log`, then
//! `segment`s, `group`s, `torn`, `damage`, `frame`s. Fields may be added, so a reader ignores those that it does not know.

use std::io::{self, Write};

use ordeal_wal::{Damage, Faulty, GroupState, Loss};
use serde_json::{Value, json};

use super::findings::{Findings, Frame, Role, Segment};

/// Version of the lines.
const JSON_VERSION: u32 = 1;

/// Writes all of it.
pub(super) fn show(findings: &Findings, out: &mut impl Write) -> io::Result<()> {
    let report = &findings.recovered.report;
    line(
        out,
        "log",
        json!({
            "dir": findings.dir.display().to_string(),
            "store": findings.store_id.map(|store| format!("{store:016x}")),
            "segments": report.segments,
            "frames": report.frames,
            "bytes": report.bytes,
            "damaged": findings.is_damaged(),
            "groups_may_be_missing": report.groups_may_be_missing,
            "verified": findings.verified.is_some(),
        }),
    )?;
    for segment in &findings.segments {
        line(out, "segment", of_segment(segment))?;
    }
    for (id, state) in findings.groups() {
        line(out, "group", of_group(id, state))?;
    }
    if let Some(torn) = &report.torn {
        let entries: Vec<Value> = torn
            .entries
            .iter()
            .map(|(group, faulty)| json!({ "group": group, "first": faulty.first, "count": faulty.count }))
            .collect();
        let (segment, offset, reason) = (torn.segment, torn.offset, torn.what);
        let fields = json!({ "segment": segment, "offset": offset, "reason": reason, "entries": entries });
        line(out, "torn", fields)?;
    }
    for damage in &report.damage {
        line(out, "damage", of_damage(damage))?;
    }
    for found in findings.verified.iter().flatten() {
        line(out, "damage", json!({ "frame": found.frame, "reason": found.what }))?;
    }
    findings.frames.iter().try_for_each(|frame| line(out, "frame", of_frame(frame, findings)))
}

fn line(out: &mut impl Write, what: &str, mut fields: Value) -> io::Result<()> {
    fields["v"] = json!(JSON_VERSION);
    fields["what"] = json!(what);
    writeln!(out, "{fields}")
}

fn of_segment(segment: &Segment) -> Value {
    let role = match segment.role {
        Role::Open => "open",
        Role::Sealed => "sealed",
        Role::Freed => "freed",
    };
    let (first, last) = segment.range().unzip();
    json!({
        "segment": segment.seen.segment,
        "role": role,
        "bytes": segment.seen.bytes,
        "frames": segment.frames(),
        "first_frame": first,
        "last_frame": last,
        "header_faults": segment.seen.faults,
    })
}

fn of_group(id: u64, state: &GroupState) -> Value {
    let faulty: Vec<Value> = state.faulty.iter().map(of_faulty).collect();
    json!({
        "group": id,
        "first": state.first,
        "next": state.next,
        "term": state.term,
        "vote": if state.vote == 0 { Value::Null } else { json!(state.vote) },
        "snapshot": state.snapshot.map(|(index, term)| json!({ "index": index, "term": term })),
        "faulty": faulty,
        "may_have_forgotten_entries": state.amnesia.is_some_and(|amnesia| amnesia.tail),
        "may_have_forgotten_vote": state.amnesia.is_some_and(|amnesia| amnesia.vote),
    })
}

fn of_faulty(faulty: &Faulty) -> Value {
    json!({ "first": faulty.first, "count": faulty.count, "term": faulty.term })
}

fn of_damage(damage: &Damage) -> Value {
    let mut fields = json!({ "segment": damage.segment, "offset": damage.offset, "reason": damage.what });
    match damage.loss {
        Loss::Nothing => fields["loss"] = json!("nothing"),
        Loss::Entry { group, index } => {
            fields["loss"] = json!("entry");
            fields["group"] = json!(group);
            fields["index"] = json!(index);
        }
        Loss::Frames(count) => {
            fields["loss"] = json!("frames");
            fields["count"] = json!(count);
        }
        Loss::Segment => fields["loss"] = json!("segment"),
    }
    fields
}

fn of_frame(frame: &Frame, findings: &Findings) -> Value {
    let seen = &frame.seen;
    let runs = seen.runs.iter().filter(|run| findings.shows(run.group));
    let runs: Vec<Value> = runs.map(|run| json!({ "group": run.group, "says": run.what })).collect();
    let entries = frame.entries.iter().map(|entry| {
        json!({
            "group": entry.group,
            "index": entry.id.index,
            "term": entry.id.term,
            "bytes": entry.bytes,
            "says": entry.words.as_ref().ok(),
            "fault": entry.words.as_ref().err(),
        })
    });
    json!({
        "frame": seen.sequence,
        "segment": seen.segment,
        "offset": seen.offset,
        "bytes": seen.bytes,
        "durable": seen.durable,
        "first_copy_damaged": seen.head_is_damaged,
        "second_copy_damaged": seen.mirror_is_damaged,
        "void": frame.is_void,
        "runs": runs,
        "entries": entries.collect::<Vec<_>>(),
    })
}
