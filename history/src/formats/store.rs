//! The folder that Jepsen keeps of a test, `store/<name>/<time>`: its `history.edn`, or the `history.txt` of an old one, beside
//! `results.edn`, where its own checkers say what they think.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::Form;
use super::forms::{Flavour, Forms};

/// The history in such a folder.
pub(crate) fn history_in(folder: &Path) -> Option<PathBuf> {
    let names = ["history.edn", "history.txt"];
    names.iter().map(|name| folder.join(name)).find(|file| file.is_file())
}

/// What Jepsen's checkers said, for whoever compares; nothing where that is missing or damaged, as nothing depends on it.
pub(crate) fn said_in(folder: &Path) -> Option<String> {
    let file = File::open(folder.join("results.edn")).ok()?;
    let (form, _) = Forms::new(file, Flavour::Edn).next_form().ok()??;
    let Form::Map(entries) = form.untagged() else { return None };
    let (_, said) = entries.into_iter().find(|(key, _)| key.name() == Some("valid?"))?;
    Some(format!("results.edn: Jepsen's own checkers said :valid? {said}"))
}
