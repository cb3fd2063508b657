//! `ordeal convert`.

use std::path::{Path, PathBuf};

use clap::Args;
use ordeal_history::formats::{
    Converted, FaultNote, Format, FormatError, Reader, Record, Writer, convert, edn_text,
};
use serde::Serialize;

use super::check::input;
use super::output::{print, print_json};
use super::{Done, Failure, StoreArgs};
use crate::exit::Cause;
use crate::run::screen::say;
use crate::store::FaultSpan;

/// Flags of `ordeal convert`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    ordeal convert latest history.edn\n      \
        the history of the newest run, with its faults, as Jepsen writes it: for Knossos and Jepsen's checkers\n  \
    ordeal convert etcd_000.log history.jsonl\n      \
        an old log of Jepsen as our JSON lines; the format of the input is known by its content\n  \
    ordeal convert history.edn history.bin --to binary --force\n      \
        the compact form, over an older one\n\n\
    Formats: ordeal (.jsonl), binary (.ohb), jepsen (.edn, also of Knossos and Maelstrom), jepsen-text (.txt), elle (.json);\n\
    read only: jepsen-log, porcupine-kv, etcd (operations.json). docs/formats.md says what each holds.\n\n\
    Exit codes: 0 converted, 3 the input is missing or damaged, 2 the output's format is not clear, 13 it cannot be written.")]
pub struct ConvertArgs {
    /// A history file, or a run by its name or path
    #[arg(value_name = "IN")]
    input: String,
    /// The file to write
    #[arg(value_name = "OUT")]
    output: PathBuf,
    /// Format of the input, where its content misleads
    #[arg(long, value_name = "FORMAT")]
    from: Option<Format>,
    /// Format of the output, where its name does not say it
    #[arg(long, value_name = "FORMAT")]
    to: Option<Format>,
    /// Replace the output if it is there
    #[arg(long)]
    force: bool,
    /// One line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Serialize)]
struct Moved<'a> {
    version: u32,
    file: String,
    from: &'static str,
    to: &'static str,
    operations: usize,
    returns: usize,
    faults: usize,
    warnings: &'a [String],
}

pub(super) fn execute(args: &ConvertArgs) -> Done {
    let to = target(args)?;
    let (path, spans) = input(&args.input, &args.store)?;
    let mut reader = Reader::open(&path, args.from).map_err(Failure::of(Cause::BadInput))?;
    // What cannot be finished leaves no file behind that looks like a history.
    let part = part_of(&args.output);
    let moved = write(&mut reader, &part, to, &spans);
    if moved.is_err() {
        let _ = std::fs::remove_file(&part);
    }
    let moved = moved?;
    std::fs::rename(&part, &args.output).map_err(|error| {
        let error = anyhow::anyhow!("{}: {error}\nhint: check the path", args.output.display());
        Failure { cause: Cause::SetUp, error }
    })?;
    answer(args, &reader, to, &moved)
}

/// The format to write.
fn target(args: &ConvertArgs) -> Result<Format, Failure> {
    let usage = |error| Failure { cause: Cause::Usage, error };
    let shown = args.output.display();
    let to = args.to.or_else(|| Format::of_name(&args.output)).ok_or_else(|| {
        usage(anyhow::anyhow!(
            "{shown}: the name does not say the format to write\nhint: add --to, one of {}",
            writable()
        ))
    })?;
    if !to.can_be_written() {
        return Err(usage(anyhow::anyhow!("{to} can be read, but not written\nhint: --to {}", writable())));
    }
    if args.output.exists() && !args.force {
        return Err(usage(anyhow::anyhow!(
            "{shown} is there already\nhint: choose another name, or add --force"
        )));
    }
    Ok(to)
}

fn writable() -> String {
    let names = Format::ALL.into_iter().filter(|format| format.can_be_written()).map(Format::name);
    names.collect::<Vec<_>>().join(", ")
}

/// Beside the output, so that it can be renamed.
fn part_of(output: &Path) -> PathBuf {
    let name = output.file_name().unwrap_or_default().to_string_lossy();
    output.with_file_name(format!(".{name}.{}.part", std::process::id()))
}

fn write(reader: &mut Reader, part: &Path, to: Format, spans: &[FaultSpan]) -> Result<Converted, Failure> {
    let failed = |error: FormatError| {
        let cause = if error.path() == part { Cause::SetUp } else { Cause::BadInput };
        Failure { cause, error: error.into() }
    };
    let mut writer = Writer::create(part, to, &reader.header()).map_err(failed)?;
    let notes: Vec<Record> = spans.iter().flat_map(notes).map(Record::Fault).collect();
    let faults = notes.len();
    for note in notes {
        writer.push(note).map_err(failed)?;
    }
    let mut converted = convert(reader, writer).map_err(failed)?;
    converted.faults += faults;
    Ok(converted)
}

/// A fault of a run as a nemesis tells it: asked for and proven, and the same of its end.
fn notes(span: &FaultSpan) -> Vec<FaultNote> {
    let note = |time_ns: u64, what: &str, value: String| FaultNote {
        time_ns,
        process: ":nemesis".to_owned(),
        what: format!(":{what}-{}", span.kind),
        value,
    };
    let name = edn_text(&span.name);
    let began =
        [note(span.asked_ns(), "start", "nil".to_owned()), note(span.verified_ns(), "start", name.clone())];
    let asked = span.undone.iter().map(|evidence| evidence.asked_ns).min();
    let ended = asked.zip(span.undone_ns()).map(|(asked_ns, undone_ns)| {
        [note(asked_ns, "stop", "nil".to_owned()), note(undone_ns, "stop", name)]
    });
    began.into_iter().chain(ended.into_iter().flatten()).collect()
}

fn answer(args: &ConvertArgs, reader: &Reader, to: Format, moved: &Converted) -> Done {
    if args.json {
        let moved = Moved {
            version: 1,
            file: args.output.display().to_string(),
            from: reader.format().name(),
            to: to.name(),
            operations: moved.operations,
            returns: moved.returns,
            faults: moved.faults,
            warnings: &moved.warnings,
        };
        return print_json(&moved, 0);
    }
    moved.warnings.iter().for_each(|warning| say(&format!("warning: {warning}")));
    let (operations, faults, from) = (moved.operations, moved.faults, reader.format());
    let open = operations - moved.returns.min(operations);
    let text = format!(
        "{}: {operations} operations ({open} without a return) and {faults} lines of faults, {from} to {to}\n",
        args.output.display()
    );
    print(&text, 0)
}
